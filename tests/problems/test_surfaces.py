"""Surface meshes: geometry, parts, files, and one clear message for each kind of bad mesh."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest
from scipy.special import ellipeinc, ellipkinc

import problems
from problems.acoustics.boundary_elements import half_order_gram, mass, stiffness, warn_if_coarse
from problems.acoustics.mesh_files import read_surface
from problems.acoustics.shapes import cut, surface
from problems.acoustics.surface_fields import sphere_rule, unit_vectors
from problems.acoustics.surfaces import SurfaceMesh, solid_angle

EPS = np.finfo(float).eps


@pytest.mark.parametrize("level", range(5))
def test_the_sphere_has_the_stated_size_and_lies_on_the_sphere(level: int) -> None:
    mesh = surface("sphere", level)
    n = mesh.vertices.shape[1]
    assert n == 4 ** (level + 1) + 2
    assert mesh.triangles.shape[1] == 2 * n - 4  # Euler
    np.testing.assert_allclose(np.linalg.norm(mesh.vertices, axis=0), 1, rtol=4 * EPS)
    centroids = mesh.vertices[:, mesh.triangles].mean(axis=1)
    assert np.all(np.sum(centroids * mesh.normals, axis=0) > 0)


def ellipsoid_area(a: float, b: float, c: float) -> float:
    """Legendre's formula, a > b > c."""
    phi = np.arccos(c / a)
    m = a**2 * (b**2 - c**2) / (b**2 * (a**2 - c**2))
    integrals = ellipeinc(phi, m) * np.sin(phi) ** 2 + ellipkinc(phi, m) * np.cos(phi) ** 2
    return float(2 * np.pi * c**2 + 2 * np.pi * a * b / np.sin(phi) * integrals)


@pytest.mark.parametrize(
    ("shape", "area", "volume"),
    [("sphere", 4 * np.pi, 4 * np.pi / 3), ("ellipsoid", ellipsoid_area(1, 0.7, 0.5), 4 * np.pi / 3 * 0.35)],
)
def test_area_and_volume_converge_with_order_two(shape: str, area: float, volume: float) -> None:
    errors = []
    for level in (3, 4, 5):
        mesh = surface(shape, level)
        centroids = mesh.vertices[:, mesh.triangles].mean(axis=1)
        inside = np.sum(mesh.areas * np.sum(centroids * mesh.normals, axis=0)) / 3
        errors.append([abs(mesh.areas.sum() - area), abs(inside - volume)])
    slope = np.log2(np.array(errors)[:-1] / np.array(errors)[1:])
    assert np.all(slope > 1.9), slope


@pytest.mark.parametrize("parts", [1, 2, 4, 8])
def test_ready_made_parts_follow_mesh_edges(parts: int) -> None:
    mesh = surface("ellipsoid", 3, parts)
    assert mesh.n_parts == parts
    assert len(set(np.bincount(mesh.parts)[1:])) == 1
    for axis in {2: (2,), 4: (2, 0), 8: (2, 0, 1)}.get(parts, ()):
        corners = mesh.vertices[axis][mesh.triangles]
        assert np.all((corners.min(axis=0) >= -1e-15) | (corners.max(axis=0) <= 1e-15))  # no triangle is cut through


def test_parts_by_function_and_by_array_agree() -> None:
    by_function = surface("peanut", 2, lambda c: np.where(c[2] > 0.3, 2, 1))
    np.testing.assert_array_equal(cut(by_function, by_function.parts.copy()).parts, by_function.parts)
    assert by_function.n_parts == 2


def test_mass_and_stiffness_integrate_polynomials() -> None:
    mesh = surface("ellipsoid", 2, 4)
    m, s = mass(mesh), stiffness(mesh)
    one = np.ones(len(m))
    assert one @ m @ one == pytest.approx(mesh.areas.sum(), rel=1e-14)
    np.testing.assert_allclose(sum(mass(mesh, j) for j in range(1, 5)), m, atol=1e-17)
    np.testing.assert_allclose(s @ one, 0, atol=1e-14)
    # a linear function d.x has surface gradient d - (d.n) n
    d = np.array([0.3, -1.0, 0.7])
    u = d @ mesh.vertices
    expected = np.sum(mesh.areas * (d @ d - (d @ mesh.normals) ** 2))
    assert u @ s @ u == pytest.approx(expected, rel=1e-13)
    # and d.x squared is integrated exactly
    middles = (mesh.vertices[:, mesh.triangles[[0, 1, 2]]] + mesh.vertices[:, mesh.triangles[[1, 2, 0]]]) / 2
    expected = np.sum(mesh.areas / 3 * np.sum(np.einsum("c,cat->at", d, middles) ** 2, axis=0))
    assert u @ m @ u == pytest.approx(expected, rel=1e-13)


