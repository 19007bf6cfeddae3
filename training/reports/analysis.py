"""Everything a report says of predictions, put together from gold and predictions into plain values.

It knows documents, schemas and the modules that count. It reads and writes no files.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from annotations.document import Document
from annotations.schema import Kind, Layer, Schema
from training.reports.alignment import aligned
from training.reports.baseline_scores import Baseline, Predictions, baseline_predictions, baselines
from training.reports.calibration import Calibration, calibration
from training.reports.comparison import FEW_GROUPS
from training.reports.error_rows import ErrorRows, error_rows
from training.reports.items import Items, Pair, layer_items
from training.reports.layer_scores import LabelScore, Overall, confusion, outcomes, score
from training.reports.report import Report, build_report
from training.reports.scores import Table
from training.reports.seen_names import known_names
from training.reports.slices import Known, Slice, slices
from training.reports.sources import Source
from training.reports.span_errors import OUTCOMES
from training.reports.temperature import Fit, fit
from training.reports.thresholds import Curves, curves

FORMAT = 1
RESAMPLES = 1000


@dataclass(frozen=True)
class LayerAnalysis:
    """One layer. What cannot be told is None, and a remark says why."""

    name: str
    layer: Layer
    items: Items
    overall: Overall | None
    """None where no gold annotates the layer; then nothing else is known either."""
    per_label: Sequence[LabelScore] = ()
    curves: Curves | None = None
    calibration: Calibration | None = None
    temperature: Fit | None = None
    slices: Sequence[Slice] = ()
    baselines: Sequence[Baseline] = ()
    lost: Sequence[str] | None = None
    """Gold that the tokens cannot represent; None where that is not known."""
    remarks: Sequence[str] = ()

    @property
    def gold_items(self) -> int:
        """Gold items, each once whatever the number of rounds."""
        return int(self.items.has_gold.sum()) // self.items.rounds

    def outcomes(self) -> dict[str, Any] | None:
        """How often each outcome befell the layer and each label that occurs, summed over rounds."""
        if self.overall is None:
            return None
        counts = outcomes(self.items)
        names = [outcome.value for outcome in OUTCOMES]
        rows = zip(self.items.labels, counts, strict=True)
        labels = {label: dict(zip(names, row.tolist(), strict=True)) for label, row in rows if row.any()}
        return {"all": dict(zip(names, counts.sum(axis=0).tolist(), strict=True)), "labels": labels}

    def confusion(self) -> dict[str, Any] | None:
        """Gold labels against predicted ones, summed over rounds."""
        if self.overall is None:
            return None
        names, table = confusion(self.items)
        return {"labels": names, "counts": table.tolist()}


@dataclass(frozen=True)
class Analysis:
    """All layers of a report."""

    source: Source
    layers: Mapping[str, LayerAnalysis]
    texts: Mapping[str, Report]
    """Round to the report with seqeval's and scikit-learn's own tables."""
    errors: ErrorRows
    gold: Sequence[Document]
    """What was scored on, after whatever does not fit was left out."""
    remarks: Sequence[str]
    resamples: int = RESAMPLES
    written: Mapping[str, str] = field(default_factory=dict)
    """Layer to the checkpoint that its temperature was written into."""

    def to_dict(self, about: Mapping[str, Any]) -> dict[str, Any]:
        """Plain values, no nan, as `docs/report.md` describes them; `about` says what a caller knows of the run."""
        return {
            "format": FORMAT,
            "about": dict(about),
            "remarks": [*self.remarks],
            "layers": {name: self._layer(layer) for name, layer in self.layers.items()},
            **self.errors.to_dict(),
        }

    def _layer(self, found: LayerAnalysis) -> dict[str, Any]:
        fitted = found.temperature.to_dict(self.written.get(found.name)) if found.temperature else None
        lost = found.lost
        return {
            "kind": found.layer.kind.value,
            "targeted": found.layer.targeted,
            "labels": [{"name": name, "color": label.color} for name, label in found.layer.labels.items()],
            "documents": found.items.documents,
            "groups": len(found.items.groups),
            "items": found.gold_items,
            "remarks": [*found.remarks],
            "average": "micro" if found.layer.kind is Kind.SPANS else "macro",
            "overall": found.overall.to_dict() if found.overall else None,
            "per_label": [label.to_dict() for label in found.per_label],
            "tables": self._tables(found) if found.overall else [],
            "curve": found.curves.to_dict() if found.curves else None,
            "calibration": found.calibration.to_dict(fitted) if found.calibration else None,
            "errors": found.outcomes(),
            "confusion": found.confusion(),
            "slices": [each.to_dict() for each in found.slices],
            "baselines": [each.to_dict() for each in found.baselines],
            "not_represented": None if lost is None else {"count": len(lost), "what": [*lost]},
        }

    def _tables(self, found: LayerAnalysis) -> list[dict[str, Any]]:
        spans = found.layer.kind is Kind.SPANS
        rows: list[dict[str, Any]] = []
        for name, report in self.texts.items():
            own = report.layers[found.name]
            table, lenient = _table(own.table), _table(own.lenient) if own.lenient else None
            rows.append(
                {
                    "round": name,
                    "strict": table if spans else None,
                    "lenient": lenient,
                    "sklearn": None if spans else table,
                }
            )
        return rows


def _table(table: Table) -> dict[str, Any]:
    return {"text": table.text, "rows": dict(table.rows)}


def analyse(source: Source, *, resamples: int = RESAMPLES, with_baselines: bool = True) -> Analysis:
    """Score everything that gold and predictions have in common.

    Raises:
        DocumentError: they have nothing in common.
    """
    remarks = [*source.remarks]
    rounds = aligned(source.gold, source.rounds, source.schema, remarks.append)
    gold = [own for own, _ in rounds[0]]
    items = layer_items(rounds, source.schema)
    choices = _choices(source.schema, items)
    simple = baseline_predictions(gold, choices, source.training) if choices and with_baselines else {}
    known = known_names(source.training)
    layers = {
        name: _layer(source, name, items[name], gold, simple, known.get(name), resamples)
        for name in source.schema.layers
    }
    return Analysis(
        source,
        layers,
        _texts(source, rounds),
        error_rows(items, source.schema, gold),
        gold,
        [*dict.fromkeys([*remarks, *_rough(gold)])],
        resamples,
    )


def _texts(source: Source, rounds: Sequence[Sequence[Pair]]) -> dict[str, Report]:
    lost = source.lost or {}
    return {
        name: build_report([own for own, _ in pairs], [found for _, found in pairs], source.schema, lost)
        for name, pairs in zip(source.rounds, rounds, strict=True)
    }


def _choices(schema: Schema, items: Mapping[str, Items]) -> Schema | None:
    """The layers of sentences and documents that have gold."""
    own = {
        name: layer for name, layer in schema.layers.items() if layer.kind is not Kind.SPANS and items[name].documents
    }
    return Schema(layers=own) if own else None


def _layer(
    source: Source,
    name: str,
    items: Items,
    gold: Sequence[Document],
    simple: Predictions,
    known: Known | None,
    resamples: int,
) -> LayerAnalysis:
    layer = source.schema.layers[name]
    lost = [] if layer.kind is not Kind.SPANS else source.lost.get(name, []) if source.lost is not None else None
    if not items.documents:
        told = f"no document's gold annotates the layer (of {len(gold)}); it is not scored"
        return LayerAnalysis(name, layer, items, None, lost=lost, remarks=[told])
    overall, per_label = score(items, layer.kind, resamples)
    fitted = fit(source.evidence[name], gold, resamples) if source.evidence else None
    remarks = [*_remarks(items, layer), *_not_tempered(source, fitted)]
    return LayerAnalysis(
        name,
        layer,
        items,
        overall,
        per_label,
        curves(items, macro=layer.kind is not Kind.SPANS),
        calibration(items, resamples),
        fitted,
        slices(items, layer.kind, gold, known, resamples),
        baselines(items, name, gold, source.schema, simple, resamples) if layer.kind is not Kind.SPANS else (),
        lost,
        remarks,
    )


def _not_tempered(source: Source, fitted: Fit | None) -> Iterator[str]:
    """Why a layer has no temperature, where one was asked for."""
    if source.evidence is None:
        return
    if fitted is None:
        yield "no temperature was fitted: there is no prediction that gold can judge, in documents that were not learned from"
    elif fitted.problem:
        yield f"its temperature is not to be used, and --calibrated leaves it as it was: {fitted.problem}"


def _remarks(items: Items, layer: Layer) -> list[str]:
    """What a reader has to know of a layer that has gold."""
    found: list[str] = []
    predicted, without = int(items.has_prediction.sum()), int((items.has_prediction & ~items.scored).sum())
    noun = {Kind.SPANS: "spans", Kind.SENTENCES: "sentences", Kind.DOCUMENT: "documents"}[layer.kind]
    if not predicted:
        found.append("nothing is predicted in this layer")
    elif without == predicted:
        found.append(f"none of {predicted} predictions has a probability: no curve by threshold and no calibration")
    elif without:
        found.append(
            f"{without} of {predicted} predictions have no probability; curve and calibration are of the others"
        )
    if layer.kind is not Kind.SPANS and (silent := int((~items.has_prediction).sum())):
        found.append(f"{silent} {noun} have no predicted label, which counts as wrong")
    given = np.stack(
        [np.bincount(side[side >= 0], minlength=len(items.labels)) for side in (items.gold, items.predicted)]
    )
    for label, (gold, guessed) in zip(items.labels, given.T.tolist(), strict=True):
        if guessed and not gold:
            found.append(f"label {label!r} is predicted {guessed} times and never in gold")
        elif gold and not guessed:
            found.append(f"label {label!r} is never predicted; gold has it {gold // items.rounds} times")
        elif not gold:
            found.append(f"label {label!r} occurs neither in gold nor in predictions")
    return found


def _rough(gold: Sequence[Document]) -> list[str]:
    groups = len({document.fold for document in gold})
    if groups < 2:
        return ["all documents are of one group: no interval can be given"]
    if groups < FEW_GROUPS:
        return [
            f"fewer than {FEW_GROUPS} groups of documents ({groups}): an interval is rough, and more often too narrow than "
            "too wide"
        ]
    return []
