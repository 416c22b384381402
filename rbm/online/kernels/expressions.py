"""Expressions of kernels as values (:mod:`rbm.online.kernels.values`), for :mod:`rbm.online.kernels.translation`."""

from __future__ import annotations

import ast
import builtins
import operator
from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types

from rbm.online.kernels.memory import INTP, Memory, Pieces, bare, itemsize
from rbm.online.kernels.values import (
    BIT,
    BOOL,
    FLOAT,
    INT,
    Number,
    Static,
    Untranslated,
    bared,
    binary,
    cast,
    chosen,
    compared,
    dtype_of,
    leaves,
    made_again,
    modulus_of,
    negated,
    settled,
    square_root,
    stored,
    truth,
    widened,
)

__all__ = ["Expressions", "Frame", "Scope", "Slot"]

SYMBOLS: dict[type, Any] = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv, ast.Mod: operator.mod, ast.BitAnd: operator.and_, ast.BitOr: operator.or_,
    ast.LShift: operator.lshift, ast.RShift: operator.rshift, ast.Lt: operator.lt, ast.LtE: operator.le,
    ast.Gt: operator.gt, ast.GtE: operator.ge, ast.Eq: operator.eq, ast.NotEq: operator.ne,
}  # fmt: skip


class Frame:
    """A function of LLVM that is being written, with builders for its first block and for the current one."""

    def __init__(self, function: Any) -> None:
        self.function = function
        self.first = ir.IRBuilder(function.append_basic_block("entry"))
        self.builder = ir.IRBuilder(function.append_basic_block("start"))


class Scope:
    """The names of one function of Python, and where its result goes."""

    def __init__(self, function: Any, several: frozenset[str], single: bool, end: Any) -> None:
        self.outside, self.inside = function.__globals__, function.__code__.co_varnames
        self.several, self.single, self.end = several, single, end
        self.names: dict[str, Any] = {}
        self.result: Any = Static(None)
        self.loops: list[tuple[Any, Any]] = []  #: where `continue` and `break` go


class Slot:
    """Memory for a value that changes; LLVM keeps it in registers."""

    def __init__(self, frame: Frame, value: Any) -> None:
        self.like = settled(value)
        self.like = made_again(self.like, iter([frame.first.alloca(leaf.type) for leaf in leaves(self.like)]))

    def store(self, builder: Any, value: Any) -> None:
        """Write a value of the same form."""
        for leaf, place in zip(leaves(widened(builder, value, self.like)), leaves(self.like), strict=True):
            builder.store(leaf, place)

    def load(self, builder: Any) -> Any:
        """Return what was written last."""
        return made_again(self.like, iter([builder.load(place) for place in leaves(self.like)]))


