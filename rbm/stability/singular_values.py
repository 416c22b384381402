"""Singular values of dense matrices with allowances for rounding: smallest from below, largest from above."""

from __future__ import annotations

import numpy as np
import scipy.linalg

__all__ = ["SLACK", "largest_eigenvalue", "smallest_singular", "spectral_norm"]

#: Computed constants are lowered and computed norms raised by this share, for the rounding of dense linear algebra.
SLACK = 1e-8


def smallest_singular(matrix: np.ndarray, rounding: float) -> tuple[float, np.ndarray]:
    """Bound the smallest singular value of a matrix (n, n) from below, and return its right singular vector (n,).

    rounding : the entries are known to this times the Frobenius norm. The bound is 0 where the matrix may be singular.
    """
    n, u = len(matrix), np.finfo(float).eps / 2
    size = float(np.linalg.norm(matrix))
    square, vectors = _smallest_eigenpair(matrix.conj().T @ matrix)
    if square > 1e-6 * size**2 / n:
        value = float(np.sqrt(square - 10 * np.sqrt(n) * u * size**2))
    else:  # squaring would have lost it
        _, values, rows = np.linalg.svd(matrix)
        value, vectors = float(values[-1]) - 10 * np.sqrt(n) * u * size, rows[-1].conj()
    return max(value * (1 - SLACK) - rounding * size, 0.0), vectors


def spectral_norm(matrix: np.ndarray) -> float:
    """Bound the spectral norm from above, by at most 1e-8 of itself."""
    square = largest_eigenvalue(matrix.conj().T @ matrix)
    return float(np.sqrt(square if square > 0 else 0.0) * (1 + SLACK))


def largest_eigenvalue(matrix: np.ndarray) -> float:
    """Compute the largest eigenvalue of a Hermitian matrix (n, n)."""
    n = len(matrix)
    try:
        return float(scipy.linalg.eigvalsh(matrix, subset_by_index=[n - 1, n - 1], check_finite=False)[0])
    except np.linalg.LinAlgError:
        return float(np.linalg.eigvalsh(matrix)[-1])


def _smallest_eigenpair(matrix: np.ndarray) -> tuple[float, np.ndarray]:
    try:
        values, vectors = scipy.linalg.eigh(matrix, subset_by_index=[0, 0], check_finite=False)
    except np.linalg.LinAlgError:  # LAPACK's search for single eigenvalues fails for some matrices with many equal ones
        values, vectors = np.linalg.eigh(matrix)
    return float(values[0]), vectors[:, 0]
