"""`xp`: an array module that is not NumPy, for routines that work on anyone's arrays.

CuPy where it and a GPU are there, else array-api-strict, which has the standard's functions and no others.
"""

from __future__ import annotations

from typing import Any

import array_api_strict


def cupy_with_a_gpu() -> Any | str:
    """CuPy's array module, or the reason why there is none."""
    try:
        import cupy
    except ImportError:
        return "CuPy is not installed"
    try:
        if not cupy.cuda.runtime.getDeviceCount():
            return "no GPU"
    except cupy.cuda.runtime.CUDARuntimeError as error:
        return f"no GPU: {error}"
    import array_api_compat.cupy

    return array_api_compat.cupy


xp: Any = cupy if not isinstance(cupy := cupy_with_a_gpu(), str) else array_api_strict
