"""The moving source: its closed form, what each step conserves, and bounds."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.special

import lowrank
import rbm
from problems import moving_heat, moving_heat_nodes
from problems.interval import Interval, on_rectangle
from problems.moving_heat import SENSORS, SOURCE
from rbm.time.project import project_time


def overlap(window: tuple[float, float], source: tuple[float, float], shift: np.ndarray, s: np.ndarray) -> np.ndarray:
    """The mean over a window of what a source, its integral one, has become: moved by `shift`, spread by a Gaussian.

    s : (4 k t)^{1/2}
    """

    def twice(z: np.ndarray) -> np.ndarray:  # the integral of erf(z / s)
        return z * scipy.special.erf(z / s) + s / np.sqrt(np.pi) * np.exp(-((z / s) ** 2))

    (c, d), (a, b) = window, source
    sums = twice(d - shift - a) - twice(c - shift - a) - twice(d - shift - b) + twice(c - shift - b)
    return sums / (2 * (b - a) * (d - c))


def closed_form(name: str, k: float, v: float, end: float) -> float:
    """The output at time `end` of a plate that goes on behind x = 2, with insulated sides and u = 0 at x = 0."""
    points, weights = np.polynomial.legendre.leggauss(80)
    root = np.sqrt(end) * (points + 1) / 2  # the square root of the time since the heat came in, t = root^2
    t, s = root**2, 2 * np.sqrt(k) * root
    in_x, in_y = SENSORS[name]
    along = overlap(in_x, SOURCE[0], v * t, s)
    # the image of the point x is at -x, and counts -exp(-v x / k)
    xs = 0.5 + 0.1 * points
    image = [overlap(in_x, (-x - 1e-6, -x + 1e-6), v * t, s) * np.exp(-v * x / k) for x in xs]
    along = along - weights @ np.array(image) / 2
    low, high = SOURCE[1]
    across = sum(overlap(in_y, (low + 2 * j, high + 2 * j), 0 * t, s) for j in range(-3, 4))
    across = across + sum(overlap(in_y, (2 * j - high, 2 * j - low), 0 * t, s) for j in range(-3, 4))
    return float(np.sum(weights * along * across * root) * np.sqrt(end))


@pytest.mark.parametrize(("k", "v", "end"), [(0.05, 0.0, 1.0), (0.05, 1.0, 0.6), (0.1, 2.0, 0.4)])
def test_outputs_tend_to_the_closed_form(k: float, v: float, end: float) -> None:
    """With the order two, when h and dt are halved in the scheme of Crank and Nicolson."""
    off: list[list[float]] = []
    for n in (10, 20, 40):
        model = moving_heat(n, dt=end / (2 * n), steps=2 * n, theta=0.5)
        u = model.solve([k, v])[0, -1]
        off.append([u @ o.terms[0] - closed_form(name, k, v, end) for name, o in model.outputs.items()])
    coarse, middle, fine = np.array(off)
    scale = closed_form("below", k, v, end)
    assert np.abs(fine).max() < 5e-3 * scale
    ratios = np.linalg.norm(coarse) / np.linalg.norm(middle), np.linalg.norm(middle) / np.linalg.norm(fine)
    np.testing.assert_allclose(ratios, 4, atol=0.3 if v == 0 else 0.6)
    np.testing.assert_allclose((4 * fine - middle) / 3, 0, atol=2e-4 * scale)


def test_what_is_conserved_in_every_step() -> None:
    """Tested with the function x, the scheme balances moments: of what is there, what leaves, and of the source."""
    n, k, v = 8, 0.07, 1.3
    g = np.cos(np.arange(30.0)) + 0.5
    for theta in (1.0, 0.5):
        model = moving_heat(n, steps=30, control=g, theta=theta)
        (u,) = model.solve([k, v])
        across, along = Interval(n, 1.0), Interval(2 * n, 2.0)
        x = on_rectangle(along.nodes[1:], np.ones(n + 1))
        area = on_rectangle(along.load(0.0, 2.0)[1:], across.load(0.0, 1.0))
        edge = on_rectangle(np.eye(2 * n)[-1], across.load(0.0, 1.0))
        middle = theta * u[1:] + (1 - theta) * u[:-1]
        moment = u @ (model.mass.terms[0] @ x)
        leaving = k * middle @ edge + v * (2 * middle @ edge - middle @ area)
        np.testing.assert_allclose(np.diff(moment) + model.dt * leaving, model.dt * g * 0.5, rtol=0, atol=1e-14)


def test_the_constant_bounds_coercivity() -> None:
    model = moving_heat(6)
    assert "the stability bound is positive" in repr(model.verify())
    first, transport = model.spatial.operator_terms
    symmetric = (transport + transport.T).toarray() / 2
    edge = np.kron(np.ones(7), np.eye(12)[-1]) > 0
    assert np.abs(symmetric[~edge]).max() <= 1e-16
    assert np.linalg.eigvalsh(symmetric[np.ix_(edge, edge)]).min() > 0
    assert abs(first - model.spatial.product).max() == 0


def test_bounds_hold_for_a_control_that_was_not_trained() -> None:
    model = moving_heat(10, steps=40)
    impulses = model.solve(model.parameters.sample(6), "impulse").reshape(-1, model.dimension)
    reduced = project_time(model, lowrank.pod(impulses.T, rank=15, product=model.inner_product.matrix))
    mus = model.parameters.sample(4, "random", rng=1)
    g = np.where(np.arange(40) % 20 < 10, 1.0, 0.0)
    answer, truth = reduced.solve(mus, g), model.solve(mus, g)
    errors = model.error_norms(mus, answer.coefficients, reduced.basis, g)
    assert np.all(errors.energy <= answer.bound)
    assert np.all(errors.l2 <= answer.bound_l2)
    for name, output in model.outputs.items():
        off = np.abs(truth @ output.terms[0] - answer.outputs[name])
        assert np.all(off <= answer.output_bounds[name])
        assert off.max() > 0


def test_nodes_are_those_of_the_unknowns() -> None:
    model = moving_heat(6)
    x, y = moving_heat_nodes(6)
    for name, (left, low) in {"below": (0.4, 0.4), "behind": (1.2, 0.45)}.items():
        middle = left + (0.1 if name == "below" else 0.05), low + (0.1 if name == "below" else 0.05)
        assert [model.outputs[name].terms[0] @ v for v in (x, y)] == pytest.approx(middle)


def test_sizes_that_are_none_are_refused() -> None:
    with pytest.raises(rbm.ModelError, match="n must be at least 2, got 1"):
        moving_heat(1)
    with pytest.raises(rbm.ModelError, match="n must be a whole number, got '3'"):
        moving_heat_nodes("3")  # type: ignore[arg-type]


def test_the_periodic_state_under_a_pulsing_source_is_certified_by_the_coercivity_constant() -> None:
    pulses = np.r_[np.ones(4), np.zeros(4)]
    model = moving_heat(4, dt=0.1, steps=8, control=pulses, periodic=True)
    whole = model.space_time("k")
    result = rbm.greedy(whole, whole.parameters.sample(20), max_basis=8)
    mus = whole.parameters.sample(6, "random", rng=3)
    answer, truth = result.reduced_model.solve(mus), whole.solve(mus)
    error = result.reduced_model.reconstruct(answer) - truth
    errors = np.sqrt(np.einsum("mi,mi->m", error, (whole.product @ error.T).T))
    assert np.all(errors <= answer.bound)
    assert np.all(answer.bound <= 30 * errors)
    # a march of many periods ends in the same state
    many = moving_heat(4, dt=0.1, steps=8 * 60, control=np.tile(pulses, 60)).solve(mus[:1])[0, -8:]
    np.testing.assert_allclose(truth[0].reshape(8, -1), many, atol=1e-10 * np.abs(many).max())
