"""The network: any encoder, one head a layer, and a light reader for the target. It knows ids and logits, not texts.

The text is encoded once, without the target. Layers of spans and untargeted layers see only the text; targeted layers
read each sentence against the encoded target.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel, PreTrainedConfig, PreTrainedModel
from transformers.utils.generic import ModelOutput

from annotations.schema import Kind
from inference.config import TaggerConfig

PAIRS = 64
"""Units read against their targets at a time."""


class StandpointConfig(PreTrainedConfig):
    """What `config.json` of a checkpoint holds: the encoder's own config and the TaggerConfig as plain values."""

    model_type = "standpoint"

    def __init__(
        self,
        encoder: dict[str, Any] | None = None,
        tagger: dict[str, Any] | None = None,
        order: list[list[Any]] | None = None,
        dropout: float = 0.1,
        **rest: Any,
    ) -> None:
        self.encoder = encoder or {}
        self.tagger = tagger or {}
        # transformers sorts the keys of config.json, and the heads' outputs stand in the schema's order.
        self.order = order or [[name, list(layer["labels"])] for name, layer in self._layers().items()]
        self.dropout = dropout
        self.initializer_range = 0.02
        super().__init__(**rest)

    def tagger_config(self) -> TaggerConfig:
        """The validated serving settings, layers and labels in the order of the heads' outputs."""
        found = self._layers()
        layers = {
            name: {**found[name], "labels": {label: found[name]["labels"][label] for label in labels}}
            for name, labels in self.order
        }
        return TaggerConfig.build({**self.tagger, "label_schema": {"layers": layers}}, where="config.json: tagger")

    def _layers(self) -> dict[str, Any]:
        layers: dict[str, Any] = self.tagger.get("label_schema", {}).get("layers", {})
        return layers

    def encoder_config(self) -> PreTrainedConfig:
        """The encoder's config as its own class."""
        values = {key: value for key, value in self.encoder.items() if key != "model_type"}
        config: PreTrainedConfig = AutoConfig.for_model(self.encoder["model_type"], **values)
        return config


@dataclass
class Logits(ModelOutput):
    """What the model says of one batch. W windows, T tokens, P pairs, K labels or tags of a layer."""

    loss: Tensor | None = None
    """Set in training only. Shape: ()."""
    tokens: dict[str, Tensor] | None = None
    """Layers of spans: (W, T, K)."""
    sentences: dict[str, Tensor] | None = None
    """Layers of sentences: (P, K)."""
    votes: dict[str, Tensor] | None = None
    """Layers of documents, each unit's vote: (P, K)."""
    weights: dict[str, Tensor] | None = None
    """How much each vote counts, positive: (P,)."""


