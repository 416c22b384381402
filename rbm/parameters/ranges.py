"""Ranges of parameters: read and checked, filled with points, and shown beside a value that is outside."""

from __future__ import annotations

from collections.abc import Mapping, Set
from typing import Any

import numpy as np

from rbm.errors import ParameterError

__all__ = ["filled", "interval", "told_apart", "widened"]

#: A value outside its range by this many floating-point numbers or fewer is taken as the end of the range.
NEIGHBOURS = 4


def interval(name: str, limits: Any) -> tuple[float, float]:
    """Return (low, high) of a range, checked."""
    wrong = ParameterError(f"range of {name} must be two numbers (low, high), got {limits!r}")
    if isinstance(limits, str | bytes | Mapping | Set):  # their items are no numbers, or in no order
        raise wrong
    try:
        items = list(limits)
        if any(isinstance(x, str | bytes) or np.ma.is_masked(x) for x in items):
            raise wrong
        low, high = (float(x) for x in items)
    except (TypeError, ValueError):
        raise wrong from None
    if not (np.isfinite(low) and np.isfinite(high) and low <= high):
        turned = f"; write ({high:g}, {low:g})" if low > high and np.isfinite(low - high) else ""
        raise ParameterError(f"range of {name} must be finite with low <= high, got ({low}, {high}){turned}")
    return low, high


def widened(limits: np.ndarray) -> np.ndarray:
    """Return the limits (2, p) moved outwards by a few floating-point numbers, but not to infinity."""
    largest = np.finfo(float).max
    for _ in range(NEIGHBOURS):
        limits = np.nextafter(limits, [[-largest], [largest]])
    return limits


def filled(low: np.ndarray, high: np.ndarray, unit: np.ndarray, scale: str) -> np.ndarray:
    """Return points (M, p) of the box from points of the unit cube.

    Ranges may be wider than the largest number: they are filled part by part.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        if scale == "linear":
            width = high - low
            return np.where(np.isfinite(width), low + width * unit, low * (1 - unit) + high * unit)
        ratio = high / low
        root = high**0.25 / low**0.25
        return np.where(np.isfinite(ratio), low * ratio**unit, ((low**0.25 * root**unit) ** 2) ** 2)


def told_apart(value: float, low: float, high: float) -> tuple[str, str, str]:
    """Return value and range as texts, with as many digits as show that the value is outside."""
    for digits in range(6, 17):
        value_shown, low_shown, high_shown = (f"{x:.{digits}g}" for x in (value, low, high))
        if not float(low_shown) <= float(value_shown) <= float(high_shown):
            return value_shown, low_shown, high_shown
    return repr(value), repr(low), repr(high)
