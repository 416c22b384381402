"""Triangles that do not touch and are near each other for their size: where quadrature for well separated ones is no longer enough."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from problems.crossings import box_pairs
from problems.surfaces import SurfaceMesh

__all__ = ["NearTriangles", "near_triangles"]


@dataclass(frozen=True, eq=False)
class NearTriangles:
    """Pairs of triangles without a common vertex, first < second, and how near they are."""

    first: np.ndarray  #: (p,)
    second: np.ndarray  #: (p,)
    ratio: np.ndarray  #: (p,) distance over the longest edge of the two

    def __len__(self) -> int:
        return len(self.first)

    def __repr__(self) -> str:
        least = f", the nearest at {self.ratio.min():.2g} of an edge" if len(self) else ""
        return f"NearTriangles({len(self)} pairs{least})"


def near_triangles(mesh: SurfaceMesh, ratio: float) -> NearTriangles:
    """All pairs of triangles without a common vertex whose distance is less than `ratio` times the longest edge of the two."""
    corners = mesh.vertices[:, mesh.triangles]
    size = mesh.edge_lengths.max(axis=0)
    found = []
    for one, two in box_pairs(corners.min(axis=1) - ratio * size, corners.max(axis=1) + ratio * size):
        a, b = mesh.triangles[:, one], mesh.triangles[:, two]
        apart = ~np.any(a[:, None] == b[None], axis=(0, 1))
        one, two = one[apart], two[apart]
        near = triangle_distance(corners[:, :, one], corners[:, :, two]) / np.maximum(size[one], size[two])
        keep = near < ratio
        found.append(np.stack([np.minimum(one, two)[keep], np.maximum(one, two)[keep], near[keep]]))
    first, second, near = np.concatenate(found, axis=1) if found else np.zeros((3, 0))
    order = np.lexsort((second, first))
    return NearTriangles(first[order].astype(int), second[order].astype(int), near[order])


def triangle_distance(one: np.ndarray, two: np.ndarray) -> np.ndarray:
    """Distances (p,) of triangles that do not meet, given by their corners (3 coordinates, 3 corners, p) each.

    The least of nine distances of edges and of six of a corner to the other's plane, where it stands above the triangle.
    """
    least = np.full(one.shape[2], np.inf)
    for i in range(3):
        for j in range(3):
            between = _segments(one[:, i], one[:, (i + 1) % 3], two[:, j], two[:, (j + 1) % 3])
            least = np.minimum(least, between)
    for triangle, others in ((one, two), (two, one)):
        a, b, c = triangle.transpose(1, 0, 2)
        normal = np.cross(b - a, c - a, axis=0)
        for k in range(3):
            x = others[:, k]
            above = [_dot(np.cross(q - p, x - p, axis=0), normal) >= 0 for p, q in ((a, b), (b, c), (c, a))]
            height = np.abs(_dot(x - a, normal)) / np.sqrt(_dot(normal, normal))
            least = np.where(np.all(above, axis=0), np.minimum(least, height), least)
    return least


def _segments(a: np.ndarray, b: np.ndarray, c: np.ndarray, d: np.ndarray) -> np.ndarray:
    """Distances (p,) of segments ab and cd (3, p) each: least over the ends, and over the lines where both feet are inside."""
    u, v, w = b - a, d - c, a - c
    uu, uv, vv, uw, vw = _dot(u, u), _dot(u, v), _dot(v, v), _dot(u, w), _dot(v, w)
    least = np.full(a.shape[1], np.inf)
    for point, start, end in ((a, c, d), (b, c, d), (c, a, b), (d, a, b)):
        least = np.minimum(least, segment_distance(point, start, end))
    area = uu * vv - uv * uv
    with np.errstate(divide="ignore", invalid="ignore"):
        s, t = (uv * vw - vv * uw) / area, (uu * vw - uv * uw) / area
        inside = (area > 1e-14 * uu * vv) & (s > 0) & (s < 1) & (t > 0) & (t < 1)
        gap = w + s * u - t * v
        least = np.where(inside, np.minimum(least, np.sqrt(_dot(gap, gap))), least)
    return least


def segment_distance(points: np.ndarray, start: np.ndarray, end: np.ndarray) -> np.ndarray:
    """Distances (p,) of points from segments, all (3, p)."""
    way = end - start
    share = np.minimum(np.maximum(_dot(points - start, way) / _dot(way, way), 0.0), 1.0)
    gap = points - start - share * way
    return np.sqrt(_dot(gap, gap))


def _dot(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    return np.einsum("cp,cp->p", u, v)
