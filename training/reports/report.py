"""Reports on predictions: seqeval's for spans, scikit-learn's for sentences and documents, with a baseline beside them.

It knows gold and predicted documents. It does not know what made the predictions.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from annotations.comparison import LabelPair, LayerComparison, compare_pairs, label_counts, pair_documents
from annotations.document import Document
from annotations.schema import Kind, Layer, Schema
from training.reports.scores import NO_ENTITIES, NO_LABELS, Table, seqeval_table, sklearn_table, tag_sequences

EXAMPLES = 5
COLUMNS = ("precision", "recall", "f1-score")

Lost = Sequence[str] | int


@dataclass(frozen=True)
class Majority:
    """What always giving the most frequent gold label would score."""

    label: str
    accuracy: float
    macro_f1: float

    def __str__(self) -> str:
        return f"always {self.label!r} (most frequent gold label): {_scores(self.accuracy, self.macro_f1)}"


@dataclass(frozen=True)
class LayerReport:
    """One layer's scores."""

    compared: LayerComparison
    table: Table
    """Strict IOB2 of seqeval for spans, scikit-learn's report for sentences and documents."""
    lenient: Table | None
    """seqeval's default mode, for spans only."""
    majority: Majority | None
    """For sentences and documents that have gold."""
    lost: Lost
    """Gold that could not be represented as targets, as the caller tells."""

    @property
    def spans(self) -> bool:
        """Whether the layer is one of spans."""
        return self.compared.kind is Kind.SPANS

    def summary(self) -> str:
        """The scores in a line."""
        micro, macro = self.compared.micro, self.compared.macro_f1
        if self.spans:
            return f"micro F1 {micro.f1:.4f}, macro F1 {macro:.4f} on exact character spans"
        return _scores(self.compared.accuracy, macro)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, no nan."""
        compared, micro = self.compared, self.compared.micro
        counts = {name: {**asdict(each), "f1": each.f1} for name, each in compared.counts.items()}
        plain: dict[str, Any] = {
            "kind": compared.kind.value,
            "documents": compared.documents,
            "counts": counts,
            "macro_f1": compared.macro_f1,
            "not_represented": _lost_dict(self.lost),
        }
        if self.spans:
            lenient = dict(self.lenient.rows) if self.lenient else {}
            scores = {"micro_f1": micro.f1, "micro_precision": micro.precision, "micro_recall": micro.recall}
            return {**plain, **scores, "strict": dict(self.table.rows), "lenient": lenient}
        majority = asdict(self.majority) if self.majority else None
        scores = {"items": len(compared.pairs), "accuracy": compared.accuracy}
        return {**plain, **scores, "report": dict(self.table.rows), "majority": majority}


@dataclass(frozen=True)
class Report:
    """Scores of every layer of the schema."""

    layers: Mapping[str, LayerReport]

    def text(self) -> str:
        """For a terminal: the libraries' own tables."""
        return "\n\n".join("\n".join(_layer_text(name, layer)) for name, layer in self.layers.items())

    def markdown(self) -> str:
        """For a model card or a page."""
        return "\n".join("\n".join(_layer_markdown(name, layer)) for name, layer in self.layers.items())

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        return {"layers": {name: layer.to_dict() for name, layer in self.layers.items()}}


def build_report(
    gold: Iterable[Document],
    predicted: Iterable[Document],
    schema: Schema,
    lost: Mapping[str, Lost] | None = None,
) -> Report:
    """Score predictions on every layer, over the documents whose gold annotates it.

    `lost` tells, layer by layer, which gold (sentences, or their number) could not be represented as model targets.

    Raises:
        DocumentError: like `compare`.
    """
    pairs = pair_documents(gold, predicted, schema)
    compared = compare_pairs(pairs, schema)
    return Report(
        {
            name: _layer_report(pairs, name, layer, compared.layers[name], (lost or {}).get(name, 0))
            for name, layer in schema.layers.items()
        }
    )


