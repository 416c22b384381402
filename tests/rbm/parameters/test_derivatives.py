"""Coefficients differentiate themselves: exact rules, functions with their derivative, and what has none."""

from __future__ import annotations

import pickle

import flint
import numpy as np
import pytest
from helpers.exact_gradients import exact_formula
from helpers.exact_outputs import BITS

import rbm
from rbm.parameters import Coefficients
from rbm.parameters.expressions import FUNCTIONS, Expression
from rbm.parameters.products import CoefficientProduct

NAMES = ("a", "b")
SPACE = rbm.ParameterSpace({"a": (0.25, 2.0), "b": (0.25, 2.0)})
MUS = SPACE.sample(7, "random", rng=3)
FORMULAS = [
    "a * b - b / a + 3", "-a + +b", "2 ** a", "a ** b", "a ** 3 - b ** -2", "a ** 0 + b", "a ** 0.5",
    "(1 + 2j * a) ** b",
    "exp(1j * a * b) / (1 + a ** 2)", "abs(a - 1j * b)", "abs(a - 5)", "real((a + 1j * b) ** 3)", "conj(exp(1j * a))",
    "imag(b * exp(2j * a))", "log(a) * sqrt(b)", "tan(a / 4) + tanh(9 * b)", "pi",
    "cosh(a) - sinh(b) * sin(a) + cos(b)",
    *[f"{name}(a * b / 4 + 0.1)" for name in FUNCTIONS],
]  # fmt: skip


def square(mus: np.ndarray) -> np.ndarray:
    return mus[:, 0] ** 2 * mus[:, 1]


def slope(mus: np.ndarray) -> np.ndarray:
    return np.stack([2 * mus[:, 0] * mus[:, 1], mus[:, 0] ** 2], axis=1)


@pytest.mark.parametrize("text", FORMULAS)
def test_formulas_have_the_derivatives_that_quotients_in_300_bits_have(text: str) -> None:
    made = Expression(text, NAMES).derivative(MUS)
    flint.ctx.prec = BITS
    step = flint.acb(1) / flint.acb(10) ** 25
    for k, j in np.ndindex(*MUS.shape):
        ends = []
        for sign in (1, -1):
            mu = [flint.acb(float(x)) for x in MUS[k]]
            mu[j] = mu[j] + sign * step
            ends.append(exact_formula(text, NAMES, mu))
        exact = (ends[0] - ends[1]) / (2 * step)
        exact = complex(float(exact.real.mid()), float(exact.imag.mid()))
        assert abs(made[k, j] - exact) <= 64 * 2.0**-53 * max(abs(exact), 1.0)


def test_derivatives_of_a_batch_are_those_of_its_points() -> None:
    expression = Expression("a ** b * exp(a)", NAMES)
    assert np.array_equal(expression.derivative(MUS)[4:5], expression.derivative(MUS[4:5]))


@pytest.mark.parametrize(("text", "at"), [("abs(a)", 0.0), ("sqrt(a)", 0.0), ("a ** 0.5", 0.0)])
def test_a_kink_is_refused_with_formula_and_point(text: str, at: float) -> None:
    space = rbm.ParameterSpace({"a": (-1.0, 1.0)})
    coefficients = Coefficients([2.0, text], space)
    with pytest.raises(rbm.ModelError, match=r"no derivative at a = 0 \(row 1\)") as caught:
        coefficients.derivative(np.array([[0.5], [at]]))
    assert repr(text) in str(caught.value)


def test_the_zeroth_power_has_the_derivative_zero_at_zero_too() -> None:
    assert Expression("a ** 0", ("a",)).derivative(np.zeros((1, 1)))[0, 0] == 0


def test_all_kinds_of_coefficients() -> None:
    family = rbm.InterpolatedFamily(
        ("exp(a)", "a * b"), np.array([[1.0, 0.0], [0.5, 1.0]]), np.array([[2.0, 1], [0, 4]])
    )
    product = CoefficientProduct(Coefficients([rbm.differentiable(square, slope), "1 + b", "a"], SPACE))
    sources = ["a", 2.0, *family.terms("b * a"), rbm.differentiable(square, slope), product]
    coefficients = Coefficients(sources, SPACE)
    made = coefficients.derivative(MUS)
    assert made.shape == (7, 6, 2)
    for j in range(2):
        e = np.eye(2)[j] * 1e-4
        sides = [coefficients(MUS + k * e) for k in (1, -1, 2, -2)]
        quotient = (8 * (sides[0] - sides[1]) - (sides[2] - sides[3])) / 12e-4
        assert np.abs(made[:, :, j] - quotient).max() < 1e-10


