"""What keeps a run's earlier work when something goes wrong: whole checkpoints, a disk that is full, a loss that is no number.

It knows folders, losses and weights, not what is learned.
"""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import nn
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.tensor import DTensor
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from annotations.errors import TrainingError, first_line
from inference import checkpoint
from inference.tagger import Tagger
from training.config import RunConfig
from training.run_directory import is_main_process

PART = "part"
"""Where a checkpoint is written before it takes its place among the others."""
STATE = "trainer_state.json"


def last_checkpoint(folder: Path) -> str | None:
    """The newest whole checkpoint; what a kill or a full disk left of others is removed by the first process."""
    broken = [path for path in folder.glob("checkpoint-*") if not _whole(path)]
    if is_main_process():
        for path in (folder / PART, *broken):
            shutil.rmtree(path, ignore_errors=True)
    found = [path for path in _by_step(folder) if path not in broken]
    return str(found[-1]) if found else None


def _whole(checkpoint: Path) -> bool:
    try:
        json.loads((checkpoint / STATE).read_text("utf-8"))
    except (OSError, ValueError):
        return False
    return True


def _by_step(folder: Path) -> list[Path]:
    return sorted(folder.glob("checkpoint-*"), key=lambda path: int(path.name.split("-")[1]))


def take_place(folder: Path, limit: int | None) -> None:
    """Move what was written in `PART` beside the whole checkpoints, then drop the oldest of these beyond `limit`.

    The move is one step for the file system, so there is a whole checkpoint at every moment.
    """
    for made in (folder / PART).glob("checkpoint-*"):
        shutil.rmtree(folder / made.name, ignore_errors=True)
        made.rename(folder / made.name)
    (folder / PART).rmdir()
    for old in _by_step(folder)[: -limit if limit else 0]:
        shutil.rmtree(old, ignore_errors=True)


@contextmanager
def saving(folder: Path, part: Path) -> Iterator[None]:
    """Tell what cannot be written into `folder`, and remove the `part` that was.

    Raises:
        TrainingError: the disk is full or cannot be written; what was whole before is untouched.
    """
    try:
        yield
    except (OSError, RuntimeError, SafetensorError, CheckpointException) as error:
        if not _of_the_disk(error):
            raise
        shutil.rmtree(part, ignore_errors=True)
        free = shutil.disk_usage(folder).free / 1e6
        raise TrainingError(
            f"{folder}: the weights cannot be written ({first_line(error)}; {free:.1f} MB are free). Make room there and give "
            "the same command again, which goes on from the last whole checkpoint"
        ) from error


def saved_apart(folder: Path, tagger: Tagger) -> Path:
    """The folder of a tagger's weights, in `folder`, which becomes its checkpoint once everything is in it.

    Raises:
        TrainingError: like `saving`.
    """
    part = folder / "checkpoint.part"
    shutil.rmtree(part, ignore_errors=True)
    with saving(folder, part):
        checkpoint.save(part, tagger.engine.model, tagger.tokenizer)
    return part


def _of_the_disk(error: BaseException) -> bool:
    """Whether a file could not be written; torch says so with a RuntimeError from the depths of its writer."""
    marks = ("inline_container", "iostream", "No space left", "Errno")
    return isinstance(error, OSError | SafetensorError) or any(mark in str(error) for mark in marks)


class LossCheck(TrainerCallback):
    """Stops a run whose loss is no number, when it is logged: the weights are lost then, and cost no look at every step."""

    def __init__(self, config: RunConfig) -> None:
        self.config = config
        self.sound = 0

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """What a checkpoint holds is sound."""
        self.sound = state.global_step

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, Any] | None = None,
        **_: Any,
    ) -> None:
        """Raises TrainingError where the loss since the last log is infinite or not a number."""
        for name in ("loss", "train_loss"):
            value = (logs or {}).get(name, 0.0)
            if not math.isfinite(value):
                raise self.error(f"is {value} between steps {self.sound + 1} and {state.global_step}")
        self.sound = state.global_step

    def require_sound(self, model: nn.Module, step: int) -> None:
        """Raises TrainingError where a weight is no number, so that such weights are never saved."""
        if not all(bool(torch.isfinite(local(parameter)).all()) for parameter in model.parameters()):
            raise self.error(f"or its gradient was no number between steps {self.sound + 1} and {step}")

    def error(self, what: str) -> TrainingError:
        """One sentence of what happened, and what to change."""
        rates = f"optimizer.lr={self.config.optimizer.lr:g} and optimizer.head_lr={self.config.optimizer.head_lr:g}"
        half = ", or set bf16=false" if self.config.bf16 else ""
        return TrainingError(
            f"training diverged: the loss {what}. Nothing was written over. Lower the learning rates (now {rates}), raise "
            f"optimizer.warmup (now {self.config.optimizer.warmup:g}){half}, and give the new run another output=…"
        )


def local(parameter: torch.Tensor) -> torch.Tensor:
    """This process's part of a weight that is shared out among several, or all of it."""
    return parameter.to_local() if isinstance(parameter, DTensor) else parameter
