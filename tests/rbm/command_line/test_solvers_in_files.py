"""``rbm reduce`` for large models: the solver in the model file, batches, workers and a workspace."""

from __future__ import annotations

import json
import re
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp
from helpers.grids import laplacian

import rbm
import rbm.command_line.reduce
from rbm.affine import inner_product
from rbm.command_line import main
from rbm.command_line.described_model import full_model
from rbm.command_line.model_description import read_description
from rbm.errors import ModelError
from rbm.solvers import AMG, Auto, PETSc, SuperLU

N = 49
MODEL = """version = 1
product = "K.npz"
[parameters]
k = [1.0, 2.0]
[[operators]]
file = "K.npz"
coefficient = 1
[[operators]]
file = "M.npz"
coefficient = "k"
[[rhs]]
file = "f.npy"
coefficient = 1.0
[stability]
kind = "min-theta"
reference = [1.5]
[training]
points = 30
[greedy]
max_basis = 4
"""


def written(folder: Path, solver: str = "", text: str = MODEL) -> Path:
    sp.save_npz(folder / "K.npz", laplacian(7))
    sp.save_npz(folder / "M.npz", sp.diags_array(np.linspace(0.0, 1.0, N), format="csr"))
    np.save(folder / "f.npy", np.arange(1.0, N + 1))
    np.save(folder / "modes.npy", np.stack([np.ones(N), np.arange(N)], axis=1))
    np.save(folder / "dofs.npy", [0, 3])
    head = "" if solver.startswith("[") else solver
    (folder / "m.toml").write_text(
        text.replace("version = 1\n", f"version = 1\n{head}\n") + (solver if not head else "")
    )
    return folder / "m.toml"


def run(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> tuple[int, str, str]:
    status = main(list(map(str, arguments)))
    shown = capsys.readouterr()
    return status, shown.out, shown.err


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("", None),
        ('solver = "superlu"', SuperLU()),
        ('solver = "auto"', Auto()),
        ('solver = {name = "superlu", ordering = "COLAMD"}', SuperLU("COLAMD")),
        ('[solver]\nname = "superlu"\nordering = "MMD_ATA"\n', SuperLU("MMD_ATA")),
        ('[solver]\nname = "petsc"\noptions = "-ksp_type cg"\n', PETSc("-ksp_type cg")),
    ],
)
def test_a_solver_is_what_the_file_says(tmp_path: Path, text: str, wanted: object) -> None:
    description = read_description(written(tmp_path, text))
    if "petsc" in text:  # which is not installed where this runs
        assert (description.solver, description.solver_options) == ("petsc", {"options": "-ksp_type cg"})
        return
    assert full_model(description).solver == wanted


def test_multigrid_takes_its_vectors_from_a_file(tmp_path: Path) -> None:
    pytest.importorskip("pyamg")
    text = '[solver]\nname = "amg"\nrtol = 1e-8\nmax_iterations = 50\nnear_null_space = "modes.npy"\n'
    model = full_model(read_description(written(tmp_path, text)))
    assert isinstance(model.solver, AMG)
    assert (model.solver.rtol, model.solver.max_iterations) == (1e-8, 50)
    np.testing.assert_array_equal(model.solver.near_null_space, np.load(tmp_path / "modes.npy"))
    assert np.all(np.isfinite(model.solve([1.5])))
    # fixed unknowns leave the vectors, too
    fixed = full_model(read_description(written(tmp_path, text + '[fixed]\ndofs = "dofs.npy"\n')))
    free = np.setdiff1d(np.arange(N), [0, 3])
    np.testing.assert_array_equal(fixed.solver.near_null_space, np.load(tmp_path / "modes.npy")[free])
    assert np.all(np.isfinite(fixed.solve([1.5])))


@pytest.mark.parametrize(("shape", "fixed"), [((5, 1), True), ((5, 1), False), ((N, 0), True), ((), False)])
def test_vectors_of_multigrid_with_other_rows_are_refused(tmp_path: Path, shape: tuple[int, ...], fixed: bool) -> None:
    pytest.importorskip("pyamg")
    text = '[solver]\nname = "amg"\nnear_null_space = "few.npy"\n' + ('[fixed]\ndofs = "dofs.npy"\n' if fixed else "")
    path = written(tmp_path, text)
    np.save(tmp_path / "few.npy", np.ones(shape))
    with pytest.raises(ModelError, match=r"line 24: .*few\.npy has shape .*a row for each unknown|few\.npy"):
        full_model(read_description(path))


