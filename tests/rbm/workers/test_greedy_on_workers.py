"""A greedy in batches, on workers: the sequence depends on the batch, and on nothing else."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.killed_workers import kill_always, killing, killing_once, pool
from threadpoolctl import threadpool_info, threadpool_limits

import rbm
from problems import thermal_block, thermal_fin
from rbm.affine import representers, riesz_by_workers, truth_solves
from rbm.errors import WorkersLost
from rbm.reduced import training_sweep
from rbm.solvers.elsewhere import Elsewhere, done_elsewhere


@pytest.fixture(scope="module")
def model() -> rbm.FullOrderModel:
    return thermal_block((3, 2), 24)


@pytest.fixture(scope="module")
def training(model: rbm.FullOrderModel) -> np.ndarray:
    return model.parameters.sample(200, rng=1)


def same(a: rbm.GreedyResult, b: rbm.GreedyResult) -> bool:
    """Return whether two runs are the same to the last bit, but for the seconds."""
    histories = [[repr(replace(step, seconds=0.0)) for step in run.history] for run in (a, b)]
    mus = a.reduced_model.parameters.sample(50, rng=5)
    answers = [run.reduced_model.solve(mus) for run in (a, b)]
    return (
        np.array_equal(a.basis, b.basis)
        and np.array_equal(a.parameters, b.parameters)
        and histories[0] == histories[1]
        and np.array_equal(answers[0].bound, answers[1].bound)
        and np.array_equal(answers[0].coefficients, answers[1].coefficients)
    )


def test_the_number_of_workers_changes_no_bit(model: rbm.FullOrderModel, training: np.ndarray) -> None:
    alone = rbm.greedy(model, training, tol=1e-3, batch=4)
    for workers in (1, 2, 3):
        with pool(workers) as processes:
            assert same(rbm.greedy(model, training, tol=1e-3, batch=4, executor=processes), alone)
    with ThreadPoolExecutor(2) as threads:
        assert same(rbm.greedy(model, training, tol=1e-3, batch=4, executor=threads), alone)
        assert same(
            rbm.greedy(model, training, max_basis=5, executor=threads), rbm.greedy(model, training, max_basis=5)
        )


def test_the_file_is_the_same(
    model: rbm.FullOrderModel, training: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")  # but for its date
    with pool(2) as processes:
        for name, executor in (("a", None), ("b", processes)):
            found = rbm.greedy(model, training, max_basis=8, batch=4, executor=executor)
            found.reduced_model.save(tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_riesz_solves_are_done_by_threads_where_there_are_some(monkeypatch: pytest.MonkeyPatch) -> None:
    names: set[str] = set()
    residual = representers.residual
    monkeypatch.setattr(
        representers, "residual", lambda *a: (names.add(threading.current_thread().name), residual(*a))[1]
    )
    model, runs = thermal_block((3, 2), 132), []  # of so many unknowns that compiled code solves, 16 columns at a time
    training = model.parameters.sample(50, rng=1)
    for count in ("1", "3"):
        monkeypatch.setenv("RBM_NUM_THREADS", count)
        with pool(2) as processes:
            runs.append(rbm.greedy(model, training, max_basis=4, batch=4, executor=processes))
            assert (len(names) > 1) == (count == "3")  # with one thread here, workers did it
        runs.append(rbm.greedy(model, training, max_basis=4, batch=4))
    assert all(same(run, runs[0]) for run in runs[1:])


@pytest.mark.parametrize("count", ["1", "2", "5"])
def test_each_block_of_riesz_solves_has_one_thread_for_its_sums(count: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also one that is alone, where others are done or there is one thread: sums by BLAS depend on its threads."""
    found: list[set[int]] = []

    def blas() -> set[int]:
        return {library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"}

    together = representers.together
    monkeypatch.setattr(representers, "together", lambda *a: (found.append(blas()), together(*a))[1])
    monkeypatch.setenv("RBM_NUM_THREADS", count)
    inner = thermal_block((3, 2), 132).inner_product
    functionals = np.asfortranarray(np.random.default_rng(0).standard_normal((inner.shape[0], 33)))
    with threadpool_limits(2, user_api="blas"):
        assert max(blas()) == 2
        representers.represented(inner, functionals, inner.factorized()(functionals), functionals)
        assert max(blas()) == 2
    assert found == [{1}] * 6


def test_riesz_solves_go_to_the_workers(
    model: rbm.FullOrderModel, training: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = rbm.FullOrderModel(
        list(zip(model.operator_coefficients.sources, model.operator_terms, strict=True)),
        [(1.0, model.rhs_terms[:, 0])],
        model.product,
        model.parameters,
        0.1,
    )
    done: list[tuple[int, ...]] = []
    solve = riesz_by_workers._solved
    monkeypatch.setattr(riesz_by_workers, "_solved", lambda system, b: (done.append(b.shape), solve(system, b))[1])
    with ThreadPoolExecutor(2) as threads:
        rbm.greedy(made, training, max_basis=8, batch=4, executor=threads)
    assert {shape[1] for shape in done} <= {16, *range(1, 16)}
    assert sum(shape[1] for shape in done) > 3 * 8 * 6
    with done_elsewhere(made.inner_product, Elsewhere(lambda rhs: rhs, map)):
        assert made.inner_product.factorized()(np.ones((made.dimension, 1)))[0, 0] == 1
    assert made.inner_product.factorized()(np.ones((made.dimension, 1)))[0, 0] != 1


@pytest.mark.parametrize(
    ("problem", "tol"), [(partial(thermal_block, (3, 3), 18), 1e-2), (partial(thermal_fin, 1), 1e-3)]
)
def test_a_batch_takes_hardly_more_vectors_and_fewer_sweeps(problem: Any, tol: float) -> None:
    made = problem()
    training = made.parameters.sample(400, rng=2)
    one, four = (rbm.greedy(made, training, tol=tol, batch=k) for k in (1, 4))
    assert four.stopped == "tolerance"
    assert len(four.parameters) <= 1.1 * len(one.parameters) + 1
    assert len(four.history) < 0.45 * len(one.history)
    mus = made.parameters.sample(20, rng=8)
    answer = four.reduced_model.solve(mus)
    assert np.all(answer.bound >= made.error_norm(mus, answer.coefficients, four.basis))


def test_the_points_of_a_batch_have_errors_of_their_own() -> None:
    """Points that all have one residual, up to a factor, are one point."""
    made = thermal_block((2, 2), 12)
    rows = np.repeat(made.parameters.sample(40), 3, axis=0)  # each point three times
    found = rbm.greedy(made, rows, max_basis=9, batch=3)
    assert len(np.unique(found.parameters, axis=0)) == len(found.parameters) == 9
    assert [step.size for step in found.history[:3]] == [0, 3, 6]  # the first ones are spread out in the parameters


def test_the_limit_is_kept(model: rbm.FullOrderModel, training: np.ndarray) -> None:
    found = rbm.greedy(model, training, max_basis=6, batch=4)
    assert found.stopped == "max_basis"
    assert len(found.parameters) == 6


def test_a_run_in_batches_goes_on_where_it_stopped(
    model: rbm.FullOrderModel, training: np.ndarray, tmp_path: Path
) -> None:
    whole = rbm.greedy(model, training, tol=1e-3, batch=4)
    size = whole.history[3].size
    part = rbm.greedy(model, training, tol=1e-3, batch=4, max_basis=size, checkpoint=tmp_path / "c")
    assert len(part.parameters) == size
    for resume in (part, tmp_path / "c"):
        again = rbm.greedy(model, training, tol=1e-3, batch=4, resume=resume)
        assert np.array_equal(again.parameters, whole.parameters)
        assert np.array_equal(again.basis, whole.basis)


def test_a_killed_worker_changes_no_bit(tmp_path: Path) -> None:
    training = np.linspace(1, 50, 60)[:, None]
    plain = rbm.greedy(killing(), training, max_basis=8, batch=2)
    with pool(2) as processes:
        found = rbm.greedy(
            killing_once(tmp_path / "killed", after=1.5), training, max_basis=8, batch=2, executor=processes
        )
    assert (tmp_path / "killed").exists()
    assert same(found, plain)


def test_what_was_done_is_kept_when_workers_die_again_and_again() -> None:
    training = np.linspace(1, 50, 60)[:, None]
    made = killing(partial(kill_always, 9.0, before=12.0))
    plain = rbm.greedy(killing(), training, max_basis=8, batch=2)
    assert ((plain.parameters[:, 0] > 9) & (plain.parameters[:, 0] < 12)).tolist() == [False, False, True]
    with (
        pool(2) as processes,
        pytest.raises(WorkersLost, match=r"died.*basis vectors so far are in `solution`") as error,
    ):
        rbm.greedy(made, training, max_basis=8, batch=2, executor=processes)
    known = error.value.solution
    assert 1 <= len(known.parameters) < 8
    assert np.array_equal(known.basis, plain.basis[:, : len(known.parameters)])
    again = rbm.greedy(made, training, max_basis=8, batch=2, resume=known)
    assert np.array_equal(again.basis, plain.basis)


@pytest.mark.parametrize("blocks", [1, 4])
def test_a_large_training_set_is_swept_in_blocks(
    model: rbm.FullOrderModel, training: np.ndarray, blocks: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = rbm.greedy(model, training, max_basis=8, batch=3)
    monkeypatch.setattr(training_sweep, "BLOCK", -(-len(training) // blocks))
    assert same(rbm.greedy(model, training, max_basis=8, batch=3), expected)
    with ThreadPoolExecutor(2) as threads:
        assert same(rbm.greedy(model, training, max_basis=8, batch=3, executor=threads), expected)
    with pool(2) as processes:
        assert same(rbm.greedy(model, training, max_basis=8, batch=3, executor=processes), expected)


def test_few_points_of_a_large_training_set_are_kept(
    model: rbm.FullOrderModel, training: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = rbm.greedy(model, training, max_basis=6)
    monkeypatch.setattr(training_sweep, "BLOCK", 30)
    monkeypatch.setattr(training_sweep, "CHOICE", 20)
    assert same(rbm.greedy(model, training, max_basis=6), plain)  # the worst point is found all the same
    found = rbm.greedy(model, training, max_basis=8, batch=4)
    assert len(found.history) < 6


def test_an_error_in_a_block_names_the_row(
    model: rbm.FullOrderModel, training: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training_sweep, "BLOCK", 30)
    made = killing()
    bound = rbm.FullOrderModel(
        [(1.0, made.operator_terms[0]), ("mu", made.operator_terms[1])],
        [(1.0, made.rhs_terms[:, 0])],
        made.product,
        made.parameters,
        "40.5 - mu",
    )
    with pytest.raises(rbm.StabilityError, match="row 80"):
        rbm.greedy(bound, np.linspace(1, 50, 100)[:, None], max_basis=2)


def test_columns_of_large_models_go_to_the_workers(
    model: rbm.FullOrderModel, training: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(representers, "APART", 100)
    seen: list[int] = []
    together = representers.together

    def counted(inner: Any, *arrays: np.ndarray) -> Any:
        seen.append(sum(a.shape[1] for a in arrays[::2]))
        return together(inner, *arrays)

    monkeypatch.setattr(representers, "together", counted)
    alone = rbm.greedy(model, training, max_basis=8, batch=4)
    here, seen[:] = list(seen), []
    with ThreadPoolExecutor(2) as threads:
        assert same(rbm.greedy(model, training, max_basis=8, batch=4, executor=threads), alone)
    assert sorted(here) == sorted(seen)
    assert max(here) == 16


def test_compiled_products_threads_and_a_workspace_change_no_bit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RBM_NUM_THREADS", "1")
    large = thermal_block((2, 2), 92)  # 16745 unknowns: tall products are compiled, and columns go to the workers
    points = large.parameters.sample(50, rng=0)
    options: dict[str, Any] = {"max_basis": 4, "batch": 4}
    with threadpool_limits(1, "blas"):
        with pool(2) as processes:
            elsewhere = rbm.greedy(large, points, executor=processes, **options)
        assert same(rbm.greedy(large, points, workspace=tmp_path / "w", **options), elsewhere)
        monkeypatch.setenv("RBM_NUM_THREADS", "3")
        assert same(rbm.greedy(large, points, **options), elsewhere)


@pytest.mark.parametrize("batch", [0, -1, 2.0, True, "4", None])
def test_what_is_no_batch_is_refused(model: rbm.FullOrderModel, training: np.ndarray, batch: Any) -> None:
    with pytest.raises(rbm.ParameterError, match=r"batch must be a whole number of at least 1, got"):
        rbm.greedy(model, training, batch=batch)


@pytest.mark.parametrize("executor", [4, ThreadPoolExecutor, "threads"])
def test_what_is_no_executor_is_refused(model: rbm.FullOrderModel, training: np.ndarray, executor: Any) -> None:
    with pytest.raises(rbm.ModelError, match=r"executor must be an object with a method map"):
        rbm.greedy(model, training, executor=executor)


def test_duals_use_the_workers_too(training: np.ndarray) -> None:
    made = thermal_block((2, 2), 12)
    weights = np.linspace(0, 1, made.dimension)
    with_output = rbm.FullOrderModel(
        list(zip(made.operator_coefficients.sources, made.operator_terms, strict=True)),
        [(1.0, made.rhs_terms[:, 0])],
        made.product,
        made.parameters,
        0.1,
        outputs={"s": weights},
    )
    points = made.parameters.sample(60)
    options: dict[str, Any] = {"max_basis": 6, "batch": 2, "dual": "all"}
    plain = rbm.greedy(with_output, points, **options)
    with pool(1) as processes:
        found = rbm.greedy(with_output, points, executor=processes, **options)
    assert same(found, plain)
    assert np.array_equal(found.dual["s"].basis, plain.dual["s"].basis)


def test_solvers_that_keep_factors_go_to_the_workers_too(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("pypardiso")
    monkeypatch.setattr(representers, "APART", 100)
    made = thermal_block((2, 2), 16, solver="pardiso")
    training = made.parameters.sample(60)
    alone = rbm.greedy(made, training, max_basis=8, batch=4)
    with pool(2) as processes, ThreadPoolExecutor(2) as threads:
        for executor in (processes, threads):
            assert same(rbm.greedy(made, training, max_basis=8, batch=4, executor=executor), alone)


def test_a_projection_on_workers_is_the_same(
    model: rbm.FullOrderModel, training: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(representers, "APART", 100)
    basis = model.solve(training[:6]).T
    seen: list[int] = []
    together = representers.together
    monkeypatch.setattr(representers, "together", lambda *a: (seen.append(threading.get_ident()), together(*a))[1])
    alone = rbm.project(model, basis)
    assert set(seen) == {threading.get_ident()}
    with ThreadPoolExecutor(2) as threads:
        found = rbm.project(model, basis, executor=threads)
    assert len(set(seen)) > 1
    assert np.array_equal(found.solve(training).bound, alone.solve(training).bound)


@pytest.mark.parametrize("where", ["snapshot", "riesz", "dual"])
def test_a_run_on_workers_goes_on_after_ctrl_c(where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Later than the first vector, in a worker's task: the result so far goes on with the same bits."""
    block = thermal_block((3, 2), 12)
    made = rbm.FullOrderModel(
        list(zip(block.operator_coefficients.sources, block.operator_terms, strict=True)),
        [(1.0, block.rhs_terms[:, 0])],
        block.product,
        block.parameters,
        0.1,
        outputs={"s": np.linspace(0, 1, block.dimension)},
    )
    points, calls = block.parameters.sample(80), [0]
    named: dict[str, Any] = {"max_basis": 9, "batch": 3, "dual": "all"}
    whole = rbm.greedy(made, points, **named)
    of, name, number, size = {
        "snapshot": (truth_solves, "_piece", 6, 3),
        "riesz": (riesz_by_workers, "_solved", 8, 3),
        "dual": (truth_solves, "_piece", 12, 9),
    }[where]
    plain = getattr(of, name)

    def interrupted(*arguments: Any) -> Any:
        calls[0] += 1
        if calls[0] == number:
            raise KeyboardInterrupt
        return plain(*arguments)

    with ThreadPoolExecutor(2) as threads:
        with monkeypatch.context() as patch:
            patch.setattr(of, name, interrupted)
            with pytest.raises(rbm.Interrupted, match=r"with \d basis vectors; they are in `result`") as error:
                rbm.greedy(made, points, executor=threads, **named)
        result = error.value.result
        assert len(result.parameters) == size
        again = rbm.greedy(made, points, executor=threads, resume=result, **named)
    assert same(again, whole)
    assert same(again.dual["s"], whole.dual["s"])
