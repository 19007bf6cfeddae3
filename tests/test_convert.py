"""`standpoint labels convert`: every pair of formats that keeps a document whole, the command, what it refuses."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from itertools import permutations
from pathlib import Path

import pytest
from conftest import ROOT, annotate
from hypothesis import given, settings
from hypothesis import strategies as st
from test_conversion import LABELS, SCHEMA, documents
from typer.testing import CliRunner

from annotations.document import Document, FrozenDict, Label, Span
from annotations.errors import DocumentError
from annotations.formats.conversion import ConversionReport
from annotations.schema import Layer, Schema
from annotations.storage import read_jsonl, write_jsonl
from training.cli import app
from training.formats.conversion import Reading, column_files, detect, write
from training.formats.names import Format

DATA = os.environ.get("STANDPOINT_DATA")
NAMES = {
    Format.DOCUMENTS: "x.jsonl",
    Format.LABELSTUDIO: "x.json",
    Format.BRAT: "brat",
    Format.DOCCANO: "doccano.jsonl",
    Format.SPACY: "x.spacy",
    Format.DATASETS: "data",
}
CONLL = "-DOCSTART- -X- O O\n\nEU NNP I-NP I-ORG\nrejects VBZ I-VP O\nGerman JJ I-NP I-MISC\n"


def run(*arguments: str | Path, status: int = 0) -> tuple[str, str]:
    """Standard output and standard error of `standpoint labels convert`."""
    result = CliRunner().invoke(app, ["labels", "convert", *map(str, arguments)])
    assert result.exit_code == status, (result.output, result.exception)
    return result.stdout, result.stderr


def through(found: list[Document], kind: Format, folder: Path) -> list[Document]:
    path = folder / NAMES[kind]
    report = ConversionReport()
    write(found, path, kind, "entity", LABELS, report)
    again = list(Reading("entity", SCHEMA).read(path, Format.AUTO))
    assert not [name for name in report.counts if "left out" in name or "cut off" in name]
    return sorted(map(same_source, again), key=lambda document: document.id)


def same_source(document: Document) -> Document:
    """Without the numbers that Label Studio's tasks and annotations bring along."""
    source = {key: value for key, value in document.source.items() if key not in ("task", "annotation")}
    return document.model_copy(update={"source": FrozenDict(source)})


@pytest.mark.parametrize("pair", list(permutations(NAMES, 2)), ids=" to ".join)
@settings(max_examples=6)
@given(found=st.lists(documents(edges=False), min_size=1, max_size=3, unique_by=lambda document: document.id))
def test_every_pair_keeps_documents_whole(pair: tuple[Format, Format], found: list[Document]) -> None:
    if Format.SPACY in pair:
        pytest.importorskip("spacy", reason="the extra `spacy` is not installed")
    found = sorted(found, key=lambda document: document.id)
    with tempfile.TemporaryDirectory() as folder:
        first = through(found, pair[0], Path(folder))
        assert first == found
        assert through(first, pair[1], Path(folder)) == found


GOLD = annotate(
    "gold/1",
    "😀 The Taliban met al-Qaida.\r\nKabul was calm.",
    [("Taliban", "MILITANT_GROUP"), ("al-Qaida", "MILITANT_GROUP"), ("Kabul", "LOCATION")],
    target="The Taliban is fighting alongside al-Qaida.",
    group="g",
)


@pytest.mark.parametrize("kind", list(NAMES)[1:])
def test_the_command_there_and_back(kind: Format, tmp_path: Path) -> None:
    if kind is Format.SPACY:
        pytest.importorskip("spacy", reason="the extra `spacy` is not installed")
    write_jsonl(tmp_path / "gold.jsonl", [GOLD])
    out, _ = run(tmp_path / "gold.jsonl", "--to", kind, "--output", tmp_path / NAMES[kind])
    assert out == f"{tmp_path / NAMES[kind]}: 1 documents, 3 spans in layer 'entity' (MILITANT_GROUP 2, LOCATION 1)\n"
    run(tmp_path / NAMES[kind], "--output", tmp_path / "again.jsonl")
    assert list(map(same_source, read_jsonl(tmp_path / "again.jsonl"))) == [GOLD]


