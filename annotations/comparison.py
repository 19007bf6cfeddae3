"""Compares two sets of documents, layer by layer: the one count behind agreement and evaluation.

It knows exact character spans, sentences and document labels. It knows no averages' names and no report's layout.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from annotations.document import Document, Label
from annotations.errors import DocumentError
from annotations.schema import Kind, Layer, Schema
from annotations.sentences import sentence_labels, sentences

LabelPair = tuple[str, str | None]


@dataclass(frozen=True)
class Counts:
    """True positives, false positives and false negatives; they add up over documents and labels."""

    tp: int = 0
    fp: int = 0
    fn: int = 0

    def __add__(self, other: Counts) -> Counts:
        return Counts(self.tp + other.tp, self.fp + other.fp, self.fn + other.fn)

    @property
    def precision(self) -> float:
        """Right among the predicted; 0 where nothing is predicted."""
        return _ratio(self.tp, self.tp + self.fp)

    @property
    def recall(self) -> float:
        """Found among the gold; 0 where there is no gold."""
        return _ratio(self.tp, self.support)

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and recall; 0 where there is neither gold nor prediction."""
        return _ratio(2 * self.tp, 2 * self.tp + self.fp + self.fn)

    @property
    def support(self) -> int:
        """How many are gold."""
        return self.tp + self.fn

    @property
    def total(self) -> int:
        """How many are gold, predicted or both."""
        return self.tp + self.fp + self.fn


def _ratio(part: int, whole: int) -> float:
    return part / whole if whole else 0.0


class Unit(NamedTuple):
    """One sentence, or one whole document, with the label that either side gives it."""

    start: int
    end: int
    first: str | None
    second: str | None


@dataclass(frozen=True)
class LayerComparison:
    """What was counted in one layer, over the documents whose gold annotates it."""

    kind: Kind
    documents: int
    """How many documents were compared; 0 where no gold annotates the layer."""
    counts: Mapping[str, Counts]
    """Every label of the schema, in its order."""
    pairs: Sequence[LabelPair]
    """Gold and predicted label of each sentence or document; empty for spans."""

    @property
    def micro(self) -> Counts:
        """All labels together."""
        return sum(self.counts.values(), Counts())

    @property
    def macro_f1(self) -> float:
        """Mean F1 of the labels that occur in gold or prediction, as seqeval and scikit-learn average by default."""
        scores = [counts.f1 for counts in self.counts.values() if counts.total]
        return sum(scores) / len(scores) if scores else 0.0

    @property
    def accuracy(self) -> float:
        """The share of sentences or documents that got their gold label; 0 where there are none."""
        return _ratio(sum(gold == predicted for gold, predicted in self.pairs), len(self.pairs))


@dataclass(frozen=True)
class Comparison:
    """Every layer of the schema, compared."""

    layers: Mapping[str, LayerComparison]


def compare(gold: Iterable[Document], predicted: Iterable[Document], schema: Schema) -> Comparison:
    """Count, for each layer, over the documents whose gold annotates it; a prediction that lacks it counts as empty.

    Raises:
        DocumentError: with every problem: ids on one side only or used twice, other texts or targets, labels that the
            schema does not declare.
    """
    return compare_pairs(pair_documents(gold, predicted, schema), schema)


def compare_pairs(documents: Sequence[tuple[Document, Document]], schema: Schema) -> Comparison:
    """Like `compare`, of documents that `pair_documents` has paired."""
    return Comparison({name: _compare_layer(documents, name, layer) for name, layer in schema.layers.items()})


def _compare_layer(documents: Iterable[tuple[Document, Document]], name: str, layer: Layer) -> LayerComparison:
    annotated = [(gold, predicted) for gold, predicted in documents if name in gold.labels]
    if layer.kind is Kind.SPANS:
        return LayerComparison(layer.kind, len(annotated), span_counts(annotated, name, layer), ())
    pairs = [pair for gold, predicted in annotated for pair in paired_labels(gold, predicted, name, layer)]
    return LayerComparison(layer.kind, len(annotated), label_counts(pairs, layer), pairs)


