"""Choosing what to annotate next: no copies, uncertain first, bad articles left out; pure and through the command."""

from __future__ import annotations

import json
import os
import random
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner, Result

from annotations.document import Document
from annotations.pool import pool
from annotations.selection import COPY, Candidate, select, sketch
from annotations.storage import read_jsonl, write_jsonl
from inference import checkpoint
from inference.queue import articles, listing
from inference.tagger import Tagger
from inference.uncertainty import Measure
from training.cli import app


def story(seed: int, length: int = 120) -> str:
    """Sentences of made-up words, so that two stories share little but the small words."""
    rng = random.Random(seed)
    own = [f"word{rng.randrange(10_000)}" for _ in range(length // 2)]
    return " ".join(
        f"The {rng.choice(own)} met the {rng.choice(own)} in {rng.choice(own)}." for _ in range(length // 6)
    )


def edited(text: str, seed: int) -> str:
    """A light edit: some words dropped, another headline."""
    rng = random.Random(seed)
    return f"UPDATE {seed}\n" + " ".join(word for word in text.split() if rng.random() > 0.05)


def candidate(name: str, text: str, uncertainty: float = 0.5) -> Candidate:
    return Candidate(name, uncertainty, sketch(text))


def copies_and_others() -> list[Candidate]:
    copies = [candidate(f"copy-{n}", edited(story(0), n), 0.9 + n / 1000) for n in range(10)]
    return copies + [candidate(f"other-{n}", story(n + 1), n / 100) for n in range(9)]


@pytest.mark.parametrize("diversity", [0.1, 0.5, 1.0])
def test_of_ten_copies_of_one_story_one_is_chosen(diversity: float) -> None:
    chosen = select(found := copies_and_others(), count=10, diversity=diversity)
    names = [found[pick.place].id for pick in chosen.picks]
    assert sum(name.startswith("copy") for name in names) == 1
    assert len(names) == len(set(names)) == 10
    assert len(chosen.copies) == 9
    assert all(name.startswith("copy") and near in names for name, near in chosen.copies.items())


def test_the_most_uncertain_copy_is_the_one() -> None:
    found = copies_and_others()
    first = select(found, count=10, diversity=0.5).picks[0]
    assert found[first.place].id == "copy-9"
    assert (first.rank, first.nearest, first.similarity) == (1.0, None, 0.0)


def test_a_pool_of_little_else_than_copies() -> None:
    found = [candidate(f"copy-{n}", edited(story(0), n), 0.9) for n in range(200)] + [candidate("other", story(1), 0.1)]
    chosen = select(found, count=10, diversity=0.5)
    assert [found[pick.place].id for pick in chosen.picks] == ["copy-0", "other"]


def test_without_diversity_uncertainty_alone_decides() -> None:
    chosen = select(found := copies_and_others(), count=12, diversity=0)
    names = [found[pick.place].id for pick in chosen.picks]
    assert names == [f"copy-{n}" for n in range(9, -1, -1)] + ["other-8", "other-7"]
    assert chosen.copies == {}


def test_copies_of_what_is_annotated_are_passed_over() -> None:
    found = copies_and_others()
    known = [("gold-1", sketch(story(0))), ("other-3", sketch("another text altogether"))]
    chosen = select(found, count=20, diversity=0.5, annotated=known)
    names = {found[pick.place].id for pick in chosen.picks}
    assert names == {f"other-{n}" for n in range(9) if n != 3}
    assert chosen.copies == {f"copy-{n}": "gold-1" for n in range(10)} | {"other-3": "other-3"}


def test_what_is_annotated_is_not_chosen_even_without_diversity() -> None:
    found = [candidate("a", story(1)), candidate("b", story(2))]
    chosen = select(found, count=2, diversity=0, annotated=[("a", sketch(story(1)))])
    assert [found[pick.place].id for pick in chosen.picks] == ["b"]


def test_a_related_story_waits_for_an_unrelated_one() -> None:
    half = " ".join([*story(0).split()[:60], *story(5).split()[:60]])
    found = [candidate("a", story(0), 0.9), candidate("b", half, 0.8), candidate("c", story(7), 0.7)]
    first, second, third = select(found, count=3, diversity=0.9).picks
    assert [found[pick.place].id for pick in (first, second, third)] == ["a", "c", "b"]
    assert third.nearest == "a"
    assert 0.2 < third.similarity < COPY


@given(
    st.lists(
        st.tuples(st.sampled_from("abcdefgh"), st.floats(0, 1), st.text("ab c", max_size=12)),
        max_size=8,
        unique_by=lambda item: item[0],
    ),
    st.integers(1, 9),
    st.floats(0, 1),
    st.randoms(),
)
def test_any_choice_is_sound_and_repeatable(
    items: list[tuple[str, float, str]], count: int, diversity: float, rng: random.Random
) -> None:
    found = [candidate(name, text, value) for name, value, text in items]
    chosen = select(found, count=count, diversity=diversity)
    names = [found[pick.place].id for pick in chosen.picks]
    assert len(set(names)) == len(names) <= count
    assert not set(names) & set(chosen.copies)
    assert len(names) + len(chosen.copies) == len(found) or len(names) == count
    for pick in chosen.picks:
        assert 0 <= pick.similarity < COPY
        assert 0 <= pick.rank <= 1
        assert -1 <= pick.score <= 1
    shuffled = found.copy()
    rng.shuffle(shuffled)
    again = select(shuffled, count=count, diversity=diversity)
    assert [shuffled[pick.place].id for pick in again.picks] == names


def test_ties_go_to_the_smaller_id() -> None:
    found = [candidate(name, story(number)) for number, name in enumerate("cab")]
    assert [found[pick.place].id for pick in select(found, count=3, diversity=0).picks] == ["a", "b", "c"]


def test_texts_without_words_are_compared_too() -> None:
    found = [candidate("a", "😀😀"), candidate("b", " 😀😀 "), candidate("c", "🇦🇫")]
    assert [found[pick.place].id for pick in select(found, count=3, diversity=0.5).picks] == ["a", "c"]


def make_pool(folder: Path) -> Path:
    """Copies, other stories, and every kind of article that cannot be read."""
    (folder / "deep").mkdir(parents=True)
    for number in range(4):
        (folder / f"copy-{number}.txt").write_text(edited(story(0), number), newline="")
        (folder / "deep" / f"other-{number}.txt").write_text(story(number + 1), newline="")
    (folder / "empty.txt").write_text(" \n")
    (folder / "utf16.txt").write_bytes("Kabul".encode("utf-16"))
    return folder


def test_a_pool_tells_of_each_bad_article_and_goes_on(tmp_path: Path) -> None:
    folder = make_pool(tmp_path / "pool")
    lines = [Document(id="good", text="One.").to_json(), "{", '{"id": "x"}', Document(id="good", text="Two.").to_json()]
    lines += [Document(id="last", text="Three.", target="Own.").to_json()]
    (tmp_path / "more.jsonl").write_text("\n".join(lines))
    problems: list[str] = []
    paths = [str(folder), str(tmp_path / "more.jsonl"), str(tmp_path / "none.txt"), str(tmp_path / "none.jsonl")]
    found = list(pool(paths, ["A claim."], problems.append))
    assert [document.id for document in found[8:]] == ["good#f3fa61", "last"]
    assert [document.target for document in found[7:]] == ["A claim.", "A claim.", "Own."]
    told = "\n".join(problems)
    for part in (
        "empty.txt' has no text",
        "utf16.txt: is not UTF-8",
        "line 2: ",
        "line 3: text",
        "'good#f3fa61' is used twice",
    ):
        assert part in told
    assert "none.txt: cannot be read" in told
    assert "none.jsonl: cannot be read" in told
    assert len(problems) == 7


def test_a_file_whose_name_is_not_utf8_costs_no_other(tmp_path: Path) -> None:
    folder = make_pool(tmp_path / "pool")
    problems: list[str] = []
    good = list(pool([str(folder)], [], problems.append))
    Path(os.fsdecode(os.fsencode(folder) + b"/caf\xe9.txt")).write_text("Kabul fell.")
    more: list[str] = []
    assert list(pool([str(folder)], [], more.append)) == good
    assert set(more) - set(problems) == {f"{folder}/caf\\udce9.txt: its name is not UTF-8; rename it"}


def test_a_folder_without_texts_is_told(tmp_path: Path) -> None:
    problems: list[str] = []
    assert list(pool([str(tmp_path)], [], problems.append)) == []
    assert "no .txt" in problems[0]


def test_a_bad_article_costs_no_other(tagger: Tagger) -> None:
    documents = [
        Document(id="a", text=story(1)),
        Document(id="long target", text=story(2), target="word " * 400),
        Document(id="surrogate", text="x \ud800 y"),
        Document(id="b", text=story(3)),
    ]
    problems: list[str] = []
    found = list(articles(tagger, documents, Measure.ENTROPY, problems.append))
    assert [article.id for article in found] == ["a", "b"]
    assert len(problems) == 2
    assert "long target" in problems[0] and "surrogate" in problems[1]
    (alone,) = articles(tagger, documents[3:], Measure.ENTROPY, problems.append)
    assert alone.layers == pytest.approx(found[1].layers, abs=1e-5)


def test_one_text_with_several_targets_is_one_article(tagger: Tagger) -> None:
    documents = [Document(id=f"a#{n}", text=story(1), target=f"Claim {n}.") for n in (1, 2)]
    first, second, both = (
        next(articles(tagger, some, Measure.MARGIN, print)) for some in (documents[:1], documents[1:], documents)
    )
    assert both.documents == ("a#1", "a#2")
    assert both.layers["entity"] == pytest.approx(first.layers["entity"], abs=1e-5)
    assert both.layers["stance"] == pytest.approx((first.layers["stance"] + second.layers["stance"]) / 2, abs=1e-5)
    assert len(both.reasons) == 3
    assert {reason.layer for reason in both.reasons} == {"entity", "stance"}


def test_a_stream_is_read_as_it_comes(tagger: Tagger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("inference.tagger.LOOK_AHEAD", 500)
    taken = 0

    def source() -> Iterator[Document]:
        nonlocal taken
        for number in range(1000):
            taken += 1
            yield Document(id=str(number), text=f"Report {number}. " * 10)

    next(articles(tagger, source(), Measure.ENTROPY, print))
    assert taken < 20


def test_the_listing_cannot_steer_a_terminal(tagger: Tagger) -> None:
    text = "Kabul\x1b[31m fell. \u202eNobody\u2066 spoke."
    found = list(articles(tagger, [Document(id="a\x1b]0;b", text=text)], Measure.ENTROPY, print))
    shown = listing(select([one.candidate for one in found], count=1, diversity=0.5).picks, found)
    assert all(letter.isprintable() for line in shown.split("\n") for letter in line)


def queue(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, ["labels", "queue", *map(str, arguments)])


def test_the_command_chooses_shows_why_and_writes(model: Path, tmp_path: Path) -> None:
    folder, out = make_pool(tmp_path / "pool"), tmp_path / "out.jsonl"
    done = queue(folder, "--model", model, "--count", 8, "--target", "One.", "--target", "Two.", "--output", out)
    assert done.exit_code == 0, (done.output, done.exception)
    assert "left out" in done.stderr and "utf16.txt" in done.stderr and "empty.txt" in done.stderr
    assert "is a copy of" in done.stderr
    assert "5 chosen, not 8" in done.stderr
    lines = done.stdout.splitlines()
    assert lines[0].split() == [
        "article",
        "score",
        "uncertainty",
        "entity",
        "stance",
        "document",
        "nearest",
        "before",
        "it",
    ]
    assert len(lines) == 1 + 5 * 4
    assert sum(line.startswith("      stance ") for line in lines) >= 5
    written = list(read_jsonl(out))
    assert [document.target for document in written] == ["One.", "Two."] * 5
    assert all(not document.labels for document in written)
    assert [line.split()[1] for line in lines[1::4]] == [document.id for document in written[::2]]
    assert sum("copy-" in document.id for document in written) == 2
    assert all(Path(d.id.split("#")[0]).read_bytes().decode() == d.text for d in written)


@pytest.mark.parametrize("measure", list(Measure))
def test_the_command_is_repeatable_and_skips_what_is_annotated(model: Path, tmp_path: Path, measure: str) -> None:
    folder = make_pool(tmp_path / "pool")
    write_jsonl(tmp_path / "gold.jsonl", [Document(id="g", text=story(0)), Document(id="h", text=story(2))])
    command = (folder, "--model", model, "--measure", measure, "--annotated", tmp_path / "gold.jsonl", "--count", 2)
    first, second = queue(*command), queue(*command)
    assert first.exit_code == 0, first.output
    assert first.stdout == second.stdout
    assert "copy-" not in first.stdout.split("nearest before it")[1]
    assert "other-1" not in first.stdout
    assert "name one with --target" in first.stderr


def test_input_labels_are_not_written(model: Path, tmp_path: Path) -> None:
    gold = Document.from_json(
        json.dumps({"id": "a", "text": "Kabul fell.", "group": "g", "labels": {"entity": []}}), where="test"
    )
    write_jsonl(tmp_path / "in.jsonl", [gold])
    done = queue(tmp_path / "in.jsonl", "--model", model, "--output", tmp_path / "out.jsonl")
    assert done.exit_code == 0, done.output
    (written,) = read_jsonl(tmp_path / "out.jsonl")
    assert (written.labels, written.group) == ({}, "g")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["{tmp}/none.txt"], "cannot be read"),
        (["{tmp}"], "no .txt"),
        (["-"], "cannot be read twice"),
        (["{tmp}", "--measure", "luck"], "none of entropy, margin"),
        (["{tmp}", "--diversity", "2"], "--diversity"),
        (["{tmp}", "--count", "0"], "--count"),
        (["{tmp}", "--annotated", "{tmp}/none.jsonl"], "none.jsonl: cannot be read"),
    ],
)
def test_errors_say_what_to_do(arguments: list[str], message: str, model: Path, tmp_path: Path) -> None:
    done = queue(*(argument.format(tmp=tmp_path) for argument in arguments), "--model", model)
    assert done.exit_code == 2
    assert message in done.stderr


def test_a_missing_model_is_named(tmp_path: Path) -> None:
    done = queue(make_pool(tmp_path / "pool"), "--model", tmp_path / "none")
    assert done.exit_code == 2
    assert "is no folder" in done.stderr


def test_a_file_that_changed_meanwhile_is_not_written_wrongly(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import inference.queue

    folder, original = make_pool(tmp_path / "pool"), inference.queue.listing

    def change(*rest: object) -> str:
        for path in folder.rglob("*.txt"):
            path.write_text("Another text.")
        return original(*rest)  # type: ignore[arg-type]

    monkeypatch.setattr(inference.queue, "listing", change)
    done = queue(folder, "--model", model, "--count", 1, "--output", tmp_path / "out.jsonl")
    assert done.exit_code == 2
    assert "has changed since" in done.stderr
    assert not (tmp_path / "out.jsonl").exists()


def test_a_trained_model_doubts_what_it_has_not_seen(encoders: Callable[[str], Path], tagger: Tagger) -> None:
    """Heads that know one word only are sure of it and unsure of others, and the queue says so."""
    torch.manual_seed(0)
    sure, unsure = Document(id="sure", text="Kabul Kabul Kabul"), Document(id="unsure", text="river tournament embassy")
    model, tokenizer = checkpoint.from_encoder(str(encoders("modernbert")), tagger.config, 0.0)
    own = Tagger(model, tokenizer, tagger.config)
    windows, _ = own.read([sure])
    optimizer = torch.optim.AdamW(model.span_heads.parameters(), lr=0.1)
    ids = torch.tensor([windows[0].ids])
    with torch.no_grad():
        states = model.encoder(input_ids=ids, attention_mask=torch.ones_like(ids)).last_hidden_state
    for _ in range(60):
        loss = torch.nn.functional.cross_entropy(
            model.span_heads["entity"](states).flatten(0, 1), torch.ones(ids.numel(), dtype=torch.int64)
        )
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    one, other = articles(own, [sure, unsure], Measure.ENTROPY, print)
    assert one.uncertainty < 0.1 < other.uncertainty or one.uncertainty * 2 < other.uncertainty
