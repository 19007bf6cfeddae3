"""Logits back to labelled documents. It knows tags, probabilities and offsets, not the network that made the logits."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import compress

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from annotations.document import Document, Label, Labels, Span
from annotations.lint.edges import mid_word
from annotations.schema import Kind, Layer
from annotations.sentences import Bounds, sentences
from inference.batches import Batch
from inference.config import TaggerConfig
from inference.model import Logits
from inference.tags import DIGITS, Bools, Floats, Offsets, best_tags, to_spans
from inference.windows import Window, texts

Row = npt.NDArray[np.float64]
Answer = tuple[Batch, Logits]


def decode(
    documents: Sequence[Document], windows: Sequence[Window], answers: Sequence[Answer], config: TaggerConfig
) -> list[Document]:
    """The documents with predicted labels in every layer that they can have one in.

    A targeted layer of a document without target, and a document layer of a text without sentences, stay unannotated. The
    config's temperatures change the probabilities alone: labels are chosen from the logits as they are.
    """
    labels: list[dict[str, Labels]] = [{} for _ in documents]
    for name, layer in config.label_schema.layers.items():
        if layer.kind is Kind.SPANS:
            predicted = _spans(name, layer, documents, windows, answers, config)
        elif layer.kind is Kind.SENTENCES:
            predicted = _sentences(name, layer, documents, answers, config)
        else:
            predicted = _documents(name, layer, documents, answers, config)
        for place, value in predicted:
            if not layer.targeted or documents[place].target is not None:
                labels[place][name] = value
    return [document.with_labels(own) for document, own in zip(documents, labels, strict=True)]


def pool(votes: Tensor, weights: Tensor, owners: Tensor, count: int) -> Tensor:
    """The weighted mean of the votes that each owner holds: attention pooling over units (Ilse et al., 2018).

    Shape: votes (P, K), weights (P,), owners (P,) int64; result (count, K), zeros for an owner without votes.
    """
    total = votes.new_zeros(count, votes.shape[1]).index_add(0, owners, votes * weights.unsqueeze(-1))
    mass = weights.new_zeros(count).index_add(0, owners, weights)
    return total / mass.clamp(min=1e-9).unsqueeze(-1)


def token_logits(
    name: str, windows: Sequence[Window], answers: Sequence[Answer]
) -> Iterator[tuple[list[int], Tensor, Offsets]]:
    """For each text: which documents share it, and the logits and offsets of its tokens that show something.

    Every token comes once, from the window where it is not context. Shape: logits (tokens, tags).
    """
    found: dict[int, Tensor] = {}
    for batch, logits in answers:
        for line, place in enumerate(batch.windows):
            window = windows[place]
            assert logits.tokens is not None
            found[place] = logits.tokens[name][line, window.first : window.first + len(window.offsets)]
    for owners, places in texts(windows):
        offsets = [offset for place in places for offset in windows[place].offsets]
        tokens = torch.cat([found[place] for place in places]).float()
        shown = [start < end for start, end in offsets]
        if not all(shown):
            tokens, offsets = tokens[torch.tensor(shown)], list(compress(offsets, shown))
        yield owners, tokens, offsets


def _spans(
    name: str,
    layer: Layer,
    documents: Sequence[Document],
    windows: Sequence[Window],
    answers: Sequence[Answer],
    config: TaggerConfig,
) -> Iterator[tuple[int, Labels]]:
    spans: dict[int, Labels] = dict.fromkeys(range(len(documents)), ())
    for owners, logits, offsets in token_logits(name, windows, answers):
        joined = within_words(documents[owners[0]].text, offsets) if config.whole_words else None
        found = text_spans(logits, offsets, layer, joined, config.temperatures.get(name, 1.0))
        spans |= dict.fromkeys(owners, found)
    yield from spans.items()


def within_words(text: str, offsets: Offsets) -> Bools:
    """Which tokens go on with the word of the token before. Shape: (tokens,)."""
    return np.array([mid_word(text, start) for start, _ in offsets], dtype=np.bool_)


def text_spans(
    logits: Tensor, offsets: Offsets, layer: Layer, joined: Bools | None, temperature: float = 1.0
) -> tuple[Span, ...]:
    """Spans of one whole text: windows are joined before the best path is sought, so none is cut at a window's edge."""
    plain: Floats = logits.numpy()
    tags = best_tags(plain, joined)
    scores = np.exp(log_softmax(np.divide(plain, temperature, dtype=np.float32))[np.arange(len(tags)), tags])
    return tuple(to_spans(tags, scores, offsets, layer.names))


