"""Columns of tokens and tags: every scheme, every spelling of a file, tokens that lose nothing, what cannot be said."""

from __future__ import annotations

import csv
import io
import os
import re
import tarfile
import zipfile
from collections import Counter
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_conversion import PIECES, TEXTS, documents

from annotations.document import Document, Span
from annotations.errors import DocumentError
from annotations.formats.chunks import Chunk, Scheme, chunks, iob2
from annotations.formats.columns import Columns, write_columns
from annotations.formats.conversion import ConversionReport
from annotations.tokens import tokenized, tokens
from training.formats.conversion import Format, Reading

DATA = os.environ.get("STANDPOINT_DATA")
WANTED = pytest.mark.skipif(not DATA, reason="STANDPOINT_DATA names no folder with the public sets")


def read(text: str, **how: object) -> tuple[list[Document], ConversionReport]:
    columns = Columns("file", "entity", **how)  # type: ignore[arg-type]
    return list(columns.read(io.BytesIO(text.encode()))), columns.report


def written(*found: Document, docstart: bool = True) -> tuple[str, ConversionReport]:
    out, report = io.StringIO(newline=""), ConversionReport()
    write_columns(found, out, "entity", report, docstart=docstart)
    return out.getvalue(), report


def quotes(document: Document) -> list[tuple[str, str]]:
    return [(document.text[span.start : span.end], span.label) for span in document.spans("entity")]


@pytest.mark.parametrize(
    ("tags", "expected"),
    [
        ("I-A I-A B-A I-B O I-B", [(0, 2, "A"), (2, 3, "A"), (3, 4, "B"), (5, 6, "B")]),  # IOB1
        ("B-A I-A B-A O B-B I-B", [(0, 2, "A"), (2, 3, "A"), (4, 6, "B")]),  # IOB2
        ("S-A B-A I-A E-A S-B", [(0, 1, "A"), (1, 4, "A"), (4, 5, "B")]),  # BIOES
        ("U-A U-A B-A L-A I-A", [(0, 1, "A"), (1, 2, "A"), (2, 4, "A"), (4, 5, "A")]),  # BILOU
        ("W-A B-A M-A E-A", [(0, 1, "A"), (1, 4, "A")]),  # BMEWO
        ("E-A E-A", [(0, 1, "A"), (1, 2, "A")]),
        ("", []),
    ],
)
def test_every_scheme_gives_its_stretches(tags: str, expected: list[tuple[int, int, str]]) -> None:
    assert chunks(tags.split()) == expected


SCHEMES = [("IOB1", "O I-A B-A O"), ("IOB2", "O B-A I-A"), ("BIOES", "S-A B-A E-A"), ("BILOU", "U-A"), ("BMEWO", "W-A")]


@pytest.mark.parametrize(("name", "tags"), SCHEMES)
def test_the_scheme_is_found_out(name: str, tags: str) -> None:
    scheme = Scheme()
    scheme.see(tags.split())
    assert scheme.name == name


@given(st.lists(st.tuples(st.integers(1, 3), st.sampled_from(["O", "A", "B"])), max_size=8))
def test_tags_give_back_their_stretches(runs: list[tuple[int, str]]) -> None:
    edges = [0]
    for size, _ in runs:
        edges.append(edges[-1] + size)
    found = [Chunk(a, b, label) for (a, b), (_, label) in zip(pairwise(edges), runs, strict=True) if label != "O"]
    assert chunks(iob2(edges[-1], found)) == found


@given(text=TEXTS, data=st.data())
def test_tokens_hold_every_visible_character_once(text: str, data: st.DataObject) -> None:
    cuts = data.draw(st.sets(st.integers(0, len(text))))
    for spaced in (False, True):
        found = tokens(text, cuts, spaced=spaced)
        assert "".join(text[a:b] for a, b in found) == "".join(text.split())
        assert all(not any(a < cut < b for cut in cuts) for a, b in found)
        assert all(left.end <= right.start for left, right in pairwise(found))
        assert not [text[a:b] for a, b in found if re.search(r"\s", text[a:b]) or text[a:b].startswith("-DOCSTART-")]


def test_tokens_are_what_people_call_words() -> None:
    text = "Kabul's al-Qaida-linked men (U.S. said) शक्ति e\u0301t\u0301e 👩\u200d🚒."
    assert [text[a:b] for a, b in tokens(text)] == [
        *["Kabul's", "al-Qaida-linked", "men", "(", "U.S", ".", "said", ")"],
        *["शक्ति", "e\u0301t\u0301e", "👩\u200d🚒", "."],
    ]
    assert [text[a:b] for a, b in tokens(text, [5, 16])][:4] == ["Kabul", "'s", "al-Qaida", "-linked"]


