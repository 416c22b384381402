"""The detector: from words and texts to languages and probabilities."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from lowrank.limits import at_least
from ml.language.detection.files import check_names, read_detector, write_detector
from ml.language.detection.grams import STRENGTH
from ml.language.detection.letters import UNDETERMINED
from ml.language.detection.scoring import Tables
from ml.language.detection.selector import softmax
from ml.language.detection.stream import LanguageStream
from ml.language.detection.training import checked_lists, checked_sentences, train

__all__ = ["UNDETERMINED", "LanguageDetector"]


@dataclass(frozen=True, eq=False)
class LanguageDetector:
    """Says which of K languages words and texts are written in; made by :meth:`train` or :meth:`load`.

    A text is a run of words, whatever else stands between them. Its score x_l is the sum over all triples of letters of
    log P_l(c | a b), minus the mean over languages, plus `list_weight` times the sum over its words of log f_l(word),
    likewise; the selector makes logits z_l = w_l x_l + b_l, and the softmax of z is the probability, if all languages
    are as frequent and the triples were independent: for single words it is about right, for long texts too near to 0
    or 1.

    Raises ValueError for names of languages that are not different single lines, and fewer than two; TypeError for
    names that are no strings.

    Examples
    --------
    >>> texts = {"en": ["the cat sat on the mat", "this is the house"], "de": ["die Katze saß", "das ist das Haus"]}
    >>> detector = LanguageDetector.train(texts)
    >>> detector.detect("das Haus"), detector.detect("the house"), detector.detect("123")
    ('de', 'en', 'und')
    >>> detector.probabilities(["the"]).shape
    (1, 2)
    """

    languages: tuple[str, ...]
    tables: Tables
    #: Of the fit, on words whose sentences were left out: loss and share of errors of each selector.
    report: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_names(self.languages)
        if len(self.languages) != self.tables.size:
            raise ValueError(f"there are tables of {self.tables.size} languages, and {len(self.languages)} names")

    @classmethod
    def train(
        cls,
        sentences: Mapping[str, Iterable[str]] | None = None,
        words: Mapping[str, Mapping[str, float]] | None = None,
        *,
        order: int = 3,
        selector: str = "reduced",
        strength: float = STRENGTH,
        progress: bool = False,
    ) -> LanguageDetector:
        """Train on texts, on word lists, or both.

        Parameters
        ----------
        sentences : {language: texts}; some hundred sentences each will do
        words : {language: {word: frequency}}, in any unit; a language of `sentences` that has none gets the words of
            its sentences. Words of lists count among the triples too, as 30 000 running words
        order : letters of the longest gram, 1 to 3
        selector : "reduced" with 2 K numbers, "full" with K x K + K. `report` has the loss of both where "full"
        strength : how many letters the shorter context is worth in the back-off; more for less text

        Raises
        ------
        ValueError
            fewer than two languages, a language without a word, frequencies that are no numbers, or whose sum is
            none, an order that is not 1, 2 or 3.
        TypeError
            one text in place of a list of texts, entries and names of languages that are no strings.

        Notes
        -----
        The selector is fitted on words whose sentences were left out of the tables, two fifths of all; without
        sentences of every language it has the weights that European languages gave. 14 languages with 700 sentences and
        30 000 words each take about 15 s of CPU. The same input gives the same detector, bit for bit on one machine.
        """
        if at_least("order", order, 1) > 3:
            raise ValueError(f"order must be 1, 2 or 3, got {order}")
        if selector not in ("reduced", "full"):
            raise ValueError(f'selector must be "reduced" or "full", got {selector!r}')
        if not isinstance(strength, int | float | np.number) or not 0 < strength < np.inf:
            raise ValueError(f"strength must be a positive number, got {strength!r}")
        for what, given in (("sentences", sentences), ("words", words)):
            if given is not None and not isinstance(given, Mapping):
                raise TypeError(f"{what} must be a dict by languages, got {type(given).__name__}")
        names = tuple(dict.fromkeys([*(sentences or {}), *(words or {})]))
        check_names(names)
        if len(names) < 2:
            raise ValueError(f"a detector tells at least two languages apart, got {len(names)}: {', '.join(names)}")
        counted, lists = checked_sentences(sentences or {}), checked_lists(words or {})
        tables, report = train(
            names, counted, lists, order=order, full=selector == "full", strength=strength, progress=progress
        )
        return cls(names, tables, report)

    def detect(self, text: str) -> str:
        """Return the likeliest language of a word or a text, "und" where it has no letter that is known.

        Raises TypeError for what is no text.
        """
        best = int(self.tables.run([_text(text)])[1][0])
        return self.languages[best] if best >= 0 else UNDETERMINED

    def detect_words(self, texts: Sequence[str]) -> np.ndarray:
        """Return the likeliest language of each of n words or texts, an array of strings (n,).

        Raises TypeError for one text, or what is no list of texts.
        """
        return np.array([*self.languages, UNDETERMINED])[self.tables.run(_texts(texts))[1]]

    def logits(self, texts: Sequence[str]) -> np.ndarray:
        """Return z (n, K), zeros where no letter is known; the softmax of z is the probability.

        Raises TypeError for one text, or what is no list of texts.
        """
        return self.tables.run(_texts(texts))[0]

    def probabilities(self, texts: Sequence[str]) -> np.ndarray:
        """Return the probabilities (n, K) of the languages for each text, 1 / K where no letter is known."""
        return softmax(self.logits(texts))

    def stream(self, languages: Sequence[str] | None = None, *, stay: float = 0.8, revise: int = 3) -> LanguageStream:
        """Return a stream that follows a writer word by word, among some of the languages (all by default).

        stay, revise : as of :class:`ml.language.detection.LanguageStream`. Raises ValueError for languages that the
        detector does not know, TypeError for what is no list of names.
        """
        names = self.languages if languages is None else _names(languages)
        columns = np.array([self._number(name) for name in names], dtype=np.int64)
        return LanguageStream(names, lambda word: self.tables.run([_text(word)])[0][0, columns], stay, revise)

    def restrict(self, languages: Sequence[str]) -> LanguageDetector:
        """Return the detector of some of the languages, smaller by as much; rows are not trained anew.

        Raises ValueError for fewer than two and for languages that the detector does not know, TypeError for what is
        no list of names.
        """
        names = _names(languages)
        if len(names) < 2:
            raise ValueError(f"a detector tells at least two languages apart, got {', '.join(names) or 'none'}")
        return LanguageDetector(names, self.tables.restrict([self._number(name) for name in names]))

    def prune(self, grams: int | None = None, words: int | None = None) -> LanguageDetector:
        """Return the detector with the most important rows of letters, and the most frequent words, only.

        grams : how many triples, pairs and contexts; those that go are replaced by what they back off to. Ordered by
        what leaving them out changes, see :func:`ml.language.detection.grams.gram_table`. words : how many words.
        None keeps all of a kind. Nothing is fitted anew.
        """
        table, lists = self.tables.grams, self.tables.words
        if grams is not None:
            table = table.prune(grams)
        if words is not None and lists is not None:
            lists = lists.prune(words) if at_least("words", words, 0) else None
        return replace(self, tables=replace(self.tables, grams=table, words=lists))

    def quantize(self, bits: int = 8) -> LanguageDetector:
        """Return the detector with tables in int8, one scale each: sums of rows are then exact. `bits` must be 8.

        Raises ValueError for others.
        """
        if bits != 8:
            raise ValueError(f"tables are rounded to 8 bits (4 cost some points), got bits={bits!r}")
        lists = self.tables.words
        lists = None if lists is None else lists.quantize()
        return replace(self, tables=replace(self.tables, grams=self.tables.grams.quantize(), words=lists))

    @property
    def nbytes(self) -> int:
        """Bytes of all tables with keys and hash tables; without 1 MB on small letters that all detectors share."""
        return self.tables.nbytes

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the detector to a file .npz, whole or not at all; the report is left out."""
        write_detector(path, self.languages, self.tables)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> LanguageDetector:
        """Read what :meth:`save` wrote, bit for bit; nothing in the file is run.

        Raises FileNotFoundError, and FileFormatError, a ValueError, for a file that is damaged, altered or another one.
        """
        return cls(*read_detector(path))

    def _number(self, name: str) -> int:
        if name not in self.languages:
            raise ValueError(f"the detector does not know the language {name!r}; it knows {', '.join(self.languages)}")
        return self.languages.index(name)


def _text(text: str) -> str:
    if not isinstance(text, str):
        raise TypeError(f"a text must be a string, got {type(text).__name__}")
    return text


def _names(languages: Sequence[str]) -> tuple[str, ...]:
    if isinstance(languages, str | bytes) or not isinstance(languages, Iterable):
        raise TypeError(f"languages must be a list of names, got {languages!r:.80}")
    return tuple(languages)


def _texts(texts: Sequence[str]) -> Sequence[str]:
    if isinstance(texts, str | bytes):
        raise TypeError(f"texts must be a list of strings, got one; pass [{texts[:20]!r}] or call detect")
    if not isinstance(texts, Iterable):
        raise TypeError(f"texts must be a list of strings, got {type(texts).__name__}")
    return texts if isinstance(texts, list | tuple) else list(texts)
