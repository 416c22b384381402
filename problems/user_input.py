"""Sizes and arrays that users give, read or refused."""

from __future__ import annotations

from typing import Any

import numpy as np

from rbm.errors import ModelError

__all__ = ["as_array", "whole_number"]


def whole_number(name: str, value: Any, least: int) -> int:
    """The value as an int; ModelError where it is none, or less than `least`.

    >>> whole_number("n_elements", 4, least=2)
    4
    """
    if isinstance(value, bool) or not isinstance(value, int | np.integer):
        raise ModelError(f"{name} must be a whole number, got {value!r}")
    if value < least:
        raise ModelError(f"{name} must be at least {least}, got {value}")
    return int(value)


def as_array(rule: str, given: Any, dtype: Any = float) -> np.ndarray:
    """The given numbers as an array; ModelError "`rule`, got ..." where they are none.

    >>> as_array("points must be numbers (3, P)", [[1], [2], [3]]).shape
    (3, 1)
    """
    try:
        return np.asarray(given, dtype=dtype)
    except (TypeError, ValueError):
        raise ModelError(f"{rule}, got {given!r}") from None
