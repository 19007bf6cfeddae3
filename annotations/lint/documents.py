"""Lints one document beside what its task asks for: text, target, layers, sentences, annotator, readability."""

from __future__ import annotations

import json
from collections.abc import Iterator

from annotations.document import Document
from annotations.errors import DocumentError, did_you_mean
from annotations.labelstudio.exports import from_tasks
from annotations.lint.findings import Finding, Range, context, shown
from annotations.lint.reading import Annotation, Item
from annotations.lint.regions import Marks, lint_regions, sentence_marks
from annotations.schema import Kind, Schema
from annotations.sentences import sentences


def lint_document(item: Item, schema: Schema) -> tuple[list[Marks], list[Finding]]:
    """The usable regions of each annotation, and every finding that needs no other document."""
    findings = [*item.problems, *_task(item, schema)]
    marks: list[Marks] = []
    for annotation in item.annotations:
        found, problems = lint_regions(item, annotation, item.text or "", schema)
        if item.text and item.text.strip():
            findings += [*problems, *_annotation(item, annotation, found, schema)]
        marks.append(found)
    if not any(finding.is_error for finding in findings):
        findings += _unreadable(item, schema)
    return marks, findings


def _task(item: Item, schema: Schema) -> Iterator[Finding]:
    if item.problems and not item.raw:
        return
    if item.text is None or not item.text.strip():
        what = "has no text" if item.text is None else "its text is blank"
        yield item.where.found("E111", what)
    for name in item.asked or ():
        if name not in schema.layers:
            hint = did_you_mean(name, schema.layers)
            yield item.where.found("E105", f"`data.layers` asks for {shown(name)!r} ({hint})", layer=shown(name))
    if isinstance(item.target, str) and item.target.strip():
        return
    given = {region.layer for annotation in item.annotations for region in annotation.regions}
    wanting = [
        name for name, layer in schema.layers.items() if layer.targeted and name in given.union(item.asked or ())
    ]
    if wanting:
        yield item.where.found("E109", f"labels of {' and '.join(wanting)} are about a target, and there is none")


def _annotation(item: Item, annotation: Annotation, marks: Marks, schema: Schema) -> Iterator[Finding]:
    if annotation.by_nobody:
        yield annotation.where.found("W210", "was made by no known user")
    given = {region.layer for region in annotation.regions}
    for name, layer in schema.layers.items():
        if layer.kind is Kind.SPANS:
            continue
        if name not in given and name in (item.asked or ()):
            yield annotation.where.found("W212", f"layer {name!r} is asked for and has no label", layer=name)
        elif name in given and layer.kind is Kind.SENTENCES:
            yield from _unlabelled(item.text or "", annotation, name, marks)


def _unlabelled(text: str, annotation: Annotation, name: str, marks: Marks) -> Iterator[Finding]:
    bounds = sentences(text)
    for one, fitting in zip(bounds, sentence_marks(marks.places.get(name, []), bounds), strict=True):
        if not fitting:
            what = f"sentence without label: {context(text, *one)}"
            yield annotation.where.found("W211", what, layer=name, at=Range(*one))


def _unreadable(item: Item, schema: Schema) -> Iterator[Finding]:
    """What reading refuses and no other rule has told, so that data without errors here can be trained on."""
    if item.is_line:
        try:
            document = Document.from_json(json.dumps(item.raw), where=item.where.file)
        except DocumentError as error:
            yield from (item.where.found("E112", shown(problem)) for problem in error.problems)
        else:
            yield from (item.where.found("E112", shown(problem)) for problem in schema.problems(document))
        return
    for annotation in item.annotations:
        try:
            from_tasks([{**item.raw, "annotations": [annotation.raw]}], schema)
        except DocumentError as error:
            yield from (annotation.where.found("E112", shown(problem)) for problem in error.problems)
