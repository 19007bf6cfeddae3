"""Annotated documents as training rows: the windows that serving makes, with gold beside them, kept by `datasets`.

It knows gold labels and tensors, not the loss.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import torch
from datasets import Dataset
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from annotations.document import Document, Label, Span
from annotations.errors import DocumentError
from annotations.lint.edges import mid_word
from annotations.schema import Kind, Schema
from annotations.sentences import sentence_labels
from inference.batches import collate
from inference.config import TaggerConfig
from inference.tags import to_tags
from inference.windows import Unit, Window, encode, texts

IGNORED = -100
SLIPS = 0.01
Row = dict[str, Any]


def rows(documents: Sequence[Document], tokenizer: PreTrainedTokenizerBase, config: TaggerConfig) -> Iterator[Row]:
    """One row a window: its fields, and gold label ids for each layer, `IGNORED` where nothing is annotated.

    `gold_tokens` is aligned with `offsets`; `gold_sentences` with units times documents; `gold_documents` with documents.
    """
    ordered = sorted(documents, key=lambda document: (document.fold, document.text, document.id))
    windows = encode(ordered, tokenizer, config)
    tags = _tags(ordered, windows, config)
    judged = _sentence_ids(ordered, config)
    for place, window in enumerate(windows):
        schema = config.label_schema
        yield {
            "ids": window.ids,
            "first": window.first,
            "offsets": [list(offset) for offset in window.offsets],
            "units": [list(unit) for unit in window.units],
            "documents": window.documents,
            "targets": window.targets,
            "gold_tokens": {name: tags[name][place] for name in schema.of_kind(Kind.SPANS)},
            "gold_sentences": {
                name: [judged[name][document][unit.sentence] for unit in window.units for document in window.documents]
                for name in schema.of_kind(Kind.SENTENCES)
            },
            "gold_documents": {
                name: [_document_id(ordered[document], name, layer.names) for document in window.documents]
                for name, layer in schema.of_kind(Kind.DOCUMENT).items()
            },
        }


def dataset(documents: Sequence[Document], tokenizer: PreTrainedTokenizerBase, config: TaggerConfig) -> Dataset:
    """The rows as an Arrow table; `length` is what a window counts in a batch: its own tokens, or its targets' if more."""
    found = list(rows(documents, tokenizer, config))
    columns = {name: [row[name] for row in found] for name in found[0] if not name.startswith("gold_")}
    for name in ("gold_tokens", "gold_sentences", "gold_documents"):
        for layer in found[0][name]:
            columns[f"{name}/{layer}"] = [row[name][layer] for row in found]
    columns["length"] = [max(len(row["ids"]), sum(map(len, row["targets"]))) for row in found]
    return Dataset.from_dict(columns)


def _tags(documents: Sequence[Document], windows: Sequence[Window], config: TaggerConfig) -> dict[str, list[list[int]]]:
    """Tag ids of every window for every layer of spans."""
    found: dict[str, list[list[int]]] = {}
    for name, layer in config.label_schema.of_kind(Kind.SPANS).items():
        found[name] = [[IGNORED] * len(window.offsets) for window in windows]
        for owners, places in texts(windows):
            spans = _gold_spans(documents, owners, name)
            if spans is not None:
                tags, _ = text_tags(spans, [windows[place] for place in places], layer.names)
                for place, own in zip(places, tags, strict=True):
                    found[name][place] = own
    return found


def keep_words(documents: Iterable[Document], schema: Schema) -> bool:
    """Whether the spans of these documents begin and end at the edges of words; one in a hundred may be a slip."""
    layers = schema.of_kind(Kind.SPANS)
    edges = [
        mid_word(document.text, span.start) or mid_word(document.text, span.end)
        for document in documents
        for name in layers
        for span in document.spans(name)
    ]
    return sum(edges) <= SLIPS * len(edges)


def _gold_spans(documents: Sequence[Document], owners: Sequence[int], name: str) -> tuple[Span, ...] | None:
    """The annotation of a text that several documents may share.

    Raises:
        DocumentError: two of them annotate the layer differently, so neither can be gold for the text.
    """
    annotated = [documents[owner] for owner in owners if name in documents[owner].labels]
    # Scores are no part of an annotation.
    marked = {tuple((span.start, span.end, span.label) for span in document.spans(name)) for document in annotated}
    if len(marked) > 1:
        names = " and ".join(repr(document.id) for document in annotated)
        raise DocumentError(
            names, f"have the same text and different spans in layer {name!r}; keep the annotation of one of them"
        )
    return annotated[0].spans(name) if annotated else None


