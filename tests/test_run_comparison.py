"""Comparing results: a run against itself differs by nothing, swapping negates, and what cannot be compared is named."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from conftest import ROOT
from hypothesis import given, settings
from hypothesis import strategies as st
from test_main_path import cli, gold, write_run
from typer.testing import CliRunner

from annotations.comparison import compare
from annotations.document import Document, Label, Span
from annotations.errors import DocumentError
from annotations.schema import Schema
from annotations.storage import write_jsonl
from training.cli import app
from training.reports.comparison import PairComparison, compare_results
from training.reports.comparison_report import run, told_gold
from training.reports.results import Result, read_result, read_results
from training.reports.sources import read_source

SCHEMA = Schema.load(ROOT / "configs" / "schema.yaml")
GOLD = gold(12)


def spoilt(documents: Sequence[Document], numbers: set[int]) -> list[Document]:
    """These documents (by place) lose their entities and get another stance."""
    found = []
    for place, document in enumerate(documents):
        stance = tuple(Span(start=s.start, end=s.end, label="denies") for s in document.spans("stance"))
        labels = {**document.labels, "stance": stance, "document": Label(label="supports"), "entity": ()}
        found.append(document.with_labels(labels) if place in numbers else document)
    return found


def result(*rounds: Sequence[Document], name: str = "x", schema: Schema | None = SCHEMA) -> Result:
    return Result(name, {f"seed-{number}": [*found] for number, found in enumerate(rounds)}, schema)


def pair(one: Result, other: Result, truth: Sequence[Document] = GOLD, schema: Schema = SCHEMA) -> PairComparison:
    [found] = compare_results({"A": one, "B": other}, truth, schema)
    return found


places = st.sets(st.integers(0, len(GOLD) - 1))


@settings(max_examples=6)
@given(places)
def test_a_result_against_itself_differs_by_exactly_nothing(bad: set[int]) -> None:
    same = result(spoilt(GOLD, bad), GOLD)
    for layer in pair(same, same).layers:
        apart = layer.apart
        assert (apart.mean, apart.low, apart.high, apart.better, apart.worse) == (0, 0, 0, 0, 0)
        assert "no evidence of a difference between A and B" in layer.conclusion()


@settings(max_examples=6)
@given(places, places, places)
def test_swapping_negates(first: set[int], second: set[int], third: set[int]) -> None:
    one, other = result(spoilt(GOLD, first)), result(spoilt(GOLD, second), spoilt(GOLD, third))
    for here, there in zip(pair(one, other).layers, pair(other, one).layers, strict=True):
        assert here.apart.mean == -there.apart.mean
        assert (here.apart.low, here.apart.high) == pytest.approx((-there.apart.high, -there.apart.low))
        assert (here.apart.better, here.apart.worse) == (there.apart.worse, there.apart.better)
        assert here.apart.low <= here.apart.mean + 1e-9 and here.apart.mean <= here.apart.high + 1e-9


def test_a_side_that_is_the_gold_itself_is_told() -> None:
    told = "B agrees with the gold in every label: is it a file of annotations rather than of predictions?"
    assert told in pair(result(spoilt(GOLD, {0})), result(GOLD)).remarks
    assert not any(
        "agrees with the gold" in one for one in pair(result(spoilt(GOLD, {0})), result(spoilt(GOLD, {1}))).remarks
    )


def test_scores_are_the_plain_ones_and_seeds_are_averaged() -> None:
    rounds = [spoilt(GOLD, {0, 5}), GOLD]
    layers = {layer.layer: layer for layer in pair(result(*rounds), result(GOLD)).layers}
    plain = [compare(GOLD, found, SCHEMA).layers["entity"].micro.f1 for found in rounds]
    assert layers["entity"].first.by_seed == pytest.approx(plain)
    assert layers["entity"].apart.mean == pytest.approx(sum(plain) / 2 - 1)
    assert (layers["entity"].documents, layers["entity"].groups) == (12, 12)
    assert layers["stance"].documents == 24


def test_a_clear_difference_is_said_and_a_small_one_is_not() -> None:
    bad = result(spoilt(GOLD, set(range(24))))
    said = [layer.conclusion() for layer in pair(result(GOLD), bad).layers]
    assert said[0] == "entity: A is better than B (micro F1 +1.000, 95% interval +1.000 to +1.000)."
    assert "entity: A is worse than B" in pair(bad, result(GOLD)).layers[0].conclusion()
    slight = pair(result(GOLD), result(spoilt(GOLD, {0})))
    assert slight.layers[0].apart.mean > 0
    assert "entity: no evidence of a difference" in slight.layers[0].conclusion()
    assert [remark[:21] for remark in slight.remarks] == ["A agrees with the gol"]


def test_few_groups_are_a_warning_and_one_is_no_interval() -> None:
    few = pair(result(GOLD[:6]), result(spoilt(GOLD[:6], {0})), GOLD[:6])
    assert any("fewer than 10 groups of documents (entity 3, stance 3, document 3)" in line for line in few.remarks)
    one = pair(result(GOLD[:2]), result(spoilt(GOLD[:2], {0})), GOLD[:2])
    assert "one group of documents cannot tell A from B (micro F1 +1.000, no interval)" in one.layers[0].conclusion()
    assert one.to_dict()["layers"][0]["interval"] is None


def test_other_documents_and_texts_are_left_out_with_counts() -> None:
    moved = [document.model_copy(update={"id": f"new-{document.id}"}) for document in GOLD[:4]]
    longer = [document.model_copy(update={"text": document.text + " More."}) for document in GOLD[4:6]]
    found = pair(result([*GOLD, *moved]), result([*longer, *GOLD[6:]]), [*GOLD, Document(id="only gold", text="x")])
    told = "\n".join(found.remarks)
    assert "8 documents left out, predicted by A alone: 0-1, 0-2, 1-1, …" in told
    assert "1 document left out, in gold and predicted by neither: only gold" in told
    assert "2 documents left out, another text in B than in gold: 2-1, 2-2" in told
    assert {layer.layer: layer.documents for layer in found.layers} == {"entity": 9, "stance": 18, "document": 18}
    without = pair(result([*GOLD, *moved]), result([*GOLD, *moved]))
    assert "4 documents left out, predicted by both and without gold" in "\n".join(without.remarks)


def test_another_target_spoils_only_layers_that_refer_to_it() -> None:
    other = [document.model_copy(update={"target": "Something else."}) for document in GOLD[:2]]
    found = pair(result(GOLD), result([*other, *GOLD[2:]]))
    assert {layer.layer: layer.documents for layer in found.layers} == {"entity": 12, "stance": 22, "document": 22}
    assert "2 documents left out, another target than in gold (layer 'stance')" in "\n".join(found.remarks)


def without(schema: Schema, layer: str, label: str | None = None) -> Schema:
    values = schema.model_dump(mode="json")
    if label:
        del values["layers"][layer]["labels"][label]
    else:
        del values["layers"][layer]
    return Schema.build(values, where="test")


def test_labels_that_one_side_does_not_know_are_left_out_with_counts() -> None:
    smaller = without(SCHEMA, "entity", "MEDIA")
    names = smaller.layers["entity"].names
    kept = [one.with_labels({**one.labels, **({"entity": ()} if "entity" in one.labels else {})}) for one in GOLD]
    kept = [
        one.with_labels({**one.labels, "entity": tuple(s for s in old.spans("entity") if s.label in names)})
        if "entity" in one.labels
        else one
        for one, old in zip(kept, GOLD, strict=True)
    ]
    found = pair(result(GOLD), result(kept, schema=smaller))
    told = "label 'MEDIA' of layer 'entity' is left out, B does not know it: 12 in gold, 12 predicted by A"
    assert told in found.remarks
    # On the labels that both know, both are right.
    assert [(layer.first.mean, layer.second.mean) for layer in found.layers] == [(1, 1)] * 3


def test_layers_that_one_side_lacks_are_named_and_the_others_compared() -> None:
    fewer = [one.only({"entity", "document"}) for one in GOLD]
    found = pair(result(GOLD), result(fewer, schema=without(SCHEMA, "stance")))
    assert [layer.layer for layer in found.layers] == ["entity", "document"]
    assert "layer 'stance' is not compared: B does not know it, A predicts it in 24 documents" in found.remarks
    silent = pair(result(GOLD), result(fewer))
    assert "layer 'stance' is not compared: B predicts it in no document" in silent.remarks
    unlabelled = pair(result(GOLD), result(GOLD), fewer)
    assert "layer 'stance' is not compared: gold annotates it in none of 24 common documents" in unlabelled.remarks


def test_a_layer_declared_in_two_ways_is_not_compared() -> None:
    values = SCHEMA.model_dump(mode="json")
    values["layers"]["stance"]["targeted"] = False
    found = pair(result(GOLD), result(GOLD, schema=Schema.build(values, where="test")))
    told = "layer 'stance' is not compared: the two declare it differently (sentences, targeted and sentences)"
    assert told in found.remarks
    shaped = [one.with_labels({**one.labels, "document": ()}) for one in GOLD]
    odd = pair(result(GOLD), result(shaped, schema=None))
    assert any("'document' is not compared: 24 predictions of B do not fit it" in line for line in odd.remarks)


def test_nothing_in_common_is_refused_with_every_reason() -> None:
    with pytest.raises(DocumentError, match="24 documents left out, predicted by A alone") as caught:
        pair(result(GOLD), result([one.model_copy(update={"id": "x" + one.id}) for one in GOLD]))
    assert any("predicted by B alone" in problem for problem in caught.value.problems)


def kept_rounds(folder: Path, *rounds: Sequence[Document], under: str = "folds") -> Path:
    """A cross-validation's folder without its config."""
    for seed, documents in enumerate(rounds):
        for group in {one.fold for one in documents}:
            own = [one for one in documents if one.fold == group]
            write_jsonl(folder / under / f"seed-{seed}" / f"{group}.jsonl", own)
    return folder


