"""Why an inner product is not positive definite: usual causes, in words."""

from __future__ import annotations

from typing import Any

import numpy as np

from rbm.arithmetic.precision import ROUND_OFF
from rbm.errors import ModelError

__all__ = ["ELIMINATE", "defect", "maps_constants_to_zero", "root_of_square"]

#: What to do about a product that is not positive definite, for a reason that is not known.
ELIMINATE = "eliminate constrained unknowns and use a Hermitian positive definite inner product"


def defect(matrix: Any, otherwise: str = ELIMINATE) -> str:
    """Return the end of a message: which usual cause makes P (n, n) indefinite or singular, and what to do."""
    if maps_constants_to_zero(matrix):
        return (
            "; it maps constant vectors to zero, as a stiffness matrix K without Dirichlet conditions does: take K + "
            "M, M the mass matrix"
        )
    diagonal = np.asarray(matrix.diagonal()).real
    i = int(np.argmin(diagonal))
    if not diagonal[i] > 0:
        return (
            f"; its diagonal entry {i} is {diagonal[i]:.3g}, and {int((diagonal <= 0).sum())} are not positive: "
            "eliminate the unknowns that have none, or choose another inner product"
        )
    return f"; {otherwise}"


def maps_constants_to_zero(matrix: Any) -> bool:
    """Return True if every entry of P 1 is round-off of the sum that it is."""
    image, size = (np.asarray(a.sum(axis=1)).ravel() for a in (matrix, abs(matrix)))
    return matrix.shape[0] > 1 and bool(np.all(np.abs(image) <= 64 * ROUND_OFF * size))


def root_of_square(square: np.ndarray, error: np.ndarray, vectors: np.ndarray) -> np.ndarray:
    """Return the root of x^H P x, positive up to its error if P is positive definite and x is not zero."""
    zero = ~np.any(vectors, axis=0)
    bad = ~(zero | (square > -error))
    if np.any(bad):
        j = int(np.flatnonzero(bad)[0])
        raise ModelError(
            f"the product gave vector {j} the squared norm {square[j]:.3g}: it is not positive definite, or not finite"
        )
    return np.sqrt(np.where(zero | (square < 0), 0.0, square))
