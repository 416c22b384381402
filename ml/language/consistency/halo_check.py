"""HaloCheck: how far several answers to one question entail or contradict each other, sentence by sentence."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lowrank.progress import progress_bar
from ml.language.consistency.asking import answers_of, is_asked
from ml.language.consistency.pair_cache import PairCache
from ml.language.consistency.scoring import BatchScorer, PairScorer, ScorerWarning, scores_of
from ml.language.consistency.sentences import LONGEST, split_sentences

__all__ = ["HaloCheck", "halo_check", "jackknife_error", "pair_mean"]

Pair = tuple[str, str]


@dataclass(frozen=True, eq=False)
class HaloCheck:
    """The score of n answers, and what it is made of."""

    score: float  #: in [-1, 1]; 1: each sentence is entailed by every other answer, -1: contradicted
    pairs: np.ndarray  #: (n, n), the score with answer i as premise and j as hypothesis; NaN where it was not asked for
    standard_error: float  #: of the score, for other answers of the same kind; jackknife, NaN for two answers
    answers: tuple[str, ...]
    sentences: tuple[tuple[str, ...], ...]  #: of each answer
    matrices: dict[tuple[int, int], np.ndarray]  #: by (i, j): entailment - contradiction of each pair of sentences
    n_calls: int  #: pairs of sentences that the scorer was asked
    n_cached: int  #: known from the cache, or from the same pair before
    n_identical: int  #: of a sentence with itself, which counts 1 and needs no call
    n_cut: int  #: of the pairs that were asked, longer than the scorer reads
    symmetric: bool

    @property
    def n_products(self) -> int:
        """Pairs of sentences in all: the sum of products of numbers of sentences, n_calls + n_cached + n_identical."""
        return self.n_calls + self.n_cached + self.n_identical

    def __repr__(self) -> str:
        return (
            f"HaloCheck(score={self.score:.3f}, standard_error={self.standard_error:.3f}, {len(self.answers)} answers, "
            f"n_calls={self.n_calls}, n_cached={self.n_cached}, n_identical={self.n_identical})"
        )


def halo_check(
    answers: Sequence[str] | tuple[Any, ...],
    scorer: PairScorer | BatchScorer,
    *,
    symmetric: bool = False,
    cache: PairCache | None = None,
    longest: int = LONGEST,
    max_tokens: int = 100,
    rng: int | np.random.Generator = 0,
    progress: bool = False,
) -> HaloCheck:
    """Return how consistent answers are with each other; whether they are true is not asked.

    For answers i < j with sentences a and b, M_ab = entailment - contradiction (premise a, hypothesis b), 1 where a is
    b. The score of the pair is the mean over b of the maximum over a, HaloCheck the mean over the n (n - 1) / 2 pairs.

    answers : n >= 2 texts; or (model, prompt, n=5, temperature=1): the answers are then those of a model, with its
        method generate, at most `max_tokens` long, seeded from `rng`
    scorer : a function (premise, hypothesis) -> (entailment, neutral, contradiction), `ml.NLIScorer`,
        `ml.OnnxPairScorer`
    symmetric : take the mean of both directions: the order of the answers no longer matters, at twice the calls
    cache : of pairs; give one where several checks may share sentences, or a run may be stopped
    longest : words, above which sentences are broken up; a scorer that cuts pairs needs short ones

    Raises ValueError for fewer than two answers and for one without text, with its number; ScorerError, with the pair,
    for scores that are no probabilities. Warns (ScorerWarning) of pairs that the scorer cuts. Costs as many calls as
    there are pairs of sentences that are neither identical nor known.

    Source: the pair score is that of SummaC, zero-shot (Laban et al. 2022), its mean over pairs that of HaloCheck
    (Elaraby et al. 2023); code, symmetric form and standard error are ours.

    >>> found = halo_check(["It is red.", "It is red.", "It is blue."], lambda premise, hypothesis: (0, 0, 1))
    >>> found.score, found.n_calls, found.n_cached, found.n_identical
    (-0.3333333333333333, 1, 1, 1)
    """
    texts = answers_of(tuple(answers), max_tokens, rng) if is_asked(answers) else _texts(answers)
    sentences = tuple(tuple(split_sentences(text, longest)) for text in texts)
    for k, found in enumerate(sentences):
        if not found:
            raise ValueError(f"answer {k} has no text, got {texts[k][:60]!r}: leave it out, or ask the model again")
    n = len(texts)
    wanted = [(i, j) for i in range(n) for j in range(n) if i < j or (symmetric and i != j)]
    asked = [(a, b) for i, j in wanted for b in sentences[j] for a in sentences[i]]
    known, counts = _scored(asked, scorer, PairCache() if cache is None else cache, progress)
    matrices = {
        (i, j): np.array([[1.0 if a == b else known[a, b] for b in sentences[j]] for a in sentences[i]])
        for i, j in wanted
    }
    pairs = np.full((n, n), np.nan)
    for (i, j), matrix in matrices.items():
        pairs[i, j] = matrix.max(axis=0).mean()
    score, error = float(pair_mean(pairs)), float(jackknife_error(pairs))
    return HaloCheck(score, pairs, error, texts, sentences, matrices, *counts, symmetric)


def _texts(answers: Any) -> tuple[str, ...]:
    if isinstance(answers, str) or not isinstance(answers, Sequence):
        raise TypeError(
            f"answers are a list of texts, or (model, prompt, n, temperature), got {type(answers).__name__}"
        )
    for k, text in enumerate(answers):
        if not isinstance(text, str):
            raise TypeError(f"answer {k} is no text but {type(text).__name__}")
    if len(answers) < 2:
        raise ValueError(f"consistency needs two answers at least, got {len(answers)}")
    return tuple(answers)


def _scored(
    asked: list[Pair], scorer: Any, cache: PairCache, progress: bool
) -> tuple[dict[Pair, float], tuple[int, int, int, int]]:
    """Return entailment - contradiction of each pair that is not identical, and the four counts."""
    cache.bind(scorer)
    different = [pair for pair in asked if pair[0] != pair[1]]
    missing = [pair for pair in dict.fromkeys(different) if cache.get(pair) is None]
    fits = getattr(scorer, "fits", None)
    cut = [pair for pair in missing if fits is not None and not fits(*pair)]
    if cut:
        warnings.warn(
            f"{len(cut)} of {len(missing)} pairs of sentences are longer than the scorer reads, and are cut, the first "
            f"with the premise {cut[0][0][:60]!r}: take a smaller longest=",
            ScorerWarning,
            stacklevel=3,
        )
    found = progress_bar(scores_of(scorer, missing), "pairs of sentences", enabled=progress, total=len(missing))
    for pair, scores in found:
        cache.put(pair, scores)
    known = {}
    for pair in set(different):
        scores = cache.get(pair)
        assert scores is not None
        known[pair] = scores[0] - scores[2]
    return known, (len(missing), len(different) - len(missing), len(asked) - len(different), len(cut))


def pair_mean(pairs: np.ndarray) -> np.ndarray:
    """Return the mean over the entries of pair matrices (..., n, n) that are asked for: not NaN, off the diagonal."""
    values, there = _entries(pairs)
    return values.sum((-2, -1)) / there.sum((-2, -1))


def jackknife_error(pairs: np.ndarray) -> np.ndarray:
    """Return the jackknife's standard error (...) of the mean over pairs (..., n, n); NaN for n = 2.

    sqrt((n - 1) / n sum_i (s_-i - mean of them)^2), s_-i the score without answer i: pairs share answers, and are not
    independent. It is for the answers that the model might have given instead, not for other questions. For few
    answers it errs upwards: of five answers of three kinds its square was 1.6 to 2.7 times the variance.
    """
    values, there = _entries(pairs)
    n = pairs.shape[-1]
    if n < 3:
        return np.full(pairs.shape[:-2], np.nan)
    total, count = values.sum((-2, -1)), there.sum((-2, -1))
    touched = values.sum(-1) + values.sum(-2)
    kept = count[..., None] - there.sum(-1) - there.sum(-2)
    without = (total[..., None] - touched) / kept
    spread = without - without.mean(-1, keepdims=True)
    return np.sqrt((n - 1) / n * np.sum(spread**2, -1))


def _entries(pairs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    there = ~np.isnan(pairs) & ~np.eye(pairs.shape[-1], dtype=bool)
    return np.where(there, pairs, 0.0), there
