"""agreement(): two or more annotators, every measure with items and interval, the list of disagreements, the command."""

from __future__ import annotations

import json
from itertools import pairwise, permutations
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import cohen_kappa_score, f1_score
from typer.testing import CliRunner

from annotations.agreement.counts import overlapping
from annotations.agreement.measures import NO_MARK, NO_PAIR, ONE_LABEL
from annotations.agreement.overview import Agreement, agreement
from annotations.agreement.readings import from_export, read
from annotations.agreement.text import agreement_text
from annotations.document import Document, Label, Labels, Span
from annotations.errors import DocumentError
from annotations.labelstudio.shapes import Json
from annotations.schema import Schema
from annotations.sentences import Bounds, sentence_labels
from annotations.storage import write_jsonl
from annotations.tokens import tokens
from training.cli import app

SCHEMA = Schema.build(
    {
        "layers": {
            "entity": {"kind": "spans", "labels": {"PER": {}, "LOC": {}}},
            "stance": {"kind": "sentences", "labels": {"pro": {}, "con": {}}},
            "whole": {"kind": "document", "labels": {"pro": {}, "con": {}}},
        }
    },
    where="test",
)
TEXT = "Ada left Rome. It rained hard. Nobody minded it."
SENTENCES = ((0, 14), (15, 30), (31, 48))
EXPORT = Path("annotations/annotators.json")


def document(identity: str = "a", group: str | None = None, **labels: Labels) -> Document:
    return Document(id=identity, text=TEXT, group=group, labels=labels)


def spans(*items: tuple[int, int, str]) -> tuple[Span, ...]:
    return tuple(Span(start=start, end=end, label=label) for start, end, label in items)


def compared(*readings: list[Document], resamples: int = 100) -> Agreement:
    return agreement(dict(zip("abcdef", readings, strict=False)), SCHEMA, resamples=resamples)


@st.composite
def readings(draw: st.DrawFn, annotators: int = 3) -> list[list[Document]]:
    """Documents `0`, `1`, … of articles `x` and `y`; layers and documents may be missing."""
    found: list[list[Document]] = []
    for _ in range(annotators):
        own = []
        for number in range(3):
            labels: dict[str, Labels] = {}
            cuts = sorted(draw(st.sets(st.integers(0, len(TEXT)), max_size=6)))
            kinds = st.sampled_from(["PER", "LOC", None])
            marked = [(start, end, label) for start, end in pairwise(cuts) if (label := draw(kinds))]
            stances = [
                (*bounds, label) for bounds in SENTENCES if (label := draw(st.sampled_from(["pro", "con", None])))
            ]
            layers: dict[str, Labels] = {
                "entity": spans(*marked),
                "stance": spans(*stances),
                "whole": Label(label="pro"),
            }
            labels = {name: value for name, value in layers.items() if draw(st.integers(0, 4))}
            if draw(st.integers(0, 4)):
                own.append(document(str(number), "xy"[number % 2], **labels))
        found.append(own)
    return found


def values(found: Agreement) -> dict[str, Any]:
    """Everything that does not depend on who is who."""
    return {
        name: (layer.documents, layer.articles, layer.incomplete, layer.measures, layer.labels)
        for name, layer in found.layers.items()
    }


@settings(max_examples=40)
@given(readings(2))
def test_two_annotators_may_change_places(both: list[list[Document]]) -> None:
    one, other = compared(*both), compared(*both[::-1])
    assert values(one) == values(other)
    assert len(one.disagreements) == len(other.disagreements)


@settings(max_examples=30)
@given(readings(3))
def test_the_order_of_annotators_changes_no_measure(three: list[list[Document]]) -> None:
    first = compared(*three)
    for order in list(permutations(three))[1:3]:
        other = compared(*order)
        for name, layer in first.layers.items():
            for key, measure in layer.measures.items():
                mine = other.layers[name].measures[key]
                assert mine.value == pytest.approx(measure.value)
                assert mine.interval == pytest.approx(measure.interval)
                assert mine.items == measure.items


@settings(max_examples=40)
@given(readings(3))
def test_partial_is_never_below_exact_and_nothing_is_nan(three: list[list[Document]]) -> None:
    found = compared(*three)
    layer = found.layers["entity"]
    for measures in (layer.measures, *layer.labels.values(), *layer.pairs.values()):
        exact, partial = measures["exact_f1"], measures["partial_f1"]
        assert (exact.value is None) == (partial.value is None)
        assert exact.value is None or 0 <= exact.value <= (partial.value or 0) <= 1
    for measure in [each for layer in found.layers.values() for each in layer.measures.values()]:
        assert (measure.value is not None) or measure.note
        assert (measure.interval is not None) or measure.note
    json.dumps(found.to_dict(), allow_nan=False)
    agreement_text(found)


