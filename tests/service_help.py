"""A service for tests: in a thread of the test's own process, or as a real process; tiny checkpoints; metrics as numbers."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import torch
from conftest import ROOT
from warm import Warm

from inference import checkpoint
from inference.config import TaggerConfig
from inference.listening import listener, server
from inference.service.access import Access
from inference.service.api import Api
from inference.service.config import ServiceConfig
from inference.service.running import listening, prepare

USER, ADMIN = "a-user-token-of-nobody", "an-admin-token-of-nobody"
JSON, NDJSON = {"Content-Type": "application/json"}, {"Content-Type": "application/x-ndjson"}
TEXTS = [
    "The Taliban denied it. Officials in Kabul confirmed the report.",
    "VOA reported on Tuesday that 🙂 Islamic State attacked Jalalabad.\r\nNobody was hurt; the army said so.",
    "",
    "نفى المتحدث باسم طالبان ذلك. Кабул молчит.",
    "Fighters of al-Shabab — armed with rifles — crossed the border on 3 May. " * 12,
]
TARGET = "There are foreign fighters in the ranks of the Taliban."


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def make_checkpoint(folder: Path, encoder: Path, config: TaggerConfig, seed: int) -> Path:
    """A checkpoint with random heads, other ones for each seed."""
    torch.manual_seed(seed)
    model, tokenizer = checkpoint.from_encoder(str(encoder), config, 0.1)
    checkpoint.save(folder, model, tokenizer)
    return folder


@dataclass
class Running:
    """A service that answers."""

    url: str
    api: Api | None = None
    process: subprocess.Popen[bytes] | None = None
    said: list[str] = field(default_factory=list)

    def client(self, **more: Any) -> httpx.Client:
        return httpx.Client(base_url=self.url, timeout=60, **more)

    def tag(self, **body: Any) -> httpx.Response:
        with self.client() as client:
            return client.post("/v1/tag", json=body)

    def metric(self, name: str) -> float:
        """The sum over all labels."""
        with self.client() as client:
            text = client.get("/metrics").text
        found = re.findall(rf"^{name}(?:{{[^}}]*}})? (\S+)$", text, re.MULTILINE)
        return sum(map(float, found))

    @property
    def address(self) -> tuple[str, int]:
        host, _, port = self.url.removeprefix("http://").partition(":")
        return host, int(port)


@contextmanager
def in_thread(path: Path, overrides: Sequence[str] = (), access: Access | None = None) -> Iterator[Running]:
    """A service in this process; it ends as after SIGTERM."""
    config = ServiceConfig.build({}, where="test", overrides=["port=0", "batching.wait_ms=1", *overrides])
    said: list[str] = []
    api, app = prepare(path, config, access or Access([], []), said.append)
    with listener("127.0.0.1", 0) as found:
        running = server(app, **listening(config, api))
        thread = threading.Thread(target=running.run, kwargs={"sockets": [found]})
        thread.start()
        try:
            yield Running(f"http://127.0.0.1:{found.getsockname()[1]}", api, said=said)
        finally:
            running.handle_exit(signal.SIGTERM, None)
            thread.join(60)
            api.models.close()
            assert not thread.is_alive()


@contextmanager
def as_process(
    command: Sequence[str], log: Path, environment: dict[str, str] | None = None, seconds: float = 120
) -> Iterator[Running]:
    """A service in a process of its own, killed at the end if the test has not ended it."""
    with log.open("wb") as out:
        process = Warm(
            [sys.executable, *command],
            stdout=out,
            stderr=out,
            stdin=subprocess.DEVNULL,
            env={**os.environ, **(environment or {})},
            cwd=ROOT,
        )
    try:
        until = time.monotonic() + seconds
        while not (found := re.search(r"Listening on (\S+)", log.read_text())):
            assert process.poll() is None and time.monotonic() < until, log.read_text()
            time.sleep(0.05)
        yield Running(found[1], process=process)
    finally:
        process.kill()
        process.wait()
