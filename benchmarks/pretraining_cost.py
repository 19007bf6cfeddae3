"""What a pretraining run cost and how far it came: loss over tokens seen, tokens/s, and the share of the machine's peak.

Floating-point operations are counted, not measured: six a weight and token in the layers, attention over the sequence, and
the output layer on masked tokens. The peak is that of a large bfloat16 matrix product, measured here: run this on the
machine that trained.

Run: python benchmarks/pretraining_cost.py runs/encoder --save benchmarks/results/pretraining_cost
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import torch
from encoder_runs import save_table
from transformers import AutoConfig

from training.pretraining.config import PretrainConfig
from training.pretraining.log import Line, read
from training.run_directory import machine

POINTS = 12


def operations(encoder: Any, length: int, masked: float) -> dict[str, float]:
    """Floating-point operations a token of a training step, by part, for a gated encoder with global attention."""
    width, inner, layers = encoder.hidden_size, encoder.intermediate_size, encoder.num_hidden_layers
    return {
        "layers": 6.0 * layers * (4 * width * width + 3 * width * inner),
        "attention": 12.0 * layers * width * length,
        "output layer": 6.0 * masked * (width * width + width * encoder.vocab_size),
    }


def peak(device: torch.device, size: int, seconds: float = 3.0, dtype: torch.dtype = torch.bfloat16) -> float:
    """Operations a second of a square matrix product of random numbers; the best of many."""
    one, other = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))
    best, until = 0.0, time.perf_counter() + seconds
    while time.perf_counter() < until:
        began = time.perf_counter()
        product = one @ other
        if device.type == "cuda":
            torch.cuda.synchronize()
        best = max(best, 2.0 * size**3 / (time.perf_counter() - began))
        assert product.isfinite().all()
    return best


def milestones(lines: list[Line]) -> list[Line]:
    """About POINTS lines with a held-out loss, evenly over the tokens, the last one among them."""
    known = [line for line in lines if "held_out" in line]
    wanted = [known[-1]["tokens"] * (number + 1) / POINTS for number in range(POINTS)]
    found = [min(known, key=lambda line: abs(line["tokens"] - tokens)) for tokens in wanted]
    return [line for place, line in enumerate(found) if line not in found[:place]]


def report(folder: Path) -> tuple[str, str, dict[str, Any]]:
    """What is told, the table, and the numbers of a run's folder."""
    config = PretrainConfig.build(json.loads((folder / "config.json").read_text("utf-8")), where=folder)
    lines = read(folder / "log.jsonl")
    encoder = AutoConfig.from_pretrained(
        next(p.parent for p in sorted(folder.rglob("config.json")) if p.parent != folder)
    )
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    speed = statistics.median(line["speed"] for line in lines)
    parts = operations(encoder, config.lengths[0][1], config.masking.start)
    top = peak(device, 8192 if device.type == "cuda" else 2048)
    values = {
        "tokens": lines[-1]["tokens"],
        "minutes": round(lines[-1]["seconds"] / 60, 1),
        "speed": speed,
        "operations": parts,
        "rate": speed * sum(parts.values()),
        "peak": top,
        "losses": milestones(lines),
        "date": time.strftime("%Y-%m-%d"),
        **machine(),
    }
    return _told(values), _table(values["losses"]), values


def _told(values: dict[str, Any]) -> str:
    counted = ", ".join(f"{name} {value / 1e6:.1f}" for name, value in values["operations"].items())
    return (
        f"{values['tokens'] / 1e6:.1f} M tokens in {values['minutes']} minutes; median {values['speed']:,.0f} tokens/s. "
        f"A token costs {sum(values['operations'].values()) / 1e6:.1f} million operations at the beginning ({counted}), so "
        f"{values['rate'] / 1e9:,.0f} GFLOP/s: {values['rate'] / values['peak']:.0%} of the {values['peak'] / 1e9:,.0f} "
        "that a large bfloat16 matrix product reaches here."
    )


def _table(losses: list[Line]) -> str:
    text = ["| tokens | loss, training | masked | loss, held out (15% masked) |", "|---|---|---|---|"]
    for line in losses:
        cells = [
            f"{line['tokens'] / 1e6:.1f} M",
            f"{line['loss']:.3f}",
            f"{line['masked']:.0%}",
            f"{line['held_out']:.3f}",
        ]
        text.append("| " + " | ".join(cells) + " |")
    return "\n".join(text)


def main() -> None:
    """Print, save."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--save", type=Path)
    arguments = parser.parse_args()
    told, text, values = report(arguments.folder)
    print(f"{told}\n\n{text}")
    if arguments.save:
        command = " ".join(["python", *sys.argv])
        save_table(arguments.save, title="What pretraining cost", command=command, told=told, table=text, rows=[values])


if __name__ == "__main__":
    main()
