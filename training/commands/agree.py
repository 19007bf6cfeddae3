"""The command `standpoint labels agree`: a thin shell over agreement between annotators."""

from __future__ import annotations

import json
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from training.shell import SCHEMA, SchemaPath, progress

if TYPE_CHECKING:
    from annotations.agreement.overview import Agreement
    from annotations.schema import Schema as LabelSchema


class Format(StrEnum):
    """What standard output gets."""

    TEXT = "text"
    JSON = "json"


def agree(
    files: Annotated[
        list[Path], typer.Argument(help="one Label Studio JSON export, or a .jsonl file for each annotator")
    ],
    schema: SchemaPath = SCHEMA,
    users: Annotated[
        str | None, typer.Option(help="annotators to compare, by id or name, such as 2,3; by default all")
    ] = None,
    form: Annotated[Format, typer.Option("--format", help="what to print")] = Format.TEXT,
    html: Annotated[
        Path | None, typer.Option(help="also write a self-contained page here, all readings side by side")
    ] = None,
    resamples: Annotated[int, typer.Option(min=100, help="bootstrap resamples, of articles")] = 1000,
) -> None:
    """Agreement of two or more annotators: F1, kappa and alpha with intervals, and every disagreement in context."""
    from annotations.agreement.overview import agreement
    from annotations.agreement.readings import read
    from annotations.agreement.text import agreement_text
    from annotations.schema import Schema

    loaded = Schema.load(schema)
    chosen = [user.strip() for user in users.split(",")] if users else None
    readings, remarks = read(files, loaded, chosen)
    for remark in remarks:
        progress(remark)
    found = agreement(readings, loaded, resamples=resamples)
    for document, who in found.single:
        progress(f"{document} is annotated by {who} alone and left out")
    if form is Format.JSON:
        typer.echo(json.dumps(found.to_dict(), allow_nan=False, indent=1))
    else:
        typer.echo(agreement_text(found))
    if html:
        _write_page(html, found, loaded)


def _write_page(path: Path, found: Agreement, schema: LabelSchema) -> None:
    from annotations.agreement.page import agreement_page
    from annotations.storage import replacing

    with replacing(path) as out:
        out.writelines(agreement_page(found, schema, f"Agreement: {', '.join(found.annotators)}"))
    progress(f"Page: {path}")
