"""The error bound from the residual norm: division by beta, and the errors of an interpolated model."""

from __future__ import annotations

from typing import Any

import numpy as np

from lowrank.arrays import all_true, beside, is_complex, namespace, real_part, to_numpy
from rbm.arithmetic.precision import ROUND_OFF, row_norms, widened
from rbm.errors import ModelError, ParameterError, StabilityError, refused
from rbm.estimate import Estimate
from rbm.parameters.coefficients import Coefficients
from rbm.parameters.space import ParameterSpace

__all__ = ["error_estimate", "relative_estimate"]


def error_estimate(
    norm: Estimate,
    beta: Any,
    gamma: Any,
    mus: Any,
    parameters: ParameterSpace,
    interpolation_error: Coefficients | None = None,
    orthonormality: float = 0.0,
) -> Estimate:
    """Return estimates of the error ||u - Z gamma||_P from estimates of ||r||_{P^-1}, for M parameter points.

    For an affine model it is ||r|| / beta; for one that stands for another, A' u' = f' (:class:`rbm.FullOrderModel`),

        ||u' - Z gamma||_P <= (||r|| + eps_f + eps_A ||Z gamma||_P) / (beta - eps_A),
        ||Z gamma||_P <= (1 + eta)^{1/2} ||gamma||_2,

    with eta = `orthonormality` >= ||Z^H P Z - I|| as measured
    (:meth:`rbm.affine.inner_product.InnerProduct.orthonormality`).

    norm : residual norms (M,); beta : stability bounds (M,); gamma : (M, N); mus : (M, p). All live in one place, and
        so does the result.

    Raises
    ------
    StabilityError
        eps_A is not below beta.
    ModelError
        eps_A or eps_f is not a number >= 0.
    ParameterError
        an interpolated model outside its parameter ranges, where its interpolation error is not known; a bound that is
        not finite.
    """
    if interpolation_error is not None:
        xp = namespace(mus)
        low, high = (beside(b, mus) for b in parameters.bounds.T)
        outside = xp.any((mus < low) | (mus > high), axis=1)
        if bool(xp.any(outside)):
            mus = to_numpy(mus)
            unknown = (
                "is outside the parameter ranges, where the interpolation error of this model is not known: no error "
                "bound holds; solve(mus, estimate=False, extrapolate=True) goes without"
            )
            raise refused(
                ParameterError, outside, lambda i, where: f"{parameters.describe(mus[i])} ({where}) {unknown}"
            )
        of_operator, of_rhs = _interpolation_error(interpolation_error, beta, mus, parameters)
        beta = (1 - 4 * ROUND_OFF) * (beta - of_operator)  # a rounded difference
        size = (1 + orthonormality) ** 0.5 * row_norms(widened(gamma))
        norm = norm.interpolated((1 + (gamma.shape[1] + 8) * ROUND_OFF) * (of_rhs + of_operator * size))
    with np.errstate(over="ignore", invalid="ignore"):
        error = norm.scaled(1 / beta)
        bound = error.bound
        finite = np.isfinite(bound) if isinstance(bound, np.ndarray) else namespace(bound).isfinite(bound)
    if not all_true(finite):
        mus, value, beta = to_numpy(mus), to_numpy(norm.value), to_numpy(beta)

        def infinite(i: int, where: str) -> str:
            numbers = f"the residual norm is {value[i]:.3g}, the stability bound {beta[i]:.3g}"
            hint = "" if np.isfinite(value[i]) else "; scale the right-hand side (its units)"
            return f"the error bound at {parameters.describe(mus[i])} ({where}) is not finite: {numbers}{hint}"

        raise refused(ParameterError, ~finite, infinite)
    return error


def _interpolation_error(
    interpolation_error: Coefficients, beta: Any, mus: Any, parameters: ParameterSpace
) -> tuple[Any, Any]:
    """Return eps_A and eps_f (M,), checked."""
    values = interpolation_error(mus)
    xp, real = namespace(values), real_part(values)
    good = (real >= 0) & (xp.imag(values) == 0) if is_complex(values) else real >= 0
    if not all_true(good):
        mus, values = to_numpy(mus), to_numpy(values)

        def unfit(i: int, where: str) -> str:
            at = f"at {parameters.describe(mus[i])} ({where})"
            return f"the interpolation errors {at} are {values[i]}; they must be real and >= 0"

        raise refused(ModelError, ~xp.all(good, axis=1), unfit)
    of_operator, of_rhs = real[:, 0], real[:, 1]
    lost = of_operator >= beta
    if bool(xp.any(lost)):
        mus, of_operator, beta = to_numpy(mus), to_numpy(of_operator), to_numpy(beta)

        def too_large(i: int, where: str) -> str:
            error = f"the interpolation error {of_operator[i]:.3g} of the operator"
            limit = f"the stability bound {beta[i]:.3g}: no error bound holds; interpolate more accurately"
            return f"{error} at {parameters.describe(mus[i])} ({where}) is not below {limit}"

        raise refused(StabilityError, lost, too_large)
    return of_operator, of_rhs


def relative_estimate(error: Estimate, gamma: np.ndarray) -> Estimate:
    """Divide an error estimate (M,) by ||u_N||_P = ||gamma||_2, gamma (M, N).

    The quotient is infinite where u_N is zero and the error may not be, zero where both are.
    """
    size = np.linalg.norm(gamma, axis=1)
    scale = np.where(size > 0, 1 / np.where(size > 0, size, 1.0), np.inf)
    with np.errstate(invalid="ignore"):  # 0 times infinity
        value, floor = (np.where(part > 0, part * scale, 0.0) for part in (error.value, error.floor))
    return Estimate(value, floor, error.resolved)
