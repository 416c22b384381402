"""Partial and rook pivoting: crosses of a matrix that is read where it is needed, and checked elsewhere."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import numpy as np

from lowrank.arrays import namespace, to_numpy, unit_roundoff
from lowrank.cross_result import CrossApproximation
from lowrank.dense import norm as vector_norm
from lowrank.entries import Entries
from lowrank.full_pivoting import PLATEAU, SATURATION, TRUSTED, WINDOW
from lowrank.growing_cross import GrowingCross
from lowrank.matrix import ErrorEstimate

__all__ = ["search"]

#: The crosses go for this share of the tolerance, and recompression for the rest;
SHARE = 0.5
#: the check is due once the last two crosses are below this share of that.
CAUTION = 0.5
#: Entries that a check reads, or rows and columns where entries cannot be read one by one.
CHECKED_ENTRIES = 1000
CHECKED_LINES = 8
#: Rows that are tried where the last column points nowhere.
TRIED = 8
#: A row is round-off below this many times its noise: with 4 partial pivoting takes a cross too many of every third matrix of
#: exact rank, with 16 it stops short in single precision.
NOISE = 8.0
#: Turns that a rook may take.
TURNS = 10


class Check(NamedTuple):
    """The residual as entries at random have it."""

    error: ErrorEstimate  #: ||A - A_k||_F
    norm: float  #: ||A||_F
    worst: int  #: row of the largest entry

    @property
    def bound(self) -> float:
        """The error, with what the estimate may be off."""
        return self.error.value + 2 * self.error.standard_error


class Row(NamedTuple):
    """A row from which a pivot is looked for."""

    i: int
    residual: Any  #: R[i, :] (n,)
    size: float  #: max |A[i, :]|
    noise: float  #: how large R[i, :] would be if it were round-off, in units of u


def search(
    source: Entries, rtol: float | None, max_rank: int | None, *, rook: bool, rng: np.random.Generator
) -> CrossApproximation:
    """Crosses until guess and check agree that ||A - A_k||_F <= rtol ||A||_F. See :func:`lowrank.cross_approximation`."""
    m, n = source.shape
    limit = min(m, n) if max_rank is None else min(max_rank, m, n)
    first = source.rows(np.arange(min(m, 1)))
    cross, u = GrowingCross(source, first), unit_roundoff(first)
    goal = SHARE * (rtol or 0.0)
    stopped: Literal["tolerance", "max_rank", "saturation"] = "max_rank"
    check: Check | None = None  # of the crosses as they are
    failed = wait = 0
    if rtol is not None and rtol >= 1:
        limit, stopped = 0, "tolerance"
    row = _read(cross, 0, u, first) if limit else None
    while cross.rank < limit:
        row = row or _try_rows(cross, u, rng)
        if row is not None:
            check, wait = None, wait - 1
            column = _add(cross, row, 1.0 if rook else u**-0.25)
            if (rtol is None or rtol <= TRUSTED * u) and (keep := _plateau(cross, u)) is not None:
                cross.truncate(keep)
                stopped = "saturation"
                break
            if wait > 0 or not _small(cross, max(CAUTION * goal, SATURATION * u)):
                row = _read(cross, _argmax(column * cross.open_rows), u)
                continue
        check = _check(cross, rng)
        if check.bound <= PLATEAU * u * cross.total[-1] and (row is None or _small(cross, SATURATION * u)):
            stopped = "saturation"
            break
        if check.bound <= goal * (cross.total[-1] - check.error.value):
            stopped = "tolerance"
            break
        if not len(cross.list_open_rows()):
            break
        failed += 1
        wait = min(failed, WINDOW)
        row = _read(cross, check.worst, u)
    check = check or _check(cross, rng)
    if stopped == "max_rank":  # reached at the last moment?
        floor = (PLATEAU if cross.rank == min(m, n) else SATURATION) * u
        if check.bound <= floor * cross.total[-1]:
            stopped = "saturation"
        elif check.bound <= goal * (cross.total[-1] - check.error.value):
            stopped = "tolerance"
    c, r = cross.factors()
    return CrossApproximation(
        c,
        r,
        np.array(cross.row_indices, dtype=int),
        np.array(cross.column_indices, dtype=int),
        np.array(cross.pivots, dtype=complex if np.iscomplexobj(cross.pivots) else float),
        np.array([*cross.norms, check.error.value]),
        stopped,
        check.error,
        check.norm,
        source.read,
        rtol=rtol or 0.0,
        sampled=True,
    )


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
    """The largest of a few open rows at random, None if all of them are round-off. Before the first cross all rows are tried."""
    xp, tried = cross.xp, TRIED
    while len(rows := cross.list_open_rows()):
        i = rng.choice(rows, min(tried, len(rows)), replace=False)
        residual, sizes, noise = cross.rows(i)
        largest = to_numpy(xp.max(xp.abs(residual), axis=1)).astype(float)
        for k in np.flatnonzero(largest <= NOISE * u * noise):
            cross.close(int(i[k]))
        best = int(np.argmax(largest))
        if cross.is_open(int(i[best])):
            return Row(int(i[best]), residual[best, :], float(sizes[best]), float(noise[best]))
        if cross.rank:
            return None
        tried = min(2 * tried, 8 * TRIED)
    return None


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


def _plateau(cross: GrowingCross, u: float) -> int | None:
    """Rank to keep if the last crosses are as small as rounding errors and no longer fall."""
    now, before = max(cross.norms[-3:]), max(cross.norms[:-WINDOW][-3:], default=np.inf)  # single ones are erratic
    if now > PLATEAU * u * cross.total[-1] or now <= 0.75 * before:
        return None
    return 1 + max((k for k, size in enumerate(cross.norms) if size > 2 * now), default=-1)


def _check(cross: GrowingCross, rng: np.random.Generator) -> Check:
    """Errors in fresh entries at random, or in rows and columns where single entries cannot be read."""
    m, n = cross.source.shape
    if m * n == 0:
        return Check(ErrorEstimate(0.0, 0.0), 0.0, 0)
    if cross.source.pointwise:
        i, j = np.divmod(rng.choice(m * n, min(CHECKED_ENTRIES, m * n), replace=False), n)
        a, r = (np.abs(to_numpy(x)).astype(float) for x in cross.entries(i, j))
        error, norm, worst = _root_sum_square(r, m * n), _root_sum_square(a, m * n), int(i[np.argmax(r)])
    else:
        i, j = (rng.choice(size, min(CHECKED_LINES, size), replace=False) for size in (m, n))
        (a, r), (b, s) = cross.lines(i, axis=0), cross.lines(j, axis=1)
        error = _mean(_root_sum_square(_norms(r), m), _root_sum_square(_norms(s.T), n))
        norm = _mean(_root_sum_square(_norms(a), m), _root_sum_square(_norms(b.T), n))
        k, q = divmod(_argmax(cross.xp.reshape(r, (-1,))), n)
        p, t = divmod(_argmax(cross.xp.reshape(s, (-1,))), len(j))
        worst = int(i[k]) if _modulus(r[k, q]) >= _modulus(s[p, t]) else p
    total = cross.total[-1]
    return Check(error, total if error.value < total / 10 else norm.value, worst)  # the better known of two


def _root_sum_square(sample: np.ndarray, population: int) -> ErrorEstimate:
    """(sum x^2)^{1/2} over a population of which `sample` was drawn without replacement."""
    count, largest = len(sample), float(np.max(sample))
    if largest == 0:
        return ErrorEstimate(0.0, 0.0)
    squares = (sample / largest) ** 2
    mean = float(np.mean(squares))
    value = largest * (population * mean) ** 0.5
    if count == population:
        return ErrorEstimate(value, 0.0)
    deviation = float(np.std(squares, ddof=1)) * ((1 - count / population) / count) ** 0.5
    return ErrorEstimate(value, value * deviation / (2 * mean))


def _mean(*estimates: ErrorEstimate) -> ErrorEstimate:
    """Two estimates of one number as one, by the mean of their squares; one that is exact stands alone."""
    for e in estimates:
        if e.standard_error == 0:
            return e
    (v, s), (w, t) = estimates
    value = float(np.hypot(v, w)) / 2**0.5
    return ErrorEstimate(value, float(np.hypot(v / value * s, w / value * t)) / 2)


def _norms(rows: Any) -> np.ndarray:
    return np.array([vector_norm(rows[k, :]) for k in range(rows.shape[0])])


def _argmax(x: Any) -> int:
    xp = namespace(x)
    return int(xp.argmax(xp.abs(x)))


def _modulus(x: Any) -> float:
    return float(abs(to_numpy(x)[()]))
