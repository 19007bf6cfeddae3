"""`standpoint labels suspects` and `review`: labels that are probably wrong, and people who look at them. A thin shell."""

from __future__ import annotations

import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import Annotated

import typer

from training.commands.evaluation import Folds, Seeds
from training.commands.rounds import LOCAL, Url, connected, layers_of
from training.shell import ConfigPath, Overrides, progress, quiet_libraries, resumable


def suspects(
    config: ConfigPath,
    overrides: Overrides = None,
    *,
    output: Annotated[
        Path, typer.Option(help="folder for suspects.jsonl and suspects.md; an interrupted call goes on")
    ],
    seeds: Seeds = "0",
    folds: Folds = None,
    show: Annotated[int, typer.Option(min=1, help="how many of each layer suspects.md shows")] = 50,
) -> None:
    """Which gold labels are probably wrong? Ranked by the probabilities of taggers trained on the other articles."""
    from training.config import CrossvalConfig, RunConfig

    settings = RunConfig.load(config, overrides or []).model_copy(update={"output": output})
    values = {"seeds": seeds.split(","), "baselines": False, "folds": folds}
    rounds = CrossvalConfig.build(values, where="--seeds, --folds")
    from training.suspects import run

    quiet_libraries()
    command = " ".join(["standpoint", *sys.argv[1:]])
    with resumable(output), redirect_stdout(sys.stderr):
        text = run.run(settings, rounds, command=command, show=show, say=progress)
    typer.echo(text)
    progress(f"All of them: {output / run.SUSPECTS}")


def review(
    folder: Annotated[Path, typer.Argument(help="what `labels suspects` wrote with --output")],
    title: Annotated[str | None, typer.Option(help="project of this title; made where there is none")] = None,
    project: Annotated[int | None, typer.Option(help="or the number of a project")] = None,
    count: Annotated[int, typer.Option(min=1, help="how many suspects of each layer to have reviewed")] = 50,
    layers: Annotated[str | None, typer.Option(help="comma-separated layers; all by default")] = None,
    url: Url = LOCAL,
) -> None:
    """Have suspect labels reviewed: a project with their documents, the most suspicious first. Each is sent once."""
    if (title is None) == (project is None):
        raise typer.BadParameter("give either --title or --project", param_hint="--title")
    from training.suspects.run import most, read

    schema, documents, found = read(folder)
    names = layers_of(layers, schema) or list(schema.layers)
    chosen = most([suspect for suspect in found if suspect.layer in names], count)
    server = connected(url)
    from annotations.labelstudio.review import push_review, review_project

    number = review_project(server, schema, project=project, title=title)
    done = push_review(server, number, documents, chosen, schema, progress)
    typer.echo(f"{done}\n{server.url}projects/{number}")
