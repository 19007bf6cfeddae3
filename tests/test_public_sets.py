"""Public labelled sets: read from small files of their own shapes, from the real ones where they are, and trained on together."""

from __future__ import annotations

import csv
import io
import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from conftest import ROOT
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from transformers import AutoModel

from annotations.document import Document
from annotations.errors import DocumentError
from annotations.formats.conversion import ConversionReport
from annotations.schema import Schema
from annotations.storage import read_jsonl
from inference.checkpoint import from_encoder, save_encoder
from inference.model import StandpointModel
from inference.tagger import Tagger
from training.config import RunConfig
from training.data import collate_rows, dataset
from training.formats.public_sets import EDGES, SETS, directed_sentiment, kept_for_choosing, near, newsmtsc, write_sets
from training.objective import Objective, class_weights
from training.runs import train

DATA = os.environ.get("STANDPOINT_DATA")
WANTED = pytest.mark.skipif(not DATA, reason="STANDPOINT_DATA names no folder with the public sets")
SCHEMA = ROOT / "configs" / "pretrain" / "public-schema.yaml"
COUNTS = {
    "gmb": "7,994 documents, 111,891 spans",
    "crossner-politics": "40 documents, 1,304 spans",
    "wnut17": "3,291 documents, 1,901 spans",
    "newsmtsc": "(negative 2,897, neutral 2,657, positive 2,063)",
    "directed-sentiment": "(neutral 19,181, negative 2,277, positive 1,319)",
}
LOST = {
    "wnut17": "13 × documents given again with other labels",
    "newsmtsc": "67 × documents given again,",
    "directed-sentiment": "159 × lines with an entity of no letter or digit",
}


def row(sentence: str, *targets: tuple[str, float]) -> str:
    """A line of NewsMTSC; a mention stands where it is found first."""
    found = [
        {"from": sentence.index(m), "to": sentence.index(m) + len(m), "mention": m, "polarity": p, "Input.gid": "x"}
        for m, p in targets
    ]
    return json.dumps({"primary_gid": "x", "sentence_normalized": sentence, "targets": found})


def lines(folder: Path, *given: str) -> Path:
    path = folder / "train.txt"
    path.write_text("".join(f"{line}\n" for line in given), "utf-8")
    return path


def labels(document: Document, layer: str) -> list[tuple[str, str]]:
    return [(document.text[span.start : span.end], span.label) for span in document.spans(layer)]


def test_newsmtsc_labels_the_sentence_that_holds_the_target(tmp_path: Path) -> None:
    text = "It rained all day in Kabul. Karim blamed the mayor, Nadia Rahimi."
    path = lines(tmp_path, row(text, ("Karim", 4.0), ("Nadia Rahimi", 2.0)), row("Ünal won — at last.", ("Ünal", 6.0)))
    karim, nadia, won = newsmtsc(path)
    assert (karim.target, nadia.target, won.target) == ("Karim", "Nadia Rahimi", "Ünal")
    assert labels(karim, "newsmtsc") == [("Karim blamed the mayor, Nadia Rahimi.", "neutral")]
    assert labels(nadia, "newsmtsc") == [("Karim blamed the mayor, Nadia Rahimi.", "negative")]
    assert labels(won, "newsmtsc") == [(won.text, "positive")]
    assert karim.fold == nadia.fold != won.fold
    assert won.source == {"file": "train.txt", "line": 2, "mention": (0, 4)}


def test_a_target_given_twice_is_kept_once_and_counted(tmp_path: Path) -> None:
    again = row("Karim left.", ("Karim", 2.0), ("Karim", 2.0))
    report = ConversionReport()
    found = list(newsmtsc(lines(tmp_path, again, row("Karim left.", ("Karim", 6.0))), layer="mine", report=report))
    assert [labels(document, "mine") for document in found] == [[("Karim left.", "negative")]]
    assert report.counts == {
        "documents given again, the first one kept": 1,
        "documents given again with other labels, the first one kept": 1,
    }


@pytest.mark.parametrize(
    ("kind", "first", "second"),
    [
        (0, "neutral", "neutral"),
        (1, "neutral", "positive"),
        (2, "positive", "neutral"),
        (3, "neutral", "negative"),
        (4, "negative", "neutral"),
    ],
)
def test_an_attitude_belongs_to_the_entity_that_it_is_towards(
    tmp_path: Path, kind: int, first: str, second: str
) -> None:
    path = lines(tmp_path, f"[Karim] met [Nadia Rahimi] on Friday.\tKarim\tNadia Rahimi\t{kind}")
    found = list(directed_sentiment(path))
    text = "Karim met Nadia Rahimi on Friday."
    assert [(d.target, labels(d, "directed")) for d in found] == [
        ("Karim", [(text, first)]),
        ("Nadia Rahimi", [(text, second)]),
    ]


