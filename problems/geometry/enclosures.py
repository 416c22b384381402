"""Signs of formulas over all parameters of a box, proved by interval arithmetic."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np

from problems.geometry.formulas import PI, Formula
from problems.geometry.polynomials import Atom, Polynomial
from rbm.parameters.space import ParameterSpace

__all__ = ["NotPositive", "enclosed", "not_positive"]

#: Boxes after which a proof is given up, and those that are looked at together.
BOXES, TOGETHER = 40_000, 512
#: Floating-point numbers by which values of functions may be off, more than NumPy's are; of + - * / it is one half.
OFF = 8

Interval = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True)
class NotPositive:
    """Why a formula is not known to be positive in a box."""

    point: np.ndarray  #: (p,) where it is not, or where the proof was given up
    value: float  #: an upper bound of it there
    proved: bool  #: it is not positive at this point; else only the proof has failed near it


def not_positive(formula: Formula, space: ParameterSpace) -> NotPositive | None:
    """Return None if a formula is proved to be positive for all parameters of the space; else where it is not.

    The box is split until interval arithmetic, rounded outwards, shows a positive lower end on each part, or a point is
    found where the upper end is not positive. Both are proofs. After 40 000 parts neither is.
    """
    names = space.names
    used = [j for j, name in enumerate(names) if any(atom.text == name for atom in formula.atoms)]
    low, high = (space.bounds[None, :, k] for k in (0, 1))
    if len(used) <= 8:  # corners first, where folds begin
        corners = np.repeat(low, 2 ** len(used), axis=0)
        choice = np.arange(2 ** len(used))[:, None] >> np.arange(len(used)) & 1
        corners[:, used] = np.where(choice, high[:, used], low[:, used])
        if (found := _fold(formula, names, corners)) is not None:
            return found
    done, waiting = 0, [(low, high)]
    while waiting:
        low, high = waiting.pop()
        done += len(low)
        least = enclosed(formula, names, low, high)[0]
        open_ = ~(least > 0)
        low, high, least = low[open_], high[open_], least[open_]
        if not len(low):
            continue
        middle = low + (high - low) / 2
        if (found := _fold(formula, names, middle)) is not None:
            return found
        if done > BOXES or not used:
            k = int(np.argmin(np.where(np.isfinite(least), least, -np.inf)))
            return NotPositive(middle[k], float(enclosed(formula, names, middle[[k]], middle[[k]])[1][0]), False)
        share = (high - low)[:, used] / np.maximum(np.ptp(space.bounds[used], axis=1), 1e-300)
        rows, split = np.arange(len(low)), np.array(used)[np.argmax(share, axis=1)]
        left, right = high.copy(), low.copy()
        left[rows, split] = right[rows, split] = middle[rows, split]
        low, high = np.concatenate([low, right]), np.concatenate([left, high])
        waiting += [(low[i : i + TOGETHER], high[i : i + TOGETHER]) for i in range(0, len(low), TOGETHER)]
    return None


def _fold(formula: Formula, names: tuple[str, ...], points: np.ndarray) -> NotPositive | None:
    """Return the first of the points (M, p) where the formula is proved not to be positive."""
    most = enclosed(formula, names, points, points)[1]
    bad = np.flatnonzero(most <= 0)
    return NotPositive(points[bad[0]], float(most[bad[0]]), True) if len(bad) else None


def enclosed(formula: Formula, names: tuple[str, ...], low: np.ndarray, high: np.ndarray) -> Interval:
    """Return ends (K,), (K,) between which the formula is on the boxes low <= mu <= high, both (K, p).

    They are infinite where it is undefined somewhere in the box, or too large for double precision.
    """
    known: dict[Atom, Interval] = {Atom(name): (low[:, j], high[:, j]) for j, name in enumerate(names)}
    known[PI] = np.full(len(low), np.pi), np.full(len(low), np.pi)
    with np.errstate(all="ignore"):
        return _formula(formula, known, len(low))


def _formula(formula: Formula, known: dict[Atom, Interval], count: int) -> Interval:
    value = _polynomial(formula.numerator, known, count)
    for factor, power in formula.denominators:
        below = _polynomial(factor, known, count)
        value = _product(value, _power(below, -power))
    return value


def _polynomial(polynomial: Polynomial, known: dict[Atom, Interval], count: int) -> Interval:
    total: Interval = (np.zeros(count), np.zeros(count))
    for monomial, coefficient in polynomial.terms.items():
        value = _number(coefficient, count)
        for atom, power in monomial:
            if atom not in known:
                known[atom] = _function(str(atom.function), _formula(atom.argument, known, count))
            value = _product(value, _power(known[atom], power))
        total = _outwards(total[0] + value[0], total[1] + value[1])
    return total


def _number(value: Fraction, count: int) -> Interval:
    near = float(value)
    low, high = (near, near) if Fraction(near) == value else (np.nextafter(near, -np.inf), np.nextafter(near, np.inf))
    return np.full(count, low), np.full(count, high)


def _outwards(low: np.ndarray, high: np.ndarray, steps: int = 1) -> Interval:
    """Return the ends moved by some floating-point numbers; infinite where they are not numbers."""
    low, high = np.where(np.isnan(low), -np.inf, low), np.where(np.isnan(high), np.inf, high)
    for _ in range(steps):
        low, high = np.nextafter(low, -np.inf), np.nextafter(high, np.inf)
    return low, high


def _product(a: Interval, b: Interval) -> Interval:
    ends = np.stack([x * y for x in a for y in b])
    # 0 times infinity: nothing is known, which _outwards makes of it
    return _outwards(np.min(ends, axis=0), np.max(ends, axis=0))


def _power(a: Interval, power: int) -> Interval:
    """Return a whole power; of even ones that of an interval with 0 inside begins at 0."""
    low, high = a
    if power < 0:
        apart = (low > 0) | (high < 0)
        below = _outwards(np.where(apart, 1 / high, -np.inf), np.where(apart, 1 / low, np.inf))
        return _power(below, -power)
    made = a
    for _ in range(power - 1):
        made = _product(made, a)
    if power % 2 == 0:  # from |a|, which is tighter where a has both signs
        inside = (low <= 0) & (high >= 0)
        made = (np.where(inside, 0.0, np.maximum(made[0], 0.0)), made[1])
    return made


def _function(name: str, x: Interval) -> Interval:
    """Return an enclosure of a function; of unknown ones nothing is known."""
    low, high = x
    finite = np.isfinite(low) & np.isfinite(high)
    if name in _RISING:
        least, most = _clipped(_outwards(_RISING[name](low), _RISING[name](high), OFF), *_LIMITS[name])
        defined = (low >= 0) if name in ("log", "sqrt") else ~np.isnan(low)
        return np.where(defined, least, -np.inf), np.where(defined, most, np.inf)
    if name == "abs":
        inside = (low <= 0) & (high >= 0)
        return np.where(inside, 0.0, np.minimum(abs(low), abs(high))), np.maximum(abs(low), abs(high))
    if name == "cosh":
        low, high = _function("abs", x)
        return _clipped(_outwards(np.cosh(low), np.cosh(high), OFF), 1.0, np.inf)
    if name in ("sin", "cos"):
        # shifted so that the cosine is looked at: maxima at 2 pi k, minima at pi + 2 pi k
        shift = np.pi / 2 if name == "sin" else 0.0
        function = np.sin if name == "sin" else np.cos
        start, stop = _outwards(low - shift, high - shift, OFF)
        ends = np.stack([function(low), function(high)])
        above, below = _holds(start, stop, 0.0), _holds(start, stop, np.pi)
        least, most = _outwards(np.min(ends, axis=0), np.max(ends, axis=0), OFF)
        least, most = np.where(below | ~finite, -1.0, least), np.where(above | ~finite, 1.0, most)
        return _clipped((least, most), -1.0, 1.0)
    if name == "tan":
        start, stop = _outwards(low, high, OFF)
        pole = _holds(start, stop, np.pi / 2) | _holds(start, stop, -np.pi / 2) | ~finite
        least, most = _outwards(np.tan(low), np.tan(high), OFF)
        return np.where(pole, -np.inf, least), np.where(pole, np.inf, most)
    return np.full_like(low, -np.inf), np.full_like(high, np.inf)


def _clipped(x: Interval, low: float, high: float) -> Interval:
    return np.clip(x[0], low, high), np.clip(x[1], low, high)


def _holds(start: np.ndarray, stop: np.ndarray, where: float) -> np.ndarray:
    """Return (K,) whether an interval may hold `where` + 2 pi k for a whole k; pi is rounded, so with a margin."""
    margin = 1e-14 * (1 + np.maximum(abs(start), abs(stop)))
    first = np.ceil((start - margin - where) / (2 * np.pi))
    held: np.ndarray = where + 2 * np.pi * first <= stop + margin
    return held


#: Functions that rise where they are defined, and what values they have.
_RISING: dict[str, Any] = {
    "exp": np.exp,
    "log": np.log,
    "sqrt": np.sqrt,
    "sinh": np.sinh,
    "tanh": np.tanh,
}
_LIMITS: Mapping[str, tuple[float, float]] = {
    "exp": (0.0, np.inf),
    "log": (-np.inf, np.inf),
    "sqrt": (0.0, np.inf),
    "sinh": (-np.inf, np.inf),
    "tanh": (-1.0, 1.0),
}
