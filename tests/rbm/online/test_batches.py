"""Batches: any size in bounded memory, failures by row, interruption, threads."""

from __future__ import annotations

import copy
import pickle
import threading
import time
import tracemalloc
from collections.abc import Iterator

import numpy as np
import pytest
import threadpoolctl
from conftest import Case
from helpers.small_models import fragile_model

import rbm
from rbm.online import batches, chunks, threads


@pytest.fixture
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chunks, "PIECE", (32, 64))


@pytest.fixture(scope="module")
def fragile() -> rbm.ReducedModel:
    return rbm.project(fragile_model(), np.eye(3), training=np.array([[0.5, 0.5, 0.5], [0.2, 0.3, 0.5]]))


#: row -> what is wrong there
WRONG = {
    3: (np.nan, 0.5, 0.5),
    40: (0.5, 7.0, 0.5),
    41: (0.5, -0.5, 0.5),
    77: (0.5, 0.5, 3.5),
    99: (0.0, 0.5, 0.5),
    150: (0.0, 0.5, 0.5),
}


def broken_batch() -> tuple[np.ndarray, np.ndarray]:
    mus = np.random.default_rng(0).uniform(0.1, 0.9, (200, 3))
    clean = mus.copy()
    for row, mu in WRONG.items():
        mus[row] = mu
    return mus, clean


@pytest.mark.usefixtures("small_pieces")
def test_rows_that_fail_are_named_in_one_error_and_nothing_else_is_lost(fragile: rbm.ReducedModel) -> None:
    mus, clean = broken_batch()
    with pytest.raises(
        rbm.ParameterError, match=r"a = nan \(row 3\) is not a finite number; further: .*b = 7 \(row 40\) is outside"
    ) as caught:
        fragile.solve(mus)
    message = str(caught.value)
    assert "coefficient '0 * log(b)' is nan at a = 0.5, b = -0.5, c = 0.5 (row 41)" in message
    assert "stability bound '3 - c' is -0.5 at a = 0.5, b = 0.5, c = 3.5 (row 77)" in message
    assert "the reduced system at a = 0, b = 0.5, c = 0.5 (row 99, 2 such points) is singular" in message
    assert "the other 194 of 200 answers are in `solution`" in message
    assert caught.value.rows is not None
    assert caught.value.rows.tolist() == list(WRONG)
    whole, kept = fragile.solve(clean), caught.value.solution
    rest = np.setdiff1d(np.arange(200), list(WRONG))
    for got, expected in (
        (kept.coefficients, whole.coefficients),
        (kept.bound, whole.bound),
        (kept.outputs["first"], whole.outputs["first"]),
        (kept.output_bounds["first"], whole.output_bounds["first"]),
    ):
        np.testing.assert_array_equal(got[rest], expected[rest])


@pytest.mark.parametrize("pieces", [(32, 64), (256, 8192)])
def test_marked_rows_have_no_answer_and_an_infinite_bound(
    fragile: rbm.ReducedModel, monkeypatch: pytest.MonkeyPatch, pieces: tuple[int, int]
) -> None:
    monkeypatch.setattr(chunks, "PIECE", pieces)
    mus, _ = broken_batch()
    solution = fragile.solve(mus, on_error="mark")
    rows = list(WRONG)
    assert solution.failed.tolist() == rows
    assert len(solution.reasons) == 5
    assert "6 failed" in repr(solution)
    assert np.isnan(solution.coefficients[rows]).all()
    assert np.isnan(solution.outputs["first"][rows]).all()
    assert np.isinf(solution.bound[rows]).all()
    assert np.isinf(solution.output_bounds["first"][rows]).all()
    assert solution.estimate is not None
    assert not solution.estimate.resolved[rows].any()
    assert np.isfinite(np.delete(solution.bound, rows)).all()


