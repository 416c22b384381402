"""POD-greedy in batches, on workers."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from helpers.killed_workers import pool
from helpers.parabolic import heat

import rbm
from rbm.time.worst_trajectories import spread_out


@pytest.fixture(scope="module")
def model() -> rbm.TimeModel:
    return heat(20)


@pytest.fixture(scope="module")
def training(model: rbm.TimeModel) -> np.ndarray:
    return model.parameters.sample(30)


def same(a: rbm.PODGreedyResult, b: rbm.PODGreedyResult) -> bool:
    histories = [[repr(replace(step, seconds=0.0)) for step in run.history] for run in (a, b)]
    return (
        np.array_equal(a.basis, b.basis)
        and np.array_equal(a.parameters, b.parameters)
        and histories[0] == histories[1]
        and np.array_equal(a.sizes, b.sizes)
    )


@pytest.mark.parametrize("batch", [1, 3])
def test_the_number_of_workers_changes_no_bit(model: rbm.TimeModel, training: np.ndarray, batch: int) -> None:
    alone = rbm.pod_greedy(model, training, max_basis=7, batch=batch)
    for workers in (1, 2):
        with pool(workers) as processes, ThreadPoolExecutor(workers) as threads:
            for executor in (processes, threads):
                assert same(rbm.pod_greedy(model, training, max_basis=7, batch=batch, executor=executor), alone)


def test_batches_take_fewer_sweeps_and_the_certificate_holds(model: rbm.TimeModel, training: np.ndarray) -> None:
    one, three = (rbm.pod_greedy(model, training, tol=1e-3, batch=k) for k in (1, 3))
    assert three.stopped == "tolerance"
    assert len(three.history) < len(one.history)
    assert len(three.basis.T) <= 1.1 * len(one.basis.T) + 2
    assert all(step.effectivity >= 1 for step in three.history[:-1])


def test_a_run_in_batches_goes_on_bit_for_bit(model: rbm.TimeModel, training: np.ndarray, tmp_path: Path) -> None:
    whole = rbm.pod_greedy(model, training, max_basis=7, batch=3)
    rbm.pod_greedy(model, training, max_basis=3, batch=3, checkpoint=tmp_path / "c")
    again = rbm.pod_greedy(model, training, max_basis=7, batch=3, resume=tmp_path / "c")
    assert np.array_equal(again.basis, whole.basis)


def test_points_are_spread_out() -> None:
    space = rbm.ParameterSpace({"mu": (1.0, 100.0)}, scale="log")
    points = np.geomspace(1, 100, 9)[:, None]
    bounds = np.array([9, 10, 8, 5, 5, 5, 0.5, 0.5, 6.0])
    assert spread_out(space, points, bounds, 3, 0.0) == [1, 8, 4]
    assert spread_out(space, points, bounds, 3, 7.0) == [1, 0, 2]
    assert spread_out(space, points[:1].repeat(4, 0), bounds[:4], 3, 0.0) == [1]


@pytest.mark.parametrize("batch", [0, 1.5])
def test_what_is_no_batch_is_refused(model: rbm.TimeModel, training: np.ndarray, batch: int) -> None:
    with pytest.raises(rbm.ParameterError, match="batch must be a whole number"):
        rbm.pod_greedy(model, training, batch=batch)
    with pytest.raises(rbm.ModelError, match="executor must be an object"):
        rbm.pod_greedy(model, training, executor=3)  # type: ignore[arg-type]
