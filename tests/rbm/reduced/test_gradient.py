"""Derivatives of outputs: right to round-off, with bounds that hold against 300-bit arithmetic."""

from __future__ import annotations

import importlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.linalg
from helpers.exact_gradients import (
    distances,
    exact_slope_residuals,
    exact_sums,
    gradient_errors,
    quotients,
    rod,
)
from helpers.exact_outputs import compliant_model, convection_model
from helpers.small_models import matrices

import problems
import rbm
from lowrank import LowRankMatrix
from rbm.parameters import Coefficients
from rbm.reduced.compliant import ReducedCompliant
from rbm.reduced.output_gradients import AtSlopes, output_gradient
from rbm.reduced.outputs import ReducedLinear, ReducedQuadratic
from rbm.reduced.primal_dual import ReducedPrimalDual
from rbm.reduced.sensitivities import Slopes, growth, reduced_slopes
from rbm.reduced.term_norms import term_norms

CASES: dict[str, tuple[Any, dict[str, Any]]] = {
    "min-theta": (rod, {}),
    "convection": (lambda: rod("convection"), {}),
    "compliant": (lambda: compliant_model("real"), {}),
    "complex": (lambda: compliant_model("complex"), {}),
    "indefinite": (lambda: compliant_model("indefinite"), {}),
    "not Hermitian": (lambda: convection_model(3, "complex"), {}),
    "dual": (lambda: convection_model(3), {"dual": "all"}),
    "complex dual": (lambda: convection_model(3, "complex"), {"dual": "all"}),
    "least squares": (lambda: convection_model(3, "complex"), {"projection": "least-squares"}),
    "dual least squares": (lambda: convection_model(3), {"projection": "least-squares", "dual": "all"}),
}


def made(name: str, size: int | None = None) -> tuple[rbm.FullOrderModel, rbm.ReducedModel]:
    make, options = CASES[name]
    model = make()
    limit = {} if size is None else {"max_basis": size}
    return model, rbm.greedy(model, model.parameters.sample(40), **options, **limit).reduced_model


def check(model: rbm.FullOrderModel, reduced: rbm.ReducedModel, count: int = 6) -> dict[str, np.ndarray]:
    """Check the bounds at points, and return error over bound of each output."""
    mus = model.parameters.sample(count, "random", rng=reduced.size)
    values, bounds = reduced.gradient(mus)
    errors = gradient_errors(model, mus, values)
    for name, bound in bounds.items():
        assert bound.shape == mus.shape
        assert np.all(errors[name] <= bound), name
    return {name: errors[name] / np.maximum(bounds[name], 1e-300) for name in values}


@pytest.mark.parametrize("size", [1, 3, None])
@pytest.mark.parametrize("name", CASES)
def test_bounds_hold(name: str, size: int | None) -> None:
    model, reduced = made(name, size)
    check(model, reduced)


@pytest.mark.parametrize("name", ["min-theta", "complex", "complex dual", "least squares"])
def test_bounds_hold_in_single_precision(name: str) -> None:
    model, reduced = made(name)
    check(model, reduced.astype("float32"))


def test_bounds_hold_for_truncated_compressed_and_quantised_models() -> None:
    model, reduced = made("min-theta")
    for other in (reduced.truncate(2), reduced.compress(0.5), reduced.quantize({"basis": 8, "matrices": 10})):
        check(model, other)


@pytest.mark.parametrize("name", ["min-theta", "complex", "complex dual"])
def test_derivatives_are_difference_quotients_in_extended_precision(name: str) -> None:
    """With the whole space as the basis: what is left is rounding, here and of the coefficients."""
    make, _ = CASES[name]
    model = make()
    reduced = rbm.project(model, np.eye(model.dimension))
    mus = model.parameters.sample(3, "random", rng=1)
    values, bounds = reduced.gradient(mus)
    for output, value in values.items():
        exact = quotients(model, mus, output)
        assert np.abs(value - exact).max() <= 1e-12 * np.abs(exact).max()
        assert np.all(bounds[output] <= 1e-9 * np.abs(exact).max())


