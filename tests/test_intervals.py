"""Scores over folds: the pooled score is the plain one, intervals hold it, and verdicts do not overclaim."""

from __future__ import annotations

import numpy as np
import pytest
from conftest import annotate

from annotations.comparison import compare
from annotations.document import Document, Span
from annotations.schema import Schema
from training.folds import folds
from training.reports.intervals import layer_scores, markdown, scores, verdicts

TEXT = "The Taliban met al-Qaeda in Kabul. VOA denied it."
SPANS = [("Taliban", "MILITANT_GROUP"), ("al-Qaeda", "MILITANT_GROUP"), ("Kabul", "LOCATION"), ("VOA", "MEDIA")]


def gold() -> list[Document]:
    return [
        annotate(f"{group}-{target}", TEXT, SPANS[: 1 + group % 4], target=f"Claim {target}.", group=f"article-{group}")
        for group in range(5)
        for target in range(2)
    ]


def worse(documents: list[Document], every: int) -> list[Document]:
    """Every n-th document loses its spans and gets another stance."""
    changed = []
    for number, document in enumerate(documents):
        stance = tuple(Span(start=s.start, end=s.end, label="denies") for s in document.spans("stance"))
        labels = {**document.labels, "entity": (), "stance": stance}
        changed.append(document.with_labels(labels) if number % every == 0 else document)
    return changed


def test_the_pooled_score_is_the_plain_one(schema: Schema) -> None:
    documents = gold()
    predicted = worse(documents, 3)
    found = {(s.system, s.layer): s for s in scores({"a": [predicted, documents]}, documents, schema, resamples=200)}
    plain = compare(documents, predicted, schema).layers
    assert found["a", "entity"].by_seed == pytest.approx((plain["entity"].micro.f1, 1.0))
    assert found["a", "stance"].by_seed == pytest.approx((plain["stance"].macro_f1, 1.0))
    assert found["a", "document"].by_seed == (1.0, 1.0)
    for score in found.values():
        assert 0 <= score.low <= score.mean <= score.high <= 1


def test_bootstrap_draws_are_means_over_drawn_articles(schema: Schema) -> None:
    documents = gold()
    score = next(s for s in scores({"a": [worse(documents, 10)]}, documents, schema) if s.layer == "entity")
    assert set(np.round(score.draws, 6)) <= set(np.round(np.linspace(0, 1, 1_000_001), 6))
    assert score.draws.max() == 1.0
    assert score.draws.std() > 0


def test_a_layer_is_drawn_from_the_groups_that_annotate_it(schema: Schema) -> None:
    documents = gold()
    some = [d if d.group == "article-1" else d.only(["entity", "document"]) for d in documents]
    found = {score.layer: score for score in scores({"a": [documents]}, some, schema)}
    assert (found["stance"].low, found["stance"].high) == (1.0, 1.0), "a draw without its one group would score 0"
    for layer, score in found.items():
        [alone] = layer_scores({"a": [documents]}, some, layer, schema)
        assert np.array_equal(score.draws, alone.draws)
    [whole] = layer_scores({"a": [worse(documents, 3)]}, documents, "entity", schema)
    assert np.array_equal(whole.draws, next(iter(scores({"a": [worse(documents, 3)]}, some, schema))).draws)


def test_verdicts_do_not_overclaim(schema: Schema) -> None:
    documents = gold()
    bad = [d.with_labels({**d.labels, "entity": ()}) for d in documents]
    found = scores({"tagger": [documents], "same": [documents], "bad": [bad]}, documents, schema)
    said = "\n".join(verdicts(found, "tagger"))
    assert "entity: tagger beats bad" in said
    assert "entity: tagger is not clearly different from same" in said
    assert "entity: bad is beaten" not in said
    assert "| entity | bad | micro F1 | 0.000 |" in markdown(found, "tagger")


def test_one_group_proves_nothing(schema: Schema) -> None:
    """All resamples of one group are the same, which is no certainty."""
    documents = [d if d.group == "article-1" else d.only(["stance", "document"]) for d in gold()]
    bad = [d.with_labels({**d.labels, "entity": ()}) for d in documents]
    found = scores({"tagger": [documents], "bad": [bad]}, documents, schema)
    said = markdown(found, "tagger")
    assert "- entity: whether tagger beats bad cannot be told from one group of documents (micro F1 +1.000)" in said
    assert "| entity | tagger | micro F1 | 1.000 | 1.000 | none, one group |" in said
    assert "- stance: tagger is not clearly different from bad" in said
    told = {score.layer: score.to_dict() for score in found}
    assert (told["entity"]["interval"], told["entity"]["groups"]) == (None, 1)
    assert told["stance"]["interval"] == [1.0, 1.0] and told["stance"]["groups"] > 1


def test_a_system_is_scored_only_on_layers_it_predicts(schema: Schema) -> None:
    documents = gold()
    only = [d.with_labels({"entity": d.spans("entity")}) for d in documents]
    assert {s.layer for s in scores({"crf": [only]}, documents, schema)} == {"entity"}


def test_all_documents_of_an_article_are_in_one_fold() -> None:
    documents = gold()
    seen: list[str] = []
    for group, train, test in folds(documents):
        assert {document.group for document in test} == {group}
        assert group not in {document.group for document in train}
        assert len(train) + len(test) == len(documents)
        seen += [document.id for document in test]
    assert sorted(seen) == sorted(document.id for document in documents)
