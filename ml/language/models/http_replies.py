"""Replies of a server with the interface of OpenAI, read with all checks on: texts, log probabilities, errors."""

from __future__ import annotations

import email.utils
import json
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from ml.language.models.protocol import LanguageModelError, NoLogProbabilitiesError, whole_text

__all__ = ["choice_log_probs_of", "error_text", "json_of", "retry_after", "texts_of"]

#: Characters of a foreign text that an error message quotes.
QUOTED = 200
#: Takes out of a text what must not be shown.
Hide = Callable[[str], str]


def json_of(where: str, body: bytes, hide: Hide = str) -> dict[str, Any]:
    """Return the object that a reply holds. Raises LanguageModelError for what is none, or holds an error."""
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        raise LanguageModelError(f"{where} answered something that is no JSON: {_quoted(body, hide)}") from None
    if not isinstance(found, dict):
        raise LanguageModelError(f"{where} answered JSON that is no object: {_quoted(found, hide)}")
    if found.get("error"):
        raise LanguageModelError(f"{where} answered with an error: {error_text(body, hide)}")
    return found


def error_text(body: bytes, hide: Hide = str) -> str:
    """Return what an error body says: {"error": {"message": ..}}, {"error": ..}, {"detail": ..}, or its beginning."""
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        return _quoted(body, hide)
    for key in ("error", "detail", "message"):
        if isinstance(found, dict) and found.get(key):
            inner = found[key]
            said = inner.get("message", inner) if isinstance(inner, dict) else inner
            return _quoted(said, hide)
    return _quoted(found, hide)


def texts_of(where: str, reply: Mapping[str, Any], hide: Hide = str) -> list[str]:
    """Return the texts of all choices of a reply, in the order of their numbers.

    A choice without a text that ended at its limit or was filtered is an empty text; halves of characters are replaced.
    Raises LanguageModelError for replies of another schema.
    """
    texts = []
    for choice in _choices(where, reply, hide):
        message = choice.get("message")
        if not isinstance(message, dict) or "content" not in message:
            raise LanguageModelError(f"{where} answered a choice without message.content: {_quoted(choice, hide)}")
        text, reason = message["content"], choice.get("finish_reason")
        if text is None:
            text = message.get("refusal")
        if text is None and reason in ("length", "content_filter"):
            text = ""
        if not isinstance(text, str):
            raise LanguageModelError(f"{where} answered a choice whose content is no text: {_quoted(choice, hide)}")
        texts.append(whole_text(text))
    return texts


def choice_log_probs_of(where: str, reply: Mapping[str, Any], choices: Sequence[str], hide: Hide = str) -> np.ndarray:
    """Return log p (k,) of choices by the most probable first tokens of a reply.

    Tokens that are the choice but for spaces around it are added up. A choice that is not listed gets the smallest
    log probability that is, which its own is not above. Raises NoLogProbabilitiesError where the server lists none.
    """
    first = _choices(where, reply, hide)[0]
    try:
        listed = [(str(t["token"]), float(t["logprob"])) for t in first["logprobs"]["content"][0]["top_logprobs"]]
    except (KeyError, IndexError, TypeError, ValueError):
        listed = []
    if not listed or not all(value <= 1e-4 for _, value in listed):  # NaN, too, is not <=
        raise NoLogProbabilitiesError(f"{where} gives no log probabilities of first tokens; let the model write them")
    least = min(value for _, value in listed)
    found = [[value for token, value in listed if token.strip() == choice.strip()] for choice in choices]
    return np.array([np.logaddexp.reduce(values) if values else least for values in found])


def retry_after(value: str | None) -> float | None:
    """Return the seconds that a header Retry-After asks for, a number or a date; None where it says neither."""
    if value is None:
        return None
    try:
        seconds = float(value)
    except ValueError:
        try:
            seconds = email.utils.parsedate_to_datetime(value).timestamp() - time.time()
        except (ValueError, TypeError, OverflowError):
            return None
    return max(seconds, 0.0) if seconds == seconds else None


def _choices(where: str, reply: Mapping[str, Any], hide: Hide) -> list[dict[str, Any]]:
    choices = reply.get("choices")
    if not isinstance(choices, list) or not choices or not all(isinstance(choice, dict) for choice in choices):
        raise LanguageModelError(f"{where} answered without a list of choices: {_quoted(reply, hide)}")
    numbers = [choice.get("index", k) for k, choice in enumerate(choices)]
    if all(isinstance(number, int) for number in numbers):
        choices = [choices[k] for k in sorted(range(len(choices)), key=lambda k: numbers[k])]
    return choices


def _quoted(body: Any, hide: Hide) -> str:
    """Return the beginning of a foreign text, in one line of characters that can be printed.

    What must not be shown is taken out before the text is cut, and of JSON after its escapes are resolved.
    """
    if isinstance(body, bytes):
        body = body.decode("utf-8", "replace")
    try:
        text = hide(body) if isinstance(body, str) else json.dumps(_hidden(body, hide))
    except RecursionError:
        text = "something nested too deeply"
    text = "".join(c if c.isprintable() else " " for c in text[: 8 * QUOTED])
    text = " ".join(text.split())
    return text[:QUOTED] or "nothing"


def _hidden(value: Any, hide: Hide) -> Any:
    """Return a JSON value with all its texts hidden."""
    if isinstance(value, dict):
        return {hide(key): _hidden(inner, hide) for key, inner in value.items()}
    if isinstance(value, list):
        return [_hidden(inner, hide) for inner in value]
    return hide(value) if isinstance(value, str) else value
