"""Label Studio's ML-backend protocol against a real process: `standpoint serve` on a free port, tiny taggers behind it."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml
from conftest import ROOT, Staff
from service_help import make_checkpoint
from test_main_path import gold, write_run
from typer.testing import CliRunner
from warm import FOR_CHILDREN, Warm, run
from warm import STANDPOINT as COMMAND

from annotations.document import Document
from annotations.errors import CheckpointError, ConfigError
from annotations.labelstudio.shapes import labelling_config, shared_labels, to_task
from annotations.schema import Schema
from annotations.storage import write_jsonl
from inference import checkpoint_files
from inference.config import TaggerConfig
from inference.ml_backend import CHANGES, project_of
from inference.model_store import ModelStore
from inference.suggestions import Suggester
from inference.tagger import Tagger
from training.cli import app

TOKEN = "secret-token-of-nobody"
PROJECT = 7
STARTED: list[subprocess.Popen[bytes]] = []
TEXT = "The Taliban 🙂 met in Kabul.\r\nVOA reported it."
TARGET = "The Taliban met."


@dataclass
class Serving:
    """A backend's process, its address and what it printed."""

    process: subprocess.Popen[bytes]
    url: str
    log: Path

    def post(self, path: str, body: Any, content_type: str = "application/json") -> tuple[int, Any]:
        """Each request on a connection of its own, as the server's webhooks come."""
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        return self.ask("POST", path, raw, {"Content-Type": content_type})

    def ask(self, method: str, path: str, raw: bytes = b"", headers: dict[str, str] | None = None) -> tuple[int, Any]:
        where = urlsplit(self.url)
        connection = http.client.HTTPConnection(str(where.hostname), where.port, timeout=60)
        try:
            connection.request(method, path, raw, headers or {})
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read())
        finally:
            connection.close()

    def wait(self, what: Callable[[], Any], seconds: float = 120) -> Any:
        """The first true answer; fails where the process ends before."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            if found := what():
                return found
            assert self.process.poll() is None, self.log.read_text()
            time.sleep(0.05)
        raise AssertionError(self.log.read_text())

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(40)


def start(command: list[str], log: Path) -> Serving:
    """Start a backend and wait until it says where it listens."""
    with log.open("ab") as out:
        begin = out.tell()
        environment = {**os.environ, "LABEL_STUDIO_API_KEY": TOKEN, "OMP_NUM_THREADS": "1"}
        environment |= FOR_CHILDREN
        process = Warm(command, stdout=out, stderr=out, stdin=subprocess.DEVNULL, env=environment, cwd=ROOT)
    STARTED.append(process)
    serving = Serving(process, "", log)

    def address() -> str | None:
        for line in log.read_bytes()[begin:].decode().splitlines():
            if line.startswith("Listening on "):
                return line.removeprefix("Listening on ")
        return None

    serving.url = serving.wait(address)
    return serving


def write_serve(folder: Path, checkpoint: Path, encoder: Path, **more: object) -> Path:
    """A backend's YAML with its run's YAML beside it; the run's first article is what versions are compared on."""
    data = folder / "own.jsonl"
    write_jsonl(data, gold(3))
    run = write_run(folder, "configs/schema.yaml", data, encoder)
    values = yaml.safe_load(run.read_text())
    values["data"]["held_out"] = ["article-0"]
    run.write_text(yaml.safe_dump(values))
    settings = {
        "label_studio": "http://127.0.0.1:9",
        "project": PROJECT,
        "checkpoint": str(checkpoint),
        "store": str(folder / "store"),
        "train": str(run),
        "port": 0,
    }
    path = folder / "serve.yaml"
    path.write_text(yaml.safe_dump(settings | more))
    return path


@pytest.fixture(scope="module")
def taggers(
    tmp_path_factory: pytest.TempPathFactory, encoders: Callable[[str], Path], config: TaggerConfig
) -> list[Path]:
    folder = tmp_path_factory.mktemp("taggers")
    return [make_checkpoint(folder / str(seed), encoders("modernbert"), config, seed) for seed in (1, 2)]


