"""Exported tasks on disk: merged, hashed and read one at a time; and what a project's interface asks otherwise."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
from conftest import ROOT
from hypothesis import given
from hypothesis import strategies as st

from annotations.errors import DocumentError
from annotations.labelstudio.shapes import Json, interface_differences, labelling_config
from annotations.labelstudio.snapshots import merged, read_tasks, version_of, write_tasks
from annotations.schema import Schema

SCHEMA = Schema.load(ROOT / "configs" / "schema.yaml")


def task(number: int, text: str = "x") -> Json:
    return {"id": number, "data": {"text": text}, "annotations": [{"id": number, "result": []}], "updated_at": "now"}


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"])), max_size=5))
def test_tasks_come_back_as_they_were(tmp_path_factory: pytest.TempPathFactory, texts: list[str]) -> None:
    path = tmp_path_factory.mktemp("tasks") / "tasks.json"
    tasks = [task(number, text) for number, text in enumerate(texts)]
    assert write_tasks(path, iter(tasks)) == len(tasks)
    assert list(read_tasks(path)) == tasks == json.loads(path.read_text("utf-8"))


@given(st.sets(st.integers(1, 30)), st.sets(st.integers(1, 30)), st.sets(st.integers(1, 30)))
def test_new_tasks_take_the_place_of_old(
    tmp_path_factory: pytest.TempPathFactory, old: set[int], new: set[int], keep: set[int]
) -> None:
    folder = tmp_path_factory.mktemp("merge")
    shuffled = random.Random(0).sample(sorted(old), len(old))
    write_tasks(folder / "old.json", [task(number, "old\n[{") for number in shuffled])
    write_tasks(folder / "new.json", [task(number, "new") for number in new])
    found = {item["id"]: item["data"]["text"] for item in merged(folder / "old.json", folder / "new.json", keep)}
    assert list(found) == sorted((old | new) & keep)
    assert all(text == ("new" if number in new else "old\n[{") for number, text in found.items())


def test_a_version_is_its_content() -> None:
    one, two = task(1), task(2, "y")
    version = version_of([one, two], "policy")
    assert len(version) == 16 and version == version_of(
        [two, {**one, "updated_at": "later", "predictions": [1]}], "policy"
    )
    changed = {**one, "annotations": [{"id": 1, "result": [{"value": {}}]}]}
    assert len({version, version_of([changed, two], "policy"), version_of([one, two], "other"), version_of([one])}) == 4


@pytest.mark.parametrize("content", [None, b"", b"[\n{\n]\n", b"\xff"])
def test_a_broken_file_says_so(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "tasks.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DocumentError, match=r"tasks\.json.*pull again"):
        list(read_tasks(path))


def test_looks_are_no_difference() -> None:
    config = labelling_config(SCHEMA)
    assert interface_differences(config, SCHEMA) == []
    dressed = config.replace("<View>", '<View className="dark"><Style>.x {}</Style>').replace("#", "#0")
    assert interface_differences(dressed, SCHEMA) == []


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ('value="PERSON"', 'value="PEOPLE"', ["lacks the label 'PERSON'", "has the unknown label 'PEOPLE'"]),
        ('name="entity"', 'name="ner"', ["layer 'entity' is missing", "<Labels> 'ner' is no layer"]),
        ('value="$text"', 'value="$body"', ['no <Text name="text" value="$text"/>']),
        ('<Choices name="document"', '<Labels name="document"', ["no XML"]),
        ("<View>", "", ["no XML"]),
        ('choice="single"', 'perRegion="true"', ['<Choices perRegion="true"']),
        ('choice="single"', 'choice="multiple"', ['<Choices choice="multiple"']),
    ],
)
def test_what_is_asked_otherwise_is_named(old: str, new: str, told: list[str]) -> None:
    found = interface_differences(labelling_config(SCHEMA).replace(old, new), SCHEMA)
    assert len(found) == len(told)
    assert all(piece in text for piece, text in zip(told, found, strict=True))
