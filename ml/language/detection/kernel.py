"""The compiled sums: from code points to the scores of texts, without an array per text.

It computes what definition.py says, bit for bit. Numba is imported at the first call.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from ml.language.detection.letters import APOSTROPHE, CODES, OTHER, folding
from ml.language.detection.look_up import BITS, beside, gram_finder, near, word_adder
from ml.language.detection.packing import FULL, LANES, ROOM, adder, packed
from ml.language.detection.slots import PRIME, START

__all__ = ["arguments", "sum_rows"]

#: Texts whose words are looked up together.
GROUP = 128


def sum_rows(codes: np.ndarray, ends: np.ndarray, given: tuple[Any, ...], size: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the logits (n, K) of n texts and the number of the language of each, int32, -1 without a known letter.

    codes : code points of all texts, one after the other, uint32
    ends : int64 (n,), where each ends
    given : what :func:`arguments` makes of tables
    size : K

    A text is read first, which gives the numbers of its rows, then the rows are added up: a triple of frequent letters
    costs one look-up in an index without a hash, and in int8 two loads and four additions for 16 languages.
    """
    logits, best = np.empty((len(ends), size)), np.empty(len(ends), np.int32)
    _compiled(given[5].dtype.name, given[2].dtype.name)(codes, ends, *given, logits, best)
    return logits, best


def arguments(tables: Any) -> tuple[Any, ...]:
    """Return the arrays of the tables of a detector in the order in which the kernel takes them.

    Beside the tables they are an index of frequent letters (128 KB), int8 rows filled up to a multiple of 16 bytes, and
    the keys of word lists once more.
    """
    grams, words, selector = tables.grams, tables.words, tables.selector
    k = grams.rows.shape[1]
    listed = (np.empty(0, np.uint64), packed(grams.rows[:0]), 0.0)
    if words is not None:
        listed = (beside(words.slots, words.keys), packed(words.rows), words.scale * tables.list_weight)
    plain = selector.weights.ndim == 1
    return (
        *(folding(), tables.alphabet.symbols, grams.slots, grams.keys, near(grams), packed(grams.rows)),
        *(grams.size, grams.order, grams.scale, *listed),
        selector.weights if plain else np.ones(k),
        selector.offsets if plain else np.zeros(k),
    )


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
def _decider() -> Any:
    """Return the compiled selector of some texts: it writes their logits, and the numbers of the largest to `best`.

    best : int32, -1 for a text without a known letter, whose logits are zeros
    """
    import numba
    from numba import int64

    both = "float64, float64[:, ::1], float64, float64[:, ::1], float64[::1], float64[::1]"

    @numba.njit(f"void({both}, float64[:, ::1], int32[::1])", error_model="numpy", nogil=True)
    def decide(
        unit: Any, grams: Any, word_unit: Any, words: Any, weights: Any, offsets: Any, logits: Any, best: Any
    ) -> None:
        for text in range(len(best)):
            if best[text] < 0:
                logits[text] = 0.0
                continue
            for k in range(len(weights)):
                logits[text, k] = (unit * grams[text, k] + word_unit * words[text, k]) * weights[k] + offsets[k]
            which: Any = int64(0)
            largest = -np.inf
            for k in range(len(weights)):  # without a branch, which would be guessed wrongly
                value = logits[text, k]
                which = k if value > largest else which
                largest = max(largest, value)
            best[text] = which

    return decide


@functools.cache
def _bits() -> Any:
    """Return the compiled 64 - p of a hash table of 2^p slots."""
    import numba
    from numba import uint64

    @numba.njit("uint64(int64)", error_model="numpy", nogil=True)
    def bits(size: Any) -> Any:
        shift = uint64(64)
        while (1 << (64 - shift)) < size:
            shift -= uint64(1)
        return shift

    return bits


def _signature(kind: str, slot: str) -> str:
    """Return the types that the compiled kernel takes."""
    tables = f"uint32[::1], uint16[::1], {slot}[::1], uint32[::1], uint32[::1], {kind}[::1], int64, int64, float64"
    lists = f"uint64[::1], {kind}[::1], float64, float64[::1], float64[::1]"
    return f"void(uint32[::1], int64[::1], {tables}, {lists}, float64[:, ::1], int32[::1])"


@functools.cache
def _compiled(kind: str, slot: str) -> Any:
    """Return the compiled kernel for rows of float32 or packed int8. The first call takes 4 s.

    Letters are read in one function with all else, since a call that hands over so many arrays costs more than a word.
    """
    from numba import int64, njit, uint32, uint64

    letter, rows_of, add, add_words = _letter(), gram_finder(slot), adder(kind), word_adder(kind)
    bits, decide = _bits(), _decider()

    @njit(_signature(kind, slot), error_model="numpy", nogil=True)
    def run(
        codes: Any, ends: Any, folds: Any, symbols: Any, slots: Any, keys: Any, index: Any, rows: Any, size: Any,
        order: Any, unit: Any, word_slots: Any, word_rows: Any, word_unit: Any, weights: Any, offsets: Any, logits: Any,
        best: Any,
    ) -> None:  # fmt: skip
        width, begin, listed = len(weights), 0, len(word_slots) > 0
        shift, word_shift = bits(len(slots)), bits(len(word_slots))
        numbers, owners, hashes = np.zeros(ROOM, np.int64), np.zeros(ROOM, np.int64), np.zeros(ROOM, np.uint64)
        waiting = (hashes, owners, np.zeros(ROOM, np.uint64), np.zeros(ROOM, np.int64))
        of_grams = np.zeros((min(GROUP, len(ends)), (width + LANES - 1) // LANES * LANES))
        of_words, m = of_grams.copy(), int64(0)
        for text in range(len(ends)):
            end, group = ends[text], text % GROUP
            of_grams[group], of_words[group] = 0, 0
            n, known, a, b = int64(0), int64(0), int64(0), int64(0)
            inside, h = False, uint64(START)
            for i in range(begin, end + 1):
                f = letter(folds, codes, i, begin, end) if i < end else uint32(0)
                if f == 0 and not inside:
                    continue
                c = int64(0)
                if f != 0:
                    c = int64(symbols[f]) if f < len(symbols) else int64(OTHER)
                    known += c > OTHER
                    h = (h ^ uint64(f)) * uint64(PRIME)
                    inside = True
                number = int64(index[a << 2 * BITS | b << BITS | c]) if a | b | c < 1 << BITS else int64(0)
                if number != 0:
                    numbers[n] = number
                    n += 1
                else:
                    n = rows_of(slots, keys, size, order, shift, a, b, c, numbers, n)
                a, b = b, c
                if n > FULL:
                    add(rows, width, numbers, n, of_grams[group])
                    n = int64(0)
                if f == 0:
                    hashes[m], owners[m] = h, group
                    m += listed
                    a, b, inside, h = int64(0), int64(0), False, uint64(START)
                    if m == ROOM:
                        add_words(word_slots, word_rows, word_shift, width, m, *waiting, of_words)
                        m = int64(0)
            add(rows, width, numbers, n, of_grams[group])
            begin, best[text] = end, 0 if known else -1
            if group == GROUP - 1 or text == len(ends) - 1:
                add_words(word_slots, word_rows, word_shift, width, m, *waiting, of_words)
                m = int64(0)
                these = slice(text - group, text + 1)
                decide(unit, of_grams, word_unit, of_words, weights, offsets, logits[these], best[these])

    return run
