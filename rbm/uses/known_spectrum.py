"""What is proved of the full pencil's spectrum: from the stability bound of the model, or by counts of pivots.

A stability bound :class:`rbm.stability.Pencil` has all eigenvalues beyond its cut, each with its radius. Otherwise
B - t P is eliminated at both ends of an interval: the difference of the numbers of negative pivots is the number of
eigenvalues between them (Sylvester; :mod:`rbm.solvers.inertia` proves the count up to a shift of the end).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from rbm.affine.inner_product import InnerProduct
from rbm.arithmetic.precision import ROUND_OFF
from rbm.errors import ModelError
from rbm.solvers.definite import norm_bound
from rbm.solvers.inertia import inertia
from rbm.stability.pencil import BoundPencil
from rbm.stability.pencil_terms import PencilTerms
from rbm.uses.enclosures import Group, Spectrum

__all__ = ["Count", "at_least", "counted", "of_bound", "of_groups"]

#: Ends are moved outwards by this share of the length, until they are beyond the interval by more than rounding, eight
#: times as far each time, so often.
MOVED, ATTEMPTS = 1e-11, 10


class Count(NamedTuple):
    """There are at most `number` eigenvalues in [low, high]."""

    low: float
    high: float
    number: int


def of_bound(bound: BoundPencil, low: float, high: float) -> Spectrum | None:
    """Return what a stability bound knows of the spectrum around [low, high]; None if part of it is beyond its cut."""
    first, last = map(float, bound.rest)
    if first <= high and low <= last:
        return None
    above = low > last
    order = np.argsort(bound.eigenvalues)
    values, radii = bound.eigenvalues[order], bound.radii[order]
    ends: list[list[float]] = []
    numbers: list[int] = []
    for a, b in zip(values - radii, values + radii, strict=True):
        a, b = float(np.nextafter(a, -np.inf)), float(np.nextafter(b, np.inf))
        if ends and a <= ends[-1][1]:
            ends[-1][1] = max(ends[-1][1], b)
            numbers[-1] += 1
        else:
            ends.append([a, b])
            numbers.append(1)
    limits = (float(np.nextafter(last, np.inf)), np.inf) if above else (-np.inf, float(np.nextafter(first, -np.inf)))
    return Spectrum(*limits, np.array(ends).reshape(-1, 2), np.array(numbers, dtype=int))


def counted(terms: PencilTerms, inner: InnerProduct, low: float, high: float) -> Count:
    """Return how many eigenvalues of B v = t P v lie in an interval that holds low and high, and hardly more.

    Cost: two factorisations. Raises ModelError where an elimination breaks down, or decides nothing, at each end tried.
    """
    (first, below_first), (last, below_last) = (
        _below(terms, inner, at, sign, high - low) for at, sign in ((low, -1.0), (high, 1.0))
    )
    return Count(first, last, below_last - below_first)


def at_least(terms: PencilTerms, inner: InnerProduct, low: float, high: float) -> int:
    """Return a number of eigenvalues of B v = t P v that are certainly between low and high. Two factorisations."""
    (_, below_first), (_, below_last) = (
        _below(terms, inner, at, sign, high - low) for at, sign in ((low, 1.0), (high, -1.0))
    )
    return max(below_last - below_first, 0)


def _below(terms: PencilTerms, inner: InnerProduct, end: float, sign: float, length: float) -> tuple[float, int]:
    """Return t and c: for sign < 0, t <= end with at least c eigenvalues below t; else t >= end with at most c."""
    units = inner.units
    balanced, error = units.take(inner.in_units(terms.matrix))
    size = norm_bound(balanced) + error
    for attempt in range(ATTEMPTS):
        t = end + sign * MOVED * 8.0**attempt * length
        count = inertia(balanced - t * units.product)
        if count is not None:
            rounding = 4 * ROUND_OFF * (abs(t) * units.largest + size) + abs(t) * units.product_error + error
            off = (count.error + rounding) / units.smallest * (1 + 8 * ROUND_OFF)
            if sign * (t - sign * off - end) >= 0:
                return t - sign * off, count.negative
    raise ModelError(
        f"the eigenvalues of the full model could not be counted: its elimination breaks down near t = {end:.6g}; "
        "take another range"
    )


def of_groups(count: Count, groups: list[Group]) -> Spectrum | None:
    """Return the spectrum that the groups are, if they hold as many eigenvalues as were counted; else None."""
    inside = [g for g in groups if count.low <= g.low and g.high <= count.high]
    numbers = np.array([g.holds for g in inside], dtype=int)
    if numbers.sum() < count.number:
        return None
    return Spectrum(count.low, count.high, np.array([[g.low, g.high] for g in inside]).reshape(-1, 2), numbers)
