"""Coefficients written as text, such as "1/Z1" or "exp(1j*k*d)".

The text is parsed against a whitelist and never eval'ed.
"""

from __future__ import annotations

import ast
import math
import unicodedata
import warnings
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
from array_api_compat import device

from lowrank.arrays import is_complex, namespace
from rbm.errors import ModelError
from rbm.online import programs
from rbm.parameters.derivatives import Parts, combined
from rbm.parameters.powers import IntegerPower

__all__ = ["FUNCTIONS", "Expression", "identifier"]

FUNCTIONS: dict[str, Callable[[Any], Any]] = {
    name: getattr(np, name)
    for name in ("exp", "log", "sqrt", "sin", "cos", "tan", "sinh", "cosh", "tanh", "abs", "real", "imag", "conj")
}
CONSTANTS = {"pi": math.pi}
#: Names that a parameter cannot have.
RESERVED = frozenset((*FUNCTIONS, *CONSTANTS))
BINARY = {ast.Add: np.add, ast.Sub: np.subtract, ast.Mult: np.multiply, ast.Div: np.divide, ast.Pow: np.power}
UNARY = {ast.UAdd: np.positive, ast.USub: np.negative}
#: The operations of compiled programs that give the same bits, for real numbers.
COMPILED: dict[Any, int] = {
    np.add: programs.ADD,
    np.subtract: programs.SUBTRACT,
    np.multiply: programs.MULTIPLY,
    np.divide: programs.DIVIDE,
    np.negative: programs.NEGATE,
    np.sqrt: programs.ROOT,
    np.abs: programs.MODULUS,
}
#: How messages write them.
SYMBOLS = {np.add: "+", np.subtract: "-", np.multiply: "*", np.divide: "/", np.power: "**"}
#: How the array API standard calls what NumPy calls otherwise.
STANDARD = {"absolute": "abs", "conjugate": "conj", "power": "pow"}
MAX_LENGTH = 1000

#: Instructions that push a column of `mus` or a number; all others apply a function of 1 or 2 arguments.
COLUMN, NUMBER = -1, 0


def identifier(name: Any) -> Any:
    """Return a name as Python reads identifiers; anything else than a text as it is.

    Python reads them in the normal form NFKC: the micro sign is the letter mu.
    """
    return unicodedata.normalize("NFKC", name) if isinstance(name, str) else name


