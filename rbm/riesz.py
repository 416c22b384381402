"""The inner product P of a model: Riesz representers and dual norms, accurate to a few units of round-off."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import cached_property
from typing import Any

import numpy as np
import scipy.linalg
import scipy.sparse as sp
import scipy.sparse.linalg as spla

from rbm import extended
from rbm.errors import ModelError
from rbm.user_code import Solver, UserSolver

__all__ = [
    "InnerProduct",
    "Solve",
    "factorize",
    "factorize_positive_definite",
    "is_positive_semidefinite",
    "solve_function",
    "symmetric_lu",
]

Solve = Callable[[np.ndarray], np.ndarray]

#: A solve with P is accurate once its backward error, before the last refinement, is this small.
ACCURATE = 1e-10
MAX_REFINEMENTS = 8
#: Right-hand sides that SuperLU is given at a time.
COLUMNS = 16


class InnerProduct:
    """(x, y)_P = y^H P x with P (n, n) Hermitian positive definite, factorised once at the first use.

    Parameters
    ----------
    matrix : P, scipy sparse or dense, real or complex
    solver : optional ``solver(matrix, rhs (n, k)) -> (n, k)`` used instead of a sparse LU or dense Cholesky; it gets copies
        (:class:`rbm.user_code.UserSolver`)

    Raises
    ------
    ModelError
        P is not square, not Hermitian or, when first solved with, not positive definite.
    """

    def __init__(self, matrix: Any, solver: Solver | None = None) -> None:
        if not (sp.issparse(matrix) or isinstance(matrix, np.ndarray)):
            raise ModelError(f"the product must be a scipy sparse matrix or a dense array, got {type(matrix).__name__}")
        if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1] or matrix.shape[0] == 0:
            raise ModelError(f"the product must be square, got shape {matrix.shape}")
        diagonal = np.abs(np.asarray(matrix.diagonal()).real).astype(float)
        #: powers of two that bring P to a unit diagonal, up to a factor two: the sizes of the unknowns
        self.balance = np.ldexp(1.0, -np.round(np.log2(np.where(diagonal > 0, diagonal, 1.0)) / 2).astype(int))
        self.split = extended.SplitMatrix(matrix, self.balance)
        self.matrix = self.split.matrix
        asymmetry = abs(self.matrix - self.matrix.conj().T).max()
        if not asymmetry <= 1e-10 * abs(self.matrix).max():
            raise ModelError(
                f"the product is not Hermitian: max |P - P^H| = {asymmetry:.3g}; symmetrise it, (P + P^H) / 2"
            )
        if not (solver is None or callable(solver)):
            raise ModelError(f"solver must be a function (matrix, rhs (n, k)) -> (n, k), got {solver!r}")
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
                self._solve = UserSolver(self._solver, self.matrix)
            else:
                self._solve = factorize_positive_definite(self.matrix)
        if self._solve is None:
            raise ModelError(
                "the product is not positive definite (its factorisation met a pivot <= 0); "
                "eliminate constrained unknowns and use a Hermitian positive definite inner product"
            )
        return self._solve

    def riesz(self, functionals: np.ndarray, start: np.ndarray | None = None) -> np.ndarray:
        """V = P^{-1} W (n, m), refined with extended-precision residuals: right to a few u for cond(P) u << 1.

        start : V in working precision, if it is at hand; one solve less, the accuracy is checked all the same

        Raises ModelError if the residual does not become small, as with a `solver` that is not accurate.
        """
        if functionals.shape[1] == 0:
            return functionals
        solve = self.factorized()
        units = self.balance[:, None]
        row = float((self.split.row_max * self.balance).max())
        v = solve(functionals) if start is None else start
        for _ in range(MAX_REFINEMENTS):
            hi, lo = extended.product(self.split, v)
            rho = (functionals - hi) - lo
            backward = _largest(rho * units)
            allowed = ACCURATE * (_largest(functionals * units) + row * _largest(v / units))
            v = v + solve(rho)
            if np.all(backward <= allowed):
                return v
        worst = float(np.max(backward / np.where(allowed > 0, allowed, 1.0))) * ACCURATE
        raise ModelError(
            f"solves with the product leave a relative backward error of {worst:.1e} after {MAX_REFINEMENTS} refinements: "
            "the solver is not accurate enough"
        )

    def dual_norm(self, functionals: np.ndarray | extended.Extended) -> np.ndarray:
        """||w||_{P^-1} = (w^H P^{-1} w)^{1/2} (m,) of each column, given in double or as hi + lo; right to a few u."""
        return self.dual_norm_with_error(functionals)[0]

    def dual_norm_with_error(self, functionals: np.ndarray | extended.Extended) -> tuple[np.ndarray, np.ndarray]:
        """Dual norms (m,) and bounds (m,) of their error beyond 8 u of the norm.

        With V = fl(P^{-1} W) and its residual rho = W - P V known in extended precision, w^H P^{-1} w = w^H v + rho^H v +
        O(||rho||^2), and the two products are formed in extended precision.
        """
        w, tail = functionals if isinstance(functionals, tuple) else (functionals, np.zeros_like(functionals))
        n, m = w.shape
        if m == 0:
            return np.zeros(0), np.zeros(0)
        u = np.finfo(float).eps / 2
        v = self.riesz(w)
        hi, lo = extended.product(self.split, v)
        rho = (w - hi) - lo
        square = (extended.dot(w, v) + ((rho + 2 * tail).conj() * v).sum(axis=0)).real
        size = np.abs(v)
        error = (size * (extended.rounding(self.split, v) + 8 * n * u * (np.abs(rho) + np.abs(tail)))).sum(axis=0)
        error = error + 8 * u**2 * (np.abs(w) * size).sum(axis=0) + 2 * self.rough_dual_norm(rho) ** 2
        norm = _root(square, w)
        root = np.sqrt(error)
        return norm, np.where(norm > root, error / np.where(norm > 0, norm, 1.0), root)

    def dual_norm_bound(self, sizes: np.ndarray) -> np.ndarray:
        """Bound (m,) of ||e||_{P^-1} over all e with |e_i| <= sizes_i (n, m): ||S e||_2 / lambda_min(S P S)^{1/2}, S = diag(balance).

        (The norm of the vector of sizes itself would be no bound: P^{-1} may have negative entries.)
        """
        return np.sqrt(np.sum((sizes * self.balance[:, None]) ** 2, axis=0) / self.smallest_eigenvalue)

    @cached_property
    def smallest_eigenvalue(self) -> float:
        """Half the smallest eigenvalue of S P S, S = diag(balance), from a few Lanczos steps with its inverse."""
        solve, s, n = self.factorized(), self.balance[:, None], self.shape[0]
        dtype = self.matrix.dtype

        def inverse(x: np.ndarray) -> np.ndarray:
            return (solve(np.asarray(x, dtype=dtype).reshape(n, -1) / s) / s).reshape(x.shape)

        if n <= 40:
            dense = inverse(np.eye(n))
            largest = float(np.linalg.eigvalsh((dense + dense.conj().T) / 2)[-1])
        else:
            operator = spla.LinearOperator((n, n), matvec=inverse, dtype=dtype)
            start = np.random.default_rng(0).standard_normal(n).astype(dtype)
            largest = float(
                spla.eigsh(operator, k=1, which="LA", v0=start, tol=1e-2, return_eigenvectors=False)[0].real
            )
        if not largest > 0:
            raise ModelError("the product is not positive definite to working precision")
        return 0.5 / largest

    def rough_dual_norm(self, functionals: np.ndarray) -> np.ndarray:
        """||w||_{P^-1} (m,) by one solve in working precision, for numbers of which one digit matters; never NaN."""
        if not functionals.shape[1]:
            return np.zeros(0)
        return _root(np.sum(functionals.conj() * self.factorized()(functionals), axis=0).real, functionals)

    def norm(self, vectors: np.ndarray) -> np.ndarray:
        """||x||_P (m,) of each column of (n, m)."""
        return _root(extended.dot(vectors, extended.product(self.split, vectors)[0]).real, vectors)


def _largest(vectors: np.ndarray) -> np.ndarray:
    return np.abs(vectors).max(axis=0, initial=0.0)


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
    """Solve function of a Hermitian matrix, or None if a pivot shows that it is not positive definite (Sylvester)."""
    if not sp.issparse(matrix):
        try:
            cholesky = scipy.linalg.cho_factor(matrix, check_finite=False)
        except np.linalg.LinAlgError:
            return None
        return lambda rhs: scipy.linalg.cho_solve(cholesky, rhs)
    try:
        lu = symmetric_lu(matrix)
    except RuntimeError:
        return None
    # rows must not have been exchanged against the columns, else the pivots are not those of a symmetric elimination
    if not (np.array_equal(lu.perm_r, lu.perm_c) and np.all(lu.U.diagonal().real > 0)):
        return None
    return solve_function(lu, matrix)


def is_positive_semidefinite(matrix: Any) -> bool:
    """True if A + 16 u sqrt(n) max|A_ii| I is positive definite, A Hermitian; the shift is what round-off in A may hide."""
    slack = 8 * np.finfo(float).eps * np.sqrt(matrix.shape[0])
    largest = float(np.abs(matrix.diagonal()).max(initial=0.0))
    if largest == 0.0:
        return not abs(matrix).max() > 0
    identity = sp.eye_array(matrix.shape[0]) if sp.issparse(matrix) else np.eye(matrix.shape[0])
    return factorize_positive_definite(matrix + slack * largest * identity) is not None


def symmetric_lu(matrix: Any, order: str = "MMD_AT_PLUS_A") -> Any:
    """SuperLU object of a matrix with symmetric pattern, pivots on the diagonal; order "NATURAL": rows and columns as they are.

    Panels of one column: SuperLU's wider ones are for rows much fuller than those of finite elements (7081 unknowns in the
    plane: 5.6 ms against 8.0; 87 781: 0.14 s against 0.20).
    """
    return spla.splu(
        sp.csc_array(matrix), permc_spec=order, diag_pivot_thresh=0.0, panel_size=1, options={"SymmetricMode": True}
    )


def solve_function(lu: Any, matrix: Any) -> Solve:
    """Solve with a SuperLU object, which wants right-hand sides of its own dtype and is fastest with Fortran order."""
    if np.iscomplexobj(matrix):
        return lambda rhs: _in_blocks(lu, np.asarray(rhs, dtype=complex, order="F"))

    def solve(rhs: np.ndarray) -> np.ndarray:
        if np.iscomplexobj(rhs):
            return solve(rhs.real) + 1j * solve(rhs.imag)
        return _in_blocks(lu, np.asfortranarray(rhs))

    return solve


def _in_blocks(lu: Any, rhs: np.ndarray) -> np.ndarray:
    """Solve for a few columns at a time, so that they stay in cache: 270 columns of length 7081 take 37 ms, not 80."""
    if rhs.shape[1] <= COLUMNS:
        return lu.solve(rhs)
    solution = np.empty_like(rhs, order="F")
    for start in range(0, rhs.shape[1], COLUMNS):
        solution[:, start : start + COLUMNS] = lu.solve(rhs[:, start : start + COLUMNS])
    return solution
