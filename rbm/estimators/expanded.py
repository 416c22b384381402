"""Estimator E2 ("expanded"): the usual one, which expands the square of the residual norm."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt

from lowrank.arrays import beside, namespace, numpy_dtype, real_part
from rbm.arithmetic.precision import converted, underflow_of_sums, widened
from rbm.estimate import Estimate
from rbm.estimators.base import Estimator, rounding_constant, underflow
from rbm.online.forms import SquareForm
from rbm.online.reference import residual_coefficients, where_present
from rbm.reduction.projected_system import Reduction
from rbm.storage.registry import register

__all__ = ["Expanded"]


@register("estimator")
@dataclass(frozen=True)
class Expanded(Estimator):
    """E2: the residual norm from its expanded square.

        value = (c^H G c)^{1/2},    G = W^H P^{-1} W (m, m).

    A small square is computed as a difference of numbers of size s(mu)^2: rounding moves the square by u s^2,
    and the norm by

        floor = (kappa + 2 (m + 4) u)^{1/2} s(mu),    s = sum_j ||W_j||_{P^-1} |c_j|,

    about 1e-8 s in double precision, whatever the residual is. kappa is the relative error of G itself, measured
    offline against R^H (D^H P^{-1} D) R. Where the square comes out negative the value is the floor. Cost per point:
    O(m^2).

    In single precision G is held in float32, which adds max |G - float32(G)|_ij / (||W_i|| ||W_j||), about u_32, to
    kappa; c and the sums are in double precision, so that no square is lost to the range of float32. The floor is then
    about 2e-4 s.

    Source: Prud'homme, Rovas, Veroy, Machiels, Maday, Patera, Turinici, J. Fluids Eng. 124 (2002) 70-80.
    """

    kind: ClassVar[str] = "expanded"
    alias: ClassVar[str] = "E2"
    matrices: ClassVar[tuple[str, ...]] = ("gram",)

    gram: np.ndarray  #: G (m, m)
    norms: np.ndarray  #: ||W_j|| (m,)
    gram_error: float  #: kappa

    @classmethod
    def prepare(cls, reduction: Reduction, training: np.ndarray) -> Self:
        """Compute the Gram matrix G (m, m) of the residual's terms, and its error; training points are not needed."""
        rng = reduction.residual_range
        terms = reduction.residual_terms()
        gram = terms.conj().T @ reduction.model.inner_product.riesz(terms)
        gram = (gram + gram.conj().T) / 2
        norms = np.where(rng.norms > 0, rng.norms, 1.0)
        exact_gram, gram_error = rng.sharp_gram()
        exact = rng.factor.conj().T @ exact_gram @ rng.factor
        deviation = np.abs(gram - exact) / norms / norms[:, None]
        u = np.finfo(gram.dtype).eps / 2
        of_gram = 8 * len(exact_gram) * u + gram_error
        error = float(deviation.max(initial=0.0) + 2 * (rng.defects / norms).max(initial=0.0) + of_gram)
        return cls(gram, rng.norms, error)

    def evaluate(self, theta: Any, phi: Any, gamma: Any) -> Estimate:
        """Return residual norms (M,), evaluated in double precision."""
        xp = namespace(theta, phi, gamma)
        c = residual_coefficients(theta, phi, widened(gamma))
        square = real_part(xp.sum((xp.conj(c) @ widened(self.gram)) * c, axis=1))
        constant = self.gram_error + 2 * rounding_constant(c.shape[1], numpy_dtype(c))
        floor = math.sqrt(constant) * (xp.abs(c) @ beside(self.norms, c)) + self._constant()
        return Estimate.from_square(square, where_present(theta, phi, gamma, self.norms, floor))

    def _constant(self) -> float:
        """Return what underflow may add to the error: of squares, and of c and its products."""
        return underflow(len(self.norms)) + underflow_of_sums(self.norms)

    def form(self, dtype: np.dtype) -> SquareForm:
        """Return the form for the compiled kernels."""
        constant = self.gram_error + 2 * rounding_constant(len(self.norms), dtype)
        return SquareForm(widened(self.gram), self.norms, float(np.sqrt(constant)), self._constant())

    def astype(self, dtype: npt.DTypeLike) -> Self:
        """Return the state with G in another precision.

        By how much the entries moved is measured and added to kappa.
        """
        gram = converted("the Gram matrix of estimator 'expanded'", self.gram, dtype)
        norms = np.where(self.norms > 0, self.norms, 1.0)
        moved = (np.abs(widened(gram) - widened(self.gram)) / norms / norms[:, None]).max(initial=0.0)
        return replace(self, gram=gram, gram_error=self.gram_error + (1 + 2.0**-20) * float(moved))

    def truncate(self, size: int, columns: int) -> Self:
        """Return the state with the leading block of G."""
        return type(self)(self.gram[:columns, :columns], self.norms[:columns], self.gram_error)
