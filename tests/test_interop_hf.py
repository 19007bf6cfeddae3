"""`standpoint export --to hf`: transformers alone loads what it writes, for every family; what it cannot write is refused."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import warm
import yaml
from conftest import ROOT
from learned import TEXT, learned
from test_families import QUIRKS, published  # noqa: F401
from transformers import AutoModelForTokenClassification, AutoTokenizer, pipeline
from typer.testing import CliRunner

from annotations.document import Document
from annotations.errors import CheckpointError, ConfigError, DocumentError
from annotations.schema import Schema
from inference import checkpoint, checkpoint_files
from inference.config import TaggerConfig
from inference.interop import hf
from inference.interop.hf import to_hf
from inference.tagger import Tagger
from training.cli import app

TEXTS = ["  Joe\u00a0Biden (Kabul) — met.", "One word", "José’s ally, 2015"]
ALONE = """
import importlib.abc, json, sys
class Refuse(importlib.abc.MetaPathFinder):
    def find_spec(self, name, *_):
        if name.split(".")[0] in ("annotations", "inference", "training"):
            raise ImportError(name)
sys.meta_path.insert(0, Refuse())
from transformers import pipeline
tag = pipeline("token-classification", model=sys.argv[1], aggregation_strategy="simple", stride=16)
print(json.dumps([[one["start"], one["end"], one["entity_group"]] for one in tag(sys.argv[2])]))
"""


@pytest.fixture(scope="module")
def config(config: TaggerConfig) -> TaggerConfig:
    """Targets that the small encoders can read, and a temperature to fold in."""
    window = config.window.model_copy(update={"target_tokens": 48})
    return config.model_copy(update={"window": window, "temperatures": {"entity": 2.0}})


def fresh(encoder: Path, config: TaggerConfig, folder: Path) -> Path:
    """A checkpoint with random heads."""
    torch.manual_seed(3)
    model, tokenizer = checkpoint.from_encoder(str(encoder), config, 0.1)
    checkpoint.save(folder / "checkpoint", model, tokenizer)
    return folder / "checkpoint"


@pytest.mark.parametrize("architecture", QUIRKS)
def test_every_family_gives_the_taggers_logits_and_tokens(
    architecture: str,
    published: Callable[[str], Path],  # noqa: F811
    config: TaggerConfig,
    tmp_path: Path,
) -> None:
    path = fresh(published(architecture), config, tmp_path)
    made = to_hf(path, tmp_path / "hf")
    assert (made.layer, made.folder) == ("entity", tmp_path / "hf") and made.difference < 1e-4
    tagger = Tagger.load(path)
    plain = AutoModelForTokenClassification.from_pretrained(made.folder)
    tokenizer = AutoTokenizer.from_pretrained(made.folder)
    labels = config.label_schema.layers["entity"].names
    assert [plain.config.id2label[n] for n in range(3)] == ["O", f"B-{labels[0]}", f"I-{labels[0]}"]
    assert tokenizer.model_max_length == config.window.tokens
    for text in TEXTS:
        inputs = tokenizer(text, return_tensors="pt")
        assert set(inputs) == {"input_ids", "attention_mask"}
        (window,), ((_, logits),) = tagger.read([Document(id="x", text=text)])
        assert inputs["input_ids"].tolist() == [window.ids]
        with torch.inference_mode():
            theirs = plain(**inputs).logits
        assert logits.tokens is not None
        assert torch.allclose(theirs * 2.0, logits.tokens["entity"], atol=1e-4, rtol=1e-4)


def test_byte_level_offsets_have_no_leading_spaces(
    published: Callable[[str], Path],  # noqa: F811
    config: TaggerConfig,
    tmp_path: Path,
) -> None:
    """As the hub's ModernBERT comes, its offsets hold the space before a word."""
    before = AutoTokenizer.from_pretrained(published("modernbert"))
    places = before(TEXT, return_offsets_mapping=True)["offset_mapping"]
    assert any(TEXT[start:end].startswith(" ") for start, end in places)
    made = to_hf(fresh(published("modernbert"), config, tmp_path), tmp_path / "hf")
    after = AutoTokenizer.from_pretrained(made.folder)(TEXT, return_offsets_mapping=True)["offset_mapping"]
    assert [(start + (TEXT[start:end][:1] == " "), end) for start, end in places] == after


