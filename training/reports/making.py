"""Makes a report: from a checkpoint or a result and data to a folder. It knows the order of things and no statistics."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from annotations.errors import ConfigError, DocumentError, TrainingError
from annotations.storage import write_text
from inference import checkpoint
from inference.verification import CARD, record
from training.lineage import LINEAGE
from training.reports.analysis import RESAMPLES, Analysis, analyse
from training.reports.sources import is_checkpoint, read_source
from training.reports.writing import write_report
from training.run_directory import obstacle
from training.safeguards import saving


@dataclass(frozen=True)
class ReportSettings:
    """What can be asked of a report."""

    train: Sequence[Path] = ()
    """What was learned from, where the folder does not tell."""
    calibrate: bool = False
    """Fit a temperature for each layer."""
    calibrated: Path | None = None
    """Write a copy of the checkpoint with these temperatures here."""
    baselines: bool = True
    """Score the majority label and TF-IDF as well."""
    task_url: str | None = None
    """Where an annotation tool shows a task, with `{task}` in place of its id."""
    resamples: int = RESAMPLES


def make_report(path: Path, data: Sequence[Path], output: Path, settings: ReportSettings, *, command: str) -> Analysis:
    """Write the report of a checkpoint or a finished result into a folder.

    Raises:
        InputError: checkpoint, result or data cannot be used, or have nothing in common; nothing is written then.
    """
    _check(path, settings)
    source = read_source(
        path,
        data,
        train=settings.train,
        logits=settings.calibrate or settings.calibrated is not None,
    )
    analysis = analyse(source, resamples=settings.resamples, with_baselines=settings.baselines)
    if settings.calibrated:
        analysis = _calibrated(analysis, path, settings.calibrated)
    write_report(analysis, output, command=command, task_url=settings.task_url)
    return analysis


def _check(path: Path, settings: ReportSettings) -> None:
    problems: list[str] = []
    if settings.calibrated:
        if not is_checkpoint(path):
            problems.append(f"--calibrated copies a checkpoint, and {path} is none")
        if os.path.lexists(settings.calibrated):
            problems.append(f"--calibrated {settings.calibrated} exists already; name a new folder")
        elif told := obstacle(settings.calibrated):
            problems.append(f"--calibrated {settings.calibrated}: {told}; name another folder")
    if settings.task_url is not None and "{task}" not in settings.task_url:
        problems.append("--task-url needs {task} where the task's id belongs")
    if settings.resamples < 100:
        problems.append(f"--resamples must be at least 100, found {settings.resamples}")
    if problems:
        raise ConfigError("report", problems)


def _calibrated(analysis: Analysis, path: Path, copy: Path) -> Analysis:
    """Write the copy with those temperatures that are of use, and say in the report which these are.

    Raises:
        DocumentError: none is of use; the message says why for each layer.
    """
    fits = {name: layer.temperature for name, layer in analysis.layers.items() if layer.temperature}
    useful = {name: fit.value for name, fit in fits.items() if not fit.problem}
    if not useful:
        why = [f"{name}: {fit.problem}" for name, fit in fits.items()]
        told = "no layer has a temperature that is of use, so no copy was written; leave out --calibrated, or give more documents"
        raise DocumentError(copy, [told, *why])
    write_calibrated(path, copy, useful)
    others = ", ".join(name for name in analysis.layers if name not in useful)
    said = f"{copy} has fitted temperatures for {', '.join(useful)}" + (f", and not for {others}" if others else "")
    return replace(analysis, written=dict.fromkeys(useful, str(copy)), remarks=[*analysis.remarks, said])


def write_calibrated(path: Path, copy: Path, temperatures: Mapping[str, float]) -> None:
    """A copy of a checkpoint whose config has these temperatures; the copy is whole or not there.

    Raises:
        TrainingError: the copy cannot be written.
    """
    model, tokenizer, config = checkpoint.load(path)
    known = {**config.temperatures, **temperatures}
    model.config.tagger = {**model.config.tagger, "temperatures": known}
    part = copy.with_name(f".{copy.name}.part")
    try:
        copy.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise TrainingError(f"{copy}: its folder cannot be made ({error.strerror}); name another one") from error
    shutil.rmtree(part, ignore_errors=True)
    with saving(copy.parent, part):
        checkpoint.save(part, model, tokenizer)
        _accompany(part, path, known)
        part.rename(copy)


def _accompany(part: Path, original: Path, temperatures: Mapping[str, float]) -> None:
    """The card and the facts of the original, and answers and hashes of the copy's own."""
    if (original / LINEAGE).is_file():
        shutil.copyfile(original / LINEAGE, part / LINEAGE)
    if (original / CARD).is_file():
        said = ", ".join(f"{name} {value:.3f}" for name, value in temperatures.items())
        about = f"A copy whose probabilities are scaled by temperatures ({said}); its labels are the original's."
        added = f"\n## Calibration\n\n{about}\n"
        write_text(part / CARD, (original / CARD).read_text("utf-8") + added)
    record(part)
