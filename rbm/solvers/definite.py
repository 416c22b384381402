"""Verified positive definiteness: what a floating-point elimination that succeeds proves.

Its own rounding is the error term.

That an elimination of H meets positive pivots only says that a matrix *near* H is positive definite.
:mod:`rbm.solvers.inertia` says how near: H + e I is *proved* positive semi-definite for the e returned here, about
1e-13 ||H|| for finite elements.

All matrices here are in balanced units (:attr:`rbm.affine.inner_product.InnerProduct.balance`): entries of order one in
every row.

Sources: Higham, Accuracy and Stability of Numerical Algorithms, 2nd ed. (2002), theorems 9.3 and 10.3; Rump, BIT 46
(2006) 433-452.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import scipy.linalg
import scipy.sparse as sp

from rbm.arithmetic import extended
from rbm.solvers.inertia import ROUNDED_UP, growth, inertia

__all__ = [
    "DOMINANT",
    "Prove",
    "definiteness_error",
    "dense",
    "dominance_slack",
    "eigenvalue_from_inverse",
    "hermitian_part",
    "norm_bound",
    "semidefinite_slack",
]

#: H -> (solve, e) with H + e I >= 0 proved, or None where H is not definite (:class:`rbm.solvers.Pardiso`).
Prove = Callable[..., tuple[Any, float | None] | None]
#: A matrix is taken for semi-definite if a shift of this share of its norm makes it definite; the shift is charged.
ALLOWED = 1e-10
#: A slack from dominant diagonals is taken, and no factorisation made, up to this many u of the norm.
DOMINANT = 64.0
#: Matrices smaller than this are not decided: their rounding is that of numbers below the normal range.
SMALLEST = 1e-200


def norm_bound(matrix: Any) -> float:
    """Return a proved upper bound of ||H||_2: (largest row sum x largest column sum)^{1/2} of |H|.

    It is 0 for an empty matrix.
    """
    size = abs(matrix)
    rows, columns = (np.asarray(size.sum(axis=k)).ravel().max(initial=0.0) for k in (1, 0))
    return ROUNDED_UP * float(np.sqrt(rows) * np.sqrt(columns))


def dense(matrix: Any) -> np.ndarray:
    """Return a matrix as an array with all its entries, of low-rank factors also: for few unknowns."""
    if (whole := getattr(matrix, "to_dense", None)) is not None:
        return whole()
    return matrix.toarray() if sp.issparse(matrix) else np.asarray(matrix)


def hermitian_part(matrix: Any) -> Any:
    """Return (A + A^H) / 2, exactly Hermitian; A itself, bit for bit, if it is that already.

    It is for entries above 1e-307.
    """
    return matrix / 2 + matrix.conj().T / 2


def definiteness_error(matrix: Any, prove: Prove | None = None) -> float | None:
    """Return e >= 0 such that H + e I is proved positive semi-definite.

    None if the elimination of H met a pivot that is not positive.

    matrix : H (n, n), exactly Hermitian, sparse or dense
    prove : the elimination of another library for sparse matrices (:func:`rbm.solvers.choice.prover`), in place of ours

    Cost: one factorisation, and a few products with its factors.
    """
    if not sp.issparse(matrix):
        return _dense_error(matrix)
    if prove is not None:
        made = prove(matrix)
        return None if made is None else made[1]
    found = inertia(matrix)
    return found.error if found is not None and found.negative == 0 else None


def _dense_error(matrix: np.ndarray) -> float | None:
    """Return the same with LAPACK's Cholesky factorisation, H = R^H R + E, |E| <= g |R|^H |R|."""
    try:
        factor = np.abs(scipy.linalg.cholesky(matrix, check_finite=False))
    except np.linalg.LinAlgError:
        return None
    if not np.all(np.isfinite(factor)):
        return None
    sums = factor.T @ (factor @ np.ones(len(factor)))
    return ROUNDED_UP * float((growth(np.arange(1, len(factor) + 1), matrix) * sums).max())


