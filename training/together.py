"""The processes that train one run together under torchrun or accelerate: what they add up and what they show each other.

It knows tensors and ranks, not layers or labels. Alone, every function gives back what it was given.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor
from torch.distributed import (
    all_gather,
    all_reduce,
    broadcast_object_list,
    destroy_process_group,
    get_rank,
    get_world_size,
    is_available,
    is_initialized,
)


@contextmanager
def process_group_left() -> Iterator[None]:
    """Under torchrun, leave the process group that the Trainer joined: its threads may abort a process that just ends."""
    try:
        yield
    finally:
        if is_available() and is_initialized():
            destroy_process_group()


@contextmanager
def others_waiting() -> Iterator[None]:
    """What the first process does while the others wait in `first_is_ready`, which tells them how it ended."""
    ready = False
    try:
        yield
        ready = True
    finally:
        _first_says(ready)


def first_is_ready() -> bool:
    """Whether the first process came to the end of `others_waiting`, once it has left that."""
    return _first_says(True)


def _first_says(own: bool) -> bool:
    said = [own]
    if processes() > 1:
        broadcast_object_list(said, src=0)
    return said[0]


def processes() -> int:
    """How many processes train together."""
    return get_world_size() if is_available() and is_initialized() else 1


def summed(values: Tensor) -> Tensor:
    """The sum over all processes, without gradient. Shape: any, the same in every process."""
    total = values.detach().clone()
    if processes() > 1:
        all_reduce(total)
    return total


def everyones(own: Tensor) -> Tensor:
    """The rows of every process, the first one's first. Shape: (rows, K), rows may differ between processes.

    Gradient flows to the process's own rows alone, as many times as there are processes: distributed training takes the
    mean of the gradients, and what is computed from everyone's rows is the same in each, so that the mean is right.
    """
    count = processes()
    if count == 1:
        return own
    sizes = [torch.zeros(1, dtype=torch.int64, device=own.device) for _ in range(count)]
    all_gather(sizes, torch.tensor([len(own)], device=own.device))
    longest = max(int(size) for size in sizes)
    padded = own.new_zeros(longest, own.shape[1])
    padded[: len(own)] = own.detach()
    parts = [torch.empty_like(padded) for _ in range(count)]
    all_gather(parts, padded)
    shown = [part[: int(size)] for part, size in zip(parts, sizes, strict=True)]
    shown[get_rank()] = own * count - own.detach() * (count - 1)
    return torch.cat(shown)