@pytest.fixture(scope="module")
def backend(
    tmp_path_factory: pytest.TempPathFactory, taggers: list[Path], encoders: Callable[[str], Path]
) -> Iterator[Serving]:
    folder = tmp_path_factory.mktemp("backend")
    os.chdir(ROOT)
    path = write_serve(folder, taggers[0], encoders("modernbert"), max_body_mb=1)
    serving = start([COMMAND, "serve", "--label-studio", str(path)], folder / "log.txt")
    yield serving
    assert serving.stop() == 0, serving.log.read_text()


@pytest.fixture
def store(backend: Serving, taggers: list[Path]) -> Iterator[ModelStore]:
    """The backend's store, with the first tagger current before and after."""
    models = ModelStore(backend.log.parent / "store")
    yield models
    models.promote(checkpoint_files.version(taggers[0]), "restored")


def task(number: int, **data: object) -> dict[str, Any]:
    return {"id": number, "data": {"text": TEXT, **data}, "annotations": [], "predictions": []}


def predict(serving: Serving, tasks: list[Any], schema: Schema, **more: object) -> list[dict[str, Any]]:
    body = {"tasks": tasks, "project": f"{PROJECT}.123", "label_config": labelling_config(schema), "params": {}, **more}
    status, answer = serving.post("/predict", body)
    assert status == 200, answer
    found: list[dict[str, Any]] = answer["results"]
    return found


def layers_of(prediction: dict[str, Any]) -> set[str]:
    return {result["from_name"] for result in prediction["result"]}


def test_health_setup_and_versions_agree(backend: Serving, schema: Schema, store: ModelStore) -> None:
    assert backend.ask("GET", "/health") == (200, {"status": "UP", "model_class": "standpoint"})
    body = {"project": f"{PROJECT}.1", "schema": labelling_config(schema), "hostname": "x", "access_token": TOKEN}
    assert backend.post("/setup", body) == (200, {"model_version": store.version})
    assert backend.ask("GET", "/versions")[1]["versions"][0] == store.version


def test_predictions_are_the_taggers_own(backend: Serving, taggers: list[Path], schema: Schema) -> None:
    [found] = predict(backend, [task(1, target=TARGET)], schema, params={"context": {"result": []}})
    own = Tagger.load(taggers[0]).tag(Document(id="x", text=TEXT, target=TARGET))
    assert found["model_version"] == checkpoint_files.version(taggers[0])
    stance = [result["value"] for result in found["result"] if result["from_name"] == "stance"]
    assert [(v["start"], v["end"], v["labels"][0]) for v in stance] == [
        (s.start, s.end, s.label) for s in own.spans("stance")
    ]
    for result in found["result"]:
        assert result["to_name"] == "text"
        value = result["value"]
        assert "start" not in value or value["text"] == TEXT[value["start"] : value["end"]]
    assert 0 <= found["score"] <= 1


def test_only_what_the_task_and_the_project_ask_for_is_suggested(
    backend: Serving, schema: Schema, store: ModelStore
) -> None:
    tasks = [
        task(1, target=TARGET),
        task(2, target=TARGET, layers=["entity"]),
        task(3, target=TARGET, layers=["document", "mood"]),
        task(4),
        task(5, target=TARGET, layers=[]),
    ]
    found = [layers_of(prediction) for prediction in predict(backend, tasks, schema)]
    assert found[0] >= {"stance", "document"}
    assert [found[1] <= {"entity"}, found[2], found[3] <= {"entity"}, found[4]] == [True, {"document"}, True, set()]
    other = schema.model_dump(mode="json")
    del other["layers"]["document"], other["layers"]["stance"]["labels"]["neutral"]
    other["layers"]["stance"]["labels"]["doubts"] = {}
    theirs = labelling_config(Schema.build(other, where="test"))
    [changed] = predict(backend, [task(1, target=TARGET)], schema, label_config=theirs)
    labels = {label for result in changed["result"] for label in result["value"].get("labels", [])}
    assert "document" not in layers_of(changed)
    assert "neutral" not in labels
    for _ in range(2):
        backend.post("/setup", {"schema": theirs})
    log = backend.log.read_text()
    assert "'doubts'" in log and "'neutral'" in log and "'document'" in log
    assert log.count("'doubts'") == 1
    status, answer = backend.post("/predict", {"tasks": [task(1)], "label_config": "<View"})
    assert (status, layers_of(answer["results"][0])) == (200, set())


