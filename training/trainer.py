"""Fine-tuning with transformers' Trainer, used plainly: our rows in, our loss, and everything else as it comes.

It knows how to train. Run folders, reports and folds are made elsewhere.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import combinations
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset
from transformers import PreTrainedTokenizerBase, Trainer, TrainingArguments, get_scheduler, set_seed
from transformers.training_args import trainer_log_levels

from annotations.document import Document
from annotations.errors import ConfigError, DocumentError, first_line
from inference.checkpoint import from_encoder
from inference.model import StandpointModel
from inference.tagger import Tagger
from training.batching import EpochLoader, TokenBatches
from training.config import RunConfig
from training.data import collate_rows, dataset, keep_words
from training.depth import freeze, layers_below_top, thaw
from training.folds import learnable
from training.lora import ADAPTER, adapt, merge, require_peft
from training.masking import TokenMasking
from training.objective import Objective, class_weights
from training.recipe import TINY, completed, resolved
from training.safeguards import PART, LossCheck, last_checkpoint, saving, take_place
from training.sharding import gathered, prepare
from training.tracking import TENSORBOARD, event_writers, require_trackers

_logger = logging.getLogger(__name__)
REHEARSED = 100
"""Steps of a schedule that is made to see whether it can be."""


class LayerTrainer(Trainer):
    """Trainer with the loss over layers, hidden tokens, batches by tokens, and a learning rate of their own for heads."""

    def __init__(self, *, objective: Objective, hide: TokenMasking, run: RunConfig, **rest: Any) -> None:
        self.objective: Objective = objective
        self.hide: TokenMasking = hide
        self.run_config: RunConfig = run
        self.check = LossCheck(run)
        self.writing = False
        super().__init__(**rest)
        self.add_callback(self.check)
        prepare(self)

    def compute_loss(
        self, model: nn.Module, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """The objective on one batch of `collate_rows`."""
        gold, owners = inputs.pop("gold"), inputs.pop("owners")
        if model.training:
            inputs["input_ids"] = self.hide(inputs["input_ids"])
        if self.is_fsdp_enabled and not len(inputs["target_ids"]):
            # Shared weights are fetched as often in every process, so each reads some target.
            inputs["target_ids"] = inputs["input_ids"][:1, :1]
            inputs["target_mask"] = torch.ones_like(inputs["target_ids"])
        logits = model(**inputs)
        loss: Tensor = self.objective(logits, gold, owners)
        return (loss, logits) if return_outputs else loss

    def get_train_dataloader(self) -> EpochLoader:
        """Batches of windows of similar length within the run's budget of tokens."""
        args = self.args
        assert isinstance(self.train_dataset, Dataset)
        batches = TokenBatches(
            self.train_dataset["length"],
            self.run_config.batch_tokens,
            args.seed if args.data_seed is None else args.data_seed,
            processes=args.world_size,
            rank=args.process_index,
        )
        return EpochLoader(
            self.train_dataset,
            batch_sampler=batches,
            collate_fn=self.data_collator,
            num_workers=args.dataloader_num_workers,
            persistent_workers=args.dataloader_persistent_workers,
            pin_memory=args.dataloader_pin_memory,
        )

    def create_optimizer(self, model: nn.Module | None = None) -> torch.optim.Optimizer:
        """The optimizer of TrainingArguments; what starts from random weights learns at `optimizer.head_lr`."""
        if self.optimizer is None:
            settings = self.run_config.optimizer
            groups: dict[tuple[float | None, float], list[nn.Parameter]] = {}
            assert isinstance(self.model, StandpointModel)
            for name, parameter in self.model.named_parameters():
                if parameter.requires_grad:
                    decay = settings.weight_decay if parameter.ndim > 1 else 0.0
                    groups.setdefault((self._rate(name), decay), []).append(parameter)
            kind, values = self.get_optimizer_cls_and_kwargs(self.args)
            self.optimizer = kind(
                [{"params": own, "lr": rate, "weight_decay": decay} for (rate, decay), own in groups.items()], **values
            )
        return self.optimizer

    def _run_epoch(self, model: Any, epoch: int, *args: Any, **rest: Any) -> None:
        """One epoch; none where the last step was made before an interruption."""
        if self.state.global_step >= self.state.max_steps:
            self.control.should_training_stop = True
            return
        super()._run_epoch(model, epoch, *args, **rest)

    def _rate(self, name: str) -> float | None:
        """The peak rate of a parameter; never None in a resolved config."""
        assert isinstance(self.model, StandpointModel)
        run = self.run_config
        if run.lora is not None and ADAPTER in name:
            return run.lora.lr
        if not name.startswith(self.model.pretrained):
            return run.optimizer.head_lr
        assert run.optimizer.lr is not None and run.optimizer.layer_decay is not None
        below = layers_below_top(name, self.model.encoder.config.num_hidden_layers)
        return run.optimizer.lr * run.optimizer.layer_decay**below

    def _get_output_dir(self, trial: Any) -> str:
        folder: str = super()._get_output_dir(trial)
        return str(Path(folder) / PART) if self.writing else folder

    def _save_checkpoint(self, model: nn.Module, trial: Any) -> None:
        """Written apart and moved into place when whole, so that the earlier one stays until then."""
        self.check.require_sound(model, self.state.global_step)
        folder = Path(super()._get_output_dir(trial))
        self.writing = True
        try:
            with saving(folder, folder / PART):
                super()._save_checkpoint(model, trial)
        finally:
            self.writing = False
        self.accelerator.wait_for_everyone()
        if self.args.should_save:
            take_place(folder, self.args.save_total_limit)


