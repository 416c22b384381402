"""Tokens of actions as further entries of the vocabulary of a language model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from lowrank.limits import at_least

__all__ = ["ActionVocabulary"]

#: Entries that 64-bit integers can name.
MOST = 2**63 - 1


@dataclass(frozen=True)
class ActionVocabulary:
    """A vocabulary of `size` entries, and L K more behind them: entry size + l K + k is token k of level l.

    Every level has entries of its own, so that a model need not count where it stands, and an answer with levels out of
    turn is found out.

    Examples
    --------
    >>> words = ActionVocabulary(size=32000, levels=4, codes=256)
    >>> words.total, words.ids([3, 0, 255, 7]).tolist(), words.tokens([32003, 32256, 32767, 32775]).tolist()
    (33024, [32003, 32256, 32767, 32775], [3, 0, 255, 7])
    """

    size: int  #: entries that were there before
    levels: int  #: L
    codes: int  #: K

    def __post_init__(self) -> None:
        for name, least in (("size", 0), ("levels", 1), ("codes", 1)):
            at_least(name, getattr(self, name), least)
        if self.total > MOST:
            raise ValueError(f"the vocabulary would have {self.total} entries, more than {MOST}: take a smaller size")

    @property
    def total(self) -> int:
        """Entries of the vocabulary with those of actions: rows that its embedding table needs."""
        return self.size + self.levels * self.codes

    def ids(self, tokens: Any) -> np.ndarray:
        """Return the entries (..., L) of tokens (..., L).

        Raises ValueError for another number of levels and tokens outside 0 .. K - 1, TypeError for other than integers.
        """
        given = self._integers("tokens", tokens, 0, self.codes)
        return given + self._offsets()

    def tokens(self, ids: Any) -> np.ndarray:
        """Return the tokens (..., L) of entries (..., L).

        Raises ValueError for entries that are words, or tokens of another level than that of their place.
        """
        given = self._integers("ids", ids, self.size, self.total)
        found = given - self._offsets()
        wrong = np.argwhere((found < 0) | (found >= self.codes))
        if len(wrong):
            place = tuple(int(i) for i in wrong[0])
            level = (int(given[place]) - self.size) // self.codes
            raise ValueError(
                f"the id {given[place]} at index {place} is a token of level {level}, where one of level {place[-1]} "
                f"is due: ids come in groups of {self.levels}, one of each level in turn"
            )
        return found

    def is_action(self, ids: Any) -> np.ndarray:
        """Return which entries are tokens of actions, of the shape of `ids`.

        Raises TypeError for other than integers.
        """
        given = np.asarray(ids)
        if given.dtype.kind not in "iu":
            raise TypeError(f"ids must be integers, got dtype {given.dtype}")
        return (given >= self.size) & (given < self.total)

    def _offsets(self) -> np.ndarray:
        return self.size + self.codes * np.arange(self.levels)

    def _integers(self, name: str, given: Any, first: int, end: int) -> np.ndarray:
        found = np.asarray(given)
        if found.dtype.kind not in "iu":
            raise TypeError(f"{name} must be integers, got dtype {found.dtype}")
        if found.ndim < 1 or found.shape[-1] != self.levels:
            raise ValueError(f"{name} must have the shape (..., {self.levels}), one of each level, got {found.shape}")
        bad = (found < first) | (found >= end)
        if np.any(bad):
            raise ValueError(f"{name} must be {first} .. {end - 1}, got {found[bad][0]}")
        return found.astype(np.int64)
