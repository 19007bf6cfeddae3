"""Records as documents to tag, or the reason why one cannot be. It knows fields, not files."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

from pydantic import ValidationError
from pydantic_core import PydanticSerializationError

from annotations.config import describe
from annotations.document import Document
from inference.archive.records import Record

FIELDS = ("id", "text", "target", "group", "source")
_REPLACED = "labels"
_NAMED = 20
"""Ignored fields after which no more are looked for."""


class UnfitError(Exception):
    """A record that makes no document: why, and what it is called where that is known."""

    def __init__(self, reason: str, name: str | None = None) -> None:
        self.reason, self.name = reason, name
        super().__init__(reason)


def document(record: Record, file: str, longest: int, ignored: set[str]) -> Document:
    """The document of a record, its labels left out; names of what is not read are added to `ignored`.

    The id of a text is its file's name below the archive's folder; a record without one gets `FILE:LINE`. Whole numbers
    are good ids and groups too; a source that is no object is not read.

    Raises:
        UnfitError: it makes no document.
    """
    if record.problem is not None or record.value is None:
        raise UnfitError(record.problem or "is empty", file if record.line is None else None)
    if record.line is None:
        assert isinstance(record.value, bytes)
        values: Mapping[str, Any] = {"text": _decoded(record.value, "utf-8", file)}
    else:
        values = _parsed(record.value) if isinstance(record.value, bytes) else record.value
    if len(ignored) < _NAMED:
        unread = {*record.unread, *(name for name in values if name not in FIELDS)} - {_REPLACED}
        ignored |= {str(name)[:40] for name in unread}
    kept = {name: values[name] for name in FIELDS if values.get(name) is not None}
    if not isinstance(kept.get("source", {}), Mapping):
        # In other people's records it is the name of a newspaper.
        del kept["source"]
        ignored.add("source")
    kept["id"] = _named(kept["id"]) if "id" in kept else _place(file, record.line)
    kept["group"] = _named(kept.get("group"))
    return _checked(kept, longest)


def _place(file: str, line: int | None) -> str:
    """What a record is called that has no id."""
    try:
        file.encode()
    except UnicodeEncodeError as error:
        raise UnfitError("the file's name is not UTF-8; rename it") from error
    return file if line is None else f"{Path(file).as_posix()}:{line}"


def _named(given: Any) -> Any:
    return str(given) if isinstance(given, int) and not isinstance(given, bool) else given


def _checked(values: dict[str, Any], longest: int) -> Document:
    name = values["id"] if isinstance(values["id"], str) else None
    try:
        # Python's JSON reads half characters, and UTF-8 cannot write them.
        json.dumps(values, ensure_ascii=False, allow_nan=False).encode()
    except UnicodeEncodeError as error:
        raise UnfitError(
            "holds a lone surrogate, which is no character; decode the text properly first", name
        ) from error
    except (TypeError, ValueError, RecursionError) as error:
        raise UnfitError(f"holds what JSON cannot write ({error})", name) from error
    try:
        found = Document.model_validate(values)
        if found.source:
            # Pydantic reads deeper nests than it writes, and an error of writing would end the process.
            found.to_json()
    except ValidationError as error:
        raise UnfitError("; ".join(describe(error, Document)), name) from error
    except (RecursionError, PydanticSerializationError) as error:
        raise UnfitError("field 'source' is nested too deeply; flatten it, or leave it out", name) from error
    if len(found.text) > longest:
        reason = f"text has {len(found.text):,} characters, at most {longest:,} are read; raise --max-characters"
        raise UnfitError(reason, name)
    return found


def _parsed(line: bytes) -> Mapping[str, Any]:
    text = _decoded(line, "utf-8-sig")
    try:
        values = json.loads(text, parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        raise UnfitError(f"is not JSON ({error}); write one object a line") from error
    if not isinstance(values, dict):
        raise UnfitError(f"is {type(values).__name__}, not an object; write one object a line")
    return values


def _decoded(raw: bytes, encoding: str, name: str | None = None) -> str:
    try:
        return raw.decode(encoding)
    except UnicodeDecodeError as error:
        raise UnfitError(f"is not UTF-8 ({error.reason} at byte {error.start}); convert it to UTF-8", name) from error


def _no_number(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")
