"""A new model while requests go on, the way back, and the end: in real processes, with signals."""

from __future__ import annotations

import json
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from conftest import ROOT
from service_help import ADMIN, NDJSON, TEXTS, USER, Running, as_process, bearer, in_thread, make_checkpoint
from test_service import answered

from inference.checkpoint_files import version, write_manifest
from inference.config import TaggerConfig
from inference.engines.export import export
from inference.model_store import ModelStore
from inference.service.__main__ import main
from inference.service.access import Access
from inference.tagger import Tagger


@pytest.fixture(scope="module")
def taggers(
    tmp_path_factory: pytest.TempPathFactory, encoders: Callable[[str], Path], config: TaggerConfig
) -> list[Path]:
    folder = tmp_path_factory.mktemp("taggers")
    return [make_checkpoint(folder / str(seed), encoders("modernbert"), config, seed) for seed in (1, 2)]


@pytest.fixture(scope="module")
def expected(taggers: list[Path]) -> dict[str, list[dict[str, Any]]]:
    """Version to what it says of every text."""
    return {version(path): [one.without_scores() for one in Tagger.load(path).tag(TEXTS)] for path in taggers}


def point(link: Path, to: Path) -> None:
    """Make a link lead somewhere else in one step."""
    part = link.with_name("part")
    part.symlink_to(to)
    part.replace(link)


class Load:
    """Clients that ask until they are told to stop, and remember every answer."""

    def __init__(self, running: Running, clients: int = 4) -> None:
        self.running, self.stopping = running, threading.Event()
        self.replies: list[tuple[int, httpx.Response]] = []
        self._pool = ThreadPoolExecutor(clients)
        self._done = [self._pool.submit(self._ask) for _ in range(clients)]

    def _ask(self) -> None:
        with self.running.client() as client:
            while not self.stopping.is_set():
                place = len(self.replies) % len(TEXTS)
                reply = client.post("/v1/tag", json={"text": TEXTS[place]}, headers=bearer(USER))
                self.replies.append((place, reply))

    def seen(self, wanted: str) -> None:
        """Wait until a version has answered."""
        until = time.monotonic() + 60
        while not any(reply.json().get("model_version") == wanted for _, reply in self.replies[-4:]):
            assert time.monotonic() < until
            time.sleep(0.01)

    def stop(self) -> list[tuple[int, httpx.Response]]:
        self.stopping.set()
        for done in self._done:
            done.result()
        return self.replies


def test_a_new_model_and_the_way_back_with_no_failed_request(
    taggers: list[Path], expected: dict[str, list[dict[str, Any]]], tmp_path: Path
) -> None:
    first, second = expected
    link = tmp_path / "current"
    link.symlink_to(taggers[0])
    with in_thread(link, access=Access([USER], [ADMIN])) as running, running.client(headers=bearer(ADMIN)) as admin:
        load = Load(running)
        load.seen(first)
        assert admin.post("/v1/admin/rollback").status_code == 409
        assert admin.post("/v1/admin/reload").json()["version"] == first
        point(link, taggers[1])
        assert admin.post("/v1/admin/reload").json()["version"] == second
        load.seen(second)
        assert admin.post("/v1/admin/rollback").json() | {"loaded": ""} == {
            "version": first, "engine": "torch", "earlier": second, "loaded": ""
        }  # fmt: skip
        load.seen(first)
        assert admin.post("/v1/admin/rollback").json()["version"] == second
        load.seen(second)
        replies = load.stop()
        assert running.metric("standpoint_reloads_total") == 4 + 1
    assert {reply.status_code for _, reply in replies} == {200}
    for place, reply in replies:
        body = reply.json()
        assert answered(body) == {"entity": expected[body["model_version"]][place]["entity"]}


DAMAGE: dict[str, Callable[[Path], object]] = {
    "gone": shutil.rmtree,
    "weights cut short": lambda folder: (folder / "model.safetensors").write_bytes(b"0" * 1000),
    "another kind": lambda folder: (folder / "config.json").write_text('{"model_type": "bert"}'),
    "no JSON": lambda folder: (folder / "config.json").write_text("{"),
    "a bit of the weights": lambda folder: _flip(folder / "model.safetensors"),
    "no tokenizer": lambda folder: (folder / "tokenizer.json").unlink(),
}


def _flip(path: Path) -> None:
    raw = bytearray(path.read_bytes())
    raw[-1000] ^= 64
    path.write_bytes(raw)


def test_a_damaged_checkpoint_leaves_the_old_one_answering(taggers: list[Path], tmp_path: Path) -> None:
    link = tmp_path / "current"
    link.symlink_to(taggers[0])
    with in_thread(link, access=Access([USER], [ADMIN])) as running, running.client(headers=bearer(ADMIN)) as admin:
        for name, damage in DAMAGE.items():
            broken = tmp_path / name.replace(" ", "-")
            shutil.copytree(taggers[1], broken)
            write_manifest(broken, [path.name for path in broken.iterdir()])
            damage(broken)
            point(link, broken)
            reply = admin.post("/v1/admin/reload")
            assert reply.status_code == 422, name
            assert f"version {version(taggers[0])} goes on" in reply.json()["detail"]
            assert str(broken) in reply.json()["detail"], name
            assert running.tag(text="a").status_code == 401
            assert admin.post("/v1/tag", json={"text": "a"}).json()["model_version"] == version(taggers[0])
        assert running.metric("standpoint_reloads_total") == len(DAMAGE)


