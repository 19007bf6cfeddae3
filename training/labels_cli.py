"""The commands `standpoint labels …`: the annotation round. A thin shell; heavy modules load only where they are needed."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from annotations.errors import DocumentError
from training.shell import progress, reported

labels = typer.Typer(help="Annotations: how far annotators agree.", no_args_is_help=True)


@labels.command()
@reported
def agree(
    export: Annotated[Path, typer.Argument(help="Label Studio JSON export with several annotators")],
    schema: Annotated[Path, typer.Option(help="schema file")] = Path("configs/schema.yaml"),
    users: Annotated[str | None, typer.Option(help="two user ids, such as 2,3; by default the only two")] = None,
) -> None:
    """Span F1 and Cohen's kappa between two annotators, and every disagreement in context."""
    from annotations.agreement import agreement
    from annotations.exports import annotators, from_tasks, read_export
    from annotations.schema import Schema

    tasks, loaded = read_export(export), Schema.load(schema)
    known = annotators(tasks)
    pair = [user for user in known if str(user) in users.split(",")] if users else known
    if len(pair) != 2:
        raise DocumentError(export, f"has the annotators {known}; name two of them with --users=A,B")
    first, second = (from_tasks(tasks, loaded, user=user)[0] for user in pair)
    both = {document.id for document in first} & {document.id for document in second}
    for document in [*first, *second]:
        if document.id not in both:
            progress(f"{document.id} is annotated by one of them only and left out")
    typer.echo(f"users {pair[0]} (first) and {pair[1]} (second)\n")
    first, second = ([document for document in side if document.id in both] for side in (first, second))
    typer.echo(agreement(first, second, loaded))
