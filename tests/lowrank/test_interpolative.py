"""Interpolative and CUR decompositions.

They keep columns and rows of the matrix itself, and are about as good as those of a pivoted QR.
"""

from __future__ import annotations

import numpy as np
import pytest
import scipy.linalg.interpolative as sli
from helpers.other_arrays import xp

from lowrank.arrays import to_numpy
from lowrank.interpolative import cur, interpolative_decomposition

DTYPES = [np.float32, np.float64, np.complex64, np.complex128]
ALL_TYPES = pytest.mark.parametrize("dtype", DTYPES)
PIVOTING = pytest.mark.parametrize("pivoting", ["full", "rook"])
WITH_QR = pytest.mark.parametrize("pivoting", ["full", "rook", "qr"])


def decaying(dtype: type, m: int = 120, n: int = 90) -> np.ndarray:
    rng = np.random.default_rng(0)
    x, y = rng.random((m, 3)), rng.random((n, 3)) + np.array([1.5, 0, 0])
    r = np.linalg.norm(x[:, None] - y[None], axis=2)
    return ((np.exp(4j * r) if np.dtype(dtype).kind == "c" else 1.0) / r).astype(dtype)


def relative(matrix: np.ndarray, approximation: np.ndarray) -> float:
    return float(np.linalg.norm((matrix - approximation).astype(complex)) / np.linalg.norm(matrix))


@ALL_TYPES
@WITH_QR
def test_columns_are_the_matrix_s_own_and_their_coefficients_the_identity(pivoting, dtype):
    matrix = decaying(dtype)
    columns, x = interpolative_decomposition(matrix, 14, pivoting=pivoting)
    assert x.dtype == dtype
    assert len(set(columns)) == 14
    assert np.array_equal(x[:, columns], np.eye(14))
    assert abs(x).max() <= 10


@pytest.mark.parametrize("dtype", [np.float64, np.complex128])
@PIVOTING
@pytest.mark.parametrize("rank", [5, 15, 30])
def test_the_error_is_close_to_that_of_scipy(pivoting, dtype, rank):
    matrix = decaying(dtype)
    columns, x = interpolative_decomposition(matrix, rank, pivoting=pivoting)
    index, projection = sli.interp_decomp(matrix, rank, rand=False)
    skeleton = sli.reconstruct_skel_matrix(matrix, rank, index)
    theirs = relative(matrix, sli.reconstruct_matrix_from_id(skeleton, index, projection))
    assert relative(matrix, matrix[:, columns] @ x) <= 6 * theirs
    assert relative(matrix, cur(matrix, rank, pivoting=pivoting).to_dense()) <= 6 * theirs


@ALL_TYPES
@pytest.mark.parametrize("pivoting", ["partial", "rook"])
def test_the_tolerance_is_kept(pivoting, dtype):
    matrix, rtol = decaying(dtype), 1e-4
    columns, x = interpolative_decomposition(matrix, rtol=rtol, pivoting=pivoting)
    assert relative(matrix, matrix[:, columns] @ x) <= rtol
    skeleton = cur(matrix, rtol=rtol, pivoting=pivoting)
    assert skeleton.stopped == "tolerance"
    assert relative(matrix, skeleton.to_dense()) <= rtol
    assert skeleton.error.value <= rtol * skeleton.norm


@ALL_TYPES
@PIVOTING
def test_cur_holds_columns_rows_and_the_factorisation_of_their_crossing(pivoting, dtype):
    matrix, eps = decaying(dtype), np.finfo(dtype).eps
    skeleton = cur(matrix, 12, pivoting=pivoting)
    i, j = skeleton.row_indices, skeleton.column_indices
    assert np.array_equal(skeleton.C, matrix[:, j])
    assert np.array_equal(skeleton.R, matrix[i])
    assert np.array_equal(np.triu(skeleton.lower), np.eye(12))
    assert np.array_equal(np.tril(skeleton.upper, -1), np.zeros((12, 12)))
    assert abs(skeleton.lower @ skeleton.upper - matrix[np.ix_(i, j)]).max() <= 20 * eps * abs(matrix).max()
    dense = skeleton.to_dense()
    assert abs((matrix - dense)[i]).max() <= 100 * eps * abs(matrix).max()
    assert abs((matrix - dense)[:, j]).max() <= 100 * eps * abs(matrix).max()
    two = cur(matrix, 2, pivoting=pivoting)
    assert relative(two.to_dense(), two.C @ two.U @ two.R) <= 100 * eps


