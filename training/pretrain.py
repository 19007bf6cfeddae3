"""Masked-LM pretraining of a small encoder within a budget of minutes (Devlin et al., 2019; masking ratio that falls, as in
Wettig et al., 2023). It knows a network and batches of tokens, and nothing of layers, labels or documents.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from transformers import ModernBertConfig, ModernBertForMaskedLM, PreTrainedTokenizerFast

from annotations.errors import ConfigError
from annotations.storage import replacing
from inference.checkpoint import save
from training.corpus import Batches, mask_tokens, prepare
from training.pretrain_config import PretrainConfig, Shape

CHECKPOINT = "checkpoint.pt"


def rate_at(config: PretrainConfig, done: float) -> float:
    """The learning rate at a fraction of the budget: warm up, stay, decay to zero."""
    rise = min(1.0, done / config.warmup) if config.warmup else 1.0
    fall = (1 - done) / (1 - config.decay_from) if config.decay_from < 1 else 1.0
    return config.learning_rate * min(rise, max(0.0, min(1.0, fall)))


def new_model(shape: Shape, tokenizer: PreTrainedTokenizerFast) -> ModernBertForMaskedLM:
    """A ModernBERT with random weights in the given shape."""
    return ModernBertForMaskedLM(
        ModernBertConfig(
            vocab_size=len(tokenizer),
            hidden_size=shape.width,
            intermediate_size=shape.intermediate,
            num_hidden_layers=shape.layers,
            num_attention_heads=shape.heads,
            max_position_embeddings=shape.positions,
            layer_types=["full_attention"] * shape.layers,
            pad_token_id=tokenizer.pad_token_id,
            cls_token_id=tokenizer.cls_token_id,
            sep_token_id=tokenizer.sep_token_id,
            bos_token_id=tokenizer.cls_token_id,
            eos_token_id=tokenizer.sep_token_id,
        )
    )


def masked_loss(model: ModernBertForMaskedLM, ids: Tensor, chosen: Tensor, truth: Tensor) -> Tensor:
    """Cross-entropy in nats on the masked tokens only: the output layer is the dearest part of a small model."""
    hidden = model.model(input_ids=ids).last_hidden_state[chosen]
    return cross_entropy(model.decoder(model.head(hidden)).float(), truth[chosen])


@dataclass
class Progress:
    """Where a run stands; kept in its checkpoints."""

    spent: float = 0.0
    """Seconds of training so far."""
    step: int = 0
    seen: int = 0
    """Tokens."""


def pretrain(config: PretrainConfig, say: Callable[[str], None]) -> Path:
    """Train tokenizer and encoder, resume from the last checkpoint if there is one, return the encoder's folder."""
    _claim(config)
    tokenizer, stream = prepare(config)
    torch.manual_seed(config.seed)
    model = new_model(config.shape, tokenizer)
    optimizer = torch.optim.AdamW(_groups(model), lr=config.learning_rate, betas=(0.9, 0.98), eps=1e-6)
    progress = _resume(config.output / CHECKPOINT, model, optimizer)
    batches = Batches(stream, config.batch_tokens, tokenizer.cls_token_id, _rng(config, progress))
    if config.compile:
        model.model.forward = torch.compile(model.model.forward, dynamic=False)
    _train(config, model, optimizer, batches, progress, say)
    export_encoder(model, tokenizer, config.output / "encoder")
    return config.output / "encoder"


def _claim(config: PretrainConfig) -> None:
    """Raise ConfigError where the output folder holds the work of another config."""
    resolved = config.model_dump_json(indent=2)
    known = config.output / "config.json"
    if known.exists() and known.read_text("utf-8") != resolved:
        raise ConfigError(config.output, "holds the work of another config; choose another output=…, or remove it")
    with replacing(known) as out:
        out.write(resolved)


def _rng(config: PretrainConfig, progress: Progress) -> np.random.Generator:
    return np.random.default_rng([config.seed, progress.step])


def _train(
    config: PretrainConfig,
    model: ModernBertForMaskedLM,
    optimizer: torch.optim.Optimizer,
    batches: Batches,
    progress: Progress,
    say: Callable[[str], None],
) -> None:
    """Steps until the budget is spent, with a line in the log every 50 and a checkpoint every two minutes."""
    generator = torch.Generator().manual_seed(config.seed + progress.step)
    began = saved = time.monotonic()
    before, budget = progress.spent, config.minutes * 60
    losses: list[float] = []
    while progress.spent < budget:
        done = progress.spent / budget
        for group in optimizer.param_groups:
            group["lr"] = rate_at(config, done)
        losses.append(_step(model, optimizer, batches, config, done, generator))
        progress.step, progress.seen = progress.step + 1, progress.seen + config.batch_tokens
        progress.spent = before + time.monotonic() - began
        if progress.step % 50 == 0:
            say(_log(config, progress, losses, config.batch_tokens * len(losses) / (progress.spent - before)))
        if time.monotonic() - saved > 120:
            _save(config.output / CHECKPOINT, model, optimizer, progress)
            saved = time.monotonic()


def _log(config: PretrainConfig, progress: Progress, losses: list[float], speed: float) -> str:
    loss = float(np.mean(losses[-50:]))
    with (config.output / "log.tsv").open("a") as log:
        print(progress.step, progress.seen, round(progress.spent), round(loss, 4), sep="\t", file=log)
    left = config.minutes - progress.spent / 60
    tokens = f"{progress.seen / 1e6:.1f} M tokens"
    return f"step {progress.step}  {tokens}  loss {loss:.3f}  {speed:,.0f} tokens/s  {left:.0f} min left"


def export_encoder(model: ModernBertForMaskedLM, tokenizer: PreTrainedTokenizerFast, folder: Path) -> None:
    """Write the encoder alone, without the masked-LM head, as fp16 safetensors with its tokenizer."""
    save(folder, model.model.half(), tokenizer)


def _groups(model: ModernBertForMaskedLM) -> list[dict[str, Any]]:
    """Weight decay on matrices only."""
    matrices = [p for p in model.parameters() if p.ndim > 1]
    vectors = [p for p in model.parameters() if p.ndim <= 1]
    return [{"params": matrices, "weight_decay": 0.01}, {"params": vectors, "weight_decay": 0.0}]


def _step(
    model: ModernBertForMaskedLM,
    optimizer: torch.optim.Optimizer,
    batches: Batches,
    config: PretrainConfig,
    done: float,
    generator: torch.Generator,
) -> float:
    length = [length for start, length in config.lengths if start <= done][-1]
    first, last = config.masking
    truth = batches.next(length)
    ids, chosen = mask_tokens(truth, first + (last - first) * done, model.config.vocab_size, generator)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = masked_loss(model, ids, chosen, truth)
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return float(loss.detach())


def _save(path: Path, model: nn.Module, optimizer: torch.optim.Optimizer, progress: Progress) -> None:
    part = path.with_suffix(".part")
    torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict(), "progress": asdict(progress)}, part)
    part.replace(path)


def _resume(path: Path, model: nn.Module, optimizer: torch.optim.Optimizer) -> Progress:
    if not path.exists():
        return Progress()
    state = torch.load(path, weights_only=True)
    model.load_state_dict(state["model"])
    optimizer.load_state_dict(state["optimizer"])
    return Progress(**state["progress"])
