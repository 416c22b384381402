"""What quantisation made of a module: codes of every weight, sizes to the byte, errors."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from lowrank.arrays import to_numpy
from lowrank.quantized import Quantized

__all__ = ["QuantizationReport"]


@dataclass(frozen=True, eq=False)
class QuantizationReport:
    """Result of :func:`ml.quantize_module`, :func:`ml.freeze_quantized` and :func:`ml.load_quantized`."""

    weights: dict[str, Quantized]  #: codes and scales of every quantised weight, by its first name
    names: dict[str, tuple[str, ...]]  #: all names of every quantised weight; several where it is tied
    errors: dict[str, float]  #: ||w - q|| / ||w||, Frobenius norm; NaN where w is not known (files)
    kept: dict[str, int]  #: bytes of the parameters and stored buffers that are left as they are, each once
    bytes_before: int  #: of all parameters and stored buffers, tied ones once
    uncalibrated: tuple[str, ...] = field(default=())  #: weights whose inputs were asked for and not seen

    @property
    def nbytes(self) -> int:
        """Bytes of the quantised module: codes, scales, and all that is left as it was. Names are not counted."""
        return sum(q.nbytes for q in self.weights.values()) + sum(self.kept.values())

    @property
    def saved(self) -> float:
        """By which share the module got smaller."""
        return 1 - self.nbytes / self.bytes_before if self.bytes_before else 0.0

    @property
    def bits(self) -> dict[str, int]:
        """Bits of every quantised weight."""
        return {name: int(np.max(q.bits)) for name, q in self.weights.items()}

    @property
    def mean_bits(self) -> float:
        """Mean bits of a number of the quantised weights, scales not counted."""
        sizes = [int(np.prod(q.shape)) for q in self.weights.values()]
        bits = [float(np.mean(q.bits)) for q in self.weights.values()]
        return float(np.dot(sizes, bits) / max(sum(sizes), 1))

    def table(self) -> str:
        """Return a plain-text table: name, shape, bits, bytes and relative error of every weight, and the sums."""
        width = max([len("left as they are"), *map(len, self.weights)])
        lines = [f"{'weight':{width}} {'shape':>16} {'bits':>5} {'bytes':>12} {'error':>9}"]
        for name, q in self.weights.items():
            shape = " x ".join(map(str, q.shape))
            bits = f"{np.mean(q.bits):g}"
            lines.append(f"{name:{width}} {shape:>16} {bits:>5} {q.nbytes:12,} {self.errors[name]:9.2e}")
        lines.append(f"{'left as they are':{width}} {len(self.kept):>16} {'':>5} {sum(self.kept.values()):12,}")
        lines.append(f"{'all':{width}} {'':>16} {self.mean_bits:5.2f} {self.nbytes:12,} {self.saved:8.1%} smaller")
        return "\n".join(lines)

    def __repr__(self) -> str:
        return (
            f"QuantizationReport({len(self.weights)} weights of {self.mean_bits:.3g} bits in the mean, "
            f"{self.nbytes:,} bytes of {self.bytes_before:,}, {self.saved:.1%} smaller)"
        )


def stored_tensors(module: Any) -> dict[str, Any]:
    """Return the parameters and stored buffers of a module by their first names, each piece of memory once."""
    found: dict[str, Any] = {}
    seen: set[Any] = set()
    for name, tensor in module.state_dict(keep_vars=True).items():
        if not hasattr(tensor, "data_ptr"):  # state of another kind
            continue
        key = (tensor.data_ptr(), tuple(tensor.shape), tensor.stride()) if tensor.data_ptr() else name
        if key not in seen:
            seen.add(key)
            found[name] = tensor
    return found


def decoded(quantized: Quantized) -> np.ndarray:
    """Return the numbers of a quantised weight."""
    return np.asarray(to_numpy(quantized.to_dense()))
