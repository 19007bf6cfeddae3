"""`standpoint report`: four files from a checkpoint or a finished result; the numbers agree, bad input is named."""

from __future__ import annotations

import json
import random
import shutil
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import ROOT
from test_main_path import cli, gold, write_run
from typer.testing import CliRunner

from annotations.comparison import compare
from annotations.document import Document, FrozenDict, Label, Span
from annotations.errors import ConfigError, DocumentError
from annotations.resampling import MANY, resampled, resampled_blocks
from annotations.schema import Schema
from annotations.sentences import sentences
from annotations.storage import write_jsonl
from inference import checkpoint
from inference.tagger import Tagger
from inference.verification import record, verify
from training.cli import app
from training.reports.analysis import Analysis, analyse
from training.reports.error_rows import ERROR_COLUMNS, excerpt
from training.reports.intervals import average_f1, scores
from training.reports.items import layer_items
from training.reports.layer_scores import counted, score
from training.reports.making import ReportSettings, make_report
from training.reports.slices import COLUMNS
from training.reports.sources import Lesson, Source, Training, read_source
from training.reports.span_errors import ERRORS
from training.reports.writing import compact, markdown, text, write_report

SCHEMA = Schema.load(ROOT / "configs" / "schema.yaml")
GOLD = gold(12)

Values = dict[str, Any]


def spoilt(documents: Sequence[Document], numbers: set[int]) -> list[Document]:
    """Predictions with probabilities; those at the given places miss a name, cut one, misname one, and mistake sentences."""
    found = []
    for place, document in enumerate(documents):
        bad = place in numbers
        spans = [one.model_copy(update={"score": 0.4 if bad else 0.9}) for one in document.spans("entity")]
        if bad and spans:
            spans[0] = spans[0].model_copy(update={"end": spans[0].end - 2})
            spans[1] = spans[1].model_copy(update={"label": "WEAPON"})
            spans = spans[:2]
        stance = tuple(
            one.model_copy(update={"score": 0.7, "label": "denies" if bad and not number else one.label})
            for number, one in enumerate(document.spans("stance"))
        )
        labels = {"entity": tuple(spans), "stance": stance, "document": Label(label="neutral", score=0.8)}
        found.append(document.with_labels(labels))
    return found


def source(*rounds: Sequence[Document], truth: Sequence[Document] = GOLD, **rest: Any) -> Source:
    named = (
        {f"seed-{number}": [*found] for number, found in enumerate(rounds)}
        if len(rounds) > 1
        else {"run": [*rounds[0]]}
    )
    return Source("made up", "evaluation", rest.pop("schema", SCHEMA), [*truth], ["gold.jsonl"], named, **rest)


def plain(analysis: Analysis) -> Values:
    """What report.json holds, through JSON."""
    found: Values = json.loads(compact(analysis.to_dict({"name": "x"})))
    return found


def rows(table: Values) -> list[Values]:
    return [dict(zip(table["columns"], row, strict=True)) for row in table["rows"]]


@pytest.fixture(scope="module")
def made() -> Analysis:
    """Two rounds, one of them with errors in three documents."""
    return analyse(source(spoilt(GOLD, {0, 2, 4}), spoilt(GOLD, set())), resamples=200)


def test_scores_are_the_plain_ones_and_the_intervals_those_of_crossval(made: Analysis) -> None:
    rounds = [spoilt(GOLD, {0, 2, 4}), spoilt(GOLD, set())]
    expected = {one.layer: one for one in scores({"tagger": rounds}, GOLD, SCHEMA, resamples=200)}
    for name, layer in plain(made)["layers"].items():
        same = expected[name]
        assert layer["overall"]["f1"]["value"] == pytest.approx(same.mean)
        assert layer["overall"]["by_round"] == pytest.approx(same.by_seed)
        if name == "stance":
            assert layer["overall"]["f1"]["low"] == pytest.approx(same.low)
            assert layer["overall"]["f1"]["high"] == pytest.approx(same.high)
    one = compare(GOLD, rounds[0], SCHEMA).layers["entity"].counts
    for row in plain(made)["layers"]["entity"]["per_label"]:
        assert row["f1"]["value"] == pytest.approx((one[row["label"]].f1 + (row["support"] > 0)) / 2)
        assert row["support"] == one[row["label"]].support


