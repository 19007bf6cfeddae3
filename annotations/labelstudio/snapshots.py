"""Exported tasks on disk, one a line inside a JSON array, so that they are read, merged and hashed one at a time.

It knows nothing of what a task means.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path

from annotations.errors import DocumentError
from annotations.labelstudio.shapes import Json, task_array
from annotations.storage import replacing

# Two exports of the same annotations differ in these.
_PASSING = ("updated_at", "updated_by", "predictions", "drafts", "comment_authors", "last_comment_updated_at", "state")


def write_tasks(path: Path, tasks: Iterable[Json]) -> int:
    """Write tasks as a JSON array with one task a line. Returns how many."""
    pieces = 0
    with replacing(path) as out:
        for piece in task_array(tasks):
            out.write(piece)
            pieces += 1
    # The last one closes the array.
    return pieces - 1


def read_tasks(path: Path) -> Iterator[Json]:
    """Tasks as `write_tasks` wrote them.

    Raises:
        DocumentError: the file is missing, or not of that form.
    """
    try:
        with path.open("rb") as lines:
            if not next(lines, b"").startswith(b"["):
                raise ValueError("it does not begin as it should")
            for line in lines:
                if line.startswith(b"{"):
                    yield json.loads(line.strip().rstrip(b","))
    except (OSError, ValueError) as error:
        raise DocumentError(path, f"cannot be read ({error}); remove the folder and pull again") from error


def merged(old: Path, new: Path, keep: Collection[int]) -> Iterator[Json]:
    """The tasks of `keep`, in the order of their ids: those in `new`, and from `old` those that `new` lacks.

    Only the place of each line is held in memory.

    Raises:
        DocumentError: the old file is damaged.
    """
    try:
        places = {**_places(old), **_places(new)}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DocumentError(
            old, f"is damaged ({error}); remove the folder that `latest` points to and pull again"
        ) from error
    with old.open("rb") as first, new.open("rb") as second:
        files = {old: first, new: second}
        for number in sorted(set(places) & set(keep)):
            path, start = places[number]
            files[path].seek(start)
            yield json.loads(files[path].readline().strip().rstrip(b","))


def _places(path: Path) -> dict[int, tuple[Path, int]]:
    found: dict[int, tuple[Path, int]] = {}
    with path.open("rb") as lines:
        start = 0
        for line in lines:
            if line.startswith(b"{"):
                found[int(json.loads(line.strip().rstrip(b","))["id"])] = (path, start)
            start += len(line)
    return found


def version_of(tasks: Iterable[Json], *settings: str) -> str:
    """A short content hash of tasks, whatever their order, and of the settings under which they are read.

    Texts and annotations count; what the server notes down about its own work does not.
    """
    digests = sorted(_digest(task) for task in tasks)
    return hashlib.sha256("\n".join([*settings, *digests]).encode()).hexdigest()[:16]


def _digest(task: Json) -> str:
    kept = {key: value for key, value in task.items() if key not in _PASSING}
    kept["annotations"] = [
        {key: value for key, value in annotation.items() if key not in _PASSING} for annotation in task["annotations"]
    ]
    return hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()
