"""Verifying a checkpoint: nothing changed is sound, and every kind of change is told, with its place."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT
from typer.testing import CliRunner

from annotations.errors import CheckpointError
from inference import checkpoint, checkpoint_files
from inference.config import TaggerConfig
from inference.probes import TEXTS
from inference.tagger import Tagger
from inference.verification import CARD, PROBE, record, verify
from training.cli import app

FILES = ("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json", PROBE, CARD)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, tagger: Tagger) -> Path:
    """A checkpoint with random heads, its card and its answers."""
    folder = tmp_path_factory.mktemp("made") / "checkpoint"
    checkpoint.save(folder, tagger.engine.model, tagger.tokenizer)
    (folder / CARD).write_text("# Card\n")
    assert record(folder) == len(TEXTS)
    return folder


@pytest.fixture
def folder(made: Path, tmp_path: Path) -> Path:
    return shutil.copytree(made, tmp_path / "checkpoint")


def edit(path: Path, change: Callable[[Any], None]) -> None:
    """Change a JSON file in place."""
    values = json.loads(path.read_text("utf-8"))
    change(values)
    path.write_text(json.dumps(values), "utf-8")


def told(folder: Path) -> str:
    """What the command says of a checkpoint that is not sound."""
    result = CliRunner().invoke(app, ["verify", str(folder)])
    assert result.exit_code == 1, (result.output, result.stderr)
    return result.stdout


def test_what_is_as_it_was_made_is_sound(folder: Path) -> None:
    found = verify(folder)
    assert (found.problems, found.remarks, found.files, found.answers) == ([], [], len(FILES), len(TEXTS))
    assert found.furthest == 0
    result = CliRunner().invoke(app, ["verify", str(folder)])
    assert result.exit_code == 0
    assert "as it was made (6 files as in manifest.json, 10 probe texts tagged again" in result.stdout
    assert Tagger.load(folder).tag("The Taliban met.").labels


def test_probes_are_hard_and_nobodys_data() -> None:
    everything = "".join(path.read_text("utf-8") for path in (ROOT / "seeds").glob("*.txt"))
    everything += (ROOT / "annotations" / "gold.json").read_text("utf-8")
    assert not [name for name, text in TEXTS.items() if text.strip() and text[:40] in everything]
    assert not any(name in everything for name in ("Drosk", "Vessin", "Orla ", "Tansen"))
    assert "" in TEXTS.values() and max(map(len, TEXTS.values())) > 3000


def test_stored_answers_are_of_the_whole_folder(folder: Path, made: Path) -> None:
    values = json.loads((folder / PROBE).read_text("utf-8"))
    answers = {one["id"]: one for one in values["answers"]}
    assert set(answers["probe: long"]["labels"]) == {"entity", "stance", "document"}
    assert answers["probe: plain"]["target"]
    assert len(answers["probe: long"]["labels"]["stance"]) >= 60
    assert "document" not in answers["probe: empty"]["labels"]


@pytest.mark.parametrize("place", [0.5, 0.9])
def test_one_flipped_byte_of_the_weights_is_told(folder: Path, place: float) -> None:
    weights = folder / "model.safetensors"
    data = bytearray(weights.read_bytes())
    data[int(len(data) * place)] ^= 0x40
    weights.write_bytes(data)
    assert "model.safetensors: was changed; its SHA-256 is " in told(folder)


def test_a_file_cut_short_is_told_and_does_not_end_in_an_error(folder: Path) -> None:
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    text = told(folder)
    assert "model.safetensors: was changed" in text
    assert "the tagger cannot be loaded" in text


def test_a_renamed_label_is_told_by_file_and_by_answer(folder: Path) -> None:
    config = folder / "config.json"
    config.write_text(config.read_text("utf-8").replace('"denies"', '"refuses"'))
    text = told(folder)
    assert "config.json: was changed" in text
    values = json.loads((folder / PROBE).read_text("utf-8"))
    if "denies" in json.dumps(values["answers"]):
        assert "is refuses (" in text


def test_other_weights_drift_whatever_the_manifest_says(
    folder: Path, encoders: Callable[[str], Path], config: TaggerConfig
) -> None:
    import torch

    torch.manual_seed(7)
    model, tokenizer = checkpoint.from_encoder(str(encoders("modernbert")), config, 0.1)
    stored = (folder / PROBE).read_bytes()
    checkpoint.save(folder, model, tokenizer)
    record(folder)
    (folder / PROBE).write_bytes(stored)
    checkpoint_files.write_manifest(folder, FILES)
    found = verify(folder)
    assert found.files == len(FILES)
    assert any("layer 'stance'" in problem for problem in found.problems)
    assert any("layer 'entity'" in problem and " was " in problem for problem in found.problems)
    assert f"and {len(found.problems) - 20} more" in str(found)


def test_an_edited_answer_is_told_with_its_place(folder: Path) -> None:
    def other(values: Any) -> None:
        values["answers"][0]["labels"]["document"]["score"] += 0.01
        span = values["answers"][1]["labels"]["stance"][1]
        span["label"] = "denies" if span["label"] != "denies" else "neutral"

    edit(folder / PROBE, other)
    text = told(folder)
    assert "probe.json: was changed" in text
    assert "probe: plain, layer 'document': the document " in text and "(tolerance 0.001)" in text
    assert "probe: denial, layer 'stance': '" in text
    assert "3 problems" in text


def test_a_score_within_the_tolerance_passes(folder: Path) -> None:
    edit(folder / PROBE, lambda values: values["answers"][0]["labels"]["document"].update(
        score=values["answers"][0]["labels"]["document"]["score"] - 0.0005))  # fmt: skip
    checkpoint_files.write_manifest(folder, FILES)
    assert verify(folder).sound
    assert verify(folder).furthest == pytest.approx(0.0005, rel=1e-3)
    assert not verify(folder, tolerance=1e-4).sound


@pytest.mark.parametrize("name", FILES)
def test_a_deleted_file_is_told(folder: Path, name: str) -> None:
    (folder / name).unlink()
    assert f"{name}: is missing" in told(folder)


def test_a_checkpoint_of_earlier_days_says_what_it_lacks_and_can_be_recorded(folder: Path) -> None:
    for name in (PROBE, "manifest.json", CARD):
        (folder / name).unlink()
    assert Tagger.load(folder).schema.layers
    assert (
        f"there is no manifest.json and no probe.json: train again, or `standpoint verify --record {folder}`"
        in told(folder)
    )
    assert not (folder / PROBE).exists()
    result = CliRunner().invoke(app, ["verify", "--record", str(folder)])
    assert result.exit_code == 0, result.output
    assert verify(folder).sound


def test_an_edited_card_is_a_remark(folder: Path) -> None:
    (folder / CARD).write_text("# Card\n\nlicense: mine\n")
    (folder / "notes.txt").write_text("mine")
    found = verify(folder)
    assert found.sound
    assert found.remarks == ["README.md was edited since", "not in manifest.json: notes.txt"]


def test_another_package_or_format_is_told_and_a_newer_torch_is_a_remark(folder: Path) -> None:
    edit(folder / PROBE, lambda values: values.update(standpoint="0.0.9"))
    checkpoint_files.write_manifest(folder, FILES)
    found = verify(folder)
    assert found.answers and len(found.problems) == 1
    assert "made by Standpoint 0.0.9, this is " in found.problems[0] and "--record" in found.problems[0]
    edit(folder / PROBE, lambda values: values.update(format=2))
    assert "has format 2, this Standpoint reads 1; use the version that made it (0.0.9)" in told(folder)
    record(folder)
    edit(folder / PROBE, lambda values: values["packages"].update(torch="1.0"))
    checkpoint_files.write_manifest(folder, FILES)
    found = verify(folder)
    assert found.sound and found.remarks[0].startswith("made with torch 1.0, this is ")


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"format": 1}', '{"format": 1, "standpoint": "1", "packages": [], "answers": 3}']
)
@pytest.mark.parametrize("name", [PROBE, "manifest.json"])
def test_nonsense_in_either_file_is_told(folder: Path, name: str, text: str) -> None:
    (folder / name).write_text(text)
    found = verify(folder)
    assert not found.sound and name in str(found)


def test_what_is_no_checkpoint_is_an_error(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "nowhere", ROOT / "seeds"):
        with pytest.raises(CheckpointError):
            verify(path)
        assert CliRunner().invoke(app, ["verify", str(path)]).exit_code == 2


def test_narrow_targets_still_give_a_probe(
    tmp_path: Path, encoders: Callable[[str], Path], config: TaggerConfig
) -> None:
    window = config.window.model_copy(update={"target_tokens": 8})
    narrow = config.model_copy(update={"window": window})
    model, tokenizer = checkpoint.from_encoder(str(encoders("bert")), narrow, 0.1)
    checkpoint.save(tmp_path, model, tokenizer)
    record(tmp_path)
    assert verify(tmp_path).sound
    assert (
        json.loads((tmp_path / PROBE).read_text())["answers"][0].get("target")
        != "The bridge over the Orla has been closed."
    )


def test_other_tools_still_read_the_folder(folder: Path, tmp_path: Path) -> None:
    checkpoint.save_encoder(folder, tmp_path / "encoder")
    assert not (tmp_path / "encoder" / PROBE).exists()
    hashes = json.loads((tmp_path / "encoder" / "manifest.json").read_text())
    assert set(hashes) == {path.name for path in (tmp_path / "encoder").iterdir()} - {"manifest.json"}
