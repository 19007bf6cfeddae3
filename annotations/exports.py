"""Label Studio's JSON exports as Documents: which annotation counts, what is repaired, what is refused. It knows no server.

Shape: https://labelstud.io/guide/export (JSON, the only lossless one).
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from annotations.config import describe
from annotations.document import Document, FrozenDict, Label, Labels, Span
from annotations.errors import DocumentError, did_you_mean
from annotations.labelstudio import Json
from annotations.offsets import locate
from annotations.schema import Kind, Layer, Schema
from annotations.sentences import covers, sentences


@dataclass
class ImportReport:
    """What was done to annotations on the way in, so that nothing is changed or dropped silently."""

    documents: int = 0
    skipped: list[str] = field(default_factory=list)
    """Tasks that nobody annotated, or that the annotator skipped."""
    repairs: list[str] = field(default_factory=list)
    """One sentence for each region that was moved, trimmed, merged or left out."""

    def __str__(self) -> str:
        lines = [
            f"{self.documents} documents, {len(self.repairs)} repairs, {len(self.skipped)} tasks without annotation"
        ]
        return "\n".join(
            [*lines, *(f"  repaired  {text}" for text in self.repairs), *(f"  skipped   {t}" for t in self.skipped)]
        )


def read_export(path: str | Path) -> list[Json]:
    """The tasks of a JSON export file.

    Raises:
        DocumentError: the file is missing, not JSON, or not a list of tasks with a text.
    """
    path = Path(path)
    try:
        tasks = json.loads(path.read_text("utf-8-sig"))
    except OSError as error:
        raise DocumentError(path, f"cannot be read ({error.strerror}); check the path") from error
    except ValueError as error:
        raise DocumentError(path, f"is not JSON: {error}") from error
    return checked_tasks(tasks, path)


def checked_tasks(tasks: Any, path: object) -> list[Json]:
    """The same tasks, if they are tasks with a text. Raises like `read_export`."""
    if not isinstance(tasks, list) or not all(isinstance(task, dict) for task in tasks):
        raise DocumentError(path, "is not a Label Studio JSON export: expected a list of tasks; export as JSON")
    if problems := [f"task {_name(task)}: {text}" for task in tasks if (text := _task_problem(task))]:
        raise DocumentError(path, problems)
    return tasks


def _task_problem(task: Json) -> str | None:
    data = task.get("data")
    if not isinstance(data, dict) or not isinstance(data.get("text"), str):
        return "has no `data.text`; export as JSON (not JSON_MIN) from a project whose text is in `text`"
    if not isinstance(data.get("target"), str | None) or not isinstance(data.get("group"), str | None):
        return "`data.target` and `data.group` must be texts"
    if not _lists(str, data.get("layers")) or not isinstance(data.get("source") or {}, dict):
        return "`data.layers` must be a list of names and `data.source` a mapping"
    annotations = task.get("annotations")
    if not _lists(dict, annotations) or not all(_lists(dict, item.get("result")) for item in annotations or []):
        return "`annotations` and each one's `result` must be lists of objects; export as JSON"
    return None


def _lists(kind: type, value: Any) -> bool:
    return value is None or (isinstance(value, list) and all(isinstance(item, kind) for item in value))


def _name(task: Json) -> str:
    data = task.get("data")
    return str((data.get("doc_id") if isinstance(data, dict) else None) or task.get("id") or "without id")


def bare_document(task: Json) -> Document:
    """The task's text and target as a document without labels.

    Raises:
        DocumentError: what the task holds makes no document.
    """
    data = task["data"]
    source = {**(data.get("source") or {}), **({"task": task["id"]} if "id" in task else {})}
    identity = str(data.get("doc_id") or f"task-{task.get('id', 0)}")
    try:
        return Document(
            id=identity,
            text=data["text"],
            target=data.get("target"),
            group=data.get("group"),
            source=FrozenDict(source),
        )
    except ValidationError as error:
        raise DocumentError(f"task {_name(task)}", describe(error, Document)) from None


def from_tasks(
    tasks: Iterable[Json], schema: Schema, *, user: int | None = None
) -> tuple[list[Document], ImportReport]:
    """Annotated documents: the ground truth of each task, or the annotation of one user.

    Raises:
        DocumentError: with every problem of every task: no annotation to prefer, unknown controls or labels, regions
            that fit nowhere, overlaps.
    """
    report = ImportReport()
    documents: list[Document] = []
    problems: list[str] = []
    for task in tasks:
        name = _name(task)
        try:
            if problem := _task_problem(task):
                raise DocumentError(name, problem)
            annotation = _choose(task, user)
            if annotation is None:
                report.skipped.append(name)
                continue
            asked = task["data"].get("layers")
            reading = _Reading(bare_document(task), schema, asked=list(schema.layers) if asked is None else asked)
            documents.append(reading.read(annotation))
            report.repairs += [f"{name}: {text}" for text in reading.repairs]
        except DocumentError as error:
            problems += [f"task {name}: {problem}" for problem in error.problems]
    counts = Counter(document.id for document in documents)
    problems += [
        f"document id {name!r} belongs to several tasks; delete all but one" for name in counts if counts[name] > 1
    ]
    if problems:
        raise DocumentError("annotations", problems)
    report.documents = len(documents)
    return documents, report


def annotators(tasks: Iterable[Json]) -> list[int]:
    """The user ids that completed at least one annotation; skipping a task is not annotating it."""
    done = [item for task in tasks for item in task.get("annotations") or [] if not item.get("was_cancelled")]
    return sorted({identity for item in done if (identity := _user(item)) is not None})


def _user(annotation: Json) -> int | None:
    by = annotation.get("completed_by")
    return by.get("id") if isinstance(by, dict) else by


def _choose(task: Json, user: int | None) -> Json | None:
    done: list[Json] = [item for item in task.get("annotations") or [] if not item.get("was_cancelled")]
    if user is not None:
        done = [item for item in done if _user(item) == user]
    truth = [item for item in done if item.get("ground_truth")]
    if len(truth) == 1 and user is None:
        return truth[0]
    if len(done) > 1:
        remedy = (
            "mark one as ground truth, or name one user" if user is None else f"delete all but one of user {user}'s"
        )
        raise DocumentError(_name(task), f"has several annotations; {remedy}")
    return done[0] if done else None


class _Reading:
    """Turns one annotation's results into one document's labels."""

    def __init__(self, document: Document, schema: Schema, asked: list[str]) -> None:
        self.document, self.schema, self.asked = document, schema, asked
        self.repairs: list[str] = []
        self.problems = [
            f"`data.layers` names {name!r}; {did_you_mean(name, schema.layers)}"
            for name in asked
            if name not in schema.layers
        ]

    def read(self, annotation: Json) -> Document:
        found: dict[str, list[Span | Label]] = {name: [] for name in self.asked if name in self.schema.layers}
        for result in annotation.get("result") or []:
            for name, label in self._items(result):
                found.setdefault(name, []).append(label)
        labels = {name: value for name, items in found.items() if (value := self._layer(name, items)) is not None}
        if self.problems:
            raise DocumentError(self.document.id, self.problems)
        source = FrozenDict({**self.document.source, "annotation": annotation.get("id")})
        document = self.document.model_copy(update={"source": source}).with_labels(labels)
        if problems := list(self.schema.problems(document)):
            raise DocumentError(document.id, problems)
        return document

    def _items(self, result: Json) -> Iterator[tuple[str, Span | Label]]:
        name, value = str(result.get("from_name")), result.get("value")
        place = f"region {result.get('id')!r}"
        if result.get("type") == "relation":
            self.repairs.append("a relation between regions was left out: the schema has none")
        elif name not in self.schema.layers:
            self.problems.append(
                f"{place}: control {name!r} is no layer of this schema (another project's export?); "
                f"{did_you_mean(name, self.schema.layers)}"
            )
        elif not isinstance(value, Mapping):
            self.problems.append(f"{place}: has no value")
        else:
            item = self._item(self.schema.layers[name], value, f"{place} of {name}")
            if item:
                yield name, item

    def _item(self, layer: Layer, value: Mapping[str, Any], place: str) -> Span | Label | None:
        field_name = "choices" if layer.kind is Kind.DOCUMENT else "labels"
        names = value.get(field_name)
        if not isinstance(names, list) or len(names) != 1 or not isinstance(names[0], str):
            self.problems.append(
                f"{place}: needs exactly one label in `{field_name}`, found {names!r}; fix it on the server"
            )
            return None
        if names[0] not in layer.labels:
            self.problems.append(f"{place}: unknown label {names[0]!r}; {did_you_mean(names[0], layer.labels)}")
            return None
        return Label(label=names[0]) if layer.kind is Kind.DOCUMENT else self._span(names[0], value, place)

    def _span(self, label: str, value: Mapping[str, Any], place: str) -> Span | None:
        start, end, quote = value.get("start"), value.get("end"), value.get("text")
        if not isinstance(start, int) or not isinstance(end, int):
            self.problems.append(f"{place}: start and end must be whole numbers, found {start!r} and {end!r}")
            return None
        found = locate(self.document.text, start, end, quote if isinstance(quote, str) else None)
        if found is None:
            self.problems.append(
                f"{place}: {label} {start}–{end} is out of bounds or blank, or {quote!r} is not in the text"
            )
            return None
        if found.how:
            self.repairs.append(f"{place}: {label} {start}–{end} became {found.start}–{found.end}: {found.how}")
        return Span(start=found.start, end=found.end, label=label)

    def _layer(self, name: str, items: list[Span | Label]) -> Labels | None:
        kind = self.schema.layers[name].kind
        if kind is Kind.DOCUMENT:
            if len({item.label for item in items}) > 1:
                self.problems.append(f"layer {name!r}: {len(items)} different choices for one document")
            return Label(label=items[0].label) if items else None
        spans = sorted(
            (item for item in items if isinstance(item, Span)), key=lambda span: (span.start, span.end, span.label)
        )
        return self._sentences(name, spans) if kind is Kind.SENTENCES else self._flat(name, spans)

    def _flat(self, name: str, spans: list[Span]) -> tuple[Span, ...]:
        kept: list[Span] = []
        for span in spans:
            if kept and span == kept[-1]:
                self.repairs.append(f"{name} {span.label} {span.start}–{span.end}: marked twice, kept once")
            elif kept and span.start < kept[-1].end:
                last = kept[-1]
                self.problems.append(
                    f"{name} {span.label} {span.start}–{span.end} overlaps {last.label} {last.start}–{last.end}; "
                    "delete one of them on the server"
                )
            else:
                kept.append(span)
        return tuple(kept)

    def _sentences(self, name: str, spans: list[Span]) -> tuple[Span, ...] | None:
        chosen: list[Span] = []
        used: set[Span] = set()
        for bounds in sentences(self.document.text):
            fitting = [span for span in spans if covers(span, bounds)]
            used.update(fitting)
            if len({span.label for span in fitting}) > 1:
                self.problems.append(f"layer {name!r}: sentence {bounds.start}–{bounds.end} is given several labels")
            if fitting:
                chosen.append(Span(start=bounds.start, end=bounds.end, label=fitting[0].label))
        for span in spans:
            if span not in used:
                self.repairs.append(
                    f"{name} {span.label} {span.start}–{span.end}: covers no sentence by more than half, left out"
                )
        return tuple(chosen) or None
