"""Sets of answers that agree or contradict each other, made of facts by swapping numbers, names and negations."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

__all__ = ["KINDS", "WORDINGS", "AnswerSet", "answer_sets"]

Wording = Literal["agree", "all differ", "one differs", "one wording"]
WORDINGS = ("agree", "all differ", "one differs", "one wording")
KINDS = ("number", "name", "negation")
#: Towns and people are invented: a scorer cannot know better.
_TOWNS = (
    "Marden Talvik Osterby Quarne Velstad Brisco Harlow Ninfa Dorval Kestrel Lumen Pasco Redmire Solana Thornby Ulver"
)
_PEOPLE = (
    "Clara Voss, Henrik Dahl, Amira Sayed, Paul Renner, Lucia Ferri, Tomas Novak, Grace Okoro, Ivan Petrov, "
    "Mei Tanaka, David Lindqvist, Nora Haddad, Peter Claes, Sofia Moreno, Karl Weiss, Anna Kowalska, Louis Martel"
)
TOWNS, PEOPLE = _TOWNS.split(), _PEOPLE.split(", ")
#: Smallest and largest number, and five wordings of one fact.
NUMBERS = (
    (
        120,
        2900,
        "The bridge of {t} is {v} metres long.",
        "The length of the bridge of {t} is {v} metres.",
        "The bridge in {t} measures {v} metres from end to end.",
        "{t} has a bridge with a length of {v} metres.",
        "From one end to the other, the bridge of {t} is {v} metres.",
    ),
    (
        1130,
        1890,
        "{t} was founded in {v}.",
        "The town of {t} was founded in the year {v}.",
        "The founding year of {t} is {v}.",
        "It was in {v} that {t} was founded.",
        "{t} dates back to {v}, when it was founded.",
    ),
    (
        1200,
        98000,
        "{t} has {v} inhabitants.",
        "The population of {t} is {v}.",
        "There are {v} people living in {t}.",
        "{v} people live in the town of {t}.",
        "The number of inhabitants of {t} is {v}.",
    ),
    (
        31,
        240,
        "The tower of {t} is {v} metres tall.",
        "The height of the tower of {t} is {v} metres.",
        "The tower in {t} rises to {v} metres.",
        "{t} has a tower that is {v} metres high.",
        "At {v} metres, that is how tall the tower of {t} is.",
    ),
)
NAMES = (
    (
        "The museum of {t} was designed by {v}.",
        "{v} designed the museum of {t}.",
        "The architect of {t}'s museum is {v}.",
        "It was {v} who designed the museum in {t}.",
        "The museum in {t} is a design by {v}.",
    ),
    (
        "{v} is the mayor of {t}.",
        "The mayor of {t} is {v}.",
        "The town of {t} has {v} as its mayor.",
        "In {t}, the mayor is {v}.",
        "The person who serves as mayor of {t} is {v}.",
    ),
    (
        "{v} won the chess tournament of {t}.",
        "The winner of the chess tournament in {t} was {v}.",
        "The chess tournament of {t} was won by {v}.",
        "In {t}, {v} won the chess tournament.",
        "It was {v} who won the tournament of chess in {t}.",
    ),
    (
        "The song about {t} was written by {v}.",
        "{v} wrote the song about {t}.",
        "The writer of the song about {t} is {v}.",
        "It was {v} who wrote the song about {t}.",
        "The song about {t} is by {v}.",
    ),
)
#: Wordings that affirm, and the same ones that deny.
NEGATIONS = (
    (
        (
            "The museum of {t} is open on Mondays.",
            "On Mondays, the museum of {t} is open.",
            "You can visit the museum of {t} on Mondays.",
            "The museum in {t} opens on Mondays.",
            "Monday is a day on which the museum of {t} is open.",
        ),
        (
            "The museum of {t} is not open on Mondays.",
            "On Mondays, the museum of {t} is not open.",
            "You cannot visit the museum of {t} on Mondays.",
            "The museum in {t} does not open on Mondays.",
            "Monday is a day on which the museum of {t} is not open.",
        ),
    ),
    (
        (
            "Trains cross the bridge of {t}.",
            "The bridge of {t} carries trains.",
            "The bridge in {t} is used by trains.",
            "Trains go over the bridge of {t}.",
            "The bridge of {t} is crossed by trains.",
        ),
        (
            "Trains do not cross the bridge of {t}.",
            "The bridge of {t} does not carry trains.",
            "The bridge in {t} is not used by trains.",
            "No trains go over the bridge of {t}.",
            "The bridge of {t} is not crossed by trains.",
        ),
    ),
    (
        (
            "The lake of {t} freezes in winter.",
            "In winter, the lake of {t} freezes.",
            "The lake in {t} is frozen in winter.",
            "Every winter the lake of {t} freezes.",
            "The lake of {t} has ice in winter.",
        ),
        (
            "The lake of {t} does not freeze in winter.",
            "In winter, the lake of {t} does not freeze.",
            "The lake in {t} is not frozen in winter.",
            "The lake of {t} never freezes in winter.",
            "The lake of {t} has no ice in winter.",
        ),
    ),
    (
        (
            "The castle of {t} is still inhabited.",
            "People still live in the castle of {t}.",
            "The castle in {t} is inhabited today.",
            "Today, people live in the castle of {t}.",
            "The castle of {t} is still home to people.",
        ),
        (
            "The castle of {t} is no longer inhabited.",
            "People no longer live in the castle of {t}.",
            "The castle in {t} is not inhabited today.",
            "Today, nobody lives in the castle of {t}.",
            "The castle of {t} is no longer home to people.",
        ),
    ),
)


@dataclass(frozen=True)
class AnswerSet:
    """Answers to one question, each in words of its own."""

    kind: str  #: what was swapped: number, name or negation
    answers: tuple[str, ...]


def answer_sets(wording: Wording, count: int, *, answers: int = 4, rng: int = 0) -> list[AnswerSet]:
    """Return sets of answers about invented towns, as many of each kind as goes.

    "agree": the same fact in different words. "all differ": another number or name in each; of yes and no as
    many of one as of the other, or one more. "one differs": all but one agree. "one wording": all differ, in
    the same words but for what is swapped. Answers have one sentence each.

    Raises ValueError for fewer than 2 or more than 5 answers, and for an unknown wording.
    """
    if not 2 <= answers <= 5:
        raise ValueError(f"there are five wordings of a fact: 2 to 5 answers, got {answers}")
    if wording not in WORDINGS:
        raise ValueError(f"the wording is one of {', '.join(WORDINGS)}, got {wording!r}")
    generator = np.random.default_rng(rng)
    return [_drawn(KINDS[k % 3], wording, answers, generator) for k in range(count)]


def _drawn(kind: str, wording: str, n: int, rng: np.random.Generator) -> AnswerSet:
    town, frame, which = str(rng.choice(TOWNS)), int(rng.integers(4)), rng.permutation(5)[:n]
    alike = {"agree": np.zeros(n, dtype=int), "one differs": np.arange(n) == n - 1}.get(wording, np.arange(n))
    alike = rng.permutation(alike)  # which value each answer has
    which = which[:1].repeat(n) if wording == "one wording" else which
    if kind == "negation":
        sides = NEGATIONS[frame]
        first = int(rng.integers(2))
        texts = [sides[(first + int(v)) % 2][w].format(t=town) for v, w in zip(alike, which, strict=True)]
        return AnswerSet(kind, tuple(texts))
    if kind == "number":
        low, high, *wordings = NUMBERS[frame]
        values = [str(v) for v in rng.choice(np.arange(int(low), int(high)), n, replace=False)]
    else:
        wordings, values = list(NAMES[frame]), [str(v) for v in rng.choice(PEOPLE, n, replace=False)]
    texts = [str(wordings[w]).format(t=town, v=values[int(v)]) for v, w in zip(alike, which, strict=True)]
    return AnswerSet(kind, tuple(texts))
