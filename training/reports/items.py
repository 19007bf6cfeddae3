"""Every gold and predicted item of a layer as one table of numbers, from which all counts of a report are made.

It knows documents on both sides that fit together. It knows no averages and no intervals. What is right is what
`annotations.comparison` counts as right.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from annotations.document import Document, Label, Span
from annotations.schema import Kind, Layer, Schema
from annotations.sentences import covering, sentences
from training.reports.span_errors import OUTCOMES, Outcome, match_spans

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
Pair = tuple[Document, Document]
NONE = -1
CORRECT = OUTCOMES.index(Outcome.CORRECT)

_CODES = {outcome: number for number, outcome in enumerate(OUTCOMES)}


@dataclass(frozen=True)
class Items:
    """The items of one layer, each once for every round: a gold item, a predicted one, or the two that are matched.

    All arrays have the shape (items,); NONE stands where a side has nothing, nan where there is no probability. Labels are
    places in the layer's names, documents are places in the gold documents, groups are places in `groups`.
    """

    round: Ints
    document: Ints
    group: Ints
    outcome: Ints
    """Places in OUTCOMES."""
    gold: Ints
    """Gold label."""
    predicted: Ints
    """Predicted label."""
    gold_start: Ints
    gold_end: Ints
    predicted_start: Ints
    predicted_end: Ints
    score: Floats
    """Probability of the prediction."""
    rounds: int
    labels: tuple[str, ...]
    groups: tuple[str, ...]
    """The groups of the documents whose gold annotates the layer."""
    documents: int
    """How many documents' gold annotates the layer."""

    @property
    def correct(self) -> Bools:
        """Which are right."""
        found: Bools = self.outcome == CORRECT
        return found

    @property
    def has_gold(self) -> Bools:
        """Which have a gold side."""
        found: Bools = self.gold != NONE
        return found

    @property
    def has_prediction(self) -> Bools:
        """Which have a predicted side."""
        found: Bools = self.predicted != NONE
        return found

    @property
    def scored(self) -> Bools:
        """Which have a prediction with a probability."""
        found: Bools = self.has_prediction & ~np.isnan(self.score)
        return found

    def events(self) -> tuple[Ints, Ints, Ints]:
        """True positives, false positives and false negatives, one a place: item, label, and 0, 1 or 2 for the three.

        An item with another label on each side is two of them, as in `annotations.comparison`.
        """
        right, wrong = np.flatnonzero(self.correct), ~self.correct
        invented, lost = np.flatnonzero(wrong & self.has_prediction), np.flatnonzero(wrong & self.has_gold)
        which = np.repeat([0, 1, 2], [len(right), len(invented), len(lost)])
        labels = np.concatenate([self.gold[right], self.predicted[invented], self.gold[lost]])
        return np.concatenate([right, invented, lost]), labels, which


def layer_items(rounds: Sequence[Sequence[Pair]], schema: Schema) -> dict[str, Items]:
    """The items of every layer, over the documents whose gold annotates it; a prediction that lacks a layer is empty.

    `rounds` holds the same gold documents in the same order, each beside one round's prediction of it.
    """
    builders = {name: _Builder(layer, name) for name, layer in schema.layers.items()}
    # Document by document, so that a text is cut into sentences once.
    for place, pairs in enumerate(zip(*rounds, strict=True)):
        for number, (gold, predicted) in enumerate(pairs):
            for name, builder in builders.items():
                if name in gold.labels:
                    builder.add(number, place, gold, predicted)
    return {name: builder.items(len(rounds)) for name, builder in builders.items()}


class _Builder:
    def __init__(self, layer: Layer, name: str) -> None:
        self.layer, self.name = layer, name
        self.numbers: dict[str | None, int] = {None: NONE} | {label: at for at, label in enumerate(layer.names)}
        self.rows: list[tuple[int, ...]] = []
        self.scores: list[float] = []
        self.folds: dict[int, str] = {}

    def add(self, number: int, place: int, gold: Document, predicted: Document) -> None:
        if place not in self.folds:
            self.folds[place] = gold.fold
        for outcome, one, other in matches(gold, predicted, self.name, self.layer):
            self.rows.append((number, place, _CODES[outcome], *self._side(one), *self._side(other)))
            self.scores.append(float("nan") if other is None or other.score is None else other.score)

    def _side(self, label: Label | None) -> tuple[int, int, int]:
        if isinstance(label, Span):
            return self.numbers[label.label], label.start, label.end
        return (self.numbers[label.label], 0, 0) if label else (NONE, NONE, NONE)

    def items(self, rounds: int) -> Items:
        table = np.asarray(self.rows, dtype=np.int64).reshape(-1, 9).T
        groups = tuple(sorted(set(self.folds.values())))
        numbers = {group: number for number, group in enumerate(groups)}
        places = {place: numbers[fold] for place, fold in self.folds.items()}
        number, document, outcome, gold, start, end, predicted, predicted_start, predicted_end = table
        return Items(
            round=number,
            document=document,
            group=np.asarray([places[place] for place in document.tolist()], dtype=np.int64),
            outcome=outcome,
            gold=gold,
            predicted=predicted,
            gold_start=start,
            gold_end=end,
            predicted_start=predicted_start,
            predicted_end=predicted_end,
            score=np.asarray(self.scores, dtype=np.float64),
            rounds=rounds,
            labels=tuple(self.layer.names),
            groups=groups,
            documents=len(self.folds),
        )


Item = tuple[Outcome, Label | None, Label | None]


def matches(gold: Document, predicted: Document, name: str, layer: Layer) -> Iterator[Item]:
    """The matched and the lone items of one layer of one document, gold side and predicted side.

    Of sentences and documents, only those with a gold label are items; a missing prediction is always wrong. Both sides of
    a sentence have the sentence's own offsets.
    """
    if layer.kind is Kind.SPANS:
        yield from match_spans(gold.spans(name), predicted.spans(name))
        return
    if layer.kind is Kind.DOCUMENT:
        one, other = gold.labels.get(name), predicted.labels.get(name)
        if isinstance(one, Label):
            yield _choice(one, other if isinstance(other, Label) else None)
        return
    bounds = sentences(gold.text)
    sides = (covering(bounds, document.spans(name)) for document in (gold, predicted))
    for (start, end), first, second in zip(bounds, *sides, strict=True):
        if first is not None:
            placed = {"start": start, "end": end}
            yield _choice(
                first.model_copy(update=placed), second.model_copy(update=placed) if second is not None else None
            )


def _choice(gold: Label, predicted: Label | None) -> Item:
    if predicted is None:
        return Outcome.MISSED, gold, None
    return Outcome.CORRECT if gold.label == predicted.label else Outcome.TYPE, gold, predicted
