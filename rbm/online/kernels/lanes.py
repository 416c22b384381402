"""Lanes: a Numba type that is a SIMD register and holds one number per parameter point.

The matrices of a reduced model are too small to be vectorised by themselves; many parameter points can be. A `Lanes`
holds the same entry for 8 points in float64, 16 in float32 (64 bytes, one AVX-512 register; LLVM splits it where
registers are shorter), a `ComplexLanes` two of them, real and imaginary part. Scratch arrays are flat: entry i occupies
the i-th group of `width` numbers, real parts before imaginary parts, so that every access is contiguous.

Inside compiled functions:

load(array, i), store(array, i, x)     entry i of a flat scratch array of dtype float32/64 or complex64/128
load_from(array, k)                    real lanes from element k on
item(array, k), put(array, k, s)       element k of an array that is contiguous, without a look at the sign of k
splat(s), splat_from(array, k)         the number s, or element k of an array, in all lanes
fma(a, b, c), fnma(a, b, c)            a b + c and c - a b, one rounding each (real, or plain numbers); a may be real
                                       where b is complex
x + y, x - y, x * y, x / y             entry by entry, of one type; real * complex, complex / real
conj(x), real(x), imag(x), square(x)   square: |x|^2
modulus(x), alike(x, y)                |x|; real x as a number of the type of y
root(x), copysign(x, y)                sqrt, |x| with the sign of y; real lanes
larger(x, y, a, b), equal(x, y, a, b)  a where x > y (x == y), b elsewhere; x and y real
crowded(x)                             True if the processor's registers do not hold four sums of this type
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic, lower_builtin, type_callable

from rbm.online.kernels.lane_types import (
    BYTES,
    ROOMY,
    ComplexLanes,
    Lanes,
    call,
    is_complex,
    lanes_of,
    made_of,
    parts_of,
    vector_of,
)
from rbm.online.kernels.memory import address_of

__all__ = [
    "BYTES", "OPERATORS", "ROOMY", "alike", "conj", "copysign", "crowded", "equal", "fma", "fnma", "imag", "item",
    "larger", "load", "load_from", "modulus", "put", "real", "root", "splat", "splat_from", "square", "store",
]  # fmt: skip

function: Any = intrinsic  # its results have types for Numba, not for a type checker


def _address(context: Any, builder: Any, array_type: Any, array: Any, index: Any, step: int, kind: Any) -> Any:
    """Return a pointer to a register at element `index * step` of an array of real numbers or of pairs of them."""
    vector = vector_of(kind)
    base = builder.bitcast(address_of(context, builder, array_type, array), vector.element.as_pointer())
    place = builder.gep(base, [builder.mul(index, ir.Constant(index.type, step))])
    return builder.bitcast(place, vector.as_pointer())


def _pointers(context: Any, builder: Any, array_type: Any, array: Any, index: Any, kind: Any) -> list[Any]:
    count = 2 if is_complex(kind) else 1
    first = _address(context, builder, array_type, array, index, count * kind.width, kind)
    return [builder.gep(first, [ir.Constant(ir.IntType(64), k)]) for k in range(count)]


@function
def load(typingctx: Any, array: Any, index: Any) -> Any:
    """Return entry `index` of a flat scratch array."""
    kind = lanes_of(array.dtype)

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        places = _pointers(context, builder, sig.args[0], args[0], args[1], kind)
        values = [builder.load(p, align=kind.part.dtype.bitwidth // 8) for p in places]
        return made_of(context, builder, kind, values[0], values[-1])

    return kind(array, types.intp), codegen


@function
def load_from(typingctx: Any, array: Any, element: Any) -> Any:
    """Return real lanes from consecutive elements of an array, of which `element` is the first."""
    kind = Lanes(array.dtype)

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        place = _address(context, builder, sig.args[0], args[0], args[1], 1, kind)
        return builder.load(place, align=kind.dtype.bitwidth // 8)

    return kind(array, types.intp), codegen


@function
def item(typingctx: Any, array: Any, element: Any) -> Any:
    """Return one element of an array, counted through all its rows."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        data = address_of(context, builder, sig.args[0], args[0])
        return context.unpack_value(builder, array.dtype, builder.gep(data, [args[1]]))

    return array.dtype(array, types.intp), codegen


