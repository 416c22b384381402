"""Kernels as code of LLVM, translated from their syntax trees in one pass.

Numba finds types by a search through all statements, and takes some twenty passes over each function: that was most of
the time of a first use. The functions of this folder need none of it. A name keeps the type of its first value, so
that types are known as statements are read; what is known when a kernel is compiled, such as the number of lanes, or
that numbers are real, is computed then, and branches that depend on it are not translated at all. What a statement
computes is what Numba computes: the same operations, in the same order, with the same bits.

There are names and tuples of them, `if`, `while`, `for` over a range, `break`, `continue`, `return`, arithmetic of
integers, reals and lanes, :class:`rbm.online.kernels.memory.Memory`, and calls of parts. All else raises
:class:`rbm.online.kernels.values.Untranslated`, and Numba compiles the kernel.
"""

from __future__ import annotations

import ast
from typing import Any

from llvmlite import ir
from numba.core import cgutils

from rbm.online.kernels.expressions import Expressions, Frame, Scope, Slot
from rbm.online.kernels.memory import INTP
from rbm.online.kernels.sources import definition
from rbm.online.kernels.values import (
    INT,
    Number,
    Static,
    Untranslated,
    binary,
    cast,
    leaves,
    made_again,
    settled,
    shape_of,
    stored,
)

__all__ = ["Translation"]


