"""Sizes that problems are asked for."""

from __future__ import annotations

from typing import Any

import numpy as np

from rbm.errors import ModelError

__all__ = ["whole_number"]


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
