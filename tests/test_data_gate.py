"""Data that cannot be learned from are refused before anything is written; what is odd is said by every command alike."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
from conftest import annotate
from test_bad_input import refused
from test_main_path import gold, write_run
from typer.testing import CliRunner

from annotations.document import Document, Label
from annotations.schema import Schema
from annotations.storage import read_jsonl, write_jsonl
from training.cli import app
from training.preflight.gate import usable
from training.preflight.run import preflight

Encoders = Callable[[str], Path]
COMMANDS = (("train",), ("crossval", "--no-baselines", "--seeds", "0"), ("learning-curve", "--seeds", "0"))


def tree(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def written(folder: Path, encoder: Path, documents: Iterable[Document]) -> Path:
    """A run on these documents."""
    write_jsonl(folder / "gold.jsonl", documents)
    return write_run(folder, "configs/schema.yaml", folder / "gold.jsonl", encoder)


def opposed() -> list[Document]:
    """Two pairs of documents that annotate one text's spans differently."""
    one, two = gold(2)[0], gold(2)[2]
    fewer = {"entity": one.spans("entity")[:1]}
    return [
        *gold(2),
        one.model_copy(update={"id": "again"}).with_labels(fewer),
        two.model_copy(update={"id": "other"}).with_labels({"entity": ()}),
    ]


def without(layer: str, documents: Iterable[Document]) -> list[Document]:
    return [
        document.with_labels({name: value for name, value in document.labels.items() if name != layer})
        for document in documents
    ]


CASES: dict[str, tuple[Callable[[], list[Document]], list[str]]] = {
    "no document": (list, ["no document to learn from"]),
    "no annotation": (lambda: [Document(id="a", text="A."), Document(id="b", text="B.")], ["annotates no layer"]),
    "a layer the data lack": (
        lambda: without("stance", without("document", gold(3))),
        ["layer 'stance': no document", "layer 'document': no document", "take it out of the schema"],
    ),
    "conflicting spans": (opposed, ["'0-1' and 'again'", "'1-1' and 'other'", "keep the annotation of one of them"]),
}


@pytest.mark.parametrize("case", CASES)
def test_what_cannot_be_learned_is_refused_whole_and_nothing_is_written(
    case: str, encoders: Encoders, tmp_path: Path
) -> None:
    make, parts = CASES[case]
    path = written(tmp_path, encoders("bert"), make())
    before = tree(tmp_path)
    for command, *options in COMMANDS:
        said = refused(command, path, *options)
        assert all(part in said for part in parts), (command, said)
        assert tree(tmp_path) == before
    told = "\n".join(f"{problem.where}: {problem.what}" for problem in preflight(path, quick=True).problems)
    assert all(part.partition(": ")[2] in told for part in parts), told


def test_a_finished_run_stays_when_its_new_data_are_refused(encoders: Encoders, tmp_path: Path) -> None:
    path = written(tmp_path, encoders("bert"), gold(2))
    assert CliRunner().invoke(app, ["train", str(path)]).exit_code == 0
    before = tree(tmp_path / "run")
    for make, _ in CASES.values():
        write_jsonl(tmp_path / "gold.jsonl", make())
        refused("train", path, "--force")
        assert tree(tmp_path / "run") == before
        assert not (tmp_path / ".run.new").exists()


