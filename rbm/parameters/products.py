"""Products of coefficients, as formulas where that is possible, so that they can still be written to files."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from numbers import Number
from typing import Any

import numpy as np

from rbm.errors import ModelError
from rbm.parameters.coefficients import Coefficient, Coefficients
from rbm.parameters.expressions import MAX_LENGTH, Expression
from rbm.parameters.interpolated_family import InterpolatedCoefficient
from rbm.parameters.space import ParameterSpace

__all__ = ["CoefficientProduct", "factored", "key", "multiplied"]

#: A coefficient but for its constant factor: a formula, an interpolated term or a function; None is the coefficient 1.
Symbol = Any


@dataclass(frozen=True, eq=False)
class CoefficientProduct:
    """The coefficient mu -> product of some coefficients, for those whose product is no formula."""

    factors: Coefficients

    def __call__(self, mus: np.ndarray) -> np.ndarray:
        """Return the values (M,) at points (M, p)."""
        return np.prod(self.factors(mus), axis=1)

    def check_derivatives(self) -> None:
        """Raise ModelError for a factor that has no derivative anywhere."""
        self.factors.check_derivatives()

    def derivative(self, mus: np.ndarray) -> np.ndarray:
        """Return the derivatives (M, p) by the product rule."""
        values, slopes = self.factors(mus), self.factors.derivative(mus)
        others = [np.prod(np.delete(values, q, axis=1), axis=1) for q in range(len(self.factors))]
        return np.einsum("mq,mqp->mp", np.stack(others, axis=1), slopes)


def factored(coefficient: Coefficient) -> tuple[float | complex, Symbol]:
    """Return a coefficient as a number times a symbol; the symbol of a constant is None.

    A formula without parameters is a constant. Raises ModelError for a number that is NaN or infinite.

    >>> factored(2.5), factored("2 * pi"), factored(" k ")
    ((2.5, None), (6.283185307179586, None), (1.0, 'k'))
    """
    if isinstance(coefficient, str):
        text = coefficient.strip()
        value = _constant(text)
        return (1.0, text) if value is None else (value, None)
    if isinstance(coefficient, InterpolatedCoefficient):
        number, factor = factored(coefficient.factor)
        kept = 1.0 if factor is None else factor
        same = number == 1.0 and kept == coefficient.factor
        return number, coefficient if same else InterpolatedCoefficient(coefficient.family, coefficient.term, kept)
    if callable(coefficient):
        return 1.0, coefficient
    number = complex(coefficient)
    if not np.isfinite(number):
        raise ModelError(f"a coefficient is {coefficient}; give a finite number")
    return (number if isinstance(coefficient, Number) and np.iscomplexobj(coefficient) else number.real), None


def multiplied(first: Symbol, second: Symbol, parameters: ParameterSpace | None = None) -> Symbol:
    """Return the product of two symbols of :func:`factored`.

    It is a formula of two formulas, an interpolated term of a formula and such a term, else a function.

    parameters : needed where a factor is a function, as its product with a formula is a function too, which has to know
        the names

    Raises ModelError for a function without `parameters`, and for a formula that becomes too long.

    >>> multiplied("k", "1 + T"), multiplied("T", None)
    ('(1 + T) * k', 'T')
    """
    if first is None or second is None:
        return second if first is None else first
    if isinstance(first, str) and isinstance(second, str):
        made = " * ".join(sorted(map(_enclosed, (first, second))))
        if len(made) > MAX_LENGTH:
            raise ModelError(
                f"the product of the coefficients {first[:40]!r}... and {second[:40]!r}... has {len(made)} characters: "
                f"at most {MAX_LENGTH} are allowed; write shorter formulas, or functions"
            )
        return made
    for term, factor in ((first, second), (second, first)):
        if isinstance(term, InterpolatedCoefficient) and isinstance(factor, str):
            own = None if isinstance(term.factor, Number) else term.factor  # a number is 1, the others are split off
            return InterpolatedCoefficient(term.family, term.term, multiplied(own, factor))
    if parameters is None:
        raise ModelError(
            f"the coefficients {first!r} and {second!r} are to be multiplied, which makes a function that has to know "
            "the parameters: pass parameters=, the rbm.ParameterSpace of the model, or write both as formulas"
        )
    return CoefficientProduct(Coefficients([first, second], parameters))


def key(symbol: Symbol) -> Hashable:
    """Return what two symbols have in common only if they are the same coefficient."""
    if symbol is None or isinstance(symbol, str):
        return symbol
    if isinstance(symbol, InterpolatedCoefficient):
        return id(symbol.family), symbol.term, symbol.factor
    if isinstance(symbol, CoefficientProduct):
        return tuple(sorted(repr(key(factored(s)[1])) for s in symbol.factors.sources))
    return id(symbol)


def _constant(text: str) -> float | complex | None:
    """Return the value of a formula that has no parameters; None for any other, and for one that is not finite."""
    try:
        value = Expression(text, ())(np.zeros((1, 0)))[0]
    except ModelError:  # it has names, or is no formula, which the model will say
        return None
    number = value.item()
    return number if np.isfinite(number) else None


def _enclosed(text: str) -> str:
    """Return a formula that may stand as a factor."""
    return text if text.isidentifier() else f"({text})"
