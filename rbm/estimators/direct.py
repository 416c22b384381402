"""E1: the residual as a full vector."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np
import numpy.typing as npt

from rbm.estimate import Estimate
from rbm.estimators.base import Estimator
from rbm.full_order import FullOrderModel
from rbm.online.chunks import slices
from rbm.precision import widened
from rbm.reduction import Reduction
from rbm.residual_norm import residual_norm

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
        parts = [residual_norm(self.model, self.basis, theta[r], phi[r], gamma[r]) for r in slices(len(theta))]
        return Estimate.from_norm(*(np.concatenate([p[k] for p in parts]) for k in (0, 1)))

    def astype(self, dtype: npt.DTypeLike) -> Self:
        """Itself: the full model stays in double precision."""
        return self

    def truncate(self, size: int, columns: int) -> Self:
        """The first `size` basis vectors."""
        return type(self)(self.model, self.basis[:, :size])
