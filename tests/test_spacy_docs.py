"""spaCy DocBin: any document there and back, entities that spaCy itself sees, files that others wrote, bad files."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_conversion import documents

from annotations.document import Document, Label, Span
from annotations.errors import DocumentError
from annotations.formats.conversion import ConversionReport

spacy = pytest.importorskip("spacy", reason="the extra `spacy` is not installed")
from spacy.tokens import DocBin  # noqa: E402

from training.formats.spacy_docs import read_spacy, write_spacy  # noqa: E402

BLANK = spacy.blank("xx")
APART = "spans that cut a token or have white space at an edge, kept in user_data alone"


def read(path: Path, categories: str | None = None) -> tuple[list[Document], ConversionReport]:
    report = ConversionReport()
    return list(read_spacy(path, "entity", categories, report)), report


@given(st.lists(documents(), max_size=3))
def test_documents_come_back(found: list[Document]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.spacy"
        write_spacy(found, path, "entity", ConversionReport())
        again, report = read(path)
        assert [item.name for item in path.parent.iterdir()] == ["x.spacy"]
    assert again == found
    assert not report.counts


def test_spacy_sees_the_entities_that_are_tokens(tmp_path: Path) -> None:
    text = "😀 Suhail Shaheen met al-Qaida-linked men.\r\nKabul"
    spans = (
        Span(start=2, end=16, label="PERSON"),
        Span(start=22, end=25, label="X"),
        Span(start=41, end=48, label="Y"),
    )
    report = ConversionReport()
    write_spacy([Document(id="a", text=text, labels={"entity": spans})], tmp_path / "x.spacy", "entity", report)
    doc = next(DocBin().from_disk(tmp_path / "x.spacy").get_docs(BLANK.vocab))
    assert doc.text == text
    assert [(entity.text, entity.label_) for entity in doc.ents] == [("Suhail Shaheen", "PERSON")]
    assert doc.has_annotation("ENT_IOB")
    assert report.counts == {APART: 2}


def foreign(path: Path) -> None:
    """A DocBin as other programs write it."""
    doc = BLANK.make_doc("Bank of Uganda in Kampala")
    doc.set_ents([doc.char_span(0, 14, label="ORG")], default="outside")
    doc.spans["sc"] = [doc.char_span(8, 14, label="LOC")]
    doc.cats = {"news": 1.0, "sport": 0.0}
    partial = BLANK.make_doc("Kabul fell")
    partial.set_ents([partial.char_span(0, 5, label="LOC")], default="missing")
    DocBin(docs=[doc, partial, BLANK.make_doc("unannotated")], store_user_data=False).to_disk(path)


def test_files_of_others_are_read_and_the_rest_is_counted(tmp_path: Path) -> None:
    foreign(tmp_path / "dev.spacy")
    found, report = read(tmp_path / "dev.spacy", "topic")
    assert [document.id for document in found] == ["dev-1", "dev-2", "dev-3"]
    assert found[0].spans("entity") == (Span(start=0, end=14, label="ORG"),)
    assert found[0].labels["topic"] == Label(label="news")
    assert dict(found[2].labels) == {}
    assert dict(found[1].source) == {"file": "dev.spacy", "doc": 2}
    assert report.counts == {
        "spans of group 'sc', left out": 1,
        "tokens whose entity is not annotated, taken as outside": 1,
    }
    assert read(tmp_path / "dev.spacy")[1].counts["categories of the whole text, left out"] == 1


def test_bad_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.spacy"
    path.write_bytes(b"text")
    with pytest.raises(DocumentError, match="is no spaCy DocBin"):
        read(path)
    with pytest.raises(DocumentError, match="cannot be read"):
        read(tmp_path / "none.spacy")
    docs = [BLANK.make_doc("a"), BLANK.make_doc("b")]
    docs[0].user_data["standpoint"] = {"document": {"id": 3}, "apart": []}
    docs[1].user_data["standpoint"] = "mine"
    DocBin(docs=docs, store_user_data=True).to_disk(path)
    with pytest.raises(DocumentError) as caught:
        read(path)
    assert [problem[:6] for problem in caught.value.problems] == ["doc 1:", "doc 2:"]


def test_an_earlier_file_stays_when_documents_fail(tmp_path: Path) -> None:
    (tmp_path / "x.spacy").write_bytes(b"earlier")

    def failing() -> object:
        yield Document(id="a", text="a")
        raise DocumentError("half-way", "stops")

    with pytest.raises(DocumentError, match="half-way"):
        write_spacy(failing(), tmp_path / "x.spacy", "entity", ConversionReport())  # type: ignore[arg-type]
    assert (tmp_path / "x.spacy").read_bytes() == b"earlier"
