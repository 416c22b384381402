"""Near triangles that do not touch.

They are found, measured, and integrated to what the rules for well separated ones do not give.
"""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest
from helpers.plates import box, double_pyramid, plate, together

from problems import surface
from problems.acoustics import assembly_rules as rules
from problems.acoustics import boundary_elements as bem
from problems.acoustics import near_quadrature
from problems.acoustics.matrix_cache import cached_file
from problems.acoustics.near_quadrature import near_correction
from problems.acoustics.near_triangles import (
    NearTriangles,
    SharpTriangles,
    near_triangles,
    sharp_triangles,
    triangle_distance,
)
from problems.acoustics.static_potentials import linear_potentials
from problems.acoustics.surface_fields import _reference_rule
from problems.acoustics.surfaces import SurfaceMesh

#: The rules in force, and what they give.
RULES_TESTED = (
    "rules 3, (0.35, 4.0, 6, 0.7853981633974483, 0.25), "
    "(8, 1e-07, 1e-09, 4.0, 0.2, 9), ((6, 8, 12, 16, 12), (1.0, 2.0, 4.0, 6.0), 2)"
)
NUMBERS = [3, 76, 0.029895271890287258, 0.14260757735431695, 0.002087849046226397, 0.06700228595222203]
NOTHING = np.zeros((2, 1)), np.zeros(1)


def pieces(order: int, times: int) -> tuple[np.ndarray, np.ndarray]:
    """A rule on the 4^times equal pieces of the reference triangle."""
    points, weights = _reference_rule(order)
    for _ in range(times):
        shifts = np.array([[0.0, 0.0], [0.5, 0.0], [0.0, 0.5]])[:, :, None]
        points, weights = np.concatenate([*(points / 2 + shifts), 0.5 - points / 2], axis=1), np.tile(weights / 4, 4)
    return points, weights


def test_distances_of_triangles_against_a_search() -> None:
    rng = np.random.default_rng(5)
    one, two = rng.standard_normal((3, 3, 60)), rng.standard_normal((3, 3, 60))
    two[0] += 4.0
    found = triangle_distance(one, two)
    np.testing.assert_allclose(found, triangle_distance(two, one), rtol=1e-12)
    shares = rng.dirichlet(np.full(3, 0.4), (2, 4000))
    apart = np.linalg.norm(np.einsum("si,cip->csp", shares[0], one) - np.einsum("si,cip->csp", shares[1], two), axis=0)
    assert np.all(apart.min(axis=0) >= found * (1 - 1e-12))
    assert np.all(apart.min(axis=0) <= found + 0.25)
    # above a face, beside an edge, and two edges that pass each other
    flat = np.array([[0.0, 1, 0], [0, 0, 1], [0, 0, 0]])
    above, beside = flat * 0.1 + [[0.2], [0.2], [0.3]], flat + np.array([[0.0], [-1.5], [0.0]])
    passing = np.array([[0.5, 0.5, 0.5], [-0.7, 0.5, -0.7], [0.4, 0.4, 9.0]])
    for other, distance in ((above, 0.3), (beside, 0.5), (passing, 0.4)):
        assert triangle_distance(flat[:, :, None], other[:, :, None])[0] == pytest.approx(distance, rel=1e-14)


def test_the_faces_of_a_plate_are_near_and_ready_made_shapes_have_no_near_triangles() -> None:
    mesh = plate(0.02)
    near = near_triangles(mesh, rules.NEAR)
    assert np.all(near.first < near.second)
    assert near.ratio.min() == pytest.approx(0.02 / (np.sqrt(2) / 6), rel=2e-2)
    centroids = mesh.vertices[:, mesh.triangles].mean(axis=1)
    opposite = {frozenset(p) for p in zip(near.first.tolist(), near.second.tolist(), strict=True)}
    top, bottom = (np.flatnonzero(mesh.normals[2] == s) for s in (1, -1))
    for t in top:
        b = bottom[np.argmin(np.linalg.norm(centroids[:2, bottom] - centroids[:2, [t]], axis=0))]
        shared = set(mesh.triangles[:, t]) & set(mesh.triangles[:, b])
        assert frozenset((int(t), int(b))) in opposite or shared
    for shape in ("sphere", "ellipsoid", "peanut"):
        for level in (1, 2, 3):
            assert not len(near_triangles(surface(shape, level), rules.NEAR)), (shape, level)
            assert rules.singular_order(surface(shape, level), 4, False) == 4  # nor stretched ones
    assert rules.singular_order(mesh, 4, True) == 6
    assert rules.singular_order(mesh, 8, True) == 8


