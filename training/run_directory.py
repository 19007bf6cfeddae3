"""What a finished run leaves behind, and how an earlier result is kept until a new one is whole.

It knows files and provenance, not models.
"""

from __future__ import annotations

import datetime
import fcntl
import json
import os
import platform
import re
import shutil
import subprocess
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any

import torch
import yaml

from annotations.document import Document
from annotations.errors import ConfigError
from annotations.storage import fingerprint, write_json, write_text
from inference.checkpoint_files import encoder_version
from inference.hardware import instructions
from inference.verification import package
from training.config import RunConfig
from training.folds import CURVE, FOLDS, PROBABILITIES
from training.unlabelled import further_texts

PACKAGES = ("torch", "transformers", "datasets", "tokenizers", "accelerate", "seqeval", "numpy", "pydantic", "syntok")
FINISHED = "run.json"
CONFIG = "config.yaml"
INPUTS = "inputs.json"
PREDICTIONS = "predictions.jsonl"
EVALUATION = "evaluation.json"
SCRATCH = "scratch"
"""Where a fold is trained, which is begun anew after an interruption."""
RUN, FOLDED = "run", "cross-validation or learning curve"
SUSPECTS, SWEEP = "search for suspect labels", "sweep"
"""What may be at work in an output folder; a cross-validation and a learning curve may share one."""
TRACES = {
    FOLDED: (f"{FOLDS}/**/*.jsonl", f"{CURVE}/**/*.jsonl"),
    SUSPECTS: (f"{PROBABILITIES}/**/*.npz",),
    SWEEP: ("trials/*/trial.json",),
    RUN: (FINISHED, "trainer/**/checkpoint*"),
}
"""What each leaves there that it would go on from. A run comes last: earlier versions trained folds in `trainer` as well."""
PART = re.compile(rf"\.({re.escape(CONFIG)}|{re.escape(INPUTS)})\.\d+\.part")
"""What `annotations.storage.replacing` has written when it is killed."""


def is_main_process() -> bool:
    """Whether this process writes results: under torchrun or accelerate only the first one does."""
    return int(os.environ.get("RANK", "0")) == 0


_LOCKS: set[int] = set()
"""Descriptors of the folders that this process holds."""