def test_a_layers_interval_is_drawn_from_the_groups_that_annotate_it() -> None:
    predicted = spoilt(GOLD, {0, 2, 4})
    items = layer_items([[*zip(GOLD, predicted, strict=True)]], SCHEMA)["entity"]
    overall, _ = score(items, SCHEMA.layers["entity"].kind, 300)
    annotated = [one for one in GOLD if "entity" in one.labels]
    [same] = [one for one in scores({"a": [predicted]}, annotated, SCHEMA, resamples=300) if one.layer == "entity"]
    assert (overall.f1.low, overall.f1.high) == (pytest.approx(same.low), pytest.approx(same.high))


def test_every_error_is_listed_once_in_its_sentence(made: Analysis) -> None:
    values = plain(made)
    names = [*values["layers"]]
    documents, shown, errors = (rows(values[name]) for name in ("documents", "sentences", "errors"))
    assert [*values["errors"]["columns"]] == [*ERROR_COLUMNS]
    known = {one.id: one for one in GOLD}
    for found in shown:
        own = known[documents[found["document"]]["id"]]
        assert own.text[found["start"] :].startswith(found["text"])
    kinds: Counter[tuple[str, str]] = Counter()
    for error in errors:
        name = names[error["layer"]]
        kinds[name, ERRORS[error["kind"]].value] += error["rounds"]
        sentence = shown[error["sentence"]]
        labels = [label["name"] for label in values["layers"][name]["labels"]]
        own = known[documents[sentence["document"]]["id"]]
        if name == "entity" and error["gold_label"] is not None:
            wanted = Span(start=error["gold_start"], end=error["gold_end"], label=labels[error["gold_label"]])
            assert wanted in own.spans("entity")
            assert sentence["start"] <= wanted.start < wanted.end <= sentence["start"] + len(sentence["text"])
        assert (error["score"] is None) == (error["predicted_label"] is None)
    for name, layer in values["layers"].items():
        counted = {kind: count for kind, count in layer["errors"]["all"].items() if count and kind != "correct"}
        assert counted == {kind: count for (where, kind), count in kinds.items() if where == name}
    assert kinds["entity", "boundary"] == kinds["entity", "type"] == kinds["entity", "missed"] == 3
    # Documents are wrong in both rounds alike, and so are listed once.
    assert all(error["rounds"] == 2 for error in errors if names[error["layer"]] == "document")


def test_slices_add_up_to_the_whole_and_are_what_a_part_alone_scores(made: Analysis) -> None:
    for name, layer in plain(made)["layers"].items():
        assert {cut["by"] for cut in layer["slices"]} >= {"group", "document length"}
        for cut in layer["slices"]:
            assert cut["columns"] == [*COLUMNS]
            assert sum(row["items"] for row in rows(cut)) == layer["items"], (name, cut["by"])
    [by_group] = [cut for cut in plain(made)["layers"]["stance"]["slices"] if cut["by"] == "group"]
    for row in rows(by_group):
        own = [one for one in GOLD if one.fold == row["name"]]
        both = [
            compare(own, [one for one in spoilt(GOLD, bad) if one.fold == row["name"]], SCHEMA).layers["stance"]
            for bad in ({0, 2, 4}, set())
        ]
        assert row["f1"] == pytest.approx(np.mean([each.macro_f1 for each in both]))
        assert row["accuracy"] == pytest.approx(np.mean([each.accuracy for each in both]))
        assert row["documents"] == len(own)


def test_wrong_predictions_count_in_their_own_group_and_part() -> None:
    schema = Schema.build({"layers": {"name": {"kind": "spans", "labels": {"PER": {}, "LOC": {}}}}}, where="test")

    def document(number: int, *found: tuple[int, int, str]) -> Document:
        marked = tuple(Span(start=start, end=end, label=label) for start, end, label in found)
        return Document(id=str(number), text="Ada Byron saw Rome.", group=f"g{number}", labels={"name": marked})

    truth = [document(0, (0, 9, "PER")), document(1, (14, 18, "LOC")), document(2, (0, 9, "PER"), (14, 18, "LOC"))]
    predicted = [document(0, (0, 3, "PER"), (14, 18, "LOC")), document(1), document(2, (0, 9, "PER"), (14, 18, "LOC"))]
    layer = plain(analyse(source(predicted, truth=truth, schema=schema), resamples=100))["layers"]["name"]
    cuts = {cut["by"]: {row["name"]: (row["items"], row["predicted"]) for row in rows(cut)} for cut in layer["slices"]}
    assert cuts["group"] == {"g0": (1, 2), "g1": (1, 0), "g2": (2, 2)}
    assert cuts["span length"] == {"1": (2, 3), "2": (2, 1)}
    assert cuts["position"] == {"first quarter": (2, 2), "third quarter": (2, 2)}


