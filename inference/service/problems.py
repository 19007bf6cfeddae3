"""Errors as problem details (RFC 9457): what each kind is called, its status, and who is told what. It knows no HTTP."""

from __future__ import annotations

import math
from collections.abc import Sequence
from enum import Enum
from typing import Any

from pydantic import ValidationError

from annotations.config import sentence
from annotations.errors import SHOWN, InputError
from inference.service.messages import Model

Json = dict[str, Any]
MOST_KEYS, LONGEST_KEY = 50, 100
"""Far more than any object has here; telling what is wrong with a million keys, or with a huge one, stalls everybody."""


class Kind(Enum):
    """Every kind of problem: its HTTP status and title."""

    MALFORMED = 400, "The body cannot be read"
    UNAUTHORIZED = 401, "A bearer token is needed"
    FORBIDDEN = 403, "This token may not do that"
    NOT_FOUND = 404, "There is nothing here"
    METHOD_NOT_ALLOWED = 405, "This path takes another method"
    TOO_SLOW = 408, "The request came too slowly"
    BUSY_RELOADING = 409, "Another reload is under way"
    NO_EARLIER = 409, "There is no earlier model"
    TOO_LARGE = 413, "The request is too large"
    UNSUPPORTED = 415, "This content type is not understood"
    INVALID = 422, "The request is not valid"
    UNREADABLE = 422, "This document cannot be read"
    BUSY = 429, "Too much is waiting"
    UNUSABLE = 422, "The checkpoint cannot be served"
    INTERNAL = 500, "Something unforeseen happened"
    DRAINING = 503, "The service is shutting down"
    LATE = 503, "The model did not answer in time"

    @property
    def status(self) -> int:
        """The HTTP status."""
        return int(self.value[0])

    @property
    def title(self) -> str:
        """The same words for every problem of this kind."""
        return str(self.value[1])

    @property
    def uri(self) -> str:
        """Its identifier."""
        return f"urn:standpoint:problem:{self.name.lower().replace('_', '-')}"


class Problem(Exception):  # noqa: N818 - the RFC's word
    """What the client is told; `errors` has one entry for each thing to mend."""

    def __init__(
        self, kind: Kind, detail: str, *, errors: Sequence[Json] = (), retry_after: float | None = None
    ) -> None:
        super().__init__(kind.title)
        self.kind, self.detail, self.errors = kind, detail, list(errors)
        self.retry_after = None if retry_after is None else max(1, math.ceil(retry_after))

    def body(self) -> Json:
        """The problem details object."""
        told: Json = {
            "type": self.kind.uri,
            "title": self.kind.title,
            "status": self.kind.status,
            "detail": self.detail,
        }
        return {**told, "errors": self.errors} if self.errors else told

    def headers(self) -> dict[str, str]:
        """What goes with it: `Retry-After`, `WWW-Authenticate`."""
        found = {} if self.retry_after is None else {"Retry-After": str(self.retry_after)}
        if self.kind is Kind.UNAUTHORIZED:
            found["WWW-Authenticate"] = "Bearer"
        return found


def check_keys(value: Json) -> None:
    """Raise Problem for an object with too many keys, or with a key that is too long, to be worth comparing with a model."""
    if len(value) > MOST_KEYS:
        raise Problem(Kind.INVALID, f"an object with {len(value)} keys, at most {MOST_KEYS} are read; leave some out")
    for key in value:
        if len(key) > LONGEST_KEY:
            raise Problem(
                Kind.INVALID, f"a key of {len(key)} characters, at most {LONGEST_KEY} are read: {key[:40]!r}…"
            )


def invalid(error: ValidationError, model: type[Model]) -> Problem:
    """A request or document that is not as its model says; of very many things to mend, the first."""
    found = error.errors(include_url=False)
    # What is wrong with each of a million keys would keep everybody waiting.
    sentences = [sentence(item, model) for item in found[:SHOWN]]
    places = ["".join(map(_step, item["loc"])) for item in found[:SHOWN]]
    errors = [{"pointer": place, "detail": text} for place, text in zip(places, sentences, strict=True)]
    more = [f"and {len(found) - SHOWN} more"] if len(found) > SHOWN else []
    return Problem(Kind.INVALID, "; ".join([*sentences, *more]), errors=errors)


def unreadable(error: InputError) -> Problem:
    """A document that the tagger refuses."""
    return Problem(Kind.UNREADABLE, "; ".join(error.problems))


def _step(part: str | int) -> str:
    """One step of a JSON Pointer (RFC 6901)."""
    return "/" + str(part).replace("~", "~0").replace("/", "~1")
