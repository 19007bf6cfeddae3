"""Loads and saves taggers and encoders. It knows weights and tokenizers, not texts."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import (
    AutoConfig,
    AutoModel,
    AutoTokenizer,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from annotations.errors import CheckpointError, ConfigError, first_line
from inference import hub
from inference.checkpoint_files import DEFAULT_ENCODER, NEEDED, READER, encoder_location, parts, write_manifest
from inference.config import TaggerConfig
from inference.model import StandpointConfig, StandpointModel, longest_input

UNUSABLE = (OSError, ValueError, KeyError, RuntimeError, ImportError, SafetensorError)
"""What transformers raises for a model or tokenizer that is missing, broken, or needs a package that is not there."""


def load(path: str | Path) -> tuple[StandpointModel, PreTrainedTokenizerBase, TaggerConfig]:
    """A tagger from its folder, in evaluation mode, as 32-bit floats.

    Raises:
        CheckpointError: the folder or files are missing, or hold another kind of model.
    """
    path = Path(path)
    missing = [name for name in NEEDED if not (path / name).is_file()]
    if not path.is_dir() or missing:
        what = f"has no {', no '.join(missing)}" if path.is_dir() else "is no folder"
        raise CheckpointError(path, f"{what}; give the `checkpoint` folder of a finished run")
    try:
        kind = json.loads((path / "config.json").read_text("utf-8")).get("model_type")
        if kind != StandpointConfig.model_type:
            raise CheckpointError(path, f"holds a {kind!r} model, not a tagger; name it as `encoder` and train first")
        config = StandpointConfig.from_pretrained(path)
        tagger = config.tagger_config()
        model = _weights(StandpointModel, path, config=config)
        tokenizer = AutoTokenizer.from_pretrained(path, config=config.encoder_config(), local_files_only=True)
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError, ConfigError) as error:
        raise CheckpointError(path, f"cannot be loaded: {first_line(error)}; copy or train it again") from error
    return model.eval(), tokenizer, tagger


def save(path: str | Path, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
    """Write config, safetensors and tokenizer into a folder."""
    model.save_pretrained(path)
    tokenizer.save_pretrained(path)
    # safetensors keeps its files from everybody else, and a service runs as another user.
    for weights in Path(path).glob("*.safetensors"):
        weights.chmod((Path(path) / "config.json").stat().st_mode)


def save_encoder(path: str | Path, folder: str | Path) -> None:
    """Write a tagger's encoder alone, as 16-bit floats, with its tokenizer, into a folder that AutoModel loads.

    Where the tagger has a reader, it goes into `reader.safetensors` beside them, for taggers with targeted layers to start
    from. `manifest.json` has the SHA-256 of every file.
    """
    folder = Path(folder)
    model, tokenizer, _ = load(path)
    save(folder, model.encoder.half(), tokenizer)
    (folder / READER).unlink(missing_ok=True)
    if model.reader is not None:
        save_file(model.reader.half().state_dict(), folder / READER)
    write_manifest(folder, parts(folder))


def encoder_config(name: str) -> PreTrainedConfig:
    """What an encoder is, from its `config.json` alone: the default one, a folder, a tagger's folder, a hub name.

    Raises:
        CheckpointError: there is none, or transformers knows no such kind of model.
    """
    where = encoder_location(name)
    try:
        if _is_tagger(where):
            return StandpointConfig.from_pretrained(where).encoder_config()
        config: PreTrainedConfig = AutoConfig.from_pretrained(where, **hub.reading(where))
    except UNUSABLE as error:
        raise _unreachable(name, error) from error
    return config


def _unreachable(name: str, error: BaseException) -> CheckpointError:
    return CheckpointError(
        f"encoder {name!r}",
        f"is neither a complete folder nor a reachable hub model ({first_line(error)}); "
        f"give a folder with {', '.join(NEEDED)}, a hub name with the hub in reach, or {DEFAULT_ENCODER!r}",
    )


def encoder_tokenizer(name: str) -> PreTrainedTokenizerBase:
    """The tokenizer of an encoder; raises what transformers raises where there is none."""
    where = encoder_location(name)
    tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(where, use_fast=True, **hub.reading(where))
    return tokenizer


def from_encoder(name: str, config: TaggerConfig, dropout: float) -> tuple[StandpointModel, PreTrainedTokenizerBase]:
    """A new tagger with fresh heads on a pretrained encoder: the default one, a folder, a tagger's folder, a hub name.

    A reader that the encoder brings is taken over where it has the shape that the config asks for.

    Raises:
        CheckpointError: it is neither a folder nor reachable, has no fast tokenizer, or is too short for the windows.
    """
    where = encoder_location(name)
    try:
        encoder, reader = _pretrained(where)
        tokenizer = encoder_tokenizer(name)
    except UNUSABLE as error:
        raise _unreachable(name, error) from error
    if problems := list(_misfits(encoder, tokenizer, config)):
        raise CheckpointError(f"encoder {name!r}", problems)
    # Where it was loaded from says nothing about the tagger, and would go wherever the checkpoint goes.
    encoder_config = {key: value for key, value in encoder.config.to_dict().items() if key != "_name_or_path"}
    settings = StandpointConfig(encoder=encoder_config, tagger=config.model_dump(mode="json"), dropout=dropout)
    model = StandpointModel(settings)
    model.encoder = encoder
    if model.reader is not None and _shapes(reader) == _shapes(model.reader.state_dict()):
        model.reader.load_state_dict(reader)
        model.pretrained = (*model.pretrained, "reader.")
    return model, tokenizer


def _pretrained(where: str) -> tuple[PreTrainedModel, dict[str, Tensor]]:
    """An encoder, and the weights of the reader that comes with it, if any."""
    if _is_tagger(where):
        tagger = _weights(StandpointModel, where)
        return tagger.encoder, tagger.reader.state_dict() if tagger.reader is not None else {}
    reader = Path(where) / READER
    return _weights(AutoModel, where, **hub.reading_weights(where)), load_file(reader) if reader.is_file() else {}


def _shapes(weights: dict[str, Tensor]) -> dict[str, torch.Size]:
    return {name: value.shape for name, value in weights.items()}


def _weights(kind: Any, where: str | Path, **rest: Any) -> Any:
    """A pretrained model as 32-bit floats; raises ValueError where the file lacks weights that would then be random."""
    model, found = kind.from_pretrained(
        where, dtype=torch.float32, use_safetensors=True, output_loading_info=True, **rest
    )
    # A BERT without its pooler is whole for us: sentences are pooled by our own reader.
    missing = sorted(name for name in found["missing_keys"] if not name.startswith("pooler."))
    if missing or found["mismatched_keys"]:
        names = [*missing, *(str(key) for key in found["mismatched_keys"])]
        raise ValueError(f"weights are missing or of another shape: {', '.join(names[:5])}")
    return model


def _is_tagger(where: str) -> bool:
    """Whether a local folder holds one of our taggers, whose encoder can be taken over."""
    path = Path(where) / "config.json"
    return path.is_file() and json.loads(path.read_text("utf-8")).get("model_type") == StandpointConfig.model_type


def _misfits(encoder: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, config: TaggerConfig) -> Iterator[str]:
    if not tokenizer.is_fast:
        yield "has no fast tokenizer, so no character offsets; convert its tokenizer to tokenizer.json"
    positions = longest_input(encoder)
    if positions and config.window.tokens > positions:
        yield f"reads at most {positions} tokens; set window.tokens to that or less (now {config.window.tokens})"
    if positions and config.label_schema.targeted and config.window.target_tokens > positions:
        yield f"reads at most {positions} tokens; set window.target_tokens to that or less (now {config.window.target_tokens})"
    if tokenizer.pad_token_id is None:
        yield "has a tokenizer without a padding token; set pad_token in its tokenizer_config.json"
    if config.label_schema.targeted and encoder.config.hidden_size % config.reader.heads:
        yield f"is {encoder.config.hidden_size} wide; set reader.heads to a divisor (now {config.reader.heads})"
