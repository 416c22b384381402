"""A matrix from some of its columns (interpolative decomposition), or of its columns and rows (CUR)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from lowrank.arrays import all_true, as_matrix, beside, device, namespace, real_part, to_numpy
from lowrank.cross import CrossApproximation, cross_approximation
from lowrank.cross_check import compare
from lowrank.cross_result import Stopped
from lowrank.dense import adjoint, solve_triangular
from lowrank.entries import Entries, is_pair
from lowrank.limits import Limits, check_limits
from lowrank.matrix import ErrorEstimate, LowRankMatrix
from lowrank.pivoted_columns import pivoted_columns

__all__ = ["CUR", "InterpolativeDecomposition", "cur", "interpolative_decomposition"]


@dataclass(frozen=True)
class CUR:
    """Result of :func:`cur`: A ~ C U R with columns C and rows R of A itself.

    U = A[I, J]^{-1} is held as a triangular factorisation, A[I, J] = L T.
    """

    C: Any  #: A[:, J] (m, r)
    R: Any  #: A[I, :] (r, n)
    row_indices: np.ndarray  #: I (r,)
    column_indices: np.ndarray  #: J (r,)
    lower: Any  #: L (r, r), unit lower triangular
    upper: Any  #: T (r, r), upper triangular; A[I, J] = L T
    error: ErrorEstimate  #: ||A - C U R||_F: exact for arrays, for functions as in CrossApproximation
    norm: float  #: ||A||_F
    stopped: Stopped
    #: as in CrossApproximation: a cautious estimate for functions, ||A - C U R||_F for arrays
    error_bound: float = np.inf

    @property
    def rank(self) -> int:
        """Number of columns and rows r."""
        return len(self.row_indices)

    @property
    def U(self) -> Any:
        """The matrix U = T^{-1} L^{-1} (r, r), for inspection only.

        Its entries are as large as 1 / the last pivot, and products with it lose as many digits.

        Raises ValueError where they overflow; :meth:`low_rank` does without them.
        """
        xp = namespace(self.lower)
        eye = xp.eye(self.rank, dtype=self.lower.dtype, device=device(self.lower))
        inverse = solve_triangular(self.lower, eye, lower=True, unit=True)
        upper, exponents = _columns_in_units(self.upper, self.upper)
        found = solve_triangular(upper, inverse, lower=False)
        with np.errstate(over="ignore"):
            found = adjoint(_by_powers(adjoint(found), -exponents))
        if not all_true(xp.isfinite(found)):
            raise ValueError(
                "the entries of U overflow, as 1 / the last pivot does: use low_rank(), or scale the matrix"
            )
        return found

    def low_rank(self) -> LowRankMatrix:
        """Return (C T^{-1}) (L^{-1} R) as a :class:`lowrank.LowRankMatrix`.

        Two triangular solves: right to round-off, as the product C U R is not.
        """
        # C S (T S)^{-1}: pivots may be at the ends of the range
        upper, exponents = _columns_in_units(self.upper, self.upper)
        columns = adjoint(_by_powers(self.C, -exponents))
        left = adjoint(solve_triangular(upper, columns, lower=False, conjugate_transposed=True))
        right = adjoint(solve_triangular(self.lower, self.R, lower=True, unit=True))
        ones = namespace(right).ones(self.rank, dtype=real_part(right[:0, :0]).dtype, device=device(right))
        return LowRankMatrix(left, ones, right)

    def to_dense(self) -> Any:
        """Return the approximation as an (m, n) array."""
        return self.low_rank().to_dense()

    def __repr__(self) -> str:
        m, n = self.C.shape[0], self.R.shape[1]
        return f"CUR({m} x {n}, rank {self.rank}, {_in_words(self)}, stopped by {self.stopped})"


@dataclass(frozen=True)
class InterpolativeDecomposition:
    """Result of :func:`interpolative_decomposition`: A ~ A[:, J] X; ``J, X = ...`` unpacks it."""

    columns: np.ndarray  #: J (r,)
    coefficients: Any  #: X (r, n), X[:, J] = I
    error: ErrorEstimate  #: ||A - A[:, J] X||_F: exact for arrays, for functions the error of the crosses
    norm: float  #: ||A||_F
    stopped: Stopped
    error_bound: float  #: as in CrossApproximation: a cautious estimate for functions, the error for arrays

    @property
    def rank(self) -> int:
        """Number of columns r."""
        return len(self.columns)

    def __iter__(self) -> Iterator[Any]:
        return iter((self.columns, self.coefficients))

    def __len__(self) -> int:
        return 2

    def __getitem__(self, index: Any) -> Any:
        return (self.columns, self.coefficients)[index]

    def __repr__(self) -> str:
        n = self.coefficients.shape[1]
        return f"InterpolativeDecomposition({self.rank} of {n} columns, {_in_words(self)}, stopped by {self.stopped})"


def interpolative_decomposition(
    matrix: Any,
    rank: int | None = None,
    *,
    rtol: float | None = None,
    shape: tuple[int, int] | None = None,
    pivoting: Literal["qr", "full", "partial", "rook"] | None = None,
    entries: Callable[[np.ndarray, np.ndarray], Any] | None = None,
    rng: int | np.random.Generator = 0,
) -> InterpolativeDecomposition:
    """Approximate all columns of A by combinations of a few of them: A ~ A[:, J] X with X[:, J] = I.

    By QR with column pivoting, A[:, p] = Q R, X = R_11^{-1} R_12; or from a cross approximation A ~ C U with columns J,
    U[:, J] = T upper triangular: A[:, J] ~ C T, and so X = T^{-1} U.

    Parameters
    ----------
    matrix, shape, rtol, entries, rng : as of :func:`lowrank.cross_approximation`
    rank : largest number of columns
    pivoting : "qr" (:func:`lowrank.pivoted_columns.pivoted_columns`; NumPy arrays only, rtol in the Frobenius norm), or
        that of the crosses. By default "qr" for NumPy arrays of which a rank and no tolerance is asked, whose error is
        two to three times smaller, and "rook" for all others

    Returns
    -------
    InterpolativeDecomposition, which unpacks into J (r,) column indices and X (r, n) coefficients, and has their
    `error`.

    Raises
    ------
    ValueError, TypeError
        as :func:`lowrank.cross_approximation`, which also warns; factors that overflow; "qr" for what is no NumPy
        array.

    Source: Cheng, Gimbutas, Martinsson, Rokhlin, SIAM J. Sci. Comput. 26 (2005) 1389-1404.

    Notes
    -----
    Cost: by QR 4 m n r flops for up to 256 rows or columns, else 8 m n r at the speed of products; by crosses theirs
    and n r^2. For arrays 2 m n r to compare all entries. The error is that of a pivoted QR (as in
    scipy.linalg.interpolative), or that of the crosses, a few times as much at equal rank.

    Examples
    --------
    >>> import numpy as np
    >>> x = np.linspace(0, 1, 50)
    >>> a = np.exp(np.outer(x, x))
    >>> decomposition = interpolative_decomposition(a, 4)
    >>> decomposition
    InterpolativeDecomposition(4 of 50 columns, relative error 2.4e-06, stopped by rank)
    >>> columns, x = decomposition
    >>> x.shape, bool(np.linalg.norm(a - a[:, columns] @ x) <= 1e-5 * np.linalg.norm(a))
    ((4, 50), True)
    """
    array = None if is_pair(matrix) else as_matrix("matrix", matrix, check_finite=False)
    if pivoting is None:
        pivoting = "qr" if isinstance(array, np.ndarray) and rank is not None and rtol is None else "rook"
    if pivoting == "qr":
        return _by_qr(array, rank, rtol, shape, entries, rng)
    given = matrix if array is None else array
    cross = cross_approximation(given, shape=shape, rtol=rtol, rank=rank, pivoting=pivoting, entries=entries, rng=rng)
    upper, exponents = _columns_in_units(adjoint(_take(cross.rows, cross.column_indices, 1)), adjoint(cross.rows))
    # (S T)^{-1} S U: pivots may be at the ends of the range
    rows = adjoint(_by_powers(adjoint(cross.rows), -exponents))
    x = namespace(rows).asarray(solve_triangular(adjoint(upper), rows, lower=False), copy=True)
    for k, j in enumerate(cross.column_indices.tolist()):  # the identity to the last bit
        x[:, j] = 0.0
        x[k, j] = 1.0
    j = cross.column_indices
    return InterpolativeDecomposition(j, x, *_error(cross, array, None if array is None else _take(array, j, 1), x))


def _by_qr(
    array: Any, rank: int | None, rtol: float | None, shape: Any, entries: Any, rng: int | np.random.Generator
) -> InterpolativeDecomposition:
    """Return the decomposition of a NumPy array by QR with column pivoting."""
    check_limits(rank, rtol)
    if not isinstance(array, np.ndarray):
        kind = "functions" if array is None else "arrays of another module"
        raise ValueError(f'pivoting "qr" is for NumPy arrays, not for {kind}; use "rook"')
    if shape is not None or entries is not None:
        raise ValueError("shape and entries belong to a pair of functions; the matrix is an array")
    made = pivoted_columns(array, Limits(rank, rtol), rng)
    error, norm = compare(array, _take(array, made.columns, 1), made.coefficients)
    return InterpolativeDecomposition(
        made.columns, made.coefficients, ErrorEstimate(error, 0.0), norm, made.stopped, error
    )


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
    """Approximate A by a few of its columns and rows: A ~ A[:, J] A[I, J]^{-1} A[I, :] (CUR, skeleton decomposition).

    The approximation is exact in the rows I and the columns J.

    It is the cross approximation with pivots (I, J), written in entries of A; A[I, J] = L T comes with it and is never
    inverted.

    Parameters
    ----------
    matrix, shape, rtol, pivoting, entries, rng : as of :func:`lowrank.cross_approximation`
    rank : largest number of rows and columns

    Returns
    -------
    CUR

    Raises
    ------
    ValueError, TypeError
        as :func:`lowrank.cross_approximation`, which also warns; and factors that overflow.

    Source: Goreinov, Tyrtyshnikov, Zamarashkin, Linear Algebra Appl. 261 (1997) 1-21.

    Notes
    -----
    Cost: that of the crosses, and for arrays 2 m n r flops to compare all entries; functions are asked once more for
    the rows I and the columns J.

    Examples
    --------
    >>> import numpy as np
    >>> x = np.linspace(0, 1, 50)
    >>> a = np.exp(np.outer(x, x))
    >>> skeleton = cur(a, 4)
    >>> bool(np.all(skeleton.C == a[:, skeleton.column_indices])), skeleton
    (True, CUR(50 x 50, rank 4, relative error 5.4e-06, stopped by rank))
    """
    array = None if is_pair(matrix) else as_matrix("matrix", matrix, check_finite=False)
    given = matrix if array is None else array
    cross = cross_approximation(given, shape=shape, rtol=rtol, rank=rank, pivoting=pivoting, entries=entries, rng=rng)
    i, j = cross.row_indices, cross.column_indices
    if array is not None:
        c, r = _take(array, j, 1), _take(array, i, 0)
    elif cross.rank == 0:
        c, r = cross.columns, cross.rows
    else:
        source = Entries((cross.columns.shape[0], cross.rows.shape[1]), matrix[0], matrix[1], None)
        c, r = source.columns(j), source.rows(i)
    lower, upper = _take(cross.columns, i, 0), _take(cross.rows, j, 1)
    found = CUR(c, r, i, j, lower, upper, cross.error, cross.norm, cross.stopped, cross.error_bound)
    both = found.low_rank()
    error, norm, stopped, bound = _error(cross, array, both.U, adjoint(both.V))
    return replace(found, error=error, norm=norm, stopped=stopped, error_bound=bound)


def _error(cross: CrossApproximation, array: Any, left: Any, right: Any) -> tuple[ErrorEstimate, float, Stopped, float]:
    """Return error, norm, stopped and error_bound of A ~ X Y.

    Of an array all entries are compared; for functions those of the crosses are taken.
    """
    factors = left is None or all_true(namespace(left).isfinite(left)), all_true(namespace(right).isfinite(right))
    error, norm = (cross.error.value, cross.norm) if array is None else compare(array, left, right)
    if not (all(factors) and np.isfinite(error)):
        raise ValueError(
            f"the factors overflow: pivots between {np.abs(cross.pivots).min():.1e} and "
            f"{np.abs(cross.pivots).max():.1e} are too far apart, or the entries too large; scale the matrix, "
            "or use a singular value decomposition"
        )
    if array is None:
        return cross.error, norm, cross.stopped, cross.error_bound
    return ErrorEstimate(error, 0.0), norm, cross.stopped, error


def _in_words(found: CUR | InterpolativeDecomposition) -> str:
    value, deviation = (e / found.norm if found.norm else e for e in found.error)
    return f"relative error {value:.1e}" + (f" +- {deviation:.1e}" if deviation else "")


def _columns_in_units(triangle: Any, like: Any) -> tuple[Any, np.ndarray]:
    """Return a triangle with columns divided by powers of two, and the exponents (r,).

    The powers are the sizes of the columns of `like`.
    """
    xp = namespace(like)
    exponents = np.frexp(to_numpy(xp.max(xp.abs(like), axis=0)).astype(float))[1] if like.shape[1] else np.zeros(0, int)
    return _by_powers(triangle, -exponents), exponents


def _by_powers(x: Any, exponents: np.ndarray) -> Any:
    """Return columns times powers of two, in two steps, as one power may be beyond the range."""
    half = exponents // 2
    for e in (half, exponents - half):
        x = x * namespace(x).astype(beside(np.ldexp(1.0, e), x), real_part(x[:0, :0]).dtype)
    return x


def _take(array: Any, indices: np.ndarray, axis: int) -> Any:
    return namespace(array).take(array, beside(indices, array), axis=axis)
