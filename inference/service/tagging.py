"""One document through the service: checked, encoded in a thread, tagged in a batch, answered in the unit asked for.

It knows messages and taggers; requests, streams and HTTP are others' business.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

from pydantic import ValidationError

from annotations.document import Document, Label
from annotations.errors import InputError
from annotations.schema import Schema
from inference.service.batching import Batcher
from inference.service.config import ServiceConfig
from inference.service.intake import Intake
from inference.service.messages import DocumentIn, ItemError, LabelOut, Options, ProblemDetails, SpanOut, TaggedDocument
from inference.service.metrics import Metrics
from inference.service.models import Loaded
from inference.service.problems import Kind, Problem, check_keys, invalid, unreadable
from inference.service.units import converter
from inference.tagger import Encoded
from inference.windows import Window


class Tagged(NamedTuple):
    """A document with predicted labels, by which model, and what has to be said about it."""

    document: Document
    model: Loaded
    warnings: list[str]


class Tagging:
    """What all requests share: threads that encode, and batches of short and of long documents."""

    def __init__(self, config: ServiceConfig, intake: Intake, metrics: Metrics) -> None:
        self.config, self.intake, self.metrics = config, intake, metrics
        self._encoders = ThreadPoolExecutor(config.batching.encoders, "encode")
        tokens, wait = config.batching.tokens, config.batching.wait_ms / 1000
        self._short = Batcher("tag", tokens=tokens, wait_seconds=wait, observer=metrics)
        # A long document would keep the others waiting; from a thread of its own, its batches take turns with theirs.
        self._long = Batcher("tag-long", tokens=tokens, wait_seconds=0, observer=metrics)

    @property
    def waiting(self) -> int:
        """Documents that are encoded and wait for the model."""
        return self._short.waiting + self._long.waiting

    @property
    def alive(self) -> bool:
        """Whether documents can be tagged at all."""
        return self._short.alive and self._long.alive

    def close(self) -> None:
        """Finish what was taken, and end the threads."""
        self._encoders.shutdown()
        self._short.close()
        self._long.close()

    def checked(self, item: Any, options: Options, schema: Schema, target: str | None = None) -> DocumentIn:
        """A document of a request; raises Problem for one that cannot be tagged as asked."""
        if isinstance(item, dict):
            check_keys(item)
        try:
            found = DocumentIn.model_validate(item)
        except ValidationError as error:
            raise invalid(error, DocumentIn) from None
        return self.allowed(found, options, schema, target)

    def allowed(self, found: DocumentIn, options: Options, schema: Schema, target: str | None = None) -> DocumentIn:
        """The document with the request's target where it has none, if limits and options allow it."""
        if (size := len(found.text)) > (most := self.config.limits.characters):
            raise Problem(
                Kind.TOO_LARGE, f"text has {size} characters, at most {most} are read; split it at a paragraph"
            )
        if found.target is None and target is not None:
            found = found.model_copy(update={"target": target})
        if (size := len(found.target or "")) > (most := self.config.limits.target_characters):
            raise Problem(
                Kind.TOO_LARGE, f"target has {size} characters, at most {most} are read; state one claim in a sentence"
            )
        if options.strict and found.target is None and schema.targeted:
            detail = f"`target` is missing, and {_targeted(schema)} cannot be annotated without one"
            raise Problem(Kind.INVALID, detail, errors=[{"pointer": "/target", "detail": detail}])
        return found

    async def tag(self, item: DocumentIn, model: Loaded, cost: int) -> Tagged:
        """Tag a checked document that the intake has counted in at `cost`; counts it out, whatever happens.

        Raises:
            Problem: it cannot be read.
        """
        try:
            document = Document(id=item.id or "text", text=item.text, target=item.target)
            windows = await self._encode(document, model)
            tokens = sum(len(window.ids) for window in windows)
            batcher = self._short if tokens <= self.config.batching.tokens else self._long
            done = batcher.submit(model.tagger, Encoded(document, windows), tokens)
            tagged = await asyncio.wrap_future(done)
        finally:
            self.intake.give_back(cost)
        self.metrics.document("tagged", len(document.text), truncated(document.text, windows))
        return Tagged(tagged, model, _warnings(document, model.tagger.schema))

    async def _encode(self, document: Document, model: Loaded) -> list[Window]:
        loop = asyncio.get_running_loop()
        try:
            return await loop.run_in_executor(self._encoders, model.tagger.encode, [document])
        except InputError as error:
            raise unreadable(error) from None


def size(item: DocumentIn) -> int:
    """What a document counts in the intake: the characters of its text and of its target."""
    return len(item.text) + len(item.target or "")


def answer(name: str | None, tagged: Tagged, options: Options) -> TaggedDocument:
    """A tagged document in the unit asked for."""
    place = converter(tagged.document.text, options.offsets)
    labels: dict[str, list[SpanOut] | LabelOut] = {}
    for layer, found in tagged.document.labels.items():
        if isinstance(found, Label):
            labels[layer] = LabelOut(label=found.label, score=found.score)
        else:
            labels[layer] = [
                SpanOut(start=place(one.start), end=place(one.end), label=one.label, score=one.score) for one in found
            ]
    return TaggedDocument(
        id=name,
        labels=labels,
        offsets=options.offsets,
        model_version=tagged.model.version,
        warnings=tagged.warnings,
    )


def item_error(item: Any, problem: Problem) -> ItemError:
    """A document's own error, with its id where that can be shown."""
    name = item.get("id") if isinstance(item, dict) else getattr(item, "id", None)
    shown = name if isinstance(name, str) and len(name) <= 1000 and not _surrogates(name) else None
    return ItemError(id=shown, error=ProblemDetails.model_validate(problem.body()))


def truncated(text: str, windows: Sequence[Window]) -> bool:
    """Whether a letter or digit lies between two windows, before the first or behind the last, and so was not read."""
    shown = [[place for place in window.offsets if place[0] < place[1]] for window in windows]
    edges = [0, *(edge for places in shown if places for edge in (places[0][0], places[-1][1])), len(text)]
    gaps = zip(edges[::2], edges[1::2], strict=True)
    return any(letter.isalnum() for start, end in gaps for letter in text[start:end])


def _surrogates(text: str) -> bool:
    return any("\ud800" <= letter <= "\udfff" for letter in text)


def _targeted(schema: Schema) -> str:
    return ", ".join(name for name, layer in schema.layers.items() if layer.targeted)


def _warnings(document: Document, schema: Schema) -> list[str]:
    if document.target is None and schema.targeted:
        return [f"no target was given, so these layers are not annotated: {_targeted(schema)}"]
    if document.target is not None and not schema.targeted:
        return ["a target was given, and no layer of this model is read against one"]
    return []
