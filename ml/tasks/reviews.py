"""Film reviews, for or against: a pretrained sentence encoder with a linear head, fine-tuned on rated sentences."""

from __future__ import annotations

import functools
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lowrank.optional import require
from lowrank.writing import write_atomically
from ml.material import pretrained_folder
from ml.tasks.classification import train
from ml.tasks.files import film_reviews

__all__ = ["ReviewTask", "classifier", "review_task", "trained_classifier"]

#: Sentences are cut after so many tokens; one in a hundred is longer.
LONGEST = 64


@dataclass(frozen=True, eq=False)
class ReviewTask:
    """Tokenised sentences with the sign of their rating, split at random into training and held-out ones."""

    tokens: tuple[list[int], ...]
    labels: np.ndarray  #: (n,), 1 for a positive rating, 0 for a negative one
    training: np.ndarray  #: which sentences are trained on
    held_out: np.ndarray  #: and which are not

    def batch(self, which: Sequence[int] | np.ndarray) -> dict[str, Any]:
        """Return token ids and mask (b, length) of some sentences, as arguments of the network."""
        torch = require("torch", "torch", "film reviews", "ml")
        rows = [self.tokens[int(i)] for i in which]
        length = max(map(len, rows))
        ids = np.zeros((len(rows), length), dtype=np.int64)
        for row, given in zip(ids, rows, strict=True):
            row[: len(given)] = given
        return {"input_ids": torch.from_numpy(ids), "attention_mask": torch.from_numpy((ids != 0).astype(np.int64))}

    @functools.cached_property
    def lengths(self) -> np.ndarray:
        """Tokens of each sentence (n,)."""
        return np.array([len(row) for row in self.tokens])


def review_task(*, held_out: int = 2600, rng: int = 0) -> ReviewTask:
    """Return the task: sentences with a rating other than zero (10 568), `held_out` of them not to be trained on.

    Raises ImportError, with the line that installs it, for material or packages that are missing.
    """
    texts, ratings = film_reviews()
    tokenizers = require("tokenizers", "tokenizers", "film reviews")
    tokenizer = tokenizers.Tokenizer.from_file(str(pretrained_folder() / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.enable_truncation(LONGEST)
    chosen = [(text, rating) for text, rating in zip(texts, ratings, strict=True) if rating]
    tokens = tuple(e.ids for e in tokenizer.encode_batch([text for text, _ in chosen]))
    if not 0 < held_out < len(chosen):
        raise ValueError(f"held_out must be between 1 and {len(chosen) - 1} sentences, got {held_out}")
    order = np.random.default_rng(rng).permutation(len(chosen))
    labels = np.array([int(rating > 0) for _, rating in chosen])
    return ReviewTask(tokens, labels, order[held_out:], order[:held_out])


@functools.cache
def _classifier_class() -> Any:
    require("torch", "torch", "film reviews", "ml")
    import torch

    class ReviewClassifier(torch.nn.Module):
        """Mean of the encoder's vectors over the tokens, and a linear layer."""

        def __init__(self, encoder: Any, width: int) -> None:
            super().__init__()
            self.encoder = encoder
            self.classifier = torch.nn.Linear(width, 2)

        def forward(self, input_ids: Any, attention_mask: Any) -> Any:
            vectors = self.encoder(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
            mask = attention_mask[..., None].to(vectors.dtype)
            return self.classifier((vectors * mask).sum(1) / mask.sum(1))

    return ReviewClassifier


def classifier(*, rng: int = 0, pretrained: bool = True, **sizes: Any) -> Any:
    """Return the network: BertModel of all-MiniLM-L6-v2, six layers of width 384, 22.6M parameters, and a linear head.

    pretrained : False for random weights, with `sizes` as options of transformers' BertConfig
    """
    torch = require("torch", "torch", "film reviews", "ml")
    transformers = require("transformers", "transformers", "film reviews")
    torch.manual_seed(rng)
    if pretrained:
        encoder = transformers.BertModel.from_pretrained(str(pretrained_folder()), add_pooling_layer=False)
    else:
        encoder = transformers.BertModel(transformers.BertConfig(**sizes), add_pooling_layer=False)
    return _classifier_class()(encoder.float(), encoder.config.hidden_size)


def trained_classifier(task: ReviewTask, path: str | os.PathLike[str], *, steps: int = 350, rng: int = 0) -> Any:
    """Return the fine-tuned network; its weights are read from a .safetensors file, or written to it after training."""
    safetensors = require("safetensors.torch", "safetensors", "film reviews", "ml")
    network = classifier(rng=rng)
    if Path(path).is_file():
        network.load_state_dict(safetensors.load_file(str(path)))
    else:
        train(network, task, steps=steps, rng=rng)
        write_atomically(path, safetensors.save({k: v.contiguous() for k, v in network.state_dict().items()}))
    return network.eval()
