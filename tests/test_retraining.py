"""When the backend retrains, what a job does, and that neither storms nor kills lose or double anything."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT, annotate
from hypothesis import given
from hypothesis import strategies as st
from service_help import make_checkpoint
from test_main_path import SENTENCES, gold
from test_ml_backend import PROJECT, STARTED, TOKEN, Serving, start, write_serve
from warm import Warm

from annotations.document import Document
from annotations.errors import ConfigError, DocumentError, ServerError
from annotations.schema import Schema
from annotations.storage import read_jsonl, write_jsonl
from inference.checkpoint_files import version
from inference.config import TaggerConfig
from inference.model_store import ModelStore
from inference.tagger import Tagger
from inference.verification import verify
from training.config import RunConfig
from training.lineage import LINEAGE, text_hash
from training.retraining import changes as retrain_changes
from training.retraining import job as retrain_job
from training.retraining import jobs as retrain_jobs
from training.retraining import learner as retrain_learner
from training.retraining.changes import Changes
from training.retraining.config import ServeConfig
from training.retraining.data import divide
from training.retraining.jobs import Job, State, find, jobs
from training.retraining.learner import Retraining, Trigger
from training.retraining.serving import check, serve

# A backend whose jobs run another script than the real one.
SERVE = """
import sys
from training.retraining.config import ServeConfig
from training.retraining.serving import serve
serve(ServeConfig.load(sys.argv[1]), lambda text: print(text, flush=True), [sys.executable, *sys.argv[2:]])
"""
# The real job, but for the server that it would pull from.
JOB = """
import os, sys
from pathlib import Path
from training.retraining import job as retrain_job
folder = Path(sys.argv[2])
def pull(settings, schema):
    with (folder.parent / "pulls").open("a") as out:
        out.write("pulled\\n")
    return Path(sys.argv[1]), {"documents": 1}
retrain_job._pull = pull
(folder / "pid").write_text(str(os.getpid()))
retrain_job.main(folder)
"""
# No work at all.
STUB = """
import json, os, sys, time
time.sleep(0.5)
path = sys.argv[1] + "/status.json"
status = json.load(open(path)) | {"state": "kept", "reason": "nothing was done"}
json.dump(status, open(path + ".part", "w"))
os.replace(path + ".part", path)
"""


def script(folder: Path, name: str, text: str) -> str:
    path = folder / f"{name}.py"
    path.write_text(text)
    return str(path)


def event(serving: Serving, number: int, action: str = "ANNOTATION_CREATED") -> None:
    body = {"action": action, "project": {"id": PROJECT}, "task": {"id": number}}
    body |= {"annotations": [{"id": number}]} if action == "ANNOTATIONS_DELETED" else {"annotation": {"id": number}}
    assert serving.post("/webhook", body) == (200, {})


def ask_for_training(serving: Serving) -> str:
    status, answer = serving.post("/webhook", {"action": "START_TRAINING", "project": {"id": PROJECT}})
    assert status == 200
    return str(answer["job"])


def finished(serving: Serving, job: str) -> Callable[[], dict[str, Any] | None]:
    def look() -> dict[str, Any] | None:
        status, answer = serving.post("/job_status", {"job": job})
        assert status == 200
        return answer if answer["job_status"] in ("swapped", "kept", "failed") else None

    return look


def ended(pid: int) -> bool:
    """Whether a process is gone, or waits only for its parent to take note."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


@pytest.fixture(autouse=True)
def _no_process_is_left() -> Iterator[None]:
    """A test that fails half-way leaves no backend behind."""
    begun = len(STARTED)
    yield
    for process in STARTED[begun:]:
        process.kill()
        process.wait()


@pytest.fixture(scope="module")
def random_tagger(
    tmp_path_factory: pytest.TempPathFactory, encoders: Callable[[str], Path], config: TaggerConfig
) -> Path:
    return make_checkpoint(tmp_path_factory.mktemp("random") / "tagger", encoders("modernbert"), config, 3)


@pytest.fixture
def pulled(tmp_path: Path) -> Path:
    """What the project holds: one new article, one that is in the run's own data, one that versions are scored on."""
    text = "News. " + " ".join(SENTENCES)
    new = annotate("new", text, [("Kabul", "LOCATION")], target="The Taliban met.", group="article-new")
    path = tmp_path / "pulled.jsonl"
    write_jsonl(path, [new, gold(2)[2], gold(1)[0]])
    return path


