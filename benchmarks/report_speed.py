"""How long a report takes, and its bootstrap beside a loop that calls seqeval for each resample.

Sentences are made up and their predictions spoilt at random, one document a sentence and each its own group, which is the
dearest case for a bootstrap by group. Tagging is not part of it. The loop over seqeval is timed for a few resamples and
extrapolated to the number that the report draws; the table says so.

Run: python benchmarks/report_speed.py --sentences 50000 --save benchmarks/results/report_speed
"""

from __future__ import annotations

import argparse
import random
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pages import publish

from annotations.document import Document, FrozenDict, Span
from annotations.resampling import resampled_blocks
from annotations.schema import Schema
from training.reports.analysis import analyse
from training.reports.items import Pair, layer_items
from training.reports.layer_scores import score
from training.reports.scores import seqeval_table, tag_sequences
from training.reports.sources import Source
from training.reports.writing import TEXT, write_report
from training.shell import progress

LABELS = ("LOC", "MISC", "ORG", "PER")
SCHEMA = Schema.build(
    {"layers": {"name": {"kind": "spans", "labels": {name: {} for name in LABELS}}}}, where="benchmark"
)
WORDS = 20
EVERY = 7
"""One word in so many is a name."""
SPOILT = 0.15


def sentence(number: int, draw: random.Random) -> tuple[Document, Document]:
    """A sentence with gold names, and a prediction of it in which some are lost, moved or called something else."""
    words = ["".join(draw.choices("aeiklmnorst", k=draw.randint(2, 9))) for _ in range(WORDS)]
    text = f"{' '.join(words).capitalize()}."
    starts = np.cumsum([0, *(len(word) + 1 for word in words)])
    gold: list[Span] = []
    found: list[Span] = []
    for place in range(0, WORDS - 2, EVERY):
        start, end = int(starts[place]), int(starts[place]) + len(words[place])
        gold.append(Span(start=start, end=end, label=draw.choice(LABELS)))
        luck, score = draw.random(), round(draw.random(), 4)
        if luck < SPOILT / 3:
            continue
        end = int(starts[place + 1]) + len(words[place + 1]) if luck < 2 * SPOILT / 3 else end
        label = draw.choice(LABELS) if luck < SPOILT else gold[-1].label
        found.append(Span(start=start, end=end, label=label, score=score))
    document = Document(id=f"s-{number}", text=text, group=f"g-{number}", labels=FrozenDict(name=tuple(gold)))
    return document, document.with_labels({"name": tuple(found)})


def seconds_of(work: Any, *given: Any, **named: Any) -> tuple[float, Any]:
    """How long a call kept its processor busy, whatever else the machine did, and what it returned."""
    began = time.process_time()
    result = work(*given, **named)
    return time.process_time() - began, result


def seqeval_loop(pairs: Sequence[Pair], resamples: int) -> list[float]:
    """Micro F1 of each resample, by seqeval: what a report without counts by group would do."""
    gold, predicted = tag_sequences(pairs, "name")
    found: list[float] = []
    for drawn in (row for block in resampled_blocks(len(pairs), resamples) for row in block):
        places = np.repeat(np.arange(len(pairs)), drawn.astype(int)).tolist()
        table = seqeval_table([gold[place] for place in places], [predicted[place] for place in places], strict=True)
        found.append(float(table.rows["micro avg"]["f1-score"]))
    return found


def measure(sentences: int, resamples: int, looped: int) -> list[dict[str, Any]]:
    """One row for each part: what it does, how long it takes, what it found."""
    draw = random.Random(0)
    progress(f"making {sentences} sentences")
    pairs = [sentence(number, draw) for number in range(sentences)]
    gold, predicted = [one for one, _ in pairs], [other for _, other in pairs]
    source = Source("benchmark", "evaluation", SCHEMA, gold, ["made up"], {"run": predicted})
    with tempfile.TemporaryDirectory() as folder:
        progress("analysing")
        analysing, analysis = seconds_of(analyse, source, resamples=resamples)
        writing, _ = seconds_of(write_report, analysis, Path(folder), command="benchmark")
        size = {path.name: path.stat().st_size / 1e6 for path in sorted(Path(folder).iterdir())}
        assert (Path(folder) / TEXT).is_file()
    items = layer_items([pairs], SCHEMA)["name"]
    drawing, (overall, _) = seconds_of(score, items, SCHEMA.layers["name"].kind, resamples)
    progress(f"seqeval, {looped} resamples")
    looping, found = seconds_of(seqeval_loop, pairs, looped)
    files = ", ".join(f"{name} {megabytes:.1f} MB" for name, megabytes in size.items())
    return [
        {
            "part": f"whole report: analysis with {resamples} resamples, all files",
            "seconds": analysing + writing,
            "note": files,
        },
        {"part": "of that, writing", "seconds": writing, "note": f"{len(analysis.errors.errors)} errors listed"},
        {
            "part": f"bootstrap alone, {resamples} resamples, all labels",
            "seconds": drawing,
            "note": f"micro F1 {overall.f1}",
        },
        {
            "part": f"loop over seqeval, {looped} resamples",
            "seconds": looping,
            "note": f"micro F1 {min(found):.3f} to {max(found):.3f}",
        },
        {
            "part": f"loop over seqeval, {resamples} resamples",
            "seconds": looping / looped * resamples,
            "note": f"extrapolated from {looped}, not run",
        },
    ]


def table(rows: Sequence[dict[str, Any]], sentences: int) -> str:
    """Markdown: a part a line."""
    about = f"{sentences} sentences of {WORDS} words, each a group of its own."
    lines = [f"| {row['part']} | {row['seconds']:.1f} | {row['note']} |" for row in rows]
    return "\n".join([about, "", "| | processor seconds | |", "|---|---:|---|", *lines])


def main(given: Sequence[str] | None = None) -> list[dict[str, Any]]:
    """Measure, print, and save where asked for."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n", 1)[0])
    parser.add_argument("--sentences", type=int, default=1000)
    parser.add_argument("--resamples", type=int, default=1000)
    parser.add_argument("--loop", type=int, default=3, help="resamples for which seqeval is called")
    parser.add_argument("--save", type=Path, help="also write SAVE.md and SAVE.json")
    options = parser.parse_args(given)
    rows = measure(options.sentences, options.resamples, options.loop)
    values = {"sentences": options.sentences, "rows": rows}
    publish(__file__, given, "What a report costs", table(rows, options.sentences), values, options.save)
    return rows


if __name__ == "__main__":
    main()
