"""Every error in its sentence, as compact rows: texts are kept once, labels and documents are numbers. It counts nothing."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from annotations.document import Document
from annotations.lint.edges import mid_word
from annotations.schema import Kind, Schema
from annotations.sentences import Bounds, sentences
from training.reports.items import NONE, Items
from training.reports.span_errors import ERRORS, OUTCOMES

ERROR_COLUMNS = (
    "layer",
    "kind",
    "sentence",
    "gold_start",
    "gold_end",
    "gold_label",
    "predicted_start",
    "predicted_end",
    "predicted_label",
    "score",
    "rounds",
)
LONGEST = 600
AROUND = 200

Side = tuple[int, int, int]
"""Start, end and label; NONE where there is nothing."""


class Error(NamedTuple):
    """One error of one layer, whatever the number of rounds in which it is made."""

    document: int
    layer: int
    kind: int
    gold: Side
    predicted: Side

    @property
    def place(self) -> Bounds:
        """The stretch that both sides cover."""
        found = [side for side in (self.gold, self.predicted) if side[0] != NONE]
        return Bounds(min(start for start, _, _ in found), max(end for _, end, _ in found))


@dataclass
class ErrorRows:
    """Three tables that refer to each other by place; see `docs/report.md`."""

    documents: list[list[Any]] = field(default_factory=list)
    sentences: list[list[Any]] = field(default_factory=list)
    errors: list[list[Any]] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """The tables with the names of their columns."""
        return {
            "documents": {"columns": ["id", "group", "task", "target"], "rows": self.documents},
            "sentences": {"columns": ["document", "start", "text"], "rows": self.sentences},
            "errors": {"columns": [*ERROR_COLUMNS], "rows": self.errors},
        }


def error_rows(items: Mapping[str, Items], schema: Schema, documents: Sequence[Document]) -> ErrorRows:
    """All errors of all layers, by document, layer and offset."""
    scores: dict[Error, list[float]] = {}
    for layer, own in enumerate(items.values()):
        for error, score in _errors(layer, own):
            scores.setdefault(error, []).append(score)
    kinds = [layer.kind for layer in schema.layers.values()]
    found = ErrorRows()
    shown: dict[tuple[int, Bounds], int] = {}
    numbers: dict[int, int] = {}
    for error in sorted(scores, key=lambda error: (error.document, error.layer, error.place, error)):
        document, kind = documents[error.document], kinds[error.layer]
        number = numbers.setdefault(error.document, len(numbers))
        if number == len(found.documents):
            task = document.source.get("task")
            known = task if isinstance(task, int | str) else None
            found.documents.append([document.id, document.fold, known, document.target])
        bounds = excerpt(document.text, error.place, kind)
        place = shown.setdefault((number, bounds), len(shown))
        if place == len(found.sentences):
            found.sentences.append([number, bounds.start, document.text[bounds.start : bounds.end]])
        found.errors.append(_row(error, place, scores[error], kind))
    return found


def _errors(layer: int, items: Items) -> Iterator[tuple[Error, float]]:
    columns = (
        items.document,
        items.outcome,
        items.gold_start,
        items.gold_end,
        items.gold,
        items.predicted_start,
        items.predicted_end,
        items.predicted,
        items.score,
    )
    wrong = ~items.correct
    first = OUTCOMES.index(ERRORS[0])
    for document, outcome, *sides, score in zip(*(column[wrong].tolist() for column in columns), strict=True):
        gold, predicted = (sides[0], sides[1], sides[2]), (sides[3], sides[4], sides[5])
        yield Error(document, layer, outcome - first, gold, predicted), score


def _row(error: Error, place: int, scores: Sequence[float], kind: Kind) -> list[Any]:
    known = [score for score in scores if score == score]
    sides = [value if value != NONE else None for side in (error.gold, error.predicted) for value in side]
    if kind is Kind.DOCUMENT:
        sides[0:2] = sides[3:5] = [None, None]
    score = round(sum(known) / len(known), 4) if known else None
    return [error.layer, error.kind, place, *sides, score, len(scores)]


def excerpt(text: str, place: Bounds, kind: Kind) -> Bounds:
    """The sentences that hold a stretch, cut around it where they are very long; of a document, its beginning."""
    if kind is Kind.SENTENCES:
        return place
    found = sentences(text)
    if not found:
        return Bounds(0, min(len(text), LONGEST))
    if kind is Kind.DOCUMENT:
        last = max(0, bisect_right([one.end for one in found], found[0].start + LONGEST // 2) - 1)
        return Bounds(found[0].start, min(found[last].end, found[0].start + LONGEST))
    first = max(0, bisect_right([one.start for one in found], place.start) - 1)
    last = min(bisect_left([one.end for one in found], place.end), len(found) - 1)
    start, end = min(found[first].start, place.start), max(found[last].end, place.end)
    if end - start <= LONGEST:
        return Bounds(start, end)
    before = _word_edge(text, place.start - AROUND, place.start)
    after = _word_edge(text, place.end + AROUND, place.end + 2 * AROUND)
    return Bounds(max(start, before), min(end, after))


def _word_edge(text: str, place: int, last: int) -> int:
    """The next place, up to `last`, that is not inside a word; where a long unbroken string has none, the place itself."""
    place = min(max(place, 0), len(text))
    return next((at for at in range(place, min(last, len(text)) + 1) if not mid_word(text, at)), place)
