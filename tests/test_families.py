"""Every family of encoders trains, saves, loads and tags, with the quirks and the tokenizer class that hub encoders have."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import make_tokenizer
from test_main_path import gold
from torch import nn
from transformers import AutoConfig, AutoModel, AutoTokenizer, DistilBertTokenizer, ElectraTokenizer

from annotations.document import Document
from annotations.errors import CheckpointError
from inference import checkpoint
from inference.config import TaggerConfig
from inference.tagger import Tagger
from inference.windows import encode
from training.config import RunConfig
from training.depth import layers_below_top
from training.trainer import fine_tune, plain_attention

BERT = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 2}
DEBERTA = {
    "relative_attention": True,
    "position_buckets": 16,
    "max_relative_positions": -1,
    "norm_rel_ebd": "layer_norm",
    "share_att_key": True,
    "pos_att_type": ["p2c", "c2p"],
    "position_biased_input": False,
    "type_vocab_size": 0,
}
QUIRKS: dict[str, tuple[str, dict[str, Any]]] = {
    "bert": ("bert's own", BERT),
    "distilbert": ("bert's own", {"dim": 32, "hidden_dim": 48, "n_layers": 2, "n_heads": 2}),
    "electra": ("bert's own", {**BERT, "embedding_size": 16}),
    "roberta": ("roberta's own", {**BERT, "type_vocab_size": 1}),
    "modernbert": (
        "byte-bpe",
        {**BERT, "num_hidden_layers": 4, "global_attn_every_n_layers": 3, "local_attention": 16},
    ),
    "deberta-v2": ("deberta's own", {**BERT, **DEBERTA}),
    "xlm-roberta": ("xlm-roberta's own", {**BERT, "type_vocab_size": 1}),
}
"""`model_type` to its tokenizer, and to what the configs of its hub encoders say, made small."""
CLASSES = {"electra": ElectraTokenizer, "distilbert": DistilBertTokenizer}
LONGEST = 64


def tokens(config: TaggerConfig, count: int) -> TaggerConfig:
    """Windows of this length."""
    return config.model_copy(update={"window": config.window.model_copy(update={"tokens": count})})


@pytest.fixture(scope="module")
def config(config: TaggerConfig) -> TaggerConfig:
    """Targets that these encoders can read."""
    return config.model_copy(update={"window": config.window.model_copy(update={"target_tokens": 48})})


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Architecture to a tiny checkpoint as a hub folder has it; it reads `LONGEST` tokens."""
    made: dict[str, Path] = {}

    def get(architecture: str) -> Path:
        if architecture not in made:
            made[architecture] = folder = tmp_path_factory.mktemp(architecture)
            torch.manual_seed(0)
            family, sizes = QUIRKS[architecture]
            tokenizer = make_tokenizer(family)
            pad = tokenizer.pad_token_id
            longest = LONGEST + (pad + 1 if "roberta" in architecture else 0)
            ids = {"pad_token_id": pad, "bos_token_id": None, "eos_token_id": None}
            ids |= {"cls_token_id": None, "sep_token_id": None} if architecture == "modernbert" else {}
            config = AutoConfig.for_model(
                architecture, vocab_size=len(tokenizer), max_position_embeddings=longest, **ids, **sizes
            )
            AutoModel.from_config(config).save_pretrained(folder)
            tokenizer.save_pretrained(folder)
        return made[architecture]

    return get


@pytest.mark.parametrize("architecture", QUIRKS)
def test_a_family_learns_is_saved_and_tags(
    architecture: str, published: Callable[[str], Path], config: TaggerConfig, tmp_path: Path
) -> None:
    documents = gold(1)
    run = RunConfig.build(
        {
            "tagger": config.model_dump(mode="json"),
            "data": {"train": ["x"]},
            "output": "x",
            "encoder": str(published(architecture)),
            "epochs": 60,
            "optimizer": {"lr": 5e-3, "head_lr": 1e-2},
            "token_masking": 0,
            "bf16": False,
            "dropout": 0,
            "trainer": {"disable_tqdm": True, "save_strategy": "no"},
        },
        where="test",
    )
    tagger = fine_tune(run, documents, tmp_path / "trainer")
    before = checkpoint.from_encoder(run.encoder, config, 0.1)[0].encoder.state_dict()
    for name, weights in tagger.engine.model.encoder.state_dict().items():
        assert "pooler" in name or not weights.is_floating_point() or not torch.equal(weights, before[name]), name
    checkpoint.save(tmp_path / "checkpoint", tagger.engine.model, tagger.tokenizer)
    loaded = Tagger.load(tmp_path / "checkpoint")
    assert type(loaded.tokenizer) is type(AutoTokenizer.from_pretrained(published(architecture)))
    for document in documents:
        answer = loaded.tag(document.text, target=document.target)
        assert answer == tagger.tag(document.text, target=document.target)
        # Learned by heart: it could not be, were offsets or masks wrong.
        assert spans(answer) == spans(documents[0])


