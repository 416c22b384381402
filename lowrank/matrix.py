"""A low-rank matrix, held as its factors."""

from __future__ import annotations

import operator
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple

import numpy as np

from lowrank.arrays import beside, conj, namespace, numpy_dtype, plain, real_part, to_numpy, unit_roundoff
from lowrank.dense import adjoint, column_norms, norm, qr, svd
from lowrank.limits import Limits, check_limits, number_of_terms
from lowrank.operators import as_product

__all__ = ["ErrorEstimate", "LowRankMatrix"]


class ErrorEstimate(NamedTuple):
    """An estimated norm and the standard error of the estimate."""

    value: float
    standard_error: float


@dataclass(frozen=True, eq=False)
class LowRankMatrix:
    """A matrix A = U diag(s) V^H (m, n) of rank at most r, in (m + n + 1) r numbers.

    Products, rows, columns and entries are computed from the factors; sums and products of low-rank matrices are again
    such, of the sum (or the smaller) of the ranks: :meth:`recompress` finds the rank that they really have.

    Raises
    ------
    ValueError
        factors whose shapes do not fit together.

    Examples
    --------
    >>> import numpy as np
    >>> a = LowRankMatrix(np.ones((4, 1)), np.array([2.0]), np.ones((3, 1)))
    >>> a
    LowRankMatrix(4 x 3, rank 1, float64, 64 bytes of 96)
    >>> (a + a).recompress()
    LowRankMatrix(4 x 3, rank 1, float64, 64 bytes of 96, singular values 1.4e+01 .. 1.4e+01)
    >>> a @ np.ones(3)
    array([6., 6., 6., 6.])
    """

    U: Any  #: (m, r)
    s: Any  #: (r,), real
    V: Any  #: (n, r)
    #: s are singular values, descending: U and V are orthonormal in the inner products of the factorisation
    is_svd: bool = False

    def __post_init__(self) -> None:
        for name in ("U", "s", "V"):
            object.__setattr__(self, name, plain(name, getattr(self, name)))
        shapes = [tuple(a.shape) for a in (self.U, self.s, self.V)]
        if [len(s) for s in shapes] != [2, 1, 2] or not shapes[0][1] == shapes[1][0] == shapes[2][1]:
            raise ValueError(f"U, s and V must have shapes (m, r), (r,) and (n, r), got {', '.join(map(str, shapes))}")
        xp = namespace(self.U, self.s, self.V)
        if numpy_dtype(self.s).kind == "c":
            raise ValueError("s must be real; put its phases into U or V")
        if isinstance(self.s, np.ndarray):
            return  # :func:`lowrank.arrays.plain` has made it floating point
        for name in ("U", "s", "V"):
            factor = getattr(self, name)
            if not xp.isdtype(factor.dtype, ("real floating", "complex floating")):
                object.__setattr__(self, name, xp.astype(factor, xp.float64))

    # what it is

    @property
    def shape(self) -> tuple[int, int]:
        """Numbers of rows and columns (m, n)."""
        return self.U.shape[0], self.V.shape[0]

    @property
    def rank(self) -> int:
        """Number of terms r; the rank of the matrix is at most that."""
        return self.s.shape[0]

    @property
    def dtype(self) -> Any:
        """Type of the entries."""
        return namespace(self.U).result_type(self.U.dtype, self.V.dtype)

    @property
    def nbytes(self) -> int:
        """Bytes of the three factors."""
        return sum(int(np.prod(a.shape)) * numpy_dtype(a).itemsize for a in (self.U, self.s, self.V))

    @property
    def H(self) -> LowRankMatrix:
        """The adjoint V diag(s) U^H."""
        return replace(self, U=self.V, V=self.U)

    @property
    def T(self) -> LowRankMatrix:
        """The transpose of the matrix."""
        return replace(self, U=conj(self.V), V=conj(self.U))

    def conj(self) -> LowRankMatrix:
        """Return the complex conjugate."""
        return replace(self, U=conj(self.U), V=conj(self.V))

    # parts and products

    def matvec(self, x: Any) -> Any:
        """Return A x for x (n,) or (n, k); 2 (m + n) r k flops."""
        x = self._operand(x, self.shape[1])
        return self.U @ self._scaled(adjoint(self.V) @ x)

    def rmatvec(self, y: Any) -> Any:
        """Return A^H y for y (m,) or (m, k)."""
        y = self._operand(y, self.shape[0])
        return self.V @ self._scaled(adjoint(self.U) @ y)

    def rows(self, indices: Any) -> Any:
        """Return the rows A[i, :] (k, n) for indices i (k,)."""
        u = namespace(self.U).take(self.U, self._indices(indices, 0), axis=0)
        return (u * self._s(u)) @ adjoint(self.V)

    def columns(self, indices: Any) -> Any:
        """Return the columns A[:, j] (m, k) for indices j (k,)."""
        v = namespace(self.V).take(self.V, self._indices(indices, 1), axis=0)
        return self.U @ self._scaled(adjoint(v))

    def entries(self, rows: Any, columns: Any) -> Any:
        """Return the entries A[i_k, j_k] (k,) for indices i (k,) and j (k,).

        Raises ValueError for as many rows as there are no columns.
        """
        xp = namespace(self.U)
        i, j = self._indices(rows, 0), self._indices(columns, 1)
        if i.shape != j.shape:
            raise ValueError(f"row and column indices must be as many, got {i.shape[0]} and {j.shape[0]}")
        u = xp.take(self.U, i, axis=0)
        return xp.sum(u * self._s(u) * conj(xp.take(self.V, j, axis=0)), axis=1)

    def to_dense(self) -> Any:
        """Return the matrix as an (m, n) array."""
        return (self.U * self._s(self.U)) @ adjoint(self.V)

    def balanced(self) -> tuple[Any, Any]:
        """Return two factors of equal size, X = U s^{1/2} and Y = V s^{1/2} with X Y^H = A.

        Raises ValueError for a negative s.
        """
        xp = namespace(self.s)
        if self.rank and float(xp.min(self.s)) < 0:
            raise ValueError("s has negative entries; call recompress() first")
        root = xp.sqrt(self.s)
        return self.U * self._s(self.U, root), self.V * self._s(self.V, root)

    def aslinearoperator(self) -> Any:
        """Return the matrix as a scipy.sparse.linalg.LinearOperator (of cupyx for CuPy arrays)."""
        if namespace(self.U).__name__.endswith("cupy"):
            from cupyx.scipy.sparse.linalg import LinearOperator  # type: ignore[import-not-found]
        else:
            from scipy.sparse.linalg import LinearOperator
        products = {"matvec": self.matvec, "rmatvec": self.rmatvec, "matmat": self.matvec, "rmatmat": self.rmatvec}
        return LinearOperator(self.shape, dtype=self.dtype, **products)

    # algebra

    def __matmul__(self, other: Any) -> Any:
        if not isinstance(other, LowRankMatrix):
            return self.matvec(other)
        if self.shape[1] != other.shape[0]:
            raise ValueError(f"cannot multiply shapes {self.shape} and {other.shape}")
        core = self._scaled(adjoint(self.V) @ other.U) * self._s(other.U, other.s)
        if self.rank <= other.rank:
            return LowRankMatrix(self.U, _ones(self.s), other.V @ adjoint(core))
        return LowRankMatrix(self.U @ core, _ones(other.s), other.V)

    def __rmatmul__(self, other: Any) -> Any:
        other = plain("the operand", other)
        return adjoint(self.rmatvec(adjoint(other))) if other.ndim == 2 else conj(self.rmatvec(conj(other)))

    #: arrays leave `array @ A` to us
    __array_ufunc__ = None

    def __add__(self, other: LowRankMatrix) -> LowRankMatrix:
        if not isinstance(other, LowRankMatrix):
            return NotImplemented
        if self.shape != other.shape:
            raise ValueError(f"cannot add shapes {self.shape} and {other.shape}")
        xp = namespace(self.U)
        dtype = xp.result_type(self.dtype, other.dtype)
        u, v = (
            xp.concat([xp.astype(a, dtype), xp.astype(b, dtype)], axis=1)
            for a, b in ((self.U, other.U), (self.V, other.V))
        )
        return LowRankMatrix(u, xp.concat([self.s, other.s]), v)

    def __neg__(self) -> LowRankMatrix:
        return replace(self, U=-self.U)

    def __sub__(self, other: LowRankMatrix) -> LowRankMatrix:
        return self + (-other) if isinstance(other, LowRankMatrix) else NotImplemented

    def __mul__(self, factor: complex) -> LowRankMatrix:
        return LowRankMatrix(self.U * factor, self.s, self.V) if np.isscalar(factor) else NotImplemented

    __rmul__ = __mul__

    def __truediv__(self, divisor: complex) -> LowRankMatrix:
        return LowRankMatrix(self.U / divisor, self.s, self.V) if np.isscalar(divisor) else NotImplemented

    def __radd__(self, other: Any) -> LowRankMatrix:
        return self if np.isscalar(other) and other == 0 else NotImplemented  # sum(...) starts from 0

    # rank, size, distance

    def recompress(
        self, rank: int | None = None, *, rtol: float | None = None, atol: float | None = None
    ) -> LowRankMatrix:
        """Return the SVD of the matrix, cut at a rank or an error, by default where the rest is round-off.

        Round-off is 4 (max(m, n))^{1/2} u times the size of the terms, (sum_k |s_k|^2 ||u_k||^2 ||v_k||^2)^{1/2}. With
        U = Q_1 R_1, V = Q_2 R_2 and the SVD of R_1 diag(s) R_2^H, (r, r): O((m + n) r^2) flops, right to a few u of the
        norm of the terms. `rank`, `rtol`, `atol` as in :func:`lowrank.truncated_svd`.
        """
        check_limits(rank, rtol, atol)
        (q1, q2), core, terms = self._core()
        limits = Limits(rank, rtol, atol)
        u, s, vh = svd(core)
        k = number_of_terms(s, 4 * max(*self.shape, 1) ** 0.5 * unit_roundoff(self.U), limits, terms)
        return LowRankMatrix(q1 @ u[:, :k], s[:k], q2 @ adjoint(vh[:k, :]), is_svd=True)

    def truncate(
        self, rank: int | None = None, *, rtol: float | None = None, atol: float | None = None
    ) -> LowRankMatrix:
        """Return the leading terms, as many as a rank or an error asks for.

        The fewest with ||A - A_k||_F <= max(atol, rtol ||A||_F), and at most `rank`.

        A matrix that is no SVD is recompressed first. Of one that was factorised in weighted inner products the error
        is measured in these.
        """
        check_limits(rank, rtol, atol)
        if not self.is_svd:
            return self.recompress(rank, rtol=rtol, atol=atol)
        k = number_of_terms(self.s, 0.0, Limits(rank, rtol, atol))
        return replace(self, U=self.U[:, :k], s=self.s[:k], V=self.V[:, :k])

    def norm(self, kind: Literal["fro", "spectral"] = "fro") -> float:
        """Return the Frobenius or spectral norm, right to a few u of the norms of the terms; O((m + n) r^2) flops.

        Raises ValueError for another kind.
        """
        if kind not in ("fro", "spectral"):
            raise ValueError(f"norm must be 'fro' or 'spectral', got {kind!r}")
        _, core, _ = self._core()
        if kind == "fro":
            return norm(core)
        return float(svd(core)[1][0]) if 0 not in core.shape else 0.0

    def estimate_error(self, matrix: Any, *, n_probes: int = 10, rng: int | np.random.Generator = 0) -> ErrorEstimate:
        """Estimate ||M - A||_F from products of both matrices with random vectors.

        (sum_p ||(M - A) w_p||^2 / n_probes)^{1/2} with Gaussian probes w_p.

        The square is unbiased; its relative standard deviation is at most (2 / n_probes)^{1/2}, less the more singular
        values share the error. Cost: n_probes products with M (an array, sparse matrix, LinearOperator or
        LowRankMatrix).

        Raises ValueError for a matrix of another shape than (m, n), and fewer than two probes.
        """
        matrix = as_product("matrix", matrix)
        if tuple(matrix.shape) != self.shape:
            raise ValueError(f"the matrix has shape {tuple(matrix.shape)}, the approximation {self.shape}")
        if not operator.index(n_probes) >= 2:
            raise ValueError(f"n_probes must be at least 2, got {n_probes}")
        probes = np.random.default_rng(rng).standard_normal((self.shape[1], n_probes))
        probes = namespace(self.U).astype(beside(probes, self.U), real_part(self.U[:0, :0]).dtype)
        difference = matrix @ probes - self.matvec(probes)
        norms = to_numpy(column_norms(difference)).astype(float)
        largest = float(np.max(norms, initial=0.0))
        if not largest:
            return ErrorEstimate(0.0, 0.0)
        squares = (norms / largest) ** 2  # which do not overflow
        value = float(np.sqrt(np.mean(squares)))
        deviation = float(np.std(squares, ddof=1)) / n_probes**0.5
        return ErrorEstimate(largest * value, largest * deviation / (2 * value))

    # inside

    def _core(self) -> tuple[tuple[Any, Any], Any, float]:
        """Return Q_1, Q_2 and the small X with A = Q_1 X Q_2^H, and the size of the terms, which may cancel in X.

        Columns of U and V are divided by their norms first, so that nothing overflows that is not too large itself.
        """
        norms, factors = [], []
        for x in (self.U, self.V):
            length = column_norms(x)
            safe = namespace(x).where(length > 0, length, namespace(x).ones_like(length))
            norms.append(length)
            factors.append(qr(x / safe))
        (q1, r1), (q2, r2) = factors
        sizes = self._s(r1) * norms[0] * norms[1]
        return (q1, q2), (r1 * sizes) @ adjoint(r2), norm(sizes)

    def _s(self, like: Any, s: Any = None) -> Any:
        return namespace(like).astype(self.s if s is None else s, real_part(like[:0, :0]).dtype)

    def _scaled(self, x: Any) -> Any:
        s = self._s(self.U)
        return s * x if x.ndim == 1 else s[:, None] * x

    def _operand(self, x: Any, size: int) -> Any:
        x = plain("the operand", x)
        if x.ndim not in (1, 2) or x.shape[0] != size:
            raise ValueError(f"a {self.shape[0]} x {self.shape[1]} matrix cannot be applied to shape {tuple(x.shape)}")
        return x

    def _indices(self, indices: Any, axis: int) -> Any:
        """Return the indices, checked, as an array beside the factors: some modules read beyond the end."""
        if isinstance(indices, np.ma.MaskedArray):  # as they are, integers, and none of them hidden
            plain("indices", indices)
        given = to_numpy(indices) if hasattr(indices, "shape") else np.atleast_1d(np.asarray(indices))
        size = self.shape[axis]
        if given.size == 0:
            given = given.astype(int)
        if given.ndim != 1 or given.dtype.kind not in "iu":
            raise ValueError(f"indices must be integers (k,), got {given.dtype} {given.shape}")
        outside = (given < -size) | (given >= size)
        if np.any(outside):
            raise IndexError(f"index {given[outside][0]} is out of range for {size} {('rows', 'columns')[axis]}")
        return beside(np.where(given < 0, given + size, given), self.U)

    def __repr__(self) -> str:
        m, n = self.shape
        text = f"LowRankMatrix({m} x {n}, rank {self.rank}, {numpy_dtype(self.U)}, {self.nbytes:,} bytes"
        text += f" of {m * n * numpy_dtype(self.U).itemsize:,}"
        if self.is_svd and self.rank:
            text += f", singular values {float(self.s[0]):.1e} .. {float(self.s[-1]):.1e}"
        return text + ")"


def _ones(s: Any) -> Any:
    return namespace(s).ones_like(s)
