"""The commands of `standpoint labels` that speak to a Label Studio server. A thin shell; no model loads without `--model`."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from annotations.errors import ServerError
from training.shell import SCHEMA, SchemaPath, Targets, progress, quiet_libraries

if TYPE_CHECKING:
    from annotations.document import Document
    from annotations.labelstudio.push import Suggestions
    from annotations.labelstudio.server import Server
    from annotations.schema import Schema

TOKEN = "LABEL_STUDIO_API_KEY"
Url = Annotated[str, typer.Option("--url", envvar="LABEL_STUDIO_URL", help="address of the Label Studio server")]
Project = Annotated[int, typer.Option("--project", help="the project's number, as in its address")]
LOCAL = "http://localhost:8080"


def connected(url: str) -> Server:
    """The server at an address, with the token from the environment.

    Raises:
        ServerError: no token is set, or the SDK is not installed.
    """
    token = os.environ.get(TOKEN, "").strip()
    if not token:
        raise ServerError(
            f"no token: set {TOKEN} to a personal access token (Label Studio: Account & Settings, Personal Access Token)"
        )
    from annotations.labelstudio.server import Server

    return Server(url, token)


def push(
    files: Annotated[list[str], typer.Argument(help="text, .jsonl or Label Studio .json files")],
    title: Annotated[str | None, typer.Option(help="project of this title; made where there is none")] = None,
    project: Annotated[int | None, typer.Option(help="or the number of a project")] = None,
    url: Url = LOCAL,
    schema: SchemaPath = SCHEMA,
    target: Targets = None,
    layers: Annotated[str | None, typer.Option(help="comma-separated layers to ask for; all by default")] = None,
    model: Annotated[Path | None, typer.Option(help="checkpoint whose predictions annotators start from")] = None,
    update_interface: Annotated[
        bool, typer.Option("--update-interface", help="replace a labelling interface that differs from the schema")
    ] = False,
) -> None:
    """Send articles to a project as tasks, each once; with --model they carry its suggestions."""
    if (title is None) == (project is None):
        raise typer.BadParameter("give either --title or --project", param_hint="--title")
    from annotations.schema import Schema

    loaded = Schema.load(schema)
    asked = layers_of(layers, loaded)
    suggestions = _suggestions(model, loaded) if model else None
    server = connected(url)
    from annotations.labelstudio.push import open_project
    from annotations.labelstudio.push import push as send

    number, notes = open_project(server, loaded, project=project, title=title, update=update_interface)
    for note in notes:
        progress(note)
    read = _readable(files, target or [])
    done = send(server, number, read, loaded, layers=asked, suggestions=suggestions, say=progress)
    typer.echo(f"{done}\n{server.url}projects/{number}")


def _readable(files: list[str], targets: list[str]) -> _Files:
    from annotations.reading import for_targets

    return _Files(list(for_targets(files, targets)) if "-" in files else None, files, targets)


class _Files:
    """Documents that can be read again and again; standard input is kept in memory for that."""

    def __init__(self, kept: list[Document] | None, files: list[str], targets: list[str]) -> None:
        self.kept, self.files, self.targets = kept, files, targets

    def __call__(self) -> Iterable[Document]:
        from annotations.reading import for_targets

        return for_targets(self.files, self.targets) if self.kept is None else self.kept


def layers_of(names: str | None, schema: Schema) -> list[str] | None:
    """Layers on the command line; None where none are named."""
    if names is None:
        return None
    chosen = [name.strip() for name in names.split(",")]
    if unknown := [name for name in chosen if name not in schema.layers]:
        raise typer.BadParameter(f"{unknown[0]!r} is none of {', '.join(schema.layers)}", param_hint="--layers")
    return chosen


def _suggestions(model: Path, schema: Schema) -> Suggestions:
    from annotations.errors import SchemaError
    from annotations.labelstudio.push import Suggestions
    from inference import checkpoint_files
    from inference.tagger import Tagger

    quiet_libraries()
    tagger = Tagger.load(model)
    names = {name: (layer.kind, layer.names) for name, layer in schema.layers.items()}
    others = {name: (layer.kind, layer.names) for name, layer in tagger.schema.layers.items()}
    if names != others:
        differing = sorted({name for name in names | others if names.get(name) != others.get(name)})
        raise SchemaError(
            model,
            [f"layer {name!r} is not as in the schema; retrain the model or change --schema" for name in differing],
        )

    def tag(documents: Iterable[Document]) -> Iterator[Document]:
        yield from tagger.tag(documents)

    return Suggestions(checkpoint_files.version(model), tag)


def pull(
    project: Project,
    output: Annotated[Path, typer.Option(help="folder of versions; its `latest` points to the newest")],
    url: Url = LOCAL,
    schema: SchemaPath = SCHEMA,
    choose: Annotated[
        str, typer.Option(help="whose annotation counts: only, user, ground_truth, adjudicated or majority")
    ] = "only",
    user: Annotated[int | None, typer.Option(help="whose, with --choose user")] = None,
    skipped: Annotated[str, typer.Option(help="tasks skipped by annotators: leave_out or refuse")] = "leave_out",
    empty: Annotated[
        str, typer.Option(help="annotations with nothing marked: negative, leave_out or refuse")
    ] = "negative",
) -> None:
    """Bring a project's annotations here as a new version; only what changed is fetched."""
    from annotations.labelstudio.policy import Policy
    from annotations.schema import Schema

    settings = {"choose": choose, "user": user, "skipped": skipped, "empty": empty}
    policy = Policy.build(settings, where="labels pull")
    server = connected(url)
    from annotations.labelstudio.pull import pull as fetch

    found = fetch(server, project, output, Schema.load(schema), policy, progress)
    typer.echo(f"{found.report}\nversion {found.version} ({found.changed} tasks changed)\n{found.documents}")


def adjudicate(
    project: Project,
    url: Url = LOCAL,
    schema: SchemaPath = SCHEMA,
    users: Annotated[str | None, typer.Option(help="user ids, such as 2,3; all annotators by default")] = None,
) -> None:
    """Settle disputes: make the review project, or take what the reviewer answered as ground truth. Run it again at will."""
    server = connected(url)
    from annotations.labelstudio.adjudication import adjudicate as step
    from annotations.schema import Schema

    chosen = _numbers(users) if users else None
    state = step(server, project, Schema.load(schema), users=chosen, say=progress)
    typer.echo(str(state))
    if state.review is not None and state.waiting:
        typer.echo(f"Review them at {server.url}projects/{state.review}, then run this command again.")


def _numbers(users: str) -> list[int]:
    words = [word.strip() for word in users.split(",")]
    if not all(word.isdecimal() for word in words):
        raise typer.BadParameter(f"{users!r} is no list of numbers, such as 2,3", param_hint="--users")
    return [int(word) for word in words]


def doctor(
    url: Url = LOCAL,
    project: Annotated[int | None, typer.Option(help="also look at this project")] = None,
    schema: SchemaPath = SCHEMA,
    backend: Annotated[str | None, typer.Option(help="also look at a model backend at this address")] = None,
) -> None:
    """Look for what is wrong between here and the server; each failing line says what to do."""
    from annotations.labelstudio.doctor import examine
    from annotations.schema import Schema

    findings = examine(url, os.environ.get(TOKEN, ""), Schema.load(schema), project=project, backend=backend)
    for finding in findings:
        typer.echo(str(finding))
    if not all(finding.passed for finding in findings):
        sys.exit(1)