class Expression:
    """A formula in the parameter names, evaluated for all parameter points at once.

    Allowed: numbers (also complex, ``2.5e-3``, ``1j``), parameter names, ``pi``, ``+ - * / **``, parentheses and the
    functions exp log sqrt sin cos tan sinh cosh tanh abs real imag conj of one argument. Anything else is refused when
    the expression is made, with the offending piece named; nothing of the text is ever executed.

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
        self.text = text.strip()
        self.names = tuple(map(identifier, names))
        if len(text) > MAX_LENGTH:
            raise ModelError(f"coefficient expression of {len(text)} characters: at most {MAX_LENGTH} are allowed")
        self._program: list[tuple[int, Any]] = []
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", SyntaxWarning)
                tree = ast.parse(self.text, mode="eval")
            self._compile(tree.body)
        except ModelError:
            raise
        except (SyntaxError, ValueError) as error:
            why = getattr(error, "msg", error)
            raise ModelError(f"coefficient expression {text!r} is not a formula ({why})") from None
        except (RecursionError, MemoryError):
            raise ModelError(f"coefficient expression {self.text[:40]!r}... is nested too deeply") from None

    def __call__(self, mus: Any) -> Any:
        """Return values (M,) at the rows of `mus` (M, p), where `mus` lives.

        Infinities and NaN come out as such, for the caller to name.
        """
        if not isinstance(mus, np.ndarray):
            return self._on_device(mus)
        values = self._run(lambda j: mus[:, j], lambda function, arguments: function(*arguments))
        return np.broadcast_to(np.asarray(values), (len(mus),))

    def _on_device(self, mus: Any) -> Any:
        """Return the same for arrays of another module: numbers by NumPy, and all else by that module."""
        xp = namespace(mus)

        def array(x: Any) -> Any:
            kind = xp.complex128 if isinstance(x, complex) else xp.float64
            return xp.asarray(x, dtype=kind, device=device(mus)) if isinstance(x, np.generic) else x

        def apply(function: Any, arguments: list[Any]) -> Any:
            if all(isinstance(x, np.generic) for x in arguments):
                return function(*arguments)
            return _standard(xp, function)(*map(array, arguments))

        return xp.broadcast_to(array(self._run(lambda j: mus[:, j], apply)), (mus.shape[0],))

    def applied(self, columns: Sequence[Any], apply: Callable[[Any, list[Any]], Any]) -> Any:
        """Return what the formula makes of other things than arrays, such as other formulas.

        columns : (p,) what stands for each name
        apply : (function of NumPy, its one or two arguments) -> result; numbers are float64 or complex128
        """
        return self._run(columns.__getitem__, apply)

    def _run(self, column: Callable[[int], Any], apply: Callable[[Any, list[Any]], Any]) -> Any:
        """Run the program on a stack, each function called by `apply`; return values (M,), or a number."""
        stack: list[Any] = []
        with np.errstate(all="ignore"):
            for arity, item in self._program:
                if arity == COLUMN:
                    stack.append(column(item))
                elif arity == NUMBER:
                    stack.append(item)
                else:
                    arguments = stack[-arity:]
                    del stack[-arity:]
                    stack.append(apply(item, arguments))
        return stack[0]

    @property
    def _is_complex(self) -> bool:
        """Whether a complex number occurs in what was read so far; the parameters are real."""
        return any(arity == NUMBER and isinstance(item, np.complex128) for arity, item in self._program)

    def steps(self) -> list[programs.Step] | None:
        """Return the formula for a compiled program (:mod:`rbm.online.programs`), which gives the same bits.

        None for formulas with complex numbers, and with functions that only NumPy evaluates.
        """
        made: list[programs.Step] = []
        for arity, item in () if self._is_complex else self._program:
            if arity == COLUMN:
                made.append((programs.COLUMN, item))
            elif arity == NUMBER:
                made.append((programs.NUMBER, float(item)))
            elif isinstance(item, IntegerPower):
                made.append((programs.POWER, item.exponent))
            elif item in COMPILED:
                made.append((COMPILED[item], 0))
            elif item is not np.positive:
                return None
        return made or None

    def derivative(self, mus: np.ndarray) -> np.ndarray:
        """Return the derivatives (M, p) by the parameters at the rows of `mus` (M, p), NumPy's.

        They come from exact rules (:mod:`rbm.parameters.derivatives`), in one pass with the values. They are NaN or
        infinite where there is none: abs and sqrt at 0, for example.
        """
        stack: list[tuple[Any, Parts]] = []
        with np.errstate(all="ignore"):
            for arity, item in self._program:
                if arity == COLUMN:
                    stack.append((mus[:, item], {item: np.float64(1.0)}))
                elif arity == NUMBER:
                    stack.append((item, {}))
                else:
                    values, parts = (list(part) for part in zip(*stack[-arity:], strict=True))
                    del stack[-arity:]
                    result = item(*values)
                    stack.append((result, combined(item, values, parts, result)))
        found = stack[0][1]
        made = np.zeros(mus.shape, np.result_type(float, *found.values()))
        for j, column in found.items():
            made[:, j] = column
        return made

    def failure(self, mu: np.ndarray) -> str | None:
        """Return the first step that makes of finite numbers one that is not, at one point mu (p,): "log of -0.5".

        None if there is none.
        """
        found: list[str] = []

        def apply(function: Any, arguments: list[Any]) -> Any:
            result = function(*arguments)
            if not found and all(np.all(np.isfinite(x)) for x in arguments) and not np.all(np.isfinite(result)):
                numbers = [np.atleast_1d(x)[0] for x in arguments]
                shown = [f"{complex(x) if np.iscomplexobj(x) else float(x):.6g}" for x in numbers]
                if isinstance(function, IntegerPower):
                    shown.append(str(function.exponent))
                symbol = "**" if isinstance(function, IntegerPower) else SYMBOLS.get(function)
                found.append(f"{function.__name__} of {shown[0]}" if symbol is None else f" {symbol} ".join(shown))
            return result

        point = np.asarray(mu)[None, :]
        self._run(lambda j: point[:, j], apply)
        return found[0] if found else None

    def __repr__(self) -> str:
        return f"Expression({self.text!r})"

    def _compile(self, node: ast.expr) -> None:
        """Append the instructions of a node, in postfix order.

        So evaluation needs a stack of values and no recursion.
        """
        match node:
            case ast.Constant(value=bool() | str() | bytes() | None):
                pass
            case ast.Constant(value=int() | float() | complex() as number):
                written = ast.get_source_segment(self.text, node) or ""
                if "_" in written:  # Python reads 1_0 as 10; whoever meant an index or a decimal point did not
                    raise ModelError(
                        f"number {written!r} in coefficient expression {self.text!r} has an underscore; write {number}"
                    )
                try:
                    constant = np.complex128(number) if isinstance(number, complex) else np.float64(number)
                except OverflowError:
                    raise ModelError(f"number {str(number)[:20]}... in {self.text!r} is too large") from None
                return self._program.append((NUMBER, constant))
            case ast.Name(id=name) if name in self.names:
                return self._program.append((COLUMN, self.names.index(name)))
            case ast.Name(id=name) if name in CONSTANTS:
                return self._program.append((NUMBER, np.float64(CONSTANTS[name])))
            case ast.Name(id=name):
                known = ", ".join((*self.names, *CONSTANTS))
                raise ModelError(
                    f"unknown name {name!r} in coefficient expression {self.text!r}; the names are {known}"
                )
            case ast.BinOp(left=left, op=op, right=right) if type(op) in BINARY:
                self._compile(left)
                if isinstance(op, ast.Pow) and (exponent := _integer(right)) and not self._is_complex:
                    return self._program.append((1, IntegerPower(exponent)))
                self._compile(right)
                return self._program.append((2, BINARY[type(op)]))
            case ast.UnaryOp(op=op, operand=operand) if type(op) in UNARY:
                self._compile(operand)
                return self._program.append((1, UNARY[type(op)]))
            case ast.Call(func=ast.Name(id=name), args=[argument], keywords=[]) if name in FUNCTIONS:
                self._compile(argument)
                return self._program.append((1, FUNCTIONS[name]))
            case ast.Call(func=called):
                module = isinstance(called, ast.Attribute) and called.attr in FUNCTIONS
                hint = f"; write {called.attr}(...) without a module" if module else ""  # type: ignore[attr-defined]
                raise ModelError(
                    f"call {ast.unparse(node)!r} in coefficient expression {self.text!r} is not allowed; "
                    f"the functions are {', '.join(FUNCTIONS)}, of one argument{hint}"
                )
        power = ""
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitXor):
            power = f"; a power is written {ast.unparse(node.left)} ** {ast.unparse(node.right)}"
        raise ModelError(
            f"{ast.unparse(node)!r} in coefficient expression {self.text!r} is not allowed: "
            f"use numbers, parameter names, + - * / ** and the functions {', '.join(FUNCTIONS)}{power}"
        )


def _integer(node: ast.expr) -> int | None:
    """Return the exponent that a node is, if powers with it are products; else None."""
    sign = 1
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        sign, node = -1, node.operand
    value = node.value if isinstance(node, ast.Constant) else None
    if isinstance(value, bool) or not isinstance(value, int | float) or value != value // 1:
        return None
    return sign * int(value) if 1 <= value <= programs.LARGEST_POWER else None


def _standard(xp: Any, function: Any) -> Callable[..., Any]:
    """Return the function of the array API standard that does what a function of NumPy does."""
    if isinstance(function, IntegerPower):
        return function
    name = STANDARD.get(function.__name__, function.__name__)
    if name == "real":  # the standard leaves these undefined for real numbers
        return lambda x: xp.real(x) if is_complex(x) else x
    if name == "imag":
        return lambda x: xp.imag(x) if is_complex(x) else xp.zeros_like(x)
    return getattr(xp, name)
