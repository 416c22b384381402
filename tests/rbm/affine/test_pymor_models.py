"""Models of pyMOR, taken apart: their solutions, and certified reduced models of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import rbm
from rbm.affine.pymor_models import _dirichlet

pymor = pytest.importorskip("pymor.basic")
pymor.set_log_levels({"pymor": "ERROR"})


@pytest.fixture(scope="module")
def block() -> tuple[Any, Any]:
    problem = pymor.thermal_block_problem(num_blocks=(2, 2))
    return problem, pymor.discretize_stationary_cg(problem, diameter=1 / 8)[0]


def test_thermal_block(block: tuple[Any, Any], tmp_path: Path) -> None:
    problem, fom = block
    arguments = rbm.from_pymor(fom, problem.parameter_space)
    assert [c for c, _ in arguments["operators"]][-4:] == [f"diffusion_{i}" for i in range(4)]
    model = rbm.FullOrderModel(**arguments, stability=rbm.stability.MinTheta([0.5] * 4))
    assert model.parameters.bounds.tolist() == [[0.1, 1.0]] * 4
    assert model.dimension < fom.solution_space.dim
    reduced = rbm.greedy(model, model.parameters.sample(200), tol=1e-5).reduced_model
    reduced.save(tmp_path / "block.rbm")
    product = fom.products["h1_0_semi"].matrix
    for mu in model.parameters.sample(5, "random"):
        truth = fom.solve(fom.parameters.parse({"diffusion": mu})).to_numpy().ravel()
        u = model.constraints.expand(model.solve(mu), mu)[0]
        assert np.abs(u - truth).max() < 1e-11 * np.abs(truth).max()
        solution = reduced.solve(mu)
        error = model.constraints.expand(reduced.reconstruct(solution), mu)[0] - truth
        assert np.sqrt(error @ (product @ error)) <= solution.bound[0] + 1e-12


def test_rows_may_stay(block: tuple[Any, Any]) -> None:
    _, fom = block
    arguments = rbm.from_pymor(fom, {"diffusion": (0.1, 1.0)}, eliminate=False, product="h1_0")
    model = rbm.FullOrderModel(**arguments, stability=0.05)
    mu = [0.2, 0.4, 0.6, 0.8]
    truth = fom.solve(fom.parameters.parse({"diffusion": mu})).to_numpy().ravel()
    assert model.dimension == len(truth)
    np.testing.assert_allclose(model.solve(mu)[0], truth, atol=1e-12)


def test_functionals_dirichlet_values_and_outputs() -> None:
    """All kinds of coefficients; values on the boundary, whose lifting has the coefficients of the operator."""
    from pymor.parameters.functionals import ProductParameterFunctional

    d = pymor.ExpressionParameterFunctional("exp(mu[0]) + nu[1]**2", {"mu": 1, "nu": 2})
    odd = pymor.ExpressionParameterFunctional("sign(mu[0]) + 2*mu[0]", {"mu": 1})
    problem = pymor.StationaryProblem(
        domain=pymor.LineDomain([0, 1], left="dirichlet", right="dirichlet"),
        diffusion=pymor.LincombFunction(
            [pymor.ConstantFunction(1.0, 1), pymor.ExpressionFunction("x[0]", 1)],
            [d, ProductParameterFunctional([2.0, pymor.ProjectionParameterFunctional("nu", 2, 0)])],
        ),
        reaction=pymor.LincombFunction([pymor.ConstantFunction(1.0, 1)], [odd]),
        rhs=pymor.ConstantFunction(1.0, 1),
        dirichlet_data=pymor.ExpressionFunction("1. + 2.*x[0]", 1),
        outputs=[("l2", pymor.ExpressionFunction("x[0]*(1.-x[0])", 1))],
    )
    fom, _ = pymor.discretize_stationary_cg(problem, diameter=1 / 20)
    fom = fom.with_(output_functional=None)
    ranges = {"mu": (0.5, 1.0), "nu_0": (0.1, 1.0), "nu_1": (1.0, 2.0)}
    model = rbm.FullOrderModel(**rbm.from_pymor(fom, ranges), stability=0.1)
    assert model.parameters.names == ("mu", "nu_0", "nu_1")
    assert "exp(mu) + nu_1 ** 2" in model.operator_coefficients.sources
    assert sum(callable(s) for s in model.operator_coefficients.sources) == 1  # sign is not known here
    for mu, *nu in model.parameters.sample(4):
        truth = fom.solve(fom.parameters.parse({"mu": mu, "nu": nu})).to_numpy().ravel()
        point = [mu, *nu]
        u = model.constraints.expand(model.solve(point), point)[0]
        assert np.abs(u - truth).max() < 1e-11 * np.abs(truth).max()
        assert set(np.round(u[model.constraints.fixed], 12)) == {1.0, 3.0}


def test_rows_with_a_constant_on_the_diagonal_are_dirichlet_rows() -> None:
    first = np.array([[3.0, 0, 0, 0], [1, 2, 1, 0], [0, 1, 2, 0], [0, 0, 0, 0]])
    second = np.diag([0, 1.0, 0, 5.0])
    which, diagonal = _dirichlet([(2.0, first), ("k", second)])  # of unknown 3 the equation depends on k
    assert (which.tolist(), diagonal.tolist()) == ([0], [6.0])
    which, diagonal = _dirichlet([(2.0, first), (1j, second)])
    assert (which.tolist(), diagonal.tolist()) == ([0, 3], [6.0, 5j])


def test_outputs(block: tuple[Any, Any]) -> None:
    _, fom = block
    from pymor.operators.numpy import NumpyMatrixOperator

    n = fom.solution_space.dim
    rows = np.ones((2, n)) * (fom.rhs.matrix.ravel() != 0)
    functional = NumpyMatrixOperator(rows * [[1.0], [2.0]])
    arguments = rbm.from_pymor(fom.with_(output_functional=functional), (0.1, 1.0))
    assert list(arguments["outputs"]) == ["output_0", "output_1"]
    model = rbm.FullOrderModel(**arguments, stability=0.05)
    mu = np.full((1, 4), 0.5)
    u = model.solve(mu)
    assert model.outputs["output_1"](mu, u)[0] == pytest.approx(2 * model.outputs["output_0"](mu, u)[0])
    assert model.outputs["output_0"](mu, u)[0] == pytest.approx(rows[0] @ model.constraints.expand(u, mu)[0])


def test_what_cannot_be_read(block: tuple[Any, Any]) -> None:
    _, fom = block
    with pytest.raises(rbm.ModelError, match=r"reads a StationaryModel of pyMOR, got a str"):
        rbm.from_pymor("fom")
    with pytest.raises(rbm.ModelError, match=r"product must name one of h1, .* got 'energy'"):
        rbm.from_pymor(fom, product="energy")
    with pytest.raises(rbm.ModelError, match=r"ranges have no diffusion_3"):
        rbm.from_pymor(fom, {f"diffusion_{i}": (1.0, 2.0) for i in range(3)})
    assert "parameters" not in rbm.from_pymor(fom)
