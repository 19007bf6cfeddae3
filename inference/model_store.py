"""A folder of checkpoints, one of which is current; which one changes in a single step, forwards and back.

It knows folders, a link and their history. It loads no model.
"""

from __future__ import annotations

import datetime
import fcntl
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from annotations.errors import CheckpointError, ConfigError, did_you_mean
from annotations.storage import replacing


class NoEarlierError(CheckpointError):
    """There is no model before the one that is current."""


class ModelStore:
    """`versions/<version>/` holds checkpoints, `current` is a link to one of them, `history.json` tells how it came."""

    def __init__(self, folder: Path) -> None:
        self.folder = Path(folder)
        self._link = self.folder / "current"

    @property
    def version(self) -> str:
        """The current version, read from the link alone. Raises CheckpointError where there is none yet."""
        try:
            return self._link.readlink().name
        except OSError as error:
            raise CheckpointError(
                self.folder, "is no model store with a current version; run `standpoint serve`"
            ) from error

    @property
    def empty(self) -> bool:
        """Whether no checkpoint has ever been made current."""
        return not self._link.is_symlink()

    def path(self, version: str) -> Path:
        """The checkpoint folder of a version."""
        return self.folder / "versions" / version

    def versions(self) -> list[str]:
        """The versions that are kept, the latest arrival last."""
        arrived = dict.fromkeys(entry["version"] for entry in self.history())
        return [version for version in arrived if self.path(version).is_dir()]

    def history(self) -> list[dict[str, Any]]:
        """Every change of the current version: `version`, `replaced`, `how` (imported, retrained, restored), `at`."""
        path = self.folder / "history.json"
        found: list[dict[str, Any]] = json.loads(path.read_text("utf-8")) if path.exists() else []
        return found

    def admit(self, checkpoint: Path) -> str:
        """Copy a checkpoint in, whole or not at all; nothing happens where it is in already. Returns its version."""
        from inference.checkpoint_files import NEEDED, version

        if missing := [name for name in NEEDED if not (checkpoint / name).is_file()]:
            raise CheckpointError(checkpoint, f"has no {', no '.join(missing)}; give the checkpoint of a finished run")
        identity = version(checkpoint)
        place = self.path(identity)
        with self._changing():
            if not place.is_dir():
                part = place.with_name(f".{identity}.part")
                shutil.rmtree(part, ignore_errors=True)
                shutil.copytree(checkpoint, part)
                part.rename(place)
        return identity

    def promote(self, version: str, how: str, *, instead_of: str | None = None) -> bool:
        """Make a version current in one step; readers see the old one or the new one and never neither.

        Where another version than `instead_of` is current by now, nothing happens and the answer is False.
        """
        if not self.path(version).is_dir():
            kept = self.versions()
            raise CheckpointError(self.folder, f"keeps no version {version!r}; {did_you_mean(version, kept)}")
        with self._changing():
            before = None if self.empty else self.version
            if version == before:
                return True
            if instead_of is not None and before != instead_of:
                return False
            entry = {"version": version, "replaced": before, "how": how}
            self._remember({**entry, "at": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")})
            part = self.folder / ".current.part"
            part.unlink(missing_ok=True)
            part.symlink_to(Path("versions") / version)
            part.replace(self._link)
            return True

    def previous(self) -> str:
        """The version that the current one replaced when it arrived; raises NoEarlierError where it was the first."""
        arrivals = [e for e in self.history() if e["version"] == self.version and e["how"] != "restored"]
        if not arrivals or arrivals[-1]["replaced"] is None:
            raise NoEarlierError(self.folder, f"version {self.version} is the first; there is none to go back to")
        return str(arrivals[-1]["replaced"])

    def restore(self, version: str | None = None) -> tuple[str, str]:
        """Go back to a version, by default the one before the current. Returns the version left and the one taken."""
        left, taken = self.version, version or self.previous()
        self.promote(taken, "restored")
        return left, taken

    def prune(self, keep: int) -> list[str]:
        """Delete all but the `keep` versions that were current last, the current one among them. Returns the deleted."""
        with self._changing():
            latest = list(dict.fromkeys([self.version, *(entry["version"] for entry in reversed(self.history()))]))
            gone = [version for version in latest[keep:] if self.path(version).is_dir()]
            for version in gone:
                shutil.rmtree(self.path(version))
        return gone

    def _remember(self, entry: dict[str, Any]) -> None:
        """Written before the link is: killed in between, the same change comes again and is told once."""
        entries = self.history()
        if entries and all(entries[-1][key] == entry[key] for key in ("version", "replaced", "how")):
            entries.pop()
        with replacing(self.folder / "history.json") as out:
            out.write(json.dumps([*entries, entry], indent=2) + "\n")

    @contextmanager
    def _changing(self) -> Iterator[None]:
        """One process at a time changes the store."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / ".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    @contextmanager
    def serving(self) -> Iterator[IO[str]]:
        """Hold the store for the one process that serves from it; raises ConfigError while another one does."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / ".serving").open("a+") as lock:
            try:
                # The lock ends with the process, however that ends.
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                lock.seek(0)
                holder = lock.read().strip() or "unknown"
                raise ConfigError(
                    self.folder, f"is served by another process already (pid {holder}); stop that, or set store=…"
                ) from error
            lock.truncate(0)
            lock.write(f"{os.getpid()}\n")
            lock.flush()
            yield lock
