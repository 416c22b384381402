"""Tables of whole words: how much more frequent a word is in one language than in the others."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from lowrank.limits import at_least
from ml.language.detection.grams import LARGEST, bounded, rounded
from ml.language.detection.slots import slots_of, word_keys

__all__ = ["WordTable", "word_table"]

#: Share that a word has in a language whose list lacks it.
FLOOR = 1e-7


@dataclass(frozen=True, eq=False)
class WordTable:
    """Rows (n, K) of log shares minus their mean over the languages, by the hash of a word; most frequent first.

    A word that is in no list has no row, and adds nothing. Two words with one hash of 32 bits share a row: among n
    words that happens to n in 4e9 others, 1e-4 for 400 000. Raises ValueError for arrays that do not belong together.
    """

    rows: np.ndarray  #: (n, K) float32, or int8 in units of `scale`
    keys: np.ndarray  #: (n,) uint32
    scale: float = 1.0

    def __post_init__(self) -> None:
        if self.rows.dtype not in (np.float32, np.int8) or self.rows.ndim != 2 or self.rows.shape[1] < 2:
            raise ValueError(f"rows must be (n, K) of float32 or int8, got {self.rows.dtype} {self.rows.shape}")
        keys = self.keys
        if keys.dtype != np.uint32 or keys.shape != self.rows.shape[:1] or len(np.unique(keys)) < len(keys):
            raise ValueError("keys must be different uint32, one for each row")
        if not bounded(self.rows, self.scale):
            raise ValueError(f"rows and scale must be at most {LARGEST:g}, got scale {self.scale}")

    @functools.cached_property
    def slots(self) -> np.ndarray:
        """The hash table of the keys, see :func:`ml.language.detection.slots.slots_of`."""
        return slots_of(self.keys, hop=False)

    @property
    def nbytes(self) -> int:
        """Bytes of rows, keys and hash table."""
        return self.rows.nbytes + self.keys.nbytes + self.slots.nbytes

    def prune(self, words: int) -> WordTable:
        """Return the table of the most frequent words only."""
        n = at_least("words", words, 0)
        return replace(self, rows=self.rows[:n], keys=self.keys[:n])

    def quantize(self) -> WordTable:
        """Return the table in int8 with one scale."""
        rows, scale = rounded(self.rows * np.float32(self.scale))
        return replace(self, rows=rows, scale=scale)


def word_table(shares: Sequence[Mapping[str, float]], floor: float = FLOOR) -> WordTable:
    """Make the table of K languages from the shares of their folded words: log max(share, floor), centred."""
    words = list(dict.fromkeys(word for of in shares for word in of))
    keys, first = np.unique(word_keys(words), return_index=True)
    number = {words[i]: n for n, i in enumerate(first)}
    table = np.full((len(keys), len(shares)), floor)
    for k, of in enumerate(shares):
        pairs = [(number[word], share) for word, share in of.items() if word in number]
        if pairs:
            where, found = np.array([p[0] for p in pairs]), np.array([p[1] for p in pairs])
            table[where, k] = np.maximum(found, floor)
    order = np.argsort(-table.max(axis=1), kind="stable")
    rows = np.log(table[order])
    return WordTable(np.ascontiguousarray(rows - rows.mean(axis=1, keepdims=True), np.float32), keys[order])