def test_the_shipped_gold_goes_through_every_format_whole(tmp_path: Path) -> None:
    pytest.importorskip("spacy", reason="the extra `spacy` is not installed")
    read = Reading("entity", SCHEMA).read(ROOT / "annotations" / "gold.json", Format.AUTO)
    gold = sorted(map(same_source, read), key=lambda document: document.id)
    for kind in NAMES:
        assert through(gold, kind, tmp_path) == gold, kind
    report = ConversionReport()
    write(gold, tmp_path / "gold.conll", Format.CONLL, "entity", LABELS, report)
    again = list(Reading("entity").read(tmp_path / "gold.conll", Format.AUTO))
    assert [len(document.spans("entity")) for document in again] == [len(document.spans("entity")) for document in gold]
    stances = sum(len(document.spans("stance")) for document in gold)
    assert report.counts["labels of layer 'stance'"] == stances > 0


def test_a_schema_is_derived_from_the_labels_found_and_used(tmp_path: Path) -> None:
    (tmp_path / "eng.train").write_text(CONLL)
    schema = tmp_path / "conll.yaml"
    out, said = run(
        tmp_path / "eng.train", "--output", tmp_path / "x.jsonl", "--derive-schema", schema, "--layer", "name"
    )
    assert "1 documents, 2 spans in layer 'name' (ORG 1, MISC 1)" in out
    assert "2 × columns between token and tag, not read; first: eng.train" in said
    assert Schema.load(schema).layers["name"].names == ["ORG", "MISC"]
    run(tmp_path / "x.jsonl", "--schema", schema, "--to", "conll", "--output", tmp_path / "y.conll")
    assert (tmp_path / "y.conll").read_text() == "-DOCSTART-\tO\n\nEU\tB-ORG\nrejects\tO\nGerman\tB-MISC\n\n"
    assert "exists already" in run(tmp_path / "eng.train", "--output", "x", "--derive-schema", schema, status=2)[1]
    run(tmp_path / "eng.train", "--to", "wnut", "--schema", schema, "--output", tmp_path / "y.tsv")
    assert (tmp_path / "y.tsv").read_text() == "EU\tB-ORG\nrejects\tO\nGerman\tB-MISC\n\n"


