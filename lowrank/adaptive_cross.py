"""Cross approximation with partial and rook pivoting.

Only the rows and columns that are needed are read; the error is checked in other entries. Where the whole matrix is at
hand, or as much of it was read, all entries are compared in the end, and what was missed is taken with full pivoting.
"""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import numpy as np

from lowrank.arrays import namespace, to_numpy, unit_roundoff
from lowrank.cross_check import Check, argmax, compare, modulus, sample_residual
from lowrank.cross_result import CrossApproximation, Stopped
from lowrank.dense import norm
from lowrank.entries import Entries
from lowrank.full_pivoting import PLATEAU, SATURATION, TRUSTED, WINDOW, dense_residual
from lowrank.growing_cross import NOISE, GrowingCross
from lowrank.matrix import ErrorEstimate

__all__ = ["NOISY", "search"]

#: The crosses go for this share of the tolerance, and recompression for the rest.
SHARE = 0.5
#: The residual of crosses that stopped falling is round-off if it is below this many PLATEAU u ||A||: each may be as
#: large as that.
NOISY = 4.0
#: The check is due once the last two crosses are below this share of what they go for.
CAUTION = 0.5
#: Rows that are tried where the last column points nowhere.
TRIED = 8
#: Turns that a rook may take.
TURNS = 10


class Row(NamedTuple):
    """A row of the residual in which a pivot is looked for."""

    i: int
    residual: Any  #: R[i, :] (n,)
    size: float  #: max |A[i, :]|
    noise: float  #: how large R[i, :] would be if it were round-off, in units of u


def search(
    source: Entries, rtol: float | None, rank: int | None, *, rook: bool, rng: np.random.Generator
) -> tuple[CrossApproximation, float]:
    """Take crosses until guess and check agree that ||A - A_k||_F <= rtol ||A||_F.

    The second value is ||A||_F as the check alone estimates it.

    See :func:`lowrank.cross_approximation`.
    """
    m, n = source.shape
    limit = min(m, n) if rank is None else min(rank, m, n)
    first = source.rows(np.arange(min(m, 1)))
    cross = GrowingCross(source, first)
    if rtol is not None and rtol >= 1:
        limit = 0
    stopped, check = _follow(cross, first, rtol, limit, rook, rng)
    if source.array is not None or stopped == "reading":
        stopped, check = _finish(cross, source.whole(), rtol, limit, None if stopped == "reading" else stopped)
    assert check is not None
    found = CrossApproximation(
        *cross.factors(),
        np.array(cross.row_indices, dtype=int),
        np.array(cross.column_indices, dtype=int),
        np.array(cross.pivots, dtype=complex if np.iscomplexobj(cross.pivots) else float),
        np.array([*cross.norms, check.error.value]),
        "tolerance" if rtol is not None and rtol >= 1 else stopped,
        check.error,
        check.norm,
        source.read,
        rtol=rtol or 0.0,
        sampled=check.unseen > 0,
        unseen=check.unseen,
        largest=source.largest,
        pivoting="rook" if rook else "partial",
    )
    return found, check.met


def _follow(
    cross: GrowingCross, first: Any, rtol: float | None, limit: int, rook: bool, rng: np.random.Generator
) -> tuple[Stopped | Literal["reading"], Check | None]:
    """Take crosses from row to column to row, until a sample agrees that they are enough; return that sample, too.

    "reading": as many entries were read in rows and columns as there are, and all of them are better looked at.
    """
    m, n = cross.source.shape
    u, goal = unit_roundoff(first), SHARE * (rtol or 0.0)
    failed = wait = checked = 0
    row = _read(cross, 0, u, first) if limit else None
    while cross.rank < limit:
        if cross.source.read - checked > m * n:
            return "reading", None
        row = row or _try_rows(cross, u, rng)
        if row is not None:
            wait -= 1
            column = _add(cross, row, 1.0 if rook else u**-0.25)
            keep = _plateau(cross, u) if rtol is None or rtol <= TRUSTED * u else None
            if keep is None and (wait > 0 or not _small(cross, max(CAUTION * goal, SATURATION * u))):
                row = _read(cross, argmax(column * cross.open_rows), u)
                continue
        else:
            keep = None
        before = cross.source.read
        check = sample_residual(cross, rng)
        agreed: Stopped | None = None
        if keep is not None and check.bound <= NOISY * PLATEAU * u * cross.total[-1]:
            cross.truncate(keep)
            agreed, check = "round-off", sample_residual(cross, rng)
        elif check.bound <= PLATEAU * u * cross.total[-1] and (row is None or _small(cross, SATURATION * u)):
            agreed = "round-off"
        elif check.bound <= goal * (cross.total[-1] - check.error.value):
            agreed = "tolerance"
        elsewhere = _elsewhere(cross, u, rng) if agreed else None
        checked += cross.source.read - before
        if agreed and elsewhere is None:
            return agreed, check
        if not len(cross.list_open_rows()):
            return "reading", None
        failed += 1
        wait = min(failed, WINDOW)
        row = elsewhere or _read(cross, check.worst, u)
    check = sample_residual(cross, rng)  # reached at the last moment?
    floor = (PLATEAU if cross.rank == min(m, n) else SATURATION) * u
    if check.bound <= floor * cross.total[-1]:
        return "round-off", check
    if check.bound <= goal * (cross.total[-1] - check.error.value):
        return "tolerance", check
    return "rank", check