@pytest.mark.parametrize("name", [name for name in CASES if name not in ("compliant", "indefinite", "dual")])
def test_derivatives_are_those_of_the_reduced_output(name: str) -> None:
    """The value is the derivative of what solve returns, which is what an optimiser needs."""
    model, reduced = made(name, 3)
    mus = model.parameters.sample(4, "random", rng=2)
    values, _ = reduced.gradient(mus)
    h = 1e-4 * (model.parameters.bounds[:, 1] - model.parameters.bounds[:, 0])
    for j in range(mus.shape[1]):
        at = [reduced.solve(mus + k * np.eye(mus.shape[1])[j] * h, extrapolate=True).outputs for k in (1, -1, 2, -2)]
        for output, value in values.items():
            s = [a[output] for a in at]
            quotient = (8 * (s[0] - s[1]) - (s[2] - s[3])) / (12 * h[j])
            assert np.abs(value[:, j] - quotient).max() <= 1e-8 * np.abs(quotient).max()


def test_the_kinds_of_outputs_are_those_that_were_meant() -> None:
    kinds = {name: type(o) for name, o in made("min-theta", 2)[1].outputs.items()}
    assert kinds == {
        "own": ReducedCompliant, "energy": ReducedCompliant, "linear": ReducedLinear, "square": ReducedQuadratic
    }  # fmt: skip
    assert all(type(o) is ReducedPrimalDual for o in made("dual", 2)[1].outputs.values())


@pytest.mark.parametrize(
    ("name", "output", "rate"), [("compliant", "s", 2), ("dual", "window", 2), ("compliant", "other", 1)]
)
def test_bounds_of_compliant_and_dual_outputs_fall_twice_as_fast(name: str, output: str, rate: int) -> None:
    """The logarithm of the bound of the derivative over that of the bound of the solution, over sizes."""
    model, reduced = made(name)
    mus = model.parameters.sample(20, "random", rng=4)
    duals = rbm.greedy(model, model.parameters.sample(40), dual="all").dual if name == "dual" else {}
    bounds, errors = [], []
    for size in (2, 4):
        small = rbm.project(model, reduced.basis[:, :size], dual={n: run.basis[:, :size] for n, run in duals.items()})
        bounds.append(np.median(small.gradient(mus).bounds[output]))
        errors.append(np.median(small.solve(mus).bound))
    found = np.log(bounds[1] / bounds[0]) / np.log(errors[1] / errors[0])
    assert abs(found - rate) < 0.4


def test_a_parameter_on_which_nothing_depends_has_the_derivative_and_the_bound_zero() -> None:
    stiffness, mass, load = matrices("sparse")
    model = rbm.FullOrderModel(
        [(1.0, stiffness), ("a", mass)], [(1.0, load)], stiffness, {"a": (1.0, 9.0), "b": (0.0, 1.0)}, 1.0,
        outputs={"s": load, "t": np.cos(load), "q": mass},
    )  # fmt: skip
    reduced = rbm.greedy(model, model.parameters.sample(20), max_basis=2).reduced_model
    values, bounds = reduced.gradient([[2.0, 0.5]])
    for name in values:
        assert values[name][0, 1] == 0
        assert bounds[name][0, 1] == 0
        assert bounds[name][0, 0] > 0


def test_one_point_many_points_and_names() -> None:
    model, reduced = made("min-theta", 3)
    mus = model.parameters.sample(1500, "random", rng=1)
    whole = reduced.gradient(mus)
    assert len(whole) == 1500
    some = reduced.gradient({"b": mus[[3, 900], 1], "a": mus[[3, 900], 0]}, outputs="linear")
    assert list(some.values) == ["linear"]
    assert np.allclose(some.values["linear"], whole.values["linear"][[3, 900]], rtol=1e-12)
    assert np.allclose(some.bounds["linear"], whole.bounds["linear"][[3, 900]], rtol=1e-9)
    assert "d(linear)/d(a, b)" in repr(some)
    values, bounds = reduced.gradient(mus[:2], estimate=False)
    assert bounds is None
    assert np.allclose(values["own"], whole.values["own"][:2], rtol=1e-12)


