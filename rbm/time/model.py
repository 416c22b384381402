"""The full-order model of a parabolic problem."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from concurrent.futures import Executor
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from lowrank.progress import progress_bar
from rbm.affine.constraints import Constraints
from rbm.affine.fingerprints import digest
from rbm.affine.inner_product import InnerProduct
from rbm.affine.linear_rows import LinearRows
from rbm.affine.missing import check_model_arguments
from rbm.affine.terms import Terms, term_pairs
from rbm.arithmetic import extended
from rbm.errors import Interrupted, ModelError
from rbm.full_order import FullOrderModel
from rbm.parameters.coefficients import Coefficient
from rbm.parameters.space import ParameterSpace
from rbm.solvers.user_code import Solver
from rbm.stability.bound import StabilityBound, Unbound
from rbm.stability.verification import Verification
from rbm.time.coercivity import check_coercivity, check_kind
from rbm.time.control import checked_control
from rbm.time.decay import decay_rate
from rbm.time.energy import EnergySum
from rbm.time.initial import read_initial
from rbm.time.mass import Mass, read_mass
from rbm.time.space_time import space_time
from rbm.time.truth import PLAIN, SHARP, steps_of

__all__ = ["ErrorNorms", "TimeModel", "checked_times"]


class ErrorNorms(NamedTuple):
    """True errors (M, K + 1) of reduced trajectories, in the norms of :meth:`rbm.TimeModel.error_norms`."""

    energy: np.ndarray
    l2: np.ndarray


class TimeModel:
    """A parabolic model: find u^1 .. u^K in C^n or R^n with

        M(mu) (u^k - u^{k-1}) + dt A(mu) (theta u^k + (1 - theta) u^{k-1}) = dt g_k f(mu),    u^0 = u_0(mu).

    M, A, f and u_0 are affine in the sense of :class:`rbm.FullOrderModel`. M(mu) is Hermitian positive definite, A(mu)
    coercive. The truth is this recursion with the dt that is given, not its limit. docs/time.md has the bounds.

    Parameters
    ----------
    mass : M (n, n), or [(m_q, M_q), ...]: Hermitian positive semi-definite terms whose sum is definite, with positive
        coefficients
    operators, rhs, product, parameters : A, f, P and the parameter space, as for :class:`rbm.FullOrderModel`
    stability : lower bound alpha(mu) > 0 of the coercivity constant, Re (A v, v) >= alpha (P v, v): a number, an
        expression, a callable, :class:`rbm.stability.MinTheta`, :class:`rbm.stability.SCM` or
        :class:`rbm.stability.Pencil` (of a coercive pencil)
    dt : length of a step; steps : their number K
    initial : u_0, a vector (n,) or [(c_i, v_i), ...]; zero by default
    control : g (K,), what is taken where none is given; ones by default
    theta : 1 is the implicit Euler method, 1/2 Crank and Nicolson's, of second order in dt
    outputs : {name: vector (n,)} or {name: [(psi_q, vector), ...]}, linear ones; `output_units` their units
    solver : used for M + dt theta A and P in place of SuperLU and LAPACK, as for :class:`rbm.FullOrderModel`
    constraints : which unknowns were eliminated, as for :class:`rbm.FullOrderModel`
    periodic : u^0 = u^K in place of an initial value; solved and certified by :meth:`space_time` only

    Raises
    ------
    ModelError
        dt that is not a positive number, steps that are not a whole number of at least 1, theta outside [1/2, 1], a
        mass that is not Hermitian positive definite, an initial value or a control of the wrong length, NaN, quadratic
        outputs, and what :class:`rbm.FullOrderModel` raises.

    Examples
    --------
    >>> import rbm
    >>> stiffness = np.array([[2.0, -1.0], [-1.0, 2.0]])
    >>> model = TimeModel(mass=np.eye(2), operators=[("k", stiffness)], rhs=[(1.0, np.ones(2))], product=stiffness,
    ...                   parameters={"k": (1.0, 2.0)}, stability="k", dt=0.5, steps=3)
    >>> model.solve([1.0]).shape
    (1, 4, 2)
    """

    def __init__(
        self,
        mass: Any = None,
        operators: Terms | None = None,
        rhs: Terms | None = None,
        product: Any = None,
        parameters: ParameterSpace | Mapping[str, tuple[float, float]] | None = None,
        stability: Coefficient | Unbound | StabilityBound | None = None,
        *,
        dt: float,
        steps: int,
        initial: Any = None,
        control: Any = None,
        theta: float = 1.0,
        outputs: Mapping[str, Any] | None = None,
        output_units: Mapping[str, str] | None = None,
        solver: Solver | str | None = None,
        constraints: Constraints | None = None,
        periodic: bool = False,
    ) -> None:
        if mass is None:
            raise ModelError("mass is missing: give M (n, n), or [(coefficient, M_q), ...]")
        self.dt, self.steps, self.theta = checked_times(dt, steps, theta)
        self.periodic = periodic
        check_model_arguments("needs", operators=operators, rhs=rhs)
        check_kind(stability)
        #: A, f and P with the stability bound: the problem without time
        self.spatial = FullOrderModel(
            operators, rhs, product, parameters, stability, outputs, solver, "galerkin", None, output_units, constraints
        )
        _refuse_rows(self.outputs)
        quadratic = [name for name, output in self.outputs.items() if output.quadratic]
        if quadratic:
            raise ModelError(f"output {quadratic[0]!r} is quadratic; a TimeModel has linear outputs, vectors (n,)")
        self.mass: Mass = read_mass(mass, self.spatial)
        terms = [*zip(self.spatial.operator_coefficients.sources, self.spatial.operator_terms, strict=True)]
        terms += zip(self.mass.coefficients.sources, self.mass.terms, strict=True)
        sources = self.spatial.rhs_coefficients.sources
        #: the terms of A, then those of M, as one system: what residuals are made of. Its stability means nothing
        self.joint = FullOrderModel(
            term_pairs("operators", terms),
            [*zip(sources, self.spatial.rhs_terms.T, strict=True)],
            self.inner_product,
            self.parameters,
            1.0,
            solver=solver,
            constraints=constraints,
        )
        self.initial = read_initial(initial, self.parameters, self.dimension)
        if periodic and self.initial.present:
            raise ModelError("a periodic model has no initial value: u^0 = u^K")
        self.control = checked_control(
            np.ones(self.steps) if control is None else control, self.steps, None, self.spatial.constraints
        )
        if self.control.ndim != 1:
            raise ModelError(f"the model's own control must have the shape ({self.steps},), got {self.control.shape}")

    @property
    def parameters(self) -> ParameterSpace:
        """The parameter space."""
        return self.spatial.parameters

    @property
    def outputs(self) -> Mapping[str, Any]:
        """The outputs of the full model, by name."""
        return self.spatial.outputs

    @property
    def inner_product(self) -> InnerProduct:
        """The inner product P."""
        return self.spatial.inner_product

    @property
    def dimension(self) -> int:
        """The number n of unknowns."""
        return self.spatial.dimension

    @cached_property
    def decay(self) -> float:
        """A proved lambda with P >= lambda W, W the sum of the mass terms (:func:`rbm.time.decay.decay_rate`)."""
        found = decay_rate(self.inner_product, self.mass.whole)
        return found / (1 + self.mass.slack)

    @property
    def times(self) -> np.ndarray:
        """The times t_k = k dt (K + 1,)."""
        return self.dt * np.arange(self.steps + 1)

    def fingerprint(self) -> str:
        """Return the SHA-256 of what a POD-greedy run depends on."""
        of_time = np.array([self.dt, self.steps, self.theta, self.periodic])
        of_start = (self.initial.coefficients, self.initial.vectors)
        return self.spatial.fingerprint() + digest((self.mass.coefficients, self.mass.terms, of_start, of_time))

    def coefficients(self, mus: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Return the coefficients of A (M, Qa), M (M, Qm), f (M, Qf) and u_0 (M, Q0) at checked points (M, p)."""
        spatial = self.spatial
        weights = self.mass.weights(mus)
        return (
            spatial.operator_coefficients(mus),
            weights,
            spatial.rhs_coefficients(mus),
            self.initial.coefficients(mus),
        )

    def march(
        self, mu: Any, control: Any = None, *, extrapolate: bool = False, wanted: float = SHARP
    ) -> Iterator[extended.Extended]:
        """Yield u^0, u^1, .. u^K at one point mu (p,), each as hi + lo, (n, 1); no trajectory is kept.

        wanted : how small the next correction of a step would be, as a share of the solution

        Raises ParameterError for a bad parameter, ModelError for a bad control or a singular matrix.
        """
        if self.periodic:
            raise ModelError("a periodic model has no first step to march from; space_time() has its solution")
        mus = self.parameters.validate(mu, extrapolate)
        if len(mus) != 1:
            raise ModelError(f"march takes one parameter point, got {len(mus)}; solve takes many")
        g = checked_control(self.control if control is None else control, self.steps, 1, self.spatial.constraints)
        g = g.reshape(-1)
        of_a, of_m, of_f, of_start = (c[0] for c in self.coefficients(mus))
        start = self.initial(of_start)
        try:
            yield from steps_of(self.joint, (of_a, of_m, of_f), g, start, self.dt, self.theta, wanted)
        except ModelError as error:
            raise ModelError(f"the march at {self.parameters.describe(mus[0])} failed: {error}") from error

    def solve(self, mus: Any, control: Any = None, *, extrapolate: bool = False, progress: bool = False) -> np.ndarray:
        """Return trajectories u^0 .. u^K (M, K + 1, n), right to the last few bits.

        control : None, "impulse", (K,) for all points or (M, K) for each

        Raises as :meth:`march`, and Interrupted on Ctrl-C, whose `result` has the trajectories so far, NaN in others.
        Cost: M factorisations, and two or three solves and products a step. Memory: the result.
        """
        hi, _ = self._solved(mus, control, extrapolate, progress, PLAIN)
        return hi

    def solve_extended(
        self, mus: Any, control: Any = None, *, extrapolate: bool = False, progress: bool = False
    ) -> extended.Extended:
        """Return the same as hi + lo, the reference for errors as small as round-off."""
        return self._solved(mus, control, extrapolate, progress, SHARP)

    def _solved(self, mus: Any, control: Any, extrapolate: bool, progress: bool, wanted: float) -> extended.Extended:
        mus = self.parameters.validate(mus, extrapolate)
        g = checked_control(
            self.control if control is None else control, self.steps, len(mus), self.spatial.constraints
        )
        kind = complex if self._is_complex(mus, g) else float
        shape = (len(mus), self.steps + 1, self.dimension)
        hi, lo = np.full(shape, np.nan, kind), np.full(shape, np.nan, kind)
        try:
            with progress_bar(None, "trajectories", enabled=progress, total=len(mus)) as bar:
                for i, mu in enumerate(mus):
                    path = self.march(mu, g[i], extrapolate=True, wanted=wanted)
                    for k, (head, tail) in enumerate(path):
                        hi[i, k], lo[i, k] = head[:, 0], tail[:, 0]
                    bar.update(1)
        except KeyboardInterrupt as interrupt:
            raise Interrupted("interrupted; `result` has the trajectories so far", (hi, lo)) from interrupt
        return hi, lo

    def _is_complex(self, mus: np.ndarray, control: np.ndarray) -> bool:
        arrays = [*self.coefficients(mus), control, self.joint.rhs_terms, self.initial.vectors]
        return any(np.dtype(a.dtype).kind == "c" for a in (*arrays, *self.joint.operator_terms))

    def error_norms(self, mus: Any, coefficients: np.ndarray, basis: np.ndarray, control: Any = None) -> ErrorNorms:
        """Return the true errors of reduced trajectories gamma (M, K + 1, N), for studies and tests.

        energy : (||e^k||_M^2 + dt sum_{j<=k} Re (A e_theta^j, e_theta^j))^{1/2};    l2 : ||e^k||_M

        The truth marches beyond double precision, and Z gamma is formed so. Cost: one full-order march a point.

        Raises ModelError for coefficients of another shape.
        """
        mus = self.parameters.validate(mus, extrapolate=True)
        g = checked_control(
            self.control if control is None else control, self.steps, len(mus), self.spatial.constraints
        )
        wanted = (len(mus), self.steps + 1, basis.shape[1])
        if np.shape(coefficients) != wanted or basis.shape[0] != self.dimension:
            raise ModelError(f"coefficients must have the shape {wanted}, got {np.shape(coefficients)}")
        energy, l2 = np.zeros(wanted[:2]), np.zeros(wanted[:2])
        for i, mu in enumerate(mus):
            of_a, of_m = (c[0] for c in self.coefficients(mu[None])[:2])
            norms = EnergySum(self, of_a, of_m)
            for k, u in enumerate(self.march(mu, g[i], extrapolate=True)):
                z = extended.product(basis, coefficients[i, k][:, None])
                hi, lo = extended.add(u, (-z[0], -z[1]))
                norms.add(hi + lo)
                energy[i, k], l2[i, k] = norms.norm, norms.l2
        return ErrorNorms(energy, l2)

    def space_time(self, stability: Any = None) -> FullOrderModel:
        """Return the whole trajectory as one model of K n unknowns (:mod:`rbm.time.space_time`).

        stability : of the whole; :class:`rbm.stability.NaturalNorm` by default. For the implicit Euler method a bound
            of the coercivity constant of A bounds that of the whole, as sums of (M (u^k - u^{k-1}), u^k) are not
            negative: where A is coercive give it here, as a number or an expression
        """
        return space_time(self, stability)

    def verify(self, samples: int = 5, rng: int = 0, *, executor: Executor | None = None) -> Verification:
        """Check the claims about A and P as :meth:`rbm.FullOrderModel.verify`, and that alpha bounds coercivity.

        executor : as there

        Raises ModelError or StabilityError at the first that fails.
        """
        mus = self.parameters.sample(samples, "random", rng=rng)
        self.mass.weights(mus)
        found = self.spatial.verify(samples, rng, executor=executor)
        more = ["the mass terms sum to a positive definite matrix, proved, with positive coefficients on the samples"]
        more.append(check_coercivity(self.spatial, mus) or "not checked: coercivity, of terms without entries")
        return Verification((*found.checks, *more))

    def __repr__(self) -> str:
        scheme = {1.0: "implicit Euler", 0.5: "Crank-Nicolson"}.get(self.theta, f"theta = {self.theta:g}")
        return f"TimeModel({self.steps} steps of {self.dt:g}, {scheme}, of {self.spatial!r})"


