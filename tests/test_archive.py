"""Archive jobs: every document once and in order, whatever the files hold, however they are cut and packed."""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
import os
import re
import shutil
import sys
import tracemalloc
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import zstandard
from archives import Here, archive, errors, files, from_rows, lines, run, some
from conftest import ROOT
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import parquet as pq

from annotations.document import Document, Label, Span
from annotations.errors import CheckpointError, ConfigError, JobError
from annotations.schema import Schema
from annotations.storage import read_jsonl
from inference.archive import duplicates, progress, records
from inference.archive.documents import UnfitError, document
from inference.archive.job import tag_archive
from inference.archive.parquet import ParquetWriter, columns, ids
from inference.archive.ray_cluster import cluster
from inference.archive.records import Cursor, Record
from inference.archive.settings import Settings
from inference.archive.shards import shards
from inference.archive.sources import Shape, Source, source, sources, survey
from inference.archive.tagging import ShardTagger
from inference.tagger import Tagger

LONGEST = 1000
PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "": lambda data: data,
    ".gz": lambda data: gzip.compress(data, mtime=0),
    ".xz": lzma.compress,
    ".bz2": bz2.compress,
    ".zst": zstandard.ZstdCompressor().compress,
}


@pytest.fixture
def job(tmp_path: Path, model: Path) -> Settings:
    """A job over an archive of 23 documents and two bad ones, in shards of 4."""
    return Settings(archive(tmp_path / "in"), tmp_path / "out", model, form="jsonl", shard_size=4)


def tagged(output: Path) -> list[Document]:
    return [one for path in sorted(output.glob("part-*.jsonl")) for one in read_jsonl(path)]


def test_the_shards_hold_what_the_tagger_says_of_them(job: Settings, tagger: Tagger) -> None:
    summary, _ = run(job)
    assert (summary.shards, summary.documents, summary.bad, summary.repeated_ids) == (7, 23, 2, 0)
    assert [one.id for one in tagged(job.output)] == [f"d-{n}" for n in range(23)]
    for path in sorted(job.output.glob("part-*.jsonl")):
        found = list(read_jsonl(path))
        assert found == list(tagger.tag(one.with_labels({}) for one in found))
    assert [(e["file"], e["line"], e["id"]) for e in errors(job.output)] == [
        ("b.jsonl", 1, None),
        ("b.jsonl", 27, "empty"),
    ]


def test_parquet_and_lines_say_the_same(job: Settings, schema: Schema) -> None:
    run(job)
    summary, _ = run(job, form="auto", text=True, output=job.output.with_name("rows"))
    table = pa.concat_tables(pq.read_table(path) for path in sorted((job.output.with_name("rows")).glob("*.parquet")))
    assert from_rows(table.to_pylist()) == tagged(job.output)
    assert summary.documents == table.num_rows
    assert table.column_names == ["id", "target", "group", "text", *schema.layers]
    assert table.schema.metadata[b"standpoint.offsets"] == b"half-open, in Unicode code points"
    run(job, form="parquet", output=job.output.with_name("bare"))
    assert "text" not in pq.read_schema(job.output.with_name("bare") / "part-000000.parquet").names
    assert list(ids(job.output.with_name("bare") / "part-000000.parquet")) == ["d-0", "d-1", "d-2", "d-3"]


def test_a_job_again_gives_the_same_bytes_and_a_finished_one_does_nothing(job: Settings) -> None:
    for form in ("jsonl", "parquet"):
        one, other = (replace(job, form=form, output=job.output.with_name(f"{form}-{n}")) for n in range(2))
        first, _ = run(one)
        run(other)
        assert files(one.output) == files(other.output)
        stamps = {path: path.stat().st_mtime_ns for path in one.output.rglob("*")}
        assert run(one) == (first, [])
        assert stamps == {path: path.stat().st_mtime_ns for path in one.output.rglob("*")}


def test_only_shards_that_are_missing_are_done_again(job: Settings) -> None:
    run(job)
    whole = files(job.output)
    for name in ("part-000000.jsonl", "part-000005.jsonl", "summary.json"):
        (job.output / name).unlink()
    (job.output / ".part-000005.jsonl.7-abcd.part").write_text("half")
    (job.output / "errors" / ".part-000005.jsonl.7-abcd.part").write_text("half")
    stamp = (job.output / "part-000001.jsonl").stat().st_mtime_ns
    _, said = run(job)
    assert files(job.output) == whole
    assert (job.output / "part-000001.jsonl").stat().st_mtime_ns == stamp
    assert f"going on: {len(list(job.output.glob('part-*'))) - 2} shards are finished" in said


