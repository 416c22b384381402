"""Answers that a language model gives to a question, several at once."""

from __future__ import annotations

import numbers
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np

__all__ = ["Generator", "answers_of", "check_questions", "check_sampling", "is_asked", "messages_of"]

Messages = Sequence[dict[str, str]]


class Generator(Protocol):
    """The part of a language model that is used here; those of ml.language.models have it."""

    def generate(
        self, messages: Any, n: int = 1, temperature: float = 0, max_tokens: int = 100, seed: int | None = None
    ) -> list[str]:
        """Return n texts that answer the messages."""


def is_asked(answers: Any) -> bool:
    """Return whether something is (model, prompt, n, temperature) rather than texts."""
    return isinstance(answers, tuple) and 2 <= len(answers) <= 4 and hasattr(answers[0], "generate")


def messages_of(prompt: str | Messages) -> list[dict[str, str]]:
    """Return a prompt as messages: a text is that of the user. Raises ValueError for one without text."""
    given = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else prompt
    if not isinstance(given, Sequence) or not all(isinstance(message, Mapping) for message in given):
        raise ValueError(f"a prompt is a text, or messages {{'role': .., 'content': text}}, got {prompt!r:.80}")
    if not given or not str(given[-1].get("content", "")).strip():
        raise ValueError(f"the prompt has no text, got {prompt!r}")
    return [dict(message) for message in given]


def check_questions(questions: Any, prompts: Mapping[str, Any] | None = None, **models: Any) -> None:
    """Raise ValueError or TypeError, before a model is asked, for questions and models that are none.

    prompts : {question: what is asked in its place}; models : by the names of their arguments
    """
    if isinstance(questions, str) or not isinstance(questions, Sequence) or not questions:
        raise ValueError(f"questions are a list of texts, got {questions!r:.80}")
    for k, question in enumerate(questions):
        if not isinstance(question, str) or not question.strip():
            raise ValueError(f"question {k} has no text, got {question!r:.80}: leave it out")
        messages_of((prompts or {}).get(question, question))
    for name, model in models.items():
        if not callable(getattr(model, "generate", None)):
            raise TypeError(f"{name} must have the method generate, as of ml.language.models, got {model!r:.80}")


def check_sampling(n: Any, temperature: Any, max_tokens: Any) -> None:
    """Raise ValueError for n < 2, a temperature that is not positive, max_tokens < 1, and counts that are not whole."""
    for name, value in (("n", n), ("max_tokens", max_tokens)):
        if isinstance(value, bool) or not isinstance(value, numbers.Integral):
            raise ValueError(f"{name} is a whole number, got {name}={value!r}")
    if n < 2:
        raise ValueError(f"consistency needs two answers at least, got n={n}")
    if max_tokens < 1:
        raise ValueError(f"an answer has at least one token, got max_tokens={max_tokens}")
    if (
        isinstance(temperature, bool)
        or not isinstance(temperature, numbers.Real)
        or not 0 < float(temperature) < np.inf
    ):
        raise ValueError(f"a temperature above 0 is needed, as answers would be all the same, got {temperature!r}")


def answers_of(asked: tuple[Any, ...], max_tokens: int, rng: int | np.random.Generator) -> tuple[str, ...]:
    """Return n answers of a model to a prompt.

    asked : (model, prompt, n=5, temperature=1)

    Raises ValueError as `check_sampling` does, and for a model that does not give n texts.
    """
    model, prompt = asked[:2]
    n = asked[2] if len(asked) > 2 else 5
    temperature = asked[3] if len(asked) > 3 else 1.0
    check_sampling(n, temperature, max_tokens)
    seed = int(np.random.default_rng(rng).integers(1 << 31))
    texts = model.generate(messages_of(prompt), n=n, temperature=temperature, max_tokens=max_tokens, seed=seed)
    if not isinstance(texts, Sequence) or len(texts) != n or not all(isinstance(text, str) for text in texts):
        raise ValueError(f"the model was asked for {n} texts and gave {str(texts)[:80]!r}")
    return tuple(texts)