def fine_tune(config: RunConfig, documents: Sequence[Document], folder: Path, *, events: Path | None = None) -> Tagger:
    """Train a tagger on documents; an interrupted run in the same folder goes on from its last checkpoint.

    The same config, documents, encoder, machine and number of threads give the same weights on CPU, interrupted or not;
    on CUDA with `trainer: {full_determinism: true}`, which costs speed. TensorBoard's files go to `events`, where given.

    Raises:
        CheckpointError: the encoder cannot be used.
        ConfigError: peft is asked for and not there, so many layers cannot be frozen, or the network cannot be compiled here.
        DocumentError: the documents hold nothing to learn.
        TrainingError: training diverged, or a checkpoint cannot be written.
    """
    _require_labels(documents, config)
    config = resolved(_with_words(config, documents))
    set_seed(config.seed)
    model, tokenizer = network(config)
    data = dataset(documents, tokenizer, config.tagger)
    trainer = trainer_for(config, model, tokenizer, data, folder)
    for writer in event_writers(config.trainer, events) if events else []:
        trainer.add_callback(writer)
    earlier = last_checkpoint(folder)
    if earlier and trainer.is_world_process_zero():
        _logger.warning("going on from the step of %s", Path(earlier).name)
    with plain_attention(model), repeatable(), compiling():
        trainer.train(resume_from_checkpoint=earlier)
    # What the Trainer has wrapped goes on in bfloat16; the tagger that is scored is the one that is saved.
    trained: StandpointModel = trainer.accelerator.unwrap_model(gathered(trainer), keep_fp32_wrapper=False)
    trainer.check.require_sound(trained, trainer.state.global_step)
    merge(trained)
    thaw(trained)
    return Tagger(trained.float(), tokenizer, config.tagger)


def network(config: RunConfig) -> tuple[StandpointModel, PreTrainedTokenizerBase]:
    """What a config trains, with adapters or with layers frozen where it asks for that, and the tokenizer.

    Raises:
        CheckpointError: the encoder cannot be used.
        ConfigError: peft is asked for and not there, its targets are none, or so many layers cannot be frozen.
    """
    model, tokenizer = from_encoder(config.encoder, config.tagger, config.dropout)
    if config.lora is not None:
        adapt(model, config.lora)
    freeze(model, config.frozen_layers)
    return model, tokenizer


@contextmanager
def plain_attention(model: StandpointModel) -> Iterator[None]:
    """On CPU the fused attention kernel is slow on the way back: plain attention trains 1.2 to 1.4 times as fast."""
    fused = model.encoder.config._attn_implementation
    if not torch.accelerator.is_available():
        model.encoder.set_attn_implementation("eager")
    try:
        yield
    finally:
        model.encoder.set_attn_implementation(fused)


@contextmanager
def repeatable() -> Iterator[None]:
    """On CPU the gradient of an index adds up in the order in which threads come, unless torch is told not to; it is no slower."""
    if torch.accelerator.is_available():
        yield
        return
    # Also to fill new memory, which the switch does by default, would be slower.
    memory: Any = torch.utils.deterministic
    before = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    filled, memory.fill_uninitialized_memory = memory.fill_uninitialized_memory, False
    torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before[0], warn_only=before[1])
        memory.fill_uninitialized_memory = filled


@contextmanager
def compiling() -> Iterator[None]:
    """Where torch.compile is asked for and fails, say so in one line.

    Raises:
        ConfigError: the network cannot be compiled on this machine.
    """
    try:
        yield
    except RuntimeError as error:
        if not type(error).__module__.startswith(("torch._dynamo", "torch._inductor")):
            raise
        cause = getattr(error, "inner_exception", error)
        raise ConfigError(
            "trainer.torch_compile",
            f"the network cannot be compiled here ({first_line(cause)}); install a C++ compiler (on a GPU, Triton), or "
            "take torch_compile out",
        ) from error


