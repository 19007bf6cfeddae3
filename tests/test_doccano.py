"""doccano JSONL: any document there and back, both forms that it exports, what is left out and what is refused."""

from __future__ import annotations

import io
import json
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_conversion import documents

from annotations.document import Document, Label
from annotations.errors import DocumentError
from annotations.formats.conversion import ConversionReport
from annotations.formats.doccano import Doccano, write_doccano


def read(folder: Path, *lines: Any, categories: str | None = None) -> tuple[list[Document], ConversionReport]:
    path = folder / "export.jsonl"
    path.write_text("".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines), "utf-8")
    reading = Doccano(path, "entity", categories)
    return list(reading.read()), reading.report


@given(st.lists(documents(), max_size=3))
def test_documents_come_back(found: list[Document]) -> None:
    out, report = io.StringIO(newline=""), ConversionReport()
    write_doccano(found, out, "entity", report)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.jsonl"
        path.write_bytes(out.getvalue().encode())
        reading = Doccano(path, "entity")
        assert list(reading.read()) == found
    assert not reading.report.counts


@pytest.mark.parametrize(
    "labels",
    [
        {"label": [[3, 8, "LOC"], [0, 1, "X"]]},
        {"labels": [[0, 1, "X"], [3, 8, "LOC"]]},
        {
            "entities": [
                {"id": 7, "label": "LOC", "start_offset": 3, "end_offset": 8},
                {"id": 8, "label": "X", "start_offset": 0, "end_offset": 1},
            ],
            "relations": [],
            "Comments": [],
        },
    ],
)
def test_every_form_is_read(tmp_path: Path, labels: dict[str, Any]) -> None:
    found, report = read(tmp_path, {"id": 12, "text": "😀. Kabul", **labels})
    assert found[0].id == "export-12"
    assert [(found[0].text[span.start : span.end], span.label) for span in found[0].spans("entity")] == [
        ("😀", "X"),
        ("Kabul", "LOC"),
    ]
    assert not report.counts


def test_text_alone_is_unannotated_and_an_empty_list_is_not(tmp_path: Path) -> None:
    found, _ = read(tmp_path, {"text": "a"}, {"data": "b", "label": []})
    assert [dict(document.labels) for document in found] == [{}, {"entity": ()}]


def test_a_line_without_an_id_is_called_by_its_number(tmp_path: Path) -> None:
    lines = [{"id": identity, "text": "a", "label": []} for identity in (0, None, "", None)]
    assert [document.id for document in read(tmp_path, *lines)[0]] == ["export-0", "export-2", "export-3", "export-4"]


def test_a_category_becomes_the_documents_label_where_a_layer_takes_it(tmp_path: Path) -> None:
    line = {"text": "Kabul", "entities": [], "cats": ["supports"]}
    found, report = read(tmp_path, line, categories="document")
    assert found[0].labels["document"] == Label(label="supports")
    assert not report.counts
    found, report = read(tmp_path, line, {"text": "b", "label": ["x", "y"]})
    assert report.counts == {"categories of the whole text, left out": 3}
    assert "document" not in found[0].labels


def test_what_is_left_out_is_counted(tmp_path: Path) -> None:
    relation = {"id": 1, "from_id": 7, "to_id": 8, "type": "x"}
    line = {"text": "Kabul", "entities": [], "relations": [relation], "Comments": ["why?"], "origin": "web"}
    _, report = read(tmp_path, line, {"text": "Kabul", "label": [[0, 5, "A"], [1, 2, "B"]]})
    assert report.counts == {
        "relations, left out": 1,
        "comments, left out": 1,
        "further keys 'origin', left out": 1,
        "nested or overlapping spans, the outer one kept": 1,
    }
    assert report.first["nested or overlapping spans, the outer one kept"] == "export.jsonl: line 2"


def test_every_bad_line_is_told(tmp_path: Path) -> None:
    lines = [
        {"text": "ok", "label": []},
        {"text": "ab", "label": [[0, 3, "X"]]},
        {"text": "ab", "label": [[1, 1, "X"], [0, True, "X"], ["0", 1, "X"], [0, 1], {"label": "X"}, 5]},
        {"text": "ab", "label": "X"},
        {"label": []},
        [1],
        {"text": "\ud83d", "label": []},
        {"text": "a", "label": [], "standpoint": {"id": "a", "labels": 3}},
    ]
    path = tmp_path / "export.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines) + "{\n")
    with pytest.raises(DocumentError) as caught:
        list(Doccano(path, "entity").read())
    numbers = [int(problem.split(":")[0].removeprefix("line ")) for problem in caught.value.problems]
    assert numbers == [2, 3, 3, 3, 3, 3, 3, 4, 5, 6, 7, 8, 9]
    with pytest.raises(DocumentError, match="cannot be read"):
        list(Doccano(tmp_path / "none.jsonl", "entity").read())
