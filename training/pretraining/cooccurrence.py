"""First embeddings from co-occurrence counts: a factorisation of positive PMI (Levy and Goldberg, 2014).

A minute of counting spares a small encoder much masked-LM. It knows a stream of ids, not a network.
"""

from __future__ import annotations

import torch
from torch import Tensor

WINDOW = 5
SMOOTHING = 0.75
CHUNK = 1 << 24


def embeddings(stream: Tensor, vocabulary: int, width: int, special: Tensor) -> Tensor:
    """Unit vectors; pieces that keep like company are near each other. Shape: (vocabulary, width), float32.

    `stream` is (tokens,) of ids, `special` (vocabulary,) bool: pieces that are no company. Those, and pieces that never
    occur, are zeros. Needs 8 * vocabulary² bytes of the stream's device.
    """
    counts = _counts(stream, vocabulary)
    counts[special] = 0
    counts[:, special] = 0
    totals = counts.sum(1)
    chance = totals.pow(SMOOTHING)
    chance = (chance / chance.sum()).clamp(min=1e-12)
    information = counts.div_(totals.clamp(min=1e-9)[:, None]).div_(chance).log_().clamp_(min=0)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        left, values, _ = torch.svd_lowrank(information, q=min(width + 16, vocabulary), niter=4)
    vectors = (left * values.sqrt())[:, :width]
    unit: Tensor = vectors / vectors.norm(dim=1, keepdim=True).clamp(min=1e-8)
    unit[totals == 0] = 0
    return unit


def _counts(stream: Tensor, vocabulary: int) -> Tensor:
    """How often two pieces stand within WINDOW of each other, nearer pairs counting more, both ways round."""
    counts = torch.zeros(vocabulary * vocabulary, device=stream.device)
    for start in range(0, len(stream), CHUNK):
        ids = stream[start : start + CHUNK + WINDOW].to(torch.int64)
        for distance in range(1, WINDOW + 1):
            keys = (ids[:-distance] * vocabulary + ids[distance:])[:CHUNK]
            counts.index_add_(0, keys, torch.full((1,), 1 / distance, device=stream.device).expand(len(keys)))
    square = counts.view(vocabulary, vocabulary)
    return square + square.T
