"""Which rows belong to a gram or a word: an index of the most frequent letters, hash tables for all else; compiled."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from ml.language.detection.grams import CONTEXT, PAIR, SHORT, GramTable
from ml.language.detection.slots import FACTOR

__all__ = ["BITS", "beside", "gram_finder", "near", "word_finder"]

#: Symbols below 2^BITS are in the index: 94 % of the triples of running words in 14 languages of Europe.
BITS = 5


def near(grams: GramTable) -> np.ndarray:
    """Return the row of each gram a b c of the first 32 symbols that has one row only, by a 2^10 + b 2^5 + c.

    0 stands for a gram that adds several rows, and for one that adds that of the end of a word alone, 0:
    :func:`gram_finder` finds these. uint32, 128 KB.
    """
    n = 1 << BITS
    found = np.zeros((n, n, n), np.uint32)
    found[:] = np.arange(n)
    numbers = np.arange(grams.size, len(grams.rows))

    def taken(kind: int, *shifts: int) -> tuple[np.ndarray, ...]:
        """The rows of grams of a kind whose symbols are all below n, and these symbols."""
        rest = grams.keys ^ np.uint32(kind)
        symbols = [(rest >> np.uint32(shift)) & np.uint32(1023) for shift in shifts]
        this = rest == sum(symbol << np.uint32(shift) for symbol, shift in zip(symbols, shifts, strict=True))
        for symbol in symbols:
            this &= symbol < n
        return (numbers[this], *(symbol[this] for symbol in symbols))

    # from the last thing that is tried to the first, see GramTable
    if grams.order >= 2:
        _, b = taken(CONTEXT | SHORT, 0)
        found[:, b] = 0
        rows, b, c = taken(PAIR, 10, 0)
        found[:, b, c] = rows
    if grams.order == 3:
        _, a, b = taken(CONTEXT, 10, 0)
        found[a, b] = 0
        rows, a, b, c = taken(0, 20, 10, 0)
        found[a, b, c] = rows
    return found.ravel()


def beside(slots: np.ndarray, keys: np.ndarray) -> np.ndarray:
    """Return key 2^32 + slot for every slot, 0 for a free one: a long list is then looked up in one place of memory."""
    found = slots.astype(np.uint64)
    taken = slots > 0
    found[taken] |= keys[slots[taken].astype(np.int64) - 1].astype(np.uint64) << np.uint64(32)
    return found


@functools.cache
def _finder(slot: str) -> Any:
    """Return the compiled look-up of a key among those of grams: its place, -1 for one that is not there."""
    import numba
    from numba import int64, uint64

    @numba.njit(f"int64({slot}[::1], uint32[::1], uint64, uint64)", error_model="numpy", nogil=True)
    def find(slots: Any, keys: Any, shift: Any, key: Any) -> Any:
        one_more = uint64(1)  # unsigned: what may be negative Numba tests at every access
        h, mask = key * uint64(FACTOR), uint64(len(slots)) - one_more
        at, step = h >> shift, (h >> uint64(24)) | one_more
        number = uint64(slots[at])
        while number != uint64(0) and uint64(keys[number - one_more]) != key:
            at = (at + step) & mask
            number = uint64(slots[at])
        return int64(number) - 1

    return find


@functools.cache
def gram_finder(slot: str) -> Any:
    """Return the compiled search for the rows of one gram, with back-off.

    It writes their numbers, one to three, to found[n], found[n + 1] ..., and returns n plus how many there are.
    """
    import numba
    from numba import uint64

    find = _finder(slot)
    table = f"{slot}[::1], uint32[::1], int64, int64, uint64"

    @numba.njit(f"int64({table}, int64, int64, int64, int64[::1], int64)", error_model="numpy", nogil=True)
    def rows_of(
        slots: Any, keys: Any, size: Any, order: Any, shift: Any, a: Any, b: Any, c: Any, found: Any, n: Any
    ) -> Any:
        if order == 3:
            at = find(slots, keys, shift, uint64(a << 20 | b << 10 | c))
            if at >= 0:
                found[n] = at + size
                return n + 1
            at = find(slots, keys, shift, uint64(CONTEXT | a << 10 | b))
            if at >= 0:
                found[n] = at + size
                n += 1
        if order >= 2:
            at = find(slots, keys, shift, uint64(PAIR | b << 10 | c))
            if at >= 0:
                found[n] = at + size
                return n + 1
            at = find(slots, keys, shift, uint64(CONTEXT | SHORT | b))
            if at >= 0:
                found[n] = at + size
                n += 1
        found[n] = c
        return n + 1

    return rows_of


@functools.cache
def word_finder() -> Any:
    """Return the compiled look-up of the hash of a word in the lists: the number of its row, -1 without one."""
    import numba
    from numba import int64, uint64

    @numba.njit("int64(uint64[::1], uint64, uint64)", error_model="numpy", nogil=True)
    def find_word(slots: Any, shift: Any, h: Any) -> Any:
        key, mask = h >> uint64(32), uint64(len(slots)) - uint64(1)
        at = (key * uint64(FACTOR)) >> shift
        while slots[at] != uint64(0) and slots[at] >> uint64(32) != key:
            at = (at + uint64(1)) & mask
        return int64(slots[at] & uint64(0xFFFFFFFF)) - int64(1)

    return find_word
