"""The online kernels in plain NumPy: the readable definition, batched over parameter points."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from rbm.errors import ModelError

__all__ = ["residual_coefficients", "solve", "tiles"]

#: Memory that the intermediate arrays of one tile of parameter points may take, in bytes; about an L2 cache.
TILE_BYTES = 4 << 20


def tiles(count: int, bytes_per_point: int) -> Iterator[slice]:
    """Slices over `count` points, each small enough for its intermediates to stay in cache and memory to stay bounded."""
    size = max(1, min(count, TILE_BYTES // max(bytes_per_point, 1)))
    for start in range(0, count, size):
        yield slice(start, min(start + size, count))


def solve(operators: np.ndarray, rhs: np.ndarray, theta: np.ndarray, phi: np.ndarray) -> np.ndarray:
    """gamma (M, N): solutions of sum_q theta_q A_q gamma = sum_q phi_q f_q.

    operators (Qa, k, N), rhs (Qf, k), theta (M, Qa), phi (M, Qf). Square systems (Galerkin, k = N) by LU with partial pivoting,
    (2 Qa N^2 + 2/3 N^3) flops a point; tall ones (least squares, k > N) by Householder QR of [A | f], never by normal
    equations, (2 Qa k N + 2 k N^2) flops a point; four times that for complex numbers.

    Raises ModelError with the row index of the first singular system.
    """
    qa, k, n = operators.shape
    dtype = np.result_type(operators, rhs, theta, phi)
    gamma = np.empty((len(theta), n), dtype=dtype)
    if n == 0:
        return gamma
    flat = operators.reshape(qa, k * n)
    for rows in tiles(len(theta), 2 * k * n * dtype.itemsize):
        matrices = (theta[rows] @ flat).reshape(-1, k, n)
        vectors = (phi[rows] @ rhs)[..., None]
        if k > n:
            triangle = np.asarray(np.linalg.qr(np.concatenate([matrices, vectors], axis=2), mode="r"))
            matrices, vectors = triangle[:, :n, :n], triangle[:, :n, n:]
        try:
            gamma[rows] = np.linalg.solve(matrices, vectors)[..., 0]
        except np.linalg.LinAlgError:
            singular = int(np.argmin(np.linalg.svd(matrices, compute_uv=False)[:, -1]))
            raise ModelError(f"reduced system of row {rows.start + singular} is singular") from None
    return gamma


def residual_coefficients(theta: np.ndarray, phi: np.ndarray, gamma: np.ndarray) -> np.ndarray:
    """c (M, m), m = Qf + N Qa, with which the residual is r = W c.

    c = (phi_1..phi_Qf, then for n = 1..N: -gamma_n theta_1 .. -gamma_n theta_Qa), the columns of W ordered alike, so that
    the first N' basis vectors use the leading Qf + N' Qa entries.
    """
    products = -(gamma[:, :, None] * theta[:, None, :]).reshape(len(theta), -1)
    return np.concatenate([phi, products], axis=1)  # of the common type: phi may be complex where gamma is real