def test_a_shard_that_is_removed_from_a_finished_job_is_done_again(
    job: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    for form in ("jsonl", "parquet"):
        one = replace(job, form=form, output=job.output.with_name(form))
        summary, _ = run(one)
        whole = files(one.output)
        (one.output / f"part-000003.{form}").unlink()
        with monkeypatch.context() as patched:
            patched.setattr(ShardTagger, "perform", lambda *_: failed())
            with pytest.raises(JobError, match="no luck"):
                run(one)
        assert not (one.output / "summary.json").exists()
        again, said = run(one)
        assert again == summary and "going on: 6 shards are finished" in said
        assert files(one.output) == whole


def failed() -> Any:
    raise JobError("no luck")


def test_every_kind_of_file_is_read(tmp_path: Path, model: Path) -> None:
    place = tmp_path / "in"
    (place / "deep").mkdir(parents=True)
    documents = some(12)
    for number, (suffix, pack) in enumerate(PACKERS.items()):
        lines = "".join(one.to_json() + "\n" for one in documents[2 * number : 2 * number + 2])
        (place / f"{number}.jsonl{suffix}").write_bytes(pack(lines.encode()))
        (place / "deep" / f"t{number}.txt{suffix}").write_bytes(pack(f"Text {number} of Kabul.\r\n".encode()))
    rows = [{"id": one.id, "text": one.text, "target": one.target, "other": 1} for one in documents[10:]]
    pq.write_table(pa.Table.from_pylist(rows), place / "9.parquet")
    (place / "notes.pdf").write_bytes(b"%PDF")
    (place / ".hidden.jsonl").write_text("{")
    summary, said = run(Settings(place, tmp_path / "out", model, form="jsonl", shard_size=5))
    assert summary.bad == 0
    found = tagged(tmp_path / "out")
    assert [one.id for one in found[:12]] == [one.id for one in documents]
    assert [one.text for one in found[:12]] == [one.text for one in documents]
    assert [one.id for one in found[12:]] == [f"deep/t{number}.txt{suffix}" for number, suffix in enumerate(PACKERS)]
    assert {one.text for one in found[12:]} == {f"Text {number} of Kabul.\r\n" for number in range(5)}
    assert "files that are not read: 1 .pdf" in said


def test_a_single_file_is_an_archive(tmp_path: Path, model: Path) -> None:
    for name, content in (("a.txt", "Kabul."), ("b.jsonl", Document(id="b", text="Kabul.").to_json())):
        (tmp_path / name).write_text(content)
        summary, _ = run(Settings(tmp_path / name, tmp_path / f"{name}.out", model, form="jsonl"))
        assert summary.documents == 1
        assert tagged(tmp_path / f"{name}.out")[0].text == "Kabul."


def nest(depth: int) -> bytes:
    return b'{"a": ' * depth + b"1" + b"}" * depth


BAD: dict[str, tuple[bytes, str]] = {
    "broken": (b'{"id": "x", "text": ', "is not JSON"),
    "a list": (b'["x"]', "is list, not an object"),
    "no text": (b'{"id": "x"}', "text: is required"),
    "no text but a number": (b'{"id": "x", "text": 3}', "text: "),
    "null": (b'{"id": "x", "text": null}', "text: "),
    "empty id": (b'{"id": "", "text": "a"}', "id: "),
    "id is a list": (b'{"id": [1], "text": "a"}', "id: "),
    "target is a number": (b'{"id": "x", "text": "a", "target": 3}', "target: "),
    "half a character": (b'{"id": "x", "text": "a\\ud800b"}', "lone surrogate"),
    "half a character as id": (b'{"id": "\\udfff", "text": "a"}', "lone surrogate"),
    "half a character in the source": (b'{"id": "x", "text": "a", "source": {"\\udfff": 1}}', "lone surrogate"),
    "half a character as target": (b'{"id": "x", "text": "a", "target": "\\ud800"}', "lone surrogate"),
    "not UTF-8": (b'{"id": "x", "text": "\xff"}', "is not UTF-8"),
    "not a number": (b'{"id": "x", "text": "a", "source": {"score": NaN}}', "NaN is no JSON"),
    "deep": (b'{"id": "x", "text": ' + b"[" * 100_000, "is not JSON"),
    "long": (json.dumps({"id": "x", "text": "a" * 1001}).encode(), "1,001 characters, at most 1,000"),
    "very long": (b'{"id": "x", "text": "' + b"a" * 3_000_000 + b'"}', "more than 1,000 characters"),
    "long target": (json.dumps({"id": "x", "text": "a", "target": "word " * 150}).encode(), "target has"),
    "source too deep to write": (b'{"id": "x", "text": "a", "source": ' + nest(300) + b"}", "field 'source' is nested"),
    "source too deep to freeze": (
        b'{"id": "x", "text": "a", "source": ' + nest(700) + b"}",
        "field 'source' is nested",
    ),
    "long number": (b'{"id": ' + b"1" * 5000 + b', "text": "a"}', "is not JSON"),
}


@pytest.mark.parametrize("together", [True, False])
def test_a_bad_document_is_told_and_the_others_are_tagged(tmp_path: Path, model: Path, together: bool) -> None:
    place = tmp_path / "in"
    place.mkdir()
    good = b'{"id": 17, "text": "Kabul.\\u0000", "labels": {"old": []}, "title": "t"}'
    every = b"".join(line + b"\n" + good + b"\n" for line, _ in BAD.values())
    (place / "x.jsonl").write_bytes(b"\xef\xbb\xbf" + good + b"\r\n" + every)
    (place / "y.txt").write_bytes(b"\xff\xfe")
    (place / "z.txt").write_text("a" * 5000)
    (place / "za.jsonl.gz").write_bytes(gzip.compress(good + b"\n" + good)[:-9])
    (place / "zb.parquet").write_bytes(b"PAR1 nonsense")
    pq.write_table(pa.table({"title": ["a", "b"]}), place / "zc.parquet")
    (place / "zd.jsonl").symlink_to("nowhere")
    size = 1000 if together else 3
    summary, said = run(Settings(place, tmp_path / "out", model, form="jsonl", shard_size=size, max_characters=1000))
    found = errors(tmp_path / "out")
    assert summary.bad == len(found) == len(BAD) + 6
    for number, ((_, reason), error) in enumerate(zip(BAD.values(), found, strict=False)):
        assert reason in error["reason"], (reason, error)
        assert (error["file"], error["line"]) == ("x.jsonl", 2 + 2 * number)
    rest = [(error["file"], error["id"]) for error in found[len(BAD) :]]
    assert rest[:2] == [("y.txt", "y.txt"), ("z.txt", "z.txt")]
    reasons = [error["reason"] for error in found[len(BAD) :]]
    parts = (
        "UTF-8",
        "more than 1,000",
        "broken or cut short",
        "is broken",
        "no column 'text'; it has title",
        "cannot be read",
    )
    assert all(part in reason for part, reason in zip(parts, reasons, strict=True)), reasons
    tags = tagged_twice(tmp_path / "out")
    assert {one["id"] for one in tags} == {"17"}
    assert summary.documents == len(tags) >= len(BAD) + 1
    assert summary.repeated_ids == 1
    assert "fields that are not read: title" in said


def tagged_twice(output: Path) -> list[dict[str, Any]]:
    """Documents as plain values: ids may be repeated."""
    return [line for path in sorted(output.glob("part-*.jsonl")) for line in lines(path)]


def test_what_the_tagger_alone_refuses_is_told_too(job: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    real = Tagger.encode

    def refusing(self: Tagger, documents: list[Document]) -> Any:
        from annotations.errors import DocumentError

        if any("Report 6." in one.text for one in documents):
            raise DocumentError("text", "is one that nobody foresaw")
        return real(self, documents)

    monkeypatch.setattr(Tagger, "encode", refusing)
    summary, _ = run(job)
    assert (summary.documents, summary.bad) == (22, 3)
    assert errors(job.output)[0] == {"file": "a.jsonl", "line": 7, "id": "d-6", "reason": "is one that nobody foresaw"}


def test_ids_may_be_repeated_and_that_is_told(tmp_path: Path, model: Path) -> None:
    names = ["b", "a", "c", "a", "b", "a", 'é\n"', 'é\n"']
    write = "".join(json.dumps({"id": name, "text": "Kabul."}) + "\n" for name in names)
    (tmp_path / "in.jsonl").write_text(write)
    for form in ("jsonl", "parquet"):
        output = tmp_path / form
        summary, _ = run(Settings(tmp_path / "in.jsonl", output, model, form=form, shard_size=3))
        assert (summary.documents, summary.repeated_ids) == (8, 3)
        assert "3 ids occur more than once" in str(summary)
        found = [(line["id"], line["documents"]) for line in lines(output / "duplicates.jsonl")]
        assert found == [("b", 2), ("a", 3), ('é\n"', 2)]


@given(names=st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=2), max_size=50))
def test_repeated_ids_are_counted_as_a_dictionary_would(names: list[str], tmp_path: Path) -> None:
    found = duplicates.repeated(lambda: names, len(names), tmp_path)
    expected = {name: names.count(name) for name in dict.fromkeys(names) if names.count(name) > 1}
    assert found == (len(names), len(expected), expected)
    assert list(found.named) == list(expected)