def _read(cross: GrowingCross, i: int, u: float, a: Any = None) -> Row | None:
    """Return row i of the residual, None if it is closed or all round-off, which closes it."""
    if not cross.is_open(i):
        return None
    residual, sizes, noise = cross.rows(np.array([i]), a)
    residual = residual[0, :]
    if modulus(residual[argmax(residual)]) <= NOISE * u * noise[0]:
        cross.close(i)
        return None
    return Row(i, residual, float(sizes[0]), float(noise[0]))


def _try_rows(cross: GrowingCross, u: float, rng: np.random.Generator) -> Row | None:
    """Return the largest of a few open rows at random, None if all of them are round-off."""
    return _largest(cross, rows, u, rng) if len(rows := cross.list_open_rows()) else None


def _elsewhere(cross: GrowingCross, u: float, rng: np.random.Generator) -> Row | None:
    """Return a row of a part of the matrix that no cross has met, None if a few lines there are zero.

    A second block on the diagonal is such a part.

    Of an array all entries are compared anyhow.
    """
    if cross.source.array is not None or not cross.rank:
        return None
    rows, columns = cross.list_unconnected()
    if not len(rows) or not len(columns):
        return None
    if (row := _largest(cross, rows, u, rng)) is not None:
        return row
    a = to_numpy(cross.source.columns(rng.choice(columns, min(TRIED, len(columns)), replace=False)))
    sizes = np.max(np.abs(a[rows, :]), axis=1)
    return _read(cross, int(rows[np.argmax(sizes)]), u) if np.any(sizes) else None


def _largest(cross: GrowingCross, rows: np.ndarray, u: float, rng: np.random.Generator) -> Row | None:
    """Return the largest of a few of these open rows, at random; None if all are round-off, which closes them."""
    xp = cross.xp
    i = rng.choice(rows, min(TRIED, len(rows)), replace=False)
    residual, sizes, noise = cross.rows(i)
    largest = to_numpy(xp.max(xp.abs(residual), axis=1)).astype(float)
    for k in np.flatnonzero(largest <= NOISE * u * noise):
        cross.close(int(i[k]))
    best = int(np.argmax(largest))
    if not cross.is_open(int(i[best])):
        return None
    return Row(int(i[best]), residual[best, :], float(sizes[best]), float(noise[best]))


def _add(cross: GrowingCross, row: Row, reach: float) -> Any:
    """Add the cross at the largest entry of `row`; return its column c (m,).

    If an entry of the column is larger by more than the factor `reach`, the search goes on in that row, by turns.
    """
    j = argmax(row.residual)
    column = cross.column(j)
    for _ in range(TURNS):
        i = argmax(column)
        if not modulus(column[i]) > reach * modulus(row.residual[j]):
            break
        residual, sizes, noise = cross.rows(np.array([i]))
        row = Row(i, residual[0, :], float(sizes[0]), float(noise[0]))
        before, j = j, argmax(row.residual)
        if j == before:
            break
        column = cross.column(j)
    in_row, in_column = (to_numpy(x)[()] for x in (row.residual[j], column[row.i]))
    if not abs(in_row - in_column) <= unit_roundoff(column) ** 0.25 * row.noise:
        raise ValueError(
            f"rows and columns do not belong to one matrix: in the residual at ({row.i}, {j}) the row has "
            f"{in_row:.6g}, the column {in_column:.6g}"
        )
    return cross.append(row.i, j, row.residual, column, row.size)


def _small(cross: GrowingCross, level: float) -> bool:
    """Return whether the last two crosses are at most `level` times A_k."""
    return max(cross.norms[-2:], default=np.inf) <= level * cross.total[-1]


def _finish(
    cross: GrowingCross, matrix: Any, rtol: float | None, limit: int, stopped: Stopped | None
) -> tuple[Stopped, Check]:
    """Return why the search is over, and the error in all entries of A.

    Where the error is too large, crosses by full pivoting are added first.

    `stopped` is why the search in rows and columns was given up, None for a search that was not over. 2 m n k flops,
    and as many a cross where the search goes on, in a copy of A.
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
    """Take crosses at the largest entries of the residual, until ||R||_F <= goal, or R is round-off."""
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
        if not trusted and (keep := _plateau(cross, u)) is not None:
            cross.truncate(keep)
            return "round-off"


def _plateau(cross: GrowingCross, u: float) -> int | None:
    """Return the rank to keep if the last crosses are as small as rounding errors and no longer fall, else None."""
    now, before = max(cross.norms[-3:]), max(cross.norms[:-WINDOW][-3:], default=np.inf)  # single ones are erratic
    if now > PLATEAU * u * cross.total[-1] or now <= 0.75 * before:
        return None
    return 1 + max((k for k, size in enumerate(cross.norms) if size > 2 * now), default=-1)
