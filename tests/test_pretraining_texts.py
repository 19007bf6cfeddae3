"""Text to pretrain on: the same documents in every format and packing, and every broken file told where it breaks."""

from __future__ import annotations

import bz2
import gzip
import hashlib
import json
import lzma
import sys
import tempfile
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pyarrow
import pytest
import zstandard
from datasets import Dataset, DatasetDict, disable_progress_bars, enable_progress_bars
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import ipc, parquet

from annotations.errors import ConfigError, DocumentError
from training.pretraining import texts, unpacking
from training.pretraining.texts import Corpus, documents, sources

PACK: dict[str, Callable[[bytes], bytes]] = {
    "": lambda raw: raw,
    ".xz": lzma.compress,
    ".gz": gzip.compress,
    ".bz2": bz2.compress,
    ".zst": lambda raw: zstandard.ZstdCompressor().compress(raw),
}
LINES = "".join(chr(code) for code in range(0x110000) if len(f"a{chr(code)}b".splitlines()) > 1)
TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters=LINES + "\0\ufeff"), max_size=12)
PARAGRAPHS = TEXTS.map(str.strip).filter(bool)
DOCUMENTS = st.lists(st.lists(PARAGRAPHS, min_size=1, max_size=4), min_size=1, max_size=4)
Documents = list[list[str]]


def read(path: Path, seed: int = 0, **more: object) -> Documents:
    return list(documents(Corpus.build({"path": path, **more}, where="test"), seed))


def plain(found: Documents) -> bytes:
    return "\n\n".join("\n".join(document) for document in found).encode()


def json_lines(found: Documents) -> bytes:
    return "".join(json.dumps({"id": 1, "text": "\n".join(document)}) + "\n" for document in found).encode()


def write_columns(found: Documents, path: Path) -> None:
    rows = pyarrow.table({"n": range(len(found)), "text": ["\n".join(document) for document in found]})
    if path.suffix == ".parquet":
        parquet.write_table(rows, path, row_group_size=2)
        return
    create = ipc.new_file if path.name == "file.arrow" else ipc.new_stream
    with create(str(path), rows.schema) as out:
        out.write_table(rows, max_chunksize=2)


def save(found: Documents, path: Path, splits: tuple[str, ...] = ()) -> None:
    data = Dataset.from_dict({"text": ["\n".join(document) for document in found]})
    other = Dataset.from_dict({"text": ["Not to be read."]})
    disable_progress_bars()
    (DatasetDict({split: data if split != "test" else other for split in splits}) if splits else data).save_to_disk(
        path
    )
    enable_progress_bars()


@pytest.mark.parametrize("packing", PACK)
@pytest.mark.parametrize("name", ["a.txt", "a.md", "a", "a.jsonl", "a.ndjson"])
@settings(max_examples=12)
@given(found=DOCUMENTS, ending=st.sampled_from(["\n", "\r\n"]), chunk=st.sampled_from([1, 7, 1 << 16]))
def test_every_text_format_and_packing_gives_the_same(
    name: str, packing: str, found: Documents, ending: str, chunk: int
) -> None:
    raw = json_lines(found) if "json" in name else plain(found)
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(unpacking, "CHUNK", chunk)
        path = Path(folder) / (name + packing)
        path.write_bytes(PACK[packing](raw.replace(b"\n", ending.encode())))
        assert read(path) == found


@pytest.mark.parametrize("name", ["a.parquet", "stream.arrow", "file.arrow"])
@settings(max_examples=12)
@given(found=DOCUMENTS)
def test_columns_give_the_same(name: str, found: Documents) -> None:
    with tempfile.TemporaryDirectory() as folder:
        write_columns(found, Path(folder) / name)
        assert read(Path(folder) / name) == found
        assert read(Path(folder)) == found


def test_saved_datasets_give_the_same(tmp_path: Path) -> None:
    found = [[f"Document {number}.", "Text."] for number in range(600)]
    save(found, tmp_path / "single")
    save(found, tmp_path / "with-train", ("test", "train"))
    save(found, tmp_path / "without", ("one", "two"))
    assert read(tmp_path / "single") == found
    assert read(tmp_path / "with-train") == found
    assert read(tmp_path / "without") == found * 2
    assert read(tmp_path) == found * 4
    assert read(tmp_path / "**") == found * 4
    assert read(tmp_path / "single" / "*.arrow") == found


