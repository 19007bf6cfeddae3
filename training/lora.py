"""Low-rank adapters in a frozen encoder: put in before training, merged into its weights afterwards. The one door to peft.

A merged encoder is an ordinary one: it loads without peft, and costs what it did. Source: Hu et al. (2021, LoRA: Low-rank
adaptation of large language models, arXiv:2106.09685); all linear layers as in Dettmers et al. (2023, QLoRA, section 4).
"""

from __future__ import annotations

from importlib.util import find_spec

from torch import nn

from annotations.errors import ConfigError, to_install
from inference.model import StandpointModel
from training.config import LoraConfig

ADAPTER = ".lora_"
"""Part of the name of every weight of an adapter."""
OUTSIDE = ("embeddings", "pooler")
"""Parts of an encoder that are no blocks."""


def require_peft() -> None:
    """Raise ConfigError where peft is not installed."""
    if find_spec("peft") is None:
        raise ConfigError("lora", f"needs the package 'peft'; {to_install('lora')}, or take lora out")


def adapt(model: StandpointModel, settings: LoraConfig) -> None:
    """Freeze the encoder, and put an adapter beside each targeted linear layer; the tagger answers as before.

    Raises:
        ConfigError: peft is not installed, or a target names no linear layer.
    """
    require_peft()
    import peft

    chosen = peft.LoraConfig(
        r=settings.rank,
        lora_alpha=settings.alpha,
        lora_dropout=settings.dropout,
        target_modules=targets(model, settings.targets),
    )
    peft.inject_adapter_in_model(chosen, model.encoder)


def targets(model: StandpointModel, wanted: tuple[str, ...]) -> list[str]:
    """The full names of the linear layers that get an adapter.

    Raises:
        ConfigError: some of `wanted` name no linear layer of the encoder.
    """
    layers = [name for name, module in model.encoder.named_modules() if isinstance(module, nn.Linear)]
    if not wanted:
        return [name for name in layers if not set(name.split(".")) & set(OUTSIDE) and "." in name]
    if unknown := [want for want in wanted if not any(_ends(name, want) for name in layers)]:
        known = ", ".join(dict.fromkeys(name.rsplit(".", 1)[-1] for name in layers))
        raise ConfigError(
            "lora.targets", f"no linear layer of the encoder is named {', '.join(unknown)}; there are {known}"
        )
    return [name for name in layers if any(_ends(name, want) for want in wanted)]


def _ends(name: str, wanted: str) -> bool:
    return name == wanted or name.endswith(f".{wanted}")


def merge(model: StandpointModel) -> None:
    """Add every adapter to the layer it stands beside, and take it out; without adapters nothing happens."""
    if not any(ADAPTER in name for name, _ in model.named_parameters()):
        return
    from peft.tuners.lora import LoraLayer

    for name, part in list(model.encoder.named_modules()):
        if isinstance(part, LoraLayer):
            part.merge(safe_merge=True)
            model.encoder.set_submodule(name, part.get_base_layer())
    model.encoder.requires_grad_(True)
