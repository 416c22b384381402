"""The cooling fin: its heat is accounted for in every step, it tends to the steady fin, and bounds hold."""

from __future__ import annotations

import numpy as np
import pytest

import lowrank
import rbm
from problems import cooling_fin, thermal_fin, thermal_fin_mesh
from rbm.time.project import project_time

MU = np.array([[0.4, 2.0, 0.8, 5.0, 0.15]])


def outputs(model: object, u: np.ndarray, name: str) -> np.ndarray:
    return u @ model.outputs[name].terms[0]  # type: ignore[attr-defined, no-any-return]


def test_what_flows_in_is_stored_or_flows_out_in_every_step() -> None:
    g = np.cos(np.arange(40.0)) + 0.5
    for theta in (1.0, 0.5):
        model = cooling_fin(1, steps=40, control=g, theta=theta)
        (u,) = model.solve(MU)
        heat = u @ (model.mass.terms[0] @ np.ones(model.dimension))
        air = u @ (model.spatial.operator_terms[-1] @ np.ones(model.dimension))
        lost = MU[0, -1] * (theta * air[1:] + (1 - theta) * air[:-1])
        np.testing.assert_allclose(np.diff(heat) + model.dt * lost, model.dt * g, rtol=0, atol=1e-14)
        assert np.max(np.abs(heat)) > 0.1


def test_the_mass_is_the_area() -> None:
    model = cooling_fin(1)
    x, y = thermal_fin_mesh(1).p
    mass, one = model.mass.terms[0], np.ones(model.dimension)
    assert one @ mass @ one == pytest.approx(9.0)  # 4, and eight fins of 0.625
    # the second moment about x = 0: the post has 4/12, a pair 2 * 0.25 * (3^3 - 0.5^3) / 3
    assert x @ mass @ x == pytest.approx(1 / 3 + 4 * 0.5 * (27 - 0.125) / 3)
    assert one @ mass @ y == pytest.approx(8.0 + 1.25 * sum(i - 0.125 for i in range(1, 5)))


def test_the_tip_is_the_outer_edges_of_the_uppermost_pair() -> None:
    model = cooling_fin(2)
    x, y = thermal_fin_mesh(2).p
    tip = model.outputs["T_tip"].terms[0]
    assert set(np.abs(x[tip != 0])) == {3.0}
    assert (y[tip != 0].min(), y[tip != 0].max()) == (3.75, 4.0)
    assert [tip @ np.ones(len(x)), tip @ y, tip @ x] == pytest.approx([1.0, 3.875, 0.0])


def test_it_tends_to_the_steady_fin() -> None:
    steady = thermal_fin(1).solve(MU)[0]
    model = cooling_fin(1, dt=1e3, steps=12)
    (u,) = model.solve(MU)
    np.testing.assert_allclose(u[-1], steady, rtol=1e-12)
    assert np.abs(u[1] - steady).max() > 1e-4  # the first step is not there yet
    assert outputs(model, u, "T_root")[-1] == pytest.approx(float(steady @ thermal_fin(1).rhs_terms[:, 0]), rel=1e-13)


def test_both_sides_are_alike_and_the_air_is_the_coldest() -> None:
    model = cooling_fin(1, steps=20)
    x, y = np.round(thermal_fin_mesh(1).p, 9)
    (u,) = model.solve(MU)
    here, there = np.lexsort((x, y)), np.lexsort((-x, y))
    np.testing.assert_allclose(u[:, here], u[:, there], rtol=1e-12, atol=1e-15)
    assert np.all(np.diff(outputs(model, u, "T_root")) > 0)


def test_the_order_in_time() -> None:
    """Of implicit Euler one, of Crank and Nicolson two, with a flux that begins smoothly."""
    for theta, order in ((1.0, 1), (0.5, 2)):
        ends = []
        for steps in (10, 20, 40, 80):
            dt = 2.0 / steps
            at = dt * (np.arange(1, steps + 1) - (1 - theta))
            model = cooling_fin(1, dt=dt, steps=steps, control=np.sin(at) ** 2, theta=theta)
            ends.append(model.solve(MU)[0, -1])
        changes = [np.abs(a - b).max() for a, b in zip(ends[1:], ends, strict=False)]
        slopes = np.log2(np.array(changes[:-1]) / changes[1:])
        np.testing.assert_allclose(slopes, order, atol=0.15)


def test_the_root_temperature_settles_when_the_mesh_is_refined() -> None:
    found = []
    for refinement in (1, 2, 4):
        model = cooling_fin(refinement, steps=10)
        found.append(outputs(model, model.solve(MU)[0], "T_root")[[5, 10]])
    first, second = np.diff(np.array(found), axis=0)
    assert np.all(first > 0)
    assert np.all((first / second > 2.0) & (first / second < 4.0)), "not the order 4/3 to 2 of corners"


def test_bounds_hold_for_a_control_that_was_not_trained() -> None:
    model = cooling_fin(1, steps=40)
    assert "the stability bound is positive" in repr(model.verify())
    training = model.parameters.sample(6)
    impulses = model.solve(training, "impulse").reshape(-1, model.dimension)
    basis = lowrank.pod(impulses.T, rank=10, product=model.inner_product.matrix)
    reduced = project_time(model, basis)
    mus = model.parameters.sample(4, "random", rng=1)
    g = np.where(np.arange(40) < 15, 1.0, -0.5)
    answer = reduced.solve(mus, g)
    errors = model.error_norms(mus, answer.coefficients, reduced.basis, g)
    assert np.all(errors.energy <= answer.bound)
    assert np.all(errors.l2 <= answer.bound_l2)
    truth = model.solve(mus, g)
    for name in model.outputs:
        off = np.abs(outputs(model, truth, name) - answer.outputs[name])
        assert np.all(off <= answer.output_bounds[name])
        assert off.max() > 0


def test_a_refinement_that_is_none_is_refused() -> None:
    with pytest.raises(rbm.ModelError, match="refinement must be at least 1, got 0"):
        cooling_fin(0)
