"""Randomised subspace iteration: leading singular triples from a few products with the matrix."""

from __future__ import annotations

import warnings
from dataclasses import replace
from typing import Any

import numpy as np

from lowrank.arrays import to_numpy, unit_roundoff
from lowrank.dense import adjoint, adjoint_times, qr, svd, times
from lowrank.limits import Limits, check_limits, number_of_terms
from lowrank.matrix import LowRankMatrix
from lowrank.operands import checked, draw, first_product, scaled_back, scaled_to_range, total_norm
from lowrank.orthogonal import gram_schmidt
from lowrank.ranges import to_tolerance

__all__ = ["randomized_svd"]

#: Passes over the matrix in which the leading singular values may settle; a spectrum that has not by then is too flat.
MAX_PASSES = 12
UNSETTLED = (
    f"the singular values have not settled after {MAX_PASSES} products: the spectrum is flat, and the approximation "
    "good but not the best; truncated_svd with method 'auto' falls back on methods that find it"
)
#: How far the error may be above the optimum, relative to it, when the iteration ends by itself (an estimate, see
#: `_settled`).
NEARLY_OPTIMAL = 1e-2
#: The same, as a fraction, where it is only extrapolated from what the last products have added.
GUESSED = 0.2
#: ||A||^2 may exceed what the basis holds by this many times what the probes have seen of it; 8 probes of a residual of
#: rank one, the hardest to see, underestimate its square by a factor of 40 with a probability of 1e-4.
SURPRISE = 40.0
#: Columns of the random block that tell how much the others leave.
PROBES = 8


