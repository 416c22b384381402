"""What limits differences in the last layers: the same by gradients, other places, and the noise of a batch."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from itertools import islice
from typing import Any

import numpy as np

from benchmarks.mezo_reviews import RESULTS, head_by_differences, shorter
from benchmarks.mezo_tail import Tail, asked, line, states
from ml.chunks.kept_cases import KeptCases
from ml.tasks.classification import draws
from ml.tasks.reviews import ReviewTask

#: Sentences whose gradients are averaged, see :func:`noise`.
SENTENCES = 3000


def by_gradients(
    task: ReviewTask, layers: tuple[int, ...], roles: Sequence[str], rates: Sequence[float], steps: int, batch: int
) -> dict[str, Any]:
    """Train LoRA of some layers, and the head from where differences left it, by AdamW; return the better of the rates.

    roles : of the layers that have LoRA, as in :class:`Tail`; without any A of the keys alone, B is that of the start
    """
    import torch

    best: dict[str, Any] = {}
    for rate in rates:
        tail = Tail(task, min(layers), head_by_differences(task), states(task, layers), roles)
        if not roles:
            for part in tail.parts.values():
                part.B.requires_grad_(False)
        parameters = [p for p in tail.whole.parameters() if p.requires_grad]
        optimizer = torch.optim.AdamW(parameters, lr=rate)
        decay = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, steps)
        for which in islice(draws(shorter(task), batch, np.random.default_rng(0)), steps):
            optimizer.zero_grad()
            tail.loss(which).backward()
            torch.nn.utils.clip_grad_norm_(parameters, 1.0)
            optimizer.step()
            decay.step()
        found = {"rate": rate, "trained": sum(p.numel() for p in parameters), **asked(tail, task)}
        print(f"  AdamW, rate {rate:g}: {line(found)}", file=sys.stderr, flush=True)
        if not best or found["validation_loss"] < best["validation_loss"]:
            best = found
    return best


def noise(task: ReviewTask, layer: int, a: np.ndarray, scaled: np.ndarray) -> dict[str, float]:
    """Return eta = |g|^2 / E |g_1|^2 of A of the keys of one layer, g_1 the gradient for one sentence, without bias.

    A step of differences with the best rate and batches of b gains at most eta^2 / (2 (eta + 1 / b)) in the mean, as
    the trace of the Hessian is about E |g_1|^2 (Gauss-Newton, a network whose probabilities are true).

    a : A (8, 384) where it is measured; scaled : A = C scaled
    """
    import torch

    tail = Tail(task, layer, head_by_differences(task), states(task, (layer,)))
    tail.put(layer, a)
    which = np.random.default_rng(7).choice(shorter(task).training, SENTENCES, replace=False)
    gradients = [torch.autograd.grad(tail.loss(which[[k]]), tail.parts[layer].A)[0].numpy() for k in range(len(which))]
    g = np.stack(gradients).astype(np.float64)
    axes = scaled / np.linalg.norm(scaled, axis=1, keepdims=True)
    seen = {"A": g, "C": g @ scaled.T, "first row, 8 axes": g[:, :1] @ axes[:8].T}
    return {name: _share(rows.reshape(len(g), -1)) for name, rows in seen.items()}


def _share(rows: np.ndarray) -> float:
    squares, mean = float((rows**2).sum(1).mean()), rows.mean(0)
    return (float(mean @ mean) - squares / len(rows)) * len(rows) / (len(rows) - 1) / squares


def best_by_gradients() -> np.ndarray:
    """Return which held-out sentences LoRA of rank 8 in all layers answers rightly after AdamW (seeds, 2600)."""
    cases = KeptCases(RESULTS.with_name("adapters.json")).cases
    runs = [case["result"] for name, case in cases.items() if name.startswith("reviews, run lora, rank 8 ")]
    return np.array([np.unpackbits(np.frombuffer(bytes.fromhex(r["right"]), np.uint8))[: r["asked"]] for r in runs])


def against(right: np.ndarray, other: np.ndarray) -> tuple[float, float]:
    """Return the mean difference in points of runs (a, n) to others (b, n), and half of its 95 % interval.

    Sentences and seeds vary: variance of the means over seeds of each sentence, and of the seeds' means on each side.
    """
    off = right.mean(0) - other.mean(0)
    variance = off.var() / len(off) + sum(r.mean(1).var(ddof=1) / len(r) for r in (right, other) if len(r) > 1)
    return 100 * float(off.mean()), 196 * float(variance**0.5)
