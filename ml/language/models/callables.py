"""A language model that is any function of the user's."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ml.language.models.protocol import (
    LanguageModelError,
    Message,
    NoLogProbabilitiesError,
    checked_choices,
    checked_log_probs,
    checked_messages,
    checked_request,
    whole_text,
)

__all__ = ["CallableModel", "callable_model"]


@dataclass(frozen=True)
class CallableModel:
    """A language model that asks a function for every answer; made by `callable_model`."""

    name: str
    answer: Callable[..., str]
    log_probs: Callable[..., Any] | None
    takes: frozenset[str]  #: those of temperature, max_tokens and seed that the function wants
    named: bool = True  #: whether the name says which model it is, `named_for_files`

    def generate(
        self,
        messages: Sequence[Message],
        n: int = 1,
        temperature: float = 0.0,
        max_tokens: int = 256,
        seed: int | None = 0,
    ) -> list[str]:
        """Return `n` answers, one call of the function for each; the i-th is given the seed `seed` + i.

        Raises LanguageModelError where the function returns something else than a text.
        """
        turns = checked_messages(messages)
        checked_request(n, temperature, max_tokens, seed)
        answers = []
        for k in range(n):
            given = {"temperature": temperature, "max_tokens": max_tokens, "seed": None if seed is None else seed + k}
            text = self.answer(turns, **{key: given[key] for key in given if key in self.takes})
            if not isinstance(text, str):
                raise LanguageModelError(f"{self.name} must return a text, it returned {type(text).__name__}")
            answers.append(whole_text(text))
        return answers

    def choice_log_probs(self, messages: Sequence[Message], choices: Sequence[str]) -> np.ndarray:
        """Return log p(choice | messages) (k,) as the second function says them.

        Raises NoLogProbabilitiesError where there is none, LanguageModelError where it returns something else.
        """
        turns, texts = checked_messages(messages), checked_choices(choices)
        if self.log_probs is None:
            raise NoLogProbabilitiesError(f"{self.name} has no log probabilities: callable_model(f, log_probs=...)")
        return checked_log_probs(self.log_probs(turns, texts), len(texts), self.name)


def callable_model(
    answer: Callable[..., str], *, log_probs: Callable[..., Any] | None = None, name: str | None = None
) -> CallableModel:
    """Make a language model of a function that answers a dialogue.

    answer : f(messages) -> text; where it has arguments `temperature`, `max_tokens` or `seed`, it is given them
    log_probs : f(messages, choices) -> (k,), none above 0, where the log probabilities of answers are known
    name : what the model is, for files that hold its answers; by default the name of the function. Without it answers
        are kept for a function of a module alone, and no log_probs: lambdas, inner functions and objects share names

    Raises TypeError for what cannot be called.

    >>> model = callable_model(lambda messages: messages[-1]["content"].upper())
    >>> model.generate([{"role": "user", "content": "hello"}], n=2)
    ['HELLO', 'HELLO']
    """
    for function in (answer, log_probs):
        if not callable(function) and (function is answer or function is not None):
            raise TypeError(f"a function is needed, got {type(function).__name__}")
    try:
        parameters = inspect.signature(answer).parameters.values()
    except ValueError:  # functions in C may not say their arguments
        parameters = ()  # type: ignore[assignment]
    optional = {"temperature", "max_tokens", "seed"}
    takes = optional & {p.name for p in parameters}
    if any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters):
        takes = optional
    said = str(name or getattr(answer, "__qualname__", type(answer).__qualname__))
    alone = inspect.isfunction(answer) and "<" not in answer.__qualname__ and log_probs is None
    return CallableModel(said, answer, log_probs, frozenset(takes), bool(name) or alone)
