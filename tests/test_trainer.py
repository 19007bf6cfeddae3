"""The Trainer's own settings: what starts from random weights learns faster than what was pretrained."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from test_main_path import gold

from annotations.document import Document, Span
from annotations.errors import ConfigError, DocumentError
from annotations.schema import Schema
from inference import checkpoint
from inference.config import TaggerConfig
from inference.tagger import Tagger
from training.config import RunConfig
from training.data import dataset, keep_words
from training.recipe import TINY, resolved
from training.trainer import compiling, fine_tune, plain_attention, trainer_for


@pytest.mark.parametrize("known", [False, True])
def test_fresh_weights_learn_at_the_heads_rate(
    known: bool, schema: Schema, config: TaggerConfig, encoders: Callable[[str], Path], tmp_path: Path
) -> None:
    start = str(encoders("bert"))
    if known:
        model, tokenizer = checkpoint.from_encoder(start, config, 0.1)
        checkpoint.save(tmp_path / "ck", model, tokenizer)
        start = str(tmp_path / "ck")
    for name, rate in rates(config, start, tmp_path / "run", {"layer_decay": 1}).items():
        pretrained = name.startswith("encoder.") or (known and name.startswith("reader."))
        assert rate == (TINY.lr if pretrained else TINY.head_lr), name


def test_lower_layers_learn_more_slowly(config: TaggerConfig, encoders: Callable[[str], Path], tmp_path: Path) -> None:
    parts = {"encoder.layers.0.": 5e-4, "encoder.embeddings.": 2.5e-4, "encoder.": 1e-3, "": 2e-3}
    optimizer = {"lr": 1e-3, "head_lr": 2e-3, "layer_decay": 0.5}
    for name, rate in rates(config, str(encoders("modernbert")), tmp_path / "run", optimizer).items():
        assert rate == next(rate for part, rate in parts.items() if name.startswith(part)), name


def rates(config: TaggerConfig, encoder: str, folder: Path, optimizer: dict[str, float]) -> dict[str, float]:
    """Every parameter's name to its learning rate."""
    values = {"tagger": config.model_dump(mode="json"), "data": {"train": ["x"]}, "output": str(folder)}
    run = resolved(RunConfig.build({**values, "encoder": encoder, "optimizer": optimizer}, where="test"))
    model, tokenizer = checkpoint.from_encoder(encoder, config, 0.1)
    trainer = trainer_for(run, model, tokenizer, dataset(gold(2), tokenizer, config), folder)
    groups = trainer.create_optimizer().param_groups
    found = {id(parameter): group["lr"] for group in groups for parameter in group["params"]}
    return {name: found[id(parameter)] for name, parameter in model.named_parameters()}


def test_copies_that_differ_in_scores_alone_have_one_annotation(tagger: Tagger) -> None:
    copies = [
        Document(id=f"{n}", text="The Taliban met.", labels={"entity": (span,)})
        for n in range(2)
        for span in [Span(start=4, end=11, label="MILITANT_GROUP", score=0.5 + n / 1e6)]
    ]
    assert len(dataset(copies, tagger.tokenizer, tagger.config)) == 1
    other = copies[0].with_labels({"entity": (Span(start=4, end=11, label="PERSON", score=0.5),)})
    with pytest.raises(DocumentError, match="different spans"):
        dataset([other, copies[1]], tagger.tokenizer, tagger.config)


def test_attention_is_plain_while_training_and_fused_afterwards(
    config: TaggerConfig, encoders: Callable[[str], Path]
) -> None:
    model, _ = checkpoint.from_encoder(str(encoders("modernbert")), config, 0.1)
    with plain_attention(model):
        assert model.encoder.config._attn_implementation == "eager"
    assert model.encoder.config._attn_implementation == "sdpa"


def learned(
    config: TaggerConfig, encoder: Path, folder: Path, documents: list[Document] | None = None, **trainer: object
) -> Tagger:
    """A tagger after two passes, its checkpoints kept."""
    values = {
        "tagger": config.model_dump(mode="json"),
        "data": {"train": ["x"]},
        "output": "x",
        "encoder": str(encoder),
        "epochs": 2,
        "bf16": False,
        "trainer": {"disable_tqdm": True, "save_steps": 1, **trainer},
    }
    return fine_tune(RunConfig.build(values, where="test"), documents or gold(2), folder)


