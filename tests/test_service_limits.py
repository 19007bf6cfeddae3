"""What the service refuses, and whom it does not wait for: tokens, sizes, a full queue, slow and vanishing clients."""

from __future__ import annotations

import gc
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from service_help import ADMIN, JSON, NDJSON, USER, Running, bearer, in_thread, make_checkpoint
from typer.testing import CliRunner

from annotations.errors import ConfigError
from inference.config import TaggerConfig
from inference.service.access import ADMINS, USERS, Access, read_access
from inference.service.config import ServiceConfig
from training.cli import app

HASTY = ["timeouts.head=0.4", "timeouts.body=0.4", "timeouts.write=0.6", "timeouts.keep_alive=1"]
SLOW = "Fighters of al-Shabab crossed the border on 3 May. " * 390


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory, encoders: Callable[[str], Path], config: TaggerConfig) -> Path:
    return make_checkpoint(tmp_path_factory.mktemp("limits") / "tagger", encoders("modernbert"), config, 1)


@pytest.fixture(scope="module")
def guarded(checkpoint: Path) -> Iterator[Running]:
    with in_thread(checkpoint, access=Access([USER], [ADMIN])) as running:
        yield running


@pytest.fixture(scope="module")
def narrow(checkpoint: Path) -> Iterator[Running]:
    """Room for one long text, and little patience."""
    limits = ["limits.queue_characters=20000", "limits.characters=20000", "limits.body_mb=1", "limits.bodies_mb=2"]
    with in_thread(checkpoint, [*HASTY, *limits, "batching.tokens=400"]) as running:
        yield running


def exchange(running: Running, *pieces: bytes, pause: float = 0.0) -> bytes:
    """Send pieces with pauses between, and read until the service closes the connection."""
    with socket.create_connection(running.address, timeout=30) as connection:
        try:
            for piece in pieces:
                connection.sendall(piece)
                time.sleep(pause)
        except OSError:
            pass
        found = b""
        try:
            while chunk := connection.recv(65536):
                found += chunk
        except ConnectionResetError:
            pass
        return found


def settled(running: Running, seconds: float = 20) -> bool:
    """Whether nothing is left of earlier requests."""
    until = time.monotonic() + seconds
    names = ("queue_characters", "queue_documents", "body_bytes", "batch_waiting")
    while time.monotonic() < until:
        if not any(running.metric(f"standpoint_{name}") for name in names):
            return True
        time.sleep(0.05)
    return False


def test_tokens_are_needed_and_known(guarded: Running) -> None:
    with guarded.client() as client:
        for headers in (
            {},
            bearer("wrong-token-of-nobody"),
            {"Authorization": f"Basic {USER}"},
            {"Authorization": "Bearer"},
        ):
            reply = client.post("/v1/tag", json={"text": "a"}, headers=headers)
            assert reply.status_code == 401 and reply.headers["www-authenticate"] == "Bearer"
            assert reply.headers["content-type"] == "application/problem+json"
        for token in (USER, ADMIN):
            assert client.post("/v1/tag", json={"text": "a"}, headers=bearer(token)).status_code == 200
        assert client.get("/v1/model").status_code == 401
        for path in ("/v1/admin/reload", "/v1/admin/rollback"):
            assert client.post(path).status_code == 401
            assert client.post(path, headers=bearer(USER)).status_code == 403
        for path in ("/healthz", "/readyz", "/metrics", "/openapi.json", "/"):
            assert client.get(path).status_code == 200
    assert not [line for line in guarded.said if USER in line or ADMIN in line]


def test_without_administrators_nobody_reloads(narrow: Running) -> None:
    with narrow.client() as client:
        reply = client.post("/v1/admin/reload", headers=bearer(USER))
    assert reply.status_code == 403 and "SIGHUP" in reply.json()["detail"]


def test_tokens_come_from_files_or_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "tokens"
    path.write_text(f"# ours\n{USER}\n\nanother-token-of-nobody\n")
    monkeypatch.setenv(ADMINS, ADMIN)
    found = read_access(path, None)
    found.user(f"Bearer {USER}")
    found.user(f"bearer {ADMIN}")
    found.admin(f"Bearer {ADMIN}")
    monkeypatch.setenv(USERS, f"{ADMIN} {USER}")
    with pytest.raises(ConfigError, match="administrator's too"):
        read_access(None, None)
    monkeypatch.setenv(USERS, "short")
    with pytest.raises(ConfigError, match="16 ASCII characters") as caught:
        read_access(None, None)
    assert "short" not in str(caught.value)
    for content in (b"\xff", b"# none\n"):
        path.write_bytes(content)
        with pytest.raises(ConfigError):
            read_access(path, None)
    with pytest.raises(ConfigError, match="check the path"):
        read_access(tmp_path / "none", None)
    monkeypatch.delenv(USERS)
    monkeypatch.delenv(ADMINS)
    assert read_access(None, None).open


