"""The wheel in an environment of its own, outside the checkout, and beside a module that is called like one of ours."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest
from test_packaging import PACKAGES, ROOT, tracked_files

BIN = "Scripts" if os.name == "nt" else "bin"


def run(*command: object, cwd: Path, status: int = 0) -> str:
    """What a command says; the checkout is not on its path."""
    env = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
    done = subprocess.run([*map(str, command)], cwd=cwd, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == status, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A new environment with the wheel; all else comes from the environment of the tests."""
    pytest.importorskip("setuptools", minversion="77", reason="the wheel is built by the setuptools that is installed")
    pytest.importorskip("pip")
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    for package in PACKAGES:
        shutil.copytree(ROOT / package, source / package, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    pip = (sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check")
    run(*pip, "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", folder, source, cwd=folder)
    venv.create(folder / "env", with_pip=False)
    site = sysconfig.get_path("purelib", "venv", {"base": str(folder / "env")})
    Path(site, "tests.pth").write_text("\n".join({sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}))
    (wheel,) = folder.glob("*.whl")
    install = ("install", "--no-deps", "--no-index", "--no-compile", wheel)
    run(*pip, "--python", folder / "env" / BIN / "python", *install, cwd=folder)
    return folder / "env"


def test_every_package_is_imported_from_the_wheel(environment: Path, tmp_path: Path) -> None:
    code = "; ".join(f"import {p}; print({p}.__file__)" for p in PACKAGES)
    files = run(environment / BIN / "python", "-c", code, cwd=tmp_path).split()
    assert len(files) == len(PACKAGES)
    assert all(Path(file).is_relative_to(environment) for file in files)


def test_every_file_of_the_packages_is_in_the_wheel(environment: Path) -> None:
    """Data and markers as well: scripts of pages, items of questions, py.typed."""
    site = Path(sysconfig.get_path("purelib", "venv", {"base": str(environment)}))
    wanted = [name for name in tracked_files() if name.split("/")[0] in PACKAGES]
    assert {"rbm/py.typed", "rbm/show/page/page.css", "ml/language/debiasing/items.jsonl"} <= set(wanted)
    assert [name for name in wanted if not (site / name).is_file()] == []


def test_commands_run_beside_a_module_called_problems(environment: Path, tmp_path: Path) -> None:
    """The installed command does not see it; where Python does, its file is named, and it is not run."""
    foreign = tmp_path / "problems.py"
    foreign.write_text("raise SystemExit('the foreign module ran')")
    said = run(environment / BIN / "rbm", "study", "diffusion", "--tol", "0.01", "--out", "out", cwd=tmp_path)
    assert "saved" in said
    assert "file: " in run(environment / BIN / "rbm", "info", "out/model.rbm", cwd=tmp_path)
    page = run(environment / BIN / "rbm", "export", "out/model.rbm", "--html", "page.html", cwd=tmp_path)
    assert "open it in a browser" in page  # its scripts are in the wheel
    python = environment / BIN / "python"
    said = run(python, "-m", "rbm.command_line", "study", "diffusion", cwd=tmp_path, status=2)
    assert "'diffusion' of rbm-toolkit is problems.studies:run, which is not found" in said
    assert str(foreign) in said
    assert "file: " in run(python, "-m", "rbm.command_line", "info", "out/model.rbm", cwd=tmp_path)
