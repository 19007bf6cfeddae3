"""Which groups are held out together, and which labels that leaves unlearned. It knows documents and groups, no models."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from annotations.document import Document
from annotations.errors import ConfigError, DocumentError, did_you_mean
from annotations.schema import Schema

FOLDS = "folds"
CURVE = "curve"
"""Folders of a run's output in which predictions are kept, fold by fold."""
PROBABILITIES = "probabilities"
"""Where a search for suspect labels keeps what it finds, fold by fold."""


class Fold(NamedTuple):
    """One part of the data that is scored by a tagger trained on all the others."""

    name: str
    train: list[Document]
    test: list[Document]


def folds(documents: Sequence[Document], count: int | None = None) -> Iterator[Fold]:
    """One fold for every group, named after it; with `count`, that many folds of whole groups.

    Raises:
        DocumentError: there are fewer than two groups, or fewer than `count`.
    """
    groups = sorted({document.fold for document in documents})
    if len(groups) < 2:
        raise DocumentError("data", f"cross-validation needs at least two groups, found {len(groups)}; set `group`")
    if count and count > len(groups):
        raise DocumentError("data", f"{len(groups)} groups cannot be dealt to {count} folds; ask for fewer folds")
    owners = dealt(documents, count) if count else {group: group for group in groups}
    for name in dict.fromkeys(owners[group] for group in groups) if count is None else _names(count):
        train = [document for document in documents if owners[document.fold] != name]
        yield Fold(name, train, [document for document in documents if owners[document.fold] == name])


def held_apart(documents: Sequence[Document], groups: Sequence[str]) -> tuple[list[Document], list[Document]]:
    """The documents of other groups, and those of the groups held out. Raises ConfigError where a group has no document."""
    known = {document.fold for document in documents}
    if unknown := [f"no group {group!r}; {did_you_mean(group, known)}" for group in groups if group not in known]:
        raise ConfigError("data.held_out", unknown)
    learned = [document for document in documents if document.fold not in groups]
    return learned, [document for document in documents if document.fold in groups]


def apart(learned: Sequence[Document], scored: Sequence[Document]) -> None:
    """Raise DocumentError where a text that is scored is also learned from, or an id is scored twice."""
    texts = {document.text: document.id for document in learned}
    problems = [
        f"document {d.id!r} has the text of training document {texts[d.text]!r}" for d in scored if d.text in texts
    ]
    counts = Counter(document.id for document in scored)
    problems += [f"document id {name!r} is used twice" for name, count in counts.items() if count > 1]
    if problems:
        raise DocumentError("data.test and data.held_out", problems)


def scheme(folder: Path, count: int | None) -> Path:
    """Where folds of a kind are kept: apart for each number of folds, right in the folder for one fold a group."""
    return folder / f"{count}-fold" if count else folder


def dealt(documents: Sequence[Document], count: int) -> dict[str, str]:
    """Group to the name of its fold, the same on every call: folds hold about as many labels, then words, each.

    The heaviest group first, each to the lightest fold so far (Graham, 1969, Bounds on multiprocessing timing anomalies).
    """
    labels, words = label_counts(documents), Counter[str]()
    for document in documents:
        words[document.fold] += len(document.text.split())
    loads = dict.fromkeys(_names(count), (0, 0, 0))
    owners: dict[str, str] = {}
    for group in sorted(words, key=lambda group: (-labels[group], -words[group], group)):
        # Of equally light folds, the first; the number of groups keeps a fold from staying empty.
        name = min(loads, key=lambda name: loads[name])
        held = loads[name]
        loads[name] = (held[0] + labels[group], held[1] + words[group], held[2] + 1)
        owners[group] = name
    return owners


def _names(count: int) -> list[str]:
    return [f"fold-{number}" for number in range(1, count + 1)]


def label_counts(documents: Sequence[Document]) -> Counter[str]:
    """How many labels each group holds, over all layers."""
    found: Counter[str] = Counter()
    for document in documents:
        found[document.fold] += sum(len(names) for names in used_labels(document).values())
    return found


def used_labels(document: Document) -> dict[str, list[str]]:
    """Layer to the labels given in it, as often as they are given; an unannotated layer is absent."""
    return {
        name: [span.label for span in labels] if isinstance(labels, tuple) else [labels.label]
        for name, labels in document.labels.items()
    }


def occurring(documents: Sequence[Document], schema: Schema) -> Counter[tuple[str, str]]:
    """How often each (layer, label) of the schema is given, 0 where it never is."""
    found = Counter({(name, label): 0 for name, layer in schema.layers.items() for label in layer.names})
    for document in documents:
        for layer, labels in used_labels(document).items():
            found.update((layer, label) for label in labels if (layer, label) in found)
    return found


def unlearned(dealing: Sequence[Fold], documents: Sequence[Document], schema: Schema) -> list[str]:
    """What to warn of before any training: labels without an example, in all of the data or in a fold's training part.

    Raises:
        DocumentError: a fold's training part annotates nothing at all, so nothing can be trained.
    """
    total = occurring(documents, schema)
    nowhere = [" ".join(pair) for pair, times in total.items() if not times]
    warnings = [f"no document is labelled {', '.join(nowhere)}: never learned, never scored"] if nowhere else []
    known, empty = _annotated(documents, schema), []
    for name, _, test in dealing:
        own = occurring(test, schema)
        missing = [" ".join(pair) for pair, times in total.items() if times and times == own[pair]]
        if missing:
            warnings.append(f"training without {name} there is no example of {', '.join(missing)}")
        if known == _annotated(test, schema):
            empty.append(f"without {name} there is no annotation of the schema to learn from; annotate more groups")
    if empty:
        raise DocumentError("data", empty)
    return warnings


def _annotated(documents: Sequence[Document], schema: Schema) -> int:
    return sum(learnable(document, schema.layers) for document in documents)


def learnable(document: Document, layers: Iterable[str]) -> bool:
    """Whether a document has a text and annotates one of these layers, be it with nothing in it."""
    return bool(document.text.strip() and set(document.labels) & set(layers))
