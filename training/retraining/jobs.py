"""A training job as a folder: its settings, its status and its files, shared by the backend and the job's own process.

It knows states and files. What is done in a state is `training.retraining.job`'s business.
"""

from __future__ import annotations

import json
import re
import shutil
from enum import StrEnum
from pathlib import Path
from typing import Any

from annotations.storage import replacing
from training.retraining.config import ServeConfig
from training.run_directory import now

Json = dict[str, Any]


class State(StrEnum):
    """Where a job is."""

    QUEUED = "queued"
    PULLING = "pulling"
    TRAINING = "training"
    COMPARING = "comparing"
    INTERRUPTED = "interrupted"
    """It was ended from outside and goes on from where it was."""
    SWAPPED = "swapped"
    """The new version is current."""
    KEPT = "kept"
    """The earlier version stays current: the new one is worse."""
    FAILED = "failed"
    """The earlier version stays current; `reason` says why and what to do."""


FINAL = (State.SWAPPED, State.KEPT, State.FAILED)


class Job:
    """One job. Its status is replaced as a whole, so that a reader never sees half of it."""

    def __init__(self, folder: Path) -> None:
        self.folder = Path(folder)

    @classmethod
    def create(cls, folder: Path, settings: ServeConfig, reason: str) -> Job:
        """A queued job. Its status makes it one: a folder without is no job.

        Raises:
            DocumentError: it cannot be written; no folder is left then.
        """
        job = cls(folder)
        job.folder.mkdir(parents=True)
        try:
            with replacing(job.folder / "job.json") as out:
                out.write(settings.model_dump_json(indent=2) + "\n")
            job.tell(State.QUEUED, because=reason)
        except Exception:
            shutil.rmtree(job.folder, ignore_errors=True)
            raise
        return job

    @property
    def id(self) -> str:
        """Its name, unique in its store."""
        return self.folder.name

    @property
    def log(self) -> Path:
        """What the job's process prints."""
        return self.folder / "log.txt"

    @property
    def settings(self) -> ServeConfig:
        """The backend's settings at the time the job was queued."""
        path = self.folder / "job.json"
        return ServeConfig.build(json.loads(path.read_text("utf-8")), where=path)

    @property
    def status(self) -> Json:
        """`job`, `state`, `states` (all so far, with their times) and what else was told."""
        found: Json = json.loads((self.folder / "status.json").read_text("utf-8"))
        return found

    @property
    def state(self) -> State:
        """Where it is."""
        return State(self.status["state"])

    @property
    def finished(self) -> bool:
        """Whether it has its result."""
        return self.state in FINAL

    def tell(self, state: State, **more: Any) -> None:
        """Replace the status; what was told before stays unless told anew."""
        path = self.folder / "status.json"
        before: Json = self.status if path.exists() else {"job": self.id, "states": []}
        states = before["states"]
        if not states or states[-1]["state"] != state:
            states = [*states, {"state": state, "at": now()}]
        with replacing(path) as out:
            out.write(json.dumps({**before, **more, "state": state, "states": states}, indent=2) + "\n")

    def clear(self) -> None:
        """Remove the run's weights, by far the most of a job, which only a job that goes on needs."""
        for part in ("checkpoint", "trainer"):
            shutil.rmtree(self.folder / "run" / part, ignore_errors=True)


def jobs(folder: Path) -> list[Job]:
    """All jobs below a folder, the oldest first."""
    found = [path.parent for path in folder.glob("job-[0-9]*/status.json")]
    return [Job(path) for path in sorted(found, key=lambda path: int(path.name.split("-")[1]))]


def find(folder: Path, name: str) -> Job | None:
    """The job of this name; None where there is none."""
    known = re.fullmatch(r"job-\d+", name) and (folder / name / "status.json").is_file()
    return Job(folder / name) if known else None


def next_name(folder: Path) -> str:
    """A name that no folder has, one without a status included."""
    numbers = [int(path.name.split("-")[1]) for path in folder.glob("job-[0-9]*")]
    return f"job-{max(numbers, default=0) + 1:04d}"
