"""Severity of inconsistency: HaloCheck over many questions, as a table with bootstrap intervals."""

from __future__ import annotations

import numbers
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from lowrank.progress import progress_bar
from ml.chunks.kept_cases import KeptCases
from ml.language.consistency.asking import Generator, answers_of, check_questions, check_sampling
from ml.language.consistency.baselines import exact_match_rate
from ml.language.consistency.bootstrap import RESAMPLES, Interval, mean_interval
from ml.language.consistency.halo_check import halo_check
from ml.language.consistency.pair_cache import PairCache
from ml.language.consistency.scoring import BatchScorer, PairScorer
from ml.language.consistency.sentences import split_sentences

__all__ = ["Sampling", "Severity", "SeverityRow", "severity"]


@dataclass(frozen=True)
class Sampling:
    """How a model is asked for answers.

    Raises ValueError for n < 2, temperature <= 0 or not finite, max_tokens < 1, rng < 0, and parts of numbers.
    """

    n: int = 5  #: answers to each question
    temperature: float = 1.0
    max_tokens: int = 100  #: of each answer
    rng: int = 0  #: of the seeds, one for each question, by its place in the list

    def __post_init__(self) -> None:
        check_sampling(self.n, self.temperature, self.max_tokens)
        if isinstance(self.rng, bool) or not isinstance(self.rng, numbers.Integral) or self.rng < 0:
            raise ValueError(f"rng is a whole number, 0 or more, got rng={self.rng!r}")
        for name, kind in (("n", int), ("temperature", float), ("max_tokens", int), ("rng", int)):
            object.__setattr__(self, name, kind(getattr(self, name)))  # those of NumPy have no JSON


@dataclass(frozen=True)
class SeverityRow:
    """A question with what was made of its answers."""

    question: str
    prompt: str  #: what the model was asked: the question, or the question with facts in front
    answers: tuple[str, ...]  #: those with text
    score: float  #: of HaloCheck; NaN where fewer than two answers have text
    standard_error: float
    exact_match: float
    n_calls: int
    n_cut: int
    n_empty: int  #: answers without text


@dataclass(frozen=True)
class Severity:
    """Rows by question, and their means with bootstrap intervals over questions."""

    rows: tuple[SeverityRow, ...]
    level: float = 0.95
    resamples: int = RESAMPLES
    rng: int = 0
    score: Interval = field(init=False)  #: of HaloCheck, the lower the more the answers contradict each other
    exact_match: Interval = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "score", self._mean(self.scores))
        object.__setattr__(self, "exact_match", self._mean(np.array([row.exact_match for row in self.rows])))

    @property
    def scores(self) -> np.ndarray:
        """Scores (questions,); NaN for questions that are left out."""
        return np.array([row.score for row in self.rows])

    @property
    def n_left_out(self) -> int:
        """Questions with fewer than two answers that have text; they are in no mean."""
        return int(np.isnan(self.scores).sum())

    def difference(self, other: Severity) -> Interval:
        """Return the mean of this minus that of another table, paired by question, with its interval.

        Raises ValueError where the questions are not the same.
        """
        if [row.question for row in self.rows] != [row.question for row in other.rows]:
            raise ValueError("a paired difference needs tables of the same questions in the same order")
        return self._mean(self.scores - other.scores)

    def _mean(self, values: np.ndarray) -> Interval:
        return mean_interval(values, level=self.level, resamples=self.resamples, rng=self.rng)

    def __str__(self) -> str:
        lines = [f"{'score':>8}{'+-':>7}{'same':>7}{'calls':>7}  question"]
        lines += [
            f"{row.score:8.3f}{row.standard_error:7.3f}{row.exact_match:7.2f}{row.n_calls:7d}  {row.question[:80]}"
            for row in self.rows
        ]
        lines.append(f"mean {self.score}, {self.score.count} questions, {self.level:.0%} bootstrap over questions")
        empty = sum(row.n_empty for row in self.rows)
        if empty or self.n_left_out:
            lines.append(f"{empty} answers without text, {self.n_left_out} questions left out")
        return "\n".join(lines)


