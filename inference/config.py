"""The settings that training and serving share and that travel with the weights. It knows no weights and no texts."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import BeforeValidator, Field, model_validator

from annotations.config import Config
from annotations.errors import ConfigError
from annotations.schema import Schema


def _load(value: Any) -> Any:
    try:
        return Schema.load(value) if isinstance(value, str | Path) else value
    except ConfigError as error:
        # pydantic collects ValueErrors with the other problems of the config.
        raise ValueError(str(error)) from error


class WindowConfig(Config):
    """How a text of any length is cut for the encoder."""

    tokens: int = Field(default=256, ge=16)
    """Longest window, context and special tokens included; the encoder must have as many positions."""
    context: int = Field(default=32, ge=0)
    """Tokens on each side that are read but not predicted."""
    target_tokens: int = Field(default=128, ge=8)
    """Longest target; a longer one is refused, never cut."""

    @model_validator(mode="after")
    def _room(self) -> Self:
        if self.tokens - 2 * self.context < 12:
            raise ValueError(
                f"tokens={self.tokens} leaves no room between two contexts of {self.context}; lower context"
            )
        return self


class ReaderConfig(Config):
    """The light reader that relates sentences to the target."""

    layers: int = Field(default=1, ge=1, le=4)
    """Attention layers over the encoded sentence and target."""
    heads: int = Field(default=4, ge=1)
    """Attention heads; must divide the encoder's width."""


class TaggerConfig(Config):
    """The serving half of a run's config."""

    label_schema: Annotated[Schema, BeforeValidator(_load)]
    """The layers and labels to predict: a schema file's path, or its content."""
    window: WindowConfig = WindowConfig()
    """Windows."""
    reader: ReaderConfig = ReaderConfig()
    """Reading against a target; unused where no layer is targeted."""
    whole_words: bool | None = None
    """Whether spans begin and end at the edges of words; where unset, training looks whether those of its data do."""
    batch_tokens: int = Field(default=1024, ge=16)
    """Padded tokens in one batch when tagging; a single longer window is a batch of its own."""
    temperatures: dict[str, Annotated[float, Field(gt=0, allow_inf_nan=False)]] = {}
    """Layer name to what its logits are divided by, so that probabilities fit; 1 where unnamed. No label changes by it."""

    @model_validator(mode="after")
    def _known_layers(self) -> Self:
        unknown = [name for name in self.temperatures if name not in self.label_schema.layers]
        if unknown:
            raise ValueError(f"temperatures: no layer {', '.join(map(repr, unknown))} in label_schema")
        return self
