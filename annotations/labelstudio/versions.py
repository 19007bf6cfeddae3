"""The folder that pulls go to: one folder a version, a link to the latest, what was seen of each task. It knows no server."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from annotations.errors import DocumentError
from annotations.storage import replacing

TASKS, DOCUMENTS, MANIFEST = "tasks.json", "documents.jsonl", "pull.json"
STATE, LATEST, LOCK, PART = "state.json", "latest", ".lock", ".part"


class Versions:
    """A folder of versions; use it inside `with versions.locked()`. Nothing in it is ever half-written."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @property
    def part(self) -> Path:
        """Where the next version is prepared."""
        return self.folder / PART

    @property
    def latest(self) -> Path:
        """The newest version."""
        return self.folder / LATEST

    @contextmanager
    def locked(self) -> Iterator[None]:
        """One process at a time, with an empty `part` that is gone at the end, as is a folder made for nothing.

        Raises:
            DocumentError: the folder cannot be used, is of something else, or another process uses it.
        """
        made = not self.folder.exists()
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._check()
            with (self.folder / LOCK).open("w") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(self.part, ignore_errors=True)
                self.part.mkdir()
                try:
                    yield
                finally:
                    shutil.rmtree(self.part, ignore_errors=True)
        except BlockingIOError as error:
            raise DocumentError(self.folder, "another pull is at work here; wait for it, or choose --output") from error
        except OSError as error:
            raise DocumentError(self.folder, f"cannot be used ({error.strerror}); choose another --output") from error
        finally:
            if made:
                self._leave_nothing()

    def _check(self) -> None:
        others = [entry for entry in self.folder.iterdir() if entry.name not in (LOCK, PART, STATE)]
        if others and not any(self.folder.glob(f"*/{MANIFEST}")):
            raise DocumentError(self.folder, "is a folder of something else; choose another one with --output")
        if self.latest.exists() and not self.latest.is_symlink():
            raise DocumentError(self.latest, "is no link, as in a copy that followed links; remove it and pull again")

    def _leave_nothing(self) -> None:
        with suppress(OSError):
            if [entry.name for entry in self.folder.iterdir()] == [LOCK]:
                (self.folder / LOCK).unlink()
                self.folder.rmdir()

    def known(self, project: list[Any]) -> dict[int, str]:
        """What the last pull saw of each task, id to date; nothing where that is lost, so that all is fetched again.

        Raises:
            DocumentError: the folder holds another project.
        """
        try:
            state = json.loads((self.folder / STATE).read_text("utf-8"))
            held, tasks = state["project"], {int(number): str(date) for number, date in state["tasks"].items()}
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return {}
        if held != project:
            raise DocumentError(
                self.folder, f"holds another project, {held[0]} made {held[1]}; choose another folder with --output"
            )
        return tasks if whole(self.latest) else {}

    def remember(self, project: list[Any], tasks: Mapping[int, str]) -> None:
        """Note what was seen of each task."""
        write_json(self.folder / STATE, {"project": project, "tasks": {str(key): date for key, date in tasks.items()}})

    def current(self) -> str | None:
        """The name of the latest version."""
        with suppress(OSError):
            return self.latest.readlink().name
        return None

    def publish(self, version: str) -> Path:
        """Give what is in `part` the version's name, unless that is there and whole, and let `latest` point to it."""
        folder = self.folder / version
        if not whole(folder):
            shutil.rmtree(folder, ignore_errors=True)
            self.part.rename(folder)
        link = self.folder / f".{LATEST}-{os.getpid()}"
        link.unlink(missing_ok=True)
        link.symlink_to(version)
        link.replace(self.latest)
        return folder


def whole(folder: Path) -> bool:
    """Whether a version has all its files."""
    return all((folder / name).is_file() for name in (TASKS, DOCUMENTS, MANIFEST))


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Write indented JSON, whole or not at all."""
    with replacing(path) as out:
        out.write(json.dumps(value, indent=2, ensure_ascii=False) + "\n")
