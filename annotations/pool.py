"""Reads articles that nobody has annotated yet, one after the other; one that cannot be read does not stop the others.

It knows files and folders, not what is done with the articles.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from annotations.document import Document
from annotations.errors import DocumentError
from annotations.reading import bare_documents, with_targets
from annotations.storage import parse_lines

Say = Callable[[str], None]


def pool(paths: Iterable[str], targets: Sequence[str], left_out: Say) -> Iterator[Document]:
    """The documents of folders (every `.txt` below them), `.jsonl`, Label Studio `.json` and text files, in order.

    One without a target of its own comes once for each target given. What is unreadable, has no text, or has an id that
    came before is told to `left_out`, one sentence each.
    """
    seen: set[str] = set()
    for path in paths:
        for document in _documents(path, left_out):
            if not document.text.strip():
                left_out(f"{path}: document {document.id!r} has no text")
                continue
            for one in with_targets(document, targets):
                if one.id in seen:
                    left_out(f"{path}: the id {one.id!r} is used twice; ids must be unique, and the first one is taken")
                else:
                    seen.add(one.id)
                    yield one


def _documents(path: str, left_out: Say) -> Iterator[Document]:
    if Path(path).is_dir():
        files = sorted(str(file) for file in Path(path).rglob("*.txt") if file.is_file())
        if not files:
            left_out(f"{path}: the folder has no .txt file; name .jsonl files themselves")
        for file in files:
            yield from _documents(file, left_out)
        return
    try:
        yield from _lines(Path(path), left_out) if path.endswith(".jsonl") else bare_documents(path)
    except DocumentError as error:
        for problem in error.problems:
            left_out(f"{error.where}: {problem}")


def _lines(path: Path, left_out: Say) -> Iterator[Document]:
    """Every document of a file of JSON Lines by itself, so that a bad line costs no other."""
    try:
        lines = path.open("rb")
    except OSError as error:
        raise DocumentError(path, f"cannot be read ({error.strerror}); check the path") from error
    with lines:
        for number, line in enumerate(lines, 1):
            try:
                yield from parse_lines([line], path)
            except DocumentError as error:
                for problem in error.problems:
                    left_out(f"{path}: line {number}: {problem.removeprefix('line 1: ')}")
