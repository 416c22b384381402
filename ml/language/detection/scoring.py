"""All tables of a detector together, and how a list of texts goes through the kernel."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ml.language.detection.grams import LARGEST, GramTable
from ml.language.detection.kernel import arguments, sum_rows
from ml.language.detection.letters import Alphabet, code_points
from ml.language.detection.selector import Selector
from ml.language.detection.word_lists import WordTable

__all__ = ["Tables"]


@dataclass(frozen=True, eq=False)
class Tables:
    """Alphabet, tables and selector for K languages. Raises ValueError where they do not belong together."""

    alphabet: Alphabet
    grams: GramTable
    words: WordTable | None
    list_weight: float  #: of a word's row among those of its triples
    selector: Selector

    def __post_init__(self) -> None:
        k = self.grams.rows.shape[1]
        if self.selector.offsets.shape != (k,):
            raise ValueError(f"the selector is for {len(self.selector.offsets)} languages, the table for {k}")
        if self.words is not None and (self.words.rows.shape[1] != k or self.words.rows.dtype != self.grams.rows.dtype):
            raise ValueError(f"the word table must have {k} columns of {self.grams.rows.dtype}, as the triples have")
        if self.grams.size != self.alphabet.size:
            raise ValueError(f"the table has {self.grams.size} symbols, the alphabet {self.alphabet.size}")
        if not 0 <= self.list_weight <= LARGEST:
            raise ValueError(f"list_weight must be from 0 to {LARGEST:g}, got {self.list_weight}")

    @functools.cached_property
    def arguments(self) -> tuple[Any, ...]:
        """What the kernel takes."""
        return arguments(self)

    @property
    def size(self) -> int:
        """K, the number of languages."""
        return self.grams.rows.shape[1]

    @property
    def nbytes(self) -> int:
        """Bytes of tables with keys and hash tables, alphabet and selector."""
        words = 0 if self.words is None else self.words.nbytes
        symbols = self.alphabet.letters.nbytes + self.alphabet.symbols.nbytes
        return self.grams.nbytes + words + symbols + 8 * self.selector.size

    def restrict(self, columns: list[int]) -> Tables:
        """Return the tables of some of the languages, their rows centred anew. A full selector is reduced first."""
        selector = self.selector.reduced()

        def taken(table: Any) -> Any:
            rows = table.rows[:, columns].astype(np.float64) * table.scale
            rows = np.ascontiguousarray(rows - rows.mean(axis=1, keepdims=True), np.float32)
            plain = replace(table, rows=rows, scale=1.0)
            return plain.quantize() if table.rows.dtype == np.int8 else plain

        return replace(
            self,
            grams=taken(self.grams),
            words=None if self.words is None else taken(self.words),
            selector=Selector(selector.weights[columns].copy(), selector.offsets[columns].copy()),
        )

    def run(self, texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """Return logits (n, K) and the number of the likeliest language, -1 (and zeros) where no letter is known.

        Texts become lines of one, which NFC keeps apart; a line break within a text is a blank as good as any.
        Raises TypeError for a text that is no string.
        """
        try:
            joined = "\n".join(texts)
        except TypeError:
            kind = next(type(text) for text in texts if not isinstance(text, str))
            raise TypeError(f"texts must be strings, one is {kind.__name__}") from None
        if len(texts) == 1:
            codes = code_points(joined)
            ends = np.array([len(codes)])
        else:
            if joined.count("\n") >= len(texts):
                joined = "\n".join([text.replace("\n", " ") for text in texts])
            codes = code_points(joined)
            ends = np.append(np.flatnonzero(codes == ord("\n")), len(codes))[: len(texts)]
        logits, best = sum_rows(codes, ends, self.arguments, self.size)
        if self.selector.weights.ndim == 2:
            known = best >= 0
            logits[known] = self.selector.logits(logits[known])
            best[known] = logits[known].argmax(axis=1)
        return logits, best
