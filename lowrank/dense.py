"""Dense factorisations: LAPACK through SciPy for NumPy arrays, the array module's own for others."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.linalg

from lowrank.arrays import beside, is_complex, namespace, real_part

__all__ = [
    "adjoint", "adjoint_times", "cholesky", "column_norms", "eigh", "norm", "qr", "solve_triangular", "svd", "times",
]  # fmt: skip

#: Up to this size all eigenvalues of a matrix are cheaper than some of them.
ALL_BELOW = 256


def adjoint(x: Any) -> Any:
    """Return X^H of a matrix X."""
    return namespace(x).conj(x).T if is_complex(x) else x.T


def adjoint_times(a: Any, x: Any) -> Any:
    """Return A^H X for an array, a sparse matrix or a linear operator A, without a copy of A."""
    if hasattr(a, "rmatmat"):
        return a.rmatmat(x)
    if hasattr(a, "nnz"):
        return a.conj().T @ x
    return adjoint(adjoint(x) @ a)


def times(a: Any, x: Any) -> Any:
    """Return A X for an array, a sparse matrix or a linear operator A and a thin array X.

    Of a NumPy array stored by rows the transposed product is asked for, which BLAS does in three quarters of the time.
    """
    if isinstance(a, np.ndarray) and isinstance(x, np.ndarray) and a.flags.c_contiguous:
        return (x.T @ a.T).T
    return a @ x


def norm(x: Any) -> float:
    """Return the Frobenius norm of an array of numbers of any size.

    Squares that overflow or vanish are scaled first. NaN and infinity come back as such.
    """
    xp = namespace(x)
    if 0 in x.shape:
        return 0.0
    info = xp.finfo(x.dtype)
    with np.errstate(over="ignore"):
        # NumPy's own takes a fifth of the time of the standard's vector_norm
        value = float(np.linalg.norm(x) if isinstance(x, np.ndarray) else xp.linalg.vector_norm(x))
    if float(info.smallest_normal) ** 0.5 / float(info.eps) < value < np.inf:
        return value
    largest = float(xp.max(xp.abs(x)))
    if largest == 0 or not np.isfinite(largest):
        return largest
    scale = float(np.ldexp(1.0, int(np.frexp(largest)[1]) - 1))
    return scale * float(xp.linalg.vector_norm(x / scale))


def column_norms(x: Any) -> Any:
    """Return the norms (n,) of the columns, for entries of any size."""
    xp = namespace(x)
    if 0 in x.shape:
        return xp.zeros(x.shape[1], dtype=real_part(x).dtype)
    largest = xp.max(xp.abs(x), axis=0)
    scale = xp.where(largest > 0, largest, xp.ones_like(largest))
    return scale * xp.linalg.vector_norm(x / scale, axis=0)


def qr(x: Any) -> tuple[Any, Any]:
    """Return Q (m, k) with orthonormal columns and R (k, n) upper triangular: X = Q R, k = min(m, n)."""
    if isinstance(x, np.ndarray):
        return scipy.linalg.qr(x, mode="economic", check_finite=False) if x.size else np.linalg.qr(x)
    return tuple(namespace(x).linalg.qr(x, mode="reduced"))


def svd(x: Any) -> tuple[Any, Any, Any]:
    """Return U (m, k), s (k,) descending and V^H (k, n): X = U diag(s) V^H, k = min(m, n)."""
    if isinstance(x, np.ndarray):
        if not x.size:
            return np.linalg.svd(x, full_matrices=False)
        try:
            return np.linalg.svd(x, full_matrices=False)  # SciPy's takes a sixth longer for 100 rows and columns
        except np.linalg.LinAlgError:  # divide and conquer did not converge, which is rare: QR iteration always has
            return scipy.linalg.svd(x, full_matrices=False, check_finite=False, lapack_driver="gesvd")
    return tuple(namespace(x).linalg.svd(x, full_matrices=False))


def eigh(x: Any, largest: int) -> tuple[Any, Any]:
    """Return the `largest` greatest eigenvalues (k,), descending, and eigenvectors (n, k) of a Hermitian matrix."""
    n = x.shape[0]
    if isinstance(x, np.ndarray) and n:
        if n <= ALL_BELOW:  # divide and conquer finds all sooner than others find some
            values, vectors = scipy.linalg.eigh(x, driver="evd", check_finite=False)
        else:
            wanted = (n - largest, n - 1) if 0 < largest < n else None
            values, vectors = scipy.linalg.eigh(x, subset_by_index=wanted, check_finite=False)
    else:
        values, vectors = namespace(x).linalg.eigh(x)
    return values[::-1][:largest], vectors[:, ::-1][:, :largest]


def cholesky(x: Any) -> Any:
    """Return the lower triangular L of a Hermitian positive definite matrix, X = L L^H.

    Raises numpy.linalg.LinAlgError if the matrix is not positive definite.
    """
    if isinstance(x, np.ndarray):
        return np.linalg.cholesky(x)
    xp = namespace(x)
    try:
        factor = xp.linalg.cholesky(x)
    except Exception as error:  # each module has its own
        raise np.linalg.LinAlgError(str(error)) from error
    if not bool(xp.all(xp.isfinite(real_part(factor)))):  # CuPy's answer to an indefinite matrix
        raise np.linalg.LinAlgError("the matrix is not positive definite")
    return factor


def solve_triangular(
    factor: Any, x: Any, *, lower: bool, unit: bool = False, conjugate_transposed: bool = False
) -> Any:
    """Return T^-1 X or T^-H X for a triangular T.

    Modules without a triangular solve (all but NumPy and CuPy) get a general one.
    """
    if factor.shape[0] == 0 or x.shape[1] == 0:
        return x
    trans = 2 if conjugate_transposed else 0
    if isinstance(x, np.ndarray):
        return scipy.linalg.solve_triangular(
            factor, x, lower=lower, trans=trans, unit_diagonal=unit, check_finite=False
        )
    xp, factor = namespace(x), beside(factor, x)
    dtype = xp.result_type(factor.dtype, x.dtype)
    factor, x = xp.astype(factor, dtype), xp.astype(x, dtype)
    if xp.__name__.endswith("cupy"):
        from cupyx.scipy.linalg import solve_triangular as on_device  # type: ignore[import-not-found]

        return on_device(factor, x, lower=lower, trans=trans, unit_diagonal=unit)
    if unit and not conjugate_transposed:
        # upside down it is an upper triangle, in which no pivot below the diagonal is found
        ones = xp.eye(factor.shape[0], dtype=dtype, device=factor.device)
        triangle = xp.tril(factor, k=-1) if lower else xp.triu(factor, k=1)
        if lower:
            return xp.flip(xp.linalg.solve(xp.flip(triangle + ones), xp.flip(x, axis=0)), axis=0)
        return xp.linalg.solve(triangle + ones, x)
    triangle = xp.tril(factor) if lower else xp.triu(factor)
    return xp.linalg.solve(adjoint(triangle) if conjugate_transposed else triangle, x)
