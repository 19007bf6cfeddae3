"""Articles into a Label Studio project, each once, however often the push is run or cut short.

It knows tasks by their document's id. What suggests labels is a function that it is given; it knows no model.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice

from annotations.document import Document
from annotations.errors import DocumentError, SchemaError, ServerError
from annotations.labelstudio.exports import document_id
from annotations.labelstudio.server import Listed, Server
from annotations.labelstudio.shapes import Json, interface_differences, to_prediction, to_task
from annotations.schema import Kind, Schema

BATCH = 50
FROM_FILE = "labels in the file"

Read = Callable[[], Iterable[Document]]
"""Gives the same documents in the same order whenever it is called."""
Say = Callable[[str], None]


@dataclass(frozen=True)
class Suggestions:
    """Where predictions come from: one labelled document for each given, in order; `version` changes with the weights."""

    version: str
    tag: Callable[[Iterable[Document]], Iterable[Document]]


@dataclass(frozen=True)
class Particulars:
    """What one document's task has of its own."""

    layers: Sequence[str]
    """What it asks for, whatever the others ask for."""
    data: Json
    """Further data of the task."""


@dataclass
class Pushed:
    """What a push did."""

    project: int
    created: int = 0
    known: int = 0
    """Documents that had a task already."""
    predictions: int = 0
    doubles: int = 0
    """Tasks removed because an interrupted push had sent them twice; nobody had worked on them."""
    notes: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        head = f"project {self.project}: {self.created} tasks created, {self.known} were there, "
        head += f"{self.predictions} predictions, {self.doubles} doubled tasks removed"
        return "\n".join([head, *self.notes])


def open_project(
    server: Server,
    schema: Schema,
    *,
    project: int | None = None,
    title: str | None = None,
    update: bool = False,
    shown: str | None = None,
) -> tuple[int, list[str]]:
    """The project of this id, or of this title, which is created where there is none. Returns its id and notes.

    With `update` the schema's labelling interface replaces another one. A new project shows `shown`, a text of its tasks.

    Raises:
        SchemaError: the project asks for something else than the schema.
        ServerError: no such project, several of that title, or the server refuses.
    """
    if project is None:
        # The server cuts off white space, so a title with any would never be found again.
        title = str(title).strip()
        named = [number for number, name in server.projects().items() if name == title]
        if not named:
            return server.create_project(title, schema, shown), []
        if len(named) > 1:
            raise ServerError(
                f"{server.url}: {len(named)} projects are called {title!r}; choose one: --project {named[0]}"
            )
        project = named[0]
    config = server.project(project)["label_config"]
    differences = interface_differences(config, schema)
    if not differences:
        return project, []
    if not update:
        raise SchemaError(
            f"{server.url}projects/{project}",
            [f"{text} on the server" for text in differences]
            + ["change the schema or the project, or replace the project's interface with --update-interface"],
        )
    server.set_interface(project, schema)
    return project, [f"labelling interface replaced: {text}" for text in differences]


def push(
    server: Server,
    project: int,
    read: Read,
    schema: Schema,
    *,
    layers: Collection[str] | None = None,
    suggestions: Suggestions | None = None,
    particulars: Mapping[str, Particulars] | None = None,
    say: Say = lambda text: None,
) -> Pushed:
    """Create a task for each document that has none in the project, with predictions where there are suggestions.

    Each task asks for `layers` (all by default), less those that need a target where there is none, and less spans
    where another task asks for those of the same text; `particulars`, by document id, say otherwise of single tasks.
    Labels in the documents go along as predictions, unless a model suggests its own. Tasks that are there get the
    predictions they lack.

    Raises:
        DocumentError: before anything is sent, with every document that cannot be sent.
        ServerError: with what has been sent so far; the same push again goes on from there.
    """
    done = Pushed(project)
    plan = _Plan(server, project, schema, layers, done, particulars or {})
    plan.check(read())
    plan.remove_doubles()
    version = suggestions.version if suggestions else FROM_FILE
    predicted = {task.id for task in server.tasks(project, data=False, predicted_by=version)}
    total = len(plan.asked)
    try:
        wanting = plan.wanting(read(), predicted, bool(suggestions))
        while documents := list(islice(wanting, BATCH)):
            labelled = suggestions.tag(documents) if suggestions else documents
            _send(server, plan, list(labelled), version, done)
            say(f"{done.created + done.known} of {total} documents, {done.predictions} predictions")
    except ServerError as error:
        sent = f"{done.created} tasks and {done.predictions} predictions were sent"
        raise ServerError(f"{error}\n{sent}; run the same command again, it goes on from there") from error
    return done