def test_the_half_order_product_lies_between_l2_and_h1() -> None:
    mesh = surface("sphere", 2)
    p, m, s = half_order_gram(mesh, 2.0), mass(mesh), stiffness(mesh)
    np.testing.assert_array_equal(p, p.T)
    assert np.linalg.eigvalsh(p).min() > 0
    # (P M^-1)^2 = 1 + S M^-1 / k^2: it is the square root
    root = p @ np.linalg.inv(m)
    np.testing.assert_allclose(root @ root, np.eye(len(m)) + s @ np.linalg.inv(m) / 4, atol=1e-11 * 100)


def test_a_rule_on_the_sphere_is_exact_for_polynomials() -> None:
    directions, weights = sphere_rule(6)
    assert weights.sum() == pytest.approx(4 * np.pi, rel=1e-14)
    x, y, z = directions
    assert weights @ z**10 == pytest.approx(4 * np.pi / 11, rel=1e-13)
    assert weights @ x**10 == pytest.approx(4 * np.pi / 11, rel=1e-13)
    assert weights @ (x**2 * y**2) == pytest.approx(4 * np.pi / 15, rel=1e-13)


def good() -> tuple[np.ndarray, np.ndarray]:
    mesh = surface("sphere", 1)
    return mesh.vertices.copy(), mesh.triangles.copy()


def changed(what: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    vertices, triangles = good()
    parts = np.ones(triangles.shape[1], dtype=int)
    if what == "open":
        triangles, parts = triangles[:, 1:], parts[1:]
    elif what == "inward":
        triangles = triangles[[0, 2, 1]]
    elif what == "one flipped":
        triangles[:, 5] = triangles[[0, 2, 1], 5]
    elif what == "nan":
        vertices[0, 3] = np.nan
    elif what == "range":
        triangles[0, 0] = 99
    elif what == "unused":
        vertices = np.concatenate([vertices, np.full((3, 1), 7.0)], axis=1)
    elif what == "flat":
        vertices[:, triangles[0, 0]] = (vertices[:, triangles[1, 0]] + vertices[:, triangles[2, 0]]) / 2
    elif what == "repeated":
        vertices[:, 1] = vertices[:, 0]
    elif what == "gap":
        parts[0] = 3
    elif what == "zero":
        parts[0] = 0
    elif what == "length":
        parts = parts[1:]
    elif what == "complex":
        vertices = vertices * (1 + 0j)
    elif what == "nested":
        vertices = np.concatenate([vertices, 0.3 * vertices], axis=1)
        triangles = np.concatenate([triangles, triangles + 18], axis=1)
        parts = np.concatenate([parts, parts])
    elif what == "transposed":
        vertices = vertices.T
    return vertices, triangles, parts


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("open", r"not closed: edge \(\d+, \d+\) belongs to 1 triangle\(s\) instead of 2 \(3 such edges\)"),
        ("inward", r"oriented inwards \(volume -.*triangles\[\[0, 2, 1\]\]"),
        ("one flipped", r"orientation is not consistent: triangle \d+"),
        ("nan", "vertices hold 1 numbers that are NaN"),
        ("range", "triangles name vertices 0 to 99, but the mesh has 0 to 17"),
        ("unused", "1 vertices belong to no triangle, the first is vertex 18"),
        ("flat", "have no area, the first is triangle 0"),
        ("repeated", "1 vertices have the place of another one"),
        ("gap", "part numbers must be 1..d without gaps, got 1, 3"),
        ("zero", "part numbers must be 1..d without gaps, got 0, 1"),
        ("length", r"parts has shape \(31,\), expected \(32,\)"),
        ("complex", "vertices must be finite real numbers, got an array of complex128"),
        (
            "nested",
            r"vertex 18 lies inside component 1 of 2 \(with triangle 0\): components must not lie in each other",
        ),
        ("transposed", r"vertices must have shape \(3, n\).*transpose it"),
    ],
)
def test_bad_meshes_are_refused(what: str, message: str) -> None:
    with pytest.raises(problems.acoustics.surfaces.ModelError, match=message):
        SurfaceMesh(*changed(what))


def test_two_obstacles_side_by_side_are_a_surface() -> None:
    vertices, triangles = good()
    both = SurfaceMesh(
        np.concatenate([vertices, vertices + 2.5], axis=1), np.concatenate([triangles, triangles + 18], axis=1)
    )
    assert both.n_parts == 1
    assert SurfaceMesh(*good(), None).n_parts == 1  # type: ignore[arg-type]


def _pit_and_cone(depth: float) -> tuple[np.ndarray, np.ndarray]:
    """A unit cube whose top face has a pit down to (.5, .5, depth), and a cone on the tip.

    Both have the tip as vertex 8.
    """
    base, top = [[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]], [[0, 0, 1], [1, 0, 1], [1, 1, 1], [0, 1, 1]]
    rim = [[0.4, 0.4, 1.5], [0.6, 0.4, 1.5], [0.5, 0.6, 1.5]]
    cube = [[0, 2, 1], [0, 3, 2]]
    for k in range(4):
        j = (k + 1) % 4
        cube += [[k, j, 4 + j], [k, 4 + j, 4 + k], [4 + k, 4 + j, 8]]
    cone = [[9, 10, 11], [8, 10, 9], [8, 11, 10], [8, 9, 11]]
    return np.array([*base, *top, [0.5, 0.5, depth], *rim], dtype=float).T, np.array(cube + cone).T


