"""Finds texts that share most of their wording. It knows texts and groups of them, not labels or files.

Similarity is the Jaccard coefficient of the sets of word 5-grams (shingles): Broder, 1997, On the resemblance and
containment of documents. Candidates come from prefix filtering, which is exact: Chaudhuri, Ganti and Kaushik, 2006, A
primitive operator for similarity joins in data cleaning.
"""

from __future__ import annotations

import math
import zlib
from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import NamedTuple

from annotations.lint.edges import TOKEN

SIZE = 5
CHECKED = 50


class Near(NamedTuple):
    """Two texts of different groups, by their numbers; the later one comes first."""

    later: int
    earlier: int
    similarity: float
    """Between 0 and 1."""


def near_duplicates(texts: Sequence[str], groups: Sequence[str], threshold: float) -> list[Near]:
    """For each text, the most similar earlier text of another group, where their similarity reaches the threshold.

    Texts with fewer than five words have no shingles and are left out. A shingle leads to its first 50 texts only, and at
    most 50 candidates are compared with each text, so that a thousand copies of one story stay affordable.
    """
    shingles = [_shingles(text) for text in texts]
    frequency = Counter(shingle for each in shingles for shingle in each)
    index: dict[int, list[int]] = defaultdict(list)
    found: list[Near] = []
    for later, own in enumerate(shingles):
        # Two sets that are this similar share a shingle among this many of the rarest of each.
        rarest = sorted(own, key=lambda shingle: (frequency[shingle], shingle))
        prefix = rarest[: len(own) - math.ceil(threshold * len(own)) + 1]
        shared = Counter(earlier for shingle in prefix for earlier in index.get(shingle, ()))
        likely = [(count, -earlier) for earlier, count in shared.items() if groups[earlier] != groups[later]]
        candidates = [-number for _, number in sorted(likely, reverse=True)[:CHECKED]]
        best = max(((_jaccard(own, shingles[one]), -one) for one in candidates), default=(0.0, 0))
        if best[0] >= threshold:
            found.append(Near(later, -best[1], best[0]))
        for shingle in prefix:
            if frequency[shingle] > 1 and len(index[shingle]) < CHECKED:
                index[shingle].append(later)
    return found


def _shingles(text: str) -> frozenset[int]:
    words = [word for word in TOKEN.findall(text.casefold()) if word[0].isalnum()]
    # Python salts the hashes of texts, and not those of numbers.
    numbers = [zlib.crc32(word.encode("utf-8", "surrogatepass")) for word in words]
    return frozenset(hash(tuple(numbers[place : place + SIZE])) for place in range(len(numbers) - SIZE + 1))


def _jaccard(one: frozenset[int], other: frozenset[int]) -> float:
    shared = len(one & other)
    return shared / (len(one) + len(other) - shared)
