"""What a greedy takes is said before it starts, near what it takes, and what cannot fit is refused."""

from __future__ import annotations

import subprocess
import sys
import tracemalloc
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp
from helpers import ROOT

import rbm
from problems import cooling_fin, reaction_diffusion_1d, thermal_block
from rbm.errors import ModelError, ParameterError
from rbm.reduction import memory
from rbm.reduction.projected_system import Reduction
from rbm.storage.workspace import Workspace
from rbm.time.compression import WINDOW, SnapshotStream


@pytest.fixture(scope="module")
def model() -> rbm.FullOrderModel:
    return thermal_block((3, 3), 60)


def test_arrays_of_a_projection_are_what_is_expected(model: rbm.FullOrderModel) -> None:
    """Counted by the allocator: the tall matrices, their temporaries, and no more than a third beside them."""
    snapshots = np.random.default_rng(0).standard_normal((model.dimension, 8))
    tracemalloc.start()
    try:
        made = Reduction(model)
        _ = made.residual_range
        for snapshot in snapshots.T:
            made.extend(snapshot)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    # pieces have room for 64 columns, which takes none until it is written to, but is counted here
    functionals = -(-73 // 64) * 64 - 73
    spare = 8 * model.dimension * (2 * functionals + 2 * 56) + 8 * len(model.stack.owner) * 56
    expected = rbm.expected_memory(model, 8).arrays
    assert 0.75 * expected < peak - spare < 1.1 * expected


def test_a_workspace_leaves_few_arrays_in_memory(model: rbm.FullOrderModel) -> None:
    plain, kept = (rbm.expected_memory(model, 40, workspace=w) for w in (None, "folder"))
    assert plain.files == 0
    assert kept.files + kept.arrays == plain.arrays
    assert kept.files > 2 * 8 * model.dimension * 9 * 40
    assert kept.factors == plain.factors
    assert plain.total == plain.arrays + plain.factors
    assert "in files" in str(kept)
    assert rbm.expected_memory(model, 40, batch=4).arrays > plain.arrays


def test_the_size_of_factors_is_that_of_p_or_said_to_be_estimated() -> None:
    model = thermal_block((3, 3), 12)
    assert rbm.expected_memory(model, 5).measured
    solved = thermal_block((3, 3), 12)
    solved.solver = lambda matrix, rhs: rhs
    other = rbm.expected_memory(solved, 5)
    assert not other.measured
    assert "estimated" in str(other)
    dense = reaction_diffusion_1d()
    assert rbm.expected_memory(dense, 5).factors > 0


@pytest.mark.parametrize("free", [1_000_000, 30_000_000, 60_000_000])
def test_what_cannot_fit_is_refused_before_it_starts(
    free: int, model: rbm.FullOrderModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "available_memory", lambda: free)
    monkeypatch.setattr(model, "solve", lambda *a, **k: pytest.fail("it has started"))
    with pytest.raises(rbm.ModelError, match=r"50 basis vectors of 7081 unknowns take about .* MB of memory") as caught:
        rbm.greedy(model, model.parameters.sample(10), max_basis=50)
    text = str(caught.value)
    assert 'workspace="folder" (then ' in text
    if free < 10_000_000:
        assert "not even one vector fits" in text
        return
    most = int(text.split("max_basis=")[1].split()[0])
    assert memory.check_memory(model, most)
    with pytest.raises(rbm.ModelError):
        memory.check_memory(model, most + 1)


def test_a_disk_without_room_is_refused(
    model: rbm.FullOrderModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Workspace, "free", 20_000_000)
    with pytest.raises(rbm.ModelError, match=r"of the disk, 20.0 MB are free in .*max_basis=\d+ fits"):
        rbm.greedy(model, model.parameters.sample(10), max_basis=50, workspace=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_expected_and_largest_memory_are_in_the_result() -> None:
    model = reaction_diffusion_1d()
    result = rbm.greedy(model, model.parameters.sample(20), max_basis=3)
    assert result.memory is not None
    assert 0 < memory.resident_memory() < 1.1 * memory.peak_memory()
    assert result.memory.expected > 0
    assert result.memory.peak <= memory.peak_memory()
    assert replace(result, memory=None).memory is None


def test_available_memory_is_that_of_the_machine_and_of_the_group(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files: dict[str, Any] = {
        "/proc/meminfo": "MemTotal: 9 kB\nMemAvailable: 5000 kB\n",
        "/sys/fs/cgroup/memory.max": "4000000\n",
        "/sys/fs/cgroup/memory.current": "3000000\n",
        "/sys/fs/cgroup/memory.stat": "anon 1\nfile 500000\n",
    }

    def read(self: Path, *arguments: Any) -> str:
        if str(self) not in files:
            raise FileNotFoundError(str(self))
        return str(files[str(self)])

    monkeypatch.setattr(Path, "read_text", read)
    assert memory.available_memory() == 1_500_000
    files["/sys/fs/cgroup/memory.max"] = "max\n"
    assert memory.available_memory() == 5_120_000


def test_snapshots_of_a_march_are_expected() -> None:
    n, held = 20_000, 48
    vectors = np.random.default_rng(0).standard_normal((held, n))
    for warm in (True, False):
        stream = SnapshotStream(sp.eye_array(n).tocsr(), window=held)
        tracemalloc.start()
        for vector in vectors:
            stream.add(vector.copy())
        stream.modes(4)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        if not warm:
            assert 0.8 * memory.POD * held < peak / (8 * n) < memory.POD * held + 40  # blocks, which are counted apart
    model = thermal_block((2, 2), 8)
    few, many = (rbm.expected_memory(model, 4, snapshots=k).arrays for k in (0, 256))
    assert many - few > (memory.POD - 1) * 256 * model.dimension * 8


def test_a_march_that_cannot_be_held_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    model = cooling_fin(4)
    points = model.parameters.sample(5)
    n = model.dimension
    needed = 8 * n * memory.POD * min(model.steps + 1, WINDOW)
    monkeypatch.setattr(memory, "available_memory", lambda: needed)
    with pytest.raises(ModelError, match=r"of memory, .* are free"):
        rbm.pod_greedy(model, points, max_basis=3)


PARENT = """
import subprocess, sys
large = bytearray(400_000_000)
code = "from rbm.reduction.memory import peak_memory; print(peak_memory())"
print(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="/proc")
def test_the_peak_is_that_of_this_process_and_not_of_who_started_it() -> None:
    done = subprocess.run([sys.executable, "-c", PARENT], capture_output=True, text=True, check=True)
    assert 20e6 < int(done.stdout) < 350e6


FACTORS = """
import gc, resource
from problems import thermal_block
gc.disable()
model = thermal_block((3, 3), 60)
mus = model.parameters.sample(40, rng=0)
model.solve(mus[:2])
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for mu in mus:
    model.solve(mu)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="resource")
def test_factors_go_when_they_are_no_longer_used() -> None:
    """Without the collector of circles: 40 factorisations of 3 MB, and no more memory than one takes."""
    code = [sys.executable, "-c", FACTORS]
    grown = int(subprocess.run(code, cwd=ROOT, capture_output=True, text=True, check=True).stdout)
    assert grown < 20_000  # kB


@pytest.mark.parametrize("options", [{"size": 0}, {"size": 1.5}, {"size": "3"}, {"batch": 0}, {"duals": -1}])
def test_numbers_of_vectors_are_checked(options: dict[str, Any]) -> None:
    with pytest.raises(ParameterError, match="must be a whole number of at least"):
        rbm.expected_memory(None, **{"size": 3, **options})  # type: ignore[arg-type]
