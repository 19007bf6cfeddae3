"""Bodies into Python values: within size and time, strictly as RFC 8259 and UTF-8 say. It knows bytes and JSON."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from itertools import count
from json.scanner import py_make_scanner  # type: ignore[attr-defined]
from typing import Any

from inference.service.intake import Intake
from inference.service.problems import Json, Kind, Problem
from inference.web import Call

MEGABYTE = 1_000_000
VALUES, SPARE_VALUES = 100, 1000
"""Most in JSON for each document that may come (it has three), and besides: in Python each takes microseconds."""
Scan = Callable[[str, int], tuple[Any, int]]
"""From a text and where a value starts in it to the value and where it ends."""


class Body:
    """A JSON body; it counts against the bodies that the service holds until it is let go."""

    def __init__(self, intake: Intake) -> None:
        self._intake, self._size = intake, 0

    async def read(self, call: Call, *, most: int, seconds: float) -> bytes:
        """The whole body.

        Raises:
            Problem: it is longer than `most` bytes, or takes longer than `seconds` to come.
        """
        too_large = Problem(
            Kind.TOO_LARGE, f"the body is longer than {most} bytes; send less at once, or a stream of NDJSON"
        )
        announced = call.header("content-length") or ""
        if announced.isdecimal() and int(announced) > most:
            raise too_large
        chunks: list[bytes] = []
        try:
            async with asyncio.timeout(seconds):
                async for chunk in call.chunks():
                    self._intake.read(len(chunk))
                    self._size += len(chunk)
                    if self._size > most:
                        raise too_large
                    chunks.append(chunk)
        except TimeoutError:
            raise Problem(Kind.TOO_SLOW, f"the body took longer than {seconds:g} s to come") from None
        return b"".join(chunks)

    def let_go(self) -> None:
        """The body is not held any more."""
        self._intake.read(-self._size)
        self._size = 0


def parse(raw: bytes, what: str = "the body", documents: int = 1) -> Any:
    """A JSON value that may hold so many documents. Lone surrogates are left for the models to refuse.

    Raises:
        Problem: it is none, with the reason, or holds far more values than the documents could.
    """
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise Problem(Kind.MALFORMED, f"{what} is not UTF-8 at byte {error.start}") from None
    try:
        return _Decoder(_counted(what, SPARE_VALUES + VALUES * documents)).decode(text)
    except json.JSONDecodeError as error:
        raise Problem(
            Kind.MALFORMED, f"{what} is not JSON at line {error.lineno}, column {error.colno}: {error.msg}"
        ) from None
    except RecursionError:
        raise Problem(Kind.MALFORMED, f"{what} is nested too deeply") from None
    except ValueError as error:
        raise Problem(Kind.MALFORMED, f"{what} is not usable JSON: {str(error)[:200]}") from None


class _Decoder(json.JSONDecoder):
    """Reads values in Python: what is written in C would let no other thread run until it is through a long list.

    Texts, which is what bodies are made of, are read in C all the same.
    """

    parse_array: Callable[..., Any]
    parse_object: Callable[..., Any]

    def __init__(self, counted: Callable[[Scan], Scan]) -> None:
        super().__init__(parse_constant=_no_number, object_pairs_hook=_object)
        array, mapping = self.parse_array, self.parse_object
        self.parse_array = lambda start, scan: array(start, counted(scan))
        self.parse_object = lambda start, strict, scan, *more: mapping(start, strict, counted(scan), *more)
        self.scan_once = py_make_scanner(self)


def _counted(what: str, most: int) -> Callable[[Scan], Scan]:
    """What makes a scanner raise Problem once it and all others made so have read more than so many values."""
    numbers = count(1)

    def counted(scan: Scan) -> Scan:
        def scan_one(text: str, start: int) -> tuple[Any, int]:
            if next(numbers) > most:
                raise Problem(
                    Kind.TOO_LARGE, f"{what} holds more than {most} values; send less at once, or a stream of NDJSON"
                )
            return scan(text, start)

        return scan_one

    return counted


def _no_number(name: str) -> float:
    raise ValueError(f"{name} is no JSON number")


def _object(pairs: list[tuple[str, Any]]) -> Json:
    found: Json = {}
    for key, value in pairs:
        if key in found:
            raise ValueError(f"the key {key[:40]!r} is given twice in one object")
        found[key] = value
    return found
