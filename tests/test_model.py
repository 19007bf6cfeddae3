"""The network: stance depends on the target, entities never do; any encoder; save and load give the same answers."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from conftest import FAMILIES
from transformers import AutoModel

from annotations.document import Document
from annotations.errors import CheckpointError
from annotations.schema import Schema
from inference import checkpoint, checkpoint_files
from inference.batches import collate
from inference.config import ReaderConfig, TaggerConfig
from inference.tagger import Tagger
from inference.windows import encode

TEXT = "The Taliban met al-Qaeda in Kabul on Friday. Officials denied it.\r\n\r\nA later report, in Dari, said 😀 otherwise."


def _logits(tagger: Tagger, target: str | None) -> dict[str, torch.Tensor]:
    windows = encode([Document(id="x", text=TEXT, target=target)], tagger.tokenizer, tagger.config)
    logits = tagger.engine(collate(windows, range(len(windows)), tagger.tokenizer.pad_token_id))
    return {
        "entity": logits.tokens["entity"],
        "stance": logits.sentences["stance"],
        "document": logits.votes["document"],
    }


def test_stance_depends_on_the_target_and_entities_never_do(tagger: Tagger) -> None:
    one, other, none = (_logits(tagger, target) for target in ("The Taliban is strong.", "Kabul is far.", None))
    assert torch.equal(one["entity"], other["entity"])
    assert torch.equal(one["entity"], none["entity"])
    assert not torch.allclose(one["stance"], other["stance"])
    assert not torch.allclose(one["document"], other["document"])


def test_the_same_text_has_the_same_spans_whatever_the_target(tagger: Tagger) -> None:
    found = [tagger.tag(TEXT, target=target) for target in ("A is B.", "B is A.", None, "")]
    assert found[0].spans("entity") == found[1].spans("entity") == found[2].spans("entity")
    assert set(found[2].labels) == {"entity"} and found[3] == found[2]
    assert tagger.tag(Document(id="text-0", text=TEXT), target=" ").labels == found[2].labels


def test_company_in_the_batch_changes_nothing(tagger: Tagger) -> None:
    alone = tagger.tag(Document(id="x", text=TEXT, target="A is B."))
    many = list(tagger.tag([Document(id=n, text=t, target=g) for n, t, g in _company()]))
    mine = next(document for document in many if document.id == "x")
    assert [(s.start, s.end, s.label) for s in mine.spans("entity")] == [
        (s.start, s.end, s.label) for s in alone.spans("entity")
    ]
    for here, there in zip(mine.spans("stance"), alone.spans("stance"), strict=True):
        assert here.label == there.label
        assert here.score == pytest.approx(there.score, abs=1e-4)


def _company() -> list[tuple[str, str, str | None]]:
    return [("a", "Short.", None), ("x", TEXT, "A is B."), ("y", TEXT, "B is A."), ("b", "Long words. " * 80, "C.")]


@pytest.mark.parametrize("architecture", FAMILIES)
def test_any_encoder_is_saved_and_loaded(
    architecture: str, encoders: Callable[[str], Path], config: TaggerConfig, tmp_path: Path
) -> None:
    model, tokenizer = checkpoint.from_encoder(str(encoders(architecture)), config, 0.1)
    before = Tagger(model, tokenizer, config)
    checkpoint.save(tmp_path / "ck", model, tokenizer)
    after = Tagger.load(tmp_path / "ck")
    assert sorted(path.suffix for path in (tmp_path / "ck").iterdir() if "model" in path.name) == [".safetensors"]
    assert after.config == before.config
    assert [*after.schema.layers["entity"].labels] == [*before.schema.layers["entity"].labels]
    for target in ("The Taliban is strong.", None):
        one, other = (flat(tagger.tag(TEXT, target=target)) for tagger in (after, before))
        # Where in memory the weights lie can change the last bits.
        assert [found for found, _ in one] == [found for found, _ in other]
        assert [score for _, score in one] == pytest.approx([score for _, score in other], abs=1e-5)
    assert after.tag(TEXT).text == TEXT


def flat(document: Document) -> list[tuple[dict[str, object], float | None]]:
    """Every label of a document without its score, and the score."""
    found = [one for own in document.labels.values() for one in (own if isinstance(own, tuple) else [own])]
    return [(one.model_dump(exclude={"score"}), one.score) for one in found]


def test_a_taggers_encoder_can_be_taken_over(
    encoders: Callable[[str], Path], config: TaggerConfig, tmp_path: Path
) -> None:
    model, tokenizer = checkpoint.from_encoder(str(encoders("bert")), config, 0.1)
    checkpoint.save(tmp_path / "ck", model, tokenizer)
    again, _ = checkpoint.from_encoder(str(tmp_path / "ck"), config, 0.1)
    for (name, one), (_, other) in zip(
        model.encoder.state_dict().items(), again.encoder.state_dict().items(), strict=True
    ):
        assert torch.equal(one, other), name


def test_a_reader_travels_with_the_encoder_where_its_shape_fits(
    encoders: Callable[[str], Path], config: TaggerConfig, tmp_path: Path
) -> None:
    model, tokenizer = checkpoint.from_encoder(str(encoders("bert")), config, 0.1)
    assert model.reader is not None and model.pretrained == ("encoder.",)
    checkpoint.save(tmp_path / "ck", model, tokenizer)
    checkpoint.save_encoder(tmp_path / "ck", tmp_path / "encoder")
    torch.manual_seed(7)
    for place in ("ck", "encoder"):
        again, _ = checkpoint.from_encoder(str(tmp_path / place), config, 0.1)
        assert again.reader is not None and again.pretrained == ("encoder.", "reader.")
        for one, other in zip(model.reader.parameters(), again.reader.parameters(), strict=True):
            assert torch.allclose(one, other, atol=1e-3)
    deeper = config.model_copy(update={"reader": ReaderConfig(layers=2, heads=2)})
    fresh, _ = checkpoint.from_encoder(str(tmp_path / "encoder"), deeper, 0.1)
    assert fresh.pretrained == ("encoder.",)
    plain = AutoModel.from_pretrained(tmp_path / "encoder")
    assert plain.config.model_type == "bert"


def test_the_hash_and_the_manifest_cover_the_reader(
    encoders: Callable[[str], Path], config: TaggerConfig, tmp_path: Path
) -> None:
    model, tokenizer = checkpoint.from_encoder(str(encoders("bert")), config, 0.1)
    checkpoint.save(tmp_path / "ck", model, tokenizer)
    checkpoint.save_encoder(tmp_path / "ck", tmp_path / "encoder")
    hashes = json.loads((tmp_path / "encoder" / "manifest.json").read_text())
    files = {path.name for path in (tmp_path / "encoder").iterdir()} - {"manifest.json"}
    assert {"model.safetensors", "reader.safetensors", "config.json", "tokenizer.json"} <= set(hashes) <= files
    before = checkpoint_files.version(tmp_path / "encoder")
    (tmp_path / "encoder" / "reader.safetensors").unlink()
    assert checkpoint_files.version(tmp_path / "encoder") != before


def test_untargeted_layers_need_no_target(encoders: Callable[[str], Path]) -> None:
    schema = Schema.build({"layers": {"topic": {"kind": "document", "labels": {"war": {}, "peace": {}}}}}, where="test")
    config = TaggerConfig(label_schema=schema)
    model, tokenizer = checkpoint.from_encoder(str(encoders("roberta")), config, 0.1)
    tagged = Tagger(model, tokenizer, config).tag("Some text here. More of it.")
    assert tagged.labels["topic"].label in ("war", "peace")  # type: ignore[union-attr]


def test_a_missing_file_of_a_checkpoint_is_named(tmp_path: Path, tagger: Tagger) -> None:
    checkpoint.save(tmp_path / "ck", tagger.engine.model, tagger.tokenizer)
    (tmp_path / "ck" / "model.safetensors").unlink()
    (tmp_path / "ck" / "tokenizer.json").unlink()
    with pytest.raises(CheckpointError, match=r"no model.safetensors, no tokenizer.json"):
        Tagger.load(tmp_path / "ck")


def test_a_cut_off_weight_file_is_named(tmp_path: Path, tagger: Tagger) -> None:
    checkpoint.save(tmp_path / "ck", tagger.engine.model, tagger.tokenizer)
    weights = tmp_path / "ck" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:5000])
    with pytest.raises(CheckpointError, match="cannot be loaded"):
        Tagger.load(tmp_path / "ck")


def test_weights_that_lack_a_head_are_refused(tmp_path: Path, tagger: Tagger) -> None:
    from safetensors.torch import load_file, save_file

    checkpoint.save(tmp_path / "ck", tagger.engine.model, tagger.tokenizer)
    weights = tmp_path / "ck" / "model.safetensors"
    kept = {name: tensor for name, tensor in load_file(weights).items() if "span_heads" not in name}
    save_file(kept, weights, metadata={"format": "pt"})
    with pytest.raises(CheckpointError, match="span_heads"):
        Tagger.load(tmp_path / "ck")


def test_a_bare_encoder_is_no_tagger(encoders: Callable[[str], Path]) -> None:
    with pytest.raises(CheckpointError, match="not a tagger"):
        Tagger.load(encoders("bert"))


def test_an_encoder_that_is_nowhere_is_named(config: TaggerConfig) -> None:
    with pytest.raises(CheckpointError, match="neither a complete folder nor a reachable hub model"):
        checkpoint.from_encoder("no-such/encoder", config, 0.1)


def test_windows_longer_than_the_encoder_reads_are_refused(encoders: Callable[[str], Path], schema: Schema) -> None:
    config = TaggerConfig.build(
        {"label_schema": schema.model_dump(mode="json"), "window": {"tokens": 512}, "reader": {"heads": 3}},
        where="test",
    )
    with pytest.raises(CheckpointError) as caught:
        checkpoint.from_encoder(str(encoders("bert")), config, 0.1)
    assert len(caught.value.problems) == 2


def test_the_version_changes_with_the_weights(tmp_path: Path, tagger: Tagger) -> None:
    checkpoint.save(tmp_path / "ck", tagger.engine.model, tagger.tokenizer)
    before = checkpoint_files.version(tmp_path / "ck")
    assert before == checkpoint_files.version(tmp_path / "ck")
    raw = bytearray((tmp_path / "ck" / "model.safetensors").read_bytes())
    raw[-1] ^= 1
    (tmp_path / "ck" / "model.safetensors").write_bytes(bytes(raw))
    assert checkpoint_files.version(tmp_path / "ck") != before


def test_config_json_survives_sorted_keys(tmp_path: Path, tagger: Tagger) -> None:
    checkpoint.save(tmp_path / "ck", tagger.engine.model, tagger.tokenizer)
    path = tmp_path / "ck" / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()), sort_keys=True))
    assert Tagger.load(tmp_path / "ck").tag(TEXT, target="A.") == tagger.tag(TEXT, target="A.")
