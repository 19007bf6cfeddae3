"""Label Studio's ML-backend protocol: what the server asks, and the answers it understands. It knows no web framework.

Protocol: https://labelstud.io/guide/ml_create, and the client in the server's own `label_studio/ml/api_connector.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

from annotations.errors import StandpointError
from annotations.labelstudio.shapes import Json, interface_differences
from inference.checkpoint_files import label_schema
from inference.model_store import ModelStore
from inference.suggestions import Suggester
from inference.web import Reply, Route

CHANGES = frozenset(
    f"{noun}_{verb}" for noun in ("ANNOTATION", "ANNOTATIONS") for verb in ("CREATED", "UPDATED", "DELETED")
)
START = "START_TRAINING"
WORDS = {"interrupted": "queued", "pulling": "started", "training": "started", "comparing": "started"}
"""Our states in the server's words; the others are called as they are."""


class Learner(Protocol):
    """What trains the next model; every method returns at once."""

    def changed(self, names: Sequence[str]) -> None:
        """Take note that these annotations are new, other than before, or gone."""

    def request(self) -> str:
        """Train as soon as possible. Returns the job's id."""

    def status(self, job: str) -> Json | None:
        """`state`, and whatever else is known of a job; None for an unknown one."""


class Backend:
    """Answers for one model store; annotations of one project make its model learn."""

    def __init__(
        self, store: ModelStore, suggester: Suggester, learner: Learner, project: int, say: Callable[[str], None]
    ) -> None:
        self.store, self.suggester, self.learner, self.project, self.say = store, suggester, learner, project, say
        self._told: tuple[str, str] | None = None

    def routes(self) -> list[Route]:
        """Everything that a server calls."""
        return [
            Route("GET", "/", self.health),
            Route("GET", "/health", self.health),
            Route("POST", "/setup", self.setup),
            Route("POST", "/predict", self.predict, slow=True),
            Route("GET", "/versions", self.versions),
            Route("POST", "/webhook", self.webhook),
            Route("POST", "/train", self.train),
            Route("POST", "/job_status", self.job_status),
        ]

    def health(self, _: Json) -> Reply:
        """That it is there; the server waits one second."""
        return 200, {"status": "UP", "model_class": "standpoint"}

    def setup(self, body: Json) -> Reply:
        """The current version; the server asks before every prediction and waits three seconds."""
        version = self.store.version
        self._compare(body.get("schema"), version)
        return 200, {"model_version": version}

    def predict(self, body: Json) -> Reply:
        """One prediction for each task, in order. Interactive requests, with `params.context`, get the same answer."""
        tasks, interface = body.get("tasks"), body.get("label_config")
        if not isinstance(tasks, list):
            return 400, {"error": "`tasks` must be a list"}
        self._compare(interface, self.store.version)
        return 200, {"results": self.suggester.suggest(tasks, interface if isinstance(interface, str) else None)}

    def versions(self, _: Json) -> Reply:
        """All versions that can be restored, the latest arrival last."""
        return 200, {"versions": self.store.versions()}

    def webhook(self, body: Json) -> Reply:
        """Note changed annotations, start training when asked to; any other action is fine and does nothing."""
        action = body.get("action")
        if action == START:
            return self.train(body)
        if action in CHANGES:
            if project_of(body) != self.project:
                self.say(f"{action} of project {project_of(body)} is not counted: project {self.project} is configured")
            elif names := list(_changed(body)):
                self.learner.changed(names)
            else:
                self.say(f"{action} names no annotation and is not counted; turn on the webhook's payload")
        return 200, {}

    def train(self, body: Json) -> Reply:
        """Queue a training job."""
        project = project_of(body)
        if project not in (None, self.project):
            self.say(f"training for project {project} is refused: project {self.project} is configured")
            return 200, {"message": f"this backend learns from project {self.project} alone"}
        return 200, {"job": self.learner.request()}

    def job_status(self, body: Json) -> Reply:
        """`job_status` in the server's words, and what else is known; 410 for an unknown job."""
        found = self.learner.status(str(body.get("job")))
        if found is None:
            return 410, {"error": "no such job"}
        return 200, {**found, "job_status": WORDS.get(found["state"], found["state"])}

    def _compare(self, interface: Any, version: str) -> None:
        """Say once where the project's labelling interface and the model's schema differ."""
        if not isinstance(interface, str) or self._told == (interface, version):
            return
        self._told = interface, version
        try:
            found = interface_differences(interface, label_schema(self.store.path(version)))
        except StandpointError as error:
            found = [str(error)]
        if found:
            lines = "".join(f"\n  - {text}" for text in found)
            self.say(
                "the project's labelling interface is not the model's; what only one of them knows is not suggested:"
                + lines
            )


def project_of(body: Json) -> int | None:
    """The project's number, from an object with an `id`, from `id.created`, or from the number itself."""
    value = body.get("project")
    if isinstance(value, dict):
        value = value.get("id")
    text = str(value).partition(".")[0]
    return int(text) if text.isdecimal() else None


def _changed(body: Json) -> Iterator[str]:
    """The annotations that an event is about; some come alone, some in lists, under either name."""
    for key in ("annotation", "annotations"):
        value = body.get(key)
        for item in value if isinstance(value, list) else [value]:
            identity = item.get("id") if isinstance(item, dict) else item
            if isinstance(identity, int | str) and not isinstance(identity, bool):
                yield f"annotation-{identity}"
