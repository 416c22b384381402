"""The part of an output that needs no solution: a sum of numbers with coefficients."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from lowrank.arrays import beside, mixed_product, namespace
from rbm.arithmetic.precision import ROUND_OFF
from rbm.parameters.coefficients import Coefficients

__all__ = ["Offset"]


@dataclass(frozen=True, eq=False)
class Offset:
    """b(mu) = sum_k c_k(mu) b_k, such as the share of fixed unknowns in an output."""

    coefficients: Coefficients  #: c
    numbers: np.ndarray  #: b (k,)

    def __call__(self, mus: Any) -> Any:
        """Return the values (M,) at points (M, p), where these live."""
        c = self.coefficients(mus)
        return mixed_product(c, beside(self.numbers, c))

    def rounding(self, mus: Any) -> Any:
        """Return what the values may be off by (M,): 3 (k + 4) u of the absolute terms, proved.

        A sum of k products is right to about sqrt(2) (k + 2) u of them, also a complex one; the rest is room for adding
        the values to a number that is charged likewise.
        """
        c = self.coefficients(mus)
        unit, tiny = 3 * (len(self.numbers) + 4) * ROUND_OFF, 4 * len(self.numbers) * float(np.finfo(float).tiny)
        return unit * (namespace(c).abs(c) @ beside(np.abs(self.numbers), c)) + tiny
