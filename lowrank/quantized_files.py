"""Quantised arrays as arrays of a file, read with all checks on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from lowrank.arrays import to_numpy
from lowrank.blocks import Blocks, blocks_of, spread
from lowrank.gaussian_levels import MAX_GAUSSIAN_BITS, Levels
from lowrank.packing import MAX_BITS, bytes_of

__all__ = ["Parts", "checked_parts", "to_arrays"]

VERSION = 1
KEYS = ("codes", "scales", "bits", "header")
LEVELS: tuple[Levels, ...] = ("uniform", "gaussian")
DTYPES = ("float32", "float64", "complex64", "complex128")
SCALES = ("float16", "float32", "float64")


class Parts(NamedTuple):
    """The fields of :class:`lowrank.Quantized`, in their order."""

    blocks: Blocks
    dtype: np.dtype
    units: np.ndarray
    codes: np.ndarray
    scales: np.ndarray
    exponent: int
    levels: Levels


def to_arrays(parts: Parts) -> dict[str, np.ndarray]:
    """Return the arrays `codes`, `scales`, `bits` and `header` on the host."""
    blocks = parts.blocks
    axis, group = (-1 if x is None else x for x in (blocks.axis, blocks.group))
    numbers = (LEVELS.index(parts.levels), axis, group, DTYPES.index(parts.dtype.name), parts.exponent)
    return {
        "codes": to_numpy(parts.codes),
        "scales": to_numpy(parts.scales),
        "bits": parts.units,
        "header": np.array([VERSION, *numbers, *blocks.shape], dtype=np.int64),
    }


def checked_parts(arrays: Mapping[str, Any]) -> Parts:
    """Return the fields of the quantised array that :func:`to_arrays` gave, as NumPy arrays that fit each other.

    Raises ValueError, before memory is taken for what is claimed, for keys that are missing or too many, and arrays
    that do not fit each other. The codes are not decoded here.
    """
    if set(arrays) != set(KEYS):
        raise ValueError(
            f"a quantised array has the arrays {', '.join(KEYS)}, got {', '.join(sorted(arrays)) or 'none'}"
        )
    codes, scales, bits, header = (np.asarray(arrays[key]) for key in KEYS)
    if header.ndim != 1 or header.dtype.kind not in "iu" or len(header) < 7:
        raise ValueError(f"header must be 7 integers or more, got {header.dtype} of shape {header.shape}")
    version, levels, axis, group, dtype, exponent, *shape = (int(x) for x in header)
    if version != VERSION:
        raise ValueError(f"the quantised array has layout version {version}, this package reads {VERSION}; upgrade it")
    if levels not in (0, 1) or not 0 <= dtype < len(DTYPES) or axis not in (-1, 0, 1) or min(shape) < 0:
        raise ValueError(f"the header {header.tolist()} describes no array: it is damaged")
    if abs(exponent) > 1100:
        raise ValueError(f"the exponent {exponent} of the scales is beyond double precision: the header is damaged")
    kind = np.dtype(DTYPES[dtype])
    blocks = blocks_of(tuple(shape), None if axis < 0 else axis, None if group == -1 else group, kind.kind == "c")
    _check_bits(bits, blocks, LEVELS[levels])
    if scales.shape != (blocks.count,) or scales.dtype.name not in SCALES:
        raise ValueError(f"scales must be {blocks.count} real numbers, got {scales.dtype} of shape {scales.shape}")
    with np.errstate(over="ignore"):
        steps = np.ldexp(scales.astype(np.float64), exponent)
    if not np.all(np.isfinite(steps) & (steps >= 0)):
        bad = scales[~(np.isfinite(steps) & (steps >= 0))][0]
        raise ValueError(f"scales must be finite and >= 0, got {bad}: they are damaged")
    total = len(bits) if len(bits) > 1 else blocks.lines if blocks.count else 0
    width = blocks.count * blocks.length // total if total else 0
    found, times = np.unique(spread(bits, total), return_counts=True)
    needed = sum(bytes_of(width, int(b)) * int(n) for b, n in zip(found, times, strict=True))
    if codes.dtype != np.uint8 or codes.shape != (needed,):
        raise ValueError(
            f"codes must be {needed} bytes, got {codes.dtype} of shape {codes.shape}: they are cut short, or belong to "
            "something else"
        )
    return Parts(blocks, kind, bits.astype(np.uint8), codes, scales, exponent, LEVELS[levels])


def _check_bits(bits: np.ndarray, blocks: Blocks, levels: Levels) -> None:
    most = MAX_BITS if levels == "uniform" else MAX_GAUSSIAN_BITS
    if bits.dtype.kind not in "iu" or bits.ndim != 1 or len(bits) not in (1, blocks.lines, blocks.count):
        raise ValueError(f"bits must be integers, one or as many as rows or blocks, got {bits.dtype} of {bits.shape}")
    wrong = (bits != 0) & ((bits < 2) | (bits > most))
    if np.any(wrong):
        raise ValueError(f"bits must be 0 or 2 .. {most}, got {bits[wrong][0]}: they are damaged")
