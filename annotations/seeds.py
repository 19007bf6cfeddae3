"""Raw articles and the records that say what they are: together they give the documents to annotate.

Cleaning is data: a record lists the boilerplate lines. It knows nothing of labels.
"""

from __future__ import annotations

import datetime
import hashlib
from collections.abc import Iterator
from pathlib import Path

from pydantic import Field

from annotations.config import Config
from annotations.document import Document, FrozenDict
from annotations.errors import DocumentError
from annotations.storage import utf8_name


class Boilerplate(Config):
    """One raw line that belongs to the web page and not to the article."""

    line: int = Field(ge=1)
    """Line number in the raw file, from 1."""
    begins: str = Field(min_length=1)
    """How the line begins, so that a reviewer sees it and a shifted number is found out."""
    why: str = Field(min_length=1)
    """Why it is no part of the article."""


class Record(Config):
    """What a raw article is."""

    file: str
    """The raw file beside the record."""
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    """Its hash: the record describes these bytes and no others."""
    title: str
    """The headline, word for word."""
    publisher: str | None
    """Who published the page, where the page says so."""
    date: datetime.date | None
    """The date of publication, where the page states one."""
    note: str = ""
    """What a reader of the record should know."""
    targets: tuple[str, ...] = Field(min_length=1)
    """The claims the article is read against; each makes a document."""
    boilerplate: tuple[Boilerplate, ...]
    """Lines to leave out."""


def documents(path: str | Path) -> Iterator[Document]:
    """The unlabelled documents of one record, one for each target: kept lines joined by blank lines.

    Raises:
        ConfigError: the record is not well-formed.
        DocumentError: the raw file is missing, changed, or the record does not fit it, or its name is not UTF-8.
    """
    path = Path(path)
    utf8_name(path.stem)
    record = Record.load(path)
    raw_path = path.parent / record.file
    lines = _lines(raw_path, record)
    if problems := list(_problems(record, lines)):
        raise DocumentError(path, problems)
    dropped = {item.line for item in record.boilerplate}
    kept = {number: line for number, line in enumerate(lines, 1) if line.strip() and number not in dropped}
    text = "\n\n".join(kept.values())
    source = FrozenDict(
        file=record.file, sha256=record.sha256, title=record.title, publisher=record.publisher, lines=tuple(kept)
    )
    for number, target in enumerate(record.targets, 1):
        identity = f"{path.stem}-{number}"
        yield Document(id=identity, text=text, target=target, group=path.stem, source=source)


def _lines(path: Path, record: Record) -> list[str]:
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise DocumentError(path, f"cannot be read ({error.strerror}); put it beside its record") from error
    found = hashlib.sha256(raw).hexdigest()
    if found != record.sha256:
        raise DocumentError(
            path, f"its sha256 is {found[:12]}…, the record says {record.sha256[:12]}…; restore the file"
        )
    try:
        return raw.decode("utf-8").split("\n")
    except UnicodeDecodeError as error:
        raise DocumentError(
            path, f"is not UTF-8 ({error.reason} at byte {error.start}); keep raw articles in UTF-8"
        ) from error


def _problems(record: Record, lines: list[str]) -> Iterator[str]:
    for item in record.boilerplate:
        line = lines[item.line - 1] if item.line <= len(lines) else None
        if line is None or not line.startswith(item.begins):
            yield f"boilerplate line {item.line} should begin {item.begins!r}, but reads {(line or '')[:60]!r}"
    if record.title not in lines:
        yield f"the title {record.title!r} is not a line of {record.file}"
