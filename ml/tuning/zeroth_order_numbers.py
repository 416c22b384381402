"""Random numbers that are drawn anew from their seed: NumPy's for arrays and tensors of a CPU, PyTorch's elsewhere."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np

__all__ = ["BASIS", "DIRECTION", "ROUNDING", "Numbers", "NumpySource", "Source", "TorchSource"]

#: What numbers are for; each use of a seed has its own.
DIRECTION, BASIS, ROUNDING = 0, 1, 2
_MASK = 2**64 - 1


class Numbers(Protocol):
    """Numbers in their order, from one seed."""

    def normal(self, count: int, dtype: Any) -> Any:
        """Return standard normal numbers (count,)."""

    def uniform(self, count: int, dtype: Any) -> Any:
        """Return numbers in [0, 1) (count,)."""


class Source(Protocol):
    """Where numbers come from, and the functions that go with their arrays."""

    name: str  #: numbers of another name are others
    xp: Any  #: round (half to even), floor, isfinite

    def numbers(self, seed: int, use: int) -> Numbers:
        """Return the numbers of a seed for one use."""


class NumpySource:
    """NumPy's generator SFC64, seeded by (seed, use). The same on every machine with the same version of NumPy."""

    name = "numpy"
    xp: Any = np

    def numbers(self, seed: int, use: int) -> Numbers:
        """Return the numbers of a seed for one use."""
        return _NumpyNumbers(np.random.Generator(np.random.SFC64([seed, use])))


class _NumpyNumbers:
    def __init__(self, generator: np.random.Generator) -> None:
        self.generator = generator

    def normal(self, count: int, dtype: Any) -> Any:
        return self.generator.standard_normal(count, dtype)

    def uniform(self, count: int, dtype: Any) -> Any:
        return self.generator.random(count, dtype)


class TorchSource:
    """PyTorch's generator of one device. Other kinds of devices give other numbers."""

    def __init__(self, torch: Any, device: Any) -> None:
        self.xp, self.device = torch, device
        self.name = f"torch {device.type}"

    def numbers(self, seed: int, use: int) -> Numbers:
        """Return the numbers of a seed for one use."""
        return _TorchNumbers(self.xp, self.device, _mixed(seed, use))


class _TorchNumbers:
    def __init__(self, torch: Any, device: Any, seed: int) -> None:
        self.torch, self.device = torch, device
        self.generator = torch.Generator(device).manual_seed(seed)

    def normal(self, count: int, dtype: Any) -> Any:
        return self.torch.randn(count, dtype=dtype, device=self.device, generator=self.generator)

    def uniform(self, count: int, dtype: Any) -> Any:
        return self.torch.rand(count, dtype=dtype, device=self.device, generator=self.generator)


def _mixed(seed: int, use: int) -> int:
    """Return 63 bits that depend on all bits of both (the finalizer of SplitMix64): a generator may use 32 of them."""
    z = (seed + 0x9E3779B97F4A7C15 * (use + 1)) & _MASK
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & _MASK
    return (z ^ (z >> 31)) >> 1