def test_solves_are_right_to_round_off_where_the_inverse_is_not():
    matrix = decaying(np.float64, 300, 300)
    skeleton = cur(matrix, rtol=1e-13)
    assert relative(matrix, skeleton.to_dense()) <= 2e-13
    assert relative(matrix, skeleton.C @ skeleton.U @ skeleton.R) >= 10 * relative(matrix, skeleton.to_dense())


@pytest.mark.parametrize("pivoting", ["partial", "rook"])
def test_functions_serve_as_arrays_do(pivoting):
    matrix = decaying(np.complex128)
    functions = (lambda i: matrix[i], lambda j: matrix[:, j])
    options = {"rtol": 1e-5, "pivoting": pivoting}
    given = {"shape": matrix.shape, "entries": lambda i, j: matrix[i, j], **options}
    for one, two in zip(
        interpolative_decomposition(functions, **given), interpolative_decomposition(matrix, **options), strict=True
    ):
        assert np.array_equal(one, two)
    one, two = cur(functions, **given), cur(matrix, **options)
    assert np.array_equal(one.C, two.C)
    assert np.array_equal(one.R, two.R)
    assert np.array_equal(one.to_dense(), two.to_dense())


@ALL_TYPES
@PIVOTING
def test_arrays_of_another_module_stay_in_it(pivoting, dtype):
    matrix = decaying(dtype)
    other = xp.asarray(matrix)
    columns, x = interpolative_decomposition(other, rtol=1e-4, pivoting=pivoting)
    skeleton = cur(other, rtol=1e-4, pivoting=pivoting)
    assert type(x) is type(skeleton.C) is type(skeleton.to_dense()) is type(skeleton.U) is type(other)
    assert relative(matrix, matrix[:, columns] @ to_numpy(x)) <= 1e-3
    assert relative(matrix, to_numpy(skeleton.to_dense())) <= 1e-3


@PIVOTING
@pytest.mark.parametrize("shape", [(4, 3), (4, 0), (0, 3), (1, 1)])
def test_zero_and_empty_matrices(pivoting, shape):
    zero = np.zeros(shape)
    columns, x = interpolative_decomposition(zero, pivoting=pivoting)
    assert (columns.shape, x.shape) == ((0,), (0, shape[1]))
    skeleton = cur(zero, pivoting=pivoting)
    assert skeleton.rank == 0
    assert np.array_equal(skeleton.to_dense(), zero)
    assert "rank 0, relative error 0.0e+00" in repr(skeleton)


def test_one_by_one_and_rank_deficient():
    for matrix in (np.array([[-2.0]]), np.outer([1.0, 2, 0], [3.0, 0, 1, 2])):
        columns, x = interpolative_decomposition(matrix)
        assert x.shape[0] == 1
        assert np.array_equal(matrix[:, columns] @ x, matrix)
        assert np.array_equal(cur(matrix).to_dense(), matrix)


@pytest.mark.parametrize("decomposition", [interpolative_decomposition, cur])
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"rank": -1}, "rank must be an integer >= 0, got -1"),
        ({"rank": 1.5}, "rank must be an integer >= 0, got 1.5"),
        ({"rtol": np.nan}, "rtol must be a number >= 0, got nan"),
        ({"shape": (2, 2)}, "shape and entries belong to a pair of functions"),
    ],
)
def test_bad_input_is_named(decomposition, arguments, message):
    with pytest.raises(ValueError, match=message):
        decomposition(np.eye(3), **arguments)


