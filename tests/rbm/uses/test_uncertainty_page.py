"""The recipes of docs/uncertainty.md and docs/sensors.md run as they stand."""

from __future__ import annotations

import re

import pytest
from helpers import ROOT


@pytest.mark.parametrize(("page", "needs"), [("uncertainty", ("SALib", "emcee", "skfem")), ("sensors", ("skfem",))])
def test_the_recipes_run(page: str, needs: tuple[str, ...]) -> None:
    for module in needs:
        pytest.importorskip(module)
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / f"docs/{page}.md").read_text(), re.S)
    assert len(blocks) == {"uncertainty": 4, "sensors": 1}[page]
    assert all("assert" in block for block in blocks)
    namespace: dict[str, object] = {}
    for block in blocks:
        exec(compile(block, f"docs/{page}.md", "exec"), namespace)
