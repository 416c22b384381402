"""Memory: a Numba type for arrays inside kernels, an address and a shape instead of Numba's seven or more fields.

A kernel is given dozens of arrays, and hands records of them from function to function. Each field of each is code
that is typed, translated and optimised before it turns out that nothing needs it: most of the time of a first use.
Entries are in C order, indices are not negative, nothing is counted, and as in Numba's arrays no bounds are checked.

Inside compiled functions:

bare(x)                                an array, or those in tuples, as Memory; what is no contiguous array stays
m[i], m[i, j], m[i, j, k]              entries, also to be assigned to
m[a:b], m[i], m[i, a:b]                some entries, or rows; a row; some of its entries
m.reshape((i, j)), m.viewed(dtype)       the same memory with another shape, or as numbers of another type (vectors)
len(m), m.shape, m.dtype, m.itemsize   as of arrays; m.address is that of the first entry
"""

from __future__ import annotations

import operator
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.imputils import lower_builtin, lower_getattr
from numba.core.typing.templates import (
    AbstractTemplate,
    AttributeTemplate,
    bound_function,
    infer_getattr,
    infer_global,
    signature,
)
from numba.extending import intrinsic, models, register_model
from numba.np.numpy_support import as_dtype

__all__ = ["INTP", "Memory", "Pieces", "address_of", "bare", "is_bare", "itemsize"]

INTP = ir.IntType(8 * np.dtype(np.intp).itemsize)
TUPLES: Any = types.BaseTuple  # which has types for Numba, not for a type checker


class Memory(types.Type):
    """Numbers of type `dtype` in C order, with `ndim` indices."""

    def __init__(self, dtype: Any, ndim: int) -> None:
        self.dtype, self.ndim = dtype, ndim
        super().__init__(name=f"Memory({dtype}, {ndim})")


@register_model(Memory)
class _MemoryModel(models.StructModel):
    def __init__(self, dmm: Any, fe_type: Any) -> None:
        lengths = [(f"length{k}", types.intp) for k in range(fe_type.ndim)]
        super().__init__(dmm, fe_type, [("data", types.CPointer(fe_type.dtype)), *lengths])


class Pieces:
    """The address and the lengths of Memory of some type, as LLVM values."""

    __slots__ = ("data", "kind", "lengths")

    def __init__(self, kind: Memory, data: Any, lengths: Any) -> None:
        self.kind, self.data, self.lengths = kind, data, lengths

    def part(self, builder: Any, indices: Any) -> Pieces:
        """Return what integers, and at last a pair (start, stop), choose; without lengths left, the place of a number.

        None as `stop` is the end.
        """
        offset, left = ir.Constant(INTP, 0), list(self.lengths[len(indices) :])
        for k, (index, length) in enumerate(zip(indices, self.lengths, strict=False)):
            place = index
            if isinstance(index, tuple):
                place, stop = index
                stop = length if stop is None else builder.select(builder.icmp_signed("<", stop, length), stop, length)
                left = [builder.sub(stop, place), *left]
            offset = builder.add(builder.mul(offset, length), place) if k > 0 else place
        for length in self.lengths[len(indices) :]:
            offset = builder.mul(offset, length)
        return Pieces(Memory(self.kind.dtype, len(left)), builder.gep(self.data, [offset]), left)

    def viewed(self, context: Any, builder: Any, dtype: Any) -> Pieces:
        """Return a vector as numbers of another type."""
        size, size_to = itemsize(self.kind.dtype), itemsize(dtype)
        count = self.lengths[0]
        if size != size_to:
            count = builder.udiv(builder.mul(count, ir.Constant(INTP, size)), ir.Constant(INTP, size_to))
        data = builder.bitcast(self.data, context.get_value_type(types.CPointer(dtype)))
        return Pieces(Memory(dtype, 1), data, [count])


def itemsize(dtype: Any) -> int:
    """Return the bytes of a number of a type of Numba."""
    return int(as_dtype(dtype).itemsize)


def _parts(context: Any, builder: Any, kind: Any, value: Any) -> tuple[Any, list[Any]]:
    """Return the address and the lengths as LLVM values."""
    made = context.make_helper(builder, kind, value=value)
    return made.data, [getattr(made, f"length{k}") for k in range(kind.ndim)]


def _made(context: Any, builder: Any, kind: Any, data: Any, lengths: Any) -> Any:
    made = context.make_helper(builder, kind)
    made.data = data
    for k, length in enumerate(lengths):
        setattr(made, f"length{k}", length)
    return made._getvalue()


def address_of(context: Any, builder: Any, kind: Any, value: Any) -> Any:
    """Return an LLVM pointer to the first entry of Memory, or of an array of Numba."""
    if isinstance(value, Pieces):
        return value.data
    if isinstance(kind, Memory):
        return context.make_helper(builder, kind, value=value).data
    return context.make_array(kind)(context, builder, value).data


def _bare_type(kind: Any) -> Any:
    if isinstance(kind, TUPLES):
        return types.Tuple([_bare_type(k) for k in kind.types])
    return Memory(kind.dtype, kind.ndim) if is_bare(kind) else kind


def is_bare(kind: Any) -> bool:
    """Return whether a type is that of arrays of Numba that Memory can stand for."""
    return isinstance(kind, types.Array) and kind.layout == "C" and kind.ndim > 0 and bool(kind.aligned)


def _bare_value(context: Any, builder: Any, kind: Any, value: Any) -> Any:
    to = _bare_type(kind)
    if to == kind:
        return value
    if isinstance(kind, TUPLES):
        values = cgutils.unpack_tuple(builder, value, len(kind.types))
        made = [_bare_value(context, builder, k, v) for k, v in zip(kind.types, values, strict=True)]
        return context.make_tuple(builder, to, made)
    array = context.make_array(kind)(context, builder, value)
    return _made(context, builder, to, array.data, cgutils.unpack_tuple(builder, array.shape, kind.ndim))


