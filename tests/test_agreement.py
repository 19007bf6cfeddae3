"""agreement(): symmetric span F1, Cohen's kappa, and the list of disagreements."""

from __future__ import annotations

import json
import warnings

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import cohen_kappa_score

from annotations.agreement import agreement, cohen_kappa
from annotations.comparison import Counts
from annotations.document import Document, Label, Labels, Span
from annotations.errors import DocumentError
from annotations.schema import Schema

SCHEMA = Schema.build(
    {
        "layers": {
            "entity": {"kind": "spans", "labels": {"PER": {}, "LOC": {}}},
            "stance": {"kind": "sentences", "labels": {"pro": {}, "con": {}}},
            "whole": {"kind": "document", "labels": {"pro": {}, "con": {}}},
        }
    },
    where="test",
)
TEXT = "Ada left Rome. It rained hard. Nobody minded it."


def document(identity: str = "a", **labels: Labels) -> Document:
    return Document(id=identity, text=TEXT, labels=labels)


def spans(*items: tuple[int, int, str]) -> tuple[Span, ...]:
    return tuple(Span(start=start, end=end, label=label) for start, end, label in items)


def test_kappa_of_the_textbook_table() -> None:
    # 20 yes/yes, 5 yes/no, 10 no/yes, 15 no/no: observed 0.7, expected 0.5.
    pairs = [("y", "y")] * 20 + [("y", "n")] * 5 + [("n", "y")] * 10 + [("n", "n")] * 15
    assert cohen_kappa([*pairs]) == pytest.approx(0.4)


def test_kappa_at_its_edges() -> None:
    assert cohen_kappa([]) is None
    assert cohen_kappa([("y", "y")] * 3) == 1.0
    assert cohen_kappa([("y", "n")] * 3) == 0.0
    assert cohen_kappa([("y", "n"), ("n", "y")]) == -1.0


@given(st.lists(st.tuples(*[st.sampled_from("abc")] * 2), min_size=1, max_size=30))
def test_kappa_is_scikit_learns_and_symmetric(pairs: list[tuple[str, str]]) -> None:
    mine = cohen_kappa([*pairs])
    assert mine is not None
    assert mine == cohen_kappa([(b, a) for a, b in pairs])
    if len({label for pair in pairs for label in pair}) > 1:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            assert mine == pytest.approx(cohen_kappa_score(*zip(*pairs, strict=True)))


def test_span_agreement_is_symmetric() -> None:
    first = [document(entity=spans((0, 3, "PER"), (9, 13, "LOC")))]
    second = [document(entity=spans((0, 3, "PER"), (9, 14, "LOC"), (31, 37, "PER")))]
    one, other = (agreement(*sides, SCHEMA).layers["entity"] for sides in ((first, second), (second, first)))
    assert one.counts["PER"] == Counts(tp=1, fp=1)
    assert other.counts["PER"] == Counts(tp=1, fn=1)
    assert one.micro.f1 == other.micro.f1 == pytest.approx(2 / 5)
    assert one.items == 4
    assert one.kappa is None


def test_sentences_that_one_side_left_unlabelled_are_disagreements_and_no_part_of_kappa() -> None:
    first = [document(stance=spans((0, 14, "pro"), (15, 30, "con")))]
    second = [document(stance=spans((0, 14, "pro"), (31, 48, "con")))]
    result = agreement(first, second, SCHEMA)
    layer = result.layers["stance"]
    assert (layer.items, layer.one_sided, layer.kappa) == (1, 2, 1.0)
    assert [(d.first is None, d.second is None) for d in result.disagreements] == [(False, True), (True, False)]


def test_a_layer_counts_only_where_both_annotated_it() -> None:
    first = [document("a", whole=Label(label="pro")), document("b", whole=Label(label="pro"))]
    second = [document("b", whole=Label(label="con")), document("a")]
    result = agreement(first, second, SCHEMA)
    assert (result.layers["whole"].documents, result.layers["whole"].items) == (1, 1)
    assert [d.document for d in result.disagreements] == ["b"]


def test_disagreements_show_both_sides_and_the_text_around() -> None:
    first = [document(entity=spans((0, 3, "PER"), (9, 13, "LOC")), whole=Label(label="pro"))]
    second = [document(entity=spans((9, 14, "LOC"), (31, 37, "PER")), whole=Label(label="con"))]
    rows = agreement(first, second, SCHEMA).disagreements
    assert [(row.first, row.second) for row in rows[:3]] == [
        (Span(start=0, end=3, label="PER"), None),
        (Span(start=9, end=13, label="LOC"), Span(start=9, end=14, label="LOC")),
        (None, Span(start=31, end=37, label="PER")),
    ]
    assert rows[1].context == "Ada left [Rome.] It rained hard. Nobody minded it."
    assert (rows[3].first, rows[3].second, rows[3].context) == (Label(label="pro"), Label(label="con"), TEXT)


def test_table_and_dict() -> None:
    first = [document(entity=spans((0, 3, "PER")), stance=spans((0, 14, "pro"), (15, 30, "con")))]
    second = [document(entity=spans((0, 3, "LOC")), stance=spans((0, 14, "pro"), (15, 30, "pro")))]
    result = agreement(first, second, SCHEMA)
    text = str(result)
    assert "Cohen's kappa 0.000" in text
    assert "2 disagreements" in text
    assert "PER 0–3 / LOC 0–3" in text
    plain = json.loads(json.dumps(result.to_dict(), allow_nan=False))
    assert plain["layers"]["entity"]["micro_f1"] == 0.0
    assert plain["layers"]["stance"]["kappa"] == 0.0
    assert plain["layers"]["whole"]["kappa"] is None
    assert plain["disagreements"][0]["first"] == {"label": "PER", "start": 0, "end": 3}


def test_perfect_agreement_lists_nothing() -> None:
    same = [document(entity=spans((0, 3, "PER")), stance=spans((0, 14, "pro")), whole=Label(label="pro"))]
    scored = [document(entity=(Span(start=0, end=3, label="PER", score=0.5),), stance=spans((1, 14, "pro")))]
    assert agreement(same, same, SCHEMA).disagreements == []
    assert agreement(same, scored, SCHEMA).disagreements == []


def test_different_documents_are_refused() -> None:
    with pytest.raises(DocumentError, match="only on the second side"):
        agreement([], [document()], SCHEMA)
