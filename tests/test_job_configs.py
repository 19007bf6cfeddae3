"""The shipped configs of common jobs run as their headers say, on tiny data and a tiny encoder."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from conftest import ROOT
from test_main_path import cli, gold

from annotations.document import Document, Label
from annotations.storage import write_jsonl
from inference.tagger import Tagger

CONFIGS = ROOT / "configs"
HUB = sorted((CONFIGS / "hub").glob("*.yaml"))
TINY = ["epochs=1", "bf16=false", "trainer.disable_tqdm=true", "tagger.reader.heads=2"]
WINDOWS = ["tagger.window={tokens: 48, context: 8}"]
CONLL = "EU NNP I-NP I-ORG\nrejects VBZ I-VP O\nGerman JJ I-NP I-MISC\ncall NN I-NP O\n. . O O\n\n"
CONLL += "Peter NNP I-NP I-PER\nBlackburn NNP I-NP I-PER\nleft VBD I-VP O\nBrussels NNP I-NP I-LOC\n. . O O\n\n"
POLITICS = "Merkel\tB-politician\nof\tO\nthe\tO\nCDU\tB-politicalparty\nwon\tO\n.\tO\n\n"


def run(config: Path, encoder: Path, folder: Path, train: list[Path], *more: str) -> Tagger:
    """The config's own command, with another encoder, other data and another folder."""
    data = f"data.train={json.dumps([str(path) for path in train])}"
    cli("train", config, f"encoder={encoder}", f"output={folder / 'run'}", data, *TINY, *more)
    return Tagger.load(folder / "run" / "checkpoint")


@pytest.fixture
def columns(tmp_path: Path) -> Path:
    """Two sets in columns, converted by the commands that the headers give."""
    (tmp_path / "conll").mkdir()
    for name, times in (("eng.train", 4), ("eng.testb", 1)):
        (tmp_path / "conll" / name).write_text(("-DOCSTART- -X- O O\n\n" + CONLL * times) * times)
    (tmp_path / "train.txt").write_text(POLITICS * 2)
    own = tmp_path / "conll"
    derived = ["--derive-schema", own / "schema.yaml"]
    cli("labels", "convert", own / "eng.train", "--output", own / "train.jsonl", *derived)
    cli("labels", "convert", own / "eng.testb", "--output", own / "test.jsonl", "--schema", own / "schema.yaml")
    derived = ["--derive-schema", tmp_path / "politics.yaml"]
    cli(
        "labels",
        "convert",
        tmp_path / "train.txt",
        "--layer",
        "politics",
        "--output",
        tmp_path / "politics.jsonl",
        *derived,
    )
    return tmp_path


def test_columns_in_the_style_of_conll(columns: Path, encoders: Callable[[str], Path], tmp_path: Path) -> None:
    test = f"data.test=[{columns / 'conll' / 'test.jsonl'}]"
    tagger = run(
        CONFIGS / "conll.yaml", encoders("bert"), tmp_path, [columns / "conll" / "train.jsonl"], test, *WINDOWS
    )
    assert set(tagger.tag("Merkel left Brussels.").labels) == {"entity"}
    found = yaml.safe_load((columns / "conll" / "schema.yaml").read_text())["layers"]["entity"]["labels"]
    shipped = yaml.safe_load((CONFIGS / "conll.yaml").read_text())["tagger"]["label_schema"]["layers"]["entity"][
        "labels"
    ]
    assert set(found) == set(shipped)


def test_several_sets_with_a_head_each(columns: Path, encoders: Callable[[str], Path], tmp_path: Path) -> None:
    train = [columns / "conll" / "train.jsonl", columns / "politics.jsonl"]
    tagger = run(CONFIGS / "several-sets.yaml", encoders("modernbert"), tmp_path, train, *WINDOWS)
    assert set(tagger.tag("Merkel left Brussels.").labels) == {"entity", "politics"}
    told = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert set(told["layers"]) == {"entity", "politics"}


def test_documents_alone(encoders: Callable[[str], Path], tmp_path: Path) -> None:
    labels = ["conflict", "diplomacy", "economy"]
    documents = [
        Document(id=str(n), text=f"Report {n}. It was {labels[n % 3]}.", labels={"topic": Label(label=labels[n % 3])})
        for n in range(6)
    ]
    write_jsonl(tmp_path / "train.jsonl", documents)
    line = (CONFIGS / "documents.yaml").read_text().split("# `", 1)[1].split("` (", 1)[0]
    assert json.loads(line).keys() == {"id", "text", "group", "labels"}
    assert Document.model_validate(json.loads(line)).labels["topic"] == Label(label="conflict")
    tagger = run(CONFIGS / "documents.yaml", encoders("distilbert"), tmp_path, [tmp_path / "train.jsonl"], *WINDOWS)
    found = tagger.tag("It was about the economy.").labels["topic"]
    assert isinstance(found, Label) and found.label in labels


@pytest.mark.parametrize("path", [CONFIGS / "train.yaml", *HUB], ids=lambda path: path.stem)
def test_the_gold_schema_with_each_encoders_config(path: Path, encoders: Callable[[str], Path], tmp_path: Path) -> None:
    family = {"roberta-base": "roberta", "modernbert-base": "modernbert", "train": "bert"}.get(path.stem, "xlm-roberta")
    write_jsonl(tmp_path / "gold.jsonl", gold(2))
    tagger = run(path, encoders(family), tmp_path, [tmp_path / "gold.jsonl"], *WINDOWS)
    assert set(tagger.tag("The Taliban met.", target="It met.").labels) == {"entity", "stance", "document"}


def test_hub_configs_leave_the_rates_to_the_recipe() -> None:
    assert len(HUB) >= 4
    for path in HUB:
        assert not {"optimizer", "epochs"} & set(yaml.safe_load(path.read_text())), path
