"""How much memory a greedy takes, said before it starts."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp

from rbm.affine.compiled_products import TALL
from rbm.affine.system import AffineSystem
from rbm.arithmetic.columns import BLOCK
from rbm.errors import ModelError, ParameterError
from rbm.reduction.projected_system import together
from rbm.storage.workspace import Workspace

__all__ = [
    "Memory", "MemoryUse", "available_memory", "check_memory", "expected_memory", "memory_use", "peak_memory",
    "resident_memory",
]  # fmt: skip

#: Arrays (n, b) that are alive at once where b functionals are orthonormalised and solved with (counted in the code): W
#: as hi + lo, the panel, its images, new vectors and representers, right-hand sides and solutions of r + b columns.
AT_ONCE = 10
#: Arrays (n, m) that are alive at once where m snapshots are compressed (a test counts them): the vectors, the array of
#: them, and what :func:`lowrank.pod` makes of it.
POD = 6
#: Blocks of temporaries beside them, and where products with real matrices are compiled.
BLOCKS, COMPILED = 8, 4
#: Bytes per stored entry of SuperLU's factors, row numbers and what is stored but zero included (measured: 12 to 14).
ENTRY = 14
#: Entries of both factors per entry of P, where the solver does not tell their size (meshes in the plane: 8 to 20).
FILL = 20


@dataclass(frozen=True)
class Memory:
    """What a greedy takes, in bytes (:func:`expected_memory`)."""

    arrays: int  #: tall arrays in memory
    files: int  #: the same in the files of the workspace
    factors: int  #: factors of P and of one A(mu)
    measured: bool  #: the size of the factors is that of P's, twice; else it is estimated from the entries of P

    @property
    def total(self) -> int:
        """Memory that is taken: arrays and factors."""
        return self.arrays + self.factors

    def __str__(self) -> str:
        files = f", {shown(self.files)} in files" if self.files else ""
        how = "" if self.measured else ", estimated"
        return f"{shown(self.total)} (arrays {shown(self.arrays)}, factors {shown(self.factors)}{how}){files}"


@dataclass(frozen=True)
class MemoryUse:
    """Memory of the process in which a greedy ran, in bytes."""

    expected: int  #: in use when it started, and what :func:`expected_memory` says for a basis of this size
    peak: int  #: the most that the process ever used (resident, files that are mapped included); 0 where not known


def expected_memory(
    model: AffineSystem, size: int, *, batch: int = 1, workspace: Any = None, duals: int = 0, snapshots: int = 0
) -> Memory:
    """Return what a greedy of `size` vectors takes, beyond the model itself.

    The functionals of the residual's range and their Riesz representers, 2 n (Qf + Qa N) numbers, the basis, P times it
    and its images, and what a step needs. With a workspace the former are in files, whose pages the system keeps in
    memory as long as there is room. Factors of P and of one A(mu) are counted as large as those of P are.

    Raises ParameterError for numbers that are none.

    size : N; batch : snapshots a step; workspace : a folder, or None; duals : bases of dual problems, counted as large;
    snapshots : vectors of a trajectory held and compressed together (`pod_greedy`), before a step's functionals
    """
    for name, number, least in (
        ("size", size, 1),
        ("batch", batch, 1),
        ("duals", duals, 0),
        ("snapshots", snapshots, 0),
    ):
        if isinstance(number, bool) or not isinstance(number, int | np.integer) or number < least:
            raise ParameterError(f"{name} must be a whole number of at least {least}, got {number!r}")
    n, stack = model.dimension, model.stack
    kinds = [a.dtype for a in model.operator_terms if getattr(a, "dtype", None) is not None]
    itemsize = np.result_type(float, model.rhs_terms, *kinds).itemsize
    terms, size = stack.terms, min(size, n)
    rhs = model.rhs_terms.shape[1]
    tall = (2 * (rhs + terms * size) + 2 * size) * n + size * len(stack.owner)
    width = max(rhs, terms * min(batch, together(n, terms)))
    blocks = COMPILED if n >= TALL and itemsize == 8 else BLOCKS
    block = min(BLOCK, 8 * n * width) * blocks + 64 * n  # and eight columns, row by row
    step = max(AT_ONCE * n * width, POD * n * snapshots) + 4 * n * batch
    kept, made = (0, tall * itemsize) if workspace is not None else (tall * itemsize, 0)
    factors, measured = _factors(model)
    arrays = (1 + duals) * (kept + n * size * itemsize) + step * itemsize + block
    return Memory(int(arrays), int((1 + duals) * made), int(2 * factors), measured)


def _factors(model: AffineSystem) -> tuple[int, bool]:
    """Return the bytes of the factors of P, and whether that is what they take."""
    product: Any = model.inner_product.matrix
    known = None
    if model.solver is None:
        known = getattr(model.inner_product.factorized(), "nbytes", None)
    if known is not None:
        return int(known), True
    if sp.issparse(product):
        return FILL * ENTRY * product.nnz, False
    return product.nbytes, True


def available_memory() -> int | None:
    """Return the bytes that this process can still take: of the machine, and of its control group; None if unknown."""
    found = []
    with suppress(OSError, ValueError, IndexError):
        lines = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text().splitlines())
        found.append(1024 * int(lines["MemAvailable"].split()[0]))
    if not found:
        with suppress(OSError, ValueError, AttributeError):
            found.append(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") - resident_memory())
    folder = Path("/sys/fs/cgroup")
    for limit, used in (
        ("memory.max", "memory.current"),
        ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes"),
    ):
        with suppress(OSError, ValueError):
            found.append(int((folder / limit).read_text()) - int((folder / used).read_text()) + _given_back(folder))
    return max(min(found), 0) if found else None


def _given_back(folder: Path) -> int:
    """Return the bytes of files in memory, which a control group counts and gives up when they are needed."""
    for name in ("memory.stat", "memory/memory.stat"):
        with suppress(OSError, ValueError):
            lines = dict(line.split() for line in (folder / name).read_text().splitlines())
            return int(lines.get("file", lines.get("cache", 0)))
    return 0


def resident_memory() -> int:
    """Return the bytes that this process has in memory now; 0 where that is not known."""
    with suppress(OSError, ValueError):
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return 0


def peak_memory() -> int:
    """Return the most bytes that this process ever had in memory; 0 where that is not known."""
    # getrusage would count what a larger process had that started this one
    with suppress(OSError, ValueError, StopIteration):
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(1024 * int(line.split()[1]) for line in lines if line.startswith("VmHWM:"))
    try:
        import resource
    except ImportError:  # Windows
        return 0
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def memory_use(
    model: AffineSystem, size: int, batch: int, workspace: Any, before: int, snapshots: int = 0
) -> MemoryUse:
    """Return expected and largest memory of a greedy that has made `size` vectors; `before`: in use at its start."""
    memory = expected_memory(model, size, batch=batch, workspace=workspace, snapshots=snapshots)
    return MemoryUse(before + _to_come(model, memory), peak_memory())


def check_memory(
    model: AffineSystem, size: int, batch: int = 1, workspace: Workspace | None = None, snapshots: int = 0
) -> Memory:
    """Return :func:`expected_memory`; raise ModelError, with the numbers and what to do, for what cannot fit."""
    expected = partial(expected_memory, model, batch=batch, snapshots=snapshots)
    memory, free = expected(size, workspace=workspace), available_memory()
    wanted = _to_come(model, memory)
    what = f"{size} basis vectors of {model.dimension} unknowns"
    if free is not None and wanted > free:
        fits = _most(lambda k: _to_come(model, expected(k, workspace=workspace)) <= free, size)
        less = f"max_basis={fits} fits" if fits else "not even one vector fits"
        other = expected(size, workspace="folder")
        ways = f'workspace="folder" (then {shown(_to_come(model, other))}, and {shown(other.files)} in files), '
        raise ModelError(
            f"{what} take about {shown(wanted)} of memory, {shown(free)} are free: "
            f"give {ways if workspace is None else ''}fewer vectors ({less}), or another solver"
        )
    if workspace is not None and memory.files > workspace.free:
        fits = _most(lambda k: expected(k, workspace=workspace).files <= workspace.free, size)
        raise ModelError(
            f"{what} take about {shown(memory.files)} of the disk, {shown(workspace.free)} are free in "
            f"{workspace.folder}: give another folder, or fewer vectors (max_basis={fits} fits)"
        )
    return memory


def _to_come(model: AffineSystem, memory: Memory) -> int:
    """Return what is not taken yet: P is factorised already, but by a solver of the user."""
    return memory.arrays + (memory.factors // 2 if model.solver is None else memory.factors)


def _most(fits: Any, size: int) -> int:
    """Return the largest number of vectors up to `size` that fits, by bisection."""
    low, high = 0, size
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if fits(middle) else (low, middle - 1)
    return low


def shown(number: int) -> str:
    """Return a number of bytes in words."""
    return f"{number / 1e9:.1f} GB" if number >= 1e9 else f"{max(number, 1e5) / 1e6:.1f} MB"
