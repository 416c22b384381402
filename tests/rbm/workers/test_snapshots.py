"""Snapshots on workers: the same to the last bit, also when a worker is killed in the middle."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.killed_workers import kill_always, killing, killing_once, pool

import rbm
from problems import thermal_block
from rbm.errors import ModelError, WorkersLost
from rbm.workers import Crew, parcels


@pytest.fixture(scope="module")
def model() -> rbm.FullOrderModel:
    return thermal_block((2, 2), 24)


def made_by(model: rbm.FullOrderModel, executor: Any, count: int = 9) -> np.ndarray:
    hi, lo = model.solve_extended(model.parameters.sample(count), executor=executor)
    return np.concatenate([hi, lo])


def test_the_number_of_workers_changes_no_bit(model: rbm.FullOrderModel) -> None:
    expected = made_by(model, None)
    for workers in (1, 2, 3):
        with pool(workers) as processes, ThreadPoolExecutor(workers) as threads:
            assert np.array_equal(made_by(model, processes), expected)
            assert np.array_equal(made_by(model, threads), expected)


def test_a_model_travels_once_per_worker(model: rbm.FullOrderModel, monkeypatch: pytest.MonkeyPatch) -> None:
    with pool(1) as processes:
        sizes = []
        submit = processes.submit
        monkeypatch.setattr(processes, "submit", lambda *a: (sizes.append(len(parcels.pickle.dumps(a))), submit(*a))[1])
        model.solve(model.parameters.sample(40), executor=processes)
        assert len(sizes) > 3
        assert max(sizes) < 4000 < len(parcels.bytes_of(model)) / 20
        held = processes.submit(_held).result()
        assert len(held) == 1
        model.solve(model.parameters.sample(4), executor=processes)
        assert processes.submit(_held).result() == held


def _held() -> list[tuple[str, int]]:
    return [(key, id(what)) for key, what in parcels._models.items()]


def test_a_worker_that_is_killed_is_replaced_once(tmp_path: Path) -> None:
    made = killing_once(tmp_path / "killed")
    mus = made.parameters.sample(12)
    with pool() as processes:
        found = made.solve(mus, executor=processes)
    assert (tmp_path / "killed").exists()
    assert np.array_equal(found, killing().solve(mus))


def test_loky_goes_on_when_a_worker_is_killed(tmp_path: Path) -> None:
    loky = pytest.importorskip("loky")
    made = killing_once(tmp_path / "killed")
    mus = made.parameters.sample(12)
    executor = loky.get_reusable_executor(2)
    try:
        found = made.solve(mus, executor=executor)
    finally:
        loky.get_reusable_executor(2).shutdown(wait=True, kill_workers=True)
    assert (tmp_path / "killed").exists()
    assert np.array_equal(found, killing().solve(mus))


def test_a_second_death_ends_the_call_and_keeps_what_was_done() -> None:
    plain, made = killing(), killing(partial(kill_always, 40.0))
    mus = np.linspace(1, 50, 40)[:, None]
    with pool() as processes, pytest.raises(WorkersLost, match=r"died.*rebuilt already.*fewer workers") as error:
        made.solve(mus, executor=processes)
    known = np.flatnonzero(~np.isnan(error.value.solution).any(axis=1))
    assert len(known) >= 10
    assert np.array_equal(error.value.solution[known], plain.solve(mus)[known])


def test_an_executor_that_is_shut_down_is_named(model: rbm.FullOrderModel) -> None:
    for executor in (pool(1), ThreadPoolExecutor(1)):
        executor.shutdown()
        with pytest.raises(rbm.ModelError, match=r"takes no tasks \(cannot schedule new futures after shutdown\)"):
            model.solve(model.parameters.sample(3), executor=executor)


def test_an_executor_that_is_shut_down_in_the_middle_keeps_what_was_done(model: rbm.FullOrderModel) -> None:
    mus = model.parameters.sample(400)
    executor = ThreadPoolExecutor(1)
    threading.Timer(0.15, partial(executor.shutdown, wait=False, cancel_futures=True)).start()
    with pytest.raises(WorkersLost, match="shut down while its workers had tasks") as error:
        _many(model, mus, executor)
    assert error.value.solution is None or np.isnan(error.value.solution).any()


def _many(model: rbm.FullOrderModel, mus: np.ndarray, executor: Any) -> None:
    for _ in range(50):  # until the timer has come
        model.solve(mus, executor=executor)


def test_a_model_that_cannot_travel_is_named_before_anything_is_sent() -> None:
    k = np.diag([2.0, 3.0])
    space = rbm.ParameterSpace({"mu": (1.0, 2.0)})
    made = rbm.FullOrderModel([(lambda mus: mus[:, 0], k)], [(1.0, np.ones(2))], k, space, 1.0)
    with pool(1) as processes, pytest.raises(rbm.ModelError, match="cannot be pickled: another process could not"):
        made.solve([[1.0], [2.0]], executor=processes)
    with ThreadPoolExecutor(1) as threads:
        assert np.array_equal(made.solve([[1.0], [2.0]], executor=threads), made.solve([[1.0], [2.0]]))


def test_functions_travel_where_the_engine_sends_them_whole() -> None:
    loky = pytest.importorskip("loky")
    k = np.diag([2.0, 3.0])
    space = rbm.ParameterSpace({"mu": (1.0, 2.0)})
    made = rbm.FullOrderModel([(lambda mus: mus[:, 0], k)], [(1.0, np.ones(2))], k, space, 1.0)
    executor = loky.get_reusable_executor(1)
    try:
        assert np.array_equal(made.solve([[1.0], [2.0]], executor=executor), made.solve([[1.0], [2.0]]))
    finally:
        executor.shutdown(wait=True)


def test_nothing_but_what_was_sent_is_read(tmp_path: Path) -> None:
    address = parcels.parcel(parcels.bytes_of({"a": 1}), str(tmp_path))
    assert oct(os.stat(address.path).st_mode & 0o777) == "0o600"
    Path(address.path).write_bytes(parcels.bytes_of({"a": 2}))
    with pytest.raises(rbm.ModelError, match="is not what was sent"):
        parcels.opened(address)
    os.remove(address.path)
    with pytest.raises(rbm.ModelError, match=r"cannot read .* RBM_SHARED_FOLDER"):
        parcels.opened(address)


def test_large_arrays_go_beside_the_message(tmp_path: Path) -> None:
    large, odd = np.asfortranarray(np.random.default_rng(0).random((400, 300))), np.ones((500, 500))[::2, ::3]
    message = parcels.packed({"x": large, "y": odd, "z": np.arange(3)}, str(tmp_path))
    assert len(parcels.pickle.dumps(message)) < len(parcels.pickle.dumps(odd)) + 1000
    back = parcels.unpacked(message)
    assert np.array_equal(back["x"], large)
    assert back["x"].flags.f_contiguous
    assert back["x"].flags.writeable
    assert np.array_equal(back["y"], odd)
    parcels.removed(message)
    assert not os.listdir(tmp_path)
    assert parcels.packed((1, np.zeros(3)), str(tmp_path)) is not None
    assert not os.listdir(tmp_path)


@pytest.mark.parametrize("shared", [False, True])
def test_no_folder_is_left(
    shared: bool, tmp_path: Path, model: rbm.FullOrderModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RBM_SHARED_FOLDER" if shared else "TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    seen: list[list[str]] = []
    with pool(1) as processes:
        submit: Callable[..., Any] = processes.submit
        monkeypatch.setattr(processes, "submit", lambda *a: (seen.append(os.listdir(tmp_path)), submit(*a))[1])
        model.solve(model.parameters.sample(3), executor=processes)
    assert any(name.startswith("rbm-workers-") for name in seen[0])
    assert not [name for name in os.listdir(tmp_path) if name.startswith("rbm-workers-")]


def test_a_shared_folder_that_is_none_is_named(model: rbm.FullOrderModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RBM_SHARED_FOLDER", "/no/such/folder")
    with pool(1) as processes, pytest.raises(rbm.ModelError, match=r"RBM_SHARED_FOLDER is '/no/such/folder'"):
        model.solve(model.parameters.sample(3), executor=processes)


def test_a_shared_folder_that_cannot_be_written_to_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(**options: Any) -> str:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("tempfile.mkdtemp", full)
    with pytest.raises(ModelError, match=r"No space left on device\): set RBM_SHARED_FOLDER to a folder"):
        _ = Crew(None, None).folder
