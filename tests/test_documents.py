"""Documents: immutable, strict, the same after a trip through JSON."""

from __future__ import annotations

import copy
import pickle
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from annotations.document import Document, Label, Labels, Span
from annotations.errors import DocumentError
from annotations.reading import with_targets

WORDS = st.text(max_size=40) | st.lists(
    st.sampled_from(["a", "😀", "שלום", "\r\n", "\r", "\u2028", "\x85", "\0", "\\n", '"', "\ufeff", " "]), max_size=20
).map("".join)
SCORES = st.none() | st.floats(0, 1)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | WORDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=3),
    max_leaves=6,
)


@st.composite
def documents(draw: st.DrawFn) -> Document:
    """Any text with any flat spans in any layers."""
    text = draw(WORDS)
    labels: dict[str, Labels] = {}
    for name in draw(st.sets(st.sampled_from(["a", "b", "c", "label", "spans"]))):
        cuts = sorted(draw(st.sets(st.integers(0, len(text)), max_size=8)))
        pairs = [pair for pair in pairwise(cuts) if draw(st.booleans())]
        spans = tuple(Span(start=a, end=b, label=draw(WORDS), score=draw(SCORES)) for a, b in pairs)
        labels[name] = draw(st.sampled_from([spans, Label(label=draw(WORDS), score=draw(SCORES))]))
    target, group = draw(st.none() | WORDS), draw(st.none() | WORDS)
    source = draw(st.dictionaries(WORDS, JSON, max_size=3))
    return Document(id=draw(WORDS.filter(bool)), text=text, target=target, group=group, labels=labels, source=source)


def test_blank_targets_ask_for_nothing() -> None:
    document = Document(id="a", text="Kabul.")
    assert list(with_targets(document, [" ", "\u200b"])) == [document]
    assert [one.target for one in with_targets(document, [" ", "It is so."])] == ["It is so."]


def test_a_blank_target_is_none() -> None:
    for blank in ("", " \r\n", "\u00a0\u200b"):
        assert Document(id="a", text="b", target=blank).target is None
    assert Document(id="a", text="b", target=" ? ").target == " ? "


@given(document=documents())
def test_json_pickle_and_hash_give_the_same_document(document: Document) -> None:
    line = document.to_json()
    assert "\n" not in line and "\r" not in line
    for other in (
        Document.from_json(line, where="line 1"),
        pickle.loads(pickle.dumps(document)),
        copy.deepcopy(document),
    ):
        assert other == document
        assert (hash(other), other.to_json()) == (hash(document), line)


LABELS = {"entity": (Span(start=0, end=1, label="A"),)}
DOCUMENT = Document(id="x", text="abc def", labels=LABELS, source={"a": {"b": {"c": 1}}, "d": [{"e": 1}]})


@pytest.mark.parametrize(
    "change",
    [
        "document.text = ''",
        "document.labels = {}",
        "document.labels['entity'] = ()",
        "document.labels.pop('entity')",
        "document.labels.update(b=())",
        "document.labels.clear()",
        "document.labels.setdefault('b', ())",
        "document.labels |= {'b': ()}",
        "document.labels['entity'][0].start = 1",
        "document.source['a']['b']['c'] = 2",
        "document.source['d'][0]['e'] = 2",
        "document.source['d'][0].popitem()",
        "del document.source['a']['b']",
        "document.source['d'].append(1)",
    ],
)
def test_nothing_inside_a_document_can_be_changed(change: str) -> None:
    with pytest.raises((TypeError, ValidationError, AttributeError)):
        exec(change, {"document": DOCUMENT})
    assert DOCUMENT.labels == LABELS and DOCUMENT.source["a"] == {"b": {"c": 1}} and DOCUMENT.source["d"] == ({"e": 1},)


def test_a_document_does_not_follow_the_callers_dicts() -> None:
    labels: dict[str, Any] = {"entity": ()}
    source: dict[str, Any] = {"a": {"b": [1]}}
    document = Document(id="x", text="abc", labels=labels, source=source)
    labels["entity"] = None
    source["a"]["b"].append(2)
    assert (document.labels, document.source) == ({"entity": ()}, {"a": {"b": (1,)}})


def test_unannotated_is_not_empty() -> None:
    empty = Document(id="x", text="abc", labels={"entity": ()})
    assert empty != Document(id="x", text="abc")
    assert Document.from_json(empty.to_json(), where="").labels == {"entity": ()}
    assert empty.spans("entity") == empty.spans("other") == ()


@pytest.mark.parametrize(
    ("rest", "told"),
    [
        ('"lables": {}', "lables: unknown key; did you mean 'labels'?"),
        ('"target": 3', "target: Input should be a valid string, found 3"),
        ('"labels": {"e": null}', "labels.e: a layer holds a list of spans, or one label"),
        (
            '"labels": {"e": {"label": "A", "start": 0, "end": 1}}',
            "labels.e: a layer holds a list of spans, or one label",
        ),
        ('"labels": {"e": {"lable": "A"}}', "labels.e.lable: unknown key; did you mean 'label'?"),
        ('"labels": {"spans": [{"label": "A", "start": 0}]}', "labels.spans.0.end: is required and missing"),
        ('"labels": {"label": {"label": 3}}', "labels.label.label: Input should be a valid string, found 3"),
        (
            '"labels": {"e": [{"label": "A", "start": 0, "end": 1, "colour": 2}]}',
            "labels.e.0.colour: unknown key; known:",
        ),
        (
            '"labels": {"e": [{"label": "A", "start": "0", "end": 1}]}',
            "labels.e.0.start: Input should be a valid int",
        ),
        (
            '"labels": {"e": [{"label": "A", "start": true, "end": 2}]}',
            "labels.e.0.start: Input should be a valid int",
        ),
        ('"labels": {"e": [{"label": "A", "start": -1, "end": 2}]}', "labels.e.0.start: Input should be greater"),
        ('"labels": {"e": [{"label": "A", "start": 2, "end": 2}]}', "span 2–2 is empty or backward"),
        (
            '"labels": {"e": [{"label": "A", "start": 0, "end": 1, "score": 1.1}]}',
            "labels.e.0.score: Input should",
        ),
        (
            '"labels": {"e": [{"label": "A", "start": 0, "end": 1, "score": NaN}]}',
            "labels.e.0.score: Input should",
        ),
    ],
)
def test_documents_are_strict(rest: str, told: str) -> None:
    with pytest.raises(DocumentError) as caught:
        Document.from_json(f'{{"id": "x", "text": "abc", {rest}}}', where="line 7")
    assert told in str(caught.value) and str(caught.value).startswith("line 7: ")
    if "lable" not in rest:
        assert len(caught.value.problems) == 1


def test_a_span_is_not_taken_for_a_label_of_the_document() -> None:
    with pytest.raises(ValidationError, match="one label without a place"):
        Document(id="x", text="abc", labels={"e": Span(start=0, end=1, label="A")})


def test_every_misplaced_span_is_told_at_once() -> None:
    places = [(0, 10), (2, 3), (5, 6), (4, 5), (20, 99)]
    with pytest.raises(ValidationError) as caught:
        Document(id="x", text="x" * 30, labels={"e": tuple(Span(start=a, end=b, label="A") for a, b in places)})
    for told in (
        "2–3 overlaps A 0–10",
        "5–6 overlaps A 0–10",
        "4–5 overlaps A 0–10",
        "4–5 is out of order",
        "past the text's 30",
    ):
        assert told in str(caught.value), told
