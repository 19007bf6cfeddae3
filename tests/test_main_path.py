"""The whole path as a user walks it: annotations in, a run directory, a report, tags out; on two quite different schemas."""

from __future__ import annotations

import html
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from conftest import annotate
from typer.testing import CliRunner
from warm import STANDPOINT as COMMAND
from warm import Warm, children, run

from annotations.document import Document, Label, Span
from annotations.labelstudio.shapes import labelling_config, to_results, to_task
from annotations.schema import Schema
from annotations.storage import read_jsonl, write_jsonl
from inference.tagger import Tagger
from training.cli import app
from training.config import RunConfig
from training.runs import train

SENTENCES = ["The Taliban met in Kabul.", "Al-Qaeda denied it on Friday.", "Officials of the NDS spoke to VOA."]


def write_run(folder: Path, schema: Path | str, data: Path, encoder: Path, **more: object) -> Path:
    """A run's YAML with tiny windows."""
    values: dict[str, object] = {
        "tagger": {
            "label_schema": str(schema),
            "window": {"tokens": 48, "context": 8},
            "reader": {"heads": 2},
        },
        "data": {"train": [str(data)]},
        "encoder": str(encoder),
        "output": str(folder / "run"),
        "epochs": 1,
        "bf16": False,
        "trainer": {"disable_tqdm": True},
    }
    path = folder / "run.yaml"
    path.write_text(yaml.safe_dump(values | more))
    return path


def gold(count: int = 4) -> list[Document]:
    """Small annotated articles, two targets each; the second leaves entities unannotated."""
    documents = []
    for number in range(count):
        text = f"Report {number}. " + " ".join(SENTENCES * 2)
        spans = [("Taliban", "MILITANT_GROUP"), ("Kabul", "LOCATION"), ("VOA", "MEDIA")]
        first = annotate(f"{number}-1", text, spans, target="The Taliban met.", group=f"article-{number}")
        second = annotate(f"{number}-2", text, [], target="Nobody met.", group=f"article-{number}")
        labels = {name: value for name, value in second.labels.items() if name != "entity"}
        documents += [first, second.with_labels(labels)]
    return documents


def cli(*arguments: str | Path) -> str:
    """Run the command in this process; its output."""
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == 0, (result.output, result.stderr, result.exception)
    return result.stdout


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, encoders: Callable[[str], Path]) -> Path:
    """A finished run of the default schema, made through the command line."""
    folder = tmp_path_factory.mktemp("main")
    data = folder / "gold.jsonl"
    write_jsonl(data, gold())
    config = write_run(folder, "configs/schema.yaml", data, encoders("modernbert"))
    os.chdir(Path(__file__).parent.parent)
    assert "seqeval" in cli("train", config)
    return folder


def test_a_run_directory_tells_everything(finished: Path) -> None:
    run = finished / "run"
    told = json.loads((run / "run.json").read_text())
    assert told["data"]["fingerprint"]
    assert told["packages"]["torch"]
    assert {"seed", "git", "hardware", "model_version"} <= set(told)
    resolved = RunConfig.load(run / "config.yaml")
    assert resolved.tagger.window.tokens == 48
    metrics = json.loads((run / "metrics.json").read_text())
    assert set(metrics["layers"]) == {"entity", "stance", "document"}
    assert "strict" in (run / "report.txt").read_text()
    assert (run / "report.md").read_text()
    assert len(list(read_jsonl(run / "predictions.jsonl"))) == 8
    assert not (run / "trainer").exists()


def test_evaluate_repeats_the_runs_scores(finished: Path, tmp_path: Path) -> None:
    cli("evaluate", finished / "run" / "checkpoint", finished / "gold.jsonl", "--output", tmp_path / "again")
    one, other = (
        json.loads((p / "metrics.json").read_text())["layers"] for p in (finished / "run", tmp_path / "again")
    )
    assert one == other


