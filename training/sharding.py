"""FSDP: the weights shared out among processes while they are trained, and brought together afterwards.

It knows transformers' Trainer and accelerate, not what is learned.
"""

from __future__ import annotations

import os
import warnings
from typing import Any

from accelerate import DistributedType
from accelerate.utils import FullyShardedDataParallelPlugin
from torch import nn
from torch.distributed.tensor import DTensor
from transformers import Trainer

from annotations.errors import ConfigError
from inference.model import StandpointModel


def launched() -> int:
    """How many processes torchrun or accelerate has started for one run."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def require_processes(trainer: dict[str, Any]) -> None:
    """Raise ConfigError where `trainer.fsdp` is set and this process trains alone, or an old version of FSDP is asked for."""
    if not trainer.get("fsdp"):
        return
    if launched() < 2:
        raise ConfigError("trainer.fsdp", "takes several processes; start them with torchrun, or take fsdp=false")
    settings = trainer.get("fsdp_config")
    if isinstance(settings, dict) and int(settings.get("version", 2)) != 2:
        raise ConfigError("trainer.fsdp_config.version", "must be 2, which is the default; leave it out")


def prepare(trainer: Trainer) -> None:
    """Let `fsdp` share out the encoder's layers one by one, on CPU too.

    By itself accelerate would share out embeddings twice (BERT names them among what is not to be split), and on CPU
    nothing, without a word. On CPU it is there to try a run without GPUs; memory is saved there too, time is not.
    """
    state = trainer.accelerator.state
    if trainer.args.fsdp_plugin_args and state.distributed_type is DistributedType.MULTI_CPU:
        state.distributed_type = DistributedType.FSDP
        state.fsdp_plugin = FullyShardedDataParallelPlugin(**trainer.args.fsdp_plugin_args)
        if state.mixed_precision != "no":
            state.fsdp_plugin.set_mixed_precision(state.mixed_precision)
        trainer.is_fsdp_enabled = True
    if not trainer.is_fsdp_enabled:
        return
    model = trainer.model
    assert isinstance(model, StandpointModel)
    # It warns of changes in place, of which we make none, at every step.
    warnings.filterwarnings("ignore", message="FSDP2-wrapped module .* returned a view tensor")
    # We never use a BERT's pooler, and an optimizer that goes on expects to have moved every weight it was given.
    for name, parameter in model.encoder.named_parameters():
        parameter.requires_grad_(parameter.requires_grad and not name.startswith("pooler."))
    if state.fsdp_plugin.transformer_cls_names_to_wrap is None:
        lists = [module for module in model.encoder.modules() if isinstance(module, nn.ModuleList)]
        state.fsdp_plugin.transformer_cls_names_to_wrap = sorted(
            {type(one).__name__ for parts in lists for one in parts}
        )


def gathered(trainer: Trainer) -> StandpointModel:
    """The trained model, whole in every process."""
    model = trainer.model
    assert isinstance(model, StandpointModel)
    if not trainer.is_fsdp_enabled:
        return model
    config: Any = model.config
    whole = StandpointModel(config)
    shared = model.state_dict().items()
    whole.load_state_dict(
        {name: (value.full_tensor() if isinstance(value, DTensor) else value).cpu() for name, value in shared}
    )
    return whole
