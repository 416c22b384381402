"""Film reviews, for or against: a pretrained sentence encoder with a linear head, fine-tuned on rated sentences."""

from __future__ import annotations

import functools
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lowrank.optional import require
from lowrank.progress import progress_bar
from lowrank.writing import write_atomically
from ml.material import pretrained_folder
from ml.tasks.files import film_reviews

__all__ = ["Accuracy", "ReviewTask", "classifier", "review_task", "train"]

#: Sentences are cut after so many tokens; one in a hundred is longer.
LONGEST = 64
#: Of the steps so many go by until the learning rate is reached; it then falls linearly to zero.
WARM_UP = 0.1
LONGEST_GRADIENT = 1.0
WEIGHT_DECAY = 0.01


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

    def batches(self, which: Sequence[int] | np.ndarray, size: int) -> Iterator[tuple[np.ndarray, dict[str, Any]]]:
        """Return batches of sentences of about the same length, and which they are."""
        order = np.array(sorted((int(i) for i in which), key=lambda i: len(self.tokens[i])), dtype=int)
        for first in range(0, len(order), size):
            part = order[first : first + size]
            yield part, self.batch(part)


@dataclass(frozen=True, eq=False)
class Accuracy:
    """Answers of a network on sentences: logits (n, 2), and which are right (n,)."""

    logits: np.ndarray
    right: np.ndarray

    @property
    def value(self) -> float:
        """Share of the sentences that are answered rightly."""
        return float(np.mean(self.right))

    @property
    def standard_error(self) -> float:
        """Standard error of the share."""
        return float(np.std(self.right) / np.sqrt(len(self.right)))

    def change(self, other: Accuracy) -> tuple[float, float]:
        """Return this share minus that of another network on the same sentences, and its (paired) standard error."""
        off = self.right.astype(float) - other.right
        return float(np.mean(off)), float(np.std(off) / np.sqrt(len(off)))

    def logit_error(self, other: Accuracy) -> float:
        """Return the root mean square of the differences between the logits of two networks."""
        return float(np.sqrt(np.mean((self.logits - other.logits) ** 2)))


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


def train(
    network: Any,
    task: ReviewTask,
    *,
    steps: int,
    batch_size: int = 32,
    learning_rate: float = 1e-4,
    rng: int = 0,
    progress: bool = False,
) -> list[float]:
    """Train a network on the training sentences; return the cross-entropy of every batch.

    AdamW with warm-up and linear decay; sentences of a batch have about the same length, batches come in random order.
    """
    torch = require("torch", "torch", "film reviews", "ml")
    parameters = [p for p in network.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": WEIGHT_DECAY},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=learning_rate)
    warm = max(1, round(WARM_UP * steps))
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min((step + 1) / warm, (steps - step) / max(steps - warm, 1))
    )
    losses: list[float] = []
    network.train()
    draw = _draws(task, batch_size, np.random.default_rng(rng))
    torch.manual_seed(rng)
    for _ in progress_bar(range(steps), "training", enabled=progress):
        which = next(draw)
        loss = torch.nn.functional.cross_entropy(network(**task.batch(which)), torch.from_numpy(task.labels[which]))
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, LONGEST_GRADIENT)
        optimizer.step()
        schedule.step()
        losses.append(float(loss.detach()))
    network.eval()
    return losses


def _draws(task: ReviewTask, size: int, generator: np.random.Generator) -> Iterator[np.ndarray]:
    """Return batches without end: each sweep is shuffled, and sorted by length within 32 batches."""
    while True:
        order = generator.permutation(task.training)
        parts = []
        for first in range(0, len(order), 32 * size):
            some = sorted((int(i) for i in order[first : first + 32 * size]), key=lambda i: len(task.tokens[i]))
            parts += [np.array(some[k : k + size], dtype=int) for k in range(0, len(some), size)]
        for k in generator.permutation(len(parts)):
            yield parts[k]


def answers(network: Any, task: ReviewTask, which: np.ndarray, *, batch_size: int = 64) -> Accuracy:
    """Return the answers of a network on some sentences, in their order."""
    torch = require("torch", "torch", "film reviews", "ml")
    logits = np.zeros((len(task.tokens), 2))
    network.eval()
    with torch.no_grad():
        for part, batch in task.batches(which, batch_size):
            logits[part] = network(**batch).double().numpy()
    found = logits[which]
    return Accuracy(found, np.argmax(found, axis=1) == task.labels[which])


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
