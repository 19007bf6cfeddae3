"""Tags of tokens and the labelled stretches that they mean, in every scheme in use. It knows no files and no texts.

Schemes: Ramshaw and Marcus (1995) and Tjong Kim Sang and Veenstra (1999), Representing Text Chunks; read as conlleval
reads them, so that IOB1, IOB2, BIOES, BILOU and BMEWO give the spans they mean. Written is strict IOB2.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import NamedTuple

from annotations.document import Span

_TAG = re.compile(r"O|[BIESLUMW]-.*\S")
_STARTS, _ENDS = "BSUW", "ESLUW"


class Chunk(NamedTuple):
    """A labelled stretch of tokens, half-open."""

    first: int
    end: int
    label: str


def chunks(tags: Iterable[str]) -> list[Chunk]:
    """The labelled stretches that tags mean. A tag inside a stretch that nothing began begins one."""
    found: list[Chunk] = []
    first: int | None = None
    label = ""
    place = -1
    for place, tag in enumerate(tags):
        prefix, own = tag[0], tag[2:]
        goes_on = first is not None and prefix not in _STARTS and own == label and prefix != "O"
        if first is not None and not goes_on:
            found.append(Chunk(first, place, label))
            first = None
        if prefix != "O" and not goes_on:
            first, label = place, own
        if first is not None and prefix in _ENDS:
            found.append(Chunk(first, place + 1, label))
            first = None
    return found if first is None else [*found, Chunk(first, place + 1, label)]


def is_tag(text: str) -> bool:
    """Whether `chunks` understands a tag."""
    return _TAG.fullmatch(text) is not None


def iob2(count: int, found: Iterable[Chunk]) -> list[str]:
    """Strict IOB2 tags for `count` tokens."""
    tags = ["O"] * count
    for first, end, label in found:
        tags[first:end] = [f"B-{label}", *[f"I-{label}"] * (end - first - 1)]
    return tags


@dataclass
class Scheme:
    """Finds out how tags were written; it decides nothing, since every scheme is read alike."""

    prefixes: set[str] = field(default_factory=set)
    loose: int = 0
    """Stretches that begin with I-."""
    needless: int = 0
    """Stretches that begin with B- where I- would have done in IOB1."""

    def see(self, tags: Sequence[str]) -> None:
        """Take in the tags of one sentence."""
        self.prefixes |= {tag[0] for tag in tags}
        for before, tag in pairwise(("O", *tags)):
            same = before[0] not in "OESLUW" and before[2:] == tag[2:]
            self.loose += tag[0] in "IMEL" and not same
            self.needless += tag[0] == "B" and not same

    @property
    def name(self) -> str:
        """IOB1, IOB2, BIOES, BILOU or BMEWO."""
        for name, marks in (("BMEWO", "MW"), ("BILOU", "LU"), ("BIOES", "ES")):
            if self.prefixes & set(marks):
                return name
        return "IOB1" if self.loose > self.needless else "IOB2"


def stretches(line: Sequence[tuple[int, int]], spans: Sequence[Span]) -> Iterator[Chunk]:
    """The spans that lie in a line of tokens, as stretches of them.

    Spans are flat, in order and not blank; no token is cut by a span, and no span by the line.
    """
    place = 0
    if not line:
        return
    for span in spans[_first_at(spans, line[0][0]) :]:
        if span.start >= line[-1][1]:
            return
        while line[place][1] <= span.start:
            place += 1
        first = place
        while place < len(line) and line[place][0] < span.end:
            place += 1
        yield Chunk(first, place, span.label)


def _first_at(spans: Sequence[Span], start: int) -> int:
    """The place of the first span that ends behind `start`; spans are flat and in order."""
    low, high = 0, len(spans)
    while low < high:
        middle = (low + high) // 2
        low, high = (middle + 1, high) if spans[middle].end <= start else (low, middle)
    return low
