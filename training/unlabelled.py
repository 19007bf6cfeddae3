"""The texts without labels that a run learns from as well. It reads them, and knows nothing of how they get labels."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from annotations.document import Document
from annotations.errors import DocumentError
from annotations.reading import bare_documents
from training.config import RunConfig

KNOWN = (".txt", ".jsonl", ".json")
"""What is read of a folder of texts."""


def further_texts(config: RunConfig) -> list[Document]:
    """The texts that teachers label, each once for a target, in order, without the labels that they may carry; or none.

    Raises:
        DocumentError: a file cannot be read, or there is no text.
    """
    if config.self_training is None:
        return []
    found = {
        (document.text, document.target): document.with_labels({})
        for path in config.self_training.texts
        for file in _files(path)
        for document in bare_documents(str(file))
        if document.text.strip()
    }
    if not found:
        raise DocumentError("self_training.texts", f"hold no text; give files or folders of {', '.join(KNOWN)}")
    return list(found.values())


def _files(path: Path) -> Iterator[Path]:
    if path.is_dir():
        yield from (file for file in sorted(path.rglob("*")) if file.suffix in KNOWN)
    else:
        yield path
