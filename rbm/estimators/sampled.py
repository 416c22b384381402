"""Estimator E3 ("sampled"): the squared residual norm is a combination of its values at selected parameters."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
import scipy.linalg

from lowrank.arrays import is_complex, namespace
from lowrank.dense import solve_triangular
from rbm.arithmetic.precision import widened
from rbm.errors import EstimatorUnusable
from rbm.estimators.coefficient_products import all_products, evaluate_products
from rbm.estimators.interpolated_square import InterpolatedSquare
from rbm.estimators.training import ZERO_PIVOT, TrainingProducts
from rbm.reduction.projected_system import Reduction
from rbm.storage.registry import register

__all__ = ["Sampled"]

#: Kept pivots must be at least this many times the threshold of zero pivots: T is refused where one might be round-off.
GAP = 100.0


@register("estimator")
@dataclass(frozen=True)
class Sampled(InterpolatedSquare):
    """E3: the residual norm as a combination of its values at selected parameters, with all products.

        value = (sum_r lambda_r V_r)^{1/2},    T lambda = X(mu),    T[p, r] = X_p(mu_r),    V_r = ||r(mu_r)||^2_{P^-1}

    X(mu) (sigma,) holds all products of the entries of c (:mod:`rbm.estimators.coefficient_products`); pivoted QR of X
    on the training set selects the parameters mu_r. The N Galerkin equations are linear relations between the entries
    of c, so that T, taken as sigma x sigma, is always singular in exact arithmetic; its exact rank rho <= sigma shows
    as a gap in the pivots. rho parameters are kept and the sigma equations solved through the QR factorisation, cond(T)
    being that of the kept columns. Where there is no gap, pivots that cannot be told from round-off, T is unusable and
    `prepare` says so.

        floor = (cond(T) u sum |lambda_r| max V)^{1/2} + (m + 4) u s(mu) + epsilon s(mu)

    with the last two terms as in E4 (:class:`rbm.estimators.Interpolated`): epsilon is measured at validation points,
    not proved. :class:`rbm.estimators.interpolated_square.InterpolatedSquare` describes single precision. Cost per
    point: O(sigma rho).

    Source: Casenave, Ern, Lelievre, arXiv 1212.0970.
    """

    kind: ClassVar[str] = "sampled"
    alias: ClassVar[str] = "E3"
    matrices: ClassVar[tuple[str, ...]] = ("orthogonal", "upper")

    # upper is R (rho, rho), T = Q R
    orthogonal: np.ndarray  #: Q (sigma, rho)
    condition: float  #: cond(T)

    @classmethod
    def prepare(cls, reduction: Reduction, training: np.ndarray) -> Self:
        """Select parameters of the training set (M, p) and factorise T, then compute exact norms.

        They are computed at the selected parameters and at the validation points. Training sets are as for E4.

        Raises
        ------
        EstimatorUnusable
            cond(T) is so large that T cannot be told from a singular matrix (the condition number is in the message),
            or the training set is too small or does not represent the parameter space, as for E4.
        """
        known = TrainingProducts.of(reduction, training)
        sigma = len(known.values)
        q, r, order = scipy.linalg.qr(known.values, mode="economic", pivoting=True)
        pivots = np.abs(np.diag(r))
        zero = ZERO_PIVOT * np.finfo(r.dtype).eps / 2 * pivots[0]
        rank = int(np.sum(pivots > zero))
        r = r[:rank, :rank]
        condition = float(np.linalg.cond(r)) if rank else 1.0
        if rank and pivots[rank - 1] < GAP * zero:
            raise EstimatorUnusable(
                f"E3 with N = {known.reduction.size}: the matrix T of {sigma} products has condition number "
                f"{condition:.1e} and cannot be told from a singular one; use fewer basis vectors, or the estimator "
                "'interpolated' or 'orthonormal'"
            )
        return cls.measured(known, order[:rank], orthogonal=q[:, :rank], upper=r, condition=condition)

    @property
    def products_total(self) -> int:
        """The number sigma of all products."""
        return self.orthogonal.shape[0]

    def products(self, c: Any) -> Any:
        """Return all products X (sigma, M)."""
        return evaluate_products(c, self.weights, all_products(c.shape[1], is_complex(c))).T

    def known(self) -> np.ndarray:
        """Return T (sigma, rho), the products at the selected parameters."""
        return widened(self.orthogonal) @ widened(self.upper)

    def solve(self, x: Any) -> Any:
        """Return lambda (rho, M) with R lambda = Q^T X."""
        return solve_triangular(self.upper, self.orthogonal.T @ x, lower=False) if self.upper.shape[0] else x[:0, ...]

    def rounding(self, combination: Any) -> Any:
        """Return cond(T) sum_r |lambda_r| max V (M,)."""
        xp = namespace(combination)
        return float(self.condition * self.squares.max(initial=0.0)) * xp.sum(xp.abs(combination), axis=0)
