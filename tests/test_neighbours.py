"""A file of the user's that bears the name of one of our packages is named, not met as a riddle."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.parametrize("kind", ["file", "package", "namespace"])
@pytest.mark.parametrize("name", ["lowrank", "eim"])
def test_a_foreign_package_of_our_name(name: str, kind: str, tmp_path: Path) -> None:
    if kind == "file":
        (tmp_path / f"{name}.py").write_text("x = 1\n")
    else:
        (tmp_path / name).mkdir()
        (tmp_path / name / ("__init__.py" if kind == "package" else "notes.txt")).write_text("")
    code = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); import rbm"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path)
    if (
        kind == "namespace" and found.returncode == 0
    ):  # a folder without code hides ours in an editable installation only
        return
    last = found.stderr.strip().splitlines()[-1]
    assert last.startswith(
        f"ImportError: rbm needs the package '{name}' that comes with it, but Python finds {tmp_path / name}"
    )
    assert "rename that file or folder" in last
