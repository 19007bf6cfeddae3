"""The processes that train together under torchrun (DistributedDataParallel), or the one that trains alone.

It knows ranks, devices and how processes agree, not what they compute.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.distributed import ReduceOp, all_reduce, barrier, destroy_process_group, init_process_group
from torch.nn.parallel import DistributedDataParallel


@dataclass(frozen=True)
class Processes:
    """This process among those that train together."""

    rank: int
    """Its number; 0 writes files."""
    count: int
    """How many there are."""
    device: torch.device
    """Where it computes."""

    @property
    def first(self) -> bool:
        """Whether this process writes."""
        return self.rank == 0

    def shared(self, network: nn.Module) -> nn.Module:
        """The network, its gradients averaged over all processes."""
        return DistributedDataParallel(network) if self.count > 1 else network

    def apart(self, network: nn.Module, *, last: bool) -> AbstractContextManager[Any]:
        """Around all parts of a step but the last, so that gradients are exchanged once a step."""
        return network.no_sync() if isinstance(network, DistributedDataParallel) and not last else nullcontext()

    def agreed(self, seconds: float, stop: bool) -> tuple[float, bool]:
        """The first process's clock, and whether any process is asked to stop: both must be the same everywhere."""
        if self.count == 1:
            return seconds, stop
        values = torch.tensor([seconds if self.first else 0.0, float(stop)], dtype=torch.float64, device=self.device)
        all_reduce(values, op=ReduceOp.SUM)
        return float(values[0]), bool(values[1] > 0)

    @contextmanager
    def first_alone(self) -> Iterator[None]:
        """The first process goes through the block before the others do."""
        if self.count > 1 and not self.first:
            barrier()
        yield
        if self.count > 1 and self.first:
            barrier()


@contextmanager
def processes() -> Iterator[Processes]:
    """Join the processes that torchrun started, where it did."""
    count, rank = int(os.environ.get("WORLD_SIZE", "1")), int(os.environ.get("RANK", "0"))
    cuda = torch.cuda.is_available()
    device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0"))) if cuda else torch.device("cpu")
    if cuda:
        torch.cuda.set_device(device)
    if count > 1:
        init_process_group("nccl" if cuda else "gloo")
    try:
        yield Processes(rank, count, device)
    finally:
        if count > 1:
            destroy_process_group()
