"""Masked-LM pretraining from text to encoder, in real processes: killed, resumed, prolonged, shared, from any encoder."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import torch
import warm
import yaml
from conftest import seed_text
from safetensors.torch import load_file
from transformers import AutoModel, AutoModelForMaskedLM, AutoTokenizer
from typer.testing import CliRunner

from annotations.errors import CheckpointError, ConfigError, StandpointError
from inference.checkpoint_files import version
from training.cli import app
from training.pretraining import loop
from training.pretraining.clock import Clock
from training.pretraining.config import PretrainConfig
from training.pretraining.log import Line, Log, read
from training.pretraining.network import MaskedLM
from training.pretraining.run import pretrain
from training.pretraining.state import State

COMMAND = [sys.executable, "-c", "from training.cli import main; main()", "pretrain"]
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}


def settings(folder: Path, **more: object) -> dict[str, Any]:
    """A run of seconds on the seed articles, as plain values."""
    path = folder / "text.txt"
    path.write_text(seed_text(), "utf-8")
    return {
        "corpora": [{"path": str(path), "passes": 2}],
        "output": str(folder / "out"),
        "shape": {"vocabulary": 500, "layers": 2, "width": 32, "intermediate": 48, "heads": 2, "positions": 64},
        "steps": 60,
        "lengths": [[0.0, 32], [0.5, 64]],
        "batch_tokens": [[0.0, 512], [0.5, 1024]],
        "micro_tokens": 512,
        "held_out_tokens": 1000,
        "compile": False,
        "log_seconds": 0,
        **more,
    }


def run(folder: Path, **more: object) -> tuple[Path, list[Line]]:
    """The encoder and the log of a run in this process."""
    config = PretrainConfig.build(settings(folder, **more), where="test")
    return pretrain(config, lambda line: None), read(config.output / "log.jsonl")


def write(folder: Path, **more: object) -> Path:
    path = folder / "run.yaml"
    path.write_text(yaml.safe_dump(settings(folder, **more)), "utf-8")
    return path


def losses(lines: list[Line]) -> dict[int, float]:
    return {line["step"]: line["loss"] for line in lines}


def wait_for_step(log: Path, step: int, process: subprocess.Popen[str]) -> None:
    while not log.exists() or not any(line["step"] >= step for line in read(log)):
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)


def test_it_learns_and_leaves_an_encoder(tmp_path: Path) -> None:
    folder, lines = run(tmp_path, steps=150)
    assert len(lines) == 150
    assert lines[-1]["held_out"] < 5.7 < lines[0]["loss"] < 6.6
    encoder, tokenizer = AutoModel.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    stored = load_file(folder / "model.safetensors")
    assert {tensor.dtype for tensor in stored.values()} == {torch.float16}
    assert encoder.dtype == torch.float32
    ids = tokenizer("The Taliban — 😀", return_tensors="pt")
    assert encoder(**ids).last_hidden_state.shape[-1] == 32
    assert tokenizer.unk_token_id not in ids["input_ids"]
    record = json.loads((tmp_path / "out" / "run.json").read_text())
    assert record["encoder"] == version(folder)
    assert record["tokens"] == lines[-1]["tokens"] == 75 * 512 + 75 * 1024
    assert (tmp_path / "out" / "curve.svg").read_text().startswith("<svg")


def test_what_is_exported_is_the_average(tmp_path: Path) -> None:
    folder, _ = run(tmp_path, steps=20)
    kept = torch.load(tmp_path / "out" / "checkpoint.pt", weights_only=True)
    weights = AutoModel.from_pretrained(folder, dtype=torch.float32).get_input_embeddings().weight
    last = kept["network"]["encoder.embeddings.tok_embeddings.weight"]
    assert not torch.allclose(weights, last, atol=1e-3)
    assert any(own.shape == weights.shape and torch.allclose(weights, own, atol=1e-3) for own in kept["average"])


def test_another_run_goes_on_at_the_loss_that_was_reached(tmp_path: Path) -> None:
    folder, before = run(tmp_path, steps=150)
    assert (folder / "model.safetensors").stat().st_size < 2.2 * sum(
        parameter.numel() for parameter in AutoModelForMaskedLM.from_pretrained(folder).parameters()
    )
    (tmp_path / "more").mkdir()
    _, after = run(tmp_path / "more", encoder=str(folder), steps=1, optimizer={"lr": 1e-9, "matrix_lr": 1e-9})
    assert after[0]["held_out"] == pytest.approx(before[-1]["held_out"], abs=0.02)


def test_encoders_are_kept_on_the_way(tmp_path: Path) -> None:
    run(tmp_path, steps=40, export_minutes=1e-4)
    kept = sorted((tmp_path / "out" / "encoders").iterdir())
    assert len(kept) > 5
    first, last = (AutoModel.from_pretrained(path).get_input_embeddings().weight for path in (kept[0], kept[-1]))
    assert not torch.equal(first, last)


def test_killed_in_the_middle_it_goes_on_at_the_same_loss(tmp_path: Path) -> None:
    (tmp_path / "whole").mkdir()
    folder, whole = run(tmp_path / "whole")
    config = write(tmp_path, checkpoint_minutes=0.005)
    with warm.started([*COMMAND, str(config)], env=ENVIRONMENT) as process:
        wait_for_step(tmp_path / "out" / "log.jsonl", 20, process)
    done = warm.run([*COMMAND, str(config)], env=ENVIRONMENT)
    assert done.returncode == 0, done.stderr
    assert "resuming at step" in done.stderr
    resumed = read(tmp_path / "out" / "log.jsonl")
    assert [line["step"] for line in resumed] == list(range(1, 61))
    assert losses(resumed) == pytest.approx(losses(whole), abs=1e-6)
    assert version(tmp_path / "out" / "encoder") == version(folder)


@pytest.mark.parametrize("part", [(Log, "add"), (State, "save")])
def test_a_kill_between_the_log_and_the_checkpoint_loses_no_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, part: tuple[type[Log | State], str]
) -> None:
    (tmp_path / "whole").mkdir()
    _, whole = run(tmp_path / "whole", steps=16, checkpoint_minutes=0)
    owner, name = part
    plain, calls = getattr(owner, name), count()

    def killed(*given: Any, **named: Any) -> None:
        if next(calls) == 8:
            raise TimeoutError
        plain(*given, **named)

    with monkeypatch.context() as patch:
        patch.setattr(owner, name, killed)
        with pytest.raises(TimeoutError):
            run(tmp_path, steps=16, checkpoint_minutes=0)
    _, resumed = run(tmp_path, steps=16, checkpoint_minutes=0)
    assert [line["step"] for line in resumed] == list(range(1, 17))
    assert losses(resumed) == pytest.approx(losses(whole), abs=1e-6)


def test_dropout_resumes_too(tmp_path: Path, encoders: Callable[[str], Path]) -> None:
    (tmp_path / "whole").mkdir()
    values = {"encoder": str(encoders("bert")), "steps": 30, "checkpoint_minutes": 0, "held_out_tokens": 0}
    _, whole = run(tmp_path / "whole", **values)

    def stop(line: str) -> None:
        if line.startswith("step 12 "):
            raise RuntimeError("power cut")

    with pytest.raises(RuntimeError, match="power cut"):
        pretrain(PretrainConfig.build(settings(tmp_path, **values), where="test"), stop)
    assert losses(run(tmp_path, **values)[1]) == pytest.approx(losses(whole), abs=1e-6)


def test_killed_before_its_first_checkpoint_it_begins_a_new_log(tmp_path: Path) -> None:
    run(tmp_path, steps=5)
    (tmp_path / "out" / "checkpoint.pt").unlink()
    _, lines = run(tmp_path, steps=4)
    assert [line["step"] for line in lines] == [1, 2, 3, 4]


@pytest.mark.parametrize("kind", [signal.SIGINT, signal.SIGTERM])
def test_asked_to_stop_it_keeps_everything(kind: signal.Signals, tmp_path: Path) -> None:
    config = write(tmp_path, steps=100_000)
    with warm.started([*COMMAND, str(config)], env=ENVIRONMENT) as process:
        wait_for_step(tmp_path / "out" / "log.jsonl", 5, process)
        process.send_signal(kind)
        _, told = process.communicate(timeout=300)
    assert process.returncode == 130
    assert "the same command goes on" in told
    last = read(tmp_path / "out" / "log.jsonl")[-1]["step"]
    assert torch.load(tmp_path / "out" / "checkpoint.pt", weights_only=True)["progress"]["step"] == last


def test_a_budget_of_minutes_ends_with_rates_of_zero(tmp_path: Path) -> None:
    _, lines = run(tmp_path, minutes=0.05, steps=None)
    # Seconds are rounded: the last but one may be told as all of them.
    assert max(line["seconds"] for line in lines[:-1]) <= 3.0 <= lines[-1]["seconds"]
    rates = [line["rate"] for line in lines]
    peak = rates.index(1.0)
    assert rates[:peak] == sorted(rates[:peak]) and rates[peak:] == sorted(rates[peak:], reverse=True)
    assert rates[-1] < 0.5


def test_a_longer_budget_goes_on_from_before_the_decay(tmp_path: Path) -> None:
    (tmp_path / "long").mkdir()
    same = {"lengths": [[0.0, 32]], "batch_tokens": [[0.0, 512]], "masking": {"start": 0.2, "end": 0.2}}
    optimizer = {"warmup": 0, "decay": 0.3}
    _, whole = run(tmp_path / "long", steps=120, optimizer=optimizer, **same)
    run(tmp_path, steps=60, optimizer=optimizer, **same)
    said: list[str] = []
    longer = PretrainConfig.build(settings(tmp_path, steps=120, optimizer=optimizer, **same), where="test")
    pretrain(longer, said.append)
    assert "longer budget: going on from before the rates fell" in said
    assert "resuming at step 43" in said
    assert losses(read(tmp_path / "out" / "log.jsonl")) == pytest.approx(losses(whole), abs=1e-6)


def test_work_of_other_settings_is_left_alone(tmp_path: Path) -> None:
    run(tmp_path, steps=3)
    before = version(tmp_path / "out" / "encoder")
    with pytest.raises(ConfigError, match="holds work with another masking, seed"):
        run(tmp_path, steps=3, seed=1, masking={"unit": "span"})
    assert version(tmp_path / "out" / "encoder") == before


def test_a_damaged_checkpoint_is_told(tmp_path: Path) -> None:
    run(tmp_path, steps=3)
    (tmp_path / "out" / "checkpoint.pt").write_bytes(b"half")
    with pytest.raises(CheckpointError, match=r"checkpoint\.pt.*cannot be resumed.*remove it to begin anew"):
        run(tmp_path, steps=9)


def test_a_loss_that_explodes_stops_the_run(tmp_path: Path) -> None:
    optimizer = {"name": "adamw", "lr": 1e30, "clip": 1e30, "warmup": 0}
    with pytest.raises(ConfigError, match=r"the loss became .*lower optimizer\.lr"):
        run(tmp_path, optimizer=optimizer)


def test_an_interrupted_preparation_is_made_again_and_a_whole_one_is_kept(tmp_path: Path) -> None:
    run(tmp_path, steps=2)
    corpus = tmp_path / "out" / "corpus"
    tokens = (corpus / "tokens.bin").read_bytes()
    (corpus / "done.json").unlink()
    (corpus / "tokens.bin").write_bytes(b"half")
    run(tmp_path, steps=3)
    assert (corpus / "tokens.bin").read_bytes() == tokens
    stamp = (corpus / "tokens.bin").stat().st_mtime_ns
    run(tmp_path, steps=4)
    assert (corpus / "tokens.bin").stat().st_mtime_ns == stamp
    assert sorted(path.name for path in corpus.iterdir()) == ["done.json", "held-out.bin", "tokens.bin"]


def test_passes_repeat_a_corpus_and_held_out_text_is_apart(tmp_path: Path) -> None:
    for number, words in enumerate(("alpha beta gamma", "delta epsilon zeta")):
        documents = [f"{words} number{i} word{i * 7}" for i in range(120)]
        (tmp_path / f"{number}.txt").write_text("\n\n".join(documents), "utf-8")
    corpora = [{"path": str(tmp_path / "0.txt"), "passes": 3}, {"path": str(tmp_path / "1.txt")}]
    run(tmp_path, steps=1, corpora=corpora, near_duplicates=None, held_out_tokens=60)
    config = PretrainConfig.build(settings(tmp_path), where="test")
    tokenizer = AutoTokenizer.from_pretrained(config.output / "tokenizer")

    def texts(name: str) -> list[str]:
        ids = torch.frombuffer(bytearray((config.output / "corpus" / name).read_bytes()), dtype=torch.uint16).tolist()
        return [text.strip() for text in tokenizer.decode(ids).split("[SEP]") if text.strip()]

    learnt, held_out = texts("tokens.bin"), texts("held-out.bin")
    assert held_out and not set(learnt) & set(held_out)
    counts = {text: learnt.count(text) for text in learnt}
    assert {count for text, count in counts.items() if text.startswith("alpha")} == {3}
    assert {count for text, count in counts.items() if text.startswith("delta")} == {1}
    assert len(set(learnt) | set(held_out)) == 240


@pytest.mark.parametrize("architecture", ["bert", "modernbert", "deberta-v2"])
def test_it_goes_on_from_any_encoder(architecture: str, tmp_path: Path, encoders: Callable[[str], Path]) -> None:
    start = encoders(architecture)
    folder, lines = run(tmp_path, encoder=str(start), steps=80, optimizer={"lr": 3e-3})
    assert lines[-1]["held_out"] < lines[0]["loss"] - 0.3
    made = AutoModel.from_pretrained(folder)
    assert made.config.model_type == architecture
    assert (folder / "tokenizer.json").read_bytes() == (start / "tokenizer.json").read_bytes()


def test_a_tokenizer_can_be_reused_and_a_bad_one_is_told(tmp_path: Path) -> None:
    run(tmp_path, steps=1)
    tokenizer = tmp_path / "out" / "tokenizer"
    folder, _ = run(tmp_path, steps=1, tokenizer=str(tokenizer), output=str(tmp_path / "second"))
    assert (folder / "tokenizer.json").read_bytes() == (tokenizer / "tokenizer.json").read_bytes()
    with pytest.raises(CheckpointError, match="no tokenizer that can be loaded"):
        run(tmp_path, steps=1, tokenizer=str(tmp_path), output=str(tmp_path / "third"))


def test_bad_corpora_are_told(tmp_path: Path) -> None:
    (tmp_path / "empty.txt").write_text("\n\n")
    with pytest.raises(StandpointError, match="holds no text"):
        run(tmp_path, corpora=[{"path": str(tmp_path / "empty.txt")}])
    with pytest.raises(StandpointError, match="nowhere"):
        run(tmp_path, corpora=[{"path": str(tmp_path / "nowhere.txt")}], output=str(tmp_path / "other"))


def test_two_processes_share_a_step(tmp_path: Path) -> None:
    config = write(tmp_path, steps=30)
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "--no-python"]
    done = subprocess.run(
        [*launch, *COMMAND, str(config)], env=ENVIRONMENT, capture_output=True, text=True, check=False, timeout=600
    )
    assert done.returncode == 0, done.stderr
    lines = read(tmp_path / "out" / "log.jsonl")
    assert [line["step"] for line in lines] == list(range(1, 31))
    (tmp_path / "alone").mkdir()
    _, alone = run(tmp_path / "alone", steps=30)
    assert [line["tokens"] for line in lines] == [line["tokens"] for line in alone]
    # The same sequences with other words hidden: near, and not the same.
    assert lines[-1]["loss"] == pytest.approx(alone[-1]["loss"], abs=0.2)
    assert AutoModel.from_pretrained(tmp_path / "out" / "encoder").config.hidden_size == 32


def test_prepared_here_and_trained_elsewhere(tmp_path: Path) -> None:
    config = write(tmp_path, steps=3)
    prepared = CliRunner().invoke(app, ["pretrain", str(config), "--prepare"])
    assert prepared.stdout.strip() == f"Prepared: {tmp_path / 'out'}", prepared.stderr
    assert not (tmp_path / "out" / "encoder").exists()
    (tmp_path / "text.txt").unlink()
    done = warm.run([*COMMAND, str(config)], env=ENVIRONMENT)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out" / "encoder" / "model.safetensors").is_file()


def test_from_and_minutes_on_the_command_line(tmp_path: Path, encoders: Callable[[str], Path]) -> None:
    config = write(tmp_path, steps=None)
    done = CliRunner().invoke(app, ["pretrain", str(config), "--minutes", "0.02", "--from", str(encoders("roberta"))])
    assert done.exit_code == 0, done.stderr
    assert done.stdout.strip() == f"Encoder: {tmp_path / 'out' / 'encoder'}"
    assert "tokens/s" in done.stderr and "min left" in done.stderr
    assert AutoModel.from_pretrained(tmp_path / "out" / "encoder").config.model_type == "roberta"


@pytest.mark.filterwarnings("ignore:.torch.jit.script_method. is deprecated:DeprecationWarning")
def test_compiling_is_no_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the clock starts, every shape that a step has was met before."""
    met: list[tuple[int, ...]] = []
    early: set[tuple[int, ...]] = set()
    forward = MaskedLM.forward

    def noted(network: MaskedLM, shown: torch.Tensor, *rest: Any) -> torch.Tensor:
        met.append(tuple(shown.shape))
        return forward(network, shown, *rest)

    def started(**given: Any) -> Clock:
        early.update(met)
        met.clear()
        return Clock(**given)

    monkeypatch.setattr(MaskedLM, "forward", noted)
    monkeypatch.setattr(loop, "Clock", started)
    monkeypatch.setattr(torch.nn.Module, "compile", lambda *_, **__: None)
    _, lines = run(tmp_path, steps=6, compile=True, held_out_tokens=0, micro_tokens=384)
    assert len(lines) == 6 and set(met) == early == {(12, 32), (4, 32), (6, 64), (4, 64)}


def test_a_short_last_part_weighs_no_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def of_size(own: loop.Loop, network: torch.nn.Module, rows: torch.Tensor, *_: Any) -> torch.Tensor:
        return next(network.parameters()).sum() * 0 + len(rows)

    monkeypatch.setattr(loop.Loop, "_loss", of_size)
    _, lines = run(tmp_path, steps=1, micro_tokens=384, held_out_tokens=0)
    assert lines[0]["loss"] == (12 * 12 + 4 * 4) / 16


@pytest.mark.filterwarnings("ignore:.torch.jit.script_method. is deprecated:DeprecationWarning")
def test_compiled_it_computes_the_same(tmp_path: Path) -> None:
    (tmp_path / "plain").mkdir()
    _, plain = run(tmp_path / "plain", steps=3, bf16=False)
    _, compiled = run(tmp_path, steps=3, bf16=False, compile=True)
    assert losses(compiled) == pytest.approx(losses(plain), abs=1e-3)
