"""The file formats that `standpoint labels convert` reads and writes: telling one from another, and who does the work.

It knows names of files and first lines. What a format looks like inside is its own module's business.
"""

from __future__ import annotations

import json
import lzma
import tarfile
import zipfile
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import IO

from annotations.document import Document
from annotations.errors import DocumentError
from annotations.formats.brat import Brat, write_brat
from annotations.formats.chunks import is_tag
from annotations.formats.columns import Columns, write_columns
from annotations.formats.conversion import ConversionReport
from annotations.formats.doccano import META, Doccano, write_doccano
from annotations.labelstudio.policy import Policy
from annotations.labelstudio.shapes import Json, task_array, to_results, to_task
from annotations.reading import annotated_documents
from annotations.schema import Kind, Schema
from annotations.storage import read_jsonl, replacing, utf8_name
from annotations.tokens import DOCSTART
from training.formats.gmb import BROKEN_ZIP, FILE
from training.formats.names import SCHEMA_BOUND, Format
from training.pretraining.columns import is_saved_dataset

UNREADABLE = (*BROKEN_ZIP, EOFError, tarfile.TarError, lzma.LZMAError)

_SUFFIXES = {
    ".spacy": Format.SPACY,
    ".parquet": Format.DATASETS,
    ".json": Format.LABELSTUDIO,
    ".ann": Format.BRAT,
    ".tsv": Format.WNUT,
}


@dataclass
class Reading:
    """How to read files of any format into Documents."""

    layer: str
    """The layer of spans that labels become."""
    schema: Schema | None = None
    """None where it is to be derived from the labels found."""
    per_document: int | None = None
    """Sentences a document, for formats of columns."""
    report: ConversionReport = field(default_factory=ConversionReport)
    policy: Policy | None = None
    """Which of several annotations of a task counts; for Label Studio's exports alone."""

    def read(self, path: Path, kind: Format) -> Iterator[Document]:
        """Stream the documents of one file or folder, not yet checked against the schema.

        Raises:
            DocumentError: what cannot be read, with every line's or row's problem.
        """
        if kind is Format.AUTO:
            kind = detect(path)
        if self.policy and kind is not Format.LABELSTUDIO:
            raise DocumentError(
                path, f"holds {kind}, where nobody is to be chosen; --choose is for Label Studio's exports"
            )
        if kind not in SCHEMA_BOUND:
            utf8_name(path.name)
        readers: dict[Format, Callable[[], Iterable[Document]]] = {
            Format.DOCUMENTS: lambda: read_jsonl(path),
            Format.LABELSTUDIO: lambda: self._labelstudio(path),
            Format.CONLL: lambda: self._columns(path, nested=False),
            Format.WNUT: lambda: self._columns(path, nested=True),
            Format.BRAT: lambda: Brat(path, self.layer, self.report).read(),
            Format.DOCCANO: lambda: Doccano(path, self.layer, self._categories(), self.report).read(),
            Format.SPACY: lambda: self._spacy(path),
            Format.DATASETS: lambda: self._datasets(path),
            Format.GMB: lambda: self._gmb(path),
        }
        yield from readers[kind]()

    def _categories(self) -> str | None:
        """The one layer that can take a label of the whole text; a category is not towards a target."""
        given = self.schema.of_kind(Kind.DOCUMENT) if self.schema else {}
        layers = [name for name, layer in given.items() if not layer.targeted]
        return layers[0] if len(layers) == 1 else None

    def _labelstudio(self, path: Path) -> Iterator[Document]:
        if self.schema is None:
            raise DocumentError(path, "is a Label Studio export, whose layers a schema declares; give --schema")
        if path.suffix != ".json":
            raise DocumentError(path, "is no .json file; export as JSON, or name another --from")
        documents, imported = annotated_documents([path], self.schema, self.policy)
        for text in imported.repairs:
            self.report.add("regions repaired", text)
        for text in imported.unplaced:
            self.report.add("labels of no sentence", text)
        for text in imported.left_out:
            self.report.add("tasks left out", text)
        for text in imported.remarks:
            self.report.add("labels undecided", text)
        yield from documents

    def _columns(self, path: Path, *, nested: bool) -> Iterator[Document]:
        for name, lines, whole in column_files(path):
            columns = Columns(name, self.layer, nested, self.per_document, whole, self.report)
            yield from columns.read(lines)

    def _spacy(self, path: Path) -> Iterator[Document]:
        from training.formats.spacy_docs import read_spacy

        yield from read_spacy(path, self.layer, self._categories(), self.report)

    def _datasets(self, path: Path) -> Iterator[Document]:
        from training.formats.hf_datasets import read_datasets

        yield from read_datasets(path, self.layer, self.report)

    def _gmb(self, path: Path) -> Iterator[Document]:
        from training.formats import gmb

        size = gmb.SENTENCES if self.per_document is None else self.per_document
        yield from gmb.documents(path, layer=self.layer, size=size)


