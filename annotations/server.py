"""The door to a Label Studio server, over plain dicts: the only file that knows its SDK, which is an optional extra.

It knows projects, tasks, annotations and exports as JSON. What they mean is `annotations.labelstudio`'s business.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from annotations.errors import DocumentError, ServerError
from annotations.labelstudio import Json, labelling_config
from annotations.schema import Schema

try:
    import httpx
    from label_studio_sdk.client import LabelStudio
    from label_studio_sdk.core.api_error import ApiError
except ImportError as missing:
    raise ServerError("Label Studio's SDK is not installed; run: pip install 'standpoint[labelstudio]'") from missing

EXPORT_SECONDS = 300.0

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


class Server:
    """One user's view of one server. Every method raises ServerError when the server is down, refuses or fails."""

    def __init__(self, url: str, token: str) -> None:
        """`token`: a personal access token, or a legacy token where the organisation still allows those."""
        # Without the last slash the SDK would drop a sub-path when it exchanges the token.
        self.url = url.rstrip("/") + "/"
        with self._speaking("log in"):
            # No connection outlives its request, so that a Server needs no closing.
            client = httpx.Client(timeout=60, follow_redirects=True, limits=httpx.Limits(max_keepalive_connections=0))
            self._sdk: Any = LabelStudio(base_url=self.url, api_key=token.strip(), httpx_client=client)

    def whoami(self) -> Json:
        """The token's user: `id` and `email`."""
        with self._speaking("ask who the token belongs to"):
            user = self._sdk.users.whoami()
            return {"id": user.id, "email": user.email}

    def create_project(self, title: str, schema: Schema) -> int:
        """A new project with the schema's labelling interface; its title has 3 to 50 characters. Returns its id."""
        config = labelling_config(schema)
        with self._speaking(f"create project {title!r}"):
            project = self._sdk.projects.create(title=title, label_config=config, show_collab_predictions=True)
            return int(project.id)

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
            answer = self._sdk.projects.import_tasks(project, request=list(tasks), return_task_ids=True)
            found = getattr(answer, "task_ids", None) or []
        if len(found) != len(names):
            raise ServerError(
                f"{self.url}: {len(names)} tasks were sent and {len(found)} imported; look at project {project}"
            )
        return dict(zip(names, map(int, found), strict=True))

    def annotate(self, task_id: int, results: Sequence[Json], *, ground_truth: bool = False) -> int:
        """Store an annotation that belongs to the token's user. Returns its id."""
        with self._speaking(f"annotate task {task_id}"):
            annotation = self._sdk.annotations.create(
                task_id, result=list(results), ground_truth=ground_truth, was_cancelled=False
            )
            return int(annotation.id)

    def export(self, project: int) -> list[Json]:
        """All tasks of a project with all their annotations and predictions, as the JSON export gives them."""
        with self._speaking(f"export project {project}"):
            snapshot = self._sdk.projects.exports.create(project, title="standpoint", **_EXPORT).id
            try:
                self._finish(project, snapshot)
                chunks = self._sdk.projects.exports.download(project, export_pk=snapshot, export_type="JSON")
                tasks: list[Json] = json.loads(b"".join(chunks))
            finally:
                self._sdk.projects.exports.delete(project, export_pk=snapshot)
        return tasks

    def _finish(self, project: int, snapshot: int) -> None:
        deadline = time.monotonic() + EXPORT_SECONDS
        while True:
            status = self._sdk.projects.exports.get(project, export_pk=snapshot).status
            if status == "completed":
                return
            if status == "failed" or time.monotonic() > deadline:
                raise ServerError(
                    f"{self.url}: export of project {project} is {status}; look at the server's log, try again"
                )
            time.sleep(0.2)

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
        except ValueError as error:
            raise ServerError(
                f"{self.url}: cannot {wish}: the answer is not Label Studio's; is the address right?"
            ) from error


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
