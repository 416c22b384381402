"""Programs of coefficients: checked when they are made, and the bits of NumPy when they run."""

from __future__ import annotations

import numba
import numpy as np
import pytest

import rbm
from rbm.online import programs
from rbm.online.kernels.formulas import POINTS, evaluate_point
from rbm.online.kernels.formulas import formulas as kernel
from rbm.online.programs import ADD, COLUMN, MULTIPLY, NUMBER, POWER, STORE, program
from rbm.parameters import Coefficients
from rbm.parameters.expressions import Expression
from rbm.parameters.powers import IntegerPower

#: What formulas are made of, and numbers at which the last bit, the sign of zero or an overflow would show.
NAMES = ("a", "b", "c")
SPECIAL = np.array([0.0, -0.0, 1.0, -1.0, 1e-160, -1e200, 5e-324, 1 / 3, 2.0**-1074, 1e308])


def formula(rng: np.random.Generator, depth: int) -> str:
    """A random formula of what is compiled."""
    if depth == 0 or rng.random() < 0.15:
        return str(rng.choice([*NAMES, "pi", f"{rng.normal():.17g}", "2", "1e-3"]))
    kind = rng.integers(9)
    a = formula(rng, depth - 1)
    if kind < 4:
        return f"({a}) {'+-*/'[kind]} ({formula(rng, depth - 1)})"
    if kind == 4:
        return f"({a})**{rng.choice([2, 3, 4, 5, 7, 11, 16, -1, -2, -3])}"
    return (f"sqrt({a})", f"-({a})", f"abs({a})", f"+({a})")[kind - 5]


def evaluated(formulas: list[str], mus: np.ndarray, limit: float = np.inf) -> tuple[bool, np.ndarray]:
    """Values (M, Q) by the kernel for batches, all as if they were coefficients of operators."""
    steps = [Expression(text, NAMES).steps() for text in formulas]
    made = program([(q, s) for q, s in enumerate(steps) if s is not None], len(NAMES))
    values = np.full((len(mus), len(formulas)), np.nan)
    out = values, np.empty((len(mus), 0)), np.empty(0), len(formulas), 0
    limits = np.full((2, 3), limit)
    limits[0] = -limit
    return kernel(made.steps, made.numbers, limits, mus, out, np.empty((made.depth, POINTS))), values


@numba.njit
def evaluate_alone(steps: np.ndarray, numbers: np.ndarray, mu: np.ndarray, stack: np.ndarray, one: np.ndarray) -> None:
    """Evaluate a program at one point: what is only a part of kernels is called by compiled code."""
    evaluate_point(steps, numbers, mu, stack, one)


@pytest.mark.parametrize("seed", range(12))
def test_compiled_formulas_have_the_bits_of_numpy(seed: int) -> None:
    """For batches and for single points; 36 formulas at 300 points each."""
    rng = np.random.default_rng(seed)
    mus = rng.standard_normal((300, 3)) * np.exp(rng.normal(0, 3, (300, 3)))
    mus[:40] = rng.choice(SPECIAL, (40, 3))
    texts = [formula(rng, 4) for _ in range(3)]
    expected = np.stack([Expression(text, NAMES)(mus) for text in texts], axis=1)
    good, values = evaluated(texts, mus)
    np.testing.assert_array_equal(values, expected)
    np.testing.assert_array_equal(np.signbit(values[values == 0]), np.signbit(expected[values == 0]))
    assert good == bool(np.isfinite(expected).all())
    made = program([(0, Expression(texts[0], NAMES).steps() or [])], 3)
    one = np.empty(1)
    for mu, value in zip(mus[::10], expected[::10, 0], strict=True):
        evaluate_alone(made.steps, made.numbers, mu, np.empty(made.depth), one)
        np.testing.assert_array_equal(one[0], value)


