"""E3 and E4 on training sets that are few, repeated or in a part of the parameter space.

They are right, or refused with a remedy that works.
"""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp

import rbm
from benchmarks import truth
from benchmarks.random_models.training import TRAINING
from benchmarks.truth_estimators import Tally, sweep
from rbm.estimators import Interpolated, Sampled
from rbm.estimators.interpolated_square import InterpolatedSquare
from rbm.estimators.validation import COUNT, answered, distinct, validation_points

METHODS = {"E3": Sampled, "E4": Interpolated}


def chain(
    n: int, ranges: dict[str, tuple[float, float]], terms: list[tuple[object, float]], scale: str = "linear"
) -> rbm.FullOrderModel:
    """A chain of springs; each further term holds the nodes from a fraction of its length on."""
    one = np.ones(n)
    springs = sp.diags_array([-one[1:], 2 * one, -one[1:]], offsets=[-1, 0, 1]).tocsr() * (n + 1.0)
    operators: list[tuple[object, object]] = [(1.0, springs)]
    for coefficient, start in terms:
        operators.append((coefficient, sp.diags_array((np.arange(n) >= start * n) / (n + 1.0)).tocsr()))
    space = rbm.ParameterSpace(ranges, scale=scale)  # type: ignore[arg-type]
    return rbm.FullOrderModel(operators, [(1.0, one / (n + 1))], springs, space, 1.0)  # type: ignore[arg-type]


def one_parameter() -> rbm.FullOrderModel:
    return chain(40, {"k": (2.0, 700.0)}, [("k", 0.4)])


def two_parameters() -> rbm.FullOrderModel:
    return chain(30, {"a": (0.5, 60.0), "b": (1.0, 200.0)}, [("a", 0.0), ("b", 0.5)])


def basis_of(model: rbm.FullOrderModel, size: int) -> np.ndarray:
    return np.asarray(rbm.project(model, model.solve(model.parameters.sample(size, "sobol", rng=5)).T).basis)


def faults(model: rbm.FullOrderModel, reduced: rbm.ReducedModel, mus: np.ndarray | None = None) -> tuple[int, int, int]:
    """Counts resolved estimates, wrong ones of these, and bounds below.

    By default at 400 points that no training set here has.
    """
    mus = model.parameters.sample(400, "random", rng=77) if mus is None else mus
    solution = reduced.solve(mus, method=reduced.method)
    assert solution.estimate is not None
    e, exact = solution.estimate, model.residual_norm(mus, solution.coefficients, np.asarray(reduced.basis))
    off = np.abs(e.value - exact) > e.floor + 1e-15 * exact
    return int(e.resolved.sum()), int((e.resolved & off).sum()), int((e.bound < exact * (1 - 1e-15)).sum())


# ---- the points that are looked at


@pytest.mark.parametrize("scale", ["linear", "log"])
def test_validation_points_fill_the_box_to_its_corners_and_copy_nothing(scale: str) -> None:
    space = rbm.ParameterSpace({"a": (0.01, 100.0), "b": (3.0, 3.0), "c": (1.0, 2.0)}, scale=scale)  # type: ignore[arg-type]
    selected = np.concatenate([space.sample(30), space.bounds.T])  # two corners are known already
    points = validation_points(space, selected)
    assert np.array_equal(space.validate(points), points)
    assert len(points) >= COUNT
    assert len(np.unique(points, axis=0)) == len(points)
    assert not {p.tobytes() for p in points} & {s.tobytes() for s in selected}
    for a, c in ((0.01, 2.0), (100.0, 1.0)):
        assert np.any(np.all(points == [a, 3.0, c], axis=1))
    for j in (0, 2):  # sides, and points near them that are not on them
        low, high = space.bounds[j]
        for end in (low, high):
            near = np.abs(points[:, j] - end)
            assert np.sum(near == 0) > 20
            assert np.sum((near > 0) & (near < 1e-3 * (high - low))) > 5
    half = np.mean(points[:, 0] < 1.0)
    assert half > 0.35 if scale == "log" else half < 0.35
    assert np.array_equal(points, validation_points(space, selected))
    assert len(validation_points(space, np.tile(selected, (20, 1)))) > len(points)  # more where more was selected


def test_validation_points_of_many_parameters_and_of_none_that_varies() -> None:
    many = rbm.ParameterSpace({f"p{j}": (-1.0, 1.0 + j) for j in range(30)})
    points = validation_points(many, many.sample(10))
    assert points.shape[1] == 30
    assert len(points) < 4 * COUNT
    fixed = rbm.ParameterSpace({"a": (2.0, 2.0), "b": (0.0, 0.0)})
    assert validation_points(fixed, np.array([[2.0, -0.0]])).shape == (0, 2)
    huge = rbm.ParameterSpace({"a": (-1e308, 1e308)})
    assert np.all(np.isfinite(validation_points(huge, np.array([[1e308], [-1e308]]))))


