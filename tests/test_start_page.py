"""The start page: who has it and a few .mtx files gets a certified answer. Its blocks run in order, as written."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import venv
from pathlib import Path

import pytest
from helpers import ROOT
from helpers.pages import blocks, commands_of_this_process, run_as_a_reader

PAGE = "docs/start.md"
PACKAGES = ("lowrank", "eim", "rbm", "problems", "ml")


def clean(tmp_path: Path) -> dict[str, str]:
    """An environment that knows nothing of the repository, with a cache of its own."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "VIRTUAL_ENV"))}
    return {**kept, "RBM_CACHE_DIR": str(tmp_path / "cache"), "MPLBACKEND": "Agg"}


def check(said: list[str], folder: Path) -> None:
    """The answers are those of the sum over the eigenvectors, and each is within its bound."""
    everything = "\n".join(said)
    rows = re.findall(r"h = ([\d.]+): heat = ([\d.]+) \+- (\S+)", everything)
    assert [float(h) for h, _, _ in rows] == [0.5, 3.5, 77.0]
    for h, heat, bound in rows:
        assert abs(float(heat) - exact(float(h))) <= float(bound) * 1.05 + 1e-12  # as printed, with two digits
        assert float(bound) < 1e-4
    asked = [float(x) for x in re.findall(r"^\s*heat = ([\d.]+)$", everything, re.M)]
    assert len(asked) == 2, "the file, and the model from the text file"
    assert asked == pytest.approx([exact(3.5)] * 2, rel=1e-5, abs=0)
    assert (folder / "page.html").read_text().lstrip().startswith("<!doctype html>")


def exact(h: float) -> float:
    """f^T (K + h M)^-1 f of the plate, by the eigenvectors sin(i pi x) of the interval; no matrix of the page."""
    import numpy as np

    n, i = 39, np.arange(1, 40)
    c = np.cos(i * np.pi / (n + 1))
    k, m = 2 * (1 - c) * (n + 1), (4 + 2 * c) / (6 * (n + 1))
    vectors = np.sin(np.outer(np.arange(1, n + 1), i) * np.pi / (n + 1)) * np.sqrt(2 / (n + 1))
    weight = (vectors.sum(axis=0) / (n + 1)) ** 2
    energy = np.add.outer(np.zeros(n), k)[:, :] * m[:, None] + k[:, None] * m[None, :] + h * np.outer(m, m)
    return float((np.outer(weight, weight) / energy).sum())


def test_the_blocks_run_in_order_in_an_empty_folder(tmp_path: Path) -> None:
    """In the present environment, but for the installation."""
    folder, path = tmp_path / "reader", tmp_path / "bin"
    folder.mkdir(), path.mkdir()
    environment = {**clean(tmp_path), "PYTHONPATH": str(ROOT)}
    environment.pop("RBM_CACHE_DIR")  # kernels need not be compiled once more
    check(run_as_a_reader(PAGE, folder, commands_of_this_process(path), environment, skip="python -m pip"), folder)


def test_the_installation_comes_first_and_only_once() -> None:
    first, *rest = [code for _, code in blocks(PAGE, "sh", "python")]
    assert first.startswith("python -m pip install")
    assert not any("pip" in code for code in rest)


@pytest.mark.slow
def test_the_blocks_run_in_an_environment_with_the_wheel_and_nothing_else(tmp_path: Path) -> None:
    """Where pip reaches packages: a new environment, which the page's first block fills."""
    pytest.importorskip("setuptools", minversion="77", reason="the wheel is built by the setuptools that is installed")
    folder, source = tmp_path / "reader", tmp_path / "source"
    folder.mkdir()
    for package in PACKAGES:
        shutil.copytree(ROOT / package, source / package, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    tried = subprocess.run([*pip, "download", "--no-deps", "--dest", tmp_path, "platformdirs"], capture_output=True)
    if tried.returncode:
        pytest.skip("pip reaches no packages")
    build = [*pip, "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", folder, source]
    subprocess.run(list(map(str, build)), check=True, cwd=folder)
    venv.create(tmp_path / "env", with_pip=True)
    path = tmp_path / "env" / ("Scripts" if os.name == "nt" else "bin")
    check(run_as_a_reader(PAGE, folder, path, clean(tmp_path)), folder)
    listed = subprocess.run([path / "python", "-m", "pip", "list"], capture_output=True, text=True, check=True).stdout
    assert "rbm-toolkit" in listed or "rbm_toolkit" in listed
    assert not re.search(r"^(pytest|bempp|pandas|torch|meshio)\b", listed, re.M)
