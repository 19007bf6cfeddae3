"""Batches of rows: the tagger's labels as columns, for lists, arrays and tables; `datasets` in one and in two processes."""

from __future__ import annotations

import os
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from datasets import ClassLabel, Dataset, disable_progress_bars
from datasets.fingerprint import Hasher
from learned import TARGET, TEXT, learned
from safetensors.torch import load_file, save_file

from annotations.document import Document
from annotations.errors import CheckpointError, ConfigError, DocumentError
from inference.config import TaggerConfig
from inference.engines.export import export
from inference.interop import loading
from inference.interop.batches import TagBatch
from inference.tagger import Tagger

TEXTS = ["Nothing.", "", TEXT, "The Taliban met in Kabul.", "😀 VOA"]
TARGETS = [None, None, TARGET, TARGET, None]


@pytest.fixture(scope="module")
def checkpoint(encoders: Callable[[str], Path], config: TaggerConfig, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return learned(encoders("modernbert"), config, tmp_path_factory.mktemp("batches"))


@pytest.fixture(scope="module")
def rows(checkpoint: Path) -> dict[str, list[Any]]:
    """What the tagger itself answers."""
    documents = [Document(id=str(n), text=text, target=TARGETS[n]) for n, text in enumerate(TEXTS)]
    tagged = list(Tagger.load(checkpoint).tag(documents))

    def layer(document: Document, name: str) -> Any:
        found = document.labels.get(name)
        if isinstance(found, tuple):
            return [rounded(one.model_dump()) for one in found]
        return rounded(found.model_dump()) if found else None

    return {name: [layer(document, name) for document in tagged] for name in ("entity", "stance", "document")}


def rounded(value: Any) -> Any:
    """Scores to five places: batches of other shapes differ in the last digits."""
    if isinstance(value, list):
        return [rounded(one) for one in value]
    return {**value, "score": round(value["score"], 5)} if value else value


def labels(columns: Any) -> dict[str, list[Any]]:
    return {name: [rounded(value) for value in columns[name]] for name in ("entity", "stance", "document")}


def test_every_kind_of_batch_has_the_taggers_labels(checkpoint: Path, rows: dict[str, list[Any]]) -> None:
    pa = pytest.importorskip("pyarrow")
    tag = TagBatch(checkpoint, target_column="claim")
    lists = {"n": list(range(5)), "text": TEXTS, "claim": TARGETS}
    answer = tag(lists)
    assert list(answer) == ["n", "text", "claim", "entity", "stance", "document"] and labels(answer) == rows
    assert [len(found) for found in rows["entity"]][2] == 3 and rows["stance"][0] is None and rows["document"][2]
    arrays = tag({name: np.array(values, dtype=object) for name, values in lists.items()})
    assert arrays["entity"].shape == (5,) and labels(arrays) == rows
    table = tag(pa.table(lists))
    assert table.column_names == list(answer) and labels(table.to_pydict()) == rows
    empty = tag(pa.table(lists).slice(0, 0))
    assert empty.schema == table.schema and empty.num_rows == 0
    assert tag({"text": [], "claim": []})["entity"] == []


def test_one_target_for_all(checkpoint: Path) -> None:
    answer = TagBatch(checkpoint, target=TARGET, prefix="sp_")({"text": [TEXT], "document": ["mine"]})
    assert answer["document"] == ["mine"] and answer["sp_document"][0]["label"] == "neutral"
    blank = TagBatch(checkpoint, target=TARGET, target_column="claim")({"text": [TEXT], "claim": [" "]})
    assert blank["document"] == answer["sp_document"]


def test_it_is_a_name_and_not_the_weights(checkpoint: Path, tmp_path: Path) -> None:
    tag = TagBatch(checkpoint)
    assert len(pickle.dumps(tag)) < 2000
    before = Hasher.hash(tag)
    tag({"text": [TEXT]})
    again = pickle.loads(pickle.dumps(tag))
    assert Hasher.hash(tag) == Hasher.hash(again) == Hasher.hash(TagBatch(str(checkpoint))) == before
    assert again({"text": [TEXT]}) == tag({"text": [TEXT]})
    assert Hasher.hash(TagBatch(checkpoint, target=TARGET)) != before
    copy = tmp_path / "checkpoint"
    shutil.copytree(checkpoint, copy)
    first = TagBatch(copy)
    weights = load_file(copy / "model.safetensors")
    save_file({name: value + 1e-3 for name, value in weights.items()}, copy / "model.safetensors", {"format": "pt"})
    assert Hasher.hash(TagBatch(copy)) != Hasher.hash(first)
    with pytest.raises(CheckpointError, match="holds other weights"):
        first({"text": [TEXT]})


def test_another_artefact_is_another_tagger(checkpoint: Path, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    copy = shutil.copytree(checkpoint, tmp_path / "checkpoint")
    plain, by_torch = TagBatch(copy), TagBatch(copy, engine="torch")
    export(copy, "onnx")
    assert Hasher.hash(TagBatch(copy)) != Hasher.hash(plain)
    assert Hasher.hash(TagBatch(copy, engine="torch")) == Hasher.hash(by_torch)
    with pytest.raises(CheckpointError, match="other artefacts"):
        plain({"text": [TEXT]})
    assert labels(TagBatch(copy)({"text": [TEXT]})) == labels(by_torch({"text": [TEXT]}))


@pytest.mark.parametrize("processes", [None, 2])
def test_datasets_map(checkpoint: Path, rows: dict[str, list[Any]], processes: int | None) -> None:
    disable_progress_bars()
    tag = TagBatch(checkpoint, target_column="claim")
    data = Dataset.from_dict({"text": TEXTS, "claim": TARGETS, "kind": [0, 1, 0, 1, 0]})
    data = data.cast_column("kind", ClassLabel(names=["a", "b"]))
    # The first batch has no label at all: types do not come from it.
    options = {"batched": True, "batch_size": 2, "num_proc": processes, "load_from_cache_file": False}
    made = data.map(tag, features=tag.features(data.features), **options)
    assert labels(made.to_dict()) == rows
    assert made.column_names == ["text", "claim", "kind", "entity", "stance", "document"]
    assert made.features["kind"].names == ["a", "b"]
    arrow = data.with_format("arrow").map(tag, batched=True, batch_size=2, load_from_cache_file=False)
    assert arrow.features == made.features and labels(arrow.with_format(None).to_dict()) == rows


def test_a_forked_process_does_not_wait_for_threads_it_has_not(
    checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With more threads than one, it would wait forever once its parent has used them."""
    disable_progress_bars()
    tag = TagBatch(checkpoint)

    def threads(batch: Any) -> dict[str, list[int]]:
        tag(batch)
        return {"threads": [torch.get_num_threads()] * len(batch["text"])}

    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with monkeypatch.context() as patched:
            # First as if this process were forked, where the mistake is a wrong number and no endless wait.
            patched.setattr(loading, "_IMPORTED_BY", -1)
            loading._load.__wrapped__(tag.source, os.getpid())
            assert torch.get_num_threads() == 1
        torch.set_num_threads(2)
        tag({"text": [TEXT]})
        data = Dataset.from_dict({"text": TEXTS[:2]})
        made = data.map(threads, batched=True, num_proc=2, load_from_cache_file=False)
        assert (made["threads"][:], torch.get_num_threads()) == ([1, 1], 2)
    finally:
        torch.set_num_threads(before)


def test_rows_that_cannot_be_tagged(checkpoint: Path, rows: dict[str, list[Any]]) -> None:
    texts = [TEXT, None, "a\ud800b", 3, TEXT]
    targets = [TARGET, TARGET, None, TARGET, "far too long " * 100]
    batch = {"text": texts, "claim": targets}
    with pytest.raises(DocumentError) as caught:
        TagBatch(checkpoint, target_column="claim")(batch)
    told = "\n".join(caught.value.problems)
    assert [problem.split(":")[0] for problem in caught.value.problems] == ["row 1", "row 2", "row 3", "row 4"]
    assert "NoneType" in told and "lone surrogate" in told and "int, not a text" in told and "shorten it" in told
    answer = TagBatch(checkpoint, target_column="claim", error_column="problem")(batch)
    assert [problem is None for problem in answer["problem"]] == [True, False, False, False, False]
    assert rounded(answer["entity"][0]) == rows["entity"][2] and answer["entity"][1:] == [None] * 4


@pytest.mark.parametrize(
    ("batch", "told"),
    [
        ({"body": [TEXT]}, "no column 'text'; it has body"),
        ({"text": [TEXT], "document": ["x"]}, "'document' would be there twice; set prefix="),
        ([TEXT], "is a list; ask for batch_format"),
    ],
)
def test_batches_that_do_not_fit(batch: Any, told: str, checkpoint: Path) -> None:
    with pytest.raises(ConfigError, match=told):
        TagBatch(checkpoint)(batch)


def test_wrong_settings_are_told_before_any_batch(checkpoint: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no readable tagger config"):
        TagBatch(tmp_path)
    with pytest.raises(ConfigError, match="did you mean 'torch'"):
        TagBatch(checkpoint, engine="torhc")
    with pytest.raises(ConfigError, match="'entity' would be there twice"):
        TagBatch(checkpoint, text_column="entity")
    for target, kind in ((5, "int"), (float("nan"), "float"), ([TARGET], "list")):
        with pytest.raises(ConfigError, match=f"target: is of type {kind}; give a text"):
            TagBatch(checkpoint, target=target)  # type: ignore[arg-type]