def test_a_bad_task_spoils_no_other(backend: Serving, schema: Schema, store: ModelStore) -> None:
    long = "word " * 3000
    bad: dict[int, Any] = {
        11: {"id": 11, "data": {"body": "no text"}},
        12: {"id": 12, "data": {"text": None}},
        13: {"id": 13, "data": {"text": TEXT, "target": 5}},
        14: task(14, target=long),
        15: {"id": 15},
        16: {"id": 16, "data": {"text": "\ud800 half"}},
        17: {"id": 17, "data": {"text": TEXT, "layers": "entity"}},
        18: {"id": 18, "data": {"text": " \n"}},
    }
    fine = [task(21, target=TARGET), task(22, target=TARGET), task(23, target=TARGET, doc_id="same")]
    again = task(24, target=TARGET, doc_id="same")
    tasks = [fine[0], *bad.values(), fine[1], "no task", fine[2], again]
    found = predict(backend, tasks, schema)
    assert len(found) == len(tasks)
    assert {prediction["model_version"] for prediction in found} == {store.version}
    filled = [place for place, prediction in enumerate(found) if prediction["result"]]
    assert filled == [0, 9, 11, 12]
    first, second, third = ([result["value"] for result in found[place]["result"]] for place in (0, 9, 12))
    assert first == second == third
    log = backend.log.read_text()
    assert [number for number in bad if f"task {number} gets an empty prediction" not in log] == []
    assert "word word" not in log and TEXT not in log and TOKEN not in log


def test_version_follows_the_weights(backend: Serving, taggers: list[Path], schema: Schema, store: ModelStore) -> None:
    first = predict(backend, [task(1, target=TARGET)], schema)
    second = store.admit(taggers[1])
    store.promote(second, "retrained")
    assert backend.post("/setup", {}) == (200, {"model_version": second})
    [found] = predict(backend, [task(1, target=TARGET)], schema)
    assert found["model_version"] == second != first[0]["model_version"]
    assert found["result"] != first[0]["result"]
    result = CliRunner().invoke(app, ["labels", "restore", str(store.folder)])
    assert (result.exit_code, result.stdout.split()[0]) == (0, first[0]["model_version"])
    assert predict(backend, [task(1, target=TARGET)], schema) == first
    assert set(backend.ask("GET", "/versions")[1]["versions"]) == {second, first[0]["model_version"]}


def test_swaps_fail_no_request(backend: Serving, taggers: list[Path], schema: Schema, store: ModelStore) -> None:
    versions = [checkpoint_files.version(taggers[0]), store.admit(taggers[1])]
    done = threading.Event()
    seen: list[tuple[set[str], int]] = []

    def ask() -> None:
        while not done.is_set():
            found = predict(backend, [task(n, target=TARGET) for n in range(3)], schema)
            seen.append(({prediction["model_version"] for prediction in found}, len(found)))
            assert backend.post("/setup", {})[1]["model_version"] in versions

    with ThreadPoolExecutor(4) as threads:
        asking = [threads.submit(ask) for _ in range(4)]
        for number in range(40):
            store.promote(versions[number % 2], "retrained")
            time.sleep(0.03)
        done.set()
        for each in asking:
            each.result()
    assert {count for _, count in seen} == {3}
    assert all(len(found) == 1 for found, _ in seen), "one request, one version"
    assert {version for found, _ in seen for version in found} == set(versions)


def test_health_and_setup_load_nothing(
    backend: Serving, taggers: list[Path], schema: Schema, store: ModelStore
) -> None:
    broken = store.path("broken")
    shutil.copytree(taggers[0], broken)
    (broken / checkpoint_files.WEIGHTS).write_bytes(b"no weights")
    store.promote("broken", "restored")
    assert backend.post("/setup", {"schema": labelling_config(schema)}) == (200, {"model_version": "broken"})
    assert backend.ask("GET", "/health")[0] == 200
    status, answer = backend.post("/predict", {"tasks": [task(1)], "label_config": labelling_config(schema)})
    assert status == 503
    assert "standpoint labels restore" in answer["error"]
    store.restore(checkpoint_files.version(taggers[0]))
    assert len(predict(backend, [task(1)], schema)) == 1


