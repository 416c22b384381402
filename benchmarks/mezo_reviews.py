"""A sentence encoder on film reviews, trained by differences and by gradients: ``python -m benchmarks.mezo_reviews``.

MiniLM with a linear head: the head alone, and LoRA of rank 8 with the head (`ml.adapt`). Training by differences writes
its log beside the results and goes on from it after an interruption; accuracies are kept case by case in
mezo_reviews.json. The film reviews and PyTorch are needed (`make material`). STEPS of 2 evaluations of 64 sentences
take hours on one core.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from ml.chunks.kept_cases import KeptCases
from ml.tasks.classification import answers, train
from ml.tasks.reviews import ReviewTask, classifier, review_task
from ml.tuning.zeroth_order import mezo

RESULTS = Path(__file__).with_name("mezo_reviews.json")
LOGS = Path("out/mezo_reviews")
STEPS, BATCH = 4000, 64
#: What is trained: rate and eps of differences, rate and steps of AdamW. Guesses: to be chosen by short runs first.
KINDS = {"head": ((3e-2, 1e-2), (1e-2, 350)), "lora": ((2e-3, 1e-3), (1e-3, 350))}


def network(kind: str) -> Any:
    """Return the network with what is trained marked by requires_grad."""
    made = classifier(rng=0)
    if kind == "lora":
        from ml.tuning.adapt import adapt

        adapt(made, "lora", rank=8, train=["classifier"], rng=0)
    else:
        made.requires_grad_(False)
        made.classifier.requires_grad_(True)
    return made.eval()


def by_differences(kind: str, task: ReviewTask, steps: int, say: Callable[[str], None]) -> dict[str, Any]:
    """Train by :func:`ml.mezo` and return accuracies before and after, and what it took."""
    import torch

    def loss(module: Any, step: int) -> float:
        which = np.random.default_rng([1, step]).choice(task.training, BATCH)
        logits = module(**task.batch(which))
        return float(torch.nn.functional.cross_entropy(logits, torch.from_numpy(task.labels[which])))

    def tell(step: int, value: float) -> bool:
        if step % 100 == 99:
            say(f"  {kind}: step {step + 1}, loss {value:.3f}")
        return False

    made = network(kind)
    first = answers(made, task, task.held_out)
    rate, eps = KINDS[kind][0]
    LOGS.mkdir(parents=True, exist_ok=True)
    began = time.process_time()
    run = mezo(
        loss, made, steps=steps, rate=rate, eps=eps, schedule="linear", log=LOGS / f"{kind}-{steps}.mezo", stop=tell
    )
    seconds = time.process_time() - began
    last = answers(made, task, task.held_out)
    return {
        "start": first.value, "held_out": last.value, "standard_error": last.standard_error, "nbytes": run.log.nbytes,
        "trained": sum(p.numel() for p in made.parameters() if p.requires_grad), "cpu_seconds_here": seconds,
        "gained": int(np.sum(last.right & ~first.right)), "lost": int(np.sum(first.right & ~last.right)),
    }  # fmt: skip


def by_gradients(kind: str, task: ReviewTask) -> dict[str, Any]:
    """Train by AdamW and return the accuracy."""
    made = network(kind)
    rate, steps = KINDS[kind][1]
    began = time.process_time()
    train(made, task, steps=steps, learning_rate=rate)
    seconds = time.process_time() - began
    found = answers(made, task, task.held_out)
    return {"held_out": found.value, "standard_error": found.standard_error, "cpu_seconds_here": seconds}


def main(steps: int) -> None:
    """Do what is left to do, and print the results."""
    import torch

    torch.set_num_threads(1)
    task, kept = review_task(), KeptCases(RESULTS)
    for kind, ((rate, eps), (own_rate, own_steps)) in KINDS.items():
        settings = {"rate": own_rate, "steps": own_steps}
        found = kept.case(f"{kind}, gradients", settings, lambda kind=kind: by_gradients(kind, task))  # type: ignore[misc]
        print(f"{kind}, gradients: {found}", flush=True)
        settings = {"rate": rate, "eps": eps, "steps": steps, "batch": BATCH}
        found = kept.case(
            f"{kind}, differences",
            settings,
            lambda kind=kind: by_differences(kind, task, steps, print),  # type: ignore[misc]
        )
        print(f"{kind}, differences: {found}", flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else STEPS)
