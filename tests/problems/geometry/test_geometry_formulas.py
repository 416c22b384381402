"""Formulas in normal form: equal ones are found, others are not, and the signs of all are proved."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

import rbm
from problems.geometry.enclosures import enclosed, not_positive
from problems.geometry.formulas import formula
from problems.geometry.sides import side_ratio
from rbm.parameters.expressions import Expression

NAMES = ("L", "t", "a")
SPACE = rbm.ParameterSpace({"L": (2.0, 3.0), "t": (0.1, 0.5), "a": (0.0, 1.0)})


def random_text(rng: np.random.Generator, depth: int, functions: bool = True) -> str:
    """A formula in L, t and a, positive arguments where a function needs them."""
    if depth == 0:
        return str(rng.choice(["L", "t", "a", "2", "0.3", "(1/3)", "pi"]))
    left, right = (random_text(rng, depth - 1, functions) for _ in range(2))
    forms = [f"({left} + {right})", f"({left} - {right})", f"{left}*({right})", f"({left})/(1 + ({right})**2)"]
    forms += [f"-({left})", f"({left})**2"]
    if functions:
        forms += [f"sin({left})", f"cos({left})**2", f"exp(-({left})**2)", f"sqrt(1 + ({left})**2)", f"abs({left})"]
        forms += [f"tanh({left})", f"log(1 + ({left})**2)", f"cosh(tanh({left}))", f"(0.1 + ({left})**2)**0.7"]
    return str(rng.choice(forms))


@pytest.mark.parametrize("seed", range(40))
def test_the_normal_form_has_the_values_of_the_formula(seed: int) -> None:
    rng = np.random.default_rng(seed)
    text = random_text(rng, 3)
    mus = SPACE.sample(20, "random", rng=seed)
    values = Expression(text, NAMES)(mus)
    made = formula(text, NAMES)
    np.testing.assert_allclose(made.at(mus, NAMES), values, rtol=1e-11, atol=1e-11 * (1 + np.abs(values).max()))
    again = formula(made.text(), NAMES)
    assert not (made - again), "what it is written as is the same formula"


@pytest.mark.parametrize(
    ("one", "two", "ratio"),
    [
        ("t/L", "2.5*t/(0.25*L)", Fraction(1, 10)),
        ("(1 - t)/3", "t - 1", Fraction(-1, 3)),
        ("(L**2 - 1)/(L - 1)", "L + 1", 1),
        ("(L + t)**2/(2*L + 2*t)", "L + t", Fraction(1, 2)),
        ("1/(1/t + 1/L)", "L*t/(L + t)", 1),
        ("sin(a)**2 + cos(a)**2", "1", 1),
        ("(cos(2*a)*t)**2 + (sin(a + a)*t)**2", "t**2", 1),
        ("sqrt(1 + t)**2", "1 + t", 1),
        ("0.1*t + 0.2*t", "0.3*t", 1),
        ("sqrt(9/4)*t", "t", Fraction(3, 2)),
        ("t**3/t**5", "t**-2", 1),
        ("t", "t + 1e-30", None),
        ("t/L", "L/t", None),
        ("t + L", "t + 2*L", None),
        ("sin(a)", "sin(2*a)", None),
    ],
)
def test_multiples_are_found_exactly(one: str, two: str, ratio: Fraction | None) -> None:
    assert formula(one, NAMES).ratio(formula(two, NAMES)) == ratio


@pytest.mark.parametrize("seed", range(15))
def test_equal_formulas_that_are_written_differently_are_equal(seed: int) -> None:
    rng = np.random.default_rng(100 + seed)
    a, b, c = (formula(random_text(rng, 2, functions=False), NAMES) for _ in range(3))
    assert not ((a + b) * c - (a * c + b * c))
    assert not ((a - b) * (a + b) - (a**2 - b**2))
    if b and c:
        assert not (a / b / c - a / (c * b))
        assert not ((a / b + a / c) - a * (b + c) / (b * c))
    assert (a + formula("1e-20", ())) - a, "a small difference is one"


@pytest.mark.parametrize("seed", range(40))
def test_enclosures_hold_all_values(seed: int) -> None:
    rng = np.random.default_rng(seed)
    made = formula(random_text(rng, 3), NAMES)
    centre, width = SPACE.sample(30, "random", rng=seed), 10.0 ** rng.uniform(-8, -0.3, (30, 1))
    low, high = np.maximum(centre - width, SPACE.bounds[:, 0]), np.minimum(centre + width, SPACE.bounds[:, 1])
    ends = enclosed(made, NAMES, low, high)
    inside = low + (high - low) * rng.random((200, 30, 3))
    values = made.at(inside.reshape(-1, 3), NAMES).reshape(200, 30)
    slack = 1e-13 * (1 + np.abs(values).max(axis=0))  # of the values: they are rounded
    assert np.all(ends[0] <= values.min(axis=0) + slack)
    assert np.all(values.max(axis=0) <= ends[1] + slack)
    assert np.all(ends[0] <= ends[1])


def test_turning_points_are_inside_enclosures() -> None:
    """At 0, pi/2 and pi, which are inside of the boxes, sine and cosine have values that the ends have not."""
    low, high = np.array([[-0.3], [1.3], [2.8], [-2.0], [-40.0]]), np.array([[0.2], [1.9], [3.4], [-1.4], [40.0]])
    cos_low, cos_high = enclosed(formula("cos(a)", ["a"]), ("a",), low, high)
    sin_low, sin_high = enclosed(formula("sin(a)", ["a"]), ("a",), low, high)
    ones = np.array([cos_high[0], cos_high[4], sin_high[1], sin_high[4], -cos_low[2], -cos_low[4], -sin_low[3]])
    assert np.all((ones >= 1) & (ones < 1 + 1e-14))
    assert cos_low[0] == pytest.approx(np.cos(-0.3), rel=1e-14)
    assert sin_high[2] == pytest.approx(np.sin(2.8), rel=1e-14)


def test_lengths_of_sides_are_not_negative() -> None:
    x, zero = formula("2.5 - L", NAMES), formula(0, NAMES)
    sign = formula("1.5 - L", NAMES)
    assert side_ratio((Fraction(1), Fraction(0)), (sign, zero), SPACE).text() == "-1.5 + L"
    assert side_ratio((Fraction(3), Fraction(4)), (zero, sign), SPACE).text() == "-0.3 + 0.2*L"
    assert side_ratio((Fraction(1), Fraction(0)), (x, zero), SPACE).text() == "abs(2.5 - L)"
    both = side_ratio((Fraction(1), Fraction(0)), (sign.scaled(Fraction(3)), sign.scaled(Fraction(-4))), SPACE)
    assert both.text() == "-7.5 + 5*L"
    mus = SPACE.sample(5)
    turned = side_ratio((Fraction(1), Fraction(1)), (formula("L", NAMES), formula("t", NAMES)), SPACE)
    np.testing.assert_allclose(turned.at(mus, NAMES), np.hypot(mus[:, 0], mus[:, 1]) / 2**0.5, rtol=1e-15)


def test_enclosures_of_points_hold_the_exact_value() -> None:
    """0.1 + 0.2 - 0.3 is zero of the decimals, and its floating-point value is not."""
    low, high = (
        float(x[0]) for x in enclosed(formula("t*0.1 + t*0.2 - a*0.3", NAMES), NAMES, *[np.array([[2, 0.5, 0.5]])] * 2)
    )
    assert low < 0 < high
    assert high - low < 1e-15


@pytest.mark.parametrize(
    "text",
    ["t*L", "1 - t", "t*L*(1 - t) + a*a - a*(1 - a) + 0.3", "sin(a) + 0.1", "cos(a)", "log(t) + 3", "t - 0.1 + 1e-9",
     "L**2 - 4*L + 4 + 1e-4", "a**2 - a + 0.250001", "2", "tan(a) + 1", "exp(-L)", "1 - tanh(L)"],
)  # fmt: skip
def test_positive_formulas_are_proved_to_be(text: str) -> None:
    assert not_positive(formula(text, NAMES), SPACE) is None


@pytest.mark.parametrize(
    "text", ["1 - 2.5*t", "log(t)", "(a - 0.3)*(a - 0.7)", "0.1 - (L - 2.5)**2", "sin(7*a)", "-t", "tan(2*a) + 1"]
)
def test_a_point_is_found_where_a_formula_is_not_positive(text: str) -> None:
    found = not_positive(formula(text, NAMES), SPACE)
    assert found is not None
    assert found.proved
    assert np.all((found.point >= SPACE.bounds[:, 0]) & (found.point <= SPACE.bounds[:, 1]))
    assert Expression(text, NAMES)(found.point[None])[0] <= 0


@pytest.mark.parametrize("text", ["t - 0.1", "sqrt(a - 0.5) + 1", "log(a) + 1000", "1/(a - 0.5)**2", "(a - 1/3)**2"])
def test_what_is_zero_or_undefined_somewhere_is_not_called_positive(text: str) -> None:
    assert not_positive(formula(text, NAMES), SPACE) is not None


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("k*t", "unknown name 'k' in coefficient expression"),
        ("1j*t", "a geometry is real, but '1j\\*t' has the complex number 1j"),
        ("t/(L - L)", "divides by zero"),
        (None, "real numbers and expression texts, got None"),
        (float("nan"), "finite numbers, got 'nan'"),
        (True, "real numbers and expression texts, got True"),
    ],
)
def test_what_is_no_formula_is_refused(given: object, message: str) -> None:
    with pytest.raises(rbm.ModelError, match=message):
        formula(given, NAMES)
