"""What a run logs can be read back from where it was kept; without a tracker a run is as good as with one."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from test_main_path import gold, write_run
from typer.testing import CliRunner

from annotations.errors import ConfigError
from annotations.storage import write_jsonl
from training import runs
from training.cli import app
from training.config import RunConfig
from training.objective import Objective
from training.tracking import event_writers, require_trackers

QUIET = {"logging_steps": 1, "save_steps": 2, "disable_tqdm": True}


@pytest.fixture
def run_file(tmp_path: Path, encoders: Callable[[str], Path]) -> Path:
    write_jsonl(tmp_path / "gold.jsonl", gold(2))
    return write_run(
        tmp_path,
        "configs/schema.yaml",
        tmp_path / "gold.jsonl",
        encoders("bert"),
        epochs=4,
        batch_tokens=192,
        trainer=QUIET,
    )


def without(monkeypatch: pytest.MonkeyPatch, package: str) -> None:
    """As where a package is not installed."""
    real = importlib.util.find_spec
    monkeypatch.setattr("training.tracking.find_spec", lambda name: None if name == package else real(name))


def losses(folder: Path) -> dict[int, float]:
    """Step to loss, as TensorBoard shows it."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder))
    events.Reload()
    return {point.step: point.value for point in events.Scalars("train/loss")}


def test_events_hold_the_losses_also_of_a_run_that_was_interrupted(
    run_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("tensorboard", reason="needs the package tensorboard")
    config = RunConfig.load(run_file)
    runs.train(config)
    whole = losses(tmp_path / "run" / "tensorboard")
    assert list(whole) == list(range(1, 13))
    assert all(value > 0 for value in whole.values())

    real, calls = Objective.__call__, []

    def stopping(*args: Any) -> Any:
        calls.append(1)
        if len(calls) == 6:
            raise KeyboardInterrupt
        return real(*args)

    other = config.model_copy(update={"output": tmp_path / "other"})
    with monkeypatch.context() as patched:
        patched.setattr(Objective, "__call__", stopping)
        with pytest.raises(KeyboardInterrupt):
            runs.train(other)
    assert len(losses(tmp_path / "other" / "tensorboard")) == 5
    runs.train(other)
    assert losses(tmp_path / "other" / "tensorboard") == whole


def test_without_tensorboard_a_run_is_as_good(run_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    without(monkeypatch, "tensorboard")
    runs.train(RunConfig.load(run_file))
    assert not (tmp_path / "run" / "tensorboard").exists()
    assert json.loads((tmp_path / "run" / "run.json").read_text())["model_version"]


@pytest.mark.parametrize(
    ("chosen", "written"),
    [
        (None, True),
        ("tensorboard", True),
        (["wandb", "tensorboard"], True),
        ("all", True),
        ("none", False),
        ([], False),
    ],
)
def test_report_to_chooses(chosen: Any, written: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("training.tracking.find_spec", lambda _: object())
    trainer = {} if chosen is None else {"report_to": chosen}
    assert bool(event_writers(trainer, tmp_path)) is written
    require_trackers(trainer)


@pytest.mark.parametrize("name", ["tensorboard", "mlflow", "wandb"])
def test_a_tracker_that_is_not_installed_is_told_before_anything_begins(
    name: str, run_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    without(monkeypatch, name)
    with pytest.raises(ConfigError, match=f"'{name}' is not installed; pip install"):
        require_trackers({"report_to": [name]})
    result = CliRunner().invoke(app, ["train", str(run_file), f"trainer.report_to={name}"])
    assert result.exit_code == 2
    assert not (tmp_path / "run").exists()


def test_nothing_but_a_run_writes_events(run_file: Path, tmp_path: Path) -> None:
    for command in (["check", str(run_file)], ["crossval", str(run_file), "--seeds", "0", "--no-baselines"]):
        result = CliRunner().invoke(app, command)
        assert result.exit_code == 0, result.stderr
        assert not list(tmp_path.rglob("*tfevents*"))
