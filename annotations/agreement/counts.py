"""Counts who labelled what alike, article by article, once; every measure and resample is computed from these counts.

It knows spans, tokens, sentences and documents, not what a measure is called.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import numpy.typing as npt

from annotations.agreement.readings import Shared
from annotations.agreement.reliability import MISSING, Codes, coincidence_counts, pair_counts
from annotations.document import Document, Label, Span
from annotations.resampling import Floats
from annotations.schema import Kind, Layer
from annotations.sentences import Bounds, sentence_labels
from annotations.tokens import SPACED, tokens

PARTIAL_CREDIT = 0.5

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class SpanCounts:
    """Spans marked by both, by the first, by the second of each pair of annotators."""

    exact: Floats
    """Shape: (pairs, groups, labels, 3). Both means the same start, end and label."""
    partial: Floats
    """The same, with half a point for each pair of spans that only overlap."""
    items: Ints
    """Different spans that anybody marked. Shape: (labels,)."""
    marked: Ints
    """Spans of each annotator. Shape: (annotators, labels)."""


@dataclass(frozen=True)
class UnitCounts:
    """Labels of tokens, sentences or documents: those that two or more annotators read."""

    pairs: Floats
    """Shape: (pairs, groups, labels, 3), see `pair_counts`. For tokens the last label is `no span`."""
    coincidences: Floats
    """Shape: (groups, labels, 2), see `coincidence_counts`."""
    items: int
    """Units with two labels or more."""
    label_items: Ints
    """Of these, the units to which anybody gave the label. Shape: (labels,)."""
    incomplete: int
    """Units that at least one of those who annotated the layer left without a label, and another one did not."""
    marked: Ints
    """Units to which each annotator gave the label. Shape: (annotators, labels)."""


class LayerCounter:
    """Counts one layer over the documents that two or more annotators read."""

    def __init__(self, documents: Sequence[Shared], name: str, layer: Layer, annotators: Sequence[str]) -> None:
        self.name, self.layer, self.annotators = name, layer, annotators
        self.documents = [document for document in documents if len(document.of(name)) > 1]
        folds = [document.first.fold for document in self.documents]
        # In an order of their own, so that the order of annotators and files changes no interval.
        self.groups = sorted(set(folds))
        self.pairs = list(combinations(annotators, 2))
        numbers = {fold: number for number, fold in enumerate(self.groups)}
        self._places = [numbers[fold] for fold in folds]

    def _array(self, *shape: int) -> Floats:
        return np.zeros(shape, dtype=np.float64)

    def spans(self) -> SpanCounts:
        """Of a layer of spans."""
        names = self.layer.names
        exact = self._array(len(self.pairs), len(self.groups), len(names), 3)
        partial = exact.copy()
        items = np.zeros(len(names), dtype=np.int64)
        given = np.zeros((len(self.annotators), len(names)), dtype=np.int64)
        for document, group in zip(self.documents, self._places, strict=True):
            marked = {who: by_label(one.spans(self.name), names) for who, one in document.of(self.name).items()}
            items += [len(set().union(*each)) for each in zip(*marked.values(), strict=True)]
            given += [list(map(len, marked.get(who, [[]] * len(names)))) for who in self.annotators]
            for number, pair in enumerate(self.pairs):
                if all(who in marked for who in pair):
                    rows = list(zip(marked[pair[0]], marked[pair[1]], strict=True))
                    exact[number, group] += [_row(one, other, 0) for one, other in rows]
                    partial[number, group] += [_row(one, other, PARTIAL_CREDIT) for one, other in rows]
        return SpanCounts(exact, partial, items, given)

    def units(self) -> UnitCounts:
        """Of sentences or documents; of a layer of spans, of tokens."""
        names = self.layer.names
        size = len(names) + (self.layer.kind is Kind.SPANS)
        pairs = self._array(len(self.pairs), len(self.groups), size, 3)
        coincidences = self._array(len(self.groups), size, 2)
        label_items = np.zeros(size, dtype=np.int64)
        marked = np.zeros((len(self.annotators), size), dtype=np.int64)
        items = incomplete = 0
        for document, group in zip(self.documents, self._places, strict=True):
            codes = unit_codes(document, self.name, self.layer, self.annotators)
            rows = dict(zip(self.annotators, codes, strict=True))
            for number, (one, other) in enumerate(self.pairs):
                pairs[number, group] += pair_counts(rows[one], rows[other], size)
            coincidences[group] += coincidence_counts(codes, size)
            given = (codes != MISSING).sum(axis=0)
            items += int((given > 1).sum())
            incomplete += int(((given > 0) & (given < len(document.of(self.name)))).sum())
            votes = np.stack([codes == label for label in range(size)])
            label_items += (votes.any(axis=1) & (given > 1)).sum(axis=1)
            marked += votes.sum(axis=2).T
        return UnitCounts(pairs, coincidences, items, label_items, incomplete, marked)


def by_label(spans: Iterable[Span], names: Sequence[str]) -> list[list[Bounds]]:
    """The bounds of each label's spans, in text order."""
    found: dict[str, list[Bounds]] = {name: [] for name in names}
    for span in spans:
        found[span.label].append(Bounds(span.start, span.end))
    return list(found.values())