class _Plan:
    """What the project holds, and what each document asks for."""

    def __init__(
        self,
        server: Server,
        project: int,
        schema: Schema,
        layers: Collection[str] | None,
        done: Pushed,
        particulars: Mapping[str, Particulars],
    ) -> None:
        self.server, self.project, self.schema, self.done = server, project, schema, done
        self.layers = [name for name in schema.layers if layers is None or name in layers]
        self.particulars = particulars
        self.asked: dict[str, list[str]] = {}
        self.tasks: dict[str, int] = {}
        self.task_layers: dict[str, list[str]] = {}
        self._content: dict[str, str] = {}
        self._spans_asked: dict[str, str] = {}
        self._several: dict[str, list[Listed]] = {}
        self._read_project()

    def _read_project(self) -> None:
        spans = set(self.schema.of_kind(Kind.SPANS))
        for task in self.server.tasks(self.project):
            name = document_id({"id": task.id, "data": task.data})
            layers = task.data.get("layers")
            # Of a task's data only a hash is kept.
            known = {"content": _digest(task.data.get("text"), task.data.get("target")), "layers": layers}
            self._several.setdefault(name, []).append(Listed(task.id, task.updated, known, task.annotations))
            if spans.intersection(self.schema.layers if layers is None else layers):
                self._spans_asked.setdefault(_digest(task.data.get("text")), name)
        for name, tasks in self._several.items():
            kept = max(tasks, key=lambda task: (task.annotations, -task.id))
            self.tasks[name], self._content[name] = kept.id, kept.data["content"]
            self.task_layers[name] = list(self.schema.layers) if kept.data["layers"] is None else kept.data["layers"]

    def remove_doubles(self) -> None:
        """Remove what an interrupted push sent twice: tasks alike in everything, of which nobody has touched this one."""
        for name in self.asked:
            for task in self._several.get(name, []):
                if task.id != self.tasks[name] and self.server.delete_untouched(self.project, task.id):
                    self.done.doubles += 1

    def check(self, documents: Iterable[Document]) -> None:
        """Decide what each document asks for. Raises DocumentError with all that cannot be sent."""
        problems: list[str] = []
        for document in documents:
            name = f"document {document.id!r}"
            if document.id in self.asked:
                problems.append(f"{name} is given twice; give each document an id of its own")
            elif self._content.get(document.id, _digest(document.text, document.target)) != _digest(
                document.text, document.target
            ):
                problems.append(
                    f"{name} has another text or target than task {self.tasks[document.id]}; give it another id, "
                    "or delete the task"
                )
            if problem := _unclear(document.id, self._several.get(document.id, [])):
                problems.append(problem)
            problems += [f"{name}: {problem}" for problem in self.schema.problems(document)]
            if not _encodable(document):
                problems.append(f"{name} holds half of a surrogate pair, which is no character; mend its text")
            if not document.text.strip():
                problems.append(f"{name} has no text; leave it out")
            self.asked[document.id] = self._asks(document)
            if not self.asked[document.id] and document.id not in self.tasks:
                problems.append(f"{name} asks for nothing: its layers need a target, or another task has its spans")
        if problems:
            raise DocumentError("push", problems)
        self.done.known = sum(name in self.tasks for name in self.asked)

    def _asks(self, document: Document) -> list[str]:
        if own := self.particulars.get(document.id):
            return list(own.layers)
        owner = self._spans_asked.get(_digest(document.text), document.id)
        names = [
            name
            for name in self.layers
            if (document.target is not None or not self.schema.layers[name].targeted)
            and (owner == document.id or self.schema.layers[name].kind is not Kind.SPANS)
        ]
        if any(self.schema.layers[name].kind is Kind.SPANS for name in names):
            self._spans_asked[_digest(document.text)] = document.id
        return names

    def wanting(self, documents: Iterable[Document], predicted: Collection[int], modelled: bool) -> Iterator[Document]:
        """Documents without a task, or whose task lacks its prediction."""
        for document in documents:
            task = self.tasks.get(document.id)
            if task is None or (task not in predicted and (modelled or document.labels)):
                yield document


def _unclear(name: str, tasks: Sequence[Listed]) -> str | None:
    numbers = ", ".join(str(task.id) for task in tasks)
    if sum(task.annotations > 0 for task in tasks) > 1:
        return f"document {name!r} has several annotated tasks ({numbers}); delete all but one"
    if len({(task.data["content"], str(task.data["layers"])) for task in tasks}) > 1:
        return f"document {name!r} has tasks with different texts, targets or layers ({numbers}); delete all but one"
    return None


def _encodable(document: Document) -> bool:
    try:
        f"{document.id}{document.text}{document.target}{document.group}".encode()
    except UnicodeEncodeError:
        return False
    return True


def _digest(*parts: object) -> str:
    return hashlib.sha256(repr(parts).encode("utf-8", "surrogatepass")).hexdigest()


def _send(server: Server, plan: _Plan, documents: Sequence[Document], version: str, done: Pushed) -> None:
    new: list[Json] = []
    late: list[Json] = []
    for document in documents:
        asked, task = plan.task_layers.get(document.id, plan.asked[document.id]), plan.tasks.get(document.id)
        suggested = _suggested(document, asked, version)
        if task is not None:
            late += [{"task": task, **prediction} for prediction in suggested]
        else:
            sent = to_task(document, asked)
            if own := plan.particulars.get(document.id):
                sent["data"] |= own.data
            new.append({**sent, "predictions": suggested})
    server.import_tasks(done.project, new)
    done.created += len(new)
    server.import_predictions(done.project, late)
    done.predictions += len(late) + sum(len(task["predictions"]) for task in new)


def _suggested(document: Document, asked: Collection[str], version: str) -> list[Json]:
    suggested = document.only(asked)
    return [to_prediction(suggested, version)] if suggested.labels else []
