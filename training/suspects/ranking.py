"""How suspicious each label is, from the probabilities of a model that never saw its document. It knows no files and no training.

Every number is one minus a label quality (`training.suspects.quality`): of sentences and documents that of their label; of a
gold span the lowest of its tokens' tags, of a span that gold lacks the lowest of its tokens' being outside (Wang and Mueller,
2022, Detecting label errors in token classification data, arXiv:2210.03920, who take the lowest token for a sentence).
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import torch

from annotations.document import Document, Label, Span
from annotations.schema import Kind, Layer, Schema
from annotations.sentences import Bounds, sentence_labels, sentences
from annotations.suspects import Suspect, ranked
from inference.decoding import text_spans, within_words
from inference.tags import Offsets, to_tags
from training.suspects.probabilities import Floats, Ints, Outlook
from training.suspects.quality import self_confidence

Quality = Callable[[Ints, Floats], Floats]
"""Labels (units,) and probabilities (units, classes) to qualities between 0 and 1 (units,)."""


@dataclass
class Ranking:
    """Every label with its suspicion."""

    suspects: list[Suspect] = field(default_factory=list)
    """The most suspicious first."""
    unseen: list[str] = field(default_factory=list)
    """Labels that no token of the text shows, so that no model can say anything of them."""


class _Text(NamedTuple):
    """One document's tokens."""

    document: Document
    offsets: Offsets
    tags: Ints
    """What gold says. Shape: (tokens,)."""
    likely: Floats
    """Shape: (tokens, tags)."""
    whole_words: bool


def rank(outlook: Outlook, schema: Schema, quality: Quality = self_confidence) -> Ranking:
    """Each gold label, and each predicted span that overlaps no gold one, of every annotated layer."""
    found = Ranking()
    for name, layer in schema.layers.items():
        of_layer = _of_spans if layer.kind is Kind.SPANS else _of_labels
        found.suspects += of_layer(name, layer, outlook, quality, found.unseen)
    found.suspects = ranked(found.suspects)
    return found


def _of_labels(name: str, layer: Layer, outlook: Outlook, quality: Quality, unseen: list[str]) -> list[Suspect]:
    """Of a layer of sentences or documents."""
    units = outlook.layers[name]
    keys = zip(units.owners.tolist(), map(tuple, units.bounds.tolist()), strict=True)
    rows = {key: row for row, key in enumerate(keys)}
    judged: list[tuple[str, Bounds, str, int]] = []
    for place, document in enumerate(outlook.documents):
        for bounds, label in _labelled(name, layer, document):
            row = rows.get((place, tuple(bounds)))
            if row is None:
                unseen.append(f"{document.id} {name} {label} {bounds.start}–{bounds.end}")
            else:
                judged.append((document.id, bounds, label, row))
    likely = units.likely[[row for *_, row in judged]]
    labels = np.array([layer.names.index(label) for _, _, label, _ in judged], dtype=np.int64)
    suggested = [layer.names[best] for best in likely.argmax(axis=1).tolist()]
    found = zip(judged, suggested, quality(labels, likely).tolist(), strict=True)
    return [
        Suspect(
            document=identity,
            layer=name,
            start=bounds.start,
            end=bounds.end,
            gold=label,
            suggested=best,
            suspicion=min(1.0, max(0.0, 1.0 - good)),
        )
        for (identity, bounds, label, _), best, good in found
    ]


def _labelled(name: str, layer: Layer, document: Document) -> Iterator[tuple[Bounds, str]]:
    """The sentences that carry a label, or the document if it does."""
    labels = document.labels.get(name)
    if isinstance(labels, Label):
        yield Bounds(0, len(document.text)), labels.label
    elif labels is not None:
        for bounds, label in zip(sentences(document.text), sentence_labels(document, name), strict=True):
            if label is not None:
                yield bounds, label


def _of_spans(name: str, layer: Layer, outlook: Outlook, quality: Quality, unseen: list[str]) -> list[Suspect]:
    texts = list(_texts(name, layer, outlook))
    if not texts:
        return []
    tags = np.concatenate([text.tags for text in texts])
    good = quality(tags, np.concatenate([text.likely for text in texts]))
    pieces = np.split(good, np.cumsum([len(text.tags) for text in texts])[:-1])
    return [
        suspect for text, own in zip(texts, pieces, strict=True) for suspect in _of_text(name, layer, text, own, unseen)
    ]


