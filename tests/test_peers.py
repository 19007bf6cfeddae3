"""The comparison with other systems: recipes that are what they claim, slices that stay apart, runs kept, tables end to end."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from conftest import ROOT
from torch import Tensor
from transformers import TrainingArguments

from annotations.document import Document, Span
from annotations.errors import CheckpointError
from annotations.schema import Kind
from inference.checkpoint import encoder_tokenizer

sys.path.insert(0, str(ROOT / "benchmarks"))
import encoder_runs
import peers
import spacy_ner
import token_classification
from encoder_runs import Encoder, Results
from public_slices import PROXY, TABLE, Split, by_line, cut
from word_rows import rows, tag_names, tagged

DATA = os.environ.get("STANDPOINT_DATA")
WANTED = pytest.mark.skipif(not DATA, reason="STANDPOINT_DATA names no folder with the public sets")
TEXT = "Ada Lovelace saw\nNew York .\n\nJoe left  Rome ."
QUICK = {**token_classification.SETTINGS, "num_train_epochs": 40, "learning_rate": 3e-3}


def named(text: str = TEXT) -> Document:
    found = [("Ada Lovelace", "PER"), ("New York", "LOC"), ("Joe", "PER"), ("Rome", "LOC")]
    spans = [Span(start=text.index(name), end=text.index(name) + len(name), label=label) for name, label in found]
    return Document(id="a", text=text, labels={"name": tuple(spans)})


def known(data: Path) -> Split:
    """A set scored on what it was learned from: a score of nothing would be a fault of the path."""
    learned = TABLE["politics"](data).learned
    return Split("own", learned, learned)


@pytest.mark.parametrize("whole", [False, True])
def test_rows_of_words_keep_every_span(whole: bool, data: Path) -> None:
    found = rows([named()], "name", whole=whole)
    assert [len(row.forms) for row in found] == ([10] if whole else [3, 3, 4])
    assert [form for row in found for form in row.forms] == TEXT.split()
    assert [tag for row in found for tag in row.tags][:5] == ["B-PER", "I-PER", "O", "B-LOC", "I-LOC"]
    documents = [named(), *TABLE["conll"](data).learned]
    found = rows(documents, "name", whole=whole)
    again = tagged(documents, "name", found, [row.tags for row in found])
    assert [one.spans("name") for one in again] == [one.spans("name") for one in documents]
    assert not any(
        one.labels["name"] for one in tagged(documents, "name", found, [["O"] * len(row.words) for row in found])
    )


def test_the_examples_recipe_is_transformers_default(tmp_path: Path) -> None:
    plain = TrainingArguments(output_dir=str(tmp_path), use_cpu=True)
    made = token_classification._arguments(3, str(tmp_path), token_classification.SETTINGS)
    for name in (*token_classification.SETTINGS, "optim", "max_grad_norm", "adam_beta2", "gradient_accumulation_steps"):
        assert getattr(made, name) == getattr(plain, name), name
    assert made.seed == 3


def test_only_the_first_token_of_a_word_has_a_tag(tiny: Path) -> None:
    tokenizer = encoder_tokenizer(str(tiny))
    found = rows([named()], "name", whole=True)
    names = tag_names(found)
    assert names == ["O", "B-LOC", "I-LOC", "B-PER", "I-PER"]
    feature = token_classification._feature(found[0], tokenizer, names)
    assert len(feature["input_ids"]) == len(feature["labels"]) == sum(feature["attention_mask"]) > len(found[0].forms)
    assert [names[label] for label in feature["labels"] if label >= 0] == found[0].tags
    assert {label for label in feature["labels"] if label < 0} == {-100}


def test_the_example_learns_and_cuts_what_is_too_long(tiny: Path, data: Path, tmp_path: Path) -> None:
    split = known(data)
    found = rows(split.learned, "name")
    learned = token_classification.learn(str(tiny), found, 0, str(tmp_path), QUICK)
    predicted = tagged(split.scored, "name", found, token_classification.predict(learned, found))
    assert encoder_runs.score(split, predicted) > 0.5
    assert learned.text_tokens == sum(
        len(learned.tokenizer(row.forms, is_split_into_words=True, add_special_tokens=False)["input_ids"])
        for row in found
    )
    learned.tokenizer.model_max_length = 4
    tags = token_classification.predict(learned, found)
    assert [len(one) for one in tags] == [len(row.forms) for row in found]
    assert all(one[2:] == ["O"] * (len(one) - 2) for one in tags)


class Positions(torch.nn.Module):
    """Says of every token at which position it stands."""

    config = SimpleNamespace(id2label={number: f"B-{number}" for number in range(64)})
    device = torch.device("cpu")

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> SimpleNamespace:
        return SimpleNamespace(logits=torch.eye(64)[: input_ids.shape[1]].expand(len(input_ids), -1, -1))


def test_a_word_gets_the_tag_of_its_first_token(tiny: Path) -> None:
    tokenizer = encoder_tokenizer(str(tiny))
    found = rows([named(), named(TEXT.replace("saw", "extraordinarily"))], "name")
    tags = token_classification.predict(token_classification.Learned(Positions(), tokenizer, 0), found)
    expected = []
    for row in found:
        owners = tokenizer(row.forms, is_split_into_words=True).word_ids()
        expected.append([f"B-{owners.index(word)}" for word in range(len(row.forms))])
    assert tags == expected
    assert any(int(one[-1][2:]) > len(one) for one in tags)


def test_the_example_refuses_a_tagger(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "standpoint"}')
    with pytest.raises(CheckpointError, match="give an encoder's folder"):
        token_classification._model(str(tmp_path), ["O"])


def test_spacy_learns_within_its_budget(data: Path) -> None:
    pytest.importorskip("spacy")
    split = known(data)
    found = rows(split.learned, "name")
    settings = {"epochs": 2, "least_steps": 60, "most_steps": 60, "dropout": 0.1}
    tags = spacy_ner.spacy_tags(found, found, 0, settings)
    assert encoder_runs.score(split, tagged(split.scored, "name", found, tags)) > 0.5
    assert tags == spacy_ner.spacy_tags(found, found, 0, settings)


def test_spacys_budget() -> None:
    pytest.importorskip("spacy")
    import random

    examples = ["x" * 30] * 20

    def steps(**settings: int) -> int:
        budget = {"epochs": 0, "least_steps": 0, "most_steps": 10**6, **settings}
        return len(list(spacy_ner._batches(examples, random.Random(0), budget)))

    each = steps(epochs=1)
    assert 5 <= each <= 7
    assert steps(epochs=3) <= 3 * each
    assert steps(epochs=1, least_steps=100) >= 100
    assert steps(epochs=30, most_steps=12) == 12


@pytest.mark.parametrize("name", TABLE)
def test_slices_are_apart_whole_and_always_the_same(name: str, data: Path) -> None:
    split = TABLE[name](data)
    small = cut(split, 4)
    assert cut(TABLE[name](data), 4) == small
    assert 4 <= sum(one.text.count("\n") + 1 for one in small.learned) <= 6
    assert {one.id for one in small.learned} < {one.id for one in split.learned}
    assert small.scored == split.scored
    assert not {one.text for one in split.learned} & {one.text for one in split.scored}
    assert not {one.id for one in split.learned} & {one.id for one in split.scored}


@WANTED
def test_no_choice_was_made_on_the_newswire_that_is_scored() -> None:
    split, choice = TABLE["newswire"](Path(DATA or "")), PROXY["newswire"](Path(DATA or ""))
    assert len(split.scored) == 150 and len(split.learned) > 800
    assert not {one.id for one in split.scored} & {one.id for one in (*choice.learned, *choice.scored)}


def test_lines_alone_keep_their_spans(data: Path) -> None:
    split = TABLE["conll"](data)
    alone = by_line(replace(split, learned=[*split.learned, named()]))
    quotes = [[one.text[span.start : span.end] for span in one.spans("name")] for one in alone.learned]
    assert quotes[-3:] == [["Ada Lovelace"], ["New York"], ["Joe", "Rome"]]
    assert len(alone.learned) == 12 + 3
    unnamed = named().model_copy(update={"id": "copy", "labels": {"name": ()}})
    again = by_line(replace(split, learned=[*split.learned, named(), unnamed]))
    assert again.learned == alone.learned, "fine-tuning refuses a text with two annotations"
    assert sum(len(one.spans("name")) for one in alone.scored) == sum(len(one.spans("name")) for one in split.scored)


def test_the_target_is_hidden_on_both_sides(data: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    seen: list[Split] = []
    monkeypatch.setattr(peers, "fine_tuned", lambda results, encoder, split, seed, settings: seen.append(split) or {})
    split, kept = TABLE["newsmtsc"](data), Results(tmp_path)
    peers.ours_blind(peers.Job(kept, kept, Encoder("x", "default"), split, 0, {}))
    [blind] = seen
    assert {one.target for one in (*blind.learned, *blind.scored)} == {peers.HIDDEN}
    assert [one.labels for one in blind.learned] == [one.labels for one in split.learned]
    assert blind.kind is Kind.SENTENCES


def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peers, "SIZES", ["6", "500", "full"])
    monkeypatch.setitem(token_classification.SETTINGS, "num_train_epochs", 1)
    monkeypatch.setattr(spacy_ner, "SETTINGS", {"epochs": 1, "least_steps": 2, "most_steps": 2, "dropout": 0.1})
    for name in TABLE:
        for size in peers.SIZES:
            monkeypatch.setitem(peers.SETTINGS, (name, size), {"epochs": 1})


def test_the_tables_from_end_to_end(
    tiny: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for package in ("pycrfsuite", "spacy"):
        pytest.importorskip(package)
    quick(monkeypatch)
    given = ["--data", str(data), "--runs", str(tmp_path / "runs"), "--encoder", f"tiny={tiny}", "--seeds", "0,1"]
    given += ["--sets", "politics,newsmtsc", "--sizes", "6,500,full"]
    peers.main([*given, "--save", str(tmp_path / "table")])
    captured = capsys.readouterr()
    assert "CrossNER-politics has no more than 500 sentences" in captured.err
    heads = [line for line in captured.out.splitlines() if line.startswith("| set")]
    names = "| set | sentences | standpoint | transformers' example | spaCy | CRF |"
    stance = "| set | sentences | standpoint | standpoint, target unseen | TF-IDF | TF-IDF, target unseen |"
    assert heads == [names, names, stance, stance]
    lines = [line.split(" | ") for line in captured.out.splitlines() if line.startswith(("| Cross", "| NewsM"))]
    sets = [(f"| {title}", size) for title in ("CrossNER-politics", "NewsMTSC") for size in ("6", "full")]
    assert [(line[0], line[1]) for line in lines] == [*sets[:2], *sets[:2], *sets[2:], *sets[2:]]
    assert all("(" in cell for cell in lines[0][2:5]) and "(" not in lines[0][5]
    # 2 sizes with 2 seeds; the CRF and TF-IDF once.
    kept = [json.loads(path.read_text()) for path in (tmp_path / "runs").glob("*.json")]
    own = ["defaults" in row for row in kept]
    assert own.count(True) == 2 * 2 + 2 * 2 * 2
    assert own.count(False) == 2 * (2 + 2 + 1) + 2 * 2
    saved = (tmp_path / "table.md").read_text()
    assert captured.out.strip() in saved and str(data) not in saved
    assert " --sets politics,newsmtsc --save " in saved
    found = json.loads((tmp_path / "table.json").read_text())["rows"]
    assert {row["size"] for row in found} == {"6", "full"} and all("seconds" in row for row in found)
    for module, name in ((encoder_runs, "run"), (token_classification, "learn"), (spacy_ner, "spacy_tags")):
        monkeypatch.setattr(module, name, None)
    peers.main(given)
    assert capsys.readouterr().out == captured.out
    # Nor does it need what was kept, where the table was saved.
    peers.main([*given, "--runs", str(tmp_path / "elsewhere"), "--save", str(tmp_path / "table")])
    assert capsys.readouterr().out == captured.out and not (tmp_path / "elsewhere").exists()


def test_new_defaults_are_new_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    before = encoder_runs.defaults()
    assert before == encoder_runs.defaults()
    schema = encoder_runs.RunConfig.model_json_schema()
    schema["properties"]["token_masking"]["default"] = 0.3
    monkeypatch.setattr(encoder_runs.RunConfig, "model_json_schema", lambda: schema)
    assert encoder_runs.defaults() != before


def test_unknown_systems_and_sizes_are_told(tmp_path: Path, data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for option, value, told in (("--systems", "spicy", "did you mean 'spacy'"), ("--sizes", "7", "is no size")):
        with pytest.raises(SystemExit) as ended:
            peers.main(["--data", str(data), "--runs", str(tmp_path), option, value])
        assert ended.value.code == 2
        assert told in capsys.readouterr().err


@pytest.mark.parametrize(
    ("size", "words"),
    [
        (
            "100",
            "{} to {} points of F1 better than transformers' own example recipe on the same encoder, and {} to {} points better",
        ),
        ("500", "{} to {} points of F1 better than the example, and {} to {} points better than the others"),
    ],
)
def test_the_readme_says_what_was_measured(size: str, words: str) -> None:
    kept = json.loads((ROOT / "benchmarks" / "results" / "peers.json").read_text("utf-8"))["rows"]
    scores: dict[tuple[str, str], list[float]] = {}
    for row in kept:
        if row["slice"] != "newsmtsc" and row["size"] == size:
            scores.setdefault((row["set"], row["name"]), []).append(100 * row["score"])
    means = {key: sum(values) / len(values) for key, values in scores.items()}
    gains: dict[str, list[int]] = {}
    for (name, system), mean in means.items():
        if system != "standpoint":
            gains.setdefault(system, []).append(round(means[name, "standpoint"] - mean))
    example = sorted(gains.pop("transformers' example"))
    others = sorted(gain for each in gains.values() for gain in each)
    text = " ".join((ROOT / "README.md").read_text("utf-8").split())
    assert words.format(example[0], example[-1], others[0], others[-1]) in text
