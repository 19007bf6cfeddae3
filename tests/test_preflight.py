"""What `standpoint check` finds: every planted defect in one run, the right counts and steps, and not a file written."""

from __future__ import annotations

import json
import math
import os
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import warm
import yaml
from conftest import ROOT, annotate
from test_main_path import gold, write_run
from transformers import AutoConfig, AutoModel
from typer.testing import CliRunner

from annotations.document import Document, Label, Span
from annotations.errors import InputError
from annotations.reading import annotated_documents
from annotations.schema import Schema
from annotations.storage import read_jsonl, write_jsonl
from inference.checkpoint import from_encoder
from training import runs
from training.cli import app
from training.config import RunConfig
from training.data import dataset
from training.preflight.config import load_settings
from training.preflight.data import Data, layer_facts, tally
from training.preflight.report import text, to_dict
from training.preflight.run import Preflight, preflight
from training.recipe import resolved
from training.trainer import trainer_for

Encoders = Callable[[str], Path]


def tree(folder: Path) -> dict[str, tuple[int, int]]:
    """Every file and folder below, with its time and size."""
    return {
        str(path): (path.stat().st_mtime_ns, path.stat().st_size if path.is_file() else 0)
        for path in sorted(folder.rglob("*"))
    }


def said(found: list[Any]) -> str:
    return "\n".join(f"{finding.where}: {finding.what}" for finding in found)


def variant(folder: Path, encoder: Path, documents: list[Document], **more: object) -> Path:
    """A run on these documents."""
    write_jsonl(folder / "data.jsonl", documents)
    return write_run(folder, ROOT / "configs" / "schema.yaml", folder / "data.jsonl", encoder, **more)


@pytest.fixture(scope="module")
def shipped(encoders: Encoders) -> Preflight:
    """The shipped config and the gold annotations, on a small encoder."""
    return preflight(Path("configs/train.yaml"), [f"encoder={encoders('bert')}", "output=runs/none"], quick=True)


def test_the_gold_annotations_are_ready(shipped: Preflight, schema: Schema) -> None:
    assert shipped.ready, said(shipped.problems)
    documents, _ = annotated_documents(["annotations/gold.json"], schema)
    facts = shipped.facts
    assert facts["data"]["learned"] == {"documents": 10, "texts": 5, "groups": 5}
    spans = Counter(span.label for document in documents for span in document.spans("entity"))
    assert {name: label["learned"] for name, label in facts["layers"]["entity"]["labels"].items()} == spans
    whole = Counter(document.labels["document"].label for document in documents)  # type: ignore[union-attr]
    assert {name: label["learned"] for name, label in facts["layers"]["document"]["labels"].items()} == whole
    warned = said(shipped.warnings)
    assert "layer 'entity': in one group only: ORGANIZATION" in warned
    assert "layer 'document': a single example of neutral" in warned
    assert "estimate" not in facts["cost"]


def test_the_text_tells_everything(shipped: Preflight) -> None:
    shown = text(shipped)
    for part in ("MILITANT_GROUP", "225", "sentence length in tokens", "steps in all", "warning  layer 'entity'"):
        assert part in shown, part
    assert shown.endswith(f"ready to train, {len(shipped.warnings)} warnings")
    assert json.loads(json.dumps(to_dict(shipped), allow_nan=False))["ready"] is True


def test_tokens_and_windows_are_those_of_training(shipped: Preflight, encoders: Encoders) -> None:
    config = RunConfig.load("configs/train.yaml")
    documents, _ = annotated_documents(config.data.train, config.tagger.label_schema)
    _, tokenizer = from_encoder(str(encoders("bert")), config.tagger, 0.1)
    data = dataset(documents, tokenizer, config.tagger)
    tokens = shipped.facts["tokens"]
    assert shipped.facts["cost"]["windows"] == tokens["windows"] == len(data)
    assert tokens["tokens"] == sum(map(len, data["offsets"]))
    texts = {document.text: document for document in documents}
    assert tokens["tokens"] == sum(len(tokenizer(each, add_special_tokens=False)["input_ids"]) for each in texts)
    lengths = tokens["sentence_tokens"]
    assert lengths["median"] <= lengths["percentile_95"] <= lengths["longest"]
    assert lengths["window_without_context"] == 256 - 2 - 2 * 32


@pytest.mark.parametrize(
    "override",
    [
        "epochs=3",
        "epochs=0.3",
        "batch_tokens=200",
        "trainer={gradient_accumulation_steps: 2}",
        "trainer={max_steps: 7}",
    ],
)
def test_steps_are_counted_as_the_trainer_does(override: str, encoders: Encoders, tmp_path: Path) -> None:
    path = variant(tmp_path, encoders("bert"), gold(3))
    steps = preflight(path, [override], quick=True).facts["cost"]["steps"]
    config = resolved(RunConfig.load(path, [override]))
    model, tokenizer = from_encoder(config.encoder, config.tagger, 0.1)
    data = dataset(list(read_jsonl(tmp_path / "data.jsonl")), tokenizer, config.tagger)
    made = trainer_for(config, model, tokenizer, data, tmp_path / "trainer")
    made.train()
    assert steps == made.state.global_step


