"""Derivatives of reduced solutions, and the residuals that they leave, batched in plain array operations.

M points, p parameters, N basis vectors, Qa and Qf terms, a factor R (k, m) of the residual, m = Qf + N Qa. Primes are
derivatives by one parameter: theta' (M, p, Qa), phi' (M, p, Qf), gamma' (M, p, N).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from rbm.arithmetic.precision import widened
from rbm.errors import ModelError
from rbm.estimators import Orthonormal
from rbm.estimators.base import rounding_constant
from rbm.estimators.residual_factor import SAFETY
from rbm.reduced.term_norms import TermNorms, in_energy
from rbm.stability.bound import StabilityBound
from rbm.stability.min_theta import BoundMinTheta

__all__ = ["SlopeResidual", "Slopes", "growth", "reduced_slopes", "slope_norms"]


class Slopes(NamedTuple):
    """Coefficients, reduced solutions and the derivatives of both."""

    theta: np.ndarray  #: (M, Qa)
    phi: np.ndarray  #: (M, Qf)
    of_theta: np.ndarray  #: theta' (M, p, Qa)
    of_phi: np.ndarray  #: phi' (M, p, Qf)
    gamma: np.ndarray  #: (M, N)
    of_gamma: np.ndarray  #: gamma' (M, p, N)

    def conjugate(self) -> Slopes:
        """Return the complex conjugates of all."""
        return Slopes(*(np.conj(a) for a in self))


def slope_norms(array: np.ndarray) -> np.ndarray:
    """Return Euclidean norms (M, p) of (M, p, k), in half the time of np.linalg.norm."""
    parts = [array.real, array.imag] if array.dtype.kind == "c" else [array]
    made: np.ndarray = np.sqrt(sum(np.einsum("mpk,mpk->mp", part, part) for part in parts))
    return made


def reduced_slopes(
    operators: np.ndarray,
    rhs: np.ndarray,
    theta: np.ndarray,
    phi: np.ndarray,
    of_theta: np.ndarray,
    of_phi: np.ndarray,
    gamma: np.ndarray,
) -> Slopes:
    """Return gamma' with A_N gamma' = phi' f_N - theta' A_N gamma, all p with one factorisation a point.

    operators (Qa, r, N), rhs (Qf, r). For least squares (r > N) it is the derivative of what minimises ||f - A gamma||,

        A^H A gamma' = A^H (f' - A' gamma) + A'^H (f - A gamma),    by A = Q R, never by A^H A.

    In double precision, whatever the arrays are. Cost per point: Qa r N (1 + N) + 2 N^3 / 3 + 2 p N^2 multiplications.

    Raises ModelError for a singular system.
    """
    qa, r, n = operators.shape
    operators, rhs, gamma = widened(operators), widened(rhs), widened(gamma)
    matrices = (theta @ operators.reshape(qa, r * n)).reshape(-1, r, n)
    images = (gamma @ operators.transpose(2, 0, 1).reshape(n, qa * r)).reshape(-1, qa, r)
    right = (of_phi @ rhs - of_theta @ images).transpose(0, 2, 1)
    try:
        if r > n:
            matrices, right = _of_least_squares(operators, of_theta, phi @ rhs, gamma, matrices, right)
        made = np.linalg.solve(matrices, right)
    except np.linalg.LinAlgError:
        raise ModelError("the reduced system is singular at a point where a derivative is asked for") from None
    return Slopes(theta, phi, of_theta, of_phi, gamma, made.transpose(0, 2, 1))


def _of_least_squares(
    operators: np.ndarray,
    of_theta: np.ndarray,
    loads: np.ndarray,
    gamma: np.ndarray,
    matrices: np.ndarray,
    right: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Return R (M, N, N) and Q^H (f' - A' gamma) + R^{-H} A'^H (f - A gamma) (M, N, p); right : f' - A' gamma."""
    qa, r, n = operators.shape
    left = loads - (matrices @ gamma[:, :, None])[:, :, 0]
    images = (left @ operators.conj().transpose(1, 0, 2).reshape(r, qa * n)).reshape(-1, qa, n)
    turned = (of_theta.conj() @ images).transpose(0, 2, 1)
    unitary, triangle = np.linalg.qr(matrices)
    turned = np.linalg.solve(triangle.conj().transpose(0, 2, 1), turned)
    return triangle, unitary.conj().transpose(0, 2, 1) @ right + turned


