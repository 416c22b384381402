"""Single and double precision: which types there are, and how arrays go from one to the other."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from lowrank.arrays import is_complex, namespace
from rbm.errors import ModelError

__all__ = [
    "ROUND_OFF",
    "column_norm_bounds",
    "converted",
    "exponents_of",
    "is_single",
    "largest_entries",
    "precision",
    "rounded",
    "row_norms",
    "scaled",
    "underflow_of_sums",
    "widened",
]

DOUBLE, SINGLE = np.dtype(np.float64), np.dtype(np.float32)
#: u of double precision
ROUND_OFF = 2.0**-53
#: Sums of squares between this and its inverse have lost nothing below the range of numbers.
SMALL = 1e-280


def precision(dtype: Any) -> np.dtype:
    """Return the precision a user asks for, float32 or float64. Raises ModelError for anything else."""
    try:
        wanted = None if dtype is None else np.dtype(dtype)
    except TypeError:
        wanted = None
    if wanted is None or wanted not in (SINGLE, DOUBLE):  # NumPy takes None for float64, comparisons included
        raise ModelError(
            f'a model is held in "float32" or "float64", got {dtype!r}; complex models are complex64 or complex128 by '
            "the same names"
        )
    return wanted


def is_single(dtype: npt.DTypeLike) -> bool:
    """Return True for float32 and complex64."""
    return np.finfo(np.dtype(dtype)).dtype == SINGLE


def rounded(array: Any, dtype: npt.DTypeLike) -> Any:
    """Return the array in the precision of `dtype`, complex if it is complex; itself if it has that precision.

    Overflow gives inf.
    """
    real = np.finfo(np.dtype(dtype)).dtype
    with np.errstate(over="ignore"):
        if not isinstance(array, np.ndarray):
            xp, kind = namespace(array), np.result_type(real, np.complex64 if is_complex(array) else np.float32)
            return xp.astype(array, getattr(xp, kind.name), copy=False)
        return array.astype(np.result_type(real, np.complex64) if array.dtype.kind == "c" else real, copy=False)


def widened(array: Any) -> Any:
    """Return the array in double precision, float64 or complex128, without rounding."""
    return rounded(array, DOUBLE)


def converted(name: str, array: np.ndarray, dtype: npt.DTypeLike) -> np.ndarray:
    """Return the array in the precision of `dtype`. Raises ModelError, with `name`, if an entry is beyond its range."""
    made = rounded(array, dtype)
    if not np.all(np.isfinite(made)):
        raise ModelError(
            f"{name} has entries up to {np.abs(array).max():.3g}, beyond the range of {np.dtype(dtype)}; "
            "scale the model (its units), or keep it in float64"
        )
    return made


def column_norm_bounds(matrix: np.ndarray) -> np.ndarray:
    """Return upper bounds (m,) of the norms of the columns of (n, m), for entries of any size.

    The norms are rounded up by more than rounding may have taken off; :func:`lowrank.dense.column_norms` has the norms
    themselves, of arrays of any module.

    By BLAS, column by column, with no array of squares; fastest where columns are contiguous.
    """
    up, rows = 1 + (len(matrix) + 16) * ROUND_OFF, widened(matrix).T
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        squares = np.vecdot(rows, rows).real
    norms = up * np.sqrt(squares)
    odd = ~((squares > SMALL) & (squares < 1 / SMALL))
    if np.any(odd):
        columns = np.abs(matrix[:, odd])
        size = columns.max(axis=0, initial=0.0)
        scale = np.ldexp(1.0, np.minimum(np.frexp(np.where((size > 0) & np.isfinite(size), size, 1.0))[1], 1023))
        found = up * scale * np.linalg.norm(columns / scale, axis=0)
        norms[odd] = np.where(size > 0, np.nextafter(found, np.inf), found)  # subnormal numbers are rounded once more
    return norms


def row_norms(array: Any) -> Any:
    """Return Euclidean norms (M,) of the rows of (M, k), k >= 0, where the array lives.

    Entries may have any size: their squares neither overflow nor vanish.
    """
    xp = namespace(array)
    if array.shape[1] == 0:
        return xp.abs(xp.sum(array, axis=1))
    if is_complex(array):  # complex division by a number below the normal range gives NaN
        array = xp.concat([xp.real(array), xp.imag(array)], axis=1)
    size = xp.max(xp.abs(array), axis=1)
    scale = xp.where((size > 0) & xp.isfinite(size), size, xp.ones_like(size))
    return scale * xp.linalg.vector_norm(array / scale[:, None], axis=1)


def largest_entries(columns: np.ndarray) -> np.ndarray:
    """Return max_i |x_i| (m,) of each column of (n, m); 0 for a column without entries."""
    return np.abs(columns).max(axis=0, initial=0.0)


def exponents_of(columns: np.ndarray) -> np.ndarray:
    """Return e (m,), so that 2^(e-1) <= max |column| < 2^e for each column of (n, m); 0 for a column of zeros."""
    return np.frexp(np.abs(columns).max(axis=0, initial=0.0))[1]


def scaled(values: np.ndarray, exponents: Any) -> np.ndarray:
    """Return values 2^exponents, without rounding in the range of normal numbers; infinite where that is too large."""
    if np.iscomplexobj(values):
        return scaled(values.real, exponents) + 1j * scaled(values.imag, exponents)
    with np.errstate(over="ignore", under="ignore"):
        return np.ldexp(values, exponents)


def underflow_of_sums(sizes: np.ndarray) -> float:
    """Bound what sum_j sizes_j |c_j| (m,) and sums like it may lose below the range of normal numbers.

    They lose where c_j, or a product with it, lies below that range.
    """
    return 4 * float(np.finfo(float).tiny) * (float(np.sum(sizes)) + len(sizes))
