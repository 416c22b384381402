"""Tables of letter triples, with what stands in for those that are not in the table."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from lowrank.limits import at_least
from ml.language.detection.letters import BOUNDARY, Alphabet
from ml.language.detection.slots import slots_of

__all__ = ["LARGEST", "GramTable", "add_counts", "bounded", "count_grams", "gram_table", "rounded"]

#: No number of a detector is larger: products of three of them, and sums, are finite.
LARGEST = 1e30
#: How many letters the shorter context is worth: the weight of back-off.
STRENGTH = 10.0
#: Kinds of keys, in their upper two bits, 0 for triples: then come 10 bits for each of up to three symbols.
PAIR, CONTEXT = 1 << 30, 3 << 30
#: Marks the context of a pair, one symbol, among those of triples.
SHORT = 1 << 20


@dataclass(frozen=True, eq=False)
class GramTable:
    """Rows (R, K) of log-probabilities minus their mean over the K languages, by keys of up to three symbols.

    The first `size` rows are those of single symbols, and have no keys. The others are of triples, pairs and contexts;
    those that matter most come first. Of the symbol c after a, b a word gets, in this order of preference: the row of
    the triple a b c; the row of the context a b, if there is one, plus that of the pair b c; instead of the latter the
    row of the context b, if there is one, plus that of the symbol c. It is what the formula in :func:`gram_table`
    gives, exactly, for every triple that was not seen; where a row was pruned it is an approximation.

    Raises ValueError for arrays that do not belong together.
    """

    rows: np.ndarray  #: (R, K) float32, or int8 in units of `scale`
    keys: np.ndarray  #: (R - size,) uint32
    scale: float = 1.0
    order: int = 3

    def __post_init__(self) -> None:
        rows, keys = self.rows, self.keys
        if rows.dtype not in (np.float32, np.int8) or rows.ndim != 2 or rows.shape[1] < 2:
            raise ValueError(f"rows must be (R, K) of float32 or int8, got {rows.dtype} {rows.shape}")
        if keys.dtype != np.uint32 or keys.ndim != 1 or len(keys) > len(rows) or len(np.unique(keys)) < len(keys):
            raise ValueError("keys must be different uint32, one for each row that is not a symbol's")
        if not bounded(rows, self.scale) or self.order not in (1, 2, 3):
            raise ValueError(
                f"rows and scale must be at most {LARGEST:g}, order 1, 2 or 3, got {self.scale} and {self.order!r}"
            )

    @property
    def size(self) -> int:
        """How many symbols have a row."""
        return len(self.rows) - len(self.keys)

    @functools.cached_property
    def slots(self) -> np.ndarray:
        """The hash table of the keys, see :func:`ml.language.detection.slots.slots_of`."""
        return slots_of(self.keys, hop=True)

    @property
    def nbytes(self) -> int:
        """Bytes of rows, keys and hash table."""
        return self.rows.nbytes + self.keys.nbytes + self.slots.nbytes

    def prune(self, grams: int) -> GramTable:
        """Return the table with the first `grams` keyed rows only; for the others there is back-off."""
        n = at_least("grams", grams, 0)
        return replace(self, rows=self.rows[: self.size + n], keys=self.keys[:n])

    def quantize(self) -> GramTable:
        """Return the table in int8, with one scale, so that sums of rows are sums of integers: exact."""
        rows, scale = rounded(self.rows * np.float32(self.scale))
        return replace(self, rows=rows, scale=scale)


def bounded(rows: np.ndarray, scale: float) -> bool:
    """Return whether rows, as they are and in units of a scale > 0, are finite and at most `LARGEST`."""
    largest = float(np.max(np.abs(rows.astype(np.float32, copy=False)), initial=0.0))
    return 0 < scale <= LARGEST and largest <= LARGEST and largest * scale <= LARGEST


def rounded(rows: np.ndarray) -> tuple[np.ndarray, float]:
    """Return rows as int8 and their scale: |row - scale int8| <= scale / 2, the largest number becomes +-127."""
    largest = float(np.max(np.abs(rows), initial=0.0))
    scale = largest / 127 if largest > 0 else 1.0
    return np.rint(rows.astype(np.float64) / scale).astype(np.int8), scale


def count_grams(words: Mapping[str, float], alphabet: Alphabet) -> tuple[np.ndarray, np.ndarray]:
    """Return the keys of all triples of folded words, int64, ascending, and their weighted counts.

    A word of n letters has n + 1: it begins after two boundaries and ends with one.
    """
    if not words:
        return np.empty(0, np.int64), np.empty(0)
    text = "".join(f"  {word}" for word in words) + "  "
    symbols = alphabet.symbols_of(np.frombuffer(text.encode("utf-32-le"), "<u4"))
    lengths = np.fromiter(map(len, words), np.int64, len(words)) + 2
    weights = np.repeat(np.fromiter(words.values(), float, len(words)), lengths)
    a, b, c = symbols[:-2], symbols[1:-1], symbols[2:]
    real = (b != BOUNDARY) | (c != BOUNDARY)
    keys, where = np.unique((a << 20 | b << 10 | c)[real], return_inverse=True)
    return keys, np.bincount(where, weights[real], len(keys))


def gram_table(
    counted: Sequence[tuple[np.ndarray, np.ndarray]], alphabet: Alphabet, order: int = 3, strength: float = STRENGTH
) -> GramTable:
    """Make the table of K languages from their counts, as :func:`count_grams` returns them.

    P(c) = (n(c) + 1) / (N + S), P(c | b) = (n(b c) + A P(c)) / (n(b) + A), P(c | a b) = (n(a b c) + A P(c | b)) /
    (n(a b) + A), with S symbols, A = `strength`, and n the counts: each of the three sums to one over c. Where a b c
    was not seen, log P(c | a b) is log P(c | b) plus log A / (n(a b) + A), which depends on the context alone: this is
    what back-off adds. Of all rows the mean over languages is taken off: it is in all scores of a word, and cancels.

    The effect of a row is what leaving it out changes: the mean over languages of the square of its difference to what
    stands in for it, times how often that happens: for a triple its count, for pairs and contexts the number of triples
    beneath that were seen at most three times. Rows are in descending order of it.

    counted : of each language all triples that :func:`count_grams` found; order : length of the longest gram, 1 to 3
    """
    keys = np.unique(np.concatenate([found for found, _ in counted]))
    counts = np.zeros((len(keys), len(counted)))
    for k, (found, n) in enumerate(counted):
        counts[np.searchsorted(keys, found), k] = n
    a, b, c = keys >> 20, keys >> 10 & 1023, keys & 1023
    singles = np.zeros((alphabet.size, len(counted)))
    np.add.at(singles, c, counts)
    p1 = (singles + 1) / (singles.sum(axis=0) + alphabet.size)
    single = _centred(p1)
    parts: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
    if order >= 2:
        pair_keys, pairs = _sums(b << 10 | c, counts)
        short_keys, shorts = _sums(pair_keys >> 10, pairs)
        at, ends = np.searchsorted(short_keys, pair_keys >> 10), pair_keys & 1023
        p2 = (pairs + strength * p1[ends]) / (shorts[at] + strength)
        short, pair = _centred(strength / (shorts + strength)), _centred(p2)
        seldom = (counts.sum(axis=1) <= 3).astype(float)
        under = np.bincount(np.searchsorted(pair_keys, b << 10 | c), seldom, len(pair_keys))
        parts.append((CONTEXT | SHORT | short_keys, short, _square(short) * np.bincount(at, under, len(short_keys))))
        weights = under if order == 3 else pairs.sum(axis=1)
        parts.append((PAIR | pair_keys, pair, weights * _square(pair - short[at] - single[ends])))
    if order == 3:
        long_keys, longs = _sums(a << 10 | b, counts)
        at, of_pair = np.searchsorted(long_keys, a << 10 | b), np.searchsorted(pair_keys, b << 10 | c)
        long = _centred(strength / (longs + strength))
        triple = _centred((counts + strength * p2[of_pair]) / (longs[at] + strength))
        parts.append((CONTEXT | long_keys, long, _square(long) * np.bincount(at, seldom, len(long_keys))))
        parts.append((keys, triple, counts.sum(axis=1) * _square(triple - long[at] - pair[of_pair])))
    if not parts:
        return GramTable(np.ascontiguousarray(single, np.float32), np.empty(0, np.uint32), order=order)
    found, rows, effects = (np.concatenate(part) for part in zip(*parts, strict=True))
    best = np.argsort(-effects, kind="stable")
    return GramTable(
        np.concatenate([single, rows[best]]).astype(np.float32), found[best].astype(np.uint32), order=order
    )


def _centred(p: np.ndarray) -> np.ndarray:
    logs: np.ndarray = np.log(p)
    return logs - logs.mean(axis=1, keepdims=True)


def _square(rows: np.ndarray) -> np.ndarray:
    found: np.ndarray = np.mean(rows**2, axis=1)
    return found


def add_counts(parts: Sequence[tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    """Return the keys and counts of several texts together."""
    keys, where = np.unique(np.concatenate([found for found, _ in parts]), return_inverse=True)
    return keys, np.bincount(where, np.concatenate([n for _, n in parts]), len(keys))


def _sums(keys: np.ndarray, counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the different keys, ascending, and the sums of the rows of each."""
    unique, where = np.unique(keys, return_inverse=True)
    total = np.zeros((len(unique), counts.shape[1]))
    np.add.at(total, where, counts)
    return unique, total
