"""The rules of the house: floors, light imports, one concept a file."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest
from helpers import ROOT, house

import rbm

#: A package imports only from floors below it.
FLOORS = {
    "lowrank": set(),
    "eim": {"lowrank"},
    "rbm": {"eim", "lowrank"},
    "ml": {"lowrank"},
    "problems": {"rbm", "eim", "lowrank"},
}
OPTIONAL = {
    *("bempp_cl", "cupy", "cupyx", "dask", "h5py", "meshio", "pymor", "skfem", "matplotlib", "numba", "tqdm"),
    *("torch", "transformers", "safetensors", "tokenizers", "httpx"),
    *("pandas", "polars", "xarray", "SALib", "emcee"),
    *("dask", "distributed", "loky", "mpi4py", "cloudpickle"),
    *("pyvista", "vtk", "ipywidgets", "IPython", "PIL"),
}
#: The compiled kernels: imported, all together, when the first of them is called.
COMPILED = {path.relative_to(ROOT).as_posix() for path in (ROOT / "rbm" / "online" / "kernels").glob("*.py")}


def imports(path: Path, top_level_only: bool = False) -> set[str]:
    tree = ast.parse(path.read_text())
    nodes = tree.body if top_level_only else list(ast.walk(tree))
    names: set[str] = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module.split(".")[0])
    return names


@pytest.mark.parametrize("package", FLOORS)
def test_a_package_imports_only_from_floors_below(package: str) -> None:
    for path in sorted((ROOT / package).rglob("*.py")):
        above = imports(path) & set(FLOORS) - FLOORS[package] - {package}
        assert not above, f"{path.relative_to(ROOT)} imports {above}"


@pytest.mark.parametrize("package", FLOORS)
def test_optional_packages_are_imported_where_they_are_used(package: str) -> None:
    for path in sorted((ROOT / package).rglob("*.py")):
        allowed = {"numba"} if path.relative_to(ROOT).as_posix() in COMPILED else set()
        assert not imports(path, top_level_only=True) & OPTIONAL - allowed, path.relative_to(ROOT)


@pytest.mark.parametrize("package", house.PACKAGES)
def test_no_circle_of_imports(package: str) -> None:
    assert not house.circles(house.imports(package))


@pytest.mark.parametrize("package", house.ROOMS)
def test_a_room_imports_only_from_rooms_below(package: str) -> None:
    """Type-only and lazy imports count; the one wanted exception is `house.ALLOWED`."""
    assert not house.upward(package, house.imports(package))


def test_the_entrance_hall_stays_small() -> None:
    """What is in rbm/ is in the list of rooms, 26 entries at most."""
    found = {name.removesuffix(".py") for name in house.entries("rbm")}
    assert found - {"__init__", "py.typed"} <= set(house.ROOMS["rbm"])
    assert len(found) <= 26


def test_circles_and_arrows_upward_are_found(tmp_path: Path) -> None:
    files = {
        "errors.py": "",
        "storage/__init__.py": "",
        "storage/a.py": "from rbm.storage import b",
        "affine/c.py": "",
        "storage/b.py": "if TYPE_CHECKING:\n    from rbm.storage.a import A\ndef f():\n    from rbm.affine.c import g",
    }
    for name, text in files.items():
        path = tmp_path / "rbm" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    graph = house.imports("rbm", tmp_path)
    assert house.circles(graph) == [["rbm.storage.a", "rbm.storage.b", "rbm.storage.a"]]
    assert house.upward("rbm", graph) == [("rbm.storage.b", "rbm.affine.c")]


def test_import_rbm_is_light() -> None:
    """It loads what it needs of NumPy and SciPy and nothing else.

    That takes 0.75 s of CPU time where this was measured last, 0.3 s of it ours.
    """
    code = "import rbm, sys; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    bare = subprocess.run([sys.executable, "-c", code.replace("rbm, ", "")], capture_output=True, text=True, check=True)
    packages = {name.split(".")[0] for name in loaded} - {name.split(".")[0] for name in bare.stdout.split()}
    ours = {"rbm", "eim", "lowrank", "numpy", "scipy", "array_api_compat"}
    ours.add("charset_normalizer")  # by numpy.f2py where it happens to be installed
    assert packages - sys.stdlib_module_names - ours <= {n for n in packages if n.startswith(("_", "cython"))}
    assert not OPTIONAL & packages
    # each of these would add a tenth of a second or more
    assert not {"scipy.stats", "scipy.optimize", "scipy.interpolate", "scipy.signal", "scipy.special"} & set(loaded)
    assert not {"rbm.show", "rbm.uses"} & set(loaded)


def test_what_is_imported_later_is_what_type_checkers_see() -> None:
    tree = ast.parse(Path(str(rbm.__file__)).read_text())
    (typed,) = (n for n in tree.body if isinstance(n, ast.If) and ast.unparse(n.test) == "TYPE_CHECKING")
    seen = {}
    for node in typed.body:
        assert isinstance(node, ast.ImportFrom)
        seen |= {alias.name: str(node.module) for alias in node.names}
    later = {name: f"rbm.{module}" for name, module in rbm._LATER.items() if name not in ("show", "uses")}
    assert later == seen | {"plots": "rbm.show.plots"}
    assert set(later) <= set(rbm.__all__)
    assert rbm.plots is sys.modules["rbm.show.plots"]
    assert rbm.explore is sys.modules["rbm.show.explore"].explore
    assert set(later) <= set(dir(rbm))
    with pytest.raises(AttributeError, match="module 'rbm' has no attribute 'nothing'"):
        rbm.nothing  # noqa: B018


def test_files_are_read_whatever_else_was_imported() -> None:
    """All classes that files know are registered by `import rbm`; no other module registers one."""
    code = """
