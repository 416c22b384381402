"""The command on models in time: tables over times, controls from files, series of fields, errors of one line."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from conftest import make_case
from helpers.parabolic import heat

import problems
import rbm
from problems.thermal_fin import thermal_fin_mesh
from rbm.command_line import main, time_query
from rbm.show.digits import rounded_up

Run = Callable[..., tuple[int, str, str]]
POINT = ["--mu", "k1=1", "k2=2", "k3=3", "k4=4", "Bi=0.5"]
MU = [1.0, 2.0, 3.0, 4.0, 0.5]
CONTROL = [1.0, 0.5, 0.0, -0.25, 2.0]


@pytest.fixture(scope="module")
def fin() -> rbm.TimeModel:
    return problems.cooling_fin(refinement=1, steps=5)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, fin: rbm.TimeModel) -> Path:
    meshio = pytest.importorskip("meshio")
    folder = tmp_path_factory.mktemp("fin")
    made = rbm.pod_greedy(fin, fin.parameters.sample(8), max_basis=4, control="impulse", dual=("T_mean",))
    made.reduced_model.save(folder / "cool.rbm")
    made.reduced_model.save(folder / "no_basis.rbm", basis=False)
    make_case("real").projected(4).save(folder / "steady.rbm")
    mesh = thermal_fin_mesh(1)
    kind = "triangle" if len(mesh.t) == 3 else "quad"
    meshio.write(folder / "fin.vtu", meshio.Mesh(np.pad(mesh.p.T, ((0, 0), (0, 1))), [(kind, mesh.t.T)]))
    lines = [meshio.CellBlock(kind, mesh.t.T), meshio.CellBlock("line", mesh.facets.T)]
    meshio.write(folder / "mixed.vtu", meshio.Mesh(np.pad(mesh.p.T, ((0, 0), (0, 1))), lines))
    meshio.write(folder / "other.vtu", meshio.Mesh(np.eye(3), [("triangle", [[0, 1, 2]])]))
    (folder / "g.csv").write_text("# flux\n" + "".join(f"{g}\n" for g in CONTROL))
    (folder / "points.csv").write_text("Bi,k1,k2,k3,k4\n0.5,1,2,3,4\n0.1,1,1,1,1\n0.02,5,4,3,2\n")
    return folder


@pytest.fixture
def run(folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run the command in the folder of the models; a failure is one line and leaves standard output empty."""
    monkeypatch.chdir(folder)

    def run(*arguments: Any) -> tuple[int, str, str]:
        status = main([str(a) for a in arguments])
        shown = capsys.readouterr()
        assert status != 2 or (shown.out == "" and shown.err.startswith("rbm: ") and shown.err.count("\n") == 1)
        return status, shown.out, shown.err

    return run


def rows_of(text: str) -> list[dict[str, float]]:
    return [{name: float(value) for name, value in row.items()} for row in csv.DictReader(text.splitlines())]


def same(text: str, mus: Any, control: Any, steps: list[int], folder: Path) -> None:
    """Compare a table with what solve returns, in all digits."""
    solution, rows = rbm.load(folder / "cool.rbm").solve(mus, control), rows_of(text)
    assert len(rows) == len(solution) * len(steps)
    wanted = {"bound": solution.bound, "bound_l2": solution.bound_l2, **solution.outputs}
    wanted |= {f"{name}_bound": bounds for name, bounds in solution.output_bounds.items()}
    names = ["k1", "k2", "k3", "k4", "Bi", "t", "bound", "bound_l2"]
    names += [f"{name}{end}" for name in ("T_root", "T_tip", "T_mean") for end in ("", "_bound")]
    assert list(rows[0]) == names
    for name, values in wanted.items():
        assert [row[name] for row in rows] == values[:, steps].ravel().tolist(), name
    assert [row["t"] for row in rows] == solution.times[steps].tolist() * len(solution)
    assert [row["k2"] for row in rows] == np.repeat(solution.mus[:, 1], len(steps)).tolist()