def test_time_and_memory_are_measured_and_nothing_is_written(
    encoders: Encoders, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(scratch))
    path = variant(tmp_path, encoders("bert"), gold(3), epochs=2)
    before = tree(tmp_path), tree(encoders("bert"))
    found = preflight(path, ["trainer={logging_steps: 1, save_steps: 1, gradient_accumulation_steps: 2}"])
    assert found.ready, said(found.problems)
    after = tree(tmp_path), tree(encoders("bert"))
    # The scratch folder was used, and is empty again.
    for each in (*before, *after):
        each.pop(str(scratch), None)
    assert after == before
    estimate = found.facts["cost"]["estimate"]
    each = estimate["seconds_per_step"]
    assert 0 < each["fastest"] <= each["mean"] <= each["slowest"]
    assert math.isclose(estimate["seconds"], each["mean"] * found.facts["cost"]["steps"])
    assert estimate["memory_bytes"] > 2**26
    shown = text(found)
    assert "estimated time" in shown
    assert "GiB" in shown
    assert "real steps" in shown


def planted(folder: Path) -> list[Document]:
    """Documents that every check of data objects to."""
    story = "The Taliban met in Kabul. VOA reported it on Friday. Nobody knew what they had talked about there. "
    first = annotate("a", story, [("Taliban", "MILITANT_GROUP")], target="They met.", group="one")
    second = annotate("b", story, [("Kabul", "LOCATION")], target="They met.", group="one")
    opposed = second.with_labels({**second.labels, "document": Label(label="denies")})
    near = annotate("c", story + "It rained.", [("VOA", "MEDIA")], group="two")
    inside = annotate("d", "The Talibanization went on.", [("Taliban", "MILITANT_GROUP")], group="three")
    claim = annotate("e", "It went on and on.", [], target="on " * 200, group="three")
    endless = annotate("g", "and " * 40, [], group="five")
    write_jsonl(folder / "test.jsonl", [first.model_copy(update={"id": "t", "group": "one"})])
    return [first, opposed, near, inside, claim, endless, Document(id="bare", text="Bare.", group="four")]


def test_every_planted_defect_is_found_in_one_run(encoders: Encoders, tmp_path: Path) -> None:
    path = variant(tmp_path, encoders("modernbert"), planted(tmp_path))
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "run.json").write_text("{}")
    data = {"train": [str(tmp_path / "data.jsonl")], "test": [str(tmp_path / "test.jsonl")], "held_out": ["fuor"]}
    before = tree(tmp_path)
    found = preflight(path, [f"data={json.dumps(data)}", "trainer={save_strategy: sometimes}"])
    problems = said(found.problems)
    for part in (
        "documents 'a' and 'b': have the same text and different spans in layer 'entity'",
        "'Taliban' 4–11 MILITANT_GROUP in 'a' only",
        "'Kabul' 19–24 LOCATION in 'b' only",
        "document 't' has the text of training document 'b'",
        "no group 'fuor'; did you mean 'four'",
        "document 'e': target has",
        "output: " + str(tmp_path / "run") + " holds a finished run",
        "trainer: TrainingArguments refuses it",
    ):
        assert part in problems, (part, problems)
    warned = said(found.warnings)
    for part in (
        "layer 'entity': no example of PERSON, STATE_BODY, ORGANIZATION",
        "layer 'entity': a single example of MEDIA, LOCATION",
        "layer 'entity': in one group only: MEDIA (in two), LOCATION (in one)",
        "documents 'a' and 'b': have the same text and target, and 1 different labels in layer 'document'",
        "1 groups are both learned and scored",
        "documents 'c' and 'a': (learned, learned) share",
        "have no target, so they teach nothing of stance, document",
        "annotate no layer of the schema and teach nothing; annotate them, or take them out: bare",
        "tagger.window: 1 sentences are longer than a window",
    ):
        assert part in warned, (part, warned)
    assert "cost" not in found.facts
    assert tree(tmp_path) == before


def test_spans_of_a_text_that_documents_share_count_once(schema: Schema) -> None:
    one = annotate("a", "Kabul, and Kabul again.", [("Kabul", "LOCATION")], target="It met.", group="g")
    data = Data(learned=[one, one.model_copy(update={"id": "b", "target": "It rained."})])
    facts = layer_facts(data, schema, tally(data, schema))
    assert facts["entity"]["labels"]["LOCATION"] == {"learned": 1, "scored": 0, "groups": 1}
    assert facts["document"]["labels"]["neutral"]["learned"] == 2


