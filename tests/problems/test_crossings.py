"""Surfaces that go through themselves or each other are refused with the two triangles.

What only shares vertices and edges is not.
"""

from __future__ import annotations

import re
import time
from fractions import Fraction

import numpy as np
import pytest
from helpers.plates import box, together

from problems import surface
from problems.acoustics.crossings import box_pairs, first_crossing
from problems.acoustics.exact_signs import side_of_line, side_of_plane, whole_numbers
from problems.acoustics.shapes import _octasphere
from problems.acoustics.surfaces import SurfaceMesh
from rbm.errors import ModelError

TURN = np.linalg.qr(np.random.default_rng(3).standard_normal((3, 3)))[0]
TURN = TURN * np.sign(np.linalg.det(TURN))


def bars() -> tuple[np.ndarray, np.ndarray]:
    """Two bars that cross; no vertex of one is inside the other."""
    return together(box((6, 1, 1), corner=(-3, -0.5, -0.5)), box((0.6, 6, 0.6), corner=(-0.3, -3, -0.3)))


def pulled() -> tuple[np.ndarray, np.ndarray]:
    """A sphere whose pole is pulled out through the other side."""
    mesh = surface("sphere", 2)
    vertices = mesh.vertices.copy()
    vertices[:, 0] *= -1.5
    return vertices, mesh.triangles


def folded() -> tuple[np.ndarray, np.ndarray]:
    """A box of which a vertex of the top is moved across an edge, within the plane: neighbours lie upon each other."""
    vertices, triangles = box((2, 2, 1), (2, 2, 1))
    k = int(np.argmin(np.abs(vertices - np.array([[1.0], [1.0], [1.0]])).sum(axis=0)))
    vertices[:2, k] = 2.5, 1.0
    return vertices, triangles


def stacked() -> tuple[np.ndarray, np.ndarray]:
    """Two boxes, one upon the other, with vertices of their own."""
    return together(box((1, 1, 1)), box((0.5, 0.5, 0.5), corner=(0.25, 0.3, 1.0)))


def stabbed() -> tuple[np.ndarray, np.ndarray]:
    """The tip of a pyramid exactly on the face of a box."""
    tip = np.array([[0.5, 0.3, 0.7, 0.5], [0.5, 0.3, 0.3, 0.8], [1.0, 2.0, 2.0, 2.0]])
    return together(box((1, 1, 1)), (tip, np.array([[0, 0, 0, 1], [2, 3, 1, 2], [1, 2, 3, 3]])))


@pytest.mark.parametrize("make", [bars, pulled, folded, stacked, stabbed])
@pytest.mark.parametrize("unit", [1.0, 1e-9, 1e150, 1e-200])
def test_what_crosses_or_touches_is_refused_with_the_two_triangles_and_a_point(make, unit: float) -> None:  # type: ignore[no-untyped-def]
    vertices, triangles = make()
    found = first_crossing(vertices * unit, triangles)
    assert found is not None
    one, other, point = found
    for triangle in (one, other):  # the point is in both, to rounding
        a, b, c = (vertices[:, k] for k in triangles[:, triangle])
        shares = np.linalg.lstsq(np.column_stack([b - a, c - a]), point / unit - a, rcond=None)[0]
        assert np.allclose(a + np.column_stack([b - a, c - a]) @ shares, point / unit, atol=1e-12)
        assert shares.min() >= -1e-12
        assert shares.sum() <= 1 + 1e-12


@pytest.mark.parametrize("make", [bars, pulled])
def test_a_mesh_that_crosses_is_a_model_error(make) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(
        ModelError, match=r"triangles \d+ and \d+ cross or touch at \(.*\), which is no vertex or edge of both"
    ) as error:
        SurfaceMesh(*make())
    one, other = (int(x) for x in re.findall(r"\d+", str(error.value))[:2])
    assert one != other


def test_turned_and_moved_bodies_cross_as_well() -> None:
    for make in (bars, pulled):
        vertices, triangles = make()
        assert first_crossing(TURN @ vertices + 1e3, triangles) is not None


def test_flat_faces_edges_and_vertices_in_common_are_no_crossings() -> None:
    smooth = [(mesh.vertices, mesh.triangles) for mesh in (surface(s, 3) for s in ("sphere", "ellipsoid", "peanut"))]
    thick = box((1, 1, 1), (5, 4, 3))
    thin = box((1, 1, 1e-7), (5, 5, 1)), together(box((1, 1, 1)), box((1, 1, 1), corner=(0, 0, 1 + 1e-15)))
    for vertices, triangles in (*smooth, thick, *thin):
        assert first_crossing(vertices, triangles) is None
    for vertices, triangles in (*smooth, thick):
        assert first_crossing(TURN @ vertices, triangles) is None


def test_bodies_that_share_a_vertex_are_no_crossing() -> None:
    (v, t), (w, s) = box((1, 1, 1)), box((1, 1, 1), corner=(1, 1, 1))
    vertices, triangles = together((v, t), (w, s))
    same = {i: j for i in range(8, 16) for j in range(8) if np.array_equal(vertices[:, i], vertices[:, j])}
    ((i, j),) = same.items()
    joined = np.where(triangles == i, j, triangles)
    assert first_crossing(vertices, joined) is None
    assert first_crossing(vertices, triangles) is not None  # with a vertex of its own there it touches


