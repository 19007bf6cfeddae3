"""Paragraphs left out as repetitions: what counts as one, how reliably, and that neither batches nor processes matter."""

from __future__ import annotations

import random
import re
import subprocess
import sys
from collections.abc import Sequence

import numpy as np
import pytest
from conftest import ROOT, seed_text
from hypothesis import given, settings
from hypothesis import strategies as st

from training.pretraining import minhash, repetition
from training.pretraining.minhash import HASHES, Index, Signatures, WordHashes, band_keys, min_hashes, signatures
from training.pretraining.repetition import Repetition, without_repeats

WORDS = sorted(set(re.findall(r"[a-z]{3,}", seed_text().casefold())))
LONG = "The government said that the police had arrested more than twenty people in the capital on charges of treason."


def paragraph(rng: random.Random, words: int) -> list[str]:
    return [rng.choice(WORDS) for _ in range(words)]


def edited(rng: random.Random, words: Sequence[str], share: float) -> str:
    """With this share of the words replaced, one at least, at random places."""
    changed = list(words)
    for place in rng.sample(range(len(words)), max(1, round(share * len(words)))):
        changed[place] = rng.choice(WORDS) + "x"
    return " ".join(changed)


def jaccard(one: Sequence[str], other: Sequence[str]) -> float:
    sets = [{tuple(words[place : place + 3]) for place in range(len(words) - 2)} for words in (one, other)]
    return len(sets[0] & sets[1]) / len(sets[0] | sets[1])


def share_left_out(words: int, changed: float, threshold: float = 0.8, pairs: int = 300) -> float:
    """Of paragraphs of this many words, the share left out when this share of their words has changed."""
    rng = random.Random(7)
    originals = [paragraph(rng, words) for _ in range(pairs)]
    seen = Repetition(threshold)
    assert all(seen.fresh([" ".join(each) for each in originals]))
    return 1 - sum(seen.fresh([edited(rng, each, changed) for each in originals])) / pairs


def test_case_digits_and_punctuation_make_no_difference_at_any_length() -> None:
    seen = Repetition()
    assert seen.fresh(["In 2016, 12 died.", "IN 1999 3,000 DIED!", "In died", "Others died."]) == [
        True,
        False,
        False,
        True,
    ]
    assert seen.fresh(["in — died?", "***", "2016", "Étienne Élan", "étienne élan 2"]) == [
        False,
        True,
        False,
        True,
        False,
    ]
    assert (seen.exact, seen.near) == (5, 0)


def test_one_other_word_makes_a_short_paragraph_new_and_a_long_one_not() -> None:
    seen = Repetition()
    other = LONG.replace("treason", "espionage")
    assert seen.fresh(["Eleven people died in the city of Kabul last night.", LONG]) == [True, True]
    assert seen.fresh(["Eleven people died in the city of Kabul last night again.", other]) == [True, False]
    assert (seen.exact, seen.near) == (0, 1)
    assert seen.fresh([other, other]) == [False, False]
    assert (seen.exact, seen.near) == (2, 1)


def test_a_word_in_fifty_is_a_repetition_and_half_the_words_are_not() -> None:
    for words in (50, 100, 400):
        assert share_left_out(words, 0.02) >= 0.99
        assert share_left_out(words, 0.5) == 0
        assert share_left_out(words, 0.15) == 0  # a similarity of about 0.45
    assert share_left_out(50, 0.02, threshold=0.97) <= 0.05


@pytest.mark.parametrize("threshold", [0.5, 0.7, 0.8, 0.9])
def test_the_threshold_divides(threshold: float) -> None:
    rng = random.Random(3)
    sides: dict[bool, list[bool]] = {True: [], False: []}
    for _ in range(60):
        words = paragraph(rng, 100)
        seen = Repetition(threshold)
        other = edited(rng, words, rng.random() * 0.3)
        similarity = jaccard(words, other.split())
        if abs(similarity - threshold) > 0.09:
            sides[similarity > threshold].append(seen.fresh([" ".join(words), other])[1])
    assert len(sides[False]) > 10
    assert np.mean(sides[False]) > 0.95
    assert not any(sides[True]) or np.mean(sides[True]) < 0.1


def test_the_estimate_has_no_bias_and_its_error_is_as_told() -> None:
    rng = random.Random(1)
    hashes = WordHashes()
    errors = []
    for _ in range(200):
        words = paragraph(rng, 150)
        other = edited(rng, words, 0.04).split()
        row = np.array([hashes[word] for word in [*words, *other]], dtype=np.uint32)
        one, two = signatures(min_hashes(row, np.array([150, 150])))
        found = (np.mean(one == two) - 1 / 256) / (1 - 1 / 256)
        errors.append(found - jaccard(words, other))
    assert abs(np.mean(errors)) < 0.008
    assert 0.025 < np.std(errors) < 0.045


def test_pairs_are_compared_as_often_as_the_formula_says() -> None:
    assert [minhash.rows_for(threshold) for threshold in (0.1, 0.5, 0.6, 0.8, 0.9, 1)] == [1, 1, 2, 5, 11, 16]
    rng = np.random.default_rng(0)
    similarity, rows = 0.7, 5
    one = rng.integers(0, 2**32, (4000, HASHES), dtype=np.uint32)
    other = np.where(rng.random(one.shape) < similarity, one, rng.integers(0, 2**32, one.shape, dtype=np.uint32))
    compared = (band_keys(one, rows) == band_keys(other, rows)).any(axis=1).mean()
    assert compared == pytest.approx(1 - (1 - similarity**rows) ** 8, abs=0.02)


