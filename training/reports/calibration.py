"""Whether probabilities are right: reliability by bins and the expected calibration error. It knows items, not models.

Chuan Guo, Geoff Pleiss, Yu Sun and Kilian Weinberger. 2017. On Calibration of Modern Neural Networks. ICML.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from annotations.resampling import Floats
from training.reports.estimates import Estimate, Ints, Tally, estimates, tally
from training.reports.items import Bools, Items

BINS = 10
ONE, CONFIDENCE, RIGHT = range(3)


@dataclass(frozen=True)
class Bin:
    """Predictions with a probability in one stretch."""

    low: float
    high: float
    count: int
    confidence: float
    """Mean probability."""
    accuracy: float
    """Share that is right."""

    def to_dict(self) -> dict[str, float]:
        """Plain values."""
        return {**self.__dict__}


@dataclass(frozen=True)
class Reliability:
    """How far probabilities are from the share that is right."""

    items: int
    """Predictions with a probability."""
    ece: Estimate
    """Mean distance of confidence and accuracy over bins, each weighing as many predictions as it holds."""
    confidence: float
    accuracy: float
    bins: tuple[Bin, ...]
    """Only those that hold something."""


def reliability(score: Floats, correct: Bools, group: Ints, groups: int, resamples: int) -> Reliability:
    """Ten bins of equal width, open below and closed above as in Guo et al. Shape: score, correct, group (predictions,).

    A prediction of a span is right where start, end and label are.
    """
    table = _binned(score, correct, group, groups)
    [ece] = estimates(table, lambda totals: _ece(totals)[:, None], resamples)
    whole = table.whole()
    count = max(1.0, float(whole[:, ONE].sum()))
    bins = tuple(
        Bin(
            place / BINS,
            (place + 1) / BINS,
            int(row[ONE]),
            float(row[CONFIDENCE] / row[ONE]),
            float(row[RIGHT] / row[ONE]),
        )
        for place, row in enumerate(whole)
        if row[ONE]
    )
    means = whole.sum(axis=0) / count
    return Reliability(len(score), ece, float(means[CONFIDENCE]), float(means[RIGHT]), bins)


def _binned(score: Floats, correct: Bools, group: Ints, groups: int) -> Tally:
    """Number, confidence and right answers in each bin. Shape of the cells: (bins, 3)."""
    place = np.clip(np.ceil(score * BINS).astype(np.int64) - 1, 0, BINS - 1)
    column = np.repeat(np.arange(3), len(score))
    weight = np.concatenate([np.ones(len(score)), score, correct.astype(np.float64)])
    return tally(groups, (BINS, 3), np.tile(group, 3), (np.tile(place, 3), column), weight)


def _ece(totals: Floats) -> Floats:
    """Shape: (draws, bins, 3) to (draws,)."""
    apart = np.abs(totals[..., CONFIDENCE] - totals[..., RIGHT]).sum(axis=-1)
    count = totals[..., ONE].sum(axis=-1)
    found: Floats = np.divide(apart, count, out=np.full(len(totals), np.nan), where=count > 0)
    return found


@dataclass(frozen=True)
class Calibration:
    """Of one layer."""

    found: Reliability
    without: int
    """Predictions without a probability, which play no part."""

    def to_dict(self, temperature: dict[str, Any] | None) -> dict[str, Any]:
        """Plain values."""
        found = self.found
        return {
            "items": found.items,
            "without": self.without,
            "ece": found.ece.to_dict(),
            "confidence": found.confidence,
            "accuracy": found.accuracy,
            "bins": [each.to_dict() for each in found.bins],
            "temperature": temperature,
        }


def calibration(items: Items, resamples: int) -> Calibration | None:
    """Of all predictions with a probability; None where there is none."""
    scored = items.scored
    if not scored.any():
        return None
    without = int((items.has_prediction & ~scored).sum())
    own = items.score[scored], items.correct[scored], items.group[scored]
    return Calibration(reliability(*own, len(items.groups), resamples), without)
