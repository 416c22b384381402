"""The protocol of a language model: answers to a dialogue, and log probabilities of given answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np

__all__ = [
    "ROLES", "LanguageModel", "LanguageModelError", "Message", "NoLogProbabilitiesError", "checked_choices",
    "checked_log_probs", "checked_messages", "checked_request", "named_for_files", "whole_text",
]  # fmt: skip

#: One turn of a dialogue: {"role": "system" | "user" | "assistant", "content": text}.
Message = Mapping[str, str]
ROLES = ("system", "user", "assistant")
#: How far above 0 a log probability may be by rounding.
SLACK = 1e-4


class LanguageModelError(RuntimeError):
    """A model that gave no answer, or one that is none: a server that stalls, refuses or answers nonsense."""


class NoLogProbabilitiesError(LanguageModelError):
    """A model that cannot say how probable an answer is; ask it to generate one instead."""


@runtime_checkable
class LanguageModel(Protocol):
    """What answers a dialogue; any class with these three members is one.

    name : what the model is, for files that hold its answers; two models that answer otherwise have two names
    """

    @property
    def name(self) -> str:
        """What the model is, in one line."""

    def generate(
        self,
        messages: Sequence[Message],
        n: int = 1,
        temperature: float = 0.0,
        max_tokens: int = 256,
        seed: int | None = 0,
    ) -> list[str]:
        """Return `n` answers to a dialogue whose last turn is the user's.

        temperature : 0 takes the most probable token every time, so that all n answers are one
        max_tokens : answers end there, in the middle of a sentence if need be
        seed : the same seed gives the same answers where the model can do that; None draws anew
        """

    def choice_log_probs(self, messages: Sequence[Message], choices: Sequence[str]) -> np.ndarray:
        """Return log p(choice | messages) (k,), of each choice as the beginning of the answer.

        Raises NoLogProbabilitiesError where the model cannot say them.
        """


def named_for_files(model: LanguageModel) -> str:
    """Return the name of a model, under which its answers are kept.

    Raises ValueError where another model may well have the same one: an attribute `named` that is False says so.
    """
    if not getattr(model, "named", True):
        raise ValueError(
            f"answers cannot be kept under the name {model.name!r}, which other models may have, too: give the model "
            "one of its own, callable_model(..., name=...)"
        )
    return model.name


def whole_text(text: str) -> str:
    """Return a text with U+FFFD in place of halves of characters (lone surrogates), which no file can hold."""
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def checked_messages(messages: Sequence[Message]) -> list[dict[str, str]]:
    """Return the dialogue as plain dictionaries.

    Halves of characters are replaced, `whole_text`. Raises ValueError for one that is empty, does not end with the
    user's turn, has no text there, or has a turn that is none.
    """
    if isinstance(messages, str | Mapping) or not isinstance(messages, Sequence) or not messages:
        raise ValueError(f"messages must be a list of turns, {{'role': .., 'content': ..}}, got {_short(messages)}")
    found = []
    for k, turn in enumerate(messages):
        if not isinstance(turn, Mapping) or set(turn) != {"role", "content"} or not isinstance(turn["content"], str):
            raise ValueError(f"turn {k} must be {{'role': .., 'content': text}}, got {_short(turn)}")
        if turn["role"] not in ROLES:
            raise ValueError(f"the role of turn {k} must be one of {', '.join(ROLES)}, got {_short(turn['role'])}")
        found.append({"role": turn["role"], "content": whole_text(turn["content"])})
    if found[-1]["role"] != "user":
        raise ValueError(f"the last turn must be the user's, it is the {found[-1]['role']}'s: add what is asked")
    if not found[-1]["content"].strip():
        raise ValueError(f"the last turn has no text, got {found[-1]['content']!r:.80}: add what is asked")
    return found


def checked_request(n: Any, temperature: Any, max_tokens: Any, seed: Any) -> None:
    """Check the arguments of `LanguageModel.generate`. Raises ValueError with the one that is wrong."""
    for name, value in (("n", n), ("max_tokens", max_tokens)):
        if not _whole(value) or value < 1:
            raise ValueError(f"{name} must be a whole number of at least 1, got {value!r}")
    if isinstance(temperature, bool) or not isinstance(temperature, int | float | np.number):
        raise ValueError(f"temperature must be a number, got {temperature!r}")
    if not 0 <= temperature < np.inf:
        raise ValueError(f"temperature must be at least 0 and finite, got {temperature!r}")
    if seed is not None and (not _whole(seed) or seed < 0):
        raise ValueError(f"seed must be None or a whole number of at least 0, got {seed!r}")


def checked_choices(choices: Sequence[str]) -> list[str]:
    """Return the choices. Raises ValueError where there are none, or one is no text, empty, or there twice."""
    if isinstance(choices, str) or not isinstance(choices, Sequence) or not choices:
        raise ValueError(f"choices must be a list of texts, got {_short(choices)}")
    for choice in choices:
        if not isinstance(choice, str) or not choice.strip():
            raise ValueError(f"a choice must be a text that is not empty, got {_short(choice)}")
    if len(set(choices)) < len(choices):
        raise ValueError(f"choices must differ, got {_short(list(choices))}")
    return list(choices)


def checked_log_probs(found: Any, count: int, name: str) -> np.ndarray:
    """Return log probabilities as float64 (count,). Raises LanguageModelError for what cannot be some."""
    try:
        values = np.array(found, dtype=np.float64)
    except (TypeError, ValueError):
        raise LanguageModelError(f"{name}: log probabilities must be numbers, got {_short(found)}") from None
    if values.shape != (count,) or not np.all(values <= SLACK):  # NaN, too, is not <=
        raise LanguageModelError(f"{name}: {count} log probabilities, none above 0, are needed, got {_short(found)}")
    return np.minimum(values, 0.0)


def _whole(value: Any) -> bool:
    return isinstance(value, int | np.integer) and not isinstance(value, bool)


def _short(value: Any) -> str:
    """Return a value in one short line."""
    text = " ".join(repr(value).split())
    return text if len(text) <= 120 else f"{text[:117]}..."
