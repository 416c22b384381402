"""From residual norms of all steps to error bounds at all times, with the floors that rounding leaves."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from rbm.arithmetic.precision import ROUND_OFF, row_norms, widened
from rbm.errors import ParameterError
from rbm.estimate import Estimate
from rbm.estimators import Orthonormal
from rbm.estimators.base import rounding_constant
from rbm.estimators.residual_factor import SAFETY
from rbm.online.forms import SHARP
from rbm.online.marching import Marched, Recursion, march, residual_terms, sharp_norms, step_norms

__all__ = ["Certified", "Coefficients", "StepNorms", "TimeCertificate", "certified"]

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

    Points whose floor hides the value at any time are evaluated once more in twice the precision, increments and all.
    """

    state: Orthonormal
    recursion: Recursion

    @cached_property
    def sizes(self) -> tuple[np.ndarray, np.ndarray]:
        """Bounds (Qa,) and (Qm,) of ||Z^H A_q Z|| (Hermitian parts) and ||Z^H M_q Z||."""
        stiffness = widened(self.recursion.operators)
        stiffness = (stiffness + stiffness.conj().transpose(0, 2, 1)) / 2
        made = (np.linalg.norm(terms, axis=(1, 2)) for terms in (stiffness, widened(self.recursion.mass)))
        first, second = (norms * (1 + 2.0**-20) for norms in made)
        return first, second

    def constants(self, complex_valued: bool) -> tuple[np.ndarray, np.ndarray, float, float]:
        """Return weights (m,) of plain and of compensated sums, and the relative and constant part of a floor."""
        dtype, state = np.dtype(complex if complex_valued else float), self.state
        u = rounding_constant(len(state.norms) + MORE, dtype)
        plain = (1 + u) * (SAFETY * state.defects + u * state.norms)
        sharp = (1 + u) * (SAFETY * state.defects + 2 * u**2 * state.norms)
        return plain, sharp, state.relative(dtype), state.floor_constant(dtype)

    def kind(self, of: Coefficients) -> np.dtype:
        """Return the type of gamma: that of the reduced matrices, complex where a coefficient is."""
        own = np.result_type(*(a.dtype for a in self.recursion[:3]))
        is_complex = any(a.dtype.kind == "c" for a in (*self.recursion[:3], *of.terms, of.start, of.control))
        single = own in (np.dtype(np.float32), np.dtype(np.complex64))
        return np.dtype({(0, 0): float, (0, 1): complex, (1, 0): np.float32, (1, 1): np.complex64}[single, is_complex])

    def evaluate(self, of: Coefficients, marched: Marched) -> StepNorms:
        """Return the norms of all steps by the plain definition, those of weak points by the compensated one."""
        is_complex = any(
            np.asarray(a).dtype.kind == "c" for a in (*of.terms, of.control, marched.gamma, self.state.factor)
        )
        plain, sharp, relative, constant = self.constants(is_complex)
        factor = widened(self.state.factor)
        args = *of.terms, of.control, marched
        values, spreads = step_norms(factor, plain, self.recursion, *args)
        floors = np.where(spreads > 0, spreads + relative * values + constant, 0.0)
        unit = float(np.finfo(marched.gamma.dtype).eps) / 2
        made = StepNorms(values, floors, *self.rounded(of, unit * _sizes(marched.gamma)))
        rows = self.weak(made, plain, sharp)
        return self.sharper(of, made, rows) if len(rows) else made

    def weak(self, made: StepNorms, plain: np.ndarray, sharp: np.ndarray) -> np.ndarray:
        """Return the rows that a second evaluation improves: floors hide a hundredth of the value at some time."""
        there = plain > 0
        gain = 1.0 - float((sharp[there] / plain[there]).max(initial=0.0))
        if gain <= 0 or not made.values.shape[1]:
            return np.zeros(0, dtype=int)
        sums = (np.cumsum(a * a, axis=1) for a in (made.values, SHARP * gain * made.floors))
        first, second = sums
        return np.flatnonzero(np.any(first < second, axis=1))

    def sharper(self, of: Coefficients, made: StepNorms, rows: np.ndarray) -> StepNorms:
        """Return the norms with those of some rows computed again, in twice the precision."""
        part, recursion = of.at(rows), self.recursion
        again = march(recursion, *part.terms, part.control, part.start)
        is_complex = any(
            np.asarray(a).dtype.kind == "c" for a in (*part.terms, part.control, again.gamma, self.state.factor)
        )
        _, sharp, relative, constant = self.constants(is_complex)
        values = sharp_norms(widened(self.state.factor), recursion, *part.terms, part.control, again)
        spreads = [
            residual_terms(recursion, *part.terms, part.control, again, k)[1] @ sharp for k in range(values.shape[1])
        ]
        floors = np.stack(spreads, axis=1) + self._of_sums(part.weights, again.gamma[:, 1:])
        floors = np.where(floors > 0, floors + relative * values + constant, 0.0)
        tails, middles = self._tails(part, again.tail)
        out = tuple(np.array(a) for a in made)
        for target, source in zip(out, (values, floors, tails, middles), strict=True):
            target[rows] = source
        return StepNorms(*out)

    def rounded(self, of: Coefficients, sizes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return bounds of the last two of :class:`StepNorms` from sizes (M, K + 1) >= ||t^k||_2."""
        of_a, of_m = self.sizes
        middles = self.recursion.theta * sizes[:, 1:] + (1 - self.recursion.theta) * sizes[:, :-1]
        stiffness, mass = np.sqrt(np.abs(of.theta) @ of_a), np.sqrt(of.weights @ of_m)
        return mass[:, None] * sizes, stiffness[:, None] * middles

    def _tails(self, of: Coefficients, tail: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the last two of :class:`StepNorms` from the digits t (M, K + 1, N) themselves."""
        theta, n = self.recursion.theta, tail.shape[2]
        tail = widened(tail)
        middle = theta * tail[:, 1:] + (1 - theta) * tail[:, :-1]
        made = []
        for coefficients, terms, t, bound in zip(
            (of.weights, of.theta), (self.recursion.mass, self.recursion.operators), (tail, middle),
            self.rounded(of, _sizes(tail)), strict=True,
        ):  # fmt: skip
            matrix = np.tensordot(coefficients, widened(terms), axes=1)
            form = np.einsum("mki,mij,mkj->mk", t.conj(), matrix, t, optimize=True).real
            # the form is a sum with rounding of its own
            made.append(np.sqrt(np.maximum(form, 0.0) + 8 * (n + 4) ** 2 * ROUND_OFF * bound**2))
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
        steps = norms.values.shape[1]
        rounded = 4 * (steps + 16) * ROUND_OFF
        made = []
        for share in (1.0, 2.0):
            scale = 1 / (share * of.alpha * dt)
            with np.errstate(over="ignore", invalid="ignore"):
                sums = [np.cumsum(a * a, axis=1) * scale[:, None] for a in (norms.values, norms.floors)]
                work = dt * np.cumsum(norms.middles**2, axis=1) if share == 1.0 else np.zeros_like(norms.middles)
                value = np.sqrt(first[:, None] ** 2 + _from_zero(sums[0]))
                floor = np.sqrt(_from_zero(sums[1])) + first_floor[:, None]
                floor = floor + np.sqrt(norms.tails**2 + _from_zero(work)) + rounded * (value + floor)
            if not (np.all(np.isfinite(value)) and np.all(np.isfinite(floor))):
                raise ParameterError(
                    "an error bound is not finite; scale the right-hand side, or the control (its units)"
                )
            made.append(Estimate.from_norm(value, floor))
        return made[0], made[1]


class Certified(NamedTuple):
    """Reduced trajectories gamma (M, K + 1, N), and the norms of their residuals, if they were asked for."""

    gamma: np.ndarray
    norms: StepNorms


def certified(certificate: TimeCertificate, of: Coefficients) -> Certified:
    """March the reduced recursion at M points and evaluate the residuals of all steps."""
    marched = march(certificate.recursion, *of.terms, of.control, of.start.astype(certificate.kind(of)))
    return Certified(marched.gamma, certificate.evaluate(of, marched))


def _from_zero(sums: np.ndarray) -> np.ndarray:
    """Return (M, K + 1) with a zero before the first step."""
    return np.concatenate([np.zeros((len(sums), 1)), sums], axis=1)


def _sizes(vectors: np.ndarray) -> np.ndarray:
    """Return ||v||_2 (M, K + 1) of vectors (M, K + 1, N), not too small."""
    count, steps, n = vectors.shape
    flat = widened(vectors).reshape(count * steps, n)
    return (row_norms(flat) * (1 + (n + 8) * ROUND_OFF)).reshape(count, steps)
