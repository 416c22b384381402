"""Arrays of any module: which module, which precision, and whether all entries are finite numbers."""

from __future__ import annotations

from typing import Any

import array_api_compat.numpy
import numpy as np
from array_api_compat import array_namespace, device, is_array_api_obj

__all__ = [
    "WORKING", "all_true", "as_matrix", "beside", "conj", "device", "is_complex", "mixed_product", "namespace",
    "numpy_dtype", "plain", "real_part", "refuse_hidden", "to_numpy", "unit_roundoff", "working_dtype",
]  # fmt: skip

#: Names of the types of entries, by which another module's types are told.
TYPES = ("float64", "complex128", "float32", "complex64", "bool", "int64", "int32")
#: The types that all work is done in. Not equal to those of foreign byte order.
WORKING = frozenset(np.dtype(name) for name in ("float64", "complex128", "float32", "complex64"))


def namespace(*arrays: Any) -> Any:
    """Return the array module that the given arrays belong to (NumPy, CuPy, ...).

    Raises TypeError for arrays of different modules.
    """
    given = [a for a in arrays if a is not None]
    if given and all(type(a) is np.ndarray for a in given):  # the same answer as below, a hundred times faster
        return array_api_compat.numpy
    return array_namespace(*given)


def unit_roundoff(array: Any) -> float:
    """Return the unit round-off u = eps/2 of the array's precision: 1.1e-16 for double, 6.0e-8 for single."""
    return float(namespace(array).finfo(array.dtype).eps) / 2


def to_numpy(array: Any) -> np.ndarray:
    """Return a copy of a *small* device array on the host; a NumPy array comes back as it is.

    Nowhere else in the package are arrays copied from a device.
    """
    if isinstance(array, np.ndarray):
        return array
    if hasattr(array, "get"):  # CuPy
        return array.get()
    if hasattr(array, "to_device"):  # others of the standard: through the memory that NumPy reads
        array = array.to_device(namespace(array).__array_namespace_info__().default_device())
    return np.array(array)


def beside(constant: Any, array: Any) -> Any:
    """Return `constant`, a small NumPy array, as an array of the module and on the device of `array`.

    An array of another module comes back as it is.
    """
    if isinstance(array, np.ndarray) or not isinstance(constant, np.ndarray):
        return constant
    return namespace(array).asarray(constant, device=device(array))


def numpy_dtype(array: Any) -> np.dtype:
    """Return the type of the entries, as NumPy names it."""
    if isinstance(array.dtype, np.dtype):  # NumPy and CuPy
        return array.dtype
    xp = namespace(array)
    return next(np.dtype(name) for name in TYPES if array.dtype == getattr(xp, name))


def is_complex(array: Any) -> bool:
    """Return whether the entries are complex."""
    return numpy_dtype(array).kind == "c"


def all_true(mask: Any) -> bool:
    """Return whether all entries are true; for small NumPy arrays much faster than numpy.all."""
    if isinstance(mask, np.ndarray):
        return bool(np.count_nonzero(mask) == mask.size)
    return bool(namespace(mask).all(mask))


def real_part(array: Any) -> Any:
    """Return the real parts; a real array comes back as it is."""
    if isinstance(array, np.ndarray):
        return array.real
    return namespace(array).real(array) if is_complex(array) else array


def conj(array: Any) -> Any:
    """Return the complex conjugate; a real array comes back as it is."""
    return namespace(array).conj(array) if is_complex(array) else array


def mixed_product(a: Any, b: Any) -> Any:
    """Return a @ b, of which one may be complex and the other real; PyTorch multiplies matrices of one type only."""
    if isinstance(a, np.ndarray) or a.dtype == b.dtype:
        return a @ b
    xp = namespace(a, b)
    dtype = xp.result_type(a.dtype, b.dtype)
    return xp.astype(a, dtype, copy=False) @ xp.astype(b, dtype, copy=False)


def working_dtype(name: str, dtype: np.dtype) -> np.dtype:
    """Return the type in which entries of type `dtype` are worked with.

    It has native byte order, single or double precision, and is real or complex.

    Integers and long double become double, half becomes single. Raises TypeError for what holds no numbers.
    """
    if dtype.kind not in "biufc":
        raise TypeError(f"{name} must hold numbers, got dtype {dtype}; convert it first, for example by .astype(float)")
    if dtype.kind == "c":
        return np.dtype(np.complex64 if dtype.itemsize <= 8 else np.complex128)
    return np.dtype(np.float32 if dtype.kind == "f" and dtype.itemsize <= 4 else np.float64)


