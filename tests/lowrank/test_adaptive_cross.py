"""Cross approximation with partial and rook pivoting.

Crosses of matrices that are never formed, whose stopping rule is checked and whose failure is told.
"""

from __future__ import annotations

import tracemalloc
import warnings
from itertools import pairwise

import numpy as np
import pytest
from helpers.other_arrays import xp
from hypothesis import given, settings
from hypothesis import strategies as st

from lowrank import cross_approximation
from lowrank.arrays import to_numpy

DTYPES = [np.float32, np.float64, np.complex64, np.complex128]
SEARCHES = ["partial", "rook"]
BOTH = pytest.mark.parametrize("pivoting", SEARCHES)
ALL_TYPES = pytest.mark.parametrize("dtype", DTYPES)


def gaussian(rng: np.random.Generator, shape: tuple[int, int], dtype: type) -> np.ndarray:
    real = rng.standard_normal(shape)
    return (real + 1j * rng.standard_normal(shape) if np.dtype(dtype).kind == "c" else real).astype(dtype)


def orthonormal(rng: np.random.Generator, n: int, r: int, dtype: type) -> np.ndarray:
    return np.linalg.qr(gaussian(rng, (n, r), np.result_type(dtype, np.float64)))[0]


def kernel(rng: np.random.Generator, m: int, n: int, distance: float, dtype: type) -> np.ndarray:
    """1 / |x - y|, or exp(4 i |x - y|) / |x - y|, between the points of two unit cubes."""
    x, y = rng.random((m, 3)), rng.random((n, 3)) + np.array([1 + distance, 0, 0])
    r = np.linalg.norm(x[:, None] - y[None], axis=2)
    return ((np.exp(4j * r) if np.dtype(dtype).kind == "c" else 1.0) / r).astype(dtype)


class Functions:
    """Rows, columns and entries of an array, as functions that count what they are asked for."""

    def __init__(self, matrix: np.ndarray) -> None:
        self.matrix, self.count = matrix, 0

    def _given(self, values: np.ndarray) -> np.ndarray:
        self.count += values.size
        return values

    def rows(self, i):
        return self._given(self.matrix[i])

    def columns(self, j):
        return self._given(self.matrix[:, j])

    def entries(self, i, j):
        return self._given(self.matrix[i, j])


def relative(matrix: np.ndarray, approximation: np.ndarray) -> float:
    wide = np.result_type(matrix.dtype, np.float64)
    return float(np.linalg.norm((matrix - approximation).astype(wide)) / np.linalg.norm(matrix.astype(wide)))


# exactness


@settings(max_examples=60, deadline=None)
@given(
    m=st.integers(1, 80),
    n=st.integers(1, 80),
    r=st.integers(0, 12),
    seed=st.integers(0, 99),
    dtype=st.sampled_from(DTYPES),
    pivoting=st.sampled_from(["full", *SEARCHES]),
)
def test_a_matrix_of_rank_r_is_found_in_r_crosses(m, n, r, seed, dtype, pivoting):
    rng = np.random.default_rng(seed)  # small integers: the product has no rounding errors, and the rank is exact
    left, right = rng.integers(-3, 4, (m, r)), rng.integers(-3, 4, (r, n))
    matrix = ((left + 1j * left[::-1] if np.dtype(dtype).kind == "c" else left) @ right).astype(dtype)
    r = np.linalg.matrix_rank(matrix.astype(complex))
    cross = cross_approximation(matrix, pivoting=pivoting)
    assert cross.columns.dtype == cross.rows.dtype == dtype
    # full pivoting looks at the rounding errors of all entries, and may take some for a matrix (one in 600 times five
    # or more); with partial pivoting they grow most
    assert r <= cross.rank <= r + {"full": 16, "rook": 0, "partial": 2}[pivoting]
    assert cross.stopped == "round-off"
    bound = {"full": 20, "rook": 60, "partial": 300}[pivoting] * np.finfo(dtype).eps
    assert abs(matrix - cross.to_dense()).max() <= bound * abs(matrix).max()