def severity(
    model: Generator,
    questions: Sequence[str],
    scorer: PairScorer | BatchScorer,
    *,
    sampling: Sampling | None = None,
    prompts: Mapping[str, str] | None = None,
    symmetric: bool = False,
    cache: PairCache | None = None,
    kept: str | os.PathLike[str] | None = None,
    name: str | None = None,
    progress: bool = False,
) -> Severity:
    """Return HaloCheck of the answers to each question, with the mean and its interval over questions.

    model : with the method generate; see `ml.language.models`
    prompts : {question: what to ask}, as of `ml.inject_knowledge`; the question itself where it has no entry
    cache : of pairs, shared by all questions; in memory by default
    kept : a JSON file of answers, which is gone on with
    name : whose answers they are, in that file; by default the model's. That of a lambda or of a function within a
        function is also that of others: give one

    An answer without text is left out and counted, and a question with fewer than two others too; its score is NaN.

    Raises ValueError for no questions, for one without text or twice, before anything is asked, and for `kept` and a
    model whose name is none or not its own; what the model raises is passed on: with `kept`, what was answered before
    is not lost. Costs n answers a question.
    """
    sampling = Sampling() if sampling is None else sampling
    check_questions(questions, prompts, model=model)
    if len(set(questions)) < len(questions):
        twice = next(q for q in questions if list(questions).count(q) > 1)
        raise ValueError(f"a question stands twice: {twice!r}")
    name = name if kept is None else _name(model, name)
    cases, cache = None if kept is None else KeptCases(kept), PairCache() if cache is None else cache
    generator, rows = np.random.default_rng(sampling.rng), []
    for question in progress_bar(list(questions), "questions", enabled=progress):
        prompt, seed = (prompts or {}).get(question, question), int(generator.integers(1 << 31))
        asked = (model, prompt, sampling.n, sampling.temperature)
        if cases is None:
            answers = answers_of(asked, sampling.max_tokens, seed)
        else:
            settings = {"model": name, "prompt": prompt, "n": sampling.n, "temperature": sampling.temperature}
            settings |= {"max_tokens": sampling.max_tokens, "seed": seed}
            label = f"{question} | {sampling.temperature:g} | {'as it is' if prompt == question else 'with facts'}"
            make = _asking(asked, sampling.max_tokens, seed)
            answers = tuple(cases.case(label, settings, make))
        rows.append(_row(question, prompt, answers, scorer, cache, symmetric))
    return Severity(tuple(rows))


def _name(model: Any, name: str | None) -> str:
    """Return whose answers are kept. Raises ValueError for a name that other models may have too."""
    found = name or getattr(model, "name", None)
    if not found:
        raise ValueError("answers that are kept need the name of their model: severity(..., kept=, name=)")
    found = str(found)
    if not name and ("<" in found or found == "partial"):  # <lambda>, f.<locals>.g, <function f at 0x..>
        raise ValueError(
            f"answers that are kept need the name of their model, and {found!r} may be that of many: give "
            "severity(..., kept=, name=) one of your own, another for every change of the model"
        )
    return found


def _asking(asked: tuple[Any, ...], max_tokens: int, seed: int) -> Callable[[], tuple[str, ...]]:
    return lambda: answers_of(asked, max_tokens, seed)


def _row(question: str, prompt: str, answers: Any, scorer: Any, cache: PairCache, symmetric: bool) -> SeverityRow:
    said = tuple(text for text in answers if split_sentences(text))
    empty = len(answers) - len(said)
    if len(said) < 2:
        return SeverityRow(question, prompt, said, np.nan, np.nan, np.nan, 0, 0, empty)
    found = halo_check(said, scorer, symmetric=symmetric, cache=cache)
    same = exact_match_rate(said)
    return SeverityRow(
        question, prompt, said, found.score, found.standard_error, same, found.n_calls, found.n_cut, empty
    )
