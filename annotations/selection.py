"""Chooses which articles to annotate next: uncertain ones that differ from each other and from what is annotated.

It knows numbers and words, not models, labels or files. The choice is greedy maximal marginal relevance (Carbonell and
Goldstein, 1998, The use of MMR, diversity-based reranking). Two texts are as similar as the larger of two measures of their
words says: the cosine of TF-IDF vectors (Salton and Buckley, 1988), which sees two reports of one event, and the Jaccard
coefficient of the bags of words, which sees copies however many of them there are; a pool full of copies makes their own
words common, and the cosine blind to them.
"""

from __future__ import annotations

import re
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

COPY = 0.8
"""Texts at least this similar are copies of one story: lightly edited ones reach 0.9, two reports of one event 0.7."""
BUCKETS = 2**20

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int32]
_WORD = re.compile(r"\w+")


class Sketch(NamedTuple):
    """What is kept of a text to tell how alike two are: its distinct words, as numbers, and how often each occurs."""

    words: Ints
    """Feature hashing (Weinberger et al., 2009) into BUCKETS. Shape: (distinct words,)."""
    counts: Floats
    """Shape: (distinct words,)."""


class Candidate(NamedTuple):
    """An article that may be chosen."""

    id: str
    uncertainty: float
    """Between 0 and 1."""
    sketch: Sketch


class Pick(NamedTuple):
    """A chosen article, and why."""

    place: int
    """Its place among the candidates."""
    score: float
    """Between -1 and 1: (1 - diversity) * rank - diversity * similarity, when it was chosen."""
    rank: float
    """The share of the other candidates that are less uncertain; of equally uncertain ones, half."""
    nearest: str | None
    """The id of the most similar article that was annotated or chosen before it; None for the first."""
    similarity: float
    """How similar they are, between 0 and 1."""


@dataclass(frozen=True)
class Selection:
    """What was chosen, the best first, and what was left out because it is annotated or chosen already."""

    picks: list[Pick]
    copies: dict[str, str]
    """Id of each candidate that is a copy, to the id of what it is a copy of."""


def sketch(text: str) -> Sketch:
    """The words of a text without case; a text without any (emoji, say) counts as one word."""
    words = Counter(_WORD.findall(text.casefold()) or [text.strip()])
    numbers: Counter[int] = Counter()
    for word, count in words.items():
        numbers[zlib.crc32(word.encode("utf-8", "surrogatepass")) % BUCKETS] += count
    return Sketch(np.array(list(numbers), dtype=np.int32), np.array(list(numbers.values()), dtype=np.float32))


def select(
    candidates: Sequence[Candidate],
    *,
    count: int,
    diversity: float,
    annotated: Sequence[tuple[str, Sketch]] = (),
) -> Selection:
    """At most `count` candidates, each the best one given those before it; ties go to the smaller id.

    Uncertainty enters as a rank among the candidates: how wide its values are spread depends on the model and would
    otherwise decide how much `diversity` weighs. A copy (COPY) of an annotated or chosen article is never chosen, so that
    fewer than `count` may come back. With diversity 0 nothing is compared, and copies are chosen like others.

    Args:
        diversity: from 0 (uncertainty alone) to 1 (unlike what is chosen, whatever the uncertainty).
        annotated: id and sketch of what is annotated already; it counts as chosen.
    """
    ordered = sorted(enumerate(candidates), key=lambda item: item[1].id)
    places, own = [place for place, _ in ordered], [candidate for _, candidate in ordered]
    ranks = _ranks(np.array([candidate.uncertainty for candidate in own]))
    seen = _Seen(own, [known for _, known in annotated])
    for name, known in annotated:
        seen.add(name, known, compare=diversity > 0)
    picks: list[Pick] = []
    while len(picks) < count and (left := seen.left()).any():
        scores = np.where(left, (1 - diversity) * ranks - diversity * seen.similarity, -np.inf)
        best = int(scores.argmax())
        nearest, similarity = seen.nearest[best], float(seen.similarity[best])
        picks.append(Pick(places[best], float(scores[best]), float(ranks[best]), nearest, similarity))
        seen.add(own[best].id, own[best].sketch, compare=diversity > 0)
    chosen = {candidates[pick.place].id for pick in picks}
    return Selection(picks, {name: near for name, near in seen.copies() if name not in chosen})


