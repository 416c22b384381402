"""Solves with sparse triangular factors for eight right-hand sides at a time; used offline.

A library that solves column by column reads the factors once for each; here one pass serves eight columns, which lie in
the lanes of a register. What is done to a column does not depend on the others.
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
def _substitute(factor: Any, lanes: Any) -> None:
    """Solve L D L^T X = B for the columns in lanes, in place."""
    indptr, indices, values, pivots = factor
    n = len(pivots)
    for j in range(n):
        x = load(lanes, j)
        for p in range(indptr[j], indptr[j + 1]):
            i = indices[p]
            store(lanes, i, fnma(splat(values[p]), x, load(lanes, i)))
    for k in range(n):
        j = n - 1 - k
        x = load(lanes, j) / splat(pivots[j])
        for p in range(indptr[j], indptr[j + 1]):
            x = fnma(splat(values[p]), load(lanes, indices[p]), x)
        store(lanes, j, x)


@compiled
def _substitute_one(factor: Any, x: Any) -> None:
    """Do the same for one column (n,), with the same rounding."""
    indptr, indices, values, pivots = factor
    n = len(pivots)
    for j in range(n):
        value = x[j]
        for p in range(indptr[j], indptr[j + 1]):
            i = indices[p]
            x[i] = fnma(values[p], value, x[i])
    for k in range(n):
        j = n - 1 - k
        value = x[j] / pivots[j]
        for p in range(indptr[j], indptr[j + 1]):
            value = fnma(values[p], x[indices[p]], value)
        x[j] = value


@kernel
def solve_symmetric(factor: Any, place: Any, rhs: Any, made: Any, lanes: Any) -> None:
    """Write X^T (m, n) with A X = B into `made`, for B^T (m, n) and A[order][:, order] = L D L^T.

    factor : indptr, indices, values of L below its diagonal of ones, column by column, and the diagonal of D (n,);
    place (n,) : where each unknown stands in the order; lanes (8 n,) : scratch
    """
    factor, place, rhs, made, lanes = bare((factor, place, rhs, made, lanes))
    m, n = rhs.shape
    for first in range(0, m, WIDTH):
        count = min(WIDTH, m - first)
        if count == 1:
            for i in range(n):
                lanes[place[i]] = rhs[first, i]
            _substitute_one(factor, lanes)
            for i in range(n):
                made[first, i] = lanes[place[i]]
            continue
        for c in range(WIDTH):
            for i in range(n):
                lanes[WIDTH * place[i] + c] = rhs[first + c, i] if c < count else 0.0
        _substitute(factor, lanes)
        for c in range(count):
            for i in range(n):
                made[first + c, i] = lanes[WIDTH * place[i] + c]
