"""An output folder holds one kind of work, and nothing that goes on in it takes another's for its own."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from test_main_path import gold, write_run
from typer.testing import CliRunner

from annotations.errors import ConfigError
from annotations.storage import write_jsonl
from training import crossval
from training.cli import app
from training.config import RunConfig
from training.recipe import resolved
from training.run_directory import RunDirectory, alone

RUN, FOLDED, SUSPECTS = "run", "cross-validation or learning curve", "search for suspect labels"
LEFT = {
    RUN: ["trainer/checkpoint-5/model.safetensors"],
    FOLDED: ["folds/seed-0/one.jsonl", "folds/3-fold/seed-0/one.jsonl", "curve/seed-0/one/2.jsonl"],
    SUSPECTS: ["probabilities/seed-0/one.npz"],
    "sweep": ["trials/0000/trial.json"],
}
"""What a kill leaves of each kind of work; spelled out, since earlier versions left the same."""


@pytest.fixture
def run_file(tmp_path: Path, encoders: Callable[[str], Path]) -> Path:
    write_jsonl(tmp_path / "gold.jsonl", gold(3))
    return write_run(tmp_path, "configs/schema.yaml", tmp_path / "gold.jsonl", encoders("bert"))


def claimed(run_file: Path) -> RunDirectory:
    """The config's folder as any kind of work finds it when it begins."""
    config = resolved(RunConfig.load(run_file))
    run = RunDirectory(config.output)
    run.begin(config, gold(3))
    return run


def files(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize(("held", "trace"), [(held, trace) for held, traces in LEFT.items() for trace in traces])
def test_a_folder_with_another_kind_of_work_is_refused(
    held: str, trace: str, run_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = claimed(run_file)
    (run.path / trace).parent.mkdir(parents=True)
    (run.path / trace).write_text("hours of work")
    # Earlier versions trained folds there.
    if held == FOLDED:
        (run.trainer / "checkpoint-9").mkdir(parents=True)
    before, sweep = files(run.path), run_file.with_name("sweep.yaml")
    space = {"optimizer.lr": {"low": 0.001, "high": 0.01}}
    sweep.write_text(yaml.safe_dump({"run": str(run_file), "output": str(run.path), "space": space, "folds": 2}))
    commands = {
        RUN: [["train", run_file], ["train", run_file, "--force"], ["check", run_file, "--quick"]],
        FOLDED: [["crossval", run_file, "--no-baselines"], ["learning-curve", run_file]],
        SUSPECTS: [["labels", "suspects", run_file, "--output", run.path]],
        "sweep": [["sweep", sweep]],
    }
    monkeypatch.setattr("training.crossval.learn", None)
    for command in [words for work, every in commands.items() if work != held for words in every]:
        result = CliRunner().invoke(app, [*map(str, command)])
        assert result.exit_code == 2, (command, result.output)
        assert f"{run.path}" in result.output
        assert f"holds a {held}, begun or finished; choose another output folder" in result.output
    assert files(run.path) == before


def test_what_may_be_the_fold_of_an_earlier_version_is_said(run_file: Path) -> None:
    (claimed(run_file).trainer / "checkpoint-9").mkdir(parents=True)
    result = CliRunner().invoke(app, ["crossval", str(run_file), "--no-baselines"])
    assert result.exit_code == 2
    assert "or remove `trainer` from it where an earlier version was killed" in result.stderr


def test_a_finished_run_is_no_place_for_folds(run_file: Path) -> None:
    run = claimed(run_file)
    run.finish({})
    result = CliRunner().invoke(app, ["crossval", str(run_file), "--no-baselines"])
    assert result.exit_code == 2
    assert "holds a run, begun or finished" in result.stderr and "remove `trainer`" not in result.stderr


def test_a_run_never_goes_on_from_a_fold(run_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trained: list[Path] = []

    def killed(config: RunConfig, documents: object, folder: Path, **_: Any) -> Any:
        trained.append(folder)
        (folder / "checkpoint-5").mkdir(parents=True)
        raise KeyboardInterrupt

    monkeypatch.setattr(crossval, "learn", killed)
    assert CliRunner().invoke(app, ["crossval", str(run_file), "--no-baselines"]).exit_code == 130
    run = RunDirectory(RunConfig.load(run_file).output)
    assert trained[0].is_relative_to(run.path)
    assert not run.trainer.exists()
    # Nothing of the cross-validation is kept yet, so the folder may become a run's.
    run.begin(resolved(RunConfig.load(run_file)), gold(3))
    assert sorted(path.name for path in run.path.iterdir()) == ["config.yaml", "inputs.json"]


def test_what_a_link_points_to_is_replaced_again_and_again(run_file: Path, tmp_path: Path) -> None:
    disk, output = tmp_path / "disk" / "one", tmp_path / "runs" / "one"
    for folder in (disk.parent, output.parent):
        folder.mkdir()
    output.symlink_to(disk)
    command = ["train", str(run_file), f"output={output}", "--force"]
    for seed in range(3):
        result = CliRunner().invoke(app, [*command, f"seed={seed}"])
        assert result.exit_code == 0, (result.output, result.exception)
        assert f"Run: {output}" in result.stdout
        assert output.is_symlink()
        assert RunConfig.load(disk / "config.yaml").seed == seed
        assert [path.name for path in (*disk.parent.iterdir(), *output.parent.iterdir())] == ["one", "one"]
    assert CliRunner().invoke(app, command[:-1]).exit_code == 2


def test_a_link_that_leads_nowhere_is_refused(run_file: Path, tmp_path: Path) -> None:
    output = tmp_path / "round"
    output.symlink_to(output)
    result = CliRunner().invoke(app, ["train", str(run_file), f"output={output}"])
    assert result.exit_code == 2
    assert "cannot be used as a folder" in result.stderr


def test_what_is_in_the_way_of_a_swap_is_told_before_training(run_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = claimed(run_file)
    run.finish({})
    before, other = files(run.path), run.path.with_name(".run.old")
    # An earlier version left such a link where the output was one.
    other.symlink_to(run_file.parent / "elsewhere")
    monkeypatch.setattr("training.runs.learn", None)
    result = CliRunner().invoke(app, ["train", str(run_file), "--force"])
    assert result.exit_code == 2
    assert f"{other}: is where --force sets the earlier run aside, and cannot be removed" in result.stderr
    assert other.is_symlink()
    assert files(run.path) == before


FORKING = """
import os, sys, time
from pathlib import Path
from training.run_directory import alone
with alone(Path(sys.argv[1]), "run"):
    if os.fork() == 0:
        print("held", flush=True)
        sys.stdin.read()
        os._exit(0)
    time.sleep(60)
"""


def test_a_lock_ends_with_its_process_whatever_that_has_forked(tmp_path: Path) -> None:
    folder, command = tmp_path / "run", [sys.executable, "-c", FORKING, str(tmp_path / "run")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        try:
            assert other.stdout and other.stdout.readline() == "held\n"
            with pytest.raises(ConfigError, match="another run is at work"), alone(folder, "run"):
                pass
        finally:
            other.kill()
            other.wait()
        # The forked process lives until its standard input is closed.
        with alone(folder, "run"):
            assert folder.is_dir()