@settings(max_examples=30)
@given(readings(1))
def test_identical_readings_agree_in_everything_that_is_defined(one: list[list[Document]]) -> None:
    found = compared(one[0], one[0], one[0])
    assert not found.disagreements
    for layer in found.layers.values():
        assert {measure.value for measure in layer.measures.values()} <= {1.0, None}


pieces = st.lists(st.integers(0, 12), max_size=10).map(
    lambda cuts: [Bounds(*pair) for pair in list(pairwise(sorted(set(cuts))))[::2]]
)


@given(pieces, pieces)
def test_the_most_overlapping_pairs_are_found(first: list[Bounds], second: list[Bounds]) -> None:
    def most(left: list[Bounds], right: list[Bounds]) -> int:
        if not left:
            return 0
        partners = [o for o in right if o.start < left[0].end and left[0].start < o.end]
        taken = [1 + most(left[1:], [other for other in right if other != partner]) for partner in partners]
        return max([most(left[1:], right), *taken])

    assert overlapping(first, second) == most(first, second)


def test_spans_exact_and_partial() -> None:
    first = [document(entity=spans((0, 3, "PER"), (9, 13, "LOC")))]
    second = [document(entity=spans((0, 3, "PER"), (9, 14, "LOC"), (31, 37, "PER")))]
    layer = compared(first, second).layers["entity"]
    assert layer.measures["exact_f1"].value == pytest.approx(2 / 5)
    assert layer.measures["partial_f1"].value == pytest.approx(3 / 5)
    assert layer.measures["exact_f1"].items == 4
    assert layer.labels["LOC"]["exact_f1"].value == 0
    assert layer.labels["LOC"]["partial_f1"].value == 0.5
    assert layer.marked == {"PER": {"a": 1, "b": 2}, "LOC": {"a": 1, "b": 1}}


def test_tokens_are_cut_at_the_edges_of_all_spans() -> None:
    first = [document(entity=spans((0, 3, "PER"), (9, 13, "LOC")))]
    second = [document(entity=spans((0, 2, "PER"), (9, 13, "LOC")))]
    measure = compared(first, second).layers["entity"].measures["token_kappa"]
    # Ad|a left Rome . It rained hard . Nobody minded it .
    assert measure.items == 13
    ones = ["PER", "PER", "-", "LOC", *["-"] * 9]
    assert measure.value == pytest.approx(cohen_kappa_score(ones, ["PER", "-", *ones[2:]]))


def test_more_than_two_is_the_mean_of_pairs() -> None:
    marks = [(0, 3, "PER"), (9, 13, "LOC"), (31, 37, "PER")]
    three = [[document(entity=spans(*marks[:count]))] for count in (1, 2, 3)]
    layer = compared(*three).layers["entity"]
    scores = {pair: measures["exact_f1"].value for pair, measures in layer.pairs.items()}
    assert scores == pytest.approx({("a", "b"): 2 / 3, ("a", "c"): 1 / 2, ("b", "c"): 4 / 5})
    assert layer.measures["exact_f1"].value == pytest.approx((2 / 3 + 1 / 2 + 4 / 5) / 3)


def test_sentences_that_one_side_left_unlabelled_are_disagreements_and_gaps_to_the_measures() -> None:
    first = [document(stance=spans((0, 14, "pro"), (15, 30, "con")))]
    second = [document(stance=spans((0, 14, "pro"), (31, 48, "con")))]
    result = compared(first, second)
    layer = result.layers["stance"]
    assert (layer.measures["observed"].items, layer.incomplete) == (1, 2)
    assert layer.measures["observed"].value == 1
    assert [[bool(d.labels[who]) for who in "ab"] for d in result.disagreements] == [[True, False], [False, True]]


def test_a_layer_counts_only_where_two_annotated_it() -> None:
    first = [document("a", whole=Label(label="pro")), document("b", whole=Label(label="pro")), document("c")]
    second = [document("b", whole=Label(label="con")), document("a")]
    result = compared(first, second)
    layer = result.layers["whole"]
    assert (layer.documents, layer.alone, layer.measures["kappa"].items) == (1, ["a"], 1)
    assert layer.measures["kappa"].value == 0
    assert [d.document for d in result.disagreements] == ["b"]
    assert result.single == [("c", "a")]


