"""Trains on growing parts of the data and scores on the rest, fold by fold. It knows groups, sizes and kept predictions.

What the scores say about more annotation is `training.learning_curve.outlook`'s business.
"""

from __future__ import annotations

import hashlib
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from annotations.document import Document
from annotations.errors import ConfigError
from annotations.schema import Schema
from training.config import LearningCurveConfig, RunConfig
from training.crossval import kept_predictions, safe_name, warned_folds
from training.folds import CURVE, Fold, learnable, occurring, scheme, used_labels
from training.recipe import resolved
from training.run_directory import FOLDED, RunDirectory, alone
from training.trainer import check_arguments

STEPS = 6
Say = Callable[[str], None]


@dataclass(frozen=True)
class Grown:
    """What was predicted, and learned from, with one number of groups."""

    groups: int
    rounds: list[list[Document]]
    """The held-out documents of all folds, for each seed."""
    documents: float
    """Training documents, mean over folds and seeds."""
    labels: dict[str, float]
    """Layer to training labels, mean over folds and seeds."""


class Task(NamedTuple):
    """One training: a seed, and a fold cut down to some of its groups."""

    seed: int
    size: int
    fold: Fold


def learning_curve(
    config: RunConfig, settings: LearningCurveConfig, documents: Sequence[Document], say: Say
) -> tuple[list[Grown], dict[str, Any]]:
    """Predictions for each size, smallest first, and what was known at the start.

    Every training's predictions are kept in `output` as soon as they are made, so an interrupted call goes on where it was.

    Raises:
        ConfigError: a size is larger than what a fold trains on, `output` holds other work, or another process is
            at work there.
        DocumentError: the documents cannot be learned from, or there are too few groups with annotations.
    """
    schema = config.tagger.label_schema
    tasks = list(planned(warned_folds(config, settings.folds, documents, say), settings, schema))
    for warning in [*_idle(documents, schema), *_lacking(tasks, documents, schema)]:
        say(f"warning: {warning}")
    config = resolved(config)
    check_arguments(config, config.output)
    with alone(config.output, FOLDED):
        origin = RunDirectory(config.output).claim(config, documents, FOLDED)
        predicted = _predictions(config, settings, tasks, say)
    return [_grown(size, settings, tasks, predicted) for size in sorted({task.size for task in tasks})], origin


def planned(dealing: Sequence[Fold], settings: LearningCurveConfig, schema: Schema) -> Iterator[Task]:
    """Every training, seed by seed and fold by fold; a smaller part of a fold is always within the larger ones."""
    groups = {fold.name: {one.fold for one in fold.train if learnable(one, schema.layers)} for fold in dealing}
    sizes = chosen_sizes(settings, min(map(len, groups.values())))
    for seed in settings.seeds:
        for fold in dealing:
            order = drawn(groups[fold.name], seed, fold.name)
            for size in sizes:
                part = set(order[:size])
                yield Task(seed, size, fold._replace(train=[one for one in fold.train if one.fold in part]))


def drawn(groups: set[str], seed: int, fold: str) -> list[str]:
    """The groups in an order that depends on the seed and the fold alone, on every machine and Python."""

    def rank(group: str) -> bytes:
        return hashlib.sha256(f"{seed}\0{fold}\0{group}".encode("utf-8", "surrogatepass")).digest()

    return sorted(groups, key=rank)


def chosen_sizes(settings: LearningCurveConfig, most: int) -> list[int]:
    """Numbers of groups, rising, up to `most`, which is what the smallest fold trains on."""
    if large := [size for size in settings.sizes if size > most]:
        told = [f"{size} groups cannot be drawn: a fold trains on {most}; choose at most that" for size in large]
        raise ConfigError("--sizes", told)
    if settings.sizes:
        return sorted(settings.sizes)
    if settings.fractions:
        return sorted({max(1, round(share * most)) for share in settings.fractions})
    return sorted({round(size) for size in np.geomspace(1, most, STEPS)})


def _idle(documents: Sequence[Document], schema: Schema) -> Iterator[str]:
    idle = {one.fold for one in documents} - {one.fold for one in documents if learnable(one, schema.layers)}
    if idle:
        yield f"{len(idle)} groups annotate no layer of the schema and are not counted as training groups"


def _lacking(tasks: Sequence[Task], documents: Sequence[Document], schema: Schema) -> Iterator[str]:
    """For each size, how many of its training parts lack a label that occurs in the data."""
    wanted = {pair for pair, times in occurring(documents, schema).items() if times}
    lacking: dict[int, Counter[str]] = {}
    for task in tasks:
        here = occurring(task.fold.train, schema)
        missing = [" ".join(pair) for pair in sorted(wanted) if not here[pair]]
        lacking.setdefault(task.size, Counter()).update(missing)
    for size, counts in sorted(lacking.items()):
        total = sum(task.size == size for task in tasks)
        if counts:
            shown = ", ".join(f"{label} in {times}" for label, times in counts.most_common())
            yield f"{total} training parts of {size} groups: no example of {shown}"


def _predictions(
    config: RunConfig, settings: LearningCurveConfig, tasks: Sequence[Task], say: Say
) -> list[list[Document]]:
    """The held-out documents of each task as its tagger labels them."""
    home = scheme(config.output / CURVE, settings.folds)
    paths = [home / f"seed-{task.seed}" / safe_name(task.fold.name) / f"{task.size}.jsonl" for task in tasks]
    todo = sum(not path.exists() for path in paths)
    say(f"{len(tasks)} trainings, {len(tasks) - todo} of them done")
    began, done, found = time.monotonic(), 0, list[list[Document]]()
    for task, path in zip(tasks, paths, strict=True):
        if not path.exists():
            minutes = (time.monotonic() - began) / 60
            left = f", about {minutes / done * (todo - done):.0f} min left" if done else ""
            done += 1
            say(f"seed {task.seed}, without {task.fold.name}: {task.size} groups ({done} of {todo}{left})")
        found.append(kept_predictions(config, task.seed, task.fold, path))
    return found


def _grown(
    size: int, settings: LearningCurveConfig, tasks: Sequence[Task], predicted: Sequence[list[Document]]
) -> Grown:
    own = [(task, found) for task, found in zip(tasks, predicted, strict=True) if task.size == size]
    rounds = [[one for task, found in own if task.seed == seed for one in found] for seed in settings.seeds]
    labels: Counter[str] = Counter()
    for task, _ in own:
        for document in task.fold.train:
            labels.update({layer: len(names) for layer, names in used_labels(document).items()})
    documents = sum(len(task.fold.train) for task, _ in own) / len(own)
    return Grown(size, rounds, documents, {layer: count / len(own) for layer, count in labels.items()})
