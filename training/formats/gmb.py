"""The Groningen Meaning Bank's news sentences (Bos et al., 2017) as Documents, to train an encoder on named entities.

It knows that one file's columns and quirks; `training.formats.public_sets` converts it with the other public sets.
"""

from __future__ import annotations

import csv
import io
import zipfile
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path

from annotations.document import Document, FrozenDict, Span
from annotations.errors import DocumentError

SENTENCES = 6
LABELS = ("geo", "gpe", "org", "per", "tim", "art", "eve", "nat")
_CLOSING = {".", ",", ";", ":", "?", "!", ")", "%", "'s", "'", "n't", "'re", "'ve", "'ll", "'d", "'m"}
_OPENING = {"(", "$", "``"}

Token = tuple[str, str]


def sentences(path: Path) -> Iterator[list[Token]]:
    """The words and BIO tags of each sentence.

    Raises:
        DocumentError: the file cannot be read as the zipped CSV that the data set comes in.
    """
    try:
        with zipfile.ZipFile(path) as archive, archive.open("ner_dataset.csv") as raw:
            found: list[Token] = []
            for row in csv.DictReader(io.TextIOWrapper(raw, "latin-1")):
                if row["Sentence #"] and found:
                    yield found
                    found = []
                found.append((row["Word"], row["Tag"]))
            yield found
    except (OSError, KeyError, zipfile.BadZipFile) as error:
        raise DocumentError(path, f"is not the zipped ner_dataset.csv ({error})") from error


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
    text, spans, before = "", list[Span](), "``"
    for word, tag in tokens:
        if word not in _CLOSING and before not in _OPENING:
            text += " "
        start, before = len(text), word
        text += word
        label = tag[2:]
        if tag.startswith("I-") and spans and spans[-1].label == label:
            spans[-1] = Span(start=spans[-1].start, end=len(text), label=label)
        elif label in LABELS:
            spans.append(Span(start=start, end=len(text), label=label))
    return text, spans
