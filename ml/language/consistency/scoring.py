"""What a scorer of sentence pairs is, and the checks of what it answers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np

__all__ = ["BATCH", "BatchScorer", "PairScorer", "ScorerError", "ScorerWarning", "scores_of"]

#: Pairs of one call of a scorer that takes several; what is kept in a file is written as often.
BATCH = 32
#: How far three probabilities may be from a sum of one.
SUM_ATOL = 1e-3
#: Rounding below 0 and above 1 that is let pass.
RANGE_ATOL = 1e-6
NAMES = ("entailment", "neutral", "contradiction")
Pair = tuple[str, str]


class ScorerError(ValueError):
    """A scorer that answered something else than three probabilities."""


class ScorerWarning(UserWarning):
    """Scores that may not be what they seem, as of a pair that was cut."""


class PairScorer(Protocol):
    """Whatever says of a premise and a hypothesis how likely the one entails or contradicts the other."""

    def __call__(self, premise: str, hypothesis: str, /) -> Any:
        """Return three probabilities (entailment, neutral, contradiction) with the sum one."""


@runtime_checkable
class BatchScorer(Protocol):
    """A scorer of many pairs in one call; `key` says all that its scores depend on, for caches in files."""

    key: str

    def score_pairs(self, pairs: Sequence[Pair], /) -> Any:
        """Return probabilities (k, 3) of k pairs (premise, hypothesis)."""

    def fits(self, premise: str, hypothesis: str, /) -> bool:
        """Return whether the scorer reads the pair whole."""


def scores_of(scorer: PairScorer | BatchScorer, pairs: Sequence[Pair]) -> Iterator[tuple[Pair, tuple[float, ...]]]:
    """Yield each pair with its three probabilities, in the order of the pairs, checked.

    Raises ScorerError, with the pair, for an answer that is not three finite numbers in [0, 1] with the sum one (within
    1e-3); TypeError for a scorer that is neither callable nor has score_pairs. What the scorer raises is passed on.
    """
    many = getattr(scorer, "score_pairs", None)
    if many is None and not callable(scorer):
        raise TypeError(
            f"a scorer is a function (premise, hypothesis) -> (entailment, neutral, contradiction), got {scorer!r}"
        )
    size = 1 if many is None else BATCH  # a function that fails loses one pair, not those before it
    for k in range(0, len(pairs), size):
        chunk = list(pairs[k : k + size])
        answers = [scorer(*pair) for pair in chunk] if many is None else many(chunk)  # type: ignore[operator]
        if not isinstance(answers, Iterable):
            raise ScorerError(f"the scorer answered {str(answers)[:80]!r} to {len(chunk)} pairs, no list of scores")
        answers = list(answers)
        if len(answers) != len(chunk):
            raise ScorerError(f"the scorer gave {len(answers)} answers to {len(chunk)} pairs, from {_shown(chunk[0])}")
        for pair, answer in zip(chunk, answers, strict=True):
            yield pair, checked(answer, pair)


def checked(answer: Any, pair: Pair) -> tuple[float, ...]:
    """Return three probabilities as floats in [0, 1]. Raises ScorerError, with the pair, for anything else."""
    try:
        found = np.asarray(answer, dtype=float)
    except (TypeError, ValueError) as error:
        raise ScorerError(f"the scorer answered {str(answer)[:80]!r}, no numbers, to {_shown(pair)}") from error
    if found.shape != (3,):
        raise ScorerError(
            f"the scorer answered an array of shape {found.shape}, not ({', '.join(NAMES)}), to {_shown(pair)}"
        )
    for name, value in zip(NAMES, found, strict=True):
        if not -RANGE_ATOL <= value <= 1 + RANGE_ATOL:  # NaN is in no range
            raise ScorerError(f"the scorer's {name} is {value:g}, no probability in [0, 1], for {_shown(pair)}")
    if abs(float(found.sum()) - 1) > SUM_ATOL:
        raise ScorerError(
            f"the scorer's probabilities {found.tolist()} have the sum {found.sum():g}, not 1, for {_shown(pair)}; "
            "logits need a softmax first"
        )
    return tuple(float(v) for v in np.clip(found, 0, 1))


def _shown(pair: Pair) -> str:
    """Return a pair in one line, each sentence cut to 80 characters."""
    premise, hypothesis = (text if len(text) <= 80 else text[:77] + "..." for text in pair)
    return f"the premise {premise!r} and the hypothesis {hypothesis!r}"
