"""Public labelled sets as Documents, a layer each, to train an encoder on before its real task; label sets stay apart.

It knows where each set's file lies, its shape, and that its licence lets trained weights be shipped:
- Groningen Meaning Bank, Voice of America news, silver names: public domain. Bos et al. (2017), Handbook of Linguistic
  Annotation, 463-496.
- CrossNER, politics: MIT. Liu et al. (2021), https://arxiv.org/abs/2012.04373
- WNUT-17, social media: CC BY 4.0, with attribution. Derczynski et al. (2017), https://aclanthology.org/W17-4418
- NewsMTSC: MIT style. Hamborg and Donnay (2021), https://aclanthology.org/2021.eacl-main.142
- Directed sentiment: any use that cites the paper. Park, Pan and Joo (2021), https://arxiv.org/abs/2106.01033

Run: python -m training.formats.public_sets DATA runs/public
"""

from __future__ import annotations

import csv
import re
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import typer
from pydantic import BaseModel, Field, ValidationError

from annotations.config import describe
from annotations.document import Document, FrozenDict, Span
from annotations.errors import DocumentError
from annotations.formats.conversion import ConversionReport
from annotations.near_duplicates import near_duplicates
from annotations.sentences import sentences
from annotations.storage import read_bytes, write_jsonl
from training.commands.convert import Counts
from training.formats.conversion import Reading
from training.formats.names import Format
from training.shell import reported

POLARITY = {2.0: "negative", 4.0: "neutral", 6.0: "positive"}
DIRECTED = {
    "0": ("neutral", "neutral"),
    "1": ("neutral", "positive"),
    "2": ("positive", "neutral"),
    "3": ("neutral", "negative"),
    "4": ("negative", "neutral"),
}
"""Class to the label of the first and of the second entity as targets. Its meaning (neutral, positive to the second, to the
first, negative to the second, to the first): the class counts and `dse2qa.py` of the authors' repository."""
SIMILAR = 0.5
_BRACKETED = re.compile(r"([^\[\]]*)\[([^\[\]]*)\]([^\[\]]*)\[([^\[\]]*)\]([^\[\]]*)")
_REST = re.compile(r"[a-z]*")
EDGES = " \u00a0\"'‘’“”,;:()—"


class Mention(NamedTuple):
    """A target as it stands in its text, half-open, and the label of what is said about it."""

    start: int
    end: int
    label: str


class _Target(BaseModel):
    start: int = Field(alias="from", ge=0)
    end: int = Field(alias="to")
    mention: str
    polarity: float


class _Row(BaseModel):
    sentence_normalized: str
    targets: list[_Target]


def newsmtsc(path: Path, *, layer: str = "newsmtsc", report: ConversionReport | None = None) -> Iterator[Document]:
    """One document a sentence and target of NewsMTSC: the author's polarity towards the target. MIT style licence.

    Hamborg and Donnay (2021), NewsMTSC: (Multi-)Target-dependent Sentiment Classification in News Articles. A text of
    several sentences is labelled in the one that holds the mention; `source` has the mention's offsets.

    Raises:
        DocumentError: after the last line, with every bad line's number and problem.
    """
    yield from _targets(path, _newsmtsc_line, layer, report or ConversionReport())


def directed_sentiment(
    path: Path, *, layer: str = "directed", report: ConversionReport | None = None
) -> Iterator[Document]:
    """Two documents a line of directed sentiment: the attitude of each entity towards the other, as target.

    Park, Pan and Joo (2021), Who Blames or Endorses Whom? Free to use for those who cite it. Labelled and raising as
    `newsmtsc` does. Mentions are mended to whole words (`[Los Angele]s`) without quotation marks at their edges.
    """
    yield from _targets(path, _directed_line, layer, report or ConversionReport())


_Line = Callable[[str, str, ConversionReport], tuple[str, list[Mention]]]


def _targets(path: Path, parse: _Line, layer: str, report: ConversionReport) -> Iterator[Document]:
    return once(_stance_documents(path, parse, layer, report), layer, report)


