"""What does another target cost? Tags one article against 1 and 10 targets, beside reading each pair of target and sentence.

The tagger has the default encoder and random heads: speed does not depend on what was learned. The peer encodes every
sentence together with every target with the same encoder, in batches of similar size, and does nothing else.

Run: python benchmarks/many_targets.py --save benchmarks/results/many_targets
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from annotations.schema import Schema
from annotations.seeds import documents
from annotations.sentences import sentences
from inference.checkpoint import from_encoder
from inference.checkpoint_files import DEFAULT_ENCODER
from inference.config import TaggerConfig
from inference.tagger import Tagger
from training.run_directory import hardware

ARTICLE = Path("seeds/001_edaec66f59fb5e6d.yaml")
TARGETS = [f"The Taliban has cut its ties with group number {number}." for number in range(10)]


def seconds(work: Callable[[], object]) -> float:
    """Median of five runs after one to warm up."""
    times = []
    for _ in range(6):
        began = time.perf_counter()
        work()
        times.append(time.perf_counter() - began)
    return float(np.median(times[1:]))


def main() -> None:
    """Measure, print, save."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--save", type=Path)
    arguments = parser.parse_args()
    config = TaggerConfig(label_schema=Schema.load("configs/schema.yaml"))
    tagger = Tagger(*from_encoder(DEFAULT_ENCODER, config, 0.1), config)
    article = next(documents(ARTICLE))
    pieces = [article.text[start:end] for start, end in sentences(article.text)]

    def ours(count: int) -> None:
        tagger.tag_all([article.model_copy(update={"id": target, "target": target}) for target in TARGETS[:count]])

    def joint(count: int) -> None:
        pairs = sorted(((target, piece) for target in TARGETS[:count] for piece in pieces), key=lambda p: len(p[1]))
        for start in range(0, len(pairs), 32):
            batch = pairs[start : start + 32]
            made = tagger.tokenizer([t for t, _ in batch], [p for _, p in batch], padding=True, return_tensors="pt")
            with torch.inference_mode():
                tagger.engine.model.encoder(made["input_ids"], made["attention_mask"])

    lines = ["| | 1 target, s | 10 targets, s | ratio |", "|---|---|---|---|"]
    works = {"tagger (entities, stance, document)": ours, "each target with each sentence (encoder alone)": joint}
    for name, work in works.items():
        one, ten = (seconds(lambda count=count, work=work: work(count)) for count in (1, 10))  # type: ignore[misc]
        lines.append(f"| {name} | {one:.2f} | {ten:.2f} | {ten / one:.1f} |")
    text = "\n".join(lines)
    print(text)
    if arguments.save:
        about = f"{time.strftime('%Y-%m-%d')}, {hardware()}, torch {torch.__version__}, {len(pieces)} sentences"
        command = "Command: `python benchmarks/many_targets.py --save benchmarks/results/many_targets`"
        arguments.save.parent.mkdir(parents=True, exist_ok=True)
        arguments.save.with_suffix(".md").write_text(
            f"# What another target costs\n\n{command}\n\n{about}\n\n{text}\n", "utf-8"
        )


if __name__ == "__main__":
    main()