def test_names_are_seen_where_the_training_data_of_their_own_fold_mark_them() -> None:
    first, second = GOLD[0], GOLD[2]
    other = first.with_labels(
        {"entity": tuple(one.model_copy(update={"label": "PERSON"}) for one in first.spans("entity"))}
    )
    lessons = [
        Lesson([first], frozenset({second.id})),
        Lesson([other.model_copy(update={"id": "other"})], frozenset({first.id})),
        Lesson([], frozenset(one.id for one in GOLD if one.id not in (first.id, second.id))),
    ]
    found = analyse(source(GOLD, training=Training(["x"], lessons)), resamples=100, with_baselines=False)
    [cut] = [cut for cut in plain(found)["layers"]["entity"]["slices"] if cut["by"] == "names"]
    size = len(first.spans("entity"))
    assert {row["name"]: row["items"] for row in rows(cut)} == {
        "seen": size,
        "seen with another label": size,
        "unseen": 10 * size,
    }


def test_baselines_stand_beside_sentences_and_documents() -> None:
    training = Training(["train.jsonl"], [Lesson(gold(3))])
    layers = plain(analyse(source(spoilt(GOLD, {0}), training=training), resamples=200))["layers"]
    assert layers["entity"]["baselines"] == []
    found = {row["name"]: row for row in layers["stance"]["baselines"]}
    assert [*found] == ["majority", "TF-IDF", "TF-IDF, target unseen"]
    for row in found.values():
        ours = layers["stance"]["overall"]["f1"]["value"]
        assert row["difference"]["value"] == pytest.approx(ours - row["f1"]["value"])
        assert row["learned_from"] == "training data"
        assert row["name"] in row["conclusion"]
    alone = plain(analyse(source(spoilt(GOLD, {0})), resamples=100))["layers"]["stance"]["baselines"]
    assert [(row["name"], row["learned_from"]) for row in alone] == [("majority", "the scored documents themselves")]


def test_what_does_not_fit_is_named_with_counts_and_the_rest_is_scored() -> None:
    predicted = spoilt(GOLD, {0})
    predicted[1] = predicted[1].model_copy(update={"text": predicted[1].text + " More."})
    predicted[3] = predicted[3].model_copy(update={"target": "Another claim."})
    truth = [*GOLD]
    own = truth[4]
    strange = own.spans("entity")[0].model_copy(update={"label": "FOOD"})
    truth[4] = own.with_labels(
        {**own.labels, "entity": (strange, *own.spans("entity")[1:]), "mood": Label(label="sad")}
    )
    found = analyse(source(predicted[:-1], truth=truth), resamples=100)
    assert [remark for remark in found.remarks if "left out" in remark or "unknown" in remark] == [
        "1 document left out, in gold and without a prediction: 11-2",
        "1 document left out, another text in the prediction than in gold: 0-2",
        "1 document left out, another target than in gold (in document, stance only): 1-2",
        "layer 'mood' is unknown to the tagger and not scored: it is in 1 gold documents",
        "label 'FOOD' of layer 'entity' is unknown to the tagger and left out: 1 times gold",
    ]
    values = plain(found)["layers"]
    assert values["entity"]["items"] == sum(len(one.spans("entity")) for one in GOLD) - 1
    assert values["document"]["items"] == len(GOLD) - 3


def test_nothing_in_common_is_refused_with_every_reason() -> None:
    elsewhere = [one.model_copy(update={"id": f"x{one.id}"}) for one in GOLD]
    with pytest.raises(DocumentError) as refused:
        analyse(source(elsewhere))
    told = "\n".join(refused.value.problems)
    assert "24 documents left out, in gold and without a prediction" in told
    assert "nothing can be scored" in told


