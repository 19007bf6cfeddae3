"""An archive job killed with -9 three times beside one left alone: the same bytes, documents a second, memory, what it costs.

Paragraphs of one to four sentences of the gold articles, each name in them put in the place of another one of its kind, each
with a target of the articles; drawn with a fixed seed, so that the input is the same everywhere. Both jobs are the command
`standpoint tag`, as users run it. The killed one is killed when a quarter, half, and three quarters of its shards are there,
and started again each time. Memory is the resident set of the job and its workers together, sampled every half second.

Run: python benchmarks/archive_kill.py --model runs/demo/checkpoint --save benchmarks/results/archive_kill
     python benchmarks/archive_kill.py --model runs/demo/checkpoint --documents 2000 --shard-size 50
"""

from __future__ import annotations

import argparse
import hashlib
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections import defaultdict, deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from pages import publish

from annotations.document import Document, Span
from annotations.errors import ConfigError
from annotations.reading import annotated_documents
from annotations.schema import Schema
from annotations.sentences import sentences
from annotations.storage import write_jsonl
from inference.archive.duplicates import repeated
from inference.archive.settings import earlier
from inference.archive.shards import shards as cut
from inference.checkpoint_files import label_schema, version
from training.shell import progress

COMMAND = (sys.executable, "-c", "from training.cli import main; main()", "tag")
KILLS = (0.25, 0.5, 0.75)
"""Shares of the shards at which a job is killed."""
BILLION = 1_000_000_000

Piece = tuple[str, list[Span]]


def gold_sentences(gold: Path, schema: Schema) -> tuple[list[Piece], dict[str, list[str]], list[str]]:
    """Each sentence with its names, the names of each label, and the targets."""
    documents, _ = annotated_documents([gold], schema)
    pieces: list[Piece] = []
    names: dict[str, set[str]] = defaultdict(set)
    for document in documents:
        spans = document.spans("entity")
        for start, end in sentences(document.text):
            inside = [span for span in spans if start <= span.start and span.end <= end]
            moved = [span.model_copy(update={"start": span.start - start, "end": span.end - start}) for span in inside]
            pieces.append((document.text[start:end], moved))
            for span in inside:
                names[span.label].add(document.text[span.start : span.end])
    targets = sorted({document.target for document in documents if document.target})
    return pieces, {label: sorted(found) for label, found in names.items()}, targets


def paragraphs(count: int, gold: Path, schema: Schema) -> Iterator[Document]:
    """So many documents, always the same."""
    draw = random.Random(0)
    pieces, names, targets = gold_sentences(gold, schema)
    for number in range(count):
        chosen = draw.choices(pieces, k=draw.randint(1, 4))
        text = " ".join(renamed(text, spans, names, draw) for text, spans in chosen)
        yield Document(id=f"p-{number}", text=text, target=draw.choice(targets))


def renamed(text: str, spans: Sequence[Span], names: dict[str, list[str]], draw: random.Random) -> str:
    """A sentence with other names of the same kinds."""
    parts, at = [], 0
    for span in spans:
        parts += [text[at : span.start], draw.choice(names[span.label])]
        at = span.end
    return "".join([*parts, text[at:]])


class Sample(NamedTuple):
    """What there was at one moment of a job."""

    seconds: float
    shards: int
    megabytes: float


@dataclass
class Watched:
    """One start of the command."""

    seconds: float = 0.0
    killed: bool = False
    samples: list[Sample] = field(default_factory=list)


def start(command: Sequence[str], output: Path, kill_at: int | None = None) -> Watched:
    """Run the command to its end, or until so many shards are there and it is killed with -9."""
    found = Watched()
    began = time.monotonic()
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(command, stdout=said, stderr=said)
        try:
            found.killed = watch(process, output, kill_at, found.samples)
        finally:
            process.kill()
        if process.wait() and not found.killed:
            said.seek(0)
            raise ConfigError("the job", f"ended with status {process.returncode}: {said.read().decode()[-2000:]}")
    found.seconds = time.monotonic() - began
    return found


def watch(process: subprocess.Popen[bytes], output: Path, kill_at: int | None, samples: list[Sample]) -> bool:
    """Sample a job until it ends, or has so many shards: whether it has those first."""
    began = time.monotonic()
    while process.poll() is None:
        shards = len(list(output.glob("part-*")))
        size = sum(map(resident, family(process.pid))) / 1e6
        samples.append(Sample(time.monotonic() - began, shards, size))
        if kill_at is not None and shards >= kill_at:
            return True
        time.sleep(0.5)
    return False


