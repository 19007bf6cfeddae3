"""One run: an encoder fine-tuned on one set with one seed by the product's own path, scored, and kept on disk.

It knows encoders, settings and results. It knows neither files of data nor tables.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Any

import torch
from public_slices import Split
from transformers import AutoModel

from annotations.comparison import compare
from annotations.document import Document
from annotations.errors import CheckpointError, ConfigError, StandpointError, did_you_mean
from annotations.schema import Kind
from annotations.storage import fingerprint, replacing
from inference.checkpoint import encoder_config, encoder_tokenizer, save
from inference.checkpoint_files import NEEDED, encoder_location, version
from inference.tagger import Tagger
from inference.windows import encode
from training.config import RunConfig
from training.recipe import FAMILIES, SIZES, resolved
from training.reports.evaluation import bare
from training.run_directory import machine
from training.shell import progress
from training.trainer import fine_tune

RANDOM = "random:"
CRF = "CRF"
Row = dict[str, Any]
Learn = Callable[[RunConfig, Sequence[Document], Path], Tagger]


@dataclass(frozen=True)
class Encoder:
    """Weights to start from, or only their shape."""

    name: str
    """What tables call it."""
    location: str
    """`default` or a folder: an encoder's or a tagger's."""
    random: bool = False
    """Whether it starts from random weights of that shape, with that tokenizer."""

    @classmethod
    def parse(cls, text: str) -> Encoder:
        """From `[name=][random:]default` or `[name=][random:]FOLDER`.

        Raises:
            CheckpointError: the folder lacks a file.
        """
        name, given, what = text.partition("=")
        where = what if given else name
        encoder = cls(name, where.removeprefix(RANDOM), where.startswith(RANDOM))
        folder = Path(encoder_location(encoder.location))
        if missing := [needed for needed in NEEDED if not (folder / needed).is_file()]:
            remedy = (
                f"has no {', no '.join(missing)}; give `default`, an encoder's folder or a tagger's checkpoint folder"
            )
            raise CheckpointError(where, remedy)
        return encoder

    @property
    def content(self) -> str:
        """A hash of all that training starts from; random weights follow from shape, tokenizer and seed."""
        if not self.random:
            return version(encoder_location(self.location))
        shape = encoder_config(self.location).to_json_string()
        tokenizer = (Path(encoder_location(self.location)) / "tokenizer.json").read_bytes()
        return RANDOM + hashlib.sha256(shape.encode() + tokenizer).hexdigest()[:16]

    @contextmanager
    def folder(self, seed: int) -> Iterator[str]:
        """What `RunConfig.encoder` can name, as long as the block lasts."""
        if not self.random:
            yield self.location
            return
        with tempfile.TemporaryDirectory() as made:
            torch.manual_seed(seed)
            model = AutoModel.from_config(encoder_config(self.location), dtype=torch.float32)
            save(made, model, encoder_tokenizer(self.location))
            yield made


class Results:
    """Finished runs, one file each, written whole or not at all: a killed comparison loses the run that it was in."""

    def __init__(self, folder: Path, saved: Path | None = None, **about: Any) -> None:
        """`saved`: a table saved earlier, whose rows are runs as well; `about`: what every result here depends on besides."""
        self.folder, self.about = folder, about
        path = saved.with_suffix(".json") if saved else None
        self.rows: list[Row] = json.loads(path.read_text("utf-8"))["rows"] if path and path.is_file() else []

    def get(self, key: dict[str, Any], make: Callable[[], Row]) -> Row:
        """The result of a run that is known by its key, made where it is not there yet."""
        if earlier := self.find(key):
            return earlier
        row = {**key, **self.about, **make(), "date": time.strftime("%Y-%m-%d"), **machine()}
        with replacing(self._path(key)) as out:
            out.write(json.dumps(row, indent=1) + "\n")
        return row

    def find(self, key: dict[str, Any]) -> Row | None:
        """The result of a run that is known by its key; None where it is not there."""
        known = {**key, **self.about}
        if earlier := next((row for row in self.rows if all(row.get(name) == known[name] for name in known)), None):
            return earlier
        path = self._path(key)
        return json.loads(path.read_text("utf-8")) if path.exists() else None

    def _path(self, key: dict[str, Any]) -> Path:
        name = json.dumps({**key, **self.about}, sort_keys=True)
        return self.folder / f"{hashlib.sha256(name.encode()).hexdigest()[:24]}.json"


def key(content: str, split: Split, seed: int, settings: dict[str, Any]) -> dict[str, Any]:
    """All that a result depends on but the code."""
    data = [fingerprint(part) for part in (split.learned, split.scored)]
    return {"encoder": content, "set": split.name, "data": data, "seed": seed, "settings": settings}


def defaults() -> str:
    """A hash of the product's default settings and of what its recipe chooses."""
    schema = RunConfig.model_json_schema()
    # What is off unless it is asked for changes no default.
    del (
        schema["properties"]["self_training"],
        schema["$defs"]["SelfTrainingConfig"],
        schema["properties"]["frozen_layers"],
    )
    values = [schema, SIZES, FAMILIES]
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:12]


def fine_tuned(results: Results, encoder: Encoder, split: Split, seed: int, settings: dict[str, Any]) -> Row:
    """The row of one encoder, set and seed; see `run` for what it holds."""

    def make() -> Row:
        progress(f"{encoder.name}, {split.name}, seed {seed}: learning from {split.size()}")
        row = run(encoder, split, seed, settings)
        progress(f"{encoder.name}, {split.name}, seed {seed}: {100 * row['score']:.1f} in {row['seconds']:.0f} s")
        return row

    return {**results.get(key(encoder.content, split, seed, settings), make), "name": encoder.name}


