"""Solves with a positive definite matrix for several right-hand sides at a time, from the factors of SuperLU."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import scipy.sparse as sp

from rbm.online.chunks import slices
from rbm.online.threads import each, thread_count

__all__ = ["panels_of", "pays", "symmetric_solve"]

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
    for each, and panels of L in place of columns (:func:`panels_of`): docs/solvers.md. What comes out for a column does
    not depend on the others: several threads take eight columns each. Cost: 4 nnz(L) flops a column.
    """
    factor = *panels_of(sp.csc_array(sp.tril(lu.L, -1))), np.ascontiguousarray(lu.U.diagonal())
    place = np.array(lu.perm_c, dtype=np.int32)
    n = len(place)

    def solve(rhs: np.ndarray) -> np.ndarray:
        if np.iscomplexobj(rhs):
            return real(rhs.real) + 1j * real(rhs.imag)
        return real(rhs)

    def real(rhs: np.ndarray) -> np.ndarray:
        from rbm.online.kernels.triangular import WIDTH, solve_symmetric  # loads Numba

        made, columns = np.empty((rhs.shape[1], n)), np.ascontiguousarray(rhs.T, dtype=float)

        def work(some: slice) -> None:
            solve_symmetric(factor, place, columns[some], made[some], np.empty(WIDTH * n))

        count = len(made)
        each(work, slices(count, WIDTH if thread_count() > 1 else max(count, 1)))
        return made.T

    return solve


def panels_of(lower: sp.csc_array) -> tuple[np.ndarray, ...]:
    """Return L (n, n), below its diagonal, in panels of one, two or four columns that have the same rows below them.

    Elimination makes such columns: in the plane half of all entries lie in runs of ten and more, so that a pass touches
    4 / 9 of the unknowns that it would touch column by column (n = 201 613).

    Returns
    -------
    starts (panels + 1,) : the first column of each
    first_rows (panels + 1,), rows : the rows below each
    first_values (panels + 1,), values : of each panel its own rows, without what is above the diagonal, then the rows
        below it, row by row
    """
    lower.sort_indices()
    ends, rows, n = lower.indptr.astype(np.int64), lower.indices, lower.shape[0]
    lengths = np.diff(ends)
    starts = _starts(_continued(ends, rows), n)
    widths = np.diff(starts)
    below = lengths[starts[1:] - 1]
    own = widths * (widths - 1) // 2
    first_values = np.concatenate([[0], np.cumsum(own + widths * below)])
    # entry t of column c of a panel of w columns is in row c + 1 + t of the panel, or t - (w - 1 - c) below it
    panel = np.repeat(np.repeat(np.arange(len(widths)), widths), lengths)
    column = np.repeat(np.arange(n), lengths)
    c = column - starts[panel]
    t = np.arange(len(rows)) - ends[column] - (widths[panel] - 1 - c)
    r = widths[panel] + t
    place = first_values[panel] + np.where(t < 0, r * (r - 1) // 2 + c, own[panel] + t * widths[panel] + c)
    values = np.empty(len(rows))
    values[place] = lower.data
    last = starts[1:] - 1
    which = np.repeat(ends[last] - np.concatenate([[0], np.cumsum(below)[:-1]]), below) + np.arange(below.sum())
    first_rows = np.concatenate([[0], np.cumsum(below)])
    return starts.astype(np.int32), first_rows, rows[which].astype(np.int32), first_values, values


def _continued(ends: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Return (n,) which columns have the rows of the column before them, but for the first, which is their own."""
    lengths = np.diff(ends)
    same = np.zeros(len(lengths), dtype=bool)
    same[1:] = (lengths[:-1] > 0) & (lengths[1:] == lengths[:-1] - 1)
    first = np.append(rows, -1)[ends[:-1]]
    same[1:] &= first[:-1] == np.arange(1, len(lengths))
    candidates = np.flatnonzero(same)
    of = np.repeat(candidates, lengths[candidates])
    here = np.arange(len(of)) - np.repeat(np.cumsum(lengths[candidates]) - lengths[candidates], lengths[candidates])
    differs = rows[ends[of] + here] != rows[ends[of - 1] + 1 + here]
    same[of[differs]] = False
    return same


def _starts(continued: np.ndarray, n: int) -> np.ndarray:
    """Return the first columns of panels, and n: runs of alike columns are cut into fours, then a two, then a one."""
    runs = np.flatnonzero(~continued)
    sizes = np.diff(np.append(runs, n))
    size, at = np.repeat(sizes, sizes), np.arange(n) - np.repeat(runs, sizes)
    left = at - 4 * (size // 4)
    return np.append(np.flatnonzero(np.where(left < 0, at % 4 == 0, left % 2 == 0)), n)
