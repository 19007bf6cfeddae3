"""Is one result better than another? A paired bootstrap by group of documents, layer by layer, and what it means in words;
and which errors the one fixes and introduces.

It knows results and gold. Which documents, layers and labels two results share is `training.reports.pairs`' business.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

from annotations.document import Document
from annotations.errors import DocumentError
from annotations.schema import Kind, Schema
from training.reports.changed_errors import FIXED, INTRODUCED, KEPT, ErrorChanges, error_changes
from training.reports.intervals import Difference, Score, difference, layer_scores
from training.reports.pairs import Side, common_documents, common_layer
from training.reports.results import Result

FEW_GROUPS = 10


@dataclass(frozen=True)
class LayerDifference:
    """Two results on one layer."""

    layer: str
    kind: Kind
    first: Score
    second: Score
    apart: Difference
    documents: int
    groups: int
    errors: ErrorChanges
    """What the first fixes and introduces, beside the second."""

    def conclusion(self) -> str:
        """In a plain sentence, which of the two is better, if the data can tell."""
        one, other, by = self.first.system, self.second.system, f"{self.first.measure} {self.apart.mean:+.3f}"
        if self.groups < 2:
            return f"{self.layer}: one group of documents cannot tell {one} from {other} ({by}, no interval)."
        by = f"({by}, 95% interval {self.apart.low:+.3f} to {self.apart.high:+.3f})"
        if self.apart.low > 0:
            return f"{self.layer}: {one} is better than {other} {by}."
        if self.apart.high < 0:
            return f"{self.layer}: {one} is worse than {other} {by}."
        return f"{self.layer}: no evidence of a difference between {one} and {other} {by}."

    def changes(self) -> str:
        """In a plain sentence, what becomes of the second's errors."""
        fixed, introduced, kept = (self.errors.total(change) for change in (FIXED, INTRODUCED, KEPT))
        one, other = self.first.system, self.second.system
        total = fixed + kept
        return (
            f"{self.layer}: of the {total} {'error' if total == 1 else 'errors'} of {other}, {one} fixes {fixed} and keeps "
            f"{kept}; it introduces {introduced}."
        )

    def row(self) -> str:
        """A row of the Markdown table."""
        interval, share = "none", "unknown"
        if self.groups > 1:
            interval, share = f"{self.apart.low:+.3f} to {self.apart.high:+.3f}", f"{self.apart.better:.1%}"
        return (
            f"| {self.layer} | {self.first.measure} | {self.first.mean:.3f} | {self.second.mean:.3f} "
            f"| {self.apart.mean:+.3f} | {interval} | {share} | {self.documents} | {self.groups} |"
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain values; no interval where there is one group."""
        known = self.groups > 1
        return {
            "layer": self.layer,
            "kind": self.kind.value,
            "measure": self.first.measure,
            "scores": {
                score.system: {"mean": score.mean, "by_seed": [*score.by_seed]} for score in (self.first, self.second)
            },
            "difference": self.apart.mean,
            "interval": [self.apart.low, self.apart.high] if known else None,
            "better": self.apart.better if known else None,
            "worse": self.apart.worse if known else None,
            "documents": self.documents,
            "groups": self.groups,
            "conclusion": self.conclusion(),
            "errors": self.errors.to_dict(),
        }


@dataclass(frozen=True)
class PairComparison:
    """Two results on every layer that they share."""

    first: str
    second: str
    layers: Sequence[LayerDifference]
    remarks: Sequence[str]
    """What is not compared, with counts, and what makes the intervals rough."""

    def markdown(self) -> str:
        """Table, conclusions, remarks."""
        one, other = self.first, self.second
        head = f"| layer | measure | {one} | {other} | {one} − {other} | 95% interval | {one} higher in | documents | groups |"
        table = [head, "|---|---|---|---|---|---|---|---|---|", *(layer.row() for layer in self.layers), ""]
        said = [f"- {sentence}" for layer in self.layers for sentence in (layer.conclusion(), layer.changes())]
        remarks = ["", "Remarks:", "", *(f"- {remark}" for remark in self.remarks)] if self.remarks else []
        return "\n".join([f"## {one} and {other}", "", *(table if self.layers else []), *said, *remarks])

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        layers = [layer.to_dict() for layer in self.layers]
        return {"first": self.first, "second": self.second, "layers": layers, "remarks": [*self.remarks]}


def compare_results(results: Mapping[str, Result], gold: Sequence[Document], schema: Schema) -> list[PairComparison]:
    """Every pair of the named results; `schema` holds all their layers, and stands for that of a result without one.

    Raises:
        DocumentError: no pair has a document and a layer in common.
    """
    sides = [Side.of(name, result, schema) for name, result in results.items()]
    pairs = [compare_pair(pair, gold, schema) for pair in combinations(sides, 2)]
    if not any(pair.layers for pair in pairs):
        raise DocumentError("nothing can be compared", [remark for pair in pairs for remark in pair.remarks])
    return pairs


def compare_pair(sides: tuple[Side, Side], gold: Sequence[Document], schema: Schema) -> PairComparison:
    """Two results on the documents that both predict; seeds are averaged in each resample."""
    remarks: list[str] = []
    documents = common_documents(sides, gold, remarks.append)
    names = dict.fromkeys([*schema.layers, *sides[0].known, *sides[1].known]) if documents else {}
    layers: list[LayerDifference] = []
    for name in names:
        if common := common_layer(sides, documents, name, schema, remarks.append):
            rounds = {side.name: own for side, own in zip(sides, common.rounds, strict=True)}
            first, second = layer_scores(rounds, common.gold, name, common.schema)
            layer = common.schema.layers[name]
            errors = error_changes(common.gold, rounds, name, layer)
            apart = difference(first, second)
            layers.append(
                LayerDifference(name, layer.kind, first, second, apart, len(common.gold), first.groups, errors)
            )
    return PairComparison(sides[0].name, sides[1].name, layers, [*remarks, *_perfect(layers), *_rough(layers)])


def _perfect(layers: Sequence[LayerDifference]) -> Iterator[str]:
    for place in ("first", "second"):
        scores = [getattr(layer, place) for layer in layers]
        if scores and all(score.mean == 1 for score in scores):
            told = "agrees with the gold in every label: is it a file of annotations rather than of predictions?"
            yield f"{scores[0].system} {told}"


def _rough(layers: Sequence[LayerDifference]) -> Iterator[str]:
    few = [f"{layer.layer} {layer.groups}" for layer in layers if layer.groups < FEW_GROUPS]
    if few:
        yield (
            f"fewer than {FEW_GROUPS} groups of documents ({', '.join(few)}): such an interval is rough, and more often too "
            "narrow than too wide; take a conclusion as a hint"
        )


def markdown(pairs: Sequence[PairComparison], about: Sequence[str]) -> str:
    """The whole page: what was compared, then every pair."""
    caution = [f"{len(pairs)} pairs are compared: of twenty intervals, one misses by chance."] if len(pairs) > 1 else []
    return "\n\n".join(["# Comparison of results", *about, *caution, *(pair.markdown() for pair in pairs)])
