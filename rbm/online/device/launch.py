"""The fused kernel, compiled by CuPy when a model is first asked for answers, and called for pieces of a batch."""

from __future__ import annotations

import importlib
import warnings
from typing import Any, NamedTuple

import numpy as np

from lowrank.arrays import beside, device, namespace, numpy_dtype
from rbm.online.device.packing import DeviceModel, pack
from rbm.online.device.source import LARGEST, STATES, THREADS, Sizes, Variant, shared_bytes, source

__all__ = ["DeviceAnswers", "FusedModel", "cupy_of"]

SOLVED, INDEFINITE = STATES.index("SOLVED"), STATES.index("INDEFINITE")
#: Shared memory that the system takes for each block.
RESERVED = 1024
#: Shared memory that every GPU has for a block.
LIMIT = 48 << 10
#: The address of an array that is not there. None would be no address of an argument at all.
NOWHERE = np.int64(0)
#: Largest height of the stack of a program; a thread keeps it in its own memory.
DEEPEST = 32


class DeviceAnswers(NamedTuple):
    """The answers for M points, on the device."""

    gamma: Any  #: (M, N), or (M, 0) if it was not asked for
    value: Any  #: (M,)
    floor: Any  #: (M,)
    resolved: Any  #: (M,)
    outputs: Any  #: (M, outputs)
    output_bounds: Any  #: (M, outputs)
    state: Any  #: (M,)


class _Ready(NamedTuple):
    """A compiled variant with its model on the device."""

    kernel: Any
    variant: Variant
    shared: int
    integers: Any
    numbers: Any


def cupy_of(array: Any) -> Any | None:
    """Return CuPy if `array` is its and lives on a GPU of NVIDIA; else None."""
    if not namespace(array).__name__.endswith("cupy"):
        return None
    cupy = importlib.import_module("cupy")
    return None if cupy.cuda.runtime.is_hip else cupy


class FusedModel:
    """Answers pieces of a batch by one kernel: assembly, solution, residual norm, bounds, outputs.

    model : in NumPy's arrays; hermitian : whether its operators are
    like : an array where answers are to live
    """

    def __init__(self, model: DeviceModel, hermitian: bool, like: Any) -> None:
        self.model, self.hermitian, self.like = model, hermitian, like
        self.single = model.operators.real.dtype == np.float32
        self.is_complex = "c" in (model.operators.dtype.kind, model.rhs.dtype.kind)
        self._ready: dict[tuple[bool, bool], _Ready | None] = {}

    @staticmethod
    def fits(model: DeviceModel) -> bool:
        """Return whether the kernel is made for such a model: square, small, with a program that is not too deep."""
        _, k, n = model.operators.shape
        return k == n and 0 < n <= LARGEST and model.program.depth <= DEEPEST and len(model.operators) > 0

    def answer(self, mus: Any, theta: Any, phi: Any, beta: Any, keep: bool) -> DeviceAnswers | None:
        """Return the answers at points mus (M, p); None where a point has none, which another way has to name.

        theta (M, Qa), phi (M, Qf), beta (M,) : what the program does not evaluate, else None
        keep : also gamma
        """
        real = theta is None or numpy_dtype(theta).kind != "c"
        min_theta = beta is None and len(self.model.finish.stability) > 0
        ready = self._variant(self.hermitian and real, min_theta)
        if ready is None:
            return None
        made = self._room(mus.shape[0], keep)
        given = mus, theta, phi, beta
        self._launch(ready, given, None, made)
        xp = namespace(made.state)
        failed = made.state != SOLVED
        if ready.variant.definite and bool(xp.any(failed)):
            rows = xp.astype(xp.nonzero(made.state == INDEFINITE)[0], xp.int64)
            other = self._variant(False, min_theta) if rows.shape[0] else None
            if other is not None:
                self._launch(other, given, rows, made)
                failed = made.state != SOLVED
        return None if bool(xp.any(failed)) else made

    def _room(self, count: int, keep: bool) -> DeviceAnswers:
        xp, where = namespace(self.like), device(self.like)
        own = (("float64", "complex128"), ("float32", "complex64"))[self.single][self.is_complex]
        shape = count, len(self.model.finish.norms)

        def array(dtype: str, *sizes: int) -> Any:
            return xp.empty(sizes, dtype=getattr(xp, dtype), device=where)

        gamma = array(own, count, self.model.operators.shape[2] if keep else 0)
        outputs = array("complex128" if self.is_complex else "float64", *shape), array("float64", *shape)
        norms = array("float64", count), array("float64", count), array("bool", count)
        return DeviceAnswers(gamma, *norms, *outputs, array("int8", count))

    def _launch(self, ready: _Ready, given: tuple[Any, ...], rows: Any, to: DeviceAnswers) -> None:
        """Start the kernel for all points, or for those with the numbers `rows` (K,)."""
        cupy, xp = cupy_of(self.like), namespace(self.like)
        assert cupy is not None
        wide = xp.complex128 if ready.variant.is_complex else xp.float64
        mus, theta, phi, beta = given
        types = (mus, xp.float64), (theta, wide), (phi, wide), (beta, xp.float64)
        arrays = [NOWHERE if a is None else cupy.ascontiguousarray(xp.astype(a, t, copy=False)) for a, t in types]
        count = mus.shape[0] if rows is None else rows.shape[0]
        inputs = ready.integers, ready.numbers, *arrays, NOWHERE if rows is None else rows, np.int64(count)
        outputs = (to.gamma if to.gamma.shape[1] else NOWHERE, *to[1:])
        blocks = -(-count // ready.variant.points)
        with cupy.cuda.Device(device(self.like)):
            ready.kernel((blocks,), (THREADS,), (*inputs, *outputs), shared_mem=ready.shared)

    def _variant(self, definite: bool, min_theta: bool) -> _Ready | None:
        key = definite, min_theta
        if key not in self._ready:
            self._ready[key] = self._compiled(*key)
        return self._ready[key]

    def _compiled(self, definite: bool, min_theta: bool) -> _Ready | None:
        """Compile for as many points a block as leave room for two blocks; None if not even one point fits."""
        cupy = cupy_of(self.like)
        assert cupy is not None
        with cupy.cuda.Device(device(self.like)) as there:
            limit = int(there.attributes.get("MaxSharedMemoryPerBlockOptin", LIMIT))
            made: list[tuple[Variant, Sizes, int, Any, Any]] = []
            for points in (16, 8, 4, 2, 1):
                variant = Variant(self.single, self.is_complex, definite, points, self.model.program.depth)
                sizes, integers, numbers = pack(self.model, variant, min_theta)
                made.append((variant, sizes, shared_bytes(variant, sizes), integers, numbers))
            fitting = [m for m in made if m[2] <= limit]
            roomy = [m for m in fitting if m[0].points >= 8 and m[2] <= (limit - RESERVED) // 2]
            if not fitting:
                return None
            variant, sizes, shared, integers, numbers = (roomy or fitting)[0]
            try:
                kernel = cupy.RawModule(code=source(variant)).get_function("query")
                kernel.max_dynamic_shared_size_bytes = shared
            except Exception as error:  # whatever a compiler or driver has to say: the batched way needs neither
                what = "the fused kernel cannot be compiled for this GPU, and batched calls answer instead"
                warnings.warn(f"{what} ({error}); RBM_GPU_KERNEL=batched keeps it out", RuntimeWarning, stacklevel=2)
                return None
            return _Ready(kernel, variant, shared, beside(integers, self.like), beside(numbers, self.like))
