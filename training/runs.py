"""What `standpoint train` and `standpoint evaluate` do, as plain functions. They print nothing."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from annotations.document import Document
from annotations.errors import ConfigError
from annotations.labelstudio.exports import ImportReport
from annotations.reading import annotated_documents
from annotations.storage import write_jsonl
from inference import checkpoint_files
from inference.tagger import Tagger
from training.config import RunConfig
from training.data import unreachable
from training.folds import apart, held_apart
from training.lineage import lineage
from training.model_card import accompany
from training.preflight.gate import usable
from training.recipe import resolved
from training.reports.evaluation import evaluate
from training.reports.report import Report
from training.reports.unseen import unseen_scores
from training.run_directory import (
    EVALUATION,
    IN_THE_WAY,
    PREDICTIONS,
    RUN,
    RunDirectory,
    alone,
    beside,
    destination,
    is_main_process,
    standing,
)
from training.safeguards import saved_apart, saving
from training.self_training import check_self_training, learn
from training.sharding import require_processes
from training.together import first_is_ready, others_waiting, process_group_left
from training.trainer import check_arguments
from training.unlabelled import further_texts

SEEN = 50


@dataclass(frozen=True)
class Texts:
    """What a run learns from and is scored on."""

    learned: list[Document]
    scored: list[Document]
    """Held out or tested on; empty where nothing is kept out of training."""
    further: list[Document]
    """Without labels."""
    told: list[str]
    """What was repaired or left out on reading."""
    odd: list[str]
    """What somebody should know of them."""

    @classmethod
    def of(cls, config: RunConfig) -> Texts:
        """Read them.

        Raises:
            InputError: a file cannot be read, the documents cannot be learned from, or a text is both learned and scored.
        """
        schema = config.tagger.label_schema
        documents, imported = annotated_documents(config.data.train, schema)
        learned, held_out = held_apart(documents, config.data.held_out)
        unseen, imported_too = annotated_documents(config.data.test, schema)
        scored, further = [*held_out, *unseen], further_texts(config)
        apart([*learned, *further], scored)
        told = [f"{imported}", *([f"test data: {imported_too}"] if unseen else [])]
        odd = [f"warning: {warning}" for warning in usable(learned, schema, scored)]
        return cls(learned, scored, further, told, odd)


def train(
    config: RunConfig, *, force: bool = False, say: Callable[[str], None] | None = None
) -> tuple[RunDirectory, Report] | None:
    """Fine-tune, score on what was kept out of training (or, where nothing was, on some of it), write the run directory.

    With `force` a finished run in the same folder is replaced, once the new one is whole. An interrupted run goes on.
    Under torchrun or accelerate the first process writes and returns the run, the others return None. `say` is told what is
    odd about the data; `import.txt` keeps it.

    Raises:
        InputError: config, data, encoder or folder cannot be used; nothing has been written over then.
        TrainingError: training diverged, or the disk is full; what was saved before is untouched.
    """
    check_self_training(config)
    texts = Texts.of(config)
    if say and is_main_process():
        for warning in texts.odd:
            say(warning)
    config = resolved(config)
    check_arguments(config, config.output)
    require_processes(config.trainer)
    with process_group_left():
        if is_main_process():
            return _first(config, texts, force=force)
        # Whose the folder is, and which one the run is made in, is known when the first process has taken it.
        if not first_is_ready():
            raise ConfigError(config.output, "the first process cannot begin there; do as its message says")
        learn(config, texts.learned, destination(config.output, force=force).trainer)
        return None


def _first(config: RunConfig, texts: Texts, *, force: bool) -> tuple[RunDirectory, Report]:
    """What the first process does, or the only one."""
    with ExitStack() as held:
        with others_waiting():
            run, origin = held.enter_context(_taken(config, texts.learned, force=force))
        report = _made(run, origin, config, texts)
    return RunDirectory(config.output), report


@contextmanager
def _taken(
    config: RunConfig, learned: Sequence[Document], *, force: bool
) -> Iterator[tuple[RunDirectory, dict[str, Any]]]:
    """The folder in which the run is made, held against other processes, and what is known at its start.

    Where that is not the output itself, it takes its place at the end, when the run must be whole.
    """
    # A run that a killed swap set aside is brought back under its own lock, so that no swap still under way is disturbed.
    place = standing(config.output)
    with alone(_set_aside(place) or place, RUN):
        _bring_back(place)
        run = destination(place, force=force)
        replacing = run.path != place
        if replacing:
            _cleared(place)
        yield run, run.begin(config, learned)
        if replacing:
            _swap(run, place)


def _made(run: RunDirectory, origin: dict[str, Any], config: RunConfig, texts: Texts) -> Report:
    """Train, score and write everything into the run's folder, until it is finished."""
    schema, learned, scored = config.tagger.label_schema, texts.learned, texts.scored
    with process_group_left():
        tagger = learn(config, learned, run.trainer, events=run.events)
    part = saved_apart(run.path, tagger)
    report, predicted = evaluate(tagger, scored or learned[:SEEN])
    scores = unseen_scores(report, scored, predicted, schema) if scored else []
    with saving(run.path, part):
        accompany(part, lineage(config, origin, learned, texts.further, tagger.config), scores, schema)
        shutil.rmtree(run.checkpoint, ignore_errors=True)
        part.rename(run.checkpoint)
    write_report(run, report, predicted, note=_note(config))
    lost = [line for lines in unreachable(learned, tagger.tokenizer, config.tagger).values() for line in lines]
    told = [*texts.told, f"{len(lost)} spans do not fit the tokens", *(f"  not learned  {line}" for line in lost)]
    run.write("import.txt", "\n".join([*told, *texts.odd]) + "\n")
    run.finish({**origin, "model_version": checkpoint_files.version(run.checkpoint)})
    return report


