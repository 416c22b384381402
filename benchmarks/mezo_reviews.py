"""A sentence encoder on film reviews, trained by differences and by gradients: ``python -m benchmarks.mezo_reviews``.

MiniLM with a linear head. By differences the head is trained first, on vectors of the sentences that are computed once
(a step takes a millisecond), then B of LoRA of rank 8 below it; by gradients the head alone, and both at once. Runs
write their log to out/mezo_reviews and go on from it after an interruption; accuracies are kept case by case in
mezo_reviews.json. Needs what `make material` brings. The steps of LoRA take two minutes of an H200, which they were
measured on, or many hours of one core.
"""

from __future__ import annotations

import functools
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.harness import machine
from ml.chunks.kept_cases import KeptCases
from ml.studies.mezo_cases import mcnemar
from ml.tasks.classification import Accuracy, answers, draws, loss_of, train
from ml.tasks.reviews import ReviewTask, classifier, review_task
from ml.tuning.adapt import adapt
from ml.tuning.zeroth_order import mezo

RESULTS = Path(__file__).with_name("mezo_reviews.json")
LOGS = Path("out/mezo_reviews")
#: Sentences of the training set that nothing here is trained on; the rate of the head was chosen by them.
VALIDATION = 1000


@dataclass(frozen=True)
class Differences:
    """How :func:`ml.mezo` is called, with a rate that falls linearly to zero."""

    steps: int
    rate: float
    eps: float
    batch: int  #: sentences of a step


HEAD = Differences(8000, 2e-2, 1e-2, 2048)
#: A stays as it was drawn: the loss grew when A and B moved at once. The rate is the best of 0.1, 0.3 and 1 by the loss
#: after 150 steps; with batches of 64 the noise of the gradient allowed a tenth of it.
LORA = Differences(800, 0.3, 1e-2, 1024)
#: Sentences that are evaluated at a time.
SLICE = 256
#: AdamW: steps of 32 sentences, and rates, which were not chosen by anything.
GRADIENTS = {"steps": 350, "head": 1e-2, "lora": 1e-3}
#: Batches that gradients are averaged over, and their sentences, see :func:`noise`.
AVERAGED, NOISY = 60, 64


def device() -> str:
    """Return where networks are trained: on a GPU where there is one."""
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def network(kind: str, head: Any = None) -> Any:
    """Return the network with what is trained marked by requires_grad; `head`: weight (2, 384) and bias (2,)."""
    import torch

    made = classifier(rng=0)
    if head is not None:
        with torch.no_grad():
            for parameter, values in zip(made.classifier.parameters(), head, strict=True):
                parameter.copy_(torch.from_numpy(values))
    if kind == "lora":
        adapt(made, "lora", rank=8, train=["classifier"], rng=0)
    else:
        adapt(made, "head", train=["classifier"])
    return made.eval().to(device())


@functools.cache
def vectors(task: ReviewTask) -> np.ndarray:
    """Return the mean of the encoder's vectors for each sentence (n, 384), as the head sees them at the start."""
    import torch

    made = classifier(rng=0).eval().to(device())
    made.classifier = torch.nn.Identity()
    return answers(made, task, np.arange(len(task.labels))).logits.astype(np.float32)


def head_by_differences(task: ReviewTask) -> list[np.ndarray]:
    """Return weight and bias of the head, trained by :func:`ml.mezo` from zero on vectors of the frozen encoder."""
    x, training = vectors(task), shorter(task).training

    def loss(head: list[np.ndarray], step: int) -> float:
        which = np.random.default_rng([1, step]).choice(training, HEAD.batch)
        logits = x[which] @ head[0].T + head[1]
        logits -= logits.max(axis=1, keepdims=True)
        picked = logits[np.arange(len(which)), task.labels[which]]
        return float(np.mean(np.log(np.sum(np.exp(logits), axis=1)) - picked))

    head = [np.zeros((2, 384), np.float32), np.zeros(2, np.float32)]
    mezo(loss, head, steps=HEAD.steps, rate=HEAD.rate, eps=HEAD.eps, schedule="linear", log=_log("head", HEAD))
    return head


def lora_by_differences(task: ReviewTask, head: list[np.ndarray]) -> tuple[Any, Any]:
    """Return the network whose B of LoRA were trained by :func:`ml.mezo` below a head that stays, and the run."""
    made = network("lora", head)
    for name, parameter in made.named_parameters():
        parameter.requires_grad_(name.endswith("ml_adapter.B"))
    training = shorter(task).training

    def tell(step: int, value: float) -> bool:
        if step % 50 == 49:
            print(f"  step {step + 1}, loss {value:.3f}", file=sys.stderr, flush=True)
        return False

    run = mezo(
        lambda module, step: loss_in_slices(
            module, task, np.random.default_rng([2, step]).choice(training, LORA.batch, replace=False)
        ),
        made, steps=LORA.steps, rate=LORA.rate, eps=LORA.eps, schedule="linear", log=_log("lora", LORA), stop=tell,
    )  # fmt: skip
    return made, run


