"""The command `standpoint labels lint`: a thin shell over `annotations.lint.report`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from training.shell import SCHEMA, SchemaPath


def lint(
    files: Annotated[list[Path], typer.Argument(help="Label Studio JSON exports, or .jsonl of documents")],
    schema: SchemaPath = SCHEMA,
    form: Annotated[str, typer.Option("--format", help="text or json")] = "text",
    select: Annotated[str, typer.Option(help="only these codes, such as E,W203")] = "",
    ignore: Annotated[str, typer.Option(help="not these codes, such as W2")] = "",
    strict: Annotated[bool, typer.Option("--strict", help="warnings fail too")] = False,
    min_marked: Annotated[int, typer.Option(min=1, help="W206: how often a surface must be marked elsewhere")] = 3,
    min_examples: Annotated[int, typer.Option(min=0, help="W209: how many examples a label needs")] = 10,
) -> None:
    """Find defects in annotations. Exit status: 0 none, 1 errors (with --strict, warnings too), 2 unreadable input."""
    from annotations.lint.corpus import Limits
    from annotations.lint.report import lint_files
    from annotations.schema import Schema

    if form not in ("text", "json"):
        raise typer.BadParameter(f"{form!r} is neither text nor json", param_hint="--format")
    limits = Limits(marked=min_marked, examples=min_examples)
    report = lint_files(files, Schema.load(schema), limits).only(_codes(select), _codes(ignore))
    typer.echo(report.to_json() if form == "json" else str(report))
    if report.failed(strict):
        raise typer.Exit(1)


def _codes(text: str) -> list[str]:
    return [code.strip() for code in text.split(",") if code.strip()]
