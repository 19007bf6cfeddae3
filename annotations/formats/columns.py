"""Columns of tokens and tags (CoNLL-2003, WNUT, TSV) as Documents and back. It knows lines and columns, not schemas.

Shape: https://aclanthology.org/W03-0419 (CoNLL-2003); `annotations.formats.chunks` reads the tags. The text is the tokens joined
by one space, one sentence a line.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import IO

from annotations.document import Document, FrozenDict, Label, Span
from annotations.errors import DocumentError
from annotations.formats.chunks import Scheme, chunks, iob2, is_tag, stretches
from annotations.formats.conversion import SCORES, ConversionReport, Found, flat
from annotations.storage import utf8_name
from annotations.tokens import DOCSTART, SPACED, tokenized

_TAIL = re.compile(r"[\r\n]+$")


@dataclass
class Sentence:
    """One sentence as read: tokens, the tags of every tag column (outermost first), its place in the file."""

    line: int
    article: int
    """How many -DOCSTART- lines came before it."""
    tokens: list[str] = field(default_factory=list)
    tags: list[list[str]] = field(default_factory=list)


@dataclass
class Columns:
    """How to read one file of columns."""

    name: str
    """What documents are called after, and errors name."""
    layer: str
    """The layer of spans that tags become."""
    nested: bool = False
    """The tag is in the second column and further columns hold nested tags (WNUT, TSV); otherwise in the last."""
    per_document: int | None = None
    """Sentences a document; 0 for all up to the next -DOCSTART-; None for 0 where the file has them, otherwise 1."""
    whole: bool = False
    """The file is one article, so that its documents belong to one group."""
    report: ConversionReport = field(default_factory=ConversionReport)

    def read(self, lines: Iterable[bytes]) -> Iterator[Document]:
        """Stream the documents of a file's lines.

        Raises:
            DocumentError: after the last line, with every bad line's number and problem; or at once for a name that
                documents cannot be called after.
        """
        utf8_name(self.name)
        for number, group in enumerate(self._groups(self._sentences(lines)), 1):
            yield self._document(number, group)

    def _sentences(self, lines: Iterable[bytes]) -> Iterator[Sentence]:
        reader = _Lines(self)
        for number, line in enumerate(lines, 1):
            yield from reader.take(number, line)
        yield from reader.close()

    def _groups(self, found: Iterable[Sentence]) -> Iterator[list[Sentence]]:
        group: list[Sentence] = []
        for sentence in found:
            size = self.per_document
            if size is None:
                size = 0 if self.whole or sentence.article else 1
            if group and (sentence.article != group[0].article or len(group) == size):
                yield group
                group = []
            group.append(sentence)
        if group:
            yield group

    def _document(self, number: int, group: Sequence[Sentence]) -> Document:
        where = f"{self.name}: line {group[0].line}"
        source = {"file": self.name, "line": group[0].line}
        article = group[0].article
        whole = f"{self.name}-article-{article}" if article else self.name if self.whole else None
        if self.nested:
            outer = [sentence.tags[0] for sentence in group]
            for sentence in group:
                inner = sum(len(chunks(tags)) for tags in sentence.tags[1:])
                self.report.add("nested spans, left out", f"{self.name}: line {sentence.line}", inner)
        else:
            outer = [sentence.tags[-1] for sentence in group]
        pairs = [list(zip(sentence.tokens, tags, strict=True)) for sentence, tags in zip(group, outer, strict=True)]
        text, spans = joined(pairs)
        return Document(
            id=f"{self.name}-{number}",
            text=text,
            group=whole,
            labels={self.layer: flat(spans, where, self.report)},
            source=FrozenDict({**source, "tokens": SPACED}),
        )


def joined(found: Iterable[Sequence[tuple[str, str]]]) -> tuple[str, list[Found]]:
    """The text of sentences of (token, tag) pairs, tokens joined by a space, one sentence a line, and its spans."""
    lines: list[str] = []
    spans: list[Found] = []
    base = 0
    for pairs in found:
        starts: list[int] = []
        for token, _ in pairs:
            starts.append(base)
            base += len(token) + 1
        lines.append(" ".join(token for token, _ in pairs))
        for first, end, label in chunks(tag for _, tag in pairs):
            spans.append(Found(starts[first], starts[end - 1] + len(pairs[end - 1][0]), label))
    return "\n".join(lines), spans


class _Lines:
    """Cuts lines into sentences and gathers what is wrong with them."""

    def __init__(self, columns: Columns) -> None:
        self.columns, self.report, self.name = columns, columns.report, columns.name
        self.problems: list[str] = []
        self.scheme = Scheme()
        self.width: tuple[int, int] | None = None
        self.article = 0
        self.current: Sentence | None = None

    def take(self, number: int, raw: bytes) -> Iterator[Sentence]:
        """The sentence that this line ends, if any."""
        try:
            line = _TAIL.sub("", raw.decode("utf-8-sig" if number == 1 else "utf-8"))
        except UnicodeDecodeError as error:
            self.problems.append(f"line {number}: is not UTF-8 ({error.reason}); save it as UTF-8")
            return
        if not line.strip():
            yield from self._end()
            return
        cells = line.split("\t") if "\t" in line else re.split(" +", line.strip(" "))
        if cells[0].startswith(DOCSTART):
            yield from self._end()
            self.article += 1
            return
        try:
            self._row(number, cells)
        except ValueError as error:
            self.problems.append(f"line {number}: {error}")

    def _row(self, number: int, cells: Sequence[str]) -> None:
        tags = [cell.strip() for cell in cells[1:]]
        if self.columns.nested:
            tags = [*tags[:1], *(tag or "O" for tag in tags[1:])]
        else:
            self._same_width(number, len(cells))
            tags = tags[-1:]
        if not tags:
            raise ValueError(f"{cells[0]!r} stands alone; expected a token and a tag, separated by a tab or spaces")
        if bad := [tag for tag in tags if not is_tag(tag)]:
            raise ValueError(f"{bad[0]!r} is no tag; expected O, B-LABEL, I-LABEL (or the prefixes E S L U M W)")
        if not cells[0].strip():
            self.report.add("rows with a blank token, left out", f"{self.name}: line {number}")
            return
        self.report.add("tokens with white space inside", f"{self.name}: line {number}", len(cells[0].split()) > 1)
        self._add(number, cells[0], tags)

    def _same_width(self, number: int, width: int) -> None:
        self.width = self.width or (number, width)
        if width != self.width[1]:
            raise ValueError(
                f"has {width} columns where line {self.width[0]} has {self.width[1]}; mend it, or use `--from wnut` "
                "if the second column is the tag and further ones are nested tags"
            )

    def _add(self, number: int, token: str, tags: Sequence[str]) -> None:
        if self.current is None:
            self.current = Sentence(line=number, article=self.article)
        sentence = self.current
        while len(sentence.tags) < len(tags):
            sentence.tags.append(["O"] * len(sentence.tokens))
        for place, column in enumerate(sentence.tags):
            column.append(tags[place] if place < len(tags) else "O")
        sentence.tokens.append(token)

    def _end(self) -> Iterator[Sentence]:
        sentence, self.current = self.current, None
        if sentence:
            self.scheme.see(sentence.tags[0])
            if not self.problems:
                yield sentence

    def close(self) -> Iterator[Sentence]:
        """The last sentence; then the problems of the whole file, or what was found out about it."""
        yield from self._end()
        if self.problems:
            raise DocumentError(self.name, self.problems)
        self.report.add(f"files tagged in {self.scheme.name}", self.name)
        if self.scheme.name == "IOB2":
            self.report.add("spans begun by I- in an IOB2 file, taken as begun", self.name, self.scheme.loose)
        extra = self.width[1] - 2 if self.width else 0
        self.report.add("columns between token and tag, not read", self.name, max(extra, 0))


def write_columns(
    documents: Iterable[Document], out: IO[str], layer: str, report: ConversionReport, *, docstart: bool = True
) -> None:
    """Write `token TAB tag` in IOB2, a blank line after a sentence, `-DOCSTART-` before a document (WNUT has none).

    What the columns cannot express is counted in the report.
    """
    for document in documents:
        spans = [span for span in document.spans(layer) if document.text[span.start : span.end].strip()]
        lines = tokenized(document, spans)
        _count_losses(document, layer, spans, lines, report)
        if docstart:
            out.write(f"{DOCSTART}\tO\n\n")
        else:
            report.add("boundaries between documents", f"document {document.id!r}")
        for line in lines:
            tags = iob2(len(line), stretches(line, spans))
            out.writelines(f"{document.text[s:e]}\t{tag}\n" for (s, e), tag in zip(line, tags, strict=True))
            out.write("\n")


def _count_losses(
    document: Document,
    layer: str,
    spans: Sequence[Span],
    lines: Sequence[Sequence[tuple[int, int]]],
    report: ConversionReport,
) -> None:
    where = f"document {document.id!r}"
    text = document.text
    kinds: Counter[str] = Counter()
    for name, labels in document.labels.items():
        if name != layer:
            kinds[f"labels of layer {name!r}"] += 1 if isinstance(labels, Label) else len(labels)
    kinds["layers that are unannotated, written as O"] += layer not in document.labels
    kinds["ids (numbered anew on reading)"] += 1
    kinds["targets"] += document.target is not None
    kinds["groups"] += document.group is not None
    kinds["documents without visible text"] += not lines
    kinds["spans of nothing but white space"] += len(document.spans(layer)) - len(spans)
    kinds["edges of spans that are white space"] += sum(
        text[edge].isspace() for span in spans for edge in (span.start, span.end - 1)
    )
    kinds[SCORES] += sum(span.score is not None for span in spans)
    kinds["texts whose white space changes"] += text != "\n".join(
        " ".join(text[s:e] for s, e in line) for line in lines
    )
    for kind, count in kinds.items():
        report.add(kind, where, count)
