"""Whole numbers that users give, ranks and tolerances, and how many terms of a decomposition these keep."""

from __future__ import annotations

import operator
from typing import Any, NamedTuple

import numpy as np

from lowrank.arrays import to_numpy, unit_roundoff

__all__ = ["Limits", "at_least", "check_limits", "number_of_terms"]


def at_least(name: str, value: Any, least: int) -> int:
    """Return a whole number that is not below `least`. Raises ValueError with its name for anything else."""
    try:
        number = operator.index(value)
    except TypeError:
        raise ValueError(f"{name} must be an integer, got {value!r}") from None
    if number < least:
        raise ValueError(f"{name} must be at least {least}, got {number}")
    return number


def check_limits(rank: int | None = None, rtol: float | None = None, atol: float | None = None) -> None:
    """Refuse ranks and tolerances that are negative or NaN, and ranks that are no integers. Raises ValueError."""
    for what, limit in (("rtol", rtol), ("atol", atol)):
        if limit is not None and not limit >= 0:
            raise ValueError(f"{what} must be a number >= 0, got {limit}")
    if rank is not None and not (isinstance(rank, int | np.integer) and rank >= 0):
        raise ValueError(f"rank must be an integer >= 0, got {rank}")


class Limits(NamedTuple):
    """A rank and tolerances, whichever is met first; with none of them only round-off is dropped."""

    rank: int | None = None
    rtol: float | None = None
    atol: float | None = None

    @property
    def tolerant(self) -> bool:
        """Whether there is a tolerance."""
        return self.rtol is not None or self.atol is not None

    def allowed(self, norm: float) -> float:
        """Return the error that is allowed of a matrix of this norm."""
        return max(self.atol or 0.0, (self.rtol or 0.0) * norm)

    def over(self, scale: float) -> Limits:
        """Return the limits for the matrix divided by `scale`."""
        return self if self.atol is None else self._replace(atol=self.atol / scale)


def number_of_terms(s: Any, noise: float, limits: Limits, scale: float | None = None) -> int:
    """Return the number k of leading terms to keep.

    It is the least with (sum_{i >= k} s_i^2)^{1/2} <= max(atol, rtol ||s||), at most `rank`, without terms s_i <= noise
    scale.

    `scale` is the size of what s was computed from, by default s_0.
    """
    if limits.tolerant:
        noise = min(noise, unit_roundoff(s))  # what a tolerance asks for is not called noise as long as it has a digit
    values = to_numpy(s).astype(float)
    if not len(values) or values[0] == 0:
        return 0
    k = int(np.count_nonzero(values > noise * (values[0] if scale is None else scale)))
    if limits.tolerant:
        scaled = values / values[0]  # squares neither overflow nor vanish
        tails = values[0] * np.sqrt(np.append(np.cumsum((scaled**2)[::-1])[::-1], 0.0))
        k = min(k, int(np.argmax(tails <= limits.allowed(tails[0]))))
    return k if limits.rank is None else min(k, int(limits.rank))
