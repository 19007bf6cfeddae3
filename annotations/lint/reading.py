"""Reads annotated files for lint as they are, broken or not: nothing is repaired and nothing is refused but whole files.

It knows the shapes of Label Studio's JSON export and of JSON Lines. What is right or wrong in them is the rules' business.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from annotations.errors import DocumentError
from annotations.lint.findings import Finding, Where, shown
from annotations.schema import Kind, Schema
from annotations.storage import read_bytes

Json = dict[str, Any]


@dataclass(frozen=True)
class Region:
    """One label as the file gives it, whatever its types."""

    id: str | None
    layer: str
    labels: Any
    """What stands where the list of label names should stand."""
    start: Any = None
    end: Any = None
    quote: str | None = None
    malformed: str = ""
    """Why it is no region at all; empty where it has the right shape."""


@dataclass(frozen=True)
class Annotation:
    """One person's labels of one document; skipped ones are left out."""

    where: Where
    regions: tuple[Region, ...]
    annotated: frozenset[str]
    """Layers that count as annotated, be they empty."""
    truth: bool
    by_nobody: bool
    """Whether the file says that no known user made it."""
    raw: Json


@dataclass(frozen=True)
class Item:
    """A task, or a line of JSON Lines."""

    where: Where
    raw: Json
    text: str | None
    target: Any
    asked: tuple[str, ...] | None
    """Layers that the task asks for by name; None where it names none."""
    annotations: tuple[Annotation, ...]
    problems: tuple[Finding, ...]
    is_line: bool
    """Whether it is a line of JSON Lines, whose spans must be flat in every layer."""

    @property
    def fold(self) -> str:
        """The group, or what stands for the text where there is none; as `Document.fold`."""
        group = self.data.get("group")
        if isinstance(group, str) and group:
            return group
        return f"text-{hashlib.sha256((self.text or '').encode('utf-8', 'surrogatepass')).hexdigest()[:12]}"

    @property
    def data(self) -> Json:
        """What holds text, target and group."""
        data = self.raw if self.is_line else self.raw.get("data")
        return data if isinstance(data, dict) else {}


def read_items(paths: Iterable[str | Path], schema: Schema) -> list[Item]:
    """Everything to lint in Label Studio exports (.json) and JSON Lines of Documents (.jsonl).

    Raises:
        DocumentError: naming every file that cannot be read, is no JSON, or holds no tasks or documents.
    """
    items: list[Item] = []
    problems: list[tuple[str, str]] = []
    for path in map(Path, paths):
        try:
            items += _lines(path) if path.suffix == ".jsonl" else _tasks(path, schema)
        except DocumentError as error:
            problems += [(str(path), problem) for problem in error.problems]
    if len(problems) == 1:
        raise DocumentError(*problems[0])
    if problems:
        raise DocumentError("lint", [f"{path}: {problem}" for path, problem in problems])
    return items


