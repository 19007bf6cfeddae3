"""What a pretraining run keeps between its steps and on disk, so that a kill costs minutes and never the run.

It knows files and tensors, not texts.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from annotations.errors import CheckpointError, first_line
from training.pretraining.network import MaskedLM
from training.pretraining.schedule import Progress

CHECKPOINT = "checkpoint.pt"
BEFORE_DECAY = "before-decay.pt"


@dataclass
class State:
    """Everything that changes while training."""

    network: MaskedLM
    """The weights that learn."""
    optimizers: list[torch.optim.Optimizer]
    """Their rates and moments."""
    average: list[Tensor]
    """Exponential moving average of the weights, in the order of `network.parameters()`; empty without one."""
    progress: Progress
    """Where the run stands."""

    @torch.no_grad()
    def follow(self, decay: float) -> None:
        """Move the average towards the weights (Polyak and Juditsky, 1992)."""
        if self.average:
            # A young average would else remember the random start.
            decay = min(decay, (1 + self.progress.step) / (10 + self.progress.step))
            torch._foreach_lerp_(self.average, list(self.network.parameters()), 1 - decay)

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """The network has the averaged weights inside the block, where there is an average."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    def _swap(self) -> None:
        if self.average:
            for number, parameter in enumerate(self.network.parameters()):
                parameter.data, self.average[number] = self.average[number], parameter.data

    def export(self, folder: Path, tokenizer: PreTrainedTokenizerBase) -> None:
        """Write the averaged masked-LM as 16-bit floats, with its tokenizer: `AutoModel` reads the encoder alone from it.

        With its predictor, pretraining can go on from it where it stood.
        """
        halves: dict[int, Tensor] = {}
        with self.averaged(), self.network.whole() as model:
            states = model.state_dict()
            for value in states.values():
                # Tied weights stay one tensor, or they would be written twice.
                halves.setdefault(value.data_ptr(), value.half() if value.is_floating_point() else value)
            model.save_pretrained(folder, state_dict={name: halves[value.data_ptr()] for name, value in states.items()})
        tokenizer.save_pretrained(folder)

    def save(self, path: Path) -> None:
        """Write everything; a kill meanwhile leaves the earlier file."""
        kept = {
            "network": self.network.state_dict(),
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
            "average": self.average,
            "progress": asdict(self.progress),
        }
        # One name for all parts: a kill while writing leaves one file that the next checkpoint replaces.
        part = path.with_suffix(".part")
        torch.save(kept, part)
        part.replace(path)

    def load(self, path: Path) -> None:
        """Read what `save` wrote.

        Raises:
            CheckpointError: the file is damaged or belongs to another network.
        """
        try:
            kept = torch.load(path, weights_only=True, map_location="cpu")
            self.network.load_state_dict(kept["network"])
            for optimizer, values in zip(self.optimizers, kept["optimizers"], strict=True):
                optimizer.load_state_dict(values)
            with torch.no_grad():
                for own, average in zip(self.average, kept["average"], strict=True):
                    own.copy_(average)
            self.progress = Progress(**kept["progress"])
        except (OSError, RuntimeError, KeyError, ValueError, TypeError) as error:
            raise CheckpointError(path, f"cannot be resumed ({first_line(error)}); remove it to begin anew") from error


def begin(network: MaskedLM, optimizers: list[torch.optim.Optimizer], ema: float) -> State:
    """The state before the first step."""
    average = [parameter.detach().clone() for parameter in network.parameters()] if ema else []
    return State(network, optimizers, average, Progress())