def busy() -> float:
    """Processor seconds of all processes that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def used(work: Callable[[], object]) -> float:
    """Processor seconds of this process."""
    began = time.process_time()
    work()
    return time.process_time() - began


def family(number: int) -> list[int]:
    """A process and those that it has started."""
    found = [number]
    with suppress(OSError):
        for child in Path(f"/proc/{number}/task/{number}/children").read_text().split():
            found += family(int(child))
    return found


def resident(number: int) -> int:
    """Bytes of memory of a process; none where it has just ended."""
    with suppress(OSError, IndexError):
        return int(Path(f"/proc/{number}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return 0


def content(output: Path) -> dict[str, str]:
    """Every file of a job by its hash."""
    return {
        path.relative_to(output).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(output.rglob("*"))
        if path.is_file()
    }


def speed(watched: Watched, options: argparse.Namespace) -> float:
    """Documents a second from the moment on when the first shards are there: loading is over."""
    first = next(sample for sample in watched.samples if sample.shards)
    return (options.documents - first.shards * options.shard_size) / (watched.seconds - first.seconds)


def memory(samples: Sequence[Sample], shards: int) -> tuple[float, float]:
    """Most megabytes while the second tenth of the shards was done, and while the last one was: loading is over by then."""
    begin = [sample.megabytes for sample in samples if 0.1 * shards <= sample.shards <= 0.2 * shards]
    end = [sample.megabytes for sample in samples if 0.9 * shards <= sample.shards < shards]
    return max(begin, default=0.0), max(end, default=0.0)


def measure(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Both jobs, one after the other."""
    schema = label_schema(options.model)
    progress(f"making {options.documents:,} paragraphs")
    write_jsonl(folder / "in" / "paragraphs.jsonl", paragraphs(options.documents, options.gold, schema))
    shards = -(-options.documents // options.shard_size)
    fixed = {"input": folder / "in", "model": options.model, "shard-size": options.shard_size}
    fixed |= {"engine-workers": options.workers, "engine": options.engine}
    command = [*COMMAND, *(part for name, value in fixed.items() for part in (f"--{name}", str(value)))]
    progress("undisturbed")
    before = busy()
    alone = start([*command, "--output", str(folder / "alone")], folder / "alone")
    processor = busy() - before
    again = [*command, "--output", str(folder / "killed")]
    starts: list[Watched] = []
    for share in KILLS:
        progress(f"until {share:.0%}, then killed")
        starts.append(start(again, folder / "killed", round(share * shards)))
        if not starts[-1].killed:
            raise ConfigError("--shard-size", "a job ended before it could be killed; give more --documents")
    progress("to the end")
    starts.append(start(again, folder / "killed"))
    progress("the parts that one process does alone")
    file = folder / "in" / "paragraphs.jsonl"
    cutting = used(lambda: deque(cut(folder / "in", options.shard_size, 2_000_000), maxlen=0))
    comparing = used(lambda: repeated(lambda: map(str, range(options.documents)), options.documents, folder))
    one, other = content(folder / "alone"), content(folder / "killed")
    begin, end = memory(alone.samples, shards)
    return {
        "same": one == other,
        "engine": (earlier(folder / "alone") or {})["engine"],
        "files": len(one),
        "bytes": sum(path.stat().st_size for path in (folder / "alone").rglob("*") if path.is_file()),
        "input_bytes": file.stat().st_size,
        "cut_per_second": options.documents / cutting,
        "compared_per_second": options.documents / comparing,
        "sha256": hashlib.sha256(repr(sorted(one.items())).encode()).hexdigest(),
        "seconds": alone.seconds,
        "processor_seconds": processor,
        "documents_per_second": speed(alone, options),
        "killed_at": [watched.samples[-1].shards for watched in starts if watched.killed],
        "killed_seconds": [watched.seconds for watched in starts],
        "megabytes_begin": begin,
        "megabytes_end": end,
        "shards": shards,
    }


def table(found: dict[str, Any], options: argparse.Namespace) -> str:
    """Markdown: a line for each thing measured."""
    per_core = options.documents / found["processor_seconds"]
    hours = BILLION / per_core / 3600
    kills = ", ".join(map(str, found["killed_at"]))
    rows = [
        ("undisturbed", f"{found['seconds']:.0f} s, loading included"),
        (
            "documents a second",
            f"{found['documents_per_second']:.1f} with {options.workers} processes of one thread, without loading",
        ),
        ("documents a processor second", f"{per_core:.1f}, loading included"),
        ("killed with -9", f"{len(found['killed_at'])} times, with {kills} of {found['shards']} shards there"),
        ("all starts of the killed job", f"{sum(found['killed_seconds']):.0f} s"),
        ("same bytes", f"{'yes' if found['same'] else 'NO'}: {found['files']} files, {found['bytes'] / 1e6:.1f} MB"),
        ("memory in the second tenth", f"{found['megabytes_begin']:.0f} MB"),
        ("memory in the last tenth", f"{found['megabytes_end']:.0f} MB"),
        (
            "bytes in and out for a document",
            f"{per_document(found, options, 'input_bytes')} and {per_document(found, options, 'bytes')}",
        ),
        ("lines cut into shards", f"{found['cut_per_second']:,.0f} a second, by one process beside the others"),
        ("ids compared", f"{found['compared_per_second']:,.0f} a second, by one process at the end"),
        ("a billion such documents", f"{hours:,.0f} core hours: {hours / 24 / 1000:.1f} days on 1,000 cores"),
    ]
    about = f"Checkpoint {version(options.model)}, engine {found['engine']}, {options.documents:,} paragraphs."
    return "\n".join([about, "", "| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows)])


def per_document(found: dict[str, Any], options: argparse.Namespace, name: str) -> str:
    return f"{found[name] / options.documents:.0f}"


def main(given: Sequence[str] | None = None) -> dict[str, Any]:
    """Measure, print, and save where asked for."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n", 1)[0])
    parser.add_argument("--model", type=Path, default=Path("runs/demo/checkpoint"), help="checkpoint folder")
    parser.add_argument("--gold", type=Path, default=Path("annotations/gold.json"))
    parser.add_argument("--documents", type=int, default=100_000)
    parser.add_argument("--shard-size", type=int, default=500)
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--engine", default="auto")
    parser.add_argument("--save", type=Path, help="also write SAVE.md and SAVE.json")
    options = parser.parse_args(given)
    with tempfile.TemporaryDirectory() as folder:
        found = measure(options, Path(folder))
    publish(__file__, given, "An archive job, killed and not", table(found, options), found, options.save)
    if not found["same"]:
        raise SystemExit("the killed job wrote other bytes")
    return found


if __name__ == "__main__":
    main()
