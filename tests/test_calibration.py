"""Probabilities: reliability and ECE by hand and by bins, curves by threshold, temperatures that change scores and no label."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from conftest import annotate
from hypothesis import given
from hypothesis import strategies as st

from annotations.document import Document, Label
from annotations.errors import ConfigError, TrainingError
from annotations.schema import Kind, Schema
from inference.config import TaggerConfig
from inference.decoding import choose, decode
from inference.tagger import Tagger
from training.reports.calibration import reliability
from training.reports.evaluation import bare
from training.reports.items import layer_items
from training.reports.layer_scores import score
from training.reports.making import write_calibrated
from training.reports.temperature import COLDEST, HOTTEST, Evidence, fit, gather
from training.reports.thresholds import curve, curves

TEXT = "The Taliban met al-Qaeda in Kabul. VOA denied it. Nobody else in Herat said a word about the matter."
SPANS = [("Taliban", "MILITANT_GROUP"), ("al-Qaeda", "MILITANT_GROUP"), ("Kabul", "LOCATION"), ("VOA", "MEDIA")]

scores = st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=40)


def gold(groups: int = 6) -> list[Document]:
    return [
        annotate(f"{group}", f"Day {group}. {TEXT}", SPANS, target="The Taliban met.", group=f"article-{group}")
        for group in range(groups)
    ]


@given(scores)
def test_ece_is_the_weighted_distance_of_confidence_and_accuracy(found: list[tuple[float, bool]]) -> None:
    score, right = np.array([s for s, _ in found]), np.array([r for _, r in found])
    own = reliability(score, right, np.zeros(len(found), dtype=np.int64), 1, 100)
    expected = 0.0
    edges = np.linspace(0, 1, 11)
    for place in range(10):
        inside = (score > edges[place]) & (score <= edges[place + 1]) if place else score <= edges[1]
        if inside.any():
            expected += abs(score[inside].mean() - right[inside].mean()) * inside.mean()
    assert own.ece.value == pytest.approx(expected, abs=0.11 if _on_edge(score, edges) else 1e-9)
    assert sum(each.count for each in own.bins) == own.items == len(found)
    assert own.accuracy == pytest.approx(right.mean())
    assert own.ece.low is None


def _on_edge(score: np.ndarray, edges: np.ndarray) -> bool:
    """Whether rounding decides which bin a score falls into."""
    return bool((np.abs(score[:, None] - edges[1:-1]) < 1e-9).any())


def test_ece_is_known_by_hand_and_its_interval_holds_it() -> None:
    score = np.array([0.95, 0.95, 0.55, 0.55] * 10)
    right = np.array([True, True, True, False] * 10)
    found = reliability(score, right, np.arange(40) // 4, 10, 500)
    assert found.ece.value == pytest.approx(0.05)
    assert found.ece.low == pytest.approx(0.05)
    assert [(each.low, each.count, each.accuracy) for each in found.bins] == [(0.5, 20, 0.5), (0.9, 20, 1.0)]
    mixed = reliability(score, right, np.arange(40) % 10, 10, 500)
    assert mixed.ece.low is not None
    assert mixed.ece.high is not None
    assert mixed.ece.low <= mixed.ece.value <= mixed.ece.high


@given(scores, st.integers(0, 10))
def test_a_curves_points_are_the_scores_of_what_is_kept(found: list[tuple[float, bool]], missed: int) -> None:
    score, right = np.array([s for s, _ in found]), np.array([r for _, r in found])
    wanted = int(right.sum()) + missed
    own = curve(score, right, wanted)
    assert own.threshold.tolist() == sorted(set(score.tolist()))
    for place, threshold in enumerate(own.threshold):
        kept = score >= threshold
        assert own.kept[place] == kept.sum()
        assert own.precision[place] == pytest.approx(right[kept].mean())
        assert own.recall[place] == pytest.approx(right[kept].sum() / wanted if wanted else 0)
    best = own.best()
    assert best is not None
    assert best["f1"] == own.f1.max()


choices = st.lists(
    st.tuples(st.integers(0, 2), st.integers(0, 2), st.sampled_from([0.2, 0.4, 0.6, 0.8, None])),
    min_size=1,
    max_size=30,
)


@given(choices)
def test_sentences_have_the_macro_scores_of_what_is_kept(found: list[tuple[int, int, float | None]]) -> None:
    names = ("supports", "denies", "neutral")
    schema = Schema.build(
        {"layers": {"all": {"kind": "document", "labels": {name: {} for name in names}}}}, where="test"
    )
    truth = [
        Document(id=str(at), text="a", labels={"all": Label(label=names[one])}) for at, (one, _, _) in enumerate(found)
    ]
    guesses = [
        own.with_labels({"all": Label(label=names[two], score=p)})
        for own, (_, two, p) in zip(truth, found, strict=True)
    ]
    own = curves(layer_items([[*zip(truth, guesses, strict=True)]], schema)["all"], macro=True)
    if own is None:
        assert all(p is None for _, _, p in found)
        return
    for place, threshold in enumerate(own.all.threshold):
        kept = [one if (one.labels["all"].score or 0) >= threshold else one.with_labels({}) for one in guesses]
        overall, _ = score(layer_items([[*zip(truth, kept, strict=True)]], schema)["all"], Kind.DOCUMENT, 100)
        for name in ("precision", "recall", "f1"):
            assert getattr(own.all, name)[place] == pytest.approx(getattr(overall, name).value)


def test_a_long_curve_is_thinned_and_keeps_both_ends() -> None:
    score = np.linspace(0.01, 0.99, 400)
    own = curve(score, score > 0.5, 300)
    shown = own.to_dict()
    assert len(shown["threshold"]) == 50
    assert (shown["threshold"][0], shown["threshold"][-1]) == (score[0], score[-1])
    assert shown["kept"][0] == 400


def tempered(tagger: Tagger, temperature: float) -> Tagger:
    layers = dict.fromkeys(tagger.schema.layers, temperature)
    return Tagger(tagger.engine.model, tagger.tokenizer, tagger.config.model_copy(update={"temperatures": layers}))


def bared(document: Document) -> list[tuple[str, int, int, str]]:
    return [
        (name, getattr(item, "start", 0), getattr(item, "end", 0), item.label)
        for name, labels in document.labels.items()
        for item in (labels if isinstance(labels, tuple) else (labels,))
    ]


def all_scores(document: Document) -> list[float]:
    found = (labels if isinstance(labels, tuple) else (labels,) for labels in document.labels.values())
    return [item.score or 0.0 for items in found for item in items]


@pytest.mark.parametrize("temperature", [0.2, 1.0, 3.7])
def test_a_temperature_changes_probabilities_and_no_label(tagger: Tagger, temperature: float) -> None:
    documents = gold(2)
    plain, other = ([*which.tag(documents)] for which in (tagger, tempered(tagger, temperature)))
    for one, two in zip(plain, other, strict=True):
        assert bared(one) == bared(two)
        assert len(all_scores(one)) > 4
        pairs = [*zip(all_scores(one), all_scores(two), strict=True)]
        if temperature == 1.0:
            assert all(a == b for a, b in pairs)
        else:
            # A label of a sentence or document is the likeliest one: colder is surer.
            sure = [(a, b) for a, b in pairs[-4:] if a < 0.999]
            assert sure
            assert all((b > a) == (temperature < 1) for a, b in sure)
            for name, labels in one.labels.items():
                assert labels == () or labels != two.labels[name], name


def test_the_probability_at_a_temperature_is_that_of_divided_logits(schema: Schema) -> None:
    layer = schema.layers["stance"]
    logits = np.array([0.3, 2.0, -1.0])
    likely = np.exp(logits / 2.5) / np.exp(logits / 2.5).sum()
    found = choose(logits, layer, 2.5)
    assert (found.label, found.score) == (layer.names[1], pytest.approx(likely[1]))


def test_temperatures_are_checked(config: TaggerConfig) -> None:
    values = config.model_dump(mode="json")
    for wrong, words in ({"stanse": 2.0}, "no layer 'stanse'"), ({"stance": 0}, "greater than 0"):
        with pytest.raises(ConfigError, match=words):
            TaggerConfig.build({**values, "temperatures": wrong}, where="test")


def evidence_of(tagger: Tagger, documents: list[Document]) -> tuple[dict[str, Evidence], list[Document]]:
    layers = tagger.schema.layers
    found = {name: Evidence() for name in layers}
    windows, answers = tagger.read(bare(documents))
    tagged = decode(bare(documents), windows, answers, tagger.config)
    gather(found, layers, documents, tagged, windows, answers)
    return found, tagged


def test_what_is_gathered_gives_back_the_taggers_probabilities(tagger: Tagger) -> None:
    documents = gold(3)
    found, tagged = evidence_of(tagger, documents)
    for name in tagger.schema.layers:
        fitted = fit(found[name], documents, 100)
        assert fitted is not None
        given = [
            item.score
            for one in tagged
            for item in ([one.labels[name]] if isinstance(one.labels[name], Label) else one.spans(name))
        ]
        assert fitted.before.items == len(given)
        assert fitted.before.confidence == pytest.approx(np.mean([score for score in given if score is not None]))
        assert COLDEST <= fitted.value <= HOTTEST


def overconfident(
    groups: int, size: int, factor: float, *, first: float | None = None
) -> tuple[Evidence, list[Document]]:
    """Logits that are `factor` times as large as they should be (`first` times in the first group): the right temperature."""
    random = np.random.default_rng(0)
    found, documents = Evidence(), []
    for group in range(groups):
        documents.append(Document(id=f"d{group}", text="a b", group=f"g{group}"))
        for _ in range(size):
            logits = random.normal(0, 1.5, 3)
            likely = np.exp(logits) / np.exp(logits).sum()
            right = int(random.choice(3, p=likely))
            number = len(found.correct)
            found.rows.append(logits * (first if first and not group else factor))
            found.chosen.append(int(logits.argmax()))
            found.gold.append(right)
            found.owner.append(number)
            found.correct.append(right == int(logits.argmax()))
            found.fold.append(f"g{group}")
    return found, documents


@pytest.mark.parametrize("factor", [0.4, 3.0])
def test_the_right_temperature_is_found_and_helps_on_documents_it_was_not_fitted_on(factor: float) -> None:
    fitted = fit(*overconfident(12, 60, factor), 200)
    assert fitted is not None
    assert fitted.value == pytest.approx(factor, rel=0.15)
    assert len(fitted.by_fold) == 5
    assert fitted.after.ece.value < fitted.before.ece.value / 2
    assert fitted.nll_after < fitted.nll_before
    assert fitted.problem is None
    assert "lowers the log loss" in fitted.conclusion()
    assert "lowers the ECE" in fitted.conclusion()
    assert "5 folds" in fitted.conclusion()


def test_each_fold_is_rescaled_by_what_was_fitted_on_the_others() -> None:
    fitted = fit(*overconfident(2, 150, 4.0, first=0.5), 100)
    assert fitted is not None
    assert sorted(fitted.by_fold) == pytest.approx([0.5, 4.0], rel=0.3)
    assert fitted.after.ece.value > fitted.before.ece.value
    assert "raises the ECE" in fitted.conclusion()
    assert "raises the log loss" in fitted.conclusion()
    assert fitted.determined
    assert fitted.problem is not None and "the log loss does not fall" in fitted.problem


@pytest.mark.parametrize("wrong", [0, 10])
def test_all_right_or_all_wrong_determines_no_temperature(wrong: int) -> None:
    random = np.random.default_rng(1)
    found, documents = Evidence(), []
    for number in range(10):
        logits = random.normal(0, 0.5, 3)
        best = int(logits.argmax())
        logits[best] += 1
        right = int(logits.argmin()) if number < wrong else best
        documents.append(Document(id=f"d{number}", text="a b", group=f"g{number}"))
        found.rows.append(logits)
        found.chosen.append(best)
        found.gold.append(right)
        found.owner.append(number)
        found.correct.append(right == best)
        found.fold.append(f"g{number}")
    fitted = fit(found, documents, 100)
    assert fitted is not None
    assert fitted.wrong == wrong
    assert fitted.problem is not None
    assert not fitted.determined
    assert "no temperature can be determined" in fitted.conclusion()
    assert "lowers" not in fitted.conclusion()


def test_one_group_is_fitted_and_says_that_nothing_was_held_out() -> None:
    fitted = fit(*overconfident(1, 30, 2.0), 100)
    assert fitted is not None
    assert fitted.by_fold == ()
    assert "on the documents it was fitted on" in fitted.conclusion()
    assert fit(Evidence(), [], 100) is None


def test_a_place_where_no_copy_can_be_made_is_named(tagger: Tagger, tmp_path: Path) -> None:
    from inference import checkpoint

    checkpoint.save(tmp_path / "original", tagger.engine.model, tagger.tokenizer)
    (tmp_path / "file").touch()
    with pytest.raises(TrainingError, match="file/copy: its folder cannot be made"):
        write_calibrated(tmp_path / "original", tmp_path / "file" / "copy", {"stance": 2.5})


def test_a_calibrated_copy_has_the_temperatures_and_the_original_is_untouched(tagger: Tagger, tmp_path: Path) -> None:
    from inference import checkpoint, checkpoint_files

    original, copy = tmp_path / "original", tmp_path / "deep" / "copy"
    checkpoint.save(original, tagger.engine.model, tagger.tokenizer)
    before = checkpoint_files.version(original)
    write_calibrated(original, copy, {"stance": 2.5})
    assert checkpoint_files.version(original) == before
    assert checkpoint_files.version(copy) != before
    assert json.loads((copy / "config.json").read_text())["tagger"]["temperatures"] == {"stance": 2.5}
    assert [path.name for path in copy.parent.iterdir()] == ["copy"]
    plain, warm = (Tagger.load(path).tag_all(gold(1))[0] for path in (original, copy))
    assert bared(plain) == bared(warm)
    assert plain.labels["entity"] == warm.labels["entity"]
    assert plain.labels["stance"] != warm.labels["stance"]
