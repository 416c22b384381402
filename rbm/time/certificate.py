"""From residual norms of all steps to error bounds at all times, with the floors that rounding leaves."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from rbm.arithmetic.precision import ROUND_OFF, is_single, row_norms, widened
from rbm.errors import ParameterError, refused
from rbm.estimate import Estimate
from rbm.estimators import Orthonormal
from rbm.estimators.base import rounding_constant
from rbm.estimators.residual_factor import SAFETY
from rbm.online.forms import SHARP
from rbm.online.marching import Marched, Recursion, march, residual_terms, sharp_norms

if TYPE_CHECKING:
    from rbm.online.compiled_march import CompiledMarch
from rbm.time.lost_digits import LostDigits

__all__ = ["Coefficients", "StepNorms", "TimeCertificate", "sizes_of"]

HALF = float(np.sqrt(0.5))
#: Roundings of a coefficient of the residual in time beyond the one that all estimators count.
MORE = 4


class Coefficients(NamedTuple):
    """What a reduced query is made of, at M points."""

    theta: np.ndarray  #: of A (M, Qa)
    weights: np.ndarray  #: of M (M, Qm)
    phi: np.ndarray  #: of f (M, Qf)
    alpha: np.ndarray  #: (M,)
    start: np.ndarray  #: gamma^0 (M, N)
    initial: tuple[np.ndarray, np.ndarray]  #: ||u_0 - Z gamma^0||_M (M,), and its floor
    control: np.ndarray  #: (M, K)

    @property
    def terms(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The coefficients theta, weights and phi."""
        return self.theta, self.weights, self.phi

    def at(self, rows: Any) -> Coefficients:
        """Return those of some of the points."""
        first, floor = self.initial
        theta, weights, phi = (a[rows] for a in self.terms)
        start, control = self.start[rows], self.control[rows]
        return Coefficients(theta, weights, phi, self.alpha[rows], start, (first[rows], floor[rows]), control)


class StepNorms(NamedTuple):
    """Of every step, times dt: residual norms (M, K) and their floors (M, K); and what the rounding of gamma^k moves.

    With t^k the digits of gamma^k that the answer does not have: ||Z t^k||_M (M, K + 1) and
    (Re (A Z t_theta^k, Z t_theta^k))^{1/2} (M, K), or bounds of these.
    """

    values: np.ndarray
    floors: np.ndarray
    tails: np.ndarray
    middles: np.ndarray


