"""Kinds of errors: one to one, and as many as nervaluate finds where it is right. Counts: those of seqeval and of the house."""

from __future__ import annotations

import os
import random
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from nervaluate import Evaluator
from seqeval.metrics import classification_report
from seqeval.scheme import IOB2, Entities

from annotations.comparison import compare
from annotations.document import Document, Span
from annotations.formats.chunks import chunks, iob2
from annotations.schema import Schema
from training.formats.conversion import Reading
from training.formats.names import Format
from training.reports.items import Pair, layer_items
from training.reports.layer_scores import NO_LABEL, confusion, outcomes, score
from training.reports.report import build_report
from training.reports.span_errors import OUTCOMES, Match, Outcome, match_spans

DATA = os.environ.get("STANDPOINT_DATA")
LABELS = ("LOC", "MISC", "ORG", "PER")
SCHEMA = Schema.build({"layers": {"name": {"kind": "spans", "labels": {name: {} for name in LABELS}}}}, where="test")
WIDTH = 3
"""Characters of a token, the space behind it included."""

tags = st.sampled_from(["O", "O", *(f"{prefix}-{label}" for prefix in "BI" for label in LABELS)])
sides = st.lists(st.tuples(tags, tags), max_size=14).map(
    lambda rows: [[row[0] for row in rows], [row[1] for row in rows]]
)


def spans(stretches: Sequence[tuple[int, int, str]]) -> tuple[Span, ...]:
    """Stretches of tokens as spans of the text that `document` makes."""
    return tuple(Span(start=first * WIDTH, end=end * WIDTH - 1, label=label) for first, end, label in stretches)


def document(name: str, tokens: int, found: Sequence[tuple[int, int, str]]) -> Document:
    return Document(id=name, text="ab " * tokens, labels={"name": spans(found)})


def read(given: list[list[str]]) -> list[tuple[Span, ...]]:
    return [spans(chunks(side)) for side in given]


def counts(gold: Sequence[Span], predicted: Sequence[Span]) -> Counter[str]:
    return Counter(match.outcome for match in match_spans(gold, predicted))


def overlaps(one: Span, other: Span) -> bool:
    return one.start < other.end and other.start < one.end


@given(sides)
def test_every_span_is_in_one_match_and_every_pair_overlaps(given: list[list[str]]) -> None:
    gold, predicted = read(given)
    found = match_spans(gold, predicted)
    assert Counter(match.gold for match in found if match.gold) == Counter(gold)
    assert Counter(match.predicted for match in found if match.predicted) == Counter(predicted)
    for outcome, one, other in found:
        assert (one is None) == (outcome is Outcome.SPURIOUS)
        assert (other is None) == (outcome is Outcome.MISSED)
        if one and other:
            assert overlaps(one, other)
            placed = (one.start, one.end) == (other.start, other.end)
            alike = one.label == other.label
            assert outcome == OUTCOMES[[3, 1, 2, 0][2 * placed + alike]]


@given(sides)
def test_what_is_correct_is_what_the_house_counts_as_right(given: list[list[str]]) -> None:
    gold, predicted = (Document(id="a", text="ab " * 14, labels={"name": found}) for found in read(given))
    own = layer_items([[(gold, predicted)]], SCHEMA)["name"]
    whole = compare([gold], [predicted], SCHEMA).layers["name"]
    _, labels, kind = own.events()
    for place, (label, expected) in enumerate(whole.counts.items()):
        found = np.bincount(kind[labels == place], minlength=3).tolist()
        assert found == [expected.tp, expected.fp, expected.fn], label


@given(
    st.lists(st.tuples(tags, tags), max_size=7).map(lambda rows: [[row[0] for row in rows], [row[1] for row in rows]])
)
def test_no_other_matching_pairs_more(given: list[list[str]]) -> None:
    gold, predicted = read(given)
    pairs = [(m.gold, m.predicted) for m in match_spans(gold, predicted) if m.gold and m.predicted]
    best = (sum(a.label == b.label for a, b in pairs), len(pairs), sum(shared(a, b) for a, b in pairs))
    for tried in pairings(gold, predicted):
        worth = (sum(a.label == b.label for a, b in tried), len(tried), sum(shared(a, b) for a, b in tried))
        assert worth <= best


def pairings(gold: Sequence[Span], predicted: Sequence[Span]) -> Iterator[list[tuple[Span, Span]]]:
    """Every way to pair spans that overlap, each at most once."""
    if not gold:
        yield []
        return
    first, *rest = gold
    yield from pairings(rest, predicted)
    for place, other in enumerate(predicted):
        if overlaps(first, other):
            for more in pairings(rest, [*predicted[:place], *predicted[place + 1 :]]):
                yield [(first, other), *more]


def shared(one: Span, other: Span) -> int:
    return min(one.end, other.end) - max(one.start, other.start)


