"""Examples in docstrings and on pages are run; names, files and tables in the documentation are there."""

from __future__ import annotations

import ast
import doctest
import importlib
import inspect
import os
import pkgutil
import re
import subprocess
import sys
from dataclasses import is_dataclass
from pathlib import Path
from typing import Any

import pytest
from helpers import ROOT
from helpers.scattering_models import restore

import eim
import lowrank
import ml
import problems
import rbm

MODULES = [
    name
    for package in (lowrank, eim, rbm, ml, problems)
    for name in (package.__name__, *(m.name for m in pkgutil.walk_packages(package.__path__, package.__name__ + ".")))
]

PACKAGES = "lowrank|eim|rbm|ml|problems"
#: What a newcomer reads.
PAGES = ["README.md", "CONTRIBUTING.md", *(f"docs/{path.name}" for path in sorted((ROOT / "docs").glob("*.md")))]


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
def test_code_of_the_tour_runs(
    whole: bool, stored_matrices: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each block runs by itself, with the stored 66 unknowns in place of the 1026 of the sphere, and as it is."""
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "docs/tour.md").read_text(), re.S)
    assert sum("level=4" in block for block in blocks) == 1
    if whole:
        restore(monkeypatch, stored_matrices)
    else:
        blocks = [block.replace("level=4", "level=2") for block in blocks]
    monkeypatch.chdir(tmp_path)
    for block in blocks:
        exec(compile(block, "docs/tour.md", "exec"), {})


def test_code_of_the_readme_runs_as_a_file_and_so_do_its_commands(tmp_path: Path) -> None:
    """In a process of its own, in an empty folder; then every command that its text names, in the same folder."""
    text = (ROOT / "README.md").read_text()
    (block,) = re.findall(r"```python\n(.*?)```", text, re.S)
    assert sum(bool(line) and not line.startswith(("import", "#")) for line in block.splitlines()) <= 15
    (tmp_path / "own.py").write_text(block)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    ran = subprocess.run(
        [sys.executable, "own.py"], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
    )
    assert "+-" in ran.stdout
    commands = re.findall(r"`rbm ([^`]+)`", text)
    assert {command.split()[0] for command in commands} == {"query", "info", "export"}
    for command in commands:
        call = [sys.executable, "-m", "rbm.command_line", *command.split()]
        said = subprocess.run(call, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)
        assert said.stdout or (tmp_path / "page.html").exists()


def test_readme_says_what_is_resolved() -> None:
    """The caption of its first figure holds.

    Of E_onb nearly all points at N = 7 and most at N = 8, of E2 none from N = 5 on.
    """
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


@pytest.mark.parametrize("page", PAGES)
def test_links_and_figures_exist(page: str) -> None:
    for target in re.findall(r"\]\((?!http)([^)#]+)\)", (ROOT / page).read_text()):
        assert ((ROOT / page).parent / target).exists(), target


@pytest.mark.parametrize("page", PAGES)
def test_names_of_code_exist(page: str) -> None:
    """Of our packages: rbm.Estimate.floor, or lowrank.pod(rtol=) for an argument; texts in quotes are others."""
    text = (ROOT / page).read_text()
    for name in re.findall(rf"(?<![\w./\"-])((?:{PACKAGES})(?:\.\w+)+(?:\(\w+=\))?)(?![\w/])", text):
        found(name)


@pytest.mark.parametrize("page", PAGES)
def test_files_exist(page: str) -> None:
    """Paths in backticks, but those of things to be named and to come."""
    paths = re.findall(
        rf"`((?:{PACKAGES}|tests|docs|benchmarks|notebooks)/[\w./]*)`(?! \(to come\))", (ROOT / page).read_text()
    )
    for path in paths:
        assert (ROOT / path).exists() or "NAME" in path, f"{path}: write (to come) behind what is not there yet"


def found(name: str) -> Any:
    """What a dotted name stands for; fields of a data class need no default. AttributeError if it is nowhere."""
    name, _, argument = name.partition("(")
    parts = name.split(".")
    thing: Any = importlib.import_module(parts[0])
    for k, part in enumerate(parts[1:], 2):
        if not hasattr(thing, part) and inspect.ismodule(thing):
            importlib.import_module(".".join(parts[:k]))
        if is_dataclass(thing) and part in thing.__dataclass_fields__:
            assert k == len(parts), name
            return thing.__dataclass_fields__[part]
        thing = getattr(thing, part)
    if argument:
        assert argument.removesuffix("=)") in inspect.signature(thing).parameters, f"{name}({argument}"
    return thing


def glossary() -> dict[str, str]:
    """{words: entry}, an entry with its lines joined."""
    text = (ROOT / "docs/glossary.md").read_text().split("\n## ", 1)[1]
    entries = [" ".join(e.split()) for e in re.findall(r"^- (.*(?:\n  .*)*)", text, re.M)]
    return {entry[2:].partition("**")[0]: entry for entry in entries}


def test_the_glossary_says_where_each_word_is_in_the_code() -> None:
    entries = glossary()
    assert len(entries) >= 40
    for word, entry in entries.items():
        assert re.fullmatch(rf"\*\*{re.escape(word)}\*\*: .{{30,}} Code: `[^`]+`.*\.", entry), entry


@pytest.mark.parametrize("wrong", ["rbm.Estimate.flaw", "rbm.flaw", "lowrank.pod(l2_error=)", "rbm.Estimate.value.x"])
def test_a_name_that_is_nowhere_is_found_out(wrong: str) -> None:
    with pytest.raises((AttributeError, ModuleNotFoundError, AssertionError)):
        found(wrong)


@pytest.mark.parametrize("package", [lowrank, eim, rbm, ml, problems], ids=lambda p: p.__name__)
def test_a_package_names_the_glossary(package: Any) -> None:
    assert "docs/glossary.md" in package.__doc__


def test_the_table_of_old_names_is_that_of_the_code() -> None:
    rows = re.findall(r"^\| `([\w.]+)` \| `(\w+)` \| `(\w+)` \|$", (ROOT / "docs/rooms.md").read_text(), re.M)
    listed = {(name.partition(".")[0], found(f"{name}({new}=)").__qualname__, old, new) for name, old, new in rows}
    assert len(listed) == len(rows)
    assert listed == {
        (package, name, str(option.arg), ast.literal_eval(option.value))
        for package in PACKAGES.split("|")
        for path in sorted((ROOT / package).rglob("*.py"))
        for name, decorator in decorators(ast.parse(path.read_text()))
        if isinstance(decorator, ast.Call) and getattr(decorator.func, "id", "") == "renamed"
        for option in decorator.keywords
    }


def decorators(tree: ast.AST, prefix: str = "") -> list[tuple[str, ast.expr]]:
    """(qualified name, decorator) of all functions and classes."""
    pairs = []
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.ClassDef | ast.FunctionDef):
            pairs += [(prefix + node.name, decorator) for decorator in node.decorator_list]
            pairs += decorators(node, f"{prefix}{node.name}.")
    return pairs