def column_files(path: Path) -> Generator[tuple[str, Iterable[bytes], bool]]:
    """Name, lines, and whether it is one whole article, of a file, or of each file of a tar or zip archive.

    Raises:
        DocumentError: it cannot be read or unpacked.
    """
    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                for name in (name for name in archive.namelist() if not name.endswith("/")):
                    yield name, BytesIO(archive.read(name)), True
        elif _is_tar(path):
            with tarfile.open(path) as packed:
                for member in packed:
                    if unpacked := packed.extractfile(member) if member.isfile() else None:
                        yield member.name, BytesIO(unpacked.read()), True
        else:
            with path.open("rb") as lines:
                yield path.name, lines, False
    except UNREADABLE as error:
        raise DocumentError(path, f"cannot be read ({error}); check the path and the file") from error


def _is_tar(path: Path) -> bool:
    # tarfile.is_tarfile takes much that is no archive for an empty one.
    return ".tar" in path.suffixes or path.suffix in (".tgz", ".txz", ".tbz2")


def detect(path: Path) -> Format:
    """What a file or folder holds.

    Raises:
        DocumentError: it cannot be told; the message asks for --from.
    """
    if not path.exists():
        raise DocumentError(path, "does not exist; check the path")
    kind = _folder(path) if path.is_dir() else _SUFFIXES.get(path.suffix) or _contents(path)
    if kind is None:
        known = ", ".join(name for name in Format if name is not Format.AUTO)
        raise DocumentError(path, f"could not be told by its name or first line; say --from with one of {known}")
    return kind


def _folder(path: Path) -> Format | None:
    if is_saved_dataset(path):
        return Format.DATASETS
    return Format.BRAT if next(path.rglob("*.ann"), None) else None


def _contents(path: Path) -> Format | None:
    if zipfile.is_zipfile(path):
        try:
            with zipfile.ZipFile(path) as archive:
                if FILE in archive.namelist():
                    return Format.GMB
        except BROKEN_ZIP as error:
            raise DocumentError(path, f"cannot be unpacked ({error}); check the file") from error
    with closing(column_files(path)) as files:
        name, lines, _ = next(files, ("", (), False))
        first = next((line for line in lines if line.strip()), b"").decode("utf-8-sig", "replace").rstrip("\r\n")
    if path.suffix == ".jsonl":
        return _json_lines(first)
    if name.endswith(".tsv"):
        return Format.WNUT
    cells = first.split("\t") if "\t" in first else first.split(" ")
    return Format.CONLL if first.startswith(DOCSTART) or (len(cells) > 1 and is_tag(cells[-1].strip())) else None


def _json_lines(line: str) -> Format:
    try:
        values = json.loads(line or "{}")
    except ValueError:
        return Format.DOCUMENTS
    theirs = {"label", "entities", "data", "cats", META}
    if isinstance(values, dict) and (theirs & set(values) or isinstance(values.get("labels"), list)):
        return Format.DOCCANO
    return Format.DOCUMENTS


def write(
    documents: Iterable[Document], path: Path, kind: Format, layer: str, labels: Sequence[str], report: ConversionReport
) -> None:
    """Write documents in a format; `labels` are the known labels of the layer, in order.

    Raises:
        DocumentError: the format or file cannot be written; an earlier file stays.
    """
    if kind is Format.SPACY:
        from training.formats.spacy_docs import write_spacy

        write_spacy(documents, path, layer, report)
    elif kind is Format.DATASETS:
        from training.formats.hf_datasets import write_datasets

        write_datasets(documents, path, layer, labels, report)
    elif kind is Format.BRAT:
        write_brat(documents, path, layer, report)
    else:
        with replacing(path) as out:
            _write_text(documents, out, kind, layer, report)


def _write_text(
    documents: Iterable[Document], out: IO[str], kind: Format, layer: str, report: ConversionReport
) -> None:
    if kind in (Format.CONLL, Format.WNUT):
        write_columns(documents, out, layer, report, docstart=kind is Format.CONLL)
    elif kind is Format.DOCCANO:
        write_doccano(documents, out, layer, report)
    elif kind is Format.LABELSTUDIO:
        _write_tasks(documents, out)
    else:
        out.writelines(document.to_json() + "\n" for document in documents)


def _write_tasks(documents: Iterable[Document], out: IO[str]) -> None:
    """Tasks with one ground-truth annotation each, which Label Studio imports and `annotations.labelstudio.exports` reads."""
    tasks = ({**to_task(document, document.labels), "annotations": [_truth(document)]} for document in documents)
    out.writelines(task_array(tasks))


def _truth(document: Document) -> Json:
    return {"result": to_results(document), "ground_truth": True}
