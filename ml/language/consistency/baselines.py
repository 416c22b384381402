"""What HaloCheck is compared with: the share of equal answers, and the cosine of their vectors."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

__all__ = ["exact_match_rate", "mean_cosine"]


def exact_match_rate(answers: Sequence[str]) -> float:
    """Return the share of pairs of answers with the same words, case, punctuation and spaces left aside.

    >>> exact_match_rate(["It is red.", "it is  red", "It is blue."])
    0.3333333333333333
    """
    _enough(answers)
    plain = [" ".join(re.findall(r"\w+", text.lower())) for text in answers]
    same = [a == b for a, b in itertools.combinations(plain, 2)]
    return sum(same) / len(same)


def mean_cosine(answers: Sequence[str], vectors: Callable[[Sequence[str]], Any]) -> float:
    """Return the mean cosine of pairs of answers.

    vectors : texts -> (n, d), as `ml.language.consistency.sentence_vectors` gives. Raises ValueError
        for fewer than two answers, and for vectors of another shape, with NaN, or 0.
    """
    _enough(answers)
    found = np.asarray(vectors(list(answers)), dtype=float)
    if found.ndim != 2 or len(found) != len(answers):
        raise ValueError(f"vectors of {len(answers)} texts have the shape {found.shape}, not ({len(answers)}, d)")
    lengths = np.linalg.norm(found, axis=1)
    if not np.all(lengths > 0) or not np.all(np.isfinite(lengths)):
        raise ValueError("a vector of an answer is 0 or not finite")
    cosines = (found / lengths[:, None]) @ (found / lengths[:, None]).T
    return float(cosines[np.triu_indices(len(answers), 1)].mean())


def _enough(answers: Sequence[str]) -> None:
    if len(answers) < 2:
        raise ValueError(f"pairs need two answers at least, got {len(answers)}")
