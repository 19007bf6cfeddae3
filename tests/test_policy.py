"""Whose annotation counts: every policy against skipped, empty, several and orphaned annotations, and majorities."""

from __future__ import annotations

from typing import Any

import pytest
from conftest import ROOT
from hypothesis import given
from hypothesis import strategies as st

from annotations.document import Document, Label, Span
from annotations.errors import ConfigError, DocumentError
from annotations.labelstudio.exports import from_tasks
from annotations.labelstudio.policy import Choice, Policy, choose, user_of
from annotations.labelstudio.shapes import Json
from annotations.labelstudio.votes import majority
from annotations.schema import Schema
from annotations.sentences import sentences

SCHEMA = Schema.load(ROOT / "configs" / "schema.yaml")
TEXT = "The Taliban met in Kabul. Nobody spoke. Kabul was calm."
REGION: Json = {
    "id": "r",
    "from_name": "entity",
    "type": "labels",
    "value": {"start": 19, "end": 24, "labels": ["LOCATION"]},
}


def made(user: int | None = 1, number: int = 1, *, marked: bool = True, **rest: Any) -> Json:
    """One annotation."""
    return {"id": number, "completed_by": user, "result": [REGION] if marked else [], **rest}


def task(*annotations: Json) -> Json:
    return {"id": 1, "data": {"text": TEXT, "target": "x", "doc_id": "a"}, "annotations": list(annotations)}


def ids(chosen: list[Json] | str) -> list[int] | str:
    return chosen if isinstance(chosen, str) else [item["id"] for item in chosen]


TRUTH = made(3, 7, ground_truth=True)
TWO = (made(1, 1), made(2, 2))


@pytest.mark.parametrize(
    ("settings", "annotations", "expected"),
    [
        ({}, (), "not annotated"),
        ({}, (made(),), [1]),
        ({}, (*TWO, TRUTH), [7]),
        ({}, (made(was_cancelled=True),), "skipped"),
        ({}, (made(was_cancelled=True), made(2, 2)), [2]),
        ({}, (made(marked=False),), [1]),
        ({"empty": "leave_out"}, (made(marked=False),), "only empty annotations"),
        ({"empty": "leave_out"}, (made(marked=False), made(2, 2)), [2]),
        ({"choose": "user", "user": 2}, TWO, [2]),
        ({"choose": "user", "user": 9}, TWO, "not annotated"),
        ({"choose": "user", "user": 3}, (*TWO, TRUTH), [7]),
        ({"choose": "user", "user": 1}, (made(1, 1, ground_truth=True), made(2, 2)), [1]),
        ({"choose": "ground_truth"}, TWO, "no ground truth"),
        ({"choose": "ground_truth"}, (*TWO, TRUTH), [7]),
        ({"choose": "adjudicated"}, TWO, [1, 2]),
        ({"choose": "adjudicated"}, (*TWO, TRUTH), [7]),
        ({"choose": "adjudicated"}, (made(),), "one annotator only"),
        ({"choose": "majority"}, (*TWO, TRUTH), [7]),
        ({"choose": "majority"}, TWO, [1, 2]),
        ({"choose": "user", "user": 1}, (made(1, 1), made(1, 9, ground_truth=True)), [1]),
        ({"choose": "majority"}, (made(),), [1]),
        ({"choose": "majority"}, (made(None, 4), made(None, 5)), [4, 5]),
    ],
)
def test_what_counts(settings: dict[str, Any], annotations: tuple[Json, ...], expected: list[int] | str) -> None:
    assert ids(choose(task(*annotations), Policy.build(settings, where="test"))) == expected


@pytest.mark.parametrize(
    ("settings", "annotations", "told"),
    [
        ({}, TWO, "several annotations; adjudicate"),
        ({}, (TRUTH, made(4, 8, ground_truth=True)), "several ground truths"),
        ({"choose": "majority"}, (TRUTH, made(4, 8, ground_truth=True)), "several ground truths"),
        ({"choose": "user", "user": 1}, (made(1, 1), made(1, 2)), "several annotations of user 1"),
        ({"choose": "majority"}, (made(1, 1), made(1, 2)), "several annotations of user 1"),
        ({"skipped": "refuse"}, (made(was_cancelled=True),), "was skipped"),
        ({"empty": "refuse"}, (made(marked=False),), "nothing marked"),
    ],
)
def test_what_is_refused(settings: dict[str, Any], annotations: tuple[Json, ...], told: str) -> None:
    with pytest.raises(DocumentError, match=told):
        choose(task(*annotations), Policy.build(settings, where="test"))