def test_what_is_odd_is_said_and_kept(encoders: Encoders, tmp_path: Path) -> None:
    documents = gold(3)
    rare = documents[0].with_labels({**documents[0].labels, "document": Label(label="supports")})
    contrary = documents[3].model_copy(update={"id": "contrary"})
    contrary = contrary.with_labels({**contrary.labels, "document": Label(label="denies")})
    path = written(tmp_path, encoders("bert"), [rare, *documents[1:], contrary])
    parts = [
        "layer 'entity': no example of PERSON",
        "layer 'document': a single example of supports, denies; hardly learned",
        "documents '1-2' and 'contrary': have the same text and target, and 1 different labels in layer 'document'",
        "neutral against denies",
    ]
    done = CliRunner().invoke(app, ["train", str(path)])
    assert done.exit_code == 0, done.output
    kept = (tmp_path / "run" / "import.txt").read_text("utf-8")
    told = CliRunner().invoke(
        app, ["crossval", str(path), f"output={tmp_path / 'cv'}", "--no-baselines", "--seeds", "0"]
    )
    assert told.exit_code == 0, told.output
    for part in parts:
        for text in (done.stderr, kept, told.stderr):
            assert f"warning: {part}" in text or (part in text and part.startswith("neutral")), (part, text)
    assert "training without article-0 there is no example of document supports" in told.stderr
    assert "training without article-1 there is no example of document denies" in told.stderr


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ("{lr_scheduler_type: cosine_with_min_lr}", "One of min_lr or min_lr_rate should be set"),
        ("{lr_scheduler_type: polynomial, lr_scheduler_kwargs: {pover: 2}}", "unexpected keyword argument 'pover'"),
        ("{optim: galore_adamw}", "galore"),
        ("{adam_beta1: 2.0}", "Invalid beta parameter"),
        ("{dataloader_persistent_workers: true}", "needs num_workers > 0"),
        ("{lr_scheduler_kwargs: a}", "must be settings and their values"),
        ("{lr_scheduler_type: inverse_sqrt, lr_scheduler_kwargs: {timescale: 0}}", "division by zero"),
        ("{lr_scheduler_type: cosine_with_restarts, lr_scheduler_kwargs: {num_cycles: x}}", "convert"),
        ("{log_level: loud}", "log_level is 'loud', but must be one of detail, debug"),
    ],
)
def test_an_optimizer_or_schedule_that_cannot_be_made_is_refused(
    value: str, told: str, encoders: Encoders, tmp_path: Path
) -> None:
    path = written(tmp_path, encoders("bert"), gold(2))
    for command in (*COMMANDS, ("labels", "suspects", "--output", str(tmp_path / "run"))):
        said = refused(*command, path, f"trainer={value}")
        assert "trainer: training cannot begin with it" in said
        assert told in said
    checked = CliRunner().invoke(app, ["check", str(path), f"trainer={value}", "--quick"])
    assert checked.exit_code == 2
    assert told in checked.stdout
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "command",
    [
        "train",
        "crossval --no-baselines --seeds 0",
        "learning-curve --seeds 0",
        "labels suspects --output FOLDER",
    ],
)
def test_what_may_leak_is_said_by_every_command(command: str, encoders: Encoders, tmp_path: Path) -> None:
    copy = gold(1)[0].model_copy(update={"id": "copy", "group": "elsewhere"})
    path = written(tmp_path, encoders("bert"), [*gold(2), copy])
    write_jsonl(tmp_path / "test.jsonl", [annotate("new", "VOA denied it.", [], target="It was.", group="article-1")])
    words = command.replace("FOLDER", str(tmp_path / "run")).split()
    done = CliRunner().invoke(app, [*words, str(path), f"data.test=[{tmp_path / 'test.jsonl'}]"])
    assert done.exit_code == 0, done.output
    names = "'0-1' (article-0) and '0-2' (article-0) and 'copy' (elsewhere)"
    assert f"warning: data: one text is in several groups, as documents {names}" in done.stderr
    both = "warning: data.test: 1 groups are both learned and scored, so scores will be too good"
    assert (both in done.stderr) == (command == "train")


@pytest.mark.parametrize(
    ("command", "found"),
    [
        ("crossval --no-baselines --seeds 0", "folds/**/*.jsonl"),
        ("learning-curve --seeds 0", "curve/**/*.jsonl"),
        ("labels suspects --output FOLDER", "documents.jsonl"),
    ],
)
def test_what_is_held_out_is_left_out(command: str, found: str, encoders: Encoders, tmp_path: Path) -> None:
    path = written(tmp_path, encoders("bert"), gold(3))
    words = command.replace("FOLDER", str(tmp_path / "run")).split()
    done = CliRunner().invoke(app, [*words, str(path), "data.held_out=[article-1]"])
    assert done.exit_code == 0, done.output
    assert "data.held_out: 2 of 6 documents are left out, neither learned nor scored" in done.stderr
    kept = [document for file in (tmp_path / "run").glob(found) for document in read_jsonl(file)]
    assert {document.group for document in kept} == {"article-0", "article-2"}


def test_a_layer_annotated_with_nothing_in_it_is_learned(schema: Schema) -> None:
    document = annotate("a", "Nobody was named.", [], target="It was.", group="g")
    assert any("no example of PERSON" in warning for warning in usable([document], schema))
