"""One temperature a layer, fitted so that probabilities fit, and what it does to documents it was not fitted on.

It knows a tagger's logits and gold. It changes no checkpoint but a copy that it makes.

Chuan Guo, Geoff Pleiss, Yu Sun and Kilian Weinberger. 2017. On Calibration of Modern Neural Networks. ICML. A span's
probability is the mean over its tokens, so what is fitted for spans is the log loss of "this predicted span is right".
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from annotations.document import Document, Label
from annotations.resampling import Floats
from annotations.schema import Kind, Layer
from annotations.sentences import sentence_labels
from inference.decoding import Answer, document_logits, sentence_logits, token_logits
from inference.windows import Window
from training.folds import dealt
from training.reports.calibration import Reliability, reliability
from training.reports.estimates import Ints
from training.reports.items import Bools

FOLDS = 5
COLDEST, HOTTEST = 0.05, 20.0
NEAR = 1.05
"""The search ends a little before a bound that it runs into."""
TINY = 1e-12


@dataclass
class Evidence:
    """The logits behind the predictions of one layer that gold can judge. A span has a row for each token, others have one."""

    temperature: float = 1.0
    """What the tagger divides them by already."""
    rows: list[Floats] = field(default_factory=list)
    """Shape of each: (classes,)."""
    chosen: list[int] = field(default_factory=list)
    """The class whose probability is given, for each row."""
    gold: list[int] = field(default_factory=list)
    """The right class for each row of a sentence or document; unused for spans."""
    owner: list[int] = field(default_factory=list)
    """The prediction that each row belongs to."""
    correct: list[bool] = field(default_factory=list)
    """For each prediction."""
    fold: list[str] = field(default_factory=list)
    """The group of documents of each prediction."""


def gather(
    evidence: Mapping[str, Evidence],
    layers: Mapping[str, Layer],
    gold: Sequence[Document],
    tagged: Sequence[Document],
    windows: Sequence[Window],
    answers: Sequence[Answer],
) -> None:
    """Add what a tagger says of some documents; `tagged` is what `decode` made of the answers, in the order of gold."""
    for name, layer in layers.items():
        if layer.kind is Kind.SPANS:
            _gather_spans(evidence[name], name, layer, gold, tagged, windows, answers)
            continue
        for place, right, logits in _choices(name, layer, gold, tagged, answers):
            _add(evidence[name], [logits], [int(logits.argmax())], right, gold[place].fold)


def _gather_spans(
    evidence: Evidence,
    name: str,
    layer: Layer,
    gold: Sequence[Document],
    tagged: Sequence[Document],
    windows: Sequence[Window],
    answers: Sequence[Answer],
) -> None:
    tags = {label: 1 + 2 * number for number, label in enumerate(layer.names)}
    for owners, logits, offsets in token_logits(name, windows, answers):
        starts, ends = [start for start, _ in offsets], [end for _, end in offsets]
        values = logits.numpy().astype(np.float64)
        for owner in (owner for owner in owners if name in gold[owner].labels):
            wanted = {(span.start, span.end, span.label) for span in gold[owner].spans(name)}
            for span in tagged[owner].spans(name):
                first, last = bisect_left(starts, span.start), bisect_right(ends, span.end)
                chosen = [tags[span.label], *[tags[span.label] + 1] * (last - first - 1)]
                right = (span.start, span.end, span.label) in wanted
                _add(evidence, [*values[first:last]], chosen, right, gold[owner].fold)


def _choices(
    name: str, layer: Layer, gold: Sequence[Document], tagged: Sequence[Document], answers: Sequence[Answer]
) -> Iterator[tuple[int, int, Floats]]:
    """Document, right class and logits of every sentence or document that both sides label."""
    if layer.kind is Kind.DOCUMENT:
        for place, logits in document_logits(name, len(gold), answers):
            found = gold[place].labels.get(name)
            if isinstance(found, Label) and name in tagged[place].labels:
                yield place, layer.names.index(found.label), logits
        return
    labels = {place: sentence_labels(one, name) for place, one in enumerate(gold) if name in one.labels}
    for place, sentence, logits in sentence_logits(name, answers):
        label = labels[place][sentence] if place in labels and name in tagged[place].labels else None
        if label is not None:
            yield place, layer.names.index(label), logits


def _add(evidence: Evidence, rows: list[Floats], chosen: list[int], right: int | bool, fold: str) -> None:
    """`right` is the right class, or, of a span, whether it is right."""
    number = len(evidence.correct)
    evidence.rows += rows
    evidence.chosen += chosen
    evidence.owner += [number] * len(rows)
    if isinstance(right, bool):
        evidence.correct.append(right)
    else:
        evidence.gold.append(right)
        evidence.correct.append(chosen == [right])
    evidence.fold.append(fold)


@dataclass(frozen=True)
class Fit:
    """The temperature of one layer, fitted on all documents, and its effect on groups that it was not fitted on."""

    value: float
    by_fold: tuple[float, ...]
    """Those that were fitted without each fold in turn; empty where there are fewer than two groups."""
    before: Reliability
    after: Reliability
    """With the temperature that was fitted without a document's fold; with `value` where there are fewer than two groups."""
    nll_before: float
    """Mean log loss."""
    nll_after: float
    wrong: int
    """Predictions that are wrong."""

    @property
    def determined(self) -> bool:
        """Whether the documents tell a temperature at all."""
        return self.wrong > 0 and COLDEST * NEAR < self.value < HOTTEST / NEAR

    @property
    def problem(self) -> str | None:
        """Why the temperature is not to be used; None where it may be."""
        if not self.wrong:
            return "no prediction is wrong, so any lower temperature fits better than the last"
        if not self.determined:
            return f"the fit runs into a bound of its search ({COLDEST:g} to {HOTTEST:g})"
        if self.by_fold and self.nll_after >= self.nll_before:
            return (
                f"on documents that it was not fitted on the log loss does not fall ({self.nll_before:.3f} before, "
                f"{self.nll_after:.3f} after)"
            )
        return None

    def conclusion(self) -> str:
        """What it does to the log loss, which it is fitted to, and to the ECE, in a sentence."""
        if not self.determined:
            return f"no temperature can be determined: the fit runs to {self.value:.2f}"
        loss = _change("log loss", self.nll_before, self.nll_after)
        ece = _change("ECE", self.before.ece.value, self.after.ece.value)
        how = (
            f"cross-fitted over {len(self.by_fold)} folds of groups"
            if self.by_fold
            else "on the documents it was fitted on"
        )
        return f"temperature {self.value:.2f} {loss} and {ece} ({how})"

    def to_dict(self, written: str | None) -> dict[str, Any]:
        """Plain values."""
        return {
            "value": self.value,
            "items": self.before.items,
            "folds": len(self.by_fold),
            "by_fold": [*self.by_fold],
            "ece_before": self.before.ece.to_dict(),
            "ece_after": self.after.ece.to_dict(),
            "nll_before": self.nll_before,
            "nll_after": self.nll_after,
            "bins": [each.to_dict() for each in self.after.bins],
            "written": written,
            "conclusion": self.conclusion(),
            "problem": self.problem,
        }