def test_info(run: Run) -> None:
    status, out, _ = run("info", "cool.rbm")
    assert status == 0
    out = " ".join(out.split())
    for said in (
        "cool.rbm: a reduced time model ",
        "size: N = 4, float64 ",
        " k4 0.1 10 Bi 0.01 1 ",
        "times: 0 to 0.5 in 5 steps of 0.1, implicit Euler ",
        "operator coefficients: 1.0, k1, k2, k3, k4, Bi ",
        "mass coefficients: 1.0 ",
        "initial value: zero ",
        "stability: min-theta, proved",
        "bound_l2: decays as the error does, by P >= 0.4",
        "control: 1 in every step",
        "T_tip: linear; bound: the norm of the functional in the dual of the mass",
        "T_mean: primal-dual, corrected by ",
        "basis: for 389 unknowns ",
        f"file: {Path('cool.rbm').stat().st_size} bytes ",
        "does not cover: the discretisation, in time too",
    ):
        assert said in out
    assert "basis: not in the file " in " ".join(run("info", "no_basis.rbm")[1].split())
    assert "operator coefficients: 1.0, mu" in " ".join(run("info", "steady.rbm")[1].split())


def test_info_of_controls_initial_values_and_schemes(run: Run, tmp_path: Path) -> None:
    start = np.sin(np.linspace(0, 3, 19))
    for theta, control, units, said in (
        (
            0.5,
            None,
            None,
            ("Crank-Nicolson", "with the coefficients k control", "without decay", "control: 1 in every"),
        ),
        (
            0.7,
            [1, 0, 0],
            {"mean": "K"},
            ("of 0.1 operator", "decays as the error", "control: impulse,", "units of outputs: mean in K"),
        ),
        (1.0, [1, -3, 0.5], None, ("of size 0.5 to 3,",)),
    ):
        more = {} if control is None else {"control": np.array(control, float)}
        model = heat(20, steps=3, dt=0.1, initial=[("k", start)], theta=theta, output_units=units, **more)
        rbm.pod_greedy(model, model.parameters.sample(4), max_basis=2).reduced_model.save(tmp_path / "m.rbm")
        out = " ".join(run("info", tmp_path / "m.rbm")[1].split())
        for text in said:
            assert text in out


def test_query_one_point_at_the_last_time(run: Run, folder: Path) -> None:
    status, out, _ = run("query", "cool.rbm", *POINT)
    assert status == 0
    shown = {name.strip(): float(value) for name, value in (line.split(" = ") for line in out.splitlines())}
    solution = rbm.load(folder / "cool.rbm").solve(MU)
    assert shown["t"] == 0.5
    assert shown["bound"] == pytest.approx(solution.bound[0, -1], rel=1e-9)
    assert shown["T_mean"] == pytest.approx(solution.outputs["T_mean"][0, -1], rel=1e-9)
    assert shown["T_mean_bound"] == pytest.approx(solution.output_bounds["T_mean"][0, -1], rel=1e-9)
    _, out, _ = run("query", "cool.rbm", *POINT, "--times", "0.3", "0,0.1")
    same(out, MU, None, [0, 1, 3], folder)


