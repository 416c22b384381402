"""POD-greedy with its tall matrices in a folder: the same bits, and the folder as it was."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.full_disk import full_after
from helpers.parabolic import heat

import rbm
from rbm.affine.fingerprints import digest
from rbm.errors import WorkspaceError
from rbm.storage.workspace import FilePiece, Workspace


@pytest.fixture(scope="module")
def model() -> rbm.TimeModel:
    return heat(20)


def run(model: rbm.TimeModel, workspace: Any = None, size: int = 7, **named: Any) -> rbm.PODGreedyResult:
    return rbm.pod_greedy(
        model, model.parameters.sample(30, rng=0), max_basis=size, batch=2, workspace=workspace, **named
    )


def bits(result: rbm.PODGreedyResult) -> str:
    reduced, bounds = result.reduced_model, [step.bound for step in result.history]
    duals = [bits(found) for found in result.dual.values()]
    state = reduced.certificate.state.arrays()
    return digest((result.basis, result.parameters, result.sizes, state, bounds, duals))


def test_a_run_is_the_same_bit_for_bit(model: rbm.TimeModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also those of dual problems, and one that goes on from a file."""
    made, whole = list[Any](), Workspace.piece
    monkeypatch.setattr(Workspace, "piece", lambda self, *a: (made.append(a), whole(self, *a))[1])
    for named in ({}, {"modes": 2}, {"dual": "all"}):
        plain = run(model, **named)
        assert not made
        kept = run(model, tmp_path / "run", **named)
        assert len(made) >= (10 if "dual" in named else 5)
        assert bits(kept) == bits(plain)
        assert kept.memory is not None
        assert kept.memory.peak > 0
        size = plain.history[-2].size  # where a step of the whole run ended
        run(model, size=size).save(tmp_path / "some")
        if "modes" not in named:
            assert bits(run(model, tmp_path / "run", resume=tmp_path / "some", **named)) == bits(plain)
        made.clear()
        assert not isinstance(kept.basis.base, np.memmap)
        assert [path.name for path in tmp_path.iterdir()] == ["some"]


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
@pytest.mark.parametrize("calls", [0, 9, 25, 45, 80])
def test_a_full_disk_is_one_error_with_the_basis_so_far(
    calls: int, model: rbm.TimeModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    full_after(calls, monkeypatch)
    with pytest.raises(WorkspaceError, match=r"cannot be written to .No space left on device.*MB are free") as caught:
        run(model, tmp_path / "run", dual="all")
    monkeypatch.undo()
    assert not (tmp_path / "run").exists()
    result = caught.value.result
    if calls < 20:
        assert result is None
        return
    assert result.reason == "the workspace failed"
    assert result.basis.shape[1] == {25: 2, 45: 4, 80: 7}[calls]
    assert bits(run(model, resume=result, dual="all")) == bits(run(model, dual="all"))


def test_ctrl_c_removes_the_files(model: rbm.TimeModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, done = FilePiece.write, list[int]()

    def write(self: FilePiece, start: int, columns: np.ndarray) -> None:
        done.append(0)
        if len(done) == 25:
            raise KeyboardInterrupt
        whole(self, start, columns)

    monkeypatch.setattr(FilePiece, "write", write)
    with pytest.raises(rbm.Interrupted, match="in `result` of this exception") as caught:
        run(model, tmp_path / "run")
    monkeypatch.undo()
    assert not (tmp_path / "run").exists()
    assert bits(run(model, tmp_path / "run", resume=caught.value.result)) == bits(run(model))


def test_folders_that_will_not_do_are_refused(model: rbm.TimeModel, tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("keep")
    with pytest.raises(WorkspaceError, match=r"holds other files \(mine\)"):
        run(model, tmp_path)
    assert (tmp_path / "mine").read_text() == "keep"
    with Workspace(tmp_path / "open", model.fingerprint()), pytest.raises(WorkspaceError, match="has the workspace"):
        run(model, tmp_path / "open")
    with pytest.raises(WorkspaceError, match="must be the name of a folder"):
        run(model, 3)


def test_what_cannot_fit_is_refused_before_the_start(model: rbm.TimeModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rbm.reduction.memory.available_memory", lambda: 1000)
    with pytest.raises(rbm.ModelError, match=r"7 basis vectors of 19 unknowns take about .* of memory"):
        run(model)
