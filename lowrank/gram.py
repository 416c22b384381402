"""The SVD of a tall matrix from its Gram matrix, at the speed of matrix products."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.linalg import blas

from lowrank.arrays import namespace, numpy_dtype, real_part, to_numpy, unit_roundoff
from lowrank.dense import adjoint, cholesky, eigh, qr, solve_triangular, svd, times
from lowrank.limits import Limits, number_of_terms
from lowrank.matrix import LowRankMatrix

__all__ = ["ROUNDING", "gram_svd", "rayleigh_ritz"]

#: Terms with s < CUT s_1 are not taken from the Gram matrix, whose eigenvalues are right to u s_1^2: at the cut the
#: squared error of the approximation is within u / CUT^2 = 1e-4 of the optimum.
CUT = 1e-6
#: Rows multiplied at a time where they are converted to double precision first.
PANEL = 4096
SINGLE_PANEL = 1024
#: ||dG||_2 / (u ||G||_2) of a Gram matrix of panels in single precision is below this (measured: 0.1 to 7).
ROUNDING = 16


def gram_svd(a: Any, limits: Limits, *, insist: bool) -> LowRankMatrix | None:
    """Return A ~ U diag(s) V^H from the eigenvectors V of A^H A, or None where they are not accurate enough.

    A^H A = V diag(s^2) V^H; of a wide matrix A A^H is taken.

    Then A V = Q R and the SVD of R (a Rayleigh-Ritz step): U is orthonormal, and s right, to a few u s_1, however
    small. What the Gram matrix does not show is what lies below CUT s_1: None is returned if such terms are asked for;
    with `insist` they are left out. Single precision is accumulated in double, where its round-off is above the cut.

    Raises ValueError, with `insist`, for a tolerance below the cut.
    """
    m, n = a.shape
    if m < n:
        found = gram_svd(adjoint(a), limits, insist=insist)
        return None if found is None else found.H
    xp, rank = namespace(a), limits.rank
    if rank is not None and not limits.tolerant and not insist and isinstance(a, np.ndarray):
        v = _leading_in_single(a, min(rank, n))
        if v is not None:
            return _projected(a, v.astype(a.dtype))
    gram = gram_matrix(a)
    energy = float(np.sum(np.diag(to_numpy(gram)).real))
    if energy == 0:
        return LowRankMatrix(a[:, :0], xp.abs(a[0, :0]), adjoint(a)[:, :0], is_svd=True)
    values, vectors = eigh(gram, n if rank is None or limits.tolerant else min(rank, n))
    values = to_numpy(values)
    resolved = int(np.count_nonzero(values > CUT**2 * values[0]))
    k = len(values) if rank is None else min(rank, len(values))
    if limits.tolerant:
        allowed = limits.allowed(energy**0.5)
        # rounding errors of the eigenvalues are counted as error: the promise is kept
        tails = energy - np.cumsum(values) + 8 * n * np.finfo(float).eps * energy
        enough = np.flatnonzero(np.append(energy, tails[:resolved]) <= allowed**2)
        if not len(enough) and (rank is None or rank > resolved):
            if insist:
                raise ValueError(
                    f"method 'gram' resolves errors down to {CUT:g} of the norm of the matrix, {allowed:.3g} was "
                    f"asked for of a matrix of norm {energy**0.5:.3g}; use method 'direct'"
                )
            return None
        k = min(k, int(enough[0])) if len(enough) else k
    if k > resolved:
        if not insist and max(m, n) ** 0.5 * unit_roundoff(a) < CUT:
            return None
        k = resolved
    return _projected(a, xp.astype(vectors[:, :k], a.dtype))


def _projected(a: Any, v: Any) -> LowRankMatrix:
    """Return the best approximation of A with rows in the span of V, which LAPACK made orthonormal to n u only."""
    v = qr(v)[0]
    return rayleigh_ritz(times(a, v), v)


def rayleigh_ritz(x: Any, v: Any) -> LowRankMatrix:
    """Return the best approximation of A with rows in the span of V (n, k): the SVD of X = A V, right to a few u s_1.

    x : A V (m, k); v : orthonormal to a few u

    The columns of A V are nearly orthogonal: Cholesky QR of them divided by their norms, at the speed of matrix
    products, is as right as LAPACK's, which is taken where they are not.
    """
    xp, k = namespace(x), v.shape[1]
    eye = xp.eye(k, dtype=x.dtype)
    gram = adjoint(x) @ x
    norms = xp.sqrt(real_part(xp.linalg.diagonal(gram)))
    basis, r, inverse = x, None, None
    if k and float(xp.min(norms)) > 0:
        gram = gram / norms / norms[:, None]
        if float(xp.max(xp.abs(gram - eye))) * k < 0.5:
            factor = adjoint(cholesky(gram))
            r, inverse = factor * norms, solve_triangular(factor, eye, lower=False) / norms[:, None]
    if r is None:
        basis, r = qr(x)
        inverse = eye
    u, s, wh = svd(r)
    k = number_of_terms(s, max(x.shape[0], v.shape[0]) ** 0.5 * unit_roundoff(x), Limits())
    return LowRankMatrix(basis @ (inverse @ u[:, :k]), s[:k], v @ adjoint(wh[:k, :]), is_svd=True)


def _leading_in_single(a: np.ndarray, k: int) -> np.ndarray | None:
    """Return the k leading eigenvectors of A^H A in single precision, None where that is not good enough.

    It takes half the time of double precision.

    Their span misses at most 2 k ||dG||_2 of the captured squares, dG the rounding errors of the Gram matrix, which
    must be a thousandth of the squared error that no approximation avoids.
    """
    single = np.complex64 if a.dtype.kind == "c" else np.float32
    gram = np.zeros((a.shape[1], a.shape[1]), dtype=np.complex128 if a.dtype.kind == "c" else np.float64)
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        for i in range(0, a.shape[0], SINGLE_PANEL):
            rows = a[i : i + SINGLE_PANEL].astype(single, copy=False)
            gram += adjoint(rows) @ rows
        energy = float(np.sum(np.diag(gram).real))
    if not 1e-20 < energy < 1e30:
        return None
    values, vectors = eigh(gram, k)
    rounding = ROUNDING * unit_roundoff(rows) * values[0]
    return vectors if 2 * k * rounding <= 1e-3 * (energy * (1 - 1e-5) - values.sum()) else None


def gram_matrix(a: Any) -> Any:
    """Return A^H A (n, n) in double precision, by half the flops of a product where BLAS has a routine for it."""
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
    panels = (xp.astype(a[i : min(i + PANEL, a.shape[0]), :], wide) for i in range(0, a.shape[0], PANEL))
    return sum(adjoint(rows) @ rows for rows in panels)
