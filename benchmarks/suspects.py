"""Do suspect labels find wrong ones? Errors are planted in public sets, and the ranking has as many tries as there are errors.

Names: CoNLL-2003; labels are changed, boundaries moved by a word, spans removed and spans added, a quarter of the errors
each. Stance: NewsMTSC, a news sentence against a person or group that it names; labels are changed, in the eighth of the set
that no shipped encoder has learned from. The gold that errors are planted in has errors of its own, which count as none, so
every number is a lower bound.

Precision at n: the share of the n planted errors among the n most suspicious labels, which is their recall as well. A suspect hits
an error where they share a character; an error counts once. Chance: all labels and predicted spans in random order. Disagreement:
those of which gold and model differ, in random order. cleanlab: its other label qualities, of the same probabilities.
Finished runs are kept in RUNS, as are the folds of a run that was cut short.

Run: python benchmarks/suspects.py --data DATA --save benchmarks/results/suspects
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections import Counter
from collections.abc import Sequence
from contextlib import redirect_stdout
from dataclasses import replace
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np
from encoder_runs import Encoder, Results, Row, command_line, errors_told, run_config, save_table, some_of
from pages import command_of
from planted import Planted, plant
from public_slices import Split, conll, stance, take

from annotations.storage import fingerprint
from annotations.suspects import Suspect
from training.config import CrossvalConfig
from training.shell import progress, quiet_libraries
from training.suspects.probabilities import out_of_fold
from training.suspects.quality import Floats, Ints, self_confidence
from training.suspects.ranking import Quality, rank

SETS = {"conll": conll, "newsmtsc": stance}
SHARE = 0.05
TOLD = "\n\n".join((__doc__ or "").split("\n\n")[:3])
Hits = list[set[int]]
"""For each suspect, which planted errors it hits."""


def slice_of(name: str, data: Path, lines: int) -> Split:
    """A set's documents to plant errors in, about so many lines of them."""
    split = SETS[name](data)
    documents = split.scored if name == "newsmtsc" else split.learned
    return replace(split, learned=take(documents, lines))


def cleanlabs(method: str, *, adjusted: bool) -> Quality:
    """Another label quality; `adjusted` takes each class's mean self-confidence off its probability first."""

    def quality(labels: Ints, likely: Floats) -> Floats:
        from cleanlab.rank import get_label_quality_scores

        found = get_label_quality_scores(labels, likely, method=method, adjust_pred_probs=adjusted)
        return np.clip(found, 0.0, 1.0)

    return quality


QUALITIES: dict[str, Quality] = {
    "suspects": self_confidence,
    "cleanlab, class thresholds": cleanlabs("self_confidence", adjusted=True),
    "cleanlab, margin": cleanlabs("normalized_margin", adjusted=False),
    "cleanlab, margin and thresholds": cleanlabs("normalized_margin", adjusted=True),
}


def hits(suspects: Sequence[Suspect], planted: Sequence[Planted]) -> Hits:
    """Which errors each suspect shares a character with."""
    places: dict[str, list[tuple[int, Planted]]] = {}
    for number, error in enumerate(planted):
        places.setdefault(error.document, []).append((number, error))
    return [
        {number for number, error in places.get(one.document, []) if one.start < error.end and error.start < one.end}
        for one in suspects
    ]


def found(ranked: Hits, errors: int) -> set[int]:
    """The errors that as many suspects, from the first on, hit."""
    return set().union(*ranked[:errors])


def expected(ranked: Hits, errors: int) -> float:
    """The same in random order, as a share, over all orders: each error has so many suspects that hit it."""
    total, tries = len(ranked), min(errors, len(ranked))
    times = [sum(number in own for own in ranked) for number in range(errors)]
    missed = [np.prod([(total - tries - k) / (total - k) for k in range(count)]) for count in times]
    return float(np.mean([1 - max(0.0, miss) for miss in missed]))


def searched(results: Results, encoder: Encoder, split: Split, seed: int, folds: int, settings: dict[str, Any]) -> Row:
    """Errors drawn with a seed, a search by the product's own path, and what each ranking finds of them."""
    layer = split.schema.layers[split.layer]
    wrong, planted = plant(split.learned, split.layer, layer.kind, layer.names, SHARE, seed)
    key = {"what": "suspects", "encoder": encoder.content, "set": split.name, "data": fingerprint(wrong)}
    key |= {"errors": len(planted), "seed": seed, "folds": folds, "settings": settings}
    home = results.folder / f"{split.name}-{seed}-{folds}-{hashlib.sha256(json.dumps(key).encode()).hexdigest()[:12]}"

    def make() -> Row:
        progress(f"{split.name}, seed {seed}: {len(planted)} errors among {len(wrong)} documents")
        rounds = CrossvalConfig(seeds=(seed,), folds=folds, baselines=False)
        with encoder.folder(seed) as folder, redirect_stdout(sys.stderr):
            config = run_config(split, folder, seed, {**settings, "output": str(home)})
            outlook = out_of_fold(config, rounds, wrong, progress)
        lists = {name: rank(outlook, split.schema, quality).suspects for name, quality in QUALITIES.items()}
        return measured(lists, planted)

    return results.get(key, make)


def measured(lists: dict[str, list[Suspect]], planted: Sequence[Planted]) -> Row:
    """Precision at the number of errors of each ranking and of random orders, and which kinds the first one finds."""
    errors = len(planted)
    first = next(iter(lists.values()))
    every = hits(first, planted)
    disputed = hits([one for one in first if one.disputed], planted)
    own = found(every, errors)
    kinds = Counter(error.kind for error in planted)
    return {
        "precision": {name: len(found(hits(ranked, planted), errors)) / errors for name, ranked in lists.items()},
        "chance": expected(every, errors),
        "disagreement": expected(disputed, errors),
        "candidates": len(every),
        "disagreements": len(disputed),
        "kinds": {kind: [sum(planted[at].kind == kind for at in own), count] for kind, count in kinds.items()},
    }


def table(rows: Sequence[Row]) -> str:
    """A line for each set: every ranking's precision, mean and range over the seeds."""
    heads = ["set", "errors", *QUALITIES, "disagreement", "chance", "found of each kind"]
    lines = ["| " + " | ".join(heads) + " |", "|" + " --- |" * len(heads)]
    for name in dict.fromkeys(row["set"] for row in rows):
        own = [row for row in rows if row["set"] == name]
        told = [_percent([row["precision"][quality] for row in own]) for quality in QUALITIES]
        told += [_percent([row[what] for row in own]) for what in ("disagreement", "chance")]
        counts = {kind: [sum(row["kinds"][kind][side] for row in own) for side in (0, 1)] for kind in own[0]["kinds"]}
        kinds = ", ".join(f"{kind} {right} of {total}" for kind, (right, total) in counts.items())
        lines.append("| " + " | ".join([name, str(own[0]["errors"]), *told, kinds]) + " |")
    return "\n".join(lines)


def _percent(values: Sequence[float]) -> str:
    whole = f" ({100 * min(values):.1f}–{100 * max(values):.1f})" if len(values) > 1 else ""
    return f"{100 * mean(values):.1f}{whole}"


def main() -> None:
    parser = command_line(__doc__, sets=SETS, seeds=[0, 1, 2], runs="runs/suspects")
    parser.add_argument("--encoder", default="default", help="default, a folder, or random:FOLDER")
    parser.add_argument("--lines", type=int, default=2000, help="sentences of each set to plant errors in")
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--epochs", type=float, help="passes; the recipe's own where not given")
    given = parser.parse_args()
    with errors_told():
        quiet_libraries()
        names, encoder = some_of([*SETS], given.sets), Encoder.parse(given.encoder)
        settings = {} if given.epochs is None else {"epochs": given.epochs}
        results = Results(given.runs)
        rows = [
            searched(results, encoder, slice_of(name, given.data, given.lines), seed, given.folds, settings)
            for name in names
            for seed in given.seeds
        ]
        text = table(rows)
        print(text)
        if given.save:
            command = command_of(__file__)
            save_table(given.save, title="Suspect labels", command=command, told=TOLD, table=text, rows=rows)


if __name__ == "__main__":
    main()
