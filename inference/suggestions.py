"""Label Studio's tasks in, predictions out, with whatever model is current when they are asked for.

It knows tasks and taggers; of the protocol around them it knows nothing.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

from annotations.document import Document
from annotations.errors import CheckpointError, ServerError, StandpointError
from annotations.labelstudio.exports import bare_document, checked_tasks
from annotations.labelstudio.shapes import Json, shared_labels, to_prediction
from annotations.schema import Schema
from inference.model_store import ModelStore
from inference.tagger import Tagger

AT_ONCE = 8
PATIENCE_SECONDS = 100.0

Asked = Mapping[str, frozenset[str]]
"""Layer name to the labels that may be suggested in it."""


class Suggester:
    """Predicts with the store's current version; a request that has begun ends on the version it began with."""

    def __init__(self, store: ModelStore, say: Callable[[str], None]) -> None:
        self.store, self.say = store, say
        # One thread predicts, a few tasks at a time, so that a short request goes in between the parts of a long one.
        self._worker = ThreadPoolExecutor(1, "predict")
        self._loaded: tuple[str, Tagger] | None = None

    def suggest(self, tasks: Sequence[Json], interface: str | None) -> list[Json]:
        """One prediction for each task, in order; an empty one for a task that cannot be read.

        `interface` is the project's labelling config, None for one that has all of the model's layers and labels.

        Raises:
            CheckpointError: the current checkpoint cannot be loaded.
            ServerError: it took longer than the server waits for an answer.
        """
        until = time.monotonic() + PATIENCE_SECONDS
        version, tagger = self._worker.submit(self._current).result()
        known = _known(tagger.schema, interface)
        found: list[Json] = []
        for start in range(0, len(tasks), AT_ONCE):
            if time.monotonic() > until:
                raise ServerError(
                    f"{start} of {len(tasks)} tasks took longer than the {PATIENCE_SECONDS:.0f} s that the server waits; "
                    "ask for fewer at a time, or send predictions with `standpoint labels push --model`"
                )
            part = tasks[start : start + AT_ONCE]
            found += self._worker.submit(self._suggest, tagger, version, part, known).result()
        return found

    def close(self) -> None:
        """Take no more requests."""
        self._worker.shutdown(wait=False, cancel_futures=True)

    def _current(self) -> tuple[str, Tagger]:
        """The current version's tagger, loaded where another one was current before."""
        version = self.store.version
        if self._loaded is None or self._loaded[0] != version:
            try:
                tagger = Tagger.load(self.store.path(version))
            except CheckpointError as error:
                remedy = f"go back with: standpoint labels restore {self.store.folder}"
                raise CheckpointError(f"version {version}", [*error.problems, remedy]) from error
            self._loaded = version, tagger
            self.say(f"version {version} is loaded")
        return self._loaded

    def _suggest(self, tagger: Tagger, version: str, tasks: Sequence[Json], known: Asked) -> list[Json]:
        documents = [self._document(task, tagger.schema, known) for task in tasks]
        sound = [document for document in documents if document]
        try:
            tagged: Iterator[Document | None] = iter(tagger.tag_all(sound))
        except Exception:
            # One of them is at fault; alone, each fails or succeeds by itself.
            tagged = iter([self._alone(tagger, document) for document in sound])
        nothing: Json = {"model_version": version, "score": 0.0, "result": []}
        found: list[Json] = []
        for task, document in zip(tasks, documents, strict=True):
            answer = next(tagged) if document else None
            found.append(to_prediction(answer.within(_asked(task, known)), version) if answer else nothing)
        return found

    def _document(self, task: Json, schema: Schema, known: Asked) -> Document | None:
        """The text to tag; without its target, which costs time, where no targeted layer is asked for."""
        name = f"task {task.get('id', 'without id')}" if isinstance(task, dict) else "task"
        try:
            document = bare_document(checked_tasks([task], "predict")[0]).model_copy(update={"id": name})
        except StandpointError as error:
            self._failed(name, error)
            return None
        if not document.text.strip():
            self.say(f"{name} gets an empty prediction: its text is empty")
            return None
        if not any(schema.layers[layer].targeted for layer in _asked(task, known)):
            document = document.model_copy(update={"target": None})
        return document

    def _alone(self, tagger: Tagger, document: Document) -> Document | None:
        try:
            return tagger.tag_all([document])[0]
        except Exception as error:
            self._failed(document.id, error)
            return None

    def _failed(self, name: str, error: Exception) -> None:
        # An unforeseen error's message may quote the text.
        why = str(error) if isinstance(error, StandpointError) else type(error).__name__
        self.say(f"{name} gets an empty prediction: {why}")


def _known(schema: Schema, interface: str | None) -> Asked:
    if interface is None:
        return {name: frozenset(layer.names) for name, layer in schema.layers.items()}
    return shared_labels(interface, schema)


def _asked(task: Json, known: Asked) -> Asked:
    """The task's own layers, if it names any."""
    named = task["data"].get("layers")
    return known if named is None else {name: labels for name, labels in known.items() if name in named}
