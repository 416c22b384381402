"""A folder for tall matrices: the same bits, nothing left behind, and one clear error for each fault."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import ROOT
from helpers.full_disk import full_after

import rbm
from problems import frequency_sweep, reaction_diffusion_1d
from rbm.arithmetic.columns import WIDTH, Columns
from rbm.errors import WorkspaceError
from rbm.storage.workspace import FilePiece, Workspace, opened


@pytest.fixture(scope="module")
def model() -> rbm.FullOrderModel:
    return reaction_diffusion_1d()


def run(model: rbm.FullOrderModel, workspace: Any = None, size: int = 6, **named: Any) -> rbm.GreedyResult:
    return rbm.greedy(model, model.parameters.sample(40, rng=0), max_basis=size, workspace=workspace, **named)


def bits(result: rbm.GreedyResult) -> list[np.ndarray]:
    reduced = result.reduced_model
    state = reduced.estimators["orthonormal"]
    bounds = np.array([step.bound for step in result.history])
    return [result.basis, reduced.operators, reduced.rhs, state.factor, state.defects, state.norms, bounds]


def same(a: rbm.GreedyResult, b: rbm.GreedyResult) -> bool:
    return all(np.array_equal(x, y) for x, y in zip(bits(a), bits(b), strict=True))


def test_columns_in_files_are_columns_in_memory(tmp_path: Path) -> None:
    rng, n = np.random.default_rng(0), 1000
    with Workspace(tmp_path / "run", "x") as store:
        there, here = Columns(n, store), Columns(n)
        blocks = [rng.standard_normal((n, j)) for j in (1, 0, WIDTH, 3, 2 * WIDTH)]
        for block in [*blocks, rng.standard_normal((n, 2)) + 1j]:
            there.append(block)
            here.append(block)
        assert np.array_equal(there.array, here.array)
        assert [p.dtype for p in there.pieces] == [p.dtype for p in here.pieces]
        assert all(isinstance(p.base, np.ndarray) and not p.flags.writeable for p in there.pieces)
        files = sorted(p.name for p in store.folder.glob("columns-*"))
        assert len(files) == len(there.pieces)  # that of a piece that turned complex is gone
        manifest = json.loads((store.folder / "workspace.json").read_text())
        assert len(manifest["pieces"]) == 3
        assert all(len(piece["crc32"]) == WIDTH for piece in manifest["pieces"].values())
        there.cut(5)
        there.append(blocks[0])
        assert np.array_equal(there.array, np.concatenate([here.array[:, :5].real, blocks[0]], axis=1))
        store.check()
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("problem", [reaction_diffusion_1d, frequency_sweep])
def test_a_greedy_is_the_same_bit_for_bit(problem: Any, tmp_path: Path) -> None:
    """Real and complex, one vector a step and several, and from a file."""
    model, folder = problem(), tmp_path / "run"
    for named in ({}, {"batch": 2}):
        plain, kept = run(model, **named), run(model, folder, **named)
        assert same(plain, kept)
        assert not folder.exists()
        size = plain.history[-2].size  # where a step of the whole run ended
        run(model, size=size, **named).save(tmp_path / "some")
        assert same(plain, run(model, folder, resume=tmp_path / "some", **named))
        assert kept.basis.base is None or not isinstance(kept.basis.base, np.memmap)


def test_projections_and_dual_problems_are_kept_there_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from problems import thermal_fin

    model, made = thermal_fin(), []
    output = next(iter(model.outputs))
    whole = Workspace.piece
    monkeypatch.setattr(Workspace, "piece", lambda self, *a: (made.append(a), whole(self, *a))[1])
    named = {"dual": output, "size": 3}
    plain, kept = run(model, **named), run(model, tmp_path / "run", **named)
    assert same(plain, kept)
    first, second = (r.dual.get(output) for r in (plain, kept))
    assert (first is None) == (second is None)
    assert first is None or same(first, second)
    count = len(made)
    assert count >= 5
    mus = model.parameters.sample(9, rng=3)
    a, b = (rbm.project(model, plain.basis, workspace=w) for w in (None, tmp_path / "other"))
    assert len(made) > count
    assert np.array_equal(a.solve(mus).bound, b.solve(mus).bound)
    assert not list(tmp_path.iterdir())


def test_a_folder_of_the_user_stays_and_is_empty(model: rbm.FullOrderModel, tmp_path: Path) -> None:
    run(model, tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
@pytest.mark.parametrize("calls", [0, 9, 14, 17, 30])
def test_a_full_disk_is_one_error_with_the_basis_so_far(
    calls: int, model: rbm.FullOrderModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    full_after(calls, monkeypatch)
    with pytest.raises(rbm.ModelError, match=r"cannot be written to .No space left on device.*MB are free") as caught:
        run(model, tmp_path / "run")
    monkeypatch.undo()
    assert isinstance(caught.value, WorkspaceError)
    assert not (tmp_path / "run").exists()
    result = caught.value.result
    if calls < 9:
        assert result is None
        return
    assert 1 <= len(result.parameters) < 6
    assert same(result, run(model, size=len(result.parameters)))
    assert same(run(model, resume=result), run(model))


def test_ctrl_c_removes_the_files(model: rbm.FullOrderModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, done = FilePiece.write, []

    def write(self: FilePiece, start: int, columns: np.ndarray) -> None:
        done.append(0)
        if len(done) == 25:
            raise KeyboardInterrupt
        whole(self, start, columns)

    monkeypatch.setattr(FilePiece, "write", write)
    with pytest.raises(rbm.Interrupted) as caught:
        run(model, tmp_path / "run")
    assert same(caught.value.result, run(model, size=len(caught.value.result.parameters)))
    assert not (tmp_path / "run").exists()


def test_what_was_altered_is_found(model: rbm.FullOrderModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = Workspace.check

    def check(self: Workspace) -> None:
        path = max(self.folder.glob("columns-*"), key=lambda p: p.stat().st_blocks)
        with path.open("r+b") as file:
            file.seek(8 * 17)
            file.write(b"\x01")
        whole(self)

    monkeypatch.setattr(Workspace, "check", check)
    with pytest.raises(WorkspaceError, match="altered or damaged: column 0"):
        run(model, tmp_path / "run")
    assert not (tmp_path / "run").exists()


KILLED = """
    import os, signal, sys
    import rbm
    from problems import reaction_diffusion_1d
    from rbm.storage.workspace import FilePiece
    whole, done = FilePiece.write, []
    def write(self, start, columns):
        whole(self, start, columns)
        done.append(0)
        if len(done) == 20:
            if sys.argv[2] == "wait":
                print("there", flush=True)
                sys.stdin.read()
            os.kill(os.getpid(), signal.SIGKILL)
    FilePiece.write = write
    model = reaction_diffusion_1d()
    rbm.greedy(model, model.parameters.sample(40, rng=0), max_basis=6, workspace=sys.argv[1])
