"""Files of documents: streamed, whole or not at all, every bad line named."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_documents import documents

from annotations.document import Document, Span
from annotations.errors import DocumentError
from annotations.schema import Schema
from annotations.storage import fingerprint, read_jsonl, replacing, write_jsonl

DOCUMENT = Document(
    id="x", text="abc def", labels={"entity": (Span(start=0, end=1, label="A"),)}, source={"a": [{"b": 1}]}
)


@given(made=st.lists(documents(), max_size=4, unique_by=lambda document: document.id))
def test_files_give_back_what_was_written(made: list[Document], tmp_path: Path) -> None:
    path = tmp_path / "new folder" / "a.jsonl"
    assert write_jsonl(path, made) == len(made)
    assert list(read_jsonl(path)) == made
    assert fingerprint(made) == fingerprint(reversed(made))


def test_every_bad_line_is_named(tmp_path: Path, schema: Schema) -> None:
    path = tmp_path / "a.jsonl"
    good = Document(id="x", text="abc", labels={"entity": ()})
    strange = Document(id="y", text="a", labels={"entyty": ()}).to_json()
    lines = [good.to_json(), "", '{"id": "z", "text": "é', "  ", good.to_json(), "[]", strange, '{"id": "", "text": 3}']
    path.write_bytes(
        "\r\n".join(lines).encode()
        + b'\n{"id": "l", "text": "\xe9"}\n'
        + b'{"id": "q", "text": "\\ud800"}\n{"id": "w", "text": "fine"}'
    )
    stream = read_jsonl(path, schema)
    assert next(stream) == good
    after: list[Document] = []
    with pytest.raises(DocumentError) as caught:
        after.extend(stream)
    assert after == []
    problems = caught.value.problems
    numbers = [problem.split(":")[0].split(",")[0] for problem in problems]
    assert numbers == [f"line {number}" for number in (3, 5, 6, 7, 8, 8, 9, 10)]
    assert "used twice" in problems[1] and "did you mean 'entity'?" in problems[3] and "is not UTF-8" in problems[6]
    assert str(path) in str(caught.value)


def test_lines_end_at_line_feeds_alone_and_a_byte_order_mark_is_no_text(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    text = "a\u2028b\u2029c\x85d\x0be\x1cf"
    path.write_bytes(f'\ufeff{{"id": "x", "text": "{text[:7]}"}}\r\n\n{{"id": "y", "text": "\\r\\n"}}'.encode())
    assert [document.text for document in read_jsonl(path)] == [text[:7], "\r\n"]


def test_reading_streams(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(DOCUMENT.to_json() + "\n" + "broken")
    assert next(read_jsonl(path)) == DOCUMENT


@pytest.mark.parametrize("name", ["none.jsonl", "."])
def test_what_cannot_be_read_is_named(name: str, tmp_path: Path) -> None:
    with pytest.raises(DocumentError, match="cannot be read"):
        list(read_jsonl(tmp_path / name))


def stop(path: Path) -> None:
    with replacing(path) as out:
        out.write("half")
        raise KeyboardInterrupt


def test_a_failure_while_writing_leaves_the_earlier_file(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    write_jsonl(path, [DOCUMENT])
    before = path.read_bytes()
    with pytest.raises(ZeroDivisionError):
        write_jsonl(path, (DOCUMENT.model_copy(update={"id": str(1 // (3 - number))}) for number in range(9)))
    with pytest.raises(KeyboardInterrupt):
        stop(path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_what_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("kept")
    (tmp_path / "folder").mkdir()
    for path in (tmp_path / "file" / "a.jsonl", tmp_path / "folder", tmp_path / ("x" * 300)):
        with pytest.raises(DocumentError, match="cannot be written"):
            write_jsonl(path, [DOCUMENT])
    assert (tmp_path / "file").read_text() == "kept"


def test_devices_and_links_stay_what_they_are(tmp_path: Path) -> None:
    write_jsonl("/dev/null", [DOCUMENT])
    assert Path("/dev/null").is_char_device()
    real, link = tmp_path / "real.jsonl", tmp_path / "link.jsonl"
    real.write_text("")
    link.symlink_to(real)
    write_jsonl(link, [DOCUMENT])
    assert link.is_symlink()
    assert list(read_jsonl(real)) == [DOCUMENT]
