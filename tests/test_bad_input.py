"""Bad input: one clear message with every problem, exit status 2, earlier outputs untouched."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from conftest import ROOT, annotate
from test_main_path import write_run
from typer.testing import CliRunner

from annotations.document import Document
from annotations.labelstudio.shapes import to_results, to_task
from annotations.storage import write_jsonl
from inference import hub
from inference.checkpoint import save
from inference.tagger import Tagger
from training.cli import app
from training.config import RunConfig


def refused(*arguments: str | Path) -> str:
    """What the command says on standard error when it refuses; nothing may come on standard output."""
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == 2, (result.output, result.exception)
    assert "Traceback" not in result.stderr
    return result.stderr


def test_every_problem_of_a_config_at_once(tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"
    path.write_text("tagger: {label_schema: configs/schema.yaml, windw: {}}\nepochs: many\ndata: {train: []}\nlr: 3\n")
    said = refused("train", path, "optimizer.lr=-1", "nonsense")
    for part in ("windw", "did you mean 'window'", "epochs", "data.train", "lr", "output", "optimizer.lr", "key=value"):
        assert part in said, part


@pytest.mark.parametrize(
    ("override", "part"),
    [
        ("trainer={lerning_rate: 1}", "did you mean 'learning_rate'"),
        ("trainer={learning_rate: 1}", "optimizer.lr"),
        ("trainer={auto_find_batch_size: true}", "is set through `batch_tokens`"),
        ("trainer={label_smoothing_factor: 0.1}", "would have no effect: the loss is our own"),
        ("trainer={dataloader_drop_last: true}", "every window is learned from"),
        ("trainer={dataloader_prefetch_factor: 4}", "'dataloader_prefetch_factor' would have no effect"),
        ("trainer={resume_from_checkpoint: elsewhere}", "goes on from its own folder"),
        ("trainer={eval_on_start: true}", "nothing is evaluated while training"),
        ("trainer={metric_for_best_model: loss}", "nothing is evaluated while training"),
        ("trainer={save_strategy: best}", "nothing is evaluated while training"),
        ("trainer={gradient_accumulation_steps: 0}", "must be 1 or more"),
        ("trainer={save_steps: often}", "'save_steps' is 'often': Input should be a valid number"),
        ("objective.layer_weights={stanze: 1}", "did you mean 'stance'"),
        ("data.held_out=[nobody]", "no group 'nobody'"),
        ("data.train=[missing.json]", "missing.json"),
        ("data.train=[README.md]", "neither .jsonl"),
        ("encoder=no/such-encoder", "neither a complete folder nor a reachable hub model"),
        ("tagger.label_schema=missing.yaml", "missing.yaml"),
        ("tagger.window.context=200", "lower context"),
    ],
)
def test_a_wrong_setting_is_named(override: str, part: str, tmp_path: Path) -> None:
    output = tmp_path / "run"
    assert part in refused("train", ROOT / "configs" / "train.yaml", f"output={output}", override)
    assert not (output / "run.json").exists()


def test_a_hub_out_of_reach_is_asked_once(tmp_path: Path) -> None:
    """Its own client would try each file of the name for half a minute."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        closed = server.getsockname()[1]
    command = [
        sys.executable,
        "-c",
        "from training.cli import main\nmain()",
        "check",
        "configs/train.yaml",
        "encoder=encc",
        "--quick",
    ]
    away = {
        "HF_HUB_OFFLINE": "0",
        "HF_ENDPOINT": f"http://127.0.0.1:{closed}",
        "HF_HOME": str(tmp_path),
        "no_proxy": "*",
    }
    plain = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    done = subprocess.run(command, capture_output=True, text=True, env=plain | away, cwd=ROOT, timeout=300)
    assert done.returncode == 2, done.stderr
    assert "encoder 'encc': is neither a complete folder nor a reachable hub model" in done.stdout
    assert "Retry" not in done.stdout + done.stderr


def test_a_number_that_yaml_takes_for_a_string_is_read() -> None:
    found = RunConfig.load(ROOT / "configs" / "train.yaml", ["trainer={adam_epsilon: 1e-7, optim: adafactor}"])
    assert found.trainer == {"adam_epsilon": 1e-7, "optim": "adafactor"}


def test_a_whole_number_is_an_integer_where_one_is_wanted() -> None:
    found = RunConfig.load(ROOT / "configs" / "train.yaml", ["trainer={save_total_limit: 2.0, adam_beta1: 0.5}"])
    assert repr(found.trainer["save_total_limit"]) == "2" and found.trainer["adam_beta1"] == 0.5


