"""Which rows belong to a gram or a word: an index of the most frequent letters, hash tables for all else; compiled."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from ml.language.detection.grams import CONTEXT, PAIR, SHORT, GramTable
from ml.language.detection.packing import LANES, adder
from ml.language.detection.slots import FACTOR

__all__ = ["BITS", "beside", "gram_finder", "near", "word_adder"]

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
def word_adder(kind: str) -> Any:
    """Return the compiled sums of the rows of many words, by their hashes; words that are in no list add nothing.

    It takes, for `count` words, hashes and owners, the texts to whose sums (texts, K) they belong, those of one text
    one after the other. Long lists lie far off in memory: all slots are fetched before the first is looked at, and the
    beginnings of all packed rows before the first is added, so that words wait together and not one by one. `entries`
    and `numbers` are room for as many.
    """
    import numba
    from numba import int64, uint64

    add, in_bytes = adder(kind), kind == "uint64"
    room = "uint64[::1], int64[::1], uint64[::1], int64[::1], float64[:, ::1]"

    @numba.njit(f"void(uint64[::1], {kind}[::1], uint64, int64, int64, {room})", error_model="numpy", nogil=True)
    def add_words(
        slots: Any, rows: Any, shift: Any, width: Any, count: Any, hashes: Any, owners: Any, entries: Any, numbers: Any,
        sums: Any,
    ) -> None:  # fmt: skip
        mask, long = uint64(len(slots)) - uint64(1), uint64((width + LANES - 1) // LANES * 2)
        for i in range(count):
            entries[i] = slots[((hashes[i] >> uint64(32)) * uint64(FACTOR)) >> shift]
        n: Any = int64(0)
        for i in range(count):
            key, entry = hashes[i] >> uint64(32), entries[i]
            if entry != uint64(0) and entry >> uint64(32) != key:
                at = (key * uint64(FACTOR)) >> shift
                while entry != uint64(0) and entry >> uint64(32) != key:
                    at = (at + uint64(1)) & mask
                    entry = slots[at]
            if entry != uint64(0):
                numbers[n] = int64(entry & uint64(0xFFFFFFFF)) - int64(1)
                owners[n] = owners[i]
                if in_bytes:
                    entries[n] = rows[uint64(numbers[n]) * long]
                n += 1
        first: Any = int64(0)
        for i in range(1, n + 1):
            if i == n or owners[i] != owners[first]:
                add(rows, width, numbers[first:i], i - first, sums[owners[first]])
                first = i

    return add_words
