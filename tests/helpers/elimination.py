"""Symmetric elimination in exact or ball arithmetic: the signs of pivots, which rounding cannot change."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from flint import arb

__all__ = ["negative_pivots", "pivots", "rows_of"]


def rows_of(matrix: np.ndarray, shift: float = 0.0) -> list[list[Any]]:
    """Return H + shift I in balls; the real form [[re, -im], [im, re]] if it is complex, with each eigenvalue twice."""
    h = np.block([[matrix.real, -matrix.imag], [matrix.imag, matrix.real]]) if np.iscomplexobj(matrix) else matrix
    n = len(h)
    return [[arb(float(h[i, j])) + (arb(float(shift)) if i == j else 0) for j in range(n)] for i in range(n)]


def pivots(rows: list[list[Any]]) -> Iterator[Any]:
    """Yield the pivots of a symmetric matrix, one after the other; `rows` is overwritten."""
    for k in range(len(rows)):
        yield rows[k][k]
        for i in range(k + 1, len(rows)):
            t = rows[i][k] / rows[k][k]
            for j in range(k, len(rows)):
                rows[i][j] -= t * rows[k][j]


def negative_pivots(rows: list[list[Any]]) -> int:
    """Return how many pivots are negative; each must be known to be positive or negative."""
    found = 0
    for pivot in pivots(rows):
        assert not pivot.contains(0)
        found += bool(pivot < 0)
    return found
