"""The definition of the online stage in plain array operations, batched over parameter points.

It follows the array API standard, so that the arrays decide where it runs: with NumPy arrays it is the oracle of the
compiled kernels, and with CuPy arrays the kernel of the GPU, by batched library calls.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from lowrank.arrays import beside, namespace, numpy_dtype, to_numpy
from rbm.arithmetic.extended import split_product, two_sum
from rbm.errors import ModelError, refused
from rbm.online.chunks import tiles
from rbm.online.triangles import triangles

__all__ = [
    "compensated_norm", "compensated_product", "compensated_sums",
    "compensated_vectors", "products", "residual_coefficients", "solve",
    "where_present",
]  # fmt: skip


def solve(operators: Any, rhs: Any, theta: Any, phi: Any) -> Any:
    """Return gamma (M, N), the solutions of sum_q theta_q A_q gamma = sum_q phi_q f_q.

    operators : (Qa, k, N); rhs : (Qf, k); theta : (M, Qa); phi : (M, Qf)

    Square systems (Galerkin, k = N) are solved by LU with partial pivoting, tall ones (least squares, k > N) by
    Householder QR of [A | f], never by normal equations. Cost per point: 2 Qa N^2 + 2/3 N^3 flops, and
    2 Qa k N + 2 k N^2 for tall systems; four times that for complex numbers.

    On a device all matrices of a tile are solved by one call (CuPy: getrfBatched, getrsBatched); tall ones are
    factorised by a few calls for each column.

    Raises ModelError with the rows of singular systems, where the library reports them (NumPy); CuPy gives NaN or
    infinity.
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


def _singular(matrices: Any) -> np.ndarray:
    """Return which of the matrices (M, N, N) are singular to working precision, at least one of them."""
    values = np.linalg.svd(to_numpy(matrices), compute_uv=False)
    ratio = values[:, -1] / np.where(values[:, 0] > 0, values[:, 0], 1.0)
    return ratio <= max(matrices.shape[1] * float(np.finfo(values.dtype).eps), float(ratio.min()))


def residual_coefficients(theta: Any, phi: Any, gamma: Any) -> Any:
    """Return c (M, m), m = Qf + N Qa, with which the residual is r = W c.

    c = (phi_1..phi_Qf, then for n = 1..N: -gamma_n theta_1 .. -gamma_n theta_Qa), with the columns of W in the same
    order, so that the first N' basis vectors use the leading Qf + N' Qa entries.
    """
    xp = namespace(theta, phi, gamma)
    dtype = xp.result_type(theta.dtype, phi.dtype, gamma.dtype)  # phi may be complex where gamma is real
    theta, phi, gamma = (xp.astype(a, dtype) for a in (theta, phi, gamma))
    products = xp.reshape(-(gamma[:, :, None] * theta[:, None, :]), (theta.shape[0], gamma.shape[1] * theta.shape[1]))
    return xp.concat([phi, products], axis=1)


