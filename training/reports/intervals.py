"""How sure a score is: spread over seeds, and bootstrap intervals by group. It knows counts, not models."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from annotations.comparison import Counts, compare
from annotations.document import Document
from annotations.resampling import Floats, resampled
from annotations.schema import Kind, Schema


@dataclass(frozen=True)
class Score:
    """One system on one layer: micro F1 for spans, macro F1 for the others."""

    system: str
    layer: str
    measure: str
    by_seed: tuple[float, ...]
    """The pooled out-of-fold score of each seed."""
    low: float
    """Lower end of the 95% bootstrap interval by group, of the mean over seeds."""
    high: float
    """Upper end."""
    draws: Floats
    """The bootstrap distribution, on the same resamples for every system."""
    groups: int
    """How many groups annotate the layer; drawn from a single one, all resamples are the same."""

    @property
    def interval(self) -> list[float] | None:
        """Both ends; None where there is one group, of which nothing can be drawn."""
        return [self.low, self.high] if self.groups > 1 else None

    @property
    def mean(self) -> float:
        """Mean over seeds."""
        return float(np.mean(self.by_seed))

    def to_dict(self) -> dict[str, Any]:
        """Plain values, without the draws."""
        return {
            "system": self.system,
            "layer": self.layer,
            "measure": self.measure,
            "mean": self.mean,
            "by_seed": list(self.by_seed),
            "interval": self.interval,
            "groups": self.groups,
        }


@dataclass(frozen=True)
class Difference:
    """One score minus another one of the same layer, on the same resamples."""

    mean: float
    low: float
    """Lower end of the 95% bootstrap interval by group."""
    high: float
    """Upper end."""
    better: float
    """Share of the resamples in which the first is higher."""
    worse: float
    """Share of the resamples in which the second is higher."""


def difference(own: Score, other: Score) -> Difference:
    """How much higher `own` is; paired, since both saw the same draws."""
    draws = own.draws - other.draws
    low, high = np.percentile(draws, [2.5, 97.5])
    return Difference(
        own.mean - other.mean, float(low), float(high), float(np.mean(draws > 0)), float(np.mean(draws < 0))
    )


def scores(
    results: dict[str, list[list[Document]]], gold: Sequence[Document], schema: Schema, *, resamples: int = 2000
) -> list[Score]:
    """Every system on every layer that it predicts and gold annotates, as `layer_scores` has it."""
    return [
        score for layer in schema.layers for score in layer_scores(results, gold, layer, schema, resamples=resamples)
    ]


def layer_scores(
    results: dict[str, list[list[Document]]],
    gold: Sequence[Document],
    layer: str,
    schema: Schema,
    *,
    resamples: int = 2000,
) -> list[Score]:
    """Every system that predicts a layer, on the documents whose gold annotates it; other documents play no part.

    Their groups are drawn with replacement (Efron and Tibshirani, 1993); all systems see the same draws.
    """
    annotated = [document for document in gold if layer in document.labels]
    if not annotated:
        return []
    own = Schema(layers={layer: schema.layers[layer]})
    drawn = resampled(len({document.fold for document in annotated}), resamples)
    return [
        _score(system, layer, rounds, annotated, own, drawn)
        for system, rounds in results.items()
        if any(layer in document.labels for predicted in rounds for document in predicted)
    ]


def _score(
    system: str, layer: str, rounds: list[list[Document]], gold: Sequence[Document], schema: Schema, drawn: Floats
) -> Score:
    macro = schema.layers[layer].kind is not Kind.SPANS
    counted = [_counts(gold, predicted, schema, layer) for predicted in rounds]
    whole = np.ones((1, drawn.shape[1]))
    by_seed = tuple(float(_f1(whole, counts, macro)[0]) for counts in counted)
    draws = np.mean([_f1(drawn, counts, macro) for counts in counted], axis=0)
    low, high = np.percentile(draws, [2.5, 97.5])
    return Score(
        system, layer, "macro F1" if macro else "micro F1", by_seed, float(low), float(high), draws, drawn.shape[1]
    )


def _counts(gold: Sequence[Document], predicted: Sequence[Document], schema: Schema, layer: str) -> Floats:
    """True positives, false positives and false negatives. Shape: (groups, labels, 3)."""
    groups: dict[str, list[Document]] = {}
    for document in gold:
        groups.setdefault(document.fold, []).append(document)
    found: dict[str, list[Document]] = {}
    for document in predicted:
        found.setdefault(document.id, []).append(document)
    rows = []
    for _, own in sorted(groups.items()):
        answers = [answer for document in own for answer in found.get(document.id, ())]
        compared = compare(own, answers, schema)
        rows.append([_triple(counts) for counts in compared.layers[layer].counts.values()])
    return np.asarray(rows, dtype=np.float64)


def _triple(counts: Counts) -> tuple[int, int, int]:
    return counts.tp, counts.fp, counts.fn


def _f1(drawn: Floats, counts: Floats, macro: bool) -> Floats:
    """F1 for each draw. Shape: drawn (draws, groups), counts (groups, labels, 3); result (draws,).

    The macro average is over the labels that occur in gold or prediction of the draw.
    """
    totals = np.tensordot(drawn, counts, axes=1).astype(np.float64)
    return average_f1(totals, macro)


def average_f1(totals: Floats, macro: bool) -> Floats:
    """F1 of summed counts, micro or macro average over labels that occur. Shape: totals (..., labels, 3); result (...)."""
    if not macro:
        totals = totals.sum(axis=-2, keepdims=True)
    right, wrong = totals[..., 0], totals[..., 1] + totals[..., 2]
    occurs = right + wrong > 0
    each = np.divide(2 * right, 2 * right + wrong, out=np.zeros_like(right), where=occurs)
    average: Floats = each.sum(axis=-1) / np.maximum(occurs.sum(axis=-1), 1)
    return average


def verdicts(found: Sequence[Score], system: str) -> list[str]:
    """For each layer, in words, whether a system beats each of the others; paired by resample."""
    lines = []
    for own in (score for score in found if score.system == system):
        for other in (score for score in found if score.layer == own.layer and score.system != system):
            apart = difference(own, other)
            if own.interval is None:
                lines.append(
                    f"{own.layer}: whether {system} beats {other.system} cannot be told from one group of documents "
                    f"({own.measure} {apart.mean:+.3f})"
                )
                continue
            low, high = apart.low, apart.high
            word = "beats" if low > 0 else "is beaten by" if high < 0 else "is not clearly different from"
            lines.append(
                f"{own.layer}: {system} {word} {other.system} "
                f"({own.measure} {apart.mean:+.3f}, 95% interval {low:+.3f} to {high:+.3f})"
            )
    return lines


def markdown(found: Sequence[Score], system: str) -> str:
    """The table and the verdicts."""
    lines = ["| layer | system | measure | mean | by seed | 95% interval by article |", "|---|---|---|---|---|---|"]
    for score in found:
        seeds = " ".join(f"{value:.3f}" for value in score.by_seed)
        lines.append(
            f"| {score.layer} | {score.system} | {score.measure} | {score.mean:.3f} | {seeds} "
            f"| {'none, one group' if score.interval is None else f'{score.low:.3f}–{score.high:.3f}'} |"
        )
    return "\n".join([*lines, "", *(f"- {line}" for line in verdicts(found, system))])
