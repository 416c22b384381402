"""E_onb: the residual norm in an orthonormal basis of the residual's range."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np

from rbm import extended
from rbm.estimate import Estimate
from rbm.estimators.base import Estimator, rounding_constant, underflow
from rbm.full_order import FullOrderModel
from rbm.online.forms import NormForm
from rbm.online.reference import residual_coefficients
from rbm.reduction import Reduction

__all__ = ["Orthonormal"]

#: Safety factor on the measured defects and on the measured loss of orthogonality.
SAFETY = 2.0
#: Below this many floors a value is computed again in extended precision.
SHARP = 100.0


@dataclass(frozen=True)
class Orthonormal(Estimator):
    """E_onb: value = ||R c||_2 with W = D R, D^H P^{-1} D = I (:class:`rbm.residual.ResidualRange`).

    No square is expanded, so rounding enters relative to the terms, not to their squares. With the measured defects
    delta_j = ||W_j - D R_j||_{P^-1} and eta = ||D^H P^{-1} D - I||_F,

        floor = 2 sum_j delta_j |c_j| + (m + 4) u s(mu) + (2 eta + (k + 4) u) value,    s = sum_j ||W_j||_{P^-1} |c_j|

    (u doubled for complex numbers): a worst-case rounding analysis of the online sums, and twice what was measured
    offline. Points with value < 100 floor are evaluated once more in extended precision
    (:mod:`rbm.extended`), where the term (m + 4) u s(mu) drops out. Cost O(m k) a point, four times that for those.
    The idea of an orthonormal basis is due to Buhr, Engwer, Ohlberger, Rave, arXiv 1407.8005; orthonormalising functionals,
    and measuring, are ours.
    """

    method: ClassVar[str] = "orthonormal"

    factor: np.ndarray  #: R (k, m), upper triangular up to dependent columns
    norms: np.ndarray  #: ||W_j|| (m,)
    defects: np.ndarray  #: delta_j (m,)
    orthogonality: float  #: eta

    @classmethod
    def prepare(
        cls, model: FullOrderModel, basis: np.ndarray, training: np.ndarray, *, reduction: Reduction | None = None
    ) -> Self:
        """R, and the three measurements."""
        reduction = reduction or Reduction(model, basis)
        rng = reduction.residual_range
        return cls(rng.factor, rng.norms, rng.defects, rng.orthogonality)

    def evaluate(self, theta: np.ndarray, phi: np.ndarray, gamma: np.ndarray) -> Estimate:
        """Residual norms (M,), once more in extended precision where the first floor is not far below the value."""
        c = residual_coefficients(theta, phi, gamma)
        value = np.linalg.norm(c @ self.factor.T, axis=1)
        u = rounding_constant(c.shape[1], c.dtype)
        floor = np.abs(c) @ (SAFETY * self.defects + u * self.norms) + self._relative(c) * value
        weak = np.flatnonzero(value < SHARP * floor)
        if len(weak):
            value[weak], floor[weak] = self._refined(theta[weak], phi[weak], gamma[weak])
        return Estimate.from_norm(value, floor)

    def form(self, dtype: np.dtype) -> NormForm:
        """For the compiled kernels."""
        u = rounding_constant(len(self.norms), dtype)
        return NormForm(
            self.factor,
            SAFETY * self.defects + u * self.norms,
            SAFETY * self.defects + 2 * u**2 * self.norms,
            SAFETY * self.orthogonality + rounding_constant(len(self.factor), dtype),
            underflow(len(self.factor), dtype),
        )

    def _refined(self, theta: np.ndarray, phi: np.ndarray, gamma: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Values and floors with the rounding of c and of the sums R c compensated."""
        products = extended.two_product(gamma[:, :, None], theta[:, None, :])
        # both parts from the same product: a complex one rounds differently elsewhere
        c, lost = (
            np.concatenate([head, -part.reshape(len(phi), -1)], axis=1)
            for head, part in zip((phi, np.zeros_like(phi)), products, strict=True)
        )
        pair = (c.T, lost.T)
        factor = extended.SplitMatrix(self.factor)
        hi, lo = extended.product(factor, pair)
        value = np.linalg.norm(hi + lo, axis=0)
        rounding = np.linalg.norm(extended.rounding(factor, pair), axis=0)
        return value, SAFETY * (np.abs(c) @ self.defects) + rounding + self._relative(c) * value

    def _relative(self, c: np.ndarray) -> float:
        """2 eta + (k + 4) u."""
        return SAFETY * self.orthogonality + rounding_constant(len(self.factor), c.dtype)

    def truncate(self, size: int, columns: int) -> Self:
        """The leading columns of R, and of its rows those that they use."""
        factor = self.factor[:, :columns]
        rows = int(np.flatnonzero(np.any(factor != 0, axis=1)).max(initial=-1)) + 1
        return type(self)(factor[:rows], self.norms[:columns], self.defects[:columns], self.orthogonality)
