"""A labelled text as a well-nested stream of marks and pieces, whatever crosses what.

It knows layers and offsets; it does not know what a page or a terminal looks like.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from itertools import pairwise, takewhile
from typing import NamedTuple

from annotations.document import Document, Label, Span
from annotations.schema import Kind, Schema

LINE_END = re.compile(r"[\r\n\u2028\u2029]+")


class Open(NamedTuple):
    """A mark begins here; `first` is False where it only resumes after an interruption."""

    layer: str
    span: Span
    first: bool


class Close(NamedTuple):
    """The mark opened last ends here; `last` is False where it will resume."""

    layer: str
    span: Span
    last: bool


class Break(NamedTuple):
    """A paragraph ends here; no mark is open."""


Event = Open | Close | Break | str
Mark = tuple[str, Span]


def walk(document: Document, schema: Schema) -> Iterator[Event]:
    """The document's text in pieces (`str`), between the marks of its layers of spans and sentences.

    The pieces joined are the text. Marks nest properly: sentences outside, spans inside, then in the schema's order; a
    mark that crosses an outer one or the end of a paragraph is closed and resumes behind it.
    """
    names = [*schema.of_kind(Kind.SENTENCES), *schema.of_kind(Kind.SPANS)]
    breaks = {match.end() for match in LINE_END.finditer(document.text)} - {len(document.text)}
    open_marks: list[Mark] = []
    for start, end, marks in _runs(document, names, breaks):
        shared = 0 if start in breaks else _shared(open_marks, marks)
        yield from (Close(*mark, last=mark[1].end == start) for mark in reversed(open_marks[shared:]))
        if start in breaks:
            yield Break()
        yield from (Open(*mark, first=mark[1].start == start) for mark in marks[shared:])
        yield document.text[start:end]
        open_marks = marks
    yield from (Close(*mark, last=True) for mark in reversed(open_marks))


def _runs(document: Document, names: Sequence[str], cuts: Collection[int]) -> Iterator[tuple[int, int, list[Mark]]]:
    """Half-open stretches within which nothing changes, and the marks over each, outermost first."""
    layers = [(name, spans, [span.start for span in spans]) for name in names if (spans := document.spans(name))]
    edges = {0, len(document.text), *cuts}
    for _, spans, _ in layers:
        edges.update(edge for span in spans for edge in (span.start, span.end))
    for start, end in pairwise(sorted(edges)):
        over = ((name, spans[bisect_right(starts, start) - 1]) for name, spans, starts in layers if starts[0] <= start)
        yield start, end, [(name, span) for name, span in over if start < span.end]


def _shared(before: Sequence[Mark], after: Sequence[Mark]) -> int:
    """How many outermost marks two runs have in common."""
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(before, after, strict=False)))


def visible(letter: str) -> str:
    """A name, `‹U+001B›`, for a character that shows nothing. Control pictures (`␛`) are missing from many fonts."""
    return f"\u2039U+{ord(letter):04X}\u203a"


def heading(document: Document) -> str:
    """What to call a document: its source's title, or its id where there is none."""
    title = document.source.get("title")
    return title if isinstance(title, str) and title.strip() else document.id


def scored(label: Label) -> str:
    """A label with its score, where it has one: `supports 0.91`."""
    return label.label if label.score is None else f"{label.label} {label.score:.2f}"


def tag(schema: Schema, layer: str, label: str) -> str:
    """A label as printed in the text: with its layer's name where several layers of that kind could have given it."""
    several = len(schema.of_kind(schema.layers[layer].kind)) > 1
    return f"{layer}: {label}" if several else label


def summaries(document: Document, schema: Schema) -> Iterator[tuple[str, list[str]]]:
    """Layer name and how often each label of it occurs (`3 PERSON`), for layers of spans and sentences."""
    for name, layer in schema.layers.items():
        if layer.kind is Kind.DOCUMENT:
            continue
        used = Counter(span.label for span in document.spans(name))
        counts = [f"{used[label]} {label}" for label in layer.names if used[label]]
        yield name, counts or ["none" if name in document.labels else "not annotated"]
