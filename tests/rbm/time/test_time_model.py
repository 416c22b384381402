"""The truth in time: the recursion to all digits, closed forms, orders, and what is refused."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp
from helpers.parabolic import convection, exact_march, heat, line

import rbm
from rbm.errors import ModelError, ParameterError, StabilityError


def small(n: int = 4, **options: Any) -> rbm.TimeModel:
    rng = np.random.default_rng(3)
    K = 2 * np.eye(n) - np.eye(n, k=1) - np.eye(n, k=-1)
    given = {
        "mass": np.eye(n) + 0.25 * (np.eye(n, k=1) + np.eye(n, k=-1)),
        "operators": [("k", K), (0.5, rng.integers(-2, 3, (n, n)) / 8)],
        "rhs": [(1.0, rng.integers(1, 9, n) / 4)],
        "product": K,
        "parameters": {"k": (1.0, 4.0)},
        "stability": 0.25,
        "dt": 0.1,
        "steps": 6,
    }
    return rbm.TimeModel(**{**given, **options})


@pytest.mark.parametrize("theta", [1.0, 0.5, 0.7])
def test_the_march_is_right_far_beyond_double_precision(theta: float) -> None:
    start = np.array([0.1, -0.3, 0.7, 0.2])
    control = np.array([1.0, 0.3, -0.7, 0.0, 1e-3, 1 / 3])
    model = small(theta=theta, initial=start)
    mu = np.array([1.7])
    stiffness = 1.7 * model.spatial.operator_terms[0]
    # in rational arithmetic every product is exact: theta_q A_q included
    exact_stiffness = [
        Fraction(1.7) * Fraction(float(a)) + Fraction(0.5) * Fraction(float(b))
        for a, b in zip(model.spatial.operator_terms[0].ravel(), model.spatial.operator_terms[1].ravel(), strict=True)
    ]
    assert stiffness.shape == (4, 4)
    path = exact_path(model, exact_stiffness, start, control)
    hi, lo = model.solve_extended(mu[None], control)
    for k, exact in enumerate(path):
        off = [Fraction(float(h)) + Fraction(float(t)) - e for h, t, e in zip(hi[0, k], lo[0, k], exact, strict=True)]
        assert max(abs(float(o)) for o in off) <= 2.0**-70 * max(abs(float(e)) for e in exact)


def exact_path(model: rbm.TimeModel, stiffness: list[Fraction], start: np.ndarray, control: np.ndarray) -> list[Any]:
    """The recursion in exact arithmetic, with a stiffness matrix of fractions."""
    from helpers import parabolic

    n = len(start)
    mass = np.array([Fraction(float(v)) for v in model.mass.terms[0].ravel()], dtype=object).reshape(n, n)
    a = np.array(stiffness, dtype=object).reshape(n, n)
    f = np.array([Fraction(float(v)) for v in model.spatial.rhs_terms[:, 0]], dtype=object)
    u = np.array([Fraction(float(v)) for v in start], dtype=object)
    dt, theta = Fraction(model.dt), Fraction(model.theta)
    path = [u]
    for g in control:
        u = u + parabolic._solved(mass + dt * theta * a, dt * (Fraction(float(g)) * f - a @ u))
        path.append(u)
    return path


def test_solve_rounds_the_extended_trajectory() -> None:
    model = heat(20)
    mus = model.parameters.sample(3, "random", rng=0)
    hi, lo = model.solve_extended(mus)
    made = model.solve(mus)
    assert made.shape == (3, 51, 19)
    np.testing.assert_allclose(made, hi + lo, rtol=0, atol=2e-16 * np.abs(hi).max())


def test_the_oracle_of_these_tests_agrees_with_a_plain_march() -> None:
    model = small()
    path = exact_march(
        model.mass.terms[0], model.spatial.assemble(np.array([2.0, 0.5])), model.spatial.rhs_terms[:, 0], np.zeros(4),
        np.ones(6), 0.1, 1.0,
    )  # fmt: skip
    np.testing.assert_allclose(model.solve([[2.0]])[0, -1], [float(x) for x in path[-1]], rtol=1e-14)


def test_a_sine_mode_decays_by_the_factor_of_the_scheme() -> None:
    one = line(40)
    x = one["x"][1:-1]
    mode = np.sin(np.pi * x)
    K, M = (one[k][1:-1][:, 1:-1] for k in "KM")
    eigenvalue = (mode @ (K @ mode)) / (mode @ (M @ mode))
    k = np.arange(51)
    for theta, factor in (
        (1.0, 1 / (1 + 0.01 * eigenvalue)),
        (0.5, (1 - 0.005 * eigenvalue) / (1 + 0.005 * eigenvalue)),
    ):
        model = heat(40, initial=mode, control=np.zeros(50), theta=theta)
        path = model.solve([[1.0, 0.0]])[0]
        np.testing.assert_allclose(path, np.outer(factor**k, mode), atol=1e-13)


def test_orders_in_dt_are_one_and_two() -> None:
    one = line(10)
    mode = np.sin(np.pi * one["x"][1:-1])
    K, M = (one[k][1:-1][:, 1:-1] for k in "KM")
    eigenvalue = (mode @ (K @ mode)) / (mode @ (M @ mode))
    for theta, order in ((1.0, 1), (0.5, 2)):
        errors = []
        for steps in (40, 80, 160):
            options = {"dt": 0.4 / steps, "steps": steps, "control": np.zeros(steps)}
            path = heat(10, initial=mode, theta=theta, **options).solve([[1.0, 0.0]])[0]
            errors.append(np.abs(path[-1] - np.exp(-0.4 * eigenvalue) * mode).max())
        slopes = np.log2(np.array(errors[:-1]) / errors[1:])
        np.testing.assert_allclose(slopes, order, atol=0.12)


def test_march_yields_one_step_after_the_other_and_controls_superpose() -> None:
    model = heat(20)
    whole = model.solve([[0.5, 1.0]])[0]
    for k, (hi, _) in enumerate(model.march([0.5, 1.0])):
        np.testing.assert_array_equal(hi[:, 0] == whole[k], True)
    g = np.linspace(-1, 2, 50)
    impulse = model.solve([[0.5, 1.0]], "impulse")[0]
    summed = sum(g[j] * np.concatenate([np.zeros((j, 19)), impulse[: 51 - j]]) for j in range(50))
    np.testing.assert_allclose(model.solve([[0.5, 1.0]], g)[0], summed, atol=1e-13)


def test_initial_values_may_depend_on_the_parameters() -> None:
    v = np.arange(1.0, 20.0)
    model = heat(20, initial=[("k", v), (2.0, v[::-1])])
    np.testing.assert_allclose(model.solve([[0.5, 1.0]])[0, 0], 0.5 * v + 2 * v[::-1], rtol=1e-15)


def test_a_complex_model_marches_in_complex_numbers() -> None:
    model = small(operators=[("k", np.eye(4) * (2 + 1j))], product=np.eye(4), stability="2 * k")
    path = model.solve([[2.0]])
    u = path[0, 3]
    rest = model.mass.terms[0] @ (u - path[0, 2]) + 0.1 * 2 * (2 + 1j) * u - 0.1 * model.spatial.rhs_terms[:, 0]
    assert path.dtype == complex
    assert np.abs(rest).max() < 1e-14


def test_verify_checks_coercivity_and_says_where_it_fails() -> None:
    checks = heat(20).verify().checks
    assert any("alpha bounds the coercivity constant at 5 points" in line for line in checks)
    assert any("the mass terms sum to a positive definite matrix" in line for line in checks)
    with pytest.raises(StabilityError, match=r"0\.9.*is above the coercivity constant|too large|inf-sup"):
        small(operators=[("k", np.diag([1.0, 1, 1, 0.5]))], product=np.eye(4), stability=0.9).verify()
    # a rotation has the inf-sup constant 1 and is not coercive beyond 1e-3
    turn = np.array([[1e-3, 1.0], [-1.0, 1e-3]])
    model = rbm.TimeModel(
        np.eye(2), [("k", turn)], [(1.0, np.ones(2))], np.eye(2), {"k": (1.0, 2.0)}, 0.5, dt=0.1, steps=2
    )
    with pytest.raises(StabilityError, match="above the coercivity constant"):
        model.verify()


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"dt": 0.0}, r"dt must be a positive number.*0\.0"),
        ({"dt": -0.1}, "dt must be a positive number"),
        ({"dt": float("nan")}, "dt must be a positive number"),
        ({"dt": True}, "dt must be a positive number"),
        ({"steps": 0}, "steps must be a whole number of at least 1, got 0"),
        ({"steps": 2.5}, "steps must be a whole number"),
        ({"theta": 0.4}, "theta must lie between 1/2"),
        ({"theta": 1.5}, "theta must lie between 1/2"),
        ({"mass": np.diag([1.0, 1, 1, 0])}, "the mass is not positive definite"),
        ({"mass": np.diag([1.0, 1, 1, -1])}, "the mass is not positive definite"),
        ({"mass": np.eye(4) + np.eye(4, k=1)}, "the mass is not Hermitian"),
        ({"mass": np.eye(3)}, r"the mass has shape \(3, 3\)"),
        ({"mass": np.full((4, 4), np.nan)}, "the mass"),
        ({"mass": None}, "mass is missing"),
        ({"mass": []}, "mass is empty"),
        ({"mass": [(1.0, np.eye(4)), (1.0, np.diag([-0.5, 0, 0, 0]))]}, "mass term 1 is not positive semi-definite"),
        ({"initial": np.ones(5)}, r"initial value has shape \(5,\)"),
        ({"initial": np.array([1.0, np.nan, 0, 0])}, "initial value"),
        ({"control": np.ones(5)}, r"the control has the shape \(5,\).*\(6,\)"),
        ({"control": np.array([1.0, 1, np.nan, 1, 1, 1])}, "the control is nan in step 3"),
        ({"control": "pulse"}, "'pulse'"),
        ({"outputs": {"square": np.eye(4)}}, "output 'square' is quadratic"),
        ({"periodic": True, "initial": np.ones(4)}, "periodic model has no initial value"),
    ],
)
def test_bad_models_are_refused_with_one_sentence(options: dict[str, Any], text: str) -> None:
    with pytest.raises(ModelError, match=text):
        small(**options)


def test_other_bad_input_is_named() -> None:
    model = small()
    with pytest.raises(StabilityError, match=r"NaturalNorm bounds an inf-sup constant.*space_time"):
        small(stability=rbm.stability.NaturalNorm())
    with pytest.raises(ModelError, match=r"the control has the shape \(2, 5\)"):
        model.solve([[1.0], [2.0]], np.ones((2, 5)))
    with pytest.raises(ModelError, match="the control is inf in step 2 of point 1"):
        model.solve([[1.0], [2.0]], np.array([[1.0] * 6, [1, np.inf, 1, 1, 1, 1]]))
    with pytest.raises(ParameterError):
        model.solve([[9.0]])
    with pytest.raises(ModelError, match="one parameter point, got 2"):
        list(model.march([[1.0], [2.0]]))
    negative = small(mass=[("k - 2", np.eye(4))])
    with pytest.raises(ModelError, match=r"the mass coefficients are .*-1.*they must be positive"):
        negative.solve([[1.0]])
    with pytest.raises(ModelError, match="coefficients must have the shape"):
        model.error_norms([[1.0]], np.zeros((1, 3, 2)), np.zeros((4, 2)))
    assert "6 steps of 0.1, implicit Euler" in repr(model)


def test_the_terms_of_the_mass_may_have_coefficients() -> None:
    left = sp.diags_array(np.r_[np.ones(10), np.zeros(9)])
    right = sp.diags_array(np.r_[np.zeros(10), np.ones(9)])
    model = heat(20, mass=[("k", left), (3.0, right)])
    path = model.solve([[0.5, 1.0]])[0]
    whole = heat(20, mass=sp.csr_array(0.5 * left + 3.0 * right)).solve([[0.5, 1.0]])[0]
    np.testing.assert_allclose(path, whole, rtol=1e-13)


def test_space_and_time_as_one_system_is_the_same_trajectory() -> None:
    start = np.sin(np.linspace(0, 3, 19))
    for theta in (1.0, 0.6):
        options = {"steps": 5, "initial": [("k", start)], "theta": theta, "control": np.array([1.0, 0.5, 0, -1, 2])}
        model = heat(20, **options)
        whole = model.space_time()
        mus = model.parameters.sample(2, "random", rng=1)
        paths = model.solve(mus)
        np.testing.assert_allclose(whole.solve(mus).reshape(2, 5, 19), paths[:, 1:], atol=1e-13)
        values = whole.outputs["mean_end"](mus, whole.solve(mus))
        np.testing.assert_allclose(values, paths[:, -1] @ model.outputs["mean"].terms[0], atol=1e-13)


def test_a_periodic_state_repeats_itself_and_is_certified() -> None:
    control = np.cos(2 * np.pi * np.arange(8) / 8)
    model = heat(10, steps=8, dt=0.05, periodic=True, control=control)
    whole = model.space_time()
    state = whole.solve([[0.3, 1.0]]).reshape(8, 9)
    longer = heat(10, steps=800, dt=0.05, control=np.tile(control, 100)).solve([[0.3, 1.0]])[0, -8:]
    np.testing.assert_allclose(state, longer, atol=1e-13)
    result = rbm.greedy(whole, whole.parameters.sample(30), max_basis=6)
    mus = whole.parameters.sample(20, "random", rng=5)
    answer = result.reduced_model.solve(mus)
    errors = whole.error_norm(mus, answer.coefficients, result.basis)
    assert np.all(answer.bound >= errors)
    assert np.median(answer.bound / errors) < 20
    with pytest.raises(ModelError, match="periodic model has no first step"):
        model.solve([[0.3, 1.0]])
    with pytest.raises(ModelError, match="periodic model has no march"):
        rbm.pod_greedy(model, model.parameters.sample(3))


def test_an_operator_that_is_not_coercive_has_a_bound_in_space_and_time() -> None:
    one = line(10)
    K, M = (one[k][1:-1][:, 1:-1] for k in "KM")
    model = rbm.TimeModel(
        M, [(1.0, K), ("-s", M)], [(1.0, one["f"][1:-1])], K, {"s": (5.0, 20.0)}, 1.0, dt=0.01, steps=6
    )
    with pytest.raises(StabilityError, match=r"above|too large"):
        model.verify()
    whole = model.space_time()
    result = rbm.greedy(whole, whole.parameters.sample(20), max_basis=4)
    mus = whole.parameters.sample(20, "random", rng=2)
    answer = result.reduced_model.solve(mus)
    assert np.all(answer.bound >= whole.error_norm(mus, answer.coefficients, result.basis))


def test_the_published_model_is_what_it_says() -> None:
    model = convection(25)
    assert (model.dimension, model.steps, model.dt) == (576, 100, 0.01)
    np.testing.assert_allclose(model.times[[0, -1]], [0, 1])


def warm_end(**options: Any) -> rbm.TimeModel:
    """Return heat on (0, 1) with u = 1 at the left end and u = 0 at the right one."""
    p = line(10)
    given = rbm.constrain(
        [("k", p["K"])], [(1.0, p["f"])], p["K"] + p["M"], fixed=[0, 10], values=[1.0, 0.0], outputs={"mean": p["f"]}
    )
    free = given.constraints.free
    return rbm.TimeModel(
        mass=p["M"][free][:, free], operators=given.operators, rhs=given.rhs, product=given.product,
        parameters={"k": (0.5, 2.0)}, stability="k / 2", outputs=given.outputs, constraints=given.constraints,
        dt=0.05, steps=200, **options,
    )  # fmt: skip


def test_a_control_that_would_scale_fixed_values_is_refused() -> None:
    model = warm_end()
    u = model.solve([1.0])[0, -1]
    whole = model.spatial.constraints.expand(u[None], np.array([[1.0]]))[0]
    x = np.linspace(0, 1, 11)
    np.testing.assert_allclose(whole, 1 - x + x * (1 - x) / 2, atol=1e-4)  # the steady state
    result = rbm.pod_greedy(model, model.parameters.sample(5), max_basis=4, dual="all")
    answer = result.reduced_model.solve([[1.0], [1.7]])
    truth = model.solve([[1.0], [1.7]]) @ model.outputs["mean"].terms[0]
    shift = answer.outputs["mean"] - truth  # what the fixed values bring to the mean
    assert np.all(np.abs(shift - shift[0, 0]) <= answer.output_bounds["mean"] + 1e-15)
    text = "in step [12], and this model has fixed values that are not zero"
    ways = [
        lambda: warm_end(control=np.zeros(200)),
        lambda: model.solve([1.0], "impulse"),
        lambda: rbm.pod_greedy(model, model.parameters.sample(3), control=2 * np.ones(200)),
        lambda: result.reduced_model.solve([1.0], "impulse"),
        lambda: next(model.march([1.0], np.zeros(200))),
        lambda: next(iter(result.reduced_model.stream([[1.0]], np.zeros((1, 200))))),
    ]
    for way in ways:
        with pytest.raises(rbm.ModelError, match=text):
            way()
