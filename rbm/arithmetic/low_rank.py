"""Products of a low-rank matrix in about twice the working precision, through its factors."""

from __future__ import annotations

import numpy as np

from lowrank import LowRankMatrix
from rbm.arithmetic import extended
from rbm.arithmetic.precision import ROUND_OFF

__all__ = ["SplitLowRank"]

#: Products at least this large, and their errors, are normal numbers.
LOSES_NOTHING = 1e-270


class SplitLowRank:
    """A low-rank matrix A = U diag(s) V^H (n, k) with split factors, multiplied by :func:`extended.product`.

    A x = U (s (V^H x)) is formed as three products, the middle (r, m) held as hi + lo. A itself is never formed, and
    the product s U is not rounded: what is multiplied is the matrix that the factors are, to the last bit.

    inner_scale : d (k,), powers of two, as in :class:`rbm.arithmetic.extended.SplitMatrix`. Between the factors a
        scale of this class's own brings the r terms to a common size, whatever the range of s is

    Rounding of A x: with t = V^H x known to within e, and s t to 8 u^2 |s t|, that of U (s t) and
    |U| |s| (e + 8 u^2 |t|). Proved, as far as that of the split products is.

    Raises ModelError for factors beyond the range of products in extended precision.
    Cost of a product: 6 (n + k) r m flops; memory: three times the factors.
    """

    def __init__(self, matrix: LowRankMatrix, inner_scale: np.ndarray | None = None) -> None:
        self.matrix, self.shape, self.dtype = matrix, matrix.shape, matrix.dtype
        self._s = np.asarray(matrix.s)[:, None]
        self._right = extended.SplitMatrix(np.ascontiguousarray(matrix.V.conj().T), inner_scale)
        # of each term: zeros, and what is below the range of numbers, keep the scale one
        size = np.abs(matrix.s) * self._right.row_max
        between = np.ldexp(1.0, np.frexp(np.where((size > 1e-300) & (size < 1e300), size, 1.0))[1])
        self._left = extended.SplitMatrix(np.asarray(matrix.U), between)

    def __matmul__(self, x: np.ndarray) -> np.ndarray:
        return self.matrix @ x

    def __abs__(self) -> LowRankMatrix:
        """Return |U| diag(|s|) |V|^T, whose entries are at least those of |A|."""
        return LowRankMatrix(np.abs(self.matrix.U), np.abs(self.matrix.s), np.abs(self.matrix.V))

    def _between(self, x: np.ndarray | extended.Extended) -> extended.Extended:
        return extended.scale(self._s, extended.product(self._right, x))

    def extended_product(self, x: np.ndarray | extended.Extended) -> extended.Extended:
        """Return A x (n, m) as hi + lo, for x (k, m) in double or as hi + lo."""
        return extended.product(self._left, self._between(x))

    def extended_rounding(self, x: np.ndarray | extended.Extended) -> np.ndarray:
        """Return a bound (n, m) of the error of every entry of :meth:`extended_product`."""
        between = self._between(x)
        # numbers below the normal range lose that much each
        small = 16 * float(np.finfo(float).tiny) * (self.shape[1] + 1)
        size = np.abs(between[0])
        off = np.abs(self._s) * (extended.rounding(self._right, x) + small) + 8 * ROUND_OFF**2 * size
        # s t itself may be so small that U brings back what it lost
        off = off + np.where((size < LOSES_NOTHING) & (self._s != 0), small, 0.0)
        return extended.rounding(self._left, between) + (1 + 2.0**-20) * (np.abs(self.matrix.U) @ off)
