"""The comparison of encoders: slices that stay apart, random weights that are random, runs that are kept, tables end to end."""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import ROOT
from safetensors.torch import load_file

from annotations.document import Document, Span
from annotations.errors import CheckpointError, ConfigError
from annotations.formats.conversion import ConversionReport
from inference import checkpoint
from inference.config import TaggerConfig
from training.formats.public_sets import SETS

sys.path.insert(0, str(ROOT / "benchmarks"))
import encoder_proxy
import encoder_runs
import encoder_scores
import public_slices
from encoder_runs import Encoder, Results, fine_tuned, save_table
from public_slices import PROXY, WHOLE, Split, take

DATA = os.environ.get("STANDPOINT_DATA")
WANTED = pytest.mark.skipif(not DATA, reason="STANDPOINT_DATA names no folder with the public sets")


def apart(split: Split) -> bool:
    both = [[*part] for part in (split.learned, split.scored)]
    return not {one.id for one in both[0]} & {one.id for one in both[1]} and not (
        {one.text for one in both[0]} & {one.text for one in both[1]}
    )


@pytest.mark.parametrize("name", PROXY)
def test_slices_are_apart_and_always_the_same(name: str, data: Path) -> None:
    split = PROXY[name](data)
    assert split.learned and split.scored
    assert apart(split)
    assert PROXY[name](data) == split
    assert all(split.layer in one.labels for one in (*split.learned, *split.scored))


@WANTED
@pytest.mark.parametrize(
    ("name", "learned", "scored"),
    [
        ("conll", 2500, 1500),
        ("wnut", 2000, 1009),
        ("politics", 200, 541),
        ("newswire", None, None),
        ("newsmtsc", None, None),
    ],
)
def test_real_slices_have_their_sizes_and_no_test_part(name: str, learned: int | None, scored: int | None) -> None:
    split = PROXY[name](Path(DATA or ""))
    assert apart(split)
    files = {one.source["file"] for one in (*split.learned, *split.scored)}
    assert not files & {"eng.testb", "conllpp_test.txt", "test.txt", "emerging.test.annotated"}
    for part, lines in ((split.learned, learned), (split.scored, scored)):
        if lines:
            assert lines <= sum(one.text.count("\n") + 1 for one in part) < lines + 100
    if name == "newswire":
        assert (len(split.learned), len(split.scored)) == (40, 40)
    if name == "newsmtsc":
        assert (len(split.learned), len(split.scored)) == (2000, 1055)
        shipped = SETS["newsmtsc"].documents(Path(DATA or ""), ConversionReport())
        assert not {one.text for one in split.scored} & {one.text for one in shipped}


def test_whole_parts_are_whole(data: Path) -> None:
    found = {name: read(data) for name, read in WHOLE.items()}
    assert {one.source["file"] for one in found["conll"].scored} == {"eng.testb"}
    assert {one.source["file"] for one in found["wnut"].scored} == {"emerging.test.annotated"}
    assert {one.source["file"] for one in found["politics"].scored} == {"test.txt"}
    assert len(found["wnut"].learned) == len(found["wnut"].scored) == 12
    assert found["conll"].size() == "4 documents, 12 lines / 4 documents, 12 lines"


def test_take_takes_whole_documents() -> None:
    documents = [Document(id=f"{number}", text="one\ntwo\nthree") for number in range(5)]
    assert [one.id for one in take(documents, 4)] == [one.id for one in take(documents, 6)] == ["0", "1"]
    assert take(documents, 100) == documents


def test_an_article_and_its_copy_are_never_both_there(data: Path) -> None:
    split = PROXY["newswire"](data)
    files = {one.source["file"] for one in (*split.learned, *split.scored)}
    assert not {"newswire/article_0.txt.tsv", "newswire/article_8.txt.tsv"} <= files
    assert len(split.learned) == len(split.scored) == 4


