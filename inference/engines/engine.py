"""Runs the network on a batch: batch in, logits out, whatever runs the encoder. It knows no texts and no labels.

The encoder is nearly all of the work, so it alone is what engines replace; heads and reader stay PyTorch in 32-bit floats.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from inference.batches import Batch
from inference.model import Logits, StandpointModel

Encode = Callable[[Tensor, Tensor], Tensor]
"""Ids (W, T) and attention mask (W, T), int64, to last hidden states (W, T, D)."""


class Engine:
    """A tagger's network with its encoder run by `encode`, or by PyTorch as the model stands."""

    def __init__(self, model: StandpointModel, *, name: str = "torch", encode: Encode | None = None) -> None:
        self.model = model.eval()
        self.name = name
        self._encode = encode or model.encode

    def __call__(self, batch: Batch) -> Logits:
        """Logits on the CPU, in 32-bit floats, shaped as `Logits` says."""
        with torch.inference_mode():
            device = self.model.device
            tensors = {name: tensor.to(device) for name, tensor in batch.tensors().items()}
            states = self._encode(tensors.pop("input_ids"), tensors.pop("attention_mask")).float()
            ids, mask = tensors.pop("target_ids"), tensors["target_mask"]
            reads = self.model.reader is not None and len(ids) > 0
            targets = self._encode(ids, mask).float() if reads else None
            answer = self.model.answer(states, targets, **tensors)
        return Logits(
            tokens=_on_cpu(answer.tokens),
            sentences=_on_cpu(answer.sentences),
            votes=_on_cpu(answer.votes),
            weights=_on_cpu(answer.weights),
        )


def _on_cpu(group: dict[str, Tensor] | None) -> dict[str, Tensor]:
    return {name: tensor.cpu() for name, tensor in (group or {}).items()}
