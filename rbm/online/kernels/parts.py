"""How Numba compiles here: functions that are only parts of kernels end as intermediate code, in a short pipeline.

Numba makes machine code, and wrappers for calls from Python and C, of every function that a kernel calls, and compiles
each of them once more into the kernel; and it asks all of its rules for the type of every `i + 1`. That was most of
the time of a first use. Here a part is typed and translated, then linked into its callers; a kernel alone is
optimised. None of this changes what is computed: no rule of arithmetic is relaxed.
"""

from __future__ import annotations

import functools
from typing import Any, ClassVar

from numba.core import compiler_lock, typed_passes, types
from numba.core.codegen import JITCodeLibrary
from numba.core.compiler import CompilerBase, DefaultPassBuilder
from numba.core.compiler_machinery import register_pass
from numba.core.registry import CPUDispatcher

from rbm.online.kernels.libraries import KernelLibrary

__all__ = ["InlinedCompiler", "Kernel", "KernelCompiler", "LaneCompiler", "Part", "PartCompiler"]

#: Passes of Numba for what kernels do not have: closures, lists, literals, arrays as operands, exceptions.
UNUSED = {
    "DeadBranchPrune", "DumpParforDiagnostics", "FindLiterallyCalls", "InlineClosureLikes", "InlineInlinables",
    "InlineOverloads", "LiteralPropagationSubPipelinePass", "LiteralUnroll", "MakeFunctionToJitFunction",
    "NoPythonSupportedFeatureValidation", "NopythonRewrites", "RewriteDynamicRaises", "RewriteSemanticConstants",
    "WithLifting",
}  # fmt: skip
#: Functions of more blocks than this have loops or choices: they stay functions, which are optimised once.
SHORT = 3


class PartLibrary(JITCodeLibrary):
    """The intermediate code of one part and of those that it calls, for callers to link."""

    separate = True

    def _optimize_functions(self, ll_module: Any) -> None:
        ll_module.data_layout = self._codegen._data_layout
        for function in ll_module.functions:
            if self.separate and not function.is_declaration and sum(1 for _ in function.blocks) > SHORT:
                function.add_function_attribute("noinline")

    def finalize(self) -> None:
        """Link the parts that this one calls; nothing is optimised, and no machine code is made."""
        compiler_lock.require_global_compiler_lock()
        self._raise_if_finalized()
        for library in dict.fromkeys(self._linking_libraries):
            if hasattr(library, "_reload_init"):  # Numba 0.60 has none
                self._reload_init.update(library._reload_init)
            self._final_module.link_in(library._get_module_for_linking(), preserve=True)
        self._finalize_dynamic_globals()
        self._finalized = True

    def get_pointer_to_function(self, name: str) -> int:
        """Return 0: there is no code that could be called."""
        self._ensure_finalized()
        return 0

    @property
    def codegen(self) -> Any:
        """Numba's generator of code, which sets no environment where there is no code."""
        return _WithoutCode(super().codegen)


class InlinedLibrary(PartLibrary):
    """The same for a part that may be compiled into its callers however long it is."""

    separate = False


class _WithoutCode:
    def __init__(self, codegen: Any) -> None:
        self._codegen = codegen

    def __getattr__(self, name: str) -> Any:
        return getattr(self._codegen, name)

    def set_env(self, name: str, environment: Any) -> None:
        """Do nothing: nothing here is ever called."""


class _Lowering(typed_passes.NativeLowering):
    """Numba's translation, into a library of another kind."""

    library: type

    def run_pass(self, state: Any) -> bool:
        """Translate one function."""
        state.library = self.library(state.targetctx.codegen(), state.func_id.func_qualname)
        state.library.enable_object_caching()
        return bool(super().run_pass(state))


@register_pass(mutates_CFG=True, analysis_only=False)
class _PartLowering(_Lowering):
    _name: Any = "rbm_part_lowering"
    library = PartLibrary