@function
def put(typingctx: Any, array: Any, element: Any, value: Any) -> Any:
    """Write one element of an array, counted through all its rows."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        data = address_of(context, builder, sig.args[0], args[0])
        context.pack_value(builder, array.dtype, args[2], builder.gep(data, [args[1]]))
        return context.get_dummy_value()

    return types.void(array, types.intp, array.dtype), codegen


@function
def store(typingctx: Any, array: Any, index: Any, value: Any) -> Any:
    """Write entry `index` of a flat scratch array."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        kind = sig.args[2]
        places = _pointers(context, builder, sig.args[0], args[0], args[1], kind)
        for place, part in zip(places, parts_of(context, builder, kind, args[2]), strict=False):
            builder.store(part, place, align=kind.part.dtype.bitwidth // 8)
        return context.get_dummy_value()

    return types.void(array, types.intp, value), codegen


def _spread(context: Any, builder: Any, kind: Any, parts: list[Any]) -> Any:
    """Return lanes that all hold the number with these parts."""
    vector, zero = vector_of(kind), ir.Constant(ir.IntType(32), 0)
    undefined = ir.Constant(vector, ir.Undefined)
    firsts = [builder.insert_element(undefined, part, zero) for part in parts]
    zeros = ir.Constant(ir.VectorType(ir.IntType(32), kind.width), [0] * kind.width)
    lanes = [builder.shuffle_vector(f, undefined, zeros) for f in firsts]
    return made_of(context, builder, kind, lanes[0], lanes[-1])


@function
def splat(typingctx: Any, scalar: Any) -> Any:
    """Return lanes that all hold the same number."""
    kind = lanes_of(scalar)

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        if not is_complex(kind):
            return _spread(context, builder, kind, [args[0]])
        number = context.make_complex(builder, scalar, value=args[0])
        return _spread(context, builder, kind, [number.real, number.imag])

    return kind(scalar), codegen


@function
def splat_from(typingctx: Any, array: Any, element: Any) -> Any:
    """Return lanes that all hold one element of an array; it costs no look at the sign of the index."""
    kind = lanes_of(array.dtype)

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        count = 2 if is_complex(kind) else 1
        place = _address(context, builder, sig.args[0], args[0], args[1], count, kind)
        first = builder.bitcast(place, vector_of(kind).element.as_pointer())
        parts = [builder.load(builder.gep(first, [ir.Constant(ir.IntType(64), k)])) for k in range(count)]
        return _spread(context, builder, kind, parts)

    return kind(array, types.intp), codegen


@function
def alike(typingctx: Any, x: Any, y: Any) -> Any:
    """Return real lanes x as lanes of the type of y, with imaginary part zero."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return made_of(context, builder, y, args[0], ir.Constant(vector_of(x), None))

    return y(x, y), codegen


def _fused(sign: int) -> Any:
    """Make a b + c or c - a b; a complex product is two rounded steps, one for each part of a."""

    def typed(typingctx: Any, a: Any, b: Any, c: Any) -> Any:
        def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            if isinstance(c, types.Float):
                return builder.fma(args[0] if sign > 0 else builder.fneg(args[0]), *args[1:])
            (ar, ai), (br, bi), (cr, ci) = (
                parts_of(context, builder, t, v) for t, v in zip(sig.args, args, strict=True)
            )
            plus = ar if sign > 0 else builder.fneg(ar)
            re = call(builder, "fma", plus, br, cr)
            if not is_complex(sig.return_type):
                return re
            im = call(builder, "fma", plus, bi, ci)
            if ai is not None:
                forward, back = (ai, builder.fneg(ai)) if sign > 0 else (builder.fneg(ai), ai)
                re = call(builder, "fma", back, bi, re)
                im = call(builder, "fma", forward, br, im)
            return made_of(context, builder, sig.return_type, re, im)

        return c(a, b, c), codegen

    return typed


fma = function(_fused(1))
fnma = function(_fused(-1))


def _map(formula: Callable[..., Any], kind_of: Callable[[Any], Any]) -> Any:
    """Make a function of lanes x from a formula (builder, real part, imaginary part or None) -> parts."""

    def typed(typingctx: Any, x: Any) -> Any:
        kind = kind_of(x)

        def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            made = formula(builder, *parts_of(context, builder, sig.args[0], args[0]))
            return made_of(context, builder, kind, *(made if isinstance(made, tuple) else (made, None)))

        return kind(x), codegen

    return function(typed)


def _square(builder: Any, re: Any, im: Any) -> Any:
    real = builder.fmul(re, re)
    return real if im is None else call(builder, "fma", im, im, real)


def _modulus(builder: Any, re: Any, im: Any) -> Any:
    if im is None:
        return call(builder, "fabs", re)
    a, b = call(builder, "fabs", re), call(builder, "fabs", im)
    above = builder.fcmp_ordered(">", a, b)
    most, least = builder.select(above, a, b), builder.select(above, b, a)
    ratio = builder.fdiv(least, most)  # 0 / 0 for zero, which is put right below
    one = ir.Constant(re.type, [1.0] * re.type.count)
    length = builder.fmul(most, call(builder, "sqrt", call(builder, "fma", ratio, ratio, one)))
    return builder.select(builder.fcmp_ordered("==", most, ir.Constant(re.type, None)), most, length)


conj = _map(lambda builder, re, im: (re, None if im is None else builder.fneg(im)), lambda x: x)
real = _map(lambda builder, re, im: re, lambda x: x.part)
imag = _map(lambda builder, re, im: ir.Constant(re.type, None) if im is None else im, lambda x: x.part)
square = _map(_square, lambda x: x.part)
root = _map(lambda builder, re, im: call(builder, "sqrt", re), lambda x: x)
modulus = _map(_modulus, lambda x: x.part)


@function
def crowded(typingctx: Any, x: Any) -> Any:
    """Return whether the processor's registers hold two sums of the type of x, and not four; a constant."""
    answer = ir.Constant(ir.IntType(1), is_complex(x) and not ROOMY)
    return types.boolean(x), lambda context, builder, sig, args: answer


@function
def copysign(typingctx: Any, x: Any, y: Any) -> Any:
    """Return |x| with the sign of y, for real lanes."""
    return x(x, y), lambda context, builder, sig, args: call(builder, "copysign", *args)


def _choice(condition: str) -> Any:
    def typed(typingctx: Any, x: Any, y: Any, a: Any, b: Any) -> Any:
        def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            chosen = builder.fcmp_ordered(condition, args[0], args[1])
            first, second = (parts_of(context, builder, a, v) for v in args[2:])
            made = [None if p is None else builder.select(chosen, p, q) for p, q in zip(first, second, strict=True)]
            return made_of(context, builder, a, *made)

        return a(x, y, a, b), codegen

    return typed


larger = function(_choice(">"))
equal = function(_choice("=="))


#: For each operator the type of its result, or None, and its code.
OPERATORS: dict[Any, tuple[Callable[..., Any], Callable[..., Any]]] = {}


def _operator(symbol: Any, instruction: str) -> None:
    """Define x + y, x - y of one type; x * y also real * complex; x / y with a real divisor."""

    def typing(x: Any, y: Any) -> Any:
        if not (isinstance(x, Lanes | ComplexLanes) and isinstance(y, Lanes | ComplexLanes) and x.part == y.part):
            return None
        if symbol is operator.truediv:
            return x if y == y.part else None
        if symbol is operator.mul:
            return y if x == x.part else (x if x == y else None)
        return x if x == y else None

    def lower(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        (xr, xi), (yr, yi) = (parts_of(context, builder, t, v) for t, v in zip(sig.args, args, strict=True))
        combine = getattr(builder, instruction)
        if not is_complex(sig.return_type):
            return combine(xr, yr)
        if symbol is operator.truediv:
            re, im = combine(xr, yr), combine(xi, yr)
        elif symbol is operator.mul:
            re, im = combine(xr, yr), combine(xr, yi)
            if xi is not None:
                re = call(builder, "fma", builder.fneg(xi), yi, re)
                im = call(builder, "fma", xi, yr, im)
        else:
            re, im = combine(xr, yr), combine(xi, yi)
        return made_of(context, builder, sig.return_type, re, im)

    OPERATORS[symbol] = typing, lower
    type_callable(symbol)(lambda context: typing)
    for x in (Lanes, ComplexLanes):
        for y in (Lanes, ComplexLanes):
            lower_builtin(symbol, x, y)(lower)


_operator(operator.add, "fadd")
_operator(operator.sub, "fsub")
_operator(operator.mul, "fmul")
_operator(operator.truediv, "fdiv")
