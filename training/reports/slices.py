"""Scores of parts of a layer: by article, by length, by position, by names seen in training. It knows items and texts."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from annotations.document import Document
from annotations.resampling import Floats
from annotations.schema import Kind
from training.reports.estimates import Estimate, Ints, Tally, estimates, ratio, tally
from training.reports.items import Items
from training.reports.layer_scores import averaged

COLUMNS = ("name", "documents", "items", "predicted", "accuracy", "precision", "recall", "f1", "low", "high")
CHARACTERS = (500, 1000, 2000, 5000)
SPAN_WORDS = (2, 3, 4)
SENTENCE_WORDS = (10, 20, 30, 40)
QUARTERS = ("first quarter", "second quarter", "third quarter", "last quarter")
SEEN = ("seen", "seen with another label", "unseen")

Known = Callable[[Document, str, str], int]
"""Place in SEEN of a name of a document, given its characters and its label."""


@dataclass(frozen=True)
class Cut:
    """One way to cut a layer into parts. An item's two sides may fall into different parts."""

    by: str
    title: str
    note: str
    names: Sequence[str]
    gold: Ints
    """Part of each item's gold side. Shape: (items,)."""
    predicted: Ints
    """Part of each item's predicted side."""


@dataclass(frozen=True)
class Slice:
    """The parts of one cut that hold something, as rows of COLUMNS."""

    by: str
    title: str
    note: str
    rows: list[list[Any]]

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        return {"by": self.by, "title": self.title, "note": self.note, "columns": [*COLUMNS], "rows": self.rows}


def slices(items: Items, kind: Kind, documents: Sequence[Document], known: Known | None, resamples: int) -> list[Slice]:
    """Every cut that the layer allows. `known` is None where it is not known what was learned from.

    The parts of one article are that article, so scores by article have no interval.
    """
    by_group = Cut("group", "by article", "the group of each document", items.groups, items.group, items.group)
    found = [_slice(items, kind, by_group, 0)]
    return [*found, *(_slice(items, kind, cut, resamples) for cut in _cuts(items, kind, documents, known))]


def _cuts(items: Items, kind: Kind, documents: Sequence[Document], known: Known | None) -> Iterator[Cut]:
    if known and kind is Kind.SPANS:
        note = "seen: the training data mark the same characters with the same label"
        yield Cut("names", "names seen in training", note, SEEN, *_surfaces(items, documents, known))
    sizes = np.asarray([len(document.text) for document in documents], dtype=np.int64)[items.document]
    yield _lengths("document length", "by length of the document", "characters", CHARACTERS, sizes, sizes)
    if kind is Kind.DOCUMENT:
        return
    words = [_words(items, documents, start, end) for start, end in _sides(items)]
    noun, edges = ("span", SPAN_WORDS) if kind is Kind.SPANS else ("sentence", SENTENCE_WORDS)
    yield _lengths(f"{noun} length", f"by length of the {noun}", "words", edges, *words)
    shares = [np.clip(4 * start // np.maximum(sizes, 1), 0, 3) for start, _ in _sides(items)]
    note = "where the item begins, as a share of the text"
    yield Cut("position", "by position in the document", note, QUARTERS, *shares)


def _sides(items: Items) -> tuple[tuple[Ints, Ints], tuple[Ints, Ints]]:
    return (items.gold_start, items.gold_end), (items.predicted_start, items.predicted_end)


def _words(items: Items, documents: Sequence[Document], starts: Ints, ends: Ints) -> Ints:
    """How many words each item has between white space. A side that is absent counts as none."""
    places = zip(items.document.tolist(), starts.tolist(), ends.tolist(), strict=True)
    counts = [len(documents[place].text[start:end].split()) if start >= 0 else 0 for place, start, end in places]
    return np.asarray(counts, dtype=np.int64)


def _surfaces(items: Items, documents: Sequence[Document], known: Known) -> Iterator[Ints]:
    for labels, (starts, ends) in zip((items.gold, items.predicted), _sides(items), strict=True):
        columns = (items.document, labels, starts, ends)
        rows = zip(*(column.tolist() for column in columns), strict=True)
        yield np.asarray(
            [
                known(documents[place], documents[place].text[start:end], items.labels[label]) if label >= 0 else 0
                for place, label, start, end in rows
            ],
            dtype=np.int64,
        )


def _lengths(by: str, title: str, note: str, edges: Sequence[int], gold: Ints, predicted: Ints) -> Cut:
    names = [f"under {edges[0]:,}", *(_range(low, high - 1) for low, high in pairwise(edges)), f"{edges[-1]:,} or more"]
    if edges[0] == 2:
        names[0] = "1"
    return Cut(by, title, note, names, *(np.searchsorted(edges, sizes, side="right") for sizes in (gold, predicted)))


def _range(low: int, high: int) -> str:
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"


def _slice(items: Items, kind: Kind, cut: Cut, resamples: int) -> Slice:
    macro = kind is not Kind.SPANS
    table = _counted(items, cut, macro)
    whole = table.whole()
    if resamples:
        scored = estimates(table, lambda totals: _f1(totals, macro), resamples)
    else:
        scored = [Estimate(float(value)) for value in _f1(whole[None], macro)[0]]
    documents = _documents(items, cut)
    rows = [
        [
            name,
            documents[place],
            *_row(whole[:, place], macro),
            scored[place].value,
            scored[place].low,
            scored[place].high,
        ]
        for place, name in enumerate(cut.names)
        if whole[:, place].any()
    ]
    return Slice(cut.by, cut.title, cut.note, rows)


def _counted(items: Items, cut: Cut, macro: bool) -> Tally:
    """True positives, false positives, false negatives. Shape of the cells: (rounds, parts, labels or 1, 3)."""
    which, labels, kind = items.events()
    part = np.where(kind == 1, cut.predicted[which], cut.gold[which])
    shape = (items.rounds, len(cut.names), len(items.labels) if macro else 1, 3)
    places = (items.round[which], part, labels if macro else np.zeros_like(labels), kind)
    return tally(len(items.groups), shape, items.group[which], places)


def _f1(totals: Floats, macro: bool) -> Floats:
    """Shape: (draws, rounds, parts, labels, 3) to (draws, parts); nan where a draw holds nothing of the part."""
    holds = totals.any(axis=(1, 3, 4))
    found: Floats = np.where(holds, averaged(totals, macro)[..., 2].mean(axis=1), np.nan)
    return found


def _row(counts: Floats, macro: bool) -> tuple[int, float, float | None, float, float]:
    """Items, predictions, accuracy, precision, recall of one part. Shape: counts (rounds, labels, 3)."""
    right, invented, lost = np.moveaxis(counts.sum(axis=1), -1, 0)
    precision, recall, _ = averaged(counts, macro).mean(axis=0).tolist()
    accuracy = float(ratio(right, right + lost).mean()) if macro else None
    return int(right[0] + lost[0]), float((right + invented).mean()), accuracy, precision, recall


def _documents(items: Items, cut: Cut) -> list[int]:
    """In how many documents each part has an item, of either side."""
    sides = ((items.has_gold, cut.gold), (items.has_prediction, cut.predicted))
    size = int(items.document.max(initial=0)) + 1
    codes = np.unique(np.concatenate([part[has] * size + items.document[has] for has, part in sides]))
    found: list[int] = np.bincount(codes // size, minlength=len(cut.names)).tolist()
    return found
