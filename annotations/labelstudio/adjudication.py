"""Settles disputes: a review project shows each annotator's version, and the reviewer's answer becomes ground truth.

It knows which labels are in dispute. Where all annotators agree, their labels pass through as they are.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field

from annotations.document import Document, Label, Labels, Span
from annotations.errors import DocumentError, ServerError
from annotations.labelstudio.exports import document_id, from_tasks
from annotations.labelstudio.policy import Policy, disputed, submitted, user_of
from annotations.labelstudio.push import BATCH, open_project
from annotations.labelstudio.server import Server
from annotations.labelstudio.shapes import Json, to_prediction, to_results, to_task
from annotations.schema import Kind, Schema
from annotations.sentences import sentence_labels, sentences

Say = Callable[[str], None]


@dataclass
class Disputed:
    """A task that several people annotated: what each says, and where they differ."""

    task: Json
    readings: dict[int, Document]
    """User id to that user's document."""
    annotations: dict[int, int]
    """User id to annotation id."""
    layers: list[str]
    """Layers in dispute; empty where all agree."""

    @property
    def name(self) -> str:
        """The document's id."""
        return next(iter(self.readings.values())).id

    @property
    def digest(self) -> str:
        """What the readings say, as a short hash: a review is of these readings, and of no later ones."""
        said = sorted((user, document.to_json()) for user, document in self.readings.items())
        return hashlib.sha256(repr(said).encode()).hexdigest()[:16]

    @property
    def agreed(self) -> dict[str, Labels]:
        """The labels that everybody gives: whole layers, and what is alike in layers in dispute."""
        first, *others = self.readings.values()
        found: dict[str, Labels] = {}
        for name, labels in first.labels.items():
            if name not in self.layers:
                found[name] = labels
            elif isinstance(labels, tuple) and all(name in other.labels for other in others):
                alike = set(labels).intersection(*(other.spans(name) for other in others))
                found[name] = tuple(span for span in labels if span in alike)
        return found


@dataclass(frozen=True)
class Review:
    """A task of the review project."""

    task: int
    digest: str | None
    """Of the readings that the reviewer was shown."""
    touched: bool
    """Whether anybody annotated or skipped it."""
    answer: Document | None


@dataclass
class Adjudicated:
    """Where an adjudication stands."""

    review: int | None = None
    """The review project; None where nothing is in dispute."""
    agreed: int = 0
    """Documents on which all annotators agree."""
    settled: int = 0
    """Documents that have a ground truth."""
    waiting: list[str] = field(default_factory=list)
    """Documents that the reviewer has not answered."""
    single: list[str] = field(default_factory=list)
    """Documents that one person annotated: there is nothing to settle, and no second opinion."""
    notes: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        head = f"{self.settled} documents with ground truth, {self.agreed} agreed on without a dispute, "
        head += f"{len(self.waiting)} waiting for the reviewer, {len(self.single)} annotated by one person only"
        listed = [f"  waiting  {name}" for name in self.waiting] + [f"  single   {name}" for name in self.single]
        return "\n".join([head, *listed, *(f"  note     {note}" for note in self.notes)])


def adjudicate(
    server: Server, project: int, schema: Schema, *, users: Sequence[int] | None = None, say: Say = lambda text: None
) -> Adjudicated:
    """One step of an adjudication; run it again whenever the reviewer has answered more.

    Documents on which all annotators (or all of `users`) agree get one of their annotations marked as ground truth. The
    others become tasks of the project `Review of …`, which ask for the layers in dispute and show each annotator's
    version, and what is agreed on, as predictions. What the reviewer submitted there is stored as ground truth here.

    Raises:
        DocumentError: with every annotation that cannot be read and every unknown user; nothing has been sent then.
        ServerError: the server is down, refuses or fails; run it again to go on.
    """
    state = Adjudicated()
    open_now = list(_open(server, project, schema, users, state))
    title = review_title(project, server.project(project)["title"])
    known = [number for number, name in server.projects().items() if name == title]
    if len(known) > 1:
        raise ServerError(f"{server.url}: {len(known)} projects are called {title!r}; delete all but one")
    reviews = _reviews(server, known[0], schema) if known else {}
    contested = [case for case in open_now if case.layers]
    stale = _stale(server, known[0], contested, reviews, state) if known else set()
    if contested:
        state.review, _ = open_project(server, schema, project=known[0] if known else None, title=title)
        new = [case for case in contested if case.name not in reviews]
        for start in range(0, len(new), BATCH):
            server.import_tasks(state.review, list(map(_review_task, new[start : start + BATCH])))
        say(f"review project {server.url}projects/{state.review}: {len(new)} new tasks")
    for case in open_now:
        review = reviews.get(case.name)
        if not case.layers:
            server.mark_ground_truth(min(case.annotations.values()))
            state.agreed += 1
            state.settled += 1
            if review and review.answer:
                state.notes.append(
                    f"{case.name}: the annotators agree by now; the review of task {review.task} is not used"
                )
        elif review and review.answer and case.name not in stale and _complete(case, review, state):
            final, notes = settle(case, review.answer, schema)
            server.annotate(case.task["id"], to_results(final), ground_truth=True)
            state.notes += [f"{case.name}: {note}" for note in notes]
            state.settled += 1
        else:
            state.waiting.append(case.name)
    return state


def _complete(case: Disputed, review: Review, state: Adjudicated) -> bool:
    """Whether the reviewer answered every layer in dispute; says so where not."""
    missing = [name for name in case.layers if review.answer is None or name not in review.answer.labels]
    if missing:
        state.notes.append(
            f"{case.name}: review task {review.task} was submitted without {', '.join(missing)}; add it there"
        )
    return not missing


