"""Estimator E_onb ("orthonormal"): the residual norm in an orthonormal basis of the residual's range."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt

from lowrank.arrays import beside, namespace, numpy_dtype
from rbm.arithmetic.precision import is_single
from rbm.estimators.base import rounding_constant
from rbm.estimators.residual_factor import SAFETY, FactorNorm
from rbm.online.reference import compensated_norm
from rbm.online.splitting import split_constant
from rbm.reduction.projected_system import Reduction
from rbm.storage.registry import register

__all__ = ["Orthonormal"]


@register("estimator")
@dataclass(frozen=True)
class Orthonormal(FactorNorm):
    """E_onb: the norm of the residual's coordinates in an orthonormal basis D of its range.

        value = ||R c||_2,    W = D R,    D^H P^{-1} D = I    (:class:`rbm.reduction.projected_system.ResidualRange`).

    No square is expanded, so rounding enters relative to the terms, not to their squares. With the measured defects
    delta_j = ||W_j - D R_j||_{P^-1} and eta = ||D^H P^{-1} D - I||_F,

        floor = 2 sum_j delta_j |c_j| + (m + 4) u s(mu) + (2 eta + (k + 4) u) value,    s = sum_j ||W_j||_{P^-1} |c_j|

    (u three times as large for complex numbers). This is a worst-case rounding analysis of the online sums, which is
    proved, and twice what was measured offline, since a measurement carries its own rounding error. The floor is 0 only
    where all coefficients of the residual are. Points whose floor would fall by a hundredth of the value or more are
    evaluated once more, with compensated sums (:func:`rbm.online.reference.compensated_norm`) or, in compiled code, in
    parts whose products have exact sums (:mod:`rbm.online.splitting`): (m + 4) u s(mu) becomes
    (2 ((m + 4) u)^2 + g) s(mu), g about u / 6 for m = 271. Cost per point: O(m k), four times that in parts.

    In single precision (:meth:`rbm.ReducedModel.astype`) delta_j grows by half of ||R_j - float32(R_j)||, about u_32
    ||R_j|| / 2, and such points are evaluated once more in double precision with the same factor, and with the u
    of double precision: what remains of the floor is the rounding of R, about u_32 s(mu) or less.

    A factor with fewer rows (:meth:`rbm.ReducedModel.compress`) is the same estimator with larger delta_j.

    Source: the idea of an orthonormal basis is due to Buhr, Engwer, Ohlberger, Rave, arXiv 1407.8005; to orthonormalise
    functionals, and to measure, is ours.
    """

    kind: ClassVar[str] = "orthonormal"
    alias: ClassVar[str] = "E_onb"
    reevaluated: ClassVar[bool] = True

    # R (k, m) is upper triangular up to dependent columns, norms are ||W_j||
    full_rows: int = 0  #: rows of R before :meth:`rbm.ReducedModel.compress`, 0 if it was never compressed
    growth: float = 0.0  #: largest growth of the residual norm's floor by compression, over its sample

    @classmethod
    def prepare(cls, reduction: Reduction, training: np.ndarray) -> Self:
        """Compute the factor R (k, m) and its three measurements: norms, delta and eta; no training points."""
        rng = reduction.residual_range
        return cls(rng.factor, rng.norms, rng.defects, rng.orthogonality)

    @property
    def label(self) -> str:
        """The name, with the number of rows if the factor was compressed."""
        rows = self.factor.shape[0]
        return f"{self.method} ({rows} of {self.full_rows} rows)" if self.full_rows else self.method

    def _sharper(self, theta: Any, phi: Any, gamma: Any, c: Any) -> tuple[Any, Any]:
        """Return values and floors with the rounding of c and of R c compensated; in single precision, in double."""
        if is_single(numpy_dtype(self.factor)):
            return super()._sharper(theta, phi, gamma, c)
        value, dtype = compensated_norm(self.factor, theta, phi, gamma), numpy_dtype(c)
        floor = namespace(c).abs(c) @ beside(self.sharp_weights(dtype), c) + self.relative(dtype) * value
        return value, floor + self.floor_constant(dtype)

    def sharp_weights(self, dtype: npt.DTypeLike) -> np.ndarray:
        """Return 2 delta + (2 ((m + 4) u)^2 + g) norms (m,), or the weights of double sums in single precision."""
        if is_single(numpy_dtype(self.factor)):
            return self.floor_weights(dtype)
        compensated = 2 * rounding_constant(len(self.norms), np.dtype(dtype)) ** 2
        in_parts = split_constant(self.factor.shape[0], len(self.norms), np.dtype(dtype).kind == "c")
        weights = SAFETY * self.defects + (compensated + in_parts) * self.norms
        return np.where(self.norms + self.defects > 0, weights + np.finfo(float).tiny, weights)

    def truncate(self, size: int, columns: int) -> Self:
        """Return the state with the leading columns of R and those of its rows that they use."""
        factor = self.factor[:, :columns]
        rows = int(np.flatnonzero(np.any(factor != 0, axis=1)).max(initial=-1)) + 1
        return replace(self, factor=factor[:rows], norms=self.norms[:columns], defects=self.defects[:columns])
