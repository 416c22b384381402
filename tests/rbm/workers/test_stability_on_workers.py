"""Stability constants that workers compute: the same bits with any number of them, and what is done is kept."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp
from helpers.killed_workers import closed_at, killed_at, pool

import rbm
from problems import thermal_block
from rbm.affine.fingerprints import digest
from rbm.errors import Interrupted, WorkersLost
from rbm.stability import SCM, Anchored, MinTheta, NaturalNorm, check, inf_sup
from rbm.stability import constraint_choice as constraints
from rbm.stability import inf_sup_constants as constants

SPACE = rbm.ParameterSpace({"k": (3.0, 5.0), "z": (0.4, 1.0)})
TRAINING = SPACE.sample(80)


def blocks(stability: Any) -> rbm.FullOrderModel:
    """A coercive model with six terms."""
    base = thermal_block((3, 2), 6)
    terms = list(zip(base.parameters.names, base.operator_terms, strict=True))
    return rbm.FullOrderModel(terms, [(1.0, base.rhs_terms[:, 0])], base.product, base.parameters, stability)


def waves(stability: Any, *, dense: bool = False, m: int = 6) -> rbm.FullOrderModel:
    """Waves in a square with an impedance wall: A(mu) is complex, and neither Hermitian nor coercive."""
    h = 1 / m
    ends = np.concatenate([[1.0], 2 * np.ones(m - 1), [1.0]])
    k = sp.diags_array([-np.ones(m), ends, -np.ones(m)], offsets=[-1, 0, 1]) / h
    w = sp.diags_array([np.ones(m), 2 * ends, np.ones(m)], offsets=[-1, 0, 1]) * h / 6
    e = sp.diags_array(np.concatenate([[1.0], np.zeros(m)]))
    terms = [sp.csr_array(sp.kron(k, w) + sp.kron(w, k)), sp.csr_array(sp.kron(w, w)), sp.csr_array(sp.kron(e, w))]
    stiffness, mass, wall = (a.toarray() if dense else a for a in terms)
    return rbm.FullOrderModel(
        [(1.0, stiffness), ("-k**2", mass), ("-1j*k*z", wall)],
        [(1.0, np.ones((m + 1) ** 2))],
        stiffness + mass,
        SPACE,
        stability,
        projection="least-squares",
    )


def dense_waves(stability: Any) -> rbm.FullOrderModel:
    return waves(stability, dense=True)


CASES: dict[str, tuple[Callable[[Any], rbm.FullOrderModel], Callable[..., Any]]] = {
    "min-theta": (blocks, lambda **more: MinTheta(np.full(6, 0.5), **more)),
    "scm": (blocks, lambda **more: SCM(tol=0.3, **more)),
    "scm, three a step": (blocks, lambda **more: SCM(tol=0.3, batch=3, **more)),
    "natural norm": (waves, lambda **more: NaturalNorm(TRAINING, ratio=0.5, **more)),
    "anchored": (waves, lambda **more: Anchored(TRAINING, ratio=0.5, **more)),
    "anchored, three a step": (waves, lambda **more: Anchored(TRAINING, ratio=0.5, batch=3, **more)),
    "dense, three a step": (dense_waves, lambda **more: Anchored(TRAINING, ratio=0.5, batch=3, **more)),
}


def bits(model: rbm.FullOrderModel) -> str:
    return digest(model.stability.arrays())


@pytest.fixture(scope="module")
def pools() -> Iterator[dict[int, ProcessPoolExecutor]]:
    """Pools of one, two and three processes."""
    made = {workers: pool(workers) for workers in (1, 2, 3)}
    yield made
    for executor in made.values():
        executor.shutdown()


@pytest.mark.parametrize("name", CASES)
def test_the_number_of_workers_changes_no_bit(name: str, pools: dict[int, ProcessPoolExecutor]) -> None:
    make, bound = CASES[name]
    alone = make(bound())
    with ThreadPoolExecutor(3) as threads:
        for executor in (*pools.values(), threads):
            made = make(bound(executor=executor))
            assert bits(made) == bits(alone)
            assert made.fingerprint() == alone.fingerprint()


@pytest.mark.parametrize("name", ["scm, three a step", "natural norm", "anchored, three a step"])
def test_a_killed_worker_changes_no_bit(name: str) -> None:
    make, bound = CASES[name]
    with pool(2) as processes:
        killed = killed_at(processes, 4)
        made = make(bound(executor=processes))
    assert killed
    assert bits(made) == bits(make(bound()))


def test_work_goes_to_the_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ranges one by one, constants as many as a step has."""
    done: list[str] = []
    for name in ("_range", "_constant"):
        plain = getattr(constraints, name)
        monkeypatch.setattr(constraints, name, lambda *a, plain=plain, name=name: (done.append(name), plain(*a))[1])
    calls: list[int] = []

    class Counting(ThreadPoolExecutor):
        def submit(self, *arguments: Any, **options: Any) -> Any:
            calls.append(1)
            return super().submit(*arguments, **options)

    with Counting(2) as threads:
        made = blocks(SCM(tol=0.3, batch=3, executor=threads))
    assert len(calls) == len(done) == 6 + len(made.stability.constraints.levels)
    assert done.count("_range") == 6


