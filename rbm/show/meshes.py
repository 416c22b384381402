"""The user's mesh as points and cells for drawing, and which unknown of the model is at each of its nodes."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from lowrank.optional import require
from rbm.errors import ModelError
from rbm.show.cells import CELLS, cell_of, dimension_of, linear_pieces, named, oriented
from rbm.show.mesh_fields import read_mesh

__all__ = ["FieldMesh", "field_mesh"]

#: Nodes of one unknown that lie further apart than this share of the mesh's size are drawn apart (periodic meshes).
TOGETHER = 1e-9


@dataclass(frozen=True, eq=False)
class FieldMesh:
    """Nodes and cells of a mesh, and the numbers of the unknowns of the whole model at the nodes."""

    points: np.ndarray  #: (P, d)
    cells: tuple[tuple[str, np.ndarray], ...]  #: names as meshio's, and nodes (C, k) in VTK's order
    unknowns: np.ndarray  #: (P,), or (P, c) of a field with c components
    count: int  #: of the unknowns that the mesh speaks of: of a Basis all of them, else P
    kind: str = "mesh"  #: what was given, for messages

    @property
    def dimension(self) -> int:
        """The dimension of the cells that are drawn: the largest there is."""
        return max(dimension_of(name) for name, _ in self.cells)

    @property
    def flat(self) -> int:
        """The number of coordinates that matter: points of a plane in space have two."""
        spread = np.ptp(self.points, axis=0)
        used = np.flatnonzero(spread > 1e-12 * spread.max(initial=0.0))
        return int(used.max(initial=0)) + 1

    @cached_property
    def simplices(self) -> np.ndarray:
        """The lines, triangles or tetrahedra (T, dimension + 1) that the cells are drawn by."""
        parts = [nodes[:, linear_pieces(name)] for name, nodes in self.cells if dimension_of(name) == self.dimension]
        return np.concatenate([p.reshape(-1, self.dimension + 1) for p in parts])

    @property
    def grid(self) -> Any:
        """Points and cells as a meshio.Mesh."""
        meshio = require("meshio", "meshio", "writing a field", "mesh")
        return meshio.Mesh(self.points, list(self.cells))


def field_mesh(given: Any, unknowns: Any = None) -> FieldMesh:
    """Return the mesh that :func:`rbm.fields` was given, checked.

    given : a skfem.Basis whose elements have nodal values, or a skfem mesh, for its linear elements; a meshio.Mesh, or
        the path of its file; (points (P, d), cells (C, k)), or cells as a list of (meshio's name, nodes)
    unknowns : (P,) or (P, c) the unknown of the whole model at each node, by default its number; of a Basis (n,) the
        unknown of each of its degrees of freedom

    Raises ModelError for anything else, with what to give; FileNotFoundError and FileFormatError for files.
    """
    if isinstance(given, str | os.PathLike):
        return field_mesh(read_mesh(given), unknowns)
    if isinstance(given, FieldMesh):
        return given
    if hasattr(given, "element_dofs") and hasattr(given, "elem"):
        return _of_basis(given, unknowns)
    if hasattr(given, "p") and hasattr(given, "t") and hasattr(given, "elem"):
        skfem = require("skfem", "scikit-fem", "a field on a scikit-fem mesh")
        return _of_basis(skfem.Basis(given, given.elem()), unknowns)
    if hasattr(given, "points") and hasattr(given, "cells"):
        return _of_points(given.points, [(block.type, block.data) for block in given.cells], unknowns)
    if isinstance(given, tuple | list) and len(given) == 2:
        return _of_points(given[0], given[1], unknowns)
    raise ModelError(
        "a mesh for fields is a skfem.Basis, a meshio.Mesh, the path of a mesh file, or (points, cells); got a "
        f"{type(given).__name__}"
    )


def _of_basis(basis: Any, unknowns: Any) -> FieldMesh:
    """Return nodes and cells of a scikit-fem basis; its nodes are the places of the degrees of freedom."""
    if any("Facet" in kind.__name__ for kind in type(basis).__mro__):
        raise ModelError("a basis of facets holds no field in the inside; give the skfem.Basis of the whole mesh")
    whole = basis.elem
    count = int(whole.dim) if type(whole).__name__ == "ElementVector" else 0
    element = whole.elem if count else whole
    places, nodes = _nodal(element)
    dofs = np.asarray(basis.element_dofs)
    several = max(count, 1)
    table = dofs.reshape(-1, several, dofs.shape[1])[nodes]  # (l, c, C)
    where = np.asarray(basis.mapping.F(places.T, tind=basis.tind))  # (d, C, l)
    where = np.moveaxis(where, 0, 2).swapaxes(0, 1).reshape(-1, where.shape[0])  # (l C, d), as the first of the table
    first = table[:, 0].ravel()
    _, shown, back = np.unique(first, return_index=True, return_inverse=True)
    apart = np.abs(where - where[shown][back]).max(axis=1, initial=0.0)
    if np.any(apart > TOGETHER * np.ptp(where, axis=0).max(initial=0.0)):
        shown = back = np.arange(len(first))  # of a periodic mesh: one node is at several places
    local = back.reshape(len(nodes), -1)
    name, cells = cell_of(places)
    connected = local[cells].transpose(2, 0, 1).reshape(-1, cells.shape[1])
    connected = oriented(name, connected, where[shown])
    numbers = np.moveaxis(table, 1, 2).reshape(-1, several)[shown]
    kind, count_of = "basis", int(basis.N)
    if unknowns is not None:
        given = _whole(unknowns, "unknowns", (count_of,))
        numbers, count_of, kind = given[numbers], int(given.max(initial=-1)) + 1, "unknowns"
    return FieldMesh(where[shown], ((name, connected),), numbers if count else numbers[:, 0], count_of, kind)


def _nodal(element: Any) -> tuple[np.ndarray, np.ndarray]:
    """Return places (l, d) of the nodes of an element's reference cell, and the numbers (l,) of their functions.

    A function belongs to a node if it is one there and zero at all others.
    """
    name = type(element).__name__
    places = np.asarray(getattr(element, "doflocs", np.zeros((0, 0))), dtype=float)
    nodes = np.flatnonzero(np.isfinite(places).all(axis=1)) if places.ndim == 2 else np.zeros(0, dtype=int)
    nodal = len(nodes) > 0 and hasattr(element, "lbasis")
    if nodal:
        try:
            values = np.stack(
                [np.broadcast_to(element.lbasis(places[nodes].T, i)[0], len(nodes)) for i in range(len(places))]
            )
        except (ValueError, NotImplementedError, IndexError):
            nodal = False
        else:
            wanted = np.zeros_like(values)
            wanted[nodes, np.arange(len(nodes))] = 1
            nodal = values.shape == wanted.shape and bool(np.allclose(values, wanted, rtol=0, atol=1e-9))
    corners = [c for n, (d, c) in CELLS.items() if n in CORNERS and nodal and d == places.shape[1]]
    covered = [np.all(np.abs(c[:, None] - places[nodes]).max(axis=2).min(axis=1) < 1e-9) for c in corners]
    if not any(covered):
        raise ModelError(
            f"{name} has no values at the vertices, so its functions cannot be drawn as they are. Project them to "
            "elements that have, nodal = basis.with_element(skfem.ElementTriP1()) for instance, and draw those: "
            "nodal.project(basis.interpolate(u))"
            + ("; give a part of a composite basis, unknowns=basis.split_indices()[k]" if "Composite" in name else "")
        )
    return places[nodes], nodes


#: Cells whose corners the nodes of an element must cover.
CORNERS = ("line", "triangle", "quad", "tetra", "hexahedron", "wedge")


def _of_points(points: Any, cells: Any, unknowns: Any) -> FieldMesh:
    try:
        where = np.asarray(points, dtype=float)
    except (TypeError, ValueError):
        raise ModelError(f"points must be numbers (P, d), got a {type(points).__name__}") from None
    if where.ndim == 1:
        where = where[:, None]
    if where.ndim != 2 or not 1 <= where.shape[1] <= 3:
        hint = "; give their transpose" if where.ndim == 2 and where.shape[0] <= 3 else ""
        raise ModelError(f"points must have shape (P, d), d = 1, 2 or 3, got {where.shape}{hint}")
    if not np.all(np.isfinite(where)):
        raise ModelError("points hold numbers that are not finite")
    blocks = [(name, _nodes(name, nodes, len(where))) for name, nodes in _blocks(cells, where.shape[1])]
    if not any(dimension_of(name) > 0 for name, _ in blocks):
        raise ModelError(
            f"the mesh has no cells that can be drawn, only {', '.join(n for n, _ in blocks) or 'none'}; known are "
            f"{', '.join(CELLS)}"
        )
    if unknowns is None:
        return FieldMesh(where, tuple(blocks), np.arange(len(where)), len(where))
    shape = np.shape(unknowns)
    numbers = _whole(unknowns, "unknowns", (len(where), *shape[1:2]))
    return FieldMesh(where, tuple(blocks), numbers, int(numbers.max(initial=-1)) + 1, "unknowns")


def _blocks(cells: Any, dimension: int) -> Sequence[tuple[str, Any]]:
    """Return cells as (name, nodes), from a list of these or from one array, whose cells follow from its columns."""
    if isinstance(cells, list | tuple) and all(isinstance(c, list | tuple) and len(c) == 2 for c in cells):
        named_ones = [c for c in cells if isinstance(c[0], str)]
        if len(named_ones) == len(cells):
            return named_ones
    try:
        nodes = np.asarray(cells)
    except ValueError:
        nodes = np.zeros(0)
    name = named(nodes.shape[1], dimension) if nodes.ndim == 2 else None
    if name is None:
        raise ModelError(
            f"cells must be an array (C, k) of nodes, or a list of (name, nodes) such as ('triangle', nodes); got "
            f"{nodes.shape if nodes.ndim else type(cells).__name__} for points with {dimension} coordinates"
        )
    return [(name, nodes)]


def _nodes(name: str, given: Any, points: int) -> np.ndarray:
    nodes = np.asarray(given)
    if name in CELLS and (nodes.ndim != 2 or nodes.shape[1] != len(CELLS[name][1])):
        raise ModelError(f"cells of kind {name} have {len(CELLS[name][1])} nodes each, got an array {nodes.shape}")
    if nodes.dtype.kind not in "iu":
        raise ModelError(f"cells are numbers of nodes, whole numbers, got {nodes.dtype}")
    if nodes.size and not (nodes.min() >= 0 and nodes.max() < points):
        wrong = nodes.min() if nodes.min() < 0 else nodes.max()
        hint = "; they are counted from 0" if wrong == points and nodes.min() >= 1 else ""
        raise ModelError(f"a cell has the node {wrong}, but nodes are the numbers 0 to {points - 1}{hint}")
    return nodes.astype(np.int64)


def _whole(given: Any, what: str, shape: tuple[int, ...]) -> np.ndarray:
    """Return whole numbers of a shape."""
    array = np.asarray(given)
    if array.shape != shape:
        raise ModelError(f"{what} must have shape {shape}, one number a node, got {array.shape}")
    if array.dtype.kind == "f" and np.all((array == np.rint(array)) & (np.abs(array) < 2**53)):
        array = array.astype(np.int64)
    if array.dtype.kind not in "iu" or (array.size and array.min() < 0):
        least = f" from {array.min()}" if array.size and array.dtype.kind in "iufc" else ""
        raise ModelError(f"{what} must be whole numbers from 0 on, got {array.dtype}{least}")
    return array.astype(np.int64)