def log_softmax(logits: Floats) -> Floats:
    """Logarithms of probabilities. Shape: (tokens, tags) to the same."""
    shifted = logits - logits.max(axis=-1, keepdims=True)
    likely: Floats = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    return likely


def sentence_logits(name: str, answers: Sequence[Answer]) -> Iterator[tuple[int, int, Row]]:
    """Document, sentence and logits of every sentence, in order; one cut into pieces has the mean over its tokens.

    Shape: logits (labels,).
    """
    pieces: dict[tuple[int, int], list[tuple[Row, int]]] = defaultdict(list)
    for batch, logits in answers:
        assert logits.sentences is not None
        rows: Row = logits.sentences[name].float().numpy().astype(np.float64)
        sizes = (batch.units >= 0).sum(1)[batch.pairs[:, 0]].tolist()
        for key, row, size in zip(batch.rows, rows, sizes, strict=True):
            pieces[key].append((row, size))
    for (place, sentence), parts in sorted(pieces.items(), key=lambda item: item[0]):
        [whole, _], *more = parts
        if more:
            whole = np.average([row for row, _ in parts], axis=0, weights=[size for _, size in parts])
        yield place, sentence, whole


def _sentences(
    name: str, layer: Layer, documents: Sequence[Document], answers: Sequence[Answer], config: TaggerConfig
) -> Iterator[tuple[int, Labels]]:
    found: dict[int, list[tuple[int, Label]]] = {place: [] for place in range(len(documents))}
    for place, sentence, logits in sentence_logits(name, answers):
        found[place].append((sentence, choose(logits, layer, config.temperatures.get(name, 1.0))))
    for place, own in found.items():
        bounds = sentences(documents[place].text)
        yield place, tuple(_sentence(bounds[sentence], best) for sentence, best in own)


def _sentence(bounds: Bounds, best: Label) -> Span:
    return Span(start=bounds.start, end=bounds.end, label=best.label, score=best.score)


def _documents(
    name: str, layer: Layer, documents: Sequence[Document], answers: Sequence[Answer], config: TaggerConfig
) -> Iterator[tuple[int, Labels]]:
    for place, logits in document_logits(name, len(documents), answers):
        yield place, choose(logits, layer, config.temperatures.get(name, 1.0))


def document_logits(name: str, count: int, answers: Sequence[Answer]) -> Iterator[tuple[int, Row]]:
    """Place and pooled logits of each of `count` documents that has a sentence. Shape: logits (labels,)."""
    if not answers:
        return
    votes = torch.cat([logits.votes[name].float() for _, logits in answers if logits.votes is not None])
    weights = torch.cat([logits.weights[name].float() for _, logits in answers if logits.weights is not None])
    owners = torch.tensor([document for batch, _ in answers for document, _ in batch.rows], dtype=torch.int64)
    pooled = pool(votes, weights, owners, count).numpy().astype(np.float64)
    for place in sorted(set(owners.tolist())):
        yield place, pooled[place]


def choose(logits: Row, layer: Layer, temperature: float = 1.0) -> Label:
    """The likeliest label, and its probability at a temperature (Guo et al., 2017), rounded. Shape: logits (labels,)."""
    best = int(logits.argmax())
    likely = np.exp((logits - logits.max()) / temperature)
    return Label(label=layer.names[best], score=round(float(likely[best] / likely.sum()), DIGITS))
