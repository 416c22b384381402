"""Load cases: one operator, k right-hand sides; answers, bounds and outputs of each."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp

import rbm
from problems import convection_diffusion
from rbm.errors import ModelError, ParameterError

BASE = convection_diffusion(10)
N, K = BASE.dimension, 3
LOADS = np.random.default_rng(0).standard_normal((N, K)) / N
SECOND = np.zeros((N, K))
SECOND[:, 1] = BASE.rhs_terms[:, 0]
CASES = rbm.LoadCases(K)
OUTPUTS = {"mean": np.ones(N) / N, "s": rbm.Linear(np.eye(N)[:4])}
FIXED: dict[str, Any] = {
    "operators": list(zip(BASE.operator_coefficients.sources, BASE.operator_terms, strict=True)),
    "product": BASE.product,
    "stability": 0.05,
    "outputs": OUTPUTS,
}
RANGES = dict.fromkeys(("vx", "vy"), (-2.0, 2.0))
MUS = BASE.parameters.sample(40, "random", rng=4)


def full() -> rbm.FullOrderModel:
    rhs = CASES.terms([(2.0, sp.csr_array(LOADS)), ("1 + vx**2", SECOND)])
    return rbm.FullOrderModel(rhs=rhs, parameters={**RANGES, **CASES.ranges}, **FIXED)


@pytest.fixture(scope="module")
def model() -> rbm.FullOrderModel:
    return full()


@pytest.fixture(scope="module")
def reduced(model: rbm.FullOrderModel) -> rbm.ReducedModel:
    training = CASES.points(BASE.parameters.sample(100, "grid"))
    result = rbm.greedy(model, training, tol=0.05)
    assert result.stopped == "tolerance"
    assert {tuple(mu[2:]) for mu in result.parameters} == {tuple(row) for row in np.eye(K)}
    return result.reduced_model


def test_each_load_is_that_of_a_model_of_its_own(model: rbm.FullOrderModel, reduced: rbm.ReducedModel) -> None:
    made = CASES.solve(reduced, MUS)
    assert len(made) == len(MUS)
    assert made.coefficients.shape == (len(MUS), K, reduced.size)
    assert made.bound.shape == (len(MUS), K)
    assert made.outputs["mean"].shape == made.output_bounds["mean"].shape == (len(MUS), K)
    assert made.outputs["s"].shape == (len(MUS), K, 4)
    fields = made.reconstruct(reduced)
    for j in range(K):
        terms: list[tuple[Any, Any]] = [(2.0, LOADS[:, j]), ("1 + vx**2", SECOND[:, j])]
        alone = rbm.FullOrderModel(rhs=terms, parameters=RANGES, **FIXED)
        hi, lo = alone.solve_extended(MUS)
        u = (hi + lo).T
        errors = alone.inner_product.norm((u - fields[:, j]).T)
        assert np.all(errors <= made.bound[:, j])
        assert np.median(made.bound[:, j] / errors) < 30
        for name in OUTPUTS:
            off = np.abs(alone.outputs[name](MUS, u) - made.outputs[name][:, j])
            assert np.all(off <= made.output_bounds[name][:, j])
        same = rbm.project(alone, reduced.basis).solve(MUS)
        np.testing.assert_allclose(made.coefficients[:, j], same.coefficients, rtol=1e-8, atol=1e-10)
        np.testing.assert_allclose(made.bound[:, j], same.bound, rtol=1e-7)


def test_training_makes_the_worst_load_good(reduced: rbm.ReducedModel) -> None:
    grid = BASE.parameters.sample(100, "grid")
    assert CASES.solve(reduced, grid).bound.max() <= 0.05 * (1 + 1e-12)


def test_combinations_of_loads_are_certified_too(model: rbm.FullOrderModel, reduced: rbm.ReducedModel) -> None:
    weights = np.random.default_rng(5).random((len(MUS), K))
    mus = np.concatenate([MUS, weights], axis=1)
    solution, u = reduced.solve(mus), model.solve(mus)
    assert np.all(model.inner_product.norm((u - reduced.reconstruct(solution)).T) <= solution.bound)
    of_cases = np.einsum("mj,mjn->mn", weights, CASES.solve(reduced, MUS).coefficients)
    np.testing.assert_allclose(of_cases, solution.coefficients, rtol=1e-8, atol=1e-10)


def test_files_and_leaves_keep_them(model: rbm.FullOrderModel, reduced: rbm.ReducedModel, tmp_path: Path) -> None:
    reduced.save(tmp_path / "m.rbm")
    np.testing.assert_array_equal(CASES.solve(rbm.load(tmp_path / "m.rbm"), MUS).bound, CASES.solve(reduced, MUS).bound)
    training = CASES.points(BASE.parameters.sample(100, "grid"))
    cut: Any = rbm.greedy(model, training, tol=0.2, max_basis=15, split=True).reduced_model
    assert len(cut.leaves) > 1
    assert CASES.solve(cut, MUS).bound.shape == (len(MUS), K)


def test_names_and_functions() -> None:
    cases = rbm.LoadCases(["wind", "snow", "wheel"])
    space = rbm.ParameterSpace({**RANGES, **cases.ranges})
    terms = cases.terms([(lambda mus: 1 + mus[:, 0] ** 2, SECOND)], space)
    assert len(terms) == 1  # zero columns make none
    model = rbm.FullOrderModel(rhs=terms, parameters=space, **FIXED)
    point = cases.points([[1.0, 0.5]])
    np.testing.assert_allclose(model.rhs_coefficients(point)[:, 0], [0.0, 2.0, 0.0])
    assert not model.solve(point)[0].any()


@pytest.mark.parametrize(
    ("work", "message"),
    [
        (lambda: rbm.LoadCases(0), "at least one load"),
        (lambda: rbm.LoadCases(["a", "a"]), "a name of its own"),
        (lambda: rbm.LoadCases("wind"), "their number or their names"),
        (lambda: CASES.terms([(1.0, LOADS.T)]), r"load term 0 has shape \(3, 81\), expected \(n, 3\)"),
        (lambda: CASES.terms([(1.0, np.zeros((N, K)))]), "all loads are zero"),
        (lambda: CASES.points([1.0, 2.0]), r"of shape \(M, p\), got float64"),
    ],
)
def test_bad_loads(work: Any, message: str) -> None:
    with pytest.raises((rbm.ModelError, rbm.ParameterError), match=message):
        work()


def test_a_model_without_weights_is_refused() -> None:
    other = rbm.project(BASE, np.ones((N, 1)))
    with pytest.raises(rbm.ModelError, match="not the weights load_0, load_1, load_2"):
        CASES.solve(other, MUS)


def test_several_right_hand_sides_in_a_term_are_told_about_load_cases() -> None:
    with pytest.raises(rbm.ModelError, match=r"rbm\.LoadCases"):
        rbm.FullOrderModel(rhs=[(1.0, LOADS)], parameters=RANGES, **FIXED)


def test_tables_are_read_by_name() -> None:
    pandas = pytest.importorskip("pandas")
    cases = rbm.LoadCases(2)
    k = np.diag([2.0, 3.0, 4.0])
    model = rbm.FullOrderModel(
        operators=[("nu", k), ("mu", np.eye(3))], rhs=cases.terms([(1.0, np.eye(3)[:, :2])]), product=k,
        parameters={"mu": (1.0, 10.0), "nu": (1.0, 50.0), **cases.ranges}, stability="nu",
    )  # fmt: skip
    own = np.stack(np.meshgrid([1.0, 4.0, 10.0], [1.0, 10.0, 50.0]), axis=-1).reshape(-1, 2)
    reduced = rbm.greedy(model, cases.points(own), tol=1e-8, progress=False).reduced_model
    expected = cases.solve(reduced, [[2.0, 50.0]])
    for table in (pandas.DataFrame({"nu": [50.0], "mu": [2.0]}), {"nu": 50.0, "mu": 2.0}):
        assert np.array_equal(cases.solve(reduced, table).coefficients, expected.coefficients)
        with pytest.raises(ParameterError, match="do not know the parameters' names"):
            cases.points(table)
    for bad in (np.ma.masked_array([[2.0, 50.0]], [[True, False]]), [[1.0, 2.0], [3.0]], [[1j, 2.0]], [["a", "b"]]):
        with pytest.raises(ParameterError):
            cases.points(bad)
    assert cases.solve(reduced, [[2.0, 50.0]], coefficients=False).coefficients.shape == (1, 2, 0)


def test_names_of_loads_are_text() -> None:
    for bad in ([["a"]], [1]):
        with pytest.raises(ModelError, match="must be text"):
            rbm.LoadCases(bad)  # type: ignore[arg-type]