@pytest.mark.usefixtures("small_pieces")
def test_a_piece_that_fails_as_a_whole_in_the_kernel_leaves_nothing_behind(fragile: rbm.ReducedModel) -> None:
    _, mus = broken_batch()
    (whole,) = [r for r in chunks.pieces(200, fragile._online.bytes_per_point) if r.start <= 100 < r.stop]
    mus[whole, 0] = 0.0  # singular: the kernel has written to the result when it finds out
    marked = fragile.solve(mus, on_error="mark")
    assert marked.failed.tolist() == list(range(whole.start, whole.stop))
    for array in (marked.coefficients, marked.outputs["first"]):
        assert np.isnan(array[whole]).all()
    for array in (marked.bound, marked.output_bounds["first"], marked.estimate.value, marked.estimate.floor):
        assert np.isinf(array[whole]).all()
    assert not marked.estimate.resolved[whole].any()
    assert np.isfinite(np.delete(marked.bound, range(whole.start, whole.stop))).all()


@pytest.mark.usefixtures("small_pieces")
@pytest.mark.parametrize("coefficients", [True, False])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_pieces_are_written_where_they_belong(
    diffusion: Case, monkeypatch: pytest.MonkeyPatch, dtype: str, coefficients: bool
) -> None:
    reduced, mus = diffusion.result.reduced_model.astype(dtype), diffusion.tests[:300]
    given, asked = [], reduced._online.answer

    def watched(points: np.ndarray, *rest: object) -> rbm.Solution:
        made = asked(points, *rest)
        if rest[-1] is not None and len(points) > 1:
            given.append(np.shares_memory(made.estimate.floor, rest[-1].estimate.floor))
        return made

    monkeypatch.setattr(reduced._online, "answer", watched)
    batch = reduced.solve(mus, coefficients=coefficients)
    assert len(given) > 2
    assert all(given) == (dtype == "float64")  # a model in single precision is solved and certified in two steps
    parts = [reduced.solve(part, coefficients=coefficients) for part in np.array_split(mus, 9)]
    for name in ("coefficients", "bound"):
        np.testing.assert_array_equal(np.concatenate([getattr(p, name) for p in parts]), getattr(batch, name))
    for name in batch.outputs:
        np.testing.assert_array_equal(np.concatenate([p.outputs[name] for p in parts]), batch.outputs[name])
        np.testing.assert_array_equal(np.concatenate([p.output_bounds[name] for p in parts]), batch.output_bounds[name])


def test_single_points_fail_alike(fragile: rbm.ReducedModel) -> None:
    for mu in WRONG.values():
        with pytest.raises((rbm.ParameterError, rbm.StabilityError, rbm.ModelError), match=r"\(row 0\)") as caught:
            fragile.solve(mu)
        assert "answers are in" not in str(caught.value)
        marked = fragile.solve(mu, on_error="mark")
        assert marked.failed.tolist() == [0]
        assert np.isinf(marked.bound).all()
        assert marked.coefficients.shape == (1, 3)


def test_all_rows_may_fail(fragile: rbm.ReducedModel) -> None:
    mus = np.full((500, 3), np.nan)
    with pytest.raises(
        rbm.ParameterError, match=r"a = nan \(row 0, 500 such points\) is not a finite number$"
    ) as caught:
        fragile.solve(mus)
    assert caught.value.solution is None
    marked = fragile.solve(mus, on_error="mark")
    assert len(marked.failed) == 500
    assert np.isinf(marked.bound).all()


def test_a_wrong_call_is_an_error_as_a_whole(fragile: rbm.ReducedModel) -> None:
    with pytest.raises(rbm.ParameterError, match="must have shape"):
        fragile.solve(np.ones((4, 2)), on_error="mark")
    with pytest.raises(ValueError, match="on_error must be 'raise' or 'mark', got 'ignore'"):
        fragile.solve(np.full((4, 3), 0.5), on_error="ignore")  # type: ignore[arg-type]


def test_estimates_name_rows_too(fragile: rbm.ReducedModel) -> None:
    mus, _ = broken_batch()
    with pytest.raises(rbm.ParameterError, match=r"row 3\)") as caught:
        fragile.estimate(mus)
    assert caught.value.rows is not None
    assert caught.value.rows.tolist() == list(WRONG)


