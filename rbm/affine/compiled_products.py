"""Products in extended precision with large matrices, by compiled code.

The numbers are those of :mod:`rbm.arithmetic.extended`. NumPy makes some ten arrays of full length for each product,
and what that costs is a third of a greedy with 100 000 unknowns beside its solves; the kernels of
:mod:`rbm.online.kernels.tall_products` make none. They are loaded where a matrix is large: small models do without.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import scipy.sparse as sp

from lowrank.panels import tall_slices
from rbm.arithmetic.columns import column_blocks, row_blocks
from rbm.arithmetic.extended import Extended, SplitMatrix, modulus, on_grid, product
from rbm.arithmetic.precision import ROUND_OFF, SMALL, column_norm_bounds, largest_entries
from rbm.arithmetic.split_columns import SplitColumns
from rbm.online.chunks import slices
from rbm.online.threads import each

__all__ = ["ResidualSizes", "TallColumns", "column_groups", "residual", "residual_sizes", "split_matrix"]

#: Multiplications from which on compiled code pays, and columns: one is faster by SciPy.
LARGE, SEVERAL = 1 << 17, 2
#: Columns that compiled code works on together.
LANES = 8
#: Columns that come together at most: matrices too small for that many stay as they are.
WIDEST = 64
#: Rows from which on tall matrices are multiplied by compiled code.
TALL = 4096


def split_matrix(matrix: Any, inner_scale: np.ndarray | None = None) -> SplitMatrix:
    """Return a matrix A (n, k) with its leading part (:class:`rbm.arithmetic.extended.SplitMatrix`).

    Products with large real sparse ones are compiled; they are the same, bit for bit.
    """
    large = sp.issparse(matrix) and matrix.dtype == float and WIDEST * matrix.nnz >= LARGE
    return _Compiled(matrix, inner_scale) if large else SplitMatrix(matrix, inner_scale)


class _Compiled(SplitMatrix):
    """A sparse matrix whose products with several columns are compiled."""

    def extended_product(self, x: np.ndarray | Extended) -> Extended:
        """Return A X (n, m) as hi + lo, as :func:`rbm.arithmetic.extended.product` does."""
        if isinstance(x, tuple) or not _pays(self.head, x):
            return super().extended_product(x)
        from rbm.online.kernels.tall_products import WIDTH, sparse_product

        shape, room = (self.shape[0], x.shape[1]), np.empty(2 * WIDTH)
        made = np.empty(shape, order="F"), np.empty(shape, order="F")
        for first, count, lanes, shift, _ in self.groups(x):
            sparse_product(self.parts, lanes, shift, first, count, *made, room)
        return made

    @property
    def parts(self) -> tuple[np.ndarray, ...]:
        """The matrix as kernels take it."""
        return self.head.indptr, self.head.indices, self.head.data, self.tail.data

    def groups(self, x: np.ndarray) -> Iterator[tuple[int, int, np.ndarray, np.ndarray, np.ndarray]]:
        """Yield eight columns of X at a time: the first, how many, X / scale in lanes, grids and largest entries."""
        from rbm.online.kernels.tall_products import WIDTH, in_lanes

        lanes = np.zeros(WIDTH * self.shape[1])
        for first in range(0, x.shape[1], WIDTH):
            count, largest = min(WIDTH, x.shape[1] - first), np.zeros(WIDTH)
            in_lanes(x, self.inner_scale, first, count, lanes, largest)
            with np.errstate(over="ignore", invalid="ignore"):
                shift = np.ldexp(1.5, np.frexp(largest)[1] - self.bits + 52)
            yield first, count, lanes, shift, largest[:count]


def _pays(matrix: Any, *columns: np.ndarray) -> bool:
    """Return True if compiled code takes a real sparse matrix and these columns (n, m), and is faster."""
    m = columns[0].shape[1]
    large = isinstance(matrix, sp.csr_array) and m >= SEVERAL and m * matrix.nnz >= LARGE
    return large and all(a.dtype == float for a in (matrix, *columns))


def column_groups(matrix: Any, *columns: np.ndarray) -> Iterator[slice]:
    """Yield columns (n, m) to be worked on together: eight where compiled code does so, else blocks of 16 MB."""
    n, m = columns[0].shape
    return iter(slices(m, LANES)) if _pays(matrix, *columns) else column_blocks(n, m)


def residual(split: SplitMatrix, w: np.ndarray, x: np.ndarray, made: np.ndarray) -> tuple[np.ndarray, ...]:
    """Write W - A X, formed in extended precision and then rounded, into `made` (n, m).

    Return the largest entries (m,) of S W, S^-1 X and S (W - A X), S = diag(split.inner_scale).
    """
    m, units = w.shape[1], split.inner_scale
    sizes = np.empty((3, m))
    if not (isinstance(split, _Compiled) and _pays(split.head, x, w, made)):
        for some in column_blocks(len(w), m):
            hi, lo = product(split, x[:, some])
            made[:, some] = (w[:, some] - hi) - lo
            of = (w[:, some] * units[:, None], x[:, some] / units[:, None], made[:, some] * units[:, None])
            sizes[:, some] = [largest_entries(part) for part in of]
        return tuple(sizes)
    from rbm.online.kernels.tall_products import WIDTH, sparse_residual

    room, largest = np.zeros(2 * WIDTH), np.zeros((2, WIDTH))
    for first, count, lanes, shift, of_x in split.groups(x):
        some = slice(first, first + count)
        sparse_residual(split.parts, lanes, shift, w, units, first, count, made, largest.ravel(), room)
        sizes[:, some] = largest[0, :count], of_x, largest[1, :count]
    return tuple(sizes)


class ResidualSizes(NamedTuple):
    """What :func:`residual_sizes` returns, (m,) each."""

    residual: np.ndarray  #: ||S (w - A y)||_2, not too small, but for the rounding of w - A y
    functional: np.ndarray  #: ||S w||_2, not too small
    vector: np.ndarray  #: ||S^-1 y||_2, not too small
    product: np.ndarray  #: |w^H y|, real part


def residual_sizes(matrix: Any, units: np.ndarray, w: np.ndarray, y: np.ndarray) -> ResidualSizes:
    """Return sizes of functionals w (n, m), of y (n, m), which solve A y ~ w, and of what they leave.

    matrix : A (n, n); units : the diagonal of S (n,). Sums of n numbers may have any order.
    """
    if _pays(matrix, w, y):
        found = _compiled_sizes(matrix, units, w, y)
        if np.all((found[:3] > SMALL) & (found[:3] < 1 / SMALL)):
            up = 1 + (len(w) + 16) * ROUND_OFF
            residual, functional, vector = up * np.sqrt(found[:3])
            return ResidualSizes(residual, functional, vector, np.abs(found[3]))
    scale = units[:, None]
    return ResidualSizes(
        column_norm_bounds((w - matrix @ y) * scale),
        column_norm_bounds(w * scale),
        column_norm_bounds(y / scale),
        np.abs(np.sum(w.conj() * y, axis=0).real),
    )


def _compiled_sizes(matrix: sp.csr_array, units: np.ndarray, w: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return the squares of the sizes (3, m), and the products."""
    from rbm.online.kernels.tall_products import WIDTH, in_lanes
    from rbm.online.kernels.tall_products import residual_sizes as kernel

    (n, m), made = w.shape, np.empty((4, w.shape[1]))
    lanes, ones, sums = np.zeros(WIDTH * n), np.ones(n), np.zeros((4, WIDTH))
    for first in range(0, m, WIDTH):
        count, scratch = min(WIDTH, m - first), np.zeros(WIDTH)
        in_lanes(y, ones, first, count, lanes, scratch)
        kernel((matrix.indptr, matrix.indices, matrix.data), lanes, w, units, first, count, sums.ravel(), scratch)
        made[:, first : first + count] = sums[:, :count]
    return made


