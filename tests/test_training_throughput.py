"""The throughput of training: what is counted as real, padding and useful, tables end to end, where a step's time goes."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from conftest import ROOT
from transformers import Trainer

sys.path.insert(0, str(ROOT / "benchmarks"))
import token_classification
import training_throughput
from encoder_runs import encoder_config
from public_slices import PROXY, by_line
from step_watch import Step, Watch, watched
from word_rows import rows

from annotations.errors import ConfigError
from inference.checkpoint import encoder_tokenizer
from inference.hardware import has_bf16


def test_what_the_example_computes_is_counted(tiny: Path, data: Path, tmp_path: Path) -> None:
    found = rows(PROXY["conll"](data).learned, "name")
    tokenizer, plain = encoder_tokenizer(str(tiny)), Trainer.training_step
    with watched(tokenizer.pad_token_id) as watch:
        learned = token_classification.learn(str(tiny), found, 0, str(tmp_path), token_classification.SETTINGS)
    assert Trainer.training_step is plain
    lengths = [len(tokenizer(row.forms, is_split_into_words=True)["input_ids"]) for row in found]
    assert len(watch.steps) == 3 * -(-len(found) // 8)
    for place in range(3):
        own = watch.steps[place * len(watch.steps) // 3 : (place + 1) * len(watch.steps) // 3]
        assert sorted(length for step in own for length in step.lengths) == sorted(lengths)
        assert [length for step in own for length in step.lengths] != lengths
        assert all(step.width == max(step.lengths) for step in own)
    row = training_throughput._row(watch, learned.text_tokens, 3, encoder_config(str(tiny)))
    assert row["tokens"] == 3 * (sum(lengths) - 2 * len(lengths))
    timed = watch.steps[1:-1]
    real, computed = (sum(map(sum, (s.lengths for s in timed))), sum(s.width * len(s.lengths) for s in timed))
    assert row["padding"] == pytest.approx(1 - real / computed)
    special = 2 * len(lengths) / sum(lengths)
    assert row["speed"] == pytest.approx((1 - special) * row["non_padding_speed"])
    assert row["around"] == pytest.approx(special * real / computed)
    assert 0 < row["outside"] < 1 and 0 < row["rate_real"] < row["rate_computed"]


def test_the_trainer_is_as_before_after_an_error() -> None:
    plain = Trainer.training_step
    with pytest.raises(TimeoutError), watched(0):
        raise TimeoutError
    assert Trainer.training_step is plain


def test_useful_operations_are_those_without_padding(tiny: Path) -> None:
    encoder = encoder_config(str(tiny))
    full = Watch(0, steps=[Step(float(n), n + 0.5, float(n), 10, (10, 10)) for n in range(3)])
    values = training_throughput._operations(full, encoder)
    # 6 operations a weight and token (4 D² + 3 DI weights a layer), 12 D T for attention.
    assert values["rate_real"] == values["rate_computed"] == 2 * 20 * 2 * (6 * (4 * 32**2 + 3 * 32 * 48) + 12 * 32 * 10)
    half = Watch(0, steps=[Step(float(n), n + 0.5, float(n), 10, (10, 0)) for n in range(3)])
    values = training_throughput._operations(half, encoder)
    assert values["rate_computed"] == 2 * values["rate_real"]
    assert half.outside == 0.5 and half.seconds == 2.0


def test_ours_learns_from_as_many_tokens(tiny: Path, data: Path) -> None:
    split = by_line(PROXY["conll"](data))
    once = training_throughput._text_tokens(split, str(tiny), {})
    row = training_throughput.our_row(split, str(tiny), 0, 2 * once, {})
    assert row["tokens"] == 2 * once
    assert row["around"] > 0 and row["speed"] < row["non_padding_speed"]


def test_a_single_step_cannot_be_timed(tiny: Path) -> None:
    watch = Watch(0, steps=[Step(0.0, 1.0, 0.0, 10, (10,))])
    with pytest.raises(ConfigError, match="take more"):
        training_throughput._row(watch, 10, 1, encoder_config(str(tiny)))


def test_the_table_from_end_to_end(tiny: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = ["--data", str(data), "--encoder", str(tiny), "--seeds", "0,1", "--epochs", "4", "--peak-size", "64"]
    given += ["--shares", "0.5,1", "--runs", str(tmp_path / "runs")]
    training_throughput.main([*given, "--save", str(tmp_path / "table")])
    captured = capsys.readouterr()
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in captured.out.splitlines()]
    precision = "bf16" if has_bf16() else "fp32"
    ours = ["standpoint, 50% of the tokens", "standpoint", training_throughput.FROZEN]
    names = ["transformers' example, fp32", *(f"{name}, {precision}" for name in ours)]
    assert [line[:2] for line in lines[2:]] == [[shape, name] for shape in ("articles", "sentences") for name in names]
    assert all(len(line) == len(lines[0]) for line in lines)
    assert lines[2][3] == lines[6][3] == "1.00 (1.00–1.00)"
    found = json.loads((tmp_path / "table.json").read_text())["rows"]
    assert len(found) == 2 * 2 * 4
    for theirs, half, whole, frozen in zip(*(found[place::4] for place in range(4)), strict=True):
        assert whole["tokens"] == frozen["tokens"] == pytest.approx(theirs["tokens"], abs=1)
        assert half["tokens"] == pytest.approx(theirs["tokens"] / 2, abs=1)
    assert captured.out.strip() in (tmp_path / "table.md").read_text()
    assert "GFLOP/s: fp32" in (tmp_path / "table.md").read_text()
    training_throughput.main(given)
    assert capsys.readouterr().out == captured.out


def test_the_profile_adds_up(tiny: Path, data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    training_throughput.main(["--data", str(data), "--encoder", str(tiny), "--profile", "--lines", "6"])
    out = capsys.readouterr().out
    parts = {line.split(":")[0].strip(): float(line.split(":")[1].strip(" %")) for line in out.splitlines()[1:6]}
    assert list(parts) == ["forward and loss", "backward", "optimizer", "data", "the rest"]
    assert sum(parts.values()) == pytest.approx(100, abs=0.3)
    assert all(parts[name] > 0 for name in ("forward and loss", "backward", "optimizer", "data"))
    assert "aten::mm" in out or "aten::addmm" in out
