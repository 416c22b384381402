"""Assembly by bempp-cl (one real run), the cache, and what is said where the package is missing."""

from __future__ import annotations

import importlib.metadata
import os
import subprocess
import sys
import warnings
from pathlib import Path

import numba
import numpy as np
import pytest
from helpers import ROOT, TESTS
from helpers.plates import double_pyramid, plate
from helpers.scattering_models import DATA, UNSEEN, icosphere, scattering
from numba.core.dispatcher import Dispatcher

from problems import SurfaceMesh, acoustic_scattering, surface
from problems.acoustics import bempp
from problems.acoustics import boundary_elements as bem
from problems.acoustics.matrix_cache import cached_file, read_matrices, write_matrices
from problems.acoustics.scattering_series import sphere_pressure, two_part_sphere_pressure
from problems.acoustics.surface_fields import _rule, sphere_rule
from rbm.storage.archive import read_archive, write_archive

#: Orders of quadrature on the thin plate, which must not matter.
PLATE_ORDERS = (4, 8)


@pytest.fixture(scope="module")
def assembled(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of matrices that one process has assembled, quietly.

    It is the only process, as it compiles for most of a minute.
    """
    pytest.importorskip("bempp_cl", reason="pip install bempp-cl")
    names = {item.name for item in request.session.items}
    shapes = [("sphere", 2)]
    if "test_assembled_matrices_give_known_solutions" in names:
        shapes += [("sphere", 3), ("ellipsoid", 3), ("icosphere", 2)]
    orders = PLATE_ORDERS if "test_a_thin_plate_is_solved_as_by_rules_of_higher_order" in names else ()
    code = (
        "import sys; sys.path.insert(0, sys.argv[2])\n"
        "import numba; numba.set_num_threads(min(2, numba.config.NUMBA_NUM_THREADS)); threads = "
        "numba.get_num_threads()\n"
        "from problems.acoustics import boundary_elements as bem; from problems import surface\n"
        "from helpers.scattering_models import icosphere\n"
        f"for shape, level in {shapes}:\n"
        "    mesh = icosphere(level) if shape == 'icosphere' else surface(shape, level, 2)\n"
        "    bem.assemble(mesh, 2.0, cache=sys.argv[1])\n"
        "from helpers.plates import double_pyramid, plate\n"
        "bem.assemble(double_pyramid(0.02), 1e-3, quadrature=6, cache=sys.argv[1])\n"
        f"for order in {orders}:\n"
        "    bem.assemble(plate(0.02), 2.0, quadrature=order, cache=sys.argv[1])\n"
        "assert numba.get_num_threads() == threads\n"
    )
    folder = tmp_path_factory.mktemp("assembled")
    arguments = [sys.executable, "-c", code, str(folder), str(TESTS)]
    done = subprocess.run(arguments, capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout == ""
    assert "Warning" not in done.stderr
    assert len(list(folder.glob("helmholtz-*.npz"))) == len(shapes) + 1 + len(orders)
    return folder


def test_assembly_gives_the_stored_matrices(assembled: Path) -> None:
    mesh = surface("sphere", 2, 2)
    (fresh,) = bem.assemble(mesh, 2.0, cache=assembled)
    (stored,) = bem.assemble(mesh, 2.0, cache=DATA)
    scale = np.abs(stored.hypersingular).max()
    np.testing.assert_allclose(fresh.hypersingular, stored.hypersingular, atol=1e-12 * scale)
    np.testing.assert_allclose(fresh.double_layer, stored.double_layer, atol=1e-12)
    for a, b in zip(
        (*fresh.single_layers, *fresh.adjoint_layers), (*stored.single_layers, *stored.adjoint_layers), strict=True
    ):
        np.testing.assert_allclose(a, b, atol=1e-12)


def test_a_sharp_rim_is_integrated(assembled: Path) -> None:
    """Faces that meet at four degrees: rows of the static double layer add up to -1/2 of the hats' integrals."""
    mesh = double_pyramid(0.02)
    assert read_matrices(assembled, mesh, 1e-3, 6) is not None
    (o,) = bem.assemble(mesh, 1e-3, quadrature=6, cache=assembled)
    missed = o.double_layer.real.sum(axis=1) + bem.mass(mesh).sum(axis=1) / 2
    assert np.abs(missed).max() < 2e-3 * np.abs(o.double_layer).max()


@pytest.mark.slow
def test_assembled_matrices_give_known_solutions(assembled: Path) -> None:
    """Second order against the series, the errors of another program, the optical theorem."""
    settings = {"susceptance": (-1.0, 1.0), "stability": 0.1, "cache": assembled, "progress": False}
    errors, projected = [], []
    mus = np.array([[0.0, 0.0, 0.0, 0.0], [1.0, 0.0, 1.0, 0.0], [1.0, 0.0, 0.0, 0.0], [0.2, 0.0, 1.0, -0.5]])
    for level in (2, 3):
        model = acoustic_scattering("sphere", 2, 2.0, level, **settings)
        m, z = bem.mass(model.mesh), model.mesh.vertices[2]
        exact = np.stack([two_part_sphere_pressure(z, 2.0, *beta) for beta in model.admittances(mus)])
        off = model.solve(mus) - exact
        errors.append([(e.conj() @ m @ e).real / (x.conj() @ m @ x).real for e, x in zip(off, exact, strict=True)])
        # the same against the L2 projection of the series, which measures the function and not its nodal values
        points, _, hats = _rule(model.mesh)
        series = [
            two_part_sphere_pressure(points[2] / np.linalg.norm(points, axis=0), 2.0, *b)
            for b in model.admittances(mus)
        ]
        exact = np.linalg.solve(m, hats.T @ np.array(series).T).T
        off = model.solve(mus) - exact
        projected.append([(e.conj() @ m @ e).real / (x.conj() @ m @ x).real for e, x in zip(off, exact, strict=True)])
    order = np.log2(np.array(projected[0]) / np.array(projected[1])) / 2
    assert np.all(order > 1.9), order
    np.testing.assert_array_less(np.sqrt(projected)[:, 2:], [[7.8e-2, 7.2e-2], [2.2e-2, 2.0e-2]])
    order = np.log2(np.array(errors[0]) / np.array(errors[1])) / 2
    assert np.all(order > 1.8), order
    np.testing.assert_array_less(np.sqrt(errors[1]), [1.7e-2, 2.2e-2, 2.3e-2, 2.1e-2])

    # a mesh of the user's own, and the errors measured on it before, by another program (relative, 162 unknowns, k = 2)
    measured = {0.0: 2.31e-2, 0.5: 2.84e-2, 1.0: 3.15e-2, 0.3 - 0.7j: 3.73e-2, 3.0 + 1j: 3.37e-2}
    sphere = acoustic_scattering(icosphere(2), None, 2.0, conductance=(0.0, 3.0), **settings)
    assert sphere.dimension == 162
    m, z = bem.mass(sphere.mesh), sphere.mesh.vertices[2]
    for beta, limit in measured.items():
        exact = sphere_pressure(z, 2.0, beta)
        off = sphere.solve([[np.real(beta), np.imag(beta)]])[0] - exact
        relative = np.sqrt((off.conj() @ m @ off).real / (exact.conj() @ m @ exact).real)
        assert 0.98 * limit < relative <= limit, beta

    ellipsoid = acoustic_scattering("ellipsoid", 2, 2.0, 3, **settings)
    u = ellipsoid.solve(mus[1:])
    directions, weights = sphere_rule(16)
    scattered = np.abs(ellipsoid.far_field(mus[1:], u, directions)) ** 2 @ weights
    extinction = 2 * np.pi * ellipsoid.outputs["forward"](mus[1:], u).imag
    np.testing.assert_allclose(scattered + ellipsoid.outputs["absorption"](mus[1:], u), extinction, rtol=1e-4)


def test_identities_of_the_operators() -> None:
    """V and W are symmetric to the accuracy of the quadrature.

    K is the sum of its parts, and parts end where they end.
    """
    mesh = surface("sphere", 2, 2)
    (o,) = bem.assemble(mesh, 2.0, cache=DATA)
    v = sum(o.single_layers)
    np.testing.assert_allclose(v, v.T, atol=1e-5 * np.abs(v).max())
    np.testing.assert_allclose(o.hypersingular, o.hypersingular.T, atol=1e-5 * np.abs(o.hypersingular).max())
    np.testing.assert_array_equal(o.double_layer, sum(o.adjoint_layers).T)
    for j in (1, 2):
        off = np.setdiff1d(np.arange(66), mesh.triangles[:, mesh.parts == j])
        assert not o.single_layers[j - 1][:, off].any()


def test_green_s_formula_for_a_field_without_scatterer() -> None:
    """A plane wave solves the equation inside: (1/2 + K) u = V du/dn, to the mesh error."""
    mesh = surface("sphere", 2, 2)
    (o,) = bem.assemble(mesh, 2.0, cache=DATA)
    d = np.array([0.0, 0.0, 1.0])
    u = np.exp(2j * (d @ mesh.vertices))
    # normals at the vertices of the unit sphere are the vertices themselves
    slope = 2j * (d @ mesh.vertices) * u
    left = bem.mass(mesh) @ u / 2 + o.double_layer @ u
    right = sum(o.single_layers) @ slope
    assert np.linalg.norm(left - right) < 0.1 * np.linalg.norm(right)


def test_a_cache_is_found_again_and_a_damaged_file_is_not_used(tmp_path: Path) -> None:
    mesh = surface("sphere", 2, 2)
    (stored,) = bem.assemble(mesh, 2.0, cache=DATA)
    write_matrices(tmp_path, mesh, 2.0, 4, bem._packed(mesh, stored))
    (again,) = bem.assemble(mesh, 2.0, cache=tmp_path)
    np.testing.assert_array_equal(again.hypersingular, stored.hypersingular)
    for a, b in zip(
        (*again.single_layers, *again.adjoint_layers), (*stored.single_layers, *stored.adjoint_layers), strict=True
    ):
        np.testing.assert_array_equal(a, b)
    (file,) = tmp_path.iterdir()
    file.write_bytes(file.read_bytes()[:5000])
    with pytest.warns(
        UserWarning, match=r"cached matrices are not used and will be assembled again: .*truncated or damaged"
    ):
        assert read_matrices(tmp_path, mesh, 2.0, 4) is None


def _meshes() -> dict[str, SurfaceMesh]:
    """Meshes that all have other matrices than the first."""
    mesh = surface("sphere", 2, 2)
    v, t = mesh.vertices, mesh.triangles
    # two triangles beside each other, and their quadrangle cut along the other diagonal
    a, b, c = t[:, 0]
    neighbour = next(k for k in range(1, t.shape[1]) if {b, c} <= set(t[:, k].tolist()))
    (d,) = set(t[:, neighbour].tolist()) - {b, c}
    turned = t.copy()
    turned[:, 0], turned[:, neighbour] = (a, b, d), (a, d, c)
    vertex = v.copy()
    vertex[2, 0] += 1e-9
    far = np.array([[1e3], [0.0], [0.0]])
    return {
        "sphere": mesh,
        "in centimetres": SurfaceMesh(100 * v, t, mesh.parts),
        "in millimetres": SurfaceMesh(1000 * v, t, mesh.parts),
        "a little larger": SurfaceMesh(v * (1 + 1e-10), t, mesh.parts),
        "one vertex moved": SurfaceMesh(vertex, t, mesh.parts),
        "one part": surface("sphere", 2, 1),
        "parts exchanged": SurfaceMesh(v, t, 3 - mesh.parts),
        "another triangulation": SurfaceMesh(v, turned, mesh.parts),
        "mirrored": SurfaceMesh(v * [[-1.0], [1.0], [1.0]], t[[0, 2, 1]], mesh.parts),
        "another shape": surface("ellipsoid", 2, 2),
        "another refinement": surface("sphere", 1, 2),
        "tiny and far away": SurfaceMesh(1e-6 * v + far, t, mesh.parts),
        "another tiny one": SurfaceMesh(1e-6 * surface("peanut", 2).vertices + far, t, mesh.parts),
    }


def test_meshes_that_differ_never_share_a_file() -> None:
    """Scale, place, triangles and the way they run, parts; wavenumber and quadrature; and every last bit of them."""
    found = {name: cached_file(Path("x"), mesh, 2.0, 4) for name, mesh in _meshes().items()}
    mesh = _meshes()["sphere"]
    others = ((2.5, 4), (2.0 + 1e-11, 4), (float(np.nextafter(2.0, 3.0)), 4), (2.0, 6))
    found |= {f"{k}, {order}": cached_file(Path("x"), mesh, k, order) for k, order in others}
    assert len(set(found.values())) == len(found)
    again = SurfaceMesh(mesh.vertices.copy(), mesh.triangles.astype(np.int32), mesh.parts.tolist())
    assert cached_file(Path("y"), again, np.float64(2.0), np.int64(4)).name == found["sphere"].name


def test_small_bodies_far_apart_do_not_share_a_file() -> None:
    """What is a rounding error of the whole is the shape of a part.

    Here a sphere and a peanut, each beside another body a million radii away.
    """
    meshes = []
    for shape in ("sphere", "peanut"):
        body, far = surface(shape, 1), surface("sphere", 1)
        vertices = np.concatenate([1e-6 * body.vertices, far.vertices + np.array([[1e6], [0.0], [0.0]])], axis=1)
        meshes.append(SurfaceMesh(vertices, np.concatenate([body.triangles, far.triangles + 18], axis=1)))
    assert cached_file(Path("x"), meshes[0], 1.0, 4) != cached_file(Path("x"), meshes[1], 1.0, 4)


def test_another_version_of_the_package_has_files_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    mesh, found = surface("sphere", 1), {}
    for version in ("0.4.2", "0.4.3"):
        monkeypatch.setattr(importlib.metadata, "version", lambda name, v=version: v)
        found[version] = cached_file(Path("x"), mesh, 1.0, 4)

    def missing(name: str) -> str:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", missing)
    found["none"] = cached_file(Path("x"), mesh, 1.0, 4)
    assert found["none"] == found["0.4.2"] != found["0.4.3"]


def test_a_mesh_in_other_units_does_not_get_the_matrices_of_the_first(tmp_path: Path) -> None:
    mesh = surface("sphere", 2, 2)
    (stored,) = bem.assemble(mesh, 2.0, cache=DATA)
    write_matrices(tmp_path, mesh, 2.0, 4, bem._packed(mesh, stored))
    assert read_matrices(tmp_path, mesh, 2.0, 4) is not None
    for unit in (1e-3, 10.0, 1000.0):
        assert read_matrices(tmp_path, SurfaceMesh(unit * mesh.vertices, mesh.triangles, mesh.parts), 2.0, 4) is None


def _replaced(path: Path, kind: str) -> None:
    """A file of the right name with something else in it."""
    header, arrays = read_archive(path, "boundary operators")
    header = {k: v for k, v in header.items() if k not in ("format", "version", "sha256", "header_sha256")}
    content = path.read_bytes()
    path.unlink()
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "npz of another program":
        with path.open("wb") as file:
            np.savez(file, single=arrays["single"])
    elif kind == "missing bytes":
        path.write_bytes(content[:300] + content[420:])
    elif kind == "empty":
        path.write_bytes(b"")
    else:
        if kind == "another key":
            header["key"] = "0" * 64
        elif kind == "another kind":
            header["kind"] = "anchors"
        elif kind == "shape":
            arrays["tested"] = arrays["tested"][:, 1:]
        elif kind == "real":
            arrays["single"] = arrays["single"].real
        elif kind == "nan":
            arrays["hypersingular"] = arrays["hypersingular"].copy()
            arrays["hypersingular"][0, 0] = np.nan
        elif kind == "no array":
            del arrays["tested"]
        write_archive(path, header, arrays)


KINDS = [
    "folder",
    "pipe",
    "npz of another program",
    "missing bytes",
    "empty",
    "another key",
    "another kind",
    "shape",
    "real",
    "nan",
    "no array",
]


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_not_the_file_it_should_be_is_not_used(tmp_path: Path, kind: str) -> None:
    mesh = surface("sphere", 1, 2)
    (stored,) = bem.assemble(mesh, UNSEEN[0], cache=DATA)
    packed = bem._packed(mesh, stored)
    write_matrices(tmp_path, mesh, UNSEEN[0], 4, packed)
    (path,) = tmp_path.iterdir()
    _replaced(path, kind)
    with pytest.warns(UserWarning, match="cached matrices are not used and will be assembled again: "):
        assert read_matrices(tmp_path, mesh, UNSEEN[0], 4) is None
    if kind in ("folder", "pipe"):
        with pytest.warns(UserWarning, match="assembled matrices could not be cached"):
            write_matrices(tmp_path, mesh, UNSEEN[0], 4, packed)
    else:
        write_matrices(tmp_path, mesh, UNSEEN[0], 4, packed)
        assert read_matrices(tmp_path, mesh, UNSEEN[0], 4) is not None


def test_a_thousand_damaged_files_give_the_right_numbers_or_none(tmp_path: Path) -> None:
    mesh = surface("sphere", 0)
    rng = np.random.default_rng(7)
    packed = tuple(rng.standard_normal((6, 6)) + 1j * rng.standard_normal((6, 6)) for _ in range(3))
    write_matrices(tmp_path, mesh, 1.0, 4, packed)  # type: ignore[arg-type]
    (path,) = tmp_path.iterdir()
    whole = path.read_bytes()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        for case in range(1000):
            content = bytearray(whole)
            at, length = int(rng.integers(len(whole))), int(rng.integers(1, 60))
            if case % 4 == 0:
                content = content[:at]
            elif case % 4 == 1:
                content[at] ^= 1 << int(rng.integers(8))
            elif case % 4 == 2:
                del content[at : at + length]
            else:
                content[at : at + length] = rng.bytes(length)
            path.write_bytes(bytes(content))
            found = read_matrices(tmp_path, mesh, 1.0, 4)
            assert found is None or all(np.array_equal(a, b) for a, b in zip(found, packed, strict=True)), case


@pytest.mark.parametrize("order", [0, 21, 4.5, True, "4"])
def test_bad_orders(order: object) -> None:
    with pytest.raises(ValueError, match="quadrature must be a whole number from 1 to 20"):
        bem.assemble(surface("sphere", 1), 1.0, quadrature=order)  # type: ignore[arg-type]


@pytest.mark.slow
def test_a_thin_plate_is_solved_as_by_rules_of_higher_order(assembled: Path) -> None:
    """A plate, 1 x 1 x 0.02, with edges of 0.24.

    With the rule of order 4 alone the extinction is -0.0886, a hundred per cent off and negative.
    """
    found, before = {}, sorted(assembled.iterdir())
    for order in PLATE_ORDERS:
        model = acoustic_scattering(
            plate(0.02),
            None,
            2.0,
            direction=(0.3, 0.4, 0.866),
            quadrature=order,
            stability=0.1,
            cache=assembled,
            progress=False,
        )
        mus = np.array([[0.0], [0.5]])
        u = model.solve(mus)
        found[order] = 2 * np.pi * model.outputs["forward"](mus, u).imag
        power = model.scattering_cross_section(mus, u) + model.outputs["absorption"](mus, u)
        np.testing.assert_allclose(found[order], power, rtol=5e-3)
    np.testing.assert_allclose(found[4], found[8], rtol=1e-3)
    assert sorted(assembled.iterdir()) == before, "these matrices were assembled with the others"


def test_assembly_takes_one_thread_and_gives_the_others_back() -> None:
    before = numba.get_num_threads()
    with bempp.one_thread():
        assert numba.get_num_threads() == 1
    assert numba.get_num_threads() == before
    with pytest.raises(KeyError), bempp.one_thread():
        raise KeyError
    assert numba.get_num_threads() == before


def test_the_kernels_are_compiled_without_parallel_loops() -> None:
    pytest.importorskip("bempp_cl", reason="pip install bempp-cl")
    bempp.bempp_api()
    modules = [module for name, module in list(sys.modules.items()) if name.startswith("bempp_cl.")]
    kernels = [item for module in modules for item in vars(module).values() if isinstance(item, Dispatcher)]
    assert sum("hypersingular" in kernel.__name__ for kernel in kernels) >= 2
    assert not any(kernel.targetoptions.get("parallel") for kernel in kernels)


@pytest.mark.slow
def test_assembly_takes_constant_time_and_memory_where_numba_finds_tbb() -> None:
    """With two threads on TBB 2021.8 the tenth matrix takes fifty times as long as the first, and each 26 MB.

    That version is what Debian has. One thread is enough where the kernels have parallel loops, as they do after a
    user's own code has compiled them.
    """
    pytest.importorskip("bempp_cl", reason="pip install bempp-cl")
    try:
        files = importlib.metadata.files("tbb") or []
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("TBB is not installed: pip install tbb==2021.8.0")
    library = next((Path(f.locate()).resolve() for f in files if f.name == "libtbb.so.12"), None)
    if library is None:
        pytest.skip("the installed package tbb holds no libtbb.so.12")
    code = (
        "import os, resource, numba, psutil\n"
        "from problems.acoustics import bempp, boundary_elements as bem; from problems import surface\n"
        "bempp._without_parallel_loops = lambda: None\n"
        "mesh = surface('sphere', 2, 2)\n"
        "for i in range(11):\n"
        "    bem.assemble(mesh, 2.0 + i / 100, cache=False, progress=False)\n"
        "    print(resource.getrusage(resource.RUSAGE_SELF).ru_utime, psutil.Process().memory_info().rss)\n"
        "print(numba.threading_layer(), numba.get_num_threads(), flush=True)\n"
        "os._exit(0)"  # what has leaked takes minutes to be freed
    )
    folders = [str(library.parent), *filter(None, [os.environ.get("LD_LIBRARY_PATH")])]
    threads = {"NUMBA_NUM_THREADS": "2", "NUMBA_THREADING_LAYER": "tbb", "LD_LIBRARY_PATH": os.pathsep.join(folders)}
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
        env=os.environ | threads,
    )
    *lines, last = done.stdout.splitlines()
    assert last == "tbb 2"
    seconds, memory = np.array([line.split() for line in lines], dtype=float).T
    each = np.diff(seconds)  # without the first, which compiles
    assert np.median(each[-3:]) < 2 * np.median(each[:3]), each
    assert memory[-1] - memory[1] < 2**24, memory


