"""A cross approximation under construction: its norm, and its residual in any row, column or entry."""

from __future__ import annotations

from typing import Any

import numpy as np

from lowrank.arrays import beside, conj, device, namespace, to_numpy
from lowrank.dense import norm
from lowrank.entries import Entries

__all__ = ["NOISE", "GrowingCross"]

#: A row is round-off below this many times its noise: with 4 partial pivoting takes a cross too many of every third
#: matrix of exact rank, with 16 it stops short in single precision.
NOISE = 8.0


class GrowingCross:
    """The sum A_k = sum_l c_l u_l of crosses of a matrix A that is read on demand, and the residual R = A - A_k.

    Rows and columns are `closed` where R is zero: those of the crosses, and rows in which only round-off was found.
    """

    def __init__(self, source: Entries, like: Any) -> None:
        m, n = source.shape
        self.source = source
        self.xp, self.like = namespace(like), like
        self.row_indices: list[int] = []
        self.column_indices: list[int] = []
        self.pivots: list[Any] = []
        self.norms: list[float] = []  # ||c_l|| ||u_l||
        self.total = [0.0]  # ||A_k||_F
        self._open = np.ones(m, dtype=bool)
        self.open_rows, self.open_columns = self._ones(m), self._ones(n)  # 1 where open, 0 where closed
        self._c, self._u = self._empty(16, m), self._empty(16, n)  # rows c_l, u_l
        self._sizes: list[float] = []  # max |A[i_l, :]|

    @property
    def rank(self) -> int:
        """Number of crosses k."""
        return len(self.pivots)

    @property
    def c(self) -> Any:
        """The columns so far, C^T (k, m)."""
        return self._c[: self.rank, :]

    @property
    def u(self) -> Any:
        """The rows so far, U (k, n)."""
        return self._u[: self.rank, :]

    def rows(self, i: np.ndarray, a: Any = None) -> tuple[Any, np.ndarray, np.ndarray]:
        """Return R[i, :] (b, n), max |A[i, :]| (b,), and the size of round-off in each row, in units of u (b,).

        Entry (i, j) is a difference of k + 1 numbers, rounded with errors that are taken as independent: of A[i, j] and
        of c_l[i] u_l[j], where u_l is known to u times the row of A that it comes from. `a` is A[i, :], if it was read
        before.
        """
        xp = self.xp
        a = self.source.rows(i) if a is None else a
        sizes = to_numpy(xp.max(xp.abs(a), axis=1)).astype(float)
        if not self.rank:
            return a * self.open_columns, sizes, sizes
        c = self._of_rows(i)
        return (a - c @ self.u) * self.open_columns, sizes, self._noise(c, sizes)

    def is_noise(self, i: int, largest: float, size: float, u: float) -> bool:
        """Return whether entries up to `largest` in row i of R are round-off; `size` is max |A[i, :]|."""
        return largest <= NOISE * u * float(self._noise(self._of_rows(np.array([i])), np.array([size]))[0])

    def column(self, j: int) -> Any:
        """Return the column R[:, j] (m,)."""
        a = self.source.columns(np.array([j]))[:, 0]
        return (a - self.u[:, j] @ self.c if self.rank else a) * self.open_rows

    def lines(self, i: np.ndarray, axis: int) -> tuple[Any, Any]:
        """Return the rows A[i, :] and R[i, :] (b, n) for axis 0, the columns (m, b) for axis 1."""
        xp, source, index = self.xp, self.source, beside(i, self.like)
        if axis == 0:
            a = source.rows(i)
            return a, a - xp.take(self.c, index, axis=1).T @ self.u
        a = source.columns(i)
        return a, a - self.c.T @ xp.take(self.u, index, axis=1)

    def entries(self, i: np.ndarray, j: np.ndarray) -> tuple[Any, Any]:
        """Return the entries A[i_k, j_k] and R[i_k, j_k] (b,)."""
        xp = self.xp
        a = self.source.entries(i, j)
        c, u = (xp.take(f, beside(k, self.like), axis=1) for f, k in ((self.c, i), (self.u, j)))
        return a, a - xp.sum(c * u, axis=0)

    def _of_rows(self, i: np.ndarray) -> Any:
        """Return the rows c_l[i] (b, k) of C."""
        if len(i) == 1:
            return self.c[:, int(i[0])][None, :]
        return self.xp.take(self.c, beside(i, self.like), axis=1).T

    def _noise(self, c: Any, sizes: np.ndarray) -> np.ndarray:
        """Return the sizes as round-off that :meth:`rows` tells, for the rows c_l[i] (b, k) of C."""
        terms = np.concatenate([sizes[:, None], np.abs(to_numpy(c)).astype(float) * np.array(self._sizes)], axis=1)
        largest = np.max(terms, axis=1)
        scale = np.where(largest > 0, largest, 1.0)  # squares neither overflow nor vanish
        return scale * np.linalg.norm(terms / scale[:, None], axis=1)

    def append(self, i: int, j: int, row: Any, column: Any, size: float) -> Any:
        """Append the cross of a row and a column of R that meet in (i, j); return c (m,).

        size : max |A[i, :]|
        """
        c = column / row[j]
        c[i] = 1.0  # which division does not promise
        self.add(i, j, c, row, size)
        return c

    def add(self, i: int, j: int, c: Any, row: Any, size: float) -> None:
        """Append a cross whose column is divided by the pivot already."""
        k = self.rank
        if k == self._c.shape[0]:
            self._c, self._u = self._grown(self._c), self._grown(self._u)
        self._update_norm(c, row)
        self._c[k, :], self._u[k, :] = c, row
        self.close(i)
        self.open_columns[j] = 0.0
        self.row_indices.append(i)
        self.column_indices.append(j)
        self.pivots.append(to_numpy(row[j])[()])
        self._sizes.append(size)

    def close(self, i: int) -> None:
        """Look for no pivot in row i any more."""
        self.open_rows[i] = 0.0
        self._open[i] = False

    def is_open(self, i: int) -> bool:
        """Return whether a pivot may be looked for in row i."""
        return bool(self._open[i])

    def list_open_rows(self) -> np.ndarray:
        """Return the indices of the open rows."""
        return np.flatnonzero(self._open)

    def list_unconnected(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the open rows that are zero in all columns read, and the columns that are zero in all rows read.

        No cross leads to where these meet.
        """
        rows, columns = (np.flatnonzero(~to_numpy(self.xp.any(f != 0, axis=0))) for f in (self.c, self.u))
        return rows[self._open[rows]], columns

    def truncate(self, rank: int) -> None:
        """Forget the crosses after the first `rank`."""
        for history in (self.row_indices, self.column_indices, self.pivots, self.norms, self._sizes):
            del history[rank:]
        del self.total[rank + 1 :]

    def factors(self) -> tuple[Any, Any]:
        """Return C (m, k) and U (k, n), without the room to grow."""
        return self.xp.asarray(self.c, copy=True).T, self.xp.asarray(self.u, copy=True)

    def _update_norm(self, c: Any, u: Any) -> None:
        """Update the norm of A_k by a cross, without overflow.

        ||A_k + c u||^2 = ||A_k||^2 + ||c||^2 ||u||^2 + 2 Re sum_l (c_l^H c) (u_l^H u).
        """
        size_c, size_u = norm(c), norm(u)
        size, before = size_c * size_u, self.total[-1]
        self.norms.append(size)
        scale = max(size, before)
        mixed = 0.0
        if self.rank:
            left, right = (to_numpy(f @ conj(x / s)) for f, x, s in ((self.c, c, size_c), (self.u, u, size_u)))
            mixed = 2 * float(np.sum((left.astype(complex) / scale * right).real)) * (size / scale)
        self.total.append(scale * max((before / scale) ** 2 + (size / scale) ** 2 + mixed, 0.0) ** 0.5)

    def _ones(self, size: int) -> Any:
        return self.xp.ones(size, dtype=self.like.dtype, device=device(self.like))

    def _empty(self, rows: int, size: int) -> Any:
        return self.xp.empty((rows, size), dtype=self.like.dtype, device=device(self.like))

    def _grown(self, factor: Any) -> Any:
        k, size = factor.shape
        grown = self._empty(k + k // 2, size)
        grown[:k, :] = factor
        return grown
