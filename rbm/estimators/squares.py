"""What E3 and E4 share: the squared residual norm as a combination of its values at selected parameters."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, Self

import numpy as np

from rbm.estimate import Estimate
from rbm.estimators.base import Estimator, rounding_constant
from rbm.estimators.products import Products, all_products, equilibration, evaluate_products
from rbm.full_order import FullOrderModel
from rbm.online.reference import residual_coefficients
from rbm.reduction import Reduction

__all__ = ["InterpolatedSquare", "TrainingProducts"]

#: Safety factor on the deviation measured at training parameters that were not selected.
SAFETY = 2.0
#: Number of those.
VALIDATION = 64


class TrainingProducts(NamedTuple):
    """X(mu) on the training set, and what it was made from."""

    reduction: Reduction
    parameters: np.ndarray  #: (M, p)
    gamma: np.ndarray  #: (M, N)
    c: np.ndarray  #: (M, m)
    weights: np.ndarray  #: (m,)
    products: Products
    values: np.ndarray  #: X (sigma, M)

    @classmethod
    def of(
        cls, model: FullOrderModel, basis: np.ndarray, training: np.ndarray, reduction: Reduction | None
    ) -> TrainingProducts:
        """Solve the reduced model on the training set and form all products."""
        reduction = reduction or Reduction(model, basis)
        theta, phi, gamma = reduction.solve(training)
        c = residual_coefficients(theta, phi, gamma)
        weights = equilibration(c)
        products = all_products(c.shape[1], np.iscomplexobj(c))
        return cls(reduction, training, gamma, c, weights, products, evaluate_products(c, weights, products).T)


@dataclass(frozen=True)
class InterpolatedSquare(Estimator):
    """value = (sum_r lambda_r(mu) V_r)^{1/2}, V_r = ||r(mu_r)||^2_{P^-1}; a subclass says how lambda is found.

    X(mu) was interpolated for reduced solutions gamma(mu): `evaluate` must be given those. For other coefficients
    :meth:`rbm.ReducedModel.estimate` adds the dual norm of the difference of the residuals, by :meth:`distance`.
    """

    weights: np.ndarray  #: (m,) equilibration of c
    squares: np.ndarray  #: V (rho,)
    parameters: np.ndarray  #: selected mu_r (rho, p)
    norms: np.ndarray  #: ||W_j||_{P^-1} (m,)
    deviation: float  #: tau

    @classmethod
    def measured(cls, training: TrainingProducts, selected: np.ndarray, **state: Any) -> Self:
        """The state with V from E1 at the selected training parameters, and tau from E1 at up to 64 others."""
        check = _others(len(training.parameters), selected)
        wanted = np.concatenate([selected, check])
        reduction = training.reduction
        residual = reduction.model.residual_norm(
            training.parameters[wanted], training.gamma[wanted], reduction.basis, extrapolate=True
        )
        made = cls(
            weights=training.weights,
            squares=residual[: len(selected)] ** 2,
            parameters=training.parameters[selected],
            norms=reduction.residual_range.norms,
            deviation=0.0,
            **state,
        )
        if not len(check):
            return made
        square = made.squares @ made.combination(training.c[check])
        exact, positive = residual[len(selected) :], square > 0
        root = np.sqrt(np.where(positive, square, -square))
        # a negative square counts as a deviation by the whole exact norm plus its own size
        off = np.where(positive, np.abs(root - exact), root + exact)
        return replace(made, deviation=SAFETY * float(off.max()))

    @abstractmethod
    def combination(self, c: np.ndarray) -> np.ndarray:
        """lambda (rho, M) for residual coefficients c (M, m)."""

    @abstractmethod
    def rounding(self, combination: np.ndarray) -> np.ndarray:
        """Rounding error of the square (M,), in units of u."""

    def distance(self, theta: np.ndarray, gamma: np.ndarray, other: np.ndarray) -> np.ndarray:
        """sum_j ||W_j|| |c_j - c'_j| (M,): bounds the dual norm of the difference of two residuals."""
        none = np.zeros((len(theta), len(self.norms) - theta.shape[1] * gamma.shape[1]))
        return np.abs(residual_coefficients(theta, none, gamma - other)) @ self.norms

    def evaluate(self, theta: np.ndarray, phi: np.ndarray, gamma: np.ndarray) -> Estimate:
        """Residual norms (M,)."""
        c = residual_coefficients(theta, phi, gamma)
        combination = self.combination(c)
        u = np.finfo(c.dtype).eps / 2
        of_gamma = rounding_constant(c.shape[1], c.dtype) * (np.abs(c) @ self.norms)
        floor = np.sqrt(u * self.rounding(combination)) + of_gamma + self.deviation
        return Estimate.from_square(self.squares @ combination, floor)


def _others(count: int, selected: np.ndarray) -> np.ndarray:
    """Up to VALIDATION training indices that were not selected, evenly spread."""
    rest = np.setdiff1d(np.arange(count), selected)
    return rest[np.unique(np.linspace(0, len(rest) - 1, min(VALIDATION, len(rest))).astype(int))] if len(rest) else rest
