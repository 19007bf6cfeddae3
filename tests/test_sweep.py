"""Sweeps as a user runs them: real workers on a tiny encoder, killed, stopped, in parallel, on bad spaces."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import optuna
import pytest
import warm
import yaml
from conftest import ROOT
from test_main_path import cli, gold
from typer.testing import CliRunner

from annotations.errors import ConfigError, StandpointError
from annotations.storage import read_jsonl, write_jsonl
from training.cli import app
from training.config import RunConfig
from training.runs import train
from training.sweep.config import Parameter, Pruner, SweepConfig, base_run
from training.sweep.processes import environment_of
from training.sweep.run import sweep
from training.sweep.sampler import propose, write_study
from training.sweep.trials import FoldScore, State, Trial, Trials, best, falls_behind

SPACE = {
    "optimizer.lr": {"low": 1e-5, "high": 1e-2, "log": True},
    "batch_tokens": {"low": 96, "high": 384, "step": 96},
    "objective.class_weights": {"choices": [0.0, 0.5, 1.0]},
}


def write_sweep(folder: Path, encoder: Path, **more: Any) -> Path:
    """A sweep's YAML: six articles of which one is held out, two folds, three trials."""
    data = folder / "gold.jsonl"
    write_jsonl(data, gold(6))
    run = {
        "tagger": {
            "label_schema": "configs/schema.yaml",
            "window": {"tokens": 48, "context": 8},
            "reader": {"heads": 2},
        },
        "data": {"train": [str(data)], "held_out": ["article-3"]},
        "encoder": str(encoder),
        "batch_tokens": 96,
        "epochs": 1,
        "bf16": False,
    }
    values = {"run": run, "space": SPACE, "output": str(folder / "sweep"), "folds": 2, "trials": 3}
    path = folder / "sweep.yaml"
    path.write_text(yaml.safe_dump(values | {"sampler": {"startup": 2}} | more))
    return path


def trials(folder: Path) -> list[dict[str, Any]]:
    """What `trials.json` says of each trial, without times."""
    found = json.loads((folder / "trials.json").read_text())["trials"]
    for trial in found:
        del trial["seconds"]
        for fold in trial["folds"]:
            del fold["seconds"]
    return found


def refused(*arguments: str | Path) -> str:
    """What the command says when it refuses."""
    result = CliRunner().invoke(app, ["sweep", *map(str, arguments)])
    assert result.exit_code == 2, (result.output, result.exception)
    assert "Traceback" not in result.stderr
    return result.stderr


def until(true: Callable[[], Any], process: subprocess.Popen[str] | None = None) -> Any:
    """Wait for something to be true; its value."""
    for _ in range(30_000):
        if found := true():
            return found
        assert process is None or process.poll() is None, process.communicate()
        time.sleep(0.01)
    raise AssertionError("it never came true")


def started(*arguments: str | Path) -> AbstractContextManager[warm.Warm]:
    """The command in a process of its own, killed at the end if it still runs."""
    code = "from training.cli import main; main()"
    environment = os.environ | warm.FOR_CHILDREN
    command = [sys.executable, "-c", code, "sweep", *map(str, arguments)]
    return warm.started(command, env=environment, start_new_session=True)


def worker_at(folder: Path) -> int | None:
    """The process that trains now; its scratch folder has its number, and stays behind where it was killed."""
    return next((number for path in (folder / "scratch").glob("*") if not ended(number := int(path.name))), None)