"""


def started(folder: Path, how: str) -> subprocess.Popen[str]:
    code = [sys.executable, "-c", textwrap.dedent(KILLED), str(folder), how]
    return subprocess.Popen(
        code,
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )


@pytest.mark.skipif(sys.platform == "win32", reason="kill -9")
def test_a_killed_run_is_cleaned_up_by_the_next_of_the_same_model(model: rbm.FullOrderModel, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    with started(folder, "kill") as process:
        assert process.wait() == -signal.SIGKILL
    assert any(p.name.startswith("columns-") for p in folder.iterdir())
    other = reaction_diffusion_1d(n_elements=50)
    with pytest.raises(rbm.ModelError, match="left by a run of another model that was killed"):
        run(other, folder)
    assert any(p.name.startswith("columns-") for p in folder.iterdir())  # nothing was removed
    assert same(run(model, folder), run(model))
    assert not folder.exists()


@pytest.mark.skipif(sys.platform == "win32", reason="locks of files")
def test_a_folder_of_a_run_under_way_is_refused(model: rbm.FullOrderModel, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    with started(folder, "wait") as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "there\n"
        with pytest.raises(rbm.ModelError, match=f"process {process.pid} has the workspace .* open"):
            run(model, folder)
        process.kill()
    with Workspace(folder, model.fingerprint()), pytest.raises(rbm.ModelError, match="another run of this process"):
        run(model, folder)
    assert not folder.exists()


def test_other_folders_are_refused_and_left_alone(model: rbm.FullOrderModel, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(rbm.ModelError, match=r"holds other files \(mine.txt\): give a new or empty one"):
        run(model, tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["mine.txt"]
    with pytest.raises(rbm.ModelError, match=r"the workspace .*mine.txt is a file: give a folder that is new or empty"):
        run(model, tmp_path / "mine.txt")
    with pytest.raises(rbm.ModelError, match=r"mine.txt, in which the workspace .*mine.txt.a.b would lie, is a file: "):
        run(model, tmp_path / "mine.txt" / "a" / "b")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "workspace.json").write_text("{}")
    with pytest.raises(rbm.ModelError, match=r"holds other files \(workspace.json\)"):
        run(model, tmp_path / "other")
    with pytest.raises(rbm.ModelError, match="workspace must be the name of a folder, got 3"):
        run(model, 3)


def test_all_folders_that_were_made_are_removed(model: rbm.FullOrderModel, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    with Workspace(tmp_path / "mine" / "a" / "b" / "c", "x") as store:
        assert store.folder.is_dir()
    assert [p.name for p in tmp_path.iterdir()] == ["mine"]
    assert not list((tmp_path / "mine").iterdir())
    with Workspace(tmp_path / "a" / "b", "x"):
        (tmp_path / "a" / "kept.txt").write_text("mine")
    assert [p.name for p in (tmp_path / "a").iterdir()] == ["kept.txt"]
    run(model, tmp_path / "new" / "run")
    assert not (tmp_path / "new").exists()


def test_folders_of_a_run_that_could_not_begin_are_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*arguments: Any, **named: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("rbm.storage.workspace.write_atomically", full)
    with pytest.raises(WorkspaceError, match="No space left"):
        Workspace(tmp_path / "a" / "b", "x")
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(sys.platform == "win32", reason="kill -9")
def test_folders_around_that_of_a_killed_run_go_with_it(model: rbm.FullOrderModel, tmp_path: Path) -> None:
    with started(tmp_path / "a" / "b", "kill") as process:
        process.wait()
    assert (tmp_path / "a" / "b").is_dir()
    run(model, tmp_path / "a" / "b")
    assert not (tmp_path / "a").exists()


def test_the_home_folder_may_be_written_short(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    with Workspace("~/run", "x") as store:
        assert store.folder == tmp_path / "run"
        with pytest.raises(WorkspaceError, match="another run of this process"):
            Workspace(tmp_path / "run", "x")
    assert not list(tmp_path.iterdir())


def test_a_checkpoint_in_the_workspace_is_refused_at_the_start(model: rbm.FullOrderModel, tmp_path: Path) -> None:
    for name in ("run.greedy", "sub/run.greedy"):
        with pytest.raises(WorkspaceError, match=r"would lie in the workspace .*: write it to another folder"):
            run(model, tmp_path / "run", checkpoint=tmp_path / "run" / name)
    assert not list(tmp_path.iterdir())
    run(model, tmp_path / "run", checkpoint=tmp_path / "run.greedy")
    assert [p.name for p in tmp_path.iterdir()] == ["run.greedy"]


@pytest.mark.parametrize("code", [errno.EROFS, errno.EACCES])
def test_a_folder_that_cannot_be_written_to(
    code: int, model: rbm.FullOrderModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*arguments: Any, **named: Any) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(Path, "mkdir", refused)
    with pytest.raises(rbm.ModelError, match=os.strerror(code)):
        run(model, tmp_path / "run")


@pytest.mark.parametrize("name", ["", "a\0b", 3])
def test_what_names_no_folder_is_refused(name: Any) -> None:
    with pytest.raises(WorkspaceError, match="workspace must be the name of a folder"):
        opened(name, None)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["b" * 300, "half/" + "b" * 300])
def test_a_name_that_no_disk_takes_is_one_error_and_leaves_nothing(tmp_path: Path, name: str) -> None:
    with pytest.raises(WorkspaceError):
        Workspace(tmp_path / name, "owner")
    assert list(tmp_path.iterdir()) == []
