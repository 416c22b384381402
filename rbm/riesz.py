"""The inner product P of a model: Riesz representers and dual norms, accurate to a few units of round-off."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import scipy.linalg
import scipy.sparse as sp
import scipy.sparse.linalg as spla

from rbm import extended
from rbm.errors import ModelError

__all__ = ["InnerProduct", "factorize", "factorize_positive_definite", "is_positive_semidefinite"]

Solve = Callable[[np.ndarray], np.ndarray]


class InnerProduct:
    """(x, y)_P = y^H P x with P (n, n) Hermitian positive definite, factorised once at the first use.

    Parameters
    ----------
    matrix : P, scipy sparse or dense, real or complex
    solver : optional ``solver(matrix, rhs (n, k)) -> (n, k)`` used instead of a sparse LU or dense Cholesky

    Raises
    ------
    ModelError
        P is not square, not Hermitian or, when first solved with, not positive definite.
    """

    def __init__(self, matrix: Any, solver: Callable[[Any, np.ndarray], np.ndarray] | None = None) -> None:
        if not (sp.issparse(matrix) or isinstance(matrix, np.ndarray)):
            raise ModelError(f"the product must be a scipy sparse matrix or a dense array, got {type(matrix).__name__}")
        if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1]:
            raise ModelError(f"the product must be square, got shape {matrix.shape}")
        self.split = extended.SplitMatrix(matrix)
        self.matrix = self.split.matrix
        asymmetry = abs(self.matrix - self.matrix.conj().T).max()
        if not asymmetry <= 1e-10 * abs(self.matrix).max():
            raise ModelError(
                f"the product is not Hermitian: max |P - P^H| = {asymmetry:.3g}; symmetrise it, (P + P^H) / 2"
            )
        self._solver = solver
        self._solve: Solve | None = None

    @property
    def shape(self) -> tuple[int, int]:
        """(n, n)."""
        return self.matrix.shape

    def factorized(self) -> Solve:
        """The solve with P in working precision."""
        if self._solve is None:
            if self._solver is not None:
                solver = self._solver
                self._solve = lambda rhs: solver(self.matrix, rhs)
            else:
                self._solve = factorize_positive_definite(self.matrix)
        if self._solve is None:
            raise ModelError(
                "the product is not positive definite (its factorisation met a pivot <= 0); "
                "eliminate constrained unknowns and use a Hermitian positive definite inner product"
            )
        return self._solve

    def riesz(self, functionals: np.ndarray) -> np.ndarray:
        """V = P^{-1} W (n, m) with one refinement from an extended-precision residual: right to a few u for cond(P) u << 1."""
        if functionals.shape[1] == 0:
            return functionals
        solve = self.factorized()
        v = solve(functionals)
        hi, lo = extended.product(self.split, v)
        return v + solve((functionals - hi) - lo)

    def dual_norm(self, functionals: np.ndarray | extended.Extended) -> np.ndarray:
        """||w||_{P^-1} = (w^H P^{-1} w)^{1/2} (m,) of each column, given in double or as hi + lo; right to a few u.

        With V = fl(P^{-1} W) and its residual rho = W - P V known in extended precision, w^H P^{-1} w = w^H v + rho^H v +
        O(||rho||^2), and the two products are formed in extended precision.
        """
        w, lo = functionals if isinstance(functionals, tuple) else (functionals, None)
        if w.shape[1] == 0:
            return np.zeros(0)
        v = self.riesz(w)
        hi, rest = extended.product(self.split, v)
        rho = (w - hi) - rest
        square = (extended.dot(w, v) + (rho.conj() * v).sum(axis=0)).real
        if lo is not None:
            square = square + 2 * (lo.conj() * v).sum(axis=0).real
        return _root(square, w)

    def rough_dual_norm(self, functionals: np.ndarray) -> np.ndarray:
        """||w||_{P^-1} (m,) by one solve in working precision, for numbers of which one digit matters; never NaN."""
        if not functionals.shape[1]:
            return np.zeros(0)
        return _root(np.sum(functionals.conj() * self.factorized()(functionals), axis=0).real, functionals)

    def norm(self, vectors: np.ndarray) -> np.ndarray:
        """||x||_P (m,) of each column of (n, m)."""
        return _root(extended.dot(vectors, extended.product(self.split, vectors)[0]).real, vectors)


def _root(square: np.ndarray, vectors: np.ndarray) -> np.ndarray:
    """Square root of x^H P x, which a positive definite P makes positive for every x that is not zero."""
    zero = ~np.any(vectors, axis=0)
    bad = ~(zero | (square > 0))
    if np.any(bad):
        j = int(np.flatnonzero(bad)[0])
        raise ModelError(
            f"the product gave vector {j} the squared norm {square[j]:.3g}: it is not positive definite, or not finite"
        )
    return np.sqrt(np.where(zero, 0.0, square))


def factorize(matrix: Any, *, symmetric: bool = False) -> Solve:
    """Solve function of a square matrix by sparse LU (SuperLU) or dense LU. Raises ModelError when it is singular.

    symmetric: the sparsity pattern is symmetric and the diagonal may be taken for pivots, as in finite element
    matrices; this is two to three times faster than the general ordering, and without partial pivoting, so that the
    caller checks the solution.
    """
    try:
        if sp.issparse(matrix):
            return _solve_function(_symmetric_lu(matrix) if symmetric else spla.splu(sp.csc_array(matrix)), matrix)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", scipy.linalg.LinAlgWarning)  # a zero pivot is an error here, just below
            dense = scipy.linalg.lu_factor(matrix, check_finite=False)
        if not np.all(np.diag(dense[0]) != 0):
            raise ModelError("the matrix is singular")
        return lambda rhs: scipy.linalg.lu_solve(dense, rhs)
    except (RuntimeError, np.linalg.LinAlgError) as error:
        raise ModelError(f"the matrix is singular to working precision ({error})") from error


def factorize_positive_definite(matrix: Any) -> Solve | None:
    """Solve function of a Hermitian matrix, or None if a pivot shows that it is not positive definite (Sylvester)."""
    if not sp.issparse(matrix):
        try:
            cholesky = scipy.linalg.cho_factor(matrix, check_finite=False)
        except np.linalg.LinAlgError:
            return None
        return lambda rhs: scipy.linalg.cho_solve(cholesky, rhs)
    try:
        lu = _symmetric_lu(matrix)
    except RuntimeError:
        return None
    # rows must not have been exchanged against the columns, else the pivots are not those of a symmetric elimination
    if not (np.array_equal(lu.perm_r, lu.perm_c) and np.all(lu.U.diagonal().real > 0)):
        return None
    return _solve_function(lu, matrix)


def is_positive_semidefinite(matrix: Any, slack: float = 1e-12) -> bool:
    """True if A + slack max|A_ii| I is positive definite, A Hermitian; `slack` is what round-off in A may hide."""
    largest = float(np.abs(matrix.diagonal()).max(initial=0.0))
    if largest == 0.0:
        return not abs(matrix).max() > 0
    identity = sp.eye_array(matrix.shape[0]) if sp.issparse(matrix) else np.eye(matrix.shape[0])
    return factorize_positive_definite(matrix + slack * largest * identity) is not None


def _symmetric_lu(matrix: Any) -> Any:
    return spla.splu(
        sp.csc_array(matrix), permc_spec="MMD_AT_PLUS_A", diag_pivot_thresh=0.0, options={"SymmetricMode": True}
    )


def _solve_function(lu: Any, matrix: Any) -> Solve:
    """Solve with a SuperLU object, which wants right-hand sides of its own dtype and is fastest with Fortran order."""
    if np.iscomplexobj(matrix):
        return lambda rhs: lu.solve(np.asarray(rhs, dtype=complex, order="F"))

    def solve(rhs: np.ndarray) -> np.ndarray:
        if np.iscomplexobj(rhs):
            return lu.solve(np.asfortranarray(rhs.real)) + 1j * lu.solve(np.asfortranarray(rhs.imag))
        return lu.solve(np.asfortranarray(rhs))

    return solve
