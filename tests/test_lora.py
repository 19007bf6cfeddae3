"""Low-rank adapters: only they and the heads learn, they end up inside ordinary weights, and a killed run goes on."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import FAMILIES
from test_bad_input import refused
from test_main_path import gold, write_run
from torch import nn

from annotations.errors import ConfigError
from annotations.storage import write_jsonl
from inference import checkpoint
from inference.config import TaggerConfig
from inference.tagger import Tagger
from training.config import LoraConfig, RunConfig
from training.data import dataset
from training.lora import adapt, merge, targets
from training.preflight.run import preflight
from training.recipe import resolved
from training.trainer import LayerTrainer, check_arguments, fine_tune, trainer_for

Encoders = Callable[[str], Path]
TEXT = "The Taliban met in Kabul."


def run_of(config: TaggerConfig, encoder: Path, **more: Any) -> RunConfig:
    values: dict[str, Any] = {
        "tagger": config.model_dump(mode="json"),
        "data": {"train": ["x"]},
        "output": "x",
        "encoder": str(encoder),
        "bf16": False,
        "epochs": 4,
        "lora": {"rank": 4, "lr": 1e-2},
        "trainer": {"disable_tqdm": True, "save_strategy": "no"},
    }
    return RunConfig.build(values | more, where="test")


@pytest.mark.parametrize("architecture", FAMILIES)
def test_adapters_come_and_go_in_every_family(architecture: str, encoders: Encoders, config: TaggerConfig) -> None:
    model, tokenizer = checkpoint.from_encoder(str(encoders(architecture)), config, 0.1)
    tagger = Tagger(model, tokenizer, config)
    before, shapes = tagger.tag(TEXT, target="It met."), {name: x.shape for name, x in model.state_dict().items()}
    adapt(model, LoraConfig(rank=4))
    assert tagger.tag(TEXT, target="It met.") == before
    learning = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert all(".lora_" in name for name in learning if name.startswith("encoder."))
    assert {name.split(".lora_")[0] for name in learning if ".lora_" in name} >= {
        f"encoder.{n}" for n in targets_of(model)
    }
    assert any(name.startswith("span_heads") for name in learning)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            nn.init.normal_(parameter)
    adapted = tagger.tag(TEXT, target="It met.")
    assert adapted != before
    merge(model)
    assert {name: weights.shape for name, weights in model.state_dict().items()} == shapes
    merged = tagger.tag(TEXT, target="It met.")
    assert [span.score for span in merged.spans("stance")] == pytest.approx(
        [span.score for span in adapted.spans("stance")], abs=1e-4
    )
    assert all(parameter.requires_grad for parameter in model.parameters())


def targets_of(model: Any) -> list[str]:
    """Blocks' layers with an adapter, by peft's own account."""
    from peft.tuners.lora import LoraLayer

    found = [name for name, part in model.encoder.named_modules() if isinstance(part, LoraLayer)]
    assert len(found) >= 8 and not [name for name in found if "embed" in name or "pooler" in name]
    return found


def test_targets_are_named_by_their_ends(encoders: Encoders, config: TaggerConfig) -> None:
    model, _ = checkpoint.from_encoder(str(encoders("bert")), config, 0.1)
    assert {name.rsplit(".", 1)[1] for name in targets(model, ("query", "value"))} == {"query", "value"}
    assert len(targets(model, ("attention.self.query",))) == 2
    with pytest.raises(ConfigError, match=r"named q_proj; there are query, key, value, dense"):
        targets(model, ("query", "q_proj"))


def test_only_adapters_and_heads_learn_each_at_its_rate(
    encoders: Encoders, config: TaggerConfig, tmp_path: Path
) -> None:
    run = resolved(run_of(config, encoders("roberta"), lora={"rank": 4}))
    model, tokenizer = checkpoint.from_encoder(run.encoder, config, 0.1)
    assert run.lora
    adapt(model, run.lora)
    trainer = trainer_for(run, model, tokenizer, dataset(gold(2), tokenizer, config), tmp_path)
    groups = trainer.create_optimizer().param_groups
    rates = {id(parameter): group["lr"] for group in groups for parameter in group["params"]}
    for name, parameter in model.named_parameters():
        adapter = ".lora_" in name
        expected = run.lora.lr if adapter else None if name.startswith("encoder.") else run.optimizer.head_lr
        assert rates.get(id(parameter)) == expected, name
    assert run.lora.lr == 2e-3


def test_a_merged_checkpoint_is_an_ordinary_tagger(
    encoders: Encoders, config: TaggerConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = encoders("modernbert")
    plain, _ = checkpoint.from_encoder(str(start), config, 0.1)
    tagger = fine_tune(run_of(config, start), gold(2), tmp_path / "trainer")
    learned, known = tagger.engine.model.encoder.state_dict(), plain.encoder.state_dict()
    assert learned.keys() == known.keys()
    changed = {name for name in known if not torch.equal(learned[name], known[name])}
    assert changed and not [name for name in changed if "norm" in name or "embed" in name]
    checkpoint.save(tmp_path / "checkpoint", tagger.engine.model, tagger.tokenizer)
    monkeypatch.setitem(sys.modules, "peft", None)
    assert Tagger.load(tmp_path / "checkpoint").tag(TEXT, target="It met.") == tagger.tag(TEXT, target="It met.")


def test_a_killed_run_with_adapters_goes_on(
    encoders: Encoders, config: TaggerConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = run_of(config, encoders("bert"), trainer={"disable_tqdm": True, "save_steps": 2})
    whole = fine_tune(run, gold(3), tmp_path / "whole")
    step, taken = LayerTrainer.training_step, []

    def killed(self: LayerTrainer, *arguments: Any, **named: Any) -> Any:
        taken.append(1)
        if len(taken) == 4:
            raise KeyboardInterrupt
        return step(self, *arguments, **named)

    monkeypatch.setattr(LayerTrainer, "training_step", killed)
    with pytest.raises(KeyboardInterrupt):
        fine_tune(run, gold(3), tmp_path / "part")
    monkeypatch.undo()
    assert [path.name for path in (tmp_path / "part").glob("checkpoint-*")] == ["checkpoint-2"]
    resumed = fine_tune(run, gold(3), tmp_path / "part")
    again = resumed.engine.model.state_dict()
    for name, weights in whole.engine.model.state_dict().items():
        assert torch.allclose(weights, again[name], atol=1e-6), name


def test_without_peft_the_extra_is_named(encoders: Encoders, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_jsonl(tmp_path / "gold.jsonl", gold(2))
    path = write_run(tmp_path, "configs/schema.yaml", tmp_path / "gold.jsonl", encoders("bert"), lora={})
    monkeypatch.setitem(sys.modules, "peft", None)
    assert "pip install '.[lora]'" in refused("train", path)
    assert not (tmp_path / "run").exists()
    assert [problem.where for problem in preflight(path, quick=True).problems] == ["lora"]


def test_adapters_are_not_shared_out_among_processes(encoders: Encoders, config: TaggerConfig, tmp_path: Path) -> None:
    asked = run_of(config, encoders("bert"), trainer={"fsdp": True})
    with pytest.raises(ConfigError, match="does not go with"):
        check_arguments(asked, tmp_path)


def test_check_counts_what_learns_and_names_wrong_targets(encoders: Encoders, tmp_path: Path) -> None:
    write_jsonl(tmp_path / "gold.jsonl", gold(2))
    path = write_run(tmp_path, "configs/schema.yaml", tmp_path / "gold.jsonl", encoders("bert"), lora={"rank": 2})
    found = preflight(path)
    cost = found.facts["cost"]
    assert cost["trainable_parameters"] < cost["parameters"] / 2
    assert found.facts["recipe"]["numbers"]["lora.lr"] == {"value": 2e-3, "chosen_by": "recipe"}
    wrong = preflight(path, ["lora.targets=[nothing]"], quick=True)
    assert [problem.where for problem in wrong.problems] == ["lora.targets"]
