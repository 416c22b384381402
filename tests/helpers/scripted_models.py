"""Models whose answers to our items are known beforehand, through each of the three makers."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest

from helpers.scripted_server import Asked, Reply, scripted_server
from ml.language.debiasing import own_items
from ml.language.models import LanguageModel, NetworkModel, callable_model, http_model

__all__ = ["BEHAVIOURS", "MAKERS", "made"]

ITEMS = {(item.context, item.question): item for item in own_items()}
LOGS = {"likely": math.log(0.7), "middle": math.log(0.2), "seldom": math.log(0.1)}


def shown(messages: Sequence[dict[str, str]]) -> tuple[Any, list[str]]:
    """The item of a dialogue, and the kinds of its options in the order of the letters."""
    text = next(m["content"] for m in messages if "(a)" in m["content"])
    context, question, *rest = text.split("\n")
    item = ITEMS[context, question]
    options = [re.sub(r"^\([abc]\) ", "", line) for line in rest[:3]]
    return item, [item.kinds()[item.options.index(option)] for option in options]


def kind_of(kind: str) -> Callable[[Any], str]:
    return lambda messages: "abc"[shown(messages)[1].index(kind)]


def repentant(messages: Sequence[dict[str, str]]) -> str:
    """Biased at first, and open when it is asked again."""
    return kind_of("unknown" if "think again" in messages[-1]["content"] else "biased")(messages)


def informed(messages: Sequence[dict[str, str]]) -> str:
    """Biased unless it was asked for assumptions before."""
    return kind_of("opposite" if "rest on an assumption" in messages[0]["content"] else "biased")(messages)


BEHAVIOURS: dict[str, Callable[[Any], str]] = {
    "unbiased": kind_of("unknown"),
    "biased": kind_of("biased"),
    "opposite": kind_of("opposite"),
    "position": lambda messages: "c",
    "repentant": repentant,
    "informed": informed,
}


def log_probs(behaviour: Callable[[Any], str], messages: Any) -> dict[str, float]:
    """Those of the three letters; the two others are not alike, by their position."""
    letter = behaviour(messages)
    rest = iter(("middle", "seldom"))
    return {other: LOGS["likely" if other == letter else next(rest)] for other in "abc"}


@contextmanager
def by_function(behaviour: Callable[[Any], str], letters: bool) -> Iterator[LanguageModel]:
    known = None if letters else lambda messages, choices: [log_probs(behaviour, messages)[c] for c in choices]
    yield callable_model(lambda messages: f"({behaviour(messages)})", log_probs=known, name="scripted")


@contextmanager
def by_server(behaviour: Callable[[Any], str], letters: bool) -> Iterator[LanguageModel]:
    pytest.importorskip("httpx", reason="a language model behind a server needs httpx: pip install httpx")

    def script(asked: Asked, k: int) -> Reply:
        messages = asked.body["messages"]
        choice: dict[str, Any] = {"message": {"role": "assistant", "content": f"Answer: {behaviour(messages)}."}}
        if asked.body.get("logprobs") and not letters:
            listed = [{"token": t, "logprob": v} for t, v in log_probs(behaviour, messages).items()]
            choice["logprobs"] = {"content": [{"top_logprobs": listed}]}
        return Reply(body={"choices": [choice]})

    with scripted_server(script) as server, http_model(server.url, "scripted", timeout=10) as model:
        yield model


class Characters:
    """A tokenizer of one token for each character."""

    chat_template = None
    eos_token_id = 0

    def __call__(self, text: str, add_special_tokens: bool) -> dict[str, list[int]]:
        return {"input_ids": [ord(c) for c in text]}

    def decode(self, ids: Sequence[int], skip_special_tokens: bool) -> str:
        return "".join(map(chr, ids))


@contextmanager
def by_network(behaviour: Callable[[Any], str], letters: bool) -> Iterator[LanguageModel]:
    """A network that reads the dialogue from its tokens, and whose logits are what the behaviour says."""
    torch = pytest.importorskip("torch")

    def forward(input_ids: Any, cache: list[int] | None, use_cache: bool, logits_to_keep: int) -> Any:
        ids = [*(cache or []), *input_ids[0].tolist()]
        text = "".join(map(chr, ids))
        dialogue, _, said = text.rpartition("assistant: ")
        turns = re.split(r"(?:^|\n)(user|assistant): ", dialogue)[1:]
        messages = [{"role": r, "content": c.rstrip("\n")} for r, c in zip(turns[::2], turns[1::2], strict=True)]
        logits = torch.full((1, 1, 128), -30.0)
        logits[0, 0, 0] = 0.0 if said else -30.0  # the end, behind a letter
        for letter, value in {} if said else log_probs(behaviour, messages).items():
            logits[0, 0, ord(letter)] = value
        return {"cache": ids, "logits": logits}

    class Network:
        device, config = "cpu", SimpleNamespace()

        def forward(self, input_ids: Any, cache: Any, use_cache: bool, logits_to_keep: int) -> Any:
            return SimpleNamespace(**forward(input_ids, cache, use_cache, logits_to_keep))

        def __call__(self, **given: Any) -> Any:
            found = forward(**given)
            return type("Found", (dict,), {"logits": found["logits"]})(found)

    model = NetworkModel("scripted", Network(), Characters())
    yield callable_model(lambda messages: model.generate(messages)[0], name="scripted") if letters else model


MAKERS = {"function": by_function, "server": by_server, "network": by_network}


def made(maker: str, behaviour: str, *, letters: bool = False) -> Any:
    """A model of a behaviour through a maker, as a context; with `letters` it has no log probabilities."""
    return MAKERS[maker](BEHAVIOURS[behaviour], letters)