def test_quick_answers_come_while_predicting(backend: Serving, schema: Schema) -> None:
    tasks = [{"id": n, "data": {"text": f"{n} " + TEXT * 40, "target": TARGET}} for n in range(60)]
    with ThreadPoolExecutor(1) as threads:
        long = threads.submit(predict, backend, tasks, schema)
        between = 0
        while not long.done():
            assert backend.ask("GET", "/health")[0] == 200
            assert backend.post("/setup", {})[0] == 200
            assert len(predict(backend, [task(1)], schema)) == 1
            between += not long.done()
        assert len(long.result()) == 60
    assert between > 1, "a short request waits for a long one"


def test_every_action_is_answered(backend: Serving) -> None:
    for action in ("TASKS_CREATED", "PROJECT_UPDATED", "LABEL_LINK_DELETED", "SOMETHING_NEW", None, 5):
        assert backend.post("/webhook", {"action": action, "project": {"id": PROJECT}}) == (200, {})
    for action in CHANGES:
        assert backend.post("/webhook", {"action": action, "project": {"id": 99}, "annotation": {"id": 1}})[0] == 200
        assert backend.post("/webhook", {"action": action})[0] == 200
        assert backend.post("/webhook", {"action": action, "project": {"id": PROJECT}, "annotation": None})[0] == 200
    status, answer = backend.post("/webhook", {"action": "START_TRAINING", "project": {"id": 99}})
    assert (status, "job" in answer) == (200, False)
    assert backend.post("/job_status", {"job": "job-0001"})[0] == 410
    assert backend.post("/job_status", {"job": "../../etc"})[0] == 410
    assert "begins" not in backend.log.read_text()
    assert not (backend.log.parent / "store" / "changes.txt").exists(), "nothing of it counts"


def test_bad_requests_are_refused(backend: Serving) -> None:
    assert backend.post("/predict", b"{")[0] == 400
    assert backend.post("/predict", b"[" * 100_000)[0] == 400
    assert backend.post("/predict", [])[0] == 400
    assert backend.post("/predict", {})[0] == 400
    assert backend.post("/predict", b'{"tasks": "' + b"x" * 1_000_001 + b'"}')[0] == 413
    assert backend.post("/webhook", {"action": "START_TRAINING"}, content_type="text/plain")[0] == 415
    assert backend.ask("GET", "/predict")[0] == 405
    assert backend.ask("GET", "/docs")[0] == 404


def test_one_process_serves_a_store(backend: Serving) -> None:
    command = [COMMAND, "serve", "--label-studio", str(backend.log.parent / "serve.yaml")]
    environment = {**os.environ, "LABEL_STUDIO_API_KEY": TOKEN}
    done = run(command, env=environment)
    assert done.returncode == 2
    assert f"pid {backend.process.pid}" in done.stderr


def test_everything_wrong_is_told_at_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, taggers: list[Path]
) -> None:
    monkeypatch.delenv("LABEL_STUDIO_API_KEY", raising=False)
    path = write_serve(tmp_path, taggers[0], taggers[0], evaluation=["missing.jsonl"])
    result = CliRunner().invoke(app, ["serve", "--label-studio", str(path), "train_overrides=[epoch=1]"])
    assert result.exit_code == 2
    for problem in ("did you mean 'epochs'", "missing.jsonl is missing", "LABEL_STUDIO_API_KEY: is not set"):
        assert problem in result.stderr
    long = f"train_overrides=[{','.join(['optimizer.weight_decay=-0.01'] * 12)}]"
    for override in (
        long,
        "label_studio=ftp://x",
        "label_studio=http://me:pw@x",
        "retrain_after=0",
        "policy={choose: user}",
    ):
        result = CliRunner().invoke(app, ["serve", "--label-studio", str(path), override])
        assert result.exit_code == 2, override
    assert not (tmp_path / "store").exists()
    monkeypatch.setenv("LABEL_STUDIO_API_KEY", TOKEN)
    result = CliRunner().invoke(app, ["serve", "--label-studio", str(path), "evaluation=[]", f"checkpoint={tmp_path}"])
    assert result.exit_code == 2 and "has no config.json" in result.stderr


