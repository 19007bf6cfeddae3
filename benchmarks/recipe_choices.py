"""What each choice of the fine-tuning recipe is worth on little data: one thing changed at a time, the rest plain.

Names: CoNLL-2003 and worldwide newswire, neither of which the default encoder has met; strict micro F1 of exact spans. Stance:
NewsMTSC, a news sentence against a person or group that it names; macro F1. Each seed draws other documents to learn from, the
same for every choice; development parts are scored, never a test part and never the gold articles. Every choice is run with
the first seed, those of `REPEATED` with all. A difference is the mean over pairs of runs with the same set and seed, with its
standard error. Finished runs are kept in RUNS and in the saved table.

Run: python benchmarks/recipe_choices.py --data DATA --save benchmarks/results/recipe_choices
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from math import sqrt
from statistics import mean, stdev
from typing import Any

from encoder_runs import (
    Encoder,
    Learn,
    Results,
    Row,
    command_line,
    defaults,
    errors_told,
    key,
    run,
    save_table,
    some_of,
)
from public_slices import PROXY, Split, cut
from recipe_variants import (
    Averaged,
    TwiceDropped,
    any_edges,
    balanced,
    chained,
    copied,
    distilled,
    frozen,
    in_other_case,
    optimizer,
    passes,
    self_trained,
    sentences_alone,
    slower_below,
    trained_by,
    voted,
    with_other_mentions,
    with_settings,
    without_overlap,
)

from annotations.document import Document
from annotations.schema import Kind
from inference.checkpoint_files import DEFAULT_ENCODER
from training.config import ObjectiveConfig
from training.shell import progress, quiet_libraries
from training.trainer import fine_tune

PLAIN, SHIPPED = "plain", "what ships"
VOTED = "layer-wise decay and 15% masked with self-training by three teachers"
PLAIN_SETTINGS: dict[str, Any] = {
    "epochs": 30,
    "batch_tokens": 1024,
    "token_masking": 0.0,
    "optimizer": {"layer_decay": 1.0},
}
"""What every choice starts from: the product's defaults before any choice was kept. Rates are the encoder's own."""
TIMES = 10
FULL_BALANCE = ObjectiveConfig(class_weights=1)
BOTH: dict[str, Learn] = {
    PLAIN: fine_tune,
    SHIPPED: fine_tune,
    "layer-wise decay 0.8": slower_below(0.8),
    "15% of tokens masked": with_settings(token_masking=0.15),
    "layer-wise decay and 15% masked": slower_below(0.8, token_masking=0.15),
    "layer-wise decay and 15% masked in half the passes": slower_below(0.8, 0.5, token_masking=0.15),
    "layer-wise decay and 15% masked in batches of 512": slower_below(0.8, token_masking=0.15, batch_tokens=512),
    "layer-wise decay and 15% masked in batches of 256": slower_below(0.8, token_masking=0.15, batch_tokens=256),
    "half of the layers frozen": frozen(1 / 2, 1),
    "half of the layers frozen at twice the rate": frozen(1 / 2, 2),
    "two thirds of the layers frozen": frozen(2 / 3, 1),
    "batches of 256": with_settings(batch_tokens=256),
    "encoder's rate halved": optimizer(lr=0.5),
    "batches of 512": with_settings(batch_tokens=512),
    "half the passes": passes(0.5),
    "twice the passes": passes(2),
    "encoder's rate doubled": optimizer(lr=2),
    "heads' rate a quarter": optimizer(head_lr=0.25),
    "30% of tokens masked": with_settings(token_masking=0.3),
    "dropout 0.3 before the heads": with_settings(dropout=0.3),
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
    VOTED: voted,
}
"""Made from further texts of the set, without labels: ten times as many sentences."""
SENTENCES: dict[str, Learn] = {
    **BOTH,
    "classes not weighted": balanced(0),
    "classes in full balance": balanced(1),
    "R-Drop": trained_by(TwiceDropped),
    "layer-wise decay and 15% masked with full balance": slower_below(0.8, token_masking=0.15, objective=FULL_BALANCE),
    "layer-wise decay and 15% masked with R-Drop": trained_by(TwiceDropped, slower_below(0.8, token_masking=0.15)),
}
SETS = ("conll", "newswire", "newsmtsc")
REPEATED = {
    PLAIN,
    SHIPPED,
    "layer-wise decay 0.8",
    "half the passes",
    "layer-wise decay and 15% masked",
    "layer-wise decay and 15% masked in half the passes",
    "layer-wise decay and 15% masked with full balance",
    "layer-wise decay and 15% masked with R-Drop",
    VOTED,
}
"""What is run with every seed: the choices that did best with the first."""


def table(rows: Sequence[Row]) -> str:
    """Markdown: the plain recipe's score of each set, then a choice a line, as differences from it."""
    parts = []
    for kind in (Kind.SPANS, Kind.SENTENCES):
        own = [row for row in rows if row["kind"] == kind]
        sets = list(dict.fromkeys(row["set"] for row in own))
        if not own:
            continue
        lines = [f"| {' | '.join([str(kind), *sets, 'all', 'pairs', 'seconds'])} |", "|---" * (len(sets) + 4) + "|"]
        base = {(row["set"], row["seed"]): row for row in own if row["choice"] == PLAIN}
        for choice in dict.fromkeys(row["choice"] for row in own):
            some = [row for row in own if row["choice"] == choice]
            of_sets = [[row for row in some if row["set"] == name] for name in sets]
            seconds = f"{mean(row['learning_cpu_seconds'] for row in some):.0f}"
            if choice == PLAIN:
                cells = [*(f"{100 * mean(row['score'] for row in one):.1f}" for one in of_sets), "–", "–"]
            else:
                gains = [
                    [100 * (row["score"] - base[row["set"], row["seed"]]["score"]) for row in one] for one in of_sets
                ]
                whole = [gain for one in gains for gain in one]
                cells = [*(f"{mean(one):+.1f}" if one else "–" for one in gains), _with_error(whole), str(len(whole))]
            lines.append(f"| {' | '.join([choice, *cells, seconds])} |")
        parts.append("\n".join(lines))
    return "\n\n".join(parts)


def _with_error(gains: Sequence[float]) -> str:
    error = f" ± {stdev(gains) / sqrt(len(gains)):.1f}" if len(gains) > 1 else ""
    return f"{mean(gains):+.1f}{error}"


def choices_for(kind: Kind) -> list[str]:
    """What can be changed for names, or for sentences."""
    return [*NAMES, *WITH_TEXTS] if kind is Kind.SPANS else [*SENTENCES, VOTED]


def measure(
    results: Results,
    encoder: Encoder,
    whole: Split,
    lines: int,
    seed: int,
    choice: str,
    settings: dict[str, Any] | None = None,
    *,
    finished: bool = False,
) -> Row | None:
    """The row of one choice, set and seed, with further settings for all choices; with `finished`, only if it is there."""
    split = cut(whole, lines, seed)
    if choice in WITH_TEXTS:
        more = cut(whole, (1 + TIMES) * lines, seed).learned[len(split.learned) :]
        learn = WITH_TEXTS[choice](more)
    else:
        learn = (NAMES if split.kind is Kind.SPANS else SENTENCES)[choice]

    def make() -> Row:
        row = run(encoder, split, seed, {**({} if choice == SHIPPED else PLAIN_SETTINGS), **(settings or {})}, learn)
        progress(f"{choice}, {split.name}, seed {seed}: {100 * row['score']:.1f} in {row['seconds']:.0f} s")
        return row

    known = {"choice": choice, **({"defaults": defaults()} if choice == SHIPPED else {})}
    place = key(encoder.content, split, seed, known)
    row = results.find(place) if finished else results.get(place, make)
    return {**row, "choice": choice, "kind": split.kind, "learned": split.size()} if row else None


def parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = command_line(__doc__, sets=SETS, seeds=[0, 1, 2], runs="runs/recipe_choices")
    parser.add_argument("--encoder", default=DEFAULT_ENCODER, help="[name=]FOLDER, or default")
    parser.add_argument("--choices", help="some of them")
    parser.add_argument("--lines", type=int, default=100, help="sentences to learn from")
    parser.add_argument("--finished", action="store_true", help="a table of the finished runs, without new ones")
    return parser.parse_args(arguments)


def chosen(arguments: argparse.Namespace) -> list[str]:
    """The choices of the command line, the plain recipe first."""
    known = list(dict.fromkeys([*choices_for(Kind.SPANS), *choices_for(Kind.SENTENCES)]))
    some = some_of(known, arguments.choices, "--choices") if arguments.choices else known
    return list(dict.fromkeys([PLAIN, *some]))


def runs(arguments: argparse.Namespace) -> list[Row]:
    """All rows, seed by seed, so that an early table has all choices; further seeds for some of them."""
    results = Results(arguments.runs, arguments.save)
    encoder = Encoder.parse(arguments.encoder)
    names, choices = some_of(list(PROXY), arguments.sets), chosen(arguments)
    whole = {name: PROXY[name](arguments.data) for name in names}
    found = (
        measure(results, encoder, split, arguments.lines, seed, choice, finished=arguments.finished)
        for seed in arguments.seeds
        for choice in choices
        for split in whole.values()
        if choice in choices_for(split.kind) and (seed == arguments.seeds[0] or choice in REPEATED)
    )
    return [row for row in found if row]


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
            f"Percent: the plain recipe's mean scores, then differences from it, means over pairs of runs with the same set and "
            f"seed, with standard errors; seeds {arguments.seeds}, for most choices the first of them. A standard error over sets "
            "says how much a gain differs from set to set as well. Seconds are of all cores together. Learned from / scored "
            f"on: {learned}."
        )
        alone = (
            f' --seeds {",".join(map(str, arguments.seeds))} --choices "{arguments.choices}"'
            if arguments.choices
            else ""
        )
        alone += " --finished" if arguments.finished else ""
        command = (
            f"python benchmarks/recipe_choices.py --data DATA --lines {arguments.lines} --save {arguments.save}{alone}"
        )
        title = f"What choices of the recipe are worth, {arguments.lines} sentences to learn from"
        save_table(arguments.save, title=title, command=command, told=told, table=text, rows=rows)


if __name__ == "__main__":
    main()
