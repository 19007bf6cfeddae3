"""Precision, recall and F1 of a layer and of each label, with intervals from the same resamples. It knows items, not texts.

With several rounds, a score is the mean of the rounds' scores, and each resample averages them likewise.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from annotations.resampling import Floats
from annotations.schema import Kind
from training.reports.estimates import Estimate, Ints, Tally, estimates, ratio, tally
from training.reports.intervals import average_f1
from training.reports.items import Items
from training.reports.span_errors import OUTCOMES

NO_LABEL = "(none)"
UNDEFINED = float("nan")


@dataclass(frozen=True)
class LabelScore:
    """One label that occurs in gold or prediction."""

    label: str
    support: int
    """Gold items."""
    predicted: float
    """Mean number over rounds."""
    precision: Estimate
    recall: Estimate
    f1: Estimate

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "label": self.label,
            "support": self.support,
            "predicted": self.predicted,
            "precision": self.precision.to_dict(),
            "recall": self.recall.to_dict(),
            "f1": self.f1.to_dict(),
        }


@dataclass(frozen=True)
class Overall:
    """The whole layer. Precision, recall and F1 are micro averages for spans, macro averages else."""

    precision: Estimate
    recall: Estimate
    f1: Estimate
    macro_f1: Estimate
    accuracy: Estimate | None
    """None for spans."""
    by_round: tuple[float, ...]
    """F1 of each round."""

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "precision": self.precision.to_dict(),
            "recall": self.recall.to_dict(),
            "f1": self.f1.to_dict(),
            "macro_f1": self.macro_f1.to_dict(),
            "accuracy": self.accuracy.to_dict() if self.accuracy else None,
            "by_round": [*self.by_round],
        }


def counted(items: Items) -> Tally:
    """True positives, false positives, false negatives of each round and label. Shape of the cells: (rounds, labels, 3)."""
    which, labels, kind = items.events()
    shape = (items.rounds, len(items.labels), 3)
    return tally(len(items.groups), shape, items.group[which], (items.round[which], labels, kind))


def score(items: Items, kind: Kind, resamples: int) -> tuple[Overall, list[LabelScore]]:
    """The scores of a layer that has items."""
    table = counted(items)
    macro = kind is not Kind.SPANS
    found = estimates(table, lambda totals: _numbers(totals, macro), resamples)
    overall, rest = found[:5], found[5:]
    whole = table.whole()
    by_round = tuple(map(float, average_f1(whole, macro)))
    size = len(items.labels)
    per_label = [
        LabelScore(
            label,
            support=int(whole[0, place, 0] + whole[0, place, 2]),
            predicted=float(whole[:, place, :2].sum() / items.rounds),
            precision=rest[place],
            recall=rest[size + place],
            f1=rest[2 * size + place],
        )
        for place, label in enumerate(items.labels)
        if whole[:, place].any()
    ]
    precision, recall, f1, macro_f1, accuracy = overall
    return Overall(precision, recall, f1, macro_f1, accuracy if macro else None, by_round), per_label


def _numbers(totals: Floats, macro: bool) -> Floats:
    """Five numbers for the layer, then precision, recall and F1 of each label.

    Shape: (draws, rounds, labels, 3) to (draws, 5 + 3 * labels).
    """
    own = label_ratios(totals)
    averages = averaged(totals, macro)
    macro_f1 = average_f1(totals, macro=True)
    accuracy = ratio(totals[..., 0].sum(-1), (totals[..., 0] + totals[..., 2]).sum(-1))
    rows = [*np.moveaxis(averages, -1, 0), macro_f1, accuracy]
    layer = np.stack([row.mean(axis=1) for row in rows], axis=1)
    # A label that a draw holds in no round has no score there.
    occurs = (totals.sum(axis=-1) > 0).any(axis=1)
    each = [np.where(occurs, own[..., number].mean(axis=1), UNDEFINED) for number in range(3)]
    return np.concatenate([layer, *each], axis=1)


def label_ratios(totals: Floats) -> Floats:
    """Precision, recall and F1 of each label; 0 where not defined. Shape: (..., labels, 3) to the same."""
    right, invented, lost = np.moveaxis(totals, -1, 0)
    found: Floats = np.stack(
        [ratio(right, right + invented), ratio(right, right + lost), ratio(2 * right, 2 * right + invented + lost)], -1
    )
    return found


def averaged(totals: Floats, macro: bool) -> Floats:
    """Precision, recall and F1 of a layer, micro or macro over labels that occur. Shape: (..., labels, 3) to (..., 3)."""
    if not macro:
        micro: Floats = label_ratios(totals.sum(axis=-2, keepdims=True))[..., 0, :]
        return micro
    occurs = (totals.sum(axis=-1) > 0)[..., None]
    mean: Floats = (label_ratios(totals) * occurs).sum(axis=-2) / np.maximum(occurs.sum(axis=-2), 1)
    return mean


def outcomes(items: Items) -> Ints:
    """How often each outcome befell each label: by gold label, spurious by predicted label. Shape: (labels, outcomes)."""
    label = np.where(items.has_gold, items.gold, items.predicted)
    cells = label * len(OUTCOMES) + items.outcome
    found: Ints = np.bincount(cells, minlength=len(items.labels) * len(OUTCOMES)).reshape(-1, len(OUTCOMES))
    return found


def confusion(items: Items) -> tuple[list[str], Ints]:
    """Gold labels (rows) against the labels of what they are matched with, over labels that occur; the last is none."""
    size = len(items.labels) + 1
    # NONE is -1, which is the last place.
    cells = (items.gold % size) * size + items.predicted % size
    table: Ints = np.bincount(cells, minlength=size * size).reshape(size, size)
    occurs = (table.sum(axis=0) + table.sum(axis=1)) > 0
    occurs[-1] = True
    names = [name for name, known in zip([*items.labels, NO_LABEL], occurs, strict=True) if known]
    kept: Ints = table[occurs][:, occurs]
    return names, kept
