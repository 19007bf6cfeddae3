"""The gate: a worse checkpoint fails, an equal one passes, what cannot be compared is an error, and one group is no proof."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from click.testing import Result as Outcome
from conftest import ROOT
from test_main_path import cli, gold, write_run
from test_run_comparison import kept_rounds, result, spoilt, without
from typer.testing import CliRunner

from annotations.document import Document, Span
from annotations.schema import Schema
from annotations.storage import read_jsonl, write_jsonl
from inference import checkpoint
from inference.config import TaggerConfig
from inference.tagger import Tagger
from inference.verification import record
from training.cli import app
from training.reports.comparison import compare_results
from training.reports.evaluation import bare
from training.reports.gate import WITHOUT_INTERVAL, Verdict
from training.reports.gate import gate as compare_two

SCHEMA = Schema.load(ROOT / "configs" / "schema.yaml")
NEW = gold(15)[6:]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, encoders: Callable[[str], Path]) -> Path:
    """Two trained taggers, `good` and `bad`, and gold of twelve groups that neither learned from: what `good` says of it."""
    folder = tmp_path_factory.mktemp("gate")
    write_jsonl(folder / "learned.jsonl", gold(3))
    config = write_run(folder, ROOT / "configs/schema.yaml", folder / "learned.jsonl", encoders("modernbert"))
    cli("train", config, "data.held_out=[article-2]", f"output={folder / 'good'}")
    cli("train", config, "seed=5", f"output={folder / 'bad'}")
    tagger = Tagger.load(folder / "good" / "checkpoint")
    said = [*tagger.tag(bare(NEW))]
    assert any(one.spans("entity") for one in said)
    write_jsonl(folder / "gold.jsonl", said)
    write_jsonl(folder / "empty-handed.jsonl", spoilt(said, set(range(len(said)))))
    return folder


def gate(place: Path, own: str, other: str, *more: str | Path, data: str = "gold.jsonl") -> Outcome:
    """The command on things in the folder."""
    arguments = ["gate", place / own, "--baseline", place / other, "--data", place / data, *more]
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_an_equal_checkpoint_passes(place: Path) -> None:
    for baseline in ("good/checkpoint", "good", "gold.jsonl"):
        found = gate(place, "good/checkpoint", baseline)
        assert found.exit_code == 0, (found.output, found.stderr)
        assert "# Gate: passed" in found.stdout
        assert found.stdout.count("PASSES") == 3
        assert (
            "- PASSES entity: no evidence of a difference between checkpoint and baseline (micro F1 +0.000"
            in found.stdout
        )


def test_a_worse_checkpoint_fails_and_a_better_one_passes(place: Path) -> None:
    worse = gate(place, "bad/checkpoint", "good/checkpoint")
    assert worse.exit_code == 1, (worse.output, worse.stderr)
    assert "# Gate: failed" in worse.stdout
    assert "- FAILS entity: checkpoint is worse than baseline (micro F1 -" in worse.stdout
    better = gate(place, "good", "bad")
    assert better.exit_code == 0
    assert "- PASSES entity: checkpoint is better than baseline (micro F1 +" in better.stdout


def test_numbers_are_those_of_compare_and_are_saved(place: Path, tmp_path: Path) -> None:
    found = gate(place, "bad", "good", "--save", tmp_path / "table")
    saved = json.loads((tmp_path / "table.json").read_text())
    assert (tmp_path / "table.md").read_text() == found.stdout
    truth = [*read_jsonl(place / "gold.jsonl")]
    own = [*Tagger.load(place / "bad" / "checkpoint").tag(bare(truth))]
    [pair] = compare_results({"checkpoint": result(own), "baseline": result(truth)}, truth, SCHEMA)
    assert saved["passed"] is False and saved["documents"] == len(truth)
    for layer, expected in zip(saved["layers"], pair.layers, strict=True):
        assert layer["difference"] == expected.apart.mean
        assert layer["interval"] == [expected.apart.low, expected.apart.high]
        assert layer["passed"] is not (expected.apart.high < 0)


def test_layers_can_be_chosen(place: Path) -> None:
    found = gate(place, "bad", "good", "--layer", "entity")
    assert found.exit_code == 1
    assert "| entity |" in found.stdout and "stance" not in found.stdout.split("Intervals:")[1]


def test_a_loss_within_the_tolerance_passes(place: Path) -> None:
    found = gate(place, "bad", "good", "--layer", "entity", "--tolerance", "100")
    assert found.exit_code == 0
    assert "- PASSES entity: checkpoint is worse than baseline" in found.stdout
    assert "100 F1 points may be lost." in found.stdout


def verdict(tolerance: float, *, low: float, mean: float, high: float, groups: int = 12) -> Verdict:
    [pair] = compare_results({"checkpoint": result(NEW), "baseline": result(NEW)}, NEW, SCHEMA)
    layer = pair.layers[0]
    return Verdict(replace(layer, groups=groups, apart=replace(layer.apart, low=low, mean=mean, high=high)), tolerance)


@pytest.mark.parametrize(
    ("high", "tolerance", "worse"),
    [(-0.001, 0, True), (0.0, 0, False), (-0.01, 1, False), (-0.0101, 1, True), (0.2, 0, False), (-0.03, 5, False)],
)
def test_only_the_whole_interval_below_the_tolerance_fails(high: float, tolerance: float, worse: bool) -> None:
    assert verdict(tolerance, low=-0.5, mean=-0.2, high=high).worse is worse


@pytest.mark.parametrize(
    ("mean", "tolerance", "worse"), [(-0.049, 0, False), (-0.051, 0, True), (-0.06, 7, False), (-0.08, 7, True)]
)
def test_without_an_interval_only_a_large_loss_fails(mean: float, tolerance: float, worse: bool) -> None:
    assert WITHOUT_INTERVAL == 5
    found = verdict(tolerance, low=-1, mean=mean, high=-1, groups=1)
    assert found.worse is worse
    assert f"it {'fails' if worse else 'passes'} by the plain difference" in found.sentence()
    assert "no interval" in found.sentence()


def test_one_group_passes_with_a_warning(place: Path) -> None:
    one = [document.model_copy(update={"group": "same"}) for document in read_jsonl(place / "gold.jsonl")]
    write_jsonl(place / "one-group.jsonl", one)
    equal = gate(place, "good", "gold.jsonl", data="one-group.jsonl")
    assert equal.exit_code == 0
    assert "warning: PASSES entity: one group of documents cannot tell checkpoint from baseline" in equal.stderr
    assert "5 F1 points may be lost" in equal.stdout and "| none |" in equal.stdout
    assert gate(place, "bad", "good", data="one-group.jsonl").exit_code == 1


def test_what_was_learned_from_is_named(place: Path) -> None:
    found = gate(place, "good", "bad", data="learned.jsonl")
    assert "the checkpoint learned from 4 of 6 documents (0-1, 0-2, 1-1, 1-2)" in found.stdout
    assert "the baseline learned from 6 of 6 documents (0-1, 0-2, 1-1, 1-2, 2-1, …)" in found.stdout
    assert "learned from" not in gate(place, "good", "bad").stdout


def test_runs_without_the_file_tell_by_their_config(place: Path, tmp_path: Path) -> None:
    old = shutil.copytree(place / "good", tmp_path / "old")
    (old / "checkpoint" / "training.json").unlink()
    told = gate(place, "good", str(old), data="learned.jsonl").stdout
    assert "the baseline learned from 4 of 6 documents" in told
    assert "what the baseline learned from is not known" in gate(place, "good", str(old / "checkpoint")).stdout
    assert "what the baseline learned from is not known" in gate(place, "good", "gold.jsonl").stdout


def test_a_run_whose_weights_are_gone_is_compared_by_its_predictions(place: Path, tmp_path: Path) -> None:
    """As retraining leaves its runs; folds of a cross-validation too."""
    run = shutil.copytree(place / "good", tmp_path / "run")
    shutil.rmtree(run / "checkpoint")
    found = gate(place, "good", str(run), data="learned.jsonl")
    assert found.exit_code == 0
    assert "4 documents left out, predicted by checkpoint alone" in found.stdout
    folds = kept_rounds(tmp_path / "folds", [*read_jsonl(place / "gold.jsonl")], NEW)
    assert gate(place, "good", str(folds)).exit_code == 0


def test_a_layer_that_the_checkpoint_lost_fails(place: Path, tmp_path: Path, encoders: Callable[[str], Path]) -> None:
    config = TaggerConfig.build(
        {
            "label_schema": without(SCHEMA, "stance").model_dump(mode="json"),
            "window": {"tokens": 48, "context": 8},
            "reader": {"heads": 2},
        },
        where="test",
    )
    torch.manual_seed(0)
    model, tokenizer = checkpoint.from_encoder(str(encoders("modernbert")), config, 0.1)
    checkpoint.save(tmp_path, model, tokenizer)
    record(tmp_path)
    found = gate(place, str(tmp_path), "good")
    assert found.exit_code == 1
    assert "- FAILS stance: the checkpoint does not know this layer, which the baseline labels." in found.stdout
    assert "stance" in gate(place, str(tmp_path), "good", "--layer", "stance").stdout
    gained = gate(place, "good", str(tmp_path))
    assert gained.exit_code == 0
    assert "layer 'stance' is not compared: baseline does not know it" in gained.stdout


def moved(documents: Sequence[Document]) -> list[Document]:
    return [one.model_copy(update={"id": f"other-{one.id}"}) for one in documents]


def test_errors_end_with_status_2(place: Path, tmp_path: Path) -> None:
    bad_label = [NEW[0].with_labels({"entity": (Span(start=0, end=1, label="NOBODY"),)})]
    write_jsonl(tmp_path / "label.jsonl", bad_label)
    write_jsonl(tmp_path / "moved.jsonl", moved([*read_jsonl(place / "gold.jsonl")]))
    write_jsonl(tmp_path / "names-only.jsonl", [one.only({"entity"}) for one in NEW])
    (tmp_path / "empty").mkdir()
    (tmp_path / "nothing.jsonl").write_text("")
    cases = [
        (("nowhere", "good"), "gold.jsonl", (), "no finished result"),
        (("gold.jsonl", "good"), "gold.jsonl", (), "holds no tagger"),
        (("good", str(tmp_path / "empty")), "gold.jsonl", (), "holds no finished result"),
        (("good", "bad"), "missing.jsonl", (), "cannot be read"),
        (("good", "bad"), str(tmp_path / "label.jsonl"), (), "NOBODY"),
        (("good", str(tmp_path / "moved.jsonl")), "gold.jsonl", (), "nothing can be compared"),
        (("good", "bad"), str(tmp_path / "nothing.jsonl"), (), "the data hold no document"),
        (("good", "bad"), "gold.jsonl", ("--layer", "stanse"), "did you mean 'stance'?"),
        (("good", "bad"), str(tmp_path / "names-only.jsonl"), ("--layer", "stance"), "cannot be compared"),
        (("good", "bad"), "gold.jsonl", ("--tolerance", "-1"), "tolerance"),
    ]
    for (own, other), data, more, said in cases:
        found = gate(place, own, other, *more, data=data)
        assert found.exit_code == 2, (own, other, data, found.output)
        assert said in found.stderr, (said, found.stderr)


def test_several_files_are_one_set(place: Path, tmp_path: Path) -> None:
    documents = [*read_jsonl(place / "gold.jsonl")]
    write_jsonl(tmp_path / "a.jsonl", documents[:6])
    write_jsonl(tmp_path / "b.jsonl", documents[6:])
    whole = compare_two(place / "bad", place / "good", [place / "gold.jsonl"])
    parts = compare_two(place / "bad", place / "good", [tmp_path / "a.jsonl", tmp_path / "b.jsonl"])
    assert whole.to_dict() == parts.to_dict()
    found = gate(place, "bad", "good", tmp_path / "b.jsonl", data=str(tmp_path / "a.jsonl"))
    assert f"{len(documents)} gold documents" in found.stdout
