"""Small archives, jobs that run in the test's own process, and what a job's folder holds.

Run as a script it is a job that is killed again and again: see `killed_again_and_again`.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import warm

from annotations.document import Document, Label, Span
from annotations.storage import write_jsonl
from inference.archive.job import tag_archive
from inference.archive.settings import Settings
from inference.archive.shards import Outcome, Shard
from inference.archive.summary import Summary
from inference.archive.tagging import ShardTagger
from inference.tagger import Tagger

SENTENCES = [
    "The Taliban met in Kabul.",
    "Al-Qaeda denied it on Friday.",
    "Officials of the NDS spoke to VOA. 😀 Ends.",
]
TARGETS = [None, "The Taliban met.", "Nobody met."]


class Here:
    """Does shards in this process, as a worker would."""

    def __init__(self, settings: Settings) -> None:
        self._tagger = ShardTagger(settings)

    def engine(self) -> str:
        return self._tagger.tagger.engine.name

    def perform(self, shards: Iterator[Shard]) -> Iterator[Outcome]:
        for shard in shards:
            yield self._tagger.perform(shard)


@contextmanager
def here(settings: Settings) -> Iterator[Here]:
    yield Here(settings)


def run(settings: Settings, **changes: Any) -> tuple[Summary, list[str]]:
    """Run a job here; its summary, and what it said."""
    said: list[str] = []
    return tag_archive(replace(settings, **changes), here, said.append), said


def some(count: int, start: int = 0) -> list[Document]:
    """Short documents, some with a target."""
    texts = [f"Report {n}. " + " ".join(SENTENCES[: n % 4] * (n % 3)) for n in range(start, start + count)]
    return [
        Document(id=f"d-{n}", text=text, target=TARGETS[n % 3], group=f"g-{n % 5}" if n % 2 else None)
        for n, text in enumerate(texts, start)
    ]


def archive(folder: Path, count: int = 23) -> Path:
    """A folder of JSON Lines, texts, and lines that make no document; its documents in order are those of `some`."""
    documents = some(count)
    write_jsonl(folder / "a.jsonl", documents[: count // 2])
    lines = [one.to_json() for one in documents[count // 2 :]]
    (folder / "b.jsonl").write_text("\n\n".join(["{broken", *lines, '{"id": "empty"}']))
    return folder


def until(found: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    """Wait for something to be so while a process runs."""
    waited = time.monotonic()
    while not found():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() - waited < 300
        time.sleep(0.01)


def files(output: Path) -> dict[str, bytes]:
    """Every file below a folder."""
    return {
        path.relative_to(output).as_posix(): path.read_bytes() for path in sorted(output.rglob("*")) if path.is_file()
    }


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def errors(output: Path) -> list[dict[str, Any]]:
    """All that could not be tagged, in order."""
    return [line for path in sorted((output / "errors").glob("*")) for line in lines(path)]


def from_rows(rows: Iterable[dict[str, Any]]) -> list[Document]:
    """The documents of Parquet rows that have a text."""
    found = []
    for row in rows:
        fixed = {name: row.pop(name) for name in ("id", "text", "target", "group")}
        labels = {
            name: tuple(Span(**span) for span in value) if isinstance(value, list) else Label(**value)
            for name, value in row.items()
            if value is not None
        }
        found.append(Document(**fixed, labels=labels))
    return found


def killed_again_and_again(settings: Settings) -> list[int]:
    """Run a job in processes that are killed at their first step, their second, and so on, until one lives: how each ended.

    A step is a document written, bytes brought to the disk, or a file named; the kill comes before it or after it.
    """
    done = warm.run([sys.executable, __file__], settings.to_json())
    assert done.returncode == 0, done.stderr
    found: list[int] = json.loads(done.stdout)
    return found


def _mortal(owner: Any, name: str, left: list[int]) -> None:
    """Let this process be killed when steps like this one have been begun or ended so many times."""
    real = getattr(owner, name)

    def step(*args: Any, **rest: Any) -> Any:
        _count(left)
        answer = real(*args, **rest)
        _count(left)
        return answer

    setattr(owner, name, step)


def _count(left: list[int]) -> None:
    left[0] -= 1
    if not left[0]:
        os.kill(os.getpid(), signal.SIGKILL)


def _child(settings: Settings, steps: int) -> int:
    from inference.archive import parquet, tagging

    if number := os.fork():
        return os.waitstatus_to_exitcode(os.waitpid(number, 0)[1])
    left = [steps]
    for owner, name in (
        (os, "fsync"),
        (Path, "replace"),
        (parquet.ParquetWriter, "add"),
        (tagging._LinesWriter, "add"),
    ):
        _mortal(owner, name, left)
    try:
        run(settings)
        os._exit(0)
    except BaseException:
        traceback.print_exc()
        os._exit(1)


def main() -> None:
    settings, ends = Settings.from_json(sys.stdin.read()), [-signal.SIGKILL]
    # Loaded once: forks have it already.
    tagger = Tagger.load(settings.model, engine=settings.engine)
    Tagger.load = lambda *given, **rest: tagger  # type: ignore[method-assign]
    while ends[-1] == -signal.SIGKILL:
        ends.append(_child(settings, len(ends)))
    print(json.dumps(ends[1:]))


if __name__ == "__main__":
    main()