def randomized_svd(
    matrix: Any,
    rank: int | None = None,
    *,
    rtol: float | None = None,
    atol: float | None = None,
    n_oversamples: int | None = None,
    n_power_iter: int | None = None,
    test_matrix: Any = None,
    rng: int | np.random.Generator = 0,
) -> LowRankMatrix:
    """Approximate A ~ U diag(s) V^H to a rank or an error, by subspace iteration from a random block.

    Q <- orth(A W) with a Gaussian W (n, rank + n_oversamples), then alternately Z = A^H Q, Q' = orth(Z) and Y = A Q', Q
    = orth(Y), orthonormalised after *every* product: without that no singular value below u^{1/3} s_1 survives a power
    iteration. After each product the triangular factor of the last orthonormalisation holds the singular values found
    so far, so the iteration may end at any of them: it does when the error is estimated to be within 1 % of the
    optimum; it is most often within 0.1 %.

    Parameters
    ----------
    matrix : A (m, n): array (NumPy, CuPy, ...), scipy.sparse matrix, LinearOperator, LowRankMatrix; only A X and A^H Y
        are used
    rank : largest rank
    n_oversamples : further columns of the block; by default 5/8 of the rank, and at least 10, which costs less than a
        further product; take more where singular values decay slowly
    rtol, atol : ||A - U diag(s) V^H||_F <= max(atol, rtol ||A||_F), or `rank` terms, whatever comes first. For an array
        that is checked, exactly; otherwise it rests on 32 Gaussian probes, for `||A||_F` too (wrong with a probability
        below 1e-5)
    n_power_iter : number q of power iterations, 2 q + 2 products in all; by default as many as the spectrum needs, up
        to 12 products
    test_matrix : W (n, l) instead of random numbers, to compare two machines entry by entry
    rng : seed or generator of W

    Returns
    -------
    LowRankMatrix, of lower rank than asked for if the rest is round-off.

    Raises
    ------
    ValueError
        neither rank nor tolerance, negative limits, NaN or infinite entries, singular values that overflow, shapes that
        do not fit.

    Warns if the singular values have not settled after 12 products (a flat spectrum): the result is then a good, not
    the best approximation.

    Notes
    -----
    Cost: 2 m n l flops per product, 2 or 3 products where singular values decay, and O((m + n) l^2). Accuracy: that of
    the approximation; s_i is below sigma_i by what the basis misses. Source: Halko, Martinsson, Tropp, SIAM Review 53
    (2011) 217-288; ending at any product: Bjarkason, SISC 41 (2019) A2355-A2383.

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
    for name, count in (("n_oversamples", n_oversamples), ("n_power_iter", n_power_iter)):
        if count is not None and not (isinstance(count, int | np.integer) and count >= 0):
            raise ValueError(f"{name} must be an integer >= 0, got {count}")
    a, scale = scaled_to_range(checked(matrix))
    if rtol is not None or atol is not None:
        power = 1 if n_power_iter is None else n_power_iter
        found = to_tolerance(a, Limits(rank, rtol, atol).over(scale), power, test_matrix, rng)
        assert found is not None  # as no widest basis was named
        if rank is None or found.rank < rank:
            return replace(found, s=scaled_back(found.s, scale))
        # the rank is what limits it: then the best of that rank
    assert rank is not None
    result, settled = subspace_iteration(a, rank, None, None, n_oversamples, n_power_iter, test_matrix, rng)
    if not settled:
        warnings.warn(UNSETTLED, stacklevel=2)
    return replace(result, s=scaled_back(result.s, scale))


def subspace_iteration(
    a: Any,
    rank: int,
    left: Any = None,
    right: Any = None,
    n_oversamples: int | None = None,
    n_power_iter: int | None = None,
    test_matrix: Any = None,
    rng: int | np.random.Generator = 0,
    image: Any = None,
) -> tuple[LowRankMatrix, bool]:
    """Return the approximation of at most `rank` terms, and whether its singular values have settled.

    For a given number of iterations the second is True. `image` is A W, where whoever calls has it.
    """
    m, n = a.shape
    extra = default_oversamples(rank) if n_oversamples is None else n_oversamples
    if image is None:
        image = first_product(a, draw(a, min(rank + extra, m, n), test_matrix, rng))
    width = image.shape[1]
    q, pq, r = orthonormal(image, left)
    rest = _left_over(r, width - min(PROBES, extra)) if right is None and extra else np.inf
    history: list[np.ndarray] = []
    total = total_norm(a) if left is None and right is None and n_power_iter is None else None
    passes = 1
    while True:
        backward = passes % 2 == 1
        other, p_other, r = orthonormal(adjoint_times(a, pq) if backward else times(a, pq), right if backward else left)
        passes += 1
        u, s, vh = svd(r)
        now, eps = to_numpy(s), unit_roundoff(s)
        if n_power_iter is not None:
            settled = passes == 2 * n_power_iter + 2
        else:
            settled = width == min(m, n) or _settled(history, now, rank, rest, passes - 2, total, m * n, eps)
        if settled or (n_power_iter is None and passes == MAX_PASSES):
            break
        history.append(now)
        q, pq = other, p_other
    k = number_of_terms(s, max(m, n, 1) ** 0.5 * eps, Limits(rank))
    found, given = other @ u[:, :k], q @ adjoint(vh[:k, :])
    left_factor, right_factor = (given, found) if backward else (found, given)
    return LowRankMatrix(left_factor, s[:k], right_factor, is_svd=True), settled


def default_oversamples(rank: int) -> int:
    """Return the number of further columns with which two products suffice where singular values decay."""
    return max(10, 5 * rank // 8)


def _left_over(r: Any, first: int) -> float:
    """Estimate ||A - Q Q^H A||_F from the last columns of A W, which serve as probes.

    Q comes from the `first` columns; A W = Q R.
    """
    r = to_numpy(r)
    used = int(np.max(np.flatnonzero(np.any(r[:, :first] != 0, axis=1)), initial=-1)) + 1
    return float(np.linalg.norm(r[used:, first:])) / (r.shape[1] - first) ** 0.5 if r.shape[1] > first else np.inf


def _settled(
    history: list[np.ndarray],
    now: np.ndarray,
    rank: int,
    rest: float,
    further: int,
    total: float | None,
    entries: int,
    u: float,
) -> bool:
    """Return whether the error is within NEARLY_OPTIMAL of the optimum, by one of two estimates.

    The squared error of the leading k terms exceeds the optimum, tail^2 = sum_{i >= k} sigma_i^2, by at most rest^2 =
    ||A - Q Q^H A||^2 after the first two products, and by a factor (sigma_l / sigma_k)^2 less after each `further` one
    (the angles between the subspaces shrink so; halfway between k and l the values found are good enough to tell). And
    it exceeds the optimum by sum_{i < k} (sigma_i^2 - s_i^2), which what the last two products have added shows if it
    goes on falling as it did. tail^2 is at least what the extra columns found, and for an array ||A||_F^2 - sum s_i^2
    where that difference has digits.
    """
    if not len(now) or now[0] == 0:
        return True
    k = min(rank, len(now))
    scale, noise = float(now[0]), 16 * u
    now, rest = now.astype(float) / scale, rest / scale
    if rest <= noise or (len(now) > k and now[k] <= noise):  # nothing but rounding errors is left
        return True
    tail, allowed = float(np.sum(now[k:] ** 2)), 2 * NEARLY_OPTIMAL
    if total is not None:
        square = (total / scale) ** 2
        rounding = max(16.0, entries**0.5) * u  # of a sum of so many squares
        outside = square - float(np.sum(now**2)) - rounding * square  # of the basis, where that difference has digits
        if outside > SURPRISE * rest**2:
            return False  # the random block was an unlucky one, or known to who made the matrix
        tail = max(tail, outside + tail)
    decay = (now[(k + len(now)) // 2] / now[k - 1]) ** 2 if len(now) > k else 1.0
    if rest**2 * decay**further <= allowed * tail:
        return True
    if len(history) < 2 or min(len(x) for x in history[-2:]) < k:
        return False
    before, last = (x / scale for x in history[-2:])
    first, second = _gains(before, last, k, noise), _gains(last, now, k, noise)
    # how fast the gains fall is told by the smallest values, in which the largest have no part: sums over all i >= j
    later, earlier = np.cumsum(second[::-1]), np.cumsum(first[::-1])
    ratios = np.divide(later, earlier, out=np.zeros(k), where=earlier > 0)
    ratio = min(max(float(ratios.max(initial=0.0)), decay), 0.95)
    missing = float(second.sum()) * max(1.0, ratio / (1 - ratio)) + 2 * k * noise * now[k - 1]
    return missing <= GUESSED * allowed * tail  # no bound: the ratio need not be that of the products to come


def _gains(before: np.ndarray, after: np.ndarray, k: int, noise: float) -> np.ndarray:
    """Return what a product has added to s_i^2, i < k, rounding errors apart."""
    gained = after[:k] - before[:k]
    return np.where(gained > noise, gained * (after[:k] + before[:k]), 0.0)


def orthonormal(x: Any, product: Any) -> tuple[Any, Any, Any]:
    """Return Q, P Q and R with X = Q R and Q P-orthonormal."""
    if product is None:
        q, r = qr(x)
        return q, q, r
    result = gram_schmidt(x, product=product)
    return result.basis, result.product_basis, result.coefficients
