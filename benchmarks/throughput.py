"""How fast texts are tagged: every engine beside transformers' pipeline and spaCy, same weights, same texts, spans out.

In rounds, so that a noisy machine is noisy for all: each round gives every contender the same texts, the median round
counts, and how many times as fast as the pipeline a contender is, is asked within each round. Tokens are those of the texts
alone: padding, context and special tokens cost time and count nothing. The pipeline loads what `standpoint export --to hf`
writes; the tagger's time includes sentence splitting, tokenization and decoding. spaCy's NER is trained for a moment: its
speed is that of any of its size, its spans are no matter here.

Run: python benchmarks/throughput.py runs/demo/checkpoint --save benchmarks/results/throughput
"""

from __future__ import annotations

import argparse
import random
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from encoder_runs import Row, errors_told, save_table
from hf_pipeline import trimmed
from pretraining_cost import peak
from torch.utils.flop_counter import FlopCounterMode
from transformers import pipeline

from annotations.document import Document
from annotations.reading import annotated_documents
from annotations.sentences import sentences
from inference.engines.choice import ENGINES, hindrance
from inference.engines.export import export
from inference.interop.hf import to_hf
from inference.interop.hf_card import stride
from inference.tagger import Tagger
from training.run_directory import machine
from training.shell import progress, quiet_libraries

SIZES = {"sentences": 1, "paragraphs": 2, "documents": 60}
"""How many sentences make a text: about 26, 50 and 1,500 tokens."""
BATCHES = (1, 8, 32)
ROUNDS = 5
TOKENS = 30_000
"""Of each kind of text: more than one portion of a stream."""
PARAGRAPHS = 200
TURNS = 4
"""A contender answers single paragraphs in so many turns."""
PIPELINE = "transformers pipeline"
TARGET = "There are foreign fighters in the ranks of the Taliban."
Spans = list[set[tuple[int, int, str]]]
Contender = Callable[[Sequence[str]], Spans | None]


def texts_of(documents: Sequence[Document], size: int, wanted: int, tagger: Tagger) -> tuple[list[str], int]:
    """Texts of `size` sentences drawn from the documents', and how many tokens they have together."""
    known = list(dict.fromkeys(document.text for document in documents))
    pool = [text[start:end] for text in known for start, end in sentences(text)]
    draw = random.Random(size)
    made: list[str] = []
    tokens = 0
    while tokens < wanted:
        made.append(" ".join(draw.choices(pool, k=size)))
        tokens += len(tagger.tokenizer(made[-1], add_special_tokens=False)["input_ids"])
    return made, tokens


def by_tagger(tagger: Tagger, layer: str, target: str | None = None) -> Contender:
    """The tagger on a stream; without a target it gives spans alone, as the pipeline does."""
    return lambda texts: [
        {(span.start, span.end, span.label) for span in document.spans(layer)}
        for document in tagger.tag(texts, target=target)
    ]


def by_pipeline(folder: Path, batch: int, overlap: int) -> Contender:
    """transformers' pipeline, with a stride, for it would cut long texts off."""
    tag: Any = pipeline("token-classification", model=str(folder), aggregation_strategy="simple", stride=overlap)

    def run(texts: Sequence[str]) -> Spans:
        answers = tag(list(texts), batch_size=batch)
        return [
            {trimmed(text, one["start"], one["end"], one["entity_group"]) for one in found}
            for text, found in zip(texts, answers, strict=True)
        ]

    return run


def by_spacy(documents: Sequence[Document], layer: str) -> Contender:
    """spaCy's own NER on CPU."""
    import spacy
    from spacy.training import Example

    nlp = spacy.blank("en")
    ner: Any = nlp.add_pipe("ner")
    examples = []
    for document in documents[:4]:
        doc = nlp.make_doc(document.text)
        spans = [doc.char_span(span.start, span.end, span.label) for span in document.spans(layer)]
        doc.ents = spacy.util.filter_spans([span for span in spans if span is not None])
        examples.append(Example(nlp.make_doc(document.text), doc))
        for span in document.spans(layer):
            ner.add_label(span.label)
    optimizer = nlp.initialize(lambda: examples)
    nlp.update(examples, sgd=optimizer)
    return lambda texts: [{(e.start_char, e.end_char, e.label_) for e in doc.ents} for doc in nlp.pipe(texts)]