@pytest.mark.parametrize(
    ("line", "targets"),
    [
        ("A [Los Angele]s anchor met [Rouhani’]s men.\tLos Angele\tRouhani’\t0", ["Los Angeles", "Rouhani"]),
        (" [ Juror]s in the [U. S.] left. \tJuror\tU. S.\t0", ["Jurors", "U. S."]),
        ('"[Karim] said ""no"" to [Nadia""]."\tKarim\t"Nadia"""\t3', ["Karim", "Nadia"]),
        ("[Trump]And [NATO]-led men.\tTrump\tNATO\t0", ["Trump", "NATO"]),
        ("[Karim] likes [,].\tKarim\t,\t1", []),
    ],
)
def test_mentions_are_mended_to_whole_words(tmp_path: Path, line: str, targets: list[str]) -> None:
    report = ConversionReport()
    found = list(directed_sentiment(lines(tmp_path, line), report=report))
    assert [document.target for document in found] == targets
    assert report.counts.total() == (not targets)
    assert not any(letter in document.text for document in found for letter in "[]\t")
    assert all(document.text == document.text.rstrip() for document in found)


def test_bad_lines_are_told_with_file_and_number_all_at_once(tmp_path: Path) -> None:
    good = row("Karim left.", ("Karim", 2.0))
    moved = good.replace('"from": 0', '"from": 1')
    path = lines(tmp_path, good, "{", '{"sentence_normalized": "x"}', moved, good.replace("2.0", "3.0"), good)
    with pytest.raises(DocumentError) as caught:
        list(newsmtsc(path))
    assert str(path) in str(caught.value)
    told = caught.value.problems
    assert [problem.split(":")[0] for problem in told] == ["line 2", "line 3", "line 4", "line 5"]
    assert "targets" in told[1] and "'Karim' does not stand at 1–5" in told[2] and "3.0 is none of 2, 4, 6" in told[3]


def test_bad_lines_of_directed_sentiment(tmp_path: Path) -> None:
    path = lines(
        tmp_path,
        "[a] b\ta\tb\t0",
        "[a] [b] [c]\ta\tb\t0",
        "[a] [b]\tb\ta\t0",
        "[a] [b]\ta\tb\t5",
        "[a] [b]\ta\tb",
        '"[a] [b]\ta\tb\t0',
        "",
        "[a] [b]\ta\tb\t0",
    )
    path.write_bytes(path.read_bytes() + b"[\xff] [b]\tx\tb\t0\n")
    with pytest.raises(DocumentError) as caught:
        list(directed_sentiment(path))
    assert [problem.split(":")[0] for problem in caught.value.problems] == [
        f"line {number}" for number in (1, 2, 3, 4, 5, 6, 7, 9)
    ]
    with pytest.raises(DocumentError, match="check the path"):
        list(directed_sentiment(tmp_path / "none.txt"))


words = st.text(st.characters(exclude_categories=("Cc", "Cs", "Zl", "Zp"), exclude_characters="[]"), max_size=12)
names = words.map(str.strip).filter(lambda name: any(map(str.isalnum, name)))


@given(st.tuples(words, names, words, names, words))
def test_offsets_are_the_mentions_text(tmp_path: Path, parts: tuple[str, str, str, str, str]) -> None:
    raw = "{}[{}]{}[{}]{}".format(*parts)
    out = io.StringIO()
    csv.writer(out, delimiter="\t", lineterminator="").writerow([raw, parts[1], parts[3], "1"])
    found = list(directed_sentiment(lines(tmp_path, out.getvalue())))
    assert {document.text for document in found} == {raw.strip().replace("[", "").replace("]", "")}
    for document in found:
        start, end = document.source["mention"]
        assert document.text[start:end] == document.target
        assert any(document.target.startswith(name.strip(EDGES)) for name in (parts[1], parts[3]))
        (span,) = document.spans("directed")
        assert span.start <= start < span.end