def test_a_hub_is_waited_for_once_however_many_addresses_it_has(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as open_port, socket.create_server(("127.0.0.1", 0)) as closed:
        addresses = [one.getsockname() for one in (closed, open_port)]
        closed.close()
        known = [(socket.AF_INET, socket.SOCK_STREAM, 0, "", address) for address in addresses]
        monkeypatch.setattr(socket, "getaddrinfo", lambda *given, **rest: known)
        assert hub._answers("example.org", 443)
        # The first address has taken all the time.
        clock = iter([0.0, 0.0, hub.PATIENCE + 1.0])
        monkeypatch.setattr(hub.time, "monotonic", lambda: next(clock))
        assert not hub._answers("example.org", 443)


def test_a_missing_or_broken_config_is_named(tmp_path: Path) -> None:
    assert "cannot be read" in refused("train", tmp_path / "none.yaml")
    path = tmp_path / "broken.yaml"
    path.write_text("a: [1\nb: {")
    assert "not valid YAML" in refused("train", path)
    path.write_text("encoder: a\nencoder: b\n")
    assert "set twice" in refused("train", path)


def test_broken_lines_are_all_named(tmp_path: Path, tagger: Tagger) -> None:
    save(tmp_path / "ck", tagger.engine.model, tagger.tokenizer)
    good = annotate("a", "The Taliban met.", [("Taliban", "MILITANT_GROUP")], target="It met.")
    bad = json.loads(good.to_json())
    unknown = {**bad, "id": "b", "labels": {"entity": [{"start": 4, "end": 11, "label": "MILITANT_GRUOP"}]}}
    outside = {**bad, "id": "c", "labels": {"entity": [{"start": 4, "end": 900, "label": "PERSON"}]}}
    crossing = {"entity": [{"start": 0, "end": 6, "label": "PERSON"}, {"start": 4, "end": 11, "label": "PERSON"}]}
    lines = [good.to_json(), "{broken", json.dumps(unknown), json.dumps(outside)]
    lines += [json.dumps({**bad, "id": "d", "labels": crossing}), json.dumps({**bad, "id": "a"})]
    lines += [json.dumps({**bad, "id": "e", "text": 5}), json.dumps({**bad, "id": "f", "extra": 1})]
    data = tmp_path / "data.jsonl"
    data.write_text("\n".join(lines))
    said = refused("evaluate", tmp_path / "ck", data)
    for part in (
        "line 2",
        "line 3",
        "MILITANT_GROUP",
        "line 4",
        "runs past",
        "line 5",
        "overlaps",
        "line 6",
        "used twice",
    ):
        assert part in said, part
    assert "line 7" in said
    assert "line 8" in said
    assert "extra" in said


def test_an_export_of_another_schema_is_refused(tmp_path: Path, tagger: Tagger) -> None:
    save(tmp_path / "ck", tagger.engine.model, tagger.tokenizer)
    document = annotate("a", "The Taliban met.", [("Taliban", "MILITANT_GROUP")])
    task = {**to_task(document, ["entity"]), "id": 1, "annotations": [{"id": 1, "result": to_results(document)}]}
    text = json.dumps([task]).replace('"entity"', '"ner"')
    export = tmp_path / "export.json"
    export.write_text(text)
    assert "another project's export" in refused("evaluate", tmp_path / "ck", export)
    export.write_text("[{]")
    assert "is not JSON" in refused("evaluate", tmp_path / "ck", export)
    export.write_text('{"a": 1}')
    assert "not a Label Studio JSON export" in refused("evaluate", tmp_path / "ck", export)


def test_a_checkpoint_with_missing_files_is_named(tmp_path: Path) -> None:
    text = tmp_path / "a.txt"
    text.write_text("x")
    assert "is no folder" in refused("tag", text, "--model", tmp_path / "none")
    (tmp_path / "half").mkdir()
    (tmp_path / "half" / "config.json").write_text("{}")
    assert "no model.safetensors" in refused("tag", text, "--model", tmp_path / "half")


def test_tagging_leaves_an_earlier_output_when_the_input_is_bad(tmp_path: Path, tagger: Tagger) -> None:
    save(tmp_path / "ck", tagger.engine.model, tagger.tokenizer)
    out, page = tmp_path / "out.jsonl", tmp_path / "page.html"
    out.write_text("earlier")
    page.write_text("earlier")
    latin = tmp_path / "latin.txt"
    latin.write_bytes("Fédération".encode("latin-1"))
    lines = tmp_path / "lines.jsonl"
    lines.write_text(Document(id="a", text="Fine.").to_json() + "\n{broken\n")
    for source in (latin, lines, tmp_path / "missing.txt"):
        refused("tag", source, "--model", tmp_path / "ck", "--output", out)
        refused("tag", source, "--model", tmp_path / "ck", "--html", page)
    assert out.read_text() == page.read_text() == "earlier"
    assert not list(tmp_path.glob(".*part"))


def test_a_text_in_place_of_a_file_is_told(model: Path) -> None:
    assert "cannot be read (File name too long)" in refused("tag", "The Taliban denied it. " * 20, "--model", model)


def test_a_folder_of_texts_is_an_archive(tmp_path: Path) -> None:
    assert f"tag it as an archive: --input {tmp_path} --output" in refused("tag", tmp_path)


def test_a_schema_that_nobody_named_is_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.jsonl").write_text(Document(id="a", text="Fine.").to_json())
    monkeypatch.chdir(tmp_path)
    for command in (["lint"], ["agree"], ["convert", "--to", "conll", "--output", "out"]):
        assert "there is no configs/schema.yaml here; name the schema file" in refused("labels", *command, "a.jsonl")
    assert "other.yaml: cannot be read" in refused("labels", "lint", "a.jsonl", "--schema", "other.yaml")


def test_data_without_any_annotation_cannot_be_learned(tmp_path: Path, encoders: Callable[[str], Path]) -> None:
    data = tmp_path / "data.jsonl"
    write_jsonl(data, [Document(id="a", text="Words."), Document(id="b", text="")])
    config = write_run(tmp_path, "configs/schema.yaml", data, encoders("bert"))
    assert "annotates no layer" in refused("train", config)
    write_jsonl(data, [])
    assert "no document to learn from" in refused("train", config)
    assert "no document to learn from" in refused("crossval", config, f"output={tmp_path / 'cv'}")
    assert not (tmp_path / "run").exists() and not (tmp_path / "cv").exists()


def test_a_bad_schema_is_told_whole(tmp_path: Path) -> None:
    path = tmp_path / "schema.yaml"
    layers = {
        "entity": {"kind": "span", "labels": {"A": {"colour": "red"}}},
        "stance": {"kind": "sentences", "labels": {"only": {}}},
        "text": {"kind": "spans", "targeted": True, "labels": {}},
    }
    path.write_text(yaml.safe_dump({"layers": layers}))
    said = refused("schema", path)
    for part in ("entity.kind", "did you mean 'color'", "at least two labels", "layers.text"):
        assert part in said, part


EXTRAS = ("datasets", "seqeval", "accelerate", "label_studio_sdk", "httpx", "ijson", "fastapi", "uvicorn", "spacy")
WITHOUT = f"import sys; sys.modules |= dict.fromkeys({EXTRAS!r})\n"


def _without_extras(*arguments: str) -> subprocess.CompletedProcess[str]:
    code = WITHOUT + f"sys.argv = ['standpoint', *{list(arguments)!r}]\nfrom training.cli import main\nmain()"
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=600)


