"""The error of a growing cross approximation, from random entries, from random lines, or from all entries."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from lowrank.arrays import namespace, to_numpy
from lowrank.dense import norm as frobenius
from lowrank.growing_cross import GrowingCross
from lowrank.matrix import ErrorEstimate

__all__ = ["Check", "argmax", "compare", "modulus", "sample_residual"]

#: Entries that a check reads, or rows and columns where entries cannot be read one by one.
CHECKED_ENTRIES = 1000
CHECKED_LINES = 8
#: A sample speaks for all entries but a share of them so small that it would have missed all of that share this often.
MISSED = 1e-6
#: Entries that are compared at a time.
PIECE = 2**21


class Check(NamedTuple):
    """The residual, as far as it was seen."""

    error: ErrorEstimate  #: ||A - A_k||_F
    norm: float  #: ||A||_F
    worst: int  #: row of the largest entry seen
    unseen: float  #: share of the entries that the sample cannot speak for; 0 if all were compared
    met: float  #: ||A||_F as the sample alone has it

    @property
    def bound(self) -> float:
        """The error plus two standard errors."""
        return self.error.value + 2 * self.error.standard_error


def compare(matrix: Any, left: Any, right: Any) -> tuple[float, float]:
    """Return ||A - X Y||_F and ||A||_F of an array, by blocks of rows: 2 m n k flops, and PIECE entries at a time."""
    m, n = matrix.shape
    step = max(1, PIECE // max(n, 1))
    pieces = [(matrix[i : min(i + step, m), :], left[i : min(i + step, m), :]) for i in range(0, m, step)]
    errors = np.array([(frobenius(a - x @ right), frobenius(a)) for a, x in pieces], dtype=float).reshape(-1, 2)
    return frobenius(errors[:, 0]), frobenius(errors[:, 1])


def sample_residual(cross: GrowingCross, rng: np.random.Generator) -> Check:
    """Measure the error in fresh random entries, or in rows and columns where single entries cannot be read."""
    m, n = cross.source.shape
    if m * n == 0:
        return Check(ErrorEstimate(0.0, 0.0), 0.0, 0, 0.0, 0.0)
    error, norm, worst, unseen = _by_entries(cross, rng) if cross.source.pointwise else _by_lines(cross, rng)
    total = cross.total[-1]
    return Check(error, total if error.value < total / 10 else norm, worst, unseen, norm)  # the better known of two


def _by_entries(cross: GrowingCross, rng: np.random.Generator) -> tuple[ErrorEstimate, float, int, float]:
    m, n = cross.source.shape
    count = min(CHECKED_ENTRIES, m * n)
    i, j = np.divmod(rng.choice(m * n, count, replace=False), n)
    a, r = (np.abs(to_numpy(x)).astype(float) for x in cross.entries(i, j))
    unseen = 0.0 if count == m * n else 1 - MISSED ** (1 / count)
    return _root_sum_square(r, m * n), _root_sum_square(a, m * n).value, int(i[np.argmax(r)]), unseen


def _by_lines(cross: GrowingCross, rng: np.random.Generator) -> tuple[ErrorEstimate, float, int, float]:
    """Return the larger of two estimates, one from rows and one from columns.

    One of them may have met nothing. All rows, or all columns, are the whole matrix.
    """
    m, n = cross.source.shape
    i, j = (rng.choice(size, min(CHECKED_LINES, size), replace=False) for size in (m, n))
    (a, r), (b, s) = cross.lines(i, axis=0), cross.lines(j, axis=1)
    by_rows, by_columns = _root_sum_square(_norms(r), m), _root_sum_square(_norms(s.T), n)
    sizes = _root_sum_square(_norms(a), m).value, _root_sum_square(_norms(b.T), n).value
    k, q = divmod(argmax(cross.xp.reshape(r, (-1,))), n)
    p, t = divmod(argmax(cross.xp.reshape(s, (-1,))), len(j))
    worst = int(i[k]) if modulus(r[k, q]) >= modulus(s[p, t]) else p
    if len(i) == m:
        return by_rows, sizes[0], worst, 0.0
    if len(j) == n:
        return by_columns, sizes[1], worst, 0.0
    # entries in a share f of the rows and f of the columns are missed by all lines with probability (1 - f)^count
    unseen = (1 - MISSED ** (1 / (len(i) + len(j)))) ** 2
    larger = max(by_rows, by_columns, key=lambda e: e.value + 2 * e.standard_error)
    return larger, float(np.hypot(*sizes)) / 2**0.5, worst, unseen


def _root_sum_square(sample: np.ndarray, population: int) -> ErrorEstimate:
    """Estimate (sum x^2)^{1/2} over a population of which `sample` was drawn without replacement."""
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


def _norms(rows: Any) -> np.ndarray:
    return np.array([frobenius(rows[k, :]) for k in range(rows.shape[0])])


def argmax(x: Any) -> int:
    """Return the flat position of the entry of largest modulus."""
    xp = namespace(x)
    return int(xp.argmax(xp.abs(x)))


def modulus(x: Any) -> float:
    """Return the modulus of one number, of any array module, on the host."""
    return float(abs(to_numpy(x)[()]))
