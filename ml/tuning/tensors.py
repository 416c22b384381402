"""Tensors of PyTorch as arrays and back, bit for bit, with types that NumPy lacks as integers of the same width."""

from __future__ import annotations

from typing import Any

import numpy as np

from lowrank.optional import require

__all__ = ["to_array", "to_tensor", "type_of"]

#: Types that NumPy lacks, by the integers that hold their bits.
FOREIGN = {"bfloat16": "int16"}


def type_of(tensor: Any) -> str:
    """Return the name of a tensor's type: "float32"."""
    return str(tensor.dtype).removeprefix("torch.")


def to_array(tensor: Any) -> np.ndarray:
    """Return a copy on the host. Raises ValueError for a type that no file of this package holds."""
    torch = require("torch", "torch", "ml.tuning", "ml")
    host, kind = tensor.detach().cpu().contiguous(), type_of(tensor)
    if kind in FOREIGN:
        host = host.view(getattr(torch, FOREIGN[kind]))
    try:
        return np.array(host.numpy())
    except (TypeError, RuntimeError) as error:
        raise ValueError(f"no file of this package holds tensors of type {kind} ({error})") from None


def to_tensor(array: np.ndarray, kind: str) -> Any:
    """Return the tensor of the type `kind` that :func:`to_array` had; ValueError for an array of another."""
    torch = require("torch", "torch", "ml.tuning", "ml")
    found = torch.from_numpy(np.ascontiguousarray(array).reshape(array.shape).copy())
    if type_of(found) != FOREIGN.get(kind, kind):
        raise ValueError(f"an array of type {type_of(found)} is said to be {kind}")
    return found.view(getattr(torch, kind)) if kind in FOREIGN else found