@given(st.data())
@settings(max_examples=40)
def test_batches_make_no_difference(data: st.DataObject) -> None:
    rng = random.Random(data.draw(st.integers(0, 10_000)))
    base = [paragraph(rng, 30) for _ in range(3)]
    # Chains of edits, so that some are like a paragraph that is itself left out.
    shown = [" ".join(each) for each in base]
    for _ in range(25):
        shown.append(edited(rng, rng.choice(shown).split(), rng.choice([0.03, 0.07, 0.1])))
    rng.shuffle(shown)
    whole, single, parts = Repetition(), Repetition(), Repetition()
    expected = whole.fresh(shown)
    assert [single.fresh([each])[0] for each in shown] == expected
    cut = data.draw(st.integers(0, len(shown)))
    assert parts.fresh(shown[:cut]) + parts.fresh(shown[cut:]) == expected
    assert (whole.exact, whole.near) == (single.exact, single.near) == (parts.exact, parts.near)
    assert whole.near > 0


def test_every_process_decides_alike() -> None:
    code = (
        "from training.pretraining.repetition import Repetition\n"
        "import random\n"
        "rng = random.Random(5); words = [f'w{chr(97 + n % 26)}{chr(97 + n // 26)}' for n in range(600)]\n"
        "first = [rng.choices(words, k=40) for _ in range(200)]\n"
        "later = [[rng.choice(words) if rng.random() < 0.04 else word for word in each] for each in first]\n"
        "print(Repetition().fresh([' '.join(each) for each in first + later]))"
    )
    runs = [
        subprocess.run(
            [sys.executable, "-c", code],
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    ]
    assert runs[0] == runs[1]
    assert 20 < runs[0].count("False") < 180


def test_hashes_are_the_same_on_every_machine() -> None:
    row = np.array([WordHashes()[word] for word in ("the", "taliban", "denied", "it", "again")], dtype=np.uint32)
    hashes = min_hashes(row, np.array([5]))
    assert [row[0], *hashes[0, :2]] == [1011183078, 1977133909, 1763267987]
    assert signatures(hashes)[0, :4].tolist() == [41, 192, 119, 143]
    assert band_keys(hashes, 5)[0, 0] == 5916794760931595393


def test_documents_lose_what_repeats_and_disappear_when_nothing_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    found = [["One.", "Two.", "One."], ["two"], ["Three.", "one", LONG], [LONG + " Indeed.", "Four."], ["Four 4"]]
    expected = [["One.", "Two."], ["Three.", LONG], ["Four."]]
    for size in (1, 30, 10**6):
        monkeypatch.setattr(repetition, "BATCH", size)
        seen = Repetition()
        assert list(without_repeats(iter(found), seen)) == expected
        assert (seen.exact, seen.near) == (4, 1)
        assert list(without_repeats(iter(found), seen)) == []
    assert list(without_repeats([], Repetition())) == []


def test_documents_come_in_batches_and_not_all_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(repetition, "BATCH", 100)
    taken = []
    stream = without_repeats((taken.append(number) or [f"{'x' * number} {LONG}"] for number in range(50)), Repetition())
    next(stream)
    assert len(taken) < 5


def test_unusual_texts_are_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(minhash, "KNOWN_WORDS", 10)
    seen = Repetition()
    odd = ["", "\ud83d lone half", "中文" * 500, "a " * 100_000, "the " * 12, "word " * 3 + "١٢٣", LONG]
    assert seen.fresh(odd) == [True] * len(odd)
    assert seen.fresh(odd) == [False] * len(odd)
    assert seen.fresh([]) == []
    assert seen.exact == len(odd)


@pytest.mark.parametrize("threshold", [0, -1, 1.01, float("nan")])
def test_a_threshold_out_of_range(threshold: float) -> None:
    with pytest.raises(ValueError, match="must be above 0 and at most 1"):
        Repetition(threshold)


@given(st.lists(st.lists(st.integers(0, 2**64 - 1), max_size=20), max_size=12), st.lists(st.integers(0, 2**64 - 1)))
def test_the_index_finds_what_was_added(batches: list[list[int]], others: list[int]) -> None:
    index, expected = Index(), {}
    for batch in batches:
        new = sorted(set(batch) - set(expected), reverse=True)
        numbers = range(len(expected), len(expected) + len(new))
        index.add(np.array(new, dtype=np.uint64), np.array(numbers, dtype=np.int64))
        expected.update(zip(new, numbers, strict=True))
    asked = [*others, *expected, *others]
    found = index.find(np.array(asked, dtype=np.uint64))
    assert found.tolist() == [expected.get(key, -1) for key in asked]


def test_signatures_come_back_by_number() -> None:
    kept = Signatures()
    rows = np.random.default_rng(0).integers(0, 256, (5000, HASHES), dtype=np.uint8)
    for start in range(0, 5000, 700):
        kept.add(rows[start : start + 700])
    assert len(kept) == 5000
    assert np.array_equal(kept[np.array([4999, 0, 699, 700])], rows[[4999, 0, 699, 700]])
