"""E3: the squared residual norm as a combination of its values at sampled parameters, all products used."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np
import scipy.linalg

from rbm.errors import EstimatorUnusable
from rbm.estimate import Estimate
from rbm.estimators.base import Estimator, rounding_constant
from rbm.estimators.products import (
    Products,
    all_products,
    deviation,
    equilibration,
    evaluate_products,
    validation_points,
)
from rbm.full_order import FullOrderModel
from rbm.online.reference import residual_coefficients
from rbm.reduction import Reduction

__all__ = ["Sampled"]

#: Pivots of X below this many u, relative to the first, are round-off of an exact zero.
ZERO_PIVOT = 32.0
#: Between that and this many times more, a pivot cannot be told from round-off, and T is refused.
GAP = 100.0


@dataclass(frozen=True)
class Sampled(Estimator):
    """E3: value = (sum_r lambda_r V_r)^{1/2}, T lambda = X(mu), T[p, r] = X_p(mu_r), V_r = ||r(mu_r)||^2_{P^-1}.

    X(mu) (sigma,) holds all products of the entries of c (:mod:`rbm.estimators.products`); pivoted QR of X on the
    training set selects the parameters mu_r. The N Galerkin equations are linear relations between the entries of c, so
    that T, taken as sigma x sigma, is always singular in exact arithmetic; its exact rank rho <= sigma shows as a gap in
    the pivots. rho parameters are kept and the sigma equations solved through the QR factorisation, cond(T) being that of the
    kept columns. Where there is no gap, pivots that cannot be told from round-off, T is unusable and `prepare` says so.

        floor = (cond(T) u sum |lambda_r| max V)^{1/2} + (m + 4) u s(mu) + tau

    with the last two terms as in E4 (:class:`rbm.estimators.Interpolated`). Cost O(sigma rho) a point.
    """

    method: ClassVar[str] = "sampled"

    weights: np.ndarray  #: (m,) equilibration of c
    orthogonal: np.ndarray  #: Q (sigma, rho)
    upper: np.ndarray  #: R (rho, rho), T = Q R
    squares: np.ndarray  #: V (rho,)
    parameters: np.ndarray  #: selected mu_r (rho, p)
    norms: np.ndarray  #: ||W_j|| (m,)
    condition: float  #: cond(T)
    deviation: float  #: tau

    @classmethod
    def prepare(
        cls, model: FullOrderModel, basis: np.ndarray, training: np.ndarray, *, reduction: Reduction | None = None
    ) -> Self:
        """Select parameters, factorise T, evaluate E1 at them and at the validation parameters.

        Raises
        ------
        EstimatorUnusable
            cond(T) is so large that T cannot be told from a singular matrix; the condition number is in the message.
        """
        reduction = reduction or Reduction(model, basis)
        theta, phi, gamma = reduction.solve(training)
        c = residual_coefficients(theta, phi, gamma)
        weights = equilibration(c)
        products = all_products(c.shape[1], np.iscomplexobj(c))
        x = evaluate_products(c, weights, products).T
        q, r, order = scipy.linalg.qr(x, mode="economic", pivoting=True)
        pivots = np.abs(np.diag(r))
        zero = ZERO_PIVOT * np.finfo(x.dtype).eps / 2 * pivots[0]
        rank = int(np.sum(pivots > zero))
        if rank == len(training) < len(products.first):
            raise EstimatorUnusable(
                f"E3 needs up to {len(products.first)} parameters, the training set has {len(training)} and they are all needed: "
                "give a larger training set, or use the estimator 'interpolated' or 'orthonormal'"
            )
        selected, r = order[:rank], r[:rank, :rank]
        condition = float(np.linalg.cond(r)) if rank else 1.0
        if rank and pivots[rank - 1] < GAP * zero:
            raise EstimatorUnusable(
                f"E3 with N = {reduction.size}: the matrix T of {len(products.first)} products has condition number {condition:.1e} and "
                "cannot be told from a singular one; use fewer basis vectors, or the estimator 'interpolated' or 'orthonormal'"
            )
        check = validation_points(len(training), selected)
        wanted = np.concatenate([selected, check])
        residual = model.residual_norm(training[wanted], gamma[wanted], reduction.basis, extrapolate=True)
        state = cls(
            weights,
            q[:, :rank],
            r,
            residual[:rank] ** 2,
            training[selected],
            reduction.residual_range.norms,
            condition,
            0.0,
        )
        square, _ = state._square(c[check])
        return cls(**{**state.__dict__, "deviation": deviation(square, residual[rank:])})

    def evaluate(self, theta: np.ndarray, phi: np.ndarray, gamma: np.ndarray) -> Estimate:
        """Residual norms (M,)."""
        c = residual_coefficients(theta, phi, gamma)
        square, size = self._square(c)
        u = np.finfo(c.dtype).eps / 2
        rounding = rounding_constant(c.shape[1], c.dtype) * (np.abs(c) @ self.norms)
        return Estimate.from_square(square, np.sqrt(self.condition * u * size) + rounding + self.deviation)

    def _square(self, c: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """sum lambda_r V_r and sum |lambda_r| max V, each (M,)."""
        products: Products = all_products(c.shape[1], np.iscomplexobj(c))
        x = evaluate_products(c, self.weights, products)
        lam = scipy.linalg.solve_triangular(self.upper, self.orthogonal.T @ x.T)
        return self.squares @ lam, np.abs(lam).sum(axis=0) * self.squares.max(initial=0.0)
