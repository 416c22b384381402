"""The inner product P of a model: Riesz representers and dual norms, right to a few units of round-off."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np
import scipy.sparse as sp

from rbm.affine.compiled_products import ResidualSizes, column_groups, residual_sizes, split_matrix
from rbm.affine.product_defects import ELIMINATE, defect, maps_constants_to_zero, root_of_square
from rbm.affine.units import PROOF_LIMIT, Units, balanced_by, bent_down, smallest_eigenvalue, units_of
from rbm.arithmetic import extended
from rbm.arithmetic.columns import sizes_in_units
from rbm.arithmetic.precision import ROUND_OFF, column_norm_bounds, exponents_of, largest_entries, scaled
from rbm.errors import ModelError
from rbm.solvers.choice import NAMED, prover, read_solver, shown, solve_positive_definite
from rbm.solvers.definite import Prove, hermitian_part, norm_bound
from rbm.solvers.elsewhere import elsewhere
from rbm.solvers.factorization import Solve, factorize_positive_definite
from rbm.solvers.user_code import Solver

__all__ = ["InnerProduct"]

#: A solve with P is accurate once its backward error, before the last refinement, is this small.
ACCURATE = 1e-10
MAX_REFINEMENTS = 8
#: Largest |P - P^H|, in balanced units, that is taken for rounding of a Hermitian matrix.
ASYMMETRY = 1e-10
#: Columns larger than 2^RANGE or smaller than 2^-RANGE are scaled, so that no square over- or underflows.
RANGE = 300


class InnerProduct:
    """The inner product (x, y)_P = y^H P x with P (n, n) Hermitian positive definite, factorised at its first use.

    Parameters
    ----------
    matrix : P, scipy sparse or dense, real or complex. What rounding left of P - P^H, at most 1e-10 in balanced units,
        is removed: the norm is that of (P + P^H) / 2, as (v^H P v)^{1/2} is for a matrix that is not quite Hermitian
    solver : in place of sparse LU or dense Cholesky: a name, a function or an object (:class:`rbm.FullOrderModel`)

    Units: S = diag(balance), powers of two, brings P to a unit diagonal up to a factor two, whatever units the unknowns
    have. All tolerances and rounding errors are relative to S P S.
    Proved: `smallest_eigenvalue` (measured where `proved` is False), and with it `dual_norm_bound`, `dual_norm_upper`
    and the errors of `dual_norm_with_error` and `riesz_with_error`.

    Raises ModelError if P is not square, not Hermitian or, when first solved with, not positive definite.
    """

    def __init__(self, matrix: Any, solver: Solver | str | None = None) -> None:
        if not (sp.issparse(matrix) or isinstance(matrix, np.ndarray)):
            raise ModelError(f"the product must be a scipy sparse matrix or a dense array, got {type(matrix).__name__}")
        if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1] or matrix.shape[0] == 0:
            raise ModelError(f"the product must be square, got shape {matrix.shape}")
        diagonal = np.abs(np.asarray(matrix.diagonal()).real).astype(float)
        #: powers of two that bring P to a unit diagonal, up to a factor two: the sizes of the unknowns
        self.balance = np.ldexp(1.0, -np.round(np.log2(np.where(diagonal > 0, diagonal, 1.0)) / 2).astype(int))
        difference = matrix - matrix.conj().T
        asymmetry = abs(self.in_units(difference)).max()
        if not asymmetry <= ASYMMETRY:
            raise ModelError(
                f"the product is not Hermitian: max |P - P^H| = {abs(difference).max():.3g}, {asymmetry:.3g} in units "
                "of its diagonal; symmetrise it, (P + P^H) / 2"
            )
        self.split = split_matrix(hermitian_part(matrix) if asymmetry > 0 else matrix, self.balance)
        self.matrix = self.split.matrix
        self.solver: Any = read_solver(solver)
        self._solve: Solve | None = None

    @property
    def shape(self) -> tuple[int, int]:
        """The dimensions (n, n) of P."""
        return self.matrix.shape

    def in_units(self, matrix: Any) -> Any:
        """Return S A S (n, n), A in the units of the product, without rounding; S = diag(balance)."""
        return balanced_by(self.balance, matrix)

    @cached_property
    def balanced(self) -> Any:
        """The product in its own units, S P S (n, n)."""
        return self.in_units(self.matrix)

    def in_units_scaled(self, matrix: Any) -> tuple[Any, int]:
        """Return S A S 2^-e (n, n) with a largest entry of about one, and e; without rounding, for any sizes."""
        sparse = sp.issparse(matrix)
        made: Any = sp.csr_array(matrix, copy=True) if sparse else np.array(matrix)
        e = np.frexp(self.balance)[1] - 1
        if sparse:
            values, shift = made.data, np.repeat(e, np.diff(made.indptr)) + e[made.indices]
        else:
            values, shift = made, e[:, None] + e
        size = np.maximum(np.abs(values.real), np.abs(values.imag))
        exponents = (np.frexp(size)[1] + shift)[size > 0]
        largest = int(exponents.max()) if len(exponents) else 0
        values = scaled(values, shift - largest)
        if sparse:
            made.data = values
        return made if sparse else values, largest

    @cached_property
    def units(self) -> Units:
        """The units in which definiteness against P is decided (:func:`rbm.affine.units.units_of`)."""
        return units_of(self)

    @cached_property
    def largest_eigenvalue(self) -> float:
        """A proved upper bound of the largest eigenvalue of S P S (largest row sum)."""
        return norm_bound(self.balanced)

    def factorized(self) -> Solve:
        """The solve with P in working precision."""
        if (others := elsewhere(self)) is not None:
            return others.solve
        if self._solve is None:
            self._solve = solve_positive_definite(self.solver, self.matrix)
        if self._solve is None:
            raise ModelError(
                f"the product is not positive definite (its factorisation met a pivot <= 0){self.defect()}"
            )
        return self._solve

    def check(self) -> None:
        """Raise ModelError for a P that is not positive definite, now and not in the middle of a greedy run.

        P is factorised, which is kept, if that shows it. With a solver that shows nothing, diagonal entries and signs
        of pivots are looked at; of more than 5000 unknowns a few Lanczos steps, and a trial solve. A stiffness matrix
        without Dirichlet conditions, which maps constants to round-off, is refused whatever pivots are.
        """
        if self.solver is None or prover(self.solver, self.matrix) is not None:
            self.factorized()
        elif not np.all(np.asarray(self.matrix.diagonal()).real > 0) or not self._seems_definite():
            raise ModelError("the product is not positive definite" + self.defect())
        if maps_constants_to_zero(self.matrix):
            raise ModelError("the product is not positive definite to working precision" + self.defect())

    def _seems_definite(self) -> bool:
        """Return False if P is shown not to be definite, where the solver of the user does not show it."""
        if self.shape[0] <= PROOF_LIMIT:
            return factorize_positive_definite(self.matrix) is not None
        if bent_down(self):
            return False
        self.factorized()(self.matrix @ np.ones((self.shape[0], 1)))  # a solver that fails does so now
        return True

    def defect(self, otherwise: str = ELIMINATE) -> str:
        """Return the end of a message: which usual cause makes P indefinite or singular, and what to do."""
        return defect(self.matrix, otherwise)

    def __getstate__(self) -> dict[str, Any]:
        """Return the state for pickle and copy, without the factorisation, which is made again where it is needed."""
        return {**vars(self), "_solve": None}

    def riesz(self, functionals: np.ndarray, start: np.ndarray | None = None) -> np.ndarray:
        """Return the Riesz representers V = P^{-1} W (n, m), refined with extended-precision residuals.

        They are right to a few u while cond(P) u << 1. Raises ModelError if the residual does not become small, as with
        a `solver` that is not accurate.

        start : V in working precision, if it is at hand; one solve less, the accuracy is checked all the same
        """
        return self._refined(functionals, start)[0]

    def riesz_with_error(
        self, functionals: np.ndarray, start: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return V as :meth:`riesz`, and proved bounds (m,) of its distance from P^{-1} W in the P-norm.

        That distance is ||W - P V||_{P^-1}. With the last correction y of V and its residual rho: W - P V = (rho - P y)
        + P e, e the rounding of V + y, and ||P e||_{P^-1} = ||e||_P <= ||S P S||^{1/2} u ||S^-1 V||_2. Cost: one
        product with P more.
        """
        v, rho, y = self._refined(functionals, start)
        return v, self.distance_after(v, rho, y)

    def distance_after(self, v: np.ndarray, rho: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Return the bounds of :meth:`riesz_with_error` (m,) of V, whose last correction was y, for a residual rho."""
        last = residual_sizes(self.matrix, self.balance, rho, y)
        sizes = sizes_in_units(v, 1 / self.balance)
        off = last.residual + self._product_rounding(last, np.iscomplexobj(rho))
        # of the product with V before its last correction; in all rows the same up to their largest entries
        off = off + self._rounding_size * (sizes + last.vector)
        return off / np.sqrt(self.smallest_eigenvalue) + ROUND_OFF * np.sqrt(self.largest_eigenvalue) * sizes

    def _refined(self, functionals: np.ndarray, start: np.ndarray | None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return V, and of the last refinement the residual before it and the correction."""
        if functionals.shape[1] == 0:
            return functionals, functionals, functionals
        solve = self.factorized()
        units = self.balance[:, None]
        row = float((self.split.row_max * self.balance).max())
        v = solve(functionals) if start is None else start
        for _ in range(MAX_REFINEMENTS):
            hi, lo = extended.product(self.split, v)
            rho = (functionals - hi) - lo
            backward = largest_entries(rho * units)
            allowed = ACCURATE * (largest_entries(functionals * units) + row * largest_entries(v / units))
            y = solve(rho)
            v = v + y
            if np.all(backward <= allowed):
                return v, rho, y
        worst = float(np.max(backward / np.where(allowed > 0, allowed, 1.0))) * ACCURATE
        raise ModelError(
            f"solves with the product leave a relative backward error of {worst:.1e} after {MAX_REFINEMENTS} "
            "refinements: the solver is not accurate enough"
        )

    @cached_property
    def _rounding_size(self) -> float:
        """Return s with ||S rounding(P v)||_2 <= s ||S^-1 v||_2 (:func:`rbm.arithmetic.extended.rounding`)."""
        unit = np.zeros((self.shape[0], 1))
        unit[0] = self.balance[0]  # any vector with |S^-1 v| = 1 in its largest entry
        return float(column_norm_bounds(extended.rounding(self.split, unit) * self.balance[:, None])[0])

    def _product_rounding(self, sizes: ResidualSizes, complex_valued: bool) -> np.ndarray:
        """Bound (m,) the rounding of S (w - P y): (K + 2) u (||S w|| + || |S P S| || ||S^-1 y||)."""
        several = 4 if np.iscomplexobj(self.matrix) or complex_valued else 1
        constant = several * (self.split.terms + 2) * ROUND_OFF
        return constant * (sizes.functional + self.largest_eigenvalue * sizes.vector)

    def dual_norm(self, functionals: np.ndarray | extended.Extended) -> np.ndarray:
        """Return ||w||_{P^-1} = (w^H P^{-1} w)^{1/2} (m,) per column, right to a few u while cond(P) u << 1."""
        return self.dual_norm_with_error(functionals)[0]

    def dual_norm_with_error(self, functionals: np.ndarray | extended.Extended) -> tuple[np.ndarray, np.ndarray]:
        """Return dual norms (m,) and proved bounds (m,) of their error beyond 8 u of the norm.

        With V = fl(P^{-1} W), W in double or as hi + lo, and its residual rho = W - P V known in extended precision,

            w^H P^{-1} w = w^H v + rho^H v + ||rho||_{P^-1}^2,

        where the two products are formed in extended precision and the last is the error, by :meth:`dual_norm_upper`.
        """
        w, tail = functionals if isinstance(functionals, tuple) else (functionals, np.zeros_like(functionals))
        n, m = w.shape
        if m == 0:
            return np.zeros(0), np.zeros(0)
        if not (np.all(np.isfinite(w)) and np.all(np.isfinite(tail))):
            raise ModelError(
                "a residual has entries that are NaN or infinite, beyond the range of double precision; scale the "
                "right-hand side and operators"
            )
        (w, tail), exponents = self._in_range(w, tail)
        u = ROUND_OFF
        v = self.riesz(w)
        hi, lo = extended.product(self.split, v)
        rho = (w - hi) - lo
        square = (extended.dot(w, v) + ((rho + 2 * tail).conj() * v).sum(axis=0)).real
        size = np.abs(v)
        of_rho = extended.rounding(self.split, v)
        error = (size * (of_rho + 8 * n * u * (np.abs(rho) + np.abs(tail)))).sum(axis=0)
        left = self.dual_norm_upper(rho + tail) + self.dual_norm_bound(of_rho + u * (np.abs(rho) + np.abs(tail)))
        error = error + 2 * (n + 8) * u**2 * (np.abs(w) * size).sum(axis=0) + left**2
        norm = root_of_square(square, error, w)
        root = np.sqrt(error)
        error = np.where(norm > root, error / np.where(norm > 0, norm, 1.0), root)
        return (norm, error) if exponents is None else (scaled(norm, exponents), scaled(error, exponents))

    def dual_norm_bound(self, sizes: np.ndarray) -> np.ndarray:
        """Bound ||e||_{P^-1} over all e with |e_i| <= sizes_i, for each column of sizes (n, m).

        They are ||S e||_2 / lambda_min(S P S)^{1/2}. (The norm of the sizes would be none: P^{-1} may be negative.)
        """
        return column_norm_bounds(sizes * self.balance[:, None]) / np.sqrt(self.smallest_eigenvalue)

    def dual_norm_upper(self, functionals: np.ndarray) -> np.ndarray:
        """Return a proved upper bound t (m,) of ||w||_{P^-1}, by one solve in working precision.

        With y = fl(P^{-1} w), whatever its error, and what it leaves, d = w - P y,

            t^2 = w^H y + w^H P^{-1} d <= a + t b,  a = |w^H y|,  b = ||S d||_2 / lambda_min(S P S)^{1/2},

        hence t <= (b + (b^2 + 4 a)^{1/2}) / 2, with the rounding of a and d added; close to it while cond(P) u << 1.
        """
        (w,), exponents = self._in_range(functionals)
        bound = self.upper_from_solve(w, self.factorized()(w))
        return bound if exponents is None else scaled(bound, exponents)

    def upper_from_solve(self, w: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Return the bounds of :meth:`dual_norm_upper` (m,) from y = fl(P^{-1} w), for functionals in range."""
        sizes = residual_sizes(self.matrix, self.balance, w, y)
        a = sizes.product + 4 * (len(w) + 2) * ROUND_OFF * sizes.functional * sizes.vector
        b = sizes.residual + self._product_rounding(sizes, np.iscomplexobj(w))
        b /= np.sqrt(self.smallest_eigenvalue)
        return (1 + 8 * ROUND_OFF) * (b + np.sqrt(b**2 + 4 * a)) / 2

    @cached_property
    def smallest_eigenvalue(self) -> float:
        """A proved lower bound of the smallest eigenvalue of S P S (:mod:`rbm.affine.units`)."""
        return smallest_eigenvalue(self, self.prove, not self.proved)

    @property
    def proved(self) -> bool:
        """True if definiteness is proved; False with more than 5000 unknowns and a `solver` that proves nothing."""
        if self.solver is None or self.shape[0] <= PROOF_LIMIT or self.prove is not None:
            return True
        return not sp.issparse(self.matrix) and type(self.solver) in NAMED.values()  # these leave it to LAPACK

    @property
    def measured(self) -> str:
        """What is measured and not proved, in a sentence without its end; empty where all is proved."""
        if self.proved:
            return ""
        return (
            f"the definiteness of the product, and of terms, was measured with {shown(self.solver, self.matrix)} and "
            f"not proved, as for all of more than {PROOF_LIMIT} unknowns with a solver that proves nothing"
        )

    @property
    def prove(self) -> Prove | None:
        """The elimination of the `solver` that proves definiteness, for more than 5000 unknowns; None: ours does."""
        return prover(self.solver, self.matrix) if self.shape[0] > PROOF_LIMIT else None

    def norm(self, vectors: np.ndarray) -> np.ndarray:
        """Return the norm ||x||_P (m,) of each column of x (n, m)."""
        exponents = exponents_of(vectors / self.balance[:, None])
        within = np.all(np.abs(exponents) <= RANGE)
        x = vectors if within else scaled(vectors, -exponents)
        square = extended.dot(x, extended.product(self.split, x)[0]).real
        norm = root_of_square(square, np.zeros_like(square), x)
        return norm if within else scaled(norm, exponents)

    def orthonormality(self, vectors: np.ndarray) -> float:
        """Return a proved bound d of ||Z^H P Z - I||_F, so that ||Z x||_P <= (1 + d)^{1/2} ||x||_2."""
        n, count = vectors.shape
        if not count:
            return 0.0
        units, parts, adjoint = self.balance[:, None], [], vectors.conj().T
        for some in column_groups(self.matrix, vectors):
            hi, lo = extended.product(self.split, vectors[:, some])
            off = units * extended.rounding(self.split, vectors[:, some])
            norms = (column_norm_bounds(a) for a in (vectors[:, some] / units, units * np.abs(hi) + off, off))
            parts.append((adjoint @ hi + adjoint @ lo, *norms))
        gram, *sizes = (np.concatenate(list(part), axis=-1) for part in zip(*parts, strict=True))
        size, image, off_all = map(float, map(np.linalg.norm, sizes))
        rounding = size * (off_all + 4 * (n + 4) * ROUND_OFF * image)
        return float(np.linalg.norm(gram - np.eye(count))) * (1 + 4 * count * ROUND_OFF) + rounding

    def _in_range(self, *columns: np.ndarray) -> tuple[tuple[np.ndarray, ...], np.ndarray | None]:
        """Return columns whose squares are in range, scaled together by powers of two; exponents (m,) or None."""
        exponents = exponents_of(columns[0] * self.balance[:, None])
        if np.all(np.abs(exponents) <= RANGE):
            return columns, None
        return tuple(scaled(c, -exponents) for c in columns), exponents
