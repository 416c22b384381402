"""How many eigenvalues of a Hermitian matrix are negative: the signs of its pivots, and what rounding leaves open.

By Sylvester's law L D L^H has as many negative eigenvalues as D has negative pivots. The computed factors are those of
a matrix *near* H. How near is known from the factors themselves. With unit lower triangular L, U = D (L^H + F), D real,
the computed factors of H,

    H = L U + E = L D L^H + L D F + E,      |E| <= g |L| |U|,

g = (k + 2) u / (1 - (k + 2) u) for rows of k entries (standard model of floating-point arithmetic, any order of
summation, elimination and panels; four times k for complex numbers), and F, the asymmetry of the elimination, is
measured. Hence with
e >= ||E|| + ||L D F|| the number c of negative pivots is enclosed by the matrix given:

    (number of negative eigenvalues of H + e I)  <=  c  <=  (number of those of H - e I).

Norms are bounded by (max row sum x max column sum)^{1/2}, which takes products of sparse matrices with a vector only.

Sources: Higham, Accuracy and Stability of Numerical Algorithms, 2nd ed. (2002), theorems 9.3 and 10.3; Rump, BIT 46
(2006) 433-452.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import scipy.linalg
import scipy.sparse as sp

from rbm.solvers.factorization import symmetric_lu
from rbm.solvers.graph import elimination

__all__ = ["ROUNDED_UP", "Inertia", "growth", "inertia"]

#: Matrices smaller than this are not decided: their products leave the range of normal numbers.
SMALLEST = 1e-200
#: Room for the rounding of the sums that make a bound, which are sums of positive numbers.
ROUNDED_UP = 1 + 2.0**-20


class Inertia(NamedTuple):
    """The number c of negative pivots of H, and e: H + e I has at most c negative eigenvalues, H - e I at least c."""

    negative: int
    error: float


def inertia(matrix: Any, order: np.ndarray | None = None) -> Inertia | None:
    """Return the number of negative pivots of H, and the shift within which it is that of negative eigenvalues.

    None if the elimination broke down: a pivot was zero, rows were exchanged, or numbers left their range (a largest
    entry below 1e-200, too). H shifted by
    a little is then another matrix to try.

    matrix : H (n, n), exactly Hermitian, sparse or dense, in balanced units
    order : of elimination (n,); the one of least fill by default

    Cost: one factorisation, and a few products with its factors.
    """
    largest = abs(matrix).max() if min(matrix.shape) else 0.0
    if 0 < largest < SMALLEST:
        return None
    if not sp.issparse(matrix):
        return _dense(matrix)
    wide = None
    if order is not None:
        wide = elimination(sp.csr_array(matrix)).wide  # of this pattern, which is known, and not of the reordered one
        matrix = sp.csc_array(sp.csr_array(matrix)[order][:, order])
    try:
        lu = symmetric_lu(matrix, "MMD_AT_PLUS_A" if order is None else "NATURAL", wide)
    except RuntimeError:
        return None
    lower, upper = lu.L, lu.U
    pivots = upper.diagonal().real
    # rows must not have been exchanged against the columns, else the pivots are not those of a symmetric elimination
    if not (np.array_equal(lu.perm_r, lu.perm_c) and np.all(pivots != 0) and np.all(np.isfinite(upper.data))):
        return None
    one, size, above = np.ones(len(pivots)), abs(lower), abs(upper)
    skew = abs(upper - sp.diags_array(pivots) @ lower.conj().T)  # D F, up to its own rounding 2 u |D| |L|^H
    pivots_size, sums, rounding = np.abs(pivots), size.T @ one, 2 * _unit(matrix)
    of_rows = growth(np.bincount(lower.indices, minlength=len(one)), matrix)
    of_columns = growth(np.diff(upper.indptr), matrix)
    rows = of_rows * (size @ (above @ one)), size @ (skew @ one + rounding * pivots_size * sums)
    columns = of_columns * (above.T @ sums), skew.T @ sums + rounding * (size @ (pivots_size * sums))
    error = ROUNDED_UP * sum(float(np.sqrt(r.max()) * np.sqrt(c.max())) for r, c in zip(rows, columns, strict=True))
    return Inertia(int(np.count_nonzero(pivots < 0)), error) if np.isfinite(error) else None


def _dense(matrix: np.ndarray) -> Inertia | None:
    """Return the same by LAPACK's H = L D L^H with blocks of one or two; what the product leaves of H is measured."""
    try:
        lower, blocks, _ = scipy.linalg.ldl(matrix, hermitian=True)
    except (np.linalg.LinAlgError, ValueError):
        return None
    diagonal, below = blocks.diagonal().real, np.append(np.abs(np.diag(blocks, -1)), 0.0)
    paired = below > 0
    second = np.append(False, paired[:-1])
    # a block of two has one eigenvalue of each sign: its determinant is negative by a margin that rounding cannot hide
    product = diagonal * np.append(diagonal[1:], 0.0)
    if np.any(paired & ~(product < 0.9 * below**2)) or np.any((diagonal == 0) & ~paired & ~second):
        return None
    negative = int(np.count_nonzero(paired) + np.count_nonzero((diagonal < 0) & ~paired & ~second))
    size = np.abs(lower)
    of_product = size @ (np.abs(blocks) @ size.T)
    left = np.abs(matrix - lower @ (blocks @ lower.conj().T))
    sums = (left + growth(np.array([2 * len(matrix) + 4]), matrix) * of_product + 2 * _unit(matrix) * left).sum(axis=1)
    error = ROUNDED_UP * float(sums.max())
    return Inertia(negative, error) if np.isfinite(error) else None


def _unit(matrix: Any) -> float:
    """Return u, four times that for complex numbers, whose products are sums."""
    return (4 if np.iscomplexobj(matrix) else 1) * float(np.finfo(float).eps) / 2


def growth(terms: np.ndarray, matrix: Any) -> np.ndarray:
    """Return g = (k + 2) u / (1 - (k + 2) u) for sums of k terms."""
    small = (terms + 2) * _unit(matrix)
    return small / (1 - small)
