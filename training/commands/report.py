"""The command `standpoint report`. A thin shell; heavy modules load only inside it."""

from __future__ import annotations

import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import Annotated

import typer

from training.shell import progress, quiet_libraries


def report(
    source: Annotated[
        Path, typer.Argument(help="checkpoint folder, or a folder of `train`, `crossval`, `evaluate --output`")
    ],
    data: Annotated[
        list[Path] | None,
        typer.Argument(help="annotated .jsonl or Label Studio .json files; a finished result names its own"),
    ] = None,
    output: Annotated[Path, typer.Option(help="folder for report.txt, report.json, report.md, report.html")] = Path(
        "report"
    ),
    train: Annotated[
        list[Path] | None,
        typer.Option(help="file that was learned from, where the folder does not tell; may be repeated"),
    ] = None,
    calibrate: Annotated[
        bool,
        typer.Option("--calibrate", help="fit a temperature for each layer, and say what it does (checkpoints only)"),
    ] = False,
    calibrated: Annotated[
        Path | None,
        typer.Option(help="also write a copy of the checkpoint with these temperatures into this new folder"),
    ] = None,
    baselines: Annotated[bool, typer.Option(help="also score the majority label and TF-IDF")] = True,
    task_url: Annotated[
        str | None,
        typer.Option(help="link to a task, such as http://localhost:8080/projects/1/data?task={task}"),
    ] = None,
) -> None:
    """Where a tagger errs and how sure its scores are: seqeval's report, and a folder with everything behind it."""
    from training.reports.making import ReportSettings, make_report
    from training.reports.writing import PAGE, TEXT

    quiet_libraries()
    settings = ReportSettings(
        train=train or (),
        calibrate=calibrate,
        calibrated=calibrated,
        baselines=baselines,
        task_url=task_url,
    )
    with redirect_stdout(sys.stderr):
        make_report(source, data or (), output, settings, command=" ".join(["standpoint", *sys.argv[1:]]))
    typer.echo((output / TEXT).read_text("utf-8"))
    progress(f"Report: {output / PAGE}")
