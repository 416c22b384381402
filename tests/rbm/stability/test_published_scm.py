"""Boxes, constants, error bounds and outputs of libMesh's reduced_basis_ex2, to the digits that are published."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.published_models import second_example

import rbm

#: The constraints, printed with six digits.
CONSTRAINTS = np.array(
    [
        (0.100007, 0.583574, 0.0720083),
        (0.475737, 0.181891, 0.0897428),
        (0.145076, 0.221598, 0.0805479),
        (0.711367, 0.581005, 0.0193091),
        (0.987978, 0.125538, 0.0787604),
        (0.529959, 0.964986, 0.0100791),
    ]
)
CONSTANTS = [0.0612292, 0.138719, 0.0872836, 0.46495, 0.0947256, 0.391406]
#: Where the error bound was largest with N = 0, 1, ..., and what it was.
GREEDY = np.array(
    [
        (0.1069284, 0.2914764, 0.07358819),
        (0.1142809, 0.8280501, 0.02726415),
        (0.630079, 0.1026996, 0.05169905),
        (0.100007, 0.5835736, 0.07200828),
        (0.160158, 0.2173845, 0.01171832),
        (0.9879779, 0.1255377, 0.07876044),
        (0.1311149, 0.9016637, 0.07567729),
    ]
)
BOUNDS = [7.98994, 6.68931, 4.14848, 0.696491, 0.0258463, 0.0134179, 0.0021131, 0.000171437]


@pytest.fixture(scope="module")
def model() -> rbm.FullOrderModel:
    return rbm.FullOrderModel(**second_example(), stability=rbm.stability.SCM(training=CONSTRAINTS, tol=1e-4))


def test_the_box_is_the_published_one(model: rbm.FullOrderModel) -> None:
    known = model.stability.constraints
    np.testing.assert_allclose(known.upper * known.scales, [0.999932, 0.999933, 0.0], rtol=0, atol=5.1e-7)
    np.testing.assert_allclose(known.lower * known.scales, [0.0, 0.0, -0.380786], rtol=0, atol=5.1e-7)


def test_the_constants_are_the_published_ones(model: rbm.FullOrderModel) -> None:
    known = model.stability.constraints
    assert len(known.levels) == len(CONSTRAINTS)
    theta = model.operator_coefficients(CONSTRAINTS)
    # their sixth digit is uncertain by that of the parameters, which are printed with six
    np.testing.assert_allclose(model.stability(CONSTRAINTS, theta), CONSTANTS, rtol=6e-6)


def test_the_greedy_bounds_and_the_output_are_the_published_ones(model: rbm.FullOrderModel) -> None:
    steps = rbm.greedy(model, GREEDY, max_basis=6)
    np.testing.assert_allclose([step.parameter for step in steps.history], GREEDY)
    # the constants that they are divided by carry the digits of the constraints
    np.testing.assert_allclose([step.bound for step in steps.history], BOUNDS[:7], rtol=6e-6)
    answer = steps.reduced_model.solve([0.2, 0.7, 0.1])
    assert float(answer.outputs["s0"][0]) == pytest.approx(2.3524, abs=5.1e-6)
    assert float(answer.output_bounds["s0"][0]) == pytest.approx(0.000804934, rel=6e-6)
