"""Solves with a positive definite matrix for several right-hand sides in one pass over its factor."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
import scipy.sparse as sp

from rbm.affine.inner_product import InnerProduct
from rbm.solvers import several
from rbm.solvers.factorization import definite_solve, factorize_positive_definite, positive_lu, solve_function
from rbm.solvers.superlu import SuperLU

GRID = 13


@pytest.fixture(autouse=True)
def always(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(several, "LARGE", 1)


def laplacian(weight: float = 1.0) -> sp.csr_array:
    """Return a Laplacian of two materials on a grid, plus a little of the identity."""
    line = sp.diags_array([-np.ones(GRID - 1), 2 * np.ones(GRID), -np.ones(GRID - 1)], offsets=(-1, 0, 1))
    scale = sp.diags_array(np.where(np.arange(GRID) < 5, 1.0, weight))
    eye = sp.eye_array(GRID)
    return sp.csr_array(sp.kron(line, eye) + sp.kron(scale, line) + 0.01 * sp.eye_array(GRID * GRID))


@pytest.mark.parametrize("m", [0, 1, 2, 7, 8, 9, 17])
@pytest.mark.parametrize("weight", [1.0, 1e6])
def test_solutions_have_the_residual_of_a_stable_elimination(m: int, weight: float) -> None:
    matrix, rng = laplacian(weight), np.random.default_rng(m)
    rhs = rng.standard_normal((GRID * GRID, m)) * 10.0 ** rng.integers(-8, 8, m)
    solve = factorize_positive_definite(matrix)
    assert solve is not None
    x = solve(rhs)
    assert x.shape == rhs.shape
    size = np.abs(rhs) + abs(matrix) @ np.abs(x)
    assert np.all(np.abs(rhs - matrix @ x) <= 64 * 2.0**-53 * size.max(axis=0, initial=0.0))


def test_solutions_are_those_of_exact_arithmetic() -> None:
    """L D L^T with small whole numbers has no rounding: the order of unknowns is the only thing that can be wrong."""
    rng = np.random.default_rng(3)
    n = 40
    lower = np.tril(np.where(rng.random((n, n)) < 0.1, rng.integers(-2, 3, (n, n)), 0), -1) + np.eye(n)
    matrix = lower @ np.diag(2.0 ** rng.integers(0, 3, n)) @ lower.T
    order = rng.permutation(n)
    matrix, x = matrix[np.ix_(order, order)], rng.integers(-9, 9, (n, 11)).astype(float)
    rhs = matrix @ x
    assert all(Fraction(v).denominator == 1 for v in rhs.ravel())
    solve = factorize_positive_definite(sp.csr_array(matrix))
    assert solve is not None
    np.testing.assert_allclose(solve(rhs), x, rtol=0, atol=1e-9)


def test_a_column_does_not_depend_on_the_others() -> None:
    """So that results do not depend on who solves for which columns."""
    matrix, rhs = laplacian(), np.random.default_rng(0).standard_normal((GRID * GRID, 19))
    solve = factorize_positive_definite(matrix)
    assert solve is not None
    whole = solve(rhs)
    for some in (slice(0, 1), slice(3, 5), slice(2, 19), slice(18, 19)):
        np.testing.assert_array_equal(solve(rhs[:, some]), whole[:, some])
        np.testing.assert_array_equal(solve(np.ascontiguousarray(rhs[:, some])), whole[:, some])
    np.testing.assert_array_equal(solve(rhs - 2j * rhs), whole - 2j * whole)


def test_the_named_solver_and_the_default_one_solve_alike() -> None:
    matrix, rhs = laplacian(), np.random.default_rng(1).standard_normal((GRID * GRID, 9))
    made = SuperLU().cholesky(matrix, prove=False)
    default = InnerProduct(matrix).factorized()
    assert made is not None
    np.testing.assert_allclose(made[0](rhs), default(rhs), rtol=1e-12, atol=1e-12 * np.abs(default(rhs)).max())


def test_small_complex_and_indefinite_matrices_are_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    matrix = laplacian()
    assert factorize_positive_definite(sp.csr_array(matrix - 3 * sp.eye_array(GRID * GRID))) is None
    assert several.pays(matrix)
    assert not several.pays(matrix.astype(complex))
    monkeypatch.setattr(several, "LARGE", 1 << 20)
    assert not several.pays(matrix)
    lu, rhs = positive_lu(matrix), np.ones((GRID * GRID, 3))
    np.testing.assert_array_equal(definite_solve(lu, matrix)(rhs), solve_function(lu, matrix)(rhs))


def from_panels(
    starts: np.ndarray, first_rows: np.ndarray, rows: np.ndarray, first_values: np.ndarray, values: np.ndarray
) -> np.ndarray:
    """Return the matrix that panels stand for, entry by entry."""
    n = int(starts[-1])
    made = np.zeros((n, n))
    for k in range(len(starts) - 1):
        width, at = starts[k + 1] - starts[k], first_values[k]
        own = [(starts[k] + r, starts[k] + c) for r in range(width) for c in range(r)]
        below = [(i, starts[k] + c) for i in rows[first_rows[k] : first_rows[k + 1]] for c in range(width)]
        assert len(own) + len(below) == first_values[k + 1] - at
        for place, value in zip(own + below, values[at : first_values[k + 1]], strict=True):
            made[place] = value
    return made


def lower_part(matrix: sp.csr_array) -> sp.csc_array:
    lu = positive_lu(matrix)
    assert lu is not None
    return sp.csc_array(sp.tril(lu.L, -1))


def test_panels_hold_the_factor_and_are_wide_where_columns_are_alike() -> None:
    lower = lower_part(laplacian(3.0))
    panels = several.panels_of(lower)
    np.testing.assert_array_equal(from_panels(*panels), lower.toarray())
    widths = np.diff(panels[0])
    assert set(widths) == {1, 2, 4}
    assert len(panels[2]) < 0.75 * lower.nnz  # rows that a pass touches
    # a full factor: fours, then what is left of 11
    full = sp.csc_array(np.tril(np.arange(1.0, 122.0).reshape(11, 11), -1))
    starts = several.panels_of(full)[0]
    np.testing.assert_array_equal(starts, [0, 4, 8, 10, 11])
    np.testing.assert_array_equal(from_panels(*several.panels_of(full)), full.toarray())


@pytest.mark.parametrize("rows", [[[1, 3], [4], [], [], []], [[1, 2], [3], [], [4], []], [[2, 3], [3], [], [4], []]])
def test_columns_of_as_many_rows_but_others_are_not_taken_together(rows: list[list[int]]) -> None:
    """A factor whose zeros were left out need not have the rows that elimination gives."""
    lower = sp.lil_array((5, 5))
    for j, of in enumerate(rows):
        for i in of:
            lower[i, j] = 10.0 * i + j
    panels = several.panels_of(sp.csc_array(lower))
    assert list(panels[0][:2]) == [0, 1]
    np.testing.assert_array_equal(from_panels(*panels), lower.toarray())


def test_panels_of_one_unknown_and_of_a_diagonal_matrix() -> None:
    for n in (1, 3):
        starts, first_rows, rows, first_values, values = several.panels_of(sp.csc_array((n, n)))
        np.testing.assert_array_equal(starts, np.arange(n + 1))
        assert len(rows) == len(values) == 0
        assert not np.any([first_rows, first_values])
