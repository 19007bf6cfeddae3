"""What costs the service much and its sender little: it is refused or taken in small steps, and others are answered."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any
from unittest.mock import AsyncMock

import httpx
import pytest
from conftest import ROOT
from pydantic import ValidationError
from service_help import JSON, NDJSON, Running, in_thread, make_checkpoint

from inference.config import TaggerConfig
from inference.listening import HANG_UP, listener, server
from inference.service.intake import Intake
from inference.service.messages import DocumentIn, Options
from inference.service.problems import MOST_KEYS, Kind, Problem, invalid
from inference.service.reading import parse
from inference.service.streams import Answering, Stream, lines

MANY: dict[str, Any] = {f"article-{number}": "b" for number in range(51)}
HUGE: dict[str, Any] = {"~" * 100_000: 1}


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory, encoders: Callable[[str], Path], config: TaggerConfig) -> Path:
    return make_checkpoint(tmp_path_factory.mktemp("strain") / "tagger", encoders("modernbert"), config, 1)


@pytest.fixture(scope="module")
def service(checkpoint: Path) -> Iterator[Running]:
    with in_thread(checkpoint) as running:
        yield running


@pytest.mark.parametrize(("more", "told"), [(MANY, "53 keys"), (HUGE, "a key of 100000 characters")])
def test_objects_with_many_or_huge_keys_are_refused_in_a_few_words(
    service: Running, more: dict[str, Any], told: str
) -> None:
    """Alone, among others, and in a stream, where the others are tagged."""
    bad = {"id": "a", "text": "a", **more}
    one = service.tag(**bad)
    top = service.tag(documents=[{"text": "a"}], target="b", **more)
    some = service.tag(documents=[bad, {"text": "a"}])
    with service.client() as client:
        lines = f'{json.dumps(bad)}\n{{"text": "a"}}\n'
        stream = client.post("/v1/tag", content=lines.encode(), headers=NDJSON)
    assert one.status_code == top.status_code == 422
    listed, streamed = some.json()["documents"], [json.loads(line) for line in stream.text.splitlines()]
    for problem in (one.json(), top.json(), listed[0]["error"], streamed[0]["error"]):
        assert told in problem["detail"] and problem["type"] == "urn:standpoint:problem:invalid"
        assert len(json.dumps(problem)) < 400
    assert "labels" in listed[1] and "labels" in streamed[1]


def test_a_query_with_a_huge_key_is_refused_in_a_few_words(service: Running) -> None:
    with service.client() as client:
        reply = client.post(f"/v1/tag?{'a' * 20_000}=b", content=b"{}", headers=JSON)
    assert reply.status_code == 422 and len(reply.content) < 400


def test_nothing_is_written_out_that_is_not_shown() -> None:
    """What Python would write of a long value takes seconds, and nobody else is served meanwhile."""

    class Long(list[int]):
        def __repr__(self) -> str:
            raise AssertionError

    class LongText(str):
        def __repr__(self) -> str:
            raise AssertionError

    for values, model in (({"offsets": Long()}, Options), ({"text": "a", "id": LongText("a" * 2000)}, DocumentIn)):
        with pytest.raises(ValidationError) as caught:
            model.model_validate(values)
        assert len(invalid(caught.value, model).detail) < 300


def test_other_threads_run_while_a_body_is_read() -> None:
    raw = b"[" + b"[],1," * 300_000 + b"{}]"
    thread = threading.Thread(target=parse, args=(raw, "the body", 6000))
    began = last = time.perf_counter()
    longest = 0.0
    thread.start()
    while thread.is_alive():
        now = time.perf_counter()
        longest, last = max(longest, now - last), now
    assert longest < (last - began) / 2


@pytest.mark.parametrize(
    "values", ["[" + "1," * 1100, "[" + "[]," * 1100, "[" + "{}," * 1100, '[[{"a":[' + "1," * 1100]
)
def test_json_of_many_values_is_read_no_further(values: str) -> None:
    """Each takes thirty times as long as characters do, and six such bodies kept all others waiting for a minute."""
    with pytest.raises(Problem) as caught:
        parse(values.encode() + b"1, no JSON")
    assert caught.value.kind is Kind.TOO_LARGE
    assert "the body holds more than 1100 values" in caught.value.detail and "NDJSON" in caught.value.detail


def test_json_of_as_many_values_as_may_be_is_read() -> None:
    """Everything in it counts once, and what is in texts does not; documents have far fewer than there is room for."""
    most = [{"a": [number, "[1,1]" * 1000, {}, []]} for number in range(183)] + [1, 2]
    assert parse(json.dumps(most).encode()) == most
    with pytest.raises(Problem):
        parse(json.dumps([*most, 3]).encode())
    full = {"documents": [dict.fromkeys(map(str, range(MOST_KEYS)), "a")] * 1000, **dict.fromkeys("abc")}
    assert parse(json.dumps(full).encode(), documents=1000) == full


def test_requests_of_many_values_are_refused(service: Running) -> None:
    body = b'{"text": "a", "x": [' + b"1," * 4_000_000 + b"1]}"
    with service.client() as client:
        one = client.post("/v1/tag", content=body, headers=JSON)
        stream = client.post("/v1/tag", content=body[:100_000] + b'1]}\n{"text": "a"}\n', headers=NDJSON)
    assert one.status_code == 413 and "more than 101000 values" in one.json()["detail"]
    first, second = map(json.loads, stream.text.splitlines())
    assert "line 1 holds more than 1100 values" in first["error"]["detail"] and "labels" in second


async def listed(*chunks: bytes, intake: Intake | None = None, longest: int = 1_000_000) -> list[tuple[int, bytes]]:
    """The lines of a stream."""

    async def coming() -> AsyncIterator[bytes]:
        for chunk in chunks:
            yield chunk

    return [found async for found in lines(coming(), intake or Intake(1, 10**9), longest=longest, seconds=30)]


def test_lines_are_numbered_whatever_is_blank_between_them() -> None:
    assert asyncio.run(listed(b"\n\n \r", b"\n {}\n[]\n \n", b"\t", b"\n", b"1", b"2", b"\n\n", b"  3")) == [
        (4, b" {}"),
        (5, b"[]"),
        (8, b"12"),
        (10, b"  3"),
    ]


def test_blank_lines_are_taken_all_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A deadline for each of the million that fit into a body would keep everybody else waiting for half a minute."""
    deadlines: list[float | None] = []
    timeout = asyncio.timeout

    def counted(seconds: float | None) -> asyncio.Timeout:
        deadlines.append(seconds)
        return timeout(seconds)

    monkeypatch.setattr(asyncio, "timeout", counted)
    intake = Intake(1, 10**9)
    assert asyncio.run(listed(b"\n" * 100_000, b"{}\n[]\n" + b" \r\n" * 100_000, b"1", intake=intake)) == [
        (100_001, b"{}"),
        (100_002, b"[]"),
        (200_003, b"1"),
    ]
    assert len(deadlines) <= 4 and not intake.body_bytes and not intake._begun


