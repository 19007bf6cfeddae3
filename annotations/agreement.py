"""How far two annotators agree, and where they do not. It knows two sets of labels and holds neither for the truth."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from annotations.comparison import Counts, LabelPair, label_counts, pair_documents, span_counts, units
from annotations.document import Document, Label, Span
from annotations.schema import Kind, Layer, Schema

CONTEXT = 40

DocumentPair = tuple[Document, Document]


@dataclass(frozen=True)
class Disagreement:
    """One place that two annotators labelled differently; a side that labelled nothing there is None."""

    document: str
    layer: str
    first: Label | None
    second: Label | None
    context: str
    """The place in [brackets] with some text around it; for a whole document, how its text begins."""

    def __str__(self) -> str:
        return f"{self.document}  {self.layer}: {_name(self.first)} / {_name(self.second)}  {self.context}"

    def to_dict(self) -> dict[str, Any]:
        """Plain values; labels keep their offsets."""
        sides = {"first": self.first, "second": self.second}
        plain = {side: label.model_dump(exclude_none=True) if label else None for side, label in sides.items()}
        return {"document": self.document, "layer": self.layer, **plain, "context": self.context}


@dataclass(frozen=True)
class LayerAgreement:
    """Agreement in one layer, over the documents that both annotated."""

    kind: Kind
    documents: int
    items: int
    """Spans that either marked; sentences or documents that both labelled."""
    one_sided: int
    """Sentences that only one of the two labelled; they are disagreements and no part of kappa. 0 for other kinds."""
    counts: Mapping[str, Counts]
    """For each label: marked by both (`tp`), by the second only (`fp`), by the first only (`fn`)."""
    kappa: float | None
    """Cohen's kappa; None for spans, which have no countable non-spans, and where there are no items."""

    @property
    def micro(self) -> Counts:
        """All labels together; its F1 is the same whichever annotator comes first."""
        return sum(self.counts.values(), Counts())

    def to_dict(self) -> dict[str, Any]:
        """Plain values, no nan."""
        labels = {label: {**asdict(counts), "f1": counts.f1} for label, counts in self.counts.items()}
        head = {"kind": self.kind.value, "documents": self.documents, "items": self.items, "one_sided": self.one_sided}
        return {**head, "kappa": self.kappa, "micro_f1": self.micro.f1, "labels": labels}


@dataclass(frozen=True)
class Agreement:
    """Agreement in every layer, and every disagreement."""

    layers: Mapping[str, LayerAgreement]
    disagreements: Sequence[Disagreement]

    def __str__(self) -> str:
        parts = [_layer_text(name, layer) for name, layer in self.layers.items()]
        listed = "\n".join([f"{len(self.disagreements)} disagreements (first / second)", *map(str, self.disagreements)])
        return "\n\n".join([*parts, listed])

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        layers = {name: layer.to_dict() for name, layer in self.layers.items()}
        return {"layers": layers, "disagreements": [item.to_dict() for item in self.disagreements]}


def agreement(first: Iterable[Document], second: Iterable[Document], schema: Schema) -> Agreement:
    """Compare two annotators' documents; a layer counts in the documents where both annotated it.

    Raises:
        DocumentError: like `compare`.
    """
    pairs = pair_documents(first, second, schema, sides=("first", "second"))
    layers: dict[str, LayerAgreement] = {}
    disagreements: list[Disagreement] = []
    for name, layer in schema.layers.items():
        both = [(a, b) for a, b in pairs if name in a.labels and name in b.labels]
        layers[name] = _span_layer(both, name, layer) if layer.kind is Kind.SPANS else _choice_layer(both, name, layer)
        disagreements += [item for a, b in both for item in _disagreements(a, b, name, layer)]
    return Agreement(layers, disagreements)


def _span_layer(documents: Sequence[DocumentPair], name: str, layer: Layer) -> LayerAgreement:
    counts = span_counts(documents, name, layer)
    items = sum(each.total for each in counts.values())
    return LayerAgreement(layer.kind, len(documents), items, 0, counts, None)


