"""The compiled sums: from code points to the scores of texts, without an array per text.

It computes what definition.py says. Numba is imported at the first call.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from ml.language.detection.letters import APOSTROPHE, CODES, OTHER, folding
from ml.language.detection.slots import FACTOR, PRIME, START

__all__ = ["arguments", "sum_rows"]


def sum_rows(codes: np.ndarray, ends: np.ndarray, given: tuple[Any, ...], size: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the logits (n, K) of n texts and the number of the language of each, int32, -1 without a known letter.

    codes : code points of all texts, one after the other, uint32
    ends : int64 (n,), where each ends
    given : what :func:`arguments` makes of tables
    size : K

    A triple that is in the table costs one look-up and the sum of one row: 8 K / 8 bytes and K additions in int8.
    """
    logits, best = np.empty((len(ends), size)), np.empty(len(ends), np.int32)
    _compiled(given[4].dtype.name)(codes, ends, *given, logits, best)
    return logits, best


def arguments(tables: Any) -> tuple[Any, ...]:
    """Return the arrays of the tables of a detector in the order in which the kernel takes them."""
    grams, words, selector = tables.grams, tables.words, tables.selector
    row = grams.rows[:0]
    listed = (np.full(4, -1, np.int32), np.empty(0, np.uint64), row, 0.0)
    if words is not None:
        listed = (words.slots, words.keys, words.rows, words.scale * tables.list_weight)
    plain = selector.weights.ndim == 1
    k = grams.rows.shape[1]
    return (
        *(folding(), tables.alphabet.symbols, grams.slots, grams.keys, grams.rows),
        *(int(grams.counts[0]), grams.order, grams.scale),
        *listed,
        selector.weights if plain else np.ones(k),
        selector.offsets if plain else np.zeros(k),
    )


@functools.cache
def _finder(keys: str) -> Any:
    """Return the compiled look-up of a key: the number of its row, or -1."""
    import numba
    from numba import int64, uint64

    @numba.njit(f"int64(int32[::1], {keys}[::1], uint64, uint64)", error_model="numpy", nogil=True, inline="never")
    def find(slots: Any, keys: Any, key: Any, shift: Any) -> Any:
        mask = len(slots) - 1
        at = int64((key * uint64(FACTOR)) >> shift)
        row = slots[at]
        while row >= 0 and keys[row] != key:
            at = (at + 1) & mask
            row = slots[at]
        return int64(row)

    return find


@functools.cache
def _letter() -> Any:
    """Return the compiled folding of one letter of a text, 0 for what is none."""
    import numba

    @numba.njit("uint32(uint32[::1], uint32[::1], int64, int64, int64)", error_model="numpy", nogil=True)
    def letter(folds: Any, codes: Any, at: Any, begin: Any, end: Any) -> Any:
        code = codes[at]
        found = folds[code] if code < CODES else 0
        if found != APOSTROPHE:
            return found
        if at == begin or at + 1 >= end:
            return 0
        before, after = codes[at - 1], codes[at + 1]
        if before >= CODES or after >= CODES:
            return 0
        first, last = folds[before], folds[after]
        between = first != 0 and last != 0 and first != APOSTROPHE and last != APOSTROPHE
        return found if between else 0

    return letter


@functools.cache
def _adder(kind: str) -> Any:
    """Return the compiled sum of the rows of one gram, with back-off."""
    import numba
    from numba import int64, uint64

    find = _finder("uint32")
    total = "int64" if kind == "int8" else "float64"
    signature = f"void(int32[::1], uint32[::1], {kind}[:, ::1], int64, int64, uint64, int64, int64, int64, {total}[::1])"

    @numba.njit(signature, error_model="numpy", nogil=True)
    def add(slots: Any, keys: Any, rows: Any, size: Any, order: Any, shift: Any, a: Any, b: Any, c: Any, total: Any) -> None:
        count = rows.shape[1]
        row = int64(-1)
        if order == 3:
            row = find(slots, keys, uint64(a << 20 | b << 10 | c), shift)
            if row < 0:
                row = find(slots, keys, uint64(3 << 30 | a << 10 | b), shift)
                if row >= 0:
                    for k in range(count):
                        total[k] += rows[row + size, k]
                row = int64(-1)
        if row < 0 and order >= 2:
            row = find(slots, keys, uint64(1 << 30 | b << 10 | c), shift)
            if row < 0:
                row = find(slots, keys, uint64(3 << 30 | 1 << 20 | b), shift)
                if row >= 0:
                    for k in range(count):
                        total[k] += rows[row + size, k]
                row = int64(-1)
        row = row + size if row >= 0 else c
        for k in range(count):
            total[k] += rows[row, k]

    return add


@functools.cache
def _compiled(kind: str) -> Any:
    """Return the compiled kernel for rows of float32 or int8. The first call takes about two seconds."""
    import numba
    from numba import int64, uint64

    letter, add, find = _letter(), _adder(kind), _finder("uint64")
    number = numba.int64 if kind == "int8" else numba.float64
    tables = f"uint32[::1], uint16[::1], int32[::1], uint32[::1], {kind}[:, ::1], int64, int64, float64"
    lists = f"int32[::1], uint64[::1], {kind}[:, ::1], float64, float64[::1], float64[::1]"

    @numba.njit(f"void(uint32[::1], int64[::1], {tables}, {lists}, float64[:, ::1], int32[::1])",
                error_model="numpy", nogil=True)  # fmt: skip
    def run(
        codes: Any, ends: Any, folds: Any, symbols: Any, slots: Any, keys: Any, rows: Any, size: Any, order: Any,
        unit: Any, word_slots: Any, word_keys: Any, word_rows: Any, word_unit: Any, weights: Any, offsets: Any,
        logits: Any, best: Any,
    ) -> None:  # fmt: skip
        count = rows.shape[1]
        grams, words = np.zeros(count, number), np.zeros(count, number)
        shift, word_shift = uint64(64), uint64(64)
        while (1 << (64 - shift)) < len(slots):
            shift -= uint64(1)
        while (1 << (64 - word_shift)) < len(word_slots):
            word_shift -= uint64(1)
        begin = 0
        for n in range(len(ends)):
            end = ends[n]
            grams[:], words[:] = 0, 0
            a, b, known, inside, h = 0, 0, 0, False, uint64(START)
            for i in range(begin, end + 1):
                f = letter(folds, codes, i, begin, end) if i < end else numba.uint32(0)
                if f == 0 and not inside:
                    continue
                if f != 0:
                    c = int64(symbols[f]) if f < len(symbols) else int64(OTHER)
                    known += c > OTHER
                    h = (h ^ uint64(f)) * uint64(PRIME)
                    inside = True
                else:
                    c = int64(0)
                add(slots, keys, rows, size, order, shift, a, b, c, grams)
                a, b = b, c
                if f == 0:
                    if len(word_keys):
                        row = find(word_slots, word_keys, h, word_shift)
                        if row >= 0:
                            for k in range(count):
                                words[k] += word_rows[row, k]
                    a, b, inside, h = 0, 0, False, uint64(START)
            begin = end
            best[n] = -1
            for k in range(count):
                logits[n, k] = 0.0
            if known:
                largest = -np.inf
                for k in range(count):
                    value = (unit * grams[k] + word_unit * words[k]) * weights[k] + offsets[k]
                    logits[n, k] = value
                    if value > largest:
                        largest, best[n] = value, k

    return run
