"""Fields of solutions: fixed values put in, bounds in titles and files, figures, films, meshes that do not fit."""

from __future__ import annotations

import re
import shutil
import sys
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pytest
import skfem
from helpers import ROOT
from skfem.helpers import dot, grad

import problems
import rbm
from rbm.show import field_series, films
from rbm.show.raster import Raster

image = pytest.importorskip("PIL.Image")
mpl.use("Agg")
SPACE = rbm.ParameterSpace({"k": (0.1, 10.0), "T": (-1.0, 2.0)}, units={"T": "degC"})
MESH = skfem.MeshTri().refined(2)


def square(element: Any, damped: bool = False) -> tuple[Any, Any, np.ndarray]:
    """(full model, basis, fixed unknowns) of a square whose left side has the temperature T."""
    basis = skfem.Basis(MESH, element)
    stiffness = skfem.BilinearForm(lambda u, v, w: dot(grad(u), grad(v))).assemble(basis)
    mass = skfem.BilinearForm(lambda u, v, w: u * v).assemble(basis)
    load = skfem.LinearForm(lambda v, w: v).assemble(basis)
    fixed = basis.get_dofs(lambda x: x[0] == 0).flatten()
    terms: Any = [(1.0, stiffness), ("k", mass)] + ([("1j * k", mass)] if damped else [])
    made = rbm.constrain(terms, [(1.0, load)], stiffness + mass, fixed, [("T", 1.0)])
    return rbm.FullOrderModel(**made.arguments, parameters=SPACE, stability="0.1"), basis, fixed


def reduced_of(element: Any, damped: bool = False) -> tuple[Any, Any, np.ndarray]:
    model, basis, fixed = square(element, damped)
    return rbm.greedy(model, SPACE.sample(40), max_basis=5).reduced_model, basis, fixed


@pytest.fixture(scope="module")
def heat() -> tuple[Any, Any, np.ndarray]:
    return reduced_of(skfem.ElementTriP1())


@pytest.fixture(scope="module")
def wave() -> tuple[Any, Any, np.ndarray]:
    return reduced_of(skfem.ElementTriP1(), damped=True)


@pytest.fixture(scope="module")
def sweep() -> np.ndarray:
    return np.column_stack([np.geomspace(0.1, 10, 5), np.full(5, -0.5)])


@pytest.mark.parametrize("element", [skfem.ElementTriP1(), skfem.ElementTriP2()], ids=["P1", "P2"])
def test_fixed_unknowns_are_put_back(element: Any, sweep: np.ndarray) -> None:
    reduced, basis, fixed = reduced_of(element)
    made, solution = rbm.fields(reduced, sweep, basis), reduced.solve(sweep)
    whole = reduced.constraints.expand(reduced.reconstruct(solution), sweep)
    np.testing.assert_array_equal(made.values, whole[:, made.mesh.unknowns])
    left = made.mesh.points[:, 0] == 0
    assert left.sum() == len(fixed)
    np.testing.assert_array_equal(made.values[:, left], -0.5)
    np.testing.assert_array_equal(made.bounds, solution.bound)
    assert made.labels == ("k = 0.1", "k = 0.316228", "k = 1", "k = 3.16228", "k = 10")
    assert (made.common, made.step, made.norm, len(made)) == ("T = -0.5 degC", "k", "P", 5)
    np.testing.assert_array_equal(made.steps, sweep[:, 0])
    again = rbm.fields(reduced, solution, basis)  # an answer that is there already
    np.testing.assert_array_equal(again.values, made.values)
    assert made[1:3].labels == made.labels[1:3]
    np.testing.assert_array_equal(made[-1].values, made.values[-1:])


def test_what_is_shown_is_the_truth_within_its_bound(sweep: np.ndarray) -> None:
    """Against a truth solve, in the norm that the title names: a field of other numbers would be outside."""
    model, basis, _ = square(skfem.ElementTriP1())
    reduced = rbm.greedy(model, SPACE.sample(40), max_basis=3).reduced_model
    made = rbm.fields(reduced, sweep, basis)
    truth = model.constraints.expand(model.solve(sweep), sweep)
    error = (truth - made.values)[:, model.constraints.free]
    norms = np.sqrt(np.einsum("ij,ij->i", error, (model.product @ error.T).T))
    assert np.all(norms <= made.bounds)
    assert np.all(norms > 1e-3 * made.bounds)
    for k in range(len(made)):
        said = float(re.search(r"\\leq\$ (\S+) in the P-norm", made.title(k))[1])
        assert made.bounds[k] <= said <= 1.1 * made.bounds[k]


