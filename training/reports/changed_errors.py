"""Which errors one result fixes and which it introduces, beside another one: exact offsets, each error in its sentence.

It knows documents of one layer that both results predict. It knows no scores, intervals or pages.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from annotations.comparison import units
from annotations.document import Document
from annotations.schema import Kind, Layer
from annotations.sentences import Bounds, sentences

FIXED, INTRODUCED, KEPT = "fixed", "introduced", "kept"
MISSED, SPURIOUS = "missed", "spurious"
BEGINNING = 240
"""Characters of a document that stand for it where the whole of it has one label."""


class Mark(NamedTuple):
    """A label on half-open offsets: a span, a sentence or the whole document."""

    start: int
    end: int
    label: str


class Error(NamedTuple):
    """What is wrong in exactly this place: a gold label that is not given, or one given that is not gold."""

    mark: Mark
    kind: str


@dataclass(frozen=True)
class ChangedError:
    """An error that one of two results makes and the other does not."""

    document: str
    change: str
    """`fixed`: the second makes it, the first does not. `introduced`: the other way round."""
    error: Error
    text: str
    """The marked text; the beginning of a whole document."""
    sentence: Bounds
    """The sentence around it, or several where a span runs across them."""
    context: str
    """The text of `sentence`."""
    said: Mapping[str, Sequence[Mark]]
    """`gold` and the two results' names to their labels of the layer that overlap the error."""
    target: str | None
    """What a targeted layer refers to."""
    task: int | None
    """Label Studio's task, where the document tells it."""

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        said = {side: [mark._asdict() for mark in marks] for side, marks in self.said.items()}
        sentence = {**self.sentence._asdict(), "text": self.context}
        place = {"document": self.document, "target": self.target, "task": self.task}
        place |= {"change": self.change, "kind": self.error.kind}
        return {**place, **self.error.mark._asdict(), "text": self.text, "sentence": sentence, "said": said}


@dataclass(frozen=True)
class ErrorChanges:
    """The errors of two results on one layer."""

    changed: Sequence[ChangedError]
    counts: Mapping[str, Mapping[str, int]]
    """Label to how many errors are `fixed`, `introduced` and `kept` (made by both). A span's false negatives and false
    positives count one each; a sentence or document with a wrong label counts once, under its gold label."""

    def total(self, change: str) -> int:
        """Over all labels."""
        return sum(each[change] for each in self.counts.values())

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        totals = {change: self.total(change) for change in (FIXED, INTRODUCED, KEPT)}
        by_label = {label: dict(each) for label, each in self.counts.items()}
        return {**totals, "by_label": by_label, "changed": [each.to_dict() for each in self.changed]}


def error_changes(
    gold: Sequence[Document],
    rounds: Mapping[str, Sequence[Sequence[Document]]],
    name: str,
    layer: Layer,
) -> ErrorChanges:
    """What the first of two results fixes and introduces, beside the second, on the documents of `gold`.

    Of a result with several rounds (seeds) the labels count that more than half of them give.
    """
    found = {side: _by_document(each) for side, each in rounds.items()}
    counts = {label: {FIXED: 0, INTRODUCED: 0, KEPT: 0} for label in layer.names}
    changed: list[ChangedError] = []
    for document in gold:
        said = {"gold": marks(document, name, layer)}
        said |= {side: agreed([marks(one, name, layer) for one in each[document.id]]) for side, each in found.items()}
        for error, change in _changes(said, spans=layer.kind is Kind.SPANS):
            counts[error.mark.label][change] += 1
            if change != KEPT:
                changed.append(_changed(document, error, change, said, layer))
    return ErrorChanges(changed, counts)


def _by_document(rounds: Iterable[Sequence[Document]]) -> dict[str, list[Document]]:
    found: dict[str, list[Document]] = {}
    for documents in rounds:
        for document in documents:
            found.setdefault(document.id, []).append(document)
    return found


def marks(document: Document, name: str, layer: Layer) -> set[Mark]:
    """The labels of one layer with their places; those of sentences are on the sentences' own offsets."""
    if layer.kind is Kind.SPANS:
        return {Mark(span.start, span.end, span.label) for span in document.spans(name)}
    found = units(document, document, name, layer)
    return {Mark(unit.start, unit.end, unit.first) for unit in found if unit.first is not None}


def agreed(rounds: Sequence[set[Mark]]) -> set[Mark]:
    """What more than half of the rounds say. Flat in every round, it is flat: two marks that overlap never share a round."""
    votes = Counter(mark for said in rounds for mark in said)
    return {mark for mark, count in votes.items() if 2 * count > len(rounds)}


def _changes(said: Mapping[str, set[Mark]], *, spans: bool) -> list[tuple[Error, str]]:
    """Every error of either result, in text order, and what becomes of it."""
    gold, first, second = said.values()
    own, other = (_errors(gold, side, spans=spans) for side in (first, second))
    names = {(True, False): INTRODUCED, (False, True): FIXED, (True, True): KEPT}
    return [(error, names[error in own, error in other]) for error in sorted(own | other)]


def _errors(gold: set[Mark], said: set[Mark], *, spans: bool) -> set[Error]:
    missed = {Error(mark, MISSED) for mark in gold - said}
    return missed | {Error(mark, SPURIOUS) for mark in said - gold} if spans else missed


def _changed(
    document: Document, error: Error, change: str, said: Mapping[str, set[Mark]], layer: Layer
) -> ChangedError:
    text, mark = document.text, error.mark
    bounds = _around(text, mark, layer.kind)
    here = {side: sorted(one for one in each if _overlap(one, mark)) for side, each in said.items()}
    task = document.source.get("task")
    return ChangedError(
        document=document.id,
        change=change,
        error=error,
        text=text[mark.start : min(mark.end, bounds.end)],
        sentence=bounds,
        context=text[bounds.start : bounds.end],
        said=here,
        target=document.target if layer.targeted else None,
        task=task if isinstance(task, int) else None,
    )


def _overlap(one: Mark, other: Mark | Bounds) -> bool:
    return one.start < other.end and other.start < one.end


def _around(text: str, mark: Mark, kind: Kind) -> Bounds:
    """From the beginning of the sentence in which a mark begins to the end of the one in which it ends."""
    if kind is Kind.DOCUMENT:
        return Bounds(0, min(len(text), BEGINNING))
    inside = [each for each in sentences(text) if _overlap(mark, each)]
    return Bounds(min([mark.start, *(each.start for each in inside)]), max([mark.end, *(each.end for each in inside)]))
