"""The choices of the recipe: each changes what it says, the chain is the textbook's, tables come from pairs of runs."""

from __future__ import annotations

import itertools
import random
import sys
from copy import deepcopy
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from conftest import ROOT
from hypothesis import given
from hypothesis import strategies as st

from annotations.document import Document, Span
from inference.config import TaggerConfig
from inference.tagger import Tagger
from training.data import IGNORED

sys.path.insert(0, str(ROOT / "benchmarks"))
import recipe_choices
import recipe_variants
from encoder_runs import Encoder, Results, run
from public_slices import PROXY, cut

TEXT = "Ada Lovelace saw New York. Joe left."
NAMES = [("Ada Lovelace", "PER"), ("New York", "LOC"), ("Joe", "PER")]


def named() -> Document:
    spans = [Span(start=TEXT.index(name), end=TEXT.index(name) + len(name), label=label) for name, label in NAMES]
    return Document(id="a", text=TEXT, labels={"name": tuple(spans)})


def paths(length: int, width: int) -> list[tuple[int, ...]]:
    return list(itertools.product(range(width), repeat=length))


def worth(path: tuple[int, ...], scores: Any, moves: Any) -> float:
    steps = sum(float(scores[place, tag]) for place, tag in enumerate(path))
    return steps + sum(float(moves[one, other]) for one, other in itertools.pairwise(path))


@given(st.integers(1, 4), st.integers(0, 2**31))
def test_the_chain_is_scored_as_all_its_sequences(length: int, seed: int) -> None:
    torch.manual_seed(seed)
    scores, moves = torch.randn(1, length + 3, 3), torch.randn(3, 3)
    gold = torch.randint(0, 3, (1, length))
    # Context on the left and padding on the right are stepped over.
    labels = torch.cat([torch.full((1, 2), IGNORED), gold, torch.full((1, 1), IGNORED)], dim=1)
    loss = recipe_variants.chain_loss(
        SimpleNamespace(tokens={"name": scores}), {"name": labels}, labels, transitions=moves
    )
    own = scores[0, 2 : 2 + length]
    every = torch.logsumexp(torch.tensor([worth(path, own, moves) for path in paths(length, 3)]), dim=0)
    right = worth(tuple(gold[0].tolist()), own, moves)
    assert float(loss) == pytest.approx((float(every) - right) / length, abs=1e-4)


@given(st.lists(st.booleans(), min_size=1, max_size=4), st.integers(0, 2**31))
def test_the_best_chain_is_the_best_allowed_sequence(joined: list[bool], seed: int) -> None:
    rng = np.random.default_rng(seed)
    scores, moves = rng.normal(size=(len(joined), 5)), rng.normal(size=(5, 5))
    # The first token of a text goes on with nothing.
    joined[0] = False

    def allowed(path: tuple[int, ...]) -> bool:
        pairs = zip((0, *path), path, joined, strict=False)
        return all(
            (tag == 0 or tag % 2 == 1 or before in (tag, tag - 1))
            and not (together and (tag % 2 == 1 or (tag == 0) != (before == 0)))
            for before, tag, together in pairs
        )

    best = max(filter(allowed, paths(len(joined), 5)), key=lambda path: worth(path, scores, moves))
    assert tuple(recipe_variants.best_chain(scores, np.array(joined), moves=moves).tolist()) == best


def test_a_chain_is_read_by_its_own_search(tagger: Tagger) -> None:
    """One that allows no name finds none, alone and in a stream."""
    documents = [Document(id="a", text=TEXT), Document(id="b", text=TEXT)]
    assert any(found.spans("entity") for found in tagger.tag(documents))
    model = deepcopy(tagger.engine.model)
    size = model.span_heads["entity"].out_features
    model.transitions = torch.nn.Parameter(torch.full((size, size), -1e6))
    model.transitions.data[0, 0] = 1e6
    chain = recipe_variants.ChainTagger(model, tagger.tokenizer, tagger.config)
    assert not any(found.spans("entity") for found in [*chain.tag(documents), chain.tag(documents[0])])


@given(st.integers(0, 2**31))
def test_replaced_mentions_are_where_their_spans_say(seed: int) -> None:
    mentions = {"PER": ["Karim", "Lina of Oslo"], "LOC": ["Rome"]}
    changed = recipe_variants.with_other_mentions(named(), "name", mentions, random.Random(seed))
    found = [(changed.text[span.start : span.end], span.label) for span in changed.spans("name")]
    assert [label for _, label in found] == ["PER", "LOC", "PER"]
    for (name, label), (before, _) in zip(found, NAMES, strict=True):
        assert name == before or name in mentions[label]
    rest = changed.text
    for name, _ in found:
        rest = rest.replace(name, "*", 1)
    assert rest == "* saw *. * left."


