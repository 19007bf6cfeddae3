"""Does the queue save annotation? Simulates annotators on a public set: gold labels appear when an article is chosen.

Pool: the first sentences of newswire articles (worldwide-newswire), and lightly edited copies of some of them, as agencies'
stories are printed again and again. From a few random articles on, each round adds ten, chosen at random, by uncertainty
alone, or by uncertainty and diversity, and trains anew from the default encoder; the score is micro F1 of names on articles
that are never chosen. A choice is wasted where the same story is annotated already.

Results are appended to RUNS/results.jsonl as they come; the same command goes on where a killed one ended.

Run: OMP_NUM_THREADS=1 python benchmarks/active_learning.py DATA --save benchmarks/results/active_learning
"""

from __future__ import annotations

import argparse
import json
import random
import re
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any, NamedTuple

from learning_curve import markdown, svg

from annotations.comparison import compare
from annotations.document import Document, Span
from annotations.formats.columns import Columns
from annotations.selection import Candidate, select, sketch
from inference.queue import articles
from inference.tagger import Tagger
from inference.uncertainty import Measure
from training.config import RunConfig
from training.formats.conversion import column_files
from training.run_directory import machine
from training.trainer import fine_tune

SET = Path("ner/worldwide-newswire.tar.xz")
STRATEGIES = {"random": None, "uncertainty": 0.0, "uncertainty and diversity": 0.5}
"""Name to the queue's --diversity."""
SIZES = {"test": 100, "pool": 200, "stories": 10, "copies": 8, "start": 10, "batch": 10, "rounds": 4, "sentences": 6}
TINY = {"test": 6, "pool": 12, "stories": 2, "copies": 3, "start": 2, "batch": 3, "rounds": 2, "sentences": 3}
Row = dict[str, Any]


def newswire(path: Path, sentences: int) -> list[Document]:
    """The first sentences of each article, without its address, and without articles that are copies of others."""
    found: list[Document] = []
    for name, lines, whole in column_files(path):
        for document in Columns(name, "name", nested=True, per_document=0, whole=whole).read(lines):
            head = 1 if document.text.startswith("http") else 0
            inside = range(head, head + sentences)
            found.append(rebuilt(document, Path(name).name, lambda line, _, inside=inside: line in inside))
    pool = [Candidate(document.id, 0.0, sketch(document.text)) for document in found]
    kept = select(pool, count=len(pool), diversity=1.0)
    return sorted((found[pick.place] for pick in kept.picks), key=lambda document: document.id)


def rebuilt(document: Document, name: str, keep: Callable[[int, bool], bool]) -> Document:
    """The document without the tokens that `keep` (line, whether in a name) refuses; whole names are kept or lost."""
    owners = {at: span for span in document.spans("name") for at in range(span.start, span.end)}
    lines: list[str] = []
    found: dict[Span, tuple[int, int]] = {}
    base = offset = 0
    for number, line in enumerate(document.text.split("\n")):
        words: list[str] = []
        for match in re.finditer(r"\S+", line):
            owner = owners.get(base + match.start())
            if keep(number, owner is not None):
                if owner:
                    first, _ = found.get(owner, (offset, offset))
                    found[owner] = (first, offset + len(match[0]))
                words.append(match[0])
                offset += len(match[0]) + 1
        lines += [" ".join(words)] if words else []
        base += len(line) + 1
    spans = tuple(Span(start=start, end=end, label=span.label) for span, (start, end) in found.items())
    return Document(id=name, text="\n".join(lines), labels={"name": spans})


def edited(document: Document, name: str, rng: random.Random) -> Document:
    """A copy as another paper prints it: a sentence in ten and a word in twenty are left out, names never."""
    lines = document.text.count("\n") + 1
    gone = {line for line in range(1, lines) if rng.random() < 0.1}
    return rebuilt(document, name, lambda line, inside: line not in gone and (inside or rng.random() >= 0.05))


CAVEAT = (
    "All seeds are scored on the same test articles. The number of training steps was chosen after looking at two settings "
    "on those of seed 0; it is the same for every strategy."
)


class World(NamedTuple):
    """What one seed plays with."""

    start: list[str]
    pool: dict[str, Document]
    """Every article that can be annotated, those of the start among them."""
    test: list[Document]


def world(documents: Sequence[Document], seed: int, sizes: dict[str, int]) -> World:
    """The test part is the same for every seed; pool, start, and which stories are copied are drawn."""
    order = random.Random(7).sample(list(documents), len(documents))
    test, rest = order[: sizes["test"]], order[sizes["test"] :]
    rng = random.Random(seed)
    pool = rng.sample(rest, sizes["pool"])
    start, others = pool[: sizes["start"]], pool[sizes["start"] :]
    copies = [
        edited(story, f"{story.id}#copy-{number}", rng)
        for story in rng.sample(others, sizes["stories"])
        for number in range(1, sizes["copies"] + 1)
    ]
    return World([one.id for one in start], {one.id: one for one in [*pool, *copies]}, test)


def story(name: str) -> str:
    """What an article and its copies have in common."""
    return name.split("#")[0]


def wasted(names: Sequence[str]) -> int:
    """How many of the annotated articles tell a story that another one of them tells."""
    return len(names) - len({story(name) for name in names})


def trained(documents: list[Document], labels: Sequence[str], seed: int, steps: int) -> Tagger:
    """A tagger from the default encoder, after as many steps whatever the number of articles."""
    colours = {label: {} for label in labels}
    with tempfile.TemporaryDirectory() as folder, redirect_stdout(sys.stderr):
        config = RunConfig.build(
            {
                "tagger": {"label_schema": {"layers": {"name": {"kind": "spans", "labels": colours}}}},
                "data": {"train": ["unused"]},
                "output": folder,
                "seed": seed,
                "bf16": False,
                "trainer": {"max_steps": steps, "save_strategy": "no", "logging_strategy": "no", "disable_tqdm": True},
            },
            where="benchmark",
        )
        return fine_tune(config, documents, Path(folder))


