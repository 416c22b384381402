"""Integers of 0 to 24 bits, packed one after the other into bytes."""

from __future__ import annotations

import functools
import operator
from typing import Any

from lowrank.arrays import all_true, device, namespace

__all__ = ["MAX_BITS", "bytes_of", "pack", "unpack"]

#: Codes are held in 32 bits while they are moved, and an integer of 24 bits is exact in single precision.
MAX_BITS = 24
#: So many numbers fill whole bytes in any number of bits.
OCTET = 8


def bytes_of(count: int, bits: int) -> int:
    """Return how many bytes `count` numbers of so many bits take: ceil(count bits / 8).

    >>> bytes_of(3, 5)
    2
    """
    return -(-count * bits // 8)


def pack(numbers: Any, bits: int) -> Any:
    """Return unsigned integers (r, n) below 2^bits as bytes (r, ceil(n bits / 8)), each row by itself.

    The most significant bit comes first, and the bits after the last number are zero, as `numpy.packbits` has it.

    numbers : int32 (r, n), of any array module
    bits : 0 to 24

    Eight numbers make `bits` whole bytes, and each of these bytes is put together from the few numbers in it.

    Examples
    --------
    >>> import numpy as np
    >>> pack(np.array([[1, 2, 3]], dtype=np.int32), 4)
    array([[18, 48]], dtype=uint8)
    """
    xp, (r, n) = namespace(numbers), numbers.shape
    if bits == 8:
        return xp.astype(numbers, xp.uint8)
    if not bits or not n or not r:
        return xp.zeros((r, bytes_of(n, bits)), dtype=xp.uint8, device=device(numbers))
    octets = _padded(numbers, -n % OCTET)
    octets = xp.reshape(octets, (r, -1, OCTET))
    columns = []
    for j in range(bits):
        inside = range(8 * j // bits, (8 * j + 7) // bits + 1)
        byte = _joined([_shifted(octets[:, :, i], (i + 1) * bits - 8 * (j + 1)) for i in inside])
        columns.append(xp.astype(byte & 255, xp.uint8))
    return xp.reshape(xp.stack(columns, axis=2), (r, -1))[:, : bytes_of(n, bits)]


def unpack(codes: Any, bits: int, count: int) -> Any:
    """Return the numbers int32 (r, count) that :func:`pack` made into bytes (r, ceil(count bits / 8)).

    Raises ValueError for another number of bytes, and where bits after the last number are not zero: that is no code of
    this package, or a damaged one.

    Examples
    --------
    >>> import numpy as np
    >>> unpack(np.array([[18, 48]], dtype=np.uint8), 4, 3)
    array([[1, 2, 3]], dtype=int32)
    """
    xp, (r, width) = namespace(codes), codes.shape
    if width != bytes_of(count, bits):
        raise ValueError(
            f"{count} numbers of {bits} bits take {bytes_of(count, bits)} bytes, got {width}: the codes are cut short "
            "or belong to something else"
        )
    if bits == 8:
        return xp.astype(codes, xp.int32)
    if not bits or not count or not r:
        return xp.zeros((r, count), dtype=xp.int32, device=device(codes))
    if (rest := 8 * width - count * bits) and not all_true((codes[:, -1] & (2**rest - 1)) == 0):
        raise ValueError(f"the last {rest} bits of a row of codes are not zero: the codes are damaged")
    octets = -(-count // OCTET)
    parts = xp.reshape(_padded(xp.astype(codes, xp.int32), octets * bits - width), (r, octets, bits))
    columns = []
    for i in range(OCTET):
        inside = range(i * bits // 8, ((i + 1) * bits - 1) // 8 + 1)
        number = _joined([_shifted(parts[:, :, j], 8 * (j + 1) - (i + 1) * bits) for j in inside])
        columns.append(number & (2**bits - 1))
    return xp.reshape(xp.stack(columns, axis=2), (r, octets * OCTET))[:, :count]


def _joined(parts: list[Any]) -> Any:
    """Return the bits of all parts, which do not overlap."""
    return functools.reduce(operator.or_, parts)


def _padded(rows: Any, more: int) -> Any:
    """Return the rows with so many zeros after each."""
    if not more:
        return rows
    xp = namespace(rows)
    return xp.concat([rows, xp.zeros((rows.shape[0], more), dtype=rows.dtype, device=device(rows))], axis=1)


def _shifted(numbers: Any, places: int) -> Any:
    """Return the numbers shifted by so many bits to the right, to the left if negative."""
    if places == 0:
        return numbers
    return numbers >> places if places > 0 else numbers << -places
