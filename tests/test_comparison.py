"""compare(): exact spans, sentences and document labels, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from annotations.comparison import Counts, compare, compare_spans, paired_labels
from annotations.document import Document, Label, Labels, Span
from annotations.errors import DocumentError
from annotations.schema import Schema

SCHEMA = Schema.build(
    {
        "layers": {
            "entity": {"kind": "spans", "labels": {"PER": {}, "LOC": {}}},
            "stance": {"kind": "sentences", "targeted": True, "labels": {"pro": {}, "con": {}, "none": {}}},
            "whole": {"kind": "document", "labels": {"pro": {}, "con": {}}},
        }
    },
    where="test",
)
TEXT = "Ada left Rome. It rained hard. Nobody minded it."


def document(identity: str = "a", text: str = TEXT, target: str | None = "it rains", **labels: Labels) -> Document:
    return Document(id=identity, text=text, target=target, labels=labels)


def spans(*items: tuple[int, int, str]) -> tuple[Span, ...]:
    return tuple(Span(start=start, end=end, label=label) for start, end, label in items)


counts = st.builds(Counts, *[st.integers(0, 50)] * 3)


@given(st.lists(counts))
def test_counts_add_up_and_are_never_nan(items: list[Counts]) -> None:
    total = sum(items, Counts())
    assert (total.tp, total.support) == (sum(c.tp for c in items), sum(c.tp + c.fn for c in items))
    for value in (total.precision, total.recall, total.f1):
        assert 0.0 <= value <= 1.0


def test_counts_score() -> None:
    one = Counts(tp=2, fp=1, fn=2)
    assert (one.precision, one.recall, one.support) == (2 / 3, 1 / 2, 4)
    assert one.f1 == pytest.approx(2 * (2 / 3) * (1 / 2) / (2 / 3 + 1 / 2))
    assert (Counts().precision, Counts().recall, Counts().f1) == (0.0, 0.0, 0.0)
    with pytest.raises(AttributeError):
        one.tp = 3  # type: ignore[misc]


def test_a_span_is_right_only_where_both_ends_and_the_label_are() -> None:
    gold = document(entity=spans((0, 3, "PER"), (9, 13, "LOC"), (18, 24, "LOC")))
    predicted = document(entity=spans((0, 3, "LOC"), (9, 13, "LOC"), (18, 25, "LOC")))
    assert compare_spans(gold, predicted, "entity") == {"PER": Counts(fn=1), "LOC": Counts(tp=1, fp=2, fn=1)}


def test_sentences_are_the_units_and_those_unlabelled_in_gold_are_left_out() -> None:
    gold = document(stance=spans((0, 14, "pro"), (15, 30, "con")))
    predicted = document(stance=spans((2, 14, "pro"), (31, 48, "con")))
    assert paired_labels(gold, predicted, "stance", SCHEMA.layers["stance"]) == [("pro", "pro"), ("con", None)]


def test_document_labels() -> None:
    layer = SCHEMA.layers["whole"]
    gold, other = document(whole=Label(label="pro")), document(whole=Label(label="con", score=0.7))
    assert paired_labels(gold, other, "whole", layer) == [("pro", "con")]
    assert paired_labels(gold, document(), "whole", layer) == [("pro", None)]
    assert paired_labels(document(), gold, "whole", layer) == []


def test_only_documents_whose_gold_annotates_the_layer_count() -> None:
    gold = [document("a"), document("b", entity=()), document("c", entity=spans((0, 3, "PER")))]
    predicted = [document(name, entity=spans((9, 13, "LOC"))) for name in ("c", "b", "a")]
    layer = compare(gold, predicted, SCHEMA).layers["entity"]
    assert layer.documents == 2
    assert dict(layer.counts) == {"PER": Counts(fn=1), "LOC": Counts(fp=2)}
    assert layer.micro == Counts(fp=2, fn=1)


def test_a_missing_prediction_is_an_empty_one() -> None:
    gold = document(entity=spans((0, 3, "PER")), stance=spans((0, 14, "pro")), whole=Label(label="con"))
    layers = compare([gold], [document()], SCHEMA).layers
    assert layers["entity"].micro == layers["stance"].micro == layers["whole"].micro == Counts(fn=1)
    assert layers["stance"].pairs == [("pro", None)]
    assert layers["whole"].accuracy == 0.0


def test_macro_f1_averages_the_labels_that_occur() -> None:
    gold = document(stance=spans((0, 14, "pro"), (15, 30, "pro"), (31, 48, "con")))
    predicted = document(stance=spans((0, 14, "pro"), (15, 30, "con"), (31, 48, "con")))
    layer = compare([gold], [predicted], SCHEMA).layers["stance"]
    assert layer.macro_f1 == pytest.approx(2 / 3)
    assert layer.accuracy == pytest.approx(2 / 3)


def test_nothing_annotated_scores_zero() -> None:
    for layer in compare([document()], [document()], SCHEMA).layers.values():
        assert (layer.documents, layer.macro_f1, layer.accuracy, layer.micro) == (0, 0.0, 0.0, Counts())


def test_every_mismatch_is_told_at_once() -> None:
    gold = [document("a"), document("b"), document("c"), document("d"), document("d")]
    predicted = [document("a", text="Other."), document("c", target="x"), document("e"), document("d")]
    predicted[3] = document("d", entity=spans((0, 3, "PERS")))
    with pytest.raises(DocumentError) as caught:
        compare(gold, predicted, SCHEMA)
    told = "\n".join(caught.value.problems)
    assert len(caught.value.problems) == 6
    expected = ["'a' has different texts", "'b' is only on the gold", "'c' has targets", "'d' is twice"]
    for part in [*expected, "'e' is only on the predicted", "did you mean 'PER'?"]:
        assert part in told


def test_layers_outside_the_schema_are_not_compared() -> None:
    values: Any = {"layers": {"entity": {"kind": "spans", "labels": {"PER": {}, "LOC": {}}}}}
    small = Schema.build(values, where="test")
    gold = document(entity=spans((0, 3, "PER")), whole=Label(label="pro"))
    assert list(compare([gold], [gold], small).layers) == ["entity"]
