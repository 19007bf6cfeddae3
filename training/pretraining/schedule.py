"""Where a run stands in its budget, and what follows from that: rates, sequence lengths, batch sizes, masking.

It knows numbers, not networks or texts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from training.pretraining.config import Masking, PretrainConfig, PretrainOptimizer


@dataclass
class Progress:
    """Where a run stands; kept in its checkpoints."""

    seconds: float = 0.0
    """Of training so far."""
    step: int = 0
    """Steps taken."""
    tokens: int = 0
    """Tokens seen."""
    drawn: dict[int, int] = field(default_factory=dict)
    """Sequences taken from the stream so far, for each length."""


def fraction(config: PretrainConfig, progress: Progress) -> float:
    """How much of the budget is spent: 0 at the beginning, 1 or more when nothing is left."""
    if config.steps is not None:
        return progress.step / config.steps
    assert config.minutes is not None
    return progress.seconds / (config.minutes * 60)


def rate(optimizer: PretrainOptimizer, done: float) -> float:
    """Share of the peak learning rate: warm up, stay, decay to zero (WSD: Hu et al., 2024)."""
    rise = done / optimizer.warmup if optimizer.warmup else 1.0
    fall = (1 - done) / optimizer.decay
    return max(0.0, min(1.0, rise, fall))


def decaying(optimizer: PretrainOptimizer, done: float) -> bool:
    """Whether the rates have begun to fall."""
    return done > 1 - optimizer.decay


def masked_share(masking: Masking, done: float) -> float:
    """Share of tokens to hide."""
    return masking.start + (masking.end - masking.start) * min(1.0, done)


def stage(stages: Sequence[tuple[float, int]], done: float) -> int:
    """The value of the last stage that has begun."""
    return [value for start, value in stages if start <= done][-1]
