"""Batches of windows of similar length, as many as a budget of padded tokens holds. It knows lengths, not texts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch.utils.data import DataLoader, Sampler

from inference.batches import batch_sizes

NOISE = 0.1
"""How far a length may be off in the order from which batches are cut, as a share of it."""


class TokenBatches(Sampler[list[int]]):
    """Every window once an epoch, in batches whose number never changes and whose windows do.

    How many windows go into each batch follows from the exact lengths. The order they are cut from is one of lengths with
    a little noise, so a batch's padded tokens can be a fifth over the budget, and windows meet others every epoch.

    Several processes share out the windows of a batch for all their budgets together, so that they learn what one process
    with as large a budget would. Where a batch has fewer windows than there are processes, some are read twice.
    """

    def __init__(self, lengths: Sequence[int], budget: int, seed: int, *, processes: int = 1, rank: int = 0) -> None:
        """`lengths` and `budget`, a process, are in tokens; a window longer than that is a batch of its own."""
        self.lengths = torch.tensor(lengths, dtype=torch.float64)
        self.sizes = batch_sizes(sorted(lengths, reverse=True), budget * processes)
        self.seed, self.processes, self.rank = seed, processes, rank
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Which epoch is drawn next: with the seed, it fixes the order."""
        self.epoch = epoch

    def __len__(self) -> int:
        """Batches an epoch."""
        return len(self.sizes)

    def __iter__(self) -> Iterator[list[int]]:
        """Places of windows, batch by batch."""
        random = torch.Generator().manual_seed(self.seed * 1_000_003 + self.epoch)
        noise = 1 + NOISE * (2 * torch.rand(len(self.lengths), generator=random, dtype=torch.float64) - 1)
        cut = (self.lengths * noise).argsort(descending=True).split(self.sizes)
        for step in torch.randperm(len(cut), generator=random).tolist():
            batch = cut[step].tolist()
            yield batch[self.rank :: self.processes] or [batch[self.rank % len(batch)]]


class EpochLoader(DataLoader[Any]):
    """Tells its batches which epoch begins, as transformers' Trainer does to loaders of its own."""

    def set_epoch(self, epoch: int) -> None:
        """Passed on."""
        assert isinstance(self.batch_sampler, TokenBatches)
        self.batch_sampler.set_epoch(epoch)
