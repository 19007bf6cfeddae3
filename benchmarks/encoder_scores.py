"""What an encoder is worth on public test sets, beside random weights of its shape and a CRF on words.

Fine-tuned on the whole training part: CoNLL-2003 (eng.train, scored on eng.testb), CrossNER-politics (its 200 sentences) and
WNUT-17; strict micro F1 of exact character spans. Settings were chosen on development parts. Mean and range over seeds.
Finished runs are kept in RUNS, so the same command goes on where a killed one ended.

Run: python benchmarks/encoder_scores.py --data DATA --save benchmarks/results/encoder_scores
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

from encoder_runs import (
    CRF,
    RANDOM,
    Encoder,
    Results,
    Row,
    command_line,
    crf,
    errors_told,
    fine_tuned,
    save_table,
    some_of,
    spread,
)
from public_slices import WHOLE

from inference.checkpoint_files import DEFAULT_ENCODER
from training.shell import quiet_libraries

SETTINGS: dict[str, dict[str, Any]] = {
    "conll": {"epochs": 8, "batch_tokens": 1536, "token_masking": 0.15},
    "politics": {"epochs": 20, "batch_tokens": 512, "token_masking": 0.15},
    "wnut": {"epochs": 6, "batch_tokens": 640, "token_masking": 0.15},
}
"""Differences from the product's defaults, the same for pretrained and random weights."""
BARS = {"conll": 88, "politics": 60, "wnut": 36}
PUBLISHED = {
    "conll": "LSTM-CRF without pretrained vectors 83.6, bert-tiny 80.9, BERT-base 92.4",
    "politics": "BERT-base 66",
    "wnut": "–",
}
"""Numbers of others, for orientation; not measured here."""


def table(rows: Sequence[Row], name: str, sets: dict[str, str]) -> str:
    """Markdown: a set a line. `sets` maps our names of sets to theirs."""
    head = ["test set", "bar", name, "random weights", CRF, "published", "seconds a run", "tokens/s"]
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    for key, title in sets.items():
        own = [row for row in rows if row["set"] == title]
        parts = {who: [row for row in own if row["name"] == who] for who in (name, f"{RANDOM}{name}", CRF)}
        learned = parts[name]
        seconds = sum(row["learning_seconds"] for row in learned)
        speed = sum(row["tokens"] for row in learned) / seconds
        cost = [f"{seconds / len(learned):.0f}", f"{speed:.0f}"]
        cells = [title, str(BARS[key]), *map(spread, parts.values()), PUBLISHED[key], *cost]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = command_line(__doc__, sets=WHOLE, seeds=[0, 1, 2], runs="runs/encoder_scores")
    parser.add_argument("--encoder", default=DEFAULT_ENCODER, help="[name=]FOLDER, or default")
    return parser.parse_args(arguments)


def main(given: Sequence[str] | None = None) -> None:
    """Parse, run what is not there yet, print, save."""
    arguments = parsed(given)
    quiet_libraries()
    results = Results(arguments.runs)
    rows: list[Row] = []
    with errors_told():
        encoder = Encoder.parse(arguments.encoder)
        random = Encoder(f"{RANDOM}{encoder.name}", encoder.location, random=True)
        splits = {name: WHOLE[name](arguments.data) for name in some_of(list(WHOLE), arguments.sets)}
        rows += [crf(results, split) for split in splits.values()]
        # What matters most comes first.
        for one in (encoder, random):
            for seed in arguments.seeds:
                rows += [fine_tuned(results, one, split, seed, SETTINGS[name]) for name, split in splits.items()]
    text = table(rows, encoder.name, {name: split.name for name, split in splits.items()})
    print(text)
    if arguments.save:
        sizes = "; ".join(f"{split.name} {split.size()}" for split in splits.values())
        told = (
            f"Strict micro F1 of exact character spans in percent, mean (range) over seeds {arguments.seeds}; the CRF draws "
            "nothing at random. Seconds and tokens/s: fine-tuning alone. The column `published` holds numbers of others. "
            f"Learned from / scored on: {sizes}. Settings: {SETTINGS}"
        )
        command = (
            f"python benchmarks/encoder_scores.py --data DATA --encoder {arguments.encoder} --save {arguments.save}"
        )
        title = "What the encoder is worth on public test sets"
        save_table(arguments.save, title=title, command=command, told=told, table=text, rows=rows)


if __name__ == "__main__":
    main()
