"""A run that is killed, or that finds no room, ends with the weights of one left alone; what was whole stays whole."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from forked import Trainings
from test_main_path import gold, write_run
from typer.testing import CliRunner

from annotations.errors import ConfigError, TrainingError
from annotations.storage import write_jsonl
from inference.tagger import Tagger
from training.cli import app
from training.config import RunConfig
from training.objective import Objective
from training.recipe import resolved
from training.run_directory import RunDirectory, alone, resolved_yaml
from training.safeguards import PART, last_checkpoint
from training.trainer import fine_tune, repeatable

QUIET = {"logging_steps": 1, "disable_tqdm": True}
STEPS: dict[str, object] = {
    "epochs": 3,
    "token_masking": 0.2,
    "batch_tokens": 96,
    "trainer": {"save_steps": 2, **QUIET},
}
VARIANTS: dict[str, dict[str, Any]] = {
    "as it comes": {},
    "accumulated": {"gradient_accumulation_steps": 2},
    "constant rate": {"lr_scheduler_type": "constant", "max_steps": 16, "save_total_limit": 2},
}
# Where a run is killed before it trains: while `config.yaml` is written, behind it, and while `inputs.json` is written.
BEGINNINGS = [
    ["pathlib:Path.replace", 1],
    ["training.run_directory:RunDirectory.write_json", 1],
    ["pathlib:Path.replace", 2],
]
# Where it is killed afterwards, one after the other: in a step, while a checkpoint is written, before the earlier one is removed,
# while the tagger is written, and before the run is finished.
DEATHS = [
    ["training.objective:Objective.__call__", 6],
    ["transformers:Trainer._save_rng_state", 1],
    ["training.safeguards:_by_step", 2],
    ["transformers:PreTrainedTokenizerBase.save_pretrained", 1],
    ["training.run_directory:RunDirectory.finish", 1],
]


class StoppedHereError(Exception):
    """Stands for whatever ends a run in the middle of a step."""


@pytest.fixture
def run_file(tmp_path: Path, encoders: Callable[[str], Path]) -> Path:
    """A run of six steps an epoch, with everything that draws random numbers."""
    write_jsonl(tmp_path / "gold.jsonl", gold(4))
    return write_run(tmp_path, "configs/schema.yaml", tmp_path / "gold.jsonl", encoders("bert"), **STEPS)


def weights(tagger: Tagger) -> dict[str, torch.Tensor]:
    return dict(tagger.engine.model.state_dict())


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(value, other[name]) for name, value in one.items())


def stopping(at: int) -> Callable[..., torch.Tensor]:
    """The objective, which stops the run when it is asked for the given time."""
    real, left = Objective.__call__, [at]

    def counted(*args: Any) -> torch.Tensor:
        left[0] -= 1
        if not left[0]:
            raise StoppedHereError
        return real(*args)

    return counted


@pytest.mark.parametrize("variant", VARIANTS)
def test_wherever_it_stops_it_ends_with_the_same_weights(
    variant: str, run_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = RunConfig.load(run_file)
    config = config.model_copy(update={"trainer": {**config.trainer, **VARIANTS[variant]}})
    whole = weights(fine_tune(config, gold(4), tmp_path / "whole"))
    # The last checkpoint lies in the middle of an epoch, and at the end of one.
    for stop in (10, 14):
        folder = tmp_path / str(stop)
        with monkeypatch.context() as patched:
            patched.setattr(Objective, "__call__", stopping(stop))
            with pytest.raises(StoppedHereError):
                fine_tune(config, gold(4), folder)
        assert last_checkpoint(folder)
        assert same(whole, weights(fine_tune(config, gold(4), folder))), stop
    # It was stopped after the last step, when the weights are trained and not yet written.
    assert same(whole, weights(fine_tune(config, gold(4), tmp_path / "whole")))


def test_killed_again_and_again_it_ends_as_if_it_had_not_been(tmp_path: Path, encoders: Callable[[str], Path]) -> None:
    trainings = Trainings(tmp_path, encoders("bert"), **STEPS)
    killed = [trainings.job("killed", die=death) for death in (*BEGINNINGS, *DEATHS)]
    others = [trainings.job("whole"), trainings.job("again"), trainings.job("other", "seed=1")]
    *deaths, last, whole, again, other = trainings.perform(*killed, trainings.job("killed"), *others)
    assert [end["ends"] for end in deaths] == [[-9]] * len(killed), trainings.told
    assert last["version"] == whole["version"] == again["version"] is not None
    assert other["version"] not in (None, whole["version"])
    one, two = (json.loads((tmp_path / name / "metrics.json").read_text()) for name in ("killed", "whole"))
    assert one == two
    assert not list((tmp_path / "killed").glob("*part*"))


def test_a_folder_with_another_config_is_of_something_else(run_file: Path, tmp_path: Path) -> None:
    place = RunDirectory(tmp_path / "run")
    config = resolved(RunConfig.load(run_file))
    place.write("config.yaml", resolved_yaml(config))
    place.examine(config, gold(4))
    for name, text in (("config.yaml", "seed: 1\n"), (".thesis.txt.7.part", "mine")):
        place.write("config.yaml", resolved_yaml(config))
        place.write(name, text)
        with pytest.raises(ConfigError, match="folder of something else"):
            place.examine(config, gold(4))


def test_threads_do_not_change_a_gradient() -> None:
    places = torch.randint(0, 1024, (60, 40))
    states, gradient = torch.randn(1024, 64, requires_grad=True), torch.randn(60, 40, 64)
    threads = torch.get_num_threads()
    torch.set_num_threads(4)
    try:
        with repeatable():
            found = [torch.autograd.grad(states[places], states, gradient)[0] for _ in range(20)]
    finally:
        torch.set_num_threads(threads)
    assert all(torch.equal(found[0], one) for one in found)
    assert not torch.are_deterministic_algorithms_enabled()


def test_what_a_kill_left_behind_is_never_gone_on_from(tmp_path: Path) -> None:
    for name, state in (("checkpoint-9", "{}"), ("checkpoint-10", "{}"), ("checkpoint-20", '{"half'), (PART, "{}")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "trainer_state.json").write_text(state)
    (tmp_path / "checkpoint-30").mkdir()
    assert last_checkpoint(tmp_path) == str(tmp_path / "checkpoint-10")
    assert {path.name for path in tmp_path.iterdir()} == {"checkpoint-9", "checkpoint-10"}
    assert last_checkpoint(tmp_path / "nowhere") is None


def test_an_earlier_run_that_was_set_aside_comes_back(run_file: Path, tmp_path: Path) -> None:
    for name in (".run.old", ".run.new"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "run.json").write_text("{}")
    result = CliRunner().invoke(app, ["train", str(run_file)])
    assert result.exit_code == 2
    assert "holds a finished run" in result.stderr
    assert (tmp_path / "run" / "run.json").exists()
    assert not (tmp_path / ".run.old").exists()


def test_a_folder_of_a_name_like_ours_is_left_alone(run_file: Path, tmp_path: Path) -> None:
    for name in ("run.old-2024-best", ".run.old"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "run.json").write_text("{}")
    assert CliRunner().invoke(app, ["train", str(run_file), "optimizer.lr=1e30"]).exit_code == 2
    assert not (tmp_path / "run" / "run.json").exists(), "no swap was under way"
    for _ in range(2):
        result = CliRunner().invoke(app, ["train", str(run_file), "epochs=1", f"output={tmp_path / 'good'}", "--force"])
        assert result.exit_code == 0, result.output
        (tmp_path / ".good.old").mkdir(exist_ok=True)
        (tmp_path / ".good.old" / "stale").write_text("of a swap that was killed")
    assert (tmp_path / "run.old-2024-best" / "run.json").exists()


HOLDING = (
    "import fcntl, os, sys; place = os.open(sys.argv[1], os.O_RDONLY); fcntl.flock(place, fcntl.LOCK_EX); "
    "print('held', flush=True); sys.stdin.read()"
)


def test_two_processes_never_work_in_one_folder(run_file: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    commands = {
        "another run is at work here; wait for its end, or choose output=…": ["train", "--force"],
        "another cross-validation or learning curve": ["crossval", "--no-baselines"],
        "or learning curve is at work": ["learning-curve"],
        "another search for suspect labels is at work here; wait for its end, or choose --output": [
            *("labels", "suspects", "--output", str(folder))
        ],
    }
    command = [sys.executable, "-c", HOLDING, str(folder)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout and other.stdout.readline() == "held\n"
        for message, words in commands.items():
            result = CliRunner().invoke(app, [*words, str(run_file)])
            assert result.exit_code == 2, result.output
            assert message in result.stderr
        assert not list(folder.iterdir())
        other.kill()
    assert CliRunner().invoke(app, ["train", str(run_file), "epochs=1"]).exit_code == 0


def test_a_lock_ends_with_its_block_and_leaves_no_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = tmp_path / "runs" / "one"

    def interrupted() -> None:
        with alone(place, "run"):
            assert place.is_dir()
            with pytest.raises(ConfigError, match="another run is at work"), alone(place, "run"):
                pass
            with monkeypatch.context() as second:
                second.setenv("RANK", "1")
                with alone(place, "run"):
                    raise StoppedHereError

    for _ in range(2):
        with pytest.raises(StoppedHereError):
            interrupted()
        assert not (tmp_path / "runs").exists()
    with alone(place, "run"):
        (place / "kept").touch()
    assert (place / "kept").exists()
    with pytest.raises(ConfigError, match="cannot be used as a folder"), alone(place / "kept" / "deeper", "run"):
        pass


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 8 MB."""
    place = tmp_path / "disk"
    place.mkdir()
    if (
        not shutil.which("mount")
        or subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(place)], capture_output=True, check=False
        ).returncode
    ):
        pytest.skip("mounting a tmpfs takes root")
    yield place
    subprocess.run(["umount", "--lazy", str(place)], check=True)