def spans(document: Any) -> list[tuple[int, int, str]]:
    return [(span.start, span.end, span.label) for span in document.spans("entity")]


@pytest.mark.parametrize("architecture", QUIRKS)
def test_a_layer_is_found_by_the_names_of_its_weights(
    architecture: str, published: Callable[[str], Path], config: TaggerConfig
) -> None:
    model, _ = checkpoint.from_encoder(str(published(architecture)), config, 0.1)
    count = model.encoder.config.num_hidden_layers
    (layers,) = (part for part in model.encoder.modules() if isinstance(part, nn.ModuleList) and len(part) == count)
    below = {id(weight): count - 1 - place for place, layer in enumerate(layers) for weight in layer.parameters()}
    embeddings = {id(weight) for weight in model.encoder.get_input_embeddings().parameters()}
    for name, weight in model.named_parameters():
        if name.startswith(model.pretrained):
            found = layers_below_top(name, count)
            expected = (
                {below[id(weight)]} if id(weight) in below else {count} if id(weight) in embeddings else {0, count}
            )
            assert found in expected, name


@pytest.mark.parametrize("architecture", QUIRKS)
def test_the_longest_window_can_be_read(
    architecture: str, published: Callable[[str], Path], config: TaggerConfig
) -> None:
    """RoBERTa's family counts positions from beyond the padding's; more than it has would be an index error."""
    most = tokens(config, LONGEST)
    model, tokenizer = checkpoint.from_encoder(str(published(architecture)), most, 0.1)
    text = "Kabul and " * 200 + "the Taliban."
    windows = encode([Document(id="x", text=text)], tokenizer, most)
    assert max(len(window.ids) for window in windows) == LONGEST
    assert Tagger(model, tokenizer, most).tag(text).text == text
    with pytest.raises(CheckpointError, match=f"reads at most {LONGEST} tokens"):
        checkpoint.from_encoder(str(published(architecture)), tokens(config, LONGEST + 1), 0.1)


@pytest.mark.parametrize("architecture", QUIRKS)
def test_plain_attention_is_switched_where_there_is_a_choice(
    architecture: str, published: Callable[[str], Path], config: TaggerConfig
) -> None:
    model, tokenizer = checkpoint.from_encoder(str(published(architecture)), config, 0.1)
    usual = model.encoder.config._attn_implementation
    assert usual == ("eager" if architecture == "deberta-v2" else "sdpa")
    tagger = Tagger(model, tokenizer, config)
    fused = tagger.tag("The Taliban met.", target="It met.")
    with plain_attention(model):
        assert model.encoder.config._attn_implementation == "eager"
        plain = tagger.tag("The Taliban met.", target="It met.")
    assert model.encoder.config._attn_implementation == usual
    assert [span.score for span in plain.spans("stance")] == pytest.approx(
        [span.score for span in fused.spans("stance")], abs=1e-5
    )


@pytest.mark.parametrize("architecture", CLASSES)
def test_classes_that_only_rename_berts_tokenizer_are_no_other(architecture: str) -> None:
    words = make_tokenizer("bert's own").get_vocab()
    own = CLASSES[architecture](vocab=words)
    text = "José’s Taliban, 2015."
    one, other = (
        each(text, return_offsets_mapping=True) for each in (own, make_tokenizer("bert's own").__class__(vocab=words))
    )
    assert one["offset_mapping"] == other["offset_mapping"] and one["input_ids"] == other["input_ids"]


def test_a_tokenizer_that_needs_another_package_is_told(
    published: Callable[[str], Path], config: TaggerConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def absent(*_: Any, **__: Any) -> None:
        raise ImportError("DebertaV2Tokenizer requires the SentencePiece library\nbut it was not found")

    monkeypatch.setattr(AutoTokenizer, "from_pretrained", absent)
    with pytest.raises(CheckpointError, match="requires the SentencePiece library"):
        checkpoint.from_encoder(str(published("deberta-v2")), config, 0.1)