@given(st.lists(st.tuples(words, names), min_size=1, max_size=4))
def test_newsmtscs_targets_are_the_mentions_text(tmp_path: Path, parts: list[tuple[str, str]]) -> None:
    text, targets = "", []
    for filler, name in parts:
        text += f"{filler} "
        targets.append({"from": len(text), "to": len(text) + len(name), "mention": name, "polarity": 4})
        text += name
    found = list(newsmtsc(lines(tmp_path, json.dumps({"sentence_normalized": text, "targets": targets}))))
    assert [document.target for document in found] == list(dict.fromkeys(name for _, name in parts))
    for document in found:
        start, end = document.source["mention"]
        assert document.text == text and text[start:end] == document.target
        (span,) = document.spans("newsmtsc")
        assert span.start <= start < span.end


def test_what_is_near_an_unseen_text_is_found() -> None:
    article = (ROOT / "seeds" / "000_18060048750d6545.txt").read_text("utf-8")
    sentence = next(line for line in article.splitlines() if len(line.split()) > 15).split(". ")[0]
    inside = Document(id="a", text=f"Nothing else is known to anybody here. {sentence}, he said.")
    apart = Document(id="b", text="The mayor of Ghent opened a bridge over the river Lys on Monday.")
    assert near([apart, inside, apart.model_copy(update={"id": "c"})], [article]) == [inside]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """All five sets in their own shapes and places, twelve sentences each."""
    folder = tmp_path / "data"
    for public in SETS.values():
        (folder / public.path).parent.mkdir(parents=True, exist_ok=True)
    people = ["Karim", "Nadia", "Ünal", "Rahimi", "Petra", "Ivo", "Salma", "Jan", "Mina", "Otto", "Lea", "Omar"]
    rows = ["Sentence #,Word,POS,Tag"]
    for number, name in enumerate(people, 1):
        rows += [f"Sentence: {number},{name},NNP,B-per", ",left,VB,O", ",Kabul,NNP,B-geo", ",.,.,O"]
    with zipfile.ZipFile(folder / SETS["gmb"].path, "w") as archive:
        archive.writestr("ner_dataset.csv", "\n".join(rows).encode("latin-1"))
    columns = {"crossner-politics": "politician", "wnut17": "person"}
    for name, label in columns.items():
        text = "\n".join(f"{person}\tB-{label}\nvoted\tO\n" for person in people)
        (folder / SETS[name].path).write_text(text, "utf-8")
    lines(folder / "stance" / "newsmtsc", *(row(f"{p} lied.", (p, 2.0)) for p in people)).rename(
        folder / SETS["newsmtsc"].path
    )
    lines(folder / "stance" / "directed-sentiment", *(f"[{p}] thanked [Otto B].\t{p}\tOtto B\t1" for p in people))
    return folder


def test_the_command_writes_documents_that_the_schema_allows(data: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "training.formats.public_sets", str(data), str(tmp_path / "out")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=600)
    assert done.returncode == 0, done.stderr
    schema = Schema.load(SCHEMA)
    sizes = {name: len(list(read_jsonl(tmp_path / "out" / f"{name}.jsonl", schema))) for name in SETS}
    kept = [one for one in newsmtsc(data / SETS["newsmtsc"].path) if kept_for_choosing(one)]
    assert 0 < len(kept) < 12
    learnt = {"gmb": 2, "crossner-politics": 3, "wnut17": 12, "newsmtsc": 12 - len(kept), "directed-sentiment": 24}
    assert sizes == learnt
    assert f"{len(kept)} × documents kept for choosing between encoders" in done.stdout
    assert f"{tmp_path / 'out' / 'wnut17.jsonl'}: 12 documents, 12 spans in layer 'wnut' (person 12)" in done.stdout
    assert {public.layer for public in SETS.values()} == set(schema.layers)
    bare = [*command, "--held-out", str(tmp_path)]
    refused = subprocess.run(bare, capture_output=True, text=True, check=False, timeout=600)
    assert refused.returncode == 2 and "check --held-out" in refused.stderr


def test_what_is_near_a_held_out_text_is_not_written(data: Path, tmp_path: Path) -> None:
    told = list(write_sets(data, tmp_path / "out", ["Today Salma thanked Otto B. for it"]))
    assert not any("left out" in text for text in told)
    lines(data / "stance" / "directed-sentiment", "[Salma] publicly thanked [Otto] for it.\tSalma\tOtto\t1")
    told = list(write_sets(data, tmp_path / "out", ["Salma publicly thanked Otto for it, at last."]))
    assert "2 × documents near a held-out text, left out; first: document 'directed-train-1-1'" in told[-1]
    assert list(read_jsonl(tmp_path / "out" / "directed-sentiment.jsonl")) == []