def test_all_problems_of_all_inputs_at_once_and_the_earlier_output_stays(tmp_path: Path) -> None:
    (tmp_path / "a.conll").write_text(CONLL)
    (tmp_path / "b.conll").write_text("a O\nb\n")
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / "a.conll").write_text("x\tO\n\ny\tB-LOCATON\n")
    (tmp_path / "x.jsonl").write_text("earlier")
    inputs = (tmp_path / "a.conll", tmp_path / "b.conll", tmp_path / "c" / "a.conll", tmp_path / "none")
    said = run(*inputs, "--output", tmp_path / "x.jsonl", status=2)[1]
    for part in (
        "nothing is converted: 6 problems",
        "document 'a.conll-1': label 'ORG' is not in layer 'entity'",
        "b.conll: line 2: has 1 columns where line 1 has 2",
        "'a.conll-1' is used twice",
        "did you mean 'LOCATION'?; or derive a schema with --derive-schema",
        "none: does not exist",
    ):
        assert part in said, part
    assert (tmp_path / "x.jsonl").read_text() == "earlier"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["gold.jsonl", "--to", "gmb"], "cannot be written"),
        (["gold.jsonl", "--derive-schema", "new.yaml"], "give --schema, not --derive-schema"),
        (["gold.jsonl", "--layer", "stance"], "no layer of spans"),
        (["gold.jsonl", "--to", "brat", "--output", "."], "not an empty folder"),
        (["plain.txt"], "say --from with one of documents, labelstudio"),
        (["carried.jsonl", "--derive-schema", "new.yaml"], "which only a schema can declare"),
        (["bad.jsonl", "--derive-schema", "new.yaml"], "a label's name needs visible characters"),
        (["empty.conll", "--from", "conll", "--derive-schema", "new.yaml"], "at least 1 item"),
        (["broken.tar.xz"], "cannot be read"),
        (["gold.jsonl", "--choose", "majority"], "holds documents, where nobody is to be chosen"),
        (["gold.json", "--choose", "most"], "labels convert: choose: "),
        (["gold.json", "--user", "2"], "`user` is given with `choose: user`, and only then"),
    ],
)
def test_what_cannot_be_done_is_told_with_a_remedy(
    arguments: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_jsonl(tmp_path / "gold.jsonl", [GOLD])
    (tmp_path / "plain.txt").write_text("Kabul fell.\n")
    carried = {"text": "a", "label": [[0, 1, "X"]], "standpoint": {"id": "a", "labels": {"topic": {"label": "b"}}}}
    (tmp_path / "carried.jsonl").write_text(json.dumps(carried))
    (tmp_path / "bad.jsonl").write_text('{"text": "a", "label": [[0, 1, " X"]]}')
    (tmp_path / "empty.conll").write_text("")
    (tmp_path / "broken.tar.xz").write_bytes(b"\xfd7zXZ\x00\x00\x04")
    monkeypatch.chdir(tmp_path)
    output = [] if "--output" in arguments else ["--output", "out.jsonl"]
    schema = [] if "--derive-schema" in arguments else ["--schema", ROOT / "configs" / "schema.yaml"]
    said = run(*arguments, *output, *schema, status=2)[1]
    assert message in said
    assert not (tmp_path / "out.jsonl").exists()
    assert not (tmp_path / "new.yaml").exists()


def test_a_schema_is_given_or_derived(tmp_path: Path) -> None:
    (tmp_path / "eng.train").write_text(CONLL)
    both = ("--schema", "configs/schema.yaml", "--derive-schema", tmp_path / "new.yaml")
    said = run(tmp_path / "eng.train", "--output", tmp_path / "x.jsonl", *both, status=2)[1]
    assert "--derive-schema needs no --schema" in " ".join(said.replace("│", " ").split())
    assert not (tmp_path / "new.yaml").exists() and not (tmp_path / "x.jsonl").exists()


def test_an_export_of_several_annotators_is_converted_by_a_choice(tmp_path: Path) -> None:
    export, out = ROOT / "annotations" / "annotators.json", tmp_path / "x.jsonl"
    assert "--choose of `standpoint labels convert`" in run(export, "--output", out, status=2)[1]
    counts = {}
    for choice in (("user", "--user", 2), ("user", "--user", 3), ("majority",), ("adjudicated",)):
        said = run(export, "--output", out, "--choose", *choice)[1]
        documents = list(read_jsonl(out, SCHEMA))
        counts[choice[-1]] = (len(documents), sum(len(document.spans("stance")) for document in documents))
        assert ("labels undecided" in said) == (choice[0] != "user")
        assert ("tasks left out" in said) == (choice[0] == "adjudicated")
    assert counts[2][0] == counts[3][0] == counts["majority"][0] == 10
    assert counts["majority"][1] < counts[2][1] and counts["adjudicated"][0] < 10


def test_formats_are_told_by_name_and_first_line(tmp_path: Path) -> None:
    contents = {
        "a.jsonl": ('{"id": "a", "text": "a"}', Format.DOCUMENTS),
        "b.jsonl": ('\n{"text": "a", "label": []}', Format.DOCCANO),
        "c.jsonl": ('{"text": "a", "labels": []}', Format.DOCCANO),
        "d.jsonl": ("", Format.DOCUMENTS),
        "e.json": ("[]", Format.LABELSTUDIO),
        "f.tsv": ("", Format.WNUT),
        "eng.testa": (CONLL, Format.CONLL),
        "g.txt": ("\n\t\nWord\tB-x\n", Format.CONLL),
        "h.spacy": ("", Format.SPACY),
        "i.parquet": ("", Format.DATASETS),
        "j.ann": ("", Format.BRAT),
    }
    for name, (content, kind) in contents.items():
        (tmp_path / name).write_text(content)
        assert detect(tmp_path / name) is kind, name
    assert detect(tmp_path) is Format.BRAT


def test_archives_are_read_file_by_file_each_one_article(tmp_path: Path) -> None:
    for name, text in {"one.tsv": "a\tB-x\n\nb\tO\n", "two.tsv": "c\tO\tB-y\n"}.items():
        (tmp_path / name).write_text(text)
    with tarfile.open(tmp_path / "x.tar.xz", "w:xz") as tar, zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        for name in ("one.tsv", "two.tsv"):
            tar.add(tmp_path / name, f"set/{name}")
            archive.write(tmp_path / name, f"set/{name}")
    for name in ("x.tar.xz", "x.zip"):
        assert detect(tmp_path / name) is Format.WNUT
        found = list(Reading("entity").read(tmp_path / name, Format.AUTO))
        assert [(document.id, document.text, document.group) for document in found] == [
            ("set/one.tsv-1", "a\nb", "set/one.tsv"),
            ("set/two.tsv-1", "c", "set/two.tsv"),
        ]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        (b"caf\xe9.conll", CONLL),
        (b"caf\xe9.jsonl", '{"text": "a", "label": []}'),
        (b"caf\xe9.ann", ""),
        (b"brat/caf\xe9.ann", ""),
        (b"caf\xe9.tar", CONLL),
    ],
)
def test_a_name_that_is_not_utf8_is_told(name: bytes, content: str, tmp_path: Path) -> None:
    (tmp_path / "brat").mkdir()
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + name))
    path.write_text(content)
    if path.suffix == ".ann":
        path.with_suffix(".txt").write_text("Kabul")
    given = path.parent if path.parent.name == "brat" else path
    if path.suffix == ".tar":
        given = tmp_path / "x.tar"
        with tarfile.open(given, "w") as archive:
            archive.add(path, arcname=path.name)
    said = run(given, "--output", tmp_path / "x", "--derive-schema", tmp_path / "y", status=2)[1]
    assert "caf\\udce9" in said and "its name is not UTF-8; rename it" in said


