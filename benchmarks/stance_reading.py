"""Does it pay to read target and text together? Compares our light reader with joint reading on public stance sets.

Both variants start from the same encoder and see the same examples in the same order. `blind` never sees the target.
It measures a design; it shares the Reader with the product and nothing else. The default sizes fit a quarter of an hour on
2 CPU cores and one seed: a difference of a few points is noise (raise --train and --seeds where there is time). The
encoder that ships has since learned from NewsMTSC with the reader: a fair run of that set takes another one (--encoder).

Run: python benchmarks/stance_reading.py --data DATA/stance --save benchmarks/results/stance_reading
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import sys
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from sklearn.metrics import f1_score
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from transformers import AutoModel, AutoTokenizer, PreTrainedTokenizerBase

from inference.checkpoint_files import DEFAULT_ENCODER, encoder_location
from inference.model import Reader, mean
from training.run_directory import machine

VARIANTS = ("blind", "reader-1", "reader-2", "joint")
LONGEST = 80


class Example(NamedTuple):
    """A text, what it is read against, and its class."""

    text: str
    target: str
    label: int


def perspectrum(folder: Path) -> tuple[list[Example], list[Example]]:
    """Claims and perspectives; train and dev split of the authors."""
    pool = {item["pId"]: item["text"] for item in json.loads((folder / "perspective_pool_v1.0.json").read_text())}
    split = json.loads((folder / "dataset_split_v1.0.json").read_text())
    sides: dict[str, list[Example]] = {"train": [], "dev": [], "test": []}
    for claim in json.loads((folder / "perspectrum_with_answers_v1.0.json").read_text()):
        for cluster in claim["perspectives"]:
            if cluster["stance_label_3"] in ("SUPPORT", "UNDERMINE"):
                label = int(cluster["stance_label_3"] == "SUPPORT")
                own = [Example(pool[pid], claim["text"], label) for pid in cluster["pids"] if pid in pool]
                sides[split[str(claim["cId"])]] += own
    return sides["train"], sides["dev"]


def vast(folder: Path) -> tuple[list[Example], list[Example]]:
    """Comments and topics; topics are split so that none is in both parts."""
    with zipfile.ZipFile(folder / "vast_train.zip") as archive, archive.open("vast_train.csv") as raw:
        rows = list(csv.DictReader(io.TextIOWrapper(raw, "utf-8")))
    found = [Example(row["post"], row["new_topic"], int(row["label"])) for row in rows]
    return _by_target(found)


def newsmtsc(folder: Path) -> tuple[list[Example], list[Example]]:
    """News sentences and a person or group named in them: negative, neutral, positive. Split by sentence."""
    train, dev = [], []
    for number, line in enumerate((folder / "train.jsonl").read_text("utf-8").splitlines()):
        row = json.loads(line)
        for target in row["targets"]:
            label = {2.0: 0, 4.0: 1, 6.0: 2}[target["polarity"]]
            (dev if number % 5 == 0 else train).append(Example(row["sentence_normalized"], target["mention"], label))
    return train, dev


def _by_target(found: list[Example]) -> tuple[list[Example], list[Example]]:
    targets = sorted({example.target for example in found})
    held = set(np.random.default_rng(0).permutation(targets)[: len(targets) // 5].tolist())
    return [e for e in found if e.target not in held], [e for e in found if e.target in held]


SETS: dict[str, Callable[[Path], tuple[list[Example], list[Example]]]] = {
    "perspectrum": perspectrum,
    "vast": vast,
    "newsmtsc": newsmtsc,
}


class Classifier(nn.Module):
    """One variant of reading on top of the encoder."""

    def __init__(self, variant: str, encoder: str, classes: int) -> None:
        super().__init__()
        self.variant = variant
        self.encoder = AutoModel.from_pretrained(encoder_location(encoder), dtype=torch.float32)
        self.dropout = nn.Dropout(0.1)
        width = self.encoder.config.hidden_size
        layers = int(variant[-1]) if variant.startswith("reader") else 0
        self.reader = Reader(width=width, layers=layers, heads=4, dropout=0.1) if layers else None
        self.head = nn.Linear(width, classes)

    def forward(self, texts: tuple[Tensor, Tensor], targets: tuple[Tensor, Tensor]) -> Tensor:
        """Shape: ids and mask (B, T) of texts (joint: of both together), ids and mask (B, S) of targets; (B, classes)."""
        states = self.dropout(self.encoder(*texts).last_hidden_state)
        if self.reader is None:
            return self.head(mean(states, texts[1].bool()))
        claims = self.dropout(self.encoder(*targets).last_hidden_state)
        return self.head(self.reader(states, texts[1].bool(), claims, targets[1].bool()))


def cut(example: Example, tokenizer: PreTrainedTokenizerBase) -> Example:
    """The first LONGEST tokens of the text, so that every variant reads the same words."""
    offsets = tokenizer(example.text, return_offsets_mapping=True, add_special_tokens=False)["offset_mapping"]
    return example._replace(text=example.text[: offsets[:LONGEST][-1][1]])


def encode(
    examples: list[Example], variant: str, tokenizer: PreTrainedTokenizerBase
) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """Tensors of a batch."""

    def rows(*sides: list[str]) -> tuple[Tensor, Tensor]:
        made = tokenizer(*sides, padding=True, return_tensors="pt")
        return made["input_ids"], made["attention_mask"]

    texts, targets = [e.text for e in examples], [e.target for e in examples]
    return (rows(targets, texts) if variant == "joint" else rows(texts)), rows(targets)


def batches(examples: list[Example], size: int, rng: np.random.Generator | None) -> Iterator[list[Example]]:
    """Batches of similar length, in random order where a generator is given."""
    ordered = sorted(examples, key=lambda example: len(example.text))
    parts = [ordered[start : start + size] for start in range(0, len(ordered), size)]
    for place in rng.permutation(len(parts)) if rng else range(len(parts)):
        yield parts[place]


def run(variant: str, name: str, seed: int, arguments: argparse.Namespace) -> dict[str, float | str | int]:
    """Train one variant on one set with one seed; macro F1 on the part held out."""
    train, dev = SETS[name](arguments.data / name)
    pick = np.random.default_rng(7)
    train = [train[i] for i in pick.permutation(len(train))[: arguments.train]]
    dev = [dev[i] for i in pick.permutation(len(dev))[: arguments.dev]]
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    tokenizer = AutoTokenizer.from_pretrained(encoder_location(arguments.encoder))
    train, dev = ([cut(example, tokenizer) for example in part] for part in (train, dev))
    model = Classifier(variant, arguments.encoder, len({e.label for e in train}))
    own = [p for n, p in model.named_parameters() if not n.startswith("encoder.")]
    optimizer = torch.optim.AdamW([{"params": model.encoder.parameters(), "lr": 3e-4}, {"params": own, "lr": 1e-3}])
    steps = arguments.epochs * -(-len(train) // 32)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, [3e-4, 1e-3], total_steps=steps, pct_start=0.1)
    began = time.monotonic()
    for _ in range(arguments.epochs):
        for batch in batches(train, 32, rng):
            with torch.autocast("cpu", dtype=torch.bfloat16):
                logits = model(*encode(batch, variant, tokenizer))
            cross_entropy(logits.float(), torch.tensor([e.label for e in batch])).backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            optimizer.zero_grad()
    model.eval()
    gold, found = [], []
    with torch.inference_mode():
        for batch in batches(dev, 32, None):
            found += model(*encode(batch, variant, tokenizer)).argmax(-1).tolist()
            gold += [e.label for e in batch]
    score = f1_score(gold, found, average="macro")
    return {"set": name, "variant": variant, "seed": seed, "macro_f1": score, "seconds": time.monotonic() - began}


def table(rows: list[dict[str, float | str | int]]) -> str:
    """Markdown."""
    sets = sorted({str(row["set"]) for row in rows})
    lines = ["| variant | " + " | ".join(sets) + " |", "|---" * (len(sets) + 1) + "|"]
    for variant in VARIANTS:
        cells = []
        for name in sets:
            own = [float(row["macro_f1"]) for row in rows if row["set"] == name and row["variant"] == variant]
            cells.append(f"{np.mean(own):.3f} ({min(own):.3f}–{max(own):.3f})" if own else "–")
        lines.append(f"| {variant} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def command() -> str:
    """The command line, with the data folder left out."""
    return " ".join(["python", *sys.argv])


def main() -> None:
    """Parse, run, print, save."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--encoder", default=DEFAULT_ENCODER)
    parser.add_argument("--train", type=int, default=1000)
    parser.add_argument("--dev", type=int, default=800)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--save", type=Path)
    arguments = parser.parse_args()
    rows = []
    for name in SETS:
        for seed in range(arguments.seeds):
            for variant in VARIANTS:
                rows.append(run(variant, name, seed, arguments))
                print(rows[-1], flush=True)
    text = table(rows)
    print(text)
    if arguments.save:
        settings = {key: str(value) for key, value in vars(arguments).items() if key not in ("data", "save")}
        about = {"date": time.strftime("%Y-%m-%d"), **machine()}
        arguments.save.parent.mkdir(parents=True, exist_ok=True)
        head = "# Reading the target: light reader against joint reading\n\n"
        head += f"Command: `{command()}`\n\nMacro F1 on the held-out parts, mean (range over seeds). {settings} {about}"
        arguments.save.with_suffix(".md").write_text(f"{head}\n\n{text}\n", "utf-8")
        values = {"settings": settings, "about": about, "runs": rows}
        arguments.save.with_suffix(".json").write_text(json.dumps(values, indent=2) + "\n", "utf-8")


if __name__ == "__main__":
    main()
