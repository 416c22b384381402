"""Blocks of a reference domain, and the affine map of each: read, checked, and found again in a mesh."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from typing import Any

import numpy as np

from problems.geometry.enclosures import not_positive
from problems.geometry.formulas import Formula, formula
from rbm.errors import ModelError
from rbm.parameters.space import ParameterSpace

__all__ = ["Piece", "Vertex", "check_fit", "check_folds", "cross", "members", "read_pieces", "read_vertices"]

#: How far a node may be outside of its block, over the block's size.
NEAR = 1e-9


@dataclass(frozen=True)
class Vertex:
    """A corner of blocks: where it is in the reference domain, exactly, and where it goes."""

    name: str
    reference: tuple[Fraction, Fraction]
    image: tuple[Formula, Formula]


@dataclass(frozen=True)
class Piece:
    """A block, or a triangle of one, with an affine map: that of its first three corners.

    block : the name of the block
    corners : of the convex polygon, counterclockwise
    """

    block: str
    corners: tuple[Vertex, ...]

    def frame(self, first: int = 0) -> tuple[np.ndarray, list[tuple[Formula, Formula]]]:
        """Return the sides t (3, 2) of the triangle of three corners from `first` on, and their images s."""
        return self._frame if first == 0 else self._sides(first)

    @cached_property
    def _frame(self) -> tuple[np.ndarray, list[tuple[Formula, Formula]]]:
        return self._sides(0)

    def _sides(self, first: int) -> tuple[np.ndarray, list[tuple[Formula, Formula]]]:
        three = [self.corners[(first + k) % len(self.corners)] for k in range(3)]
        t = [_between(three[k].reference, three[(k + 1) % 3].reference) for k in range(3)]
        s = [_difference(three[k].image, three[(k + 1) % 3].image) for k in range(3)]
        return np.array(t, dtype=object), s

    def side(self, number: int) -> tuple[tuple[Fraction, Fraction], tuple[Formula, Formula]]:
        """Return a side t of the polygon, and its image s."""
        a, b = self.corners[number], self.corners[(number + 1) % len(self.corners)]
        return _between(a.reference, b.reference), _difference(a.image, b.image)

    @cached_property
    def area(self) -> Fraction:
        """Twice the area of the triangle of the first three corners."""
        t, _ = self.frame()
        return Fraction(t[0][0] * t[1][1] - t[0][1] * t[1][0])

    @cached_property
    def image_area(self) -> Formula:
        """Twice the area of its image."""
        _, s = self.frame()
        return cross(s[0], s[1])

    def image(self, point: tuple[Fraction, Fraction]) -> tuple[Formula, Formula]:
        """Return where the map of the piece takes a point."""
        t, s = self.frame()
        x, y = _between(self.corners[0].reference, point)
        a, b = (x * t[1][1] - y * t[1][0]) / self.area, (t[0][0] * y - t[0][1] * x) / self.area
        made = [o + p.scaled(a) + q.scaled(b) for o, p, q in zip(self.corners[0].image, s[0], s[1], strict=True)]
        return made[0], made[1]

    def holds(self, point: tuple[Fraction, Fraction]) -> bool:
        """Whether a point is in the closed polygon, decided exactly."""
        count = len(self.corners)
        ends = [(self.corners[k].reference, self.corners[(k + 1) % count].reference) for k in range(count)]
        return all(_turn(a, b, point) >= 0 for a, b in ends)


def cross(a: tuple[Formula, Formula], b: tuple[Formula, Formula]) -> Formula:
    """Return a_x b_y - a_y b_x."""
    return a[0] * b[1] - a[1] * b[0]


def _between(a: tuple[Fraction, Fraction], b: tuple[Fraction, Fraction]) -> tuple[Fraction, Fraction]:
    return b[0] - a[0], b[1] - a[1]


def _difference(a: tuple[Formula, Formula], b: tuple[Formula, Formula]) -> tuple[Formula, Formula]:
    return b[0] - a[0], b[1] - a[1]


def _turn(a: tuple[Fraction, Fraction], b: tuple[Fraction, Fraction], c: tuple[Fraction, Fraction]) -> Fraction:
    """Return twice the area of the triangle, positive if it is counterclockwise."""
    (x, y), (u, v) = _between(a, b), _between(a, c)
    return x * v - y * u


def read_vertices(given: Any, names: Iterable[str]) -> dict[str, Vertex]:
    """Return the vertices {name: ((X, Y), (x, y))}; X and Y numbers, x and y formulas in the parameter names.

    Raises ModelError for anything else.
    """
    wanted = "vertices must be a dictionary {'name': ((X, Y), (x, y))}"
    if not isinstance(given, Mapping):
        raise ModelError(f"{wanted}, got {type(given).__name__}")
    made = {}
    for name, pair in given.items():
        try:
            (one, two), (x, y) = pair
        except (TypeError, ValueError):
            raise ModelError(f"{wanted}: a place in the reference domain and its image; {name!r} is {pair!r}") from None
        fixed = [formula(c, ()).constant for c in (one, two)]
        if fixed[0] is None or fixed[1] is None:
            raise ModelError(f"vertex {name!r} has the reference place {(one, two)!r}; give two numbers")
        made[name] = Vertex(str(name), (fixed[0], fixed[1]), (formula(x, names), formula(y, names)))
    return made


def read_pieces(given: Any, vertices: Mapping[str, Vertex]) -> list[Piece]:
    """Return the pieces of the blocks {name: names of three or four vertices, in their order around the block}.

    Four whose map is not affine are split by the diagonal from the first to the third.
    Raises ModelError for vertices that are unknown, too few, or on one line, and for four that are not convex.
    """
    if not isinstance(given, Mapping) or not given:
        raise ModelError(f"blocks must be a dictionary {{'name': names of three or four vertices}}, got {given!r}")
    pieces: list[Piece] = []
    for block, names in given.items():
        if not isinstance(names, list | tuple) or len(names) not in (3, 4):
            raise ModelError(f"block {block!r} must have three or four vertices, got {names!r}")
        unknown = [name for name in names if name not in vertices]
        if unknown:
            known = ", ".join(map(str, vertices))
            raise ModelError(f"block {block!r} has the vertex {unknown[0]!r}, which is none of {known}")
        corners = [vertices[name] for name in names]
        count = len(corners)
        turns = [_turn(*(corners[(k + i) % count].reference for i in range(3))) for k in range(count)]
        if turns[0] < 0:
            corners, turns = corners[::-1], [-t for t in turns]
        if not all(t > 0 for t in turns):
            what = (
                "are on one line" if count == 3 else "are not those of a convex quadrilateral, in their order around it"
            )
            raise ModelError(f"the vertices {', '.join(map(str, names))} of block {block!r} {what}")
        # the diagonal stays the one from the first vertex, which is the last of a list that was turned around
        corners = corners if corners[0].name == vertices[names[0]].name else [corners[-1], *corners[:-1]]
        whole = Piece(str(block), tuple(corners))
        if count == 4 and not _same(whole.image(corners[3].reference), corners[3].image):
            pieces += [Piece(str(block), (corners[0], corners[k], corners[k + 1])) for k in (1, 2)]
        else:
            pieces.append(whole)
    return pieces


def _same(a: tuple[Formula, Formula], b: tuple[Formula, Formula]) -> bool:
    return not (a[0] - b[0]) and not (a[1] - b[1])


def check_fit(pieces: Iterable[Piece], vertices: Mapping[str, Vertex]) -> None:
    """Raise ModelError where the maps of two blocks differ at a vertex of one of them, and where two places are one.

    Two polygons without common inner points meet in a segment whose ends are vertices: maps that agree there agree on
    the segment. Vertices are found and compared exactly.
    """
    places: dict[tuple[Fraction, Fraction], Vertex] = {}
    for vertex in vertices.values():
        other = places.setdefault(vertex.reference, vertex)
        if not _same(other.image, vertex.image):
            x, y = map(float, vertex.reference)
            raise ModelError(
                f"blocks do not fit: the vertices {other.name!r} and {vertex.name!r} are both at ({x:g}, {y:g}), but "
                f"their images are {_shown(other.image)} and {_shown(vertex.image)}"
            )
    pieces = list(pieces)
    used = {corner.name for piece in pieces for corner in piece.corners}
    for piece in pieces:
        for vertex in vertices.values():
            if vertex.name in used and piece.holds(vertex.reference):
                there = piece.image(vertex.reference)
                if not _same(there, vertex.image):
                    raise ModelError(
                        f"blocks do not fit: vertex {vertex.name!r} goes to {_shown(vertex.image)}, but the map of "
                        f"block {piece.block!r}, on whose side it is, takes it to {_shown(there)}; split that block "
                        "there, or move the vertex along the side"
                    )


def _shown(point: tuple[Formula, Formula]) -> str:
    return f"({point[0].text()}, {point[1].text()})"


def check_folds(pieces: Iterable[Piece], parameters: ParameterSpace) -> None:
    """Raise ModelError for a block whose map is not proved to keep its orientation for all parameters of the box."""
    for piece in pieces:
        determinant = piece.image_area.scaled(1 / piece.area)
        found = not_positive(determinant, parameters)
        if found is None:
            continue
        at, text = parameters.describe(found.point), determinant.text()
        if found.proved:
            raise ModelError(
                f"the map of block {piece.block!r} folds its elements at {at}: its determinant {text} is "
                f"{found.value:.3g} there; narrow the ranges of the parameters, or choose another map"
            )
        raise ModelError(
            f"the map of block {piece.block!r} cannot be shown to keep its orientation near {at}: its determinant "
            f"{text} is at most {found.value:.3g} there, or undefined; narrow the ranges of the parameters"
        )


def members(pieces: Iterable[Piece], nodes: np.ndarray, cells: np.ndarray) -> np.ndarray:
    """Return for each element the number of its piece (E,).

    nodes : (2, n); cells : (k, E) the corners of the elements. Raises ModelError for elements in no block, in two, and
    in one but for a corner.
    """
    pieces = list(pieces)
    centre = nodes[:, cells].mean(axis=1)
    found = np.full(cells.shape[1], -1)
    for number, piece in enumerate(pieces):
        inside = _inside(piece, centre, 0.0)
        out = np.flatnonzero(inside & ~np.all(_inside(piece, nodes, NEAR)[cells], axis=0))
        if len(out):
            raise ModelError(
                f"element {out[0]} of the mesh, at {_place(centre[:, out[0]])}, crosses a side of block "
                f"{piece.block!r}{_diagonal(piece, pieces)}; make the mesh so that its elements do not"
            )
        twice = np.flatnonzero(inside & (found >= 0))
        if len(twice):
            e = twice[0]
            x, y = centre[:, e]
            raise ModelError(f"blocks {pieces[found[e]].block!r} and {piece.block!r} overlap at ({x:g}, {y:g})")
        found[inside] = number
    lost = np.flatnonzero(found < 0)
    if len(lost):
        raise ModelError(f"element {lost[0]} of the mesh, at {_place(centre[:, lost[0]])}, is in no block")
    return found


def _place(point: np.ndarray) -> str:
    return f"({point[0]:g}, {point[1]:g})"


def _diagonal(piece: Piece, pieces: list[Piece]) -> str:
    """Return a hint for blocks of four vertices that were split."""
    split = sum(other.block == piece.block for other in pieces) > 1
    return f", which is split from {piece.corners[0].name!r} to the opposite vertex" if split else ""


def _inside(piece: Piece, points: np.ndarray, near: float) -> np.ndarray:
    """Return (n,) which of the points (2, n) are in the polygon, or outside by less than `near` of its size."""
    corners = np.array([[float(c) for c in corner.reference] for corner in piece.corners])
    size = float(np.max(np.ptp(corners, axis=0)))
    held = np.ones(points.shape[1], dtype=bool)
    for a, b in zip(corners, np.roll(corners, -1, axis=0), strict=True):
        side = (b - a) / np.hypot(*(b - a))
        held &= side[0] * (points[1] - a[1]) - side[1] * (points[0] - a[0]) >= -near * size
    return held
