"""Streams one column of texts from Parquet, Arrow, and folders that `datasets` saved. It knows rows, not paragraphs."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from itertools import chain
from pathlib import Path
from typing import Any

from annotations.errors import ConfigError, DocumentError, did_you_mean, to_install

COLUMNAR = (".parquet", ".arrow")
ROWS = 256
_STREAM_END = b"\xff\xff\xff\xff\0\0\0\0"


def is_saved_dataset(path: Path) -> bool:
    """Whether a folder was written by `save_to_disk`."""
    return any((path / name).is_file() for name in ("dataset_info.json", "dataset_dict.json"))


def column(path: Path, field: str) -> Iterator[str]:
    """Stream the texts of a column, a few hundred rows at a time; of a dict of splits `train`, else every split.

    Raises:
        ConfigError: there is no such column, or the package for it is absent.
        DocumentError: at the place where the file cannot be read or a row holds no text.
    """
    try:
        import pyarrow  # type: ignore[import-untyped]

        if path.is_dir():
            import_module("datasets")
    except ImportError as error:
        raise ConfigError(path, f"needs the package datasets; {to_install('training')}") from error
    number = 0
    try:
        for number, value in enumerate(chain.from_iterable(_values(path, field)), 1):
            if not isinstance(value, str):
                found = f"row {number}: {field!r} holds {type(value).__name__}, not text"
                raise DocumentError(path, f"{found}; name the column of texts (field: …) or mend the row")
            yield value
    except (OSError, ValueError, IndexError, pyarrow.ArrowException) as error:
        problem = f"is broken or no dataset, after row {number} ({' '.join(str(error).split())})"
        raise DocumentError(path, f"{problem}; write it again with `save_to_disk` or `to_parquet`") from error


def _values(path: Path, field: str) -> Iterator[list[Any]]:
    if path.is_dir():
        yield from _saved(path, field)
    elif path.suffix == ".parquet":
        from pyarrow import parquet

        with parquet.ParquetFile(path) as file:
            _check(path, field, file.schema_arrow.names)
            for batch in file.iter_batches(batch_size=ROWS, columns=[field]):
                yield batch.column(field).to_pylist()
    else:
        yield from _arrow(path, field)


def _saved(path: Path, field: str) -> Iterator[list[Any]]:
    from datasets import Dataset, DatasetDict, load_from_disk

    loaded = load_from_disk(str(path))
    splits: dict[str, Dataset] = dict(loaded) if isinstance(loaded, DatasetDict) else {"": loaded}
    for split in [splits["train"]] if "train" in splits else splits.values():
        _check(path, field, split.column_names)
        for rows in split.select_columns([field]).with_format("arrow").iter(batch_size=ROWS):
            yield rows.column(field).to_pylist()


def _arrow(path: Path, field: str) -> Iterator[list[Any]]:
    """Arrow's stream format, which `datasets` writes, or its file format."""
    from pyarrow import ipc, memory_map

    with memory_map(str(path)) as file:
        stream = file.read(6) != b"ARROW1"
        if stream and file.size() >= len(_STREAM_END):
            file.seek(file.size() - len(_STREAM_END))
            # The reader takes a file cut between two batches for a whole one.
            if file.read() != _STREAM_END:
                raise ValueError("the stream has no end")
        file.seek(0)
        reader = ipc.open_stream(file) if stream else ipc.open_file(file)
        _check(path, field, reader.schema.names)
        batches = reader if stream else map(reader.get_batch, range(reader.num_record_batches))
        for batch in batches:
            for start in range(0, batch.num_rows, ROWS):
                yield batch.column(field).slice(start, ROWS).to_pylist()


def _check(path: Path, field: str, columns: list[str]) -> None:
    if field not in columns:
        known = f"has the columns {', '.join(map(repr, columns))}"
        hint = did_you_mean(field, columns)
        raise ConfigError(path, f"{known}, not {field!r}; set field: …" + (f" ({hint})" if "mean" in hint else ""))