def text_tags(
    spans: Sequence[Span], windows: Sequence[Window], labels: Sequence[str]
) -> tuple[list[list[int]], list[Span]]:
    """Tag ids of all windows of one text, and the spans that its tokens cannot represent.

    The text is tagged whole and then cut, so that a span across two windows is kept. Tokens under a span that cannot be
    represented are `IGNORED`: to call them outside would be wrong.
    """
    shown = [
        (line, place) for line, window in enumerate(windows) for place, (a, b) in enumerate(window.offsets) if a < b
    ]
    ids, unreachable = to_tags(spans, [windows[line].offsets[place] for line, place in shown], labels)
    tags = [[IGNORED] * len(window.offsets) for window in windows]
    for (line, place), tag in zip(shown, ids, strict=True):
        start, end = windows[line].offsets[place]
        lost = tag == 0 and any(span.start < end and start < span.end for span in unreachable)
        tags[line][place] = IGNORED if lost else tag
    return tags, unreachable


def unreachable(
    documents: Sequence[Document], tokenizer: PreTrainedTokenizerBase, config: TaggerConfig
) -> dict[str, list[str]]:
    """Gold spans that no tag sequence can express, layer by layer, each named with its document and text."""
    layers = config.label_schema.of_kind(Kind.SPANS)
    found: dict[str, list[str]] = {name: [] for name in layers}
    for document in documents:
        if not any(document.spans(name) for name in layers):
            continue
        windows = encode([document.model_copy(update={"target": None})], tokenizer, config)
        for name, layer in layers.items():
            for span in text_tags(document.spans(name), windows, layer.names)[1]:
                quote = document.text[span.start : span.end]
                found[name].append(f"{document.id} {span.start}–{span.end} {span.label} {quote!r}")
    return found


def _sentence_ids(documents: Sequence[Document], config: TaggerConfig) -> dict[str, list[list[int]]]:
    """Label ids of every sentence of every document for every layer of sentences."""
    layers = config.label_schema.of_kind(Kind.SENTENCES)
    return {
        name: [
            [IGNORED if label is None else layer.names.index(label) for label in sentence_labels(document, name)]
            for document in documents
        ]
        for name, layer in layers.items()
    }


def _document_id(document: Document, name: str, labels: Sequence[str]) -> int:
    label = document.labels.get(name)
    return labels.index(label.label) if isinstance(label, Label) else IGNORED


def collate_rows(rows: Sequence[Row], config: TaggerConfig, pad: int) -> dict[str, Any]:
    """Rows as the model's input, made by serving's own `collate`, with `gold` for the objective.

    `gold` holds for each layer of spans (W, T), of sentences (P,), of documents (P,) label ids, and `owners` (P,): which
    document of the data set a pair belongs to. The votes for a document are pooled over its windows in the batch.
    """
    windows = [
        Window(
            ids=row["ids"],
            first=row["first"],
            offsets=[(start, end) for start, end in row["offsets"]],
            units=[Unit(*unit) for unit in row["units"]],
            documents=row["documents"],
            targets=row["targets"],
        )
        for row in rows
    ]
    batch = collate(windows, range(len(windows)), pad)
    gold: dict[str, Tensor] = {}
    for name in config.label_schema.of_kind(Kind.SPANS):
        tags = torch.full_like(batch.input_ids, IGNORED)
        for line, (row, window) in enumerate(zip(rows, windows, strict=True)):
            own = row[f"gold_tokens/{name}"]
            tags[line, window.first : window.first + len(own)] = torch.tensor(own, dtype=torch.int64)
        gold[name] = tags
    for name in config.label_schema.of_kind(Kind.SENTENCES):
        gold[name] = torch.tensor([label for row in rows for label in row[f"gold_sentences/{name}"]], dtype=torch.int64)
    for name in config.label_schema.of_kind(Kind.DOCUMENT):
        labels = [label for row in rows for _ in row["units"] for label in row[f"gold_documents/{name}"]]
        gold[name] = torch.tensor(labels, dtype=torch.int64)
    owners = torch.tensor([document for document, _ in batch.rows], dtype=torch.int64)
    return {**batch.tensors(), "gold": gold, "owners": owners}
