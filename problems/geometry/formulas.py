"""Formulas in a normal form: quotients of polynomials, in which what is equal is found to be equal, exactly."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from typing import Any
from zlib import crc32

import numpy as np

from problems.geometry.polynomials import Atom, Polynomial, number_text, power_text
from rbm.errors import ModelError
from rbm.parameters.expressions import FUNCTIONS, Expression
from rbm.parameters.powers import IntegerPower

__all__ = ["PI", "Formula", "formula", "of_function", "rational_root"]

#: Larger powers are not multiplied out.
LARGEST_POWER = 16
#: Ratios of values that differ by this share are those of formulas that are no multiples.
APART = 1e-6
#: The number, which formulas write as it is.
PI = Atom("pi")


@dataclass(frozen=True)
class Formula:
    """A quotient of polynomials, numerator / prod_i denominator_i^power_i, with exact coefficients.

    The numerator's powers may be negative: 1/t is a numerator. Denominators are sums without a common factor; those
    that divide the numerator are cancelled. Numbers are read as the decimals that are written, so that 0.1 is 1/10.

    Examples
    --------
    >>> a, b = (formula(text, ["L", "t"]) for text in ("(L + t)**2 / (2*L + 2*t)", "L + t"))
    >>> a.ratio(b)
    Fraction(1, 2)
    >>> (a / formula("t", ["L", "t"])).text()
    '0.5*(L + t)/t'
    """

    numerator: Polynomial
    denominators: tuple[tuple[Polynomial, int], ...] = ()

    @classmethod
    def number(cls, value: Fraction | int) -> Formula:
        """Return a number as a constant."""
        return cls(Polynomial.number(value))

    @property
    def polynomial(self) -> Polynomial | None:
        """Return it as a polynomial without negative powers; None if it is none."""
        whole = all(power > 0 for monomial in self.numerator.terms for _, power in monomial)
        return self.numerator if whole and not self.denominators else None

    @property
    def constant(self) -> Fraction | None:
        """Return the number that it is; None if it depends on anything."""
        return None if self.denominators else self.numerator.constant

    @cached_property
    def atoms(self) -> frozenset[Atom]:
        """The parameters and functions that occur, those inside functions included."""
        own = self.numerator.atoms().union(*(factor.atoms() for factor, _ in self.denominators))
        return frozenset(own).union(*(atom.argument.atoms for atom in own if atom.function))

    def __bool__(self) -> bool:
        return bool(self.numerator)

    def __add__(self, other: Formula) -> Formula:
        ours, theirs = dict(self.denominators), dict(other.denominators)
        shared = {factor: max(ours.get(factor, 0), theirs.get(factor, 0)) for factor in {**ours, **theirs}}

        def raised(numerator: Polynomial, own: Mapping[Polynomial, int]) -> Polynomial:
            for factor, power in shared.items():
                numerator = numerator * factor ** (power - own.get(factor, 0))
            return numerator

        return _cancelled(raised(self.numerator, ours) + raised(other.numerator, theirs), shared)

    def __neg__(self) -> Formula:
        return self.scaled(Fraction(-1))

    def __sub__(self, other: Formula) -> Formula:
        return self + -other

    def scaled(self, factor: Fraction) -> Formula:
        """Return the product with a number."""
        return Formula(self.numerator.scaled(factor), self.denominators if factor else ())

    def __mul__(self, other: Formula) -> Formula:
        powers = dict(self.denominators)
        for factor, power in other.denominators:
            powers[factor] = powers.get(factor, 0) + power
        return _cancelled(self.numerator * other.numerator, powers)

    def inverse(self) -> Formula:
        """Return 1 over it. ZeroDivisionError if it is zero."""
        if not self:
            raise ZeroDivisionError("the formula is zero for all parameters")
        number, monomial, rest = self.numerator.primitive()
        numerator = Polynomial({tuple((atom, -power) for atom, power in monomial): 1 / number})
        for factor, power in self.denominators:
            numerator = numerator * factor**power
        return _cancelled(numerator, {} if rest.constant is not None else {rest: 1})

    def __truediv__(self, other: Formula) -> Formula:
        return self * other.inverse()

    def __pow__(self, power: int) -> Formula:
        base, made = (self if power >= 0 else self.inverse()), Formula.number(1)
        for _ in range(abs(power)):
            made = made * base
        return made

    def ratio(self, other: Formula) -> Fraction | None:
        """Return r if self = r other for all parameters, a rational number; None if there is none. Both are not zero.

        r N_2 D_1 = N_1 D_2 is compared as polynomials, exactly, unless values at two points tell them apart, which is
        fast: they can only keep apart what rounding makes of a multiple.
        """
        if abs(self._mark - other._mark) > APART * abs(self._mark):
            return None
        ours, theirs = self.numerator, other.numerator
        for factor, power in other.denominators:
            ours = ours * factor**power
        for factor, power in self.denominators:
            theirs = theirs * factor**power
        if ours.terms.keys() != theirs.terms.keys():
            return None
        ratios = {c / theirs.terms[m] for m, c in ours.terms.items()}
        return ratios.pop() if len(ratios) == 1 else None

    @cached_property
    def _mark(self) -> float:
        """The value at one point over that at another: the same for all multiples. NaN where it is undefined."""
        with np.errstate(all="ignore"):
            one, two = (_number(self, {}, seed) for seed in (1, 2))
            return float(one / two)

    def primitive(self) -> tuple[Fraction, Formula]:
        """Return the number and what is left of the formula, whose coefficients are whole and have no common factor."""
        number, _ = self.numerator.content()
        return number, self.scaled(1 / number)

    def at(self, mus: np.ndarray, names: Iterable[str]) -> np.ndarray:
        """Return its values (M,) at parameter points (M, p), as the coefficient of a model has them."""
        return np.asarray(Expression(self.text(), names)(mus))

    def text(self) -> str:
        """Return it as a coefficient expression."""
        if not self:
            return "0"
        number, monomial, rest = self.numerator.primitive()
        if not monomial and not self.denominators:
            return self.numerator.text()
        above = [power_text(atom.text, power) for atom, power in monomial if power > 0]
        below = [power_text(atom.text, -power) for atom, power in monomial if power < 0]
        below += [power_text(f"({factor.text()})", power) for factor, power in self.denominators]
        if rest.constant is None:
            above.append(f"({rest.text()})")
        if abs(number) != 1 or not above:
            above.insert(0, number_text(abs(number)))
        sign = "-" if number < 0 else ""
        return (
            sign + "*".join(above) + ("/" + (below[0] if len(below) == 1 else f"({'*'.join(below)})") if below else "")
        )

    def __repr__(self) -> str:
        return f"Formula({self.text()!r})"


def _number(x: Formula, known: dict[Atom, np.float64], seed: int) -> np.float64:
    """Return the value of a formula where its parameters have some values between 1/2 and 3/2, by their names."""

    def value(polynomial: Polynomial) -> np.float64:
        return np.float64(sum(float(c) * np.prod([atom(a) ** p for a, p in m]) for m, c in polynomial.terms.items()))

    def atom(a: Atom) -> np.float64:
        if a not in known:
            drawn = 0.5 + crc32(f"{seed} {a.text}".encode()) / 2**32
            known[a] = FUNCTIONS[a.function](_number(a.argument, known, seed)) if a.function else np.float64(drawn)
        return known[a]

    return np.float64(value(x.numerator) / np.prod([value(factor) ** p for factor, p in x.denominators]))


def _cancelled(numerator: Polynomial, denominators: Mapping[Polynomial, int]) -> Formula:
    """Return the quotient without the denominators that divide the numerator."""
    if not numerator:
        return Formula(Polynomial())
    number, monomial, rest = numerator.primitive()
    left: dict[Polynomial, int] = {}
    for factor, power in denominators.items():
        while power and (quotient := rest.divided(factor)) is not None:
            rest, power = quotient, power - 1
        if power:
            left[factor] = power
    ordered = tuple(sorted(left.items(), key=lambda pair: pair[0].text()))
    return Formula((rest * Polynomial({monomial: number})), ordered)


def formula(given: Any, names: Iterable[str]) -> Formula:
    """Return a number or an expression text in the parameter names in normal form.

    Raises ModelError for anything else, an unknown name, a complex number, a division by zero, numbers beyond 1e308.
    """
    names = tuple(names)
    if isinstance(given, Formula):
        return given
    if isinstance(given, str):
        columns = [Formula(Polynomial.atom(Atom(name))) for name in names]
        try:
            made = Expression(given, names).applied(columns, lambda f, arguments: _applied(f, arguments, given))
        except ZeroDivisionError:
            raise ModelError(f"the formula {given!r} of a geometry divides by zero") from None
        found = _operand(made, given)
        try:
            found.text()
        except OverflowError:
            raise ModelError(
                f"the formula {given!r} of a geometry has numbers beyond the range of double precision; choose other "
                "units"
            ) from None
        return found
    if isinstance(given, bool) or not isinstance(given, int | float | Fraction | np.integer | np.floating):
        raise ModelError(f"a geometry is given by real numbers and expression texts, got {given!r}")
    return _operand(given if isinstance(given, Fraction) else np.float64(given), str(given))


def _operand(value: Any, text: str) -> Formula:
    """Return a number of an expression, or what was made of others, as a formula."""
    if isinstance(value, Formula):
        return value
    if isinstance(value, Fraction):
        return Formula.number(value)
    if isinstance(value, complex | np.complexfloating):
        raise ModelError(f"a geometry is real, but {text!r} has the complex number {complex(value)}")
    if not np.isfinite(value):
        raise ModelError(f"a geometry is given by finite numbers, got {text!r}")
    if value == math.pi:
        return Formula(Polynomial.atom(PI))
    return Formula.number(Fraction(repr(float(value))))


def _applied(function: Callable[..., Any], arguments: list[Any], text: str) -> Formula:
    """Return a function of formulas."""
    values = [_operand(x, text) for x in arguments]
    if len(values) == 2:
        return _binary(function, *values)
    (x,) = values
    if isinstance(function, IntegerPower):
        return _binary(np.power, x, Formula.number(function.exponent))
    if function in (np.positive, np.real, np.conj):
        return x
    if function is np.negative:
        return -x
    if function is np.imag:
        return Formula.number(0)
    name = next(n for n, f in FUNCTIONS.items() if f is function)
    return of_function(name, x)


def of_function(name: str, x: Formula) -> Formula:
    """Return a function of a formula, which stays as it is written."""
    root = rational_root(x.constant) if name == "sqrt" and x.constant is not None else None
    if root is not None:
        return Formula.number(root)
    whole = Polynomial.number(1)  # one denominator, so that equal arguments have the same text
    for factor, power in x.denominators:
        whole = whole * factor**power
    x = Formula(x.numerator, ((whole, 1),) if x.denominators else ())
    return Formula(Polynomial.atom(Atom(f"{name}({x.text()})", name, x)))


def rational_root(value: Fraction) -> Fraction | None:
    """Return the square root of a number, if it is rational."""
    if value < 0:
        return None
    root = Fraction(math.isqrt(value.numerator), math.isqrt(value.denominator))
    return root if root * root == value else None


def _binary(function: Callable[..., Any], a: Formula, b: Formula) -> Formula:
    if function is np.add:
        return a + b
    if function is np.subtract:
        return a - b
    if function is np.multiply:
        return a * b
    if function is np.divide:
        return a / b
    power = b.constant
    if power is not None and power.denominator == 1 and abs(power) <= LARGEST_POWER:
        return a ** int(power)
    if power == Fraction(1, 2):
        return of_function("sqrt", a)
    return of_function("exp", b * of_function("log", a))
