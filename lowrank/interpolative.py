"""A matrix from its own columns (interpolative decomposition), or columns and rows (CUR), found by cross approximation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from lowrank.arrays import as_matrix, beside, device, namespace, real_part
from lowrank.cross import CrossApproximation, cross_approximation
from lowrank.dense import adjoint, solve_triangular
from lowrank.entries import is_pair
from lowrank.limits import check_limits
from lowrank.matrix import ErrorEstimate, LowRankMatrix

__all__ = ["CUR", "cur", "interpolative_decomposition"]


@dataclass(frozen=True)
class CUR:
    """A ~ C U R with columns C and rows R of A itself and U = A[I, J]^{-1}, which is held as a triangular factorisation. See :func:`cur`."""

    C: Any  #: A[:, J] (m, r)
    R: Any  #: A[I, :] (r, n)
    row_indices: np.ndarray  #: I (r,)
    column_indices: np.ndarray  #: J (r,)
    lower: Any  #: L (r, r), unit lower triangular
    upper: Any  #: T (r, r), upper triangular; A[I, J] = L T
    error: ErrorEstimate  #: ||A - C U R||_F, as in CrossApproximation
    norm: float  #: ||A||_F
    stopped: Literal["tolerance", "max_rank", "saturation"]

    @property
    def rank(self) -> int:
        """Number of columns and rows r."""
        return len(self.row_indices)

    @property
    def U(self) -> Any:
        """T^{-1} L^{-1} (r, r), to look at: its entries are as large as 1 / the last pivot, and products with it lose as many digits."""
        xp = namespace(self.lower)
        eye = xp.eye(self.rank, dtype=self.lower.dtype, device=device(self.lower))
        return solve_triangular(self.upper, solve_triangular(self.lower, eye, lower=True, unit=True), lower=False)

    def low_rank(self) -> LowRankMatrix:
        """(C T^{-1}) (L^{-1} R) as a :class:`lowrank.LowRankMatrix`, by triangular solves: right to round-off, as C U R is not."""
        left = adjoint(solve_triangular(self.upper, adjoint(self.C), lower=False, conjugate_transposed=True))
        right = adjoint(solve_triangular(self.lower, self.R, lower=True, unit=True))
        ones = namespace(right).ones(self.rank, dtype=real_part(right[:0, :0]).dtype, device=device(right))
        return LowRankMatrix(left, ones, right)

    def to_dense(self) -> Any:
        """The approximation as an (m, n) array."""
        return self.low_rank().to_dense()

    def __repr__(self) -> str:
        m, n = self.C.shape[0], self.R.shape[1]
        relative = self.error.value / self.norm if self.norm else 0.0
        return f"CUR({m} x {n}, rank {self.rank}, relative error {relative:.1e}, stopped by {self.stopped})"


def interpolative_decomposition(
    matrix: Any,
    rank: int | None = None,
    *,
    rtol: float | None = None,
    shape: tuple[int, int] | None = None,
    pivoting: Literal["full", "partial", "rook"] = "rook",
    entries: Callable[[np.ndarray, np.ndarray], Any] | None = None,
    rng: int | np.random.Generator = 0,
) -> tuple[np.ndarray, Any]:
    """Interpolative decomposition A ~ A[:, J] X with X[:, J] = I: every column from a few columns.

    From a cross approximation A ~ C U with columns J, U[:, J] = T upper triangular: A[:, J] ~ C T, so that X = T^{-1} U.

    Parameters
    ----------
    matrix, shape, rtol, pivoting, entries, rng : as of :func:`lowrank.cross_approximation`
    rank : largest number of columns

    Returns
    -------
    J (r,) column indices and X (r, n) coefficients.

    Raises
    ------
    ValueError
        as :func:`lowrank.cross_approximation`.

    Notes
    -----
    Cost: that of the crosses and n r^2 flops. The error is that of the crosses, a few times that of a pivoted QR (as in
    scipy.linalg.interpolative) at equal rank, which reads the whole matrix.

    Examples
    --------
    >>> import numpy as np
    >>> x = np.linspace(0, 1, 50)
    >>> a = np.exp(np.outer(x, x))
    >>> columns, x = interpolative_decomposition(a, rtol=1e-8)
    >>> x.shape, bool(np.linalg.norm(a - a[:, columns] @ x) <= 1e-8 * np.linalg.norm(a))
    ((8, 50), True)
    """
    cross = _cross(matrix, rank, rtol, shape, pivoting, entries, rng)
    x = namespace(cross.rows).asarray(solve_triangular(_upper(cross), cross.rows, lower=False), copy=True)
    for k, j in enumerate(cross.column_indices.tolist()):  # the identity to the last bit
        x[:, j] = 0.0
        x[k, j] = 1.0
    return cross.column_indices, x


def cur(
    matrix: Any,
    rank: int | None = None,
    *,
    rtol: float | None = None,
    shape: tuple[int, int] | None = None,
    pivoting: Literal["full", "partial", "rook"] = "rook",
    entries: Callable[[np.ndarray, np.ndarray], Any] | None = None,
    rng: int | np.random.Generator = 0,
) -> CUR:
    """CUR (skeleton) decomposition A ~ A[:, J] A[I, J]^{-1} A[I, :], exact in the rows I and the columns J.

    It is the cross approximation with pivots (I, J), written in entries of A; A[I, J] = L T comes with it and is never inverted.

    Parameters
    ----------
    matrix, shape, rtol, pivoting, entries, rng : as of :func:`lowrank.cross_approximation`
    rank : largest number of rows and columns

    Returns
    -------
    CUR

    Raises
    ------
    ValueError
        as :func:`lowrank.cross_approximation`.

    Notes
    -----
    Cost: that of the crosses; functions are asked once more for the rows I and the columns J.

    Examples
    --------
    >>> import numpy as np
    >>> x = np.linspace(0, 1, 50)
    >>> a = np.exp(np.outer(x, x))
    >>> skeleton = cur(a, 4)
    >>> bool(np.all(skeleton.C == a[:, skeleton.column_indices])), skeleton
    (True, CUR(50 x 50, rank 4, relative error 5.7e-06, stopped by max_rank))
    """
    cross = _cross(matrix, rank, rtol, shape, pivoting, entries, rng)
    i, j = cross.row_indices, cross.column_indices
    if is_pair(matrix):
        c, r = (cross.columns, cross.rows) if cross.rank == 0 else (matrix[1](j), matrix[0](i))
    else:
        matrix = as_matrix("matrix", matrix, check_finite=False)
        xp = namespace(matrix)
        c, r = xp.take(matrix, beside(j, matrix), axis=1), xp.take(matrix, beside(i, matrix), axis=0)
    lower = namespace(cross.columns).take(cross.columns, beside(i, cross.columns), axis=0)
    return CUR(c, r, i, j, lower, _upper(cross), cross.error, cross.norm, cross.stopped)


def _cross(
    matrix: Any,
    rank: int | None,
    rtol: float | None,
    shape: tuple[int, int] | None,
    pivoting: Literal["full", "partial", "rook"],
    entries: Callable[[np.ndarray, np.ndarray], Any] | None,
    rng: int | np.random.Generator,
) -> CrossApproximation:
    check_limits(rank, rtol)
    return cross_approximation(
        matrix, shape=shape, rtol=rtol, max_rank=rank, pivoting=pivoting, entries=entries, rng=rng
    )


def _upper(cross: CrossApproximation) -> Any:
    return namespace(cross.rows).take(cross.rows, beside(cross.column_indices, cross.rows), axis=1)
