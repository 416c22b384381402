"""What E3 and E4 share: the squared residual norm as a combination of its values at selected parameters."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np
import numpy.typing as npt

from lowrank.arrays import beside, is_complex, namespace, numpy_dtype
from rbm.errors import EstimatorUnusable
from rbm.estimate import Estimate
from rbm.estimators.base import Estimator, rounding_constant, underflow
from rbm.estimators.products import Products, all_products, equilibration, evaluate_products
from rbm.full_order import FullOrderModel
from rbm.online.reference import residual_coefficients, where_present
from rbm.precision import converted, is_single, underflow_of_sums, widened
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

    In single precision the matrices that give lambda are held in float32 and used in double precision (products of c span
    twice the digits of c). They give lambda' = (I + E) lambda, E known from the matrices before and after, so that the square is off
    by at most e @ |lambda'|, e_r = |V^T E (I + E)^-1|_r, which goes into the floor; u is that of float32 from then on, as gamma carries its
    rounding; and tau grows by what a single-precision model does to the reduced solutions, measured by :meth:`recalibrated`.
    """

    #: also those that are converted to single precision
    matrices: ClassVar[tuple[str, ...]]

    upper: np.ndarray  #: triangular factor (rho, rho) of the system for lambda; its precision is that of the state
    weights: np.ndarray  #: (m,) equilibration of c
    squares: np.ndarray  #: V (rho,)
    parameters: np.ndarray  #: selected mu_r (rho, p)
    norms: np.ndarray  #: ||W_j||_{P^-1} (m,)
    deviation: float  #: tau
    moved: np.ndarray = field(kw_only=True, default_factory=lambda: np.zeros(0))  #: e (rho,), empty if never converted

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
        off = np.abs(_signed_root(square) - residual[len(selected) :])
        return replace(made, deviation=SAFETY * float(off.max()))

    @abstractmethod
    def products(self, c: Any) -> Any:
        """The products X (sigma, M), those that are used, of residual coefficients c (M, m)."""

    @abstractmethod
    def known(self) -> np.ndarray:
        """X at the selected parameters (sigma, rho)."""

    @abstractmethod
    def solve(self, x: Any) -> Any:
        """lambda (rho, M) for products x (sigma, M)."""

    def combination(self, c: Any) -> Any:
        """lambda (rho, M) for residual coefficients c (M, m)."""
        return self.solve(self.products(c))

    @abstractmethod
    def rounding(self, combination: Any) -> Any:
        """Rounding error of the square (M,), in units of u."""

    @property
    def underflow(self) -> float:
        """What numbers below the normal range may add."""
        return underflow(len(self.norms)) + underflow_of_sums(self.norms)

    def distance(self, theta: Any, gamma: Any, other: Any) -> Any:
        """sum_j ||W_j|| |c_j - c'_j| (M,): bounds the dual norm of the difference of two residuals."""
        none = beside(np.zeros((theta.shape[0], len(self.norms) - theta.shape[1] * gamma.shape[1])), gamma)
        c = residual_coefficients(theta, none, widened(gamma) - widened(other))
        return namespace(c).abs(c) @ beside(self.norms, c)

    def evaluate(self, theta: Any, phi: Any, gamma: Any) -> Estimate:
        """Residual norms (M,)."""
        xp = namespace(theta, phi, gamma)
        c = residual_coefficients(theta, phi, widened(gamma))
        combination = self.combination(c)
        dtype = np.result_type(numpy_dtype(self.upper), np.complex64 if is_complex(c) else np.float32)
        u = float(np.finfo(dtype).eps / 2)
        of_gamma = rounding_constant(c.shape[1], dtype) * (xp.abs(c) @ beside(self.norms, c))
        moved = beside(self.moved, c) @ xp.abs(combination) if len(self.moved) else 0.0
        constant = where_present(theta, phi, gamma, self.norms, xp.full_like(of_gamma, self.underflow))
        floor = xp.sqrt(u * self.rounding(combination) + moved) + of_gamma + (float(self.deviation) + constant)
        return Estimate.from_square(beside(self.squares, c) @ combination, floor)

    def astype(self, dtype: npt.DTypeLike) -> Self:
        """The matrices in another precision, and what that does to lambda in the floor. Raises EstimatorUnusable if |E|_1 > 1/2."""
        if is_single(dtype) == is_single(self.upper.dtype):
            return self
        name = f"estimator {self.method!r}"
        arrays: dict[str, Any] = {key: converted(name, getattr(self, key), dtype) for key in self.matrices}
        made = replace(self, **arrays)
        if not is_single(dtype):  # widened: no entry moves
            return made
        ratio = made.solve(self.known())  # I + E
        size = np.abs(ratio - np.eye(len(ratio))).sum(axis=0).max(initial=0.0)
        if not size <= 0.5:
            raise EstimatorUnusable(
                f"{name}: its {len(ratio)} x {len(ratio)} system is too ill-conditioned for float32, which moves its solution by {size:.1e} of its "
                "size; keep the model in float64, or use the estimator 'orthonormal'"
            )
        moved = np.abs(np.linalg.solve(ratio.T, (ratio - np.eye(len(ratio))).T @ self.squares))
        return replace(made, moved=moved if not len(self.moved) else self.moved + moved)

    def recalibrated(
        self,
        before: InterpolatedSquare,
        theta: np.ndarray,
        phi: np.ndarray,
        gamma: np.ndarray,
        gamma_before: np.ndarray,
    ) -> Self:
        """tau, grown by twice the largest of | value(gamma) - before's value(gamma_before) | + ||W (c - c_before)|| on sample points.

        gamma, gamma_before : (M, N) reduced solutions of the converted model and of the model `before` it
        """
        roots = [
            _signed_root(state.squares @ state.combination(residual_coefficients(theta, phi, widened(g))))
            for state, g in ((self, gamma), (before, gamma_before))
        ]
        off = np.abs(roots[0] - roots[1]) + self.distance(theta, gamma, gamma_before)
        return replace(self, deviation=self.deviation + SAFETY * float(off.max()))


def _signed_root(square: np.ndarray) -> np.ndarray:
    """sign(x) |x|^{1/2}: against an exact norm, a negative square is off by the whole norm plus its own size."""
    return np.sign(square) * np.sqrt(np.abs(square))


def _others(count: int, selected: np.ndarray) -> np.ndarray:
    """Up to VALIDATION training indices that were not selected, evenly spread."""
    rest = np.setdiff1d(np.arange(count), selected)
    return rest[np.unique(np.linspace(0, len(rest) - 1, min(VALIDATION, len(rest))).astype(int))] if len(rest) else rest
