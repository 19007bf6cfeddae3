"""Streams the lines of text files, packed or not. It knows files and UTF-8, not what the lines hold."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path

from annotations.errors import DocumentError
from annotations.unpacking import BrokenError, unpacked

CHUNK = 1 << 15


def text_lines(path: Path) -> Iterator[str]:
    """Stream a file's lines without their line ends, in memory for the longest line; unpacked as its suffix says.

    Raises:
        ConfigError: `.zst` without the package for it.
        DocumentError: at the place where the file cannot be read, its packed data break off, or a line is not UTF-8.
    """
    number = 0
    try:
        with path.open("rb") as file:
            for line in _lines(unpacked(iter(partial(file.read, CHUNK), b""), path)):
                number += 1
                yield line.decode("utf-8")
    except UnicodeDecodeError as error:
        reason = f"line {number}: is not UTF-8 ({error.reason} at byte {error.start} of the line); convert it to UTF-8"
        raise DocumentError(path, reason) from error
    except OSError as error:
        raise DocumentError(path, f"cannot be read ({error.strerror or error}); check the path") from error
    except BrokenError as error:
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
