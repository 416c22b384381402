"""The truncated singular value decomposition in weighted inner products."""

from __future__ import annotations

import warnings
from typing import Any, Literal

import numpy as np

from lowrank.arrays import is_complex, namespace, real_part
from lowrank.dense import times
from lowrank.exact import SMALL, direct_svd, lanczos_svd
from lowrank.gram import gram_svd
from lowrank.krylov import krylov_block, krylov_svd, looks_flat
from lowrank.limits import Limits, check_limits
from lowrank.matrix import LowRankMatrix
from lowrank.operands import checked, draw, first_product, is_array, sample, scaled_back, scaled_to_range
from lowrank.randomized import UNSETTLED, default_oversamples, subspace_iteration
from lowrank.ranges import to_tolerance
from lowrank.weighting import compose, root_weights, scale_rows, side, weighted_factor

__all__ = ["truncated_svd"]

Method = Literal["auto", "direct", "gram", "randomized", "lanczos"]
METHODS = ("auto", "direct", "gram", "randomized", "lanczos")
#: A dense decomposition is as cheap as any if the smaller side is at most SMALL, or below this many times the size of a
#: random block,
DIRECT_BELOW = 3
#: and the Gram matrix of a side twice as short as the other (or more) is cheaper than the products of a subspace
#: iteration below this.
GRAM_BELOW = 16
#: The same where a tolerance is asked for, and all eigenvalues are needed.
GRAM_OF_ALL = 1000
#: Of NumPy arrays with sides from SQUARE on, neither twice the other, of which at most a quarter of the terms is asked
#: (of those with up to DENSE rows or columns a sixth: LAPACK is as fast), a few products tell whether the spectrum is
#: flat. Then a Krylov space takes half the time of a subspace iteration or less.
SQUARE, DENSE = 128, 256
#: Where that gives up, the Gram matrix of arrays of up to so many rows or columns is the cheaper way to the optimum,
#: and where the spectrum is not flat, subspace iteration is cheaper than a dense decomposition.
MODERATE = 640
#: Beyond this size a dense decomposition takes minutes, and Lanczos is asked for the flat spectrum that subspace
#: iteration leaves.
LARGE = 2500


