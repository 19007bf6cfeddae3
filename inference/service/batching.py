"""Puts documents of different requests together for a model: by a budget of tokens, and by how long the oldest waits.

It knows a tagger and encoded documents; it knows no HTTP, and of time only how long something waited.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from annotations.document import Document
from inference.tagger import Encoded, Reading, Tagger
from inference.windows import Window, together


class TaggedBatch(NamedTuple):
    """A batch that has been tagged."""

    documents: int
    tokens: int
    """Those of the documents' windows, context and special ones included."""
    padding: int
    """Tokens that the model read beside them and nobody wrote."""
    budget: int
    """As many tokens as it might have had."""
    waited: Sequence[float]
    """Seconds that each document waited."""
    seconds: float
    """How long it took."""


class Answer(NamedTuple):
    """What a client gets for a document."""

    body: bytes
    """JSON of a `TaggedDocument`."""
    truncated: bool
    """Whether some letter of the text was not read."""


class Observer(Protocol):
    """Who is told of every batch."""

    def tagged(self, batch: TaggedBatch) -> None:
        """A batch has been tagged."""


@dataclass
class Waiting:
    """A document that wants to be tagged."""

    encoded: Encoded
    tokens: int
    answer: Callable[[Document], Answer]
    """From the tagged document to what is answered."""
    done: Future[Answer]
    since: float = field(default_factory=time.monotonic)


class Batcher:
    """One thread that reads what waits, and one that decodes what was read; a document that fails alone fails alone."""

    def __init__(
        self, name: str, tagger: Tagger, *, tokens: int, wait_seconds: float, at_once: int, observer: Observer
    ) -> None:
        self.tagger, self.tokens, self.wait_seconds, self.observer = tagger, tokens, wait_seconds, observer
        self._queue: deque[Waiting] = deque()
        self._queued_tokens = 0
        self._arrived = threading.Condition()
        self._closing = False
        self._decoder = ThreadPoolExecutor(1, f"{name}-decode")
        # With two, one is decoded while the next one is read. What comes meanwhile is read together after that.
        self._under_way = threading.Semaphore(at_once)
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)
        self._thread.start()

    def submit(self, one: Waiting) -> None:
        """Ask for an encoded document to be tagged; its future is cancelled to take it back while it waits."""
        with self._arrived:
            self._queue.append(one)
            self._queued_tokens += one.tokens
            self._arrived.notify()

    @property
    def waiting(self) -> int:
        """How many documents wait."""
        return len(self._queue)

    @property
    def alive(self) -> bool:
        """Whether the thread lives."""
        return self._thread.is_alive()

    def end(self) -> None:
        """Tag what waits, then end, without waiting for it."""
        with self._arrived:
            self._closing = True
            self._arrived.notify()

    def close(self) -> None:
        """Tag what waits, and end."""
        self.end()
        self._thread.join()
        self._decoder.shutdown()

    def _work(self) -> None:
        while self._under_way.acquire() and (taken := self._take()):
            live = [one for one in taken if one.done.set_running_or_notify_cancel()]
            if live:
                self._tag(live)
            else:
                self._under_way.release()
            del taken, live
        self._decoder.shutdown(wait=False)

    def _take(self) -> list[Waiting]:
        """The oldest documents that fit the budget; none where the end has come."""
        with self._arrived:
            while not self._queue and not self._closing:
                self._arrived.wait()
            if not self._queue:
                return []
            until = self._queue[0].since + self.wait_seconds
            while not self._closing and self._queued_tokens < self.tokens and (left := until - time.monotonic()) > 0:
                self._arrived.wait(left)
            taken = [self._pop()]
            size = taken[0].tokens
            while self._queue and size + self._queue[0].tokens <= self.tokens:
                size += self._queue[0].tokens
                taken.append(self._pop())
            return taken

    def _pop(self) -> Waiting:
        one = self._queue.popleft()
        self._queued_tokens -= one.tokens
        return one

    def _tag(self, some: Sequence[Waiting]) -> None:
        began = time.monotonic()
        try:
            windows = together([one.encoded.windows for one in some])
            reading = self.tagger.start(windows)
        except Exception as error:
            self._under_way.release()
            self._failed(some, error)
            return
        self._decoder.submit(self._decode, some, windows, reading, began)

    def _decode(self, some: Sequence[Waiting], windows: list[Window], reading: Reading, began: float) -> None:
        try:
            documents = self.tagger.decode([one.encoded.document for one in some], windows, reading.answers())
            answers = [one.answer(document) for one, document in zip(some, documents, strict=True)]
        except Exception as error:
            self._failed(some, error)
            return
        finally:
            self._under_way.release()
        self._observe(some, windows, began)
        for one, answer in zip(some, answers, strict=True):
            one.done.set_result(answer)

    def _observe(self, some: Sequence[Waiting], windows: Sequence[Window], began: float) -> None:
        self.observer.tagged(
            TaggedBatch(
                documents=len(some),
                tokens=sum(one.tokens for one in some),
                padding=self.tagger.padding(windows),
                budget=self.tokens,
                waited=[began - one.since for one in some],
                seconds=time.monotonic() - began,
            )
        )

    def _failed(self, some: Sequence[Waiting], error: Exception) -> None:
        """One of them is to blame, and the others shall not suffer for it."""
        if len(some) == 1:
            some[0].done.set_exception(error)
            return
        for one in some:
            began = time.monotonic()
            try:
                answer = one.answer(self.tagger.tag_encoded([one.encoded])[0])
            except Exception as own:
                one.done.set_exception(own)
                continue
            self._observe([one], one.encoded.windows, began)
            one.done.set_result(answer)