def _change(what: str, before: float, after: float) -> str:
    word = "lowers" if after < before else "raises" if after > before else "leaves"
    return f"{word} the {what} from {before:.3f} to {after:.3f}"


@dataclass(frozen=True)
class _Arrays:
    """Evidence as arrays; rows of one prediction are neighbours."""

    logits: Floats
    chosen: Ints
    gold: Ints
    owner: Ints
    correct: Bools

    def only(self, kept: Bools) -> _Arrays:
        """The predictions of a mask. Shape: kept (predictions,)."""
        rows = kept[self.owner]
        renumbered = np.cumsum(kept) - 1
        gold = self.gold[rows] if len(self.gold) else self.gold
        return _Arrays(self.logits[rows], self.chosen[rows], gold, renumbered[self.owner[rows]], self.correct[kept])

    def likely(self, temperature: float) -> Floats:
        """Shape: (rows, classes)."""
        scaled = self.logits / temperature
        shifted = np.exp(scaled - scaled.max(axis=1, keepdims=True))
        found: Floats = shifted / shifted.sum(axis=1, keepdims=True)
        return found

    def scores(self, temperature: float) -> Floats:
        """The probability of each prediction. Shape: (predictions,)."""
        own = self.likely(temperature)[np.arange(len(self.chosen)), self.chosen]
        sizes = np.bincount(self.owner, minlength=len(self.correct))
        found: Floats = np.bincount(self.owner, own, minlength=len(self.correct)) / np.maximum(sizes, 1)
        return np.clip(found, 0.0, 1.0)

    def loss(self, temperature: float) -> float:
        """Mean log loss of the right class; of spans, of being right."""
        if len(self.gold):
            right = self.likely(temperature)[np.arange(len(self.gold)), self.gold]
        else:
            score = self.scores(temperature)
            right = np.where(self.correct, score, 1 - score)
        return float(-np.log(np.maximum(right, TINY)).mean())