def review_title(project: int, title: str) -> str:
    """What the review project of a project is called."""
    return f"Review of {project}: {title}"[:50].strip()


def _open(
    server: Server, project: int, schema: Schema, users: Sequence[int] | None, state: Adjudicated
) -> Iterator[Disputed]:
    """Tasks of several annotators without ground truth. Raises DocumentError behind the last, with every problem."""
    problems: list[str] = []
    seen: set[int] = set()
    for task in server.export(project):
        done = submitted(task)
        own = {user: item["id"] for item in done if (user := user_of(item)) is not None}
        seen |= set(own)
        if any(item["ground_truth"] for item in done):
            state.settled += 1
            continue
        chosen = {user: number for user, number in own.items() if users is None or user in users}
        if len(chosen) < 2:
            state.single += [document_id(task)] if chosen else []
            continue
        try:
            readings = {user: _reading(task, schema, user) for user in chosen}
        except DocumentError as error:
            problems += error.problems
            continue
        yield Disputed(task, readings, chosen, disputed(list(readings.values())))
    known = ", ".join(map(str, sorted(seen))) or "none"
    problems += [f"user {user} has annotated nothing; annotators: {known}" for user in users or [] if user not in seen]
    if problems:
        raise DocumentError(f"project {project}", problems)


def _reading(task: Json, schema: Schema, user: int) -> Document:
    (document,), _ = from_tasks([task], schema, user=user)
    return document


def _review_task(case: Disputed) -> Json:
    """A task for the reviewer; each version is a prediction, which the reviewer may take over and mend."""
    first = next(iter(case.readings.values()))
    task = to_task(first, case.layers)
    versions = {f"user {user}": document for user, document in case.readings.items()}
    versions["agreed by all"] = first.with_labels(case.agreed)
    task["predictions"] = [to_prediction(version.only(case.layers), name) for name, version in versions.items()]
    task["data"]["review_of"] = {"task": case.task["id"], "readings": case.digest}
    return task


def _reviews(server: Server, project: int, schema: Schema) -> dict[str, Review]:
    """Document id to its review. Raises DocumentError where a task has several answers."""
    tasks = list(server.export(project))
    try:
        documents, _ = from_tasks(tasks, schema, policy=Policy())
    except DocumentError as error:
        told = ["of several answers to one review task, delete all but one", *error.problems]
        raise DocumentError(f"{server.url}projects/{project}", told) from error
    answers = {document.id: document for document in documents}
    found: dict[str, Review] = {}
    for task in tasks:
        origin = task["data"].get("review_of")
        digest = origin.get("readings") if isinstance(origin, dict) else None
        name = document_id(task)
        found[name] = Review(task["id"], digest, bool(task["annotations"] or task.get("drafts")), answers.get(name))
    return found


def _stale(
    server: Server, project: int, contested: Sequence[Disputed], reviews: dict[str, Review], state: Adjudicated
) -> Collection[str]:
    """Documents whose annotators changed their minds after the review was made. Untouched reviews are made anew."""
    stale: set[str] = set()
    for case in contested:
        review = reviews.get(case.name)
        if review is None or review.digest == case.digest:
            continue
        if not review.touched and server.delete_untouched(project, review.task):
            del reviews[case.name]
            continue
        stale.add(case.name)
        state.notes.append(
            f"{case.name}: annotations changed after the review was made; "
            f"delete review task {review.task}, run this again"
        )
    return stale


def settle(case: Disputed, review: Document, schema: Schema) -> tuple[Document, list[str]]:
    """The reviewer's labels over what is agreed on, and a note for each agreed label that the review lacks or changes.

    Agreed labels stay where the review says nothing; where the reviewer's own labels overlap them, the reviewer's count.
    """
    first = next(iter(case.readings.values()))
    final: dict[str, Labels] = dict(case.agreed)
    notes: list[str] = []
    for name, labels in review.labels.items():
        agreed = final.get(name)
        if isinstance(labels, Label) or not isinstance(agreed, tuple):
            final[name] = labels
        elif schema.layers[name].kind is Kind.SPANS:
            final[name], own = _over(labels, agreed)
            notes += [f"{name}: {note}" for note in own]
        else:
            final[name] = _sentences(review, name, agreed)
    return first.with_labels(final), notes


def _over(labels: Sequence[Span], agreed: Sequence[Span]) -> tuple[tuple[Span, ...], list[str]]:
    kept: list[Span] = []
    notes: list[str] = []
    for span in agreed:
        rivals = [other for other in labels if other.start < span.end and span.start < other.end]
        if not rivals:
            kept.append(span)
            notes.append(f"{span.label} {span.start}–{span.end} is agreed on and stays, though the review lacks it")
        elif span not in rivals:
            notes.append(f"{span.label} {span.start}–{span.end} was agreed on, and the review changed it")
    return tuple(sorted([*labels, *kept], key=lambda span: span.start)), notes


def _sentences(review: Document, name: str, agreed: Sequence[Span]) -> tuple[Span, ...]:
    bounds = sentences(review.text)
    own = sentence_labels(review, name)
    alike = {(span.start, span.end): span.label for span in agreed}
    found = [(place, label or alike.get((place.start, place.end))) for place, label in zip(bounds, own, strict=True)]
    return tuple(Span(start=place.start, end=place.end, label=label) for place, label in found if label)
