"""Streams the lines of text files, packed or not. It knows bytes, compression and UTF-8, not what the lines hold."""

from __future__ import annotations

import bz2
import lzma
import zlib
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Protocol

from annotations.errors import ConfigError, DocumentError

PACKED = (".xz", ".gz", ".zst", ".bz2")
CHUNK = 1 << 15
_LONG_WINDOW = 1 << 31


class _Unpacker(Protocol):
    """What lzma, zlib, bz2 and zstandard share."""

    @property
    def eof(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, /) -> bytes: ...


class _BrokenError(Exception):
    """Packed data that are damaged or end too soon."""


def text_lines(path: Path) -> Iterator[str]:
    """Stream a file's lines without their line ends, in memory for the longest line; unpacked as its suffix says.

    Raises:
        ConfigError: `.zst` without the package for it.
        DocumentError: at the place where the file cannot be read, its packed data break off, or a line is not UTF-8.
    """
    number = 0
    try:
        with path.open("rb") as file:
            chunks: Iterable[bytes] = iter(partial(file.read, CHUNK), b"")
            if path.suffix in PACKED:
                chunks = _unpacked(chunks, *_unpacker(path))
            for line in _lines(chunks):
                number += 1
                yield line.decode("utf-8")
    except UnicodeDecodeError as error:
        reason = f"line {number}: is not UTF-8 ({error.reason} at byte {error.start} of the line); convert it to UTF-8"
        raise DocumentError(path, reason) from error
    except OSError as error:
        raise DocumentError(path, f"cannot be read ({error.strerror or error}); check the path") from error
    except _BrokenError as error:
        problem = f"is broken or cut short after line {number} ({error}); fetch or pack it again"
        raise DocumentError(path, problem) from error


def _lines(chunks: Iterable[bytes]) -> Iterator[bytes]:
    pieces: list[bytes] = []
    for chunk in chunks:
        first, *others = chunk.split(b"\n")
        pieces.append(first)
        if others:
            yield b"".join(pieces)
            yield from others[:-1]
            pieces = [others[-1]]
    if last := b"".join(pieces):
        yield last


def _unpacked(chunks: Iterable[bytes], start: Callable[[], _Unpacker], failure: type[Exception]) -> Iterator[bytes]:
    """Several packed streams may follow each other, with zero bytes between them; the last one must be complete.

    The standard library's own files ignore what follows a stream if it does not look like another one.
    """
    unpacker: _Unpacker | None = None
    streams = 0
    for chunk in chunks:
        rest = chunk
        while rest := rest if unpacker else rest.lstrip(b"\0"):
            if unpacker is None:
                unpacker, streams = start(), streams + 1
            try:
                yield unpacker.decompress(rest)
            except failure as error:
                raise _BrokenError(str(error)) from error
            rest = unpacker.unused_data
            if unpacker.eof:
                unpacker = None
    if unpacker or not streams:
        raise _BrokenError("the packed data have no end")


def _unpacker(path: Path) -> tuple[Callable[[], _Unpacker], type[Exception]]:
    """What unpacks one stream, and the error it raises."""
    if path.suffix == ".xz":
        return lzma.LZMADecompressor, lzma.LZMAError
    if path.suffix == ".gz":
        return partial(zlib.decompressobj, 16 + zlib.MAX_WBITS), zlib.error
    if path.suffix == ".bz2":
        return bz2.BZ2Decompressor, OSError
    try:
        import zstandard
    except ImportError as error:
        need = "`.zst` needs the package zstandard: pip install 'standpoint[pretraining]'"
        raise ConfigError(path, need) from error
    return zstandard.ZstdDecompressor(max_window_size=_LONG_WINDOW).decompressobj, zstandard.ZstdError
