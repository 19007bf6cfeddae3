"""Documents on disk: JSON Lines, one document a line, read and written as a stream.

It knows files and lines. What a document may contain is the Document's and the schema's business.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from annotations.document import Document
from annotations.errors import DocumentError
from annotations.schema import Schema


def read_jsonl(path: str | Path, schema: Schema | None = None) -> Iterator[Document]:
    """Stream the documents of a file, checked against a schema where one is given.

    Raises:
        DocumentError: after the last line, with every bad line's number and problem, or at once if the file is missing.
    """
    path = Path(path)
    try:
        lines = path.open("rb")
    except OSError as error:
        raise DocumentError(path, f"cannot be read ({error.strerror}); check the path") from error
    with lines:
        yield from parse_lines(lines, path, schema)


def parse_lines(lines: Iterable[bytes], where: object, schema: Schema | None = None) -> Iterator[Document]:
    """Stream documents from JSON lines; blank lines are skipped. Raises like `read_jsonl`."""
    problems: list[str] = []
    seen: set[str] = set()
    for number, line in enumerate(lines, 1):
        try:
            document = _parsed(line, f"line {number}")
        except DocumentError as error:
            problems += [f"line {number}: {problem}" for problem in error.problems]
            continue
        if document is None:
            continue
        found = list(schema.problems(document)) if schema else []
        if document.id in seen:
            found.append("the id is used twice; ids must be unique in a file")
        seen.add(document.id)
        problems += [f"line {number}, document {document.id!r}: {problem}" for problem in found]
        if not problems:
            yield document
    if problems:
        raise DocumentError(where, problems)


def _parsed(line: bytes, where: str) -> Document | None:
    """One line's document, None for a blank line; a byte order mark is ignored."""
    try:
        text = line.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DocumentError(where, f"is not UTF-8 ({error.reason}); save it as UTF-8") from error
    return Document.from_json(text, where=where) if text.strip() else None


def read_bytes(path: Path) -> bytes:
    """A file's bytes.

    Raises:
        DocumentError: it cannot be read.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise DocumentError(path, f"cannot be read ({error.strerror}); check the path") from error


def utf8_name(name: str) -> str:
    """A file's name, for documents that are called after it.

    Raises:
        DocumentError: it holds bytes that are not UTF-8, so no document and no file could hold it.
    """
    try:
        name.encode("utf-8")
    except UnicodeEncodeError as error:
        shown = name.encode("utf-8", "backslashreplace").decode("utf-8")
        raise DocumentError(shown, "its name is not UTF-8; rename it") from error
    return name


def write_jsonl(path: str | Path, documents: Iterable[Document]) -> int:
    """Write documents, replacing the file only once all are written. Returns how many."""
    count = 0
    with replacing(path) as out:
        for document in documents:
            out.write(document.to_json() + "\n")
            count += 1
    return count


def write_text(path: str | Path, text: str) -> None:
    """Write a text file whole or not at all."""
    with replacing(path) as out:
        out.write(text)


def write_json(path: str | Path, value: Any) -> None:
    """Write indented JSON whole or not at all."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


@contextmanager
def replacing(path: str | Path) -> Iterator[IO[str]]:
    """Open a file for writing that takes the place of `path` only when the block ends without an error.

    What is no regular file (a terminal, a pipe) is written directly; of a link, the file it points to is replaced.
    """
    with replacing_file(path) as part, part.open("w", encoding="utf-8", newline="\n") as out:
        yield out


@contextmanager
def replacing_file(path: str | Path) -> Iterator[Path]:
    """Like `replacing`, for what a library writes itself: gives the name to write to.

    Raises:
        DocumentError: it cannot be written; an earlier file is untouched.
    """
    path = Path(path)
    part = None
    try:
        path = path.resolve()
        if path.exists() and not path.is_file() and not path.is_dir():
            yield path
            return
        part = path.with_name(f".{path.name}.{os.getpid()}.part")
        path.parent.mkdir(parents=True, exist_ok=True)
        yield part
        part.replace(path)
    except OSError as error:
        raise DocumentError(path, f"cannot be written ({error.strerror}); the earlier file is untouched") from error
    finally:
        if part:
            with suppress(OSError):
                part.unlink(missing_ok=True)


def fingerprint(documents: Iterable[Document]) -> str:
    """A short content hash of documents, whatever their order."""
    digests = sorted(hashlib.sha256(document.to_json().encode()).hexdigest() for document in documents)
    return hashlib.sha256("".join(digests).encode()).hexdigest()[:16]
