"""The types of lanes for Numba and LLVM; :mod:`rbm.online.kernels.lanes` has what is computed with them."""

from __future__ import annotations

from typing import Any

from llvmlite import binding, ir
from numba import types
from numba.core import cgutils
from numba.extending import models, register_model

__all__ = [
    "BYTES", "ROOMY", "ComplexLanes", "Lanes", "call", "is_complex", "lanes_of", "made_of", "parts_of", "vector_of",
]  # fmt: skip

#: Size of a register of lanes in bytes.
BYTES = 64
#: Whether the processor has registers of that size, and 32 of them. Elsewhere lanes are two registers of the usual 16.
ROOMY = bool(binding.get_host_cpu_features().get("avx512f"))


class Lanes(types.Type):
    """Real numbers of type `dtype`, one per parameter point."""

    def __init__(self, dtype: Any) -> None:
        self.dtype, self.width = dtype, BYTES * 8 // dtype.bitwidth
        super().__init__(name=f"Lanes({dtype}, {self.width})")

    @property
    def part(self) -> Lanes:
        """The type of real and imaginary part."""
        return self


class ComplexLanes(types.Type):
    """Complex numbers of type `dtype`, one per parameter point."""

    def __init__(self, dtype: Any) -> None:
        self.dtype, self.width = dtype, BYTES * 8 // dtype.underlying_float.bitwidth
        super().__init__(name=f"ComplexLanes({dtype}, {self.width})")

    @property
    def part(self) -> Lanes:
        """The type of real and imaginary part."""
        return Lanes(self.dtype.underlying_float)


@register_model(Lanes)
class _LanesModel(models.PrimitiveModel):
    def __init__(self, dmm: Any, fe_type: Any) -> None:
        super().__init__(dmm, fe_type, vector_of(fe_type))


@register_model(ComplexLanes)
class _ComplexLanesModel(models.StructModel):
    def __init__(self, dmm: Any, fe_type: Any) -> None:
        super().__init__(dmm, fe_type, [("real", fe_type.part), ("imag", fe_type.part)])


def lanes_of(dtype: Any) -> Lanes | ComplexLanes:
    """Return the type of lanes of numbers of a Numba type."""
    return ComplexLanes(dtype) if isinstance(dtype, types.Complex) else Lanes(dtype)


def vector_of(kind: Any) -> ir.VectorType:
    """Return the type of one register of LLVM."""
    return ir.VectorType(ir.DoubleType() if kind.part.dtype.bitwidth == 64 else ir.FloatType(), kind.width)


def is_complex(kind: Any) -> bool:
    """Return whether a type is that of complex lanes."""
    return isinstance(kind, ComplexLanes)


def parts_of(context: Any, builder: Any, kind: Any, value: Any) -> tuple[Any, Any]:
    """Return real and imaginary part as LLVM values; None for the imaginary part of real lanes."""
    if not is_complex(kind):
        return value, None
    return builder.extract_value(value, 0), builder.extract_value(value, 1)


def made_of(context: Any, builder: Any, kind: Any, real: Any, imag: Any) -> Any:
    """Return lanes from their parts; the imaginary part of real lanes is not looked at."""
    if not is_complex(kind):
        return real
    return cgutils.pack_struct(builder, [real, imag])


def call(builder: Any, name: str, *args: Any) -> Any:
    """Call a function of LLVM for registers, without its prefix and suffix."""
    vector = args[0].type
    suffix = f"v{vector.count}f{64 if isinstance(vector.element, ir.DoubleType) else 32}"
    kind = ir.FunctionType(vector, [vector] * len(args))
    return builder.call(cgutils.get_or_insert_function(builder.module, kind, f"llvm.{name}.{suffix}"), args)
