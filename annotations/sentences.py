"""Where sentences begin and end, and which sentence a marked stretch labels.

The boundaries come from syntok; they, not the annotator's, are the units of every layer of kind `sentences`.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection, Iterable, Iterator, Sequence
from functools import lru_cache
from itertools import chain
from typing import NamedTuple

from syntok import segmenter, tokenizer

from annotations.document import Document, Span

_PARAGRAPH = re.compile(r"[^\r\n\u2028\u2029]+")
_CHUNK = 20_000
_KEPT = 2048
_OPENING = re.escape("".join(sorted(segmenter.State.opening_brackets)))
_MARKS = "".join(sorted({*"".join(segmenter.State.terminals), *segmenter.State.closing_brackets}))
_PLAIN = rf"[^ {_OPENING}{re.escape(_MARKS)}]++"
_REACH = 52
"""How many words after an opening bracket syntok looks at: 50 tokens for the closing one, and what follows it."""
_BRACKETED = rf"(?:[{_OPENING}](?:[^ {_OPENING}]* +){{0,{_REACH}}}[^ {_OPENING}]*)+"
_IDLE = re.compile(rf"{_BRACKETED}|(?<![^ ])(?P<first>{_PLAIN} ++)(?P<idle>(?:{_PLAIN} ++)+)(?={_PLAIN}(?: |$))")
_ODD_SPACE = re.compile(r"[^\S ]|\u200b")


class Bounds(NamedTuple):
    """A sentence as half-open offsets, without the white space around it."""

    start: int
    end: int


def sentences(text: str) -> tuple[Bounds, ...]:
    """Split a text into sentences that hold every character but white space, in order.

    A line end always ends a sentence. A piece without a letter or digit (a stray quotation mark), and a piece before
    a semicolon, stay with the sentence they belong to. Those of the texts asked for last are kept, but of very long ones.
    """
    return _remembered(text) if len(text) <= _CHUNK else _sentences(text)


@lru_cache(maxsize=_KEPT)
def _remembered(text: str) -> tuple[Bounds, ...]:
    return _sentences(text)


def _sentences(text: str) -> tuple[Bounds, ...]:
    return tuple(bounds for line in _PARAGRAPH.finditer(text) for bounds in _split(text, line.start(), line.end()))


def _split(text: str, start: int, end: int) -> Iterator[Bounds]:
    # Very long lines are no prose: pieces keep the segmenter's time and memory linear.
    cuts = [start]
    for piece in range(start, end, _CHUNK):
        cuts += _starts(text[piece : min(end, piece + _CHUNK)], piece)
    merged: list[Bounds] = []
    for left, right in zip(cuts, [*cuts[1:], end], strict=True):
        bounds = _trim(text, left, right)
        if bounds.start == bounds.end:
            continue
        if merged and (text[merged[-1].end - 1] == ";" or not any(map(str.isalnum, text[bounds.start : bounds.end]))):
            bounds = Bounds(merged.pop().start, bounds.end)
        merged.append(bounds)
    yield from merged


def _starts(line: str, base: int) -> list[int]:
    """Offsets at which syntok starts a sentence, but the first."""
    tokens = tokenizer.Tokenizer(replace_not_contraction=False).tokenize(_thinned(line))
    parted = chain.from_iterable(map(_parted, tokens))
    starts = [base + sentence[0].offset for sentence in segmenter.segment(parted) if sentence]
    return starts[1:]


def _thinned(line: str) -> str:
    """A line with spaces for the words that no boundary depends on, which is three times as fast and moves none.

    syntok decides at what may end a sentence and at brackets. It looks at the word before and the word after, and beyond
    an opening bracket at _REACH of them: of any other run of plain words the first and the last will do.
    """
    return line if _ODD_SPACE.search(line) else _IDLE.sub(_blanked, line)


def _blanked(found: re.Match[str]) -> str:
    return found[0] if found["idle"] is None else found["first"] + " " * len(found["idle"])


def _parted(token: tokenizer.Token) -> Iterator[tokenizer.Token]:
    """A token, but for one of symbols and what ends a sentence (`€.`, `%.`, an emoji and `!`), in which syntok sees no end."""
    symbols = token.value.rstrip(".!?")
    if symbols and symbols != token.value and all(map(_is_symbol, symbols)):
        yield tokenizer.Token(token.spacing, symbols, token.offset)
        yield tokenizer.Token("", token.value[len(symbols) :], token.offset + len(symbols))
    else:
        yield token


def _is_symbol(letter: str) -> bool:
    """Of the Unicode categories of symbols, and what emojis are put together with."""
    return letter in "%‰" or unicodedata.category(letter) in {"Sc", "Sk", "Sm", "So", "Mn", "Cf"}


def _trim(text: str, start: int, end: int) -> Bounds:
    piece = text[start:end]
    inner = piece.strip()
    if not inner:
        return Bounds(start, start)
    start += len(piece) - len(piece.lstrip())
    return Bounds(start, start + len(inner))


def sentence_labels(document: Document, layer: str) -> list[str | None]:
    """The label of each sentence: that of the span that covers more than half of it, or None where none does."""
    return [span.label if span else None for span in covering(sentences(document.text), document.spans(layer))]


def covering(bounds: Sequence[Bounds], spans: Iterable[Span]) -> list[Span | None]:
    """For each sentence, the one flat span that covers more than half of it. Both must be in text order."""
    ordered = list(spans)
    chosen: list[Span | None] = []
    first = 0
    for sentence in bounds:
        while first < len(ordered) and ordered[first].end <= sentence.start:
            first += 1
        last = first
        while last < len(ordered) and ordered[last].start < sentence.end:
            last += 1
        chosen.append(next((span for span in ordered[first:last] if covers(span, sentence)), None))
    return chosen


OFF_SENTENCE = "{layer} {span.label} {span.start}–{span.end}: covers no sentence by more than half, left out"


def unplaced(document: Document, layer: str) -> Iterator[str]:
    """What is annotated as a sentence's label and labels none, each in words."""
    if spans := document.spans(layer):
        placed = set(covering(sentences(document.text), spans))
        yield from (OFF_SENTENCE.format(layer=layer, span=one) for one in spans if one not in placed)


def all_unplaced(documents: Iterable[Document], layers: Collection[str]) -> Iterator[str]:
    """The same of several documents, each with its id."""
    return (f"{one.id}: {told}" for one in documents for layer in layers for told in unplaced(one, layer))


def covers(span: Span, sentence: Bounds) -> bool:
    """Whether a span labels a sentence: it covers more than half of the sentence's characters."""
    shared = min(span.end, sentence.end) - max(span.start, sentence.start)
    return shared * 2 > sentence.end - sentence.start
