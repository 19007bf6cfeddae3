"""The parts of masked-LM pretraining: schedule, masking, sequences, first embeddings, the network, the curve."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from conftest import FAMILIES, make_tokenizer, seed_text
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from transformers import AutoModelForMaskedLM

from annotations.errors import CheckpointError, ConfigError
from training.pretraining import schedule
from training.pretraining.config import Masking, PretrainConfig, PretrainOptimizer, Shape
from training.pretraining.cooccurrence import embeddings
from training.pretraining.curve import svg
from training.pretraining.masking import Pieces, hide, pieces
from training.pretraining.network import MaskedLM, known_model, new_model, optimizers, set_embeddings
from training.pretraining.schedule import Progress
from training.pretraining.state import begin
from training.pretraining.stream import Sequences
from training.pretraining.tokenizer import train_tokenizer


@given(st.floats(0, 1), st.floats(0, 0.4), st.floats(0.01, 0.6))
def test_the_rate_rises_stays_and_falls(done: float, warmup: float, decay: float) -> None:
    settings = PretrainOptimizer(warmup=warmup, decay=decay)
    rate = schedule.rate(settings, done)
    assert 0 <= rate <= 1
    if warmup <= done <= 1 - decay:
        assert rate == pytest.approx(1)
    assert schedule.rate(settings, 1.0) == 0
    assert schedule.decaying(settings, done) == (done > 1 - decay)


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"minutes": 1, "steps": 2}, "not as both"),
        ({}, "as `minutes` or as `steps`"),
        ({"steps": 2, "lengths": [[0.1, 64]]}, "begin with 0 and rise"),
        ({"steps": 2, "lengths": [[0, 64], [0.5, 1024]]}, "1024 is longer than shape.positions=512"),
        ({"steps": 2, "batch_tokens": [[0, 64]]}, "one sequence of 256"),
        ({"steps": 2, "shape": {"width": 100, "heads": 4}}, "no even multiple"),
        ({"steps": 2, "encoder": "default", "tokenizer": "x"}, "drop `tokenizer`"),
        ({"steps": 2, "optimizer": {"warmup": 0.7, "decay": 0.7}}, "more than the whole run"),
    ],
)
def test_settings_that_cannot_work_are_told(values: dict[str, object], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        PretrainConfig.build({"corpora": [{"path": "x"}], "output": "y", **values}, where="test")


def test_stages_and_masking_follow_the_budget() -> None:
    config = PretrainConfig.build({"corpora": [{"path": "x"}], "output": "y", "minutes": 2}, where="test")
    assert schedule.fraction(config, Progress(seconds=60)) == 0.5
    assert [schedule.stage(config.lengths, done) for done in (0, 0.84, 0.85, 1)] == [128, 128, 256, 256]
    assert [schedule.masked_share(config.masking, done) for done in (0, 1)] == [0.30, 0.15]


@pytest.mark.parametrize("family", sorted(set(FAMILIES.values())))
def test_word_beginnings_are_those_of_the_text(family: str) -> None:
    tokenizer = make_tokenizer(family)
    found = pieces(tokenizer, len(tokenizer) + 7)
    text = " ".join(word for word in seed_text().split()[:400] if word.isalpha() and word.isascii())
    made = tokenizer(text, return_offsets_mapping=True, add_special_tokens=False)
    for place, ((start, end), token) in enumerate(zip(made["offset_mapping"], made["input_ids"], strict=True)):
        begins = place == 0 or text[start:end][:1] == " " or text[start - 1 : start] in ("", " ")
        # A space alone is a piece in some vocabularies; the word's first letters then follow it.
        if text[start:end].strip() and text[max(0, start - 1) : start] != " ":
            assert bool(found.begins[token]) == begins or place == 0
    assert found.special[tokenizer.mask_token_id] and found.special[len(tokenizer) :].all()


@pytest.fixture
def known() -> Pieces:
    special = torch.zeros(100, dtype=torch.bool)
    special[:5] = True
    begins = torch.arange(100) % 2 == 0
    return Pieces(special, begins, 4)


@pytest.mark.parametrize("unit", ["token", "word", "span"])
def test_masking_hides_the_share_and_no_special_token(unit: str, known: Pieces) -> None:
    ids = torch.randint(0, 100, (80, 128), generator=torch.Generator().manual_seed(0))
    masking = Masking.model_validate({"unit": unit})
    shown, chosen = hide(ids, known, masking, 0.3, torch.Generator().manual_seed(1))
    assert not chosen[ids < 5].any()
    assert chosen[ids >= 5].float().mean().item() == pytest.approx(0.3, abs=0.03)
    assert torch.equal(shown[~chosen], ids[~chosen])
    assert (shown[chosen] == 4).float().mean().item() == pytest.approx(0.8, abs=0.03)
    assert (shown[chosen] == ids[chosen]).float().mean().item() == pytest.approx(0.1, abs=0.03)
    assert ((shown[chosen] == 4) | (shown[chosen] >= 5)).all()
    again, _ = hide(ids, known, masking, 0.3, torch.Generator().manual_seed(1))
    assert torch.equal(shown, again)


@given(st.lists(st.integers(0, 99), min_size=1, max_size=60), st.integers(0, 1000))
def test_a_word_is_hidden_whole_or_not_at_all(row: list[int], seed: int) -> None:
    special = torch.arange(100) < 5
    known = Pieces(special, torch.arange(100) % 2 == 0, 4)
    _, chosen = hide(torch.tensor([row]), known, Masking(unit="word"), 0.5, torch.Generator().manual_seed(seed))
    for place in range(1, len(row)):
        inside = row[place] % 2 == 1 and row[place] >= 5 and row[place - 1] >= 5
        if inside:
            assert chosen[0, place] == chosen[0, place - 1]


def test_spans_are_longer_than_words(known: Pieces) -> None:
    ids = torch.full((50, 200), 10)

    def runs(masking: Masking) -> float:
        _, chosen = hide(ids, known, masking, 0.2, torch.Generator().manual_seed(0))
        starts = chosen[:, 1:] & ~chosen[:, :-1]
        return float(chosen.sum() / (starts.sum() + chosen[:, 0].sum()))

    assert runs(Masking(unit="word")) == pytest.approx(1.25, abs=0.1)
    assert runs(Masking(unit="span", span=4.0)) == pytest.approx(5.0, abs=0.6)


@given(st.integers(70, 400), st.integers(8, 32), st.integers(0, 5))
def test_a_pass_reads_every_place_once_and_the_next_in_another_order(count: int, length: int, seed: int) -> None:
    sequences = Sequences(torch.arange(10, 10 + count, dtype=torch.int32), 2, seed)
    size = length - 1
    a_pass = (count - size) // size
    rows = sequences.take(length, range(2 * a_pass))
    assert rows.shape == (2 * a_pass, length)
    assert (rows[:, 0] == 2).all()
    for part in (rows[:a_pass, 1:], rows[a_pass:, 1:]):
        assert len(set(part.flatten().tolist())) == part.numel()
        assert part.min() >= 10 and part.max() < 10 + count
    shared = torch.cat([sequences.take(length, range(i, i + 1)) for i in range(2 * a_pass)])
    assert torch.equal(rows, shared)


def test_too_little_text_is_told() -> None:
    with pytest.raises(ConfigError, match="too few for sequences of 128"):
        Sequences(torch.arange(50), 2, 0).take(128, range(1))


def test_pieces_in_like_company_get_near_vectors() -> None:
    generator = torch.Generator().manual_seed(0)
    # 10 and 11 stand between the same neighbours; 12 between others.
    rows = []
    for _ in range(3000):
        kind = int(torch.randint(3, (), generator=generator))
        left, right = ((20, 21), (20, 21), (30, 31))[kind]
        noise = torch.randint(40, 60, (6,), generator=generator).tolist()
        rows += [left, 10 + kind, right, *noise]
    vectors = embeddings(torch.tensor(rows), 64, 8, torch.arange(64) < 5)
    assert vectors.shape == (64, 8)
    assert float(vectors[10] @ vectors[11]) > 0.9 > 0.3 > float(vectors[10] @ vectors[12])
    assert not vectors[:5].any() and not vectors[63].any()
    assert torch.equal(vectors, embeddings(torch.tensor(rows), 64, 8, torch.arange(64) < 5))


def test_first_embeddings_keep_the_size_of_random_ones() -> None:
    tokenizer = train_tokenizer(iter(seed_text().splitlines()), Shape(vocabulary=500))
    network = MaskedLM(new_model(Shape(layers=1, width=32, intermediate=48, heads=2), tokenizer))
    weight: Tensor = network.encoder.get_input_embeddings().weight
    before, size = weight.detach().clone(), weight.norm(dim=1).mean().item()
    vectors = torch.nn.functional.normalize(torch.randn(weight.shape), dim=1)
    vectors[7] = 0
    special = torch.arange(len(weight)) < 5
    set_embeddings(network, vectors, special)
    assert weight.norm(dim=1).mean().item() == pytest.approx(size, rel=0.1)
    assert torch.equal(weight[:5], before[:5]) and torch.equal(weight[7], before[7])
    cosines = torch.nn.functional.cosine_similarity(weight[8:], vectors[8:])
    assert torch.allclose(cosines, torch.ones_like(cosines), atol=1e-5)


@pytest.mark.parametrize("architecture", sorted(FAMILIES))
def test_the_loss_is_that_of_transformers(architecture: str, encoders: Callable[[str], Path]) -> None:
    folder = str(encoders(architecture))
    torch.manual_seed(0)
    theirs = AutoModelForMaskedLM.from_pretrained(folder, dtype=torch.float32).eval()
    torch.manual_seed(0)
    told: list[str] = []
    ours = MaskedLM(known_model(folder, told.append)).eval()
    assert len(told) == 1 and "without its predictor" in told[0]
    ids = torch.randint(5, 300, (3, 20), generator=torch.Generator().manual_seed(0))
    chosen = torch.rand(ids.shape, generator=torch.Generator().manual_seed(1)) < 0.3
    shown = torch.where(chosen, 4, ids)
    with torch.no_grad():
        expected = theirs(input_ids=shown, labels=torch.where(chosen, ids, -100)).loss
        found = ours(shown, chosen, ids)
    assert found.item() == pytest.approx(expected.item(), abs=1e-4)


def test_an_encoder_that_is_not_there_is_told() -> None:
    with pytest.raises(CheckpointError, match="cannot go on with masked-LM"):
        known_model("/nowhere/at/all", print)


@pytest.mark.parametrize("name", ["muon", "adamw"])
def test_every_weight_learns_and_only_matrices_decay(name: str, encoders: Callable[[str], Path]) -> None:
    network = MaskedLM(known_model(str(encoders("modernbert")), print))
    made = optimizers(network, PretrainOptimizer.model_validate({"name": name}))
    groups = [group for optimizer in made for group in optimizer.param_groups]
    held = [parameter for group in groups for parameter in group["params"]]
    assert {id(p) for p in held} == {id(p) for p in network.parameters()} and len(held) == len(set(map(id, held)))
    assert all((group["weight_decay"] > 0) == (parameter.ndim > 1) for group in groups for parameter in group["params"])
    muon = [
        p for optimizer in made if isinstance(optimizer, torch.optim.Muon) for p in optimizer.param_groups[0]["params"]
    ]
    table = network.encoder.get_input_embeddings().weight
    assert bool(muon) == (name == "muon") and all(p is not table and p.ndim == 2 for p in muon)


def test_the_average_follows_and_is_there_inside_the_block_only(encoders: Callable[[str], Path]) -> None:
    network = MaskedLM(known_model(str(encoders("bert")), print))
    state = begin(network, [], 0.9)
    parameter = next(network.parameters())
    before = parameter.detach().clone()
    state.progress.step = 10_000
    with torch.no_grad():
        parameter.add_(1.0)
    state.follow(0.9)
    with state.averaged():
        assert torch.allclose(parameter, before + 0.1, atol=1e-5)
    assert torch.allclose(parameter, before + 1.0)
    assert torch.allclose(state.average[0], before + 0.1, atol=1e-5)


@given(
    st.lists(st.tuples(st.integers(1, 10**9), st.floats(0.01, 12)), min_size=1, max_size=2000),
    st.booleans(),
)
def test_the_curve_is_a_picture(points: list[tuple[int, float]], held_out: bool) -> None:
    drawn = ET.fromstring(svg(points, points[:1] if held_out else [], [(x, 0.5) for x, _ in points]))
    for line in drawn.iter("{http://www.w3.org/2000/svg}polyline"):
        for pair in (line.get("points") or "").split():
            x, y = map(float, pair.split(","))
            assert 0 <= x <= 720 and 0 <= y <= 400
