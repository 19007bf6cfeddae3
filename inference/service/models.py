"""Which model answers: loading, checking and changing it while requests go on. It knows checkpoints and stores, not HTTP."""

from __future__ import annotations

import datetime
import json
import shutil
import tempfile
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from annotations.errors import CheckpointError, StandpointError, first_line
from inference.checkpoint_files import MANIFEST, NEEDED, sha256, version
from inference.engines import artefacts
from inference.model_store import ModelStore, NoEarlierError
from inference.service.worker import Work

Again = Callable[[], AbstractContextManager[Path]]
"""The files of a model once more; raises CheckpointError where they have become others."""
Start = Callable[[Path, str, Again], Work]
"""From a checkpoint's files, which are gone later, and its version to what tags with it; raises an error where nothing can."""


class BusyError(StandpointError):
    """Another change is under way."""


@dataclass(frozen=True)
class Loaded:
    """A model that can answer. Its work ends when nobody has it any more."""

    work: Work
    version: str
    artefact: str | None
    """Content hash of what its engine runs, where that is not the weights themselves."""
    path: Path
    loaded: str = field(default_factory=lambda: datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"))


class Models:
    """The model of a checkpoint folder, or the current one of a model store; the one before it stays at hand.

    A request keeps the model that it began with.
    """

    def __init__(self, path: Path, start: Start, say: Callable[[str], None]) -> None:
        self.path, self.start, self.say = path, start, say
        store = ModelStore(path)
        self.store = None if store.empty else store
        self._changing = threading.Lock()
        self.current = self._load()
        self.earlier: Loaded | None = None

    def reload(self) -> Loaded:
        """Take what the folder or the store holds now; nothing changes where it is the same.

        Raises:
            CheckpointError: it cannot be served; the model so far goes on.
            BusyError: another change is under way.
        """
        with _Only(self._changing):
            return self._take(self._load())

    def rollback(self) -> Loaded:
        """Go back to the model before; a store's current version goes back as well.

        Raises:
            NoEarlierError: there is none.
            CheckpointError: it cannot be served.
            BusyError: another change is under way.
        """
        with _Only(self._changing):
            if self.store is not None:
                return self._restore(self.store)
            if self.earlier is None:
                raise NoEarlierError(self.path, "was not reloaded yet, so there is no model to go back to")
            return self._take(self.earlier)

    def close(self) -> None:
        """Finish what was taken, and end."""
        for model in (self.current, self.earlier):
            if model:
                model.work.close()

    def _restore(self, store: ModelStore) -> Loaded:
        """Where the store's current version could not be served, it goes back to the one that answers."""
        if store.version != self.current.version:
            store.restore(self.current.version)
            return self.current
        # Loaded before the store goes back: one that cannot be served would not start again either.
        version = self.earlier.version if self.earlier else store.previous()
        earlier = self.earlier or self._load(version)
        store.restore(version)
        return self._take(earlier)

    def _take(self, new: Loaded) -> Loaded:
        """Answer with a model. The versions of a store go back one by one, so there another engine of one is no step."""
        before = self.current
        if new.version != before.version:
            self.current, self.earlier = new, before
            self.say(f"version {new.version} answers from now on, {before.version} did (engine {new.work.engine})")
        elif (new.work.engine, new.artefact) != (before.work.engine, before.artefact):
            self.current, self.earlier = new, self.earlier if self.store else before
            self.say(f"engine {new.work.engine} answers from now on, {before.work.engine} did")
        return self.current

    def _load(self, version: str | None = None) -> Loaded:
        """The model of the folder; of a store, this version or the current one."""
        folder = (self.store.path(version or self.store.version) if self.store else self.path).resolve()
        with self._files(folder) as place:
            return self._read(folder, place)

    @contextmanager
    def _files(self, folder: Path) -> Iterator[Path]:
        """Where to load a checkpoint from: a copy, for weights are mapped, and whoever wrote over them would kill the process.

        What is mapped outlives the copy's deletion. The versions of a store are never written over.
        """
        if self.store:
            yield folder
            return
        with ExitStack() as stack:
            try:
                place = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="standpoint-"))) / "checkpoint"
                shutil.copytree(folder, place, ignore_dangling_symlinks=True)
            except (OSError, shutil.Error) as error:
                if folder.is_dir():
                    told = f"{folder} cannot be copied ({first_line(error)}): do not write over it while it is served"
                    self.say(told)
                place = folder
            yield place

    @contextmanager
    def _again(self, folder: Path, identity: str) -> Iterator[Path]:
        with self._files(folder) as place:
            if not _complete(place) or version(place) != identity:
                raise CheckpointError(folder, f"no longer holds version {identity}")
            yield place

    def _read(self, folder: Path, place: Path) -> Loaded:
        """The model of a checkpoint, read from `place`, where a copy of `folder` is; errors name the folder."""
        work = None
        try:
            if problems := damages(place):
                raise CheckpointError(folder, problems)
            identity = version(place) if _complete(place) else ""
            work = self.start(place, identity, partial(self._again, folder, identity))
            artefact = artefacts.content(place, work.engine)
            if not _complete(folder) or version(folder) != identity:
                raise CheckpointError(folder, "changed while it was read; reload again once it is whole")
        except Exception as error:
            if work is not None:
                work.end()
            if isinstance(error, CheckpointError):
                named = [problem.replace(str(place), str(folder)) for problem in error.problems]
                raise CheckpointError(folder, named) from error
            if isinstance(error, StandpointError):
                raise
            raise CheckpointError(folder, f"does not answer ({first_line(error)}); train it again") from error
        model = Loaded(work, identity, artefact, folder)
        weakref.finalize(model, work.end)
        return model


def damages(folder: Path) -> list[str]:
    """What is not as the checkpoint's manifest says; nothing where it has none."""
    manifest = folder / MANIFEST
    if not manifest.is_file():
        return []
    try:
        hashes = dict(json.loads(manifest.read_text("utf-8")))
    except (OSError, ValueError, TypeError) as error:
        return [f"{MANIFEST} cannot be read ({first_line(error)}); copy the checkpoint again"]
    return [
        f"{name} is not what {MANIFEST} says; copy the checkpoint again"
        for name in NEEDED
        if name in hashes and (folder / name).is_file() and sha256(folder / name) != hashes[name]
    ]


def _complete(folder: Path) -> bool:
    return all((folder / name).is_file() for name in NEEDED)


class _Only:
    """Holds a lock that nobody waits for."""

    def __init__(self, lock: threading.Lock) -> None:
        self._lock = lock

    def __enter__(self) -> None:
        if not self._lock.acquire(blocking=False):
            raise BusyError("another reload or rollback is under way; ask again when it has ended")

    def __exit__(self, *_: object) -> None:
        self._lock.release()
