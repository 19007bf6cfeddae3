"""Precision, recall and F1 of the predictions whose probability reaches a threshold. It knows items, not texts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from annotations.resampling import Floats
from training.reports.estimates import Ints, ratio
from training.reports.items import Bools, Items
from training.reports.layer_scores import averaged

POINTS = 50


@dataclass(frozen=True)
class Curve:
    """Scores by threshold. Shape of each: (points,), thresholds ascending."""

    threshold: Floats
    precision: Floats
    recall: Floats
    f1: Floats
    kept: Ints
    """Predictions that reach the threshold."""

    def to_dict(self, points: int = POINTS) -> dict[str, list[float]]:
        """Plain values of at most so many points, the lowest and the highest threshold among them."""
        size = len(self.threshold)
        shown = np.unique(np.linspace(0, size - 1, min(points, size)).round().astype(int)) if size else []
        columns = {"threshold": self.threshold, "precision": self.precision, "recall": self.recall, "f1": self.f1}
        return {**{name: values[shown].tolist() for name, values in columns.items()}, "kept": self.kept[shown].tolist()}

    def best(self) -> dict[str, float] | None:
        """The threshold of the highest F1, the lowest of several; chosen on the same documents, so the F1 flatters."""
        if not len(self.threshold):
            return None
        place = int(self.f1.argmax())
        names = ("threshold", "precision", "recall", "f1")
        return {name: float(getattr(self, name)[place]) for name in names}


@dataclass(frozen=True)
class Curves:
    """The curve of a layer and of each of its labels that is predicted."""

    all: Curve
    """Micro averages for spans, macro averages else, as the layer's score is."""
    labels: dict[str, Curve]

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        labels = {name: curve.to_dict() for name, curve in self.labels.items()}
        return {"all": self.all.to_dict(), "labels": labels, "best": self.all.best()}


def curves(items: Items, macro: bool) -> Curves | None:
    """The curves over all predictions with a probability, averaged as the layer's score is; None where there is none.

    In layers of sentences and documents a prediction below the threshold is a missing answer: it is not wrong, and its gold
    label is not found.
    """
    scored = items.scored
    if not scored.any():
        return None
    labels = {
        name: curve(items.score[own], items.correct[own], int((items.gold == place).sum()))
        for place, name in enumerate(items.labels)
        if (own := scored & (items.predicted == place)).any()
    }
    score, correct = items.score[scored], items.correct[scored]
    if not macro:
        return Curves(curve(score, correct, int(items.has_gold.sum())), labels)
    gold = np.bincount(items.gold[items.has_gold], minlength=len(items.labels))
    return Curves(macro_curve(score, correct, items.predicted[scored], gold), labels)


def curve(score: Floats, correct: Bools, gold: int) -> Curve:
    """One point for each different score. Shape: score and correct (predictions,)."""
    order, kept, threshold = _ranked(score)
    right = np.cumsum(correct[order])[kept - 1].astype(np.float64)
    found, wanted = kept.astype(np.float64), np.full(len(kept), float(gold))
    return Curve(threshold, ratio(right, found), ratio(right, wanted), ratio(2 * right, found + wanted), kept)


def macro_curve(score: Floats, correct: Bools, predicted: Ints, gold: Ints) -> Curve:
    """The same, averaged over labels. Shape: score, correct and predicted (predictions,), gold (labels,)."""
    order, kept, threshold = _ranked(score)
    given = np.eye(len(gold))[predicted[order]]
    right = np.cumsum(given * correct[order, None], axis=0)[kept - 1]
    found = np.cumsum(given, axis=0)[kept - 1]
    precision, recall, f1 = averaged(np.stack([right, found - right, gold - right], axis=-1), macro=True).T
    return Curve(threshold, precision, recall, f1, kept)


def _ranked(score: Floats) -> tuple[Ints, Ints, Floats]:
    """The order from the surest on; then, for each different score from the lowest on, how many reach it, and the score."""
    order = np.argsort(-score, kind="stable")
    ranked = score[order]
    # The last of equal scores: all of them reach the threshold.
    last = np.flatnonzero(np.append(ranked[1:] != ranked[:-1], True)) if len(ranked) else np.zeros(0, dtype=np.int64)
    kept = last[::-1] + 1
    return order, kept, ranked[kept - 1]