def _stance_documents(path: Path, parse: _Line, layer: str, report: ConversionReport) -> Iterator[Document]:
    problems: list[str] = []
    for number, raw in enumerate(read_bytes(path).splitlines(), 1):
        try:
            text, mentions = parse(raw.decode("utf-8"), f"{path.name}: line {number}", report)
        except (ValueError, csv.Error, DocumentError) as error:
            told = error.problems if isinstance(error, DocumentError) else [str(error)]
            problems += [f"line {number}: {problem}" for problem in told]
            continue
        for place, mention in enumerate([] if problems else mentions, 1):
            source = FrozenDict(file=path.name, line=number, mention=(mention.start, mention.end))
            yield _document(f"{layer}-{path.stem}-{number}-{place}", text, mention, layer, source)
    if problems:
        raise DocumentError(path, problems)


def _document(name: str, text: str, mention: Mention, layer: str, source: FrozenDict) -> Document:
    holder = next(bounds for bounds in sentences(text) if mention.start < bounds.end)
    label = Span(start=holder.start, end=holder.end, label=mention.label)
    target = text[mention.start : mention.end]
    return Document(id=name, text=text, target=target, labels={layer: (label,)}, source=source)


def _newsmtsc_line(line: str, where: str, report: ConversionReport) -> tuple[str, list[Mention]]:
    try:
        row = _Row.model_validate_json(line)
    except ValidationError as error:
        raise DocumentError(where, describe(error, _Row)) from None
    text, problems = row.sentence_normalized, []
    for target in row.targets:
        if not target.mention.strip() or text[target.start : target.end] != target.mention:
            problems.append(f"{target.mention!r} does not stand at {target.start}–{target.end} of its sentence")
        if target.polarity not in POLARITY:
            problems.append(f"polarity {target.polarity} is none of 2, 4, 6")
    if problems:
        raise DocumentError(where, problems)
    return text, [Mention(target.start, target.end, POLARITY[target.polarity]) for target in row.targets]


def _directed_line(line: str, where: str, report: ConversionReport) -> tuple[str, list[Mention]]:
    cells = next(csv.reader([line], delimiter="\t", strict=True), [])
    if len(cells) != 4 or cells[3] not in DIRECTED:
        raise ValueError("expected a sentence, two entities and a class from 0 to 4, separated by tabs")
    found = _BRACKETED.fullmatch(cells[0].strip())
    if found is None or [found[2].strip(), found[4].strip()] != [cells[1].strip(), cells[2].strip()]:
        raise ValueError("expected the two entities of the line in square brackets in its sentence, and no others")
    text = "".join(found.groups())
    starts = len(found[1]), len(found[1] + found[2] + found[3])
    places = [_mended(text, start, start + len(found[group])) for start, group in zip(starts, (2, 4), strict=True)]
    if not all(any(map(str.isalnum, text[start:end])) for start, end in places):
        report.add("lines with an entity of no letter or digit, left out", where)
        return text, []
    return text, [Mention(*place, label) for place, label in zip(places, DIRECTED[cells[3]], strict=True)]


def _mended(text: str, start: int, end: int) -> tuple[int, int]:
    """Where a mention stands, trimmed, and with the letters that its bracket cut off."""
    inner = text[start:end]
    start += len(inner) - len(inner.lstrip(EDGES))
    end -= len(inner) - len(inner.rstrip(EDGES))
    if start < end and text[end - 1].isalpha() and (rest := _REST.match(text, end)):
        end = rest.end()
    return start, end


def once(documents: Iterable[Document], layer: str, report: ConversionReport) -> Iterator[Document]:
    """The documents without those whose text and target came before, which are counted."""
    kept: dict[tuple[str, str | None], object] = {}
    for document in documents:
        key, labels = (document.text, document.target), document.labels[layer]
        if key in kept:
            alike = "given again" if kept[key] == labels else "given again with other labels"
            report.add(f"documents {alike}, the first one kept", f"document {document.id!r}")
        else:
            kept[key] = labels
            yield document


