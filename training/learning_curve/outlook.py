"""Will more annotation help? Scores by size with intervals, a law fitted through them, and what it means in words.

It knows scores and their bootstrap draws, not trainings.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from annotations.document import Document
from annotations.resampling import Floats, interval, resampled
from annotations.schema import Schema
from training.learning_curve.power_law import LEAST_SIZES, fit
from training.learning_curve.run import Grown
from training.reports.intervals import layer_scores

LITTLE = 0.01
"""A change of the score that nobody would annotate for."""


@dataclass(frozen=True)
class Estimate:
    """A number with its 95% bootstrap interval, over groups and seeds."""

    value: float
    low: float
    high: float

    @classmethod
    def of(cls, value: float, draws: Floats) -> Estimate:
        """From its bootstrap distribution."""
        low, high = interval(draws) or (value, value)
        return cls(value, low, high)

    def to_list(self) -> list[float]:
        """Value, low, high."""
        return [self.value, self.low, self.high]


@dataclass(frozen=True)
class SizeScore:
    """One layer's score with one number of training groups."""

    groups: int
    documents: float
    labels: float
    score: Estimate
    by_seed: tuple[float, ...]


@dataclass(frozen=True)
class Prediction:
    """What the fitted law says of more groups."""

    groups: int
    score: Estimate
    gain: Estimate
    """Over the law's own value at the largest size."""


@dataclass(frozen=True)
class Outlook:
    """The learning curve of one layer."""

    layer: str
    measure: str
    scored: int
    """How many groups the scores come from."""
    sizes: Sequence[SizeScore]
    last: Estimate | None
    """From the last size but one to the last, as measured."""
    predicted: Prediction | None
    """At twice the largest size, where there are sizes enough, and more groups scored than one."""

    def conclusion(self) -> str:
        """Whether more annotation will help, in a plain sentence, or that the data cannot tell."""
        cannot = f"{self.layer}: the data cannot tell whether more annotation will help"
        if self.scored < 2:
            return f"{cannot}: its scores come from one group of documents."
        if self.last is None:
            return f"{cannot}: one size makes no curve."
        if self.predicted is None:
            many, before = self.sizes[-1].groups, self.sizes[-2].groups
            return (
                f"{cannot}: {len(self.sizes)} sizes are too few to fit a curve ({LEAST_SIZES} are needed); from {before} to "
                f"{many} groups {self.measure} changed by {_signed(self.last)}."
            )
        gain, score = self.predicted.gain, self.predicted.score
        ahead = (
            f"at {self.predicted.groups} groups, twice the {self.sizes[-1].groups} learned from, {self.measure} {score.value:.3f} "
            f"(95% interval {score.low:.3f} to {score.high:.3f}) is predicted, a change of {_signed(gain)}"
        )
        if max(abs(gain.low), abs(gain.high)) <= LITTLE:
            return f"{self.layer}: more annotation of this kind should change little: {ahead}."
        if gain.low > 0:
            return f"{self.layer}: more annotation should help: {ahead}."
        if gain.high < 0:
            return f"{self.layer}: the score falls with more annotation, so look at what was added last: {ahead}."
        return f"{cannot}: {ahead}."

    def interval(self, size: SizeScore) -> list[float] | None:
        """Both ends of a size's interval; None where one group is scored, of which nothing can be drawn."""
        return [size.score.low, size.score.high] if self.scored > 1 else None

    def to_dict(self) -> dict[str, Any]:
        """Plain values; no interval where one group is scored."""
        sizes = [
            {
                "groups": size.groups,
                "documents": size.documents,
                "labels": size.labels,
                "mean": size.score.value,
                "by_seed": [*size.by_seed],
                "interval": self.interval(size),
            }
            for size in self.sizes
        ]
        ahead = self.predicted and {
            "groups": self.predicted.groups,
            "score": self.predicted.score.to_list(),
            "gain": self.predicted.gain.to_list(),
        }
        own = {"layer": self.layer, "measure": self.measure, "scored_groups": self.scored, "sizes": sizes}
        return {**own, "predicted": ahead, "conclusion": self.conclusion()}


def _signed(estimate: Estimate) -> str:
    return f"{estimate.value:+.3f} ({estimate.low:+.3f} to {estimate.high:+.3f})"


def outlooks(grown: Sequence[Grown], gold: Sequence[Document], schema: Schema) -> list[Outlook]:
    """One for each layer that gold annotates; `grown` by rising size, each with as many seeds."""
    return [found for layer in schema.layers if (found := _outlook(grown, gold, layer, schema))]


def _outlook(grown: Sequence[Grown], gold: Sequence[Document], layer: str, schema: Schema) -> Outlook | None:
    systems = {f"{size.groups} {seed}": [found] for size in grown for seed, found in enumerate(size.rounds)}
    found = {score.system: score for score in layer_scores(systems, gold, layer, schema)}
    if set(found) != set(systems):
        return None
    scores = [[found[f"{size.groups} {seed}"] for seed in range(len(size.rounds))] for size in grown]
    draws = _draws(np.asarray([[score.draws for score in seeds] for seeds in scores]))
    by_seed = [tuple(score.by_seed[0] for score in seeds) for seeds in scores]
    means = np.asarray([np.mean(values) for values in by_seed])
    sizes = [
        SizeScore(
            size.groups,
            size.documents,
            size.labels.get(layer, 0.0),
            Estimate.of(float(means[place]), draws[:, place]),
            own,
        )
        for place, (size, own) in enumerate(zip(grown, by_seed, strict=True))
    ]
    last = Estimate.of(float(means[-1] - means[-2]), draws[:, -1] - draws[:, -2]) if len(grown) > 1 else None
    scored = len({document.fold for document in gold if layer in document.labels})
    ahead = _predicted([size.groups for size in grown], means, draws) if scored > 1 else None
    return Outlook(layer, scores[0][0].measure, scored, sizes, last, ahead)


def _draws(scores: Floats) -> Floats:
    """Groups are drawn already, the same for all; draws the seeds as well. Shape: scores (sizes, seeds, draws); (draws, sizes)."""
    seeds = scores.shape[1]
    # Another seed than that of the groups: the two must not go together.
    weights = resampled(seeds, scores.shape[2], seed=1) / seeds
    mixed: Floats = np.einsum("nsr,rs->rn", scores, weights)
    return mixed


def _predicted(sizes: Sequence[int], means: Floats, draws: Floats) -> Prediction | None:
    """Shape: means (sizes,), draws (draws, sizes)."""
    if len(sizes) < LEAST_SIZES:
        return None
    places, twice = np.asarray(sizes, dtype=np.float64), 2 * sizes[-1]
    law, laws = fit(places, means[None, :]), fit(places, draws)
    here, ahead = float(law.at(sizes[-1])[0]), float(law.at(twice)[0])
    score = Estimate.of(ahead, laws.at(twice))
    return Prediction(twice, score, Estimate.of(ahead - here, laws.at(twice) - laws.at(sizes[-1])))