@pytest.mark.usefixtures("small_pieces")
def test_streams_are_solved_block_by_block(diffusion: Case) -> None:
    reduced, mus = diffusion.result.reduced_model, diffusion.tests
    whole = reduced.solve(mus)
    for blocks in (reduced.stream(mus, size=300), reduced.stream(iter(np.array_split(mus, 7)))):
        parts = list(blocks)
        np.testing.assert_array_equal(np.concatenate([p.bound for p in parts]), whole.bound)
        np.testing.assert_array_equal(np.concatenate([p.outputs["mean"] for p in parts]), whole.outputs["mean"])
    assert [len(p) for p in reduced.stream(mus, size=300)] == [300, 300, 300, 100]

    def endless() -> Iterator[np.ndarray]:
        while True:
            yield mus[:10]

    assert len(next(reduced.stream(endless(), estimate=False))) == 10  # nothing is read ahead


def test_only_the_answer_is_kept_in_memory(diffusion: Case) -> None:
    """Peak of a sweep over half a million points, beyond what the caller holds: its answer and a few pieces."""
    reduced = diffusion.result.reduced_model
    mus = np.tile(diffusion.tests, (500, 1))
    reduced.solve(mus[:1000])
    tracemalloc.start()
    try:
        solution = reduced.solve(mus, coefficients=False)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert solution.estimate is not None
    answer = sum(a.nbytes for a in (solution.estimate.value, solution.estimate.floor, solution.estimate.resolved))
    answer += sum(a.nbytes for a in (*solution.outputs.values(), *solution.output_bounds.values()))
    assert solution.coefficients.size == 0
    assert peak <= 1.1 * answer + 20e6