def test_a_missing_extra_is_named(tmp_path: Path) -> None:
    done = _without_extras("train", "configs/train.yaml", f"output={tmp_path / 'run'}")
    assert done.returncode == 2
    assert "pip install '.[training]'" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    "arguments", [("doctor",), ("pull", "--project", "1", "--output", "x"), ("push", "README.md", "--title", "abc")]
)
def test_a_round_without_its_extra_names_it(arguments: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LABEL_STUDIO_API_KEY", "x")
    done = _without_extras("labels", *arguments)
    assert done.returncode == 2
    assert "pip install '.[labelstudio]'" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    "arguments", [("lint", "annotations/gold.json", "--ignore", "W"), ("agree", "annotations/annotators.json")]
)
def test_reading_exports_needs_no_extra(arguments: tuple[str, ...]) -> None:
    done = _without_extras("labels", *arguments)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["tag", "a.txt", "--html", "a.html", "--output", "a.jsonl"], "--html writes a page instead, without --output"),
        (["tag", "a.txt", "--html", "a.html", "--format", "text"], "--html writes a page instead, without --format"),
        (["tag", "a.txt", "--shard-size", "10", "--text"], "FILES take no --shard-size, --text"),
        (["tag", "a.txt", "--engine-workers", "2"], "FILES take no --engine-workers"),
        (["tag", "a.txt", "--threads", "2", "--ray", "local"], "FILES take no --threads, --ray"),
        (["tag", "a.txt", "--max-characters", "10"], "FILES take no --max-characters"),
        (["export", "ck", "out", "--to", "hf", "--data", "a.jsonl"], "--data is for --engine"),
        (["export", "ck", "out", "--to", "hf", "--most-drop", "1"], "--most-drop is for --engine"),
        (["export", "ck", "--engine", "onnx", "--layer", "entity"], "--layer is for --to"),
    ],
)
def test_an_option_that_would_be_ignored_is_refused(arguments: list[str], told: str) -> None:
    assert told in " ".join(refused(*arguments).replace("│", " ").split())
