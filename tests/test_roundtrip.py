"""Parity: gold through windows, tags and decoding comes back exactly; training, evaluation and serving see the same."""

from __future__ import annotations

from functools import partial
from itertools import pairwise

import numpy as np
import pytest
import torch
from conftest import annotate
from hypothesis import given
from hypothesis import strategies as st
from test_windows import ODD, TEXTS, TOKENIZERS

from annotations.document import Document, FrozenDict, Label, Labels, Span
from annotations.schema import Schema
from annotations.sentences import sentences
from inference.batches import batch_sizes, batches
from inference.config import TaggerConfig
from inference.decoding import decode, pool
from inference.model import Logits
from inference.tagger import Tagger
from inference.tags import _searched, best_tags, to_spans, to_tags
from inference.windows import encode
from training.data import collate_rows, dataset, rows, unreachable
from training.reports.evaluation import evaluate


@st.composite
def gold_documents(draw: st.DrawFn, schema: Schema) -> Document:
    """Any text with any flat spans, any sentence labels, any document label."""
    text = draw(TEXTS | st.sampled_from(ODD))
    cuts = sorted(draw(st.sets(st.integers(0, len(text)), max_size=12)))
    names = schema.layers["entity"].names
    spans = tuple(
        Span(start=a, end=b, label=draw(st.sampled_from(names))) for a, b in pairwise(cuts) if draw(st.booleans())
    )
    stance = tuple(
        Span(start=a, end=b, label=draw(st.sampled_from(schema.layers["stance"].names))) for a, b in sentences(text)
    )
    labels: dict[str, Labels] = {"entity": spans, "stance": stance}
    if stance:
        labels["document"] = Label(label=draw(st.sampled_from(schema.layers["document"].names)))
    return Document(id="x", text=text, target="A claim.", labels=labels)


@pytest.mark.parametrize("family", TOKENIZERS)
@given(data=st.data())
def test_perfect_logits_give_back_the_gold(
    family: str, data: st.DataObject, config: TaggerConfig, schema: Schema
) -> None:
    gold = data.draw(gold_documents(schema))
    tokenizer = TOKENIZERS[family]
    lost = unreachable([gold], tokenizer, config)["entity"]
    windows = encode([gold], tokenizer, config)
    found = list(rows([gold], tokenizer, config))
    answers = []
    for batch in batches(windows, partial(batch_sizes, budget=config.batch_tokens), tokenizer.pad_token_id):
        made = [dict(found[place]) for place in batch.windows]
        for row in made:
            for kind in ("gold_tokens", "gold_sentences", "gold_documents"):
                row.update({f"{kind}/{name}": value for name, value in row[kind].items()})
        collated = collate_rows(made, config, tokenizer.pad_token_id)
        assert all(torch.equal(collated[name], tensor) for name, tensor in batch.tensors().items())
        answers.append((batch, _perfect(collated["gold"], config)))
    decoded = decode([gold.model_copy(update={"labels": FrozenDict()})], windows, answers, config)[0]
    assert decoded.text == gold.text
    kept = [
        s for s in gold.spans("entity") if f"x {s.start}–{s.end} {s.label} {gold.text[s.start : s.end]!r}" not in lost
    ]
    assert [(s.start, s.end, s.label) for s in decoded.spans("entity")] == [(s.start, s.end, s.label) for s in kept]
    reached = {unit.sentence for window in windows for unit in window.units}
    wanted = [span for place, span in enumerate(gold.spans("stance")) if place in reached]
    assert [(s.start, s.end, s.label) for s in decoded.spans("stance")] == [(s.start, s.end, s.label) for s in wanted]
    if reached:
        assert decoded.labels["document"].label == gold.labels["document"].label  # type: ignore[union-attr]


def _perfect(gold: dict[str, torch.Tensor], config: TaggerConfig) -> Logits:
    def sure(ids: torch.Tensor, count: int) -> torch.Tensor:
        return 20.0 * torch.nn.functional.one_hot(ids.clamp(min=0), count)

    sizes = {name: len(layer.names) for name, layer in config.label_schema.layers.items()}
    return Logits(
        tokens={"entity": sure(gold["entity"], 1 + 2 * sizes["entity"])},
        sentences={"stance": sure(gold["stance"], sizes["stance"])},
        votes={"document": sure(gold["document"], sizes["document"])},
        weights={"document": torch.ones(len(gold["document"]))},
    )


@given(data=st.data())
def test_spans_on_token_boundaries_are_all_reachable(data: st.DataObject, config: TaggerConfig) -> None:
    text = data.draw(TEXTS)
    offsets = [o for w in encode([Document(id="x", text=text)], TOKENIZERS["byte-bpe"], config) for o in w.offsets]
    shown = [(start, end) for start, end in offsets if start < end]
    spans, place = [], 0
    while place < len(shown):
        last = data.draw(st.integers(place, min(place + 3, len(shown) - 1)))
        if data.draw(st.booleans()):
            spans.append(Span(start=shown[place][0], end=shown[last][1], label=data.draw(st.sampled_from("ab"))))
        place = last + 1
    tags, lost = to_tags(spans, shown, ["a", "b"])
    assert not lost
    again = to_spans(np.asarray(tags), np.ones(len(tags), np.float32), shown, ["a", "b"])
    assert [(s.start, s.end, s.label) for s in again] == [(s.start, s.end, s.label) for s in spans]