def test_repeated_ids_take_little_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(duplicates, "BUCKET", 1000)
    tracemalloc.start()
    found = duplicates.repeated(lambda: (f"id-{n % 60_000}" for n in range(80_000)), 80_000, tmp_path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert found[:2] == (80_000, 20_000)
    assert len(found.named) == duplicates.NAMED
    assert set(found.named.values()) == {2}
    assert peak < 4_000_000


def test_a_text_with_several_targets_is_tagged_for_each(job: Settings) -> None:
    summary, _ = run(job, targets=("A.", "B."))
    with_own = sum(one.target is not None for one in some(23))
    assert summary.documents == with_own + 2 * (23 - with_own)
    assert [(one.id, one.target) for one in tagged(job.output)][:2] == [("d-0#1", "A."), ("d-0#2", "B.")]


def test_records_of_other_people_are_read(tmp_path: Path, model: Path) -> None:
    line = {"text": "Kabul.", "source": "Reuters", "group": 7, "target": " "}
    (tmp_path / "in.jsonl").write_text(json.dumps(line))
    summary, said = run(Settings(tmp_path / "in.jsonl", tmp_path / "out", model, form="jsonl", targets=("It is so.",)))
    assert summary.bad == 0 and "fields that are not read: source" in said
    assert [(one.group, one.target) for one in tagged(tmp_path / "out")] == [("7", "It is so.")]


def test_a_folder_that_cannot_be_read_is_named(job: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    locked, listed = job.input / "locked", Path.iterdir
    locked.mkdir()
    monkeypatch.setattr(Path, "iterdir", lambda path: denied() if path == locked else listed(path))
    with pytest.raises(ConfigError, match=r"locked.*cannot be read \(Permission denied\)"):
        run(replace(job, output=tmp_path / "out"))
    locked.rmdir()


def denied() -> Iterator[Path]:
    raise PermissionError(13, "Permission denied")


def test_records_without_id_are_called_by_their_line(tmp_path: Path, model: Path) -> None:
    (tmp_path / "in.jsonl").write_text('\n{"text": "a"}\n{"id": null, "text": "b"}\n')
    run(Settings(tmp_path / "in.jsonl", tmp_path / "out", model, form="jsonl"))
    assert [one.id for one in tagged(tmp_path / "out")] == ["in.jsonl:2", "in.jsonl:3"]


def test_a_name_that_is_not_utf_8_is_told_of_records_without_id(tmp_path: Path, model: Path) -> None:
    (tmp_path / "in").mkdir()
    for name, content in ((b"x\xff.jsonl", '{"text": "a"}\n{"id": "b", "text": "b"}'), (b"y\xff.txt", "c")):
        (tmp_path / "in" / os.fsdecode(name)).write_text(content)
    summary, _ = run(Settings(tmp_path / "in", tmp_path / "out", model, form="jsonl"))
    assert (summary.documents, summary.bad) == (1, 2)
    assert [one.id for one in tagged(tmp_path / "out")] == ["b"]
    assert all("the file's name is not UTF-8; rename it" in error["reason"] for error in errors(tmp_path / "out"))


@pytest.mark.parametrize("form", ["jsonl", "parquet"])
def test_nothing_to_tag_gives_one_empty_shard(tmp_path: Path, model: Path, form: str, schema: Schema) -> None:
    (tmp_path / "in.jsonl").write_text("\n \n")
    summary, _ = run(Settings(tmp_path / "in.jsonl", tmp_path / "out", model, form=form))
    assert (summary.shards, summary.documents, summary.bad) == (1, 0, 0)
    part = tmp_path / "out" / f"part-000000.{form}"
    assert part.exists()
    if form == "parquet":
        assert pq.read_table(part).num_rows == 0
        assert set(schema.layers) < set(pq.read_schema(part).names)


def test_inputs_and_outputs_that_make_no_job_are_refused(job: Settings, tmp_path: Path) -> None:
    (tmp_path / "none").mkdir()
    (tmp_path / "some").mkdir()
    (tmp_path / "some" / "thesis.txt").write_text("mine")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "manifest.json").write_text('{"kind": "else"}')
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"input": tmp_path / "nowhere"}, "does not exist"),
        ({"input": tmp_path / "none"}, "holds no file that is read"),
        ({"output": job.input}, "must lie outside"),
        ({"output": job.input / "out"}, "must lie outside"),
        ({"output": job.input.parent}, "must lie outside"),
        ({"output": job.input / "a.jsonl", "input": job.input / "b.jsonl"}, "is no folder"),
        ({"output": tmp_path / "some"}, "holds something else .thesis.txt."),
        ({"output": tmp_path / "other"}, "is of something else"),
        ({"form": "labelstudio"}, "an archive has no 'labelstudio'"),
        ({"engine": "steam"}, "there is none"),
        (
            {"targets": ("A.", "word " * 150)},
            r"--target: 'word .*target has \d+ tokens, at most \d+ are read; shorten it",
        ),
        ({"targets": ("A.", os.fsdecode(b"caf\xe9"))}, r"--target: 'caf\\udce9' is not UTF-8; give it in UTF-8"),
    ]
    for changes, message in wrong:
        with pytest.raises(ConfigError, match=message):
            run(job, **changes)
    with pytest.raises(CheckpointError):
        run(job, model=tmp_path / "none")
    assert not list(tmp_path.rglob("part-*")) and not files(job.output)
    assert (tmp_path / "some" / "thesis.txt").read_text() == "mine"