@pytest.mark.parametrize("architecture", ["modernbert", "bert", "deberta-v2"])
def test_the_pipeline_gives_the_taggers_spans(
    architecture: str, encoders: Callable[[str], Path], config: TaggerConfig, tmp_path: Path
) -> None:
    path = learned(encoders(architecture), config, tmp_path)
    made = to_hf(path, tmp_path / "hf")
    spans = Tagger.load(path).tag(TEXT).spans("entity")
    assert len(spans) == 3
    card = (made.folder / "README.md").read_text("utf-8")
    strategy = "average" if architecture == "bert" else "simple"
    assert f'aggregation_strategy="{strategy}", stride=16' in card
    assert ("space before a word" in card) == (architecture == "deberta-v2")
    tag = pipeline("token-classification", model=str(made.folder), aggregation_strategy=strategy, stride=16)
    found = [(one["start"] + (TEXT[one["start"]] == " "), one["end"], one["entity_group"]) for one in tag(TEXT)]
    assert found == [(span.start, span.end, span.label) for span in spans]
    if architecture == "modernbert":
        assert [one["score"] for one in tag(TEXT)] == pytest.approx([span.score for span in spans], abs=1e-3)
        assert alone(made.folder, TEXT) == [[one["start"], one["end"], one["entity_group"]] for one in tag(TEXT)]


def alone(folder: Path, text: str) -> Any:
    """What the pipeline finds in a process that cannot import this project."""
    command = [sys.executable, "-c", ALONE, str(folder), text]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=os.environ)
    return json.loads(done.stdout)


def test_the_card_is_one_that_the_hub_reads(tiny: Path, config: TaggerConfig, tmp_path: Path) -> None:
    made = to_hf(fresh(tiny, config, tmp_path), tmp_path / "hf")
    _, header, text = (made.folder / "README.md").read_text("utf-8").split("---\n", 2)
    assert yaml.safe_load(header)["pipeline_tag"] == "token-classification"
    assert checkpoint_files.version(tmp_path / "checkpoint") in text
    assert "| PERSON |" in text and str(tmp_path) not in text
    assert str(tmp_path) not in (made.folder / "config.json").read_text("utf-8")
    assert len({path.stat().st_mode for path in made.folder.iterdir()}) == 1, "readable to the same people"


@pytest.mark.parametrize(
    ("layers", "layer", "told"),
    [
        ({"a": "spans", "b": "spans"}, None, "several layers of spans; name one of a, b"),
        ({"a": "spans", "b": "spans"}, "c", "'c' is no layer of spans"),
        ({"a": "spans", "b": "document"}, "b", "'b' is no layer of spans"),
        ({"b": "document"}, None, "no layer of kind spans"),
    ],
)
def test_layers_that_cannot_be_meant_are_refused(
    layers: dict[str, str], layer: str | None, told: str, tiny: Path, config: TaggerConfig, tmp_path: Path
) -> None:
    values = {name: {"kind": kind, "labels": {"X": {}, "Y": {}}} for name, kind in layers.items()}
    schema = Schema.build({"layers": values}, where="test")
    path = fresh(tiny, config.model_copy(update={"label_schema": schema, "temperatures": {}}), tmp_path)
    with pytest.raises(ConfigError, match=told):
        to_hf(path, tmp_path / "hf", layer)
    assert [item.name for item in tmp_path.iterdir()] == ["checkpoint"]


