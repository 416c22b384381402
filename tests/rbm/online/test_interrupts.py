"""Ctrl-C in a sweep, at any moment.

Each point is right or marked as failed; and errors travel between processes.
"""

from __future__ import annotations

import _thread
import multiprocessing
import pickle
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from conftest import Case
from helpers.small_models import fragile_model

import rbm
from rbm.errors import PointError
from rbm.online import batches, chunks, threads
from rbm.stability import inf_sup_constants as constants

#: Sweeps that are interrupted, each at another moment.
ROUNDS = 16


@pytest.fixture(autouse=True)
def heard() -> Iterator[None]:
    """A process that a shell starts in the background ignores Ctrl-C; here it is heard."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chunks, "PIECE", (32, 64))


def check(kept: rbm.Solution, whole: rbm.Solution, mus: np.ndarray) -> int:
    """Every point is either failed and without numbers, or right; gives how many are right."""
    count = len(mus)
    done = np.setdiff1d(np.arange(count), kept.failed)
    assert len(kept) == count
    assert np.array_equal(kept.mus, mus, equal_nan=True)
    assert len(np.unique(kept.failed)) == len(kept.failed)
    assert kept.reasons[-1] == "interrupted"
    assert kept.estimate is not None
    for got, right in (
        (kept.coefficients, whole.coefficients),
        (kept.bound, whole.bound),
        (kept.outputs["mean"], whole.outputs["mean"]),
        (kept.output_bounds["mean"], whole.output_bounds["mean"]),
    ):
        np.testing.assert_array_equal(got[done], right[done])
    assert np.isnan(kept.coefficients[kept.failed]).all()
    assert np.isnan(kept.outputs["mean"][kept.failed]).all()
    assert np.isinf(kept.bound[kept.failed]).all()
    assert np.isinf(kept.output_bounds["mean"][kept.failed]).all()
    assert not kept.estimate.resolved[kept.failed].any()
    return len(done)


@pytest.mark.usefixtures("small_pieces")
@pytest.mark.parametrize("count", ["1", "3"])
@pytest.mark.parametrize("step", ["answer", "write", "write_fitting", "room_for", "finish"])
@pytest.mark.parametrize("call", [1, 2, 6])
def test_ctrl_c_before_or_after_every_step(
    diffusion: Case, monkeypatch: pytest.MonkeyPatch, count: str, step: str, call: int
) -> None:
    """Also where a piece is written halfway, and where nothing is known yet."""
    monkeypatch.setenv("RBM_NUM_THREADS", count)
    reduced, mus = diffusion.result.reduced_model, diffusion.tests.copy()
    mus[[7, 700]] = np.nan
    whole = reduced.solve(mus, on_error="mark")
    place: Any = {"answer": reduced._online, "finish": batches._Sweep}.get(step, batches)
    plain, calls, lock = getattr(place, step), [0], threading.Lock()

    def interrupted(*arguments: Any, **options: Any) -> Any:
        with lock:
            calls[0] += 1
            now = calls[0] == (1 if step in ("room_for", "write", "finish") else call)
        if now and step == "write":  # half of the piece
            target, rows, part = arguments
            target.outputs["mean"][rows] = 1e99
            target.coefficients[rows] = part.coefficients
        if now and step == "write_fitting":
            arrays, rows, _ = arguments
            for array in arrays[::2]:
                array[rows] = 1
        if now:
            raise KeyboardInterrupt
        return plain(*arguments, **options)

    monkeypatch.setattr(place, step, interrupted)
    with pytest.raises(rbm.Interrupted, match=r"interrupted with \d+ of 1000 points done") as caught:
        reduced.solve(mus, on_error="mark")
    monkeypatch.setattr(place, step, plain)
    done = check(caught.value.result, whole, mus)
    assert {7, 700} <= set(caught.value.result.failed.tolist())
    if step == "finish":
        assert done == 998
        assert "mu = nan (row 7, 2 such points) is not a finite number" in caught.value.result.reasons
    if step == "room_for" or (step == "answer" and call == 1):
        assert done == 0
    assert np.isfinite(reduced.solve(diffusion.tests).bound).all()  # nothing is left behind


def solved_under_fire(
    reduced: rbm.ReducedModel, mus: np.ndarray, monkeypatch: pytest.MonkeyPatch, call: int, again: bool
) -> rbm.Solution | None:
    """What Interrupted holds of a sweep in whose `call`-th piece Ctrl-C comes.

    It comes whatever thread does the piece, and perhaps once more just after.

    None if the second one came after the answers were raised, and before they were caught.
    """
    plain, calls, lock = reduced._online.answer, [0], threading.Lock()
    timer = threading.Timer(0.0005, _thread.interrupt_main)

    def answer(*arguments: Any) -> rbm.Solution:
        with lock:
            calls[0] += 1
            now = calls[0] == call
        if now:
            if again:
                timer.start()
            _thread.interrupt_main()
        return plain(*arguments)

    monkeypatch.setattr(reduced._online, "answer", answer)
    kept = None
    try:
        try:
            reduced.solve(mus)
        except rbm.Interrupted as stopped:
            kept = stopped.result
    except KeyboardInterrupt:
        pass
    while True:
        try:
            monkeypatch.setattr(reduced._online, "answer", plain)
            if timer.ident is not None:  # it was started
                timer.join()
            time.sleep(0.002)
            return kept
        except KeyboardInterrupt:  # one that came late
            continue


@pytest.mark.skipif(threading.current_thread() is not threading.main_thread(), reason="Ctrl-C is for the main thread")
@pytest.mark.usefixtures("small_pieces")
@pytest.mark.parametrize("count", ["1", "2"])
def test_ctrl_c_at_any_moment(diffusion: Case, monkeypatch: pytest.MonkeyPatch, count: str) -> None:
    """Real interrupts of the main thread, in pieces all over a sweep; a second one must not lose the answers either."""
    monkeypatch.setenv("RBM_NUM_THREADS", count)
    reduced, mus = diffusion.result.reduced_model, np.tile(diffusion.tests, (10, 1))
    whole = reduced.solve(mus)
    last = len(chunks.pieces(len(mus), reduced._online.bytes_per_point))
    found = []
    for k in range(ROUNDS):
        kept = solved_under_fire(reduced, mus, monkeypatch, 1 + k * (last - 1) // (ROUNDS - 1), k % 2 == 1)
        if kept is not None:
            found.append(check(kept, whole, mus))
        assert not threads._one_thread_a_product._inside
        assert threads._one_thread_a_product._before is None
    assert len(found) >= ROUNDS // 2
    assert max(found) > 0
    assert np.array_equal(reduced.solve(mus).bound, whole.bound)


@pytest.mark.usefixtures("small_pieces")
@pytest.mark.parametrize("step", ["_so_far", "_failed"])
def test_a_second_ctrl_c_while_answers_are_put_together(
    diffusion: Case, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    reduced, mus = diffusion.result.reduced_model, diffusion.tests
    whole, plain, calls = reduced.solve(mus), getattr(batches._Sweep, step), [0]

    def interrupted(*arguments: Any) -> Any:
        calls[0] += 1
        made = plain(*arguments)
        if calls[0] < 3:
            raise KeyboardInterrupt
        return made

    def finish(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(batches._Sweep, step, interrupted)
    monkeypatch.setattr(batches._Sweep, "finish", finish)
    with pytest.raises(rbm.Interrupted, match="interrupted with 1000 of 1000 points done") as caught:
        reduced.solve(mus)
    assert np.array_equal(caught.value.result.bound, whole.bound)


def test_ctrl_c_while_the_libraries_are_set_free(monkeypatch: pytest.MonkeyPatch) -> None:
    """NumPy's products have as many threads as before, also if the end of a batch is interrupted."""
    monkeypatch.setenv("RBM_NUM_THREADS", "2")
    guard, calls = threads._one_thread_a_product, [0]
    plain = guard.leave

    def leave() -> None:
        calls[0] += 1
        if calls[0] == 1:
            raise KeyboardInterrupt
        plain()

    monkeypatch.setattr(guard, "leave", leave)
    with pytest.raises(KeyboardInterrupt):
        threads.each(lambda _: None, [slice(k, k + 1) for k in range(5)])
    assert (calls[0], guard._inside, guard._before) == (2, set(), None)


