"""The numbers that a config leaves open fit the encoder, are told, and are the measured ones for the default encoder."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from conftest import FAMILIES, ROOT
from test_main_path import gold, write_run
from transformers import AutoConfig

from annotations.errors import CheckpointError
from annotations.storage import write_jsonl
from inference import checkpoint, hardware
from inference.config import TaggerConfig
from inference.tagger import Tagger
from training.config import RunConfig
from training.preflight.report import text
from training.preflight.run import preflight
from training.pretraining.loop import Loop
from training.recipe import FAMILIES as RATES
from training.recipe import SIZES, Encoder, is_open, look_at, recipe_for, resolved
from training.runs import train

HUB = {
    "bert": ({}, 110, "base", 5e-5),
    "roberta": ({"vocab_size": 50265, "max_position_embeddings": 514}, 125, "base", 3e-5),
    "xlm-roberta": ({"vocab_size": 250002, "max_position_embeddings": 514}, 278, "base", 3e-5),
    "distilbert": ({}, 66, "medium", 5e-5),
    "albert": (
        {"hidden_size": 768, "num_attention_heads": 12, "intermediate_size": 3072, "embedding_size": 128},
        12,
        "base",
        5e-5,
    ),
    "electra": ({}, 13, "small", 3e-4),
    "modernbert": ({}, 149, "base", 5e-5),
    "deberta-v2": (
        {
            "vocab_size": 128100,
            "hidden_size": 768,
            "num_hidden_layers": 12,
            "num_attention_heads": 12,
            "intermediate_size": 3072,
        },
        184,
        "base",
        2e-5,
    ),
}
"""`model_type` of a hub encoder to what its config says, its parameters in millions, and what is chosen for it."""


def config_of(encoder: str, *overrides: str) -> RunConfig:
    return RunConfig.load(ROOT / "configs" / "train.yaml", [f"encoder={encoder}", *overrides])


def test_the_default_encoder_has_the_numbers_that_were_measured() -> None:
    found = resolved(config_of("default"))
    assert (found.optimizer.lr, found.optimizer.head_lr, found.optimizer.warmup) == (5e-4, 2e-3, 0.1)
    assert (found.optimizer.weight_decay, found.optimizer.layer_decay, found.epochs) == (0.01, 0.8, 30)


@pytest.mark.parametrize("family", HUB)
def test_a_hub_encoder_is_known_by_its_config_alone(family: str, tmp_path: Path) -> None:
    values, millions, size, lr = HUB[family]
    AutoConfig.for_model(family, **values).save_pretrained(tmp_path)
    encoder = look_at(str(tmp_path))
    assert encoder.family == family
    assert round(encoder.parameters / 1e6) == pytest.approx(millions, abs=1)
    assert recipe_for(encoder).size == size
    assert resolved(config_of(str(tmp_path))).optimizer.lr == lr


@pytest.mark.parametrize("family", FAMILIES)
def test_parameters_are_those_of_the_loaded_encoder(
    family: str, encoders: Callable[[str], Path], config: TaggerConfig
) -> None:
    model, _ = checkpoint.from_encoder(str(encoders(family)), config, 0.1)
    found = look_at(str(encoders(family)))
    assert found.parameters == sum(weight.numel() for weight in model.encoder.parameters())
    assert found.parameters - found.body == model.encoder.get_input_embeddings().weight.numel()


def test_a_taggers_folder_counts_as_its_encoder(
    tmp_path: Path, tagger: Tagger, encoders: Callable[[str], Path]
) -> None:
    checkpoint.save(tmp_path / "ck", tagger.engine.model, tagger.tokenizer)
    assert look_at(str(tmp_path / "ck")) == look_at(str(encoders("modernbert")))


def test_larger_encoders_never_learn_faster() -> None:
    for family in [*RATES, "anything else"]:
        rates = [recipe_for(Encoder(family, 0, int(min(size.parameters, 10**9)))) for size in SIZES]
        for smaller, larger in pairwise(rates):
            assert larger.lr <= smaller.lr and larger.lora_lr <= smaller.lora_lr and larger.head_lr <= smaller.head_lr
    assert {size for own in RATES.values() for size in own} <= {size.size for size in SIZES}


def test_what_a_config_says_stands(encoders: Callable[[str], Path]) -> None:
    own = ["optimizer.lr=1e-3", "epochs=2", "lora.rank=4"]
    found = resolved(config_of(str(encoders("bert")), *own))
    assert (found.optimizer.lr, found.optimizer.head_lr, found.epochs) == (1e-3, 2e-3, 2)
    assert found.lora and found.lora.lr == 2e-3
    rates = ["optimizer.head_lr=1e-3", "optimizer.layer_decay=1", "lora.lr=1e-4"]
    whole = config_of("no/such-encoder", *own, *rates, "bf16=false")
    assert not is_open(whole)
    # Nothing is open, so the encoder is not looked for.
    assert resolved(whole) is whole
    with pytest.raises(CheckpointError, match="neither a complete folder nor a reachable hub model"):
        resolved(config_of("no/such-encoder"))


@pytest.mark.parametrize(
    ("found", "multiplies", "gains"),
    [
        ({}, False, False),
        ({"avx512_bf16": False, "amx_bf16": False}, False, False),
        ({"avx512_bf16": True}, True, True),
        ({"avx512_bf16": True, "cpu_name": "AMD EPYC"}, True, True),
        ({"avx512_bf16": True, "amx_bf16": False, "cpu_name": "Intel Xeon"}, True, False),
        ({"avx512_bf16": True, "amx_bf16": True, "cpu_name": "Intel Xeon"}, True, True),
    ],
)
def test_bfloat16_is_for_hardware_that_gains_by_it(
    found: dict[str, Any], multiplies: bool, gains: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An imitated bfloat16 trains far more slowly than 32-bit floats."""
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: found)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert hardware.has_bf16() is gains and hardware.cpu_has_bf16() is multiplies
    assert hardware.instructions().endswith(", bf16") is multiplies
    rates = ["optimizer.lr=1e-3", "optimizer.head_lr=1e-3", "optimizer.layer_decay=1", "epochs=1"]
    for given in ([], rates):
        assert resolved(config_of("default", *given)).bf16 is gains
        assert resolved(config_of("default", *given, f"bf16={not gains}")).bf16 is not gains
    nothing: Any = None
    settings: Any = SimpleNamespace(bf16=None)
    assert Loop(settings, *[nothing] * 7).bf16 is gains


