"""A service whose documents are tagged by processes of their own: real ones, killed, replaced and reloaded under load."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import warm
from hypothesis import given
from hypothesis import strategies as st
from service_help import ADMIN, NDJSON, TARGET, TEXTS, USER, Running, as_process, bearer, in_thread, make_checkpoint
from test_service import answered
from test_service_reload import Load, expected, point, taggers

from inference.checkpoint_files import version
from inference.config import TaggerConfig
from inference.service.pipes import Unpacking, packed
from inference.tagger import Tagger

__all__ = ["expected", "taggers"]
TOKENS = {"STANDPOINT_TOKENS": USER, "STANDPOINT_ADMIN_TOKENS": ADMIN}
SERVE = ["-m", "inference.service"]


@pytest.fixture(scope="module")
def link(taggers: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = tmp_path_factory.mktemp("served") / "current"
    found.symlink_to(taggers[0])
    return found


@pytest.fixture(scope="module")
def log(link: Path) -> Path:
    return link.with_name("log")


@pytest.fixture(scope="module")
def running(link: Path, log: Path) -> Iterator[Running]:
    command = [*SERVE, str(link), "port=0", "engine_workers=2", "batching.tokens=400"]
    with as_process(command, log, TOKENS | warm.FOR_CHILDREN) as found:
        yield found


def children(running: Running) -> list[int]:
    """The processes that tag for a service."""
    assert running.process is not None
    tasks = Path(f"/proc/{running.process.pid}/task").glob("*/children")
    found = [int(one) for task in tasks for one in task.read_text().split()]
    return [one for one in found if Path(f"/proc/{one}/comm").read_text() != f"{warm.NAME}\n"]


def until(true: Callable[[], Any], seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.05)


def ask(running: Running, **body: Any) -> httpx.Response:
    with running.client(headers=bearer(USER)) as client:
        return client.post("/v1/tag", json=body)


def test_their_answers_are_those_of_one_process(running: Running, taggers: list[Path]) -> None:
    assert running.metric("standpoint_workers") == 2
    tagger, long = Tagger.load(taggers[0]), TEXTS[4] * 40
    texts = [*TEXTS, long, "A\x00B met in Kabul."] * 3
    bodies = ask(running, documents=[{"id": str(n), "text": text} for n, text in enumerate(texts)]).json()["documents"]
    assert [body["id"] for body in bodies] == [str(number) for number in range(len(texts))]
    assert [answered(body) for body in bodies] == [one.without_scores() for one in tagger.tag(texts)]
    lines = "".join(json.dumps({"text": text, "target": TARGET}) + "\n" for text in texts)
    with running.client(headers=bearer(USER)) as client:
        reply = client.post("/v1/tag", content=lines.encode(), headers=NDJSON)
    told = [answered(json.loads(line)) for line in reply.text.splitlines()]
    assert told == [one.without_scores() for one in tagger.tag(texts, target=TARGET)]
    assert running.metric("standpoint_truncations_total") == 0
    assert running.metric("standpoint_batch_documents_sum") == 2 * len(texts)
    assert running.metric("standpoint_tokens_total") > running.metric("standpoint_batch_documents_sum")
    utf16, plain = (ask(running, text=TEXTS[1], offsets=unit).json() for unit in ("utf16", "code_points"))
    length = len(TEXTS[1].encode("utf-16-le")) // 2
    assert all(one["end"] <= length for one in utf16["labels"]["entity"])
    assert len(utf16["labels"]["entity"]) == len(plain["labels"]["entity"])


def test_what_a_document_lacks_is_told(running: Running) -> None:
    reply = ask(running, documents=[{"text": "a", "target": "word " * 1500}, {"text": "VOA said so."}])
    refused, tagged = reply.json()["documents"]
    assert refused["error"]["status"] == 422 and "shorten it" in refused["error"]["detail"]
    assert "labels" in tagged


def test_one_that_dies_is_replaced_and_nothing_is_lost(
    running: Running, expected: dict[str, list[dict[str, Any]]], log: Path
) -> None:
    load = Load(running, clients=8)
    until(lambda: len(load.replies) > 20)
    for _ in range(2):
        before = children(running)
        os.kill(before[0], signal.SIGKILL)
        until(lambda gone=before[0]: len(children(running)) == 2 and gone not in children(running))
        until(lambda: running.metric("standpoint_workers") == 2)
    replies = load.stop()
    for place, reply in replies:
        assert reply.status_code == 200
        assert answered(reply.json()) == {"entity": expected[reply.json()["model_version"]][place]["entity"]}
    assert log.read_text().count("ended by signal 9") == 2


def test_where_all_die_documents_wait_for_the_next(running: Running) -> None:
    for one in children(running):
        os.kill(one, signal.SIGKILL)
    assert ask(running, text=TEXTS[0]).status_code == 200
    with running.client() as client:
        assert client.get("/healthz").status_code == 200
    until(lambda: running.metric("standpoint_workers") == 2)


def test_a_new_model_and_the_way_back(running: Running, taggers: list[Path], link: Path) -> None:
    first, second = map(version, taggers)
    before = set(children(running))
    with running.client(headers=bearer(ADMIN)) as admin:
        load = Load(running)
        load.seen(first)
        point(link, taggers[1])
        assert admin.post("/v1/admin/reload").json()["version"] == second
        load.seen(second)
        assert before < set(children(running)), "those of the model before stay at hand"
        assert admin.post("/v1/admin/rollback").json()["version"] == first
        load.seen(first)
        assert {reply.status_code for _, reply in load.stop()} == {200}
        (taggers[1].parent / "broken").mkdir()
        point(link, taggers[1].parent / "broken")
        refused = admin.post("/v1/admin/reload")
        assert refused.status_code == 422 and f"version {first} goes on" in refused.json()["detail"]
        point(link, taggers[1])
        assert admin.post("/v1/admin/reload").json()["version"] == second
    until(lambda: len(children(running)) == 4 and before < set(children(running)))


def test_they_end_with_the_service_however_it_ends(running: Running, link: Path, tmp_path: Path) -> None:
    under = children(running)
    assert running.process is not None and len(under) >= 2
    running.process.kill()
    running.process.wait()
    until(lambda: not any(Path(f"/proc/{one}/status").exists() for one in under))
    log = tmp_path / "log"
    with as_process([*SERVE, str(link), "port=0", "engine_workers=1"], log, warm.FOR_CHILDREN) as other:
        assert other.process is not None
        under = children(other)
        assert ask(other, text=TEXTS[0]).status_code == 200
        other.process.terminate()
        assert other.process.wait(60) == 0
        assert not any(Path(f"/proc/{one}/status").exists() for one in under)
    assert log.read_text().rstrip().endswith("ended") and "Traceback" not in log.read_text()


HARMED = """
import os, time
from inference.service import worker, worker_process
whole = worker.truncated
def truncated(text, windows):
    if text == "DEADLY":
        os._exit(3)
    if text == "BROKEN":
        raise ValueError("what the text said: BROKEN")
    if text == "SLOW":
        time.sleep(2)
    return whole(text, windows)
