"""The Groningen Meaning Bank's news sentences (Bos et al., 2017) as Documents, to train an encoder on named entities.

It knows that one file's columns and quirks; `training.formats.public_sets` converts it with the other public sets.
"""

from __future__ import annotations

import csv
import io
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path

from annotations.document import Document, FrozenDict, Span
from annotations.errors import DocumentError

SENTENCES = 6
LABELS = ("geo", "gpe", "org", "per", "tim", "art", "eve", "nat")
_CLOSING = {".", ",", ";", ":", "?", "!", ")", "%", "'s", "'", "n't", "'re", "'ve", "'ll", "'d", "'m"}
_OPENING = {"(", "$", "``"}

FILE = "ner_dataset.csv"
BROKEN_ZIP = (OSError, zipfile.BadZipFile, zlib.error, UnicodeError, NotImplementedError, RuntimeError)
"""What unpacking raises; the last three for names in no encoding, methods that Python lacks, and encrypted files."""

Token = tuple[str, str]


def sentences(path: Path) -> Iterator[list[Token]]:
    """The words and BIO tags of each sentence.

    Raises:
        DocumentError: the file cannot be read as the zipped CSV that the data set comes in; a broken row is named by its line.
    """
    try:
        with zipfile.ZipFile(path) as archive, archive.open(FILE) as raw:
            yield from _sentences(path, csv.DictReader(io.TextIOWrapper(raw, "latin-1")))
    except (*BROKEN_ZIP, KeyError) as error:
        raise DocumentError(path, f"is not the zipped {FILE} ({error})") from error


def _sentences(path: Path, rows: csv.DictReader[str]) -> Iterator[list[Token]]:
    found: list[Token] = []
    try:
        for row in rows:
            if row["Sentence #"] and found:
                yield found
                found = []
            if row["Word"] is None or row["Tag"] is None:
                raise csv.Error(f"the row lacks columns that the header names ({', '.join(rows.fieldnames or ())})")
            found.append((row["Word"], row["Tag"]))
    except csv.Error as error:
        raise DocumentError(
            path, f"{FILE}: line {rows.reader.line_num}: {error}; mend the row or take it out"
        ) from error
    yield found


def documents(path: Path, *, layer: str = "name", size: int = SENTENCES) -> Iterator[Document]:
    """Documents of `size` consecutive sentences (0 for all), spaces put where print would have them."""
    stream = sentences(path)
    number = 0
    while group := list(islice(stream, size or None)):
        text, spans = _join(token for sentence in group for token in sentence)
        source = FrozenDict({"file": path.name, "sentence": number * size + 1})
        yield Document(id=f"gmb-{number}", text=text, labels={layer: tuple(spans)}, source=source)
        number += 1


def _join(tokens: Iterable[Token]) -> tuple[str, list[Span]]:
    text, spans, before, last = "", list[Span](), "``", "O"
    for word, tag in tokens:
        if word not in _CLOSING and before not in _OPENING:
            text += " "
        start, before = len(text), word
        text += word
        label = tag[2:]
        # Only right behind a token of the same label: across an O there are two names.
        if tag.startswith("I-") and spans and last[2:] == label == spans[-1].label:
            spans[-1] = Span(start=spans[-1].start, end=len(text), label=label)
        elif label in LABELS:
            spans.append(Span(start=start, end=len(text), label=label))
        last = tag
    return text, spans
