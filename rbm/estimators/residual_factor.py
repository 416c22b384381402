"""The base class of the estimators norm(R c): the sum, its floor, and single precision."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt

from lowrank.arrays import beside, namespace, numpy_dtype
from rbm.arithmetic.precision import (
    column_norm_bounds,
    converted,
    is_single,
    rounded,
    row_norms,
    underflow_of_sums,
    widened,
)
from rbm.estimate import Estimate
from rbm.estimators.base import Estimator, rounding_constant, underflow
from rbm.online.forms import SHARP, NormForm
from rbm.online.reference import residual_coefficients, where_present

__all__ = ["FactorNorm"]

#: Factor on the defects and the loss of orthogonality. Both are proved bounds
#: (:class:`rbm.affine.functional_range.FunctionalRange`) up to terms of second order in u, which this covers.
SAFETY = 2.0


@dataclass(frozen=True)
class FactorNorm(Estimator):
    """The residual norm as the norm of a matrix times the residual coefficients.

        value = ||R c||_2,    floor = |c| @ floor_weights + relative value + floor_constant

    The factor R (k, m) may be held in single precision. The coefficients c are then formed in double precision and
    rounded once, R c is a product of float32 matrices, and everything per point (the norm of R c, the floor) is in
    double precision again: no square can overflow or vanish. The (m,) vectors below stay in double precision.

    On a device, and in the compiled kernels, R c is summed in double precision instead: the library of a device may
    round the factors of a product of float32 matrices to less than float32 (TF32, by a mere environment variable), and
    no floor here covers that.
    """

    matrices: ClassVar[tuple[str, ...]] = ("factor",)
    #: True if values below SHARP floors are evaluated again in a higher precision, which lowers their floor
    reevaluated: ClassVar[bool] = False

    factor: np.ndarray  #: R (k, m)
    norms: np.ndarray  #: sizes of the columns (m,), never too small
    defects: np.ndarray  #: delta_j (m,)
    orthogonality: float  #: eta

    def floor_weights(self, dtype: npt.DTypeLike) -> np.ndarray:
        """Return w (m,) = 2 delta + (m + 4) u norms for sums R c in `dtype`; u is doubled for complex numbers.

        In single precision m + 7 stands for m + 4: theta, phi and gamma may have been rounded before the products were
        formed.
        """
        m = len(self.norms)
        u = rounding_constant(m + 3 * is_single(dtype), np.dtype(dtype))
        weights = (1 + u) * (SAFETY * self.defects + u * self.norms)  # (1 + u): the floor is a rounded sum, too
        # zero for terms that are zero only
        return np.where(self.norms + self.defects > 0, weights + np.finfo(float).tiny, weights)

    def relative(self, dtype: npt.DTypeLike) -> float:
        """Return 2 eta + (k + 4) u, the part of the floor that is relative to the value."""
        return float(SAFETY * self.orthogonality) + rounding_constant(self.factor.shape[0], np.dtype(dtype))

    def floor_constant(self, dtype: npt.DTypeLike) -> float:
        """Return what underflow in `dtype` may add: of squares, of c, and of products in R c and with the weights."""
        constant = (1 + self.relative(dtype)) * underflow(self.factor.shape[0]) + underflow_of_sums(self.norms)
        if not is_single(dtype):
            return constant
        k, m = self.factor.shape
        return constant + 4 * float(np.finfo(np.dtype(dtype)).tiny) * float(self.norms.sum() + m * np.sqrt(k))

    def form(self, dtype: np.dtype) -> NormForm:
        """Return the form for the compiled kernels, in double precision like :meth:`_sharper`."""
        wide = np.dtype(np.complex128 if dtype.kind == "c" else np.float64)
        again = self.reevaluated and not is_single(self.factor.dtype)
        weights, refined = self.floor_weights(wide), self.sharp_weights(wide) if again else None
        return NormForm(widened(self.factor), weights, refined, self.relative(wide), self.floor_constant(wide))

    def evaluate(self, theta: Any, phi: Any, gamma: Any) -> Estimate:
        """Return residual norms (M,); where that lowers the floor, they are evaluated a second time."""
        gamma = widened(gamma)
        c = residual_coefficients(theta, phi, gamma)
        factor = self.factor if isinstance(c, np.ndarray) else widened(self.factor)
        value, floor = self._sums(c, factor)
        again = self._weak(c, value, floor, factor)
        if bool(namespace(value).any(again)):
            with np.errstate(over="ignore", invalid="ignore"):
                sharp, lower = self._sharper(theta[again], phi[again], gamma[again], c[again])
            xp = namespace(sharp)
            known = xp.isfinite(sharp)  # the split of numbers above 1e300 overflows: the first value is kept
            value[again] = xp.where(known, sharp, value[again])
            floor[again] = xp.where(known, lower, floor[again])
        return Estimate.from_norm(value, where_present(theta, phi, gamma, self.norms + self.defects, floor))

    def _sums(self, c: Any, factor: Any) -> tuple[Any, Any]:
        """Return values and floors (M,) of the plain sums, in the precision of `factor`."""
        xp = namespace(c, factor)
        narrow = rounded(c, numpy_dtype(factor))
        dtype = numpy_dtype(narrow)
        with np.errstate(over="ignore", invalid="ignore"):  # not finite: an error for the caller of the reduced model
            value = row_norms(widened(narrow @ factor.T))
            floor = xp.abs(c) @ beside(self.floor_weights(dtype), c) + self.relative(dtype) * value
        return value, floor + self.floor_constant(dtype)

    def _weak(self, c: Any, value: Any, floor: Any, factor: Any) -> Any:
        """Return which of the M points to evaluate again.

        These are the points where that lowers the floor by a hundredth of the value and, in single precision, those
        with numbers beyond its range.
        """
        weak = value < (SHARP * floor if self.reevaluated else 0.0)
        if bool(namespace(value).any(weak)):
            dtype = numpy_dtype(c)
            lower = namespace(c).abs(c) @ beside(self.sharp_weights(dtype), c) + self.relative(dtype) * value
            weak = value < SHARP * (floor - lower)
        return weak | ~namespace(value).isfinite(value) if is_single(numpy_dtype(factor)) else weak

    def sharp_weights(self, dtype: npt.DTypeLike) -> np.ndarray:
        """Return the floor weights (m,) of :meth:`_sharper`, for c in `dtype`, double precision."""
        return self.floor_weights(dtype)

    def _sharper(self, theta: Any, phi: Any, gamma: Any, c: Any) -> tuple[Any, Any]:
        """Return values and floors in double precision, with the same factor."""
        return self._sums(c, widened(self.factor))

    def astype(self, dtype: npt.DTypeLike) -> Self:
        """Return the state with the factor rounded to float32, or widened.

        By how much each column moved is measured and added to the defects.
        """
        factor = converted(f"the factor of estimator {self.method!r}", self.factor, dtype)
        return self.moved(factor, column_norm_bounds(widened(factor) - widened(self.factor)))

    def moved(self, factor: np.ndarray, distance: np.ndarray, orthogonality: float = 0.0) -> Self:
        """Return the state with another factor R', whose error goes into the floor.

        distance (m,), orthogonality : | ||R c|| - ||R' c|| | <= sum_j distance_j |c_j| + orthogonality ||R' c|| for all
            c; both are proved, or measured beyond doubt, hence no safety factor on them
        """
        share = (1 + 2.0**-20) / SAFETY
        defects, eta = self.defects + share * distance, self.orthogonality + share * orthogonality
        return replace(self, factor=factor, defects=defects, orthogonality=eta)