class Attention(nn.Module):
    """Pre-norm attention of queries over memory, then a feed-forward layer, both with residuals."""

    def __init__(self, *, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.normal = nn.LayerNorm(width)
        self.memory_normal = nn.LayerNorm(width)
        self.attention = nn.MultiheadAttention(width, heads, dropout=dropout, batch_first=True)
        self.feed = nn.Sequential(
            nn.LayerNorm(width),
            nn.Linear(width, 2 * width),
            nn.GELU(),
            nn.Dropout(dropout),
            nn.Linear(2 * width, width),
        )

    def forward(self, queries: Tensor, memory: Tensor, padding: Tensor) -> Tensor:
        """Shape: queries (P, N, D), memory (P, M, D), padding (P, M) true where there is nothing; result (P, N, D)."""
        memory = self.memory_normal(memory)
        read, _ = self.attention(self.normal(queries), memory, memory, key_padding_mask=padding, need_weights=False)
        queries = queries + read
        fed: Tensor = queries + self.feed(queries)
        return fed


class Reader(nn.Module):
    """Relates units to targets: the tokens of a unit and of a target attend to each other."""

    def __init__(self, *, width: int, layers: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.sides = nn.Embedding(2, width)
        self.layers = nn.ModuleList(Attention(width=width, heads=heads, dropout=dropout) for _ in range(layers))
        self.mix = nn.Sequential(nn.Linear(4 * width, width), nn.GELU(), nn.Dropout(dropout))

    def forward(self, units: Tensor, unit_mask: Tensor, targets: Tensor, target_mask: Tensor) -> Tensor:
        """Shape: units (P, N, D), unit_mask (P, N), targets (P, M, D), target_mask (P, M); result (P, D)."""
        plain, claim = mean(units, unit_mask), mean(targets, target_mask)
        states = torch.cat([units + self.sides.weight[0], targets + self.sides.weight[1]], dim=1)
        padding = ~torch.cat([unit_mask, target_mask], dim=1)
        for layer in self.layers[:-1]:
            states = layer(states, states, padding)
        # Of the last layer only what becomes of the unit is used.
        read = mean(self.layers[-1](states[:, : units.shape[1]], states, padding), unit_mask)
        related: Tensor = self.mix(torch.cat([plain, read, plain * claim, (plain - claim).abs()], dim=-1))
        return related


def mean(states: Tensor, mask: Tensor) -> Tensor:
    """Mean over what is real. Shape: states (P, N, D), mask (P, N) bool; result (P, D)."""
    kept = mask.unsqueeze(-1).to(states.dtype)
    return (states * kept).sum(1) / kept.sum(1).clamp(min=1)


class StandpointModel(PreTrainedModel):
    """Encoder, heads and reader; see `Logits` for what comes out."""

    config_class = StandpointConfig
    base_model_prefix = "encoder"
    _supports_sdpa = True
    supports_gradient_checkpointing = True

    def __init__(self, config: StandpointConfig) -> None:
        super().__init__(config)
        tagger = config.tagger_config()
        encoder_config = config.encoder_config()
        self.encoder = AutoModel.from_config(encoder_config)
        width = encoder_config.hidden_size
        self.dropout = nn.Dropout(config.dropout)
        schema = tagger.label_schema
        self.targeted = [name for name, layer in schema.layers.items() if layer.targeted]
        self.span_heads = _heads(width, {n: 1 + 2 * len(x.labels) for n, x in schema.of_kind(Kind.SPANS).items()})
        self.sentence_heads = _heads(width, {n: len(x.labels) for n, x in schema.of_kind(Kind.SENTENCES).items()})
        self.vote_heads = _heads(width, {n: len(x.labels) for n, x in schema.of_kind(Kind.DOCUMENT).items()})
        self.weight_heads = _heads(width, dict.fromkeys(schema.of_kind(Kind.DOCUMENT), 1))
        reader = tagger.reader
        self.reader = (
            Reader(width=width, layers=reader.layers, heads=reader.heads, dropout=config.dropout)
            if self.targeted
            else None
        )
        self.pretrained: tuple[str, ...] = ("encoder.",)
        """Beginnings of the names of weights that do not start at random."""
        self.post_init()

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor,
        units: Tensor,
        target_ids: Tensor,
        target_mask: Tensor,
        pairs: Tensor,
    ) -> Logits:
        """Shapes as in `inference.batches.Batch`."""
        states = self.encode(input_ids, attention_mask)
        targets = self.encode(target_ids, target_mask) if self.reader and len(target_ids) else None
        return self.answer(states, targets, units=units, target_mask=target_mask, pairs=pairs)

    def encode(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Last hidden states, dropped out in training. Shape: ids and mask (W, T); result (W, T, D)."""
        states: Tensor = self.dropout(self.encoder(input_ids=ids, attention_mask=mask).last_hidden_state)
        return states

    def answer(
        self, states: Tensor, targets: Tensor | None, *, units: Tensor, target_mask: Tensor, pairs: Tensor
    ) -> Logits:
        """Everything after the encoder. Shape: states (W, T, D), targets (Q, longest target, D); the rest as in `Batch`."""
        tokens = {name: head(states) for name, head in self.span_heads.items()}
        if not self.sentence_heads and not self.vote_heads:
            return Logits(tokens=tokens, sentences={}, votes={}, weights={})
        mask = units >= 0
        pieces = states.flatten(0, 1)[units.clamp(min=0)]
        plain = mean(pieces, mask)[pairs[:, 0]]
        read = self._read(pieces, mask, targets, target_mask, pairs) if self.reader else plain
        seen = {name: read if name in self.targeted else plain for name in [*self.sentence_heads, *self.vote_heads]}
        return Logits(
            tokens=tokens,
            sentences={name: head(seen[name]) for name, head in self.sentence_heads.items()},
            votes={name: head(seen[name]) for name, head in self.vote_heads.items()},
            # Bounded, so that sums over any number of units neither overflow nor vanish.
            weights={
                name: head(seen[name]).squeeze(-1).tanh().mul(3).exp() for name, head in self.weight_heads.items()
            },
        )

    def _read(self, pieces: Tensor, mask: Tensor, targets: Tensor | None, target_mask: Tensor, pairs: Tensor) -> Tensor:
        """Each pair's unit read against its target; zeros where no document has one. Shape: (P, D)."""
        if targets is None:
            return pieces.new_zeros(len(pairs), pieces.shape[-1])
        assert self.reader is not None
        lengths = mask.sum(1)[pairs[:, 0]]
        order = lengths.argsort()
        # In parts of similar length, so that memory does not grow with the number of targets and little is padding.
        parts = []
        for some in order.split(PAIRS):
            unit, target, width = pairs[some, 0], pairs[some, 1].clamp(min=0), int(lengths[some[-1]])
            own, claim = target_mask[target].bool(), targets[target]
            parts.append(self.reader(pieces[unit, :width], mask[unit, :width], claim, own))
        return torch.cat(parts)[order.argsort()]


def longest_input(encoder: PreTrainedModel) -> int | None:
    """So many tokens an encoder reads at most; RoBERTa's family gives its first positions to padding."""
    positions: int | None = getattr(encoder.config, "max_position_embeddings", None)
    table = getattr(getattr(encoder, "embeddings", None), "position_embeddings", None)
    reserved = getattr(table, "padding_idx", None)
    return positions - reserved - 1 if positions and reserved is not None else positions


def _heads(width: int, sizes: dict[str, int]) -> nn.ModuleDict:
    return nn.ModuleDict({name: nn.Linear(width, size) for name, size in sizes.items()})