def engines_of(folder: Path, gold: Sequence[Document]) -> dict[str, Tagger]:
    """Every engine that runs here, exported where it needs that."""
    found: dict[str, Tagger] = {}
    for name, kind in ENGINES.items():
        if problem := hindrance(name):
            progress(f"{name}: left out, {problem}")
            continue
        if kind.load:
            progress(f"{name}: exporting")
            export(folder, name, gold)
        found[name] = Tagger.load(folder, engine=name)
    return found


def timed(contenders: dict[str, Contender], texts: Sequence[str], tokens: int, rounds: int) -> list[Row]:
    """Tokens a second of each, in rounds; how many spans are those of the tagger on PyTorch."""
    speeds: dict[str, list[float]] = {name: [] for name in contenders}
    spans: dict[str, Spans | None] = {}
    for number in range(rounds + 1):
        for name, run in contenders.items():
            # The first round warms up.
            some = texts if number else texts[: max(2, len(texts) // 20)]
            began = time.perf_counter()
            spans[name] = run(some)
            if number:
                speeds[name].append(tokens / (time.perf_counter() - began))
                progress(f"round {number}, {name}: {speeds[name][-1]:,.0f} tokens/s")
    wanted = spans["torch"]
    assert wanted is not None
    return [
        {"name": name, "speeds": own, "speed": statistics.median(own), "same": agreement(wanted, spans[name])}
        for name, own in speeds.items()
    ]


def padding_share(tagger: Tagger, texts: Sequence[str]) -> float:
    """Tokens of padding that the tagger's batches add, for each token of the windows."""
    windows = tagger.encode([Document(id="text", text=text) for text in texts])
    return tagger.padding(windows) / sum(len(window.ids) for window in windows)


def agreement(wanted: Spans, found: Spans | None) -> float | None:
    """F1 of spans against those of the tagger on PyTorch."""
    if found is None:
        return None
    same = sum(len(one & two) for one, two in zip(wanted, found, strict=True))
    total = sum(map(len, wanted)) + sum(map(len, found))
    return 2 * same / total if total else 1.0


def latencies(taggers: dict[str, Tagger], plain: Contender, texts: Sequence[str]) -> list[Row]:
    """Milliseconds for one paragraph at a time, in turns: median and 99th percentile."""
    contenders: dict[str, Callable[[str], Any]] = {name: tagger.tag for name, tagger in taggers.items()}
    contenders[PIPELINE] = lambda text: plain([text])
    times: dict[str, list[float]] = {name: [] for name in contenders}
    for turn in range(TURNS):
        for name, run in contenders.items():
            # The first texts of a turn warm up.
            for number, text in enumerate([*texts[:20], *texts[turn::TURNS]]):
                began = time.perf_counter()
                run(text)
                if number >= 20:
                    times[name].append(1000 * (time.perf_counter() - began))
    rows = []
    for name, own in times.items():
        own.sort()
        rows.append({"name": name, "p50": statistics.median(own), "p99": own[int(0.99 * len(own))]})
        progress(f"one paragraph, {name}: {rows[-1]['p50']:.1f} ms")
    return rows


def factors(rows: Sequence[Row], name: str) -> list[float]:
    """How many times as fast as the fastest of the pipeline's batch sizes, in each round."""
    peers = [row["speeds"] for row in rows if row["name"].startswith(PIPELINE)]
    [own] = [row["speeds"] for row in rows if row["name"] == name]
    return [speed / max(others) for speed, *others in zip(own, *peers, strict=True)]


def operations(tagger: Tagger, tokens: int) -> float:
    """Floating-point operations of the encoder for each token of a text of this length, counted by torch."""
    ids = torch.ones((1, tokens), dtype=torch.int64)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        tagger.engine.model.encode(ids, torch.ones_like(ids))
    return counter.get_total_flops() / tokens


def table(rows: dict[str, list[Row]], waits: Sequence[Row], per_token: float, peaks: dict[str, float]) -> str:
    """Markdown: a contender a line."""
    head = ["contender"]
    for kind in rows:
        head += [f"{kind}, tokens/s", "times pipeline", "same spans"]
    head += ["of fp32 peak", "one paragraph, p50 ms", "p99 ms"]
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    wait = {row["name"]: row for row in waits}
    for name in (row["name"] for row in rows["sentences"]):
        cells = [name]
        for own in rows.values():
            row = next(row for row in own if row["name"] == name)
            same = "–" if row["same"] is None or name == "spaCy NER" else f"{row['same']:.3f}"
            times = factors(own, name)
            cells += [
                f"{row['speed']:,.0f}",
                f"{statistics.median(times):.1f} ({min(times):.1f}–{max(times):.1f})",
                same,
            ]
        speed = next(row["speed"] for row in rows["paragraphs"] if row["name"] == name)
        cells.append("–" if name == "spaCy NER" else f"{speed * per_token / peaks['fp32']:.0%}")
        known = wait.get(name.replace(", batch 1", ""))
        cells += [f"{known['p50']:.1f}", f"{known['p99']:.1f}"] if known else ["", ""]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--data", type=Path, default=Path("annotations/gold.json"), help="annotated documents")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--tokens", type=int, default=TOKENS, help="of each kind of text")
    parser.add_argument("--peak-size", type=int, default=2048, help="side of the matrices of the measured peak")
    parser.add_argument("--save", type=Path, help="write SAVE.md and SAVE.json")
    return parser.parse_args(arguments)


def main(given: Sequence[str] | None = None) -> None:
    """Measure, print, save."""
    arguments = parsed(given)
    quiet_libraries()
    with tempfile.TemporaryDirectory() as place, errors_told():
        folder = shutil.copytree(
            arguments.checkpoint, Path(place) / "checkpoint", ignore=shutil.ignore_patterns("engines")
        )
        reference = Tagger.load(folder, engine="torch")
        gold = annotated_documents([arguments.data], reference.schema)[0]
        made = to_hf(folder, Path(place) / "hf")
        taggers = engines_of(folder, gold)
        contenders: dict[str, Contender] = {
            f"{PIPELINE}, batch {batch}": by_pipeline(made.folder, batch, stride(reference.config)) for batch in BATCHES
        }
        contenders |= {name: by_tagger(tagger, made.layer) for name, tagger in taggers.items()}
        fastest = Tagger.load(folder)
        with_stance = f"{fastest.engine.name}, stance too"
        contenders[with_stance] = by_tagger(fastest, made.layer, TARGET)
        contenders["spaCy NER"] = by_spacy(gold, made.layer)
        rows: dict[str, list[Row]] = {}
        sizes: dict[str, int] = {}
        added: dict[str, float] = {}
        for kind, size in SIZES.items():
            texts, tokens = texts_of(gold, size, arguments.tokens, reference)
            sizes[kind] = round(tokens / len(texts))
            added[kind] = padding_share(reference, texts)
            rows[kind] = timed(contenders, texts, tokens, arguments.rounds)
        texts, _ = texts_of(gold, SIZES["paragraphs"], 60 * PARAGRAPHS, reference)
        plain = contenders["transformers pipeline, batch 1"]
        waits = latencies(taggers, plain, texts[:PARAGRAPHS])
        per_token = operations(reference, sizes["paragraphs"])
    device = torch.device("cpu")
    peaks = {"fp32": peak(device, arguments.peak_size, dtype=torch.float32), "bf16": peak(device, arguments.peak_size)}
    text = table(rows, waits, per_token, peaks)
    print(text)
    if arguments.save:
        lengths = ", ".join(f"{kind} of {tokens} tokens ({added[kind]:.0%} padding)" for kind, tokens in sizes.items())
        told = (
            f"Texts drawn from the sentences of {arguments.data}: {lengths}. Median of {arguments.rounds} rounds. "
            "`times pipeline`: against the fastest of the pipeline's batch sizes in the same round, median (range). "
            "`same spans`: F1 against the spans of the tagger on PyTorch in 32 bits. Peak of a matrix product by PyTorch, in "
            f"GFLOP/s: fp32 {peaks['fp32'] / 1e9:,.0f}, bf16 {peaks['bf16'] / 1e9:,.0f}; the share counts the encoder's "
            f"operations on paragraphs, against fp32. {torch.get_num_threads()} threads."
        )
        about = {"date": time.strftime("%Y-%m-%d"), **machine()}
        saved = [{"kind": kind, "tokens": sizes[kind], **row, **about} for kind, own in rows.items() for row in own]
        save_table(
            arguments.save,
            title="How fast texts are tagged",
            command=f"python benchmarks/throughput.py {arguments.checkpoint} --save {arguments.save}",
            told=told,
            table=text,
            rows=[*saved, *({"kind": "latency", **row, **about} for row in waits)],
        )


if __name__ == "__main__":
    main()
