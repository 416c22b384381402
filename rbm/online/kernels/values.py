"""What names stand for while a kernel is translated (:mod:`rbm.online.kernels.translation`), and operations with it.

A value is one of these: `Static`, a thing of Python that is known already; `Number`, a number or lanes of LLVM;
:class:`rbm.online.kernels.memory.Pieces`, the address and lengths of an array; `Given`, an array that is not yet
`bare`; or a tuple of values, named or not. Tuples are taken apart before compiled code begins: it passes numbers,
addresses and lengths only.
"""

from __future__ import annotations

import operator
from collections.abc import Iterator
from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.core import errors

from rbm.online.kernels.lane_types import ComplexLanes, Lanes
from rbm.online.kernels.lanes import OPERATORS
from rbm.online.kernels.memory import INTP, Pieces

__all__ = [
    "BIT",
    "BOOL",
    "FLOAT",
    "INT",
    "Given",
    "Number",
    "Static",
    "Untranslated",
    "bared",
    "binary",
    "cast",
    "chosen",
    "compared",
    "dtype_of",
    "leaves",
    "made_again",
    "modulus_of",
    "negated",
    "settled",
    "shape_of",
    "square_root",
    "stored",
    "truth",
    "widened",
]  # fmt: skip

INT, FLOAT, BOOL = types.intp, types.float64, types.boolean
BIT = ir.IntType(1)
ORDERS = {
    operator.lt: "<", operator.le: "<=", operator.gt: ">", operator.ge: ">=", operator.eq: "==", operator.ne: "!=",
}  # fmt: skip
FLOATING = {operator.add: "fadd", operator.sub: "fsub", operator.mul: "fmul", operator.truediv: "fdiv"}
INTEGRAL = {
    operator.add: "add", operator.sub: "sub", operator.mul: "mul", operator.and_: "and_", operator.or_: "or_",
    operator.lshift: "shl", operator.rshift: "ashr",
}  # fmt: skip


class Untranslated(errors.NumbaError):
    """A kernel has something that is not translated here; Numba's own pipeline compiles it."""


class Static:
    """A thing of Python: a number that is known, a type, a module, a function."""

    __slots__ = ("value",)

    def __init__(self, value: Any) -> None:
        self.value = value


class Number:
    """A number of LLVM, or lanes of them, of a type of Numba."""

    __slots__ = ("kind", "value")

    def __init__(self, kind: Any, value: Any) -> None:
        self.kind, self.value = kind, value


class Given:
    """An array of Numba in C order, an argument of a kernel."""

    __slots__ = ("pieces",)

    def __init__(self, pieces: Pieces) -> None:
        self.pieces = pieces


def bared(value: Any) -> Any:
    """Return an array, or those in tuples, as pieces: what `bare` does."""
    if isinstance(value, Given):
        return value.pieces
    return tuple(map(bared, value)) if isinstance(value, tuple) else value


def dtype_of(thing: Any) -> Any:
    """Return the type of Numba that a type of Numba or NumPy is."""
    return thing if isinstance(thing, types.Type) else numba.from_dtype(np.dtype(thing))


def stored(value: Any) -> Any:
    """Return a static number as a number of LLVM; other values as they are."""
    if not isinstance(value, Static):
        return value
    if isinstance(value.value, int) and not -(2**63) <= value.value < 2**63:
        raise Untranslated("an integer of more than 64 bits")
    for python, kind, llvm in ((bool, BOOL, BIT), (int, INT, INTP), (float, FLOAT, ir.DoubleType())):
        if isinstance(value.value, python):
            return Number(kind, ir.Constant(llvm, value.value))
    raise Untranslated(f"{value.value!r} is not a number")


def settled(value: Any) -> Any:
    """Return a value whose numbers are all numbers of LLVM."""
    if isinstance(value, tuple):
        parts = list(map(settled, value))
        return type(value)._make(parts) if hasattr(value, "_make") else tuple(parts)
    number = isinstance(value, Static) and isinstance(value.value, bool | int | float)
    return stored(value) if number else value


def widened(builder: Any, value: Any, like: Any) -> Any:
    """Return a value of the form of another one: integers may become reals there, but nothing loses digits."""
    if isinstance(like, tuple) and isinstance(value, tuple) and len(like) == len(value):
        parts = [widened(builder, v, k) for v, k in zip(value, like, strict=True)]
        return type(value)._make(parts) if hasattr(value, "_make") else tuple(parts)
    if not isinstance(like, Number):
        if shape_of(value) != shape_of(like):
            raise Untranslated("a name or a result that changes what it is")
        return value
    value = stored(value)
    if not isinstance(value, Number) or merged_kind(value.kind, like.kind) != like.kind:
        raise Untranslated(f"a name or a result that becomes more than {like.kind}")
    return cast(builder, value, like.kind)


