"""The service described for machines (OpenAPI 3.1), from the same models that check what comes in and goes out."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from inference.service import messages
from inference.service.messages import Offsets
from inference.service.problems import Kind
from inference.verification import package

Json = dict[str, Any]
TAKEN = (messages.DocumentIn, messages.OneRequest, messages.ManyRequest)
GIVEN = (
    messages.TaggedDocument,
    messages.ManyAnswer,
    messages.ItemError,
    messages.ProblemDetails,
    messages.ModelState,
    messages.Health,
)
ASKING = (Kind.MALFORMED, Kind.UNAUTHORIZED, Kind.TOO_SLOW, Kind.TOO_LARGE, Kind.UNSUPPORTED, Kind.INVALID, Kind.BUSY)
ADMIN = (Kind.UNAUTHORIZED, Kind.FORBIDDEN, Kind.BUSY_RELOADING)
NDJSON_IN = '{"id": "a", "text": "The Taliban denied it."}\n{"id": "b", "text": "VOA reported it."}\n'


def description() -> Json:
    """The whole document."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Standpoint",
            "version": package() or "unknown",
            "description": "Who is named in conflict news, and where each sentence and article stands on a claim.",
        },
        "paths": _paths(),
        "components": {
            "schemas": _schemas(),
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer"}},
        },
        # An empty entry: a service without tokens answers everybody.
        "security": [{"bearer": []}, {}],
    }


def _paths() -> Json:
    return {
        "/v1/tag": {"post": _tag()},
        "/v1/model": {"get": _plain("Which model answers", messages.ModelState, (Kind.UNAUTHORIZED,))},
        "/v1/admin/reload": {
            "post": _plain("Take the checkpoint anew", messages.ModelState, (*ADMIN, Kind.UNUSABLE), admin=True)
        },
        "/v1/admin/rollback": {
            "post": _plain(
                "Go back to the model before", messages.ModelState, (*ADMIN, Kind.NO_EARLIER, Kind.UNUSABLE), admin=True
            )
        },
        "/healthz": {"get": _open("Whether the process works", {"200": _health(), "503": _health()})},
        "/readyz": {"get": _open("Whether requests should come here", {"200": _health(), "503": _health()})},
        "/metrics": {"get": _open("For Prometheus", {"200": _text("text/plain")})},
        "/openapi.json": {"get": _open("This document", {"200": _content("application/json", {"type": "object"})})},
        "/": {"get": _open("A page to try it", {"200": _text("text/html")})},
    }


def _tag() -> Json:
    streamed = {"schema": {"type": "string"}, "example": NDJSON_IN}
    asked = {"oneOf": [_reference(messages.OneRequest), _reference(messages.ManyRequest)]}
    given = {"oneOf": [_reference(messages.TaggedDocument), _reference(messages.ManyAnswer)]}
    return {
        "summary": "Tag one document, some, or a stream of them",
        "operationId": "tag",
        "parameters": [
            _option("offsets", {"type": "string", "enum": list(Offsets)}),
            _option("strict", {"type": "boolean"}),
        ],
        "requestBody": {
            "required": True,
            "content": {
                "application/json": {"schema": asked, "examples": _examples(messages.OneRequest, messages.ManyRequest)},
                "application/x-ndjson": streamed,
            },
        },
        "responses": {
            "200": {
                "description": "Labels, in the order of the documents; a line each where lines were sent",
                "content": {
                    "application/json": {
                        "schema": given,
                        "examples": _examples(messages.TaggedDocument, messages.ManyAnswer),
                    },
                    "application/x-ndjson": {"schema": {"type": "string"}},
                    "text/html": {"schema": {"type": "string"}},
                },
            },
            **_problems(*ASKING, Kind.INTERNAL, Kind.DRAINING),
        },
    }


def _option(name: str, schema: Json) -> Json:
    about = f"`{name}` for all documents; a JSON body may say it instead"
    return {"name": name, "in": "query", "required": False, "schema": schema, "description": about}


def _plain(summary: str, given: type[BaseModel], kinds: tuple[Kind, ...], *, admin: bool = False) -> Json:
    answer = {"200": _content("application/json", _reference(given)), **_problems(*kinds)}
    return {"summary": summary, "responses": answer, **({"security": [{"bearer": []}]} if admin else {})}


def _open(summary: str, responses: Json) -> Json:
    return {"summary": summary, "responses": responses, "security": []}


def _problems(*kinds: Kind) -> Json:
    """One entry for each status."""
    found: Json = {}
    for kind in kinds:
        told = found.setdefault(
            str(kind.status), _content("application/problem+json", _reference(messages.ProblemDetails))
        )
        before = "" if told["description"] == "OK" else f"{told['description']}; "
        told["description"] = f"{before}{kind.title}"
    for status in {"429", "503"} & set(found):
        retry = {"description": "Seconds to wait", "schema": {"type": "integer"}}
        found[status]["headers"] = {"Retry-After": retry}
    return found


def _health() -> Json:
    return _content("application/json", _reference(messages.Health))


def _text(media_type: str) -> Json:
    return _content(media_type, {"type": "string"})


def _content(media_type: str, schema: Json) -> Json:
    return {"description": "OK", "content": {media_type: {"schema": schema}}}


def _reference(model: type[BaseModel]) -> Json:
    return {"$ref": f"#/components/schemas/{model.__name__}"}


def _examples(*models: type[BaseModel]) -> Json:
    found: Json = {}
    for model in models:
        extra = model.model_config.get("json_schema_extra")
        assert isinstance(extra, dict)
        shown = extra["examples"]
        assert isinstance(shown, list)
        found[model.__name__] = {"value": shown[0]}
    return found


def _schemas() -> Json:
    pairs: list[Any] = [(model, "validation") for model in TAKEN] + [(model, "serialization") for model in GIVEN]
    _, found = models_json_schema(pairs, ref_template="#/components/schemas/{model}")
    return dict(found["$defs"])
