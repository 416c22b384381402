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

#: Columns that are added at a time.
LANES = 16
#: Grams whose sum in int8 fits 32 bits: each adds up to three rows, of numbers down to -128.
FLUSH = 1 << 22


def sum_rows(codes: np.ndarray, ends: np.ndarray, given: tuple[Any, ...], size: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the logits (n, K) of n texts and the number of the language of each, int32, -1 without a known letter.

    codes : code points of all texts, one after the other, uint32
    ends : int64 (n,), where each ends
    given : what :func:`arguments` makes of tables
    size : K

    A triple that is in the table costs one look-up and the sum of one row: K bytes and K additions in int8.
    """
    logits, best = np.empty((len(ends), size)), np.empty(len(ends), np.int32)
    _compiled(given[4].dtype.name, given[2].dtype.name)(codes, ends, *given, logits, best)
    return logits, best


def arguments(tables: Any) -> tuple[Any, ...]:
    """Return the arrays of the tables of a detector in the order in which the kernel takes them.

    Rows are laid out without gaps, with some bytes after the last: the kernel adds LANES columns at a time, those of
    the next row among them, and forgets what is beyond the last language.
    """
    grams, words, selector = tables.grams, tables.words, tables.selector
    k = grams.rows.shape[1]
    listed = (np.zeros(4, np.uint64), _flat(grams.rows[:0]), 0.0)
    if words is not None:
        listed = (_beside(words.slots, words.keys), _flat(words.rows), words.scale * tables.list_weight)
    plain = selector.weights.ndim == 1
    return (
        *(folding(), tables.alphabet.symbols, grams.slots, grams.keys, _flat(grams.rows)),
        *(grams.size, grams.order, grams.scale, *listed),
        selector.weights if plain else np.ones(k),
        selector.offsets if plain else np.zeros(k),
    )


def _flat(rows: np.ndarray) -> np.ndarray:
    return np.concatenate([rows.ravel(), np.zeros(LANES, rows.dtype)])


def _beside(slots: np.ndarray, keys: np.ndarray) -> np.ndarray:
    """Return key 2^32 + slot for every slot, 0 for a free one: a long list is then looked up in one place of memory."""
    found = slots.astype(np.uint64)
    taken = slots > 0
    found[taken] |= keys[slots[taken].astype(np.int64) - 1].astype(np.uint64) << np.uint64(32)
    return found


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
def _row_adder(kind: str, slot: str) -> Any:
    """Return the compiled sum of the row of a key; it says whether there is one."""
    import numba
    from numba import uint64

    one: Any = numba.int32 if kind == "int8" else numba.float64
    total = "int32" if kind == "int8" else "float64"
    signature = f"boolean({slot}[::1], uint32[::1], {kind}[::1], int64, int64, uint64, int64, {total}[::1])"

    @numba.njit(signature, error_model="numpy", nogil=True)
    def add_row(slots: Any, keys: Any, rows: Any, size: Any, width: Any, shift: Any, key: Any, total: Any) -> Any:
        one_more, key = uint64(1), uint64(key)  # unsigned: what may be negative Numba tests at every access
        h, mask = key * uint64(FACTOR), uint64(len(slots)) - one_more
        at, step = h >> shift, (h >> uint64(24)) | one_more
        number = uint64(slots[at])
        while number != uint64(0) and uint64(keys[number - one_more]) != key:
            at = (at + step) & mask
            number = uint64(slots[at])
        if number == uint64(0):
            return False
        at = (number - one_more + uint64(size)) * uint64(width)
        for k in range(uint64(len(total))):
            total[k] += one(rows[at + k])
        return True

    return add_row


@functools.cache
def _adder(kind: str, slot: str) -> Any:
    """Return the compiled sum of the rows of one gram, with back-off."""
    import numba
    from numba import uint64

    add_row = _row_adder(kind, slot)
    one: Any = numba.int32 if kind == "int8" else numba.float64
    total = "int32" if kind == "int8" else "float64"
    table = f"{slot}[::1], uint32[::1], {kind}[::1], int64, int64, int64, uint64"

    @numba.njit(f"void({table}, int64, int64, int64, {total}[::1])", error_model="numpy", nogil=True)
    def add(
        slots: Any, keys: Any, rows: Any, size: Any, width: Any, order: Any, shift: Any, a: Any, b: Any, c: Any,
        total: Any,
    ) -> None:  # fmt: skip
        if order == 3:
            if add_row(slots, keys, rows, size, width, shift, a << 20 | b << 10 | c, total):
                return
            add_row(slots, keys, rows, size, width, shift, 3 << 30 | a << 10 | b, total)
        if order >= 2:
            if add_row(slots, keys, rows, size, width, shift, 1 << 30 | b << 10 | c, total):
                return
            add_row(slots, keys, rows, size, width, shift, 3 << 30 | 1 << 20 | b, total)
        at = uint64(c) * uint64(width)
        for k in range(uint64(len(total))):
            total[k] += one(rows[at + k])

    return add


@functools.cache
def _word_adder(kind: str) -> Any:
    """Return the compiled sum of the row of one word, where it is in the lists."""
    import numba
    from numba import uint64

    one: Any = numba.int32 if kind == "int8" else numba.float64
    total = "int32" if kind == "int8" else "float64"

    @numba.njit(f"void(uint64[::1], {kind}[::1], int64, uint64, uint64, {total}[::1])", error_model="numpy", nogil=True)
    def add_word(slots: Any, rows: Any, width: Any, shift: Any, h: Any, total: Any) -> None:
        key, mask = h >> uint64(32), uint64(len(slots)) - uint64(1)
        at = (key * uint64(FACTOR)) >> shift
        while slots[at] != uint64(0) and slots[at] >> uint64(32) != key:
            at = (at + uint64(1)) & mask
        if slots[at] != uint64(0):
            at = ((slots[at] & uint64(0xFFFFFFFF)) - uint64(1)) * uint64(width)
            for k in range(uint64(len(total))):
                total[k] += one(rows[at + k])

    return add_word


@functools.cache
def _reader(kind: str, slot: str) -> Any:
    """Return the compiled sums of one text: over its grams, and over its words; how many of its letters are known."""
    import numba
    from numba import int64, uint64

    letter, add, add_word = _letter(), _adder(kind, slot), _word_adder(kind)
    total = "int32" if kind == "int8" else "float64"
    tables = f"uint32[::1], uint16[::1], {slot}[::1], uint32[::1], {kind}[::1], int64, int64, int64, uint64"
    sums = f"{total}[::1], {total}[::1], float64[:, ::1]"

    @numba.njit(
        f"int64(uint32[::1], int64, int64, {tables}, uint64[::1], {kind}[::1], uint64, {sums})",
        error_model="numpy", nogil=True,
    )  # fmt: skip
    def read(
        codes: Any, begin: Any, end: Any, folds: Any, symbols: Any, slots: Any, keys: Any, rows: Any, size: Any,
        width: Any, order: Any, shift: Any, word_slots: Any, word_rows: Any, word_shift: Any, grams: Any, words: Any,
        sums: Any,
    ) -> Any:  # fmt: skip
        grams[:], words[:], sums[:] = 0, 0, 0
        added: Any = int64(0)
        a, b, known = int64(0), int64(0), int64(0)
        inside, h = False, uint64(START)
        for i in range(begin, end + 1):
            f = letter(folds, codes, i, begin, end) if i < end else numba.uint32(0)
            if f == 0 and not inside:
                continue
            c = int64(0)
            if f != 0:
                c = int64(symbols[f]) if f < len(symbols) else int64(OTHER)
                known += c > OTHER
                h = (h ^ uint64(f)) * uint64(PRIME)
                inside = True
            add(slots, keys, rows, size, width, order, shift, a, b, c, grams)
            a, b = b, c
            added += 1
            if f == 0:
                add_word(word_slots, word_rows, width, word_shift, h, words)
                a, b, inside, h = int64(0), int64(0), False, uint64(START)
            if added == FLUSH:  # before 32 bits are full
                for k in range(len(grams)):
                    sums[0, k] += grams[k]
                    sums[1, k] += words[k]
                grams[:], words[:], added = 0, 0, 0
        for k in range(len(grams)):
            sums[0, k] += grams[k]
            sums[1, k] += words[k]
        return known

    return read


@functools.cache
def _compiled(kind: str, slot: str) -> Any:
    """Return the compiled kernel for rows of float32 or int8. The first call takes 3 s."""
    import numba
    from numba import uint64

    read = _reader(kind, slot)
    one: Any = numba.int32 if kind == "int8" else numba.float64
    tables = f"uint32[::1], uint16[::1], {slot}[::1], uint32[::1], {kind}[::1], int64, int64, float64"
    lists = f"uint64[::1], {kind}[::1], float64, float64[::1], float64[::1]"

    @numba.njit(f"void(uint32[::1], int64[::1], {tables}, {lists}, float64[:, ::1], int32[::1])",
                error_model="numpy", nogil=True)  # fmt: skip
    def run(
        codes: Any, ends: Any, folds: Any, symbols: Any, slots: Any, keys: Any, rows: Any, size: Any, order: Any,
        unit: Any, word_slots: Any, word_rows: Any, word_unit: Any, weights: Any, offsets: Any, logits: Any, best: Any,
    ) -> None:  # fmt: skip
        width = len(weights)
        lanes = (width + LANES - 1) // LANES * LANES
        grams, words, sums = np.zeros(lanes, one), np.zeros(lanes, one), np.zeros((2, lanes))
        shift, word_shift = uint64(64), uint64(64)
        while (1 << (64 - shift)) < len(slots):
            shift -= uint64(1)
        while (1 << (64 - word_shift)) < len(word_slots):
            word_shift -= uint64(1)
        begin = 0
        for n in range(len(ends)):
            known = read(
                codes, begin, ends[n], folds, symbols, slots, keys, rows, size, width, order, shift, word_slots,
                word_rows, word_shift, grams, words, sums,
            )  # fmt: skip
            begin, best[n], largest = ends[n], -1, -np.inf
            for k in range(width):
                value = (unit * sums[0, k] + word_unit * sums[1, k]) * weights[k] + offsets[k]
                logits[n, k] = value if known else 0.0
                if known and value > largest:
                    largest, best[n] = value, k

    return run