def test_settings_are_checked() -> None:
    overrides = ["limits.body_mb=0", "timeouts.heads=3", "port=70000", "limits.characters=1e9"]
    with pytest.raises(ConfigError) as caught:
        ServiceConfig.build({}, where="serve", overrides=overrides)
    text = str(caught.value)
    assert "limits.body_mb" in text and "did you mean 'head'?" in text and "port" in text


def test_a_folder_with_an_equals_sign_in_its_name_is_the_checkpoint(tmp_path: Path) -> None:
    folder = tmp_path / "lr=3e-4" / "checkpoint"
    folder.mkdir(parents=True)
    result = CliRunner().invoke(app, ["serve", str(folder), "port=8081"])
    assert result.exit_code == 2
    assert f"{folder}: has no config.json" in result.stderr


def test_a_full_queue_refuses_and_says_when_to_come_back(narrow: Running) -> None:
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(narrow.tag, text=SLOW)
        while not narrow.metric("standpoint_queue_characters"):
            assert not first.done()
        refused = narrow.tag(text="Kabul. " * 1000)
        assert first.result().status_code == 200
    assert refused.status_code == 429
    assert int(refused.headers["retry-after"]) >= 1
    assert refused.json()["type"] == "urn:standpoint:problem:busy"
    assert narrow.tag(text="Kabul. " * 1000).status_code == 200


def test_a_stream_waits_where_a_request_is_refused(narrow: Running) -> None:
    lines = "\n".join(json.dumps({"text": "Kabul is quiet. " * 500, "id": str(number)}) for number in range(8))
    with narrow.client() as client:
        reply = client.post("/v1/tag", content=lines.encode(), headers=NDJSON)
    bodies = [json.loads(line) for line in reply.text.splitlines()]
    assert [body["id"] for body in bodies] == [str(number) for number in range(8)]
    assert all("labels" in body for body in bodies)


def test_targets_are_counted_like_texts(narrow: Running) -> None:
    many = [{"text": "a", "target": "Kabul is quiet. " * 20} for _ in range(100)]
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(narrow.tag, text=SLOW)
        while not narrow.metric("standpoint_queue_characters"):
            assert not first.done()
        assert narrow.tag(documents=many).status_code == 429
        assert first.result().status_code == 200
    assert settled(narrow)