def test_models_of_other_kinds(sweep: np.ndarray) -> None:
    model = problems.convection_diffusion(8)
    basis = problems.convection_diffusion_basis(8)
    parts: Any = rbm.greedy(model, model.parameters.sample(100, "grid"), tol=5e-2, max_basis=6, split=True)
    mus = model.parameters.sample(6, "random", rng=3)
    reduced = parts.reduced_model
    made = rbm.fields(reduced, mus, basis)
    assert len(reduced.leaves) > 1
    assert np.abs(made.values - rbm.fields(reduced, mus[::-1], basis).values[::-1]).max() == 0
    truth = model.constraints.expand(model.solve(mus))
    error = (made.values - truth[:, made.mesh.unknowns])[:, model.constraints.free]
    norms = np.sqrt(np.einsum("ij,ij->i", error, (model.product @ error.T).T))
    assert np.all((0.01 * made.bounds < norms) & (norms <= made.bounds))
    whole = rbm.greedy(model, model.parameters.sample(100), max_basis=8).reduced_model
    coded = whole.quantize(8, product=model.product)
    few = rbm.fields(coded, mus, basis)
    np.testing.assert_array_equal(few.bounds, coded.solve(mus).bound)
    assert np.all(few.bounds > whole.solve(mus).bound)
    assert 0 < np.abs(few.values - rbm.fields(whole, mus, basis).values).max() < 0.01 * np.abs(truth).max()


def test_a_model_in_time_has_a_field_at_each_time(tmp_path: Path) -> None:
    model = problems.cooling_fin(1, steps=6)
    reduced = rbm.pod_greedy(model, model.parameters.sample(4), max_basis=6).reduced_model
    mu = model.parameters.sample(3)[2:]
    answer = reduced.solve(mu)
    made = rbm.fields(reduced, mu, problems.thermal_fin_basis(1), name="temperature")
    np.testing.assert_array_equal(made.values, reduced.reconstruct(answer)[0])
    np.testing.assert_array_equal(made.bounds, answer.bound_l2[0])
    np.testing.assert_array_equal(made.steps, answer.times)
    assert (made.norm, made.step, made.labels[2]) == ("M", "t", "t = 0.2")
    np.testing.assert_array_equal(rbm.fields(reduced, answer, problems.thermal_fin_basis(1)).values, made.values)
    other = rbm.fields(reduced, mu, problems.thermal_fin_basis(1), control=np.zeros(6))
    assert np.abs(other.values).max() < 1e-12 < np.abs(made.values).max()
    assert image.open(made.film(tmp_path / "fin.gif")).n_frames == 7
    with pytest.raises(rbm.ModelError, match="one parameter point, at all times; got 3"):
        rbm.fields(reduced, model.parameters.sample(3), problems.thermal_fin_basis(1))


def test_gallery_problems_with_a_mesh_offer_their_basis() -> None:
    """The load of each model, put on its basis, is what scikit-fem assembles there."""
    for name, n, hold in (("thermal_block", 6, True), ("thermal_fin", 1, False), ("convection_diffusion", 6, True)):
        arguments = ((2, 2), n) if name == "thermal_block" else (n,)
        model, basis = getattr(problems, name)(*arguments), getattr(problems, f"{name}_basis")(n)
        stiffness = skfem.BilinearForm(lambda u, v, w: dot(grad(u), grad(v))).assemble(basis)
        free = model.constraints.free if hold else np.arange(basis.N)
        if hold:
            assert model.constraints.dimension == basis.N
            np.testing.assert_allclose(stiffness[free][:, free].toarray(), model.product.toarray(), atol=1e-12)
            np.testing.assert_array_equal(model.constraints.fixed, np.sort(basis.get_dofs().flatten()))
        else:
            assert model.dimension == basis.N
    model, basis = problems.elastic_bracket(1), problems.elastic_bracket_basis(1)
    held = np.abs(basis.doflocs[0, model.constraints.fixed])
    assert held.max() < 1e-12 < np.abs(basis.doflocs[0, model.constraints.free]).min()
    assert model.constraints.dimension == basis.N


