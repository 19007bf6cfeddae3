"""Processes that tag for the service, each with the model on its share of the cores: one Python alone is soon short of time.

It knows processes and how busy each is. What a process does with a document is `worker`'s business.
"""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from annotations.errors import CheckpointError, StandpointError, first_line
from annotations.schema import Schema
from inference.engines import artefacts
from inference.service.batching import Answer, Observer, TaggedBatch
from inference.service.config import ServiceConfig
from inference.service.intake import FLOOR
from inference.service.messages import DocumentIn, Offsets
from inference.service.models import Again
from inference.service.pipes import Message, Unpacking, packed
from inference.service.problems import Kind, Problem

COMMAND = (sys.executable, "-m", "inference.service.worker_process")
ATTEMPTS = 2
"""How often a document is given to a process that dies."""
DIED = "WorkerDied", "the processes that were to tag a document died"
SIZE = 1 << 16
END_SECONDS = 10.0


class ElsewhereError(Exception):
    """An unforeseen error in another process: its kind, and where it arose."""

    def __init__(self, name: str, told: str) -> None:
        super().__init__(name)
        self.name, self.told = name, told


class DiedError(ElsewhereError):
    """The process ended."""


class Link(asyncio.Protocol):
    """One process, and what it is asked."""

    def __init__(self, threads: int, observer: Observer, lost: Callable[[Link], None]) -> None:
        self._observer, self._lost = observer, lost
        self._link, there = socket.socketpair()
        with there:
            self.process = subprocess.Popen(
                COMMAND,
                stdin=there.fileno(),
                env=os.environ | {"OMP_NUM_THREADS": str(threads), "TOKENIZERS_PARALLELISM": "false"},
                start_new_session=True,
            )
        self.load = 0
        """Characters that it has been given and not answered."""
        self.closing = self.dead = False
        self._unpacking = Unpacking()
        self.asked: dict[int, tuple[asyncio.Future[Answer], int]] = {}
        self._unsent: list[Message] = []
        self._transport: asyncio.Transport | None = None
        self._connecting = asyncio.Lock()
        # Whoever ends when nobody listens to it any more would stay a zombie.
        threading.Thread(target=self.process.wait, name="reap", daemon=True).start()

    def prepare(self, folder: Path, version: str, config: ServiceConfig) -> None:
        """Let it load a checkpoint."""
        with suppress(OSError):
            self._link.sendall(packed([("load", folder, version, config)]))

    def prepared(self, folder: Path) -> tuple[str, Schema]:
        """Engine and schema, once it has loaded; raises StandpointError where it cannot."""
        while data := self._link.recv(SIZE):
            for kind, *rest in self._unpacking.feed(data):
                if kind == "ready":
                    return rest[0], rest[1]
                if kind == "damaged":
                    raise CheckpointError(folder, rest[0])
                raise StandpointError(rest[0]) if kind == "refused" else RuntimeError(rest[0])
        raise RuntimeError(f"its process ended {self.how()}")

    async def ask(self, number: int, item: DocumentIn, offsets: Offsets) -> Answer:
        """The answer to a document; raises Problem, ElsewhereError, or DiedError where the process ends before."""
        if self._transport is None:
            await self._connect()
        if self.dead:
            raise DiedError(*DIED)
        answered: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        cost = len(item.text) + len(item.target or "") + FLOOR
        self.asked[number] = answered, cost
        self.load += cost
        self._send(("tag", number, item, offsets))
        try:
            return await answered
        except asyncio.CancelledError:
            self._send(("cancel", number))
            raise
        finally:
            del self.asked[number]
            self.load -= cost

    def end(self) -> None:
        """Hang up; the process ends by that. From any thread."""
        self.closing = True
        with suppress(OSError):
            self._link.shutdown(socket.SHUT_RDWR)
        if self._transport is None:
            self._link.close()

    def how(self) -> str:
        """How the process ended, or is made to now."""
        self.process.kill()
        code = self.process.wait()
        return f"by signal {-code}" if code < 0 else f"with status {code}"

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Messages can be sent."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Take what it tells."""
        for kind, *rest in self._unpacking.feed(data):
            self._told(kind, rest)

    def connection_lost(self, _: Exception | None) -> None:
        """Nothing more comes."""
        self.dead = True
        for answered, _cost in self.asked.values():
            if not answered.done():
                answered.set_exception(DiedError(*DIED))
        if not self.closing:
            self._lost(self)

    async def _connect(self) -> None:
        async with self._connecting:
            if self._transport is None:
                await asyncio.get_running_loop().create_connection(lambda: self, sock=self._link)

    def _told(self, kind: str, rest: list[Any]) -> None:
        if kind == "batch":
            self._observer.tagged(TaggedBatch(*rest))
            return
        number, *rest = rest
        answered = self.asked[number][0] if number in self.asked else None
        if answered is None or answered.done():
            return
        if kind == "tagged":
            answered.set_result(Answer(*rest))
        elif kind == "problem":
            answered.set_exception(Problem(Kind[rest[0]], rest[1]))
        else:
            answered.set_exception(ElsewhereError(*rest))

    def _send(self, message: Message) -> None:
        """What is sent in one turn of the loop goes together."""
        if not self._unsent:
            asyncio.get_running_loop().call_soon(self._flush)
        self._unsent.append(message)

    def _flush(self) -> None:
        some, self._unsent = self._unsent, []
        if self._transport and not self.dead:
            self._transport.write(packed(some))


