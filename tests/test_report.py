"""Reports: seqeval's counts equal exact character spans, and no data makes them crash, warn or say nan."""

from __future__ import annotations

import json
import sys
from subprocess import run
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from seqeval.metrics import classification_report
from sklearn.metrics import accuracy_score, f1_score

from annotations.comparison import compare, compare_spans
from annotations.document import Document, Label, Labels, Span
from annotations.errors import DocumentError
from annotations.schema import Schema
from training.reports.report import build_report
from training.reports.scores import NO_ENTITIES, seqeval_table, tag_sequences

NAMES = ["PER", "LOC", "A-B", "-x", "x", "micro avg", "_"]
SCHEMA = Schema.build(
    {
        "layers": {
            "entity": {"kind": "spans", "labels": {name: {} for name in NAMES}},
            "stance": {"kind": "sentences", "labels": {"pro": {}, "con": {}, "macro avg": {}}},
            "whole": {"kind": "document", "labels": {"pro": {}, "con": {}}},
        }
    },
    where="test",
)
TEXT = "Ada left Rome. It rained hard. Nobody minded it."


def document(identity: str = "a", text: str = TEXT, **labels: Labels) -> Document:
    return Document(id=identity, text=text, labels=labels)


def spans(*items: tuple[int, int, str]) -> tuple[Span, ...]:
    return tuple(Span(start=start, end=end, label=label) for start, end, label in items)


@st.composite
def flat_spans(draw: st.DrawFn, length: int = 12) -> tuple[Span, ...]:
    cuts = sorted(draw(st.sets(st.integers(0, length), max_size=8)))
    labels = draw(st.lists(st.sampled_from([None, *NAMES]), min_size=len(cuts), max_size=len(cuts)))
    pieces = zip(cuts, cuts[1:], labels, strict=False)
    return tuple(Span(start=start, end=end, label=label) for start, end, label in pieces if label)


@settings(deadline=None, max_examples=150)
@given(st.lists(st.tuples(flat_spans(), flat_spans()), max_size=3))
def test_seqeval_strict_is_exact_character_spans(sides: list[tuple[tuple[Span, ...], tuple[Span, ...]]]) -> None:
    gold = [document(str(i), "abcdefghijkl", entity=one) for i, (one, _) in enumerate(sides)]
    predicted = [document(str(i), "abcdefghijkl", entity=other) for i, (_, other) in enumerate(sides)]
    counted = compare(gold, predicted, SCHEMA).layers["entity"]
    report = build_report(gold, predicted, SCHEMA).to_dict()["layers"]["entity"]
    occurring = {name: counts for name, counts in counted.counts.items() if counts.total}
    rows = {"micro avg": counted.micro} if occurring else {}
    for name, counts in [*rows.items(), *((_row(name), counts) for name, counts in occurring.items())]:
        row = report["strict"][name]
        assert row["support"] == counts.support
        assert row["precision"] == pytest.approx(counts.precision)
        assert row["recall"] == pytest.approx(counts.recall)
        assert row["f1-score"] == pytest.approx(counts.f1)
    assert len(report["strict"]) == len(occurring) + 3 * bool(occurring)
    assert report["lenient"] == report["strict"]
    if occurring:
        assert report["strict"]["macro avg"]["f1-score"] == pytest.approx(counted.macro_f1)


def _row(label: str) -> str:
    return f"“{label}”" if label in ("-x", "micro avg", "_") else label


def test_adjacent_spans_of_one_label_stay_two() -> None:
    gold, predicted = document(entity=spans((0, 3, "PER"), (3, 8, "PER"))), document(entity=spans((0, 8, "PER")))
    assert tag_sequences([(gold, predicted)], "entity") == (
        [["B-PER", "B-PER", "O"]],
        [["B-PER", "I-PER", "O"]],
    )
    assert build_report([gold], [predicted], SCHEMA).layers["entity"].table.rows["micro avg"]["f1-score"] == 0.0
    assert compare_spans(gold, predicted, "entity")["PER"].tp == 0