def test_what_is_not_defined_says_why() -> None:
    one = [document(entity=(), stance=spans((0, 14, "pro")))]
    layers = compared(one, one).layers
    assert (layers["entity"].measures["exact_f1"].value, layers["entity"].measures["exact_f1"].note) == (None, NO_MARK)
    assert layers["entity"].measures["token_kappa"].note == ONE_LABEL
    assert layers["stance"].measures["kappa"].note == layers["stance"].measures["alpha"].note == ONE_LABEL
    assert layers["stance"].measures["observed"].value == 1
    assert layers["stance"].measures["observed"].note == "no interval: one article only"
    assert layers["whole"].measures["kappa"].note == NO_PAIR
    assert "not defined" in agreement_text(compared(one, one))


def test_all_documents_of_an_article_are_drawn_together() -> None:
    # Two articles of two documents: one all agreed, one all disputed. Any resample is 0, half or all agreed.
    def side(label: str) -> list[Document]:
        return [
            document(f"{group}{number}", group, whole=Label(label=label if group == "y" else "pro"))
            for group in "xy"
            for number in range(2)
        ]

    layer = compared(side("pro"), side("con"), resamples=400).layers["whole"]
    assert (layer.documents, layer.articles) == (4, 2)
    assert (layer.measures["observed"].value, layer.measures["observed"].interval) == (0.5, (0, 1))
    alike = compared(side("pro"), side("pro")).layers["whole"].measures
    assert (alike["observed"].interval, alike["observed"].note) == ((1, 1), "no resample differs")
    assert (alike["kappa"].value, alike["kappa"].note) == (None, ONE_LABEL)


def test_the_interval_says_in_how_many_resamples_the_measure_is_defined() -> None:
    first = [document(group, group, whole=Label(label=label)) for group, label in (("x", "pro"), ("y", "con"))]
    measure = compared(first, first, resamples=1000).layers["whole"].measures["kappa"]
    assert measure.value == 1
    assert measure.note.startswith("interval from the ") and "of 1000 resamples that define it" in measure.note


def test_disagreements_show_everyone_and_the_text_around() -> None:
    first = [document(entity=spans((0, 3, "PER"), (9, 13, "LOC")), whole=Label(label="pro"))]
    second = [document(entity=spans((9, 14, "LOC"), (31, 37, "PER")), whole=Label(label="con"))]
    third = [document(entity=spans((9, 11, "PER"), (11, 13, "LOC")))]
    whole, *rows = compared(first, second, third).disagreements
    assert [{who: row.says(who) for who in "abc"} for row in rows] == [
        {"a": "PER", "b": "nothing", "c": "nothing"},
        {"a": "LOC “Rome”", "b": "LOC", "c": "PER “Ro”, LOC “me”"},
        {"a": "nothing", "b": "PER", "c": "nothing"},
    ]
    assert rows[1].context == "Ada left [Rome.] It rained hard. Nobody minded it."
    assert (whole.says("a"), whole.says("b"), whole.says("c")) == ("pro", "con", "not annotated")
    assert rows[1].to_dict()["labels"]["a"] == [{"label": "LOC", "start": 9, "end": 13}]


def test_long_context_is_cut_between_words_and_cannot_steer_a_terminal() -> None:
    text = "\x1b[31m " + "word " * 30 + "NAME" + " word" * 30
    start = text.index("NAME")
    marked = Document(id="a", text=text, labels={"entity": spans((start, start + 4, "PER"))})
    item = compared([marked], [marked.with_labels({"entity": ()})]).disagreements[0]
    assert item.context == "…" + "word " * 7 + "[NAME]" + " word" * 7 + "…"
    hostile = compared([marked], [marked.with_labels({"entity": spans((0, 6, "PER"))})])
    assert "\x1b" not in agreement_text(hostile)
    assert "‹U+001B›" in agreement_text(hostile)


def test_perfect_agreement_lists_nothing() -> None:
    same = [document(entity=spans((0, 3, "PER")), stance=spans((0, 14, "pro")), whole=Label(label="pro"))]
    scored = [document(entity=(Span(start=0, end=3, label="PER", score=0.5),), stance=spans((1, 14, "pro")))]
    assert compared(same, same).disagreements == []
    assert compared(same, scored).disagreements == []