def test_lines_of_streams_are_held_bodies(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many clients send long lines, no more than half of the limit is held for them, and all are answered."""
    limits = ["limits.body_mb=1", "limits.bodies_mb=1", "limits.characters=20000", "limits.queue_characters=20000"]
    # Escaped, each space is six bytes that cost the model nothing.
    line = json.dumps({"text": "Кабул молчит. " * 60 + "\u2003" * 9_000}).encode()
    held: list[int] = []
    with in_thread(checkpoint, limits) as running, ThreadPoolExecutor(2) as pool:
        assert running.api is not None
        intake = running.api.intake
        hold = intake.hold

        async def noted(size: int) -> None:
            await hold(size)
            held.append(intake._lines)

        monkeypatch.setattr(intake, "hold", noted)

        def ask(_: int) -> list[bool]:
            with running.client() as client:
                reply = client.post("/v1/tag", content=b"\n".join([line] * 12), headers=NDJSON)
            return ["labels" in json.loads(found) for found in reply.text.splitlines()]

        assert list(pool.map(ask, range(2))) == [[True] * 12] * 2
        assert len(held) == 24 and 2 * len(line) < max(held) <= 500_000 < 24 * len(line)
        assert settled(running)


def test_a_body_that_is_too_long_is_refused_before_it_is_read(narrow: Running) -> None:
    head = b"POST /v1/tag HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 99999999\r\n\r\n"
    assert b" 413 " in exchange(narrow, head).splitlines()[0]

    def endless() -> Iterator[bytes]:
        for _ in range(40):
            yield b"a" * 65536

    with narrow.client() as client:
        assert client.post("/v1/tag", content=endless(), headers=JSON).status_code == 413
    assert settled(narrow)


def test_a_connection_goes_on_after_a_refused_body(narrow: Running) -> None:
    """The deadline for the rest of the body ends with the body, and the next request has one of its own."""
    with socket.create_connection(narrow.address, timeout=30) as connection:
        connection.sendall(REQUEST.replace(b"1000", b"1500000"))
        answer = b""
        while not answer.endswith(b"}"):
            answer += connection.recv(65536)
        assert b" 413 " in answer
        for size in (500_000, 500_000, 500_000):
            connection.sendall(b"a" * size)
            time.sleep(0.05)
        time.sleep(0.6)
        connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n")
        found = b""
        while chunk := connection.recv(65536):
            found += chunk
        assert found.startswith(b"HTTP/1.1 200 ") and found.endswith(b'{"status": "ok"}')


def test_a_line_that_is_too_long_ends_its_stream(narrow: Running) -> None:
    with narrow.client() as client:
        reply = client.post("/v1/tag", content=b'{"text": "a"}\n' + b"a" * 600_000, headers=NDJSON)
    first, last = map(json.loads, reply.text.splitlines())
    assert "labels" in first
    assert last["error"]["status"] == 413 and "line 2" in last["error"]["detail"]
    assert settled(narrow)


REQUEST = b"POST /v1/tag HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n"
LORIS = {
    "nothing at all": ([b""], 408),
    "a head that never ends": ([b"POST /v1/tag HTTP/1.1\r\n", *([b"X-A: b\r\n"] * 30)], 408),
    "a body that drips": ([REQUEST, *([b" "] * 30)], 408),
    "a line that drips": (
        [b"POST /v1/tag HTTP/1.1\r\nHost: a\r\nContent-Type: application/x-ndjson\r\nContent-Length: 99\r\n\r\n"]
        + [b" "] * 30,
        200,
    ),
    "a second head that never ends": ([b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n", *([b"G"] * 30)], 200),
    "no HTTP": ([b"\x16\x03\x01 hello\r\n\r\n"], 400),
}


@pytest.mark.parametrize("name", LORIS)
def test_slow_clients_are_hung_up_on(narrow: Running, name: str) -> None:
    pieces, status = LORIS[name]
    began = time.monotonic()
    found = exchange(narrow, *pieces, pause=0.05)
    assert f" {status} ".encode() in found.splitlines()[0]
    if name == "a line that drips":
        assert b"line 1 took longer than 0.4 s to come" in found
    # A deadline that nobody keeps would let the connection stand until the test's own 30 seconds.
    assert time.monotonic() - began < 25
    assert narrow.tag(text="Kabul.").status_code == 200
    assert settled(narrow)


@pytest.fixture
def nothing_collected() -> Iterator[None]:
    """What is let go is let go by the code, not when the interpreter next looks for cycles."""
    gc.disable()
    yield
    gc.enable()


@pytest.mark.usefixtures("nothing_collected")
def test_a_client_that_does_not_read_is_hung_up_on(checkpoint: Path) -> None:
    with in_thread(checkpoint, [*HASTY, "limits.stream_mb=1"]) as running:
        with socket.create_connection(running.address, timeout=30) as connection:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            head = b"POST /v1/tag HTTP/1.1\r\nHost: a\r\nContent-Type: application/x-ndjson\r\nTransfer-Encoding: chunked\r\n\r\n"
            connection.sendall(head)
            # The errors are long, so little has to be tagged.
            line = b'{"txt": "' + b"a" * 900 + b'"}\n'
            piece = b"%x\r\n%s\r\n" % (len(line), line)
            with pytest.raises(ConnectionError):
                connection.sendall(piece * 200_000)
        assert settled(running)
        assert running.tag(text="Kabul.").status_code == 200


def test_a_client_that_does_not_take_an_answer_is_hung_up_on(checkpoint: Path) -> None:
    documents = [{"id": "a" * 1000, "text": 0}] * 4000
    body = json.dumps({"documents": documents}).encode()
    head = b"POST /v1/tag HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
    with in_thread(checkpoint, [*HASTY, "timeouts.body=20", "limits.documents=5000"]) as running:
        with socket.socket() as connection:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            connection.settimeout(30)
            connection.connect(running.address)
            connection.sendall(head % len(body) + body)
            connection.recv(10)
            assert running.api is not None
            until = time.monotonic() + 30
            while len(open_connections(running)) and time.monotonic() < until:
                time.sleep(0.1)
            assert not open_connections(running)
        assert running.tag(text="Kabul.").status_code == 200


def open_connections(running: Running) -> list[str]:
    """Connections that the service has open, by what the system says."""
    port = f":{running.address[1]:04X}"
    lines = Path("/proc/net/tcp").read_text().splitlines()[1:]
    return [line for line in lines if line.split()[1].endswith(port) and line.split()[3] != "0A"]


def test_clients_that_vanish_leave_nothing_behind(narrow: Running) -> None:
    body = json.dumps({"text": SLOW}).encode()
    head = b"POST /v1/tag HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(
        body
    )
    stream = b"POST /v1/tag HTTP/1.1\r\nHost: a\r\nContent-Type: application/x-ndjson\r\nContent-Length: 9999\r\n\r\n"
    for sent in (head, head + body[:100], head + body, stream, stream + b'{"text": "a"}\n' * 5):
        connection = socket.create_connection(narrow.address, timeout=30)
        connection.sendall(sent)
        time.sleep(0.05)
        # Without lingering the other side sees a reset, as from a process that was killed.
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        connection.close()
    assert settled(narrow)
    assert narrow.tag(text="Kabul.").status_code == 200
    assert not [line for line in narrow.said if "failed" in line]


def test_an_answer_that_takes_too_long_is_told(checkpoint: Path) -> None:
    with in_thread(checkpoint, ["timeouts.answer=0.05", "limits.characters=300000"]) as running:
        reply = running.tag(text=SLOW * 8)
        assert reply.status_code == 503 and reply.json()["type"] == "urn:standpoint:problem:late"
        assert int(reply.headers["retry-after"]) >= 1
        assert settled(running, 60)


def test_bodies_that_are_held_have_a_limit(narrow: Running) -> None:
    head = b"POST /v1/tag HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 900000\r\n\r\n"
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: exchange(narrow, head + b" " * 800_000), range(4)))
    statuses = sorted(answer.split(b" ", 2)[1] for answer in found)
    assert statuses[-1] == b"429" and statuses[0] == b"408"
    assert settled(narrow)


def test_too_many_connections_are_refused(checkpoint: Path) -> None:
    with in_thread(checkpoint, ["limits.connections=3"]) as running:
        held = [socket.create_connection(running.address, timeout=30) for _ in range(3)]
        time.sleep(0.2)
        found = exchange(running)
        assert found.startswith(b"HTTP/1.1 503 ") and b"Retry-After" in found
        for one in held:
            one.close()


def test_while_it_ends_it_answers_what_came_and_refuses_what_comes(checkpoint: Path) -> None:
    replies: list[httpx.Response] = []
    with in_thread(checkpoint, ["batching.tokens=400"]) as running, running.client() as idle:
        assert idle.get("/readyz").status_code == 200
        busy = threading.Thread(target=lambda: replies.append(running.tag(text=SLOW)))
        busy.start()
        while not running.metric("standpoint_queue_characters"):
            pass
        assert running.api is not None
        running.api.state.ready, running.api.state.draining = False, True
        assert idle.get("/readyz").status_code == 503
        assert idle.get("/healthz").status_code == 200
        refused = idle.post("/v1/tag", json={"text": "a"})
        assert refused.status_code == 503
        assert refused.headers["retry-after"] == "1" and refused.headers["connection"] == "close"
    busy.join()
    assert [reply.status_code for reply in replies] == [200]


def test_who_is_refused_while_it_ends_gets_the_answer_though_its_body_is_long(checkpoint: Path) -> None:
    """A system that closes a connection on which something came unread resets it, and drops what was not sent yet."""
    with in_thread(checkpoint) as running:
        assert running.api is not None
        running.api.state.draining = True
        body = json.dumps({"text": "a" * 3_000_000}).encode()
        with socket.create_connection(running.address, timeout=30) as link:
            link.sendall(f"POST /v1/tag HTTP/1.1\r\nHost: a\r\nContent-Length: {len(body)}\r\n\r\n".encode())
            link.sendall(body)
            answer = b"".join(iter(lambda: link.recv(1000), b""))
    assert answer.startswith(b"HTTP/1.1 503") and answer.endswith(b"}")
