"""Estimator E1 ("direct"): the norm of the residual as a full vector."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np
import numpy.typing as npt

from rbm.affine.system import residual_norm
from rbm.arithmetic.precision import widened
from rbm.estimate import Estimate
from rbm.estimators.base import Estimator
from rbm.full_order import FullOrderModel
from rbm.online.chunks import slices
from rbm.reduction.projected_system import Reduction
from rbm.storage.registry import register

__all__ = ["Direct"]


@register("estimator")
@dataclass(frozen=True)
class Direct(Estimator):
    """E1: the residual norm, computed from the residual vector itself.

        value = ||f - A Z gamma||_{P^-1}

    The vector is formed in extended precision (:mod:`rbm.arithmetic.extended`), so that rounding enters only relative
    to the *result*:

        floor = 8 u value + error of the norm + sup { ||e||_{P^-1} : |e| <= sum_q |theta_q| rounding(A_q Z gamma) },

    the rounding of the products being 2^-70 relative to their largest terms, where plain double precision has u =
    2^-53. Terms that show no entries (LinearOperator) are applied in their own precision and their rounding is only
    sampled: such estimates are not certified. Cost per point: O(n) and four Riesz solves. The full model is needed, so
    that the state is not for online use and is not saved.

    Source: Casenave, Ern, Lelievre, arXiv 1212.0970.
    """

    kind: ClassVar[str] = "direct"
    alias: ClassVar[str] = "E1"
    portable: ClassVar[bool] = False

    model: FullOrderModel
    basis: np.ndarray  #: Z (n, N)

    @classmethod
    def prepare(cls, reduction: Reduction, training: np.ndarray) -> Self:
        """Keep the model and the basis (n, N) of the projection, as they are; training points are not needed."""
        return cls(reduction.model, reduction.basis)

    def evaluate(self, theta: np.ndarray, phi: np.ndarray, gamma: np.ndarray) -> Estimate:
        """Return residual norms (M,); coefficients in single precision are widened to double."""
        gamma = widened(gamma)
        parts = [residual_norm(self.model, self.basis, theta[r], phi[r], gamma[r]) for r in slices(len(theta))]
        return Estimate.from_norm(*(np.concatenate([p[k] for p in parts]) for k in (0, 1)))

    def astype(self, dtype: npt.DTypeLike) -> Self:
        """Return the state itself: the full model stays in double precision."""
        return self

    def truncate(self, size: int, columns: int) -> Self:
        """Return the state with the first `size` basis vectors."""
        return type(self)(self.model, self.basis[:, :size])