def eigenvalue_from_inverse(matrix: np.ndarray) -> float:
    """Return a proved lower bound of the smallest eigenvalue of a dense Hermitian H; 0 if there is none.

    H may have any condition up to about 1e18.

    With X the computed inverse of the Cholesky factor and X^H H X = I + G formed in extended precision: if ||G|| < 1,
    then H is positive definite (Sylvester), and lambda_min(H) >= (1 - ||G||) / ||X||^2. Cost: 8 n^3 flops.
    """
    try:
        inverse = scipy.linalg.solve_triangular(scipy.linalg.cholesky(matrix), np.eye(len(matrix)))
    except (np.linalg.LinAlgError, ValueError):
        return 0.0
    if not np.all(np.isfinite(inverse)):
        return 0.0
    image = extended.product(matrix, inverse)
    off = extended.rounding(matrix, inverse)
    adjoint = inverse.conj().T
    hi, lo = extended.product(adjoint, image)
    off = extended.rounding(adjoint, image) + np.abs(adjoint) @ off
    deviation = ROUNDED_UP * float(np.linalg.norm(hi - np.eye(len(hi)) + lo) + np.linalg.norm(off))
    return (1 - deviation) / (ROUNDED_UP * float(np.linalg.norm(inverse)) ** 2) if deviation < 1 else 0.0


def dominance_slack(matrix: Any, scale: np.ndarray | None = None) -> float:
    """Return s >= 0 with D H D + s I positive semi-definite, from dominant diagonals (Gershgorin).

    D = diag(scale); s is exactly 0 for a diagonal H >= 0.

    H + diag(m) is diagonally dominant with m_i = sum_{j != i} |H_ij| - H_ii, so s = max_i (scale_i^2 m_i)^+. Row sums
    may be small in the units in which H was assembled and not in those that D makes; both bounds are true.
    """
    sparse = sp.issparse(matrix)
    diagonal = matrix.diagonal().real
    off = abs(matrix - (sp.diags_array(matrix.diagonal()) if sparse else np.diag(matrix.diagonal())))
    sums = np.asarray(off.sum(axis=1)).ravel()
    terms = np.diff(sp.csr_array(off).indptr) if sparse else np.full(len(sums), len(sums))
    margin = sums * (1 + (terms + 4) * float(np.finfo(float).eps) / 2) - diagonal
    with np.errstate(over="ignore"):
        margin = margin if scale is None else margin * scale * scale
    return float(margin.max(initial=0.0)) * ROUNDED_UP


def semidefinite_slack(matrix: Any, prove: Prove | None = None) -> float | None:
    """Return s >= 0 such that H + s I is proved positive semi-definite, s as small as rounding allows.

    None if s > 1e-10 ||H|| were needed.

    matrix : H (n, n), of a size far from the ends of the range of numbers
    prove : as for :func:`definiteness_error`

    A semi-definite H itself cannot be proved to be one in floating-point arithmetic. The slack s that is forgiven is
    the caller's to charge. Cost: one factorisation, none for diagonally dominant matrices, a few more for one that is
    indefinite or nearly so.
    """
    size, u = norm_bound(matrix), float(np.finfo(float).eps) / 2
    n = matrix.shape[0]
    dominance = dominance_slack(matrix)
    if dominance <= DOMINANT * u * size:
        return dominance
    identity = sp.eye_array(n, format="csr") if sp.issparse(matrix) else np.eye(n)
    if not (np.isfinite(size) and size > SMALLEST):
        return None if size > 0 else 0.0
    for factor in 100.0 ** np.arange(5):
        shift = 16 * u * np.sqrt(n) * size * factor
        error = definiteness_error(matrix + shift * identity, prove) if shift <= ALLOWED * size else None
        if error is not None:
            return shift + error + 2 * u * size  # the shifted diagonal was rounded
    return None