def test_a_folder_belongs_to_one_job(job: Settings, tmp_path: Path, model: Path) -> None:
    run(job)
    whole = files(job.output)
    other = tmp_path / "other"
    shutil.copytree(model, other)
    (other / "config.json").write_text((other / "config.json").read_text() + "\n")
    exported = tmp_path / "exported"
    shutil.copytree(model, exported)
    (exported / "engines" / "torch").mkdir(parents=True)
    (exported / "engines" / "torch" / "engine.json").write_text('{"files": {"graph": "a hash"}}')
    changes: list[tuple[dict[str, Any], str]] = [
        ({"model": other}, "model is another"),
        ({"model": exported}, "the engine's files were made anew"),
        ({"engine": "torch-bf16"}, r'--engine is another one \("torch" then, "torch-bf16" now\)'),
        ({"threads": 2}, r"--threads is another number \(1 then, 2 now\)"),
        ({"targets": ("A.",)}, "--target"),
        (
            {"form": "parquet", "shard_size": 5},
            r"--format is another one (.|\n)*--shard-size is another(.|\n)*choose another --output",
        ),
        ({"text": True}, "--text"),
        ({"max_characters": 7}, "--max-characters"),
        ({"input": job.input / "a.jsonl"}, "input's files are others"),
    ]
    for change, message in changes:
        with pytest.raises(ConfigError, match=message):
            run(job, **change)
    with (job.input / "a.jsonl").open("a") as file:
        file.write("\n")
    with pytest.raises(ConfigError, match="input's files are others, or have changed"):
        run(job)
    assert files(job.output) == whole


