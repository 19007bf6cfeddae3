"""The settings of a run. It knows names, types and defaults of settings, and does nothing with them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Self, get_args, get_type_hints

from pydantic import Field, TypeAdapter, ValidationError, field_validator, model_validator

from annotations.config import Config
from annotations.errors import did_you_mean
from inference.checkpoint_files import DEFAULT_ENCODER
from inference.config import TaggerConfig

OURS = {
    "output_dir": "output",
    "learning_rate": "optimizer.lr",
    "num_train_epochs": "epochs",
    "seed": "seed",
    "per_device_train_batch_size": "batch_tokens",
    "auto_find_batch_size": "batch_tokens",
    "train_sampling_strategy": "batch_tokens",
    "weight_decay": "optimizer.weight_decay",
    "warmup_steps": "optimizer.warmup",
    "bf16": "bf16",
}
"""Arguments of transformers' TrainingArguments that a run has a setting of its own for."""
EVALUATED = (
    *("do_eval", "do_predict", "load_best_model_at_end", "metric_for_best_model", "greater_is_better"),
    *("per_device_eval_batch_size", "prediction_loss_only", "batch_eval_metrics", "include_for_metrics"),
    *("bf16_full_eval", "fp16_full_eval"),
)
"""Those about evaluation, beside the ones that begin with `eval_`."""
LOADER = "batches come from a loader of our own; take it out"
UNHEARD = {
    "label_smoothing_factor": "the loss is our own and takes labels as they are; take it out",
    "dataloader_drop_last": "batches are cut by `batch_tokens`, and every window is learned from; take it out",
    "dataloader_prefetch_factor": LOADER,
    "dataloader_multiprocessing_context": LOADER,
    "dataloader_in_order": LOADER,
    "use_liger_kernel": "it has no kernel for our network; take it out",
    "resume_from_checkpoint": "a run goes on from its own folder by itself, and `encoder` names what it starts from",
}
"""Those that our Trainer does not ask for, and why."""
AT_LEAST_ONE = ("gradient_accumulation_steps",)
"""Those that transformers divides by without a look."""


class DataConfig(Config):
    """Annotated documents: `.jsonl` of Documents, or `.json` exported from Label Studio."""

    train: tuple[Path, ...] = Field(min_length=1)
    """Files to learn from."""
    test: tuple[Path, ...] = ()
    """Files to score the finished tagger on; never looked at before."""
    held_out: tuple[str, ...] = ()
    """Groups of the training files to keep out of training and to score on as well."""


class OptimizerConfig(Config):
    """AdamW with a linear warm-up and a linear decay to zero."""

    lr: float | None = Field(default=None, gt=0)
    """Peak learning rate of the encoder; `training.recipe` chooses one for its family and size where unset."""
    head_lr: float | None = Field(default=None, gt=0)
    """Peak learning rate of heads and reader, which start from random weights; chosen likewise where unset."""
    layer_decay: float | None = Field(default=None, gt=0, le=1)
    """Each of the encoder's layers learns at so many times the rate of the one above, the embeddings last; chosen likewise."""
    weight_decay: float = Field(default=0.01, ge=0)
    """Weight decay."""
    warmup: float = Field(default=0.1, ge=0, lt=1)
    """Fraction of the steps over which the rate rises."""


class ObjectiveConfig(Config):
    """What the loss adds up."""

    layer_weights: dict[str, float] = {}
    """Weight of a layer's loss; 1 where unnamed."""
    class_weights: float = Field(default=0.5, ge=0, le=1)
    """Power of the inverse class frequency in layers of sentences and documents: 0 is none, 1 is full balance."""


class LoraConfig(Config):
    """Low-rank adapters (Hu et al., 2021) beside the frozen weights of a large encoder, merged into them in the end."""

    rank: int = Field(default=16, ge=1)
    """Rank of each adapter."""
    alpha: int = Field(default=32, ge=1)
    """An adapter's output is multiplied by alpha / rank."""
    dropout: float = Field(default=0.0, ge=0, lt=1)
    """Dropout in front of the adapters."""
    targets: tuple[str, ...] = ()
    """Linear layers with an adapter, by the end of their names (`query`, `value`); all of the encoder's blocks where unset."""
    lr: float | None = Field(default=None, gt=0)
    """Peak learning rate of the adapters; `training.recipe` chooses one for the encoder's size where unset."""


class SelfTrainingConfig(Config):
    """Taggers of several seeds label further texts, and one more learns from those as well."""

    texts: tuple[Path, ...] = Field(min_length=1)
    """Files (`.txt`, `.jsonl`, `.json`) or folders of texts like those to be tagged later; labels in them are not read."""
    teachers: int = Field(default=3, ge=1)
    """How many taggers vote on a label, by the mean of their probabilities."""
    steps: float = Field(default=2.0, gt=0)
    """How many times a teacher's steps the last tagger makes."""

    @field_validator("texts")
    @classmethod
    def _files(cls, paths: tuple[Path, ...]) -> tuple[Path, ...]:
        # A run reads its texts more than once, and a resumed one reads them again.
        if Path("-") in paths:
            raise ValueError("standard input can be read only once; write the texts into a file and name that")
        return paths


