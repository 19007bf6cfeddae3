"""Label Studio's exports: what others changed is repaired and told, or refused with every problem at once."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_labelstudio import A_TARGET, TEXT, annotated

from annotations.document import Document, Span
from annotations.errors import DocumentError
from annotations.labelstudio.exports import annotators, from_tasks, read_export
from annotations.offsets import code_points_to_utf16
from annotations.reading import annotated_documents
from annotations.schema import Schema
from annotations.sentences import sentences


def marked(*regions: dict[str, Any], text: str = TEXT, **rest: Any) -> dict[str, Any]:
    """A task with hand-made regions."""
    task = annotated(Document(id="a", text=text, target=A_TARGET), layers=["entity", "stance", "document"], **rest)
    task["annotations"][0]["result"] = list(regions)
    return task


def region(
    start: Any, end: Any, label: str = "LOCATION", quote: str | None = None, name: str = "entity"
) -> dict[str, Any]:
    value = {"start": start, "end": end, "labels": [label]} | ({} if quote is None else {"text": quote})
    return {"id": "r", "from_name": name, "to_name": "text", "type": "labels", "value": value, "origin": "manual"}


def refusal(*tasks: dict[str, Any], schema: Schema, **rest: Any) -> str:
    with pytest.raises(DocumentError) as caught:
        from_tasks(tasks, schema, **rest)
    return str(caught.value)


@given(data=st.data())
def test_utf16_offsets_are_repaired_and_told(data: st.DataObject, schema: Schema) -> None:
    words = [f"w{number}😀" for number in range(data.draw(st.integers(1, 6)))]
    text, document = "😀 " + " ".join(words), []
    for word in words:
        place = text.index(word)
        document.append(Span(start=place, end=place + len(word), label="PERSON"))
    task = annotated(Document(id="a", text=text, labels={"entity": tuple(document)}))
    for result in task["annotations"][0]["result"]:
        value = result["value"]
        value |= {edge: code_points_to_utf16(text, value[edge]) for edge in ("start", "end")}
    (found,), report = from_tasks([task], schema)
    assert found.spans("entity") == tuple(document)
    assert len(report.repairs) == len(words) and all("UTF-16" in text for text in report.repairs)


def test_moved_text_is_found_and_told(schema: Schema) -> None:
    kabul = TEXT.index("Kabul")
    task = marked(region(kabul - 3, kabul + 2, quote="Kabul"), region(3, 11, "MILITANT_GROUP", " Taliban"))
    (found,), report = from_tasks([task], schema)
    assert [TEXT[span.start : span.end] for span in found.spans("entity")] == ["Taliban", "Kabul"]
    assert found.spans("entity")[1].start == kabul
    told = str(report)
    assert (
        "nearest exact match" in told
        and "white space at its edges" in told
        and f"{kabul - 3}–{kabul + 2} became" in told
    )


def test_what_was_left_out_is_told(schema: Schema) -> None:
    twice = region(4, 11, "MILITANT_GROUP", "Taliban")
    stray = region(0, 3, "denies", "The", name="stance")
    (found,), report = from_tasks([marked(twice, twice, stray, {"type": "relation", "from_id": "a"})], schema)
    assert len(found.spans("entity")) == 1 and "stance" not in found.labels
    for told in ("marked twice, kept once", "a relation"):
        assert sum(told in repair for repair in report.repairs) == 1
    assert [one.partition(": ")[2] for one in report.unplaced] == [
        "stance denies 0–3: covers no sentence by more than half, left out"
    ]
    assert report.changed and "1 labels of no sentence" in str(report)


def test_labels_of_no_sentence_are_told_of_documents_too(schema: Schema, tmp_path: Path) -> None:
    spans = [{"start": 0, "end": 3, "label": "denies"}, {"start": 4, "end": len(TEXT), "label": "neutral"}]
    row = {"id": "a", "text": TEXT, "target": "It is so.", "labels": {"stance": spans}}
    (tmp_path / "a.jsonl").write_text(json.dumps(row))
    _, report = annotated_documents([tmp_path / "a.jsonl"], schema)
    assert report.unplaced == ["a: stance denies 0–3: covers no sentence by more than half, left out"]


def test_stance_spans_need_not_fit_the_sentences(schema: Schema) -> None:
    first, second, third = sentences(TEXT)
    task = marked(
        region(first.start + 2, second.start + 3, "denies", name="stance"),
        region(second.start + 3, third.end - 1, "neutral", name="stance"),
    )
    (found,), _ = from_tasks([task], schema)
    assert [(*span.model_dump().values(),) for span in found.spans("stance")] == [
        ("denies", None, *first),
        ("neutral", None, *second),
        ("neutral", None, *third),
    ]


@pytest.mark.parametrize(
    ("bad", "told"),
    [
        (region(900, 7, quote="nowhere"), "LOCATION 900–7 is out of bounds or blank, or 'nowhere' is not in the text"),
        (region(0, 999), "LOCATION 0–999 is out of bounds"),
        (region(3, 4, quote=" "), "LOCATION 3–4 is out of bounds or blank"),
        (region(0, 3, quote="\\n"), "LOCATION 0–3 is out of bounds or blank"),
        (region("0", 3), "start and end must be whole numbers, found '0' and 3"),
        (region(0, None), "start and end must be whole numbers, found 0 and None"),
        (region(False, 3), "start and end must be whole numbers, found False and 3"),
        (region(0, 3, "LOCATON"), "unknown label 'LOCATON'; did you mean 'LOCATION'?"),
        (
            region(0, 3, name="entities"),
            "control 'entities' is no layer of this schema (another project's export?); did you",
        ),
        ({"id": "r", "from_name": ["x"], "value": {}}, "is no layer of this schema"),
        ({"id": "r", "from_name": "entity"}, "region 'r': has no value"),
        ({"id": "r", "from_name": "entity", "value": {"start": 0, "end": 3}}, "needs exactly one label in `labels`"),
        ({"id": "r", "from_name": "entity", "value": {"labels": ["DATE", "MEDIA"]}}, "found ['DATE', 'MEDIA']"),
        (
            {"id": "r", "from_name": "document", "value": {"choices": ["denies", "neutral"]}},
            "exactly one label in `choices`",
        ),
    ],
)
def test_a_region_that_cannot_be_read_is_refused(bad: dict[str, Any], told: str, schema: Schema) -> None:
    assert told in refusal(marked(bad), schema=schema)


def test_regions_that_contradict_each_other_are_refused(schema: Schema) -> None:
    choices = [{"id": c, "from_name": "document", "value": {"choices": [c]}} for c in ("denies", "neutral")]
    sides = [region(0, 28, side, name="stance") for side in ("denies", "neutral")]
    told = refusal(marked(region(4, 15), region(9, 11, "DATE"), *sides, *choices), schema=schema)
    for expected in ("entity DATE 9–11 overlaps LOCATION 4–15", "different choices", "is given several labels"):
        assert expected in told


def test_a_document_that_the_schema_refuses_is_refused(schema: Schema) -> None:
    task = marked(region(0, 28, "denies", name="stance"))
    task["data"]["target"] = None
    assert "annotated towards a target, and the document has none" in refusal(task, schema=schema)


def test_all_problems_of_all_tasks_come_in_one_message(schema: Schema) -> None:
    first = marked(region(900, 7), region(0, 3, "X"))
    second = marked(region(0, 3, name="other"))
    second["data"] |= {"doc_id": "b", "layers": ["entyti"]}
    third = {"id": 7, "data": {"txt": "a"}, "annotations": []}
    fourth = {"id": 8, "data": {"text": "a"}, "annotations": [3]}
    same = [{**marked(), "data": {"text": "a", "doc_id": "c"}} for _ in range(2)]
    told = refusal(first, second, third, fourth, *same, schema=schema)
    assert told.startswith("annotations: 7 problems")
    for expected in (
        "task a: region",
        "task b: `data.layers` names 'entyti'; did you",
        "task b: region",
        "task 7: has no",
    ):
        assert expected in told
    assert "task 8: `annotations`" in told and "document id 'c' belongs to several tasks" in told


def several(**second: Any) -> dict[str, Any]:
    """A task that users 1 and 2 annotated differently."""
    task = marked(region(4, 11, "MILITANT_GROUP"))
    other = {"id": 6, "completed_by": {"id": 2}, "result": [region(0, 3)], **second}
    task["annotations"].append(other)
    return task


def test_several_annotations_need_a_ground_truth_or_a_user(schema: Schema) -> None:
    assert "task a: has several annotations; adjudicate, or choose a user or the majority" in refusal(
        several(), schema=schema
    )
    (truth,), _ = from_tasks([several(ground_truth=True)], schema)
    assert truth.spans("entity")[0].end == 3 and truth.source["annotation"] == 6
    ends = [from_tasks([several(ground_truth=True)], schema, user=user)[0][0].spans("entity")[0].end for user in (1, 2)]
    assert ends == [11, 3]
    assert from_tasks([several(was_cancelled=True)], schema)[0][0].spans("entity")[0].end == 11
    assert annotators([several(), {"id": 1}, {"id": 2, "annotations": None}]) == [1, 2]
    again = several(completed_by=1)
    assert "several annotations of user 1; delete all but one" in refusal(again, schema=schema, user=1)


def test_skipped_and_untouched_tasks_are_no_negatives(schema: Schema) -> None:
    bare = {"id": 3, "data": {"text": TEXT}, "annotations": None}
    found, report = from_tasks([marked(was_cancelled=True), bare, {**bare, "id": 4, "annotations": []}], schema)
    assert (found, report.left_out) == ([], ["a: skipped", "3: not annotated", "4: not annotated"])
    assert from_tasks([several()], schema, user=9)[1].left_out == ["a: not annotated"]
    (negative,), report = from_tasks([marked()], schema)
    assert (negative.labels, report.left_out) == ({"entity": ()}, [])


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"[", "is not JSON"),
        (b"\xff", "is not JSON"),
        (b'[{"id": ' + b"1" * 5000 + b"}]", "is not JSON"),
        (b'{"id": 1}', "expected a list of tasks"),
        (b"[1]", "expected a list of tasks"),
        (b'[{"id": 1, "text": "a"}]', "task 1: has no `data.text`; export as JSON (not JSON_MIN)"),
        (b'[{"id": 1, "data": {"text": "a", "target": 1}}]', "`data.target` and `data.group` must be texts"),
        (b'[{"id": 1, "data": {"text": "a", "layers": [[1]]}}]', "`data.layers` must be a list of names"),
        (b'[{"id": 1, "data": {"text": "a"}, "annotations": [{"result": [1]}]}]', "must be lists of objects"),
    ],
)
def test_a_file_that_is_no_export_is_refused(content: bytes, told: str, tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(content)
    with pytest.raises(DocumentError) as caught:
        read_export(path)
    assert told in str(caught.value) and str(path) in str(caught.value)


def test_an_export_file_is_read(tmp_path: Path, schema: Schema) -> None:
    path = tmp_path / "a.json"
    path.write_text(json.dumps([several(ground_truth=True)], ensure_ascii=False), "utf-8-sig")
    assert from_tasks(read_export(path), schema)[0][0].text == TEXT
    with pytest.raises(DocumentError, match="check the path"):
        read_export(tmp_path / "none.json")


def test_an_id_that_is_no_text_is_refused(schema: Schema) -> None:
    task = marked()
    task["data"]["doc_id"] = "\ud800"
    assert "half of a surrogate pair" in refusal(task, schema=schema)
