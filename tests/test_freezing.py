"""Frozen layers: their weights come out as they went in, the others learn, and what cannot be frozen is named."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import FAMILIES
from test_bad_input import refused
from test_lora import run_of
from test_main_path import gold, write_run
from torch.nn import ModuleList
from transformers import AlbertConfig, AlbertModel

from annotations.errors import ConfigError
from annotations.storage import write_jsonl
from inference import checkpoint
from inference.config import TaggerConfig
from training.config import RunConfig
from training.depth import freeze, thaw
from training.preflight.run import preflight
from training.trainer import check_arguments, fine_tune

Encoders = Callable[[str], Path]


def run_frozen(config: TaggerConfig, encoder: Path, layers: int, **more: Any) -> RunConfig:
    trainer = {"disable_tqdm": True, "save_strategy": "no", **more}
    return run_of(config, encoder, lora=None, epochs=2, frozen_layers=layers, trainer=trainer)


@pytest.mark.parametrize("sparing", [False, True])
@pytest.mark.parametrize("architecture", FAMILIES)
def test_frozen_layers_stay_and_the_others_learn_in_every_family(
    architecture: str, sparing: bool, encoders: Encoders, config: TaggerConfig, tmp_path: Path
) -> None:
    run = run_frozen(config, encoders(architecture), 1, activation_checkpointing=sparing)
    before, _ = checkpoint.from_encoder(run.encoder, config, 0.1)
    model = fine_tune(run, gold(2), tmp_path).engine.model
    count = model.encoder.config.num_hidden_layers
    (layers,) = (part for part in model.encoder.modules() if isinstance(part, ModuleList) and len(part) == count)
    still = {id(part) for part in [*layers[0].parameters(), *model.encoder.get_input_embeddings().parameters()]}
    learning = {id(part) for part in layers[1].parameters() if part.ndim > 1}
    for name, weight in model.named_parameters():
        same = torch.equal(weight, before.get_parameter(name))
        assert same or id(weight) not in still, name
        assert not same or id(weight) not in learning, name
        assert weight.requires_grad, name


def test_nothing_is_kept_for_the_way_back_through_frozen_layers(encoders: Encoders, config: TaggerConfig) -> None:
    model, _ = checkpoint.from_encoder(str(encoders("bert")), config, 0.1)
    ids = torch.ones(1, 4, dtype=torch.int64)
    freeze(model, 2)
    assert not model.encode(ids, ids).requires_grad
    thaw(model)
    freeze(model, 1)
    assert model.encode(ids, ids).requires_grad
    embedded, first, second = model.encoder(ids, ids, output_hidden_states=True).hidden_states
    assert not embedded.requires_grad and not first.requires_grad and second.requires_grad


def test_what_cannot_be_frozen_is_named(encoders: Encoders, config: TaggerConfig, tmp_path: Path) -> None:
    model, tokenizer = checkpoint.from_encoder(str(encoders("bert")), config, 0.1)
    with pytest.raises(ConfigError, match="is 3, but the encoder has 2 layers; take at most 2"):
        freeze(model, 3)
    shared = AlbertConfig(vocab_size=len(tokenizer), hidden_size=16, num_attention_heads=2, intermediate_size=16)
    checkpoint.save(tmp_path / "albert", AlbertModel(shared), tokenizer)
    model, _ = checkpoint.from_encoder(str(tmp_path / "albert"), config, 0.1)
    with pytest.raises(ConfigError, match="layers share their weights"):
        freeze(model, 1)
    for other, settings in {"lora": {"lora": {}}, "trainer.fsdp": {"trainer": {"fsdp": True}}}.items():
        with pytest.raises(ConfigError, match=f"frozen_layers.*does not go with {other}"):
            check_arguments(run_of(config, encoders("bert"), **{"lora": None, "frozen_layers": 1} | settings), tmp_path)


def test_check_counts_what_learns_and_both_refuse_too_many(encoders: Encoders, tmp_path: Path) -> None:
    write_jsonl(tmp_path / "gold.jsonl", gold(2))
    path = write_run(tmp_path, "configs/schema.yaml", tmp_path / "gold.jsonl", encoders("bert"), frozen_layers=2)
    cost = preflight(path).facts["cost"]
    assert cost["trainable_parameters"] < cost["parameters"] / 2
    assert [problem.where for problem in preflight(path, ["frozen_layers=3"], quick=True).problems] == ["frozen_layers"]
    assert "take at most 2" in refused("train", path, "frozen_layers=3")
