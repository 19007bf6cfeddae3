"""A callable on batches of rows, for `datasets.map(batched=True)` and Ray's `map_batches`: labels as columns.

It knows columns of lists, NumPy arrays and Arrow tables. Weights are loaded in each process when the first batch comes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from annotations.document import Document, claim, plain_labels
from annotations.errors import ConfigError, DocumentError, InputError
from annotations.schema import Kind
from inference.engines.choice import AUTO
from inference.interop.loading import Source

if TYPE_CHECKING:
    import pyarrow as pa  # type: ignore[import-untyped]

Values = list[Any]


class TagBatch:
    """Tags the texts of a batch: what comes in comes out, with one more column for each layer.

    A layer of spans or sentences is a list of {start, end, label, score}, one of documents {label, score}; null where it
    is unannotated, as a targeted layer is without a target. Scores are probabilities, offsets half-open and count code points.
    From a mapping that is no dict (as `datasets` passes), the new columns alone come back: `datasets` keeps the others itself.
    """

    def __init__(
        self,
        checkpoint: str | Path,
        *,
        text_column: str = "text",
        target_column: str | None = None,
        target: str | None = None,
        engine: str = AUTO,
        prefix: str = "",
        error_column: str | None = None,
    ) -> None:
        """Name a checkpoint and the columns; nothing is loaded yet.

        `target` is for rows that have none in `target_column`. `prefix` is put before the layers' names. Where there is an
        `error_column`, a row that cannot be tagged has null labels and its problem there, instead of ending the job.

        Raises:
            CheckpointError: the folder holds no tagger.
            ConfigError: there is no such engine, two columns would have one name, or the target is no text.
        """
        if target is not None and not isinstance(target, str):
            raise ConfigError("target", f"is of type {type(target).__name__}; give a text (str) or None")
        self.source = Source.of(checkpoint, engine)
        self.text_column = text_column
        self.target_column = target_column
        self.target = target
        self.prefix = prefix
        self.error_column = error_column
        self.kinds = {name: layer.kind for name, layer in self.source.schema.layers.items()}
        given = [name for name in (text_column, target_column) if name]
        self._refuse_shared([*given, *self.columns], "the checkpoint and its arguments")

    @property
    def columns(self) -> list[str]:
        """The names of the columns that it adds."""
        added = [f"{self.prefix}{name}" for name in self.kinds]
        return [*added, self.error_column] if self.error_column else added

    def __call__(self, batch: Any) -> Any:
        """Tag a batch: a mapping of columns to lists or arrays, or a `pyarrow.Table`; the answer is of the same kind.

        Raises:
            ConfigError: a column is missing, or has the name of one to be added.
            DocumentError: rows that cannot be tagged, all at once, where there is no `error_column`.
        """
        table = hasattr(batch, "column_names") and hasattr(batch, "append_column")
        if not table and not isinstance(batch, Mapping):
            kind = type(batch).__name__
            raise ConfigError("batch", f'is a {kind}; ask for batch_format="pyarrow" or "numpy", or for `batched=True`')
        names = list(batch.column_names if table else batch)
        self._check(names)
        texts = _values(batch[self.text_column])
        targets = _values(batch[self.target_column]) if self.target_column else [None] * len(texts)
        added = self._columns(self._tagged(texts, targets))
        if table:
            return self._appended(batch, added)
        if any(isinstance(batch[name], np.ndarray) for name in names):
            added = {name: _array(values) for name, values in added.items()}
        return {**batch, **added} if isinstance(batch, dict) else added

    def _check(self, names: Sequence[str]) -> None:
        wanted = [self.text_column, *([self.target_column] if self.target_column else [])]
        if missing := [name for name in wanted if name not in names]:
            raise ConfigError("batch", [f"has no column {name!r}; it has {', '.join(names)}" for name in missing])
        self._refuse_shared([*names, *self.columns], "the batch")

    def _refuse_shared(self, names: Sequence[str], where: str) -> None:
        if shared := sorted({name for name in names if names.count(name) > 1}):
            told = [
                f"column {name!r} would be there twice; set prefix= or error_column= to another name" for name in shared
            ]
            raise ConfigError(where, told)

    def _tagged(self, texts: Values, targets: Values) -> list[Document | InputError]:
        """A labelled document or its problem for every row, in order."""
        rows = [self._document(place, *row) for place, row in enumerate(zip(texts, targets, strict=True))]
        sound = [row for row in rows if isinstance(row, Document)]
        answers = iter(self._answers(sound))
        found = [next(answers) if isinstance(row, Document) else row for row in rows]
        problems = [problem for row in found if isinstance(row, InputError) for problem in _told(row)]
        if problems and not self.error_column:
            raise DocumentError("batch", problems)
        return found

    def _document(self, place: int, text: Any, target: Any) -> Document | InputError:
        problems = []
        if not isinstance(text, str):
            problems.append(f"column {self.text_column!r} holds {type(text).__name__}, not a text")
        if target is not None and not isinstance(target, str):
            problems.append(f"column {self.target_column!r} holds {type(target).__name__}, neither a text nor null")
        if problems:
            return DocumentError(f"row {place}", problems)
        return Document(id=f"row {place}", text=text, target=claim(target) or self.target)

    def _answers(self, documents: Sequence[Document]) -> Iterator[Document | InputError]:
        """All at once; where one of them cannot be read, one by one, so that it does not spoil the others."""
        tagger = self.source.tagger()
        try:
            yield from list(tagger.tag(documents))
        except DocumentError:
            for document in documents:
                try:
                    yield tagger.tag(document)
                except DocumentError as error:
                    yield DocumentError(document.id, error.problems)

    def _columns(self, rows: Sequence[Document | InputError]) -> dict[str, Values]:
        added: dict[str, Values] = {
            f"{self.prefix}{name}": [
                plain_labels(row.labels.get(name)) if isinstance(row, Document) else None for row in rows
            ]
            for name in self.kinds
        }
        if self.error_column:
            added[self.error_column] = [None if isinstance(row, Document) else str(row) for row in rows]
        return added

    def _appended(self, table: pa.Table, added: Mapping[str, Values]) -> pa.Table:
        import pyarrow as pa

        types = self.arrow_schema()
        for name, values in added.items():
            table = table.append_column(types.field(name), pa.array(values, types.field(name).type))
        return table

    def features(self, given: Mapping[str, Any]) -> Any:
        """What to pass to `datasets.map` as `features`, from the data set's own.

        Without it, `datasets` takes the types from the first rows, and fails later where these have no label.
        """
        from datasets import Features

        return Features({**given, **Features.from_arrow_schema(self.arrow_schema())})

    def arrow_schema(self) -> pa.Schema:
        """Names and types of the added columns."""
        import pyarrow as pa

        label = [("label", pa.string()), ("score", pa.float64())]
        spans = pa.list_(pa.struct([("start", pa.int64()), ("end", pa.int64()), *label]))
        fields = [
            pa.field(f"{self.prefix}{name}", pa.struct(label) if kind is Kind.DOCUMENT else spans)
            for name, kind in self.kinds.items()
        ]
        return pa.schema([*fields, *([pa.field(self.error_column, pa.string())] if self.error_column else [])])


def _values(column: Any) -> Values:
    """A column as a list of Python values."""
    for method in ("to_pylist", "tolist"):
        if hasattr(column, method):
            return list(getattr(column, method)())
    return list(column)


def _array(values: Values) -> Any:
    """One object a row, however long the rows are."""
    made = np.empty(len(values), dtype=object)
    for place, value in enumerate(values):
        made[place] = value
    return made


def _told(error: InputError) -> list[str]:
    return [f"{error.where}: {problem}" for problem in error.problems]