def leaves(value: Any) -> list[Any]:
    """Return the values of LLVM in a value."""
    if isinstance(value, Number):
        return [value.value]
    if isinstance(value, Pieces):
        return [value.data, *value.lengths]
    if isinstance(value, Given):
        return leaves(value.pieces)
    return [leaf for part in value for leaf in leaves(part)] if isinstance(value, tuple) else []


def made_again(value: Any, found: Iterator[Any]) -> Any:
    """Return the same value with other values of LLVM, taken one after the other."""
    if isinstance(value, Number):
        return Number(value.kind, next(found))
    if isinstance(value, Pieces):
        return Pieces(value.kind, next(found), [next(found) for _ in value.lengths])
    if isinstance(value, Given):
        return Given(made_again(value.pieces, found))
    if isinstance(value, tuple):
        parts = [made_again(part, found) for part in value]
        return type(value)._make(parts) if hasattr(value, "_make") else tuple(parts)
    return value


def shape_of(value: Any) -> Any:
    """Return all about a value but its values of LLVM, as a key."""
    if isinstance(value, Number | Pieces):
        return value.kind
    if isinstance(value, tuple):
        return (type(value), *map(shape_of, value))
    if isinstance(value, Given):
        return Given, value.pieces.kind
    known = value.value
    return type(known), repr(known) if isinstance(known, bool | int | float) else id(known)  # 0.0 and -0.0 are two


def is_integral(kind: Any) -> bool:
    """Return whether a type is that of signed integers or of truth values."""
    return kind is BOOL or (isinstance(kind, types.Integer) and str(kind).startswith("int"))


def cast(builder: Any, value: Any, kind: Any) -> Any:
    """Return a number as one of another type: what Numba's assignments and calls do."""
    made = stored(value)
    if not isinstance(made, Number) or made.kind == kind:
        return made
    of, here = made.kind, made.value
    if isinstance(of, Lanes | ComplexLanes) or isinstance(kind, Lanes | ComplexLanes):
        raise Untranslated(f"{of} is not {kind}")
    if is_integral(of) and isinstance(kind, types.Float):
        to = ir.DoubleType() if kind.bitwidth == 64 else ir.FloatType()
        return Number(kind, builder.uitofp(here, to) if of is BOOL else builder.sitofp(here, to))
    if is_integral(of) and is_integral(kind) and kind is not BOOL:
        to = ir.IntType(kind.bitwidth)
        convert = builder.zext if of is BOOL else builder.sext if of.bitwidth < kind.bitwidth else builder.trunc
        return Number(kind, convert(here, to))
    if isinstance(of, types.Float) and isinstance(kind, types.Float):
        to = ir.DoubleType() if kind.bitwidth == 64 else ir.FloatType()
        return Number(kind, (builder.fpext if kind.bitwidth == 64 else builder.fptrunc)(here, to))
    if isinstance(of, types.Float) and kind == INT:
        return Number(kind, builder.fptosi(here, INTP))
    raise Untranslated(f"{of} is not {kind}")


def merged_kind(x: Any, y: Any) -> Any:
    """Return the type of a number that is either of one type or of the other."""
    if x == y:
        return x
    if is_integral(x) and is_integral(y):
        return INT
    real = [kind for kind in (x, y) if isinstance(kind, types.Float)]
    if len(real) == 2 or (real and (is_integral(x) or is_integral(y))):
        return FLOAT
    raise Untranslated(f"{x} and {y} have no type in common")


def binary(builder: Any, context: Any, symbol: Any, x: Any, y: Any) -> Any:
    """Return x + y, x - y, ... by the rules of Python and Numba."""
    if isinstance(x, Static) and isinstance(y, Static):
        return Static(symbol(x.value, y.value))
    if symbol in (operator.floordiv, operator.mod):
        return floor_divided(builder, symbol, x, y)
    x, y = stored(x), stored(y)
    if not (isinstance(x, Number) and isinstance(y, Number)):
        raise Untranslated("an operation with something that is no number")
    if isinstance(x.kind, Lanes | ComplexLanes):
        typed, lower = OPERATORS[symbol]
        if (kind := typed(x.kind, y.kind)) is None:
            raise Untranslated(f"{symbol.__name__} of {x.kind} and {y.kind}")
        return Number(kind, lower(context, builder, kind(x.kind, y.kind), (x.value, y.value)))
    if x.kind is BOOL and y.kind is BOOL and symbol in (operator.and_, operator.or_):
        return Number(BOOL, getattr(builder, INTEGRAL[symbol])(x.value, y.value))
    kind = merged_kind(x.kind, y.kind)
    if is_integral(kind):
        kind = FLOAT if symbol is operator.truediv else INT
    elif not isinstance(kind, types.Float):
        raise Untranslated(f"{symbol.__name__} of {kind}")
    names = FLOATING if isinstance(kind, types.Float) else INTEGRAL
    if symbol not in names:
        raise Untranslated(f"{symbol.__name__} of {kind}")
    x, y = cast(builder, x, kind), cast(builder, y, kind)
    return Number(kind, getattr(builder, names[symbol])(x.value, y.value))