@register_pass(mutates_CFG=True, analysis_only=False)
class _InlinedLowering(_Lowering):
    _name: Any = "rbm_inlined_lowering"
    library = InlinedLibrary


@register_pass(mutates_CFG=True, analysis_only=False)
class _KernelLowering(_Lowering):
    _name: Any = "rbm_kernel_lowering"
    library = KernelLibrary

    def run_pass(self, state: Any) -> bool:
        """Translate a kernel that was not translated before."""
        state.status.fail_reason = None
        return super().run_pass(state)


class TypingContext:
    """Numba's rules of types, with the answers that they gave for its own functions and operators before."""

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


class _Unread:
    """A context of Numba that does not read all its rules, half a second of work: a translated kernel needs few."""

    def __init__(self, context: Any) -> None:
        self._context = context

    def __getattr__(self, name: str) -> Any:
        return getattr(self._context, name)

    def refresh(self) -> None:
        """Read nothing: a translated kernel needs few rules."""


class PartCompiler(CompilerBase):
    """Numba's pipeline for parts of kernels."""

    lowering: Any = _PartLowering

    def __init__(self, typingctx: Any, *others: Any) -> None:
        super().__init__(TypingContext(typingctx), *others)

    def define_pipelines(self) -> list[Any]:
        """Return Numba's passes without those that are not used, and with another translation."""
        manager = DefaultPassBuilder.define_nopython_pipeline(self.state)
        used = [(made, what) for made, what in manager.passes if made.__name__ not in UNUSED]
        manager.passes[:] = [(self.lowering if p is typed_passes.NativeLowering else p, what) for p, what in used]
        manager._finalized = False
        manager.finalize()
        return [manager]


class InlinedCompiler(PartCompiler):
    """Numba's pipeline for parts that may be compiled into their callers."""

    lowering = _InlinedLowering


class KernelCompiler(PartCompiler):
    """The pipelines for kernels: they are translated here or, if that is not possible, by Numba."""

    lowering = _KernelLowering
    #: Whether LLVM tries to put loops over single numbers into registers.
    scalar_loops = True

    def __init__(self, typingctx: Any, targetctx: Any, *others: Any) -> None:
        super().__init__(_Unread(typingctx), _Unread(targetctx), *others)

    def define_pipelines(self) -> list[Any]:
        """Return both pipelines; Numba tries one after the other."""
        from rbm.online.kernels.translated import translating  # not needed for kernels that come from the disk

        return [translating(), *super().define_pipelines()]


class LaneCompiler(KernelCompiler):
    """The pipelines for kernels all of whose long loops are written in lanes."""

    scalar_loops = False


class Part:
    """A function that only compiled code calls; what Numba knows of it is made when Numba asks.

    A kernel that is translated here, or comes from the disk, needs the function alone.
    inline : whether it may be compiled into its callers however long it is
    """

    def __init__(self, function: Any, inline: bool, options: dict[str, Any]) -> None:
        functools.update_wrapper(self, function)
        self.py_func, self.inline, self._options = function, inline, options

    def __call__(self, *args: Any) -> Any:
        """Raise TypeError: there is no machine code of a part."""
        raise TypeError(f"{self.py_func.__name__} is a part of kernels, which only compiled code calls")

    @property
    def _numba_type_(self) -> Any:
        """The type that Numba gives to a part when it meets one in a function: that of its own record of it."""
        return types.Dispatcher(self._dispatcher)

    @functools.cached_property
    def _dispatcher(self) -> Any:
        pipeline = InlinedCompiler if self.inline else PartCompiler
        return CPUDispatcher(self.py_func, targetoptions=self._options, pipeline_class=pipeline)


class Kernel(CPUDispatcher):
    """A function that Python calls."""

    def _compilation_chain_init_hook(self) -> None:
        """Do not look for extensions of Numba yet, in all packages that are installed.

        Kernels take numbers, arrays and tuples of them. Where Numba's own pipeline compiles one, it loads extensions
        when it reads its rules (:mod:`rbm.online.kernels.translated`).
        """