@pytest.mark.parametrize(
    ("solver", "message"),
    [
        ('solver = "umfpack"', r"m\.toml, line 2: solver 'umfpack' is not known; names are \"superlu\", \"pardiso\""),
        ("solver = 3", r"line 2: solver must be one of \"superlu\", .* or a table \[solver\] with a name"),
        ('[solver]\nordering = "COLAMD"\n', r"line 22: the table \[solver\] needs a name"),
        ('[solver]\nname = "umfpack"\n', r"line 23: solver 'umfpack' is not known"),
        ('[solver]\nname = "superlu"\nrtol = 1e-3\n', r"line 24: unknown option 'rtol'; options of .* are: ordering"),
        ('[solver]\nname = "auto"\nrtol = 1e-3\n', r"line 24: unknown option 'rtol'; options of .* are: none"),
        ('[solver]\nname = "petsc"\ncomm = 3\n', r"line 24: unknown option 'comm'; options of .* are: options"),
        ('[solver]\nname = "amg"\nrtol = "small"\n', r"line 24: rtol must be a number, got 'small'"),
        ('[solver]\nname = "amg"\nrtol = true\n', r"line 24: rtol must be a number, got True"),
        ('[solver]\nname = "amg"\nrtol = 2.0\n', r"line 22: rtol of AMG must be a number between 0 and 1, got 2.0"),
        ('[solver]\nname = "pardiso"\nthreads = 1.5\n', r"line 24: threads must be a whole number, got 1.5"),
        ('[solver]\nname = "superlu"\nordering = "best"\n', r"line 22: ordering of SuperLU must be one of"),
        (
            '[solver]\nname = "amg"\nnear_null_space = 3\n',
            r"line 24: near_null_space must be the name of a file, got 3",
        ),
        ('[solver]\nname = "amg"\nnear_null_space = "no.npy"\n', r"line 24: there is no file .*no\.npy"),
    ],
)
def test_what_is_no_solver_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], solver: str, message: str
) -> None:
    status, _, err = run(capsys, "reduce", written(tmp_path, solver), "--out", tmp_path / "out")
    assert status == 2
    assert err.count("\n") == 1
    assert re.search(message, err), err


def test_the_summary_names_the_solver_and_what_is_not_proved(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("pyamg")
    monkeypatch.setattr(rbm.plots, "save", lambda axes, stem: [])
    monkeypatch.setattr(inner_product, "PROOF_LIMIT", 20)
    for name, proved in (("superlu", True), ("amg", False)):
        path = written(tmp_path, f'solver = "{name}"')
        if proved:
            status, out, err = run(capsys, "reduce", path, "--out", tmp_path / "out")
        else:
            with pytest.warns(UserWarning, match="was measured with AMG and not proved"):
                status, out, err = run(capsys, "reduce", path, "--out", tmp_path / "out")
        assert status == 0, err
        summary = json.loads((tmp_path / "out" / "summary.json").read_text())
        assert summary["solver"].startswith("SuperLU(" if proved else "AMG(")
        assert (summary["not_proved"] == "") is proved
        assert ("definiteness measured, not proved" in out) is not proved
        info = " ".join(run(capsys, "info", tmp_path / "out" / "model.rbm")[1].split())
        assert ("not proved: the definiteness" in info) is not proved


def test_workers_batches_and_a_workspace(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rbm.plots, "save", lambda axes, stem: [])
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")  # files are the same but for the date
    path, stage, taken = written(tmp_path), tmp_path / "a" / "stage", dict[str, tuple[int, bool]]()

    def made(name: str, *options: str | Path) -> bytes:
        def noted(*given: Any, **named: Any) -> rbm.GreedyResult:
            taken[name] = named["batch"], isinstance(named["executor"], ProcessPoolExecutor)
            return rbm.greedy(*given, **named)

        monkeypatch.setattr(rbm.command_line.reduce, "greedy", noted)
        status, _, err = run(capsys, "reduce", path, "--out", tmp_path / name, *options)
        assert status == 0, err
        return (tmp_path / name / "model.rbm").read_bytes()

    plain = made("plain")
    assert made("stage", "--workspace", stage) == plain
    assert not (tmp_path / "a").exists()
    assert made("workers", "--batch", "2", "--workers", "2") == made("two", "--batch", "2")
    path = written(tmp_path, text=MODEL + "batch = 3\n")
    made("file")
    made("given", "--batch", "2")  # which comes first
    assert taken["plain"] == taken["stage"] == (1, False)
    assert (taken["two"], taken["workers"]) == ((2, False), (2, True))
    assert (taken["file"], taken["given"]) == ((3, False), (2, False))


def test_options_that_mean_nothing_are_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = written(tmp_path)
    for option in ("--batch", "--workers"):
        status, _, err = run(capsys, "reduce", path, option, "0")
        assert (status, err) == (2, f"rbm: {option} must be a whole number of at least 1, got 0\n")
    status, _, err = run(capsys, "reduce", path, "--out", tmp_path / "out", "--workspace", path)
    assert status == 2
    assert "m.toml is a file: give a folder that is new or empty" in err
    status, _, err = run(capsys, "reduce", path, "--out", tmp_path / "out", "--workspace", tmp_path / "out")
    assert status == 2
    assert err.count("\n") == 1
    assert "would lie in the workspace" in err
