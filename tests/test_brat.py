"""brat standoff: any document there and back, files as brat itself writes them, what is left out and what is refused."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_conversion import documents

from annotations.document import Document, Span
from annotations.errors import DocumentError
from annotations.formats.brat import Brat, write_brat
from annotations.formats.conversion import ConversionReport


def read(path: Path) -> tuple[list[Document], ConversionReport]:
    reading = Brat(path, "entity")
    return list(reading.read()), reading.report


def brat_files(folder: Path, text: str, ann: str, name: str = "a") -> Path:
    (folder / f"{name}.txt").write_bytes(text.encode())
    (folder / f"{name}.ann").write_bytes(ann.encode())
    return folder


def without_line_ends(document: Document) -> Document:
    """Spans as brat can hold them: no line end at an edge, and none of nothing else."""
    spans = []
    for span in document.spans("entity"):
        piece = document.text[span.start : span.end]
        start = span.start + len(piece) - len(piece.lstrip("\r\n"))
        if inner := piece.strip("\r\n"):
            spans.append(Span(start=start, end=start + len(inner), label=span.label))
    return document.with_labels(
        {**document.labels, **({"entity": tuple(spans)} if "entity" in document.labels else {})}
    )


@given(st.lists(documents(), min_size=1, max_size=3, unique_by=lambda document: document.id))
def test_documents_come_back(found: list[Document]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        report = ConversionReport()
        write_brat(found, Path(folder) / "out", "entity", report)
        again, read_report = read(Path(folder) / "out")
    assert not read_report.counts
    assert {document.id: document for document in again} == {item.id: without_line_ends(item) for item in found}
    lost = report.counts["spans of nothing but line ends, left out"]
    kept = sum(len(document.spans("entity")) for document in again)
    assert kept + lost == sum(len(document.spans("entity")) for document in found)


def test_what_is_written_is_what_brat_writes(tmp_path: Path) -> None:
    text = "😀 Mr.\r\nSmith met «Kabul» men"
    spans = (Span(start=2, end=12, label="PER SON"), Span(start=18, end=23, label="LOC"))
    write_brat(
        [Document(id="x/1", text=text, labels={"entity": spans})], tmp_path / "out", "entity", ConversionReport()
    )
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["annotation.conf", "x%2F1.ann", "x%2F1.txt"]
    assert (tmp_path / "out" / "x%2F1.txt").read_bytes().decode() == text
    assert (tmp_path / "out" / "x%2F1.ann").read_bytes().decode().split("\n") == [
        '#1\tStandpoint document\t{"id": "x/1"}',
        "T1\tPER_SON 2 5;7 12\tMr. Smith",
        "#2\tLabel T1\tPER SON",
        "T2\tLOC 18 23\tKabul",
        "",
    ]
    conf = (tmp_path / "out" / "annotation.conf").read_text()
    assert conf == "[entities]\nPER_SON\nLOC\n[relations]\n[events]\n[attributes]\n"


ANN = """T1\tOrganization 0 4\tSony
T2\tMERGE-ORG 14 27\tjoint venture
T3\tOrganization 33 41\tEricsson
E1\tMERGE-ORG:T2 Org1:T1 Org2:T3
*\tEquiv T1 T3
R1\tOrigin Arg1:T3 Arg2:T1
A1\tNegation E1
M2\tConfidence E1 L1
N1\tReference T1 Wikipedia:534366\tBarack
#1\tAnnotatorNotes T1\tthis annotation is suspect
T4\tPart 5 7;10 13\tis  a
"""


def test_brats_own_example_keeps_entities_and_counts_the_rest(tmp_path: Path) -> None:
    text = "Sony is in on a joint venture with Ericsson."
    ann = ANN.replace("14 27", "16 29").replace("33 41", "35 43").replace("5 7;10 13\tis  a", "5 7;14 15\tis a")
    found, report = read(brat_files(tmp_path, text, ann))
    assert [(text[span.start : span.end], span.label) for span in found[0].spans("entity")] == [
        ("Sony", "Organization"),
        ("joint venture", "MERGE-ORG"),
        ("Ericsson", "Organization"),
    ]
    assert found[0].id == "a"
    assert report.counts == {
        "events, left out": 1,
        "equivalences, left out": 1,
        "relations, left out": 1,
        "attributes, left out": 2,
        "normalisations, left out": 1,
        "notes, left out": 1,
        "discontinuous spans, left out": 1,
    }
    assert report.first["discontinuous spans, left out"] == "a.ann: line 11"


def test_nested_spans_keep_the_outer_one(tmp_path: Path) -> None:
    found, report = read(brat_files(tmp_path, "Bank of Uganda", "T1\tLOC 8 14\tUganda\nT2\tORG 0 14\tBank of Uganda\n"))
    assert [span.label for span in found[0].spans("entity")] == ["ORG"]
    assert report.first == {"nested or overlapping spans, the outer one kept": "a.ann: line 1"}


def test_offsets_counted_otherwise_are_mended_by_the_quote(tmp_path: Path) -> None:
    found, report = read(brat_files(tmp_path, "😀😀 Kabul\r\nHerat", "T1\tLOC 5 10\tKabul\r\nT2\tLOC 11 16\tHerat\r\n"))
    assert [found[0].text[span.start : span.end] for span in found[0].spans("entity")] == ["Kabul", "Herat"]
    assert report.counts == {"spans moved to where their quoted text is": 2}


def test_folders_below_and_texts_without_ann_are_read(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    brat_files(tmp_path / "b", "Kabul", "T1\tLOC 0 5\tKabul", "c")
    brat_files(tmp_path, "Herat", "")
    (tmp_path / "z.txt").write_text("none")
    found, _ = read(tmp_path)
    assert [(document.id, dict(document.labels)) for document in found] == [
        ("a", {"entity": ()}),
        ("b/c", {"entity": (Span(start=0, end=5, label="LOC"),)}),
        ("z", {}),
    ]
    assert read(tmp_path / "b" / "c.ann")[0][0].id == "c"


def test_every_bad_line_of_every_file_is_told(tmp_path: Path) -> None:
    brat_files(
        tmp_path,
        "Kabul",
        "T1\tLOC 0 5\tHerat\nT2 LOC 0 5\nwhat\nT3\tLOC 0 99\tKabul is big\n#1\tStandpoint document\t[]\n",
    )
    (tmp_path / "b.ann").write_text("")
    with pytest.raises(DocumentError) as caught:
        read(tmp_path)
    said = str(caught.value)
    for part in (
        "a.ann: line 1: T1",
        "a.ann: line 2",
        "a.ann: line 3: 'what'",
        "a.ann: line 4",
        "line 5: the Standpoint",
    ):
        assert part in said, part
    assert "b.txt: cannot be read" in said


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DocumentError, match=r"holds no \.ann"):
        read(tmp_path)
