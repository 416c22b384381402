"""Cross approximation: a matrix from a few of its own rows and columns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from scipy.linalg import blas

from lowrank.arrays import as_matrix, namespace, to_numpy, unit_roundoff

__all__ = ["CrossApproximation", "cross_approximation"]

#: The residual is round-off once its largest entry is below this many u times the largest entry of the matrix,
SATURATION = 4.0
#: or below this many and no longer falling: by less than a quarter in the last WINDOW crosses (if no tolerance above
#: TRUSTED u was asked for). Entries that were computed carry
#: rounding errors of their own; cos(60 x) for instance has a plateau at 130 u.
PLATEAU = 300.0
WINDOW = 10
TRUSTED = 100.0


@dataclass(frozen=True)
class CrossApproximation:
    """A ~ columns @ rows, exact in the selected rows and columns. See :func:`cross_approximation`."""

    columns: Any  #: C (m, r); C[row_indices] is unit lower triangular
    rows: Any  #: U (r, n); U[:, column_indices] is upper triangular with the pivots on the diagonal
    row_indices: np.ndarray  #: (r,)
    column_indices: np.ndarray  #: (r,)
    pivots: np.ndarray  #: (r,) values of the residual at the selected entries
    residual_history: np.ndarray  #: (r + 1,) max |A - C_k U_k| for k = 0..r
    stopped: Literal["tolerance", "max_rank", "saturation"]

    @property
    def rank(self) -> int:
        """Number of crosses r."""
        return len(self.pivots)

    def to_dense(self) -> Any:
        """The approximation C @ U as an (m, n) array."""
        return self.columns @ self.rows

    def __repr__(self) -> str:
        m, n = self.columns.shape[0], self.rows.shape[1]
        return (
            f"CrossApproximation({m} x {n}, rank {self.rank}, largest residual {self.residual_history[-1]:.1e}, "
            f"stopped by {self.stopped})"
        )


def cross_approximation(matrix: Any, *, rtol: float | None = None, max_rank: int | None = None) -> CrossApproximation:
    """Cross approximation with full pivoting: Gaussian elimination with complete pivoting, stopped early.

    With R_0 = A, repeat: (i_k, j_k) = argmax |R|, c_k = R[:, j_k] / R[i_k, j_k], u_k = R[i_k, :], R <- R - c_k u_k.
    Then A = sum_k c_k u_k + R. The update makes row i_k and column j_k of R exactly zero and keeps them so; no
    row or column is ever picked twice.

    Parameters
    ----------
    matrix : A (m, n), real or complex, float32 or float64; NumPy, CuPy, ...
    rtol : stop when max |R| <= rtol max |A|; by default only round-off stops
    max_rank : largest number of crosses, min(m, n) by default

    Returns
    -------
    CrossApproximation, with `stopped`: "tolerance", "max_rank", or "saturation" when the residual is rounding errors and
    a further cross would interpolate noise: max |R| <= 4 u max |A|, or <= 300 u max |A| and less than a quarter lower than
    ten crosses before (unless rtol > 100 u, which is taken at its word). In the second case the crosses that were taken on the plateau are dropped.

    Raises
    ------
    ValueError
        NaN or infinite entries, a negative tolerance or rank.

    Notes
    -----
    Cost: r passes over A (2 m n flops and a search each). Memory: one copy of A. For a single family of functions this
    *is* the empirical interpolation method (:func:`eim.empirical_interpolation`); for blocks of a boundary element
    matrix it is ACA with full pivoting (Bebendorf, Numer. Math. 86 (2000) 565-589).

    Examples
    --------
    >>> import numpy as np
    >>> x = np.linspace(0, 1, 50)
    >>> cross_approximation(np.exp(np.outer(x, x)), rtol=1e-10)
    CrossApproximation(50 x 50, rank 7, largest residual 1.9e-11, stopped by tolerance)
    """
    matrix = as_matrix("matrix", matrix)
    check_limits(rtol, max_rank)
    m, n = matrix.shape
    limit = min(m, n) if max_rank is None else min(max_rank, m, n)
    residual = _residual(matrix)
    columns: list[Any] = []
    rows: list[Any] = []
    row_indices: list[int] = []
    column_indices: list[int] = []
    pivots: list[Any] = []
    history: list[float] = []
    stopped: Literal["tolerance", "max_rank", "saturation"] = "max_rank"
    u = unit_roundoff(matrix)
    while True:
        i, j, pivot = residual.largest() if m * n else (0, 0, 0.0)
        history.append(abs(pivot))
        if (keep := saturated_rank(history, u, rtol)) is not None:
            stopped = "saturation"
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
    rank = keep if keep is not None else len(pivots)
    return CrossApproximation(
        xp.stack(columns[:rank], axis=1) if rank else xp.zeros((m, 0), dtype=matrix.dtype),
        xp.stack(rows[:rank]) if rank else xp.zeros((0, n), dtype=matrix.dtype),
        np.array(row_indices[:rank], dtype=int),
        np.array(column_indices[:rank], dtype=int),
        np.array(pivots[:rank], dtype=complex if np.iscomplexobj(pivots) else float),
        np.array(history[: rank + 1]),
        stopped,
    )


def check_limits(rtol: float | None, max_rank: int | None) -> None:
    """Refuse tolerances and ranks that are negative or NaN."""
    if rtol is not None and not rtol >= 0:
        raise ValueError(f"rtol must be a number >= 0, got {rtol}")
    if max_rank is not None and not max_rank >= 0:
        raise ValueError(f"max_rank must be >= 0, got {max_rank}")


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


def _residual(matrix: Any) -> _Residual:
    if isinstance(matrix, np.ndarray) and matrix.dtype in (np.dtype(np.float64), np.dtype(np.float32)):
        return _RealNumPyResidual(matrix)
    return _Residual(matrix)
