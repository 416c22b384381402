"""Functions that are only parts of kernels: typed and translated on their own, optimised only within a kernel.

Numba makes machine code, and wrappers for calls from Python and C, of every function that a kernel calls, and then
compiles them once more into the kernel. That is half of the time of a first use. A part of ours ends as LLVM's
intermediate code, which is linked into its callers.
"""

from __future__ import annotations

import ctypes
import os
from typing import Any, ClassVar

from llvmlite import binding
from numba.core import compiler_lock, types, typed_passes
from numba.core.codegen import JITCodeLibrary
from numba.core.compiler import CompilerBase, DefaultPassBuilder
from numba.core.compiler_machinery import register_pass

__all__ = ["KernelCompiler", "PartCompiler"]
UNUSED = ("WithLifting", "InlineClosureLikes", "RewriteSemanticConstants", "DeadBranchPrune", "RewriteDynamicRaises", "MakeFunctionToJitFunction", "InlineInlinables", "FindLiterallyCalls", "LiteralUnroll", "LiteralPropagationSubPipelinePass", "InlineOverloads", "NopythonRewrites", "NoPythonSupportedFeatureValidation", "DumpParforDiagnostics")
VEC=os.environ.get("V","0")=="1"
LEVEL=int(os.environ.get("LEVEL","3"))
NOINL=int(os.environ.get("NOINL","3"))

class PartLibrary(JITCodeLibrary):
    """The intermediate code of one part, with the parts that it calls, which callers link."""

    def _optimize_functions(self, ll_module: Any) -> None:
        ll_module.data_layout = self._codegen._data_layout
        for function in ll_module.functions:
            if not function.is_declaration and sum(1 for _ in function.blocks) > NOINL and "::" not in function.name:
                function.add_function_attribute("noinline")

    def finalize(self) -> None:
        """Link the parts that this one calls; nothing is optimised and no machine code is made."""
        compiler_lock.require_global_compiler_lock()
        self._raise_if_finalized()
        for library in dict.fromkeys(self._linking_libraries):
            self._reload_init.update(library._reload_init)
            self._final_module.link_in(library._get_module_for_linking(), preserve=True)
        self._finalize_dynamic_globals()
        self._finalized = True

    def get_pointer_to_function(self, name: str) -> int:
        """Return a function that raises MemoryError: a part has no code that Python could call."""
        return ctypes.cast(ctypes.pythonapi.PyErr_NoMemory, ctypes.c_void_p).value or 0

    @property
    def codegen(self) -> Any:
        """Numba's generator of code, which has no environments to set where there is no code."""
        return _Unset(super().codegen)


class _Unset:
    """Numba's generator of code, without its :meth:`set_env`."""

    def __init__(self, codegen: Any) -> None:
        self._codegen = codegen

    def __getattr__(self, name: str) -> Any:
        return getattr(self._codegen, name)

    def set_env(self, name: str, environment: Any) -> None:
        """Do nothing."""


class KernelLibrary(JITCodeLibrary):
    """The code of a kernel."""

    def _optimize_functions(self, ll_module: Any) -> None:
        ll_module.data_layout = self._codegen._data_layout
        self._own = {f.name for f in ll_module.functions if not f.is_declaration} | getattr(self, "_own", set())

    def _optimize_final_module(self) -> None:
        for function in self._final_module.functions:
            if not function.is_declaration and function.name not in self._own:
                function.linkage = binding.Linkage.internal
        builder = self._codegen._pass_builder(opt=LEVEL, loop_vectorize=VEC, slp_vectorize=VEC)
        manager = builder.getModulePassManager()
        manager.run(self._final_module, builder)


class _Lowering(typed_passes.NativeLowering):
    """Numba's lowering into a library of another kind."""

    library: type

    def run_pass(self, state: Any) -> bool:
        """Lower one function."""
        state.library = self.library(state.targetctx.codegen(), state.func_id.func_qualname)
        state.library.enable_object_caching()
        return bool(super().run_pass(state))


@register_pass(mutates_CFG=True, analysis_only=False)
class PartLowering(_Lowering):
    """Numba's lowering into a :class:`PartLibrary`."""

    _name = "rbm_part_lowering"
    library = PartLibrary


@register_pass(mutates_CFG=True, analysis_only=False)
class KernelLowering(_Lowering):
    """Numba's lowering into a :class:`KernelLibrary`."""

    _name = "rbm_kernel_lowering"
    library = KernelLibrary


class TypingContext:
    """Numba's rules of types, with the answers that they gave before for functions of Numba's own."""

    known: ClassVar[dict[Any, Any]] = {}

    def __init__(self, context: Any) -> None:
        self._context = context

    def __getattr__(self, name: str) -> Any:
        return getattr(self._context, name)

    def resolve_function_type(self, function: Any, args: Any, kws: Any) -> Any:
        """Return the signature of a call."""
        if type(function) is not types.Function or kws:
            return self._context.resolve_function_type(function, args, kws)
        key = function, tuple(args)
        made = self.known.get(key)
        if made is None:
            made = self._context.resolve_function_type(function, args, kws)
            if made is not None:
                self.known[key] = made
        return made


class PartCompiler(CompilerBase):
    """Numba's pipeline with :class:`PartLowering` in the place of its own."""

    lowering: Any = PartLowering

    def __init__(self, typingctx: Any, *rest: Any) -> None:
        super().__init__(TypingContext(typingctx), *rest)

    def define_pipelines(self) -> list[Any]:
        """Return the passes."""
        manager = DefaultPassBuilder.define_nopython_pipeline(self.state)
        passes = [(p, what) for p, what in manager.passes if p.__name__ not in UNUSED]
        manager.passes[:] = [(self.lowering if p is typed_passes.NativeLowering else p, what) for p, what in passes]
        manager._finalized = False
        manager.finalize()
        return [manager]


class KernelCompiler(PartCompiler):
    """Numba's pipeline with :class:`KernelLowering` in the place of its own."""

    lowering = KernelLowering