def test_missing_probabilities_and_unannotated_layers_are_told_and_the_rest_is_made(tmp_path: Path) -> None:
    truth = [one.only(["entity", "stance"]) for one in GOLD]
    found = analyse(source(truth, truth=truth), resamples=100)
    values = plain(found)["layers"]
    assert values["entity"]["curve"] is values["entity"]["calibration"] is None
    assert any("none of 36 predictions has a probability" in told for told in values["entity"]["remarks"])
    nothing = values["document"]
    assert nothing["remarks"] == ["no document's gold annotates the layer (of 24); it is not scored"]
    assert nothing["overall"] is nothing["errors"] is nothing["confusion"] is nothing["calibration"] is None
    assert nothing["tables"] == nothing["slices"] == nothing["per_label"] == []
    some = spoilt(truth, set())
    some[0] = some[0].with_labels({**some[0].labels, "entity": GOLD[0].spans("entity")})
    half = plain(analyse(source(some, truth=truth), resamples=100))["layers"]["entity"]
    assert half["calibration"]["without"] == len(GOLD[0].spans("entity"))
    assert any("predictions have no probability" in told for told in half["remarks"])
    write_report(found, tmp_path, command="standpoint report")
    assert "no document's gold annotates the layer" in (tmp_path / "report.txt").read_text()


def test_one_group_has_no_interval() -> None:
    truth = [one.model_copy(update={"group": "all"}) for one in GOLD]
    found = analyse(source(spoilt(truth, {0}), truth=truth), resamples=100)
    assert "all documents are of one group: no interval can be given" in found.remarks
    overall = plain(found)["layers"]["entity"]["overall"]
    assert overall["f1"]["low"] is None
    assert overall["f1"]["value"] < 1


def test_a_layer_that_nothing_is_predicted_in_is_scored_as_empty() -> None:
    bare = [one.only(["stance", "document"]) for one in spoilt(GOLD, set())]
    layer = plain(analyse(source(bare), resamples=100))["layers"]["entity"]
    assert layer["overall"]["f1"]["value"] == 0
    assert layer["errors"]["all"]["missed"] == layer["items"]
    assert "nothing is predicted in this layer" in layer["remarks"]


def test_the_text_is_the_libraries_own_for_every_round(made: Analysis) -> None:
    told = text(made)
    assert "# seed-0" in told and "# seed-1" in told
    for report in made.texts.values():
        layer = report.layers["entity"]
        assert layer.lenient is not None
        assert f"seqeval, strict IOB2:\n{layer.table.text}\nseqeval, default (lenient):\n{layer.lenient.text}" in told
    about = {
        "command": "c",
        "data": {"documents": 1, "groups": 1, "files": ["f"], "fingerprint": "0"},
        "rounds": ["a", "b"],
    }
    told = markdown(made, about)
    assert "Means over 2 rounds" in told
    assert [told.count(f"highest {average} F1 by threshold") for average in ("micro", "macro")] == [1, 2]


def test_long_sentences_are_cut_around_the_span_and_short_ones_are_whole() -> None:
    kind = SCHEMA.layers["entity"].kind
    short = "One sentence. Another one with Kabul in it. A third."
    [_, second, third] = sentences(short)
    start = short.index("Kabul")
    place = second._replace(start=start, end=start + 5)
    assert excerpt(short, place, kind) == second
    assert excerpt(short, place._replace(end=third.start + 3), kind) == (second.start, third.end)
    long = "word " * 400 + "Kabul " + "word " * 400
    place = place._replace(start=2000, end=2005)
    found = excerpt(long, place, kind)
    assert found.start <= 2000 < 2005 <= found.end
    assert found.end - found.start < 500
    assert not (long[found.start - 1].isalnum() and long[found.start].isalnum())


@pytest.mark.parametrize(("start", "end"), [(30, 42), (700, 712), (1190, 1202), (26, 1226)])
def test_an_error_inside_a_long_unbroken_string_is_shown(start: int, end: int) -> None:
    text = "See https://example.org/?q=" + "ab12" * 600 + " for more."
    found = excerpt(text, sentences(text)[0]._replace(start=start, end=end), SCHEMA.layers["entity"].kind)
    assert found.start <= start < end <= found.end
    assert found.end - found.start <= end - start + 600