def test_a_finished_run_is_not_written_over(finished: Path) -> None:
    before = (finished / "run" / "run.json").read_bytes()
    result = CliRunner().invoke(app, ["train", str(finished / "run.yaml")])
    assert result.exit_code == 2
    assert "--force" in result.stderr
    assert (finished / "run" / "run.json").read_bytes() == before


def test_force_keeps_the_finished_run_until_a_new_one_is_whole(finished: Path, tmp_path: Path) -> None:
    run = finished / "run"
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    for override in ("encoder=no/such-encoder", "data.train=[missing.json]", "trainer={optim: nonsense}"):
        result = CliRunner().invoke(app, ["train", str(finished / "run.yaml"), override, "--force"])
        assert result.exit_code == 2, result.output
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before
    foreign = tmp_path / "precious"
    foreign.mkdir()
    (foreign / "thesis.txt").write_text("mine")
    result = CliRunner().invoke(app, ["train", str(finished / "run.yaml"), f"output={foreign}", "--force"])
    assert result.exit_code == 2
    assert "folder of something else" in result.stderr
    assert (foreign / "thesis.txt").read_text() == "mine"


def test_unfinished_work_on_other_inputs_is_not_mixed(tmp_path: Path, encoders: Callable[[str], Path]) -> None:
    data = tmp_path / "gold.jsonl"
    write_jsonl(data, gold(3))
    config = write_run(tmp_path, "configs/schema.yaml", data, encoders("bert"))
    cli("crossval", config, "--seeds", "0", "--no-baselines")
    write_jsonl(data, gold(4))
    result = CliRunner().invoke(app, ["crossval", str(config), "--seeds", "0", "--no-baselines"])
    assert result.exit_code == 2
    assert "another data" in result.stderr


def test_what_is_scored_is_never_learned(tmp_path: Path, encoders: Callable[[str], Path]) -> None:
    data = tmp_path / "gold.jsonl"
    write_jsonl(data, gold(3))
    config = write_run(tmp_path, "configs/schema.yaml", data, encoders("bert"))
    result = CliRunner().invoke(app, ["train", str(config), f"data.test=[{data}]"])
    assert result.exit_code == 2
    assert "has the text of training document" in result.stderr
    cli("train", config, "data.held_out=[article-1]")
    assert "article-1, which the tagger never saw" in (tmp_path / "run" / "report.txt").read_text()
    assert len(list(read_jsonl(tmp_path / "run" / "predictions.jsonl"))) == 2


@pytest.mark.parametrize("form", ["jsonl", "text", "labelstudio"])
def test_tag_reads_and_writes_every_format(finished: Path, tmp_path: Path, form: str, schema: Schema) -> None:
    text = "The Taliban met.\r\n\r\nשלום 😀 a\u200bb."
    plain, lines, export = tmp_path / "a.txt", tmp_path / "b.jsonl", tmp_path / "c.json"
    plain.write_bytes(text.encode())
    write_jsonl(lines, [Document(id="line", text=text)])
    export.write_text(json.dumps([{"id": 7, **to_task(Document(id="task", text=text), ["entity"])}]))
    out = tmp_path / "out"
    model = finished / "run" / "checkpoint"
    cli("tag", plain, lines, export, "--model", model, "--target", "A.", "--format", form, "--output", out)
    found = out.read_text("utf-8")
    if form == "jsonl":
        documents = list(read_jsonl(out, schema))
        assert [document.text for document in documents] == [text] * 3
        assert [document.id for document in documents] == [str(plain), "line", "task"]
        assert all(set(document.labels) == {"entity", "stance", "document"} for document in documents)
    elif form == "labelstudio":
        tasks = json.loads(found)
        assert [task["data"]["text"] for task in tasks] == [text] * 3
        for task in tasks:
            for result in task["predictions"][0]["result"]:
                value = result["value"]
                assert "start" not in value or value["text"] == text[value["start"] : value["end"]]
    else:
        assert "Taliban" in found


