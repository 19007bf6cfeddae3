"""How predicted spans go wrong: each gold and each predicted span in one match at most, and what kind of match it is.

It knows spans of one text. It counts nothing. The kinds are those of MUC-5 (Chinchor and Sundheim, 1993, MUC-5 Evaluation
Metrics), split by what differs.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from enum import StrEnum
from typing import NamedTuple

from annotations.document import Span

Worth = tuple[int, int, int]
NOTHING: Worth = (0, 0, 0)


class Outcome(StrEnum):
    """What became of a gold or a predicted item."""

    CORRECT = "correct"
    """The same start, end and label."""
    BOUNDARY = "boundary"
    """The same label on an overlapping stretch."""
    TYPE = "type"
    """Another label on the same stretch."""
    BOUNDARY_AND_TYPE = "boundary and type"
    """Another label on an overlapping stretch."""
    MISSED = "missed"
    """Gold that no prediction is matched with."""
    SPURIOUS = "spurious"
    """A prediction that no gold is matched with."""


OUTCOMES = tuple(Outcome)
ERRORS = OUTCOMES[1:]


class Match(NamedTuple):
    """A gold span and the prediction that stands for it, or one of them alone."""

    outcome: Outcome
    gold: Span | None
    predicted: Span | None


def match_spans(gold: Sequence[Span], predicted: Sequence[Span]) -> list[Match]:
    """Match the spans of two sides one to one, in text order. Both sides are flat and sorted, as a Document's are.

    Only spans that share a character are matched. Where several could be, the most pairs of one label are made, then the
    most pairs, then those that share the most characters. Equal spans always end up together: they overlap nothing else.
    """
    found: list[Match] = []
    for own, other in _clusters(gold, predicted):
        pairs = _best_pairs(own, other) if own and other else []
        found += [Match(_outcome(own[one], other[two]), own[one], other[two]) for one, two in pairs]
        taken, given = {one for one, _ in pairs}, {two for _, two in pairs}
        found += [Match(Outcome.MISSED, span, None) for place, span in enumerate(own) if place not in taken]
        found += [Match(Outcome.SPURIOUS, None, span) for place, span in enumerate(other) if place not in given]
    return found


def _outcome(gold: Span, predicted: Span) -> Outcome:
    placed = (gold.start, gold.end) == (predicted.start, predicted.end)
    if gold.label == predicted.label:
        return Outcome.CORRECT if placed else Outcome.BOUNDARY
    return Outcome.TYPE if placed else Outcome.BOUNDARY_AND_TYPE


def _clusters(gold: Sequence[Span], predicted: Sequence[Span]) -> Iterator[tuple[list[Span], list[Span]]]:
    """The spans of both sides, cut into stretches between which nothing overlaps."""
    sides: tuple[list[Span], list[Span]] = ([], [])
    end = 0
    for start, side, span in sorted(
        [(span.start, side, span) for side, spans in enumerate((gold, predicted)) for span in spans],
        key=lambda item: item[:2],
    ):
        if start >= end and (sides[0] or sides[1]):
            yield sides
            sides = ([], [])
        sides[side].append(span)
        end = max(end, span.end)
    if sides[0] or sides[1]:
        yield sides


def _best_pairs(gold: Sequence[Span], predicted: Sequence[Span]) -> list[tuple[int, int]]:
    """Places of the spans that are matched: the alignment of the highest worth.

    Pairs of overlapping spans of two flat sides never cross, so the best alignment in order is the best of all.
    """
    if len(gold) == len(predicted) == 1:
        return [(0, 0)]
    best = [[NOTHING] * (len(predicted) + 1) for _ in range(len(gold) + 1)]
    for one, span in enumerate(gold):
        for two, other in enumerate(predicted):
            joined = _plus(best[one][two], _worth(span, other))
            best[one + 1][two + 1] = max(best[one][two + 1], best[one + 1][two], joined)
    return _traced(best, gold, predicted)


def _traced(best: list[list[Worth]], gold: Sequence[Span], predicted: Sequence[Span]) -> list[tuple[int, int]]:
    one, two = len(gold), len(predicted)
    pairs: list[tuple[int, int]] = []
    while one and two:
        here = best[one][two]
        if here == best[one - 1][two]:
            one -= 1
        elif here == best[one][two - 1]:
            two -= 1
        else:
            one, two = one - 1, two - 1
            pairs.append((one, two))
    return pairs[::-1]


def _worth(gold: Span, predicted: Span) -> Worth:
    shared = min(gold.end, predicted.end) - max(gold.start, predicted.start)
    return (int(gold.label == predicted.label), 1, shared) if shared > 0 else NOTHING


def _plus(one: Worth, other: Worth) -> Worth:
    return one[0] + other[0], one[1] + other[1], one[2] + other[2]
