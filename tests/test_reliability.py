"""Cohen's kappa and Krippendorff's alpha: published values, other people's implementations, and their laws."""

from __future__ import annotations

import warnings

import krippendorff
import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from sklearn.metrics import cohen_kappa_score

from annotations.agreement.reliability import (
    MISSING,
    Codes,
    cohen_kappa,
    coincidence_counts,
    f1,
    krippendorff_alpha,
    mean_defined,
    observed,
    pair_counts,
)
from annotations.resampling import interval, resampled

LABELS = 5
# Krippendorff (2011), sections A, B and C; `.` is a missing value.
BINARY = ("0100000010", "1110010000")
NOMINAL = ("aabbdcccedda", "babbbccceddd")
MISSING_DATA = ("123321412...", "1233224125.3", ".3332342251.", "12332441251.")


def codes(*rows: str) -> Codes:
    letters = sorted({letter for row in rows for letter in row} - {"."})
    return np.array(
        [[MISSING if letter == "." else letters.index(letter) for letter in row] for row in rows], dtype=np.int64
    )


def alpha(values: Codes) -> float:
    return float(krippendorff_alpha(coincidence_counts(values, LABELS)))


def kappa(values: Codes) -> float:
    return float(cohen_kappa(pair_counts(values[0], values[1], LABELS)))


@pytest.mark.parametrize(
    ("rows", "published"), [(BINARY, 0.095), (NOMINAL, 0.692), (MISSING_DATA, 0.743)], ids=["A", "B", "C"]
)
def test_the_values_of_krippendorffs_paper(rows: tuple[str, ...], published: float) -> None:
    assert alpha(codes(*rows)) == pytest.approx(published, abs=0.0005)


def test_the_coincidences_of_krippendorffs_paper() -> None:
    counts = coincidence_counts(codes(*MISSING_DATA), LABELS)
    assert counts[:, 1].tolist() == [9, 13, 10, 5, 3]
    assert counts[:, 0] == pytest.approx([7, 10, 8, 4, 3])


def test_kappa_of_the_textbook_table() -> None:
    # 20 yes/yes, 5 yes/no, 10 no/yes, 15 no/no: observed 0.7, expected 0.5.
    rows = codes("y" * 25 + "n" * 25, "y" * 20 + "n" * 5 + "y" * 10 + "n" * 15)
    assert kappa(rows) == pytest.approx(0.4)
    assert observed(pair_counts(rows[0], rows[1], LABELS)) == pytest.approx(0.7)


def test_edges() -> None:
    assert kappa(codes("yyy", "nnn")) == 0
    assert kappa(codes("yn", "ny")) == -1
    for undefined in (codes("yyy", "yyy"), codes("...", "yn."), codes("", "")):
        assert np.isnan(kappa(undefined))
        assert np.isnan(alpha(undefined))
    assert np.isnan(f1(pair_counts(*codes("yy", "yy"), LABELS))[1])
    assert mean_defined(np.array([[1.0, np.nan], [np.nan, np.nan]]))[0] == 1


units = st.integers(1, 25)
values = st.integers(MISSING, LABELS - 1)


@st.composite
def matrices(draw: st.DrawFn, most: int = 4) -> Codes:
    width, height = draw(units), draw(st.integers(2, most))
    return np.array(draw(st.lists(st.lists(values, min_size=width, max_size=width), min_size=height, max_size=height)))


@given(matrices())
def test_alpha_is_that_of_the_package_krippendorff(rows: Codes) -> None:
    mine = alpha(rows)
    paired = rows[:, (rows != MISSING).sum(axis=0) > 1]
    if len(set(paired[paired != MISSING].tolist())) < 2:
        assert np.isnan(mine)
        return
    given_values = np.where(rows == MISSING, np.nan, rows)
    assert mine == pytest.approx(krippendorff.alpha(reliability_data=given_values, level_of_measurement="nominal"))


@given(matrices(), st.permutations(range(LABELS)), st.integers(0, 9))
def test_other_names_of_labels_and_annotators_leave_alpha_unchanged(rows: Codes, names: list[int], seed: int) -> None:
    renamed = np.where(rows == MISSING, MISSING, np.array(names)[rows])
    mixed = np.random.default_rng(seed).permutation(renamed, axis=0)
    assert alpha(rows) == pytest.approx(alpha(mixed), nan_ok=True)


@given(matrices(most=2))
def test_kappa_is_scikit_learns_and_symmetric(rows: Codes) -> None:
    mine = kappa(rows)
    assert mine == pytest.approx(kappa(rows[::-1]), nan_ok=True)
    both = rows[:, (rows != MISSING).all(axis=0)]
    if len(np.unique(both)) > 1:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            assert mine == pytest.approx(cohen_kappa_score(both[0], both[1]))
    else:
        assert np.isnan(mine)


@given(matrices())
def test_identical_readings_give_one(rows: Codes) -> None:
    same = np.stack([rows[0]] * len(rows))
    assume(len(set(rows[0].tolist()) - {MISSING}) > 1)
    assert alpha(same) == 1
    assert kappa(same) == 1


@given(st.lists(matrices(most=2), min_size=2, max_size=5), st.integers(0, 5))
def test_weighted_counts_are_counts_of_repeated_articles(articles: list[Codes], seed: int) -> None:
    drawn = resampled(len(articles), 3, seed)
    assert drawn.sum(axis=1).tolist() == [len(articles)] * 3
    pairs = np.stack([pair_counts(rows[0], rows[1], LABELS) for rows in articles])
    coincidences = np.stack([coincidence_counts(rows, LABELS) for rows in articles])
    kappas = cohen_kappa(np.tensordot(drawn, pairs, axes=1))
    alphas = krippendorff_alpha(np.tensordot(drawn, coincidences, axes=1))
    for number, row in enumerate(drawn.astype(int)):
        copied = np.concatenate([rows for rows, times in zip(articles, row, strict=True) for _ in range(times)], axis=1)
        assert kappas[number] == pytest.approx(kappa(copied), nan_ok=True)
        assert alphas[number] == pytest.approx(alpha(copied), nan_ok=True)


def test_the_interval_is_that_of_the_defined_draws() -> None:
    draws = np.concatenate([np.linspace(0, 1, 1001), [np.nan] * 50])
    assert interval(draws) == pytest.approx((0.025, 0.975))
    assert interval(np.array([np.nan])) is None
