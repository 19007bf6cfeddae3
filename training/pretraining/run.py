"""A pretraining run from config to encoder: prepare, begin or resume, train, export. It ties the other modules together."""

from __future__ import annotations

import datetime
import json
from collections.abc import Callable
from pathlib import Path

import torch

from annotations.errors import ConfigError
from annotations.storage import replacing
from inference.checkpoint_files import encoder_version
from training.pretraining import schedule
from training.pretraining.config import PretrainConfig
from training.pretraining.cooccurrence import embeddings
from training.pretraining.log import Log
from training.pretraining.loop import Loop
from training.pretraining.masking import pieces
from training.pretraining.network import MaskedLM, known_model, new_model, optimizers, set_embeddings
from training.pretraining.prepare import Prepared, prepare
from training.pretraining.processes import Processes, processes
from training.pretraining.state import BEFORE_DECAY, CHECKPOINT, begin
from training.pretraining.stream import Sequences, Tokens
from training.run_directory import hardware, packages

CONFIG, RUN = "config.json", "run.json"
FREE = {"minutes", "steps", "compile", "checkpoint_minutes", "export_minutes", "log_seconds", "micro_tokens"}
"""Settings that may change when a run goes on; `minutes` and `steps` to train longer."""


def pretrain(config: PretrainConfig, say: Callable[[str], None]) -> Path:
    """Train an encoder, or go on from the last checkpoint, and return the finished encoder's folder.

    Raises:
        ConfigError, DocumentError: the corpora cannot be used, or the folder holds the work of other settings.
        CheckpointError: the encoder to start from, or the checkpoint, cannot be loaded.
        KeyboardInterrupt: asked to stop; the same command goes on.
    """
    with processes() as own:
        tell = say if own.first else _silent
        with own.first_alone():
            before = _claim(config) if own.first else _settings(config)
            prepared = prepare(config, tell)
        loop = _loop(config, prepared, own, tell)
        _resume(config, before, loop, tell)
        loop.run()
        folder = config.output / "encoder"
        if own.first:
            loop.state.export(folder, prepared.tokenizer)
            _record(config, loop, folder)
        return folder


def make_ready(config: PretrainConfig, say: Callable[[str], None]) -> Path:
    """Make the tokenizer and the tokens alone, for a machine that is better used for training; return the run's folder.

    Raises:
        ConfigError, DocumentError, CheckpointError: as `pretrain` does.
    """
    _claim(config)
    prepare(config, say)
    return config.output


def _silent(_: str) -> None:
    """The other processes say nothing."""


def _settings(config: PretrainConfig) -> PretrainConfig:
    """The settings that the folder's work was last done with."""
    path = config.output / CONFIG
    return PretrainConfig.build(json.loads(path.read_text("utf-8")), where=path) if path.exists() else config


def _claim(config: PretrainConfig) -> PretrainConfig:
    """Take the output folder, and return the settings it had before.

    Raises:
        ConfigError: it holds the work of settings that differ in more than how long to train.
    """
    before = _settings(config)
    changed = [
        name
        for name in PretrainConfig.model_fields
        if name not in FREE and getattr(before, name) != getattr(config, name)
    ]
    if changed:
        raise ConfigError(
            config.output, f"holds work with another {', '.join(changed)}; choose another output=…, or remove it"
        )
    with replacing(config.output / CONFIG) as out:
        out.write(config.model_dump_json(indent=2))
    return before


def _loop(config: PretrainConfig, prepared: Prepared, own: Processes, say: Callable[[str], None]) -> Loop:
    """Everything in place for the first step."""
    torch.manual_seed(config.seed)
    tokenizer = prepared.tokenizer
    model = known_model(config.encoder, say) if config.encoder else new_model(config.shape, tokenizer)
    if config.compile and own.device.type == "cpu" and model.config.model_type == "modernbert":
        # Compiled, plain attention is a third faster a step than the fused kernel, whose way back is slow on CPU.
        model.set_attn_implementation("eager")
    network = MaskedLM(model).to(own.device)
    known = pieces(tokenizer, int(network.encoder.get_input_embeddings().weight.shape[0])).to(own.device)  # type: ignore[operator]
    stream = _tensor(prepared.tokens, own.device)
    if config.encoder is None and config.embeddings == "cooccurrence" and not (config.output / CHECKPOINT).exists():
        say("counting which pieces occur together, for the first embeddings")
        set_embeddings(
            network, embeddings(stream, len(known.special), config.shape.width, known.special), known.special
        )
    if config.compile:
        network.encoder.compile(dynamic=False)
    network.train()
    say(f"{sum(p.numel() for p in network.parameters()) / 1e6:.1f} M parameters, {len(stream) / 1e6:.1f} M tokens")
    return Loop(
        config=config,
        state=begin(network, optimizers(network, config.optimizer), config.optimizer.ema),
        sequences=Sequences(stream, tokenizer.cls_token_id, config.seed),
        held_out=_held_out(prepared, config.lengths[0][1], own.device),
        pieces=known,
        processes=own,
        log=Log(config, say),
        tokenizer=tokenizer,
    )


def _tensor(tokens: Tokens, device: torch.device) -> torch.Tensor:
    # torch indexes no 16-bit unsigned numbers.
    return torch.from_numpy(tokens.astype("int32")).to(device)


def _held_out(prepared: Prepared, length: int, device: torch.device) -> torch.Tensor:
    """Sequences of a length from the held-out tokens, in order."""
    stream, size = _tensor(prepared.held_out, device), length - 1
    rows = stream[: len(stream) // size * size].view(-1, size).to(torch.int64)
    return torch.nn.functional.pad(rows, (1, 0), value=prepared.tokenizer.cls_token_id)


def _resume(config: PretrainConfig, before: PretrainConfig, loop: Loop, say: Callable[[str], None]) -> None:
    """Load the last checkpoint; the one before the decay, where there is now time to stay at the peak for longer."""
    path = config.output / CHECKPOINT
    if path.exists():
        loop.state.load(path)
        fell = schedule.decaying(before.optimizer, schedule.fraction(before, loop.state.progress))
        falls = schedule.decaying(config.optimizer, schedule.fraction(config, loop.state.progress))
        if fell and not falls and (config.output / BEFORE_DECAY).exists():
            loop.state.load(config.output / BEFORE_DECAY)
            say("longer budget: going on from before the rates fell")
        say(f"resuming at step {loop.state.progress.step:,}")
    if loop.processes.first:
        loop.log.resume(loop.state.progress)


def _record(config: PretrainConfig, loop: Loop, folder: Path) -> None:
    """Where the encoder comes from: compute, losses, versions."""
    progress = loop.state.progress
    kept = {
        "date": datetime.date.today().isoformat(),
        "encoder": encoder_version(str(folder)),
        "steps": progress.step,
        "tokens": progress.tokens,
        "minutes": round(progress.seconds / 60, 1),
        "processes": loop.processes.count,
        "hardware": hardware(),
        "packages": packages(),
        "config": json.loads(config.model_dump_json()),
    }
    with replacing(config.output / RUN) as out:
        json.dump(kept, out, indent=2)
