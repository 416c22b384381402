"""A stand-in for CuPy that compiles kernels with g++ and runs their threads on the CPU (:file:`cuda_on_cpu.hpp`).

Its arrays are those of array-api-strict. What the package asks of CuPy for the fused kernel is here, and no more.
"""

from __future__ import annotations

import ctypes
import hashlib
import shutil
import subprocess
import tempfile
import types
from functools import cache
from pathlib import Path
from typing import Any

import array_api_strict
import array_api_strict._linalg  # before the module is renamed
import numpy as np
import pytest

HERE = Path(__file__).parent
ERRORS = {1: "threads wait at different barriers", 2: "memory behind the shared memory of the block was written"}


@cache
def folder() -> Path:
    return Path(tempfile.mkdtemp(prefix="emulated-gpu-"))


def compiler() -> str:
    """Return g++, or skip the test."""
    found = shutil.which("g++")
    if found is None:
        pytest.skip("no C++ compiler (g++): the kernel of the GPU is not run here")
    return found


@cache
def library(code: str) -> ctypes.CDLL:
    """Compile CUDA C++ for the CPU."""
    text = f'#include "{HERE / "cuda_on_cpu.hpp"}"\n{code}\n' + (
        'extern "C" int emulate(void** given, unsigned blocks, unsigned threads, size_t bytes, unsigned order)'
        "{ return emulated::launch(&query, given, blocks, threads, bytes, order); }\n"
    )
    name = folder() / hashlib.sha256(text.encode()).hexdigest()[:24]
    name.with_suffix(".cpp").write_text(text)
    # products and sums are fused where that is not forbidden, as CUDA does
    flags = ["-O1", "-std=c++17", "-shared", "-fPIC", "-ffp-contract=fast", "-march=native", "-w"]
    command = [compiler(), *flags, "-o", str(name.with_suffix(".so")), str(name.with_suffix(".cpp"))]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(done.stderr[:4000])
    return ctypes.CDLL(str(name.with_suffix(".so")))


class Kernel:
    """CuPy's RawKernel, in an order of threads."""

    def __init__(self, code: str, cupy: EmulatedCupy) -> None:
        self.code, self.cupy = code, cupy
        library(code)  # CuPy compiles when a function is asked for
        self.max_dynamic_shared_size_bytes = 48 << 10

    def __call__(self, grid: tuple[int], block: tuple[int], arguments: tuple[Any, ...], *, shared_mem: int) -> None:
        assert len(grid) == len(block) == 1
        assert grid[0] > 0
        assert shared_mem <= self.max_dynamic_shared_size_bytes <= self.cupy.shared
        values = [_value(a) for a in arguments]
        given = (ctypes.c_void_p * len(values))(*(ctypes.addressof(v) for v in values))
        self.cupy.launches.append((grid[0], self.code, arguments))
        error = library(self.code).emulate(given, grid[0], block[0], ctypes.c_size_t(shared_mem), self.cupy.order)
        assert error == 0, ERRORS[error]


def _value(argument: Any) -> Any:
    if isinstance(argument, np.int64):
        return ctypes.c_int64(int(argument))
    array = argument._array
    assert array.flags.c_contiguous
    return ctypes.c_void_p(array.ctypes.data)


class EmulatedCupy(types.ModuleType):
    """The module."""

    def __init__(self, order: int = 0, shared: int = 227 << 10) -> None:
        super().__init__("cupy")
        self.order, self.shared = order, shared
        self.ndarray = type("ndarray", (), {})  # array-api-compat asks for it
        self.launches: list[tuple[int, str, tuple[Any, ...]]] = []
        runtime = types.SimpleNamespace(is_hip=False, memGetInfo=lambda: (1 << 34, 1 << 34))
        self.cuda = types.SimpleNamespace(runtime=runtime, Device=self._device)

    @property
    def points(self) -> int:
        """The points of a block in the last launch."""
        return int(self.launches[-1][1].split("#define POINTS ")[1].split()[0])

    def _device(self, _: Any) -> Any:
        return _Device({"MaxSharedMemoryPerBlockOptin": self.shared})

    def RawModule(self, *, code: str) -> Any:
        return types.SimpleNamespace(get_function=lambda name: {"query": Kernel(code, self)}[name])

    def get_default_memory_pool(self) -> Any:
        return types.SimpleNamespace(free_bytes=lambda: 0)

    def ascontiguousarray(self, array: Any) -> Any:
        if array._array.flags.c_contiguous:
            return array
        return array_api_strict.asarray(np.ascontiguousarray(array._array), device=array.device)


class _Device:
    def __init__(self, attributes: dict[str, int]) -> None:
        self.attributes = attributes

    def __enter__(self) -> _Device:
        return self

    def __exit__(self, *_: object) -> None:
        pass


@pytest.fixture
def emulated(monkeypatch: pytest.MonkeyPatch) -> EmulatedCupy:
    """CuPy's stand-in: arrays of array-api-strict then count as CuPy's."""
    import sys

    compiler()
    cupy = EmulatedCupy()
    monkeypatch.setitem(sys.modules, "cupy", cupy)
    monkeypatch.setattr(array_api_strict, "__name__", "array_api_strict as cupy")
    return cupy