@ALL_TYPES
@BOTH
def test_crosses_are_triangular_and_reproduce_their_rows_and_columns(pivoting, dtype):
    eps, matrix = np.finfo(dtype).eps, kernel(np.random.default_rng(0), 90, 70, 0.3, dtype)
    cross = cross_approximation(matrix, pivoting=pivoting, rank=12)
    i, j = cross.row_indices, cross.column_indices
    assert len(set(i)) == len(set(j)) == cross.rank == 12
    assert np.array_equal(np.triu(cross.columns[i]), np.eye(12))
    assert np.array_equal(np.tril(cross.rows[:, j]), np.diag(cross.pivots))
    error = abs(matrix - cross.to_dense())
    assert max(error[i].max(), error[:, j].max()) <= 20 * eps * abs(matrix).max()
    assert error.max() >= 1000 * np.finfo(float).eps
    # the pivot is the largest of its row, and of its column too if a rook found it
    assert abs(cross.rows).max(axis=1) == pytest.approx(abs(cross.pivots), rel=2 * float(eps))
    if pivoting == "rook":
        assert abs(cross.columns).max() <= 1 + 4 * eps


@BOTH
def test_partial_products_are_those_of_the_elimination(pivoting):
    """Against plain loops: each cross is the row and the column of the residual of those before."""
    matrix = kernel(np.random.default_rng(1), 40, 30, 0.5, np.complex128)
    cross = cross_approximation(matrix, pivoting=pivoting, rank=8)
    residual = matrix.copy()
    for k, (i, j) in enumerate(zip(cross.row_indices, cross.column_indices, strict=True)):
        assert np.allclose(cross.rows[k], residual[i], rtol=0, atol=1e-14)
        assert np.allclose(cross.columns[:, k] * residual[i, j], residual[:, j], rtol=0, atol=1e-14)
        expected = np.linalg.norm(residual[:, j] / residual[i, j]) * np.linalg.norm(residual[i])
        assert cross.residual_history[k] == pytest.approx(expected, rel=1e-6)
        residual = residual - np.outer(residual[:, j] / residual[i, j], residual[i])
        if pivoting == "partial" and k < 7:  # the next row is where this column was largest
            rest = abs(cross.columns[:, k])
            rest[cross.row_indices[: k + 1]] = 0
            assert cross.row_indices[k + 1] == np.argmax(rest)


# the promise


