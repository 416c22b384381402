"""Rows of tables as the compiled kernel adds them up: int8 eight languages at a time, in one word of 64 bits."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

__all__ = ["FULL", "LANES", "ROOM", "adder", "packed"]

#: Languages that are added up together: two words of eight bytes.
LANES = 16
#: What is added to a number of int8, so that no sum borrows from its neighbour.
BIAS = 128
#: So many rows can be added in lanes of 16 bits, each up to 255, and so many are waited for: a gram adds up to three.
ROOM = 256
FULL = ROOM - 3
#: Every other byte.
EVEN = 0x00FF00FF00FF00FF


def packed(rows: np.ndarray) -> np.ndarray:
    """Return rows (R, K) one after the other, float32 as they are; of int8 eight in a uint64, filled up to 16.

    A byte is the number plus 128. The first language is in the lowest byte, on any machine.
    """
    if rows.dtype != np.int8:
        return rows.ravel()
    n, k = rows.shape
    wide = np.zeros((n, -(-k // LANES) * LANES), np.uint8)
    wide[:, :k] = rows.view(np.uint8) ^ np.uint8(BIAS)
    return wide.view("<u8").astype(np.uint64).ravel()


@functools.cache
def adder(kind: str) -> Any:
    """Return the compiled sum of up to ROOM rows: add(rows, K, numbers of rows, how many, sums).

    kind : float32, or uint64 for packed int8
    sums : float64 (K,), or K filled up to a multiple of 16; exact for int8 up to 2^53

    A packed row of 16 languages costs two loads and two additions of four lanes of 16 bits each; lanes become numbers
    once for all rows.
    """
    return _packed_adder() if kind == "uint64" else _plain_adder()


def _plain_adder() -> Any:
    import numba
    from numba import uint64

    @numba.njit("void(float32[::1], int64, int64[::1], int64, float64[::1])", error_model="numpy", nogil=True)
    def add(rows: Any, width: Any, found: Any, count: Any, sums: Any) -> None:
        for i in range(count):
            at = uint64(found[i]) * uint64(width)
            for k in range(uint64(width)):
                sums[k] += rows[at + k]

    return add


def _packed_adder() -> Any:
    import numba
    from numba import int32, uint64

    @numba.njit("void(uint64[::1], int64, int64[::1], int64, float64[::1])", error_model="numpy", nogil=True)
    def add(rows: Any, width: Any, found: Any, count: Any, sums: Any) -> None:
        one, eight, even, low = uint64(1), uint64(8), uint64(EVEN), uint64(0xFFFF)
        words, bias = uint64((width + LANES - 1) // LANES * 2), int32(BIAS * count)
        for block in range(uint64(0), words, uint64(2)):
            p, q, r, s = uint64(0), uint64(0), uint64(0), uint64(0)
            for i in range(uint64(count)):
                at = uint64(found[i]) * words + block
                first, second = rows[at], rows[at + one]
                p += first & even
                q += (first >> eight) & even
                r += second & even
                s += (second >> eight) & even
            for j in range(uint64(4)):
                k, shift = block * eight + j + j, uint64(16) * j
                sums[k] += int32((p >> shift) & low) - bias
                sums[k + one] += int32((q >> shift) & low) - bias
                sums[k + eight] += int32((r >> shift) & low) - bias
                sums[k + eight + one] += int32((s >> shift) & low) - bias

    return add