def _layer_report(
    documents: Iterable[tuple[Document, Document]], name: str, layer: Layer, compared: LayerComparison, lost: Lost
) -> LayerReport:
    if layer.kind is not Kind.SPANS:
        table = sklearn_table(compared.pairs, layer.names)
        return LayerReport(compared, table, None, majority_score(compared.pairs, layer), lost)
    gold, predicted = tag_sequences([pair for pair in documents if name in pair[0].labels], name)
    strict, lenient = (seqeval_table(gold, predicted, strict=strict) for strict in (True, False))
    return LayerReport(compared, strict, lenient, None, lost)


def majority_score(pairs: Sequence[LabelPair], layer: Layer) -> Majority | None:
    """The majority-class baseline on these gold labels; ties go to the label that the schema names first."""
    if not pairs:
        return None
    frequency = Counter(gold for gold, _ in pairs)
    label = max(layer.names, key=lambda name: frequency[name])
    always: list[LabelPair] = [(gold, label) for gold, _ in pairs]
    result = LayerComparison(layer.kind, 0, label_counts(always, layer), always)
    return Majority(label, result.accuracy, result.macro_f1)


def _scores(accuracy: float, macro_f1: float) -> str:
    return f"accuracy {accuracy:.4f}, macro F1 {macro_f1:.4f}"


def _lost_count(lost: Lost) -> int:
    return lost if isinstance(lost, int) else len(lost)


def _lost_dict(lost: Lost) -> dict[str, Any]:
    return {"count": _lost_count(lost), "what": [] if isinstance(lost, int) else list(lost)}


def _lost_lines(lost: Lost) -> list[str]:
    """Says it only where there is something to say."""
    if not _lost_count(lost):
        return []
    named = [] if isinstance(lost, int) else list(lost)
    shown = [f"  - {text}" for text in named[:EXAMPLES]]
    more = [f"  - … and {len(named) - EXAMPLES} more"] if len(named) > EXAMPLES else []
    return [f"gold that could not be represented as targets: {_lost_count(lost)}", *shown, *more]


def _head(name: str, layer: LayerReport) -> str:
    size = f"{layer.compared.documents} documents"
    return f"{name} ({layer.compared.kind}), {size}" + ("" if layer.spans else f", {len(layer.compared.pairs)} labels")


def _layer_text(name: str, layer: LayerReport) -> list[str]:
    lines = [f"== {_head(name, layer)}", *_lost_lines(layer.lost)]
    if not layer.table.rows:
        return [*lines, layer.table.text]
    if layer.lenient:
        lines += ["seqeval, strict IOB2:", layer.table.text, "seqeval, default (lenient):", layer.lenient.text]
    else:
        lines += ["scikit-learn:", layer.table.text]
    return [*lines, layer.summary(), *([str(layer.majority)] if layer.majority else [])]


def _layer_markdown(name: str, layer: LayerReport) -> list[str]:
    lost = _lost_lines(layer.lost)
    lines = [f"### {cell(_head(name, layer))}", "", *lost, *([""] if lost else [])]
    if not layer.table.rows:
        return [*lines, NO_ENTITIES if layer.spans else NO_LABELS, ""]
    caption = "seqeval, strict IOB2" if layer.spans else "scikit-learn"
    lines += [f"{caption}: {layer.summary()}.", "", *_rows(layer.table), ""]
    if layer.lenient:
        lines += [f"seqeval, default mode: micro F1 {layer.lenient.rows['micro avg']['f1-score']:.4f}.", ""]
    if layer.majority:
        lines += [f"Baseline, {cell(str(layer.majority))}.", ""]
    return lines


def _rows(table: Table) -> list[str]:
    head = ["| | precision | recall | F1 | support |", "|---|---:|---:|---:|---:|"]
    for name, row in table.rows.items():
        numbers = " | ".join(f"{row[column]:.4f}" for column in COLUMNS)
        head.append(f"| {cell(name)} | {numbers} | {row['support']} |")
    return head


def cell(text: str) -> str:
    """A text that ends no cell of a Markdown table."""
    return text.replace("|", "\\|")