def _texts(name: str, layer: Layer, outlook: Outlook) -> Iterator[_Text]:
    """The documents that annotate the layer."""
    units = outlook.layers[name]
    rows = units.by_document
    nothing = np.zeros(0, dtype=np.int64)
    for place, (document, whole) in enumerate(zip(outlook.documents, outlook.whole_words, strict=True)):
        if name in document.labels:
            own = rows.get(place, nothing)
            offsets = [(start, end) for start, end in units.bounds[own].tolist()]
            tags = _gold_tags(document.spans(name), offsets, layer.names)
            yield _Text(document, offsets, tags, units.likely[own], whole)


def _gold_tags(spans: Sequence[Span], offsets: Offsets, labels: Sequence[str]) -> Ints:
    """One tag id a token; tokens that a span covers in part count as inside it. Shape: (tokens,)."""
    tags, unreachable = to_tags(spans, offsets, labels)
    for span in unreachable:
        for place in _inside(span, offsets):
            tags[place] = 2 + 2 * labels.index(span.label)
        if first := [*_inside(span, offsets)][:1]:
            tags[first[0]] -= 1
    return np.array(tags, dtype=np.int64)


def _inside(span: Span, offsets: Offsets) -> range:
    """The tokens that share a character with a span."""
    first = bisect_right(offsets, span.start, key=lambda offset: offset[1])
    return range(first, bisect_left(offsets, span.end, key=lambda offset: offset[0]))


def _of_text(name: str, layer: Layer, text: _Text, quality: Floats, unseen: list[str]) -> Iterator[Suspect]:
    document = text.document
    predicted = _predicted(layer, text)
    for span in document.spans(name):
        inside = _inside(span, text.offsets)
        if not inside:
            unseen.append(f"{document.id} {name} {span.label} {span.start}–{span.end}")
            continue
        onwards = 1.0
        if inside.stop < len(text.offsets):
            # That the name goes on behind the span's end shows in the next token alone.
            onwards -= text.likely[inside.stop, 2 + 2 * layer.names.index(span.label)]
        lowest = min(float(quality[inside.start : inside.stop].min()), onwards)
        best = max(_overlapping(span, predicted), key=lambda other: _shared(span, other), default=None)
        yield _suspect(document.id, name, span, best, 1.0 - lowest)
    for span in predicted:
        if not _overlapping(span, document.spans(name)):
            inside = _inside(span, text.offsets)
            yield _suspect(document.id, name, None, span, 1.0 - float(quality[inside.start : inside.stop].min()))


def _predicted(layer: Layer, text: _Text) -> Sequence[Span]:
    """The spans that the mean of the probabilities gives, decoded as the tagger decodes its own."""
    likely = torch.from_numpy(np.log(np.maximum(text.likely, 1e-30)))
    joined = within_words(text.document.text, text.offsets) if text.whole_words else None
    return text_spans(likely, text.offsets, layer, joined)


def _overlapping(span: Span, others: Sequence[Span]) -> Sequence[Span]:
    """Of flat spans in text order, those that share a character with this one."""
    first = bisect_right(others, span.start, key=lambda other: other.end)
    return others[first : bisect_left(others, span.end, key=lambda other: other.start)]


def _shared(span: Span, other: Span) -> float:
    """Characters in both, as a share of those in either."""
    both = min(span.end, other.end) - max(span.start, other.start)
    return both / (max(span.end, other.end) - min(span.start, other.start))


def _suspect(document: str, layer: str, gold: Span | None, model: Span | None, suspicion: float) -> Suspect:
    place = gold or model
    assert place is not None
    elsewhere = gold and model and (gold.start, gold.end) != (model.start, model.end)
    return Suspect(
        document=document,
        layer=layer,
        start=place.start,
        end=place.end,
        gold=gold.label if gold else None,
        suggested=model.label if model else None,
        suggested_start=model.start if model and elsewhere else None,
        suggested_end=model.end if model and elsewhere else None,
        suspicion=min(1.0, max(0.0, suspicion)),
    )
