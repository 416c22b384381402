"""Queries on workers, block by block, and for the arrays of a cluster."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.killed_workers import killing, killing_once, pool

import rbm
from problems import thermal_block
from rbm.reduced.streams import light
from rbm.workers import parcels


@pytest.fixture(scope="module")
def reduced() -> rbm.ReducedModel:
    made = thermal_block((2, 2), 16)
    estimators = ("orthonormal", "direct")
    return rbm.greedy(made, made.parameters.sample(50), max_basis=6, estimators=estimators).reduced_model


@pytest.fixture(scope="module")
def mus(reduced: rbm.ReducedModel) -> np.ndarray:
    return reduced.parameters.sample(5000, rng=3)


def same(a: rbm.Solution, b: rbm.Solution) -> bool:
    assert a.origin == b.origin != ""
    return all(
        np.array_equal(x, y)
        for x, y in [
            (a.coefficients, b.coefficients),
            (a.bound, b.bound),
            (a.mus, b.mus),
            *((a.outputs[name], b.outputs[name]) for name in b.outputs),
        ]
    )


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_answers_come_in_order_and_bit_for_bit(reduced: rbm.ReducedModel, mus: np.ndarray, workers: int) -> None:
    expected = list(reduced.stream(mus, size=700))
    with pool(workers) as processes, ThreadPoolExecutor(workers) as threads:
        for executor in (processes, threads):
            found = list(reduced.stream(mus, size=700, executor=executor))
            assert len(found) == len(expected) == 8
            assert all(same(a, b) for a, b in zip(found, expected, strict=True))
    np.testing.assert_array_equal(reduced.reconstruct(found[0])[:2], reduced.reconstruct(expected[0])[:2])


def test_a_generator_is_read_as_far_as_the_window(reduced: rbm.ReducedModel, mus: np.ndarray) -> None:
    read = []

    def blocks() -> Iterator[np.ndarray]:
        for start in range(0, 5000, 100):
            read.append(start)
            yield mus[start : start + 100]

    with ThreadPoolExecutor(2) as threads:
        answers = reduced.stream(blocks(), executor=threads)
        first = next(answers)
        assert len(read) == 4  # two for each worker
        answers.close()
    assert same(first, reduced.solve(mus[:100]))


def test_only_what_queries_read_travels(reduced: rbm.ReducedModel) -> None:
    assert len(parcels.bytes_of(light(reduced))) < len(parcels.bytes_of(reduced)) / 4
    direct = next(reduced.stream([[0.5] * 4], method="direct"))
    with pool(1) as processes:
        assert same(next(reduced.stream([[0.5] * 4], method="direct", executor=processes)), direct)


def test_an_error_names_the_row_of_the_stream(reduced: rbm.ReducedModel, mus: np.ndarray) -> None:
    wrong = mus.copy()
    wrong[1234, 2] = 7.0
    with pool(2) as processes:
        answers = reduced.stream(wrong, size=1000, executor=processes)
        assert same(next(answers), reduced.solve(mus[:1000]))
        with pytest.raises(rbm.ParameterError, match="row 1234") as error:
            next(answers)
        assert list(error.value.rows) == [234]
        assert error.value.solution.origin == reduced.solve(mus[:1]).origin
        marked = list(reduced.stream(wrong, size=1000, executor=processes, on_error="mark"))
    assert list(marked[1].failed) == [234]


def test_a_killed_worker_changes_no_bit(tmp_path: Path) -> None:
    points = np.linspace(1, 50, 4000)[:, None]
    training = points[::100]
    expected = list(rbm.greedy(killing(), training, max_basis=3).reduced_model.stream(points, size=200))
    model = rbm.greedy(killing_once(tmp_path / "killed", after=20), training, max_basis=3).reduced_model
    with pool(2) as processes:
        found = list(model.stream(points, size=200, executor=processes))
    assert (tmp_path / "killed").exists()
    assert all(np.array_equal(a.bound, b.bound) for a, b in zip(found, expected, strict=True))
    assert all(np.array_equal(a.coefficients, b.coefficients) for a, b in zip(found, expected, strict=True))


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    distributed = pytest.importorskip("distributed")
    with (
        distributed.LocalCluster(2, threads_per_worker=1, dashboard_address=":0", memory_limit=None) as made,
        distributed.Client(made) as client,
    ):
        yield client


def test_dask_workers_stream_solve_and_train(cluster: Any, reduced: rbm.ReducedModel, mus: np.ndarray) -> None:
    executor = cluster.get_executor()
    found = list(reduced.stream(mus, size=700, executor=executor))
    assert all(same(a, b) for a, b in zip(found, reduced.stream(mus, size=700), strict=True))
    made = thermal_block((2, 2), 16)
    points = made.parameters.sample(11)
    assert np.array_equal(made.solve(points, executor=executor), made.solve(points))
    training = made.parameters.sample(60)
    a, b = (rbm.greedy(made, training, max_basis=6, batch=3, executor=e) for e in (None, executor))
    assert np.array_equal(a.basis, b.basis)


def test_a_model_travels_by_dask_where_no_folder_is_shared(
    cluster: Any, reduced: rbm.ReducedModel, mus: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rbm.workers.crew.is_local", lambda executor: False)
    found = list(reduced.stream(mus, size=700, executor=cluster.get_executor()))
    assert all(same(a, b) for a, b in zip(found, reduced.stream(mus, size=700), strict=True))


def test_dask_goes_on_when_a_worker_is_killed(cluster: Any) -> None:
    made = thermal_block((2, 2), 40)
    points = made.parameters.sample(300)
    victim = next(iter(cluster.run(os.getpid).values()))
    timer = threading.Timer(0.3, partial(os.kill, victim, signal.SIGKILL))
    timer.start()
    found = made.solve(points, executor=cluster.get_executor())
    timer.join()
    assert np.array_equal(found, made.solve(points))
    cluster.wait_for_workers(2)


def test_a_dask_client_without_workers_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    distributed = pytest.importorskip("distributed")
    monkeypatch.setattr("rbm.workers.engines.PATIENCE", 0.5)
    made = thermal_block((2, 2), 12)
    with (
        distributed.LocalCluster(1, threads_per_worker=1, dashboard_address=":0", processes=False) as none,
        distributed.Client(none) as client,
    ):
        none.scale(0)
        while client.scheduler_info()["workers"]:
            time.sleep(0.05)
        executor = client.get_executor()
        with pytest.raises(rbm.ModelError, match=r"no workers: none came within 0\.5 s"):
            made.solve(made.parameters.sample(3), executor=executor)
    with pytest.raises(rbm.ModelError, match="shut down"):
        made.solve(made.parameters.sample(3), executor=executor)


def test_arrays_of_dask(reduced: rbm.ReducedModel, mus: np.ndarray) -> None:
    da = pytest.importorskip("dask.array")
    import dask

    found = rbm.dask_solve(reduced, da.from_array(mus, chunks=(700, 2)))
    assert set(found) == {"bound", "mean", "mean_bound", "coefficients"}
    assert found["coefficients"].shape == (5000, 6)
    assert found["bound"].chunks == ((700,) * 7 + (100,),)
    got = dict(zip(found, dask.compute(*found.values(), scheduler="synchronous"), strict=True))
    expected = list(reduced.stream(mus, size=700))
    assert np.array_equal(got["bound"], np.concatenate([s.bound for s in expected]))
    assert np.array_equal(got["coefficients"], np.concatenate([s.coefficients for s in expected]))
    assert np.array_equal(got["mean"], np.concatenate([s.outputs["mean"] for s in expected]))
    assert np.array_equal(got["mean_bound"], np.concatenate([s.output_bounds["mean"] for s in expected]))


def test_a_chunk_is_answered_once_and_the_model_is_one_key(reduced: rbm.ReducedModel, mus: np.ndarray) -> None:
    da = pytest.importorskip("dask.array")
    found = rbm.dask_solve(reduced, da.from_array(mus, chunks=(1000, 4)))
    graph = dict(found["bound"].__dask_graph__())
    assert sum(str(key).startswith("rbm-model-") for key in graph) == 1
    few = rbm.dask_solve(reduced, da.from_array(mus, chunks=(1000, 4)), coefficients=False)
    assert "coefficients" not in few
    assert da.max(few["bound"]).compute() == reduced.solve(mus).bound.max()


def test_points_of_unknown_number(reduced: rbm.ReducedModel, mus: np.ndarray) -> None:
    da = pytest.importorskip("dask.array")
    points = da.from_array(mus, chunks=(1000, 4))
    some = points[points[:, 0] > 0.5]
    found = rbm.dask_solve(reduced, some)
    assert np.array_equal(found["bound"].compute(), reduced.solve(some.compute()).bound)


def test_zarr_and_parquet(reduced: rbm.ReducedModel, mus: np.ndarray, tmp_path: Path) -> None:
    da, zarr = pytest.importorskip("dask.array"), pytest.importorskip("zarr")
    pytest.importorskip("pyarrow")
    dd, pandas = pytest.importorskip("dask.dataframe"), pytest.importorskip("pandas")
    found = rbm.dask_solve(reduced, da.from_array(mus, chunks=(1000, 4)))
    expected = reduced.solve(mus)
    for name, array in found.items():
        array.to_zarr(str(tmp_path / "answers.zarr"), component=name)
    group = zarr.open_group(str(tmp_path / "answers.zarr"), mode="r")
    assert np.array_equal(group["coefficients"][:], expected.coefficients)
    columns = [name for name in found if name != "coefficients"]
    table = dd.concat([dd.from_dask_array(found[name], columns=name) for name in columns], axis=1)
    table.to_parquet(tmp_path / "answers.parquet")
    back = pandas.read_parquet(tmp_path / "answers.parquet")
    assert list(back.columns) == columns
    assert np.array_equal(back["bound"], expected.bound)


def test_bad_arrays_are_refused(reduced: rbm.ReducedModel, mus: np.ndarray) -> None:
    da = pytest.importorskip("dask.array")
    with pytest.raises(
        rbm.ParameterError, match=r"must be a dask array \(M, p\), got ndarray; dask\.array\.from_array"
    ):
        rbm.dask_solve(reduced, mus)
    with pytest.raises(rbm.ParameterError, match=r"shape \(M, 4\), got \(5000, 3\)"):
        rbm.dask_solve(reduced, da.from_array(mus[:, :3]))
    with pytest.raises(TypeError, match="is a ReducedModel, got int"):
        rbm.dask_solve(3, da.from_array(mus))  # type: ignore[arg-type]
    wrong = mus.copy()
    wrong[70] = 9.0
    found = rbm.dask_solve(reduced, da.from_array(wrong, chunks=(50, 4)))
    with pytest.raises(rbm.ParameterError, match="outside"):
        found["bound"].compute(scheduler="synchronous")
    marked = rbm.dask_solve(reduced, da.from_array(wrong, chunks=(50, 4)), on_error="mark")["bound"].compute()
    assert np.flatnonzero(np.isinf(marked)).tolist() == [70]
