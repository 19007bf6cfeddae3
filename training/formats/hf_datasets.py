"""Hugging Face `datasets` on disk (a saved folder or a Parquet file) as Documents and back.

It knows columns, not models: `tokens` and `ner_tags` as everyone names them, and `text`, `spans` and `record`, which keep
a Document whole. The windows that training reads are `training.data`'s business.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from annotations.document import Document
from annotations.errors import DocumentError, did_you_mean
from annotations.formats.chunks import iob2, is_tag, stretches
from annotations.formats.columns import joined
from annotations.formats.conversion import (
    ConversionReport,
    Found,
    Json,
    carried,
    count_carried,
    flat,
    numbered,
    replacing_folder,
    restored,
    streamed,
)
from annotations.storage import replacing_file
from annotations.tokens import SPACED, tokenized

if TYPE_CHECKING:
    from datasets import Dataset

TAG_COLUMNS = ("ner_tags", "tags", "labels", "ner")
_OURS = ("text", "spans", "record")
_READ = {"id", "tokens", *_OURS, *TAG_COLUMNS}


def write_datasets(
    documents: Iterable[Document], path: Path, layer: str, labels: Sequence[str], report: ConversionReport
) -> None:
    """Write a folder that `datasets.load_from_disk` reads, or one Parquet file if `path` says so; one row a document.

    `ner_tags` are IOB2 ids with the names of `labels` (those found are added), so all documents are held in memory.
    """
    from datasets import ClassLabel, Dataset, Features, List, Value

    found = list(documents)
    names = list(dict.fromkeys([*labels, *(span.label for document in found for span in document.spans(layer))]))
    tags = ClassLabel(names=["O", *(f"{prefix}-{name}" for name in names for prefix in "BI")])
    whole = {"start": Value("int64"), "end": Value("int64"), "label": Value("string")}
    features = Features(
        id=Value("string"),
        tokens=List(Value("string")),
        ner_tags=List(tags),
        text=Value("string"),
        spans=List(whole),
        record=Value("string"),
    )
    rows = [_row(document, layer, report) for document in found]
    columns = {name: [row[name] for row in rows] for name in features}
    columns["ner_tags"] = [[tags.str2int(tag) for tag in row["ner_tags"]] for row in rows]
    _save(Dataset.from_dict(columns, features=features), path)


def _save(dataset: Dataset, path: Path) -> None:
    if path.suffix != ".parquet":
        if not len(dataset):
            raise DocumentError(path, "there is no document to write, and `datasets` cannot load an empty folder")
        with replacing_folder(path) as folder, _without_bars():
            dataset.save_to_disk(folder)
        return
    with replacing_file(path) as part, _without_bars():
        dataset.to_parquet(part)


@contextmanager
def _without_bars() -> Iterator[None]:
    """What the command has to say is hidden by the bars of saving."""
    from datasets import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars

    before = are_progress_bars_disabled()
    disable_progress_bars()
    try:
        yield
    finally:
        if not before:
            enable_progress_bars()


def _row(document: Document, layer: str, report: ConversionReport) -> Json:
    count_carried(document, layer, report)
    spans = [span for span in document.spans(layer) if document.text[span.start : span.end].strip()]
    kind = "spans of nothing but white space, missing from `ner_tags` alone"
    report.add(kind, f"document {document.id!r}", len(document.spans(layer)) - len(spans))
    line = [token for sentence in tokenized(document, spans) for token in sentence]
    return {
        "id": document.id,
        "tokens": [document.text[start:end] for start, end in line],
        "ner_tags": iob2(len(line), stretches(line, spans)),
        "text": document.text,
        "spans": [{"start": span.start, "end": span.end, "label": span.label} for span in document.spans(layer)],
        "record": json.dumps(carried(document, layer), ensure_ascii=False),
    }


def read_datasets(path: Path, layer: str, report: ConversionReport) -> Iterator[Document]:
    """Stream the documents of a saved Dataset, of every split of a DatasetDict, or of a Parquet file.

    Rows that we wrote come back whole; others need `tokens` and one of TAG_COLUMNS, as names or ids of a ClassLabel.

    Raises:
        DocumentError: after the last row, with every bad row's number and problem; at once if it is no dataset.
    """

    def rows() -> Iterator[tuple[_Rows, int, Json]]:
        for split, dataset in _splits(path):
            reader = _Rows(dataset, f"{path.name}-{split}" if split else path.name, layer, report)
            for number, row in enumerate(dataset, 1):
                yield reader, number, row

    return streamed(path, rows(), lambda _, item: item[0].document(*item[1:]))


def _splits(path: Path) -> list[tuple[str, Dataset]]:
    import pyarrow  # type: ignore[import-untyped]
    from datasets import Dataset, DatasetDict, load_from_disk
    from datasets.table import InMemoryTable
    from pyarrow import parquet

    try:
        if path.suffix == ".parquet":
            return [("", Dataset(InMemoryTable(parquet.read_table(path))))]
        loaded = load_from_disk(str(path))
    except (OSError, ValueError, IndexError, pyarrow.ArrowException) as error:
        raise DocumentError(path, f"is no saved dataset ({error}); write it with `save_to_disk`") from error
    return list(loaded.items()) if isinstance(loaded, DatasetDict) else [("", loaded)]


class _Rows:
    """Reads the rows of one dataset."""

    def __init__(self, dataset: Dataset, name: str, layer: str, report: ConversionReport) -> None:
        self.name, self.layer, self.report = name, layer, report
        columns = set(dataset.column_names)
        self.ours = columns.issuperset(_OURS)
        self.tags = next((column for column in TAG_COLUMNS if column in columns), None)
        if not self.ours and (self.tags is None or "tokens" not in columns):
            hint = did_you_mean("ner_tags", columns)
            raise DocumentError(name, f"needs the columns `tokens` and one of {', '.join(TAG_COLUMNS)}; {hint}")
        feature = getattr(dataset.features[self.tags], "feature", None) if self.tags else None
        self.names: list[str] | None = getattr(feature, "names", None)
        for column in sorted(columns - _READ):
            report.add(f"column {column!r}, not read", name)

    def document(self, number: int, row: Json) -> Document:
        """The document of one row; rows count from 1."""
        where = f"{self.name}: row {number}"
        if self.ours:
            return self._whole(row, where)
        tokens = row["tokens"]
        if not isinstance(tokens, list) or not all(isinstance(token, str) for token in tokens):
            raise DocumentError(where, "`tokens` must be a list of texts")
        found = [self._tag(tag, where) for tag in row[self.tags or ""] or ()]
        if len(found) != len(tokens):
            raise DocumentError(where, f"has {len(tokens)} tokens and {len(found)} tags")
        pairs = [(token, tag) for token, tag in zip(tokens, found, strict=True) if token.strip()]
        self.report.add("blank tokens, left out", where, len(tokens) - len(pairs))
        text, spans = joined([pairs])
        source = {"file": self.name, "row": number, "tokens": SPACED}
        values = {"id": numbered(self.name, row.get("id"), number), "source": source}
        return restored(text, flat(spans, where, self.report), values, layer=self.layer, where=where)

    def _whole(self, row: Json, where: str) -> Document:
        try:
            values = dict(json.loads(row["record"]))
            spans = [Found(int(span["start"]), int(span["end"]), str(span["label"]), where) for span in row["spans"]]
        except (TypeError, KeyError, ValueError) as error:
            raise DocumentError(where, "`spans` or `record` was not written by this program; remove them") from error
        return restored(row["text"], flat(spans, where, self.report), values, layer=self.layer, where=where)

    def _tag(self, tag: Any, where: str) -> str:
        if isinstance(tag, int) and self.names and 0 <= tag < len(self.names):
            tag = self.names[tag]
        if not isinstance(tag, str) or not is_tag(tag):
            raise DocumentError(
                where, f"{tag!r} in `{self.tags}` is no tag; give O, B-LABEL, I-LABEL or ClassLabel ids"
            )
        return tag
