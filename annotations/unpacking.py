"""Unpacks a compressed file's bytes as a stream. It knows compression, not what the bytes hold."""

from __future__ import annotations

import bz2
import lzma
import zlib
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Protocol

from annotations.errors import ConfigError, to_install

PACKED = (".xz", ".gz", ".zst", ".bz2")
_LONG_WINDOW = 1 << 31


class _Unpacker(Protocol):
    """What lzma, zlib, bz2 and zstandard share."""

    @property
    def eof(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, /) -> bytes: ...


class BrokenError(Exception):
    """Packed data that are damaged or end too soon."""


def unpacked(chunks: Iterable[bytes], path: Path) -> Iterator[bytes]:
    """The content of a file from its raw chunks: unpacked as its suffix says, or as it is.

    Several packed streams may follow each other, with zero bytes between them; the last one must be complete. The
    standard library's own files ignore what follows a stream if it does not look like another one.

    Raises:
        ConfigError: `.zst` without the package for it.
        BrokenError: at the place where the packed data break off.
    """
    if path.suffix in PACKED:
        yield from _unpacked(chunks, *_unpacker(path))
    else:
        yield from chunks


def _unpacked(chunks: Iterable[bytes], start: Callable[[], _Unpacker], failure: type[Exception]) -> Iterator[bytes]:
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
                raise BrokenError(str(error)) from error
            rest = unpacker.unused_data
            if unpacker.eof:
                unpacker = None
    if unpacker or not streams:
        raise BrokenError("the packed data have no end")


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
        raise ConfigError(path, f"`.zst` needs the package zstandard; {to_install('pretraining')}") from error
    return zstandard.ZstdDecompressor(max_window_size=_LONG_WINDOW).decompressobj, zstandard.ZstdError