@given(st.integers(0, 12), st.integers(1, 3), st.randoms(use_true_random=False))
def test_viterbi_is_the_best_allowed_sequence(count: int, labels: int, random: object) -> None:
    rng = np.random.default_rng(random.randint(0, 2**31))  # type: ignore[attr-defined]
    count = min(count, 5)
    scores = rng.normal(size=(count, 1 + 2 * labels)).astype(np.float32)
    allowed = [path for path in np.ndindex(*[1 + 2 * labels] * count) if _iob2(path)]
    best = max(allowed, key=lambda path: sum(scores[step, tag] for step, tag in enumerate(path)))
    assert tuple(best_tags(scores).tolist()) == best


@given(st.lists(st.booleans(), max_size=5), st.integers(1, 3), st.integers(0, 2**31))
def test_viterbi_keeps_joined_tokens_together(joined: list[bool], labels: int, seed: int) -> None:
    scores = np.random.default_rng(seed).normal(size=(len(joined), 1 + 2 * labels)).astype(np.float32)
    paths = np.ndindex(*[1 + 2 * labels] * len(joined))
    allowed = [path for path in paths if _iob2(path) and not any(map(_parted, joined, (0, *path), path))]
    best = max(allowed, key=lambda path: sum(scores[step, tag] for step, tag in enumerate(path)))
    assert tuple(best_tags(scores, np.array(joined, dtype=np.bool_)).tolist()) == best


@given(st.integers(0, 80), st.integers(1, 4), st.sampled_from([0.3, 1, 3, 8]), st.integers(0, 4), st.integers(0, 2**31))
def test_searching_the_stretches_that_do_not_fit_is_searching_all(
    count: int, labels: int, sure: float, quiet: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    scores = (rng.normal(size=(count, 1 + 2 * labels)) * sure).astype(np.float32)
    scores[:, 0] += quiet
    for joined in (np.zeros(count, dtype=np.bool_), rng.random(count) < rng.random()):
        found = best_tags(scores, joined)
        assert found.tolist() == _searched(scores, joined.tolist()).tolist()
        assert not count or _iob2(found.tolist())


def _parted(joined: bool, before: int, tag: int) -> bool:
    return joined and (tag % 2 == 1 or (tag == 0) != (before == 0))


def _iob2(path: tuple[int, ...]) -> bool:
    return all(tag == 0 or tag % 2 or (before in (tag, tag - 1)) for before, tag in zip((0, *path), path, strict=False))


def test_pooling_over_batches_equals_pooling_at_once() -> None:
    votes, weights = torch.randn(6, 3), torch.rand(6) + 0.1
    owners = torch.tensor([0, 0, 1, 1, 1, 3])
    pooled = pool(votes, weights, owners, 4)
    for owner in (0, 1, 3):
        own = owners == owner
        expected = (votes[own] * weights[own].unsqueeze(-1)).sum(0) / weights[own].sum()
        assert torch.allclose(pooled[owner], expected)
    assert not pooled[2].any()


def test_training_rows_and_serving_give_the_same_logits(tagger: Tagger, config: TaggerConfig) -> None:
    texts = ["The Taliban met in Kabul. It was denied.", "Al-Qaeda is active. " * 30]
    documents = [annotate(str(n), text, [], target="A claim.", group=str(n)) for n, text in enumerate(texts)]
    data = dataset(documents, tagger.tokenizer, config)
    windows = encode(documents, tagger.tokenizer, config)
    pad = tagger.tokenizer.pad_token_id
    for batch in batches(windows, partial(batch_sizes, budget=config.batch_tokens), pad):
        collated = collate_rows([data[place] for place in batch.windows], config, pad)
        with torch.inference_mode():
            trained = tagger.engine.model.eval()(**{name: collated[name] for name in batch.tensors()})
        served = tagger.engine(batch)
        assert torch.equal(trained.tokens["entity"], served.tokens["entity"])
        assert torch.equal(trained.sentences["stance"], served.sentences["stance"])
        assert torch.equal(trained.votes["document"], served.votes["document"])


def test_evaluate_scores_what_tag_returns(tagger: Tagger) -> None:
    gold = [annotate("a", "The Taliban met al-Qaeda in Kabul.", [("Taliban", "MILITANT_GROUP")], target="A claim.")]
    report, predicted = evaluate(tagger, gold)
    again = tagger.tag(gold[0])
    assert predicted == [again]
    perfect = report.layers["entity"].compared.micro
    assert perfect.support == 1
    assert perfect.tp + perfect.fp == len(again.spans("entity"))
