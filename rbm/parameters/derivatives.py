"""Derivatives of what formulas are made of: exact rules, evaluated for all points together with the values.

A formula runs on pairs (value, {j: derivative with respect to parameter j}); parameters that a part does not hold are
not in its dictionary, so that a constant costs nothing. Parameters are real, values may be complex: real, imag, conj
and abs have derivatives with respect to a real parameter, too.

abs at 0, sqrt and powers below one at 0 have none: what comes out there is NaN or infinite, and the caller says where.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from rbm.parameters.powers import IntegerPower

__all__ = ["Parts", "combined"]

#: Derivatives by the number of the parameter.
Parts = dict[int, Any]


def combined(function: Any, values: list[Any], parts: list[Parts], result: Any) -> Parts:
    """Return the derivatives of result = function(*values) from those of its one or two arguments."""
    if not any(parts):
        return {}
    return _BINARY[function](*values, *parts, result) if len(values) == 2 else _unary(function, values[0], parts[0])


def _sum(a: Any, b: Any, da: Parts, db: Parts, result: Any) -> Parts:
    return {j: da[j] + db[j] if j in da and j in db else da.get(j, db.get(j)) for j in {**da, **db}}


def _difference(a: Any, b: Any, da: Parts, db: Parts, result: Any) -> Parts:
    return _sum(a, b, da, _scaled(db, -1.0), result)


def _product(a: Any, b: Any, da: Parts, db: Parts, result: Any) -> Parts:
    return _sum(a, b, _scaled(da, b), _scaled(db, a), result)


def _quotient(a: Any, b: Any, da: Parts, db: Parts, result: Any) -> Parts:
    return _sum(a, b, {j: d / b for j, d in da.items()}, {j: -(result * d) / b for j, d in db.items()}, result)


def _power(a: Any, b: Any, da: Parts, db: Parts, result: Any) -> Parts:
    """Return (a^b)' = b a^(b - 1) a' + a^b log(a) b'; the first term is 0 where b is, whatever a is."""
    of_base: Parts = {}
    if da:
        factor = np.where(b == 0, 0.0, b * np.power(a, np.where(b == 0, 1.0, b - 1)))
        of_base = _scaled(da, factor)
    return _sum(a, b, of_base, _scaled(db, result * np.log(a)) if db else {}, result)


def _scaled(parts: Parts, factor: Any) -> Parts:
    return {j: d * factor for j, d in parts.items()}


def _unary(function: Any, a: Any, da: Parts) -> Parts:
    if function in _LINEAR:
        return {j: function(d) for j, d in da.items()}
    if isinstance(function, IntegerPower):
        return _scaled(da, function.slope(a))
    if function is np.abs:
        return {j: _of_modulus(a, d) for j, d in da.items()}
    return _scaled(da, _SLOPES[function](a))


def _of_modulus(a: Any, d: Any) -> Any:
    """Return |a|' = Re(conj(a) a') / |a|, NaN where a is 0."""
    turned = a / np.abs(a)
    return np.real(np.conj(turned) * d)


#: Functions that commute with the derivative by a real parameter.
_LINEAR = (np.positive, np.negative, np.real, np.imag, np.conj)
_BINARY: dict[Any, Callable[..., Parts]] = {
    np.add: _sum,
    np.subtract: _difference,
    np.multiply: _product,
    np.divide: _quotient,
    np.power: _power,
}
_SLOPES: dict[Any, Callable[[Any], Any]] = {
    np.exp: np.exp,
    np.log: lambda a: 1 / a,
    np.sqrt: lambda a: 0.5 / np.sqrt(a),
    np.sin: np.cos,
    np.cos: lambda a: -np.sin(a),
    np.tan: lambda a: 1 / np.cos(a) ** 2,
    np.sinh: np.cosh,
    np.cosh: np.sinh,
    np.tanh: lambda a: 1 / np.cosh(a) ** 2,
}
