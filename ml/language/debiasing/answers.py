"""Answers to one item: what was said for each order of its options, and what that comes to on average."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ml.language.debiasing.items import KINDS, Item
from ml.language.debiasing.prompts import LETTERS

__all__ = ["Answer", "Reply", "letter_of", "shares"]

COUNT = len(LETTERS)


@dataclass(frozen=True)
class Reply:
    """What was answered when the options stood in one order: position p showed the option order[p].

    letter : None where the answer could not be read; log_probs : of the three letters, where the model has them
    messages : the whole dialogue, the last answer included
    """

    order: tuple[int, ...]
    letter: str | None
    log_probs: tuple[float, ...] | None
    messages: tuple[Mapping[str, str], ...]

    def as_dict(self) -> dict[str, Any]:
        """Return it as files hold it."""
        values = None if self.log_probs is None else list(self.log_probs)
        turns = [dict(turn) for turn in self.messages]
        return {"order": list(self.order), "letter": self.letter, "log_probs": values, "messages": turns}

    @staticmethod
    def from_dict(found: Mapping[str, Any]) -> Reply:
        """Return a reply from what files hold. Raises ValueError, KeyError or TypeError for something else."""
        order, letter, values = tuple(found["order"]), found["letter"], found["log_probs"]
        if sorted(order) != list(range(COUNT)) or letter not in (None, *LETTERS):
            raise ValueError(f"order {order}, letter {letter!r}")
        if values is not None and (len(values) != COUNT or not all(isinstance(v, int | float) for v in values)):
            raise ValueError(f"log probabilities {values}")
        turns = tuple({"role": str(turn["role"]), "content": str(turn["content"])} for turn in found["messages"])
        return Reply(order, letter, None if values is None else tuple(map(float, values)), turns)


@dataclass(frozen=True)
class Answer:
    """The answers of a model to an item by one method, over the orders of the options.

    shares : (3,) of the options as written, sum 1; an option that wins has 1, those that tie share it equally. None
        where no answer could be read
    """

    item: Item
    method: str
    replies: tuple[Reply, ...]
    shares: tuple[float, ...] | None

    @property
    def letter(self) -> str | None:
        """The letter of the option that won, in the order as written; None where options tie, or none could be read."""
        return None if self.shares is None or max(self.shares) < 1 else LETTERS[self.shares.index(1.0)]

    @property
    def kinds(self) -> tuple[float, ...] | None:
        """Share of each of `KINDS` (3,); None where no answer could be read."""
        if self.shares is None:
            return None
        return tuple(
            math.fsum(s for s, k in zip(self.shares, self.item.kinds(), strict=True) if k == kind) for kind in KINDS
        )

    @property
    def transcript(self) -> list[list[Mapping[str, str]]]:
        """The dialogues, one for each order."""
        return [list(reply.messages) for reply in self.replies]

    @property
    def as_written(self) -> Answer:
        """What the first order alone says, which is the one as written."""
        return Answer(self.item, self.method, self.replies[:1], shares(self.replies[:1]))


def shares(replies: Sequence[Reply]) -> tuple[float, ...] | None:
    """Return the share of each option (3,): all to the one with the largest mean log probability, or most letters.

    Sums are rounded once (`math.fsum`), so that options with the same numbers in another order tie exactly: a model
    that goes by the position alone gives a third to each option over cyclic orders. None where no reply can be read.
    """
    if all(reply.letter is None for reply in replies):
        return None
    if all(reply.log_probs is not None for reply in replies):
        values = [math.fsum(reply.log_probs[reply.order.index(k)] for reply in replies) for k in range(COUNT)]  # type: ignore[index]
    else:
        said = [reply.order[LETTERS.index(reply.letter)] for reply in replies if reply.letter is not None]
        values = [float(said.count(k)) for k in range(COUNT)]
    best = [k for k in range(COUNT) if values[k] == max(values)]
    return tuple(1.0 / len(best) if k in best else 0.0 for k in range(COUNT))


def letter_of(text: str, options: Sequence[str]) -> str | None:
    """Return the letter that an answer names, or None where it names none, or several.

    Looked for in this order: a letter alone or in front, as in "b", "(b)", "B. The cook"; "the answer is b"; one
    letter in parentheses; the text of one option.

    options : (3,) as they were shown

    >>> [letter_of(text, ["The cook", "The guest", "Not known"]) for text in ("(B)", "It is the guest.", "A guest?")]
    ['b', 'b', None]
    """
    low = text.strip().lower()
    found = re.match(r"\W*([abc])\W*$", low) or re.match(r"[(\[*\"' ]*([abc])\s*[)\].:,*](?=\W|$)", low)
    if found:
        return found[1] if set(re.findall(r"\(([abc])\)", low)) <= {found[1]} else None
    said = set(re.findall(r"\banswer(?: is|:)?\W*\b([abc])\b(?! \w)", low))
    if len(said) != 1:
        said = set(re.findall(r"\(([abc])\)", low))
    if len(said) != 1:
        said = {letter for letter, option in zip(LETTERS, options, strict=True) if _names(low, option, options)}
    return said.pop() if len(said) == 1 else None


def _names(low: str, option: str, options: Sequence[str]) -> bool:
    """Return whether a text has an option's words, outside of longer options that hold them, too."""
    for other in sorted(options, key=len, reverse=True):
        if len(other) > len(option):
            low = low.replace(other.lower().strip(" ."), " ")
    return re.search(rf"\b{re.escape(option.lower().strip(' .'))}\b", low) is not None
