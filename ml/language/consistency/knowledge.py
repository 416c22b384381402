"""Facts of the user in front of a question: those that fit it best, found by vectors or by words."""

from __future__ import annotations

import math
import re
import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lowrank.limits import at_least

__all__ = ["KnowledgeWarning", "KnownPrompt", "inject_knowledge"]

#: What stands in front; {facts} and {question} are filled in.
TEMPLATE = "Use these facts to answer.\n{facts}\n\nQuestion: {question}"
Vectors = Callable[[Sequence[str]], Any]


class KnowledgeWarning(UserWarning):
    """Facts that were found in another way than was to be expected."""


@dataclass(frozen=True)
class KnownPrompt:
    """A question with facts in front of it."""

    prompt: str
    facts: tuple[str, ...]  #: those that stand in it, the nearest first
    similarities: tuple[float, ...]  #: cosines of them with the question
    method: str  #: "vectors" or "words"


def inject_knowledge(
    question: str,
    facts: Sequence[str],
    *,
    top: int = 3,
    vectors: Vectors | str | None = None,
    template: str = TEMPLATE,
) -> KnownPrompt:
    """Return the question with the facts in front that fit it best.

    facts : sentences of the user; not checked, and a wrong one makes answers consistently wrong
    top : how many are taken at most; of those that have no word in common with the question none, where words are
        compared
    vectors : a function texts -> (n, d); "words" for cosines of tf-idf; by default the encoder all-MiniLM-L6-v2, and
        words where it is not installed, which is said (KnowledgeWarning, and `.method`)
    template : with {facts} and {question}

    Raises ValueError for a question or a fact without text, no facts, top < 1, a template without its two places, and
    vectors of another shape or not finite.

    >>> inject_knowledge("How tall is the tower?", ["The tower is 93 m tall.", "Tea cools."], vectors="words").facts
    ('The tower is 93 m tall.',)
    """
    if not isinstance(question, str) or not question.strip():
        raise ValueError(f"the question has no text, got {question!r:.80}")
    if isinstance(facts, str) or not isinstance(facts, Sequence) or not facts:
        raise ValueError(f"facts are a list of sentences, got {facts!r:.80}")
    if empty := [k for k, fact in enumerate(facts) if not isinstance(fact, str) or not fact.strip()]:
        raise ValueError(f"fact {empty[0]} has no text, got {facts[empty[0]]!r:.80}: leave it out")
    at_least("top", top, 1)
    if "{facts}" not in template or "{question}" not in template:
        raise ValueError(f"a template has the places {{facts}} and {{question}}, got {template!r}")
    if isinstance(vectors, str) and vectors != "words":
        raise ValueError(f'vectors are a function, "words" or None, got {vectors!r}')
    found = _encoder() if vectors is None else vectors
    if callable(found):
        cosines, method = _by_vectors(question, facts, found), "vectors"
    else:
        cosines, method = _by_words(question, facts), "words"
    order = [int(k) for k in np.argsort(-cosines, kind="stable")[:top] if method == "vectors" or cosines[k] > 0]
    chosen = tuple(facts[k] for k in order)
    # no str.format: facts may hold braces
    parts = re.split(r"(\{facts\}|\{question\})", template)
    filled = {"{facts}": "\n".join(f"- {fact}" for fact in chosen), "{question}": question}
    prompt = "".join(filled.get(part, part) for part in parts) if chosen else question
    return KnownPrompt(prompt, chosen, tuple(float(cosines[k]) for k in order), method)


def _encoder() -> Vectors | None:
    from ml.language.consistency.sentence_encoder import sentence_vectors

    try:
        sentence_vectors([])
    except ImportError as error:
        warnings.warn(f"facts are compared by their words, not by vectors: {error}", KnowledgeWarning, stacklevel=3)
        return None
    return sentence_vectors


def _by_vectors(question: str, facts: Sequence[str], vectors: Vectors) -> np.ndarray:
    found = np.asarray(vectors([question, *facts]), dtype=float)
    if found.ndim != 2 or len(found) != len(facts) + 1:
        raise ValueError(f"vectors of {len(facts) + 1} texts have the shape {found.shape}, not ({len(facts) + 1}, d)")
    lengths = np.linalg.norm(found, axis=1)
    if not np.all(np.isfinite(lengths)):
        raise ValueError("a vector of a fact or of the question is not finite")
    unit = found / np.where(lengths > 0, lengths, 1)[:, None]
    return unit[1:] @ unit[0]


def _by_words(question: str, facts: Sequence[str]) -> np.ndarray:
    """Return cosines of tf-idf vectors (facts,): log(1 + facts / facts with the word) times how often it stands."""
    counts = [Counter(re.findall(r"\w+", text.lower())) for text in (question, *facts)]
    held = Counter(word for count in counts[1:] for word in count)
    weight = {word: math.log(1 + len(facts) / (held[word] or 1)) for count in counts for word in count}
    rows = [{word: n * weight[word] for word, n in count.items()} for count in counts]
    lengths = [math.sqrt(sum(v * v for v in row.values())) or 1.0 for row in rows]
    products = [sum(v * row.get(word, 0.0) for word, v in rows[0].items()) for row in rows[1:]]
    return np.array([p / (lengths[0] * length) for p, length in zip(products, lengths[1:], strict=True)])
