"""Cross approximation is Gaussian elimination with complete pivoting, stopped at a tolerance or at round-off."""

from __future__ import annotations

import numpy as np
import pytest
from flint import acb, ctx
from helpers.other_arrays import xp

from lowrank import cross_approximation
from lowrank.arrays import to_numpy

DTYPES = [np.float32, np.float64, np.complex64, np.complex128]


def families(dtype: type) -> dict[str, np.ndarray]:
    x, y, rng = np.linspace(0, 1, 200), np.linspace(1, 30, 100), np.random.default_rng(0)
    cplx = np.dtype(dtype).kind == "c"
    phase = np.exp(1j * np.add.outer(3 * x, y)) if cplx else 1.0
    left, right = (rng.standard_normal(shape) + (1j * rng.random(shape) if cplx else 0) for shape in [(60, 5)] * 2)
    noise = rng.standard_normal((50, 40)) + (1j * rng.standard_normal((50, 40)) if cplx else 0)
    matrices = {
        "wave": np.exp(1j * np.outer(x, y)) if cplx else np.cos(np.outer(x, y)),
        "decay": np.exp(-np.outer(x, y)) * phase,
        "kink": abs(x[:, None] - y / 30) * phase,
        "hilbert": 1 / ((1j if cplx else 1) + np.add.outer(np.arange(40.0), np.arange(40))),
        "noise": noise,
        "low rank": left @ right.T,
    }
    return {name: matrix.astype(dtype) for name, matrix in matrices.items()}


NAMES = list(families(np.float64))
CASES = [pytest.param(name, dtype, id=f"{name}-{np.dtype(dtype)}") for name in NAMES for dtype in DTYPES]


def eliminate(matrix: np.ndarray, steps: int) -> tuple[list[tuple[int, int]], list[complex]]:
    """Positions and pivots of Gaussian elimination with complete pivoting, in 300 bits and plain loops."""
    ctx.prec = 300
    m, n = matrix.shape
    rest = [[acb(float(z.real), float(z.imag)) for z in row] for row in matrix]
    positions, pivots = [], []
    for _ in range(steps):
        i, j = max(((i, j) for i in range(m) for j in range(n)), key=lambda ij: float(abs(rest[ij[0]][ij[1]]).mid()))
        pivot, row = rest[i][j], list(rest[i])
        positions.append((i, j))
        pivots.append(complex(pivot))
        for k in range(m):
            factor = rest[k][j] / pivot
            rest[k] = [a - factor * b for a, b in zip(rest[k], row, strict=True)]
    ctx.prec = 53
    return positions, pivots


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ["decay", "noise", "hilbert"])
def test_pivots_are_those_of_complete_pivoting(name, dtype):
    eps, steps = np.finfo(dtype).eps, 5
    matrix = families(dtype)[name][1::5, ::4]
    cross = cross_approximation(matrix, rank=steps)
    positions, pivots = eliminate(matrix, steps)
    assert list(zip(cross.row_indices, cross.column_indices, strict=True)) == positions
    assert abs(cross.pivots - pivots).max() <= 20 * eps * abs(matrix).max()


@pytest.mark.parametrize(("name", "dtype"), CASES)
def test_selected_rows_are_triangular_to_the_last_bit(name, dtype):
    cross = cross_approximation(families(dtype)[name])
    lower = cross.columns[cross.row_indices]
    assert np.array_equal(np.triu(lower), np.eye(cross.rank))


@pytest.mark.parametrize(("name", "dtype"), CASES)
def test_selected_columns_are_triangular_with_the_pivots_on_the_diagonal(name, dtype):
    cross = cross_approximation(families(dtype)[name])
    upper = cross.rows[:, cross.column_indices]
    assert np.array_equal(np.tril(upper), np.diag(cross.pivots))


@pytest.mark.parametrize(("name", "dtype"), CASES)
def test_no_row_and_no_column_is_picked_twice(name, dtype):
    cross = cross_approximation(families(dtype)[name])
    assert len(set(cross.row_indices)) == len(set(cross.column_indices)) == cross.rank


@pytest.mark.parametrize(("name", "dtype"), CASES)
def test_at_saturation_the_product_is_the_matrix_to_round_off(name, dtype):
    eps, matrix = np.finfo(dtype).eps, families(dtype)[name]
    cross = cross_approximation(matrix)
    assert cross.columns.dtype == cross.rows.dtype == dtype
    plateau = 60 if name == "wave" else 0  # the entries were computed with an error of that many eps
    assert abs(cross.to_dense() - matrix).max() <= (30 + plateau) * eps * abs(matrix).max()
    assert abs(cross.columns).max() <= 1 + eps
    if name == "low rank":
        assert 5 <= cross.rank <= 7


@pytest.mark.parametrize("dtype", DTYPES[:2])
@pytest.mark.parametrize("frequency", [60, 200])
def test_rounding_errors_in_the_entries_are_not_approximated(dtype, frequency):
    wide = {np.float32: np.float64, np.float64: np.longdouble}[dtype]
    x, y = np.linspace(0, 1, 200).astype(dtype), (frequency * np.linspace(0, 1, 150)).astype(dtype)
    computed, rounded = np.cos(np.outer(x, y)), np.cos(np.outer(x.astype(wide), y.astype(wide))).astype(dtype)
    cross, exact = cross_approximation(computed), cross_approximation(rounded)
    assert cross.stopped == exact.stopped == "round-off"
    assert abs(cross.rank - exact.rank) <= 3
    assert cross.residual_history[-1] <= 500 * np.finfo(dtype).eps


