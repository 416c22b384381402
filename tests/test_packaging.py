"""What is distributed: types, everything that the README runs, and versions that are asked for with a reason."""

from __future__ import annotations

import fnmatch
import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
from pathlib import Path

import pytest
from helpers import ROOT

import rbm
from rbm.storage.versions import versions

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PACKAGES = ("lowrank", "eim", "rbm", "problems", "ml")


@pytest.mark.parametrize("package", PACKAGES)
def test_a_package_says_that_it_is_typed(package: str) -> None:
    """Type checkers ignore the annotations of an installed package without this file."""
    assert (ROOT / package / "py.typed").exists()
    assert "py.typed" in PROJECT["tool"]["setuptools"]["package-data"]["*"]
    assert f"{package}*" in PROJECT["tool"]["setuptools"]["packages"]["find"]["include"]


def test_the_source_distribution_is_complete() -> None:
    """Every file of the repository is in it: by MANIFEST.in, as part of a package, or as setuptools does on its own."""
    lines = (ROOT / "MANIFEST.in").read_text().splitlines()
    grafted = {word for line in lines if line.startswith("graft ") for word in line.split()[1:]}
    included = {word for line in lines if line.startswith("include ") for word in line.split()[1:]}
    excluded = [word for line in lines if line.startswith("global-exclude ") for word in line.split()[1:]]
    automatic = {"pyproject.toml", "README.md", "LICENSE", "MANIFEST.in", "PKG-INFO", "setup.cfg", ".gitignore", ".git"}
    ignored = (
        [line.rstrip("/") for line in (ROOT / ".gitignore").read_text().splitlines()]
        if (ROOT / ".gitignore").exists()
        else []
    )
    for path in ROOT.iterdir():
        if any(fnmatch.fnmatch(path.name, pattern) for pattern in [*ignored, "*.egg-info"]):
            continue
        assert path.name in {*grafted, *included, *automatic, *PACKAGES}, f"{path.name} is in no distribution"
    kept = [p for p in (ROOT / "tests").rglob("*") if p.is_file() and "__pycache__" not in p.parts]
    assert {"conftest.py", "oracle.py", "models.py"} <= {p.name for p in kept}
    assert not [p for p in kept if any(fnmatch.fnmatch(p.name, pattern) for pattern in excluded)]


def test_the_source_distribution_holds_every_file_of_the_repository(tmp_path: Path) -> None:
    """It is built from the files that git knows, and compared with them."""
    pytest.importorskip("setuptools", minversion="77", reason="it is built by the setuptools that is installed")
    tracked = tracked_files()
    for name in tracked:
        target = tmp_path / "source" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, target)
    code = "from setuptools import build_meta; build_meta.build_sdist('..')"
    env = {**os.environ, "PYTHONPATH": ""}
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path / "source", env=env, capture_output=True, check=True)
    (archive,) = tmp_path.glob("*.tar.gz")
    name = PROJECT["project"]["name"].replace("-", "_")
    assert archive.name == f"{name}-{PROJECT['project']['version']}.tar.gz"
    with tarfile.open(archive) as opened:
        held = {m.name.partition("/")[2]: m.size for m in opened.getmembers() if m.isfile()}
    assert {n: held.get(n) for n in tracked} == {n: (ROOT / n).stat().st_size for n in tracked}
    made = {n for n in held if n not in tracked and ".egg-info/" not in n}
    assert made == {"PKG-INFO", "setup.cfg"}
    assert {"tests/conftest.py", "tests/helpers/oracle.py", "Makefile", "CHANGELOG.md", "benchmarks/truth.json"} <= set(
        held
    )


