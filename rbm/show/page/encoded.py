"""Arrays and formulas as a page holds them: doubles in base64, and steps of a checked program."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Any

import numpy as np

from rbm.errors import ModelError
from rbm.parameters.coefficients import Coefficients
from rbm.parameters.expressions import Expression
from rbm.parameters.interpolated_family import InterpolatedCoefficient, InterpolatedFamily
from rbm.parameters.powers import IntegerPower

__all__ = ["Families", "encoded"]

#: A step of a program, as rbm/show/page/formulas.js reads it.
Step = tuple[Any, ...]


def encoded(array: Any) -> dict[str, Any]:
    """Return an array as {shape, re, im}: little-endian doubles in base64; no `im` where it is real."""
    array = np.asarray(array)
    parts = {"re": array.real, "im": array.imag} if array.dtype.kind == "c" else {"re": array}
    texts = {k: base64.b64encode(np.ascontiguousarray(a, "<f8").tobytes()).decode() for k, a in parts.items()}
    return {"shape": list(array.shape), **texts}


class Families:
    """The coefficient families that the coefficients of one page share; each is stored once."""

    def __init__(self, names: Sequence[str]) -> None:
        self.names = tuple(names)
        self._known: list[InterpolatedFamily] = []

    def coefficients(self, coefficients: Coefficients) -> list[dict[str, Any]]:
        """Return coefficients as programs, in their order.

        Raises ModelError for Python callables, a user's own family, and numbers that are not finite.
        """
        return [self._coefficient(source) for source in coefficients.sources]

    def stored(self) -> list[dict[str, Any]]:
        """Return the families that were met."""
        return [
            {
                "functions": [self._program(text) for text in family.functions],
                "lower": encoded(family.lower),
                "upper": encoded(family.upper),
            }
            for family in self._known
        ]

    def _coefficient(self, source: Any) -> dict[str, Any]:
        if isinstance(source, InterpolatedCoefficient):
            family = source.family
            if type(family) is not InterpolatedFamily:
                raise ModelError(
                    f"a page cannot evaluate coefficients of the family {type(family).__name__}; it knows formulas and "
                    "rbm.InterpolatedFamily"
                )
            place = next((k for k, known in enumerate(self._known) if known is family), len(self._known))
            if place == len(self._known):
                self._known.append(family)
            return {**self._coefficient(source.factor), "family": place, "term": source.term}
        if callable(source):
            raise ModelError(
                f"the coefficient {getattr(source, '__name__', source)!r} is a Python callable, which a page cannot "
                'run; write it as an expression string, for example "exp(1j*k)"'
            )
        return {"program": self._program(source), "text": str(source)}

    def _program(self, source: float | complex | str) -> list[Step]:
        """Return a number or a formula as steps on a stack: data that the page walks through, no code."""
        if not isinstance(source, str):
            return _joined(source)
        columns = [[("column", j)] for j in range(len(self.names))]
        return _joined(Expression(source, self.names).applied(columns, _applied))


def _applied(function: Any, arguments: list[Any]) -> list[Step]:
    steps = [step for argument in arguments for step in _joined(argument)]
    if isinstance(function, IntegerPower):
        return [*steps, ("integer power", function.exponent)]
    return [*steps, ("apply", len(arguments), function.__name__)]


def _joined(part: Any) -> list[Step]:
    """Return the steps of a part of a formula, which may be a number."""
    if isinstance(part, list):
        return part
    number = complex(part)
    if not np.isfinite(number):
        raise ModelError(f"a coefficient has the number {part}, which is not finite")
    is_complex = isinstance(part, complex | np.complexfloating)
    return [("number", number.real, number.imag) if is_complex else ("number", number.real)]
