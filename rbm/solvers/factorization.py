"""Factorisations of one matrix, sparse (SuperLU) or dense (LAPACK), as functions that solve."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.linalg
import scipy.sparse as sp
import scipy.sparse.linalg as spla

from rbm.errors import ModelError
from rbm.solvers.freed_memory import keep_freed_memory
from rbm.solvers.graph import elimination
from rbm.solvers.several import pays, symmetric_solve

__all__ = [
    "Solve",
    "definite_solve",
    "factorize",
    "factorize_positive_definite",
    "positive_lu",
    "solve_function",
    "symmetric_lu",
]

Solve = Callable[[np.ndarray], np.ndarray]

#: Right-hand sides that SuperLU is given at a time.
COLUMNS = 16


def factorize(matrix: Any, *, symmetric: bool = False) -> Solve:
    """Return the solve function of a square matrix by sparse LU (SuperLU) or dense LU.

    A sparse matrix with low-rank terms beside it (:class:`rbm.solvers.updated.UpdatedMatrix`) solves by itself.

    Raises ModelError when the matrix is singular.

    symmetric: the sparsity pattern is symmetric and the diagonal may be taken for pivots, as in finite element
    matrices; this is two to three times faster than the general ordering, and without partial pivoting, so that the
    caller checks the solution.
    """
    if (own := getattr(matrix, "factorized", None)) is not None:
        return own(symmetric)
    try:
        if sp.issparse(matrix):
            return solve_function(symmetric_lu(matrix) if symmetric else spla.splu(sp.csc_array(matrix)), matrix)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", scipy.linalg.LinAlgWarning)  # a zero pivot is an error here, just below
            dense = scipy.linalg.lu_factor(matrix, check_finite=False)
        if not np.all(np.diag(dense[0]) != 0):
            raise ModelError("the matrix is singular")
        return lambda rhs: scipy.linalg.lu_solve(dense, rhs)
    except (RuntimeError, np.linalg.LinAlgError) as error:
        raise ModelError(f"the matrix is singular to working precision ({error})") from error


def factorize_positive_definite(matrix: Any) -> Solve | None:
    """Return the solve function of a Hermitian matrix, or None if it is not positive definite.

    A pivot shows that (Sylvester).
    """
    if not sp.issparse(matrix):
        try:
            cholesky = scipy.linalg.cho_factor(matrix, check_finite=False)
        except np.linalg.LinAlgError:
            return None
        return lambda rhs: scipy.linalg.cho_solve(cholesky, rhs)
    lu = positive_lu(matrix)
    return None if lu is None else definite_solve(lu, matrix)


def positive_lu(matrix: Any) -> Any:
    """Return the SuperLU object of a sparse Hermitian matrix, or None if a pivot is not positive."""
    try:
        lu = symmetric_lu(matrix)
    except RuntimeError:
        return None
    # rows must not have been exchanged against the columns, else the pivots are not those of a symmetric elimination
    return lu if np.array_equal(lu.perm_r, lu.perm_c) and np.all(lu.U.diagonal().real > 0) else None


def symmetric_lu(matrix: Any, order: str = "MMD_AT_PLUS_A", wide: bool | None = None) -> Any:
    """Return the SuperLU object of a matrix with symmetric pattern, pivots on the diagonal.

    The order "NATURAL" leaves rows and columns as they are; the other one is that of the nodes where they have three
    displacements (:func:`rbm.solvers.graph.elimination`), and L and U are then those of the reordered matrix, as
    `perm_r` and `perm_c` say.

    wide : panels of several columns, as the graph has it by default. Panels of one column are for rows as full as those
        of finite elements in the plane (7081 unknowns: 5.6 ms against 8.0; 87 781: 0.14 s against 0.20)
    """
    keep_freed_memory()
    matrix = sp.csc_array(matrix)
    known = elimination(matrix) if wide is None else None
    wide = known.wide if known is not None else wide
    options = {"diag_pivot_thresh": 0.0, "options": {"SymmetricMode": True}, **({} if wide else {"panel_size": 1})}
    if order == "NATURAL" or known is None or known.order is None:
        return spla.splu(matrix, permc_spec=order, **options)
    reordered = sp.csc_array(matrix[known.order][:, known.order])
    return _Reordered(spla.splu(reordered, permc_spec="NATURAL", **options), known.order, np.argsort(known.order))


@dataclass(frozen=True, eq=False)
class _Reordered:
    """What SuperLU found of A[order][:, order], as its object of A would show it."""

    lu: Any
    order: np.ndarray
    back: np.ndarray

    @property
    def nnz(self) -> int:
        return self.lu.nnz

    @property
    def L(self) -> Any:
        return self.lu.L

    @property
    def U(self) -> Any:
        return self.lu.U

    @property
    def perm_r(self) -> np.ndarray:
        return self.lu.perm_r[self.back]

    @property
    def perm_c(self) -> np.ndarray:
        return self.lu.perm_c[self.back]

    def solve(self, rhs: np.ndarray) -> np.ndarray:
        return self.lu.solve(np.asfortranarray(rhs[self.order]))[self.back]


def solve_function(lu: Any, matrix: Any) -> Solve:
    """Return the function that solves with a SuperLU object.

    SuperLU wants right-hand sides of its own dtype and is fastest with Fortran order.
    """
    if np.iscomplexobj(matrix):
        return _sized(lambda rhs: _in_blocks(lu, np.asarray(rhs, dtype=complex, order="F")), 22 * lu.nnz)

    def solve(rhs: np.ndarray) -> np.ndarray:
        if np.iscomplexobj(rhs):  # not by calling itself: a function in a circle keeps its factors until a collection
            parts = (_in_blocks(lu, np.asfortranarray(part)) for part in (rhs.real, rhs.imag))
            return next(parts) + 1j * next(parts)
        return _in_blocks(lu, np.asfortranarray(rhs))

    return _sized(solve, 14 * lu.nnz)


def definite_solve(lu: Any, matrix: Any) -> Solve:
    """Return the function that solves with the SuperLU object of :func:`positive_lu`, for several columns at a time."""
    if not pays(matrix):
        return solve_function(lu, matrix)
    solve: Any = symmetric_solve(lu)
    solve.parallel = True  # it takes several threads, and leaves the interpreter to others
    return _sized(solve, 14 * lu.nnz)  # what is kept is half of that


def _sized(solve: Any, size: int) -> Solve:
    """Let a solve function say how many bytes its factors take, in `nbytes`: numbers, row numbers, stored zeros."""
    solve.nbytes = size
    return solve


def _in_blocks(lu: Any, rhs: np.ndarray) -> np.ndarray:
    """Solve for a few columns at a time, so that they stay in cache. 270 columns of length 7081 take 37 ms, not 80."""
    if rhs.shape[1] <= COLUMNS:
        return lu.solve(rhs)
    solution = np.empty_like(rhs, order="F")
    for start in range(0, rhs.shape[1], COLUMNS):
        solution[:, start : start + COLUMNS] = lu.solve(rhs[:, start : start + COLUMNS])
    return solution
