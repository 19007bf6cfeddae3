"""Documents as Label Studio's JSON: the labelling config is whole, and documents come back as they were sent."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from annotations.document import Document, Label, Labels, Span, claim
from annotations.labelstudio.exports import from_tasks
from annotations.labelstudio.shapes import labelling_config, to_prediction, to_results, to_task
from annotations.schema import Kind, Schema
from annotations.sentences import sentences

TEXTS = st.text(max_size=60) | st.lists(
    st.sampled_from(
        ["The Taliban", " ", ". ", "\r\n", "\n", "😀", "שלום", "عربى", "\\n", "\u200b", "\u2028", "<b>&", "\0"]
    ),
    max_size=30,
).map("".join)
TEXT = "The Taliban met 😀 in Kabul.\r\nKabul was calm. Nobody spoke."
A_TARGET = "The Taliban met."


@st.composite
def documents(draw: st.DrawFn, schema: Schema) -> Document:
    """Any text with any flat spans that begin and end visibly; any subset of layers annotated, maybe with nothing."""
    text, target = draw(TEXTS), claim(draw(st.none() | TEXTS))
    cuts = sorted(draw(st.sets(st.integers(0, len(text)), max_size=10)))
    pairs = [(a, b) for a, b in pairwise(cuts) if text[a:b] and text[a:b] == text[a:b].strip()]
    names = schema.layers["entity"].names
    entity = tuple(Span(start=a, end=b, label=draw(st.sampled_from(names))) for a, b in pairs if draw(st.booleans()))
    labels: dict[str, Labels] = {"entity": entity} if draw(st.booleans()) else {}
    if target is not None:
        sides = schema.layers["stance"].names
        stance = [
            Span(start=a, end=b, label=draw(st.sampled_from(sides))) for a, b in sentences(text) if draw(st.booleans())
        ]
        labels |= {"stance": tuple(stance)} if stance else {}
        labels |= {"document": Label(label=draw(st.sampled_from(sides)))} if draw(st.booleans()) else {}
    group = draw(st.none() | st.just("g"))
    return Document(id="a", text=text, target=target, group=group, labels=labels, source={"file": "f", "n": [1, None]})


def annotated(document: Document, layers: Any = None, **rest: Any) -> dict[str, Any]:
    """A task as the server would export it, after a trip through JSON."""
    annotation = {"id": 5, "completed_by": 1, "was_cancelled": False, "result": to_results(document), **rest}
    task = {"id": 12, **to_task(document, document.labels if layers is None else layers), "annotations": [annotation]}
    return json.loads(json.dumps(task))  # type: ignore[no-any-return]


@given(data=st.data())
def test_documents_come_back_as_they_were_sent(data: st.DataObject, schema: Schema) -> None:
    document = data.draw(documents(schema))
    (found,), report = from_tasks([annotated(document)], schema)
    expected = document.model_copy(update={"source": {**document.source, "task": 12, "annotation": 5}})
    assert found == expected
    assert (report.documents, report.repairs, report.left_out) == (1, [], [])


def test_unannotated_is_not_empty(schema: Schema) -> None:
    document = Document(id="a", text=TEXT, target=A_TARGET)
    for asked, labels in [([], {}), (["entity"], {"entity": ()}), (["stance", "document"], {})]:
        (found,), _ = from_tasks([annotated(document, asked)], schema)
        assert found.labels == labels
    task = annotated(document)
    del task["data"]["layers"]
    assert from_tasks([task], schema)[0][0].labels == {"entity": ()}


def test_a_prediction_is_scored_by_its_least_certain_label() -> None:
    labels = {"entity": (Span(start=0, end=3, label="DATE", score=0.5),), "document": Label(label="denies", score=0.25)}
    made = to_prediction(Document(id="a", text=TEXT, target="A.", labels=labels), "v1")
    assert (made["model_version"], made["score"]) == ("v1", 0.25)
    assert [result.get("score") for result in made["result"]] == [0.5, 0.25]
    assert len({result["id"] for result in made["result"]}) == 2
    assert to_prediction(Document(id="a", text=TEXT), "v1") == {"model_version": "v1", "score": 1.0, "result": []}


ODD = {
    "b": {"kind": "spans", "labels": {'A & "B" <c>': {"marks": "x < y & 'z' \"q\"\nnew", "color": "#123456"}, "ש": {}}},
    "a": {"kind": "sentences", "labels": {"]]>": {"hotkey": "<"}, "&amp;": {"hotkey": '"'}}},
    "c": {"kind": "document", "labels": {"+": {"color": "#abcdef"}, "😀 -": {"hotkey": "&"}}},
}


@pytest.mark.parametrize("which", ["default", "odd"])
def test_the_labelling_config_holds_everything(which: str, schema: Schema) -> None:
    made = schema if which == "default" else Schema.build({"layers": ODD}, where="odd")
    view = ET.fromstring(labelling_config(made))
    (text,) = view.findall("Text")
    assert text.attrib == {"name": "text", "value": "$text", "granularity": "symbol"}
    headers = [str(header.get("value")) for header in view.findall("Header")]
    assert headers[: made.targeted] == ["Target: $target"] * made.targeted
    assert {header.split(", for ")[0] for header in headers[made.targeted :]} == set(made.layers)
    controls = {control.get("name"): control for control in [*view.iter("Labels"), *view.iter("Choices")]}
    assert set(controls) == set(made.layers)
    for name, layer in made.layers.items():
        control, whole = controls[name], layer.kind is Kind.DOCUMENT
        assert (control.tag, control.get("toName")) == ("Choices" if whole else "Labels", "text")
        assert {item.tag for item in control} == {"Choice" if whole else "Label"}
        found = [
            (item.get("value"), item.get("background"), item.get("hotkey"), item.get("hint", "")) for item in control
        ]
        assert found == [(label, layer.colors[label], spec.hotkey, spec.marks) for label, spec in layer.labels.items()]
        assert (control.get("choice") == "single") is whole
