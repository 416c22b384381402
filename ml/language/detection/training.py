"""Training of a detector: counts of words, tables, and a selector fitted to words whose sentences were left out."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from lowrank.progress import progress_bar
from ml.language.detection.grams import GramTable, add_counts, count_grams, gram_table
from ml.language.detection.letters import Alphabet, fold_all, words_of
from ml.language.detection.scoring import Tables
from ml.language.detection.selector import Selector, fit_selector, fit_weights, selector_loss
from ml.language.detection.word_lists import WordTable, word_table

__all__ = ["checked_lists", "checked_sentences", "scores_of", "train"]

#: A letter is in the alphabet whose share is that in any language.
LEAST_SHARE = 1e-4
#: How many running words a list is worth among the sentences' triples, and where there are no sentences.
BESIDE, ALONE = 3e4, 3e5
#: How many running words a list is worth in the shares of words.
WORTH = 2e5
#: Sentences are dealt out to this many parts; each of the first two is left out once, for words to fit the selector to.
FOLDS, LEFT_OUT = 5, 2
#: The weights of triples and of words where there are no sentences to fit them to; those that European languages gave.
USUAL = (0.27, 0.9)
#: The largest number of double precision.
MOST = float(np.finfo(float).max)
#: A word of a list with more letters is left out.
LONGEST = 100


def checked_sentences(sentences: Mapping[str, Iterable[str]]) -> dict[str, list[Counter[str]]]:
    """Return the counts of folded words of each sentence. Raises ValueError or TypeError for what is no text."""
    found = {}
    for language, texts in sentences.items():
        if isinstance(texts, str | bytes):
            raise TypeError(f"the sentences of {language!r} must be a list of texts, got one text")
        if not isinstance(texts, Iterable):
            raise TypeError(f"the sentences of {language!r} must be a list of texts, got {type(texts).__name__}")
        parts = []
        for number, text in enumerate(texts):
            if not isinstance(text, str):
                raise TypeError(f"sentence {number} of {language!r} must be a string, got {type(text).__name__}")
            parts.append(Counter(words_of(text)))
        parts = [part for part in parts if part]
        if not parts:
            raise ValueError(f"there is no word in the sentences of {language!r}; give text, or leave the language out")
        found[language] = parts
    return found


def checked_lists(words: Mapping[str, Mapping[str, float]]) -> dict[str, dict[str, float]]:
    """Return lists of folded words with shares that sum to one. Raises ValueError or TypeError for other lists."""
    found = {}
    for language, given in words.items():
        if not isinstance(given, Mapping):
            raise TypeError(f"the words of {language!r} must be a dict {{word: frequency}}, got {type(given).__name__}")
        for word, frequency in given.items():
            if not isinstance(word, str):
                raise TypeError(f"words of {language!r} must be strings, got {word!r}")
            if not (isinstance(frequency, int | float | np.integer | np.floating) and 0 <= frequency <= MOST):
                raise ValueError(f"the frequency of {word!r} in {language!r} must be a number >= 0, got {frequency!r}")
        shares: dict[str, float] = {}
        for word, frequency in zip(fold_all(given), given.values(), strict=True):
            if word and frequency > 0 and len(word) <= LONGEST:
                shares[word] = shares.get(word, 0.0) + float(frequency)
        if not shares:
            raise ValueError(f"there is no word in the list of {language!r}; leave the language out")
        total = sum(shares.values())
        if total > MOST:
            raise ValueError(f"the frequencies of {language!r} have no finite sum; divide them all by one number")
        found[language] = {word: share / total for word, share in shares.items()}
    return found


def train(
    languages: tuple[str, ...],
    sentences: Mapping[str, list[Counter[str]]],
    lists: Mapping[str, Mapping[str, float]],
    *,
    order: int,
    full: bool,
    strength: float,
    progress: bool,
) -> tuple[Tables, dict[str, Any]]:
    """Return the tables of a detector, and what was found of the fit: loss and share of errors of each selector.

    The scores to which the selector is fitted are those of tables without the sentences of the word: of `FOLDS` parts
    the first `LEFT_OUT` are left out in turn. Where a language has no sentences, weights are the usual ones.
    """
    whole = [_sum(sentences.get(language, [])) for language in languages]
    listed = [lists.get(language, {}) for language in languages]
    mixed = [_mixed(counts, of, BESIDE if counts else ALONE) for counts, of in zip(whole, listed, strict=True)]
    alphabet = _alphabet(mixed)
    weight, fitted, report = USUAL[1] / USUAL[0], None, {}
    if all(len(sentences.get(language, [])) >= FOLDS for language in languages):
        s, q, counts = _left_out(
            [sentences[language] for language in languages], listed, alphabet, order, strength, progress
        )
        t, u = fit_weights(s, q, counts) if lists else (USUAL[0], 0.0)
        weight = u / max(t, 1e-6) if lists else 0.0
        x = s + weight * q
        fitted = fit_selector(x, counts, max(t, 1e-6), full=full)
        report = {"reduced": selector_loss(fitted.reduced(), x, counts), "words": float(counts.sum())}
        if full:
            report["full"] = selector_loss(fitted, x, counts)
    if fitted is None:
        fitted = Selector(np.full(len(languages), USUAL[0]), np.zeros(len(languages)))
    grams = gram_table([count_grams(of, alphabet) for of in mixed], alphabet, order, strength)
    words = word_table([_shares(*pair) for pair in zip(whole, listed, strict=True)]) if lists else None
    return Tables(alphabet, grams, words, weight if lists else 0.0, fitted), report


def scores_of(grams: GramTable, words: WordTable | None, alphabet: Alphabet, texts: list[str]) -> tuple[Any, Any]:
    """Return the scores (n, K) of triples and of lists, apart, of texts."""
    k = grams.rows.shape[1]
    same = Selector(np.ones(k), np.zeros(k))
    alone = Tables(alphabet, grams, None, 0.0, same).run(texts)[0]
    if words is None:
        return alone, np.zeros_like(alone)
    return alone, Tables(alphabet, grams, words, 1.0, same).run(texts)[0] - alone


def _left_out(
    sentences: list[list[Counter[str]]], lists: Any, alphabet: Alphabet, order: int, strength: float, bar: bool
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return scores of triples and of lists (n, K), and counts of languages, of words whose sentences were left out."""
    parts, k = [], len(sentences)
    of_lists = [count_grams(_mixed({}, shares, BESIDE), alphabet) for shares in lists]
    out = [[_sum(of[fold::FOLDS]) for fold in range(FOLDS)] for of in sentences]
    of_parts = [[count_grams(counter, alphabet) for counter in of] for of in out]
    for fold in progress_bar(range(LEFT_OUT), "sentences left out", enabled=bar):
        kept = [i for i in range(FOLDS) if i != fold]
        counted = [add_counts([of_lists[j], *(of_parts[j][i] for i in kept)]) for j in range(k)]
        texts = sorted({word for j in range(k) for word in out[j][fold]})
        rest = [_sum(out[j][i] for i in kept) for j in range(k)]
        only = [_shares(*pair, set(texts)) for pair in zip(rest, lists, strict=True)]
        grams = gram_table(counted, alphabet, order, strength)
        counts = np.array([[out[j][fold][word] for j in range(k)] for word in texts], float)
        words = word_table(only) if any(lists) else None
        parts.append((*scores_of(grams, words, alphabet, texts), counts))
    s, q, counts = (np.concatenate(part) for part in zip(*parts, strict=True))
    return s, q, counts


