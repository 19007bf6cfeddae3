"""A saturating power law through a learning curve: score = a − b · n^(−c). It knows numbers, not what they measure.

Joel Hestness et al. 2017. Deep Learning Scaling is Predictable, Empirically. arXiv:1712.00409: error falls as a power law
towards a floor. Rosa Figueroa et al. 2012. Predicting sample size required for classification performance. BMC Medical
Informatics and Decision Making 12:8: point j of m counts j/m, for the curve's end says more about what comes next.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from annotations.resampling import Floats

LEAST_SIZES = 4
"""A law with three free numbers runs through any three points."""
EXPONENTS = np.geomspace(0.05, 2.0, 60)


class PowerLaw(NamedTuple):
    """One law for each curve. Shape of each: (curves,)."""

    ceiling: Floats
    """a: the score with endless data, between 0 and 1."""
    gap: Floats
    """b: how far a single group is from it; negative where the score falls."""
    exponent: Floats
    """c: how fast the gap closes."""

    def at(self, size: float) -> Floats:
        """The score that is predicted at a size, between 0 and 1. Shape: (curves,)."""
        return np.clip(self.ceiling - self.gap * size**-self.exponent, 0.0, 1.0)


def fit(sizes: Floats, scores: Floats) -> PowerLaw:
    """The law that is closest to each curve, by weighted least squares.

    Shape: sizes (sizes,), positive and rising; scores (curves, sizes), between 0 and 1. For a given exponent the best
    ceiling and gap are known exactly, so the exponent is found by trying a grid of them.
    """
    weights = np.arange(1, len(sizes) + 1) / len(sizes)
    tried = [_linear(sizes**-exponent, scores, weights) for exponent in EXPONENTS]
    errors = np.stack([error for _, _, error in tried])
    best = errors.argmin(axis=0)
    curves = np.arange(len(scores))
    ceilings, gaps = (np.stack([part[place] for part in tried]) for place in (0, 1))
    return PowerLaw(ceilings[best, curves], gaps[best, curves], EXPONENTS[best])


def _linear(shrinking: Floats, scores: Floats, weights: Floats) -> tuple[Floats, Floats, Floats]:
    """Ceiling, gap and squared error of score = ceiling − gap · shrinking. Shape: shrinking (sizes,), scores (curves, sizes)."""
    share = weights / weights.sum()
    centre, level = share @ shrinking, scores @ share
    spread = share @ (shrinking - centre) ** 2
    slope = ((scores - level[:, None]) * (shrinking - centre)) @ share / spread
    free = level - slope * centre
    ceiling = np.clip(free, 0.0, 1.0)
    # A ceiling out of bounds is put on the bound; the best gap is then another one.
    bound = ((ceiling[:, None] - scores) * shrinking) @ share / (share @ shrinking**2)
    gap = np.where(ceiling == free, -slope, bound)
    errors = (scores - ceiling[:, None] + gap[:, None] * shrinking) ** 2 @ share
    return ceiling, gap, errors
