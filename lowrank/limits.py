"""How many terms of a singular value decomposition to keep: the conventions of this floor, in one place."""

from __future__ import annotations

from typing import Any

import numpy as np

from lowrank.arrays import to_numpy, unit_roundoff

__all__ = ["check_limits", "kept"]


def check_limits(rank: int | None = None, rtol: float | None = None, atol: float | None = None) -> None:
    """Refuse ranks and tolerances that are negative or NaN, and ranks that are no integers. Raises ValueError."""
    for what, limit in (("rtol", rtol), ("atol", atol)):
        if limit is not None and not limit >= 0:
            raise ValueError(f"{what} must be a number >= 0, got {limit}")
    if rank is not None and not (isinstance(rank, int | np.integer) and rank >= 0):
        raise ValueError(f"rank must be an integer >= 0, got {rank}")


def kept(
    s: Any,
    noise: float,
    rank: int | None = None,
    rtol: float | None = None,
    atol: float | None = None,
    scale: float | None = None,
) -> int:
    """Fewest leading terms k with (sum_{i >= k} s_i^2)^{1/2} <= max(atol, rtol ||s||), at most `rank`, none with s_i <= noise scale.

    `scale` is the size of what s was computed from, by default s_0.
    """
    if rtol is not None or atol is not None:
        noise = min(noise, unit_roundoff(s))  # what a tolerance asks for is not called noise as long as it has a digit
    values = to_numpy(s).astype(float)
    if not len(values) or values[0] == 0:
        return 0
    k = int(np.count_nonzero(values > noise * (values[0] if scale is None else scale)))
    if rtol is not None or atol is not None:
        scaled = values / values[0]  # squares neither overflow nor vanish
        tails = values[0] * np.sqrt(np.append(np.cumsum((scaled**2)[::-1])[::-1], 0.0))
        allowed = max(atol or 0.0, (rtol or 0.0) * tails[0])
        k = min(k, int(np.argmax(tails <= allowed)))
    return k if rank is None else min(k, int(rank))
