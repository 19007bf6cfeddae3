"""Tokens hidden while fine-tuning: how many, which never, and only while training."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import make_tokenizer
from test_main_path import gold
from transformers import PreTrainedTokenizerFast

from annotations.errors import ConfigError
from inference import checkpoint
from inference.config import TaggerConfig
from training.config import RunConfig
from training.data import collate_rows, dataset
from training.masking import TokenMasking
from training.recipe import resolved
from training.trainer import trainer_for


@pytest.mark.parametrize("family", ["wordpiece", "byte-bpe", "unigram"])
def test_a_share_of_the_tokens_is_hidden_and_never_a_special_one(family: str) -> None:
    tokenizer = make_tokenizer(family)
    torch.manual_seed(0)
    plain = next(place for place in range(len(tokenizer)) if place not in tokenizer.all_special_ids)
    ids = torch.full((200, 50), plain)
    ids[:, :2] = torch.tensor(tokenizer.all_special_ids[:2])
    shown = TokenMasking(tokenizer, 0.2)(ids)
    assert torch.equal(shown[:, :2], ids[:, :2])
    hidden = shown != ids
    assert set(shown[hidden].tolist()) == {tokenizer.mask_token_id}
    assert 0.18 < hidden[:, 2:].float().mean() < 0.22
    assert torch.equal(TokenMasking(tokenizer, 0.0)(ids), ids)


def test_a_tokenizer_without_a_mask_is_refused_only_where_it_is_needed() -> None:
    bare = PreTrainedTokenizerFast(tokenizer_object=make_tokenizer("byte-bpe").backend_tokenizer)
    TokenMasking(bare, 0.0)
    with pytest.raises(ConfigError, match="token_masking=0"):
        TokenMasking(bare, 0.1)


def test_the_trainer_hides_while_training_and_nothing_afterwards(
    config: TaggerConfig, encoders: Callable[[str], Path], tmp_path: Path
) -> None:
    values: dict[str, Any] = {
        "tagger": config.model_dump(mode="json"),
        "data": {"train": ["x"]},
        "output": str(tmp_path),
    }
    start = str(encoders("bert"))
    run = resolved(RunConfig.build({**values, "encoder": start, "token_masking": 0.5}, where="test"))
    model, tokenizer = checkpoint.from_encoder(start, config, 0.1)
    rows = dataset(gold(2), tokenizer, config)
    trainer = trainer_for(run, model, tokenizer, rows, tmp_path)
    seen: list[torch.Tensor] = []
    model.encoder.register_forward_pre_hook(lambda _, args, kwargs: seen.append(kwargs["input_ids"]), with_kwargs=True)
    batch = collate_rows(list(rows), config, tokenizer.pad_token_id)
    for training in (True, False):
        trainer.compute_loss(model.train(training), dict(batch))
    counts = [(ids == tokenizer.mask_token_id).sum() for ids in seen if ids.shape == batch["input_ids"].shape]
    assert counts[0] > 0
    assert counts[1] == 0