def test_a_line_that_drips_is_too_slow_though_it_ends() -> None:
    """Each piece comes in time, and the line does not."""

    async def coming() -> AsyncIterator[bytes]:
        for piece in [b"1"] * 15 + [b"\n"]:
            await asyncio.sleep(0.05)
            yield piece

    async def read(intake: Intake) -> list[tuple[int, bytes]]:
        return [found async for found in lines(coming(), intake, longest=100, seconds=0.5)]

    intake = Intake(1, 1000)
    with pytest.raises(Problem) as caught:
        asyncio.run(read(intake))
    assert caught.value.kind is Kind.TOO_SLOW and "line 1 took longer than 0.5 s" in caught.value.detail
    assert not intake.body_bytes and not intake._begun


def test_it_answers_and_ends_though_nobody_reads_what_it_says(checkpoint: Path) -> None:
    read, write = os.pipe()
    command = [sys.executable, "-m", "inference.service", str(checkpoint), "port=0", "log_requests=true"]
    process = subprocess.Popen(command, stderr=write, cwd=ROOT)
    try:
        os.close(write)
        with os.fdopen(read) as said:
            found = next(found for line in said if (found := re.search(r"Listening on (\S+)", line)))
        for _ in range(2):
            assert httpx.post(f"{found[1]}/v1/tag", json={"text": "Kabul."}, timeout=60).status_code == 200
        process.send_signal(signal.SIGTERM)
        process.wait(60)
    finally:
        process.kill()
        process.wait(60)
    assert process.returncode == 0


def test_it_ends_whatever_goes_wrong_before() -> None:
    async def leaving() -> None:
        raise RuntimeError

    async def end() -> bool:
        ending = server(AsyncMock(), drain_seconds=1, leaving=leaving)
        with pytest.raises(RuntimeError):
            await ending._end()
        return bool(ending.should_exit)

    assert asyncio.run(end())