def test_what_cannot_be_compared_is_told_all_at_once() -> None:
    other = Document(id="a", text="Another text.", labels={})
    wrong = document("b", entity=spans((0, 3, "GPE")))
    with pytest.raises(DocumentError) as error:
        compared([document("a"), wrong], [other, wrong, wrong])
    text = str(error.value)
    assert all(word in text for word in ("different texts at a and b", "'GPE'", "twice"))
    with pytest.raises(DocumentError, match="two annotators or more"):
        compared([document()])


def test_the_gold_annotators(schema: Schema) -> None:
    found, remarks = read([EXPORT], schema)
    assert not remarks
    result = agreement(found, schema)
    stance, entity = result.layers["stance"], result.layers["entity"]
    one, other = ([label for d in side for label in sentence_labels(d, "stance")] for side in found.values())
    assert stance.measures["kappa"].value == pytest.approx(cohen_kappa_score(one, other))
    for label, score in zip(
        sorted(stance.labels), f1_score(one, other, labels=sorted(stance.labels), average=None), strict=True
    ):
        assert stance.labels[label]["f1"].value == pytest.approx(score)
    assert (len(result.disagreements), stance.measures["alpha"].items, entity.measures["exact_f1"].items) == (
        12,
        336,
        599,
    )
    texts = {document.id: document for document in found["user 2"] if "entity" in document.labels}
    cut = [
        tokens(d.text, [edge for span in d.spans("entity") for edge in (span.start, span.end)]) for d in texts.values()
    ]
    assert entity.measures["token_alpha"].items == sum(map(len, cut))


def run(*arguments: object) -> tuple[int, str, str]:
    done = CliRunner().invoke(app, ["labels", "agree", *map(str, arguments)])
    return done.exit_code, done.stdout, done.stderr


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    """Three people's files; the third one read only the first document."""
    base = [document("one", entity=spans((0, 3, "PER"))), document("two", entity=spans((9, 13, "LOC")))]
    moved = [base[0], document("two", entity=spans((9, 14, "LOC")))]
    paths = [tmp_path / f"{name}.jsonl" for name in ("ann", "bob", "cyd")]
    for path, documents in zip(paths, (base, moved, [*base[:1], document("three", entity=())]), strict=True):
        write_jsonl(path, documents)
    (tmp_path / "schema.yaml").write_text(json.dumps(SCHEMA.model_dump(mode="json")), "utf-8")
    return paths


