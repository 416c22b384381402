"""The triangular factors of many small QR factorisations at once, for arrays on a device."""

from __future__ import annotations

from typing import Any

import numpy as np

from lowrank.arrays import conj, is_complex, namespace

__all__ = ["triangles"]

#: Columns of a panel: they are reflected one by one, then the columns to their right all at once.
PANEL = 8
#: Columns up to this many times the smallest normal number are multiplied by it first.
SMALL = 2.0**60


def triangles(matrices: Any) -> Any:
    """Return R (M, n, n) of the QR factorisations of `matrices` (M, k, n), k >= n.

    Each row is determined up to a factor of modulus one. NumPy arrays are factorised by LAPACK, others by Householder
    reflections H_j = I - beta_j v_j v_j^H, v_j = x/|x| + (x_1/|x_1|) e_1, beta_j = 1/(1 + |x_1|/|x|), which make x, the
    j-th column below the diagonal, a multiple of e_1. They are gathered in panels, H_1 ... H_b = I - V T V^H (Schreiber
    and Van Loan 1989), so that most of the work is products of matrices, each for all M: about 2 k n^2 - 2 n^3/3 flops
    per matrix, four times as many for complex numbers. The batched factorisation that CuPy's library has gives each
    matrix to one block of threads and is slower by far for matrices of this size.

    A column of zeros stays as it is. Norms are taken of columns over their largest entry, so that none leaves the range
    of numbers.
    """
    if isinstance(matrices, np.ndarray):
        return np.linalg.qr(matrices, mode="r")
    xp = namespace(matrices)
    rest = xp.asarray(matrices, copy=True)
    count, _, n = rest.shape
    rows = []  # finished rows of the triangle, one array per panel
    for start in range(0, n, PANEL):
        width = min(PANEL, n - start)
        block, right = rest[:, :, :width], rest[:, :, width:]
        vectors, compact = _reflected(xp, block)
        if right.shape[2]:
            right = right - vectors @ (_adjoint(xp, compact) @ (_adjoint(xp, vectors) @ right))
        done = xp.concat([block[:, :width, :], right[:, :width, :]], axis=2)
        if start:
            done = xp.concat([xp.zeros((count, width, start), dtype=rest.dtype, device=rest.device), done], axis=2)
        rows.append(done)
        rest = right[:, width:, :]
    return xp.triu(xp.concat(rows, axis=1))


def _reflected(xp: Any, block: Any) -> tuple[Any, Any]:
    """Return V (M, k, b) and T (M, b, b) of the reflections that make `block` (M, k, b) upper triangular, in place."""
    count, _, b = block.shape
    vectors = xp.zeros_like(block)
    compact = xp.zeros((count, b, b), dtype=block.dtype, device=block.device)
    for j in range(b):
        v, beta = _reflection(xp, block[:, j:, j])
        vectors[:, j:, j] = v
        row = conj(v)[:, None, :]
        block[:, j:, j:] = block[:, j:, j:] - v[:, :, None] * (beta[:, None, None] * (row @ block[:, j:, j:]))
        if j:
            products = _adjoint(xp, row @ vectors[:, j:, :j])  # V^H v
            compact[:, :j, j] = -beta[:, None] * (compact[:, :j, :j] @ products)[:, :, 0]
        compact[:, j, j] = beta
    return vectors, compact


def _reflection(xp: Any, x: Any) -> tuple[Any, Any]:
    """Return v (M, k) and beta (M,) for the columns x (M, k); both are zero for a column of zeros."""
    top = xp.max(xp.abs(x), axis=1)
    low = top < SMALL * float(xp.finfo(x.dtype).smallest_normal)
    raised = xp.where(low, xp.ones_like(top) * SMALL, xp.ones_like(top))
    # complex division takes reciprocals, which may not exist
    x, top = x * xp.astype(raised, x.dtype)[:, None], top * raised
    x = x / xp.astype(xp.where(top > 0, top, xp.ones_like(top)), x.dtype)[:, None]
    squares = xp.real(x) ** 2 + xp.imag(x) ** 2 if is_complex(x) else x * x
    norm = xp.sqrt(xp.sum(squares, axis=1))
    safe = xp.where(norm > 0, norm, xp.ones_like(norm))
    x = x / xp.astype(safe, x.dtype)[:, None]
    size = xp.abs(x[:, 0])
    one = xp.ones_like(size)
    phase = xp.where(size > 0, x[:, 0] / xp.astype(xp.where(size > 0, size, one), x.dtype), xp.astype(one, x.dtype))
    x[:, 0] = x[:, 0] + phase
    beta = xp.where(norm > 0, 1 / (1 + size), xp.zeros_like(size))
    return x, xp.astype(beta, x.dtype)


def _adjoint(xp: Any, a: Any) -> Any:
    return conj(xp.matrix_transpose(a))
