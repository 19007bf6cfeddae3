"""Where a weight lies in an encoder, by its name, and which layers stay as they are. It knows names, not what is learned."""

from __future__ import annotations

import re

from annotations.errors import ConfigError
from inference.model import StandpointModel

LAYER = re.compile(r"^encoder\.(?:.+\.)?layers?\.(\d+)\.")
"""The place of a parameter's layer in its name, in BERT's family and in ModernBERT's."""


def layers_below_top(name: str, layers: int) -> int:
    """How far a parameter lies below the encoder's last layer, by its name: embeddings below the first, what follows the
    layers or belongs to all of them beside the last (Howard and Ruder, 2018, discriminative fine-tuning)."""
    if found := LAYER.match(name):
        return layers - 1 - int(found[1])
    return layers if name.startswith("encoder.") and "embeddings" in name else 0


def freeze(model: StandpointModel, layers: int) -> None:
    """Take the embeddings and so many of the encoder's lowest layers out of training, until `thaw`; 0 takes out nothing.

    Nothing is computed for them on the way back. Source: Lee et al. (2019, What would Elsa do? Freezing layers during
    transformer fine-tuning, arXiv:1911.03090).

    Raises:
        ConfigError: the encoder has fewer layers, or they cannot be told apart.
    """
    if not layers:
        return
    there = model.encoder.config.num_hidden_layers
    if layers > there:
        raise ConfigError("frozen_layers", f"is {layers}, but the encoder has {there} layers; take at most {there}")
    named = {int(found[1]) for name, _ in model.named_parameters() if (found := LAYER.match(name))}
    if named != set(range(there)):
        raise ConfigError(
            "frozen_layers",
            "does not go with this encoder, whose layers share their weights or have no numbers; take it out",
        )
    for name, parameter in model.named_parameters():
        if name.startswith("encoder.") and layers_below_top(name, there) >= there - layers:
            parameter.requires_grad_(False)


def thaw(model: StandpointModel) -> None:
    """Let the whole encoder learn again."""
    model.encoder.requires_grad_(True)
