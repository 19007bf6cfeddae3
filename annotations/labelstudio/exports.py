"""Label Studio's JSON exports as Documents: which annotation counts, what is repaired, what is refused. It knows no server.

Shape: https://labelstud.io/guide/export (JSON, the only lossless one).
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from annotations.config import describe
from annotations.document import Document, FrozenDict
from annotations.errors import DocumentError
from annotations.labelstudio.policy import Choice, Policy, choose, combined, submitted, user_of
from annotations.labelstudio.regions import Reading
from annotations.labelstudio.shapes import Json
from annotations.schema import Schema


@dataclass
class ImportReport:
    """What was done to annotations on the way in, so that nothing is changed or dropped silently."""

    documents: int = 0
    left_out: list[str] = field(default_factory=list)
    """Tasks that gave no document, each with the reason: nobody annotated it, it was skipped, it is in dispute."""
    repairs: list[str] = field(default_factory=list)
    """One sentence for each region that was moved, trimmed, merged or left out."""
    unplaced: list[str] = field(default_factory=list)
    """Labels of sentences that label none: they cover no sentence by more than half."""
    remarks: list[str] = field(default_factory=list)
    """What a majority or an adjudication could not decide."""
    orphans: list[str] = field(default_factory=list)
    """Annotations whose user is gone from the server."""

    def __str__(self) -> str:
        sections = {
            "unplaced": self.unplaced,
            "repaired": self.repairs,
            "undecided": self.remarks,
            "left out": self.left_out,
            "orphan": self.orphans,
        }
        head = (
            f"{self.documents} documents, {len(self.repairs)} repairs, {len(self.unplaced)} labels of no sentence, "
            f"{len(self.left_out)} tasks left out, {len(self.remarks)} undecided, {len(self.orphans)} annotations without a user"
        )
        return "\n".join([head, *(f"  {name:<10}{text}" for name, texts in sections.items() for text in texts)])

    def add(self, other: ImportReport) -> None:
        """Count another file's report in."""
        self.documents += other.documents
        self.left_out += other.left_out
        self.repairs += other.repairs
        self.unplaced += other.unplaced
        self.remarks += other.remarks
        self.orphans += other.orphans

    @property
    def changed(self) -> bool:
        """Whether labels are not, or not as, they were annotated."""
        return bool(self.repairs or self.unplaced or self.left_out)

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


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
    except (ValueError, RecursionError) as error:
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
    if not _encodable(data):
        return "`data` holds half of a surrogate pair, which is no character; mend the text"
    annotations = task.get("annotations")
    if not _lists(dict, annotations) or not all(_lists(dict, item.get("result")) for item in annotations or []):
        return "`annotations` and each one's `result` must be lists of objects; export as JSON"
    return None


def _encodable(value: Any) -> bool:
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except (UnicodeEncodeError, RecursionError):
        return False
    return True


def _lists(kind: type, value: Any) -> bool:
    return value is None or (isinstance(value, list) and all(isinstance(item, kind) for item in value))


def _name(task: Json) -> str:
    data = task.get("data")
    return str((data.get("doc_id") if isinstance(data, dict) else None) or task.get("id") or "without id")


def document_id(task: Json) -> str:
    """What a task's document is called: its `doc_id`, or `task-17` where it has none."""
    return str(task["data"].get("doc_id") or f"task-{task.get('id', 0)}")


def bare_document(task: Json) -> Document:
    """The task's text and target as a document without labels.

    Raises:
        DocumentError: what the task holds makes no document.
    """
    data = task["data"]
    source = {**(data.get("source") or {}), **({"task": task["id"]} if "id" in task else {})}
    try:
        return Document(
            id=document_id(task),
            text=data["text"],
            target=data.get("target"),
            group=data.get("group"),
            source=FrozenDict(source),
        )
    except ValidationError as error:
        raise DocumentError(f"task {_name(task)}", describe(error, Document)) from None


def from_tasks(
    tasks: Iterable[Json], schema: Schema, *, user: int | None = None, policy: Policy | None = None
) -> tuple[list[Document], ImportReport]:
    """Annotated documents, chosen by a policy: by default the only annotation or the ground truth; or one user's.

    Raises:
        DocumentError: with every problem of every task: no annotation to prefer, unknown controls or labels, regions
            that fit nowhere, overlaps.
    """
    if policy is None:
        policy = Policy() if user is None else Policy(choose=Choice.USER, user=user)
    report = ImportReport()
    return list(annotated(tasks, schema, policy, report)), report


def annotated(tasks: Iterable[Json], schema: Schema, policy: Policy, report: ImportReport) -> Iterator[Document]:
    """Documents as the tasks come, one at a time; `report` fills up meanwhile.

    Raises:
        DocumentError: like `from_tasks`, behind the last task, so that all problems are told at once.
    """
    problems: list[str] = []
    seen: Counter[str] = Counter()
    for task in tasks:
        name = _name(task)
        try:
            document = _annotated(task, schema, policy, report)
        except DocumentError as error:
            problems += [f"task {name}: {problem}" for problem in error.problems]
            continue
        if document is not None:
            seen[document.id] += 1
            report.documents += 1
            yield document
    problems += [
        f"document id {name!r} belongs to several tasks; delete all but one" for name in seen if seen[name] > 1
    ]
    if problems:
        raise DocumentError("annotations", problems)


def _annotated(task: Json, schema: Schema, policy: Policy, report: ImportReport) -> Document | None:
    name = _name(task)
    if problem := _task_problem(task):
        raise DocumentError(name, problem)
    chosen = choose(task, policy)
    if isinstance(chosen, str):
        report.left_out.append(f"{name}: {chosen}")
        return None
    bare, asked = bare_document(task), task["data"].get("layers")
    readings = [Reading(bare, schema, list(schema.layers) if asked is None else asked) for _ in chosen]
    documents = [reading.read(annotation) for reading, annotation in zip(readings, chosen, strict=True)]
    for reading, annotation in zip(readings, chosen, strict=True):
        report.repairs += [f"{name}: {text}" for text in reading.repairs]
        report.unplaced += [f"{name}: {text}" for text in reading.unplaced]
        if user_of(annotation) is None:
            report.orphans.append(f"{name}: annotation {annotation.get('id')} belongs to no user (deleted?)")
    document, remarks = combined(documents, policy, schema)
    report.remarks += [f"{name}: {text}" for text in remarks]
    if document is None:
        report.left_out.append(f"{name}: {remarks[-1] if remarks else 'nothing was agreed on'}")
    return document


def annotators(tasks: Iterable[Json]) -> list[int]:
    """The user ids that completed at least one annotation; skipping a task is not annotating it."""
    done = (item for task in tasks for item in submitted(task))
    return sorted({identity for item in done if (identity := user_of(item)) is not None})