def test_storm_makes_one_job_and_a_second_storm_another(
    tmp_path: Path, random_tagger: Path, encoders: Callable[[str], Path]
) -> None:
    path = write_serve(tmp_path, random_tagger, encoders("modernbert"), quiet_seconds=1)
    command = [sys.executable, script(tmp_path, "serve", SERVE), str(path), script(tmp_path, "job", STUB)]
    serving = start(command, tmp_path / "log.txt")
    folder = tmp_path / "store" / "jobs"
    for number in range(19):
        event(serving, number)
        event(serving, number, "ANNOTATION_UPDATED")
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda number: event(serving, 100 + number), range(1000)))
        assert not jobs(folder)
        serving.wait(lambda: jobs(folder) and jobs(folder)[0].finished)
        assert jobs(folder)[0].status["because"] == "1019 annotations changed"
        # While one runs, requests for training wait as one.
        running = ask_for_training(serving)
        serving.wait(lambda: "job-0002 begins" in serving.log.read_text())
        asked = set(threads.map(lambda _: ask_for_training(serving), range(50)))
    assert (running, asked) == ("job-0002", {"job-0003"})
    assert serving.wait(finished(serving, "job-0003"))["state"] == "kept"
    for number in range(19):
        event(serving, number, "ANNOTATIONS_DELETED")
    assert serving.stop() == 0
    again = start(command, tmp_path / "log.txt")
    event(again, 500)
    again.wait(finished(again, "job-0004") if find(folder, "job-0004") else lambda: find(folder, "job-0004"))
    again.wait(finished(again, "job-0004"))
    assert find(folder, "job-0004").status["because"] == "20 annotations changed"  # type: ignore[union-attr]
    assert again.stop() == 0
    assert len(jobs(folder)) == 4


def test_kill_during_training_leaves_no_orphan_and_goes_on(
    tmp_path: Path, random_tagger: Path, encoders: Callable[[str], Path], pulled: Path
) -> None:
    overrides = ["epochs=15", "trainer={save_steps: 2, logging_steps: 1, disable_tqdm: true}"]
    path = write_serve(
        tmp_path,
        random_tagger,
        encoders("modernbert"),
        train_overrides=overrides,
        tolerance=1.0,
        retrain_after=2,
        quiet_seconds=0.5,
    )
    jobs_command = [script(tmp_path, "job", JOB), str(pulled)]
    command = [sys.executable, script(tmp_path, "serve", SERVE), str(path), *jobs_command]
    serving = start(command, tmp_path / "log.txt")
    store, folder = ModelStore(tmp_path / "store"), tmp_path / "store" / "jobs"
    first = store.version
    event(serving, 1)
    event(serving, 2)
    trainer = folder / "job-0001" / "run" / "trainer"
    serving.wait(lambda: list(trainer.glob("checkpoint-*/trainer_state.json")))
    child = int((folder / "job-0001" / "pid").read_text())
    event(serving, 3)
    serving.process.send_signal(signal.SIGKILL)
    serving.process.wait()
    until = time.monotonic() + 30
    while not ended(child):
        assert time.monotonic() < until, "the job outlives its backend"
        time.sleep(0.05)
    assert find(folder, "job-0001").state == State.TRAINING  # type: ignore[union-attr]

    again = start(command, tmp_path / "log.txt")
    assert "job-0001 was interrupted (training)" in again.log.read_text()
    status = again.wait(finished(again, "job-0001"))
    assert again.stop() == 0
    assert [state["state"] for state in status["states"]] == [
        "queued", "pulling", "training", "interrupted", "training", "comparing", "swapped",
    ]  # fmt: skip
    assert (folder / "pulls").read_text().count("pulled") == 1
    steps = [line for line in (folder / "job-0001" / "log.txt").read_text().splitlines() if "'epoch'" in line]
    epochs = [float(line.split("'epoch': ")[1].strip("'} ").split("'")[0]) for line in steps]
    assert epochs.count(epochs[0]) == 1, "training began again from the start"
    assert max(epochs) == 15
    assert [entry["how"] for entry in store.history()] == ["imported", "retrained"]
    assert store.version == status["version"] != first
    assert verify(store.path(store.version)).sound
    assert "Not known." in (store.path(store.version) / "README.md").read_text("utf-8")
    assert len(jobs(folder)) == 1
    assert len(Changes(tmp_path / "store" / "changes.txt")) == 1, "the change behind the pull is still to be learned"
    assert not trainer.exists() and not (folder / "job-0001" / "run" / "checkpoint").exists()


