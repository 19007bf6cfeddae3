"""The bootstrap by group: which groups each resample draws, and the interval that the resamples give. It knows no measure.

Bradley Efron and Robert Tibshirani. 1993. An Introduction to the Bootstrap. Chapman & Hall, chapters 6 and 13.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

LEVEL = 95
MANY = 1000
BLOCK = 2_000_000


def resampled(groups: int, resamples: int, seed: int = 0) -> Floats:
    """How often each resample draws each group, with replacement. Shape: (resamples, groups); every row adds up to groups."""
    drawn = np.random.default_rng(seed).multinomial(groups, [1 / groups] * groups, size=resamples)
    return drawn.astype(np.float64)


def resampled_blocks(groups: int, resamples: int, seed: int = 0) -> Iterator[Floats]:
    """Like `resampled`, in blocks of a few million numbers, so that many groups fit into memory. Shape: (some, groups).

    Up to MANY groups the draws are those of `resampled`. Beyond, the drawn groups are counted instead, which is quicker.
    """
    if groups <= MANY:
        yield resampled(groups, resamples, seed)
        return
    random = np.random.default_rng(seed)
    rows = max(1, BLOCK // groups)
    for first in range(0, resamples, rows):
        size = min(rows, resamples - first)
        drawn = [np.bincount(random.integers(groups, size=groups), minlength=groups) for _ in range(size)]
        yield np.stack(drawn).astype(np.float64)


def interval(draws: Floats) -> tuple[float, float] | None:
    """The 95% percentile interval of the draws that are numbers; None where none is. Shape: draws (resamples,)."""
    known = draws[~np.isnan(draws)]
    if not known.size:
        return None
    tail = (100 - LEVEL) / 2
    low, high = np.percentile(known, [tail, 100 - tail])
    return float(low), float(high)
