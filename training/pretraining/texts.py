"""Plain text to pretrain on: any number of files in several formats as one stream of documents.

It knows files, lines and paragraphs, not tokens.
"""

from __future__ import annotations

import glob
import hashlib
import json
import os
import re
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

from pydantic import Field

from annotations.config import Config
from annotations.errors import ConfigError, DocumentError, did_you_mean
from annotations.unpacking import PACKED
from training.pretraining.columns import COLUMNAR, column, is_saved_dataset
from training.pretraining.unpacking import text_lines

LONGEST = 10_000
"""Paragraphs after which a document without a blank line is cut, so that a file without any stays affordable."""
_JSON_LINES = (".jsonl", ".ndjson")
_REFUSED = (".json", ".csv", ".tsv", ".tar", ".tgz", ".zip")
# NUL, byte order marks inside a file, and half characters, which JSON can write and UTF-8 cannot.
_NO_TEXT = re.compile("[\0\ufeff\ud800-\udfff]+")


class Corpus(Config):
    """Text to learn from: `.txt` (a paragraph a line, blank lines between documents), `.jsonl`, `.parquet`, `.arrow`.

    Text and JSON Lines may be packed as `.xz`, `.gz`, `.zst` or `.bz2`; they are unpacked on the fly.
    """

    path: Path
    """A file, a folder (all below it but hidden files), a folder `datasets` saved, or a pattern: `news/*.jsonl.zst`."""
    passes: int = Field(default=1, ge=1)
    """How often its documents enter the training stream."""
    share: float = Field(default=1.0, gt=0, le=1)
    """Keep about this share of its documents, drawn at random; the same ones for the same seed."""
    field: str = "text"
    """The field or column that holds the text, in JSON Lines and datasets."""


def documents(corpus: Corpus, seed: int) -> Iterator[list[str]]:
    """Stream documents as lists of paragraphs, stripped and never blank; documents without any are left out.

    Every line end begins a paragraph. NUL, byte order marks and lone surrogates are removed. Memory is bounded by the
    longest document; plain text is cut every 10,000 paragraphs. `passes` is the caller's business.

    Raises:
        ConfigError: a path, format or field that is not there, a package that is absent, a corpus without any text.
        DocumentError: at the place where a file turns out to be broken, not UTF-8, or not what its suffix says.
    """
    number = -1
    everything = chain.from_iterable(_read(path, corpus.field) for path in sources(corpus))
    for number, document in enumerate(everything):
        if corpus.share == 1 or _draw(seed, number) < corpus.share:
            yield document
    if number < 0:
        raise ConfigError(corpus.path, "holds no text; check `path` and `field`")


def sources(corpus: Corpus) -> list[Path]:
    """The files and saved datasets that a corpus names, in the order in which they are read.

    Raises:
        ConfigError: with every problem at once: nothing there, or files in a format that is not read.
    """
    try:
        everything = [file for path in _named(corpus.path) for file in _below(path, frozenset())]
        # A file that several names lead to is read once.
        found = list({os.path.realpath(file): file for file in everything}.values())
    except OSError as error:
        raise ConfigError(corpus.path, f"cannot be read ({error.strerror}); check `path`") from error
    if not found:
        raise ConfigError(corpus.path, "has no file below it that is not hidden; check `path`")
    problems = [problem for path in found if (problem := _refusal(path))]
    if problems:
        raise ConfigError(corpus.path, problems)
    return found


def _named(path: Path) -> list[Path]:
    if path.exists():
        return [path]
    if not glob.has_magic(str(path)):
        raise ConfigError(path, "does not exist; check `path`")
    # Path.glob takes no absolute patterns, and its `*` takes hidden files.
    found = [Path(name) for name in sorted(glob.glob(str(path), recursive=True))]  # noqa: PTH207
    if not found:
        raise ConfigError(path, "no file matches the pattern; check `path`")
    datasets = {match for match in found if is_saved_dataset(match)}
    return [match for match in found if not datasets.intersection(match.parents)]


def _below(path: Path, around: frozenset[Path]) -> Iterator[Path]:
    """A file or saved dataset itself; of other folders all that is below, links followed but never in a circle."""
    if not path.is_dir() or is_saved_dataset(path):
        yield path
    elif (real := path.resolve()) not in around:
        for entry in sorted(path.iterdir()):
            if not entry.name.startswith("."):
                yield from _below(entry, around | {real})


def _refusal(path: Path) -> str | None:
    if path.is_dir():
        return None
    inner = _format(path)
    if inner in _REFUSED:
        return f"{path}: {inner} is not read; write JSON Lines (.jsonl), plain text (.txt) or Parquet"
    if inner in COLUMNAR and path.suffix in PACKED:
        return f"{path}: {inner} is not read when packed as {path.suffix}; unpack it"
    return None


def _format(path: Path) -> str:
    """The suffix under a compression's suffix."""
    return path.with_suffix("").suffix if path.suffix in PACKED else path.suffix


def _read(path: Path, field: str) -> Iterator[list[str]]:
    if path.is_dir() or _format(path) in COLUMNAR:
        texts = column(path, field)
    elif _format(path) in _JSON_LINES:
        texts = _json_texts(path, field)
    else:
        yield from _plain(path)
        return
    for text in texts:
        if found := _paragraphs(text):
            yield found


def _plain(path: Path) -> Iterator[list[str]]:
    document: list[str] = []
    for line in text_lines(path):
        found = _paragraphs(line)
        if document and (not found or len(document) >= LONGEST):
            yield document
            document = []
        document += found
    if document:
        yield document


def _json_texts(path: Path, field: str) -> Iterator[str]:
    for number, line in enumerate(text_lines(path), 1):
        line = line.removeprefix("\ufeff")
        if line.strip():
            yield _json_text(line, field, path, number)


def _json_text(line: str, field: str, path: Path, number: int) -> str:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise DocumentError(path, f"line {number}: is not JSON ({error}); write one object a line") from error
    if not isinstance(row, dict):
        raise DocumentError(path, f"line {number}: is {type(row).__name__}, not an object; write one object a line")
    if field not in row:
        hint = did_you_mean(field, row)
        raise DocumentError(path, f"line {number}: has no field {field!r}; set field: … ({hint})")
    if not isinstance(row[field], str):
        found = f"line {number}: {field!r} holds {type(row[field]).__name__}, not text"
        raise DocumentError(path, f"{found}; name the field of the text (field: …) or mend the line")
    return str(row[field])


def _paragraphs(text: str) -> list[str]:
    return [stripped for line in _NO_TEXT.sub("", text).splitlines() if (stripped := line.strip())]


def _draw(seed: int, number: int) -> float:
    """A number from 0 to 1 that depends on nothing else, so that a stream needs no list of what was drawn."""
    digest = hashlib.blake2b(f"{seed} {number}".encode(), digest_size=8).digest()
    return int.from_bytes(digest) / 2**64
