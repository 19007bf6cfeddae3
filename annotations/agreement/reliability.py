"""Agreement beyond chance on nominal labels: Cohen's kappa, Krippendorff's alpha. It knows counts, not documents.

Labels are whole numbers from 0; MISSING stands where an annotator gave none. Counts add up over documents, and every
measure takes any leading dimensions, so that all resamples of a bootstrap are computed at once. A measure that is not
defined is nan here; callers turn it into None and a reason.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from annotations.resampling import Floats

Codes = npt.NDArray[np.int64]

MISSING = -1


def pair_counts(first: Codes, second: Codes, labels: int) -> Floats:
    """For each label: given by both to the same unit, by the first, by the second. Shape: two (units,) to (labels, 3).

    Units that either left without a label do not count.
    """
    known = (first != MISSING) & (second != MISSING)
    one, other = first[known], second[known]
    columns = [np.bincount(given, minlength=labels) for given in (one[one == other], one, other)]
    return np.stack(columns, axis=-1).astype(np.float64)


def coincidence_counts(codes: Codes, labels: int) -> Floats:
    """For each label: its coincidences with itself, and all of its values. Shape: (annotators, units) to (labels, 2).

    These are the diagonal and the margins of Krippendorff's matrix of coincidences. A unit with m values has m(m-1) pairs,
    each of weight 1/(m-1); units with fewer than two values have nothing to compare and do not count.
    """
    votes = np.stack([(codes == label).sum(axis=0) for label in range(labels)]).astype(np.float64)
    votes = votes[:, votes.sum(axis=0) > 1]
    same = (votes * (votes - 1) / (votes.sum(axis=0) - 1)).sum(axis=1)
    return np.stack([same, votes.sum(axis=1)], axis=-1)


def observed(counts: Floats) -> Floats:
    """The share of units to which both gave the same label. Shape: (..., labels, 3) to (...)."""
    return ratio(counts[..., 0].sum(axis=-1), counts[..., 1].sum(axis=-1))


def f1(counts: Floats) -> Floats:
    """Both / mean of the two: symmetric F1, also known as specific agreement. Shape: (..., 3) to (...).

    George Hripcsak and Adam Rothschild. 2005. Agreement, the F-measure, and reliability in information retrieval.
    Journal of the American Medical Informatics Association 12(3).
    """
    return ratio(2 * counts[..., 0], counts[..., 1] + counts[..., 2])


def cohen_kappa(counts: Floats) -> Floats:
    """(Observed - expected) / (1 - expected) of two annotators. Shape: (..., labels, 3), as `pair_counts`, to (...).

    Expected agreement multiplies the annotators' own label frequencies. Where both used the same one label throughout
    it is 1, and kappa is 0/0: not defined.

    Jacob Cohen. 1960. A coefficient of agreement for nominal scales. Educational and Psychological Measurement 20(1).
    """
    # Everything is scaled by units², so that "expected agreement is 1" is tested on whole numbers.
    both, first, second = (counts[..., column] for column in range(3))
    units = first.sum(axis=-1)
    expected = (first * second).sum(axis=-1)
    return ratio(units * both.sum(axis=-1) - expected, units * units - expected)


def krippendorff_alpha(counts: Floats) -> Floats:
    """1 - observed / expected disagreement of any number of annotators, nominal. Shape: (..., labels, 2) to (...).

    Counts are those of `coincidence_counts`. Not defined where only one label occurs.

    Klaus Krippendorff. 2011. Computing Krippendorff's Alpha-Reliability. University of Pennsylvania, section C to E.
    """
    same, values = counts[..., 0].sum(axis=-1), counts[..., 1]
    total = values.sum(axis=-1)
    expected = total * total - (values * values).sum(axis=-1)
    alpha: Floats = 1 - ratio((total - 1) * (total - same), expected)
    return alpha


def ratio(part: Floats, whole: Floats) -> Floats:
    """Part by whole, and nan where the whole is 0."""
    part, whole = np.asarray(part, dtype=np.float64), np.asarray(whole, dtype=np.float64)
    found: Floats = np.divide(part, whole, out=np.full(whole.shape, np.nan), where=whole != 0)
    return found


def mean_defined(values: Floats) -> Floats:
    """The mean over the first dimension of what is defined; nan where nothing is. Shape: (pairs, ...) to (...)."""
    known = ~np.isnan(values)
    return ratio(np.where(known, values, 0).sum(axis=0), known.sum(axis=0, dtype=np.float64))
