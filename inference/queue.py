"""Tags articles to find what the model is unsure of, keeps a few numbers of each, and shows which to annotate next and why.

It knows the tagger and the layout of the list. How uncertainty is counted is in `inference.uncertainty`, how articles are
chosen in `annotations.selection`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import NamedTuple

import numpy as np

from annotations.document import Document
from annotations.errors import DocumentError
from annotations.pages.markup import visible
from annotations.selection import Candidate, Pick, Sketch, sketch
from inference.decoding import decode
from inference.tagger import Tagger, portions
from inference.uncertainty import SHOWN, Doubt, Measure, Uncertainty, uncertainties

LONGEST_QUOTE = 100
Say = Callable[[str], None]


class Reason(NamedTuple):
    """One name, word or sentence that the model is unsure of."""

    layer: str
    uncertainty: float
    label: str | None
    """What it predicts all the same; None for a word outside of names."""
    quote: str


@dataclass(frozen=True, slots=True)
class Article:
    """What is kept of a text after tagging: numbers, three quotations and a sketch, so that memory stays small."""

    id: str
    """Its first document's."""
    documents: tuple[str, ...]
    """The ids of all documents with this text, one for each target."""
    text: int
    """Hash of the text, good within this process."""
    uncertainty: float
    """The mean over the layers, between 0 and 1."""
    layers: dict[str, float]
    """Each layer's uncertainty, the mean over the documents that have it."""
    reasons: tuple[Reason, ...]
    sketch: Sketch

    @property
    def candidate(self) -> Candidate:
        """What selection needs of it."""
        return Candidate(self.id, self.uncertainty, self.sketch)


def articles(tagger: Tagger, documents: Iterable[Document], measure: Measure, left_out: Say) -> Iterator[Article]:
    """Each text of a stream with its uncertainty; neighbours with the same text are one article.

    Tags and labels are those of `Tagger.tag`. What cannot be tagged, or has no word, is told to `left_out`.
    """
    stream = (found for some in portions(documents) for found in _measured(tagger, some, measure, left_out))
    for _, group in groupby(stream, key=lambda item: item[0].text):
        found = _article(list(group))
        if math.isnan(found.uncertainty):
            left_out(f"document {found.id!r} has no word to be unsure of, or the model gives no number for it")
        else:
            yield found


def _measured(
    tagger: Tagger, documents: Sequence[Document], measure: Measure, left_out: Say
) -> list[tuple[Document, Uncertainty]]:
    try:
        windows, answers = tagger.read(documents)
    except DocumentError as error:
        if len(documents) == 1:
            for problem in error.problems:
                left_out(f"document {documents[0].id!r}: {problem}")
            return []
        return [found for document in documents for found in _measured(tagger, [document], measure, left_out)]
    tagged = decode(documents, windows, answers, tagger.config)
    return list(zip(tagged, uncertainties(tagged, windows, answers, measure), strict=True))


def _article(group: Sequence[tuple[Document, Uncertainty]]) -> Article:
    first = group[0][0]
    names = list(dict.fromkeys(name for _, found in group for name in found.layers))
    layers = {
        name: float(np.mean([found.layers[name] for _, found in group if name in found.layers])) for name in names
    }
    return Article(
        id=first.id,
        documents=tuple(document.id for document, _ in group),
        text=hash(first.text),
        uncertainty=Uncertainty(layers).mean,
        layers=layers,
        reasons=tuple(_reasons(first.text, [found for _, found in group])),
        sketch=sketch(first.text),
    )


def _reasons(text: str, found: Sequence[Uncertainty]) -> Iterator[Reason]:
    """The three worst doubts: each layer's worst before any layer's second, so that no layer hides the others."""
    doubts: dict[str, list[Doubt]] = {}
    for each in found:
        for name, own in each.doubts.items():
            doubts.setdefault(name, []).extend(own)
    ranked = [
        (place, -doubt.uncertainty, doubt)
        for own in doubts.values()
        for place, doubt in enumerate(sorted(dict.fromkeys(own), key=lambda doubt: (-doubt.uncertainty, doubt.start)))
    ]
    for _, _, doubt in sorted(ranked)[:SHOWN]:
        yield Reason(doubt.layer, doubt.uncertainty, doubt.label, _quote(text, doubt))


def _quote(text: str, doubt: Doubt) -> str:
    piece = " ".join(text[doubt.start : doubt.end].split())
    return piece if len(piece) <= LONGEST_QUOTE else piece[: LONGEST_QUOTE - 1].rstrip() + "…"


def listing(picks: Sequence[Pick], found: Sequence[Article]) -> str:
    """A table for people: each choice with its numbers, and below it what the model is unsure of."""
    names = list(dict.fromkeys(name for pick in picks for name in found[pick.place].layers))
    rows = [["", "article", "score", "uncertainty", *names, "nearest before it"]]
    for number, pick in enumerate(picks, 1):
        article = found[pick.place]
        layers = [f"{article.layers[name]:.2f}" if name in article.layers else "–" for name in names]
        near = f"{pick.similarity:.2f} {pick.nearest}" if pick.nearest is not None else "–"
        rows.append([str(number), article.id, f"{pick.score:.2f}", f"{article.uncertainty:.2f}", *layers, near])
    lines = _aligned([[_printable(cell) for cell in row] for row in rows])
    shown = [next(lines)]
    for pick, line in zip(picks, lines, strict=True):
        shown += [line, *(_printable(_why(reason)) for reason in found[pick.place].reasons)]
    return "\n".join(shown)


def _why(reason: Reason) -> str:
    return f"      {reason.layer} {reason.uncertainty:.2f}  {reason.label or 'no label'}: {reason.quote}"


def _aligned(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = [
            cell.ljust(width) if place in (1, len(row) - 1) else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        yield "  ".join(cells).rstrip()


def _printable(text: str) -> str:
    return "".join(letter if letter.isprintable() else visible(letter) for letter in text)