def _tasks(path: Path, schema: Schema) -> Iterator[Item]:
    if path.suffix != ".json":
        raise DocumentError(
            path, "is neither .jsonl (Documents) nor .json (a Label Studio export); convert or rename it"
        )
    try:
        tasks = json.loads(read_bytes(path).decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise DocumentError(path, f"is not JSON: {error}") from error
    if not isinstance(tasks, list) or not any(isinstance(task, dict) and "data" in task for task in tasks):
        raise DocumentError(path, "holds no tasks: expected a list of tasks with `data`; export as JSON, not JSON_MIN")
    for number, task in enumerate(tasks, 1):
        if isinstance(task, dict):
            yield _task(task, str(path), schema)
        else:
            where = Where(str(path), task=f"number {number}")
            yield _broken(where, f"number {number} of the list is {shown(repr(task))[:40]} and no task")


def _broken(where: Where, what: str) -> Item:
    return Item(where, {}, None, None, None, (), (where.found("E112", what),), is_line=True)


def _task(task: Json, file: str, schema: Schema) -> Item:
    data = task.get("data")
    data = data if isinstance(data, dict) else {}
    identity = shown(data.get("doc_id") or f"task-{task.get('id', 0)}")
    where = Where(file, identity, _name(task.get("id")))
    asked = data.get("layers")
    known = tuple(filter(_is_text, asked)) if isinstance(asked, list) else None
    problems: list[Finding] = []
    given = _objects(task.get("annotations"), where, "`annotations`", problems)
    done = [item for item in given if not item.get("was_cancelled")]
    annotations = tuple(_annotation(item, where, known, schema, problems) for item in done)
    text = data.get("text")
    return Item(
        where=where,
        raw=task,
        text=text if isinstance(text, str) else None,
        target=data.get("target"),
        asked=known,
        annotations=annotations,
        problems=tuple(problems),
        is_line=False,
    )


def _annotation(
    raw: Json, where: Where, asked: tuple[str, ...] | None, schema: Schema, problems: list[Finding]
) -> Annotation:
    where = Where(where.file, where.document, where.task, _name(raw.get("id")))
    results = _objects(raw.get("result"), where, "`result`", problems)
    regions = tuple(_region(item, schema) for item in results if item.get("type") != "relation")
    by = raw.get("completed_by", "unsaid")
    nobody = (by.get("id") if isinstance(by, dict) else by) is None
    annotated = frozenset(schema.layers if asked is None else asked) | {region.layer for region in regions}
    return Annotation(where, regions, annotated, bool(raw.get("ground_truth")), nobody, raw)


def _objects(value: Any, where: Where, name: str, problems: list[Finding]) -> list[Json]:
    """The objects of what should be a list of objects; all else becomes a problem."""
    if value is None:
        return []
    if not isinstance(value, list):
        problems.append(where.found("E107", f"{name} is {type(value).__name__} and no list"))
        return []
    for item in value:
        if not isinstance(item, dict):
            problems.append(where.found("E107", f"{name} holds {shown(repr(item))[:40]}, which is no object"))
    return [item for item in value if isinstance(item, dict)]


def _region(result: Json, schema: Schema) -> Region:
    identity, layer, value = _name(result.get("id")), str(result.get("from_name")), result.get("value")
    if not isinstance(value, Mapping):
        return Region(identity, layer, None, malformed="has no value")
    declared = schema.layers.get(layer)
    names = value.get("choices" if declared and declared.kind is Kind.DOCUMENT else "labels")
    quote = value.get("text")
    return Region(
        identity, layer, names, value.get("start"), value.get("end"), quote if isinstance(quote, str) else None
    )


def _lines(path: Path) -> Iterator[Item]:
    found = False
    broken: list[Item] = []
    for number, line in enumerate(read_bytes(path).split(b"\n"), 1):
        where = Where(str(path), task=f"line {number}")
        try:
            text = line.decode("utf-8-sig")
            value = json.loads(text) if text.strip() else None
        except (ValueError, RecursionError) as error:
            broken.append(_broken(where, f"line {number} is not JSON: {error}"))
            continue
        if isinstance(value, dict):
            found = True
            yield _line(value, str(path), number)
        elif text.strip():
            broken.append(_broken(where, f"line {number} is {type(value).__name__} and no document"))
    if not found:
        raise DocumentError(path, "holds no documents: expected one JSON object a line, with `id` and `text`")
    yield from broken


def _line(raw: Json, file: str, number: int) -> Item:
    text, identity = raw.get("text"), raw.get("id")
    named = isinstance(identity, str) and identity
    where = Where(file, shown(identity)) if named else Where(file, task=f"line {number}")
    layers = raw.get("labels")
    layers = layers if isinstance(layers, dict) else {}
    regions = tuple(region for name, value in layers.items() for region in _line_regions(name, value))
    annotation = Annotation(where, regions, frozenset(layers), truth=False, by_nobody=False, raw=raw)
    return Item(
        where=where,
        raw=raw,
        text=text if isinstance(text, str) else None,
        target=raw.get("target"),
        asked=None,
        annotations=(annotation,),
        problems=(),
        is_line=True,
    )


def _line_regions(layer: str, value: Any) -> Iterator[Region]:
    for item in value if isinstance(value, list) else [value]:
        if not isinstance(item, dict):
            yield Region(None, layer, None, malformed=f"is {shown(repr(item))[:40]} and no object")
            continue
        names = [item["label"]] if "label" in item else None
        yield Region(None, layer, names, item.get("start"), item.get("end"))


def _name(value: Any) -> str | None:
    return None if value is None else shown(value)[:80]


def _is_text(value: Any) -> bool:
    return isinstance(value, str)
