"""The public sets in their own formats, a handful of made-up sentences each."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path

PEOPLE, PLACES = ["Ada", "Karim", "Joe", "Lina", "Omar"], ["Rome", "Kabul", "Paris", "Herat", "Oslo"]
LABELS = {"conll": ("PER", "LOC"), "wnut": ("person", "location"), "politics": ("politician", "location")}


def sentence(number: int, labels: tuple[str, str], form: str) -> str:
    """Lines of a sentence that no other number gives; `form` has the places of token and tag."""
    person, place = PEOPLE[number % 5], PLACES[number // 5 % 5]
    rows = [(person, f"B-{labels[0]}"), ("saw", "O"), (place, f"B-{labels[1]}"), (f"{number}", "O"), (".", "O")]
    return "".join(form.format(token, tag) + "\n" for token, tag in rows) + "\n"


def columns(path: Path, first: int, count: int, labels: tuple[str, str], *, articles: bool = False) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    form = "{} NN I-NP {}" if articles else "{}\t{}"
    lines = []
    for number in range(first, first + count):
        start = "-DOCSTART- -X- O O\n\n" if articles and number % 3 == 0 else ""
        lines.append(start + sentence(number, labels, form))
    path.write_text("".join(lines), "utf-8")


def newswire(path: Path) -> None:
    """Eight articles of three sentences, and a copy of the first one without its last word."""
    labels = ("Person", "Location")
    texts = ["".join(sentence(3 * a + n, labels, "{}\t{}") for n in range(3)) for a in range(8)]
    copy = texts[0].removesuffix(".\tO\n\n") + "\n"
    with tarfile.open(path, "w:xz") as packed:
        for number, text in enumerate([*texts, copy]):
            member = tarfile.TarInfo(f"newswire/article_{number}.txt.tsv")
            member.size = len(text.encode())
            packed.addfile(member, io.BytesIO(text.encode()))


def stance(path: Path) -> None:
    path.parent.mkdir(parents=True)
    rows = []
    for number in range(12):
        person, place, word = PEOPLE[number % 5], PLACES[number % 5], ["praised", "met", "blamed"][number % 3]
        text = f"{person} was {word} by {place} on day {number}."
        targets = [
            {
                "from": text.index(mention),
                "to": text.index(mention) + len(mention),
                "mention": mention,
                "polarity": value,
            }
            for mention, value in ((person, [6.0, 4.0, 2.0][number % 3]), (place, 4.0))
        ]
        rows.append({"primary_gid": f"{number}", "sentence_normalized": text, "targets": targets})
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")


def write_sets(folder: Path) -> None:
    """All sets that the benchmarks read, below a folder as they lie below STANDPOINT_DATA."""
    ner = folder / "ner"
    for place, name in enumerate(("eng.train", "eng.testa", "eng.testb")):
        columns(ner / "conll2003" / name, 12 * place, 12, LABELS["conll"], articles=True)
    for place, name in enumerate(("wnut17train.conll", "emerging.dev.conll", "emerging.test.annotated")):
        columns(ner / "wnut17" / name, 12 * place, 12, LABELS["wnut"])
    for place, name in enumerate(("train.txt", "dev.txt", "test.txt")):
        columns(ner / "crossner-politics" / name, 8 * place, 8, LABELS["politics"])
    newswire(ner / "worldwide-newswire.tar.xz")
    stance(folder / "stance" / "newsmtsc" / "train.jsonl")
