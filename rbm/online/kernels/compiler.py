"""Decorators that compile the functions of this folder: inner ones, and kernels that Python calls."""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path
from typing import Any

import llvmlite
import numba
import numpy as np

from rbm.estimate import RESOLVED
from rbm.online.compilation import watch
from rbm.online.forms import SHARP
from rbm.online.kernels.kernel_cache import KernelCache
from rbm.online.kernels.parts import Kernel, KernelCompiler, LaneCompiler, Part
from rbm.online.kernels.sources import remember
from rbm.online.programs import OPERATIONS

__all__ = ["compiled", "inlined", "kernel", "lane_kernel", "source_digest"]

if getattr(numba.config, "DISABLE_JIT", False):
    raise RuntimeError(
        "NUMBA_DISABLE_JIT is set: reduced models are solved by compiled code, which cannot run uncompiled; unset it"
    )

#: Options of Numba. Nothing compiled here allocates memory: without counts of references each call is cheaper, and so
#: is its compilation.
OPTIONS: dict[str, Any] = {"error_model": "numpy", "_nrt": False, "no_cfunc_wrapper": True}

#: Options of parts, which Python does not call.
PART: dict[str, Any] = {"nopython": True, "no_cpython_wrapper": True, **OPTIONS}


def compiled(function: Any) -> Any:
    """Make a part of kernels: it is compiled with the kernels that call it, and not kept on disk by itself."""
    remember(function)
    return Part(function, False, PART)


def inlined(function: Any) -> Any:
    """Make a part of kernels that may be compiled into its callers, however long it is."""
    remember(function)
    return Part(function, True, PART)


def source_digest() -> str:
    """Return a digest of all sources in this folder, of constants from elsewhere, and of compiler versions."""
    versions = numba.__version__, llvmlite.__version__, np.__version__
    digest = hashlib.sha256(repr((versions, RESOLVED, SHARP, OPERATIONS)).encode())
    for path in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()[:16]


#: The same for all kernels: files are read once.
_digest = cache(source_digest)


def kernel(function: Any) -> Any:
    """Compile without the GIL, on the first call, and keep the result on disk.

    :mod:`rbm.online.kernels.kernel_cache` keeps it.
    """
    return _kept(function, KernelCompiler)


def lane_kernel(function: Any) -> Any:
    """Do the same for a kernel all of whose long loops are written in lanes: LLVM looks for no others."""
    return _kept(function, LaneCompiler)


def _kept(function: Any, pipeline: type) -> Any:
    remember(function)
    made: Any = Kernel(function, targetoptions={"nopython": True, "nogil": True, **OPTIONS}, pipeline_class=pipeline)
    made._cache = KernelCache(function.__name__, _digest())
    watch((made,))
    return made
