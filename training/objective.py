"""What training minimises: cross-entropy on every annotated layer. It knows logits and gold ids, not documents."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from datasets import Dataset
from torch import Tensor
from torch.nn.functional import cross_entropy

from annotations.schema import Kind, Schema
from inference.decoding import pool
from inference.model import Logits
from training.config import ObjectiveConfig
from training.data import IGNORED
from training.together import everyones, processes, summed


def class_weights(data: Dataset, schema: Schema, power: float) -> dict[str, Tensor]:
    """Inverse class frequency to a power, with mean 1 over the annotated units. Shape: (labels,) for each layer."""
    weights = {}
    for name, layer in schema.layers.items():
        if layer.kind is Kind.SPANS:
            continue
        column = "gold_sentences" if layer.kind is Kind.SENTENCES else "gold_documents"
        labels = [label for row in data[f"{column}/{name}"] for label in row if label != IGNORED]
        counts = torch.bincount(torch.tensor(labels, dtype=torch.int64), minlength=len(layer.names)).float()
        raw = counts.clamp(min=1).pow(-power)
        weights[name] = raw * counts.sum().clamp(min=1) / (raw * counts).sum().clamp(min=1e-9)
    return weights


class Objective:
    """Adds up the losses of the layers; a layer without gold in a batch adds nothing.

    A layer's loss is a mean over what is annotated in the batches of all processes, so that several processes with small
    batches have the gradient of one with all of them.
    """

    def __init__(self, schema: Schema, config: ObjectiveConfig, weights: dict[str, Tensor]) -> None:
        self.schema = schema
        self.config = config
        self.weights = weights

    def __call__(self, logits: Logits, gold: dict[str, Tensor], owners: Tensor) -> Tensor:
        """Shape: () from a batch's logits and the gold of `collate_rows`."""
        losses, masses = [], []
        for name, layer in self.schema.layers.items():
            scores, labels = self._of(name, layer.kind, logits, gold[name], owners)
            weight = self.weights[name].to(scores.device) if name in self.weights else scores.new_ones(scores.shape[-1])
            loss = cross_entropy(scores.float(), labels, weight=weight.float(), ignore_index=IGNORED, reduction="sum")
            losses.append(self.config.layer_weights.get(name, 1.0) * loss)
            masses.append((weight.float()[labels.clamp(min=0)] * (labels != IGNORED)).sum())
        everywhere = summed(torch.stack(masses)) / processes()
        return _zero(logits) + (torch.stack(losses) / everywhere.clamp(min=1e-9)).sum()

    def _of(self, name: str, kind: Kind, logits: Logits, gold: Tensor, owners: Tensor) -> tuple[Tensor, Tensor]:
        if kind is Kind.SPANS:
            assert logits.tokens is not None
            return logits.tokens[name].flatten(0, 1), gold.flatten()
        if kind is Kind.SENTENCES:
            assert logits.sentences is not None
            return logits.sentences[name], gold
        assert logits.votes is not None and logits.weights is not None
        votes, weights = logits.votes[name].float(), logits.weights[name].float()
        # A document's windows may lie in the batches of several processes.
        told = everyones(torch.cat([votes, torch.stack([weights, owners, gold], dim=1).float()], dim=1))
        votes, weights, numbers, gold = told[:, :-3], told[:, -3], told[:, -2].long(), told[:, -1].long()
        documents, owners = numbers.unique(return_inverse=True)
        pooled = pool(votes, weights, owners, len(documents))
        return pooled, gold.new_full((len(documents),), IGNORED).index_copy(0, owners, gold)


def _zero(logits: Logits) -> Tensor:
    """A zero that keeps every head in the graph, so that distributed training finds a gradient for each."""
    groups: Sequence[dict[str, Tensor] | None] = (logits.tokens, logits.sentences, logits.votes, logits.weights)
    parts = [tensor.float().sum() for group in groups if group for tensor in group.values()]
    return torch.stack(parts).sum() * 0.0
