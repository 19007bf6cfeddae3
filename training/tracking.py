"""Where a run's losses and rates can be watched: TensorBoard's event files, or the trackers that transformers knows.

It knows logs, not what is learned. The one door to TensorBoard.
"""

from __future__ import annotations

import shutil
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.integrations.integration_utils import rewrite_logs

from annotations.errors import ConfigError, to_install

TENSORBOARD = "tensorboard"
REMEDIES = {
    TENSORBOARD: to_install("tracking"),
    "mlflow": "pip install mlflow",
    "wandb": "pip install wandb",
}


class EventWriter(TrainerCallback):
    """Writes what the Trainer logs into TensorBoard's event files; a run that goes on adds to those of its first part."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.writer: Any = None

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Open a file in the first process; what a killed run wrote beyond its last checkpoint no longer counts."""
        if not state.is_world_process_zero:
            return
        from torch.utils.tensorboard import SummaryWriter

        if not state.global_step:
            shutil.rmtree(self.folder, ignore_errors=True)
        # A disk too full for curves may still hold the run, here as below.
        with suppress(OSError):
            self.writer = SummaryWriter(str(self.folder), purge_step=state.global_step + 1)

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, Any] | None = None,
        **_: Any,
    ) -> None:
        """One point in each curve, named as transformers names them (`train/loss`)."""
        if self.writer is None:
            return
        try:
            for name, value in rewrite_logs(logs or {}).items():
                if isinstance(value, int | float):
                    self.writer.add_scalar(name, value, state.global_step)
            self.writer.flush()
        except OSError:
            self.writer = None

    def on_train_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Close the file."""
        if self.writer is not None:
            with suppress(OSError):
                self.writer.close()
            self.writer = None


def named(trainer: dict[str, Any]) -> list[str] | None:
    """The trackers that `trainer.report_to` names; None where it names none, nor says `none`."""
    chosen = trainer.get("report_to")
    if chosen is None:
        return None
    names = [chosen] if isinstance(chosen, str) else list(chosen)
    return [] if names == ["none"] else names


def require_trackers(trainer: dict[str, Any]) -> None:
    """Raise ConfigError where `trainer.report_to` names a tracker whose package is not installed."""
    absent = [name for name in named(trainer) or [] if name in REMEDIES and find_spec(name) is None]
    if absent:
        raise ConfigError("trainer.report_to", [f"{name!r} is not installed; {REMEDIES[name]}" for name in absent])


def event_writers(trainer: dict[str, Any], folder: Path) -> list[TrainerCallback]:
    """What writes event files into a folder: TensorBoard, where it is installed and `report_to` does not choose otherwise."""
    chosen = named(trainer)
    wanted = chosen is None or TENSORBOARD in chosen or chosen == ["all"]
    return [EventWriter(folder)] if wanted and find_spec(TENSORBOARD) is not None else []