def fit(evidence: Evidence, documents: Sequence[Document], resamples: int) -> Fit | None:
    """The temperature of a layer and its effect; None where nothing is predicted that gold can judge.

    Groups of documents are dealt to at most five folds; each fold is rescaled by the temperature fitted on the others.
    """
    if not evidence.correct:
        return None
    arrays = _Arrays(
        np.stack(evidence.rows),
        np.asarray(evidence.chosen, dtype=np.int64),
        np.asarray(evidence.gold, dtype=np.int64),
        np.asarray(evidence.owner, dtype=np.int64),
        np.asarray(evidence.correct, dtype=np.bool_),
    )
    names = sorted(set(evidence.fold))
    numbers = {name: number for number, name in enumerate(names)}
    groups = np.asarray([numbers[fold] for fold in evidence.fold], dtype=np.int64)
    value, now = best_temperature(arrays), evidence.temperature
    folds = _dealt(evidence, documents, len(names))
    by_fold, after, loss = _crossed(arrays, folds, value)
    before, then = (
        reliability(score, arrays.correct, groups, len(names), resamples) for score in (arrays.scores(now), after)
    )
    return Fit(value, by_fold, before, then, arrays.loss(now), loss, int((~arrays.correct).sum()))


def _dealt(evidence: Evidence, documents: Sequence[Document], groups: int) -> list[str]:
    """The fold of each prediction; none where there are fewer than two groups."""
    if groups < 2:
        return []
    known = set(evidence.fold)
    owners = dealt([document for document in documents if document.fold in known], min(FOLDS, groups))
    return [owners[fold] for fold in evidence.fold]


def _crossed(arrays: _Arrays, folds: Sequence[str], value: float) -> tuple[tuple[float, ...], Floats, float]:
    """Temperatures by fold, the rescaled probability of each prediction, and the mean log loss."""
    if not folds:
        return (), arrays.scores(value), arrays.loss(value)
    own = np.asarray(folds)
    after, loss, fitted = np.zeros(len(own)), 0.0, []
    for name in dict.fromkeys(folds):
        held = own == name
        fitted.append(best_temperature(arrays.only(~held)))
        part = arrays.only(held)
        after[held] = part.scores(fitted[-1])
        loss += part.loss(fitted[-1]) * float(held.mean())
    return tuple(fitted), after, loss


def best_temperature(arrays: _Arrays) -> float:
    """The temperature of the lowest log loss, between 0.05 and 20."""
    from scipy.optimize import minimize_scalar

    bounds = (float(np.log(COLDEST)), float(np.log(HOTTEST)))
    found = minimize_scalar(lambda power: arrays.loss(float(np.exp(power))), bounds=bounds, method="bounded")
    return float(np.exp(found.x))
