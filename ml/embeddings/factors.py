"""Factors of an embedding: of one module, of one type, and in units of their largest entry."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from lowrank.arrays import namespace

__all__ = ["alike", "exponent", "refuse_torch", "times_power"]


def refuse_torch(name: str, array: Any) -> Any:
    """The same array. Raises TypeError for a tensor of PyTorch, which is of another interface, with the line that converts it."""
    if type(array).__module__.split(".")[0] == "torch":
        raise TypeError(
            f"{name} is a tensor of PyTorch, {type(array).__name__}; pass {name}.detach().float().numpy(), of the host"
        )
    return array


def alike(tokens: tuple[Any, ...], projections: tuple[Any, ...]) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
    """All factors contiguous and in their common type. Raises TypeError where they are of different array modules."""
    factors = [a for a in (*tokens, *projections) if a is not None]
    try:
        xp = namespace(*factors)
    except TypeError:
        kinds = sorted({f"{type(a).__module__.split('.')[0]}.{type(a).__name__}" for a in factors})
        raise TypeError(f"all factors must be of one array module, got {' and '.join(kinds)}; convert them") from None
    common = xp.result_type(*(a.dtype for a in factors))
    first, second = (
        tuple(None if a is None else _contiguous(xp.astype(a, common, copy=False)) for a in group)
        for group in (tokens, projections)
    )
    return first, second


def exponent(array: Any) -> int:
    """e with 2^e <= largest magnitude < 2^{e + 1}; 0 for zeros."""
    xp = namespace(array)
    largest = float(xp.max(xp.abs(array))) if 0 not in array.shape else 0.0
    return math.frexp(largest)[1] - 1 if 0 < largest < math.inf else 0


def times_power(array: Any, power: int) -> Any:
    """2^power A, in two steps: the power by itself may be beyond the numbers of the type."""
    half = power // 2
    return array * 2.0**half * 2.0 ** (power - half)


def _contiguous(array: Any) -> Any:
    """Rows that lie one after the other: NumPy would copy all of another table at every lookup."""
    return np.ascontiguousarray(array) if isinstance(array, np.ndarray) else array
