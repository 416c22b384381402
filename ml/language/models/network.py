"""A language model that is a network on this machine: a folder of transformers, or one GGUF file."""

from __future__ import annotations

import copy
import inspect
import itertools
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from lowrank.optional import require
from ml.language.models.pretrained import read_pretrained
from ml.language.models.protocol import (
    LanguageModelError,
    Message,
    checked_choices,
    checked_log_probs,
    checked_messages,
    checked_request,
)

__all__ = ["NetworkModel", "transformers_model"]


@dataclass(frozen=True)
class NetworkModel:
    """A language model of a causal network and its tokenizer; made by `transformers_model`, or of what you loaded."""

    name: str
    network: Any = field(repr=False)
    tokenizer: Any = field(repr=False)

    def generate(
        self,
        messages: Sequence[Message],
        n: int = 1,
        temperature: float = 0.0,
        max_tokens: int = 256,
        seed: int | None = 0,
    ) -> list[str]:
        """Return `n` answers, one after the other; the dialogue goes through the network once.

        Token t is drawn from softmax(logits / temperature) by the numbers of NumPy's generator of (seed, i), so that
        answer i does not depend on n. Raises ValueError where dialogue and answer are longer than the network's
        context.
        """
        checked_request(n, temperature, max_tokens, seed)
        ids = self._ids(messages)
        self._fits(len(ids) + max_tokens)
        logits, cache = self._forward(ids, None)
        draws = [np.random.default_rng(None if seed is None else (seed, i)) for i in range(n)]
        if temperature == 0:
            return n * [self._continue(logits, cache, 0.0, max_tokens, draws[0])]
        return [
            # every answer goes on from the dialogue: the last one may have the cache itself
            self._continue(logits, copy.deepcopy(cache) if i < n - 1 else cache, temperature, max_tokens, draws[i])
            for i in range(n)
        ]

    def choice_log_probs(self, messages: Sequence[Message], choices: Sequence[str]) -> np.ndarray:
        """Return log p(choice) (k,): the sum over its tokens, each given the dialogue and those before it."""
        texts, ids = checked_choices(choices), self._ids(messages)
        tokens = [self._tokens(text) for text in texts]
        self._fits(len(ids) + max(map(len, tokens)))
        logits, cache = self._forward(ids, None)
        first = _log_softmax(logits)
        found = []
        for choice in tokens:
            total, after = first[choice[0]], copy.deepcopy(cache) if len(choice) > 1 else None
            for before, token in itertools.pairwise(choice):
                logits, after = self._forward([before], after)
                total += _log_softmax(logits)[token]
            found.append(total)
        return checked_log_probs(found, len(texts), self.name)

    def _continue(self, logits: np.ndarray, cache: Any, temperature: float, most: int, rng: np.random.Generator) -> str:
        ends, made = self._ends(), []
        while True:
            token = int(np.argmax(logits)) if temperature == 0 else _drawn(logits / temperature, rng)
            if token in ends:
                break
            made.append(token)
            if len(made) == most:
                break
            logits, cache = self._forward([token], cache)
        return str(self.tokenizer.decode(made, skip_special_tokens=True))

    def _forward(self, ids: list[int], cache: Any) -> tuple[np.ndarray, Any]:
        """Return the logits (vocabulary,) behind the last of some tokens, and the keys and values up to there."""
        torch = require("torch", "torch", "the language model", "ml")
        with torch.inference_mode():
            rows = torch.tensor([ids], device=self.network.device)
            given = {self._cache_name(): cache, "use_cache": True, "logits_to_keep": 1}
            found = self.network(input_ids=rows, **given)
        logits = found.logits[0, -1].double().cpu().numpy()
        if not np.all(np.isfinite(logits)):
            raise LanguageModelError(f"{self.name} gives logits that are not finite: its weights are damaged")
        return logits, found[self._cache_name()]

    def _cache_name(self) -> str:
        """Return what this version of transformers calls the kept keys and values."""
        return "cache" if "cache" in inspect.signature(self.network.forward).parameters else "past_key_values"

    def _ids(self, messages: Sequence[Message]) -> list[int]:
        """Return the tokens of a dialogue, by the model's own template where it has one."""
        turns = checked_messages(messages)
        if getattr(self.tokenizer, "chat_template", None):
            text = self.tokenizer.apply_chat_template(turns, add_generation_prompt=True, tokenize=False)
        else:
            text = "".join(f"{turn['role']}: {turn['content']}\n" for turn in turns) + "assistant: "
        return self._tokens(text)

    def _tokens(self, text: str) -> list[int]:
        # the template writes the special tokens itself
        found = list(self.tokenizer(text, add_special_tokens=False)["input_ids"])
        if not found:
            raise ValueError(f"{self.name} has no tokens for the text {text[:80]!r}")
        return found

    def _fits(self, length: int) -> None:
        most = getattr(self.network.config, "max_position_embeddings", None)
        if most is not None and length > most:
            raise ValueError(
                f"{self.name} has a context of {most} tokens, dialogue and answer may take {length}: shorten the "
                "dialogue, or take max_tokens smaller"
            )

    def _ends(self) -> set[int]:
        given = getattr(getattr(self.network, "generation_config", None), "eos_token_id", None)
        ends = given if isinstance(given, list) else [given]
        return {int(end) for end in [*ends, self.tokenizer.eos_token_id] if end is not None}


def transformers_model(path: str | os.PathLike[str], *, device: str = "cpu", name: str | None = None) -> NetworkModel:
    """Make a language model of a network on disk, in single precision. Nothing is fetched, no code in a file is run.

    path : a folder of transformers with weights in .safetensors, or a GGUF file, which wants the package gguf
    name : what the model is, for files that hold its answers; by default the name of the folder or file

    Raises FileNotFoundError where there is neither, ValueError for a folder that holds no causal language model or not
    all of it (weights, tokenizer), and ImportError, with the line that installs it, for torch, transformers and gguf.
    """
    place = Path(path)
    if not place.exists():
        raise FileNotFoundError(f"{place} is not there: give a folder of transformers, or a .gguf file")
    if place.is_file() and place.suffix.lower() != ".gguf":
        raise ValueError(f"{place} is neither a folder nor a .gguf file")
    network, tokenizer = read_pretrained(place, "AutoModelForCausalLM", "causal language model")
    return NetworkModel(name or place.name, network.eval().to(device), tokenizer)


def _log_softmax(logits: np.ndarray) -> np.ndarray:
    shifted = logits - logits.max()
    return shifted - np.log(np.exp(shifted).sum())


def _drawn(logits: np.ndarray, rng: np.random.Generator) -> int:
    """Return an index, drawn with the probabilities softmax(logits)."""
    below = np.cumsum(np.exp(_log_softmax(logits)))
    return int(np.searchsorted(below, rng.random() * below[-1], side="right"))
