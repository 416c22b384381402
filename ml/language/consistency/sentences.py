"""Sentences of a text by a few rules: end marks, abbreviations, initials, lists, and a largest length."""

from __future__ import annotations

import re
from collections.abc import Iterator

__all__ = ["LONGEST", "split_sentences"]

#: Words of a sentence, above which it is broken up; two of them fit 160 tokens of most tokenizers.
LONGEST = 50
#: Characters of a word, above which it is broken up: scripts without spaces.
LONGEST_WORD = 200
_NEVER = (
    "mr mrs ms mx dr prof st mt ft vs cf e.g i.e approx ca gen sen rep gov capt col lt sgt rev hon pres supt al "
    "bzw z.b d.h u.a ggf vgl bspw mme mlle"
)
_NUMBERED = "no nr nos fig figs eq eqs sec ch vol p pp art jan feb mar apr jun jul aug sep sept oct nov dec"
#: Never the end of a sentence.
ABBREVIATIONS = frozenset(_NEVER.split())
#: No end of a sentence where a number follows: No. 5, Fig. 2, Jan. 3.
BEFORE_NUMBERS = frozenset(_NUMBERED.split())
#: A run of marks is tried once, from its first on, and not shortened: the time is linear in its length.
END = re.compile(r"(?<![.!?…])([.!?…]++[\"'”’»)\]]*+)(?=\s)|([。！？]++[」』”’）]*+)")
OPENING = re.compile(r"\s*+[\"'“‘«(\[]*+")
#: A blank line, or the start of an item of a list, is read as the end of what stands before it.
BREAK = re.compile(r"\n[ \t]*\n|\n(?=[ \t]*(?:[-*•–]|\d{1,3}[.)])[ \t])")
ITEM = re.compile(r"^[ \t]*(?:[-*•–]|\d{1,3}[.)])[ \t]+(?=\S)")
CLAUSE = re.compile(r"(?<=[;:,—])\s+")


def split_sentences(text: str, longest: int = LONGEST) -> list[str]:
    """Return the sentences of a text.

    longest : words; a longer sentence is broken up at its clauses (; : , —), or at any space where there are none

    A sentence ends at . ! ? or … before a space, unless the next word begins in lower case, or the dot belongs to an
    abbreviation (Dr., e.g.), to an initial (J. Smith, U.S.), or to one before a number (No. 5). Decimals have no space
    behind the dot. The full-width marks of Chinese and Japanese need no space. A blank line or the next item of a list
    ends a sentence too, and marks of items are left out. What holds no letter and no digit is no sentence. Where two
    sentences meet at an initial, as in "He is from the U.S. She is not.", they stay one: that costs less than half a
    sentence.

    Raises TypeError for something else than a text, ValueError for longest < 1.

    >>> split_sentences("Dr. J. Smith paid 3.50 dollars. Was it No. 5? yes, etc. It was.")
    ['Dr. J. Smith paid 3.50 dollars.', 'Was it No. 5? yes, etc.', 'It was.']
    """
    if not isinstance(text, str):
        raise TypeError(f"a text is a str, got {type(text).__name__}")
    if longest < 1:
        raise ValueError(f"a sentence has at least one word, got longest={longest}")
    return [
        part
        for piece in BREAK.split(text)
        for sentence in _ended(" ".join(ITEM.sub("", piece).split()))
        for part in _broken(sentence, longest)
        if any(map(str.isalnum, part))  # a mark between spaces may be a part of its own
    ]


def _ended(text: str) -> Iterator[str]:
    """Yield what stands between ends; what has neither letter nor digit is joined to what stands before it."""
    parts, start = [], 0
    for end in END.finditer(text):
        if end.group(2) is not None or _is_end(text, start, end.end()):
            parts.append(text[start : end.end()].strip())
            start = end.end()
    parts.append(text[start:].strip())
    whole: list[str] = []
    for part in parts:
        if any(map(str.isalnum, part)):
            if whole:
                yield " ".join(whole)
            whole = [part]
        elif whole and part:
            whole.append(part)
    if whole:
        yield " ".join(whole)


def _is_end(text: str, start: int, stop: int) -> bool:
    """Return whether the mark that closes text[start:stop], with single spaces, is an end.

    Only the words on both sides of it are looked at, so that a text costs time linear in its length.
    """
    opening = OPENING.match(text, stop)
    first = text[opening.end() : opening.end() + 1] if opening else ""
    if first.islower():
        return False
    if text[stop - 1] != ".":
        return True
    word = text[max(start, text.rfind(" ", start, stop) + 1) : stop].rstrip(".").lstrip("\"'“‘«([")
    if word.lower() in ABBREVIATIONS:
        return False
    if word.lower() in BEFORE_NUMBERS and first.isdigit():
        return False
    # J. and U.S, but not 5 nor I, which ends sentences
    letters = word.split(".")
    return not (all(len(part) == 1 and part.isupper() for part in letters) and word != "I")


def _broken(sentence: str, longest: int) -> Iterator[str]:
    """Yield the parts of a sentence with at most `longest` words."""
    words = [word[k : k + LONGEST_WORD] for word in sentence.split(" ") for k in range(0, len(word), LONGEST_WORD)]
    if len(words) <= longest:
        yield " ".join(words)
        return
    part: list[str] = []
    for clause in CLAUSE.split(" ".join(words)):
        more = clause.split(" ")
        if part and len(part) + len(more) > longest:
            yield " ".join(part)
            part = []
        whole = (len(more) - 1) // longest * longest  # what follows has 1 to `longest` words
        for k in range(0, whole, longest):
            yield " ".join(more[k : k + longest])
        part += more[whole:]
    if part:
        yield " ".join(part)
