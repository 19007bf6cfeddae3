"""Our recipe beside others': the same splits, from 100 sentences to all of them, mean and range over seeds.

Names (strict micro F1 of exact character spans): CoNLL-2003 on eng.testb, CrossNER-politics on its test part, worldwide newswire
on 150 articles that no choice was made on; beside transformers' own token-classification example at its defaults on the same
encoder, spaCy's trainable NER and a CRF on words. Stance (macro F1): NewsMTSC, beside TF-IDF, each also with the target hidden.
Slices are whole articles or sentences, the same for every system and seed. Finished runs are kept in RUNS and in
the saved table, so the same command goes on where an earlier one ended; ours are known by the defaults of the product's config, so
new defaults mean new runs, but other changes of the code need an empty RUNS and no saved table.

Run: python benchmarks/peers.py --data DATA --save benchmarks/results/peers
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass, replace
from statistics import mean
from typing import Any

import spacy_ner
import token_classification
from encoder_runs import (
    Encoder,
    Results,
    Row,
    command_line,
    crf,
    defaults,
    errors_told,
    fine_tuned,
    key,
    save_table,
    score,
    some_of,
    spread,
)
from public_slices import TABLE, Split, cut
from word_rows import rows as word_rows
from word_rows import tagged

from annotations.document import Document
from annotations.schema import Kind
from inference.checkpoint_files import DEFAULT_ENCODER
from training.baselines import tfidf_baseline
from training.reports.evaluation import bare
from training.shell import progress, quiet_libraries

FULL = "full"
SIZES = ["100", "500", FULL]
SETTINGS: dict[tuple[str, str], dict[str, Any]] = {
    ("conll", FULL): {"epochs": 8, "batch_tokens": 1536, "token_masking": 0.15},
    ("newswire", FULL): {"epochs": 5, "batch_tokens": 1536, "token_masking": 0.15},
    ("newsmtsc", FULL): {"epochs": 3, "batch_tokens": 640},
}
"""Our differences from the product's defaults, by set and size; none elsewhere."""
HIDDEN = "someone"
"""The target of every document where the real one is hidden."""


@dataclass(frozen=True)
class Job:
    """One system learning one slice with one seed."""

    results: Results
    own: Results
    """Where runs of our recipe are kept."""
    encoder: Encoder
    split: Split
    seed: int
    settings: dict[str, Any]
    """Of our recipe."""


@dataclass(frozen=True)
class System:
    """A column of the table."""

    title: str
    kinds: tuple[Kind, ...]
    row: Callable[[Job], Row]
    seeded: bool = True
    """Whether it draws anything at random."""


def ours(job: Job) -> Row:
    """The product's own path."""
    return fine_tuned(job.own, job.encoder, job.split, job.seed, job.settings)


def ours_blind(job: Job) -> Row:
    """The product's own path, every target replaced by the same word."""

    def hidden(documents: Sequence[Document]) -> list[Document]:
        return [one.model_copy(update={"target": HIDDEN}) for one in documents]

    blind = replace(job.split, learned=hidden(job.split.learned), scored=hidden(job.split.scored))
    return ours(replace(job, split=blind))


def example(job: Job) -> Row:
    """The recipe of transformers' example on the same encoder, a sentence a row as the example reads the set."""
    split, settings = job.split, token_classification.SETTINGS

    def predict() -> list[Document]:
        learned, scored = (word_rows(part, split.layer) for part in (split.learned, split.scored))
        with job.encoder.folder(job.seed) as encoder, tempfile.TemporaryDirectory() as folder:
            found = token_classification.learn(encoder, learned, job.seed, folder, settings)
            tags = token_classification.predict(found, scored)
        return tagged(split.scored, split.layer, scored, tags)

    return _kept(job, f"transformers' example on {job.encoder.content}", settings, predict)


def spacy(job: Job) -> Row:
    """spaCy's NER, a sentence a Doc."""
    split = job.split
    settings = {**spacy_ner.SETTINGS, "version": spacy_ner.installed()}

    def predict() -> list[Document]:
        learned, scored = (word_rows(part, split.layer) for part in (split.learned, split.scored))
        tags = spacy_ner.spacy_tags(learned, scored, job.seed, settings)
        return tagged(split.scored, split.layer, scored, tags)

    return _kept(job, "spaCy's NER", settings, predict)


def tfidf(job: Job, *, see_target: bool = True) -> Row:
    """TF-IDF with logistic regression."""
    split = job.split

    def predict() -> list[Document]:
        return tfidf_baseline(split.learned, bare(split.scored), split.schema, job.seed, see_target)

    return _kept(job, "TF-IDF" if see_target else "TF-IDF, target unseen", {}, predict)


def _kept(job: Job, name: str, settings: dict[str, Any], predict: Callable[[], list[Document]]) -> Row:
    """The row of another system, made where it is not there yet."""
    split = job.split

    def make() -> Row:
        progress(f"{name}, {split.name}, seed {job.seed}: learning from {split.size()}")
        began = time.monotonic()
        # Trainers print to standard output, which is for the table.
        with redirect_stdout(sys.stderr):
            predicted = predict()
        return {"score": score(split, predicted), "seconds": time.monotonic() - began}

    return job.results.get(key(name, split, job.seed, settings), make)


NAMES, STANCE = (Kind.SPANS,), (Kind.SENTENCES,)
SYSTEMS = {
    "standpoint": System("standpoint", (*NAMES, *STANCE), ours),
    "example": System("transformers' example", NAMES, example),
    "spacy": System("spaCy", NAMES, spacy),
    "crf": System("CRF", NAMES, lambda job: crf(job.results, job.split), seeded=False),
    "blind": System("standpoint, target unseen", STANCE, ours_blind),
    "tfidf": System("TF-IDF", STANCE, tfidf, seeded=False),
    "tfidf-blind": System("TF-IDF, target unseen", STANCE, lambda job: tfidf(job, see_target=False), seeded=False),
}