@pytest.mark.parametrize("groups", [5, MANY + 200])
def test_many_groups_are_drawn_in_blocks_as_often_as_few(groups: int) -> None:
    blocks = np.concatenate([*resampled_blocks(groups, 40, seed=3)])
    assert blocks.shape == (40, groups)
    assert (blocks.sum(axis=1) == groups).all()
    if groups <= MANY:
        assert (blocks == resampled(groups, 40, seed=3)).all()
    else:
        # Each group is drawn about once a resample, with a variance of about 1.
        assert blocks.mean() == 1
        assert blocks.var() == pytest.approx(1, abs=0.05)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, encoders: Callable[[str], Path]) -> Path:
    """A run with a held-out article, a cross-validation and an evaluation, through the command line."""
    folder = tmp_path_factory.mktemp("report")
    data = folder / "gold.jsonl"
    documents = gold(2)
    documents[0] = documents[0].model_copy(update={"source": FrozenDict({"task": 17})})
    write_jsonl(data, documents)
    config = write_run(folder, str(ROOT / "configs" / "schema.yaml"), data, encoders("bert"))
    cli("train", config, "data.held_out=[article-1]", f"output={folder / 'held'}")
    cli("crossval", config, "--seeds", "0,1", "--no-baselines", f"output={folder / 'cv'}")
    cli("evaluate", folder / "held" / "checkpoint", data, "--output", folder / "scored")
    return folder


def report(*arguments: str | Path, output: Path) -> tuple[str, Values]:
    told = cli("report", *arguments, "--output", output)
    assert sorted(path.name for path in output.iterdir()) == ["report.html", "report.json", "report.md", "report.txt"]
    assert told.strip() == (output / "report.txt").read_text().strip()
    return told, json.loads((output / "report.json").read_text())


def test_a_checkpoint_is_tagged(trained: Path, tmp_path: Path) -> None:
    checkpoint, link = trained / "held" / "checkpoint", "http://localhost:8080/projects/1/data?task={task}"
    _, values = report(checkpoint, trained / "gold.jsonl", "--task-url", link, output=tmp_path / "one")
    about = values["about"]
    assert (values["format"], about["kind"], about["rounds"], about["task_url"]) == (1, "checkpoint", ["run"], link)
    assert about["training"]["documents"] == 2
    assert about["data"]["documents"] == 4
    assert "2 of 4 scored documents have a text that was learned from" in values["remarks"]
    assert {17, None} == {row["task"] for row in rows(values["documents"])}
    evaluated = json.loads((trained / "scored" / "metrics.json").read_text())["layers"]
    assert values["layers"]["entity"]["tables"][0]["strict"]["rows"] == evaluated["entity"]["strict"]
    assert values["layers"]["entity"]["not_represented"] == evaluated["entity"]["not_represented"]


def surer(path: Path, folder: Path) -> Path:
    """A copy of a checkpoint that is sure of stances, as one is that has learned more than a few steps."""
    shutil.copytree(path, folder)
    model, tokenizer, _ = checkpoint.load(path)
    with torch.no_grad():
        for values in model.sentence_heads.parameters():
            values.mul_(500)
    checkpoint.save(folder, model, tokenizer)
    record(folder)
    return folder


def partly_right(tagger: Path) -> list[Document]:
    """Articles that the tagger does not know; of its answers every fourth stance is wrong, every entity, and no document."""
    stances = SCHEMA.layers["stance"].names
    found = []
    for document in Tagger.load(tagger).tag_all([one.with_labels({}) for one in gold(8)[4:]]):
        stance = tuple(
            one.model_copy(update={"label": stances[(stances.index(one.label) + (place % 4 == 3)) % len(stances)]})
            for place, one in enumerate(document.spans("stance"))
        )
        found.append(document.with_labels({"entity": (), "stance": stance, "document": document.labels["document"]}))
    return found


