"""The door to a Label Studio server, over plain dicts: the only file that knows its SDK, which is an optional extra.

It knows projects, tasks, annotations and exports as JSON. What they mean is `annotations.labelstudio.shapes`'s business.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import IO, Any

from annotations.errors import DocumentError, ServerError, to_install
from annotations.labelstudio.shapes import Json, labelling_config
from annotations.schema import Schema

try:
    import httpx
    import ijson
    from label_studio_sdk.client import LabelStudio
    from label_studio_sdk.core.api_error import ApiError
except ImportError as missing:
    raise ServerError(f"Label Studio's SDK is not installed; {to_install('labelstudio')}") from missing

SECONDS, EXPORT_SECONDS = 60.0, 1800
TELL_SECONDS = 10.0
PAGE = 200
# The SDK would send a request twice more after an error, and the server may have done it the first time.
_ONCE: Any = {"max_retries": 0}

# Left to its defaults, a snapshot has no ground truth, no skipped annotations and only the ids of predictions.
_EXPORT: dict[str, Any] = {
    "task_filter_options": {"only_with_annotations": False},
    "annotation_filter_options": {"usual": True, "ground_truth": True, "skipped": True},
    "serialization_options": {
        "annotations__completed_by": {"only_id": True},
        "predictions": {"only_id": False},
        "drafts": {"only_id": True},
        "include_annotation_history": False,
    },
}


@dataclass(frozen=True)
class Listed:
    """A task as a listing shows it."""

    id: int
    updated: str
    """When the task, or an annotation or prediction of it, last changed; an ISO date."""
    data: Json
    """Empty where the listing leaves texts out."""
    annotations: int
    """How many it has, skipped ones and a draft included."""


class Server:
    """One user's view of one server. Every method raises ServerError when the server is down, refuses or fails."""

    def __init__(self, url: str, token: str, *, seconds: float = SECONDS) -> None:
        """`token`: a personal access token, or a legacy token where the organisation still allows those.

        `seconds`: how long to wait for an answer; for exports it is `EXPORT_SECONDS`.
        """
        # Without the last slash the SDK would drop a sub-path when it exchanges the token.
        self.url = url.rstrip("/") + "/"
        with self._speaking("log in"):
            # No connection outlives its request, so that a Server needs no closing.
            client = httpx.Client(
                timeout=seconds, follow_redirects=True, limits=httpx.Limits(max_keepalive_connections=0)
            )
            self._sdk: Any = LabelStudio(base_url=self.url, api_key=token.strip(), httpx_client=client)

    def whoami(self) -> Json:
        """The token's user: `id` and `email`."""
        with self._speaking("ask who the token belongs to"):
            user = self._sdk.users.whoami()
            return {"id": user.id, "email": user.email}

    def release(self) -> str:
        """The server's version, such as `1.23.2`."""
        with self._speaking("ask its version"):
            return str(self._sdk.versions.get().release)

    def projects(self) -> dict[int, str]:
        """Id and title of every project that the token's user may see."""
        with self._speaking("list projects"):
            return {int(project.id): str(project.title) for project in self._sdk.projects.list(page_size=PAGE)}

    def project(self, project: int) -> Json:
        """`title`, `label_config` (XML), number of tasks (`tasks`) and date of creation (`created`) of a project."""
        with self._speaking(f"read project {project}"):
            found = self._sdk.projects.get(project)
            return {
                "title": found.title,
                "label_config": found.label_config or "",
                "tasks": found.task_number or 0,
                "created": found.created_at.isoformat() if found.created_at else None,
            }

    def create_project(self, title: str, schema: Schema, shown: str | None = None) -> int:
        """A new project with the schema's labelling interface; its title has 3 to 50 characters. Returns its id.

        `shown` is as in `annotations.labelstudio.shapes.labelling_config`.
        """
        title = title.strip()
        if not 3 <= len(title) <= 50:
            raise ServerError(
                f"{self.url}: cannot create project {title!r}: a title has 3 to 50 characters, choose another"
            )
        config = labelling_config(schema, shown)
        with self._speaking(f"create project {title!r}"):
            project = self._sdk.projects.create(
                title=title, label_config=config, show_collab_predictions=True, request_options=_ONCE
            )
            return int(project.id)

    def set_interface(self, project: int, schema: Schema) -> None:
        """Replace a project's labelling interface; the server refuses one that would orphan existing annotations."""
        with self._speaking(f"change the labelling interface of project {project}"):
            self._sdk.projects.update(project, label_config=labelling_config(schema))

    def tasks(
        self, project: int, *, data: bool = True, predicted_by: str | None = None, only: Collection[int] | None = None
    ) -> Iterator[Listed]:
        """All tasks, page by page; or those of these ids; or those with a prediction of a model version."""
        fields = ["id", "updated_at", "total_annotations", "cancelled_annotations", "draft_exists"]
        fields += ["data"] if data else []
        options: Json = {"fields": "task_only", "include": ",".join(fields), "page_size": PAGE}
        if predicted_by is not None:
            options["query"] = json.dumps(
                {"filters": _filters("predictions_model_versions", "contains", [predicted_by])}
            )
        if only is not None:
            options["query"] = json.dumps({"filters": _filters("id", "in_list", sorted(only))})
        with self._speaking(f"list the tasks of project {project}"):
            for task in self._sdk.tasks.list(project=project, **options):
                done = (task.total_annotations or 0) + (task.cancelled_annotations or 0) + bool(task.draft_exists)
                yield Listed(int(task.id), task.updated_at.isoformat(), dict(task.data or {}), done)

    def delete_untouched(self, project: int, task_id: int) -> bool:
        """Remove a task if nobody has annotated it, skipped it or begun to. Returns whether it is gone.

        The server has no such request: whoever submits between the look and the deletion, milliseconds later, loses.
        """
        if any(task.annotations for task in self.tasks(project, data=False, only=[task_id])):
            return False
        with self._speaking(f"delete task {task_id}"):
            self._sdk.tasks.delete(str(task_id))
        return True

    def import_tasks(self, project: int, tasks: Sequence[Json]) -> dict[str, int]:
        """Add tasks. Returns the task id of each `doc_id`.

        Raises:
            DocumentError: a doc_id is given twice.
        """
        names = [str(task["data"]["doc_id"]) for task in tasks]
        if repeated := sorted({name for name in names if names.count(name) > 1}):
            raise DocumentError("tasks", [f"doc_id {name!r} belongs to several tasks" for name in repeated])
        if not tasks:
            return {}
        with self._speaking(f"import tasks into project {project}"):
            answer = self._sdk.projects.import_tasks(
                project, request=list(tasks), return_task_ids=True, request_options=_ONCE
            )
            found = getattr(answer, "task_ids", None) or []
        if len(found) != len(names):
            raise ServerError(
                f"{self.url}: {len(names)} tasks were sent and {len(found)} imported; look at project {project}"
            )
        return dict(zip(names, map(int, found), strict=True))

    def import_predictions(self, project: int, predictions: Sequence[Json]) -> None:
        """Add predictions; each names its `task` and has the shape of `annotations.labelstudio.shapes.to_prediction`."""
        if predictions:
            with self._speaking(f"import predictions into project {project}"):
                self._sdk.projects.import_predictions(project, request=list(predictions), request_options=_ONCE)

    def annotate(self, task_id: int, results: Sequence[Json], *, ground_truth: bool = False) -> int:
        """Store an annotation that belongs to the token's user. Returns its id."""
        with self._speaking(f"annotate task {task_id}"):
            annotation = self._sdk.annotations.create(
                task_id,
                result=list(results),
                ground_truth=ground_truth,
                was_cancelled=False,
                request_options=_ONCE,
            )
            return int(annotation.id)

    def mark_ground_truth(self, annotation_id: int) -> None:
        """Declare an annotation to be the ground truth of its task; nothing else in it changes."""
        with self._speaking(f"mark annotation {annotation_id} as ground truth"):
            self._sdk.annotations.update(annotation_id, ground_truth=True)

    def export(
        self, project: int, only: Collection[int] | None = None, say: Callable[[str], None] = lambda text: None
    ) -> Iterator[Json]:
        """Tasks with all their annotations and predictions, as the JSON export gives them, in bounded memory.

        `only`: ids of the tasks wanted; `say` hears of a snapshot that takes long. The snapshot goes through a temporary
        file, one task at a time.
        """
        with tempfile.TemporaryFile() as file:
            with self._speaking(f"export project {project}"):
                self._download(project, only, file, say)
            file.seek(0)
            tasks = ijson.items(file, "item", use_float=True)
            while True:
                with self._speaking(f"read the export of project {project}"):
                    task = next(tasks, None)
                if task is None:
                    return
                yield task

    def _download(
        self, project: int, only: Collection[int] | None, file: IO[bytes], say: Callable[[str], None]
    ) -> None:
        exports, options, view = self._sdk.projects.exports, _EXPORT, None
        if only is not None:
            filters = _filters("id", "in_list", sorted(only))
            view = self._sdk.views.create(project=project, data={"title": "standpoint", "filters": filters}).id
            options = {**_EXPORT, "task_filter_options": {**_EXPORT["task_filter_options"], "view": view}}
        snapshot = None
        try:
            # Without a job queue the server answers only when the snapshot is made.
            patient = {**_ONCE, "timeout_in_seconds": EXPORT_SECONDS}
            snapshot = exports.create(project, title="standpoint", **options, request_options=patient).id
            self._finish(project, snapshot, say)
            for chunk in exports.download(project, export_pk=snapshot, export_type="JSON"):
                file.write(chunk)
        finally:
            # A failure is already on its way; that tidying up fails as well says nothing new.
            with suppress(ApiError, httpx.HTTPError, ValueError):
                if snapshot is not None:
                    exports.delete(project, export_pk=snapshot)
                if view is not None:
                    self._sdk.views.delete(view)

    def _finish(self, project: int, snapshot: int, say: Callable[[str], None]) -> None:
        began = told = time.monotonic()
        deadline = began + EXPORT_SECONDS
        while True:
            status = self._sdk.projects.exports.get(project, export_pk=snapshot).status
            if status == "completed":
                return
            if status == "failed" or time.monotonic() > deadline:
                raise ServerError(
                    f"{self.url}: export of project {project} is {status}; look at the server's log, try again"
                )
            if time.monotonic() - told > TELL_SECONDS:
                told = time.monotonic()
                say(f"the server is still exporting project {project} ({told - began:.0f} s); its log may say why")
            time.sleep(0.2)

    def connect_backend(self, project: int, url: str, title: str = "Standpoint", *, interactive: bool = False) -> int:
        """Connect a model backend, which the server calls at once. Returns the connection's id."""
        with self._speaking(f"connect the model backend {url} to project {project}"):
            backend = self._sdk.ml.create(
                project=project, url=url, title=title, is_interactive=interactive, request_options=_ONCE
            )
            return int(backend.id)

    def backends(self, project: int) -> list[Json]:
        """The project's model backends: `id`, `url`, `state` (`CO` is connected) and `error`."""
        with self._speaking(f"list the model backends of project {project}"):
            found = self._sdk.ml.list(project=project)
            return [
                {"id": item.id, "url": item.url, "state": item.state, "error": item.error_message} for item in found
            ]

    def start_training(self, backend: int) -> None:
        """Ask a connected model backend to train."""
        with self._speaking(f"start training on model backend {backend}"):
            self._sdk.ml.train(backend, request_options=_ONCE)

    @contextmanager
    def _speaking(self, wish: str) -> Iterator[None]:
        """Turn whatever goes wrong between us and the server into one sentence with a remedy."""
        try:
            yield
        except ApiError as error:
            raise ServerError(f"{self.url}: cannot {wish}: {_reason(error)}") from error
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            what = str(error) or type(error).__name__
            raise ServerError(
                f"{self.url}: cannot {wish}: no answer ({what}); is it running, is the address right?"
            ) from error
        except (ValueError, ijson.JSONError) as error:
            raise ServerError(
                f"{self.url}: cannot {wish}: the answer is not Label Studio's, or cut short ({type(error).__name__}); "
                "is the address right, sub-path included, and the token plain ASCII?"
            ) from error


def _filters(column: str, operator: str, value: object) -> Json:
    item = {"filter": f"filter:tasks:{column}", "operator": operator, "type": "List", "value": value}
    return {"conjunction": "and", "items": [item]}


def _reason(error: ApiError) -> str:
    status, body = error.status_code, error.body
    if isinstance(body, dict):
        body = body.get("validation_errors") or body.get("detail") or body
    told = " ".join(str(body).split())[:300]
    if told.startswith("<"):
        told = "a web page came back"
    if status in (401, 403):
        return (
            f"the token is refused ({told}); make a personal access token under Account & Settings "
            "(legacy tokens are off unless the organisation allows them)"
        )
    if status == 404:
        return f"not found ({told}); is the id right, and may the token's user see it?"
    return f"HTTP {status}: {told}; the server's log says more"