def test_interrupted_rounds_are_left_out_and_named(tmp_path: Path) -> None:
    found = read_result(kept_rounds(tmp_path, GOLD, GOLD[:10]))
    assert list(found.rounds) == ["seed-0"]
    assert found.remarks == ["seed-1 is left out: it lacks 14 of 24 documents"]


def test_folders_without_one_result_are_refused_together(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    both = kept_rounds(kept_rounds(tmp_path / "two", GOLD), GOLD, under="folds/5-fold")
    with pytest.raises(DocumentError) as caught:
        read_results([tmp_path / "empty", both, tmp_path / "missing"])
    text = str(caught.value)
    assert text.count("holds no finished result") == 2
    assert f"name one: {both / 'folds'}, {both / 'folds' / '5-fold'}" in text
    assert len(read_result(both / "folds" / "5-fold").rounds["seed-0"]) == 24


def test_gold_that_no_folder_names_is_asked_for(tmp_path: Path) -> None:
    folders = [kept_rounds(tmp_path / name, GOLD) for name in "ab"]
    with pytest.raises(DocumentError, match="--schema"):
        run(folders, command="test")
    schema = ROOT / "configs" / "schema.yaml"
    with pytest.raises(DocumentError, match="name the annotated files with --gold FILE"):
        run(folders, schema=schema, command="test")
    write_jsonl(tmp_path / "gold.jsonl", GOLD)
    text = run(folders, gold=[tmp_path / "gold.jsonl"], schema=schema, command="test")
    assert "- entity: no evidence of a difference between A and B" in text
    with pytest.raises(DocumentError, match="two to 26 can be compared"):
        run(folders[:1], command="test")


def test_real_results_of_every_kind_are_compared(tmp_path: Path, encoders: Callable[[str], Path]) -> None:
    """`train` with and without held-out data, `evaluate --output` and `crossval`, through the command line."""
    data = tmp_path / "gold.jsonl"
    write_jsonl(data, gold(3))
    config = write_run(tmp_path, "configs/schema.yaml", data, encoders("bert"))
    cli("train", config, "data.held_out=[article-1]", f"output={tmp_path / 'held'}")
    cli("crossval", config, "--seeds", "0,1", "--no-baselines", f"output={tmp_path / 'cv'}")
    cli("evaluate", tmp_path / "held" / "checkpoint", data, "--output", tmp_path / "scored")
    text = cli("compare", tmp_path / "cv", tmp_path / "scored", "--save", tmp_path / "saved")
    assert "- A: " in text and "(seed 0, seed 1)" in text
    assert "fewer than 10 groups of documents (entity 3, stance 3, document 3)" in text
    saved = json.loads((tmp_path / "saved.json").read_text())
    assert [layer["layer"] for layer in saved["pairs"][0]["layers"]] == ["entity", "stance", "document"]
    declared = SCHEMA.layers["entity"].labels
    assert saved["colors"]["entity"] == {name: spec.color for name, spec in declared.items()}
    assert (tmp_path / "saved.md").read_text() == text
    both = cli("compare", tmp_path / "held", tmp_path / "scored", tmp_path / "cv")
    assert "- entity: one group of documents cannot tell A from B (micro F1 +0.000, no interval)." in both
    assert "4 documents left out, predicted by B alone" in both
    assert "3 pairs are compared" in both
    moved = tmp_path / "gold" / "elsewhere.jsonl"
    moved.parent.mkdir()
    shutil.move(data, moved)
    refused = CliRunner().invoke(app, ["compare", str(tmp_path / "cv"), str(tmp_path / "held")])
    assert refused.exit_code == 2
    assert "gold.jsonl: cannot be read" in refused.stderr and "--gold FILE" in refused.stderr
    assert "- entity: " in cli("compare", tmp_path / "cv", tmp_path / "held", "--gold", moved)


def test_a_cross_validation_is_scored_without_what_it_held_out(tmp_path: Path, encoders: Callable[[str], Path]) -> None:
    data = tmp_path / "gold.jsonl"
    write_jsonl(data, gold(3))
    config = write_run(tmp_path, "configs/schema.yaml", data, encoders("bert"))
    cli("crossval", config, "--seeds", "0", "--no-baselines", "data.held_out=[article-1]")
    truth, remarks = told_gold({"A": read_result(tmp_path / "run")})
    assert {document.group for document in truth} == {"article-0", "article-2"}
    assert not remarks
    source = read_source(tmp_path / "run", [])
    assert source.training and source.training.documents == 4
    assert {document.id for document in source.gold} == {document.id for document in truth}
    assert not source.remarks


def test_gold_that_changed_since_is_named(tmp_path: Path, encoders: Callable[[str], Path]) -> None:
    data = tmp_path / "gold.jsonl"
    write_jsonl(data, gold(2))
    config = write_run(tmp_path, "configs/schema.yaml", data, encoders("bert"))
    cli("train", config)
    found = read_result(tmp_path / "run")
    assert "documents it learned from" in found.remarks[0]
    assert told_gold({"A": found})[1] == []
    write_jsonl(data, spoilt(gold(2), {0}))
    assert "changed after the run" in told_gold({"A": found})[1][0]
