"""The numbers that zeroth-order training changes: arrays, tensors or a module's parameters, as flat views of them."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from lowrank.optional import require
from ml.tuning.zeroth_order_numbers import NumpySource, Source, TorchSource

__all__ = ["Half", "Trained", "in_training_mode", "trained_arrays"]

Half = Literal["refuse", "copy"]
#: Bits of the significand; the types that have a grid, and those that are too coarse for one.
DIGITS = {"float32": 24, "float64": 53}
HALVES = ("float16", "bfloat16")
LISTS = "a torch.nn.Module, or a list of NumPy arrays or of tensors"


@dataclass(frozen=True, eq=False)
class Trained:
    """One array that is trained."""

    name: str
    shape: tuple[int, ...]
    dtype: str  #: "float32", ...
    seen: Any  #: (n,) view of what the loss sees
    work: Any  #: (n,) what is computed with: `seen` itself, or a single-precision copy of half precision
    digits: int  #: bits of the significand of `work`

    @property
    def copied(self) -> bool:
        """Whether what the loss sees is rounded from a copy."""
        return self.work is not self.seen

    def digest(self) -> bytes:
        """Return the SHA-256 of type, shape and entries of what the loss sees."""
        found = hashlib.sha256(f"{self.dtype} {self.shape} ".encode())
        found.update(_host(self.seen).view(np.uint8).data)
        return found.digest()


def trained_arrays(parameters: Any, half: Half) -> tuple[list[Trained], Source]:
    """Return what is trained of a module or list, and where its random numbers come from.

    Raises TypeError and ValueError, with the name of the parameter, for what cannot be trained in place.
    """
    if half not in ("refuse", "copy"):
        raise ValueError(f"half must be 'refuse' or 'copy', got {half!r}")
    named = _named(parameters)
    if not named:
        raise ValueError("there is nothing to train: the list is empty, or no parameter of the module requires_grad")
    kinds = {_kind(name, x) for name, x in named}
    if len(kinds) > 1:
        raise TypeError("the list mixes NumPy arrays and tensors, or tensors of several devices: train one kind")
    kind = kinds.pop()
    source: Source = NumpySource()
    if kind not in ("numpy", "cpu"):
        source = TorchSource(require("torch", "torch", "ml.mezo", "ml"), named[0][1].device)
    made = [_trained(name, x, half, isinstance(source, NumpySource)) for name, x in named]
    _refuse_overlap([(name, *_interval(x)) for name, x in named])
    return made, source


def _named(parameters: Any) -> list[tuple[str, Any]]:
    if hasattr(parameters, "named_parameters"):
        return [(name, p) for name, p in parameters.named_parameters() if p.requires_grad]
    if isinstance(parameters, np.ndarray) or hasattr(parameters, "detach"):
        raise TypeError(f"parameters must be {LISTS}, got one array; pass [array]")
    if not isinstance(parameters, Sequence) or isinstance(parameters, str | bytes):
        raise TypeError(f"parameters must be {LISTS}, got {type(parameters).__name__}")
    return [(str(k), x) for k, x in enumerate(parameters)]


def _kind(name: str, x: Any) -> str:
    if isinstance(x, np.ndarray):
        return "numpy"
    if hasattr(x, "detach") and hasattr(x, "is_contiguous"):
        return "cpu" if x.device.type == "cpu" else str(x.device)
    raise TypeError(f"parameter {name} is of type {type(x).__name__}; parameters must be {LISTS}")


def _trained(name: str, x: Any, half: Half, on_cpu: bool) -> Trained:
    """Return one array with its flat views; those of a CPU's tensors are NumPy's where it has the type."""
    array = isinstance(x, np.ndarray)
    dtype = (x.dtype.name if x.dtype.isnative else str(x.dtype)) if array else str(x.dtype).removeprefix("torch.")
    if dtype not in DIGITS and dtype not in HALVES:
        raise TypeError(
            f"parameter {name} is {dtype}; float32 and float64 can be trained (float16, bfloat16 by a copy)"
        )
    if dtype in HALVES and half == "refuse":
        raise ValueError(
            f"parameter {name} is {dtype}, in which the moves of a step would not undo themselves and most updates be "
            "lost: pass half='copy', which keeps a single-precision copy (4 bytes a trained number), or train float32"
        )
    if not (x.flags.c_contiguous if array else x.is_contiguous()):
        raise ValueError(f"parameter {name} is not contiguous: pass a contiguous copy, and copy the result back")
    if array and not x.flags.writeable:
        raise ValueError(f"parameter {name} is read-only and cannot be trained in place: pass a copy")
    flat = x.reshape(-1) if array else x.detach().view(-1)
    if on_cpu and not array and dtype != "bfloat16":
        flat = flat.numpy()
    if dtype in DIGITS:
        return Trained(name, tuple(x.shape), dtype, flat, flat, DIGITS[dtype])
    if not on_cpu:
        work = flat.float()
    else:
        work = (flat.float().numpy() if dtype == "bfloat16" else flat.astype(np.float32)).copy()
    return Trained(name, tuple(x.shape), dtype, flat, work, DIGITS["float32"])


def _interval(x: Any) -> tuple[int, int]:
    """Return the addresses of the first byte of an array and of the one behind its last."""
    if isinstance(x, np.ndarray):
        return x.ctypes.data, x.ctypes.data + x.nbytes
    return x.data_ptr(), x.data_ptr() + x.numel() * x.element_size()


def _refuse_overlap(places: Iterable[tuple[str, int, int]]) -> None:
    ordered = sorted((first, end, name) for name, first, end in places if end > first)
    for (_, end, name), (first, _, other) in itertools.pairwise(ordered):
        if first < end:
            raise ValueError(f"parameters {name} and {other} share memory and would be moved twice: pass one of them")


def _host(flat: Any) -> np.ndarray:
    """Return a flat array or tensor as NumPy's; bfloat16 as the integers of its bits."""
    if isinstance(flat, np.ndarray):
        return flat
    flat = flat.cpu()
    if "bfloat16" in str(flat.dtype):
        flat = flat.view(require("torch", "torch", "ml.mezo", "ml").int16)
    return np.asarray(flat.numpy())


def in_training_mode(parameters: Any) -> str | None:
    """Return the name of a part whose two evaluations would differ by more than the move: dropout, batch statistics."""
    if not hasattr(parameters, "named_modules"):
        return None
    for name, part in parameters.named_modules():
        kind = type(part).__name__
        drops = "Dropout" in kind and getattr(part, "p", 0.0) > 0 and part.training
        counts = "BatchNorm" in kind and part.training and getattr(part, "track_running_stats", False)
        if drops or counts:
            return f"{name or 'the module'} ({kind})"
    return None
