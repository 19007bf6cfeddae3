"""Folds of whole groups: every group in exactly one, about as heavy as the others, and labels they leave unlearned named."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import annotate
from hypothesis import given
from hypothesis import strategies as st
from test_main_path import cli, gold, write_run
from typer.testing import CliRunner

from annotations.document import Document, Span
from annotations.errors import DocumentError
from annotations.schema import Schema
from annotations.storage import write_jsonl
from training.cli import app
from training.crossval import safe_name
from training.folds import dealt, folds, label_counts, unlearned

SIZES = st.lists(st.integers(0, 12), min_size=2, max_size=14)


def grouped(sizes: list[int]) -> list[Document]:
    """A group of two documents for each size, with that many labels in all."""
    found = []
    for number, size in enumerate(sizes):
        text = "a " * 20
        for part, count in enumerate((size - size // 2, size // 2)):
            spans = tuple(Span(start=2 * at, end=2 * at + 1, label="PERSON") for at in range(count))
            found.append(Document(id=f"{number}-{part}", text=text, group=f"g{number}", labels={"entity": spans}))
    return found


@given(SIZES, st.integers(2, 14))
def test_every_group_is_in_exactly_one_fold(sizes: list[int], count: int) -> None:
    documents = grouped(sizes)
    if count > len(sizes):
        with pytest.raises(DocumentError, match=f"{len(sizes)} groups cannot be dealt to {count} folds"):
            list(folds(documents, count))
        return
    found = list(folds(documents, count))
    assert len(found) == count
    owners = Counter(group for fold in found for group in {document.fold for document in fold.test})
    assert owners == {f"g{number}": 1 for number in range(len(sizes))}
    for fold in found:
        assert fold.test
        assert not {one.fold for one in fold.train} & {one.fold for one in fold.test}
        assert len(fold.train) + len(fold.test) == len(documents)


@given(SIZES, st.integers(2, 5), st.randoms())
def test_folds_are_balanced_and_do_not_depend_on_the_order(sizes: list[int], count: int, random: object) -> None:
    documents = grouped(sizes)
    loads: Counter[str] = Counter()
    owners = dealt(documents, count)
    for group, labels in label_counts(documents).items():
        loads[owners[group]] += labels
    # The heaviest-first rule: no fold is heavier than the lightest one by more than the largest group.
    weights = [loads[f"fold-{number}"] for number in range(1, count + 1)]
    assert max(weights) - min(weights) <= max(sizes)
    mixed = list(documents)
    random.shuffle(mixed)  # type: ignore[attr-defined]
    assert dealt(mixed, count) == owners


def test_without_a_number_every_group_is_a_fold_of_its_own() -> None:
    assert [fold.name for fold in folds(gold(3))] == ["article-0", "article-1", "article-2"]


def test_what_a_fold_leaves_unlearned_is_named(schema: Schema) -> None:
    documents = [annotate("rare", "VOA left.", [("VOA", "MEDIA")], group="one"), *gold(2)[:1], *gold(2)[2:]]
    documents = [one.with_labels({k: v for k, v in one.labels.items() if k != "stance"}) for one in documents]
    only = [document.only({"document"}) if document.group != "one" else document for document in documents]
    told = unlearned(list(folds(only)), only, schema)
    assert any("no document is labelled" in line and "stance supports" in line for line in told)
    assert "training without one there is no example of entity MEDIA" in told


def test_a_fold_with_nothing_to_learn_from_is_refused(schema: Schema) -> None:
    documents = [gold(1)[0], Document(id="bare", text="Words.", group="bare")]
    with pytest.raises(DocumentError, match="without article-0 there is no annotation"):
        unlearned(list(folds(documents)), documents, schema)


def test_crossval_deals_groups_to_folds_and_keeps_each(tmp_path: Path, encoders: Callable[[str], Path]) -> None:
    data = tmp_path / "gold.jsonl"
    rare = annotate("rare", "A gun at VOA.", [("gun", "WEAPON")], group="rare", target="The Taliban met.")
    write_jsonl(data, [*gold(4), rare])
    config = write_run(tmp_path, "configs/schema.yaml", data, encoders("bert"))
    arguments = ["crossval", str(config), "--folds", "2", "--seeds", "0", "--save", str(tmp_path / "saved")]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.stderr
    assert "5 articles in 2 folds" in result.stdout
    assert "| TF-IDF |" in result.stdout
    said = result.stderr.splitlines()
    warned = next(place for place, line in enumerate(said) if "no example of entity WEAPON" in line)
    assert said[warned].startswith("warning: training without fold-")
    assert warned < next(place for place, line in enumerate(said) if "seed 0: training" in line)
    kept = sorted((tmp_path / "run" / "folds").rglob("*.jsonl"))
    assert [path.parent for path in kept] == [tmp_path / "run" / "folds" / "2-fold" / "seed-0"] * 2
    assert json.loads((tmp_path / "saved.json").read_text())["folds"] == 2
    stamps = [path.stat().st_mtime_ns for path in kept]
    again = cli("crossval", config, "--folds", "2", "--seeds", "0", "--no-baselines")
    assert "| entity | tagger |" in again
    assert [path.stat().st_mtime_ns for path in kept] == stamps
    kept[0].write_bytes(kept[1].read_bytes())
    refused = CliRunner().invoke(app, arguments)
    assert refused.exit_code == 2
    assert "holds other documents than fold-1" in refused.stderr


def test_kept_folds_are_called_as_ever() -> None:
    """Folds of one group each, kept by an earlier version, are found again."""
    assert safe_name("article 1/a") == "article_1_a-f0e7b4f4"


@pytest.mark.parametrize("value", ["1", "x"])
def test_a_number_of_folds_that_makes_no_sense_is_refused(value: str, tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["crossval", "configs/train.yaml", "--folds", value])
    assert result.exit_code == 2
    assert "folds" in result.stderr
