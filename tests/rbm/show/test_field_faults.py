"""Fields that would be lost, misread or drawn wrong: refused with a sentence, or drawn as they are."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pytest
import skfem

import problems
import rbm
from rbm.show.explore import Explorer
from rbm.show.explore.picture import Picture, agg_figure, size_for
from rbm.show.field_values import Drawn
from rbm.show.mesh_fields import KEEPING, write_fields

mpl.use("Agg")
MESH = skfem.MeshTri().refined(1)
N = MESH.p.shape[1]


def made(vector: np.ndarray, mesh: Any = MESH, units: Any = None, name: str = "u") -> rbm.Fields:
    """Fields vector / a at a = 1/2 and 1, of a model whose operator is a times the identity."""
    n = len(vector)
    space = rbm.ParameterSpace({"a": (0.5, 2.0)}, units=units or {})
    model = rbm.FullOrderModel([("a", np.eye(n))], [(1.0, vector)], np.eye(n), space, "a")
    reduced = rbm.greedy(model, [[1.0]], max_basis=1).reduced_model
    return rbm.fields(reduced, [[0.5], [1.0]], mesh, name=name)


@pytest.mark.parametrize("ending", KEEPING)
def test_formats_keep_the_values(ending: str, tmp_path: Path) -> None:
    meshio = pytest.importorskip("meshio")
    if ending in (".xdmf", ".med", ".h5m"):
        pytest.importorskip("h5py")
    fields = made(np.arange(1.0, N + 1))
    path = tmp_path / f"u{ending}"
    write_fields(path, fields.mesh.grid, {"u": fields.values[0]})
    np.testing.assert_allclose(meshio.read(path).point_data["u"], fields.values[0], rtol=1e-12)


@pytest.mark.parametrize("ending", [".msh", ".stl", ".obj", ".off", ".bdf", ".inp", ".mesh", ".xml", ".post", ".wkt"])
def test_formats_that_lose_the_values_are_refused(ending: str, tmp_path: Path) -> None:
    pytest.importorskip("meshio")
    with pytest.raises(rbm.ModelError, match=r"take one of the endings \.vtu"):
        made(np.ones(N))[0].write(tmp_path / f"u{ending}")
    assert list(tmp_path.iterdir()) == []


def test_vectors_are_not_lost_in_ply(tmp_path: Path) -> None:
    pytest.importorskip("meshio")
    with pytest.raises(rbm.ModelError, match="keeps no vectors"):
        write_fields(tmp_path / "u.ply", made(np.ones(N)).mesh.grid, {"u": np.ones((N, 3))})


@pytest.mark.parametrize("name", ["a<b", "p & q", 'a"b', "%", "^", "$u$", " ", 3])
def test_names_that_files_and_labels_cannot_hold(name: Any, tmp_path: Path) -> None:
    with pytest.raises(rbm.ModelError, match="name of a field"):
        made(np.ones(N), name=name)
    pytest.importorskip("meshio")
    with pytest.raises(rbm.ModelError, match="name of a field"):
        write_fields(tmp_path / "u.vtu", made(np.ones(N)).mesh.grid, {name: np.ones(N)})


@pytest.mark.parametrize("name", ["_", "u", "7", "-", "."])
def test_short_names_are_drawn(name: str) -> None:
    made(np.arange(1.0, N + 1), name=name).plot().savefig(io.BytesIO())


def test_dollars_in_units_are_dollars() -> None:
    fields = made(np.arange(1.0, N + 1), units={"a": r"$\nothing and $"})
    fields.plot().savefig(io.BytesIO())
    fields[0].plot().savefig(io.BytesIO())
    explorer = Explorer(problems_model({"mu": r"$\nothing and $"}))
    Picture(explorer, agg_figure(size_for(explorer))).update()


def problems_model(units: Any) -> Any:
    space = rbm.ParameterSpace({"mu": (1.0, 2.0), "nu": (3.0, 3.0)}, units=units)
    model = rbm.FullOrderModel(
        [("mu", np.eye(3))], [(1.0, np.ones(3))], np.eye(3), space, 1.0, outputs={"s": np.ones(3)}
    )
    return rbm.greedy(model, [[1.0, 3.0]], max_basis=1).reduced_model


def test_the_band_is_named_where_there_is_one() -> None:
    explorer = Explorer(problems_model({}))
    picture = Picture(explorer, agg_figure(size_for(explorer)))
    picture.update()
    assert picture.certified.get_text() == "band: certified"
    explorer.output = explorer.outputs.index("error bound")
    picture.update()
    assert picture.certified.get_text() == ""


def test_control_and_a_solution_are_one_too_many() -> None:
    model = problems.cooling_fin(1, steps=6)
    reduced = rbm.pod_greedy(model, model.parameters.sample(4), max_basis=3).reduced_model
    answer, basis = reduced.solve(model.parameters.sample(1)), problems.thermal_fin_basis(1)
    for given in ({"control": np.zeros(6)}, {"extrapolate": True}):
        with pytest.raises(rbm.ModelError, match="this solution is there already"):
            rbm.fields(reduced, answer, basis, **given)
    explorer = Explorer(reduced)
    for t in (0.249, 0.26, 0.6):
        explorer.put(5, t)
        step = explorer.source.step(t)
        assert explorer.point[5] == reduced.times[step]
        assert explorer.curve(explorer.answers).at[0] == reduced.times[step]
    explorer.move(5, 0.4)
    assert explorer.point[5] in reduced.times


def test_one_deformed_field_has_its_outline_at_rest() -> None:
    basis = skfem.Basis(MESH, skfem.ElementVector(skfem.ElementTriP1()))
    (still,) = made(np.ones(basis.N), basis)[0].plot().axes[:1]
    (moved,) = made(np.ones(basis.N), basis)[0].plot(deform=0.1).axes[:1]
    assert (len(still.lines), len(moved.lines)) == (1, 2)
    assert np.nanmax(moved.lines[1].get_xdata()) == pytest.approx(1.0, rel=1e-12)


def test_round_off_is_no_scale() -> None:
    assert np.ptp(Drawn(3.0 + 1e-15 * np.arange(4)[None], "u", False, False).limits) > 1
    assert Drawn(np.array([[3.0, 3.0 + 1e-9]]), "u", False, False).limits == (3.0, 3.0 + 1e-9)
    assert Drawn(np.zeros((1, 3)), "u", False, False).limits == (0.0, 1.0)


def test_phases_along_a_line_have_no_strokes_at_wraps() -> None:
    n = 41
    points, cells = np.linspace(0, 1, n), [[k, k + 1] for k in range(n - 1)]
    fields = made(np.exp(12j * points), (points, cells))
    for line in fields.plot(part="phase").axes[0].lines:
        jumps = np.abs(np.diff(line.get_ydata()))
        assert np.isnan(line.get_ydata()).sum() == 2
        assert np.nanmax(jumps) < np.pi


def test_wrong_arguments_are_said(tmp_path: Path) -> None:
    basis = skfem.Basis(MESH, skfem.ElementVector(skfem.ElementTriP1()))
    fields = made(np.ones(basis.N), basis)
    pytest.importorskip("PIL.Image")
    for ask in (
        lambda: fields[0:0].plot(),
        lambda: fields[0:0].film(tmp_path / "u.gif"),
        lambda: fields[0:0].write(tmp_path / "u.pvd"),
        lambda: fields.film(tmp_path / "u.gif", fps="5"),
        lambda: fields.film(tmp_path / "u.gif", fps=1e-3),
        lambda: fields.film(tmp_path / "u.gif", fps=np.nan),
        lambda: fields.plot(columns="x"),
        lambda: fields.plot(deform="a"),
    ):
        with pytest.raises(rbm.ModelError):
            ask()
    assert list(tmp_path.iterdir()) == []


class _Run:
    """Something with a reduced model inside, as a greedy run."""

    reduced_model = None


@pytest.mark.parametrize(
    ("given", "way"),
    [
        ("m.rbm", r"got a str; rbm\.load\('m\.rbm'\) reads one"),
        (Path("m.rbm"), r"rbm\.load\('m\.rbm'\) reads one"),
        (_Run(), r"got a _Run; give its \.reduced_model"),
        (None, r"got a NoneType; rbm\.greedy and rbm\.load return one"),
    ],
)
def test_what_is_no_reduced_model_is_refused(given: Any, way: str) -> None:
    for draw in (lambda: rbm.fields(given, [[1.0]], MESH), lambda: Explorer(given), lambda: Explorer(given, MESH)):
        with pytest.raises(rbm.ModelError, match=f"those of a reduced model, {'.*' if way[:3] != 'got' else ''}{way}"):
            draw()


@pytest.mark.parametrize("columns", [0, -1, 1.5, True])
def test_columns_of_panels_are_a_number_from_one_on(columns: Any) -> None:
    with pytest.raises(rbm.ModelError, match="columns must be a whole number of panels, at least 1"):
        made(np.ones(N)).plot(columns=columns)


def test_what_is_no_number_of_an_unknown_is_said_as_it_is() -> None:
    model = rbm.FullOrderModel([("a", np.eye(N))], [(1.0, np.ones(N))], np.eye(N), {"a": (0.5, 2.0)}, "a")
    reduced = rbm.greedy(model, [[1.0]], max_basis=1).reduced_model
    for wrong, got in ((1e300, r"float64 from 1e\+300"), (-1, "int64 from -1"), ("a", "<U1"), (True, "bool")):
        with pytest.raises(rbm.ModelError, match=f"whole numbers from 0 on, got {got}$"):
            rbm.fields(reduced, [[1.0]], MESH, unknowns=np.full(N, wrong))
