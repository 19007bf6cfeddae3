"""Sends requests to a running service at a given rate, whatever becomes of those before, and times each from when it was due.

Standard library alone, and little of it a request, so that the client leaves the processor to the service. A request's time
counts from the moment at which it should have been sent: a service that falls behind cannot hide it (Tene, "How NOT to
measure latency", 2015). `service_load.py` runs this in a process of its own; by hand, to a service that listens already:

Run: python benchmarks/service_client.py 127.0.0.1 8080 bodies.jsonl --rate 50 --seconds 10
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import re
import subprocess
import sys
import time
import urllib.request
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

Reply = tuple[int, bytes]


class Connections:
    """Keep-alive connections to one service, as many as there are requests at once."""

    def __init__(self, host: str, port: int) -> None:
        self.host, self.port = host, port
        self._idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []

    async def ask(self, body: bytes, media_type: str = "application/json", token: str = "") -> Reply:
        """Status and body of the answer to `POST /v1/tag`; raises OSError where there is none."""
        # A connection that was idle too long has been closed by the service, and nothing was sent on it.
        while self._idle and self._idle[-1][0].at_eof():
            self._idle.pop()[1].close()
        reader, writer = self._idle.pop() if self._idle else await asyncio.open_connection(self.host, self.port)
        bearer = f"Authorization: Bearer {token}\r\n" if token else ""
        head = f"POST /v1/tag HTTP/1.1\r\nHost: {self.host}\r\nContent-Type: {media_type}\r\n{bearer}"
        try:
            writer.write(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
            status, content, keep = await read_reply(reader)
        except BaseException:
            writer.close()
            raise
        if keep:
            self._idle.append((reader, writer))
        else:
            writer.close()
        return status, content

    def close(self) -> None:
        """Hang up."""
        for _, writer in self._idle:
            writer.close()


async def read_reply(reader: asyncio.StreamReader) -> tuple[int, bytes, bool]:
    """Status, body, and whether the connection goes on; raises ConnectionError where it ends before the answer does."""
    try:
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        if length := re.search(rb"\r\ncontent-length: *(\d+)", head):
            body = await reader.readexactly(int(length[1]))
        else:
            body = b"".join([piece async for piece in _chunks(reader)])
    except (asyncio.IncompleteReadError, asyncio.LimitOverrunError) as error:
        raise ConnectionError("the connection ended before the answer did") from error
    return int(head.split(b" ", 2)[1]), body, b"\r\nconnection: close" not in head


async def _chunks(reader: asyncio.StreamReader) -> Any:
    while size := int(await reader.readuntil(b"\r\n"), 16):
        yield (await reader.readexactly(size + 2))[:-2]
    await reader.readexactly(2)


async def open_loop(host: str, port: int, bodies: Sequence[bytes], rate: float, seconds: float) -> dict[str, Any]:
    """Requests at random moments (Poisson), `rate` a second on average: times of the answers, and what they were."""
    connections, draw = Connections(host, port), random.Random(0)
    times: list[float] = []
    statuses: Counter[str] = Counter()

    async def one(due: float, body: bytes) -> None:
        try:
            status, _ = await connections.ask(body)
        except OSError:
            status = 0
        statuses[str(status)] += 1
        if status == 200:
            times.append(time.perf_counter() - due)

    began = due = time.perf_counter()
    tasks = []
    while (due := due + draw.expovariate(rate)) < began + seconds:
        await asyncio.sleep(max(0.0, due - time.perf_counter()))
        tasks.append(asyncio.create_task(one(due, bodies[len(tasks) % len(bodies)])))
    in_time = len(times)
    await asyncio.gather(*tasks)
    connections.close()
    return {"times": times, "statuses": statuses, "in_time": in_time, "seconds": time.perf_counter() - began}


async def closed_loop(host: str, port: int, bodies: Sequence[bytes], media_type: str, clients: int) -> dict[str, Any]:
    """Every body once, by some clients that each wait for an answer before they send the next request."""
    connections = Connections(host, port)
    waiting = iter(bodies)
    statuses: Counter[str] = Counter()

    async def client() -> None:
        for body in waiting:
            status, _ = await connections.ask(body, media_type)
            statuses[str(status)] += 1

    began = time.perf_counter()
    await asyncio.gather(*(client() for _ in range(clients)))
    connections.close()
    return {"statuses": statuses, "seconds": time.perf_counter() - began}


class Service:
    """A service's process."""

    def __init__(self, checkpoint: Path, log: Path, settings: Sequence[str] = (), **environment: str) -> None:
        import os

        command = [sys.executable, "-m", "inference.service", str(checkpoint), "port=0", *settings]
        self.log = log
        with log.open("wb") as out:
            self.process = subprocess.Popen(
                command, stdout=out, stderr=out, stdin=subprocess.DEVNULL, env={**os.environ, **environment}
            )
        until = time.monotonic() + 300
        while not (found := re.search(r"Listening on http://(\S+):(\d+)", log.read_text("utf-8"))):
            if self.process.poll() is not None or time.monotonic() > until:
                raise SystemExit(f"the service did not start:\n{log.read_text('utf-8')}")
            time.sleep(0.1)
        self.host, self.port = found[1], int(found[2])

    def metrics(self) -> dict[str, float]:
        """Every metric's value, summed over its labels; buckets left out."""
        with urllib.request.urlopen(f"http://{self.host}:{self.port}/metrics", timeout=60) as reply:
            text = reply.read().decode()
        found: dict[str, float] = {}
        for name, value in re.findall(r"^(\w+)(?:\{(?!.*le=)[^}]*\})? (\S+)$", text, re.MULTILINE):
            found[name] = found.get(name, 0.0) + float(value)
        return found


def main() -> None:
    """Load a service, print what came of it as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("host")
    parser.add_argument("port", type=int)
    parser.add_argument("bodies", type=Path, help="one body a line")
    parser.add_argument("--rate", type=float, help="requests a second; without it, every body once, as fast as it goes")
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--clients", type=int, default=64)
    given = parser.parse_args()
    bodies = given.bodies.read_bytes().splitlines()
    if given.rate:
        work = open_loop(given.host, given.port, bodies, given.rate, given.seconds)
    else:
        work = closed_loop(given.host, given.port, bodies, "application/json", given.clients)
    found = asyncio.run(work)
    print(json.dumps({**found, "cpu_seconds": time.process_time()}))


if __name__ == "__main__":
    main()