def test_several_overlaps_are_told_apart() -> None:
    whole = spans([(0, 6, "PER")])
    parts = spans([(0, 2, "ORG"), (2, 4, "PER"), (4, 6, "LOC")])
    assert counts(whole, parts) == {Outcome.BOUNDARY: 1, Outcome.SPURIOUS: 2}
    assert counts(parts, whole) == {Outcome.BOUNDARY: 1, Outcome.MISSED: 2}
    [boundary] = [match for match in match_spans(whole, parts) if match.outcome is Outcome.BOUNDARY]
    assert boundary == Match(Outcome.BOUNDARY, whole[0], parts[1])


def nervaluate(gold: Sequence[Sequence[Span]], predicted: Sequence[Sequence[Span]]) -> dict[str, Any]:
    """nervaluate's counts for each of its schemas. Its ends are inclusive, and it knows only the tags it is given."""

    def plain(side: Sequence[Sequence[Span]]) -> list[list[dict[str, Any]]]:
        return [[{"label": s.label, "start": s.start, "end": s.end - 1} for s in spans] for spans in side]

    found: dict[str, Any] = Evaluator(plain(gold), plain(predicted), tags=list(LABELS), loader="dict").evaluate()
    return found["overall"]


def agree(found: dict[str, Any], own: Counter[str]) -> None:
    """What nervaluate's four schemas make of our six kinds."""
    correct, boundary, kind, both, missed, spurious = (own[outcome] for outcome in OUTCOMES)
    assert {(each.missed, each.spurious) for each in found.values()} == {(missed, spurious)}
    assert (found["strict"].correct, found["strict"].incorrect) == (correct, boundary + kind + both)
    assert (found["exact"].correct, found["exact"].incorrect) == (correct + kind, boundary + both)
    assert (found["partial"].correct, found["partial"].partial) == (correct + kind, boundary + both)
    assert (found["ent_type"].correct, found["ent_type"].incorrect) == (correct + boundary, kind + both)


@given(sides)
def test_kinds_agree_with_nervaluate_where_no_span_overlaps_two(given: list[list[str]]) -> None:
    gold, predicted = read(given)
    simple = all(
        sum(overlaps(span, other) for other in there) < 2
        for here, there in ((gold, predicted), (predicted, gold))
        for span in here
    )
    if simple:
        agree(nervaluate([gold], [predicted]), counts(gold, predicted))


def test_nervaluate_lets_the_order_of_predictions_decide() -> None:
    """Where it is not right: the first prediction takes a gold span from a later one that fits it better."""
    gold, predicted = spans([(0, 6, "PER")]), spans([(0, 2, "ORG"), (2, 6, "PER")])
    assert counts(gold, predicted) == {Outcome.BOUNDARY: 1, Outcome.SPURIOUS: 1}
    found = nervaluate([gold], [predicted])
    assert (found["ent_type"].correct, found["ent_type"].incorrect, found["ent_type"].spurious) == (0, 1, 1)


def rows_of(items_gold: list[Document], predicted: list[Document]) -> dict[str, tuple[float, ...]]:
    """Our rows as seqeval names them."""
    own = layer_items([[*zip(items_gold, predicted, strict=True)]], SCHEMA)["name"]
    overall, labels = score(own, SCHEMA.layers["name"].kind, 100)
    rows = {row.label: (row.precision.value, row.recall.value, row.f1.value, row.support) for row in labels}
    micro = (overall.precision.value, overall.recall.value, overall.f1.value, sum(row.support for row in labels))
    return {**rows, "micro avg": micro} if rows else {}


def seqeval_rows(gold: list[list[str]], predicted: list[list[str]], **mode: Any) -> dict[str, tuple[float, ...]]:
    if all(tag == "O" for side in (*gold, *predicted) for tag in side):
        return {}
    found = classification_report(gold, predicted, output_dict=True, zero_division=0, **mode)
    names = ("precision", "recall", "f1-score", "support")
    kept = {name: row for name, row in found.items() if name in (*LABELS, "micro avg")}
    return {name: tuple(float(row[key]) for key in names) for name, row in kept.items()}


@given(st.lists(sides, min_size=1, max_size=4))
def test_counts_are_seqevals_default_on_any_tags(given: list[list[list[str]]]) -> None:
    """Tags of any kind, I- without B- among them, as conlleval reads them."""
    both = [[document(str(n), len(s[side]), chunks(s[side])) for n, s in enumerate(given)] for side in (0, 1)]
    raw = [[s[side] for s in given] for side in (0, 1)]
    expected = seqeval_rows(*raw)
    assert rows_of(*both) == {name: pytest.approx(row) for name, row in expected.items()}


@given(st.lists(sides, min_size=1, max_size=4))
def test_counts_are_seqevals_strict_on_any_tags(given: list[list[list[str]]]) -> None:
    """The same tags as seqeval's strict mode reads them: what begins without B- is nothing."""
    raw = [[s[side] for s in given] for side in (0, 1)]
    both = []
    for side in raw:
        read = [[(e.start, e.end, e.tag) for e in found] for found in Entities(side, IOB2).entities]
        both.append([document(str(n), len(s), found) for n, (s, found) in enumerate(zip(side, read, strict=True))])
    if any(document.labels["name"] for side in both for document in side):
        expected = seqeval_rows(*raw, mode="strict", scheme=IOB2)
        assert rows_of(*both) == {name: pytest.approx(row) for name, row in expected.items()}


