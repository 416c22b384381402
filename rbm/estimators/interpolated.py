"""Estimator E4 ("interpolated"): the squared residual norm is interpolated between a few parameters."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np

from eim import empirical_interpolation
from lowrank.arrays import beside, namespace
from lowrank.dense import solve_triangular
from rbm.arithmetic.precision import widened
from rbm.estimators.base import rounding_constant
from rbm.estimators.coefficient_products import Products, evaluate_products
from rbm.estimators.interpolated_square import InterpolatedSquare
from rbm.estimators.training import TrainingProducts
from rbm.online.forms import ProductForm
from rbm.reduction.projected_system import Reduction
from rbm.storage.registry import register

__all__ = ["Interpolated"]

#: Default tolerance of the empirical interpolation of X; with looser ones the estimate is too small.
RTOL = 1e-15


@register("estimator")
@dataclass(frozen=True)
class Interpolated(InterpolatedSquare):
    """E4: the residual norm, interpolated from its values at sigma' selected parameters by EIM.

        value = (sum_r lambda_r V_r)^{1/2},    V_r = ||r(mu_r)||^2_{P^-1}

    The square is linear in X(mu), the products of the entries of c. EIM on X[p, mu] over the training set selects
    products p_s and parameters mu_r; online, sum_r lambda_r X_{p_s}(mu_r) = X_{p_s}(mu) by two triangular solves. A
    small square is then a combination of small positive numbers, not a difference of large ones. Floor of the norm:

        (u kappa sum |lambda_r| V_r)^{1/2} + (m + 4) u s(mu) + epsilon s(mu),

    kappa = sigma' times the growth factor of the elimination; the second term is the rounding of gamma itself, which
    interpolation does not see; epsilon is measured at validation points of the parameter space
    (:class:`rbm.estimators.interpolated_square.InterpolatedSquare`, which also describes single precision). This is a
    measurement, not a proof: between those points E4 estimates, E_onb certifies. E4's own advantage is that V needs
    nothing but residual norms. Cost per point: O(sigma'^2).

    Source: Casenave, Ern, Lelievre, arXiv 1212.0970.
    """

    kind: ClassVar[str] = "interpolated"
    alias: ClassVar[str] = "E4"
    matrices: ClassVar[tuple[str, ...]] = ("lower", "upper")

    first: np.ndarray  #: (sigma',) products p_s = (first, second, part)
    second: np.ndarray
    part: np.ndarray
    lower: np.ndarray  #: B (sigma', sigma') unit lower triangular; upper is C (sigma', sigma'), X_{p_s}(mu_r) = B C
    growth: float  #: kappa
    history: np.ndarray  #: (sigma' + 1,) residuals of the empirical interpolation
    products_total: int  #: sigma, the number of all products

    @classmethod
    def prepare(cls, reduction: Reduction, training: np.ndarray, *, rtol: float = RTOL) -> Self:
        """Select products and parameters by EIM on the training set, then compute exact norms.

        They are computed at the selected parameters and at the validation points.

        training : (M, p) of any kind; 1000 points of ``parameters.sample`` are a good choice. Repeated rows count once,
            and of very many (X of more than 512 MiB) a random choice is used
        rtol : tolerance of the EIM, relative to the largest product; a looser one gives fewer terms and a larger floor

        Raises
        ------
        EstimatorUnusable
            the values are off at the validation points, and the training set is too small (the message says what is
            enough) or does not represent the parameter space, so that no estimate would be resolved.

        Cost: the reduced model at all training and validation points, O(M sigma sigma'), and sigma' + 64 residual norms
        of full order.
        """
        known = TrainingProducts.of(reduction, training)
        interpolation = empirical_interpolation(known.values, rtol=rtol)
        history = interpolation.residual_history
        state: dict[str, Any] = known.products.select(interpolation.points)._asdict()
        state |= {"lower": np.tril(interpolation.triangle), "upper": np.triu(interpolation.expansion)}
        state["growth"] = float(interpolation.rank * history.max() / history[0]) if interpolation.rank else 1.0
        total = len(known.products.first)
        return cls.measured(known, interpolation.snapshots, **state, history=history, products_total=total)

    def products(self, c: Any) -> Any:
        """Return the selected products X_{p_s} (sigma', M)."""
        return evaluate_products(c, self.weights, Products(self.first, self.second, self.part)).T

    def known(self) -> np.ndarray:
        """Return X_{p_s}(mu_r) = B C (sigma', sigma')."""
        return widened(self.lower) @ widened(self.upper)

    def solve(self, x: Any) -> Any:
        """Return lambda (sigma', M), by two triangular solves."""
        if not x.shape[0]:
            return x
        return solve_triangular(self.upper, solve_triangular(self.lower, x, lower=True, unit=True), lower=False)

    def form(self, dtype: np.dtype) -> ProductForm:
        """Return the form for the compiled kernels."""
        own = np.result_type(self.upper, np.complex64 if dtype.kind == "c" else np.float32)
        moved = self.moved if len(self.moved) else 0.0
        products = np.stack([self.first, self.second, self.part])
        system = products, self.weights, widened(self.lower), widened(self.upper), self.squares
        errors = float(np.finfo(own).eps / 2) * self.growth * self.squares + moved
        weights = (rounding_constant(len(self.norms), own) + self.mismatch) * self.norms
        return ProductForm(*system, errors, weights, self.deviation, self.underflow)

    def rounding(self, combination: Any) -> Any:
        """Return kappa sum_r |lambda_r| V_r (M,)."""
        return float(self.growth) * (beside(self.squares, combination) @ namespace(combination).abs(combination))
