"""The command `standpoint`: a thin shell over plain functions. Heavy modules load only inside the command that needs them."""

from __future__ import annotations

import json
import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import Annotated

import typer

from inference.openmp import wait_briefly
from training.commands.evaluation import compare, crossval, evaluate, learning_curve
from training.commands.export import export
from training.commands.labels import labels
from training.commands.quality import gate, verify
from training.commands.report import report
from training.commands.serve import serve
from training.commands.sweep import sweep
from training.commands.tag import tag
from training.shell import ConfigPath, Overrides, progress, quiet_libraries, reported, resumable

app = typer.Typer(
    help="Who is named, and who says what about a claim: train, score and use a tagger for annotated news.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    add_completion=False,
)

app.add_typer(labels, name="labels")


@app.command()
@reported
def train(
    config: ConfigPath,
    overrides: Overrides = None,
    force: Annotated[bool, typer.Option("--force", help="replace a finished run, once the new one is whole")] = False,
) -> None:
    """Fine-tune a tagger; write checkpoint, report and provenance into the run's folder."""
    from training.config import RunConfig

    settings = RunConfig.load(config, overrides or [])
    from training import runs

    quiet_libraries()
    # The Trainer prints its log on standard output, which is for results.
    with resumable(settings.output), redirect_stdout(sys.stderr):
        finished = runs.train(settings, force=force, say=progress)
    if finished:
        run, _ = finished
        typer.echo((run.path / "report.txt").read_text("utf-8"))
        typer.echo(f"Run: {run.path}\nTagger: {run.checkpoint}")


@app.command()
@reported
def check(
    config: ConfigPath,
    overrides: Overrides = None,
    as_json: Annotated[bool, typer.Option("--json", help="one JSON object instead of text")] = False,
    quick: Annotated[
        bool, typer.Option("--quick", help="make no training steps: no estimate of time and memory")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="as for train: a finished run may be replaced")] = False,
) -> None:
    """Tell everything that is wrong with config, data and encoder, and what training will cost. Writes nothing.

    Exit status: 0 ready to train, perhaps with warnings; 2 problems.
    """
    from training.preflight import report
    from training.preflight.run import preflight

    quiet_libraries()
    with redirect_stdout(sys.stderr):
        found = preflight(config, overrides or [], quick=quick, force=force)
    if as_json:
        typer.echo(json.dumps(report.to_dict(found), ensure_ascii=False, allow_nan=False, indent=1))
    else:
        typer.echo(report.text(found))
    if not found.ready:
        raise typer.Exit(2)


for _command in (crossval, evaluate, compare, learning_curve, verify, gate, export):
    app.command()(reported(_command))


app.command()(reported(tag))


@app.command()
@reported
def schema(
    path: Annotated[Path, typer.Argument(help="schema file")] = Path("configs/schema.yaml"),
    guidelines: Annotated[Path | None, typer.Option(help="rewrite the label tables of this Markdown file")] = None,
) -> None:
    """Print Label Studio's labelling config of a schema, or renew the tables of the guidelines."""
    from annotations.guidelines import renew
    from annotations.labelstudio.shapes import labelling_config
    from annotations.schema import Schema

    loaded = Schema.load(path)
    typer.echo(renew(guidelines, loaded) if guidelines else labelling_config(loaded))


@app.command()
@reported
def encoder(
    checkpoint: Annotated[Path, typer.Argument(help="checkpoint folder of a tagger")],
    folder: Annotated[Path, typer.Argument(help="where to write the encoder")],
) -> None:
    """Take the encoder out of a tagger, as 16-bit floats, to start other taggers from."""
    from inference.checkpoint import save_encoder

    quiet_libraries()
    save_encoder(checkpoint, folder)
    typer.echo(f"Encoder: {folder}")


@app.command()
@reported
def seeds(records: Annotated[list[Path], typer.Argument(help="records beside raw articles (seeds/*.yaml)")]) -> None:
    """Print the documents to annotate, as JSON Lines, one for each target of each article."""
    from annotations.seeds import documents

    for record in records:
        for document in documents(record):
            typer.echo(document.to_json())


@app.command()
@reported
def pretrain(
    config: ConfigPath,
    overrides: Overrides = None,
    minutes: Annotated[
        float | None, typer.Option(help="budget, in which the rates reach zero; a longer one goes on")
    ] = None,
    start: Annotated[
        str | None, typer.Option("--from", help="go on from this encoder: default, a folder, or a hub name")
    ] = None,
    prepare: Annotated[bool, typer.Option("--prepare", help="make the tokenizer and the tokens, and stop")] = False,
) -> None:
    """Pretrain an encoder from plain text with masked-LM; the same command goes on after an interruption."""
    from training.pretraining.config import PretrainConfig

    given = [f"minutes={minutes}"] if minutes is not None else []
    given += [f"encoder={start}"] if start is not None else []
    settings = PretrainConfig.load(config, [*(overrides or []), *given])
    from training.pretraining import run

    quiet_libraries()
    with resumable(settings.output):
        if prepare:
            typer.echo(f"Prepared: {run.make_ready(settings, progress)}")
        else:
            typer.echo(f"Encoder: {run.pretrain(settings, progress)}")


app.command()(reported(report))
app.command()(reported(serve))
app.command()(reported(sweep))


def main() -> None:
    """Entry point of the command."""
    wait_briefly()
    app()