def test_one_piece_is_a_sweep_too(diffusion: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    reduced = diffusion.result.reduced_model

    def interrupted(*_: object) -> rbm.Solution:
        raise KeyboardInterrupt

    for count in (1, 100, 400):
        monkeypatch.setattr(reduced._online, "answer", interrupted)
        with pytest.raises(rbm.Interrupted, match=f"interrupted with 0 of {count} points done") as caught:
            reduced.solve(diffusion.tests[:count])
        monkeypatch.undo()
        assert caught.value.result.failed.tolist() == list(range(count))
        assert np.isinf(caught.value.result.bound).all()
        assert caught.value.result.outputs["mean"].shape == (count,)


def test_no_thread_writes_after_an_interrupt(monkeypatch: pytest.MonkeyPatch) -> None:
    """The threads that help are waited for, also if Ctrl-C comes again while they are."""
    monkeypatch.setenv("RBM_NUM_THREADS", "3")
    inside, stopped = [], threading.Event()

    def work(rows: slice) -> None:
        if threading.current_thread() is threading.main_thread():
            while len(inside) < 2:
                time.sleep(0.001)
            threading.Timer(0.02, _thread.interrupt_main).start()
            raise KeyboardInterrupt
        inside.append(rows)
        time.sleep(0.1)
        assert not stopped.is_set()

    with pytest.raises(KeyboardInterrupt):
        threads.each(work, [slice(k, k + 1) for k in range(50)])
    stopped.set()
    assert len(inside) == 2


def errors(reduced: rbm.ReducedModel) -> list[BaseException]:
    """One of each kind, as users meet them."""
    made: list[BaseException] = [rbm.Interrupted("stopped", {"done": 3}), rbm.EstimatorUnusable("T is singular")]
    made += [kind("the model is wrong") for kind in (rbm.ModelError, rbm.StabilityError, rbm.FileFormatError)]
    for mus in ([[2.0], [500.0]], [[np.nan]], np.full((600, 1), 200.0), "x"):
        try:
            reduced.solve(mus)
        except PointError as error:
            made.append(error)
    return made


def test_errors_are_pickled_with_what_they_hold(diffusion: Case) -> None:
    made = errors(diffusion.result.reduced_model)
    assert len(made) == 9
    for error in made:
        again = pickle.loads(pickle.dumps(error))
        assert type(again) is type(error)
        assert str(again) == str(error)
        if isinstance(error, PointError):
            assert np.array_equal(again.rows, error.rows)
            assert (again.solution is None) == (error.solution is None)
    assert pickle.loads(pickle.dumps(made[0])).result == {"done": 3}
    partial = pickle.loads(pickle.dumps(made[5])).solution
    assert partial.failed.tolist() == [1]
    assert partial.bound[0] < 1e-9
    result = rbm.greedy(fragile_model(0.5), np.array([[0.5, 0.5, 0.5]]), progress=False)
    assert pickle.loads(pickle.dumps(rbm.Interrupted("stopped", result))).result.basis.shape == (3, 1)


def fail(kind: int) -> None:
    raise [rbm.Interrupted("stopped", np.arange(3)), rbm.ParameterError("mu = 7")][kind]


def test_errors_come_back_from_another_process() -> None:
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("fork")) as pool:
        with pytest.raises(rbm.ParameterError, match="mu = 7"):
            pool.submit(fail, 1).result(60)
        with pytest.raises(rbm.Interrupted, match="stopped") as caught:
            pool.submit(fail, 0).result(60)
    assert caught.value.result.tolist() == [0, 1, 2]