def test_a_copy_has_the_temperatures_that_are_of_use(trained: Path, tmp_path: Path) -> None:
    sure, copy, data = (
        surer(trained / "held" / "checkpoint", tmp_path / "sure"),
        tmp_path / "copy",
        tmp_path / "fresh.jsonl",
    )
    write_jsonl(data, partly_right(sure))
    told, values = report(sure, data, "--calibrated", copy, output=tmp_path / "one")
    fits = {name: layer["calibration"]["temperature"] for name, layer in values["layers"].items()}
    assert {name: fit["written"] for name, fit in fits.items()} == {
        "entity": None,
        "stance": str(copy),
        "document": None,
    }
    assert "runs into a bound of its search" in fits["entity"]["problem"]
    assert "no prediction is wrong" in fits["document"]["problem"]
    assert fits["stance"]["problem"] is None and fits["stance"]["nll_after"] < fits["stance"]["nll_before"]
    assert f"{copy} has fitted temperatures for stance, and not for entity, document" in told
    assert (
        f"document: its temperature is not to be used, and --calibrated leaves it as it was: {fits['document']['problem']}"
        in told
    )
    assert "no temperature can be determined" in fits["document"]["conclusion"]
    page = (tmp_path / "one" / "report.html").read_text()
    assert page.count("<caption>Reliability with temperature scaling") == 1
    config = json.loads((copy / "config.json").read_text())["tagger"]
    assert config["temperatures"] == {"stance": fits["stance"]["value"]}
    assert verify(copy).sound
    card = (copy / "README.md").read_text("utf-8")
    assert card.startswith((sure / "README.md").read_text("utf-8")) and "## Calibration" in card
    assert (copy / "training.json").read_bytes() == (sure / "training.json").read_bytes()
    assert "temperature" in (tmp_path / "one" / "report.md").read_text()
    _, again = report(copy, data, "--no-baselines", output=tmp_path / "two")
    assert again["layers"]["stance"]["overall"] == values["layers"]["stance"]["overall"]
    assert again["layers"]["stance"]["calibration"]["ece"] != values["layers"]["stance"]["calibration"]["ece"]
    assert again["layers"]["stance"]["baselines"] == []
    refused = CliRunner().invoke(app, ["report", str(sure), str(data), "--calibrated", str(copy)])
    assert refused.exit_code == 2
    assert "exists already" in refused.stderr


def test_no_copy_is_made_where_no_temperature_is_of_use(trained: Path, tmp_path: Path) -> None:
    data, output = tmp_path / "right.jsonl", tmp_path / "out"
    write_jsonl(data, [one.only({"document"}) for one in partly_right(trained / "held" / "checkpoint")])
    asked = ReportSettings(calibrated=tmp_path / "copy")
    with pytest.raises(DocumentError, match="no layer has a temperature that is of use") as refused:
        make_report(trained / "held" / "checkpoint", [data], output, asked, command="standpoint report")
    assert "document: no prediction is wrong" in str(refused.value)
    assert not output.exists() and not (tmp_path / "copy").exists()


def test_a_checkpoint_on_its_own_tells_what_it_learned_from(trained: Path, tmp_path: Path) -> None:
    alone, data = tmp_path / "alone" / "checkpoint", trained / "gold.jsonl"
    shutil.copytree(trained / "held" / "checkpoint", alone)
    found = read_source(alone, [data], logits=True)
    assert found.known == {"0-1", "0-2"}
    assert "2 of 4 scored documents have a text that was learned from" in found.remarks
    assert "temperatures are fitted and measured on the others alone" in found.remarks
    assert not any("what was learned from is not known" in remark for remark in found.remarks)
    assert any("name the files with --train" in remark for remark in found.remarks)
    assert found.evidence is not None
    assert {name: set(one.fold) for name, one in found.evidence.items()} == {
        name: {"article-1"} for name in SCHEMA.layers
    }
    assert read_source(alone, [data], train=[data]).known == {one.id for one in gold(2)}
    assert read_source(trained / "held", [data]).known == {"0-1", "0-2"}
    # A file that the run's config names may have grown since the run.
    shutil.copytree(trained / "held", tmp_path / "later")
    grown, config = tmp_path / "grown.jsonl", tmp_path / "later" / "config.yaml"
    write_jsonl(grown, gold(3))
    config.write_text(config.read_text().replace(str(data), str(grown)))
    later = read_source(tmp_path / "later" / "checkpoint", [grown])
    assert later.known == {"0-1", "0-2"}
    assert later.training is not None and later.training.documents == 4