class Workers:
    """Several processes with one model; a document goes to the one that has least to do, and one that dies is replaced."""

    def __init__(
        self,
        folder: Path,
        version: str,
        config: ServiceConfig,
        again: Again,
        observer: Observer,
        say: Callable[[str], None],
    ) -> None:
        self._version, self._config, self._again = version, config, again
        self._observer, self._say = observer, say
        self._threads = max(1, _cores() // config.engine_workers)
        self._number, self._ended = 0, False
        self._starting: set[asyncio.Task[None]] = set()
        self._links, self.engine, self.schema = self._started(folder, config.engine_workers)
        self._artefact = artefacts.content(folder, self.engine)

    def _started(self, folder: Path, count: int) -> tuple[list[Link], str, Schema]:
        links = [Link(self._threads, self._observer, self._died) for _ in range(count)]
        try:
            for one in links:
                one.prepare(folder, self._version, self._config)
            told = [one.prepared(folder) for one in links]
            if len(names := {engine for engine, _ in told}) > 1:
                raise StandpointError(f"processes chose different engines ({', '.join(sorted(names))}); say engine=…")
        except BaseException:
            for one in links:
                one.end()
            raise
        return links, *told[0]

    async def tag(self, item: DocumentIn, offsets: Offsets) -> Answer:
        """The answer to a document; raises Problem for one that cannot be read."""
        self._number += 1
        number = self._number
        for _ in range(ATTEMPTS - 1):
            with suppress(DiedError):
                return await (await self._free()).ask(number, item, offsets)
        return await (await self._free()).ask(number, item, offsets)

    @property
    def processes(self) -> int:
        """How many processes tag."""
        return sum(not one.dead for one in self._links)

    @property
    def waiting(self) -> int:
        """Documents that processes have been given and not answered."""
        return sum(len(one.asked) for one in self._links)

    @property
    def alive(self) -> bool:
        """Whether documents can be tagged at all, now or soon."""
        return self.processes > 0 or bool(self._starting)

    def end(self) -> None:
        """Hang up on all processes, which end by that."""
        self._ended = True
        for one in self._links:
            one.end()

    def close(self) -> None:
        """Hang up, and wait for their end."""
        self.end()
        for one in self._links:
            with suppress(subprocess.TimeoutExpired):
                one.process.wait(END_SECONDS)
            one.process.kill()

    async def _free(self) -> Link:
        """The process that has least to do, waited for where all have died."""
        while not (alive := [one for one in self._links if not one.dead]):
            if not self._starting:
                raise ElsewhereError(DIED[0], "no process that tags is left; start the service again")
            await asyncio.wait(self._starting)
        return min(alive, key=lambda one: one.load)

    def _died(self, link: Link) -> None:
        """A new process for one that died."""
        self._links.remove(link)
        self._say(f"a process that tags ended {link.how()}; what it had is given to another")
        task = asyncio.ensure_future(self._replace())
        self._starting.add(task)
        task.add_done_callback(self._starting.discard)

    async def _replace(self) -> None:
        try:
            self._links += await asyncio.to_thread(self._another)
            if self._ended:
                self.end()
        except Exception as error:
            self._say(f"another cannot be started, {len(self._links)} go on: {first_line(error)}")

    def _another(self) -> list[Link]:
        with self._again() as folder:
            if artefacts.content(folder, self.engine) != self._artefact:
                raise CheckpointError(folder, f"no longer holds the artefact of {self.engine} that answers")
            return self._started(folder, 1)[0]


def _cores() -> int:
    """Those that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