def test_the_norms_of_terms_are_sharp_bounds() -> None:
    model = convection_model(3, "complex")
    known = term_norms(model, model.stability)
    p = model.product.toarray()
    root = scipy.linalg.cholesky(p, lower=True)
    for a, norm in zip(model.operator_terms, known.norms, strict=True):
        inner = scipy.linalg.solve_triangular(root, a.toarray(), lower=True)
        exact = np.linalg.norm(scipy.linalg.solve_triangular(root.conj(), inner.T, lower=True), 2)
        assert exact <= norm <= 1.5 * exact  # of a Hermitian and a skew part, each sharp
    u, v = np.random.default_rng(0).standard_normal((2, 9, 2))
    model = rbm.FullOrderModel(
        [(1.0, model.product), ("a", LowRankMatrix(u, np.array([2.0, -1.0]), v))], [(1.0, u[:, 0])], model.product,
        {"a": (0.0, 1e-3)}, 0.5,
    )  # fmt: skip
    dense = model.operator_terms[1].to_dense()
    inner = scipy.linalg.solve_triangular(root, dense, lower=True)
    exact = np.linalg.norm(scipy.linalg.solve_triangular(root, inner.T, lower=True), 2)
    assert exact <= term_norms(model, model.stability).norms[1] <= 4 * exact


def test_the_growth_bounds_what_an_error_of_the_solution_does_to_the_derivative() -> None:
    """||A^{-1} A_j' A^{-1}|| <= tau / beta, exactly, for min-theta, which takes the smaller, and for norms of terms."""
    model = rod()
    reduced = rbm.greedy(model, model.parameters.sample(20), max_basis=2).reduced_model
    mus = model.parameters.sample(5, "random", rng=1)
    theta, slopes = model.operator_coefficients(mus), model.operator_coefficients.derivative(mus).transpose(0, 2, 1)
    beta = model.stability(mus, theta)
    sharp = growth(model.stability, reduced.term_norms, theta, slopes, beta)
    other = rbm.FullOrderModel(
        list(zip(model.operator_coefficients.sources, model.operator_terms, strict=True)),
        [(1.0, model.rhs_terms[:, 0])], model.product, model.parameters,
        rbm.stability.SCM(),
    )  # fmt: skip
    general = growth(other.stability, term_norms(other, other.stability), theta, slopes, beta)
    root = scipy.linalg.cholesky(model.product.toarray(), lower=True)
    for k, j in np.ndindex(5, 2):
        a = sum(t * m.toarray() for t, m in zip(theta[k], model.operator_terms, strict=True))
        d = sum(t * m.toarray() for t, m in zip(slopes[k, j], model.operator_terms, strict=True))
        exact = np.linalg.norm(root.T @ np.linalg.solve(a, d @ np.linalg.solve(a, root)), 2)
        assert exact <= general[k, j] / beta[k]
        assert exact <= sharp[k, j] / beta[k] * (1 + 1e-9)
        assert sharp[k, j] <= general[k, j]


def test_large_models_are_refused_until_their_norms_are_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.import_module("rbm.project"), "term_norms", lambda *a: term_norms(*a, small=1))
    model, reduced = made("not Hermitian", 3)
    mus = model.parameters.sample(2)
    with pytest.raises(rbm.ModelError, match=r"needs \|\|A_q\|\| of operator term 1.*with_term_norms\(full_model\)"):
        reduced.gradient(mus)
    assert reduced.gradient(mus, estimate=False).bounds is None
    check(model, reduced.with_term_norms(model))
    with pytest.raises(rbm.ModelError, match="are not those of this reduced model"):
        reduced.with_term_norms(rod())
    for made_of in (lambda a, p: (10 * a, p), lambda a, p: (a, 10 * p)):
        first, product = made_of(model.operator_terms[0], model.product)
        terms = list(zip(model.operator_coefficients.sources, (first, *model.operator_terms[1:]), strict=True))
        other = rbm.FullOrderModel(terms, [(1.0, model.rhs_terms[:, 0])], product, model.parameters, 0.1)
        with pytest.raises(rbm.ModelError, match="projected on the basis, are not those"):
            reduced.with_term_norms(other)
    for same in (reduced.astype("float32"), reduced.quantize({"basis": 8, "matrices": 10})):
        assert same.with_term_norms(model).term_norms is not None