def test_strict_and_lenient_are_seqevals_own_modes() -> None:
    # Only a broken sequence tells the modes apart: lenient takes a stray I- for a beginning.
    gold, broken = [["B-PER", "I-PER", "O"]], [["I-PER", "I-PER", "O"]]
    assert seqeval_table(gold, broken, strict=True).rows["micro avg"]["f1-score"] == 0.0
    lenient = seqeval_table(gold, broken, strict=False)
    assert lenient.rows["micro avg"]["f1-score"] == 1.0
    assert lenient.text == classification_report(gold, broken, digits=4)


def test_choices_are_scored_as_scikit_learn_does() -> None:
    gold = document(stance=spans((0, 14, "pro"), (15, 30, "pro"), (31, 48, "con")))
    predicted = document(stance=spans((0, 14, "pro"), (15, 30, "con")))
    report = build_report([gold], [predicted], SCHEMA).to_dict()["layers"]["stance"]
    truth, answer = ["pro", "pro", "con"], ["pro", "con", "missing"]
    wanted = f1_score(truth, answer, labels=["pro", "con"], average="macro", zero_division=0)
    assert report["macro_f1"] == pytest.approx(wanted) == report["report"]["macro avg"]["f1-score"]
    assert report["accuracy"] == pytest.approx(accuracy_score(truth, answer))
    assert list(report["report"])[:2] == ["pro", "con"]
    assert report["majority"] == {"label": "pro", "accuracy": pytest.approx(2 / 3), "macro_f1": pytest.approx(0.4)}


def everything(report: Any) -> str:
    json.dumps(report.to_dict(), allow_nan=False)
    text = f"{report.text()}\n{report.markdown()}"
    assert "nan" not in text
    return text


def test_no_entities_is_a_plain_line() -> None:
    empty = document(entity=(), stance=())
    report = build_report([empty], [empty], SCHEMA)
    assert everything(report).count(NO_ENTITIES) == 2
    assert report.to_dict()["layers"]["entity"]["strict"] == {}


@pytest.mark.parametrize("text", ["", TEXT])
def test_nothing_at_all(text: str) -> None:
    everything(build_report([], [], SCHEMA))
    everything(build_report([document(text=text)], [document(text=text)], SCHEMA))


@pytest.mark.parametrize("predicted", ["pro", "con", "macro avg", None])
def test_single_class_data(predicted: str | None) -> None:
    answer = spans((0, 14, predicted)) if predicted else ()
    whole: dict[str, Labels] = {"whole": Label(label="pro")} if predicted else {}
    gold = document(stance=spans((0, 14, "pro")), whole=Label(label="pro"), entity=spans((0, 3, "PER")))
    report = build_report([gold], [document().with_labels({"stance": answer, **whole})], SCHEMA)
    everything(report)
    assert report.to_dict()["layers"]["stance"]["accuracy"] == float(predicted == "pro")


def test_only_one_side_has_entities() -> None:
    some, none = document(entity=spans((0, 3, "PER"))), document(entity=())
    for gold, predicted in ((some, none), (none, some)):
        everything(build_report([gold], [predicted], SCHEMA))


def test_text_and_markdown_show_the_libraries_tables() -> None:
    gold = document(entity=spans((0, 3, "PER")), stance=spans((0, 14, "pro"), (15, 30, "con")))
    report = build_report([gold], [gold], SCHEMA, lost={"entity": ["a: PER 0–3 is cut by a token"], "stance": 4})
    text, markdown = report.text(), report.markdown()
    for part in [
        "strict IOB2",
        "lenient",
        "weighted avg",
        "always 'pro'",
        "targets: 1",
        "is cut by",
        "targets: 4",
    ]:
        assert part in text
    assert "| PER | 1.0000 | 1.0000 | 1.0000 | 1 |" in markdown
    assert report.to_dict()["layers"]["entity"]["not_represented"] == {
        "count": 1,
        "what": ["a: PER 0–3 is cut by a token"],
    }


def test_other_documents_are_refused() -> None:
    with pytest.raises(DocumentError, match="different texts"):
        build_report([document()], [document(text="Other.")], SCHEMA)


def test_importing_the_report_loads_neither_library() -> None:
    code = "import sys, training.reports.report; print({'seqeval', 'sklearn', 'torch'} & set(sys.modules))"
    assert run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "set()"
