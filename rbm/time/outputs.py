"""Linear outputs at every time, with their bounds."""

from __future__ import annotations

from typing import Any

import numpy as np

from rbm.arithmetic.precision import widened
from rbm.reduced.outputs import ReducedLinear

__all__ = ["output_values"]


def output_values(
    output: ReducedLinear, mus: np.ndarray, gamma: np.ndarray, error: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray | None]:
    """Return values (M, K + 1) of an output at all times, and bounds of their errors (M, K + 1).

    gamma : (M, K + 1, N); error : (M, K + 1), bounds of ||e^k|| in the norm whose dual the output is measured in

        |s(u^k) - s(Z gamma^k)| <= ||l||' error_k + rounding

    A time is to an output what a parameter point is: the rows of all times are evaluated together.
    """
    count, times, n = gamma.shape
    psi = output.coefficients(mus)
    vectors = (psi @ output.vectors)[:, None, :]
    values = np.matmul(widened(gamma), np.swapaxes(vectors, 1, 2))[:, :, 0]
    if output.offset is not None and output.offset_coefficients is not None:
        values = values + (output.offset_coefficients(mus) @ output.offset)[:, None]
    if error is None:
        return values, None
    every = np.repeat(mus, times, axis=0)
    bound: Any = output.bound(every, gamma.reshape(count * times, n), error.reshape(-1))
    return values, bound.reshape(count, times)
