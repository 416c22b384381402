"""Rows of the answers for a batch: room for them, written, spread, and marked as failed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from array_api_compat import device

from lowrank.arrays import beside, namespace
from rbm.solution import Solution, mapped

__all__ = ["arrays_of", "fits", "promoted", "room_for", "spread", "views", "wipe", "write", "write_fitting"]


def room_for(part: Solution, count: int) -> Solution:
    """Return a solution for `count` points with arrays like those of `part`.

    Every point is marked as failed until it is written.
    """

    def room(array: Any, value: Any) -> Any:
        shape = (count, *array.shape[1:])
        if isinstance(array, np.ndarray):
            return np.full(shape, value, dtype=array.dtype)
        return namespace(array).full(shape, value, dtype=array.dtype, device=device(array))

    return mapped(part, room)


def spread(part: Solution, rows: np.ndarray, count: int) -> Solution:
    """Return a solution for `count` points: `part` at `rows`, all others marked as failed.

    The rows (k,) are in ascending order.
    """
    whole = room_for(part, count)
    if isinstance(part.coefficients, np.ndarray):
        write(whole, rows, part)
        return whole
    # the standard has no assignment to a list of rows: the rows of `part` are drawn to their places, others are filled
    written, source = np.zeros(count, dtype=bool), np.zeros(count, dtype=np.int64)
    written[rows], source[rows] = True, np.arange(len(rows))
    arrays = iter(_arrays(part))

    def draw(empty: Any, _: Any) -> Any:
        xp, array = namespace(empty), next(arrays)
        mask = xp.reshape(beside(written, empty), (count, *(1 for _ in empty.shape[1:])))
        return xp.where(mask, xp.take(array, beside(source, empty), axis=0), empty)

    return mapped(whole, draw)


def write(target: Solution, rows: slice | np.ndarray, part: Solution) -> None:
    """Put the answers of `part` at `rows` of `target`. The rows are a slice, unless the arrays are NumPy's."""
    for to, array in zip(_arrays(target), _arrays(part), strict=True):
        to[rows, ...] = array


def write_fitting(target: list[Any], rows: slice, part: Solution) -> bool:
    """Put the answers of `part` at `rows` of the arrays of :func:`arrays_of`; return False if they do not fit.

    Neither is walked through twice: for a small model that takes as long as the answers of a hundred points. What is a
    view of the target, made by :func:`views` for these rows, is there already.
    """
    pairs = list(zip(target, _arrays(part), strict=True))
    if not all(_holds(to, array) for to, array in pairs):
        return False
    for to, array in pairs:
        if getattr(array, "base", None) is not to:
            to[rows, ...] = array
    return True


def views(target: Solution, rows: slice) -> Solution:
    """Return `rows` of the arrays of `target`, whose memory they share."""
    return mapped(target, lambda array, _: array[rows, ...])


def arrays_of(solution: Solution) -> list[Any]:
    """Return all arrays with one row per point."""
    return list(_arrays(solution))


def wipe(target: Solution, rows: slice | np.ndarray) -> None:
    """Mark `rows` of `target` as failed, whatever was there. The rows are a slice, unless the arrays are NumPy's."""

    def clear(array: Any, value: Any) -> Any:
        array[rows, ...] = value
        return array

    mapped(target, clear)


def fits(target: Solution, part: Solution) -> bool:
    """Return False if arrays of `part` are complex where those of `target` are real.

    A callable coefficient may be either, piece by piece.
    """
    return all(_holds(to, array) for to, array in zip(_arrays(target), _arrays(part), strict=True))


def _holds(to: Any, array: Any) -> bool:
    return bool(to.dtype == array.dtype or _common(to, array) == to.dtype)


def promoted(target: Solution, part: Solution) -> Solution:
    """Return `target` with arrays that can hold `part`."""
    arrays = iter(_arrays(part))
    return mapped(target, lambda to, _: namespace(to).astype(to, _common(to, next(arrays)), copy=False))


def _common(a: Any, b: Any) -> Any:
    return a.dtype if a.dtype == b.dtype else namespace(a).result_type(a.dtype, b.dtype)


def _arrays(solution: Solution) -> Iterator[Any]:
    """Yield all arrays with one row per point, always in the same order."""
    found: list[Any] = []
    mapped(solution, lambda array, _: found.append(array))
    yield from found