def test_what_is_not_installed_is_named(job: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for package in ("pyarrow", "zstandard", "ray"):
        monkeypatch.setitem(sys.modules, package, None)
    (tmp_path / "x.parquet").touch()
    (tmp_path / "x.jsonl.zst").touch()
    with pytest.raises(ConfigError, match=r"pyarrow; pip install '\.\[archives\]'"):
        run(job, form="parquet")
    for name, package in (("x.parquet", "pyarrow"), ("x.jsonl.zst", "zstandard")):
        with pytest.raises(ConfigError, match=rf"needs {package} to be read; pip install '\.\[archives\]'"):
            run(job, input=tmp_path / name, form="jsonl")
    with pytest.raises(ConfigError, match=r"needs the package ray; pip install '\.\[ray\]'"):
        tag_archive(job, cluster("local", 1), lambda _: None)
    run(job, form="auto")
    assert (job.output / "part-000000.jsonl").exists()


def test_a_model_that_is_replaced_meanwhile_is_told(job: Settings) -> None:
    with pytest.raises(JobError, match="is no longer the model that the job began with"):
        Here(replace(job, version="another"))
    for name in ("shard_size", "threads", "max_characters"):
        with pytest.raises(ConfigError, match=f"{name} must be at least 1"):
            replace(job, **{name: 0})


def test_progress_tells_how_far_it_is_and_how_long_it_will_take(job: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "EVERY", 0)
    _, said = run(job)
    assert said[0] == "loading the tagger" and said[1] == "engine: torch"
    shares = [float(line.partition("%")[0]) for line in said[2:]]
    assert shares == sorted(shares) and shares[-1] == 100
    assert len(shares) == 8
    assert re.fullmatch(r"[\d.]+% · 4 documents, [\d.]+/s · about \d:\d\d:\d\d left", said[2]), said[2]
    assert re.fullmatch(r"100.0% · 23 documents, [\d.]+/s, 2 bad", said[-1]), said[-1]


@pytest.mark.parametrize(("count", "suffix"), [(1, ""), (4, ""), (4, ".gz")])
def test_progress_ends_at_the_end_where_the_last_shard_is_full(
    tmp_path: Path, model: Path, count: int, suffix: str
) -> None:
    content = "".join(one.to_json() + "\n" for one in some(count)).encode()
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / f"a.jsonl{suffix}").write_bytes(PACKERS[suffix](content))
    (tmp_path / "in" / "b.jsonl").write_text("\n\n")
    for place, size in ((tmp_path / "in", 1), (tmp_path / "in" / f"a.jsonl{suffix}", count)):
        output = tmp_path / f"out-{place.name}"
        _, said = run(Settings(place, output, model, form="jsonl", shard_size=size))
        assert re.fullmatch(rf"100.0% · {count} documents, [\d.]+/s", said[-1]), said[-1]


