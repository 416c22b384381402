"""E4: the squared residual norm interpolated between a few parameters, by empirical interpolation of its coefficients."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np
from scipy.linalg import solve_triangular

from eim import empirical_interpolation
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

__all__ = ["Interpolated"]

#: Default tolerance of the empirical interpolation of X; looser ones undershoot.
RTOL = 1e-15


@dataclass(frozen=True)
class Interpolated(Estimator):
    """E4: value = (sum_r lambda_r V_r)^{1/2}, V_r = ||r(mu_r)||^2_{P^-1} at sigma' selected parameters.

    The square is linear in X(mu), the products of the entries of c. EIM on X[p, mu] over the training set selects
    products p_s and parameters mu_r; online, sum_r lambda_r X_{p_s}(mu_r) = X_{p_s}(mu) by two triangular solves. A small
    square is then a combination of small positive numbers, not a difference of large ones. Floor of the norm:

        (u kappa sum |lambda_r| V_r)^{1/2} + (m + 4) u s(mu) + tau,

    kappa = sigma' times the growth factor of the elimination; the second term is the rounding of gamma itself, which
    interpolation does not see; tau is twice the largest deviation from E1 measured at up to 64 training parameters that
    were not selected. tau is a measurement, not a proof: between training parameters E4 estimates, E_onb certifies. E4's own
    advantage is that the full model may be a black box that returns residual norms. Cost O(sigma'^2) a point.
    """

    method: ClassVar[str] = "interpolated"

    weights: np.ndarray  #: (m,) equilibration of c
    first: np.ndarray  #: (sigma',) products p_s = (first, second, part)
    second: np.ndarray
    part: np.ndarray
    lower: np.ndarray  #: B (sigma', sigma') unit lower triangular
    upper: np.ndarray  #: C (sigma', sigma') upper triangular, X_{p_s}(mu_r) = B C
    squares: np.ndarray  #: V (sigma',)
    parameters: np.ndarray  #: selected mu_r (sigma', p)
    norms: np.ndarray  #: ||W_j|| (m,)
    growth: float  #: kappa
    deviation: float  #: tau
    history: np.ndarray  #: (sigma' + 1,) residuals of the empirical interpolation
    products_total: int  #: sigma, the number of all products

    @classmethod
    def prepare(
        cls,
        model: FullOrderModel,
        basis: np.ndarray,
        training: np.ndarray,
        *,
        reduction: Reduction | None = None,
        rtol: float = RTOL,
    ) -> Self:
        """EIM on the training set, then E1 at the selected parameters and at the validation parameters."""
        reduction = reduction or Reduction(model, basis)
        theta, phi, gamma = reduction.solve(training)
        c = residual_coefficients(theta, phi, gamma)
        weights = equilibration(c)
        products = all_products(c.shape[1], np.iscomplexobj(c))
        interpolation = empirical_interpolation(evaluate_products(c, weights, products).T, rtol=rtol)
        selected = interpolation.snapshots
        check = validation_points(len(training), selected)
        wanted = np.concatenate([selected, check])
        residual = model.residual_norm(training[wanted], gamma[wanted], reduction.basis, extrapolate=True)
        r = interpolation.rank
        history = interpolation.residual_history
        state = cls(
            weights,
            *products.select(interpolation.points),
            np.tril(interpolation.triangle),
            np.triu(interpolation.expansion),
            residual[:r] ** 2,
            training[selected],
            reduction.residual_range.norms,
            float(r * history.max() / history[0]) if r else 1.0,
            0.0,
            history,
            len(products.first),
        )
        square, _ = state._square(c[check])
        return cls(**{**state.__dict__, "deviation": deviation(square, residual[r:])})

    def evaluate(self, theta: np.ndarray, phi: np.ndarray, gamma: np.ndarray) -> Estimate:
        """Residual norms (M,)."""
        c = residual_coefficients(theta, phi, gamma)
        square, size = self._square(c)
        u = np.finfo(c.dtype).eps / 2
        rounding = rounding_constant(c.shape[1], c.dtype) * (np.abs(c) @ self.norms)
        return Estimate.from_square(square, np.sqrt(u * self.growth * size) + rounding + self.deviation)

    def _square(self, c: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """sum lambda_r V_r and sum |lambda_r| V_r, each (M,)."""
        x = evaluate_products(c, self.weights, Products(self.first, self.second, self.part))
        if not len(self.squares):
            return np.zeros(len(c)), np.zeros(len(c))
        coefficients = solve_triangular(self.upper, solve_triangular(self.lower, x.T, lower=True, unit_diagonal=True))
        return self.squares @ coefficients, self.squares @ np.abs(coefficients)
