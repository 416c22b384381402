"""The nearest code vectors, level after level: what is computed, and the same as compiled code."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import Any

import numpy as np

__all__ = ["Codebooks", "codebooks_of", "encode", "encode_plainly"]


@dataclass(frozen=True, eq=False)
class Codebooks:
    """Code vectors of all levels, in the order in which they are read.

    Few arrays: each costs a call of the compiled encoder 0.2 microseconds.
    """

    unit: float  #: power of two that all is multiplied with, so that no square overflows or vanishes
    vectors: np.ndarray  #: (L, 2 K + 1, d): the centres, the offsets, which are centres minus the middle, the middle
    halves: np.ndarray  #: (L, K): half of the squares of the offsets
    rounded: np.ndarray  #: (L, 8 ceil(d / 8), K), 16-bit integers: the offsets in steps, codes side by side, and zeros
    rounding: (
        np.ndarray
    )  #: (L, 3): the step, the largest norm of what rounding leaves, and of an offset, rounded or not

    @functools.cached_property
    def arguments(self) -> tuple[Any, ...]:
        """All arrays, as the compiled encoder takes them."""
        return self.unit, self.vectors, self.halves, self.rounded, self.rounding

    @property
    def levels(self) -> int:
        """Number L of levels of codes."""
        return len(self.halves)

    @property
    def codes(self) -> int:
        """Number K of code vectors of a level."""
        return self.halves.shape[1]

    @property
    def centres(self) -> np.ndarray:
        """Code vectors (L, K, d)."""
        return self.vectors[:, : self.codes]

    @property
    def offsets(self) -> np.ndarray:
        """Code vectors minus the middle of their level (L, K, d)."""
        return self.vectors[:, self.codes : -1]

    @property
    def middles(self) -> np.ndarray:
        """Points (L, d) near the mean of the codes: what these have in common costs no digits."""
        return self.vectors[:, -1]


def codebooks_of(centres: np.ndarray) -> Codebooks:
    """Return the code vectors (L, K, d) prepared for :func:`encode`. All entries must be finite."""
    size = float(np.max(np.abs(centres), initial=0.0))
    unit = math.ldexp(1.0, -min(max(math.frexp(size)[1], -1000), 1000)) if size else 1.0
    scaled = centres.astype(np.float64) * unit
    middles = np.mean(scaled, axis=1)
    spread = np.max(np.abs(scaled - middles[:, None]), axis=(1, 2), initial=0.0)
    grid = np.ldexp(1.0, np.frexp(spread)[1] - 1)[:, None]  # a coarse one: the offsets of integers are integers
    middles = np.rint(middles / grid) * grid
    offsets = scaled - middles[:, None]
    halves = np.zeros(offsets.shape[:2])
    d = offsets.shape[2]
    for i in range(d):  # in the order of the entries, as the scores
        halves += offsets[:, :, i] * offsets[:, :, i]
    halves /= 2
    step, rounded = _in_steps(offsets)
    left = np.sqrt(np.max(np.sum((offsets - step * rounded) ** 2, axis=2), axis=1))
    largest = np.sqrt(2 * np.max(halves, axis=1)) + left
    return Codebooks(
        unit,
        np.concatenate([scaled, offsets, middles[:, None]], axis=1),
        halves,
        np.ascontiguousarray(np.swapaxes(np.pad(rounded, [(0, 0), (0, 0), (0, -d % 8)]), 1, 2), dtype=np.int16),
        np.stack([step[:, 0, 0], left, largest], axis=1),
    )


def _in_steps(offsets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return a step for each level (L, 1, 1), and offsets (L, K, d) in whole steps; none where all would vanish."""
    most = np.max(np.abs(offsets), axis=(1, 2), keepdims=True, initial=0.0)
    step = np.where(most > 1e-100, most / 32767, 0.0)
    return step, np.rint(offsets / np.where(step > 0, step, np.inf))


def encode_plainly(x: np.ndarray, books: Codebooks) -> np.ndarray:
    """Return the codes (n, L) of samples (n, d): the definition.

    Level after level the code k with the least ||c_k - m||^2 / 2 - (r - m) . (c_k - m), which is half of ||r - c_k||^2
    - ||r - m||^2, where r is what the levels before have left of x and m is near the mean of the codes; of equal ones
    the lowest. Products are added in the order of the entries, each rounded, so that the score of a sample does not
    depend on what else is encoded.
    """
    rest = x.astype(np.float64) * books.unit
    found = np.empty((len(x), books.levels), dtype=np.int32)
    for level in range(books.levels):
        off = rest - books.middles[level]
        scores = np.repeat(books.halves[level][None], len(x), axis=0)
        for i in range(x.shape[1]):
            scores -= off[:, i : i + 1] * books.offsets[level, :, i]
        found[:, level] = np.argmin(scores, axis=1) if len(x) else 0
        rest = rest - books.centres[level][found[:, level]]
    return found