def _bare(typingctx: Any, x: Any) -> Any:
    """Return an array, or those of a tuple and of tuples in it, as Memory."""
    return _bare_type(x)(x), lambda context, builder, sig, args: _bare_value(context, builder, x, args[0])


bare: Any = intrinsic(_bare)


def _indexed(memory: Any, index: Any) -> Any:
    """Return the type of memory[index]: a number, or Memory with fewer indices."""
    if not isinstance(memory, Memory):
        return None
    indices = tuple(index.types) if isinstance(index, TUPLES) else (index,)
    slices = [k for k, i in enumerate(indices) if isinstance(i, types.SliceType)]
    whole = all(isinstance(i, types.Integer | types.SliceType) for i in indices) and len(indices) <= memory.ndim
    if not whole or slices not in ([], [len(indices) - 1]):
        return None
    left = memory.ndim - len(indices) + len(slices)
    return Memory(memory.dtype, left) if left else memory.dtype


def _place(context: Any, builder: Any, sig: Any, args: Any) -> tuple[Any, list[Any]]:
    """Return the address of memory[index], and the lengths of what is there."""
    kinds = tuple(sig.args[1].types) if isinstance(sig.args[1], TUPLES) else (sig.args[1],)
    values = cgutils.unpack_tuple(builder, args[1], len(kinds)) if len(kinds) > 1 else [args[1]]
    indices: list[Any] = []
    for kind, value in zip(kinds, values, strict=True):
        if isinstance(kind, types.SliceType):
            chosen = context.make_helper(builder, kind, value=value)
            indices.append((chosen.start, chosen.stop))
        else:
            indices.append(context.cast(builder, value, kind, types.intp))
    made = Pieces(sig.args[0], *_parts(context, builder, sig.args[0], args[0])).part(builder, indices)
    return made.data, made.lengths


@infer_global(operator.getitem)
class _GetItem(AbstractTemplate):
    def generic(self, args: Any, kws: Any) -> Any:
        made = _indexed(*args)
        return None if made is None else signature(made, *args)


@infer_global(operator.setitem)
class _SetItem(AbstractTemplate):
    def generic(self, args: Any, kws: Any) -> Any:
        made = _indexed(*args[:2])
        return None if made is None or isinstance(made, Memory) else signature(types.none, *args[:2], made)


@lower_builtin(operator.getitem, Memory, types.Any)
def _lower_get(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    place, lengths = _place(context, builder, sig, args)
    if isinstance(sig.return_type, Memory):
        return _made(context, builder, sig.return_type, place, lengths)
    return context.unpack_value(builder, sig.return_type, place)


@lower_builtin(operator.setitem, Memory, types.Any, types.Any)
def _lower_set(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    place, _ = _place(context, builder, sig, args)
    context.pack_value(builder, sig.args[0].dtype, args[2], place)
    return context.get_dummy_value()


@infer_global(len)
class _Length(AbstractTemplate):
    def generic(self, args: Any, kws: Any) -> Any:
        return signature(types.intp, *args) if isinstance(args[0], Memory) else None


@lower_builtin(len, Memory)
def _lower_len(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    return _parts(context, builder, sig.args[0], args[0])[1][0]


@infer_getattr
class _Attributes(AttributeTemplate):
    key = Memory

    def resolve_shape(self, memory: Any) -> Any:
        return types.UniTuple(types.intp, memory.ndim)

    def resolve_dtype(self, memory: Any) -> Any:
        return types.DType(memory.dtype)

    def resolve_itemsize(self, memory: Any) -> Any:
        return types.intp

    def resolve_address(self, memory: Any) -> Any:
        return types.intp

    @bound_function("memory.reshape")
    def resolve_reshape(self, memory: Any, args: Any, kws: Any) -> Any:
        return signature(Memory(memory.dtype, len(args[0])), *args)

    @bound_function("memory.viewed")
    def resolve_viewed(self, memory: Any, args: Any, kws: Any) -> Any:
        return signature(Memory(args[0].dtype, 1), *args) if memory.ndim == 1 else None


@lower_getattr(Memory, "shape")
def _lower_shape(context: Any, builder: Any, kind: Any, value: Any) -> Any:
    return context.make_tuple(builder, types.UniTuple(types.intp, kind.ndim), _parts(context, builder, kind, value)[1])


@lower_getattr(Memory, "dtype")
def _lower_dtype(context: Any, builder: Any, kind: Any, value: Any) -> Any:
    return context.get_dummy_value()


@lower_getattr(Memory, "itemsize")
def _lower_itemsize(context: Any, builder: Any, kind: Any, value: Any) -> Any:
    return ir.Constant(INTP, itemsize(kind.dtype))


@lower_getattr(Memory, "address")
def _lower_address(context: Any, builder: Any, kind: Any, value: Any) -> Any:
    return builder.ptrtoint(_parts(context, builder, kind, value)[0], INTP)


@lower_builtin("memory.reshape", Memory, types.BaseTuple)
def _lower_reshape(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    data, _ = _parts(context, builder, sig.args[0], args[0])
    return _made(context, builder, sig.return_type, data, cgutils.unpack_tuple(builder, args[1], len(sig.args[1])))


@lower_builtin("memory.viewed", Memory, types.DTypeSpec)
def _lower_viewed(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    memory = Pieces(sig.args[0], *_parts(context, builder, sig.args[0], args[0]))
    made = memory.viewed(context, builder, sig.return_type.dtype)
    return _made(context, builder, sig.return_type, made.data, made.lengths)
