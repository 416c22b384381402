"""Triangles of a surface that go through each other: boxes that overlap, then a test with exact signs."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from problems.acoustics.exact_signs import side_of_line, side_of_plane, whole_numbers

__all__ = ["box_pairs", "first_crossing"]

#: Pairs of boxes that are compared at once: 2^21 of them take 50 MB.
PAIRS = 1 << 21

Pairs = tuple[np.ndarray, np.ndarray]


def first_crossing(vertices: np.ndarray, triangles: np.ndarray) -> tuple[int, int, np.ndarray] | None:
    """The first two triangles that cross or touch, and a point (3,) that they have in common; or None.

    Vertices and edges that they share by number do not count.

    vertices (3, n), triangles (3, t). Touching counts: a vertex on another triangle, two faces one upon the other,
    and neighbours that are folded onto each other. Nothing depends on rounding or on the unit of length
    (:mod:`problems.acoustics.exact_signs`). Cost: t log t and the pairs whose boxes overlap; 32 768 triangles of a
    sphere take about two seconds.
    """
    corners = vertices[:, triangles]
    points, integers = whole_numbers(vertices)
    for first, second in box_pairs(corners.min(axis=1), corners.max(axis=1)):
        found = _crossing(points, integers, triangles, first, second)
        if found is not None:
            one, other, edge = found
            # `points` are the vertices divided by this power of two
            exponent = int(np.frexp(np.abs(vertices).max())[1])
            return one, other, np.ldexp(_common_point(points, triangles[:, other], *edge), exponent)
    return None


def box_pairs(low: np.ndarray, high: np.ndarray) -> Iterator[Pairs]:
    """Numbers (p,), (p,) of boxes with corners low, high (3, t) that overlap or touch, each pair once, in blocks.

    Boxes are sorted along an axis, and each is compared with those that begin before it ends; the axis is the one
    with the fewest of them.
    """
    t = low.shape[1]
    orders = [np.argsort(x, kind="stable") for x in low]
    ends = [np.searchsorted(low[k][o], high[k][o], side="right") for k, o in enumerate(orders)]
    axis = int(np.argmin([(end - np.arange(t)).sum() for end in ends]))
    order, count = orders[axis], ends[axis] - np.arange(t) - 1
    low, high = low[:, order], high[:, order]
    others = [k for k in range(3) if k != axis]
    total = np.concatenate([[0], np.cumsum(count)])
    start = 0
    while start < t:
        stop = max(start + 1, int(np.searchsorted(total, total[start] + PAIRS, side="right")) - 1)
        first = np.repeat(np.arange(start, stop), count[start:stop])
        second = np.arange(len(first)) - np.repeat(total[start:stop] - total[start], count[start:stop]) + first + 1
        for k in others:
            keep = (low[k][second] <= high[k][first]) & (low[k][first] <= high[k][second])
            first, second = first[keep], second[keep]
        if len(first):
            yield order[first], order[second]
        start = stop


def _crossing(
    points: np.ndarray, integers: np.ndarray, triangles: np.ndarray, first: np.ndarray, second: np.ndarray
) -> tuple[int, int, tuple[int, int]] | None:
    """A pair that crosses, and the edge of the first of the two, by its vertices, that meets the second."""
    one, two = triangles[:, first], triangles[:, second]
    same = one[:, None, :] == two[None, :, :]  # (3, 3, p)
    shared = same.sum(axis=(0, 1))
    tests = []  # edges pq, the triangles that they belong to and those that they may meet, and the number of the pair
    for edges_of, held, others, own in ((one, same, second, first), (two, same.transpose(1, 0, 2), first, second)):
        for corner in range(3):
            # an edge with a shared end is not looked at: what leaves a shared vertex, leaves through the edge
            # opposite to it
            k = np.flatnonzero((shared == 0) | ((shared == 1) & held[corner].any(axis=0)))  # opposite
            p, q = edges_of[(corner + 1) % 3, k], edges_of[(corner + 2) % 3, k]
            # boxes that do not overlap: comparisons have no rounding, and most edges end here
            ends, corners = points[:, [p, q]], points[:, triangles[:, others[k]]]
            near = np.all((ends.min(axis=1) <= corners.max(axis=1)) & (corners.min(axis=1) <= ends.max(axis=1)), axis=0)
            tests.append(tuple(x[near] for x in (p, q, own[k], others[k], k)))
    p, q, owner, target, pair = (np.concatenate(x) for x in zip(*tests, strict=True))
    meets = np.flatnonzero(_edge_meets_triangle(points, integers, p, q, triangles[:, target]))
    hits = [(int(pair[k]), int(owner[k]), int(target[k]), (int(p[k]), int(q[k]))) for k in meets]
    k = np.flatnonzero(shared == 2)
    for f in k[_folded(points, integers, one[:, k], two[:, k], same[:, :, k])].tolist():
        common = same[:, :, f].any(axis=1)
        hits.append((f, int(first[f]), int(second[f]), (int(one[common, f][0]), int(one[~common, f][0]))))
    return min(hits)[1:] if hits else None


def _edge_meets_triangle(
    points: np.ndarray, integers: np.ndarray, p: np.ndarray, q: np.ndarray, triangle: np.ndarray
) -> np.ndarray:
    """True (m,) where the closed segment pq meets the closed triangle (3, m)."""
    a, b, c = triangle
    above, below = (side_of_plane(points, integers, a, b, c, x) for x in (p, q))
    meets = np.zeros(len(p), dtype=bool)
    k = np.flatnonzero((above * below <= 0) & ((above != 0) | (below != 0)))
    turns = np.stack([side_of_plane(points, integers, p[k], q[k], x[k], y[k]) for x, y in ((a, b), (b, c), (c, a))])
    meets[k] = np.all(turns >= 0, axis=0) | np.all(turns <= 0, axis=0)
    k = np.flatnonzero((above == 0) & (below == 0))
    meets[k] = _in_one_plane(points, integers, p[k], q[k], triangle[:, k])
    return meets


def _in_one_plane(
    points: np.ndarray, integers: np.ndarray, p: np.ndarray, q: np.ndarray, triangle: np.ndarray
) -> np.ndarray:
    """True (m,) where a segment in the plane of the triangle meets the triangle.

    Both are seen along the axis nearest to the normal; the answer is exact.
    """
    a, b, c = triangle
    normal = np.abs(np.cross(points[:, b] - points[:, a], points[:, c] - points[:, a], axis=0))
    axes = np.array([[1, 2], [2, 0], [0, 1]]).T[:, np.argmax(normal, axis=0)]

    def turn(x: np.ndarray, y: np.ndarray, z: np.ndarray) -> np.ndarray:
        return side_of_line(points, integers, axes, x, y, z)

    way = turn(a, b, c)
    inside = np.zeros(len(p), dtype=bool)
    for x in (p, q):
        inside |= np.all([way * turn(*edge, x) >= 0 for edge in ((a, b), (b, c), (c, a))], axis=0)
    for x, y in ((a, b), (b, c), (c, a)):
        ends = turn(p, q, x), turn(p, q, y), turn(x, y, p), turn(x, y, q)
        # four points of one line: then an end of the segment lies on the edge, which is inside, or the edge on the
        # segment
        inside |= (ends[0] * ends[1] <= 0) & (ends[2] * ends[3] <= 0) & ~((ends[0] == 0) & (ends[1] == 0))
    return inside


def _folded(points: np.ndarray, integers: np.ndarray, one: np.ndarray, two: np.ndarray, same: np.ndarray) -> np.ndarray:
    """True (m,) where two neighbours, given as (3, m) each, lie in one plane and on the same side of their edge."""
    m = np.arange(one.shape[1])
    corner, other = np.argmin(same.any(axis=1), axis=0), np.argmin(same.any(axis=0), axis=0)
    a, b, c, d = one[(corner + 1) % 3, m], one[(corner + 2) % 3, m], one[corner, m], two[other, m]
    flat = np.flatnonzero(side_of_plane(points, integers, a, b, c, d) == 0)
    a, b, c, d = (x[flat] for x in (a, b, c, d))
    normal = np.abs(np.cross(points[:, b] - points[:, a], points[:, c] - points[:, a], axis=0))
    axes = np.array([[1, 2], [2, 0], [0, 1]]).T[:, np.argmax(normal, axis=0)]
    folded = np.zeros(one.shape[1], dtype=bool)
    sides = [side_of_line(points, integers, axes, a, b, x) for x in (c, d)]
    folded[flat] = sides[0] * sides[1] > 0
    return folded


def _common_point(vertices: np.ndarray, triangle: np.ndarray, start: int, end: int) -> np.ndarray:
    """About where an edge meets the triangle (3,); of an edge in its plane the middle of what lies in the triangle."""
    p, q = vertices[:, start], vertices[:, end]
    corners = vertices[:, triangle].T
    normal = np.cross(corners[1] - corners[0], corners[2] - corners[0])
    above, below = normal @ (p - corners[0]), normal @ (q - corners[0])
    size = np.linalg.norm(normal) * np.linalg.norm(q - p)
    if max(abs(above), abs(below)) > 1e-12 * size:
        share = above / (above - below)
        return p + min(max(share, 0.0), 1.0) * (q - p)
    low, high = 0.0, 1.0
    for k in range(3):
        inward = np.cross(normal, corners[(k + 1) % 3] - corners[k])
        one, other = inward @ (p - corners[k]), inward @ (q - corners[k])
        if one < 0 < other:
            low = max(low, one / (one - other))
        elif other < 0 < one:
            high = min(high, one / (one - other))
    return p + (low + high) / 2 * (q - p)