def test_a_full_disk_is_told_and_costs_nothing(small_disk: Path, encoders: Callable[[str], Path]) -> None:
    trainings = Trainings(small_disk, encoders("bert"), **STEPS)
    ballast = small_disk / "ballast"
    whole, killed, full, freed = trainings.perform(
        trainings.job("whole"),
        {"command": ["rm", "-r", str(small_disk / "whole")]},
        trainings.job("run", die=DEATHS[0]),
        # Room for little files and for none of weights.
        {"command": ["sh", "-c", f"cat /dev/zero >{ballast} 2>/dev/null; truncate --size=-60K {ballast}"]},
        trainings.job("run"),
        {"command": ["rm", str(ballast)]},
        trainings.job("run"),
    )
    assert [killed["ends"], full["ends"], freed["ends"]] == [[-9], [2], [0]], trainings.told
    assert f"{small_disk / 'run' / 'trainer'}: the weights cannot be written" in trainings.told
    assert "the same command again" in trainings.told
    assert "Traceback" not in trainings.told
    assert killed["kept"] == full["kept"] == ["checkpoint-4"]
    assert freed["version"] == whole["version"]


def test_a_file_that_may_not_grow_is_told(tmp_path: Path, encoders: Callable[[str], Path]) -> None:
    trainings = Trainings(tmp_path, encoders("bert"), **STEPS)
    last = "trainer={save_strategy: 'no', disable_tqdm: true}"
    jobs = [trainings.job(name, *more, largest_file=50_000) for name, more in (("a", []), ("b", [last]))]
    assert [end["ends"] for end in trainings.perform(*jobs)] == [[2], [2]]
    assert trainings.told.count("File too large") == 2
    assert not (tmp_path / "b" / "checkpoint").exists()
    assert not (tmp_path / "b" / "checkpoint.part").exists()


