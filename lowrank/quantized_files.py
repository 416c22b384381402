"""Quantised arrays as arrays of a file, read with all checks on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from lowrank.arrays import to_numpy
from lowrank.blocks import Blocks, blocks_of
from lowrank.gaussian_levels import MAX_GAUSSIAN_BITS, Levels
from lowrank.packing import MAX_BITS, bytes_of
from lowrank.quantized import Quantized, spread

__all__ = ["from_arrays", "to_arrays"]

VERSION = 1
KEYS = ("codes", "scales", "bits", "header")
LEVELS: tuple[Levels, ...] = ("uniform", "gaussian")
DTYPES = ("float32", "float64", "complex64", "complex128")
SCALES = ("float16", "float32", "float64")


def to_arrays(quantized: Quantized) -> dict[str, np.ndarray]:
    """Return the arrays `codes`, `scales`, `bits` and `header` on the host."""
    blocks = quantized.blocks
    axis, group = (-1 if x is None else x for x in (blocks.axis, blocks.group))
    numbers = (LEVELS.index(quantized.levels), axis, group, DTYPES.index(quantized.dtype.name), quantized.exponent)
    return {
        "codes": to_numpy(quantized.codes),
        "scales": to_numpy(quantized.scales),
        "bits": quantized.units,
        "header": np.array([VERSION, *numbers, *blocks.shape], dtype=np.int64),
    }


def from_arrays(arrays: Mapping[str, Any]) -> Quantized:
    """Return the quantised array that :func:`to_arrays` gave, as NumPy arrays.

    Raises ValueError, before memory is taken for what is claimed, for keys that are missing or too many, and arrays
    that do not fit each other; and for codes that stand for no number.
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
    quantized = Quantized(blocks, kind, bits.astype(np.uint8), codes, scales, exponent, LEVELS[levels])
    _check_codes(quantized)
    return quantized


def _check_bits(bits: np.ndarray, blocks: Blocks, levels: Levels) -> None:
    most = MAX_BITS if levels == "uniform" else MAX_GAUSSIAN_BITS
    if bits.dtype.kind not in "iu" or bits.ndim != 1 or len(bits) not in (1, blocks.lines, blocks.count):
        raise ValueError(f"bits must be integers, one or as many as rows or blocks, got {bits.dtype} of {bits.shape}")
    wrong = (bits != 0) & ((bits < 2) | (bits > most))
    if np.any(wrong):
        raise ValueError(f"bits must be 0 or 2 .. {most}, got {bits[wrong][0]}: they are damaged")


def _check_codes(quantized: Quantized) -> None:
    """Decode once: unpacking refuses bits after the last code, and the code 0 is none of the integers -m .. m."""
    if not len(quantized.codes):  # zeros, however many: nothing is decoded
        return
    found = quantized._numbers(None, lambda u, b: (u == 0) & bool(b) if quantized.levels == "uniform" else u < 0)
    if np.any(found):
        raise ValueError(
            f"{int(np.count_nonzero(found))} codes stand for integers beyond 2^(bits - 1) - 1, which are not used: the "
            "codes are damaged"
        )