def test_a_folder_that_is_written_over_while_it_is_served(taggers: list[Path], tmp_path: Path) -> None:
    """The weights in memory are not those of the file, or the process would die with the file's old length."""
    folder = tmp_path / "served"
    shutil.copytree(taggers[0], folder)
    with in_thread(folder, access=Access([], [ADMIN])) as running, running.client(headers=bearer(ADMIN)) as client:
        before = client.post("/v1/tag", json={"text": TEXTS[0]}).json()
        (folder / "model.safetensors").write_bytes(b"")
        assert client.post("/v1/admin/reload").status_code == 422
        assert client.post("/v1/tag", json={"text": TEXTS[0]}).json() == before
        shutil.copytree(taggers[1], folder, dirs_exist_ok=True)
        assert client.post("/v1/admin/reload").json()["version"] == version(taggers[1])
        assert client.post("/v1/admin/rollback").json()["version"] == version(taggers[0])
        after = client.post("/v1/tag", json={"text": TEXTS[0]}).json()
        assert answered(after) == answered(before)


def test_a_store_goes_forward_and_back_with_the_service(taggers: list[Path], tmp_path: Path) -> None:
    store = ModelStore(tmp_path / "store")
    first, second = map(store.admit, taggers)
    store.promote(first, "imported")
    with (
        in_thread(store.folder, access=Access([], [ADMIN])) as running,
        running.client(headers=bearer(ADMIN)) as client,
    ):
        assert client.get("/v1/model").json()["version"] == first
        assert client.post("/v1/admin/rollback").status_code == 409
        store.promote(second, "retrained")
        assert client.get("/v1/model").json()["version"] == first
        assert client.post("/v1/admin/reload").json()["version"] == second
        assert client.post("/v1/admin/rollback").json()["version"] == first == store.version
        store.promote(second, "retrained")
        (store.path(second) / "model.safetensors").write_bytes(b"")
        assert client.post("/v1/admin/reload").status_code == 422
        assert store.version == second
        # The store is where the service is not; the way back is for the store alone.
        assert client.post("/v1/admin/rollback").json()["version"] == first == store.version


def test_a_version_that_cannot_be_served_is_not_gone_back_to(taggers: list[Path], tmp_path: Path) -> None:
    store = ModelStore(tmp_path / "store")
    first, second = map(store.admit, taggers)
    store.promote(first, "imported")
    store.promote(second, "retrained")
    (store.path(first) / "model.safetensors").write_bytes(b"")
    with (
        in_thread(store.folder, access=Access([], [ADMIN])) as running,
        running.client(headers=bearer(ADMIN)) as client,
    ):
        refused = client.post("/v1/admin/rollback")
        assert (refused.status_code, refused.json()["type"]) == (422, "urn:standpoint:problem:unusable")
        assert client.get("/v1/model").json()["version"] == second == store.version


def test_another_engine_of_the_same_weights_is_taken(taggers: list[Path], tmp_path: Path) -> None:
    folder = tmp_path / "served"
    shutil.copytree(taggers[0], folder)
    export(folder, "onnx")
    with in_thread(folder, access=Access([], [ADMIN])) as running, running.client(headers=bearer(ADMIN)) as client:
        assert client.get("/v1/model").json()["engine"] == "onnx"
        shutil.move(folder / "engines", tmp_path / "away")
        state = client.post("/v1/admin/reload").json()
        assert (state["engine"], state["earlier"]) == ("torch", state["version"])
        assert client.post("/v1/tag", json={"text": "Kabul."}).status_code == 200
        shutil.move(tmp_path / "away", folder / "engines")
        assert client.post("/v1/admin/reload").json()["engine"] == "onnx"
        assert client.post("/v1/admin/rollback").json()["engine"] == "torch"
        assert sum("answers from now on" in line for line in running.said) == 3


