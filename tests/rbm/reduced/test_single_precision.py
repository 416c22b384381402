"""Reduced models in single precision.

Their bounds hold for the float32 coefficients they return, against the 300-bit oracle.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import Case, make_case
from helpers.models import complex_model
from helpers.oracle import Oracle

import rbm
from problems import reaction_diffusion_1d
from rbm.estimators import Interpolated, Orthonormal
from rbm.estimators.residual_factor import FactorNorm

U32 = float(np.finfo(np.float32).eps) / 2
EPS = float(np.finfo(float).eps)
HELD = ("orthonormal", "expanded", "sampled", "interpolated")


def query(model: rbm.ReducedModel, mus: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    gamma = model.solve(mus, estimate=False).coefficients
    return model.operator_coefficients(mus), model.rhs_coefficients(mus), gamma


def terms(state: FactorNorm, theta: np.ndarray, phi: np.ndarray, gamma: np.ndarray) -> np.ndarray:
    """s(mu), the size of the terms of the residual."""
    from rbm.online.reference import residual_coefficients

    return np.abs(residual_coefficients(theta, phi, gamma.astype(np.result_type(gamma, float)))) @ state.norms


@pytest.mark.parametrize("n", [1, 3, 5, 7, 8])
def test_bounds_hold_for_the_coefficients_of_single_precision(case: Case, n: int) -> None:
    single = case.projected(n).astype("float32")
    theta, phi, gamma = query(single, case.tests[:200])
    assert gamma.dtype == single.dtype == (np.complex64 if case.result.basis.dtype.kind == "c" else np.float32)
    exact = case.oracle.norm(theta, phi, gamma)
    assert {"orthonormal", "direct", "expanded"} <= set(single.estimators)
    for name, state in single.estimators.items():
        e = state.evaluate(theta, phi, gamma)
        assert e.value.dtype == e.floor.dtype == np.float64
        assert np.all(e.bound >= exact), name
        assert np.all(np.abs(e.value - exact) <= e.floor * (1 + 1e-12)), name
        assert not np.any((np.abs(e.value - exact) > 0.1 * exact) & e.resolved), name
    # and they are not empty: the floor of E_onb is the rounding of R, the factor that was rounded, and no more
    state = single.estimators["orthonormal"]
    e = state.evaluate(theta, phi, gamma)
    weak = e.value < 100 * (state.norms.size + 4) * U32 * terms(state, theta, phi, gamma)
    if n >= 5:
        assert weak.any()
    assert np.all(e.floor[weak] <= 1.01 * U32 * terms(state, theta, phi, gamma)[weak] + 1e-10 * e.value[weak])


@pytest.mark.parametrize("n", [2, 8])
def test_bounds_hold_for_coefficients_that_solve_nothing(case: Case, n: int) -> None:
    single = case.projected(n).astype(np.float32)
    theta, phi, gamma = query(single, case.tests[:100])
    gamma = (gamma * (1 + 1e-3 * np.random.default_rng(0).standard_normal(gamma.shape))).astype(gamma.dtype)
    for given in (
        gamma,
        gamma.astype(np.result_type(gamma, float)) * (1 + 1e-9),
    ):  # the second: float64 for a float32 model
        exact = case.oracle.norm(theta, phi, given)
        for name in ("orthonormal", "expanded", "direct"):
            e = single.estimators[name].evaluate(theta, phi, given)
            assert np.all(e.bound >= exact), name
            assert np.all(np.abs(e.value - exact) <= e.floor), name


@pytest.mark.parametrize("complex_valued", [False, True])
@pytest.mark.parametrize("scale", [1e-45, 1e-38, 1e-30, 1e-22, 1.0, 1e19, 1e30])
def test_sizes_whose_squares_single_precision_cannot_hold(complex_valued: bool, scale: float) -> None:
    rng = np.random.default_rng(3)
    n = 12
    a = rng.standard_normal((n, n)) + (1j * rng.standard_normal((n, n)) if complex_valued else 0)
    model = rbm.FullOrderModel(
        [(1.0, 4 * np.eye(n)), ("mu", a / 8)],
        [(1.0, scale * rng.standard_normal(n)), ("mu", scale * rng.standard_normal(n))],
        np.diag(rng.uniform(0.5, 2, n)),
        rbm.ParameterSpace({"mu": (0.0, 1.0)}),
        stability=1.0,
    )
    basis = rng.standard_normal((n, 4)) + (1j * rng.standard_normal((n, 4)) if complex_valued else 0)
    single = rbm.project(model, basis, ("orthonormal", "expanded")).astype("float32")
    assert "expanded" in single.estimators if scale < 1e19 else "beyond the range" in single.refused["expanded"]
    theta, phi, gamma = query(single, model.parameters.sample(50))
    exact = Oracle(model, single.basis).norm(theta, phi, gamma)
    for name, state in single.estimators.items():
        e = state.evaluate(theta, phi, gamma)
        assert np.all(e.bound >= exact), name
        assert np.all(np.abs(e.value - exact) <= e.floor), name
    if scale >= 1e-30:  # above the subnormal numbers the estimate is as good as ever
        e = single.estimators["orthonormal"].evaluate(theta, phi, gamma)
        assert np.all(e.bound <= 1.01 * exact)


def test_numbers_lost_below_the_range_are_in_the_floor() -> None:
    """Coefficients c below the range of float32 vanish; c of that size times R is what the floor must still hold."""
    factor = np.eye(2, 5, dtype=np.float32) + np.eye(2, 5, 3, dtype=np.float32)
    state = Orthonormal(factor, np.ones(5), np.zeros(5), 0.0)
    theta, phi, gamma = np.full((1, 1), 1e-20), np.zeros((1, 1)), np.full((1, 4), 1e-28, dtype=np.float32)
    for made in (state, type("Plain", (Orthonormal,), {"reevaluated": False})(factor, np.ones(5), np.zeros(5), 0.0)):
        e = made.evaluate(theta, phi, gamma)
        c = -theta[0, 0] * gamma[0].astype(float)
        assert e.bound[0] >= np.linalg.norm(factor[:, 1:] @ c)


def test_numbers_beyond_the_range_are_evaluated_in_double_precision() -> None:
    rng = np.random.default_rng(0)
    factor = rng.standard_normal((3, 3)).astype(np.float32)
    state = Orthonormal(factor, np.linalg.norm(factor, axis=0) * 1.01, np.zeros(3), 0.0)
    theta, phi, gamma = np.array([[1e30]]), np.array([[1.0]]), np.array([[1e20, -2e20]], dtype=np.float32)
    c = np.concatenate([phi[0], -theta[0, 0] * gamma[0].astype(float)])
    e = state.evaluate(theta, phi, gamma)
    assert e.value[0] == pytest.approx(np.linalg.norm(factor.astype(float) @ c), rel=16 * EPS)
    assert e.floor[0] <= 1e-12 * e.value[0]


@pytest.mark.parametrize("complex_valued", [False, True])
@pytest.mark.parametrize("m", [3, 40, 300])
def test_rounding_of_the_plain_sums_stays_within_the_weights(complex_valued: bool, m: int) -> None:
    """What a kernel that reads factor, weights and constants may rely on.

    Without a second evaluation, c rounded early or late.
    """
    rng = np.random.default_rng(m)
    k = max(m // 2, 2)
    shape = (k, m)
    factor = (rng.standard_normal(shape) + (1j * rng.standard_normal(shape) if complex_valued else 0)).astype(
        np.complex64 if complex_valued else np.float32
    )
    state = Orthonormal(factor, np.linalg.norm(factor.astype(complex), axis=0), np.zeros(m), 0.0)
    theta, phi = 1 + rng.random((200, 1)), rng.random((200, 1))
    gamma = rng.standard_normal((200, m - 1))
    # cancelling sums: gamma near the null space of R, so that the value is all rounding
    null = np.linalg.svd(factor.astype(complex))[2][k:].conj().real
    gamma[100:, :] = rng.standard_normal((100, len(null))) @ null[:, 1:]
    c64 = np.concatenate([phi, -gamma * theta], axis=1)
    early = np.concatenate([phi.astype(np.float32), -gamma.astype(np.float32) * theta.astype(np.float32)], axis=1)
    exact = np.linalg.norm(c64 @ factor.T.astype(complex), axis=1)
    for c32 in (c64.astype(np.float32), early):
        value = np.linalg.norm((c32 @ factor.T).astype(complex), axis=1)
        dtype = factor.dtype
        floor = np.abs(c64) @ state.floor_weights(dtype) + state.relative(dtype) * value + state.floor_constant(dtype)
        assert np.all(np.abs(value - exact) <= floor)
        narrow = np.abs(c32) @ state.floor_weights(dtype).astype(np.float32)  # the floor itself in single precision
        assert np.all(np.abs(value - exact) <= narrow.astype(float) + state.relative(dtype) * value)


@pytest.mark.parametrize("n", [2, 5, 8])
def test_bounds_hold_for_the_true_error_and_for_outputs(n: int) -> None:
    case = make_case("complex")
    mus = case.tests[:40]
    single = case.result.reduced_model.truncate(n).astype("float32")
    solution = single.solve(mus)
    assert np.all(solution.bound >= case.model.error_norm(mus, solution.coefficients, case.result.basis[:, :n]))
    exact = case.model.solve(mus) @ case.model.outputs["mean"].terms[0]
    assert np.all(np.abs(solution.outputs["mean"] - exact) <= solution.output_bounds["mean"])
    # the basis stays in double precision: the bound is one for what `reconstruct` returns
    full = single.reconstruct(solution.coefficients)
    assert full.dtype == np.complex128
    error = case.model.solve(mus) - full
    assert np.all(case.model.inner_product.norm(error.T) <= solution.bound * (1 + 1e-9) + 1e-13)


def test_quadratic_outputs() -> None:
    base = complex_model(40)
    model = rbm.FullOrderModel(
        list(zip(base.operator_coefficients.sources, base.operator_terms, strict=True)),
        [(1.0, base.rhs_terms[:, 0])],
        base.product,
        base.parameters,
        1.0,
        outputs={"energy": base.product, "mass": base.operator_terms[1]},
    )
    mus = model.parameters.sample(30, "random", rng=1)
    hi, lo = model.solve_extended(mus)
    result = rbm.greedy(model, model.parameters.sample(100), max_basis=6, progress=False)
    single = result.reduced_model.astype("float32")
    solution = single.solve(mus)
    wide = solution.coefficients.astype(complex)
    for output in (*single.outputs.values(), make_case("real").result.reduced_model.truncate(6).outputs["mean"]):
        # float32 coefficients are numbers like any other: not one bit is lost in the sums
        points = mus if output.kind == "quadratic" else mus[:, :1]
        np.testing.assert_array_equal(output.value(points, solution.coefficients), output.value(points, wide))
        error = np.ones(len(mus))
        np.testing.assert_array_equal(
            output.bound(points, solution.coefficients, error), output.bound(points, wide, error)
        )
    for name in ("energy", "mass"):
        exact = model.outputs[name](mus, (hi + lo).T)
        assert solution.outputs[name].dtype == np.float64
        assert np.all(np.abs(solution.outputs[name] - exact) <= solution.output_bounds[name])


def test_the_norm_of_gamma_in_an_interpolated_model_is_not_rounded_down() -> None:
    from rbm.parameters.coefficients import Coefficients
    from rbm.reduced.error_bound import error_estimate

    space = rbm.ParameterSpace({"mu": (0.0, 1.0)})
    gamma = np.full((1, 4096), 1e-3, dtype=np.float32)
    gamma[0, 0] = 1e30  # its square is beyond float32
    one = np.ones(1)
    made = error_estimate(
        rbm.Estimate.from_norm(0 * one, 0 * one), one, gamma, np.array([[0.5]]), space, Coefficients([0.5, 0.0], space)
    )
    assert made.bound[0] >= float(gamma[0, 0])


@pytest.mark.parametrize("projection", ["galerkin", "least-squares"])
def test_solutions_are_those_of_double_precision_to_single_round_off(projection: str) -> None:
    case = make_case("complex")
    reduced = rbm.project(case.model, case.result.basis[:, :4], projection=projection)  # type: ignore[arg-type]
    mus = case.tests[:50]
    single, double = reduced.astype("float32").solve(mus), reduced.solve(mus)
    scale = np.abs(double.coefficients).max()
    assert np.abs(single.coefficients - double.coefficients).max() <= 1e3 * U32 * scale
    assert single.coefficients.dtype == np.complex64
    assert np.all(single.bound >= case.model.error_norm(mus, single.coefficients, reduced.basis))


@pytest.mark.parametrize("name", ["real", "complex", "two parameters"])
def test_files_and_truncation(name: str, tmp_path: Path) -> None:
    case = make_case(name)
    single = case.projected(5).astype("float32")
    mus = case.tests[:50]
    single.save(tmp_path / "single.rbm")
    loaded = rbm.load(tmp_path / "single.rbm")
    assert loaded.dtype == single.dtype
    for method in set(HELD) & set(single.estimators):
        a, b = single.solve(mus, method=method), loaded.solve(mus, method=method)
        np.testing.assert_array_equal(a.coefficients, b.coefficients)
        np.testing.assert_array_equal(a.bound, b.bound)
        for key, array in single.estimators[method].arrays().items():
            assert loaded.estimators[method].arrays()[key].dtype == array.dtype, key
    cut = loaded.truncate(2)
    assert cut.dtype == single.dtype
    theta, phi, gamma = query(cut, mus)
    exact = case.oracle.norm(theta, phi, gamma)
    for method in ("orthonormal", "expanded"):
        e = cut.estimators[method].evaluate(theta, phi, gamma)
        assert np.all(e.bound >= exact)
        assert np.all(np.abs(e.value - exact) <= e.floor)


def test_widening_keeps_what_was_lost(case: Case) -> None:
    original = case.projected(5)
    single = original.astype("float32")
    wide = single.astype("float64")
    assert wide.dtype == original.dtype
    np.testing.assert_array_equal(wide.operators, single.operators)
    theta, phi, gamma = query(wide, case.tests[:100])
    assert gamma.dtype == original.dtype
    exact = case.oracle.norm(theta, phi, gamma)
    for name in set(HELD) & set(wide.estimators):
        e = wide.estimators[name].evaluate(theta, phi, gamma)
        assert np.all(e.bound >= exact), name
        assert np.all(np.abs(e.value - exact) <= e.floor * (1 + 1e-12)), name
    sharp, blunt = (m.estimators["orthonormal"].evaluate(theta, phi, gamma).floor for m in (original, wide))
    assert np.all(blunt > 1e3 * sharp)


def test_the_precision_a_model_has_already_changes_nothing(diffusion: Case) -> None:
    reduced = diffusion.projected(3)
    assert reduced.astype("float64") is reduced
    assert reduced.astype(np.float64) is reduced.astype(float) is reduced
    single = reduced.astype(np.float32)
    assert single.astype(np.dtype("float32")) is single
    assert "float32" in repr(single)
    assert reduced.dtype == np.float64  # and the original is as it was


@pytest.mark.parametrize("dtype", ["float16", "int32", "complex64", "single?", None, object(), 32])
def test_other_types_are_refused(dtype: object, diffusion: Case) -> None:
    with pytest.raises(rbm.ModelError, match=r'"float32" or "float64", got'):
        diffusion.projected(3).astype(dtype)


def test_systems_that_single_precision_ruins_are_refused() -> None:
    case = make_case("two parameters")
    reduced = case.projected(8)
    single = reduced.astype("float32")
    assert "ill-conditioned for float32" in single.refused["interpolated"]
    assert "interpolated" not in single.estimators
    with pytest.raises(rbm.ModelError, match="ill-conditioned for float32"):
        single.solve(case.tests[:3], method="E4")
    first = replace(reduced, estimators={"interpolated": reduced.estimators["interpolated"]})
    with pytest.raises(rbm.EstimatorUnusable, match="ill-conditioned for float32"):
        first.astype("float32")


def test_what_conversion_does_to_the_interpolation_is_in_its_floor() -> None:
    """On products that are combinations of the known ones, so that nothing but the conversion moves the square."""
    case = make_case("complex")
    for name in ("sampled", "interpolated"):
        state = case.projected(5).estimators[name]
        made = state.astype(np.float32)
        rng = np.random.default_rng(0)
        wanted = rng.standard_normal((len(state.squares), 200))
        got = made.solve(state.known() @ wanted)
        off = np.abs(state.squares @ (got - wanted))
        allowed = made.moved @ np.abs(got)
        assert np.all(off <= allowed * (1 + 1e-6))
        assert np.max(off / allowed) > 1e-3  # not a constant that would hold for anything
        from rbm.online.reference import residual_coefficients

        known = made.combination(residual_coefficients(*case.query(5)))
        rest = {"deviation": 0.0, "norms": 0 * made.norms, "condition" if name == "sampled" else "growth": 0.0}
        alone = replace(made, **rest).evaluate(*case.query(5)).floor
        np.testing.assert_allclose(alone, np.sqrt(made.moved @ np.abs(known)), rtol=64 * EPS)
    assert isinstance(state, Interpolated)


def test_numbers_beyond_the_range_of_a_model_are_errors() -> None:
    base = reaction_diffusion_1d(20)
    stiffness, mass = base.operator_terms
    space = rbm.ParameterSpace({"mu": (0.0, 100.0)})

    def model(rhs: float, coefficient: str) -> rbm.ReducedModel:
        full = rbm.FullOrderModel(
            [(1.0, stiffness), (coefficient, mass)], [(1.0, rhs * base.rhs_terms[:, 0])], stiffness, space, 1.0
        )
        return rbm.project(full, np.random.default_rng(0).standard_normal((19, 2)))

    with pytest.raises(rbm.ModelError, match="beyond the range of float32"):
        model(1e42, "mu").astype("float32")
    single = model(1.0, "exp(mu)").astype("float32")
    assert np.all(np.isfinite(single.solve([[80.0]]).bound))
    with pytest.raises(rbm.ModelError, match=r"coefficient 1 is .* at mu = 95 \(row 1\).*beyond the range of float32"):
        single.solve([[1.0], [95.0]])


def test_a_square_that_is_not_a_number_is_never_silent() -> None:
    e = rbm.Estimate.from_square(np.array([4.0, -1.0, np.nan]), np.array([0.1, 0.2, 0.3]))
    np.testing.assert_array_equal(e.value, [2.0, 0.2, np.nan])
    assert not e.resolved[1:].any()
