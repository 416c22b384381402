"""Partial and rook pivoting: crosses of a matrix that is read where it is needed, and checked elsewhere."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import numpy as np

from lowrank.arrays import namespace, to_numpy, unit_roundoff
from lowrank.cross_check import Check, sample_residual
from lowrank.cross_result import CrossApproximation, Stopped
from lowrank.entries import Entries
from lowrank.full_pivoting import PLATEAU, SATURATION, TRUSTED, WINDOW
from lowrank.growing_cross import NOISE, GrowingCross
from lowrank.whole_cross import NOISY, SHARE, finish, plateau

__all__ = ["search"]

#: The check is due once the last two crosses are below this share of what they go for.
CAUTION = 0.5
#: Rows that are tried where the last column points nowhere.
TRIED = 8
#: Turns that a rook may take.
TURNS = 10


class Row(NamedTuple):
    """A row from which a pivot is looked for."""

    i: int
    residual: Any  #: R[i, :] (n,)
    size: float  #: max |A[i, :]|
    noise: float  #: how large R[i, :] would be if it were round-off, in units of u


def search(
    source: Entries, rtol: float | None, rank: int | None, *, rook: bool, rng: np.random.Generator
) -> tuple[CrossApproximation, float]:
    """Crosses until guess and check agree that ||A - A_k||_F <= rtol ||A||_F, and ||A||_F as the check alone has it.

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
        whole = source.whole()
        stopped, check = finish(cross, whole, rtol, limit, None if stopped == "reading" else stopped)
    assert check is not None
    c, r = cross.factors()
    found = CrossApproximation(
        c,
        r,
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
    """Crosses from row to column to row, until a sample agrees that they are enough; and that sample.

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
            keep = plateau(cross, u) if rtol is None or rtol <= TRUSTED * u else None
            if keep is None and (wait > 0 or not _small(cross, max(CAUTION * goal, SATURATION * u))):
                row = _read(cross, _argmax(column * cross.open_rows), u)
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
    """Row i of the residual; None if it is closed or all round-off, which closes it."""
    if not cross.is_open(i):
        return None
    residual, sizes, noise = cross.rows(np.array([i]), a)
    residual = residual[0, :]
    if _modulus(residual[_argmax(residual)]) <= NOISE * u * noise[0]:
        cross.close(i)
        return None
    return Row(i, residual, float(sizes[0]), float(noise[0]))


def _try_rows(cross: GrowingCross, u: float, rng: np.random.Generator) -> Row | None:
    """The largest of a few open rows at random, None if all of them are round-off."""
    return _largest(cross, rows, u, rng) if len(rows := cross.list_open_rows()) else None


def _elsewhere(cross: GrowingCross, u: float, rng: np.random.Generator) -> Row | None:
    """A row of what no row and no column has met, as of a second block on the diagonal; None if a few lines there are zero.

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
    """The largest of a few of these open rows, at random; None if all of them are round-off, which closes them."""
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
    """The cross at the largest entry of `row`, or at one larger by more than `reach`, by turns in columns and rows; its c (m,)."""
    j = _argmax(row.residual)
    column = cross.column(j)
    for _ in range(TURNS):
        i = _argmax(column)
        if not _modulus(column[i]) > reach * _modulus(row.residual[j]):
            break
        residual, sizes, noise = cross.rows(np.array([i]))
        row = Row(i, residual[0, :], float(sizes[0]), float(noise[0]))
        before, j = j, _argmax(row.residual)
        if j == before:
            break
        column = cross.column(j)
    in_row, in_column = (to_numpy(x)[()] for x in (row.residual[j], column[row.i]))
    if not abs(in_row - in_column) <= unit_roundoff(column) ** 0.25 * row.noise:
        raise ValueError(
            f"rows and columns do not belong to one matrix: in the residual at ({row.i}, {j}) the row has {in_row:.6g}, the "
            f"column {in_column:.6g}"
        )
    return cross.append(row.i, j, row.residual, column, row.size)


def _small(cross: GrowingCross, level: float) -> bool:
    """True if the last two crosses are at most `level` times A_k."""
    return max(cross.norms[-2:], default=np.inf) <= level * cross.total[-1]


def _argmax(x: Any) -> int:
    xp = namespace(x)
    return int(xp.argmax(xp.abs(x)))


def _modulus(x: Any) -> float:
    return float(abs(to_numpy(x)[()]))
