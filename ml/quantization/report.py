"""What quantisation made of a module: codes of every weight, sizes to the byte, errors."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from lowrank.arrays import to_numpy
from lowrank.optional import require
from lowrank.quantized import Quantized
from ml.quantization.memory import place_of

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
    """Return the parameters and stored buffers of a module by their first names, each piece of memory once.

    State that is no tensor (`get_extra_state`) is not in it.
    """
    found: dict[str, Any] = {}
    seen: set[Any] = set()
    for name, tensor in module.state_dict(keep_vars=True).items():
        if not hasattr(tensor, "data_ptr"):  # state of another kind
            continue
        if (key := place_of(tensor)) not in seen:
            seen.add(key)
            found[name] = tensor
    return found


def without(tensors: dict[str, Any], weights: Iterable[Any]) -> dict[str, Any]:
    """Return the stored tensors that lie in other memory than these weights: what is left as it is."""
    ours = {place_of(weight) for weight in weights}
    return {name: tensor for name, tensor in tensors.items() if place_of(tensor) not in ours}


def check_report(module: Any, report: QuantizationReport) -> None:
    """Raise ValueError where the weights of a module are not those of the report (any more)."""
    torch = require("torch", "torch", "ml.quantization", "ml")
    state = module.state_dict(keep_vars=True)
    for name, quantized in report.weights.items():
        there = state.get(name)
        if there is None or tuple(there.shape) != quantized.shape:
            raise ValueError(
                f"the report has a weight {name} of shape {quantized.shape}, the module has it not: the report is of "
                "another module"
            )
        apart = [n for n in report.names[name] if n not in state or place_of(state[n]) != place_of(there)]
        if apart:
            raise ValueError(
                f"{apart[0]} was tied to {name} when it was quantised and is not now: tie it, or start anew"
            )
        expected = torch.from_numpy(decoded(quantized)).to(dtype=there.dtype)
        if not torch.equal(there.detach().cpu(), expected):
            raise ValueError(
                f"the weight {name} has changed since it was quantised, or the report is of another module: quantise "
                "the module again"
            )


def decoded(quantized: Quantized) -> np.ndarray:
    """Return the numbers of a quantised weight."""
    return np.asarray(to_numpy(quantized.to_dense()))
