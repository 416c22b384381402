"""What the study of consistency measures: sets made by code, answers of a small model, coverage of the intervals."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np

from ml.language.consistency.asking import Generator, answers_of
from ml.language.consistency.baselines import exact_match_rate, mean_cosine
from ml.language.consistency.bootstrap import auroc_interval, mean_interval
from ml.language.consistency.halo_check import halo_check, pair_mean
from ml.language.consistency.knowledge import TEMPLATE, inject_knowledge
from ml.language.consistency.sentences import split_sentences
from ml.studies.halo_questions import QUESTIONS, Question
from ml.studies.halo_sets import AnswerSet

__all__ = ["ask", "coverage", "coverage_of_areas", "origin", "prompt_of", "score_sets"]

INSTRUCTION = "Answer in one short sentence. "


def score_sets(sets: list[AnswerSet], scorer: Any, vectors: Any) -> list[dict[str, Any]]:
    """Return the scores of sets of answers: HaloCheck, share of equal answers, mean cosine (None without vectors)."""
    rows = []
    for one in sets:
        found = halo_check(one.answers, scorer)
        cosine = None if vectors is None else mean_cosine(one.answers, vectors)
        rows.append(
            {"kind": one.kind, "halo": found.score, "exact": exact_match_rate(one.answers), "cosine": cosine,
             "calls": found.n_calls}
        )  # fmt: skip
    return rows


def prompt_of(question: Question, *, facts: bool, vectors: Any) -> dict[str, Any]:
    """Return {"prompt", "found"}: with facts, that of all questions' facts which is nearest to this one's stands in it.

    found : whether the nearest fact is the right one; None without facts
    """
    if not facts:
        return {"prompt": INSTRUCTION + question.text, "found": None}
    every = [other.fact for other in QUESTIONS]
    known = inject_knowledge(question.text, every, top=1, vectors="words" if vectors is None else vectors)
    return {"prompt": INSTRUCTION + known.prompt, "found": known.facts == (question.fact,)}


def origin(*, facts: bool) -> dict[str, str]:
    """Return what answers depend on besides the question: the model, the words around it, and the facts' SHA-256."""
    found = {"model": "SmolLM2-135M-Instruct", "around": INSTRUCTION + (TEMPLATE if facts else "{question}")}
    if facts:
        found["known"] = hashlib.sha256("\n".join(other.fact for other in QUESTIONS).encode()).hexdigest()[:16]
    return found


def ask(
    model: Generator, question: Question, scorer: Any, vectors: Any, *, facts: bool, temperature: float, n: int,
    max_tokens: int, seed: int,
) -> dict[str, Any]:  # fmt: skip
    """Return the answers of a model to a question, with their scores.

    Scores are None where fewer than two answers have text.
    """
    asked = prompt_of(question, facts=facts, vectors=vectors)
    answers = answers_of((model, asked["prompt"], n, temperature), max_tokens, seed)
    said = [text for text in answers if split_sentences(text)]
    row: dict[str, Any] = {**asked, "answers": list(answers)}
    if len(said) < 2:
        return {**row, "halo": None, "error": None, "exact": None, "cosine": None, "calls": 0}
    found = halo_check(said, scorer)
    cosine = None if vectors is None else mean_cosine(said, vectors)
    error = None if np.isnan(found.standard_error) else found.standard_error
    same = exact_match_rate(said)
    return {**row, "halo": found.score, "error": error, "exact": same, "cosine": cosine, "calls": found.n_calls}


def coverage(samples: int, *, questions: int, answers: int = 4, level: float = 0.95, seed: int = 0) -> float:
    """Return the share of bootstrap intervals of the mean score that hold the true mean, over so many samples.

    Question q has its own chance p of a well-known answer, Beta(1/2, 1/2); answers are that one, or one of three others
    alike. Pairs score 0.9 where they are the same and -0.8 else, so that the mean score is 0.9 e - 0.8 (1 - e) with
    e = E[p^2] + E[(1 - p)^2] / 3, E[p^2] = E[(1 - p)^2] = 3/8. Matrices of pairs are scripted so; the mean over pairs
    and the interval are those of the package.
    """
    rng = np.random.default_rng(seed)
    same = 3 / 8 + 3 / 8 / 3
    truth, held = 0.9 * same - 0.8 * (1 - same), 0
    for _ in range(samples):
        known = rng.random((questions, answers)) < rng.beta(0.5, 0.5, (questions, 1))
        kinds = np.where(known, 0, rng.integers(1, 4, (questions, answers)))
        pairs = np.where(kinds[:, :, None] == kinds[:, None, :], 0.9, -0.8)
        found = mean_interval(pair_mean(pairs), level=level, rng=rng, resamples=1000)
        held += found.low <= truth <= found.high
    return held / samples


def coverage_of_areas(samples: int, *, sets: int, shift: float = 1.5, level: float = 0.95, seed: int = 0) -> float:
    """Return the share of intervals of AUROC that hold the true area, for normal scores `shift` apart."""
    from scipy.special import ndtr

    rng = np.random.default_rng(seed)
    truth, held = ndtr(shift / np.sqrt(2)), 0
    for _ in range(samples):
        high, low = rng.standard_normal((2, sets))
        found = auroc_interval(high + shift, low, level=level, rng=rng, resamples=500)
        held += found.low <= truth <= found.high
    return held / samples
