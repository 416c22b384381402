"""The reduced model of a parabolic problem: it marches and certifies many parameter points in one call."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np

from lowrank.progress import progress_bar
from rbm.arithmetic.precision import is_single
from rbm.errors import Interrupted, ModelError, ParameterError, PointError, moved
from rbm.estimate import Estimate
from rbm.estimators import Orthonormal
from rbm.online.chunks import pieces, slices
from rbm.online.marching import Recursion
from rbm.online.threads import each
from rbm.parameters.coefficients import Coefficients as Family
from rbm.parameters.space import ParameterSpace
from rbm.reduced.linear_terms import LinearTerms
from rbm.reduced.model import ReducedModel
from rbm.reduced.outputs import ReducedLinear
from rbm.time.certificate import Coefficients, TimeCertificate
from rbm.time.coercivity import coercivity
from rbm.time.control import checked_control
from rbm.time.dual import Correction, ReducedDual
from rbm.time.initial import ReducedInitial
from rbm.time.lost_digits import LostDigits
from rbm.time.marches import Certified, certified
from rbm.time.mass import check_definite, comparison, positive_weights
from rbm.time.outputs import functionals_of, output_values, terms_of
from rbm.time.solution import TimeSolution

__all__ = ["ReducedTimeModel"]

#: Bytes that one thread may take for the residuals of all steps, which dual problems need.
DUAL_BYTES = 32 << 20


@dataclass(frozen=True, eq=False, repr=False)
class ReducedTimeModel:
    """A certified reduced model in time; made by :func:`rbm.pod_greedy`, :func:`rbm.project_time` or :func:`rbm.load`.

    `terms` holds the reduced matrices of A_q, then of M_q, the basis, the outputs, with norms in the dual of the mass,
    and the factor of the residual; it has no solutions of its own.
    """

    terms: ReducedModel
    mass_coefficients: Family  #: m (Qm), those of the last terms
    initial: ReducedInitial
    control: np.ndarray  #: (K,), what is taken where none is given
    dt: float
    theta: float
    slack: float = 0.0  #: of :class:`rbm.time.mass.Mass`
    lost: LostDigits | None = None  #: of the residual's factor; None in single precision
    decay: float = 0.0  #: lambda with P >= lambda W, W the sum of the mass terms (:mod:`rbm.time.decay`)
    duals: Mapping[str, ReducedDual] = field(default_factory=dict)  #: of outputs that have one, by name

    @property
    def parameters(self) -> ParameterSpace:
        """The parameter space."""
        return self.terms.parameters

    @property
    def size(self) -> int:
        """The number of basis vectors N."""
        return self.terms.size

    @property
    def steps(self) -> int:
        """The number of steps K."""
        return len(self.control)

    @property
    def times(self) -> np.ndarray:
        """The times t_k = k dt (K + 1,)."""
        return self.dt * np.arange(self.steps + 1)

    @property
    def basis(self) -> np.ndarray | None:
        """The basis Z (n, N), if it was kept."""
        return self.terms.basis

    @property
    def outputs(self) -> Mapping[str, Any]:
        """The outputs, by name."""
        return self.terms.outputs

    @cached_property
    def recursion(self) -> Recursion:
        """The reduced recursion."""
        count = len(self.mass_coefficients)
        operators = self.terms.operators
        return Recursion(operators[:-count], operators[-count:], self.terms.rhs, self.dt, self.theta)

    @cached_property
    def certificate(self) -> TimeCertificate:
        """What makes bounds of residual norms."""
        state = self.terms.state("orthonormal")
        assert isinstance(state, Orthonormal)
        return TimeCertificate(state, self.recursion, self.lost, self.decay)

    def solve(
        self,
        mus: Any,
        control: Any = None,
        estimate: bool = True,
        *,
        coefficients: bool = True,
        extrapolate: bool = False,
        progress: bool = False,
    ) -> TimeSolution:
        """Return trajectories, bounds and outputs at every step for all parameter points `mus` at once.

        mus : (M, p), or (p,) for one point; or by name (:meth:`rbm.ParameterSpace.points`)
        control : None for the model's own, "impulse", (K,) for all points or (M, K) for each
        estimate : also the error bounds
        coefficients : keep gamma; if False, the answer is the outputs and the bounds
        extrapolate : allow parameters outside the parameter space

        Any number of points is solved in pieces, by as many threads as there are processors; only the answer is kept:
        8 (K + 1) (N + 6) bytes a point, without the N where coefficients are not kept. For more there is
        :meth:`stream`.

        Raises ParameterError, StabilityError and ModelError, naming the point; ModelError for a control that does not
        fit. Interrupted on Ctrl-C: its `result` holds the answers so far, and NaN and infinite bounds elsewhere.
        """
        mus = self.parameters.validate(self.parameters.points(mus), extrapolate)
        of = self._coefficients(mus, control)
        made = self._blank(mus, of, estimate, coefficients)
        kept = 3 * self.size if coefficients or is_single(self.certificate.kind(of)) else 0
        if self.duals:  # residuals, and increments, are kept for these
            kept += 4 * self.size + 2 * len(self.certificate.state.factor)
        bytes_each = 8 * (self.steps + 1) * (kept + 16 + 3 * len(self.outputs)) + 32 * self.size**2

        def work(rows: slice) -> None:
            try:
                self._answer(mus[rows], of.at(rows), made, rows)
            except PointError as error:
                raise moved(error, rows.start, len(mus)) from None

        parts = list(pieces(len(mus), bytes_each))
        if self.duals:  # memory first: residuals of all steps are kept
            size = max(8, DUAL_BYTES // bytes_each)
            parts = [some for part in parts for some in slices(part.stop, size, part.start)]
        try:
            with progress_bar(None, "trajectories", enabled=progress, total=len(mus)) as bar:

                def counted(rows: slice) -> None:
                    work(rows)
                    bar.update(rows.stop - rows.start)

                each(counted, parts)
        except KeyboardInterrupt as interrupt:
            text = "interrupted; `result` has the answers so far, NaN where there is none"
            raise Interrupted(text, made) from interrupt
        return made

    def stream(self, mus: Any, control: Any = None, *, size: int = 1 << 14, **options: Any) -> Iterator[TimeSolution]:
        """Yield a TimeSolution for each block of `size` points, for answers larger than memory.

        control : None, "impulse", (K,) or (M, K)

        Raises ParameterError for a size below 1, and what :meth:`solve` raises.
        """
        if not (isinstance(size, int | np.integer) and size >= 1):
            raise ParameterError(f"the size of a block must be a whole number of at least 1, got {size!r}")
        mus = self.parameters.validate(self.parameters.points(mus), bool(options.get("extrapolate", False)))
        given = self.control if control is None else control
        several = not isinstance(given, str) and np.ndim(given) == 2
        if several:
            given = checked_control(given, self.steps, len(mus), self.terms.constraints)
        for start in range(0, len(mus), size):
            rows = slice(start, start + size)
            yield self.solve(mus[rows], given[rows] if several else given, **options)

    def _coefficients(self, mus: np.ndarray, control: Any) -> Coefficients:
        """Return all that depends on the parameter points, checked."""
        count = len(self.mass_coefficients)
        g = checked_control(self.control if control is None else control, self.steps, len(mus), self.terms.constraints)
        theta = self.terms.operator_coefficients(mus)[:, :-count]
        weights = positive_weights(self.mass_coefficients, mus)
        alpha = coercivity(self.terms.stability, mus, np.ascontiguousarray(theta), self.parameters)
        of_start = self.initial.coefficients(mus)
        start = self.initial.gamma(of_start)
        error = self.initial.error(of_start, weights * (1 + self.slack))
        check_definite(self.mass_coefficients, mus, weights, self.slack)
        made = Coefficients(theta, weights, self.terms.rhs_coefficients(mus), alpha, start, error, g)
        return self.certificate.rounded_start(made)

    def _blank(self, mus: np.ndarray, of: Coefficients, estimate: bool, coefficients: bool) -> TimeSolution:
        """Return an answer without numbers: NaN, and infinite bounds."""
        shape = (len(mus), self.steps + 1)
        kind = self.certificate.kind(of)
        gamma = np.full((*shape, self.size), np.nan, kind) if coefficients else None

        def infinite() -> np.ndarray:
            return np.full(shape, np.inf)

        def blank() -> Estimate:
            return Estimate(infinite(), infinite(), np.zeros(shape, dtype=bool))

        values, bounds = {}, {}
        for name, output in self.terms.outputs.items():
            assert isinstance(output, ReducedLinear)
            wide = np.result_type(kind, float, output.vectors, *output.coefficients(mus[:1]).dtype.type(0)[None])
            if name in self.duals:
                wide = np.result_type(wide, *self.duals[name].recursion[:3], self.duals[name].correction)
            values[name] = np.full(shape, np.nan, wide)
            if estimate:
                bounds[name] = infinite()
        energy, l2 = (blank(), blank()) if estimate else (None, None)
        return TimeSolution(mus, self.times, of.control, gamma, energy, l2, values, bounds)

    def _answer(self, mus: np.ndarray, of: Coefficients, made: TimeSolution, rows: slice) -> None:
        """Write the answers for some rows into the result."""
        terms = terms_of(self.terms.outputs, mus)
        if is_single(self.certificate.kind(of)):  # the digits that gamma does not have are those of single precision
            for name in self.duals:
                more = 2.0**-23 * np.abs(terms[name].vectors)
                terms[name] = terms[name]._replace(magnitudes=terms[name].magnitudes + more)
        found = certified(
            self.certificate,
            of,
            functionals_of(terms, self.size, self.certificate.kind(of).kind == "c"),
            certify=made.estimate is not None or bool(self.duals),
            keep=made.coefficients is not None,
            coordinates=bool(self.duals),
            describe=lambda i: self.parameters.describe(mus[i]),
        )
        if made.coefficients is not None:
            made.coefficients[rows] = found.gamma
        error = None
        if made.estimate is not None and made.estimate_l2 is not None and found.norms is not None:
            energy, l2 = self.certificate.estimates(of, found.norms)
            for target, source in ((made.estimate, energy), (made.estimate_l2, l2)):
                target.value[rows], target.floor[rows] = source.value, source.floor
                target.resolved[rows] = source.resolved
            error = l2.bound
        share = 1 / np.sqrt(comparison(of.weights, self.slack))
        corrections = self._corrections(mus, of, found, terms, share)
        for name, value, bound in output_values(terms, found, error, share, corrections):
            made.outputs[name][rows] = value
            if bound is not None:
                made.output_bounds[name][rows] = bound

    def _corrections(
        self, mus: np.ndarray, of: Coefficients, found: Certified, terms: Mapping[str, LinearTerms], share: np.ndarray
    ) -> dict[str, Correction]:
        """Return what dual problems say of their outputs."""
        if not self.duals:
            return {}
        missed, start = self.initial.missed(self.initial.coefficients(mus)), of.initial[0] + of.initial[1]
        made = {}
        for name, dual in self.duals.items():
            plain = np.broadcast_to(np.ravel(terms[name].norm), start.shape) * share * start
            psi = self.terms.outputs[name].coefficients(mus)
            made[name] = dual.correct(of, psi, found, missed, plain, self._named(mus, name))
        return made

    def _named(self, mus: np.ndarray, output: str) -> Callable[[int], str]:
        """Return what names a point in messages about the dual problem of an output."""
        return lambda i: f"{self.parameters.describe(mus[i])} (dual problem of {output!r})"

    def reconstruct(self, solution: TimeSolution | np.ndarray) -> np.ndarray:
        """Return Z gamma (M, K + 1, n) for a TimeSolution, or for coefficients (..., N).

        Raises ModelError for a model without its basis, an answer without coefficients, and coefficients of another
        size.
        """
        if self.basis is None:
            raise ModelError("this reduced model does not hold its basis; save it with basis=True for full vectors")
        gamma = solution.coefficients if isinstance(solution, TimeSolution) else np.asarray(solution)
        if gamma is None:
            raise ModelError("this answer was made with coefficients=False and has none; call solve again without it")
        if gamma.shape[-1] != self.size:
            raise ModelError(f"coefficients must have the shape (..., {self.size}), got {gamma.shape}")
        return gamma @ self.basis.T

    def truncate(self, size: int) -> ReducedTimeModel:
        """Return the model for the first `size` basis vectors; nothing is computed anew."""
        columns = self.terms.rhs.shape[0] + size * self.terms.operators.shape[0]
        lost = None if self.lost is None else self.lost.truncate(columns)
        terms = self.terms.truncate(size)
        state = terms.state("orthonormal")
        assert isinstance(state, Orthonormal)
        duals = {name: dual.truncate(len(state.factor)) for name, dual in self.duals.items()}
        return replace(self, terms=terms, initial=self.initial.truncate(size), lost=lost, duals=duals)

    def astype(self, dtype: Any) -> ReducedTimeModel:
        """Return the model in "float32" or "float64", certified for what it then computes."""
        made = self.terms.astype(dtype)
        return self if made is self.terms else replace(self, terms=made, lost=None)

    def save(self, path: str | os.PathLike[str], *, basis: bool = True, overwrite: bool = True) -> None:
        """Write the model to one file, without pickle, whole or not at all; :func:`rbm.load` reads it."""
        from rbm.time.files import save_time_model  # the writer of files stands above this room

        save_time_model(self, path, basis=basis, overwrite=overwrite)

    def __repr__(self) -> str:
        outputs = f", outputs: {', '.join(self.outputs)}" if self.outputs else ""
        return (
            f"ReducedTimeModel(N = {self.size}, {self.steps} steps of {self.dt:g}, theta = {self.theta:g}, "
            f"{self.terms.dtype}, {self.parameters}{outputs})"
        )