@contextmanager
def alone(folder: Path, work: str, option: str = "output=…") -> Iterator[None]:
    """Hold a folder against a second process, which would go on from this one's checkpoints as if they were its own.

    The lock ends with the process, however that ends. A folder that was made for it and holds nothing in the end is removed.
    Of processes that train together the first one holds it for all.

    Raises:
        ConfigError: another process holds the folder, or there can be none; it names the `work` and the `option` to change.
    """
    if not is_main_process():
        yield
        return
    made = [place for place in (folder, *folder.parents) if not place.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle = os.open(folder, os.O_RDONLY)
    except OSError as error:
        raise ConfigError(folder, f"cannot be used as a folder ({error.strerror}); choose {option}") from error
    _leave_locks_in_children()
    _LOCKS.add(handle)
    try:
        if not _locked(handle, folder):
            raise ConfigError(folder, f"another {work} is at work here; wait for its end, or choose {option}")
        yield
    finally:
        with suppress(OSError):
            for place in made:
                place.rmdir()
        if handle in _LOCKS:
            _LOCKS.remove(handle)
            os.close(handle)


@cache
def _leave_locks_in_children() -> None:
    """Let no forked child, such as a DataLoader's worker, keep a lock for some seconds after its parent was killed."""
    os.register_at_fork(after_in_child=_close_locks)


def _close_locks() -> None:
    # Not unlocked: that would end the parent's lock, of which this is a copy.
    while _LOCKS:
        os.close(_LOCKS.pop())


def _locked(handle: int, folder: Path) -> bool:
    """Whether the lock is ours, and on the folder that has the name still; without effect where a file system has no locks."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        # A network file system may take locks on files alone.
        return True
    return folder.exists() and os.path.samestat(os.fstat(handle), folder.stat())


class RunDirectory:
    """A folder that is either finished (it has a `run.json`), or resumable by the same config, or new."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def checkpoint(self) -> Path:
        """The tagger's folder."""
        return self.path / "checkpoint"

    @property
    def trainer(self) -> Path:
        """The Trainer's own state, from which an interrupted run goes on."""
        return self.path / "trainer"

    @property
    def events(self) -> Path:
        """TensorBoard's event files."""
        return self.path / "tensorboard"

    @property
    def finished(self) -> bool:
        """Whether it holds a whole run."""
        return (self.path / FINISHED).exists()

    def begin(self, config: RunConfig, documents: Sequence[Document]) -> dict[str, Any]:
        """Make the folder, or find it as an interrupted run of the same config, data and encoder left it.

        Returns what is known of the run at its start. Raises ConfigError when the folder holds a finished run, an
        unfinished one of other inputs, or something else.
        """
        self._refuse_finished()
        return self.claim(config, documents, RUN)

    def examine(self, config: RunConfig, documents: Sequence[Document]) -> None:
        """Raise what `begin` would raise, and write nothing."""
        self._refuse_finished()
        self._origin(config, documents, RUN)

    @property
    def held(self) -> str | None:
        """The kind of work that has been begun here, or finished."""
        found = (work for work, traces in TRACES.items() if any(any(self.path.glob(trace)) for trace in traces))
        return next(found, None)

    def _refuse_finished(self) -> None:
        if self.finished:
            raise ConfigError(self.path, "holds a finished run; choose another folder with output=…, or pass --force")

    def claim(self, config: RunConfig, documents: Sequence[Document], work: str) -> dict[str, Any]:
        """Write `config.yaml` and `inputs.json`; where the work has begun already, they must be what they were then.

        Raises ConfigError where the folder holds work of another kind or on other inputs, or something else.
        """
        origin = self._origin(config, documents, work)
        shutil.rmtree(self.path / SCRATCH, ignore_errors=True)
        for path in self.path.glob(".*.part"):
            if PART.fullmatch(path.name):
                path.unlink()
        self.write(CONFIG, resolved_yaml(config))
        self.write_json(INPUTS, origin)
        return origin

    def _origin(self, config: RunConfig, documents: Sequence[Document], work: str) -> dict[str, Any]:
        """What is known of the work at its start; raises ConfigError where the folder cannot take it."""
        held = self.held
        if held not in (None, work):
            told = f"holds a {held}, begun or finished; choose another output folder"
            if (held, work) == (RUN, FOLDED) and not self.finished:
                told += (
                    ", or remove `trainer` from it where an earlier version was killed while it cross-validated here"
                )
            raise ConfigError(self.path, told)
        resolved, origin = resolved_yaml(config), provenance(config, documents)
        known = self.path / INPUTS
        if held and known.exists():
            before = json.loads(known.read_text("utf-8"))
            same = {name: before.get(name) == origin[name] for name in ("data", "encoder")}
            same["config"] = (self.path / CONFIG).read_text("utf-8") == resolved
            if changed := [name for name, kept in same.items() if not kept]:
                raise ConfigError(
                    self.path, f"holds unfinished work with another {', '.join(changed)}; choose output=…, or remove it"
                )
            origin["started"] = before["started"]
        elif not known.exists() and self.path.exists() and not self._untouched(resolved):
            raise ConfigError(self.path, "is a folder of something else; choose another one with output=…")
        return origin

    def _untouched(self, resolved: str) -> bool:
        """Whether it holds nothing, or what a kill leaves of a `claim` with the same config."""
        names = [path.name for path in self.path.iterdir() if not PART.fullmatch(path.name)]
        config = self.path / CONFIG
        return not names or (names == [CONFIG] and config.is_file() and config.read_bytes() == resolved.encode())

    def finish(self, origin: dict[str, Any]) -> None:
        """Write `run.json`, which makes the run a finished one, and drop the Trainer's state."""
        self.write_json(FINISHED, {**origin, "finished": now()})
        (self.path / INPUTS).unlink(missing_ok=True)
        shutil.rmtree(self.trainer, ignore_errors=True)

    def write(self, name: str, text: str) -> None:
        """Write a text file whole or not at all."""
        write_text(self.path / name, text)

    def write_json(self, name: str, value: Any) -> None:
        """Write indented JSON."""
        write_json(self.path / name, value)


def destination(output: Path, *, force: bool) -> RunDirectory:
    """Where a run is made: its own folder, or, with `force` and a finished run in it, one beside it that will replace it."""
    run = RunDirectory(output)
    return RunDirectory(beside(standing(output), "new")) if force and run.finished else run


def standing(output: Path) -> Path:
    """The folder itself where the output is a link to one, which goes on pointing there while the folder is replaced."""
    return Path(os.path.realpath(output)) if output.is_symlink() else output


def obstacle(folder: Path) -> str | None:
    """Why a folder cannot be made, or what is in it written; None where it can."""
    around = next(place for place in (folder.absolute(), *folder.absolute().parents) if os.access(place, os.F_OK))
    if not around.is_dir():
        return f"{around} is a file, so no folder can be made there"
    return None if os.access(around, os.W_OK | os.X_OK) else f"{around} cannot be written"


def beside(output: Path, name: str) -> Path:
    """A hidden folder of the run's own: `new` for one that will replace it, `old` for itself while it is replaced."""
    return output.with_name(f".{output.name}.{name}")


IN_THE_WAY = "is where --force sets the earlier run aside, and cannot be removed; remove or rename it"
"""What is said of something that is no folder there."""


def write_table(place: Path, text: str, values: Mapping[str, object]) -> None:
    """`place.md` and `place.json`, each whole or not at all."""
    write_text(place.with_name(place.name + ".md"), text + "\n")
    write_json(place.with_name(place.name + ".json"), values)


def resolved_yaml(config: RunConfig) -> str:
    """The whole config with every default spelled out; loading it gives the same config."""
    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, allow_unicode=True, width=120)


