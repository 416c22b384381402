"""The code of the how-to pages runs: each block by itself, or after the one above where it says so."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
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
