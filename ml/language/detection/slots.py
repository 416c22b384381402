"""Hash tables with open addresses: which row belongs to a key."""

from __future__ import annotations

import numpy as np

__all__ = ["FACTOR", "PRIME", "START", "slots_of", "word_keys"]

#: 2^64 divided by the golden ratio, odd: spreads keys over the slots.
FACTOR = 0x9E3779B97F4A7C15
#: Steps of all keys together, for each key and beside. Measured: 2 to 4 a key for lists of words, for triples that
#: occur and for all triples of 37 letters; keys that were made to collide take half as many as there are keys.
MEAN_STEPS, MORE_STEPS = 64, 1 << 16
#: The prime and the start of the hash of a word (FNV-1a, on code points).
PRIME, START = 0x100000001B3, 0xCBF29CE484222325


def slots_of(keys: np.ndarray, *, hop: bool) -> np.ndarray:
    """Return the hash table of different uint32 keys, uint16 or uint32 (2^p,): 1 + the number of a key, or 0.

    With h = key FACTOR mod 2^64, a key stands in the first free slot of h >> (64 - p), and from there on in steps of
    one, or of (h >> 24) | 1 where `hop`, modulo 2^p. Steps of one stay near in memory, but want more free slots: 2^p is
    at least 5/3 of the keys, with `hop` 5/4.

    Raises ValueError for keys that collide more often than keys by chance do: looking them up would take for ever.
    """
    bits = max(2, int(np.ceil(np.log2(max(len(keys), 1) * (5 / 4 if hop else 5 / 3)))))
    slots = np.zeros(1 << bits, np.uint16 if len(keys) < 1 << 16 else np.uint32)
    with np.errstate(over="ignore"):
        hashes = keys.astype(np.uint64) * np.uint64(FACTOR)
    at = (hashes >> np.uint64(64 - bits)).astype(np.int64)
    steps = ((hashes >> np.uint64(24)) | np.uint64(1)).astype(np.int64) if hop else np.ones(len(keys), np.int64)
    waiting, left = np.arange(len(keys)), MEAN_STEPS * len(keys) + MORE_STEPS
    while left >= 0:
        left -= len(waiting)
        free = slots[at[waiting]] == 0
        first, where = np.unique(at[waiting[free]], return_index=True)
        slots[first] = waiting[free][where] + 1
        waiting = waiting[slots[at[waiting]] != waiting + 1]
        if not len(waiting):
            return slots
        at[waiting] = (at[waiting] + steps[waiting]) & (len(slots) - 1)
    raise ValueError(f"{len(waiting)} keys collide too often for a hash table; they were made to")


def word_keys(words: list[str]) -> np.ndarray:
    """Return the keys of folded words, uint32: the upper half of h <- (h xor code point) PRIME mod 2^64."""
    if not words:
        return np.empty(0, np.uint32)
    lengths = np.fromiter(map(len, words), np.int64, len(words))
    codes = np.frombuffer("".join(words).encode("utf-32-le"), "<u4")
    starts = np.cumsum(lengths) - lengths
    found = np.full(len(words), START, np.uint64)
    with np.errstate(over="ignore"):
        for i in range(int(lengths.max())):
            longer = lengths > i
            found[longer] = (found[longer] ^ codes[starts[longer] + i].astype(np.uint64)) * np.uint64(PRIME)
    return (found >> np.uint64(32)).astype(np.uint32)