def test_posts_given_twice_are_left_out_and_told(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(data, tmp_path / "data")
    path = tmp_path / "data" / "ner" / "wnut17" / "wnut17train.conll"
    path.write_text(path.read_text() + path.read_text().split("\n\n")[0].replace("B-person", "O") + "\n")
    assert WHOLE["wnut"](tmp_path / "data").learned == WHOLE["wnut"](data).learned
    assert "given again with other labels" in capsys.readouterr().err


def weights(encoder: Encoder, seed: int) -> dict[str, torch.Tensor]:
    with encoder.folder(seed) as folder:
        return load_file(Path(folder) / "model.safetensors")


def test_random_weights_are_random_and_follow_the_seed(tiny: Path) -> None:
    given, encoder = Encoder.parse(str(tiny)), Encoder.parse(f"random:{tiny}")
    assert encoder.name == f"random:{tiny}" and given.name == str(tiny)
    own, first, again, other = (weights(*of) for of in ((given, 0), (encoder, 1), (encoder, 1), (encoder, 2)))
    assert {name: tensor.shape for name, tensor in own.items()} == {name: first[name].shape for name in first}
    matrices = [name for name, tensor in own.items() if tensor.ndim > 1]
    assert matrices
    for name in matrices:
        assert torch.equal(first[name], again[name])
        assert not torch.equal(first[name], own[name])
        assert not torch.equal(first[name], other[name])
    with encoder.folder(0) as folder:
        assert (Path(folder) / "tokenizer.json").read_text() == (tiny / "tokenizer.json").read_text()


def test_contents_decide_what_is_the_same_encoder(tiny: Path, tmp_path: Path) -> None:
    shutil.copytree(tiny, tmp_path / "copy")
    copy = Encoder.parse(f"mine={tmp_path / 'copy'}")
    assert copy.name == "mine"
    assert copy.content == Encoder.parse(str(tiny)).content
    shape = Encoder.parse(f"random:{tmp_path / 'copy'}").content
    assert shape == Encoder.parse(f"random:{tiny}").content != copy.content
    (tmp_path / "copy" / "model.safetensors").write_bytes(b"other")
    assert copy.content != Encoder.parse(str(tiny)).content
    assert Encoder.parse(f"random:{tmp_path / 'copy'}").content == shape


def test_a_tagger_gives_its_encoder(tiny: Path, tmp_path: Path, config: TaggerConfig, data: Path) -> None:
    model, tokenizer = checkpoint.from_encoder(str(tiny), config, 0.1)
    checkpoint.save(tmp_path, model, tokenizer)
    row = encoder_runs.run(Encoder.parse(str(tmp_path)), PROXY["politics"](data), 0, {"epochs": 1})
    assert 0 <= row["score"] <= 1
    assert weights(Encoder.parse(f"random:{tmp_path}"), 0).keys() == load_file(tiny / "model.safetensors").keys()


def test_finished_runs_are_kept(tiny: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[Any] = []

    def run(encoder: Encoder, split: Split, seed: int, settings: dict[str, Any]) -> dict[str, Any]:
        if len(done) == 2:
            raise TimeoutError
        done.append((encoder.name, split.name, seed, settings["epochs"]))
        return {"score": 0.5, "seconds": 1.0}

    monkeypatch.setattr(encoder_runs, "run", run)
    results, encoder = Results(tmp_path), Encoder.parse(f"one={tiny}")
    conll, wnut = PROXY["conll"](data), PROXY["wnut"](data)
    first = fine_tuned(results, encoder, conll, 0, {"epochs": 1})
    fine_tuned(results, encoder, wnut, 0, {"epochs": 1})
    with pytest.raises(TimeoutError):
        fine_tuned(results, encoder, wnut, 1, {"epochs": 1})
    # Under another name it is still the same run.
    again = fine_tuned(Results(tmp_path), Encoder.parse(f"two={tiny}"), conll, 0, {"epochs": 1})
    assert again == {**first, "name": "two"}
    assert len(done) == len(list(tmp_path.iterdir())) == 2
    done.clear()
    for other in ({"seed": 1}, {"settings": {"epochs": 2}}):
        values = {"results": results, "encoder": encoder, "split": conll, "seed": 0, "settings": {"epochs": 1}}
        fine_tuned(**{**values, **other})
    assert done == [("one", "CoNLL-2003", 1, 1), ("one", "CoNLL-2003", 0, 2)]


def test_rows_of_a_saved_table_are_finished_runs(tmp_path: Path) -> None:
    made: list[str] = []

    def make() -> dict[str, Any]:
        made.append("run")
        return {"score": len(made)}

    row = {**Results(tmp_path / "runs", defaults="a").get({"seed": 0}, make), "name": "shown"}
    save_table(tmp_path / "table", title="T", command="c", told="", table="", rows=[row])
    later = Results(tmp_path / "elsewhere", tmp_path / "table", defaults="a")
    assert later.get({"seed": 0}, make) == row
    assert [later.get({"seed": 1}, make)["score"], len(made)] == [2, 2]
    assert Results(tmp_path / "elsewhere", tmp_path / "table", defaults="b").get({"seed": 0}, make)["score"] == 3


def test_what_is_learned_is_scored(tiny: Path, data: Path) -> None:
    """A set that repeats five names is learned, so a score of nothing would be a fault of the path."""
    learned = WHOLE["politics"](data).learned
    split = Split("own", learned, learned)
    row = encoder_runs.run(
        Encoder.parse(str(tiny)), split, 0, {"epochs": 40, "batch_tokens": 1024, "optimizer": {"lr": 3e-3}}
    )
    assert row["score"] > 0.5
    one_pass = row["tokens"] / 40
    assert sum(len(one.text.split()) for one in learned) < one_pass < sum(len(one.text) for one in learned)


def test_scores_are_strict(data: Path) -> None:
    """Against seqeval, strictly, on the tokens of the file."""
    from seqeval.metrics import f1_score
    from seqeval.scheme import IOB2

    split = PROXY["conll"](data)
    assert encoder_runs.score(split, split.scored) == 1.0
    shorter, gold, found = [], [], []
    for number, one in enumerate(split.scored):
        spans = list(one.spans("name"))
        longer = Span(start=spans[0].start, end=spans[0].end + 4, label=spans[0].label)
        other = spans[1].model_copy(update={"label": "PER" if spans[1].label == "LOC" else "LOC"})
        changed = one.with_labels({"name": (longer, other, *spans[2:])}) if number == 0 else one
        shorter.append(changed)
        gold.append(iob2(one))
        found.append(iob2(changed))
    expected = f1_score(gold, found, mode="strict", scheme=IOB2)
    assert 0 < expected < 1
    assert encoder_runs.score(split, shorter) == pytest.approx(expected)


def iob2(document: Document) -> list[str]:
    tags, place = [], 0
    for token in document.text.replace("\n", " ").split(" "):
        owner = next((span for span in document.spans("name") if span.start <= place < span.end), None)
        tags.append("O" if owner is None else f"{'B' if owner.start == place else 'I'}-{owner.label}")
        place += len(token) + 1
    return tags


def test_the_proxy_from_end_to_end(
    tiny: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    given = ["--data", str(data), "--runs", str(tmp_path / "runs"), "--sets", "conll,newswire,newsmtsc"]
    given += [f"tiny={tiny}", f"chance=random:{tiny}"]
    for settings in encoder_proxy.SETTINGS.values():
        monkeypatch.setitem(settings, "epochs", 1)
    encoder_proxy.main([*given, "--save", str(tmp_path / "table")])
    captured = capsys.readouterr()
    lines = captured.out.splitlines()
    head = [
        "encoder",
        "CoNLL-2003",
        "newswire",
        "NewsMTSC",
        "mean",
        "seconds",
        "tokens/s",
    ]
    assert [cell.strip() for cell in lines[0].strip("|").split("|")] == head
    assert [line.split("|")[1].strip() for line in lines[2:]] == ["tiny", "chance"]
    assert len(list((tmp_path / "runs").iterdir())) == 6
    assert "tiny, CoNLL-2003, seed 0" in captured.err
    monkeypatch.setattr(encoder_runs, "run", None)
    encoder_proxy.main(given)
    assert capsys.readouterr().out == captured.out
    saved = (tmp_path / "table.md").read_text()
    assert captured.out.strip() in saved and "torch" in saved and "processor" in saved and str(tmp_path) not in saved
    rows = json.loads((tmp_path / "table.json").read_text())["rows"]
    assert len(rows) == 6 and all(row["date"] and row["tokens"] for row in rows)


def test_the_whole_table_from_end_to_end(
    tiny: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("pycrfsuite")
    for settings in encoder_scores.SETTINGS.values():
        monkeypatch.setitem(settings, "epochs", 1)
    given = ["--data", str(data), "--runs", str(tmp_path / "runs"), "--encoder", f"tiny={tiny}"]
    given += ["--seeds", "0,1", "--sets", "conll,politics"]
    encoder_scores.main([*given, "--save", str(tmp_path / "table")])
    lines = capsys.readouterr().out.splitlines()
    assert [line.split("|")[1].strip() for line in lines[2:]] == ["CoNLL-2003", "CrossNER-politics"]
    assert all("(" in line.split("|")[3] and "(" in line.split("|")[4] for line in lines[2:])
    assert "bert-tiny 80.9" in lines[2]
    # The CRF learns that these five people are people.
    assert all(float(line.split("|")[5]) > 50 for line in lines[2:])
    assert len(list((tmp_path / "runs").iterdir())) == 2 + 2 * 2 * 2
    assert (tmp_path / "table.md").exists() and (tmp_path / "table.json").exists()


def test_bad_command_lines_end_with_one_message(
    tiny: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(CheckpointError, match=r"has no config\.json"):
        Encoder.parse(f"x={tmp_path}")
    with pytest.raises(ConfigError, match="names 2 encoders"):
        encoder_runs.parse_all([str(tiny), str(tiny)])
    for given, told in (
        ([str(tmp_path)], "has no config.json"),
        ([str(tiny), "--sets", "conl"], "did you mean 'conll'"),
    ):
        with pytest.raises(SystemExit) as ended:
            encoder_proxy.main(["--data", str(data), "--runs", str(tmp_path / "runs"), *given])
        assert ended.value.code == 2
        assert told in capsys.readouterr().err
    assert public_slices.PROXY.keys() == encoder_proxy.SETTINGS.keys()
    assert (
        WHOLE.keys() == encoder_scores.SETTINGS.keys() == encoder_scores.BARS.keys() == encoder_scores.PUBLISHED.keys()
    )