@pytest.mark.parametrize("exponent", [*range(1, 17), *range(-16, 0)])
def test_integer_powers(exponent: int) -> None:
    """Within |e| u of the exact power, the same for one number and for many."""
    rng = np.random.default_rng(3)
    x = rng.uniform(0.5, 2, 2000) * rng.choice([-1, 1], 2000)
    made = IntegerPower(exponent)(x)
    exact = x.astype(np.longdouble) ** exponent
    assert np.all(np.abs(made - exact) <= abs(exponent) * np.finfo(float).eps / 2 * np.abs(exact))
    np.testing.assert_array_equal(made[7], IntegerPower(exponent)(x[7]))
    text = f"a**{exponent}"
    np.testing.assert_array_equal(Expression(text, ("a",))(x[:, None]), made)
    slope = Expression(text, ("a",)).derivative(x[:, None])[:, 0]
    np.testing.assert_allclose(slope, exponent * x ** (exponent - 1.0), rtol=1e-14)
    steps = Expression(text, ("a",)).steps()
    assert steps == [(COLUMN, 0), (POWER, exponent)]


@pytest.mark.parametrize(
    "text", ["exp(a)", "a**0.5", "a**b", "2**a", "a**17", "a**0", "1j*a", "real(1j*a)", "sin(a) + 1", "(a + 2j)**2"]
)
def test_what_only_numpy_evaluates(text: str) -> None:
    assert Expression(text, NAMES).steps() is None
    space = rbm.ParameterSpace(dict.fromkeys(NAMES, (1.0, 2.0)))
    assert Coefficients(["a", text], space).steps() is None
    assert Coefficients([1.0, lambda mus: mus[:, 0]], space).steps() is None
    assert Coefficients([2j], space).steps() is None
    assert Coefficients([1.0, " b "], space).steps() == [[(NUMBER, 1.0)], [(COLUMN, 1)]]


@pytest.mark.parametrize(
    ("steps", "message"),
    [
        ([(ADD, 0)], "0 numbers on the stack"),
        ([(COLUMN, 0), (ADD, 0)], "1 numbers on the stack"),
        ([(COLUMN, 3)], "operand 3 of column, with 3 columns"),
        ([(COLUMN, -1)], "operand -1 of column"),
        ([(COLUMN, 0.5)], "operand 0.5 of column"),
        ([(COLUMN, 0), (COLUMN, 1)], "1 numbers are left"),
        ([(99, 0)], "operation 99"),
        ([(-1, 0)], "operation -1"),
        ([(COLUMN, 0), (POWER, 0)], "operand 0 of power"),
        ([(COLUMN, 0), (POWER, 17)], "operand 17 of power"),
        ([], "operation 10 with 0 numbers"),
    ],
)
def test_steps_that_are_no_formula_are_refused(steps: list[programs.Step], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        program([(0, steps)], 3)
    with pytest.raises(ValueError, match="operand -1 of store"):
        program([(-1, [(COLUMN, 0)])], 3)


def test_a_program_is_two_short_arrays() -> None:
    made = program([(2, Expression("(a + b) * (a + 2*b)", NAMES).steps() or [])], 3)
    assert made.numbers.tolist() == [2.0]
    assert made.depth == 4
    assert made.steps[-4:].tolist() == [MULTIPLY, 0, STORE, 2]


def test_what_a_batch_is_checked_for() -> None:
    """The ranges, NaN, values that are not finite, beta that is not positive: anywhere in the batch."""
    mus = np.full((3 * POINTS + 5, 3), 0.5)
    assert evaluated(["1/(a - 1)"], mus, 1.0)[0]
    for row in (0, POINTS - 1, POINTS, len(mus) - 1):
        for wrong in (1.0 + 2.0**-52, -2.0, np.nan, np.inf, 1.0):
            bad = mus.copy()
            bad[row, 0] = wrong
            assert not evaluated(["1/(a - 1)"], bad, 1.0)[0]
    made = program([(0, [(COLUMN, 0)])], 3)
    limits = np.array([[-1.0] * 3, [1.0] * 3])
    for beta, good in ((0.5, True), (0.0, False), (-0.5, False)):
        mus[-1, 0] = beta
        out = np.empty((len(mus), 0)), np.empty((len(mus), 0)), np.empty(len(mus)), 0, 0
        stack = np.empty((made.depth, POINTS))
        assert kernel(made.steps, made.numbers, limits, mus, out, stack) == good
        np.testing.assert_array_equal(out[2], mus[:, 0])
