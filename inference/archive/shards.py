"""An archive cut into shards of equally many documents, in order. It knows places in files, not what is there."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

from inference.archive.records import Piece, places
from inference.archive.sources import Source, sources


@dataclass(frozen=True, slots=True)
class Shard:
    """What is done at once and written into one file."""

    number: int
    pieces: tuple[Piece, ...]
    size: int
    """About how many bytes of the archive it takes: what progress is counted in."""

    @property
    def name(self) -> str:
        """What its files are called, without their suffix."""
        return shard_name(self.number)

    @property
    def where(self) -> str:
        """Its records, for a message."""
        if not self.pieces:
            return "nothing"
        first, last = self.pieces[0], self.pieces[-1]
        end = f"{last.name}, {last.count} from line {last.line} on" if last.line else last.name
        return end if first == last else f"{first.name} to {end}"

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """From `to_dict`."""
        return cls(values["number"], tuple(Piece(**piece) for piece in values["pieces"]), values["size"])


@dataclass
class Outcome:
    """What came of a shard."""

    shard: int
    documents: int = 0
    """Written; a text with several targets counts for each."""
    bad: int = 0
    ignored: tuple[str, ...] = ()
    """Fields that were not read."""

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


def shard_name(number: int) -> str:
    """What a shard's files are called, without their suffix."""
    return f"part-{number:06d}"


def shards(place: Path, size: int, longest: int) -> Iterator[Shard]:
    """All shards of an archive; of one without any record, a single empty one.

    A shard ends after `size` records wherever files end. Memory is bounded by the longest record and one shard's places.
    """
    number, held, pieces = 0, 0, list[Piece]()
    before, counted = 0, 0
    for source in sources(place):
        for piece, end in _pieces(source, size - held, size, longest):
            held += piece.count
            pieces.append(piece)
            if held == size:
                reached = before + min(end, source.size)
                yield Shard(number, tuple(pieces), reached - counted)
                number, held, pieces, counted = number + 1, 0, [], reached
        before += source.size
    if pieces or not number:
        yield Shard(number, tuple(pieces), before - counted)


def _pieces(source: Source, room: int, size: int, longest: int) -> Iterator[tuple[Piece, int]]:
    """A file's records in runs, the first of at most `room`, the others of at most `size`; and where each one ends."""
    first, count, line, offset = 0, 0, 0, 0
    for record in places(source, longest):
        if count == room:
            yield Piece(source.name, first, count, line, offset), record.offset
            first, count, room = first + count, 0, size
        if not count:
            line, offset = record.line or 0, record.offset
        count += 1
    if count:
        yield Piece(source.name, first, count, line, offset), source.size
