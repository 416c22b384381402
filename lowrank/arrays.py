"""What every routine of this floor asks of its arrays: a module, a precision, and finite entries."""

from __future__ import annotations

from typing import Any

import array_api_compat.numpy
import numpy as np
from array_api_compat import array_namespace, device, is_numpy_array

__all__ = [
    "all_true",
    "as_matrix",
    "beside",
    "conj",
    "device",
    "is_complex",
    "is_numpy_array",
    "namespace",
    "numpy_dtype",
    "real_part",
    "to_numpy",
    "unit_roundoff",
]

#: Names of the types of entries, by which another module's types are told.
TYPES = ("float64", "complex128", "float32", "complex64", "bool", "int64", "int32")


def namespace(*arrays: Any) -> Any:
    """Array module that the given arrays belong to (NumPy, CuPy, ...); the array decides, never a flag.

    Raises TypeError for arrays of different modules.
    """
    given = [a for a in arrays if a is not None]
    if given and all(type(a) is np.ndarray for a in given):  # the same answer as below, a hundred times faster
        return array_api_compat.numpy
    return array_namespace(*given)


def unit_roundoff(array: Any) -> float:
    """Unit round-off u = eps/2 of the array's real precision: 1.1e-16 for double, 6.0e-8 for single."""
    return float(namespace(array).finfo(array.dtype).eps) / 2


def to_numpy(array: Any) -> np.ndarray:
    """Copy of a *small* device array on the host; the one place where that happens, and never silently. NumPy arrays as they are."""
    if isinstance(array, np.ndarray):
        return array
    if hasattr(array, "get"):  # CuPy
        return array.get()
    if hasattr(array, "to_device"):  # others of the standard: through the memory that NumPy reads
        array = array.to_device(namespace(array).__array_namespace_info__().default_device())
    return np.array(array)


def beside(constant: Any, array: Any) -> Any:
    """`constant`, a small NumPy array, as an array of the module and on the device of `array`; what is there already as it is."""
    if isinstance(array, np.ndarray) or not isinstance(constant, np.ndarray):
        return constant
    return namespace(array).asarray(constant, device=device(array))


def numpy_dtype(array: Any) -> np.dtype:
    """Type of the entries, as NumPy names it."""
    if isinstance(array.dtype, np.dtype):  # NumPy and CuPy
        return array.dtype
    xp = namespace(array)
    return next(np.dtype(name) for name in TYPES if array.dtype == getattr(xp, name))


def is_complex(array: Any) -> bool:
    """True for complex entries."""
    return numpy_dtype(array).kind == "c"


def all_true(mask: Any) -> bool:
    """True if all entries are; for a few entries of NumPy's much faster than its all()."""
    if isinstance(mask, np.ndarray):
        return bool(np.count_nonzero(mask) == mask.size)
    return bool(namespace(mask).all(mask))


def real_part(array: Any) -> Any:
    """The real parts; a real array as it is."""
    if isinstance(array, np.ndarray):
        return array.real
    return namespace(array).real(array) if is_complex(array) else array


def conj(array: Any) -> Any:
    """The complex conjugate; a real array as it is."""
    return namespace(array).conj(array) if is_complex(array) else array


def as_matrix(name: str, array: Any, *, check_finite: bool = True) -> Any:
    """Return `array` if it is an (n, m) array of finite floating-point numbers, else say what is wrong.

    Integers are converted to double. Lists and other sequences become NumPy arrays. `check_finite=False` leaves the search for
    NaN and infinities to whoever reads the entries.

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
    if not check_finite:
        return array
    finite = xp.isfinite(array)
    if not bool(xp.all(finite)):
        bad = np.argwhere(~to_numpy(finite))
        raise ValueError(
            f"{name} has {len(bad)} entries that are NaN or infinite, the first at index {tuple(int(i) for i in bad[0])}; "
            "remove or recompute them"
        )
    return array
