"""The annotated documents that a cross-validation or a search of settings works on. It knows files and groups, no models."""

from __future__ import annotations

from collections.abc import Callable

from annotations.document import Document
from annotations.reading import annotated_documents
from training.config import RunConfig
from training.folds import held_apart


def documents_to_learn(config: RunConfig, say: Callable[[str], None]) -> list[Document]:
    """The annotated training documents of all groups but those in `data.held_out`, which stay unseen until the end.

    Tells what was repaired or left out on reading, and how many documents are held out.

    Raises:
        InputError: a file cannot be read, or no document is of a group that is held out.
    """
    documents, imported = annotated_documents(config.data.train, config.tagger.label_schema)
    if imported.changed:
        say(str(imported))
    learned, held_out = held_apart(documents, config.data.held_out)
    if held_out:
        say(f"data.held_out: {len(held_out)} of {len(documents)} documents are left out, neither learned nor scored")
    return learned