def test_files_hold_values_and_bounds(heat: Any, wave: Any, sweep: np.ndarray, tmp_path: Path) -> None:
    meshio = pytest.importorskip("meshio")
    reduced, basis, _ = heat
    made = rbm.fields(reduced, sweep, basis, name="heat")
    assert made[0].write(tmp_path / "u.vtu") == tmp_path / "u.vtu"
    read = meshio.read(tmp_path / "u.vtu")
    np.testing.assert_array_equal(read.point_data["heat"], made.values[0])
    assert read.field_data["heat_error_bound_P_norm"].tolist() == made.bounds[:1].tolist()
    assert read.cells[0].type == "triangle"
    made.write(tmp_path / "all.vtu")
    read = meshio.read(tmp_path / "all.vtu")
    assert set(read.point_data) == {f"heat_{k}" for k in range(5)}
    assert [read.field_data[f"heat_{k}_error_bound_P_norm"][0] for k in range(5)] == made.bounds.tolist()
    made.write(tmp_path / "sweep.pvd")
    listed = re.findall(r'timestep="(\S+)" part="0" file="(\S+)"', (tmp_path / "sweep.pvd").read_text())
    assert [float(t) for t, _ in listed] == sweep[:, 0].tolist()
    for k, (_, name) in enumerate(listed):
        read = meshio.read(tmp_path / name)
        np.testing.assert_array_equal(read.point_data["heat"], made.values[k])
        facts = {n: a.tolist() for n, a in read.field_data.items()}
        assert facts == {"heat_error_bound_P_norm": [float(made.bounds[k])], "k": [float(sweep[k, 0])]}
    made.write(tmp_path / "sweep.xdmf")
    with meshio.xdmf.TimeSeriesReader(tmp_path / "sweep.xdmf") as reader:
        reader.read_points_cells()
        assert reader.num_steps == 5
        t, points, _ = reader.read_data(3)
    assert t == sweep[3, 0]
    np.testing.assert_allclose(points["heat"], made.values[3], rtol=1e-12)
    said = re.findall(r'Name="heat_error_bound_P_norm" Value="(\S+)"', (tmp_path / "sweep.xdmf").read_text())
    assert [float(b) for b in said] == made.bounds.tolist()
    waves = rbm.fields(wave[0], sweep[:1], wave[1])
    waves.write(tmp_path / "wave.vtu")
    read = meshio.read(tmp_path / "wave.vtu").point_data
    np.testing.assert_array_equal(read["u_re"] + 1j * read["u_im"], waves.values[0])
    np.testing.assert_array_equal(read["u_abs"], np.abs(waves.values[0]))


def test_paraview_reads_the_files(tmp_path: Path) -> None:
    """By VTK's own reader: bodies are not inside out, vectors have three entries, bounds are field data."""
    pyvista = pytest.importorskip("pyvista", exc_type=ImportError)
    pytest.importorskip("meshio")
    model, basis = problems.elastic_bracket(1), problems.elastic_bracket_basis(1)
    reduced = rbm.greedy(model, model.parameters.sample(10), max_basis=4).reduced_model
    made = rbm.fields(reduced, model.parameters.sample(1), basis)
    made.write(tmp_path / "bracket.vtu")
    read = pyvista.read(tmp_path / "bracket.vtu")
    np.testing.assert_array_equal(read.point_data["u"], made.values[0])
    np.testing.assert_allclose(read.compute_cell_sizes().cell_data["Volume"], 1.0, rtol=1e-12)
    assert read.field_data["u_error_bound_P_norm"][0] == made.bounds[0]
    grid = made.grid()
    np.testing.assert_array_equal(grid.point_data["u"], made.values[0])
    assert grid.volume == pytest.approx(14.0, rel=1e-12)