def test_what_is_no_text_is_removed_and_every_line_end_counts(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes("\ufeffOne\0.\r\n\ufeffTwo.\rThree.\u2028 Four.\n \t\r\n\0\nFive.".encode())
    assert read(tmp_path / "a.txt") == [["One.", "Two.", "Three.", "Four."], ["Five."]]
    rows = [r'{"text": "a\u0000\ud83d b\ud83d\ude00\r\n\n c "}', "", r'{"text": " \n"}', '{"text": "d"}']
    (tmp_path / "a.jsonl").write_bytes(b"\xef\xbb\xbf" + "\n".join(rows).encode())
    assert read(tmp_path / "a.jsonl") == [["a b😀", "c"], ["d"]]


def test_a_folder_is_read_in_order_without_hidden_files(tmp_path: Path) -> None:
    for name in ("b.txt", "a/z.txt", "a/a.jsonl", ".hidden.txt", ".git/c.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(json_lines([[name]]) if name.endswith("l") else name.encode())
    (tmp_path / "a" / "circle").symlink_to(tmp_path)
    assert read(tmp_path) == [["a/a.jsonl"], ["a/z.txt"], ["b.txt"]]
    assert read(tmp_path / "*.txt") == [["b.txt"]]
    assert read(tmp_path / "**" / "*.txt") == [["a/z.txt"], ["b.txt"]]
    (tmp_path / "a" / "circle").unlink()
    assert read(tmp_path / "**") == [["a/a.jsonl"], ["a/z.txt"], ["b.txt"]]
    (tmp_path / "[1].txt").write_text("A pattern's signs in a name.")
    assert read(tmp_path / "[1].txt") == [["A pattern's signs in a name."]]


def test_a_share_is_drawn_by_seed_alone(tmp_path: Path) -> None:
    found = [[str(number)] for number in range(4000)]
    (tmp_path / "a.txt").write_bytes(plain(found))
    half, fifth = read(tmp_path, share=0.5), read(tmp_path, share=0.2)
    assert len(half) == pytest.approx(2000, abs=150)
    assert len(fifth) == pytest.approx(800, abs=120)
    assert {document[0] for document in fifth} < {document[0] for document in half}
    assert half == read(tmp_path, share=0.5) != read(tmp_path, seed=1, share=0.5)
    # Drawn in another process, on another day.
    assert [int(document[0]) for document in half[:8]] == [1, 2, 4, 5, 6, 7, 10, 14]


def test_memory_stays_small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(texts, "LONGEST", 100)
    numbers = range(100_000)
    raw = "".join(f"{hashlib.md5(str(number).encode()).hexdigest()}, no blank line.\n" for number in numbers).encode()
    (tmp_path / "a.txt.zst").write_bytes(PACK[".zst"](raw))
    assert len(raw) > 4_000_000
    tracemalloc.start()
    lengths = [len(document) for document in documents(Corpus(path=tmp_path), 0)]
    assert tracemalloc.get_traced_memory()[1] < 1_500_000
    tracemalloc.stop()
    assert lengths == [100] * 1000


@pytest.mark.parametrize("packing", [".xz", ".gz", ".bz2", ".zst"])
def test_packed_data_that_break_never_end_silently(tmp_path: Path, packing: str) -> None:
    whole = PACK[packing](plain([[f"Paragraph {number * number}."] for number in range(1000)]))
    path = tmp_path / f"a.txt{packing}"
    for keep in (0, 1, 5, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:keep])
        with pytest.raises(
            DocumentError, match=r"a\.txt\S*: is broken or cut short after line \d+ \(.*; fetch or pack"
        ):
            read(path)
    path.write_bytes(whole + b"\0\0\0\0" + whole)
    assert len(read(path)) == 1999  # the last document of the first and the first of the second are one
    for tail in (b"rubbish", whole[:-1]):
        path.write_bytes(whole + tail)
        with pytest.raises(DocumentError, match="is broken or cut short after line"):
            read(path)


def test_zst_frames_to_skip_and_a_missing_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.txt.zst"
    path.write_bytes(b"\x50\x2a\x4d\x18\x03\0\0\0abc" + PACK[".zst"](b"Text."))
    assert read(path) == [["Text."]]
    monkeypatch.setitem(sys.modules, "zstandard", None)
    with pytest.raises(ConfigError, match=r"a\.txt\.zst: .*pip install '\.\[pretraining\]'"):
        read(path)


def test_what_came_before_the_break_was_given(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"One.\n\nTwo.\n\nThr\xffee.\n")
    stream = documents(Corpus(path=tmp_path / "a.txt"), 0)
    assert [next(stream), next(stream)] == [["One."], ["Two."]]
    with pytest.raises(DocumentError, match=r"a\.txt: line 5: is not UTF-8 .*byte 3 of the line.*convert it to UTF-8"):
        next(stream)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("[1]", r"line 2: is list, not an object; write one object a line"),
        ("{", r"line 2: is not JSON \(.*; write one object a line"),
        ("[" * 100_000, r"line 2: is not JSON"),
        ('{"txet": "a"}', r"line 2: has no field 'text'; set field: … \(did you mean 'txet'\?\)"),
        ('{"id": "a", "body": "b"}', r"line 2: has no field 'text'; set field: … \(known: body, id\)"),
        ('{"text": null}', r"line 2: 'text' holds NoneType, not text; name the field of the text \(field: …\)"),
    ],
)
def test_a_bad_line_is_named(tmp_path: Path, line: str, message: str) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": "Good."}\n' + line + "\n")
    with pytest.raises(DocumentError, match=r"a\.jsonl: " + message):
        read(tmp_path / "a.jsonl")


