"""Does the service hold? Minutes of mixed load, two new models in the middle, SIGTERM at the end; status 1 on any failure.

Good requests (one, many, streams; offsets in three units) are compared with what `Tagger.tag` says of the same text in process,
for the model that the answer names. Beside them: texts that are too long, malformed bodies, wrong tokens, clients that drip or
vanish.
A request is lost when it was sent whole, by a client that waits, and no answer came; nothing may be. Memory is the service's
resident set: the lowest some time after the second new model came, and the lowest at the end, are compared, for between two times
at which free memory is given back it goes up and down.

Run: python benchmarks/service_endurance.py --minutes 10 --save benchmarks/results/service_endurance
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import shutil
import signal
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from pages import publish
from service_client import Connections, Service, read_reply
from service_load import paragraphs

from annotations.document import Document
from annotations.schema import Schema
from inference import checkpoint, checkpoint_files
from inference.config import TaggerConfig
from inference.service.messages import Offsets
from inference.service.units import converter
from inference.tagger import Tagger
from training.shell import progress, quiet_libraries

TOKEN = "endurance-token-of-nobody"
TARGET = "The Taliban has cut its ties with other groups."
EXTRA = " 🙂 𝒜 é طالبان"
SETTINGS = (
    "timeouts.head=2",
    "timeouts.body=2",
    "limits.characters=50000",
    "limits.body_mb=4",
    "timeouts.keep_alive=60",
)
HEAD = (
    b"POST /v1/tag HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer %s\r\nContent-Type: application/json\r\n"
    % TOKEN.encode()
)
GROWTH = 1.1
"""How much larger the process may be at the end than some time after the second new model came."""
Said = dict[str, Any]


@dataclass
class Watch:
    """What was asked and what came of it."""

    expected: dict[str, list[Said]]
    """Version to what it says of each text."""
    texts: list[str]
    counts: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)
    versions: Counter[str] = field(default_factory=Counter)
    memory: list[tuple[float, float]] = field(default_factory=list)
    """Seconds since the beginning, and megabytes."""
    ending: bool = False

    def fail(self, what: str) -> None:
        """Note a failure."""
        self.failures.append(what)

    def compare(self, place: int, body: Said, unit: Offsets) -> None:
        """An answer to text `place` against what its model says in process."""
        self.versions[body["model_version"]] += 1
        place_of = converter(self.texts[place], unit)
        wanted = self.expected[body["model_version"]][place]
        moved = {
            name: [(place_of(start), place_of(end), label) for start, end, label in found]
            if isinstance(found, list)
            else found
            for name, found in wanted.items()
        }
        if said(body["labels"]) != moved:
            self.fail(f"text {place}: {said(body['labels'])} is not {moved}"[:400])


def said(labels: Said) -> Said:
    """Labels and offsets without probabilities, which differ in their last digits with what shares a batch."""
    return {
        name: [(one["start"], one["end"], one["label"]) for one in found] if isinstance(found, list) else found["label"]
        for name, found in labels.items()
    }


def in_process(path: Path, texts: Sequence[str]) -> list[Said]:
    """What a checkpoint says of every text."""

    def plain(document: Document) -> Said:
        return said(json.loads(document.model_dump_json())["labels"])

    return [plain(document) for document in Tagger.load(path).tag(texts, target=TARGET)]


class Clients:
    """Every kind of client; each method is one visit."""

    def __init__(self, service: Service, watch: Watch, seed: int) -> None:
        self.service, self.watch, self.draw = service, watch, random.Random(seed)
        self.connections = Connections(service.host, service.port)

    async def ask(
        self, kind: str, body: bytes, media_type: str = "application/json", token: str = TOKEN
    ) -> tuple[int, bytes]:
        """A request that must be answered: while the service ends it may also be refused, but not left without a word."""
        try:
            status, content = await self.connections.ask(body, media_type, token)
        except ConnectionRefusedError:
            if not self.watch.ending:
                self.watch.fail(f"{kind}: refused at the door")
            return 0, b""
        except OSError as error:
            self.watch.fail(f"{kind}: lost: {type(error).__name__}")
            return 0, b""
        self.watch.counts[f"{kind} {status}"] += 1
        return status, content

    def expect(self, kind: str, answer: tuple[int, bytes], *wanted: int) -> bool:
        """Whether the status is as wanted; a full queue and the end are no failures."""
        status, content = answer
        if status in (0, 429) or (status == 503 and self.watch.ending):
            return False
        if status not in wanted:
            told = content[:200].decode("utf-8", "replace")
            self.watch.fail(f"{kind}: status {status}, not {wanted}: {told}")
        return status == 200

    async def good(self) -> None:
        """One text."""
        place, unit = self.draw.randrange(len(self.watch.texts)), self.draw.choice(list(Offsets))
        body = {"text": self.watch.texts[place], "target": TARGET, "offsets": unit}
        status, content = await self.ask("good", json.dumps(body).encode())
        if self.expect("good", (status, content), 200):
            self.watch.compare(place, json.loads(content), unit)

    async def many(self) -> None:
        """Some texts, one of them bad."""
        places = self.draw.choices(range(len(self.watch.texts)), k=8)
        documents: list[Any] = [{"text": self.watch.texts[place]} for place in places]
        documents[3] = self.draw.choice([{"text": 7}, {"text": "\ud800"}, "none", {"text": "a", "b": 1}])
        status, content = await self.ask("many", json.dumps({"documents": documents, "target": TARGET}).encode())
        if self.expect("many", (status, content), 200):
            self._compare_all(places, json.loads(content)["documents"])

    async def stream(self) -> None:
        """Lines, one of them bad."""
        places = self.draw.choices(range(len(self.watch.texts)), k=12)
        rows = [json.dumps({"text": self.watch.texts[place], "target": TARGET}).encode() for place in places]
        rows[3] = b"\xff{"
        status, content = await self.ask("stream", b"\n".join(rows) + b"\n", "application/x-ndjson")
        if self.expect("stream", (status, content), 200):
            self._compare_all(places, [json.loads(line) for line in content.splitlines()])

    def _compare_all(self, places: Sequence[int], bodies: Sequence[Said]) -> None:
        if len(bodies) != len(places):
            self.watch.fail(f"{len(bodies)} answers to {len(places)} documents")
        for number, (place, body) in enumerate(zip(places, bodies, strict=False)):
            if number == 3:
                if body["error"]["status"] not in (400, 422):
                    self.watch.fail(f"a bad document was answered {body['error']}")
            elif "error" in body:
                self.watch.fail(f"a good document among bad ones was answered {body['error']['status']}")
            else:
                self.watch.compare(place, body, Offsets.CODE_POINTS)

    async def huge(self) -> None:
        """A text or a body over the limit, or a long text within it."""
        if self.draw.random() < 0.3:
            answer = await self.ask("long", json.dumps({"text": "Kabul is quiet. " * 3000}).encode())
            self.expect("long", answer, 200)
        else:
            size = self.draw.choice([60_000, 5_000_000])
            self.expect("huge", await self.ask("huge", json.dumps({"text": "a" * size}).encode()), 413)

    async def malformed(self) -> None:
        """Bodies that are no request."""
        bodies = [
            b"",
            b"{",
            b"[]",
            b'{"text": "\xff"}',
            b'{"text": "a\x00"}',
            b"[" * 50_000,
            b'{"text": 1}',
            b'{"tex": "a"}',
        ]
        self.expect("malformed", await self.ask("malformed", self.draw.choice(bodies)), 400, 422)

    async def unauthorised(self) -> None:
        """A token that nobody gave."""
        answer = await self.ask("unauthorised", b'{"text": "a"}', token="wrong" * 5)
        self.expect("unauthorised", answer, 401)

    async def slow(self) -> None:
        """A head or a body that drips, until the service has enough of it."""
        start = self.draw.choice([b"POST /v1/tag HTTP/1.1\r\nX: ", HEAD + b"Content-Length: 1000\r\n\r\n"])
        status = await self._raw(start, drip=True)
        if status not in (408, None):
            self.watch.fail(f"slow: status {status}, not 408")
        self.watch.counts[f"slow {status}"] += 1

    async def vanishing(self) -> None:
        """A client that leaves: in the head, in the body, or before the answer."""
        body = json.dumps({"text": self.draw.choice(self.watch.texts) * 5}).encode()
        whole = HEAD + b"Content-Length: %d\r\n\r\n" % len(body) + body
        await self._raw(whole[: self.draw.choice([30, len(whole) - 20, len(whole)])], drip=False)
        self.watch.counts["vanishing"] += 1

    async def _raw(self, start: bytes, *, drip: bool) -> int | None:
        try:
            reader, writer = await asyncio.open_connection(self.service.host, self.service.port)
        except OSError:
            return None
        try:
            writer.write(start)
            await asyncio.sleep(0.02)
            until = time.monotonic() + 20
            while drip and not reader.at_eof() and time.monotonic() < until:
                writer.write(b" ")
                await asyncio.sleep(0.1)
                if reader._buffer:  # type: ignore[attr-defined]
                    break
            return (await read_reply(reader))[0] if drip else None
        except OSError:
            return None
        finally:
            writer.transport.abort()


KINDS = {"good": 8, "many": 2, "stream": 2, "huge": 1, "malformed": 3, "unauthorised": 2, "slow": 1, "vanishing": 2}
"""How often each kind of client comes."""


async def visits(clients: Clients, pause: float) -> None:
    """One visitor after another, until the service ends."""
    names = list(KINDS)
    while not clients.watch.ending:
        name = clients.draw.choices(names, [KINDS[name] for name in names])[0]
        visit: Callable[[], Awaitable[None]] = getattr(clients, name)
        await visit()
        await asyncio.sleep(clients.draw.expovariate(1 / pause))
    # Some come when it ends, and are told.
    await clients.good()


async def live(
    service: Service, watch: Watch, link: Path, models: Sequence[Path], seconds: float, visitors: int
) -> int:
    """The whole life of the service; returns its exit status."""
    began = time.monotonic()
    tasks = [asyncio.create_task(visits(Clients(service, watch, seed), 0.05)) for seed in range(visitors)]
    changes = [(seconds / 6, models[1]), (seconds / 3, models[0])]
    while (passed := time.monotonic() - began) < seconds:
        watch.memory.append((round(passed, 1), resident(service.process.pid)))
        if changes and passed > changes[0][0]:
            point(link, changes.pop(0)[1])
            service.process.send_signal(signal.SIGHUP)
        await asyncio.sleep(min(1.0, seconds / 20))
    watch.ending = True
    service.process.send_signal(signal.SIGTERM)
    await asyncio.gather(*tasks)
    return await asyncio.to_thread(service.process.wait, 120)


def resident(pid: int) -> float:
    """A process's resident set, in megabytes."""
    pages = int(Path(f"/proc/{pid}/statm").read_text("utf-8").split()[1])
    return pages * 4096 / 1e6


