"""How much is let in: text that waits or is worked on, and bodies that are held. It knows sizes, not what is in them.

It belongs to one event loop, so it needs no locks.
"""

from __future__ import annotations

import asyncio
import time

from inference.service.problems import Kind, Problem

FLOOR = 100
"""A document costs something even when it is empty."""
SHARE = 0.2
"""How much the latest second counts for the rate."""


class Intake:
    """Characters let in against a limit, and how fast they leave."""

    def __init__(self, characters: int, body_bytes: int) -> None:
        self.limit, self.body_limit = characters, body_bytes
        self.held = self.documents = self.body_bytes = self._lines = self._begun = 0
        self._room, self._let_go = asyncio.Event(), asyncio.Event()
        self._rate = 10_000.0
        self._left, self._since = 0, time.monotonic()

    def check(self, characters: int = 0) -> None:
        """Raise Problem where so much more does not fit; one that would never fit is let in alone."""
        if self.held and self.held + characters > self.limit:
            raise Problem(
                Kind.BUSY,
                f"{self.held} characters wait or are worked on, at most {self.limit} may; try again later",
                retry_after=min(60.0, self.held / self._rate / 2),
            )

    def take(self, characters: int) -> int:
        """Count a document in; returns what to give back when it is answered."""
        cost = characters + FLOOR
        self.held += cost
        self.documents += 1
        return cost

    async def wait(self, characters: int) -> int:
        """Count a document in as soon as there is room."""
        while self.held and self.held + characters > self.limit:
            self._room.clear()
            await self._room.wait()
        return self.take(characters)

    def give_back(self, cost: int) -> None:
        """A document has been answered."""
        self.held -= cost
        self.documents -= 1
        self._left += cost
        self._room.set()
        if (now := time.monotonic()) - self._since > 1:
            self._rate += SHARE * (self._left / (now - self._since) - self._rate)
            self._left, self._since = 0, now

    async def hold(self, size: int) -> None:
        """Count a stream's line in as soon as there is room: lines take half of it, so that bodies can still be read."""
        while self._lines and self._lines + size > self.body_limit // 2:
            self._let_go.clear()
            await self._let_go.wait()
        self._lines += size
        self.body_bytes += size

    def let_go(self, size: int) -> None:
        """A stream's line has been answered."""
        self._lines -= size
        self.body_bytes -= size
        self._let_go.set()

    def read(self, size: int) -> None:
        """Count bytes of a body in (or, negative, out); raises Problem where too many are held."""
        if size > 0 and self.body_bytes + size > self.body_limit:
            raise Problem(Kind.BUSY, "too many bodies are being read; try again later", retry_after=1)
        self.body_bytes += size
        if size < 0:
            self._let_go.set()

    async def begin(self, size: int) -> None:
        """Count bytes of a stream's next lines in; waits for room, and raises Problem where nothing is left that ends.

        Lines that are whole end, and so do other bodies; streams that all wait for the rest of a line would do so for ever.
        """
        while self.body_bytes > self._begun and self.body_bytes + size > self.body_limit:
            self._let_go.clear()
            await self._let_go.wait()
        self.read(size)
        self._begun += size

    def whole(self, size: int) -> None:
        """So many of the bytes that were begun are lines; they are still held."""
        self._begun -= size