@pytest.mark.parametrize("unit", [1e-3, 1e3])
def test_what_is_near_does_not_depend_on_the_unit(unit: float) -> None:
    mesh = plate(0.05, 4)
    near = near_triangles(mesh, 0.35)
    scaled = near_triangles(SurfaceMesh(mesh.vertices * unit, mesh.triangles), 0.35)
    np.testing.assert_array_equal(near.first, scaled.first)
    np.testing.assert_allclose(near.ratio, scaled.ratio, rtol=1e-12)


def test_closed_forms_of_the_static_potentials() -> None:
    """Against a fine rule, at points above, beside and in the plane of a triangle, and on the line of an edge."""
    triangle = np.array([[0.0, 0, 0], [1.2, 0.1, 0], [0.3, 0.9, 0.4]])
    a, b, c = triangle
    normal = np.cross(b - a, c - a)
    normal /= np.linalg.norm(normal)
    inside = (a + b + 2 * c) / 4
    points = np.stack(
        [inside + 0.3 * normal, inside - 0.25 * normal, 1.5 * b, a - 0.4 * (c - a), inside + b + 0.1 * normal]
    )
    single, double = linear_potentials(points[None], triangle[None], normal[None])
    local, weights = pieces(12, 5)
    hats = np.stack([1 - local[0] - local[1], local[0], local[1]]).T
    difference = points[:, None] - hats @ triangle
    r = np.linalg.norm(difference, axis=2)
    area = np.linalg.norm(np.cross(b - a, c - a))
    np.testing.assert_allclose(single[0], area * (weights / r) @ hats, rtol=1e-9)
    np.testing.assert_allclose(double[0], area * (weights * (difference @ normal) / r**3) @ hats, rtol=1e-8, atol=1e-12)
    # a face seen from close by fills half of the space, from either side
    near = linear_potentials(inside + 1e-9 * np.array([[normal, -normal]]), triangle[None], normal[None])[1][0].sum(
        axis=1
    )
    np.testing.assert_allclose(near, [2 * np.pi, -2 * np.pi], rtol=1e-7)