def test_answers_do_not_wait_for_the_client_to_own_to_their_first_part() -> None:
    """Head and body are sent apart, and by default the system keeps the second back until the first is acknowledged."""
    delays: list[int] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        link = scope["state"][HANG_UP].__self__.transport.get_extra_info("socket")
        delays.append(link.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
        await send({"type": "http.response.body", "body": b"ok"})

    with listener("127.0.0.1", 0) as found:
        running = server(app, drain_seconds=1)
        thread = threading.Thread(target=running.run, kwargs={"sockets": [found]})
        thread.start()
        try:
            assert httpx.get(f"http://127.0.0.1:{found.getsockname()[1]}").text == "ok"
        finally:
            running.should_exit = True
            thread.join(60)
    assert delays == [1]


async def side_by_side(
    count: int, coming: Callable[[], AsyncIterator[bytes]], answer: Answering, intake: Intake, *, longest: int
) -> list[list[bytes]]:
    """What so many streams of the same lines are answered that share an intake."""

    async def ask() -> list[bytes]:
        stream = Stream(answer, intake, at_once=4, most_bytes=1000)
        return [found async for found in stream.run(lines(coming(), intake, longest=longest, seconds=30))]

    async with asyncio.timeout(60):
        return await asyncio.gather(*(ask() for _ in range(count)))


def test_lines_that_wait_are_held_and_streams_wait_for_each_other() -> None:
    """However many streams bring a line that fills a third of the room, what is read is counted, and all are answered."""
    intake, held = Intake(1, 1000), set[int]()

    async def coming() -> AsyncIterator[bytes]:
        for _ in range(3):
            yield b"1" * 299 + b"\n"

    async def answer(number: int, line: bytes) -> bytes:
        # All others come as far as they can.
        for _ in range(50):
            await asyncio.sleep(0)
        held.add(intake.body_bytes)
        return b"%d" % number

    assert asyncio.run(side_by_side(8, coming, answer, intake, longest=500)) == [[b"1", b"2", b"3"]] * 8
    assert 800 < max(held) <= 1000 and not intake.body_bytes and not intake._begun


def test_streams_that_can_only_wait_for_each_other_are_refused() -> None:
    intake = Intake(1, 1000)

    async def coming() -> AsyncIterator[bytes]:
        yield b"1" * 300
        await asyncio.sleep(0)
        yield b"1" * 300 + b"\n"

    async def answer(number: int, line: bytes) -> bytes:
        return b"%d" % number

    found = asyncio.run(side_by_side(3, coming, answer, intake, longest=700))
    assert [b"1"] in found and any(b"problem:busy" in lines[0] for lines in found)
    assert not intake.body_bytes and not intake._begun


def test_a_line_that_waits_has_room_when_a_body_is_let_go() -> None:
    intake = Intake(1, 100)

    async def wait() -> None:
        intake.read(90)
        line = asyncio.create_task(intake.begin(50))
        await asyncio.sleep(0)
        assert not line.done()
        intake.read(-90)
        async with asyncio.timeout(20):
            await line

    asyncio.run(wait())
    assert intake.body_bytes == intake._begun == 50


def test_a_line_is_as_long_as_its_target_may_be(checkpoint: Path) -> None:
    long = json.dumps({"text": "a", "target": "\U0001f642" * 10_000})
    lines = f'{long}\n{{"text": "a"}}\n'
    with in_thread(checkpoint, ["limits.characters=10"]) as running, running.client() as client:
        first, second = client.post("/v1/tag", content=lines.encode(), headers=NDJSON).text.splitlines()
    assert "line 1" not in first and "labels" in json.loads(second)


def test_a_line_that_never_finds_room_is_too_large(checkpoint: Path) -> None:
    """It was told to come back later, whenever it came."""
    line = b'{"txt": "%s"}\n'
    with in_thread(checkpoint, ["limits.body_mb=1", "limits.bodies_mb=1"]) as running, running.client() as client:
        replies = [
            client.post("/v1/tag", content=line % (b"a" * size), headers=NDJSON).json()
            for size in (490_000, 510_000, 2_000_000)
        ]
    assert [reply["error"]["status"] for reply in replies] == [422, 413, 413]


def test_the_system_keeps_little_for_whoever_reads_slowly(service: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    """From buffers of megabytes the next piece would be taken when it is too late, though the client never paused."""
    accepted: list[socket.socket] = []
    accept = socket.socket.accept

    def noted(one: socket.socket) -> tuple[socket.socket, Any]:
        connection, address = accept(one)
        accepted.append(connection)
        return connection, address

    monkeypatch.setattr(socket.socket, "accept", noted)
    with service.client() as client:
        assert client.get("/healthz").status_code == 200
        [connection] = accepted
        assert connection.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF) <= 1 << 17


def test_whoever_hangs_up_on_a_stream_that_has_come_is_answered_no_more(checkpoint: Path) -> None:
    lines = b'{"text": "Kabul."}\n' * 1500
    head = b"POST /v1/tag HTTP/1.1\r\nHost: a\r\nContent-Type: application/x-ndjson\r\nContent-Length: %d\r\n\r\n"
    with in_thread(checkpoint, ["limits.stream_documents=2"]) as running:
        with socket.create_connection(running.address, timeout=30) as connection:
            connection.sendall(head % len(lines) + lines)
            assert connection.recv(10)
            # Without lingering the other side sees a reset, as from a process that was killed.
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        until = time.monotonic() + 60
        while running.metric(r'standpoint_requests_total\{path="/v1/tag",status="499"\}') < 1:
            assert time.monotonic() < until
            time.sleep(0.05)
        assert running.metric("standpoint_documents_total") < 1000
