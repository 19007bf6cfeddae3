"""Does transformers' pipeline give the tagger's spans? Counts them on a file's sentences, paragraphs and whole articles.

The checkpoint is exported as `standpoint export --to hf` does it. "Token by token" is the tagger without its decoding: the
likeliest tag of each token, grouped as the pipeline's "simple" groups them; what still differs there is no matter of decoding.
White space at a span's edges is cut off before comparing.

Run: python benchmarks/hf_pipeline.py runs/demo/checkpoint --save benchmarks/results/hf_pipeline
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from pages import publish
from transformers import pipeline

from annotations.document import Document
from annotations.reading import bare_documents
from annotations.sentences import sentences
from inference.decoding import token_logits
from inference.interop.hf import to_hf
from inference.interop.hf_card import stride
from inference.tagger import Tagger
from training.shell import progress, quiet_libraries

STRATEGIES = ("simple", "first", "average", "max")
Found = set[tuple[int, int, str]]
Row = dict[str, Any]


def units(texts: Sequence[str]) -> dict[str, list[str]]:
    """The same texts whole and in pieces."""
    pieces = [text[start:end] for text in texts for start, end in sentences(text)]
    lines = [line for text in texts for line in text.splitlines() if line.strip()]
    return {"sentences": pieces, "paragraphs": lines, "articles": list(texts)}


def trimmed(text: str, start: int, end: int, label: str) -> tuple[int, int, str]:
    """The same span without white space at its edges."""
    piece = text[start:end]
    return start + len(piece) - len(piece.lstrip()), end - len(piece) + len(piece.rstrip()), label


def by_pipeline(tag: Any, texts: Sequence[str], strategy: str, overlap: int | None) -> list[Found]:
    """The spans of transformers' pipeline."""
    options = {"aggregation_strategy": strategy} | ({"stride": overlap} if overlap is not None else {})
    return [
        {trimmed(text, one["start"], one["end"], one["entity_group"]) for one in tag(text, **options)} for text in texts
    ]


def by_tagger(tagger: Tagger, texts: Sequence[str], layer: str) -> list[Found]:
    """The tagger's spans."""
    return [{(span.start, span.end, span.label) for span in document.spans(layer)} for document in tagger.tag(texts)]


def token_by_token(tagger: Tagger, texts: Sequence[str], layer: str) -> list[Found]:
    """The spans of the likeliest tag of each token."""
    names = tagger.schema.layers[layer].names
    found: list[Found] = []
    for text in texts:
        windows, answers = tagger.read([Document(id="x", text=text)])
        own = [
            set(grouped(logits.argmax(-1).tolist(), at, names))
            for _, logits, at in token_logits(layer, windows, answers)
        ]
        found.append(set().union(*own))
    return found


def grouped(
    tags: Sequence[int], offsets: Sequence[tuple[int, int]], names: Sequence[str]
) -> Iterator[tuple[int, int, str]]:
    """Neighbours with one label are one span unless the later is a B; tag 0 is outside, B of label n is 1 + 2n."""
    before = -1
    first = 0
    for place, tag in enumerate([*tags, 0]):
        label = (tag - 1) // 2 if tag else -1
        if label != before or tag % 2 == 1:
            if before >= 0:
                yield offsets[first][0], offsets[place - 1][1], names[before]
            before, first = label, place


def row(what: str, unit: str, tagger: Sequence[Found], other: Sequence[Found]) -> Row:
    """How many texts and spans are the same."""
    pairs = list(zip(tagger, other, strict=True))
    return {
        "what": what,
        "unit": unit,
        "texts": len(pairs),
        "same_texts": sum(one == two for one, two in pairs),
        "spans": sum(map(len, tagger)),
        "other_spans": sum(map(len, other)),
        "same_spans": sum(len(one & two) for one, two in pairs),
    }


def measured(checkpoint: Path, texts: Sequence[str]) -> Iterator[Row]:
    """All rows of the table."""
    tagger = Tagger.load(checkpoint, engine="torch")
    with tempfile.TemporaryDirectory() as folder:
        made = to_hf(checkpoint, Path(folder) / "hf")
        tag = pipeline("token-classification", model=str(made.folder))
        for unit, pieces in units(texts).items():
            ours, plain = by_tagger(tagger, pieces, made.layer), token_by_token(tagger, pieces, made.layer)
            overlap = stride(tagger.config)
            for strategy in STRATEGIES:
                yield row(f"{strategy}, stride={overlap}", unit, ours, by_pipeline(tag, pieces, strategy, overlap))
            nearest = by_pipeline(tag, pieces, "simple", overlap)
            yield row(f"simple, stride={overlap}, against the tagger token by token", unit, plain, nearest)
            if unit == "articles":
                yield row("simple, no stride", unit, ours, by_pipeline(tag, pieces, "simple", None))


def table(rows: Sequence[Row]) -> str:
    """The rows as Markdown."""
    lines = [
        "| texts | pipeline | texts alike | spans of the tagger | of the pipeline | the same | F1 |",
        "|---|---|---|---|---|---|---|",
    ]
    for one in rows:
        total = one["spans"] + one["other_spans"]
        score = 2 * one["same_spans"] / total if total else 1.0
        lines.append(
            f"| {one['unit']} | {one['what']} | {one['same_texts']} of {one['texts']} | {one['spans']} | {one['other_spans']} "
            f"| {one['same_spans']} | {score:.3f} |"
        )
    return "\n".join(lines)


def main(given: Sequence[str] | None = None) -> list[Row]:
    """Measure, print, save."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument(
        "--data", default="annotations/gold.json", help="a file of documents; their texts alone are read"
    )
    parser.add_argument("--save", type=Path, help="write SAVE.md and SAVE.json")
    options = parser.parse_args(given)
    quiet_libraries()
    texts = list(dict.fromkeys(document.text for document in bare_documents(options.data)))
    rows = []
    for one in measured(options.checkpoint, texts):
        progress(json.dumps(one))
        rows.append(one)
    publish(__file__, given, "transformers' pipeline beside the tagger", table(rows), {"rows": rows}, options.save)
    return rows


if __name__ == "__main__":
    main()
