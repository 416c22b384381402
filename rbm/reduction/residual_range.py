"""The range of the residual, which is a known linear map: r(mu) = W c(mu)."""

from __future__ import annotations

import numpy as np

from rbm.affine.functional_range import FunctionalRange
from rbm.affine.system import AffineSystem

__all__ = ["ResidualRange"]


class ResidualRange(FunctionalRange):
    """The residual's terms W (n, m) and their orthonormal basis D: W ~ D R.

    W = [f_1..f_Qf, A_1 z_1..A_Qa z_1, A_1 z_2, ...] is formed in extended precision as basis vectors arrive.
    """

    def __init__(self, system: AffineSystem) -> None:
        super().__init__(system.inner_product)
        self._stack = system.stack
        self.append(system.rhs_terms, np.zeros_like(system.rhs_terms), np.zeros(system.rhs_terms.shape))

    def extend(self, vectors: np.ndarray) -> None:
        """Add the columns A_1 z .. A_Qa z for each new basis vector z, a column of `vectors` (n, k)."""
        stack = self._stack
        for j in range(vectors.shape[1]):
            z = vectors[:, j : j + 1]
            self.append(*(stack.side_by_side(part[:, 0]) for part in (*stack.product(z), stack.rounding(z))))
