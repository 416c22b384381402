"""The cells that VTK knows, by the places of their nodes, and how they are cut into linear ones for a drawing."""

from __future__ import annotations

from functools import cache

import numpy as np

__all__ = ["CELLS", "cell_of", "cut", "dimension_of", "linear_pieces", "named", "oriented"]

_LINE = ((0, 0, 0), (1, 0, 0))
_TRIANGLE = (*_LINE, (0, 1, 0))
_QUAD = (*_LINE, (1, 1, 0), (0, 1, 0))
_TETRA = (*_TRIANGLE, (0, 0, 1))
_HEX = (*_QUAD, *((x, y, 1) for x, y, _ in _QUAD))
_WEDGE = (*_TRIANGLE, *((x, y, 1) for x, y, _ in _TRIANGLE))


def _with(corners: tuple[tuple[int, ...], ...], *groups: str) -> tuple[tuple[float, ...], ...]:
    """Return the corners, and after them the midpoints of some of them, a group of their digits for each."""
    middles = [np.mean([corners[int(k)] for k in group], axis=0) for group in groups]
    return (*corners, *(tuple(m.tolist()) for m in middles))


_HEX_EDGES = ("01", "12", "23", "30", "45", "56", "67", "74", "04", "15", "26", "37")
_HEX_FACES = ("0473", "1265", "0154", "3267", "0123", "4567", "01234567")
#: {meshio's name: (dimension, places of the nodes in the reference cell)}, in VTK's order.
CELLS: dict[str, tuple[int, np.ndarray]] = {
    name: (dimension, np.array(places, dtype=float)[:, :dimension])
    for name, dimension, places in (
        ("line", 1, _LINE),
        ("line3", 1, _with(_LINE, "01")),
        ("triangle", 2, _TRIANGLE),
        ("triangle6", 2, _with(_TRIANGLE, "01", "12", "20")),
        ("quad", 2, _QUAD),
        ("quad8", 2, _with(_QUAD, "01", "12", "23", "30")),
        ("quad9", 2, _with(_QUAD, "01", "12", "23", "30", "0123")),
        ("tetra", 3, _TETRA),
        ("tetra10", 3, _with(_TETRA, "01", "12", "20", "03", "13", "23")),
        ("hexahedron", 3, _HEX),
        ("hexahedron20", 3, _with(_HEX, *_HEX_EDGES)),
        ("hexahedron27", 3, _with(_HEX, *_HEX_EDGES, *_HEX_FACES)),
        ("wedge", 3, _WEDGE),
    )
}
#: Names of linear cells, by dimension.
SIMPLICES = {1: "line", 2: "triangle", 3: "tetra"}


def named(nodes: int, dimension: int) -> str | None:
    """Return the name of the cell with so many nodes in a space of that dimension; None if no cell has as many.

    >>> named(3, 2), named(4, 2), named(4, 3), named(3, 3), named(5, 2)
    ('triangle', 'quad', 'tetra', 'triangle', None)
    """
    found = [name for name, (d, places) in CELLS.items() if len(places) == nodes and d <= dimension]
    return max(found, key=dimension_of) if found else None


def dimension_of(name: str) -> int:
    """Return the dimension of a cell by its name; -1 for one that is not in the table."""
    return CELLS[name][0] if name in CELLS else -1


def cell_of(places: np.ndarray) -> tuple[str, np.ndarray]:
    """Return the name and nodes (c, k) of the cells that nodes at these places (l, d) of a reference cell make.

    One cell of the table, if there is one with these nodes, and simplices between them otherwise.
    """
    for name, (_, known) in CELLS.items():
        if known.shape == places.shape:
            apart = np.abs(known[:, None] - places[None]).max(axis=2)
            if np.all(apart.min(axis=1) < 1e-9):
                return name, apart.argmin(axis=1)[None]
    return SIMPLICES[places.shape[1]], cut(places)


def cut(places: np.ndarray) -> np.ndarray:
    """Return simplices (s, d + 1) between nodes at the places (l, d) of a convex reference cell."""
    if places.shape[1] == 1:
        order = np.argsort(places[:, 0])
        return np.stack([order[:-1], order[1:]], axis=1)
    from scipy.spatial import Delaunay  # takes a tenth of a second to load

    simplices = np.asarray(Delaunay(places).simplices, dtype=int)
    edges = places[simplices[:, 1:]] - places[simplices[:, :1]]
    volumes = np.linalg.det(edges)
    simplices[volumes < 0] = simplices[volumes < 0][:, [1, 0, *range(2, places.shape[1] + 1)]]
    return simplices[np.abs(volumes) > 1e-9]


@cache
def linear_pieces(name: str) -> np.ndarray:
    """Return the simplices (s, d + 1) that a cell is drawn by, as numbers of its nodes.

    >>> linear_pieces("triangle6").shape, linear_pieces("quad").shape
    ((4, 3), (2, 3))
    """
    made = cut(CELLS[name][1])
    made.setflags(write=False)
    return made


def oriented(name: str, nodes: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Return cells (C, k) with those turned over whose nodes at these points (P, d) go round the wrong way.

    Points with more coordinates than cells have no wrong way.
    """
    dimension, places = CELLS[name]
    if dimension < 2 or points.shape[1] != dimension:
        return nodes
    ends = np.eye(dimension)
    beside = [int(np.argmin(np.abs(places - end).sum(axis=1))) for end in ends]
    edges = points[nodes[:, beside]] - points[nodes[:, :1]]
    wrong = np.linalg.det(edges) < 0
    mirrored = places[:, [1, 0, *range(2, dimension)]]
    turn = np.abs(mirrored[:, None] - places[None]).max(axis=2).argmin(axis=1)
    return np.where(wrong[:, None], nodes[:, turn], nodes)