def _shares(
    counts: Mapping[str, float], listed: Mapping[str, float], texts: set[str] | None = None
) -> dict[str, float]:
    """Return the shares of words of a language, or of those among `texts`; without a list those of its sentences."""
    total = (WORTH if listed else 0.0) + sum(counts.values())
    if texts is None:
        return {word: n / total for word, n in _mixed(counts, listed, WORTH).items()}
    here = (listed.keys() | counts.keys()) & texts
    return {word: (WORTH * listed.get(word, 0.0) + counts.get(word, 0.0)) / total for word in here}


def _mixed(counts: Mapping[str, float], shares: Mapping[str, float], worth: float) -> dict[str, float]:
    """Return counts of words plus `worth` times shares of words."""
    found = {word: worth * share for word, share in shares.items()}
    for word, n in counts.items():
        found[word] = found.get(word, 0.0) + n
    return found


def _sum(parts: Iterable[Counter[str]]) -> Counter[str]:
    total: Counter[str] = Counter()
    for part in parts:
        total.update(part)
    return total


def _alphabet(words: list[dict[str, float]]) -> Alphabet:
    largest: dict[int, float] = {}
    for of in words:
        letters: dict[str, float] = defaultdict(float)
        for word, n in of.items():
            for char in word:
                letters[char] += n
        total = sum(letters.values())
        for char, n in letters.items():
            if n >= LEAST_SHARE * total:
                largest[ord(char)] = max(largest.get(ord(char), 0.0), n / total)
    return Alphabet.of(largest)
