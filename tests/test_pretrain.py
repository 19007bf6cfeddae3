"""Masked-LM pretraining on a small text: it learns, keeps a checkpoint, and leaves an encoder that AutoModel loads."""

from __future__ import annotations

import lzma
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import seed_text
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoModel, AutoTokenizer

from annotations.errors import ConfigError
from training.corpus import SPECIAL, Batches, documents, mask_tokens
from training.pretrain import pretrain, rate_at
from training.pretrain_config import PretrainConfig


def config(folder: Path, **more: object) -> PretrainConfig:
    path = folder / "text.txt.xz"
    with lzma.open(path, "wt", encoding="utf-8") as out:
        out.write(seed_text().replace("\n\n", "\n") + "\n\nSecond document.\n")
    values = {
        "corpora": [{"path": path}],
        "output": folder / "out",
        "shape": {"vocabulary": 500, "layers": 2, "width": 32, "intermediate": 48, "heads": 2, "positions": 64},
        "minutes": 0.1,
        "lengths": [[0.0, 32], [0.5, 64]],
        "batch_tokens": 512,
        "compile": False,
    }
    return PretrainConfig.build({**values, **more}, where="test")


def test_it_learns_and_leaves_an_encoder(tmp_path: Path) -> None:
    settings = config(tmp_path)
    folder = pretrain(settings, lambda line: None)
    losses = [float(line.split("\t")[3]) for line in (tmp_path / "out" / "log.tsv").read_text().splitlines()]
    assert losses[-1] < losses[0] < np.log(500) + 0.5
    encoder, tokenizer = AutoModel.from_pretrained(folder, dtype=torch.float32), AutoTokenizer.from_pretrained(folder)
    ids = tokenizer("The Taliban — 😀", return_tensors="pt")
    assert encoder(**ids).last_hidden_state.shape[-1] == 32
    assert tokenizer.unk_token_id not in ids["input_ids"]


def test_an_interrupted_run_goes_on(tmp_path: Path) -> None:
    stopped = config(tmp_path, minutes=0.05)
    calls: list[str] = []

    def stop(line: str) -> None:
        calls.append(line)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pretrain(stopped, stop)
    tokens = (tmp_path / "out" / "tokens.npy").stat().st_mtime_ns
    assert pretrain(stopped, calls.append).is_dir()
    assert (tmp_path / "out" / "tokens.npy").stat().st_mtime_ns == tokens


def test_near_duplicates_are_dropped_and_a_missing_corpus_is_named(tmp_path: Path) -> None:
    path = tmp_path / "text.txt"
    path.write_text("In 2016, 12 people died.\nOther.\n\nIn 2017, 9 people died!\nNew.\n")
    corpus = PretrainConfig.build({"corpora": [{"path": path}], "output": tmp_path}, where="x").corpora[0]
    kept = [line for document in documents(corpus, 0) for line in document]
    assert len(kept) == 3
    path.unlink()
    with pytest.raises(ConfigError, match="cannot be read"):
        list(documents(corpus, 0))


@given(st.floats(0, 1))
def test_the_rate_rises_stays_and_falls(done: float) -> None:
    settings = PretrainConfig.build({"corpora": [{"path": "x"}], "output": "y"}, where="x")
    assert 0 <= rate_at(settings, done) <= settings.learning_rate
    assert rate_at(settings, 1.0) == pytest.approx(0.0)
    assert rate_at(settings, 0.3) == settings.learning_rate


def test_masking_hides_the_share_and_no_special_token() -> None:
    ids = torch.randint(0, 100, (50, 100), generator=torch.Generator().manual_seed(0))
    masked, chosen = mask_tokens(ids, 0.3, 100, torch.Generator().manual_seed(1))
    assert not chosen[ids < len(SPECIAL)].any()
    assert chosen[ids >= len(SPECIAL)].float().mean().item() == pytest.approx(0.3, abs=0.03)
    assert torch.equal(masked[~chosen], ids[~chosen])
    assert (masked[chosen] == SPECIAL.index("[MASK]")).float().mean().item() == pytest.approx(0.8, abs=0.05)


def test_batches_cut_the_whole_stream() -> None:
    stream = np.arange(10, 1010, dtype=np.uint16)
    batches = Batches(stream, 320, 2, np.random.default_rng(0))
    rows = torch.cat([batches.next(32) for _ in range(3)])
    assert rows.shape == (30, 32)
    assert (rows[:, 0] == 2).all()
    assert len(set(rows[:, 1].tolist())) == 30
