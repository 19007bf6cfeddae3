"""Short signatures whose agreement estimates how many shingles two texts share, and an index of keys made from them.

It knows hashes of words, not texts. Signatures are MinHash (Broder, 1997, On the resemblance and containment of
documents) with eight bits kept of each hash (Li and König, 2010, b-Bit minwise hashing); keys for the candidates come
from banding (Indyk and Motwani, 1998, Approximate nearest neighbors).
"""

from __future__ import annotations

import zlib

import numpy as np
import numpy.typing as npt

Bytes = npt.NDArray[np.uint8]
Hashes = npt.NDArray[np.uint32]
Keys = npt.NDArray[np.uint64]
Numbers = npt.NDArray[np.int64]

SHINGLE = 3
"""Words in a shingle."""
HASHES = 128
BANDS = 8
RECALL = 0.95
"""The share of pairs at the threshold that banding must compare."""
KNOWN_WORDS = 1_000_000


class WordHashes(dict[str, int]):
    """The 32-bit hash of any word, remembered. Python salts its own."""

    def __missing__(self, word: str) -> int:
        if len(self) >= KNOWN_WORDS:
            self.clear()
        return self.setdefault(word, zlib.crc32(word.encode("utf-8", "surrogatepass")))


def rows_for(threshold: float) -> int:
    """The most hashes a band may have for pairs at this similarity to be compared with a probability of RECALL."""
    rows = range(HASHES // BANDS, 1, -1)
    return next((r for r in rows if 1 - (1 - threshold**r) ** BANDS >= RECALL), 1)


def agreement_for(threshold: float) -> int:
    """In how many of HASHES bytes two texts of this similarity agree on average; other texts agree by chance in 1 of 256."""
    return round(HASHES * (threshold + (1 - threshold) / 256))


def min_hashes(words: Hashes, lengths: Numbers) -> Hashes:
    """The smallest hash of each paragraph's shingles, for HASHES hash functions.

    Shapes: words (all words,), lengths (paragraphs,), each at least SHINGLE; result (paragraphs, HASHES).
    """
    shingles = _shingles(words, lengths)
    starts = np.cumsum(lengths - SHINGLE + 1) - (lengths - SHINGLE + 1)
    factors, terms = (_random("hashes", 2 * HASHES) >> np.uint64(32)).astype(np.uint32).reshape(2, HASHES)
    found = np.empty((HASHES, len(lengths)), dtype=np.uint32)
    for row, factor, term in zip(found, factors | np.uint32(1), terms, strict=True):
        np.minimum.reduceat(shingles * factor + term, starts, out=row)
    return np.ascontiguousarray(found.T)


def _shingles(words: Hashes, lengths: Numbers) -> Hashes:
    """Hashes of every run of SHINGLE words inside a paragraph (multilinear: Lemire and Kaser, 2014)."""
    count = len(words) - SHINGLE + 1
    wide = words.astype(np.uint64)
    mixed = np.zeros(count, dtype=np.uint64)
    for place, factor in enumerate(_random("shingles", SHINGLE)):
        mixed += wide[place : place + count] * factor
    inside = np.ones(len(words), dtype=bool)
    for place in range(1, SHINGLE):
        inside[np.cumsum(lengths) - place] = False
    shingles: Hashes = (mixed >> np.uint64(32)).astype(np.uint32)[inside[:count]]
    return shingles


def signatures(hashes: Hashes) -> Bytes:
    """Eight well-mixed bits of each smallest hash. Shape: as `hashes`."""
    return ((hashes * np.uint32(0x9E3779B1)) >> np.uint32(24)).astype(np.uint8)


def band_keys(hashes: Hashes, rows: int) -> Keys:
    """A key for each band of `rows` hashes. Shapes: (paragraphs, HASHES), result (paragraphs, BANDS)."""
    factors = _random("bands", BANDS * rows).reshape(BANDS, rows)
    bands = hashes[:, : BANDS * rows].reshape(-1, BANDS, rows).astype(np.uint64)
    keys: Keys = (bands * factors).sum(axis=2, dtype=np.uint64) + _random("keys", BANDS)
    return keys


def _random(use: str, count: int) -> Keys:
    """Numbers that are the same with every release of numpy, which promises that of bit generators only."""
    return np.asarray(np.random.PCG64(zlib.crc32(use.encode())).random_raw(count), dtype=np.uint64)


class Index:
    """A growing map from keys to numbers in 12 bytes each: sorted runs, merged as in a log-structured tree.

    (O'Neil and others, 1996, The log-structured merge-tree.)
    """

    def __init__(self) -> None:
        self._runs: list[tuple[Keys, npt.NDArray[np.int32]]] = []

    def find(self, keys: Keys) -> Numbers:
        """Each key's number, or -1. Shape: (keys,), both."""
        order = np.argsort(keys)
        ordered = keys[order]
        numbers = np.full(len(keys), -1, dtype=np.int64)
        for known, values in self._runs:
            places = np.minimum(np.searchsorted(known, ordered), len(known) - 1)
            hit = known[places] == ordered
            numbers[order[hit]] = values[places[hit]]
        return numbers

    def add(self, keys: Keys, numbers: Numbers) -> None:
        """Take up keys that differ from each other and from all that are there. Shape: (keys,), both."""
        if not len(keys):
            return
        run = _sorted(keys, numbers.astype(np.int32))
        while self._runs and len(self._runs[-1][0]) < 2 * len(run[0]):
            known, values = self._runs.pop()
            run = _sorted(np.concatenate([known, run[0]]), np.concatenate([values, run[1]]))
        self._runs.append(run)


def _sorted(keys: Keys, numbers: npt.NDArray[np.int32]) -> tuple[Keys, npt.NDArray[np.int32]]:
    order = np.argsort(keys, kind="stable")  # merges what is sorted already
    return keys[order], numbers[order]


class Signatures:
    """Signatures by number, from 0 on, in HASHES bytes each."""

    def __init__(self) -> None:
        self._rows = np.empty((1024, HASHES), dtype=np.uint8)
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, numbers: Numbers) -> Bytes:
        """Shapes: (any,), result (any, HASHES)."""
        return self._rows[numbers]

    def add(self, rows: Bytes) -> None:
        """Number these on from the last. Shape: (paragraphs, HASHES)."""
        end = self._count + len(rows)
        if end > len(self._rows):
            larger = np.empty((max(end, 2 * len(self._rows)), HASHES), dtype=np.uint8)
            larger[: self._count] = self._rows[: self._count]
            self._rows = larger
        self._rows[self._count : end] = rows
        self._count = end