def test_tag_reads_standard_input_and_writes_a_page(finished: Path, tmp_path: Path) -> None:
    command = ["tag", "-", "--model", str(finished / "run" / "checkpoint")]
    text = "Two.\r\nLines 😀"
    with children():
        done = subprocess.run([COMMAND, *command], input=text.encode(), capture_output=True, check=True, timeout=600)
    assert json.loads(done.stdout)["text"] == text
    line = Document(id="x", text="The Taliban met in Kabul.").to_json() + "\n"
    export = json.dumps([{"id": 7, **to_task(Document(id="task", text="The Taliban met."), ["entity"])}])
    for given, name in ((line, "x"), (export, "task")):
        assert json.loads(CliRunner().invoke(app, command, input=given.encode()).stdout)["id"] == name
    refused = CliRunner().invoke(app, command, input=b"\n{broken\n" + line.encode())
    assert refused.exit_code == 2
    assert "line 2" in refused.stderr
    page = tmp_path / "page.html"
    assert CliRunner().invoke(app, [*command, "--html", str(page)], input=line.encode()).exit_code == 0
    assert "<html" in page.read_text("utf-8")


def test_a_blank_target_is_refused(finished: Path, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("The Taliban met in Kabul.")
    command = ["tag", str(tmp_path / "a.txt"), "--model", str(finished / "run" / "checkpoint"), "--target", " "]
    refused = CliRunner().invoke(app, command)
    assert refused.exit_code == 2 and "--target" in refused.stderr and "is blank" in refused.stderr


def test_two_targets_tag_the_text_twice(finished: Path, tmp_path: Path) -> None:
    text = tmp_path / "a.txt"
    text.write_text("The Taliban met in Kabul.")
    out = cli("tag", text, "--model", finished / "run" / "checkpoint", "--target", "A.", "--target", "B.")
    documents = [json.loads(line) for line in out.splitlines()]
    assert [document["target"] for document in documents] == ["A.", "B."]
    assert documents[0]["labels"]["entity"] == documents[1]["labels"]["entity"]


def test_crossval_scores_every_article_unseen(
    tmp_path: Path, encoders: Callable[[str], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    data = tmp_path / "gold.jsonl"
    write_jsonl(data, gold(3))
    config = write_run(tmp_path, "configs/schema.yaml", data, encoders("bert"))
    text = cli("crossval", config, "--seeds", "0,1", "--save", tmp_path / "saved")
    for system in ("tagger", "CRF", "TF-IDF", "majority"):
        assert f"| {system} |" in text
    kept = sorted((tmp_path / "run" / "folds").rglob("*.jsonl"))
    assert len(kept) == 6
    saved = json.loads((tmp_path / "saved.json").read_text())
    assert saved["seeds"] == [0, 1]
    stamps = [path.stat().st_mtime_ns for path in kept]
    cli("crossval", config, "--seeds", "0,1", "--no-baselines")
    assert [path.stat().st_mtime_ns for path in kept] == stamps


OTHER = {
    "layers": {
        "disease": {"kind": "spans", "labels": {"Flu & co": {"color": "#112233"}, "Pest": {"hotkey": "p"}}},
        "drug": {"kind": "spans", "labels": {"Drug": {}}},
        "mood": {"kind": "sentences", "labels": {"good": {}, "bad": {}}},
    }
}
ONE = {"layers": {"topic": {"kind": "document", "labels": {"war": {}, "peace": {}}}}}


def _other(number: int) -> Document:
    text = f"Case {number}. Flu was bad. Aspirin helped."
    at, drug = text.index("Flu"), text.index("Aspirin")
    labels = {
        "disease": (Span(start=at, end=at + 3, label="Flu & co"),),
        "drug": (Span(start=drug, end=drug + 7, label="Drug"),),
        "mood": (Span(start=at, end=at + 12, label="bad"),),
    }
    return Document(id=str(number), text=text, labels=labels)


def _topic(number: int) -> Document:
    return Document(
        id=str(number), text=f"Text {number}.", labels={"topic": Label(label="war" if number % 2 else "peace")}
    )


@pytest.mark.parametrize(("values", "make"), [(OTHER, _other), (ONE, _topic)], ids=["other layers", "one layer"])
def test_another_schema_walks_the_whole_path(
    values: dict[str, object], make: Callable[[int], Document], tmp_path: Path, encoders: Callable[[str], Path]
) -> None:
    path = tmp_path / "schema.yaml"
    path.write_text(yaml.safe_dump(values, sort_keys=False))
    schema = Schema.load(path)
    documents = [make(number) for number in range(4)]
    layers = list(schema.layers)
    tasks = [
        {**to_task(d, layers), "id": n, "annotations": [{"id": n, "result": to_results(d)}]}
        for n, d in enumerate(documents)
    ]
    export = tmp_path / "export.json"
    export.write_text(json.dumps(tasks))
    assert "mood" in labelling_config(schema) or "topic" in labelling_config(schema)
    config = write_run(tmp_path, path, export, encoders("bert"))
    text = cli("train", config)
    assert all(f"== {layer} " in text for layer in layers)
    tagged = Tagger.load(tmp_path / "run" / "checkpoint").tag("Flu. Nothing more.")
    assert set(tagged.labels) == set(layers)
    page = tmp_path / "page.html"
    source = tmp_path / "a.txt"
    source.write_text("Flu & more.")
    cli("tag", source, "--model", tmp_path / "run" / "checkpoint", "--html", page)
    labels = [label for layer in schema.layers.values() for label in layer.names]
    assert all(html.escape(label) in page.read_text() for label in labels)
    cli("crossval", write_run(tmp_path, path, export, encoders("bert"), output=str(tmp_path / "cv")), "--seeds", "0")


def test_documents_may_have_any_subset_of_layers(tmp_path: Path, encoders: Callable[[str], Path]) -> None:
    full = gold(2)
    subsets = [
        document.with_labels({name: value for name, value in document.labels.items() if name in kept})
        for document, kept in zip(full, ({"entity"}, {"stance"}, {"document"}, set()), strict=True)
    ]
    data = tmp_path / "gold.jsonl"
    write_jsonl(data, subsets)
    finished = train(RunConfig.load(write_run(tmp_path, "configs/schema.yaml", data, encoders("bert"))))
    assert finished
    run, report = finished
    assert [layer.compared.documents for layer in report.layers.values()] == [1, 1, 1]
    assert run.checkpoint.is_dir()


def test_a_killed_run_goes_on(tmp_path: Path, encoders: Callable[[str], Path]) -> None:
    data = tmp_path / "gold.jsonl"
    write_jsonl(data, gold(4))
    more = {"epochs": 60, "trainer": {"save_steps": 5, "logging_steps": 5, "disable_tqdm": True}}
    config = write_run(tmp_path, "configs/schema.yaml", data, encoders("bert"), **more)
    command = [COMMAND, "train", str(config)]
    # The newest checkpoint may be cut off by the kill; here one always is.
    with Warm(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        waited = time.monotonic()
        while not list((tmp_path / "run" / "trainer").glob("checkpoint-*/trainer_state.json")):
            assert process.poll() is None, "the run ended before it could be killed"
            assert time.monotonic() - waited < 300
            time.sleep(0.05)
        process.send_signal(signal.SIGKILL)
    assert not (tmp_path / "run" / "run.json").exists()
    (tmp_path / "run" / "trainer" / "checkpoint-9999").mkdir()
    done = run(command)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "run" / "run.json").exists()
    cli("train", config, "epochs=2", "--force")
    assert RunConfig.load(tmp_path / "run" / "config.yaml").epochs == 2


def test_two_processes_train_one_run(tmp_path: Path, encoders: Callable[[str], Path]) -> None:
    data = tmp_path / "gold.jsonl"
    write_jsonl(data, gold(4))
    config = write_run(tmp_path, "configs/schema.yaml", data, encoders("bert"))
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "--no-python"]
    done = subprocess.run(
        [*launch, COMMAND, "train", str(config)], capture_output=True, text=True, check=False, timeout=600
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("Tagger:") == 1
    assert Tagger.load(tmp_path / "run" / "checkpoint").tag("The Taliban met.").text == "The Taliban met."