@settings(max_examples=80, deadline=None)
@given(
    m=st.integers(20, 150),
    n=st.integers(20, 150),
    digits=st.floats(0.3, 5),
    family=st.sampled_from(["kernel", "decay", "low rank and decay", "steps"]),
    seed=st.integers(0, 999),
    dtype=st.sampled_from(DTYPES),
    pivoting=st.sampled_from(SEARCHES),
    reading=st.sampled_from(["array", "functions", "rows and columns"]),
)
def test_the_tolerance_is_kept_by_the_crosses_and_by_what_recompression_leaves(
    m, n, digits, family, seed, dtype, pivoting, reading
):
    rng, rtol = np.random.default_rng(seed), 10.0**-digits
    k = min(m, n)
    if family == "kernel":
        matrix = kernel(rng, m, n, rng.uniform(0.1, 2), dtype)
    else:
        s = 2.0 ** -np.arange(k)
        s = {"decay": s**0.7, "low rank and decay": s + (np.arange(k) < 5), "steps": 0.1 ** (np.arange(k) // 4 * 2)}[
            family
        ]
        matrix = ((orthonormal(rng, m, k, dtype) * s) @ orthonormal(rng, n, k, dtype).conj().T).astype(dtype)
    f = Functions(matrix)
    options = {"rtol": rtol, "pivoting": pivoting, "rng": seed}
    if reading == "array":
        cross = cross_approximation(matrix, **options)
    else:
        given_entries = f.entries if reading == "functions" else None
        cross = cross_approximation((f.rows, f.columns), shape=(m, n), entries=given_entries, **options)
        assert cross.entries_read == f.count
    assert cross.stopped == "tolerance" or (cross.stopped == "round-off" and cross.error.value <= rtol * cross.norm)
    if cross.stopped == "tolerance" and rtol <= 0.1:  # half is left to recompression, whatever the estimate may be off
        assert cross.error.value + 2 * cross.error.standard_error <= 0.5 * rtol * cross.norm
    assert relative(matrix, cross.to_dense()) <= rtol
    short = cross.recompress()
    assert relative(matrix, short.to_dense()) <= rtol
    assert short.rank <= cross.rank
    assert relative(matrix, cross.recompress(rtol=3 * rtol).to_dense()) <= 3 * rtol


@ALL_TYPES
def test_recompression_takes_the_excess_away(dtype):
    rtol = 1e-4
    matrix = kernel(np.random.default_rng(0), 400, 300, 0.5, dtype)
    cross = cross_approximation(matrix, pivoting="partial", rtol=rtol)
    s = np.linalg.svd(matrix.astype(np.complex128), compute_uv=False)
    best = int(np.argmax(np.sqrt(np.append(np.cumsum(s[::-1] ** 2)[::-1], 0)) <= rtol * np.linalg.norm(s)))
    short = cross.recompress()
    assert best <= short.rank <= best + 2 < cross.rank
    assert relative(matrix, short.to_dense()) <= rtol
    assert cross.recompress(3).rank == 3
    assert relative(cross.to_dense(), cross.low_rank().to_dense()) <= 4 * np.finfo(dtype).eps
    with pytest.raises(ValueError, match=r"rtol=1e-05 cannot be kept; call cross_approximation with a smaller rtol"):
        cross.recompress(rtol=1e-5)


@ALL_TYPES
@BOTH
def test_without_a_tolerance_it_goes_to_round_off_and_not_into_the_noise(pivoting, dtype):
    x, y = np.linspace(0, 1, 120)[:, None], np.linspace(2, 3, 100)
    matrix = (1 / (y - x) * (np.exp(4j * (y - x)) if np.dtype(dtype).kind == "c" else 1)).astype(dtype)
    cross = cross_approximation(matrix, pivoting=pivoting)
    assert cross.stopped == "round-off"
    assert cross.rank <= np.linalg.matrix_rank(matrix, rtol=np.finfo(dtype).eps) + 3
    assert relative(matrix, cross.to_dense()) <= 40 * np.finfo(dtype).eps


@pytest.mark.parametrize("dtype", DTYPES[:2])
@BOTH
def test_rounding_errors_in_the_entries_are_not_approximated(pivoting, dtype):
    x, y = np.linspace(0, 1, 200).astype(dtype), (60 * np.linspace(0, 1, 150)).astype(dtype)
    matrix = np.cos(np.outer(x, y))
    cross = cross_approximation(matrix, pivoting=pivoting)
    full = cross_approximation(matrix)
    assert cross.stopped == "round-off"
    assert cross.rank <= full.rank + 8
    assert relative(matrix, cross.to_dense()) <= 500 * np.finfo(dtype).eps


@pytest.mark.parametrize("scale", [1e-290, 1e-160, 1e160, 1e290])
@BOTH
def test_neither_overflow_nor_underflow(pivoting, scale):
    matrix = kernel(np.random.default_rng(0), 60, 50, 1.0, np.float64)
    plain, scaled = (cross_approximation(a, pivoting=pivoting, rtol=1e-6) for a in (matrix, scale * matrix))
    assert np.array_equal(plain.row_indices, scaled.row_indices)
    assert scaled.error.value / scale == pytest.approx(plain.error.value, rel=1e-3)
    assert abs(scaled.to_dense() / scale - plain.to_dense()).max() <= 1e-12


@BOTH
def test_rows_of_any_size_are_followed(pivoting):
    """Tiny first pivots: elimination in a row that is 1e-200 times the others must not spoil these."""
    rng = np.random.default_rng(0)
    matrix = rng.standard_normal((40, 6)) @ rng.standard_normal((6, 30))
    matrix[:5] *= np.array([1e-200, 1e-100, 1e-12, 1e-310, 1e-8])[:, None]
    cross = cross_approximation(matrix, pivoting=pivoting)
    assert relative(matrix, cross.to_dense()) <= 200 * np.finfo(float).eps


# what partial pivoting does not see by itself


@BOTH
@pytest.mark.parametrize("with_entries", [True, False])
def test_blocks_that_no_column_leads_to_are_found(pivoting, with_entries):
    rng = np.random.default_rng(0)
    matrix = np.zeros((300, 300))
    for k in range(3):
        matrix[100 * k : 100 * k + 100, 100 * k : 100 * k + 100] = kernel(rng, 100, 100, 1.0, np.float64)
    f = Functions(matrix)
    cross = cross_approximation(
        (f.rows, f.columns), shape=(300, 300), entries=f.entries if with_entries else None, pivoting=pivoting, rtol=1e-6
    )
    assert cross.stopped == "tolerance"
    assert relative(matrix, cross.to_dense()) <= 1e-6


def test_every_check_reads_other_entries():
    """Those of the last check were led to, and say nothing about the rest."""
    matrix, read = np.kron(np.eye(4), kernel(np.random.default_rng(0), 60, 60, 1.0, np.float64)), []

    def entries(i, j):
        read.append(set(zip(i.tolist(), j.tolist(), strict=True)))
        return matrix[i, j]

    cross_approximation((lambda i: matrix[i], lambda j: matrix[:, j]), shape=(240, 240), entries=entries, rtol=1e-4)
    assert len(read) >= 3
    assert all(len(a & b) < 100 for a, b in pairwise(read))


@BOTH
def test_a_bump_in_a_smooth_matrix_is_found(pivoting):
    x = np.linspace(0, 1, 400)
    bump = np.exp(-300 * np.add.outer((x - 0.7) ** 2, (x - 0.2) ** 2) * (1 + np.outer(x, x)))
    matrix = np.exp(-np.outer(x, x)) + 1e-2 * np.where(bump > 1e-3, bump, 0)
    cross = cross_approximation(matrix, pivoting=pivoting, rtol=1e-4)
    assert relative(matrix, cross.to_dense()) <= 1e-4


@BOTH
def test_an_isolated_entry_is_found(pivoting):
    for size in (1, 25, 100):  # alone in zeros every row is tried; in a small matrix every entry is checked
        alone = np.zeros((size, size))
        alone[size // 3, size // 2] = 2.0
        assert np.array_equal(cross_approximation(alone, pivoting=pivoting, rtol=1e-3).to_dense(), alone)
    x = np.linspace(0, 1, 30)
    smooth = np.exp(-np.outer(x, x))
    smooth[17, 3] += 0.3
    cross = cross_approximation(smooth, pivoting=pivoting, rtol=1e-3)
    assert relative(smooth, cross.to_dense()) <= 1e-3


@BOTH
def test_zero_rows_and_columns_are_skipped(pivoting):
    rng = np.random.default_rng(0)
    matrix = np.zeros((80, 60))
    matrix[np.ix_(np.arange(5, 80, 9), np.arange(7, 60, 5))] = rng.standard_normal((9, 3)) @ rng.standard_normal(
        (3, 11)
    )
    cross = cross_approximation(matrix, pivoting=pivoting)
    assert (cross.rank, cross.stopped) == (3, "round-off")
    assert abs(matrix - cross.to_dense()).max() <= 20 * np.finfo(float).eps * abs(matrix).max()
    assert np.array_equal(cross_approximation(np.eye(200), pivoting=pivoting).to_dense(), np.eye(200))


# failure is told


@pytest.mark.parametrize("with_entries", [True, False])
@ALL_TYPES
def test_the_error_is_estimated_within_its_standard_error(dtype, with_entries):
    rng, misses, n_runs = np.random.default_rng(0), [], 20
    matrix = kernel(rng, 300, 200, 0.2, dtype)
    f = Functions(matrix)
    for seed in range(n_runs):
        entries = f.entries if with_entries else None
        cross = cross_approximation((f.rows, f.columns), shape=(300, 200), entries=entries, rank=8, rng=seed)
        assert cross.stopped == "rank"
        truth = np.linalg.norm((matrix - cross.to_dense()).astype(np.complex128))
        misses.append((cross.error.value - truth) / cross.error.standard_error)
        assert cross.norm == pytest.approx(np.linalg.norm(matrix), rel=0.1 if with_entries else 0.2)
        assert cross.residual_history[-1] == cross.error.value
    assert abs(np.mean(misses)) <= 1.5
    assert 0.2 <= np.std(misses) <= 3


def test_an_estimate_from_nearly_all_entries_is_nearly_exact():
    matrix = kernel(np.random.default_rng(0), 34, 30, 0.2, np.float64)
    f = Functions(matrix)
    cross = cross_approximation((f.rows, f.columns), shape=(34, 30), entries=f.entries, rank=2)
    truth = np.linalg.norm(matrix - cross.to_dense())
    assert 0 < abs(cross.error.value - truth) <= 5 * cross.error.standard_error <= 0.05 * truth
    f = Functions(matrix[:30])  # 900 entries: all of them are read
    part = cross_approximation((f.rows, f.columns), shape=(30, 30), entries=f.entries, rank=2)
    assert part.error == pytest.approx((np.linalg.norm(matrix[:30] - part.to_dense()), 0.0), rel=1e-12)


@pytest.mark.parametrize("dtype", DTYPES)
def test_divergence_on_a_flat_spectrum_is_told(dtype):
    matrix = gaussian(np.random.default_rng(0), (2000, 150), dtype)
    f, options = Functions(matrix), {"pivoting": "partial", "rank": 40, "rtol": 1e-3}
    with pytest.warns(UserWarning, match="partial pivoting has diverged at rank 40: the error is .* times"):
        of_array = cross_approximation(matrix, **options)
    assert of_array.error == pytest.approx((np.linalg.norm(matrix - of_array.to_dense()), 0.0), rel=1e-5)
    assert f"relative error {of_array.error.value / of_array.norm:.1e}, all entries compared" in repr(of_array)
    with pytest.warns(UserWarning, match="partial pivoting has diverged at rank 40: the estimated error is .* times"):
        cross = cross_approximation((f.rows, f.columns), shape=matrix.shape, entries=f.entries, **options)
    assert cross.stopped == "rank"
    assert cross.norm == pytest.approx(np.linalg.norm(matrix), rel=0.1)
    truth = np.linalg.norm(matrix - cross.to_dense())
    assert truth > np.linalg.norm(matrix)
    assert cross.error.value == pytest.approx(truth, rel=0.3)
    assert "stopped by rank" in repr(cross)
    assert f"relative error {cross.error.value / cross.norm:.1e} +- " in repr(cross)


@pytest.mark.filterwarnings("ignore:cross approximation:UserWarning")
@BOTH
def test_a_flat_spectrum_is_followed_to_the_full_rank(pivoting):
    matrix = gaussian(np.random.default_rng(0), (60, 40), np.float64)
    cross = cross_approximation(matrix, pivoting=pivoting, rtol=1e-6)
    assert cross.rank == 40
    assert cross.stopped in ("tolerance", "round-off")
    assert relative(matrix, cross.to_dense()) <= 1e-12


# edges


@BOTH
@ALL_TYPES
def test_zero_empty_and_one_by_one(pivoting, dtype):
    for shape in ((3, 2), (3, 0), (0, 2), (0, 0)):
        zero = np.zeros(shape, dtype)
        for cross in (
            cross_approximation(zero, pivoting=pivoting, rtol=1e-3),
            cross_approximation((lambda i: zero[i], lambda j: zero[:, j]), shape=shape, pivoting=pivoting),  # noqa: B023
        ):
            assert (cross.rank, cross.stopped, cross.error.value, cross.norm) == (0, "round-off", 0, 0)
            assert cross.to_dense().dtype == dtype
            assert np.array_equal(cross.recompress().to_dense(), zero)
            assert "relative error 0.0e+00" in repr(cross)
    for matrix in ([[-2]], [[2j]], [[1, 2], [3, 7]]):
        assert np.array_equal(cross_approximation(matrix, pivoting=pivoting).to_dense(), matrix)


@BOTH
def test_limits_are_kept(pivoting):
    matrix = kernel(np.random.default_rng(0), 50, 40, 1.0, np.float64)
    for rank in (0, 1, 5):
        cross = cross_approximation(matrix, pivoting=pivoting, rank=rank, rtol=1e-12)
        assert (cross.rank, cross.stopped) == (rank, "rank")
        assert len(cross.residual_history) == rank + 1
    cross = cross_approximation(matrix, pivoting=pivoting, rtol=1.0)
    assert (cross.rank, cross.stopped) == (0, "tolerance")
    assert cross.error.value == pytest.approx(np.linalg.norm(matrix), rel=0.05)


def test_the_same_seed_gives_the_same_bits():
    matrix = kernel(np.random.default_rng(0), 90, 80, 0.2, np.float64)
    one, two = (cross_approximation(matrix, pivoting="partial", rtol=1e-5, rng=seed) for seed in (3, 3))
    assert np.array_equal(one.columns, two.columns)
    assert one.error == two.error


@ALL_TYPES
@BOTH
@pytest.mark.parametrize("as_functions", [True, False])
def test_arrays_of_another_module_stay_in_it(pivoting, dtype, as_functions):
    matrix = kernel(np.random.default_rng(0), 50, 40, 1.0, dtype)
    other = xp.asarray(matrix)
    options = {"pivoting": pivoting, "rtol": 1e-4}
    if as_functions:
        rows, columns = (lambda k, axis=axis: xp.take(other, xp.asarray(k), axis=axis) for axis in (0, 1))
        cross = cross_approximation((rows, columns), shape=(50, 40), **options)
    else:
        cross = cross_approximation(other, **options)
    assert type(cross.columns) is type(cross.rows) is type(cross.recompress().U) is type(other)
    assert cross.columns.dtype == cross.rows.dtype == other.dtype
    assert relative(matrix, to_numpy(cross.to_dense())) <= 1e-4
    assert relative(matrix, to_numpy(cross.recompress().to_dense())) <= 1e-4
    expected = cross_approximation(matrix, **options)
    assert np.array_equal(cross.row_indices[:5], expected.row_indices[:5])


GOOD = kernel(np.random.default_rng(0), 6, 5, 1.0, np.float64)
SPOILT = GOOD.copy()
SPOILT[0, 3] = np.nan


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        (GOOD, {"pivoting": "best"}, "pivoting must be 'full', 'partial' or 'rook', got 'best'"),
        (GOOD, {"shape": (6, 5)}, "shape and entries belong to a pair of functions"),
        (GOOD, {"pivoting": "rook", "rtol": -1}, "rtol must be a number >= 0, got -1"),
        ((GOOD.take, GOOD.take), {}, r"pass shape=\(m, n\), got None"),
        ((GOOD.take, GOOD.take), {"shape": (6, -5)}, r"pass shape=\(m, n\), got \(6, -5\)"),
        ((GOOD.take, GOOD.take), {"shape": (6, 5), "pivoting": "full"}, "full pivoting searches the whole matrix"),
        (SPOILT, {"pivoting": "partial"}, r"matrix has 1 entries that are NaN .* \(0, 3\)"),
        ((lambda i: SPOILT[i], lambda j: GOOD[:, j]), {"shape": (6, 5)}, r"rows.* returned nan for the entry \(0, 3\)"),
        (
            (lambda i: GOOD[i], lambda j: SPOILT[:, [3]]),
            {"shape": (6, 5)},
            r"columns.* returned nan for the entry \(0, ",
        ),
        (
            (lambda i: GOOD[i][0], lambda j: GOOD[:, j]),
            {"shape": (6, 5)},
            r"rows.* must return shape \(1, 5\) for 1 index, got \(5,\)",
        ),
        (
            (lambda i: GOOD[i], lambda j: GOOD[j]),
            {"shape": (6, 5)},
            r"columns.* must return shape \(6, 1\) .*, got \(1, 5\)",
        ),
        (
            (lambda i: GOOD[i], lambda j: GOOD[:, j] + 1),
            {"shape": (6, 5)},
            "rows and columns do not belong to one matrix",
        ),
        (
            (lambda i: GOOD[i], lambda j: GOOD[:, j]),
            {"shape": (6, 5), "rtol": 0.5, "entries": lambda i, j: np.inf * GOOD[i, j]},
            r"entries.* returned inf for the entry \(\d, \d\)",
        ),
    ],
)
def test_bad_input_is_named(arguments, options, message):
    with pytest.raises(ValueError, match=message):
        cross_approximation(arguments, **options)


