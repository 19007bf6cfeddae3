"""Parquet in and out: rows as plain values, tagged documents as typed columns. It alone of the archives knows pyarrow."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import IO, Any, Self

from annotations.document import Document, plain_labels
from annotations.errors import ConfigError, first_line, to_install
from annotations.schema import Kind, Schema

COLUMNS = ("id", "text", "target", "group")
"""What is read; of other columns only the names."""
BATCH = 64
"""Rows that are held at once when reading."""
ROWS = 10_000
CHARACTERS = 16_000_000
"""A row group ends after so many rows, or so many characters of text."""

Row = tuple[int, Mapping[str, Any] | None, str | None]
"""Its number from 1, its values, and why it has none."""


def count(path: Path) -> int:
    """How many records a file has: its rows, or one that says why there are none."""
    pyarrow = _pyarrow()
    try:
        with _open(path) as file:
            return 1 if _unfit(file.schema_arrow.names) else _rows(file)
    except (OSError, ValueError, pyarrow.ArrowException):
        return 1


def rows(path: Path, first: int) -> tuple[int, Iterator[Row], tuple[str, ...]]:
    """The rows from one at or before place `first` on, which place that is, and the columns that are not read.

    A row group is the least that is read.
    """
    pyarrow = _pyarrow()
    try:
        file = _open(path)
        names = file.schema_arrow.names
    except (OSError, ValueError, pyarrow.ArrowException) as error:
        return 0, iter([(1, None, _broken(error))]), ()
    if problem := _unfit(names):
        file.close()
        return 0, iter([(1, None, problem)]), ()
    group, start = 0, 0
    while group < file.num_row_groups and start + file.metadata.row_group(group).num_rows <= first:
        start += file.metadata.row_group(group).num_rows
        group += 1
    return start, _values(file, group, start), tuple(name for name in names if name not in COLUMNS)


def _unfit(names: list[str]) -> str | None:
    """Why a file with these columns has no rows to read."""
    if "text" not in names:
        return f"the file has no column 'text'; it has {', '.join(names)}; rename one"
    if twice := [name for name in COLUMNS if names.count(name) > 1]:
        return f"the file has several columns {twice[0]!r}; rename all but one"
    return None


def _values(file: Any, group: int, start: int) -> Iterator[Row]:
    """Values of each row; where data are broken, each row of what cannot be read says so."""
    pyarrow = _pyarrow()
    columns = [name for name in COLUMNS if name in file.schema_arrow.names]
    with file:
        for number in range(group, file.num_row_groups):
            ends = start + file.metadata.row_group(number).num_rows
            try:
                for batch in file.iter_batches(BATCH, row_groups=[number], columns=columns):
                    for row in range(batch.num_rows):
                        start += 1
                        yield _row(start, batch, row)
            except (OSError, ValueError, pyarrow.ArrowException) as error:
                for place in range(start, ends):
                    yield place + 1, None, _broken(error)
            start = ends


def _row(number: int, batch: Any, row: int) -> Row:
    try:
        return number, {name: batch.column(name)[row].as_py() for name in batch.schema.names}, None
    except UnicodeDecodeError as error:
        return number, None, f"is not UTF-8 ({error.reason} at byte {error.start}); convert it to UTF-8"


def _rows(file: Any) -> int:
    found: int = file.metadata.num_rows
    return found


def _open(path: Path) -> Any:
    from pyarrow import parquet  # type: ignore[import-untyped]

    return parquet.ParquetFile(path)


def _broken(error: Exception) -> str:
    return f"the file is broken ({first_line(error)}); write it again"


class ParquetWriter:
    """Writes tagged documents as rows: `id`, `target`, `group`, perhaps `text`, and a column for each layer.

    Spans are a list of structs (start, end, label, score), a label without a place is one struct (label, score); null is
    unannotated. Offsets count Unicode code points and are half-open. Nothing of the file depends on when it is written.
    """

    def __init__(self, file: IO[bytes], schema: Schema, *, text: bool, about: Mapping[str, str]) -> None:
        from pyarrow import parquet

        self._columns = columns(schema, text=text).with_metadata(dict(about))
        self._writer = parquet.ParquetWriter(file, self._columns, compression="zstd")
        self._rows: list[dict[str, Any]] = []
        self._characters = 0

    def add(self, document: Document) -> None:
        """Write a document, at the latest with the row group."""
        self._rows.append(_values_of(document, self._columns.names))
        self._characters += len(document.text)
        if len(self._rows) >= ROWS or self._characters >= CHARACTERS:
            self._flush()

    def _flush(self) -> None:
        self._writer.write_table(_pyarrow().Table.from_pylist(self._rows, schema=self._columns), row_group_size=ROWS)
        self._rows, self._characters = [], 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is not None:
            # The file is given up; it may be the disk that is full.
            with suppress(Exception):
                self._writer.close()
            return
        if self._rows:
            self._flush()
        self._writer.close()


def columns(schema: Schema, *, text: bool) -> Any:
    """The columns of the output.

    Raises:
        ConfigError: pyarrow is absent, or a layer is called like a column.
    """
    arrow = _pyarrow()
    fixed = ["id", "target", "group", *(["text"] if text else [])]
    if taken := [name for name in schema.layers if name in fixed]:
        raise ConfigError("--format parquet", f"layer {taken[0]!r} is called like a column; use --format jsonl")
    label = [("label", arrow.string()), ("score", arrow.float64())]
    span = arrow.struct([("start", arrow.int32()), ("end", arrow.int32()), *label])
    kinds = {
        name: arrow.struct(label) if layer.kind is Kind.DOCUMENT else arrow.list_(span)
        for name, layer in schema.layers.items()
    }
    return arrow.schema([*((name, arrow.string()) for name in fixed), *kinds.items()])


def _values_of(document: Document, names: list[str]) -> dict[str, Any]:
    own = {"id": document.id, "target": document.target, "group": document.group, "text": document.text}
    return {name: own[name] if name in own else plain_labels(document.labels.get(name)) for name in names}


def ids(path: Path) -> Iterator[str]:
    """The ids of an output file, in order."""
    with _open(path) as file:
        for batch in file.iter_batches(ROWS, columns=["id"]):
            yield from batch.column("id").to_pylist()


def _pyarrow() -> Any:
    try:
        import pyarrow
    except ImportError as error:
        raise ConfigError("Parquet", f"needs the package pyarrow; {to_install('archives')}") from error
    return pyarrow