def test_a_cache_folder_that_cannot_be_written_to_costs_a_warning(tmp_path: Path) -> None:
    mesh = surface("sphere", 2, 2)
    (stored,) = bem.assemble(mesh, 2.0, cache=DATA)
    (tmp_path / "file").write_text("")
    with pytest.warns(UserWarning, match="assembled matrices could not be cached"):
        write_matrices(tmp_path / "file", mesh, 2.0, 4, bem._packed(mesh, stored))


def test_the_cache_folder_follows_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("RBM_CACHE_DIR", str(tmp_path))
    assert bem.cache_folder() == tmp_path
    monkeypatch.delenv("RBM_CACHE_DIR")
    assert bem.cache_folder().name == "rbm-toolkit"
    assert bem.folder(False) is None
    assert bem.folder(tmp_path) == tmp_path


def test_a_missing_package_names_the_line_that_installs_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "bempp_cl", None)
    monkeypatch.setitem(sys.modules, "bempp_cl.api", None)
    with pytest.raises(
        ImportError,
        match=r"bempp-cl, which is not installed: pip install bempp-cl==0\.4\.2, "
        r'or, in a clone of this package, pip install "\.\[bem\]"',
    ):
        acoustic_scattering("sphere", 2, 1.0, 1, cache=tmp_path, stability=0.1)
    assert not list(tmp_path.iterdir())
    scattering.cache_clear()
    assert scattering().dimension == 66  # cached matrices need no package


@pytest.mark.parametrize("k", [0.0, -1.0, np.nan, [1.0, -2.0]])
def test_bad_wavenumbers(k: object) -> None:
    with pytest.raises(ValueError, match="the wavenumber must be a positive number"):
        bem.assemble(surface("sphere", 1), k)  # type: ignore[arg-type]