def perturbed(gold: Sequence[Document], seed: int = 0) -> list[Document]:
    """Predictions with errors of every kind: edges moved, labels changed, names lost, names invented."""
    draw = random.Random(seed)
    found = []
    for one in gold:
        kept: list[Span] = []
        for span in one.spans("name"):
            luck, label = draw.random(), span.label
            end = min(len(one.text), span.end + (draw.choice((-1, 1, 3)) if luck < 0.2 else 0))
            if 0.1 < luck < 0.3:
                label = draw.choice(LABELS)
            if luck > 0.9 or end <= span.start:
                continue
            if kept and kept[-1].end > span.start:
                kept[-1] = kept[-1].model_copy(update={"end": span.start - 1})
            kept.append(Span(start=span.start, end=end, label=label, score=round(draw.random(), 3)))
        for word in re.finditer(r"\b\w+", one.text):
            invented = Span(start=word.start(), end=word.end(), label=draw.choice(LABELS), score=0.5)
            if draw.random() < 0.01 and not any(overlaps(invented, span) for span in (*kept, *one.spans("name"))):
                kept.append(invented)
        found.append(one.with_labels({"name": tuple(sorted(kept, key=lambda span: span.start))}))
    return found


@pytest.fixture(scope="module")
def testb() -> list[Document]:
    if not DATA:
        pytest.skip("STANDPOINT_DATA names no folder with the public sets")
    return list(Reading("name").read(Path(DATA) / "ner" / "conll2003" / "eng.testb", Format.CONLL))


def words(pairs: Sequence[Pair]) -> tuple[list[list[str]], list[list[str]]]:
    """Tags of words and signs, as people make them who split the text first; every span's edges are words' edges."""
    found: tuple[list[list[str]], list[list[str]]] = ([], [])
    for gold, predicted in pairs:
        edges = {edge for one in (gold, predicted) for span in one.spans("name") for edge in (span.start, span.end)}
        spaces = {place for place, letter in enumerate(gold.text) if letter == " "}
        starts = sorted({0, *edges, *spaces})
        for side, one in zip(found, (gold, predicted), strict=True):
            numbers = {start: number for number, start in enumerate(starts)}
            ends = {**numbers, len(gold.text): len(starts)}
            side.append(iob2(len(starts), [(numbers[s.start], ends[s.end], s.label) for s in one.spans("name")]))  # type: ignore[misc]
    return found


def test_counts_are_seqevals_on_conll_and_the_text_is_seqevals_own(testb: list[Document]) -> None:
    predicted = perturbed(testb)
    raw = words([*zip(testb, predicted, strict=True)])
    own = rows_of(testb, predicted)
    assert len(own) == 5
    assert own["micro avg"][3] == 5648
    report = build_report(testb, predicted, SCHEMA)
    for mode in ({}, {"mode": "strict", "scheme": IOB2}):
        expected = seqeval_rows(*raw, **mode)
        assert own == {name: pytest.approx(row) for name, row in expected.items()}
        assert classification_report(*raw, digits=4, zero_division=0, **mode) in report.text()
    counted = compare(testb, predicted, SCHEMA).layers["name"]
    assert own["micro avg"][2] == pytest.approx(counted.micro.f1)


def test_kinds_agree_with_nervaluate_on_conll(testb: list[Document]) -> None:
    """On the articles in which no span overlaps two of the other side; elsewhere nervaluate goes by order."""
    pairs = [(one.spans("name"), other.spans("name")) for one, other in zip(testb, perturbed(testb), strict=True)]
    simple = [
        (one, other)
        for one, other in pairs
        if all(sum(overlaps(a, b) for b in other) < 2 for a in one)
        and all(sum(overlaps(a, b) for a in one) < 2 for b in other)
    ]
    assert len(simple) > len(pairs) // 2
    own = sum((counts(*pair) for pair in simple), Counter[str]())
    assert all(own[outcome] > 20 for outcome in OUTCOMES)
    agree(nervaluate(*zip(*simple, strict=True)), own)


def test_outcomes_and_confusion_add_up() -> None:
    gold = [document("a", 9, [(0, 2, "PER"), (3, 4, "LOC"), (5, 7, "ORG")])]
    predicted = [document("a", 9, [(0, 2, "PER"), (3, 4, "ORG"), (5, 6, "ORG"), (8, 9, "MISC")])]
    items = layer_items([[(gold[0], predicted[0])]], SCHEMA)["name"]
    found = dict(zip(LABELS, outcomes(items).tolist(), strict=True))
    assert found == {
        "LOC": [0, 0, 1, 0, 0, 0],
        "MISC": [0, 0, 0, 0, 0, 1],
        "ORG": [0, 1, 0, 0, 0, 0],
        "PER": [1, 0, 0, 0, 0, 0],
    }
    names, table = confusion(items)
    assert names == [*LABELS, NO_LABEL]
    assert table.tolist() == [[0, 0, 1, 0, 0], [0] * 5, [0, 0, 1, 0, 0], [0, 0, 0, 1, 0], [0, 1, 0, 0, 0]]
