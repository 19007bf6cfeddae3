"""Texts cut into windows of whole sentences with context on both sides. It knows tokens and offsets, not labels.

Every token is predicted once, in the window where it is not context; nothing is left out, whatever the length.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import groupby
from typing import NamedTuple
from unicodedata import category

from transformers import PreTrainedTokenizerBase

from annotations.document import Document
from annotations.errors import DocumentError
from annotations.sentences import Bounds, sentences
from inference.config import TaggerConfig, WindowConfig

_FIRST_MARK = "\u0300"
"""No character before it combines with another one."""


class Unit(NamedTuple):
    """A sentence, or a piece of one that is longer than a window."""

    sentence: int
    """Which sentence of the text."""
    start: int
    """First position in the window's ids."""
    end: int
    """Position after the last."""


@dataclass(frozen=True, slots=True)
class Window:
    """What the model sees at once, and where it stands in the documents that share its text."""

    ids: list[int]
    """Token ids: special tokens, left context, predicted tokens, right context, special tokens."""
    first: int
    """Position in `ids` of the first predicted token."""
    offsets: list[tuple[int, int]]
    """Characters of each predicted token; empty ranges are tokens that show nothing of their own."""
    units: list[Unit]
    """The predicted sentences."""
    documents: list[int]
    """Which documents share this text, by their place in the input."""
    targets: list[list[int]]
    """Token ids of each document's target; empty where it has none."""


class Tokens(NamedTuple):
    """A whole text as tokens without special ones."""

    ids: list[int]
    offsets: list[tuple[int, int]]


def encode(documents: Sequence[Document], tokenizer: PreTrainedTokenizerBase, config: TaggerConfig) -> list[Window]:
    """All windows of all documents, in order. Neighbours with the same text share their windows.

    Raises:
        DocumentError: a target is longer than `window.target_tokens`, or a text is no valid Unicode.
    """
    found: list[Window] = []
    known: dict[str | None, list[int]] = {}
    for text, places in groupby(range(len(documents)), key=lambda place: documents[place].text):
        shared = list(places)
        for document in (documents[place] for place in shared):
            if document.target not in known:
                known[document.target] = _target(document, tokenizer, config)
        targets = [known[documents[place].target] for place in shared]
        found += _windows(text, shared, targets, tokenizer, config.window)
    return found


def _target(document: Document, tokenizer: PreTrainedTokenizerBase, config: TaggerConfig) -> list[int]:
    if document.target is None or not config.label_schema.targeted:
        return []
    prefix, suffix = special_tokens(tokenizer)
    ids = [*prefix, *tokenize(document.target, tokenizer, document.id).ids, *suffix]
    if len(ids) > (most := config.window.target_tokens):
        raise DocumentError(
            f"document {document.id!r}",
            f"target has {len(ids)} tokens, at most {most} are read; shorten it to one sentence",
        )
    return ids


def _windows(
    text: str, places: list[int], targets: list[list[int]], tokenizer: PreTrainedTokenizerBase, config: WindowConfig
) -> Iterator[Window]:
    tokens = tokenize(text, tokenizer, "text")
    prefix, suffix = special_tokens(tokenizer)
    for core in cores(sentence_tokens(tokens.offsets, sentences(text)), room(tokenizer, config)):
        start, end = core[0].start, core[-1].end
        left, right = max(0, start - config.context), min(len(tokens.ids), end + config.context)
        shift = len(prefix) - left
        yield Window(
            ids=[*prefix, *tokens.ids[left:right], *suffix],
            first=start + shift,
            offsets=tokens.offsets[start:end],
            units=[Unit(unit.sentence, unit.start + shift, unit.end + shift) for unit in core],
            documents=places,
            targets=targets,
        )


def room(tokenizer: PreTrainedTokenizerBase, config: WindowConfig) -> int:
    """How many tokens of a window are predicted at most: its length without context and special tokens."""
    return config.tokens - sum(map(len, special_tokens(tokenizer))) - 2 * config.context


def texts(windows: Sequence[Window]) -> list[tuple[list[int], list[int]]]:
    """For each text: which documents share it, and the places of its windows in order."""
    places: dict[int, list[int]] = {}
    for place, window in enumerate(windows):
        places.setdefault(window.documents[0], []).append(place)
    return [(windows[own[0]].documents, own) for own in places.values()]


def together(parts: Sequence[Sequence[Window]]) -> list[Window]:
    """The windows of documents that were encoded one by one, as if they had been encoded as one list."""
    return [replace(window, documents=[place]) for place, part in enumerate(parts) for window in part]


def cores(spans: Sequence[Unit], room: int) -> Iterator[list[Unit]]:
    """Pack consecutive sentences into runs of at most `room` tokens; a longer sentence is cut into pieces of `room`."""
    run: list[Unit] = []
    for sentence in spans:
        for cut in range(sentence.start, sentence.end, room):
            piece = Unit(sentence.sentence, cut, min(sentence.end, cut + room))
            if run and piece.end - run[0].start > room:
                yield run
                run = []
            run.append(piece)
    if run:
        yield run


def sentence_tokens(offsets: Sequence[tuple[int, int]], bounds: Sequence[Bounds]) -> list[Unit]:
    """Which tokens make up each sentence; one that belongs to none (white space) goes with the sentence before it."""
    units: list[Unit] = []
    position = 0
    for index in range(len(bounds)):
        start = position
        following = bounds[index + 1].start if index + 1 < len(bounds) else None
        while position < len(offsets) and (following is None or offsets[position][0] < following):
            position += 1
        if position > start:
            units.append(Unit(index, start, position))
    return units


def tokenize(text: str, tokenizer: PreTrainedTokenizerBase, name: str) -> Tokens:
    """The whole text at once, raw, with offsets that hold no white space and never overlap.

    Several tokens may share one character (the bytes of an emoji): the first one stands for it, the others get an empty
    range, as do tokens of white space. A combining mark belongs to the token before it: tokenizers that strip accents or
    compose characters leave it to no token, and a name that ends in one could not be tagged whole.
    """
    try:
        encoded = tokenizer(
            text, add_special_tokens=False, return_offsets_mapping=True, return_attention_mask=False, verbose=False
        )
    except (UnicodeEncodeError, TypeError) as error:
        raise DocumentError(
            name, "holds a lone surrogate, which is no character; decode the text properly first"
        ) from error
    return Tokens(encoded["input_ids"], _disjoint(text, encoded["offset_mapping"]))


def _disjoint(text: str, offsets: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    result: list[tuple[int, int]] = []
    owner, reached = -1, 0
    for start, end in offsets:
        while start < end and text[start].isspace():
            start += 1
        while end > start and text[end - 1].isspace():
            end -= 1
        while start < end < len(text) and text[end] >= _FIRST_MARK and category(text[end]).startswith("M"):
            end += 1
        if start == end:
            result.append((reached, reached))
        elif start < reached:
            if end > reached:
                result[owner] = (result[owner][0], end)
                reached = end
            result.append((reached, reached))
        else:
            owner, reached = len(result), end
            result.append((start, end))
    return result


@lru_cache(maxsize=8)
def special_tokens(tokenizer: PreTrainedTokenizerBase) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The ids this tokenizer puts before and after a single text."""
    bare = tokenizer("a", add_special_tokens=False)["input_ids"]
    full = tokenizer("a")["input_ids"]
    for start in range(len(full) - len(bare) + 1):
        if full[start : start + len(bare)] == bare:
            return tuple(full[:start]), tuple(full[start + len(bare) :])
    return (), ()
