"""Which names the training data mark, so that scores on seen and unseen names can be told apart. It counts nothing."""

from __future__ import annotations

from collections.abc import Sequence

from annotations.document import Document
from training.reports.slices import SEEN, Known
from training.reports.sources import Training


def known_names(training: Training | None) -> dict[str, Known]:
    """For each layer of spans that the training data annotate, where a name stands in SEEN."""
    if training is None:
        return {}
    lessons = [(lesson.tested, _marked(lesson.learned)) for lesson in training.lessons]
    layers = {name for _, marked in lessons for name in marked}

    def known(name: str) -> Known:
        owners = {one: marked.get(name, {}) for tested, marked in lessons if tested is not None for one in tested}
        everywhere: dict[str, set[str]] = next(
            (marked.get(name, {}) for tested, marked in lessons if tested is None), {}
        )

        def place(document: Document, surface: str, label: str) -> int:
            labels = owners.get(document.id, everywhere).get(surface)
            return SEEN.index("unseen") if labels is None else 0 if label in labels else 1

        return place

    return {name: known(name) for name in layers}


def _marked(documents: Sequence[Document]) -> dict[str, dict[str, set[str]]]:
    """Layer to characters to the labels that they are marked with."""
    found: dict[str, dict[str, set[str]]] = {}
    for document in documents:
        for name, labels in document.labels.items():
            for span in labels if isinstance(labels, tuple) else ():
                found.setdefault(name, {}).setdefault(document.text[span.start : span.end], set()).add(span.label)
    return found