@pytest.mark.usefixtures("small_pieces")
@pytest.mark.parametrize("count", ["1", "2", "3"])
def test_interruption_keeps_what_is_done(diffusion: Case, monkeypatch: pytest.MonkeyPatch, count: str) -> None:
    monkeypatch.setenv("RBM_NUM_THREADS", count)
    reduced = diffusion.result.reduced_model
    whole = reduced.solve(diffusion.tests)
    query, calls = reduced._online, []
    plain = query.answer

    def interrupted(points: np.ndarray, *rest: object) -> rbm.Solution:
        calls.append(len(points))
        if len(calls) == 5:
            raise KeyboardInterrupt
        return plain(points, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(query, "answer", interrupted)
    with pytest.raises(rbm.Interrupted, match=r"interrupted with \d+ of 1000 points done") as caught:
        reduced.solve(diffusion.tests)
    kept = caught.value.result
    done = np.setdiff1d(np.arange(1000), kept.failed)
    assert 0 < len(done) < 1000
    np.testing.assert_array_equal(kept.bound[done], whole.bound[done])
    assert np.isinf(kept.bound[kept.failed]).all()
    assert kept.reasons[-1] == "interrupted"


@pytest.mark.usefixtures("small_pieces")
def test_an_error_in_a_piece_is_raised_as_it_is(diffusion: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    reduced = diffusion.result.reduced_model
    plain, calls = reduced._online.answer, []

    def broken(points: np.ndarray, *rest: object) -> rbm.Solution:
        calls.append(1)
        if len(calls) == 3:
            raise ZeroDivisionError("a defect")
        return plain(points, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(reduced._online, "answer", broken)
    with pytest.raises(ZeroDivisionError, match="a defect"):
        reduced.solve(diffusion.tests)


@pytest.mark.usefixtures("small_pieces")
def test_many_threads_may_ask_at_once(diffusion: Case) -> None:
    reduced = diffusion.result.reduced_model
    whole = reduced.solve(diffusion.tests).bound
    answers: list[np.ndarray] = []
    workers = [threading.Thread(target=lambda: answers.append(reduced.solve(diffusion.tests).bound)) for _ in range(6)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    assert len(answers) == 6
    for bound in answers:
        np.testing.assert_array_equal(bound, whole)


def test_work_inside_a_worker_stays_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """A batch that is solved inside a piece of another one does not wait for threads that wait for it."""
    monkeypatch.setenv("RBM_NUM_THREADS", "2")
    done: list[slice] = []
    slices = [slice(k, k + 1) for k in range(8)]
    batches.each(lambda rows: batches.each(done.append, slices), slices)
    assert len(done) == 64


def test_one_piece_and_none_are_done_by_the_thread_that_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RBM_NUM_THREADS", "4")
    seen: list[tuple[slice, int]] = []
    inner = [slice(k, k + 1) for k in range(8)]

    def work(rows: slice) -> None:
        time.sleep(0.002)  # others would have the time to take some
        seen.append((rows, threading.get_ident()))

    batches.each(work, [])
    assert not seen
    batches.each(lambda rows: batches.each(work, inner), [slice(0, 8)])  # what it calls stays here, too
    assert [rows for rows, _ in seen] == inner
    assert {thread for _, thread in seen} == {threading.get_ident()}


def test_the_number_of_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setenv("RBM_NUM_THREADS", "7")
    assert batches.thread_count() == 7
    monkeypatch.setenv("RBM_NUM_THREADS", "nonsense")
    assert batches.thread_count() >= 1
    monkeypatch.delenv("RBM_NUM_THREADS")
    monkeypatch.setenv("OMP_NUM_THREADS", "3,2")
    assert batches.thread_count() == 3


@pytest.mark.parametrize(("count", "width"), [(1, 100), (100, 1), (10_000, 100), (12_345, 7), (100_000, 10**9)])
def test_pieces_cover_everything_once(count: int, width: int) -> None:
    slices = chunks.pieces(count, width)
    assert [s.start for s in slices] == [0, *(s.stop for s in slices[:-1])]
    assert slices[-1].stop == count
    assert max(s.stop - s.start for s in slices) <= chunks.PIECE[1]


def test_what_the_kernels_do_not_know_goes_the_general_way(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stability bound by a callable, an output with a coefficient: the same numbers as with the simple kinds."""
    base = fragile_model(stability=0.5)
    other = fragile_model(stability=lambda mus: np.full(len(mus), 0.5))
    answers = []
    for model in (base, other):
        reduced = rbm.project(model, np.eye(3)[:, :2], training=np.array([[0.5, 0.5, 0.5], [0.2, 0.3, 0.5]]))
        answers.append(reduced.solve(np.random.default_rng(0).uniform(0.1, 0.9, (50, 3))))
        monkeypatch.setitem(reduced._online.__dict__, "finish", None)
        answers.append(reduced.solve(np.random.default_rng(0).uniform(0.1, 0.9, (50, 3))))
    for answer in answers[1:]:
        np.testing.assert_allclose(answer.bound, answers[0].bound, rtol=1e-15)
        np.testing.assert_allclose(answer.outputs["first"], answers[0].outputs["first"], rtol=1e-15)
        np.testing.assert_allclose(answer.output_bounds["first"], answers[0].output_bounds["first"], rtol=1e-12)


def test_min_theta_in_the_kernels_is_that_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    model = rbm.FullOrderModel(
        [("a", np.diag([1.0, 0, 1])), ("2 * b", np.diag([1.0, 1, 1]))],
        [(1.0, np.ones(3))],
        np.eye(3),
        rbm.ParameterSpace({"a": (1.0, 9.0), "b": (0.5, 2.0)}),
        rbm.stability.MinTheta([3.0, 0.7]),
    )
    reduced = rbm.project(model, np.eye(3)[:, :2], training=model.parameters.sample(20))
    mus = model.parameters.sample(64)
    fast = reduced.solve(mus).bound
    monkeypatch.setitem(reduced._online.__dict__, "finish", None)
    np.testing.assert_allclose(fast, reduced.solve(mus).bound, rtol=1e-14)
    theta = model.operator_coefficients(mus)
    assert len(np.unique(np.argmin(theta / model.operator_coefficients(np.array([[3.0, 0.7]])), axis=1))) == 2


@pytest.mark.usefixtures("small_pieces")
@pytest.mark.parametrize("where", ["operator", "right-hand side", "output"])
def test_coefficients_that_are_complex_in_some_pieces_only(where: str) -> None:
    """The first piece is real; what is complex later is not cast to its type."""
    square_root = lambda mus: np.emath.sqrt(mus[:, 0])  # noqa: E731
    model = rbm.FullOrderModel(
        [(3.0, np.eye(3)), (square_root if where == "operator" else 1.0, np.diag([1.0, 2, 1]))],
        [(square_root if where == "right-hand side" else 1.0, np.ones(3))],
        np.eye(3),
        rbm.ParameterSpace({"mu": (-1.0, 1.0)}),
        1.0,
        outputs={"s": [(square_root if where == "output" else 1.0, np.ones(3))]},
    )
    reduced = rbm.project(model, np.eye(3), training=model.parameters.sample(20))
    mus = np.concatenate([np.full(64, 0.5), np.linspace(-1, 1, 400)])[:, None]
    whole = reduced.solve(mus)
    truth = model.solve(mus)
    np.testing.assert_allclose(whole.coefficients, truth, rtol=1e-14)
    np.testing.assert_allclose(whole.outputs["s"], model.outputs["s"](mus, truth), rtol=1e-14)
    assert whole.outputs["s"].dtype == complex


@pytest.mark.usefixtures("small_pieces")
def test_streams_count_rows_from_their_start(fragile: rbm.ReducedModel) -> None:
    mus = np.full((300, 3), 0.5)
    mus[250, 0] = np.nan
    blocks = fragile.stream(mus, size=100)
    next(blocks), next(blocks)
    with pytest.raises(rbm.ParameterError, match=r"a = nan \(row 250\)") as caught:
        next(blocks)
    assert caught.value.rows is not None
    assert caught.value.rows.tolist() == [50]  # of the block, as its solution's
    assert len(caught.value.solution) == 100
    assert [len(s) for s in fragile.stream(mus[:90].tolist(), size=40)] == [40, 40, 10]
    for size in (0, -1, 1.5):
        with pytest.raises(rbm.ParameterError, match="size of a block must be a whole number of at least 1, got"):
            next(fragile.stream(mus, size=size))  # type: ignore[arg-type]


@pytest.mark.usefixtures("small_pieces")
def test_failures_of_different_coefficients_are_told_apart() -> None:
    model = rbm.FullOrderModel(
        [(1.0, np.eye(2)), ("0 / a", np.eye(2)), ("0 * log(b)", np.eye(2))],
        [(1.0, np.ones(2))],
        np.eye(2),
        rbm.ParameterSpace({"a": (0.0, 1.0), "b": (-1.0, 1.0)}),
        1.0,
    )
    reduced = rbm.project(model, np.eye(2)[:, :1], training=np.array([[0.5, 0.5], [0.3, 0.5]]))
    mus = np.full((100, 2), 0.5)
    mus[3, 0], mus[[50, 70], 1], mus[60] = 0.0, -0.5, (2.0, 3.0)
    marked = reduced.solve(mus, on_error="mark")
    assert marked.failed.tolist() == [3, 50, 60, 70]
    assert [reason.split(" at ")[0] for reason in marked.reasons[:1]] == ["coefficient '0 / a' is nan"]
    assert any("'0 * log(b)' is nan" in r and "row 50, 2 such points" in r for r in marked.reasons)


def test_marks_need_no_point_that_works() -> None:
    model = rbm.FullOrderModel(
        [(1.0, np.eye(2))],
        [(1.0, np.ones(2))],
        np.eye(2),
        rbm.ParameterSpace({"a": (0.0, 1.0)}),
        "-1 - a",
        outputs={"s": np.ones(2)},
    )
    reduced = rbm.ReducedModel(
        model.parameters,
        model.operator_coefficients,
        model.rhs_coefficients,
        model.stability,
        np.eye(2)[None],
        np.ones((1, 2)),
        {},
        rbm.project(fragile_model(0.5), np.eye(3)[:, :2], training=np.full((9, 3), 0.5)).estimators,
    )
    marked = reduced.solve(np.full((700, 1), 0.5), on_error="mark")
    assert len(marked.failed) == len(marked) == 700
    assert np.isinf(marked.bound).all()


def test_a_batch_does_not_wait_for_another_one(diffusion: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    """All workers are busy with a batch whose coefficient waits for a solve in a thread of its own."""
    monkeypatch.setenv("RBM_NUM_THREADS", "2")
    inner = diffusion.result.reduced_model
    expected = inner.solve(diffusion.tests).bound

    def waits(mus: np.ndarray) -> np.ndarray:
        answers: list[np.ndarray] = []
        thread = threading.Thread(target=lambda: answers.append(inner.solve(diffusion.tests).bound), daemon=True)
        thread.start()
        thread.join(30)
        np.testing.assert_array_equal(answers[0], expected)
        return np.ones(len(mus))

    model = rbm.FullOrderModel(
        [(waits, np.eye(2))], [(1.0, np.ones(2))], np.eye(2), rbm.ParameterSpace({"a": (0.0, 1.0)}), 1.0
    )
    reduced = rbm.project(model, np.eye(2)[:, :1], training=np.full((2, 1), 0.5))
    assert len(reduced.solve(np.full((2000, 1), 0.5))) == 2000


def test_copies_and_pickles_solve_alike(diffusion: Case) -> None:
    reduced = rbm.project(diffusion.model, diffusion.result.basis)  # without E1, which holds factorisations
    whole = reduced.solve(diffusion.tests[:20]).bound
    for other in (copy.copy(reduced), copy.deepcopy(reduced), pickle.loads(pickle.dumps(reduced))):
        assert "_online" not in other.__dict__
        np.testing.assert_array_equal(other.solve(diffusion.tests[:20]).bound, whole)


@pytest.mark.usefixtures("small_pieces")
def test_products_use_one_thread_while_batches_use_many(diffusion: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    """And as many as before afterwards, also if a batch fails."""
    monkeypatch.setenv("RBM_NUM_THREADS", "2")
    reduced, seen = diffusion.result.reduced_model, set()
    plain = reduced._online.answer

    def counts() -> list[int]:
        return [b["num_threads"] for b in threadpoolctl.threadpool_info() if b["user_api"] == "blas"]

    def watched(points: np.ndarray, *rest: object) -> rbm.Solution:
        if len(points) != chunks.FIRST:  # the first piece is answered before the threads start
            seen.update(counts())
        return plain(points, *rest)  # type: ignore[arg-type]

    before = counts()
    monkeypatch.setattr(reduced._online, "answer", watched)
    reduced.solve(diffusion.tests)
    assert seen == {1}
    bad = diffusion.tests.copy()
    bad[500] = np.nan
    with pytest.raises(rbm.ParameterError):
        reduced.solve(bad)
    assert counts() == before
    assert not threads._one_thread_a_product._inside


@pytest.mark.parametrize("given", [True, False])
def test_an_estimate_at_a_point_outside_keeps_the_others(diffusion: Case, given: bool) -> None:
    reduced = diffusion.result.reduced_model
    mus = diffusion.tests[:3].copy()
    solution = reduced.solve(mus)
    mus[1] = 1e6
    with pytest.raises(
        rbm.ParameterError, match=r"\(row 1\) is outside .* answers are in `solution` of this error\)"
    ) as caught:
        reduced.estimate(mus, solution.coefficients if given else None)
    kept = caught.value.solution
    assert isinstance(kept, rbm.Estimate)
    np.testing.assert_array_equal(kept.bound[[0, 2]], solution.bound[[0, 2]])
    assert kept.bound[1] == np.inf