def test_parameters_and_numbers_alone() -> None:
    made = Coefficients(["b", 3.0, "a"], SPACE).derivative(MUS)
    assert np.array_equal(made, np.tile([[0.0, 1], [0, 0], [1, 0]], (7, 1, 1)))


def test_a_function_without_derivative_is_named() -> None:
    coefficients = Coefficients(["a", square], SPACE)
    for ask in (lambda: coefficients.derivative(MUS), coefficients.check_derivatives):
        with pytest.raises(rbm.ModelError, match=r"'square' is a callable without a derivative.*rbm\.differentiable"):
            ask()


def test_a_factor_without_derivative_is_named_and_so_is_its_point() -> None:
    product = CoefficientProduct(Coefficients(["a", square], SPACE))
    with pytest.raises(rbm.ModelError, match="'square' is a callable without a derivative"):
        Coefficients([product], SPACE).check_derivatives()
    kink = CoefficientProduct(Coefficients(["abs(a - 1)", rbm.differentiable(square, slope)], SPACE))
    with pytest.raises(rbm.ModelError, match=r"^the coefficient 'abs\(a - 1\)' has no derivative .*row 1") as caught:
        Coefficients([kink], SPACE).derivative(np.array([[0.5, 1.0], [1.0, 1.0]]))
    assert caught.value.rows is not None
    assert caught.value.rows.tolist() == [1]


def test_a_derivative_of_the_wrong_shape_or_that_fails_is_named() -> None:
    for wrong in (lambda mus: mus[:, 0], lambda mus: mus.T, lambda mus: 1.0):
        with pytest.raises(rbm.ModelError, match=r"derivative of the coefficient 'square' must return .*\(7, 2\)"):
            Coefficients([rbm.differentiable(square, wrong)], SPACE).derivative(MUS)
    with pytest.raises(rbm.ModelError, match=r"derivative of the coefficient 'square' failed.*ZeroDivisionError"):
        Coefficients([rbm.differentiable(square, lambda mus: 1 / 0)], SPACE).derivative(MUS)
    with pytest.raises(rbm.ModelError, match="derivative must be a function"):
        rbm.differentiable(square, 3.0)  # type: ignore[arg-type]


def test_a_function_of_one_parameter_may_return_one_number_a_point() -> None:
    space = rbm.ParameterSpace({"a": (0.0, 1.0)})
    coefficients = Coefficients([rbm.differentiable(lambda mus: mus[:, 0] ** 2, lambda mus: 2 * mus[:, 0])], space)
    assert coefficients.derivative(np.array([[3.0], [4.0]])).ravel().tolist() == [6.0, 8.0]


def test_a_differentiable_function_travels_if_both_functions_do() -> None:
    sent = pickle.loads(pickle.dumps(Coefficients([rbm.differentiable(square, slope)], SPACE)))
    assert np.array_equal(sent.derivative(MUS)[:, 0], slope(MUS))
    with pytest.raises(rbm.ModelError, match="cannot be pickled"):
        pickle.dumps(Coefficients([rbm.differentiable(square, lambda mus: mus)], SPACE))


def test_a_family_without_derivatives_is_refused() -> None:
    class Family:
        kind = "test"

        def __len__(self) -> int:
            return 1

        def compiled(self, names: tuple[str, ...]) -> object:
            return lambda mus: mus[:, :1]

    source = rbm.parameters.InterpolatedCoefficient(Family(), 0)  # type: ignore[arg-type]
    with pytest.raises(rbm.ModelError, match="family Family has no derivatives"):
        Coefficients([source], SPACE).derivative(MUS)
    with pytest.raises(rbm.ModelError, match="family Family has no derivatives"):
        Coefficients([source], SPACE).check_derivatives()
