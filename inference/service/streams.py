"""NDJSON in, NDJSON out: lines are tagged as they come and answered in their order. It knows lines, not HTTP."""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from functools import partial

from inference.service.intake import Intake
from inference.service.problems import Json, Kind, Problem

BLANK = re.compile(rb"\s*\n")
"""Lines with nothing on them."""
Answering = Callable[[int, bytes], Awaitable[bytes]]
"""From a line's number (from 1) and its bytes to the line to answer."""


async def lines(
    chunks: AsyncIterator[bytes], intake: Intake, *, longest: int, seconds: float
) -> AsyncGenerator[tuple[int, bytes]]:
    """Number and content of each line that is not blank; it and what has come of the next ones count as bodies that are held.

    Raises:
        Problem: a line is longer than `longest` bytes, or takes longer than `seconds` to come; too many bodies are read.
    """
    number, waiting = 0, bytearray()
    try:
        while True:
            if b"\n" not in waiting:
                try:
                    await _more(chunks, intake, waiting, longest, seconds)
                except TimeoutError:
                    raise Problem(Kind.TOO_SLOW, f"line {number + 1} took longer than {seconds:g} s to come") from None
            if blank := BLANK.match(waiting):
                # All at once: a client can send millions of them, and whoever else is there would wait.
                gone = blank.end()
                number += waiting.count(b"\n", 0, gone)
                del waiting[:gone]
                intake.whole(gone)
                intake.read(-gone)
                continue
            end = waiting.find(b"\n")
            last = end < 0
            line = bytes(waiting) if last else bytes(waiting[:end])
            if len(line) > longest:
                raise Problem(Kind.TOO_LARGE, f"line {number + 1} is longer than {longest} bytes; the stream ends here")
            gone = len(waiting) if last else end + 1
            del waiting[:gone]
            intake.whole(gone)
            number += 1
            try:
                if line.strip():
                    yield number, line
            finally:
                # Not before: a line that nobody takes yet is held.
                intake.read(-gone)
            if last:
                return
    finally:
        intake.whole(len(waiting))
        intake.read(-len(waiting))


async def _more(chunks: AsyncIterator[bytes], intake: Intake, waiting: bytearray, longest: int, seconds: float) -> None:
    """Wait for the end of a line, or of all; nothing more comes of a line that is too long.

    Raises:
        TimeoutError: it takes longer than `seconds`, without those in which there was no room.
    """
    while b"\n" not in waiting and len(waiting) <= longest:
        began = time.monotonic()
        async with asyncio.timeout(seconds):
            chunk = await anext(chunks, None)
        seconds -= time.monotonic() - began
        if chunk is None:
            break
        await intake.begin(len(chunk))
        waiting += chunk


class Stream:
    """Answers lines in order: at most `at_once` are worked on, and at most `most_bytes` of answers wait to be taken.

    Lines that are worked on count in the intake as bodies that are held.
    """

    def __init__(self, answer: Answering, intake: Intake, *, at_once: int, most_bytes: int) -> None:
        self._answer, self._intake, self._most = answer, intake, most_bytes
        self._at_once = asyncio.Semaphore(at_once)
        self._tasks: asyncio.Queue[asyncio.Task[bytes] | Problem | None] = asyncio.Queue()
        self._under_way: set[asyncio.Task[bytes]] = set()
        self._held = 0
        self._taken = asyncio.Event()

    async def run(self, source: AsyncGenerator[tuple[int, bytes]]) -> AsyncGenerator[bytes]:
        """One answer for each line; a problem with the stream itself is the last one."""
        reader = asyncio.create_task(self._read(source))
        try:
            while (task := await self._tasks.get()) is not None:
                if isinstance(task, Problem):
                    yield error_line(task)
                    return
                line = await task
                yield line
                self._held -= len(line)
                self._taken.set()
            await reader
        finally:
            reader.cancel()
            for one in self._under_way:
                one.cancel()

    async def _read(self, source: AsyncGenerator[tuple[int, bytes]]) -> None:
        try:
            async with aclosing(source):
                async for number, line in source:
                    while self._held > self._most:
                        self._taken.clear()
                        await self._taken.wait()
                    await self._at_once.acquire()
                    await self._intake.hold(len(line))
                    task = asyncio.create_task(self._work(number, line))
                    self._under_way.add(task)
                    # Not in the task: one that is cancelled before it begins does nothing at all.
                    task.add_done_callback(partial(self._ended, len(line)))
                    self._tasks.put_nowait(task)
        except Problem as problem:
            self._tasks.put_nowait(problem)
        finally:
            self._tasks.put_nowait(None)

    def _ended(self, size: int, task: asyncio.Task[bytes]) -> None:
        self._under_way.discard(task)
        self._intake.let_go(size)

    async def _work(self, number: int, line: bytes) -> bytes:
        try:
            made = await self._answer(number, line)
        finally:
            self._at_once.release()
        self._held += len(made)
        return made


def error_line(problem: Problem) -> bytes:
    """A line for a problem of the stream, after which nothing comes."""
    told: Json = {"id": None, "error": problem.body()}
    return json.dumps(told).encode() + b"\n"
