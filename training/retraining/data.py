"""What a retraining job learns from and what versions are compared on, kept apart. It knows documents, not servers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from annotations.document import Document
from annotations.errors import ConfigError, DocumentError
from annotations.reading import annotated_documents
from annotations.schema import Schema
from training.config import RunConfig
from training.lineage import known_texts, learned_texts


@dataclass(frozen=True)
class Parts:
    """What is learned, what is scored, and how many documents went where."""

    learned: list[Document]
    scored: list[Document]
    counts: dict[str, int]


def divide(pulled: Sequence[Document], config: RunConfig, evaluation: Sequence[Path]) -> Parts:
    """Training data of a run and of a project together, apart from all that either version is scored on.

    A pulled document takes the place of one with its id, or with its text and target, in the run's own data.

    Raises:
        DocumentError: a file cannot be read, or nothing is left to score on or to learn from.
    """
    schema = config.tagger.label_schema
    own, _ = annotated_documents(config.data.train, schema)
    fixed, _ = annotated_documents([*evaluation, *config.data.test], schema)
    held_out = [document for document in own if document.fold in config.data.held_out]
    scored = list({document.id: document for document in [*held_out, *fixed]}.values())
    if not _annotated(scored, schema):
        raise DocumentError("evaluation", "is empty; name files, or data.held_out or data.test in the run")
    texts, folds = {document.text for document in scored}, {document.fold for document in scored}

    def apart(documents: Iterable[Document]) -> list[Document]:
        return [document for document in documents if document.text not in texts and document.fold not in folds]

    ids, pairs = {d.id for d in pulled}, {(d.text, d.target) for d in pulled}
    own = [document for document in own if document.fold not in config.data.held_out]
    new, kept = apart(pulled), apart(own)
    old = [d for d in kept if d.id not in ids and (d.text, d.target) not in pairs]
    counts = {
        "pulled": len(new),
        "pulled_left_out": len(pulled) - len(new),
        "own": len(old),
        "own_left_out": len(own) - len(kept),
        "own_replaced": len(kept) - len(old),
        "evaluation": len(scored),
    }
    return Parts([*old, *new], scored, counts)


def unlearned(
    documents: Sequence[Document], taggers: Mapping[str, Path], schema: Schema
) -> tuple[list[Document], list[str]]:
    """The documents that none of these taggers learned from, as far as their folders tell, and what to know of the others.

    `taggers` are folders by what to call them. On a text that only one version learned, it has the advantage.

    Raises:
        ConfigError: no annotated document is left.
    """
    left, told = list(documents), []
    for name, folder in taggers.items():
        texts = learned_texts(folder)
        if texts is None:
            told.append(
                f"what {name} learned from is not known, so it may know the articles that versions are compared on"
            )
        elif known := frozenset(known_texts(documents, texts)):
            told.append(
                f"{name} learned from {len(known)} of {len(documents)} evaluation documents, which are left out"
            )
            left = [document for document in left if document.id not in known]
    if not _annotated(left, schema):
        reason = "; ".join(["nothing is left to compare versions on", *told])
        raise ConfigError("evaluation", f"{reason}; name files of annotated articles that were never learned from")
    return left, told


def beginning(config: RunConfig) -> dict[str, Path]:
    """The tagger that a run goes on from, where its encoder is one that tells what it learned from."""
    folder = Path(config.encoder)
    return {f"the encoder {folder}": folder} if learned_texts(folder) is not None else {}


def _annotated(documents: Iterable[Document], schema: Schema) -> bool:
    return any(set(document.labels) & set(schema.layers) for document in documents)
