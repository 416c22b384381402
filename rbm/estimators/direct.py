"""E1: the residual as a full vector."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np

from rbm import extended
from rbm.estimate import Estimate
from rbm.estimators.base import Estimator
from rbm.full_order import FullOrderModel, blocks
from rbm.reduction import Reduction

__all__ = ["Direct"]


@dataclass(frozen=True)
class Direct(Estimator):
    """E1: value = ||f - A Z gamma||_{P^-1} from the residual vector itself.

    The vector is formed in extended precision (:mod:`rbm.extended`), so that rounding enters only relative to the *result*:

        floor = 8 u value + 2^-67 || sum_q |phi_q f_q| + sum_q |theta_q| |A_q| |Z| |gamma| ||_{P^-1}.

    In plain double precision the second term has u in place of 2^-67. Terms that show no entries (LinearOperator)
    contribute four times a sample of their rounding error instead. Cost: O(n) and three Riesz solves a point; needs the full model, hence not
    for online use and not saved.
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
        """Residual norms (M,)."""
        parts = [self._evaluate(theta[rows], phi[rows], gamma[rows]) for rows in blocks(len(theta))]
        return Estimate.from_norm(*(np.concatenate([p[k] for p in parts]) for k in (0, 1)))

    def _evaluate(self, theta: np.ndarray, phi: np.ndarray, gamma: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        model, u = self.model, np.finfo(float).eps / 2
        z = extended.product(self.basis, gamma.T)
        value = model.inner_product.dual_norm(model.residual(theta, phi, z))
        size = np.abs(self.basis) @ np.abs(gamma.T)
        rounding = 2.0**-67 * (np.abs(model.rhs_terms) @ np.abs(phi.T))
        for q, term in enumerate(model.split_terms):
            if isinstance(term, extended.SplitMatrix):
                rounding = rounding + 2.0**-67 * np.abs(theta.T[q]) * (abs(term) @ size)
            else:
                rounding = rounding + 4 * np.abs(theta.T[q]) * np.abs(extended.product(term, z[0])[1])
        return value, 8 * u * value + model.inner_product.dual_norm(rounding)

    def truncate(self, size: int, columns: int) -> Self:
        """The first `size` basis vectors."""
        return type(self)(self.model, self.basis[:, :size])