def where_present(theta: Any, phi: Any, gamma: Any, norms: np.ndarray, floor: Any) -> Any:
    """Return `floor` (M,) where the residual has a term that is not zero, and 0 where it has none.

    It has none where phi_q f_q = 0 for all q and gamma_n theta_q A_q z_n = 0 for all n and q. The numbers themselves
    decide, not their products, which underflow to 0 below 1e-308.

    norms : (m,), those of the columns of W
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
    """Return ||R c||_2 (M,) with c and the sums in twice the working precision (Dot2), for R (k, m).

    Error at most u |result| + 2 (m + 4)^2 u^2 sum_j ||R_j|| |c_j|, u doubled for complex numbers. Cost: some 25 flops
    for each product.

    Source: Ogita, Rump, Oishi, SIAM J. Sci. Comput. 26 (2005) 1955-1988.
    """
    xp = namespace(theta, phi, gamma)
    return _root_of_squares(xp, _compensated_parts(xp, factor, *_compensated_coefficients(xp, theta, phi, gamma)))


def compensated_sums(factor: Any, heads: Any, tails: Any) -> Any:
    """Return ||R (heads + tails)||_2 (M,) in the same way, for coefficients (M, m) that are known as pairs."""
    xp = namespace(heads)
    if not xp.isdtype(heads.dtype, "complex floating"):
        return _root_of_squares(xp, _compensated_parts(xp, factor, [heads], [tails]))
    heads, tails = ([xp.real(a), xp.imag(a)] for a in (heads, tails))
    return _root_of_squares(xp, _compensated_parts(xp, factor, heads, tails))


def compensated_vectors(factor: Any, heads: Any, tails: Any) -> Any:
    """Return R (heads + tails) (M, k) in the same way, each entry rounded once."""
    xp = namespace(heads)
    is_complex = xp.isdtype(heads.dtype, "complex floating")
    pairs = ([xp.real(a), xp.imag(a)] if is_complex else [a] for a in (heads, tails))
    parts = _compensated_parts(xp, factor, *pairs)
    return parts[0] + 1j * parts[1] if len(parts) == 2 else parts[0]


def _root_of_squares(xp: Any, parts: list[Any]) -> Any:
    squares = [xp.sum(part**2, axis=1) for part in parts]
    return xp.sqrt(squares[0] + squares[1] if len(squares) == 2 else squares[0])


def compensated_product(factor: Any, theta: Any, phi: Any, gamma: Any) -> Any:
    """Return R c (M, k), each entry summed as in :func:`compensated_norm` and rounded once."""
    xp = namespace(theta, phi, gamma)
    parts = _compensated_parts(xp, factor, *_compensated_coefficients(xp, theta, phi, gamma))
    return parts[0] + 1j * parts[1] if len(parts) == 2 else parts[0]


def _compensated_parts(xp: Any, factor: Any, heads: list[Any], tails: list[Any]) -> list[Any]:
    """Return the real and, if it has one, the imaginary part of R c (M, k).

    c (M, m) is given by the real and, if it has one, the imaginary part, each as a pair.
    """
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
                    high, rest = two_sum(high, product)
                    low = low + (rest + error)
            sums[to] = [high, low]
    return [high + low for high, low in sums if high is not None]


def _compensated_coefficients(xp: Any, theta: Any, phi: Any, gamma: Any) -> tuple[list[Any], list[Any]]:
    """Return the real and, if c is complex, imaginary parts of c (M, m), and the rounding error of each."""
    dtype = xp.result_type(theta.dtype, phi.dtype, gamma.dtype)

    def joined(of_rhs: Any, products: Any) -> Any:
        return xp.concat([of_rhs, xp.reshape(products, (theta.shape[0], -1))], axis=1)

    if not xp.isdtype(dtype, "complex floating"):
        head, tail = _two_product(-gamma[:, :, None], theta[:, None, :])
        return [joined(phi, head)], [joined(xp.zeros_like(phi), tail)]
    theta, phi, gamma = (xp.astype(a, dtype) for a in (theta, phi, gamma))
    both = _complex_product(xp, -gamma[:, :, None], theta[:, None, :])
    parts = [part(phi) for part in (xp.real, xp.imag)]
    heads = [joined(of_rhs, s) for of_rhs, (s, _) in zip(parts, both, strict=True)]
    return heads, [joined(xp.zeros_like(of_rhs), r) for of_rhs, (_, r) in zip(parts, both, strict=True)]


def products(a: Any, b: Any) -> tuple[Any, Any]:
    """Return a b as hi + lo for arrays that broadcast: exact for real numbers, to u^2 for complex ones."""
    xp = namespace(a, b)
    if not xp.isdtype(xp.result_type(a.dtype, b.dtype), "complex floating"):
        return _two_product(a, b)
    (sr, rr), (si, ri) = _complex_product(xp, a, b)
    return sr + 1j * si, rr + 1j * ri


def _complex_product(xp: Any, a: Any, b: Any) -> list[tuple[Any, Any]]:
    """Return the real and the imaginary part of a b, each as hi + lo."""
    (ar, ai), (br, bi) = ((xp.real(x), xp.imag(x)) for x in (a, b))
    made = []
    for (x, y), (v, w) in (((ar, br), (-ai, bi)), ((ar, bi), (ai, br))):
        p, e = _two_product(x, y)
        q, f = _two_product(v, w)
        s, r = two_sum(p, q)
        made.append(two_sum(s, r + (e + f)))
    return made


def _two_product(a: Any, b: Any) -> tuple[Any, Any]:
    """Return p and e with p + e = a b exactly, for real numbers of any precision."""
    bits = 1 - round(math.log2(float(namespace(a).finfo(a.dtype).eps)))  # 53 or 24
    return split_product(a, b, float(2 ** (bits - bits // 2) + 1))
