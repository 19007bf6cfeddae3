"""Numbers with bootstrap intervals by group, from tables of what each group adds to each cell. It knows no documents.

All numbers of one report are measured on the same resamples, so that differences between them are paired.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from annotations.resampling import Floats, interval, resampled_blocks

Ints = npt.NDArray[np.int64]
Measure = Callable[[Floats], Floats]
"""Totals of some draws to numbers. Shape: (draws, *cells) to (draws, numbers); nan where a number is not defined."""


@dataclass(frozen=True)
class Estimate:
    """A number and its 95% bootstrap interval by group; no interval where there are fewer than two groups."""

    value: float
    low: float | None = None
    high: float | None = None

    def __str__(self) -> str:
        return f"{self.value:.3f}" + (f" ({self.low:.3f}–{self.high:.3f})" if self.low is not None else "")

    def signed(self) -> str:
        """As a difference, in words."""
        if self.low is None:
            return f"{self.value:+.3f}, no interval"
        return f"{self.value:+.3f}, 95% interval {self.low:+.3f} to {self.high:+.3f}"

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


@dataclass(frozen=True)
class Tally:
    """What each group adds to each cell of an array, as the places and weights of what it adds."""

    groups: int
    shape: tuple[int, ...]
    """Of the array of cells."""
    group: Ints
    """Shape: (entries,)."""
    cell: Ints
    """Places in the flattened array. Shape: (entries,)."""
    weight: Floats
    """Shape: (entries,)."""

    def totals(self, drawn: Floats) -> Floats:
        """The sum over groups for each draw. Shape: drawn (draws, groups) to (draws, *shape)."""
        from scipy.sparse import csr_matrix

        size = int(np.prod(self.shape))
        matrix = csr_matrix((self.weight, (self.cell, self.group)), shape=(size, self.groups))
        found: Floats = np.asarray(matrix @ drawn.T).T.reshape(len(drawn), *self.shape)
        return found

    def whole(self) -> Floats:
        """The sum over all groups. Shape: shape."""
        counted = np.bincount(self.cell, self.weight, minlength=int(np.prod(self.shape)))
        return counted.astype(np.float64).reshape(self.shape)


def tally(
    groups: int, shape: tuple[int, ...], group: Ints, places: Sequence[Ints], weight: Floats | None = None
) -> Tally:
    """A tally of entries; `places` holds for each axis of `shape` the entries' places along it. Each weighs 1 by default."""
    cell = np.ravel_multi_index(tuple(places), shape).astype(np.int64)
    return Tally(groups, shape, group, cell, np.ones(len(cell)) if weight is None else weight)


def estimates(counted: Tally, measure: Measure, resamples: int) -> list[Estimate]:
    """The numbers that a measure finds in the whole, each with its interval; 0 where the whole does not define it."""
    [values] = measure(counted.whole()[None])
    if counted.groups < 2:
        return [Estimate(_number(value)) for value in values]
    draws = np.concatenate([measure(counted.totals(block)) for block in resampled_blocks(counted.groups, resamples)])
    bounds = [interval(column) for column in draws.T]
    return [Estimate(_number(value), *(found or ())) for value, found in zip(values, bounds, strict=True)]


def _number(value: float) -> float:
    return 0.0 if np.isnan(value) else float(value)


def ratio(part: Floats, whole: Floats, *, empty: float = 0.0) -> Floats:
    """Part by whole, `empty` where the whole is nothing. Same shapes."""
    found: Floats = np.divide(part, whole, out=np.full(np.broadcast(part, whole).shape, empty), where=whole > 0)
    return found
