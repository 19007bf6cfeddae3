"""Runs the network on a batch with PyTorch: batch in, logits out. It knows no texts and no labels."""

from __future__ import annotations

import torch
from torch import Tensor

from inference.batches import Batch
from inference.model import Logits, StandpointModel


class TorchEngine:
    """The reference engine, in 32-bit floats on the device the model is on."""

    def __init__(self, model: StandpointModel) -> None:
        self.model = model.eval()

    def __call__(self, batch: Batch) -> Logits:
        """Logits on the CPU, shaped as `Logits` says."""
        with torch.inference_mode():
            tensors = {name: tensor.to(self.model.device) for name, tensor in batch.tensors().items()}
            answer = self.model(**tensors)
        return Logits(
            tokens=_on_cpu(answer.tokens),
            sentences=_on_cpu(answer.sentences),
            votes=_on_cpu(answer.votes),
            weights=_on_cpu(answer.weights),
        )


def _on_cpu(group: dict[str, Tensor] | None) -> dict[str, Tensor]:
    return {name: tensor.cpu() for name, tensor in (group or {}).items()}