class Expressions:
    """What expressions are, in the frame and the scope of the moment."""

    context: Any
    frame: Frame
    scope: Scope

    def __init__(self, context: Any, module: Any, name: str) -> None:
        self.context, self.module, self.name = context, module, name
        self.typed: dict[Any, Any] = {}

    @property
    def builder(self) -> Any:
        """The builder of the current block."""
        return self.frame.builder

    def value(self, node: ast.expr) -> Any:
        """Return the value of an expression."""
        method: Callable[[Any], Any] | None = getattr(self, "_" + type(node).__name__.lower(), None)
        if method is None:
            raise Untranslated(f"{type(node).__name__} is not translated")
        return method(node)

    def integer(self, node: ast.expr) -> Any:
        """Return an index as a value of LLVM."""
        made = stored(self.value(node))
        if not isinstance(made, Number) or isinstance(made.kind, types.Float):
            raise Untranslated("an index that is no integer")
        return cast(self.builder, made, INT).value

    def _constant(self, node: ast.Constant) -> Any:
        return Static(node.value)

    def _name(self, node: ast.Name) -> Any:
        found = self.scope.names.get(node.id)
        if found is None:
            outside = self.scope.outside
            if node.id in self.scope.inside:
                raise Untranslated(f"{node.id}, which has no value yet where it is read")
            return Static(outside[node.id] if node.id in outside else getattr(builtins, node.id))
        return found.load(self.builder) if isinstance(found, Slot) else found

    def _tuple(self, node: ast.Tuple) -> Any:
        return tuple(self._values(node.elts))

    def _values(self, nodes: list[ast.expr]) -> list[Any]:
        made: list[Any] = []
        for node in nodes:
            if isinstance(node, ast.Starred):
                made.extend(self.value(node.value))
            else:
                made.append(self.value(node))
        return made

    def _attribute(self, node: ast.Attribute) -> Any:
        of, name = self.value(node.value), node.attr
        if isinstance(of, Pieces):
            if name == "shape":
                return tuple(Number(INT, length) for length in of.lengths)
            if name == "dtype":
                return Static(of.kind.dtype)
            if name == "itemsize":
                return Static(itemsize(of.kind.dtype))
            if name == "address":
                return Number(INT, self.builder.ptrtoint(of.data, INTP))
        elif isinstance(of, tuple):
            return getattr(of, name)
        elif isinstance(of, Static):
            if isinstance(of.value, types.Type) and name == "type":
                return of
            if isinstance(of.value, ModuleType):
                return Static(getattr(of.value, name))
        raise Untranslated(f"the attribute {name}")

    def _subscript(self, node: ast.Subscript) -> Any:
        of = self.value(node.value)
        if isinstance(of, tuple):
            index = self.value(node.slice)
            if not isinstance(index, Static):
                raise Untranslated("a tuple with an index that is not known")
            return of[index.value]
        made = self.place(of, node.slice)
        return made if made.lengths else self.number_at(made)

    def number_at(self, place: Pieces) -> Number:
        """Return the number that is at a place."""
        kind = place.kind.dtype
        return Number(kind, self.context.unpack_value(self.builder, kind, place.data))

    def place(self, memory: Any, node: ast.expr) -> Pieces:
        """Return memory[...]; without lengths, the place of a number."""
        nodes = node.elts if isinstance(node, ast.Tuple) else [node]
        if not isinstance(memory, Pieces) or len(nodes) > memory.kind.ndim:
            raise Untranslated("an index of what is no memory")
        indices: list[Any] = []
        for n in nodes:
            if isinstance(n, ast.Slice):
                if n.step is not None or n is not nodes[-1]:
                    raise Untranslated("a slice that is not contiguous")
                start = ir.Constant(INTP, 0) if n.lower is None else self.integer(n.lower)
                indices.append((start, None if n.upper is None else self.integer(n.upper)))
            else:
                indices.append(self.integer(n))
        return memory.part(self.builder, indices)

    def _binop(self, node: ast.BinOp) -> Any:
        x = self.value(node.left)
        return binary(self.builder, self.context, self.symbol(node.op), x, self.value(node.right))

    def symbol(self, of: Any) -> Any:
        """Return the function of an operator."""
        if type(of) not in SYMBOLS:
            raise Untranslated(f"{type(of).__name__} is not translated")
        return SYMBOLS[type(of)]

    def _unaryop(self, node: ast.UnaryOp) -> Any:
        if isinstance(node.op, ast.USub):
            return negated(self.builder, self.value(node.operand))
        if not isinstance(node.op, ast.Not):
            raise Untranslated(f"{type(node.op).__name__} is not translated")
        made = self.condition(node.operand)
        return Static(not made.value) if isinstance(made, Static) else Number(BOOL, self.builder.not_(made.value))

    def _compare(self, node: ast.Compare) -> Any:
        if len(node.ops) != 1:
            raise Untranslated("a chain of comparisons")
        x = self.value(node.left)
        return compared(self.builder, self.symbol(node.ops[0]), x, self.value(node.comparators[0]))

    def condition(self, node: ast.expr) -> Any:
        """Return whether an expression is true: all that counts of x and y, x or y as well."""
        if isinstance(node, ast.BoolOp):
            return self._boolop(node, self.condition)
        return truth(self.builder, self.value(node))

    def _boolop(self, node: ast.BoolOp, operand: Any = None) -> Any:
        """Return x and y, x or y, of truth values; y is not computed if x decides."""
        stop = isinstance(node.op, ast.Or)
        operand = operand or self._truth_value
        made = operand(node.values[0])
        for later in node.values[1:]:
            if isinstance(made, Static):
                if made.value == stop:
                    return made
                made = operand(later)
                continue
            rest, end = (self.frame.function.append_basic_block() for _ in range(2))
            before = self.builder.block
            self.builder.cbranch(made.value, *((end, rest) if stop else (rest, end)))
            self.builder.position_at_end(rest)
            second = stored(operand(later)).value
            after = self.builder.block
            self.builder.branch(end)
            self.builder.position_at_end(end)
            phi = self.builder.phi(BIT)
            phi.add_incoming(ir.Constant(BIT, stop), before)
            phi.add_incoming(second, after)
            made = Number(BOOL, phi)
        return made

    def _truth_value(self, node: ast.expr) -> Any:
        """Return a truth value; of other things Python's x or y is one of them."""
        made = self.value(node)
        if isinstance(made.value, bool) if isinstance(made, Static) else made.kind is BOOL:
            return made
        raise Untranslated("`and` and `or` of what is no truth value")

    def _ifexp(self, node: ast.IfExp) -> Any:
        """Return x if c else y; what is not chosen is not computed."""
        condition = self.condition(node.test)
        if isinstance(condition, Static):
            return self.value(node.body if condition.value else node.orelse)
        parts = [n.operand if isinstance(n, ast.UnaryOp) else n for n in (node.body, node.orelse)]
        if all(isinstance(n, ast.Name | ast.Constant) for n in parts):
            return chosen(self.builder, condition, self.value(node.body), self.value(node.orelse))
        first, second, end = (self.frame.function.append_basic_block() for _ in range(3))
        self.builder.cbranch(condition.value, first, second)
        made = []
        for block, part in ((first, node.body), (second, node.orelse)):
            self.builder.position_at_end(block)
            made.append((stored(self.value(part)), self.builder.block))
        kind = merged = made[0][0].kind
        if merged != made[1][0].kind:
            kind = FLOAT if isinstance(merged, types.Float) or isinstance(made[1][0].kind, types.Float) else INT
        incoming = []
        for value, block in made:
            self.builder.position_at_end(block)
            incoming.append((cast(self.builder, value, kind).value, block))
            self.builder.branch(end)
        self.builder.position_at_end(end)
        phi = self.builder.phi(incoming[0][0].type)
        for value, block in incoming:
            phi.add_incoming(value, block)
        return Number(kind, phi)

    def _call(self, node: ast.Call) -> Any:
        if node.keywords:
            raise Untranslated("an argument with a name")
        if isinstance(node.func, ast.Attribute) and node.func.attr in ("reshape", "viewed"):
            return self._method(self.value(node.func.value), node.func.attr, self._values(node.args))
        function, arguments = self.value(node.func), self._values(node.args)
        called = function.value if isinstance(function, Static) else None
        if hasattr(called, "py_func"):
            return self.call_part(called, arguments)
        if called is bare:
            return bared(arguments[0])
        if hasattr(called, "_defn"):
            return self._intrinsic(called, arguments)
        if isinstance(called, types.Type):
            return cast(self.builder, arguments[0], called)
        if isinstance(called, type) and issubclass(called, tuple) and hasattr(called, "_make"):
            return called._make(arguments)
        return self._builtin(called, arguments)

    def _method(self, memory: Any, name: str, arguments: list[Any]) -> Pieces:
        if not isinstance(memory, Pieces):
            raise Untranslated(f"{name} of what is no memory")
        if name == "viewed":
            return memory.viewed(self.context, self.builder, dtype_of(arguments[0].value))
        lengths = [cast(self.builder, length, INT).value for length in arguments[0]]
        return Pieces(Memory(memory.kind.dtype, len(lengths)), memory.data, lengths)

    def _intrinsic(self, called: Any, arguments: list[Any]) -> Any:
        """Return what an intrinsic of :mod:`rbm.online.kernels.lanes` makes."""
        values = [stored(a) for a in arguments]
        kinds = tuple(v.kind for v in values)
        if (called, kinds) not in self.typed:
            self.typed[called, kinds] = called._defn(None, *kinds)
        signature, code = self.typed[called, kinds]
        given = [
            v if isinstance(v, Pieces) else cast(self.builder, v, kind).value
            for v, kind in zip(values, signature.args, strict=True)
        ]
        made = code(self.context, self.builder, signature, given)
        if signature.return_type == BOOL and isinstance(made, ir.Constant):
            return Static(bool(made.constant))
        return Static(None) if signature.return_type == types.void else Number(signature.return_type, made)

    def _builtin(self, called: Any, arguments: list[Any]) -> Any:
        if called is len:
            of = arguments[0]
            return Number(INT, of.lengths[0]) if isinstance(of, Pieces) else Static(len(of))
        if called is abs:
            return modulus_of(self.builder, arguments[0])
        if called is np.sqrt:
            return square_root(self.builder, arguments[0])
        if called in (int, float):
            return cast(self.builder, arguments[0], INT if called is int else FLOAT)
        if called in (min, max) and len(arguments) == 2:
            if all(isinstance(a, Static) for a in arguments):
                return Static(called(*(a.value for a in arguments)))
            x, y = arguments  # as in Python: y if y < x else x
            better = compared(self.builder, operator.lt if called is min else operator.gt, y, x)
            return chosen(self.builder, better, y, x)
        raise Untranslated(f"{called} is not translated")

    def call_part(self, part: Any, arguments: list[Any]) -> Any:
        """Return the result of a part of kernels."""
        raise NotImplementedError
