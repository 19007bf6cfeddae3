"""What converters share: the report, flat spans, what is carried aside, the chosen layer, derived schemas, new folders."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest
from conftest import ROOT
from hypothesis import given
from hypothesis import strategies as st

from annotations.document import Document, FrozenDict, Label, Labels, Span, claim
from annotations.errors import ConfigError, DocumentError, SchemaError
from annotations.formats.conversion import (
    ConversionReport,
    Found,
    carried,
    derived_schema,
    flat,
    replacing_folder,
    restored,
    span_layer,
    write_schema,
)
from annotations.schema import Schema
from annotations.sentences import sentences

SCHEMA = Schema.load(ROOT / "configs" / "schema.yaml")
PIECES = [
    "The Taliban",
    " ",
    ". ",
    "\r\n",
    "\n",
    "\n\n",
    "al-Qaida-linked",
    "😀",
    "👩\u200d🚒",
    "\u200b",
    "\ufeff",
    "\u200f",
    "שלום עולם",
    "e\u0301",
    "\t",
    "\u00a0",
    "\u2028",
    "\x85",
    "\x00",
    "-DOCSTART-",
    "O",
    "U.S.",
    "कखि",
    "x;y",
]
TEXTS = st.text(max_size=60) | st.lists(st.sampled_from(PIECES), max_size=25).map("".join)
LABELS = [*SCHEMA.layers["entity"].names]


def trimmed(text: str, start: int, end: int) -> tuple[int, int] | None:
    """A stretch without the white space at its edges."""
    piece = text[start:end]
    left = start + len(piece) - len(piece.lstrip())
    return (left, left + len(piece.strip())) if piece.strip() else None


@st.composite
def documents(draw: st.DrawFn, edges: bool = True) -> Document:
    """Any text with any flat spans (of visible edges alone if asked), stance, document label, target, group, source."""
    text = draw(TEXTS)
    cuts = sorted(draw(st.sets(st.integers(0, len(text)), max_size=12)))
    places = [place for place in pairwise(cuts) if draw(st.booleans())]
    if not edges:
        places = [better for place in places if (better := trimmed(text, *place))]
    spans = tuple(Span(start=a, end=b, label=draw(st.sampled_from(LABELS))) for a, b in places)
    labels: dict[str, Labels] = {"entity": spans} if draw(st.booleans()) or spans else {}
    target = claim(draw(st.none() | st.text(max_size=9)))
    if target is not None and (bounds := sentences(text)):
        names = st.sampled_from(SCHEMA.layers["stance"].names)
        labels["stance"] = tuple(Span(start=a, end=b, label=draw(names)) for a, b in bounds)
        labels["document"] = Label(label=draw(names))
    source = draw(st.sampled_from([{}, {"file": "a\tb.txt", "kept": [1, [2]], "note": None}]))
    return Document(
        id=draw(st.text(min_size=1, max_size=9) | st.sampled_from(["..", "a/b", "x" * 300, "ü" * 90])),
        text=text,
        target=target,
        group=draw(st.none() | st.text(min_size=1, max_size=5)),
        labels=labels,
        source=FrozenDict(source),
    )


@given(documents())
def test_what_is_carried_restores_the_document(document: Document) -> None:
    values = carried(document, "entity")
    assert "text" not in values
    assert restored(document.text, document.spans("entity"), values, layer="entity", where="x") == document


def test_spans_added_to_an_unannotated_document_annotate_it() -> None:
    values = carried(Document(id="a", text="Kabul"), "entity")
    assert restored("Kabul", (), values, layer="entity", where="x").labels == {}
    assert restored("Kabul", [Span(start=0, end=5, label="L")], values, layer="entity", where="x").spans("entity")


@pytest.mark.parametrize("values", [{}, {"id": "a", "labels": []}, {"id": "a", "colour": 1}, {"id": 3}])
def test_what_was_not_carried_by_us_is_refused_by_place(values: dict[str, object]) -> None:
    with pytest.raises(DocumentError, match="line 7"):
        restored("text", (), values, layer="entity", where="line 7")


def test_of_overlapping_spans_the_outer_one_stays_and_the_others_are_counted() -> None:
    report = ConversionReport()
    given_spans = [
        Found(4, 9, "B", "line 2"),
        Found(0, 9, "A", "line 1"),
        Found(0, 9, "A", "line 3"),
        Found(9, 10, "C"),
    ]
    assert [span.label for span in flat(given_spans, "file", report)] == ["A", "C"]
    assert report.counts == {"nested or overlapping spans, the outer one kept": 1, "spans given twice, kept once": 1}
    assert "1 × nested or overlapping spans, the outer one kept; first: line 2" in str(report)
    with pytest.raises(DocumentError, match="empty or backward"):
        flat([Found(3, 3, "A")], "file", report)


def test_the_layer_is_the_only_one_of_spans_or_the_one_named() -> None:
    assert span_layer(SCHEMA, None) == "entity"
    spans = {"kind": "spans", "labels": {"A": {}}}
    two = Schema.build({"layers": {"a": spans, "b": spans}}, where="test")
    assert span_layer(two, "b") == "b"
    for schema, name in ((two, None), (two, "c"), (SCHEMA, "stance")):
        with pytest.raises(SchemaError, match="--layer"):
            span_layer(schema, name)


def test_a_derived_schema_loads_again(tmp_path: Path) -> None:
    schema = derived_schema(["PER", "on", "creative-work", "中", "a: b"], "name", "test")
    write_schema(schema, tmp_path / "s.yaml", "Labels.")
    assert Schema.load(tmp_path / "s.yaml") == schema
    assert (tmp_path / "s.yaml").read_text("utf-8").startswith("# Labels.\n# Costs nothing.\n# Run: standpoint schema ")
    with pytest.raises(ConfigError, match="labels"):
        derived_schema([], "name", "test")


def test_a_folder_takes_its_place_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "out"
    with pytest.raises(DocumentError, match="cannot be written"), replacing_folder(path) as folder:
        (folder / "below" / "a").write_text("x")
    assert not path.exists()
    with replacing_folder(path) as folder:
        (folder / "a").write_text("x")
    assert [item.name for item in path.iterdir()] == ["a"]
    with pytest.raises(DocumentError, match="not an empty folder"), replacing_folder(path):
        pass
    assert [item.name for item in path.parent.iterdir()] == ["out"]
