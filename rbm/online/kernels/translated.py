"""Numba's pipeline for kernels that are translated here: one pass makes the code, Numba calls and keeps it."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Iterator
from typing import Any

from llvmlite import ir
from numba.core import compiler, funcdesc, lowering, types
from numba.core.compiler_machinery import LoweringPass, PassManager, register_pass
from numba.core.imputils import builtin_registry
from numba.core.registry import cpu_target
from numba.core.typed_passes import NoPythonBackend
from numba.cpython import numbers  # noqa: F401  its constants

from rbm.online.kernels.libraries import KernelLibrary
from rbm.online.kernels.memory import TUPLES, Memory, Pieces, is_bare
from rbm.online.kernels.translation import Translation
from rbm.online.kernels.values import Given, Number, Static, Untranslated

__all__ = ["translating"]


def translating() -> Any:
    """Return the pipeline, which raises Untranslated for a kernel with anything that is not known to it."""
    manager = PassManager("rbm_translated")
    manager.add_pass(_Translated, "translate the kernel and its parts")
    manager.add_pass(NoPythonBackend, "make Numba's record of what was compiled")
    manager.finalize()
    return manager


@register_pass(mutates_CFG=True, analysis_only=False)
class _Translated(LoweringPass):
    """Translate a kernel with its parts, and make machine code of it."""

    _name: Any = "rbm_translated"

    def __init__(self) -> None:
        LoweringPass.__init__(self)

    def run_pass(self, state: Any) -> bool:
        """Leave in `state` what Numba's translation leaves there."""
        context = state.targetctx  # a copy for this kernel
        try:
            # constants are all that is needed of Numba's rules, and what is not found is not looked for everywhere
            context.install_registry(builtin_registry)
            context.refresh = _nothing
            with _uncollected():
                return self._run(state)
        except Exception as error:  # whatever it is, Numba's own pipeline says it or knows more
            state.library = None
            context.__dict__.pop("refresh", None)
            # all rules, and extensions of Numba; and those of types, which Numba's pipeline begins with
            cpu_target.target_context.refresh()
            raise Untranslated(f"{state.func_id.func_name}: {type(error).__name__}: {error}") from error

    @staticmethod
    def _run(state: Any) -> bool:
        context, identity, flags = state.targetctx, state.func_id, state.flags
        state.library = library = KernelLibrary(context.codegen(), identity.func_qualname, state.pipeline.scalar_loops)
        library.enable_object_caching()
        module = library.create_ir_module(identity.unique_name)
        given = [_given(context, kind) for kind in state.args]
        body, result = Translation(context, module, identity.unique_name).function(identity.func, given)
        if not (isinstance(result, Number) or (isinstance(result, Static) and result.value is None)):
            raise Untranslated("a kernel whose result is no number")
        state.return_type = result.kind if isinstance(result, Number) else types.none
        description = funcdesc.PythonFunctionDescriptor(
            True, identity.func.__module__, identity.func_qualname, identity.unique_name, "", {}, state.return_type,
            {}, tuple(identity.arg_names), (), mangler=context.mangler, argtypes=tuple(state.args),
            abi_tags=[flags.get_mangle_string()], uid=identity.unique_id,
        )  # fmt: skip
        with context.push_code_library(library):
            helper = _entry(context, module, description, body, result)
            library.add_ir_module(module)
            environment = lowering.Environment.from_fndesc(description)
            context.create_cpython_wrapper(library, description, environment, helper, release_gil=flags.release_gil)
        called = context.get_executable(library, description, environment)
        context.insert_user_function(called, description, [library])
        state.cr = compiler._LowerResult(description, helper, cfunc=called, env=environment)
        return True


class _Unknown:
    """An argument of another type: a kernel that looks at it is not translated."""


def _nothing() -> None:
    """Read no rules of Numba."""


@contextlib.contextmanager
def _uncollected() -> Iterator[None]:
    """Keep Python from looking for garbage: all those objects stay until a kernel is made, a tenth of the time."""
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collecting:
            gc.enable()


def _given(context: Any, kind: Any) -> Any:
    """Return a value of the form of an argument of a type of Numba."""
    if isinstance(kind, TUPLES):
        return tuple(_given(context, k) for k in kind.types)
    if is_bare(kind):
        data = ir.Constant(context.get_value_type(types.CPointer(kind.dtype)), ir.Undefined)
        length = ir.Constant(context.get_value_type(types.intp), ir.Undefined)
        return Given(Pieces(Memory(kind.dtype, kind.ndim), data, [length] * kind.ndim))
    if isinstance(kind, types.Integer | types.Float | types.Boolean):
        return Number(kind, ir.Constant(context.get_value_type(kind), ir.Undefined))
    return Static(None) if kind == types.none else _Unknown()


def _entry(context: Any, module: Any, description: Any, body: Any, result: Any) -> Any:
    """Write the function that Numba calls, by its convention, around the body of a kernel."""
    context.declare_env_global(module, context.get_env_name(description))
    function, convention = context.declare_function(module, description), context.call_conv
    builder = ir.IRBuilder(function.append_basic_block("entry"))
    helper = convention.init_call_helper(builder)
    found = convention.decode_arguments(builder, description.argtypes, function)
    given = [leaf for k, v in zip(description.argtypes, found, strict=True) for leaf in _taken(context, builder, k, v)]
    made, kind = builder.call(body, given), description.restype
    made = made if isinstance(result, Number) else context.get_dummy_value()
    convention.return_value(builder, context.get_return_value(builder, kind, made))
    return helper


def _taken(context: Any, builder: Any, kind: Any, value: Any) -> list[Any]:
    """Return the leaves of :func:`_given` of an argument."""
    if isinstance(kind, TUPLES):
        parts = [builder.extract_value(value, k) for k in range(len(kind.types))]
        return [leaf for k, part in zip(kind.types, parts, strict=True) for leaf in _taken(context, builder, k, part)]
    if is_bare(kind):
        model = context.data_model_manager[kind]
        shape = model.get(builder, value, "shape")
        lengths = [builder.extract_value(shape, k) for k in range(kind.ndim)]
        return [model.get(builder, value, "data"), *lengths]
    return [value] if isinstance(kind, types.Integer | types.Float | types.Boolean) else []
