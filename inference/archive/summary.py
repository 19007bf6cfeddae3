"""What a finished job wrote: counts, and ids that several documents have. It reads the output alone."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from annotations.errors import JobError
from inference.archive import parquet
from inference.archive.duplicates import repeated
from inference.archive.settings import ERRORS
from inference.archive.shards import shard_name
from inference.archive.writing import write_durably

SUMMARY = "summary.json"
DUPLICATES = "duplicates.jsonl"
_LEAST = 40
"""Bytes that a document takes in the output, at least."""
_ID = re.compile(rb'\{"id":("(?:[^"\\]|\\.)*")')


@dataclass(frozen=True)
class Summary:
    """What a job wrote."""

    shards: int
    documents: int
    """Written; a text with several targets counts for each."""
    bad: int
    """In the error files."""
    repeated_ids: int
    """Ids that more than one document has."""

    def __str__(self) -> str:
        text = f"{self.documents:,} documents in {self.shards:,} shards"
        text += f"; {self.bad:,} could not be tagged, see {ERRORS}/" if self.bad else ""
        return text + (
            f"; {self.repeated_ids:,} ids occur more than once, see {DUPLICATES}" if self.repeated_ids else ""
        )


def known(output: Path, suffix: str) -> Summary | None:
    """The summary of a job that has finished before, and whose shards are all still there."""
    path = output / SUMMARY
    found = Summary(**json.loads(path.read_text("utf-8"))) if path.exists() else None
    return found if found and all(part.exists() for part in _parts(output, found.shards, suffix)) else None


def summarise(output: Path, shards: int, suffix: str) -> Summary:
    """Count what lies in the shards and the error files, and write it down; with that the job is finished.

    Raises:
        JobError: a shard cannot be read back, or the disk is full.
    """
    parts = list(_parts(output, shards, suffix))
    try:
        found = repeated(lambda: _ids(parts), sum(part.stat().st_size for part in parts) // _LEAST, output)
        bad = sum(_lines(path) for path in (output / ERRORS).glob("*.jsonl"))
    except (OSError, ValueError) as error:
        raise JobError(
            f"{output}: the shards cannot be counted ({error}); remove what is broken, and give the same command again"
        ) from error
    if found.repeated:
        lines = [json.dumps({"id": name, "documents": count}) + "\n" for name, count in found.named.items()]
        write_durably(output / DUPLICATES, "".join(lines).encode())
    summary = Summary(shards, found.total, bad, found.repeated)
    write_durably(output / SUMMARY, (json.dumps(asdict(summary), indent=2) + "\n").encode())
    return summary


def _parts(output: Path, shards: int, suffix: str) -> Iterator[Path]:
    return (output / f"{shard_name(number)}{suffix}" for number in range(shards))


def _ids(parts: list[Path]) -> Iterator[str]:
    for part in parts:
        if part.suffix == ".parquet":
            yield from parquet.ids(part)
            continue
        with part.open("rb") as file:
            for line in file:
                # The id comes first in a Document's JSON; the rest need not be parsed.
                found = _ID.match(line)
                if not found:
                    raise ValueError(f"{part} holds a line without an id")
                yield json.loads(found[1])


def _lines(path: Path) -> int:
    with path.open("rb") as file:
        return sum(1 for _ in file)
