"""Notebooks run from start to end, their assertions included, and are the scripts they are made from."""

from __future__ import annotations

from pathlib import Path

import jupytext
import nbclient
import nbformat
import pytest
from helpers import ROOT
from helpers.scattering_models import restore

FOLDER = ROOT / "notebooks"
#: Notebooks that would stay long if they were shortened: `make test-all` alone runs them.
LONG = ("04_wavenumber",)
SCRIPTS = sorted(FOLDER.glob("*.py"))
#: What `make test` replaces, for a shorter run: fewer unknowns, those of the stored matrices, and fewer points.
SHORTER: dict[str, dict[str, str]] = {
    "01_why_estimators_stagnate": {'sample(1000, "random"': 'sample(200, "random"'},
    "02_thermal_block": {
        "n_elements=60": "n_elements=30",
        "thermal_block_mesh(60)": "thermal_block_mesh(30)",
        "20_000": "2_000",
        "full > 20 * online": "full > online",
    },
    "03_acoustic_scattering": {
        "level=3": "level=2",
        "error < 0.025": "error < 0.1",
        "12, 18, 24, 30, len": "12, len",
    },
    "05_million_queries": {
        "n_elements=60": "n_elements=24",
        "1_000_000": "250_000",
        "np.arange(39) * 25_000": "np.arange(9) * 25_000",
        "size, count = 1 << 18, 16": "size, count = 1 << 15, 16",
        "general > 5 * mc": "general > mc",
        "spread < possible - sure": "spread",
        "range(4)": "range(1)",
    },
    "06_low_rank_from_pdes_to_embeddings": {
        "thermal_block((3, 3), 30)": "thermal_block((3, 3), 18)",
        "1200": "600",
        "(8000, 384)": "(2000, 384)",
        'find_spec("torch") is None': 'find_spec("no_torch") is None',
    },
    "08_bits": {
        "thermal_block((3, 3), 30)": "thermal_block((3, 3), 18)",
        "max_basis=40": "max_basis=25",
        "means = (2, 4, 6, 8, 10, 12)": "means = (4, 8)",
        "gain > 10": "gain > 4",
        "4000": "2000",
        "6, 8, 12)": "8, 16)",
    },
    "09_lean_tuning": {
        "thermal_block((3, 3), 30)": "thermal_block((3, 3), 18)",
        "sizes = (4, 8, 16, 32), (100, 1000, 10_000)": "sizes = (4, 16), (100, 1000)",
        "range(6)": "range(2)",
    },
    "11_time": {
        "cooling_fin(2)": "cooling_fin(1)",
        "thermal_fin_mesh(2)": "thermal_fin_mesh(1)",
        "sample(50)": "sample(20)",
        "tol=2e-3": "tol=2e-2",
        "1000": "100",
        "full > 20 * online": "full > online",
        "every=4": "every=20",
    },
    "07_frequency_sweep": {"n=15_000": "n=1_500", "sample(600": "sample(300", "sample(40, ": "sample(10, "},
}


def cells(notebook: nbformat.NotebookNode) -> list[tuple[str, str]]:
    return [(c.cell_type, c.source) for c in notebook.cells]


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda p: p.stem)
def test_a_notebook_is_its_script(script: Path) -> None:
    notebook = nbformat.read(script.with_suffix(".ipynb"), as_version=4)
    assert cells(notebook) == cells(jupytext.read(script)), "run `make notebooks`"
    images = [o for c in notebook.cells for o in c.get("outputs", []) if "image/png" in o.get("data", {})]
    assert len(images) >= 3, "the committed notebook shows its figures"
    errors = [o for c in notebook.cells for o in c.get("outputs", []) if o.output_type == "error"]
    assert not errors


#: (script, whole): each notebook as `make test` runs it and, where that is shorter or nothing, as it is.
RUNS = [
    *(pytest.param(p, False, id=f"small-{p.stem}") for p in SCRIPTS if p.stem not in LONG),
    *(
        pytest.param(p, True, marks=pytest.mark.slow, id=f"whole-{p.stem}")
        for p in SCRIPTS
        if p.stem in (*SHORTER, *LONG)
    ),
]


@pytest.mark.parametrize(("script", "whole"), RUNS)
def test_a_notebook_runs_and_its_claims_hold(
    script: Path, whole: bool, stored_matrices: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As it is, and with what makes it shorter (:data:`SHORTER`)."""
    monkeypatch.setenv("PYDEVD_DISABLE_FILE_VALIDATION", "1")
    monkeypatch.setenv("PYTHONPATH", str(FOLDER.parent))  # these packages, not those that happen to be installed
    notebook = jupytext.read(script)
    assert any("assert" in c.source or "assert_array_equal" in c.source for c in notebook.cells)
    if whole:
        restore(monkeypatch, stored_matrices)
    else:
        shorten(notebook, SHORTER.get(script.stem, {}))
    nbclient.NotebookClient(
        notebook, timeout=900, kernel_name="python3", resources={"metadata": {"path": FOLDER}}
    ).execute()


def shorten(notebook: nbformat.NotebookNode, changes: dict[str, str]) -> None:
    """Replace texts in the code, each of which must be there."""
    for old, new in changes.items():
        found = [c for c in notebook.cells if c.cell_type == "code" and old in c.source]
        assert found, f"no cell holds {old!r}; what makes the notebook shorter is out of date"
        for cell in found:
            cell.source = cell.source.replace(old, new)