def test_no_temperature_is_fitted_on_what_was_learned_from(trained: Path, tmp_path: Path) -> None:
    write_jsonl(tmp_path / "learned.jsonl", gold(1))
    checkpoint = trained / "held" / "checkpoint"
    for asked in (ReportSettings(calibrate=True), ReportSettings(calibrated=tmp_path / "copy")):
        with pytest.raises(DocumentError, match="learned from, and on those") as refused:
            make_report(checkpoint, [tmp_path / "learned.jsonl"], tmp_path / "out", asked, command="standpoint report")
        assert "learned.jsonl: all 2 documents" in str(refused.value)
        assert "give annotated documents that it did not learn from" in str(refused.value)
    assert not (tmp_path / "out").exists() and not (tmp_path / "copy").exists()


def test_finished_results_are_scored_from_what_they_kept(trained: Path, tmp_path: Path) -> None:
    _, run = report(trained / "held", output=tmp_path / "run")
    assert (run["about"]["kind"], run["about"]["data"]["documents"]) == ("run", 2)
    assert run["about"]["version"]
    assert [row["name"] for row in run["layers"]["stance"]["baselines"]] == [
        "majority",
        "TF-IDF",
        "TF-IDF, target unseen",
    ]
    _, crossed = report(trained / "cv", output=tmp_path / "cv")
    assert (crossed["about"]["kind"], crossed["about"]["rounds"]) == ("crossval", ["seed-0", "seed-1"])
    saved = json.loads((trained / "cv" / "crossval.json").read_text())["scores"]
    for one in saved:
        assert crossed["layers"][one["layer"]]["overall"]["f1"]["value"] == pytest.approx(one["mean"])
        assert crossed["layers"][one["layer"]]["overall"]["by_round"] == pytest.approx(one["by_seed"])
    assert crossed["about"]["training"]["documents"] == 4
    assert not any("learned from" in remark for remark in crossed["remarks"])
    _, scored = report(trained / "scored", "--calibrate", output=tmp_path / "scored")
    assert scored["about"]["kind"] == "evaluation"
    assert any("no temperature was fitted" in remark for remark in scored["remarks"])
    assert any("name the files with --train" in remark for remark in scored["remarks"])
    _, told = report(trained / "scored", "--train", trained / "gold.jsonl", output=tmp_path / "told")
    assert {cut["by"] for cut in told["layers"]["entity"]["slices"]} >= {"names"}


def test_gold_of_another_schema_is_read_and_its_labels_are_named(trained: Path, tmp_path: Path) -> None:
    documents = gold(2)
    first = documents[0]
    renamed = first.spans("entity")[0].model_copy(update={"label": "FOOD"})
    documents[0] = first.with_labels({**first.labels, "entity": (renamed, *first.spans("entity")[1:])})
    write_jsonl(tmp_path / "other.jsonl", documents)
    _, values = report(trained / "held" / "checkpoint", tmp_path / "other.jsonl", output=tmp_path / "out")
    assert "label 'FOOD' of layer 'entity' is unknown to the tagger and left out: 1 times gold" in values["remarks"]
    task = {
        "id": 3,
        "data": {"text": "Kabul is quiet.", "layers": ["entity"]},
        "annotations": [
            {
                "id": 1,
                "completed_by": 1,
                "result": [
                    {
                        "id": "a",
                        "from_name": "entity",
                        "to_name": "text",
                        "type": "labels",
                        "value": {"start": 0, "end": 5, "text": "Kabul", "labels": ["TOWN"]},
                    }
                ],
            }
        ],
    }
    (tmp_path / "export.json").write_text(json.dumps([task]))
    _, values = report(trained / "held" / "checkpoint", tmp_path / "export.json", output=tmp_path / "export")
    assert "label 'TOWN' of layer 'entity' is unknown to the tagger and left out: 1 times gold" in values["remarks"]
    assert values["layers"]["stance"]["documents"] == 0


