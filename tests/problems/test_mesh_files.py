"""Mesh files with more than triangles in them.

Quadrilaterals are cut, cells of bodies left out with a word, all else refused by name.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.plates import box

from problems import read_surface, surface
from problems.acoustics.mesh_files import _cut
from rbm.errors import ModelError

meshio = pytest.importorskip("meshio", reason='pip install ".[bem]"')

#: corners of the unit cube, and its faces seen from outside
CORNERS = np.array([[x, y, z] for x in (0.0, 1.0) for y in (0.0, 1.0) for z in (0.0, 1.0)])
FACES = np.array([[0, 1, 3, 2], [4, 6, 7, 5], [0, 4, 5, 1], [2, 3, 7, 6], [0, 2, 6, 4], [1, 5, 7, 3]])


def written(path: Path, points: np.ndarray, cells: list[tuple[str, np.ndarray]], **more: Any) -> Path:
    meshio.Mesh(points, cells, **more).write(path)
    return path


def volume(mesh: Any) -> float:
    a, b, c = (mesh.vertices[:, t] for t in mesh.triangles)
    return float(np.sum(a * np.cross(b, c, axis=0)) / 6)


@pytest.mark.parametrize("suffix", [".vtk", ".vtu", ".obj"])
def test_a_body_of_quadrilaterals_beside_one_of_triangles_is_kept_and_said(tmp_path: Path, suffix: str) -> None:
    sphere = surface("sphere", 2)
    n = sphere.vertices.shape[1]
    points = np.concatenate([sphere.vertices.T, CORNERS + 5.0])
    path = written(tmp_path / f"bodies{suffix}", points, [("triangle", sphere.triangles.T), ("quad", FACES + n)])
    with pytest.warns(UserWarning, match=rf"bodies{suffix} holds 6 quadrilaterals: each is cut into two triangles"):
        mesh = read_surface(path)
    assert mesh.triangles.shape[1] == sphere.triangles.shape[1] + 12
    np.testing.assert_allclose(mesh.vertices.max(axis=1), 6.0)
    assert volume(mesh) == pytest.approx(volume(sphere) + 1.0, rel=1e-6)


def test_a_surface_of_quadrilaterals_alone_keeps_its_parts(tmp_path: Path) -> None:
    tags = {"gmsh:physical": [np.array([7, 7, 3, 3, 5, 5])], "gmsh:geometrical": [np.arange(1, 7)]}
    path = tmp_path / "cube.msh"
    meshio.Mesh(CORNERS, [("quad", FACES)], cell_data=tags).write(path, file_format="gmsh22")
    with pytest.warns(UserWarning, match="holds 6 quadrilaterals"):
        mesh = read_surface(path)
    assert volume(mesh) == pytest.approx(1.0)
    np.testing.assert_array_equal(np.round(mesh.normals[0, mesh.parts == 3]), [-1, -1, 1, 1])
    np.testing.assert_array_equal(np.bincount(mesh.parts), [0, 4, 4, 4])


def test_quadrilaterals_are_cut_along_the_shorter_diagonal_in_their_sense() -> None:
    points = np.array([[0.0, 0, 0], [3, 0, 0], [4, 1, 0], [0, 1, 0]])
    for turn in range(4):
        quadrilateral = np.roll(np.arange(4), turn)[None]
        triangles = _cut(points, quadrilateral)
        assert all({1, 3} <= set(t) for t in triangles.tolist())
        a, b, c = points[triangles].transpose(1, 0, 2)
        assert np.all(np.cross(b - a, c - a)[:, 2] > 0)


def test_lines_and_points_bound_nothing(tmp_path: Path) -> None:
    vertices, triangles = box((1, 1, 1), (2, 2, 2))
    cells = [("vertex", np.array([[0]])), ("line", np.array([[0, 1], [1, 2]])), ("triangle", triangles.T)]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        mesh = read_surface(written(tmp_path / "box.vtk", vertices.T, cells))
    assert mesh.triangles.shape == triangles.shape


def test_cells_of_bodies_are_left_out_with_a_word(tmp_path: Path) -> None:
    vertices, triangles = box((1, 1, 1))
    path = written(tmp_path / "body.vtk", vertices.T, [("triangle", triangles.T), ("tetra", np.array([[0, 1, 2, 4]]))])
    with pytest.warns(UserWarning, match=r"body\.vtk holds 1 tetra, which are left out"):
        assert read_surface(path).triangles.shape == triangles.shape
    with pytest.raises(ModelError, match="holds no triangles, only 1 tetra"):
        read_surface(written(tmp_path / "only.vtk", vertices.T, [("tetra", np.array([[0, 1, 2, 4]]))]))


@pytest.mark.parametrize(("kind", "corners"), [("triangle6", 6), ("quad8", 8), ("quad9", 9)])
def test_cells_of_higher_order_are_refused_by_name_with_their_number(tmp_path: Path, kind: str, corners: int) -> None:
    vertices, triangles = box((1, 1, 1), (2, 2, 2))
    curved = np.arange(2 * corners).reshape(2, corners) % vertices.shape[1]
    path = written(tmp_path / "curved.vtu", vertices.T, [("triangle", triangles.T), (kind, curved)])
    with pytest.raises(
        ModelError, match=rf"curved\.vtu holds 2 {kind}, which are not read: export a surface of first order"
    ):
        read_surface(path)


def test_a_file_of_points_in_the_plane_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "flat.su2"
    meshio.Mesh(CORNERS[:4, 1:], [("triangle", np.array([[0, 1, 2], [1, 3, 2]]))]).write(path)
    with pytest.raises(ModelError, match=r"points of shape \(4, 2\), expected \(n, 3\)"):
        read_surface(path)
