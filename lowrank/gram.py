"""The SVD of a tall matrix from its Gram matrix: as fast as matrix products, and cut before it goes wrong."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.linalg import blas

from lowrank.arrays import namespace, numpy_dtype, to_numpy, unit_roundoff
from lowrank.dense import adjoint, eigh, qr, svd
from lowrank.limits import kept
from lowrank.matrix import LowRankMatrix

__all__ = ["gram_svd"]

#: Terms with s < CUT s_1 are not taken from the Gram matrix, whose eigenvalues are right to u s_1^2: at the cut the squared error of
#: the approximation is within u / CUT^2 = 1e-4 of the optimum.
CUT = 1e-6
#: Rows multiplied at a time where they are converted to double precision first.
PANEL = 4096


def gram_svd(a: Any, rank: int | None, rtol: float | None, atol: float | None, *, insist: bool) -> LowRankMatrix | None:
    """A ~ U diag(s) V^H from the eigenvectors V of A^H A = V diag(s^2) V^H (of A A^H for a wide matrix).

    Then A V = Q R and the SVD of R (a Rayleigh-Ritz step): U is orthonormal, and s right, to a few u s_1, however small. What the Gram
    matrix does not show is what lies below CUT s_1: None is returned if such terms are asked for; with `insist` they are left
    out. Single precision is accumulated in double, where its round-off is above the cut.

    Raises ValueError, with `insist`, for a tolerance below the cut.
    """
    m, n = a.shape
    if m < n:
        found = gram_svd(adjoint(a), rank, rtol, atol, insist=insist)
        return None if found is None else found.H
    xp = namespace(a)
    gram = gram_matrix(a)
    energy = float(np.sum(np.diag(to_numpy(gram)).real))
    if not 0 < energy < np.inf:
        if energy == 0 and bool(xp.all(a == 0)):
            return LowRankMatrix(a[:, :0], xp.abs(a[0, :0]), adjoint(a)[:, :0], is_svd=True)
        if insist:
            raise ValueError("squares of the entries overflow or vanish; scale the matrix, or use method 'direct'")
        return None
    values, vectors = eigh(gram, n if rank is None or rtol is not None or atol is not None else min(rank, n))
    values = to_numpy(values)
    resolved = int(np.count_nonzero(values > CUT**2 * values[0]))
    k = len(values) if rank is None else min(rank, len(values))
    if rtol is not None or atol is not None:
        allowed = max(atol or 0.0, (rtol or 0.0) * energy**0.5)
        # rounding errors of the eigenvalues are counted as error: the promise is kept
        tails = energy - np.cumsum(values) + 8 * n * np.finfo(float).eps * energy
        enough = np.flatnonzero(np.append(energy, tails[:resolved]) <= allowed**2)
        if not len(enough) and (rank is None or rank > resolved):
            if insist:
                raise ValueError(
                    f"method 'gram' resolves errors down to {CUT:g} of the norm of the matrix, {allowed:.3g} was asked for of a matrix "
                    f"of norm {energy**0.5:.3g}; use method 'direct'"
                )
            return None
        k = min(k, int(enough[0])) if len(enough) else k
    if k > resolved:
        if not insist and max(m, n) ** 0.5 * unit_roundoff(a) < CUT:
            return None
        k = resolved
    v = qr(xp.astype(vectors[:, :k], a.dtype))[0]  # LAPACK's are orthonormal to n u only
    q, r = qr(a @ v)
    u, s, wh = svd(r)
    k = kept(s, max(m, n) ** 0.5 * unit_roundoff(a))
    return LowRankMatrix(q @ u[:, :k], s[:k], v @ adjoint(wh[:k, :]), is_svd=True)


def gram_matrix(a: Any) -> Any:
    """A^H A (n, n) in double precision, by half the flops of a product where BLAS has a routine for it."""
    xp = namespace(a)
    if isinstance(a, np.ndarray) and a.dtype == np.float64:
        return a.T @ a  # a symmetric rank-k update: NumPy sees it
    if isinstance(a, np.ndarray):
        wide = np.complex128 if numpy_dtype(a).kind == "c" else np.float64
        gram = np.zeros((a.shape[1], a.shape[1]), dtype=wide)
        for i in range(0, a.shape[0], PANEL):
            rows = a[i : i + PANEL].astype(wide, order="C")
            # of the transpose, which BLAS takes without a copy: rows^T conj(rows) is the conjugate
            gram += rows.T @ rows if wide is np.float64 else blas.zherk(1.0, rows.T)
        if wide is np.complex128:
            gram = np.triu(gram).conj() + np.triu(gram, 1).T
        return gram
    wide = xp.complex128 if numpy_dtype(a).kind == "c" else xp.float64
    panels = (xp.astype(a[i : i + PANEL, :], wide) for i in range(0, a.shape[0], PANEL))
    return sum(adjoint(rows) @ rows for rows in panels)
