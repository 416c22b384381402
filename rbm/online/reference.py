"""The online kernels in plain array operations: the readable definition, batched over parameter points.

Written to the array API standard, so that the arrays decide where it runs: NumPy arrays are the oracle of the compiled kernels, and
CuPy arrays make it the kernel of the GPU, by batched library calls.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import scipy.linalg

from lowrank.arrays import beside, namespace, numpy_dtype, to_numpy
from rbm.errors import ModelError, refused
from rbm.online.triangles import triangles

__all__ = [
    "compensated_norm",
    "device_room",
    "residual_coefficients",
    "solve",
    "solve_triangular",
    "tiles",
    "where_present",
]

#: Memory that the intermediate arrays of one tile of parameter points may take, in bytes; about an L2 cache.
TILE_BYTES = 4 << 20
#: The same for arrays on a device, which is fast only with much to do; never more than a quarter of its free memory.
DEVICE_TILE_BYTES = 4 << 30


def tiles(count: int, bytes_per_point: int, like: Any = None) -> Iterator[slice]:
    """Slices over `count` points, each small enough for its intermediates to stay in cache and memory to stay bounded.

    like : an array that lives where they do; NumPy's if there is none
    """
    room = TILE_BYTES if like is None or isinstance(like, np.ndarray) else device_room(like, DEVICE_TILE_BYTES)
    size = max(1, min(count, room // max(bytes_per_point, 1)))
    for start in range(0, count, size):
        yield slice(start, min(start + size, count))


def device_room(like: Any, wanted: int) -> int:
    """Bytes that intermediate arrays may take where `like` lives: `wanted`, or a quarter of the memory that is free there, if CuPy tells."""
    if not namespace(like).__name__.endswith("cupy"):
        return wanted
    cupy = importlib.import_module("cupy")
    free, _ = cupy.cuda.runtime.memGetInfo()
    return min(wanted, (free + cupy.get_default_memory_pool().free_bytes()) // 4)


def solve(operators: Any, rhs: Any, theta: Any, phi: Any) -> Any:
    """gamma (M, N): solutions of sum_q theta_q A_q gamma = sum_q phi_q f_q.

    operators (Qa, k, N), rhs (Qf, k), theta (M, Qa), phi (M, Qf). Square systems (Galerkin, k = N) by LU with partial pivoting,
    (2 Qa N^2 + 2/3 N^3) flops a point; tall ones (least squares, k > N) by Householder QR of [A | f], never by normal
    equations, (2 Qa k N + 2 k N^2) flops a point; four times that for complex numbers.

    On a device all matrices of a tile are solved by one call (CuPy: getrfBatched, getrsBatched), and factorised by a few for each column.

    Raises ModelError with the rows of singular systems, where the library reports them (NumPy); CuPy gives NaN or infinity.
    """
    xp = namespace(operators, rhs, theta, phi)
    qa, k, n = operators.shape
    dtype = xp.result_type(operators.dtype, rhs.dtype, theta.dtype, phi.dtype)
    if n == 0:
        return xp.astype(theta[:, :0], dtype)
    flat = xp.reshape(xp.astype(operators, dtype), (qa, k * n))
    right, theta, phi = (xp.astype(a, dtype) for a in (rhs, theta, phi))
    copies = 2 if isinstance(operators, np.ndarray) else 4 if k == n else 7  # on a device also the library's own count
    parts = []
    for rows in tiles(theta.shape[0], copies * k * n * numpy_dtype(flat).itemsize, flat):
        matrices = xp.reshape(theta[rows, :] @ flat, (-1, k, n))
        vectors = (phi[rows, :] @ right)[..., None]
        if k > n:
            triangle = triangles(xp.concat([matrices, vectors], axis=2))
            matrices, vectors = triangle[:, :n, :n], triangle[:, :n, n:]
        try:
            parts.append(xp.linalg.solve(matrices, vectors)[..., 0])
        except np.linalg.LinAlgError:
            singular = _singular(matrices)
            bad = np.zeros(theta.shape[0], dtype=bool)
            bad[rows] = singular
            raise refused(ModelError, bad, lambda i, where: f"the reduced system ({where}) is singular") from None
    return parts[0] if len(parts) == 1 else xp.concat(parts)


def solve_triangular(matrix: Any, right: Any, *, unit_lower: bool = False) -> Any:
    """x (n, M) with T x = right (n, M), T the upper triangle of `matrix` (n, n) or, `unit_lower`, its lower one with unit diagonal.

    The standard has no such solver. Its general one does the same arithmetic for an upper triangle, in which no pivot below the
    diagonal can be found; a lower one is made upper by reversing the order. That costs a factorisation more, n^3/3 flops.
    """
    if isinstance(right, np.ndarray):
        return scipy.linalg.solve_triangular(matrix, right, lower=unit_lower, unit_diagonal=unit_lower)
    xp, triangle = namespace(right), beside(matrix, right)
    if right.shape[0] == 0:
        return right
    dtype = xp.result_type(triangle.dtype, right.dtype)
    triangle, right = xp.astype(triangle, dtype), xp.astype(right, dtype)
    if not unit_lower:
        return xp.linalg.solve(xp.triu(triangle), right)
    unit = beside(np.eye(triangle.shape[0]), right)
    reversed_ = xp.flip(xp.tril(triangle, k=-1) + xp.astype(unit, dtype))
    return xp.flip(xp.linalg.solve(reversed_, xp.flip(right, axis=0)), axis=0)


def _singular(matrices: Any) -> np.ndarray:
    """Which of the matrices (M, N, N) are singular to working precision, at least one of them."""
    values = np.linalg.svd(to_numpy(matrices), compute_uv=False)
    ratio = values[:, -1] / np.where(values[:, 0] > 0, values[:, 0], 1.0)
    return ratio <= max(matrices.shape[1] * float(np.finfo(values.dtype).eps), float(ratio.min()))


def residual_coefficients(theta: Any, phi: Any, gamma: Any) -> Any:
    """c (M, m), m = Qf + N Qa, with which the residual is r = W c.

    c = (phi_1..phi_Qf, then for n = 1..N: -gamma_n theta_1 .. -gamma_n theta_Qa), the columns of W ordered alike, so that
    the first N' basis vectors use the leading Qf + N' Qa entries.
    """
    xp = namespace(theta, phi, gamma)
    dtype = xp.result_type(theta.dtype, phi.dtype, gamma.dtype)  # phi may be complex where gamma is real
    theta, phi, gamma = (xp.astype(a, dtype) for a in (theta, phi, gamma))
    products = xp.reshape(-(gamma[:, :, None] * theta[:, None, :]), (theta.shape[0], gamma.shape[1] * theta.shape[1]))
    return xp.concat([phi, products], axis=1)


def where_present(theta: Any, phi: Any, gamma: Any, norms: np.ndarray, floor: Any) -> Any:
    """`floor` (M,) where a term of the residual is there, 0 where none is: phi_q f_q = 0 for all q and gamma_n theta_q A_q z_n = 0 for all.

    Decided by the numbers themselves, not by their products, which underflow to 0 below 1e-308. norms (m,) are those of W.
    """
    xp, qf, qa = namespace(theta, phi, gamma), phi.shape[1], theta.shape[1]
    there = norms > 0
    of_rhs = (phi != 0) & beside(there[:qf], phi)
    count = xp.count_nonzero(of_rhs, axis=1)
    matrix = beside(there[qf:].reshape(-1, qa).astype(float), gamma)  # (N, Qa)
    one = xp.astype(gamma != 0, matrix.dtype) @ matrix
    count = count + xp.count_nonzero((one > 0) & (theta != 0), axis=1)
    return xp.where(count > 0, floor, xp.zeros_like(floor))


def compensated_norm(factor: Any, theta: Any, phi: Any, gamma: Any) -> Any:
    """||R c||_2 (M,) with c and the sums in twice the working precision (Dot2), for R (k, m).

    Error at most u |result| + 2 (m + 4)^2 u^2 sum_j ||R_j|| |c_j|, u doubled for complex numbers; some 25 flops for each
    product. Source: Ogita, Rump, Oishi, SIAM J. Sci. Comput. 26 (2005) 1955-1988.
    """
    xp = namespace(theta, phi, gamma)
    heads, tails = _compensated_coefficients(xp, theta, phi, gamma)
    parts = [factor] if not xp.isdtype(factor.dtype, "complex floating") else [xp.real(factor), xp.imag(factor)]
    # rows of pairs, as if R were real: (re, im) of the result from (re, im) of c
    sums: list[list[Any]] = [[None, None], [None, None]]
    for a, f in enumerate(parts):
        for b, (head, tail) in enumerate(zip(heads, tails, strict=True)):
            to, sign = (a + b) % 2, -1.0 if a == b == 1 else 1.0
            high, low = sums[to]
            for j in range(f.shape[1]):
                column = sign * f[:, j]
                product, error = _two_product(head[:, j : j + 1], column[None, :])
                error = error + tail[:, j : j + 1] * column[None, :]
                if high is None:
                    high, low = product, error
                else:
                    high, rest = _two_sum(high, product)
                    low = low + (rest + error)
            sums[to] = [high, low]
    squares = [xp.sum((high + low) ** 2, axis=1) for high, low in sums if high is not None]
    return xp.sqrt(squares[0] + squares[1] if len(squares) == 2 else squares[0])


def _compensated_coefficients(xp: Any, theta: Any, phi: Any, gamma: Any) -> tuple[list[Any], list[Any]]:
    """c as real and, if it is complex, imaginary parts (M, m), and what each lacks."""
    dtype = xp.result_type(theta.dtype, phi.dtype, gamma.dtype)
    count = theta.shape[0]
    if not xp.isdtype(dtype, "complex floating"):
        head, tail = _two_product(-gamma[:, :, None], theta[:, None, :])
        return (
            [xp.concat([phi, xp.reshape(head, (count, -1))], axis=1)],
            [xp.concat([xp.zeros_like(phi), xp.reshape(tail, (count, -1))], axis=1)],
        )
    theta, phi, gamma = (xp.astype(a, dtype) for a in (theta, phi, gamma))
    gr, gi = (-part(gamma)[:, :, None] for part in (xp.real, xp.imag))
    tr, ti = (part(theta)[:, None, :] for part in (xp.real, xp.imag))
    heads, tails = [], []
    for part, (a, b), (c, d) in ((xp.real, (gr, tr), (-gi, ti)), (xp.imag, (gr, ti), (gi, tr))):
        p, e = _two_product(a, b)
        q, f = _two_product(c, d)
        s, r = _two_sum(p, q)
        s, r = _two_sum(s, r + (e + f))
        heads.append(xp.concat([part(phi), xp.reshape(s, (count, -1))], axis=1))
        tails.append(xp.concat([xp.zeros_like(part(phi)), xp.reshape(r, (count, -1))], axis=1))
    return heads, tails


def _two_sum(a: Any, b: Any) -> tuple[Any, Any]:
    """s + e = a + b exactly (Knuth)."""
    s = a + b
    t = s - a
    return s, (a - (s - t)) + (b - t)


def _two_product(a: Any, b: Any) -> tuple[Any, Any]:
    """p + e = a b exactly (Dekker, with Veltkamp's split into halves of the mantissa)."""
    xp = namespace(a)
    bits = 1 - round(math.log2(float(xp.finfo(a.dtype).eps)))  # 53 or 24
    split = float(2 ** (bits - bits // 2) + 1)
    p = a * b
    a1, b1 = a * split, b * split
    a1, b1 = a1 - (a1 - a), b1 - (b1 - b)
    a2, b2 = a - a1, b - b1
    return p, ((a1 * b1 - p) + a1 * b2 + a2 * b1) + a2 * b2