def test_command_on_files(files: list[Path], tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    status, out, err = run(*files, "--schema", tmp_path / "schema.yaml", "--html", page, "--resamples", 100)
    assert status == 0, err
    assert "bob and cyd" in out and "1 disagreements" not in out and "1 disagreement" in out
    assert "three is annotated by cyd alone and left out" in err
    assert page.read_text("utf-8").endswith("</html>\n")
    assert "no sentence" not in err
    status, out, _ = run(*files, "--schema", tmp_path / "schema.yaml", "--users", "cyd,ann", "--format", "json")
    assert json.loads(out)["annotators"] == ["cyd", "ann"]
    assert json.loads(out)["bootstrap"]["resamples"] == 1000


def test_labels_of_no_sentence_are_told_of_files_too(files: list[Path], tmp_path: Path) -> None:
    for path in files[:2]:
        write_jsonl(path, [document("one", stance=spans((0, 3, "pro")))])
    status, _, err = run(*files[:2], "--schema", tmp_path / "schema.yaml", "--resamples", 100)
    assert status == 0, err
    assert "ann: one: stance pro 0–3: covers no sentence by more than half" in err and "bob: one: stance" in err


def test_command_on_an_export(tmp_path: Path) -> None:
    tasks = json.loads(EXPORT.read_text("utf-8"))
    for task in tasks:
        for item in task["annotations"]:
            item["completed_by"] = {"id": item["completed_by"], "email": f"p{item['completed_by']}@example.org"}
    tasks[0]["annotations"].append({"id": 99, "completed_by": None, "result": []})
    export = tmp_path / "export.json"
    export.write_text(json.dumps(tasks), "utf-8")
    for users in ("3,2", "p3@example.org,2"):
        status, out, err = run(export, "--users", users, "--resamples", 100)
        assert status == 0, err
        assert out.startswith("p3@example.org, p2@example.org: 10 documents")
        assert "annotation 99 names no user" in err


def test_command_refuses_with_a_remedy(files: list[Path], tmp_path: Path) -> None:
    assert run(EXPORT, "--users", "2,7")[::2] == (
        2,
        "standpoint: annotations/annotators.json: has no annotator '7'; known: user 2, user 3\n",
    )
    assert "two annotators or more" in run(EXPORT, "--users", "2")[2]
    assert "not both" in run(EXPORT, files[0])[2]
    files[1].write_text("{", "utf-8")
    assert run(*files, "--schema", tmp_path / "schema.yaml")[0] == 2


def test_who_only_ruled_on_others_is_no_annotator() -> None:
    gold = Path("annotations/gold.json")
    schema = Schema.load("configs/schema.yaml")
    found, remarks = read([gold], schema)
    assert list(found) == ["user 2", "user 3"]
    assert any(remark.startswith("user 1: made ground truth of the others' annotations") for remark in remarks)
    assert list(read([gold], schema, ["1", "2"])[0]) == ["user 1", "user 2"]
    assert list(read([EXPORT], schema)[0]) == ["user 2", "user 3"]


def voted(number: int, *votes: tuple[int, str, bool]) -> Json:
    """A task for the layer `whole`, where each vote is (user, label, is it ground truth)."""
    annotations = [
        {
            "id": 10 * number + place,
            "completed_by": user,
            "ground_truth": truth,
            "result": [{"id": "d", "from_name": "whole", "type": "choices", "value": {"choices": [label]}}],
        }
        for place, (user, label, truth) in enumerate(votes)
    ]
    data = {"text": TEXT, "doc_id": f"a{number}", "layers": ["whole"]}
    return {"id": number, "data": data, "annotations": annotations}


def test_a_ruling_on_a_dispute_of_others_is_no_reading() -> None:
    """Three annotators, two an article, the third settles their disputes; user 1's own reading became ground truth."""
    tasks = [
        voted(0, (1, "pro", False), (2, "con", False), (3, "pro", True)),
        voted(1, (1, "con", False), (2, "pro", False), (3, "con", True)),
        voted(2, (1, "pro", True), (3, "pro", False)),
        voted(3, (2, "con", False), (3, "pro", False), (1, "con", True)),
    ]
    expected = {"user 1": ["a0", "a1", "a2"], "user 2": ["a0", "a1", "a3"], "user 3": ["a2", "a3"]}
    for users in (None, ["1", "2", "3"]):
        found, remarks = from_export(tasks, SCHEMA, users)
        assert {name: [one.id for one in documents] for name, documents in found.items()} == expected
        assert [(remark[:6], remark[-1]) for remark in remarks] == [("user 1", "1"), ("user 3", "2")]
    before = [{**task, "annotations": [a for a in task["annotations"] if a["id"] % 10 < 2]} for task in tasks]
    alphas = [
        agreement(from_export(each, SCHEMA)[0], SCHEMA, resamples=100).layers["whole"].measures["alpha"].value
        for each in (before, tasks)
    ]
    assert alphas[0] == alphas[1]


def test_ground_truth_settles_nothing_that_is_said_later() -> None:
    """`labels adjudicate` stars user 1's reading where 1 and 2 agree; whoever then disagrees is no reason to drop it."""
    tasks = [voted(n, (1, "pro", True), (2, "pro", False), (3, "con", False)) for n in range(3)]
    tasks.append(voted(3, (1, "pro", False), (2, "con", False), (3, "pro", True), (4, "con", False)))
    for task in tasks:
        for hour, annotation in enumerate(task["annotations"]):
            annotation["created_at"] = f"2026-11-21T{hour:02}:26:21.033801Z"
    found, remarks = from_export(tasks, SCHEMA)
    read = {name: [one.id for one in documents] for name, documents in found.items()}
    assert read == {
        "user 1": ["a0", "a1", "a2", "a3"],
        "user 2": ["a0", "a1", "a2", "a3"],
        "user 3": ["a0", "a1", "a2"],
        "user 4": ["a3"],
    }
    assert len(remarks) == 1 and remarks[0].startswith("user 3")


def test_ones_own_reading_that_became_ground_truth_stays_a_reading() -> None:
    tasks = [voted(n, (1, "pro", True), (2, "pro", False), (3, "pro", False)) for n in range(3)]
    found, remarks = from_export(tasks, SCHEMA)
    assert (list(found), remarks) == (["user 1", "user 2", "user 3"], [])
    tasks.append(voted(3, (1, "pro", False), (2, "con", False), (3, "pro", False), (1, "con", True)))
    found, remarks = from_export(tasks, SCHEMA)
    assert [one.labels["whole"] for one in found["user 1"]] == [Label(label="pro")] * 4
    assert not remarks