import importlib, pkgutil, sys, rbm
from rbm.storage import registry
before = {role: sorted(registry.known(role)) for role in registry.ROLES}
for module in pkgutil.walk_packages(rbm.__path__, "rbm."):
    if "kernels" not in module.name and not module.name.endswith("__main__"):
        importlib.import_module(module.name)
after = {role: sorted(registry.known(role)) for role in registry.ROLES}
print(before == after, len(before["stability bound"]), "rbm.uses.poles" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    same, bounds, all_imported = done.stdout.split()
    assert (same, all_imported) == ("True", "True")
    assert int(bounds) >= 7


def test_import_ml_is_light() -> None:
    code = (
        "import ml, ml.albert, ml.albert.training, ml.material, sys; "
        "print(*{name.split('.')[0] for name in sys.modules})"
    )
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not OPTIONAL & set(loaded)


def test_files_hold_one_concept() -> None:
    for package in FLOORS:
        for path in (ROOT / package).rglob("*.py"):
            assert len(path.read_text().splitlines()) <= 350, path.relative_to(ROOT)


@pytest.mark.parametrize("package", house.PACKAGES)
def test_functions_fit_on_a_screen(package: str) -> None:
    """Docstrings not counted."""
    lines, where = house.longest_function(package)
    assert lines < 60, where


@pytest.mark.parametrize("package", house.PACKAGES)
def test_docstrings_say_something(package: str) -> None:
    for path in (ROOT / package).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, house.Documented):
                text = ast.get_docstring(node)
                assert text is None or len(text) >= 20, f"{path.relative_to(ROOT)}: {text}"


def test_there_is_no_eval_and_no_pickle() -> None:
    for package in FLOORS:
        for path in (ROOT / package).rglob("*.py"):
            calls = {
                n.func.id
                for n in ast.walk(ast.parse(path.read_text()))
                if isinstance(n, ast.Call) and isinstance(n.func, ast.Name)
            }
            assert not calls & {"eval", "exec", "compile", "__import__"}, path
            # compiled code is a pickle, and so is a model that goes to workers; both files read what this user wrote,
            # after its checksum
            allowed = {"rbm/online/kernels/kernel_cache.py", "rbm/workers/parcels.py"}
            assert "pickle" not in imports(path) or path.relative_to(ROOT).as_posix() in allowed, path
