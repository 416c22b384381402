"""A growing cross approximation compared with a matrix that is there, and completed where rows and columns led past something."""

from __future__ import annotations

from typing import Any

import numpy as np

from lowrank.arrays import namespace, to_numpy, unit_roundoff
from lowrank.cross_check import Check, compare
from lowrank.cross_result import Stopped
from lowrank.dense import norm
from lowrank.full_pivoting import PLATEAU, SATURATION, TRUSTED, WINDOW, dense_residual
from lowrank.growing_cross import GrowingCross
from lowrank.matrix import ErrorEstimate

__all__ = ["NOISY", "SHARE", "finish", "plateau"]

#: The crosses go for this share of the tolerance, and recompression for the rest.
SHARE = 0.5
#: The residual of crosses that stopped falling is round-off if it is below this many PLATEAU u ||A||: each may be as large as that.
NOISY = 4.0


def finish(
    cross: GrowingCross, matrix: Any, rtol: float | None, limit: int, stopped: Stopped | None
) -> tuple[Stopped, Check]:
    """Why the search is over, and the error: all of A was compared. Where that is too much, full pivoting goes on first.

    `stopped` is why the search in rows and columns was given up, None for a search that was not over. 2 m n k flops, and as many a
    cross where the search goes on, in a copy of A.
    """
    u, goal = unit_roundoff(matrix), SHARE * (rtol or 0.0)
    trusted = rtol is not None and rtol > TRUSTED * u
    error, size = compare(matrix, cross.c.T, cross.u)
    floor = NOISY * PLATEAU * u * size
    if error > (goal * size if trusted or stopped == "tolerance" else floor) and cross.rank < limit:
        stopped = _eliminate(cross, matrix, goal * size, limit, trusted)
        error, size = compare(matrix, cross.c.T, cross.u)
    if error <= floor and (stopped == "round-off" or cross.rank == min(matrix.shape)):
        reason: Stopped = "round-off"
    elif rtol is not None and error <= goal * size:
        reason = "tolerance"
    else:
        reason = "rank" if cross.rank == limit else "round-off"
    return reason, Check(ErrorEstimate(error, 0.0), size, 0, 0.0, size)


def _eliminate(cross: GrowingCross, matrix: Any, goal: float, limit: int, trusted: bool) -> Stopped:
    """Crosses at the largest entries of the residual, until ||R||_F <= goal, or R is round-off."""
    xp, u = namespace(matrix), unit_roundoff(matrix)
    rest = matrix - cross.c.T @ cross.u
    for i, j in zip(cross.row_indices, cross.column_indices, strict=True):
        rest[i, :] = 0.0
        rest[:, j] = 0.0
    residual, top = dense_residual(rest), float(xp.max(xp.abs(matrix)))
    while True:
        i, j, pivot = residual.largest()
        size = float(to_numpy(xp.max(xp.abs(matrix[i, :]))))
        if abs(pivot) <= SATURATION * u * top or (not trusted and cross.is_noise(i, abs(pivot), size, u)):
            return "round-off"
        if norm(residual.array) <= goal:
            return "tolerance"
        if cross.rank == limit:
            return "rank"
        column, row = residual.eliminate(i, j, pivot)
        cross.add(i, j, column, row, size)
        if not trusted and (keep := plateau(cross, u)) is not None:
            cross.truncate(keep)
            return "round-off"


def plateau(cross: GrowingCross, u: float) -> int | None:
    """Rank to keep if the last crosses are as small as rounding errors and no longer fall."""
    now, before = max(cross.norms[-3:]), max(cross.norms[:-WINDOW][-3:], default=np.inf)  # single ones are erratic
    if now > PLATEAU * u * cross.total[-1] or now <= 0.75 * before:
        return None
    return 1 + max((k for k, size in enumerate(cross.norms) if size > 2 * now), default=-1)
