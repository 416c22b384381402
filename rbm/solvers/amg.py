"""Algebraic multigrid (pip install pyamg): conjugate gradients or GMRES, for matrices whose factors do not fit."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import scipy.sparse as sp
import scipy.sparse.linalg as spla

from lowrank.optional import require
from rbm.errors import ModelError
from rbm.solvers.factorization import Solve, factorize

__all__ = ["AMG"]

#: GMRES is started again after so many steps.
RESTART = 50


@dataclass(frozen=True, eq=False)
class AMG:
    """An iterative solver for coercive problems: smoothed aggregation as preconditioner, memory O(n).

    A Hermitian matrix with a positive diagonal: conjugate gradients. All others: GMRES with smoothed aggregation of the
    Hermitian part (A + A^H) / 2, which suits convection that does not dominate, and shifts that leave it definite.
    Indefinite matrices, as of waves, are what multigrid is not for: the iteration is likely to end with an error. A
    dense matrix goes to LAPACK. Columns are solved one after the other.

    Parameters
    ----------
    rtol : residual of a solve, ||b - A x|| <= rtol ||b|| in balanced units. Refinement makes up for the rest: its
        corrections, solved to the same rtol, bring the solution to the accuracy of the direct solvers. A larger rtol
        means more of them
    max_iterations : of one solve; more are an error that says so
    near_null_space : (n, k) vectors that the operator nearly maps to zero but for boundary conditions, constants by
        default. For elasticity :func:`rbm.solvers.rigid_body_modes`: iterations then hardly grow with n (10 764
        unknowns: 14, and 68 without)

    Nothing is proved with it: definiteness of more than 5000 unknowns is measured (docs/solvers.md).

    Raises ModelError for an rtol or a number of iterations that is none; ImportError without pyamg, when it is used.

    Source: Vanek, Mandel, Brezina, Computing 56 (1996) 179-196; done by PyAMG.
    """

    rtol: float = 1e-10
    max_iterations: int = 200
    near_null_space: np.ndarray | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        """Raise ModelError for an option that means nothing."""
        if not (isinstance(self.rtol, float | int) and 0 < self.rtol < 1):
            raise ModelError(f"rtol of AMG must be a number between 0 and 1, got {self.rtol!r}")
        if not (type(self.max_iterations) is int and self.max_iterations > 0):
            raise ModelError(f"max_iterations of AMG must be a whole number of at least 1, got {self.max_iterations!r}")

    def factorize(self, matrix: Any) -> Solve:
        """Return the solve function of a matrix (n, n), which raises ModelError where the iteration does not converge.

        Cost: the set-up of the grids, some tens of products; a solve is some tens of products per column.
        """
        if not sp.issparse(matrix):
            return factorize(matrix)
        amg = require("pyamg", "pyamg", 'solver="amg"', "amg")
        diagonal = np.abs(matrix.diagonal())
        # units of the rows and columns, powers of two: residuals in them count all unknowns alike
        units = np.ldexp(1.0, -np.round(np.log2(np.where(diagonal > 0, diagonal, 1.0)) / 2).astype(int))
        scale = sp.diags_array(units)
        balanced = sp.csr_array(scale @ matrix @ scale)
        adjoint = sp.csr_array(balanced.conj().T)
        hermitian = (balanced != adjoint).nnz == 0
        part = balanced if hermitian else sp.csr_array((balanced + adjoint) / 2)
        part = sp.csr_matrix(part)  # pyamg multiplies with *
        part.indptr, part.indices = part.indptr.astype(np.int32), part.indices.astype(np.int32)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                grids = amg.smoothed_aggregation_solver(part, B=self._near_null_space(units, part.dtype))
            except (ValueError, ZeroDivisionError, np.linalg.LinAlgError) as error:
                raise ModelError(f"multigrid could not be set up for this matrix: {error}") from error
        definite = hermitian and bool(np.all(matrix.diagonal().real > 0))
        run = _conjugate_gradients if definite else _gmres
        preconditioner = grids.aspreconditioner(cycle="V")

        def solve(rhs: np.ndarray) -> np.ndarray:
            if not rhs.shape[1]:
                return np.zeros(rhs.shape, np.result_type(balanced.dtype, rhs))
            columns = [self._column(run, balanced, preconditioner, units, b) for b in rhs.T]
            return np.stack(columns, axis=1)

        return solve

    def _near_null_space(self, units: np.ndarray, dtype: Any) -> np.ndarray | None:
        given = np.ones((len(units), 1)) if self.near_null_space is None else np.asarray(self.near_null_space)
        if given.ndim != 2 or len(given) != len(units):
            raise ModelError(f"near_null_space of AMG has shape {given.shape}, the matrix has {len(units)} rows")
        return np.asarray(given / units[:, None], dtype=dtype)

    def _column(
        self, run: Callable[..., Any], balanced: Any, preconditioner: Any, units: np.ndarray, b: np.ndarray
    ) -> np.ndarray:
        right = units * b
        size = float(np.linalg.norm(right))
        if size == 0:  # NaN is not: it ends in the error below
            return np.zeros(len(b), np.result_type(balanced.dtype, b))
        # size one: a residual of rounding, 1e-200, is a right-hand side like others
        x = run(balanced, right / size, preconditioner, self.rtol, self.max_iterations)
        left = float(np.linalg.norm(right / size - balanced @ x)) if np.all(np.isfinite(x)) else np.inf
        if not left <= 10 * self.rtol:
            raise ModelError(
                f"AMG did not converge: after {self.max_iterations} iterations the residual is {left:.1e} of the "
                f"right-hand side, and rtol is {self.rtol:.1e}. It diverges, or is slow: the matrix is indefinite, far "
                'from Hermitian or nearly singular, or wants near_null_space=. Take a direct solver ("pardiso"), or '
                "allow more max_iterations"
            )
        return units * x * size


def _conjugate_gradients(matrix: Any, b: np.ndarray, m: Any, rtol: float, limit: int) -> np.ndarray:
    with np.errstate(all="ignore"):
        return spla.cg(matrix, b, rtol=rtol, atol=0.0, maxiter=limit, M=m)[0]


def _gmres(matrix: Any, b: np.ndarray, m: Any, rtol: float, limit: int) -> np.ndarray:
    """Solve by GMRES, preconditioned from the right: its residual is that of the system itself."""
    restart = min(RESTART, limit)
    kind = np.result_type(matrix.dtype, b.dtype)
    product = spla.LinearOperator(matrix.shape, matvec=lambda y: matrix @ (m @ y), dtype=kind)
    cycles = max(1, limit // restart)
    with np.errstate(all="ignore"):
        y = spla.gmres(product, b, rtol=rtol, atol=0.0, restart=restart, maxiter=cycles)[0]
    return m @ y
