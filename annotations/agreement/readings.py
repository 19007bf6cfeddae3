"""Several people's labels of the same texts, brought together document by document. It measures nothing.

A reading is one annotator's Document. Annotators go by name: the file's, the e-mail address's or `user 2`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from annotations.comparison import by_id
from annotations.document import Document
from annotations.errors import DocumentError
from annotations.labelstudio.exports import annotators, from_tasks, read_export
from annotations.labelstudio.policy import disputed, submitted, user_of
from annotations.labelstudio.shapes import Json
from annotations.schema import Kind, Schema
from annotations.sentences import all_unplaced
from annotations.storage import read_jsonl

Readings = Mapping[str, Sequence[Document]]

_JUDGE = "made ground truth of the others' annotations, so not counted as an annotator (--users counts anybody)"
_RULINGS = "ground truth that settles a dispute of others is no reading; annotations left out as such"


@dataclass(frozen=True)
class Shared:
    """One text that two or more annotators labelled."""

    by: Mapping[str, Document]
    """Annotator to reading, in the annotators' order."""

    @property
    def first(self) -> Document:
        """Any reading, for what all have in common: id, text, target."""
        return next(iter(self.by.values()))

    def of(self, layer: str) -> dict[str, Document]:
        """The readings that annotate a layer."""
        return {name: document for name, document in self.by.items() if layer in document.labels}


def shared(readings: Readings, schema: Schema) -> tuple[list[Shared], list[tuple[str, str]]]:
    """The documents of two or more annotators, and (document id, annotator) of those that only one labelled.

    Raises:
        DocumentError: with every problem: fewer than two annotators, ids used twice, other texts or targets, labels that
            the schema does not declare.
    """
    if len(readings) < 2:
        raise DocumentError("agreement", f"needs two annotators or more, found {list(readings)}; add another reading")
    problems: list[str] = []
    sides = {name: by_id(documents, name, schema, problems) for name, documents in readings.items()}
    ids = dict.fromkeys(identity for side in sides.values() for identity in side)
    found = [Shared({name: side[identity] for name, side in sides.items() if identity in side}) for identity in ids]
    problems += [problem for each in found for problem in _differences(each, schema)]
    if problems:
        raise DocumentError("agreement", problems)
    single = [(each.first.id, next(iter(each.by))) for each in found if len(each.by) == 1]
    return [each for each in found if len(each.by) > 1], single


def _differences(document: Shared, schema: Schema) -> Iterator[str]:
    (first, one), *others = document.by.items()
    for name, other in others:
        if other.text != one.text:
            yield f"document {one.id!r} has different texts at {first} and {name}; label the same version of it"
        if schema.targeted and other.target != one.target:
            yield (
                f"document {one.id!r} has the target {one.target!r} at {first} and {other.target!r} at {name}; "
                "label it against one target"
            )


def read(
    paths: Sequence[Path], schema: Schema, users: Sequence[str] | None = None
) -> tuple[dict[str, list[Document]], list[str]]:
    """Readings by annotator from one Label Studio export, or from one .jsonl file for each; and remarks on what was read.

    `users` chooses annotators by id or name, in that order; by default all, in order of their ids or files.

    Raises:
        DocumentError: with the problems of every file or annotator; also for an unknown annotator.
    """
    if all(path.suffix == ".jsonl" for path in paths):
        found = _from_files(paths, schema, users)
        layers = schema.of_kind(Kind.SENTENCES)
        return found, [
            f"{name}: {told}" for name, documents in found.items() for told in all_unplaced(documents, layers)
        ]
    if len(paths) != 1:
        where = ", ".join(map(str, paths))
        raise DocumentError(where, "give one Label Studio export, or one .jsonl file for each annotator, not both")
    return from_export(read_export(paths[0]), schema, users, where=paths[0])


def _from_files(paths: Sequence[Path], schema: Schema, users: Sequence[str] | None) -> dict[str, list[Document]]:
    stems = [path.stem for path in paths]
    names = stems if len(set(stems)) == len(stems) else list(map(str, paths))
    files = dict(zip(names, paths, strict=True))
    found: dict[str, list[Document]] = {}
    problems: list[str] = []
    for name in _chosen({name: name for name in names}, users, "the files"):
        try:
            found[name] = list(read_jsonl(files[name], schema))
        except DocumentError as error:
            problems += [f"{files[name]}: {problem}" for problem in error.problems]
    if problems:
        raise DocumentError("agreement", problems)
    return found


