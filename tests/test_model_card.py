"""The card that every checkpoint brings: valid metadata, true numbers, code that runs, and no score on learned documents."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import ROOT
from huggingface_hub import ModelCard
from test_main_path import cli, gold, write_run

from annotations.comparison import compare
from annotations.document import Document, FrozenDict
from annotations.schema import Schema
from annotations.storage import fingerprint, read_jsonl, write_jsonl
from inference.checkpoint_files import version
from inference.tagger import Tagger
from inference.verification import verify
from training.config import RunConfig
from training.lineage import LINEAGE, known_texts, learned_texts, lineage
from training.model_card import model_card
from training.runs import train
from training.trainer import fine_tune

SCHEMA = Schema.load(ROOT / "configs" / "schema.yaml")


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory, encoders: Callable[[str], Path]) -> Path:
    """A run with two groups held out and one that learns from everything, through the command line."""
    folder = tmp_path_factory.mktemp("card")
    write_jsonl(folder / "gold.jsonl", gold(4))
    config = write_run(folder, ROOT / "configs/schema.yaml", folder / "gold.jsonl", encoders("modernbert"))
    held = "data.held_out=[article-1,article-3]"
    cli("train", config, held, f"output={folder / 'held'}", "trainer={disable_tqdm: true, hub_token: hf_secret}")
    cli("train", config, f"output={folder / 'all'}")
    return folder


def card(run: Path) -> str:
    return (run / "checkpoint" / "README.md").read_text("utf-8")


def header(text: str) -> dict[str, Any]:
    values: dict[str, Any] = yaml.safe_load(text.split("---\n")[1])
    return values


def test_every_checkpoint_is_whole_and_verifies(runs: Path) -> None:
    for name in ("held", "all"):
        folder = runs / name / "checkpoint"
        assert {path.name for path in folder.iterdir()} >= {"README.md", LINEAGE, "probe.json", "manifest.json"}
        found = verify(folder)
        assert found.sound and not found.remarks
        assert not list((runs / name).glob("*.part"))
        assert f"version `{version(folder)}`" in card(runs / name)


def test_the_header_is_what_the_hub_reads(runs: Path) -> None:
    read = ModelCard.load(runs / "held" / "checkpoint" / "README.md")
    assert read.data.library_name == "standpoint"
    assert read.data.pipeline_tag == "token-classification"
    assert read.data.license is None and "# license: " in card(runs / "held")
    results = read.data.eval_results
    assert [one.task_name for one in results] == ["entity", "stance", "document"]
    assert {one.dataset_name for one in results} == {"article-1, article-3"}
    metrics = json.loads((runs / "held" / "metrics.json").read_text())["layers"]
    values = {one.task_name: one.metric_value for one in results}
    assert values["entity"] == metrics["entity"]["micro_f1"]
    assert values["stance"] == metrics["stance"]["macro_f1"]
    assert "model-index" not in header(card(runs / "all"))


def test_its_numbers_are_those_of_the_run(runs: Path) -> None:
    text, learned = card(runs / "held"), [one for one in gold(4) if one.group in ("article-0", "article-2")]
    assert "4 documents in 2 groups (the documents of one article, say), of `gold.jsonl`" in text
    assert f"fingerprint `{fingerprint(learned)}`" in text
    resolved = RunConfig.load(runs / "held" / "config.yaml")
    assert f"| optimizer.lr | {resolved.optimizer.lr} |" in text
    assert f"| optimizer.head_lr | {resolved.optimizer.head_lr} |" in text
    assert "| epochs | 1.0 |" in text and "| window.tokens | 48 |" in text and "| whole_words | True |" in text
    assert "| `MILITANT_GROUP` | 2 |" in text and "| `WEAPON` | 0 |" in text
    never = next(line for line in text.splitlines() if line.startswith("- Without an example"))
    assert "`WEAPON (entity)`" in never and "`LOCATION (entity)`" not in never
    predicted = [*read_jsonl(runs / "held" / "predictions.jsonl")]
    held = [one for one in gold(4) if one not in learned]
    compared = compare(held, predicted, SCHEMA).layers
    row = next(line for line in text.splitlines() if line.startswith("| `stance` | macro F1"))
    assert f"| {compared['stance'].macro_f1:.3f} (" in row and "–" in row and row.endswith("| 4 | 2 |")
    assert "With fewer than 10 groups (`entity`, `stance`, `document`)" in text


def test_scores_on_learned_documents_are_never_shown(runs: Path) -> None:
    text = card(runs / "all")
    told = text.split("## Scores")[1].split("## Limits")[0]
    assert told.strip().startswith("Not known. Nothing was kept out of training")
    assert not re.search(r"\d\.\d", told)
    assert json.loads((runs / "all" / "checkpoint" / LINEAGE).read_text())["scores"] == []


def test_one_group_has_no_interval(runs: Path, tmp_path: Path) -> None:
    cli("train", runs / "run.yaml", "data.held_out=[article-1]", f"output={tmp_path / 'run'}")
    assert "(no interval)" in card(tmp_path / "run")
    assert "of one group there is none" in card(tmp_path / "run")


def test_the_code_in_it_runs(runs: Path) -> None:
    [code] = re.findall(r"```python\n(.*?)```", card(runs / "held"), re.DOTALL)
    ran = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(ROOT)!r})\n{code}"],
        cwd=runs / "held" / "checkpoint",
        capture_output=True,
        text=True,
    )
    assert ran.returncode == 0, ran.stderr
    assert [line.split()[0] for line in ran.stdout.splitlines()] == ["entity", "stance", "document"]


def test_nothing_private_is_in_the_folder(runs: Path) -> None:
    for path in (runs / "held" / "checkpoint").iterdir():
        if path.suffix in (".md", ".json") and not path.name.startswith("tokenizer"):
            text = path.read_text("utf-8")
            assert str(runs) not in text and "hf_secret" not in text, path.name
            assert "Officials of the NDS" not in text, path.name


def test_learned_texts_are_known_again(runs: Path, tmp_path: Path) -> None:
    texts = learned_texts(runs / "held" / "checkpoint")
    assert texts is not None
    assert known_texts(gold(4), texts) == ["0-1", "0-2", "2-1", "2-2"]
    assert learned_texts(tmp_path) is None
    further = tmp_path / "more.jsonl"
    write_jsonl(further, [one.model_copy(update={"text": one.text + " More."}) for one in gold(1)])
    again = [f"encoder={runs / 'held' / 'checkpoint'}", f"data.train=[{further}]", f"output={tmp_path / 'again'}"]
    cli("train", runs / "run.yaml", *again)
    both = learned_texts(tmp_path / "again" / "checkpoint")
    assert both is not None and both > texts
    assert "is that of a tagger which had learned from 2 texts before" in card(tmp_path / "again")


def test_older_checkpoints_load_and_serve_as_encoders(runs: Path, tmp_path: Path) -> None:
    old = shutil.copytree(runs / "held" / "checkpoint", tmp_path / "old")
    for name in ("README.md", LINEAGE, "probe.json", "manifest.json"):
        (old / name).unlink()
    assert Tagger.load(old).schema == Tagger.load(runs / "held" / "checkpoint").schema
    cli("train", runs / "run.yaml", f"encoder={old}", f"output={tmp_path / 'new'}")
    assert verify(tmp_path / "new" / "checkpoint").sound


def test_a_failing_card_leaves_no_half_checkpoint(runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = RunConfig.load(runs / "run.yaml", [f"output={tmp_path / 'run'}"])

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("training.model_card.record", full)
    with pytest.raises(Exception, match="the weights cannot be written"):
        train(config)
    assert not (tmp_path / "run" / "checkpoint").exists()
    assert not (tmp_path / "run" / "checkpoint.part").exists()
    monkeypatch.undo()
    monkeypatch.chdir(ROOT)
    train(config)
    assert verify(tmp_path / "run" / "checkpoint").sound


def test_what_is_scored_is_what_is_saved(encoders: Callable[[str], Path], tmp_path: Path) -> None:
    """Trained in bfloat16, the tagger in memory answers as the checkpoint will."""
    from inference import checkpoint

    write_jsonl(tmp_path / "gold.jsonl", gold(2))
    path = write_run(tmp_path, "configs/schema.yaml", tmp_path / "gold.jsonl", encoders("bert"), bf16=True)
    tagger = fine_tune(RunConfig.load(path), gold(2), tmp_path / "trainer")
    checkpoint.save(tmp_path / "kept", tagger.engine.model, tagger.tokenizer)
    bare = [document.model_copy(update={"labels": FrozenDict()}) for document in gold(2)]
    assert tagger.tag_all(bare) == Tagger.load(tmp_path / "kept").tag_all(bare)


def facts(schema: Schema, encoder: str = "default", **more: Any) -> dict[str, Any]:
    """Facts of a run that was never made."""
    config = RunConfig.build(
        {"tagger": {"label_schema": schema.model_dump(mode="json")}, "data": {"train": ["a|b`c.jsonl"]}, "output": "runs/x",
         "encoder": encoder, "epochs": 1, **more},
        where="test",
    )  # fmt: skip
    origin = {
        "started": "2020-01-02T03:04:05+00:00",
        "encoder": {"name": encoder, "version": None if "/" in encoder else "0123"},
        "data": {"fingerprint": "f" * 16},
        "packages": {"torch": "2", "transformers": "5"},
        "python": "3.11",
        "hardware": {"processor": "p", "threads": 1, "gpu": None},
    }
    learned = [Document(id="a", text="One.")]
    return {**lineage(config, origin, learned, [], config.tagger), "model_version": "v", "scores": []}


def plain(layers: Mapping[str, Any]) -> Schema:
    return Schema.build({"layers": layers}, where="test")


def test_other_schemas_and_encoders_make_a_valid_card() -> None:
    odd = plain({"tone": {"kind": "document", "labels": {"a|b": {}, "c`d": {}, "no: yes # %": {}}}})
    text = model_card(facts(odd, "acme/some-encoder"), odd)
    values = header(text)
    assert values["pipeline_tag"] == "text-classification"
    assert values["base_model"] == "acme/some-encoder"
    assert "target" not in text.split("## How to load")[1].split("## Licence")[0]
    assert "| `a\\|b` | 0 |" in text and "| `c'd` | 0 |" in text
    assert "Standpoint's own" not in text
    own = model_card(facts(SCHEMA), SCHEMA)
    assert "base_model" not in header(own)
    assert "Standpoint's own, Apache-2.0" in own
    assert header(own)["tags"] == ["standpoint", "named-entity-recognition", "stance-detection"]
