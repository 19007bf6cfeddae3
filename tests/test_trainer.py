"""The Trainer's own settings: what starts from random weights learns faster than what was pretrained."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from test_main_path import gold

from annotations.schema import Schema
from inference import checkpoint
from inference.config import TaggerConfig
from training.config import RunConfig
from training.data import dataset
from training.trainer import plain_attention, trainer_for


@pytest.mark.parametrize("known", [False, True])
def test_fresh_weights_learn_at_the_heads_rate(
    known: bool, schema: Schema, config: TaggerConfig, encoders: Callable[[str], Path], tmp_path: Path
) -> None:
    start = str(encoders("bert"))
    if known:
        model, tokenizer = checkpoint.from_encoder(start, config, 0.1)
        checkpoint.save(tmp_path / "ck", model, tokenizer)
        start = str(tmp_path / "ck")
    values = {"tagger": config.model_dump(mode="json"), "data": {"train": ["x"]}, "output": str(tmp_path / "run")}
    run = RunConfig.build({**values, "encoder": start}, where="test")
    model, tokenizer = checkpoint.from_encoder(start, config, 0.1)
    trainer = trainer_for(run, model, tokenizer, dataset(gold(2), tokenizer, config), tmp_path / "run")
    rates = {
        id(parameter): group["lr"] for group in trainer.create_optimizer().param_groups for parameter in group["params"]
    }
    for name, parameter in model.named_parameters():
        pretrained = name.startswith("encoder.") or (known and name.startswith("reader."))
        assert rates[id(parameter)] == (run.optimizer.lr if pretrained else run.optimizer.head_lr), name


def test_attention_is_plain_while_training_and_fused_afterwards(
    config: TaggerConfig, encoders: Callable[[str], Path]
) -> None:
    model, _ = checkpoint.from_encoder(str(encoders("modernbert")), config, 0.1)
    with plain_attention(model):
        assert model.encoder.config._attn_implementation == "eager"
    assert model.encoder.config._attn_implementation == "sdpa"
