"""Randomised subspace iteration: the leading singular triples of a matrix from a few products with it."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from lowrank.arrays import to_numpy, unit_roundoff
from lowrank.dense import adjoint, adjoint_times, norm, qr, svd
from lowrank.limits import check_limits, kept
from lowrank.matrix import LowRankMatrix
from lowrank.operands import checked, draw, first_product, is_array
from lowrank.orthogonal import gram_schmidt
from lowrank.ranges import to_tolerance

__all__ = ["randomized_svd"]

#: Passes over the matrix in which the leading singular values may settle; a spectrum that has not by then is too flat.
MAX_PASSES = 12
UNSETTLED = (
    f"the singular values have not settled after {MAX_PASSES} products: the spectrum is flat, and the approximation good but not the "
    "best; truncated_svd with method 'auto' falls back on methods that find it"
)
#: The error is within this factor of the optimum when the iteration stops by itself (an estimate, see `_settled`).
NEARLY_OPTIMAL = 1e-3


def randomized_svd(
    matrix: Any,
    rank: int | None = None,
    *,
    rtol: float | None = None,
    atol: float | None = None,
    n_oversamples: int = 10,
    n_power_iter: int | None = None,
    test_matrix: Any = None,
    rng: int | np.random.Generator = 0,
) -> LowRankMatrix:
    """A ~ U diag(s) V^H of a given rank or error, by subspace iteration from a random block.

    Q <- orth(A W) with a Gaussian W (n, rank + n_oversamples), then alternately Z = A^H Q, Q' = orth(Z) and Y = A Q', Q = orth(Y),
    orthonormalised after *every* product: without that no singular value below u^{1/3} s_1 survives a power iteration. After
    each product the triangular factor of the last orthonormalisation holds the singular values found so far, so the iteration
    may end at any of them: it does when the leading ones have settled.

    Parameters
    ----------
    matrix : A (m, n): array (NumPy, CuPy, ...), scipy.sparse matrix, LinearOperator, LowRankMatrix; only A X and A^H Y are used
    rank : largest rank; together with `n_oversamples` the size of the block
    rtol, atol : ||A - U diag(s) V^H||_F <= max(atol, rtol ||A||_F), or `rank` terms, whatever comes first. For an array that is
        checked, exactly; otherwise it rests on 32 Gaussian probes, for `||A||_F` too (wrong with a probability below 1e-5)
    n_power_iter : number q of power iterations, 2 q + 2 products in all; by default as many as the spectrum needs, up to 12 products
    test_matrix : W (n, l) instead of random numbers, to compare two machines entry by entry
    rng : seed or generator of W

    Returns
    -------
    LowRankMatrix, of lower rank than asked for if the rest is round-off.

    Raises
    ------
    ValueError
        neither rank nor tolerance, negative limits, NaN or infinite entries, shapes that do not fit.

    Warns if the singular values have not settled after 12 products (a flat spectrum): the result is then a good, not the best approximation.

    Notes
    -----
    Cost: 2 m n l flops a product, 3 products where singular values decay, and O((m + n) l^2). Accuracy: s to a few u s_1.
    Source: Halko, Martinsson, Tropp, SIAM Review 53 (2011) 217-288; ending at any product: Bjarkason, SISC 41 (2019) A2355-A2383.

    Examples
    --------
    >>> import numpy as np
    >>> x = np.linspace(0, 1, 300)
    >>> a = randomized_svd(1 / (1 + np.add.outer(x, x)), rtol=1e-8)
    >>> a
    LowRankMatrix(300 x 300, rank 5, float64, 24,040 bytes of 720,000, singular values 1.6e+02 .. 2.6e-05)
    """
    check_limits(rank, rtol, atol)
    if rank is None and rtol is None and atol is None:
        raise ValueError("give a rank or a tolerance: rank=, rtol= or atol=")
    if not (isinstance(n_oversamples, int | np.integer) and n_oversamples >= 0):
        raise ValueError(f"n_oversamples must be an integer >= 0, got {n_oversamples}")
    if n_power_iter is not None and not (isinstance(n_power_iter, int | np.integer) and n_power_iter >= 0):
        raise ValueError(f"n_power_iter must be an integer >= 0, got {n_power_iter}")
    a = checked(matrix)
    if rtol is not None or atol is not None:
        found = to_tolerance(a, rank, rtol, atol, 1 if n_power_iter is None else n_power_iter, test_matrix, rng)
        assert found is not None  # as no widest basis was named
        return found
    assert rank is not None
    result, settled = subspace_iteration(a, rank, None, None, n_oversamples, n_power_iter, test_matrix, rng)
    if not settled:
        warnings.warn(UNSETTLED, UserWarning, stacklevel=2)
    return result


def subspace_iteration(
    a: Any,
    rank: int,
    left: Any = None,
    right: Any = None,
    n_oversamples: int = 10,
    n_power_iter: int | None = None,
    test_matrix: Any = None,
    rng: int | np.random.Generator = 0,
) -> tuple[LowRankMatrix, bool]:
    """The matrix of rank `rank` at most, and whether its singular values have settled (True for a given number of iterations)."""
    m, n = a.shape
    width = min(rank + n_oversamples, m, n)
    omega = draw(a, width, test_matrix, rng)
    q, pq, _ = orthonormal(first_product(a, omega), left)
    values: np.ndarray | None = None
    passes, settled = 1, False
    while True:
        backward = passes % 2 == 1
        product = adjoint_times(a, pq) if backward else a @ pq
        other, p_other, r = orthonormal(product, right if backward else left)
        passes += 1
        u, s, vh = svd(r)
        if n_power_iter is not None:
            settled = passes == 2 * n_power_iter + 2
        else:
            settled = width == min(m, n) or _settled(values, to_numpy(s), rank, a, unit_roundoff(s))
        if settled or (n_power_iter is None and passes == MAX_PASSES):
            break
        values = to_numpy(s)
        q, pq = other, p_other
    k = kept(s, max(m, n, 1) ** 0.5 * unit_roundoff(s), rank)
    found, given = other @ u[:, :k], q @ adjoint(vh[:k, :])
    left_factor, right_factor = (given, found) if backward else (found, given)
    return LowRankMatrix(left_factor, s[:k], right_factor, is_svd=True), settled


def _settled(before: np.ndarray | None, now: np.ndarray, rank: int, a: Any, u: float) -> bool:
    """Whether the last product has added so little to the leading singular values that their best approximation is found.

    What rank-k terms lack of the optimum is sum_{i < k} (sigma_i^2 - s_i^2) of the squared error, and every product adds a good
    part of what is still missing. It is compared with the tail that no approximation avoids: at least what the extra columns
    found, and for an array ||A||_F^2 - sum s_i^2 where that difference has digits.
    """
    if not len(now) or now[0] == 0:
        return True
    if before is None:
        return False
    k = min(rank, len(now))
    if len(before) < k:
        return False
    scale, noise = float(now[0]), 16 * u
    now, before = now.astype(float) / scale, before.astype(float) / scale
    if len(now) > k and now[k] <= noise:  # nothing but rounding errors is left
        return True
    gained = np.where(now[:k] - before[:k] > noise, now[:k] - before[:k], 0.0)
    added = float(np.sum(gained * (now[:k] + before[:k])))
    tail = float(np.sum(now[k:] ** 2))
    if added <= 2 * NEARLY_OPTIMAL * tail:
        return True
    if not is_array(a):
        return False
    total = (norm(a) / scale) ** 2
    tail = max(tail, total - float(np.sum(now[:k] ** 2)) - noise * total)
    return added <= 2 * NEARLY_OPTIMAL * tail


def orthonormal(x: Any, product: Any) -> tuple[Any, Any, Any]:
    """Q, P Q and R with X = Q R and Q P-orthonormal."""
    if product is None:
        q, r = qr(x)
        return q, q, r
    result = gram_schmidt(x, product=product)
    return result.basis, result.product_basis, result.coefficients
