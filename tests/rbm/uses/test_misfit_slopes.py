"""The derivative of a misfit: right where it is used, and what optimisers save by it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from helpers.exact_gradients import rod
from helpers.exact_outputs import convection_model
from helpers.small_models import matrices

import rbm
from rbm.uses.candidates import Candidates
from rbm.uses.measurements import read_measurements


def candidates(
    reduced: rbm.ReducedModel, data: Any, noise: Any, fixed: np.ndarray, free: list[int], sensors: Any = None
) -> Candidates:
    measured = read_measurements(reduced, data, sensors, noise, len(fixed))
    return Candidates(reduced, measured, np.array(free), fixed, None, 10**6, None)


def cases() -> dict[str, Candidates]:
    real = rod()
    real.parameters.scale = "log"
    model = convection_model(3, "complex")
    one, two = (rbm.greedy(m, m.parameters.sample(40), max_basis=6).reduced_model for m in (real, model))
    ones = np.ones((1, 2))
    return {
        "logarithmic": candidates(one, {"own": 3.0, "square": 0.2}, {"own": 0.1, "square": 1.0}, ones, [0, 1]),
        "complex": candidates(two, {"window": 0.1 + 0.2j, "mixed": 0.3j}, 0.05, np.zeros((1, 2)), [0, 1]),
        "field": candidates(two, np.array([0.1, 0.2j, 0.3]), 0.1, np.zeros((1, 2)), [0, 1], [0, 3, 7]),
        "experiments": candidates(
            two, {"window": [0.1 + 0.2j, 0.3, -0.1j]}, None, np.array([[0.0, -1.0], [0, 0.5], [0, 1.5]]), [0]
        ),
    }  # fmt: skip


@pytest.mark.parametrize("name", ["logarithmic", "complex", "field", "experiments"])
def test_the_slope_is_that_of_difference_quotients_also_where_points_are_reflected(name: str) -> None:
    f = cases()[name]
    f.best = 0.0, np.zeros(1), 0.0  # nothing is better: no search ends here
    assert f.differentiable
    p = len(f.free)
    for x in np.random.default_rng(0).uniform(-0.8, 1.8, (8, p)):
        slope = f.slope(x)
        for j in range(p):
            h = 1e-4 * np.eye(p)[j]
            sides = f(np.stack([x + h, x - h, x + 2 * h, x - 2 * h]))
            quotient = (8 * (sides[0] - sides[1]) - (sides[2] - sides[3])) / 12e-4
            assert abs(slope[j] - quotient) <= 1e-7 * max(np.abs(slope).max(), 1.0)


def test_at_the_ends_of_the_ranges_slopes_are_those_from_inside() -> None:
    f = cases()["logarithmic"]
    f.best = 0.0, np.zeros(1), 0.0
    for x in ([1.0, 0.3], [0.4, 1.0], [0.0, 0.3], [1.0, 1.0]):
        at = np.array(x)
        slope, inside = f.slope(at), np.where(at == 1, -1e-6, 1e-6)
        for j in range(2):
            step = inside[j] * np.eye(2)[j]
            assert abs((f(at + step) - f(at)) / inside[j] - slope[j]) < 1e-3 * abs(slope[j])


def test_optimisers_with_derivatives_need_fewer_evaluations_than_with_differences(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = rod()
    reduced = rbm.greedy(model, model.parameters.sample(60), tol=1e-8).reduced_model
    found = {}
    truth = reduced.solve([1.3, 0.9]).outputs
    data = {name: float(truth[name][0]) * 1.01 for name in ("own", "square", "linear")}
    for differentiable in (True, False):
        if not differentiable:
            monkeypatch.setattr(Candidates, "differentiable", False)
        found[differentiable] = rbm.calibrate(reduced, data, noise=0.01, optimizer="L-BFGS-B", starts=[[0.6, 0.5]])
    assert found[True].evaluations < found[False].evaluations
    assert found[True].misfit <= found[False].misfit * (1 + 1e-6)


def test_functions_without_derivative_go_on_with_differences() -> None:
    stiffness, mass, load = matrices("sparse")
    model = rbm.FullOrderModel(
        [(1.0, stiffness), (lambda mus: mus[:, 0], mass)], [(1.0, load)], stiffness, {"a": (1.0, 90.0)}, 1.0,
        outputs={"s": load},
    )  # fmt: skip
    reduced = rbm.greedy(model, model.parameters.sample(20), tol=1e-8).reduced_model
    s = float(reduced.solve([30.0]).outputs["s"][0])
    assert abs(rbm.calibrate(reduced, {"s": s}, noise=1e-6, optimizer="L-BFGS-B").mu[0] - 30) < 1e-2
    values = model.solve([30.0])[0, [3, 7]]
    found = rbm.calibrate(reduced, values, sensors=[3, 7], noise=1e-6, optimizer="L-BFGS-B")
    assert abs(found.mu[0] - 30) < 1e-2


def test_what_the_data_leave_open_is_the_same_by_derivatives_and_by_differences(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = rod()
    reduced = rbm.greedy(model, model.parameters.sample(60), tol=1e-8).reduced_model
    found = []
    for differentiable in (True, False):
        if not differentiable:
            monkeypatch.setattr(Candidates, "differentiable", False)
        found.append(rbm.calibrate(reduced, {"own": 3.0, "square": 0.2, "linear": 1.0}, noise=0.01))
    for field in ("singular_values", "spread"):
        assert np.allclose(getattr(found[0], field), getattr(found[1], field), rtol=1e-5)


def test_an_optimum_at_a_kink_is_looked_at_by_differences() -> None:
    """The misfit is least where abs(a - 2) = 0, which has no derivative."""
    stiffness, mass, load = matrices("sparse")
    model = rbm.FullOrderModel(
        [(1.0, stiffness), ("abs(a - 2)", mass)], [(1.0, load)], stiffness, {"a": (1.0, 3.0)}, 1.0, outputs={"s": load}
    )
    reduced = rbm.greedy(model, model.parameters.sample(20), tol=1e-10).reduced_model
    s = float(reduced.solve([2.0]).outputs["s"][0])
    found = rbm.calibrate(reduced, {"s": 1.1 * s}, noise=0.01 * s, optimizer="L-BFGS-B", starts=[[2.0], [1.5]])
    assert np.isfinite(found.misfit)
    assert len(found.singular_values) == 1
