"""The norm of the residual from the residual vector itself, with a bound of its rounding."""

from __future__ import annotations

import numpy as np

from rbm.affine.inner_product import RANGE
from rbm.affine.system import AffineSystem
from rbm.arithmetic import extended
from rbm.arithmetic.precision import exponents_of, scaled

__all__ = ["residual_norm"]


def residual_norm(
    system: AffineSystem, basis: np.ndarray, theta: np.ndarray, phi: np.ndarray, gamma: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return ||f - A Z gamma||_{P^-1} (M,) from the residual vector, and a floor (M,) of its error.

    The vector is formed in extended precision.

    basis : Z (n, N); theta (M, Qa), phi (M, Qf), gamma (M, N)

    The residual is linear in (phi, gamma): where f or gamma are very small or large they are brought to size one, by
    powers of two.

    phi counts with the size of what it multiplies: a coefficient of 1e160 that undoes the units of f leaves nothing to
    be scaled.
    """
    sizes = exponents_of(system.rhs_terms * system.inner_product.balance[:, None])
    shifts = np.append(sizes, np.zeros(gamma.shape[1], dtype=sizes.dtype))
    both = np.abs(np.concatenate([phi, gamma], axis=1))
    lowest = np.iinfo(np.int32).min
    exponents = np.where(both > 0, np.frexp(both)[1] + shifts, lowest).max(axis=1, initial=lowest)
    exponents = np.where(exponents == lowest, 0, exponents)
    if np.all(np.abs(exponents) <= RANGE):
        return _in_range(system, basis, theta, phi, gamma)
    value, floor = _in_range(system, basis, theta, scaled(phi.T, -exponents).T, scaled(gamma.T, -exponents).T)
    return scaled(value, exponents), scaled(floor, exponents) + np.finfo(float).tiny * (floor > 0)


def _in_range(
    system: AffineSystem, basis: np.ndarray, theta: np.ndarray, phi: np.ndarray, gamma: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    u = np.finfo(float).eps / 2
    z = extended.product(basis, gamma.T)
    # products below the range of normal numbers lose up to that number each
    moving = np.any(phi[:, np.any(system.rhs_terms, axis=0)], axis=1) | np.any(gamma, axis=1)
    small = 8 * np.finfo(float).tiny * (phi.shape[1] + gamma.shape[1] + 1) * moving
    of_z = extended.rounding(basis, gamma.T) + small
    value, error = system.inner_product.dual_norm_with_error(system.residual(theta, phi, z))
    # the sums in `residual` are right to about u^2 times their largest term
    rounding = 8 * u**2 * (np.abs(system.rhs_terms) @ np.abs(phi.T)) + small
    for q, term in enumerate(system.split_terms):
        amplified = (abs(term) @ of_z) if isinstance(term, extended.SplitMatrix) else 0.0
        rounding = rounding + np.abs(theta.T[q]) * (2 * extended.rounding(term, z) + amplified + small) + small
    return value, 8 * u * value + error + system.inner_product.dual_norm_bound(rounding)
