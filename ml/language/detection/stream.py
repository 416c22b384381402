"""Languages word by word: a filter that only looks back, its revision, and the best path of a finished sentence."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from lowrank.limits import at_least
from ml.language.detection.letters import UNDETERMINED
from ml.language.detection.selector import softmax

__all__ = ["LanguageStream", "best_path"]


class LanguageStream:
    """Follows a writer who may change the language between words; made by ``LanguageDetector.stream``.

    From one word to the next the language stays with probability `stay`, otherwise it is drawn anew from all K: T =
    stay I + (1 - stay) / K. With p(w | l) proportional to the detector's probability of l for the word w alone, the
    filter is p_t(l) ~ p(w_t | l) sum_m T_ml p_(t-1)(m): what it says of a word depends on this word and those before.
    Each word costs one call of the kernel and some K operations. Where all languages are equally likely, as before the
    first known letter, the answer is "und".

    Raises ValueError for fewer than two languages, for one that stands twice, for `stay` outside [0, 1), and for
    `revise` below 0.

    Attributes
    ----------
    now : probabilities (K,) after the last word
    """

    def __init__(
        self, languages: Sequence[str], logits: Callable[[str], np.ndarray], stay: float = 0.8, revise: int = 3
    ) -> None:
        """logits : of one word, (K,)."""
        if len(languages) < 2 or len(set(languages)) < len(languages):
            raise ValueError(f"a stream needs at least two different languages, got {', '.join(languages) or 'none'}")
        if not isinstance(stay, int | float | np.number) or not 0 <= stay < 1:
            raise ValueError(f"stay must be at least 0 and less than 1, got {stay!r}")
        self.languages = tuple(languages)
        self._logits, self._stay, self._revise = logits, float(stay), at_least("revise", revise, 0)
        self._emissions: list[np.ndarray] = []
        self._filtered: list[np.ndarray] = []
        self._causal: list[int] = []
        self._revised: list[int] = []
        self.now = np.full(len(languages), 1 / len(languages))

    def push(self, word: str) -> str:
        """Take the next word, and return the language that it is in as far as is known now.

        The languages of the last `revise` words before it are revised: see :attr:`revised`.
        """
        emission = softmax(self._logits(word))
        self._emissions.append(emission)
        p = emission * self._moved(self.now)
        self.now = p / p.sum()
        self._filtered.append(self.now)
        self._causal.append(_likeliest(self.now))
        self._revised.append(self._causal[-1])
        self._smooth()
        return self._names([self._causal[-1]])[0]

    def take_back(self, words: int = 1) -> None:
        """Forget the last words, as of a writer who deletes them: all is as if they had never been pushed.

        A keyboard pushes a word that is not finished yet, takes it back, and pushes what it has become. Raises
        ValueError for a number below 0 or above that of the words that are there.
        """
        left = len(self._causal) - at_least("words", words, 0)
        if left < 0:
            raise ValueError(f"words must be at most {len(self._causal)}, those that were pushed, got {words}")
        for kept in (self._emissions, self._filtered, self._causal, self._revised):
            del kept[left:]
        self.now = self._filtered[-1] if left else np.full(len(self.languages), 1 / len(self.languages))
        self._revised[-1:] = self._causal[-1:]  # those before are revised anew, as far as what is gone had revised them
        self._smooth()

    @property
    def causal(self) -> list[str]:
        """What `push` returned, word for word."""
        return self._names(self._causal)

    @property
    def revised(self) -> list[str]:
        """The languages of all words, each revised by as many as `revise` words after it."""
        return self._names(self._revised)

    def finish(self) -> list[str]:
        """Return the languages of all words when the sentence is complete: the likeliest path. More may be pushed.

        "und" where nothing is known: of all words if none has a known letter, of each of these if `stay` is 0.
        """
        path = best_path(np.array(self._emissions), self._stay)
        said = [_likeliest(emission) for emission in self._emissions]
        if self._stay == 0 or max(said, default=-1) < 0:
            path = [k if of >= 0 else -1 for k, of in zip(path, said, strict=True)]
        return self._names(path)

    def _names(self, numbers: Sequence[int]) -> list[str]:
        return [self.languages[k] if k >= 0 else UNDETERMINED for k in numbers]

    def _moved(self, p: np.ndarray) -> np.ndarray:
        moved: np.ndarray = self._stay * p + (1 - self._stay) * p.sum() / len(p)
        return moved

    def _smooth(self) -> None:
        """Revise the last words by what came after them: p(l_t | all) ~ filtered_t(l) backward_t(l)."""
        backward = np.ones(len(self.languages))
        last = len(self._emissions) - 1
        for t in range(last - 1, max(-1, last - 1 - self._revise), -1):
            backward = self._moved(self._emissions[t + 1] * backward)
            backward = backward / backward.max()
            self._revised[t] = _likeliest(self._filtered[t] * backward)


def _likeliest(p: np.ndarray) -> int:
    """Return the number of the likeliest language, -1 where all are equally likely."""
    best = int(p.argmax())
    return best if p[best] > p.min() else -1


def best_path(emissions: np.ndarray, stay: float) -> list[int]:
    """Return the likeliest sequence of languages (n,) for emissions (n, K) > 0: Viterbi's recursion.

    Transitions are stay I + (1 - stay) / K, the first language is any. O(n K): the best change comes from the best
    language before, whatever it goes to. Of equal paths that which stays.
    """
    if not len(emissions):
        return []
    n, k = emissions.shape
    logs = np.log(np.maximum(emissions, 1e-300))
    change = np.log((1 - stay) / k)
    keep = np.log(stay + (1 - stay) / k)
    score = logs[0].copy()
    back = np.zeros((n, k), dtype=np.int64)
    for t in range(1, n):
        best = int(score.argmax())
        staying = score + keep
        changing = score[best] + change
        back[t] = np.where(staying >= changing, np.arange(k), best)
        score = np.maximum(staying, changing) + logs[t]
    path = [int(score.argmax())]
    for t in range(n - 1, 0, -1):
        path.append(int(back[t, path[-1]]))
    return path[::-1]