@pytest.fixture
def run(data: Path, tmp_path: Path, encoders: Callable[[str], Path]) -> RunConfig:
    """The shipped config on the small sets and a tiny encoder."""
    list(write_sets(data, tmp_path / "public", ["nothing"]))
    files = [str(tmp_path / "public" / f"{name}.jsonl") for name in SETS]
    overrides = [f"data.train={files}", f"encoder={encoders('modernbert')}", f"output={tmp_path / 'run'}"]
    overrides += [
        "epochs=40",
        "batch_tokens=2048",
        "optimizer.lr=5e-3",
        "optimizer.head_lr=5e-3",
        "bf16=false",
        "dropout=0",
        "token_masking=0",
    ]
    return RunConfig.load(ROOT / "configs" / "pretrain" / "public.yaml", overrides)


def heads(model: StandpointModel) -> Iterator[tuple[str, nn.Module]]:
    yield from model.span_heads.items()
    yield from model.sentence_heads.items()


def gradients(run: RunConfig, chosen: list[Document]) -> dict[str, float]:
    """How large the gradient of each head (and of the encoder) is in one batch."""
    torch.manual_seed(0)
    model, tokenizer = from_encoder(run.encoder, run.tagger, 0.0)
    data = dataset(chosen, tokenizer, run.tagger)
    objective = Objective(run.tagger.label_schema, run.objective, class_weights(data, run.tagger.label_schema, 0.5))
    batch = collate_rows([data[place] for place in range(len(data))], run.tagger, tokenizer.pad_token_id)
    gold, owners = batch.pop("gold"), batch.pop("owners")
    objective(model(**batch), gold, owners).backward()
    parts = {**dict(heads(model)), "encoder": model.encoder}
    return {
        name: sum(float(p.grad.abs().sum()) for p in part.parameters() if p.grad is not None)
        for name, part in parts.items()
    }


def test_a_mixed_batch_teaches_every_head_and_a_set_only_its_own(run: RunConfig) -> None:
    found = {path.stem: list(read_jsonl(path))[:4] for path in run.data.train}
    mixed = gradients(run, [document for documents in found.values() for document in documents])
    assert len(mixed) == 6 and all(size > 0 for size in mixed.values())
    for name, documents in found.items():
        alone = gradients(run, documents)
        assert {part for part, size in alone.items() if size > 0} == {SETS[name].layer, "encoder"}


def test_one_run_learns_every_set_and_leaves_an_encoder(run: RunConfig, tmp_path: Path) -> None:
    done = train(run)
    assert done is not None
    tagger = Tagger.load(done[0].checkpoint)
    schema = Schema.load(SCHEMA)
    assert {name: head.out_features for name, head in heads(tagger.engine.model)} == {
        name: len(layer.labels) if layer.targeted else 1 + 2 * len(layer.labels)
        for name, layer in schema.layers.items()
    }
    document = tagger.tag("Karim left Kabul .", target="Karim")
    assert labels(document, "gmb") == [("Karim", "per"), ("Kabul", "geo")]
    for name in ("crossner", "wnut"):
        assert all(span.label in schema.layers[name].labels for span in document.spans(name))
    assert labels(tagger.tag("Karim lied.", target="Karim"), "newsmtsc") == [("Karim lied.", "negative")]
    towards = [tagger.tag("Karim thanked Otto B.", target=target) for target in ("Karim", "Otto B")]
    assert [labels(each, "directed")[0][1] for each in towards] == ["neutral", "positive"]
    save_encoder(done[0].checkpoint, tmp_path / "encoder")
    assert AutoModel.from_pretrained(tmp_path / "encoder").config.hidden_size == 32


@WANTED
def test_the_real_sets_hold_what_the_card_says_and_no_seed_article(tmp_path: Path) -> None:
    held_out = [path.read_text("utf-8") for path in sorted((ROOT / "seeds").glob("*.txt"))]
    assert len(held_out) == 5
    told = dict(zip(SETS, write_sets(Path(DATA or ""), tmp_path, held_out), strict=True))
    for name, text in COUNTS.items():
        assert text in told[name]
        assert LOST.get(name, "") in told[name]
        assert "held-out" not in told[name]
    schema = Schema.load(SCHEMA)
    ids = [document.id for name in SETS for document in read_jsonl(tmp_path / f"{name}.jsonl", schema)]
    assert len(set(ids)) == len(ids)
