"""One document through the service: checked, tagged by the model's worker, counted.

It knows messages and limits; requests, streams and HTTP are others' business, and so is how a model tags.
"""

from __future__ import annotations

from typing import Any

from pydantic import ValidationError

from annotations.schema import Schema
from inference.service.batching import Answer
from inference.service.config import ServiceConfig
from inference.service.intake import Intake
from inference.service.messages import DocumentIn, ItemError, Offsets, Options, ProblemDetails
from inference.service.metrics import Metrics
from inference.service.models import Loaded
from inference.service.problems import Kind, Problem, check_keys, invalid
from inference.service.worker import targeted


class Tagging:
    """What all requests share: limits, and what is counted."""

    def __init__(self, config: ServiceConfig, intake: Intake, metrics: Metrics) -> None:
        self.config, self.intake, self.metrics = config, intake, metrics

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
            detail = f"`target` is missing, and {targeted(schema)} cannot be annotated without one"
            raise Problem(Kind.INVALID, detail, errors=[{"pointer": "/target", "detail": detail}])
        return found

    async def tag(self, item: DocumentIn, model: Loaded, offsets: Offsets, cost: int) -> Answer:
        """Tag a checked document that the intake has counted in at `cost`; counts it out, whatever happens.

        Raises:
            Problem: it cannot be read.
        """
        try:
            found = await model.work.tag(item, offsets)
        finally:
            self.intake.give_back(cost)
        self.metrics.document("tagged", len(item.text), found.truncated)
        return found


def size(item: DocumentIn) -> int:
    """What a document counts in the intake: the characters of its text and of its target."""
    return len(item.text) + len(item.target or "")


def item_error(item: Any, problem: Problem) -> ItemError:
    """A document's own error, with its id where that can be shown."""
    name = item.get("id") if isinstance(item, dict) else getattr(item, "id", None)
    shown = name if isinstance(name, str) and len(name) <= 1000 and not _surrogates(name) else None
    return ItemError(id=shown, error=ProblemDetails.model_validate(problem.body()))


def _surrogates(text: str) -> bool:
    return any("\ud800" <= letter <= "\udfff" for letter in text)
