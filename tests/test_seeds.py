"""The five raw articles and their records: bytes, lines and targets fit; a record that does not fit is refused."""

from __future__ import annotations

import hashlib
import os
import shutil
from pathlib import Path

import pytest
from conftest import ROOT

from annotations.document import Document
from annotations.errors import ConfigError, DocumentError, InputError
from annotations.seeds import Record, documents

RECORDS = sorted((ROOT / "seeds").glob("*.yaml"))
STEM = "000_18060048750d6545"


@pytest.fixture
def record(tmp_path: Path) -> Path:
    """A copy of one record beside its raw article."""
    for suffix in (".yaml", ".txt"):
        shutil.copy(ROOT / "seeds" / (STEM + suffix), tmp_path)
    return tmp_path / f"{STEM}.yaml"


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text("utf-8")
    assert old in text
    path.write_text(text.replace(old, new), "utf-8")


def refusal(path: Path, kind: type[InputError] = DocumentError) -> InputError:
    with pytest.raises(kind) as caught:
        list(documents(path))
    return caught.value


def test_every_raw_article_has_a_record() -> None:
    assert len(RECORDS) == 5
    assert [path.with_suffix(".txt") for path in RECORDS] == sorted((ROOT / "seeds").glob("*.txt"))


@pytest.mark.parametrize("path", RECORDS, ids=lambda path: path.stem)
def test_a_record_fits_its_article(path: Path) -> None:
    record, found = Record.load(path), list(documents(path))
    raw = (path.parent / record.file).read_bytes()
    assert record.file == f"{path.stem}.txt"
    assert hashlib.sha256(raw).hexdigest() == record.sha256
    lines = raw.decode("utf-8").split("\n")
    dropped = [item.line for item in record.boilerplate]
    assert dropped == sorted(set(dropped)) and all(lines[number - 1].strip() for number in dropped)
    kept = found[0].source["lines"]
    assert not set(kept) & set(dropped)
    assert {number for number, line in enumerate(lines, 1) if line.strip()} == {*kept, *dropped}
    assert found[0].text == "\n\n".join(lines[number - 1] for number in kept)
    assert record.title in found[0].text.split("\n")


@pytest.mark.parametrize("path", RECORDS, ids=lambda path: path.stem)
def test_a_record_makes_a_document_for_each_of_two_targets(path: Path) -> None:
    first, second = found = list(documents(path))
    assert [document.id for document in found] == [f"{path.stem}-1", f"{path.stem}-2"]
    assert [document.target for document in found] == list(Record.load(path).targets)
    assert first.target != second.target
    assert (first.text, first.group, first.source) == (second.text, second.group, second.source)
    assert first.fold == path.stem and not first.labels
    assert Document.from_json(first.to_json(), where=path) == first


def test_shifted_line_numbers_are_all_told(record: Path) -> None:
    edit(record, "line: 3,", "line: 4,")
    edit(record, "line: 37,", "line: 99,")
    edit(record, 'title: "Uyghur rebels', 'title: "Uighur rebels')
    problems = refusal(record).problems
    assert len(problems) == 3
    assert "boilerplate line 4 should begin 'The Kashmir Walla needs', but reads ''" in problems[0]
    assert "boilerplate line 99" in problems[1] and "Uighur rebels" in problems[2]


def test_a_changed_raw_file_is_refused(record: Path) -> None:
    raw = record.with_suffix(".txt")
    raw.write_bytes(raw.read_bytes().replace(b"\n", b"\r\n"))
    assert "sha256" in str(refusal(record)) and "restore the file" in str(refusal(record))
    assert str(raw) in str(refusal(record))


def test_a_missing_raw_file_is_named(record: Path) -> None:
    record.with_suffix(".txt").unlink()
    assert "put it beside its record" in str(refusal(record))


def test_a_raw_file_that_is_not_utf8_is_named(record: Path) -> None:
    raw = record.with_suffix(".txt")
    known = Record.load(record).sha256
    raw.write_bytes(b"caf\xe9")
    edit(record, known, hashlib.sha256(b"caf\xe9").hexdigest())
    assert "is not UTF-8" in str(refusal(record))


def test_a_record_whose_name_is_not_utf8_is_told(record: Path) -> None:
    renamed = record.rename(os.fsdecode(os.fsencode(record.parent) + b"/caf\xe9.yaml"))
    assert "its name is not UTF-8; rename it" in str(refusal(renamed))


def test_a_record_that_is_not_well_formed_tells_everything(record: Path) -> None:
    edit(record, "publisher:", "pubisher:")
    edit(record, "why: plan chooser", "why: ''")
    edit(record, "{line: 3,", "{line: 0,")
    told = str(refusal(record, ConfigError))
    for expected in ("did you mean 'publisher'", "publisher: is required", "boilerplate.3.why", "boilerplate.0.line"):
        assert expected in told


def test_a_missing_record_is_named(tmp_path: Path) -> None:
    assert "check the path" in str(refusal(tmp_path / "none.yaml", ConfigError))
