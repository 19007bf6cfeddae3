"""Learning rates and passes that fit an encoder, where a config leaves them open. It knows published ranges and the sizes of
encoders, not data and not weights.

Size is the number of parameters without token embeddings, which decide neither depth nor width: 86 M in BERT-base, in
XLM-R-base (278 M in all) and in DeBERTa-v3-base (184 M in all). Layers that share their weights count one by one (ALBERT-base).

| size    | parameters | for instance                          | lr   | layer_decay | head_lr | LoRA's lr | epochs |
|---------|------------|---------------------------------------|------|-------------|---------|-----------|--------|
| tiny    | up to 8 M  | the default encoder, BERT-tiny, -mini | 5e-4 | 0.8         | 2e-3    | 2e-3      | 30     |
| small   | up to 30 M | BERT-small, -medium, MiniLM           | 2e-4 | 0.95        | 2e-3    | 1e-3      | 20     |
| medium  | up to 60 M | DistilBERT, DeBERTa-v3-small          | 1e-4 | 0.95        | 1e-3    | 1e-3      | 20     |
| base    | up to 200 M| BERT-base, ModernBERT-base            | 5e-5 | 0.95        | 1e-3    | 5e-4      | 20     |
| large   | more       | BERT-large, XLM-R-large               | 2e-5 | 0.95        | 1e-3    | 3e-4      | 20     |

`FAMILIES` has the rates of families that were tuned to others. Warm-up and batches do not depend on the encoder: a tenth of
the steps in BERT, ELECTRA and DeBERTa's NER alike, and about 1,000 tokens are the 16 to 32 sentences of the papers.

Only tiny's numbers have been measured here (benchmarks/results/encoder_proxy.md, recipe_choices.md), and of them LoRA's have not.
Sources of the others: Turc et al. (2019, Well-read students learn better, arXiv:1908.08962: 3e-5 to 3e-4 for BERTs of all sizes
up to base), Devlin et al. (2019, BERT, appendix A.3: 2e-5 to 5e-5 for base and large); small and medium lie in Turc's range,
between their neighbours. Passes: Mosbach et al. (2021, On the stability of fine-tuning BERT: 20 where data are few). LoRA: Hu
et al. (2021, arXiv:2106.09685, appendix D: 4e-4 to 5e-4 for RoBERTa-base, 2e-4 to 4e-4 for large), higher for smaller encoders
in the way of lr. layer_decay: Zhang et al. (2021, Revisiting few-sample BERT fine-tuning, arXiv:2006.05987: 0.95 for
BERT-large). head_lr is a guess in between: heads and a reader start from random weights; papers have one rate for all.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from transformers import AutoModel, PreTrainedConfig

from annotations.errors import CheckpointError, first_line
from inference.checkpoint import encoder_config
from inference.hardware import has_bf16
from training.config import RunConfig


class Recipe(NamedTuple):
    """What a size of encoders is trained with."""

    size: str
    """Its name."""
    parameters: float
    """The most parameters an encoder of this size has, token embeddings not counted."""
    lr: float
    """`optimizer.lr`."""
    layer_decay: float
    """`optimizer.layer_decay`."""
    head_lr: float
    """`optimizer.head_lr`."""
    lora_lr: float
    """`lora.lr`."""
    epochs: float
    """`epochs`."""


TINY = Recipe("tiny", 8e6, 5e-4, 0.8, 2e-3, 2e-3, 30)
SIZES = (
    TINY,
    Recipe("small", 30e6, 2e-4, 0.95, 2e-3, 1e-3, 20),
    Recipe("medium", 60e6, 1e-4, 0.95, 1e-3, 1e-3, 20),
    Recipe("base", 200e6, 5e-5, 0.95, 1e-3, 5e-4, 20),
    Recipe("large", float("inf"), 2e-5, 0.95, 1e-3, 3e-4, 20),
)
ROBERTA = {"base": 3e-5, "large": 1e-5}
DEBERTA = {"small": 4.5e-5, "medium": 4.5e-5, "base": 2e-5, "large": 1e-5}
FAMILIES: dict[str, dict[str, float]] = {
    "roberta": ROBERTA,
    "xlm-roberta": ROBERTA,
    "camembert": ROBERTA,
    "deberta": DEBERTA,
    "deberta-v2": DEBERTA,
    "electra": {"small": 3e-4, "medium": 1e-4, "base": 1e-4, "large": 5e-5},
    "modernbert": {"large": 3e-5},
    "distilbert": {"medium": 5e-5},
}
"""`model_type` to its own `lr` for a size.