def test_a_torch_that_does_not_tell_gets_32_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert not hardware.has_bf16()


def test_check_tells_what_is_chosen_and_the_run_keeps_it(encoders: Callable[[str], Path], tmp_path: Path) -> None:
    write_jsonl(tmp_path / "gold.jsonl", gold(2))
    path = write_run(tmp_path, "configs/schema.yaml", tmp_path / "gold.jsonl", encoders("bert"))
    found = preflight(path, ["optimizer.lr=1e-3", "bf16=null"], quick=True)
    assert found.facts["recipe"]["numbers"] == {
        "optimizer.lr": {"value": 1e-3, "chosen_by": "config"},
        "optimizer.layer_decay": {"value": 0.8, "chosen_by": "recipe"},
        "optimizer.head_lr": {"value": 2e-3, "chosen_by": "recipe"},
        "epochs": {"value": 1, "chosen_by": "config"},
    }
    told = text(found)
    assert "encoder: bert" in told and "(tiny)" in told
    assert ("computes in bfloat16" in told) is hardware.has_bf16()
    assert (
        "chosen for it: optimizer.layer_decay=0.8 optimizer.head_lr=0.002" in told
        and "set by the config: optimizer.lr=0.001 epochs=1" in told
    )
    finished = train(RunConfig.load(path))
    assert finished
    kept = RunConfig.load(finished[0].path / "config.yaml")
    assert (kept.optimizer.lr, kept.optimizer.head_lr, kept.epochs) == (5e-4, 2e-3, 1)


def test_an_encoder_that_cannot_be_looked_at_is_one_problem(tmp_path: Path) -> None:
    found = preflight(ROOT / "configs" / "train.yaml", ["encoder=no/such-encoder", f"output={tmp_path / 'run'}"])
    assert ["neither a complete folder" in problem.what for problem in found.problems] == [True]
    assert "recipe" not in found.facts
