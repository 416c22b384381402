"""A tall matrix that grows by columns, multiplied in about twice the working precision."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from rbm.arithmetic.columns import Columns, Store, row_blocks
from rbm.arithmetic.extended import Extended, add, longest_sum, modulus, on_grid, rounding_unit, split_bits, two_sum

__all__ = ["SplitColumns"]


class SplitColumns:
    """A dense matrix (n, k) that grows by columns, multiplied as a :class:`rbm.arithmetic.extended.SplitMatrix`.

    Only the matrix is kept: its leading parts are made while it is multiplied, of some rows at a time, which stay in
    cache. That costs a third of the product more than reading them would, and two thirds less memory.

    store : where the columns are kept (:class:`rbm.arithmetic.columns.Columns`)
    """

    def __init__(self, n: int, store: Store | None = None) -> None:
        self.columns = Columns(n, store)
        self.row_max = np.zeros(n)  #: largest entry of each row so far, which makes its grid

    @property
    def terms(self) -> int:
        """The number k of columns."""
        return self.columns.width

    @property
    def bits(self) -> int:
        """The bits that leading parts keep."""
        return split_bits(self.terms)

    def append(self, columns: np.ndarray) -> None:
        """Add columns (n, j) at the right."""
        self.columns.append(columns)
        for rows in row_blocks(len(columns)):
            largest = modulus(columns[rows]).max(axis=1, initial=0.0)
            np.maximum(self.row_max[rows], largest, out=self.row_max[rows])

    def cut(self, width: int, row_max: np.ndarray) -> None:
        """Go back to the first `width` columns, whose rows had these largest entries."""
        self.columns.cut(width)
        self.row_max = row_max

    def products(self, x: np.ndarray) -> Iterator[tuple[slice, np.ndarray, np.ndarray]]:
        """Yield some rows at a time of A X for X (k, m): the rows, and sums hi + lo (rows, m), not renormalised."""
        bits, m = self.bits, x.shape[1]
        head = on_grid(x, modulus(x).max(axis=0, initial=0.0), bits)
        both = np.concatenate([head, x - head], axis=1)
        for rows in row_blocks(self.columns.rows):
            largest, start = self.row_max[rows, None], 0
            hi = lo = np.zeros((m, len(largest)))  # without columns the product is zero
            for piece in self.columns.pieces:
                values = piece[rows]
                leading, of = on_grid(values, largest, bits), slice(start, start + values.shape[1])
                parts, tail = both[of].T @ leading.T, x[of].T @ (values - leading).T
                tail += parts[m:]
                hi, lo = (parts[:m], tail) if not start else (hi + parts[:m], lo + tail)
                start = of.stop
            yield rows, hi.T, lo.T

    def product(self, x: np.ndarray) -> Extended:
        """Return A X (n, m) as hi + lo for X (k, m), as :func:`rbm.arithmetic.extended.product`."""
        dtype, shape = np.result_type(self.columns.dtype, x), (self.columns.rows, x.shape[1])
        hi, lo = np.empty(shape, dtype, "F"), np.empty(shape, dtype, "F")
        for rows, leading, rest in self.products(x):
            hi[rows], lo[rows] = two_sum(leading, rest)
        return hi, lo

    def remainder(self, hi: np.ndarray, lo: np.ndarray, x: np.ndarray) -> np.ndarray:
        """Return B - A X (n, m) for B = hi + lo, formed in extended precision and then rounded."""
        made = np.empty(hi.shape, np.result_type(hi, self.columns.dtype, x), "F")
        for rows, *approximation in self.products(x):
            leading, rest = two_sum(*approximation)
            left = add((hi[rows], lo[rows]), (-leading, -rest))
            made[rows] = left[0] + left[1]
        return made

    def rounding(self, x: np.ndarray) -> np.ndarray:
        """Return a bound (n, m) of the error of :meth:`product`, as :func:`rbm.arithmetic.extended.rounding`."""
        return np.outer(self.row_max, self.rounding_sizes(x))

    def rounding_sizes(self, x: np.ndarray) -> np.ndarray:
        """Return s (m,): in row i and column j of the product the error is at most `row_max`_i s_j."""
        complex_valued = self.columns.dtype.kind == "c" or np.iscomplexobj(x)
        unit = rounding_unit(longest_sum(self.terms), self.bits, complex_valued)
        return 2 * self.terms * (unit * modulus(x).max(axis=0, initial=0.0))
