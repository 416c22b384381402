"""What rounding took from the factor of the residual, as a factor of its own."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from rbm.affine.functional_range import FunctionalRange
from rbm.arithmetic import extended
from rbm.arithmetic.precision import row_norms
from rbm.online.chunks import slices
from rbm.reduction.projected_system import Reduction, together

__all__ = ["LostDigits", "lost_digits"]


@dataclass(frozen=True)
class LostDigits:
    """The difference W - D R of the residual's terms and their factors, known by itself.

        ||(W - D R) c||_{P^-1} <= growth ||F c||_2 + sum_j rest_j |c_j|

    Without it the difference is bounded by sum_j delta_j |c_j|, its columns one by one: of m columns of random digits
    that is about m^{1/2} times as much. F is made as R is, from W - D R in extended precision; `rest` is what that may
    be off by, and is proved, as `growth` is.
    """

    factor: np.ndarray  #: F (k, m)
    rest: np.ndarray  #: (m,)
    growth: float

    @cached_property
    def _sizes(self) -> np.ndarray:
        """What the rounding of F c adds, per unit of c."""
        unit = 4 * (self.factor.shape[1] + 8) * float(np.finfo(float).eps)
        return self.rest + unit * np.linalg.norm(self.factor, axis=0)

    def bound(self, c: np.ndarray, sizes: np.ndarray) -> np.ndarray:
        """Return bounds (M,) of what R c misses, for coefficients c (M, m) with |c_j| <= sizes_j."""
        made = self.growth * row_norms(c @ self.factor.T) + sizes @ self._sizes
        return made * (1 + 2.0**-20)

    def truncate(self, columns: int) -> LostDigits:
        """Return the same for the first columns of the residual's terms."""
        factor = self.factor[:, :columns]
        rows = int(np.flatnonzero(np.any(factor != 0, axis=1)).max(initial=-1)) + 1
        return LostDigits(factor[:rows], self.rest[:columns], self.growth)


def lost_digits(reduction: Reduction) -> LostDigits:
    """Return what rounding took from the residual's range of a projection.

    The difference is formed and orthonormalised some columns at a time, and kept where the projection is. Cost: that of
    making the range once more, without its Riesz solves for defects.
    """
    made, start = reduction.residual_range, 0
    span = FunctionalRange(made.inner_product, reduction.store)
    for hi, lo, rounding in _terms(reduction):
        factor = made.factor[:, start : start + hi.shape[1]]
        start += hi.shape[1]
        approximation, off = made.approximation(factor)
        left = extended.add((hi, lo), (-approximation[0], -approximation[1]))
        span.append(left[0] + left[1], np.zeros_like(hi), rounding + off)
    return LostDigits(span.factor, 2 * span.defects, 1 + 2 * span.orthogonality)


def _terms(reduction: Reduction) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Yield the terms W of the residual as hi + lo, and what they may be off by, (n, b) each, some at a time.

    How many depends on n and on the number of terms alone, and so do all bits.
    """
    stack, rhs, basis = reduction.model.stack, reduction.model.rhs_terms, reduction.basis
    yield rhs, np.zeros_like(rhs), np.zeros(rhs.shape)
    for some in slices(basis.shape[1], together(len(basis), 4 * stack.terms)):
        columns = np.ascontiguousarray(basis[:, some])
        hi, lo = map(stack.side_by_side, stack.product(columns))
        yield hi, lo, stack.side_by_side(stack.rounding(columns))
