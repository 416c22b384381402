"""A strong model answers where a weak one contradicts itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lowrank.progress import progress_bar
from ml.language.consistency.asking import Generator, answers_of, check_questions, messages_of
from ml.language.consistency.halo_check import HaloCheck, halo_check
from ml.language.consistency.pair_cache import PairCache
from ml.language.consistency.scoring import BatchScorer, PairScorer
from ml.language.consistency.sentences import split_sentences
from ml.language.consistency.severity import Sampling

__all__ = ["TeacherReport", "central_answer", "teacher"]


@dataclass(frozen=True, eq=False)
class TeacherReport:
    """Answers to questions, and who gave them."""

    answers: tuple[str, ...]
    scores: np.ndarray  #: (questions,), of the weak model's answers; NaN where fewer than two have text
    by_strong: np.ndarray  #: (questions,), whether the strong model answered
    threshold: float

    @property
    def share(self) -> float:
        """Share of the questions that cost a call of the strong model."""
        return float(self.by_strong.mean())

    def share_at(self, threshold: float) -> float:
        """Return the share that another threshold would have cost, from the scores that are known.

        Raises ValueError for NaN.
        """
        _check_threshold(threshold)
        return float(np.mean(~(self.scores >= threshold)))


def teacher(
    model: Generator,
    strong: Generator,
    threshold: float,
    questions: Sequence[str],
    scorer: PairScorer | BatchScorer,
    *,
    sampling: Sampling | None = None,
    cache: PairCache | None = None,
    progress: bool = False,
) -> TeacherReport:
    """Return an answer to each question, of the strong model where those of the other score below the threshold.

    The model gives `sampling.n` answers; of those the central one is taken, see `central_answer`. The strong model
    gives one, at temperature 0. Where the weak model is wrong every time in the same words, it is not found out.

    threshold : in [-1, 1]; -1 asks the strong model where two answers have no text at all, above 1 always

    Raises ValueError for a threshold that is no number or NaN, no questions, one without text, and a strong model that
    gives no text; TypeError for what is no model.
    """
    sampling, cache = Sampling() if sampling is None else sampling, PairCache() if cache is None else cache
    check_questions(questions, model=model, strong=strong)
    _check_threshold(threshold)
    generator = np.random.default_rng(sampling.rng)
    answers, scores = [], np.full(len(questions), np.nan)
    for k, question in enumerate(progress_bar(list(questions), "questions", enabled=progress)):
        seed = int(generator.integers(1 << 31))
        given = answers_of((model, question, sampling.n, sampling.temperature), sampling.max_tokens, seed)
        said = [text for text in given if split_sentences(text)]
        found = halo_check(said, scorer, symmetric=True, cache=cache) if len(said) > 1 else None
        scores[k] = np.nan if found is None else found.score
        if found is not None and found.score >= threshold:
            answers.append(central_answer(found))
        else:
            answers.append(_strong_answer(strong, question, sampling.max_tokens))
    return TeacherReport(tuple(answers), scores, ~(scores >= threshold), threshold)


def central_answer(found: HaloCheck) -> str:
    """Return the answer with the largest mean score with the others, in both roles; of equal ones the first."""
    known = np.where(np.isnan(found.pairs), 0, found.pairs)
    return found.answers[int(np.argmax(known.sum(0) + known.sum(1)))]


def _check_threshold(threshold: float) -> None:
    if isinstance(threshold, bool) or not isinstance(threshold, int | float | np.number):
        raise ValueError(f"the threshold must be a number, got {threshold!r}")
    if np.isnan(threshold):
        raise ValueError("the threshold is NaN; scores are between -1 and 1")


def _strong_answer(strong: Generator, question: str, max_tokens: int) -> str:
    texts = strong.generate(messages_of(question), n=1, temperature=0, max_tokens=max_tokens, seed=0)
    if not texts or not isinstance(texts[0], str) or not texts[0].strip():
        raise ValueError(f"the strong model gave no text to {question!r}, but {str(texts)[:80]!r}")
    return texts[0]