@pytest.mark.parametrize("settings", [{"choose": "user"}, {"user": 1}, {"choose": "best"}, {"empty": "what"}])
def test_a_policy_that_contradicts_itself_is_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        Policy.build(settings, where="test")


def test_the_user_of_an_annotation() -> None:
    assert [user_of(made(5)), user_of(made(None)), user_of({}), user_of(made({"id": 6}))] == [5, None, None, 6]  # type: ignore[arg-type]
    _, report = from_tasks([task(made(None))], SCHEMA)
    assert report.orphans == ["a: annotation 1 belongs to no user (deleted?)"]


WORDS = [(word.start, word.end) for word in sentences(TEXT)] + [(4, 11), (19, 24), (26, 32), (40, 45), (12, 24)]


@st.composite
def readings(draw: st.DrawFn) -> Document:
    """Somebody's reading: some flat spans, a label for some sentences, perhaps one for the whole."""
    spans: list[Span] = []
    for start, end in sorted(draw(st.sets(st.sampled_from(WORDS)))):
        if not spans or spans[-1].end <= start:
            spans.append(Span(start=start, end=end, label=draw(st.sampled_from(["PERSON", "LOCATION"]))))
    stances = [(b, draw(st.sampled_from([None, "supports", "denies"]))) for b in sentences(TEXT)]
    own = tuple(Span(start=b.start, end=b.end, label=label) for b, label in stances if label)
    labels: dict[str, Any] = {"entity": tuple(spans)} if draw(st.booleans()) else {}
    labels |= {"stance": own} if own else {}
    labels |= {"document": Label(label="neutral")} if draw(st.booleans()) else {}
    return Document(id="a", text=TEXT, target="x", labels=labels)


@given(readings())
def test_one_voice_and_unanimity_are_majorities(reading: Document) -> None:
    for times in (1, 2, 3):
        labels, remarks = majority([reading] * times, SCHEMA)
        assert (labels, remarks) == (dict(reading.labels), [])


@given(st.lists(readings(), min_size=1, max_size=5), st.randoms())
def test_a_majority_is_one_whatever_the_order(given_readings: list[Document], random: Any) -> None:
    labels, _ = majority(given_readings, SCHEMA)
    document = given_readings[0].with_labels(labels)
    SCHEMA.check(document)
    for span in document.spans("entity"):
        votes = [span in reading.spans("entity") for reading in given_readings if "entity" in reading.labels]
        assert 2 * sum(votes) > len(votes)
    shuffled = list(given_readings)
    random.shuffle(shuffled)
    assert majority(shuffled, SCHEMA)[0] == labels


def test_a_tie_is_told() -> None:
    bare = Document(id="a", text=TEXT, target="x")
    one, two = (
        bare.with_labels({"stance": (Span(start=0, end=25, label=label),), "document": Label(label=label)})
        for label in ("supports", "denies")
    )
    labels, remarks = majority([one, two], SCHEMA)
    assert labels == {}
    assert remarks == ["stance: no majority for the sentence at 0", "document: no majority for the document"]


def test_one_voice_of_three_is_no_majority() -> None:
    """Two of three annotators left the choice and the sentences empty."""
    bare = Document(id="a", text=TEXT, target="x", labels={"entity": ()})
    said = bare.with_labels({"stance": (Span(start=0, end=25, label="denies"),), "document": Label(label="supports")})
    labels, remarks = majority([said, bare, bare], SCHEMA)
    assert labels == {"entity": ()}
    assert remarks == ["stance: no majority for the sentence at 0", "document: no majority for the document"]
    labels, remarks = majority([said, said, bare], SCHEMA)
    assert (labels["stance"], labels["document"], remarks) == (said.labels["stance"], Label(label="supports"), [])


def test_empty_choices_of_a_task_count_in_its_majority() -> None:
    choice = {"id": "d", "from_name": "document", "type": "choices", "value": {"choices": ["supports"]}}
    said = {**made(1, 1), "result": [REGION, choice]}
    (document,), report = from_tasks(
        [task(said, made(2, 2), made(3, 3))], SCHEMA, policy=Policy(choose=Choice.MAJORITY)
    )
    assert set(document.labels) == {"entity"}
    assert report.remarks == ["a: document: no majority for the document"]
