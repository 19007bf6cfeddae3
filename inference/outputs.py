"""Writes tagged documents: JSON Lines, Label Studio predictions, text for a terminal, or an HTML page.

It knows streams and formats; each writer holds one document at a time.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from annotations.document import Document
from annotations.labelstudio.shapes import task_array, to_prediction, to_task
from annotations.pages.render import html_page
from annotations.pages.terminal import terminal
from annotations.schema import Schema
from annotations.storage import replacing
from inference import checkpoint_files
from inference.tagger import Tagger

FORMATS = ("jsonl", "labelstudio", "text")


def write_html(path: Path, documents: Iterable[Document], schema: Schema) -> None:
    """One self-contained page; an earlier one is replaced only when the new one is whole."""
    with replacing(path) as out:
        out.writelines(html_page(documents, schema, "Standpoint"))


def write_lines(path: Path | None, documents: Iterable[Document], tagger: Tagger, *, form: str, model: Path) -> None:
    """Write to a file, or to standard output as the documents come, in one of FORMATS."""
    with _sink(path) as out:
        if form == "labelstudio":
            pieces = _tasks(documents, checkpoint_files.version(model))
        elif form == "text":
            colour = out.isatty() and "NO_COLOR" not in os.environ
            pieces = (terminal(document, tagger.schema, colour=colour) + "\n" for document in documents)
        else:
            pieces = (document.to_json() + "\n" for document in documents)
        for piece in pieces:
            out.write(piece)
            out.flush()


def _tasks(documents: Iterable[Document], version: str) -> Iterator[str]:
    """A JSON array of tasks with predictions, ready to import into Label Studio."""
    return task_array(
        {**to_task(document, document.labels), "predictions": [to_prediction(document, version)]}
        for document in documents
    )


@contextmanager
def _sink(path: Path | None) -> Iterator[IO[str]]:
    if path:
        with replacing(path) as out:
            yield out
        return
    sys.stdout.reconfigure(encoding="utf-8", newline="\n")  # type: ignore[union-attr]
    yield sys.stdout