def from_export(
    tasks: Sequence[Json], schema: Schema, users: Sequence[str] | None = None, *, where: object = "export"
) -> tuple[dict[str, list[Document]], list[str]]:
    """Each annotator's documents, and what was repaired or could not be counted. Raises like `read`."""
    names = _names(tasks)
    identities = {name: identity for identity, name in names.items()}
    keys = {str(identity): name for identity, name in names.items()} | {name: name for name in identities}
    found: dict[str, list[Document]] = {}
    problems: list[str] = []
    remarks = list(_orphans(tasks))
    for name in _chosen(keys, users, where):
        user = identities[name]
        counted, rulings = _without_rulings(tasks, user, schema)
        if rulings and _only_rules(tasks, user):
            if users is None:
                remarks.append(f"{name}: {_JUDGE}")
                continue
            counted, rulings = tasks, 0
        if rulings:
            remarks.append(f"{name}: {_RULINGS}: {rulings}")
        try:
            found[name], report = from_tasks(counted, schema, user=user)
            remarks += [f"{name}: {repair}" for repair in (*report.unplaced, *report.repairs)]
        except DocumentError as error:
            problems += [f"{name}: {problem}" for problem in error.problems]
    if problems:
        raise DocumentError(where, problems)
    return found, remarks


def _without_rulings(tasks: Sequence[Json], user: int, schema: Schema) -> tuple[Sequence[Json], int]:
    """The tasks without those where a user only settled a dispute of others; and how many those are."""
    kept = [task for task in tasks if not (_only_truth(task, user) and _dispute(task, user, schema))]
    return kept, len(tasks) - len(kept)


def _only_truth(task: Json, user: int) -> bool:
    """Whether all that a user annotated here is ground truth, in a task that two or more others annotated."""
    own = [item for item in submitted(task) if user_of(item) == user]
    return bool(own) and all(item.get("ground_truth") for item in own) and len(_others(task, user)) > 1


def _only_rules(tasks: Iterable[Json], user: int) -> bool:
    """Whether a user did nothing else in any task; ground truth where the others agree is a ruling as well then."""
    return all(_only_truth(task, user) for task in tasks if user in map(user_of, submitted(task)))


def _dispute(task: Json, user: int, schema: Schema) -> bool:
    """Whether the others label a task differently. What cannot be read is told where its own annotator is read."""
    readings: list[Document] = []
    for other in _others(task, user):
        with suppress(DocumentError):
            readings += from_tasks([task], schema, user=other)[0]
    return bool(disputed(readings))


def _others(task: Json, user: int) -> list[int]:
    """Who else annotated a task, but for those who came after the user: nobody settles what is still to be said.

    An annotation whose time is unknown counts as earlier.
    """
    since = min((_created(item) for item in submitted(task) if user_of(item) == user), default="")
    earlier = [item for item in submitted(task) if not since or _created(item) < since]
    return [other for other in annotators([{"annotations": earlier}]) if other != user]


def _created(annotation: Json) -> str:
    """When Label Studio stored an annotation (ISO 8601, UTC, so that texts compare as times do); empty where unknown."""
    found = annotation.get("created_at")
    return found if isinstance(found, str) else ""


def _chosen(keys: Mapping[str, str], users: Sequence[str] | None, where: object) -> list[str]:
    """The names of the annotators asked for. Keys are what they may be called by."""
    known = list(dict.fromkeys(keys.values()))
    if users is None:
        return known
    if problems := [f"has no annotator {user!r}; known: {', '.join(known)}" for user in users if user not in keys]:
        raise DocumentError(where, problems)
    return list(dict.fromkeys(keys[user] for user in users))


def _names(tasks: Iterable[Json]) -> dict[int, str]:
    """User id to what to call the user: the e-mail address where the export has it and nobody else uses it."""
    tasks = list(tasks)
    emails = {
        by["id"]: by["email"]
        for task in tasks
        for item in task.get("annotations") or []
        if isinstance(by := item.get("completed_by"), dict) and by.get("id") is not None and by.get("email")
    }
    used = list(emails.values())
    return {user: emails[user] if used.count(emails.get(user)) == 1 else f"user {user}" for user in annotators(tasks)}


def _orphans(tasks: Iterable[Json]) -> Iterator[str]:
    for task in tasks:
        for item in submitted(task):
            if user_of(item) is None:
                yield f"task {task.get('id')}: annotation {item.get('id')} names no user (deleted?) and is left out"
