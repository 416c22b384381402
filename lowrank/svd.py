"""The truncated singular value decomposition in weighted inner products: the best approximation of a given rank or error."""

from __future__ import annotations

import warnings
from typing import Any, Literal, NamedTuple

import numpy as np

from lowrank.arrays import as_matrix, beside, namespace, numpy_dtype, real_part, to_numpy, unit_roundoff
from lowrank.dense import adjoint, cholesky, solve_triangular
from lowrank.exact import direct_svd, lanczos_svd
from lowrank.gram import gram_svd
from lowrank.limits import check_limits
from lowrank.matrix import LowRankMatrix
from lowrank.operands import checked, is_array, sample, tamed
from lowrank.randomized import UNSETTLED, default_oversamples, subspace_iteration
from lowrank.ranges import to_tolerance

__all__ = ["truncated_svd"]

Method = Literal["auto", "direct", "gram", "randomized", "lanczos"]
METHODS = ("auto", "direct", "gram", "randomized", "lanczos")
#: A dense decomposition is as cheap as any if the smaller side is below this,
SMALL = 64
#: or below this many times the size of a random block,
DIRECT_BELOW = 3
#: and the Gram matrix of a side twice as short as the other (or more) is cheaper than the products of a subspace iteration below this.
GRAM_BELOW = 16
#: Beyond this size a dense decomposition takes minutes, and Lanczos is asked for the flat spectrum that subspace iteration leaves.
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
    """Best approximation A ~ U diag(s) V^H in ||E||^2 = ||P^{1/2} E M^{1/2}||_F^2, by rank or by error.

    With P = M = I this is the truncated SVD of Eckart and Young. With P an inner product it is POD, with P = diag(w) it is the
    SVD weighted by the importance of the rows, min sum_i w_i ||a_i - b_i||_M^2: for token frequencies w, of an embedding table.
    U^H P U = I, V^H M V = I, and A M V = U diag(s) holds row by row: a row of weight zero or nearly so is still projected on the
    space that the others span, never divided by its weight.

    Parameters
    ----------
    matrix : A (m, n): array (NumPy, CuPy, ...), scipy.sparse matrix, LinearOperator; real or complex, float32 or float64
    rank : largest rank; None for no limit
    rtol, atol : fewest terms with error <= max(atol, rtol ||A||), both in the norm above; None: only round-off is dropped
    left_product, right_product : Hermitian positive definite P (m, m), M (n, n): dense, sparse, or a callable X -> P X
    row_weights : w (m,) >= 0, P = diag(w)
    method : see the table
    rng : seed or generator of the random blocks

    ============  ======================================================================================================
    "direct"      LAPACK's SVD, of the factor of a Gram-Schmidt orthonormalisation where P or M has no dense factor.
                  Right to u s_1. O(m n min(m, n))
    "gram"        eigenvalues of the smaller of A^H A and A A^H, cut where they are round-off (s < 1e-6 s_1 in double, and in
                  single, which is accumulated in double, nowhere); the vectors are orthonormalised again. m n min(m, n), at
                  the speed of matrix products
    "randomized"  :func:`lowrank.randomized_svd`, at the speed of matrix products; the optimum if singular values decay
    "lanczos"     ARPACK (NumPy, SciPy, CuPy; else direct): the optimum for any spectrum, at the speed of matrix-vector products.
                  Rank only
    "auto"        the error within 1 % of the optimum, mostly far less: dense for small matrices, Gram for tall or wide ones (in single
                  precision, if that costs no digit of the error), otherwise randomised; direct or Lanczos where those fail.
                  Single singular vectors may be less accurate than the approximation: ask for "direct" to read them
    ============  ======================================================================================================

    Returns
    -------
    LowRankMatrix, the factors orthonormal in the products; of lower rank than asked for if the rest is round-off, s <= (max(m, n))^{1/2} u s_1.

    Raises
    ------
    ValueError
        shapes that do not fit, NaN or infinite entries, products that are not Hermitian positive definite, negative weights or limits,
        an unknown method, or one that cannot do what is asked (said why).

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
    a, scale = tamed(checked(matrix))
    m, n = a.shape
    if isinstance(a, LowRankMatrix):
        a = a.aslinearoperator()
    if not m * n or rank == 0:
        like = sample(a)
        xp = namespace(like)
        return LowRankMatrix(
            xp.zeros((m, 0), dtype=like.dtype),
            xp.zeros(0, dtype=real_part(like).dtype),
            xp.zeros((n, 0), dtype=like.dtype),
            True,
        )
    left = _side("left_product", left_product, m, n, a, method)
    right = _side("right_product", right_product, n, m, a, method)
    weights = None if row_weights is None else _root_weights(row_weights, m, a)
    plain = _times(left.adjoint_factor, _scale_rows(weights, _times(a, right.factor)))
    result = _solve(plain, rank, rtol, None if atol is None else atol / scale, left.product, right.product, method, rng)
    u, s, v = left.back(result.U), result.s, right.back(result.V)
    if weights is not None:
        u = (a @ right.forth(result.V)) / namespace(s).astype(s, real_part(u[:0, :0]).dtype)
    return LowRankMatrix(u, s * scale, v, is_svd=True)


# which method


def _solve(
    a: Any,
    rank: int | None,
    rtol: float | None,
    atol: float | None,
    left: Any,
    right: Any,
    method: Method,
    rng: int | np.random.Generator,
) -> LowRankMatrix:
    """The SVD of a matrix in what is left of the products: None, or those that have no factor."""
    limits = (rank, rtol, atol)
    by_rank = rank is not None and rtol is None and atol is None
    weighted = left is not None or right is not None
    if method == "gram" and (weighted or not is_array(a)):
        raise ValueError("method 'gram' needs an array, and products that are matrices; use 'direct' or 'randomized'")
    if method == "gram":
        return _required(gram_svd(a, *limits, insist=True))
    if method == "lanczos":
        if weighted or not by_rank:
            raise ValueError(
                "method 'lanczos' needs a rank, no tolerance, and products that are matrices; use 'direct'"
            )
        assert rank is not None
        return lanczos_svd(a, rank, rng)
    if method == "randomized":
        if by_rank:
            assert rank is not None
            found, settled = subspace_iteration(a, rank, left, right, rng=rng)
            if not settled:
                warnings.warn(UNSETTLED, UserWarning, stacklevel=4)
            return found
        if weighted or limits == (None, None, None):
            raise ValueError(
                "method 'randomized' needs a rank, or a tolerance and products that are matrices; use 'direct'"
            )
        return _required(to_tolerance(a, *limits, n_power_iter=1, rng=rng))
    if method == "auto":
        found_by_choice = _automatic(a, rank, rtol, atol, by_rank, left, right, rng)
        if found_by_choice is not None:
            return found_by_choice
    return direct_svd(a, *limits, left, right)


def _automatic(
    a: Any,
    rank: int | None,
    rtol: float | None,
    atol: float | None,
    by_rank: bool,
    left: Any,
    right: Any,
    rng: int | np.random.Generator,
) -> LowRankMatrix | None:
    """The cheapest method that finds the optimum, None if that is the direct one."""
    short, long = sorted(a.shape)
    weighted = left is not None or right is not None
    if short <= SMALL or (rank is None and rtol is None and atol is None):
        return None
    if not by_rank:
        if is_array(a) and not weighted and long >= 2 * short and short <= GRAM_BELOW * 64:
            found = gram_svd(a, rank, rtol, atol, insist=False)
            if found is not None:
                return found
        if weighted or (is_array(a) and short <= 4 * SMALL):
            return None
        return to_tolerance(a, rank, rtol, atol, n_power_iter=1, rng=rng, widest=short // DIRECT_BELOW)
    assert rank is not None
    width = rank + default_oversamples(rank)
    tall = is_array(a) and not weighted and long >= 2 * short
    if tall and short <= GRAM_BELOW * width:
        found = gram_svd(a, rank, None, None, insist=False)
        if found is not None:
            return found
    if short <= DIRECT_BELOW * width:
        return None
    found, settled = subspace_iteration(a, rank, left, right, rng=rng)
    if settled:
        return found
    if tall and (found_by_gram := gram_svd(a, rank, None, None, insist=False)) is not None:
        return found_by_gram
    return None if weighted or short <= LARGE else lanczos_svd(a, rank, rng)


def _required(found: LowRankMatrix | None) -> LowRankMatrix:
    assert found is not None
    return found


# the products


class _Side(NamedTuple):
    """A product on one side: its triangular factor L, P = L L^H, or P itself where a factor would cost more than it is worth."""

    factor: Any = None
    product: Any = None

    @property
    def adjoint_factor(self) -> Any:
        return None if self.factor is None else adjoint(self.factor)

    def back(self, x: Any) -> Any:
        """L^-H X: orthonormal vectors become P-orthonormal."""
        return x if self.factor is None else solve_triangular(self.factor, x, lower=True, conjugate_transposed=True)

    def forth(self, x: Any) -> Any:
        """P L^-H X for vectors that `back` has not been applied to."""
        if self.factor is not None:
            return self.factor @ x
        if self.product is None:
            return x
        return self.product(x) if callable(self.product) else self.product @ x


def _side(name: str, product: Any, n: int, others: int, a: Any, method: str) -> _Side:
    """The product as a factor if it is a matrix smaller than the number of vectors to be orthonormalised in it."""
    if product is None or (callable(product) and not hasattr(product, "shape")):
        return _Side(product=product)
    if tuple(product.shape) != (n, n):
        raise ValueError(
            f"{name} must have shape ({n}, {n}) for a matrix of shape {tuple(a.shape)}, got {tuple(product.shape)}"
        )
    if n >= others and method not in ("gram", "lanczos"):
        return _Side(product=product)
    dense = as_matrix(name, product.toarray() if hasattr(product, "toarray") else product)
    xp = namespace(dense)
    gap, size = (float(xp.max(xp.abs(x))) for x in (dense - adjoint(dense), dense))
    if gap > 100 * unit_roundoff(dense) * size:
        raise ValueError(f"{name} is not Hermitian: entries differ from their mirror images by up to {gap:.3g}")
    try:
        factor = cholesky(dense)
    except np.linalg.LinAlgError:
        lowest = float(xp.min(xp.linalg.eigvalsh(dense)))
        raise ValueError(
            f"{name} is not positive definite: its smallest eigenvalue is {lowest:.3g}; pass a Hermitian positive definite matrix"
        ) from None
    like = sample(a)
    kind = xp.result_type(like.dtype, xp.complex64) if numpy_dtype(dense).kind == "c" else like.dtype
    return _Side(factor=xp.astype(factor, kind))


def _root_weights(weights: Any, m: int, a: Any) -> Any:
    w = np.asarray(to_numpy(weights) if hasattr(weights, "shape") else weights, dtype=float)
    if w.shape != (m,):
        raise ValueError(f"row_weights must be {m} numbers, one a row, got shape {w.shape}")
    good = np.isfinite(w) & (w >= 0)
    if not np.all(good):
        raise ValueError(f"row_weights must be finite numbers >= 0, got {w[~good][0]:g} in row {int(np.argmin(good))}")
    like = sample(a)
    return namespace(like).astype(beside(np.sqrt(w), like), real_part(like).dtype)


def _scale_rows(roots: Any, a: Any) -> Any:
    if roots is None:
        return a
    if is_array(a):
        return roots[:, None] * a
    from scipy.sparse import diags_array

    return _times(diags_array(roots), a)


def _times(x: Any, y: Any) -> Any:
    """X Y where one of the two is the matrix and the other a factor, or None."""
    if x is None or y is None:
        return y if x is None else x
    if hasattr(x, "rmatmat") or hasattr(y, "rmatmat"):
        from scipy.sparse.linalg import aslinearoperator

        return aslinearoperator(x) @ aslinearoperator(y)
    return x @ y
