"""Pieces of a batch: as many parameter points at once as fit the cache, or the memory of a device."""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np

from lowrank.arrays import namespace

__all__ = ["PIECE", "device_room", "pieces", "slices", "tiles"]

#: Bytes that the arrays of one piece may take together: small beside the third-level cache, and enough for a piece
#: of some thousand points, whose few calls from Python take 0.1 ms. (1 MB was some per cent slower for N = 5 to 30.)
PIECE_BYTES = 4 << 20
#: Smallest and largest number of points of a piece.
PIECE = (256, 8192)
#: Number of points of the first piece, in a batch of more than one piece.
FIRST = 32
#: The same two on a device, which is fast only with much to do: a piece is what the memory has room for.
DEVICE_PIECE_BYTES = 1 << 30
DEVICE_PIECE = (256, 1 << 20)
#: Bytes that the intermediate arrays of one tile of points may take; about a second-level cache.
TILE_BYTES = 4 << 20
#: The same for arrays on a device; never more than a quarter of its free memory.
DEVICE_TILE_BYTES = 4 << 30
#: Number of columns of full-order vectors that are computed together.
BLOCK = 64


def slices(count: int, size: int = BLOCK, first: int = 0) -> list[slice]:
    """Cut range(first, count) into slices of at most `size`."""
    return [slice(k, min(k + size, count)) for k in range(first, count, size)]


def pieces(count: int, bytes_per_point: int, *, on_host: bool = True) -> list[slice]:
    """Cut a batch of `count` points into pieces, which do not depend on the number of threads.

    On the host the first one is short: its answers show what the result is made of, before the threads start; and there
    are some eight others at least, unless they would be very small.
    """
    room, (least, most) = (PIECE_BYTES, PIECE) if on_host else (DEVICE_PIECE_BYTES, DEVICE_PIECE)
    size = min(max(room // max(bytes_per_point, 1), least), most)
    if on_host and count <= 2 * least:
        return [slice(0, count)]
    first = 0
    if on_host:
        first, size = FIRST, max(min(size, count // 8), least)
    return [slice(0, first)] * (first > 0) + slices(count, size // 32 * 32, first)


def tiles(count: int, bytes_per_point: int, like: Any = None) -> list[slice]:
    """Cut `count` points into tiles whose intermediate arrays stay in the cache; memory is bounded, too.

    like : an array that lives where they do; None for NumPy's
    """
    room = TILE_BYTES if like is None or isinstance(like, np.ndarray) else device_room(like, DEVICE_TILE_BYTES)
    return slices(count, max(1, min(count, room // max(bytes_per_point, 1))))


def device_room(like: Any, wanted: int) -> int:
    """Return how many bytes intermediate arrays may take where `like` lives.

    That is `wanted`, or less: a quarter of the memory that is free there, if CuPy reports it.
    """
    if not namespace(like).__name__.endswith("cupy"):
        return wanted
    cupy = importlib.import_module("cupy")
    free, _ = cupy.cuda.runtime.memGetInfo()
    return min(wanted, (free + cupy.get_default_memory_pool().free_bytes()) // 4)
