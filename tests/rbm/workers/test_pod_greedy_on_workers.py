"""POD-greedy in batches, on workers."""

from __future__ import annotations

import importlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.killed_workers import closed_at, killed_at, pool
from helpers.parabolic import heat

import rbm
from rbm.affine import representers, riesz_by_workers
from rbm.affine.fingerprints import digest
from rbm.errors import WorkersLost
from rbm.reduced.training_sweep import spread_out
from rbm.reduction import projected_system

#: The module; rbm.time has a function of this name.
pod_greedy_module = importlib.import_module("rbm.time.pod_greedy")


@pytest.fixture(scope="module")
def model() -> rbm.TimeModel:
    return heat(20)


@pytest.fixture(scope="module")
def training(model: rbm.TimeModel) -> np.ndarray:
    return model.parameters.sample(30)


def same(a: rbm.PODGreedyResult, b: rbm.PODGreedyResult) -> bool:
    """Return whether two runs are the same to the last bit, but for the seconds."""
    histories = [[repr(replace(step, seconds=0.0)) for step in run.history] for run in (a, b)]
    states = [run.reduced_model.certificate.state.arrays() for run in (a, b)]
    return (
        digest(states[0]) == digest(states[1])
        and sorted(a.dual) == sorted(b.dual)
        and all(same(a.dual[name], b.dual[name]) for name in a.dual)
        and np.array_equal(a.basis, b.basis)
        and np.array_equal(a.parameters, b.parameters)
        and histories[0] == histories[1]
        and np.array_equal(a.sizes, b.sizes)
    )


@pytest.mark.parametrize("batch", [1, 3])
def test_the_number_of_workers_changes_no_bit(model: rbm.TimeModel, training: np.ndarray, batch: int) -> None:
    named: dict[str, Any] = {"max_basis": 7, "batch": batch, "modes": batch, "dual": "all"}
    alone = rbm.pod_greedy(model, training, **named)
    assert set(alone.dual) == {"mean"}
    for workers in (1, 2, 3):
        with pool(workers) as processes, ThreadPoolExecutor(workers) as threads:
            for executor in (processes, threads):
                assert same(rbm.pod_greedy(model, training, executor=executor, **named), alone)


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


def test_riesz_solves_go_to_the_workers_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """Six vectors a step have 18 functionals: a block of 16 columns, and one of 2."""
    model, widths = heat(60), list[int]()
    solve, points = riesz_by_workers._solved, model.parameters.sample(20)
    named: dict[str, Any] = {"max_basis": 12, "batch": 2, "modes": 3}
    monkeypatch.setattr(representers, "APART", 50)
    alone = rbm.pod_greedy(model, points, **named)
    with pool(2) as processes:
        assert same(rbm.pod_greedy(model, points, executor=processes, **named), alone)

    def counted(system: Any, rhs: np.ndarray) -> np.ndarray:
        widths.append(rhs.shape[1])
        return solve(system, rhs)

    monkeypatch.setattr(riesz_by_workers, "_solved", counted)
    with ThreadPoolExecutor(2) as threads:
        assert same(rbm.pod_greedy(model, points, executor=threads, **named), alone)
    assert {16, 2} <= set(widths)
    assert max(widths) == 16


@pytest.mark.parametrize(("batch", "modes", "size"), [(3, 1, 8), (2, 3, 7), (5, 2, 4), (4, 4, 3)])
def test_the_limit_is_kept_by_a_batch(
    batch: int, modes: int, size: int, model: rbm.TimeModel, training: np.ndarray
) -> None:
    found = rbm.pod_greedy(model, training, max_basis=size, batch=batch, modes=modes)
    assert found.stopped == "max_basis"
    assert found.basis.shape[1] == found.sizes[-1] == size
    assert len(found.sizes) == len(found.parameters)
    assert np.all(np.diff(found.sizes) > 0)


def test_a_killed_worker_changes_no_bit(model: rbm.TimeModel, training: np.ndarray) -> None:
    named: dict[str, Any] = {"max_basis": 7, "batch": 3, "dual": "all"}
    alone = rbm.pod_greedy(model, training, **named)
    for number in (2, 7, 12):  # the last is of the dual problem
        with pool(2) as processes:
            killed = killed_at(processes, number, "projection_error")
            assert same(rbm.pod_greedy(model, training, executor=processes, **named), alone)
        assert killed


@pytest.mark.parametrize("number", [2, 6, 8])
def test_what_was_done_is_kept_when_workers_are_lost(number: int, model: rbm.TimeModel, training: np.ndarray) -> None:
    """Task 1 to 7 march the primal problem, 8 and more the dual one."""
    named: dict[str, Any] = {"max_basis": 7, "batch": 3, "dual": "all"}
    whole = rbm.pod_greedy(model, training, **named)
    threads = ThreadPoolExecutor(2)
    closed_at(threads, number, "projection_error")
    with pytest.raises(WorkersLost, match="shut down") as error:
        rbm.pod_greedy(model, training, executor=threads, **named)
    known = error.value.solution
    if number == 2:  # nothing was added yet
        assert known is None
        return
    assert "`solution` of this exception" in str(error.value)
    assert known.basis.shape[1] == {6: 3, 8: 7}[number]
    assert same(rbm.pod_greedy(model, training, resume=known, **named), whole)


@pytest.mark.parametrize("executor", [None, ThreadPoolExecutor(2)])
@pytest.mark.parametrize("where", ["march", "extend", "dual"])
def test_a_run_goes_on_after_ctrl_c(
    where: str, executor: Any, model: rbm.TimeModel, training: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the middle of a batch: its trajectories are all taken again, or the run would choose others."""
    named: dict[str, Any] = {"max_basis": 7, "batch": 3, "dual": "all", "executor": executor}
    whole, calls = rbm.pod_greedy(model, training, **named), [0]
    of, name, number = {
        "march": (pod_greedy_module, "projection_error", 6),
        "extend": (projected_system.Reduction, "_append_one", 6),
        "dual": (pod_greedy_module, "projection_error", 9),
    }[where]
    plain = getattr(of, name)

    def interrupted(*arguments: Any) -> Any:
        calls[0] += 1
        if calls[0] == number:
            raise KeyboardInterrupt
        return plain(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(of, name, interrupted)
        with pytest.raises(rbm.Interrupted, match=r"interrupted with \d basis vectors") as error:
            rbm.pod_greedy(model, training, **named)
    assert error.value.result.basis.shape[1] == {"march": 3, "extend": 3, "dual": 7}[where]
    assert same(rbm.pod_greedy(model, training, resume=error.value.result, **named), whole)


def test_an_error_before_the_first_vector_is_not_its_own_cause(model: rbm.TimeModel, training: np.ndarray) -> None:
    threads = ThreadPoolExecutor(2)
    threads.shutdown()
    with pytest.raises(WorkersLost) as error:
        rbm.pod_greedy(model, training, max_basis=3, executor=threads)
    assert error.value.__cause__ is not error.value
