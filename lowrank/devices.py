"""Arrays moved between NumPy on the host and the array module of a device."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from lowrank.arrays import to_numpy
from lowrank.optional import require

__all__ = ["mover"]


def mover(target: Any, device: Any = None) -> Callable[[Any], Any]:
    """Return the function that takes an array of any module to `target`.

    Parameters
    ----------
    target : "numpy", "cupy" or an array module
    device : where in that module the arrays are to lie; None for the module's own choice

    Raises
    ------
    ImportError
        CuPy is not installed.
    RuntimeError
        CuPy finds no GPU.
    ValueError
        another target.

    Examples
    --------
    >>> mover("numpy")([1.0, 2.0])
    array([1., 2.])
    """
    if target == "numpy" or target is np:
        return to_numpy
    xp = _cupy() if target == "cupy" else target
    if not hasattr(xp, "asarray"):
        raise ValueError(f'arrays live on "numpy" or "cupy" (or on an array module, for tests), got {target!r}')
    where = {} if device is None else {"device": device}
    return lambda array: xp.asarray(to_numpy(array), **where)


def _cupy() -> Any:
    """Return CuPy as the array API standard wants it, after a look whether there is a device."""
    purpose = "arrays on a GPU (here with CUDA 12; for CUDA 13 the extra is gpu-cuda13, the package cupy-cuda13x)"
    cupy = require("cupy", "cupy-cuda12x", purpose, "gpu-cuda12")
    try:
        count = cupy.cuda.runtime.getDeviceCount()
    except cupy.cuda.runtime.CUDARuntimeError as error:
        raise RuntimeError(f'CuPy finds no GPU ({error}); to("numpy") keeps the arrays on the CPU') from error
    if not count:
        raise RuntimeError('CuPy finds no GPU; to("numpy") keeps the arrays on the CPU')
    return require("array_api_compat.cupy", "array-api-compat", purpose)
