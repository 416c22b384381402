"""The greedy run and the online answers of libMesh's reduced_basis_ex1, to all digits that are published."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.published_models import first_example

import rbm

BOUNDS = """
    3.74824 6.67625 5.18295 3.59028 2.71338 2.50784 2.15653 1.71352 1.61442 1.09712 .9794
    .763958 .616746 .530181 .475932 .440399 .423537 .408558 .333764 .196867 .191475
"""
#: Printed with seven digits: the points of a 10 x 10 grid.
PARAMETERS = """
    -2,-2 2,2 -2,2 2,-2 .2222222,.2222222 -.6666667,-.2222222 .2222222,-.6666667 -.2222222,1.111111
    1.555556,-.2222222 -2,.2222222 -.2222222,-2 -.2222222,.2222222 1.111111,1.111111 .2222222,2 .6666667,-.2222222
    -1.111111,.6666667 1.111111,-1.111111 -.6666667,-1.111111 -.2222222,-.2222222 .2222222,.6666667
"""
#: In units of the last digit that is printed.
DIGIT = 0.51


@pytest.fixture(scope="module")
def model() -> rbm.FullOrderModel:
    return rbm.FullOrderModel(**first_example())


def printed(text: str) -> np.ndarray:
    return np.array([float(word) for word in text.split()])


def test_the_bounds_of_the_greedy_run_are_the_published_ones(model: rbm.FullOrderModel) -> None:
    grid = np.linspace(-2, 2, 10)
    training = np.array([(x, y) for x in grid for y in grid])
    history = rbm.greedy(model, training, max_basis=20).history
    published = printed(BOUNDS)
    unit = 10.0 ** (np.floor(np.log10(published)) - 5)
    found = np.array([step.bound for step in history])
    assert len(found) == len(published)
    assert np.all(np.abs(found - published) <= DIGIT * unit)


def test_the_online_answers_with_the_published_parameters_are_the_published_ones(model: rbm.FullOrderModel) -> None:
    grid = np.linspace(-2, 2, 10)
    given = np.array([[float(x) for x in pair.split(",")] for pair in PARAMETERS.split()])
    chosen = grid[np.argmin(np.abs(given[:, :, None] - grid), axis=2)]
    np.testing.assert_allclose(chosen, given, atol=5e-7)
    reduced = rbm.project(model, model.solve(chosen).T)
    answer = reduced.solve([-2.0, 0.79])
    outputs = [float(answer.outputs[f"s{k}"][0]) for k in range(4)]
    np.testing.assert_allclose(outputs, [0.12248, 0.370889, 0.254934, 0.114764], rtol=0, atol=DIGIT * 1e-6)
    bounds = [float(answer.output_bounds[f"s{k}"][0]) for k in range(4)]
    np.testing.assert_allclose(bounds, 0.0659666, rtol=0, atol=DIGIT * 1e-7)