def run(encoder: Encoder, split: Split, seed: int, settings: dict[str, Any], learn: Learn = fine_tune) -> Row:
    """Score (strict micro F1 of spans, macro F1 of sentences), seconds of learning and scoring, tokens learned from."""
    # The Trainer prints to standard output, which is for the table.
    with encoder.folder(seed) as folder, tempfile.TemporaryDirectory() as scratch, redirect_stdout(sys.stderr):
        config = resolved(run_config(split, folder, seed, settings))
        began, busy = time.monotonic(), time.process_time()
        tagger = learn(config, split.learned, Path(scratch))
        learned, busy = time.monotonic(), time.process_time() - busy
        predicted = list(tagger.tag(bare(split.scored)))
        seconds, scoring = learned - began, time.monotonic() - learned
        windows = encode(split.learned, tagger.tokenizer, config.tagger)
    tokens = sum(len(window.ids) + sum(map(len, window.targets)) for window in windows)
    return {
        "score": score(split, predicted),
        "learning_seconds": seconds,
        # On a machine that others use as well, less than the seconds times the threads.
        "learning_cpu_seconds": busy,
        "seconds": seconds + scoring,
        "tokens": round(config.epochs * tokens),
    }


def score(split: Split, predicted: Sequence[Document]) -> float:
    """Micro F1 of exact spans with their labels, macro F1 of sentences' labels."""
    found = compare(split.scored, predicted, split.schema).layers[split.layer]
    return found.micro.f1 if split.kind is Kind.SPANS else found.macro_f1


def run_config(split: Split, encoder: str, seed: int, settings: dict[str, Any]) -> RunConfig:
    """The product's own config, with these differences from its defaults."""
    trainer = {
        "save_strategy": "no",
        "logging_steps": 200,
        "disable_tqdm": True,
    }
    return RunConfig.build(
        {
            "tagger": {"label_schema": split.schema.model_dump(mode="json")},
            "data": {"train": ["unused"]},
            "output": "unused",
            "encoder": encoder,
            "seed": seed,
            "trainer": trainer,
            **settings,
        },
        where="benchmark",
    )


def crf(results: Results, split: Split) -> Row:
    """The row of the CRF on words, which draws nothing at random."""

    def make() -> Row:
        from training.baselines import crf_baseline

        progress(f"{CRF}, {split.name}: learning from {split.size()}")
        began = time.monotonic()
        predicted = crf_baseline(split.learned, bare(split.scored), split.schema, 0)
        seconds = time.monotonic() - began
        return {"score": score(split, predicted), "seconds": seconds}

    return {**results.get(key(CRF, split, 0, {}), make), "name": CRF}


@contextmanager
def errors_told() -> Iterator[None]:
    """Wrong input ends a benchmark with its message alone."""
    try:
        yield
    except StandpointError as error:
        print(error, file=sys.stderr)
        sys.exit(2)


def numbers(text: str) -> list[int]:
    """Seeds on the command line: `0,1,2`."""
    return [int(part) for part in text.split(",")]


def command_line(about: str | None, *, sets: Iterable[str], seeds: list[int], runs: str) -> argparse.ArgumentParser:
    """What every comparison of encoders is told: the data, which sets and seeds, where runs are kept, where the table goes."""
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of the public sets")
    parser.add_argument("--sets", default=",".join(sets), help="some of them")
    parser.add_argument("--seeds", type=numbers, default=seeds, help="such as 0,1,2")
    parser.add_argument("--runs", type=Path, default=Path(runs), help="where finished runs are kept")
    parser.add_argument("--save", type=Path, help="where the table goes, without suffix")
    return parser


def some_of(known: Sequence[str], given: str, option: str = "--sets") -> list[str]:
    """Names on the command line, of sets where no other option is named.

    Raises:
        ConfigError: naming those that are not known.
    """
    names, what = given.split(","), option.removeprefix("--").removesuffix("s")
    if unknown := [f"{name!r} is no {what}; {did_you_mean(name, known)}" for name in names if name not in known]:
        raise ConfigError(option, unknown)
    return names


def parse_all(given: Sequence[str]) -> list[Encoder]:
    """The encoders of a command line, each with a name of its own.

    Raises:
        InputError: a folder lacks a file, or two encoders have one name.
    """
    encoders = [Encoder.parse(text) for text in given]
    names = Counter(encoder.name for encoder in encoders)
    if twice := [f"{name!r} names {count} encoders; write NAME=FOLDER" for name, count in names.items() if count > 1]:
        raise ConfigError("encoders", twice)
    return encoders


def spread(rows: Sequence[Row]) -> str:
    """Mean score in percent, and the range where there are several seeds."""
    scores = [100 * row["score"] for row in rows]
    whole = f" ({min(scores):.1f}–{max(scores):.1f})" if len(scores) > 1 else ""
    return f"{mean(scores):.1f}{whole}" if scores else "–"


def save_table(path: Path, *, title: str, command: str, told: str, table: str, rows: Sequence[Row]) -> None:
    """A table as Markdown with all that made it, and its rows as JSON."""
    made = sorted({row["date"] for row in rows})
    about = {json.dumps({name: row[name] for name in machine()}) for row in rows}
    heading = [
        f"# {title}",
        f"Command: `{command}`",
        told,
        f"Made {made[0]} to {made[-1]} on {'; '.join(sorted(about))}.",
    ]
    with replacing(path.with_suffix(".md")) as out:
        out.write("\n\n".join([*heading, table]) + "\n")
    with replacing(path.with_suffix(".json")) as out:
        out.write(json.dumps({"command": command, "rows": list(rows)}, indent=1) + "\n")
