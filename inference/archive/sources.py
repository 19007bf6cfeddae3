"""The files of an archive, in a fixed order, and a fingerprint of them. It knows names, sizes and suffixes, no documents."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from importlib.util import find_spec
from pathlib import Path

from annotations.errors import ConfigError, to_install
from annotations.unpacking import PACKED

SAMPLE = 1 << 16
"""Bytes of each end of a file that go into the fingerprint, beside its size."""


class Shape(StrEnum):
    """What a file's documents are made of."""

    TEXT = "text"
    LINES = "lines"
    ROWS = "rows"


SHAPES = {".txt": Shape.TEXT, ".jsonl": Shape.LINES, ".ndjson": Shape.LINES, ".parquet": Shape.ROWS}


@dataclass(frozen=True, slots=True)
class Source:
    """One file of an archive."""

    name: str
    """Its path below the archive's folder, or its own name."""
    path: Path
    shape: Shape
    size: int
    """Bytes as they lie on the disk."""


@dataclass
class Survey:
    """What an archive consists of, without any of its documents."""

    files: int = 0
    size: int = 0
    """Bytes."""
    fingerprint: str = ""
    """Of the files' names, sizes, and first and last 64 kB."""
    left_out: Counter[str] = field(default_factory=Counter)
    """How many files of each suffix are not read."""


def installed(package: str) -> bool:
    """Whether an optional package is there, without loading it."""
    try:
        return find_spec(package) is not None
    except ValueError:
        return False


def shape_of(path: Path) -> Shape | None:
    """What a file's suffix says it holds; None for what is not read."""
    inner = path.with_suffix("") if path.suffix in PACKED else path
    found = SHAPES.get(inner.suffix)
    return None if found is Shape.ROWS and inner is not path else found


def sources(place: Path) -> Iterator[Source]:
    """The files that are read, folder by folder in the order of their names; hidden ones are left out."""
    for path in _below(place, frozenset()):
        if shape := shape_of(path):
            name = path.name if path == place else path.relative_to(place).as_posix()
            yield Source(name, path, shape, _size(path))


def source(place: Path, name: str) -> Source:
    """The file of an archive that `sources` calls by this name."""
    path = place / name if place.is_dir() else place
    shape = shape_of(path)
    assert shape is not None
    return Source(name, path, shape, _size(path))


def survey(place: Path) -> Survey:
    """Count and fingerprint an archive's files.

    Raises:
        ConfigError: there is no such archive, a folder or none of its files can be read, or a package for them is absent.
    """
    if not place.exists():
        raise ConfigError(place, "does not exist; check --input")
    found, digest, needed = Survey(), hashlib.sha256(), set()
    found.left_out = Counter(
        path.suffix or "without suffix" for path in _below(place, frozenset()) if not shape_of(path)
    )
    for file in sources(place):
        found.files += 1
        found.size += file.size
        digest.update(b"%b\0%d\0%b" % (os.fsencode(file.name), file.size, _ends(file.path, file.size)))
        needed |= {"pyarrow"} if file.shape is Shape.ROWS else {"zstandard"} if file.path.suffix == ".zst" else set()
    if not found.files:
        raise ConfigError(place, "holds no file that is read: .txt, .jsonl, .ndjson (packed or not), .parquet")
    if absent := [name for name in sorted(needed) if not installed(name)]:
        raise ConfigError(place, f"needs {' and '.join(absent)} to be read; {to_install('archives')}")
    found.fingerprint = digest.hexdigest()[:16]
    return found


def _below(path: Path, around: frozenset[Path]) -> Iterator[Path]:
    """A file itself; of a folder all below it, links followed but never in a circle."""
    if not path.is_dir():
        yield path
    elif (real := path.resolve()) not in around:
        try:
            entries = sorted(path.iterdir(), key=lambda entry: os.fsencode(entry.name))
        except OSError as error:
            raise ConfigError(
                path, f"cannot be read ({error.strerror}); mend its permissions, or move it away"
            ) from error
        for entry in entries:
            if not entry.name.startswith("."):
                yield from _below(entry, around | {real})


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _ends(path: Path, size: int) -> bytes:
    """A hash of a file's two ends; of nothing where it cannot be read, which its documents will tell."""
    digest = hashlib.sha256()
    try:
        with path.open("rb") as file:
            digest.update(file.read(SAMPLE))
            file.seek(max(file.tell(), size - SAMPLE))
            digest.update(file.read(SAMPLE))
    except OSError:
        digest.update(b"unreadable")
    return digest.digest()
