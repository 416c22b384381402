"""The three protocols: the bare question, an explanation before it, and a request to answer again."""

from __future__ import annotations

import itertools
from collections.abc import Mapping

import numpy as np

from ml.language.debiasing.answers import Answer, Reply, letter_of, shares
from ml.language.debiasing.items import Item
from ml.language.debiasing.prompts import LETTERS, Prompts
from ml.language.models.protocol import LanguageModel, NoLogProbabilitiesError, checked_log_probs

__all__ = ["METHODS", "ORDERS", "READINGS", "how_to_read", "self_debias"]

METHODS = ("baseline", "explanation", "reprompting")
#: Orders of the options; the first one is the order as written.
ORDERS: Mapping[str, tuple[tuple[int, ...], ...]] = {
    "written": ((0, 1, 2),),
    "cyclic": ((0, 1, 2), (1, 2, 0), (2, 0, 1)),
    "all": tuple(itertools.permutations(range(3))),
}
READINGS = ("auto", "log_probs", "letters")


def self_debias(
    model: LanguageModel,
    item: Item,
    method: str = "baseline",
    *,
    prompts: Prompts | None = None,
    orders: str = "cyclic",
    by: str = "auto",
    seed: int = 0,
) -> Answer:
    """Ask a model one item by one method, once for each order of the options.

    method : "baseline": context, question, options, one letter. "explanation": first which options rest on an
        assumption that the text does not support, then the question, with that answer in the dialogue. "reprompting":
        the question, then the request to answer again without such assumptions
    orders : "cyclic" (three), "all" (six), or "written" (one), where a model that prefers a letter goes unnoticed
    by : "log_probs": the log probabilities of the three letters, averaged over the orders; "letters": answers are
        generated at temperature 0 and read, the option that is named most often wins; "auto": the first where the
        model has log probabilities

    Cost: one request for each order, two for "explanation" (96 tokens are generated), two for "reprompting". Raises
    ValueError for unknown methods, orders and readings, and what the model raises.

    Source: Gallegos and others, arXiv 2402.01981.
    """
    texts = prompts or Prompts()
    _known("method", method, METHODS)
    _known("orders", orders, ORDERS)
    reading = how_to_read(model, item, by, texts)
    replies = tuple(_reply(model, item, method, order, texts, reading, seed) for order in ORDERS[orders])
    return Answer(item, method, replies, shares(replies))


def how_to_read(model: LanguageModel, item: Item, by: str, prompts: Prompts) -> str:
    """Return "log_probs" or "letters"; for "auto" the model is asked once whether it has log probabilities."""
    _known("by", by, READINGS)
    if by != "auto":
        return by
    try:
        model.choice_log_probs([_user(prompts.text("ask", item, (0, 1, 2)))], LETTERS)
    except NoLogProbabilitiesError:
        return "letters"
    return "log_probs"


def _reply(
    model: LanguageModel, item: Item, method: str, order: tuple[int, ...], prompts: Prompts, reading: str, seed: int
) -> Reply:
    """Return the answer for one order of the options."""
    ask = _user(prompts.text("ask", item, order))
    before: list[Mapping[str, str]] = []
    if method == "explanation":
        before = [_user(prompts.text("explain", item, order))]
        said = model.generate(before, max_tokens=prompts.explanation_tokens, seed=seed)[0]
        before.append({"role": "assistant", "content": said})
    reply = _letter(model, [*before, ask], item, order, prompts, reading, seed)
    if method == "reprompting":
        again = _user(prompts.text("again", item, order))
        reply = _letter(model, [*reply.messages, again], item, order, prompts, reading, seed)
    return reply


def _letter(
    model: LanguageModel,
    messages: list[Mapping[str, str]],
    item: Item,
    order: tuple[int, ...],
    prompts: Prompts,
    reading: str,
    seed: int,
) -> Reply:
    """Return the letter that a dialogue is answered with."""
    if reading == "log_probs":
        values = checked_log_probs(model.choice_log_probs(messages, LETTERS), len(LETTERS), model.name)
        # three alike say nothing: a server that lists none of the letters among its first tokens gives such
        letter = LETTERS[int(np.argmax(values))] if values.max() > values.min() else None
        # the letter alone, as was asked: behind an answer "(b)" a model that goes on likewise begins with "("
        said, log_probs = letter or "", tuple(float(value) for value in values)
        return Reply(order, letter, log_probs, (*messages, {"role": "assistant", "content": said}))
    said = model.generate(messages, max_tokens=prompts.answer_tokens, seed=seed)[0]
    letter = letter_of(said, [item.options[k] for k in order])
    return Reply(order, letter, None, (*messages, {"role": "assistant", "content": said}))


def _user(text: str) -> dict[str, str]:
    return {"role": "user", "content": text}


def _known(name: str, value: str, allowed: object) -> None:
    if value not in allowed:  # type: ignore[operator]
        raise ValueError(f"{name} must be one of {', '.join(allowed)}, got {value!r}")  # type: ignore[arg-type]
