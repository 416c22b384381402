"""Bounds of an error at each time that decay as the error does, by a recursion for every point."""

from __future__ import annotations

from typing import Any

from rbm.online.kernels.compiler import kernel

__all__ = ["decaying"]

#: How much of the coercivity the decay may take, in turn; the rest absorbs the residual.
QUARTERS = 4

#: What squares that were lost below the smallest numbers count as: more than the roundings of thousands of steps.
LOST = 1e-320


@kernel
def decaying(values: Any, floors: Any, first: Any, scale: Any, rate: Any, part: float, value: Any, bound: Any) -> None:
    """Compute b_k^2 = min_s (b_{k-1}^2 + c v_k^2 / (1 - s)) / (1 + g_s), s = 0, 1/4, 1/2, 3/4, in all rows.

        g_s = 2 s d / (1 + 2 s d part)

    values, floors : v and f (M, K); first : b_0 and its floor (M, 2); scale : c (M,); rate : d (M,)
    part : not negative
    value, bound : b from v, and from v + f and b_0 with its floor (M, K + 1), written
    """
    for i in range(len(values)):
        low, high = first[i, 0], first[i, 0] + first[i, 1]
        value[i, 0], bound[i, 0] = low, high
        low, high = low * low, high * high
        moving = bound[i, 0] > 0
        for k in range(values.shape[1]):
            v, w = values[i, k], values[i, k] + floors[i, k]
            v, w = scale[i] * v * v, scale[i] * w * w
            least, most = low + v, high + w
            for q in range(1, QUARTERS):
                s = q / QUARTERS
                growth = 1 + 2 * s * rate[i] / (1 + 2 * s * rate[i] * part)
                least = min(least, (low + v / (1 - s)) / growth)
                most = min(most, (high + w / (1 - s)) / growth)
            moving = moving or values[i, k] + floors[i, k] > 0
            if moving and not most > LOST:  # squares below the smallest normal number
                most = LOST
            low, high = least, most
            value[i, k + 1], bound[i, k + 1] = low**0.5, high**0.5
