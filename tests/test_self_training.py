"""Self-training: teachers vote as their mean probabilities say, an interrupted run goes on, and no scored text is learned from."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from forked import Trainings
from service_help import make_checkpoint
from test_main_path import SENTENCES, cli, gold, write_run
from typer.testing import CliRunner

from annotations.document import Document, Span
from annotations.storage import read_jsonl, write_jsonl
from inference.config import TaggerConfig
from inference.decoding import document_logits
from inference.model import Logits
from inference.tagger import Tagger
from training.cli import app
from training.config import RunConfig
from training.lineage import text_hash
from training.preflight.report import text
from training.preflight.run import preflight
from training.self_training import Ensemble
from training.unlabelled import further_texts


def further(count: int = 3) -> list[Document]:
    """Texts that nobody has annotated, the last with a target."""
    found = [Document(id=f"more-{n}", text=f"News {n}. " + " ".join(SENTENCES[::-1])) for n in range(count)]
    return [*found[:-1], found[-1].model_copy(update={"target": "The Taliban met."})]


@pytest.fixture
def run_file(tmp_path: Path, encoders: Callable[[str], Path]) -> Path:
    """A run with two teachers and further texts in a folder: a file of texts, two of them the same, and a plain text."""
    write_jsonl(tmp_path / "gold.jsonl", gold(3))
    texts = tmp_path / "texts"
    texts.mkdir()
    write_jsonl(texts / "more.jsonl", [*further(), further()[0].model_copy(update={"id": "copy"}), gold(1)[0]])
    (texts / "plain.txt").write_text("The Taliban met again.")
    (texts / "empty.txt").write_text(" \n")
    (texts / "README").write_text("no text to learn from")
    taught = {"texts": [str(texts)], "teachers": 2}
    return write_run(tmp_path, "configs/schema.yaml", tmp_path / "gold.jsonl", encoders("bert"), self_training=taught)


def taggers(folder: Path, encoder: Path, config: TaggerConfig, seeds: Sequence[int]) -> list[Tagger]:
    made = [make_checkpoint(folder / str(seed), encoder, config, seed) for seed in seeds]
    return [Tagger.load(path, engine="torch") for path in made]


def answered(tagger: Tagger, ensemble: Ensemble | None = None) -> tuple[Logits, torch.Tensor]:
    """The answer to two documents in one batch, and pooled logits of their documents' layer."""
    windows = tagger.encode([Document(id=str(n), text=text, target="A claim.") for n, text in enumerate(SENTENCES[:2])])
    ((batch, own),) = tagger.answer(windows)
    answer = ensemble(batch) if ensemble else own
    pooled = torch.stack([torch.from_numpy(row) for _, row in document_logits("document", 2, [(batch, answer)])])
    return answer, pooled


def test_an_ensemble_gives_the_mean_of_probabilities(
    tmp_path: Path, encoders: Callable[[str], Path], config: TaggerConfig
) -> None:
    members = taggers(tmp_path, encoders("bert"), config, [1, 2, 3])
    ensemble = Ensemble([member.engine.model for member in members])
    together, pooled = answered(members[0], ensemble)
    alone = [answered(member) for member in members]
    for group, name in (("tokens", "entity"), ("sentences", "stance")):
        likely = torch.stack([getattr(answer, group)[name].softmax(-1) for answer, _ in alone])
        assert torch.allclose(getattr(together, group)[name].softmax(-1), likely.mean(0), atol=1e-6)
        assert not torch.allclose(likely[0], likely[1], atol=1e-3)
    lowest, highest = (getattr(torch.stack([own for _, own in alone]), kind)(0).values for kind in ("min", "max"))
    assert ((lowest - 1e-6 <= pooled) & (pooled <= highest + 1e-6)).all()
    of_one, own = answered(members[0], Ensemble([members[0].engine.model] * 2))
    assert torch.allclose(own, alone[0][1], atol=1e-6)
    assert torch.allclose(of_one.tokens["entity"].softmax(-1), alone[0][0].tokens["entity"].softmax(-1), atol=1e-6)  # type: ignore[index]


