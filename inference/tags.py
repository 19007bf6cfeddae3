"""Character spans as BIO tags on tokens and back, and the best allowed tag sequence. It knows no model and no text.

Tag 0 is O; label number n has B at 1 + 2n and I at 2 + 2n. Scheme: IOB2 (Tjong Kim Sang and Veenstra, 1999).
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt

from annotations.document import Span

Offsets = Sequence[tuple[int, int]]
Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

DIGITS = 6
"""Decimals of a score: the later ones change with where in memory a processor finds the weights."""


def to_tags(spans: Iterable[Span], offsets: Offsets, labels: Sequence[str]) -> tuple[list[int], list[Span]]:
    """One tag id a token, and the spans that these tokens cannot represent.

    `offsets` are disjoint and ascending, without empty ranges. A span is represented when it begins where a token
    begins and ends where a token ends.
    """
    tags = [0] * len(offsets)
    unreachable: list[Span] = []
    starts, ends = [start for start, _ in offsets], [end for _, end in offsets]
    for span in spans:
        first, last = bisect_left(starts, span.start), bisect_right(ends, span.end) - 1
        fits = first <= last and starts[first] == span.start and ends[last] == span.end
        if not fits:
            unreachable.append(span)
            continue
        begin = 1 + 2 * labels.index(span.label)
        tags[first : last + 1] = [begin] + [begin + 1] * (last - first)
    return tags, unreachable


def to_spans(tags: Ints, scores: Floats, offsets: Offsets, labels: Sequence[str]) -> list[Span]:
    """The spans of an allowed tag sequence; a span's score is the mean probability of its tags, rounded to DIGITS.

    Shape: tags and scores (tokens,).
    """
    spans: list[Span] = []
    begins = np.flatnonzero(tags % 2 == 1)
    others = np.flatnonzero(~_inside(tags))
    ends = np.append(others, len(tags))[np.searchsorted(others, begins, side="right")]
    for first, end in zip(begins.tolist(), ends.tolist(), strict=True):
        score = round(min(1.0, math.fsum(scores[first:end].tolist()) / (end - first)), DIGITS)
        label = labels[(int(tags[first]) - 1) // 2]
        spans.append(Span(start=offsets[first][0], end=offsets[end - 1][1], label=label, score=score))
    return spans


def _inside(tags: Ints) -> Bools:
    """Which tags are an I. Shape: (tokens,) to the same."""
    found: Bools = (tags > 0) & (tags % 2 == 0)
    return found


def best_tags(scores: Floats, joined: Bools | None = None) -> Ints:
    """The tag sequence of the highest sum of scores in which I follows only B or I of its own label (Viterbi, 1967).

    Where `joined`, a token goes with the one before it: both are outside or in the same span. Scores are logits or log
    probabilities, which is the same here. Most tokens have their best tag, and only stretches in which these do not fit
    together are searched.

    Shape: (tokens, 1 + 2 * labels) and (tokens,) to (tokens,).
    """
    tags: Ints = scores.argmax(axis=1)
    tied = np.zeros(len(tags), dtype=np.bool_) if joined is None else joined
    inside = _inside(tags)
    before = np.append(0, tags[:-1])
    misfits = np.where(inside, (before != tags) & (before != tags - 1), tied & ((tags != 0) | (before != 0)))
    if misfits.any():
        for start, end in _stretches(np.flatnonzero(misfits).tolist(), scores.astype(np.float64), tied, inside):
            tags[start:end] = _searched(scores[start:end], tied[start:end].tolist())
    return tags


def _stretches(
    misfits: Sequence[int], scores: npt.NDArray[np.float64], tied: Bools, inside: Bools
) -> list[tuple[int, int]]:
    """Stretches around misfits outside of which no tag would change if the whole were searched.

    A path that crosses into a stretch has an I on its first token. There the stretch begins where that alone costs at
    least as much as making the stretch fit by itself, which is always allowed.
    """
    top = scores.max(axis=1)
    crossing = (top - scores[:, 2::2].max(axis=1)).tolist()
    free = (~tied & ~inside).tolist()
    found: list[tuple[int, int, float]] = []
    end = 0
    for start in misfits:
        if start < end:
            continue
        end = start + 1
        while end < len(free) and not free[end]:
            end += 1
        while start and not free[start]:
            start -= 1
        own = scores[start:end]
        tags = _searched(own, tied[start:end].tolist())
        cost = float((top[start:end] - own[np.arange(end - start), tags]).sum())
        while start and not (free[start] and crossing[start] >= cost):
            start -= 1
            if found and start < found[-1][1]:
                start, _, more = found.pop()
                cost += more
        found.append((start, end, cost))
    return [(start, end) for start, end, _ in found]


def _searched(scores: Floats | npt.NDArray[np.float64], tied: Sequence[bool]) -> Ints:
    """The best allowed path. Shape: (tokens, tags) and (tokens,) to (tokens,)."""
    count, width = scores.shape
    best = np.empty((count + 1, width), dtype=np.float64)
    best[0] = -np.inf
    best[0, 0] = 0.0
    best[1:] = scores
    inside = np.empty(width // 2, dtype=np.float64)
    for step in range(count):
        before, after = best[step], best[step + 1]
        np.maximum(before[1::2], before[2::2], out=inside)
        if tied[step]:
            after[0] += before[0]
            after[1::2] = -np.inf
        else:
            top = before.max()
            after[0] += top
            after[1::2] += top
        after[2::2] += inside
    return _traced(best, tied)


def _traced(best: npt.NDArray[np.float64], tied: Sequence[bool]) -> Ints:
    """The best path, last tag first. Shape: best (1 + tokens, tags), of all paths that end in a tag; result (tokens,)."""
    count = len(tied)
    tags = np.zeros(count, dtype=np.int64)
    tops = best.argmax(axis=1).tolist()
    tag = tops[count]
    for step in range(count, 0, -1):
        tags[step - 1] = tag
        before = best[step - 1]
        if tag and tag % 2 == 0:
            tag = tag if before[tag] >= before[tag - 1] else tag - 1
        elif not tied[step - 1]:
            tag = tops[step - 1]
    return tags