def point(link: Path, to: Path) -> None:
    """Make a link lead somewhere else in one step."""
    part = link.with_name("part")
    part.symlink_to(to)
    part.replace(link)


def made(folder: Path, seed: int) -> Path:
    """The default encoder with random heads, other ones for each seed."""
    torch.manual_seed(seed)
    config = TaggerConfig(label_schema=Schema.load("configs/schema.yaml"))
    model, tokenizer = checkpoint.from_encoder(checkpoint_files.DEFAULT_ENCODER, config, 0.1)
    checkpoint.save(folder, model, tokenizer)
    return folder


def judge(watch: Watch, status: int, log: str, texts: Sequence[str]) -> None:
    """Note what only shows at the end: exit status, log, versions, memory."""
    if status != 0:
        watch.fail(f"the service ended with status {status}")
    if "Traceback" in log or TOKEN in log or any(text[:60] in log for text in texts):
        watch.fail("the log holds a traceback, a token or a text")
    if set(watch.versions) != set(watch.expected):
        watch.fail(f"answers came from {set(watch.versions)}, not from {set(watch.expected)}")
    begin, last = memory_ends(watch)
    if last > GROWTH * begin:
        watch.fail(f"memory grew from {begin:.0f} to {last:.0f} MB")


def memory_ends(watch: Watch) -> tuple[float, float]:
    """Lowest resident set in the fifth ninth of the time and in the last, in megabytes."""
    sizes = [size for _, size in watch.memory]
    part = max(1, len(sizes) // 9)
    begin = min(len(sizes) - 1, 4 * part)
    return min(sizes[begin : begin + part]), min(sizes[-part:])


def run(minutes: float, visitors: int, folder: Path) -> Watch:
    """One service's life."""
    models = [made(folder / f"model-{seed}", seed) for seed in (1, 2)]
    texts = [text + EXTRA for text in paragraphs(40)]
    expected = {checkpoint_files.version(path): in_process(path, texts) for path in models}
    link, log = folder / "current", folder / "service.log"
    link.symlink_to(models[0])
    watch = Watch(expected, texts)
    service = Service(link, log, SETTINGS, STANDPOINT_TOKENS=TOKEN)
    try:
        status = asyncio.run(live(service, watch, link, models, 60 * minutes, visitors))
    finally:
        service.process.kill()
    judge(watch, status, log.read_text("utf-8"), texts)
    return watch


def report(watch: Watch, minutes: float) -> str:
    """What happened, as Markdown."""
    (begin, last), most = memory_ends(watch), max(size for _, size in watch.memory)
    lines = ["| requests | status | number |", "|---|---|---|"]
    lines += [
        f"| {name.partition(' ')[0]} | {name.partition(' ')[2]} | {count} |"
        for name, count in sorted(watch.counts.items())
    ]
    verdict = "no wrong answer, no request lost" if not watch.failures else f"{len(watch.failures)} failures"
    lines += [
        "",
        f"{minutes:g} minutes, two new models, SIGTERM: {verdict}; {sum(watch.versions.values())} answers compared.",
    ]
    lines += [
        f"Memory: from {begin:.0f} MB on after the second new model, from {last:.0f} MB on at the end, never over {most:.0f} MB."
    ]
    return "\n".join([*lines, *(f"- {failure}" for failure in watch.failures[:20])])


def main() -> None:
    """Run, print, save; exit status 1 on any failure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--visitors", type=int, default=12, help="clients at once")
    parser.add_argument("--save", type=Path)
    given = parser.parse_args()
    quiet_libraries()
    folder = Path(tempfile.mkdtemp())
    try:
        watch = run(given.minutes, given.visitors, folder)
    finally:
        shutil.rmtree(folder)
    values = {name: getattr(watch, name) for name in ("counts", "versions", "memory", "failures")}
    publish(__file__, None, "Mixed load", report(watch, given.minutes), values, given.save)
    if watch.failures:
        progress(f"{len(watch.failures)} failures")
        raise SystemExit(1)


if __name__ == "__main__":
    main()