RoBERTa: 1e-5 to 3e-5 (Liu et al., 2019, appendix); XLM-R and CamemBERT have its architecture. DeBERTa: the authors' own
settings for CoNLL-2003 (microsoft/DeBERTa, experiments/ner/ner.sh), those for MNLI for v3-small. ELECTRA: 3e-4, 1e-4 and 5e-5
(Clark et al., 2020, appendix B). ModernBERT: 1e-5 to 8e-5 (Warner et al., 2024, appendix). DistilBERT: within BERT's range."""


class Encoder(NamedTuple):
    """What the choice depends on."""

    family: str
    """The config's `model_type`."""
    parameters: int
    """All of them."""
    body: int
    """Without token embeddings; layers that share weights count as often as they are passed."""


def look_at(name: str) -> Encoder:
    """Family and size of an encoder, from its config alone: no weight is read and no memory taken.

    Raises:
        CheckpointError: there is no such encoder, or none that transformers can make from its config.
    """
    config = encoder_config(name)
    try:
        total, embedded = _parameters(config)
    except (ValueError, KeyError, RuntimeError, AttributeError, TypeError) as error:
        raise CheckpointError(
            f"encoder {name!r}", f"is of no kind that AutoModel makes ({first_line(error)}); choose another encoder"
        ) from error
    groups = getattr(config, "num_hidden_groups", None)
    shared = config.num_hidden_layers // groups if groups else 1
    return Encoder(config.model_type, total, (total - embedded) * shared)


def _parameters(config: PreTrainedConfig) -> tuple[int, int]:
    """How many there are, and how many of them embed tokens."""
    with torch.device("meta"):
        model = AutoModel.from_config(config)
    return sum(weight.numel() for weight in model.parameters()), model.get_input_embeddings().weight.numel()


def recipe_for(encoder: Encoder) -> Recipe:
    """The row of the table, with the family's own rate."""
    found = next(recipe for recipe in SIZES if encoder.body <= recipe.parameters)
    return found._replace(lr=FAMILIES.get(encoder.family, {}).get(found.size, found.lr))


def is_open(config: RunConfig) -> bool:
    """Whether the config leaves something to the recipe."""
    return None in _numbers(config).values()


def resolved(config: RunConfig) -> RunConfig:
    """The config with every number that it leaves open, and with a precision that the hardware has; one without open numbers
    has its encoder unread.

    Raises:
        CheckpointError: like `look_at`.
    """
    return completed(config, recipe_for(look_at(config.encoder))) if is_open(config) else _with_precision(config)


def _with_precision(config: RunConfig) -> RunConfig:
    return config if config.bf16 is not None else config.model_copy(update={"bf16": has_bf16()})


def recipe_facts(encoder: Encoder, given: RunConfig, chosen: RunConfig) -> dict[str, Any]:
    """The encoder's family and size, and every number that may be left open: its value, and who chose it."""
    before, after = _numbers(given), _numbers(chosen)
    return {
        "family": encoder.family,
        "parameters": encoder.parameters,
        "parameters_without_embeddings": encoder.body,
        "size": recipe_for(encoder).size,
        "bf16": chosen.bf16,
        "numbers": {
            name: {"value": value, "chosen_by": "recipe" if before[name] is None else "config"}
            for name, value in after.items()
        },
    }


def _numbers(config: RunConfig) -> dict[str, float | None]:
    lora = {"lora.lr": config.lora.lr} if config.lora is not None else {}
    return {
        "optimizer.lr": config.optimizer.lr,
        "optimizer.layer_decay": config.optimizer.layer_decay,
        "optimizer.head_lr": config.optimizer.head_lr,
        **lora,
        "epochs": config.epochs,
    }


def completed(config: RunConfig, recipe: Recipe) -> RunConfig:
    """The config with a recipe's numbers, and the hardware's precision, where it has none of its own."""
    given = config.optimizer
    rates = {
        "lr": recipe.lr if given.lr is None else given.lr,
        "layer_decay": recipe.layer_decay if given.layer_decay is None else given.layer_decay,
        "head_lr": recipe.head_lr if given.head_lr is None else given.head_lr,
    }
    lora = config.lora
    if lora is not None and lora.lr is None:
        lora = lora.model_copy(update={"lr": recipe.lora_lr})
    epochs = recipe.epochs if config.epochs is None else config.epochs
    changes = {"optimizer": given.model_copy(update=rates), "lora": lora, "epochs": float(epochs)}
    return _with_precision(config).model_copy(update=changes)