def test_one_of_several_layers_is_taken(tiny: Path, config: TaggerConfig, tmp_path: Path) -> None:
    values = {"a": {"kind": "spans", "labels": {"X": {}}}, "b": {"kind": "spans", "labels": {"Y": {}, "Z": {}}}}
    schema = Schema.build({"layers": values}, where="test")
    path = fresh(tiny, config.model_copy(update={"label_schema": schema, "temperatures": {}}), tmp_path)
    made = to_hf(path, tmp_path / "hf", "b")
    labels = json.loads((made.folder / "config.json").read_text("utf-8"))["id2label"]
    assert list(labels.values()) == ["O", "B-Y", "I-Y", "B-Z", "I-Z"]


def test_a_label_that_the_pipeline_drops_is_refused(tiny: Path, config: TaggerConfig, tmp_path: Path) -> None:
    schema = Schema.build({"layers": {"a": {"kind": "spans", "labels": {"O": {}}}}}, where="test")
    path = fresh(tiny, config.model_copy(update={"label_schema": schema, "temperatures": {}}), tmp_path)
    with pytest.raises(ConfigError, match="drops a label called 'O'"):
        to_hf(path, tmp_path / "hf")


def test_a_head_that_computes_more_is_refused(
    tiny: Path, config: TaggerConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """ModernBERT's own head, were it not made to hand on what it gets."""
    path = fresh(tiny, config, tmp_path)
    monkeypatch.setitem(hf.PASSING, "modernbert", lambda plain: None)
    with pytest.raises(CheckpointError, match="answers otherwise than the tagger"):
        to_hf(path, tmp_path / "hf")
    monkeypatch.setattr(hf, "PASSING", {})
    with pytest.raises(CheckpointError, match=r"weights besides one linear layer: head\.dense\.weight"):
        to_hf(path, tmp_path / "hf")
    assert [item.name for item in tmp_path.iterdir()] == ["checkpoint"]


def test_a_folder_with_something_in_it_is_left_alone(tiny: Path, config: TaggerConfig, tmp_path: Path) -> None:
    path = fresh(tiny, config, tmp_path)
    (tmp_path / "hf").mkdir()
    (tmp_path / "hf" / "mine").write_text("x")
    with pytest.raises(DocumentError, match="not an empty folder"):
        to_hf(path, tmp_path / "hf")
    assert [item.name for item in (tmp_path / "hf").iterdir()] == ["mine"]
    with pytest.raises(CheckpointError, match="is no folder"):
        to_hf(tmp_path / "none", tmp_path / "other")


LIMITED = """
import resource, signal, sys
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
sys.argv = ["standpoint", *sys.argv[1:]]
from training.cli import main
main()
"""


def test_the_command(tiny: Path, config: TaggerConfig, tmp_path: Path) -> None:
    path = fresh(tiny, config, tmp_path)
    result = CliRunner().invoke(app, ["export", str(path), str(tmp_path / "hf"), "--to", "hf"])
    assert result.exit_code == 0 and result.stdout.startswith(f"Layer entity: {tmp_path / 'hf'}"), result.output
    assert CliRunner().invoke(app, ["export", str(path), str(tmp_path / "x"), "--to", "onnnx"]).exit_code == 2
    again = CliRunner().invoke(app, ["export", str(path), str(tmp_path / "hf"), "--to", "hf"])
    assert again.exit_code == 2 and "not an empty folder" in again.stderr


def test_a_full_disk_leaves_nothing(tiny: Path, config: TaggerConfig, tmp_path: Path) -> None:
    path = fresh(tiny, config, tmp_path)
    command = [sys.executable, "-c", LIMITED, "export", str(path), str(tmp_path / "hf"), "--to", "hf"]
    done = warm.run(command, cwd=ROOT)
    assert done.returncode == 2, done.stderr
    assert "cannot be written" in done.stderr and "Traceback" not in done.stderr
    assert [item.name for item in tmp_path.iterdir()] == ["checkpoint"]
