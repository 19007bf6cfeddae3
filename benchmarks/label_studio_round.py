"""What a round through Label Studio costs: 2,000 tasks of 800 words pushed with predictions and pulled back.

Each row is a process of its own against one server, so that its peak memory is its own. The server's share is the time
spent waiting for its answers. The peer does the same with the SDK as its documentation shows: every task in one import,
every task in one export, nothing checked. Predictions are made up (one span in 25 words): no model's time is in here.

Run: python benchmarks/label_studio_round.py .venv-labelstudio/bin/label-studio --save benchmarks/results/label_studio_round
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from importlib.metadata import version
from pathlib import Path

import httpx

from annotations.document import Document, Span
from annotations.labelstudio.local_server import LocalServer
from annotations.labelstudio.policy import Policy
from annotations.schema import Schema

WORDS, EVERY = 800, 25
NAMES = ("Kabul", "Taliban", "Helmand", "Islamabad", "ISIS-K")
SCHEMA = Schema.load("configs/schema.yaml")


def article(number: int) -> Document:
    """A text of 800 words with a name as every 25th word; 🙂 stands first, so that offsets are put to the test."""
    words = [
        NAMES[(number + at) % 5] if at % EVERY == 0 else f"word{(number * 7 + at) % 997}" for at in range(WORDS - 1)
    ]
    text = "🙂 " + " ".join([*words[:400], f"number{number}.\r\n\r\n", *words[400:]])
    return Document(id=f"article-{number}", text=text, target="A claim.", group=f"article-{number}")


def suggest(documents: Iterable[Document]) -> Iterator[Document]:
    """Every name as a location."""
    for document in documents:
        spans, start = [], 0
        for word in document.text.split(" "):
            if word in NAMES:
                spans.append(Span(start=start, end=start + len(word), label="LOCATION", score=0.5))
            start += len(word) + 1
        yield document.with_labels({"entity": tuple(spans)})


def ours(url: str, token: str, count: int, title: str) -> Callable[[], None]:
    """Push, and return what pulls."""
    from annotations.labelstudio.pull import pull
    from annotations.labelstudio.push import Suggestions, open_project, push
    from annotations.labelstudio.server import Server

    server = Server(url, token)
    project, _ = open_project(server, SCHEMA, title=title)
    documents = Suggestions("benchmark", suggest)
    done = push(server, project, lambda: map(article, range(count)), SCHEMA, suggestions=documents)
    assert (done.created, done.predictions) == (count, count)

    def back() -> None:
        with tempfile.TemporaryDirectory() as folder:
            pulled = pull(server, project, Path(folder) / "pulled", SCHEMA, Policy())
            assert pulled.changed == count
            read = sum(1 for _ in pulled.tasks.open("rb")) - 2
            assert read == count

    return back


def plain(url: str, token: str, count: int, title: str) -> Callable[[], None]:
    """The same with the SDK alone."""
    from label_studio_sdk.client import LabelStudio

    from annotations.labelstudio.shapes import labelling_config, to_prediction, to_task

    sdk = LabelStudio(base_url=url, api_key=token, timeout=600)
    project = sdk.projects.create(title=title, label_config=labelling_config(SCHEMA)).id
    bare = list(map(article, range(count)))
    tasks = [
        {**to_task(document, SCHEMA.layers), "predictions": [to_prediction(found, "benchmark")]}
        for document, found in zip(bare, suggest(bare), strict=True)
    ]
    sdk.projects.import_tasks(project, request=tasks)

    def back() -> None:
        tasks = sdk.projects.exports.as_json(project)
        assert len(tasks) == count
        with tempfile.TemporaryDirectory() as folder:
            Path(folder, "tasks.json").write_text(json.dumps(tasks), "utf-8")

    return back


class Waiting:
    """Seconds spent in requests, answers read to their end included."""

    def __init__(self) -> None:
        self.seconds = 0.0
        send, read = httpx.HTTPTransport.handle_request, httpx.Response.iter_raw

        def handle(transport: httpx.HTTPTransport, request: httpx.Request) -> httpx.Response:
            began = time.perf_counter()
            try:
                return send(transport, request)
            finally:
                self.seconds += time.perf_counter() - began

        def raw(response: httpx.Response, chunk_size: int | None = None) -> Iterator[bytes]:
            pieces = read(response, chunk_size)
            while True:
                began = time.perf_counter()
                piece = next(pieces, None)
                self.seconds += time.perf_counter() - began
                if piece is None:
                    return
                yield piece

        httpx.HTTPTransport.handle_request = handle  # type: ignore[method-assign]
        httpx.Response.iter_raw = raw  # type: ignore[method-assign]

    def lap(self, work: Callable[[], object]) -> tuple[float, float, object]:
        """Seconds in all, seconds of waiting, and the result."""
        waited, began = self.seconds, time.perf_counter()
        result = work()
        return time.perf_counter() - began, self.seconds - waited, result


def measure(which: str, url: str, token: str, count: int) -> dict[str, float]:
    """One row, in this process."""
    waiting = Waiting()
    work = ours if which == "ours" else plain
    push, push_waits, back = waiting.lap(lambda: work(url, token, count, f"{which} {count} {time.time():.0f}"))
    pull, pull_waits, _ = waiting.lap(back)  # type: ignore[arg-type]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"push": push, "push_waits": push_waits, "pull": pull, "pull_waits": pull_waits, "peak": peak}


def main() -> None:
    """Measure, print, save."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("executable", type=Path)
    parser.add_argument("--tasks", type=int, default=2000)
    parser.add_argument("--save", type=Path)
    parser.add_argument("--row", nargs=4, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.row:
        which, url, token, count = arguments.row
        print(json.dumps(measure(which, url, token, int(count))))
        return
    rows = [("ours", arguments.tasks // 4), ("ours", arguments.tasks), ("SDK alone", arguments.tasks // 4)]
    rows.append(("SDK alone", arguments.tasks))
    lines = [
        "| | tasks | push, tasks/s | of it the server's | pull, tasks/s | of it the server's | peak memory, MB |",
        "|---|---|---|---|---|---|---|",
    ]
    with tempfile.TemporaryDirectory() as folder, LocalServer(arguments.executable, Path(folder)) as local:
        token = local.token()
        for which, count in rows:
            command = [sys.executable, "-W", "ignore", __file__, str(arguments.executable)]
            command += ["--row", "ours" if which == "ours" else "sdk", local.url, token, str(count)]
            print(f"{which}, {count} tasks …", file=sys.stderr)
            got = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
            lines.append(
                f"| {which} | {count:,} | {count / got['push']:.0f} | {got['push_waits'] / got['push']:.0%} "
                f"| {count / got['pull']:.0f} | {got['pull_waits'] / got['pull']:.0%} | {got['peak']:.0f} |"
            )
    text = "\n".join(lines)
    print(text)
    if arguments.save:
        # It loads torch, whose memory is no part of a row's.
        from training.run_directory import hardware

        about = f"{time.strftime('%Y-%m-%d')}, {hardware()['processor']}, {os.cpu_count()} cores, "
        about += f"Python {platform.python_version()}, "
        about += f"label-studio-sdk {version('label-studio-sdk')}, Label Studio 1.23.2 on SQLite on the same machine"
        command = f"Command: `python benchmarks/label_studio_round.py .venv-labelstudio/bin/label-studio --save {arguments.save}`"
        head = "# A round through Label Studio"
        arguments.save.with_suffix(".md").write_text(f"{head}\n\n{command}\n\n{about}\n\n{text}\n", "utf-8")


if __name__ == "__main__":
    main()