def test_files_keep_the_norms_and_older_ones_still_load(tmp_path: Path) -> None:
    model, reduced = made("dual", 3)
    mus = model.parameters.sample(3)
    reduced.save(tmp_path / "model.rbm")
    again = rbm.load(tmp_path / "model.rbm")
    for a, b in zip(reduced.gradient(mus), again.gradient(mus), strict=True):
        assert all(np.array_equal(a[name], b[name]) for name in a)
    replace(reduced, term_norms=None).save(tmp_path / "older.rbm")
    older = rbm.load(tmp_path / "older.rbm")
    assert older.term_norms is None
    with pytest.raises(rbm.ModelError, match="from a file older than derivatives"):
        older.gradient(mus)
    assert np.array_equal(
        older.with_term_norms(model).gradient(mus).bounds["window"], reduced.gradient(mus).bounds["window"]
    )


def test_what_has_no_bound_or_no_derivative_is_refused_with_the_reason() -> None:
    stiffness, mass, load = matrices("sparse")

    def model(coefficient: Any = "a", **options: Any) -> rbm.FullOrderModel:
        return rbm.FullOrderModel(
            [(1.0, stiffness), (coefficient, mass)], [(1.0, load)], stiffness, {"a": (1.0, 9.0)}, 1.0,
            **{"outputs": {"s": load}, **options},
        )  # fmt: skip

    def reduced(full: rbm.FullOrderModel, **options: Any) -> rbm.ReducedModel:
        return rbm.greedy(full, full.parameters.sample(10), max_basis=2, **options).reduced_model

    for wrong, message in [
        (reduced(model(), estimators=("expanded",)), "need the estimator 'orthonormal'"),
        (reduced(model(interpolation_error=(1e-6, 1e-6))), "stands for another one"),
        (reduced(model(outputs=None)), "gradient is about outputs, and there are none"),
        (reduced(model(lambda mus: mus[:, 0])), "callable without a derivative"),
        (reduced(model("abs(a - 2)")), r"'abs\(a - 2\)' has no derivative at a = 2 \(row 0\)"),
    ]:
        with pytest.raises(rbm.ModelError, match=message):
            wrong.gradient([2.0])
    good = reduced(model())
    with pytest.raises(rbm.ModelError, match="the output 't', which the model does not have; it has 's'"):
        good.gradient([2.0], "t")
    with pytest.raises(rbm.ModelError, match=r"outputs = \(\) names none: the model has 's'"):
        good.gradient([2.0], ())
    for given in (3, [["s"]]):
        with pytest.raises(rbm.ModelError, match=r"(the model|it) has 's'"):
            good.gradient([2.0], given)
    with pytest.raises(rbm.ParameterError, match=r"a = 10.* \(row 1\) is outside"):
        good.gradient([[2.0], [10.0]])
    good.gradient([10.0], extrapolate=True)
    assert reduced(model(), estimators=("expanded",)).gradient([2.0], estimate=False).values["s"].shape == (1, 1)


def test_an_error_names_the_row_of_the_batch() -> None:
    stiffness, mass, load = matrices("sparse")
    model = rbm.FullOrderModel(
        [(1.0, stiffness), ("abs(a - 2) + 1", mass)], [(1.0, load)], stiffness, {"a": (1.0, 9.0)}, 1.0,
        outputs={"s": load},
    )  # fmt: skip
    reduced = rbm.greedy(model, model.parameters.sample(10), max_basis=2).reduced_model
    mus = model.parameters.sample(20_000, "random", rng=1)
    mus[15_432] = 2.0
    with pytest.raises(rbm.ModelError, match=r"no derivative at a = 2 \(row 15432\)"):
        reduced.gradient(mus)


def test_a_users_own_output_brings_its_gradient_or_is_refused() -> None:
    class Own(ReducedLinear):
        kind = "own"

    class OwnWithGradient(Own):
        def gradient(self, at: Any) -> tuple[np.ndarray, np.ndarray | None]:
            return np.ones(at.mus.shape), None if at.residual is None else 2 * np.ones(at.mus.shape)

    _, reduced = made("compliant", 2)
    linear = reduced.outputs["other"]
    arrays = {name: getattr(linear, name) for name in ("coefficients", "vectors", "dual", "defects", "rounding")}
    with pytest.raises(
        rbm.ModelError, match=r"'other' is a Own, which has no derivative: give it a method gradient\(at\)"
    ):
        replace(reduced, outputs={"other": Own(**arrays)}).gradient([1.0])
    values, bounds = replace(reduced, outputs={"other": OwnWithGradient(**arrays)}).gradient([1.0])
    assert (values["other"], bounds["other"]) == (1.0, 2.0)


