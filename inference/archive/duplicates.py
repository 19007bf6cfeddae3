"""Which ids occur more than once among any number of them, in bounded memory. It knows ids, not where they come from."""

from __future__ import annotations

import hashlib
from array import array
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, NamedTuple

import numpy as np
import numpy.typing as npt

BUCKET = 1 << 22
"""About how many hashes are sorted at once; more where there are more than MOST buckets of them."""
MOST = 256
"""Files that are open at once."""
NAMED = 1000
"""Most ids that are listed."""
_HELD = 1 << 12

Hashes = npt.NDArray[np.uint64]


class Repeated(NamedTuple):
    """What was found."""

    total: int
    """How many ids there are, each occurrence counted."""
    repeated: int
    """How many of them occur more than once."""
    named: dict[str, int]
    """NAMED of these at most, in the order in which they first occur, and how often each does."""


def repeated(ids: Callable[[], Iterable[str]], about: int, folder: Path) -> Repeated:
    """Go through `ids` once, and again if any occurs twice. `about` is how many there may be.

    Hashes of 8 bytes each lie in unnamed temporary files below `folder` meanwhile. Two different ids of a billion share
    one with a chance of 3 %, and `repeated` is then one too high; ids that are named are compared whole.
    """
    with ExitStack() as stack:
        count = min(about // BUCKET + 1, MOST)
        buckets = [_Bucket(stack.enter_context(TemporaryFile(dir=folder))) for _ in range(count)]
        total = 0
        for name in ids():
            total += 1
            found = _hash(name)
            buckets[found % count].add(found)
        twice = 0
        chosen: Hashes = np.empty(0, np.uint64)
        for bucket in buckets:
            values = bucket.twice()
            twice += len(values)
            chosen = np.sort(np.concatenate([chosen, values]))[:NAMED]
    return Repeated(total, twice, _named(ids(), set(chosen.tolist())) if twice else {})


class _Bucket:
    """Hashes that share a remainder, on the disk."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._held = array("Q")

    def add(self, value: int) -> None:
        self._held.append(value)
        if len(self._held) >= _HELD:
            self._flush()

    def _flush(self) -> None:
        self._file.write(self._held.tobytes())
        self._held = array("Q")

    def twice(self) -> Hashes:
        """The hashes that occur more than once, sorted; the bucket is empty afterwards."""
        self._flush()
        self._file.seek(0)
        values = np.sort(np.frombuffer(self._file.read(), np.uint64))
        found: Hashes = np.unique(values[1:][values[1:] == values[:-1]])
        return found


def _hash(name: str) -> int:
    return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest())


def _named(ids: Iterable[str], hashes: set[int]) -> dict[str, int]:
    counted = Counter(name for name in ids if _hash(name) in hashes)
    return {name: count for name, count in counted.items() if count > 1}
