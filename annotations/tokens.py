"""Cuts a text into tokens for formats that know only tokens. Every visible character is in one token; no token is cut by a span.

It knows texts and offsets, not labels' names or files. Models never see these tokens.
"""

from __future__ import annotations

import re
import unicodedata
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence

from annotations.document import Document, Span
from annotations.sentences import Bounds, sentences

SPACED = "spaced"
"""What `source["tokens"]` says of a text whose tokens stand between single spaces, one sentence a line."""
DOCSTART = "-DOCSTART-"

_WORD = re.compile(r"\w+(?:[-.'’]\w+)*|[^\w\s]")
_SPACED = re.compile(r"\S+")
_JOINER = "\u200d"


def tokens(text: str, cuts: Iterable[int] = (), *, spaced: bool = False) -> list[Bounds]:
    """Words (with inner hyphens, dots, apostrophes) and single other signs, cut again at every offset of `cuts`.

    A combining or invisible character stays with the token before it. `spaced` takes what stands between white space.
    """
    found = [Bounds(*match.span()) for match in _SPACED.finditer(text)] if spaced else list(_words(text))
    edges = sorted(set(cuts))
    return [piece for bounds in found for piece in _cut(text, bounds, edges)]


def _words(text: str) -> Iterator[Bounds]:
    current: Bounds | None = None
    for match in _WORD.finditer(text):
        start, end = match.span()
        if current and current.end == start and _belongs(text[start - 1], text[start]):
            current = Bounds(current.start, end)
            continue
        if current:
            yield current
        current = Bounds(start, end)
    if current:
        yield current


def _belongs(before: str, letter: str) -> bool:
    """Whether a character cannot begin a token of its own beside the one before it."""
    return _joins(letter) or before == _JOINER or (_joins(before) and letter.isalnum())


def _joins(letter: str) -> bool:
    return unicodedata.category(letter) in ("Mn", "Mc", "Me", "Cf")


def _cut(text: str, bounds: Bounds, edges: Sequence[int]) -> Iterator[Bounds]:
    start, end = bounds
    for edge in edges[bisect_left(edges, start + 1) : bisect_left(edges, end)]:
        yield from _guarded(text, start, edge)
        start = edge
    yield from _guarded(text, start, end)


def _guarded(text: str, start: int, end: int) -> Iterator[Bounds]:
    # A token that looks like the line between documents would be read as one.
    if text.startswith(DOCSTART, start, end):
        yield Bounds(start, start + 1)
        start += 1
    yield Bounds(start, end)


def tokenized(document: Document, spans: Sequence[Span]) -> list[list[Bounds]]:
    """The tokens of a document sentence by sentence. No sentence ends inside a span, and no empty ones.

    A text that was made of tokens (`source["tokens"]`) gives back those tokens and lines.
    """
    spaced = document.source.get("tokens") == SPACED
    starts = _line_starts(document.text) if spaced else [bounds.start for bounds in sentences(document.text)]
    found = tokens(document.text, (edge for span in spans for edge in (span.start, span.end)), spaced=spaced)
    lines: list[list[Bounds]] = []
    place = inside = 0
    for token in found:
        begins = not lines
        while place < len(starts) and starts[place] < token.end:
            begins, place = True, place + 1
        while inside < len(spans) and spans[inside].end <= token.start:
            inside += 1
        within = inside < len(spans) and _first_visible(document.text, spans[inside]) < token.start
        if begins and not (within and lines):
            lines.append([])
        lines[-1].append(token)
    return lines


def _line_starts(text: str) -> list[int]:
    return [0, *(match.end() for match in re.finditer("\n", text))]


def _first_visible(text: str, span: Span) -> int:
    piece = text[span.start : span.end]
    return span.start + len(piece) - len(piece.lstrip())
