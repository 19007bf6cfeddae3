"""Does a text get the same labels whichever engine and door it comes by? The gold articles and random strings, counted.

The reference is `Tagger.tag` on PyTorch, one text at a time. Doors: a stream, documents encoded one by one, the HTTP service, an
archive job, all on PyTorch; the other engines tag a stream. Engines in 32-bit floats and all doors have to give the same
labels, or the exit status is 1; engines with fewer bits are counted.

Run: python benchmarks/parity.py runs/demo/checkpoint --save benchmarks/results/parity
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pages import publish
from service_client import Connections, Service
from throughput import TARGET, engines_of

from annotations.document import Document
from annotations.reading import annotated_documents
from annotations.storage import read_jsonl, write_jsonl
from inference.archive.job import processes, tag_archive
from inference.archive.settings import Settings
from inference.engines.choice import ENGINES
from inference.tagger import Encoded, Tagger
from training.shell import progress, quiet_libraries

ALPHABETS = (
    "abcdefghijklmnopqrstuvwxyz     ",
    "ABC abc .,;:!?\"'()-–—“”…\n\r\t",
    "äöüßéñçøåžščğıİŁ ",
    "абвгдежзиклмн АБВ ",
    "ابتثجحخدذرز سشصض ",
    "一二三四五六七八九十中国人民 、。",
    "😀🇦🇫👩‍👩‍👧🏽\u200b\u200d\ufeff\u0301\u202e ",
    "".join(map(chr, range(1, 0x300))),
)
Json = dict[str, Any]
Found = list[Json]


def strings(count: int, names: Sequence[str]) -> list[str]:
    """Random strings of many scripts, some of them with words of the articles."""
    draw = random.Random(0)
    made = []
    for _ in range(count):
        alphabet = draw.choice(ALPHABETS)
        words = ["".join(draw.choices(alphabet, k=draw.randrange(1, 14))) for _ in range(draw.randrange(0, 12))]
        words += draw.sample(names, k=draw.randrange(0, 6))
        draw.shuffle(words)
        made.append(draw.choice([" ", " ", "", "\n"]).join(words))
    return made


def over_http(folder: Path, documents: Sequence[Document], place: Path, engine: str) -> Found:
    """Many requests at once, a document each."""
    service = Service(folder, place / "service.log", [f"engine={engine}"])

    async def ask() -> list[bytes]:
        connections, gate = Connections(service.host, service.port), asyncio.Semaphore(32)

        async def one(document: Document) -> bytes:
            async with gate:
                status, body = await connections.ask(
                    json.dumps({"text": document.text, "target": document.target}).encode()
                )
            assert status == 200, (status, body)
            return body

        answers = await asyncio.gather(*map(one, documents))
        connections.close()
        return answers

    try:
        answers = [json.loads(body)["labels"] for body in asyncio.run(ask())]
    finally:
        service.process.terminate()
        service.process.wait()
    return [
        {
            name: [[one["start"], one["end"], one["label"]] for one in found]
            if isinstance(found, list)
            else found["label"]
            for name, found in labels.items()
        }
        for labels in answers
    ]


def by_archive(folder: Path, documents: Sequence[Document], place: Path, engine: str) -> Found:
    """An archive job of two processes."""
    write_jsonl(place / "input.jsonl", documents)
    settings = Settings(place / "input.jsonl", place / f"tagged-{engine}", folder, form="jsonl", engine=engine)
    tag_archive(settings, processes(2), progress)
    parts = sorted((place / f"tagged-{engine}").glob("part-*.jsonl"))
    return [document.without_scores() for part in parts for document in read_jsonl(part)]


def ways(
    folder: Path, taggers: Mapping[str, Tagger], documents: Sequence[Document], place: Path
) -> dict[str, tuple[bool, Callable[[], Found]]]:
    """What is compared: whether it must be the same, and how it comes about."""

    torch = taggers["torch"]
    found: dict[str, tuple[bool, Callable[[], Found]]] = {
        "torch: a stream": (True, lambda: [one.without_scores() for one in torch.tag(documents)]),
        "torch: encoded one by one": (
            True,
            lambda: [
                x.without_scores() for x in torch.tag_encoded([Encoded(one, torch.encode([one])) for one in documents])
            ],
        ),
        "torch: HTTP service": (True, lambda: over_http(folder, documents, place, "torch")),
        "torch: archive job": (True, lambda: by_archive(folder, documents, place, "torch")),
    }
    for name, tagger in taggers.items():
        if name != "torch":
            stream = (
                ENGINES[name].exact,
                lambda tagger=tagger: [one.without_scores() for one in tagger.tag(documents)],
            )
            found[f"{name}: a stream"] = stream  # type: ignore[assignment]
    return found


def row(name: str, must: bool, wanted: Found, found: Found) -> Json:
    """How many documents have other labels, layer by layer."""
    pairs = list(zip(wanted, found, strict=True))
    layers = sorted({name for one in wanted for name in one})
    other = {layer: sum(one.get(layer) != two.get(layer) for one, two in pairs) for layer in layers}
    return {
        "name": name,
        "must": must,
        "documents": len(pairs),
        "different": sum(a != b for a, b in pairs),
        "layers": other,
    }


def table(rows: Sequence[Json]) -> str:
    """The rows as Markdown."""
    layers = list(rows[0]["layers"])
    head = ["way", "has to be the same", "documents", "with other labels", *layers]
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    for one in rows:
        cells = [
            one["name"],
            "yes" if one["must"] else "no",
            one["documents"],
            one["different"],
            *one["layers"].values(),
        ]
        lines.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join(lines)


def measured(checkpoint: Path, data: Path, count: int) -> list[Json]:
    """All rows."""
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        folder = shutil.copytree(checkpoint, place / "checkpoint", ignore=shutil.ignore_patterns("engines"))
        reference = Tagger.load(folder, engine="torch")
        gold = annotated_documents([data], reference.schema)[0]
        taggers = engines_of(folder, gold)
        words = [word for document in gold for word in document.text.split()]
        texts = [Document(id=f"random-{n}", text=text, target=TARGET) for n, text in enumerate(strings(count, words))]
        documents = [*(document.with_labels({}) for document in gold), *texts]
        wanted = [reference.tag(document).without_scores() for document in documents]
        rows = []
        for way, (must, run) in ways(folder, taggers, documents, place).items():
            rows.append(row(way, must, wanted, run()))
            progress(json.dumps(rows[-1]))
        return rows


def main(given: Sequence[str] | None = None) -> None:
    """Compare, print, save; exit status 1 where something differs that must not."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--data", type=Path, default=Path("annotations/gold.json"), help="annotated documents")
    parser.add_argument("--strings", type=int, default=10_000, help="how many random strings")
    parser.add_argument("--save", type=Path, help="write SAVE.md and SAVE.json")
    options = parser.parse_args(given)
    quiet_libraries()
    rows = measured(options.checkpoint, options.data, options.strings)
    publish(__file__, given, "The same labels by every engine and door", table(rows), {"rows": rows}, options.save)
    if any(one["different"] for one in rows if one["must"]):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
