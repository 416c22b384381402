"""The full-order model: a parametrised linear system in affine form, with all that certifies its reduction."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import Executor
from contextlib import suppress
from typing import Any, Literal, get_args

import numpy as np

from lowrank.renamed import renamed
from rbm.affine.constraints import Constraints, bound_to
from rbm.affine.fingerprints import digest
from rbm.affine.missing import check_model_arguments
from rbm.affine.system import AffineSystem
from rbm.affine.terms import Terms, read_outputs, term_pairs
from rbm.affine.truth_solves import FORESEEN, solutions
from rbm.arithmetic import extended
from rbm.errors import Interrupted, ModelError, PointError
from rbm.parameters.coefficients import Coefficient, Coefficients
from rbm.parameters.pickling import check_travel
from rbm.parameters.space import ParameterSpace, checked_units, parameter_space
from rbm.solution import check_output_names
from rbm.solvers.user_code import Solver
from rbm.stability.bound import StabilityBound, Unbound, bind
from rbm.stability.verification import Verification, checks_of, verified
from rbm.workers.crew import Crew

__all__ = ["FullOrderModel", "Projection", "check_projection"]

Projection = Literal["galerkin", "least-squares"]


class FullOrderModel(AffineSystem):
    """A full-order model: find u(mu) in C^n or R^n with A(mu) u = f(mu).

    Operator and right-hand side are affine: A(mu) = sum_q theta_q(mu) A_q, f(mu) = sum_q phi_q(mu) f_q.

    Parameters
    ----------
    operators : [(theta_q, A_q), ...]; A_q (n, n) scipy sparse, dense, a :class:`lowrank.LowRankMatrix`, which is never
        formed (docs/low-rank-operators.md), or a LinearOperator (then give `solver`)
    rhs : [(phi_q, f_q), ...]; f_q (n,), or one column (n, 1)
    product : P (n, n), Hermitian positive definite, sparse or dense: errors are measured in ||v||_P = (v^H P v)^{1/2}
    parameters : the :class:`rbm.ParameterSpace`, or its ranges {"mu": (1.0, 100.0)}
    stability : lower bound beta(mu) > 0 of the coercivity or inf-sup constant with respect to P: a number, an
        expression, a vectorised callable, or what computes one: :class:`rbm.stability.MinTheta` and
        :class:`rbm.stability.SCM` (coercive), :class:`rbm.stability.Pencil` (a(mu) K + b(mu) M),
        :class:`rbm.stability.NaturalNorm` (any), :class:`rbm.stability.Anchored` (any, for dense matrices)
    outputs : {name: vector (n,)} or {name: [(psi_q, vector), ...]}: s(mu) = l(mu)^T u(mu) (no conjugate); Hermitian
        matrices (n, n) in their place make a quadratic output u^H Q(mu) u. A pair (c, number) adds c(mu) times it to a
        linear one. :class:`rbm.Linear` of C (k, n) makes a linear output of k values
    output_units : {name: unit}, texts for tables, "K" for instance
    solver : used for A(mu) and P in place of SuperLU and LAPACK (docs/solvers.md): a name, "superlu", "pardiso",
        "cholmod", "amg", "petsc", "auto"; an object with ``factorize(matrix) -> solve`` and ``solve(rhs (n, k)) ->
        (n, k)``, which keeps its factors, as those of :mod:`rbm.solvers`; a function ``(matrix, rhs (n, k)) -> (n,
        k)``. All get copies, which they may overwrite (:mod:`rbm.solvers.user_code`)
    projection : how reduced models are made: "galerkin", for coercive problems, or "least-squares", which is stable for
        all
    interpolation_error : (eps_A, eps_f), coefficients, if the model stands for another one that is not affine,
        A'(mu) u' = f'(mu): eps_A(mu) >= ||A'(mu) - A(mu)|| from P to P', eps_f(mu) >= ||f'(mu) - f(mu)||_{P'}.
        Error bounds are then for u', (||r|| + eps_f + eps_A ||Z gamma||_P) / (beta - eps_A)
    constraints : which unknowns :func:`rbm.constrain` has eliminated, kept so that vectors can be shown with all of
        them, ``model.constraints.expand(u, mus)``

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
    ...     operators=[(1.0, np.diag([2.0, 3.0])), ("mu", np.eye(2))], rhs=[(1.0, np.ones(2))],
    ...     product=np.diag([2.0, 3.0]), parameters=rbm.ParameterSpace({"mu": (1.0, 10.0)}), stability=1.0)
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
        solver: Solver | str | None = None,
        projection: Projection = "galerkin",
        interpolation_error: tuple[Coefficient, Coefficient] | None = None,
        output_units: Mapping[str, str] | None = None,
        constraints: Constraints | None = None,
    ) -> None:
        check_model_arguments("needs", operators=operators, rhs=rhs)
        operators, rhs = term_pairs("operators", operators), term_pairs("rhs", rhs)
        check_model_arguments(product=product, parameters=parameters, stability=stability)
        assert parameters is not None  # which the line above has seen to
        assert stability is not None
        super().__init__(operators, rhs, product, parameter_space(parameters), solver)
        self.projection = check_projection(projection)
        self.interpolation_error = None
        if interpolation_error is not None:
            if not (isinstance(interpolation_error, tuple | list) and len(interpolation_error) == 2):
                raise ModelError("interpolation_error must be a pair (eps_A, eps_f) of coefficients")
            self.interpolation_error = Coefficients(interpolation_error, self.parameters)
        self.outputs = read_outputs(outputs, self.parameters, self.inner_product)
        rows = (f"{name}[{i}]" for name, o in self.outputs.items() for i in range(getattr(o, "rows", 0)))
        check_output_names([*self.outputs, *rows], self.parameters.names)
        self.output_units = checked_units(output_units, self.outputs, "output")
        self.constraints = bound_to(constraints, self.parameters, self.dimension)
        self.stability_given = stability
        self.stability = bind(stability, self)

    def fingerprint(self) -> str:
        """Return the SHA-256 of what a greedy run depends on.

        These are terms, coefficients, product, ranges, outputs, stability bound and interpolation error.

        Of the stability bound counts what was asked for, as computed constants differ in their last bits. Not part of
        it: the solver, which changes round-off only, and the projection, which a run keeps by itself.
        """
        outputs = {
            name: (o.coefficients, *o.terms, *(() if o.offset is None else (o.offset.coefficients, o.offset.numbers)))
            for name, o in self.outputs.items()
        }
        rhs = (self.rhs_coefficients, self.rhs_terms)
        return digest((self.operators_fingerprint(), rhs, outputs, self.stability_given, self.interpolation_error))

    def solve(
        self, mus: Any, *, extrapolate: bool = False, progress: bool = False, executor: Executor | Crew | None = None
    ) -> np.ndarray:
        """Return the solutions u(mu) (M, n), from LU and refinement with an extended-precision residual.

        executor : solves at several points at a time: process and thread pools, Dask, MPI, loky, anything with the
            interface of concurrent.futures (docs/scale.md). The model travels once per worker; the answers are the same

        Right to the last few bits for cond(A) up to about 1e8; beyond that the relative error is about 2^-77 cond(A).

        Raises ParameterError for a bad parameter, ModelError if A(mu) is singular: after all points were tried, the
        parameter named, with `rows` (k,) that failed and `solution` (M, n), NaN there. Interrupted on Ctrl-C: its
        `result` (M, n) has the solutions so far, and NaN in all other rows.
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
        self, mus: Any, *, extrapolate: bool = False, progress: bool = False, executor: Executor | Crew | None = None
    ) -> extended.Extended:
        """Return u(mu) as hi + lo, both (n, M), right to about 2^-77 cond(A).

        It is the reference for errors as small as round-off.

        Raises as :meth:`solve`; `solution` of the error and `result` of Interrupted are (hi, lo), with NaN in the
        columns that have no solution.
        """
        return solutions(self, self.parameters.validate(mus, extrapolate), np.inf, progress, executor)

    def error_norm(
        self, mus: Any, coefficients: np.ndarray, basis: np.ndarray, reference: extended.Extended | None = None
    ) -> np.ndarray:
        """Return the true error ||u(mu) - Z gamma||_P (M,), for studies and tests.

        The solution it is measured against is known beyond double precision.

        reference : u as hi + lo (n, M) from :meth:`solve_extended`, if it is at hand. Cost: M factorisations otherwise.
        """
        mus = self.parameters.validate(mus, extrapolate=True)
        coefficients, basis = self.checked_vectors(mus, coefficients, basis)
        u = self.solve_extended(mus, extrapolate=True) if reference is None else reference
        z = extended.product(basis, coefficients.T)
        hi, lo = extended.add(u, (-z[0], -z[1]))
        return self.inner_product.norm(hi + lo)

    @renamed(seed="rng")
    def verify(
        self,
        samples: int = 5,
        rng: int = 0,
        assembled: Callable[[np.ndarray], Any] | None = None,
        *,
        executor: Executor | None = None,
    ) -> Verification:
        """Check the model's claims on random parameter points.

        Raises ModelError or StabilityError at the first that fails, and Interrupted on Ctrl-C, whose `result` lists the
        checks that were passed; WorkersLost has them as `solution`.

        samples, rng : number of points, and which. The stability bound is compared with the inf-sup constant at each,
            for models of any size, at the cost of a few full-order solves (:func:`rbm.stability.check.check_stability`)
        assembled : function mu (p,) -> matrix A(mu) assembled by other means, compared with the affine sum
        executor : its workers compute the inf-sup constants, of a point each (docs/scale.md); the answer is the same
        """
        claimed = self.stability, self.interpolation_error
        return verified(checks_of(self, *claimed, samples, rng, assembled, executor))

    def __getstate__(self) -> dict[str, Any]:
        """Return all but factorisations, which are made again.

        Raises ModelError for functions that no other process could find by their names.
        """
        families: list[Any] = [self.operator_coefficients, self.rhs_coefficients]
        families += [o.coefficients for o in self.outputs.values()]
        families += [o.offset.coefficients for o in self.outputs.values() if o.offset is not None]
        families += [self.interpolation_error, getattr(self.stability, "coefficient", None), self.constraints]
        check_travel(families, self.solver, self.split_terms)
        return dict(vars(self))

    def __repr__(self) -> str:
        parts = [self.rhs_terms, *self.operator_terms]
        with suppress(Exception):  # coefficients are the user's; no repr may fail
            middle = (self.parameters.bounds / 2).sum(axis=1)[None]
            parts += [self.operator_coefficients(middle), self.rhs_coefficients(middle)]
        kind = "complex" if any(np.iscomplexobj(part) for part in parts) else "real"
        outputs = f", outputs {', '.join(self.outputs)}" if self.outputs else ""
        if self.solver is not None:
            choose = getattr(self.solver, "choice", None)  # of Auto: which one P gets, and why
            outputs += f", solver {self.solver if choose is None else choose(self.product)}"
            outputs += "" if self.inner_product.proved else ", definiteness measured, not proved"
        return (
            f"FullOrderModel({self.dimension} unknowns, {kind}, {len(self.operator_terms)} operator and "
            f"{self.rhs_terms.shape[1]} right-hand side terms, {self.parameters}{outputs})"
        )


def check_projection(projection: Any) -> Projection:
    """Return the name of a projection; raise ModelError for any other."""
    if projection not in get_args(Projection):
        raise ModelError(f"projection must be one of {', '.join(map(repr, get_args(Projection)))}, got {projection!r}")
    return projection
