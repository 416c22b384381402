"""Meshes whose faces may be as near to each other as one likes: boxes, and a double pyramid with a sharp rim."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from problems.acoustics.surfaces import SurfaceMesh

Arrays = tuple[np.ndarray, np.ndarray]


def box(size: Sequence[float], counts: Sequence[int] = (1, 1, 1), corner: Sequence[float] = (0.0, 0.0, 0.0)) -> Arrays:
    """Vertices (3, n) and triangles (3, t) of a box, each face cut into counts of squares and these into triangles."""
    grid = np.stack(np.meshgrid(*(np.arange(n + 1) for n in counts), indexing="ij"), axis=-1).reshape(-1, 3)
    number = np.arange(len(grid)).reshape([n + 1 for n in counts])
    faces = []
    for axis in range(3):
        for side in (0, -1):
            face = np.take(number, side, axis=axis)
            a, b, c, d = face[:-1, :-1], face[1:, :-1], face[1:, 1:], face[:-1, 1:]
            outward = (side == -1) == (axis != 1)
            ring = (a, b, c, d) if outward else (a, d, c, b)
            a, b, c, d = (x.ravel() for x in ring)
            faces += [np.stack([a, b, c]), np.stack([a, c, d])]
    triangles = np.concatenate(faces, axis=1)
    used, triangles = np.unique(triangles, return_inverse=True)
    vertices = np.asarray(corner, dtype=float)[:, None] + (grid[used] / counts * size).T
    return vertices, triangles.reshape(3, -1)


def together(*bodies: Arrays) -> Arrays:
    """Several bodies as one mesh."""
    starts = np.cumsum([0, *(b[0].shape[1] for b in bodies)])
    return np.concatenate([b[0] for b in bodies], axis=1), np.concatenate(
        [b[1] + s for b, s in zip(bodies, starts, strict=False)], axis=1
    )


def plate(thickness: float, counts: int = 6) -> SurfaceMesh:
    """Gives the surface of a plate, 1 x 1 x thickness."""
    return SurfaceMesh(*box((1.0, 1.0, thickness), (counts, counts, 1)))


def double_pyramid(height: float) -> SurfaceMesh:
    """Two flat pyramids on one triangle: 5 vertices, 6 triangles."""
    vertices = np.array([[0, 0, 0], [1, 0, 0], [0.5, 0.9, 0], [0.5, 0.3, height], [0.5, 0.3, -height]])
    triangles = np.array([[0, 1, 3], [1, 2, 3], [2, 0, 3], [1, 0, 4], [2, 1, 4], [0, 2, 4]])
    return SurfaceMesh(vertices.T, triangles.T)