def checked_times(dt: Any, steps: Any, theta: Any) -> tuple[float, int, float]:
    """Return length and number of steps, and theta; raise ModelError for numbers that cannot be these."""
    number = int | float | np.integer | np.floating
    if isinstance(dt, bool) or not (isinstance(dt, number) and 0 < dt < np.inf):
        raise ModelError(f"dt must be a positive number, the length of a step, got {dt!r}")
    if isinstance(steps, bool) or not (isinstance(steps, int | np.integer) and steps >= 1):
        raise ModelError(f"steps must be a whole number of at least 1, got {steps!r}")
    if isinstance(theta, bool) or not (isinstance(theta, number) and 0.5 <= theta <= 1):
        raise ModelError(
            f"theta must lie between 1/2 (Crank-Nicolson) and 1 (implicit Euler), got {theta!r}; below 1/2 the scheme "
            "is not stable for every dt, and no bound holds"
        )
    return float(dt), int(steps), float(theta)


def _refuse_rows(outputs: Mapping[str, Any]) -> None:
    """Raise ModelError for an array-valued output."""
    several = [name for name, output in outputs.items() if isinstance(output, LinearRows)]
    if several:
        raise ModelError(
            f"output {several[0]!r} has several values; a TimeModel has outputs of one: give each row a name"
        )
