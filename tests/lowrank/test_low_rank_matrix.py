"""A low-rank matrix does what the dense one does, from its factors, and finds its true rank."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.other_arrays import xp
from helpers.spectra import DTYPES, KINDS, matrix, random
from hypothesis import given, settings
from hypothesis import strategies as st

from lowrank import LowRankMatrix
from lowrank.arrays import to_numpy

M, N, R = 20, 15, 3


def make(dtype: type, m: int = M, n: int = N, r: int = R, seed: int = 0) -> LowRankMatrix:
    """Factors that are not orthonormal, and an s that is neither positive nor ordered."""
    real = np.zeros(0, dtype=dtype).real.dtype
    s = (np.arange(r) - 1.5).astype(real)
    return LowRankMatrix(random(dtype, m, r, seed=seed), s, random(dtype, n, r, seed=seed + 1))


def close(x: np.ndarray, y: np.ndarray, dtype: type, scale: float = 1.0) -> None:
    assert x.dtype == np.dtype(dtype)
    assert x.shape == y.shape
    if x.size:
        assert abs(x - y).max() <= 50 * np.finfo(dtype).eps * max(scale, abs(y).max())


@pytest.mark.parametrize("dtype", DTYPES)
def test_products_rows_columns_and_entries_are_those_of_the_dense_matrix(dtype):
    a = make(dtype)
    dense = (a.U * a.s) @ a.V.conj().T
    x, y = random(dtype, N, 4, seed=5), random(dtype, M, 2, seed=6)
    close(a.to_dense(), dense, dtype)
    close(a @ x, dense @ x, dtype, 50)
    close(a.matvec(x[:, 0]), dense @ x[:, 0], dtype, 50)
    close(a.rmatvec(y), dense.conj().T @ y, dtype, 50)
    close(y.T @ a, y.T @ dense, dtype, 50)
    close(y[:, 0] @ a, y[:, 0] @ dense, dtype, 50)
    close(a.rows([3, -1, 3]), dense[[3, -1, 3]], dtype)
    close(a.columns(np.array([0, 7])), dense[:, [0, 7]], dtype)
    close(a.rows([]), dense[:0], dtype)
    close(a.entries([1, 5], [2, -1]), dense[[1, 5], [2, -1]], dtype)
    close(a.H.to_dense(), dense.conj().T, dtype)
    close(a.T.to_dense(), dense.T, dtype)
    close(a.conj().to_dense(), dense.conj(), dtype)
    operator = a.aslinearoperator()
    close(operator @ x, dense @ x, dtype, 50)
    close(operator.H @ y, dense.conj().T @ y, dtype, 50)
    x, y = a.recompress().balanced()
    close(x @ y.conj().T, dense, dtype)
    assert np.linalg.norm(x) == pytest.approx(np.linalg.norm(y), rel=1e-5)
    assert a.nbytes == a.U.nbytes + a.s.nbytes + a.V.nbytes
    assert (a.shape, a.rank, a.dtype) == ((M, N), R, np.dtype(dtype))


@pytest.mark.parametrize("dtype", DTYPES)
def test_sums_and_products_of_low_rank_matrices(dtype):
    a, b, c = make(dtype), make(dtype, seed=3), make(dtype, N, 9, 2, seed=7)
    close((a + b).to_dense(), a.to_dense() + b.to_dense(), dtype)
    close((a - b).to_dense(), a.to_dense() - b.to_dense(), dtype)
    close((2 * a * 0.5).to_dense(), a.to_dense(), dtype)
    close((-a).to_dense(), -a.to_dense(), dtype)
    close((a @ c).to_dense(), a.to_dense() @ c.to_dense(), dtype, 50)
    assert ((a + b).rank, (a @ c).rank, (c.H @ a.H).rank) == (6, 2, 2)
    close((c.H @ a.H).to_dense(), (a.to_dense() @ c.to_dense()).conj().T, dtype, 50)


@pytest.mark.parametrize("dtype", DTYPES)
def test_recompress_finds_the_rank_and_orthonormal_factors(dtype):
    eps, a = float(np.finfo(dtype).eps), make(dtype)
    b = (a + a - 0.5 * a + make(dtype, r=0)).recompress()
    assert b.rank == R
    close(b.to_dense(), 1.5 * a.to_dense(), dtype)
    for factor in (b.U, b.V):
        assert abs(factor.conj().T @ factor - np.eye(R)).max() <= 20 * eps
    values = np.linalg.svd(a.to_dense().astype(np.complex128), compute_uv=False)
    assert abs(b.s - 1.5 * values[:R]).max() <= 50 * eps * values[0]
    assert (a - a).recompress().rank == 0


def test_integer_factors_become_floating_and_products_of_extreme_factors_are_found():
    a = LowRankMatrix(np.ones((4, 1), int), np.array([2.5]), np.ones((3, 1), int))
    assert a.to_dense()[0, 0] == 2.5
    assert a.recompress().s[0] == pytest.approx(2.5 * 12**0.5)
    b = LowRankMatrix(random(np.float64, 40, 3) * 1e200, np.full(3, 1e-300), random(np.float64, 30, 3, seed=1) * 1e200)
    assert b.recompress().rank == 3
    assert b.norm() == pytest.approx(np.linalg.norm(b.to_dense()), rel=1e-12)


@pytest.mark.parametrize("dtype", DTYPES)
def test_factors_of_very_different_size_are_recompressed_as_well(dtype):
    a = make(dtype)
    scale = float(np.finfo(dtype).max) ** 0.6
    b = LowRankMatrix((a.U / scale).astype(dtype), a.s, (a.V * scale).astype(dtype))
    assert b.recompress().rank == R
    close(b.recompress().to_dense(), a.to_dense(), dtype)


@pytest.mark.parametrize("dtype", DTYPES)
def test_norms_are_right_though_the_terms_cancel(dtype):
    a, b = make(dtype), make(dtype, seed=4)
    wide = LowRankMatrix(*(x.astype(np.complex128 if x.dtype.kind == "c" else float) for x in (a.U, a.s, a.V)))
    assert wide.norm() == pytest.approx(np.linalg.norm(wide.to_dense()), rel=1e-14)
    assert wide.norm("spectral") == pytest.approx(np.linalg.norm(wide.to_dense(), 2), rel=1e-14)
    scale = a.norm() + b.norm()
    assert (a + b - b).norm() == pytest.approx(a.norm(), abs=50 * float(np.finfo(dtype).eps) * scale)
    assert (a - a).norm() <= 50 * float(np.finfo(dtype).eps) * scale


@given(
    st.sampled_from(DTYPES),
    st.sampled_from(KINDS),
    st.integers(1, 30),
    st.integers(1, 30),
    st.floats(1e-4, 0.9),
    st.integers(0, 99),
)
@settings(max_examples=60, deadline=None)
def test_truncation_is_the_shortest_within_its_tolerance(dtype, kind, m, n, rtol, seed):
    dense, values = matrix(kind, dtype, m, n, seed)
    u, s, vh = np.linalg.svd(dense, full_matrices=False)
    full = LowRankMatrix(u, s, vh.conj().T)
    short = full.truncate(rtol=rtol)
    assert short.is_svd
    size, eps = np.linalg.norm(values), np.finfo(dtype).eps
    assert np.linalg.norm(dense - short.to_dense()) <= rtol * size + 100 * eps * size
    needed = [k for k in range(len(values) + 1) if np.linalg.norm(values[k:]) <= (rtol + 100 * eps) * size]
    loosest = [k for k in range(len(values) + 1) if np.linalg.norm(values[k:]) <= (rtol - 100 * eps) * size]
    assert needed[0] <= short.rank <= (loosest[0] if loosest else len(values))
    again = short.truncate(2)
    assert again.rank == min(2, short.rank)
    assert np.array_equal(again.U, short.U[:, :2])


def test_the_error_estimate_is_unbiased_and_its_standard_error_true():
    a = make(np.float64)
    other = random(np.float64, M, N, seed=8)
    truth = np.linalg.norm(other - a.to_dense())
    estimates = [a.estimate_error(other, n_probes=8, rng=seed) for seed in range(400)]
    squares = np.array([e.value**2 for e in estimates])
    assert squares.mean() == pytest.approx(truth**2, rel=4 * squares.std() / truth**2 / 20)
    deviations = np.array([e.value - truth for e in estimates])
    assert deviations.std() == pytest.approx(np.mean([e.standard_error for e in estimates]), rel=0.2)
    assert a.estimate_error(a, rng=3).value == 0
    assert a.estimate_error(other, rng=3) == a.estimate_error(other, rng=3)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("m", "n", "r"), [(0, 0, 0), (0, 4, 2), (5, 0, 1), (5, 4, 0), (1, 1, 1)])
def test_empty_zero_and_one_by_one_matrices_are_ordinary(dtype, m, n, r):
    a = make(dtype, m, n, r)
    assert a.to_dense().shape == (m, n)
    assert (a + a).recompress().rank == min(m, n, r)
    assert np.isfinite(a.norm())
    assert a.norm("spectral") >= 0
    assert (a @ np.zeros((n, 2), dtype=dtype)).shape == (m, 2)
    assert a.truncate(rtol=0.1).shape == (m, n)
    assert repr(a).startswith(f"LowRankMatrix({m} x {n}, rank {r}")


@pytest.mark.parametrize("dtype", DTYPES)
def test_arrays_of_another_module_stay_in_it(dtype):
    a = make(dtype)
    b = LowRankMatrix(*(xp.asarray(x) for x in (a.U, a.s, a.V)))
    compressed = (b + b).recompress()
    assert type(compressed.U) is type(xp.asarray(a.U))
    assert compressed.rank == R
    for x, y in (
        (b.rows([1, -1]), a.rows([1, -1])),
        (b.columns([2]), a.columns([2])),
        (b.entries([1], [2]), a.entries([1], [2])),
    ):
        close(to_numpy(x), y, dtype)
    assert b.norm() == pytest.approx(a.norm(), rel=1e-5)
    assert b.estimate_error(xp.asarray(a.to_dense())).value <= 100 * np.finfo(dtype).eps * a.norm()


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda a: LowRankMatrix(a.U, a.s[:2], a.V),
            ValueError,
            r"U, s and V must have shapes .* got \(20, 3\), \(2,\), \(15, 3\)",
        ),
        (lambda a: LowRankMatrix(a.U, a.s * 1j, a.V), ValueError, "s must be real"),
        (lambda a: a @ np.ones(4), ValueError, r"20 x 15 matrix cannot be applied to shape \(4,\)"),
        (lambda a: a + make(np.float64, 3, 3), ValueError, r"cannot add shapes \(20, 15\) and \(3, 3\)"),
        (lambda a: a @ make(np.float64, 3, 3), ValueError, r"cannot multiply shapes \(20, 15\) and \(3, 3\)"),
        (lambda a: a + 1, TypeError, "unsupported operand"),
        (lambda a: a.rows([20]), IndexError, "index 20 is out of range for 20 rows"),
        (lambda a: a.columns([-16]), IndexError, "index -16 is out of range for 15 columns"),
        (lambda a: a.rows([0.5]), ValueError, "indices must be integers"),
        (lambda a: a.entries([1, 2], [1]), ValueError, "must be as many, got 2 and 1"),
        (lambda a: a.norm("nuclear"), ValueError, "'fro' or 'spectral', got 'nuclear'"),
        (lambda a: a.balanced(), ValueError, r"negative entries; call recompress\(\)"),
        (lambda a: a.truncate(-1), ValueError, "rank must be an integer >= 0, got -1"),
        (lambda a: a.truncate(1.5), ValueError, "rank must be an integer >= 0, got 1.5"),
        (lambda a: a.recompress(rtol=np.nan), ValueError, "rtol must be a number >= 0, got nan"),
        (lambda a: a.recompress(atol=-1.0), ValueError, "atol must be a number >= 0, got -1"),
        (lambda a: a.estimate_error(np.ones((2, 2))), ValueError, r"shape \(2, 2\), the approximation \(20, 15\)"),
        (lambda a: a.estimate_error(a, n_probes=1), ValueError, "n_probes must be at least 2, got 1"),
    ],
)
def test_bad_input_is_named(call, error, message):
    with pytest.raises(error, match=message):
        call(make(np.float64))
