"""One annotation's regions as one document's labels: what is repaired, and what cannot be read. It knows no task and no file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from annotations.document import Document, FrozenDict, Label, Labels, Span
from annotations.errors import DocumentError, did_you_mean
from annotations.labelstudio.shapes import Json
from annotations.offsets import locate
from annotations.schema import Kind, Layer, Schema
from annotations.sentences import OFF_SENTENCE, covers, sentences


class Reading:
    """Turns one annotation's results into one document's labels."""

    def __init__(self, document: Document, schema: Schema, asked: list[str]) -> None:
        self.document, self.schema, self.asked = document, schema, asked
        self.repairs: list[str] = []
        self.unplaced: list[str] = []
        self.problems = [
            f"`data.layers` names {name!r}; {did_you_mean(name, schema.layers)}"
            for name in asked
            if name not in schema.layers
        ]

    def read(self, annotation: Json) -> Document:
        found: dict[str, list[Span | Label]] = {name: [] for name in self.asked if name in self.schema.layers}
        for result in annotation.get("result") or []:
            for name, label in self._items(result):
                found.setdefault(name, []).append(label)
        labels = {name: value for name, items in found.items() if (value := self._layer(name, items)) is not None}
        if self.problems:
            raise DocumentError(self.document.id, self.problems)
        source = FrozenDict({**self.document.source, "annotation": annotation.get("id")})
        document = self.document.model_copy(update={"source": source}).with_labels(labels)
        if problems := list(self.schema.problems(document)):
            raise DocumentError(document.id, problems)
        return document

    def _items(self, result: Json) -> Iterator[tuple[str, Span | Label]]:
        name, value = str(result.get("from_name")), result.get("value")
        place = f"region {result.get('id')!r}"
        if result.get("type") == "relation":
            self.repairs.append("a relation between regions was left out: the schema has none")
        elif name not in self.schema.layers:
            self.problems.append(
                f"{place}: control {name!r} is no layer of this schema (another project's export?); "
                f"{did_you_mean(name, self.schema.layers)}"
            )
        elif not isinstance(value, Mapping):
            self.problems.append(f"{place}: has no value")
        else:
            item = self._item(self.schema.layers[name], value, f"{place} of {name}")
            if item:
                yield name, item

    def _item(self, layer: Layer, value: Mapping[str, Any], place: str) -> Span | Label | None:
        if layer.kind is Kind.DOCUMENT and "start" in value:
            self.problems.append(f"{place}: is a choice for one region, and the layer is for the whole text")
            return None
        field_name = "choices" if layer.kind is Kind.DOCUMENT else "labels"
        names = value.get(field_name)
        if not isinstance(names, list) or len(names) != 1 or not isinstance(names[0], str):
            self.problems.append(
                f"{place}: needs exactly one label in `{field_name}`, found {names!r}; fix it on the server"
            )
            return None
        if names[0] not in layer.labels:
            self.problems.append(f"{place}: unknown label {names[0]!r}; {did_you_mean(names[0], layer.labels)}")
            return None
        return Label(label=names[0]) if layer.kind is Kind.DOCUMENT else self._span(names[0], value, place)

    def _span(self, label: str, value: Mapping[str, Any], place: str) -> Span | None:
        start, end, quote = value.get("start"), value.get("end"), value.get("text")
        # JSON's true and false are whole numbers to Python.
        if type(start) is not int or type(end) is not int:
            self.problems.append(f"{place}: start and end must be whole numbers, found {start!r} and {end!r}")
            return None
        found = locate(self.document.text, start, end, quote if isinstance(quote, str) else None)
        if found is None:
            self.problems.append(
                f"{place}: {label} {start}–{end} is out of bounds or blank, or {quote!r} is not in the text"
            )
            return None
        if found.how:
            self.repairs.append(f"{place}: {label} {start}–{end} became {found.start}–{found.end}: {found.how}")
        return Span(start=found.start, end=found.end, label=label)

    def _layer(self, name: str, items: list[Span | Label]) -> Labels | None:
        kind = self.schema.layers[name].kind
        if kind is Kind.DOCUMENT:
            if len({item.label for item in items}) > 1:
                self.problems.append(f"layer {name!r}: {len(items)} different choices for one document")
            return Label(label=items[0].label) if items else None
        spans = sorted(
            (item for item in items if isinstance(item, Span)), key=lambda span: (span.start, span.end, span.label)
        )
        return self._sentences(name, spans) if kind is Kind.SENTENCES else self._flat(name, spans)

    def _flat(self, name: str, spans: list[Span]) -> tuple[Span, ...]:
        kept: list[Span] = []
        for span in spans:
            if kept and span == kept[-1]:
                self.repairs.append(f"{name} {span.label} {span.start}–{span.end}: marked twice, kept once")
            elif kept and span.start < kept[-1].end:
                last = kept[-1]
                self.problems.append(
                    f"{name} {span.label} {span.start}–{span.end} overlaps {last.label} {last.start}–{last.end}; "
                    "delete one of them on the server"
                )
            else:
                kept.append(span)
        return tuple(kept)

    def _sentences(self, name: str, spans: list[Span]) -> tuple[Span, ...] | None:
        chosen: list[Span] = []
        used: set[Span] = set()
        for bounds in sentences(self.document.text):
            fitting = [span for span in spans if covers(span, bounds)]
            used.update(fitting)
            if len({span.label for span in fitting}) > 1:
                self.problems.append(f"layer {name!r}: sentence {bounds.start}–{bounds.end} is given several labels")
            if fitting:
                chosen.append(Span(start=bounds.start, end=bounds.end, label=fitting[0].label))
        for span in spans:
            if span not in used:
                self.unplaced.append(OFF_SENTENCE.format(layer=name, span=span))
        return tuple(chosen) or None
