"""The API reference: every public name is in it, with shapes, errors and source; the site has no broken link."""

from __future__ import annotations

import importlib
import inspect
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import ROOT
from helpers.name_origins import OWN, PUBLISHED
from helpers.public_names import documented, lacks, public, with_methods

REFERENCE = sorted((ROOT / "docs" / "reference").glob("*.md"))
sys.path.append(str(ROOT / "docs" / "site"))


def tool(name: str) -> Any:
    """A module of docs/site."""
    return importlib.import_module(name)


def test_every_public_name_is_in_the_reference() -> None:
    things = documented("\n".join(page.read_text() for page in REFERENCE))
    missing = [name for name, thing in public() if not any(thing is other for other in things)]
    assert len(missing) == 0, missing
    assert sum(1 for _ in public()) > 200


def test_every_page_of_the_reference_and_of_the_docs_is_in_the_index() -> None:
    listed = (ROOT / "docs/index.md").read_text()
    for page in (*REFERENCE, *(ROOT / "docs").glob("*.md")):
        name = str(page.relative_to(ROOT / "docs").with_suffix(""))
        assert name == "index" or listed.count(f"\n{name}\n") == 1, f"docs/index.md does not list {name}, or twice"


def test_docstrings_have_shapes_errors_and_source() -> None:
    """The count of public names and methods without is zero."""
    without = {
        member: found
        for name, thing in public()
        for k, (member, function) in enumerate(with_methods(name, thing))
        if (found := lacks(member, function, PUBLISHED, method=k > 0))
    }
    assert len(without) == 0, "\n".join(f"{name} lacks {', '.join(found)}" for name, found in without.items())


def test_of_every_name_it_is_decided_whether_a_paper_describes_it() -> None:
    names = {name for name, thing in public() if callable(thing) and not inspect.ismodule(thing)}
    assert names == PUBLISHED | OWN
    assert not PUBLISHED & OWN


def raising(mus: np.ndarray) -> np.ndarray:
    """Return twice the points."""
    if len(mus) == 0:
        raise ValueError
    return 2 * mus


def calling(basis: np.ndarray) -> np.ndarray:
    """Return the (n, N) array that it is given."""
    return raising(basis)


@pytest.mark.parametrize(
    ("thing", "published", "expected"),
    [
        (raising, (), ["shapes, of mus, return", "errors"]),
        (calling, ("x",), ["its argument basis", "errors", "a source"]),
        (lambda mus: mus, (), ["a docstring"]),
    ],
    ids=["shapes", "through a helper", "nothing"],
)
def test_the_rule_finds_what_is_missing(thing: Any, published: tuple[str, ...], expected: list[str]) -> None:
    assert lacks("x", thing, frozenset(published)) == expected


def test_docstrings_become_markup_that_keeps_formulas() -> None:
    made = tool("docstrings").to_restructured_text
    lines = [
        "Return ||r||_P of x_, *all* of it, for `mus` and :func:`rbm.greedy`.",
        "",
        "mus, x : (M, p) points",
        "    and more",
    ]
    text = "\n".join(made(lines))
    assert r"Return \|\|r\|\|_P of x\_, \*all\* of it, for ``mus`` and :func:`rbm.greedy`." in text
    assert "``mus``, ``x``\n    (M, p) points\n    and more" in text
    assert made(["Raises", "------", "ModelError", "    a *shape*."]) == [
        "", ".. rubric:: Raises", "", "", "``ModelError``", r"    a \*shape\*.", "    ".rstrip(), "",
    ]  # fmt: skip
    assert ".. list-table::" in made(["| a | b |", "|---|---|", "| 1 | |x| |"])
    assert ".. list-table::" not in made(["|a| b |c|", "and so on"])


@pytest.mark.parametrize(
    ("body", "fault"),
    [
        ('<a href="b.html#here">x</a><img src="data:image/png;base64,">', ""),
        ('<a href="c.html">x</a>', "a.html links to c.html, which is not there"),
        ('<a href="b.html#there">x</a>', "a.html links to b.html#there, which has no such anchor"),
        ('<a href="#nowhere">x</a>', "a.html links to #nowhere, which has no such anchor"),
        ('<script src="https://example.org/x.js"></script>', "a.html fetches https://example.org/x.js from a network"),
        ('<link rel="stylesheet" href="x.css">', "a.html fetches x.css, which is not there"),
        ('<a href="https://example.org">x</a><link rel="next" href="https://example.org">', ""),
    ],
)
def test_broken_links_are_found(body: str, fault: str, tmp_path: Path) -> None:
    (tmp_path / "a.html").write_text(f"<html><body>{body}</body></html>")
    (tmp_path / "b.html").write_text('<html><body><p id="here">b</p></body></html>')
    assert tool("links").faults(tmp_path) == ([fault] if fault else [])


@pytest.mark.slow
def test_the_site_is_built_without_a_warning_and_its_links_lead_somewhere(tmp_path: Path) -> None:
    """Public names have an entry of their own there, not only a directive in the sources.

    Where RBM_SITE names the folder that `make docs` has just made, that is the site.
    """
    for package in ("sphinx", "myst_nb", "furo"):
        pytest.importorskip(package)
    made = os.environ.get("RBM_SITE")
    site = ROOT / made if made else tmp_path / "site"
    if not made:
        options = ["--quiet", "--fail-on-warning", "--keep-going", "-d", tmp_path / "trees", "-c", "docs"]
        command = [sys.executable, "-m", "sphinx", *options, ".", site]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
    assert tool("links").faults(site) == []
    from sphinx.util.inventory import InventoryFile

    entries = InventoryFile.loads((site / "objects.inv").read_bytes(), uri="")
    shown = {name for kind in entries.data if kind.startswith("py:") for name in entries.data[kind]}
    aliases = {"rbm.plots": "rbm.show.plots", "rbm.extended": "rbm.arithmetic.extended"}
    errors = {f"rbm.{n}": f"rbm.errors.{n}" for n in importlib.import_module("rbm.errors").__all__}
    uses = {f"rbm.{n}": f"rbm.uses.{n}" for n in importlib.import_module("rbm.uses").__all__}
    missing = [n for n, _ in public() if not shown & {n, aliases.get(n), errors.get(n), uses.get(n)}]
    assert missing == []
    text = (site / "docs/reference/making.html").read_text()
    assert "add the solution at the training parameter with the largest error bound" in text
    assert "<math" in (site / "notebooks/01_why_estimators_stagnate.html").read_text()