@dataclass(frozen=True)
class TimeCertificate:
    """The bounds of :class:`rbm.TimeModel` for a reduced model, and how rounding enters them.

        bound_k    = (||e^0||_M^2 + sum_{j<=k} v_j^2 / (alpha dt))^{1/2} + floor_k,    v_j = ||dt r^j||_{P'},
        bound_l2_k = (||e^0||_M^2 + sum_{j<=k} v_j^2 / (2 alpha dt))^{1/2} + floor_k

    v_j = ||R c^j||_2 with the factor R of the estimator "orthonormal" (:class:`rbm.estimators.Orthonormal`), for all
    steps and points. Its floor f_j is that of the estimator with four roundings of c more, and the triangle inequality
    in the l2 norm over time and initial value puts (sum_j f_j^2 / (alpha dt))^{1/2} into floor_k. What is certified are
    the increments, whose sum has more digits than the gamma^k that are returned; the difference, ||Z tail^k|| in the
    same norms, is in floor_k, too. So no rounding error is divided by dt.

    All of this is proved, with alpha, the defects and the rate of decay as they are: proved, or claimed by the user.

    Points whose floor hides the value at any time are evaluated once more in twice the precision, increments and all.
    """

    state: Orthonormal
    recursion: Recursion
    lost: LostDigits | None = None
    decay: float = 0.0  #: lambda with P >= lambda W, W the sum of the mass terms; 0 if it is not known

    @cached_property
    def sizes(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Bounds (Qa,) and (Qm,) of ||Z^H A_q Z|| for the Hermitian parts, ||Z^H M_q Z||, and ||Z^H A_q Z|| (Qa,)."""
        stiffness, mass = widened(self.recursion.operators), widened(self.recursion.mass)
        hermitian = (stiffness + stiffness.conj().transpose(0, 2, 1)) / 2
        first, second, whole = (
            np.linalg.norm(terms, axis=(1, 2)) * (1 + 2.0**-20) for terms in (hermitian, mass, stiffness)
        )
        return first, second, whole

    def constants(self, complex_valued: bool) -> tuple[np.ndarray, np.ndarray, float, float]:
        """Return weights (m,) of plain and of compensated sums, and the relative and constant part of a floor."""
        if complex_valued not in self._constants:
            self._constants[complex_valued] = self._made_constants(complex_valued)
        return self._constants[complex_valued]

    @cached_property
    def _constants(self) -> dict[bool, tuple[np.ndarray, np.ndarray, float, float]]:
        return {}

    def _made_constants(self, complex_valued: bool) -> tuple[np.ndarray, np.ndarray, float, float]:
        dtype, state = np.dtype(complex if complex_valued else float), self.state
        u = rounding_constant(len(state.norms) + MORE, dtype)
        plain = (1 + u) * (SAFETY * state.defects + u * state.norms)
        sharp = (1 + u) * (SAFETY * state.defects + 2 * u**2 * state.norms)
        return plain, sharp, state.relative(dtype), state.floor_constant(dtype)

    def kind(self, of: Coefficients) -> np.dtype:
        """Return the type of gamma: that of the reduced matrices, complex where a coefficient is."""
        single, is_complex = self._own_kind
        is_complex = is_complex or any(a.dtype.kind == "c" for a in (*of.terms, of.start, of.control))
        return np.dtype({(0, 0): float, (0, 1): complex, (1, 0): np.float32, (1, 1): np.complex64}[single, is_complex])

    @cached_property
    def _own_kind(self) -> tuple[bool, bool]:
        """Whether the reduced matrices are in single precision, and complex."""
        own = np.result_type(*(a.dtype for a in self.recursion[:3]))
        return own in (np.dtype(np.float32), np.dtype(np.complex64)), own.kind == "c"

    def rounded_start(self, of: Coefficients) -> Coefficients:
        """Return the coefficients with gamma^0 in the precision of the march, and what that moves in its floor."""
        kind = self.kind(of)
        if not is_single(kind):
            return of
        start = widened(of.start.astype(kind))
        moved = np.sqrt(of.weights @ self.sizes[1]) * row_norms(of.start - start) * (1 + 2.0**-20)
        return of._replace(start=start, initial=(of.initial[0], of.initial[1] + moved))

    def is_complex(self, of: Coefficients) -> bool:
        """Return whether the coefficients of the residual, or its factor, are complex."""
        return self.kind(of).kind == "c" or self.state.factor.dtype.kind == "c"

    def compiled(self, of: Coefficients) -> CompiledMarch:
        """Return the compiled march for such coefficients; made once."""
        from rbm.online.compiled_march import CompiledMarch  # loads Numba

        is_complex = self.is_complex(of)
        if is_complex not in self._compiled:
            plain = self.constants(is_complex)[0]
            self._compiled[is_complex] = CompiledMarch(self.recursion, widened(self.state.factor), plain)
        return self._compiled[is_complex]

    @cached_property
    def _compiled(self) -> dict[bool, CompiledMarch]:
        return {}

    def plain_norms(
        self, of: Coefficients, steps: tuple[np.ndarray, np.ndarray, np.ndarray], kind: np.dtype
    ) -> StepNorms:
        """Return the norms of all steps from those of :func:`rbm.online.marching.step_norms` and ||gamma^k|| (M, K+1).

        kind : the precision of gamma. The first two arrays of `steps` become those of the result.
        """
        values, floors, sizes = steps
        _, _, relative, constant = self.constants(self.is_complex(of))
        with np.errstate(over="ignore", invalid="ignore"):
            floors += relative * values
            floors += constant
        still = _at_rest(of)
        if still is not None:
            floors[still] = 0.0
        return StepNorms(values, floors, *self.rounded(of, sizes, float(np.finfo(kind).eps) / 2))

    def weak(self, of: Coefficients, made: StepNorms) -> np.ndarray:
        """Return the rows that a second evaluation improves: floors hide a hundredth of the value at some time."""
        plain, sharp, _, _ = self.constants(self.is_complex(of))
        there = plain > 0
        limit = SHARP * (1.0 - float((sharp[there] / plain[there]).max(initial=0.0)))
        if limit <= 0 or not made.values.shape[1]:
            return np.zeros(0, dtype=int)
        some = np.flatnonzero(np.any(made.values < limit * made.floors, axis=1))
        if not len(some):  # what holds for all steps holds for their sums
            return some
        with np.errstate(over="ignore"):
            first, second = (_sums_of_squares(a[some]) for a in (made.values, made.floors))
            return some[np.any(first < limit**2 * second, axis=1)]

    def sharper(
        self, of: Coefficients, made: StepNorms, rows: np.ndarray, coordinates: bool = False
    ) -> tuple[Marched, np.ndarray | None]:
        """Compute the norms of some rows again, in twice the precision, and write them into `made`.

        Returns the trajectories whose increments these are about, and R c^k (rows, K, k) if `coordinates` are wanted.
        """
        part, recursion = of.at(rows), self.recursion
        again = march(recursion, *part.terms, part.control, part.start.astype(self.kind(of)))
        _, sharp, relative, constant = self.constants(self.is_complex(of))
        factor = widened(self.state.factor)
        values, kept = sharp_norms(factor, recursion, *part.terms, part.control, again, coordinates)
        spreads = []
        for k in range(values.shape[1]):
            c, sizes = residual_terms(recursion, *part.terms, part.control, again, k)
            rounding = sizes @ sharp
            spreads.append(rounding if self.lost is None else np.minimum(rounding, self._with_lost(c, sizes)))
        floors = np.stack(spreads, axis=1) + self._of_sums(part.weights, again.gamma[:, 1:])
        floors = floors + relative * values + constant
        if (still := _at_rest(part)) is not None:
            floors[still] = 0.0
        for target, source in zip(made, (values, floors, *self._tails(part, again.tail)), strict=True):
            target[rows] = source
        return again, kept

    def _with_lost(self, c: np.ndarray, sizes: np.ndarray) -> np.ndarray:
        """Return floors (M,) of compensated sums where the digits that R lacks are known by themselves."""
        assert self.lost is not None
        u = rounding_constant(len(self.state.norms) + MORE, np.dtype(c.dtype))
        return self.lost.bound(c, sizes) + 2 * u * u * (sizes @ self.state.norms) + float(np.finfo(float).tiny)

    def rounded(self, of: Coefficients, sizes: np.ndarray, unit: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
        """Return bounds of the last two of :class:`StepNorms`, where ||t^k||_2 <= unit sizes_k (M, K + 1)."""
        (of_a, of_m, whole), theta = self.sizes, self.recursion.theta
        energy = np.abs(of.theta.real) @ of_a  # the skew part of a term has no energy but by an imaginary coefficient
        if np.iscomplexobj(of.theta):
            energy = energy + np.abs(of.theta.imag) @ whole
        middles = sizes[:, 1:] if theta == 1 else theta * sizes[:, 1:] + (1 - theta) * sizes[:, :-1]
        stiffness, mass = unit * np.sqrt(energy), unit * np.sqrt(of.weights @ of_m)
        return mass[:, None] * sizes, stiffness[:, None] * middles

    def _tails(self, of: Coefficients, tail: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the last two of :class:`StepNorms` from the digits t (M, K + 1, N) themselves."""
        theta, n = self.recursion.theta, tail.shape[2]
        tail = widened(tail)
        middle = theta * tail[:, 1:] + (1 - theta) * tail[:, :-1]
        made = []
        for coefficients, terms, t, bound in zip(
            (of.weights, of.theta), (self.recursion.mass, self.recursion.operators), (tail, middle),
            self.rounded(of, sizes_of(tail)), strict=True,
        ):  # fmt: skip
            matrix = np.tensordot(coefficients, widened(terms), axes=1)
            form = np.einsum("mki,mij,mkj->mk", t.conj(), matrix, t, optimize=True).real
            # A form of a semi-definite matrix is negative by rounding only: of its own sums, and of the entries of
            # Z^H T Z, which are sums over all unknowns (of up to 10^6). Both are charged, whatever its sign is.
            rounding = max(8 * (n + 4) ** 2 * ROUND_OFF, 2.0**-33) * bound**2
            made.append(np.sqrt(np.maximum(form, 0.0) + rounding))
        return made[0], made[1]

    def _of_sums(self, weights: np.ndarray, gamma: np.ndarray) -> np.ndarray:
        """Return what the rounding of gamma + tail, 8 u^2 |gamma|, means for the residual (M, K)."""
        qa, qm = self.recursion.operators.shape[0], weights.shape[1]
        of_mass = self.state.norms[len(self.recursion.rhs) :].reshape(-1, qa + qm)[:, qa:]  # (N, Qm)
        u = float(np.finfo(gamma.dtype).eps) / 2
        return 8 * u * u * np.einsum("mkn,nq,mq->mk", np.abs(widened(gamma)), of_mass, weights)

    def estimates(self, of: Coefficients, norms: StepNorms) -> tuple[Estimate, Estimate]:
        """Return the estimates (M, K + 1) in the energy norm, and in that of M at each time."""
        dt, (first, first_floor) = self.recursion.dt, of.initial
        rounded = 4 * (norms.values.shape[1] + 16) * ROUND_OFF
        with np.errstate(over="ignore", invalid="ignore"):
            scale = 1 / (of.alpha * dt)
            values = _sums_of_squares(norms.values, scale)
            floor = _sums_of_squares(norms.floors, scale)
            np.sqrt(floor, out=floor)
            work = _sums_of_squares(norms.middles, dt)
            work += norms.tails**2
            np.sqrt(work, out=work)
            floor_l2 = floor * HALF
            floor += work
            floor_l2 += norms.tails
            if np.any(first):
                starts = first[:, None]
                value, value_l2 = (np.hypot(np.sqrt(share * values), starts) for share in (1.0, 0.5))
            else:  # nothing to be added to the sums
                value = np.sqrt(values, out=values)
                value_l2 = value * HALF
            for bound, limit in ((value, floor), (value_l2, floor_l2)):
                if np.any(first_floor):
                    limit += first_floor[:, None]
                more = bound + limit
                more *= rounded
                limit += more
            if self.decay > 0 and self.recursion.theta > 0.5 and norms.values.shape[1]:
                value_l2, floor_l2 = self._decaying(of, norms, rounded)
        made = value, floor, value_l2, floor_l2
        if not all(np.isfinite(a.max(initial=0.0)) for a in made):
            bad = ~np.all([np.all(np.isfinite(a), axis=1) for a in made], axis=0)
            what = "is not finite; scale the right-hand side, or the control (its units)"
            raise refused(ParameterError, bad, lambda i, where: f"an error bound ({where}) {what}")
        return Estimate.from_norm(value, floor), Estimate.from_norm(value_l2, floor_l2)

    def _decaying(self, of: Coefficients, norms: StepNorms, rounded: float) -> tuple[np.ndarray, np.ndarray]:
        """Return values and floors (M, K + 1) of ||e^k||_M that decay, for theta > 1/2.

        Of (A e_theta, e_theta) the share s is at least s alpha lambda / max_q m_q ||e_theta||_M^2, the rest absorbs the
        residual. With d = e^k - e^{k-1} the scheme damps (2 theta - 1) ||d||_M^2 more, and e^k = e_theta + (1 - theta)
        d, so that with g = 2 s dt alpha lambda / max_q m_q

            (1 + g / (1 + g part)) ||e^k||^2 <= ||e^{k-1}||^2 + dt ||r^k||^2 / (2 (1 - s) alpha),
            part = (1 - theta)^2 / (2 theta - 1),

        for every s, in each step the best of four. Nothing is gained for theta = 1/2, which damps no high frequency.
        """
        from rbm.online.kernels.decay import decaying  # loads Numba

        dt, first = self.recursion.dt, np.stack(of.initial, axis=1)
        rate = dt * self.decay * of.alpha / of.weights.max(axis=1) * (1 - 16 * ROUND_OFF)
        value, bound = (np.empty_like(norms.tails) for _ in range(2))
        scale = (1 + 16 * ROUND_OFF) / (2 * of.alpha * dt)
        theta = self.recursion.theta
        part = (1 - theta) ** 2 / (2 * theta - 1) * (1 + 16 * ROUND_OFF)
        decaying(norms.values, norms.floors, first, scale, rate, part, value, bound)
        floor = bound - value
        floor += norms.tails
        floor += rounded * (bound + floor)
        return value, floor


def _at_rest(of: Coefficients) -> np.ndarray | None:
    """Return where (M, K) nothing has moved yet, and so nothing is off; None where everything moves at once."""
    given = np.any(of.phi != 0, axis=1)[:, None] & (of.control != 0)
    moving = np.logical_or.accumulate(given, axis=1)
    moving |= np.any(of.start != 0, axis=1)[:, None]
    return None if np.all(moving) else ~moving


def _sums_of_squares(values: np.ndarray, scale: Any = None) -> np.ndarray:
    """Return scale (M,) times the sums of squares up to each time, with a zero before the first step (M, K + 1)."""
    sums = np.empty((len(values), values.shape[1] + 1))
    sums[:, 0] = 0.0
    np.multiply(values, values, out=sums[:, 1:])
    np.cumsum(sums, axis=1, out=sums)
    if scale is not None:
        sums *= scale[:, None] if np.ndim(scale) else scale
    return sums


def sizes_of(vectors: np.ndarray) -> np.ndarray:
    """Return ||v||_2 (M, K + 1) of vectors (M, K + 1, N), not too small."""
    count, steps, n = vectors.shape
    flat = widened(vectors).reshape(count * steps, n)
    return (row_norms(flat) * (1 + (n + 8) * ROUND_OFF)).reshape(count, steps)
