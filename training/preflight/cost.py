"""What a run will cost: steps as the Trainer counts them, and seconds and memory measured on a few real steps.

It knows the Trainer and the machine. It leaves nothing behind: weights are thrown away, and no file is kept.
"""

from __future__ import annotations

import gc
import math
import tempfile
import time
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from transformers import (
    PreTrainedTokenizerBase,
    PrinterCallback,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)

from annotations.document import Document
from annotations.errors import first_line
from inference.batches import batch_sizes
from inference.model import StandpointModel
from training.config import RunConfig
from training.data import dataset
from training.preflight.config import Finding
from training.trainer import LayerTrainer, plain_attention, trainer_for

WARM_UP = 2
"""Steps on the longest windows, which also take the most memory; they are not timed."""
STEPS = 12
"""Steps that are timed, the first of them left out."""
BUDGET = 30.0
"""Seconds after which no further step is timed."""
HOW = (
    "real steps (forward, backward, optimizer) were made on the longest and on the first batches of this data; their mean "
    "time times the steps is the estimate. Loading, checkpoints and the report come on top. Memory is the most in these "
    "steps; on CPU it grows by up to a half in a long run"
)
REMEDY = (
    "lower batch_tokens (and raise trainer.gradient_accumulation_steps as much) or tagger.window.tokens, or set "
    "trainer.activation_checkpointing"
)


class _Clock(TrainerCallback):
    """When each step ended, in seconds; stops the training once the budget is spent."""

    def __init__(self) -> None:
        self.ends: list[float] = []

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> TrainerControl:
        if torch.accelerator.is_available():
            torch.accelerator.synchronize()
        self.ends.append(time.perf_counter())
        if len(self.ends) > 1 and self.ends[-1] - self.ends[0] > BUDGET:
            control.should_training_stop = True
        return control

    def steps(self) -> list[float]:
        """Seconds of every step but the first, its data included."""
        return [after - before for before, after in pairwise(self.ends)]


def cost_facts(
    config: RunConfig,
    model: StandpointModel,
    tokenizer: PreTrainedTokenizerBase,
    documents: Sequence[Document],
    *,
    measured: bool,
) -> tuple[dict[str, Any], list[Finding]]:
    """Windows, parameters, steps and, if `measured`, seconds and bytes; and why a step cannot be made, if it cannot.

    The model's weights are of no use afterwards. The documents must be such that `training.data.dataset` takes them.
    """
    data = dataset(documents, tokenizer, config.tagger)
    facts: dict[str, Any] = {
        "windows": len(data),
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "trainable_parameters": sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad),
    }
    doing = "trainer: training cannot begin"
    # What other libraries raise when a trainer is made or a step is taken has no common type.
    try:
        with tempfile.TemporaryDirectory(prefix="standpoint-check-") as folder:
            # FSDP takes several processes, and this is one.
            planned = {**config.trainer, "push_to_hub": False, "fsdp": None}
            facts |= _steps(_made(config, planned, model, tokenizer, data, Path(folder)))
            doing = "a training step fails"
            if measured:
                facts["estimate"] = _estimate(config, model, tokenizer, data, Path(folder), facts["steps"])
    except torch.OutOfMemoryError as error:
        return facts, [Finding("a training step", f"does not fit the memory ({first_line(error)}); {REMEDY}")]
    except Exception as error:
        return facts, [Finding(doing, f"{type(error).__name__}: {first_line(error)}; check `trainer` and `encoder`")]
    return facts, []


def _made(
    config: RunConfig,
    trainer: dict[str, Any],
    model: StandpointModel,
    tokenizer: PreTrainedTokenizerBase,
    data: Dataset,
    folder: Path,
) -> LayerTrainer:
    made = trainer_for(config.model_copy(update={"trainer": trainer}), model, tokenizer, data, folder)
    made.remove_callback(PrinterCallback)
    return made


def _steps(trainer: LayerTrainer) -> dict[str, int]:
    """Updates of the weights, as transformers' Trainer counts them for one process."""
    args = trainer.args
    batches = len(trainer.get_train_dataloader())
    each = max(1, math.ceil(batches / args.gradient_accumulation_steps))
    steps = args.max_steps if args.max_steps > 0 else math.ceil(args.num_train_epochs * each)
    return {"batches_per_epoch": batches, "steps_per_epoch": each, "steps": steps}


def _estimate(
    config: RunConfig,
    model: StandpointModel,
    tokenizer: PreTrainedTokenizerBase,
    data: Dataset,
    folder: Path,
    steps: int,
) -> dict[str, Any]:
    """Seconds and bytes of a run, from a few steps of the same Trainer that would make it."""
    quiet = {"save_strategy": "no", "logging_strategy": "no", "report_to": "none", "disable_tqdm": True}
    values = {**config.trainer, **quiet, "push_to_hub": False, "fsdp": None}
    places = sorted(range(len(data)), key=lambda place: data["length"][place], reverse=True)
    most = batch_sizes([data["length"][place] for place in places], config.batch_tokens)[0]
    longest = Dataset.from_dict(data[places[:most]])
    clock = _Clock()
    if torch.accelerator.is_available():
        torch.accelerator.reset_peak_memory_stats()
    with plain_attention(model):
        _made(config, {**values, "max_steps": WARM_UP}, model, tokenizer, longest, folder).train()
        gc.collect()
        timed = _made(config, {**values, "max_steps": STEPS}, model, tokenizer, data, folder)
        timed.add_callback(clock)
        timed.train()
    seconds = clock.steps()
    mean = sum(seconds) / len(seconds)
    return {
        "seconds": mean * steps * trainings(config),
        "seconds_per_step": {"mean": mean, "fastest": min(seconds), "slowest": max(seconds), "measured": len(seconds)},
        "threads": torch.get_num_threads(),
        "how": HOW,
        **_peak(),
    }


def trainings(config: RunConfig) -> float:
    """How many times the steps of one training a run makes."""
    taught = config.self_training
    return 1.0 if taught is None else taught.teachers + taught.steps


def _peak() -> dict[str, Any]:
    """The most memory so far: of the accelerator as torch counts it, or else of this process.

    The kernel's high-water mark is read from /proc, because getrusage of a started process may count its parent's.
    """
    if torch.accelerator.is_available():
        return {
            "memory_bytes": torch.accelerator.max_memory_reserved(),
            "memory_of": "the accelerator, reserved by torch",
        }
    try:
        lines = Path("/proc/self/status").read_text("utf-8").splitlines()
        kilobytes = next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:"))
    except (OSError, StopIteration):
        return {"memory_bytes": None, "memory_of": "unknown on this system"}
    return {"memory_bytes": kilobytes * 1024, "memory_of": "the process, largest resident set"}
