"""How far two or more annotators agree, layer by layer, and every place where they do not. Nobody is held for the truth.

With more than two annotators, the measures that compare two (F1, same label, kappa) are means over all pairs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from annotations.agreement.counts import LayerCounter, SpanCounts, UnitCounts
from annotations.agreement.disagreements import Disagreement, disagreements
from annotations.agreement.measures import DEFINITIONS, NO_MARK, NO_PAIR, ONE_LABEL, Measure, Measures, Sampler
from annotations.agreement.readings import Readings, Shared, shared
from annotations.agreement.reliability import cohen_kappa, f1, krippendorff_alpha, observed
from annotations.resampling import Floats
from annotations.schema import Kind, Layer, Schema

RESAMPLES = 1000

Pair = tuple[str, str]


@dataclass(frozen=True)
class LayerAgreement:
    """Agreement in one layer, over the documents in which two or more annotators annotated it."""

    kind: Kind
    documents: int
    articles: int
    alone: Sequence[str]
    """Ids of documents of several annotators of whom one alone annotated this layer; they count nowhere."""
    incomplete: int
    """Sentences that some labelled and others, who annotated the layer, did not. They are disagreements, and gaps to the
    measures. 0 for other kinds."""
    measures: Measures
    labels: Mapping[str, Measures]
    """The measures of each label of the schema."""
    marked: Mapping[str, Mapping[str, int]]
    """Label to annotator to how many spans, sentences or documents were given the label."""
    pairs: Mapping[Pair, Measures]
    """The measures of each pair; empty where there is only one pair."""

    def to_dict(self) -> dict[str, Any]:
        """Plain values, no nan."""
        return {
            "kind": self.kind.value,
            "documents": self.documents,
            "articles": self.articles,
            "alone": list(self.alone),
            "incomplete": self.incomplete,
            "measures": _plain(self.measures),
            "labels": {
                label: {"marked": dict(self.marked[label]), "measures": _plain(each)}
                for label, each in self.labels.items()
            },
            "pairs": [{"annotators": list(pair), "measures": _plain(each)} for pair, each in self.pairs.items()],
        }


def _plain(measures: Measures) -> dict[str, Any]:
    return {name: measure.to_dict() for name, measure in measures.items()}


@dataclass(frozen=True)
class Agreement:
    """Agreement in every layer, and every disagreement."""

    annotators: Sequence[str]
    resamples: int
    seed: int
    layers: Mapping[str, LayerAgreement]
    disagreements: Sequence[Disagreement]
    single: Sequence[tuple[str, str]]
    """Document id and annotator of what one person alone annotated; it counts nowhere."""
    documents: Sequence[Shared] = field(repr=False)
    """The readings that were compared."""

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON, without the texts."""
        return {
            "annotators": list(self.annotators),
            "bootstrap": {"by": "article", "level": 0.95, "resamples": self.resamples, "seed": self.seed},
            "definitions": DEFINITIONS,
            "layers": {name: layer.to_dict() for name, layer in self.layers.items()},
            "disagreements": [item.to_dict() for item in self.disagreements],
            "single": [{"document": document, "annotator": who} for document, who in self.single],
        }


def agreement(readings: Readings, schema: Schema, *, resamples: int = RESAMPLES, seed: int = 0) -> Agreement:
    """Compare two or more annotators' documents, given by annotator. A layer counts where two or more annotated it.

    Raises:
        DocumentError: with every problem, like `annotations.agreement.readings.shared`.
    """
    documents, single = shared(readings, schema)
    who = list(readings)
    layers: dict[str, LayerAgreement] = {}
    for name, layer in schema.layers.items():
        counter = LayerCounter(documents, name, layer, who)
        alone = [each.first.id for each in documents if len(each.of(name)) == 1]
        layers[name] = _layer(counter, layer, alone, Sampler(len(counter.groups), resamples, seed))
    return Agreement(who, resamples, seed, layers, list(disagreements(documents, schema)), single, documents)


