"""Solves with sparse triangular factors for eight right-hand sides at a time; used offline.

A library that solves column by column reads the factors once for each; here one pass serves eight columns, which lie in
the lanes of a register. What is done to a column does not depend on the others. Columns of L that have the same rows
are taken four or two at a time: an unknown below them is read and written once for all of them.
"""

from __future__ import annotations

from typing import Any

from rbm.online.kernels.compiler import compiled, kernel
from rbm.online.kernels.lanes import fnma, load, splat, store
from rbm.online.kernels.memory import bare

__all__ = ["WIDTH", "solve_symmetric"]

#: Right-hand sides in a register of lanes.
WIDTH = 8


@compiled
def _forward(factor: Any, lanes: Any) -> None:
    """Solve L X = B for the columns in lanes, in place."""
    starts, first_rows, rows, first_values, values, _ = factor
    for k in range(len(starts) - 1):
        j, at, begin, end = starts[k], first_values[k], first_rows[k], first_rows[k + 1]
        width = starts[k + 1] - j
        x = load(lanes, j)
        if width == 1:
            for p in range(begin, end):
                store(lanes, rows[p], fnma(splat(values[at]), x, load(lanes, rows[p])))
                at += 1
            continue
        x_1 = fnma(splat(values[at]), x, load(lanes, j + 1))
        store(lanes, j + 1, x_1)
        if width == 2:
            at += 1
            for p in range(begin, end):
                y = fnma(splat(values[at]), x, load(lanes, rows[p]))
                store(lanes, rows[p], fnma(splat(values[at + 1]), x_1, y))
                at += 2
            continue
        x_2 = fnma(splat(values[at + 2]), x_1, fnma(splat(values[at + 1]), x, load(lanes, j + 2)))
        x_3 = fnma(splat(values[at + 4]), x_1, fnma(splat(values[at + 3]), x, load(lanes, j + 3)))
        x_3 = fnma(splat(values[at + 5]), x_2, x_3)
        store(lanes, j + 2, x_2)
        store(lanes, j + 3, x_3)
        at += 6
        for p in range(begin, end):
            y = fnma(splat(values[at + 1]), x_1, fnma(splat(values[at]), x, load(lanes, rows[p])))
            store(lanes, rows[p], fnma(splat(values[at + 3]), x_3, fnma(splat(values[at + 2]), x_2, y)))
            at += 4


@compiled
def _backward(factor: Any, lanes: Any) -> None:
    """Solve D L^T X = B for the columns in lanes, in place."""
    starts, first_rows, rows, first_values, values, pivots = factor
    for back in range(len(starts) - 1):
        k = len(starts) - 2 - back
        j, inside, begin, end = starts[k], first_values[k], first_rows[k], first_rows[k + 1]
        width = starts[k + 1] - j
        at = inside + width * (width - 1) // 2
        x = load(lanes, j) / splat(pivots[j])
        if width == 1:
            for p in range(begin, end):
                x = fnma(splat(values[at]), load(lanes, rows[p]), x)
                at += 1
            store(lanes, j, x)
            continue
        x_1 = load(lanes, j + 1) / splat(pivots[j + 1])
        if width == 2:
            for p in range(begin, end):
                y = load(lanes, rows[p])
                x, x_1 = fnma(splat(values[at]), y, x), fnma(splat(values[at + 1]), y, x_1)
                at += 2
            store(lanes, j + 1, x_1)
            store(lanes, j, fnma(splat(values[inside]), x_1, x))
            continue
        x_2, x_3 = load(lanes, j + 2) / splat(pivots[j + 2]), load(lanes, j + 3) / splat(pivots[j + 3])
        for p in range(begin, end):
            y = load(lanes, rows[p])
            x, x_1 = fnma(splat(values[at]), y, x), fnma(splat(values[at + 1]), y, x_1)
            x_2, x_3 = fnma(splat(values[at + 2]), y, x_2), fnma(splat(values[at + 3]), y, x_3)
            at += 4
        x_2 = fnma(splat(values[inside + 5]), x_3, x_2)
        x_1 = fnma(splat(values[inside + 2]), x_2, fnma(splat(values[inside + 4]), x_3, x_1))
        x = fnma(splat(values[inside + 1]), x_2, fnma(splat(values[inside + 3]), x_3, x))
        store(lanes, j + 3, x_3)
        store(lanes, j + 2, x_2)
        store(lanes, j + 1, x_1)
        store(lanes, j, fnma(splat(values[inside]), x_1, x))


@kernel
def solve_symmetric(factor: Any, place: Any, rhs: Any, made: Any, lanes: Any) -> None:
    """Write X^T (m, n) with A X = B into `made`, for B^T (m, n) and A[order][:, order] = L D L^T.

    factor : L below its diagonal of ones in panels of one, two or four columns with the same rows below them
    (:func:`rbm.solvers.several.panels_of`), and the diagonal of D (n,); place (n,) : where each unknown stands in the
    order; lanes (8 n,) : scratch
    """
    factor, place, rhs, made, lanes = bare((factor, place, rhs, made, lanes))
    m, n = rhs.shape
    for first in range(0, m, WIDTH):
        count = min(WIDTH, m - first)
        for i in range(n):
            at = WIDTH * place[i]
            for c in range(count):
                lanes[at + c] = rhs[first + c, i]
            for c in range(count, WIDTH):
                lanes[at + c] = 0.0
        _forward(factor, lanes)
        _backward(factor, lanes)
        for i in range(n):
            at = WIDTH * place[i]
            for c in range(count):
                made[first + c, i] = lanes[at + c]