def test_rows_that_are_the_same_count_once_and_keep_their_order() -> None:
    rows = np.array([[3.0, 0.0], [1.0, 2.0], [3.0, -0.0], [1.0, 2.0], [0.5, 9.0]])
    assert distinct(rows, 10).tolist() == [[3.0, 0.0], [1.0, 2.0], [0.5, 9.0]]
    many = np.random.default_rng(0).random((500, 2))
    fewer = distinct(np.concatenate([many, many]), 100)
    assert len(fewer) == 100 == len(np.unique(fewer, axis=0))
    assert np.array_equal(distinct(many, 500), many)


# ---- training sets that do not represent the space


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("copies", [1, 60])
@pytest.mark.parametrize("make", [one_parameter, two_parameters])
def test_few_parameters_are_refused_however_often_they_are_given_and_the_number_named_is_enough(
    make: object, copies: int, method: str
) -> None:
    model = make()  # type: ignore[operator]
    basis = basis_of(model, 3)
    training = np.tile(model.parameters.sample(5, "random", rng=3), (copies, 1))
    with pytest.raises(rbm.EstimatorUnusable) as refusal:
        rbm.project(model, basis, (method,), training)
    message = str(refusal.value)
    assert f"{method} with N = 3: 5 of 5 training parameters were selected" in message
    assert f"this training set has 5 in {5 * copies} rows" in message
    found = re.search(r"at least (\d+) different parameters", message)
    assert found is not None
    enough = model.parameters.sample(int(found[1]))
    resolved, wrong, below = faults(model, rbm.project(model, basis, (method,), enough))
    assert (wrong, below) == (0, 0)
    assert resolved > 100


@pytest.mark.parametrize("method", METHODS)
def test_a_cluster_is_refused_or_its_floor_says_what_it_misses(method: str) -> None:
    model = two_parameters()
    basis = basis_of(model, 2)
    low, high = model.parameters.bounds.T
    rng = np.random.default_rng(1)
    seen: set[str] = set()
    for width in (1e-9, 1e-3, 0.03, 0.3, 0.7, 1.0):
        for corner in (low, high):
            training = corner + (low + high - 2 * corner) * width * rng.random((150, 2))
            try:
                reduced = rbm.project(model, basis, (method,), np.clip(training, low, high))
            except rbm.EstimatorUnusable as refusal:
                seen.add("refused" if re.search("not represent|too few|cannot be told", str(refusal)) else str(refusal))
                continue
            resolved, wrong, below = faults(model, reduced)
            assert (wrong, below) == (0, 0), width
            seen.add("resolved" if resolved > 200 else "not resolved")
    assert {"refused", "resolved"} <= seen <= {"refused", "resolved", "not resolved"}


@pytest.mark.parametrize(("make", "size"), [(one_parameter, 3), (two_parameters, 3)])
def test_floors_hold_where_the_residual_is_small(make: object, size: int) -> None:
    """Near snapshots the norm is off by orders more than elsewhere.

    Its square is off by as much as elsewhere; and few points look there.
    """
    model = make()  # type: ignore[operator]
    low, high = model.parameters.bounds.T
    at, rng = model.parameters.sample(size, "sobol", rng=5), np.random.default_rng(0)
    basis, seen = basis_of(model, size), 0
    away = rng.choice([-1, 1], (60 * size, 1)) * 10 ** rng.uniform(-7, -1, (60 * size, 1))
    mus = np.clip(np.repeat(at, 60, axis=0) * (1 + away), low, high)
    for width in (0.2, 0.5, 0.7):
        for corner in (low, high):
            training = np.clip(corner + (low + high - 2 * corner) * width * rng.random((150, len(low))), low, high)
            reduced = rbm.project(model, basis, ("E_onb", "E4"), training)
            if "interpolated" in reduced.refused:
                continue
            resolved, wrong, below = faults(
                model, replace(reduced, estimators={"interpolated": reduced.estimators["interpolated"]}), mus
            )
            assert (wrong, below) == (0, 0)
            seen += resolved
    assert seen > 100