def _layer(counter: LayerCounter, layer: Layer, alone: Sequence[str], sampler: Sampler) -> LayerAgreement:
    units = counter.units()
    if layer.kind is Kind.SPANS:
        spans = counter.spans()
        marked, incomplete = spans.marked, 0
        measures, labels, pairs = _span_measures(spans, units, layer, sampler)
    else:
        marked, incomplete = units.marked, units.incomplete
        measures, labels, pairs = _unit_measures(units, layer, sampler)
    return LayerAgreement(
        kind=layer.kind,
        documents=len(counter.documents),
        articles=len(counter.groups),
        alone=alone,
        incomplete=incomplete,
        measures=measures,
        labels=labels,
        marked={
            label: dict(zip(counter.annotators, map(int, column), strict=True))
            for label, column in zip(layer.names, marked.T, strict=False)
        },
        pairs=dict(zip(counter.pairs, pairs, strict=True)) if len(pairs) > 1 else {},
    )


_Result = tuple[Measures, Mapping[str, Measures], Sequence[Measures]]


def _span_measures(spans: SpanCounts, units: UnitCounts, layer: Layer, sampler: Sampler) -> _Result:
    tables = {"exact_f1": sampler.of_pairs(spans.exact), "partial_f1": sampler.of_pairs(spans.partial)}
    overall = {name: f1(table.sum(axis=-2)) for name, table in tables.items()}
    single = {name: f1(table) for name, table in tables.items()}
    measures = {name: sampler.mean(values, int(spans.items.sum()), NO_MARK) for name, values in overall.items()}
    labels = {
        label: {name: sampler.mean(values[..., at], int(spans.items[at]), NO_MARK) for name, values in single.items()}
        for at, label in enumerate(layer.names)
    }
    tokens = sampler.of_pairs(units.pairs)
    kappas = cohen_kappa(tokens)
    measures |= _beyond_chance("token_kappa", "token_alpha", kappas, units, sampler)
    pairs = []
    for at, table in enumerate(tokens):
        # Those of the first, those of the second, less those that are the same.
        marked = int(spans.exact[at].sum(axis=(0, 1)) @ np.array([-1, 1, 1]))
        row = {name: sampler.measure(values[at], marked, NO_MARK) for name, values in overall.items()}
        pairs.append(row | {"token_kappa": _pair_measure(kappas[at], table, sampler)})
    return measures, labels, pairs


def _unit_measures(units: UnitCounts, layer: Layer, sampler: Sampler) -> _Result:
    tables = sampler.of_pairs(units.pairs)
    same, kappas, by_label = observed(tables), cohen_kappa(tables), f1(tables)
    measures = {"observed": sampler.mean(same, units.items, NO_PAIR)}
    measures |= _beyond_chance("kappa", "alpha", kappas, units, sampler)
    labels = {
        label: {"f1": sampler.mean(by_label[..., at], int(units.label_items[at]), NO_MARK)}
        for at, label in enumerate(layer.names)
    }
    pairs = [
        {
            "observed": _pair_measure(same[at], table, sampler),
            "kappa": _pair_measure(kappas[at], table, sampler),
        }
        for at, table in enumerate(tables)
    ]
    return measures, labels, pairs


def _beyond_chance(kappa: str, alpha: str, kappas: Floats, units: UnitCounts, sampler: Sampler) -> dict[str, Measure]:
    why = ONE_LABEL if units.items else NO_PAIR
    alphas = krippendorff_alpha(sampler.summed(units.coincidences))
    return {kappa: sampler.mean(kappas, units.items, why), alpha: sampler.measure(alphas, units.items, why)}


def _pair_measure(values: Floats, table: Floats, sampler: Sampler) -> Measure:
    items = int(table[0, :, 1].sum())
    return sampler.measure(values, items, ONE_LABEL if items else NO_PAIR)
