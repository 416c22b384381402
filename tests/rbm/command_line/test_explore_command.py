"""``rbm explore``: choices, meshes, and a machine without a display."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pytest

import problems
import rbm
from rbm.command_line import explore, main

mpl.use("Agg")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("explore")
    model = problems.thermal_block((2, 2), 4)
    rbm.greedy(model, model.parameters.sample(20), max_basis=3).reduced_model.save(folder / "block.rbm")
    return folder


def run(capsys: Any, *arguments: str) -> tuple[int, str]:
    status = main(["explore", *arguments])
    return status, capsys.readouterr().err


def test_without_a_display_the_page_is_named(folder: Path, capsys: Any) -> None:
    status, said = run(capsys, str(folder / "block.rbm"))
    assert status == 2
    assert said.startswith("rbm: there is no display")
    assert "rbm export MODEL --html page.html" in said
    assert said.count("\n") == 1


def test_choices_and_field(folder: Path, capsys: Any, monkeypatch: Any) -> None:
    meshio = pytest.importorskip("meshio")
    mesh = problems.thermal_block_mesh(4)
    meshio.write(folder / "mesh.vtu", meshio.Mesh(np.pad(mesh.p.T, ((0, 0), (0, 1))), [("triangle", mesh.t.T)]))
    opened: list[Any] = []
    monkeypatch.setattr(explore, "open_window", lambda *arguments: opened.append(arguments))
    given = [str(folder / "block.rbm"), "--field", str(folder / "mesh.vtu"), "--over", "k3", "--output", "error bound"]
    assert run(capsys, *given) == (0, "")
    ((explorer, title),) = opened
    assert (explorer.over, explorer.outputs[explorer.output], title) == (2, "error bound", str(folder / "block.rbm"))
    wanted = rbm.fields(rbm.load(folder / "block.rbm"), explorer.point, problems.thermal_block_basis(4))
    np.testing.assert_array_equal(explorer.field(), wanted.values[0])
    meshio.write(folder / "other.vtu", meshio.Mesh(np.eye(3), [("triangle", np.array([[0, 1, 2]]))]))
    np.save(folder / "u.npy", np.arange(1, 42))
    for arguments, message in (
        (["--over", "k9"], "--over 'k9' is not there; there are k1, k2, k3, k4"),
        (["--output", "T"], "--output 'T' is not there; there are mean, error bound"),
        (["--unknowns", "u.npy"], "give --field MESH as well"),
        (["--field", str(folder / "none.vtu")], "there is no mesh file"),
        (["--field", str(folder / "other.vtu")], "the mesh has 3 points, the model 41 unknowns, 16 of them fixed"),
        (["--field", str(folder / "other.vtu")], "(unknowns=, or --unknowns FILE)"),
        (["--field", str(folder / "mesh.vtu"), "--unknowns", str(folder / "u.npy")], "got 41; they are counted from 0"),
    ):
        status, said = run(capsys, str(folder / "block.rbm"), *arguments)
        assert (status, len(opened)) == (2, 1)
        assert message in said


def test_eliminated_unknowns_are_spoken_of_as_on_the_command_line(tmp_path: Path, capsys: Any) -> None:
    meshio = pytest.importorskip("meshio")
    model = rbm.FullOrderModel([("mu", np.eye(3))], [(1.0, np.ones(3))], np.eye(3), {"mu": (1.0, 2.0)}, 1.0)
    rbm.greedy(model, [[1.0]], max_basis=1).reduced_model.save(tmp_path / "m.rbm")
    points = np.pad(np.linspace(0, 1, 5)[:, None], ((0, 0), (0, 2)))
    meshio.write(tmp_path / "line.vtu", meshio.Mesh(points, [("line", np.array([[k, k + 1] for k in range(4)]))]))
    status, said = run(capsys, str(tmp_path / "m.rbm"), "--field", str(tmp_path / "line.vtu"))
    assert status == 2
    assert "If 2 were eliminated, the file does not know which: make the model with rbm.constrain, or with" in said
    assert "free=" not in said


def test_a_curve_over_a_fixed_parameter_is_refused(folder: Path, capsys: Any) -> None:
    space = rbm.ParameterSpace({"mu": (1.0, 2.0), "nu": (3.0, 3.0)})
    model = rbm.FullOrderModel([("mu", np.eye(3))], [(1.0, np.ones(3))], np.eye(3), space, 1.0)
    rbm.greedy(model, [[1.0, 3.0]], max_basis=1).reduced_model.save(folder / "fixed.rbm")
    status, said = run(capsys, str(folder / "fixed.rbm"), "--over", "nu")
    assert status == 2
    assert "--over 'nu' has one value only" in said
