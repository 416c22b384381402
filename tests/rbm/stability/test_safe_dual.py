"""The bound of a linear program from any multipliers, against exact arithmetic and against a solver."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from helpers.other_arrays import xp
from scipy.optimize import linprog

from rbm.errors import StabilityError
from rbm.stability.safe_dual import SafeDual
from rbm.stability.vertex_walk import VertexWalk, steps_for


def polytope(seed: int, q: int = 5, rows: int = 8, *, degenerate: bool = False) -> SafeDual:
    """A box cut by random half-spaces, all of which hold at one inner point."""
    rng = np.random.default_rng(seed)
    lower, upper = -rng.uniform(0, 1, q), rng.uniform(0, 1, q)
    c = rng.uniform(-1, 1, (rows, q))
    inside = lower + rng.uniform(0.3, 0.7, q) * (upper - lower)
    levels = c @ inside - rng.uniform(0, 0.1, rows)
    if degenerate:  # an equality, and an inequality twice
        c = np.concatenate([c, c[:1], -c[:1], c[1:2]])
        levels = np.concatenate([levels, [c[0] @ inside], [-(c[0] @ inside)], levels[1:2]])
        levels[0] = c[0] @ inside - 1
    return SafeDual(lower, upper, c, levels)


def thetas(seed: int, count: int, q: int = 5) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-1, 1, (count, q))


def optimum(program: SafeDual, theta: np.ndarray) -> float:
    box = np.column_stack([program.lower, program.upper])
    return float(linprog(theta, A_ub=-program.rows, b_ub=-program.levels, bounds=box, method="highs-ipm").fun)


def exact(program: SafeDual, theta: np.ndarray, multipliers: np.ndarray) -> Fraction:
    """The formula of the bound in rational numbers."""
    lam = [Fraction(float(x)) if x > 0 else Fraction(0) for x in multipliers]
    total = sum((x * Fraction(float(a)) for x, a in zip(lam, program.levels, strict=True)), Fraction(0))
    for q in range(len(theta)):
        r = Fraction(float(theta[q])) - sum(
            (x * Fraction(float(c)) for x, c in zip(lam, program.rows[:, q], strict=True)), Fraction(0)
        )
        total += min(r * Fraction(float(program.lower[q])), r * Fraction(float(program.upper[q])))
    return total


@pytest.mark.parametrize("size", [1e-3, 1.0, 1e6])
def test_the_value_is_below_that_of_the_formula_and_close_to_it(size: float) -> None:
    rng = np.random.default_rng(1)
    for seed in range(8):
        program = polytope(seed)
        theta, multipliers = thetas(seed, 10), size * rng.standard_normal((10, 8))
        values = program.value(theta, multipliers)
        for row, given, value in zip(theta, multipliers, values, strict=True):
            right = exact(program, row, given)
            assert Fraction(float(value)) <= right
            assert right - Fraction(float(value)) <= Fraction(1e-13 * max(1.0, size) * 40)


def test_no_multipliers_exceed_the_optimum_be_they_negative() -> None:
    rng = np.random.default_rng(2)
    for seed in range(5):
        program = polytope(seed)
        for theta in thetas(seed, 5):
            best = optimum(program, theta)
            given = rng.standard_normal((200, 8)) * 10.0 ** rng.integers(-2, 2, (200, 1))
            assert np.all(program.value(np.tile(theta, (200, 1)), given) <= best + 1e-8)
            made = program.propose(theta)
            assert np.all(made.multipliers >= 0)
            assert program.value(theta[None], made.multipliers)[0] == pytest.approx(best, abs=1e-7)


def test_multiples_of_stored_multipliers_stay_below_the_optimum_and_reach_it_where_they_come_from() -> None:
    for seed in range(4):
        program, theta = polytope(seed), thetas(seed, 20)
        stored = np.array([program.propose(row).multipliers for row in theta[:10]])
        aggregates = program.aggregates(stored)
        best = np.array([optimum(program, row) for row in theta])
        for factor in (0.01, 1.0, 300.0):
            values = program.scaled(factor * theta, aggregates) / factor
            assert np.all(values <= best + 1e-8)
            np.testing.assert_allclose(values[:10], best[:10], atol=1e-7)
        negative = program.aggregates(-np.ones((3, 8)))
        assert np.all(program.scaled(theta, negative) <= best + 1e-8)


def test_an_aggregate_is_an_inequality_that_holds_in_exact_numbers() -> None:
    for seed in range(10):
        program = polytope(seed)
        multipliers = np.abs(np.random.default_rng(seed).standard_normal((4, 8)))
        for g, a, lam in zip(*program.aggregates(multipliers), multipliers, strict=True):
            # min over the box of (g - C^T lambda) . y + lambda . alpha >= a
            assert Fraction(float(a)) <= exact(program, g, lam)


def test_a_program_without_a_solution_is_an_error_that_says_so() -> None:
    program = polytope(0).extended(np.ones(5), 100.0)
    with pytest.raises(StabilityError, match="infeasible"):
        program.propose(np.ones(5))


@pytest.mark.parametrize("degenerate", [False, True])
@pytest.mark.parametrize("q", [1, 2, 5, 9])
def test_walks_end_at_the_optimum(q: int, degenerate: bool) -> None:
    for seed in range(3):
        program = polytope(seed, q, 12, degenerate=degenerate)
        walk = VertexWalk.from_proposals(program, [program.propose(row) for row in thetas(seed, 3, q)]).spread(
            thetas(seed, 20, q), 6
        )
        theta = thetas(seed + 100, 20, q)
        best = np.array([optimum(program, row) for row in theta])
        found = walk.bound(theta)
        assert np.all(found <= best + 1e-8)
        np.testing.assert_allclose(found, best, atol=1e-6)
        np.testing.assert_allclose(found, program.value(theta, walk.multipliers(theta)), rtol=1e-11, atol=1e-13)


def test_walks_that_are_cut_short_are_true_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rbm.stability.vertex_walk.steps_for", lambda count: 0)
    assert steps_for(5) > 0  # what this file imported
    program = polytope(3, 8, 20)
    walk = VertexWalk.from_proposals(program, [program.propose(row) for row in thetas(3, 2, 8)])
    theta = thetas(4, 50, 8)
    best = np.array([optimum(program, row) for row in theta])
    assert np.any(walk.bound(theta) < best - 1e-3)  # many multipliers are negative there
    assert np.all(walk.bound(theta) <= best + 1e-8)
    np.testing.assert_allclose(walk.bound(theta), program.value(theta, walk.multipliers(theta)), rtol=1e-11, atol=1e-13)


def test_the_bound_of_a_walk_is_below_exact_numbers() -> None:
    program = polytope(5, 6, 12)
    walk = VertexWalk.from_proposals(program, [program.propose(row) for row in thetas(5, 4, 6)])
    theta = thetas(6, 50, 6)
    exact_values = [exact(program, row, lam) for row, lam in zip(theta, walk.multipliers(theta), strict=True)]
    # the kernel's multipliers differ in their last bits; at the optimum that does not move the value beyond its floor
    for value, right in zip(walk.bound(theta), exact_values, strict=True):
        assert Fraction(float(value)) <= right


def test_other_arrays_get_the_same_bounds() -> None:
    program = polytope(7)
    proposals = [program.propose(row) for row in thetas(7, 5)]
    walk = VertexWalk.from_proposals(program, proposals)
    theta = thetas(8, 20)
    made = np.asarray(walk.bound(xp.asarray(theta)))
    np.testing.assert_allclose(made, walk.bound(theta), rtol=1e-11, atol=1e-13)
    aggregates = program.aggregates(np.array([p.multipliers for p in proposals]))
    np.testing.assert_allclose(
        np.asarray(program.scaled(xp.asarray(theta), aggregates)), program.scaled(theta, aggregates), rtol=1e-12
    )


def test_a_nan_is_not_hidden() -> None:
    program = polytope(9)
    walk = VertexWalk.from_proposals(program, [program.propose(row) for row in thetas(9, 4)])
    theta = thetas(9, 3)
    theta[1, 2] = np.nan
    assert np.array_equal(np.isnan(walk.bound(theta)), [False, True, False])