def test_a_slow_decay_is_followed_to_the_requested_tolerance():
    rng, n, rtol = np.random.default_rng(0), 300, 1e-5
    left, right = (np.linalg.qr(rng.standard_normal((n, n)))[0] for _ in range(2))
    cross = cross_approximation(((left * 2.0 ** -(np.arange(n) / 10)) @ right).astype(np.float32), rtol=rtol)
    assert cross.stopped == "tolerance"
    assert cross.residual_history[-1] <= rtol * cross.residual_history[0]


@pytest.mark.parametrize(("name", "dtype"), CASES)
def test_residual_history_is_the_error_of_each_partial_product(name, dtype):
    eps, matrix = np.finfo(dtype).eps, families(dtype)[name]
    cross = cross_approximation(matrix, rank=8)
    errors = [abs(matrix - cross.columns[:, :k] @ cross.rows[:k]).max() for k in range(cross.rank + 1)]
    assert abs(cross.residual_history - errors).max() <= 30 * eps * abs(matrix).max()
    # the modulus of a complex pivot may be taken in another precision than that of the search
    assert cross.residual_history[:-1] == pytest.approx(abs(cross.pivots), rel=float(2 * eps), abs=0)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("rtol", [0.3, 1e-2, 1e-4])
def test_tolerance_stops_at_the_first_rank_that_reaches_it(dtype, rtol):
    matrix = 1000 * families(dtype)["decay"]
    cross = cross_approximation(matrix, rtol=rtol)
    assert cross.stopped == "tolerance"
    assert cross.residual_history[-1] <= rtol * abs(matrix).max()
    assert np.all(cross.residual_history[:-1] > rtol * abs(matrix).max())


@pytest.mark.parametrize("dtype", DTYPES)
def test_it_says_why_it_stopped(dtype):
    u, matrix = np.finfo(dtype).eps / 2, families(dtype)["decay"]
    for rank in (0, 3):
        cross = cross_approximation(matrix, rtol=1e-3, rank=rank)
        assert (cross.rank, cross.stopped) == (rank, "rank")
    saturated = cross_approximation(matrix, rtol=0.0)
    assert saturated.stopped == "round-off"
    assert saturated.residual_history[-1] <= 4 * u * abs(matrix).max() < saturated.residual_history[-2]
    assert f"rank {saturated.rank}" in repr(saturated)
    assert "stopped by round-off" in repr(saturated)


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_matrix_is_left_alone_whatever_its_memory_layout(dtype):
    matrix = families(dtype)["wave"]
    expected = cross_approximation(matrix, rank=10)
    for view in (np.asfortranarray(matrix), np.repeat(matrix, 2, axis=1)[:, ::2], matrix[::-1][::-1]):
        before = view.copy()
        cross = cross_approximation(view, rank=10)
        assert np.array_equal(view, before)
        assert np.array_equal(cross.columns, expected.columns)
        assert np.array_equal(cross.rows, expected.rows)


def test_zero_empty_one_by_one_and_integer_matrices_are_ordinary():
    for shape in ((3, 2), (3, 0), (0, 2)):
        cross = cross_approximation(np.zeros(shape))
        assert (cross.rank, cross.stopped) == (0, "round-off")
        assert np.array_equal(cross.to_dense(), np.zeros(shape))
    for matrix in ([[-2]], [[2j]], [[1, 2], [3, 7]]):
        assert np.array_equal(cross_approximation(matrix).to_dense(), matrix)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"matrix": np.ones(3)}, r"matrix must be a matrix of shape \(n, m\), got an array of shape \(3,\)"),
        ({"matrix": np.array([[1, 2], [3j, np.nan]])}, r"matrix has 1 entries .* the first at index \(1, 1\)"),
        ({"matrix": np.eye(2), "rtol": -0.5}, "rtol must be a number >= 0, got -0.5"),
        ({"matrix": np.eye(2), "rtol": np.nan}, "rtol must be a number >= 0, got nan"),
        ({"matrix": np.eye(2), "rank": -1}, "rank must be an integer >= 0, got -1"),
    ],
)
def test_bad_input_is_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        cross_approximation(**arguments)


@pytest.mark.parametrize("dtype", DTYPES)
def test_arrays_of_another_module_stay_in_it(dtype):
    matrix = families(dtype)["decay"]
    other = xp.asarray(matrix)
    cross, expected = cross_approximation(other), cross_approximation(matrix)
    assert type(cross.columns) is type(cross.rows) is type(cross.to_dense()) is type(other)
    assert cross.columns.dtype == cross.rows.dtype == other.dtype
    if np.dtype(dtype).kind != "c":  # many entries have modulus one: which is largest is decided by its rounding
        assert np.array_equal(cross.row_indices[:5], expected.row_indices[:5])
    assert abs(to_numpy(cross.to_dense()) - matrix).max() <= 30 * np.finfo(dtype).eps