def visible(document: Document) -> tuple[str, list[tuple[int, int, str]]]:
    """The text without white space, and where spans are in it."""
    before = [0]
    for letter in document.text:
        before.append(before[-1] + (not letter.isspace()))
    places = [(before[span.start], before[span.end], span.label) for span in document.spans("entity")]
    return "".join(document.text.split()), [place for place in places if place[0] < place[1]]


@given(document=documents())
def test_documents_through_columns_keep_every_visible_character_and_span(document: Document) -> None:
    text, report = written(document)
    again, _ = read(text)
    if not document.text.strip():
        assert not again
        assert report.counts["documents without visible text"] == 1
        return
    assert visible(again[0]) == visible(document)
    if "texts whose white space changes" not in report.counts:
        assert again[0].text == document.text
        if not report.counts.keys() & {"edges of spans that are white space", "spans of nothing but white space"}:
            assert quotes(again[0]) == quotes(document)
    assert written(*again)[0] == text, "what was read from columns is written as it was"


@given(st.lists(documents(), max_size=4))
def test_many_documents_stay_apart(found: list[Document]) -> None:
    again, _ = read(written(*found)[0])
    assert list(map(visible, again)) == [visible(document) for document in found if document.text.strip()]


WORDS = st.sampled_from(["a", "-", "DOCSTART", "U.S.", "😀", "\u200b", "שלום", "#", "x\u0301", "'s"])


@given(
    st.lists(st.lists(st.tuples(WORDS, st.sampled_from(["O", "A", "A", "creative-work"])), min_size=1), min_size=1),
    st.sampled_from(["\n", "\r\n"]),
    st.sampled_from(["\t", " "]),
)
def test_files_of_columns_are_read_and_written_back(found: list[list[tuple[str, str]]], end: str, between: str) -> None:
    rows = [[(token, "O" if label == "O" else f"B-{label}") for token, label in sentence] for sentence in found]
    content = [[f"{token}{between}{tag}" for token, tag in sentence] for sentence in rows]
    text = f"{end}{end}".join(end.join(sentence) for sentence in content)
    again, report = read(text, per_document=0)
    assert quotes(again[0]) == [(t, tag[2:]) for row in rows for t, tag in row if tag != "O"]
    expected = "\n\n".join("\n".join(f"{token}\t{tag}" for token, tag in sentence) for sentence in rows)
    assert written(*again, docstart=False)[0] == expected + "\n\n"
    assert set(report.counts) == {"files tagged in IOB2"}


CONLL = "-DOCSTART- -X- O O\n\nEU NNP I-NP I-ORG\nrejects VBZ I-VP O\n\nGerman JJ I-NP I-MISC\n\n-DOCSTART- -X- O O\n\nx X X O\n"


def test_conll_2003_is_read_by_article() -> None:
    found, report = read(CONLL)
    assert [document.text for document in found] == ["EU rejects\nGerman", "x"]
    assert [document.id for document in found] == ["file-1", "file-2"]
    assert quotes(found[0]) == [("EU", "ORG"), ("German", "MISC")]
    assert found[1].spans("entity") == () and "entity" in found[1].labels
    assert [document.group for document in found] == ["file-article-1", "file-article-2"]
    assert dict(found[1].source) == {"file": "file", "line": 10, "tokens": "spaced"}
    assert report.counts == {"files tagged in IOB1": 1, "columns between token and tag, not read": 2}
    assert [document.text for document in read(CONLL, per_document=1)[0]] == ["EU rejects", "German", "x"]


def test_without_articles_each_sentence_is_a_document_unless_told() -> None:
    text = "a\tO\n\t\nb\tB-x\n\n\n\nc\tO"
    assert [document.text for document in read(text)[0]] == ["a", "b", "c"]
    assert [document.text for document in read(text, per_document=2)[0]] == ["a\nb", "c"]
    assert [document.text for document in read(text, whole=True)[0]] == ["a\nb\nc"]


def test_nested_columns_are_counted() -> None:
    text = "Bank\tB-ORG\nof\tI-ORG\nUganda\tI-ORG\t\tB-LOC\nsays    O\n"
    found, report = read(text, nested=True)
    assert quotes(found[0]) == [("Bank of Uganda", "ORG")]
    assert report.counts["nested spans, left out"] == 1
    gap = "a\tB-X\tB-P\nb\tI-X\t\tI-P\n"
    assert read(gap, nested=True)[1].counts["nested spans, left out"] == 2
    with pytest.raises(DocumentError, match=r"line 3: has 4 columns where line 1 has 2.*--from wnut"):
        read(text)


def test_bad_lines_are_told_at_once_with_their_numbers() -> None:
    raw = b"a O\nb B_PER\nc\n\xff O\nd O\n"
    with pytest.raises(DocumentError) as caught:
        list(Columns("bad.conll", "entity").read(io.BytesIO(raw)))
    assert str(caught.value).startswith("bad.conll: 3 problems")
    assert [problem.split(":")[0] for problem in caught.value.problems] == ["line 2", "line 3", "line 4"]


