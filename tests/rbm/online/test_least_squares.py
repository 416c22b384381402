"""Least-squares projection.

It minimises the residual norm, is stable where Galerkin is not, and is certified like Galerkin.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from helpers.models import complex_model, two_parameter_model
from helpers.oracle import Oracle
from helpers.scattering_models import scattering

import rbm
from problems import reaction_diffusion_1d
from rbm.online import reference

MODELS = {
    "real": reaction_diffusion_1d,
    "complex": complex_model,
    "two parameters": two_parameter_model,
    "scattering": scattering,
    "complex scattering": lambda: scattering(complex_valued=True),
}


@pytest.fixture(scope="module", params=list(MODELS))
def case(request: pytest.FixtureRequest) -> tuple[rbm.FullOrderModel, rbm.GreedyResult, Oracle]:
    model = MODELS[request.param]()
    size = 20 if "scattering" in request.param else 6
    result = rbm.greedy(
        model,
        model.parameters.sample(300),
        max_basis=size,
        estimators=("E_onb", "E1", "E2"),
        projection="least-squares",
        progress=False,
    )
    return model, result, Oracle(model, result.basis)


def test_certified_bounds_are_never_below_the_exact_residual(case: tuple) -> None:
    model, result, oracle = case
    mus = model.parameters.sample(150, "random", rng=1)
    theta, phi = model.operator_coefficients(mus), model.rhs_coefficients(mus)
    for n in {1, 2, 5, result.basis.shape[1]}:
        reduced = result.reduced_model.truncate(n)
        gamma = reduced.solve(mus, estimate=False).coefficients
        exact = oracle.norm(theta, phi, gamma)
        for method in ("orthonormal", "direct", "expanded"):
            e = reduced.estimators[method].evaluate(theta, phi, gamma)
            assert np.all(e.bound >= exact), (n, method)
            assert np.all(np.abs(e.value - exact) <= e.floor * (1 + 1e-12)), (n, method)


def test_bounds_hold_for_the_true_error(case: tuple) -> None:
    model, result, _ = case
    mus = model.parameters.sample(40, "random", rng=2)
    truth = model.solve_extended(mus)
    for n in range(1, result.basis.shape[1] + 1, 3):
        solution = result.reduced_model.truncate(n).solve(mus)
        error = model.error_norm(mus, solution.coefficients, result.basis[:, :n], truth)
        assert np.all(solution.bound >= error), n


def test_it_minimises_the_residual(case: tuple) -> None:
    model, result, oracle = case
    mus = model.parameters.sample(10, "random", rng=3)
    theta, phi = model.operator_coefficients(mus), model.rhs_coefficients(mus)
    n = min(5, result.basis.shape[1])
    gamma = result.reduced_model.truncate(n).solve(mus, estimate=False).coefficients
    smallest = oracle.norm(theta, phi, gamma)
    rng = np.random.default_rng(0)
    for scale in (1e-2, 1e-4):
        other = gamma * (1 + scale * rng.standard_normal(gamma.shape))
        assert np.all(oracle.norm(theta, phi, other) >= smallest * (1 - 1e-10))


def test_the_residual_never_grows_with_the_basis(case: tuple) -> None:
    model, result, oracle = case
    mus = model.parameters.sample(20, "random", rng=4)
    theta, phi = model.operator_coefficients(mus), model.rhs_coefficients(mus)
    before = np.full(len(mus), np.inf)
    for n in range(1, result.basis.shape[1] + 1):
        e = result.reduced_model.truncate(n).estimate(mus)
        now = oracle.norm(theta, phi, result.reduced_model.truncate(n).solve(mus, estimate=False).coefficients)
        assert np.all(now <= before + e.floor * model.stability(mus, theta))
        before = now


def test_against_a_dense_least_squares_solve(case: tuple) -> None:
    model, result, _ = case
    n = min(4, result.basis.shape[1])
    mus = model.parameters.sample(5, "random", rng=5)
    reduced = rbm.project(model, result.basis[:, :n], projection="least-squares")
    gamma = reduced.solve(mus, estimate=False).coefficients
    product = model.product.toarray() if hasattr(model.product, "toarray") else model.product
    factor = np.linalg.cholesky(product)
    for mu, g in zip(mus, gamma, strict=True):
        a = model.assemble(model.operator_coefficients(mu[None])[0])
        f = model.rhs_terms @ model.rhs_coefficients(mu[None])[0]
        expected = np.linalg.lstsq(np.linalg.solve(factor, a @ result.basis[:, :n]), np.linalg.solve(factor, f))[0]
        np.testing.assert_allclose(g, expected, rtol=0, atol=1e-9 * np.abs(expected).max())


def test_truncation_is_projection_onto_fewer_vectors(case: tuple) -> None:
    model, result, _ = case
    mus = model.parameters.sample(10, "random", rng=6)
    for n in (1, 3, 5):
        cut = result.reduced_model.truncate(n)
        anew = rbm.project(model, result.basis[:, :n], projection="least-squares")
        assert cut.operators.shape == anew.operators.shape
        a, b = cut.solve(mus), anew.solve(mus)
        np.testing.assert_allclose(a.coefficients, b.coefficients, rtol=0, atol=1e-9 * np.abs(b.coefficients).max())
        assert np.all(np.abs(a.bound - b.bound) <= 1e-6 * b.bound + a.estimate.floor + b.estimate.floor)


def test_galerkin_fails_where_least_squares_does_not() -> None:
    """A(mu) = [[mu, 1], [1, 0]]-like saddle: Z^H A Z vanishes for a basis vector that A maps to its complement."""
    swap = np.kron(np.eye(3), np.array([[0.0, 1.0], [1.0, 0.0]]))
    model = rbm.FullOrderModel(
        [(1.0, swap), ("m", np.diag([0.0, 1.0] * 3))],
        [(1.0, np.array([0.0, 1.0, 0.0, 1.0, 0.0, 1.0]))],
        np.eye(6),
        rbm.ParameterSpace({"m": (0.0, 1.0)}),
        0.6,
        projection="least-squares",
    )
    basis = np.array([[1.0, 0.0] * 3]).T
    mus = [[0.0], [0.5]]
    with pytest.raises(rbm.ModelError, match="singular"):
        rbm.project(model, basis, projection="galerkin").solve(mus)
    solution = rbm.project(model, basis).solve(mus)
    exact = model.solve(mus)
    assert np.all(
        solution.bound >= np.linalg.norm(exact - solution.coefficients @ (basis / np.sqrt(3)).T, axis=1) - 1e-15
    )
    np.testing.assert_allclose(solution.bound, 0, atol=1e-13)  # the solution lies in the basis


def test_a_basis_as_large_as_the_space() -> None:
    model = reaction_diffusion_1d(6)
    reduced = rbm.project(model, np.eye(5), projection="least-squares")
    mus = [[1.0], [50.0]]
    u = reduced.reconstruct(reduced.solve(mus).coefficients)
    np.testing.assert_allclose(u, model.solve(mus), rtol=1e-11)


def test_files_keep_the_projection(tmp_path: Path) -> None:
    model = scattering()
    result = rbm.greedy(model, model.parameters.sample(60), max_basis=5, progress=False)
    assert result.reduced_model.projection == "least-squares"
    result.reduced_model.save(tmp_path / "m.rbm")
    again = rbm.load(tmp_path / "m.rbm")
    assert again.projection == "least-squares"
    assert "least-squares" in repr(again)
    mus = model.parameters.sample(7, "random", rng=1)
    a, b = again.solve(mus), result.reduced_model.solve(mus)
    for name in b.outputs:
        np.testing.assert_array_equal(a.outputs[name], b.outputs[name])
        np.testing.assert_array_equal(a.output_bounds[name], b.output_bounds[name])
    np.testing.assert_array_equal(a.bound, b.bound)


def test_a_resumed_run_is_the_same_run(tmp_path: Path) -> None:
    model = scattering()
    training = model.parameters.sample(60)
    whole = rbm.greedy(model, training, max_basis=6, progress=False)
    rbm.greedy(model, training, max_basis=3, progress=False).save(tmp_path / "run")
    resumed = rbm.greedy(model, training, max_basis=6, progress=False, resume=tmp_path / "run")
    np.testing.assert_array_equal(resumed.basis, whole.basis)
    np.testing.assert_array_equal(resumed.reduced_model.operators, whole.reduced_model.operators)


def test_relative_tolerance() -> None:
    model = scattering()
    training = model.parameters.sample(100)
    result = rbm.greedy(model, training, tol=1e-3, relative=True, progress=False)
    assert result.stopped == "tolerance"
    solution = result.reduced_model.solve(training)
    relative = solution.bound / np.linalg.norm(solution.coefficients, axis=1)
    assert relative.max() <= 1e-3
    assert result.history[-1].bound == pytest.approx(relative.max(), rel=1e-12)
    fewer = rbm.greedy(model, training, tol=1e-3, progress=False)
    assert len(fewer.parameters) >= len(result.parameters)  # ||u_N|| > 1 here


def test_unknown_projections_are_refused() -> None:
    model = scattering()
    for call in (
        lambda: rbm.project(model, np.eye(66)[:, :1], projection="petrov"),
        lambda: rbm.greedy(model, model.parameters.sample(5), projection="petrov", progress=False),
    ):
        with pytest.raises(rbm.ModelError, match="projection must be one of 'galerkin', 'least-squares', got 'petrov'"):
            call()


@pytest.mark.parametrize("dtype", [np.float64, np.complex128, np.float32, np.complex64])
def test_the_tall_kernel_solves_by_qr_and_not_by_normal_equations(dtype: type) -> None:
    """cond(A)^2 u > 1: normal equations would lose everything."""
    rng = np.random.default_rng(0)
    eps = np.finfo(dtype).eps
    q, _ = np.linalg.qr(rng.standard_normal((12, 4)) + 1j * rng.standard_normal((12, 4)))
    v, _ = np.linalg.qr(rng.standard_normal((4, 4)))
    a = (np.linalg.qr(q.real)[0] if np.dtype(dtype).kind == "f" else q) @ np.diag(np.geomspace(1, eps**0.6, 4)) @ v
    x = np.array([1.0, 2.0, 3.0, 4.0])
    operators, rhs = a[None].astype(dtype), (a @ x)[None].astype(dtype)
    one = np.ones((3, 1), dtype=operators.real.dtype)
    gamma = reference.solve(operators, rhs, one, one)
    residual = np.linalg.norm(gamma @ operators[0].T - rhs[0], axis=1) / np.linalg.norm(rhs[0])
    assert gamma.dtype == dtype
    assert np.all(residual <= 100 * eps)
    np.testing.assert_allclose(gamma, np.tile(x, (3, 1)), rtol=30 * eps**0.4)  # cond(A) eps; cond(A)^2 eps is above 1


def test_a_singular_tall_system_names_its_row() -> None:
    operators = np.zeros((1, 3, 2))
    operators[0, 0, 0] = 1.0
    with pytest.raises(rbm.ModelError, match=r"system \(row 0, 2 such points\) is singular"):
        reference.solve(operators, np.ones((1, 3)), np.ones((2, 1)), np.ones((2, 1)))


def zero_crossing_model(scale: float = 1.0) -> rbm.FullOrderModel:
    """u(m) = 0 at m = 0, and small around it."""
    base = two_parameter_model(30)
    names = ("1", "a", "b")
    return rbm.FullOrderModel(
        list(zip(names, base.operator_terms, strict=True)),
        [("a - 50.5", scale * base.rhs_terms[:, 0])],
        base.product,
        base.parameters,
        1.0,
    )


@pytest.mark.parametrize("with_zero", [False, True])
@pytest.mark.parametrize("scale", [1.0, 1e-8])
def test_a_relative_tolerance_is_met_at_every_point_also_where_the_solution_is_small_or_zero(
    with_zero: bool, scale: float
) -> None:
    model = zero_crossing_model(scale)
    training = model.parameters.sample(100)
    if with_zero:
        training = np.concatenate([training, [[50.5, 20.0]]])
    result = rbm.greedy(model, training, tol=1e-6, relative=True, progress=False)
    assert result.stopped == "tolerance"
    assert len(result.parameters) >= 3
    solution = result.reduced_model.solve(training)
    size = np.linalg.norm(solution.coefficients, axis=1)
    assert np.all(solution.bound <= 1e-6 * size)
    if with_zero:
        assert size[-1] == 0 == solution.bound[-1]


def test_a_reduced_solution_that_is_zero_where_the_solution_is_not_has_no_relative_error() -> None:
    model = rbm.FullOrderModel(
        [(1.0, np.eye(2))],
        [("a", np.array([1.0, 0.0])), ("1 - a", np.array([0.0, 1e-9]))],
        np.eye(2),
        rbm.ParameterSpace({"a": (0.0, 1.0)}),
        1.0,
    )
    result = rbm.greedy(model, [[0.0], [1.0]], tol=1e-6, relative=True, progress=False)
    assert len(result.parameters) == 2
    assert np.isinf(result.history[1].bound)


def test_a_relative_run_is_not_resumed_as_an_absolute_one_and_keeps_its_projection(tmp_path: Path) -> None:
    model = two_parameter_model(30)
    training = model.parameters.sample(50)
    first = rbm.greedy(model, training, max_basis=2, progress=False, projection="least-squares")
    first.save(tmp_path / "run")
    for resume in (first, tmp_path / "run"):
        more = rbm.greedy(model, training, max_basis=3, progress=False, resume=resume)
        assert more.projection == more.reduced_model.projection == "least-squares"
        with pytest.raises(rbm.ModelError, match=r"made with relative=False, .* pass relative=False again"):
            rbm.greedy(model, training, max_basis=3, progress=False, resume=resume, relative=True)
    other = rbm.greedy(model, training, max_basis=3, progress=False, resume=first, projection="galerkin")
    assert other.reduced_model.projection == "galerkin"


def test_a_file_is_read_although_its_stability_bound_vanishes_in_the_middle(tmp_path: Path) -> None:
    model = rbm.FullOrderModel(
        [("mu - 2", np.eye(3))], [(1.0, np.ones(3))], np.eye(3), rbm.ParameterSpace({"mu": (1.0, 3.0)}), "abs(mu - 2)"
    )
    reduced = rbm.project(model, np.ones((3, 1)))
    reduced.save(tmp_path / "m.rbm")
    np.testing.assert_array_equal(rbm.load(tmp_path / "m.rbm").solve([1.5]).bound, reduced.solve([1.5]).bound)
