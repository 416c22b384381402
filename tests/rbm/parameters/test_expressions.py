"""Coefficient expressions: the arithmetic of NumPy, and nothing else of Python."""

from __future__ import annotations

import inspect
import re
import sys
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rbm import ModelError
from rbm.parameters.expressions import FUNCTIONS, MAX_LENGTH, Expression

NAMES = ("mu", "Z1", "k")
MUS = np.random.default_rng(0).uniform(-2, 2, (5, 3))

# An expression is drawn as (text, binding strength, function of the columns); brackets are written only where needed.
SUM, PRODUCT, SIGN, POWER, ATOM = range(5)
OPERATORS = {
    "+": (np.add, SUM),
    "-": (np.subtract, SUM),
    "*": (np.multiply, PRODUCT),
    "/": (np.divide, PRODUCT),
    "**": (np.power, POWER),
}


def number(value: complex):
    if isinstance(value, complex):
        return f"{value.imag!r}j", ATOM, lambda columns: np.complex128(1j * value.imag)
    return repr(value), ATOM, lambda columns: np.float64(value)


def name(j: int):
    return NAMES[j], ATOM, lambda columns: columns[j]


def bracketed(text: str, strength: int, least: int) -> str:
    return text if strength >= least else f"({text})"


def binary(symbol: str, left, right):
    function, strength = OPERATORS[symbol]
    # equal operators bind to the left, powers to the right, and a power binds the sign on its right
    a = bracketed(left[0], left[1], strength if strength < POWER else ATOM)
    b = bracketed(right[0], right[1], strength + 1 if strength < POWER else SIGN)
    return f"{a} {symbol} {b}", strength, lambda columns: function(left[2](columns), right[2](columns))


def signed(symbol: str, operand):
    function = {"-": np.negative, "+": np.positive}[symbol]
    return symbol + bracketed(operand[0], operand[1], SIGN), SIGN, lambda columns: function(operand[2](columns))


def called(function: str, argument):
    return f"{function}({argument[0]})", ATOM, lambda columns: getattr(np, function)(argument[2](columns))


LEAVES = st.one_of(
    st.floats(0, 1e3).map(number),
    st.integers(0, 10**6).map(number),
    st.floats(0, 10).map(lambda y: number(complex(0, y))),
    st.integers(0, 2).map(name),
    st.just(("pi", ATOM, lambda columns: np.pi)),
)
FORMULAS = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.builds(binary, st.sampled_from(list(OPERATORS)), inner, inner),
        st.builds(signed, st.sampled_from(["-", "+"]), inner),
        st.builds(called, st.sampled_from(list(FUNCTIONS)), inner),
    ),
    max_leaves=8,
)


@settings(max_examples=400, deadline=None, derandomize=True)
@given(FORMULAS)
def test_every_formula_has_the_value_numpy_gives_it(formula):
    text, _, function = formula
    with np.errstate(all="ignore"):
        expected = np.broadcast_to(function(list(MUS.T)), (5,))
    values = Expression(text, NAMES)(MUS)
    assert values.shape == (5,)
    assert values.dtype == expected.dtype
    assert np.array_equal(values, expected, equal_nan=True)


@settings(max_examples=300, deadline=None, derandomize=True)
@given(st.text(max_size=60) | st.text("muk()[]{}.,'\"*+-/:=lambdaforin_ 0123", max_size=60))
def test_any_other_text_is_refused_by_a_model_error(text):
    try:
        values = Expression(text, NAMES)(MUS)
    except ModelError:
        return
    assert values.shape == (5,)
    assert values.dtype in (np.float64, np.complex128)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("-2**2", -4),
        ("2**3**2", 512),
        ("2**-1", 0.5),
        ("7 - 4 - 2", 1),
        ("8/4/2", 1),
        ("8/4*2", 4),
        ("1 + 2*3", 7),
        ("- -3", 3),
        ("2000 + 1e-3", 2000.001),
        ("(1 + 2j)*conj(1 + 2j)", 5),
        ("abs(-3 + 4j)", 5),
        ("exp(1j*pi) + 1", 1.2246467991473532e-16j),
        ("real(2 + 3j) - imag(2 + 3j)", -1),
        ("  sqrt(16)\t", 4),
    ],
)
def test_precedence_and_functions_are_those_of_python(text, value):
    assert np.array_equal(Expression(text, ())(np.zeros((3, 1))), np.full(3, value))


def test_names_are_columns_and_hide_constants():
    mus = np.array([[2.0, 3.0], [4.0, 5.0]])
    assert np.array_equal(Expression("a/b", ["a", "b"])(mus), [2 / 3, 4 / 5])
    assert np.array_equal(Expression("a/b", ["b", "a"])(mus), [3 / 2, 5 / 4])
    assert np.array_equal(Expression("pi + exp(exp)", ["pi", "exp"])(mus), [2 + np.exp(3), 4 + np.exp(5)])
    assert repr(Expression(" a + b ", ["a", "b"])) == "Expression('a + b')"


def test_poles_and_overflow_come_out_as_numbers_for_the_caller_to_name():
    assert np.array_equal(Expression("1/mu", ["mu"])(np.array([[0.0], [2.0]])), [np.inf, 0.5])
    assert np.isnan(Expression("log(mu)", ["mu"])(np.array([[-1.0]])))
    assert np.isposinf(Expression("9**9**9**9", [])(np.zeros((1, 1))))