def test_files_are_whole_or_not_there(heat: Any, sweep: np.ndarray, tmp_path: Path, monkeypatch: Any) -> None:
    pytest.importorskip("meshio")
    made = rbm.fields(heat[0], sweep, heat[1])
    with pytest.raises(rbm.ModelError, match=r"cannot write u\.nope"):
        made[0].write(tmp_path / "u.nope")
    written, first = field_series.write_fields, []

    def fail(path: Path, *rest: Any) -> None:
        first.append(path)
        if len(first) == 3:
            raise OSError("the disk is full")
        written(path, *rest)

    monkeypatch.setattr(field_series, "write_fields", fail)
    with pytest.raises(OSError, match="full"):
        made.write(tmp_path / "sweep.pvd")
    assert len(first) == 3
    monkeypatch.setattr(films, "plane", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        made.film(tmp_path / "sweep.gif")
    assert list(tmp_path.iterdir()) == []


def panels(figure: Any) -> list[Any]:
    return [ax for ax in figure.axes if ax.get_title() and "error" in ax.get_title()]


def test_a_figure_has_a_panel_for_each_field_on_one_scale(heat: Any, sweep: np.ndarray) -> None:
    made = rbm.fields(heat[0], sweep[:4], heat[1])
    figure = made.plot()
    assert len(panels(figure)) == 4
    for k, ax in enumerate(panels(figure)):
        (mesh,) = ax.collections
        np.testing.assert_array_equal(mesh.get_array(), made.values[k])
        assert (mesh.norm.vmin, mesh.norm.vmax) == (made.values.min(), made.values.max())
        assert ax.get_title().replace("\u00a0", " ") == made.title(k)
    assert figure._suptitle.get_text().replace("\u00a0", " ") == "T = -0.5 degC"
    with pytest.raises(rbm.ModelError, match=r"at most 12 panels, these are 25 fields: take some, fields\[::3\]"):
        rbm.fields(heat[0], np.repeat(sweep, 5, axis=0), heat[1]).plot()


@pytest.mark.parametrize("part", ["real", "imag", "modulus", "phase"])
def test_parts_of_complex_fields(wave: Any, sweep: np.ndarray, part: str) -> None:
    made = rbm.fields(wave[0], sweep[:2], wave[1])
    wanted = {"real": np.real, "imag": np.imag, "modulus": np.abs, "phase": np.angle}[part](made.values)
    figure = made.plot(part=part)
    for k, ax in enumerate(panels(figure)):
        (mesh,) = ax.collections
        np.testing.assert_array_equal(mesh.get_array(), wanted[k])
        if part in ("real", "imag"):
            assert mesh.norm.vmin == -mesh.norm.vmax == -np.abs(wanted).max()
    label = figure.axes[-1].get_title()
    assert label == {"real": "Re $u_N$", "imag": "Im $u_N$", "modulus": "|$u_N$|", "phase": "phase $u_N$"}[part]


def test_a_wave_travels(wave: Any, sweep: np.ndarray, tmp_path: Path, monkeypatch: Any) -> None:
    made, seen = rbm.fields(wave[0], sweep[2], wave[1]), []
    drawn = films.plane_pictures

    def spy(meshes: Any, values: np.ndarray, *rest: Any) -> Any:
        seen.append((values, rest[1]))
        return drawn(meshes, values, *rest)

    monkeypatch.setattr("rbm.show.field_pictures.plane_pictures", spy)
    film = image.open(made.film(tmp_path / "wave.gif", turn=8, fps=16))
    assert (film.n_frames, film.info["duration"]) == (8, 60)  # GIF counts hundredths of a second
    ((values, limits),) = seen
    np.testing.assert_allclose(values[2], made.values[0].imag, atol=1e-12)  # a quarter of a turn: Re(-i u)
    np.testing.assert_allclose(values[4], -made.values[0].real, atol=1e-12)
    assert limits[0] == -limits[1]
    for wrong, message in (
        ({"turn": 1}, "at least 2, got 1"),
        ({"turn": 8, "part": "imag"}, "by its real part"),
    ):
        with pytest.raises(rbm.ModelError, match=message):
            made.film(tmp_path / "other.gif", **wrong)
    with pytest.raises(rbm.ModelError, match="2 complex fields"):
        rbm.fields(wave[0], sweep[:2], wave[1]).film(tmp_path / "other.gif", turn=4)


def test_vectors_by_length_component_and_displacement() -> None:
    basis = skfem.Basis(MESH, skfem.ElementVector(skfem.ElementTriP1()))
    n = basis.N
    u = np.zeros(n)
    u[basis.nodal_dofs[0]], u[basis.nodal_dofs[1]] = 3 * MESH.p[0], 4 * MESH.p[0]
    model = rbm.FullOrderModel([("a", np.eye(n))], [(1.0, u)], np.eye(n), {"a": (0.5, 2.0)}, "a")
    reduced = rbm.greedy(model, [[1.0]], max_basis=1).reduced_model
    made = rbm.fields(reduced, [[0.5], [1.0]], basis)
    assert made.values.shape == (2, MESH.p.shape[1], 2)
    (length,) = panels(made[1].plot())[0].collections
    np.testing.assert_allclose(length.get_array(), 5 * MESH.p[0], atol=1e-12)
    (second,) = panels(made[1].plot(component=1))[0].collections
    np.testing.assert_allclose(second.get_array(), 4 * MESH.p[0], atol=1e-12)
    first, later = panels(made.plot(deform=0.1))
    for ax, factor in ((first, 2.0), (later, 1.0)):
        corners = ax.collections[0]._triangulation
        np.testing.assert_allclose(corners.x, MESH.p[0] * (1 + 0.3 * factor), atol=1e-12)
        np.testing.assert_allclose(corners.y, MESH.p[1] + 0.4 * factor * MESH.p[0], atol=1e-12)
    assert first.get_xlim() == later.get_xlim()
    for wrong, message in (
        ({"component": 2}, "component 2 is not there, these fields have components 0 to 1"),
        ({"part": "imag"}, "part 'imag' is for complex fields"),
        ({"part": "abs"}, "part must be one of 'real'"),
        ({"deform": np.nan}, "deform must be a number"),
    ):
        with pytest.raises(rbm.ModelError, match=message):
            made.plot(**wrong)


def test_lines_have_gaps_where_the_mesh_has(tmp_path: Path) -> None:
    points, cells = np.array([0.0, 1.0, 3.0, 4.0]), [[3, 2], [0, 1]]
    model = rbm.FullOrderModel([("a", np.eye(4))], [(1.0, points)], np.eye(4), {"a": (0.5, 2.0)}, "a")
    reduced = rbm.greedy(model, [[1.0]], max_basis=1).reduced_model
    made = rbm.fields(reduced, [[0.5], [1.0]], (points, cells))
    ax = made.plot().axes[0]
    for line, factor in zip(ax.lines, (2.0, 1.0), strict=True):
        np.testing.assert_allclose(line.get_xdata(), [0, 1, np.nan, 3, 4])
        np.testing.assert_allclose(line.get_ydata(), np.array([0, 1, np.nan, 3, 4]) * factor)
    film = image.open(made.film(tmp_path / "line.gif"))
    assert film.n_frames == 2
    assert film.convert("RGB").getpixel((2, 2)) == (255, 255, 255)


@pytest.mark.parametrize(
    ("element", "message"),
    [
        (skfem.ElementTriP2(), "81 degrees of freedom in its basis, the model has 25 unknowns, 5 of them fixed"),
        (skfem.ElementVector(skfem.ElementTriP1()), "50 degrees of freedom .* 25 unknowns"),
    ],
)
def test_a_mesh_that_does_not_fit_is_refused(heat: Any, element: Any, message: str) -> None:
    with pytest.raises(rbm.ModelError, match=message):
        rbm.fields(heat[0], [1.0, 0.0], skfem.Basis(MESH, element))


def test_what_to_do_about_it_is_said(heat: Any, tmp_path: Path) -> None:
    reduced, basis, _ = heat
    bracket = problems.elastic_bracket(1)
    bent = rbm.greedy(bracket, bracket.parameters.sample(4), max_basis=2).reduced_model
    mu = bracket.parameters.sample(1)
    with pytest.raises(rbm.ModelError, match=r"144 unknowns.*, 3 for each.*ElementVector.*unknowns= \(48, 3\)"):
        rbm.fields(bent, mu, problems.elastic_bracket_mesh(1))
    fin = problems.reaction_diffusion_1d(4)
    bar = rbm.greedy(fin, fin.parameters.sample(4), max_basis=2).reduced_model
    line = np.linspace(0, 1, 5), [[k, k + 1] for k in range(4)]
    with pytest.raises(rbm.ModelError, match=r"5 points, the model has 3 unknowns\. If 2 were eliminated.*free="):
        rbm.fields(bar, [1.0], line)
    mask = np.array([False, True, True, True, False])
    for free in ([1, 2, 3], mask):
        np.testing.assert_array_equal(rbm.fields(bar, [1.0], line, free=free).values[0, [0, -1]], 0)
    for free, message in (
        ([1, 2], "numbers of the 3 unknowns"),
        ([1, 2, 2], "different numbers from 0 to 4"),
        ([3, 2, 1], "ascending"),
        ([1, 2, 5], "different numbers from 0 to 4"),
    ):
        with pytest.raises(rbm.ModelError, match=message):
            rbm.fields(bar, [1.0], line, free=free)
    with pytest.raises(rbm.ModelError, match="knows its free unknowns"):
        rbm.fields(reduced, [1.0, 0.0], basis, free=[1])
    with pytest.raises(rbm.ModelError, match="goes up to number 25, but the model has 25 unknowns"):
        rbm.fields(reduced, [1.0, 0.0], (MESH.p.T, MESH.t.T), unknowns=np.arange(25) + 1)
    reduced.save(tmp_path / "m.rbm", basis=False)
    with pytest.raises(rbm.ModelError, match="does not hold its basis"):
        rbm.fields(rbm.load(tmp_path / "m.rbm"), [1.0, 0.0], basis)
    with pytest.raises(rbm.ModelError, match="control= is for models in time"):
        rbm.fields(reduced, [1.0, 0.0], basis, control=[1.0])
    with pytest.raises(rbm.ModelError, match="name of a field"):
        rbm.fields(reduced, [1.0, 0.0], basis, name="")
    with pytest.raises(rbm.ParameterError, match="outside"):
        rbm.fields(reduced, [11.0, 0.0], basis)


def test_unknowns_of_part_of_a_composite_basis(heat: Any) -> None:
    """A model of two fields at once: each is drawn on its own basis by scikit-fem's list of its unknowns."""
    basis = skfem.Basis(MESH, skfem.ElementTriP2() * skfem.ElementTriP1())
    first, second = basis.split_indices()
    u = np.zeros(basis.N)
    quadratic, linear = basis.split_bases()
    u[first], u[second] = quadratic.doflocs[0], -linear.doflocs[1]
    model = rbm.FullOrderModel([("a", np.eye(len(u)))], [(1.0, u)], np.eye(len(u)), {"a": (0.5, 2.0)}, "a")
    reduced = rbm.greedy(model, [[1.0]], max_basis=1).reduced_model
    for part, numbers, sign, axis in ((quadratic, first, 1, 0), (linear, second, -1, 1)):
        made = rbm.fields(reduced, [1.0], part, unknowns=numbers)
        np.testing.assert_allclose(made.values[0], sign * made.mesh.points[:, axis], atol=1e-12)


@pytest.mark.parametrize("name", ["a.avi", "a"])
def test_films_of_other_endings_are_refused(heat: Any, sweep: np.ndarray, tmp_path: Path, name: str) -> None:
    with pytest.raises(rbm.ModelError, match=r"a film ends in \.gif or \.mp4"):
        rbm.fields(heat[0], sweep, heat[1]).film(tmp_path / name)


def test_mp4_needs_ffmpeg(heat: Any, sweep: np.ndarray, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(rbm.ModelError, match="needs the program ffmpeg"):
        rbm.fields(heat[0], sweep, heat[1]).film(tmp_path / "a.mp4")
    fake = tmp_path / "ffmpeg"
    fake.write_text(f"#!{sys.executable}\nimport sys\nsys.exit('no such codec')\n")
    fake.chmod(0o755)
    with pytest.raises(rbm.ModelError, match=r"ffmpeg cannot write this film \(no such codec\)"):
        rbm.fields(heat[0], sweep, heat[1]).film(tmp_path / "a.mp4")
    assert [p.name for p in tmp_path.iterdir()] == ["ffmpeg"]


@pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="ffmpeg is not installed: apt-get install -y ffmpeg")
def test_a_film_as_mp4(heat: Any, sweep: np.ndarray, tmp_path: Path) -> None:
    path = rbm.fields(heat[0], sweep, heat[1]).film(tmp_path / "a.mp4")
    assert path.read_bytes()[4:8] == b"ftyp"


def test_pixels_interpolate_in_their_triangles() -> None:
    """Linear fields are exact at the middles of pixels, and pixels outside the mesh are empty."""
    triangles = np.array([[0, 1, 2], [1, 3, 2]])
    points = np.array([[0.0, 0], [2, 0], [0, 1], [2, 2]])
    made = Raster(points, triangles, 40, 20).image(3 * points[:, 0] - points[:, 1] + 1)
    x, y = np.meshgrid((np.arange(40) + 0.5) * 2 / 40, (np.arange(20) + 0.5) * 2 / 20)
    inside = np.isfinite(made)
    np.testing.assert_allclose(made[inside], (3 * x - y + 1)[inside], atol=1e-12)
    below = y <= 1 + x / 2
    assert np.array_equal(inside | (np.abs(y - 1 - x / 2) < 1e-6), below)


def test_the_page_runs(tmp_path: Path, monkeypatch: Any) -> None:
    """Each block of docs/fields.md by itself, in an empty folder."""
    pytest.importorskip("meshio")
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "fields.md").read_text(), re.S)
    assert len(blocks) == 2
    monkeypatch.chdir(tmp_path)
    for block in blocks:
        exec(compile(block, "docs/fields.md", "exec"), {})
    assert {"sweep.gif", "sweep.pvd", "sweep_0005.vtu", "u.vtu"} <= {path.name for path in tmp_path.iterdir()}
