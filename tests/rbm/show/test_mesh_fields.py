"""Solutions on the user's mesh: values at points, fixed ones put in, and meshes that do not fit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import rbm
from rbm.command_line import main
from rbm.show.mesh_fields import point_data

meshio = pytest.importorskip("meshio")
SPACE = rbm.ParameterSpace({"k": (0.1, 10.0), "T": (-1.0, 2.0)})


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A square with its mesh; the left side has the temperature T, all other unknowns are free."""
    import skfem
    from skfem.helpers import dot, grad

    folder = tmp_path_factory.mktemp("square")
    mesh = skfem.MeshTri().refined(2)
    points = mesh.p.T
    meshio.write(folder / "square.msh", meshio.Mesh(np.pad(points, ((0, 0), (0, 1))), [("triangle", mesh.t.T)]))
    meshio.write(folder / "other.vtk", meshio.Mesh(np.pad(points[:9], ((0, 0), (0, 1))), [("triangle", [[0, 1, 2]])]))
    basis = skfem.Basis(mesh, skfem.ElementTriP1())
    stiffness = skfem.BilinearForm(lambda u, v, w: dot(grad(u), grad(v))).assemble(basis)
    mass = skfem.BilinearForm(lambda u, v, w: u * v).assemble(basis)
    load = skfem.LinearForm(lambda v, w: v).assemble(basis)
    fixed = mesh.nodes_satisfying(lambda x: x[0] == 0)
    np.save(folder / "fixed.npy", fixed)
    terms: Any = [(1.0, stiffness), ("k", mass)]
    made = rbm.constrain(terms, [(1.0, load)], stiffness + mass, fixed, [("T", 1.0)])
    model = rbm.FullOrderModel(**made.arguments, parameters=SPACE, stability="0.1")
    reduced = rbm.greedy(model, SPACE.sample(60), tol=1e-8).reduced_model
    reduced.save(folder / "model.rbm")
    reduced.save(folder / "no_basis.rbm", basis=False)
    free = {k: v for k, v in made.arguments.items() if k != "constraints"}
    model = rbm.FullOrderModel(**free, parameters=SPACE, stability=0.1)
    rbm.greedy(model, SPACE.sample(60), max_basis=3).reduced_model.save(folder / "unknown.rbm")
    damped = rbm.constrain([*terms, ("1j * k", mass)], [(1.0, load)], stiffness + mass, fixed, [("T", 1.0)])
    model = rbm.FullOrderModel(**damped.arguments, parameters=SPACE, stability=0.1)
    rbm.greedy(model, SPACE.sample(60), tol=1e-8).reduced_model.save(folder / "complex.rbm")
    return folder


def export(capsys: pytest.CaptureFixture[str], folder: Path, *arguments: str) -> tuple[int, str, str]:
    status = main(["export", *arguments])
    shown = capsys.readouterr()
    return status, shown.out, shown.err


def test_a_field_for_paraview(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "field.vtu"
    given = ["--mesh", f"{folder}/square.msh", "--mu", "2.5", "-0.5", "-o", str(out), "--name", "heat"]
    status, shown, err = export(capsys, folder, f"{folder}/model.rbm", *given)
    assert status == 0, err
    assert "heat at k = 2.5, T = -0.5, error bound" in shown
    mesh = meshio.read(out)
    model = rbm.load(folder / "model.rbm")
    solution = model.solve([2.5, -0.5])
    wanted = model.constraints.expand(model.reconstruct(solution), [2.5, -0.5])[0]
    np.testing.assert_array_equal(mesh.point_data["heat"], wanted)
    assert mesh.field_data["heat_error_bound_P_norm"].tolist() == solution.bound.tolist()
    np.testing.assert_array_equal(mesh.point_data["heat"][np.load(folder / "fixed.npy")], -0.5)
    np.testing.assert_array_equal(mesh.points, meshio.read(folder / "square.msh").points)
    status, shown, err = export(capsys, folder, f"{folder}/complex.rbm", *given[:-2])
    assert status == 0, err
    assert set(meshio.read(out).point_data) == {"u_re", "u_im"}
    assert list(tmp_path.iterdir()) == [out]


def test_several_points_and_numbers_of_unknowns(folder: Path) -> None:
    model = rbm.load(folder / "model.rbm")
    mus = SPACE.sample(2)
    solution = model.solve(mus)
    whole = model.constraints.expand(model.reconstruct(solution), mus)
    fields = point_data(model, solution, 25)
    assert list(fields) == ["u_0", "u_1"]
    np.testing.assert_array_equal(fields["u_1"], whole[1])
    some = np.array([24, 0, 7])
    np.testing.assert_array_equal(point_data(model, solution, 3, unknowns=some)["u_0"], whole[0, some])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["model.rbm", "--mesh", "other.vtk"],
            "the mesh has 9 points, the model 25 unknowns, 5 of them fixed. Give",
        ),
        (
            ["unknown.rbm", "--mesh", "square.msh"],
            "has 25 points, the model 20 unknowns. If 5 were eliminated",
        ),
        (["model.rbm", "--mesh", "none.msh"], "there is no mesh file"),
        (["model.rbm", "--mesh", "model.rbm"], "model.rbm is not a mesh file that meshio can read"),
        (["model.rbm", "--mesh", "fixed.npy"], "fixed.npy is not a mesh file that meshio can read"),
        (["no_basis.rbm", "--mesh", "square.msh"], "does not hold its basis"),
        (
            ["model.rbm", "--mesh", "square.msh", "--unknowns", "fixed.npy"],
            "5 numbers of unknowns are given",
        ),
        (["model.rbm", "--mesh", "square.msh", "-o", "field.abc"], "meshio cannot write field.abc"),
        (["model.rbm", "--mesh", "square.msh", "--mu", "1"], "--mu needs 2 values"),
    ],
)
def test_what_does_not_fit(
    folder: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    message: str,
) -> None:
    monkeypatch.chdir(folder)
    more = ([] if "--mu" in arguments else ["--mu", "1", "0"]) + ([] if "-o" in arguments else ["-o", "field.vtu"])
    status, _, err = export(capsys, folder, *arguments, *more)
    assert status == 2
    assert message in err
    assert err.count("\n") == 1
    assert not (folder / "field.vtu").exists()


def test_numbers_of_unknowns_that_do_not_exist(folder: Path) -> None:
    model = rbm.load(folder / "model.rbm")
    solution = model.solve([1.0, 1.0])
    for numbers, message in (
        ([25, 1], r"from 0 to 24, got 25; they are counted from 0, subtract 1"),
        ([-1, 1], r"from 0 to 24, got -1"),
        ([0.5, 1], r"got 0\.5"),
    ):
        with pytest.raises(rbm.ModelError, match=message):
            point_data(model, solution, 2, unknowns=numbers)


def test_meshio_is_asked_for(folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    monkeypatch.setitem(__import__("sys").modules, "meshio", None)
    status, _, err = export(capsys, folder, *["model.rbm", "--mesh", "square.msh", "--mu", "1", "0", "-o", "field.vtu"])
    assert status == 2
    assert "reading a mesh needs the package meshio, which is not installed: pip install meshio" in err
