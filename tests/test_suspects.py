"""Suspect labels: what is planted rises to the top, every label is judged once, and an interrupted search goes on."""

from __future__ import annotations

import random
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from annotations.document import Document, Label, Span
from annotations.errors import ConfigError, DocumentError
from annotations.labelstudio.review import corrected
from annotations.schema import Kind, Schema
from annotations.sentences import sentences
from annotations.storage import read_jsonl, write_jsonl
from annotations.suspects import Suspect, read_suspects, write_suspects
from training.cli import app
from training.suspects import probabilities
from training.suspects.probabilities import Outlook, Units, load, save
from training.suspects.quality import self_confidence
from training.suspects.ranking import rank
from training.suspects.run import most

sys.path.insert(0, str(Path(__file__).parent.parent / "benchmarks"))
from planted import ADDED, CHANGED, MOVED, REMOVED, Planted, plant
from suspects import expected, hits, measured

SCHEMA = Schema.build(
    {
        "layers": {
            "name": {"kind": "spans", "labels": {"PLACE": {}, "GROUP": {}}},
            "weapon": {"kind": "spans", "labels": {"GUN": {}}},
            "claim": {"kind": "sentences", "targeted": True, "labels": {"yes": {}, "no": {}, "other": {}}},
            "tone": {"kind": "document", "labels": {"calm": {}, "harsh": {}}},
        }
    },
    where="test",
)
PLACES, GROUPS = ("Kabul", "Herat", "Kunduz"), ("Taliban", "Daesh", "Haqqani")


