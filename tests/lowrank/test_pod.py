"""POD is optimal and P-orthonormal.

It is accurate down to round-off where the method of snapshots stops at its square root.
"""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp
from helpers.other_arrays import xp

from lowrank import pod

DTYPES = [np.float32, np.float64, np.complex64, np.complex128]
N, M = 80, 24


def random(dtype: type, *shape: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    real = rng.standard_normal(shape)
    return (real + 1j * rng.standard_normal(shape) if np.dtype(dtype).kind == "c" else real).astype(dtype)


def inner_product(dtype: type) -> sp.csr_array:
    off = np.full(N - 1, -1 + (0.5j if np.dtype(dtype).kind == "c" else 0)).astype(dtype)
    return sp.diags_array([off.conj(), np.full(N, 3.0, dtype=dtype), off], offsets=[-1, 0, 1], format="csr")


def decaying(dtype: type, product: sp.csr_array | None, decades: float) -> tuple[np.ndarray, np.ndarray]:
    """Snapshots with singular values (in P) from 1 to 10^-decades, and these values."""
    wide = np.complex128 if np.dtype(dtype).kind == "c" else np.float64
    left, right = np.linalg.qr(random(wide, N, M))[0], np.linalg.qr(random(wide, M, M, seed=1))[0]
    if product is not None:
        root = np.linalg.cholesky(product.toarray().astype(wide))
        left = np.linalg.solve(root.conj().T, left)
    values = np.logspace(0, -decades, M)
    return ((left * values) @ right).astype(dtype), values


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("weighted", [False, True])
def test_singular_values_are_right_to_a_few_eps_of_the_largest(dtype, weighted):
    eps = np.finfo(dtype).eps
    product = inner_product(dtype) if weighted else None
    snapshots, values = decaying(dtype, product, -np.log10(eps) - 0.5)
    result = pod(snapshots, product=product)
    r = len(result.singular_values)
    assert r >= M - 3  # those closest to round-off may drown in it
    assert abs(result.singular_values - values[:r]).max() <= 30 * eps
    assert np.all(np.diff(result.singular_values) <= 0)
    gram = result.modes.conj().T @ (result.modes if product is None else product @ result.modes)
    assert abs(gram - np.eye(r)).max() <= 30 * eps
    assert abs(result.coefficients @ result.coefficients.conj().T - np.eye(r)).max() <= 30 * eps
    assert result.modes.dtype == result.coefficients.dtype == dtype


@pytest.mark.parametrize("dtype", DTYPES)
def test_factors_multiply_to_the_weighted_snapshots(dtype):
    snapshots, weights = random(dtype, N, M), np.linspace(0, 3, M)
    result = pod(snapshots, product=inner_product(dtype), weights=weights)
    assert len(result.singular_values) == M - 1  # the snapshot of weight zero counts for nothing
    rebuilt = (result.modes * result.singular_values) @ result.coefficients
    assert abs(rebuilt - snapshots * np.sqrt(weights)).max() <= 50 * np.finfo(dtype).eps * abs(snapshots).max()


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_projection_error_is_the_sum_of_the_discarded_squares_and_no_space_does_better(dtype):
    eps, product, weights = np.finfo(dtype).eps, inner_product(dtype), np.linspace(1, 2, M)
    snapshots, _ = decaying(dtype, product, 3)
    values = pod(snapshots, product=product, weights=weights).singular_values

    def error(basis: np.ndarray) -> float:
        """(sum_j w_j ||s_j - Pi s_j||_P^2)^{1/2} for a P-orthonormal basis."""
        rest = snapshots - basis @ (basis.conj().T @ (product @ snapshots))
        return float(np.sqrt(np.sum(weights * np.sum(rest.conj() * (product @ rest), axis=0).real)))

    for rank in (0, 1, 7, M - 1):
        result = pod(snapshots, product=product, weights=weights, rank=rank)
        assert result.modes.shape == (N, rank)
        optimum = np.sqrt(np.sum(values[rank:].astype(float) ** 2))
        assert error(result.modes) == pytest.approx(optimum, rel=300 * eps / optimum, abs=0)
        others = pod(random(dtype, N, max(rank, 1)), product=product, rank=rank).modes
        assert error(others) >= optimum * (1 - 300 * eps / optimum)


def test_modes_of_equal_span_are_found_whatever_the_order_of_the_snapshots():
    snapshots, values = decaying(np.complex128, None, 4)
    first, second = pod(snapshots, rank=5), pod(snapshots[:, ::-1], rank=5)
    cosines = np.linalg.svd(first.modes.conj().T @ second.modes)[1]
    assert abs(cosines - 1).max() <= 100 * np.finfo(float).eps
    assert abs(first.singular_values - values[:5]).max() <= 30 * np.finfo(float).eps


@pytest.mark.parametrize(
    ("criterion", "kept"),
    [
        ({}, 4),
        ({"rank": 2}, 2),
        ({"rank": 9}, 4),
        ({"rtol": 0.25}, 2),  # strictly above: 4/16 is dropped
        ({"rtol": 0.249}, 3),
        ({"atol": 4.2}, 2),  # (4^2 + 1^2)^{1/2} = 4.12
        ({"atol": 4.1}, 3),
        ({"atol": 1.0}, 3),
        ({"atol": 0.0}, 4),
        ({"atol": 100.0}, 0),
        ({"atol": 4.2, "rtol": 0.6, "rank": 3}, 1),
    ],
)
@pytest.mark.parametrize("dtype", DTYPES)
def test_the_strictest_criterion_decides_how_many_modes_are_kept(dtype, criterion, kept):
    snapshots = np.zeros((6, 5), dtype=dtype)
    snapshots[[1, 3, 0, 5], [4, 0, 1, 2]] = [16, 8, 4, 1]
    result = pod(snapshots, **criterion)
    assert np.array_equal(result.singular_values, [16, 8, 4, 1][:kept])
    assert result.modes.shape == (6, kept)
    assert result.coefficients.shape == (kept, 5)


def test_zero_empty_one_by_one_and_wide_matrices_are_ordinary():
    for shape in ((3, 2), (3, 0), (0, 2)):
        result = pod(np.zeros(shape))
        assert result.modes.shape == (shape[0], 0)
        assert result.coefficients.shape == (0, shape[1])
    assert pod(np.array([[2j]])).singular_values == [2]
    wide = pod(np.ones((2, 50)))
    assert wide.singular_values == pytest.approx([10], rel=10 * np.finfo(float).eps, abs=0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"snapshots": np.ones(4)}, r"snapshots must be a matrix of shape \(n, m\), got an array of shape \(4,\)"),
        ({"snapshots": np.array([[1.0, np.nan]])}, r"snapshots has 1 entries .* the first at index \(0, 1\)"),
        ({"snapshots": np.eye(3), "weights": [1, 2]}, r"weights must be 3 finite numbers >= 0, .* got shape \(2,\)"),
        ({"snapshots": np.eye(3), "weights": [1, 2, -7]}, r"weights must be 3 finite numbers >= 0"),
        ({"snapshots": np.eye(3), "weights": [1, 2, np.nan]}, r"weights must be 3 finite numbers >= 0"),
        ({"snapshots": np.eye(3), "product": -np.eye(3)}, r"product is not positive definite: vector 0 .* = -1"),
        ({"snapshots": np.eye(3), "weights": [1, 2, -7]}, "got -7"),
        ({"snapshots": np.eye(3), "rank": -1}, "rank must be .* got -1"),
        ({"snapshots": np.eye(3), "rtol": -0.5}, "rtol must be .* got -0.5"),
        ({"snapshots": np.eye(3), "rtol": np.nan}, "rtol must be .* got nan"),
        ({"snapshots": np.eye(3), "atol": -1.0}, "atol must be .* got -1"),
        ({"snapshots": np.eye(3), "atol": np.nan}, "atol must be .* got nan"),
    ],
)
def test_bad_input_is_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        pod(**arguments)


@pytest.mark.parametrize("dtype", DTYPES)
def test_arrays_of_another_module_stay_in_it(dtype):
    snapshots = random(dtype, N, 32)
    result, expected = pod(xp.asarray(snapshots), rank=6), pod(snapshots, rank=6)
    assert type(result.modes) is type(result.coefficients) is type(xp.asarray(snapshots))
    assert result.modes.dtype == xp.asarray(snapshots).dtype
    difference = result.singular_values - expected.singular_values
    assert abs(difference).max() <= 30 * np.finfo(dtype).eps * expected.singular_values[0]
