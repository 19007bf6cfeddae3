"""How far a job is, and when it will be done. It knows counts, sizes and a clock, not documents."""

from __future__ import annotations

import datetime
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from inference.archive.shards import Outcome, Shard

EVERY = 10.0
"""Seconds between two lines."""
NAMED = 100
"""Ignored fields after which no more are told."""


class Progress:
    """Counts shards as they are given out and come back."""

    def __init__(self, total: int, say: Callable[[str], None]) -> None:
        self.shards = 0
        """Given out, or found finished."""
        self._total, self._say = total, say
        self._waiting: dict[int, int] = {}
        self._before = self._done = self._finished = 0
        self._documents = self._bad = 0
        self._ignored: set[str] = set()
        self._began = self._told = time.monotonic()

    def pending(self, shards: Iterator[Shard], folder: Path, suffix: str) -> Iterator[Shard]:
        """The shards whose file is not there yet."""
        self._finished = sum(1 for _ in folder.glob(f"part-*{suffix}"))
        given = 0
        for shard in shards:
            self.shards += 1
            given += shard.size
            if (folder / (shard.name + suffix)).exists():
                self._before += shard.size
                continue
            self._waiting[shard.number] = shard.size
            yield shard
        # Behind the last full shard may lie files without any record.
        self._total = given

    def begin(self) -> None:
        """Start the clock: what came before was loading."""
        self._began = self._told = time.monotonic()
        if self._finished:
            self._say(f"going on: {self._finished} shards are finished")

    def add(self, outcome: Outcome) -> None:
        """Count a finished shard, and say how far it is now and then."""
        self._done += self._waiting.pop(outcome.shard)
        self._documents += outcome.documents
        self._bad += outcome.bad
        new = set(outcome.ignored) - self._ignored
        if new and len(self._ignored) < NAMED:
            self._ignored |= new
            self._say(f"fields that are not read: {', '.join(sorted(new))}")
        if time.monotonic() - self._told >= EVERY:
            self._told = time.monotonic()
            self._say(str(self))

    def __str__(self) -> str:
        seconds = max(time.monotonic() - self._began, 1e-9)
        reached = self._before + self._done
        share = f"{min(reached / self._total, 1):.1%} · " if self._total else ""
        text = f"{share}{self._documents:,} documents, {self._documents / seconds:.1f}/s"
        if self._bad:
            text += f", {self._bad:,} bad"
        if self._done and reached < self._total:
            left = (self._total - reached) / self._done * seconds
            text += f" · about {datetime.timedelta(seconds=round(left))} left"
        return text
