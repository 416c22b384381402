"""The bound of an output from the bound of the solution."""

from __future__ import annotations

from typing import Any

import numpy as np

from rbm.online.kernels.compiler import compiled

__all__ = ["output_bound"]

#: The smallest normal number.
TINY = float(np.finfo(np.float64).tiny)


@compiled
def output_bound(norm: float, bound: float, rounding: float, mismatch: float, beta: float, energy: Any) -> float:
    """Return norm bound + rounding or, for a compliant output, the square of the bound with its rounding, if smaller.

    mismatch : negative for outputs that are not compliant; energy : the sums of
    :func:`rbm.online.kernels.batch_query.compliance`
    """
    made = norm * bound + rounding
    if mismatch >= 0:
        total, skew, fixed = energy
        sharp = (beta * bound + (mismatch + fixed + skew * bound)) * bound
        sharp = (1 + 1e-12) * (sharp + total) + rounding
        made = sharp if sharp < made else made
    if norm > 0 and bound > 0:
        made += TINY  # what the products may have lost below it
    return made
