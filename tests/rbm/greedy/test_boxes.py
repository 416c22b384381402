"""Greedy runs that cut the box of parameters: tolerance, shared snapshots, going on, being interrupted."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import rbm
from problems import convection_diffusion
from rbm.files.partition_result import PartitionedResult
from rbm.greedy.cuts import cut_of, edge_lengths

TOL, MOST = 0.1, 12


def run(model: rbm.FullOrderModel, training: np.ndarray, **options: Any) -> PartitionedResult:
    made: Any = rbm.greedy(model, training, **{"tol": TOL, "max_basis": MOST, "split": True, **options})
    return made


@pytest.fixture(scope="module")
def model() -> rbm.FullOrderModel:
    return convection_diffusion(12)


@pytest.fixture(scope="module")
def training(model: rbm.FullOrderModel) -> np.ndarray:
    return model.parameters.sample(31 * 31, "grid")


@pytest.fixture(scope="module")
def result(model: rbm.FullOrderModel, training: np.ndarray) -> PartitionedResult:
    return run(model, training)


def same(a: PartitionedResult, b: PartitionedResult) -> bool:
    bases = [[leaf.basis for leaf in result.reduced_model.leaves] for result in (a, b)]
    alike = all(np.array_equal(np.asarray(one), np.asarray(other)) for one, other in zip(*bases, strict=True))
    return alike and np.array_equal(a.reduced_model.boxes, b.reduced_model.boxes)


def test_every_leaf_meets_the_tolerance_with_few_vectors(result: PartitionedResult, training: np.ndarray) -> None:
    reduced = result.reduced_model
    assert result.stopped == "tolerance"
    assert len(reduced.leaves) > 4
    assert max(leaf.size for leaf in reduced.leaves) <= MOST
    bounds = reduced.solve(training).bound
    assert bounds.max() <= TOL
    # the runs have seen points beyond the cuts, too
    assert bounds.max() <= max(r.history[-1].bound for r in result.runs) * (1 + 1e-12)
    assert result.history[-1].bound == max(r.history[-1].bound for r in result.runs)


def test_no_point_is_solved_twice_and_snapshots_are_shared(
    model: rbm.FullOrderModel, training: np.ndarray, monkeypatch: pytest.MonkeyPatch, result: PartitionedResult
) -> None:
    asked: list[np.ndarray] = []
    solve = model.solve

    def counted(mus: np.ndarray, **options: Any) -> np.ndarray:
        asked.extend(np.array(mus))
        return solve(mus, **options)

    monkeypatch.setattr(model, "solve", counted)
    made = run(model, training)
    assert len(asked) == made.solved == len(made.parameters) == len(np.unique(made.parameters, axis=0))
    taken = {mu.tobytes() for r in made.runs for mu in r.parameters}
    of_root = [mu.tobytes() in taken for mu in made.parameters[:MOST]]  # the run on the whole box was the first
    assert sum(of_root) >= 2 * MOST // 3
    assert same(made, result)
    exact = solve(made.parameters[:3])
    assert np.array_equal(made.snapshots[:, :3], exact.T)


def test_bounds_hold_between_training_points(model: rbm.FullOrderModel, result: PartitionedResult) -> None:
    mus = np.concatenate([model.parameters.sample(60, "random", rng=3), result.reduced_model.boxes[:, :, 0]])
    solution = result.reduced_model.solve(mus)
    exact = model.solve(mus)
    errors = model.inner_product.norm((exact - result.reduced_model.reconstruct(solution)).T)
    assert np.all(errors <= solution.bound)
    assert np.all(solution.bound <= 1.5 * TOL)  # corners of boxes, which are no training points, included
    for name, output in model.outputs.items():
        assert np.all(np.abs(output(mus, exact) - solution.outputs[name]) <= solution.output_bounds[name])


@pytest.mark.parametrize("how", ["batch", "workers", "workspace", "relative", "least-squares", "dual"])
def test_the_other_arguments_work(
    how: str, model: rbm.FullOrderModel, training: np.ndarray, result: PartitionedResult, tmp_path: Path
) -> None:
    table: dict[str, dict[str, Any]] = {
        "batch": {"batch": 3},
        "workspace": {"workspace": tmp_path / "tall"},
        "relative": {"relative": True, "tol": 0.2},
        "least-squares": {"projection": "least-squares", "max_basis": 14},
        "dual": {"dual": ("upper_left",)},
    }
    options = table.get(how, {})
    if how == "workers":
        with ThreadPoolExecutor(2) as executor:
            made = run(model, training, executor=executor)
    else:
        made = run(model, training, **options)
    assert made.stopped == "tolerance"
    tol = options.get("tol", TOL)
    solution = made.reduced_model.solve(training)
    bounds = solution.bound / (np.linalg.norm(solution.coefficients, axis=1) if how == "relative" else 1)
    assert bounds.max() <= tol * (1 + 1e-12)
    if how in ("workers", "workspace"):
        assert same(made, result)
    if how == "dual":
        plain = result.reduced_model.solve(training).output_bounds["upper_left"]
        assert np.median(solution.output_bounds["upper_left"] / plain) < 0.5


def test_a_saved_run_solves_nothing_again(
    model: rbm.FullOrderModel, training: np.ndarray, result: PartitionedResult, tmp_path: Path
) -> None:
    result.save(tmp_path / "run")
    for source in (result, tmp_path / "run"):
        again = run(model, training, resume=source)
        assert again.solved == 0
        assert same(again, result)
    finer = run(model, training, resume=result, tol=0.8 * TOL)
    assert 0 < finer.solved < len(finer.parameters)
    assert same(finer, run(model, training, tol=0.8 * TOL))
    assert finer.history[-1].bound <= 0.8 * TOL


def test_ctrl_c_leaves_a_model_for_all_points(
    model: rbm.FullOrderModel,
    training: np.ndarray,
    result: PartitionedResult,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    solve, left = model.solve, [40]

    def interrupted(mus: np.ndarray, **options: Any) -> np.ndarray:
        left[0] -= 1
        if left[0] < 0:
            raise KeyboardInterrupt
        return solve(mus, **options)

    monkeypatch.setattr(model, "solve", interrupted)
    with pytest.raises(rbm.Interrupted, match=r"40 snapshots and \d+ leaves") as caught:
        run(model, training, checkpoint=tmp_path / "run")
    monkeypatch.undo()
    so_far = caught.value.result
    assert so_far.stopped == "max_basis"
    assert so_far.solved == len(so_far.parameters) == 40
    assert np.all(np.isfinite(so_far.reduced_model.solve(training).bound))
    for source in (so_far, tmp_path / "run"):
        again = run(model, training, resume=source)
        assert again.solved == len(result.parameters) - 40
        assert same(again, result)


def test_ctrl_c_in_the_first_box_keeps_its_basis(
    model: rbm.FullOrderModel, training: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    solve, left = model.solve, [5]

    def interrupted(mus: np.ndarray, **options: Any) -> np.ndarray:
        left[0] -= 1
        if left[0] < 0:
            raise KeyboardInterrupt
        return solve(mus, **options)

    monkeypatch.setattr(model, "solve", interrupted)
    with pytest.raises(rbm.Interrupted) as caught:
        run(model, training)
    reduced = caught.value.result.reduced_model
    assert [leaf.size for leaf in reduced.leaves] == [5]
    assert np.all(reduced.solve(training).bound > 0)
    left[0] = 0
    with pytest.raises(KeyboardInterrupt, match="before the first basis"):
        run(model, training)


def test_too_few_training_points_are_not_cut_and_the_reason_says_so(model: rbm.FullOrderModel) -> None:
    made = run(model, model.parameters.sample(36, "grid"), max_basis=10, tol=1e-4)
    assert made.stopped == "max_basis"
    assert "too few training points" in made.reason
    assert all(len(r.parameters) <= 10 for r in made.runs)


def test_cuts_are_at_the_median_of_the_longest_edge(model: rbm.FullOrderModel, training: np.ndarray) -> None:
    reduced = rbm.greedy(model, training, max_basis=3).reduced_model
    ends = np.array([[-2.0, 2.0], [-1.0, 1.0]])
    lengths = edge_lengths(model, reduced, ends)
    norms = [np.linalg.norm(a, 2) for a in reduced.operators]
    assert lengths[0] / lengths[1] == pytest.approx(2 * norms[1] / norms[2], rel=1e-12)
    points = np.array([[x, 0.0] for x in (0.1, 0.2, 0.7, 0.8, 0.9, 1.0)])
    cut = cut_of(model, reduced, ends, points, 1)
    assert cut is not None
    assert cut.axis == 0
    assert cut.value == pytest.approx(0.75, rel=1e-15, abs=0)
    assert cut_of(model, reduced, ends, points, 4) is None  # of six points three are on each side
    assert cut_of(model, reduced, ends, points[:, ::-1], 1).axis == 1  # type: ignore[union-attr]
    assert cut_of(model, reduced, ends, points[[0, 0, 0, 0]], 1) is None


def test_a_logarithmic_range_is_cut_where_its_points_are() -> None:
    line, n = np.diff(np.eye(31), axis=0), 31
    halves = [line.T @ np.diag(w) @ line for w in (np.arange(30) < 15, np.arange(30) >= 15)]
    model = rbm.FullOrderModel(
        operators=[("a", halves[0]), ("b", halves[1]), (1.0, np.eye(n) / n)],
        rhs=[(1.0, np.linspace(0, 1, n) / n)],
        product=halves[0] + halves[1] + np.eye(n) / n,
        parameters=rbm.ParameterSpace({"a": (0.01, 100.0), "b": (0.01, 100.0)}, scale="log"),
        stability=rbm.stability.MinTheta(reference=[1.0, 1.0]),
    )
    training = model.parameters.sample(256)
    made = run(model, training, tol=3e-3, max_basis=3)
    reduced = made.reduced_model
    assert 0.5 < reduced.tree.cut[0] < 2  # the ranges are [0.01, 100]
    largest = max(r.history[-1].bound for r in made.runs)
    assert f"bounds up to {largest:.2e}" in made.reason  # 64 leaves of three vectors are too few, and it says so
    assert 3e-3 < reduced.solve(training).bound.max() <= largest * (1 + 1e-12)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_basis": None}, r"split=True cuts .* give max_basis"),
        ({"tol": 0.0}, "give tol"),
        ({"split": "yes"}, "split must be True or False, got 'yes'"),
        ({"max_basis": 0}, "max_basis must be at least 1"),
    ],
)
def test_arguments_that_are_lacking(
    options: dict[str, Any], message: str, model: rbm.FullOrderModel, training: np.ndarray
) -> None:
    with pytest.raises(rbm.ParameterError, match=message):
        run(model, training, **options)


def test_runs_of_the_other_kind_are_refused(
    model: rbm.FullOrderModel, training: np.ndarray, result: PartitionedResult, tmp_path: Path
) -> None:
    one = rbm.greedy(model, training, max_basis=3)
    with pytest.raises(rbm.ModelError, match="has kept no snapshots"):
        run(model, training, resume=one)
    with pytest.raises(rbm.ModelError, match="go on from it with split=True"):
        rbm.greedy(model, training, max_basis=3, resume=result)
    one.save(tmp_path / "one")
    result.save(tmp_path / "cut")
    with pytest.raises(rbm.FileFormatError, match="holds a greedy run, not a partitioned greedy run"):
        run(model, training, resume=tmp_path / "one")
    with pytest.raises(rbm.FileFormatError, match="holds a partitioned greedy run, not a greedy run"):
        rbm.greedy(model, training, max_basis=3, resume=tmp_path / "cut")
    with pytest.raises(rbm.ModelError, match="made with another full-order model"):
        run(convection_diffusion(10), training, resume=result)


def test_estimators_that_are_checked_on_the_whole_space_are_refused(model: rbm.FullOrderModel) -> None:
    for kind in ("sampled", "interpolated"):
        with pytest.raises(rbm.errors.ModelError, match="checked on the whole parameter space"):
            run(model, model.parameters.sample(50), estimators=("orthonormal", kind))
