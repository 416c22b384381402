"""Examples in docstrings and in the README are run."""

from __future__ import annotations

import doctest
import importlib
import pkgutil
import re
from pathlib import Path

import pytest
from scattering_models import restore

import eim
import lowrank
import ml
import problems
import rbm

ROOT = Path(__file__).parents[1]
MODULES = [
    name
    for package in (lowrank, eim, rbm, ml, problems)
    for name in (package.__name__, *(m.name for m in pkgutil.walk_packages(package.__path__, package.__name__ + ".")))
]


@pytest.mark.parametrize("name", MODULES)
def test_docstring_examples(name: str) -> None:
    module = importlib.import_module(name)
    assert module.__doc__, f"{name} has no docstring"
    failures, _ = doctest.testmod(module, extraglobs={"np": importlib.import_module("numpy")})
    assert failures == 0


@pytest.mark.parametrize("name", MODULES)
def test_public_names_exist(name: str) -> None:
    module = importlib.import_module(name)
    for public in getattr(module, "__all__", []):
        assert hasattr(module, public), f"{name}.__all__ lists {public}"


@pytest.mark.parametrize("whole", [False, pytest.param(True, marks=pytest.mark.slow)], ids=["small", "whole"])
def test_readme_code_runs(
    whole: bool, stored_matrices: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each block by itself unless it says otherwise; with the stored 66 unknowns in place of the 1026 of the sphere, and as it is."""
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.S)
    assert sum("level=4" in block for block in blocks) == 1
    if whole:
        restore(monkeypatch, stored_matrices)
    else:
        blocks = [block.replace("level=4", "level=2") for block in blocks]
    monkeypatch.chdir(tmp_path)
    namespace: dict[str, object] = {}
    for block in blocks:
        if not block.startswith("# goes on from above"):
            namespace = {}
        exec(compile(block, "README.md", "exec"), namespace)


def test_readme_says_what_is_resolved() -> None:
    """The caption of its first figure: of E_onb nearly all points at N = 7 and most at N = 8, of E2 none from N = 5 on."""
    model = problems.reaction_diffusion_1d()
    reduced = rbm.greedy(model, model.parameters.sample(1000, "grid"), max_basis=8, progress=False).reduced_model
    mus = model.parameters.sample(1000, "random", rng=1)
    resolved = {size: reduced.truncate(size).solve(mus).estimate.resolved.mean() for size in (7, 8)}
    assert resolved[7] > 0.97
    assert resolved[8] > 0.6
    basis = reduced.basis
    for size in range(5, 9):
        squared = rbm.project(model, basis[:, :size], ("expanded",))
        assert not squared.solve(mus).estimate.resolved.any()


def test_readme_links_and_figures_exist() -> None:
    text = (ROOT / "README.md").read_text()
    for target in re.findall(r"\]\((?!http)([^)#]+)\)", text):
        assert (ROOT / target).exists(), target
