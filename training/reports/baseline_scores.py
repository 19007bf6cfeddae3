"""A tagger's sentence and document labels beside what simple methods give the same documents. It knows items and documents."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from annotations.document import Document, Labels
from annotations.resampling import Floats
from annotations.schema import Schema
from training.baselines import label_baselines, majority_baseline
from training.reports.estimates import Estimate, estimates, ratio, tally
from training.reports.evaluation import bare
from training.reports.intervals import average_f1
from training.reports.items import Items, layer_items
from training.reports.sources import Training

TRAINED = "training data"
SCORED = "the scored documents themselves"


@dataclass(frozen=True)
class Baseline:
    """What a simple method scores on one layer, and how far it is from the tagger."""

    name: str
    learned_from: str
    accuracy: Estimate
    f1: Estimate
    """Macro average."""
    difference: Estimate
    """The tagger's macro F1 minus this one, on the same resamples."""

    def conclusion(self) -> str:
        """Which is better, if the data can tell."""
        apart = self.difference
        by = f"(macro F1 {apart.signed()})"
        if apart.low is None or apart.high is None:
            return f"one group of documents cannot tell the tagger from {self.name} {by}"
        if apart.low > 0:
            return f"better than {self.name} {by}"
        return (
            f"worse than {self.name} {by}" if apart.high < 0 else f"no evidence of a difference from {self.name} {by}"
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "name": self.name,
            "learned_from": self.learned_from,
            "accuracy": self.accuracy.to_dict(),
            "f1": self.f1.to_dict(),
            "difference": self.difference.to_dict(),
            "conclusion": self.conclusion(),
        }


Predictions = dict[str, tuple[str, list[Document]]]
"""Name of a baseline to what it learned from and its predictions in the order of the gold documents."""


def baseline_predictions(gold: Sequence[Document], schema: Schema, training: Training | None) -> Predictions:
    """The majority label, TF-IDF with logistic regression, and the same without seeing the target.

    Where it is not known what was learned from, the majority label alone, of the scored documents themselves.
    """
    if training is None:
        return {"majority": (SCORED, majority_baseline(gold, bare(gold), schema))}
    found: Predictions = {}
    simple = label_baselines(schema, 0)
    for name in ("majority", "TF-IDF", "TF-IDF, target unseen"):
        predicted: dict[str, dict[str, Labels]] = {}
        for lesson in training.lessons:
            tested = [one for one in gold if lesson.tested is None or one.id in lesson.tested]
            learned = [one for one in lesson.learned if set(one.labels) & set(schema.layers)]
            for one in simple[name](learned, bare(tested)) if tested and learned else ():
                predicted[one.id] = dict(one.labels)
        found[name] = (TRAINED, [one.with_labels(predicted.get(one.id, {})) for one in gold])
    return found


def baselines(
    own: Items, name: str, gold: Sequence[Document], schema: Schema, predictions: Predictions, resamples: int
) -> list[Baseline]:
    """Each baseline on one layer of sentences or documents; one that predicts nothing there is left out."""
    layer = Schema(layers={name: schema.layers[name]})
    found: list[Baseline] = []
    for title, (learned_from, predicted) in predictions.items():
        if not any(name in document.labels for document in predicted):
            continue
        if title.endswith("target unseen") and not schema.layers[name].targeted:
            continue
        items = layer_items([[*zip(gold, predicted, strict=True)]], layer)[name]
        accuracy, f1, difference = _beside(own, items, resamples)
        found.append(Baseline(title, learned_from, accuracy, f1, difference))
    return found


def _beside(own: Items, other: Items, resamples: int) -> list[Estimate]:
    """Accuracy and macro F1 of the other, and how much higher our F1 is."""
    sides = [(items, *items.events()) for items in (own, replace(other, round=other.round + own.rounds))]
    shape = (own.rounds + 1, len(own.labels), 3)
    columns = [(items.group[which], items.round[which], labels, kind) for items, which, labels, kind in sides]
    group, number, labels, kind = (np.concatenate(parts) for parts in zip(*columns, strict=True))
    table = tally(len(own.groups), shape, group, (number, labels, kind))

    def measure(totals: Floats) -> Floats:
        f1 = average_f1(totals, macro=True)
        right, lost = totals[:, -1, :, 0].sum(-1), totals[:, -1, :, 2].sum(-1)
        return np.stack([ratio(right, right + lost), f1[:, -1], f1[:, :-1].mean(axis=1) - f1[:, -1]], axis=1)

    return estimates(table, measure, resamples)
