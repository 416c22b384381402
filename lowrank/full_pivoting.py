"""Full pivoting: Gaussian elimination with complete pivoting, stopped at a tolerance or at round-off."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from scipy.linalg import blas

from lowrank.arrays import namespace, to_numpy, unit_roundoff
from lowrank.cross_result import CrossApproximation
from lowrank.dense import norm
from lowrank.matrix import ErrorEstimate

__all__ = ["PLATEAU", "SATURATION", "TRUSTED", "WINDOW", "dense_residual", "eliminate", "saturated_rank"]

#: The residual is round-off once its largest entry is below this many u times the largest entry of the matrix,
SATURATION = 4.0
#: or below this many and no longer falling: by less than a quarter in the last WINDOW crosses (if no tolerance above
#: TRUSTED u was asked for). Entries that were computed carry rounding errors of their own; cos(60 x) for instance has a
#: plateau at 130 u.
PLATEAU = 300.0
WINDOW = 10
TRUSTED = 100.0


def eliminate(matrix: Any, rtol: float | None, rank: int | None) -> CrossApproximation:
    """Crosses at the largest entries of the residual, until max |R| <= rtol max |A|. See :func:`lowrank.cross_approximation`."""
    m, n = matrix.shape
    limit = min(m, n) if rank is None else min(rank, m, n)
    residual = dense_residual(matrix)
    columns: list[Any] = []
    rows: list[Any] = []
    row_indices: list[int] = []
    column_indices: list[int] = []
    pivots: list[Any] = []
    history: list[float] = []
    stopped: Literal["tolerance", "rank", "round-off"] = "rank"
    u = unit_roundoff(matrix)
    while True:
        i, j, pivot = residual.largest() if m * n else (0, 0, 0.0)
        history.append(abs(pivot))
        if (keep := saturated_rank(history, u, rtol)) is not None:
            stopped = "round-off"
            break
        if rtol is not None and history[-1] <= rtol * history[0]:
            stopped = "tolerance"
            break
        if len(pivots) == limit:
            break
        column, row = residual.eliminate(i, j, pivot)
        columns.append(column)
        rows.append(row)
        row_indices.append(i)
        column_indices.append(j)
        pivots.append(pivot)
    xp = namespace(matrix)
    r = keep if keep is not None else len(pivots)
    dropped = residual.array  # with the crosses taken on a plateau: the residual of those that are kept
    if r < len(pivots):
        dropped = dropped + xp.stack(columns[r:], axis=1) @ xp.stack(rows[r:])
    return CrossApproximation(
        xp.stack(columns[:r], axis=1) if r else xp.zeros((m, 0), dtype=matrix.dtype),
        xp.stack(rows[:r]) if r else xp.zeros((0, n), dtype=matrix.dtype),
        np.array(row_indices[:r], dtype=int),
        np.array(column_indices[:r], dtype=int),
        np.array(pivots[:r], dtype=complex if np.iscomplexobj(pivots) else float),
        np.array(history[: r + 1]),
        stopped,
        ErrorEstimate(norm(dropped), 0.0),
        norm(matrix),
        m * n,
    )


def saturated_rank(history: Sequence[float], u: float, rtol: float | None) -> int | None:
    """Rank to keep if the residuals `history` (max |R_k|, k = 0..r) have arrived at round-off, None if they have not."""
    r, level = len(history) - 1, history[0] * u
    if history[-1] <= SATURATION * level:
        return r
    if rtol is not None and rtol > TRUSTED * u:
        return None
    if history[-1] <= PLATEAU * level and r > WINDOW and history[-1] > 0.75 * history[-1 - WINDOW]:
        return next(k for k, h in enumerate(history) if h <= 2 * history[-1])
    return None


class _Residual:
    """R, held as one array of the matrix's module."""

    def __init__(self, matrix: Any) -> None:
        self.xp = namespace(matrix)
        self.array = self.xp.asarray(matrix, copy=True)

    def largest(self) -> tuple[int, int, Any]:
        """Position and value of the entry of largest modulus."""
        xp = self.xp
        position = int(xp.argmax(xp.reshape(xp.abs(self.array), (-1,))))
        i, j = divmod(position, self.array.shape[1])
        return i, j, to_numpy(self.array[i, j])[()]

    def eliminate(self, i: int, j: int, pivot: Any) -> tuple[Any, Any]:
        """R <- R - c u; returns c = R[:, j] / pivot and u = R[i, :]."""
        xp = self.xp
        column = self.array[:, j] / self.array[i, j]
        column[i] = 1.0  # which complex division does not promise
        row = xp.asarray(self.array[i, :], copy=True)
        self.array -= column[:, None] * row[None, :]
        self.array[i, :] = 0.0
        self.array[:, j] = 0.0
        return column, row


class _RealNumPyResidual(_Residual):
    """The same through BLAS, in place: one rank-one update and one search, a single pass over memory each."""

    def __init__(self, matrix: np.ndarray) -> None:
        self.array = np.array(matrix, order="F")
        self.ger, self.amax = (blas.dger, blas.idamax) if self.array.dtype == np.float64 else (blas.sger, blas.isamax)

    def largest(self) -> tuple[int, int, Any]:
        j, i = divmod(int(self.amax(self.array.ravel(order="K"))), self.array.shape[0])
        return i, j, self.array[i, j]

    def eliminate(self, i: int, j: int, pivot: Any) -> tuple[Any, Any]:
        column = self.array[:, j] / pivot
        row = self.array[i, :].copy()
        self.array = self.ger(-1.0, column, row, a=self.array, overwrite_a=True)
        self.array[i, :] = 0.0  # exact but for an overflow in column * row
        self.array[:, j] = 0.0
        return column, row


def dense_residual(matrix: Any) -> _Residual:
    """R = A to begin with, of which crosses are taken in place, in a copy."""
    if isinstance(matrix, np.ndarray) and matrix.dtype in (np.dtype(np.float64), np.dtype(np.float32)):
        return _RealNumPyResidual(matrix)
    return _Residual(matrix)
