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
        self._last: tuple[Tensor, Tensor] | None = None

    def __call__(self, batch: Batch) -> Logits:
        """Logits on the CPU, in 32-bit floats, shaped as `Logits` says."""
        with torch.inference_mode():
            device = self.model.device
            tensors = {name: tensor.to(device) for name, tensor in batch.tensors().items()}
            states = self._encode(tensors.pop("input_ids"), tensors.pop("attention_mask")).float()
            targets = self._targets(tensors.pop("target_ids"), tensors["target_mask"])
            answer = self.model.answer(states, targets, **tensors)
        return Logits(
            tokens=_on_cpu(answer.tokens),
            sentences=_on_cpu(answer.sentences),
            votes=_on_cpu(answer.votes),
            weights=_on_cpu(answer.weights),
        )

    def _targets(self, ids: Tensor, mask: Tensor) -> Tensor | None:
        """The encoded targets; those of the batch before are kept, for most streams have one target."""
        if self.model.reader is None or not len(ids):
            return None
        known = self._last
        if known is None or not torch.equal(known[0], ids):
            self._last = known = ids, self._encode(ids, mask).float()
        return known[1]


def _on_cpu(group: dict[str, Tensor] | None) -> dict[str, Tensor]:
    return {name: tensor.cpu() for name, tensor in (group or {}).items()}