def test_a_cone_may_stand_on_the_bottom_of_a_pit() -> None:
    """At the tip the cube is seen under more than half of all directions; that is no sign of the cone being inside."""
    vertices, triangles = _pit_and_cone(0.3)
    assert SurfaceMesh(vertices, triangles).triangles.shape == (3, 18)
    vertices[2, 9:] = 0.1  # now it hangs from the bottom, into the cube
    triangles = np.concatenate([triangles[:, :14], triangles[[0, 2, 1], 14:]], axis=1)
    with pytest.raises(ValueError, match="vertex 9 lies inside component 1 of 2"):
        SurfaceMesh(vertices, triangles)


def test_the_solid_angle_is_exact() -> None:
    mesh = surface("ellipsoid", 2)
    rng = np.random.default_rng(0)
    inside = 0.45 * rng.uniform(-0.5, 0.5, (3, 20))
    np.testing.assert_allclose(solid_angle(mesh.vertices, mesh.triangles, inside), 4 * np.pi, rtol=1e-12)
    np.testing.assert_allclose(solid_angle(mesh.vertices, mesh.triangles, inside + 2), 0, atol=1e-12)


def test_an_inward_component_is_named() -> None:
    vertices, triangles = good()
    both = np.concatenate([vertices, vertices + 5], axis=1)
    with pytest.raises(ValueError, match=r"component 2 of 2 \(with triangle 32\) is oriented inwards"):
        SurfaceMesh(both, np.concatenate([triangles, triangles[[0, 2, 1]] + vertices.shape[1]], axis=1))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"shape": "cube"}, "unknown shape 'cube'; the shapes are sphere, ellipsoid, peanut"),
        ({"level": 9}, "level must be a whole number from 0 to 6"),
        ({"level": 2.5}, "level must be a whole number"),
        ({"level": True}, "level must be a whole number"),
        ({"shape": ["a"]}, "unknown shape"),
        ({"parts": True}, "ready-made cuts give"),
        ({"axes": "abc"}, "axes must be three positive numbers"),
        ({"axes": (1, 0, 1)}, "axes must be three positive numbers"),
        ({"parts": 3}, "ready-made cuts give 1, 2, 4 or 8 parts"),
        ({"parts": lambda c: c[0]}, "parts must hold whole numbers"),
    ],
)
def test_bad_arguments_of_shapes(arguments: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        surface(**arguments)


@pytest.mark.parametrize("direction", [(0, 0, 0), (np.nan, 0, 1), (1, 0)])
def test_bad_directions(direction: tuple) -> None:
    with pytest.raises(ValueError, match="direction"):
        unit_vectors(direction)


def test_a_coarse_mesh_warns() -> None:
    with pytest.warns(UserWarning, match=r"the mesh has 4\.4 elements per wavelength at wavenumber 3, fewer than six"):
        warn_if_coarse(surface("sphere", 2), 3.0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warn_if_coarse(surface("sphere", 2), 2.0)


# ---- files


def test_a_mesh_file_comes_back_with_its_parts(tmp_path: Path) -> None:
    meshio = pytest.importorskip("meshio")
    mesh = surface("ellipsoid", 1, 2)
    path = tmp_path / "obstacle.msh"
    tags = {"gmsh:physical": [mesh.parts * 10], "gmsh:geometrical": [mesh.parts]}
    points = np.concatenate([mesh.vertices.T, [[9.0, 9.0, 9.0]]])  # a node that no triangle uses
    meshio.Mesh(points, [("triangle", mesh.triangles.T)], cell_data=tags).write(path, file_format="gmsh22")
    again = read_surface(path)
    np.testing.assert_allclose(again.vertices, mesh.vertices, rtol=1e-14)
    np.testing.assert_array_equal(again.triangles, mesh.triangles)
    np.testing.assert_array_equal(again.parts, mesh.parts)


def test_bad_mesh_files(tmp_path: Path) -> None:
    meshio = pytest.importorskip("meshio")
    with pytest.raises(FileNotFoundError, match=r"none\.msh does not exist"):
        read_surface(tmp_path / "none.msh")
    (tmp_path / "bad.msh").write_text("this is not a mesh\n")
    with pytest.raises(ValueError, match=r"bad\.msh is not a mesh file that meshio can read"):
        read_surface(tmp_path / "bad.msh")
    lines = meshio.Mesh(np.eye(3), [("line", np.array([[0, 1], [1, 2]]))])
    lines.write(tmp_path / "lines.vtk")
    with pytest.raises(ValueError, match="holds no triangles, only 2 line"):
        read_surface(tmp_path / "lines.vtk")
