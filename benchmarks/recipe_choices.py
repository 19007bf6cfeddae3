"""What each choice of the fine-tuning recipe is worth on little data: one thing changed at a time, the rest as shipped.

Names: CoNLL-2003, worldwide newswire (neither was met by the default encoder) and CrossNER-politics (it was); strict micro F1 of
exact spans. Stance: NewsMTSC, a news sentence against a person or group that it names; macro F1. Each seed draws other
documents to learn from, the same for every choice; development parts are scored, never a test part and never the gold
articles. A difference is the mean over pairs of runs with the same set and seed, with its standard error. Finished runs are
kept in RUNS.

Run: python benchmarks/recipe_choices.py --data ../shared/data --save benchmarks/results/recipe_choices
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from math import sqrt
from statistics import mean, stdev
from typing import Any

from encoder_runs import Encoder, Learn, Results, Row, command_line, errors_told, key, run, save_table, some_of
from public_slices import PROXY, Split, cut
from recipe_variants import (
    Averaged,
    LayerDecay,
    TwiceDropped,
    any_edges,
    balanced,
    chained,
    copied,
    distilled,
    in_other_case,
    optimizer,
    passes,
    self_trained,
    sentences_alone,
    trained_by,
    with_other_mentions,
    with_settings,
    without_overlap,
)

from annotations.document import Document
from annotations.schema import Kind
from inference.checkpoint import DEFAULT_ENCODER
from training.shell import progress, quiet_libraries
from training.trainer import fine_tune

SHIPPED = "as shipped"
TIMES = 10
BOTH: dict[str, Learn] = {
    SHIPPED: fine_tune,
    "half the passes": passes(0.5),
    "twice the passes": passes(2),
    "batches half as large": with_settings(batch_tokens=512),
    "batches a quarter as large": with_settings(batch_tokens=256),
    "encoder's rate halved": optimizer(lr=0.5),
    "encoder's rate doubled": optimizer(lr=2),
    "heads' rate a quarter": optimizer(head_lr=0.25),
    "15% of tokens masked": with_settings(token_masking=0.15),
    "30% of tokens masked": with_settings(token_masking=0.3),
    "dropout 0.3 before the heads": with_settings(dropout=0.3),
    "lower layers learn more slowly": trained_by(LayerDecay),
    "weights averaged on the way": trained_by(Averaged),
}
NAMES: dict[str, Learn] = {
    **BOTH,
    "names may cut words": any_edges,
    "windows without overlap in training": without_overlap,
    "no text around a sentence": sentences_alone,
    "CRF over the tags": chained,
    "mentions replaced in copies": copied(with_other_mentions),
    "copies in other case": copied(in_other_case),
}
WITH_TEXTS: dict[str, Callable[[Sequence[Document]], Learn]] = {
    "self-training": self_trained,
    "three taggers distilled into one": distilled,
}
"""Made from further texts of the set, without labels: ten times as many sentences."""
SENTENCES: dict[str, Learn] = {
    **BOTH,
    "classes not weighted": balanced(0),
    "classes in full balance": balanced(1),
    "R-Drop": trained_by(TwiceDropped),
}
SETS = ("conll", "newswire", "politics", "newsmtsc")


def table(rows: Sequence[Row]) -> str:
    """Markdown: a choice a line; the score of a set, then the difference from what ships over all pairs."""
    parts = []
    for kind in (Kind.SPANS, Kind.SENTENCES):
        own = [row for row in rows if row["kind"] == kind]
        sets = list(dict.fromkeys(row["set"] for row in own))
        if not own:
            continue
        lines = [f"| {' | '.join([str(kind), *sets, 'difference', 'seconds'])} |", "|---" * (len(sets) + 3) + "|"]
        base = {(row["set"], row["seed"]): row for row in own if row["choice"] == SHIPPED}
        for choice in dict.fromkeys(row["choice"] for row in own):
            some = [row for row in own if row["choice"] == choice]
            if some:
                scores = [100 * mean(row["score"] for row in some if row["set"] == name) for name in sets]
                pairs = [100 * (row["score"] - base[row["set"], row["seed"]]["score"]) for row in some]
                seconds = mean(row["learning_cpu_seconds"] for row in some)
                cells = [choice, *(f"{score:.1f}" for score in scores), _difference(choice, pairs), f"{seconds:.0f}"]
                lines.append(f"| {' | '.join(cells)} |")
        parts.append("\n".join(lines))
    return "\n\n".join(parts)


def _difference(choice: str, pairs: Sequence[float]) -> str:
    if choice == SHIPPED:
        return "–"
    error = f" ± {stdev(pairs) / sqrt(len(pairs)):.1f}" if len(pairs) > 1 else ""
    return f"{mean(pairs):+.1f}{error}"


def choices_for(kind: Kind) -> list[str]:
    """What can be changed for names, or for sentences."""
    return [*NAMES, *WITH_TEXTS] if kind is Kind.SPANS else list(SENTENCES)


def measure(
    results: Results,
    encoder: Encoder,
    whole: Split,
    lines: int,
    seed: int,
    choice: str,
    settings: dict[str, Any] | None = None,
) -> Row:
    """The row of one choice, set and seed; `settings` differ from the product's for all choices."""
    split = cut(whole, lines, seed)
    if choice in WITH_TEXTS:
        more = cut(whole, (1 + TIMES) * lines, seed).learned[len(split.learned) :]
        learn = WITH_TEXTS[choice](more)
    else:
        learn = (NAMES if split.kind is Kind.SPANS else SENTENCES)[choice]

    def make() -> Row:
        row = run(encoder, split, seed, settings or {}, learn)
        progress(f"{choice}, {split.name}, seed {seed}: {100 * row['score']:.1f} in {row['seconds']:.0f} s")
        return row

    row = results.get(key(encoder.content, split, seed, {"choice": choice}), make)
    return {**row, "choice": choice, "kind": split.kind, "learned": split.size()}


def parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = command_line(__doc__, sets=SETS, seeds=[0, 1, 2], runs="runs/recipe_choices")
    parser.add_argument("--encoder", default=DEFAULT_ENCODER, help="[name=]FOLDER, or default")
    parser.add_argument("--choices", help="some of them")
    parser.add_argument("--lines", type=int, default=100, help="sentences to learn from")
    return parser.parse_args(arguments)


def chosen(arguments: argparse.Namespace) -> list[str]:
    """The choices of the command line, what ships first."""
    known = list(dict.fromkeys([*choices_for(Kind.SPANS), *choices_for(Kind.SENTENCES)]))
    some = some_of(known, arguments.choices, "--choices") if arguments.choices else known
    return list(dict.fromkeys([SHIPPED, *some]))


def runs(arguments: argparse.Namespace) -> list[Row]:
    """All rows, seed by seed, so that an early table has all choices."""
    results = Results(arguments.runs)
    encoder = Encoder.parse(arguments.encoder)
    names, choices = some_of(list(PROXY), arguments.sets), chosen(arguments)
    whole = {name: PROXY[name](arguments.data) for name in names}
    return [
        measure(results, encoder, split, arguments.lines, seed, choice)
        for seed in arguments.seeds
        for choice in choices
        for split in whole.values()
        if choice in choices_for(split.kind)
    ]


def main(given: Sequence[str] | None = None) -> None:
    """Parse, run what is not there yet, print, save."""
    arguments = parsed(given)
    quiet_libraries()
    with errors_told():
        rows = runs(arguments)
    text = table(rows)
    print(text)
    if arguments.save:
        learned = "; ".join(dict.fromkeys(f"{row['set']} {row['learned']}" for row in rows))
        told = (
            f"Percent, means over seeds {arguments.seeds}; differences from `{SHIPPED}` over pairs of runs with the same set and "
            f"seed, with standard errors; seconds of all cores together. Learned from / scored on: {learned}."
        )
        command = f"python benchmarks/recipe_choices.py --data DATA --lines {arguments.lines} --save {arguments.save}"
        title = f"What choices of the recipe are worth, {arguments.lines} sentences to learn from"
        save_table(arguments.save, title=title, command=command, told=told, table=text, rows=rows)


if __name__ == "__main__":
    main()
