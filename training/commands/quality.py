"""The commands that decide whether a checkpoint may be used: `verify` and `gate`. A thin shell."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from training.shell import progress, quiet_libraries


def verify(
    checkpoint: Annotated[Path, typer.Argument(help="checkpoint folder")],
    tolerance: Annotated[
        float | None, typer.Option(min=0, help="how far a probability may differ; 0.001 if unset")
    ] = None,
    record: Annotated[
        bool, typer.Option("--record", help="store what the checkpoint answers now, to verify it by from here on")
    ] = False,
) -> None:
    """Is a checkpoint as it was made? Hashes its files, tags stored probe texts again. Exit status: 0 yes, 1 no, 2 no tagger."""
    from inference import verification

    quiet_libraries()
    allowed = verification.TOLERANCE if tolerance is None else tolerance
    if record:
        progress(f"Before: {verification.verify(checkpoint, tolerance=allowed)}")
        count = verification.record(checkpoint)
        progress(f"Recorded: {count} probe texts, and the hash of every file.")
    found = verification.verify(checkpoint, tolerance=allowed)
    typer.echo(str(found))
    if not found.sound:
        raise typer.Exit(1)


def gate(
    checkpoint: Annotated[Path, typer.Argument(help="checkpoint folder, or the run that holds it")],
    baseline: Annotated[
        Path, typer.Option(help="what it must not be worse than: a checkpoint, a run, or predictions.jsonl")
    ],
    data: Annotated[list[Path], typer.Option(help="annotated .jsonl or Label Studio .json files")],
    more: Annotated[list[Path] | None, typer.Argument(help="further files of --data")] = None,
    layer: Annotated[list[str] | None, typer.Option(help="only this layer; may be repeated")] = None,
    tolerance: Annotated[float, typer.Option(min=0, help="F1 points that may be lost")] = 0.0,
    save: Annotated[Path | None, typer.Option(help="also write the table to SAVE.md and SAVE.json")] = None,
) -> None:
    """For CI: is a checkpoint worse than a baseline, beyond the interval? Exit status: 0 no, 1 yes, 2 errors."""
    from training.reports import gate as gates
    from training.run_directory import write_table

    quiet_libraries()
    found = gates.gate(checkpoint, baseline, [*data, *(more or ())], layers=layer or (), tolerance=tolerance)
    command = " ".join(["standpoint", *sys.argv[1:]])
    text = found.markdown(command)
    if save:
        write_table(save, text, {"command": command, **found.to_dict()})
    for warning in found.warnings:
        progress(f"warning: {warning}")
    typer.echo(text)
    if not found.passed:
        raise typer.Exit(1)
