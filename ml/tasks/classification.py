"""Tasks of classification: trained with AdamW, answered on what was held out, compared pair by pair."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from lowrank.optional import require
from lowrank.progress import progress_bar

__all__ = ["Accuracy", "Task", "answers", "batches", "draws", "loss_of", "train"]

#: Of the steps so many go by until the learning rate is reached; it then falls linearly to zero.
WARM_UP = 0.1
LONGEST_GRADIENT = 1.0
WEIGHT_DECAY = 0.01


class Task(Protocol):
    """Samples with labels, some of them to be trained on."""

    @property
    def labels(self) -> np.ndarray:
        """Labels 0, 1, ... (n,)."""

    @property
    def lengths(self) -> np.ndarray:
        """Lengths of the samples (n,): those of a batch are about equal."""

    @property
    def training(self) -> np.ndarray:
        """Which samples are trained on."""

    @property
    def held_out(self) -> np.ndarray:
        """Which samples are not."""

    def batch(self, which: Sequence[int] | np.ndarray) -> dict[str, Any]:
        """Return some samples as named arguments of the network."""


@dataclass(frozen=True, eq=False)
class Accuracy:
    """Answers of a network on samples: logits (n, k), and which are right (n,)."""

    logits: np.ndarray
    right: np.ndarray

    @property
    def value(self) -> float:
        """Share of the samples that are answered rightly."""
        return float(np.mean(self.right))

    @property
    def standard_error(self) -> float:
        """Standard error of the share."""
        return float(np.std(self.right) / np.sqrt(len(self.right)))

    def change(self, other: Accuracy) -> tuple[float, float]:
        """Return this share minus that of another network on the same samples, and its (paired) standard error."""
        off = self.right.astype(float) - other.right
        return float(np.mean(off)), float(np.std(off) / np.sqrt(len(off)))

    def logit_error(self, other: Accuracy) -> float:
        """Return the root mean square of the differences between the logits of two networks."""
        return float(np.sqrt(np.mean((self.logits - other.logits) ** 2)))


def train(
    network: Any,
    task: Task,
    *,
    steps: int,
    batch_size: int = 32,
    learning_rate: float = 1e-4,
    rng: int = 0,
    progress: bool = False,
) -> list[float]:
    """Train a network on the training samples; return the cross-entropy of every batch.

    AdamW with warm-up and linear decay; samples of a batch have about the same length, batches come in random order.
    What does not require a gradient is left alone. Samples follow the network to its device.
    """
    torch = require("torch", "torch", "training", "ml")
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
    draw = draws(task, batch_size, np.random.default_rng(rng))
    torch.manual_seed(rng)
    for _ in progress_bar(range(steps), "training", enabled=progress):
        which = next(draw)
        loss = loss_of(network, task, which)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, LONGEST_GRADIENT)
        optimizer.step()
        schedule.step()
        losses.append(float(loss.detach()))
    network.eval()
    return losses


def loss_of(network: Any, task: Task, which: np.ndarray) -> Any:
    """Return the mean cross-entropy of some samples, a tensor."""
    torch = require("torch", "torch", "training", "ml")
    batch = _moved(task.batch(which), network)
    labels = torch.from_numpy(task.labels[which]).to(next(iter(batch.values())).device)
    return torch.nn.functional.cross_entropy(network(**batch), labels)


def _moved(batch: dict[str, Any], network: Any) -> dict[str, Any]:
    """Return samples on the device of the network."""
    device = next(network.parameters()).device
    return {name: tensor.to(device) for name, tensor in batch.items()}


def draws(task: Task, size: int, generator: np.random.Generator) -> Iterator[np.ndarray]:
    """Return batches without end: each sweep is shuffled, and sorted by length within 32 batches.

    Raises ValueError where there is nothing to be trained on.
    """
    if not len(task.training):
        raise ValueError("the task has no samples to be trained on: hold out fewer")
    while True:
        order = generator.permutation(task.training)
        parts = []
        for first in range(0, len(order), 32 * size):
            some = sorted((int(i) for i in order[first : first + 32 * size]), key=lambda i: task.lengths[i])
            parts += [np.array(some[k : k + size], dtype=int) for k in range(0, len(some), size)]
        for k in generator.permutation(len(parts)):
            yield parts[k]


def batches(task: Task, which: Sequence[int] | np.ndarray, size: int) -> Iterator[tuple[np.ndarray, dict[str, Any]]]:
    """Return batches of samples of about the same length, and which they are."""
    order = np.array(sorted((int(i) for i in which), key=lambda i: task.lengths[i]), dtype=int)
    for first in range(0, len(order), size):
        part = order[first : first + size]
        yield part, task.batch(part)


def answers(network: Any, task: Task, which: np.ndarray, *, batch_size: int = 64) -> Accuracy:
    """Return the answers of a network on some samples, in their order."""
    torch = require("torch", "torch", "training", "ml")
    logits: dict[int, np.ndarray] = {}
    network.eval()
    with torch.no_grad():
        for part, batch in batches(task, which, batch_size):
            found = network(**_moved(batch, network)).double().cpu().numpy()
            logits |= dict(zip(part.tolist(), found, strict=True))
    rows = np.stack([logits[int(i)] for i in which])
    return Accuracy(rows, np.argmax(rows, axis=1) == task.labels[which])