worker.truncated = truncated
worker_process.main()
"""


def test_what_a_text_does_to_its_process(
    encoders: Callable[[str], Path], config: TaggerConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("inference.service.workers.COMMAND", (sys.executable, "-c", HARMED))
    checkpoint = make_checkpoint(tmp_path / "tagger", encoders("bert"), config, 1)
    with warm.children(), in_thread(checkpoint, ["engine_workers=1"]) as service:
        broken = service.tag(text="BROKEN")
        assert broken.status_code == 500 and broken.json()["detail"] == "internal error: ValueError"
        assert "/v1/tag: failed: ValueError at " in service.said[-1] and not any(
            "BROKEN" in one for one in service.said
        )
        with service.client() as client, pytest.raises(httpx.TimeoutException):
            client.post("/v1/tag", json={"text": "SLOW"}, timeout=0.5)
        until(lambda: service.metric("standpoint_batch_waiting") == 0)
        assert service.tag(text=TEXTS[0]).status_code == 200
        assert service.metric("standpoint_batch_documents_sum") == 1, "what was taken back is not tagged"
        deadly = service.tag(text="DEADLY")
        assert deadly.status_code == 500 and deadly.json()["detail"] == "internal error: WorkerDied"
        assert sum("ended with status 3" in line for line in service.said) == 2
        assert service.tag(text=TEXTS[0]).status_code == 200
        assert service.metric("standpoint_queue_documents") == 0


@given(st.lists(st.lists(st.tuples(st.text(), st.integers(), st.binary()))), st.integers(1, 40))
def test_messages_arrive_whole_however_they_are_cut(lists: list[list[tuple[Any, ...]]], size: int) -> None:
    sent, unpacking = b"".join(map(packed, lists)), Unpacking()
    pieces = [sent[start : start + size] for start in range(0, len(sent), size)]
    assert [one for piece in pieces for one in unpacking.feed(piece)] == [one for some in lists for one in some]
