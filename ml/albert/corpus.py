"""Text as ids of its most frequent words, and batches of the two tasks that ALBERT is trained on."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from ml.material import refuse_string

__all__ = ["Batch", "Corpus", "make_batch", "make_corpus"]

PADDING, UNKNOWN, START, SEPARATOR, MASK = range(5)
SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
WORD = re.compile(r"[^\W\d_]+|\d|[^\w\s]|_")
#: Of the words of a batch so many are to be predicted, in runs of up to three words,
MASKED = 0.15
LONGEST_RUN = 3
#: and of these so many are masked, or replaced by a random word; the others stay as they are.
REPLACED_BY_MASK, REPLACED_BY_WORD = 0.8, 0.1
#: What cross-entropy leaves out.
IGNORED = -100


@dataclass(frozen=True, eq=False)
class Corpus:
    """Texts one after the other, as word ids. See :func:`make_corpus`."""

    words: tuple[str, ...]  #: (V,), by id; the most frequent first, after [PAD], [UNK], [CLS], [SEP] and [MASK]
    ids: np.ndarray  #: (n,)
    text: np.ndarray  #: (n,) which text each word is of, ascending

    def frequencies(self) -> np.ndarray:
        """How often every word occurs (V,)."""
        return np.bincount(self.ids, minlength=len(self.words))

    def split(self, every: int = 10) -> tuple[Corpus, Corpus]:
        """Training and held-out texts: every tenth text is held out."""
        held_out = self.text % every == every - 1
        first, second = (replace(self, ids=self.ids[m], text=self.text[m]) for m in (~held_out, held_out))
        return first, second

    def __repr__(self) -> str:
        return f"Corpus({len(self.ids):,} words of {len(np.unique(self.text)):,} texts, vocabulary {len(self.words):,})"


@dataclass(frozen=True, eq=False)
class Batch:
    """One batch: [CLS] a [SEP] b [SEP], with words to predict and two segments in the right or the wrong order."""

    ids: np.ndarray  #: (B, n), some words masked or replaced
    segments: np.ndarray  #: (B, n), 0 up to the first [SEP], then 1
    targets: np.ndarray  #: (B, n) the word where it is to be predicted, -100 elsewhere
    swapped: np.ndarray  #: (B,) 1 where the second segment comes first


def make_corpus(texts: Sequence[str], vocabulary: int = 8000) -> Corpus:
    """Lower-case words, digits and signs of the texts; all but the most frequent become [UNK].

    Words of equal frequency are in alphabetical order, so that the ids depend on the texts only.

    Examples
    --------
    >>> corpus = make_corpus(["One, two, two.", "Two!"], vocabulary=7)
    >>> corpus.words[5:], corpus.ids
    (('two', ','), array([1, 6, 5, 6, 5, 1, 5, 1]))
    """
    refuse_string("texts", texts)
    if vocabulary <= len(SPECIAL):
        raise ValueError(f"vocabulary must be more than the {len(SPECIAL)} special tokens, got {vocabulary}")
    split = [WORD.findall(text.lower()) for text in texts]
    counts = Counter(word for words in split for word in words)
    ordered = sorted(counts, key=lambda word: (-counts[word], word))
    words = (*SPECIAL, *ordered[: vocabulary - len(SPECIAL)])
    number = {word: i for i, word in enumerate(words)}
    ids = np.array([number.get(word, UNKNOWN) for words in split for word in words], dtype=np.int64)
    return Corpus(words, ids, np.repeat(np.arange(len(split)), [len(words) for words in split]))


def make_batch(corpus: Corpus, size: int, segment: int, rng: np.random.Generator) -> Batch:
    """Sentence-order prediction with n-gram masking, as ALBERT is trained (Lan et al., ICLR 2020).

    Two consecutive segments of a text, swapped in half of the rows. Of their words 15 % are to be predicted, in runs of 1 to 3
    words, a run of k with probability proportional to 1/k; 80 % of these become [MASK], 10 % a random word. Both segments
    are equally long: the place of the [SEP] says nothing about their order.

    Parameters
    ----------
    size : B rows
    segment : words of a segment; a row is of n = 2 segment + 3 tokens, three of them [CLS] and [SEP]

    Raises
    ------
    ValueError
        segments of no words, or longer than half of every text.
    """
    if segment < 1:
        raise ValueError(f"segments must have at least 1 word, got {segment}")
    words, length = 2 * segment, 2 * segment + 3
    last = len(corpus.ids) - words
    starts = np.flatnonzero(corpus.text[: last + 1] == corpus.text[words - 1 :]) if last >= 0 else np.empty(0, int)
    if not len(starts):
        raise ValueError(f"no text has two segments of {segment} words; make them shorter")
    rows = corpus.ids[rng.choice(starts, size)[:, None] + np.arange(words)]
    swapped = rng.integers(0, 2, size)
    rows = np.where(swapped[:, None] == 1, np.roll(rows, segment, axis=1), rows)
    chosen = _runs(size, words, rng)
    targets = np.where(chosen & (rows != UNKNOWN), rows, IGNORED)
    chance = rng.random(rows.shape)
    seen = np.where(chance < REPLACED_BY_MASK, MASK, rows)
    random_word = (chance >= REPLACED_BY_MASK) & (chance < REPLACED_BY_MASK + REPLACED_BY_WORD)
    seen = np.where(random_word, rng.integers(len(SPECIAL), len(corpus.words), rows.shape), seen)
    seen = np.where(targets != IGNORED, seen, rows)
    place = np.delete(np.arange(length), [0, segment + 1, length - 1])
    ids = np.full((size, length), SEPARATOR)
    ids[:, 0] = START
    ids[:, place] = seen
    aims = np.full((size, length), IGNORED)
    aims[:, place] = targets
    segments = np.tile((np.arange(length) > segment + 1).astype(np.int64), (size, 1))
    return Batch(ids, segments, aims, swapped)


def _runs(size: int, words: int, rng: np.random.Generator) -> np.ndarray:
    """(size, words) which words are to be predicted: runs that start anywhere until 15 % are covered."""
    lengths = np.arange(1, LONGEST_RUN + 1)
    probability = (1 / lengths) / np.sum(1 / lengths)
    wanted = max(1, round(MASKED * words))
    chosen = np.zeros((size, words), dtype=bool)
    for row in chosen:
        while (missing := wanted - int(row.sum())) > 0:
            run = min(int(rng.choice(lengths, p=probability)), missing)
            start = int(rng.integers(0, words))
            row[start : start + run] = True
    return chosen