def test_a_model_on_a_device_answers_on_the_host() -> None:
    xp = pytest.importorskip("array_api_strict")
    _, reduced = made("dual", 3)
    there = reduced.to(xp)
    a, b = reduced.gradient([[1.0, 1.0]]), there.gradient([[1.0, 1.0]])
    assert np.array_equal(a.values["window"], b.values["window"])


def test_the_fin() -> None:
    pytest.importorskip("skfem")
    model = problems.thermal_fin(1)
    reduced = rbm.greedy(model, model.parameters.sample(50), max_basis=12).reduced_model
    mus = model.parameters.sample(3, "random", rng=1)
    values, bounds = reduced.gradient(mus)
    exact = -np.stack(
        [np.einsum("mi,ij,mj->m", u := model.solve(mus), a.toarray(), u) for a in model.operator_terms[1:]], axis=1
    )
    assert np.all(np.abs(values["T_root"] - exact) <= bounds["T_root"] + 1e-10 * np.abs(exact))


def slopes_of(model: rbm.FullOrderModel, reduced: rbm.ReducedModel, mus: np.ndarray) -> Slopes:
    theta, phi = model.operator_coefficients(mus), model.rhs_coefficients(mus)
    of_theta, of_phi = (
        c.derivative(mus).transpose(0, 2, 1) for c in (model.operator_coefficients, model.rhs_coefficients)
    )
    gamma = reduced.solve(mus).coefficients
    return reduced_slopes(reduced.operators, reduced.rhs, theta, phi, of_theta, of_phi, gamma)


@pytest.mark.parametrize("name", ["min-theta", "complex", "not Hermitian"])
def test_the_residual_of_a_derivative_is_right_to_its_floor(name: str) -> None:
    """In the whole space it is round-off, and the value without its floor is below the exact norm at some points."""
    make, _ = CASES[name]
    model = make()
    reduced = rbm.project(model, np.eye(model.dimension))
    mus = model.parameters.sample(12, "random", rng=1)
    at, norm = slopes_of(model, reduced, mus), reduced._online.slope_residual
    assert norm is not None
    coordinates = norm.coordinates(at)
    exact = exact_slope_residuals(model, reduced.basis, at)
    value = np.linalg.norm(coordinates, axis=2)
    assert name == "complex" or np.any(value < exact)
    assert np.all(exact <= norm.bounds(at, coordinates))
    assert np.all(np.abs(value - exact) <= norm.bounds(at, coordinates) - value)
    # of residuals that are not round-off, to many digits
    wrong = at._replace(of_gamma=at.of_gamma * 1.01)
    found = norm.coordinates(wrong)
    assert np.allclose(np.linalg.norm(found, axis=2), exact_slope_residuals(model, reduced.basis, wrong), rtol=1e-9)


@pytest.mark.parametrize(
    ("name", "output"), [("min-theta", "linear"), ("min-theta", "square"), ("not Hermitian", "mixed")]
)
def test_the_rounding_of_the_sums_is_charged(name: str, output: str) -> None:
    """With residuals of zero the bound is that of rounding alone."""
    model, reduced = made(name, 3)
    mus = model.parameters.sample(40, "random", rng=1)
    at, p = slopes_of(model, reduced, mus), mus.shape[1]
    nothing = np.zeros((len(mus), p))
    points = AtSlopes(mus, at, np.ones(len(mus)), nothing[:, 0], nothing, nothing)
    value, bound = output_gradient(reduced.outputs[output], points)
    off = distances(value, exact_sums(model, output, reduced.basis, mus, at))
    assert np.any(off > 0)
    assert np.all(off <= bound)
    assert np.all(bound <= 1e-11 * np.abs(value).max())


