"""Scorers of sentence pairs from a folder of transformers, a classifier with named classes."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lowrank.limits import at_least
from lowrank.optional import require
from ml.language.models.pretrained import read_pretrained

__all__ = ["NLIScorer", "class_columns"]

STARTS = {"entailment": "entail", "neutral": "neutral", "contradiction": "contradict"}


def class_columns(id2label: Mapping[Any, str]) -> tuple[int, int, int]:
    """Return the columns of entailment, neutral and contradiction, by the names of the classes.

    id2label : of the configuration; names are compared in lower case by their beginnings

    Raises ValueError, with the names, for other classes: LABEL_0 does not say what it is, and of two classes the one
    that is not entailment holds contradicting and unrelated sentences alike.

    >>> class_columns({0: "CONTRADICTION", 1: "Entailment", 2: "neutral"})
    (1, 2, 0)
    """
    names = {int(k): str(name).lower() for k, name in id2label.items()}
    found = [[k for k, name in names.items() if name.startswith(start)] for start in STARTS.values()]
    if len(names) != len(STARTS) or any(len(columns) != 1 for columns in found):
        raise ValueError(
            f"the classes {sorted(names.values())} are not {', '.join(STARTS)}: write id2label into the "
            "configuration of the model, or wrap it in a function of your own"
        )
    return found[0][0], found[1][0], found[2][0]


class NLIScorer:
    """A classifier of sentence pairs as transformers saves it: configuration, weights and tokenizer in one folder.

    folder : of save_pretrained, weights in .safetensors; nothing is fetched, and no code of it is run
    length : tokens of a pair, above which it is cut; by default what the model takes
    device : of PyTorch

    Classes are found by their names, see `class_columns`.

    Raises ImportError, with the line that installs them, without torch and transformers; FileNotFoundError for no
    folder; ValueError for other classes, a folder without all weights and the tokenizer, and a length below 8.
    """

    def __init__(self, folder: str | os.PathLike[str], *, length: int | None = None, device: str = "cpu") -> None:
        self._torch = require("torch", "torch", "an NLI scorer", "ml")
        place = Path(folder)
        if not (place / "config.json").is_file():
            raise FileNotFoundError(f"{place} is no folder of a model: there is no config.json in it")
        if length is not None:
            at_least("length", length, 8)
        network, self._tokenizer = read_pretrained(place, "AutoModelForSequenceClassification", "NLI classifier")
        self._columns = class_columns(network.config.id2label)
        self._network = network.eval().to(device)
        longest = min(self._tokenizer.model_max_length, getattr(network.config, "max_position_embeddings", 512))
        self.length = int(length or longest)
        found = hashlib.sha256()
        for path in sorted(p for p in place.iterdir() if p.is_file()):
            found.update(path.name.encode() + path.read_bytes())
        self.key = f"nli {found.hexdigest()[:32]} length {self.length}"

    def __repr__(self) -> str:
        return f"NLIScorer(length={self.length})"

    def __call__(self, premise: str, hypothesis: str) -> np.ndarray:
        """Return (entailment, neutral, contradiction) of one pair."""
        return self.score_pairs([(premise, hypothesis)])[0]

    def fits(self, premise: str, hypothesis: str) -> bool:
        """Return whether the pair, with its special tokens, is no longer than `length`."""
        return len(self._tokenizer(premise, hypothesis)["input_ids"]) <= self.length

    def score_pairs(self, pairs: Sequence[tuple[str, str]]) -> np.ndarray:
        """Return (entailment, neutral, contradiction) (k, 3) of k pairs."""
        if not len(pairs):
            return np.zeros((0, 3))
        premises, hypotheses = (list(side) for side in zip(*pairs, strict=True))
        options = {"truncation": "longest_first", "max_length": self.length, "padding": True, "return_tensors": "pt"}
        tokens = self._tokenizer(premises, hypotheses, **options).to(self._network.device)
        with self._torch.no_grad():
            logits = self._network(**tokens).logits.double().cpu().numpy()
        weights = np.exp(logits - logits.max(axis=1, keepdims=True))
        shares = weights / weights.sum(axis=1, keepdims=True)
        return shares[:, list(self._columns)]
