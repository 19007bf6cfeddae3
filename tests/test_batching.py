"""Batches by a budget of tokens: everything once an epoch, within the budget, the same again from the same seed."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from inference.batches import batch_sizes, even_budget
from training.batching import EpochLoader, TokenBatches

LENGTHS = st.lists(st.integers(1, 256), min_size=1, max_size=80)


@given(LENGTHS, st.integers(1, 2000), st.integers(0, 5), st.integers(0, 3))
def test_every_window_comes_once_an_epoch_within_the_budget(
    lengths: list[int], budget: int, seed: int, epoch: int
) -> None:
    batches = TokenBatches(lengths, budget, seed)
    batches.set_epoch(epoch)
    drawn = list(batches)
    assert sorted(place for batch in drawn for place in batch) == list(range(len(lengths)))
    assert len(drawn) == len(batches)
    for batch in drawn:
        padded = len(batch) * max(lengths[place] for place in batch)
        assert len(batch) == 1 or padded <= budget * 1.1 / 0.9


@given(LENGTHS, st.integers(1, 2000))
def test_no_batch_could_take_one_window_more(lengths: list[int], budget: int) -> None:
    falling = sorted(lengths, reverse=True)
    sizes = batch_sizes(falling, budget)
    assert sum(sizes) == len(lengths)
    start = 0
    for size in sizes:
        assert size == 1 or size * falling[start] <= budget
        assert start + size == len(lengths) or (size + 1) * falling[start] > budget
        start += size


@given(LENGTHS, st.integers(1, 16))
def test_a_few_batches_are_as_even_as_can_be(lengths: list[int], most: int) -> None:
    falling = sorted(lengths, reverse=True)
    budget = even_budget(falling, most)
    assert len(batch_sizes(falling, budget)) <= most
    assert budget == sum(lengths) // most or len(batch_sizes(falling, budget - 1)) > most


@given(LENGTHS, st.integers(1, 2000), st.integers(2, 5))
def test_processes_learn_together_what_one_with_their_budgets_would(
    lengths: list[int], budget: int, processes: int
) -> None:
    shares = [TokenBatches(lengths, budget, seed=3, processes=processes, rank=rank) for rank in range(processes)]
    for whole, *parts in zip(TokenBatches(lengths, budget * processes, seed=3), *shares, strict=True):
        assert all(parts)
        assert {place for part in parts for place in part} == set(whole)
        assert sum(map(len, parts)) == max(len(whole), processes)
        assert max(map(len, parts)) - min(map(len, parts)) <= 1


def order(batches: TokenBatches, epoch: int) -> list[list[int]]:
    batches.set_epoch(epoch)
    return list(batches)


def test_the_seed_and_the_epoch_make_the_order() -> None:
    lengths = [10 + number % 7 for number in range(100)]
    batches = TokenBatches(lengths, 60, seed=1)
    first, second = order(batches, 0), order(batches, 1)
    assert first == order(batches, 0) and first != second
    assert first != order(TokenBatches(lengths, 60, seed=2), 0)
    together = [set(map(frozenset, drawn)) for drawn in (first, second)]
    assert len(together[0] & together[1]) < len(first) / 4


def test_the_loader_passes_the_epoch_on() -> None:
    batches = TokenBatches([3] * 20, 9, seed=0)
    loader = EpochLoader(list(range(20)), batch_sampler=batches, collate_fn=list)
    loader.set_epoch(4)
    assert list(loader) == order(TokenBatches([3] * 20, 9, seed=0), 4)
