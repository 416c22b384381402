"""The full-order model: a parametrised linear system in affine form, with all that certifies its reduction."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import Executor
from contextlib import suppress
from typing import Any, Literal, get_args

import numpy as np
import scipy.sparse as sp
from scipy.sparse.linalg import aslinearoperator

from rbm import extended, fingerprints, serialization, verification
from rbm.affine import SparseSum, TermStack
from rbm.coefficients import Coefficient, Coefficients
from rbm.entries import dense_entries, entries
from rbm.errors import Interrupted, ModelError, PointError
from rbm.factorization import Solve
from rbm.missing import check_model_arguments, check_terms
from rbm.online.chunks import slices
from rbm.outputs import read_outputs
from rbm.parameters import ParameterSpace, checked_units, parameter_space
from rbm.riesz import InnerProduct
from rbm.stability import StabilityBound, Unbound, bind
from rbm.tables import check_output_names
from rbm.terms import Terms, operator_term, term_pairs, vector_term
from rbm.truth_solves import FORESEEN, solutions
from rbm.user_code import Solver, UserOperator

__all__ = ["FullOrderModel", "Projection", "check_projection"]

Projection = Literal["galerkin", "least-squares"]

#: Vectors that are multiplied by all terms together; more of them, term by term, for the memory.
FEW = 4


class FullOrderModel:
    """Find u(mu) in C^n or R^n with A(mu) u = f(mu), A(mu) = sum_q theta_q(mu) A_q, f(mu) = sum_q phi_q(mu) f_q.

    Parameters
    ----------
    operators : [(theta_q, A_q), ...]; A_q (n, n) scipy sparse, dense, or a LinearOperator (then give `solver`)
    rhs : [(phi_q, f_q), ...]; f_q (n,), or one column (n, 1)
    product : P (n, n), Hermitian positive definite, sparse or dense: errors are measured in ||v||_P = (v^H P v)^{1/2}
    parameters : the :class:`rbm.ParameterSpace`, or its ranges {"mu": (1.0, 100.0)}
    stability : lower bound beta(mu) > 0 of the coercivity or inf-sup constant with respect to P: a number, an
        expression, :class:`rbm.stability.MinTheta` (coercive), :class:`rbm.stability.Anchored` (any), or a vectorised callable
    outputs : {name: vector (n,)} or {name: [(psi_q, vector), ...]}: s(mu) = l(mu)^T u(mu) (no conjugate); Hermitian matrices (n, n)
        in their place make a quadratic output u^H Q(mu) u
    output_units : {name: unit}, texts for tables, "K" for instance
    solver : ``solver(matrix, rhs (n, k)) -> (n, k)``, used for A(mu) and P in place of SuperLU and LAPACK; it gets copies, which
        it may overwrite (:class:`rbm.user_code.UserSolver`)
    projection : how reduced models are made: "galerkin", for coercive problems, or "least-squares", which is stable for all
    interpolation_error : (eps_A, eps_f), coefficients, if the model stands for another one that is not affine, A'(mu) u' = f'(mu):
        eps_A(mu) >= ||A'(mu) - A(mu)|| from P to P', eps_f(mu) >= ||f'(mu) - f(mu)||_{P'}. Error bounds are then for u',
        (||r|| + eps_f + eps_A ||Z gamma||_P) / (beta - eps_A)

    Coefficients are numbers, expression strings in the parameter names, or vectorised callables `mus` (M, p) -> (M,);
    a model with callables works, but cannot be saved.

    Raises
    ------
    ModelError
        shapes that do not fit, NaN in a matrix, a product that is not Hermitian; StabilityError for a min-theta bound
        whose conditions fail. :meth:`verify` checks more.

    Examples
    --------
    >>> import rbm
    >>> model = FullOrderModel(
    ...     operators=[(1.0, np.diag([2.0, 3.0])), ("mu", np.eye(2))], rhs=[(1.0, np.ones(2))], product=np.diag([2.0, 3.0]),
    ...     parameters=rbm.ParameterSpace({"mu": (1.0, 10.0)}), stability=1.0)
    >>> model.solve([2.0])
    array([[0.25, 0.2 ]])
    """

    def __init__(
        self,
        operators: Terms | None = None,
        rhs: Terms | None = None,
        product: Any = None,
        parameters: ParameterSpace | Mapping[str, tuple[float, float]] | None = None,
        stability: Coefficient | Unbound | StabilityBound | None = None,
        outputs: Mapping[str, Any] | None = None,
        solver: Solver | None = None,
        projection: Projection = "galerkin",
        interpolation_error: tuple[Coefficient, Coefficient] | None = None,
        output_units: Mapping[str, str] | None = None,
    ) -> None:
        check_terms(operators=operators, rhs=rhs)
        operators, rhs = term_pairs("operators", operators), term_pairs("rhs", rhs)
        check_model_arguments(product=product, parameters=parameters, stability=stability)
        assert parameters is not None  # which the line above has seen to
        assert stability is not None
        self.parameters = parameters = parameter_space(parameters)
        self.solver = solver
        self.projection = check_projection(projection)
        self.interpolation_error = None
        if interpolation_error is not None:
            if not (isinstance(interpolation_error, tuple | list) and len(interpolation_error) == 2):
                raise ModelError("interpolation_error must be a pair (eps_A, eps_f) of coefficients")
            self.interpolation_error = Coefficients(interpolation_error, parameters)
        self.inner_product = InnerProduct(entries("the product", product), solver)
        n = self.inner_product.shape[0]
        self.operator_coefficients = Coefficients([c for c, _ in operators], parameters)
        self.rhs_coefficients = Coefficients([c for c, _ in rhs], parameters)
        self.operator_terms = tuple(operator_term(f"operator term {q}", a, n) for q, (_, a) in enumerate(operators))
        self.rhs_terms = np.stack(
            [vector_term(f"right-hand side term {q}", f, n) for q, (_, f) in enumerate(rhs)], axis=1
        )
        self.outputs = read_outputs(outputs, parameters, self.inner_product)
        check_output_names(self.outputs, parameters.names)
        self.output_units = checked_units(output_units, self.outputs, "output")
        if solver is None and not all(sp.issparse(a) or isinstance(a, np.ndarray) for a in self.operator_terms):
            raise ModelError(_without_solver(self.operator_terms))
        self.split_terms = tuple(
            UserOperator(a) if extended.is_black_box(a) else extended.SplitMatrix(a, self.inner_product.balance)
            for a in self.operator_terms
        )
        self._sum = SparseSum(self.operator_terms) if all(sp.issparse(a) for a in self.operator_terms) else None
        self.stack = TermStack(self.operator_terms, self.split_terms, self.inner_product.balance)
        self.inner_product.check()
        self.stability_given = stability
        self.stability = bind(stability, self)

    @property
    def dimension(self) -> int:
        """Number of unknowns n."""
        return self.inner_product.shape[0]

    @property
    def product(self) -> Any:
        """P (n, n)."""
        return self.inner_product.matrix

    @property
    def black_box(self) -> bool:
        """True if an operator term shows no entries (a LinearOperator)."""
        return not all(isinstance(a, extended.SplitMatrix) for a in self.split_terms)

    def fingerprint(self) -> str:
        """SHA-256 of all that a greedy run depends on (:func:`rbm.fingerprints.of_model`)."""
        return fingerprints.of_model(self)

    def assemble(self, theta: np.ndarray) -> Any:
        """A = sum_q theta_q A_q for one set of coefficients theta (Qa,); a LinearOperator if a term is one."""
        if self._sum is not None:
            return self._sum.assemble(theta)
        terms = self.operator_terms
        if self.black_box:
            matrices = (s.matrix if isinstance(s, extended.SplitMatrix) else s for s in self.split_terms)
            terms = tuple(aslinearoperator(a) for a in matrices)
        total = theta[0] * terms[0]
        for value, term in zip(theta[1:], terms[1:], strict=True):
            total = total + value * term
        return total

    def solve(
        self, mus: Any, *, extrapolate: bool = False, progress: bool = False, executor: Executor | None = None
    ) -> np.ndarray:
        """u(mu) (M, n): LU, then refinement with an extended-precision residual.

        executor : solves at several points at a time, a ThreadPoolExecutor or ProcessPoolExecutor (which pickles the model for every piece);
            the answers are the same

        Right to the last few bits for cond(A) up to about 1e8; beyond that the relative error is about 2^-77 cond(A).

        Raises ParameterError for a bad parameter, ModelError if A(mu) is singular: after all points were tried, the parameter named, with
        `rows` (k,) that failed and `solution` (M, n), NaN there. Interrupted on Ctrl-C: its `result` (M, n) has the solutions so far, and NaN
        in all other rows.
        Cost: M factorisations.
        """
        try:
            hi, lo = solutions(self, self.parameters.validate(mus, extrapolate), FORESEEN, progress, executor)
        except Interrupted as stopped:
            raise Interrupted(stopped.args[0], (stopped.result[0] + stopped.result[1]).T) from stopped.__cause__
        except PointError as error:
            if error.solution is not None:
                error.solution = (error.solution[0] + error.solution[1]).T
            raise
        return (hi + lo).T

    def solve_extended(
        self, mus: Any, *, extrapolate: bool = False, progress: bool = False, executor: Executor | None = None
    ) -> extended.Extended:
        """u(mu) as hi + lo, both (n, M), right to about 2^-77 cond(A): the reference for errors as small as round-off.

        Raises as :meth:`solve`; `solution` of the error and `result` of Interrupted are (hi, lo), with NaN in the columns that have no solution.
        """
        return solutions(self, self.parameters.validate(mus, extrapolate), np.inf, progress, executor)

    @property
    def has_symmetric_pattern(self) -> bool:
        """True if all terms are sparse and their common pattern is symmetric, so that pivots may be taken from the diagonal."""
        return self._sum is not None and self._sum.symmetric

    def factorize_assembled(self, matrix: Any) -> Solve:
        """Solve function of A(mu) as :meth:`assemble` makes it, pivots on the diagonal; RuntimeError where one is zero."""
        assert self._sum is not None
        return self._sum.factorize(matrix)

    def prepare(self) -> None:
        """Compute now what all solves share, which otherwise the first does."""
        if self._sum is not None:
            self._sum.prepare()

    def residual(self, theta: np.ndarray, phi: np.ndarray, x: extended.Extended) -> extended.Extended:
        """f(mu) - A(mu) x (n, M) for vectors x (n, M) given as hi + lo, in extended precision, then renormalised."""
        f = self.rhs_terms
        total = extended.two_product(f[:, :1], phi.T[:1])
        for q in range(1, f.shape[1]):
            total = extended.add(total, extended.two_product(f[:, q : q + 1], phi.T[q : q + 1]))
        if x[0].shape[1] > FEW:
            for q, term in enumerate(self.split_terms):
                total = extended.add(total, extended.scale(-theta.T[q : q + 1], extended.product(term, x)))
            return total
        images = extended.scale(-theta.T[self.stack.owner], self.stack.product(x))
        hi, lo = (np.array(part, dtype=np.result_type(part, images[0])) for part in total)
        for rows, part in zip(self.stack.rows, self.stack.parts, strict=True):
            hi[rows], lo[rows] = extended.add((hi[rows], lo[rows]), (images[0][part], images[1][part]))
        return hi, lo

    def residual_norm(
        self, mus: Any, coefficients: np.ndarray, basis: np.ndarray, *, extrapolate: bool = False
    ) -> np.ndarray:
        """||f(mu) - A(mu) Z gamma||_{P^-1} (M,) for coefficients gamma (M, N) in the basis Z (n, N), right to a few u.

        This is the black box that E1 evaluates and that E3 and E4 need at a few parameter points only. Cost O(n) each.
        """
        mus = self.parameters.validate(mus, extrapolate)
        coefficients, basis = self._reduced(mus, coefficients, basis)
        theta, phi = self.operator_coefficients(mus), self.rhs_coefficients(mus)
        norms = [
            self.inner_product.dual_norm(
                self.residual(theta[rows], phi[rows], extended.product(basis, coefficients[rows].T))
            )
            for rows in slices(len(mus))
        ]
        return np.concatenate(norms)

    def error_norm(
        self, mus: Any, coefficients: np.ndarray, basis: np.ndarray, reference: extended.Extended | None = None
    ) -> np.ndarray:
        """True error ||u(mu) - Z gamma||_P (M,) against a solution known beyond double precision; for studies and tests.

        reference : u as hi + lo (n, M) from :meth:`solve_extended`, if it is at hand. Cost: M factorisations otherwise.
        """
        mus = self.parameters.validate(mus, extrapolate=True)
        coefficients, basis = self._reduced(mus, coefficients, basis)
        u = self.solve_extended(mus, extrapolate=True) if reference is None else reference
        z = extended.product(basis, coefficients.T)
        hi, lo = extended.add(u, (-z[0], -z[1]))
        return self.inner_product.norm(hi + lo)

    def _reduced(self, mus: np.ndarray, coefficients: Any, basis: Any) -> tuple[np.ndarray, np.ndarray]:
        """Coefficients (M, N) and basis (n, N) as arrays, checked against each other and the parameter points."""
        coefficients, basis = dense_entries("coefficients", coefficients), dense_entries("basis", basis)
        if basis.ndim != 2 or basis.shape[0] != self.dimension:
            raise ModelError(
                f"basis has shape {basis.shape}, expected ({self.dimension}, N): one basis vector a column"
            )
        if coefficients.shape != (len(mus), basis.shape[1]):
            raise ModelError(
                f"coefficients have shape {coefficients.shape}, expected ({len(mus)}, {basis.shape[1]}): one row a parameter point"
            )
        return coefficients, basis

    def verify(
        self, samples: int = 5, seed: int = 0, assembled: Callable[[np.ndarray], Any] | None = None
    ) -> verification.Verification:
        """Check the model's claims on random parameter points; raises ModelError or StabilityError at the first that fails, and
        Interrupted on Ctrl-C, whose `result` lists the checks that were passed.

        samples, seed : number of points, and which. The stability bound is compared with the inf-sup constant at each, for
            models of any size, at the cost of a few full-order solves (:func:`rbm.stability_check.check_stability`)
        assembled : function mu (p,) -> matrix A(mu) assembled by other means, compared with the affine sum
        """
        return verification.verify(self, samples, seed, assembled)

    def __getstate__(self) -> dict[str, Any]:
        """All but factorisations, which are made again; ModelError for functions that no other process could find by their names."""
        return serialization.state(self)

    def __repr__(self) -> str:
        parts = [self.rhs_terms, *self.operator_terms]
        with suppress(Exception):  # coefficients are the user's; no repr may fail
            middle = (self.parameters.bounds / 2).sum(axis=1)[None]
            parts += [self.operator_coefficients(middle), self.rhs_coefficients(middle)]
        kind = "complex" if any(np.iscomplexobj(part) for part in parts) else "real"
        outputs = f", outputs {', '.join(self.outputs)}" if self.outputs else ""
        return (
            f"FullOrderModel({self.dimension} unknowns, {kind}, {len(self.operator_terms)} operator and {self.rhs_terms.shape[1]} "
            f"right-hand side terms, {self.parameters}{outputs})"
        )


def _without_solver(terms: tuple[Any, ...]) -> str:
    """What to say where a term shows no entries and nobody said how to solve."""
    q, term = next((q, a) for q, a in enumerate(terms) if not (sp.issparse(a) or isinstance(a, np.ndarray)))
    dense = ", or the matrix itself, .to_dense()" if hasattr(term, "to_dense") else ""
    return (
        f"operator term {q} is a LinearOperator ({type(term).__name__}), which shows no entries: give solver=, a function "
        f"(matrix, rhs (n, k)) -> (n, k){dense}"
    )


def check_projection(projection: Any) -> Projection:
    """The name of a projection, or ModelError."""
    if projection not in get_args(Projection):
        raise ModelError(f"projection must be one of {', '.join(map(repr, get_args(Projection)))}, got {projection!r}")
    return projection
