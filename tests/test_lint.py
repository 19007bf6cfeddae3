"""Lint: one planted defect gives its one code at its place, clean documents give none, and nothing broken stops the rest."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from annotations.document import Document
from annotations.errors import DocumentError, InputError
from annotations.labelstudio.exports import from_tasks
from annotations.lint.corpus import Limits
from annotations.lint.edges import edge_punctuation, mid_word
from annotations.lint.findings import RULES
from annotations.lint.report import LintReport, lint_files
from annotations.near_duplicates import near_duplicates
from annotations.schema import Schema
from annotations.sentences import sentences
from training.cli import app

Json = dict[str, Any]
SCHEMA = Schema.load(ROOT / "configs" / "schema.yaml")
NO_RARE = Limits(examples=0)
LETTERS = "abcdefghijklmnopqrstuvwxyzéüπжאब"


def lint(folder: Path, *tasks: Any, limits: Limits = NO_RARE) -> LintReport:
    path = folder / "tasks.json"
    path.write_text(json.dumps(tasks), "utf-8")
    return lint_files([path], SCHEMA, limits)


def codes(report: LintReport) -> list[str]:
    return [finding.code for finding in report.findings]


def region(identity: str, start: int, end: int, label: str, text: str, name: str = "entity") -> Json:
    value = {"start": start, "end": end, "text": text[start:end], "labels": [label]}
    return {"id": identity, "from_name": name, "to_name": "text", "type": "labels", "value": value}


def task(text: str, spans: list[tuple[int, int, str]], number: int = 1, **data: Any) -> Json:
    """A clean task: spans as given, every sentence neutral, the document neutral."""
    result = [region(f"e{n}", *span, text) for n, span in enumerate(spans)]
    result += [region(f"s{n}", *one, "neutral", text, "stance") for n, one in enumerate(sentences(text))]
    choice = {
        "id": "d0",
        "from_name": "document",
        "to_name": "text",
        "type": "choices",
        "value": {"choices": ["neutral"]},
    }
    annotation = {"id": number + 100, "completed_by": 1, "was_cancelled": False, "result": [*result, choice]}
    content = {"text": text, "target": "It met.", "doc_id": f"doc-{number}", **data}
    return {"id": number, "data": content, "annotations": [annotation]}


def marked(text: str, *surfaces: tuple[str, str], number: int = 1, **data: Any) -> Json:
    """A clean task of spans given by surface (its first place) and label."""
    return task(text, [(text.index(s), text.index(s) + len(s), label) for s, label in surfaces], number, **data)


@st.composite
def clean_tasks(draw: st.DrawFn) -> Json:
    """Sentences of different words, some of them marked; emoji, CRLF and blank lines between them."""
    word = st.text(LETTERS, min_size=5, max_size=9)
    words = draw(st.lists(word, min_size=16, max_size=40, unique=True))
    text, places = "", []
    for number, one in enumerate(words):
        first = number % 8 == 0
        if first and text:
            text += draw(st.sampled_from([". ", ".\r\n", "! 😀\n\n", "?\n"]))
        elif text:
            text += " "
        places.append((len(text), len(text) + len(one)))
        text += one.capitalize() if first else one
    chosen = sorted(draw(st.sets(st.sampled_from(range(1, len(places) - 2)), min_size=1)))
    labels = list(SCHEMA.layers["entity"].labels)
    return task(text + ".", [(*places[number], draw(st.sampled_from(labels))) for number in chosen])


@given(made=clean_tasks())
def test_clean_documents_have_no_findings(made: Json, tmp_path: Path) -> None:
    assert codes(lint(tmp_path, made)) == []
    (document,), _ = from_tasks([made], SCHEMA)
    path = tmp_path / "clean.jsonl"
    path.write_text(document.to_json() + "\n", "utf-8")
    assert codes(lint_files([path], SCHEMA, NO_RARE)) == []


Place = tuple[str | None, int | None, int | None]
Plant = Callable[[Json, Json, list[Json]], Place]
"""Changes a clean task, given one of its entity regions and all results; returns where the finding must be."""


def at(changed: Json) -> Place:
    value = changed["value"]
    return changed["id"], value["start"], value["end"]


def requote(changed: Json, text: str) -> Place:
    value = changed["value"]
    value["text"] = text[value["start"] : value["end"]]
    return at(changed)


def out_of_bounds(made: Json, one: Json, results: list[Json]) -> Place:
    one["value"] |= {"start": len(made["data"]["text"]) + 5, "end": len(made["data"]["text"]) + 9}
    return at(one)


def backward(made: Json, one: Json, results: list[Json]) -> Place:
    one["value"] |= {"start": one["value"]["end"], "end": one["value"]["start"]}
    return at(one)


def mismatch(made: Json, one: Json, results: list[Json]) -> Place:
    one["value"]["text"] = "in no text"
    return at(one)


def overlap(made: Json, one: Json, results: list[Json]) -> Place:
    text, value = made["data"]["text"], one["value"]
    after = re.match(r" \w+\b", text[value["end"] :])
    assume(after and after[0][1:] not in {r["value"].get("text") for r in results})
    longer = region("new", value["start"], value["end"] + after.end(), "PERSON", text)
    results.insert(0, longer)
    return at(longer)


def relabel(*labels: str) -> Plant:
    def plant(made: Json, one: Json, results: list[Json]) -> Place:
        one["value"]["labels"] = list(labels)
        return at(one)

    return plant


def rename(made: Json, one: Json, results: list[Json]) -> Place:
    one["from_name"] = "entities"
    return at(one)


def no_value(made: Json, one: Json, results: list[Json]) -> Place:
    del one["value"]
    return one["id"], None, None


def no_number(made: Json, one: Json, results: list[Json]) -> Place:
    one["value"]["start"] = str(one["value"]["start"])
    return one["id"], None, None


def second_choice(made: Json, one: Json, results: list[Json]) -> Place:
    results.append({**results[-1], "id": "d1", "value": {"choices": ["denies"]}})
    return "d1", None, None


def second_stance(made: Json, one: Json, results: list[Json]) -> Place:
    stance = next(result for result in results if result["id"] == "s0")
    results.append({**copy.deepcopy(stance), "id": "s-new"})
    results[-1]["value"]["labels"] = ["denies"]
    return at(results[-1])


def in_data(**changes: Any) -> Plant:
    def plant(made: Json, one: Json, results: list[Json]) -> Place:
        made["data"] |= changes
        return None, None, None

    return plant


def twice(made: Json, one: Json, results: list[Json]) -> Place:
    results.append({**copy.deepcopy(one), "id": "again"})
    return at(results[-1])


def with_space(made: Json, one: Json, results: list[Json]) -> Place:
    one["value"]["start"] -= 1
    return requote(one, made["data"]["text"])


def with_dot(made: Json, one: Json, results: list[Json]) -> Place:
    text = made["data"]["text"]
    one["value"] |= {"start": text.rindex(" ") + 1, "end": len(text)}
    return requote(one, text)


def half_a_word(made: Json, one: Json, results: list[Json]) -> Place:
    one["value"]["end"] -= 1
    return requote(one, made["data"]["text"])


def short_stance(made: Json, one: Json, results: list[Json]) -> Place:
    stance = next(result for result in results if result["id"] == "s0")
    stance["value"]["start"] += stance["value"]["text"].index(" ") + 1
    return requote(stance, made["data"]["text"])


def forgotten_sentence(made: Json, one: Json, results: list[Json]) -> Place:
    stance = next(result for result in results if result["id"] == "s0")
    results.remove(stance)
    return None, *at(stance)[1:]


def deleted_user(made: Json, one: Json, results: list[Json]) -> Place:
    made["annotations"][0]["completed_by"] = None
    return None, None, None


def no_choice(made: Json, one: Json, results: list[Json]) -> Place:
    made["data"]["layers"] = ["entity", "stance", "document"]
    results.pop()
    return None, None, None


PLANTS: list[tuple[str, Plant]] = [
    ("E101", out_of_bounds),
    ("E101", backward),
    ("E102", mismatch),
    ("E103", overlap),
    ("E104", relabel("PERSN")),
    ("E105", rename),
    ("E106", relabel()),
    ("E106", relabel("PERSON", "DATE")),
    ("E107", no_value),
    ("E107", no_number),
    ("E108", second_choice),
    ("E108", second_stance),
    ("E109", in_data(target=None)),
    ("E109", in_data(target=" ")),
    ("E111", in_data(text=None)),
    ("E111", in_data(text=" \n")),
    ("E112", in_data(group=5)),
    ("W201", twice),
    ("W202", with_space),
    ("W203", with_dot),
    ("W204", half_a_word),
    ("W207", short_stance),
    ("W210", deleted_user),
    ("W211", forgotten_sentence),
    ("W212", no_choice),
]


@pytest.mark.parametrize(("code", "plant"), PLANTS, ids=lambda value: getattr(value, "__name__", value))
@settings(max_examples=15)
@given(made=clean_tasks(), data=st.data())
def test_a_planted_defect_gives_its_code_at_its_place(
    code: str, plant: Plant, made: Json, data: st.DataObject, tmp_path: Path
) -> None:
    results = made["annotations"][0]["result"]
    one = data.draw(st.sampled_from([result for result in results if result["from_name"] == "entity"]))
    place = plant(made, one, results)
    found = lint(tmp_path, made).findings
    assert [(f.code, (f.region, f.start, f.end)) for f in found] == [(code, place)]
    assert (found[0].document, found[0].task) == ("doc-1", "1")
    assert RULES[code].remedy in found[0].message


FIRST = "Karim met the Taliban near Kabul on Friday. He left Kabul late and spoke of the talks to Nikkei Asia again."
OTHER = "In Moscow a minister denied it. Nobody there had heard of Karim or of any other guest, the ministry wrote."


@pytest.mark.parametrize("text", [FIRST, OTHER])
def test_an_id_that_several_tasks_have(text: str, tmp_path: Path) -> None:
    (found,) = lint(tmp_path, task(FIRST, []), task(text, [], 2, doc_id="doc-1")).findings
    assert (found.code, found.document, found.task) == ("E110", "doc-1", "2")
    assert "task 1 of" in found.message and ("the same text" in found.message) == (text == FIRST)


def test_a_surface_labelled_otherwise(tmp_path: Path) -> None:
    report = lint(
        tmp_path,
        marked(FIRST, ("Karim", "PERSON"), ("Kabul", "LOCATION")),
        marked(OTHER, ("Karim", "MEDIA"), number=2),
        marked(OTHER.replace("Moscow", "Kabul"), ("Karim", "PERSON"), number=3, group="x"),
        limits=Limits(examples=0, marked=9, similarity=1),
    )
    (found,) = report.findings
    assert (found.code, found.document, found.region) == ("W205", "doc-2", "e0")
    assert "of 3 places PERSON in 2, MEDIA in 1: " in found.message and "[Karim]" in found.message


def test_two_frequent_labels_are_two_meanings(tmp_path: Path) -> None:
    made = [marked(f"{OTHER} {n}.", ("Karim", "PERSON" if n % 2 else "MEDIA"), number=n) for n in range(8)]
    assert codes(lint(tmp_path, *made, limits=Limits(examples=0, marked=9, similarity=1))) == []


def test_a_surface_left_unmarked(tmp_path: Path) -> None:
    text = "Kabul fell. Kabul University stayed open, kabul.gov and Kabuli rugs too; see http://x.org/Kabul of Kabul."
    spans = [(0, 5, "LOCATION"), (12, 28, "ORGANIZATION")]
    loud = [marked(f"{number} days in Kabul went by.", ("Kabul", "LOCATION"), number=number) for number in (2, 3)]
    (found,) = lint(tmp_path, task(text, spans), *loud).findings
    assert (found.code, found.document, found.start, found.end) == ("W206", "doc-1", len(text) - 6, len(text) - 1)
    assert "'Kabul' is LOCATION in 3 places" in found.message
    assert codes(lint(tmp_path, task(text, spans), *loud, limits=Limits(marked=4, examples=0))) == []
    unannotated = task(text, [], layers=["stance", "document"])
    assert (
        codes(lint(tmp_path, unannotated, *loud, loud[0] | {"id": 9, "data": {**loud[0]["data"], "doc_id": "z"}})) == []
    )


def test_common_words_marked_now_and_then_are_not_missed(tmp_path: Path) -> None:
    bare = [task(f"White wheat number {number} was sold.", [], number) for number in range(4, 9)]
    named = [marked(f"Then Ann White said {number} words.", ("White", "PERSON"), number=number) for number in range(3)]
    assert codes(lint(tmp_path, *named, *bare)) == []


def test_copies_in_two_folds(tmp_path: Path) -> None:
    copied = FIRST.replace("late", "early")
    first, second = task(FIRST, [], group="a"), task(copied, [], 2, group="b")
    (found,) = lint(tmp_path, first, second, task(OTHER, [], 3)).findings
    assert (found.code, found.document) == ("W208", "doc-2")
    assert (
        "document doc-1" in found.message and "fold a" in found.message and re.search(r"shares [5-9]\d%", found.message)
    )
    assert codes(lint(tmp_path, first, task(copied, [], 2, group="a"))) == []
    assert codes(lint(tmp_path, task(FIRST, []), task(FIRST, [], 2))) == []


def test_labels_with_few_examples(tmp_path: Path) -> None:
    tasks = [marked(f"{n} men met Karim there.", ("Karim", "PERSON"), number=n, group=str(n % 2)) for n in range(4)]
    lone = marked("One of them read Dawn.", ("Dawn", "MEDIA"), number=9, group="0")
    found = lint(tmp_path, *tasks, lone, limits=Limits(examples=4)).only(["W209"]).findings
    told = {finding.message.split(";")[0] for finding in found if finding.layer == "entity"}
    assert "MEDIA has 1 examples in 1 of 2 folds" in told and not any(text.startswith("PERSON") for text in told)
    assert "DATE has 0 examples in 0 of 2 folds" in told
    bare = [{**one, "annotations": []} for one in tasks]
    assert codes(lint(tmp_path, *bare, limits=Limits())) == []


def test_offsets_counted_in_utf16_are_said_to_be(tmp_path: Path) -> None:
    text = "😀😀 The Taliban met."
    made = marked(text, ("Taliban", "MILITANT_GROUP"))
    made["annotations"][0]["result"][0]["value"] |= {"start": 9, "end": 16}
    (found,) = lint(tmp_path, made).findings
    assert found.code == "E102" and "reading moves it to 7–14: offsets counted UTF-16 units" in found.message


def test_a_mark_inside_a_long_one_is_told_beside_the_long_one(tmp_path: Path) -> None:
    made = task(FIRST, [(0, 35, "PERSON"), (6, 9, "DATE"), (14, 21, "MILITANT_GROUP")])
    found = lint(tmp_path, made).findings
    assert [(finding.code, finding.region) for finding in found] == [("E103", "e1"), ("E103", "e2")]
    assert all("overlaps PERSON 0–35 of region e0" in finding.message for finding in found)


def test_a_mark_whose_text_is_elsewhere_is_no_duplicate_of_what_is_there(tmp_path: Path) -> None:
    made = marked(FIRST, ("Karim", "PERSON"), ("Taliban", "MILITANT_GROUP"))
    made["annotations"][0]["result"][0]["value"] |= {"text": "Taliban", "labels": ["MILITANT_GROUP"]}
    assert codes(lint(tmp_path, made)) == ["E102"]


def test_every_annotation_is_linted_but_skipped_ones(tmp_path: Path) -> None:
    made = marked(FIRST, ("Karim", "PERSON"))
    (first,) = made["annotations"]
    first["result"][0]["value"] |= {"end": 6, "text": "Karim "}
    second = {**copy.deepcopy(first), "id": 7, "completed_by": {"id": 2}, "ground_truth": True}
    skipped = {**copy.deepcopy(first), "id": 8, "was_cancelled": True}
    made["annotations"] += [second, skipped]
    report = lint(tmp_path, made)
    assert [(f.code, f.annotation) for f in report.findings] == [("W202", "101"), ("W202", "7")]
    assert "(annotation 101, region e0; annotation 7, region e0)" in str(report)


def test_a_broken_document_stops_no_other(tmp_path: Path) -> None:
    bad = [3, {"id": 1}, {"id": 2, "data": []}, {"id": 3, "data": {"text": "a"}, "annotations": {}}]
    bad += [{"id": 4, "data": {"text": "a"}, "annotations": [None, {"id": 1, "result": [7, {"type": "labels"}]}]}]
    last = marked(FIRST, ("Karim", "PERSN"), number=5)
    report = lint(tmp_path, *bad, last)
    assert report.documents == 6 and codes(report)[-1] == "E104"
    assert codes(report).count("E111") == 2 and {"E112", "E107", "E105"} <= set(codes(report))


def test_broken_lines_stop_no_other(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    good: Json = {"id": "a", "text": "Karim met Karim Khan.", "labels": {"entity": []}}

    def line(identity: str, *spans: Any, **more: Any) -> str:
        return json.dumps({**good, "id": identity, "labels": {"entity": [*spans], **more}})

    one = {"start": 0, "end": 5, "label": "PERSON"}
    lines = [
        (json.dumps(good), "a", []),
        (line("b", one, {"start": 3, "end": 9, "label": "DATE"}), "b", ["E103", "W204"]),
        (line("c", one, one), "c", ["E103"]),
        (line("d", {**one, "end": 99}), "d", ["E101"]),
        (line("e", {**one, "label": "PERSN"}), "e", ["E104"]),
        (line("f", {"start": 0, "end": 5}), "f", ["E106"]),
        (line("g", {**one, "start": 0.5}, "x"), "g", ["E107", "E107"]),
        (line("h", {"start": 6, "end": 9, "label": "DATE"}, one), "h", ["E112"]),
        (line("i", document={"label": "denies"}), "i", ["E109"]),
        (line("j", nobody=[]), "j", ["E112"]),
        (line(""), "line 11", ["E112"]),
        ("", "line 12", []),
        ("{", "line 13", ["E112"]),
        ("[]", "line 14", ["E112"]),
        (json.dumps({**good, "id": "z", "text": 3}), "z", ["E111"]),
        (json.dumps({**good, "id": "b", "text": "Other."}), "b", ["E110"]),
    ]
    path.write_text("\n".join(text for text, _, _ in lines), "utf-8")
    report = lint_files([path], SCHEMA, Limits(examples=0, marked=9))
    found: dict[str | None, list[str]] = {name: [] for _, name, _ in lines}
    for finding in report.findings:
        found[finding.document or finding.task].append(finding.code)
    expected: dict[str | None, list[str]] = {name: [] for _, name, _ in lines}
    for _, name, some in lines:
        expected[name] += some
    assert {name: sorted(some) for name, some in found.items()} == {name: sorted(e) for name, e in expected.items()}


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("a.json", "[", "is not JSON"),
        ("a.json", "{}", "holds no tasks"),
        ("a.json", '[{"text": "a"}]', "not JSON_MIN"),
        ("a.json", "[]", "holds no tasks"),
        ("a.json", "[" * 100_000, "is not JSON"),
        ("a.jsonl", "\n", "holds no documents"),
        ("a.jsonl", "nothing", "holds no documents"),
        ("a.txt", "[]", "neither .jsonl"),
    ],
)
def test_what_is_no_data_is_refused(name: str, content: str, told: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(DocumentError, match=re.escape(told)):
        lint_files([tmp_path / name], SCHEMA)
    with pytest.raises(DocumentError) as caught:
        lint_files([tmp_path / name, tmp_path / "none.json"], SCHEMA)
    assert told in str(caught.value) and "none.json: cannot be read" in str(caught.value)


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 300) | st.floats() | st.text(max_size=4) | st.just("\ud800\x1b[0m"),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(["start", "id", "text"]), inner),
    max_leaves=4,
)


def places(value: Any) -> list[tuple[Any, Any]]:
    """Every (container, key) inside."""
    keys = list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else []
    return [(value, key) for key in keys] + [place for key in keys for place in places(value[key])]


@settings(max_examples=250)
@given(made=clean_tasks(), data=st.data())
def test_whatever_is_broken_is_reported_and_what_passes_can_be_read(
    made: Json, data: st.DataObject, tmp_path: Path
) -> None:
    container, key = data.draw(st.sampled_from(places(made)))
    container[key] = data.draw(JSON_VALUES)
    witness = marked(FIRST, ("Karim", "PERSN"), number=77)
    report = lint(tmp_path, made, witness)
    str(report).encode(), report.to_json().encode()
    assert "\x1b" not in str(report)
    assert [f.code for f in report.findings if f.document == "doc-77"] == ["E104"]
    try:
        from_tasks([made], SCHEMA)
    except DocumentError:
        assert report.errors > 1


@settings(max_examples=150)
@given(made=clean_tasks(), data=st.data())
def test_lines_that_pass_are_documents(made: Json, data: st.DataObject, tmp_path: Path) -> None:
    (document,), _ = from_tasks([made], SCHEMA)
    raw = json.loads(document.to_json())
    container, key = data.draw(st.sampled_from(places(raw)))
    container[key] = data.draw(JSON_VALUES)
    path = tmp_path / "a.jsonl"
    path.write_text(json.dumps(raw), "utf-8")
    report = lint_files([path], SCHEMA)
    str(report).encode()
    try:
        SCHEMA.check(Document.from_json(json.dumps(raw), where="a"))
    except InputError:
        assert report.errors


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("He left the [U.S.] yesterday.", ""),
        ("He left for the [U.S.]", ""),
        ("He left [Kabul.]", "."),
        ("He said: “He left [Kabul.]”", "."),
        ("[Acme Co.] said so.", ""),
        ("It was [Acme Co.]", ""),
        ("He met [Karim, Jr.], there.", ""),
        ("He lives in VENTURA, [Calif.]", ""),
        ("The [George W.] years.", ""),
        ("He joined [Yahoo!] in May.", ""),
        ("He joined [Kabul...] in May.", "."),
        ("He saw [(NDS)] men.", "(…)"),
        ("He saw [NDS)] men.", ")"),
        ("[Islamic State (Khorasan)] won.", ""),
        ("Men of [Abu “The Dog” Karim] won.", ""),
        ("The [“Storm” operation] began.", ""),
        ("[“Daily Beast”] says so.", "“…”"),
        ("[“Daily Beast]” says so.", "“"),
        ("['Daily Beast]' says so.", "'"),
        ("[O'Brien] came.", ""),
        ("['Abd al-Karim] came.", ""),
        ("In the ['90s] war.", ""),
        ("The [Taliban'] army.", "'"),
        ("See [@TOLOnews] and so on.", ""),
        ("About [20%] of it.", ""),
        ("The [-linked] men.", "-"),
        ("[Kabul,] Herat.", ","),
        ("塔利班在[喀布尔。]", "。"),
        ("It is [—] there.", "—"),
    ],
)
def test_edge_punctuation(text: str, told: str) -> None:
    start, end = text.index("["), text.rindex("]") - 1
    assert edge_punctuation(text.replace("[", "").replace("]", ""), start, end) == told


@pytest.mark.parametrize(
    ("text", "cut"),
    [
        ("Tali|ban", True),
        ("M16|s", True),
        ("cafe|\u0301", True),
        ("क|ि", True),
        ("|Taliban", False),
        ("Taliban|", False),
        ("Taliban|-linked", False),
        ("Taliban|’s", False),
        ("塔利班|在喀布尔", False),
        ("ตา|ลีบัน", False),
        ("カブ|ール", False),
        ("탈레반|은", False),
        ("Taliban|的", False),
        ("2015|/16", False),
        ("20|15", True),
    ],
)
def test_mid_word(text: str, cut: bool) -> None:
    assert mid_word(text.replace("|", ""), text.index("|")) == cut


@settings(max_examples=100)
@given(
    texts=st.lists(st.lists(st.sampled_from("abcd"), max_size=14).map(" ".join), max_size=8),
    threshold=st.sampled_from([0.2, 0.5, 0.8, 1.0]),
)
def test_near_duplicates_are_those_that_comparing_all_pairs_finds(texts: list[str], threshold: float) -> None:
    def shingles(text: str) -> set[tuple[str, ...]]:
        words = text.split()
        return {tuple(words[n : n + 5]) for n in range(len(words) - 4)}

    groups = [str(number % 3) for number in range(len(texts))]
    expected = {}
    for later, text in enumerate(texts):
        scores = [
            len(shingles(text) & shingles(other)) / len(shingles(text) | shingles(other))
            for number, other in enumerate(texts[:later])
            if groups[number] != groups[later] and shingles(text) | shingles(other)
        ]
        if scores and max(scores) >= threshold:
            expected[later] = max(scores)
    assert {near.later: near.similarity for near in near_duplicates(texts, groups, threshold)} == expected


def run(*arguments: str | Path) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, ["labels", "lint", *map(str, arguments)])
    assert "Traceback" not in result.output, result.output
    return result.exit_code, result.stdout, result.stderr


def test_the_gold_has_rare_labels_and_no_other_defect() -> None:
    status, said, _ = run(ROOT / "annotations" / "gold.json")
    assert status == 0
    assert said.splitlines()[-1].startswith("0 errors, 4 warnings in 10 documents: W209")
    assert run(ROOT / "annotations" / "annotators.json", "--ignore", "W209", "--strict")[0] == 0


def test_exit_status_and_choice_of_codes(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text(json.dumps([marked(FIRST, ("Karim", "PERSN"), ("Kabu", "LOCATION"))]))
    assert run(path)[0] == 1
    assert run(path, "--ignore", "E,W209,W206")[0] == 0
    assert run(path, "--ignore", "E,W209,W206", "--strict")[0] == 1
    status, said, _ = run(path, "--select", "E104", "--format", "json")
    found = json.loads(said)
    assert status == 1
    assert found["counts"] == {"documents": 1, "errors": 1, "warnings": 0, "codes": {"E104": 1}}
    (finding,) = found["findings"]
    keys = "code name severity file document task annotation region layer start end message"
    assert set(finding) == set(keys.split()) and finding["severity"] == "error" and finding["region"] == "e0"
    assert "did you mean 'PERSON'" in finding["message"] and "[Karim] met the Taliban" in finding["message"]


def test_the_command_refuses_what_it_cannot_use(tmp_path: Path) -> None:
    assert run(tmp_path / "none.json")[0] == 2
    gold = ROOT / "annotations" / "gold.json"
    status, _, said = run(gold, "--select", "E1,X9", "--ignore", "W99")
    assert status == 2 and "'X9'" in said and "'W99'" in said
    assert run(gold, "--format", "xml")[0] == 2
    assert run(gold, "--schema", tmp_path / "none.yaml")[0] == 2


def test_the_table_of_codes_is_sound() -> None:
    for code, rule in RULES.items():
        assert code == rule.code and re.fullmatch(r"[EW]\d{3}", code)
        assert rule.severity == ("error" if code.startswith("E") else "warning") and rule.remedy
    assert len({rule.name for rule in RULES.values()}) == len(RULES)