def stopping_solver(after: int) -> Any:
    """A solver that is interrupted at the matrix after that many."""
    seen: list[int] = []

    def solve(matrix: np.ndarray, rhs: np.ndarray) -> np.ndarray:
        if not np.array_equal(matrix, np.eye(2)) and id(matrix) not in seen:
            seen.append(id(matrix))
            kept.append(matrix)
            if len(seen) > after:
                raise KeyboardInterrupt
        return np.linalg.solve(matrix, rhs)

    kept: list[np.ndarray] = []
    return solve


@pytest.mark.parametrize("way", ["in turn", "executor"])
@pytest.mark.parametrize("after", [0, 3])
def test_full_order_solves_that_are_done_outlive_ctrl_c(after: int, way: str) -> None:
    def made(solver: Any) -> rbm.FullOrderModel:
        terms = [(1.0, np.diag([2.0, 3.0])), ("mu", np.eye(2))]
        return rbm.FullOrderModel(terms, [(1.0, np.ones(2))], np.eye(2), {"mu": (1.0, 9.0)}, 1.0, solver=solver)

    mus = np.linspace(1, 9, 7)[:, None]
    whole = made(np.linalg.solve).solve(mus)
    for name in ("solve", "solve_extended"):
        executor = None if way == "in turn" else ThreadPoolExecutor(1)
        with pytest.raises(
            rbm.Interrupted, match=rf"interrupted with {after // 2 * 2 if executor else after} of 7"
        ) as caught:
            getattr(made(stopping_solver(after)), name)(mus, executor=executor)
        kept = caught.value.result
        kept = kept if name == "solve" else (kept[0] + kept[1]).T
        done = np.isfinite(kept).all(axis=1)
        assert done.sum() == (after // 2 * 2 if executor else after)
        np.testing.assert_array_equal(kept[done], whole[done])
        assert np.isnan(kept[~done]).all()


def test_finished_pieces_behind_an_unfinished_one_outlive_ctrl_c() -> None:
    """The piece that is interrupted is the second of four, and all others are finished before."""
    terms = [(1.0, np.diag([2.0, 3.0])), ("mu", np.eye(2))]
    mus, others = np.linspace(1, 9, 8)[:, None], threading.Event()
    finished: list[int] = []

    def solve(matrix: np.ndarray, rhs: np.ndarray) -> np.ndarray:
        if matrix[0, 0] == 2 + mus[3, 0]:
            assert others.wait(60)
            raise KeyboardInterrupt
        return np.linalg.solve(matrix, rhs)

    class Counting(ThreadPoolExecutor):
        def submit(self, *arguments: Any, **options: Any) -> Any:
            future = super().submit(*arguments, **options)
            future.add_done_callback(lambda _: (finished.append(1), len(finished) == 3 and others.set()))
            return future

    model = rbm.FullOrderModel(terms, [(1.0, np.ones(2))], np.eye(2), {"mu": (1.0, 9.0)}, 1.0, solver=solve)
    with Counting(2) as pool, pytest.MonkeyPatch.context() as patch:
        patch.setattr("rbm.affine.truth_solves.PIECES", 2)
        with pytest.raises(
            rbm.Interrupted, match=r"interrupted with 6 of 8 full-order solves done; .* all others are NaN"
        ) as caught:
            model.solve(mus, executor=pool)
    kept = caught.value.result
    assert np.flatnonzero(np.isnan(kept[:, 0])).tolist() == [2, 3]
    exact = 1 / (mus + np.array([2.0, 3.0]))
    np.testing.assert_allclose(np.delete(kept, [2, 3], axis=0), np.delete(exact, [2, 3], axis=0), rtol=1e-14)


def test_inf_sup_constants_that_are_done_outlive_ctrl_c(monkeypatch: pytest.MonkeyPatch) -> None:
    terms = [(1.0, np.diag([2.0, 3.0])), ("mu", np.eye(2))]
    model = rbm.FullOrderModel(terms, [(1.0, np.ones(2))], np.eye(2), {"mu": (1.0, 9.0)}, 1.0)
    plain = constants.smallest_singular

    def interrupted(matrix: np.ndarray, *others: Any) -> Any:
        if matrix[0, 0] == 2 + 7:
            raise KeyboardInterrupt
        return plain(matrix, *others)

    monkeypatch.setattr(constants, "smallest_singular", interrupted)
    with pytest.raises(rbm.Interrupted, match="interrupted with 2 of 4 inf-sup constants done") as caught:
        constants.inf_sup(model, [[1.0], [4.0], [7.0], [9.0]], progress=False)
    np.testing.assert_allclose(caught.value.result, [3.0, 6.0, np.nan, np.nan], rtol=1e-7)


def test_estimates_of_given_coefficients_outlive_ctrl_c(diffusion: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chunks, "PIECE", (32, 64))
    monkeypatch.setenv("RBM_NUM_THREADS", "1")
    reduced, mus = diffusion.result.reduced_model, diffusion.tests
    solution = reduced.solve(mus)
    for given in (solution, solution.coefficients, None):
        whole, calls = reduced.estimate(mus, given), [0]
        name = "residual" if given is not None else "answer"
        plain = getattr(reduced._online, name)

        def interrupted(*arguments: Any, plain: Any = plain, calls: list[int] = calls, **options: Any) -> Any:
            calls[0] += 1
            if calls[0] == 4:
                raise KeyboardInterrupt
            return plain(*arguments, **options)

        with monkeypatch.context() as patch:
            patch.setattr(reduced._online, name, interrupted)
            with pytest.raises(
                rbm.Interrupted, match=r"interrupted with \d+ of 1000 points estimated; .*infinite"
            ) as caught:
                reduced.estimate(mus, given)
        kept = caught.value.result
        assert isinstance(kept, rbm.Estimate)
        done = np.isfinite(kept.bound)
        assert 64 <= done.sum() < 1000
        np.testing.assert_array_equal(kept.bound[done], whole.bound[done])
        assert not kept.resolved[~done].any()
    monkeypatch.setattr(reduced._online, "residual", lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(rbm.Interrupted, match="interrupted with 0 of 1 points estimated"):
        reduced.estimate(mus[:1], solution.coefficients[:1])


def test_a_greedy_run_that_has_nothing_yet_is_a_plain_interrupt() -> None:
    model = fragile_model(0.1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(model), "assemble", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt) as caught:
            rbm.greedy(model, [[0.5, 0.5, 0.5]], progress=False)
    assert type(caught.value) is KeyboardInterrupt


def test_checks_that_were_passed_outlive_ctrl_c(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr("rbm.stability.verification.check_stability", interrupted)
    terms = [(1.0, np.diag([2.0, 3.0])), ("mu", np.eye(2))]
    model = rbm.FullOrderModel(terms, [(1.0, np.ones(2))], np.eye(2), {"mu": (1.0, 9.0)}, 1.0)
    with pytest.raises(rbm.Interrupted, match="verify interrupted after 5 checks") as caught:
        model.verify()
    assert "positive definite" in repr(caught.value.result)
    assert caught.value.result.checks[-1].startswith("interrupted")