def ended(process: int) -> bool:
    """Whether a process is gone; one that nobody waits for stays as a zombie."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


@pytest.fixture(scope="module", autouse=True)
def _warm() -> Iterator[None]:
    """Workers of a sweep in this process begin with torch loaded."""
    with warm.children():
        yield


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, encoders: Callable[[str], Path]) -> Path:
    """A folder with a whole sweep of three trials by one worker."""
    folder = tmp_path_factory.mktemp("sweep")
    os.chdir(ROOT)
    said = cli("sweep", write_sweep(folder, encoders("bert")))
    assert "Best: trial" in said
    assert "optimistic" in said
    return folder


def test_a_sweep_leaves_every_trial_once(finished: Path) -> None:
    found = trials(finished / "sweep")
    assert [trial["number"] for trial in found] == [0, 1, 2]
    assert {trial["state"] for trial in found} == {"complete"}
    for trial in found:
        assert [(fold["seed"], fold["fold"]) for fold in trial["folds"]] == [(0, 0), (0, 1)]
        assert trial["mean"] == pytest.approx(sum(fold["score"] for fold in trial["folds"]) / 2)
        for fold in trial["folds"]:
            assert set(fold["layers"]) == {"entity", "stance", "document"}
            assert fold["score"] == pytest.approx(sum(fold["layers"].values()) / 3)
    assert found[0]["parameters"] == {"optimizer.lr": 5e-4, "batch_tokens": 96, "objective.class_weights": 0.5}
    assert len({json.dumps(trial["parameters"]) for trial in found}) == 3
    assert not (finished / "sweep" / "scratch").exists()


def test_groups_held_out_are_never_used(finished: Path) -> None:
    groups = Counter(document.group for document in read_jsonl(finished / "sweep" / "documents.jsonl"))
    assert set(groups) == {f"article-{number}" for number in (0, 1, 2, 4, 5)}


def test_a_text_in_several_groups_is_said(tmp_path: Path, encoders: Callable[[str], Path]) -> None:
    path = write_sweep(tmp_path, encoders("bert"))
    write_jsonl(tmp_path / "gold.jsonl", [*gold(6), gold(1)[0].model_copy(update={"id": "copy", "group": "other"})])
    result = CliRunner().invoke(app, ["sweep", str(path), "--minutes", "0"])
    assert result.exit_code == 0, result.output
    assert "warning: data: one text is in several groups, as documents '0-1' (article-0)" in result.stderr


def test_table_picture_and_study_tell_the_same(finished: Path) -> None:
    folder = finished / "sweep"
    table = (folder / "trials.md").read_text()
    rows = [line for line in table.splitlines() if line.startswith("| ") and not line.startswith("| trial")]
    assert len(rows) == 3
    assert "optimistic" in table
    assert "Trial 0 is the run as it was" in table
    assert "micro F1 and macro F1, mean over layers" in table
    picture = ElementTree.parse(folder / "trials.svg")
    assert len(picture.findall(".//{http://www.w3.org/2000/svg}circle")) == 3 * len(SPACE)
    storage = optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend(str(folder / "study.log")))
    study = optuna.load_study(study_name="sweep", storage=storage)
    found = trials(folder)
    assert [trial.value for trial in study.trials] == [trial["mean"] for trial in found]
    assert study.best_trial.number == json.loads((folder / "trials.json").read_text())["best"]


def test_the_best_settings_train(finished: Path) -> None:
    path = finished / "sweep" / "best.yaml"
    config = RunConfig.load(path)
    number = json.loads((finished / "sweep" / "trials.json").read_text())["best"]
    wanted = trials(finished / "sweep")[number]["parameters"]
    assert config.optimizer.lr == wanted["optimizer.lr"]
    assert config.batch_tokens == wanted["batch_tokens"]
    assert config.objective.class_weights == wanted["objective.class_weights"]
    assert f"# Run: standpoint train {path}" in path.read_text()
    done = train(config)
    assert done
    assert "article-3, which the tagger never saw" in (finished / "sweep" / "best" / "report.txt").read_text()


def test_a_killed_worker_a_killed_sweep_and_a_stopped_one_lose_no_trial(
    finished: Path, tmp_path: Path, encoders: Callable[[str], Path]
) -> None:
    path, folder = write_sweep(tmp_path, encoders("bert")), tmp_path / "sweep"
    with started(path, "--trials", "2") as process:
        worker = until(lambda: worker_at(folder), process)
        assert "another sweep is at work" in refused(path)
        process.send_signal(signal.SIGINT)
        assert f"the same command goes on from {folder}" in process.communicate(timeout=600)[1]
        assert process.returncode == 130
    assert ended(worker)
    with started(path) as process:
        until(lambda: (folder / "trials" / "0000" / "seed-0-fold-0.json").exists(), process)
        os.kill(until(lambda: worker_at(folder), process), signal.SIGKILL)
        until(lambda: (folder / "trials" / "0001" / "seed-0-fold-0.json").exists(), process)
        worker = until(lambda: worker_at(folder), process)
        process.kill()
        until(lambda: ended(worker))
        assert "ended by signal 9; the fold begins again" in process.communicate()[1]
    kept = {file: file.stat().st_mtime_ns for file in folder.rglob("seed-*.json")}
    assert 3 <= len(kept) < 6
    cli("sweep", path)
    assert trials(folder) == trials(finished / "sweep")
    assert {file: file.stat().st_mtime_ns for file in kept} == kept


def test_an_interruption_while_the_study_is_written_is_told_as_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings, remove = settings_of(tmp_path), os.unlink

    def removed(path: Any, **more: Any) -> None:
        """Ctrl-C comes just after Optuna has given a lock back."""
        remove(path, **more)
        if str(path).endswith(".rename"):
            raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("optuna.storages.journal._file.os.unlink", removed)
        with suppress(KeyboardInterrupt):
            write_study(settings, [], tmp_path / "study.log")
    write_study(settings, [], tmp_path / "study.log")
    assert "study.log" in [file.name for file in tmp_path.iterdir()]
    assert not [file.name for file in tmp_path.iterdir() if "part" in file.name]


def test_two_workers_share_the_trials(tmp_path: Path, encoders: Callable[[str], Path]) -> None:
    path, folder = write_sweep(tmp_path, encoders("bert"), trials=5, pruner=None), tmp_path / "sweep"
    cli("sweep", path, "--workers", "2")
    found = trials(folder)
    assert [(trial["number"], trial["state"]) for trial in found] == [(number, "complete") for number in range(5)]
    assert len({json.dumps(trial["parameters"]) for trial in found}) == 5
    assert {len(trial["folds"]) for trial in found} == {2}
    assert len(list((folder / "logs").glob("worker-*.log"))) == 2


def test_a_trial_that_diverges_or_cannot_be_is_recorded_and_the_sweep_goes_on(
    tmp_path: Path, encoders: Callable[[str], Path]
) -> None:
    space = {"optimizer.lr": {"choices": [5e-4, 1e30]}, "tagger.window.tokens": {"choices": [48, 4096]}}
    path = write_sweep(tmp_path, encoders("bert"), space=space, trials=6, sampler={"name": "random", "seed": 1})
    said = cli("sweep", path)
    assert "Best: trial" in said
    found = trials(tmp_path / "sweep")
    assert [trial["number"] for trial in found] == list(range(6))
    for trial in found:
        if trial["parameters"]["tagger.window.tokens"] == 4096:
            assert "reads at most" in trial["reason"]
        elif trial["parameters"]["optimizer.lr"] == 1e30:
            assert "training diverged" in trial["reason"]
        else:
            assert trial["state"] == "complete"
    assert {trial["state"] for trial in found} == {"complete", "failed"}
    reasons = " ".join(trial["reason"] or "" for trial in found)
    assert "reads at most" in reasons
    assert "training diverged" in reasons


def test_a_trial_plainly_worse_ends_early(tmp_path: Path, encoders: Callable[[str], Path]) -> None:
    path, folder = write_sweep(tmp_path, encoders("bert"), folds=5, trials=4), tmp_path / "sweep"
    told = yaml.safe_load(path.read_text()) | {"pruner": {"startup": 3}}
    path.write_text(yaml.safe_dump(told))
    assert "0 of 4 trials are done" in cli("sweep", path, "--minutes", "0")
    files = Trials(folder / "trials", [(0, fold) for fold in range(5)])
    for number in range(3):
        parameters = {"optimizer.lr": 1e-3, "batch_tokens": 192, "objective.class_weights": 0.5}
        files.keep(Trial(number, parameters, State.COMPLETE))
        for fold in range(5):
            score = {"seed": 0, "fold": fold, "score": 1.0, "layers": {"entity": 1.0}, "seconds": 1.0}
            (folder / "trials" / f"{number:04d}" / f"seed-0-fold-{fold}.json").write_text(json.dumps(score))
    cli("sweep", path)
    found = trials(folder)
    assert [trial["state"] for trial in found] == ["complete"] * 3 + ["pruned"]
    assert len(found[3]["folds"]) == 2
    assert "| pruned |" in (folder / "trials.md").read_text()


def test_other_inputs_in_the_same_folder_are_refused(finished: Path) -> None:
    path, before = finished / "sweep.yaml", (finished / "sweep" / "trials.json").read_bytes()
    assert "another space" in refused(path, "space.optimizer.lr.high=0.5")
    assert "another folds, seeds" in refused(path, "folds=3", "seeds=[1]")
    assert "another config" in refused(path, "run.epochs=2")
    assert "another data, config" in refused(path, "run.data.held_out=[]")
    assert (finished / "sweep" / "trials.json").read_bytes() == before
    foreign = finished / "foreign"
    foreign.mkdir()
    (foreign / "thesis.txt").write_text("mine")
    assert "folder of something else" in refused(path, f"output={foreign}")
    assert [file.name for file in foreign.iterdir()] == ["thesis.txt"]


@pytest.mark.parametrize(
    ("overrides", "parts"),
    [
        (["space.optimizer.lrr.low=1", "space.optimizer.lrr.high=2"], ["optimizer.lrr", "did you mean 'lr'"]),
        (["space.optimizer.lr.low=-1", "space.optimizer.lr.log=false"], ["optimizer.lr", "greater than 0", "-1"]),
        (["space.dropout={low: 0.1, high: 1.5}"], ["dropout", "less than 1", "1.5"]),
        (["space.batch_tokens.step=0.5"], ["batch_tokens holds whole numbers"]),
        (["space.batch_tokens={low: 1.5, high: 3}"], ["batch_tokens", "1.5"]),
        (["space.bf16={low: 0, high: 1}"], ["bf16 is true or false"]),
        (["space.seed={low: 0, high: 9}"], ["seed cannot be searched", "`seeds`"]),
        (["space.data.held_out={choices: [a, b]}"], ["data.held_out cannot be searched"]),
        (["space.trainer.lerning_rate={low: 1, high: 2}"], ["did you mean 'learning_rate'"]),
        (["space.optimizer.lr.choices=[1, 2]"], ["space.optimizer.lr", "parts of both"]),
        (["space.optimizer.lr.hihg=2"], ["did you mean 'high'"]),
        (["space.epochs={low: 5}"], ["space.epochs", "`low` and `high`"]),
        (["space.epochs={low: 5, high: 5}"], ["must be less than"]),
        (["space.epochs={low: 0, high: 5, log: true}"], ["log needs a positive low"]),
        (["space.epochs={low: 1, high: 6, step: 2}"], ["whole number of steps"]),
        (["space.encoder={choices: [default]}"], ["at least two different values"]),
        (["space.encoder={choices: [default, default]}"], ["at least two different values"]),
        (["space=null"], ["space"]),
        (["layer=stanze"], ["did you mean 'stance'"]),
        (["layer=entity", "measure=accuracy"], ["accuracy is not defined for spans"]),
        (["folds=1"], ["folds"]),
        (["folds=6"], ["5 groups cannot be dealt to 6 folds"]),
        (["run.epoch=3"], ["run: epoch", "did you mean 'epochs'"]),
        (["run.data.held_out=[nobody]"], ["no group 'nobody'"]),
        (["run.encoder=no/such"], ["neither a complete folder"]),
        (["space.optimizer.lrr={low: 1, high: 2}", "space.dropout={low: -1, high: 0.5}"], ["lrr", "dropout"]),
    ],
)
def test_a_wrong_setting_is_refused_before_any_trial(
    overrides: list[str], parts: list[str], tmp_path: Path, encoders: Callable[[str], Path]
) -> None:
    said = refused(write_sweep(tmp_path, encoders("bert")), *overrides)
    for part in parts:
        assert part in said, said
    assert not (tmp_path / "sweep" / "trials").exists()


def test_a_fold_without_a_layer_is_refused(tmp_path: Path, encoders: Callable[[str], Path]) -> None:
    path = write_sweep(tmp_path, encoders("bert"))
    documents = gold(6)
    lacking = [d.with_labels({"stance": d.labels["stance"]}) if d.group == "article-1" else d for d in documents]
    write_jsonl(tmp_path / "gold.jsonl", lacking)
    said = refused(path, "layer=entity", "folds=null")
    assert "article-1 has nothing to score on" in said
    assert "nothing to score on that annotates entity" in said


def test_a_sweep_without_optuna_names_the_extra(tmp_path: Path, encoders: Callable[[str], Path]) -> None:
    path = write_sweep(tmp_path, encoders("bert"))
    code = f"import sys; sys.modules['optuna'] = None; sys.argv = ['standpoint', 'sweep', {str(path)!r}]\n"
    code += "from training.cli import main\nmain()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "pip install '.[sweep]'" in done.stderr


def test_a_space_is_written_dotted_or_nested(tmp_path: Path, encoders: Callable[[str], Path]) -> None:
    path = write_sweep(tmp_path, encoders("bert"))
    nested = {"optimizer": {"lr": SPACE["optimizer.lr"]}, "batch_tokens": SPACE["batch_tokens"]}
    nested["objective"] = {"class_weights": SPACE["objective.class_weights"]}
    values = yaml.safe_load(path.read_text())
    assert SweepConfig.build(values | {"space": nested}, where="t") == SweepConfig.build(values, where="t")
    narrower = SweepConfig.build(values, where="t", overrides=["space.optimizer.lr.low=1e-4"])
    assert narrower.space["optimizer.lr"].low == 1e-4
    assert narrower.space["optimizer.lr"].high == 1e-2


def test_the_shipped_sweep_fits_the_settings_of_a_run() -> None:
    settings = SweepConfig.load(ROOT / "configs" / "sweep.yaml")
    config = base_run(settings)
    assert not any("annotations" in str(path) for path in config.data.train)


def settings_of(tmp_path: Path, **more: Any) -> SweepConfig:
    """Settings whose data and encoder nobody looks at."""
    return SweepConfig.load(write_sweep(tmp_path, Path("none"), **more))


def scored(number: int, parameters: dict[str, Any], scores: list[float], state: State = State.COMPLETE) -> Trial:
    folds = tuple(FoldScore(0, fold, score, {"entity": score}, 1.0) for fold, score in enumerate(scores))
    return Trial(number, parameters, state, None, folds)


@pytest.mark.parametrize("name", ["tpe", "random"])
def test_the_same_history_proposes_the_same_values(name: str, tmp_path: Path) -> None:
    settings = settings_of(tmp_path, sampler={"name": name, "startup": 3})
    history: list[Trial] = []
    for number in range(8):
        values = propose(settings, history)
        assert propose(settings, history) == values
        assert all(settings.space[key].holds(value) for key, value in values.items()), values
        assert isinstance(values["batch_tokens"], int)
        state = State.FAILED if number == 1 else State.RUNNING if number == 2 else State.COMPLETE
        history.append(scored(number, values, [0.1 * number, 0.2], state))
    other = settings_of(tmp_path, sampler={"name": name, "startup": 3, "seed": 1})
    assert propose(other, history) != propose(settings, history)


def test_the_estimator_looks_where_scores_are_high(tmp_path: Path) -> None:
    settings = settings_of(tmp_path, space={"dropout": {"low": 0.0, "high": 0.9}}, sampler={"startup": 5})
    history: list[Trial] = []
    for number in range(30):
        values = propose(settings, history)
        history.append(scored(number, values, [1 - abs(float(values["dropout"] or 0) - 0.3)]))
    late = [float(trial.parameters["dropout"] or 0) for trial in history[20:]]
    assert sum(abs(value - 0.3) for value in late) / 10 < 0.1


def test_falling_behind_is_judged_on_the_same_folds() -> None:
    others = [scored(number, {}, [0.9, 0.5, 0.7]) for number in range(3)]
    pruner = Pruner(startup=3, warmup=1)
    worse = scored(3, {}, [0.95, 0.3], State.RUNNING)
    assert falls_behind(worse, others, pruner)
    assert not falls_behind(scored(3, {}, [0.1], State.RUNNING), others, pruner)
    assert not falls_behind(scored(3, {}, [0.9, 0.5], State.RUNNING), others, pruner)
    assert not falls_behind(worse, others[:2], pruner)
    assert not falls_behind(worse, [*others[:2], scored(2, {}, [0.9, 0.9], State.PRUNED)], pruner)
    assert not falls_behind(worse, others, None)


def test_the_best_is_complete_and_the_earliest_of_equals() -> None:
    found = [
        scored(0, {}, [0.4, 0.4]),
        scored(1, {}, [0.5, 0.5]),
        scored(2, {}, [0.4, 0.6]),
        scored(3, {}, [0.9], State.PRUNED),
    ]
    chosen = best(found)
    assert chosen
    assert chosen.number == 1
    assert best(found[3:]) is None


def test_when_every_trial_fails_the_reason_is_told(tmp_path: Path, encoders: Callable[[str], Path]) -> None:
    space = {"tagger.window.tokens": {"low": 4096, "high": 8192}}
    settings = SweepConfig.load(write_sweep(tmp_path, encoders("bert"), space=space, trials=2))
    with pytest.raises(StandpointError, match=r"none of 2 trials could be trained; the first: .*reads at most"):
        sweep(settings, workers=1, minutes=None, say=lambda _: None)
    assert not (tmp_path / "sweep" / "best.yaml").exists()


@pytest.mark.parametrize(
    ("value", "inside"), [(2, True), (8, True), (3, False), (10, False), (None, False), (True, False)]
)
def test_a_parameter_knows_what_it_holds(value: Any, inside: bool) -> None:
    assert Parameter(low=2, high=8, step=2).holds(value) is inside
    assert Parameter(choices=(None, "a")).holds(None)
    assert Parameter(choices=(10, 30)).holds(30.0)
    assert not Parameter(choices=(0, "a")).holds(False)


def test_workers_share_threads_and_accelerators(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert environment_of(0, 3, 8, 0) == {"OMP_NUM_THREADS": "2"}
    assert environment_of(1, 4, 2, 1) == {"OMP_NUM_THREADS": "1"}
    assert environment_of(3, 4, 4, 2) == {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "1"}
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,6")
    assert environment_of(1, 2, 4, 2)["CUDA_VISIBLE_DEVICES"] == "6"


def test_a_run_is_named_by_its_file_too(tmp_path: Path) -> None:
    settings = settings_of(tmp_path, run="configs/train.yaml", run_overrides=["epochs=7", "nonsense.x=1"])
    with pytest.raises(ConfigError, match="nonsense"):
        base_run(settings)
    config = base_run(settings.model_copy(update={"run_overrides": ("epochs=7",)}))
    assert config.epochs == 7
    assert config.output == tmp_path / "sweep" / "best"