def test_a_wide_mesh_takes_a_moment() -> None:
    start = time.process_time()
    assert first_crossing(*_octasphere(5)) is None
    assert time.process_time() - start < 3


def test_pairs_of_boxes_are_all_found_once() -> None:
    rng = np.random.default_rng(0)
    low = rng.uniform(size=(3, 300))
    high = low + rng.uniform(0, 0.2, size=(3, 300))
    found = {
        tuple(sorted(p)) for one, two in box_pairs(low, high) for p in zip(one.tolist(), two.tolist(), strict=True)
    }
    count = sum(len(one) for one, _ in box_pairs(low, high))
    overlap = np.all((low[:, :, None] <= high[:, None]) & (low[:, None] <= high[:, :, None]), axis=0)
    assert found == {(i, j) for i, j in zip(*np.nonzero(overlap), strict=True) if i < j}
    assert count == len(found)


@pytest.mark.parametrize("unit", [1.0, 2.0**-1060, 1e300])
def test_signs_are_exact_where_rounding_decides(unit: float) -> None:
    """Points of a plane moved by single bits, against fractions."""
    rng = np.random.default_rng(1)
    points = rng.integers(-8, 9, size=(3, 40)) * 0.1
    points = np.concatenate([points, np.nextafter(points, 10)], axis=1) * unit
    scaled, integers = whole_numbers(points)
    numbers = rng.integers(0, 80, size=(4, 400))
    exact = [[Fraction(float(x)) for x in column] for column in points.T]

    def volume(i: np.ndarray) -> int:
        rows = [[exact[j][c] - exact[i[3]][c] for c in range(3)] for j in i[:3]]
        (a, b, c), (d, e, f), (g, h, k) = rows
        value = a * (e * k - f * h) - b * (d * k - f * g) + c * (d * h - e * g)
        return (value > 0) - (value < 0)

    assert side_of_plane(scaled, integers, *numbers).tolist() == [volume(i) for i in numbers.T]

    def area(i: np.ndarray) -> int:
        (ax, ay, _), (bx, by, _), (cx, cy, _) = (exact[j] for j in i[:3])
        value = (bx - ax) * (cy - ay) - (by - ay) * (cx - ax)
        return (value > 0) - (value < 0)

    axes = np.tile([[0], [1]], (1, 400))
    assert side_of_line(scaled, integers, axes, *numbers[:3]).tolist() == [area(i) for i in numbers.T]


#: points in and above a plane, and pairs of triangles of them: do they meet besides shared vertices and edges?
POINTS = np.array(
    [
        [0.0, 0, 0],
        [4, 0, 0],
        [0, 4, 0],
        [1, 1, 0],
        [2, 1, 0],
        [1, 2, 0],
        [5, 5, 0],
        [6, 5, 0],
        [5, 6, 0],
        [-3, 1, 0],
        [-1, -3, 0],
        [1, 1, -1],
        [1, 1, 2],
        [1, 3.5, 1],
        [3, 3, 0],
        [0, 0, 3],
        [4, 4, 0],
        [-1, 4, 0.5],
    ]
).T
PAIRS = [
    ((0, 1, 2), (3, 4, 5), True),  # in one plane, one inside the other
    ((0, 1, 2), (3, 6, 7), True),  # in one plane, overlapping
    ((0, 1, 2), (6, 7, 8), False),  # in one plane, apart
    ((0, 1, 2), (0, 4, 6), True),  # in one plane, a vertex in common and overlapping
    ((0, 1, 2), (0, 9, 10), False),  # in one plane, nothing but the vertex
    ((0, 1, 2), (0, 11, 12), True),  # a vertex in common, the opposite edge goes through the other
    ((0, 11, 12), (0, 1, 2), True),
    ((0, 1, 2), (0, 15, 17), False),  # a vertex in common, one stands up
    ((0, 1, 2), (11, 12, 13), True),  # through the face
    ((0, 1, 2), (12, 13, 15), False),  # above it
    ((0, 1, 2), (0, 1, 3), True),  # neighbours folded upon each other
    ((0, 1, 2), (1, 0, 10), False),  # neighbours in one plane
    ((0, 1, 2), (0, 1, 15), False),  # neighbours at a right angle
    ((0, 1, 2), (14, 16, 12), False),  # beyond the long edge
]


@pytest.mark.parametrize(("one", "two", "meet"), PAIRS)
@pytest.mark.parametrize("unit", [1.0, 0.1, 1e-30])
def test_pairs_of_triangles_in_every_position(one: tuple, two: tuple, meet: bool, unit: float) -> None:
    for a, b in ((one, two), (two, one), (np.roll(one, 1), two), (one, np.roll(two, 2)), (one[::-1], two)):
        for turn in (np.eye(3), np.eye(3)[[1, 2, 0]], -np.eye(3)[[2, 1, 0]]):  # exact
            found = first_crossing(turn @ POINTS * unit, np.array([a, b]).T)
            assert (found is not None) == meet
