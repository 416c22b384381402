"""Matrices in any unit.

What a factorisation promises does not depend on it, for arrays, sparse matrices, operators and factors.
"""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse
from scipy.sparse.linalg import LinearOperator, aslinearoperator

from lowrank import (
    LowRankMatrix,
    cur,
    interpolative_decomposition,
    randomized_range,
    randomized_svd,
    truncated_svd,
)

FORMS = {
    "array": lambda a: a,
    "sparse": scipy.sparse.csr_array,
    "operator": aslinearoperator,
    "vectors": lambda a: LinearOperator(
        a.shape, matvec=lambda x: a @ x, rmatvec=lambda y: a.conj().T @ y, dtype=a.dtype
    ),
}
SCALES = [1e-305, 1e-291, 1e-165, 1.0, 1e165, 1e288, 1e305]


def decaying(m: int, n: int) -> np.ndarray:
    """Singular values 2^-k, complex."""
    rng = np.random.default_rng(m)
    u, v = (np.linalg.qr(rng.standard_normal((k, n)) + 1j * rng.standard_normal((k, n)))[0] for k in (m, n))
    return (u * 2.0 ** -np.arange(n)) @ v.conj().T


def scaled_error(a: np.ndarray, scale: float, found: np.ndarray) -> float:
    return float(np.linalg.norm(a - found / scale) / np.linalg.norm(a))


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("scale", SCALES)
def test_the_tolerance_is_kept_in_any_unit(scale: float, form: str) -> None:
    a = decaying(90, 70)
    given = FORMS[form](a * scale)
    for rtol in (1e-2, 1e-5):
        for factorize in (randomized_svd, truncated_svd):
            found = factorize(given, rtol=rtol)
            assert found.rank < 40
            assert scaled_error(a, scale, found.to_dense()) <= rtol
        atol = randomized_svd(given, atol=rtol * scale)
        assert scaled_error(a, scale, atol.to_dense()) <= rtol
        q = randomized_range(given, rtol=rtol)
        assert np.linalg.norm(a - q @ (q.conj().T @ a)) <= rtol * np.linalg.norm(a)
    assert randomized_svd(given, 5).s[4] == pytest.approx(scale * 2.0**-4, rel=1e-2)


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("where", ["U", "s", "V", "apart"])
def test_low_rank_factors_of_any_size(where: str, scale: float) -> None:
    a = decaying(90, 70)
    u, s, vh = np.linalg.svd(a, full_matrices=False)
    v, root = vh.conj().T, scale**0.5
    factors = {"U": (u * scale, s, v), "s": (u, s * scale, v), "V": (u, s, v * scale), "apart": (u * root, s, v * root)}
    given = LowRankMatrix(*factors[where])
    found = randomized_svd(given, rtol=1e-4)
    assert scaled_error(a, scale, found.to_dense()) <= 1e-4
    assert found.rank < 30


def test_what_overflows_is_refused() -> None:
    half = np.full((60, 1), 1e200)
    for call in (
        lambda: randomized_svd(LowRankMatrix(half, np.ones(1), half), rtol=1e-3),
        lambda: randomized_svd(scipy.sparse.csr_array(np.full((80, 80), 1e307)), rtol=1e-3),
        lambda: randomized_svd(np.full((80, 80), 1e307), 2),
    ):
        with pytest.raises(ValueError, match="overflow"):
            call()


@pytest.mark.parametrize("scale", [1e-200, 1.0, 1e200])
def test_estimated_errors_in_any_unit(scale: float) -> None:
    a = decaying(50, 40)
    found = truncated_svd(a * scale, 4)
    estimate = found.estimate_error(aslinearoperator(a * scale))
    assert estimate.value == pytest.approx(scale * np.linalg.norm(2.0 ** -np.arange(4, 40)), rel=0.7)
    assert 0 < estimate.standard_error < estimate.value


@pytest.mark.parametrize("as_functions", [False, True])
@pytest.mark.parametrize("pivoting", ["partial", "rook", "full"])
@pytest.mark.parametrize("scale", [2.0**-1020, 2.0**-990, 2.0**-500, 2.0**1010])
def test_pivots_below_the_normal_range(scale: float, pivoting: str, as_functions: bool) -> None:
    """The last pivots are 1e-12 times the first: 1 / pivot overflows, and no factor holds it."""
    if as_functions and pivoting == "full":
        return
    x = np.linspace(0, 1, 90)
    a = 1 / (x[:, None] + x[:70] + 0.1)
    b = a * scale
    options = {"shape": b.shape, "entries": lambda i, j: b[i, j]} if as_functions else {}
    given = (lambda i: b[i], lambda j: b[:, j]) if as_functions else b
    columns, x = found = interpolative_decomposition(given, rtol=1e-10, pivoting=pivoting, **options)
    skeleton = cur(given, rtol=1e-10, pivoting=pivoting, **options)
    assert np.array_equal(x[:, columns], np.eye(found.rank))
    for product, error in ((b[:, columns] @ x, found.error), (skeleton.to_dense(), skeleton.error)):
        assert scaled_error(a, scale, product) <= (1e-9 if pivoting == "full" else 1e-10)
        assert error.value <= 1e-9 * found.norm
    reference = cur(a, found.rank, pivoting="rook")
    smallest = float(np.abs(np.diag(skeleton.upper)).min())
    if smallest < 2.0**-1030:
        with pytest.raises(ValueError, match=r"entries of U overflow.*low_rank"):
            _ = skeleton.U
    elif smallest > 2.0**-1010:
        assert np.abs(skeleton.U * scale).max() == pytest.approx(np.abs(reference.U).max(), rel=100)


def test_factors_that_are_not_finite_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    from lowrank import interpolative

    monkeypatch.setattr(interpolative, "solve_triangular", lambda t, x, **_: x * np.nan)
    a = np.eye(3, 5) + 1
    for given, options in ((a, {}), ((lambda i: a[i], lambda j: a[:, j]), {"shape": a.shape})):
        for decompose in (interpolative_decomposition, cur):
            with pytest.raises(ValueError, match="the factors overflow: pivots between"):
                decompose(given, rtol=1e-3, pivoting="rook", **options)
