"""What a Cholesky factorisation of another library proves: that H + e I is positive semi-definite.

A factorisation that meets positive pivots only is that of a matrix near H, R^H R = H - E. With k_i entries in row i of
the factor L = R^H, sums in any order, and the standard model of floating-point arithmetic

    |E_ij| <= g_ij sum_k |r_ki| |r_kj| <= (g_i rho_i^2)^{1/2} (g_j rho_j^2)^{1/2},
    g_i = (k_i + 6) u / (1 - (n + 6) u),

as entry (i, j) is a sum over the columns that both rows have, g_ij <= min(g_i, g_j). The diagonal of the same identity
bounds the length of a row, rho_i^2 = h_ii - E_ii <= h_ii / (1 - g). The matrix on the right has rank one, hence

    ||E||_2 <= sum_i g_i rho_i^2 <= (u / c) (nnz(L) max_i h_ii + 6 trace(H)),    c = 1 - 2 (n + 6) u,

and 4 u in place of u for complex numbers. Nothing of the factor is needed but how many entries it has, which libraries
report; where one does not, n^2 / 2 will do. In balanced units e is about nnz(L) u: 2e-9 for 64 000 unknowns in space.

Assumed of the library, which is not checked: products and triangular solves are sums of products in some order (not
Strassen's, no inverted blocks), pivots are not perturbed without notice, and what it reports is true.

Sources: Higham, Accuracy and Stability of Numerical Algorithms, 2nd ed. (2002), theorems 10.3 and 10.5 (Demmel); Rump,
BIT 46 (2006) 433-452.
"""

from __future__ import annotations

from typing import Any

import numpy as np

__all__ = ["cholesky_error"]

#: Matrices with a largest diagonal entry outside are not decided: their products leave the range of normal numbers.
RANGE = 1e-200, 1e200
#: Roundings of an entry beyond those of its sum: division, root, the scaling of an L D L^H.
OTHERS = 6


def cholesky_error(matrix: Any, entries: float | None = None) -> float | None:
    """Return e >= 0 with H + e I positive semi-definite, for an H whose Cholesky factorisation has gone through.

    None if the numbers are out of range, or H is so large that nothing is proved.

    matrix : H (n, n), exactly Hermitian, sparse
    entries : of the factor L, its diagonal included, or more; n (n + 1) / 2 by default
    """
    n = matrix.shape[0]
    diagonal = matrix.diagonal().real
    largest = float(diagonal.max(initial=0.0))
    if not RANGE[0] < largest < RANGE[1]:
        return None
    unit = (4 if np.iscomplexobj(matrix) else 1) * float(np.finfo(float).eps) / 2
    full = n * (n + 1) / 2
    entries = full if entries is None else min(float(entries), full)
    share = 1 - 2 * (n + OTHERS) * unit
    if not share > 0:
        return None
    sums = entries * largest + OTHERS * float(np.abs(diagonal).sum())
    return unit / share * sums * (1 + 2.0**-20)
