"""brat's standoff files (.txt beside .ann) as Documents and back. It knows no server and no schema.

Shape: https://brat.nlplab.org/standoff.html. Offsets are half-open and count Unicode code points. What brat has no place
for is kept in one note line, `#1 TAB Standpoint document TAB {…}`, which brat leaves alone.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from hashlib import sha256
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

from annotations.document import Document, Span
from annotations.errors import DocumentError
from annotations.formats.conversion import (
    ConversionReport,
    Found,
    Json,
    carried,
    count_carried,
    flat,
    replacing_folder,
    restored,
    streamed,
)
from annotations.offsets import locate
from annotations.storage import read_bytes, utf8_name

NOTE, LABEL = "Standpoint", "Label"
"""Types of our notes: what a document carries, and a span's label where it is no brat name."""
_PLACED = re.compile(r"T[^\t]*\t(\S+) (\d+ \d+(?:;\d+ \d+)*)(?:\t(.*))?", re.DOTALL)
_NOTED = re.compile(r"#[^\t]*\t(\S+) (\S+)\t(.*)", re.DOTALL)
_KINDS = {
    "R": "relations",
    "*": "equivalences",
    "E": "events",
    "A": "attributes",
    "M": "attributes",
    "N": "normalisations",
    "#": "notes",
}
_LONGEST = 200


class _Line(NamedTuple):
    """A text-bound annotation: its id, its type, its fragments, the text it quotes."""

    name: str
    label: str
    fragments: list[tuple[int, int]]
    quote: str | None
    where: str


@dataclass
class Brat:
    """How to read a folder of .ann and .txt files, or one .ann file."""

    path: Path
    layer: str
    """The layer of spans that text-bound annotations become."""
    report: ConversionReport = field(default_factory=ConversionReport)

    def read(self) -> Iterator[Document]:
        """Stream the documents, in the order of their names. A .txt without .ann is unannotated.

        Raises:
            DocumentError: after the last file, with every file's and line's problem.
        """
        return streamed(self.path, self._texts(), lambda _, path: self._file(path))

    def _texts(self) -> list[Path]:
        if not self.path.is_dir():
            return [self.path.with_suffix(".txt")]
        found = {path.with_suffix(".txt") for suffix in ("txt", "ann") for path in self.path.rglob(f"*.{suffix}")}
        if not found:
            raise DocumentError(self.path, "holds no .ann or .txt files; name the folder that does")
        return sorted(found)

    def _file(self, text_path: Path) -> Document:
        text = _decoded(text_path)
        ann = text_path.with_suffix(".ann")
        relative = text_path.relative_to(self.path) if self.path.is_dir() else Path(text_path.name)
        own: Json = {"id": utf8_name(relative.with_suffix("").as_posix()), "source": {"file": ann.name}}
        if not ann.exists() and self.path.is_dir():
            return restored(text, (), {**own, "unannotated": True}, layer=self.layer, where=text_path)
        reading = _Reading(ann, text, self.report)
        spans = flat(reading.spans(), ann.name, self.report)
        return restored(text, spans, reading.note or own, layer=self.layer, where=ann)