def article(number: int) -> Document:
    """Two sentences on an attack or a denial of it, in which places and groups are never mistaken for each other."""
    group, place = GROUPS[number % 3], PLACES[number // 3 % 3]
    yes = number % 2 == 0
    verb, adverb = ("attacked", "harshly") if yes else ("denied", "calmly")
    text = f"The {group} {verb} {adverb} in {place}. Nothing was {verb} {adverb} near {place} by {group} men."
    spans = [
        Span(start=start, end=start + len(name), label=label)
        for name, label in ((group, "GROUP"), (place, "PLACE"))
        for start in range(len(text))
        if text.startswith(name, start)
    ]
    claim = [Span(start=start, end=end, label="yes" if yes else "no") for start, end in sentences(text)]
    return Document(
        id=f"d{number}",
        text=text,
        target="There was an attack.",
        group=f"g{number}",
        labels={
            "name": tuple(sorted(spans, key=lambda span: span.start)),
            "weapon": (),
            "claim": tuple(claim),
            "tone": Label(label="harsh" if yes else "calm"),
        },
    )


def sure(documents: Sequence[Document], schema: Schema, truth: Sequence[Document], sureness: float = 0.9) -> Outlook:
    """A model that gives what is true this probability; its tokens are words."""
    found: dict[str, list[tuple[int, int, int, np.ndarray]]] = {name: [] for name in schema.layers}

    def row(best: int, classes: int) -> np.ndarray:
        likely = np.full(classes, (1 - sureness) / (classes - 1))
        likely[best] = sureness
        return likely

    for place, (asked, true) in enumerate(zip(documents, truth, strict=True)):
        for name, layer in schema.layers.items():
            if name not in asked.labels:
                continue
            labels = true.labels[name]
            if isinstance(labels, Label):
                found[name].append((place, 0, len(true.text), row(layer.names.index(labels.label), len(layer.names))))
            elif layer.kind is Kind.SENTENCES:
                for span in labels:
                    likely = row(layer.names.index(span.label), len(layer.names))
                    found[name].append((place, span.start, span.end, likely))
            else:
                for start, end in words(true.text):
                    inside = [span for span in labels if span.start <= start < span.end]
                    tag = 1 + 2 * layer.names.index(inside[0].label) + (inside[0].start != start) if inside else 0
                    found[name].append((place, start, end, row(tag, 1 + 2 * len(layer.names))))
    layers = {
        name: Units.of(units, 1 + 2 * len(layer.names) if layer.kind is Kind.SPANS else len(layer.names))
        for (name, units), layer in zip(found.items(), schema.layers.values(), strict=True)
    }
    return Outlook(documents, layers, [False] * len(documents))


def words(text: str) -> list[tuple[int, int]]:
    places, start = [], 0
    for word in text.replace(".", " .").split():
        start = text.index(word, start)
        places.append((start, start + len(word)))
        start += len(word)
    return places


def changed(document: Document, **labels: object) -> Document:
    return document.with_labels({**document.labels, **labels})  # type: ignore[dict-item]


def test_every_kind_of_slip_is_named_with_what_the_model_would_have() -> None:
    truth = [article(number) for number in range(6)]
    first = truth[0].spans("name")  # Taliban, Kabul, Kabul, Taliban
    text = truth[0].text
    long = Span(start=first[1].start - 3, end=first[1].end, label="PLACE")
    extra = Span(start=text.index("Nothing"), end=text.index("Nothing") + 7, label="GROUP")
    wrong = first[0].model_copy(update={"label": "PLACE"})
    gold = [changed(truth[0], name=(wrong, long, extra, first[3])), *truth[1:]]
    found = rank(sure(gold, SCHEMA, truth), SCHEMA).suspects
    top = [one for one in found if one.layer == "name"][:4]
    assert {(one.start, one.gold, one.suggested, one.suggested_start) for one in top} == {
        (first[0].start, "PLACE", "GROUP", None),
        (long.start, "PLACE", "PLACE", first[1].start),
        (extra.start, "GROUP", None, None),
        (first[2].start, None, "PLACE", None),
    }
    assert all(one.document == "d0" and one.disputed and one.suspicion > 0.5 for one in top)
    assert not any(one.disputed or one.suspicion > 0.5 for one in found if one not in top)
    said = {one.says(text) for one in top}
    assert "PLACE, perhaps PLACE “Kabul”" in said and "nothing marked, perhaps PLACE" in said


def test_a_span_that_ends_too_early_is_suspicious_though_its_own_tokens_are_right() -> None:
    text = "He met the Haqqani Network today."
    whole, cut = (Span(start=11, end=end, label="GROUP") for end in (26, 18))
    true = Document(id="a", text=text, labels={"name": (whole,)})
    others = [article(number).only({"name"}) for number in range(4)]
    gold = [true.with_labels({"name": (cut,)}), *others]
    (suspect,) = (one for one in rank(sure(gold, SCHEMA, [true, *others]), SCHEMA).suspects if one.document == "a")
    assert suspect.suspicion > 0.5
    assert (suspect.start, suspect.end, suspect.suggested, suspect.offered) == (11, 18, "GROUP", (11, 26))


def test_labels_of_sentences_and_documents_that_the_model_denies_come_first() -> None:
    truth = [article(number) for number in range(6)]
    claim = truth[3].spans("claim")
    slip = changed(
        truth[3], claim=(claim[0].model_copy(update={"label": "other"}), claim[1]), tone=Label(label="harsh")
    )
    found = rank(sure([*truth[:3], slip, *truth[4:]], SCHEMA, truth), SCHEMA).suspects
    for layer, gold, model in (("claim", "other", "no"), ("tone", "harsh", "calm")):
        best = next(one for one in found if one.layer == layer)
        assert (best.document, best.gold, best.suggested) == ("d3", gold, model)
        assert best.suspicion > 0.5


@given(st.integers(1, 9), st.integers(2, 5), st.integers(0, 10**6))
def test_self_confidence_is_cleanlabs(count: int, classes: int, seed: int) -> None:
    rank = pytest.importorskip("cleanlab.rank")
    rng = np.random.default_rng(seed)
    likely, labels = rng.dirichlet(np.ones(classes), count), rng.integers(0, classes, count)
    assert self_confidence(labels, likely) == pytest.approx(rank.get_label_quality_scores(labels, likely))


@given(st.integers(0, 10**6), st.floats(0.35, 0.99))
def test_every_label_is_judged_once_and_nothing_unannotated_is(seed: int, sureness: float) -> None:
    rng = random.Random(seed)
    truth = [article(number) for number in range(5)]
    gold = []
    for document in truth:
        kept = [name for name in SCHEMA.layers if rng.random() < 0.7]
        labels = {
            name: rng.sample(value, rng.randint(0, len(value))) if isinstance(value, tuple) else value
            for name, value in document.only(kept).labels.items()
        }
        ordered = {
            name: tuple(sorted(value, key=lambda span: span.start)) if isinstance(value, list) else value
            for name, value in labels.items()
        }
        gold.append(document.with_labels(ordered))
    found = rank(sure(gold, SCHEMA, truth, sureness), SCHEMA)
    judged = Counter((one.document, one.layer, one.start, one.end, one.gold) for one in found.suspects if one.gold)
    wanted = Counter(
        (
            document.id,
            name,
            *(
                (0, len(document.text))
                if isinstance(one, Label) and not isinstance(one, Span)
                else (one.start, one.end)
            ),
            one.label,
        )
        for document in gold
        for name, labels in document.labels.items()
        for one in (labels if isinstance(labels, tuple) else (labels,))
    )
    assert judged == wanted and not found.unseen
    assert [one.suspicion for one in found.suspects] == sorted((one.suspicion for one in found.suspects), reverse=True)
    annotated = {(document.id, name) for document in gold for name in document.labels}
    assert {(one.document, one.layer) for one in found.suspects} <= annotated


def test_spans_that_tokens_cannot_show_are_judged_or_named() -> None:
    text = "Kabul-based men left \u200b now."
    half = Span(start=0, end=3, label="PLACE")
    nothing = Span(start=21, end=22, label="PLACE")
    document = Document(id="a", text=text, labels={"name": (half, nothing)})
    units = Units.of([(0, 0, 11, np.full(5, 0.2)), (0, 12, 15, np.full(5, 0.2)), (0, 23, 26, np.full(5, 0.2))], 5)
    empty = {name: Units.of([], 2) for name in SCHEMA.layers}
    found = rank(Outlook([document], {**empty, "name": units}, [False]), SCHEMA)
    assert [(one.start, one.end) for one in found.suspects if one.gold] == [(0, 3)]
    assert found.unseen == ["a name PLACE 21–22"]


def test_probabilities_are_kept_and_belong_to_their_documents(tmp_path: Path) -> None:
    documents = [article(number) for number in range(3)]
    outlook = sure(documents, SCHEMA, documents, 0.7)
    save(tmp_path / "fold.npz", outlook)
    again = load(tmp_path / "fold.npz", documents, list(SCHEMA.layers))
    pairs = zip(rank(again, SCHEMA).suspects, rank(outlook, SCHEMA).suspects, strict=True)
    # Kept as 32-bit numbers.
    assert all(abs(one.suspicion - other.suspicion) < 1e-6 for one, other in pairs)
    with pytest.raises(ConfigError, match="other documents than its fold"):
        load(tmp_path / "fold.npz", documents[1:], list(SCHEMA.layers))


@given(st.integers(0, 10**6), st.floats(0.02, 0.5))
def test_planted_errors_are_as_many_as_asked_and_nowhere_else(seed: int, share: float) -> None:
    documents = [article(number) for number in range(9)]
    for layer, kinds in (("name", {CHANGED, MOVED, REMOVED, ADDED}), ("claim", {CHANGED})):
        asked = [one.only({layer}) for one in documents]
        declared = SCHEMA.layers[layer]
        wrong, planted = plant(asked, layer, declared.kind, declared.names, share, seed)
        assert len(planted) == round(share * sum(len(one.spans(layer)) for one in documents))
        assert {one.kind for one in planted} <= kinds
        for before, after in zip(asked, wrong, strict=True):
            differing = set(before.spans(layer)) ^ set(after.spans(layer))
            places = [one for one in planted if one.document == before.id]
            assert bool(differing) == bool(places)
            assert all(any(p.start <= span.start and span.end <= p.end for p in places) for span in differing)


def test_precision_at_the_planted_number_and_of_random_orders() -> None:
    def suspect(at: int, suggested: str, suspicion: float) -> Suspect:
        return Suspect(
            document="a", layer="name", start=at, end=at + 2, gold="x", suggested=suggested, suspicion=suspicion
        )

    planted = [Planted("a", 0, 2, CHANGED), Planted("a", 11, 14, MOVED), Planted("b", 0, 2, REMOVED)]
    ranked = [suspect(*one) for one in ((10, "y", 1.0), (12, "y", 0.9), (5, "y", 0.8), (0, "x", 0.2), (20, "x", 0.1))]
    assert hits(ranked, planted) == [{1}, {1}, set(), {0}, set()]
    found = measured({"ours": ranked, "reversed": ranked[::-1]}, planted)
    assert found["precision"] == {"ours": pytest.approx(1 / 3), "reversed": pytest.approx(1 / 3)}
    assert found["kinds"] == {CHANGED: [0, 1], MOVED: [1, 1], REMOVED: [0, 1]}
    # Three draws of five: the first error has one suspect, the second has two.
    assert found["chance"] == pytest.approx((3 / 5 + (1 - 2 / 5 * 1 / 4) + 0) / 3)
    assert found["disagreement"] == pytest.approx(1 / 3)
    rng = random.Random(0)
    orders = [rng.sample(hits(ranked, planted), 5)[:2] for _ in range(4000)]
    drawn = sum(len(set().union(*order)) for order in orders) / len(orders) / 3
    assert expected(hits(ranked, planted)[:5], 3) == pytest.approx(found["chance"])
    assert drawn == pytest.approx((2 / 5 + (1 - 3 / 5 * 2 / 4)) / 3, abs=0.02)


def test_the_suggestion_leaves_other_labels_alone() -> None:
    document = article(0)
    group, place, *rest = document.spans("name")
    slips = [
        Suspect(document="d0", layer="name", start=group.start, end=group.end, gold="GROUP", suggested="PLACE", suspicion=1),
        Suspect(document="d0", layer="name", start=place.start, end=place.end, gold="PLACE", suggested=None, suspicion=1),
        Suspect(
            document="d0", layer="name", start=rest[0].start, end=rest[0].end, gold="PLACE", suggested="PLACE",
            suggested_start=rest[0].start, suggested_end=rest[1].end, suspicion=0.5,
        ),
        Suspect(document="d0", layer="tone", start=0, end=len(document.text), gold="harsh", suggested="calm", suspicion=1),
    ]  # fmt: skip
    better = corrected(document, slips)
    assert better.spans("name") == (group.model_copy(update={"label": "PLACE"}), *rest)
    assert better.labels["tone"] == Label(label="calm")
    assert better.spans("claim") == document.spans("claim")
    first, second = document.spans("claim")
    short = changed(document, claim=(first.model_copy(update={"end": first.end - 1}), second))
    doubt = Suspect(
        document="d0", layer="claim", start=first.start, end=first.end, gold="yes", suggested="no", suspicion=1
    )
    assert corrected(short, [doubt]).spans("claim") == (first.model_copy(update={"label": "no"}), second)


def test_broken_lines_are_all_named(tmp_path: Path) -> None:
    documents = [article(0)]
    good = Suspect(document="d0", layer="name", start=0, end=3, gold="GROUP", suggested=None, suspicion=0.5)
    lost = good.model_copy(update={"document": "d9"})
    far = good.model_copy(update={"suggested": "GROUP", "suggested_start": 0, "suggested_end": 999})
    path = tmp_path / "suspects.jsonl"
    write_suspects(path, [good, lost, far])
    path.write_text(path.read_text() + '{"suspicion": 2}\n')
    with pytest.raises(DocumentError) as caught:
        read_suspects(path, documents)
    told = "\n".join(caught.value.problems)
    for part in (
        "line 2: document 'd9'",
        "line 3: 'd0' ends before 999",
        "line 4: suspicion",
        "run `standpoint labels",
    ):
        assert part in told
    write_suspects(path, [good])
    assert read_suspects(path, documents) == [good]


def test_as_many_of_each_layer_are_taken() -> None:
    found = [
        Suspect(document="d", layer=layer, start=at, end=at + 1, gold="x", suggested="y", suspicion=1 - at / 10)
        for at in range(5)
        for layer in ("name", "claim")
    ]
    assert [(one.layer, one.start) for one in most(found, 2)] == [("name", 0), ("claim", 0), ("name", 1), ("claim", 1)]


def slipped() -> tuple[list[Document], dict[str, str]]:
    """18 articles, a slip in three of them; and which layer is wrong where."""
    documents = [article(number) for number in range(18)]
    name, claim = documents[4].spans("name"), documents[7].spans("claim")
    turned = {"GROUP": "PLACE", "PLACE": "GROUP"}[name[0].label]
    documents[4] = changed(documents[4], name=(name[0].model_copy(update={"label": turned}), *name[1:]))
    documents[7] = changed(documents[7], claim=(claim[0].model_copy(update={"label": "yes"}), claim[1]))
    documents[11] = changed(documents[11], tone=Label(label="harsh"))
    bare = documents[2].only({"claim"})
    return [bare if one.id == bare.id else one for one in documents], {"name": "d4", "claim": "d7", "tone": "d11"}


@pytest.fixture(scope="module")
def search(tmp_path_factory: pytest.TempPathFactory, encoders: Callable[[str], Path]) -> Path:
    """A config that learns the articles in a moment."""
    folder = tmp_path_factory.mktemp("suspects")
    write_jsonl(folder / "gold.jsonl", slipped()[0])
    (folder / "schema.yaml").write_text(yaml.safe_dump(SCHEMA.model_dump(mode="json"), sort_keys=False))
    values = {
        "tagger": {
            "label_schema": str(folder / "schema.yaml"),
            "window": {"tokens": 64, "context": 8},
            "reader": {"heads": 2},
        },
        "data": {"train": [str(folder / "gold.jsonl")]},
        "encoder": str(encoders("bert")),
        "output": "not/used",
        "epochs": 40,
        "batch_tokens": 256,
        "token_masking": 0,
        "optimizer": {"lr": 3e-3, "head_lr": 1e-2},
        "bf16": False,
        "dropout": 0,
        "trainer": {"disable_tqdm": True, "save_strategy": "no"},
    }
    (folder / "run.yaml").write_text(yaml.safe_dump(values, sort_keys=False))
    return folder


def test_a_search_finds_planted_slips_and_goes_on_after_an_interruption(
    search: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = search / "found"
    arguments = ["labels", "suspects", str(search / "run.yaml"), "--output", str(output), "--folds", "2"]
    whole, trained = probabilities.fold_tagger, []

    def interrupted(*given: object) -> object:
        if trained:
            raise KeyboardInterrupt
        trained.append(given)
        return whole(*given)  # type: ignore[arg-type]

    monkeypatch.setattr(probabilities, "fold_tagger", interrupted)
    stopped = CliRunner().invoke(app, arguments)
    assert stopped.exit_code == 130
    assert "goes on from" in stopped.stderr and not (output / "suspects.jsonl").exists()
    kept = {path: path.stat().st_mtime_ns for path in output.rglob("*.npz")}
    assert len(kept) == 1
    monkeypatch.setattr(probabilities, "fold_tagger", whole)
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.stderr
    assert done.stderr.count("training without") == 1
    assert {path: path.stat().st_mtime_ns for path in kept} == kept

    documents, wrong = slipped()
    assert list(read_jsonl(output / "documents.jsonl")) == documents
    suspects = read_suspects(output / "suspects.jsonl", documents)
    for layer, name in wrong.items():
        first = [one.document for one in suspects if one.layer == layer][:3]
        assert name in first, (layer, first)
    assert not [one for one in suspects if one.document == "d2" and one.layer != "claim"]
    text = (output / "suspects.md").read_text()
    assert done.stdout.strip() == text.strip()
    assert [text.index(f"## {layer}") for layer in ("name", "claim", "tone")]
    assert "harsh, perhaps calm (d11 0–" in text

    write_jsonl(search / "gold.jsonl", [*documents, article(18)])
    refused = CliRunner().invoke(app, arguments)
    write_jsonl(search / "gold.jsonl", documents)
    assert refused.exit_code == 2 and "unfinished work with another data" in refused.stderr


def test_what_cannot_be_searched_or_reviewed_is_said(search: Path, tmp_path: Path) -> None:
    one = tmp_path / "one.jsonl"
    write_jsonl(one, [article(0)])
    arguments = ["labels", "suspects", str(search / "run.yaml"), f"data.train=[{one}]", "--output", str(tmp_path / "x")]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 2 and "at least two groups" in result.stderr
    assert not (tmp_path / "x").exists()
    result = CliRunner().invoke(app, ["labels", "review", str(tmp_path), "--title", "Suspects"])
    assert result.exit_code == 2 and "has no config.yaml, no documents.jsonl, no suspects.jsonl" in result.stderr
    result = CliRunner().invoke(app, ["labels", "review", str(tmp_path)])
    assert result.exit_code == 2 and "either --title or --project" in result.stderr
