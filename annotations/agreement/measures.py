"""A measure with its items and its interval, from counts by article. It knows no documents, spans or annotators.

Intervals are 95% percentile bootstrap intervals by article (`Document.fold`): all documents of an article, such as its
targets, are drawn together.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from annotations.agreement.reliability import mean_defined
from annotations.resampling import Floats, interval, resampled

TITLES = {
    "exact_f1": "span F1, exact",
    "partial_f1": "span F1, partial",
    "token_kappa": "Cohen's kappa, tokens",
    "token_alpha": "Krippendorff's alpha, tokens",
    "observed": "same label",
    "kappa": "Cohen's kappa",
    "alpha": "Krippendorff's alpha",
    "f1": "F1",
}
DEFINITIONS = {
    "exact_f1": "2 x both / (first + second); both means the same start, end and label",
    "partial_f1": "the same, with half a point where two spans of one label only overlap; each span counts once (MUC)",
    "token_kappa": "labels of words and single signs, `no span` among them; words are cut where any span begins or ends",
    "token_alpha": "over the same tokens",
    "observed": "share of the sentences or documents labelled by both",
    "kappa": "over the sentences or documents labelled by both",
    "alpha": "nominal, over the sentences or documents labelled by two or more",
    "f1": "of one label: 2 x both / (first + second), over the sentences or documents labelled by both",
}
NO_PAIR = "not defined: nothing that two of them labelled"
NO_MARK = "not defined: nobody gave the label in what two of them labelled"
ONE_LABEL = "not defined: one label only was given, so agreement by chance is 1"


ALIKE = "no resample differs"


@dataclass(frozen=True)
class Measure:
    """One number, how sure it is, and what it rests on."""

    value: float | None
    """None where it is not defined; `note` says why."""
    interval: tuple[float, float] | None
    """95%, by article; None where it cannot be computed, and `note` says why."""
    items: int
    """Different spans that anybody marked; or tokens, sentences or documents that two or more labelled."""
    note: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Plain values, no nan."""
        return asdict(self)

    @property
    def shown(self) -> tuple[str, str]:
        """Value and interval in words; a dash for what is not defined."""
        value = "—" if self.value is None else f"{self.value:.3f}"
        return value, "{:.3f} to {:.3f}".format(*self.interval) if self.interval else "—"


Measures = Mapping[str, Measure]


class Sampler:
    """Sums counts by group over the data as they are and over every resample: row 0, and the rows behind it."""

    def __init__(self, groups: int, resamples: int, seed: int) -> None:
        self.groups = groups
        whole = np.ones((1, groups))
        # One group alone has no spread to show.
        self.weights = np.concatenate([whole, resampled(groups, resamples, seed)]) if groups > 1 else whole

    def summed(self, counts: Floats) -> Floats:
        """Shape: (groups, …) to (1 + resamples, …)."""
        return np.tensordot(self.weights, counts, axes=1)

    def of_pairs(self, counts: Floats) -> Floats:
        """Shape: (pairs, groups, …) to (pairs, 1 + resamples, …)."""
        return np.stack([self.summed(each) for each in counts])

    def mean(self, values: Floats, items: int, why: str) -> Measure:
        """The mean over pairs. Shape: values (pairs, 1 + resamples); `why` is the note where no pair has a value."""
        defined, pairs = int((~np.isnan(values[:, 0])).sum()), len(values)
        note = f"mean of {defined} of {pairs} pairs, not defined for the others" if 0 < defined < pairs else ""
        return self.measure(mean_defined(values), items, why, note)

    def measure(self, values: Floats, items: int, why: str, note: str = "") -> Measure:
        """Shape: values (1 + resamples,); `why` is the note where row 0 is nan."""
        if np.isnan(values[0]):
            return Measure(None, None, items, why)
        bounds = interval(values[1:])
        notes = [note, *self._doubts(values[1:], bounds)]
        return Measure(float(values[0]), bounds, items, "; ".join(filter(None, notes)))

    def _doubts(self, draws: Floats, bounds: tuple[float, float] | None) -> list[str]:
        if self.groups < 2:
            return ["no interval: one article only"]
        if bounds is None:
            return ["no interval: not defined in any resample"]
        known = int((~np.isnan(draws)).sum())
        doubts = [f"interval from the {known} of {len(draws)} resamples that define it"] if known < len(draws) else []
        return doubts + ([ALIKE] if bounds[0] == bounds[1] else [])