def flat(n: int, dtype: type = np.float64) -> np.ndarray:
    """A matrix whose k-th singular value is k^{-1/2}."""
    rng = np.random.default_rng(0)
    left, right = (np.linalg.qr(rng.standard_normal((n, n)))[0] for _ in range(2))
    return ((left * np.arange(1, n + 1) ** -0.5) @ right).astype(dtype)


@ALL_TYPES
@pytest.mark.parametrize("shape", [(60, 60), (200, 300), (500, 400), (320, 700)])
def test_columns_by_qr_are_as_good_as_those_of_scipy(dtype, shape):
    """Small ones are its own; those of a sketch, above 256 rows and columns, come within a tenth."""
    for matrix in (decaying(dtype, *shape), flat(max(shape), dtype)[: shape[0], : shape[1]]):
        found = interpolative_decomposition(matrix, 20)
        wide = matrix.astype(complex if np.dtype(dtype).kind == "c" else float)
        index, projection = sli.interp_decomp(wide, 20, rand=False)
        skeleton = sli.reconstruct_skel_matrix(wide, 20, index)
        theirs = relative(wide, sli.reconstruct_matrix_from_id(skeleton, index, projection))
        assert found.stopped == "rank"
        assert found.coefficients.dtype == dtype
        assert relative(matrix, matrix[:, found.columns] @ found.coefficients) <= 1.1 * theirs
        assert found.error.value == pytest.approx(
            np.linalg.norm(matrix - matrix[:, found.columns] @ found.coefficients), rel=1e-4
        )
        if min(shape) > 256:
            again = interpolative_decomposition(matrix, 20, rng=0)
            assert np.array_equal(found.columns, again.columns)
            assert np.array_equal(found.coefficients, again.coefficients)


@ALL_TYPES
@pytest.mark.parametrize("rtol", [0.3, 1e-3])
def test_qr_keeps_a_tolerance_with_the_fewest_of_its_columns(dtype, rtol):
    matrix = decaying(dtype)
    found = interpolative_decomposition(matrix, rtol=rtol, pivoting="qr")
    assert found.stopped == "tolerance"
    assert found.error.value <= rtol * found.norm * (1 + 1e-5)
    fewer = interpolative_decomposition(matrix, found.rank - 1, pivoting="qr")
    assert fewer.error.value > rtol * found.norm
    assert interpolative_decomposition(matrix, 2, rtol=1e-3, pivoting="qr").stopped == "rank"


@ALL_TYPES
@pytest.mark.parametrize("n", [40, 400])
def test_qr_stops_at_round_off_and_takes_any_units(dtype, n):
    rng = np.random.default_rng(1)
    matrix = (rng.standard_normal((n, 5)) @ rng.standard_normal((5, n))).astype(dtype)
    found = interpolative_decomposition(matrix, 12)
    assert (found.rank, found.stopped) == (5, "round-off")
    assert found.error.value <= 100 * np.finfo(dtype).eps * found.norm
    big = float(np.finfo(dtype).max) ** 0.75
    for unit in (2.0 ** np.round(np.log2(big)), 2.0 ** -np.round(np.log2(big))):
        scaled = interpolative_decomposition(matrix * np.array(unit, matrix.real.dtype), 12)
        assert np.array_equal(scaled.columns, found.columns)
    for zero in (np.zeros((n, n), dtype), np.zeros((n, 0), dtype), np.zeros((0, n), dtype)):
        assert interpolative_decomposition(zero, 3).rank == 0


def test_qr_is_for_numpy_arrays():
    matrix = decaying(np.float64)
    with pytest.raises(ValueError, match="not for functions"):
        interpolative_decomposition((lambda i: matrix[i], lambda j: matrix[:, j]), 3, shape=(120, 90), pivoting="qr")
    with pytest.raises(ValueError, match="not for arrays of another module"):
        interpolative_decomposition(xp.asarray(matrix), 3, pivoting="qr")
    with pytest.raises(ValueError, match="shape and entries"):
        interpolative_decomposition(matrix, 3, shape=(120, 90))
    matrix[3, 4] = np.nan
    for n in (3, None):
        with pytest.raises(ValueError, match="finite"):
            interpolative_decomposition(matrix, n)
