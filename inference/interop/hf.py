"""A layer of spans as a plain folder of transformers, which `pipeline("token-classification")` loads with no code of ours.

It knows weights and tokenizers, not texts. What was written is loaded again, and its logits are compared with the tagger's.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from safetensors import SafetensorError
from tokenizers import processors
from torch import Tensor, nn
from transformers import AutoModelForTokenClassification, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from annotations.errors import CheckpointError, ConfigError, DocumentError, did_you_mean, first_line
from annotations.formats.conversion import replacing_folder
from annotations.schema import Kind, Schema
from annotations.storage import write_text
from inference import checkpoint, checkpoint_files
from inference.config import TaggerConfig
from inference.interop.hf_card import card
from inference.model import StandpointModel
from inference.probes import probes
from inference.windows import encode

OUTSIDE = "O"
CLOSE = 1e-3
"""How far a logit may lie from the tagger's, per unit of its size: float noise, and no other computation."""


@dataclass(frozen=True)
class Exported:
    """What was written."""

    folder: Path
    layer: str
    difference: float
    """The largest difference of a logit from the tagger's own on the probe texts, per unit of the largest logit."""


def to_hf(path: str | Path, folder: str | Path, layer: str | None = None) -> Exported:
    """Write one layer of spans of a checkpoint as a folder for `AutoModelForTokenClassification`, whole or not at all.

    `layer` may be left out where the schema has a single layer of kind `spans`. The layer's temperature is folded into the
    classifier, so that the pipeline's scores are calibrated as the tagger's are.

    Raises:
        CheckpointError: there is no tagger, or transformers has no class that computes the same with its encoder.
        ConfigError: there is no such layer, or it is of another kind.
        DocumentError: the folder holds something already, or cannot be written.
    """
    folder = Path(folder)
    model, tokenizer, config = checkpoint.load(path)
    name = _layer(config.label_schema, layer)
    plain = classifier(model, name, config, path)
    _prepare(tokenizer, config)
    with replacing_folder(folder) as part:
        try:
            checkpoint.save(part, plain, tokenizer)
        except SafetensorError as error:
            raise DocumentError(folder, f"cannot be written ({first_line(error)}); check the disk") from error
        difference = _difference(part, model, tokenizer, config, name)
        if not difference <= CLOSE:
            raise _unsuitable(path, plain, f"it answers otherwise than the tagger (logits differ by {difference:.2g})")
        facts = {
            "version": checkpoint_files.version(path),
            "difference": difference,
            "trims": _trims(part),
            "strategy": strategy(tokenizer, config),
        }
        write_text(part / "README.md", card(name, config, facts))
    return Exported(folder, name, difference)


def _layer(schema: Schema, name: str | None) -> str:
    """The layer of spans that is meant."""
    spans = list(schema.of_kind(Kind.SPANS))
    if name is None and len(spans) == 1:
        return spans[0]
    if not spans:
        raise ConfigError(
            "--to hf", "the schema has no layer of kind spans, and transformers' pipeline tags nothing else"
        )
    if name is None:
        raise ConfigError("--layer", f"the schema has several layers of spans; name one of {', '.join(spans)}")
    if name not in spans:
        raise ConfigError("--layer", f"{name!r} is no layer of spans of this tagger; {did_you_mean(name, spans)}")
    return name


def classifier(model: StandpointModel, layer: str, config: TaggerConfig, where: object) -> PreTrainedModel:
    """Encoder and head of a layer as transformers' own class for token classification, with the same weights.

    Raises:
        CheckpointError: that class computes something else.
        ConfigError: a label's name means something else to the pipeline.
    """
    labels = config.label_schema.layers[layer].names
    if OUTSIDE in labels:
        raise ConfigError(
            f"layer {layer!r}", f"the pipeline drops a label called {OUTSIDE!r}; rename it and train again"
        )
    settings = model.config.encoder_config()
    tags = [OUTSIDE, *(f"{side}-{label}" for label in labels for side in "BI")]
    settings.id2label = dict(enumerate(tags))
    settings.label2id = {tag: number for number, tag in enumerate(tags)}
    settings.update(SETTINGS.get(settings.model_type, {}))
    try:
        plain = AutoModelForTokenClassification.from_config(settings, dtype=torch.float32)
    except ValueError as error:
        raise CheckpointError(where, f"transformers has no token classification for {settings.model_type!r}") from error
    _fill(plain, model, layer, config.temperatures.get(layer, 1.0), where)
    whole: PreTrainedModel = plain.eval()
    return whole