@pytest.mark.parametrize("asked", [None, True, False])
@pytest.mark.parametrize("whole", [True, False])
def test_spans_keep_to_words_where_those_of_the_data_do(
    whole: bool, asked: bool | None, config: TaggerConfig, encoders: Callable[[str], Path], tmp_path: Path
) -> None:
    documents = gold(2)
    if not whole:
        inside = Span(start=1, end=3, label="MILITANT_GROUP")
        documents[0] = documents[0].with_labels({**documents[0].labels, "entity": (inside,)})
    asked_for = config.model_copy(update={"whole_words": asked})
    tagger = learned(asked_for, encoders("bert"), tmp_path, documents=documents)
    checkpoint.save(tmp_path / "kept", tagger.engine.model, tagger.tokenizer)
    assert Tagger.load(tmp_path / "kept").config.whole_words is (whole if asked is None else asked)


def test_a_slip_in_a_hundred_spans_changes_nothing(schema: Schema) -> None:
    def spans(count: int) -> Document:
        text = "word " * count
        found = [Span(start=5 * n, end=5 * n + (3 if n == 0 else 4), label="LOCATION") for n in range(count)]
        return Document(id="a", text=text, labels={"entity": tuple(found)})

    assert keep_words([spans(100)], schema)
    assert not keep_words([spans(99)], schema)
    assert keep_words([Document(id="a", text="word")], schema)


@pytest.mark.parametrize("architecture", ["bert", "modernbert", "deberta-v2", "distilbert"])
def test_checkpointed_activations_change_nothing(
    architecture: str, config: TaggerConfig, encoders: Callable[[str], Path], tmp_path: Path
) -> None:
    plain = learned(config, encoders(architecture), tmp_path / "plain").engine.model.state_dict()
    sparing = learned(config, encoders(architecture), tmp_path / "sparing", activation_checkpointing=True)
    for name, weights in sparing.engine.model.state_dict().items():
        assert torch.allclose(weights, plain[name], atol=1e-6), name


def test_gradient_checkpointing_by_its_older_name(
    config: TaggerConfig, encoders: Callable[[str], Path], tmp_path: Path
) -> None:
    with pytest.warns(FutureWarning, match="Use `activation_checkpointing` instead"):
        tagger = learned(config, encoders("bert"), tmp_path, gradient_checkpointing=True)
    assert tagger.engine.model.is_activation_checkpointing


def test_a_compiled_network_is_saved_as_an_ordinary_one(
    config: TaggerConfig, encoders: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The compiler proper takes minutes on CPU; its first half, which traces the network, is what can fail on our side."""
    # TrainingArguments sets it for the whole process.
    monkeypatch.setenv("ACCELERATE_DYNAMO_BACKEND", "no")
    plain = learned(config, encoders("modernbert"), tmp_path / "plain", max_steps=1).engine.model.state_dict()
    backend = {"torch_compile": True, "torch_compile_backend": "eager", "max_steps": 1}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        tagger = learned(config, encoders("modernbert"), tmp_path, **backend)
    assert plain.keys() == tagger.engine.model.state_dict().keys()
    kept = load_file(tmp_path / "checkpoint-1" / "model.safetensors")
    assert kept.keys() == plain.keys()
    assert tagger.tag("The Taliban met.", target="It met.").spans("stance")


def test_a_network_that_cannot_be_compiled_is_told() -> None:
    def no_compiler(*_: object) -> None:
        raise RuntimeError("there is no compiler")

    network = torch.compile(torch.nn.Linear(1, 1), backend=no_compiler)
    with pytest.raises(ConfigError, match=r"torch_compile.*there is no compiler.*take torch_compile out"), compiling():
        network(torch.ones(1))
    with pytest.raises(RuntimeError, match="out of memory"), compiling():
        raise torch.OutOfMemoryError("out of memory")