@pytest.mark.parametrize(
    "trainer", [{"save_steps": 5}, {"logging_steps": 100, "save_steps": 1}, {"save_strategy": "no"}]
)
def test_a_loss_that_is_no_number_stops_the_run(trainer: dict[str, Any], run_file: Path, tmp_path: Path) -> None:
    config = RunConfig.load(run_file, ["optimizer.lr=1e30", "optimizer.head_lr=1e30", "optimizer.warmup=0.3"])
    config = config.model_copy(update={"trainer": {**QUIET, **trainer}})
    with pytest.raises(TrainingError, match=r"steps \d+ and \d+\. .*optimizer.lr=1e\+30.*another output="):
        fine_tune(config, gold(4), tmp_path / "trainer")
    if kept := last_checkpoint(tmp_path / "trainer"):
        from safetensors.torch import load_file

        assert all(bool(value.isfinite().all()) for value in load_file(f"{kept}/model.safetensors").values())


def test_the_command_ends_with_status_2_when_training_diverges(run_file: Path) -> None:
    result = CliRunner().invoke(app, ["train", str(run_file), "optimizer.lr=1e30", "bf16=true"])
    assert result.exit_code == 2
    assert "training diverged" in result.stderr
    assert "bf16=false" in result.stderr
    assert not (run_file.parent / "run" / "run.json").exists()