def near(documents: Sequence[Document], held_out: Iterable[str]) -> list[Document]:
    """The documents with a sentence that shares most of its wording with one of texts that must stay unseen.

    Sentences of fewer than five words are not compared.
    """
    unseen = [text[start:end] for text in held_out for start, end in sentences(text)]
    owners = [(place, bounds) for place, document in enumerate(documents) for bounds in sentences(document.text)]
    pieces = [documents[place].text[bounds.start : bounds.end] for place, bounds in owners]
    groups = [*["unseen"] * len(unseen), *["public"] * len(pieces)]
    found = near_duplicates([*unseen, *pieces], groups, SIMILAR)
    return [documents[place] for place in sorted({owners[pair.later - len(unseen)][0] for pair in found})]


def kept_for_choosing(document: Document) -> bool:
    """Whether a text is one of the eighth of NewsMTSC that no encoder learns from, so that encoders can be compared on it.

    By the text's checksum: all targets of a sentence are on one side.
    """
    return zlib.crc32(document.text.encode()) % 8 == 0


def _newsmtsc_to_learn(path: Path, *, layer: str, report: ConversionReport) -> Iterator[Document]:
    for document in newsmtsc(path, layer=layer, report=report):
        if kept_for_choosing(document):
            report.add("documents kept for choosing between encoders", f"document {document.id!r}")
        else:
            yield document


class PublicSet(NamedTuple):
    """Where a set lies, which layer its labels become, and who reads it."""

    path: str
    layer: str
    read: Format | Callable[..., Iterator[Document]]
    per_document: int | None = None
    """Sentences a document, where neighbours belong together."""

    def documents(self, data: Path, report: ConversionReport) -> Iterator[Document]:
        """The set's documents, each text and target once."""
        path = data / self.path
        if isinstance(self.read, Format):
            reading = Reading(self.layer, per_document=self.per_document, report=report)
            return once(reading.read(path, self.read), self.layer, report)
        return self.read(path, layer=self.layer, report=report)


SETS = {
    "gmb": PublicSet("ner/gmb/ner_dataset.csv.zip", "gmb", Format.GMB),
    "crossner-politics": PublicSet("ner/crossner-politics/train.txt", "crossner", Format.CONLL, 5),
    "wnut17": PublicSet("ner/wnut17/wnut17train.conll", "wnut", Format.CONLL),
    "newsmtsc": PublicSet("stance/newsmtsc/train.jsonl", "newsmtsc", _newsmtsc_to_learn),
    "directed-sentiment": PublicSet("stance/directed-sentiment/train.txt", "directed", directed_sentiment),
}
"""Training parts only. Sets of other licences have no place here: what ships was trained on these."""


def write_sets(data: Path, output: Path, held_out: Sequence[str]) -> Iterator[str]:
    """Write each set as `NAME.jsonl` without what is near a held-out text; says of each what it holds and what it lost.

    Raises:
        DocumentError: a set cannot be read; the files written before stay.
    """
    for name, public in SETS.items():
        report, counts = ConversionReport(), Counts(public.layer)
        found = list(public.documents(data, report))
        for document in (seen := near(found, held_out)):
            report.add("documents near a held-out text, left out", f"document {document.id!r}")
        names = {document.id for document in seen}
        path = output / f"{name}.jsonl"
        write_jsonl(path, counts.seen(document for document in found if document.id not in names))
        yield "\n".join([f"{path}: {counts}", *([str(report)] if report.counts else [])])


@reported
def main(data: Path, output: Path, held_out: Path = Path("seeds")) -> None:
    """Write the public sets below DATA as documents into OUTPUT, without what is near the articles held out."""
    articles = [path.read_text("utf-8") for path in sorted(held_out.glob("*.txt"))]
    if not articles:
        raise DocumentError(held_out, "holds no .txt article that the sets could be compared with; check --held-out")
    for told in write_sets(data, output, articles):
        typer.echo(told)


if __name__ == "__main__":
    typer.run(main)
