"""A checkpoint on disk that has learned two short articles by heart, so that what it answers is sure and never empty."""

from __future__ import annotations

from pathlib import Path

from test_main_path import gold

from inference import checkpoint
from inference.config import TaggerConfig
from training.config import RunConfig
from training.trainer import fine_tune

TEXT, TARGET = gold(1)[0].text, gold(1)[0].target
WINDOW = 256


def learned(encoder: Path, config: TaggerConfig, folder: Path) -> Path:
    """Fine-tune an encoder until it knows TEXT, which fits into one window; the checkpoint's folder."""
    config = config.model_copy(update={"window": config.window.model_copy(update={"tokens": WINDOW})})
    run = RunConfig.build(
        {
            "tagger": config.model_dump(mode="json"),
            "data": {"train": ["x"]},
            "output": "x",
            "encoder": str(encoder),
            "epochs": 60,
            "optimizer": {"lr": 5e-3, "head_lr": 1e-2},
            "bf16": False,
            "dropout": 0,
            "trainer": {"disable_tqdm": True, "save_strategy": "no"},
        },
        where="test",
    )
    tagger = fine_tune(run, gold(1), folder / "trainer")
    checkpoint.save(folder / "checkpoint", tagger.engine.model, tagger.tokenizer)
    return folder / "checkpoint"
