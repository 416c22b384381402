"""The numbers of a page against Python's: its scripts run in Node.js at 1000 points of models of every kind."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp
from helpers import page_core
from helpers.models import complex_model
from helpers.scattering_models import scattering, wavenumber_model

import rbm
from lowrank import gram_schmidt
from problems import convection_diffusion, frequency_sweep, reaction_diffusion_1d, thermal_block, thermal_fin
from rbm.errors import PointError
from rbm.reduced.output_rows import certified
from rbm.reduced.outputs import AtPoints
from rbm.show.page.document import core_script
from rbm.show.page.model_data import page_data

pytestmark = pytest.mark.skipif(page_core.NODE is None, reason="no Node.js: apt-get install -y nodejs")
#: What two ways to sum the same may differ by, relative to the terms.
ROUNDING = 1e-12


def reduced(model: rbm.FullOrderModel, size: int, **options: Any) -> rbm.ReducedModel:
    return rbm.greedy(model, model.parameters.sample(120), max_basis=size, progress=False, **options).reduced_model


def damped() -> rbm.FullOrderModel:
    """Complex and tall, with the bound of the pencil."""
    return frequency_sweep("duct", n=300, damping=0.05)


def constrained() -> rbm.FullOrderModel:
    """Fixed unknowns whose value is a formula: an output with an offset, and a quadratic one."""
    base = reaction_diffusion_1d(40)
    stiffness, mass = base.operator_terms
    n = stiffness.shape[0]
    terms: Any = [(1.0, stiffness), ("k", mass)]
    made = rbm.constrain(
        terms, [("cos(k)", np.ones(n) / n)], stiffness, [0, n - 1], [("k**2", [1.0, 0.5])],
        outputs={"mean": [("sqrt(k)", np.ones(n) / n), ("-1", np.eye(n)[0] + np.eye(n)[3])]},
    )  # fmt: skip
    outputs = {**made.arguments["outputs"], "energy": [("k", sp.csr_array(sp.eye_array(n - 2)))]}
    arguments = {**made.arguments, "outputs": outputs}
    return rbm.FullOrderModel(
        **arguments, parameters=rbm.ParameterSpace({"k": (0.5, 3.0)}), stability="1 / (1 + exp(-k))"
    )


def interpolated() -> rbm.FullOrderModel:
    """Coefficients of a family, complex factors, and an interpolation error."""
    base = reaction_diffusion_1d(40)
    stiffness, mass = base.operator_terms
    family = rbm.InterpolatedFamily(
        ("exp(1j*k)", "log(k + 1j)", "k**-2"),
        np.array([[1, 0, 0], [0.3, 1, 0], [0.1j, -0.2, 1]]),
        np.array([[2.0, 0.1, 0.3j], [0, 1.5, 0.2], [0, 0, 1]]),
    )
    parts = [(c, mass) for c in family.terms("0.05 * k")]
    return rbm.FullOrderModel(
        [(1.0, stiffness), *parts], [(1.0, np.ones(39) / 40), ("tanh(1j*k)", np.arange(39) / 900)], stiffness,
        {"k": (1.0, 2.5)}, 0.6, {"mean": np.ones(39) / 40}, interpolation_error=("1e-3 * k", 1e-3),
    )  # fmt: skip


def indefinite(stability: Any) -> rbm.FullOrderModel:
    return frequency_sweep("cavity", n=60, damping=0.0, wavenumbers=(1.0, 3.08), stability=stability)


def successive() -> rbm.FullOrderModel:
    base = reaction_diffusion_1d(40)
    stiffness, mass = base.operator_terms
    skew = sp.diags_array([np.ones(38), -np.ones(38)], offsets=[1, -1]) / 10
    terms: Any = [("1 + a**2", stiffness), ("b - 3", mass), ("a*b", sp.csr_array(skew))]
    space = {"a": (0.2, 2.0), "b": (-3.0, 9.0)}
    scm = rbm.stability.SCM(training=rbm.ParameterSpace(space).sample(40), progress=False)
    return rbm.FullOrderModel(terms, [("a + b", np.ones(39))], stiffness, space, scm, {"mean": np.ones(39)})


def pivots() -> rbm.ReducedModel:
    """Zeros on the diagonal, and a matrix that is not Hermitian: an elimination without pivots ends at once."""
    space = rbm.ParameterSpace({"k": (1.0, 2.0)})
    cycle = np.roll(np.eye(4), 1, axis=1)
    model = rbm.FullOrderModel(
        [("k", cycle), ("1e-3 / k", np.diag([1e-17, 1, 2, 3]))], [("k", np.arange(1.0, 5))], np.eye(4), space, "k / 2",
        {"sum": np.ones(4)},
    )  # fmt: skip
    return rbm.project(model, np.eye(4))


CASES: dict[str, Callable[[], rbm.ReducedModel]] = {
    "fin": lambda: reduced(thermal_fin(), 20),
    "thermal block": lambda: reduced(thermal_block((3, 3), 21), 30),
    "diffusion": lambda: reduced(reaction_diffusion_1d(60), 6),
    "diffusion near round-off": lambda: reduced(reaction_diffusion_1d(60), 8),
    "diffusion to round-off": lambda: reduced(reaction_diffusion_1d(60), 12),
    "convection": lambda: reduced(convection_diffusion(), 10),
    "complex": lambda: reduced(complex_model(60), 8),
    "scattering": lambda: reduced(scattering(), 12),
    "complex scattering": lambda: reduced(scattering(True), 14),
    "scattering over wavenumbers": lambda: reduced(wavenumber_model(), 6),
    "damped, pencil": lambda: reduced(damped(), 12),
    "pencil": lambda: reduced(indefinite(None), 10),
    "natural norm": lambda: reduced(indefinite(rbm.stability.NaturalNorm(progress=False)), 10),
    "anchored": lambda: reduced(indefinite(rbm.stability.Anchored(progress=False)), 10),
    "successive constraints": lambda: reduced(successive(), 8),
    "offset and energy": lambda: reduced(constrained(), 5),
    "interpolated": lambda: reduced(interpolated(), 5),
    "pivots": pivots,
}


@cache
def model(name: str) -> rbm.ReducedModel:
    return CASES[name]()


def certified_points(made: rbm.ReducedModel, count: int) -> np.ndarray:
    """Points at which Python has an answer."""
    mus = made.parameters.sample(count, "random", rng=7)
    return np.delete(mus, made.solve(mus, on_error="mark").failed, axis=0)


def by_definition(made: rbm.ReducedModel, mus: np.ndarray) -> tuple[Any, Any, dict[str, Any]]:
    """Residual sums without compensation, beta, and outputs with bounds from the readable definitions."""
    query, state = made._online, made.estimators["orthonormal"]
    theta, phi = made.operator_coefficients(mus), made.rhs_coefficients(mus)
    solution = made.solve(mus)
    gamma, beta = solution.coefficients, query.beta(mus, theta)
    c = rbm.online.reference.residual_coefficients(theta, phi, gamma)
    value, floor = state._sums(c, state.factor)
    error = query.error(rbm.Estimate.from_norm(value, floor), beta, gamma, mus, state, False)
    at = AtPoints(mus, theta, phi, gamma, beta, error.bound)
    values, bounds = certified(query.arrays.outputs, at)
    return error, beta, {name: (values[name], bounds[name]) for name in values}


@pytest.mark.parametrize("name", CASES)
def test_1000_points(name: str, tmp_path: Path) -> None:
    check(model(name), tmp_path)


def check(made: rbm.ReducedModel, tmp_path: Path) -> None:
    """Solutions to 1e-12 of their size; floors, bounds and outputs those of the definition; never below the bound."""
    mus = certified_points(made, 1000)
    assert len(mus) > 900
    got, solution = page_core.answers(tmp_path, made, mus), made.solve(mus)
    size = np.linalg.norm(solution.coefficients, axis=1)
    assert np.max(np.linalg.norm(got["gamma"] - solution.coefficients, axis=1) / size) <= 1e-12
    error, beta, outputs = by_definition(made, mus)
    # plain sums in another order, or with coefficients that differ in their last bit, differ by less than the floor
    np.testing.assert_allclose(got["beta"], beta, rtol=1e-9)
    assert np.all(np.abs(got["value"] - error.value) <= error.floor + 1e-9 * error.value)
    np.testing.assert_allclose(got["floor"], error.floor, rtol=0.02)
    # the rounding of two sums in different order is far below its worst case, of which floors consist
    assert np.all(got["bound"] >= solution.bound * (1 - 1e-9) - 0.1 * got["floor"])
    np.testing.assert_array_equal(got["resolved"], got["value"] >= 11 * got["floor"] * (1 - 1e-15))
    for output, (values, bounds) in got["outputs"].items():
        exact = solution.outputs[output]
        off = np.abs(values - exact)
        assert np.all(off <= ROUNDING * np.max(np.abs(exact)) + 1e-300), output
        wanted, limits = outputs[output]
        assert np.all(np.abs(values - wanted) <= ROUNDING * np.max(np.abs(exact)) + 1e-300)
        # the bound of the solution may be larger here, and with it that of the output
        ratio = np.maximum((got["bound"] / error.bound) ** 2, 1.0) * (1 + 1e-6)
        assert np.all(bounds >= limits * (1 - 1e-6) - ROUNDING * np.abs(exact)), output
        assert np.all(bounds <= limits * ratio + ROUNDING * np.abs(exact)), output


def test_where_rounding_hides_the_error_the_page_says_so(tmp_path: Path) -> None:
    """Converged to round-off: the floors of plain sums dominate, and bounds hold against exact solutions."""
    full = reaction_diffusion_1d(60)
    made = model("diffusion to round-off")
    mus = made.parameters.sample(300, "random", rng=3)
    got, estimate = page_core.answers(tmp_path, made, mus), made.solve(mus).estimate
    assert not got["resolved"].any()
    assert np.all(got["floor"] >= 0.9 * estimate.floor)
    assert np.median(got["floor"] / estimate.floor) > 2  # Python has compensated sums there
    off = full.inner_product.norm((full.solve(mus) - got["gamma"] @ made.basis.T).T)
    assert np.all(off <= got["bound"] + 1e-15)


def test_points_without_an_answer(tmp_path: Path) -> None:
    """Outside the ranges, no numbers, and where the stability bound is not positive: a sentence, and a gap."""
    base = reaction_diffusion_1d(20)
    full = rbm.FullOrderModel(
        [(1.0, base.operator_terms[0]), ("m", base.operator_terms[1])], [(1.0, np.ones(19))], base.operator_terms[0],
        {"m": (-1.0, 3.0)}, "m", {"mean": np.ones(19)},
    )  # fmt: skip
    made = rbm.project(full, gram_schmidt(full.solve([[1.0], [2.0]]).T, product=base.operator_terms[0]).basis)
    data = page_data(made, "test")
    found = page_core.run(tmp_path, data, [[-0.5], [4.0], [1.0]], curve=[[1.0], 0, 5])
    assert "not positive" in found["answers"][0]["error"]
    assert "outside -1 to 3" in found["answers"][1]["error"]
    assert "error" not in found["answers"][2]
    assert [x is None for x in found["curve"]["bound"]] == [True, True, False, False, False]
    assert found["curve"]["x"] == [-1.0, 0.0, 1.0, 2.0, 3.0]
    with pytest.raises(PointError):
        made.solve([[-0.5]])


FORMULAS = (
    "a + b*2 - 1.5/b", "-a**3 + +b", "a**-2", "a**0.5", "b**a", "2**b", "(a + 1j*b)**a", "(1j*b)**(2 - 1j*a)",
    "(a - 1j*b)**-3", "(-1 + 0j)**0.5", "exp(1j*a*b)", "log(a)", "log(-a + 1j*b)", "sqrt(b)", "sqrt(-a + 1j*b)",
    "sqrt(-a - 1j*b)", "sqrt(-a + 0j)", "sin(a) * cos(b) + tan(a)", "sin(a + 1j*b) / cos(b - 1j*a)", "tan(a + 1j*b)",
    "sinh(a) + cosh(b) * tanh(a)", "sinh(1j*a + b)", "cosh(a - 2j*b)", "tanh(a + 1j*b)", "tanh(40*a + 1j*b)",
    "abs(-a)", "abs(3j*a - b)", "real(a + 1j*b) + imag(a + 1j*b) + imag(a)", "conj(a + 1j*b) / (b - 0.2j)", "pi*1j",
    "1j / (a + 1e-8j)", "(a + 2j) / 1e300j", "conj(a)",
)  # fmt: skip


def test_formulas_are_those_of_numpy(tmp_path: Path) -> None:
    """Every function, real and complex, to a few last bits."""
    space = rbm.ParameterSpace({"a": (0.2, 2.0), "b": (0.3, 1.4)})
    n = len(FORMULAS)
    full = rbm.FullOrderModel(
        [(1.0, np.eye(n))], [(f, np.eye(n)[q]) for q, f in enumerate(FORMULAS)], np.eye(n), space, 1.0
    )
    made = rbm.project(full, np.eye(n))
    mus = space.sample(200, "random", rng=2)
    got = page_core.answers(tmp_path, made, mus)["gamma"]
    wanted = full.rhs_coefficients(mus)
    assert np.all(np.abs(got - wanted) <= 2e-15 * np.abs(wanted) + 1e-300)


def test_damaged_data_is_refused(tmp_path: Path) -> None:
    """Steps that are no formula are never run: unknown names, an empty stack, a column that is none."""
    data = page_data(model("offset and energy"), "test")
    for steps in (
        [["apply", 1, "constructor"]],
        [["number", 1.0], ["apply", 1, "eval"]],
        [["number", 1.0], ["apply", 2, "add"]],
        [["column", 1]],
        [["number", 1.0], ["number", 1.0]],
        [["number", "1"]],
    ):
        bad = {**data, "rhs_coefficients": [{"program": steps, "text": "x"}]}
        with pytest.raises(AssertionError, match="no formula"):
            page_core.run(tmp_path, bad, [[1.0]])
    bad = {**data, "stability": {"kind": "toString"}}
    with pytest.raises(AssertionError, match="no stability bound"):
        page_core.run(tmp_path, bad, [[1.0]])


#: A piece of the scripts, what it becomes, and a case that must then fail.
BREAKS = [
    ("re += a.re[at + i] * b.re[start + i]", "re -= a.re[at + i] * b.re[start + i]", "fin"),
    ("re -= a.im[at + i] * b.im[start + i]", "re += a.im[at + i] * b.im[start + i]", "complex"),
    ("size(i, j) > size(pivot, j)", "size(i, j) < 0", "pivots"),
    ("v.re[0] += sign[0] * length", "v.re[0] += length", "scattering"),
    ("v.re[i - j], im ? -v.im[i - j] : 0)", "v.re[i - j], im ? v.im[i - j] : 0)", "complex scattering"),
    ("+ relative * value + constant", "", "thermal block"),
    ("sumOfProducts(moduli(c), weights)", "0", "fin"),
    ("RESOLVED = 11", "RESOLVED = 1", "diffusion near round-off"),
    ("Math.min(Math.max(nearest, low), high)", "nearest", "pencil"),
    ("stored.constant * least", "1.001 * stored.constant * least", "fin"),
    ("growths[k] * norm", "0 * norm", "anchored"),
    ("multipliers[i] * levels[j]", "1.1 * multipliers[i] * levels[j]", "successive constraints"),
    ("if (promise > most)", "if (promise < -most)", "natural norm"),
    ("ofRhs + ofOperator", "ofOperator", "interpolated"),
    ("beta - ofOperator", "beta", "interpolated"),
    ("beta * error * error", "0", "fin"),
    ("plainOf = linear", "plainOf = quadratic", "fin"),
    ("value[0] += re;\n      value[1] += im;\n      off", "off", "offset and energy"),
    ("(2 * length + error)", "(length + error)", "offset and energy"),
    ("g[j]));\n  }\n  for (let i = g", "g[i]));\n  }\n  for (let i = g", "interpolated"),
    ("size * error + ofSums", "ofSums", "complex"),
]


@pytest.mark.slow
@pytest.mark.parametrize(("old", "new", "name"), BREAKS)
def test_a_page_that_is_broken_is_found_out(
    old: str, new: str, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = core_script()
    assert whole.count(old) == 1
    broken = whole.replace(old, new)
    monkeypatch.setattr(page_core, "core_script", lambda: broken)
    with pytest.raises((AssertionError, KeyError)):
        check(model(name), tmp_path)
