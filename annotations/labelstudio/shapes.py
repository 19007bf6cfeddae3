"""The schema as a labelling interface and Documents as Label Studio's tasks. It knows shapes, not servers or tokens.

Shapes: https://labelstud.io/guide/predictions; `annotations.labelstudio.exports` reads them back.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any
from xml.etree import ElementTree

from annotations.document import Document, Label
from annotations.schema import Kind, Layer, Schema

OBJECT = "text"
_MARKED = {Kind.SPANS: "words", Kind.SENTENCES: "whole sentences", Kind.DOCUMENT: "the whole text"}
Json = dict[str, Any]


def labelling_config(schema: Schema, shown: str | None = None) -> str:
    """The labelling interface as XML: one control a layer, the target above the text.

    `shown` names a further text of the task's data, to stand above all; every task of the project needs it then.
    """
    view = ElementTree.Element("View")
    if shown:
        # A layer's name cannot hold a hyphen.
        ElementTree.SubElement(view, "Text", name=f"shown-{shown}", value=f"${shown}")
    if schema.targeted:
        ElementTree.SubElement(view, "Header", value="Target: $target")
    for name, layer in schema.layers.items():
        if layer.kind is Kind.DOCUMENT:
            continue
        _heading(view, name, layer)
        control = ElementTree.SubElement(view, "Labels", name=name, toName=OBJECT)
        _labels(control, layer, "Label", "background")
    ElementTree.SubElement(view, "Text", name=OBJECT, value="$text", granularity="symbol")
    for name, layer in schema.of_kind(Kind.DOCUMENT).items():
        _heading(view, name, layer)
        control = ElementTree.SubElement(view, "Choices", name=name, toName=OBJECT, choice="single", showInLine="true")
        _labels(control, layer, "Choice", "background")
    ElementTree.indent(view)
    return ElementTree.tostring(view, encoding="unicode")


def _heading(view: ElementTree.Element, name: str, layer: Layer) -> None:
    """Layers may share labels (`supports` of a sentence, of the article), so each is named."""
    ElementTree.SubElement(view, "Header", size="5", value=f"{name}, for {_MARKED[layer.kind]}")


def _labels(control: ElementTree.Element, layer: Layer, tag: str, color: str) -> None:
    colors = layer.colors
    for label, spec in layer.labels.items():
        item = ElementTree.SubElement(control, tag, {"value": label, color: colors[label]})
        if spec.hotkey:
            item.set("hotkey", spec.hotkey)
        if spec.marks:
            item.set("hint", spec.marks)


def interface_differences(xml: str, schema: Schema) -> list[str]:
    """What a project's labelling interface asks otherwise than the schema, one sentence each. Looks do not count."""
    try:
        root = ElementTree.fromstring(xml)
    except ElementTree.ParseError as error:
        return [f"the labelling interface is no XML ({error})"]
    theirs, ours = _controls(root), _controls(ElementTree.fromstring(labelling_config(schema)))
    found = [f"layer {name!r} is missing" for name in ours if name not in theirs]
    found += [f"{_described(theirs[name])} {name!r} is no layer of the schema" for name in theirs if name not in ours]
    for name in (name for name in ours if name in theirs):
        (tag, target, labels), (their_tag, their_target, their_labels) = ours[name], theirs[name]
        if (tag, target) != (their_tag, their_target):
            found.append(f"layer {name!r} is <{their_tag} toName={their_target!r}>, not <{tag} toName={target!r}>")
        found += [f"layer {name!r} lacks the label {label!r}" for label in labels if label not in their_labels]
        found += [f"layer {name!r} has the unknown label {label!r}" for label in their_labels if label not in labels]
    if not any(node.get("name") == OBJECT and node.get("value") == "$text" for node in root.iter("Text")):
        found.append(f'there is no <Text name="{OBJECT}" value="$text"/>')
    return found


def shared_labels(xml: str, schema: Schema) -> dict[str, frozenset[str]]:
    """The layers that a project's labelling interface can show, each with the labels that both know."""
    try:
        theirs = _controls(ElementTree.fromstring(xml))
    except ElementTree.ParseError:
        return {}
    ours = _controls(ElementTree.fromstring(labelling_config(schema)))
    return {
        name: frozenset(own[2]) & frozenset(theirs[name][2])
        for name, own in ours.items()
        if name in theirs and theirs[name][:2] == own[:2]
    }


def _controls(root: ElementTree.Element) -> dict[str, tuple[str, str | None, list[str]]]:
    """Name to tag, object and labels of everything that annotators mark with."""
    controls = (node for node in root.iter() if node.get("toName") and node.tag != "Relations")
    return {
        str(node.get("name")): (_asked(node), node.get("toName"), [str(item.get("value")) for item in node])
        for node in controls
    }


def _asked(node: ElementTree.Element) -> str:
    """The tag, and what makes it ask for something else than one choice for the whole."""
    several = ' choice="multiple"' if node.get("choice") == "multiple" else ""
    region = ' perRegion="true"' if node.get("perRegion") == "true" else ""
    return f"{node.tag}{several}{region}"


def _described(control: tuple[str, str | None, list[str]]) -> str:
    return f"the control <{control[0]}>"


def to_task(document: Document, layers: Iterable[str]) -> Json:
    """A task that asks annotators for `layers` of this document; its own labels are not in it."""
    data = {"text": document.text, "target": document.target, "doc_id": document.id, "group": document.group}
    source = json.loads(document.model_dump_json(include={"source"}))["source"]
    return {"data": {**data, "layers": list(layers), "source": source}}


def task_array(tasks: Iterable[Json]) -> Iterator[str]:
    """Pieces of a JSON array with one task a line, as Label Studio imports it; join them, or write them one by one."""
    lead = "[\n"
    for task in tasks:
        yield lead + json.dumps(task, ensure_ascii=False)
        lead = ",\n"
    yield "[]\n" if lead == "[\n" else "\n]\n"


def to_results(document: Document) -> list[Json]:
    """A document's labels as regions and choices, for an annotation or a prediction."""
    results: list[Json] = []
    for name, labels in document.labels.items():
        if isinstance(labels, Label):
            value: Json = {"choices": [labels.label]}
            results.append(_result(f"{name}-0", name, "choices", value, labels.score))
            continue
        for number, span in enumerate(labels):
            quote = document.text[span.start : span.end]
            value = {"start": span.start, "end": span.end, "text": quote, "labels": [span.label]}
            results.append(_result(f"{name}-{number}", name, "labels", value, span.score))
    return results


def _result(identity: str, control: str, kind: str, value: Json, score: float | None) -> Json:
    result: Json = {"id": identity, "from_name": control, "to_name": OBJECT, "type": kind, "value": value}
    return result if score is None else {**result, "score": score}


def to_prediction(document: Document, model_version: str) -> Json:
    """A predicted document as Label Studio's prediction; its score is that of the least certain label."""
    results = to_results(document)
    scores = [result["score"] for result in results if "score" in result]
    return {"model_version": model_version, "score": min(scores, default=1.0), "result": results}
