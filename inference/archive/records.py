"""The records of one file, from any of them on: lines, rows, or the whole of a text. It knows bytes, not documents."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import IO, Any, NamedTuple

from annotations.errors import JobError
from annotations.unpacking import PACKED, BrokenError, unpacked
from inference.archive import parquet
from inference.archive.sources import Shape, Source

CHUNK = 1 << 15
_BLANK = b" \t\r\n\v\f\xef\xbb\xbf"


class Record(NamedTuple):
    """What may become a document."""

    line: int | None
    """Its line or row, counted from 1; None for a file that is one text."""
    offset: int
    """Where its line begins in the file; in files that are packed or have rows, about how far into it that is."""
    value: bytes | Mapping[str, Any] | None = None
    problem: str | None = None
    """Why it has no value; the file may end there."""
    unread: tuple[str, ...] = ()
    """Columns of its file that are not in its value."""


@dataclass(frozen=True, slots=True)
class Piece:
    """Some consecutive records of one file."""

    name: str
    """What the source is called."""
    first: int
    """How many records of the file come before."""
    count: int
    line: int
    """Line of the first one."""
    offset: int
    """Offset of the first one."""


def places(source: Source, longest: int) -> Iterator[Record]:
    """All records of a file as cheaply as they can be counted, with or without their values."""
    if source.shape is Shape.TEXT:
        return iter([Record(None, 0)])
    if source.shape is Shape.LINES:
        return _lines(source, 0, 0, longest)
    count = parquet.count(source.path)
    return (Record(row + 1, source.size * row // count) for row in range(count))


class Cursor:
    """Reads pieces; what lies between two pieces of one file is only read where the file cannot be entered further on."""

    def __init__(self, longest: int) -> None:
        self._longest = longest
        self._name = ""
        self._at = 0
        self._records: Iterator[Record] = iter(())

    def read(self, source: Source, piece: Piece) -> Iterator[Record]:
        """The records of a piece, in memory for one of them; fewer where the file has changed."""
        elsewhere = source.name != self._name or self._at > piece.first
        if elsewhere or self._at < piece.first:
            at, records = self._entered(source, piece)
            if elsewhere or at > self._at:
                self._name, self._at, self._records = source.name, at, records
        while self._at < piece.first and next(self._records, None):
            self._at += 1
        for record in islice(self._records, piece.count):
            self._at += 1
            yield record

    def _entered(self, source: Source, piece: Piece) -> tuple[int, Iterator[Record]]:
        """The records of a file from the nearest place at or before a piece on, and how many come before that place."""
        if source.shape is Shape.TEXT:
            return 0, _text(source, self._longest)
        if source.shape is Shape.ROWS:
            at, rows, unread = parquet.rows(source.path, piece.first)
            return at, (Record(row, 0, value, problem, unread) for row, value, problem in rows)
        if source.path.suffix in PACKED:
            return 0, _lines(source, 0, 0, self._longest)
        return piece.first, _lines(source, piece.line - 1, piece.offset, self._longest)


def _text(source: Source, longest: int) -> Iterator[Record]:
    """The one record of a file that is a text. UTF-8 has at most 4 bytes for a character."""
    whole = bytearray()
    try:
        with source.path.open("rb") as file:
            for chunk in _content(file, source.path):
                whole += chunk
                if len(whole) > 4 * longest:
                    yield Record(None, 0, None, _too_long(longest))
                    return
    except (OSError, BrokenError) as error:
        yield Record(None, 0, None, _reason(error, source))
        return
    yield Record(None, 0, bytes(whole))


def _lines(source: Source, number: int, offset: int, longest: int) -> Iterator[Record]:
    """The lines that are not blank. JSON has at most 12 bytes for a character, and other fields want some room."""
    packed, most = source.path.suffix in PACKED, 12 * longest + (1 << 20)
    try:
        with source.path.open("rb") as file:
            file.seek(offset)
            for line, size in _split(_content(file, source.path), most):
                number += 1
                if line is None:
                    yield Record(number, offset, None, _too_long(longest))
                elif line.strip(_BLANK):
                    yield Record(number, offset, line)
                offset = file.tell() if packed else offset + size
    except (OSError, BrokenError) as error:
        yield Record(number + 1, offset, None, _reason(error, source))


def _content(file: IO[bytes], path: Path) -> Iterator[bytes]:
    return unpacked(iter(partial(file.read, CHUNK), b""), path)


def _split(chunks: Iterable[bytes], most: int) -> Iterator[tuple[bytes | None, int]]:
    """Lines without their ends, None for one of more than `most` bytes, and how many bytes each took with its end."""
    pieces: list[bytes] = []
    size = 0
    for chunk in chunks:
        *ended, rest = chunk.split(b"\n")
        for part in ended:
            pieces.append(part)
            size += len(part)
            yield b"".join(pieces) if size <= most else None, size + 1
            pieces, size = [], 0
        size += len(rest)
        if size <= most:
            pieces.append(rest)
        else:
            pieces.clear()
    if size:
        yield b"".join(pieces) if size <= most else None, size


def _reason(error: Exception, source: Source) -> str:
    """Why a file gives no more records; an error that may pass, of a network file system say, ends the job instead."""
    if isinstance(error, FileNotFoundError | PermissionError | IsADirectoryError):
        return f"the file cannot be read ({error.strerror}); check its permissions"
    if isinstance(error, OSError):
        raise JobError(f"{source.path}: cannot be read ({error}); the same command goes on") from error
    return f"the file is broken or cut short from here on ({error}); fetch or pack it again"


def _too_long(longest: int) -> str:
    return f"holds more than {longest:,} characters; raise --max-characters, or cut it into documents"
