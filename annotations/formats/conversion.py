"""What converters between file formats share: a report that counts, flat spans, the chosen layer, a schema from labels found.

It knows Documents and the schema, and no file format.
"""

from __future__ import annotations

import json
import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import yaml

from annotations.document import Document, Label, Span
from annotations.errors import DocumentError, SchemaError, did_you_mean
from annotations.schema import Kind, Schema
from annotations.storage import replacing

Json = dict[str, Any]
Item = TypeVar("Item")

KEPT = "what the format has no place for (it comes back on reading)"
SCORES = "probabilities of spans, not written"
PALETTE = ("#1f77b4", "#ff7f0e", "#2ca02c", "#d62728", "#9467bd", "#8c564b", "#e377c2", "#7f7f7f", "#bcbd22", "#17becf")


class Found(NamedTuple):
    """A span as a file gives it: half-open code-point offsets, a label, and where it stands."""

    start: int
    end: int
    label: str
    where: str = ""


@dataclass
class ConversionReport:
    """What was repaired, left out or kept aside, counted by kind, with the first place of each."""

    counts: Counter[str] = field(default_factory=Counter)
    first: dict[str, str] = field(default_factory=dict)

    def add(self, kind: str, where: str, count: int = 1) -> None:
        """Count one kind; `where` names a file and line, or a document."""
        if count:
            self.counts[kind] += count
            self.first.setdefault(kind, where)

    def __str__(self) -> str:
        return "\n".join(f"  {count} × {kind}; first: {self.first[kind]}" for kind, count in self.counts.items())


def streamed(
    path: Path, items: Iterable[Item], read: Callable[[int, Item], Document | None], counted: str | None = None
) -> Iterator[Document]:
    """The documents of items, which count from 1; from the first bad item on only problems are looked for.

    Problems are named by what the error says, or by `counted` and the item's number.

    Raises:
        DocumentError: after the last item, with every item's problem.
    """
    problems: list[str] = []
    for number, item in enumerate(items, 1):
        try:
            document = read(number, item)
        except DocumentError as error:
            where = f"{counted} {number}" if counted else error.where
            problems += [f"{where}: {problem}" for problem in error.problems]
            continue
        if document and not problems:
            yield document
    if problems:
        raise DocumentError(path, problems)


def flat(spans: Iterable[Found], where: str, report: ConversionReport) -> tuple[Span, ...]:
    """The spans that one layer can hold, in order: of spans that overlap, the first and longest; the others are counted.

    Raises:
        DocumentError: for spans that hold nothing.
    """
    kept: list[Span] = []
    ordered = sorted(spans, key=lambda found: (found.start, -found.end))
    if bad := [found for found in ordered if not 0 <= found.start < found.end]:
        raise DocumentError(where, [f"{found.label} {found.start}–{found.end} is empty or backward" for found in bad])
    for found in ordered:
        if kept and found.start < kept[-1].end:
            again = (found.start, found.end, found.label) == (kept[-1].start, kept[-1].end, kept[-1].label)
            kind = "spans given twice, kept once" if again else "nested or overlapping spans, the outer one kept"
            report.add(kind, found.where or where)
        else:
            kept.append(Span(start=found.start, end=found.end, label=found.label))
    return tuple(kept)


def carried(document: Document, layer: str) -> Json:
    """Everything of a document but its text and the spans of `layer`, as JSON values, for formats that can keep a note.

    A document that does not annotate the layer says so by `unannotated`.
    """
    values = document.model_dump(mode="json", exclude={"text"}, exclude_none=True, exclude_defaults=True)
    if layer not in document.labels:
        values["unannotated"] = True
    labels = values.pop("labels", {})
    labels.pop(layer, None)
    return {**values, "labels": labels} if labels else values


def restored(text: str, spans: Iterable[Span], values: Mapping[str, Any], *, layer: str, where: object) -> Document:
    """The document of a text, the spans of `layer`, and what `carried` kept (or at least an `id`).

    Raises:
        DocumentError: naming `where` and every problem.
    """
    values = dict(values)
    placed = [{"start": span.start, "end": span.end, "label": span.label} for span in spans]
    labels = values.pop("labels", {})
    if not isinstance(labels, Mapping):
        raise DocumentError(where, f"`labels` must be a mapping, found {labels!r}")
    if placed or not values.pop("unannotated", False):
        labels = {**labels, layer: placed}
    values.pop("unannotated", None)
    return Document.from_json(json.dumps({**values, "text": text, "labels": labels}), where=where)


def with_category(values: Json, layer: str, label: str) -> Json:
    """What is carried, with the label of a layer of kind `document` set."""
    labels = values.get("labels")
    return {**values, "labels": {**(labels if isinstance(labels, dict) else {}), layer: {"label": label}}}


def numbered(file: str, identity: object, number: int) -> str:
    """The id of a document of others: the one its file gives it, which may be 0, or the number of its line or row."""
    return f"{file}-{number if identity in (None, '') else identity}"


def count_carried(document: Document, layer: str, report: ConversionReport) -> None:
    """Count what a format with a note keeps in it, and the scores, which it does not keep."""
    where = f"document {document.id!r}"
    for name, labels in document.labels.items():
        if name != layer:
            report.add(f"labels of layer {name!r}, {KEPT}", where, 1 if isinstance(labels, Label) else len(labels))
    report.add(f"targets, {KEPT}", where, document.target is not None)
    report.add(SCORES, where, sum(span.score is not None for span in document.spans(layer)))


def span_layer(schema: Schema, name: str | None) -> str:
    """The layer of spans to read into or write from: the one named, or the only one.

    Raises:
        SchemaError: there is no such layer of spans, or there are several and none is named.
    """
    layers = list(schema.of_kind(Kind.SPANS))
    if name is None and len(layers) == 1:
        return layers[0]
    if name is None:
        raise SchemaError("--layer", f"is needed where a schema has not one layer of spans; {did_you_mean('', layers)}")
    if name not in layers:
        raise SchemaError("--layer", f"{name!r} is no layer of spans of the schema; {did_you_mean(name, layers)}")
    return name


def derived_schema(labels: Iterable[str], layer: str, where: object) -> Schema:
    """A schema of one layer of spans with the labels that were found.

    Raises:
        ConfigError: no label was found, or a label or the layer's name cannot be one.
    """
    specs = {label: {"color": PALETTE[place % len(PALETTE)]} for place, label in enumerate(labels)}
    return Schema.build({"layers": {layer: {"kind": "spans", "labels": specs}}}, where=where)


def write_schema(schema: Schema, path: Path, about: str) -> None:
    """Write a schema as YAML, headed by what it is for and the command that shows it."""
    values = schema.model_dump(mode="json", exclude_defaults=True, exclude_none=True)
    with replacing(path) as out:
        out.write(f"# {about}\n# Costs nothing.\n# Run: standpoint schema {path}\n")
        yaml.safe_dump(values, out, sort_keys=False, allow_unicode=True)


@contextmanager
def replacing_folder(path: Path) -> Iterator[Path]:
    """An empty folder that becomes `path` only when the block ends without an error.

    Raises:
        DocumentError: `path` holds something already, or cannot be written.
    """
    path = path.resolve()
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        if path.exists() and (not path.is_dir() or any(path.iterdir())):
            raise DocumentError(path, "exists and is not an empty folder; delete it or choose another")
        part.mkdir(parents=True)
        yield part
        part.replace(path)
    except OSError as error:
        raise DocumentError(path, f"cannot be written ({error.strerror}); check the path") from error
    finally:
        shutil.rmtree(part, ignore_errors=True)
