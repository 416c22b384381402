"""Grids of rectangles whose columns and rows have lengths that are parameters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from problems.geometry.formulas import Formula, formula
from problems.geometry.mapped_blocks import MappedBlocks, check_mesh, mapped_mesh
from problems.geometry.pieces import Vertex, members, read_pieces
from rbm.errors import ModelError
from rbm.parameters.space import parameter_space

__all__ = ["mapped_grid"]


def mapped_grid(
    mesh: Any,
    columns: Any,
    rows: Any,
    parameters: Any,
    *,
    origin: Any = ((0, 0), (0, 0)),
    blocks: Mapping[str, Sequence[tuple[int, int]]] | None = None,
    element: Any = None,
) -> MappedBlocks:
    """A domain of rectangles in columns and rows whose lengths are formulas in the parameters.

    mesh, parameters, element : as for :func:`mapped_blocks`
    columns, rows : [(length in the reference mesh, length), ...], from the left and from below
    origin : ((X, Y), (x, y)), the lower left corner and where it goes
    blocks : {name: [(column, row), ...]}, counted from 0; by default each cell that holds elements is a block, named
        "column,row"

    Raises ModelError as :func:`mapped_blocks`, and for cells that are not in the grid.

    Examples
    --------
    >>> import skfem
    >>> mesh = skfem.MeshTri.init_tensor(np.linspace(0, 3, 4), np.linspace(0, 1, 2))
    >>> mapped_grid(mesh, [(1, "L"), (2, 2)], [(1, "h")], {"L": (1, 2), "h": (0.5, 2)}).blocks
    ('0,0', '1,0')
    """
    space = parameter_space(parameters)
    check_mesh(mesh)
    try:
        (start, place) = origin
        lines = [_lines(lengths, start[k], place[k], space.names) for k, lengths in enumerate((columns, rows))]
    except ModelError:
        raise
    except (TypeError, ValueError):
        raise ModelError(
            "columns and rows must be lists of pairs (length in the reference mesh, length), and origin a pair of "
            f"places, got {columns!r}, {rows!r} and {origin!r}"
        ) from None
    vertices = {
        f"{i},{j}": Vertex(f"{i},{j}", (x, y), (u, v))
        for i, (x, u) in enumerate(lines[0])
        for j, (y, v) in enumerate(lines[1])
    }
    cells = [(i, j) for i in range(len(lines[0]) - 1) for j in range(len(lines[1]) - 1)]
    named = {f"{i},{j}": [(i, j)] for i, j in cells} if blocks is None else blocks
    if not isinstance(named, Mapping):
        raise ModelError(f"blocks must be a dictionary {{'name': [(column, row), ...]}}, got {named!r:.60}")
    pieces = []
    for name, of_block in named.items():
        if not isinstance(of_block, list | tuple):
            raise ModelError(f"block {name!r} must be a list of cells (column, row), got {of_block!r:.60}")
        for cell in of_block:
            if not isinstance(cell, list | tuple) or tuple(cell) not in cells:
                raise ModelError(
                    f"block {name!r} has the cell {cell!r}, which is none of the {len(lines[0]) - 1} columns and "
                    f"{len(lines[1]) - 1} rows, counted from 0"
                )
            i, j = cell
            corners = (f"{i},{j}", f"{i + 1},{j}", f"{i + 1},{j + 1}", f"{i},{j + 1}")
            pieces += [replace(piece, block=str(name)) for piece in read_pieces({name: corners}, vertices)]
    if blocks is None:
        number = members(pieces, mesh.p, mesh.t)
        pieces = [piece for n, piece in enumerate(pieces) if np.any(number == n)]
    return mapped_mesh(mesh, vertices, pieces, space, element)


def _lines(lengths: Any, start: Any, place: Any, names: tuple[str, ...]) -> list[tuple[Any, Formula]]:
    """Return the places of the lines between cells, in the reference domain and in the mapped one."""
    known = formula(start, ()).constant
    made = [(known, formula(place, names))]
    for fixed, length in lengths:
        step = formula(fixed, ()).constant
        if known is None or step is None or not step > 0:
            raise ModelError(f"a column or row has the reference length {fixed!r}; give a positive number")
        known += step
        made.append((known, made[-1][1] + formula(length, names)))
    return made