@pytest.mark.parametrize("name", ["scm", "anchored"])
def test_several_a_step_keep_the_bound_true_and_take_hardly_more(name: str) -> None:
    make, bound = CASES[name]
    one, three = (make(bound(batch=k)) for k in (1, 3))
    counts = [len(m.stability.arrays()["levels" if name == "scm" else "constants"]) for m in (one, three)]
    assert counts[1] <= 1.25 * counts[0] + 1
    mus = three.parameters.sample(60, rng=3)
    theta = three.operator_coefficients(mus)
    assert np.all(three.stability(mus, theta) <= inf_sup(three, mus) * (1 + 1e-7))


def test_several_a_step_are_fewer_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    steps: list[int] = []
    plain = constraints.ConstraintChoice.extend

    def counted(self: Any, point: int) -> bool:
        steps.append(point)
        return plain(self, point)

    monkeypatch.setattr(constraints.ConstraintChoice, "extend", counted)
    blocks(SCM(tol=0.3))
    one, steps[:] = len(steps), []
    blocks(SCM(tol=0.3, batch=3))
    assert len(steps) < 0.6 * one


def test_the_limit_is_kept_by_a_batch() -> None:
    with pytest.warns(UserWarning, match="5 constraints are not enough"):
        made = blocks(SCM(tol=0.01, batch=3, max_constraints=5))
    assert len(made.stability.constraints.levels) == 5
    with pytest.raises(rbm.StabilityError, match="4 anchors are not enough"):
        waves(Anchored(ratio=0.8, batch=3, max_anchors=4))


@pytest.mark.parametrize("name", ["scm, three a step", "natural norm", "anchored, three a step"])
def test_what_was_done_is_kept_when_workers_are_lost(name: str, tmp_path: Path) -> None:
    make, bound = CASES[name]
    whole = make(bound())
    threads = ThreadPoolExecutor(2)
    closed_at(threads, 11)
    with pytest.raises(WorkersLost, match=r"shut down.*done: they are in the cache.*`solution`") as error:
        make(bound(executor=threads, cache=tmp_path))
    assert error.value.solution is not None
    assert bits(make(bound(cache=tmp_path))) == bits(whole)
    threads = ThreadPoolExecutor(2)
    closed_at(threads, 2)
    with pytest.raises(WorkersLost, match="with a cache= folder they are kept"):
        make(bound(executor=threads))


