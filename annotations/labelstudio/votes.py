"""What most of several readings of one text say, label by label. It knows documents, not who made them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from annotations.document import Document, Label, Labels, Span
from annotations.schema import Kind, Schema
from annotations.sentences import sentence_labels, sentences


def majority(documents: Sequence[Document], schema: Schema) -> tuple[dict[str, Labels], list[str]]:
    """Each label that more than half of the readings give; and what found no majority, in words.

    Who leaves a sentence or a choice empty votes for no label. Two spans with a majority never overlap, since some reader
    would have marked both.
    """
    labels: dict[str, Labels] = {}
    remarks: list[str] = []
    for name, layer in schema.layers.items():
        if not any(name in document.labels for document in documents):
            continue
        if layer.kind is Kind.SPANS:
            labels[name] = _spans(documents, name)
        elif layer.kind is Kind.SENTENCES:
            found, ties = _sentences(documents, name)
            labels |= {name: found} if found else {}
            remarks += [f"{name}: no majority for the sentence at {start}" for start in ties]
        elif chosen := most(_choice(document, name) for document in documents):
            labels[name] = Label(label=chosen)
        else:
            remarks.append(f"{name}: no majority for the document")
    return labels, remarks


def most(labels: Iterable[str | None]) -> str | None:
    """The label that more than half give, where None is a vote for no label; None where there is no such label."""
    votes = Counter(labels)
    chosen, count = votes.most_common(1)[0] if votes else (None, 0)
    return chosen if 2 * count > votes.total() else None


def _choice(document: Document, name: str) -> str | None:
    label = document.labels.get(name)
    return label.label if isinstance(label, Label) else None


def _spans(readings: Sequence[Document], name: str) -> tuple[Span, ...]:
    votes = Counter((span.start, span.end, span.label) for document in readings for span in document.spans(name))
    kept = sorted(key for key, count in votes.items() if 2 * count > len(readings))
    return tuple(Span(start=start, end=end, label=label) for start, end, label in kept)


def _sentences(readings: Sequence[Document], name: str) -> tuple[tuple[Span, ...], list[int]]:
    given = [sentence_labels(document, name) for document in readings]
    found: list[Span] = []
    ties: list[int] = []
    for bounds, *votes in zip(sentences(readings[0].text), *given, strict=True):
        if chosen := most(votes):
            found.append(Span(start=bounds.start, end=bounds.end, label=chosen))
        elif any(votes):
            ties.append(bounds.start)
    return tuple(found), ties
