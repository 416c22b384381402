"""What every routine of this floor asks of its arrays: a module, a precision, and finite entries."""

from __future__ import annotations

from typing import Any

import numpy as np
from array_api_compat import array_namespace, is_numpy_array

__all__ = ["as_matrix", "is_numpy_array", "namespace", "to_numpy", "unit_roundoff"]


def namespace(*arrays: Any) -> Any:
    """Array module that the given arrays belong to (NumPy, CuPy, ...); the array decides, never a flag."""
    return array_namespace(*(a for a in arrays if a is not None))


def unit_roundoff(array: Any) -> float:
    """Unit round-off u = eps/2 of the array's real precision: 1.1e-16 for double, 6.0e-8 for single."""
    return float(namespace(array).finfo(array.dtype).eps) / 2


def to_numpy(array: Any) -> np.ndarray:
    """Copy of a *small* device array on the host; the one place where that happens, and never silently."""
    return array.get() if hasattr(array, "get") else np.asarray(array)


def as_matrix(name: str, array: Any) -> Any:
    """Return `array` if it is an (n, m) array of finite floating-point numbers, else say what is wrong.

    Integers are converted to double. Lists and other sequences become NumPy arrays.

    Raises
    ------
    ValueError
        wrong number of dimensions, or NaN or infinite entries (with their number and first position).
    TypeError
        entries that are not numbers.
    """
    if not hasattr(array, "shape"):
        array = np.asarray(array)
    xp = namespace(array)
    if array.ndim != 2:
        raise ValueError(f"{name} must be a matrix of shape (n, m), got an array of shape {tuple(array.shape)}")
    if is_numpy_array(array) and array.dtype.kind not in "biufc":
        raise TypeError(f"{name} must hold numbers, got dtype {array.dtype}")
    if not xp.isdtype(array.dtype, ("real floating", "complex floating")):
        array = xp.astype(array, xp.float64)
    finite = xp.isfinite(array)
    if not bool(xp.all(finite)):
        bad = np.argwhere(~to_numpy(finite))
        raise ValueError(
            f"{name} has {len(bad)} entries that are NaN or infinite, the first at index {tuple(int(i) for i in bad[0])}; "
            "remove or recompute them"
        )
    return array