class _Reading:
    """One .ann file's lines, beside its text."""

    def __init__(self, path: Path, text: str, report: ConversionReport) -> None:
        self.path, self.text, self.report = path, text, report
        self.note: Json = {}
        self.names: dict[str, str] = {}
        self.problems: list[str] = []

    def spans(self) -> list[Found]:
        """The spans in the file's order; raises DocumentError with every bad line."""
        lines = [
            placed
            for number, line in enumerate(_decoded(self.path).split("\n"), 1)
            if (placed := self._line(f"{self.path.name}: line {number}", line.removesuffix("\r")))
        ]
        found = [span for line in lines if (span := self._span(line))]
        if self.problems:
            raise DocumentError(self.path, self.problems)
        return found

    def _line(self, where: str, line: str) -> _Line | None:
        if line.startswith("T"):
            return self._placed(where, line)
        if (noted := _NOTED.fullmatch(line)) and noted[1] in (NOTE, LABEL):
            self._note(where, noted[1], noted[2], noted[3])
        elif line[:1] in _KINDS:
            self.report.add(f"{_KINDS[line[0]]}, left out", where)
        elif line.strip():
            self.problems.append(f"{where.split(': ')[-1]}: {line[:40]!r} begins with none of T R E A M N * #")
        return None

    def _placed(self, where: str, line: str) -> _Line | None:
        if not (match := _PLACED.fullmatch(line)):
            self.problems.append(f"{where.split(': ')[-1]}: {line[:60]!r} is not `T1 TAB Label start end TAB text`")
            return None
        fragments = [(int(start), int(end)) for start, end in (part.split(" ") for part in match[2].split(";"))]
        return _Line(line.split("\t")[0], match[1], fragments, match[3], where)

    def _note(self, where: str, kind: str, target: str, value: str) -> None:
        if kind == LABEL:
            self.names[target] = value
            return
        try:
            note = json.loads(value)
        except ValueError:
            note = None
        if isinstance(note, dict):
            self.note = note
        else:
            self.problems.append(f"{where.split(': ')[-1]}: the {NOTE} note is no JSON object; delete the line")

    def _span(self, line: _Line) -> Found | None:
        fragments = line.fragments
        gaps = [self.text[left[1] : right[0]] for left, right in pairwise(fragments)]
        if any(gap.strip() or left[1] > right[0] for gap, (left, right) in zip(gaps, pairwise(fragments), strict=True)):
            self.report.add("discontinuous spans, left out", line.where)
            return None
        start, end = fragments[0][0], fragments[-1][1]
        inside = 0 <= start < end <= len(self.text)
        if not inside or (line.quote is not None and self.text[start:end].split() != line.quote.split()):
            place = locate(self.text, start, end, line.quote)
            if place is None:
                self.problems.append(
                    f"{line.where.split(': ')[-1]}: {line.name} {start}–{end} does not hold {line.quote!r} in the text"
                )
                return None
            self.report.add("spans moved to where their quoted text is", line.where)
            start, end = place.start, place.end
        return Found(start, end, self.names.get(line.name, line.label), line.where)


def _decoded(path: Path) -> str:
    try:
        return read_bytes(path).decode("utf-8")
    except UnicodeDecodeError as error:
        raise DocumentError(path, f"is not UTF-8 ({error.reason} at byte {error.start}); save it as UTF-8") from error


def write_brat(documents: Iterable[Document], path: Path, layer: str, report: ConversionReport) -> None:
    """Write a new folder: a .txt and an .ann for each document, and an annotation.conf that declares the labels."""
    types: dict[str, None] = {}
    with replacing_folder(path) as folder:
        for document in documents:
            count_carried(document, layer, report)
            name = _file_name(document.id)
            (folder / f"{name}.txt").write_bytes(document.text.encode())
            lines = list(_lines(document, layer, report))
            (folder / f"{name}.ann").write_bytes("".join(f"{line}\n" for line in lines).encode())
            types |= dict.fromkeys(_type(span.label) for span in document.spans(layer))
        parts = ["[entities]", *types, "[relations]", "[events]", "[attributes]"]
        (folder / "annotation.conf").write_text("\n".join(parts) + "\n", "utf-8")


def _lines(document: Document, layer: str, report: ConversionReport) -> Iterator[str]:
    yield f"#1\t{NOTE} document\t{json.dumps(carried(document, layer), ensure_ascii=False)}"
    for number, span in enumerate(document.spans(layer), 1):
        parts = _fragments(document.text, span)
        if not parts:
            report.add("spans of nothing but line ends, left out", f"document {document.id!r}")
            continue
        cut = (parts[0][0], parts[-1][1]) != (span.start, span.end)
        report.add("line ends at the edge of a span, cut off", f"document {document.id!r}", cut)
        places = ";".join(f"{start} {end}" for start, end in parts)
        words = " ".join(document.text[start:end] for start, end in parts)
        yield f"T{number}\t{_type(span.label)} {places}\t{words}"
        if _type(span.label) != span.label:
            yield f"#{number + 1}\t{LABEL} T{number}\t{span.label}"


def _fragments(text: str, span: Span) -> list[tuple[int, int]]:
    """A span's pieces between line ends, over which brat lets no annotation run."""
    pieces = re.finditer(r"[^\r\n]+", text[span.start : span.end])
    return [(span.start + match.start(), span.start + match.end()) for match in pieces]


def _type(label: str) -> str:
    """A label as brat writes types."""
    return re.sub(r"[^A-Za-z0-9_-]", "_", label)


def _file_name(identity: str) -> str:
    """A document's id as a file name that no other id has."""
    name = quote(identity, safe=" ")
    if len(name) <= _LONGEST:
        return name
    return f"{name[:_LONGEST]}-{sha256(identity.encode()).hexdigest()[:12]}"
