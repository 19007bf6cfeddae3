"""The places that annotators labelled differently, each with what everyone says and the text around. It measures nothing."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from annotations.agreement.counts import choices
from annotations.agreement.readings import Shared
from annotations.document import Document, Label, Span
from annotations.pages.markup import visible
from annotations.schema import Kind, Layer, Schema
from annotations.sentences import Bounds, sentences

CONTEXT = 40

_CUT_HEAD, _CUT_TAIL = re.compile(r"^\S*\s+"), re.compile(r"\s+\S*$")


@dataclass(frozen=True)
class Disagreement:
    """One place that not everybody labelled alike."""

    document: str
    layer: str
    start: int
    end: int
    """Half-open offsets: a sentence, the whole document, or all spans that overlap one another there."""
    labels: Mapping[str, tuple[Label, ...]]
    """What each annotator says, in text order; nothing where the annotator gave no label. Those who did not annotate the
    layer in this document are not in it."""
    before: str
    text: str
    """The place itself; how the document begins where it is the whole of it."""
    after: str

    @property
    def context(self) -> str:
        """The place in [brackets] with some text around it, on one line."""
        return " ".join(f"{self.before}[{self.text}]{self.after}".split())

    def says(self, annotator: str) -> str:
        """The labels of one annotator in words, with the marked words where several spans lie here."""
        found = self.labels.get(annotator)
        if found is None:
            return "not annotated"
        return ", ".join(map(self._named, found)) or "nothing"

    def _named(self, label: Label) -> str:
        words = self.words(label)
        return f"{label.label} “{words}”" if words else label.label

    def words(self, label: Label) -> str:
        """The words of a span that is only a part of this place; nothing for one that is all of it."""
        if not isinstance(label, Span) or (label.start, label.end) == (self.start, self.end):
            return ""
        return " ".join(self.text[label.start - self.start : label.end - self.start].split())

    def __str__(self) -> str:
        said = " · ".join(f"{who}: {self.says(who)}" for who in self.labels)
        return plain(f"{self.document}  {self.layer}  {said}\n    {self.context}")

    def to_dict(self) -> dict[str, Any]:
        """Plain values; labels keep their offsets."""
        labels = {
            who: [label.model_dump(include={"label", "start", "end"}) for label in found]
            for who, found in self.labels.items()
        }
        head = {"document": self.document, "layer": self.layer, "start": self.start, "end": self.end}
        return {**head, "labels": labels, "context": self.context}


def plain(text: str) -> str:
    """Text for a terminal: what could steer it is shown by name."""
    return "".join(letter if letter.isprintable() or letter in "\n\u00a0" else visible(letter) for letter in text)


def disagreements(documents: Sequence[Shared], schema: Schema) -> Iterator[Disagreement]:
    """Every disagreement, document by document in text order, what is around before what is in it."""
    for document in documents:
        layers = ((document.of(name), name, layer) for name, layer in schema.layers.items())
        found = [
            item for readings, name, layer in layers if len(readings) > 1 for item in _of_layer(readings, name, layer)
        ]
        yield from sorted(found, key=lambda item: (item.start, -item.end))


def _of_layer(readings: Mapping[str, Document], name: str, layer: Layer) -> Iterator[Disagreement]:
    if layer.kind is Kind.SPANS:
        for bounds in regions([reading.spans(name) for reading in readings.values()]):
            inside = {who: _within(reading.spans(name), bounds) for who, reading in readings.items()}
            if len(set(inside.values())) > 1:
                yield _disagreement(readings, name, bounds, inside)
        return
    text = next(iter(readings.values())).text
    whole = layer.kind is Kind.DOCUMENT
    units = (Bounds(0, len(text)),) if whole else sentences(text)
    given = zip(*(choices(reading, name, layer) for reading in readings.values()), strict=True)
    for bounds, labels in zip(units, given, strict=True):
        if len(set(labels)) > 1:
            said = {who: _placed(label, bounds, whole) for who, label in zip(readings, labels, strict=True)}
            yield _disagreement(readings, name, bounds, said, whole=whole)


def regions(layers: Sequence[Sequence[Span]]) -> Iterator[Bounds]:
    """Stretches in text order that hold spans overlapping one another, directly or through others."""
    start = end = -1
    for span in sorted((span for spans in layers for span in spans), key=lambda span: (span.start, span.end)):
        if span.start >= end:
            if end > start:
                yield Bounds(start, end)
            start = span.start
        end = max(end, span.end)
    if end > start:
        yield Bounds(start, end)


def _within(spans: Sequence[Span], bounds: Bounds) -> tuple[Label, ...]:
    inside = (span for span in spans if bounds.start <= span.start < bounds.end)
    return tuple(Span(label=span.label, start=span.start, end=span.end) for span in inside)


def _placed(label: str | None, bounds: Bounds, whole: bool) -> tuple[Label, ...]:
    if label is None:
        return ()
    return (Label(label=label) if whole else Span(label=label, start=bounds.start, end=bounds.end),)


def _disagreement(
    readings: Mapping[str, Document],
    name: str,
    bounds: Bounds,
    labels: Mapping[str, tuple[Label, ...]],
    *,
    whole: bool = False,
) -> Disagreement:
    first = next(iter(readings.values()))
    around = surroundings(first.text, bounds, whole=whole)
    return Disagreement(first.id, name, bounds.start, bounds.end, labels, *around)


def surroundings(text: str, bounds: Bounds, *, whole: bool = False) -> tuple[str, str, str]:
    """Some words before a place, the place, some words after it; how the text begins where the place is the whole of it."""
    if whole:
        return "", text[: 2 * CONTEXT], "…" if len(text) > 2 * CONTEXT else ""
    return _before(text, bounds.start), text[bounds.start : bounds.end], _after(text, bounds.end)


def _before(text: str, place: int) -> str:
    """Some words before a place, an ellipsis for what is left out."""
    cut = text[max(0, place - CONTEXT) : place]
    return cut if place <= CONTEXT else "…" + (_CUT_HEAD.sub("", cut, count=1) or cut)


def _after(text: str, place: int) -> str:
    cut = text[place : place + CONTEXT]
    return cut if place + CONTEXT >= len(text) else (_CUT_TAIL.sub("", cut, count=1) or cut) + "…"
