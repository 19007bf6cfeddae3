"""The command `standpoint sweep`: a thin shell over `training.sweep`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from training.shell import progress, quiet_libraries, resumable


def sweep(
    config: Annotated[Path, typer.Argument(help="YAML file of the sweep")],
    overrides: Annotated[list[str] | None, typer.Argument(help="settings to override, such as layer=entity")] = None,
    workers: Annotated[int, typer.Option(min=1, help="processes, each with its share of the threads")] = 1,
    trials: Annotated[int | None, typer.Option(help="how many in all; more than before go on from there")] = None,
    minutes: Annotated[
        float | None, typer.Option(min=0, help="begin no fold after that; the same command goes on")
    ] = None,
) -> None:
    """Search the settings of a run on folds of its training data; the same command goes on after an interruption."""
    from training.sweep.config import SweepConfig

    given = [f"trials={trials}"] if trials is not None else []
    settings = SweepConfig.load(config, [*(overrides or []), *given])
    from training.sweep import run as job

    quiet_libraries()
    with resumable(settings.output):
        typer.echo(job.sweep(settings, workers=workers, minutes=minutes, say=progress))
