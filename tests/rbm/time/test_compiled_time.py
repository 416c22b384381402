"""Reduced trajectories by compiled code: what a query returns, and what it keeps."""

from __future__ import annotations

import tracemalloc
from typing import Any

import numpy as np
import pytest
from helpers.parabolic import convection, heat, square

import rbm
from rbm.online.marching import march
from rbm.time.marches import certified
from rbm.time.reduced import ReducedTimeModel


def reduced(model: rbm.TimeModel, size: int) -> ReducedTimeModel:
    """Return a reduced model on a random smooth basis: what it is good for does not matter here."""
    rng = np.random.default_rng(0)
    stiffness = model.inner_product.matrix
    vectors = np.linalg.solve(stiffness.toarray(), rng.standard_normal((model.dimension, size)))
    return rbm.project_time(model, np.linalg.qr(vectors)[0])


@pytest.fixture(scope="module")
def transport() -> ReducedTimeModel:
    return reduced(convection(8, steps=30), 6)


def test_without_coefficients_bounds_and_outputs_are_the_same(transport: ReducedTimeModel) -> None:
    mus = transport.parameters.sample(40)
    control = np.random.default_rng(1).standard_normal((40, 30))
    whole, bare = transport.solve(mus, control), transport.solve(mus, control, coefficients=False)
    assert bare.coefficients is None
    np.testing.assert_array_equal(bare.bound, whole.bound)
    np.testing.assert_array_equal(bare.bound_l2, whole.bound_l2)
    for name in transport.outputs:
        np.testing.assert_array_equal(bare.outputs[name], whole.outputs[name])
        np.testing.assert_array_equal(bare.output_bounds[name], whole.output_bounds[name])


def test_without_coefficients_nothing_of_their_size_is_made() -> None:
    model = reduced(heat(64, steps=40), 40)
    mus = model.parameters.sample(1024)
    model.solve(mus[:20], coefficients=False)  # compiled, packed
    tracemalloc.start()
    made = model.solve(mus, coefficients=False)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert made.bound.shape == (1024, 41)
    assert peak < 8 * 1024 * 41 * 40 / 1.5  # gamma alone would take 8 * 1024 * 41 * 40


@pytest.mark.parametrize("seen", [True, False])
def test_outputs_are_those_of_the_trajectory(seen: bool) -> None:
    """Outputs with coefficients that depend on the parameters, complex ones and offsets among them."""
    model = heat(12, steps=9)
    vector, other = np.ones(11), np.arange(11) / 10
    outputs: dict[str, Any] = {"fixed": vector, "moving": [("k", vector), ("r", other)]}
    outputs["complex"] = [(1j, vector), ("k", other)]
    small = reduced(heat(12, steps=9, outputs=outputs), 4)
    mus = model.parameters.sample(21)
    made = small.solve(mus, coefficients=seen)
    gamma = small.solve(mus).coefficients
    assert gamma is not None
    fields = small.reconstruct(gamma)
    k, r = mus[:, :1], mus[:, 1:]
    expected = {"fixed": fields @ vector, "moving": k * (fields @ vector) + r * (fields @ other)}
    expected["complex"] = 1j * (fields @ vector) + k * (fields @ other)
    for name, values in expected.items():
        assert made.outputs[name].dtype == values.dtype
        np.testing.assert_allclose(made.outputs[name], values, rtol=1e-12, atol=1e-14)
        assert made.output_bounds[name][:, 1:].min() > 0


def test_the_certificate_is_about_the_trajectory_that_is_returned() -> None:
    """Points whose floors hide their values are marched a second time: that march is what is returned."""
    model = heat(6, steps=12, outputs={"mean": np.ones(5) / 5})
    full = rbm.project_time(model, np.eye(5))
    of = full._coefficients(full.parameters.sample(10), None)
    found = certified(full.certificate, of)
    assert found.gamma is not None
    second = march(full.recursion, *of.terms, of.control, of.start)
    np.testing.assert_array_equal(found.gamma, second.gamma)
    made = full.solve(full.parameters.sample(10))
    assert made.coefficients is not None
    assert not made.estimate.resolved[:, 1:].any()  # type: ignore[union-attr]
    mean = full.reconstruct(made) @ (np.ones(5) / 5)
    np.testing.assert_allclose(made.outputs["mean"], mean, rtol=4e-16, atol=0)


@pytest.mark.parametrize(("size", "error"), [(1.0, rbm.ParameterError), (1e6, rbm.ModelError)])
def test_what_is_not_finite_is_named(size: float, error: type[Exception]) -> None:
    """A bound whose square is too large; a trajectory that is."""
    model = reduced(convection(8, steps=30, rhs=[(size, square(8)["f"])]), 3)
    control = np.ones((300, 30))
    control[287, 4] = 1e308
    with pytest.raises(error, match=r"row 287.*not finite"):
        model.solve(model.parameters.sample(300), control)


def test_single_precision_is_marched_by_the_definition(transport: ReducedTimeModel) -> None:
    narrow = transport.astype("float32")
    mus = transport.parameters.sample(9)
    made, wide = narrow.solve(mus), transport.solve(mus)
    assert made.coefficients is not None
    assert made.coefficients.dtype == np.float32
    far = np.abs(made.outputs["s0"] - wide.outputs["s0"])
    assert far.max() > 1e-12
    assert np.all(far <= made.output_bounds["s0"] + wide.output_bounds["s0"])
