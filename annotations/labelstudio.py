"""The schema as a labelling interface and Documents as Label Studio's tasks. It knows shapes, not servers or tokens.

Shapes: https://labelstud.io/guide/predictions; `annotations.exports` reads them back.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any
from xml.etree import ElementTree

from annotations.document import Document, Label
from annotations.schema import Kind, Layer, Schema

OBJECT = "text"
Json = dict[str, Any]


def labelling_config(schema: Schema) -> str:
    """The labelling interface as XML: one control a layer, the target above the text."""
    view = ElementTree.Element("View")
    if schema.targeted:
        ElementTree.SubElement(view, "Header", value="Target: $target")
    for name, layer in schema.layers.items():
        if layer.kind is Kind.DOCUMENT:
            continue
        control = ElementTree.SubElement(view, "Labels", name=name, toName=OBJECT)
        _labels(control, layer, "Label", "background")
    ElementTree.SubElement(view, "Text", name=OBJECT, value="$text", granularity="symbol")
    for name, layer in schema.of_kind(Kind.DOCUMENT).items():
        control = ElementTree.SubElement(view, "Choices", name=name, toName=OBJECT, choice="single", showInLine="true")
        _labels(control, layer, "Choice", "background")
    ElementTree.indent(view)
    return ElementTree.tostring(view, encoding="unicode")


def _labels(control: ElementTree.Element, layer: Layer, tag: str, color: str) -> None:
    for label, spec in layer.labels.items():
        item = ElementTree.SubElement(control, tag, {"value": label, color: spec.color})
        if spec.hotkey:
            item.set("hotkey", spec.hotkey)
        if spec.marks:
            item.set("hint", spec.marks)


def to_task(document: Document, layers: Iterable[str]) -> Json:
    """A task that asks annotators for `layers` of this document; its own labels are not in it."""
    data = {"text": document.text, "target": document.target, "doc_id": document.id, "group": document.group}
    source = json.loads(document.model_dump_json(include={"source"}))["source"]
    return {"data": {**data, "layers": list(layers), "source": source}}


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
