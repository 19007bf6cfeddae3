"""Suspect labels into a review project: the most suspicious documents first, gold to start from, and what is doubtful above.

It knows suspects and tasks. Corrected labels come back by `annotations.labelstudio.pull`, as any others.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from annotations.document import Document, FrozenDict, Label, Labels, Span
from annotations.labelstudio.push import Particulars, Pushed, Suggestions, open_project, push
from annotations.labelstudio.server import Server
from annotations.schema import Kind, Schema
from annotations.sentences import Bounds, covers
from annotations.suspects import Suspect, context, ranked

SHOWN = "suspects"
"""The task's data that lists what is doubtful, in words; the interface shows it above the text."""
GOLD, SUGGESTED = "gold", "suggested"
"""The predictions of each task: what the reviewer starts from, and the same with every suspect as the model would have it."""

Tag = Callable[[Iterable[Document]], Iterable[Document]]


def review_project(server: Server, schema: Schema, *, project: int | None = None, title: str | None = None) -> int:
    """The project of this id, or of this title, made where there is none. Raises like `open_project`."""
    return open_project(server, schema, project=project, title=title, shown=SHOWN)[0]


def push_review(
    server: Server,
    project: int,
    documents: Iterable[Document],
    suspects: Iterable[Suspect],
    schema: Schema,
    say: Callable[[str], None] = lambda text: None,
) -> Pushed:
    """Create a task for each document that holds one of the suspects, unless it has one; ask for its annotated layers.

    Label Studio shows tasks in the order of their ids, which is that of suspicion. What was pushed is never changed: to have
    later suspects reviewed, use another project.

    Raises:
        DocumentError: before anything is sent, with every document that cannot be sent.
        ServerError: with what has been sent so far; the same call again goes on from there.
    """
    own: dict[str, list[Suspect]] = {}
    for suspect in ranked(suspects):
        own.setdefault(suspect.document, []).append(suspect)
    known = {document.id: document for document in documents}
    ordered = [_unscored(known[name]) for name in own]
    particulars = {one.id: _particulars(one, own[one.id], schema) for one in ordered}
    better = {one.id: corrected(one, own[one.id]) for one in ordered}

    def send(version: str, tag: Tag) -> Pushed:
        made = Suggestions(version, tag)
        return push(server, project, lambda: ordered, schema, suggestions=made, particulars=particulars, say=say)

    done = send(GOLD, lambda given: given)
    done.predictions += send(SUGGESTED, lambda given: [better[one.id] for one in given]).predictions
    return done


def _unscored(document: Document) -> Document:
    """Gold, as annotators gave it: without the probabilities that a document once predicted may carry."""
    plain: dict[str, Labels] = {}
    for name, labels in document.labels.items():
        if isinstance(labels, tuple):
            plain[name] = tuple(Span(start=one.start, end=one.end, label=one.label) for one in labels)
        else:
            plain[name] = Label(label=labels.label)
    return document.with_labels(plain)


def _particulars(document: Document, suspects: Sequence[Suspect], schema: Schema) -> Particulars:
    layers = [name for name in schema.layers if name in document.labels]
    lines = [_line(number, suspect, document, schema) for number, suspect in enumerate(suspects, 1)]
    data = {SHOWN: "\n".join(lines), "suspicion": round(suspects[0].suspicion, 4)}
    return Particulars(layers, data)


def _line(number: int, suspect: Suspect, document: Document, schema: Schema) -> str:
    whole = schema.layers[suspect.layer].kind is Kind.DOCUMENT
    place = context(suspect, document.text, whole=whole)
    return f"{number}. {suspect.layer} {suspect.suspicion:.2f}: {suspect.says(document.text)}: {place}"


def corrected(document: Document, suspects: Iterable[Suspect]) -> Document:
    """The document with each suspect's label replaced by the suggested one, where that overlaps no other label."""
    labels = dict(document.labels)
    for suspect in suspects:
        found = labels[suspect.layer]
        if isinstance(found, tuple):
            labels[suspect.layer] = _replaced(found, suspect)
        elif suspect.suggested:
            labels[suspect.layer] = Label(label=suspect.suggested)
    return document.with_labels(FrozenDict(labels))


def _replaced(spans: tuple[Span, ...], suspect: Suspect) -> tuple[Span, ...]:
    # People may mark a little more or less than a sentence.
    doubted = Bounds(suspect.start, suspect.end)
    kept = [span for span in spans if span.label != suspect.gold or not covers(span, doubted)]
    start, end = suspect.offered
    if suspect.suggested is None:
        return tuple(kept)
    if any(span.start < end and start < span.end for span in kept):
        return spans
    return tuple(sorted([*kept, Span(start=start, end=end, label=suspect.suggested)], key=lambda span: span.start))
