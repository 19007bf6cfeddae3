"""Encoders in other libraries' formats, beside a checkpoint's weights: `engines/NAME/`, with a record of what it is.

It knows folders and records, not what is in the graphs.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from annotations.errors import CheckpointError, first_line
from annotations.storage import write_json
from inference.checkpoint_files import WEIGHTS, sha256

FOLDER = "engines"
RECORD = "engine.json"
FORMAT = 1
"""Of a record; another number is not understood."""


def folder(checkpoint: str | Path, name: str) -> Path:
    """Where an engine's artefact lies, or would."""
    return Path(checkpoint) / FOLDER / name


def check(checkpoint: str | Path, name: str) -> dict[str, Any]:
    """The record of an artefact that was made from these very weights.

    Raises:
        CheckpointError: there is none, it was made from other weights, or it is damaged.
    """
    place = folder(checkpoint, name)
    again = f"make it with `standpoint export {checkpoint} --engine {name}`"
    if not (place / RECORD).is_file():
        raise CheckpointError(place, f"there is no artefact of the engine {name!r}; {again}")
    try:
        record: dict[str, Any] = json.loads((place / RECORD).read_text("utf-8"))
        form, weights, known = record["format"], record["weights"], record["files"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(place / RECORD, f"cannot be read ({first_line(error)}); {again}") from error
    if form != FORMAT:
        raise CheckpointError(place / RECORD, f"has format {form!r}, this Standpoint reads {FORMAT}; {again}")
    if weights != sha256(Path(checkpoint) / WEIGHTS):
        raise CheckpointError(place, f"was made from other weights than those of {checkpoint}; {again}")
    if other := changed(place, known):
        raise CheckpointError(place, f"{', '.join(other)}: missing or changed; {again}")
    return record


def changed(place: Path, files: dict[str, str]) -> list[str]:
    """Files of an artefact's folder that are missing, or that have other hashes than these."""
    return [file for file, known in files.items() if not (place / file).is_file() or sha256(place / file) != known]


def content(checkpoint: str | Path, name: str) -> str | None:
    """A short hash of an artefact's files and precision, as its record tells them; None where no record can be read."""
    try:
        record = json.loads((folder(checkpoint, name) / RECORD).read_text("utf-8"))
        found = {**record["files"], **({"bf16": True} if record.get("bf16") else {})}
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return hashlib.sha256(json.dumps(found, sort_keys=True).encode()).hexdigest()[:16]


def measured_in_bf16(place: Path) -> bool:
    """Whether what was measured of an artefact was computed in bfloat16; yes while it is made, when there is no record yet."""
    record = place / RECORD
    return not record.is_file() or bool(json.loads(record.read_text("utf-8")).get("bf16"))


def present(checkpoint: str | Path) -> dict[str, str]:
    """Engine name to `content` of every artefact that lies beside a checkpoint's weights."""
    places = sorted((Path(checkpoint) / FOLDER).glob("[!.]*"))
    return {place.name: found for place in places if (found := content(checkpoint, place.name))}


def files(place: Path) -> dict[str, str]:
    """Names and hashes of an artefact's files, as its record tells them."""
    return dict(json.loads((place / RECORD).read_text("utf-8"))["files"])


@contextmanager
def making(checkpoint: str | Path, name: str) -> Iterator[Path]:
    """A folder to write an artefact into; it takes its place when `keep` was called on it, and is gone otherwise."""
    place = folder(checkpoint, name)
    part = place.with_name(f".{name}.part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    try:
        yield part
    finally:
        shutil.rmtree(part, ignore_errors=True)


def keep(checkpoint: str | Path, name: str, part: Path, facts: dict[str, Any]) -> Path:
    """Write the record and put the artefact in its place, instead of an earlier one."""
    made = {file.name: sha256(file) for file in sorted(part.iterdir())}
    weights = sha256(Path(checkpoint) / WEIGHTS)
    write_json(part / RECORD, {"format": FORMAT, "engine": name, "weights": weights, "files": made, **facts})
    place = folder(checkpoint, name)
    old = place.with_name(f".{name}.old")
    shutil.rmtree(old, ignore_errors=True)
    if place.exists():
        place.rename(old)
    part.rename(place)
    shutil.rmtree(old, ignore_errors=True)
    return place