def test_shards_of_a_file_take_all_its_bytes(tmp_path: Path) -> None:
    (tmp_path / "x.jsonl").write_text("".join(f'{{"text": "{"a" * n}"}}\n\n' for n in range(6)))
    pq.write_table(pa.table({"text": ["a"] * 6}), tmp_path / "x.parquet")
    for path in (tmp_path / "x.jsonl", tmp_path / "x.parquet"):
        sizes = [shard.size for shard in shards(path, 2, LONGEST)]
        assert len(sizes) == 3 and min(sizes) > 0 and sum(sizes) == path.stat().st_size


def test_the_benchmarks_paragraphs_are_always_the_same(schema: Schema) -> None:
    sys.path.insert(0, str(ROOT / "benchmarks"))
    from archive_kill import paragraphs

    one, other = (list(paragraphs(20, ROOT / "annotations" / "gold.json", schema)) for _ in range(2))
    assert one == other
    assert len({document.text for document in one}) == 20
    assert all(document.target for document in one)


def test_two_jobs_do_not_write_one_folder(job: Settings) -> None:
    from inference.archive.writing import held

    with held(job.output), pytest.raises(ConfigError, match="another job is writing here"):
        run(job)
    run(job)


@pytest.mark.parametrize(("name", "number"), [("b.jsonl", 2), ("a.jsonl", 5)])
def test_an_input_that_changes_meanwhile_is_told(
    job: Settings, monkeypatch: pytest.MonkeyPatch, name: str, number: int
) -> None:
    """Shortened where it is yet to be read, and lengthened where all was read."""
    real = ShardTagger.perform

    def changing(self: ShardTagger, shard: Any) -> Any:
        if shard.number == number:
            grown = (job.input / name).read_text() if name == "a.jsonl" else ""
            (job.input / name).write_text(grown + some(1)[0].to_json())
        return real(self, shard)

    monkeypatch.setattr(ShardTagger, "perform", changing)
    with pytest.raises(JobError, match=r"has changed while it was read|have changed while they were read"):
        run(job)
    assert not (job.output / "summary.json").exists()


def test_ids_that_share_a_hash_are_not_taken_for_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(duplicates, "_hash", len)
    assert duplicates.repeated(lambda: ["aa", "bb", "c", "aa", "d"], 5, tmp_path).named == {"aa": 2}


def test_a_layer_called_like_a_column_is_refused(schema: Schema) -> None:
    values = schema.model_dump(mode="json")
    values["layers"]["group"] = values["layers"].pop("entity")
    with pytest.raises(ConfigError, match="layer 'group' is called like a column; use --format jsonl"):
        columns(Schema.model_validate(values), text=False)


TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)


