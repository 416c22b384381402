"""The code of the how-to pages runs: each block by itself, or after the one above where it says so."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers import ROOT
from helpers.pages import GOES_ON, blocks

from rbm.storage import registry

PAGES = ["docs/eim-with-scikit-fem.md", "docs/gpu.md", "docs/own-estimator.md", "docs/own-stability-bound.md"]


@pytest.fixture(autouse=True)
def forgotten() -> Iterator[None]:
    """What a page registers is forgotten afterwards."""
    before = {role: dict(classes) for role, classes in registry._CLASSES.items()}
    yield
    for role, classes in before.items():
        registry._CLASSES[role].clear()
        registry._CLASSES[role].update(classes)


@pytest.mark.parametrize("page", PAGES)
def test_the_code_of_a_page_runs(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    namespace: dict[str, object] = {}
    found = blocks(page, "python")
    assert found
    for _, code in found:
        namespace = namespace if code.startswith(GOES_ON) else {"__name__": "__main__"}
        exec(compile(code, page, "exec", dont_inherit=True), namespace)  # as a file of its own


@pytest.mark.parametrize("peer", ["pymor", "opinf"])
def test_what_the_comparison_names_in_a_peer_is_there(peer: str) -> None:
    """A newer version may have moved it: then the page needs another look, and its date."""
    pytest.importorskip(peer)
    names = set(re.findall(rf"`({peer}(?:\.\w+)+)`", (ROOT / "docs/comparison.md").read_text()))
    assert len(names) >= 4
    for name in names:
        assert importlib.util.find_spec(name) is not None, name
