"""Parameters fitted to measurements: optima, intervals that hold the truth, directions that stay open, bad input."""

from __future__ import annotations

import sys
import time
import tracemalloc
from functools import cache
from typing import Any

import numpy as np
import pytest
import scipy.optimize
import scipy.sparse as sp

import rbm
from rbm.uses.measurements import read_measurements
from rbm.uses.sensitivity import differences, sensitivity_of

SIDE = 15
SENSORS = np.random.default_rng(5).choice(SIDE**2, 40, replace=False)
TRUE = np.array([0.3, 0.9, 0.15, 0.5, 0.25, 0.7, 0.8, 0.4, 0.2])
NOISE = 2e-3


def block(side: int = SIDE) -> list[sp.csr_array]:
    """The nine terms of a plate of 3 x 3 blocks with zero values around it: differences on a grid of side^2 points."""

    def edges(m: int) -> sp.csr_array:
        return sp.csr_array(sp.eye_array(m + 1, m) - sp.eye_array(m + 1, m, k=-1))

    d, one = edges(side), sp.eye_array(side)
    across, along = sp.kron(one, d), sp.kron(d, one)
    third = np.minimum(np.arange(side) * 3 // side, 2)
    between = np.minimum(np.arange(side + 1) * 3 // (side + 1), 2)
    owner = [np.add.outer(3 * third, between).ravel(), np.add.outer(3 * between, third).ravel()]
    made = []
    for i in range(9):
        parts = (a.T @ sp.diags_array((o == i) * 1.0) @ a for a, o in zip((across, along), owner, strict=True))
        made.append(sp.csr_array(sum(parts)))
    return made


@cache
def plate(scale: Any = "linear", size: int = 46) -> tuple[rbm.FullOrderModel, rbm.ReducedModel]:
    terms, n = block(), SIDE**2
    parameters = rbm.ParameterSpace({f"k{i + 1}": (0.1, 1.0) for i in range(9)}, scale)
    outputs = {f"s{j}": np.eye(1, n, k).ravel() for j, k in enumerate(SENSORS[:3])}
    model = rbm.FullOrderModel(
        [(f"k{i + 1}", a) for i, a in enumerate(terms)], [(1.0, np.ones(n) / SIDE**2)], sum(terms), parameters,
        rbm.stability.MinTheta([1.0] * 9), outputs=outputs,
    )  # fmt: skip
    return model, rbm.greedy(model, parameters.sample(60), max_basis=size, progress=False).reduced_model


def measured(seed: int = 0, noise: float = NOISE, mu: np.ndarray = TRUE) -> np.ndarray:
    u = plate()[0].solve(mu)[0]
    return u[SENSORS] + noise * np.random.default_rng(seed).standard_normal(40)


def test_nine_parameters_from_forty_noisy_points_in_seconds() -> None:
    """The optimum of SciPy's own search of the same misfit, the truth within the spreads, the interval holds."""
    model, reduced = plate()
    data = measured()
    began = time.process_time()
    found = rbm.calibrate(reduced, data, sensors=SENSORS, noise=NOISE, starts=1)
    assert time.process_time() - began < 10
    image = reduced.basis[SENSORS]

    def misfit(mu: np.ndarray) -> float:
        if np.any((mu < 0.1) | (mu > 1.0)):
            return np.inf
        return float(np.sqrt(np.mean(((data - image @ reduced.solve(mu, False).coefficients[0]) / NOISE) ** 2)))

    options = {"xatol": 1e-6, "fatol": 1e-9, "maxiter": 20_000, "maxfev": 20_000, "adaptive": True}
    other = scipy.optimize.minimize(misfit, TRUE, method="Nelder-Mead", options=options)
    assert found.misfit <= other.fun * (1 + 1e-6)
    np.testing.assert_allclose(found.mu, other.x, atol=1e-3)
    assert 0.4 < found.misfit < misfit(TRUE) < 1.2
    assert np.all(np.abs(found.mu - TRUE) <= 4 * found.spread)
    assert found.stopped == "converged"
    assert found.parameters["k1"] == found.mu[0]
    truth = np.sqrt(np.mean(((data - model.solve(found.mu)[0][SENSORS]) / NOISE) ** 2))
    assert found.interval[0] <= truth <= found.interval[1]
    np.testing.assert_allclose(found.misfit, np.sqrt(np.mean(found.residuals**2)), rtol=1e-12)


@pytest.mark.parametrize("size", [2, 6, 15])
@pytest.mark.parametrize("kind", ["outputs", "points", "matrix"])
def test_the_interval_holds_the_misfit_of_the_full_model(size: int, kind: str) -> None:
    model, reduced = plate()
    small = reduced.truncate(size)
    rng = np.random.default_rng(size)
    for _ in range(3):
        mu = rng.uniform(0.1, 1.0, 9)
        data = measured(7, 0.01, mu)
        u = model.solve(TRUE)[0]
        starts = {"starts": TRUE[None], "max_evaluations": 1, "noise": 0.02}
        if kind == "outputs":
            found = rbm.calibrate(small, {f"s{j}": data[j] for j in range(3)}, **starts)
            values, truth = data[:3], u[SENSORS[:3]]
        elif kind == "points":
            found = rbm.calibrate(small, data, sensors=SENSORS, **starts)
            values, truth = data, u[SENSORS]
        else:
            matrix = rng.standard_normal((4, SIDE**2)) / SIDE
            values, truth = matrix @ model.solve(mu)[0], matrix @ u
            found = rbm.calibrate(small, values, sensors=matrix, **starts)
        np.testing.assert_allclose(found.mu, TRUE, rtol=1e-14)
        exact = np.sqrt(np.mean(((values - truth) / 0.02) ** 2))
        assert found.misfit - found.error <= exact <= found.misfit + found.error


def test_the_search_stops_where_the_bound_decides_nothing_more() -> None:
    small = plate()[1].truncate(12)
    exact = small.basis[SENSORS] @ small.solve(TRUE).coefficients[0]
    found = rbm.calibrate(small, exact, sensors=SENSORS, noise=NOISE, starts=1)
    assert found.stopped == "certified"
    assert found.misfit <= found.error
    assert found.interval[0] == 0.0
    goal = rbm.calibrate(line(), {"s": 0.4, "t": 0.9}, noise=1e-3, target=50.0)
    assert goal.stopped == "target"
    assert goal.error < goal.misfit <= 50.0
    few = rbm.calibrate(line(), {"s": 0.4, "t": 0.9}, noise=1e-3, max_evaluations=250)
    assert few.stopped == "evaluations"
    assert few.evaluations == 250


@cache
def line(scale: Any = "linear") -> rbm.ReducedModel:
    """s = 1 / (a + b + 1e-9 c): a + b is known, a - b and c are not."""
    parameters = rbm.ParameterSpace({"a": (0.5, 2.0), "b": (0.5, 2.0), "c": (0.5, 2.0)}, scale)
    one = np.eye(2)
    model = rbm.FullOrderModel(
        [("a", one), ("b", one), ("1e-9 * c", one)], [(1.0, [1.0, 2.0])], one, parameters, "a + b",
        outputs={"s": [1.0, 0.0], "t": [0.0, 1.0], "z": [1j, 1.0]},
    )  # fmt: skip
    return rbm.greedy(model, parameters.sample(8), max_basis=1, progress=False).reduced_model


@pytest.mark.parametrize("scale", ["linear", "log"])
def test_directions_that_the_data_leave_open_are_named(scale: str) -> None:
    reduced = line(scale)
    found = rbm.calibrate(reduced, {"s": 1 / 2.5, "t": 2 / 2.5}, noise=1e-4, target=0.0, starts=1)
    assert abs(found.mu[0] + found.mu[1] - 2.5) < 1e-2
    assert len(found.undetermined) == 2
    of_c, of_both = sorted((text.split(":")[0] for text in found.undetermined), key=len)
    assert of_c == "c"
    assert " - " in of_both
    assert all(name in of_both for name in (" a", " b", "in units of the"))
    assert ("logarithms" in of_both) is (scale == "log")
    assert found.singular_values[0] > 1e3 > 1e-4 > found.singular_values[2]
    # a and b alone: as open as their difference; c: as good as not measured
    assert found.spread[2] > 1e6
    if scale == "linear":
        np.testing.assert_allclose(np.abs(found.directions[:2, 0]), 0.5**0.5, rtol=1e-3)
        slope = 1.5 * (0.5**0.5 * 2) * np.hypot(1, 2) / 2.5**2 / 1e-4
        np.testing.assert_allclose(found.singular_values[0], slope, rtol=1e-2)
    assert "not determined: " in repr(found)
    without = rbm.calibrate(reduced, {"s": [1 / 2.5], "t": [2 / 2.4]}, starts=1)
    assert len(without.undetermined) == 2


def test_a_parameter_that_is_known_is_not_open_with_one_that_is_not() -> None:
    """One output of a alone, in a model of a and q: q does not enter at all."""
    parameters = rbm.ParameterSpace({"a": (0.5, 2.0), "q": (0.0, 1.0)})
    model = rbm.FullOrderModel(
        [("a", np.eye(2)), ("0 * q", np.eye(2))],
        [(1.0, [1.0, 2.0])],
        np.eye(2),
        parameters,
        "a",
        outputs={"s": [1.0, 0.0]},
    )
    reduced = rbm.project(model, np.array([[1.0], [2.0]]))
    found = rbm.calibrate(reduced, {"s": 1 / 1.2}, noise=1e-3, starts=1)
    np.testing.assert_allclose(found.spread, [1e-3 * 1.2**2, np.inf], rtol=1e-2)
    assert len(found.undetermined) == 1
    assert found.undetermined[0].startswith("q: over its whole range the data change by 0 ")


def test_known_parameters_and_several_experiments() -> None:
    reduced = line()
    b = np.array([0.5, 1.0, 1.5, 2.0])
    data = {"s": 1 / (1.3 + b), "z": (2 + 1j) / (1.3 + b)}
    found = rbm.calibrate(reduced, data, noise={"s": 1e-3, "z": [1e-3] * 4}, known={"b": b, "c": 0.5})
    assert found.names == ("a",)
    assert abs(found.mu[0] - 1.3) < 1e-6
    assert found.residuals.shape == (4, 2)
    assert found.undetermined == ()
    assert len(found.solution) == 4


SLOW = ("Powell", "CG", "TNC", "COBYLA", "COBYQA", "SLSQP", "trust-constr")


@pytest.mark.parametrize(
    "optimizer",
    [
        *("nelder-mead", "BFGS", "L-BFGS-B", "differential_evolution", "own", "single"),
        *(pytest.param(name, marks=pytest.mark.slow) for name in SLOW),
    ],
)
def test_all_optimisers_find_the_parameter(optimizer: Any) -> None:
    def random_search(f: Any, x0: np.ndarray, bounds: Any, steps: int = 60) -> None:
        rng, x, width = np.random.default_rng(0), x0, 0.5
        for _ in range(steps):
            tried = np.clip(x + width * rng.uniform(-1, 1, (20, len(x))), *np.transpose(bounds))
            values = f(tried)
            assert values.shape == (20,)
            x, width = tried[np.argmin(values)], 0.8 * width

    def single(f: Any, x0: np.ndarray, bounds: Any) -> Any:
        return scipy.optimize.minimize(f, x0, method="Nelder-Mead", bounds=bounds)

    chosen = {"own": random_search, "single": single}.get(optimizer, optimizer)
    options = {"own": {"steps": 80}, "trust-constr": {"maxiter": 20}}.get(optimizer)
    starts: Any = 4 if optimizer == "nelder-mead" else 1
    found = rbm.calibrate(
        line(),
        {"s": 1 / 2.3, "t": 2 / 2.3},
        noise=1e-2,
        known={"b": 1.0, "c": 0.5},
        optimizer=chosen,
        options=options,
        starts=starts,
    )
    assert abs(found.mu[0] - 1.3) < 1e-3
    assert found.misfit < 1e-2


def test_points_outside_are_reflected_and_not_lost() -> None:
    def outside(f: Any, x0: np.ndarray, bounds: Any) -> np.ndarray:
        np.testing.assert_allclose(f(np.array([[-0.2], [0.2], [1.8], [2.2], [0.4]]))[:4], f(np.array([0.2])), rtol=1e-9)
        return np.array([1.8])

    mu = 0.5 + 0.2 * 1.5
    found = rbm.calibrate(
        line(), {"s": 1 / (1 + mu)}, known={"b": 1.0, "c": 0.5}, optimizer=outside, starts=[[1.7]], max_evaluations=100
    )
    assert abs(found.mu[0] - mu) < 1e-6
    assert line().parameters.inside(np.array([[found.mu[0], 1.0, 0.5]]))[0]


def test_an_interrupted_search_keeps_the_best_so_far() -> None:
    def interrupted(f: Any, x0: np.ndarray, bounds: Any) -> None:
        f(x0)
        f(np.array([(1.31 - 0.5) / 1.5]))
        raise KeyboardInterrupt

    known = {"b": 1.0, "c": 0.5}
    with pytest.raises(rbm.Interrupted, match="the best so far is in `result`") as caught:
        rbm.calibrate(line(), {"s": 1 / 2.3}, noise=1e-5, known=known, optimizer=interrupted, starts=[[1.9]])
    found = caught.value.result
    assert found.stopped == "interrupted"
    np.testing.assert_allclose(found.mu, [1.31])
    assert np.isfinite(found.error)
    assert len(found.runs) == 1


def test_ctrl_c_at_the_end_loses_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """The search has ended, and what the data leave open is being looked at."""

    def interrupted(*args: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(sys.modules["rbm.uses.calibrate"], "sensitivity_of", interrupted)
    known = {"b": 1.0, "c": 0.5}
    with pytest.raises(rbm.Interrupted) as caught:
        rbm.calibrate(line(), {"s": 1 / 2.3}, noise=1e-5, known=known)
    found = caught.value.result
    assert abs(found.mu[0] - 1.3) < 1e-3
    assert found.undetermined == ("not known: interrupted before",)
    assert np.isinf(found.spread).all()


def test_an_optimiser_that_fails_does_not_lose_the_best_so_far() -> None:
    def fails(f: Any, x0: np.ndarray, bounds: Any) -> None:
        f(np.array([(1.31 - 0.5) / 1.5]))
        raise ZeroDivisionError("mine")

    known = {"b": 1.0, "c": 0.5}
    with pytest.raises(ZeroDivisionError, match="mine") as caught:
        rbm.calibrate(line(), {"s": 1 / 2.3}, noise=1e-5, known=known, optimizer=fails, starts=[[1.9]])
    note = caught.value.__notes__[0]
    starts = eval(note[note.index("{") : note.index("}") + 1])
    found = rbm.calibrate(line(), {"s": 1 / 2.3}, noise=1e-5, known=known, starts=starts)
    assert abs(found.runs[0].start[0] - 1.31) < 1e-12


def test_points_that_fail_are_left_out() -> None:
    one = np.eye(2)
    model = rbm.FullOrderModel(
        [("a", one), ("log(a - 0.3)", 0 * one)],
        [(1.0, [1.0, 2.0])],
        one,
        {"a": (0.1, 2.0)},
        "a",
        outputs={"s": [1.0, 0.0]},
    )
    reduced = rbm.project(model, np.array([[1.0], [2.0]]))
    found = rbm.calibrate(reduced, {"s": 1 / 1.2}, noise=1e-2)
    assert abs(found.mu[0] - 1.2) < 1e-3
    with pytest.raises(rbm.ParameterError, match=r"none of 64 points has a misfit; the first reason: .*a = "):
        rbm.calibrate(
            rbm.project(
                rbm.FullOrderModel(
                    [("a", one), ("log(a - 3)", 0 * one)], [(1.0, [1.0, 2.0])], one, {"a": (0.1, 2.0)}, "a",
                    outputs={"s": [1.0, 0.0]},
                ),
                np.array([[1.0], [2.0]]),
            ),
            {"s": 1.0},
        )  # fmt: skip


def test_single_precision_and_coded_models() -> None:
    _, reduced = plate()
    data = measured()
    single = rbm.calibrate(reduced.astype("float32"), data, sensors=SENSORS, noise=NOISE, starts=1, max_evaluations=900)
    assert np.isfinite(single.error)
    coded = reduced.quantize(8)
    with pytest.raises(rbm.ModelError, match="holds its basis in few bits; give outputs"):
        rbm.calibrate(coded, data, sensors=SENSORS)
    rbm.calibrate(coded, {"s0": data[0]}, max_evaluations=600)


@pytest.mark.parametrize(
    ("data", "options", "message"),
    [
        ({"heat": 1.0}, {}, "output 'heat', which the model does not have; its outputs are 's', 't', 'z'"),
        ({}, {}, "data are empty"),
        ([1.0], {}, "data must be a dictionary .*; the model has the outputs 's', 't', 'z'.*sensors="),
        ({"s": np.nan}, {}, "data of 's' have 1 entries that are NaN or infinite, the first is the value"),
        ({"s": [1.0, 2.0]}, {}, r"data of 's' have shape \(2,\), expected \(1,\)"),
        ({"s": "hot"}, {}, "data of 's' must be numbers"),
        ({"s": np.ma.masked_array([1.0], [True])}, {}, "1 entries are hidden behind a mask"),
        ({"s": [1.0, 2.0]}, {"known": {"a": [1.0, 1.5, 2.0]}}, r"shape \(2,\), expected \(3,\); 3 experiments"),
        ({"s": 1.0}, {"sensors": [0]}, "data are given by name, and sensors="),
        ([1.0, np.inf], {"sensors": [0, 1]}, "the first is entry 1; leave these measurements out"),
        ([1.0], {"sensors": [0, 1]}, r"data have shape \(1,\), expected \(1, 2\)"),
        ([1.0], {"sensors": [2]}, "sensors name the unknown 2, outside 0 to 1"),
        ([1.0], {"sensors": [0.5]}, "sensors must be whole numbers"),
        ([1.0], {"sensors": np.ones((2, 1))}, r"sensors have shape \(2, 1\), expected \(k, 2\).*transpose"),
        ({"s": 1.0}, {"noise": 0.0}, "noise is a standard deviation and must be positive"),
        ({"s": 1.0}, {"noise": {"s": 1.0, "t": 1.0}}, "noise is given for 't', of which there are no data"),
        ([1.0], {"sensors": [0], "noise": {"s": 1.0}}, "noise is given for 's', of which there are no data"),
        ({"s": 1.0}, {"noise": 1e-310}, "data are up to inf standard deviations of the noise"),
        ({"s": 1.0}, {"noise": 1e-200}, r"data are up to 1e\+200 standard deviations of the noise"),
        ({"s": 1e200}, {}, r"data are up to 1e\+200 standard deviations"),
        ({"s": 1.0}, {"noise": {"t": 1.0}}, "noise is given by name, but not for the output 's'"),
        ({"s": 1.0}, {"optimizer": "newton"}, "must be a method of scipy.optimize.minimize, nelder-mead, .*newton"),
        ({"s": 1.0}, {"options": 3}, "options must be a dictionary"),
        ({"s": 1.0}, {"optimizer": "differential_evolution", "options": {"x0": 1}}, "'x0' is set by calibrate"),
        ({"s": 1.0}, {"optimizer": "differential_evolution", "options": {"size": 1}}, "do not fit: .*'size'"),
        ({"s": 1.0}, {"optimizer": lambda f: f(1.0)}, "is called with f, x0, bounds and the options .* do not fit"),
        ({"s": 1.0}, {"rng": "one"}, "rng must be a seed, a whole number of at least 0, got 'one'"),
        ({"s": 1.0}, {"known": {"q": 1.0}}, "known names 'q', which is no parameter; they are a, b, c"),
        ({"s": 1.0}, {"known": {"a": 1.0, "b": 1.0, "c": 1.0}}, "all parameters are known"),
        ({"s": 1.0}, {"known": {"a": [1.0, 1.5], "b": [1.0, 1.1, 1.2]}}, "of 2, 3 experiments do not fit"),
        ({"s": 1.0}, {"known": [1.0]}, "known must be a dictionary"),
        ({"s": 1.0}, {"known": {"a": np.ma.masked_array([1.0], [True])}}, "known values of a must be real .* masked"),
        ({"s": 1.0}, {"known": {"a": 1j}}, "known values of a must be real numbers"),
        ({"s": 1.0}, {"known": {"a": "hot"}}, "known values of a must be real numbers.*'hot'"),
        ({"s": 1.0}, {"starts": 0}, "starts must be a number of at least 1"),
        ({"s": 1.0}, {"target": -1.0}, "target must be a misfit"),
        ({"s": 1.0}, {"max_evaluations": 0}, "max_evaluations must be a whole number"),
        ({"s": 1.0}, {"method": "sampled"}, "no estimator 'sampled'"),
        ({"s": 1.0}, {"optimizer": lambda f, x0, bounds: f(np.ones(7))}, r"asks for points of shape \(7,\)"),
        ({"s": 1.0}, {"optimizer": lambda f, x0, bounds: f(x0 * np.nan)}, "asks for a point that is NaN or infinite"),
    ],
)  # fmt: skip
def test_bad_input_is_one_clear_error(data: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(rbm.ModelError, match=message):
        rbm.calibrate(line(), data, **options)


@pytest.mark.parametrize("optimizer", ["L-BFGS-B", "Powell", "TNC", "COBYLA", "SLSQP", "differential_evolution"])
def test_every_search_ends_where_it_is_told_to(optimizer: str) -> None:
    """Also those that are compiled: the error that ends them comes through."""
    options = {"optimizer": optimizer, "starts": 1, "noise": 1e-2}
    found = rbm.calibrate(line(), {"s": 0.4, "t": 0.9}, max_evaluations=200, **options)
    assert found.stopped == "evaluations"
    goal = rbm.calibrate(line(), {"s": 0.4, "t": 0.9}, target=6.0, **options)
    assert goal.stopped == "target"
    assert goal.misfit <= 6.0


def test_only_reduced_models_are_asked_and_on_the_host() -> None:
    from helpers.other_arrays import xp

    with pytest.raises(rbm.ModelError, match=r"got a FullOrderModel; rbm\.greedy"):
        rbm.calibrate(plate()[0], {"s0": 1.0})
    found = [rbm.calibrate(r, {"s": 0.4, "t": 0.8}, noise=1e-3, target=1.0) for r in (line(), line().to(xp))]
    np.testing.assert_array_equal(found[0].mu, found[1].mu)


def test_values_out_of_range_are_errors_of_parameters() -> None:
    with pytest.raises(rbm.ParameterError, match=r"a = 3 .* is outside \[0.5, 2\]"):
        rbm.calibrate(line(), {"s": 1.0}, known={"a": 3.0})
    with pytest.raises(rbm.ParameterError, match=r"b = 0.1 .* is outside"):
        rbm.calibrate(line(), {"s": 1.0}, starts=[[1.0, 0.1, 1.0]])
    without = rbm.project(
        rbm.FullOrderModel([("a", np.eye(2))], [(1.0, [1.0, 2.0])], np.eye(2), {"a": (0.5, 2.0)}, "a"),
        np.array([[1.0], [2.0]]),
    )
    with pytest.raises(rbm.ModelError, match="does not have; its outputs are none"):
        rbm.calibrate(without, {"s": 1.0})


def test_the_norm_of_the_sensors_is_that_of_a_dense_decomposition() -> None:
    model, reduced = plate()
    matrix = np.random.default_rng(2).standard_normal((5, SIDE**2))
    noise = np.array([0.1, 1.0, 2.0, 0.5, 3.0])
    made = read_measurements(reduced, np.ones(5), matrix, noise, 1)
    half = np.linalg.cholesky(model.product.toarray())
    whitened = np.linalg.solve(half, (matrix / noise[:, None]).T)
    assert made.field is not None
    np.testing.assert_allclose(made.field.norms, np.linalg.norm(whitened, 2), rtol=1e-10)
    np.testing.assert_allclose(made.field.rows, np.linalg.norm(np.linalg.solve(half, matrix.T), axis=0), rtol=1e-10)
    assert made.field.norms[0] >= np.linalg.norm(whitened, 2) * (1 - 1e-14)


@pytest.mark.parametrize("scale", ["linear", "log"])
def test_a_range_of_one_value_is_known(scale: Any) -> None:
    one = np.eye(2)
    space = rbm.ParameterSpace({"a": (0.5, 2.0), "b": (1.0, 1.0)}, scale)
    terms = [("a", one), ("b", one)]
    model = rbm.FullOrderModel(terms, [(1.0, [1.0, 2.0])], one, space, "a + b", outputs={"s": [1.0, 0.0]})
    reduced = rbm.greedy(model, model.parameters.sample(8), max_basis=1, progress=False).reduced_model
    found = rbm.calibrate(reduced, {"s": 0.4}, noise=1e-3, target=0.0)
    assert found.names == ("a",)
    np.testing.assert_allclose(found.mu, [1.5], rtol=1e-5)
    assert found.undetermined == ()
    assert 0 < found.spread[0] < 0.1
    with pytest.raises(rbm.ModelError, match="all parameters are known"):
        rbm.calibrate(reduced, {"s": 0.4}, known={"a": 1.0})


def test_an_optimiser_that_catches_errors_is_ended_all_the_same() -> None:
    asked = []

    def stubborn(f: Any, x0: np.ndarray, bounds: Any) -> None:
        for i in range(1000):
            try:
                f(np.full(3, i / 1000))
            except Exception:
                asked.append(i)

    found = rbm.calibrate(line(), {"s": 0.4, "t": 0.9}, noise=1e-3, optimizer=stubborn, max_evaluations=300)
    assert found.stopped == "evaluations"
    assert found.evaluations == 300
    assert not asked


def test_the_sensitivity_of_many_data_takes_no_memory_of_their_square() -> None:
    rows = np.random.default_rng(0).standard_normal((4, 3000))
    tracemalloc.start()
    try:
        found = sensitivity_of(differences(rows, np.ones(2)), ("a", "b"), 1.0, False)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 8 * 3000**2 / 10
    assert found.directions.shape == (2, 2)
    one = sensitivity_of(differences(rows[:, :1], np.ones(2)), ("a", "b"), 1.0, False)
    assert one.singular_values[1] == 0
    np.testing.assert_allclose(one.directions.T @ one.directions, np.eye(2), atol=1e-14)
