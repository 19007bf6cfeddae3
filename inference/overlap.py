"""Portions of a stream through three stages at once: one is tokenized and one decoded while the network reads a third.

It knows the order of work, not what any stage does. At most four portions are in memory.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import chain, islice
from typing import Protocol

from annotations.document import Document
from inference.decoding import Answer
from inference.windows import Window


class Reading(Protocol):
    """What the network has begun to read."""

    def answers(self) -> list[Answer]:
        """Wait for the network."""


class Stages(Protocol):
    """What a portion goes through; `Tagger` has them."""

    def encode(self, documents: Sequence[Document]) -> list[Window]:
        """Tokenize."""

    def start(self, windows: Sequence[Window]) -> Reading:
        """Let the network begin."""

    def decode(
        self, documents: Sequence[Document], windows: Sequence[Window], answers: Sequence[Answer]
    ) -> list[Document]:
        """Read labels off the answers."""


def overlapped(portions: Iterable[Sequence[Document]], stages: Stages) -> Iterator[Document]:
    """The labelled documents of all portions, in order.

    The stream is read in the caller's thread. An error comes after the portions before it.
    """
    waiting: deque[tuple[Sequence[Document], Future[list[Window]]]] = deque()
    decoding: deque[Future[list[Document]]] = deque()
    failed: list[Exception] = []

    def finish(documents: Sequence[Document], windows: Sequence[Window], reading: Reading) -> list[Document]:
        return stages.decode(documents, windows, reading.answers())

    def advance() -> None:
        documents, encoded = waiting.popleft()
        try:
            windows = encoded.result()
            decoding.append(decoder.submit(finish, documents, windows, stages.start(windows)))
        except Exception as error:
            failed[:] = [error]
            waiting.clear()

    stream = _until_failure(portions, failed)
    beginning = list(islice(stream, 2))
    if len(beginning) == 1:
        # Threads would only cost.
        [documents] = beginning
        windows = stages.encode(documents)
        yield from finish(documents, windows, stages.start(windows))
        beginning = []
    with (
        ThreadPoolExecutor(1, thread_name_prefix="standpoint-encode") as encoder,
        ThreadPoolExecutor(1, thread_name_prefix="standpoint-decode") as decoder,
    ):
        for portion in chain(beginning, stream):
            waiting.append((portion, encoder.submit(stages.encode, portion)))
            if len(waiting) > 1:
                advance()
            if len(decoding) > 1:
                yield from decoding.popleft().result()
        while waiting:
            advance()
        while decoding:
            yield from decoding.popleft().result()
    if failed:
        raise failed[0]


def _until_failure(portions: Iterable[Sequence[Document]], failed: list[Exception]) -> Iterator[Sequence[Document]]:
    """What a stream gives until it ends or something failed, be it the stream itself."""
    try:
        for portion in portions:
            yield portion
            if failed:
                return
    except Exception as error:
        failed[:] = [error]