def now() -> str:
    """The time of day, in UTC."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


def provenance(config: RunConfig, documents: Iterable[Document]) -> dict[str, Any]:
    """What is needed to repeat a run: seed, data, encoder, versions, machine, state of the code."""
    return {
        "started": now(),
        "seed": config.seed,
        "encoder": {"name": config.encoder, "version": encoder_version(config.encoder)},
        "data": {
            "files": [str(path) for path in config.data.train],
            "fingerprint": fingerprint(documents),
            **({"further": fingerprint(further)} if (further := further_texts(config)) else {}),
        },
        "packages": packages(),
        "python": platform.python_version(),
        "hardware": hardware(),
        "git": _git(),
    }


def hardware() -> dict[str, Any]:
    """The processor, its instructions, the threads torch uses, and the accelerator if there is one."""
    lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines() if Path("/proc/cpuinfo").exists() else []
    models = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    return {
        "processor": models[0] if models else platform.machine(),
        "instructions": instructions(),
        "threads": torch.get_num_threads(),
        "gpu": gpu,
    }


def packages() -> dict[str, str | None]:
    """The versions of what a result depends on."""
    return {name: package(name) for name in PACKAGES}


def machine() -> dict[str, Any]:
    """Hardware and versions behind a measurement."""
    return {**hardware(), **{name: package(name) for name in PACKAGES[:2]}}


def _git() -> dict[str, Any] | None:
    try:
        commit = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=True).stdout.strip()
        changed = subprocess.run(["git", "status", "--porcelain"], capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return None
    return {"commit": commit, "uncommitted_changes": bool(changed.strip())}
