"""Arrays of a few bits per number: packed codes and scales."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from lowrank.arrays import beside, device, namespace, numpy_dtype, plain, to_numpy
from lowrank.blocks import Blocks, spread
from lowrank.gaussian_levels import Levels, lloyd_max
from lowrank.packing import bytes_of, unpack
from lowrank.quantized_files import Parts, checked_parts, to_arrays

__all__ = ["Quantized", "level_table", "steps_of"]

#: Numbers that are decoded at a time: they stay in the cache.
CHUNK = 1 << 17
#: Levels of a unit normal are rounded to this, so that every machine decodes to the same bits.
RASTER = 2.0**24


@dataclass(frozen=True, eq=False)
class Quantized:
    """Result of :func:`lowrank.quantize`: w ~ s q with integers q (or levels of a normal) and a scale s per block.

    Codes are packed by *units*: lines (rows, columns or all), or blocks where each of them has its own bits. A unit of
    n numbers in b bits takes exactly ceil(n b / 8) bytes.
    """

    blocks: Blocks  #: which numbers share a scale
    dtype: np.dtype  #: of the array and of what is decoded
    units: np.ndarray  #: uint8, bits of every unit; (1,) where all have the same
    codes: Any  #: uint8, flat: q + 2^{bits - 1}, or the number of the level
    scales: Any  #: (k,), in `unit`
    exponent: int  #: scales are in the unit 2^exponent
    levels: Levels

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the array that was quantised."""
        return self.blocks.shape

    @property
    def bits(self) -> int | np.ndarray:
        """Bits of a number: one integer, or integers (k,), one for every row, column or group."""
        return int(self.units[0]) if len(self.units) == 1 else self.units.astype(np.int64)

    @property
    def nbytes(self) -> int:
        """Bytes of codes and scales, and a byte per unit where the bits differ."""
        scales = math.prod(self.scales.shape) * numpy_dtype(self.scales).itemsize
        return math.prod(self.codes.shape) + scales + (len(self.units) if len(self.units) > 1 else 0)

    def to_dense(self) -> Any:
        """Return the array: one product of a level and a scale per number, in the type of the array."""
        return self.blocks.join(self._decoded(None))

    def rows(self, i: Any) -> Any:
        """Return the rows i of the array; of scales per row only these are decoded, else all.

        i : an integer, or integers (n,). Raises IndexError outside the shape.
        """
        return self._lines(i, 0)

    def columns(self, j: Any) -> Any:
        """Return the columns j of a matrix; of scales per column only these are decoded, else all.

        j : an integer, or integers (n,). Raises IndexError outside the shape.
        """
        if len(self.shape) != 2:
            raise ValueError(f"columns need a matrix, this array has shape {self.shape}")
        return self._lines(j, 1)

    def integers(self) -> Any:
        """Return the integers q in the shape of the array, int32, of :func:`lowrank.quantize` with uniform levels.

        w ~ s q. Raises ValueError for Gaussian levels and complex arrays.
        """
        if self.levels != "uniform" or self.blocks.complex:
            raise ValueError(f"only uniform levels of real arrays are integers, these are {self.levels} {self.dtype}")
        return self.blocks.join(self._numbers(None, lambda u, b: _integers(u, b)))

    def error(self, a: Any) -> float:
        """Return ||a - q|| / ||a|| in the Frobenius norm, q what is decoded; infinite where a is zero and q is not.

        Raises ValueError for an array of another shape.
        """
        a = plain("a", a)
        if tuple(a.shape) != self.shape:
            raise ValueError(f"the quantised array has shape {self.shape}, got {tuple(a.shape)}")
        if not math.prod(self.shape):
            return 0.0
        xp = namespace(a)
        off = a - self.to_dense()
        size, largest = float(xp.max(xp.abs(a))), float(xp.max(xp.abs(off)))
        if size == 0 or not math.isfinite(size):
            return 0.0 if largest == 0 else math.inf if size == 0 else math.nan
        errors, norms = (xp.astype(xp.abs(x / size), xp.float64) for x in (off, a))  # squares do not overflow
        return math.sqrt(float(xp.sum(errors**2)) / float(xp.sum(norms**2)))

    def arrays(self) -> dict[str, Any]:
        """Return the arrays of a file; see docs/bits.md for the keys."""
        parts = Parts(self.blocks, self.dtype, self.units, self.codes, self.scales, self.exponent, self.levels)
        return to_arrays(parts)

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Any]) -> Quantized:
        """Return what :meth:`arrays` gave, all of it checked. Raises ValueError for anything else."""
        found = cls(*checked_parts(arrays))
        if not len(found.codes):  # zeros, however many: nothing is decoded
            return found
        # unpacking refuses bits after the last code, and the code 0 is none of the integers -m .. m
        wrong = found._numbers(None, lambda u, b: (u == 0) & bool(b) if found.levels == "uniform" else u < 0)
        if np.any(wrong):
            raise ValueError(
                f"{int(np.count_nonzero(wrong))} codes stand for integers beyond 2^(bits - 1) - 1, which are not used: "
                "the codes are damaged"
            )
        return found

    def _lines(self, i: Any, axis: int) -> Any:
        xp, n = namespace(self.codes), self.shape[axis]
        given = np.asarray(to_numpy(i) if hasattr(i, "shape") else i)
        if given.dtype.kind not in "iu" and given.size:
            raise TypeError(f"rows and columns are named by integers, got dtype {given.dtype}")
        flat = given.reshape(-1).astype(np.int64)
        if flat.size and (flat.min() < -n or flat.max() >= n):
            bad = flat[(flat < -n) | (flat >= n)][0]
            raise IndexError(f"{'row' if axis == 0 else 'column'} {bad} is outside the {n} of shape {self.shape}")
        flat = np.where(flat < 0, flat + n, flat)
        if self.blocks.axis == axis:
            found = self.blocks.join(self._decoded(flat), len(flat))
        else:
            found = xp.take(self.to_dense(), beside(flat, self.codes), axis=axis)
        shape = (*given.shape, *self.shape[1:]) if axis == 0 else (self.shape[0], *given.shape)
        return xp.reshape(found, shape)

    def _decoded(self, lines: np.ndarray | None) -> Any:
        """Return the blocks of some lines, of all by default."""
        xp, per_line = namespace(self.codes), self.blocks.width // self.blocks.length
        scales = self.scales
        if lines is not None and per_line:
            by_line = xp.reshape(scales, (self.blocks.lines, per_line))
            scales = xp.reshape(xp.take(by_line, beside(lines, self.codes), axis=0), (-1,))
        real = _real_type(xp, self.dtype)
        numbers = self._numbers(lines, lambda u, b: _values(u, b, self.levels, real))
        return numbers * steps_of(scales, self.exponent, real)[:, None]

    def _numbers(self, lines: np.ndarray | None, value: Any) -> Any:
        """Return value(codes, bits) of the blocks of some lines, (k, length)."""
        xp, blocks = namespace(self.codes), self.blocks
        per_line = blocks.width // blocks.length
        if not blocks.count or (lines is not None and not len(lines)):
            count = 0 if lines is None else len(lines) * per_line
            return value(xp.zeros((count, blocks.length), dtype=xp.int32, device=device(self.codes)), 0)
        in_blocks = len(self.units) > 1 and len(self.units) != blocks.lines
        width = blocks.length if in_blocks else blocks.width
        chosen = np.arange(blocks.lines) if lines is None else lines
        if in_blocks:
            chosen = (chosen[:, None] * per_line + np.arange(per_line)).reshape(-1)
        total = blocks.count * blocks.length // width
        starts = np.append(0, np.cumsum([bytes_of(width, int(b)) for b in spread(self.units, total)]))
        bits = spread(self.units, total)[chosen]
        parts, places = [], []
        for b in np.unique(bits):
            which = np.flatnonzero(bits == b)
            step = max(1, CHUNK // width)
            for first in range(0, len(which), step):
                part = which[first : first + step]
                n = bytes_of(width, int(b))
                packed = _gather(self.codes, starts[chosen[part]], n)
                parts.append(value(unpack(packed, int(b), width), int(b)))
                places.append(part)
        rows = parts[0] if len(parts) == 1 else xp.concat(parts, axis=0)
        order = np.concatenate(places)
        if np.any(np.diff(order) < 0):
            rows = xp.take(rows, beside(np.argsort(order), rows), axis=0)
        return xp.reshape(rows, (-1, blocks.length))

    def __repr__(self) -> str:
        bits = f"{self.units[0]} bits" if len(self.units) == 1 else f"{self.units.min()} to {self.units.max()} bits"
        whole = math.prod(self.shape) * self.dtype.itemsize
        kind = "" if self.levels == "uniform" else ", Gaussian levels"
        return f"Quantized({' x '.join(map(str, self.shape))}, {bits}{kind}, {self.nbytes:,} bytes of {whole:,})"


def steps_of(scales: Any, exponent: int, real: Any) -> Any:
    """Return scales (k,) as numbers of a real type; multiplied in double precision, in which the unit fits."""
    xp = namespace(scales)
    if exponent == 0:
        return xp.astype(scales, real)
    return xp.astype(xp.astype(scales, xp.float64) * math.ldexp(1.0, exponent), real)


def level_table(bits: int) -> np.ndarray:
    """Return the 2^bits levels of a unit normal on a raster of 2^-24."""
    return np.rint(lloyd_max(bits)[0] * RASTER) / RASTER


def _integers(codes: Any, bits: int) -> Any:
    xp = namespace(codes)
    return xp.astype(codes, xp.int32) - (2 ** (bits - 1) if bits else 0)


def _values(codes: Any, bits: int, levels: Levels, real: Any) -> Any:
    xp = namespace(codes)
    if levels == "uniform" or not bits:
        return xp.astype(_integers(codes, bits), real)
    table = xp.astype(beside(level_table(bits), codes), real)
    return xp.reshape(xp.take(table, xp.reshape(xp.astype(codes, xp.int64), (-1,))), codes.shape)


def _gather(codes: Any, starts: np.ndarray, count: int) -> Any:
    """Return bytes (len(starts), count) that begin at the given places; those that follow each other are not copied."""
    xp, n = namespace(codes), len(starts)
    if n == 1 or np.all(np.diff(starts) == count):
        first = int(starts[0])
        return xp.reshape(codes[first : first + n * count], (n, count))
    if not count:
        return xp.zeros((n, 0), dtype=xp.uint8, device=device(codes))
    places = (starts[:, None] + np.arange(count)).reshape(-1)
    return xp.reshape(xp.take(codes, beside(places, codes)), (n, count))


def _real_type(xp: Any, dtype: np.dtype) -> Any:
    return xp.float32 if dtype.name in ("float32", "complex64") else xp.float64
