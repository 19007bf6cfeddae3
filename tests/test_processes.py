"""Two processes train what one does: weights shared by copies (DDP) or shared out (FSDP), killed in between or not."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from forked import Trainings, free_port
from torch import Tensor
from typer.testing import CliRunner

from annotations.errors import ConfigError
from annotations.storage import read_jsonl
from training.cli import app
from training.config import RunConfig
from training.run_directory import alone
from training.runs import train
from training.safeguards import PART, last_checkpoint
from training.together import everyones, first_is_ready, processes, summed

NEAR, FAR = 1e-6, 1e-3
"""How far all weights but one in a thousand may be, and those: sums are taken in another order, and Adam's first steps enlarge
what is left of it where a gradient is nearly zero."""
STEPS: dict[str, object] = {
    "epochs": 3,
    "dropout": 0.0,
    "token_masking": 0.0,
    "batch_tokens": 192,
    "trainer": {"save_steps": 2, "logging_steps": 1, "disable_tqdm": True},
}
DEATH = ["training.objective:Objective.__call__", 6]


@pytest.fixture
def trainings(tmp_path: Path, encoders: Callable[[str], Path]) -> Trainings:
    """A run without dropout and masking, whose random numbers would fall otherwise on otherwise cut batches."""
    encoder = tmp_path / "encoder"
    encoder.mkdir()
    for path in encoders("bert").iterdir():
        (encoder / path.name).write_bytes(path.read_bytes())
    config = json.loads((encoder / "config.json").read_text())
    still = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    (encoder / "config.json").write_text(json.dumps(config | still))
    return Trainings(tmp_path, encoder, **STEPS)


def close(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    apart = torch.cat([(value - other[name]).abs().flatten() for name, value in one.items()])
    return bool(apart.quantile(0.999) < NEAR and apart.max() < FAR)


def tags(trainings: Trainings, name: str) -> tuple[object, ...]:
    """What a run's tagger found, without its probabilities."""
    documents = read_jsonl(trainings.folder / name / "predictions.jsonl")
    spans = ((d, layer, span) for d in documents for layer in ("entity", "stance") for span in d.spans(layer))
    return tuple((d.id, layer, span.start, span.end, span.label) for d, layer, span in spans)


def test_two_processes_end_with_the_weights_of_one(trainings: Trainings) -> None:
    def two(name: str, *more: str, **die: object) -> dict[str, object]:
        return trainings.job(name, "batch_tokens=96", *more, ranks=2, port=free_port(), **die)

    shared_out = "trainer.fsdp=true"
    jobs = [
        trainings.job("one"),
        two("ddp"),
        two("fsdp", shared_out),
        two("fsdp killed", shared_out, die=DEATH),
        two("fsdp killed", shared_out),
    ]
    ends = trainings.perform(*jobs, HF_HUB_OFFLINE="1")
    assert [end["ends"] for end in ends] == [[0], [0, 0], [0, 0], [-9, -9], [0, 0]], trainings.told
    one = trainings.weights("one")
    assert close(one, trainings.weights("ddp"))
    assert close(one, trainings.weights("fsdp"))
    assert ends[2]["version"] == ends[4]["version"]
    assert len({tags(trainings, name) for name in ("one", "ddp", "fsdp")}) == 1


def test_sharing_out_takes_others_to_share_with(trainings: Trainings) -> None:
    config = RunConfig.load(trainings.config, ["trainer.fsdp=true"])
    with pytest.raises(ConfigError, match="takes several processes; start them with torchrun"):
        train(config)
    assert not config.output.exists()
    result = CliRunner().invoke(app, ["check", str(trainings.config), "trainer.fsdp=true"])
    assert result.exit_code == 0, result.stdout


def test_what_stops_one_process_stops_all(trainings: Trainings) -> None:
    def two(name: str, *more: str, **rest: object) -> dict[str, object]:
        return trainings.job(name, *more, ranks=2, port=free_port(), **rest)

    diverged, full = trainings.perform(
        two("diverged", "optimizer.lr=1e30", "optimizer.head_lr=1e30"), two("full", largest_file=50_000)
    )
    assert diverged["ends"] == [2, 2], trainings.told
    assert trainings.told.count("training diverged") == 2
    assert full["ends"][0] == 2
    assert full["ends"][1] != 0
    assert "File too large" in trainings.told


def test_a_run_that_is_refused_touches_nothing_in_any_process(trainings: Trainings) -> None:
    names = ("held", "of others")
    kept = [
        trainings.folder / name / "trainer" / path
        for name in names
        for path in ("part/checkpoint-100/model.safetensors", "checkpoint-50/half written")
    ]
    for path in kept:
        path.parent.mkdir(parents=True)
        path.write_text("of another run")
    jobs = [trainings.job(name, "batch_tokens=96", ranks=2, port=free_port()) for name in names]
    with alone(trainings.folder / "held", "run"):
        refused = trainings.perform(*jobs)
    assert [end["ends"] for end in refused] == [[2, 2], [2, 2]], trainings.told
    assert trainings.told.count("another run is at work here") == 1
    assert trainings.told.count("is a folder of something else") == 1
    assert trainings.told.count("the first process cannot begin there; do as its message says") == 2
    assert all(path.read_text() == "of another run" for path in kept)


def test_one_process_clears_up_for_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, state in (("checkpoint-5", "{}"), ("checkpoint-9", '{"half'), (PART, "{}")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "trainer_state.json").write_text(state)
    monkeypatch.setenv("RANK", "1")
    assert last_checkpoint(tmp_path) == str(tmp_path / "checkpoint-5")
    assert len(list(tmp_path.iterdir())) == 3
    monkeypatch.setenv("RANK", "0")
    assert last_checkpoint(tmp_path) == str(tmp_path / "checkpoint-5")
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint-5"]


def test_alone_nothing_is_exchanged() -> None:
    own = torch.ones(2, 3, requires_grad=True)
    assert processes() == 1
    assert first_is_ready()
    assert everyones(own) is own
    assert torch.equal(summed(own), own)