def test_a_run_in_batches_goes_on_after_ctrl_c(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the middle of a step, whose constants are all computed again."""
    whole, plain, calls = blocks(SCM(tol=0.3, batch=3)), constraints._constant, [0]

    def interrupted(*arguments: Any) -> Any:
        calls[0] += 1
        if calls[0] == 6:
            raise KeyboardInterrupt
        return plain(*arguments)

    monkeypatch.setattr(constraints, "_constant", interrupted)
    with pytest.raises(Interrupted, match="4 stability constraints done; they are in the cache"):
        blocks(SCM(tol=0.3, batch=3, cache=tmp_path))
    assert bits(blocks(SCM(tol=0.3, batch=3, cache=tmp_path))) == bits(whole)


def test_a_bound_and_its_model_travel_without_the_executor() -> None:
    with ThreadPoolExecutor(1) as threads:
        for make, bound in (CASES["scm"], CASES["min-theta"]):
            given = bound(executor=threads)
            model = make(given)
            for again in (pickle.loads(pickle.dumps(given)), copy.deepcopy(given)):
                assert again.executor is None
                assert type(again) is type(given)
            assert pickle.loads(pickle.dumps(model)).fingerprint() == model.fingerprint()
    assert MinTheta([1.0]) == MinTheta([1.0], executor=threads)
    assert blocks(SCM(tol=0.3, batch=3)).fingerprint() != blocks(SCM(tol=0.3)).fingerprint()


@pytest.mark.parametrize("bound", [SCM, Anchored, NaturalNorm, MinTheta])
def test_what_is_no_executor_is_refused(bound: type) -> None:
    given: dict[str, Any] = {"reference": np.full(6, 0.5)} if bound is MinTheta else {}
    with pytest.raises(rbm.ModelError, match="executor must be an object with a method map"):
        blocks(bound(executor=4, **given))


def test_errors_of_workers_name_the_parameter(pools: dict[int, ProcessPoolExecutor]) -> None:
    base = thermal_block((2, 1), 6)
    terms = [(1.0, base.operator_terms[0]), ("a", base.operator_terms[1])]
    space = rbm.ParameterSpace({"a": (-2.0, 1.0)})
    said = []
    for executor in (None, ThreadPoolExecutor(2), pools[1]):
        bound = SCM(batch=2, executor=executor)
        with pytest.raises(rbm.StabilityError, match=r"at a = -[0-9.]+: narrow the parameter ranges") as error:
            rbm.FullOrderModel(terms, [(1.0, base.rhs_terms[:, 0])], base.product, space, bound)
        said.append(str(error.value))
    assert len(set(said)) == 1


def test_inf_sup_constants_on_workers() -> None:
    model, mus = waves(0.1), SPACE.sample(9)
    alone = inf_sup(model, mus)
    for workers in (1, 2, 3):
        with ThreadPoolExecutor(workers) as threads:
            assert np.array_equal(inf_sup(model, mus, executor=threads), alone)
    with pool(2) as processes:
        killed = killed_at(processes, 3)
        assert np.array_equal(inf_sup(model, mus, executor=processes), alone)
        assert killed
    threads = ThreadPoolExecutor(1)
    closed_at(threads, 5)
    with pytest.raises(WorkersLost, match="shut down"):
        inf_sup(model, mus, executor=threads)


@pytest.mark.parametrize("executor", [None, ThreadPoolExecutor(1)])
def test_constants_that_are_done_outlive_ctrl_c(executor: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    model, mus, calls = waves(0.1), SPACE.sample(5), [0]
    alone, plain = inf_sup(model, mus), constants.smallest_singular

    def interrupted(*arguments: Any) -> Any:
        calls[0] += 1
        if calls[0] == 4:
            raise KeyboardInterrupt
        return plain(*arguments)

    monkeypatch.setattr(constants, "smallest_singular", interrupted)
    with pytest.raises(Interrupted, match=r"interrupted with [34] of 5 inf-sup constants done") as error:
        inf_sup(model, mus, executor=executor)
    done = np.isfinite(error.value.result)
    assert done[:3].all()
    assert np.array_equal(error.value.result[done], alone[done])


@pytest.mark.parametrize("size", [8, 26])
def test_a_model_is_verified_by_workers(size: int, pools: dict[int, ProcessPoolExecutor]) -> None:
    """Small: dense decompositions; 729 unknowns: a Krylov space from a random start of each point."""
    model = waves(1e-3, m=size)
    alone = repr(model.verify(samples=3))
    assert ("Lanczos" in alone) == (size == 26)
    with ThreadPoolExecutor(2) as threads:
        for executor in (threads, *pools.values()):
            assert repr(model.verify(samples=3, executor=executor)) == alone
    false = waves(5.0, m=size)
    with pytest.raises(rbm.StabilityError, match=r"at k = .* is above the true inf-sup constant"):
        false.verify(samples=3, executor=pools[1])
    threads = ThreadPoolExecutor(1)
    closed_at(threads, 2)
    with pytest.raises(WorkersLost) as error:
        model.verify(samples=3, executor=threads)
    assert "positive definite" in repr(error.value.solution)


def test_each_point_has_a_random_start_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    model, shares = waves(1e-3, m=26), dict[str, float]()
    plain = check._checked

    def kept(what: Any, theta: Any, beta: float, at: str, seed: int) -> tuple[str, float]:
        found = plain(what, theta, beta, at, seed)
        shares[at] = found[1]
        return found

    monkeypatch.setattr(check, "_checked", kept)
    model.verify(samples=4)
    alone = dict(shares)
    shares.clear()
    with ThreadPoolExecutor(3) as threads:
        model.verify(samples=4, executor=threads)
    assert shares == alone
    assert len(shares) == 4