def test_a_model_with_fixed_unknowns_whose_values_depend_on_the_parameters() -> None:
    """Lifting makes products of coefficients, formulas or functions, and offsets of outputs."""
    stiffness, mass, load = matrices("sparse")
    cosine = rbm.differentiable(
        lambda mus: np.cos(mus[:, 1]), lambda mus: np.stack([0 * mus[:, 1], -np.sin(mus[:, 1])], axis=1)
    )
    for value in ("cos(b)", cosine):
        space = rbm.ParameterSpace({"a": (1.0, 9.0), "b": (0.0, 1.0)})
        parts = rbm.constrain(
            [(1.0, stiffness), ("a * b", mass)], [(1.0, load)], stiffness, [0], [(value, np.ones(1))], parameters=space,
            outputs={"s": load, "all": np.ones(len(load))},
        )  # fmt: skip
        model = rbm.FullOrderModel(
            parts.operators, parts.rhs, parts.product, space, 1.0, outputs=parts.outputs, constraints=parts.constraints
        )
        reduced = rbm.greedy(model, model.parameters.sample(30), max_basis=5).reduced_model
        check(model, reduced)


def test_a_residual_beyond_the_range_is_no_bound_of_zero() -> None:
    model, reduced = made("min-theta", 3)
    at, norm = slopes_of(model, reduced, model.parameters.sample(1)), reduced._online.slope_residual
    assert norm is not None
    coordinates = norm.coordinates(at)
    assert not np.any(norm.bounds(at, np.full_like(coordinates, np.nan)) < np.inf)


def test_bounds_hold_where_values_fall_below_the_range_of_numbers_and_derivatives_do_not() -> None:
    """s is about 1e-360 here, and a parameter of size 1e-150 brings its derivative back."""
    stiffness, mass, load = (np.asarray(a.toarray() if hasattr(a, "toarray") else a) for a in matrices("sparse"))
    um, big, tiny = 1e-150, 1e158, 1e-101
    for coefficient in ("a / 1e-150", "(a / 1e-150)**2"):
        model = rbm.FullOrderModel(
            [(1.0, big * stiffness), (coefficient, big * mass)], [("a / 1e-150", tiny * load)], stiffness,
            {"a": (0.5 * um, 2 * um)}, rbm.stability.MinTheta(reference=[um]),
            outputs={"s": [("a / 1e-150", tiny * load)], "t": [("a / 1e-150", tiny * np.cos(load))]},
        )  # fmt: skip
        check(model, rbm.project(model, model.solve([[um]]).T), 4)


def known_points(
    model: rbm.FullOrderModel, reduced: rbm.ReducedModel, output: Any, mus: np.ndarray
) -> tuple[Slopes, np.ndarray, np.ndarray, AtSlopes]:
    """Return points with beta = 2, residuals of 3 and 5 and tau = 7, and the moduli of coefficients."""
    psi, of_psi = np.abs(output.coefficients(mus)), np.abs(output.coefficients.derivative(mus).transpose(0, 2, 1))
    at, ones = slopes_of(model, reduced, mus), np.ones(mus.shape)
    return at, psi, of_psi, AtSlopes(mus, at, 2 * ones[:, 0], 3 * ones[:, 0], 5 * ones, 7 * ones)


def test_the_bound_of_a_quadratic_output_has_all_its_terms() -> None:
    """From ||e|| = 3 / 2 and ||e'|| = (5 + 7 * 3) / 2."""
    model, reduced = made("min-theta", 3)
    output, mus = reduced.outputs["square"], model.parameters.sample(4, "random", rng=1)
    assert isinstance(output, ReducedQuadratic)
    at, psi, of_psi, points = known_points(model, reduced, output, mus)
    size, of_size = np.linalg.norm(at.gamma, axis=1)[:, None], np.linalg.norm(at.of_gamma, axis=2)
    of_state = (of_psi @ output.norms) * (2 * size + 1.5) * 1.5
    of_slope = 2 * (psi @ output.norms)[:, None] * (1.5 * of_size + size * 13 + 1.5 * 13)
    assert np.allclose(output_gradient(output, points)[1], of_state + of_slope, rtol=1e-6)


