"""Triangles that are near each other for their size, or meet at a sharp angle.

For these pairs the usual quadrature is not enough.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from problems.acoustics.crossings import box_pairs
from problems.acoustics.surfaces import SurfaceMesh

__all__ = ["NearTriangles", "Pairs", "SharpTriangles", "near_triangles", "sharp_triangles"]

#: Pairs of triangles whose distances are measured at once.
BLOCK = 1 << 15


@dataclass(frozen=True, eq=False)
class NearTriangles:
    """Pairs of triangles without a common vertex, first < second, and how near they are."""

    first: np.ndarray  #: (p,)
    second: np.ndarray  #: (p,)
    #: (p,) distance over the size of the larger one: its longest edge, or twice its height if that is less
    ratio: np.ndarray

    def __len__(self) -> int:
        return len(self.first)

    def __repr__(self) -> str:
        least = f", the nearest at {self.ratio.min():.2g} of an edge" if len(self) else ""
        return f"NearTriangles({len(self)} pairs{least})"


@dataclass(frozen=True, eq=False)
class SharpTriangles:
    """Pairs of triangles with a common edge or one common vertex, first < second, and the angles between them."""

    first: np.ndarray  #: (p,)
    second: np.ndarray  #: (p,)
    #: (p,) radians: between faces with a common edge, else between the nearest directions from the common vertex
    angle: np.ndarray

    def __len__(self) -> int:
        return len(self.first)

    def __repr__(self) -> str:
        least = f", the sharpest at {np.degrees(self.angle.min()):.2g} degrees" if len(self) else ""
        return f"SharpTriangles({len(self)} pairs{least})"


#: Pairs of triangles whose integrals the rules for separated and for touching triangles get wrong.
Pairs = NearTriangles | SharpTriangles


def sharp_triangles(mesh: SurfaceMesh, dihedral: float, ratio: float) -> SharpTriangles:
    """The pairs of triangles that meet at a sharp angle, at a common edge or at one common vertex.

    At an edge: the angle of the two faces is less than `dihedral` (radians). At a vertex: the angle between the two is
    less than `ratio` times the larger of their own angles there, so that the next but one triangle of a fan of narrow
    ones is not near. Cost: the pairs of triangles at each vertex.
    """
    import scipy.sparse as sp

    t = mesh.triangles.shape[1]
    places = np.tile(np.arange(t), 3), mesh.triangles.ravel()
    has = sp.csr_array((np.ones(3 * t, dtype=np.int8), places), shape=(t, mesh.vertices.shape[1]))
    common = sp.triu(has @ has.T, 1).tocoo()
    found = [np.zeros((3, 0))]
    for shared, measure, limit in ((2, _dihedral, dihedral), (1, _at_vertex, np.inf)):
        one, two = (x[common.data == shared].astype(int) for x in (common.row, common.col))
        if not len(one):
            continue
        a, b = mesh.triangles[:, one], mesh.triangles[:, two]
        same = a[:, None] == b[None]
        angle, own = measure(mesh.vertices, a, b, same.any(axis=1), same.any(axis=0))
        keep = angle < np.minimum(limit, ratio * own) if shared == 1 else angle < limit
        found.append(np.stack([one[keep], two[keep], angle[keep]]))
    first, second, angle = np.concatenate(found, axis=1)
    order = np.lexsort((second, first))
    return SharpTriangles(first[order].astype(int), second[order].astype(int), angle[order])


Angles = tuple[np.ndarray, np.ndarray]


def _dihedral(vertices: np.ndarray, one: np.ndarray, two: np.ndarray, of_one: np.ndarray, of_two: np.ndarray) -> Angles:
    """Angles (p,) of faces (3, p) with a common edge, and inf (p,): there is nothing to compare them with.

    of_one, of_two (3, p): which corners are common.
    """
    m = np.arange(one.shape[1])
    j, k = np.argmin(of_one, axis=0), np.argmin(of_two, axis=0)
    start, end = vertices[:, one[(j + 1) % 3, m]], vertices[:, one[(j + 2) % 3, m]]
    way = (end - start) / np.linalg.norm(end - start, axis=0)
    u, v = vertices[:, one[j, m]] - start, vertices[:, two[k, m]] - start
    u, v = (x - _dot(x, way) * way for x in (u, v))
    return np.arctan2(np.linalg.norm(np.cross(u, v, axis=0), axis=0), _dot(u, v)), np.full(len(m), np.inf)


def _at_vertex(
    vertices: np.ndarray, one: np.ndarray, two: np.ndarray, of_one: np.ndarray, of_two: np.ndarray
) -> Angles:
    """Angles (p,) between triangles seen from their common vertex, and the larger of their own angles there (p,).

    Both are computed from chords of arcs.
    """
    m = np.arange(one.shape[1])
    ends = []
    for triangle, of in ((one, of_one), (two, of_two)):
        j = np.argmax(of, axis=0)
        for k in (1, 2):
            way = vertices[:, triangle[(j + k) % 3, m]] - vertices[:, triangle[j, m]]
            ends.append(way / np.linalg.norm(way, axis=0))
    a, b, c, d = ends
    chords = _segments(a, b, c, d), np.maximum(np.linalg.norm(a - b, axis=0), np.linalg.norm(c - d, axis=0))
    angle, own = (2 * np.arcsin(np.minimum(x / 2, 1.0)) for x in chords)
    return angle, own


def near_triangles(mesh: SurfaceMesh, ratio: float) -> NearTriangles:
    """All pairs of triangles without a common vertex that are near each other.

    Near: their distance is less than `ratio` times the longest edge of the two, since a rule for the whole of a long
    triangle is off as far as this. The ratio in the result is to the local size, to which triangles are cut.

    Memory: 500 bytes for each of up to `BLOCK` pairs that are compared at once, and 70 for each that is found. Time: 6
    microseconds for each pair whose boxes, larger by that distance, overlap.
    """
    corners = mesh.vertices[:, mesh.triangles]
    longest = mesh.edge_lengths.max(axis=0)
    size = np.minimum(longest, 4 * mesh.areas / longest)
    found = []
    for pairs in box_pairs(corners.min(axis=1) - ratio * longest, corners.max(axis=1) + ratio * longest):
        for start in range(0, len(pairs[0]), BLOCK):
            one, two = (x[start : start + BLOCK] for x in pairs)
            a, b = mesh.triangles[:, one], mesh.triangles[:, two]
            apart = ~np.any(a[:, None] == b[None], axis=(0, 1))
            one, two = one[apart], two[apart]
            distance = triangle_distance(corners[:, :, one], corners[:, :, two])
            keep = distance < ratio * np.maximum(longest[one], longest[two])
            one, two = one[keep], two[keep]
            ends = np.minimum(one, two), np.maximum(one, two)
            found.append((*ends, distance[keep] / np.maximum(size[one], size[two])))
    if not found:
        return NearTriangles(np.zeros(0, dtype=int), np.zeros(0, dtype=int), np.zeros(0))
    first, second, near = (np.concatenate(x) for x in zip(*found, strict=True))
    order = np.lexsort((second, first))
    return NearTriangles(first[order], second[order], near[order])


def triangle_distance(one: np.ndarray, two: np.ndarray) -> np.ndarray:
    """Distances (p,) of triangles that do not meet, given by their corners (3 coordinates, 3 corners, p) each.

    The least of nine distances of edges and of six of a corner to the other's plane, where it stands above the
    triangle.
    """
    least = np.full(one.shape[2], np.inf)
    for i in range(3):
        for j in range(3):
            least = np.minimum(least, _segments(one[:, i], one[:, (i + 1) % 3], two[:, j], two[:, (j + 1) % 3]))
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
    """Distances (p,) of segments ab and cd, ends (3, p) each.

    The least over the ends, and over the lines where both feet are inside.
    """
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