ATTACKS = [
    "__import__('os').system('x')",
    "open('x')",
    "exec('1')",
    "(lambda: 1)()",
    "min(mu, k)",
    "np.exp(mu)",
    "mu.sum()",
    "exp(mu, k)",
    "exp()",
    "exp(x=mu)",
    "exp(mu, out=k)",
    "exp(mu)(k)",
]
NOT_FORMULAS = [
    "mu.__class__",
    "mu.real",
    "().__class__.__bases__[0]",
    "lambda: 1",
    "[x for x in mu]",
    "{mu for mu in (1,)}",
    "(x for x in mu)",
    "mu[0]",
    "(mu, k)",
    "{}",
    "'text'",
    "b'mu'",
    "f'{mu}'",
    "None",
    "True",
    "...",
    "mu // 2",
    "mu % 2",
    "mu @ k",
    "mu | 1",
    "~mu",
    "not mu",
    "mu and 1",
    "mu < k",
    "mu if k else 1",
    "(mu := 1)",
    "await mu",
]


@pytest.mark.parametrize("text", ATTACKS)
def test_calls_other_than_the_listed_functions_of_one_argument_are_refused_by_name(text):
    with pytest.raises(
        ModelError, match=rf"^call .*{re.escape(repr(text))} is not allowed; the functions are exp, log"
    ):
        Expression(text, NAMES)


@pytest.mark.parametrize("text", NOT_FORMULAS)
def test_syntax_that_is_not_arithmetic_is_refused_by_name(text):
    with pytest.raises(ModelError, match=r"in coefficient expression .* is not allowed: use numbers, parameter names"):
        Expression(text, NAMES)
    with pytest.raises(ModelError, match="is not allowed"):
        Expression(f"1 + exp(2*({text}))", NAMES)


@pytest.mark.parametrize("text", ["exp(*mu)", "exp(**mu)", "exp(open)", "exp(__builtins__)"])
def test_arguments_are_checked_as_well(text):
    with pytest.raises(ModelError, match=r"is not allowed|unknown name"):
        Expression(text, NAMES)


@pytest.mark.parametrize(
    "text", ["", "   ", "mu k", "mu = 1", "mu; k", "import os", "yield", "(mu", "mu)", "\0", "*mu", "mu +"]
)
def test_text_that_is_no_formula_is_refused_with_the_text(text):
    with pytest.raises(ModelError, match=rf"coefficient expression {re.escape(repr(text))} is not a formula"):
        Expression(text, NAMES)


def test_unknown_names_are_answered_with_the_known_ones():
    with pytest.raises(
        ModelError, match=r"unknown name 'nu' in coefficient expression '1/nu'; the names are mu, Z1, k, pi"
    ):
        Expression("1/nu", NAMES)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x" * 10**6, "coefficient expression of 1000000 characters: at most 1000 are allowed"),
        ("1" * (MAX_LENGTH + 1), "coefficient expression of 1001 characters"),
        ("1" * 400, r"number 11111111111111111111\.\.\. in .* is too large"),
        ("(" * 450 + "mu" + ")" * 450, "is not a formula|is nested too deeply"),
        ("exp(" * 190 + "(" * 190, "is not a formula|is nested too deeply"),
    ],
)
def test_long_and_deep_texts_are_refused(text, message):
    with pytest.raises(ModelError, match=message):
        Expression(text, NAMES)


def test_chains_as_long_as_the_text_may_be_are_either_evaluated_or_refused():
    for text in ("-" * 990 + "mu", "1+" * 480 + "mu", "--" + "mu"):
        try:
            values = Expression(text, NAMES)(MUS)
        except ModelError as error:
            assert "nested too deeply" in str(error)  # noqa: PT017 (either outcome is right)
        else:
            assert values == pytest.approx(MUS[:, 0] + text.count("1"), abs=500**2 * np.finfo(float).eps)


def test_an_expression_that_was_accepted_can_be_evaluated_from_anywhere():
    room = sys.getrecursionlimit() - len(inspect.stack())
    expression = Expression("-" * (room - 150) + "mu", NAMES)

    def deeper(levels: int) -> np.ndarray:
        return deeper(levels - 1) if levels else expression(MUS)

    deeper(200)


def test_a_parameter_may_be_called_by_the_micro_sign():
    assert np.array_equal(Expression("\u00b5", ["\u00b5"])(np.array([[2.0]])), [2.0])


def test_messages_are_short_whatever_the_text():
    with pytest.raises(ModelError) as error:
        Expression(" " * 10**6, NAMES)
    assert len(str(error.value)) <= 3 * MAX_LENGTH


@pytest.mark.parametrize("text", ["1_0", "2 * a_1 + 1_0.5", "a_1**2_0j"])
def test_numbers_with_underscores_are_refused(text: str) -> None:
    with pytest.raises(ModelError, match="has an underscore; write"):
        Expression(text, ["a_1"])
    assert Expression("10 * a_1", ["a_1"])(np.array([[2.0]])).tolist() == [20.0]


def test_a_formula_is_applied_to_other_things_than_arrays():
    """To fractions, here, whose sums and products are exact."""
    made = Expression("(mu + Z1/3)*mu - 2", NAMES).applied(
        [Fraction(1, 3), Fraction(1, 7), Fraction(0)],
        lambda function, arguments: function(*(Fraction(float(x)) if isinstance(x, float) else x for x in arguments)),
    )
    assert made == (Fraction(1, 3) + Fraction(1, 7) / 3) * Fraction(1, 3) - 2