def tracked_files() -> list[str]:
    """Return the files of the repository by name; skip the test outside of one."""
    git = shutil.which("git")
    if git is None or not (ROOT / ".git").exists():
        pytest.skip("this is no checkout with git")
    done = subprocess.run([git, "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True)
    return [name for name in done.stdout.decode().split("\0") if name and (ROOT / name).is_file()]


def test_the_version_is_one_and_the_same() -> None:
    assert rbm.__version__ == versions()["rbm-toolkit"] == PROJECT["project"]["version"]
    changes = (ROOT / "CHANGELOG.md").read_text()
    assert f"## [{rbm.__version__}]" in changes or "## [Unreleased]" in changes


def test_links_of_the_repository_are_complete_or_said_to_be_missing() -> None:
    """All of its addresses or none, and none but real ones; CITATION.cff has the same."""
    urls, citation = PROJECT["project"]["urls"], (ROOT / "CITATION.cff").read_text()
    public = {"Source", "Issues", "Documentation", "Changelog"}
    assert {name for name in urls if not name.startswith("Paper: ")} in (set(), public)
    assert max(map(len, urls)) <= 32  # longer names are refused by registries
    for address in urls.values():
        assert re.fullmatch(r"https://[\w.-]+\.\w+/[\w./-]+", address)
        assert "example" not in address
    known = re.findall(r"^repository-code: (.*)$", citation, re.M)
    assert known == [urls[name] for name in ("Source",) if name in urls]
    if "Source" not in urls:
        assert "There is no public repository yet." in (ROOT / "pyproject.toml").read_text()


def test_links_to_papers_are_sources_that_the_code_names() -> None:
    papers = {name: url for name, url in PROJECT["project"]["urls"].items() if name.startswith("Paper: ")}
    assert papers["Paper: error estimators"] in (ROOT / "CITATION.cff").read_text()
    code = "\n".join(file.read_text() for package in PACKAGES for file in (ROOT / package).rglob("*.py"))
    for name, address in papers.items():
        number = re.fullmatch(r"https://arxiv\.org/abs/(\d{4}\.\d{4,5})", address)
        assert number is not None, name
        assert re.search(rf"Source:[^\n]*(\n[^\n]*)?arXiv {re.escape(number[1])}", code), name


def test_classifiers_name_versions_that_are_allowed() -> None:
    project = PROJECT["project"]
    named = [c.rpartition(" ")[2] for c in project["classifiers"] if re.search(r"Python :: 3\.\d+$", c)]
    assert f">={named[0]}" == project["requires-python"]
    assert not [c for c in project["classifiers"] if c.startswith("License")]  # the expression says it


def test_the_citation_names_this_version() -> None:
    lines = (ROOT / "CITATION.cff").read_text().splitlines()
    project = PROJECT["project"]
    assert {f"version: {project['version']}", f"license: {project['license']}"} <= set(lines)
    assert f'title: "{project["name"]}:' in "\n".join(lines)


def test_the_readme_names_the_packages_that_are_installed() -> None:
    line = next(s for s in (ROOT / "README.md").read_text().splitlines() if s.startswith("This installs the command"))
    assert set(re.findall(r"`(\w+)`", line)) == {"rbm", *PACKAGES}


def test_required_versions_have_a_floor_that_is_met_and_a_reason() -> None:
    text = (ROOT / "pyproject.toml").read_text()
    lines = text[text.index("dependencies = [") : text.index("[project.optional-dependencies]")].splitlines()[1:-2]
    entries = [line for line in lines if line.strip().startswith('"')]
    assert len(entries) == len(PROJECT["project"]["dependencies"])
    for line in entries:
        name, floor, reason = re.fullmatch(r'  "([\w-]+)>=([\d.]+)",  # (.+)', line).groups()
        assert len(reason) > 10
        installed = re.findall(r"\d+", importlib.metadata.version(name))
        assert [int(x) for x in installed[:3]] >= [int(x) for x in floor.split(".")], name


def test_own_matrices_need_neither_plots_nor_finite_elements(tmp_path: Path) -> None:
    """From a model to saved answers without matplotlib, scikit-fem, meshio and bempp-cl."""
    code = """
import sys
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.split('.')[0] in ('matplotlib', 'skfem', 'meshio', 'bempp_cl', 'problems', 'ml', \
'torch', 'safetensors'):
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Refuse())
import numpy as np, rbm, eim, lowrank
model = rbm.FullOrderModel([(1.0, np.diag([2.0, 3.0, 4.0])), ("mu", np.eye(3))], [(1.0, np.ones(3))], \
np.diag([2.0, 3.0, 4.0]),
                           rbm.ParameterSpace({"mu": (1.0, 10.0)}), 1.0)
result = rbm.greedy(model, model.parameters.sample(20), tol=1e-3, progress=False)
result.reduced_model.save(sys.argv[1])
print(rbm.load(sys.argv[1]).solve([[2.0]]).bound[0] < 1e-3)
"""
    command = [sys.executable, "-c", code, str(tmp_path / "m.rbm")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.stdout == "True\n", done.stderr


def test_plots_and_finite_elements_are_loaded_by_what_uses_them() -> None:
    heavy = {"matplotlib", "skfem", "meshio", "bempp_cl", "numba", "torch"}
    code = f"import sys, rbm.command_line, problems, ml; print(*sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
