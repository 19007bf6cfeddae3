"""Which shape of encoder to pretrain: each gets the same minutes on the same text, then the proxy, then a stopwatch.

Equal minutes, not equal tokens: a smaller encoder reads more in them. Everything finished is kept in RUNS, so an interrupted
comparison goes on. A short budget favours small shapes; the table says how short it was.

Run: python benchmarks/encoder_shapes.py --data DATA --prepared runs/encoder --save benchmarks/results/encoder_shapes
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import torch
from encoder_proxy import SETTINGS
from encoder_runs import Encoder, Results, command_line, fine_tuned, save_table, some_of
from pages import command_of
from public_slices import PROXY
from transformers import AutoModel

from training.pretraining.config import PretrainConfig
from training.pretraining.log import read
from training.pretraining.run import pretrain
from training.run_directory import machine
from training.shell import quiet_libraries

SHAPES: dict[str, dict[str, int]] = {
    "3x384": {"layers": 3, "width": 384, "intermediate": 768, "heads": 6},
    "4x256": {"layers": 4},
    "6x256": {},
    "12x256": {"layers": 12, "intermediate": 640},
    "8x192": {"layers": 8, "width": 192, "intermediate": 384, "heads": 3},
}
ROWS, LENGTH = 8, 256


def pretrained(name: str, prepared: Path, minutes: float, runs: Path) -> Path:
    """An encoder of a shape after so many minutes, on the tokens and with the tokenizer of a prepared run."""
    output = runs / f"{name}-{minutes:g}"
    known = json.loads((prepared / "config.json").read_text("utf-8"))
    if not (output / "corpus" / "done.json").exists():
        for part in ("tokenizer", "corpus"):
            shutil.copytree(prepared / part, output / part, dirs_exist_ok=True)
    values = {
        "corpora": known["corpora"],
        "output": str(output),
        "minutes": minutes,
        "shape": SHAPES[name],
        "lengths": [[0.0, 128]],
        "batch_tokens": [[0.0, 3072]],
    }
    config = PretrainConfig.build(values, where=name)
    return pretrain(config, lambda line: print(f"{name}: {line}", file=sys.stderr, flush=True))


@torch.inference_mode()
def speed(encoder: Path) -> float:
    """Tokens a second that the encoder reads: 32-bit floats, sequences of 256, the median of 15 after 3."""
    model = AutoModel.from_pretrained(encoder, dtype=torch.float32).eval()
    ids = torch.randint(5, model.config.vocab_size, (ROWS, LENGTH), generator=torch.Generator().manual_seed(0))
    times = []
    for _ in range(18):
        began = time.perf_counter()
        model(input_ids=ids)
        times.append(time.perf_counter() - began)
    return ROWS * LENGTH / statistics.median(times[3:])


def measure(name: str, arguments: argparse.Namespace, results: Results) -> dict[str, Any]:
    """The row of one shape."""
    folder = pretrained(name, arguments.prepared, arguments.minutes, arguments.runs)
    last = read(folder.parent / "log.jsonl")[-1]
    encoder = Encoder.parse(f"{name}={folder}")
    scores = {}
    for wanted in some_of(list(PROXY), arguments.sets):
        split = PROXY[wanted](arguments.data)
        rows = [fine_tuned(results, encoder, split, seed, SETTINGS[wanted]) for seed in arguments.seeds]
        scores[wanted] = 100 * statistics.mean(row["score"] for row in rows)
    weights = (folder / "model.safetensors").stat().st_size
    return {
        "name": name,
        "megabytes": weights / 1e6,
        "read": last["tokens"],
        "held_out": last["held_out"],
        "scores": scores,
        "mean": statistics.mean(scores.values()),
        "speed": speed(folder),
        "date": time.strftime("%Y-%m-%d"),
        **machine(),
    }


def table(rows: list[dict[str, Any]]) -> str:
    """Markdown: a shape a line."""
    sets = list(rows[0]["scores"])
    heads = ["layers x width", "MB", "tokens read", "held-out loss", *sets, "mean", "tokens/s tagging"]
    lines = ["| " + " | ".join(heads) + " |", "|---" * len(heads) + "|"]
    for row in rows:
        scores = [f"{row['scores'][name]:.1f}" for name in sets]
        cells = [row["name"], f"{row['megabytes']:.1f}", f"{row['read'] / 1e6:.1f} M", f"{row['held_out']:.2f}"]
        lines.append("| " + " | ".join([*cells, *scores, f"{row['mean']:.1f}", f"{row['speed']:,.0f}"]) + " |")
    return "\n".join(lines)


def main() -> None:
    """Measure, print, save."""
    parser = command_line(__doc__, sets=("conll", "politics", "newswire"), seeds=[0], runs="runs/encoder_shapes")
    parser.add_argument(
        "--prepared", type=Path, required=True, help="output folder of a run, for its tokenizer and tokens"
    )
    parser.add_argument("--minutes", type=float, default=8.0, help="of pretraining, each")
    parser.add_argument("--shapes", default=",".join(SHAPES))
    arguments = parser.parse_args()
    quiet_libraries()
    results = Results(arguments.runs / "results")
    rows = []
    for name in some_of(list(SHAPES), arguments.shapes):
        rows.append(measure(name, arguments, results))
        text = table(rows)
        if arguments.save:
            command = command_of(__file__)
            told = (
                f"{arguments.minutes:g} minutes of pretraining each; percent strict micro F1 on the proxy's slices, "
                f"seeds {arguments.seeds}."
            )
            save_table(arguments.save, title="Shapes of encoders", command=command, told=told, table=text, rows=rows)
    print(text)


if __name__ == "__main__":
    main()
