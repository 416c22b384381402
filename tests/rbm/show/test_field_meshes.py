"""Meshes as points and cells: each node has the unknown of its place, cells are VTK's, other things are refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import skfem

import rbm
from rbm.show.cells import CELLS, linear_pieces, oriented
from rbm.show.meshes import field_mesh

LINE, TRI, QUAD = skfem.MeshLine().refined(2), skfem.MeshTri().refined(2), skfem.MeshQuad().refined(2)
TET, HEX = skfem.MeshTet().refined(1), skfem.MeshHex().refined(1)
NODAL = [
    (LINE, skfem.ElementLineP1(), "line"),
    (LINE, skfem.ElementLineP2(), "line3"),
    (TRI, skfem.ElementTriP1(), "triangle"),
    (TRI, skfem.ElementTriP2(), "triangle6"),
    (TRI, skfem.ElementTriP3(), "triangle"),
    (TRI, skfem.ElementTriP4(), "triangle"),
    (TRI, skfem.ElementTriP1B(), "triangle"),
    (TRI, skfem.ElementDG(skfem.ElementTriP1()), "triangle"),
    (QUAD, skfem.ElementQuad1(), "quad"),
    (QUAD, skfem.ElementQuad2(), "quad9"),
    (QUAD, skfem.ElementQuadS2(), "quad8"),
    (TET, skfem.ElementTetP1(), "tetra"),
    (TET, skfem.ElementTetP2(), "tetra10"),
    (HEX, skfem.ElementHex1(), "hexahedron"),
    (HEX, skfem.ElementHex2(), "hexahedron27"),
]
NAMES = [type(getattr(e, "elem", e)).__name__ + ("DG" if hasattr(e, "elem") else "") for _, e, _ in NODAL]


def function(x: np.ndarray) -> np.ndarray:
    """One that takes no value twice on these meshes; points are columns."""
    return np.sin(1.3 * x[0]) + sum((k + 2.7) * x[k] ** 2 for k in range(1, len(x)))


def volume(points: np.ndarray, simplices: np.ndarray) -> np.ndarray:
    edges = points[simplices[:, 1:]] - points[simplices[:, :1]]
    return np.linalg.det(edges) / [1, 1, 2, 6][points.shape[1]]


@pytest.mark.parametrize(("mesh", "element", "cell"), NODAL, ids=NAMES)
def test_nodes_have_the_unknowns_of_their_places(mesh: Any, element: Any, cell: str) -> None:
    basis = skfem.Basis(mesh, element)
    made = field_mesh(basis)
    assert [name for name, _ in made.cells] == [cell]
    values = function(basis.doflocs)
    shown = np.isfinite(values)  # bubbles have no place
    assert made.count == basis.N
    np.testing.assert_allclose(values[made.unknowns], function(made.points.T), rtol=1e-12)
    assert set(made.unknowns) == set(np.flatnonzero(shown))
    areas = volume(made.points, made.simplices)
    np.testing.assert_allclose(np.abs(areas).sum(), 1.0, rtol=1e-12)  # without holes or overlaps


@pytest.mark.parametrize(("mesh", "element", "cell"), NODAL, ids=NAMES)
def test_cells_are_turned_as_vtk_wants_them(mesh: Any, element: Any, cell: str) -> None:
    made = field_mesh(skfem.Basis(mesh, element))
    name, nodes = made.cells[0]
    dimension, places = CELLS[name]
    corners = made.points[nodes]  # (C, k, d): an affine map of the places, as these meshes have straight cells
    origin, axes = corners[:, 0], []
    for k in range(dimension):
        end = np.flatnonzero(np.abs(places - np.eye(dimension)[k]).max(axis=1) < 1e-9)[0]
        axes.append(corners[:, end] - origin)
    jacobian = np.stack(axes, axis=1)
    wanted = origin[:, None] + np.einsum("kd,cde->cke", places, jacobian)
    np.testing.assert_allclose(corners, wanted, atol=1e-12)
    if dimension > 1:
        assert np.all(np.linalg.det(jacobian) > 0)


def test_the_table_of_cells_is_vtks() -> None:
    vtk = pytest.importorskip("vtk", exc_type=ImportError)
    from rbm.show.volumes import CODES

    assert set(CODES) == set(CELLS)
    for name, code in CODES.items():
        cell = vtk.vtkGenericCell.InstantiateCell(code)
        known = np.array([cell.GetParametricCoords()[k] for k in range(3 * cell.GetNumberOfPoints())]).reshape(-1, 3)
        np.testing.assert_allclose(known[:, : CELLS[name][0]], CELLS[name][1], atol=1e-12, err_msg=name)


@pytest.mark.parametrize("name", [n for n, (d, _) in CELLS.items() if d > 1])
def test_a_cell_is_cut_without_gaps(name: str) -> None:
    dimension, places = CELLS[name]
    whole = {"t": 1 / [1, 1, 2, 6][dimension], "w": 0.5}.get(name[0], 1.0)
    assert np.all(volume(places, linear_pieces(name)) > 0)
    np.testing.assert_allclose(volume(places, linear_pieces(name)).sum(), whole, rtol=1e-12)
    mirrored = places * np.r_[-1.0, np.ones(dimension - 1)]  # the wrong way round
    nodes = np.arange(len(places))[None]
    assert np.array_equal(oriented(name, nodes, places), nodes)
    turned = oriented(name, nodes, mirrored)
    assert not np.array_equal(turned, nodes)
    assert np.array_equal(np.sort(turned), nodes)


@pytest.mark.parametrize(
    ("mesh", "element"), [(TRI, skfem.ElementTriP1()), (TRI, skfem.ElementTriP2()), (HEX, skfem.ElementHex1())]
)
def test_components_of_a_vector(mesh: Any, element: Any) -> None:
    basis = skfem.Basis(mesh, skfem.ElementVector(element))
    made = field_mesh(basis)
    d = mesh.dim()
    assert made.unknowns.shape == (len(made.points), d)
    project = np.zeros(basis.N)  # (k + 1) f in component k, by scikit-fem's own lists of degrees of freedom
    for k in range(d):
        lists = (basis.nodal_dofs, basis.facet_dofs, basis.interior_dofs)
        dofs = np.concatenate([np.ravel(a[k::d]) for a in lists if a.size])
        project[dofs] = (k + 1) * function(basis.doflocs[:, dofs])
    wanted = np.arange(1, d + 1) * function(made.points.T)[:, None]
    np.testing.assert_allclose(project[made.unknowns], wanted, rtol=1e-12)


def test_meshes_of_several_kinds_are_the_same(tmp_path: Path) -> None:
    meshio = pytest.importorskip("meshio")
    points, triangles = TRI.p.T, TRI.t.T
    whole = meshio.Mesh(np.pad(points, ((0, 0), (0, 1))), [("line", TRI.facets.T), ("triangle", triangles)])
    meshio.write(tmp_path / "square.vtk", whole)
    given = [TRI, whole, tmp_path / "square.vtk", (points, triangles), (points, [("triangle", triangles)])]
    for one in given:
        made = field_mesh(one)
        np.testing.assert_array_equal(made.points[:, :2], points)
        np.testing.assert_array_equal(made.unknowns, np.arange(len(points)))
        assert np.array_equal(np.sort(made.simplices), np.sort(triangles))
        assert (made.dimension, made.flat) == (2, 2)


def test_a_periodic_mesh_is_drawn_at_both_ends() -> None:
    mesh = skfem.MeshLine1DG.periodic(skfem.MeshLine(np.linspace(0, 1, 5)), [4], [0])
    made = field_mesh(skfem.Basis(mesh, skfem.ElementLineP1()))
    lengths = np.abs(np.diff(made.points[made.simplices, 0], axis=1))
    np.testing.assert_allclose(lengths, 0.25)


@pytest.mark.parametrize(
    ("element", "word"),
    [
        (skfem.ElementTriCR(), "ElementTriCR has no values at the vertices"),
        (skfem.ElementTriP0(), "nodal.project"),
        (skfem.ElementTriRT0(), "no values at the vertices"),
        (skfem.ElementTriN1(), "no values at the vertices"),
        (skfem.ElementTriMorley(), "no values at the vertices"),
        (skfem.ElementTriP2() * skfem.ElementTriP1(), r"split_indices\(\)\[k\]"),
    ],
    ids=["CR", "P0", "RT", "Nedelec", "Morley", "composite"],
)
def test_elements_without_nodal_values_are_refused(element: Any, word: str) -> None:
    with pytest.raises(rbm.ModelError, match=word):
        field_mesh(skfem.Basis(TRI, element))


def test_the_hint_for_other_elements_works() -> None:
    basis = skfem.Basis(TRI, skfem.ElementTriCR())
    nodal = basis.with_element(skfem.ElementTriP1())
    u = 2 * basis.doflocs[0] + basis.doflocs[1]
    np.testing.assert_allclose(nodal.project(basis.interpolate(u)), 2 * TRI.p[0] + TRI.p[1], atol=1e-12)


POINTS = np.array([[0.0, 0], [1, 0], [0, 1]])


@pytest.mark.parametrize(
    ("given", "unknowns", "message"),
    [
        (skfem.FacetBasis(TRI, skfem.ElementTriP1()), None, "basis of facets"),
        (object(), None, "got a object"),
        ((POINTS.T.repeat(2, 1), [[0, 1, 2]]), None, r"points must have shape \(P, d\).*give their transpose"),
        ((POINTS * np.nan, [[0, 1, 2]]), None, "not finite"),
        ((POINTS, [[0, 1, 3]]), None, "node 3, but nodes are the numbers 0 to 2"),
        ((POINTS, [[1, 2, 3]]), None, "counted from 0"),
        ((POINTS, [[0.5, 1, 2]]), None, "whole numbers, got float64"),
        ((POINTS, [[0, 1, 2, 0, 1]]), None, "cells must be an array"),
        ((POINTS, [("triangle", [[0, 1]])]), None, "have 3 nodes each"),
        ((POINTS, [("vertex", [[0]])]), None, "no cells that can be drawn, only vertex"),
        ((POINTS, [[0, 1, 2]]), [0, 1], r"unknowns must have shape \(3,\)"),
        ((POINTS, [[0, 1, 2]]), [0, 1, -1], "whole numbers from 0 on"),
        (("points", [[0, 1, 2]]), None, "points must be numbers"),
    ],
)
def test_what_is_no_mesh_is_refused(given: Any, unknowns: Any, message: str) -> None:
    with pytest.raises(rbm.ModelError, match=message):
        field_mesh(given, unknowns)
