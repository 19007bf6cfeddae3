"""Watches the steps of transformers' Trainer, ours and anyone's: when they begin, and how much of a batch is padding.

It knows a Trainer's `training_step` and batches with `input_ids`, whatever is learned.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from torch.profiler import profile, supported_activities
from transformers import Trainer

SKIPPED = 5
"""Steps at the beginning that are not timed: caches and allocators are still cold."""


@dataclass(frozen=True)
class Step:
    """One call of `training_step`: forward and backward on one batch."""

    began: float
    """Seconds of the clock."""
    ended: float
    busy: float
    """Seconds of processor time of this process when it began."""
    width: int
    """Positions of a row, padding included."""
    lengths: tuple[int, ...]
    """Positions of each row that are not padding."""

    @property
    def computed(self) -> int:
        """Positions of the batch, padding included."""
        return self.width * len(self.lengths)


@dataclass
class Watch:
    """The steps of one training."""

    pad: int
    """The id that pads."""
    profiled: tuple[int, int] | None = None
    """From the beginning of which step to that of which the profiler runs."""
    steps: list[Step] = field(default_factory=list)
    profiler: profile | None = None
    """What the profiler saw, once it has run."""

    @property
    def timed(self) -> list[Step]:
        """The steps between the first that is timed and the last, which only ends the timing."""
        return self.steps[min(SKIPPED, len(self.steps) // 4) : -1]

    @property
    def seconds(self) -> float:
        """From the beginning of the first timed step to that of the last step: all that happens in between counts."""
        return self.steps[-1].began - self.timed[0].began

    @property
    def busy(self) -> float:
        """Seconds of processor time in the same time."""
        return self.steps[-1].busy - self.timed[0].busy

    @property
    def real(self) -> int:
        """Positions of the timed steps that are not padding."""
        return sum(sum(step.lengths) for step in self.timed)

    @property
    def computed(self) -> int:
        """Positions of the timed steps."""
        return sum(step.computed for step in self.timed)

    @property
    def outside(self) -> float:
        """The share of the time that passes between one `training_step` and the next: optimizer, data, logging."""
        return 1 - sum(step.ended - step.began for step in self.timed) / self.seconds

    def begin(self, inputs: dict[str, Any]) -> tuple[float, float, int, tuple[int, ...]]:
        """The first fields of a Step that begins now, but its end."""
        if self.profiled and len(self.steps) == self.profiled[0]:
            self.profiler = profile(activities=supported_activities())
            self.profiler.start()
        if self.profiled and len(self.steps) == self.profiled[1] and self.profiler:
            self.profiler.stop()
        ids = inputs["input_ids"]
        lengths = tuple((ids != self.pad).sum(-1).flatten().tolist())
        return time.perf_counter(), time.process_time(), ids.shape[-1], lengths

    def parts(self) -> dict[str, float]:
        """Seconds of the profiled steps by part of a step; all that happens in between is `the rest`."""
        assert self.profiler and self.profiled
        found, own = self.profiler.key_averages(), self.steps[slice(*self.profiled)]

        def total(mark: str) -> float:
            return sum(event.cpu_time_total for event in found if event.key.startswith(mark)) / 1e6

        backward = total("autograd::engine::evaluate_function")
        parts = {
            "forward and loss": sum(step.ended - step.began for step in own) - backward,
            "backward": backward,
            "optimizer": total("Optimizer.step#"),
            "data": total("enumerate(DataLoader)#"),
        }
        whole = self.steps[self.profiled[1]].began - own[0].began
        return {**parts, "the rest": whole - sum(parts.values())}


@contextmanager
def watched(pad: int, profiled: tuple[int, int] | None = None) -> Iterator[Watch]:
    """Record every step of every Trainer while the block lasts, and profile some of them, optimizer and data included."""
    watch, plain = Watch(pad, profiled), Trainer.training_step

    def step(self: Trainer, model: Any, inputs: dict[str, Any], *rest: Any, **named: Any) -> Any:
        began, busy, width, lengths = watch.begin(inputs)
        loss = plain(self, model, inputs, *rest, **named)
        watch.steps.append(Step(began, time.perf_counter(), busy, width, lengths))
        return loss

    Trainer.training_step = step
    try:
        yield watch
    finally:
        Trainer.training_step = plain