def test_query_a_table(run: Run, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mus = [MU, [1, 1, 1, 1, 0.1], [5, 4, 3, 2, 0.02]]
    query = ["query", "cool.rbm", "--csv", "points.csv"]
    whole = run(*query, "--times", "all")[1]
    same(whole, mus, None, [0, 1, 2, 3, 4, 5], folder)
    same(run(*query)[1], mus, None, [5], folder)
    monkeypatch.setattr(time_query, "BLOCK", (1, 2))
    monkeypatch.setattr(time_query, "LINES", 5)
    _, said, _ = run(*query, "--times", "all", "-o", tmp_path / "out.csv")
    assert (tmp_path / "out.csv").read_text() == whole
    assert f"3 points at 6 times written to {tmp_path / 'out.csv'}; largest error bound " in said
    assert run(*query, "--times", "all", "-o", "-")[1] == whole


def test_controls(run: Run, folder: Path, tmp_path: Path) -> None:
    query = ["query", "cool.rbm", *POINT, "--times", "all", "--control"]
    np.save(tmp_path / "row.npy", np.array([CONTROL]))
    (tmp_path / "blanks.txt").write_text("1 0.5\t0 -.25  2\n")
    (tmp_path / "row.csv").write_text("\ufeff1,0.5,0, -0.25,2\r\n", encoding="utf-8")
    for file in ("g.csv", tmp_path / "row.npy", tmp_path / "blanks.txt", tmp_path / "row.csv"):
        same(run(*query, file)[1], MU, CONTROL, [0, 1, 2, 3, 4, 5], folder)
    same(run(*query, "impulse")[1], MU, "impulse", [0, 1, 2, 3, 4, 5], folder)


def test_a_control_for_each_point(run: Run, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given = np.outer([1.0, 2.0, -3.0], CONTROL)
    np.savetxt(tmp_path / "each.csv", given, delimiter=",")
    mus = [MU, [1, 1, 1, 1, 0.1], [5, 4, 3, 2, 0.02]]
    for size in (1, 2, 256):
        monkeypatch.setattr(time_query, "BLOCK", (1, size))
        out = run("query", "cool.rbm", "--csv", "points.csv", "--control", tmp_path / "each.csv", "--times", "0.2")[1]
        same(out, mus, given, [2], folder)


def test_complex_outputs_and_names_that_every_table_has(run: Run, tmp_path: Path) -> None:
    model = rbm.TimeModel(
        mass=np.eye(3), operators=[("t", np.diag([1.0, 2.0, 3.0]))], rhs=[(1.0, np.ones(3))], product=np.eye(3),
        parameters={"t": (1.0, 2.0)}, stability="t", dt=0.5, steps=1, outputs={"bound": np.ones(3)},
    )  # fmt: skip
    rbm.project_time(model, np.eye(3)[:, :2]).save(tmp_path / "t.rbm")
    np.save(tmp_path / "g.npy", np.array([1j]))
    out = run("query", tmp_path / "t.rbm", "--mu", "t=1", "--times", "all", "--control", tmp_path / "g.npy")[1]
    start, end = rows_of(out)
    columns = ["parameter_t", "t", "bound", "bound_l2", "output_bound_re", "output_bound_im", "output_bound_bound"]
    assert list(end) == columns
    assert (start["t"], end["t"], end["parameter_t"]) == (0.0, 0.5, 1.0)
    assert end["output_bound_im"] == pytest.approx(0.5 / 1.5 + 0.5 / 2)
    assert end["output_bound_re"] == 0
    missed = 0.5 / 2.5
    assert missed <= end["bound_l2"] <= end["bound"]
    assert missed <= end["output_bound_bound"]


def test_points_that_fail(run: Run, tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time_query, "BLOCK", (1, 2))
    points = tmp_path / "points.csv"
    points.write_text("k1,k2,k3,k4,Bi\n20,1,1,1,0.1\n1,1,1,1,nan\n\n1,2,3,4,0.5\n30,1,1,1,0.1\n1,1,1,1,0.1\n")
    query = ["query", "cool.rbm", "--csv", points, "--times", "0.4,0.5"]
    status, _, err = run(*query, "-o", tmp_path / "out.csv")
    assert status == 2
    assert f"Bi = nan (line 3 of {points}) is not a finite number; pass --mark to answer the other points" in err
    assert not (tmp_path / "out.csv").exists()
    control = np.outer([9.0, 9.0, 1.0, 9.0, 2.0], CONTROL)
    np.save(tmp_path / "g.npy", control)
    status, out, err = run(*query, "--mark", "--control", tmp_path / "g.npy")
    assert status == 0
    assert err.count("rbm: marked: ") == 3
    assert f"k1 = 30 (line 6 of {points}) is outside [0.1, 10]; pass --extrapolate to allow it\n" in err
    lines = out.splitlines()
    good = "\n".join(lines[:1] + lines[5:7] + lines[9:])
    same(good, [MU, [1, 1, 1, 1, 0.1]], control[[2, 4]], [4, 5], folder)
    failed = rows_of("\n".join(lines[:5]))
    assert len(failed) == 4
    for row in failed:
        assert all(np.isinf(row[name]) for name in ("bound", "bound_l2", "T_root_bound", "T_mean_bound"))
        assert all(np.isnan(row[name]) for name in ("T_root", "T_tip", "T_mean"))
    points.write_text("k1,k2,k3,k4,Bi\n20,1,1,1,0.1\n30,1,1,1,0.1\n40,1,1,1,0.1\n")
    status, _, err = run(*query, "--mark")
    assert status == 2
    assert f"all 3 points fail: k1 = 20 (line 2 of {points}, 2 such points) is outside" in err
    status, _, err = run(*query, "--extrapolate")
    assert status == 0
    assert "3 of 3 points are outside the parameter space" in err


@pytest.mark.parametrize("mark", [True, False])
def test_ctrl_c(mark: bool, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain, calls = rbm.ReducedTimeModel.solve, [0]

    def interrupted(self: rbm.ReducedTimeModel, mus: Any, *arguments: Any, **options: Any) -> rbm.TimeSolution:
        calls[0] += 1
        solution = plain(self, mus, *arguments, **options)
        if calls[0] < 2:
            return solution
        solution.estimate.value[-1], solution.outputs["T_mean"][-1] = np.inf, np.nan
        raise rbm.Interrupted("enough", solution)

    monkeypatch.setattr(rbm.ReducedTimeModel, "solve", interrupted)
    monkeypatch.setattr(time_query, "BLOCK", (1, 2))
    (tmp_path / "in.csv").write_text("k1,k2,k3,k4,Bi\n" + "1,2,3,4,0.5\n" * 6)
    query = ["query", "cool.rbm", "--csv", tmp_path / "in.csv", "-o", tmp_path / "out.csv"]
    status, out, err = run(*query, *(["--mark"] if mark else []))
    assert status == 130
    assert "rbm: interrupted" in err
    assert (tmp_path / "out.csv").exists() == mark
    if mark:
        rows = rows_of((tmp_path / "out.csv").read_text())
        assert [row["bound"] < np.inf for row in rows] == [True] * 3 + [False] * 3
        assert [np.isnan(row["T_mean"]) for row in rows] == [False] * 3 + [True] * 3
        assert "3 of 6 points at 1 time written" in out


QUERY = ["query", "cool.rbm", *POINT]
EXPORT = ["export", "cool.rbm", "--mesh", "fin.vtu", *POINT]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            [*QUERY, "--times", "0.25"],
            "--times: the model has no time 0.25: it has 0 to 0.5 in steps of 0.1; the neare",
        ),
        ([*QUERY, "--times", "-0.1,0.2"], "has no time -0.1: it has 0 to 0.5 in steps of 0.1; the nearest is 0"),
        ([*QUERY, "--times", "1e300"], "the nearest is 0.5"),
        ([*QUERY, "--times", "nan"], "the model has no time nan: it has 0 to 0.5 in steps of 0.1"),
        ([*QUERY, "--times", "last,0.1"], "--times last stands alone, without other times"),
        ([*QUERY, "--times", "0.1", "all"], "--times all stands alone"),
        ([*QUERY, "--times", "0.1,0.1"], "--times has 0.1 twice"),
        ([*QUERY, "--times", "0.1,"], "--times is empty; give a number"),
        ([*QUERY, "--times", "first"], '--times is "first", which is not a number'),
        ([*QUERY, "--control", "none.csv"], "none.csv: No such file"),
        ([*QUERY, "--control", "cool.rbm"], "cool.rbm is neither an .npy file nor a UTF-8 text file"),
        ([*QUERY, "--method", "E2"], "--method is for models without time"),
        (["query", "cool.rbm", "--mu", "1"], "--mu needs 5 values, k1 k2 k3 k4 Bi, got 1"),
        (["query", "cool.rbm", "--mu", "1", "1", "1", "1", "7"], "Bi = 7 is outside [0.01, 1]; pass --extrapolate to"),
        (["query", "steady.rbm", "--mu", "2", "--control", "impulse"], "--control is for models in time; steady.rbm"),
        (["query", "steady.rbm", "--mu", "2", "--times", "last"], "--times is for models in time; steady.rbm holds a"),
        (
            ["export", "steady.rbm", "--mesh", "fin.vtu", "--mu", "2", "-o", "f.vtu", "--times", "0"],
            "--times is for mod",
        ),
        (
            ["quantize", "cool.rbm", "-o", "few.rbm"],
            "rbm quantize is for models without time; cool.rbm holds a reduced",
        ),
        ([*EXPORT, "-o", "f.vtu", "--times", "all"], "f.vtu: 6 times make a series, which ends in .pvd or .xdmf"),
        ([*EXPORT, "-o", "f.vtu", "--times", "0.15"], "--times: the model has no time 0.15"),
        ([*EXPORT, "-o", "f.vtu", "--control", "points.csv"], "line 1 of points.csv is "),
        ([*EXPORT, "-o", "f.abc"], "meshio cannot write f.abc"),
        ([*EXPORT, "-o", "f.pvd", "--mesh", "other.vtu"], "the mesh has 3 points, the model 389 unknowns"),
        ([*EXPORT, "-o", "f.xdmf", "--times", "all", "--mesh", "mixed.vtu"], "meshio cannot write f.xdmf ("),
        (["export", "no_basis.rbm", *EXPORT[2:], "-o", "f.vtu"], "no_basis.rbm does not hold its basis; save it with"),
        (["export", "cool.rbm", "--mesh", "fin.vtu", "--mu", *"11117", "-o", "f.vtu"], "Bi = 7 is outside [0.01, 1]"),
    ],
)
def test_what_does_not_fit(run: Run, folder: Path, arguments: list[str], message: str) -> None:
    before = sorted(folder.iterdir())
    status, _, err = run(*arguments)
    assert status == 2
    assert message in err
    assert sorted(folder.iterdir()) == before


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            "1\n2\n",
            "--control FILE: the control has the shape (2,); give one number a step, (5,) for all points, or (3",
        ),
        ("1,2,3,4,5\n1,2,3,4,5\n", "the control has the shape (2, 5); give one number a step"),
        ("1,2\n3,4\n5,6\n", "the control has the shape (3, 2)"),
        ("1\n2\nnan\n4\n5\n", "--control FILE: the control is nan in step 3; it must be finite"),
        ("1,2,3,4,5\n1,2,3,inf,5\n1,2,3,4,5\n", "the control is inf in step 4 of point 1"),
        ("1,2,3,4,5\n\n1,2,3,4\n", "line 3 of FILE has 4 numbers, those above have 5"),
        ("g\n1\n", 'line 1 of FILE is "g", which is not a number such as'),
        ("1,,2,3,4\n", "line 1 of FILE is empty; give a number"),
        ("1e999\n", "which is beyond the range of double precision"),
        ("# nothing\n\n", "FILE holds no numbers; a control is one number a step"),
    ],
)
def test_controls_that_are_none(run: Run, tmp_path: Path, content: str, message: str) -> None:
    file = tmp_path / "g.csv"
    file.write_text(content)
    status, _, err = run("query", "cool.rbm", "--csv", "points.csv", "--control", file)
    assert status == 2
    assert message.replace("FILE", str(file)) in err


