"""Solves with a positive definite matrix for several right-hand sides at a time, from the factors of SuperLU."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import scipy.sparse as sp

__all__ = ["pays", "symmetric_solve"]

#: Unknowns from which on compiled code is loaded for it.
LARGE = 4096


def pays(matrix: Any) -> bool:
    """Return True for a large real matrix: compiled code solves with that three to five times faster than SuperLU."""
    return matrix.shape[0] >= LARGE and matrix.dtype == float


def symmetric_solve(lu: Any) -> Callable[[np.ndarray], np.ndarray]:
    """Return the function that solves with a real symmetric A = L D L^T for B (n, m), from SuperLU's factors of it.

    lu : of pivots on the diagonal, rows and columns in one order; L alone is kept, half of what SuperLU keeps

    U is D L^T but for rounding, which solves with L multiply: their backward error was 0.5 to 5 u where that of LU was
    0.05 to 0.1 u, on Gram matrices shifted by 1e-8 to 1e-12 (n = 4096; measured). No bound rests on that, as the
    residuals of Riesz solves are measured. Eight columns are solved with in one pass over L, where SuperLU reads U once
    for each: n = 7081, 0.10 ms a column for 0.36; n = 100 801, 2.0 ms for 9.7. What comes out for a column does not
    depend on the others. Cost: 4 nnz(L) flops a column.
    """
    lower = sp.csc_array(sp.tril(lu.L, -1))
    pattern = lower.indptr.astype(np.int32, copy=False), lower.indices.astype(np.int32, copy=False)
    factor = *pattern, lower.data, np.ascontiguousarray(lu.U.diagonal())
    place = np.array(lu.perm_c, dtype=np.int32)
    n = len(place)

    def solve(rhs: np.ndarray) -> np.ndarray:
        if np.iscomplexobj(rhs):
            return real(rhs.real) + 1j * real(rhs.imag)
        return real(rhs)

    def real(rhs: np.ndarray) -> np.ndarray:
        from rbm.online.kernels.triangular import WIDTH, solve_symmetric  # loads Numba

        made = np.empty((rhs.shape[1], n))
        if len(made):
            columns = np.ascontiguousarray(rhs.T, dtype=float)
            solve_symmetric(factor, place, columns, made, np.empty(WIDTH * n))
        return made.T

    return solve
