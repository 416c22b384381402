"""Ready-made surfaces, and the parts of a surface."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from problems.acoustics.surfaces import SurfaceMesh
from problems.user_input import as_array
from rbm.errors import ModelError

__all__ = ["Parts", "cut", "surface"]

#: shapes of :func:`surface`: factor by which a point d (3, n) of the unit sphere is moved along its ray
SHAPES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "sphere": lambda d: np.ones(d.shape[1]),
    "ellipsoid": lambda d: np.ones(d.shape[1]),
    "peanut": lambda d: np.sqrt(0.25 + 0.75 * d[2] ** 2),
}
AXES: dict[str, tuple[float, float, float]] = {"ellipsoid": (1.0, 0.7, 0.5)}
MAX_LEVEL = 6

Parts = int | np.ndarray | Callable[[np.ndarray], Any]


def surface(
    shape: str = "sphere", level: int = 3, parts: Parts = 1, axes: tuple[float, float, float] | None = None
) -> SurfaceMesh:
    """A ready-made surface: an octahedron refined `level` times, 4^(level + 1) + 2 vertices, moved onto the shape.

    shape : "sphere" (radius 1), "ellipsoid" (half axes 1, 0.7, 0.5) or "peanut" (waist half as wide as long)
    level : 2, 3, 4 give 66, 258, 1026 vertices
    parts : 1; 2 (z > 0, z < 0); 4 (the same, cut by x = 0); 8 (octants): all along mesh edges. Or part numbers 1..d
        as an array (t,), or a function of the triangles' centroids (3, t) that returns them
    axes : half axes that stretch the shape in x, y, z

    Raises ModelError for an unknown shape or number of parts, a level outside 0..6, half axes that are not positive.
    """
    if not (isinstance(shape, str) and shape in SHAPES):
        raise ModelError(
            f"unknown shape {shape!r}; the shapes are {', '.join(SHAPES)}, or give a SurfaceMesh or a file"
        )
    if isinstance(level, bool) or not (isinstance(level, int | np.integer) and 0 <= level <= MAX_LEVEL):
        raise ModelError(f"level must be a whole number from 0 to {MAX_LEVEL} (4^(level+1)+2 vertices), got {level!r}")
    given = AXES.get(shape, (1.0, 1.0, 1.0)) if axes is None else axes
    stretch = as_array("axes must be three positive numbers", given)
    if stretch.shape != (3,) or not np.all(np.isfinite(stretch) & (stretch > 0)):
        raise ModelError(f"axes must be three positive numbers, got {axes!r}")
    directions, triangles = _octasphere(int(level))
    return cut(SurfaceMesh(directions * SHAPES[shape](directions) * stretch[:, None], triangles), parts)


def cut(mesh: SurfaceMesh, parts: Parts) -> SurfaceMesh:
    """The mesh with other part numbers; see :func:`surface`."""
    centroids = mesh.vertices[:, mesh.triangles].mean(axis=1)
    if callable(parts):
        numbers = np.asarray(parts(centroids))
    elif isinstance(parts, int | np.integer):
        signs = None if isinstance(parts, bool) else {1: (), 2: (2,), 4: (2, 0), 8: (2, 0, 1)}.get(int(parts))
        if signs is None:
            raise ModelError(
                f"parts = {parts}: ready-made cuts give 1, 2, 4 or 8 parts; give part numbers (t,) or a function of "
                "centroids (3, t)"
            )
        numbers = 1 + sum((1 << k) * (centroids[axis] < 0) for k, axis in enumerate(signs))
        numbers = np.broadcast_to(numbers, mesh.parts.shape)
    else:
        numbers = as_array("parts must be one number per triangle", parts, dtype=None)
    return replace(mesh, parts=numbers)


def _octasphere(level: int) -> tuple[np.ndarray, np.ndarray]:
    """Vertices (3, n) and triangles (3, t) of the octahedron, refined by midpoints moved to the unit sphere."""
    vertices = np.array([[0, 0, 1], [1, 0, 0], [0, 1, 0], [-1, 0, 0], [0, -1, 0], [0, 0, -1]], dtype=float)
    upper = [[0, 1 + k, 1 + (k + 1) % 4] for k in range(4)]
    triangles = np.array(upper + [[5, c, b] for _, b, c in upper])
    for _ in range(level):
        n = len(vertices)
        corners = np.stack([triangles[:, [1, 2]], triangles[:, [2, 0]], triangles[:, [0, 1]]], axis=1)  # opposite edges
        edges, inverse = np.unique(np.sort(corners.reshape(-1, 2), axis=1), axis=0, return_inverse=True)
        middles = vertices[edges].sum(axis=1)
        vertices = np.concatenate([vertices, middles / np.linalg.norm(middles, axis=1, keepdims=True)])
        a, b, c = triangles.T
        bc, ca, ab = (n + inverse.reshape(-1, 3)).T
        triangles = np.stack([[a, ab, ca], [ab, b, bc], [ca, bc, c], [ab, bc, ca]]).transpose(0, 2, 1).reshape(-1, 3)
    return vertices.T, triangles.T