def test_arrays_that_are_no_control(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "g.npy"
    for array, message in (
        (np.ones((1, 1, 5)), "the control has the shape (1, 1, 5)"),
        (np.ones(0), "the control has the shape (0,)"),
        (np.array(1.0), "the control has the shape ()"),
        (np.array([1, 2, 3, np.nan, 5]), "the control is nan in step 4"),
        (np.array([{}] * 5), "holds an array 'control' that is not plain numbers"),
    ):
        np.save(file, array)
        status, _, err = run("query", "cool.rbm", *POINT, "--control", file)
        assert status == 2
        assert message in err
    file.write_bytes(file.read_bytes()[:40])
    assert "not plain numbers" in run("query", "cool.rbm", *POINT, "--control", file)[2]


def test_a_field_at_one_time_is_within_its_bound(run: Run, fin: rbm.TimeModel, folder: Path, tmp_path: Path) -> None:
    meshio = pytest.importorskip("meshio")
    out = tmp_path / "f.vtu"
    status, said, err = run(*EXPORT, "-o", out, "--times", "0.3", "--control", "g.csv", "--name", "heat")
    assert status == 0, err
    assert "heat at k1 = 1, k2 = 2, k3 = 3, k4 = 4, Bi = 0.5, t = 0.3, error bound " in said
    model = rbm.load(folder / "cool.rbm")
    solution = model.solve(MU, CONTROL)
    assert f"error bound {rounded_up(solution.bound_l2[0, 3])} in the norm of the mass, written to {out}" in said
    field = meshio.read(out).point_data["heat"]
    np.testing.assert_array_equal(field, model.reconstruct(solution.coefficients[0, 3:4])[0])
    error = fin.solve(MU, CONTROL)[0, 3] - field
    mass = fin.mass.terms[0]
    assert 0 < (error @ (mass @ error)) ** 0.5 <= solution.bound_l2[0, 3]
    assert list(tmp_path.iterdir()) == [out]


def test_series(run: Run, folder: Path, tmp_path: Path) -> None:
    meshio = pytest.importorskip("meshio")
    model = rbm.load(folder / "cool.rbm")
    trajectory = model.solve(MU, "impulse").coefficients[0]
    wanted = [model.reconstruct(trajectory[k : k + 1])[0] for k in range(6)]
    given = [*EXPORT, "--control", "impulse"]
    for times, steps in (("all", [0, 1, 2, 3, 4, 5]), ("0.5,0.1", [1, 5]), ("0.2", [2])):
        target = tmp_path / times / "h.pvd"
        target.parent.mkdir()
        status, said, err = run(*given, "--times", times, "-o", target)
        assert status == 0, err
        assert said.startswith("u at k1 = 1")
        sets = list(ElementTree.parse(target).getroot().iter("DataSet"))
        assert [float(s.get("timestep", "")) for s in sets] == model.times[steps].tolist()
        assert [s.get("file") for s in sets] == [f"h_{k:04d}.vtu" for k in steps]
        assert len(list(target.parent.iterdir())) == len(steps) + 1
        for k in steps:
            np.testing.assert_array_equal(meshio.read(target.parent / f"h_{k:04d}.vtu").point_data["u"], wanted[k])
    _, said, _ = run(*given, "--times", "all", "-o", tmp_path / "h.xdmf")
    assert ", 6 times from 0 to 0.5, error bound " in said
    with meshio.xdmf.TimeSeriesReader(tmp_path / "h.xdmf") as reader:
        points, cells = reader.read_points_cells()
        mesh = meshio.read("fin.vtu")
        np.testing.assert_array_equal(points, mesh.points)
        np.testing.assert_array_equal(cells[0].data, mesh.cells[0].data)
        for k in range(reader.num_steps):
            t, data, _ = reader.read_data(k)
            assert t == model.times[k]
            np.testing.assert_array_equal(np.ravel(data["u"]), wanted[k])
    assert reader.num_steps == 6
    assert not list(tmp_path.glob("*.h5"))
