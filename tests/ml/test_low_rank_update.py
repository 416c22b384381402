"""Updates of low rank: applied, merged, found again, and as operator terms."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp
from helpers.other_arrays import xp

import lowrank
from lowrank.arrays import to_numpy
from ml.tuning.low_rank_update import LowRankUpdate

RNG = np.random.default_rng(0)
D, K, R = 30, 20, 3


def factors(kind: str = "float64", r: int = R) -> tuple[np.ndarray, np.ndarray]:
    a, b = RNG.standard_normal((r, K)), RNG.standard_normal((D, r))
    if kind.startswith("complex"):
        a, b = a + 1j * RNG.standard_normal(a.shape), b - 2j * RNG.standard_normal(b.shape)
    return a.astype(kind), b.astype(kind)


@pytest.mark.parametrize("kind", ["float32", "float64", "complex64", "complex128"])
def test_applied_merged_and_dense_are_one(kind: str) -> None:
    a, b = factors(kind)
    update = LowRankUpdate(a, b, -0.7)
    u, dense = float(np.finfo(kind).eps), -0.7 * b.astype(complex) @ a.astype(complex)
    x, w = RNG.standard_normal((4, 5, K)).astype(kind), RNG.standard_normal((D, K)).astype(kind)
    merged = update.merge(w)
    assert merged.dtype == w.dtype == update.dtype
    np.testing.assert_allclose(merged, w + dense, rtol=0, atol=20 * u * np.abs(dense).max())
    np.testing.assert_allclose(x @ w.T + update.apply(x), x @ merged.T, rtol=0, atol=400 * u * np.abs(dense).max())
    assert update.apply(x[0, 0]).shape == (D,)
    np.testing.assert_array_equal(update.delta().U, b)
    np.testing.assert_array_equal(update.delta().V, a.conj().T)
    np.testing.assert_array_equal(update.delta().s, -0.7)
    np.testing.assert_allclose(update.delta().to_dense(), dense, rtol=0, atol=20 * u * np.abs(dense).max())
    assert (update.rank, update.shape, update.nbytes) == (R, (D, K), (D + K) * R * np.dtype(kind).itemsize)


@pytest.mark.parametrize("kind", ["float16", "float32", "float64"])
def test_unmerged_is_the_original_up_to_the_bound(kind: str) -> None:
    a, b = factors()
    update = LowRankUpdate(a, b, 0.3)
    w = RNG.standard_normal((D, K)).astype(kind)
    back = update.unmerge(update.merge(w))
    assert back.dtype == w.dtype
    unit = float(np.finfo(kind).eps) / 2
    bound = 2 * unit * (np.abs(w.astype(float)) + 2 * np.abs(update.to_dense())) * (1 + 1e-3)
    assert np.all(np.abs(back.astype(float) - w.astype(float)) <= bound)
    np.testing.assert_array_equal(w, w.copy())  # merge leaves the weight alone
    assert LowRankUpdate(a.astype(np.float16), b.astype(np.float16)).A.dtype == np.float32


@pytest.mark.parametrize("kind", ["float64", "complex128"])
def test_a_planted_update_is_found_with_its_rank(kind: str) -> None:
    a, b = factors(kind)
    w0 = RNG.standard_normal((D, K))
    w1 = LowRankUpdate(a, b, 2.0).merge(w0.astype(kind))
    found = LowRankUpdate.extract(w1 - w0, rtol=1e-12)
    assert found.rank == R
    np.testing.assert_allclose(found.to_dense(), 2.0 * b @ a, atol=1e-12 * np.abs(b @ a).max() * K)
    np.testing.assert_allclose(np.linalg.norm(found.A), np.linalg.norm(found.B), rtol=1e-12)
    for given in (LowRankUpdate(a, b, 2.0).delta(), sp.csr_array(2.0 * b @ a)):
        np.testing.assert_allclose(LowRankUpdate.extract(given).to_dense(), 2.0 * b @ a, atol=1e-11)
    # all that is there, if no limit is given
    assert LowRankUpdate.extract(2.0 * b @ a).rank == R


def test_an_extract_is_the_best_of_its_rank_in_the_norm_of_the_inputs() -> None:
    difference = RNG.standard_normal((D, K))
    x = RNG.standard_normal((500, K)) * 2.0 ** -np.arange(K)
    product = x.T @ x / len(x)
    half = np.linalg.cholesky(product)
    values = np.linalg.svd(difference @ half, compute_uv=False)
    for rank in (1, 4):
        errors = {}
        for name, c in (("weighted", product), ("plain", None)):
            left = difference - LowRankUpdate.extract(difference, rank, product=c).to_dense()
            errors[name] = np.linalg.norm(left @ half)
        best = np.linalg.norm(values[rank:])
        np.testing.assert_allclose(errors["weighted"], best, rtol=1e-10)
        assert errors["plain"] > 1.5 * best
        through = LowRankUpdate.extract(lowrank.truncated_svd(difference), rank, product=product)
        assert np.linalg.norm((difference - through.to_dense()) @ half) <= 1.02 * best
    assert LowRankUpdate.extract(difference, rtol=0.5).rank < LowRankUpdate.extract(difference, rtol=0.1).rank


def test_other_arrays_stay_what_they_are() -> None:
    a, b = factors()
    update = LowRankUpdate(xp.asarray(a), xp.asarray(b), 0.5)
    plain = LowRankUpdate(a, b, 0.5)
    w, x = RNG.standard_normal((D, K)), RNG.standard_normal((4, K))
    for made, wanted in (
        (update.merge(xp.asarray(w)), plain.merge(w)),
        (update.apply(xp.asarray(x)), plain.apply(x)),
        (update.delta().to_dense(), plain.to_dense()),
        (LowRankUpdate.extract(xp.asarray(b @ a), R).to_dense(), b @ a),
    ):
        assert type(made) is type(xp.asarray(w))
        np.testing.assert_allclose(to_numpy(made), wanted, atol=1e-12)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((np.ones((2, 5)), np.ones((4, 3))), r"A must have shape \(r, k\) and B \(d, r\).*\(2, 5\) and \(4, 3\)"),
        ((np.ones(5), np.ones((4, 3))), r"A must be a matrix"),
        ((np.full((2, 5), np.nan), np.ones((4, 2))), "A has 10 entries that are NaN"),
        ((np.ones((2, 5)), np.ones((4, 2)), np.inf), "scale must be a finite real number, got inf"),
        ((np.ones((2, 5)), np.ones((4, 2)), 1j), "scale must be a finite real number.*phases"),
        ((np.ones((2, 5)), np.ones((4, 2)), True), "scale must be a finite real number, got True"),
    ],
)
def test_factors_that_do_not_fit_are_refused(arguments: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        LowRankUpdate(*arguments)


def test_weights_and_rows_that_do_not_fit_are_refused() -> None:
    a, b = factors()
    update = LowRankUpdate(a, b)
    with pytest.raises(ValueError, match=r"the weight has shape \(20, 30\), the update \(30, 20\); transpose it"):
        update.merge(np.ones((K, D)))
    with pytest.raises(ValueError, match=r"floating-point numbers, got int64; write \.astype"):
        update.unmerge(np.ones((D, K), dtype=int))
    with pytest.raises(ValueError, match="the update is complex and the weight real"):
        LowRankUpdate(1j * a, b).merge(np.ones((D, K)))
    with pytest.raises(ValueError, match=r"x has shape \(3, 4\), expected \(..., 20\)"):
        update.apply(np.ones((3, 4)))
    with pytest.raises(TypeError, match="masked"):
        update.apply(np.ma.masked_array(np.ones(K), np.arange(K) == 3))
    with pytest.raises(ValueError, match="rank"):
        LowRankUpdate.extract(np.ones((3, 3)), -1)


def test_an_update_is_an_operator_term_of_a_full_model() -> None:
    rbm = pytest.importorskip("rbm")
    a = RNG.standard_normal((1, K)) / K
    update = LowRankUpdate(a, a.T, 2.0)
    k = sp.diags_array(np.arange(1.0, K + 1), format="csr")
    models = [
        rbm.FullOrderModel([(1.0, k), ("gain", term)], [(1.0, np.ones(K))], k, {"gain": (0.1, 5.0)}, 1.0)
        for term in (update.delta(), update.to_dense())
    ]
    mus = models[0].parameters.sample(3)
    np.testing.assert_allclose(models[0].solve(mus), models[1].solve(mus), rtol=1e-13)


@pytest.mark.parametrize("kind", ["float16", "float32"])
def test_a_sum_beyond_the_range_of_the_weight_is_refused(kind: str) -> None:
    size = np.array([[np.finfo(kind).max]], dtype=kind)
    update = LowRankUpdate(size, np.ones((1, 1), kind))
    with pytest.raises(ValueError, match=f"beyond the range of {kind}"):
        update.merge(size)
    np.testing.assert_array_equal(update.unmerge(size), 0)
    with pytest.raises(ValueError, match="or B A, has entries beyond the range"):
        LowRankUpdate(np.full((1, 1), 1e30, "f4"), np.full((1, 1), 1e30, "f4"), 1e-60).merge(np.ones((1, 1)))
