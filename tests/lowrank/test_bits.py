"""Bits under one budget: the closed form, all choices there are, and what a quantiser makes of them."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import ml.embeddings.allocation
from lowrank import allocate_bits, budget, gaussian_losses, quantize
from lowrank.bits import water_filling
from lowrank.budget import Options, by_gain, choose

EPS = np.finfo(float).eps


def exhaustive(options: list[Options], limit: int) -> tuple[float, int]:
    """The least loss there is within the budget, and the least cost of it."""
    offers = [list(zip(o.losses.tolist(), o.costs.tolist(), strict=True)) for o in options]
    reachable = [
        (math.fsum(x for x, _ in choice), sum(c for _, c in choice))
        for choice in itertools.product(*offers)
        if sum(c for _, c in choice) <= limit
    ]
    return min(reachable)


# the solver


offers = st.lists(st.tuples(st.integers(0, 12), st.integers(0, 30)), min_size=1, max_size=5).map(
    lambda o: Options(np.array([c for c, _ in o]), np.array([float(x) for _, x in o]))
)


@settings(max_examples=120, deadline=None)
@given(st.lists(offers, max_size=4), st.integers(0, 45))
def test_no_choice_is_better_and_none_as_good_is_cheaper(options, limit):
    """Any costs in any order, losses of any shape; integers, which add up without rounding."""
    if sum(int(min(o.costs)) for o in options) > limit:
        with pytest.raises(ValueError, match=f"more than the budget of {limit}"):
            choose(options, limit)
        return
    chosen = choose(options, limit)
    loss = sum(float(o.losses[j]) for o, j in zip(options, chosen, strict=True))
    cost = sum(int(o.costs[j]) for o, j in zip(options, chosen, strict=True))
    assert (loss, cost) == exhaustive(options, limit)
    greedy = by_gain(options, limit)
    assert sum(int(o.costs[j]) for o, j in zip(options, greedy, strict=True)) <= limit
    assert sum(float(o.losses[j]) for o, j in zip(options, greedy, strict=True)) >= loss


@pytest.mark.parametrize("seed", range(4))
def test_the_optimum_is_that_of_dynamic_programming_over_all_budgets(seed):
    """Many blocks and losses over many decades: a search that keeps a few choices misses it."""
    rng = np.random.default_rng(seed)
    options = [
        Options(rng.permutation(np.append(0, rng.integers(1, 60, 12))), 10.0 ** rng.uniform(-3, 0, 13))
        for _ in range(9)
    ]
    limit = int(rng.integers(60, 250))
    least = np.zeros(limit + 1)
    for o in options:
        following = np.full(limit + 1, np.inf)
        for cost, loss in zip(o.costs.tolist(), o.losses.tolist(), strict=True):
            if cost <= limit:
                following[cost:] = np.minimum(following[cost:], least[: limit + 1 - cost] + loss)
        least = following
    chosen = choose(options, limit)
    assert sum(float(o.losses[j]) for o, j in zip(options, chosen, strict=True)) == pytest.approx(
        least[-1], rel=64 * EPS
    )
    assert sum(int(o.costs[j]) for o, j in zip(options, chosen, strict=True)) <= limit


def test_ranks_and_bits_have_one_solver():
    assert ml.embeddings.allocation.choose is budget.choose


tables = st.lists(
    st.tuples(st.lists(st.integers(0, 40), min_size=5, max_size=5), st.integers(1, 9), st.integers(0, 6)),
    min_size=1, max_size=3,
)  # fmt: skip


@settings(max_examples=100, deadline=None)
@given(tables, st.integers(0, 120), st.sampled_from([0, 2, 3]))
def test_exact_bits_are_those_of_brute_force_over_tables_of_any_shape(blocks, limit, lo):
    losses = np.array([b[0] for b in blocks], dtype=float)
    losses[:, 1] = np.nan  # never read
    sizes, overhead = [b[1] for b in blocks], [b[2] for b in blocks]
    offered = [b for b in range(lo, 5) if b != 1]
    options = [
        Options(np.array([n * b + o for b in offered]), row[offered])
        for row, n, o in zip(losses, sizes, overhead, strict=True)
    ]
    given_ = {"sizes": sizes, "budget": limit, "lo": lo, "overhead": overhead}
    if sum(int(min(o.costs)) for o in options) > limit:
        with pytest.raises(ValueError, match="the budget of"):
            allocate_bits(losses, **given_)
        return
    found = allocate_bits(losses, **given_)
    assert (found.loss, found.spent) == exhaustive(options, limit)
    assert found.spent == sum(n * b + o for n, b, o in zip(sizes, found.bits, overhead, strict=True))
    assert found.loss == sum(losses[i, b] for i, b in enumerate(found.bits))
    assert set(found.bits) <= set(offered)
    assert allocate_bits(losses, **given_, method="greedy").loss >= found.loss


# the closed form


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_without_clips_the_real_bits_are_the_mean_and_half_a_logarithm(seed):
    rng = np.random.default_rng(seed)
    k = int(rng.integers(1, 9))
    n = rng.integers(1, 1000, k)
    alpha, var = 4.0 ** rng.uniform(-2, 2, k), 4.0 ** rng.uniform(-2, 2, k)
    mean = 12
    found = allocate_bits(sensitivity=alpha, variance=var, sizes=n, budget=int(n.sum()) * mean)
    logs = np.log2(alpha * var)
    expected = mean + (logs - n @ logs / n.sum()) / 2
    assert found.real == pytest.approx(expected, abs=1e-12)
    assert n @ np.array(found.real) == pytest.approx(n.sum() * mean, rel=1e-13)
    assert found.spent <= n.sum() * mean
    assert np.all(np.array(found.bits) >= np.floor(expected - 1e-9))
    assert found.loss == pytest.approx(np.sum(n * alpha * var * 4.0 ** -np.array(found.bits)), rel=1e-12)


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**32 - 1), st.floats(0, 24))
def test_clipped_real_bits_obey_the_conditions_of_the_optimum(seed, mean):
    """Equal marginal losses inside, no larger ones at `lo`, no smaller ones at `hi`; all is spent."""
    rng = np.random.default_rng(seed)
    k = int(rng.integers(1, 9))
    n, density = rng.integers(1, 1000, k), 10.0 ** rng.uniform(-8, 8, k)
    lo, hi = 2, 20
    total = np.clip(mean, lo, hi) * n.sum()
    b = water_filling(density, n, total, lo, hi)
    assert n @ b == pytest.approx(total, rel=1e-12)
    assert np.all((b >= lo) & (b <= hi))
    marginal = np.log2(density) - 2 * b
    inside = (b > lo) & (b < hi)
    level = np.mean(marginal[inside]) if np.any(inside) else None
    if level is not None:
        assert marginal[inside] == pytest.approx(np.full(inside.sum(), level), abs=1e-9)
        assert np.all(marginal[b == lo] <= level + 1e-9)
        assert np.all(marginal[b == hi] >= level - 1e-9)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(-2, 2), min_size=1, max_size=6), st.integers(1, 50), st.integers(0, 20))
def test_the_closed_form_is_the_exact_solution_where_no_clip_binds(logs, n, extra):
    variance = 4.0 ** np.array(logs)
    k = len(logs)
    options = {"variance": variance, "sizes": [n] * k, "budget": n * (10 * k + extra)}
    closed, exact = (allocate_bits(**options, method=m) for m in ("closed", "exact"))
    assert min(closed.real) >= 2
    assert closed.loss == pytest.approx(exact.loss, rel=128 * EPS)
    assert closed.spent == exact.spent == n * min(10 * k + extra, 24 * k)


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_greedy_is_exact_for_convex_losses_and_equal_sizes(seed):
    rng = np.random.default_rng(seed)
    steps = np.sort(rng.random((4, 7)), axis=1)[:, ::-1]
    table = np.concatenate([np.full((4, 2), np.nan), np.cumsum(steps[:, ::-1], axis=1)[:, ::-1]], axis=1)
    options = {"sizes": [3] * 4, "budget": int(rng.integers(24, 120)), "lo": 2}
    greedy, exact = (allocate_bits(table, **options, method=m) for m in ("greedy", "exact"))
    assert greedy.loss == pytest.approx(exact.loss, rel=128 * EPS)
    assert greedy.spent == exact.spent


def test_one_bit_is_skipped_and_a_block_may_be_dropped():
    variance = 10.0 ** np.linspace(2, -9, 12)
    for mean in np.linspace(0, 6, 25):
        loss = {}
        for method in ("closed", "greedy", "exact"):
            found = allocate_bits(variance=variance, sizes=[7] * 12, budget=7 * 12 * mean, method=method)
            assert 1 not in found.bits
            assert list(found.bits) == sorted(found.bits, reverse=True)
            assert found.spent <= 7 * 12 * mean
            loss[method] = found.loss
        assert loss["exact"] * (1 - 1e-12) <= loss["closed"] == pytest.approx(loss["greedy"], rel=1e-12)
    assert found.bits[-1] == 0
    assert found.bits[0] > 12
    huge = allocate_bits(variance=[1.0, 0.0], sizes=[2, 3], budget=10**9)
    assert huge.bits == (24, 0)
    assert tuple(allocate_bits(variance=[0.0], sizes=[2], budget=100)) == ((0,), 0.0, 0)
    assert tuple(allocate_bits(variance=[], sizes=[], budget=0)) == ((), 0.0, 0)


# the model, and real quantisers


def measured(variance: np.ndarray, bits: tuple[int, ...], n: int, rng: np.random.Generator) -> float:
    a = rng.standard_normal((len(variance), n)) * np.sqrt(variance)[:, None]
    return float(np.sum((a - quantize(a, list(bits), gamma="search").to_dense()) ** 2))


@pytest.mark.parametrize("mean", [1.5, 2, 2.5, 3])
def test_measured_gaussian_losses_allocate_better_than_the_rate(mean):
    """At few bits 4^-b is wrong by a factor of three; what is lost is measured, not modelled."""
    rng, n = np.random.default_rng(0), 500
    ratios = []
    for _ in range(2):
        variance = 10.0 ** rng.uniform(-2, 0, 24)
        found = [
            allocate_bits(variance=variance, sizes=[n] * 24, budget=24 * n * mean, method="exact", model=m)
            for m in ("rate", "gaussian")
        ]
        lost = [measured(variance, f.bits, n, np.random.default_rng(7)) for f in found]
        ratios.append(lost[1] / lost[0])
        assert found[1].loss == pytest.approx(lost[1], rel=0.07)  # and it says how much is lost
        assert found[0].loss < 0.7 * lost[0]  # the rate does not
    assert max(ratios) < 1.001
    assert np.mean(ratios) < 0.995


def test_allocated_bits_of_a_rotated_basis_beat_the_same_bits_for_all():
    """Columns weighted by coefficients that decay: 20 times less error at the same size."""
    rng = np.random.default_rng(2)
    basis = np.linalg.qr(rng.standard_normal((400, 20)))[0]
    power = 10.0 ** -np.arange(0, 10, 0.5)
    for mean in (4, 8):
        bits = allocate_bits(
            sensitivity=power, variance=np.mean(basis**2, axis=0), sizes=[400] * 20, budget=8000 * mean,
            model="gaussian", method="exact",
        ).bits  # fmt: skip
        even, shared = (quantize(basis, b, axis=1, gamma="search") for b in (mean, list(bits)))
        off = [np.sum((basis - q.to_dense()) ** 2, axis=0) @ power for q in (even, shared)]
        assert math.sqrt(off[0] / off[1]) > 20
        assert shared.nbytes <= even.nbytes + 20  # a byte for the bits of each column


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "either losses or sensitivity and variance, got none"),
        ({"losses": np.ones((1, 5)), "variance": [1.0]}, "got both"),
        ({"variance": [1.0, 2.0]}, "variance must be 1 finite numbers >= 0, one per block, got shape"),
        ({"sensitivity": [-1.0]}, "sensitivity must be 1 finite numbers >= 0, one per block, got -1"),
        ({"variance": [np.nan]}, "got nan"),
        ({"variance": [1e300], "sensitivity": [1e300]}, "beyond double precision"),
        ({"variance": [1.0], "lo": 1}, "lo must be 0 or 2 .. 24 bits, got 1"),
        ({"variance": [1.0], "hi": 25}, "hi must be 0 or 2 .. 24 bits, got 25"),
        ({"variance": [1.0], "hi": 2.5}, "must be integers"),
        ({"variance": [1.0], "lo": 5, "hi": 4}, "lo must not be above hi, got 5 and 4"),
        ({"variance": [1.0], "budget": -1}, "budget must be a finite number of bits >= 0, got -1"),
        ({"variance": [1.0], "budget": np.nan}, "budget must be a finite number"),
        ({"variance": [1.0], "budget": 15, "overhead": 16}, "budget of 15 bits is below the 16 bits of overhead"),
        ({"variance": [1.0], "budget": 19, "lo": 2}, "budget of 19 bits is below the 20 that lo=2 and overhead need"),
        ({"variance": [1.0], "sizes": [0]}, "sizes must be at least 1, got 0"),
        ({"variance": [1.0], "sizes": [1.5]}, "sizes must be integers"),
        ({"variance": [1.0], "method": "best"}, "method must be"),
        ({"losses": np.ones((1, 5)), "method": "closed"}, "needs sensitivity and variance"),
        ({"losses": np.ones((2, 5))}, r"losses must be finite and >= 0 of shape \(1, 5\), got shape \(2, 5\)"),
        ({"losses": -np.ones((1, 5))}, "losses must be finite and >= 0"),
        ({"losses": np.ones(5)}, r"losses must be a table \(k, hi \+ 1\), got shape \(5,\)"),
    ],
)
def test_bad_input_is_named(options, message):
    with pytest.raises(ValueError, match=message):
        allocate_bits(**{"sizes": [10], "budget": 100, **options})


def test_overhead_is_spent_first_and_reported():
    variance = [4.0, 1.0, 0.25]
    plain = allocate_bits(variance=variance, sizes=[10] * 3, budget=120)
    scaled = allocate_bits(variance=variance, sizes=[10] * 3, budget=120 + 48, overhead=16)
    assert scaled.bits == plain.bits
    assert scaled.spent == plain.spent + 48
    assert gaussian_losses(4)[4] * 10 * 5.25 > 0
