"""E1: the residual as a full vector."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np
import numpy.typing as npt

from rbm import extended
from rbm.estimate import Estimate
from rbm.estimators.base import Estimator
from rbm.full_order import FullOrderModel
from rbm.online.chunks import slices
from rbm.precision import exponents_of, scaled, widened
from rbm.reduction import Reduction
from rbm.riesz import RANGE

__all__ = ["Direct"]


@dataclass(frozen=True)
class Direct(Estimator):
    """E1: value = ||f - A Z gamma||_{P^-1} from the residual vector itself.

    The vector is formed in extended precision (:mod:`rbm.extended`), so that rounding enters only relative to the *result*:

        floor = 8 u value + error of the norm + sup { ||e||_{P^-1} : |e| <= sum_q |theta_q| rounding(A_q Z gamma) },

    the rounding of the products being 2^-70 relative to their largest terms, where plain double precision has u = 2^-53. Terms
    that show no entries (LinearOperator) are applied in their own precision and their rounding is only sampled: such
    estimates are not certified. Cost: O(n) and four Riesz solves a point; needs the full model, hence not for online use
    and not saved.
    """

    method: ClassVar[str] = "direct"
    portable: ClassVar[bool] = False

    model: FullOrderModel
    basis: np.ndarray  #: Z (n, N)

    @classmethod
    def prepare(
        cls, model: FullOrderModel, basis: np.ndarray, training: np.ndarray, *, reduction: Reduction | None = None
    ) -> Self:
        """Keeps model and basis."""
        return cls(model, basis if reduction is None else reduction.basis)

    def evaluate(self, theta: np.ndarray, phi: np.ndarray, gamma: np.ndarray) -> Estimate:
        """Residual norms (M,); coefficients in single precision are numbers like any other."""
        gamma = widened(gamma)
        parts = [self._evaluate(theta[rows], phi[rows], gamma[rows]) for rows in slices(len(theta))]
        return Estimate.from_norm(*(np.concatenate([p[k] for p in parts]) for k in (0, 1)))

    def _evaluate(self, theta: np.ndarray, phi: np.ndarray, gamma: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The residual is linear in (phi, gamma): where f or gamma are very small or large they are brought to size one, by powers of two.

        phi counts with the size of what it multiplies: a coefficient of 1e160 that undoes the units of f leaves nothing to be scaled.
        """
        sizes = exponents_of(self.model.rhs_terms * self.model.inner_product.balance[:, None])
        shifts = np.append(sizes, np.zeros(gamma.shape[1], dtype=sizes.dtype))
        both = np.abs(np.concatenate([phi, gamma], axis=1))
        lowest = np.iinfo(np.int32).min
        exponents = np.where(both > 0, np.frexp(both)[1] + shifts, lowest).max(axis=1, initial=lowest)
        exponents = np.where(exponents == lowest, 0, exponents)
        if np.all(np.abs(exponents) <= RANGE):
            return self._in_range(theta, phi, gamma)
        value, floor = self._in_range(theta, scaled(phi.T, -exponents).T, scaled(gamma.T, -exponents).T)
        return scaled(value, exponents), scaled(floor, exponents) + np.finfo(float).tiny * (floor > 0)

    def _in_range(self, theta: np.ndarray, phi: np.ndarray, gamma: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        model, u = self.model, np.finfo(float).eps / 2
        z = extended.product(self.basis, gamma.T)
        # products below the range of normal numbers lose up to that number each
        small = (
            8
            * np.finfo(float).tiny
            * (phi.shape[1] + gamma.shape[1] + 1)
            * (np.any(phi[:, np.any(model.rhs_terms, axis=0)], axis=1) | np.any(gamma, axis=1))
        )
        of_z = extended.rounding(self.basis, gamma.T) + small
        value, error = model.inner_product.dual_norm_with_error(model.residual(theta, phi, z))
        # the sums in `residual` are right to about u^2 times their largest term
        rounding = 8 * u**2 * (np.abs(model.rhs_terms) @ np.abs(phi.T)) + small
        for q, term in enumerate(model.split_terms):
            amplified = (abs(term) @ of_z) if isinstance(term, extended.SplitMatrix) else 0.0
            rounding = rounding + np.abs(theta.T[q]) * (2 * extended.rounding(term, z) + amplified + small) + small
        return value, 8 * u * value + error + model.inner_product.dual_norm_bound(rounding)

    def astype(self, dtype: npt.DTypeLike) -> Self:
        """Itself: the full model stays in double precision."""
        return self

    def truncate(self, size: int, columns: int) -> Self:
        """The first `size` basis vectors."""
        return type(self)(self.model, self.basis[:, :size])
