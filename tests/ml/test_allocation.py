"""Ranks under one budget: against all choices there are."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ml import allocate_rank

EPS = np.finfo(float).eps


def exhaustive(values: list[np.ndarray], sizes: list[int], budget: int, dense: list[int] | None) -> tuple[float, int]:
    """The least error there is within the budget, and the least cost of it."""
    offers = []
    for b, (s, size) in enumerate(zip(values, sizes, strict=True)):
        block = [(size * r, float(np.sum(s[r:] ** 2))) for r in range(len(s) + 1)]
        offers.append(block if dense is None else [*block, (dense[b], 0.0)])
    reachable = [
        (sum(e for _, e in choice), sum(c for c, _ in choice))
        for choice in itertools.product(*offers)
        if sum(c for c, _ in choice) <= budget
    ]
    least = min(e for e, _ in reachable)
    return float(np.sqrt(least)), min(c for e, c in reachable if e == least)


spectra = st.lists(st.integers(0, 6), min_size=0, max_size=5).map(
    lambda v: np.array(sorted(v, reverse=True), dtype=float)
)
blocks = st.lists(st.tuples(spectra, st.integers(1, 9), st.integers(0, 40)), min_size=0, max_size=4)


@settings(max_examples=400, deadline=None)
@given(blocks, st.integers(0, 120), st.booleans())
def test_no_choice_is_better_and_none_as_good_is_cheaper(blocks, budget, offer_dense):
    """Singular values are integers: their squares add up without rounding, and equal errors are equal."""
    values, sizes, whole = ([block[i] for block in blocks] for i in range(3))
    dense = whole if offer_dense else None
    found = allocate_rank(values, sizes, budget, dense=dense)
    error, cost = exhaustive(values, sizes, budget, dense)
    assert found.error == pytest.approx(error, rel=8 * EPS, abs=8 * EPS * 6)
    assert found.cost == cost <= budget
    # what is reported is what was chosen
    costs = [whole[b] if found.dense[b] else sizes[b] * r for b, r in enumerate(found.ranks)]
    left = [0.0 if found.dense[b] else float(np.sum(s[found.ranks[b] :] ** 2)) for b, s in enumerate(values)]
    assert found.cost == sum(costs)
    assert found.error == pytest.approx(np.sqrt(sum(left)), rel=8 * EPS, abs=0)


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_it_beats_any_random_choice_in_larger_problems(seed):
    rng = np.random.default_rng(seed)
    count = int(rng.integers(2, 6))
    values = [np.sort(rng.random(30) * 10.0 ** -rng.integers(0, 3))[::-1] for _ in range(count)]
    sizes = rng.integers(20, 90, count).tolist()
    budget = int(rng.integers(100, 4000))
    found = allocate_rank(values, sizes, budget)
    for _ in range(300):
        ranks = rng.integers(0, 31, count)
        ranks = (ranks * min(1, budget / max(1, ranks @ sizes))).astype(int)
        left = sum(float(np.sum(s[r:] ** 2)) for s, r in zip(values, ranks, strict=True))
        assert found.error**2 <= left * (1 + 100 * EPS)


def test_buying_by_gain_per_cost_is_not_optimal_and_is_not_what_is_done():
    # 9 / 10 per unit, then 6.25 / 9: with 18 to spend two of the second block are better than one of the first
    found = allocate_rank([np.array([3.0]), np.array([2.5, 2.5])], [10, 9], 18)
    assert found.ranks == (0, 2)
    assert found.error == 3.0


@pytest.mark.parametrize("scale", [1e-200, 1.0, 1e200])
def test_squares_neither_overflow_nor_vanish(scale):
    found = allocate_rank([scale * np.array([4.0, 3.0]), scale * np.array([5.0, 1.0])], [1, 1], 3)
    assert found.ranks == (2, 1)
    assert found.error == pytest.approx(scale, rel=4 * EPS, abs=0)


def test_a_block_is_dense_where_that_is_cheaper_than_its_full_rank():
    s = np.arange(20.0, 0, -1)
    v, h = 30, 20
    for budget in (v * h - 1, v * h, v * h + 1000):
        found = allocate_rank([s], [v + h], budget, dense=[v * h])
        assert found.dense == (budget >= v * h,)
    assert found.cost == v * h < 20 * (v + h)
    assert found.error == 0


def test_eight_blocks_of_a_flat_spectrum_take_no_time():
    rng = np.random.default_rng(1)
    sizes = rng.integers(2000, 6000, 8).tolist()
    values = [np.linspace(28, 2, 384) * 2.0 ** (-0.3 * b) for b in range(8)]
    found = allocate_rank(values, sizes, int(sum(sizes) * 128))
    # fractions of terms bound the gain from above; one term more of any block does not fit
    leftover = int(sum(sizes) * 128) - found.cost
    assert 0 <= leftover < min(sizes)


def test_nothing_to_share_out_is_ordinary():
    assert tuple(allocate_rank([], [], 5)) == ((), (), 0, 0.0)
    assert allocate_rank([np.zeros(0), np.zeros(3)], [2, 2], 100).ranks == (0, 0)  # zeros are not bought
    assert tuple(allocate_rank([np.ones(3)], [2], 0)) == (
        (0,),
        (False,),
        0,
        pytest.approx(np.sqrt(3), rel=4 * EPS, abs=0),
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([[1.0, 2.0]], [1], 3), "singular values of block 0 must be .* descending"),
        (([[1.0], [-1.0]], [1, 1], 3), "singular values of block 1 must be"),
        (([[np.nan]], [1], 3), "singular values of block 0"),
        (([[1.0]], [0], 3), "size of block 0 must be at least 1, got 0"),
        (([[1.0]], [1.5], 3), "size of block 0 must be an integer, got 1.5"),
        (([[1.0]], [1], -3), "budget must be at least 0, got -3"),
        (([[1.0]], [1], 2.5), "budget must be an integer, got 2.5"),
        (([[1.0]], [1, 2], 3), "as many sizes .* got 2 for 1"),
    ],
)
def test_bad_input_is_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        allocate_rank(*arguments)


def test_small_tails_count_as_much_as_large_ones():
    assert allocate_rank([np.array([1.0]), np.array([1e-7])], [1, 1], 2).ranks == (1, 1)
    decays = [10.0 ** -np.arange(0.0, 40, 2), 10.0 ** -np.arange(1.0, 40, 2)]
    for budget in range(40):
        found = allocate_rank(decays, [1, 1], budget)
        assert found.ranks == ((budget + 1) // 2, budget // 2)


@pytest.mark.parametrize("seed", range(6))
def test_the_optimum_is_that_of_dynamic_programming_over_all_budgets(seed):
    """Least loss for every budget, block after block: many states, spectra over 12 decades."""
    rng = np.random.default_rng(seed)
    sizes = rng.integers(20, 40, 5).tolist()
    values = [np.sort(10.0 ** rng.uniform(-12, 0, 25))[::-1] for _ in sizes]
    dense, budget = [15 * size for size in sizes], int(rng.integers(500, 2000))
    least = np.zeros(budget + 1)
    for s, size, whole in zip(values, sizes, dense, strict=True):
        offers = [(size * r, float(np.sum(s[r:][::-1] ** 2))) for r in range(len(s) + 1)] + [(whole, 0.0)]
        following = np.full(budget + 1, np.inf)
        for cost, loss in offers:
            if cost <= budget:
                following[cost:] = np.minimum(following[cost:], least[: budget + 1 - cost] + loss)
        least = following
    found = allocate_rank(values, sizes, budget, dense=dense)
    assert found.error == pytest.approx(np.sqrt(least[-1]), rel=64 * EPS, abs=0)
    assert found.cost <= budget


def test_a_huge_budget_buys_everything():
    assert tuple(allocate_rank([np.ones(3), np.ones(2)], [5, 7], 10**30))[:3] == ((3, 2), (False, False), 29)
