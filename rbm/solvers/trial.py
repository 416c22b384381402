"""A first solve that shows whether factors are those of the matrix at all."""

from __future__ import annotations

from typing import Any

import numpy as np

from rbm.solvers.factorization import Solve

__all__ = ["solves_one"]

#: The residual of the trial, against the terms it is made of, from which factors are not taken.
WRONG = 1e-6
#: The same against the right-hand side: beyond it nothing of a solution is right, and no refinement converges.
SINGULAR = 0.1


def solves_one(solve: Solve, matrix: Any) -> bool:
    """Return True if the solve function gives A x = A 1 with a small residual.

    The residual of elimination is small whatever the condition of A is, if no pivot was too small. x is not compared
    with the vector of ones: that would measure the condition. Cost: a solve and three products.
    """
    rhs = np.asarray(matrix @ np.ones((matrix.shape[0], 1)))
    units = np.sqrt(np.maximum(np.abs(matrix.diagonal()), np.finfo(float).tiny))[:, None]
    x = solve(rhs + units)  # A 1 may be zero but for a few rows
    if not np.all(np.isfinite(x)):
        return False
    residual = np.abs(rhs + units - matrix @ x)
    small = residual.max() <= WRONG * (np.abs(rhs) + units + abs(matrix) @ np.abs(x)).max()
    return bool(small and residual.max() <= SINGULAR * np.abs(rhs + units).max())