def _fill(plain: PreTrainedModel, model: StandpointModel, layer: str, temperature: float, where: object) -> None:
    """Take over the encoder's weights and the head's; nothing else may be left between them."""
    base: Any = getattr(plain, plain.base_model_prefix, None)
    if type(base) is not type(model.encoder):
        raise _unsuitable(where, plain, f"its encoder is no {type(model.encoder).__name__}")
    lacking = base.load_state_dict(model.encoder.state_dict(), strict=False).missing_keys
    head = model.span_heads[layer]
    assert isinstance(head, nn.Linear)
    with torch.no_grad():
        if adjust := PASSING.get(plain.config.model_type):
            adjust(plain)
        own = {name: value for name, value in plain.named_parameters() if not name.startswith(_known(plain))}
        weights = {"weight": head.weight / temperature, "bias": head.bias / temperature}
        named = {name.rpartition(".")[2]: name for name in own}
        shapes = {kind: own[name].shape for kind, name in named.items()}
        if lacking or len(own) != 2 or shapes != {kind: value.shape for kind, value in weights.items()}:
            raise _unsuitable(where, plain, f"it has weights besides one linear layer: {', '.join([*lacking, *own])}")
        for kind, name in named.items():
            own[name].copy_(weights[kind])


def _known(plain: PreTrainedModel) -> tuple[str, ...]:
    """Beginnings of the names of weights that are set already."""
    head = ("head.",) if plain.config.model_type in PASSING else ()
    return (f"{plain.base_model_prefix}.", *head)


def _modernbert(plain: Any) -> None:
    """Let the head before the classifier, norm(act(dense(x))), give what the encoder's last norm gives.

    The last norm's scale is moved from the encoder into the head: the encoder then gives normalized states, `dense` and the
    activation hand them on, and normalizing them again changes only what `norm_eps` does (a factor of about 1 - 1e-5).
    """
    last, head = plain.model.final_norm, plain.head
    head.dense.weight.copy_(torch.eye(len(head.dense.weight)))
    head.norm.weight.copy_(last.weight)
    last.weight.fill_(1.0)
    if head.dense.bias is not None:
        head.dense.bias.zero_()
    if last.bias is not None:
        head.norm.bias.copy_(last.bias)
        last.bias.zero_()


PASSING: dict[str, Callable[[Any], None]] = {"modernbert": _modernbert}
"""`model_type` to what makes the layers before the classifier hand on what the encoder gives."""
SETTINGS: dict[str, dict[str, Any]] = {"modernbert": {"classifier_activation": "linear"}}


def _prepare(tokenizer: PreTrainedTokenizerBase, config: TaggerConfig) -> None:
    """Give the model what the tagger gives it, in windows as long as the tagger's, and offsets without leading spaces."""
    # Only arguments that the tokenizer was made with are saved, and then as its attributes say.
    tokenizer.init_kwargs["model_input_names"] = tokenizer.model_input_names = ["input_ids", "attention_mask"]
    tokenizer.model_max_length = config.window.tokens
    backend = cast(Any, tokenizer).backend_tokenizer
    if "ByteLevel" in repr(backend.pre_tokenizer) and "ByteLevel" not in repr(backend.post_processor):
        # This step of the post-processor touches offsets alone.
        steps = [processors.ByteLevel(trim_offsets=True), *filter(None, [backend.post_processor])]
        backend.post_processor = processors.Sequence(steps)


def _difference(
    folder: Path, model: StandpointModel, tokenizer: PreTrainedTokenizerBase, config: TaggerConfig, layer: str
) -> float:
    """How far the logits of what was written lie from the tagger's on the probe texts."""
    plain = AutoModelForTokenClassification.from_pretrained(folder, dtype=torch.float32, local_files_only=True).eval()
    temperature = config.temperatures.get(layer, 1.0)
    furthest = largest = 0.0
    for window in encode(probes(None), tokenizer, config):
        ids = torch.tensor([window.ids])
        ours, theirs = _both(model, plain, ids, layer)
        furthest = max(furthest, float((ours - theirs * temperature).abs().max()))
        largest = max(largest, float(ours.abs().max()))
    return furthest / largest


def _both(model: StandpointModel, plain: Any, ids: Tensor, layer: str) -> tuple[Tensor, Tensor]:
    """Shape: ids (1, T); both (1, T, tags)."""
    mask = torch.ones_like(ids)
    with torch.inference_mode():
        ours: Tensor = model.span_heads[layer](model.encode(ids, mask))
        theirs: Tensor = plain(input_ids=ids, attention_mask=mask).logits
    return ours, theirs


def _trims(folder: Path) -> bool:
    """Whether the offsets of what was written hold no white space."""
    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    text = "The Taliban met in Kabul."
    offsets = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)["offset_mapping"]
    return all(text[start:end] == text[start:end].strip() for start, end in offsets)


def strategy(tokenizer: PreTrainedTokenizerBase, config: TaggerConfig) -> str:
    """The pipeline's `aggregation_strategy` that comes nearest to the tagger.

    "average" keeps words whole, but only a tokenizer that marks the pieces of words (WordPiece) tells it what a word is.
    """
    backend = cast(Any, tokenizer).backend_tokenizer
    marked = bool(getattr(backend.model, "continuing_subword_prefix", None))
    return "average" if marked and config.whole_words else "simple"


def _unsuitable(where: object, plain: PreTrainedModel, why: str) -> CheckpointError:
    return CheckpointError(where, f"{type(plain).__name__} cannot stand for this tagger: {why}; use the tagger itself")
