"""Which engine runs a checkpoint: the one asked for, or the fastest that is there and that this hardware runs.

It knows names and folders; each library of an engine is behind a file of its own.
"""

from __future__ import annotations

from pathlib import Path

import torch

from annotations.errors import ConfigError, did_you_mean
from inference.engines.engine import Engine
from inference.model import StandpointModel

AUTO = "auto"
ENGINES = ("torch", "torch-bf16")


def make(path: str | Path, model: StandpointModel, name: str) -> Engine:
    """An engine for a loaded model; see `Tagger.load`."""
    if name not in (AUTO, *ENGINES):
        raise ConfigError(f"engine {name!r}", f"there is none; {did_you_mean(name, (AUTO, *ENGINES))}")
    if name == "torch-bf16":
        model.encoder.to(torch.bfloat16)
        return Engine(model, name=name)
    return Engine(model)