def loss_in_slices(module: Any, task: ReviewTask, which: np.ndarray) -> float:
    """Return the mean cross-entropy of sentences, some of about equal length at a time, without gradients."""
    import torch

    ordered = which[np.argsort(task.lengths[which], kind="stable")]
    with torch.no_grad():
        parts = [
            (len(part), loss_of(module, task, part)) for part in np.split(ordered, range(SLICE, len(which), SLICE))
        ]
        return float(sum(count * loss for count, loss in parts)) / len(which)


def shorter(task: ReviewTask) -> ReviewTask:
    """Return the task without the sentences of the validation."""
    return replace(task, training=task.training[:-VALIDATION])


def _log(kind: str, settings: Differences) -> Path:
    LOGS.mkdir(parents=True, exist_ok=True)
    return LOGS / f"{kind}-{'-'.join(f'{value:g}' for value in asdict(settings).values())}.mezo"


def noise(task: ReviewTask) -> dict[str, float]:
    """Return |g|^2 of B of LoRA at its start, below the head by differences, and E |g_batch|^2 of NOISY sentences.

    |g|^2 = (|sum_k g_k|^2 - sum_k |g_k|^2) / (n (n - 1)) over n batches has no bias; one step of a rate r gains in the
    mean r |g|^2 - r^2 tr(H) E |g_batch|^2 / 2, with the best r half of |g|^4 / (tr(H) E |g_batch|^2).
    """
    import torch

    made = network("lora", head_by_differences(task))
    parameters = [p for name, p in made.named_parameters() if name.endswith("ml_adapter.B")]
    total, squares = [torch.zeros_like(p) for p in parameters], 0.0
    for which in islice(draws(shorter(task), NOISY, np.random.default_rng(3)), AVERAGED):
        gradients = torch.autograd.grad(loss_of(made, task, which), parameters)
        squares += sum(float((g**2).sum()) for g in gradients)
        total = [t + g for t, g in zip(total, gradients, strict=True)]
    square = sum(float((t**2).sum()) for t in total)
    return {"gradient": (square - squares) / (AVERAGED * (AVERAGED - 1)), "batch": squares / AVERAGED}


def by_differences(task: ReviewTask, kind: str) -> dict[str, Any]:
    """Train head, or head and LoRA, by differences; return accuracies and what it took."""
    began = time.process_time()
    head = head_by_differences(task)
    first = answers(network("head", head), task, task.held_out)
    row: dict[str, Any] = {"trained": 770, "nbytes": 16 * HEAD.steps}
    found = first
    if kind == "lora":
        made, run = lora_by_differences(task, head)
        found = answers(made, task, task.held_out)
        row = {"trained": sum(p.numel() for p in made.parameters() if p.requires_grad) + 770,
               "nbytes": 16 * (HEAD.steps + LORA.steps), "losses": run.losses.tolist(),
               "against_head": mcnemar(first.right, found.right)}  # fmt: skip
    return {**row, **_share(found), "cpu_seconds": time.process_time() - began}


def by_gradients(task: ReviewTask, kind: str) -> dict[str, Any]:
    """Train by AdamW and return the accuracy."""
    made = network(kind)
    began = time.process_time()
    train(made, shorter(task), steps=int(GRADIENTS["steps"]), learning_rate=GRADIENTS[kind])
    seconds = time.process_time() - began
    trained = sum(p.numel() for p in made.parameters() if p.requires_grad)
    return {"trained": trained, **_share(answers(made, task, task.held_out)), "cpu_seconds": seconds}


def _share(found: Accuracy) -> dict[str, Any]:
    return {
        "held_out": found.value, "standard_error": found.standard_error,
        "right": "".join(str(int(r)) for r in found.right),
    }  # fmt: skip


def measure(say: Callable[[str], None] = print) -> dict[str, Any]:
    """Do what is left to do, and return all results."""
    task, kept, found = review_task(), KeptCases(RESULTS), {}
    by_head = {"head": asdict(HEAD)}
    ways = {"gradients": (by_gradients, GRADIENTS), "differences": (by_differences, {**by_head, "lora": asdict(LORA)})}
    given = {**by_head, "batch": NOISY, "averaged": AVERAGED}
    found["noise"] = kept.case("lora, gradient of B", given, lambda: noise(task))
    say(f"B of LoRA: |g|^2 {found['noise']['gradient']:.2e}, of a batch {found['noise']['batch']:.2e}")
    for kind in ("head", "lora"):
        for way, (make, settings) in ways.items():
            name = f"{kind}, {way}"
            given = settings if way == "gradients" or kind == "lora" else by_head
            found[name] = kept.case(name, given, lambda make=make, kind=kind: make(task, kind))  # type: ignore[misc]
            say(f"{name}: {found[name]['held_out']:.4f} +- {found[name]['standard_error']:.4f}")
    first, second = (np.array(list(found[f"lora, {way}"]["right"]), dtype=float) for way in ways)
    off = second - first
    half = 196 * off.std() / len(off) ** 0.5
    say(f"lora, differences - gradients: {100 * off.mean():+.1f} +- {half:.1f} points (95 %)")
    return found


if __name__ == "__main__":
    import torch

    torch.set_num_threads(1)
    torch.set_float32_matmul_precision("high")  # on a GPU products have 11 bits: far below the noise of a batch
    print(", ".join(f"{key} {value}" for key, value in machine().items()))
    measure()
