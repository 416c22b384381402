"""Derivatives of outputs by the parameters, with bounds of their errors; the proofs are in docs/gradients.md.

A user's own output has a method ``gradient(at)`` that returns values and bounds (M, p), or None for the bounds where
`at.residual` is None (:class:`AtSlopes`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from rbm.arithmetic.precision import ROUND_OFF, row_norms, widened
from rbm.errors import ModelError
from rbm.parameters.coefficients import Coefficients
from rbm.reduced.compliant import ReducedCompliant
from rbm.reduced.output_rows import ReducedRows
from rbm.reduced.outputs import ReducedLinear, ReducedQuadratic
from rbm.reduced.primal_dual import ReducedPrimalDual
from rbm.reduced.sensitivities import SlopeResidual, Slopes, reduced_slopes, slope_norms

__all__ = ["AtSlopes", "check_differentiable", "output_gradient"]

Gradients = tuple[np.ndarray, np.ndarray | None]
TINY = float(np.finfo(float).tiny)


@dataclass(frozen=True)
class AtSlopes:
    """What is known of M parameter points when derivatives of outputs are taken; without bounds the last are None."""

    mus: np.ndarray  #: (M, p)
    slopes: Slopes
    beta: Any = None  #: (M,)
    residual: Any = None  #: bounds (M,) of ||r||_{P'}
    slope_residual: Any = None  #: bounds (M, p) of ||r'||_{P'}
    growth: Any = None  #: tau (M, p)

    @property
    def error(self) -> np.ndarray:
        """Bounds (M, 1) of ||u - u_N||_P."""
        return (1 + 4 * ROUND_OFF) * (self.residual / self.beta)[:, None]

    @property
    def slope_error(self) -> np.ndarray:
        """Bounds (M, p) of ||u' - Z gamma'||_P: (||r'|| + tau ||r||) / beta."""
        total = self.slope_residual + self.growth * self.residual[:, None]
        return (1 + 8 * ROUND_OFF) * total / self.beta[:, None]


def check_differentiable(name: str, output: Any) -> None:
    """Raise ModelError for an output of which no derivative is known, or whose coefficients have none."""
    if type(output) not in _KINDS and not callable(getattr(output, "gradient", None)):
        raise ModelError(
            f"the output {name!r} is a {type(output).__name__}, which has no derivative: give it a method gradient(at) "
            "(rbm.reduced.output_gradients), or leave it out, outputs=(...)"
        )
    output.coefficients.check_derivatives()
    if getattr(output, "offset_coefficients", None) is not None:
        output.offset_coefficients.check_derivatives()


def output_gradient(output: Any, at: AtSlopes) -> Gradients:
    """Return the derivatives (M, p) of an output and, if `at` has what they need, bounds (M, p) of their errors."""
    kind = _KINDS.get(type(output))
    if kind is None:
        made: Gradients = output.gradient(at)
        return made
    with np.errstate(over="ignore", invalid="ignore"):
        return kind(output, at)


def _slopes_of(coefficients: Coefficients, mus: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return coefficients (M, Q) and their derivatives (M, p, Q)."""
    return coefficients(mus), coefficients.derivative(mus).transpose(0, 2, 1)


def _of_linear(output: ReducedLinear, at: AtSlopes) -> Gradients:
    value, rounding = _linear_sums(output, at)
    if at.residual is None:
        return value, None
    return value, _plain(output, at) + rounding


def _of_rows(output: ReducedRows, at: AtSlopes) -> Gradients:
    """Return derivatives (M, k, p) of an array-valued output, row by row."""
    made = [_of_linear(part, at) for part in output.parts]
    bounds = [bound for _, bound in made if bound is not None]
    return np.stack([value for value, _ in made], axis=1), np.stack(bounds, axis=1) if bounds else None


def _linear_sums(output: ReducedLinear, at: AtSlopes) -> tuple[np.ndarray, np.ndarray]:
    """Return l'^T u_N + l^T Z gamma' + c' b (M, p), and what rounding they may have."""
    psi, of_psi = _slopes_of(output.coefficients, at.mus)
    gamma, of_gamma = at.slopes.gamma, at.slopes.of_gamma
    value = _both(of_psi, gamma @ output.vectors.T, psi, of_gamma @ output.vectors.T)
    sizes = output._sizes.T  # of sums over N and the terms, three times what they need: room for adding both
    rounding = _both(np.abs(of_psi), np.abs(gamma) @ sizes, np.abs(psi), np.abs(of_gamma) @ sizes)
    if output.offset is not None and output.offset_coefficients is not None:
        _, of_c = _slopes_of(output.offset_coefficients, at.mus)
        value = value + of_c @ output.offset
        unit = 3 * (len(output.offset) + 4) * ROUND_OFF
        rounding = rounding + unit * (np.abs(of_c) @ np.abs(output.offset)) + 2 * ROUND_OFF * np.abs(value)
    lost = _underflow(gamma.shape[1], of_psi, psi, of_gamma)
    return value, (1 + 16 * ROUND_OFF) * rounding + lost


def _underflow(size: int, of_psi: np.ndarray, psi: np.ndarray, of_gamma: np.ndarray) -> np.ndarray:
    """Return what sums over `size` numbers lose below the range of normal numbers; psi' and psi multiply it."""
    changes = np.any(of_psi != 0, axis=2) | np.any(of_gamma != 0, axis=2)
    weights = np.sum(np.abs(of_psi), axis=2) + np.any(of_gamma != 0, axis=2) * np.sum(np.abs(psi), axis=1)[:, None]
    return 4 * TINY * ((size + 1) * weights + 2 * changes)


def _both(of_psi: np.ndarray, of_solution: np.ndarray, psi: np.ndarray, of_slope: np.ndarray) -> np.ndarray:
    """Return sum_q psi_q' a_q + psi_q a_q' (M, p) for a (M, Q), a' (M, p, Q)."""
    return (of_psi @ of_solution[:, :, None] + of_slope @ psi[:, :, None])[:, :, 0]


def _plain(output: ReducedLinear, at: AtSlopes) -> np.ndarray:
    """Return ||l'||_{P'} ||e|| + ||l||_{P'} ||e'|| (M, p), bounds about the Galerkin value."""
    psi, of_psi = _slopes_of(output.coefficients, at.mus)
    norm = output._norm(psi)[:, None]
    of_norm = output._norm(of_psi.reshape(-1, of_psi.shape[2])).reshape(of_psi.shape[:2])
    of_norm = np.where(np.any(of_psi != 0, axis=2), of_norm, 0.0)
    error, slope = at.error, at.slope_error
    there = ((norm > 0) & (slope > 0)) | ((of_norm > 0) & (error > 0))
    return (1 + 8 * ROUND_OFF) * (of_norm * error + norm * slope) + TINY * there


def _product_bound(at: AtSlopes, dual: Any, of_dual: Any) -> np.ndarray:
    """Return (||r*|| ||r'|| + ||r*'|| ||r|| + tau ||r*|| ||r||) / beta (M, p) from bounds of the dual residuals."""
    root = np.sqrt(at.beta)[:, None]  # products of residuals may be below the range of numbers where the bound is not
    residual, dual = at.residual[:, None] / root, dual[:, None] / root
    slope, of_dual = at.slope_residual / root, of_dual / root
    total = dual * slope + of_dual * residual + (at.growth * dual) * residual
    there = (dual > 0) & (slope > 0) | (residual > 0) & ((of_dual > 0) | (at.growth > 0) & (dual > 0))
    return (1 + 24 * ROUND_OFF) * total + 4 * TINY * there


def _of_compliant(output: ReducedCompliant, at: AtSlopes) -> Gradients:
    value, rounding = _linear_sums(output, at)
    value = value.real if output.real else value
    if at.residual is None:
        return value, None
    plain = _plain(output, at)
    slopes = at.slopes
    psi, of_psi = _slopes_of(output.coefficients, at.mus)
    eta = (1 + float(output.orthonormality)) ** 0.5
    size, of_size = eta * row_norms(slopes.gamma)[:, None], eta * slope_norms(slopes.of_gamma)
    weight, of_weight = np.abs(slopes.theta), np.abs(slopes.of_theta)
    # z_N = u_N: its residual is r but for what is not quite Hermitian, or not quite conj f
    off = (np.abs(psi) @ output.mismatch)[:, None] + (weight @ output.skew)[:, None] * size
    of_off = np.abs(of_psi) @ output.mismatch + of_weight @ output.skew * size
    of_off = of_off + (weight @ output.skew)[:, None] * of_size
    up = 1 + 64 * ROUND_OFF
    dual, of_dual = at.residual + up * off[:, 0], at.slope_residual + up * of_off
    made = _product_bound(at, dual, of_dual) + _left(output, slopes, psi, of_psi)
    real = _real(slopes.theta) & _real(slopes.of_theta) & _real(psi) & _real(of_psi)
    if output.coefficients.constant is not None:
        real = _real(slopes.theta) & _real(slopes.of_theta)
    sharp = real[:, None] & (made < plain)
    return value, (1 + 16 * ROUND_OFF) * (np.where(sharp, made, plain) + rounding)


def _real(values: np.ndarray) -> np.ndarray:
    """Return which of the points (M,) have no imaginary part in (M, ...)."""
    return np.all(np.imag(values) == 0, axis=tuple(range(1, values.ndim)))


def _left(output: ReducedCompliant, at: Slopes, psi: np.ndarray, of_psi: np.ndarray) -> np.ndarray:
    """Return |gamma'^H (f_N - A_N gamma)| + |gamma^H (f_N' - A_N' gamma - A_N gamma')| (M, p) and their rounding.

    Both are zero for the Galerkin solution and its derivative without rounding.
    """
    theta, of_theta = at.theta.real, at.of_theta.real
    (qa, n, _), gamma, of_gamma = output.operators.shape, at.gamma, at.of_gamma
    flat = output.operators.transpose(2, 0, 1).reshape(n, qa * n)
    images = (gamma @ flat).reshape(-1, qa, n)
    matrices = (theta @ output.operators.reshape(qa, n * n)).reshape(-1, n, n)
    first = np.conj(psi) @ output.rhs - (theta[:, None, :] @ images)[:, 0]
    second = np.conj(of_psi) @ output.rhs - of_theta @ images - of_gamma @ matrices.transpose(0, 2, 1)
    made = np.abs(of_gamma.conj() @ first[:, :, None])[:, :, 0] + np.abs(np.sum(gamma.conj()[:, None] * second, axis=2))
    # 3 (2 n + terms + 8) u of the absolute terms, by Cauchy and Schwarz with Frobenius norms
    u = 3 * (2 * n + qa + len(output.rhs) + 8) * ROUND_OFF
    operators = u * np.linalg.norm(output.operators, axis=(1, 2)) + 2 * (1 + u) * np.sum(
        output.operator_errors**2, axis=1
    )
    rhs = u * np.linalg.norm(output.rhs, axis=1) + (1 + u) * np.linalg.norm(output.rhs_errors, axis=1)
    size, of_size = row_norms(gamma)[:, None], slope_norms(of_gamma)
    weight, of_weight = (np.abs(at.theta) @ operators)[:, None], np.abs(at.of_theta) @ operators
    off = (np.abs(psi) @ rhs)[:, None] * of_size + 2 * weight * size * of_size
    return made + (1 + 1e-9) * (off + np.abs(of_psi) @ rhs * size + of_weight * size**2)


def _of_quadratic(output: ReducedQuadratic, at: AtSlopes) -> Gradients:
    psi, of_psi = _slopes_of(output.coefficients, at.mus)
    gamma, of_gamma = at.slopes.gamma, at.slopes.of_gamma
    images = np.stack([gamma @ q.T for q in output.matrices], axis=1)  # (M, Ql, N)
    forms = np.real(np.sum(gamma.conj()[:, None] * images, axis=2))
    slopes = 2 * np.real(of_gamma.conj() @ images.transpose(0, 2, 1))
    value = _both(of_psi, forms, psi, slopes)
    if at.residual is None:
        return value, None
    eta = (1 + float(output.orthonormality)) ** 0.5
    size, of_size = eta * row_norms(gamma)[:, None], eta * slope_norms(of_gamma)
    rounding = np.zeros(len(output.norms)) if output.rounding is None else output.rounding
    n, terms = gamma.shape[1], len(output.norms)
    unit = 16 * (n + 2 + terms) ** 1.5 * ROUND_OFF
    charged = unit * output.norms + (1 + 1e-9) * rounding
    error, slope = at.error, at.slope_error
    of_state = np.abs(of_psi) @ output.norms * (2 * size + error) * error
    of_slope = (np.abs(psi) @ output.norms)[:, None] * 2 * (error * of_size + size * slope + error * slope)
    off = np.abs(of_psi) @ charged * size**2 + 2 * (np.abs(psi) @ charged)[:, None] * size * of_size
    lost = _underflow(n * n, of_psi, psi, of_gamma)
    return value, (1 + 1e-9) * (of_state + of_slope + off) + lost


def _of_primal_dual(output: ReducedPrimalDual, at: AtSlopes) -> Gradients:
    """Return the derivative of the corrected output, s_N' = (l^T u_N)' + z_N'^H r + z_N^H r'."""
    value, rounding = _linear_sums(output, at)
    primal = at.slopes
    psi, of_psi = _slopes_of(output.coefficients, at.mus)
    dual_gamma, norm = output._query.residual(primal.theta.conj(), psi.conj(), output._dual_state, mus=at.mus)
    dual = reduced_slopes(
        output.dual_operators, output.dual_rhs, primal.theta.conj(), psi.conj(), primal.of_theta.conj(),
        of_psi.conj(), dual_gamma,
    )  # fmt: skip
    own, residuals = output._slope_residuals
    y, of_y = _residual_coordinates(own, primal), own.coordinates(primal)
    weights, of_weights = dual.gamma.conj() @ output.correction, dual.of_gamma.conj() @ output.correction
    correction = (of_weights @ y[:, :, None] + of_y @ weights[:, :, None])[:, :, 0]
    value = value + correction
    if at.residual is None or norm is None:
        return value, None
    eta = (1 + float(output.dual_orthonormality)) ** 0.5 * (1 + float(output.orthogonality))
    size, of_size = row_norms(dual.gamma)[:, None], slope_norms(dual.of_gamma)
    floor = own.floor_weights(np.result_type(y, of_y))
    of_r, of_slope = _weighted_residual(own, primal, floor)[:, None], own.weighted(primal, floor)
    unit = 3 * (sum(output.correction.shape) + 8) * ROUND_OFF
    error = float(output.correction_error) + unit * output._correction_size
    norms = row_norms(y)[:, None], slope_norms(of_y)
    off = eta * (of_size * of_r + size * of_slope) + error * (of_size * norms[0] + size * norms[1])
    of_dual = residuals.bounds(dual, residuals.coordinates(dual))
    product = _product_bound(at, norm.bound, of_dual)
    other = _plain(output, at) + np.abs(correction)
    charged = rounding + (1 + unit) * off + 4 * ROUND_OFF * np.abs(value) + TINY * (off > 0)
    return value, (1 + 16 * ROUND_OFF) * (np.minimum(product, other) + charged)


def _residual_coordinates(norm: SlopeResidual, at: Slopes) -> np.ndarray:
    """Return R c (M, k) of the residual itself, by the same sums as those of its derivatives."""
    return norm.coordinates(_of_solution(at))[:, 0]


def _weighted_residual(norm: SlopeResidual, at: Slopes, weights: np.ndarray) -> np.ndarray:
    """Return sum_j weights_j |c_j| (M,) of the residual."""
    return norm.weighted(_of_solution(at), weights)[:, 0]


def _of_solution(at: Slopes) -> Slopes:
    """Return what makes of r' = phi' f - theta' A u_N - theta A Z gamma' the residual r: phi' = phi, theta' = theta."""
    zero = np.zeros_like(at.gamma[:, None])
    return Slopes(at.theta, at.phi, at.theta[:, None], at.phi[:, None], widened(at.gamma), zero)


_KINDS: dict[type, Callable[[Any, AtSlopes], Gradients]] = {
    ReducedLinear: _of_linear,
    ReducedRows: _of_rows,
    ReducedCompliant: _of_compliant,
    ReducedQuadratic: _of_quadratic,
    ReducedPrimalDual: _of_primal_dual,
}
