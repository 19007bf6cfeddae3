"""What the service takes and gives, as pydantic models with examples. It knows JSON, not HTTP and no tagger."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, JsonValue
from pydantic.config import JsonDict

from annotations.document import claim

TEXT = "The Taliban denied it. Officials in Kabul confirmed the report."
TARGET = "There are foreign fighters in the ranks of the Taliban."
ENTITIES: list[JsonValue] = [
    {"start": 4, "end": 11, "label": "MILITANT_GROUP", "score": 0.98},
    {"start": 36, "end": 41, "label": "LOCATION", "score": 0.97},
]
STANCE: list[JsonValue] = [
    {"start": 0, "end": 22, "label": "denies", "score": 0.71},
    {"start": 23, "end": 63, "label": "supports", "score": 0.64},
]
LABELS: JsonDict = {"entity": ENTITIES, "stance": STANCE, "document": {"label": "denies", "score": 0.55}}
VERSION = "0f3c9a1be2d47586"
TAGGED: JsonDict = {"id": "a", "labels": LABELS, "offsets": "code_points", "model_version": VERSION, "warnings": []}
STATE: JsonDict = {"version": VERSION, "engine": "torch", "earlier": None, "loaded": "2026-01-31T12:00:00+00:00"}
TOO_LONG: JsonDict = {
    "type": "urn:standpoint:problem:too-large",
    "title": "The request is too large",
    "status": 413,
    "detail": "text has 600000 characters, at most 500000 are read; split it at a paragraph",
}


def _characters(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ValueError(
            f"holds a lone surrogate (U+{ord(text[error.start]):04X} at {error.start}), which is no character; "
            "decode the text properly first"
        ) from None
    return text


def _unit(value: Any) -> Any:
    """Python says of anything what it looks like before it says that it is none of an enum; a long list takes seconds."""
    if not isinstance(value, str):
        raise ValueError("Input should be 'code_points', 'utf16' or 'bytes'")
    return value


Text = Annotated[str, AfterValidator(_characters)]
Target = Annotated[Text | None, AfterValidator(claim)]


class Offsets(StrEnum):
    """What `start` and `end` count."""

    CODE_POINTS = "code_points"
    """Unicode code points, as Python's `str`."""
    UTF16 = "utf16"
    """UTF-16 units, as JavaScript, Java and .NET."""
    BYTES = "bytes"
    """Bytes of UTF-8, as Go and Rust."""


class Model(BaseModel):
    """Closed to unknown keys; nothing is converted to another type."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True)


class DocumentIn(Model):
    """One text, and the claim that targeted layers are read against."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"id": "a", "text": TEXT, "target": TARGET}]})

    text: Text
    """Any Unicode text; it is never normalised."""
    target: Target = None
    """Without one, or with a blank one, targeted layers stay unannotated and the answer says so in `warnings`."""
    id: Annotated[Text, Field(min_length=1, max_length=1000)] | None = None
    """Comes back with the answer."""


class Options(Model):
    """What holds for all documents of a request."""

    offsets: Annotated[Offsets, BeforeValidator(_unit)] = Offsets.CODE_POINTS
    """What `start` and `end` count."""
    strict: Annotated[bool, Field(strict=True)] = False
    """Whether a document without a target is an error where the model has targeted layers."""


class OneRequest(DocumentIn, Options):
    """One document; the answer is a `TaggedDocument`."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"text": TEXT, "target": TARGET, "offsets": "utf16"}]})


class ManyRequest(Options):
    """Some documents; the answer has as many, in the same order."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"documents": [{"text": TEXT}, {"text": "VOA."}], "target": TARGET}]}
    )

    documents: Annotated[
        list[Any], Field(min_length=1, json_schema_extra={"items": {"$ref": "#/components/schemas/DocumentIn"}})
    ]
    """Each a `DocumentIn`; one that is not is answered with its own error, and the others are tagged."""
    target: Target = None
    """For documents without one of their own."""


class LabelOut(Model):
    """A label of the whole document."""

    label: str
    score: float | None = Field(default=None, ge=0, le=1)
    """Probability."""


class SpanOut(LabelOut):
    """A label on a half-open stretch of the text."""

    start: int = Field(ge=0)
    end: int = Field(ge=0)


class TaggedDocument(Model):
    """A document's labels, layer by layer."""

    model_config = ConfigDict(json_schema_extra={"examples": [TAGGED]})

    id: str | None = None
    """As it came."""
    labels: dict[str, list[SpanOut] | LabelOut]
    """Layer name to spans in text order, or to one label. A layer that is absent is unannotated, which is not empty."""
    offsets: Offsets
    """What `start` and `end` count."""
    model_version: str
    """Content hash of the model that answered."""
    warnings: list[str] = []
    """What the request left out, and what that means."""


class FieldError(Model):
    """One thing to mend."""

    pointer: str
    """JSON Pointer to it (RFC 6901)."""
    detail: str


class ProblemDetails(Model):
    """RFC 9457."""

    model_config = ConfigDict(json_schema_extra={"examples": [TOO_LONG]})

    type: str
    title: str
    status: int
    detail: str
    errors: list[FieldError] = []


class ItemError(Model):
    """A document that was not tagged, and why."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"id": "b", "error": TOO_LONG}]})

    id: str | None = None
    """As it came, where it could be read."""
    error: ProblemDetails


class ManyAnswer(Model):
    """One entry for each document, in order."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"documents": [TAGGED, {"id": "b", "error": TOO_LONG}]}]})

    documents: list[TaggedDocument | ItemError]


class ModelState(Model):
    """Which model answers."""

    model_config = ConfigDict(json_schema_extra={"examples": [STATE]})

    version: str
    """Content hash of weights and config."""
    engine: str
    """What runs the encoder."""
    loaded: str
    """When, in ISO 8601."""
    earlier: str | None = None
    """The version that a rollback would take."""


class Health(Model):
    """Whether the service is alive, or takes requests."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"status": "ok"}]})

    status: str