@dataclass(frozen=True)
class SlopeResidual:
    """Norms of r' = phi' f - theta' A u_N - theta A Z gamma', in the orthonormal coordinates of E_onb.

        r' = W c',    c' = (phi', -(theta' gamma + theta gamma')),    ||r'||_{P'} <= ||R c'|| + floor

    with the floor of :class:`rbm.estimators.Orthonormal` for the sizes |theta' gamma| + |theta gamma'|, which hold
    what cancels in c'. R c' is not summed over its m terms: R theta (k, N) and R gamma (k, Qa) are formed once a point,
    for all p. An entry is then off by less than (Qa + N + Qf + 4) u of its absolute terms, and that is at most
    (m + 5) u; the floor has (m + 12) u, which covers c' and the norm, too.
    Cost per point: 2 m k + p k (N + Qa + Qf) multiplications.
    """

    state: Orthonormal
    terms: tuple[int, int]  #: Qa, Qf

    @cached_property
    def _factor(self) -> np.ndarray:
        return widened(self.state.factor)

    @cached_property
    def _of_rhs(self) -> np.ndarray:
        return np.ascontiguousarray(self._factor[:, : self.terms[1]].T)

    @cached_property
    def _by_theta(self) -> np.ndarray:
        """R of the operators as (Qa, N k)."""
        k, qa = len(self._factor), self.terms[0]
        return np.ascontiguousarray(self._factor[:, self.terms[1] :].reshape(k, -1, qa).transpose(2, 1, 0)).reshape(
            qa, -1
        )

    @cached_property
    def _by_gamma(self) -> np.ndarray:
        """R of the operators as (N, Qa k)."""
        k, qa = len(self._factor), self.terms[0]
        parts = self._factor[:, self.terms[1] :].reshape(k, -1, qa).transpose(1, 2, 0)
        return np.ascontiguousarray(parts).reshape(parts.shape[0], -1)

    def coordinates(self, at: Slopes) -> np.ndarray:
        """Return R c' (M, p, k)."""
        k, count, n = len(self._factor), len(at.gamma), at.gamma.shape[1]
        of_theta = at.of_theta @ (at.gamma @ self._by_gamma).reshape(count, self.terms[0], k)
        of_gamma = at.of_gamma @ (at.theta @ self._by_theta).reshape(count, n, k)
        return at.of_phi @ self._of_rhs - of_theta - of_gamma

    def weighted(self, at: Slopes, weights: np.ndarray) -> np.ndarray:
        """Return sum_j weights_j sizes_j (M, p) for weights (m,) of at least 0."""
        qa, qf = self.terms
        table = weights[qf:].reshape(-1, qa)
        of_theta = np.abs(at.of_theta) @ (np.abs(at.gamma) @ table)[:, :, None]
        of_gamma = np.abs(at.of_gamma) @ table @ np.abs(at.theta)[:, :, None]
        return (np.abs(at.of_phi) @ weights[:qf][:, None] + of_theta + of_gamma)[:, :, 0]

    def floor_weights(self, dtype: Any) -> np.ndarray:
        """Return 2 delta + (m + 12) u norms (m,), u three times as large for complex numbers."""
        state = self.state
        u = rounding_constant(len(state.norms) + 8, np.dtype(dtype))
        return (1 + u) * (SAFETY * state.defects + u * state.norms) + np.finfo(float).tiny * (state.norms > 0)

    def bounds(self, at: Slopes, coordinates: np.ndarray) -> np.ndarray:
        """Return upper bounds (M, p) of ||r'||_{P'} from R c'; 0 where nothing depends on the parameter."""
        dtype, state = coordinates.dtype, self.state
        with np.errstate(over="ignore", invalid="ignore"):
            value = slope_norms(coordinates)
            floor = self.weighted(at, self.floor_weights(dtype)) + state.relative(dtype) * value
        nothing = (floor == 0) & (value == 0)  # NaN, of numbers beyond the range, is not nothing
        return np.where(nothing, 0.0, value + floor + state.floor_constant(dtype))


def growth(
    stability: StabilityBound, norms: TermNorms | None, theta: np.ndarray, of_theta: np.ndarray, beta: np.ndarray
) -> np.ndarray:
    """Return tau (M, p), with which ||r'|| + tau ||r|| over beta bounds the error of du/dmu (docs/gradients.md).

        tau = max_q |theta_q'| / theta_q  over the terms of a min-theta bound, + sum_q |theta_q'| ||A_q|| / beta  of the
        others, + what is known up to rounding only; or the second sum over all terms, where that is known and less

    Raises ModelError, with what to do, where a derivative needs the norm of a term that the model does not hold.
    """
    size = np.abs(of_theta)
    used = np.any(size > 0, axis=(0, 1))
    if not used.any():
        return np.zeros(size.shape[:2])
    known = TermNorms(*np.full((2, theta.shape[1]), np.inf)) if norms is None else norms
    inside = in_energy(stability, known)
    missing = used & ~inside & ~np.isfinite(known.norms)
    if missing.any():
        raise ModelError(
            f"the bound of a derivative needs ||A_q|| of operator term {int(np.argmax(missing))}, which this model "
            "does not hold (it is large, or from a file older than derivatives): take it once from the full model, if "
            "that shows the entries of its terms, reduced = reduced.with_term_norms(full_model), or take the "
            "derivatives alone, gradient(mus, estimate=False)"
        )
    others = used & ~inside
    rest = size[:, :, others] @ known.norms[others]
    made: np.ndarray = rest / beta[:, None]
    if inside.any():
        assert isinstance(stability, BoundMinTheta)
        slack = np.zeros(len(inside)) if stability.slack is None else stability.slack
        largest = np.max(size[:, :, inside] / theta[:, None, inside].real, axis=2)
        hidden = np.abs(theta) @ slack / beta  # of all terms: those left out are semi-definite up to it, too
        rest = rest + size[:, :, inside] @ (slack + known.skew / 2)[inside]
        made = largest * (1 + hidden)[:, None] + rest / beta[:, None]
        if np.all(np.isfinite(known.norms[used])):
            made = np.minimum(made, size[:, :, used] @ known.norms[used] / beta[:, None])
    return (1 + 1e-12) * made
