"""The scores of a text as they are defined, in plain Python and NumPy: the oracle of the compiled kernel."""

from __future__ import annotations

from typing import Any

import numpy as np

from ml.language.detection.grams import CONTEXT, PAIR, SHORT, GramTable
from ml.language.detection.letters import OTHER, words_of
from ml.language.detection.slots import word_keys

__all__ = ["gram_rows", "logits_plainly"]


def logits_plainly(tables: Any, text: str) -> np.ndarray | None:
    """Return the logits (K,) of a text, None for one without a letter of the alphabet.

    tables : as of :class:`ml.language.detection.scoring.Tables`

    With X the sum of the rows of all grams of all words, and Y that of the rows of the words in the lists, both in
    units of the scales: x = scale_X X + list_weight scale_Y Y, and the selector makes logits of it. Products and sums
    are taken in this order, in double precision, or exactly for int8.
    """
    grams, listed, selector = tables.grams, tables.words, tables.selector
    kind = np.int64 if grams.rows.dtype == np.int8 else np.float64
    size = grams.rows.shape[1]
    total, whole, known = np.zeros(size, kind), np.zeros(size, kind), 0
    numbers = {int(key): i + grams.size for i, key in enumerate(grams.keys)}
    rows_of_words = {} if listed is None else {int(key): i for i, key in enumerate(listed.keys)}
    for word in words_of(text):
        symbols = tables.alphabet.symbols_of(np.array([ord(char) for char in word], np.uint32)).tolist()
        known += sum(symbol > OTHER for symbol in symbols)
        for gram in zip([0, 0, *symbols], [0, *symbols, 0], [*symbols, 0], strict=False):
            for row in gram_rows(grams, numbers, *gram):
                total += grams.rows[row]
        row = rows_of_words.get(int(word_keys([word])[0]), -1)
        if row >= 0:
            whole += listed.rows[row]
    if not known:
        return None
    x = grams.scale * total
    x = x + (0.0 if listed is None else listed.scale * tables.list_weight) * whole
    return selector.logits(x)


def gram_rows(grams: GramTable, numbers: dict[int, int], a: int, b: int, c: int) -> list[int]:
    """Return the rows that the symbol c after a, b adds, as :class:`ml.language.detection.grams.GramTable` says.

    numbers : {key: row}
    """
    rows: list[int] = []
    if grams.order == 3:
        if (key := a << 20 | b << 10 | c) in numbers:
            return [numbers[key]]
        rows += [numbers[key] for key in [CONTEXT | a << 10 | b] if key in numbers]
    if grams.order >= 2:
        if (key := PAIR | b << 10 | c) in numbers:
            return [*rows, numbers[key]]
        rows += [numbers[key] for key in [CONTEXT | SHORT | b] if key in numbers]
    return [*rows, c]
