"""An annotation round on a Label Studio server: loads texts and each reader's reading, and later the gold.

It knows what must agree before anything is sent, because the server checks neither offsets nor texts.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from annotations.document import Document, claim
from annotations.errors import DocumentError
from annotations.labelstudio.server import Server
from annotations.labelstudio.shapes import Json, to_results, to_task
from annotations.schema import Schema


def load_round(
    admin: Server,
    readers: Mapping[str, Server],
    schema: Schema,
    asked: Mapping[str, Sequence[str]],
    bare: Sequence[Document],
    readings: Mapping[str, Sequence[Document]],
    title: str,
) -> int:
    """Create a project that asks for `asked[document id]` of each bare document, with each reader's reading as that
    reader's own annotation. Returns the project's id.

    Raises:
        DocumentError: before anything is sent, with every reading that does not fit its task.
        ServerError: the server is down, refuses or fails.
    """
    tasks = {document.id: to_task(document, asked.get(document.id, ())) for document in bare}
    problems = [f"document {document.id!r} is asked for no layer" for document in bare if not asked.get(document.id)]
    problems += [f"{name}: is no reader with a token" for name in readings if name not in readers]
    for name, documents in readings.items():
        problems += [f"{name}: {problem}" for problem in _misfits(documents, tasks)]
        problems += [f"{name}, {d.id!r}: {problem}" for d in documents for problem in schema.problems(d)]
    if len({reader.whoami()["id"] for reader in readers.values()}) < len(readers):
        problems.append("two readers' tokens belong to the same user; give each reader an account")
    if problems:
        raise DocumentError(f"round {title!r}", problems)
    project = admin.create_project(title, schema)
    ids = admin.import_tasks(project, list(tasks.values()))
    for name, documents in readings.items():
        for document in documents:
            readers[name].annotate(ids[document.id], to_results(document))
    return project


def store_gold(admin: Server, project: int, gold: Sequence[Document]) -> None:
    """Store each document as the ground truth of its task in `project`.

    Raises:
        DocumentError: before anything is sent, with every document that does not fit its task or has a ground truth.
        ServerError: the server is down, refuses or fails.
    """
    tasks = {str(task["data"]["doc_id"]): task for task in admin.export(project)}
    problems = [*_misfits(gold, tasks)]
    for document in gold:
        if any(item["ground_truth"] for item in tasks.get(document.id, {}).get("annotations", [])):
            problems.append(f"document {document.id!r} has a ground truth; delete it on the server to store another")
    if problems:
        raise DocumentError(f"gold of project {project}", problems)
    for document in gold:
        admin.annotate(tasks[document.id]["id"], to_results(document), ground_truth=True)


def _misfits(documents: Iterable[Document], tasks: Mapping[str, Json]) -> Iterator[str]:
    """One sentence for each document that its task could not give back as it is."""
    seen: set[str] = set()
    for document in documents:
        name = f"document {document.id!r}"
        data = tasks.get(document.id, {}).get("data")
        if data is None:
            yield f"{name} has no task"
        elif document.id in seen:
            yield f"{name} is given twice"
        elif (document.text, document.target) != (data["text"], claim(data["target"])):
            yield f"{name} has another text or target than its task"
        elif set(document.labels) != set(data["layers"]):
            yield f"{name} labels {_listed(document.labels)}, its task asks for {_listed(data['layers'])}"
        seen.add(document.id)


def _listed(layers: Iterable[str]) -> str:
    return ", ".join(sorted(layers)) or "nothing"