def test_repairs_on_reading_are_counted() -> None:
    found, report = read("\ufeffa b\tB-x\nc\tI-x\n\u00a0\tO\n\nd\tI-y\ne\tB-y\nf\tB-x\n", per_document=0)
    assert quotes(found[0]) == [("a b c", "x"), ("d", "y"), ("e", "y"), ("f", "x")]
    assert report.counts == {
        "tokens with white space inside": 1,
        "rows with a blank token, left out": 1,
        "files tagged in IOB2": 1,
        "spans begun by I- in an IOB2 file, taken as begun": 1,
    }


def test_what_columns_cannot_say_is_counted() -> None:
    document = Document(
        id="a",
        text="Kabul  fell.\r\nIt did.",
        target="t",
        labels={
            "entity": (Span(start=0, end=6, label="LOC", score=0.5), Span(start=12, end=14, label="X")),
            "stance": (Span(start=0, end=12, label="s"), Span(start=14, end=21, label="s")),
        },
    )
    text, report = written(document)
    assert text == "-DOCSTART-\tO\n\nKabul\tB-LOC\nfell\tO\n.\tO\n\nIt\tO\ndid\tO\n.\tO\n\n"
    assert report.counts == {
        "labels of layer 'stance'": 2,
        "ids (numbered anew on reading)": 1,
        "targets": 1,
        "spans of nothing but white space": 1,
        "edges of spans that are white space": 1,
        "probabilities of spans, not written": 1,
        "texts whose white space changes": 1,
    }


def test_no_sentence_ends_inside_a_span() -> None:
    text = "He met Mr. Smith.\nHe left."
    document = Document(id="a", text=text, labels={"entity": (Span(start=11, end=20, label="X"),)})
    assert len(tokenized(document, document.spans("entity"))) == 1
    assert len(tokenized(document, ())) == 2
    assert quotes(read(written(document)[0])[0][0]) == [("Smith . He", "X")]


def test_pieces_hold_what_breaks_naive_readers() -> None:
    assert {"-DOCSTART-", "\r\n", "\u2028", "\x85", "\ufeff", "😀"} <= set(PIECES)


SETS = {
    "conll2003/eng.train": 946,
    "conll2003/eng.testa": 216,
    "conll2003/eng.testb": 231,
    "conll2003/conllpp_test.txt": 231,
    "crossner-politics/train.txt": 200,
    "crossner-politics/dev.txt": 541,
    "crossner-politics/test.txt": 651,
    "wnut17/wnut17train.conll": 3394,
    "wnut17/emerging.dev.conll": 1009,
    "wnut17/emerging.test.annotated": 1287,
    "worldwide-newswire.tar.xz": 981,
    "gmb/ner_dataset.csv.zip": 7994,
}


def plain_rows(path: Path) -> Iterator[tuple[str, str]]:
    """(token, tag) of each row, ("", "O") after a sentence, read the shortest way there is."""
    if path.suffix == ".zip":
        with zipfile.ZipFile(path) as archive:
            for number, word, _, tag in csv.reader(io.StringIO(archive.read("ner_dataset.csv").decode("latin-1"))):
                yield from [("", "O")] if number else []
                yield from [(word, tag)] if number != "Sentence #" else []
        return
    if path.suffix == ".xz":
        with tarfile.open(path) as archive:
            raw = "\n\n".join(archive.extractfile(member).read().decode() for member in archive)  # type: ignore[union-attr]
    else:
        raw = path.read_text("utf-8")
    for line in raw.split("\n"):
        cells = line.split("\t") if "\t" in line else line.split()
        if not line.strip() or cells[0] == "-DOCSTART-":
            yield "", "O"
        else:
            yield cells[0], cells[1 if path.suffix == ".xz" else -1]


@WANTED
@pytest.mark.parametrize("name", SETS)
def test_public_sets_hold_the_spans_that_seqeval_counts(name: str) -> None:
    from seqeval.metrics.sequence_labeling import get_entities

    path = Path(DATA or "") / "ner" / name
    rows = list(plain_rows(path))
    entities = get_entities([tag for _, tag in rows])
    found = list(Reading("entity").read(path, Format.AUTO))
    assert len(found) == SETS[name]
    spans = [quote for document in found for quote in quotes(document)]
    assert Counter(label for _, label in spans) == Counter(label for label, _, _ in entities)
    wanted = ["".join("".join(token for token, _ in rows[a : b + 1]).split()) for _, a, b in entities]
    assert ["".join(text.split()) for text, _ in spans] == wanted
    assert len({document.id for document in found}) == len(found)
