"""Baselines learn what is easy to learn, see no test labels, and survive training data that teaches nothing."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from annotations.comparison import compare
from annotations.document import Document, Label, Labels, Span
from annotations.schema import Schema
from annotations.sentences import Bounds, sentences
from training.baselines import bio_spans, crf_baseline, majority_baseline, tfidf_baseline, word_features

SCHEMA = Schema.build(
    {
        "layers": {
            "entity": {"kind": "spans", "labels": {"PER": {}, "LOC": {}}},
            "stance": {"kind": "sentences", "targeted": True, "labels": {"pro": {}, "con": {}, "none": {}}},
            "whole": {"kind": "document", "targeted": True, "labels": {"pro": {}, "con": {}}},
        }
    },
    where="test",
)
PEOPLE, PLACES = ["Ada", "Karim", "Joe", "Lina"], ["Rome", "Kabul", "Paris", "Herat"]


def document(identity: str, text: str, target: str = "It rains.", **labels: Labels) -> Document:
    return Document(id=identity, text=text, target=target, labels=labels)


def news(person: str, place: str, stance: str) -> Document:
    verb = {"pro": "confirmed", "con": "denied"}[stance]
    text = f"Yesterday Mr. {person} flew to {place}. He {verb} the report."
    at, there = text.index(person), text.index(place)
    entity = (
        Span(start=at, end=at + len(person), label="PER"),
        Span(start=there, end=there + len(place), label="LOC"),
    )
    labels = zip(sentences(text), ["none", stance], strict=True)
    stances = tuple(Span(start=bounds.start, end=bounds.end, label=label) for bounds, label in labels)
    return document(f"{person} {place} {stance}", text, entity=entity, stance=stances, whole=Label(label=stance))


TRAIN = [news(p, q, s) for p, q in zip(PEOPLE, PLACES, strict=True) for s in ("pro", "con")]
TEST = [news("Omar", "Dushanbe", "pro"), news("Suhail", "Moscow", "con")]


def test_crf_finds_unseen_names_by_their_surroundings() -> None:
    predicted = crf_baseline(TRAIN, TEST, SCHEMA, seed=0)
    assert compare(TEST, predicted, SCHEMA).layers["entity"].micro.f1 == 1.0
    assert [set(item.labels) for item in predicted] == [{"entity"}] * 2


def test_tfidf_learns_words() -> None:
    predicted = tfidf_baseline(TRAIN, TEST, SCHEMA, seed=0)
    layers = compare(TEST, predicted, SCHEMA).layers
    assert (layers["stance"].accuracy, layers["whole"].accuracy) == (1.0, 1.0)
    assert [set(item.labels) for item in predicted] == [{"stance", "whole"}] * 2


def test_only_with_its_target_can_tfidf_tell_claims_apart() -> None:
    def about(number: int, target: str, label: str) -> Document:
        return document(f"{number} {label}", "The sky is grey.", target, whole=Label(label=label))

    pairs = [("It rains.", "pro"), ("The sun shines.", "con")]
    train = [about(number, *pair) for number in range(3) for pair in pairs]
    test = [about(9, *pair) for pair in pairs]
    seen, blind = (tfidf_baseline(train, test, SCHEMA, 0, see_target=see) for see in (True, False))
    assert compare(test, seen, SCHEMA).layers["whole"].accuracy == 1.0
    assert blind[0].labels["whole"] == blind[1].labels["whole"]


def test_majority() -> None:
    train = [news("Ada", "Rome", "con"), *TRAIN]
    for item in majority_baseline(train, TEST, SCHEMA):
        assert item.labels["whole"] == Label(label="con")
        assert [span.label for span in item.spans("stance")] == ["none"] * 2


def everything(train: list[Document], test: list[Document]) -> list[list[Document]]:
    tagged = [crf_baseline(train, test, SCHEMA, 0), tfidf_baseline(train, test, SCHEMA, 0)]
    return [*tagged, majority_baseline(train, test, SCHEMA)]


def test_predictions_are_the_same_every_time_and_whatever_the_gold_says() -> None:
    bare = [item.with_labels({}) for item in TEST]
    assert everything(TRAIN, TEST) == everything(TRAIN, TEST) == everything(TRAIN, bare)


def test_documents_that_leave_the_layer_unannotated_teach_nothing() -> None:
    bare = [document(f"bare {item.id}", item.text) for item in TRAIN for _ in range(3)]
    assert everything([*TRAIN, *bare], TEST) == everything(TRAIN, TEST)


@pytest.mark.parametrize("train", [[], [document("a", "Nothing here.")]])
def test_a_layer_without_training_labels_is_left_out(train: list[Document]) -> None:
    for predicted in everything(train, TEST):
        assert [dict(item.labels) for item in predicted] == [{}, {}]


@pytest.mark.parametrize("text", ["", "  ", "—", "One word"])
def test_training_data_that_teaches_nothing(text: str) -> None:
    found = tuple(Span(start=b.start, end=b.end, label="con") for b in sentences(text))
    train = [document("a", text, entity=(), stance=found, whole=Label(label="con"))]
    crf, tfidf, majority = everything(train, [*TEST, document("empty", "")])
    assert all(item.labels == {"entity": ()} for item in crf)
    assert tfidf == majority
    assert all(item.labels["whole"] == Label(label="con") for item in tfidf)


def test_wordless_training_texts_and_no_target() -> None:
    train = [document(label, "—", "", whole=Label(label=label)) for label in ("pro", "con")]
    assert all("whole" in item.labels for item in tfidf_baseline(train, TEST, SCHEMA, 0))


def test_spans_off_the_word_boundaries_are_fitted_to_words() -> None:
    # "Kabulis" holds more of its span than not and is taken whole; two letters of "Herati" are too few.
    text = "They met Kabulis and Herati."
    gold = document("a", text, entity=(Span(start=9, end=14, label="LOC"), Span(start=21, end=23, label="LOC")))
    [predicted] = crf_baseline([gold] * 5, [document("b", text)], SCHEMA, 0)
    assert predicted.spans("entity") == (Span(start=9, end=16, label="LOC"),)


def test_adjacent_spans_of_one_label_are_learned_as_two() -> None:
    text = "We saw AdaX Bo there."
    gold = document("a", text, entity=(Span(start=7, end=11, label="PER"), Span(start=12, end=14, label="PER")))
    [predicted] = crf_baseline([gold] * 5, [document("b", text)], SCHEMA, 0)
    assert predicted.spans("entity") == gold.spans("entity")


@given(st.lists(st.sampled_from(["O", "B-PER", "I-PER", "B-LOC", "I-LOC"]), max_size=8))
def test_any_tags_become_flat_spans(tags: list[str]) -> None:
    words = [Bounds(3 * place, 3 * place + 2) for place in range(len(tags))]
    spans = bio_spans(words, tags)
    document("a", " " * 3 * len(tags), entity=tuple(spans))
    covered = sum((span.end - span.start + 1) // 3 for span in spans)
    assert covered == sum(tag != "O" for tag in tags)


@settings(deadline=None, max_examples=30)
@given(st.text(max_size=40))
def test_any_text_can_be_tagged(text: str) -> None:
    labels: Any = {"entity": (Span(start=0, end=1, label="PER"),) if text else ()}
    everything([document("a", text).with_labels(labels)], [document("b", text)])


def test_features_name_what_the_word_looks_like() -> None:
    [_, features] = word_features("in ISIS2", [Bounds(0, 2), Bounds(3, 8)])
    for feature in ["word=ISIS2", "lower=isis2", "shape=Xd", "prefix=isi", "suffix=s2", "isupper", "-1lower=in"]:
        assert feature in features
    assert "-2outside" in features
    assert "+1outside" in features