def test_gold_that_tokens_cannot_show_is_counted(encoders: Encoders, tmp_path: Path) -> None:
    half = Document(
        id="half",
        text="The Taliban met.",
        labels={"entity": (Span(start=4, end=8, label="MILITANT_GROUP"),)},
        group="one",
    )
    path = variant(tmp_path, encoders("bert"), [*gold(2), half])
    found = preflight(path, quick=True)
    assert "1 gold spans do not fit the tokens" in said(found.warnings)
    assert "half 4–8 MILITANT_GROUP 'Tali'" in said(found.warnings)


def test_one_failing_part_hides_no_other(encoders: Encoders, tmp_path: Path) -> None:
    conflict = gold(2)
    conflict[1] = conflict[1].with_labels({**conflict[1].labels, "entity": ()})
    path = variant(tmp_path, tmp_path / "no-encoder", conflict)
    (tmp_path / "broken.jsonl").write_text('{"id": 5}\n{broken\n')
    files = [str(tmp_path / name) for name in ("data.jsonl", "broken.jsonl", "missing.json")]
    (tmp_path / "run").write_text("a file")
    overrides = [f"data.train={json.dumps(files)}", "epochs=many", "optimizer={lr: -1, head_lr: 1e-3}", "colour=red"]
    found = preflight(path, [*overrides, "nonsense", "tagger.windw={}"])
    problems = said(found.problems)
    for part in (
        "epochs: Input should be a valid number",
        "optimizer.lr:",
        "colour: unknown key",
        "did you mean 'window'",
        "override 'nonsense'",
        "broken.jsonl: line 1",
        "broken.jsonl: line 2",
        "missing.json: cannot be read",
        "different spans in layer 'entity'",
        "no-encoder': is neither a complete folder nor a reachable hub model",
        "run is a file, so no folder can be made there",
    ):
        assert part in problems, (part, problems)
    # What may stand in the unreadable files is not said to be missing.
    assert "no example" not in said(found.warnings)
    assert "no document to learn from" not in problems
    assert found.facts["data"]["learned"]["documents"] == 4
    assert "once there is no problem" in text(found)


def test_files_and_encoder_are_looked_at_without_a_schema(tmp_path: Path) -> None:
    path = variant(tmp_path, tmp_path / "no-encoder", gold(2))
    missing = str(tmp_path / "missing.jsonl")
    problems = said(preflight(path, ["tagger.label_schema=none.yaml", f"data.test=[{missing}]"]).problems)
    for part in ("none.yaml", "missing.jsonl: cannot be read", "no-encoder", "tagger.label_schema"):
        assert part in problems, (part, problems)


@pytest.mark.parametrize(
    ("values", "wrong", "right"),
    [
        ({"epochs": -1}, "epochs", "encoder"),
        ({"tagger": {"label_schema": "none.yaml"}}, "tagger.label_schema", "data.train"),
        ({"tagger": 5}, "tagger.label_schema", "output"),
        ({"data": {"train": []}}, "data.train", "tagger"),
        ({"output": None}, "output", "data"),
        ({"objective": {"layer_weights": {"nobody": 1}}}, "objective.layer_weights", "tagger"),
        ({"tagger": {"label_schema": "configs/schema.yaml", "window": {"context": 200}}}, "tagger.window", "encoder"),
    ],
)
def test_what_is_right_in_a_wrong_config_is_used(
    values: dict[str, Any], wrong: str, right: str, tmp_path: Path
) -> None:
    path = tmp_path / "run.yaml"
    path.write_text(yaml.safe_dump({**yaml.safe_load(Path("configs/train.yaml").read_text()), **values}))
    settings = load_settings(path, ["seed=7"])
    assert settings.problems
    assert settings.config is not None
    assert settings.config.seed == 7
    assert not settings.stands(wrong)
    assert settings.stands(right)


def test_a_config_that_is_none_is_one_problem(tmp_path: Path) -> None:
    for content in ("a: [1\nb: {", "- a", ""):
        (tmp_path / "run.yaml").write_text(content)
        found = preflight(tmp_path / "run.yaml")
        assert found.problems
        assert not found.ready
        assert text(found).endswith("0 warnings")
    assert "cannot be read" in said(preflight(tmp_path / "none.yaml").problems)