def _row(first: Sequence[Bounds], second: Sequence[Bounds], credit: float) -> tuple[float, int, int]:
    same = len(set(first) & set(second))
    return same + credit * (overlapping(first, second) - same), len(first), len(second)


def overlapping(first: Sequence[Bounds], second: Sequence[Bounds]) -> int:
    """The most pairs of overlapping spans, each in one pair at most. Both are flat and in text order.

    Going from left to right and pairing whatever overlaps finds the most; equal spans always end up in one pair, since
    they overlap nothing else.
    """
    one = other = found = 0
    while one < len(first) and other < len(second):
        if first[one].end <= second[other].start:
            one += 1
        elif second[other].end <= first[one].start:
            other += 1
        else:
            found, one, other = found + 1, one + 1, other + 1
    return found


def unit_codes(document: Shared, name: str, layer: Layer, annotators: Sequence[str]) -> Codes:
    """Each annotator's label for each unit, as its number in the schema. Shape: (annotators, units).

    MISSING where the annotator did not annotate the layer or gave no label. The units of a layer of spans are tokens (see
    `annotations.tokens`), cut at the edges of all annotators' spans, so that none is half inside a span; those outside
    have the number behind the last label.
    """
    readings = document.of(name)
    rows = _token_rows(readings, name, layer) if layer.kind is Kind.SPANS else _choice_rows(readings, name, layer)
    width = len(next(iter(rows.values())))
    nothing = [MISSING] * width
    return np.asarray([rows.get(who, nothing) for who in annotators], dtype=np.int64).reshape(len(annotators), width)


def _choice_rows(readings: Mapping[str, Document], name: str, layer: Layer) -> dict[str, list[int]]:
    numbers: dict[str | None, int] = {None: MISSING, **{label: at for at, label in enumerate(layer.names)}}
    return {who: [numbers[label] for label in choices(reading, name, layer)] for who, reading in readings.items()}


def choices(reading: Document, name: str, layer: Layer) -> list[str | None]:
    """The label of each sentence, or of the whole document."""
    if layer.kind is Kind.SENTENCES:
        return sentence_labels(reading, name)
    found = reading.labels.get(name)
    return [found.label if isinstance(found, Label) else None]


def _token_rows(readings: Mapping[str, Document], name: str, layer: Layer) -> dict[str, list[int]]:
    first = next(iter(readings.values()))
    edges = {edge for reading in readings.values() for span in reading.spans(name) for edge in (span.start, span.end)}
    starts = [token.start for token in tokens(first.text, edges, spaced=first.source.get("tokens") == SPACED)]
    numbers = {label: at for at, label in enumerate(layer.names)}
    rows: dict[str, list[int]] = {}
    for who, reading in readings.items():
        row = [len(numbers)] * len(starts)
        for span in reading.spans(name):
            left, right = bisect_left(starts, span.start), bisect_left(starts, span.end)
            row[left:right] = [numbers[span.label]] * (right - left)
        rows[who] = row
    return rows