class TallColumns(SplitColumns):
    """Columns (n, k) whose products are compiled where they are long and real."""

    def products(self, x: np.ndarray) -> Iterator[tuple[slice, np.ndarray, np.ndarray]]:
        """Yield some rows at a time of A X for X (k, m): the rows, and sums hi + lo (rows, m), not renormalised."""
        if not self._is_compiled(x):
            yield from super().products(x)
            return
        product = _TallProduct(self, x)
        for rows in row_blocks(self.columns.rows):
            hi, lo = product.rows(rows)
            yield rows, hi.T, lo.T

    def remainder(self, hi: np.ndarray, lo: np.ndarray, x: np.ndarray) -> np.ndarray:
        """Return B - A X (n, m) for B = hi + lo, formed in extended precision and then rounded; by several threads."""
        if not self._is_compiled(x) or hi.dtype != float or lo.dtype != float:
            return super().remainder(hi, lo, x)
        from rbm.online.kernels.tall_products import remainder

        made, product = np.empty(hi.shape, order="F"), _TallProduct(self, x)
        columns = np.asfortranarray(hi).T, np.asfortranarray(lo).T

        def work(some: slice) -> None:
            for block in row_blocks(some.stop - some.start):
                rows = slice(some.start + block.start, some.start + block.stop)
                remainder(*columns, rows.start, *product.rows(rows), made.T)

        each(work, tall_slices(len(made)))
        return made

    def _is_compiled(self, x: np.ndarray) -> bool:
        tall = self.columns.rows >= TALL and self.terms > 0 and x.shape[1] > 0
        return tall and self.columns.dtype == float and x.dtype == float


class _TallProduct:
    """The product A X of tall columns A (n, k) with X (k, m), some rows at a time."""

    def __init__(self, columns: TallColumns, x: np.ndarray) -> None:
        head = on_grid(x, modulus(x).max(axis=0, initial=0.0), columns.bits)
        # column by column leading part, rest and whole of each number
        split = np.stack([head, x - head, x], axis=2).transpose(1, 0, 2)
        self.width, self.parts, start = x.shape[1], list[tuple[np.ndarray, np.ndarray]](), 0
        for piece in columns.columns.pieces:
            self.parts.append((piece, split[:, start : start + piece.shape[1]].ravel()))
            start += piece.shape[1]
        with np.errstate(over="ignore", invalid="ignore"):
            self.shift = np.ldexp(1.5, np.frexp(columns.row_max)[1] - columns.bits + 52)

    def rows(self, rows: slice) -> tuple[np.ndarray, np.ndarray]:
        """Return rows of A X as hi + lo, not renormalised, transposed (m, rows)."""
        from rbm.online.kernels.tall_products import ROWS, WIDTH, tall_product

        hi, lo = np.zeros((2, self.width, rows.stop - rows.start))
        room = np.empty(2 * ROWS * (1 + max(piece.shape[1] for piece, _ in self.parts)) + 4 * WIDTH)
        for piece, of in self.parts:
            tall_product(piece.T, rows.start, self.shift[rows], of, hi, lo, room)
        return hi, lo
