"""Documents as rows of words with BIO tags, a line or a text each, and tags of rows back as documents.

For systems that take words, not texts: the words are those of the file, which is all that white space tells of them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from annotations.document import Document, Span
from annotations.sentences import Bounds, covering
from training.baselines import bio_spans
from training.reports.evaluation import bare

OUTSIDE = "O"
LINE = re.compile(r"[^\n]+")
WORD = re.compile(r"\S+")


@dataclass(frozen=True)
class Row:
    """Words that a system reads at once."""

    document: int
    """Place of the document that they stand in."""
    forms: list[str]
    words: list[Bounds]
    """Half-open offsets of each word in the document's text."""
    tags: list[str]
    """BIO tags of the gold spans; `O` throughout where the layer is not annotated."""


def rows(documents: Sequence[Document], layer: str, *, whole: bool = False) -> list[Row]:
    """A row for each line that has a word, or with `whole` for each text."""
    return [row for place, document in enumerate(documents) for row in _rows(document, place, layer, whole)]


def _rows(document: Document, place: int, layer: str, whole: bool) -> Iterator[Row]:
    ends = [match.end() for match in LINE.finditer(document.text)]
    start = 0
    for end in [len(document.text)] if whole else ends:
        words = [Bounds(*match.span()) for match in WORD.finditer(document.text, start, end)]
        if words:
            forms = [document.text[word.start : word.end] for word in words]
            yield Row(place, forms, words, _tags(words, document.spans(layer)))
        start = end


def _tags(words: Sequence[Bounds], spans: Sequence[Span]) -> list[str]:
    """BIO tags; a word belongs to the span that covers more than half of it."""
    owners = covering(words, spans)
    previous = [None, *owners[:-1]]
    return [
        f"{'I' if span is before else 'B'}-{span.label}" if span else OUTSIDE
        for span, before in zip(owners, previous, strict=True)
    ]


def tag_names(found: Sequence[Row]) -> list[str]:
    """`O`, then B and I of every label that occurs."""
    labels = sorted({tag[2:] for row in found for tag in row.tags if tag != OUTSIDE})
    return [OUTSIDE, *(f"{side}-{label}" for label in labels for side in "BI")]


def tagged(
    documents: Sequence[Document], layer: str, found: Sequence[Row], tags: Sequence[Sequence[str]]
) -> list[Document]:
    """The documents with the spans that the rows' new tags mean, and none of their old labels."""
    spans: list[list[Span]] = [[] for _ in documents]
    for row, own in zip(found, tags, strict=True):
        spans[row.document] += bio_spans(row.words, own)
    return [one.with_labels({layer: tuple(new)}) for one, new in zip(bare(documents), spans, strict=True)]