def slices(name: str, whole: Split, sizes: Sequence[str]) -> dict[tuple[str, str], Split]:
    """The set at each size, by its name and the size; sizes that are not smaller than the set are left out, and that is told."""
    found: dict[tuple[str, str], Split] = {}
    for size in sizes:
        split = whole if size == FULL else cut(whole, int(size))
        if size != FULL and len(split.learned) == len(whole.learned):
            progress(f"{whole.name} has no more than {size} sentences: only {FULL} of it")
            continue
        found[name, size] = split
    return found


def runs(arguments: argparse.Namespace) -> tuple[dict[tuple[str, str], Split], list[Row]]:
    """The slices, and a row for each system, slice and seed; small slices first."""
    encoder, kept = Encoder.parse(arguments.encoder), Results(arguments.runs, arguments.save)
    own = Results(arguments.runs, arguments.save, defaults=defaults())
    systems = some_of(list(SYSTEMS), arguments.systems, "--systems")
    sizes = some_of(SIZES, arguments.sizes, "--sizes")
    found: dict[tuple[str, str], Split] = {}
    for name in some_of(list(TABLE), arguments.sets):
        found |= slices(name, TABLE[name](arguments.data), sizes)
    rows: list[Row] = []
    for place, split in sorted(found.items(), key=lambda item: sizes.index(item[0][1])):
        for system in (SYSTEMS[name] for name in systems if split.kind in SYSTEMS[name].kinds):
            for seed in arguments.seeds if system.seeded else arguments.seeds[:1]:
                job = Job(kept, own, encoder, split, seed, SETTINGS.get(place, {}))
                rows.append({**system.row(job), "name": system.title, "slice": place[0], "size": place[1]})
    return found, rows


def tables(found: dict[tuple[str, str], Split], rows: Sequence[Row]) -> str:
    """Markdown: names and stance, a slice a line, a system a column; then what a run took."""
    parts = []
    for title, kinds, measure in (("Names", NAMES, "micro F1"), ("Stance", STANCE, "macro F1")):
        own = {place: split for place, split in found.items() if split.kind in kinds}
        titles = [system.title for system in SYSTEMS.values() if any(row["name"] == system.title for row in rows)]
        used = [
            name for name in titles if any(row["name"] == name and (row["slice"], row["size"]) in own for row in rows)
        ]
        if used:
            parts.append(f"{title}, {measure}:\n\n{_table(own, rows, used, spread)}")
            parts.append(f"{title}, seconds of learning and scoring:\n\n{_table(own, rows, used, _seconds)}")
    return "\n\n".join(parts)


def _table(
    found: dict[tuple[str, str], Split], rows: Sequence[Row], titles: Sequence[str], cell: Callable[[list[Row]], str]
) -> str:
    lines = [f"| set | sentences | {' | '.join(titles)} |", "|---" * (len(titles) + 2) + "|"]
    for (name, size), split in found.items():
        here = [row for row in rows if (row["slice"], row["size"]) == (name, size)]
        cells = [cell([row for row in here if row["name"] == title]) for title in titles]
        lines.append(f"| {split.name} | {size} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _seconds(rows: list[Row]) -> str:
    return f"{mean(row['seconds'] for row in rows):.0f}" if rows else "–"


def parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = command_line(__doc__, sets=TABLE, seeds=[0, 1, 2], runs="runs/peers")
    parser.add_argument("--encoder", default=DEFAULT_ENCODER, help="[name=]FOLDER, or default")
    parser.add_argument("--sizes", default=",".join(SIZES), help="some of them")
    parser.add_argument("--systems", default=",".join(SYSTEMS), help="some of them")
    return parser.parse_args(arguments)


ABOUT = (
    "The CRF and TF-IDF draw nothing at random. The example and spaCy get the words of the files, by sentence; standpoint gets "
    "the raw articles, the CRF their raw sentences. The default encoder has met the training parts of CrossNER-politics and, "
    "but for the part scored here, of NewsMTSC before: there the sizes understate what standpoint and the example have learned "
    "from. Encoders were compared on that part of NewsMTSC. `Target unseen`: the same word in place of every target, or none."
)


def about(found: dict[tuple[str, str], Split], seeds: Sequence[int]) -> str:
    """What a reader of the saved tables must know."""
    sizes = "; ".join(f"{split.name} {size}: {split.size()}" for (_, size), split in found.items())
    settings = {" ".join(place): values for place, values in SETTINGS.items() if place in found}
    return (
        f"Percent, mean (range) over seeds {seeds}. {ABOUT} Learned from / scored on: {sizes}. Settings: ours beyond the "
        f"product's defaults {settings}; the example's {token_classification.SETTINGS}; spaCy's {spacy_ner.SETTINGS}."
    )


def main(given: Sequence[str] | None = None) -> None:
    """Parse, run what is not there yet, print, save."""
    arguments = parsed(given)
    quiet_libraries()
    with errors_told():
        found, rows = runs(arguments)
    text = tables(found, rows)
    print(text)
    if arguments.save:
        whole = {"sets": TABLE, "sizes": SIZES, "systems": SYSTEMS}
        given_as = {name: getattr(arguments, name) for name in whole}
        chosen = "".join(f" --{name} {one}" for name, one in given_as.items() if one != ",".join(whole[name]))
        command = (
            f"python benchmarks/peers.py --data DATA --encoder {arguments.encoder}{chosen} --save {arguments.save}"
        )
        told = about(found, arguments.seeds)
        save_table(arguments.save, title="Our recipe beside others'", command=command, told=told, table=text, rows=rows)


if __name__ == "__main__":
    main()