def test_further_texts_are_read_once_and_without_labels(run_file: Path) -> None:
    found = further_texts(RunConfig.load(run_file))
    assert [document.text for document in found][:3] == [document.text for document in further()]
    assert [document.text for document in found][3:] == [gold(1)[0].text, "The Taliban met again."]
    assert found[2].target == "The Taliban met."
    assert not any(document.labels for document in found)
    assert further_texts(RunConfig.load(run_file, ["self_training=null"])) == []


def test_a_run_learns_from_further_texts_and_says_so(
    run_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from training import self_training

    learned: list[tuple[int, float, list[Document]]] = []
    real = self_training.fine_tune

    def noted(config: RunConfig, documents: Sequence[Document], folder: Path, **more: Any) -> Tagger:
        assert config.epochs is not None
        learned.append((config.seed, config.epochs, list(documents)))
        return real(config, documents, folder, **more)

    monkeypatch.setattr(self_training, "fine_tune", noted)
    cli("train", run_file)
    assert [seed for seed, _, _ in learned] == [0, 1000, 0]
    assert [len(documents) for _, _, documents in learned] == [6, 6, 10], (
        "a text that is annotated is learned from once"
    )
    own, whole = (sum(len(text) for text in {one.text for one in documents}) for _, _, documents in learned[1:])
    assert [epochs for _, epochs, _ in learned] == [1, 1, pytest.approx(2 * own / whole)]
    taught = learned[2][2][6:]
    assert all("entity" in document.labels for document in taught)
    assert ["stance" in document.labels for document in taught] == [False, False, True, False]
    told = json.loads((tmp_path / "run" / "checkpoint" / "training.json").read_text())
    assert {text_hash(document.text) for document in [*gold(3), *further()]} <= set(told["texts"])
    assert told["recipe"]["self_training"] == {"teachers": 2, "steps": 2.0}
    card = (tmp_path / "run" / "checkpoint" / "README.md").read_text()
    assert "5 further texts had the labels that taggers made from those gave them." in card
    assert str(tmp_path) not in card
    assert not (tmp_path / "run" / "trainer").exists()


def test_copies_of_a_text_that_batches_tag_otherwise_have_the_same_spans(
    run_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from training import self_training

    text, real = further()[0].text, self_training.fine_tune
    copies = [Document(id=f"copy-{n}", text=text, target=f"Claim {n}.") for n in range(4)]
    write_jsonl(tmp_path / "texts" / "more.jsonl", [copies[0], *further()[1:], *copies[1:]])
    learned: list[Document] = []

    def tagged(tagger: Tagger, documents: Sequence[Document]) -> list[Document]:
        """Scores differ in the sixth decimal, and one near tie ends otherwise."""
        found = [Span(start=0, end=4, label="PERSON", score=0.5 + place / 1e6) for place in range(len(documents))]
        found[-2] = found[-2].model_copy(update={"label": "LOCATION"})
        return [document.with_labels({"entity": (span,)}) for document, span in zip(documents, found, strict=True)]

    def noted(config: RunConfig, documents: Sequence[Document], folder: Path, **more: Any) -> Tagger:
        learned[:] = documents
        return real(config, documents, folder, **more)

    monkeypatch.setattr(self_training.Tagger, "tag", tagged)
    monkeypatch.setattr(self_training, "fine_tune", noted)
    config = RunConfig.load(run_file, ["self_training.teachers=1"])
    self_training.learn(config, gold(3), tmp_path / "trainer")
    spans = [document.spans("entity") for document in learned if document.text == text]
    assert len(spans) == 4
    assert set(spans) == {(Span(start=0, end=4, label="PERSON", score=0.5),)}


def test_wherever_it_is_killed_it_goes_on(tmp_path: Path, encoders: Callable[[str], Path]) -> None:
    write_jsonl(tmp_path / "more.jsonl", further())
    taught = {"texts": [str(tmp_path / "more.jsonl")], "teachers": 2}
    steps = {"save_steps": 2, "disable_tqdm": True}
    trainings = Trainings(tmp_path, encoders("bert"), epochs=3, self_training=taught, trainer=steps)
    deaths = [
        ["training.objective:Objective.__call__", 3],
        ["inference.checkpoint:save", 1],
        ["training.self_training:Ensemble.read", 1],
        ["training.objective:Objective.__call__", 4],
    ]
    killed = [trainings.job("killed", die=death) for death in deaths]
    other = trainings.job("other", "self_training=null")
    *died, last, whole, plain = trainings.perform(*killed, trainings.job("killed"), trainings.job("whole"), other)
    assert [end["ends"] for end in died] == [[-9]] * len(deaths), trainings.told
    assert last["version"] == whole["version"] is not None
    assert plain["version"] not in (None, whole["version"])
    assert not (tmp_path / "killed" / "trainer").exists()


def test_other_further_texts_are_other_work(run_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from training import self_training

    def stopped(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(self_training.Ensemble, "read", stopped)
        assert CliRunner().invoke(app, ["train", str(run_file)]).exit_code == 130
    assert (tmp_path / "run" / "trainer" / "teacher-2" / "checkpoint").is_dir()
    assert not (tmp_path / "run" / "trainer" / "teacher-2" / "trainer").exists()
    (tmp_path / "texts" / "plain.txt").write_text("Another text.")
    refused = CliRunner().invoke(app, ["train", str(run_file)])
    assert refused.exit_code == 2
    assert "holds unfinished work with another data" in refused.stderr


def test_what_is_scored_is_no_further_text(run_file: Path, tmp_path: Path) -> None:
    held_out = "data.held_out=[article-0]"
    for command in (
        ["train", held_out],
        ["check", "--quick", held_out],
        ["crossval", "--no-baselines"],
        ["learning-curve"],
    ):
        refused = CliRunner().invoke(app, [command[0], str(run_file), *command[1:]])
        assert refused.exit_code == 2, refused.output
        assert "has the text of training document" in refused.output
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["self_training.texts=[nowhere.txt]"], "nowhere.txt"),
        (["self_training.texts=[FOLDER/nothing]"], "self_training.texts: hold no text; give files or folders"),
        (["self_training.teachers=0"], "self_training.teachers"),
        (["self_training.texts=[]"], "self_training.texts"),
        (["self_training.texts=['-']"], "self_training.texts: standard input can be read only once"),
    ],
)
def test_wrong_settings_are_told_before_any_training(
    overrides: list[str], message: str, run_file: Path, tmp_path: Path
) -> None:
    (tmp_path / "nothing").mkdir()
    overrides = [one.replace("FOLDER", str(tmp_path)) for one in overrides]
    refused = CliRunner().invoke(app, ["train", str(run_file), *overrides])
    assert refused.exit_code == 2
    assert message in refused.stderr and "Traceback" not in refused.stderr
    checked = CliRunner().invoke(app, ["check", str(run_file), "--quick", *overrides])
    assert checked.exit_code == 2
    assert message in checked.stdout
    assert not (tmp_path / "run").exists()


def test_several_processes_and_sweeps_are_refused(
    run_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sweep = tmp_path / "sweep.yaml"
    sweep.write_text(json.dumps({"run": str(run_file), "space": {"epochs": {"choices": [1, 2]}}, "output": "unused"}))
    refused = CliRunner().invoke(app, ["sweep", str(sweep)])
    assert refused.exit_code == 2
    assert "a trial learns from annotated documents alone" in refused.stderr
    monkeypatch.setenv("WORLD_SIZE", "2")
    refused = CliRunner().invoke(app, ["train", str(run_file)])
    assert refused.exit_code == 2
    assert "is done by one process" in refused.stderr


def test_check_counts_what_teachers_cost(run_file: Path) -> None:
    found = preflight(run_file)
    assert found.ready, found.problems
    assert found.facts["self_training"] == {"texts": 5, "teachers": 2, "steps": 2.0}
    assert "2 teachers label 5 further texts; one more tagger learns from all with 2 times a teacher's steps" in text(
        found
    )
    cost = found.facts["cost"]
    assert cost["estimate"]["seconds"] == pytest.approx(
        4 * cost["steps"] * cost["estimate"]["seconds_per_step"]["mean"]
    )


def test_folds_learn_from_further_texts(run_file: Path, tmp_path: Path) -> None:
    texts = tmp_path / "texts" / "more.jsonl"
    write_jsonl(texts, further())
    cli("crossval", run_file, "--no-baselines", "--seeds", "0")
    predicted = [document for path in (tmp_path / "run").rglob("seed-0/*.jsonl") for document in read_jsonl(path)]
    assert {document.id for document in predicted} == {document.id for document in gold(3)}