def test_a_missing_file_of_columns_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DocumentError, match="cannot be read"):
        list(column_files(tmp_path / "none"))


def test_the_bank_of_meanings_is_read_from_its_zip(tmp_path: Path) -> None:
    rows = 'Sentence #,Word,POS,Tag\r\nSentence: 1,In,IN,O\r\n,"Washington, D.C.",NNP,B-geo\r\n,.,.,O\r\n'
    rows += "Sentence: 2,Iraq,NNP,B-gpe\r\n"
    with zipfile.ZipFile(tmp_path / "x.csv.zip", "w") as archive:
        archive.writestr("ner_dataset.csv", rows)
    found = list(Reading("name", per_document=1).read(tmp_path / "x.csv.zip", Format.AUTO))
    assert [document.text for document in found] == ["In Washington, D.C..", "Iraq"]
    assert found[0].spans("name") == (Span(start=3, end=19, label="geo"),)
    assert dict(found[1].source) == {"file": "x.csv.zip", "sentence": 2}


def bank(path: Path, rows: str) -> Path:
    """The Groningen Meaning Bank's archive with these rows."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("ner_dataset.csv", f"Sentence #,Word,POS,Tag\n{rows}")
    return path


def test_a_name_of_the_bank_of_meanings_ends_before_an_o(tmp_path: Path) -> None:
    rows = "Sentence: 1,Abu,NNP,B-per\n,Omar,NNP,I-per\n,met,VB,O\n,Omar,NNP,I-per\n,Ali,NNP,I-per\n"
    [found] = Reading("name").read(bank(tmp_path / "x.zip", rows), Format.GMB)
    assert [found.text[span.start : span.end] for span in found.spans("name")] == ["Abu Omar", "Omar Ali"]


@pytest.mark.parametrize(
    ("rows", "line", "what"),
    [
        ("Sentence: 1,Iran,NNP,B-geo\nSentence: 2,Iraq\n", 3, "the row lacks columns that the header names"),
        (f"Sentence: 1,{'a' * 200_000},NNP,O\n", 2, "field larger than field limit"),
    ],
)
def test_a_broken_row_of_the_bank_of_meanings_is_named(rows: str, line: int, what: str, tmp_path: Path) -> None:
    path = bank(tmp_path / "x.zip", rows)
    said = run(path, "--output", tmp_path / "o.jsonl", "--derive-schema", tmp_path / "s.yaml", status=2)[1]
    assert f"{path}: ner_dataset.csv: line {line}: {what}" in said
    assert not (tmp_path / "o.jsonl").exists()


@pytest.mark.parametrize("kind", [Format.AUTO, Format.CONLL, Format.GMB])
@pytest.mark.parametrize(
    ("flag", "method", "name", "what"),
    [
        (1, 0, b"ner_dataset.csv", "encrypted"),
        (0, 99, b"ner_dataset.csv", "compression"),
        (0x800, 0, b"ner_d\xfftaset.csv", "decode"),
    ],
)
def test_an_archive_that_cannot_be_unpacked_is_named(
    kind: Format, flag: int, method: int, name: bytes, what: str, tmp_path: Path
) -> None:
    path = bank(tmp_path / "x.zip", "Sentence: 1,Iran,NNP,B-geo\n")
    packed = bytearray(path.read_bytes().replace(b"ner_dataset.csv", name))
    # The flags and the method of compression in the file's own header, and in the table of contents.
    for place in (6, packed.find(b"PK\x01\x02") + 8):
        packed[place : place + 4] = flag.to_bytes(2, "little") + method.to_bytes(2, "little")
    path.write_bytes(packed)
    with pytest.raises(DocumentError, match=what) as refused:
        list(Reading("name").read(path, kind))
    assert str(path) in str(refused.value)


def test_a_category_of_doccano_becomes_the_schemas_document_label(tmp_path: Path) -> None:
    (tmp_path / "x.jsonl").write_text('{"id": 1, "text": "Kabul", "entities": [], "cats": ["news"]}')
    topic = Layer.build({"kind": "document", "labels": {"news": {}, "sport": {}}}, where="topic")
    # Beside `document`, which is towards a target and takes no category.
    schema = Schema(layers={**SCHEMA.layers, "topic": topic})
    found = list(Reading("entity", schema).read(tmp_path / "x.jsonl", Format.AUTO))
    assert dict(found[0].labels) == {"entity": (), "topic": Label(label="news")}


def test_a_category_is_left_out_and_counted_where_the_schemas_label_is_towards_a_target(tmp_path: Path) -> None:
    (tmp_path / "x.jsonl").write_text('{"id": 1, "text": "Kabul", "entities": [], "cats": ["neutral"]}')
    output = tmp_path / "out.jsonl"
    said = run(tmp_path / "x.jsonl", "--schema", ROOT / "configs" / "schema.yaml", "--output", output)
    assert "1 × categories of the whole text, left out" in "".join(said)
    assert dict(next(read_jsonl(output)).labels) == {"entity": ()}


def test_without_spacy_the_message_names_the_extra(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "gold.jsonl", [GOLD])
    code = "import sys\nsys.modules['spacy'] = None\nfrom training.cli import main\nmain()"
    arguments = ["labels", "convert", tmp_path / "gold.jsonl", "--to", "spacy", "--output", tmp_path / "x.spacy"]
    command = [sys.executable, "-c", code, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=600)
    assert done.returncode == 2
    assert "pip install '.[spacy]'" in done.stderr


@pytest.mark.skipif(not DATA, reason="STANDPOINT_DATA names no folder with the public sets")
@pytest.mark.parametrize(("kind", "name"), [(Format.SPACY, "x.spacy"), (Format.DATASETS, "d"), (Format.BRAT, "b")])
def test_a_public_set_goes_through_the_command(kind: Format, name: str, tmp_path: Path) -> None:
    source = Path(DATA or "") / "ner" / "wnut17" / "emerging.dev.conll"
    out, _ = run(source, "--to", kind, "--output", tmp_path / name, "--derive-schema", tmp_path / "s.yaml")
    assert "1,009 documents, 836 spans" in out
    again, _ = run(tmp_path / name, "--schema", tmp_path / "s.yaml", "--to", "wnut", "--output", tmp_path / "x.tsv")
    assert "1,009 documents, 836 spans" in again
    wanted = [line.split("\t") for line in source.read_text("utf-8").split("\n") if line.strip()]
    found = [line.split("\t") for line in (tmp_path / "x.tsv").read_text("utf-8").split("\n") if line]
    if kind is not Format.BRAT:  # a folder's files have no order of their own
        assert found == wanted
    assert sorted(found) == sorted(wanted)