def test_an_empty_layer_of_another_schema_is_named_and_the_rest_scored(trained: Path, tmp_path: Path) -> None:
    documents = [one.with_labels({**one.labels, "topic": ()}) for one in gold(2)]
    mixed = [*documents, gold(3)[-1].with_labels({"mood": Label(label="sad"), "topic": ()})]
    asked = {"id": 3, "data": {"text": "Kabul.", "layers": ["mood", "topic"]}, "annotations": [{"id": 1, "result": []}]}
    (tmp_path / "export.json").write_text(json.dumps([asked]))
    unknown = "is unknown to the tagger and not scored"
    for found, more, wanted in (
        (documents, [], [f"layer 'topic' {unknown}: it is in 4 gold documents"]),
        (
            mixed,
            [tmp_path / "export.json"],
            [
                f"layer 'topic' {unknown}: it is in 6 gold documents",
                f"layer 'mood' {unknown}: it is in 1 gold documents",
            ],
        ),
    ):
        write_jsonl(tmp_path / "gold.jsonl", found)
        source = read_source(trained / "held" / "checkpoint", [*more, tmp_path / "gold.jsonl"])
        remarks = analyse(source, resamples=100, with_baselines=False).remarks
        assert [remark for remark in remarks if unknown in remark] == wanted


def test_a_runs_own_data_are_read_with_a_label_added_later(trained: Path, tmp_path: Path) -> None:
    data, config = tmp_path / "gold.jsonl", tmp_path / "held" / "config.yaml"
    shutil.copytree(trained / "held", tmp_path / "held")
    config.write_text(config.read_text().replace(str(trained / "gold.jsonl"), str(data)))
    documents = [*gold(2), Document(id="new", text="Tea.", labels={"entity": (Span(start=0, end=3, label="FOOD"),)})]
    documents[0] = documents[0].with_labels({**documents[0].labels, "topic": ()})
    documents[2] = documents[2].with_labels({"entity": (Span(start=0, end=6, label="FOOD"),)})
    write_jsonl(data, documents)
    _, values = report(tmp_path / "held", output=tmp_path / "out")
    assert "label 'FOOD' of layer 'entity' is unknown to the tagger and left out: 1 times gold" in values["remarks"]
    assert any("changed after the run" in remark for remark in values["remarks"])


def test_what_cannot_be_reported_on_is_refused_and_nothing_is_written(trained: Path, tmp_path: Path) -> None:
    checkpoint, data = trained / "held" / "checkpoint", trained / "gold.jsonl"
    for path, given, settings, words in (
        (checkpoint, [], ReportSettings(), "name the annotated files to score it on"),
        (tmp_path, [data], ReportSettings(), "holds no finished result"),
        (trained / "held" / "predictions.jsonl", [data], ReportSettings(), "does not tell its schema"),
        (trained / "held", [data], ReportSettings(calibrated=tmp_path / "c"), "copies a checkpoint"),
        (
            checkpoint,
            [data],
            ReportSettings(calibrated=data / "c" / "d"),
            f"{data} is a file, so no folder can be made",
        ),
        (checkpoint, [data], ReportSettings(task_url="http://localhost"), "needs {task}"),
        (checkpoint, [data], ReportSettings(resamples=3), "at least 100"),
        (checkpoint, [tmp_path / "none.jsonl"], ReportSettings(), "cannot be read"),
    ):
        with pytest.raises((DocumentError, ConfigError), match=words):
            make_report(path, given, tmp_path / "out", settings, command="standpoint report")
    assert not (tmp_path / "out").exists()
    assert not (tmp_path / "c").exists()


def test_the_benchmark_measures_every_part(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import report_speed

    found = report_speed.main(
        ["--sentences", "30", "--resamples", "100", "--loop", "2", "--save", str(tmp_path / "saved")]
    )
    assert len(found) == 5
    assert all(row["seconds"] >= 0 for row in found)
    assert "extrapolated from 2, not run" in (tmp_path / "saved.md").read_text()
    saved = json.loads((tmp_path / "saved.json").read_text())
    assert saved["sentences"] == 30
    pairs = [report_speed.sentence(number, random.Random(1)) for number in range(9)]
    looped = report_speed.seqeval_loop(pairs, 20)
    items = layer_items([pairs], report_speed.SCHEMA)["name"]
    draws = np.concatenate([*resampled_blocks(9, 20)])
    order = [items.groups.index(gold.fold) for gold, _ in pairs]
    assert order == [*range(9)]
    ours = average_f1(counted(items).totals(draws)[:, 0], macro=False)
    assert looped == pytest.approx(ours.tolist())
