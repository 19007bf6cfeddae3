"""Hugging Face datasets on disk: any document there and back, the columns that everyone reads, datasets of others."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import pytest
from datasets import ClassLabel, Dataset, DatasetDict, Features, List, Value, load_from_disk
from hypothesis import given, settings
from hypothesis import strategies as st
from test_conversion import LABELS, documents

from annotations.document import Document, Span
from annotations.errors import DocumentError
from annotations.formats.chunks import chunks
from annotations.formats.conversion import ConversionReport
from training.formats.hf_datasets import read_datasets, write_datasets


def read(path: Path) -> tuple[list[Document], ConversionReport]:
    report = ConversionReport()
    return list(read_datasets(path, "entity", report)), report


@pytest.mark.parametrize("name", ["folder", "x.parquet"])
@settings(max_examples=25)
@given(found=st.lists(documents(), min_size=1, max_size=3))
def test_documents_come_back(name: str, found: list[Document]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        write_datasets(found, path, "entity", LABELS, ConversionReport())
        again, report = read(path)
        assert [item.name for item in path.parent.iterdir()] == [name]
    assert again == found
    assert not report.counts


def test_tokens_and_tags_are_as_everyone_reads_them(tmp_path: Path) -> None:
    text = "Suhail Shaheen met al-Qaida-linked men.\nKabul"
    spans = (
        Span(start=0, end=14, label="PER"),
        Span(start=19, end=27, label="NEW"),
        Span(start=40, end=45, label="LOC"),
    )
    document = Document(id="a", text=text, labels={"entity": spans})
    write_datasets([document], tmp_path / "out", "entity", ["LOC", "PER"], ConversionReport())
    data = load_from_disk(str(tmp_path / "out"))
    names = data.features["ner_tags"].feature.names
    assert names == ["O", "B-LOC", "I-LOC", "B-PER", "I-PER", "B-NEW", "I-NEW"]
    row = data[0]
    tags = [names[tag] for tag in row["ner_tags"]]
    assert list(zip(row["tokens"], tags, strict=True)) == [
        ("Suhail", "B-PER"),
        ("Shaheen", "I-PER"),
        ("met", "O"),
        ("al-Qaida", "B-NEW"),
        ("-linked", "O"),
        ("men", "O"),
        (".", "O"),
        ("Kabul", "B-LOC"),
    ]
    assert len(chunks(tags)) == 3


def test_datasets_of_others_are_read_with_every_split(tmp_path: Path) -> None:
    tags = ClassLabel(names=["O", "B-PER", "I-PER"])
    features = Features(
        id=Value("string"), tokens=List(Value("string")), pos_tags=List(Value("int64")), ner_tags=List(tags)
    )
    rows = {
        "id": ["0"],
        "tokens": [["😀", "Karim", "Khan", "", "met"]],
        "pos_tags": [[1] * 5],
        "ner_tags": [[0, 1, 2, 0, 0]],
    }
    train = Dataset.from_dict(rows, features=features)
    test = Dataset.from_dict({"tokens": [["a"], []], "tags": [["I-X"], []]})
    DatasetDict(
        train=train, test=test.cast(Features(tokens=List(Value("string")), tags=List(Value("string"))))
    ).save_to_disk(str(tmp_path / "data"))
    found, report = read(tmp_path / "data")
    assert [(document.id, document.text) for document in found] == [
        ("data-train-0", "😀 Karim Khan met"),
        ("data-test-1", "a"),
        ("data-test-2", ""),
    ]
    assert [found[0].text[span.start : span.end] for span in found[0].spans("entity")] == ["Karim Khan"]
    assert found[1].spans("entity") == (Span(start=0, end=1, label="X"),)
    assert report.counts == {"column 'pos_tags', not read": 1, "blank tokens, left out": 1}


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ([0, 1, 2], ["x-0", "x-1", "x-2"]),
        ([7, None, None], ["x-7", "x-2", "x-3"]),
        (["", "", "a"], ["x-1", "x-2", "x-a"]),
    ],
)
def test_a_row_without_an_id_is_called_by_its_number(given: list[Any], wanted: list[str], tmp_path: Path) -> None:
    rows = {"id": given, "tokens": [["a"]] * 3, "tags": [["O"]] * 3}
    Dataset.from_dict(rows).save_to_disk(str(tmp_path / "x"))
    assert [document.id for document in read(tmp_path / "x")[0]] == wanted


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"words": [["a"]]}, "needs the columns `tokens`"),
        ({"tokens": [["a"], ["b"]], "tags": [["O"], ["PER"]]}, "row 2: 'PER' in `tags` is no tag"),
        ({"tokens": [["a"]], "tags": [[7]]}, "row 1: 7 in `tags` is no tag"),
        ({"tokens": [["a", "b"]], "tags": [["O"]]}, "row 1: has 2 tokens and 1 tags"),
        ({"tokens": ["a"], "tags": [["O"]]}, "row 1: `tokens` must be a list"),
        ({"text": ["a"], "spans": [[]], "record": ["["]}, "row 1: `spans` or `record`"),
        (
            {"text": ["a"], "spans": [[{"start": 0, "end": 9, "label": "X"}]], "record": ['{"id": "a"}']},
            "row 1: .*past",
        ),
    ],
)
def test_what_cannot_be_read_is_told_by_row(tmp_path: Path, columns: dict[str, Any], message: str) -> None:
    Dataset.from_dict(columns).save_to_disk(str(tmp_path / "data"))
    with pytest.raises(DocumentError, match=message):
        read(tmp_path / "data")


def test_what_is_no_dataset_is_refused_and_an_output_that_exists_too(tmp_path: Path) -> None:
    (tmp_path / "x.parquet").write_bytes(b"PAR1")
    for path in (tmp_path / "x.parquet", tmp_path, tmp_path / "none"):
        with pytest.raises(DocumentError, match="is no saved dataset"):
            read(path)
    with pytest.raises(DocumentError, match="not an empty folder"):
        write_datasets([Document(id="a", text="a")], tmp_path, "entity", [], ConversionReport())
    with pytest.raises(DocumentError, match="no document"):
        write_datasets([], tmp_path / "new", "entity", [], ConversionReport())