def _cleared(place: Path) -> None:
    """Remove what killed swaps left. Raises ConfigError where something else would be in the way of the swap in the end."""
    old, new = beside(place, "old"), RunDirectory(beside(place, "new"))
    # Left when the new run had its place already.
    shutil.rmtree(old, ignore_errors=True)
    if os.path.lexists(old):
        raise ConfigError(old, IN_THE_WAY)
    if new.finished:
        # Killed between finishing and taking its place.
        shutil.rmtree(new.path)


def _swap(run: RunDirectory, place: Path) -> None:
    """Put a finished run in the place of an earlier one."""
    old = beside(place, "old")
    place.rename(old)
    run.path.rename(place)
    shutil.rmtree(old, ignore_errors=True)


def _set_aside(place: Path) -> Path | None:
    """An earlier run that `_swap` set aside, where it was killed before the new one took its place."""
    old, new = beside(place, "old"), RunDirectory(beside(place, "new"))
    return old if old.is_dir() and new.finished and not place.exists() else None


def _bring_back(place: Path) -> None:
    if old := _set_aside(place):
        old.rename(place)


def _note(config: RunConfig) -> str:
    if unseen := [*config.data.held_out, *map(str, config.data.test)]:
        return f"Scored on {', '.join(unseen)}, which the tagger never saw."
    return f"Scored on (up to {SEEN}) training documents: this shows that learning worked, and nothing about new texts."


def write_report(run: RunDirectory, report: Report, predicted: Sequence[Document], *, note: str) -> None:
    """The report as text, Markdown and JSON, and the predictions behind it."""
    run.write("report.txt", f"{note}\n\n{report.text()}\n")
    run.write("report.md", f"{note}\n\n{report.markdown()}\n")
    run.write_json("metrics.json", {"note": note, **report.to_dict()})
    write_jsonl(run.path / PREDICTIONS, predicted)


def write_origin(run: RunDirectory, path: Path, data: Sequence[Path]) -> None:
    """What a checkpoint was scored on, so that the result can be compared with others later."""
    schema = checkpoint_files.label_schema(path).model_dump(mode="json")
    run.write_json(EVALUATION, {"checkpoint": str(path), "data": [str(file) for file in data], "schema": schema})


def evaluate_checkpoint(path: Path, data: Sequence[Path]) -> tuple[Report, list[Document], ImportReport]:
    """Score a checkpoint on annotated files; also what was repaired or skipped on reading them.

    Raises:
        InputError: the checkpoint or the data cannot be used, or the data hold labels the checkpoint does not know.
    """
    tagger = Tagger.load(path)
    documents, imported = annotated_documents(data, tagger.schema)
    return *evaluate(tagger, documents), imported