def encode(x: np.ndarray, books: Codebooks) -> np.ndarray:
    """Return the codes (n, L) of samples (n, d), double precision: those of :func:`encode_plainly`, compiled.

    All codes are scored in single precision, with code vectors rounded to 16 bits: a quarter of the bytes, which then
    stay in the processor's cache. Those codes whose score is within the error of these scores of the least are scored
    again, in the arithmetic of the definition. No score is off by more than e = |r - m| g + (d + 8) u (|r - m| + c) c,
    with u = 6e-8, g the largest norm of what rounding leaves of c_k - m, and c that of c_k - m, rounded or not; in
    whatever order its terms are added. No code can be the least that is more than 2 e above it; twice the second term
    is added for the rounding of the definition and of these bounds. Cost: 2 L K d flops a sample; 10 to 15 microseconds
    for 4 levels of 256 codes, d = 120.

    Raises ValueError for NaN and infinite entries, and entries that are 1e300 times the unit of the code vectors.
    """
    if not x.flags.carray:  # C-contiguous, aligned and writable: no second kind of array to compile for
        x = np.array(x, order="C")
    found = np.empty((len(x), len(books.halves)), dtype=np.int32)
    bad = _compiled()(x, *books.arguments, found)
    if bad >= 0:
        raise ValueError(
            f"sample {bad} has entries that are NaN or infinite, or beyond all code vectors by hundreds of decades; "
            "remove or recompute it"
        )
    return found


@functools.cache
def _screen() -> Any:
    """Return the compiled scores in single precision, and up to which of them a code may be the nearest."""
    import numba
    from numba import float32

    signature = "float64(float64[::1], float64[::1], int16[:, ::1], float64[::1], float32[::1])"

    # sums in any order, products unrounded; no NaN gets here
    @numba.njit(signature, fastmath={"contract", "reassoc", "nnan", "nsz"}, error_model="numpy", nogil=True)
    def screen(off: Any, halves: Any, rounded: Any, rounding: Any, scores: Any) -> Any:
        d, count = rounded.shape
        step, left, largest = rounding[0], rounding[1], rounding[2]
        square = 0.0
        for i in range(d):
            square += off[i] * off[i]
        size = np.sqrt(square)
        if not (size < 1e15 and largest < 1e15):
            return np.inf  # beyond single precision all are scored as defined
        for k in range(count):
            scores[k] = halves[k]
        for i in range(0, d, 8):  # eight at once: scores are read and written less often
            a, b = float32(off[i] * step), float32(off[i + 1] * step)
            c, e = float32(off[i + 2] * step), float32(off[i + 3] * step)
            f, g = float32(off[i + 4] * step), float32(off[i + 5] * step)
            h, o = float32(off[i + 6] * step), float32(off[i + 7] * step)
            for k in range(count):
                part = a * float32(rounded[i, k]) + b * float32(rounded[i + 1, k])
                part += c * float32(rounded[i + 2, k]) + e * float32(rounded[i + 3, k])
                part += f * float32(rounded[i + 4, k]) + g * float32(rounded[i + 5, k])
                scores[k] -= part + (h * float32(rounded[i + 6, k]) + o * float32(rounded[i + 7, k]))
        least = scores[0]
        for k in range(count):
            least = scores[k] if scores[k] < least else least
        return least + 2 * size * left + 4 * (d + 8) * 6e-8 * (size + largest) * largest + 2e-36 * d * (1 + size)

    return screen


@functools.cache
def _compiled() -> Any:
    """Return the compiled encoder. The first call takes two seconds, half a second of them Numba's own beginning.

    Two functions, as each takes Numba a tenth of a second, and of given types, so that none is ever compiled again.
    """
    import numba

    screen = _screen()
    books = "float64, float64[:, :, ::1], float64[:, ::1], int16[:, :, ::1], float64[:, ::1]"

    @numba.njit(f"int64(float64[:, ::1], {books}, int32[:, ::1])", error_model="numpy", nogil=True)
    def encode_all(x: Any, unit: Any, vectors: Any, halves: Any, rounded: Any, rounding: Any, found: Any) -> int:
        levels, count = halves.shape
        d = x.shape[1]
        rest, off, scores = np.empty(d), np.empty(rounded.shape[1]), np.empty(count, np.float32)
        for i in range(d, len(off)):
            off[i] = 0.0
        for n in range(len(x)):
            for i in range(d):
                rest[i] = x[n, i] * unit
                if not abs(rest[i]) < 1e300:  # NaN too
                    return n
            for level in range(levels):
                for i in range(d):
                    off[i] = rest[i] - vectors[level, 2 * count, i]
                limit = screen(off, halves[level], rounded[level], rounding[level], scores)
                best, lowest = 0, np.inf
                for k in range(count):
                    if limit == np.inf or scores[k] <= limit:
                        value = halves[level, k]
                        for i in range(d):
                            value -= off[i] * vectors[level, count + k, i]
                        if value < lowest:
                            best, lowest = k, value
                found[n, level] = best
                for i in range(d):
                    rest[i] -= vectors[level, best, i]
        return -1

    return encode_all