@st.composite
def labelled(draw: st.DrawFn) -> Document:
    text = draw(TEXT)
    cuts = sorted(draw(st.sets(st.integers(0, len(text)), max_size=6)))
    spans = [
        Span(start=start, end=end, label=draw(st.sampled_from(["PERSON", "LOCATION"])), score=draw(st.floats(0, 1)))
        for start, end in zip(cuts[::2], cuts[1::2], strict=False)
    ]
    labels: dict[str, Any] = {"entity": tuple(spans)} if draw(st.booleans()) else {}
    if draw(st.booleans()):
        labels["document"] = Label(label=draw(TEXT.filter(bool)), score=draw(st.none() | st.floats(0, 1)))
    identity = draw(TEXT.filter(bool))
    return Document(id=identity, text=text, target=draw(st.none() | TEXT), group=draw(st.none() | TEXT), labels=labels)


@given(documents=st.lists(labelled(), max_size=8))
def test_parquet_gives_back_what_it_was_given(documents: list[Document], tmp_path: Path, schema: Schema) -> None:
    with (tmp_path / "x.parquet").open("wb") as file, ParquetWriter(file, schema, text=True, about={}) as writer:
        for one in documents:
            writer.add(one)
    assert from_rows(pq.read_table(tmp_path / "x.parquet").to_pylist()) == documents
    assert list(ids(tmp_path / "x.parquet")) == [one.id for one in documents]
    place = Source("x.parquet", tmp_path / "x.parquet", Shape.ROWS, 1)
    found = [document(record, place.name, 99, set()) for record in reading(place, 3)]
    assert found == [one.with_labels({}) for one in documents]


def reading(place: Source, size: int) -> list[Record]:
    """All records of a source, in the pieces that shards of a size make of it."""
    cursor = Cursor(LONGEST)
    pieces = [piece for shard in shards(place.path, size, LONGEST) for piece in shard.pieces]
    return [record for piece in pieces for record in cursor.read(place, piece)]


