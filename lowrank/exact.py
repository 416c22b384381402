"""Truncated SVDs that find the optimum for any spectrum, by LAPACK or by ARPACK."""

from __future__ import annotations

from typing import Any

import numpy as np

from lowrank.arrays import namespace, numpy_dtype, unit_roundoff
from lowrank.dense import adjoint, qr, svd
from lowrank.leading_triples import leading_triples
from lowrank.limits import Limits, number_of_terms
from lowrank.matrix import LowRankMatrix
from lowrank.operands import first_product, is_array, sample, total_norm
from lowrank.orthogonal import gram_schmidt

__all__ = ["SMALL", "direct_svd", "lanczos_svd"]

#: A dense decomposition is as cheap as any if the smaller side is at most this.
SMALL = 64


def direct_svd(a: Any, limits: Limits, left: Any = None, right: Any = None) -> LowRankMatrix:
    """Return the truncated SVD by LAPACK.

    For a product that has no factor the matrix is orthonormalised in it first: A = Q_1 R_1, R_1^H = Q_2 R_2.
    """
    noise = max(a.shape) ** 0.5 * unit_roundoff(sample(a))
    core, q1, q2 = _dense(a), None, None
    if left is not None:
        result = gram_schmidt(core, product=left)
        q1, core = result.basis, result.coefficients
    if right is not None:
        result = gram_schmidt(adjoint(core), product=right)
        q2, core = result.basis, adjoint(result.coefficients)
    u, s, vh = leading_triples(core, lambda s: number_of_terms(s, noise, limits))
    v = adjoint(vh)
    return LowRankMatrix(u if q1 is None else q1 @ u, s, v if q2 is None else q2 @ v, is_svd=True)


def lanczos_svd(a: Any, rank: int, rng: int | np.random.Generator) -> LowRankMatrix:
    """Return the leading singular triples by ARPACK.

    Its vectors V are used, and the SVD of A V: values are then right to u s_1 and not to u^{1/2} s_1 only.

    LAPACK's instead where ARPACK has no room (a Krylov space of 2 rank + 1 vectors in less than 64 or as many
    dimensions; it refuses complex matrices for ranks near the size) and where it does not converge.
    """
    if min(a.shape) <= max(SMALL, 2 * rank + 1) or total_norm(a) == 0:
        return direct_svd(a, Limits(rank))
    like = sample(a)
    if namespace(like).__name__.endswith("cupy"):
        from cupyx.scipy.sparse.linalg import svds  # type: ignore[import-not-found]

        _, _, vh = svds(a, k=rank)
    elif isinstance(like, np.ndarray):
        from scipy.sparse.linalg import ArpackError, svds

        wide = a.astype(np.result_type(a.dtype, np.float64)) if hasattr(a, "astype") else a
        start = np.random.default_rng(rng).standard_normal(min(a.shape)).astype(numpy_dtype(sample(wide)))
        try:
            _, _, vh = svds(wide, k=rank, v0=start)
        except ArpackError:  # not converged, or no start that is not orthogonal to all that is left
            return direct_svd(a, Limits(rank))
    else:
        return direct_svd(a, Limits(rank))
    v = qr(adjoint(vh).astype(like.dtype))[0]
    q, r = qr(a @ v)
    u, s, wh = svd(r)
    k = number_of_terms(s, max(a.shape) ** 0.5 * unit_roundoff(s), Limits(rank))
    return LowRankMatrix(q @ u[:, :k], s[:k], v @ adjoint(wh[:k, :]), is_svd=True)


def _dense(a: Any) -> Any:
    if is_array(a):
        return a
    if hasattr(a, "toarray"):
        return a.toarray()
    like = sample(a)
    return first_product(a, namespace(like).eye(a.shape[1], dtype=like.dtype))