@pytest.mark.parametrize(("gap", "tolerance"), [(0.3, 3e-6)])
def test_all_entries_between_two_bodies(gap: float, tolerance: float) -> None:
    """Four operators of two boxes, from pairs of triangles alone, against the definition of each by a fine rule."""
    k = 1.7
    vertices, triangles = together(box((1, 1, 0.4)), box((0.8, 0.9, 0.5), corner=(0.1, 0.2, 0.4 + gap)))
    mesh = SurfaceMesh(vertices, triangles, np.repeat([1, 2], 12))
    near = near_triangles(mesh, 100.0)
    across = (near.first < 12) & (near.second >= 12)
    near = type(near)(near.first[across], near.second[across], near.ratio[across])
    assert len(near) == 144
    single, adjoint = ([np.zeros((16, 16), dtype=complex) for _ in range(2)] for _ in range(2))
    hypersingular = np.zeros((16, 16), dtype=complex)
    bem._correct(mesh, near, near_correction(mesh, near, k, NOTHING), k, single, adjoint, hypersingular)

    local, weights = pieces(12, 1)
    hats = np.stack([1 - local[0] - local[1], local[0], local[1]])
    corners = mesh.vertices[:, mesh.triangles]
    points = np.einsum("cat,aq->tqc", corners, hats).reshape(-1, 3)
    measure = np.outer(2 * mesh.areas, weights).ravel()
    values, curls = np.zeros((16, len(points))), np.zeros((16, 3, len(points)))
    q = len(weights)
    for t in range(24):
        rows = slice(t * q, (t + 1) * q)
        for a in range(3):
            values[mesh.triangles[a, t], rows] += hats[a]
            curls[mesh.triangles[a, t], :, rows] += mesh.opposite_edges[a][:, [t]] / (2 * mesh.areas[t])
    normals = np.repeat(mesh.normals.T, q, axis=0)
    two = slice(12 * q, None)
    weighted, turning = values * measure, curls * measure
    expected = np.zeros((4, 8, 8), dtype=complex)
    for start in range(0, 12 * q, 192):
        x = slice(start, min(start + 192, 12 * q))
        difference = points[None, two] - points[x, None]
        r = np.linalg.norm(difference, axis=2)
        g = np.exp(1j * k * r) / (4 * np.pi * r)
        slope = g * (1j * k - 1 / r) / r
        left, right = weighted[:8, x], weighted[8:, two].T
        expected[0] += left @ g @ right
        expected[1] += left @ (slope * np.einsum("xyc,yc->xy", difference, normals[two])) @ right
        expected[2] += left @ (-slope * np.einsum("xyc,xc->xy", difference, normals[x])) @ right
        expected[3] += sum(turning[:8, c, x] @ g @ turning[8:, c, two].T for c in range(3))
        expected[3] -= k**2 * left @ (g * (normals[x] @ normals[two].T)) @ right
    double = np.add.reduce(adjoint).T
    for name, found, exact in (
        ("V", single[1][:8, 8:], expected[0]),
        ("V, other way", single[0][8:, :8], expected[0].T),
        ("K", double[:8, 8:], expected[1]),
        ("K'", adjoint[1][:8, 8:], expected[2]),
        ("K, other way", double[8:, :8], expected[2].T),
        ("K', other way", adjoint[0][8:, :8], expected[1].T),
        ("W", hypersingular[:8, 8:], expected[3]),
        ("W, other way", hypersingular[8:, :8], expected[3].T),
    ):
        np.testing.assert_allclose(found, exact, atol=tolerance * np.abs(exact).max(), err_msg=name)
    assert not single[0][:8].any()
    assert not single[1][8:].any()


def test_a_correction_is_relative_to_the_rule_that_was_used() -> None:
    mesh = plate(0.1, 2)
    near = near_triangles(mesh, 0.35)
    whole = near_correction(mesh, near, 2.0, NOTHING)
    for order in (4, 12):
        rest = near_correction(mesh, near, 2.0, _reference_rule(order))
        off = [
            np.abs(getattr(rest, n)).max() / np.abs(getattr(whole, n)).max() for n in ("single", "double", "adjoint")
        ]
        assert (max(off) > 2e-2) == (order == 4), off
        assert max(off) < (0.5 if order == 4 else 2e-2)


def test_triangles_too_near_to_be_integrated_well_are_named() -> None:
    with pytest.warns(
        UserWarning, match=r"triangles \d+ and \d+ do not touch and are 4\.2e-04 of an edge apart \(\d+ such pairs"
    ):
        rules.warn_if_too_near(near_triangles(plate(1e-4), rules.NEAR))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        rules.warn_if_too_near(near_triangles(plate(0.02), rules.NEAR))
        rules.warn_if_too_near(near_triangles(surface("sphere", 2), rules.NEAR))


def test_sharp_edges_are_found() -> None:
    mesh = double_pyramid(0.02)
    sharp = sharp_triangles(mesh, rules.SHARP, rules.SHARP_AT_VERTEX)
    edges = [k for k, p in enumerate(zip(sharp.first, sharp.second, strict=True)) if p in ((0, 3), (1, 4), (2, 5))]
    assert sharp.angle[edges[0]] == pytest.approx(2 * np.arctan(0.02 / 0.3), rel=1e-12)
    assert len(edges) == 3
    assert len(sharp) == 9  # and each upper face with the two lower ones that have a corner of it
    assert np.all(sharp.first < sharp.second)
    assert repr(sharp).startswith("SharpTriangles(9 pairs, the sharpest at ")
    for shape in ("sphere", "ellipsoid", "peanut"):
        for level in (0, 1, 2, 3):
            assert not len(sharp_triangles(surface(shape, level), rules.SHARP, rules.SHARP_AT_VERTEX)), (shape, level)
    assert not len(sharp_triangles(SurfaceMesh(*box((1, 1, 1))), rules.SHARP, rules.SHARP_AT_VERTEX))