@settings(max_examples=40)
@given(
    parts=st.lists(st.binary(max_size=12).filter(lambda part: b"\n" not in part), max_size=12),
    size=st.integers(1, 5),
    chunk=st.integers(1, 40),
    suffix=st.sampled_from(sorted(PACKERS)),
    order=st.randoms(use_true_random=False),
)
def test_however_lines_are_cut_each_is_read_once(
    parts: list[bytes], size: int, chunk: int, suffix: str, order: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(records, "CHUNK", chunk)
    path = tmp_path / f"x.jsonl{suffix}"
    path.write_bytes(PACKERS[suffix](b"\n".join(parts)))
    blank = b" \t\r\n\v\f\xef\xbb\xbf"
    expected = [(number, part) for number, part in enumerate(parts, 1) if part.strip(blank)]
    place = source(path, path.name)
    assert [(record.line, record.value) for record in reading(place, size)] == expected
    pieces = [piece for shard in shards(path, size, LONGEST) for piece in shard.pieces]
    order.shuffle(pieces)
    cursor = Cursor(LONGEST)
    found = [(record.line, record.value) for piece in pieces for record in cursor.read(place, piece)]
    assert sorted(found) == expected


def test_rows_are_read_from_the_group_they_are_in(tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    table = pa.table({"text": [f"t{n}" for n in range(50)], "id": list(range(50))})
    pq.write_table(table, path, row_group_size=7)
    for size in (1, 6, 7, 20):
        assert [record.value["text"] for record in reading(source(path, path.name), size)] == table["text"].to_pylist()
    assert document(reading(source(path, path.name), 9)[8], "x", 9, set()).id == "8"


def test_shards_that_are_dealt_out_are_read_once_by_all_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each of ten workers has every tenth shard, and reads little else."""
    read: list[int] = []
    content, row = records._content, records.parquet._row
    monkeypatch.setattr(records, "CHUNK", 256)
    monkeypatch.setattr(records, "_content", lambda *given: counting(content(*given), read))
    monkeypatch.setattr(records.parquet, "_row", lambda *given: (read.append(1), row(*given))[1])
    lines = "".join(json.dumps({"text": f"Kabul {number}. " * 9}) + "\n" for number in range(4000))
    (tmp_path / "x.jsonl").write_text(lines)
    pq.write_table(pa.table({"text": [f"t{n}" for n in range(4000)]}), tmp_path / "x.parquet", row_group_size=80)
    for name, once in (("x.jsonl", len(lines)), ("x.parquet", 4000)):
        place = source(tmp_path / name, name)
        dealt = [shard.pieces for shard in shards(place.path, 40, LONGEST)]
        read.clear()
        for worker in range(10):
            cursor = Cursor(LONGEST)
            found = [len(list(cursor.read(place, piece))) for pieces in dealt[worker::10] for piece in pieces]
            assert found == [40] * 10
        assert once <= sum(read) < 2 * once


def counting(chunks: Iterator[bytes], read: list[int]) -> Iterator[bytes]:
    for chunk in chunks:
        read.append(len(chunk))
        yield chunk


def test_columns_that_are_not_read_are_told_once(tmp_path: Path, model: Path) -> None:
    (tmp_path / "in").mkdir()
    columns = {
        "text": ["Kabul."] * 5,
        "Target": ["A."] * 5,
        "text.old": ["B."] * 5,
        "source": ["VOA"] * 5,
        "labels": [1] * 5,
    }
    for name in ("a", "b"):
        pq.write_table(pa.table(columns), tmp_path / "in" / f"{name}.parquet")
    summary, said = run(Settings(tmp_path / "in", tmp_path / "out", model, form="jsonl", shard_size=2))
    assert (summary.documents, summary.bad) == (10, 0)
    assert [line for line in said if "not read" in line] == ["fields that are not read: Target, source, text.old"]


@pytest.mark.parametrize("column", ["text", "target"])
def test_columns_of_one_name_are_told(tmp_path: Path, model: Path, column: str) -> None:
    table = pa.table([pa.array(["a", "b"])] * 3, names=["text", "target", column])
    pq.write_table(table, tmp_path / "x.parquet")
    summary, _ = run(Settings(tmp_path / "x.parquet", tmp_path / "out", model, form="jsonl"))
    assert (summary.documents, summary.bad) == (0, 1)
    assert f"the file has several columns {column!r}; rename all but one" in errors(tmp_path / "out")[0]["reason"]


def test_rows_of_a_broken_group_are_told_one_by_one(tmp_path: Path, model: Path) -> None:
    path = tmp_path / "x.parquet"
    pq.write_table(pa.table({"text": [f"Kabul {n}." for n in range(30)]}), path, row_group_size=10, compression="none")
    raw = bytearray(path.read_bytes())
    begin = pq.ParquetFile(path).metadata.row_group(1).column(0).dictionary_page_offset
    raw[begin : begin + 60] = b"\xff" * 60
    path.write_bytes(raw)
    summary, _ = run(Settings(path, tmp_path / "out", model, form="jsonl", shard_size=7))
    assert (summary.documents, summary.bad) == (20, 10)
    assert [error["line"] for error in errors(tmp_path / "out")] == list(range(11, 21))
    assert [one.id for one in tagged(tmp_path / "out")][9:11] == ["x.parquet:10", "x.parquet:21"]


def test_bytes_in_a_row_that_are_no_utf_8_are_told(tmp_path: Path) -> None:
    raw = pa.array([b"good", b"\xff", b"fine"], pa.binary()).view(pa.string())
    pq.write_table(pa.table({"text": raw}), tmp_path / "x.parquet")
    found = reading(source(tmp_path / "x.parquet", "x.parquet"), 2)
    assert [record.problem is None for record in found] == [True, False, True]
    with pytest.raises(UnfitError, match="is not UTF-8"):
        document(found[1], "x.parquet", 99, set())


def test_memory_does_not_grow_with_the_input(tmp_path: Path) -> None:
    def peak(count: int) -> int:
        path = tmp_path / f"{count}.jsonl"
        with path.open("w") as file:
            for number in range(count):
                file.write(json.dumps({"id": str(number), "text": "x" * 300}) + "\n")
            file.write("y" * 300 * count)
        place = source(path, path.name)
        cursor = Cursor(LONGEST)
        tracemalloc.start()
        for shard in shards(path, 50, LONGEST):
            for piece in shard.pieces:
                for _ in cursor.read(place, piece):
                    pass
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return found

    peak(100)
    assert peak(20_000) < 1.5 * peak(5_000) + 100_000


def test_files_come_in_the_order_of_their_names_whatever_the_disk_says(tmp_path: Path) -> None:
    for name in ("b/z.txt", "b/a.txt", "a.txt", "c.txt", "B.txt", "ä.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name)
    (tmp_path / "b" / "loop").symlink_to(tmp_path)
    assert [one.name for one in sources(tmp_path)] == ["B.txt", "a.txt", "b/a.txt", "b/z.txt", "c.txt", "ä.txt"]
    before = survey(tmp_path)
    os.utime(tmp_path / "a.txt", (1, 1))
    assert survey(tmp_path) == before
    (tmp_path / "a.txt").write_text("b.txt")
    assert survey(tmp_path).fingerprint != before.fingerprint