def test_what_a_compliant_output_is_off_by_is_charged() -> None:
    """r* = r + (w - f) + (A - A^H) u_N and its derivative, with norms of A - A^H and w - f that are made large here."""
    model, reduced = made("min-theta", 3)
    output = reduced.outputs["own"]
    assert isinstance(output, ReducedCompliant)
    mus = model.parameters.sample(4, "random", rng=1)
    at, psi, of_psi, points = known_points(model, reduced, output, mus)
    far = replace(output, dual=1e9 * output.dual)  # the plain bound is larger

    def bound(skew: float, mismatch: float) -> np.ndarray:
        charged = replace(far, skew=np.full(len(output.skew), skew), mismatch=np.full(len(output.mismatch), mismatch))
        made = output_gradient(charged, points)[1]
        assert made is not None
        return made

    for skew, mismatch in ((0.0, 0.0), (0.1, 0.0), (0.0, 0.1), (0.1, 0.2)):
        size, of_size = (np.linalg.norm(a, axis=-1) for a in (at.gamma, at.of_gamma))
        weight, of_weight = np.abs(at.theta).sum(axis=1), np.abs(at.of_theta).sum(axis=2)
        dual = 3 + mismatch * psi.sum(axis=1) + skew * weight * size
        of_dual = 5 + mismatch * of_psi.sum(axis=2) + skew * (of_weight * size[:, None] + weight[:, None] * of_size)
        exact = (dual[:, None] * 5 + of_dual * 3 + 7 * 3 * dual[:, None]) / 2
        assert np.allclose(bound(skew, mismatch), exact, rtol=1e-6)


def test_complex_coefficients_make_no_compliant_output() -> None:
    """A formula may turn out complex at the points, in the terms, the load, or only in a derivative."""
    base = compliant_model("complex")
    stiffness, mass = base.operator_terms
    load = base.rhs_terms[:, 0]
    for theta, phi in (("1 + 1j * a", "1"), ("a", "exp(1j * a)"), ("exp(1j * a) + 2", "exp(1j * a)")):
        model = rbm.FullOrderModel(
            [(1.0, stiffness), (theta, mass)], [(phi, load)], base.product, {"a": (0.5, 3.0)},
            0.9, outputs={"s": [(phi, load.conj())]},
        )  # fmt: skip
        reduced = rbm.greedy(model, model.parameters.sample(20), max_basis=2).reduced_model
        assert type(reduced.outputs["s"]) is ReducedCompliant
        check(model, reduced, 12)


def test_quadratic_outputs_of_complex_solutions() -> None:
    for base in (compliant_model("complex"), convection_model(3, "complex")):
        model = rbm.FullOrderModel(
            list(zip(base.operator_coefficients.sources, base.operator_terms, strict=True)),
            [(1.0, base.rhs_terms[:, 0])], base.product, base.parameters, 0.03, outputs={"q": base.product},
        )  # fmt: skip
        basis = rbm.greedy(model, model.parameters.sample(40)).basis
        check(model, rbm.project(model, basis))
        check(model, rbm.project(model, basis[:, :1]))


def test_what_corrections_and_offsets_are_off_by_is_charged() -> None:
    model, reduced = made("complex dual", 3)
    output, mus = reduced.outputs["window"], model.parameters.sample(4, "random", rng=1)
    assert isinstance(output, ReducedPrimalDual)
    at, _, _, points = known_points(model, reduced, output, mus)
    # without the plain bound about the Galerkin value, what is left is the correction
    free = replace(output, dual=0 * output.dual, defects=None)
    value, bound = output_gradient(free, points)
    linear = ReducedLinear(output.coefficients, output.vectors, output.dual)
    assert np.all(bound >= np.abs(value - output_gradient(linear, points)[0]))
    sums = output_gradient(replace(free, correction_error=1.0), points)[1]
    assert np.all(sums > bound + np.linalg.norm(at.of_gamma, axis=2) * 1e-6)
    far = replace(linear, offset=np.array([1e20]), offset_coefficients=Coefficients(["exp(x)"], model.parameters))
    assert np.all(output_gradient(far, points)[1][:, 0] >= 1e20 * np.exp(mus[:, 0]) * 2.0**-53)