def test_data_that_lack_a_layer_or_everything(encoders: Encoders, tmp_path: Path) -> None:
    spans_only = [document.only({"entity"}) for document in gold(2)]
    path = variant(tmp_path, encoders("bert"), spans_only)
    problems = said(preflight(path, quick=True).problems)
    assert "layer 'stance': no document to learn from annotates it" in problems
    assert "layer 'document': no document to learn from annotates it" in problems
    assert "layer 'entity'" not in problems
    write_jsonl(tmp_path / "data.jsonl", [])
    assert "holds no annotated document" in said(preflight(path, quick=True).problems)
    write_jsonl(tmp_path / "data.jsonl", gold(1))
    found = preflight(path, quick=True)
    assert "there is 1 group" in said(found.warnings)
    assert "in one group only" not in said(found.warnings)
    everything = preflight(path, ["data.held_out=[article-0]"], quick=True)
    assert "no document to learn from; data.held_out leaves none" in said(everything.problems)


def test_a_folder_is_refused_as_training_refuses_it(encoders: Encoders, tmp_path: Path) -> None:
    path = variant(tmp_path, encoders("bert"), gold(2))
    config = resolved(RunConfig.load(path))
    run = config.output
    (run / "trainer" / "checkpoint-1").mkdir(parents=True)

    def both(*overrides: str) -> tuple[str, str]:
        with pytest.raises(InputError) as refusal:
            runs.train(RunConfig.load(path, overrides))
        return said(preflight(path, overrides, quick=True).problems), str(refusal.value).partition(": ")[2]

    told, training = both()
    assert "something else" in training
    assert training in told
    (run / "trainer" / "checkpoint-1").rename(tmp_path / "state")
    (run / "trainer").rmdir()
    runs.RunDirectory(run).claim(config, [*read_jsonl(tmp_path / "data.jsonl")], runs.RUN)
    (run / "trainer").mkdir()
    (tmp_path / "state").rename(run / "trainer" / "checkpoint-1")
    told, training = both("seed=3")
    assert "another config" in training
    assert training in told
    assert preflight(path, quick=True).ready
    (run / "run.json").write_text("{}")
    told, training = both()
    assert "finished run" in training
    assert training in told
    assert preflight(path, quick=True, force=True).ready
    aside = run.with_name(f".{run.name}.old")
    aside.write_text("no folder")
    assert f"{aside} is where --force sets the earlier run aside" in said(
        preflight(path, quick=True, force=True).problems
    )


def test_an_encoder_that_fails_in_a_step_is_told(tmp_path: Path, encoders: Encoders) -> None:
    _, tokenizer = from_encoder(str(encoders("bert")), RunConfig.load("configs/train.yaml").tagger, 0.1)
    small = AutoConfig.for_model(
        "bert", vocab_size=20, hidden_size=32, intermediate_size=48, num_hidden_layers=1, num_attention_heads=2
    )
    AutoModel.from_config(small).save_pretrained(tmp_path / "small")
    tokenizer.save_pretrained(tmp_path / "small")
    path = variant(tmp_path, tmp_path / "small", gold(2))
    found = preflight(path)
    assert "a training step fails: IndexError" in said(found.problems)
    assert not found.ready


def test_what_does_not_fit_the_encoder_is_told_beside_the_data(encoders: Encoders, tmp_path: Path) -> None:
    path = variant(tmp_path, encoders("bert"), gold(2))
    found = preflight(path, ["tagger.window.tokens=400", "tagger.reader.heads=5"])
    assert "reads at most 304 tokens" in said(found.problems)
    assert "set reader.heads" in said(found.problems)
    assert found.facts["tokens"]["sentences"] > 0


def test_the_command_itself(encoders: Encoders, tmp_path: Path) -> None:
    path = variant(tmp_path, encoders("bert"), gold(2))
    before = tree(tmp_path)
    command = [sys.executable, "-c", "from training.cli import main; main()", "check", str(path)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    good = warm.run([*command, "--json"], env=environment)
    assert good.returncode == 0, good.stderr
    found = json.loads(good.stdout)
    assert found["ready"] is True
    assert found["facts"]["cost"]["estimate"]["seconds"] > 0
    wrong = ["encoder=no/such-encoder", "data.train=[missing.jsonl]"]
    bad = CliRunner().invoke(app, ["check", str(path), *wrong, "--quick"])
    assert bad.exit_code == 2
    assert "Traceback" not in bad.stderr
    assert bad.stdout.endswith("not ready to train, 2 problems, 0 warnings\n")
    assert tree(tmp_path) == before


def test_problems_give_status_2_in_json_too(tmp_path: Path, encoders: Encoders) -> None:
    path = variant(tmp_path, encoders("bert"), gold(2))
    result = CliRunner().invoke(app, ["check", str(path), "epochs=0", "--json", "--quick"])
    assert result.exit_code == 2
    found = json.loads(result.stdout)
    assert found["ready"] is False
    assert [problem["where"] for problem in found["problems"]] == [str(path)]
