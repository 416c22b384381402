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
        if values is not None and (len(values) != COUNT or not all(map(_log_prob, values))):
            raise ValueError(f"log probabilities {values}")
        turns = tuple({"role": str(turn["role"]), "content": str(turn["content"])} for turn in found["messages"])
        return Reply(order, letter, None if values is None else tuple(map(float, values)), turns)


def _log_prob(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value <= 0  # NaN is not


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


#: What makes a letter or an option near it no answer.
DOUBT = re.compile(
    r"\b(?:not|no|never|neither|nor|none|cannot|whether|or|if|unless|wrong|incorrect|false|unlikely|impossible|hardly"
    r"|except|without|either|both|all|than|instead of|rule[sd]? out|doubt\w*|exclude\w*)\b|n't\b|\?"
)
#: Where a statement ends: what is said behind it does not count.
END = re.compile(r"[.;!](?=\W|$)|\b(?:because|since)\b|,(?!\s*(?:or|nor|not|is|was)\b)")
#: What makes the letter in front the subject of a statement.
SUBJECT = re.compile(
    r"\W*(?:(?:is|was|would|could|might|may|should|seems|looks|does|or|and|nor|never|wrong|incorrect|false|cannot be)\b"
    r"|(?:is|was|does|would|could|should|can)n't\b|not (?:right|correct|true|it|this|the answer|[\u16a0-\u16a2])"
    r"|no(?=\W*$|[,.;!]))"
)
#: A letter that stands for an option: "a" may be the article.
LETTER = re.compile(r"(?<![\w'])(?:([bc])(?![\w'])|(a)(?=\s*(?:[^\w\s']|$)|\s+(?:or|and|nor|is|was)\b))")
#: Stand for the three options in a text; letters of a script that no option is written in.
SIGNS = "\u16a0\u16a1\u16a2"


def letter_of(text: str, options: Sequence[str]) -> str | None:
    """Return the letter that an answer names, or None where it names none, or several, or denies or doubts it.

    Looked for in this order: a letter alone or in front, as in "b", "(b)", "B. The cook"; "the answer is b"; one
    letter in parentheses; the text of one option. Words of denial or doubt ("not", "whether", "or", "wrong", ...)
    before it in its sentence, or behind it up to a comma or "because", make it None, but for those of an option's own
    text; behind a letter in front only where that is what the sentence is about ("a) is wrong").

    options : (3,) as they were shown

    >>> [letter_of(text, ["The cook", "The guest", "Not known"]) for text in ("(B)", "It is the guest.", "A guest?")]
    ['b', 'b', None]
    """
    low = text.strip().lower().replace("\u2019", "'")
    found = re.match(r"[^\w?]*([abc])[^\w?]*$", low)
    if found:
        return found[1]
    low = _marked(low, options)
    letters = {m[1] or m[2] for m in LETTER.finditer(low)}
    if len(letters) > 1:
        return None
    found = re.match(r"[(\[*\"' ]*([abc])\s*[)\].:,*](?=\W|$)", low)
    if found:
        behind = low[found.end() :]
        return None if SUBJECT.match(behind) and DOUBT.search(_statement(behind)) else found[1]
    named = list(re.finditer(r"\banswer(?: is|:)?\W*\b([abc])\b(?! \w)", low)) or list(re.finditer(r"\(([abc])\)", low))
    said = {m[1] for m in named}
    if not named:
        named = list(re.finditer(f"[{SIGNS}]", low))
        said = {LETTERS[SIGNS.index(m[0])] for m in named}
    if len(said) != 1 or not letters <= said or any(_doubted(low, m) for m in named):
        return None
    return said.pop()


def _marked(low: str, options: Sequence[str]) -> str:
    """Return a text with a sign in place of each option, the longest first, as it may hold a shorter one."""
    low = re.sub(f"[{SIGNS}]", " ", low)
    for k in sorted(range(len(options)), key=lambda k: len(options[k]), reverse=True):
        option = re.escape(options[k].lower().replace("\u2019", "'").strip(" ."))
        if option:
            low = re.sub(rf"(?<!\w){option}(?!\w)", SIGNS[k], low)
    return low


def _doubted(low: str, at: re.Match[str]) -> bool:
    """Return whether the statement around a place denies or doubts it."""
    before = re.split(r"[.!?](?=\s)", low[: at.start()])[-1]
    return DOUBT.search(before) is not None or DOUBT.search(_statement(low[at.end() :])) is not None


def _statement(behind: str) -> str:
    return END.split(behind, maxsplit=1)[0]
