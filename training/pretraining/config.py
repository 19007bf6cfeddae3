"""The settings of a pretraining run. It knows names, types and defaults of settings, and does nothing with them."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from annotations.config import Config
from training.pretraining.texts import Corpus

Fraction = Annotated[float, Field(ge=0, lt=1)]
Stages = Annotated[tuple[tuple[Fraction, Annotated[int, Field(ge=8)]], ...], Field(min_length=1)]


class Shape(Config):
    """A new encoder's shape: ModernBERT's layout (Warner et al., 2024) with global attention in every layer."""

    vocabulary: int = Field(default=12_288, ge=300, le=65_536)
    """Byte-level pieces, special tokens included; unused where a tokenizer is given."""
    layers: int = Field(default=6, ge=1)
    """Transformer layers."""
    width: int = Field(default=256, ge=8)
    """Hidden size."""
    intermediate: int = Field(default=512, ge=8)
    """Size of the gated feed-forward layer."""
    heads: int = Field(default=4, ge=1)
    """Attention heads; must divide the width into even parts."""
    positions: int = Field(default=512, ge=8)
    """Longest input in tokens."""

    @model_validator(mode="after")
    def _heads_fit(self) -> Self:
        if self.width % (2 * self.heads):
            raise ValueError(f"width={self.width} is no even multiple of heads={self.heads}; change one of them")
        return self


class Masking(Config):
    """What is hidden from the encoder (Devlin et al., 2019; a share that falls: Ankner et al., 2024)."""

    start: float = Field(default=0.30, gt=0, lt=1)
    """Share of masked tokens at the beginning of the run."""
    end: float = Field(default=0.15, gt=0, lt=1)
    """Share of masked tokens at its end; in between it changes linearly."""
    unit: Literal["token", "word", "span"] = "word"
    """What is hidden together: single tokens, whole words, or runs of words (Joshi et al., 2020)."""
    span: float = Field(default=2.0, gt=1)
    """Mean length in words of a run where `unit` is `span`; lengths are geometric."""


class PretrainOptimizer(Config):
    """Muon for the matrices inside the encoder (Jordan et al., 2024), AdamW for everything else, or AdamW alone."""

    name: Literal["muon", "adamw"] = "muon"
    """Which."""
    lr: float = Field(default=1.5e-3, gt=0)
    """Peak learning rate of AdamW."""
    matrix_lr: float = Field(default=2e-3, gt=0)
    """Peak learning rate of Muon, scaled to match AdamW's update size (Liu et al., 2025)."""
    betas: tuple[Fraction, Fraction] = (0.9, 0.98)
    """AdamW's averages."""
    weight_decay: float = Field(default=0.1, ge=0)
    """On matrices only."""
    clip: float = Field(default=1.0, gt=0)
    """Largest norm of the gradient."""
    warmup: Fraction = 0.01
    """Fraction of the budget over which the rates rise."""
    decay: float = Field(default=0.2, gt=0, le=1)
    """Last fraction of the budget, over which the rates fall linearly to zero."""
    ema: Fraction = 0.99
    """Decay a step of the average of the weights, which is what is exported; 0 exports the last weights."""

    @model_validator(mode="after")
    def _phases_fit(self) -> Self:
        if self.warmup + self.decay > 1:
            raise ValueError(f"warmup={self.warmup} and decay={self.decay} are more than the whole run; lower one")
        return self


class PretrainConfig(Config):
    """Everything `standpoint pretrain` needs."""

    corpora: tuple[Corpus, ...] = Field(min_length=1)
    """The text to learn from."""
    output: Path
    """Folder for the finished encoder, its tokenizer, checkpoints, the log and the curve."""
    encoder: str | None = None
    """Go on from this encoder (`default`, a folder, a hub name) with its tokenizer; from random weights when unset."""
    tokenizer: Path | None = None
    """A tokenizer's folder to use for a new encoder; one is trained on the corpora when unset."""
    shape: Shape = Shape()
    """The shape of a new encoder."""
    embeddings: Literal["random", "cooccurrence"] = "cooccurrence"
    """A new encoder's first embeddings: random, or a factorisation of the corpora's co-occurrence counts."""
    near_duplicates: float | None = Field(default=0.8, ge=0.5, lt=1)
    """Drop paragraphs this similar to an earlier one (estimated Jaccard of shingles); none are dropped when null."""
    minutes: float | None = Field(default=None, gt=0)
    """Training budget in time; the rates reach zero at the deadline."""
    steps: int | None = Field(default=None, ge=1)
    """Training budget in steps, instead of `minutes`."""
    lengths: Stages = ((0.0, 128), (0.85, 256))
    """Sequence length in tokens from each fraction of the budget on."""
    batch_tokens: Stages = ((0.0, 3072), (0.1, 6144), (0.5, 12288))
    """Tokens a step, over all processes, from each fraction of the budget on."""
    micro_tokens: int = Field(default=3072, ge=8)
    """Most tokens in one forward pass of a process; larger batches are accumulated."""
    masking: Masking = Masking()
    """What is hidden."""
    optimizer: PretrainOptimizer = PretrainOptimizer()
    """How weights move."""
    held_out_tokens: int = Field(default=32_768, ge=0)
    """Tokens kept from training to report the loss on, with 15% of the tokens masked."""
    bf16: bool | None = None
    """Compute in bfloat16 autocast, weights staying 32-bit; where unset, on hardware that multiplies in it."""
    compile: bool = True
    """Compile the encoder with torch.compile; needs a C++ compiler on CPU."""
    checkpoint_minutes: float = Field(default=2.0, ge=0)
    """Time between checkpoints: what a kill loses at most."""
    export_minutes: float | None = Field(default=None, gt=0)
    """Time between encoders written to `encoders/` on the way, to compare them; none when unset."""
    log_seconds: float = Field(default=15.0, ge=0)
    """Time between lines of the log."""
    seed: int = Field(default=0, ge=0)
    """Seeds sampling, order, masking and initial weights."""

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if (self.minutes is None) == (self.steps is None):
            raise ValueError("give the budget as `minutes` or as `steps`, and not as both")
        if self.encoder is not None and self.tokenizer is not None:
            raise ValueError(f"encoder={self.encoder} brings its own tokenizer; drop `tokenizer`")
        for name in ("lengths", "batch_tokens"):
            starts = [start for start, _ in getattr(self, name)]
            if starts[0] != 0 or any(a >= b for a, b in pairwise(starts)):
                raise ValueError(f"{name}: fractions must begin with 0 and rise; found {starts}")
        longest = max(length for _, length in self.lengths)
        if self.encoder is None and longest > self.shape.positions:
            raise ValueError(f"lengths: {longest} is longer than shape.positions={self.shape.positions}")
        if min(tokens for _, tokens in self.batch_tokens) < longest or self.micro_tokens < longest:
            raise ValueError(f"batch_tokens and micro_tokens must hold one sequence of {longest} tokens at least")
        return self
