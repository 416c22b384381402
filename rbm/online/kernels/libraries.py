"""What becomes of the code of a kernel: all that it calls is its own, optimised once, and Python alone calls it."""

from __future__ import annotations

from typing import Any

from llvmlite import binding, ir
from numba.core.codegen import JITCodeLibrary

__all__ = ["KernelLibrary"]


class KernelLibrary(JITCodeLibrary):
    """The code of a kernel; its parts are its own, so that LLVM may change how they are called.

    scalar_loops : whether LLVM looks for loops of single numbers that could be put into registers; lanes are there
    """

    def __init__(self, codegen: Any, name: str, scalar_loops: bool = True) -> None:
        super().__init__(codegen, name)
        self._scalar_loops = scalar_loops
        self._own: set[str] = set()

    def _optimize_functions(self, ll_module: Any) -> None:
        ll_module.data_layout = self._codegen._data_layout
        self._own.update(function.name for function in ll_module.functions if not function.is_declaration)

    def _optimize_final_module(self) -> None:
        for function in self._final_module.functions:
            if not function.is_declaration and function.name not in self._own:
                function.linkage = binding.Linkage.internal
                # LLVM's engine looks for what other code calls by its name, in this library too, where it is hidden
                function.name = f"{function.name}.{self.name}"
        if not hasattr(self._codegen, "_pass_builder"):
            super()._optimize_final_module()
            return
        # Numba's passes without its first round, which gathers counts of references: nothing here is counted
        chosen = {} if self._scalar_loops else {"loop_vectorize": False, "slp_vectorize": False}
        passes, builder = self._codegen._module_pass_manager(**chosen)
        passes.run(self._final_module, builder)

    def serialize_using_object_code(self) -> tuple[str, str, tuple[bytes, bytes]]:
        """Return what is kept on disk: machine code and, where Numba keeps code to be linked, the names in it.

        To read what no other code links was most of the time in which a kernel is loaded, and most of its file.
        """
        self._ensure_finalized()
        names, nothing = ir.Module(self.name), ir.FunctionType(ir.VoidType(), [])
        trap = ir.Function(names, nothing, "llvm.trap")
        for function in self._final_module.functions:
            if not function.is_declaration and function.linkage == binding.Linkage.external:
                builder = ir.IRBuilder(ir.Function(names, nothing, function.name).append_basic_block())
                builder.call(trap, [])
                builder.unreachable()
        return self.name, "object", (self._get_compiled_object(), binding.parse_assembly(str(names)).as_bitcode())
