"""Facets of a mesh that lie on sides of pieces, and the lengths of the images of sides."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np

from problems.geometry.enclosures import not_positive
from problems.geometry.formulas import Formula, formula, of_function, rational_root
from problems.geometry.pieces import Piece
from rbm.errors import ModelError
from rbm.parameters.space import ParameterSpace

__all__ = ["facet_numbers", "side_ratio", "sides"]

#: How far the ends of a facet may be from a side of their block, over its length.
NEAR = 1e-9


def facet_numbers(mesh: Any, given: Any) -> np.ndarray:
    """Return the numbers of facets: all of the boundary for None, those of a name of ``mesh.boundaries``, or numbers.

    Raises ModelError for a name that there is none of, and for numbers of no facet.
    """
    if given is None:
        return np.asarray(mesh.boundary_facets())
    if isinstance(given, str):
        known = mesh.boundaries or {}
        if given not in known:
            raise ModelError(f"the mesh has no boundary {given!r}; its boundaries are {', '.join(known) or 'none'}")
        return np.asarray(known[given])
    facets = np.unique(np.asarray(given))
    count = mesh.facets.shape[1]
    if facets.ndim != 1 or facets.dtype.kind not in "iu" or not len(facets) or facets[0] < 0 or facets[-1] >= count:
        raise ModelError(f"facets must be numbers from 0 to {count - 1}, or a name of a boundary, got {given!r}")
    return facets


def sides(mesh: Any, pieces: tuple[Piece, ...], number: np.ndarray, facets: np.ndarray) -> dict[tuple[int, int], Any]:
    """Return the facets by (piece, side of its polygon); ModelError for one that is on no side of its piece."""
    found = np.full(len(facets), -1)
    owner = number[mesh.f2t[0, facets]]
    for n in np.unique(owner):
        mine = np.flatnonzero(owner == n)
        ends = mesh.p[:, mesh.facets[:, facets[mine]]]  # (2, 2, k)
        corners = np.array([[float(c) for c in corner.reference] for corner in pieces[n].corners])
        for k, a in enumerate(corners):
            side = corners[(k + 1) % len(corners)] - a
            away = side[0] * (ends[1] - a[1]) - side[1] * (ends[0] - a[0])
            found[mine[np.all(np.abs(away) <= NEAR * (side @ side), axis=0)]] = k
    if np.any(found < 0):
        f = facets[np.argmax(found < 0)]
        x, y = mesh.p[:, mesh.facets[:, f]].mean(axis=1)
        raise ModelError(
            f"facet {f} of the mesh, at ({x:g}, {y:g}), is on no side of its block "
            f"{pieces[owner[np.argmax(found < 0)]].block!r}: its length is no multiple of one formula; choose blocks "
            "whose sides are the boundary"
        )
    keys = sorted(set(zip(owner.tolist(), found.tolist(), strict=True)))
    return {(n, k): facets[(owner == n) & (found == k)] for n, k in keys}


def side_ratio(t: Any, s: tuple[Formula, Formula], parameters: ParameterSpace) -> Formula:
    """Return |s| / |t| for a side t, rational numbers, and its image s.

    It is |q| (1 + r^2)^(1/2) / |t| where s = (r q, q) with a rational number r, else a square root of a formula. The
    sign of q is proved; roots of numbers are rounded, where they are not rational.
    """
    below = t[0] ** 2 + t[1] ** 2
    if not s[0] or not s[1]:
        return _modulus(s[0] if s[0] else s[1], parameters).scaled(_root(1 / below))
    ratio = s[0].ratio(s[1])
    if ratio is not None:
        return _modulus(s[1], parameters).scaled(_root((1 + ratio**2) / below))
    square = s[0] * s[0] + s[1] * s[1]
    number = abs(square.primitive()[0])
    rest = square.scaled(1 / number)
    return (rest if rest.constant == 1 else of_function("sqrt", rest)).scaled(_root(number / below))


def _root(value: Fraction) -> Fraction:
    """Return the square root of a positive number: itself, or the double that is next to it."""
    exact = rational_root(value)
    return Fraction(float(value) ** 0.5) if exact is None else exact


def _modulus(q: Formula, parameters: ParameterSpace) -> Formula:
    for candidate in (q, -q):
        if not_positive(candidate, parameters) is None:
            return candidate
    return formula(f"abs({q.text()})", parameters.names)