class RunConfig(Config):
    """Everything `standpoint train` and `standpoint crossval` need."""

    tagger: TaggerConfig
    """The half that travels with the weights: schema, windows, reader."""
    data: DataConfig
    """What to learn from and what to score on."""
    output: Path
    """Folder of the run."""
    encoder: str = DEFAULT_ENCODER
    """`default`, a folder (an encoder's or a tagger's), or a hub name."""
    epochs: float | None = Field(default=None, gt=0)
    """Passes over the windows; `training.recipe` chooses them for the encoder's size where unset."""
    batch_tokens: int = Field(default=1024, ge=1)
    """Tokens a step and process, padding included: windows of similar length, as many as fit."""
    optimizer: OptimizerConfig = OptimizerConfig()
    """Learning rates."""
    frozen_layers: int = Field(default=0, ge=0)
    """The encoder's embeddings and so many of its lowest layers stay as they are, which makes training cheaper."""
    lora: LoraConfig | None = None
    """Train adapters instead of the encoder's own weights; needs the extra `lora`."""
    self_training: SelfTrainingConfig | None = None
    """Learn from texts without labels as well."""
    objective: ObjectiveConfig = ObjectiveConfig()
    """Losses."""
    dropout: float = Field(default=0.1, ge=0, lt=1)
    """Dropout in front of the heads and in the reader."""
    token_masking: float = Field(default=0.15, ge=0, lt=1)
    """Share of a text's tokens shown as the mask token while training."""
    bf16: bool | None = None
    """Train in bfloat16 autocast, weights staying 32-bit; where unset, on hardware that multiplies in it."""
    seed: int = Field(default=0, ge=0)
    """Seeds initial heads, order and dropout."""
    trainer: dict[str, Any] = {}
    """Any further argument of transformers' TrainingArguments, such as `activation_checkpointing`, passed on as it is."""

    @field_validator("trainer")
    @classmethod
    def _known(cls, values: dict[str, Any]) -> dict[str, Any]:
        from dataclasses import fields

        from transformers import TrainingArguments

        known = {field.name for field in fields(TrainingArguments) if field.init}
        types, read = get_type_hints(TrainingArguments), dict[str, Any]()
        for key, value in values.items():
            if key in OURS:
                raise ValueError(f"{key!r} is set through `{OURS[key]}`")
            if key.startswith("eval_") or key in EVALUATED or (key, value) == ("save_strategy", "best"):
                raise ValueError(f"{key!r}: nothing is evaluated while training; name unseen data in data.test")
            if key in UNHEARD:
                raise ValueError(f"{key!r} would have no effect: {UNHEARD[key]}")
            if key not in known:
                raise ValueError(f"{key!r} is no argument of TrainingArguments; {did_you_mean(key, known)}")
            read[key] = _typed(key, value, types[key])
            if key in AT_LEAST_ONE and read[key] < 1:
                raise ValueError(f"{key!r} is {value}, but must be 1 or more")
        return read

    @model_validator(mode="after")
    def _layers(self) -> Self:
        layers = self.tagger.label_schema.layers
        for name in self.objective.layer_weights:
            if name not in layers:
                raise ValueError(
                    f"objective.layer_weights: no layer {name!r} in the schema; {did_you_mean(name, layers)}"
                )
        return self


class CrossvalConfig(Config):
    """What cross-validation repeats."""

    seeds: tuple[Annotated[int, Field(ge=0)], ...] = Field(default=(0, 1, 2), min_length=1)
    """One full round of folds for each seed."""
    baselines: bool = True
    """Also score the CRF and TF-IDF baselines on the same folds."""
    folds: int | None = Field(default=None, ge=2)
    """How many folds the groups are dealt to; one for each group where unset."""


class LearningCurveConfig(Config):
    """How the training data of each fold grows."""

    seeds: tuple[Annotated[int, Field(ge=0)], ...] = Field(default=(0, 1, 2), min_length=1)
    """Each seed draws an order of the groups of its own, and trains with it."""
    sizes: tuple[Annotated[int, Field(ge=1)], ...] = ()
    """Numbers of groups to train on."""
    fractions: tuple[Annotated[float, Field(gt=0, le=1)], ...] = ()
    """The same as shares of the smallest fold's training groups. Without either: up to six sizes, from one group to all."""
    folds: int | None = Field(default=None, ge=2)
    """How many folds the groups are dealt to; one for each group where unset."""

    @field_validator("seeds", "sizes", "fractions")
    @classmethod
    def _once(cls, values: tuple[float, ...]) -> tuple[float, ...]:
        return tuple(sorted(set(values)))

    @model_validator(mode="after")
    def _one_of_two(self) -> Self:
        if self.sizes and self.fractions:
            raise ValueError("sizes and fractions are both given; choose one")
        return self


def _typed(key: str, value: object, annotation: Any) -> object:
    """A number where TrainingArguments annotates one, read from a string too: YAML takes `1e-8` for one. A whole number is an
    integer where one is wanted, `2.0` too. Others as they are."""
    if not {annotation, *get_args(annotation)} & {int, float} or str in get_args(annotation):
        return value
    try:
        read: object = TypeAdapter(annotation).validate_python(value)
    except ValidationError as error:
        raise ValueError(f"{key!r} is {value!r}: {error.errors()[0]['msg']}") from None
    return read if isinstance(value, str) or (isinstance(value, float) and isinstance(read, int)) else value
