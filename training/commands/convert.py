"""The command `standpoint labels convert`. A thin shell; heavy modules load only inside it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from annotations.errors import DocumentError
from training.commands.options import spread
from training.formats.names import READ_ONLY, SCHEMA_BOUND, Format
from training.shell import SCHEMA, progress, schema_file

if TYPE_CHECKING:
    from annotations.document import Document
    from annotations.labelstudio.policy import Policy
    from training.formats.conversion import Reading


@dataclass(frozen=True)
class Annotators:
    """Whose annotations of a Label Studio export count."""

    choose: Annotated[
        str | None,
        typer.Option(
            help="whose annotation of an export counts: only (the default), user, ground_truth, adjudicated or majority"
        ),
    ] = None
    user: Annotated[int | None, typer.Option(help="whose, with --choose user")] = None

    def policy(self) -> Policy | None:
        """None where nothing is chosen. Raises ConfigError for a choice that there is not, or one that lacks its user."""
        from annotations.labelstudio.policy import Policy

        given = {"choose": self.choose, "user": self.user}
        values = {name: value for name, value in given.items() if value is not None}
        return Policy.build(values, where="labels convert") if values else None


@spread(Annotators)
def convert(
    inputs: Annotated[list[Path], typer.Argument(help="files or folders of one format")],
    output: Annotated[Path, typer.Option(help="file, or folder for brat and datasets")],
    source: Annotated[Format, typer.Option("--from", help="format of the inputs")] = Format.AUTO,
    to: Annotated[Format, typer.Option("--to", help="format to write")] = Format.DOCUMENTS,
    schema: Annotated[Path | None, typer.Option(help="schema file; configs/schema.yaml by default")] = None,
    derive_schema: Annotated[Path | None, typer.Option(help="write a schema of the labels found, needing none")] = None,
    layer: Annotated[str | None, typer.Option(help="layer of spans; by default the schema's only one")] = None,
    per_document: Annotated[
        int | None,
        typer.Option("--sentences", min=0, help="sentences a document, from columns; 0 for all up to -DOCSTART-"),
    ] = None,
    *,
    options: Annotators,
) -> None:
    """Convert annotated documents between file formats; what a format cannot express is counted on standard error."""
    from annotations.formats.conversion import derived_schema, span_layer, write_schema
    from annotations.schema import Schema
    from training.formats.conversion import Reading, write

    if to in READ_ONLY:
        raise DocumentError("--to", f"{to} cannot be written; name another format")
    if schema and derive_schema:
        raise typer.BadParameter("--derive-schema needs no --schema; give one of them", param_hint="--schema")
    declared = None if derive_schema else Schema.load(schema or schema_file(SCHEMA))
    name = span_layer(declared, layer) if declared else layer or "entity"
    if derive_schema:
        _check_derivable(inputs, source, derive_schema)
    reading = Reading(name, declared, per_document, policy=options.policy())
    counts = Counts(name)
    documents = counts.seen(checked(inputs, source, reading))
    if derive_schema:
        documents = _derivable(documents, counts, derive_schema)
    labels = declared.layers[name].names if declared else ()
    write(documents, output, to, name, labels, reading.report)
    if derive_schema:
        about = f"The labels found in {', '.join(path.name for path in inputs)}."
        write_schema(derived_schema(counts.labels, name, derive_schema), derive_schema, about)
    if reading.report.counts:
        progress(str(reading.report))
    typer.echo(f"{output}: {counts}")


def _check_derivable(inputs: Sequence[Path], source: Format, path: Path) -> None:
    from training.formats.conversion import detect

    if path.exists():
        raise DocumentError(path, "exists already; use it with --schema, or delete it to derive it anew")
    for given in inputs:
        if (detect(given) if source is Format.AUTO else source) in SCHEMA_BOUND:
            raise DocumentError(given, "has layers that a schema must declare; give --schema, not --derive-schema")


def _derivable(documents: Iterable[Document], counts: Counts, path: Path) -> Iterator[Document]:
    """The same documents. Labels that no schema can hold are told before the output takes its place."""
    from annotations.formats.conversion import derived_schema

    yield from documents
    derived_schema(counts.labels, counts.layer, path)


def checked(inputs: Iterable[Path], source: Format, reading: Reading) -> Iterator[Document]:
    """The documents of all inputs.

    Raises:
        DocumentError: after the last input, with every problem of every file, and what the schema does not allow.
    """
    problems: list[str] = []
    seen: set[str] = set()
    for path in inputs:
        try:
            for document in reading.read(path, source):
                found = [f"{path}: document {document.id!r}: {text}" for text in _problems(document, reading)]
                if document.id in seen:
                    found.append(f"{path}: document id {document.id!r} is used twice; rename the file or the document")
                seen.add(document.id)
                problems += found
                if not problems:
                    yield document
        except DocumentError as error:
            problems += [f"{error.where}: {problem}" for problem in error.problems]
    if problems:
        raise DocumentError("nothing is converted", problems)


def _problems(document: Document, reading: Reading) -> Iterator[str]:
    if reading.schema:
        for text in reading.schema.problems(document):
            yield f"{text}; or derive a schema with --derive-schema" if text.startswith("label") else text
    elif others := sorted(set(document.labels) - {reading.layer}):
        yield f"has the layers {', '.join(others)} too, which only a schema can declare; give --schema"


class Counts:
    """Counts documents and spans of one layer as they pass."""

    def __init__(self, layer: str) -> None:
        self.layer, self.documents = layer, 0
        self.labels: Counter[str] = Counter()

    def seen(self, documents: Iterable[Document]) -> Iterator[Document]:
        """The same documents."""
        for document in documents:
            self.documents += 1
            self.labels.update(span.label for span in document.spans(self.layer))
            yield document

    def __str__(self) -> str:
        each = ", ".join(f"{label} {count:,}" for label, count in self.labels.most_common())
        return f"{self.documents:,} documents, {self.labels.total():,} spans in layer {self.layer!r} ({each or 'none'})"
