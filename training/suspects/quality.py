"""How well labels go with the probabilities of a model that never saw them. It knows arrays, not what they are of."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


def self_confidence(labels: Ints, likely: Floats) -> Floats:
    """Each label's own probability: 1 where the model would have given the label itself, 0 where it rules it out.

    The label quality of Northcutt, Jiang and Chuang (2021, Confident learning: estimating uncertainty in dataset labels, JAIR
    70) as cleanlab computes it by default; `benchmarks/suspects.py` has cleanlab's other scores beside it.

    Shape: labels (units,), likely (units, classes); result (units,).
    """
    found: Floats = likely[np.arange(len(labels)), labels]
    return found