class Translation(Expressions):
    """One kernel, translated into a module of LLVM by :meth:`function`."""

    def __init__(self, context: Any, module: Any, name: str) -> None:
        super().__init__(context, module, name)
        self.functions: dict[Any, tuple[Any, Any]] = {}

    def call_part(self, part: Any, arguments: list[Any]) -> Any:
        """Translate a call: within the caller, or as a function of its own if the part has loops and may stay one."""
        function = part.py_func
        if part.inline or not definition(function.__code__)[2]:
            return self._inlined(function, arguments)
        arguments = [settled(a) if isinstance(a, Static) else a for a in arguments]
        key = function, shape_of(tuple(arguments))
        if key not in self.functions:
            self.functions[key] = self.function(function, arguments)
        made, result = self.functions[key]
        answer = self.builder.call(made, leaves(tuple(arguments)))
        found = leaves(result)
        several = [self.builder.extract_value(answer, k) for k in range(len(found))] if len(found) > 1 else [answer]
        return made_again(result, iter(several))

    def function(self, function: Any, arguments: Any) -> tuple[Any, Any]:
        """Translate a function for such arguments; return it, and a value of the form of its result."""
        outer: Any = getattr(self, "frame", None)
        given = leaves(tuple(arguments))
        kind = ir.FunctionType(ir.VoidType(), [leaf.type for leaf in given])
        made = ir.Function(self.module, kind, self.module.get_unique_name(f"{function.__name__}.{self.name}"))
        made.linkage = "internal"
        made.attributes.add("nounwind")
        made.attributes.add("noinline")
        self.frame = frame = Frame(made)
        start = frame.builder.block
        result = settled(self._inlined(function, made_again(tuple(arguments), iter(made.args))))
        found = leaves(result)
        if not found:
            frame.builder.ret_void()
        else:
            answer = found[0] if len(found) == 1 else cgutils.pack_struct(frame.builder, found)
            frame.builder.ret(answer)
            # the type of the result is known only now
            made.ftype = ir.FunctionType(answer.type, kind.args)
            made.type, made.return_value.type = made.ftype.as_pointer(), answer.type
        frame.first.position_at_end(frame.first.block)  # Numba's code for complex numbers adds to that block, too
        frame.first.branch(start)
        self.frame = outer
        return made, result

    def _inlined(self, function: Any, arguments: Any) -> Any:
        """Translate the body of a function here, and return its result."""
        node, several, _, single = definition(function.__code__)
        names = [argument.arg for argument in node.args.args]
        if len(names) != len(arguments) or node.args.defaults:
            raise Untranslated(f"arguments of {function.__name__}")
        outer: Any = getattr(self, "scope", None)
        end = self.frame.function.append_basic_block()
        self.scope = scope = Scope(function, several, single, end)
        for name, value in zip(names, arguments, strict=True):
            self._bind(name, value)
        self.body(node.body)
        if not self.builder.block.is_terminated:
            if not (isinstance(scope.result, Static) and scope.result.value is None):
                raise Untranslated(f"{function.__name__} returns nothing at its end")
            self.builder.branch(end)
        self.builder.position_at_end(end)
        self.scope = outer
        return scope.result.load(self.builder) if isinstance(scope.result, Slot) else scope.result

    def body(self, nodes: list[ast.stmt]) -> None:
        """Translate statements; what is behind a jump is not."""
        for node in nodes:
            if self.builder.block.is_terminated:
                return
            method = getattr(self, "_" + type(node).__name__.lower(), None)
            if method is None:
                raise Untranslated(f"{type(node).__name__} is not translated")
            method(node)

    def _branch(self, block: Any) -> None:
        if not self.builder.block.is_terminated:
            self.builder.branch(block)

    def _bind(self, name: str, value: Any) -> None:
        """Let a name stand for a value."""
        scope = self.scope
        if name not in scope.several:
            scope.names[name] = value
            return
        if name not in scope.names:
            scope.names[name] = Slot(self.frame, value)
        scope.names[name].store(self.builder, value)

    def _expr(self, node: ast.Expr) -> None:
        if not isinstance(node.value, ast.Constant):
            self.value(node.value)

    def _assign(self, node: ast.Assign) -> None:
        value = self.value(node.value)
        for target in node.targets:
            self._to(target, value)

    def _augassign(self, node: ast.AugAssign) -> None:
        symbol, target, place = self.symbol(node.op), node.target, None
        if isinstance(target, ast.Subscript):
            place = self._entry_of(target)  # once, as what is in brackets may change something
            old = self.number_at(place)
        elif isinstance(target, ast.Name):
            old = self._name(target)
        else:
            raise Untranslated(f"an assignment to {type(target).__name__}")
        made = binary(self.builder, self.context, symbol, old, self.value(node.value))
        if place is None:
            self._to(target, made)
        else:
            self._put(place, made)

    def _to(self, target: ast.expr, value: Any) -> None:
        """Assign a value to names and entries of memory."""
        if isinstance(target, ast.Name):
            self._bind(target.id, value)
        elif isinstance(target, ast.Tuple):
            values = tuple(map(Static, value.value)) if isinstance(value, Static) else value
            for part, one in zip(target.elts, values, strict=True):
                self._to(part, one)
        elif isinstance(target, ast.Subscript):
            self._put(self._entry_of(target), value)
        else:
            raise Untranslated(f"an assignment to {type(target).__name__}")

    def _entry_of(self, target: ast.Subscript) -> Any:
        place = self.place(self.value(target.value), target.slice)
        if place.lengths:
            raise Untranslated("an assignment to many entries")
        return place

    def _put(self, place: Any, value: Any) -> None:
        dtype = place.kind.dtype
        self.context.pack_value(self.builder, dtype, cast(self.builder, value, dtype).value, place.data)

    def _return(self, node: ast.Return) -> None:
        scope = self.scope
        if node.value is not None:
            value = self.value(node.value)
            if scope.single:
                scope.result = value
            else:
                if not isinstance(scope.result, Slot):
                    scope.result = Slot(self.frame, value)
                scope.result.store(self.builder, value)
        self.builder.branch(scope.end)

    def _if(self, node: ast.If) -> None:
        condition = self.condition(node.test)
        if isinstance(condition, Static):
            self.body(node.body if condition.value else node.orelse)
            return
        first, end = self._block(), self._block()
        second = self._block() if node.orelse else end
        self.builder.cbranch(condition.value, first, second)
        goes_on = second is end
        for block, nodes in ((first, node.body), (second, node.orelse)):
            if block is not end:
                self.builder.position_at_end(block)
                self.body(nodes)
                goes_on = goes_on or not self.builder.block.is_terminated
                self._branch(end)
        self.builder.position_at_end(end)
        if not goes_on:
            self.builder.unreachable()

    def _block(self) -> Any:
        return self.frame.function.append_basic_block()

    def _while(self, node: ast.While) -> None:
        head, inside, end = self._block(), self._block(), self._block()
        self.builder.branch(head)
        self.builder.position_at_end(head)
        known = self.condition(node.test)
        self.builder.cbranch(stored(known).value, inside, end)
        self._loop(node, inside, head, end)
        if isinstance(known, Static) and known.value and not any(isinstance(n, ast.Break) for n in ast.walk(node)):
            self.builder.unreachable()

    def _for(self, node: ast.For) -> None:
        """Translate a loop over a range whose step is known."""
        call = node.iter
        if not (isinstance(call, ast.Call) and isinstance(node.target, ast.Name)):
            raise Untranslated("a loop that is not over a range")
        if self.value(call.func).value is not range:
            raise Untranslated("a loop that is not over a range")
        limits = self._values(call.args)
        start, stop = (Static(0), limits[0]) if len(limits) == 1 else limits[:2]
        step = limits[2] if len(limits) == 3 else Static(1)
        if not isinstance(step, Static) or step.value == 0:
            raise Untranslated("a range whose step is not known")
        start, stop = (cast(self.builder, limit, INT).value for limit in (start, stop))
        before, head, inside, further, end = self.builder.block, *(self._block() for _ in range(4))
        self.builder.branch(head)
        self.builder.position_at_end(head)
        counter = self.builder.phi(INTP)
        counter.add_incoming(start, before)
        order = "<" if step.value > 0 else ">"
        self.builder.cbranch(self.builder.icmp_signed(order, counter, stop), inside, end)
        self.builder.position_at_end(further)
        counter.add_incoming(self.builder.add(counter, ir.Constant(INTP, step.value)), further)
        self.builder.branch(head)
        self.builder.position_at_end(inside)
        here = self.builder.phi(INTP)  # not `counter`, which is one step further behind the loop
        here.add_incoming(counter, head)
        self._bind(node.target.id, Number(INT, here))
        self._loop(node, inside, further, end)

    def _loop(self, node: ast.For | ast.While, inside: Any, again: Any, end: Any) -> None:
        if node.orelse:
            raise Untranslated("else of a loop")
        self.scope.loops.append((again, end))
        self.builder.position_at_end(inside)
        self.body(node.body)
        self._branch(again)
        self.scope.loops.pop()
        self.builder.position_at_end(end)

    def _break(self, node: ast.Break) -> None:
        self.builder.branch(self.scope.loops[-1][1])

    def _continue(self, node: ast.Continue) -> None:
        self.builder.branch(self.scope.loops[-1][0])