def compare_spans(gold: Document, predicted: Document, layer: str) -> dict[str, Counts]:
    """Counts for each label used on either side; a span is right only where start, end and label are."""
    wanted = {(span.label, span.start, span.end) for span in gold.spans(layer)}
    found = {(span.label, span.start, span.end) for span in predicted.spans(layer)}
    counts: dict[str, Counts] = {}
    for label, start, end in wanted | found:
        here, there = (label, start, end) in wanted, (label, start, end) in found
        counts[label] = counts.get(label, Counts()) + Counts(here and there, not here, not there)
    return counts


def span_counts(documents: Iterable[tuple[Document, Document]], name: str, layer: Layer) -> dict[str, Counts]:
    """Counts over pairs of documents for every label of a layer of spans, in the schema's order."""
    total = dict.fromkeys(layer.names, Counts())
    for gold, predicted in documents:
        for label, counts in compare_spans(gold, predicted, name).items():
            total[label] += counts
    return total


def label_counts(pairs: Iterable[LabelPair], layer: Layer) -> dict[str, Counts]:
    """Counts over labels given to sentences or documents, for every label of the layer in the schema's order."""
    total = dict.fromkeys(layer.names, Counts())
    for gold, predicted in pairs:
        if gold == predicted:
            total[gold] += Counts(tp=1)
            continue
        total[gold] += Counts(fn=1)
        if predicted is not None:
            total[predicted] += Counts(fp=1)
    return total


def paired_labels(gold: Document, predicted: Document, layer_name: str, layer: Layer) -> list[LabelPair]:
    """Gold and predicted label of each unit of a layer of sentences or documents that is labelled in gold."""
    found = units(gold, predicted, layer_name, layer)
    return [(unit.first, unit.second) for unit in found if unit.first is not None]


def units(first: Document, second: Document, layer_name: str, layer: Layer) -> Iterator[Unit]:
    """The sentences of two documents of the same text, or the one whole of it, with the labels of either side."""
    if layer.kind is Kind.DOCUMENT:
        labels = (_document_label(first, layer_name), _document_label(second, layer_name))
        yield Unit(0, len(first.text), *labels)
        return
    one, other = sentence_labels(first, layer_name), sentence_labels(second, layer_name)
    for bounds, *both in zip(sentences(first.text), one, other, strict=True):
        yield Unit(*bounds, *both)


def _document_label(document: Document, layer: str) -> str | None:
    found = document.labels.get(layer)
    return found.label if isinstance(found, Label) else None


def pair_documents(
    first: Iterable[Document],
    second: Iterable[Document],
    schema: Schema,
    sides: tuple[str, str] = ("gold", "predicted"),
) -> list[tuple[Document, Document]]:
    """Documents of the same id, in the first side's order. Raises like `compare`, naming the `sides`."""
    problems: list[str] = []
    one, other = (by_id(given, side, schema, problems) for given, side in zip((first, second), sides, strict=True))
    for here, there, side in ((one, other, sides[0]), (other, one, sides[1])):
        alone = [identity for identity in here if identity not in there]
        problems += [f"document {i!r} is only on the {side} side; give both sides the same documents" for i in alone]
    pairs = [(document, other[identity]) for identity, document in one.items() if identity in other]
    problems += [problem for pair in pairs for problem in _differences(*pair, schema)]
    if problems:
        raise DocumentError("comparison", problems)
    return pairs


def by_id(documents: Iterable[Document], side: str, schema: Schema, problems: list[str]) -> dict[str, Document]:
    """One side's documents; what is wrong with them is added to `problems`."""
    found: dict[str, Document] = {}
    for document in documents:
        if document.id in found:
            problems.append(f"document {document.id!r} is twice on the {side} side; ids must be unique")
        found[document.id] = document
        # Layers outside the schema are not compared, so they do no harm here.
        known = {name: labels for name, labels in document.labels.items() if name in schema.layers}
        checked = document.model_copy(update={"labels": known})
        problems += [f"document {document.id!r}, {side} side: {problem}" for problem in schema.problems(checked)]
    return found


def _differences(first: Document, second: Document, schema: Schema) -> Iterator[str]:
    if first.text != second.text:
        yield f"document {first.id!r} has different texts on the two sides; label the same version of it"
    if schema.targeted and first.target != second.target:
        yield f"document {first.id!r} has targets {first.target!r} and {second.target!r}; label it against one target"
