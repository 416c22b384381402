"""A sparse matrix with low-rank terms beside it, B + L R^H, which is solved with and never formed.

Woodbury: with X = B^{-1} L (n, r) and the capacitance matrix C = I + R^H X (r, r),

    (B + L R^H)^{-1} b = y - X C^{-1} R^H y,    y = B^{-1} b.

It costs one factorisation of B and r solves, and fails where B is singular though the sum is not, such as a stiffness
matrix without Dirichlet conditions beside a mean value. There the bordered system does it,

    [[B, L], [R^H, -I]] (x, z) = (b, 0),    z = R^H x,

eliminated in the order of B with the border last. The rows of the border are made so small, by a power of two, that
they are taken for pivots only where B has none: a dense row that comes too early fills all that comes after it.

Neither is trusted: a nearly singular sum makes C, or the last pivots, nearly singular, and what comes out is wrong by
as much. Who solves looks at the residual, formed in extended precision from the factors as they are.

Source: Golub and Van Loan, Matrix Computations, 4th ed. (2013), section 2.1.4; Hager, SIAM Review 31 (1989) 221-239.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import scipy.linalg
import scipy.sparse as sp
import scipy.sparse.linalg as spla

from rbm.errors import ModelError
from rbm.solvers.factorization import Solve, factorize, solve_function, symmetric_lu
from rbm.solvers.user_code import FactorizedSolver, Solver, UserSolver

__all__ = ["UpdatedMatrix", "bordered", "user_solve", "woodbury"]

#: The rows of the border against the largest entry of B, and how much smaller than these a pivot of B may become.
BORDER, PIVOT = 2.0**-26, 2.0**-10
#: The residual of one solve, against its terms, at which :meth:`UpdatedMatrix.factorized` takes another way.
WRONG = 1e-6


@dataclass(frozen=True, eq=False)
class UpdatedMatrix:
    """The matrix A = B + L R^H (n, n), B sparse; it multiplies at O(nnz(B) + n r) and shows no entries by itself."""

    base: Any  #: B (n, n), sparse
    left: np.ndarray  #: L (n, r)
    right: np.ndarray  #: R (n, r)

    @property
    def shape(self) -> tuple[int, int]:
        """The dimensions (n, n)."""
        return self.base.shape

    @property
    def dtype(self) -> Any:
        """The type of the entries."""
        return np.result_type(self.base.dtype, self.left, self.right)

    def __matmul__(self, x: np.ndarray) -> np.ndarray:
        return np.asarray(self.base @ x) + self.left @ (self.right.conj().T @ x)

    def __abs__(self) -> UpdatedMatrix:
        """Return |B| + |L| |R|^T, whose entries are at least those of |A|."""
        return UpdatedMatrix(abs(self.base), np.abs(self.left), np.abs(self.right))

    def conj(self) -> UpdatedMatrix:
        """Return the complex conjugate."""
        return replace(self, base=self.base.conj(), left=self.left.conj(), right=self.right.conj())

    @property
    def T(self) -> UpdatedMatrix:
        """The transpose B^T + conj(R) (conj(L))^H."""
        return UpdatedMatrix(sp.csr_array(self.base.T), self.right.conj(), self.left.conj())

    @property
    def H(self) -> UpdatedMatrix:
        """The adjoint B^H + R L^H."""
        return self.conj().T

    @property
    def values(self) -> np.ndarray:
        """All numbers that it is made of (k,), to see whether they are finite."""
        return np.concatenate([self.base.data, self.left.ravel(), self.right.ravel()])

    def to_dense(self) -> np.ndarray:
        """Return the matrix as an array (n, n): for few unknowns."""
        return self.base.toarray() + self.left @ self.right.conj().T

    def factorized(self, symmetric: bool = False) -> Solve:
        """Return the solve function: by Woodbury, or bordered where a first solve shows that this is wrong.

        symmetric : B takes its pivots from the diagonal

        Raises ModelError where the matrix is singular.
        """
        one = np.ones((self.shape[0], 1))
        try:
            solve = woodbury(factorize(self.base, symmetric=symmetric), self)
            x = solve(one)
            if np.all(np.abs(self @ x - one) <= WRONG * (1 + abs(self) @ np.abs(x))):
                return solve
        except ModelError:
            pass  # B is singular: the sum need not be
        return bordered(self)


def woodbury(solve: Solve, matrix: UpdatedMatrix) -> Solve:
    """Return the solve function of B + L R^H from that of B.

    Raises ModelError if the capacitance matrix is singular to the last bit, as then the sum is, or B too nearly so.
    """
    adjoint = matrix.right.conj().T
    images = solve(matrix.left)
    capacitance = np.eye(images.shape[1]) + adjoint @ images
    if not np.all(np.isfinite(capacitance)):
        raise ModelError("the matrix without its low-rank terms is singular to working precision")
    lu, pivots, info = scipy.linalg.lapack.get_lapack_funcs(("getrf",), (capacitance,))[0](capacitance)
    if info > 0:
        raise ModelError("the matrix is singular: its low-rank terms cancel the others in a direction")

    def updated(rhs: np.ndarray) -> np.ndarray:
        y = solve(rhs)
        return y - images @ scipy.linalg.lu_solve((lu, pivots), adjoint @ y)

    return updated


def bordered(matrix: UpdatedMatrix, order: np.ndarray | None = None, units: np.ndarray | None = None) -> Solve:
    """Return the solve function of B + L R^H by the bordered system, pivots of the border where B has none.

    order : of elimination (n,); by default one of least fill for the pattern of B + B^T
    units : S = diag(units), powers of two that bring B to entries of order one in all rows; by default none

    Raises ModelError where the bordered matrix is singular.
    """
    n, r = matrix.left.shape
    order = _order(matrix.base) if order is None else order
    units = np.ones(n) if units is None else units
    scale = sp.diags_array(units)
    base = sp.csr_array(scale @ matrix.base @ scale)
    left, right = units[:, None] * matrix.left, units[:, None] * matrix.right
    size = _power(np.array([abs(base).max() if base.nnz else 1.0]))
    of_columns = size / _power(np.abs(left).max(axis=0, initial=0.0))
    of_rows = BORDER * size / _power(np.abs(right).max(axis=0, initial=0.0))
    border = sp.csr_array((right * of_rows).conj().T)
    last = sp.diags_array(-of_rows * of_columns)
    whole = sp.block_array([[base, sp.csr_array(left * of_columns)], [border, last]], format="csr")
    order = np.append(order, np.arange(n, n + r))
    whole = sp.csc_array(whole[order][:, order])
    try:
        lu = spla.splu(whole, permc_spec="NATURAL", diag_pivot_thresh=PIVOT, options={"Equil": False})
    except RuntimeError as error:
        raise ModelError(f"the matrix is singular to working precision ({error})") from error
    solve, back = solve_function(lu, whole), np.argsort(order)

    def bordered_solve(rhs: np.ndarray) -> np.ndarray:
        both = np.concatenate([units[:, None] * rhs, np.zeros((r, rhs.shape[1]))])
        return units[:, None] * solve(both[order])[back][:n]

    return bordered_solve


def user_solve(solver: Solver, matrix: Any) -> Solve:
    """Return the solve by what the user gave, who never sees low-rank terms: these are added by Woodbury."""
    if isinstance(matrix, UpdatedMatrix):
        return woodbury(user_solve(solver, matrix.base), matrix)
    if hasattr(solver, "factorize"):
        return FactorizedSolver(solver, matrix)
    return UserSolver(solver, matrix)


def _power(sizes: np.ndarray) -> np.ndarray:
    """Return powers of two near sizes; one for zero."""
    return np.ldexp(1.0, np.frexp(np.where(sizes > 0, sizes, 1.0))[1])


def _order(base: Any) -> np.ndarray:
    """Return a fill-reducing order (n,) from a dominant matrix with the pattern of B, which factorises."""
    pattern = sp.csr_array(base, copy=True, dtype=float) if base.dtype.kind != "c" else sp.csr_array(abs(base))
    pattern.data = np.full(len(pattern.data), -1.0)
    n = base.shape[0]
    return np.argsort(symmetric_lu(pattern + 2.0 * n * sp.eye_array(n)).perm_c)
