"""Tags documents with one model, in threads of this process: some encode, one reads what is short, one what is long.

It knows taggers and what clients get for a document; requests, and whose process this is, are others' business.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Protocol

import torch

from annotations.document import Document, Label
from annotations.errors import InputError
from annotations.schema import Schema
from inference.service.batching import Answer, Batcher, Observer, Waiting
from inference.service.config import Batching
from inference.service.messages import TEXT, DocumentIn, LabelOut, Offsets, SpanOut, TaggedDocument
from inference.service.problems import unreadable
from inference.service.units import converter
from inference.tagger import Encoded, Tagger
from inference.windows import Window


class Work(Protocol):
    """What tags documents with one model, wherever it does."""

    schema: Schema
    engine: str

    @property
    def processes(self) -> int:
        """How many processes tag."""

    async def tag(self, item: DocumentIn, offsets: Offsets) -> Answer:
        """The answer to a document; raises Problem for one that cannot be read."""

    @property
    def waiting(self) -> int:
        """Documents that wait for the model."""

    @property
    def alive(self) -> bool:
        """Whether documents can be tagged at all."""

    def end(self) -> None:
        """Finish what was taken, then end, without waiting for it."""

    def close(self) -> None:
        """Finish what was taken, and end."""


def loaded(folder: Path, engine: str) -> Tagger:
    """The tagger of a checkpoint, which has tagged; raises StandpointError, or whatever else keeps it from that."""
    tagger = Tagger.load(folder, engine=engine)
    tagger.engine.load_all()
    tagger.tag(TEXT, target="It is so.")
    return tagger


class Worker:
    """The threads that tag with one model."""

    processes = 1

    def __init__(self, tagger: Tagger, version: str, batching: Batching, observer: Observer) -> None:
        self.tagger, self.version = tagger, version
        self.schema, self.engine = tagger.schema, tagger.engine.name
        self._most = batching.tokens
        # On one core nothing is gained by decoding while others are read, and smaller batches would be the price.
        at_once = min(2, torch.get_num_threads())
        self._encoders = ThreadPoolExecutor(min(batching.encoders, at_once), "encode")
        batcher = partial(Batcher, tokens=self._most, at_once=at_once, observer=observer)
        self._short = batcher("tag", tagger, wait_seconds=batching.wait_ms / 1000)
        # A long document would keep the others waiting; from a thread of its own, its batches take turns with theirs.
        self._long = batcher("tag-long", tagger, wait_seconds=0)

    async def tag(self, item: DocumentIn, offsets: Offsets) -> Answer:
        """The answer to a document; raises Problem for one that cannot be read."""
        return await asyncio.wrap_future(self.submit(item, offsets))

    def submit(self, item: DocumentIn, offsets: Offsets) -> Future[Answer]:
        """Ask for a document to be tagged; cancel the future to take it back while it waits."""
        done: Future[Answer] = Future()
        self._encoders.submit(self._encode, item, offsets, done)
        return done

    @property
    def waiting(self) -> int:
        """Documents that are encoded and wait for the model."""
        return self._short.waiting + self._long.waiting

    @property
    def alive(self) -> bool:
        """Whether documents can be tagged at all."""
        return self._short.alive and self._long.alive

    def end(self) -> None:
        """Finish what was taken, then end, without waiting for it."""
        self._encoders.shutdown(wait=False)
        self._short.end()
        self._long.end()

    def close(self) -> None:
        """Finish what was taken, and end."""
        self._encoders.shutdown()
        self._short.close()
        self._long.close()

    def _encode(self, item: DocumentIn, offsets: Offsets, done: Future[Answer]) -> None:
        if done.cancelled():
            return
        try:
            one = self._encoded(item, offsets, done)
        except Exception as error:
            if done.set_running_or_notify_cancel():
                done.set_exception(unreadable(error) if isinstance(error, InputError) else error)
            return
        batcher = self._short if one.tokens <= self._most else self._long
        batcher.submit(one)

    def _encoded(self, item: DocumentIn, offsets: Offsets, done: Future[Answer]) -> Waiting:
        document = Document(id=item.id or "text", text=item.text, target=item.target)
        windows = self.tagger.encode([document])
        answer = partial(self._answer, item.id, offsets, truncated(item.text, windows))
        return Waiting(Encoded(document, windows), sum(len(window.ids) for window in windows), answer, done)

    def _answer(self, name: str | None, offsets: Offsets, cut: bool, document: Document) -> Answer:
        """A tagged document in the unit asked for."""
        place = converter(document.text, offsets)
        labels: dict[str, list[SpanOut] | LabelOut] = {}
        for layer, found in document.labels.items():
            if isinstance(found, Label):
                labels[layer] = LabelOut(label=found.label, score=found.score)
            else:
                labels[layer] = [
                    SpanOut(start=place(one.start), end=place(one.end), label=one.label, score=one.score)
                    for one in found
                ]
        told = TaggedDocument(
            id=name,
            labels=labels,
            offsets=offsets,
            model_version=self.version,
            warnings=_warnings(document, self.schema),
        )
        return Answer(told.model_dump_json().encode(), cut)


def truncated(text: str, windows: Sequence[Window]) -> bool:
    """Whether a letter or digit lies between two windows, before the first or behind the last, and so was not read."""
    shown = [[place for place in window.offsets if place[0] < place[1]] for window in windows]
    edges = [0, *(edge for places in shown if places for edge in (places[0][0], places[-1][1])), len(text)]
    gaps = zip(edges[::2], edges[1::2], strict=True)
    return any(letter.isalnum() for start, end in gaps for letter in text[start:end])


def targeted(schema: Schema) -> str:
    """The layers that are read against a target."""
    return ", ".join(name for name, layer in schema.layers.items() if layer.targeted)


def _warnings(document: Document, schema: Schema) -> list[str]:
    if document.target is None and schema.targeted:
        return [f"no target was given, so these layers are not annotated: {targeted(schema)}"]
    if document.target is not None and not schema.targeted:
        return ["a target was given, and no layer of this model is read against one"]
    return []
