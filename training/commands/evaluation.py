"""The commands that say how good a tagger is, and how sure that is. A thin shell; heavy modules load only inside them."""

from __future__ import annotations

import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import Annotated

import typer

from training.shell import ConfigPath, Overrides, progress, quiet_libraries, resumable

Seeds = Annotated[str, typer.Option(help="comma-separated seeds")]
Folds = Annotated[int | None, typer.Option(help="deal the groups to this many folds; by default one fold a group")]
Save = Annotated[Path | None, typer.Option(help="also write the table to SAVE.md and SAVE.json")]


def crossval(
    config: ConfigPath,
    overrides: Overrides = None,
    seeds: Seeds = "0,1,2",
    folds: Folds = None,
    baselines: Annotated[bool, typer.Option(help="also score CRF and TF-IDF on the same folds")] = True,
    save: Save = None,
) -> None:
    """Leave one article out: train on the others, tag it, for every article and several seeds; or K folds of articles."""
    from training.config import CrossvalConfig, RunConfig

    settings = RunConfig.load(config, overrides or [])
    values = {"seeds": seeds.split(","), "baselines": baselines, "folds": folds}
    rounds = CrossvalConfig.build(values, where="--seeds, --folds")
    from training import crossval_report

    quiet_libraries()
    with resumable(settings.output), redirect_stdout(sys.stderr):
        text = crossval_report.run(settings, rounds, command=_command(), save=save, say=progress)
    typer.echo(text)


def _command() -> str:
    return " ".join(["standpoint", *sys.argv[1:]])


def evaluate(
    checkpoint: Annotated[Path, typer.Argument(help="checkpoint folder")],
    data: Annotated[list[Path], typer.Argument(help="annotated .jsonl or Label Studio .json files")],
    output: Annotated[Path | None, typer.Option(help="folder for report.txt, report.md, metrics.json")] = None,
) -> None:
    """Score a checkpoint on annotated documents."""
    from training import runs
    from training.run_directory import RunDirectory

    quiet_libraries()
    report, predicted, imported = runs.evaluate_checkpoint(checkpoint, data)
    if imported.changed:
        progress(str(imported))
    if output:
        note = f"{checkpoint} scored on {', '.join(map(str, data))}."
        runs.write_report(RunDirectory(output), report, predicted, note=note)
        runs.write_origin(RunDirectory(output), checkpoint, data)
    typer.echo(report.text())


def compare(
    results: Annotated[
        list[Path], typer.Argument(help="two or more folders of `train`, `crossval`, `evaluate --output`")
    ],
    gold: Annotated[
        list[Path] | None, typer.Option(help="annotated file, where the folders do not lead to it; may be repeated")
    ] = None,
    schema: Annotated[Path | None, typer.Option(help="schema file, where no folder tells one")] = None,
    save: Annotated[Path | None, typer.Option(help="also write SAVE.md, SAVE.json and the page SAVE.html")] = None,
) -> None:
    """Is one result better than another? Paired bootstrap by document group, and a sentence of conclusion for each layer."""
    from training.reports import comparison_report

    text = comparison_report.run(results, gold=gold or (), schema=schema, command=_command(), save=save)
    typer.echo(text)


def learning_curve(
    config: ConfigPath,
    overrides: Overrides = None,
    sizes: Annotated[str, typer.Option(help="comma-separated numbers of groups to train on")] = "",
    fractions: Annotated[
        str, typer.Option(help="the same as shares of what a fold trains on, such as 0.25,0.5,1")
    ] = "",
    seeds: Seeds = "0,1,2",
    folds: Folds = None,
    save: Annotated[Path | None, typer.Option(help="also write SAVE.md, SAVE.json and SAVE.svg")] = None,
) -> None:
    """Will more annotation help? Train on growing parts of the data, score on the rest; resumable."""
    from training.config import LearningCurveConfig, RunConfig

    settings = RunConfig.load(config, overrides or [])
    lists = {"seeds": seeds, "sizes": sizes, "fractions": fractions}
    values = {name: given.split(",") for name, given in lists.items() if given}
    curve = LearningCurveConfig.build({**values, "folds": folds}, where="--sizes, --fractions, --seeds, --folds")
    from training.learning_curve import report as learning_curve_report

    quiet_libraries()
    with resumable(settings.output), redirect_stdout(sys.stderr):
        text = learning_curve_report.run(settings, curve, command=_command(), save=save, say=progress)
    typer.echo(text)
