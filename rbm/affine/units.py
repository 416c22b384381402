"""Units in which definiteness against the product P is decided.

Balanced ones as a rule; whitened ones where P is ill-conditioned.

A statement H >= s P about Hermitian H is one about T^H H T and T^H P T for any regular T. Rounding is relative to the
size of these; what it hides, over the smallest eigenvalue of T^H P T, is what the statement loses.

balanced   T = S = diag(balance), exact; loses u cond(S P S)
whitened   T = X, the computed inverse of the Cholesky factor of P: X^H P X = I + G and X^H H X are formed in extended
           precision, their errors are bounded; loses u whatever cond(P) up to about 1e16 is, for 8 n^3 flops per
           matrix. For n <= 400.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.linalg
import scipy.sparse as sp

from rbm.affine.spectrum import DENSE_LIMIT, ScaledProduct
from rbm.arithmetic import extended
from rbm.arithmetic.precision import ROUND_OFF

__all__ = ["Units", "units_of"]

#: Condition number, in balanced units, from which a product of few unknowns is whitened.
ILL_CONDITIONED = 1e6


@dataclass(frozen=True)
class Units:
    """The transform T, and what is known of T^H P T."""

    product: Any  #: T^H P T up to product_error; the identity where it is whitened
    product_error: float  #: a bound of the norm of what `product` is off by
    smallest: float  #: a proved lower bound of the smallest eigenvalue of T^H P T
    largest: float  #: a proved upper bound of the largest
    transform: np.ndarray | None = None  #: S^{-1} X; None for balanced units

    def take(self, balanced: Any) -> tuple[Any, float]:
        """Return T^H H T from S H S, and a bound of the norm of its error (0 in balanced units).

        It is exactly Hermitian if H is.
        """
        if self.transform is None:
            return balanced, 0.0
        return _congruent(balanced.toarray() if sp.issparse(balanced) else balanced, self.transform)


def units_of(inner_product: ScaledProduct) -> Units:
    """Return whitened units for an ill-conditioned product of at most 400 unknowns, balanced ones for all others."""
    smallest, largest = inner_product.smallest_eigenvalue, inner_product.largest_eigenvalue
    balanced = Units(inner_product.balanced, 0.0, smallest, largest)
    n = inner_product.shape[0]
    if n > DENSE_LIMIT or largest <= ILL_CONDITIONED * smallest:
        return balanced
    dense = inner_product.balanced
    dense = dense.toarray() if sp.issparse(dense) else dense
    try:
        inverse = scipy.linalg.solve_triangular(scipy.linalg.cholesky(dense), np.eye(n))
    except np.linalg.LinAlgError:
        return balanced
    white, error = _congruent(dense, inverse)
    deviation = float(np.linalg.norm(white - np.eye(n))) * (1 + 2.0**-20) + error
    if not deviation < 0.5:
        return balanced
    return Units(np.eye(n), deviation, 1 - deviation, 1 + deviation, inverse)


def _congruent(matrix: np.ndarray, transform: np.ndarray) -> tuple[np.ndarray, float]:
    """Return X^H H X, formed in extended precision, and a bound of the Frobenius norm of its error.

    The rows of X may have very different sizes, and so have those of H: powers of two bring them to a common one.
    """
    size = np.abs(transform).max(axis=1)
    scale = np.ldexp(1.0, np.frexp(np.where(size > 0, size, 1.0))[1])
    split = extended.SplitMatrix(matrix, scale)
    image, off = extended.product(split, transform), extended.rounding(split, transform)
    adjoint = extended.SplitMatrix(transform.conj().T, 1 / scale)
    hi, lo = extended.product(adjoint, image)
    off = extended.rounding(adjoint, image) + np.abs(transform.T) @ off
    made = hi + lo
    return (made + made.conj().T) / 2, float(np.linalg.norm(off + 2 * ROUND_OFF * np.abs(made))) * (1 + 2.0**-20)
