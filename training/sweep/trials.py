"""Trials of a sweep as files: what was tried, how each fold scored, how it ended. It knows no model and no sampler.

TRIALS/0007/trial.json        number, parameters, state, reason; replaced as a whole
TRIALS/0007/seed-0-fold-2.json  one fold's score, written when the fold is done
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from pathlib import Path
from statistics import fmean, median
from typing import Any

from annotations.errors import DocumentError
from annotations.storage import write_json
from training.sweep.config import Pruner, Value

Step = tuple[int, int]
"""A seed, and a fold's number from 0."""


class State(StrEnum):
    """How a trial stands."""

    RUNNING = "running"
    """It has folds to do: now, or when the sweep goes on."""
    COMPLETE = "complete"
    """All its folds are scored."""
    PRUNED = "pruned"
    """It fell behind and was ended early."""
    FAILED = "failed"
    """Its settings could not be trained; `reason` says why."""


@dataclass(frozen=True)
class FoldScore:
    """What one fold scored."""

    seed: int
    fold: int
    score: float
    """What is maximised."""
    layers: dict[str, float]
    """The same measure for each annotated layer."""
    seconds: float
    """Training and scoring."""


@dataclass(frozen=True)
class Trial:
    """One set of values, and what came of it."""

    number: int
    parameters: dict[str, Value]
    state: State = State.RUNNING
    reason: str | None = None
    folds: tuple[FoldScore, ...] = ()
    """In the order of the steps."""

    @property
    def means(self) -> list[float]:
        """The mean score after each fold."""
        return [fmean(fold.score for fold in self.folds[: done + 1]) for done in range(len(self.folds))]

    @property
    def mean(self) -> float | None:
        """The mean over the folds so far; None before the first."""
        return self.means[-1] if self.folds else None

    @property
    def seconds(self) -> float:
        """The time that its folds took."""
        return sum(fold.seconds for fold in self.folds)

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        return {**asdict(self), "mean": self.mean, "seconds": self.seconds}


class Trials:
    """The trials below a folder."""

    def __init__(self, folder: Path, steps: Sequence[Step]) -> None:
        self.folder = folder
        self.steps = steps

    def all(self) -> list[Trial]:
        """Every trial by its number.

        Raises:
            DocumentError: a file cannot be read.
        """
        paths = sorted(self.folder.glob("*/trial.json"), key=lambda path: int(path.parent.name))
        return [self._read(path) for path in paths]

    def keep(self, trial: Trial) -> None:
        """Write a trial's values and state; its folds are in files of their own."""
        values = {name: value for name, value in asdict(trial).items() if name != "folds"}
        write_json(self.folder / f"{trial.number:04d}" / "trial.json", values)

    def scored(self, trial: Trial) -> Trial:
        """The trial with what is on disk of its folds, up to the first that is missing."""
        folds = []
        for step in self.steps:
            path = fold_path(self.folder, trial.number, step)
            if not path.exists():
                break
            folds.append(FoldScore(**_read_json(path)))
        return replace(trial, folds=tuple(folds))

    def _read(self, path: Path) -> Trial:
        values = _read_json(path)
        return self.scored(Trial(**{**values, "state": State(values["state"])}))


def fold_path(folder: Path, number: int, step: Step) -> Path:
    """Where a fold's score is kept."""
    return folder / f"{number:04d}" / f"seed-{step[0]}-fold-{step[1]}.json"


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise DocumentError(path, f"cannot be read ({error}); remove it, and its trial goes on without it") from error


def falls_behind(trial: Trial, others: Iterable[Trial], pruner: Pruner | None) -> bool:
    """Whether the mean over the folds so far is below the median of complete trials' means over the same folds.

    The median stopping rule (Golovin et al., 2017, Google Vizier, section 3.2.1), on the last mean. Optuna's
    MedianPruner takes a trial's best mean so far, and so one easy first fold would keep every trial alive.
    """
    done = len(trial.folds)
    if pruner is None or done <= pruner.warmup:
        return False
    means = [other.means[done - 1] for other in others if other.state is State.COMPLETE]
    return len(means) >= pruner.startup and trial.means[-1] < median(means)


def best(trials: Iterable[Trial]) -> Trial | None:
    """The complete trial with the highest mean, the earliest of equals; None where none is complete."""
    complete = [trial for trial in trials if trial.state is State.COMPLETE]
    return max(complete, key=lambda trial: (trial.mean or 0.0, -trial.number), default=None)
