"""Wrong labels planted in annotated documents, as people make them. It knows documents; it knows no files and no model."""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from typing import NamedTuple

from annotations.document import Document, Span
from annotations.schema import Kind
from annotations.sentences import Bounds

CHANGED, MOVED, REMOVED, ADDED = "label changed", "boundary moved", "span removed", "span added"
_WORD = re.compile(r"\S+")


class Planted(NamedTuple):
    """One wrong label, and the stretch that it and the right one cover."""

    document: str
    start: int
    end: int
    kind: str


Error = tuple[list[Span], Bounds]
"""All spans of the layer with one of them wrong, and where."""


def plant(
    documents: Sequence[Document], layer: str, kind: Kind, labels: Sequence[str], share: float, seed: int
) -> tuple[list[Document], list[Planted]]:
    """The documents with a share of the layer's labels wrong, and the errors, every kind about as often.

    Of sentences, labels are changed; of spans also the place, by a word on one side, and whether there is a span at all.
    """
    rng = random.Random(seed)
    by_id = {document.id: document for document in documents}
    found = {document.id: list(document.spans(layer)) for document in documents}
    places = [(name, span) for name, spans in found.items() for span in spans]
    kinds = [CHANGED, MOVED, REMOVED, ADDED] if kind is Kind.SPANS else [CHANGED]
    wanted = [kinds[number % len(kinds)] for number in range(round(share * len(places)))]
    planted: list[Planted] = []
    rng.shuffle(places)
    for name, span in places:
        if len(planted) == len(wanted):
            break
        error = wanted[len(planted)]
        closed = [Bounds(one.start, one.end) for one in planted if one.document == name]
        if made := _wrong(error, by_id[name].text, span, found[name], closed, labels, rng):
            found[name], (start, end) = made
            planted.append(Planted(name, start, end, error))
    changed = [one.with_labels({layer: tuple(sorted(found[one.id], key=lambda span: span.start))}) for one in documents]
    return changed, planted


def _wrong(
    error: str,
    text: str,
    span: Span,
    spans: Sequence[Span],
    closed: Sequence[Bounds],
    labels: Sequence[str],
    rng: random.Random,
) -> Error | None:
    """None where this error cannot be made of this span: no word is free. `closed`: where there is an error already."""
    others = [one for one in spans if one != span]
    if error == REMOVED:
        return others, Bounds(span.start, span.end)
    if error == CHANGED:
        label = rng.choice([label for label in labels if label != span.label])
        return [*others, span.model_copy(update={"label": label})], Bounds(span.start, span.end)
    bounds = _moved(text, span, [*others, *closed], rng) if error == MOVED else _free(text, [*spans, *closed], rng)
    if bounds is None:
        return None
    wrong = Span(start=bounds.start, end=bounds.end, label=span.label)
    if error == ADDED:
        return [*spans, wrong], bounds
    return [*others, wrong], Bounds(min(span.start, wrong.start), max(span.end, wrong.end))


def _moved(text: str, span: Span, others: Sequence[Span | Bounds], rng: random.Random) -> Bounds | None:
    """The span with a word more or less on one side."""
    left, right = text.rfind("\n", 0, span.start) + 1, span.end + len(text[span.end :].split("\n", 1)[0])
    before = [*_WORD.finditer(text, left, span.start)][-1:]
    after = [*_WORD.finditer(text, span.end, right)][:1]
    inside = [*_WORD.finditer(text, span.start, span.end)]
    options = [Bounds(word.start(), span.end) for word in before] + [Bounds(span.start, word.end()) for word in after]
    if len(inside) > 1:
        options += [Bounds(inside[1].start(), span.end), Bounds(span.start, inside[-2].end())]
    free = [option for option in options if not _taken(option, others)]
    return rng.choice(free) if free else None


def _free(text: str, spans: Sequence[Span | Bounds], rng: random.Random) -> Bounds | None:
    """A word that is no name, a capitalised one where there is one: what people mark by mistake looks like a name."""
    words = [Bounds(*word.span()) for word in _WORD.finditer(text) if word[0].isalpha()]
    free = [word for word in words if not _taken(word, spans)]
    capital = [word for word in free if text[word.start].isupper()]
    return rng.choice(capital or free) if free else None


def _taken(bounds: Bounds, spans: Sequence[Span | Bounds]) -> bool:
    return any(span.start < bounds.end and bounds.start < span.end for span in spans)