def picks(tagger: Tagger, here: World, names: Sequence[str], strategy: str, seed: int, batch: int) -> list[str]:
    """The next articles to annotate."""
    left = [document for name, document in sorted(here.pool.items()) if name not in names]
    diversity = STRATEGIES[strategy]
    if diversity is None:
        # One order for all rounds: what is drawn does not depend on how often it was drawn before.
        order = random.Random(seed).sample(sorted(here.pool), len(here.pool))
        return [name for name in order if name not in names][:batch]
    found = list(articles(tagger, left, Measure.ENTROPY, print))
    known = [(name, sketch(here.pool[name].text)) for name in names]
    chosen = select([one.candidate for one in found], count=batch, diversity=diversity, annotated=known)
    return [found[pick.place].id for pick in chosen.picks]


def simulate(documents: Sequence[Document], seed: int, arguments: argparse.Namespace, log: Log) -> Iterator[Row]:
    """All strategies from the same start, round by round."""
    sizes = arguments.sizes
    here = world(documents, seed, sizes)
    labels = sorted({span.label for document in documents for span in document.spans("name")})
    for strategy in STRATEGIES:
        names = here.start
        for number in range(sizes["rounds"] + 1):
            # The first round is the same for all strategies but for what they choose next.
            row = log.find(seed, strategy, number)
            if row is None:
                began = time.monotonic()
                tagger = trained([here.pool[name] for name in names], labels, seed, arguments.steps)
                same = list(STRATEGIES) if number == 0 else [strategy]
                f1 = score(tagger, here.test)
                for one in same:
                    last = number == sizes["rounds"]
                    following = [] if last else picks(tagger, here, names, one, seed, sizes["batch"])
                    log.add(
                        {
                            "seed": seed,
                            "strategy": one,
                            "round": number,
                            "articles": len(names),
                            "words": sum(len(here.pool[name].text.split()) for name in names),
                            "names": sum(len(here.pool[name].spans("name")) for name in names),
                            "wasted": wasted(names),
                            "f1": f1,
                            "seconds": (time.monotonic() - began) / len(same),
                            "next": following,
                        }
                    )
                row = log.find(seed, strategy, number)
            assert row is not None
            yield row
            names = [*names, *row["next"]]


def score(tagger: Tagger, test: Sequence[Document]) -> float:
    """Micro F1 of exact spans with their labels."""
    predicted = list(tagger.tag(test))
    return compare(test, predicted, tagger.schema).layers["name"].micro.f1


class Log:
    """Rows on disk, added one by one, so that a killed run goes on."""

    def __init__(self, path: Path, settings: dict[str, Any]) -> None:
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        lines = path.read_text("utf-8").splitlines(keepends=True) if path.exists() else []
        # A kill may leave half a line.
        whole = [json.loads(line) for line in lines if line.endswith("\n")]
        if whole and whole[0] != settings:
            raise SystemExit(f"{path} holds results of other settings; remove it, or name another folder with --runs")
        self.rows: list[Row] = whole[1:]
        path.write_text("".join(json.dumps(value) + "\n" for value in [settings, *self.rows]), "utf-8")

    def find(self, seed: int, strategy: str, number: int) -> Row | None:
        """A row that is there already."""
        wanted = (seed, strategy, number)
        return next((row for row in self.rows if (row["seed"], row["strategy"], row["round"]) == wanted), None)

    def add(self, row: Row) -> None:
        """Keep a row."""
        self.rows.append(row)
        with self.path.open("a", encoding="utf-8") as out:
            out.write(json.dumps(row) + "\n")
        shown = {name: round(value, 3) if isinstance(value, float) else value for name, value in row.items()}
        print({name: value for name, value in shown.items() if name != "next"}, flush=True)


def main() -> None:
    """Parse, simulate, print, save."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="folder of the public sets")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=80)
    parser.add_argument("--tiny", action="store_true", help="a rehearsal of a minute: its numbers mean nothing")
    parser.add_argument("--runs", type=Path, default=Path("runs/active_learning"))
    parser.add_argument("--save", type=Path)
    arguments = parser.parse_args()
    arguments.sizes = TINY if arguments.tiny else SIZES
    settings = {"steps": arguments.steps, **arguments.sizes}
    log = Log(arguments.runs / "results.jsonl", settings)
    documents = newswire(arguments.data / SET, arguments.sizes["sentences"])
    rows = [row for seed in range(arguments.seeds) for row in simulate(documents, seed, arguments, log)]
    about = {"date": time.strftime("%Y-%m-%d"), **machine()}
    seconds = sum(row["seconds"] for row in rows)
    told = {**settings, "seeds": arguments.seeds, "minutes": round(seconds / 60, 1)}
    command = "Command: `OMP_NUM_THREADS=1 python benchmarks/active_learning.py DATA --save benchmarks/results/active_learning`"
    picture = f"{arguments.save.name}.svg" if arguments.save else ""
    text = markdown(rows, list(STRATEGIES), heading=f"{command}\n\n{told} {about}\n\n{CAVEAT}", picture=picture)
    print(text)
    if arguments.save:
        arguments.save.parent.mkdir(parents=True, exist_ok=True)
        arguments.save.with_suffix(".md").write_text(text, "utf-8")
        arguments.save.with_suffix(".svg").write_text(svg(rows, list(STRATEGIES)), "utf-8")
        values = {"settings": told, "about": about, "rows": rows}
        arguments.save.with_suffix(".json").write_text(json.dumps(values, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
