"""The commands of docs/scale.md, each as it stands there, on this machine."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import rbm
from problems import thermal_block

HERE = Path(__file__).parent
MPIEXEC = Path(sys.executable).parent / "mpiexec"


def run(*command: str | Path, **variables: str) -> str:
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, env=os.environ | variables)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


@pytest.mark.slow
def test_dask() -> None:
    pytest.importorskip("distributed")
    model = thermal_block((3, 3), 60)
    alone = rbm.greedy(model, model.parameters.sample(500), tol=1e-2, batch=4)
    bound = alone.reduced_model.solve(model.parameters.sample(300_000, rng=1)).bound.max()
    expected = f"N = {len(alone.parameters)}, largest bound of 300000 queries {bound:.17e}"
    assert expected in run(sys.executable, HERE / "on_dask.py", "", "300000")


@pytest.mark.slow
def test_mpi(tmp_path: Path) -> None:
    pytest.importorskip("mpi4py")
    if not MPIEXEC.exists():
        pytest.skip("no mpiexec")
    command = [MPIEXEC, "-n", "3", sys.executable, "-m", "mpi4py.futures", HERE / "on_mpi.py"]
    said = run(*command, tmp_path / "a.rbm")
    model = thermal_block((3, 3), 60)
    alone = rbm.greedy(model, model.parameters.sample(500), max_basis=12, batch=4)
    assert f"bound {alone.history[-1].bound:.17e}, from the start" in said
    mus = model.parameters.sample(50, rng=4)
    found = rbm.load(tmp_path / "a.rbm").solve(mus)
    assert np.array_equal(found.bound, alone.reduced_model.solve(mus).bound)


@pytest.mark.slow
def test_mpi_stops_with_its_worker_and_goes_on_from_the_checkpoint(tmp_path: Path) -> None:
    pytest.importorskip("mpi4py")
    psutil = pytest.importorskip("psutil")
    if not MPIEXEC.exists():
        pytest.skip("no mpiexec")
    command = [MPIEXEC, "-n", "3", sys.executable, "-m", "mpi4py.futures", HERE / "on_mpi.py", tmp_path / "a.rbm", "24"]
    job = subprocess.Popen(list(map(str, command)), stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    while not (tmp_path / "a.steps").exists():
        assert job.poll() is None
        time.sleep(0.01)
    ranks = [p for p in psutil.Process(job.pid).children(recursive=True) if "on_mpi.py" in " ".join(p.cmdline())]
    os.kill(max(p.pid for p in ranks), signal.SIGKILL)
    job.communicate(timeout=120)
    assert job.returncode != 0
    assert not (tmp_path / "a.rbm").exists()
    said = run(*command)
    model = thermal_block((3, 3), 60)
    alone = rbm.greedy(model, model.parameters.sample(500), max_basis=24, batch=4)
    assert f"N = 24, bound {alone.history[-1].bound:.17e}, from {tmp_path / 'a.steps'}" in said


@pytest.mark.slow
def test_an_array_job(tmp_path: Path) -> None:
    job = [sys.executable, HERE / "array_job.py", tmp_path, "4"]
    for index in (0, 1, 3):
        run(*job, SLURM_ARRAY_TASK_ID=str(index))
    missing = subprocess.run([*map(str, job), "merge"], capture_output=True, text=True)
    assert missing.returncode == 1
    assert "sbatch --array=2" in missing.stderr
    run(*job, SLURM_ARRAY_TASK_ID="2")
    said = run(*job, "merge")
    model = thermal_block((3, 3), 60)
    reduced = rbm.load(tmp_path / "model.rbm")
    mus = model.parameters.sample(20)
    assert f"N = 12, largest bound {reduced.solve(mus).bound.max():.17e}" in said
    answer = reduced.solve(mus[:3])
    assert np.all(answer.bound >= model.error_norm(mus[:3], answer.coefficients, reduced.basis))
