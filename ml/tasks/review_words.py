"""Film reviews as a few numbers each: the leading components of their words, weighted by rareness. No network."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy.sparse

from lowrank import randomized_svd
from ml.tasks.files import film_reviews

__all__ = ["ReviewWords", "review_words", "word_components"]

WORD = re.compile(r"[a-z']+")


@dataclass(frozen=True, eq=False)
class ReviewWords:
    """Sentences as components (n, rank + 1), the last one 1, with the sign of their rating."""

    components: np.ndarray  #: (n, rank + 1); each has mean square 1 on the training sentences
    labels: np.ndarray  #: (n,), 1 for a positive rating, 0 for a negative one
    training: np.ndarray  #: which sentences are trained on
    held_out: np.ndarray  #: and which are not


def review_words(*, rank: int = 100, held_out: int = 2600, rng: int = 0) -> ReviewWords:
    """Return the task: the sentences and the split of :func:`ml.tasks.reviews.review_task`.

    Raises ImportError, with the line that brings it, where the film reviews are missing.
    """
    texts, ratings = film_reviews()
    chosen = [(text, rating) for text, rating in zip(texts, ratings, strict=True) if rating]
    if not 0 < held_out < len(chosen):
        raise ValueError(f"held_out must be between 1 and {len(chosen) - 1} sentences, got {held_out}")
    order = np.random.default_rng(rng).permutation(len(chosen))
    labels = np.array([int(rating > 0) for _, rating in chosen])
    components = word_components([text for text, _ in chosen], order[held_out:], rank)
    return ReviewWords(components, labels, order[held_out:], order[:held_out])


def word_components(texts: Sequence[str], training: np.ndarray, rank: int) -> np.ndarray:
    """Return the components of texts (n, rank + 1), the last one 1; words and their weights are those of the training.

    x_ij = count_ij log(n / n_j), rows of norm 1, over the words that stand in two training texts or more (in n_j of n);
    then the leading right singular vectors of the training rows, scaled so that each component has mean square 1 there.

    Raises ValueError for a rank that the training texts do not have.
    """
    words = [Counter(WORD.findall(text.lower())) for text in texts]
    seen = Counter(word for k in training for word in words[int(k)])
    vocabulary = {word: j for j, word in enumerate(sorted(word for word, n in seen.items() if n > 1))}
    if not 0 < rank < min(len(vocabulary), len(training)):
        raise ValueError(f"rank must be 1 .. {min(len(vocabulary), len(training)) - 1}, got {rank}")
    entries = [
        (i, vocabulary[word], count * np.log(len(training) / seen[word]))
        for i, found in enumerate(words)
        for word, count in found.items()
        if word in vocabulary
    ]
    rows, columns, values = zip(*entries, strict=True)
    x = scipy.sparse.csr_array((values, (rows, columns)), shape=(len(texts), len(vocabulary)))
    norms = np.sqrt(np.asarray((x * x).sum(axis=1)).reshape(-1))
    x = scipy.sparse.csr_array(scipy.sparse.diags_array(1 / np.where(norms > 0, norms, 1.0)) @ x)
    found = randomized_svd(x[training], rank, rng=0)
    components = np.asarray(x @ found.V[:, :rank])
    components /= np.sqrt(np.mean(components[training] ** 2, axis=0))
    return np.hstack([components, np.ones((len(texts), 1))])
