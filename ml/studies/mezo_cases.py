"""The cases of the study of training without gradients: 101 weights on film reviews, drift of moves, rates."""

from __future__ import annotations

import time
import warnings
from typing import Any, Literal

import numpy as np

from ml.tasks.review_words import ReviewWords
from ml.tuning.zeroth_order import MezoResult, MezoWarning, mezo, replay

__all__ = ["drift", "logistic", "mcnemar", "steps_to", "train_words"]

Objective = Literal["cross-entropy", "accuracy"]
#: Sentences of a step.
BATCH = 1024


def mcnemar(before: np.ndarray, after: np.ndarray) -> dict[str, float]:
    """Return the exact test of McNemar: answers that became right and wrong, and the two-sided probability.

    before, after : which of the same questions were answered rightly, bool (n,)
    """
    from scipy.stats import binomtest

    gained, lost = int(np.sum(after & ~before)), int(np.sum(before & ~after))
    p = float(binomtest(gained, gained + lost).pvalue) if gained + lost else 1.0
    return {"gained": gained, "lost": lost, "p": p}


def right(task: ReviewWords, w: np.ndarray, which: np.ndarray) -> np.ndarray:
    """Return which sentences the weights answer rightly."""
    found = (task.components[which] @ w > 0) == (task.labels[which] == 1)
    return np.asarray(found)


def cross_entropy(task: ReviewWords, w: np.ndarray, which: np.ndarray) -> float:
    """Return the mean of log(1 + exp(-s)), s the logit with the sign of the label."""
    signs = 2.0 * task.labels[which] - 1
    return float(np.mean(np.logaddexp(0.0, -signs * (task.components[which] @ w))))


def logistic(task: ReviewWords) -> dict[str, float]:
    """Return the accuracy of the weights that minimise the cross-entropy with its gradient: what is to be reached."""
    from scipy.optimize import minimize

    x, y = task.components[task.training], task.labels[task.training]

    def both(w: np.ndarray) -> tuple[float, np.ndarray]:
        s = x @ w
        off = 1 / (1 + np.exp(-s)) - y
        return cross_entropy(task, w, task.training), x.T @ off / len(y)

    w = minimize(both, np.zeros(x.shape[1]), jac=True, method="L-BFGS-B").x
    return {"held_out": float(np.mean(right(task, w, task.held_out))), "loss": cross_entropy(task, w, task.training)}


def train_words(
    task: ReviewWords, objective: Objective, eps: float, rate: float, steps: int, directions: int, seed: int
) -> dict[str, Any]:
    """Train random weights by :func:`ml.mezo`, replay the log, and test on sentences that are held out."""
    generator = np.random.default_rng(seed)
    start = (0.1 * generator.standard_normal((task.components.shape[1],))).astype(np.float32)
    batches = generator.choice(task.training, (steps, BATCH))

    def loss(parameters: list[np.ndarray], step: int) -> float:
        if objective == "accuracy":
            return 1.0 - float(np.mean(right(task, parameters[0], batches[step])))
        return cross_entropy(task, parameters[0], batches[step])

    w = [start.copy()]
    began = time.process_time()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", MezoWarning)  # the share of zeros is in the result
        run: MezoResult = mezo(
            loss, w, steps=steps, rate=rate, eps=eps, directions=directions, rng=seed, schedule="linear"
        )
    seconds = time.process_time() - began
    again = replay([start.copy()], run.log)
    before, after = (right(task, weights, task.held_out) for weights in (start, w[0]))
    return {
        "start": float(np.mean(before)), "held_out": float(np.mean(after)), "zeros": run.zeros,
        "nbytes": run.log.nbytes,
        "replayed": bool(np.array_equal(again[0], w[0])), "cpu_seconds": seconds, "mcnemar": mcnemar(before, after),
    }  # fmt: skip


def drift(kind: Literal["float32", "float16", "bfloat16"], steps: int = 1000, eps: float = 1e-3) -> dict[str, float]:
    """Return how far 10 000 weights of size 0.05 are from their start after moves +eps z, -2 eps z, +eps z, relatively.

    naive: each move is added and rounded, as is common; exact: those of :func:`ml.mezo`, half precision by a copy.
    """
    generator = np.random.default_rng(0)
    start = _rounded((0.05 * generator.standard_normal(10_000)).astype(np.float32), kind)
    t = start
    for _ in range(steps):
        z = generator.standard_normal(len(t), np.float32)
        for sign in (1, -2, 1):
            t = _rounded(t + np.float32(sign * eps) * z, kind)
    naive = float(np.linalg.norm(t - start) / np.linalg.norm(start))
    own = [start.astype("float32" if kind == "bfloat16" else kind)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", MezoWarning)  # all differences are zero, by intention
        mezo(lambda p, step: 0.0, own, steps=steps, rate=1.0, eps=eps, half="copy")
    exact = float(np.linalg.norm(own[0].astype(np.float32) - start) / np.linalg.norm(start))
    return {"naive": naive, "exact": exact}


def _rounded(t: np.ndarray, kind: str) -> np.ndarray:
    """Return numbers rounded to a type, as single precision; bfloat16, which NumPy lacks, by its bits."""
    if kind != "bfloat16":
        return t.astype(kind).astype(np.float32)
    bits = t.view(np.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) & np.uint32(0xFFFF0000)).view(np.float32)


def steps_to(tol: float, rank: int, d: int, seed: int) -> int:
    """Return the steps until f = |Q^T x|^2 / 2, Q (d, rank) orthonormal, is tol f(0), at the rate 1 / (rank + 2).

    tr(H) / |H| = rank. The mean of f falls by the factor 1 - 1 / (rank + 2) a step.
    """
    q, _ = np.linalg.qr(np.random.default_rng(seed).standard_normal((d, rank)))
    p = [q @ np.full(rank, rank**-0.5)]
    run = mezo(
        lambda p, step: 0.5 * float(np.sum((p[0] @ q) ** 2)), p, steps=100 * (rank + 2), rate=1 / (rank + 2), eps=1e-4,
        rng=seed, stop=lambda step, loss: loss < 0.5 * tol,
    )  # fmt: skip
    return run.log.steps
