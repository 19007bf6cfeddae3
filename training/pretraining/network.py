"""A masked-LM of any architecture as an encoder and a predictor, so that only masked tokens are predicted.

It knows networks and tensors of ids, not the texts or the schedule.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from transformers import (
    AutoModelForMaskedLM,
    ModernBertConfig,
    ModernBertForMaskedLM,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.modeling_outputs import BaseModelOutput

from annotations.errors import CheckpointError, first_line
from inference import hub
from inference.checkpoint_files import encoder_location
from training.pretraining.config import PretrainOptimizer, Shape


def new_model(shape: Shape, tokenizer: PreTrainedTokenizerBase) -> PreTrainedModel:
    """A ModernBERT with random weights in the given shape."""
    return ModernBertForMaskedLM(
        ModernBertConfig(
            vocab_size=len(tokenizer),
            hidden_size=shape.width,
            intermediate_size=shape.intermediate,
            num_hidden_layers=shape.layers,
            num_attention_heads=shape.heads,
            max_position_embeddings=shape.positions,
            layer_types=["full_attention"] * shape.layers,
            pad_token_id=tokenizer.pad_token_id,
            cls_token_id=tokenizer.cls_token_id,
            sep_token_id=tokenizer.sep_token_id,
            bos_token_id=tokenizer.cls_token_id,
            eos_token_id=tokenizer.sep_token_id,
        )
    )


def known_model(name: str, say: Callable[[str], None]) -> PreTrainedModel:
    """The masked-LM of an existing encoder; one that comes without its predictor gets a new one, which is told.

    Raises:
        CheckpointError: it is neither a folder nor reachable, or its architecture has no masked-LM.
    """
    try:
        where = encoder_location(name)
        found, loading = AutoModelForMaskedLM.from_pretrained(
            where, dtype=torch.float32, output_loading_info=True, **hub.reading_weights(where)
        )
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise CheckpointError(
            f"encoder {name!r}",
            f"cannot go on with masked-LM ({first_line(error)}); give an encoder's folder or a hub name with the hub in reach",
        ) from error
    if loading["missing_keys"]:
        say("the encoder comes without its predictor of masked words; a new one learns, so the loss begins high")
    model: PreTrainedModel = found
    return model


class _Given(nn.Module):
    """Stands where a masked-LM has its encoder, and hands on states that are known already."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.config = config

    def forward(self, *_: Any, inputs_embeds: Tensor, **__: Any) -> BaseModelOutput:
        return BaseModelOutput(last_hidden_state=inputs_embeds)


class MaskedLM(nn.Module):
    """Encodes every token and predicts the masked ones: the output layer is the dearest part of a small model."""

    def __init__(self, model: PreTrainedModel) -> None:
        super().__init__()
        self.encoder: nn.Module = model.base_model
        setattr(model, model.base_model_prefix, _Given(model.config))
        self.predictor: PreTrainedModel = model

    def forward(self, shown: Tensor, chosen: Tensor, truth: Tensor) -> Tensor:
        """Cross-entropy in nats on the chosen tokens. Shape: all (batch, length), `chosen` bool; result ()."""
        states = self.encoder(input_ids=shown).last_hidden_state[chosen]
        logits = self.predictor(inputs_embeds=states[None]).logits[0]
        return cross_entropy(logits.float(), truth[chosen])

    @contextmanager
    def whole(self) -> Iterator[PreTrainedModel]:
        """Encoder and predictor are the one model that transformers knows, inside the block."""
        prefix = self.predictor.base_model_prefix
        given = getattr(self.predictor, prefix)
        setattr(self.predictor, prefix, self.encoder)
        try:
            yield self.predictor
        finally:
            setattr(self.predictor, prefix, given)


def optimizers(network: MaskedLM, settings: PretrainOptimizer) -> list[torch.optim.Optimizer]:
    """AdamW, and Muon for the matrices of the encoder's layers where it is asked for; weight decay on matrices only."""
    embedded = {id(own.weight) for own in network.modules() if isinstance(own, nn.Embedding)}
    inside = {id(parameter) for parameter in network.encoder.parameters()} - embedded
    if settings.name == "adamw":
        inside = set()
    groups: dict[str, list[nn.Parameter]] = {"matrices": [], "others": [], "vectors": []}
    for parameter in network.parameters():
        name = "vectors" if parameter.ndim != 2 else "matrices" if id(parameter) in inside else "others"
        groups[name].append(parameter)
    decays = [(groups["others"], settings.weight_decay), (groups["vectors"], 0.0)]
    plain = [{"params": own, "weight_decay": decay} for own, decay in decays if own]
    made: list[torch.optim.Optimizer] = [
        torch.optim.AdamW(plain, lr=settings.lr, betas=settings.betas, eps=1e-6, fused=True)
    ]
    if groups["matrices"]:
        made.append(
            torch.optim.Muon(
                groups["matrices"],
                lr=settings.matrix_lr,
                weight_decay=settings.weight_decay,
                adjust_lr_fn="match_rms_adamw",
            )
        )
    for group in (group for optimizer in made for group in optimizer.param_groups):
        group["initial_lr"] = group["lr"]
    return made


@torch.no_grad()
def set_embeddings(network: MaskedLM, vectors: Tensor, special: Tensor) -> None:
    """Give the input embeddings these directions, at the size that random ones have.

    Shape: vectors (vocabulary, width), zeros where a random vector stays; special (vocabulary,) bool likewise.
    """
    weight = network.encoder.get_input_embeddings().weight  # type: ignore[operator]
    known = (vectors.norm(dim=1) > 0) & ~special
    weight[known] = (vectors * weight.std() * weight.shape[1] ** 0.5).to(weight)[known]
