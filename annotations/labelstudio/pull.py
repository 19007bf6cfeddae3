"""Annotations from a Label Studio project into versions on disk, each named by its content, none ever half-written.

It knows projects and folders. Which annotation counts is `annotations.labelstudio.policy`'s business.
"""

from __future__ import annotations

import datetime
import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from annotations.document import Document
from annotations.errors import DocumentError
from annotations.labelstudio.exports import ImportReport, annotated
from annotations.labelstudio.policy import Policy
from annotations.labelstudio.server import Server
from annotations.labelstudio.shapes import Json, interface_differences
from annotations.labelstudio.snapshots import merged, read_tasks, version_of, write_tasks
from annotations.schema import Schema
from annotations.storage import fingerprint, read_jsonl, replacing, write_jsonl

TASKS, DOCUMENTS, MANIFEST, STATE, LATEST = "tasks.json", "documents.jsonl", "pull.json", "state.json", "latest"
# A filter that names more tasks costs the server more than exporting them all.
MOST_CHANGED = 500

Say = Callable[[str], None]


@dataclass(frozen=True)
class Pulled:
    """One version on disk."""

    version: str
    """Content hash of texts, annotations, policy and schema."""
    folder: Path
    """Holds `tasks.json` (the lossless export), `documents.jsonl` and `pull.json` (how they came about)."""
    count: int
    """How many documents."""
    changed: int
    """How many tasks are new, changed or gone since the last pull."""
    report: ImportReport

    @property
    def documents(self) -> Path:
        """The annotated documents, as JSON Lines."""
        return self.folder / DOCUMENTS

    @property
    def tasks(self) -> Path:
        """The project's tasks as the server exported them."""
        return self.folder / TASKS


def pull(
    server: Server, project: int, folder: Path, schema: Schema, policy: Policy, say: Say = lambda text: None
) -> Pulled:
    """Bring `folder` up to date: a new version where anything changed, and `folder/latest` pointing to the newest.

    Only tasks that changed since the last pull are fetched. An earlier version is never touched.

    Raises:
        DocumentError: with every problem of every task, and how the project's interface differs from the schema;
            nothing has been written then.
        ServerError: the server is down, refuses or fails; the last version is untouched.
    """
    about = server.project(project)
    differences = interface_differences(about["label_config"], schema)
    # A server may move to another address; a project keeps its number and its date.
    identity = [project, about["created"]]
    known = _known(folder, identity)
    listed = {task.id: task.updated for task in server.tasks(project, data=False)}
    changed = [number for number, updated in listed.items() if known.get(number) != updated]
    gone = set(known) - set(listed)
    say(f"project {project}: {len(listed)} tasks, {len(changed)} new or changed, {len(gone)} gone since the last pull")
    part = folder / f".part-{os.getpid()}"
    try:
        part.mkdir(parents=True, exist_ok=True)
        _fetch(server, project, folder, part, set(listed), changed, fresh=not known)
        report, documents = _convert(part, schema, policy, project, differences)
        version = version_of(read_tasks(part / TASKS), policy.model_dump_json(), schema.model_dump_json())
        manifest = {
            "version": version,
            "server": server.url,
            "project": project,
            "policy": policy.model_dump(mode="json"),
            "documents": documents,
            "previous": _current(folder),
            "pulled": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            "interface_differences": differences,
            "report": report.to_dict(),
        }
        _write_json(part / MANIFEST, manifest)
        _publish(folder, part, version)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    _write_json(folder / STATE, {"project": identity, "tasks": {str(k): v for k, v in listed.items()}})
    for text in differences:
        say(f"the project's interface differs from the schema: {text}")
    return Pulled(version, folder / version, report.documents, len(changed) + len(gone), report)


def _known(folder: Path, identity: list[object]) -> dict[int, str]:
    """What the last pull into this folder saw of each task. Raises DocumentError where it was of another project."""
    for stale in folder.glob(".part-*"):
        shutil.rmtree(stale, ignore_errors=True)
    path = folder / STATE
    if not path.exists() or not (folder / LATEST / TASKS).exists():
        if folder.exists() and any(folder.iterdir()) and not any(folder.glob(f"*/{MANIFEST}")):
            raise DocumentError(folder, "is a folder of something else; choose another one with --output")
        return {}
    state = json.loads(path.read_text("utf-8"))
    if state["project"] != identity:
        project, created = state["project"]
        raise DocumentError(
            folder, f"holds project {project}, made {created}, of another server; choose another folder with --output"
        )
    return {int(number): updated for number, updated in state["tasks"].items()}


def _fetch(
    server: Server, project: int, folder: Path, part: Path, listed: set[int], changed: list[int], *, fresh: bool
) -> None:
    if fresh or len(changed) > MOST_CHANGED:
        tasks: Iterator[Json] = iter(())
        write_tasks(part / "fetched.json", server.export(project))
        empty = part / "none.json"
        write_tasks(empty, tasks)
        write_tasks(part / TASKS, merged(empty, part / "fetched.json", listed))
    else:
        fetched = server.export(project, changed) if changed else iter(())
        write_tasks(part / "fetched.json", fetched)
        write_tasks(part / TASKS, merged(folder / LATEST / TASKS, part / "fetched.json", listed))


def _convert(
    part: Path, schema: Schema, policy: Policy, project: int, differences: list[str]
) -> tuple[ImportReport, str]:
    """Write the documents; returns the report and the documents' fingerprint, as runs note it."""
    report = ImportReport()
    try:
        write_jsonl(part / DOCUMENTS, annotated(read_tasks(part / TASKS), schema, policy, report))
    except DocumentError as error:
        told = [f"the project's interface differs from the schema: {text}" for text in differences]
        raise DocumentError(f"project {project}", [*told, *error.problems]) from error
    documents: Iterator[Document] = read_jsonl(part / DOCUMENTS)
    return report, fingerprint(documents)


def _current(folder: Path) -> str | None:
    with suppress(OSError):
        return (folder / LATEST).readlink().name
    return None


def _publish(folder: Path, part: Path, version: str) -> None:
    """Give the finished part its name, and point `latest` to it in one step."""
    for name in ("fetched.json", "none.json"):
        (part / name).unlink(missing_ok=True)
    if not (folder / version).exists():
        part.rename(folder / version)
    link = folder / f".{LATEST}-{os.getpid()}"
    link.unlink(missing_ok=True)
    link.symlink_to(version)
    link.replace(folder / LATEST)


def _write_json(path: Path, value: Json) -> None:
    with replacing(path) as out:
        out.write(json.dumps(value, indent=2, ensure_ascii=False) + "\n")
