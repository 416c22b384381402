"""Reads matrices and vectors from any container, in double precision.

Sparse matrices, arrays, lists, data frames and series are read; no entry stays hidden, behind a mask for example.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import numpy as np
import scipy.sparse as sp

from rbm.errors import ModelError

__all__ = ["dense_entries", "entries"]

#: What matrices of PETSc, NGSolve (and their forms) and MFEM have, which rbm.csr reads.
FOREIGN = ("getValuesCSR", "COO", "mat", "GetIArray", "SpMat")


def entries(name: str, given: Any) -> Any:
    """Return the numbers of a container as a csr_array (n, m) or a NumPy array.

    They are float64 or complex128, and always a copy.

    name : what it is, for messages
    given : sparse of any format, an array, a list, a data frame or series, np.matrix; of integers, truth values, half,
        single, double or extended precision, in either byte order. What double precision does not hold is rounded.
        Sparse entries given more than once are added

    Raises
    ------
    ModelError
        anything else, by its type and with what to write instead: a file name, a masked array with masked entries,
        objects, a matrix of another package; NaN and infinite entries, and those beyond the range of double precision.
    """
    if sp.issparse(given):
        return _sparse(name, given)
    return _double(name, _array(name, given))


def dense_entries(name: str, given: Any) -> np.ndarray:
    """Return the numbers of a container as a NumPy array, as :func:`entries` does.

    Sparse matrices are made dense; an array in double precision is not copied.
    """
    if type(given) is np.ndarray and given.dtype in (np.dtype(float), np.dtype(complex)):
        _check_finite(name, given)
        return given
    values = entries(name, given)
    return values.toarray() if sp.issparse(values) else values


def _array(name: str, given: Any) -> np.ndarray:
    """Return the container as a plain array, whatever the type of its entries is."""
    _check_masked(name, given)
    if (remedy := _remedy(given)) is not None:
        raise ModelError(f"{name} must be a matrix or a vector of numbers, got {remedy}")
    try:
        array = np.asarray(given.to_numpy() if callable(getattr(given, "to_numpy", None)) else given)
    except Exception as error:  # each package has its own
        raise ModelError(
            f"{name} is a {type(given).__name__} that NumPy does not read as numbers ({error}); give a NumPy array or "
            "a scipy.sparse matrix"
        ) from error
    if array.dtype.kind in "biufc":
        return array
    if array.ndim == 0 and array.dtype.kind == "O":
        raise ModelError(
            f"{name} must be a matrix or a vector of numbers, got a {type(given).__name__}; give a NumPy array or a "
            "scipy.sparse matrix"
        )
    first = f", the first a {type(array.flat[0]).__name__}" if array.size else ""
    raise ModelError(
        f"{name} must be a matrix or a vector of numbers, got a {type(given).__name__} of dtype {array.dtype}{first}; "
        "if all its entries are numbers, write .astype(float)"
    )


def _remedy(given: Any) -> str | None:
    """Return what the object is and what to write instead; None if NumPy should try."""
    kind = type(given).__name__
    if given is None:
        return "None"
    if isinstance(given, str | bytes | os.PathLike):
        return f"the text {str(given)!r}; if that is a file, read it first: rbm.read_matrices({str(given)!r})"
    if isinstance(given, Mapping | set | frozenset):
        return f"a {kind}; give a NumPy array or a scipy.sparse matrix"
    if any(hasattr(type(given), name) for name in FOREIGN):
        return f"a {kind} of another code; write rbm.csr(matrix)"
    if hasattr(given, "getArray"):
        return f"a {kind}; write vector.getArray()"
    for method in ("to_scipy", "to_dense"):
        if callable(getattr(given, method, None)) and not hasattr(given, "__array__"):
            return f"a {kind}; write .{method}()"
    if hasattr(given, "matvec"):
        return f"a {kind}, which shows no entries; give a NumPy array or a scipy.sparse matrix"
    if callable(given):
        return (
            f"the function {getattr(given, '__name__', kind)}; give the matrix or vector itself, and what depends on "
            "parameters as its coefficient"
        )
    return None


def _masked(given: Any) -> int:
    """Count masked entries, also those of masked arrays in lists, which NumPy would unmask without a word."""
    if isinstance(given, np.ma.MaskedArray):
        return int(np.ma.count_masked(given))
    if sp.issparse(given):  # some formats keep their entries in rows, lil, or in a dictionary, dok
        data = getattr(given, "data", None)
        return _masked(data) if isinstance(data, np.ma.MaskedArray) else 0
    if isinstance(given, list | tuple):
        return sum(_masked(part) for part in given if isinstance(part, np.ma.MaskedArray | list | tuple))
    return 0


def _check_masked(name: str, given: Any) -> None:
    hidden = _masked(given)
    if hidden:
        kind = f"a {type(given).__name__} whose data is a masked array" if sp.issparse(given) else "a masked array"
        raise ModelError(
            f"{name} is {kind} with {hidden} masked entries, whose values nobody vouches for; fill them, "
            ".filled(value), or leave the unknowns out"
        )


def _sparse(name: str, given: Any) -> Any:
    _check_masked(name, given)
    kind = type(given).__name__
    if given.dtype.kind not in "biufc":
        raise ModelError(f"{name} must be a matrix of numbers, got a sparse {kind} of {given.dtype}")
    if given.ndim != 2:
        return _double(name, given.toarray())
    try:
        with np.errstate(over="ignore"):
            # before the conversion of the format, whose compiled routines know few types
            own = given.astype(complex if given.dtype.kind == "c" else float)
        if hasattr(own, "check_format"):  # an index out of range would be read from foreign memory
            own.check_format(full_check=True)
        matrix = sp.csr_array(own)
        matrix.sum_duplicates()
    except (ValueError, TypeError, IndexError) as error:
        raise ModelError(f"{name} is not a valid {kind}: {error}; make it anew from its entries") from error
    _check_finite(name, matrix.data, getattr(given, "data", None))
    return matrix


def _double(name: str, array: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore"):
        made = array.astype(complex if array.dtype.kind == "c" else float)
    _check_finite(name, made, array)
    return made


def _check_finite(name: str, values: np.ndarray, given: Any = None) -> None:
    bad = values[~np.isfinite(values)]
    if not len(bad):
        return
    if isinstance(given, np.ndarray) and given.dtype.kind in "fc" and np.all(np.isfinite(given)):
        raise ModelError(
            f"{name} has entries up to {np.abs(given).max()!s}, beyond the range of double precision "
            f"({np.finfo(float).max:.3g}); scale it down, and its coefficient up"
        )
    raise ModelError(f"{name} has {len(bad)} entries that are NaN or infinite, the first is {bad[0]}")
