"""What the choices of `standpoint pretrain` are worth: the same text, shape and number of tokens, one choice changed at a time.

Every run is short, so this ranks what helps early; the loss is that on held-out text, 15% of the words masked, averaged
weights. A run that was finished before is not repeated.

Run: python benchmarks/pretraining_choices.py CORPUS --save benchmarks/results/pretraining_choices
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import Any

from encoder_runs import errors_told, save_table, some_of
from pages import command_of

from training.pretraining.config import PretrainConfig
from training.pretraining.log import read
from training.pretraining.run import pretrain
from training.run_directory import machine

CHOICES: dict[str, dict[str, Any]] = {
    "as shipped": {},
    "AdamW instead of Muon": {"optimizer": {"name": "adamw"}},
    "random first embeddings": {"embeddings": "random"},
    "AdamW and random first embeddings": {"optimizer": {"name": "adamw"}, "embeddings": "random"},
    "matrix rate five times as high": {"optimizer": {"matrix_lr": 1e-2}},
    "rates three times as low": {"optimizer": {"lr": 5e-4, "matrix_lr": 6e-4}},
    "steps twice as large": {"batch_tokens": [[0.0, 6144]]},
    "single tokens masked": {"masking": {"unit": "token"}},
    "runs of words masked": {"masking": {"unit": "span"}},
}


def settings(corpus: Path, name: str, tokens: int, output: Path) -> PretrainConfig:
    """The run of one choice."""
    values: dict[str, Any] = {
        "corpora": [{"path": str(corpus)}],
        "output": str(output / f"{name.replace(' ', '-')}-{tokens}"),
        "lengths": [[0.0, 128]],
        "batch_tokens": [[0.0, 3072]],
    }
    values |= CHOICES[name]
    values["steps"] = tokens // values["batch_tokens"][0][1]
    return PretrainConfig.build(values, where=name)


def measure(corpus: Path, name: str, tokens: int, output: Path) -> dict[str, Any]:
    """Loss and speed of one choice."""
    config = settings(corpus, name, tokens, output)
    pretrain(config, lambda line: print(f"{name}: {line}", file=sys.stderr, flush=True))
    lines = read(config.output / "log.jsonl")
    speeds = sorted(line["speed"] for line in lines[1:]) or [lines[0]["speed"]]
    return {
        "name": name,
        "held_out": lines[-1]["held_out"],
        "tokens": lines[-1]["tokens"],
        "speed": speeds[len(speeds) // 2],
        "date": time.strftime("%Y-%m-%d"),
        **machine(),
    }


def table(rows: list[dict[str, Any]]) -> str:
    """Markdown."""
    lines = [
        "| | held-out loss (nats) | against the first | tokens seen | tokens/s |",
        "|---|---|---|---|---|",
    ]
    first = rows[0]["held_out"]
    for row in rows:
        difference = f"{row['held_out'] - first:+.2f}" if row is not rows[0] else ""
        cells = [row["name"], f"{row['held_out']:.3f}", difference, f"{row['tokens'] / 1e6:.2f} M", f"{row['speed']:,}"]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    """Measure, print, save."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("corpus", type=Path)
    parser.add_argument("--tokens", type=int, default=1_500_000)
    parser.add_argument(
        "--choices", default=",".join(CHOICES), help="some of them; the first is what differences are from"
    )
    parser.add_argument("--output", type=Path, default=Path("runs/pretraining-choices"))
    parser.add_argument("--save", type=Path)
    arguments = parser.parse_args()
    with errors_told():
        names = some_of(list(CHOICES), arguments.choices, "--choices")
    rows = []
    for name in names:
        rows.append(measure(arguments.corpus, name, arguments.tokens, arguments.output))
        text = table(rows)
        if arguments.save:
            command = command_of(__file__)
            title = "What the choices of pretraining are worth"
            save_table(arguments.save, title=title, command=command, told="One seed each.", table=text, rows=rows)
    print(text)


if __name__ == "__main__":
    main()
