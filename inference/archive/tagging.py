"""Tags one shard and writes its file, and its errors beside it. It knows documents and formats, not processes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import IO, Any, Protocol, Self

import torch
from transformers.utils.logging import disable_progress_bar

from annotations.document import Document
from annotations.errors import ConfigError, DocumentError, JobError
from annotations.reading import with_targets
from inference.archive.documents import UnfitError, document
from inference.archive.parquet import ParquetWriter
from inference.archive.records import Cursor, Record
from inference.archive.settings import ERRORS, Settings
from inference.archive.shards import Outcome, Shard
from inference.archive.sources import source
from inference.archive.writing import durable, write_durably
from inference.checkpoint_files import version
from inference.memory import few_arenas, keep_trimmed
from inference.tagger import Tagger, refusal, target_check


def own_process(settings: Settings) -> ShardTagger:
    """The tagger of a process that does nothing else: its threads and its memory are set for that."""
    few_arenas()
    torch.set_num_threads(settings.threads)
    disable_progress_bar()
    keep_trimmed()
    return ShardTagger(settings)


class _Writer(Protocol):
    def add(self, document: Document) -> None: ...


class _LinesWriter:
    """One document a line, as `standpoint tag --format jsonl` writes them."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file

    def add(self, document: Document) -> None:
        self._file.write(document.to_json().encode() + b"\n")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass


class ShardTagger:
    """A tagger that does shards of one job, one after the other."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.tagger = Tagger.load(settings.model, engine=settings.engine)
        if version(settings.model) != settings.version:
            raise JobError(f"{settings.model}: is no longer the model that the job began with; put that one back")
        self._cursor = Cursor(settings.max_characters)
        self._refused = target_check(self.tagger)
        refused = [(target, error) for target in settings.targets if (error := self._refused(target))]
        if refused:
            problems = [f"{target[:40]!r}: {'; '.join(error.problems)}" for target, error in refused]
            raise ConfigError("--target", problems)

    def perform(self, shard: Shard) -> Outcome:
        """Write a shard's file, whole or not at all, once its errors are written.

        Raises:
            JobError: it cannot be written, or the input is no longer what it was.
        """
        try:
            return self._write(shard, each=False)
        except DocumentError:
            # What a tagger refuses without our having foreseen it: found by encoding each document alone.
            return self._write(shard, each=True)

    def _write(self, shard: Shard, *, each: bool) -> Outcome:
        outcome, bad, ignored = Outcome(shard.number), list[dict[str, Any]](), set[str]()
        output = self.settings.output
        with durable(output / (shard.name + self.settings.suffix)) as file:
            with self._writer(file) as writer:
                for found in self.tagger.tag(self._documents(shard, bad, ignored, each=each)):
                    writer.add(found)
                    outcome.documents += 1
            if bad:
                # Before the shard's own file is there: that one says that all is done.
                (output / ERRORS).mkdir(exist_ok=True)
                lines = "".join(json.dumps(one) + "\n" for one in bad)
                write_durably(output / ERRORS / f"{shard.name}.jsonl", lines.encode())
        outcome.bad, outcome.ignored = len(bad), tuple(sorted(ignored))
        return outcome

    def _writer(self, file: IO[bytes]) -> AbstractContextManager[_Writer]:
        if self.settings.form == "jsonl":
            return _LinesWriter(file)
        about = {"standpoint.model": self.settings.version, "standpoint.offsets": "half-open, in Unicode code points"}
        return ParquetWriter(file, self.tagger.schema, text=self.settings.text, about=about)

    def _documents(
        self, shard: Shard, bad: list[dict[str, Any]], ignored: set[str], *, each: bool
    ) -> Iterator[Document]:
        """The documents of a shard, once for each target; what is none, or cannot be read, goes into `bad`."""
        for name, record in self._records(shard):
            identity = None
            try:
                found = document(record, name, self.settings.max_characters, ignored)
                for one in with_targets(found, self.settings.targets, numbered=True):
                    identity = one.id
                    self._check(one, each=each)
                    yield one
            except UnfitError as error:
                line = {"file": name, "line": record.line, "id": error.name or identity, "reason": error.reason}
                bad.append(line)

    def _records(self, shard: Shard) -> Iterator[tuple[str, Record]]:
        for piece in shard.pieces:
            count = 0
            for record in self._cursor.read(source(self.settings.input, piece.name), piece):
                count += 1
                yield piece.name, record
            if count != piece.count:
                raise JobError(
                    f"{self.settings.input}: {piece.name} has changed while it was read; begin in a new --output"
                )

    def _check(self, found: Document, *, each: bool) -> None:
        """Raise UnfitError for a document that the tagger would refuse; `each` encodes its text too, which costs."""
        error = self._refused(found.target)
        if error is None and each:
            error = refusal(self.tagger, found)
        if error is not None:
            raise UnfitError("; ".join(error.problems), found.id)