def test_other_case_keeps_offsets() -> None:
    draw = random.Random(0)
    texts = {recipe_variants.in_other_case(named(), "name", {}, draw).text for _ in range(20)}
    assert texts == {TEXT.lower(), TEXT.upper()}
    longer = Document(id="a", text="Stra\u00dfe", labels={"name": ()})
    kept = {recipe_variants.in_other_case(longer, "name", {}, draw).text for _ in range(20)}
    assert kept == {"stra\u00dfe", "Stra\u00dfe"}


def test_average_lies_between_the_weights_on_the_way() -> None:
    model = torch.nn.Linear(1, 1, bias=False)
    average = recipe_variants._Average(0.5)
    state = SimpleNamespace(global_step=100)
    with torch.no_grad():
        model.weight.fill_(0)
        average.on_train_begin(None, state, None, model=model)
        for value in (4.0, 8.0):
            model.weight.fill_(value)
            average.on_step_end(None, state, None, model=model)
    average.on_train_end(None, state, None, model=model)
    assert model.weight.item() == 5.0


def test_windows_overlap_again_when_tagging(tiny: Path, data: Path, config: TaggerConfig) -> None:
    seen: list[TaggerConfig] = []

    def learn(*given: Any) -> Any:
        tagger = recipe_variants.without_overlap(*given)
        seen.extend([given[0].tagger, tagger.config])
        return tagger

    run(Encoder.parse(str(tiny)), PROXY["conll"](data), 0, {"epochs": 1}, learn)
    assert seen[0].window == seen[1].window and seen[1].window.context > 0


@pytest.mark.parametrize("name", ["conll", "newsmtsc"])
def test_every_choice_trains_and_tags(name: str, tiny: Path, data: Path, tmp_path: Path) -> None:
    split = PROXY[name](data)
    # What is tried on names and sentences alike goes one way: once will do.
    others = recipe_choices.NAMES if name == "newsmtsc" else {}
    for choice in (choice for choice in recipe_choices.choices_for(split.kind) if choice not in others):
        row = recipe_choices.measure(Results(tmp_path), Encoder.parse(str(tiny)), split, 3, 0, choice, {"epochs": 1})
        assert row and 0 <= row["score"] <= 1, choice


def test_each_seed_learns_from_other_documents_than_it_is_scored_on(data: Path) -> None:
    whole = PROXY["conll"](data)
    first, again, other = (cut(whole, 3, seed) for seed in (0, 0, 5))
    assert first == again and first.learned != other.learned
    assert first.scored == other.scored == whole.scored


def test_differences_are_of_pairs() -> None:
    def row(choice: str, name: str, seed: int, score: float) -> dict[str, Any]:
        return {"choice": choice, "set": name, "seed": seed, "score": score, "kind": "spans", "learning_cpu_seconds": 2}

    rows = [row("plain", name, seed, base) for name, seed, base in (("A", 0, 0.5), ("A", 1, 0.6), ("B", 0, 0.2))]
    rows += [row("other", name, seed, score) for name, seed, score in (("A", 0, 0.51), ("A", 1, 0.63), ("B", 0, 0.22))]
    lines = recipe_choices.table(rows).splitlines()
    assert lines[2] == "| plain | 55.0 | 20.0 | – | – | 2 |"
    assert lines[3] == "| other | +2.0 | +2.0 | +2.0 ± 0.6 | 3 | 2 |"


def test_the_table_is_made_end_to_end(
    tiny: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ["--data", str(data), "--encoder", str(tiny), "--runs", str(tmp_path / "runs"), "--seeds", "0"]
    given += ["--sets", "conll", "--lines", "3", "--save", str(tmp_path / "table"), "--choices", "half the passes"]
    recipe_choices.main(given)
    shown = capsys.readouterr().out
    assert "| plain |" in shown and "| half the passes |" in shown
    assert shown.strip() in (tmp_path / "table.md").read_text()
    recipe_choices.main([*given[:-2], "--finished"])
    assert capsys.readouterr().out == shown
    with pytest.raises(SystemExit, match="2"):
        recipe_choices.main([*given, "--choices", "luck"])
    assert "'luck' is no choice" in capsys.readouterr().err
