"""Disjoint intervals that hold eigenvalues, from approximate eigenpairs; sharper where the others are known to be away.

**Residuals.** Of m approximate pairs with residuals R (n, m), there are m eigenvalues, counted as often as they occur,
that lie one to one within ||R|| / sigma of the m values (Kahan; Cao, Xie and Li, Linear Algebra Appl. 245 (1996)). So
an interval around a group of pairs holds at least as many, and intervals that are disjoint hold different ones.

**Separation.** If (a, b) holds one eigenvalue t, and a vector of norm one has the Rayleigh quotient rho in (a, b) and
the residual eps, then rho - eps^2 / (b - rho) <= t <= rho + eps^2 / (rho - a) (Temple; Kato, J. Phys. Soc. Japan 4
(1949)): (H - t)(H - b) is semi-definite on the spectrum, so eps^2 + (rho - t)(rho - b) >= 0; likewise with a.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from rbm.arithmetic.precision import ROUND_OFF
from rbm.uses.ritz_pairs import RitzPairs

__all__ = ["Group", "Spectrum", "grouped", "sharpened"]

#: A pair joins a group that it touches if that makes the group at most so many times longer; else it says nothing new.
GROWTH = 8.0


@dataclass(frozen=True)
class Group:
    """An interval of t that holds at least `holds` eigenvalues, and the pairs that show it."""

    low: float
    high: float
    members: tuple[int, ...]  #: numbers of the pairs

    @property
    def holds(self) -> int:
        """How many eigenvalues the interval holds at least, counted as often as they occur."""
        return len(self.members)

    def touches(self, other: Group) -> bool:
        """Return whether two intervals have a point in common."""
        return self.low <= other.high and other.low <= self.high


@dataclass(frozen=True)
class Spectrum:
    """All eigenvalues of [low, high]: `numbers` (k,) of them in disjoint intervals (k, 2), and none elsewhere."""

    low: float
    high: float
    intervals: np.ndarray
    numbers: np.ndarray


def grouped(pairs: RitzPairs, wanted: np.ndarray) -> list[Group]:
    """Return disjoint groups of the pairs `wanted` (numbers), in increasing order.

    Pairs with small residuals come first. One that touches a group and is no worse than it by more than a factor joins
    it; one that is worse is left out, since the eigenvalue it stands for may be one that is there already.
    """
    groups: list[Group] = []
    for j in sorted((int(j) for j in wanted), key=lambda j: float(pairs.residuals[j])):
        made = _around(pairs, (j,))
        if not np.isfinite(pairs.residuals[j]):
            continue
        joined, rest = made, groups
        while touched := [g for g in rest if g.touches(joined)]:
            rest = [g for g in rest if g not in touched]
            members = tuple(sorted({*joined.members, *(m for g in touched for m in g.members)}))
            joined = _around(pairs, members)
        longest = sum(g.high - g.low for g in groups if g not in rest) + np.spacing(abs(made.low))
        if joined is made or joined.high - joined.low <= GROWTH * longest:
            groups = [*rest, joined]
    return sorted(groups, key=lambda g: g.low)


def _around(pairs: RitzPairs, members: tuple[int, ...]) -> Group:
    """Return the interval of all members, with one radius for all: the norm of all residuals."""
    at = list(members)
    values, radius = pairs.values[at], float(np.linalg.norm(pairs.residuals[at])) * (1 + 8 * len(at) * ROUND_OFF)
    return Group(
        float(np.nextafter(values.min() - radius, -np.inf)), float(np.nextafter(values.max() + radius, np.inf)), members
    )


def sharpened(groups: list[Group], pairs: RitzPairs, spectrum: Spectrum | None) -> list[Group]:
    """Return the groups, those of one pair with the interval that the distance from all other eigenvalues gives."""
    if spectrum is None:
        return groups
    return [_sharper(g, pairs, spectrum) if g.holds == 1 else g for g in groups]


def _sharper(group: Group, pairs: RitzPairs, spectrum: Spectrum) -> Group:
    low, high = spectrum.intervals.T if len(spectrum.intervals) else (np.zeros(0), np.zeros(0))
    here = (low <= group.high) & (high >= group.low)
    if not (spectrum.numbers[here].sum() == 1 and spectrum.low <= group.low and group.high <= spectrum.high):
        return group
    a = float(high[high < group.low].max(initial=spectrum.low))
    b = float(low[low > group.high].min(initial=spectrum.high))
    (j,) = group.members
    rho, off = float(pairs.values[j]), float(pairs.centres[j])
    square = float(pairs.residuals[j]) ** 2 * (1 + 8 * ROUND_OFF)
    above, below = b - rho - off, rho - off - a  # both finite, or one of them infinite at the end of the spectrum
    if not (above > 0 and below > 0):
        return group
    made_low = rho - off - square / above * (1 + 8 * ROUND_OFF) - 4 * ROUND_OFF * abs(rho)
    made_high = rho + off + square / below * (1 + 8 * ROUND_OFF) + 4 * ROUND_OFF * abs(rho)
    return Group(max(group.low, made_low), min(group.high, made_high), group.members)
