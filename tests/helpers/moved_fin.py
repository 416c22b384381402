"""The thermal fin on a mesh of its own, with linear elements written out, in extended precision."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp

from problems.thermal_fin import thermal_fin_mesh

__all__ = ["moved_fin"]


def moved_fin(refinement: int, mu: np.ndarray) -> tuple[np.ndarray, sp.csr_array, np.ndarray]:
    """Nodes (2, n), matrix (n, n) and right-hand side (n,) of a fin (k1, .., k4, Bi, L, t), in long double.

    The mesh has the lines of the fin of these lengths; parts and edges are found by where they are. No block, map,
    determinant or formula is used, and no finite element library.
    """
    *k, biot, length, thickness = (np.longdouble(x) for x in mu)
    half, quarter = np.longdouble(0.5), np.longdouble(0.25)
    old = thermal_fin_mesh(refinement)
    x, y = old.p.astype(np.longdouble)
    out, level = np.maximum(np.abs(x) - half, 0), np.minimum(np.floor(y), 3)
    low = np.minimum(y - level, 3 * quarter)
    new = np.stack([
        np.sign(x) * (np.minimum(np.abs(x), half) + out * (length / (10 * quarter))),
        level + low * ((1 - thickness) / (3 * quarter)) + (y - level - low) * (thickness / quarter),
    ])  # fmt: skip
    corners = new[:, old.t]  # (2, 3, E)
    centre = corners.mean(axis=1)
    part = np.where(np.abs(centre[0]) < half, 0, np.floor(centre[1]).astype(int) + 1)
    conductivity = np.array([np.longdouble(1), *k])[part]
    # the gradient of a hat function is its opposite side, turned, over twice the area
    side = np.roll(corners, 1, axis=1) - np.roll(corners, -1, axis=1)
    area = side[0, 0] * side[1, 1] - side[1, 0] * side[0, 1]
    local = conductivity * np.einsum("aie,aje->ije", side, side) / (2 * np.abs(area))
    ends = old.facets[:, old.boundary_facets()]
    root = np.all(new[1, ends] == 0, axis=0)
    size = np.sqrt(np.sum((new[:, ends[0]] - new[:, ends[1]]) ** 2, axis=0))
    air = ends[:, ~root]
    on_edges = biot * size[~root] * (np.ones((2, 2)) + np.eye(2))[..., None] / 6
    matrix = _summed(old.t, local, x.size) + _summed(air, on_edges, x.size)
    f = np.zeros(x.size, np.longdouble)
    for end in ends[:, root]:
        np.add.at(f, end, size[root] / 2)
    return new, matrix, f


def _summed(corners: np.ndarray, local: np.ndarray, n: int) -> sp.csr_array:
    """The sum of local matrices (k, k, E) of elements with the nodes `corners` (k, E)."""
    rows, columns = np.broadcast_arrays(corners[:, None], corners[None])
    return sp.csr_array(sp.coo_array((local.ravel(), (rows.ravel(), columns.ravel())), shape=(n, n)))