def _choice_layer(documents: Sequence[DocumentPair], name: str, layer: Layer) -> LayerAgreement:
    found = [unit for first, second in documents for unit in units(first, second, name, layer)]
    pairs: list[LabelPair] = [(u.first, u.second) for u in found if u.first is not None and u.second is not None]
    one_sided = sum((unit.first is None) != (unit.second is None) for unit in found)
    counts = label_counts(pairs, layer)
    return LayerAgreement(layer.kind, len(documents), len(pairs), one_sided, counts, cohen_kappa(pairs))


def cohen_kappa(pairs: Sequence[tuple[str, str | None]]) -> float | None:
    """Agreement between two raters beyond chance: (observed - expected) / (1 - expected).

    Expected agreement multiplies the raters' own label frequencies. Where it is 1, both gave every item the same one
    label: kappa is then set to 1, and says nothing about whether they could tell labels apart. None without items.

    Jacob Cohen. 1960. A coefficient of agreement for nominal scales. Educational and Psychological Measurement 20(1).
    """
    if not pairs:
        return None
    size = len(pairs)
    first, second = Counter(one for one, _ in pairs), Counter(other for _, other in pairs)
    observed = size * sum(one == other for one, other in pairs)
    expected = sum(count * second[label] for label, count in first.items())
    # Both are scaled by size², so that "expected agreement is 1" is tested on whole numbers.
    return 1.0 if expected == size * size else (observed - expected) / (size * size - expected)


def _disagreements(first: Document, second: Document, name: str, layer: Layer) -> Iterator[Disagreement]:
    for one, other in _sides(first, second, name, layer):
        yield Disagreement(first.id, name, one, other, _context(first.text, one, other))


def _sides(first: Document, second: Document, name: str, layer: Layer) -> Iterator[tuple[Label | None, Label | None]]:
    if layer.kind is Kind.SPANS:
        yield from _span_sides(first.spans(name), second.spans(name))
        return
    whole = layer.kind is Kind.DOCUMENT
    for start, end, *labels in units(first, second, name, layer):
        one, other = (None if label is None else _label(label, start, end, whole) for label in labels)
        if one != other:
            yield one, other


def _label(label: str, start: int, end: int, whole: bool) -> Label:
    return Label(label=label) if whole else Span(label=label, start=start, end=end)


def _span_sides(first: Sequence[Span], second: Sequence[Span]) -> Iterator[tuple[Span | None, Span | None]]:
    """Spans without an equal on the other side, in text order, each beside the first unmatched one it overlaps."""
    same = {_key(span) for span in first} & {_key(span) for span in second}
    left = [span for span in first if _key(span) not in same]
    right = [span for span in second if _key(span) not in same]
    rows: list[tuple[Span | None, Span | None]] = []
    for span in left:
        partner = next((other for other in right if other.start < span.end and span.start < other.end), None)
        rows.append((span, partner))
        if partner:
            right.remove(partner)
    rows += [(None, span) for span in right]
    return iter(sorted(rows, key=lambda row: min(span.start for span in row if span)))


def _key(span: Span) -> tuple[int, int, str]:
    return span.start, span.end, span.label


def _context(text: str, *labels: Label | None) -> str:
    spans = [label for label in labels if isinstance(label, Span)]
    if not spans:
        return _fold(text[: 2 * CONTEXT])
    start, end = min(span.start for span in spans), max(span.end for span in spans)
    before, after = text[max(0, start - CONTEXT) : start], text[end : end + CONTEXT]
    return _fold(f"{before}[{text[start:end]}]{after}")


def _fold(text: str) -> str:
    return " ".join(text.split())


def _name(label: Label | None) -> str:
    if isinstance(label, Span):
        return f"{label.label} {label.start}–{label.end}"
    return label.label if label else "—"


def _layer_text(name: str, layer: LayerAgreement) -> str:
    head = f"{name} ({layer.kind}): {layer.documents} documents, {layer.items} items"
    if layer.one_sided:
        head += f", {layer.one_sided} more labelled by one only"
    if layer.kappa is not None:
        head += f"; Cohen's kappa {layer.kappa:.3f}"
    shown = [(label, counts) for label, counts in layer.counts.items() if counts.total]
    rows = [(label, f"{c.f1:.3f}", str(c.tp), str(c.fn), str(c.fp)) for label, c in [*shown, ("all", layer.micro)]]
    return "\n".join([head, *_table([("label", "F1", "both", "first only", "second only"), *rows])]) if shown else head


def _table(rows: Sequence[tuple[str, ...]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]) for row in rows]
