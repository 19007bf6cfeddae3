"""The schema file: what it may declare, what it finds wrong in documents, and the guidelines' tables made from it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT

from annotations.document import Document, Label, Span
from annotations.errors import ConfigError, DocumentError, SchemaError
from annotations.guidelines import renew, table, with_tables
from annotations.labelstudio.shapes import labelling_config
from annotations.schema import Kind, Layer, Schema

GUIDELINES = ROOT / "annotations" / "guidelines.md"


def build(**layers: Any) -> Schema:
    return Schema.build({"layers": layers}, where="here")


def layer(kind: str, *labels: str, **rest: Any) -> dict[str, Any]:
    return {"kind": kind, "labels": {label: {} for label in labels}, **rest}


def test_the_default_schema(schema: Schema) -> None:
    kinds = {name: layer.kind for name, layer in schema.layers.items()}
    assert kinds == {"entity": Kind.SPANS, "stance": Kind.SENTENCES, "document": Kind.DOCUMENT}
    assert schema.targeted and list(schema.of_kind(Kind.SPANS)) == ["entity"]
    assert len(schema.layers["entity"].names) == 9
    assert (schema.layers["stance"].kind, schema.layers["stance"].targeted) == ("sentences", True)
    assert schema.layers["stance"].names == ["supports", "denies", "neutral"]
    for each in schema.layers.values():
        assert len({spec.color for spec in each.labels.values()}) == len(each.labels)
        assert all(spec.marks and spec.hotkey for spec in each.labels.values())


@pytest.mark.parametrize(
    ("layers", "told"),
    [
        ({"a": layer("span", "A")}, "layers.a.kind: Input should be 'spans', 'sentences' or 'document', found 'span'"),
        ({"text": layer("spans", "A")}, "layer 'text': the name is taken"),
        ({"target": layer("spans", "A")}, "layer 'target': the name is taken"),
        ({"1a": layer("spans", "A")}, "found '1a'"),
        ({"a b": layer("spans", "A")}, "found 'a b'"),
        ({"a": layer("spans", "A", targeted=True)}, "layers.a: a layer of spans cannot be targeted"),
        ({"a": layer("sentences", "A")}, "layers.a: a layer of kind sentences needs at least two labels"),
        ({"a": layer("document", "A")}, "layers.a: a layer of kind document needs at least two labels"),
        ({"a": layer("spans")}, "layers.a.labels: "),
        ({"a": layer("spans", " A")}, "no space around"),
        ({"a": layer("spans", "A\nB")}, "needs visible characters"),
        ({"a": layer("spans", "A\ufffe")}, "holds U+FFFE"),
        ({"a": layer("spans", "A", description="\x1b")}, "holds U+001B"),
        ({"a": {"kind": "spans", "labels": {"A": {"color": "red"}}}}, "layers.a.labels.A.color: "),
        ({"a": {"kind": "spans", "labels": {"A": {"hotkey": "ab"}}}}, "layers.a.labels.A.hotkey: "),
        ({"a": {"kind": "spans", "labels": {"A": {"hotky": "a"}}}}, "unknown key; did you mean 'hotkey'?"),
        ({}, "layers: "),
    ],
)
def test_a_schema_that_cannot_be_is_refused(layers: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError) as caught:
        build(**layers)
    assert told in str(caught.value)


def test_every_clash_is_told_at_once() -> None:
    first = {"kind": "spans", "labels": {"A": {"hotkey": "q"}, "B": {"hotkey": "q"}}}
    second = {"kind": "sentences", "labels": {"A": {"hotkey": "q"}, "B": {"hotkey": "w"}}}
    with pytest.raises(ConfigError) as caught:
        build(text=first, target=second)
    for told in ("layer 'text'", "layer 'target'", "'q' is given to text.A and to text.B", "to text.A and to target.A"):
        assert told in str(caught.value)
    assert "'w'" not in str(caught.value)


def test_any_number_of_layers_of_any_kind() -> None:
    made = build(b=layer("spans", "ש", "A & <b>"), a=layer("spans", "A"), c=layer("document", "x", "y", targeted=True))
    assert list(made.layers) == ["b", "a", "c"]
    assert made.targeted and not build(a=layer("spans", "A")).targeted


def test_labels_without_a_colour_get_different_ones() -> None:
    made = Layer.model_validate({"kind": "spans", "labels": {"A": {}, "B": {"color": "#ABCDEF"}, "C": {}}})
    assert made.colors["B"] == "#ABCDEF" and len(set(made.colors.values())) == 3
    assert all(
        f'background="{color}"' in labelling_config(Schema(layers={"names": made})) for color in made.colors.values()
    )


def test_every_problem_of_a_document_is_told(schema: Schema) -> None:
    spans = (
        Span(start=0, end=1, label="PERSOn"),
        Span(start=1, end=2, label="PERSOn"),
        Span(start=2, end=3, label="DATE"),
    )
    labels = {"entity": spans, "stance": Label(label="denies"), "document": Label(label="deny"), "entyti": ()}
    document = Document(id="x", text="abcdef", labels=labels)
    expected = [
        "label 'PERSOn' is not in layer 'entity'; did you mean 'PERSON'?",
        "layer 'stance' is of kind sentences: give a list of spans",
        "label 'deny' is not in layer 'document'; did you mean 'denies'?",
        "layer 'document' is annotated towards a target, and the document has none; set `target`",
        "layer 'entyti' is not in the schema; did you mean 'entity'?",
    ]
    assert list(schema.problems(document)) == expected
    with pytest.raises(SchemaError) as caught:
        schema.check(document)
    assert caught.value.problems == tuple(expected)
    assert list(schema.problems(Document(id="x", text="a", labels={"document": ()}))) == [
        "layer 'document' is of kind document: give one label"
    ]


def test_what_is_allowed_has_no_problems(schema: Schema) -> None:
    schema.check(Document(id="x", text="abc", labels={"entity": (), "stance": ()}))
    schema.check(Document(id="x", text="abc", target="A.", labels={"document": Label(label="denies")}))


def test_the_guidelines_tables_are_up_to_date(schema: Schema) -> None:
    text = GUIDELINES.read_text("utf-8")
    assert with_tables(text, schema) == text
    for each in schema.layers.values():
        assert table(each) in text
        assert all(f"| {label} |" in text for label in each.labels)


def test_a_blocks_layer_must_exist_and_every_layer_needs_one(schema: Schema) -> None:
    text = "<!-- schema: entity -->\n<!-- end -->\n<!-- schema: stanze -->\n<!-- end -->\n"
    with pytest.raises(DocumentError) as caught:
        with_tables(text, schema)
    told = [problem.split("`")[0] for problem in caught.value.problems]
    assert told == ["no layer 'stanze' in the schema; remove its block", "add a block ", "add a block "]


def test_a_table_keeps_its_shape_whatever_the_words(tmp_path: Path) -> None:
    made = build(a={"kind": "spans", "labels": {"A|B": {"marks": "one | two\nthree"}}, "description": r"\1 \g<0>"})
    path = tmp_path / "a.md"
    path.write_text("before\n<!-- schema: a -->\nold\n<!-- end -->\nafter\n")
    renew(path, made)
    text = path.read_text()
    assert r"| A\|B | one \| two three |  |" in text and r"\1 \g<0>" in text and "old" not in text
    assert text.startswith("before\n") and text.endswith("after\n")
    assert with_tables(text, made) == text
