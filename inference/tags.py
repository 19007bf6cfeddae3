"""Character spans as BIO tags on tokens and back, and the best allowed tag sequence. It knows no model and no text.

Tag 0 is O; label number n has B at 1 + 2n and I at 2 + 2n. Scheme: IOB2 (Tjong Kim Sang and Veenstra, 1999).
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt

from annotations.document import Span

Offsets = Sequence[tuple[int, int]]
Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]


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
    """The spans of an allowed tag sequence; a span's score is the mean probability of its tags.

    Shape: tags and scores (tokens,).
    """
    spans: list[Span] = []
    starts = np.flatnonzero(tags % 2 == 1)
    for first in starts.tolist():
        last = first
        while last + 1 < len(tags) and tags[last + 1] == tags[first] + 1:
            last += 1
        score = min(1.0, float(scores[first : last + 1].mean()))
        label = labels[(int(tags[first]) - 1) // 2]
        spans.append(Span(start=offsets[first][0], end=offsets[last][1], label=label, score=score))
    return spans


def best_tags(log_probabilities: Floats, joined: Bools | None = None) -> Ints:
    """The likeliest tag sequence in which I follows only B or I of its own label (Viterbi, 1967).

    Where `joined`, a token goes with the one before it: both are outside or in the same span.

    Shape: (tokens, 1 + 2 * labels) and (tokens,) to (tokens,).
    """
    count, width = log_probabilities.shape
    back = np.zeros((count, width), dtype=np.int32)
    best = np.full(width, -np.inf, dtype=np.float64)
    best[0] = 0.0
    begins, insides = np.arange(1, width, 2), np.arange(2, width, 2)
    for step in range(count):
        top = int(best.argmax())
        stay = best[insides] >= best[begins]
        back[step] = top
        back[step, insides] = np.where(stay, insides, begins)
        before = np.full(width, best[top])
        before[insides] = np.where(stay, best[insides], best[begins])
        if joined is not None and joined[step]:
            back[step, 0] = 0
            before[0] = best[0]
            before[begins] = -np.inf
        best = before + log_probabilities[step]
    tags = np.zeros(count, dtype=np.int64)
    tag = int(best.argmax()) if count else 0
    for step in range(count - 1, -1, -1):
        tags[step] = tag
        tag = int(back[step, tag])
    return tags
