"""Leaves out paragraphs that say again, word for word or nearly so, what came before in a stream of any length.

It knows words and paragraphs, not files; how similarity is estimated is `minhash`'s business.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, islice

import numpy as np
import numpy.typing as npt

from training.pretraining.minhash import (
    Bytes,
    Index,
    Keys,
    Numbers,
    Signatures,
    WordHashes,
    agreement_for,
    band_keys,
    min_hashes,
    rows_for,
    signatures,
)

Bools = npt.NDArray[np.bool_]

SHORTEST = 12
"""Words below which only the same paragraph is left out: one other word would make another paragraph of it."""
BATCH = 500_000
"""Characters looked at together."""
_WORD = re.compile(r"[^\W\d_]+")


class Repetition:
    """Remembers the paragraphs it was shown and tells which are new; the same on every machine and in batches of any size.

    A paragraph is *the same* as another if case, digits and punctuation are all that differs, as in yearly reports. It is
    *nearly the same* as one that was kept if both have at least twelve words, they were compared, and the estimated Jaccard
    coefficient of their sets of three-word shingles reaches the threshold. They are compared if all r hashes of one of 8
    bands agree, which at a similarity s has the probability 1 - (1 - s^r)^8; r is the largest that makes this 0.95 at the
    threshold. At 0.8, r is 5, and the probability 0.22 for s = 0.5, 0.77 for 0.7, 0.96 for 0.8 and 0.999 for 0.9. The
    estimate from 128 hashes has the standard error sqrt(s (1 - s) / 128), 0.035 at 0.8. Measured at the threshold 0.8 on
    paragraphs with words changed at random: 1% of the pairs around 0.7 are left out, 15% around 0.75, 58% around 0.8, 95%
    around 0.85, 99.9% around 0.9. A band leads to the first kept paragraph with its hashes, and to no other.

    A million kept paragraphs of twelve words or more take 350 MB. Where a script has no spaces between words,
    little but the same is found.
    """

    def __init__(self, threshold: float = 0.8) -> None:
        """`threshold` is above 0 and at most 1; below 0.5, few of the similar pairs are compared."""
        if not 0 < threshold <= 1:
            raise ValueError(f"threshold={threshold} must be above 0 and at most 1")
        self.exact = 0
        """Paragraphs so far that were the same as an earlier one."""
        self.near = 0
        """Paragraphs so far that were nearly the same as an earlier one."""
        self._rows = rows_for(threshold)
        self._agreeing = agreement_for(threshold)
        self._words = WordHashes()
        self._shown = Index()
        self._bands = Index()
        self._kept = Signatures()

    def fresh(self, paragraphs: Sequence[str]) -> list[bool]:
        """For each paragraph, whether it repeats none that was shown before it, in this call or an earlier one."""
        words = [_WORD.findall(paragraph.casefold()) for paragraph in paragraphs]
        new = self._unseen(words)
        long = np.array([len(each) >= SHORTEST for each in words], dtype=bool)
        rows = np.flatnonzero(new & long)
        if len(rows):
            repeated = self._similar([words[row] for row in rows])
            new[rows[repeated]] = False
            self.near += int(np.count_nonzero(repeated))
        return [bool(each) for each in new]

    def _unseen(self, words: Sequence[Sequence[str]]) -> Bools:
        """Which paragraphs have other words than all before. Shape: (paragraphs,)."""
        texts = (" ".join(each).encode("utf-8", "surrogatepass") for each in words)
        digests = b"".join(hashlib.blake2b(text, digest_size=8).digest() for text in texts)
        keys, first = np.unique(np.frombuffer(digests, dtype="<u8").astype(np.uint64), return_index=True)
        unknown = self._shown.find(keys) < 0
        self._shown.add(keys[unknown], np.zeros(np.count_nonzero(unknown), dtype=np.int64))
        new = np.zeros(len(words), dtype=bool)
        new[first[unknown]] = True
        self.exact += len(words) - int(np.count_nonzero(new))
        return new

    def _similar(self, words: Sequence[Sequence[str]]) -> Bools:
        """Which paragraphs are nearly the same as a kept one; keeps the others. Shape: (paragraphs,)."""
        row = np.fromiter(map(self._words.__getitem__, chain.from_iterable(words)), dtype=np.uint32)
        hashes = min_hashes(row, np.array([len(each) for each in words], dtype=np.int64))
        keys, own = band_keys(hashes, self._rows), signatures(hashes)
        owners = self._bands.find(keys.ravel()).reshape(keys.shape)
        repeated = self._like_kept(owners, own)
        free = (owners < 0) & ~repeated[:, None]
        repeated |= self._like_each_other(keys, free, own)
        self._keep(keys, free & ~repeated[:, None], own, ~repeated)
        return repeated

    def _like_kept(self, owners: Numbers, own: Bytes) -> Bools:
        """Shapes: owners (paragraphs, bands), own (paragraphs, hashes), result (paragraphs,)."""
        rows, bands = np.nonzero(owners >= 0)
        alike = self._alike(self._kept[owners[rows, bands]], own[rows])
        repeated = np.zeros(len(own), dtype=bool)
        repeated[rows[alike]] = True
        return repeated

    def _alike(self, some: Bytes, others: Bytes) -> Bools:
        """Shape: (pairs, hashes), both; result (pairs,)."""
        return np.asarray(np.count_nonzero(some == others, axis=1) >= self._agreeing)

    def _like_each_other(self, keys: Keys, free: Bools, own: Bytes) -> Bools:
        """Compares paragraphs of one batch, one after the other where they share a key, so that batches make no difference.

        Shapes: keys and free (paragraphs, bands), own (paragraphs, hashes), result (paragraphs,).
        """
        shared = np.zeros(keys.shape, dtype=bool)
        _, place, count = np.unique(keys[free], return_inverse=True, return_counts=True)
        shared[free] = count[place] > 1
        repeated = np.zeros(len(own), dtype=bool)
        first: dict[int, int] = {}
        for row in np.flatnonzero(shared.any(axis=1)):
            found = keys[row, shared[row]].tolist()
            before = sorted({first[key] for key in found if key in first})
            repeated[row] = before and self._alike(own[before], own[row][None]).any()
            if not repeated[row]:
                for key in found:
                    first.setdefault(key, int(row))
        return repeated

    def _keep(self, keys: Keys, free: Bools, own: Bytes, kept: Bools) -> None:
        """Numbers the kept paragraphs and lets each free key lead to the first that has it. Shapes: as above."""
        numbers = len(self._kept) + np.cumsum(kept) - 1
        distinct, first = np.unique(keys[free], return_index=True)
        self._bands.add(distinct, numbers[np.nonzero(free)[0][first]])
        self._kept.add(own[kept])


def without_repeats(documents: Iterable[list[str]], repetition: Repetition) -> Iterator[list[str]]:
    """Stream documents without the paragraphs that repeat earlier ones; documents that lose all of theirs are left out."""
    for batch in _batches(documents):
        fresh = iter(repetition.fresh([paragraph for document in batch for paragraph in document]))
        for document in batch:
            flags = list(islice(fresh, len(document)))
            if any(flags):
                yield [paragraph for paragraph, new in zip(document, flags, strict=True) if new]


def _batches(documents: Iterable[list[str]]) -> Iterator[list[list[str]]]:
    """Documents together until they have BATCH characters."""
    batch: list[list[str]] = []
    size = 0
    for document in documents:
        batch.append(document)
        size += sum(map(len, document))
        if size >= BATCH:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch
