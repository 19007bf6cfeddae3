"""How fast we train: real tokens a second beside transformers' own token-classification example on the same encoder and data.

In one run on one machine: the example at its defaults (batches of 8 in random order, fp32, three passes), then ours as
`standpoint train` does it, for the same number of tokens, for parts of it, to compare at equal F1, and with most of the
encoder frozen; 2,500 sentences of CoNLL-2003, once as whole articles and once sentence by sentence, scored on 1,500 of
eng.testa. A token counts once a pass, with what it costs to read it: padding, context and special tokens do not count. Times
are of whole steps, data and optimizer included, after the first few. Finished runs are kept in RUNS, so the same command goes
on where an earlier one ended; other code or another machine needs an empty one.

Run: python benchmarks/training_throughput.py --data DATA --save benchmarks/results/training_throughput
     python benchmarks/training_throughput.py --data DATA --profile
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout
from dataclasses import replace
from functools import partial
from pathlib import Path
from statistics import mean
from typing import Any

import token_classification
import torch
from encoder_runs import (
    Encoder,
    Results,
    Row,
    defaults,
    encoder_config,
    errors_told,
    key,
    numbers,
    run_config,
    save_table,
    score,
    spread,
)
from pretraining_cost import operations, peak
from public_slices import Split, by_line, conll_slice, take
from step_watch import Watch, watched
from transformers import PreTrainedConfig
from word_rows import rows as word_rows
from word_rows import tagged

from annotations.errors import ConfigError
from inference.checkpoint import encoder_tokenizer
from inference.checkpoint_files import DEFAULT_ENCODER
from inference.windows import encode
from training.config import RunConfig
from training.recipe import resolved
from training.reports.evaluation import bare
from training.shell import progress, quiet_libraries
from training.trainer import fine_tune

SHAPES: dict[str, Callable[[Split], Split]] = {"articles": lambda split: split, "sentences": by_line}
EXAMPLE = "transformers' example"
FROZEN = "standpoint, two thirds of the layers frozen"
FASTER = 4
"""How many times its rate an encoder learns at where most of it is frozen and passes are few: tried on this very
slice, once, with 1, 2 and 4."""
PROFILED = (8, 11)
"""Which steps are profiled."""


def example_row(split: Split, shape: str, encoder: str, seed: int, settings: dict[str, Any]) -> Row:
    """The example's recipe: speed, score, and how many tokens it learned from."""
    whole = shape == "articles"
    learned, scored = (word_rows(part, split.layer, whole=whole) for part in (split.learned, split.scored))
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder, watched(_pad(encoder)) as watch:
        found = token_classification.learn(encoder, learned, seed, folder, settings)
    seconds = time.monotonic() - began
    predicted = tagged(split.scored, split.layer, scored, token_classification.predict(found, scored))
    row = _row(watch, found.text_tokens, settings["num_train_epochs"], encoder_config(encoder))
    return {**row, "score": score(split, predicted), "seconds": seconds, "precision": "fp32"}


def our_row(split: Split, encoder: str, seed: int, tokens: float, settings: dict[str, Any]) -> Row:
    """Our recipe on so many tokens: speed and score."""
    config = _config(
        split, encoder, seed, {**settings, "epochs": tokens / (once := _text_tokens(split, encoder, settings))}
    )
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder, watched(_pad(encoder)) as watch:
        tagger = fine_tune(config, split.learned, Path(folder))
    seconds = time.monotonic() - began
    row = _row(watch, once, config.epochs, shape := encoder_config(encoder))
    # Of three parts of a step, two go back, and none of these through what is frozen.
    done = 1 - 2 / 3 * config.frozen_layers / shape.num_hidden_layers
    row |= {name: done * row[name] for name in ("rate_real", "rate_computed")}
    precision = "bf16" if resolved(config).bf16 else "fp32"
    predicted = list(tagger.tag(bare(split.scored)))
    return {**row, "score": score(split, predicted), "seconds": seconds, "precision": precision}


def _config(split: Split, encoder: str, seed: int, settings: dict[str, Any]) -> RunConfig:
    return run_config(split, encoder, seed, {"trainer": {"disable_tqdm": True}, **settings})


def _pad(encoder: str) -> int:
    return int(encoder_tokenizer(encoder).pad_token_id)


def _text_tokens(split: Split, encoder: str, settings: dict[str, Any]) -> int:
    """Tokens that our windows predict in one pass."""
    config = _config(split, encoder, 0, settings).tagger
    return sum(len(window.offsets) for window in encode(split.learned, encoder_tokenizer(encoder), config))


def _row(watch: Watch, once: int, epochs: float, encoder: PreTrainedConfig) -> Row:
    """What was watched; `once` is how many tokens of text one pass has."""
    if len(watch.steps) < 2:
        raise ConfigError("--lines", "gives a single step, and the last one only ends the timing; take more")
    tokens = once * epochs
    # Over the whole training, so that the share of context and special tokens is exact.
    share = tokens / sum(sum(step.lengths) for step in watch.steps)
    return {
        "steps": len(watch.steps),
        "tokens": round(tokens),
        "speed": share * watch.real / watch.seconds,
        "speed_cpu": share * watch.real / watch.busy,
        "non_padding_speed": watch.real / watch.seconds,
        "padding": 1 - watch.real / watch.computed,
        "around": (1 - share) * watch.real / watch.computed,
        "outside": watch.outside,
        **{name: value / watch.seconds for name, value in _operations(watch, encoder).items()},
    }


def _operations(watch: Watch, encoder: PreTrainedConfig) -> dict[str, float]:
    """Floating-point operations of the timed steps: on what is not padding, and on all that is computed."""
    each = operations(encoder, 1, 0.0)
    real = computed = 0.0
    for step in watch.timed:
        real += sum(length * (each["layers"] + length * each["attention"]) for length in step.lengths)
        computed += step.computed * (each["layers"] + step.width * each["attention"])
    return {"rate_real": real, "rate_computed": computed}


def measure(arguments: argparse.Namespace) -> list[Row]:
    """A row for each shape, seed and system; the example first, then ours on as many tokens and on parts of them."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    size = arguments.peak_size or (8192 if device.type == "cuda" else 2048)
    peaks = {"fp32": peak(device, size, dtype=torch.float32), "bf16": peak(device, size)}
    results = Results(arguments.runs, defaults=defaults())
    content, settings = Encoder.parse(arguments.encoder).content, {**token_classification.SETTINGS}
    settings["num_train_epochs"] = arguments.epochs
    rows: list[Row] = []

    def done(split: Split, shape: str, name: str, seed: int, share: float, learn: Callable[[], Row], **own: Any) -> Row:
        def make() -> Row:
            with redirect_stdout(sys.stderr):
                row = learn()
            progress(f"{shape}, seed {seed}, {name}: {_said(row)}")
            return {"shape": shape, "learned": split.size(), **row, "peaks": peaks}

        known = key(content, split, seed, {"shape": shape, "share": share, **settings, **own})
        rows.append(results.get({**known, "name": name}, make))
        return rows[-1]

    for shape, split in splits(arguments).items():
        for seed in arguments.seeds:
            example = partial(example_row, split, shape, arguments.encoder, seed, settings)
            tokens = done(split, shape, EXAMPLE, seed, 1, example)["tokens"]
            for share in arguments.shares:
                ours = partial(our_row, split, arguments.encoder, seed, share * tokens, {})
                done(split, shape, ours_named(share), seed, share, ours)
            own = mostly_frozen(split, arguments.encoder)
            frozen = partial(our_row, split, arguments.encoder, seed, tokens, own)
            done(split, shape, FROZEN, seed, 1, frozen, **own)
    return rows


def mostly_frozen(split: Split, encoder: str) -> dict[str, Any]:
    """Settings of ours that train the highest third of the encoder's layers."""
    rate = resolved(_config(split, encoder, 0, {})).optimizer.lr
    assert rate is not None
    return {"frozen_layers": encoder_config(encoder).num_hidden_layers * 2 // 3, "optimizer": {"lr": FASTER * rate}}


def ours_named(share: float) -> str:
    """What our recipe is called on that share of the example's tokens."""
    return "standpoint" if share == 1 else f"standpoint, {share:.0%} of the tokens"


def splits(arguments: argparse.Namespace) -> dict[str, Split]:
    """The slice in each shape."""
    whole = conll_slice(arguments.data)
    if arguments.lines:
        half = max(1, arguments.lines // 2)
        whole = replace(whole, learned=take(whole.learned, arguments.lines), scored=take(whole.scored, half))
    return {name: shaped(whole) for name, shaped in SHAPES.items()}


def _said(row: Row) -> str:
    return f"{row['speed']:,.0f} tokens/s, {row['padding']:.0%} padding, F1 {100 * row['score']:.1f}"


def table(rows: Sequence[Row]) -> str:
    """Markdown: a shape and system a line."""
    head = ["data", "trained by", "tokens/s", "times", "tokens per CPU second", "padding", "context and special"]
    head += ["not in forward or backward", "of the peak: useful", "computed", "tokens seen", "steps", "seconds", "F1"]
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    for shape in dict.fromkeys(row["shape"] for row in rows):
        here = [row for row in rows if row["shape"] == shape]
        base = [row["speed"] for row in here if row["name"] == EXAMPLE]
        for name in dict.fromkeys(row["name"] for row in here):
            own = [row for row in here if row["name"] == name]
            who = f"{name}, {own[0]['precision']}"
            lines.append(f"| {' | '.join([shape, who, *_cells(own, base)])} |")
    return "\n".join(lines)


def _cells(own: Sequence[Row], base: Sequence[float]) -> list[str]:
    speeds = [row["speed"] for row in own]
    times = [speed / other for speed, other in zip(speeds, base, strict=True)]
    shares = [mean(row[key] for row in own) for key in ("padding", "around", "outside")]
    peaks = [mean(row[key] / row["peaks"][row["precision"]] for row in own) for key in ("rate_real", "rate_computed")]
    return [
        _range(speeds, ",.0f"),
        _range(times, ".2f"),
        f"{mean(row['speed_cpu'] for row in own):,.0f}",
        *(f"{share:.0%}" for share in (*shares, *peaks)),
        f"{mean(row['tokens'] for row in own):,.0f}",
        f"{mean(row['steps'] for row in own):,.0f}",
        _range([row["seconds"] for row in own], ".0f"),
        spread(own),
    ]


def _range(values: Sequence[float], form: str) -> str:
    whole = f" ({min(values):{form}}–{max(values):{form}})" if len(values) > 1 else ""
    return f"{mean(values):{form}}{whole}"


def our_profile(arguments: argparse.Namespace) -> str:
    """Where a few of our steps on articles spend their time: parts of a step, then torch's operators."""
    split, quick = splits(arguments)["articles"], {"disable_tqdm": True, "max_steps": PROFILED[1] + 2}
    config = _config(split, arguments.encoder, 0, {"trainer": quick})
    with (
        redirect_stdout(sys.stderr),
        tempfile.TemporaryDirectory() as folder,
        watched(_pad(arguments.encoder), PROFILED) as watch,
    ):
        fine_tune(config, split.learned, Path(folder))
    parts, own = watch.parts(), watch.steps[slice(*PROFILED)]
    whole = sum(parts.values())
    assert watch.profiler
    operators = watch.profiler.key_averages()
    return "\n".join(
        [
            f"{whole:.2f} s for batches of {', '.join(f'{len(step.lengths)} x {step.width}' for step in own)}:",
            *(f"  {name}: {seconds / whole:.1%}" for name, seconds in parts.items()),
            operators.table(sort_by="self_cpu_time_total", row_limit=25, max_name_column_width=60),
        ]
    )


def shares(text: str) -> list[float]:
    """Of a list such as 0.5,1."""
    return [float(part) for part in text.split(",")]


def parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of the public sets")
    parser.add_argument("--encoder", default=DEFAULT_ENCODER, help="a folder, or default")
    parser.add_argument("--seeds", type=numbers, default=[0, 1, 2], help="such as 0,1,2")
    parser.add_argument("--epochs", type=float, default=3, help="the example's passes")
    parser.add_argument(
        "--shares",
        type=shares,
        default=[0.1, 0.25, 0.5, 1.0],
        help="of the example's tokens, such as 0.5,1: a run of ours each",
    )
    parser.add_argument("--lines", type=int, help="sentences to learn from, where fewer than 2,500 are wanted")
    parser.add_argument("--peak-size", type=int, help="side of the matrices of the measured peak")
    parser.add_argument("--runs", type=Path, default=Path("runs/training_throughput"), help="folder of finished runs")
    parser.add_argument(
        "--profile", action="store_true", help="print where our steps spend their time, and nothing else"
    )
    parser.add_argument("--save", type=Path, help="where the table goes, without suffix")
    return parser.parse_args(arguments)


def main(given: Sequence[str] | None = None) -> None:
    """Parse, measure, print, save."""
    arguments = parsed(given)
    quiet_libraries()
    with errors_told():
        if arguments.profile:
            print(our_profile(arguments))
            return
        rows = measure(arguments)
    text = table(rows)
    print(text)
    if arguments.save:
        command = f"python benchmarks/training_throughput.py --data DATA --save {arguments.save}"
        title = "Training throughput"
        save_table(arguments.save, title=title, command=command, told=_told(rows), table=text, rows=rows)


def _told(rows: Sequence[Row]) -> str:
    peaks = ", ".join(f"{name} {value / 1e9:,.0f}" for name, value in rows[0]["peaks"].items())
    sizes = "; ".join(dict.fromkeys(f"{row['shape']}: {row['learned']}" for row in rows))
    return (
        "Mean (range) over seeds; F1: strict micro F1 of exact spans in percent after so many tokens; seconds: of learning, "
        "from data to weights. A token of the text counts once a pass; `padding` and `context and special` are shares of all "
        f"positions computed. The peak is a large matrix product measured in the same run, GFLOP/s: {peaks}; each system "
        f"against that of its precision; useful: without padding. Learned from / scored on: {sizes}."
    )


if __name__ == "__main__":
    main()