def test_functions_must_keep_to_one_type():
    with pytest.raises(TypeError, match=r"columns\(...\) returned complex128, the reading before float64"):
        cross_approximation((lambda i: GOOD[i], lambda j: GOOD[:, j] + 0j), shape=(6, 5))
    with pytest.raises(TypeError, match=r"what rows\(...\) returned must hold numbers, got dtype <U\d+"):
        cross_approximation((lambda i: GOOD[i].astype(str), lambda j: GOOD[:, j]), shape=(6, 5))


def test_a_block_of_400_million_entries_is_never_formed():
    n, rng = 20_000, np.random.default_rng(0)
    x, y = rng.random((3, n)), rng.random((3, n)) + np.array([[2.0], [0], [0]])

    def entries(i, j):
        return 1 / np.sqrt(sum((x[k][i] - y[k][j]) ** 2 for k in range(3)))

    def rows(i):
        return entries(i[:, None], slice(None))

    def columns(j):
        return entries(slice(None), j[:, None]).T

    tracemalloc.start()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        cross = cross_approximation((rows, columns), shape=(n, n), rtol=1e-6, entries=entries)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    factors = 2 * n * cross.rank * 8
    assert cross.stopped == "tolerance"
    assert peak <= 3 * factors
    assert cross.entries_read <= 1.2 * 2 * n * cross.rank
    i, j = rng.integers(n, size=(2, 20_000))
    exact, short = entries(i, j), cross.recompress()
    assert np.linalg.norm(exact - short.entries(i, j)) <= 1e-6 * np.linalg.norm(exact)
    assert short.rank <= 0.7 * cross.rank
