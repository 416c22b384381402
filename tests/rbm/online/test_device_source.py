"""The text of the fused kernel: the compilers of CUDA take it, for every variant, without a GPU."""

from __future__ import annotations

import ctypes
import importlib.util
import itertools
import shutil
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from rbm.online.device.source import THREADS, Sizes, Variant, shared_bytes, source

VARIANTS = [Variant(s, c, d, 16, 8) for s, c, d in itertools.product((False, True), repeat=3)]
FEW = [Variant(False, True, True, points, 1) for points in (8, 1)]
#: CuPy passes this option or a newer standard, and others about the device.
STANDARD = "-std=c++14"


@cache
def nvrtc() -> Any:
    """Return NVIDIA's compiler for run time, which needs no GPU: pip install nvidia-cuda-nvrtc-cu12."""
    found = importlib.util.find_spec("nvidia")
    places = [] if found is None else [Path(p) for p in found.submodule_search_locations or ()]
    files = [f for place in places for f in place.glob("*/lib/libnvrtc.so.*")]
    if not files:
        return None
    for builtins in files[0].parent.glob("libnvrtc-builtins.so.*"):  # NVRTC looks for it by its name, not beside itself
        ctypes.CDLL(str(builtins))
    return ctypes.CDLL(str(files[0]))


def ptx(code: str, architecture: str) -> str:
    """Compile with NVRTC as CuPy does; fail with its log."""
    library, program, size = nvrtc(), ctypes.c_void_p(), ctypes.c_size_t()
    assert library.nvrtcCreateProgram(ctypes.byref(program), code.encode(), b"query.cu", 0, None, None) == 0
    options = [STANDARD.encode(), f"--gpu-architecture={architecture}".encode()]
    status = library.nvrtcCompileProgram(program, len(options), (ctypes.c_char_p * len(options))(*options))
    library.nvrtcGetProgramLogSize(program, ctypes.byref(size))
    log = ctypes.create_string_buffer(size.value)
    library.nvrtcGetProgramLog(program, log)
    assert status == 0, log.value.decode()[:4000]
    library.nvrtcGetPTXSize(program, ctypes.byref(size))
    made = ctypes.create_string_buffer(size.value)
    library.nvrtcGetPTX(program, made)
    library.nvrtcDestroyProgram(ctypes.byref(program))
    return made.value.decode()


@pytest.mark.parametrize("variant", VARIANTS + FEW, ids=str)
def test_nvrtc_takes_it(variant: Variant) -> None:
    if nvrtc() is None:
        pytest.skip("no NVRTC: pip install nvidia-cuda-nvrtc-cu12")
    made = ptx(source(variant), "compute_80")
    assert ".entry query(" in made
    assert f".maxntid {THREADS}" in made


def test_rounded_operations_are_not_fused() -> None:
    """What the program of coefficients and the compensated sums rest on: _rn operations, each by itself."""
    if nvrtc() is None:
        pytest.skip("no NVRTC: pip install nvidia-cuda-nvrtc-cu12")
    made = ptx(source(Variant(False, False, True, 16, 8)), "compute_90")
    for operation in ("add.rn.f64", "mul.rn.f64", "div.rn.f64", "sqrt.rn.f64", "fma.rn.f64", "ld.shared.v2.f64"):
        assert operation in made


def test_registers_and_spills(tmp_path: Path) -> None:
    """ptxas gives each thread registers for two blocks a multiprocessor (65536 / 512), and spills few or none."""
    nvcc = shutil.which("nvcc")
    if nvcc is None:
        pytest.skip("no nvcc")
    for variant in (VARIANTS[0], VARIANTS[3]):
        (tmp_path / "query.cu").write_text(source(variant))
        flags = [STANDARD, "-arch=sm_90", "-cubin", "-Xptxas", "-v", "-o", str(tmp_path / "query.cubin")]
        done = subprocess.run([nvcc, *flags, str(tmp_path / "query.cu")], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        registers = int(done.stderr.split("Used ")[1].split()[0])
        spilled = int(done.stderr.split(" bytes spill stores")[0].split()[-1])
        assert registers <= 128, variant
        assert spilled <= 64, variant


def test_shared_memory() -> None:
    """Of 16 points with N = 30 and nine terms: three blocks fit the 227 KiB of an H100."""
    variant, zeros = Variant(False, False, True, 16, 1), dict.fromkeys(Sizes._fields, 0)
    sizes = Sizes(**{**zeros, "n": 30, "qa": 9, "qf": 1, "blocks": 5, "arena": 16 * 495 + 8 * 2 * 30})
    assert shared_bytes(variant, sizes) == 8 * (16 * 495 + 480 + 16 * (40 + 7) + 80)
    assert 3 * (shared_bytes(variant, sizes) + 1024) <= 228 << 10