def truncated_svd(
    matrix: Any,
    rank: int | None = None,
    *,
    rtol: float | None = None,
    atol: float | None = None,
    left_product: Any = None,
    right_product: Any = None,
    row_weights: Any = None,
    method: Method = "auto",
    rng: int | np.random.Generator = 0,
) -> LowRankMatrix:
    """Return the best approximation A ~ U diag(s) V^H of a rank or an error.

    Errors are measured in ||E||^2 = ||P^{1/2} E M^{1/2}||_F^2.

    With P = M = I this is the truncated SVD of Eckart and Young. With P an inner product it is POD, with P = diag(w) it
    is the SVD weighted by the importance of the rows, min sum_i w_i ||a_i - b_i||_M^2: for token frequencies w, of an
    embedding table. U^H P U = I and V^H M V = I. With row weights A M V = U diag(s) holds row by row: a row of weight
    zero or nearly so is still projected on the space that the others span, never divided by its weight.

    Parameters
    ----------
    matrix : A (m, n): array (NumPy, CuPy, ...), scipy.sparse matrix, LinearOperator; real or complex, float32 or
        float64
    rank : largest rank; None for no limit
    rtol, atol : fewest terms with error <= max(atol, rtol ||A||), both in the norm above; None: only round-off is
        dropped. For operators the error and ||A|| are estimated by random probes, with a safety factor: some terms more
        than needed
    left_product, right_product : Hermitian positive definite P (m, m), M (n, n): dense, sparse, or a callable X -> P X
    row_weights : w (m,) >= 0, P = diag(w)
    method : see the table
    rng : seed or generator of the random blocks

    ============  ======================================================================================================
    "direct"      LAPACK's SVD, of the factor of a Gram-Schmidt orthonormalisation where P or M has no dense factor;
                  only the vectors that are kept are formed. Right to u s_1. O(m n min(m, n))
    "gram"        eigenvalues of the smaller of A^H A and A A^H, cut where they are round-off (s < 1e-6 s_1 in
                  double; in single, which is accumulated in double, nowhere); the vectors are orthonormalised
                  again. m n min(m, n), at the speed of matrix products
    "randomized"  :func:`lowrank.randomized_svd`, at the speed of matrix products; the optimum if singular values decay
    "lanczos"     ARPACK (NumPy, SciPy, CuPy; else direct, as for up to 64 rows or columns, and for more than half of
                  them as rank): the optimum for any spectrum, at the speed of matrix-vector products. Rank only
    "auto"        the error within 1 % of the optimum, mostly far less: dense for small matrices, Gram for tall or
                  wide ones (in single precision, if that costs no digit of the error), a block Krylov space for flat
                  spectra, otherwise randomised; direct or Lanczos where those fail. Single singular vectors may be
                  less accurate than the approximation: ask for "direct" to read them
    ============  ======================================================================================================

    Returns
    -------
    LowRankMatrix, the factors orthonormal in the products; of lower rank than asked for if the rest is round-off,
    s <= (max(m, n))^{1/2} u s_1, or s <= u s_1 where a tolerance asks for such terms.

    Raises
    ------
    ValueError
        shapes that do not fit, NaN or infinite entries, products that are not Hermitian positive definite, negative
        weights or limits, an unknown method, or one that cannot do what is asked (said why).

    Source: Eckart, Young, Psychometrika 1 (1936) 211-218.

    Examples
    --------
    >>> import numpy as np
    >>> a = truncated_svd(np.diag([3.0, 2.0, 1.0]), rank=2)
    >>> a.s
    array([3., 2.])
    >>> truncated_svd(np.diag([3.0, 2.0, 1.0]), rank=1, row_weights=[1, 1, 100]).to_dense().diagonal()
    array([0., 0., 1.])
    """
    check_limits(rank, rtol, atol)
    if method not in METHODS:
        raise ValueError(f"method must be one of {', '.join(METHODS)}, got {method!r}")
    if left_product is not None and row_weights is not None:
        raise ValueError("give left_product or row_weights, not both: P = diag(w) is one of them")
    if isinstance(matrix, LowRankMatrix):
        if left_product is None and right_product is None and row_weights is None:
            return matrix.recompress(rank, rtol=rtol, atol=atol)
        matrix = matrix.aslinearoperator()
    a, scale = scaled_to_range(checked(matrix))
    m, n = a.shape
    like = sample(a)
    xp = namespace(like)
    if not m * n or rank == 0:
        empty = xp.zeros(0, dtype=real_part(like).dtype)
        return LowRankMatrix(xp.zeros((m, 0), dtype=like.dtype), empty, xp.zeros((n, 0), dtype=like.dtype), True)
    left = side("left_product", left_product, m, n, a, method)
    right = side("right_product", right_product, n, m, a, method)
    roots, unit = (None, 1.0) if row_weights is None else root_weights(row_weights, m, a)
    scale *= left.unit * right.unit * unit
    plain = compose(left.adjoint_factor, scale_rows(roots, compose(a, right.factor)))
    limits = Limits(rank, rtol, atol).over(scale)
    result = _solve(plain, limits, left.product, right.product, method, rng)
    if plain is a and isinstance(a, np.ndarray) and scale == 1 and left.product is None and right.product is None:
        return result  # of the type of the matrix
    u, s, v = left.back(result.U), result.s, right.back(result.V)
    if roots is not None:
        projected = a @ right.forth(result.V)
        u, s, rotation = weighted_factor(projected, roots)
        v = v @ rotation
        u = u / unit
    s = scaled_back(s, scale)
    kind = xp.result_type(like.dtype, xp.complex64) if is_complex(u) or is_complex(v) else like.dtype
    return LowRankMatrix(xp.astype(u, kind), xp.astype(s, real_part(like).dtype), xp.astype(v, kind), is_svd=True)


