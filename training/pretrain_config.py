"""The settings of a pretraining run. It knows names, types and defaults of settings, and does nothing with them."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from annotations.config import Config


class Corpus(Config):
    """One text file: a paragraph a line, a blank line between documents; `.xz` is unpacked on the fly."""

    path: Path
    """The file."""
    passes: int = Field(default=1, ge=1)
    """How often its documents enter the training stream."""
    words: int | None = Field(default=None, ge=1)
    """Keep about this many words of it, documents drawn at random; all of them when unset."""


class Shape(Config):
    """The encoder's shape: ModernBERT's layout (Warner et al. 2024) with global attention in every layer."""

    vocabulary: int = Field(default=12_288, ge=300)
    """Byte-level pieces, special tokens included."""
    layers: int = Field(default=6, ge=1)
    """Transformer layers."""
    width: int = Field(default=256, ge=8)
    """Hidden size."""
    intermediate: int = Field(default=512, ge=8)
    """Size of the gated feed-forward layer."""
    heads: int = Field(default=4, ge=1)
    """Attention heads."""
    positions: int = Field(default=512, ge=8)
    """Longest input in tokens."""


class PretrainConfig(Config):
    """Everything `standpoint pretrain` needs."""

    corpora: tuple[Corpus, ...] = Field(min_length=1)
    """The text to learn from."""
    output: Path
    """Folder for the finished encoder, its tokenizer and the log."""
    shape: Shape = Shape()
    """The encoder to make."""
    minutes: float = Field(default=45, gt=0)
    """Training budget; the learning rate reaches zero at the deadline."""
    lengths: tuple[tuple[float, int], ...] = ((0.0, 128), (0.85, 256))
    """Sequence length in tokens from each fraction of the budget on."""
    batch_tokens: int = Field(default=6144, ge=64)
    """Tokens a step."""
    learning_rate: float = Field(default=2e-3, gt=0)
    """Peak learning rate of AdamW."""
    warmup: float = Field(default=0.03, ge=0, lt=1)
    """Fraction of the budget over which the rate rises."""
    decay_from: float = Field(default=0.6, gt=0, le=1)
    """Fraction of the budget from which the rate falls linearly to zero."""
    masking: tuple[float, float] = (0.30, 0.15)
    """Share of masked tokens at the start and at the end."""
    compile: bool = True
    """Compile the encoder with torch.compile: about 1.3 times faster on CPU, needs a C++ compiler."""
    seed: int = 0
    """Seeds sampling, masking and initial weights."""