def _ranks(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """The share of the others that are smaller, equal ones counting half. Shape: (candidates,) both."""
    ordered = np.sort(values)
    below, upto = np.searchsorted(ordered, values, "left"), np.searchsorted(ordered, values, "right")
    return np.asarray((below + upto - 1) / 2 / max(1, len(values) - 1), dtype=np.float64)


class _Seen:
    """How alike each candidate is to what was annotated or chosen so far."""

    def __init__(self, candidates: Sequence[Candidate], annotated: Sequence[Sketch]) -> None:
        self.candidates = candidates
        self.places = {candidate.id: place for place, candidate in enumerate(candidates)}
        self.similarity: Floats = np.zeros(len(candidates), dtype=np.float32)
        self.nearest: list[str | None] = [None] * len(candidates)
        self._open = np.ones(len(candidates), dtype=bool)
        sketches = [candidate.sketch for candidate in candidates]
        self._weights = _rarity([*sketches, *annotated])
        self._rows = np.repeat(np.arange(len(sketches)), [len(each.words) for each in sketches])
        self._words: Ints = np.concatenate([np.zeros(0, dtype=np.int32), *(each.words for each in sketches)])
        self._counts: Floats = np.concatenate([np.zeros(0, dtype=np.float32), *(each.counts for each in sketches)])
        self._values: Floats = np.concatenate([np.zeros(0, dtype=np.float32), *map(self._vector, sketches)])
        self._totals = self._shared(self._counts)

    def add(self, name: str, known: Sketch, *, compare: bool) -> None:
        """Count an article as seen; a candidate of that id is not open any more."""
        if name in self.places:
            self._open[self.places[name]] = False
        if not compare:
            return
        alike = np.maximum(self._cosine(known), self._jaccard(known))
        for place in np.flatnonzero(alike > self.similarity).tolist():
            self.nearest[place] = name
        self.similarity = np.maximum(self.similarity, alike)

    def _cosine(self, known: Sketch) -> Floats:
        """Of TF-IDF vectors. Shape: (candidates,)."""
        return np.minimum(self._shared(self._values * _dense(known.words, self._vector(known))[self._words]), 1.0)

    def _jaccard(self, known: Sketch) -> Floats:
        """Of bags of words: shared occurrences by occurrences in either. Shape: (candidates,)."""
        shared = self._shared(np.minimum(self._counts, _dense(known.words, known.counts)[self._words]))
        either: Floats = np.maximum(self._totals + known.counts.sum() - shared, 1)
        return np.asarray(shared / either, dtype=np.float32)

    def _shared(self, values: Floats) -> Floats:
        """Each candidate's sum. Shape: (words of all candidates,) to (candidates,)."""
        return np.bincount(self._rows, values, minlength=len(self.candidates)).astype(np.float32)

    def left(self) -> npt.NDArray[np.bool_]:
        """Which candidates may still be chosen. Shape: (candidates,)."""
        return self._open & (self.similarity < COPY)

    def copies(self) -> Iterator[tuple[str, str]]:
        """Id of each candidate that is seen or a copy of something seen, and the id of that."""
        for place, candidate in enumerate(self.candidates):
            if self.similarity[place] >= COPY:
                yield candidate.id, self.nearest[place] or candidate.id
            elif not self._open[place]:
                yield candidate.id, candidate.id

    def _vector(self, known: Sketch) -> Floats:
        """TF-IDF with 1 + log(count), of length 1. Shape: (distinct words,)."""
        values = (1 + np.log(known.counts)) * self._weights[known.words]
        return np.asarray(values / max(1e-9, float(np.linalg.norm(values))), dtype=np.float32)


def _rarity(sketches: Sequence[Sketch]) -> Floats:
    """1 + log((1 + texts) / (1 + texts with the word)), as in scikit-learn (Sparck Jones, 1972). Shape: (BUCKETS,)."""
    texts = np.zeros(BUCKETS, dtype=np.float32)
    for each in sketches:
        texts[each.words] += 1
    return 1 + np.log((1 + len(sketches)) / (1 + texts), dtype=np.float32)


def _dense(words: Ints, values: Floats) -> Floats:
    """Shape: (distinct words,) both to (BUCKETS,)."""
    found = np.zeros(BUCKETS, dtype=np.float32)
    found[words] = values
    return found