# which method


def _solve(
    a: Any, limits: Limits, left: Any, right: Any, method: Method, rng: int | np.random.Generator
) -> LowRankMatrix:
    """Return the SVD of a matrix in the products that have no factor, or None."""
    rank, weighted = limits.rank, left is not None or right is not None
    if method == "gram":
        if weighted or not is_array(a):
            raise ValueError(
                "method 'gram' needs an array, and products that are matrices; use 'direct' or 'randomized'"
            )
        return _required(gram_svd(a, limits, insist=True))
    if method == "lanczos":
        if weighted or rank is None or limits.tolerant:
            raise ValueError(
                "method 'lanczos' needs a rank, no tolerance, and products that are matrices; use 'direct'"
            )
        return lanczos_svd(a, rank, rng)
    if method == "randomized":
        if rank is not None and not limits.tolerant:
            found, settled = subspace_iteration(a, rank, left, right, rng=rng)
            if not settled:
                warnings.warn(UNSETTLED, stacklevel=3)
            return found
        if weighted or not limits.tolerant:
            raise ValueError(
                "method 'randomized' needs a rank, or a tolerance and products that are matrices; use 'direct'"
            )
        found = _required(to_tolerance(a, limits, rng=rng))
        if rank is None or found.rank < rank:
            return found
        return subspace_iteration(a, rank, rng=rng)[0]  # the rank is what limits it: then the best of that rank
    if method == "auto" and (chosen := _automatic(a, limits, left, right, rng)) is not None:
        return chosen
    return direct_svd(a, limits, left, right)


def _automatic(a: Any, limits: Limits, left: Any, right: Any, rng: int | np.random.Generator) -> LowRankMatrix | None:
    """Return the SVD by the cheapest method that finds the optimum, None if that is the direct one."""
    rank, (short, long) = limits.rank, sorted(a.shape)
    weighted = left is not None or right is not None
    tall = is_array(a) and not weighted and long >= 2 * short
    if short <= SMALL or limits == Limits():
        return None
    if limits.tolerant:
        if tall and short <= GRAM_OF_ALL and (by_gram := gram_svd(a, limits, insist=False)) is not None:
            return by_gram
        if weighted or (is_array(a) and short <= 4 * SMALL):
            return None
        by_tolerance = to_tolerance(a, limits, rng=rng, widest=short // DIRECT_BELOW)
        if by_tolerance is None or rank is None or by_tolerance.rank < rank:
            return by_tolerance
    assert rank is not None  # and it is what limits the approximation
    width = rank + default_oversamples(rank)
    if tall and short <= GRAM_BELOW * width and (by_gram := gram_svd(a, Limits(rank), insist=False)) is not None:
        return by_gram
    square = isinstance(a, np.ndarray) and not tall and not weighted and short >= SQUARE
    few, image = square and (4 if short > DENSE else 6) * rank <= short, None
    if square and short <= DENSE and not few:
        return None
    if few:
        omega, block = draw(a, width, None, rng), krylov_block(rank)
        image = first_product(a, omega[:, :block])
        if looks_flat(image, rank):
            if (by_krylov := krylov_svd(a, rank, image)) is not None:
                return by_krylov
            if short <= MODERATE and (by_gram := gram_svd(a, Limits(rank), insist=False)) is not None:
                return by_gram
    if short <= DIRECT_BELOW * width and not (few and short <= MODERATE):
        return None
    if few:
        image = np.concatenate([image, times(a, omega[:, block:])], axis=1)
    found, settled = subspace_iteration(a, rank, left, right, rng=rng, image=image)
    if settled:
        return found
    if tall and (by_gram := gram_svd(a, Limits(rank), insist=False)) is not None:
        return by_gram
    return None if weighted or short <= LARGE else lanczos_svd(a, rank, rng)


def _required(found: LowRankMatrix | None) -> LowRankMatrix:
    assert found is not None
    return found
