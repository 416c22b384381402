"""Checks of arrays that come from a file: types, shapes that fit each other, finite numbers of the right sign."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from numbers import Real
from typing import Any

import numpy as np

__all__ = ["Stored", "checked_arrays"]

#: What an array may be made of, by a letter as NumPy has it, and how messages say so.
TYPES: dict[str, tuple[tuple[np.dtype[Any], ...], str]] = {
    "f": ((np.dtype(float),), "real numbers in double precision"),
    "c": ((np.dtype(float), np.dtype(complex)), "real or complex numbers in double precision"),
    "i": (tuple(np.dtype(f"i{size}") for size in (1, 2, 4, 8)), "whole numbers"),
    "b": ((np.dtype(bool),), "true or false"),
}


@dataclass(frozen=True)
class Stored:
    """What an array in a file must be."""

    #: a letter for each dimension: the same letter means the same length, a digit a length; "" is a number
    shape: str
    type: str = "f"  #: "f" real, "c" real or complex, "i" whole, "b" true or false
    least: float | None = None  #: no entry is less
    positive: bool = False  #: all entries are greater than zero
    finite: bool = True  #: no entry is infinite; none is NaN in any case
    filled: bool = False  #: it has entries
    optional: bool = False  #: older files have none


def checked_arrays(
    what: str, given: Mapping[str, Any], expected: Mapping[str, Stored], lengths: Mapping[str, int] | None = None
) -> dict[str, Any]:
    """Return the arrays by name, whole numbers as int64, single numbers as such, all other entries as they are.

    what : whose arrays they are, for messages
    lengths : of dimensions that are known, by letter

    Raises ValueError for one that is missing, of another type or shape, NaN, infinite, or below its limit: entries that
    would make other numbers, or errors that nobody can read, where they are used.
    """
    made, sizes = dict(given), dict(lengths or {})
    for name, wanted in expected.items():
        if name not in given:
            if wanted.optional:
                continue
            raise _misfit(what, f"{name!r} is missing")
        value = given[name]
        array = _array(value, wanted.type)
        types, words = TYPES[wanted.type]
        if array is None or array.dtype not in types:
            held = type(value).__name__ if array is None else array.dtype
            raise _misfit(what, f"{name!r} holds {held}, expected {words}")
        shape = tuple(int(d) if d.isdigit() else sizes.get(d) for d in wanted.shape)
        if array.ndim != len(shape) or any(d not in (None, n) for d, n in zip(shape, array.shape, strict=True)):
            said = ", ".join(d if n is None else str(n) for d, n in zip(wanted.shape, shape, strict=True))
            raise _misfit(what, f"{name!r} has the shape {array.shape}, expected ({said})")
        for letter, length in zip(wanted.shape, array.shape, strict=True):
            if not letter.isdigit() and sizes.setdefault(letter, length) != length:  # a letter twice in one shape
                raise _misfit(what, f"{name!r} has the shape {array.shape}, expected equal lengths")
        _check_values(what, name, array, wanted)
        made[name] = array.item() if not shape else array.astype(np.int64) if wanted.type == "i" else value
    return made


def _array(value: Any, kind: str) -> np.ndarray | None:
    """Return an entry as an array; None for what is neither an array nor a number."""
    if isinstance(value, np.ma.MaskedArray):
        return None
    if isinstance(value, np.ndarray | np.generic):
        return np.asarray(value)
    if isinstance(value, bool) or not isinstance(value, Real):
        return np.asarray(value) if isinstance(value, bool) else None
    return np.asarray(value, dtype=float if kind in "fc" else None)  # headers of older files hold numbers


def _check_values(what: str, name: str, array: np.ndarray, wanted: Stored) -> None:
    """Raise ValueError for numbers that the array may not hold."""
    if wanted.filled and not array.size:
        raise _misfit(what, f"{name!r} is empty")
    if np.any(np.isnan(array)):
        raise _misfit(what, f"{name!r} holds NaN")
    if wanted.finite and not np.all(np.isfinite(array)):
        raise _misfit(what, f"{name!r} holds infinite numbers")
    limit = 0.0 if wanted.positive else wanted.least
    if limit is not None and not np.all(array > 0 if wanted.positive else array >= limit):
        relation = "greater than" if wanted.positive else "at least"
        raise _misfit(what, f"{name!r} holds {array.min()}, all of it must be {relation} {limit:g}")


def _misfit(what: str, why: str) -> ValueError:
    return ValueError(f"the arrays of its {what} do not fit each other: {why}")