def test_a_reload_that_fails_unforeseen_is_told(
    taggers: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with in_thread(taggers[0], access=Access([], [ADMIN])) as running, running.client(headers=bearer(ADMIN)) as client:
        monkeypatch.setattr("tempfile.TemporaryDirectory", broken)
        assert client.post("/v1/admin/reload").json()["version"] == version(taggers[0])
        assert any("cannot be copied" in line and "do not write over it" in line for line in running.said)
        monkeypatch.setattr("inference.service.models.version", broken)
        reply = client.post("/v1/admin/reload")
        assert reply.status_code == 422 and "no room" in reply.json()["detail"]
        assert running.api is not None
        monkeypatch.setattr(running.api.models, "_load", broken)
        assert client.post("/v1/admin/reload").status_code == 500
        assert "goes on: failed: OSError" in running.said[-1]
        assert client.post("/v1/tag", json={"text": "a"}).status_code == 200


def broken(*_: object, **__: object) -> None:
    raise OSError("no room")


COMMANDS = {
    "inference alone": ["-m", "inference.service"],
    "standpoint": ["-c", "from training.cli import main; main()", "serve"],
}


@pytest.mark.parametrize("name", COMMANDS)
def test_signals_reload_and_end_it(name: str, taggers: list[Path], tmp_path: Path) -> None:
    """SIGHUP under load, then SIGTERM in the middle of requests: whatever was sent before is answered, status 0."""
    link, log = tmp_path / "current", tmp_path / "log"
    link.symlink_to(taggers[0])
    command = [*COMMANDS[name], str(link), "port=0", "log_requests=true"]
    with as_process(command, log, {"STANDPOINT_TOKENS": USER}) as running:
        load = Load(running)
        load.seen(version(taggers[0]))
        point(link, taggers[1])
        assert running.process is not None
        running.process.send_signal(signal.SIGHUP)
        load.seen(version(taggers[1]))
        assert {reply.status_code for _, reply in load.stop()} == {200}
        with ThreadPoolExecutor(10) as pool:
            before = _taken(running)
            jobs = [pool.submit(_slow, running, number) for number in range(9)]
            while _taken(running) < before + 9:
                time.sleep(0.01)
            # Its lines count as documents too: begun earlier, they could stand for requests that are still to come.
            jobs.append(pool.submit(_slow_stream, running))
            while _taken(running) < before + 10:
                time.sleep(0.01)
            running.process.send_signal(signal.SIGTERM)
            assert [job.result() for job in jobs] == [200] * 10
        assert running.process.wait(60) == 0
    told = log.read_text()
    assert "POST /v1/tag 200" in told and told.rstrip().endswith("ended")
    assert "Traceback" not in told and USER not in told and "Kabul" not in told and "border" not in told


def _taken(running: Running) -> float:
    """How many documents the service has let in; those answered are read first, so that none counts twice."""
    return running.metric("standpoint_documents_total") + running.metric("standpoint_queue_documents")


def _slow(running: Running, number: int) -> int:
    with running.client() as client:
        text = f"{number}. Fighters crossed the border on 3 May. " * 300
        return client.post("/v1/tag", json={"text": text}, headers=bearer(USER)).status_code


def _slow_stream(running: Running) -> int:
    """A stream whose second half is sent when the service has been told to end."""

    def lines() -> Any:
        for number in range(20):
            yield json.dumps({"text": f"{number}. The border is closed. " * 20}).encode() + b"\n"
            time.sleep(0.02)

    with running.client() as client:
        reply = client.post("/v1/tag", content=lines(), headers=NDJSON | bearer(USER))
        bodies = [json.loads(line) for line in reply.text.splitlines()]
        assert len(bodies) == 20 and all("labels" in body for body in bodies)
        return reply.status_code


def test_ctrl_c_ends_it(taggers: list[Path], tmp_path: Path) -> None:
    with as_process(["-m", "inference.service", str(taggers[0]), "port=0"], tmp_path / "log") as running:
        assert running.process is not None
        running.process.send_signal(signal.SIGINT)
        assert running.process.wait(60) == 130


WRONG = {
    "no such folder": (["none"], "is no folder"),
    "another folder": (["configs"], "has no config.json"),
    "an unknown setting": (["{tagger}", "prt=1"], "did you mean 'port'?"),
    "an unknown engine": (["{tagger}", "engine=steam"], "engine 'steam'"),
    "a taken port": (["{tagger}", "port={port}"], "cannot be listened on"),
    "no tokens": (["{tagger}", "tokens_file=none"], "cannot be read"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_cannot_be_served_ends_with_status_2(
    name: str, taggers: list[Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments, words = WRONG[name]
    with socket.create_server(("127.0.0.1", 0)) as taken:
        filled = [one.format(tagger=taggers[0], port=taken.getsockname()[1]) for one in arguments]
        monkeypatch.setattr(sys, "argv", ["service", *filled])
        assert main() == 2
    assert words in capsys.readouterr().err


def test_the_command_serves_one_of_two(taggers: list[Path]) -> None:
    for arguments in ([], [str(taggers[0]), "--label-studio", "x.yaml"], ["one", "two"]):
        ended = _run("-c", "from training.cli import main; main()", "serve", *arguments)
        assert ended.returncode == 2 and "--label-studio" in re.sub(r"\s+", " ", ended.stderr)


def test_serving_needs_nothing_of_training() -> None:
    code = (
        "import sys\nimport inference.service.running, inference.service.api, inference.service.models\n"
        "roots = {name.split('.')[0] for name in sys.modules}\n"
        "print(sorted(roots & {'training', 'datasets', 'label_studio_sdk', 'seqeval', 'fastapi'}))"
    )
    assert _run("-c", code).stdout.strip() == "[]"


def _run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *arguments], capture_output=True, text=True, cwd=ROOT, timeout=120)
