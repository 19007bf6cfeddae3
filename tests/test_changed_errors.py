"""Errors fixed and introduced: they agree with the one count of right and wrong, swap with the results, and are where they say."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
from conftest import ROOT
from hypothesis import given, settings
from hypothesis import strategies as st
from test_run_comparison import GOLD, SCHEMA, kept_rounds, pair, result, spoilt

from annotations.comparison import compare
from annotations.document import Document, Label, Labels, Span
from annotations.schema import Schema
from annotations.sentences import sentences
from annotations.storage import write_jsonl
from training.reports.changed_errors import FIXED, INTRODUCED, KEPT, Mark, agreed, error_changes
from training.reports.comparison_report import run

TEXT = "Omar left Kabul. Herat fell on Monday; nobody knew.\nThe Taliban denied it."
LABELS = SCHEMA.layers["entity"].names[:3]
STANCES = SCHEMA.layers["stance"].names
places = st.sets(st.integers(0, len(GOLD) - 1))


@st.composite
def documents(draw: st.DrawFn) -> Document:
    """The same text with flat spans anywhere, any sentence labelled or not, and perhaps a label of the whole."""
    edges = sorted(draw(st.sets(st.integers(0, len(TEXT)), max_size=8)))
    spans = [
        Span(start=start, end=end, label=draw(st.sampled_from(LABELS)))
        for start, end in zip(edges[::2], edges[1::2], strict=False)
    ]
    stance = [
        Span(start=start, end=end, label=label)
        for start, end in sentences(TEXT)
        if (label := draw(st.none() | st.sampled_from(STANCES)))
    ]
    labels: dict[str, Labels] = {"entity": tuple(spans), "stance": tuple(stance)}
    if whole := draw(st.none() | st.sampled_from(STANCES)):
        labels["document"] = Label(label=whole)
    return Document(id="one", text=TEXT, target="A claim.", labels=labels, source={"task": 12})


def wrong(gold: Document, predicted: Document, layer: str) -> int:
    """Errors by the one count: of spans false negatives and positives, of the others wrong or missing labels."""
    found = compare([gold], [predicted], SCHEMA).layers[layer]
    if layer == "entity":
        return found.micro.fn + found.micro.fp
    return sum(one != other for one, other in found.pairs)


@given(documents(), documents(), documents())
def test_they_agree_with_the_one_count(gold: Document, first: Document, second: Document) -> None:
    for name, layer in SCHEMA.layers.items():
        if name not in gold.labels:
            continue
        found = error_changes([gold], {"A": [[first]], "B": [[second]]}, name, layer)
        fixed, introduced, kept = (found.total(change) for change in (FIXED, INTRODUCED, KEPT))
        assert fixed + kept == wrong(gold, second, name)
        assert introduced + kept == wrong(gold, first, name)
        assert len(found.changed) == fixed + introduced


@given(documents(), documents(), documents())
def test_swapping_the_results_swaps_fixed_and_introduced(gold: Document, first: Document, second: Document) -> None:
    layer = SCHEMA.layers["entity"]
    here = error_changes([gold], {"A": [[first]], "B": [[second]]}, "entity", layer)
    there = error_changes([gold], {"A": [[second]], "B": [[first]]}, "entity", layer)
    swapped = {FIXED: INTRODUCED, INTRODUCED: FIXED}
    assert [(each.error, each.change) for each in here.changed] == [
        (each.error, swapped[each.change]) for each in there.changed
    ]


@given(documents(), documents(), documents())
def test_every_error_lies_in_its_sentence_with_what_everyone_says(
    gold: Document, first: Document, second: Document
) -> None:
    for name in ("entity", "stance"):
        found = error_changes([gold], {"A": [[first]], "B": [[second]]}, name, SCHEMA.layers[name])
        for each in found.changed:
            mark, bounds = each.error.mark, each.sentence
            assert each.text == TEXT[mark.start : mark.end] and each.context == TEXT[bounds.start : bounds.end]
            assert bounds.start <= mark.start and mark.end <= bounds.end
            assert (mark in each.said["gold"]) == (each.error.kind == "missed")
            making, right = ("B", "A") if each.change == FIXED else ("A", "B")
            assert (mark in each.said[making]) == (each.error.kind == "spurious") != (mark in each.said[right])
            assert each.to_dict()["task"] == 12
            assert each.target == ("A claim." if name == "stance" else None)


@given(st.lists(st.sets(st.sampled_from([Mark(0, 4, "x"), Mark(0, 4, "y"), Mark(2, 6, "x")])), min_size=1, max_size=5))
def test_more_than_half_of_the_rounds_decide(rounds: list[set[Mark]]) -> None:
    said = agreed(rounds)
    for mark in {mark for each in rounds for mark in each}:
        assert (mark in said) == (sum(mark in each for each in rounds) > len(rounds) / 2)
    assert agreed([rounds[0]] * 3) == rounds[0]


def test_seeds_vote() -> None:
    def changed(*rounds: Sequence[Document]) -> int:
        layer = pair(result(GOLD), result(*rounds)).layers[0]
        return layer.errors.total(FIXED)

    spoilt_one = spoilt(GOLD, {0})
    assert changed(spoilt_one) == changed(spoilt_one, spoilt_one, GOLD) > 0
    assert changed(spoilt_one, GOLD, GOLD) == 0


@settings(max_examples=6)
@given(places)
def test_a_result_fixes_and_introduces_nothing_beside_itself(bad: set[int]) -> None:
    same = result(spoilt(GOLD, bad))
    for layer in pair(same, same).layers:
        assert layer.errors.changed == []
        assert layer.errors.total(FIXED) == layer.errors.total(INTRODUCED) == 0


def test_the_table_says_what_becomes_of_the_errors() -> None:
    found = pair(result(GOLD), result(spoilt(GOLD, {0})))
    text = found.markdown()
    missed = len(GOLD[0].spans("entity"))
    assert f"- entity: of the {missed} errors of B, A fixes {missed} and keeps 0; it introduces 0." in text
    values = found.to_dict()["layers"][0]["errors"]
    assert (values["fixed"], values["introduced"], values["kept"]) == (missed, 0, 0)
    assert sum(each["fixed"] for each in values["by_label"].values()) == missed == len(values["changed"])
    assert values["changed"][0]["said"]["B"] == []
    assert values["changed"][0]["sentence"]["text"] in GOLD[0].text


def test_unlabelled_sentences_and_layers_play_no_part() -> None:
    schema = Schema(layers={"stance": SCHEMA.layers["stance"]})
    stance = Span(start=0, end=16, label="supports")
    gold = Document(id="one", text=TEXT, target="x", labels={"stance": (stance,)})
    other = tuple(Span(start=start, end=end, label="denies") for start, end in sentences(TEXT))
    found = error_changes(
        [gold], {"A": [[gold.with_labels({"stance": other})]], "B": [[gold]]}, "stance", schema.layers["stance"]
    )
    assert [(each.error.mark, each.error.kind) for each in found.changed] == [(Mark(0, 16, "supports"), "missed")]


@pytest.mark.parametrize("name", ["stance", "document"])
def test_a_missing_label_is_an_error(name: str) -> None:
    bare = [document.with_labels({}) for document in GOLD[:2]]
    found = error_changes(GOLD[:2], {"A": [bare], "B": [GOLD[:2]]}, name, SCHEMA.layers[name])
    assert found.total(INTRODUCED) == wrong(GOLD[0], bare[0], name) + wrong(GOLD[1], bare[1], name) > 0


def test_saving_writes_table_values_and_page(tmp_path: Path) -> None:
    folders = [kept_rounds(tmp_path / "a", GOLD), kept_rounds(tmp_path / "b", spoilt(GOLD, {0, 3}))]
    write_jsonl(tmp_path / "gold.jsonl", GOLD)
    schema, save = ROOT / "configs" / "schema.yaml", tmp_path / "saved"
    text = run(folders, gold=[tmp_path / "gold.jsonl"], schema=schema, command="test", save=save)
    assert (tmp_path / "saved.md").read_text("utf-8") == text + "\n"
    [found] = json.loads((tmp_path / "saved.json").read_text("utf-8"))["pairs"]
    page = (tmp_path / "saved.html").read_text("utf-8")
    for layer in found["layers"]:
        assert layer["errors"]["fixed"] == len(layer["errors"]["changed"])
        assert layer["conclusion"] in page