@pytest.mark.parametrize("kind", TRAINING)
def test_what_is_resolved_is_right_for_random_models(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from benchmarks import truth_estimators

    monkeypatch.setattr(truth_estimators, "TRAINING", {kind: TRAINING[kind]})
    tallies: dict[str, Tally] = {}
    for index in range(8):
        sweep(tallies, index)
    for key, t in tallies.items():
        assert (t.wrong, t.below) == (0, 0), (key, t.examples)
    if kind == "filling":
        assert tallies["filling/E4"].refused == 0
        assert tallies["filling/E4"].resolved > 0.9 * tallies["filling/E4"].evaluations


def test_a_greedy_driven_by_e4_stops_with_the_reason_where_its_training_set_ends() -> None:
    model = one_parameter()
    few = np.tile([[5.0], [60.0], [500.0]], (40, 1))
    short = rbm.greedy(model, few, estimators=("E4",), progress=False)  # three are enough for N = 1
    assert re.search("E4 with N = 2: 3 of 3 .* too few.*the last usable basis is kept", short.reason)
    assert faults(model, short.reduced_model) == (400, 0, 0)
    more = np.tile(np.geomspace(2, 700, 16)[:, None], (20, 1))
    result = rbm.greedy(model, more, estimators=("E4",), progress=False)
    assert result.stopped == "round-off"
    assert re.search("E4 with N = .*16 different parameters.*the last usable basis is kept", result.reason)
    resolved, wrong, below = faults(model, result.reduced_model)
    assert (wrong, below) == (0, 0)
    assert resolved > 300


# ---- what must go on working


@pytest.mark.parametrize("method", METHODS)
def test_a_space_of_one_point_needs_one_training_parameter(method: str) -> None:
    model = chain(20, {"k": (7.0, 7.0), "c": (2.0, 2.0)}, [("k", 0.2), ("c", 0.6)])
    basis = np.linalg.qr(np.random.default_rng(0).standard_normal((20, 2)))[0]
    reduced = rbm.project(model, basis, (method,), np.tile([[7.0, 2.0]], (9, 1)))
    solution = reduced.solve([7.0, 2.0])
    exact = model.residual_norm([7.0, 2.0], solution.coefficients, np.asarray(reduced.basis))
    assert solution.estimate is not None
    assert solution.estimate.resolved.all()
    np.testing.assert_allclose(solution.estimate.value, exact, rtol=1e-6)


@pytest.mark.parametrize("method", METHODS)
def test_a_parameter_that_is_fixed_and_a_line_that_is_the_space(method: str) -> None:
    model = chain(30, {"a": (1.0, 50.0), "b": (4.0, 4.0)}, [("a", 0.0), ("b", 0.5)])
    training = np.column_stack([np.linspace(1, 50, 60), np.full(60, 4.0)])
    resolved, wrong, below = faults(model, rbm.project(model, basis_of(model, 2), (method,), training))
    assert (wrong, below) == (0, 0)
    assert resolved > 350


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("fails", ["infinite", "raises"])
def test_points_without_an_answer_are_not_looked_at(method: str, fails: str) -> None:
    def coefficient(mus: np.ndarray) -> np.ndarray:
        if np.any(mus == 0):
            raise ValueError("not at zero")
        return 1 / mus[:, 0]

    model = chain(30, {"h": (0.0, 1.0)}, [("1/h" if fails == "infinite" else coefficient, 0.3)])
    training = np.geomspace(0.01, 1, 80)[:, None]
    basis = model.solve([[0.02], [0.2], [0.9]]).T
    reduced = rbm.project(model, basis, (method,), training)
    _, wrong, below = faults(model, reduced)
    assert (wrong, below) == (0, 0)
    kept = answered(lambda mus: np.asarray(model.operator_coefficients(mus)), np.array([[0.0], [0.5], [0.0]]))
    assert kept.tolist() == [[0.5]]
    assert not len(answered(lambda mus: np.asarray(model.operator_coefficients(mus)), np.zeros((3, 1))))


def test_a_training_set_larger_than_what_is_used_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    from rbm.estimators import training

    monkeypatch.setattr(training, "LARGEST", 1)  # 1024 training parameters at most
    model = one_parameter()
    for method in METHODS:
        reduced = rbm.project(model, basis_of(model, 3), (method,), model.parameters.sample(5000))
        resolved, wrong, below = faults(model, reduced)
        assert (wrong, below) == (0, 0)
        assert resolved > 300


# ---- the state


def widened() -> rbm.ReducedModel:
    """A model with an E4 whose floor holds a measured deviation."""
    model = two_parameters()
    low, high = model.parameters.bounds.T
    training = low + (high - low) * 0.6 * np.random.default_rng(2).random((200, 2))
    return rbm.project(model, basis_of(model, 2), ("E4",), training)


def test_compiled_code_and_files_know_what_was_measured(tmp_path: Path) -> None:
    reduced = widened()
    mus = reduced.parameters.sample(60)
    gamma = reduced.solve(mus, estimate=False).coefficients
    state = reduced.estimators["interpolated"]
    assert isinstance(state, InterpolatedSquare)
    assert state.mismatch > 0
    e = state.evaluate(reduced.operator_coefficients(mus), reduced.rhs_coefficients(mus), gamma)
    compiled = reduced.solve(mus).estimate
    assert compiled is not None
    np.testing.assert_allclose(compiled.floor, e.floor, rtol=1e-6)
    blind = replace(state, mismatch=0.0).evaluate(
        reduced.operator_coefficients(mus), reduced.rhs_coefficients(mus), gamma
    )
    assert np.all(e.floor > blind.floor)
    reduced.save(tmp_path / "model.rbm")
    loaded = rbm.load(tmp_path / "model.rbm").estimators["interpolated"]
    assert isinstance(loaded, InterpolatedSquare)
    assert loaded.mismatch == state.mismatch


def test_states_of_files_without_the_measurement_still_load() -> None:
    model = one_parameter()
    for kind in METHODS.values():
        arrays = kind.prepare(rbm.Reduction(model, basis_of(model, 2)), model.parameters.sample(100)).arrays()
        del arrays["mismatch"]
        old = kind.from_arrays({**arrays, "deviation": np.asarray(1e-3)})
        assert (old.mismatch, old.deviation) == (0.0, 1e-3)


@pytest.mark.parametrize("method", METHODS)
def test_single_precision_is_measured_where_its_terms_are_large(method: str) -> None:
    """theta spans five decades on a linear scale, and so does what rounding gamma does to the residual."""
    model = chain(30, {"a": (0.01, 1000.0), "b": (0.01, 100.0)}, [("a", 0.1), ("b", 0.6)])
    reduced = rbm.project(model, basis_of(model, 2), (method,), model.parameters.sample(300)).astype("float32")
    _, wrong, below = faults(model, reduced)
    assert (wrong, below) == (0, 0)


# ---- the figures


def test_the_table_of_estimators_goes_on_where_it_stopped(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from benchmarks import truth_estimators

    monkeypatch.setattr(truth_estimators, "PIECE", 1)
    monkeypatch.setattr(truth_estimators, "TRAINING", {"filling": TRAINING["filling"]})
    results = tmp_path / "estimators.json"
    arguments = ["estimators", "--results", str(results), "--evaluations"]
    assert truth.main([*arguments, "100"]) == 0
    first = capsys.readouterr().out
    assert "wrong among resolved: 0 of" in first
    assert truth.main([*arguments, "100"]) == 0
    assert capsys.readouterr().out.splitlines()[1:] == first.splitlines()[1:]
    before = results.read_text()
    assert truth.main([*arguments, "300"]) == 0
    assert results.read_text() != before
    bad = Tally()
    bad.add(
        rbm.Estimate.from_norm(np.array([1.0, 1.0, 1.0]), np.array([0.01, 0.01, 0.5])),
        np.array([1.001, 1.2, 1.6]),
        "a model",
    )
    assert (bad.evaluations, bad.resolved, bad.wrong, bad.below) == (3, 2, 1, 2)


@pytest.mark.parametrize("method", ["sampled", "interpolated", "orthonormal"])
def test_outside_the_box_e3_and_e4_resolve_nothing(method: str) -> None:
    """A coefficient that is zero in the box, and so at every point that they have seen."""
    n = 30
    stiff = np.diag(np.linspace(1.0, 2.0, n))
    model = rbm.FullOrderModel(
        [("mu + 0.1", stiff), (lambda mus: 30 * np.maximum(0, mus[:, 0] - 1.2), np.diag(np.linspace(3.0, 1.0, n)))],
        [(1.0, np.ones(n)), ("mu", np.linspace(0, 1, n))],
        stiff,
        {"mu": (0.0, 1.0)},
        0.1,
    )
    training = model.parameters.sample(300)
    basis = rbm.greedy(model, training, max_basis=1, progress=False).basis
    reduced = rbm.project(model, basis, (method,), training)
    inside, outside = np.linspace(0.05, 0.95, 20)[:, None], np.linspace(1.3, 3, 20)[:, None]
    for mus in (outside, np.concatenate([inside, outside])):
        found = reduced.solve(mus, extrapolate=True)
        again = reduced.estimate(mus, found.coefficients, extrapolate=True)
        for e in (found.estimate, again):
            assert e.resolved[-20:].any() == (method == "orthonormal")
    assert found.estimate.resolved[:20].all()


# ---- what no set of points meets by chance


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(("width", "height"), [(1e-3, 1.0), (3e-4, 0.01), (3e-4, 100.0), (3e-4, -0.5)])
def test_a_narrow_feature_of_a_coefficient_is_seen(method: str, width: float, height: float) -> None:
    def hat(mus: np.ndarray) -> np.ndarray:
        return np.asarray(1 + mus[:, 0] + height * np.maximum(0, 1 - np.abs(mus[:, 0] - 0.777) / (width / 2)))

    model = chain(30, {"x": (0.0, 1.0)}, [("1 + x", 0.0), (hat, 0.4)])
    basis = basis_of(model, 3)
    try:
        reduced = rbm.project(model, basis, (method,), model.parameters.sample(300))
    except rbm.EstimatorUnusable as refusal:
        assert "does not represent the parameter space" in str(refusal)  # noqa: PT017 - either is right
        return
    rng = np.random.default_rng(1)
    mus = np.concatenate([model.parameters.sample(300, "random", rng=8), 0.777 + width * rng.uniform(-1, 1, (300, 1))])
    assert faults(model, reduced, mus)[1:] == (0, 0)


@pytest.mark.parametrize(("p", "half"), [(2, 0.02), (3, 0.05), (4, 0.075)])
def test_a_narrow_feature_of_several_parameters_is_seen(p: int, half: float) -> None:
    centre = np.random.default_rng(1).uniform(0.2, 0.8, p)

    def hat(mus: np.ndarray) -> np.ndarray:
        return np.asarray(1 + mus[:, 0] + 0.3 * np.maximum(0, 1 - np.max(np.abs(mus - centre), axis=1) / half))

    terms: list[tuple[object, float]] = [(f"1 + x{j}", j / 10) for j in range(p)]
    model = chain(30, {f"x{j}": (0.0, 1.0) for j in range(p)}, [*terms, (hat, 0.6)])
    mus = centre + half * np.random.default_rng(2).uniform(-1, 1, (300, p))
    try:
        reduced = rbm.project(model, basis_of(model, 2), ("E4",), model.parameters.sample(600))
    except rbm.EstimatorUnusable:
        return
    assert faults(model, reduced, mus)[1:] == (0, 0)


@pytest.mark.parametrize("projection", ["galerkin", "least-squares"])
def test_near_snapshots_the_deviation_of_the_square_shows(projection: Any) -> None:
    """Interpolation of c that carries rounding is off by parts of 1e-28 in the square.

    This is seen only where the residual nearly vanishes.
    """
    model = chain(30, {"x": (0.0, 1.0)}, [("1 + x", 0.4)])
    snapshots = model.parameters.sample(3, "sobol", rng=5)
    reduced = rbm.project(model, model.solve(snapshots).T, ("E4",), model.parameters.sample(300), projection=projection)
    state = reduced.estimators["interpolated"]
    assert isinstance(state, InterpolatedSquare)
    steps = np.geomspace(1e-9, 1e-3, 400) * np.tile([-1, 1], 200)
    resolved, wrong, below = faults(model, reduced, np.clip(snapshots + steps, 0, 1).reshape(-1, 1))
    assert (wrong, below) == (0, 0)
    assert resolved > 100 or projection == "least-squares"  # its floor is larger there
    assert faults(model, reduced)[0] > 350  # and little is lost elsewhere


@pytest.mark.parametrize(("p", "seed"), [(1, 6), (2, 5), (2, 6), (2, 7)])
def test_the_way_downhill_finds_what_filling_points_miss(p: int, seed: int) -> None:
    """Without it 8 to 56 resolved estimates near snapshots are wrong; in the last case 10 bounds are below."""
    names = "xyz"[:p]
    terms: list[tuple[object, float]] = [(f"1 + {name}", 0.4 if p == 1 else j / 2) for j, name in enumerate(names)]
    model = chain(30, dict.fromkeys(names, (0.0, 1.0)), terms)
    snapshots = model.parameters.sample(3, "sobol", rng=seed)
    training = model.parameters.sample(300 + 200 * p)
    reduced = rbm.project(model, model.solve(snapshots).T, ("E4",), training)
    directions = np.random.default_rng(1).standard_normal((600, p))
    directions /= np.linalg.norm(directions, axis=1)[:, None]
    mus = np.repeat(snapshots, 200, axis=0) + directions * np.geomspace(1e-9, 1e-2, 600)[:, None]
    resolved, wrong, below = faults(model, reduced, np.clip(mus, 0, 1))
    assert (wrong, below) == (0, 0)
    assert resolved > 0
