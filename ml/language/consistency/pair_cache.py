"""Scores of pairs of sentences that were computed once, in memory or in a file that grows line by line."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from lowrank.reading import FileFormatError, read_bytes
from lowrank.writing import write_atomically
from ml.language.consistency.scoring import ScorerError, checked

__all__ = ["PairCache"]

LAYOUT = 1
#: Who fills a cache: a function without a key, or a scorer with one.
KINDS = ("function", "scorer")


class PairCache:
    """Scores by (premise, hypothesis), of one scorer.

    path : a file of lines (JSON) that is gone on with, or made; by default memory only
    key : all that scores depend on, as a text; by default that of the scorer that uses the cache first. A function has
        none, so that a file of its scores needs one from you, each time: another key for every change of the function

    A cache is filled by scorers with a key or by functions, not by both; a file remembers by which. Every score is
    written when it is known: a run that was stopped goes on from there, and half a last line is left out. One process
    may write to a file at a time.

    Raises ValueError for a file of another key, FileFormatError for one that holds something else, with the line.
    """

    def __init__(self, path: str | os.PathLike[str] | None = None, *, key: str | None = None) -> None:
        self.path, self.key = None if path is None else Path(path), key
        self._given = key
        self._scorer: Any = None
        self._filled_by: str | None = None  # one of KINDS; None: nobody yet, or a file that does not say it
        self._scores: dict[tuple[str, str], tuple[float, ...]] = {}
        if self.path is not None and self.path.exists():
            self._read(self.path)

    def __len__(self) -> int:
        return len(self._scores)

    def get(self, pair: tuple[str, str]) -> tuple[float, ...] | None:
        """Return the three probabilities of a pair, or None."""
        return self._scores.get(pair)

    def bind(self, scorer: Any) -> None:
        """Make sure that scores are those of this scorer. Raises ValueError for another one."""
        key = getattr(scorer, "key", None)
        kind = KINDS[key is not None]
        if not self._scores and (self.path is None or not self.path.exists()):  # whoever came before left nothing
            self.key, self._scorer, self._filled_by = self._given, None, None
        if self._filled_by not in (None, kind):
            raise ValueError(
                f"the cache holds scores of a {self._filled_by} {'with' if key is None else 'without'} a key of its "
                f"own, this is a {kind} {'without' if key is None else 'with'} one: take another cache"
            )
        if key is not None:
            if self.key not in (None, key):
                raise ValueError(f"the cache holds scores of {self.key!r}, not of {key!r}: take another one")
            if self.key is None and self._scores:
                raise ValueError(f"the cache holds scores without a key, not of {key!r}: take another one")
            self.key = key
        elif self.path is not None and self._given is None:
            raise ValueError(
                f"scores of a function can be kept in {self.path} only with a key: PairCache(path, key='my scorer, 1')"
            )
        elif self._scorer not in (None, scorer) and self.path is None and self.key is None:
            raise ValueError("the cache holds scores of another function: take another cache, or give both a key")
        self._scorer, self._filled_by = scorer, kind

    def put(self, pair: tuple[str, str], scores: tuple[float, ...]) -> None:
        """Keep the probabilities of a pair."""
        if self.path is not None:
            if not self._scores and not self.path.exists():
                head = json.dumps({"pair_cache": LAYOUT, "key": self.key, "of": self._filled_by})
                write_atomically(self.path, f"{head}\n".encode())
            with open(self.path, "ab") as file:
                file.write(f"{json.dumps([*pair, *scores])}\n".encode())
        self._scores[pair] = scores

    def _read(self, path: Path) -> None:
        content = read_bytes(path)
        lines = content.split(b"\n")
        try:
            head = json.loads(lines[0])
            if head["pair_cache"] != LAYOUT:
                raise ValueError(f"layout {head['pair_cache']}")
            key, kind = head["key"], head.get("of")
            if kind not in (None, *KINDS):
                raise ValueError(f"scores of {kind!r}")
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            raise FileFormatError(f"{path} is no cache of pairs ({error}); remove it or take another name") from error
        if self.key not in (None, key):
            raise ValueError(f"{path} holds scores of {key!r}, not of {self.key!r}: take another file")
        self.key, self._filled_by = key, kind
        for number, line in enumerate(lines[1:-1], 2):
            try:
                premise, hypothesis, *scores = json.loads(line)
                if not isinstance(premise, str) or not isinstance(hypothesis, str):
                    raise ValueError("a sentence that is no text")
                self._scores[premise, hypothesis] = checked(scores, (premise, hypothesis))
            except (ValueError, TypeError, RecursionError, ScorerError) as error:
                raise FileFormatError(f"{path}, line {number}: {error}; remove the line or the file") from error
        if lines[-1]:  # a line that was not written to its end
            write_atomically(path, content[: len(content) - len(lines[-1])])
