"""A block Krylov space finds the optimum of flat spectra, and gives up where it might miss copies."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.spectra import DTYPES, random

from lowrank import svd as module
from lowrank import truncated_svd
from lowrank.krylov import krylov_block, krylov_svd, looks_flat

#: Errors are within this of the optimum: of normal numbers, the flattest, they were 0.18 % above it, of others 0.06 %.
NEAR = 2.5e-3


def orthonormal(dtype: type, m: int, n: int, seed: int) -> np.ndarray:
    wide = np.complex128 if np.dtype(dtype).kind == "c" else np.float64
    return np.linalg.qr(random(wide, m, n, seed=seed))[0]


def with_values(values: np.ndarray, dtype: type, m: int, n: int) -> np.ndarray:
    k = len(values)
    return ((orthonormal(dtype, m, k, 1) * values) @ orthonormal(dtype, n, k, 2).conj().T).astype(dtype)


def first_block(a: np.ndarray, rank: int, seed: int = 0) -> np.ndarray:
    w = np.random.default_rng(seed).standard_normal((a.shape[1], krylov_block(rank)))
    return a @ w.astype(a.real.dtype)


def excess(a: np.ndarray, found, values: np.ndarray, rank: int) -> float:
    wide = np.complex128 if a.dtype.kind == "c" else np.float64
    rest = np.linalg.norm(a.astype(wide) - (found.U.astype(wide) * found.s) @ found.V.conj().T.astype(wide))
    return float(rest / np.linalg.norm(values[rank:])) - 1


SPECTRA = {
    "root": lambda k: k**-0.5,
    "fourth root": lambda k: k**-0.25,
    "inverse": lambda k: 1 / k,
    "normal": lambda k: np.linalg.svd(np.random.default_rng(5).standard_normal((len(k), len(k))))[1],
    "line": lambda k: 1 - 0.7 * (k - 1) / len(k),
}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", SPECTRA)
@pytest.mark.parametrize(("m", "n", "rank"), [(300, 300, 40), (260, 400, 25), (420, 300, 64)])
def test_error_is_near_the_optimum_and_factors_are_orthonormal(m, n, rank, name, dtype):
    values = SPECTRA[name](np.arange(1, min(m, n) + 1.0))
    a = with_values(values, dtype, m, n)
    found = krylov_svd(a, rank, first_block(a, rank))
    eps = float(np.finfo(dtype).eps)
    if name == "inverse" and eps > 1e-9:  # rounding errors of s_1^2 are more than a thousandth of the squared error
        assert found is None
        return
    assert found is not None
    assert (found.rank, found.U.dtype, found.V.dtype) == (rank, dtype, dtype)
    assert -1e3 * eps <= excess(a, found, values, rank) <= NEAR
    for factor in (found.U, found.V):
        assert abs(factor.conj().T @ factor - np.eye(rank)).max() <= 60 * eps
    # the singular values are those of A restricted to the space: none is above its own
    assert np.all(found.s <= values[:rank] + 60 * eps * values[0])
    assert np.linalg.norm(found.U.conj().T @ a - found.s[:, None] * found.V.conj().T) <= 400 * eps * values[0]


@pytest.mark.parametrize("seed", range(6))
def test_the_first_block_matters_little(seed):
    values = SPECTRA["normal"](np.arange(1, 301.0))
    a = with_values(values, np.float64, 300, 300)
    assert excess(a, krylov_svd(a, 25, first_block(a, 25, seed)), values, 25) <= 4e-3


@pytest.mark.parametrize("spread", [0, 1e-8, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1])
@pytest.mark.parametrize("rank", [8, 25, 50, 64])
def test_copies_of_a_singular_value_are_found_or_the_space_gives_up(rank, spread):
    """Fifty equal singular values, of which a Krylov space sees as many as a block has columns."""
    k = np.arange(1, 301)
    values = np.where(k <= 50, 1.0, 0.5) * (1 + spread * np.random.default_rng(7).standard_normal(300))
    values = np.sort(values)[::-1]
    a = with_values(values, np.float64, 300, 300)
    found = krylov_svd(a, rank, first_block(a, rank))
    assert found is None or excess(a, found, values, rank) <= NEAR
    if spread <= 1e-5:
        assert found is None
    assert looks_flat(first_block(a, rank), rank)
    assert excess(a, truncated_svd(a, rank), values, rank) <= NEAR


def test_it_gives_up_where_the_error_has_no_digits_or_the_matrix_is_too_small():
    k = np.arange(1, 301.0)
    for values in (np.exp(-k), np.exp(-k / 2), np.where(k <= 20, 1.0, 0), np.zeros(300)):
        a = with_values(values, np.float64, 300, 300)
        assert krylov_svd(a, 40, first_block(a, 40)) is None
    a = random(np.float64, 100, 100)
    assert krylov_svd(a, 50, first_block(a, 50)) is None
    # in single precision the rounding errors of A A^H are more than a thousandth of this error
    values = np.where(k <= 10, 1.0 / k, 1e-4)
    single = with_values(values, np.float32, 300, 300)
    assert krylov_svd(single, 40, first_block(single, 40)) is None


@pytest.mark.parametrize("dtype", [np.float64, np.complex128])
@pytest.mark.parametrize("name", SPECTRA)
def test_flatness_is_that_of_the_singular_values_but_near_the_threshold(name, dtype):
    values = SPECTRA[name](np.arange(1, 301.0))
    a = with_values(values, dtype, 300, 300)
    share = float(np.sum(values**2) ** 2 / np.sum(values**4))
    assert looks_flat(first_block(a, 64), int(share * 4 / 2))
    assert not looks_flat(first_block(a, 64), int(share * 4 * 2) + 1)
    assert not looks_flat(np.zeros((300, 8), dtype), 10)


@pytest.mark.parametrize("n", [128, 200, 256, 257, 300, 640, 641])
def test_flat_matrices_are_near_the_optimum_around_all_sizes_where_the_method_changes(n):
    values = np.arange(1, n + 1.0) ** -0.5
    a = with_values(values, np.float64, n, n)
    for rank in sorted({5, n // 8, n // 6, n // 6 + 1, n // 4, n // 4 + 1, n // 3}):
        found = truncated_svd(a, rank)
        assert found.rank == rank
        assert -1e-13 <= excess(a, found, values, rank) <= NEAR


@pytest.mark.parametrize("dtype", DTYPES)
def test_automatic_choice_takes_the_space_for_flat_spectra_only(dtype, monkeypatch):
    made = []

    def watched(*given):
        made.append(krylov_svd(*given))
        return made[-1]

    monkeypatch.setattr(module, "krylov_svd", watched)
    k = np.arange(1, 301.0)
    flat, steep = (with_values(values, dtype, 300, 300) for values in (k**-0.25, np.exp(-k / 3)))
    for matrix in (flat, flat.T, 1e30 * flat if np.dtype(dtype).itemsize > 8 else flat):
        made.clear()
        found = truncated_svd(matrix, 40)
        assert [found is None for found in made] == [False]
        assert np.array_equal(found.U, made[0].U)
    made.clear()
    truncated_svd(steep, 40)
    truncated_svd(flat, 100)  # more than a quarter of the terms
    truncated_svd(flat, 40, method="direct")
    assert not made


def test_where_the_space_gives_up_a_subspace_iteration_has_the_block_of_always():
    """The random numbers of large matrices are those of one block, however many of them are used first."""
    k = np.arange(1, 301.0)
    a = with_values(np.exp(-k / 3), np.float64, 300, 300)
    found, again = truncated_svd(a, 40), truncated_svd(a, 40, method="randomized")
    assert abs(found.s - again.s).max() <= 1e-14
    assert np.array_equal(found.U, truncated_svd(a, 40).U)
