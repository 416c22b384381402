"""Which tensors lie in the same memory: such weights are one weight, or cannot be rounded one after the other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

__all__ = ["first_overlap", "overlaps_itself", "place_of"]


def place_of(tensor: Any) -> Any:
    """Return what tensors have in common that are the same numbers in the same memory; themselves where there is none.

    Two parameters may be different objects and still be tied so, `Parameter(other.data)`.
    """
    pointer = tensor.data_ptr()
    return (str(tensor.device), pointer, tensor.dtype, tuple(tensor.shape), tensor.stride()) if pointer else id(tensor)


def overlaps_itself(tensor: Any) -> bool:
    """Return whether several entries are one number in memory, as of `expand`: it cannot be written to."""
    return any(n > 1 and s == 0 for n, s in zip(tensor.shape, tensor.stride(), strict=True)) or (
        _extent(tensor) < tensor.numel() and len(np.unique(_offsets(tensor))) < tensor.numel()
    )


def first_overlap(named: Sequence[tuple[str, Any]]) -> tuple[str, str] | None:
    """Return the names of two tensors that share some of their numbers but not all in the same order, or None.

    named : names and tensors, each place of memory (:func:`place_of`) once. Views of disjoint parts, as of the flat
        weights of recurrent layers, do not overlap. Cost: k log k for k tensors, and the entries of those whose ranges
        of memory meet.
    """
    spans = sorted(
        ((str(t.device), t.data_ptr(), t.data_ptr() + _extent(t) * t.element_size(), name, t) for name, t in named),
        key=lambda span: span[:3],
    )
    for k, (device, _, end, name, tensor) in enumerate(spans):
        for other_device, start, _, other_name, other in spans[k + 1 :]:
            if other_device != device or start >= end:
                break
            if tensor.element_size() != other.element_size() or np.intersect1d(_bytes(tensor), _bytes(other)).size:
                return name, other_name
    return None


def _extent(tensor: Any) -> int:
    """Return how many places from the first to the last entry there are; strides of PyTorch are never negative."""
    if not tensor.numel():
        return 0
    return 1 + sum((n - 1) * s for n, s in zip(tensor.shape, tensor.stride(), strict=True))


def _offsets(tensor: Any) -> np.ndarray:
    """Return the places of all entries, relative to the first."""
    found = np.zeros(1, dtype=np.int64)
    for n, stride in zip(tensor.shape, tensor.stride(), strict=True):
        found = (found[:, None] + stride * np.arange(n)).reshape(-1)
    return found


def _bytes(tensor: Any) -> np.ndarray:
    return tensor.data_ptr() + tensor.element_size() * _offsets(tensor)
