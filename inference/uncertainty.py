"""How unsure the model is of a document, layer by layer, from the same logits that labels are decoded from.

It knows logits, not texts' subjects: which documents to annotate is decided in `annotations.selection`.

Measures: entropy of the predicted distribution (Shannon, 1948), divided by log(classes), and one minus the margin between
the two likeliest classes (Scheffer, Decomain and Wrobel, 2001); both as surveyed by Settles, 2009, Active Learning
Literature Survey. Both are 1 where all classes are equally likely and 0 where one is certain, whatever their number, so
that layers can be compared. Units are averaged, never added up: a long text is not more uncertain than a short one.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from annotations.document import Document, Span
from inference.decoding import Answer, document_logits, sentence_logits, token_logits
from inference.tags import Offsets
from inference.windows import Window

Floats = npt.NDArray[np.float64]
SHOWN = 3


class Measure(StrEnum):
    """How uncertainty is counted."""

    ENTROPY = "entropy"
    MARGIN = "margin"


class Doubt(NamedTuple):
    """One name, word or sentence, and how unsure the model is of it."""

    layer: str
    start: int
    end: int
    label: str | None
    """The label that is predicted all the same; None where it is none."""
    uncertainty: float
    """Between 0 and 1."""


@dataclass(frozen=True)
class Uncertainty:
    """What the model is unsure of in one document. A layer that the document cannot have is absent."""

    layers: dict[str, float] = field(default_factory=dict)
    """Layer name to the mean uncertainty of its tokens, of its sentences, or of the document; between 0 and 1."""
    doubts: dict[str, list[Doubt]] = field(default_factory=dict)
    """Layer name to its most uncertain names, words or sentences, the most uncertain first; at most three."""

    @property
    def mean(self) -> float:
        """Over the layers, each counting the same; nan where there are none, as in a text without a word."""
        return float(np.mean(list(self.layers.values()))) if self.layers else float("nan")


def uncertainty(logits: Floats, measure: Measure) -> Floats:
    """Of each row of logits, between 0 and 1. Shape: (rows, classes) to (rows,)."""
    shifted = logits - logits.max(axis=1, keepdims=True)
    log_likely = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    likely = np.exp(log_likely)
    if measure is Measure.ENTROPY:
        found = -(likely * log_likely).sum(axis=1) / np.log(logits.shape[1])
    else:
        second, first = np.sort(likely, axis=1)[:, -2:].T
        found = 1 - (first - second)
    clipped: Floats = np.clip(found, 0.0, 1.0)
    return clipped


def uncertainties(
    tagged: Sequence[Document], windows: Sequence[Window], answers: Sequence[Answer], measure: Measure
) -> list[Uncertainty]:
    """Of each document, from what `decode` made its labels of; `tagged` is what `decode` returned.

    Layers of spans: the mean over the tokens of the text, each in the window where it is not context; probabilities are
    each token's own, before the best allowed tag sequence is sought. Layers of sentences: the mean over the sentences.
    Layers of documents: of the pooled logits. A targeted layer counts only where the document has a target.
    """
    found = [Uncertainty() for _ in tagged]
    if not answers:
        return found
    logits = answers[0][1]
    for name in logits.tokens or {}:
        _of_tokens(name, tagged, windows, answers, measure, found)
    for name in logits.sentences or {}:
        _of_sentences(name, tagged, answers, measure, found)
    for name in logits.votes or {}:
        for place, pooled in document_logits(name, len(tagged), answers):
            if name in tagged[place].labels:
                found[place].layers[name] = float(uncertainty(pooled[None], measure)[0])
    return found


def _of_tokens(
    name: str,
    tagged: Sequence[Document],
    windows: Sequence[Window],
    answers: Sequence[Answer],
    measure: Measure,
    found: list[Uncertainty],
) -> None:
    for owners, logits, offsets in token_logits(name, windows, answers):
        if not offsets:
            continue
        values = uncertainty(logits.numpy().astype(np.float64), measure)
        document = tagged[owners[0]]
        doubts = _worst(_names(name, document.text, document.spans(name), values, offsets))
        for owner in owners:
            found[owner].layers[name] = float(values.mean())
            found[owner].doubts[name] = doubts


def _names(name: str, text: str, spans: Sequence[Span], values: Floats, offsets: Offsets) -> Iterable[Doubt]:
    """Every predicted span with its most uncertain token, and so every word outside of spans."""
    place = 0
    words: dict[tuple[int, int], Doubt] = {}
    for (start, end), value in zip(offsets, values.tolist(), strict=True):
        while place < len(spans) and spans[place].end <= start:
            place += 1
        inside = place < len(spans) and spans[place].start <= start
        left, right = (spans[place].start, spans[place].end) if inside else _word(text, start, end)
        known = words.get((left, right))
        if known is None or value > known.uncertainty:
            words[left, right] = Doubt(name, left, right, spans[place].label if inside else None, value)
    return words.values()


def _word(text: str, start: int, end: int) -> tuple[int, int]:
    """The word that a token is a piece of, at most 40 characters on either side."""
    if not text[start:end].isalnum():
        return start, end
    first, last = start, end
    while first > max(0, start - 40) and text[first - 1].isalnum():
        first -= 1
    while last < min(len(text), end + 40) and text[last].isalnum():
        last += 1
    return first, last


def _of_sentences(
    name: str, tagged: Sequence[Document], answers: Sequence[Answer], measure: Measure, found: list[Uncertainty]
) -> None:
    rows: dict[int, list[Floats]] = {}
    for place, _, logits in sentence_logits(name, answers):
        if name in tagged[place].labels:
            rows.setdefault(place, []).append(logits)
    for place, own in rows.items():
        values = uncertainty(np.stack(own), measure)
        # `decode` made one span of each sentence, in the same order.
        units = zip(tagged[place].spans(name), values.tolist(), strict=True)
        found[place].layers[name] = float(values.mean())
        found[place].doubts[name] = _worst(Doubt(name, u.start, u.end, u.label, value) for u, value in units)


def _worst(doubts: Iterable[Doubt]) -> list[Doubt]:
    return sorted(doubts, key=lambda doubt: (-doubt.uncertainty, doubt.start))[:SHOWN]