def test_a_bad_column_or_row_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    parquet.write_table(pyarrow.table({"txet": ["a"], "n": [1]}), path)
    with pytest.raises(ConfigError, match=r"the columns 'txet', 'n', not 'text'; set field: … \(did you mean 'txet'"):
        read(path)
    assert read(path, field="txet") == [["a"]]
    with pytest.raises(DocumentError, match="row 1: 'n' holds int, not text"):
        read(path, field="n")
    parquet.write_table(pyarrow.table({"text": ["a"] * 300 + [None]}), path)
    with pytest.raises(DocumentError, match="row 301: 'text' holds NoneType, not text"):
        read(path)
    save([["a"]], tmp_path / "saved")
    with pytest.raises(ConfigError, match="saved: has the columns 'text', not 'body'"):
        read(tmp_path / "saved", field="body")


@pytest.mark.parametrize("name", ["a.parquet", "stream.arrow", "file.arrow"])
def test_a_cut_column_file_is_told(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    write_columns([["Text " * 50]] * 20, path)
    whole = path.read_bytes()
    for keep in (0, 3, len(whole) // 2, len(whole) - 8, len(whole) - 1):
        path.write_bytes(whole[:keep])
        with pytest.raises(DocumentError, match=r"is broken or no dataset, after row 0 .*write it again"):
            read(path)


@pytest.mark.parametrize("module", ["datasets", "pyarrow"])
def test_a_missing_package_for_datasets_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: str) -> None:
    save([["a"]], tmp_path / "saved")
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ConfigError, match=r"saved: needs the package datasets; pip install '\.\[training\]'"):
        read(tmp_path / "saved")


def test_a_saved_dataset_without_its_data_is_told(tmp_path: Path) -> None:
    save([["a"]], tmp_path / "saved")
    next((tmp_path / "saved").glob("*.arrow")).unlink()
    with pytest.raises(DocumentError, match="saved: is broken or no dataset"):
        read(tmp_path / "saved")


def test_paths_that_lead_nowhere(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nowhere\.txt: does not exist; check `path`"):
        read(tmp_path / "nowhere.txt")
    with pytest.raises(ConfigError, match="no file matches the pattern; check `path`"):
        read(tmp_path / "*.txt")
    (tmp_path / "sub").mkdir()
    with pytest.raises(ConfigError, match="has no file below it"):
        read(tmp_path)
    (tmp_path / "sub" / "a.txt").write_text(" \n\n")
    with pytest.raises(ConfigError, match="holds no text; check `path` and `field`"):
        read(tmp_path)
    (tmp_path / "sub" / "broken.txt").symlink_to(tmp_path / "gone")
    with pytest.raises(DocumentError, match=r"broken\.txt: cannot be read \(No such file"):
        read(tmp_path)


def test_formats_that_are_not_read_are_all_named(tmp_path: Path) -> None:
    for name in ("a.json", "b.tar.gz", "c.csv", "d.parquet.zst", "good.txt"):
        (tmp_path / name).write_text("text")
    with pytest.raises(ConfigError) as caught:
        sources(Corpus(path=tmp_path))
    assert len(caught.value.problems) == 4
    assert "a.json: .json is not read; write JSON Lines (.jsonl), plain text" in str(caught.value)
    assert "d.parquet.zst: .parquet is not read when packed as .zst; unpack it" in str(caught.value)


def test_settings_out_of_range() -> None:
    with pytest.raises(ConfigError) as caught:
        Corpus.build({"path": "a", "share": 0, "passes": 0, "filed": "x"}, where="test")
    assert len(caught.value.problems) == 3
    assert "did you mean 'field'?" in str(caught.value)