def refuse_hidden(name: str, array: Any) -> None:
    """Raise TypeError for a masked array that hides entries: np.asarray would show what is under the mask."""
    if isinstance(array, np.ma.MaskedArray) and (hidden := int(np.count_nonzero(np.ma.getmaskarray(array)))):
        raise TypeError(
            f"{name} is a masked array: {hidden} of its {array.size} entries are hidden; fill them first, "
            "for example by .filled(0), or leave their rows out"
        )


def plain(name: str, array: Any) -> Any:
    """Return the numbers of an array-like as a plain array.

    Containers that hide or lack entries are refused with their name.

    NumPy arrays come back as such, with entries of :func:`working_dtype`; np.matrix, data frames and lists become NumPy
    arrays; arrays of other modules stay as they are.

    Raises
    ------
    TypeError
        masked entries, sparse matrices, operators, low-rank matrices (with the way to an array), and what holds no
        numbers.
    ValueError
        a list whose rows differ in length.
    """
    if type(array) is np.ndarray and array.dtype in WORKING:
        return array
    if not isinstance(array, np.ndarray):
        if is_array_api_obj(array):
            return array
        array = _to_array(name, array)
    if isinstance(array, np.ma.MaskedArray):
        refuse_hidden(name, array)
        array = array.data
    array = np.asarray(array)
    with np.errstate(over="ignore", invalid="ignore"):  # long double beyond double: infinite, and found as such
        return array.astype(working_dtype(name, array.dtype), copy=False)


def _to_array(name: str, given: Any) -> np.ndarray:
    """Return a NumPy array from a data frame or from lists; refuse other matrices and say how to convert them."""
    kind = type(given).__name__
    if hasattr(given, "nnz") and hasattr(given, "toarray"):
        raise TypeError(f"{name} is a sparse matrix ({kind}) where an array is needed: pass .toarray() of it")
    if hasattr(given, "to_dense"):
        raise TypeError(f"{name} is a {kind} where an array is needed: pass .to_dense() of it")
    if hasattr(given, "matvec"):
        raise TypeError(
            f"{name} is a linear operator ({kind}), whose entries cannot be read, where an array is needed: multiply "
            "it with the identity, or use truncated_svd, randomized_svd or randomized_range, which take operators"
        )
    if isinstance(given, np.generic | int | float | complex):
        return np.asarray(given)
    if hasattr(given, "to_numpy"):  # pandas, polars, xarray
        return np.asarray(given.to_numpy())
    if not isinstance(given, list | tuple | range) and not hasattr(given, "__array__"):
        raise TypeError(f"{name} must be an array of numbers, got {kind}")
    try:
        return np.ma.array(given) if _holds_masked(given) else np.asarray(given)
    except ValueError as error:
        raise ValueError(f"{name} is a {kind} that makes no array, its rows differ in length: {error}") from None


def _holds_masked(given: Any, depth: int = 2) -> bool:
    """Return whether it is a list of masked arrays, whose masks NumPy would drop."""
    if isinstance(given, np.ma.MaskedArray):
        return True
    return depth > 0 and isinstance(given, list | tuple) and any(_holds_masked(item, depth - 1) for item in given)


def as_matrix(name: str, array: Any, *, check_finite: bool = True) -> Any:
    """Return `array` as an (n, m) array of finite floating-point numbers, or raise an error that says what is wrong.

    What :func:`plain` converts is converted. `check_finite=False` leaves the search for NaN and infinities to whoever
    reads the entries.

    Raises
    ------
    ValueError
        wrong number of dimensions, or NaN or infinite entries (with their number and first position).
    TypeError
        containers that hide entries or are no arrays, and entries that are not numbers; see :func:`plain`.
    """
    array = plain(name, array)
    xp = namespace(array)
    if array.ndim != 2:
        raise ValueError(f"{name} must be a matrix of shape (n, m), got an array of shape {tuple(array.shape)}")
    if not xp.isdtype(array.dtype, ("real floating", "complex floating")):
        array = xp.astype(array, xp.float64)
    if not check_finite:
        return array
    finite = xp.isfinite(array)
    if not bool(xp.all(finite)):
        bad = np.argwhere(~to_numpy(finite))
        raise ValueError(
            f"{name} has {len(bad)} entries that are NaN or infinite, the first at index "
            f"{tuple(int(i) for i in bad[0])}; remove or recompute them"
        )
    return array