def test_store_goes_back_and_forgets_the_oldest(tmp_path: Path) -> None:
    models = ModelStore(tmp_path / "store")
    with pytest.raises(CheckpointError, match="no model store"):
        _ = models.version
    for name in "abcd":
        models.path(name).mkdir(parents=True)
        assert models.promote(name, "retrained")
    assert models.restore() == ("d", "c")
    assert models.restore() == ("c", "b")
    assert models.restore("d") == ("b", "d")
    assert models.restore("a") == ("d", "a")
    with pytest.raises(CheckpointError, match="is the first"):
        models.restore()
    models.path("e").mkdir()
    assert not models.promote("e", "retrained", instead_of="d")
    assert models.promote("e", "retrained", instead_of="a")
    assert models.previous() == "a", "what was current before, not what arrived before"
    assert models.prune(2) == ["d", "b", "c"]
    assert models.versions() == ["a", "e"]
    with pytest.raises(CheckpointError, match="keeps no version 'd'"):
        models.restore("d")
    with models.serving(), pytest.raises(ConfigError, match="served by another process"), models.serving():
        pass


def test_a_swap_cut_short_is_told_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    models = ModelStore(tmp_path)
    for name in "ab":
        models.path(name).mkdir(parents=True)
    models.promote("a", "imported")

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(Path, "symlink_to", killed)
        with pytest.raises(KeyboardInterrupt):
            models.promote("b", "retrained")
    assert models.version == "a"
    assert models.promote("b", "retrained")
    assert [(entry["version"], entry["replaced"]) for entry in models.history()] == [("a", None), ("b", "a")]


def test_a_long_request_ends_before_the_server_hangs_up(
    tmp_path: Path, taggers: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    models = ModelStore(tmp_path / "store")
    models.promote(models.admit(taggers[0]), "imported")
    suggester = Suggester(models, lambda text: None)
    assert len(suggester.suggest([task(1)] * 20, None)) == 20
    monkeypatch.setattr("inference.suggestions.PATIENCE_SECONDS", -1.0)
    with pytest.raises(Exception, match="labels push --model"):
        suggester.suggest([task(1)], None)
    suggester.close()


def test_shared_labels_and_projects(schema: Schema) -> None:
    names = {name: frozenset(layer.names) for name, layer in schema.layers.items()}
    assert shared_labels(labelling_config(schema), schema) == names
    assert shared_labels("<View><Labels name='entity' toName='other'/></View>", schema) == {}
    assert shared_labels("no xml", schema) == {}
    assert [project_of({"project": value}) for value in ({"id": 7}, "7.1699", 7, None, "x", {})] == [
        7,
        7,
        7,
        None,
        None,
        None,
    ]


@pytest.mark.filterwarnings("ignore:The `parse_obj` method is deprecated:DeprecationWarning")
def test_a_real_server_fetches_predictions(backend: Serving, staff: Staff, schema: Schema, store: ModelStore) -> None:
    import httpx

    project = staff.admin.create_project("Backend", schema)
    documents = [Document(id=f"d{n}", text=f"{n} {TEXT}", target=TARGET) for n in range(3)]
    ids = staff.admin.import_tasks(project, [to_task(d, ["stance", "document"]) for d in documents])
    number = staff.admin.connect_backend(project, backend.url, interactive=True)
    [connected] = staff.admin.backends(project)
    assert connected["state"] == "CO", connected

    access = httpx.post(f"{staff.local.url}/api/token/refresh", json={"refresh": staff.token}).json()["access"]
    with httpx.Client(base_url=staff.local.url, headers={"Authorization": f"Bearer {access}"}, timeout=60) as client:
        opened = client.get(f"/api/tasks/{ids['d0']}").json()
        [prediction] = opened["predictions"]
        assert prediction["model_version"] == store.version
        assert layers_of(prediction) == {"stance", "document"}
        answer = client.post(f"/api/ml/{number}/interactive-annotating", json={"task": ids["d1"], "context": {"a": 1}})
        assert layers_of(answer.json()["data"]) == {"stance", "document"}
        assert store.version in client.get(f"/api/ml/{number}/versions").json()["versions"]
        assert client.get(f"/api/ml/{number}").json()["model_version"] == store.version
        assert client.get(f"/api/tasks/{ids['d0']}").json()["predictions"][0]["id"] == prediction["id"]
    # The backend is configured for another project, and says what it heard.
    staff.admin.annotate(ids["d0"], prediction["result"])
    staff.admin.start_training(number)
    for heard in (
        f"ANNOTATION_CREATED of project {project} is not counted",
        f"training for project {project} is refused",
    ):
        backend.wait(lambda heard=heard: heard in backend.log.read_text(), 20)