def floor_divided(builder: Any, symbol: Any, x: Any, y: Any) -> Any:
    """Return x // y or x % y of integers, rounded as Python does; x // 0 is 0, as in Numba."""
    known = y.value if isinstance(y, Static) else 0
    x, y = stored(x), stored(y)
    if not (is_integral(x.kind) and is_integral(y.kind)):
        raise Untranslated(f"{symbol.__name__} of numbers that are no integers")
    a, b = cast(builder, x, INT).value, cast(builder, y, INT).value
    zero, one = ir.Constant(INTP, 0), ir.Constant(INTP, 1)
    if known > 0 and known & (known - 1) == 0:
        if symbol is operator.mod:
            return Number(INT, builder.and_(a, ir.Constant(INTP, known - 1)))
        return Number(INT, builder.ashr(a, ir.Constant(INTP, known.bit_length() - 1)))
    none = builder.icmp_signed("==", b, zero)
    divisor = builder.select(none, one, b)
    quotient, rest = builder.sdiv(a, divisor), builder.srem(a, divisor)
    other = builder.icmp_signed("<", builder.xor(rest, divisor), zero)  # its sign is not that of the divisor
    other = builder.and_(other, builder.icmp_signed("!=", rest, zero))
    made = builder.sub(quotient, builder.zext(other, INTP))
    if symbol is operator.mod:
        made = builder.add(rest, builder.select(other, divisor, zero))
    return Number(INT, builder.select(none, zero, made))


def compared(builder: Any, symbol: Any, x: Any, y: Any) -> Any:
    """Return x < y, x == y, ...; a comparison with NaN is false, but x != NaN."""
    if isinstance(x, Static) and isinstance(y, Static):
        return Static(symbol(x.value, y.value))
    x, y = stored(x), stored(y)
    kind = merged_kind(x.kind, y.kind)
    kind = INT if kind is BOOL else kind
    x, y = cast(builder, x, kind), cast(builder, y, kind)
    if isinstance(kind, types.Float):
        compare = builder.fcmp_unordered if symbol is operator.ne else builder.fcmp_ordered
    elif is_integral(kind):
        compare = builder.icmp_signed
    else:
        raise Untranslated(f"a comparison of {kind}")
    return Number(BOOL, compare(ORDERS[symbol], x.value, y.value))


def truth(builder: Any, value: Any) -> Any:
    """Return whether a number differs from zero."""
    if isinstance(value, Static):
        return Static(bool(value.value))
    if value.kind is BOOL:
        return value
    return compared(builder, operator.ne, value, Static(0))


def negated(builder: Any, value: Any) -> Any:
    """Return -x, of a number that is known or not."""
    if isinstance(value, Static):
        return Static(-value.value)
    if isinstance(value.kind, types.Float):
        return Number(value.kind, builder.fneg(value.value))
    return binary(builder, None, operator.sub, Static(0), cast(builder, value, INT))


def modulus_of(builder: Any, value: Any) -> Any:
    """Return |x|, of a number that is known or not."""
    if isinstance(value, Static):
        return Static(abs(value.value))
    if isinstance(value.kind, types.Float):
        return Number(value.kind, builder.call(_function(builder, "fabs", value), [value.value]))
    return chosen(builder, compared(builder, operator.lt, value, Static(0)), negated(builder, value), value)


def square_root(builder: Any, value: Any) -> Any:
    """Return the square root of a real number."""
    made = stored(value)
    made = made if isinstance(made.kind, types.Float) else cast(builder, made, FLOAT)
    return Number(made.kind, builder.call(_function(builder, "sqrt", made), [made.value]))


def _function(builder: Any, name: str, number: Number) -> Any:
    kind = number.value.type
    return builder.module.declare_intrinsic(f"llvm.{name}", [kind], ir.FunctionType(kind, [kind]))


def chosen(builder: Any, condition: Any, x: Any, y: Any) -> Any:
    """Return x where the condition is true, and y elsewhere."""
    x, y = stored(x), stored(y)
    kind = merged_kind(x.kind, y.kind)
    x, y = cast(builder, x, kind), cast(builder, y, kind)
    return Number(kind, builder.select(condition.value, x.value, y.value))
