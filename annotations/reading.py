"""Finds out what a file holds and reads its documents. It knows suffixes and first characters, not what labels mean."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

from annotations.document import Document, claim
from annotations.errors import DocumentError
from annotations.labelstudio.exports import ImportReport, bare_document, checked_tasks, from_tasks, read_export
from annotations.labelstudio.policy import Policy
from annotations.schema import Kind, Schema
from annotations.sentences import all_unplaced
from annotations.storage import parse_lines, read_bytes, read_jsonl, utf8_name


def annotated_documents(
    paths: Iterable[str | Path], schema: Schema, policy: Policy | None = None
) -> tuple[list[Document], ImportReport]:
    """All annotated documents of JSONL files and Label Studio exports, checked against the schema.

    `policy` says which of several annotations of a task counts.

    Raises:
        DocumentError: with the problems of every file at once; also for an id that two files use.
    """
    documents: list[Document] = []
    whole = ImportReport()
    problems: list[str] = []
    for path in map(Path, paths):
        try:
            found, report = _read(path, schema, policy)
        except DocumentError as error:
            problems += [f"{path}: {problem}" for problem in error.problems]
            continue
        documents += found
        whole.add(report)
    problems += [f"document id {name!r} is used twice" for name in _repeated(document.id for document in documents)]
    if problems:
        raise DocumentError("data", problems)
    return documents, whole


def _read(path: Path, schema: Schema, policy: Policy | None) -> tuple[list[Document], ImportReport]:
    if path.suffix == ".jsonl":
        documents = list(read_jsonl(path, schema))
        off = [*all_unplaced(documents, schema.of_kind(Kind.SENTENCES))]
        return documents, ImportReport(documents=len(documents), unplaced=off)
    if path.suffix == ".json":
        return from_tasks(read_export(path), schema, policy=policy)
    raise DocumentError(path, "is neither .jsonl (Documents) nor .json (a Label Studio export); convert or rename it")


def _repeated(names: Iterable[str]) -> list[str]:
    seen: set[str] = set()
    return sorted({name for name in names if name in seen or seen.add(name)})  # type: ignore[func-returns-value]


def for_targets(files: Iterable[str], targets: Sequence[str]) -> Iterator[Document]:
    """The documents of all files, in turn against each target, for a project that may see them with other targets later."""
    for file in files:
        for document in bare_documents(file):
            yield from with_targets(document, targets)


def with_targets(document: Document, targets: Sequence[str], *, numbered: bool = False) -> Iterator[Document]:
    """A document once for each target given, blank ones apart; as it is where it has one of its own, or none is given.

    The id then ends in a hash of the target, so that text and target are called the same whatever else is asked for;
    or, `numbered`, it ends in `#1`, `#2`, and stays as it is for one target.
    """
    targets = list(filter(claim, targets))
    if document.target is not None or not targets:
        yield document
        return
    for number, target in enumerate(dict.fromkeys(targets), 1):
        digest = hashlib.sha256(target.encode("utf-8", "surrogatepass")).hexdigest()[:6]
        name = f"{document.id}#{number if numbered else digest}"
        identity = document.id if numbered and len(targets) == 1 else name
        yield document.model_copy(update={"id": identity, "target": target})


def bare_documents(path: str) -> Iterator[Document]:
    """The texts of a file to tag, or of standard input for `-`: JSONL, a Label Studio export, or one plain text.

    Line ends and every other character stay as they are, so that offsets fit the file.
    """
    if path == "-":
        yield from _stdin()
    elif path.endswith(".jsonl"):
        yield from read_jsonl(path)
    elif path.endswith(".json"):
        yield from map(bare_document, read_export(path))
    else:
        yield Document(id=utf8_name(Path(path).as_posix()), text=_decoded(read_bytes(Path(path)), path))


def _stdin() -> Iterator[Document]:
    """What the first visible character says: `{` begins JSON Lines, `[` with JSON behind it an export, all else a text."""
    name = "standard input"
    lines = iter(sys.stdin.buffer)
    head: list[bytes] = []
    for line in lines:
        head.append(line)
        if line.strip():
            break
    start = head[-1].lstrip(b"\xef\xbb\xbf \t\r\n")[:1] if head else b""
    if start == b"{":
        yield from parse_lines(chain(head, lines), name)
        return
    raw = b"".join(chain(head, lines))
    tasks = _json_list(raw) if start == b"[" else None
    if tasks is None:
        yield Document(id=name, text=_decoded(raw, name))
    else:
        yield from map(bare_document, checked_tasks(tasks, name))


def _json_list(raw: bytes) -> list[Any] | None:
    try:
        value = json.loads(raw)
    except ValueError:
        return None
    return value if isinstance(value, list) else None


def _decoded(raw: bytes, where: object) -> str:
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise DocumentError(
            where, f"is not UTF-8 ({error.reason} at byte {error.start}); convert it to UTF-8"
        ) from error
