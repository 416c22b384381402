"""Coefficients written as text, "1/Z1" or "exp(1j*k*d)": parsed against a whitelist and never eval'ed."""

from __future__ import annotations

import ast
import math
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from rbm.errors import ModelError

__all__ = ["FUNCTIONS", "Expression"]

FUNCTIONS: dict[str, Callable[[Any], Any]] = {
    name: getattr(np, name)
    for name in ("exp", "log", "sqrt", "sin", "cos", "tan", "sinh", "cosh", "tanh", "abs", "real", "imag", "conj")
}
CONSTANTS = {"pi": math.pi}
#: Names that a parameter cannot have.
RESERVED = frozenset((*FUNCTIONS, *CONSTANTS))
OPERATORS: dict[type[ast.AST], Callable[..., Any]] = {
    ast.Add: np.add,
    ast.Sub: np.subtract,
    ast.Mult: np.multiply,
    ast.Div: np.divide,
    ast.Pow: np.power,
    ast.UAdd: np.positive,
    ast.USub: np.negative,
}
MAX_LENGTH = 1000

Evaluate = Callable[[dict[str, np.ndarray]], Any]


class Expression:
    """A formula in the parameter names, evaluated for all parameter points at once.

    Allowed: numbers (also complex, ``2.5e-3``, ``1j``), parameter names, ``pi``, ``+ - * / **``, parentheses and the
    functions exp log sqrt sin cos tan sinh cosh tanh abs real imag conj of one argument. Anything else is refused when the
    expression is made, with the offending piece named; nothing of the text is ever executed.

    Parameters
    ----------
    text : the formula, at most 1000 characters
    names : the parameter names, in the order of the columns of `mus`

    Examples
    --------
    >>> theta = Expression("1/Z1 + 2j*k", names=["Z1", "k"])
    >>> theta(np.array([[2.0, 1.0], [4.0, 0.0]]))
    array([0.5 +2.j, 0.25+0.j])
    """

    def __init__(self, text: str, names: Iterable[str]) -> None:
        self.text, self.names = text.strip(), tuple(names)
        if len(self.text) > MAX_LENGTH:
            raise ModelError(f"coefficient expression of {len(self.text)} characters: at most {MAX_LENGTH} are allowed")
        try:
            tree = ast.parse(self.text, mode="eval")
            self._evaluate = self._compile(tree.body)
        except SyntaxError as error:
            raise ModelError(f"coefficient expression {text!r} is not a formula ({error.msg})") from None
        except (RecursionError, MemoryError):
            raise ModelError(f"coefficient expression {text[:40]!r}... is nested too deeply") from None
        except ValueError as error:
            if isinstance(error, ModelError):
                raise
            raise ModelError(f"coefficient expression {text!r} is not a formula ({error})") from None

    def __call__(self, mus: np.ndarray) -> np.ndarray:
        """Values (M,) at the rows of `mus` (M, p); infinities and NaN come out as such, for the caller to name."""
        columns = {name: mus[:, j] for j, name in enumerate(self.names)}
        with np.errstate(all="ignore"):
            value = self._evaluate(columns)
        return np.broadcast_to(np.asarray(value), (len(mus),))

    def __repr__(self) -> str:
        return f"Expression({self.text!r})"

    def _compile(self, node: ast.expr) -> Evaluate:
        match node:
            case ast.Constant(value=bool() | str() | bytes() | None):
                pass
            case ast.Constant(value=int() | float() | complex() as number):
                try:
                    constant = np.complex128(number) if isinstance(number, complex) else np.float64(number)
                except OverflowError:
                    raise ModelError(f"number {str(number)[:20]}... in {self.text!r} is too large") from None
                return lambda columns: constant
            case ast.Name(id=name) if name in self.names:
                return lambda columns: columns[name]
            case ast.Name(id=name) if name in CONSTANTS:
                return lambda columns: CONSTANTS[name]
            case ast.Name(id=name):
                known = ", ".join((*self.names, *CONSTANTS))
                raise ModelError(
                    f"unknown name {name!r} in coefficient expression {self.text!r}; the names are {known}"
                )
            case ast.BinOp(left=left, op=op, right=right) if type(op) in OPERATORS:
                operate, a, b = OPERATORS[type(op)], self._compile(left), self._compile(right)
                return lambda columns: operate(a(columns), b(columns))
            case ast.UnaryOp(op=op, operand=operand) if type(op) in OPERATORS:
                operate, a = OPERATORS[type(op)], self._compile(operand)
                return lambda columns: operate(a(columns))
            case ast.Call(func=ast.Name(id=name), args=[argument], keywords=[]) if name in FUNCTIONS:
                function, a = FUNCTIONS[name], self._compile(argument)
                return lambda columns: function(a(columns))
            case ast.Call():
                raise ModelError(
                    f"call {ast.unparse(node)!r} in coefficient expression {self.text!r} is not allowed; "
                    f"the functions are {', '.join(FUNCTIONS)}, of one argument"
                )
        raise ModelError(
            f"{ast.unparse(node)!r} in coefficient expression {self.text!r} is not allowed: "
            "use numbers, parameter names, + - * / ** and the functions " + ", ".join(FUNCTIONS)
        )