def check_arguments(config: RunConfig, folder: Path) -> None:
    """Raise ConfigError where transformers refuses a value of `trainer`, or a package that the config needs is missing."""
    require_trackers(config.trainer)
    if config.lora is not None:
        require_peft()
    asked = {
        "frozen_layers": config.frozen_layers > 0,
        "lora": config.lora is not None,
        "trainer.fsdp": bool(config.trainer.get("fsdp")),
    }
    for one, other in combinations([name for name, wanted in asked.items() if wanted], 2):
        raise ConfigError(one, f"does not go with {other}; take one of them out")
    doing = "TrainingArguments refuses it"
    try:
        # Whether a value of `trainer` is refused depends on no rate, and the encoder may be one that cannot be looked at.
        made, doing = arguments(completed(config, TINY), folder), "training cannot begin with it"
        _rehearse(made)
    except (TypeError, ValueError, ImportError, ArithmeticError, LookupError) as error:
        kind = f"{type(error).__name__}: " if isinstance(error, LookupError) else ""
        raise ConfigError("trainer", f"{doing}: {kind}{' '.join(str(error).split())}") from error


def _rehearse(args: TrainingArguments) -> None:
    """Make loader, optimizer and schedule of next to nothing. Raises what other libraries raise of values that do not fit."""
    workers, persistent = args.dataloader_num_workers, args.dataloader_persistent_workers
    DataLoader(TensorDataset(torch.zeros(1)), num_workers=workers, persistent_workers=persistent)
    kind, values = Trainer.get_optimizer_cls_and_kwargs(args)
    optimizer = kind([nn.Parameter(torch.zeros(1))], **values)
    named = args.lr_scheduler_kwargs
    if isinstance(named, str):
        raise TypeError(f"lr_scheduler_kwargs is {named!r}, but must be settings and their values")
    schedule = get_scheduler(args.lr_scheduler_type, optimizer, args.get_warmup_steps(REHEARSED), REHEARSED, named)
    for name in ("log_level", "log_level_replica"):
        if (level := getattr(args, name)) not in trainer_log_levels:
            raise ValueError(f"{name} is {level!r}, but must be one of {', '.join(trainer_log_levels)}")
    with warnings.catch_warnings():
        # That the optimizer makes no step, which some do only inside of training.
        warnings.simplefilter("ignore", UserWarning)
        # Some schedules compute with their settings only behind the warm-up.
        for _ in range(REHEARSED):
            schedule.step()


def trainer_for(
    config: RunConfig, model: StandpointModel, tokenizer: PreTrainedTokenizerBase, data: Dataset, folder: Path
) -> LayerTrainer:
    """The Trainer of a resolved config."""
    schema = config.tagger.label_schema
    objective = Objective(schema, config.objective, class_weights(data, schema, config.objective.class_weights))
    return LayerTrainer(
        objective=objective,
        hide=TokenMasking(tokenizer, config.token_masking),
        run=config,
        model=model,
        args=arguments(config, folder),
        train_dataset=data,
        data_collator=partial(collate_rows, config=config.tagger, pad=tokenizer.pad_token_id),
    )


def arguments(config: RunConfig, folder: Path) -> TrainingArguments:
    """TrainingArguments from the run's settings; `trainer` in the config may set any other of them."""
    values: dict[str, Any] = {
        "output_dir": str(folder),
        "num_train_epochs": config.epochs,
        "learning_rate": config.optimizer.lr,
        "warmup_steps": config.optimizer.warmup,
        "weight_decay": config.optimizer.weight_decay,
        "seed": config.seed,
        "bf16": config.bf16,
        "use_cpu": not torch.accelerator.is_available(),
        "logging_steps": 20,
        # To look at the loss of every step would wait for the GPU each time; ours is looked at when it is logged.
        "logging_nan_inf_filter": False,
        "save_strategy": "steps",
        "save_steps": 100,
        "save_total_limit": 1,
        "report_to": "none",
        "remove_unused_columns": False,
        # Encoders bring a pooler that we leave alone; with activation checkpointing the Trainer would not look for it.
        "ddp_find_unused_parameters": True,
        "dataloader_pin_memory": torch.cuda.is_available(),
        "label_names": ["gold"],
        **config.trainer,
    }
    made = TrainingArguments(**values)
    # Ours writes where the events stay; `training.tracking` knows when.
    made.report_to = [name for name in made.report_to or [] if name != TENSORBOARD]
    if made.fsdp_plugin_args and "state_dict_type" not in (made.fsdp_config or {}):
        # Each process writes its own part: nothing is brought together before the end.
        made.fsdp_plugin_args["state_dict_type"] = "SHARDED_STATE_DICT"
    if made.n_gpu > 1:
        # A batch's units point into the whole of it, so it cannot be scattered; torchrun uses every GPU.
        made._n_gpu = 1
    return made


def _with_words(config: RunConfig, documents: Sequence[Document]) -> RunConfig:
    """The config that says whether spans keep to words, learned from the documents where it leaves that open."""
    if config.tagger.whole_words is not None:
        return config
    tagger = config.tagger.model_copy(update={"whole_words": keep_words(documents, config.tagger.label_schema)})
    return config.model_copy(update={"tagger": tagger})


def _require_labels(documents: Sequence[Document], config: RunConfig) -> None:
    layers = config.tagger.label_schema.layers
    if not any(learnable(document, layers) for document in documents):
        raise DocumentError(
            "training data", "annotates no layer of the schema in any text; check data.train and the schema"
        )