def test_triangles_that_touch_at_a_sharp_edge_are_integrated() -> None:
    """A closed surface is seen under 2 pi from its points.

    Each row of the static double layer adds up to -1/2 of the hat's integral.
    """
    mesh = double_pyramid(0.01)
    pairs = sharp_triangles(mesh, 4.0, np.inf)
    assert len(pairs) == 15
    single, adjoint, other = ([np.zeros((5, 5), dtype=complex)] for _ in range(3))
    bem._correct(mesh, pairs, near_correction(mesh, pairs, 1e-6, None), 1e-6, single, adjoint, other[0])
    halves = bem.mass(mesh).sum(axis=1) / 2
    np.testing.assert_allclose(adjoint[0].T.sum(axis=1).real, -halves, rtol=3e-4)


def test_other_numbers_need_another_version_of_the_rules(monkeypatch: pytest.MonkeyPatch) -> None:
    """Matrices on disk are found by `rules()`.

    Where these numbers change and no constant does, RULES must, or old files would be read.
    """
    mesh = double_pyramid(0.1)
    sharp = sharp_triangles(mesh, rules.SHARP, rules.SHARP_AT_VERTEX)
    found = near_correction(mesh, sharp, 2.0, None)
    near = near_triangles(plate(0.1, 2), rules.NEAR)
    rest = near_correction(plate(0.1, 2), near, 2.0, _reference_rule(4))
    numbers = [len(sharp), len(near), *(np.abs(x).sum() for c in (found, rest) for x in (c.single, c.double))]
    assert rules.rules() == RULES_TESTED
    np.testing.assert_allclose(numbers, NUMBERS, rtol=1e-9)
    before = cached_file(Path("x"), mesh, 1.0, 4)
    names = {before}
    for module, name in ((rules, "NEAR"), (rules, "SHARP"), (rules, "RULES"), (near_quadrature, "LEVELS")):
        with monkeypatch.context() as patch:
            patch.setattr(module, name, getattr(module, name) + 1)
            names.add(cached_file(Path("x"), mesh, 1.0, 4))
    assert len(names) == 5


def test_an_edge_that_is_too_sharp_is_named() -> None:
    with pytest.warns(UserWarning, match=r"triangles \d and \d meet at an angle of 0\.019 degrees .* thicken the rim"):
        rules.pairs_to_correct(double_pyramid(1e-4))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        rules.pairs_to_correct(double_pyramid(0.01))


def test_many_pairs_are_announced() -> None:
    mesh = plate(0.1, 2)

    def announced(near: int, sharp: int, *ks: float) -> None:
        pairs = [np.zeros(n, dtype=int) for n in (near, sharp)]
        far = NearTriangles(pairs[0], pairs[0], np.ones(near))
        rules.warn_if_costly(mesh, far, SharpTriangles(pairs[1], pairs[1], np.ones(sharp)), ks)

    with pytest.warns(
        UserWarning,
        match=r"242000 integrals over pairs of near triangles, which take about 5 minutes .* 5 times as long as high",
    ):
        announced(120000, 1000, 0.5, 1.0)
    with pytest.warns(UserWarning, match=r"50000 integrals .* about 3 minutes"):  # several waves to an edge
        announced(50000, 0, 90.0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        announced(23616, 128, 0.5)  # a closed cylinder of 256 long triangles


def test_integrals_over_sharp_pairs_against_an_independent_number() -> None:
    """The potential in polar coordinates, radius in closed form, angle by Gauss rules of 16 points, and adaptively
    over the other triangle, to 1e-9.
    """
    mesh = double_pyramid(0.1)
    sharp = sharp_triangles(mesh, rules.SHARP, rules.SHARP_AT_VERTEX)
    found = near_correction(mesh, sharp, 2.0, None)
    sums = [np.abs(x).sum() for x in (found.single, found.double, found.adjoint)]
    np.testing.assert_allclose(sums, [0.0298952698465, 0.1426075502879, 0.1426075502879], rtol=5e-7)
