"""Convection and diffusion: terms of another assembly, windows, the constant, bounds. The published run has its own."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.published_models import Square, conduction, transport

import rbm
from problems import convection_diffusion


def test_its_terms_are_those_of_another_assembly() -> None:
    square = Square(7, "all")
    x, y = np.round(7 * square.basis.doflocs[:, square.free])
    order = np.lexsort((x, y))  # x runs first
    model = convection_diffusion(7)
    forms = (square.matrix(conduction), *(square.matrix(transport, axis=k) for k in (0, 1)))
    for term, other in zip(model.operator_terms, forms, strict=True):
        np.testing.assert_allclose(term.toarray(), other.toarray()[np.ix_(order, order)], rtol=0, atol=1e-15)
    np.testing.assert_allclose(model.rhs_terms[:, 0], square.vector()[order], rtol=1e-12)


@pytest.mark.parametrize("n", [10, 13])  # with edges of the windows on nodes and between them
def test_outputs_are_means_over_their_windows(n: int) -> None:
    model = convection_diffusion(n)
    nodes = np.linspace(0, 1, n + 1)[1:-1]
    middles = {"upper_right": (0.75, 0.75), "upper_left": (0.25, 0.75), "lower_left": (0.25, 0.25)}
    for name, (x, y) in {**middles, "lower_right": (0.75, 0.25)}.items():
        found = model.outputs[name].terms[0] @ np.kron(nodes, 2 + nodes)  # y (2 + x), which the elements hold exactly
        assert found == pytest.approx(y * (2 + x), rel=1e-13)


def test_the_constant_is_the_coercivity_constant_and_bounds_hold() -> None:
    model = convection_diffusion(20)
    assert "the stability bound is positive" in repr(model.verify())
    theta = model.operator_coefficients(model.parameters.sample(3, "random"))
    symmetric = [(a + a.T) / 2 for a in (model.assemble(t) for t in theta)]
    for part in symmetric:
        assert abs(part - 0.05 * model.product).max() <= 1e-15
    reduced = rbm.greedy(model, model.parameters.sample(100), max_basis=12, progress=False).reduced_model
    mus = model.parameters.sample(20, "random", rng=1)
    answer, truth = reduced.solve(mus), model.solve(mus)
    assert np.all(model.error_norm(mus, answer.coefficients, reduced.basis) <= answer.bound)
    for name, output in model.outputs.items():
        assert np.all(np.abs(truth @ output.terms[0] - answer.outputs[name]) <= answer.output_bounds[name])


def test_sizes_that_are_none_are_refused() -> None:
    with pytest.raises(rbm.ModelError, match="n must be at least 2, got 1"):
        convection_diffusion(1)
    with pytest.raises(rbm.ModelError, match=r"n must be a whole number, got 2\.5"):
        convection_diffusion(2.5)  # type: ignore[arg-type]
