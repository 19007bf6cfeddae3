"""Annotations from a Label Studio project into versions on disk, each named by its content, none ever half-written.

It knows projects and folders. Which annotation counts is `annotations.labelstudio.policy`'s business.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from annotations.document import Document
from annotations.errors import DocumentError
from annotations.labelstudio.exports import ImportReport, annotated
from annotations.labelstudio.policy import Policy
from annotations.labelstudio.server import Server
from annotations.labelstudio.shapes import interface_differences
from annotations.labelstudio.snapshots import merged, read_tasks, version_of, write_tasks
from annotations.labelstudio.versions import DOCUMENTS, MANIFEST, TASKS, Versions, write_json
from annotations.schema import Schema
from annotations.storage import fingerprint, read_jsonl, write_jsonl

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
    versions = Versions(folder)
    with versions.locked():
        known = versions.known(identity)
        listed = {task.id: task.updated for task in server.tasks(project, data=False)}
        changed = [number for number, updated in listed.items() if known.get(number) != updated]
        gone = len(set(known) - set(listed))
        say(f"project {project}: {len(listed)} tasks, {len(changed)} new or changed, {gone} gone since the last pull")
        _fetch(server, project, versions, set(listed), changed, fresh=not known, say=say)
        report, documents = _convert(versions.part, schema, policy, project, differences)
        tasks = read_tasks(versions.part / TASKS)
        version = version_of(tasks, policy.model_dump_json(), schema.model_dump_json())
        manifest = {
            "version": version,
            "server": server.url,
            "project": project,
            "policy": policy.model_dump(mode="json"),
            "documents": documents,
            "previous": versions.current(),
            "pulled": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            "interface_differences": differences,
            "report": report.to_dict(),
        }
        write_json(versions.part / MANIFEST, manifest)
        place = versions.publish(version)
        versions.remember(identity, listed)
    for text in differences:
        say(f"the project's interface differs from the schema: {text}")
    return Pulled(version, place, report.documents, len(changed) + gone, report)


def _fetch(
    server: Server, project: int, versions: Versions, listed: set[int], changed: list[int], *, fresh: bool, say: Say
) -> None:
    """Write the project's tasks into the part: those that changed from the server, the others from the last version."""
    old, new = versions.latest / TASKS, versions.part / "fetched.json"
    if fresh or len(changed) > MOST_CHANGED:
        old = versions.part / "none.json"
        write_tasks(old, ())
        write_tasks(new, server.export(project, say=say))
    else:
        write_tasks(new, server.export(project, changed, say) if changed else ())
    write_tasks(versions.part / TASKS, merged(old, new, listed))
    for path in {new, versions.part / "none.json"}:
        path.unlink(missing_ok=True)


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