@pytest.fixture
def settings(
    tmp_path: Path, random_tagger: Path, encoders: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> ServeConfig:
    """Settings of a backend that serves random heads; 40 short epochs are enough to be better."""
    path = write_serve(tmp_path, random_tagger, encoders("modernbert"), train_overrides=["epochs=40"])
    loaded = ServeConfig.load(path)
    store = ModelStore(loaded.store)
    store.promote(store.admit(random_tagger), "imported")
    monkeypatch.setenv("LABEL_STUDIO_API_KEY", TOKEN)
    return loaded


def run_job(settings: ServeConfig, name: str, monkeypatch: pytest.MonkeyPatch, pulled: Path) -> dict[str, Any]:
    """One job in this process, without a server."""
    monkeypatch.setattr(retrain_job, "_pull", lambda settings, schema: (pulled, {"documents": 3}))
    job = Job.create(settings.store / "jobs" / name, settings, "a test")
    retrain_job.perform(job)
    return job.status


def test_better_is_swapped_in_and_worse_is_not(
    settings: ServeConfig, pulled: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = ModelStore(settings.store)
    first = store.version
    status = run_job(settings, "job-0001", monkeypatch, pulled)
    assert status["state"] == "swapped", status
    assert status["mean"]["new"] > status["mean"]["current"]
    assert set(status["scores"]) == {"entity", "stance", "document"}
    assert store.version == status["version"] != first
    assert status["data"] == {
        "pulled": 2, "pulled_left_out": 1, "own": 3, "own_left_out": 0, "own_replaced": 1, "evaluation": 2,
    }  # fmt: skip

    worse = settings.model_copy(update={"train_overrides": ("epochs=0.01", "seed=5")})
    status = run_job(worse, "job-0002", monkeypatch, pulled)
    assert status["state"] == "kept", status
    assert status["mean"]["new"] < status["mean"]["current"]
    assert f"{store.version} stays" in status["reason"]
    assert store.versions() == [first, store.version]
    lenient = worse.model_copy(update={"tolerance": 1.0})
    assert run_job(lenient, "job-0003", monkeypatch, pulled)["state"] == "swapped"
    assert store.restore()[1] == store.versions()[1]


def test_job_cut_short_behind_the_swap_ends_as_it_would_have(
    settings: ServeConfig, pulled: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = ModelStore(settings.store)
    tell = Job.tell

    def killed(job: Job, state: State, **more: Any) -> None:
        if state is State.SWAPPED:
            raise KeyboardInterrupt
        tell(job, state, **more)

    with monkeypatch.context() as patched:
        patched.setattr(Job, "tell", killed)
        with pytest.raises(KeyboardInterrupt):
            run_job(settings, "job-0001", monkeypatch, pulled)
    job = Job(settings.store / "jobs" / "job-0001")
    assert job.state == State.COMPARING
    retrain_job.perform(job)
    assert job.state == State.SWAPPED
    assert job.status["mean"]["new"] > job.status["mean"]["current"], "compared with what was current before"
    assert [entry["how"] for entry in store.history()] == ["imported", "retrained"]


def test_restored_meanwhile_is_what_counts(
    settings: ServeConfig, pulled: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    store = ModelStore(settings.store)
    run_job(settings, "job-0001", monkeypatch, pulled)
    trained = store.version
    first, _ = store.versions()
    store.promote(first, "restored")
    score, done = retrain_job.score, []

    def someone_restores(*arguments: Any) -> dict[str, float]:
        if len(done) == 1:
            store.promote(trained, "restored")
        done.append(True)
        return score(*arguments)

    monkeypatch.setattr(retrain_job, "score", someone_restores)
    worse = settings.model_copy(update={"train_overrides": ("epochs=2",), "tolerance": 0.2})
    status = run_job(worse, "job-0002", monkeypatch, pulled)
    assert status["before"] in (trained, first)
    if len(done) > 2:
        assert status["before"] == trained
    assert store.version in (trained, status["version"])


def test_nothing_is_scored_that_was_learned(schema: Schema, tmp_path: Path) -> None:
    same_text = gold(1)[0].model_copy(update={"id": "elsewhere", "group": "other"})
    same_group = annotate("g", "Another text.", [], target="x", group="article-0")
    corrected = gold(2)[2].with_labels({"entity": ()})
    fresh = annotate("fresh", "Fresh text.", [], target="x")
    own = tmp_path / "own.jsonl"
    write_jsonl(own, gold(3))
    values = {
        "tagger": {"label_schema": schema.model_dump(mode="json")},
        "data": {"train": [str(own)], "held_out": ["article-0"]},
        "output": "x",
    }
    config = RunConfig.build(values, where="test")
    parts = divide([same_text, same_group, corrected, fresh], config, [])
    assert {document.id for document in parts.scored} == {"0-1", "0-2"}
    assert {document.id for document in parts.learned} == {"1-1", "1-2", "2-1", "2-2", "fresh"}
    assert next(document for document in parts.learned if document.id == "1-1").spans("entity") == ()
    assert parts.counts["pulled_left_out"] == 2
    extra = tmp_path / "extra.jsonl"
    write_jsonl(extra, [gold(3)[4], fresh])
    parts = divide([fresh], config, [extra])
    assert {document.id for document in parts.scored} == {"0-1", "0-2", "2-1", "fresh"}
    assert not {document.text for document in parts.scored} & {document.text for document in parts.learned}
    nothing = config.model_copy(update={"data": config.data.model_copy(update={"held_out": ()})})
    with pytest.raises(DocumentError, match="evaluation: is empty"):
        divide([fresh], nothing, [])


def remember(checkpoint: Path, *texts: str) -> None:
    """Make a checkpoint tell that it learned from these."""
    (checkpoint / LINEAGE).write_text(json.dumps({"texts": [text_hash(text) for text in texts], "texts_before": []}))


def test_versions_are_compared_on_what_neither_learned(
    settings: ServeConfig, pulled: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    store, article = ModelStore(settings.store), gold(1)[0].text
    assert check(settings) == [
        f"what version {store.version} learned from is not known, so it may know the articles that versions are compared on"
    ]
    write_jsonl(tmp_path / "more.jsonl", gold(4)[6:])
    wider = settings.model_copy(update={"evaluation": (tmp_path / "more.jsonl",)})
    remember(store.path(store.version), article)
    left_out = f"version {store.version} learned from 2 of 4 evaluation documents, which are left out"
    assert check(wider) == [left_out]
    score, scored = retrain_job.score, []

    def noted(tagger: Tagger, documents: list[Document], schema: Schema) -> dict[str, float]:
        scored.append([document.id for document in documents])
        return score(tagger, documents, schema)

    monkeypatch.setattr(retrain_job, "score", noted)
    status = run_job(wider, "job-0001", monkeypatch, pulled)
    assert scored == [["3-1", "3-2"]] * 2
    assert status["compared_on"] == 2 and status["reason"].endswith(f"; {left_out}")

    scored.clear()
    (settings.store / "jobs" / "job-0001" / "run" / "checkpoint").rename(tmp_path / "tagger")
    went_on = (f"encoder={tmp_path / 'tagger'}", "epochs=0.01")
    remember(tmp_path / "tagger", gold(4)[6].text)
    remember(store.path(store.version))
    run_job(wider.model_copy(update={"train_overrides": went_on}), "job-0002", monkeypatch, pulled)
    assert scored == [["0-1", "0-2"]] * 2, "the new one knows through its encoder"


def test_nothing_is_trained_that_could_not_be_compared(
    settings: ServeConfig, pulled: Path, random_tagger: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    store, article = ModelStore(settings.store), gold(1)[0].text
    nothing_left = "evaluation: nothing is left to compare versions on; version .* learned from 2 of 2 .*; name files"
    remember(store.path(store.version), article)
    with pytest.raises(ConfigError, match=nothing_left):
        check(settings)
    with pytest.raises(ConfigError, match=nothing_left):
        run_job(settings, "job-0001", monkeypatch, pulled)
    assert not (settings.store / "jobs" / "job-0001" / "train.yaml").exists()

    # Known only at the end, where such a version is restored meanwhile.
    remember(store.path(store.version))
    train = retrain_job.train

    def train_and_restore(config: RunConfig) -> None:
        train(config)
        remember(store.path(store.version), article)

    monkeypatch.setattr(retrain_job, "train", train_and_restore)
    with pytest.raises(ConfigError, match=nothing_left):
        run_job(settings, "job-0002", monkeypatch, pulled)

    # Before the store begins with it, which would keep it.
    shutil.copytree(random_tagger, tmp_path / "tagger")
    remember(tmp_path / "tagger", article)
    fresh = settings.model_copy(update={"checkpoint": tmp_path / "tagger", "store": tmp_path / "fresh"})
    with pytest.raises(ConfigError, match=r"nothing is left .*; checkpoint \S+tagger learned from 2 of 2"):
        serve(fresh, print)
    assert not (tmp_path / "fresh").exists()


def test_a_further_text_that_is_scored_is_refused(
    settings: ServeConfig, pulled: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "further.txt").write_text(gold(1)[0].text)
    taught = settings.model_copy(
        update={"train_overrides": (f"self_training={{texts: [{tmp_path / 'further.txt'}], teachers: 1}}",)}
    )
    with pytest.raises(DocumentError, match="document '0-1' has the text of training document"):
        run_job(taught, "job-0001", monkeypatch, pulled)
    assert not (settings.store / "jobs" / "job-0001" / "train.yaml").exists()


def test_labels_outside_the_schema_are_no_mistakes(random_tagger: Path, schema: Schema) -> None:
    values = schema.model_dump(mode="json")
    del values["layers"]["document"], values["layers"]["stance"]["labels"]["neutral"]
    smaller = Schema.build(values, where="test")
    documents = [Document(id="a", text="One. Two.", target="x", labels={"entity": ()})]
    assert set(retrain_job.score(Tagger.load(random_tagger), documents, smaller)) == {"entity"}


@pytest.fixture
def learner(settings: ServeConfig, tmp_path: Path) -> Iterator[Callable[..., tuple[Retraining, list[str]]]]:
    """Makes learners whose jobs are the given script; stops them behind the test."""
    made: list[Retraining] = []

    def make(text: str, **changes: object) -> tuple[Retraining, list[str]]:
        told: list[str] = []
        own = settings.model_copy(update={"quiet_seconds": 0.0, "retrain_after": 2, **changes})
        path = script(tmp_path, f"job{len(made)}", text)
        made.append(Retraining(own, told.append, [sys.executable, path]))
        made[-1].start()
        return made[-1], told

    yield make
    for each in made:
        each.stop()


def wait_for(what: Callable[[], Any]) -> Any:
    until = time.monotonic() + 60
    while time.monotonic() < until:
        if found := what():
            return found
        time.sleep(0.02)
    raise AssertionError("waited in vain")


def test_failed_job_keeps_the_changes_and_waits_for_another(
    learner: Callable[..., tuple[Retraining, list[str]]], settings: ServeConfig
) -> None:
    crash = "import sys, os\nsys.path.insert(0, '.')\nprint('why')\nos._exit(9)"
    own, told = learner(crash)
    own.changed(["a", "b"])
    wait_for(lambda: any("job-0001 failed" in text for text in told))
    status = own.status("job-0001")
    assert status and status["reason"].startswith("its process ended with status 9 while queued; see ")
    assert Path(status["reason"].split("see ")[1]).read_text() == "why\n"
    time.sleep(0.3)
    assert len(jobs(settings.store / "jobs")) == 1
    own.changed(["a"])
    wait_for(lambda: any("job-0002 failed" in text for text in told))
    assert "(2 annotations changed)" in next(text for text in told if "job-0002 begins" in text)
    assert own.request() == "job-0003"
    wait_for(lambda: any("job-0003 failed" in text for text in told))


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """Names in it are of files that cannot be written, as on a full disk; what fails is soon tried again."""
    full: set[str] = set()
    real = retrain_jobs.replacing

    def replacing(path: Path) -> Any:
        if path.name in full:
            raise DocumentError(path, "cannot be written (No space left on device)")
        return real(path)

    monkeypatch.setattr(retrain_jobs, "replacing", replacing)
    monkeypatch.setattr(retrain_changes, "replacing", replacing)
    monkeypatch.setattr(retrain_learner, "RETRY_SECONDS", 0.1)
    return full


def test_a_full_disk_is_outlived(
    learner: Callable[..., tuple[Retraining, list[str]]], settings: ServeConfig, disk: set[str]
) -> None:
    dies = "import os, sys\nos.makedirs(sys.argv[1] + '/run/checkpoint')\nsys.stdin.read(1)\nos._exit(9)"
    own, told = learner(dies)
    folder = settings.store / "jobs"
    assert own.request() == "job-0001"
    wait_for((folder / "job-0001" / "run").exists)
    disk.add("status.json")
    assert own._process and own._process.stdin
    own._process.stdin.write(b"x")
    own._process.stdin.flush()
    wait_for(lambda: any("job-0001 has ended, which cannot be noted: " in text for text in told))
    assert not (folder / "job-0001" / "run" / "checkpoint").exists(), "the space is needed"
    disk.clear()
    wait_for(lambda: any("job-0001 failed" in text for text in told))

    disk.add("job.json")
    own.changed(["a", "b"])
    wait_for(lambda: sum("the next job: " in text and "No space left" in text for text in told) > 2)
    assert [path.name for path in folder.iterdir()] == ["job-0001"]
    disk.clear()
    wait_for(lambda: own._process)
    assert own.status("job-0002")


def test_a_job_that_cannot_begin_or_settle_is_not_lost_and_not_run_twice(
    learner: Callable[..., tuple[Retraining, list[str]]],
    settings: ServeConfig,
    disk: set[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    job = Job.create(settings.store / "jobs" / "job-0001", settings, "a test")
    disk.add("status.json")
    own, told = learner(STUB)
    own.changed(["a"])
    wait_for(lambda: any("job-0001 cannot begin: " in text for text in told))
    disk.clear()
    disk.add("changes.txt")
    wait_for(lambda: any("job-0001 has ended, which cannot be noted: " in text for text in told))
    assert job.state == State.KEPT and job.status["attempts"] == 1
    disk.clear()
    wait_for(lambda: any("job-0001 kept" in text for text in told))
    assert not len(Changes(settings.store / "changes.txt"))

    # Where a job's folder is deleted, the next one has its turn.
    monkeypatch.setattr(own, "command", ["no-such-program"])
    assert own.request() == "job-0002"
    wait_for(lambda: any("job-0002 cannot be started: " in text for text in told))
    shutil.rmtree(settings.store / "jobs" / "job-0002")
    wait_for(lambda: any("its folder is gone" in text for text in told))
    assert own._thread.is_alive()


def test_a_job_makes_room_before_it_tells_of_a_full_disk(settings: ServeConfig, tmp_path: Path) -> None:
    job = Job.create(settings.store / "jobs" / "job-0001", settings, "a test")
    parts = [job.folder / "run" / name for name in ("checkpoint", "trainer")]
    for part in parts:
        part.mkdir(parents=True)
    text = """
import sys
from pathlib import Path
from annotations.errors import TrainingError
from training.retraining import job as retrain_job
from training.retraining.jobs import Job
tell = Job.tell
def on_a_full_disk(job, *arguments, **more):
    if any((job.folder / "run").iterdir()):
        raise OSError("No space left on device")
    tell(job, *arguments, **more)
def perform(job):
    raise TrainingError("the disk is full")
Job.tell, retrain_job.perform = on_a_full_disk, perform
retrain_job.main(Path(sys.argv[1]))
"""
    command = [sys.executable, script(tmp_path, "full", text), str(job.folder)]
    with Warm(command, stdin=subprocess.PIPE) as process:
        assert process.wait(120) == 0
    assert job.status["state"] == "failed" and job.status["reason"] == "the disk is full"
    assert not any(part.exists() for part in parts)


def test_server_that_is_down_fails_the_job_with_a_remedy(
    settings: ServeConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = Job.create(settings.store / "jobs" / "job-0001", settings, "a test")
    monkeypatch.delenv("LABEL_STUDIO_API_KEY", raising=False)
    with pytest.raises(Exception, match="LABEL_STUDIO_API_KEY: is not set"):
        retrain_job.perform(job)
    monkeypatch.setenv("LABEL_STUDIO_API_KEY", "nonsense")
    with pytest.raises(ServerError, match=r"no answer.*is it running"):
        retrain_job.perform(job)
    assert job.state == State.PULLING
    monkeypatch.setattr(retrain_job, "_pull", lambda settings, schema: (ROOT / "missing.jsonl", {}))
    with pytest.raises(DocumentError, match="cannot be read"):
        retrain_job.perform(job)


def test_stopping_interrupts_and_three_deaths_are_enough(
    learner: Callable[..., tuple[Retraining, list[str]]], settings: ServeConfig
) -> None:
    waits = "import sys, time\nsys.stdin.buffer.read()\ntime.sleep(0.2)\nsys.exit(75)"
    own, told = learner(waits)
    assert own.request() == "job-0001"
    assert wait_for(lambda: own._process)
    own.stop()
    job = find(settings.store / "jobs", "job-0001")
    assert job and job.state == State.INTERRUPTED and job.status["attempts"] == 0
    job.tell(State.TRAINING, attempts=2)
    again, told = learner(waits)
    assert any("was interrupted (training)" in text for text in told)
    wait_for(lambda: again._process)
    assert job.status["attempts"] == 3
    job.tell(State.TRAINING, attempts=3)
    again.stop()
    job.tell(State.TRAINING, attempts=3)
    _, told = learner(waits)
    assert job.state == State.FAILED
    assert any("interrupted 3 times" in text for text in told)


def test_changes_survive_and_settle(tmp_path: Path) -> None:
    path = tmp_path / "changes.txt"
    changes = Changes(path)
    changes.add(["a", "b"])
    changes.add(["a"])
    with path.open("a") as out:
        out.write("4")
    again = Changes(path)
    assert (len(again), again.last) == (2, 3)
    again.settle(2)
    assert len(again) == 1
    again.settle(3)
    empty = Changes(path)
    assert (len(empty), empty.last) == (0, 3)
    empty.add(["c"])
    empty.settle(3)
    assert len(Changes(path)) == 1


@given(st.lists(st.floats(0, 5), min_size=1, max_size=60), st.integers(1, 10), st.floats(0, 10), st.floats(0, 30))
def test_a_job_waits_for_quiet_but_not_for_ever(gaps: list[float], enough: int, quiet: float, patience: float) -> None:
    trigger, now, full = Trigger(enough, quiet, patience), 0.0, None
    for count, gap in enumerate(gaps, 1):
        now += gap
        trigger.change(count, now)
        full = now if count == enough else full
        due = trigger.due()
        assert (due is None) == (count < enough)
        if full is not None:
            assert due == min(now + quiet, full + patience)
    trigger.change(enough, now)
    trigger.change(enough - 1, now)
    assert trigger.due() is None
    trigger.reset()
    assert trigger.due() is None
    never = Trigger(None, quiet, patience)
    never.change(1000, now)
    assert never.due() is None


def test_one_change_behind_a_job_starts_no_other(
    learner: Callable[..., tuple[Retraining, list[str]]], settings: ServeConfig
) -> None:
    own, told = learner(STUB, retrain_after=3)
    own.changed(["a", "b", "c"])
    wait_for(lambda: own._process)
    own.changed(["d"])
    wait_for(lambda: any("job-0001 kept" in text for text in told))
    time.sleep(0.5)
    assert len(jobs(settings.store / "jobs")) == 1
    own.changed(["e", "f"])
    wait_for(lambda: any("job-0002 kept" in text for text in told))
    assert "(3 annotations changed)" in next(text for text in told if "job-0002 begins" in text)


def test_status_is_never_half_written(settings: ServeConfig) -> None:
    job = Job.create(settings.store / "jobs" / "job-0001", settings, "a test")
    (settings.store / "jobs" / "job-0002").mkdir()
    assert [each.id for each in jobs(settings.store / "jobs")] == ["job-0001"]
    with ThreadPoolExecutor(1) as threads:
        writing = threads.submit(lambda: [job.tell(State.TRAINING, padding="x" * n * 50) for n in range(200)])
        while not writing.done():
            assert json.loads((job.folder / "status.json").read_text())["job"] == "job-0001"
    assert "api_key" not in (job.folder / "job.json").read_text().lower()
    assert list(read_jsonl(settings.store.parent / "own.jsonl"))
    assert version(ModelStore(settings.store).path(ModelStore(settings.store).version))
    assert os.path.islink(settings.store / "current")  # noqa: PTH114
