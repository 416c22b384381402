"""Quadratic outputs: values, bounds, the norm of a form, bad input."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp
import scipy.sparse.linalg
from helpers.models import complex_model
from helpers.scattering_models import scattering

import rbm
from rbm.affine.inner_product import InnerProduct
from rbm.reduced.form_norms import form_norm


def with_outputs(outputs: dict, n: int = 40) -> rbm.FullOrderModel:
    base = complex_model(n)
    return rbm.FullOrderModel(
        list(zip(base.operator_coefficients.sources, base.operator_terms, strict=True)),
        [(1.0, base.rhs_terms[:, 0])],
        base.product,
        base.parameters,
        1.0,
        outputs=outputs,
    )


def _norm(form, product: InnerProduct) -> float:  # type: ignore[no-untyped-def]
    balanced, exponent = product.in_units_scaled(form)
    return form_norm(balanced, product.units) * 2.0**exponent


def test_values_and_bounds_against_the_full_model() -> None:
    base = complex_model(40)
    rng = np.random.default_rng(0)
    dense = rng.standard_normal((39, 39)) + 1j * rng.standard_normal((39, 39))
    dense = (dense + dense.conj().T) / 78
    model = with_outputs({"mass": base.operator_terms[1], "mixed": [("a", base.operator_terms[1]), ("-1", dense)]})
    mus = model.parameters.sample(30, "random", rng=1)
    u = model.solve(mus)
    result = rbm.greedy(model, model.parameters.sample(100), max_basis=6, progress=False)
    for n in range(1, 7):
        solution = result.reduced_model.truncate(n).solve(mus)
        for name in ("mass", "mixed"):
            exact = model.outputs[name](mus, u)
            assert exact.dtype == float
            assert np.all(np.abs(solution.outputs[name] - exact) <= solution.output_bounds[name]), (n, name)
    assert np.max(solution.output_bounds["mass"] / np.abs(solution.outputs["mass"])) < 1e-3


def test_bounds_near_round_off_still_hold() -> None:
    model = with_outputs({"energy": complex_model(40).product})
    mus = model.parameters.sample(20, "random", rng=1)
    result = rbm.greedy(model, model.parameters.sample(300), progress=False)
    solution = result.reduced_model.solve(mus)
    hi, lo = model.solve_extended(mus)
    exact = model.outputs["energy"](mus, (hi + lo).T)
    assert np.all(np.abs(solution.outputs["energy"] - exact) <= solution.output_bounds["energy"] + 40 * 2e-16 * exact)


def test_the_norm_of_a_form_is_its_largest_eigenvalue() -> None:
    n = 25
    rng = np.random.default_rng(1)
    root = rng.standard_normal((n, n)) + 3 * np.eye(n)
    p = root @ root.T
    product = InnerProduct((p + p.T) / 2)
    factor = np.linalg.cholesky((p + p.T) / 2)
    for sign in (1, -1):
        form = np.diag(np.linspace(-1, 3, n)) * sign
        whitened = np.linalg.solve(factor, np.linalg.solve(factor, form).T)
        exact = np.abs(np.linalg.eigvalsh((whitened + whitened.T) / 2)).max()
        assert exact <= _norm(form, product) <= exact * (1 + 1e-5)
    assert _norm(np.zeros((n, n)), product) == 0.0


def test_the_norm_of_a_large_sparse_form() -> None:
    n = 2000
    p = sp.diags_array([-np.ones(n - 1), 2.5 * np.ones(n), -np.ones(n - 1)], offsets=[-1, 0, 1], format="csr")
    form = sp.diags_array(np.linspace(1, 2, n), format="csr")
    bound = _norm(form, InnerProduct(p))
    v = np.sin(np.pi * np.arange(1, n + 1) / (n + 1))
    assert (v @ (form @ v)) / (v @ (p @ v)) <= bound <= 2 / 0.5


@pytest.mark.parametrize(
    ("outputs", "message"),
    [
        ({"q": np.triu(np.ones((39, 39)))}, "output 'q' has a matrix that is not Hermitian"),
        ({"q": np.ones((39, 38))}, r"output 'q' has shape \(39, 38\)"),
        ({"q": [(1.0, np.eye(39)), (1.0, np.ones(39))]}, "output 'q' mixes vectors"),
        ({"a": np.ones(39)}, "output 'a' has the name of a parameter"),
        ({"q": np.full((39, 39), np.nan)}, "NaN or infinite"),
    ],
)
def test_bad_outputs(outputs: dict, message: str) -> None:
    with pytest.raises(rbm.ModelError, match=message):
        with_outputs(outputs)


def test_absorption_by_a_passive_surface_is_certified_to_be_positive() -> None:
    model = scattering()
    result = rbm.greedy(model, model.parameters.sample(200), tol=1e-4, relative=True, progress=False)
    solution = result.reduced_model.solve(model.parameters.sample(100, "random", rng=1))
    assert np.all(solution.outputs["absorption"] > solution.output_bounds["absorption"])


def test_the_bound_of_a_form_is_sharp_for_an_error_along_the_solution() -> None:
    """u = (1 + d) z: u^H z - z^H z = (2 d + d^2) ||z||^2, exactly what the bound allows."""
    model = rbm.FullOrderModel(
        [(1.0, 2 * np.eye(3))],  # Q is not the energy, which is compliant
        [(1.0, np.ones(3))],
        np.eye(3),
        rbm.ParameterSpace({"m": (0, 1)}),
        1.0,
        outputs={"q": np.eye(3)},
    )
    output = rbm.project(model, np.eye(3)[:, :1]).outputs["q"]
    gamma = np.array([[2.0], [3.0]])
    for d in (1e-8, 0.1, 10.0):
        bound = output.bound(np.zeros((2, 1)), gamma, d * gamma[:, 0])
        exact = (2 * d + d**2) * gamma[:, 0] ** 2
        assert np.all(bound >= exact)
        np.testing.assert_allclose(bound, exact, rtol=1e-4)


@pytest.mark.parametrize("size", [1.0, 1e-6, 1e-12])
@pytest.mark.parametrize("difference", [1e-2, 1e-7, 1e-8, 1e-10])
def test_output_bounds_hold_where_the_terms_nearly_cancel(size: float, difference: float) -> None:
    """l(m) = l_1 + (-l_1 + difference w) nearly vanishes.

    Its norm is difference ||w||, a square root of rounding errors of the Gram matrix.
    """
    rng = np.random.default_rng(0)
    for _ in range(20):
        l1, w = size * rng.standard_normal(6), size * rng.standard_normal(6)
        second = -l1 + difference * w
        model = rbm.FullOrderModel(
            [("m", np.eye(6))],
            [(1.0, l1 + second)],  # so that the error is along the functional
            np.eye(6),
            rbm.ParameterSpace({"m": (1.0, 2.0)}),
            1.0,
            outputs={"s": [(1.0, l1), (1.0, second)]},
        )
        other = np.linalg.qr(np.column_stack([l1 + second, rng.standard_normal(6)]))[0][:, 1:]
        solution = rbm.project(model, other).solve([1.0])
        exact = float((l1 + second) @ (l1 + second))
        assert abs(exact - solution.outputs["s"][0]) <= solution.output_bounds["s"][0] * (1 + 1e-13)


def test_the_bound_of_a_linear_output_is_the_norm_of_its_functional_times_that_of_the_error() -> None:
    """With several terms and coefficients, which need not be alike in size."""
    rng = np.random.default_rng(3)
    terms = [rng.standard_normal(39), 1e-3 * rng.standard_normal(39) + 1j * rng.standard_normal(39)]
    model = with_outputs({"mixed": [("a", terms[0]), ("1 + 1j*b", terms[1])]})
    reduced = rbm.greedy(model, model.parameters.sample(100), max_basis=3, progress=False).reduced_model
    mus = model.parameters.sample(30, "random", rng=1)
    solution = reduced.solve(mus)
    psi = model.outputs["mixed"].coefficients(mus)
    functionals = (psi @ np.stack(terms)).conj().T
    norms = np.sqrt(
        np.sum(functionals.conj() * scipy.sparse.linalg.spsolve(sp.csc_array(model.product), functionals), axis=0).real
    )
    np.testing.assert_allclose(solution.output_bounds["mixed"], norms * solution.bound, rtol=1e-6)
