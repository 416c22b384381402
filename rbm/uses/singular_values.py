"""Singular values between proved ends: a decomposition that LAPACK returned is no proof, its residual is.

With B = A V = Y S, S the computed singular values, V and Y nearly unitary, A = Y S V^{-1}; so

    sigma_min(A) >= sigma_min(Y) min(S) / sigma_max(V),
    sigma_max(A) <= (largest row sum of |B^H B|)^{1/2} / sigma_min(V),

where the singular values of Y and V follow from ||Y^H Y - I||_F and ||V^H V - I||_F. All products are charged with the
rounding that sums in any order have; how V and S were found does not matter.
"""

from __future__ import annotations

import numpy as np

from rbm.arithmetic.precision import ROUND_OFF

__all__ = ["singular_value_bounds"]


def singular_value_bounds(matrix: np.ndarray) -> tuple[float, float]:
    """Return (low, high) with low <= sigma_min and sigma_max <= high, of a matrix (m, n), m >= n, n >= 1.

    low is about (1 - m n u sigma_max / sigma_min) sigma_min, and 0 where that is not positive; high is about
    (1 + m n u) sigma_max. Cost: a singular value decomposition and three products.
    """
    m, n = matrix.shape
    _, s, adjoint = np.linalg.svd(matrix, full_matrices=False)
    v = adjoint.conj().T
    unit = (4 if np.iscomplexobj(matrix) else 1) * ROUND_OFF
    up = 1 + (m * n + 64) * ROUND_OFF
    of_v, _ = _defect(v, unit, up)
    if s[-1] <= 0 or of_v >= 1:
        return 0.0, up * float(np.linalg.norm(matrix))
    b, of_b = matrix @ v, (n + 2) * unit * (np.abs(matrix) @ np.abs(v)) * up
    y = b / s
    of_y, norm_y = _defect(y, unit, up)
    off = float(np.linalg.norm(of_b / s)) * up + 2 * unit * norm_y
    low = (max(1 - of_y, 0.0) ** 0.5 - off) * float(s[-1]) / (1 + of_v) ** 0.5
    sums = np.abs(b.conj().T @ b) + (m + 2) * unit * (np.abs(b).T @ np.abs(b))
    high = (float(sums.sum(axis=1).max()) ** 0.5 + float(np.linalg.norm(of_b))) * up / (1 - of_v) ** 0.5
    return max(low * (1 - 16 * ROUND_OFF), 0.0), min(high * (1 + 16 * ROUND_OFF), up * float(np.linalg.norm(matrix)))


def _defect(x: np.ndarray, unit: float, up: float) -> tuple[float, float]:
    """Return a bound of ||X^H X - I||_F, and one of ||X||_F."""
    gram, size = x.conj().T @ x, np.abs(x)
    of_sums = (len(x) + 2) * unit * float(np.linalg.norm(size.T @ size)) * up
    return float(np.linalg.norm(gram - np.eye(len(gram)))) * up + of_sums, float(np.linalg.norm(x)) * up
