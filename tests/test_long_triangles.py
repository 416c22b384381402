"""Long triangles that are near each other: found by their length, told by their width, integrated at the cost of round ones."""

from __future__ import annotations

import numpy as np
import pytest
from plates import plate

from problems import assembly_rules as rules
from problems import near_quadrature
from problems.near_quadrature import near_correction
from problems.near_triangles import near_triangles, triangle_distance
from problems.static_potentials import linear_potentials
from problems.surface_fields import _reference_rule
from problems.surfaces import SurfaceMesh

NOTHING = np.zeros((2, 1)), np.zeros(1)


def long_triangles(count: int, height: float) -> SurfaceMesh:
    """A cylinder of radius 1, the mantle of two triangles from end to end for each side, the ends fans."""
    angle = 2 * np.pi * np.arange(count) / count
    ring = np.stack([np.cos(angle), np.sin(angle), 0 * angle])
    vertices = np.concatenate([ring, ring + np.array([[0], [0], [height]]), [[0, 0], [0, 0], [0, height]]], axis=1)
    i = np.arange(count)
    j, top, centre = (i + 1) % count, i + count, np.full(count, 2 * count)
    triangles = [[i, j, top], [j, j + count, top], [j, i, centre], [top, j + count, centre + 1]]
    return SurfaceMesh(vertices, np.concatenate(triangles, axis=1))


def by_brute_force(mesh: SurfaceMesh, s: int, t: int, k: float) -> np.ndarray:
    """(3, 3, 3): single, double, adjoint, by a product rule on pieces of both, of which the larger is halved until they are apart."""
    points, weights = _reference_rule(8)
    hats = np.stack([1 - points[0] - points[1], points[0], points[1]]).T
    corners = mesh.vertices[:, mesh.triangles].transpose(2, 1, 0)
    total, waiting = np.zeros((3, 3, 3), dtype=complex), [(np.eye(3), np.eye(3))]
    while waiting:
        pieces = waiting.pop()
        places = [p @ corners[m] for p, m in zip(pieces, (s, t), strict=True)]
        centres = [p.mean(axis=0) for p in places]
        radii = [np.linalg.norm(p - c, axis=1).max() for p, c in zip(places, centres, strict=True)]
        if np.linalg.norm(centres[0] - centres[1]) < 1.2 * sum(radii):
            larger = int(radii[1] > radii[0])
            p, place = pieces[larger], places[larger]
            j = np.argmax([np.linalg.norm(place[(i + 1) % 3] - place[(i + 2) % 3]) for i in range(3)])
            apex, start, end = p[j], p[(j + 1) % 3], p[(j + 2) % 3]
            for half in ([apex, start, (start + end) / 2], [apex, (start + end) / 2, end]):
                waiting.append((np.array(half), pieces[1]) if not larger else (pieces[0], np.array(half)))
            continue
        one, two = (hats @ p for p in places)
        difference = two[None] - one[:, None]
        r = np.linalg.norm(difference, axis=2)
        g = np.exp(1j * k * r) / (4 * np.pi * r)
        slope = g * (1j * k - 1 / r) / r
        measures = [np.linalg.norm(np.cross(p[1] - p[0], p[2] - p[0])) * weights[:, None] for p in places]
        left, right = (hats @ p * m for p, m in zip(pieces, measures, strict=True))
        kernels = g, slope * (difference @ mesh.normals[:, t]), -slope * (difference @ mesh.normals[:, s])
        total += np.stack([left.T @ kernel @ right for kernel in kernels])
    return total


@pytest.mark.parametrize(
    ("mesh", "k"), [(long_triangles(12, 4.0), 0.5), (plate(0.05, 2), 2.0)], ids=["long triangles", "plate"]
)
def test_near_triangles_against_brute_force(mesh: SurfaceMesh, k: float) -> None:
    """Long triangles too: a rule of eight points to a side left 1e-4 of the double layers of pieces three units long."""
    near = near_triangles(mesh, rules.NEAR)
    some = np.array([np.argmin(near.ratio), *np.linspace(0, len(near) - 1, 3).astype(int)])
    near = type(near)(near.first[some], near.second[some], near.ratio[some])
    found = near_correction(mesh, near, k, NOTHING)
    found = np.stack([found.single, found.double, found.adjoint], axis=1)
    for one, s, t in zip(found, near.first, near.second, strict=True):
        exact = by_brute_force(mesh, int(s), int(t), k)
        size = np.abs(exact).max(axis=(1, 2), keepdims=True)
        size[1:] = size[1:].max()
        assert np.all(np.abs(one - exact) <= 1e-5 * size)


def test_long_triangles_are_cut_only_where_it_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pairs of triangles up to 80 times as long as wide take no more pieces than pairs of round ones; by round pieces it would be 20 times as many."""
    counts = []
    for mesh in (long_triangles(64, 8.0), plate(0.02)):
        used = [0]

        def counting(points: np.ndarray, *rest: np.ndarray, used: list[int] = used) -> tuple[np.ndarray, np.ndarray]:
            used[0] += len(points)
            return linear_potentials(points, *rest)

        near = near_triangles(mesh, rules.NEAR)
        some = slice(None, None, len(near) // 40)
        near = type(near)(near.first[some], near.second[some], near.ratio[some])
        monkeypatch.setattr(near_quadrature, "linear_potentials", counting)
        near_correction(mesh, near, 0.5, NOTHING)
        counts.append(used[0] / len(near))
    assert counts[0] < 150, counts
    assert counts[1] < 150, counts


def test_distances_are_measured_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    mesh = long_triangles(24, 2.0)
    whole = near_triangles(mesh, rules.NEAR)
    sizes = []

    def measured(one: np.ndarray, two: np.ndarray) -> np.ndarray:
        sizes.append(one.shape[2])
        return triangle_distance(one, two)

    monkeypatch.setattr("problems.near_triangles.BLOCK", 100)
    monkeypatch.setattr("problems.near_triangles.triangle_distance", measured)
    found = near_triangles(mesh, rules.NEAR)
    assert max(sizes) <= 100
    np.testing.assert_array_equal([found.first, found.second], [whole.first, whole.second])
    # the size of a long triangle is twice its height: so near as a neighbour's neighbour is, nothing is too near
    assert whole.ratio.min() > 0.1
